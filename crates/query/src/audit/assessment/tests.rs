use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use vidimus_ledger::{Proof, VerifierKey};

use super::*;
use crate::recordings::{Made, Recordings, limited};

/// A path that an agent asks for, to be markup on an auditor's screen.
const HOSTILE: &str = "/mcp/<script>alert(1)</script>\"'&amp;<img src=x onerror=alert(2)>\u{202e}gnp";

fn kept(members: &Value) -> Kept {
    Kept::read(members.to_string().as_bytes()).expect("a record")
}

/// Decisions under two configurations, a refusal that is hostile, effects, and acts of a person and of the gateway; on the day of
/// 2026-11-27, and one call on the day after.
fn recorded() -> Recordings {
    let mut recordings = Recordings::begin();
    for limit in [10, 20] {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("a.yaml"), limited(limit)).expect("written");
        let world = vidimus_registry::load(directory.path()).snapshot;
        recordings.keep(&world);
        for amount in 0..20 {
            let args = format!("{{\"amount\": {amount}}}");
            let user = (amount % 5 == 0).then_some("https://login.example#grace");
            recordings.call(&world, Made { args: &args, user, ..Made::by("Agent/a/bot", "Tool/a/bank/pay") });
        }
    }
    let time = "2026-11-27T13:00:00.000000Z";
    recordings.record(&kept(&json!({
        "kind": "refusal", "version": 1, "id": "r-1", "code": "token_expired", "message": "no", "outcome": "deny", "path": HOSTILE,
        "time": time, "trace": "", "identity": "oidc:<b>x</b>#y",
    })));
    recordings.record(&kept(&json!({
        "kind": "refusal", "version": 1, "id": "r-2", "code": "refusals_not_recorded", "message": "9 token_expired", "outcome": "deny",
        "path": "", "time": time, "trace": "",
    })));
    for (decision, result) in [(0, "ok"), (1, "failed")] {
        recordings.record(&kept(&json!({
            "kind": "effect", "version": 1, "id": format!("call-{}", decision + 1), "decision": decision, "result": result, "status": 200,
            "bytes_in": 1, "bytes_out": 2, "duration_us": 3, "time": time,
        })));
    }
    let grace = "User/https://login.example#grace";
    for (id, act, actor) in [
        ("a-1", json!({"quarantine": {"subject": "Agent/a/bot"}}), grace),
        ("a-2", json!({"approve": {"approval": "x", "role": "payers", "shown": ""}}), grace),
        ("a-3", json!({"expire": {"approval": "y"}}), "vidimus"),
    ] {
        recordings.record(&kept(&json!({
            "kind": "act", "version": 1, "id": id, "act": act, "actor": actor, "time": time, "why": "because",
        })));
    }
    recordings.record(&kept(&json!({
        "kind": "refusal", "version": 1, "id": "r-3", "code": "token_expired", "message": "no", "outcome": "deny", "path": "/x",
        "time": "2026-11-28T00:00:00.000000Z", "trace": "",
    })));
    recordings.end();
    recordings
}

fn question(framework: &str) -> AssessmentQuestion {
    let time = |text: &str| text.parse().expect("a time");
    AssessmentQuestion {
        framework: framework.to_owned(),
        from: time("2026-11-27T00:00:00Z"),
        to: time("2026-11-28T00:00:00Z"),
        samples: 3,
        key: None,
        made: Exported { at: "2026-11-28T12:00:00Z".to_owned(), by: "ada <ada@example.com>".to_owned() },
    }
}

fn assessed(recordings: &Recordings, question: &AssessmentQuestion) -> Assessment {
    assess(&recordings.ledger(), question, |_, _| Ok(())).expect("assessed")
}

/// A call that waited for its client and was taken back has two effects; another one whose end is not on record is a gap all the same.
#[test]
fn a_second_effect_is_the_end_of_no_other_call() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("a.yaml"), limited(10)).expect("written");
    let world = vidimus_registry::load(directory.path()).snapshot;
    let mut recordings = Recordings::begin();
    recordings.keep(&world);
    for _ in 0..3 {
        recordings
            .call(&world, Made { args: "{\"amount\": 1}", ..Made::by("Agent/a/bot", "Tool/a/bank/pay") });
    }
    for effect in crate::recordings::ends_twice(0) {
        recordings.record(&effect);
    }
    recordings.end();
    let it = assessed(&recordings, &question("soc2"));
    assert_eq!((it.counts.allowed, it.gaps.without_end), (3, 2));
}

