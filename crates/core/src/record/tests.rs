use super::*;
use crate::act::{OfSubject, Subject};
use crate::caller::InstanceKind;
use crate::json::Json;
use crate::obligation::{Changed, Demanded};

/// Canonical JSON as RFC 8785 describes it, written from the description and not with the serializer under test.
fn canonical(json: &Json<'_>) -> String {
    match json {
        Json::Null => "null".to_owned(),
        Json::Bool(value) => value.to_string(),
        Json::Int(value) => value.to_string(),
        Json::UInt(value) => value.to_string(),
        Json::Float(value) => panic!("{value}: records have whole numbers only"),
        Json::String(text) => string(text),
        Json::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Json::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| name.encode_utf16().collect::<Vec<_>>());
            let members =
                members.iter().map(|(name, value)| format!("{}:{}", string(name), canonical(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
    }
}

/// Section 3.2.2.2.
fn string(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '\u{8}' => "\\b".to_owned(),
        '\t' => "\\t".to_owned(),
        '\n' => "\\n".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        '\r' => "\\r".to_owned(),
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        c if c < ' ' => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

fn assert_canonical(record: &Record<'_>) {
    let bytes = serde_json::to_vec(record).expect("a record");
    let json = Json::parse(&bytes).expect("strict JSON, without duplicate members");
    assert_eq!(String::from_utf8(bytes.clone()).expect("UTF-8"), canonical(&json));
}

fn instance(text: &str) -> Instance {
    let text: Arc<str> = text.into();
    Instance { id: text.clone(), kind: InstanceKind::Pod, name: Some(text.clone()), node: Some(text) }
}

fn decision<'a>(text: &'a str, facts: &'a [(Arc<str>, Arc<str>)], policies: &'a [Arc<str>]) -> Record<'a> {
    Record::Decision(DecisionRecord {
        action: text.into(),
        alternatives: vec![text.to_owned()],
        asked_by: Some(text.into()),
        body: text.into(),
        chain: vec![text.into(), "Agent/a/b".into()],
        closest_permits: Cow::Borrowed(policies),
        code: Some(text.into()),
        config_age: Some(7),
        config_reason: Some(text.into()),
        config_source: Some(text.into()),
        depth: 3,
        facts: Cow::Borrowed(facts),
        id: text.into(),
        identity: text.into(),
        instance: Some(Cow::Owned(instance(text))),
        kept: Some(Cow::Owned(kept(text))),
        kind: DecisionKind,
        labels: policies.to_vec(),
        method: text.into(),
        not_tried: vec![text.to_owned()],
        obligations: vec![Demanded { change: "redact".into(), policy: text.into(), value: text.to_owned() }],
        observed: Vec::new(),
        approval: Some(text.into()),
        on_account_of: Some(text.into()),
        outcome: text.into(),
        parent: Some(text.into()),
        policies: Cow::Borrowed(policies),
        principal: text.into(),
        protocol: text.into(),
        push_url: Some(text.into()),
        reserved_spend: Some(1),
        reserved_tokens: Some(2),
        resource: text.into(),
        snapshot: text.into(),
        source: Some(text.into()),
        task: Some(text.into()),
        time: text.into(),
        trace: text.into(),
        transaction: text.into(),
        user: Some(text.into()),
        version: 1,
        via: Some(text.into()),
        would_refuse: Some(text.into()),
    })
}

fn kept(text: &str) -> KeptPayload {
    KeptPayload {
        bytes: 7,
        key: Some(text.to_owned()),
        sealed: Some(text.to_owned()),
        too_long: true,
        unkept: Some("shredded".into()),
    }
}

fn effect(text: &str, number: u64) -> Record<'_> {
    Record::Effect(EffectRecord {
        attempts: vec![Attempt {
            code: Some(text.to_owned().into()),
            duration_us: number,
            model: text.to_owned(),
            status: 529,
        }],
        bytes_in: number,
        bytes_out: number,
        changed: Some(Changed {
            cap_tokens: number,
            guard_answer: number,
            redact: number,
            redact_answer: number,
        }),
        charged_spend: Some(number),
        charged_tokens: Some(number),
        code: Some(text.into()),
        decision: number,
        detail: Some(text.into()),
        duration_us: number,
        id: text.into(),
        job: Some(Cow::Owned(JobRun {
            exit: Some(7),
            image: Some(text.to_owned()),
            output: Some(text.to_owned()),
            uid: Some(text.to_owned()),
        })),
        kept: Some(Cow::Owned(kept(text))),
        kind: EffectKind,
        result: text.into(),
        status: 200,
        task: Some(text.into()),
        time: text.into(),
        time_per_output_token_us: Some(number),
        time_to_first_token_us: Some(number),
        token: Some(text.into()),
        tokens_cache_written: Some(number),
        tokens_input: Some(number),
        tokens_input_cached: Some(number),
        tokens_output: Some(number),
        tokens_reasoning: Some(number),
        version: 1,
    })
}

