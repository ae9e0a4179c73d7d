use super::*;
use crate::json::Json;

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

fn decision<'a>(text: &'a str, facts: &'a [(Arc<str>, Arc<str>)], policies: &'a [Arc<str>]) -> Record<'a> {
    Record::Decision(DecisionRecord {
        action: text,
        body: text.into(),
        chain: vec![text.into(), "Agent/a/b".into()],
        closest_permits: policies,
        code: Some(text),
        depth: 3,
        facts,
        id: text,
        identity: text,
        kind: DecisionKind,
        method: text,
        outcome: text,
        policies,
        principal: text.into(),
        protocol: text,
        push_url: Some(text.into()),
        resource: text.into(),
        snapshot: text,
        source: Some(text.into()),
        task: Some(text.into()),
        time: text.into(),
        trace: text.into(),
        transaction: text,
        user: Some(text.into()),
        version: 1,
    })
}

fn effect(text: &str, number: u64) -> Record<'_> {
    Record::Effect(EffectRecord {
        bytes_in: number,
        bytes_out: number,
        code: Some(text),
        decision: number,
        detail: Some(text),
        duration_us: number,
        id: text,
        kind: EffectKind,
        result: text,
        status: 200,
        task: Some(text),
        time: text.into(),
        token: Some(text),
        tokens_input: Some(number),
        tokens_output: Some(number),
        version: 1,
    })
}

fn refusal(text: &str) -> Record<'_> {
    Record::Refusal(RefusalRecord {
        code: text,
        detail: Some(text.into()),
        id: text,
        identity: Some(text.into()),
        kind: RefusalKind,
        message: text.into(),
        outcome: text,
        path: text.into(),
        principal: Some(text.into()),
        source: Some(text.into()),
        time: text.into(),
        trace: text.into(),
        user: Some(text.into()),
        version: 1,
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
        for record in
            [decision(text, &facts, &[text.into()]), decision(text, &[], &[]), effect(text, 7), refusal(text)]
        {
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