#[test]
fn every_control_of_every_framework_has_evidence_that_is_described_and_found() {
    let names: Vec<&str> = frameworks().iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["soc2", "hipaa", "gdpr", "pci-dss", "dora", "eu-ai-act"]);
    for framework in frameworks() {
        let ids: BTreeSet<&str> = framework.controls.iter().map(|control| control.id.as_str()).collect();
        assert_eq!(ids.len(), framework.controls.len(), "{}: an id twice", framework.name);
        for control in &framework.controls {
            let said = [&control.id, &control.name, &control.asks, &control.lacks];
            assert!(said.iter().all(|text| !text.trim().is_empty() && !text.contains('\n')), "{control:?}");
            assert!(control.asks.ends_with('?') && control.lacks.ends_with('.'), "{control:?}");
            assert!(!control.supports.is_empty(), "{control:?}");
            for name in &control.supports {
                assert!(frameworks::support(name).is_some(), "{}: {name} is no kind of evidence", control.id);
            }
        }
    }
}

/// Two logs are two times as much of everything; a copy of one, and what a part of one has, is no more than that.
#[test]
fn several_logs_are_added_up_and_a_copy_is_counted_once() {
    let recordings = recorded();
    let it = assessed(&recordings, &question("soc2"));
    // Whatever a log calls itself, another one may do so too: all of these are of one name.
    let named = |name: &str, it: &Assessment| (name.to_owned(), Some(format!("{name}.html")), it.clone());
    let together = Together::of(vec![named("b", &it), named("a", &it), named("b", &it)]).expect("added up");
    assert_eq!((together.sound, together.is_whole()), (true, true));
    let logs: Vec<_> = together.logs.iter().map(|log| (log.log.as_str(), log.copy)).collect();
    assert_eq!(logs, [("a", false), ("b", false), ("b", true)]);
    assert_eq!(together.counts.allowed, 2 * it.counts.allowed);
    assert_eq!(together.counts.denied["no_permit"], 2 * it.counts.denied["no_permit"]);
    assert_eq!(together.counts.configurations, it.counts.configurations);
    for (name, evidence) in &it.evidence {
        assert_eq!(together.evidence[name].count, 2 * evidence.count, "{name}");
    }
    // What is wrong with one is wrong with all.
    let mut damaged = it.clone();
    (damaged.sound, damaged.findings) = (false, vec!["<b>x</b>".to_owned()]);
    let together = Together::of(vec![named("a", &it), named("b", &damaged)]).expect("added up");
    assert_eq!((together.sound, &together.findings[..]), (false, &["b: <b>x</b>".to_owned()][..]));
    let page = overview(&together);
    assert!(page.contains("b: &lt;b&gt;x&lt;/b&gt;") && !page.contains("<b>x"), "{page}");
    // Parts that share some would be counted twice.
    let mut part = it.clone();
    (part.log.first, part.log.last) = (Some(10), Some(100));
    assert!(Together::of(vec![named("a", &it), named("a", &part)]).is_err());
    (part.log.first, part.log.last) = (Some(47), Some(100));
    let together = Together::of(vec![named("a", &it), named("a", &part)]).expect("parts");
    assert_eq!(together.counts.allowed, 2 * it.counts.allowed);
}