fn refusal(text: &str) -> Record<'_> {
    Record::Refusal(RefusalRecord {
        asked: Some(Box::new(AskedFor {
            action: text.into(),
            approval: Some(text.into()),
            method: text.into(),
            policies: vec![Arc::from(text)].into(),
            resource: text.into(),
            transaction: text.into(),
        })),
        chain: vec![text.into(), "Agent/a/b".into()],
        code: text.into(),
        detail: Some(text.into()),
        id: text.into(),
        identity: Some(text.into()),
        instance: Some(Cow::Owned(instance(text))),
        kind: RefusalKind,
        message: text.into(),
        outcome: text.into(),
        parent: Some(text.into()),
        path: text.into(),
        principal: Some(text.into()),
        source: Some(text.into()),
        time: text.into(),
        trace: text.into(),
        user: Some(text.into()),
        version: 1,
    })
}

fn act(text: &str) -> Record<'_> {
    let subject = Subject::Chain(text.into());
    Record::Act(ActRecord {
        act: Act::Quarantine(OfSubject { subject }),
        actor: text.into(),
        id: text.into(),
        kind: ActKind,
        note: true,
        shared: Some(Place { era: text.into(), from: Some(text.into()), number: 7 }),
        time: text.into(),
        version: 1,
        why: text.into(),
    })
}

fn fact(name: &str, value: &str) -> (Arc<str>, Arc<str>) {
    (name.into(), value.into())
}

#[test]
fn every_kind_of_record_is_canonical_json_whatever_its_text() {
    let controls: String = (0u8..0x20).map(char::from).collect();
    for text in ["", "plain", &controls, "\"\\/\u{7f}\u{2028}", "é€😀\u{e000}", "</script>"] {
        let facts = [fact("a", text), fact("b\n", text)];
        for record in [
            decision(text, &facts, &[text.into()]),
            decision(text, &[], &[]),
            effect(text, 7),
            refusal(text),
            act(text),
        ] {
            assert_canonical(&record);
            assert_eq!(record.id(), text);
        }
    }
    assert_canonical(&effect("x", (1 << 53) - 1));
}

#[test]
fn facts_are_sorted_and_unique_whatever_comes_in() {
    // In UTF-8, U+E000 is before U+1F600; in UTF-16 it is after it.
    let facts = [fact("\u{e000}", "1"), fact("\u{1f600}", "2"), fact("a", "3"), fact("a", "4")];
    let record = decision("x", &facts, &[]);
    assert_canonical(&record);
    let text = serde_json::to_string(&record).expect("a record");
    assert!(text.contains("\"facts\":{\"a\":\"3\",\"\u{1f600}\":\"2\",\"\u{e000}\":\"1\"}"), "{text}");
}