/// Gateways that share a store have each act on record, and it was done once; what is of another gateway than those that are read, too.
#[test]
fn an_act_that_gateways_share_is_counted_once() {
    let of = |acts: &[(&str, Option<&str>)]| {
        let mut recordings = Recordings::begin();
        for (number, (actor, from)) in (1..).zip(acts) {
            let mut place = json!({"era": "e", "number": number});
            if let Some(from) = from {
                place["from"] = json!(from);
            }
            recordings.record(&kept(&json!({
                "kind": "act", "version": 1, "id": format!("a-{number}"), "actor": actor, "why": "because", "shared": place,
                "act": {"approve": {"approval": "x", "role": "payers", "shown": ""}}, "time": "2026-11-27T13:00:00.000000Z",
            })));
        }
        recordings.end();
        assessed(&recordings, &question("soc2"))
    };
    let (grace, ada) = ("User/https://login.example#grace", "User/https://login.example#ada");
    // One is done here, one at a gateway whose log is not read, and one at the other.
    let mut here = of(&[(grace, None), (ada, Some("elsewhere"))]);
    let own = here.shared.remove(&here.log.name).expect("its own");
    here.shared.insert("here".to_owned(), own);
    let there = of(&[(grace, Some("here")), (ada, Some("elsewhere")), (grace, None)]);
    let kinds: Vec<_> = there.evidence.iter().filter(|(_, kind)| kind.count == 3).collect();
    assert!(!kinds.is_empty(), "{:?}", there.evidence);
    let parts = vec![("here".to_owned(), None, here), ("there".to_owned(), None, there.clone())];
    let together = Together::of(parts).expect("added up");
    let Counts { approved, acts_of_people, acts, .. } = &together.counts;
    assert_eq!((*approved, *acts_of_people, acts["approve"]), (3, 3, 3));
    for (name, _) in kinds {
        assert_eq!(together.evidence[name].count, 3, "{name}");
    }
    // What is apart in two directories of one log is of different acts.
    let mut later = there.clone();
    (later.log.first, later.log.last) = (Some(100), Some(102));
    let parts = vec![("there".to_owned(), None, there), ("there".to_owned(), None, later)];
    assert_eq!(Together::of(parts).expect("added up").counts.approved, 6);
}

/// What people and gateways do is evidence of some control, by itself and not only among all that people did.
#[test]
fn every_act_is_evidence_of_some_control() {
    // What a call brings with it, and what gateways agree on among themselves.
    let of_calls = ["use", "came", "useGrant", "agree"];
    let controls = frameworks().iter().flat_map(|framework| &framework.controls);
    let supports: BTreeSet<&str> =
        controls.flat_map(|control| control.supports.iter().map(String::as_str)).collect();
    let window = question("soc2");
    let queries: Vec<String> = supports
        .into_iter()
        .filter_map(frameworks::support)
        .map(|(_, support)| support.query(window.from, window.to))
        .collect();
    for act in vidimus_core::act::Act::NAMES.iter().filter(|act| !of_calls.contains(act)) {
        let named = format!("\"{act}\"");
        assert!(queries.iter().any(|query| query.contains(&named)), "{act} is evidence of no control");
    }
}

#[test]
fn queries_are_commands_that_say_all_of_the_condition() {
    let window = question("soc2");
    let tail = "--since 2026-11-27T00:00:00Z --until 2026-11-28T00:00:00Z --oldest-first --limit 0 -o json";
    for (name, says) in [
        ("all", format!("vidimus audit search --kind all {tail}")),
        ("denied", format!("vidimus audit search --kind decision --outcome deny {tail}")),
        (
            "unpermitted",
            format!("vidimus audit search --kind decision --outcome deny --code no_permit {tail}"),
        ),
        (
            "allowed",
            format!(
                "vidimus audit search --kind decision {tail} | jq -c 'select(.outcome | IN(\"allow\", \"allow-with-obligations\"))'"
            ),
        ),
        ("persons", format!("vidimus audit search --kind decision {tail} | jq -c 'select(.user)'")),
        (
            "grants",
            format!(
                "vidimus audit search --kind act {tail} | jq -c 'select(.act | keys[0] | IN(\"requestGrant\", \"grant\", \"revoke\", \"endGrant\"))'"
            ),
        ),
        (
            "configurations",
            format!("vidimus audit search --kind decision {tail} | jq -cs 'unique_by(.snapshot)[]'"),
        ),
    ] {
        let (_, support) = frameworks::support(name).expect(name);
        assert_eq!(support.query(window.from, window.to), says);
    }
}