/// Every kind, with all its members and with none that may be absent.
fn samples() -> Vec<Record<'static>> {
    let (mut bare, mut effect, mut refused) = (decision("x", &[], &[]), effect("x", 7), refusal("x"));
    let full = [bare.clone(), effect.clone(), refused.clone(), act("x")];
    if let Record::Decision(record) = &mut bare {
        (record.code, record.push_url, record.source, record.task, record.user) =
            (None, None, None, None, None);
        (record.approval, record.on_account_of, record.parent, record.kept) = (None, None, None, None);
        (record.asked_by, record.instance, record.would_refuse, record.via) = (None, None, None, None);
        (record.config_age, record.config_reason, record.config_source) = (None, None, None);
        (record.reserved_spend, record.reserved_tokens) = (None, None);
        record.obligations.clear();
        record.alternatives.clear();
        record.not_tried.clear();
    }
    if let Record::Effect(record) = &mut effect {
        (record.code, record.detail, record.task, record.token) = (None, None, None, None);
        (record.tokens_input, record.tokens_output, record.changed) = (None, None, None);
        (record.tokens_input_cached, record.tokens_cache_written, record.tokens_reasoning) =
            (None, None, None);
        (record.charged_spend, record.charged_tokens, record.kept) = (None, None, None);
        record.job = None;
        record.attempts.clear();
        (record.time_per_output_token_us, record.time_to_first_token_us) = (None, None);
    }
    if let Record::Refusal(record) = &mut refused {
        (record.asked, record.instance, record.parent) = (None, None, None);
        record.chain.clear();
        (record.detail, record.identity, record.principal, record.source, record.user) =
            (None, None, None, None, None);
    }
    let mut alone = act("x");
    if let Record::Act(record) = &mut alone {
        (record.note, record.shared) = (false, None);
    }
    full.into_iter().chain([bare, effect, refused, alone]).collect()
}

fn bytes(record: &Record<'_>) -> Vec<u8> {
    serde_json::to_vec(record).expect("a record")
}

#[test]
fn what_is_written_is_read_back_and_is_the_same() {
    let facts = [fact("a", "é\n"), fact("b", "")];
    for record in
        samples().into_iter().chain([decision("\"\u{1}😀", &facts, &["p/q".into(), "p/r#2".into()])])
    {
        let written = bytes(&record);
        let read = Kept::read(&written).expect("a record");
        assert_eq!(read, record);
        assert_eq!(bytes(&read), written, "in canonical form again");
        assert_eq!((read.kind(), read.time()), (record.kind(), record.time()));
        // Without being told the kind too, as a reader in another program may.
        assert_eq!(serde_json::from_slice::<Kept>(&written).expect("a record"), record);
    }
}

#[test]
fn a_newer_record_is_read_where_it_means_the_same_and_refused_where_it_may_not() {
    let text = String::from_utf8(bytes(&refusal("x"))).expect("UTF-8");
    let with = |from: &str, to: &str| Kept::read(text.replace(from, to).as_bytes());
    assert_eq!(with("\"id\":", "\"hue\":{\"a\":[1]},\"id\":").expect("read"), refusal("x"));
    for (from, to, says) in [
        ("\"version\":1", "\"version\":2", "version 2"),
        ("\"version\":1", "\"version\":300", "version 300"),
        ("\"refusal\"", "\"rumour\"", "kind \"rumour\""),
        ("\"refusal\"", "\"effect\"", "missing field `bytes_in`"),
        ("\"code\":\"x\"", "\"code\":7", "expected a string"),
        ("\"id\":\"x\"", "\"id\":\"x\",\"id\":\"y\"", "duplicate field `id`"),
        ("\"version\":1", "\"version\":1}{", "trailing characters"),
        (",\"version\":1", "", "missing field `version`"),
    ] {
        assert!(text.contains(from), "{from}");
        let error = with(from, to).expect_err(to).to_string();
        assert!(error.contains(says), "{to}: {error}");
    }
    // A decision with a fact that is no text.
    let text = String::from_utf8(bytes(&decision("x", &[fact("a", "b")], &[]))).expect("UTF-8");
    assert!(Kept::read(text.replace("{\"a\":\"b\"}", "{\"a\":1}").as_bytes()).is_err());
}