#[test]
fn what_is_counted_is_what_was_recorded_and_all_of_it_is_proven() {
    let recordings = recorded();
    let it = assessed(&recordings, &question("soc2"));
    assert_eq!((it.sound, it.is_whole(), &it.findings[..]), (true, true, &[][..]));
    // The first configuration permits 11 of its calls, the second all.
    assert_eq!((it.counts.allowed, it.counts.held, it.counts.configurations), (31, 0, 2));
    assert_eq!(it.counts.denied, BTreeMap::from([("no_permit".to_owned(), 9)]));
    let once = |words: [&str; 2]| BTreeMap::from(words.map(|word| (word.to_owned(), 1)));
    assert_eq!(it.counts.refused, once(["refusals_not_recorded", "token_expired"]));
    assert_eq!(it.counts.ended, once(["failed", "ok"]));
    assert_eq!(
        (it.counts.acts.get("quarantine"), it.counts.approved, it.counts.acts_of_people),
        (Some(&1), 1, 2)
    );
    assert_eq!((it.log.records, it.log.proven, it.log.first, it.log.last), (47, 47, Some(0), Some(46)));
    assert_eq!((it.gaps.elsewhere, it.gaps.without_end, it.gaps.refusals_not_recorded), (0, 29, 1));
    assert_eq!((it.gaps.longest_silence_s, it.gaps.silence_after), (3_600, Some(39)));
    for (name, count) in [
        ("denied", 9),
        ("persons", 8),
        ("configurations", 2),
        ("stops", 1),
        ("troubled", 1),
        ("uncounted", 1),
    ] {
        let evidence = &it.evidence[name];
        assert_eq!(evidence.count, count, "{name}");
        assert_eq!(evidence.samples.len() as u64, count.min(3), "{name}");
    }
    let key: VerifierKey = it.log.key.parse().expect("a key");
    for sample in &it.samples {
        let proof: Proof = sample.proof.as_deref().expect("proven").parse().expect("a proof");
        assert_eq!(proof.verify(sample.record.as_bytes(), &key).expect("proven").size, it.log.size);
    }
    let named: BTreeSet<u64> = it.evidence.values().flat_map(|kind| kind.samples.clone()).collect();
    assert_eq!(it.samples.iter().map(|sample| sample.index).collect::<BTreeSet<_>>(), named);
}

#[test]
fn the_same_question_makes_the_same_in_every_form() {
    let recordings = recorded();
    for framework in frameworks() {
        let question = question(&framework.name);
        let mut forms = Vec::new();
        for _ in 0..2 {
            let mut events = Vec::new();
            let it = assess(&recordings.ledger(), &question, |index, record| {
                events.extend(event("example.com/log", index, record).map(|event| event.to_string()));
                Ok(())
            });
            let it = it.expect("assessed");
            events.extend(findings(&it).map(|finding| finding.to_string()));
            forms.push((html(&it), oscal(&it).to_string(), events));
        }
        assert_eq!(forms[0], forms[1], "{}", framework.name);
        // Decisions, refusals, acts; and a finding for each control.
        assert_eq!(forms[0].2.len(), 45 + framework.controls.len());
        for event in &forms[0].2 {
            let event: Value = serde_json::from_str(event).expect("JSON");
            for member in
                ["activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"]
            {
                assert!(!event[member].is_null(), "{member}: {event}");
            }
            let own: &[&str] = if event["class_uid"] == 6003 {
                &["actor", "api", "src_endpoint"]
            } else {
                &["compliance", "finding_info"]
            };
            assert!(own.iter().all(|member| event[member].is_object()), "{event}");
            // By which a sink names a record too.
            if let Some(index) = event.pointer("/metadata/sequence") {
                assert_eq!(event["metadata"]["uid"], format!("example.com/log#{index}"));
                assert!(event.pointer("/api/request/uid").is_some_and(Value::is_string), "{event}");
            }
            assert!(event["time"].as_i64().is_some_and(|time| time > 1_700_000_000_000), "{event}");
        }
    }
}