#[test]
fn an_act_from_the_future_is_known_as_one_and_says_whether_it_may_be_passed_over() {
    let text = String::from_utf8(bytes(&act("x"))).expect("UTF-8");
    let known = r#"{"quarantine":{"subject":"Chain/x"}}"#;
    let read = |act: &str, note: &str| {
        assert!(text.contains(known) && text.contains(r#""note":true,"#), "{text}");
        Kept::read(text.replace(known, act).replace(r#""note":true,"#, note).as_bytes())
    };
    for (note, is_note) in [(r#""note":true,"#, true), (r#""note":false,"#, false), ("", false)] {
        match read(r#"{"levitate":{"subject":7}}"#, note) {
            Err(Unreadable::Act { act, note }) => assert_eq!((act.as_str(), note), ("levitate", is_note)),
            other => panic!("{other:?}"),
        }
    }
    // Attack: what is known and cannot be read is no act of the future, whatever it says of itself; nor are two acts, or none, or a text.
    for bad in
        [r#"{"quarantine":{"subject":7}}"#, r#"{"levitate":1,"quarantine":1}"#, "{}", r#""levitate""#, "7"]
    {
        let read = read(bad, r#""note":true,"#);
        assert!(matches!(read, Err(Unreadable::Malformed(_))), "{bad}: {read:?}");
    }
}

/// By these names an act is told from one that is not known.
#[test]
fn all_names_of_acts_are_listed() {
    let schema = serde_json::to_value(schemars::schema_for!(Act)).expect("JSON");
    let all = schema["oneOf"].as_array().expect("a list").iter();
    let mut names: Vec<&str> = all
        .flat_map(|one| one["properties"].as_object().expect("an object").keys())
        .map(String::as_str)
        .collect();
    let mut listed = Act::NAMES.to_vec();
    names.sort_unstable();
    listed.sort_unstable();
    assert_eq!(names, listed);
}

/// The published schema against what is written: each member is described, those that are always there are required, and `kind` says
/// which of the four it is.
#[test]
fn the_schema_describes_every_member_that_is_written() {
    // Left out where they are empty.
    const LISTS: [&str; 3] = ["closest_permits", "labels", "observed"];
    let schema = serde_json::to_value(schema()).expect("JSON");
    let described = |name: &str| schema["$defs"][name].clone();
    let kinds = ["DecisionRecord", "EffectRecord", "RefusalRecord", "ActRecord"].map(described);
    assert_eq!(schema["anyOf"].as_array().map(Vec::len), Some(4), "{schema:#}");
    for (number, record) in samples().into_iter().enumerate() {
        let written: serde_json::Value = serde_json::from_slice(&bytes(&record)).expect("JSON");
        let written = written.as_object().expect("an object");
        let own = &kinds[number % 4];
        let properties = own["properties"].as_object().expect("an object");
        let required: Vec<_> =
            own["required"].as_array().expect("a list").iter().filter_map(|name| name.as_str()).collect();
        assert!(required.iter().all(|name| written.contains_key(*name)), "{required:?} {written:?}");
        for name in written.keys() {
            assert!(properties[name]["description"].is_string(), "{} {name}", record.kind());
        }
        if number < 4 {
            let is_missing = |name: &&String| !LISTS.contains(&name.as_str()) && !written.contains_key(*name);
            assert_eq!(properties.keys().find(is_missing), None, "{}", record.kind());
        } else {
            assert!(written.keys().all(|name| required.contains(&name.as_str())), "{required:?} {written:?}");
        }
        assert_eq!(properties["kind"]["const"], record.kind());
    }
}