#[test]
fn nothing_that_an_agent_says_is_markup_or_misleads_the_eye() {
    let recordings = recorded();
    for framework in frameworks() {
        let mut question = question(&framework.name);
        question.samples = MOST_SAMPLES;
        let page = html(&assessed(&recordings, &question));
        for bad in ["<script", "<img", "<b>", "onerror=alert(2)>", "ada <ada", "\u{202e}"] {
            assert!(!page.contains(bad), "{}: {bad}", framework.name);
        }
        // What opens is closed, and everything that is markup is ours.
        let ours = [
            "!DOCTYPE", "a", "body", "br", "code", "div", "h1", "h2", "h3", "head", "html", "li", "meta",
            "p", "pre", "section", "strong", "style", "table", "td", "th", "title", "tr", "ul",
        ];
        for tag in page.split('<').skip(1) {
            let name: String = tag
                .trim_start_matches('/')
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '!')
                .collect();
            assert!(ours.contains(&name.as_str()), "{}: <{tag}", framework.name);
        }
        for tag in ["div", "section", "table", "tr", "ul", "pre", "code", "p"] {
            let opened =
                page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{}: {tag}", framework.name);
        }
    }
    let mut question = question("soc2");
    question.samples = MOST_SAMPLES;
    let page = html(&assessed(&recordings, &question));
    assert!(
        page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && page.contains(r"\u{202e}gnp"),
        "it is shown"
    );
    assert!(page.contains("Content-Security-Policy") && !page.contains("http-equiv=\"refresh\""));
}

#[test]
fn oscal_has_names_that_are_its_own_and_proofs_that_stand_alone() {
    let recordings = recorded();
    for framework in frameworks() {
        let it = assessed(&recordings, &question(&framework.name));
        let document = oscal(&it);
        let results = &document["assessment-results"];
        let result = &results["results"][0];
        let observations = result["observations"].as_array().expect("observations");
        assert_eq!(observations.len(), framework.controls.len());
        assert!(result["findings"].is_null(), "what a control is, is for the assessor to say");
        let included = &result["reviewed-controls"]["control-selections"][0]["include-controls"];
        let tokens: BTreeSet<&str> = included
            .as_array()
            .expect("controls")
            .iter()
            .filter_map(|one| one["control-id"].as_str())
            .collect();
        assert_eq!(tokens.len(), framework.controls.len(), "{tokens:?}");
        let is_token = |text: &&str| {
            text.starts_with(|c: char| c.is_ascii_alphabetic())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        assert!(tokens.iter().all(is_token), "{tokens:?}");
        let resources = results["back-matter"]["resources"].as_array().expect("resources");
        let uuids: BTreeSet<String> =
            resources.iter().map(|one| format!("#{}", one["uuid"].as_str().expect("a UUID"))).collect();
        assert_eq!((uuids.len(), resources.len()), (2 + 2 * it.samples.len(), 2 + 2 * it.samples.len()));
        let hrefs =
            observations.iter().flat_map(|one| one["relevant-evidence"].as_array().expect("evidence"));
        assert!(hrefs.filter_map(|one| one["href"].as_str()).all(|href| uuids.contains(href)));
        assert!(
            observations
                .iter()
                .all(|one| one["remarks"].as_str().is_some_and(|text| text.starts_with("Not covered: ")))
        );
    }
}

#[test]
fn a_window_is_the_same_however_long_the_log_is_and_nothing_else_is_in_it() {
    let recordings = recorded();
    let mut day_after = question("gdpr");
    (day_after.from, day_after.to) = (day_after.to, "2026-11-29T00:00:00Z".parse().expect("a time"));
    let it = assessed(&recordings, &day_after);
    assert_eq!((it.log.records, it.log.first, it.log.last), (1, Some(47), Some(47)));
    assert_eq!((it.counts.allowed, it.evidence["refused"].count), (0, 1));
    let mut none = question("gdpr");
    (none.from, none.to) =
        ("2020-01-01T00:00:00Z".parse().expect("a time"), "2020-01-02T00:00:00Z".parse().expect("a time"));
    let it = assessed(&recordings, &none);
    assert_eq!((it.sound, it.is_whole(), it.log.records), (true, false, 0));
    assert!(html(&it).contains("nothing is shown, nor that nothing happened"));
    // What may be missing is said where it is said what is proven.
    let mut pruned = assessed(&recordings, &day_after);
    assert!(html(&pruned).contains("class=\"good\""));
    pruned.gaps.pruned = Some("records 0 to 9 were pruned by <b>x</b>".to_owned());
    let page = html(&pruned);
    assert!(
        !page.contains("class=\"good\"") && !page.contains("<b>x") && page.contains("may have been pruned"),
        "{page}"
    );
}

#[test]
fn who_trusts_a_former_key_trusts_the_one_that_followed() {
    let recordings = recorded();
    let key = || vidimus_ledger::known_key(&recordings.ledger()).expect("a key");
    let first = key();
    for id in ["k-1", "k-2"] {
        let config = vidimus_ledger::Config { dir: recordings.ledger(), ..vidimus_ledger::Config::default() };
        let ledger = vidimus_ledger::Ledger::open(config).expect("opened");
        let time = "2026-11-28T00:00:00.000000Z";
        let by = vidimus_ledger::ActBy { actor: "User/local#ada", id, time, why: "yearly" };
        ledger.rotate_key("2026-01-01T00:00:00Z".parse().expect("a time"), &by).expect("rotated");
    }
    for key in [key(), first] {
        let it =
            assessed(&recordings, &AssessmentQuestion { key: Some(key.to_string()), ..question("dora") });
        assert!(it.sound && it.log.key_given, "{:?}", it.findings);
    }
}

#[test]
fn what_is_wrong_with_the_log_is_a_finding_and_what_is_asked_wrongly_is_refused() {
    let recordings = recorded();
    // Another log's key.
    let mut other = question("dora");
    other.key = Some("example.com/log+d455c521+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4".to_owned());
    let it = assessed(&recordings, &other);
    assert!(
        !it.sound && it.log.key_given && it.findings[0].contains("not one of the key that was given"),
        "{:?}",
        it.findings
    );
    let segments = recordings.ledger().join("segments");
    let segment = std::fs::read_dir(segments).expect("segments").next().expect("one").expect("read").path();
    let mut bytes = std::fs::read(&segment).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).expect("written");
    // By the hashes beside the records those are proven that can be read, and it is no sound log all the same.
    let it = assessed(&recordings, &question("dora"));
    assert!(!it.sound && it.gaps.damaged > 0 && it.log.proven == it.log.records, "{:?}", it.findings);
    std::fs::remove_file(recordings.ledger().join("partial")).expect("removed");
    // Without them a proof needs the last records, which are damaged; what can be read is reported, with what is wrong.
    let it = assessed(&recordings, &question("dora"));
    assert!(!it.sound && it.gaps.damaged > 0 && (1..47).contains(&it.log.records), "{:?}", it.findings);
    assert!(it.findings[0].starts_with("no record is proven: "), "{:?}", it.findings);
    assert!(it.findings.iter().any(|one| one.contains("is damaged; records from ")), "{:?}", it.findings);
    assert_eq!((it.log.proven, it.gaps.unproven), (0, it.log.records));
    assert!(it.samples.iter().all(|one| one.proof.is_none() && one.unproven.is_some()));
    let page = html(&it);
    assert!(page.contains("no record is proven") && !page.contains("class=\"good\""), "{page}");
    // Without a checkpoint nobody knows what it is.
    std::fs::remove_file(recordings.ledger().join("checkpoint")).expect("removed");
    let error = assess(&recordings.ledger(), &question("dora"), |_, _| Ok(())).expect_err("refused");
    assert!(matches!(error, AssessmentError::Unprovable(_)), "{error}");
    let refused = |change: fn(&mut AssessmentQuestion)| {
        let mut question = question("soc2");
        change(&mut question);
        assess(&recordings.ledger(), &question, |_, _| Ok(())).expect_err("refused").to_string()
    };
    assert!(refused(|it| it.framework = "iso".to_owned()).contains("soc2, hipaa"));
    assert!(refused(|it| it.from = it.to).contains("is not before"));
    assert!(refused(|it| it.samples = 21).contains("at most 20"));
    assert!(refused(|it| it.key = Some("nonsense".to_owned())).starts_with("key nonsense"));
}
