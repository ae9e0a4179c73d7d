use std::fs;

use serde_json::{Value, json};
use vidimus_core::record::Kept;
use vidimus_ledger::{Config, Ledger};

use super::*;
use crate::cmd::audit::index;

/// Enough that some are sealed, and some are not.
const RECORDS: u64 = 5000;

/// One record of each sort after another; of the same call an effect far behind its decision, and some that cannot be read.
fn text(index: u64) -> Value {
    let time = format!("2026-11-2{}T12:{:02}:00.000000Z", index / 1000, index % 60);
    let call = index / 10 * 10;
    let (id, trace) = (format!("call-{call}"), format!("{call:032x}-{call:016x}"));
    let chain = if call.is_multiple_of(30) { json!(["Agent/a/first", "Agent/a/mid"]) } else { json!([]) };
    let decision = |more: Value| {
        let mut record = json!({
            "action": "invokeTool", "body": "sha256:00", "chain": chain, "depth": 1, "facts": {"x": "ü \"quoted\""}, "id": id,
            "identity": "spiffe:x", "kind": "decision", "method": "tools/call", "outcome": "allow",
            "policies": [format!("a/p-{}#{}", call % 7, index % 2)], "principal": format!("Agent/a/bot-{}", index % 5),
            "instance": {"id": format!("uid-{}", call % 40), "kind": "pod", "name": format!("a/pod-{}", call % 40)},
            "protocol": "mcp", "resource": format!("Tool/a/server/tool-{}", call % 3), "snapshot": format!("sha256:0{}", call % 20 / 10),
            "source": format!("192.0.2.{}", call % 50), "time": time,
            "trace": trace, "transaction": format!("t-{call}"), "version": 1, "user": "https://login.example#ada",
        });
        if let (Value::Object(record), Value::Object(more)) = (&mut record, more) {
            record.extend(more);
        }
        record
    };
    let act = |act: Value, actor: &str| json!({"act": act, "actor": actor, "id": format!("act-{index}"), "kind": "act", "time": time, "version": 1, "why": "because"});
    let effect = |decision: u64, result: &str| {
        json!({
            "bytes_in": 1, "bytes_out": 2, "decision": decision, "duration_us": 10, "id": format!("call-{}", decision / 10 * 10), "kind": "effect",
            "result": result, "status": 200, "time": time, "version": 1, "code": "upstream_timeout",
        })
    };
    match index % 10 {
        1 => effect(call, "failed"),
        // Of a call long before.
        2 if call >= 900 => effect(call - 897, "ok"),
        3 => decision(json!({"approval": format!("ap-{}", call % 50), "policies": ["a/other"]})),
        4 => decision(
            json!({"outcome": "deny", "code": "no_permit", "closest_permits": ["a/near"], "policies": [], "via": "MCPServer/a/all"}),
        ),
        5 => decision(json!({"outcome": "hold", "observed": [{"outcome": "deny", "policy": "a/tried"}]})),
        6 => json!({
            "code": "token_expired", "id": format!("call-{index}"), "identity": "oidc:https://login.example#eve",
            "kind": "refusal", "message": "no", "outcome": "deny", "path": "/mcp", "time": time, "trace": trace, "version": 1,
            "chain": chain, "source": format!("::ffff:192.0.2.{}", call % 50),
        }),
        7 => act(
            json!({"quarantine": {"subject": format!("Agent/a/bot-{}", call % 5)}}),
            "User/https://login.example#grace",
        ),
        8 => act(
            json!({"ask": {
                "action": "invokeTool", "approval": format!("ap-{}", call % 50), "asking": [{"policy": "a/held#1", "quorum": 1, "role": "owner", "timeout": 1}], "call": id,
                "chain": chain, "instance": format!("uid-{}", call % 40), "digest": "sha256:02", "endpoint": "https://x.example", "method": "tools/call", "owner": "o@example.com",
                "principal": "Agent/a/bot-1", "resource": "Tool/a/server/tool-1", "until": 1,
            }}),
            "vidimus",
        ),
        // An effect of a call that was denied: none.
        9 if index % 100 == 99 => effect(call + 4, "ok"),
        _ => decision(json!({})),
    }
}

fn log(directory: &Path) -> PathBuf {
    let (dir, runtime) = (directory.join("ledger"), tokio::runtime::Builder::new_current_thread().build());
    let runtime = runtime.expect("a runtime");
    let ledger = Ledger::open(Config { dir: dir.clone(), ..Config::default() }).expect("a log");
    for index in 0..RECORDS {
        let text = text(index).to_string();
        let record = Kept::read(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
        runtime.block_on(ledger.record(&record)).expect("kept");
    }
    runtime.block_on(ledger.close());
    dir
}

fn questions() -> Vec<SearchQuestion> {
    let of = |members: Value| serde_json::from_value::<SearchQuestion>(members).expect("a question");
    let asked = [
        json!({}),
        json!({"kind": "all"}),
        json!({"outcome": "deny"}),
        json!({"outcome": "ok"}),
        json!({"outcome": "failed", "principal": "bot-3"}),
        json!({"principal": "a/bot-2", "since": "2026-11-21T00:00:00Z", "until": "2026-11-22T12:30:00Z", "kind": "all"}),
        json!({"principal": "vidimus", "kind": "all"}),
        json!({"user": "eve"}),
        json!({"user": "grace", "kind": "act"}),
        json!({"user": "https://login.example#ada", "kind": "effect"}),
        json!({"policy": "p-3", "outcome": "allow"}),
        json!({"policy": "a/p-3#0", "kind": "all"}),
        json!({"policy": "held", "kind": "all"}),
        json!({"policy": "near"}),
        json!({"policy": "a/tried", "kind": "decision"}),
        json!({"resource": "server/tool-1", "kind": "all"}),
        json!({"resource": "Agent/a/bot-0", "kind": "act"}),
        json!({"code": "upstream_timeout"}),
        json!({"code": "token_expired", "kind": "refusal"}),
        json!({"code": "quarantine", "kind": "all"}),
        json!({"transaction": "t-4200", "kind": "all"}),
        json!({"trace": format!("{:032x}", 4090), "kind": "all"}),
        json!({"trace": format!("{:032x}-{:016x}", 10, 10)}),
        json!({"on_behalf_of": "a/mid", "kind": "all"}),
        json!({"on_behalf_of": "Agent/a/first", "kind": "effect"}),
        json!({"on_behalf_of": "ada", "outcome": "hold"}),
        json!({"on_behalf_of": "bot-1", "kind": "all"}),
        json!({"instance": "uid-10", "kind": "all"}),
        json!({"instance": "pod-20", "kind": "effect"}),
        json!({"source": "192.0.2.30", "kind": "all"}),
        json!({"source": "::ffff:192.0.2.40", "outcome": "ok"}),
        json!({"server": "MCPServer/a/all", "kind": "all"}),
        json!({"server": "server", "kind": "act"}),
        json!({"server": "a/bot-0", "kind": "all"}),
        json!({"approval": "ap-10", "kind": "all"}),
        json!({"approval": "ap-10", "kind": "effect"}),
        json!({"configuration": "sha256:01", "outcome": "deny"}),
        json!({"configuration": "00", "kind": "effect"}),
        json!({"text": "\\\"quoted\\\"", "resource": "tool-2"}),
        json!({"text": "ü", "outcome": "deny"}),
        json!({"text": "\"decision\":4093", "kind": "effect", "principal": "bot-3"}),
        json!({"principal": "a/nobody", "kind": "all"}),
    ];
    let both = |question: SearchQuestion| {
        [false, true].map(|oldest_first| SearchQuestion { oldest_first, ..question.clone() })
    };
    asked.into_iter().map(of).flat_map(both).collect()
}

fn told(records: Records) -> Vec<String> {
    records
        .map(|found| {
            found.map_or_else(
                |damage| damage.to_string(),
                |found| serde_json::to_string(&found).expect("JSON"),
            )
        })
        .collect()
}

/// What the log says; by the index, which is damaged on the way; and by the index in pages.
#[test]
fn each_question_has_the_same_answer_with_and_without_an_index() {
    let directory = tempfile::tempdir().expect("a directory");
    let (ledger, index) = (log(directory.path()), directory.path().join("index"));
    let made = vidimus_readmodel::extend(&index, &ledger, &mut |_, _| {}).expect("made");
    assert_eq!(made.records, 4096);
    let mut some = 0;
    for (number, question) in questions().into_iter().enumerate() {
        let expected = told(of_log(&ledger, &question, None).expect("searched"));
        some += usize::from(!expected.is_empty());
        if number % 9 == 5 {
            break_files(&index, number);
        }
        assert!(model(&ledger, Some(&index)).expect("read").is_some(), "the index is used");
        assert_eq!(
            told(records(&ledger, Some(&index), &question, None, usize::MAX).expect("searched")),
            expected,
            "{question:?}"
        );
        let (mut pages, mut after) = (Vec::new(), None);
        // Few pages are enough of what takes long without them.
        while pages.len() < 900 {
            let page: Vec<_> =
                records(&ledger, Some(&index), &question, after, 300).expect("searched").take(300).collect();
            let (page, is_last) =
                (page.into_iter().map(|found| found.expect("whole")).collect::<Vec<_>>(), pages.len());
            after = page.last().map(|found| found.index).or(after);
            pages.extend(page.iter().map(|found| serde_json::to_string(found).expect("JSON")));
            if pages.len() < is_last + 300 {
                break;
            }
        }
        assert_eq!(pages, expected[..pages.len()], "{question:?}");
        assert!(pages.len() >= expected.len().min(900), "{question:?}");
        if let Some(third) = expected.get(2).map(|text| serde_json::from_str::<Value>(text).expect("JSON")) {
            let rest = told(of_log(&ledger, &question, third["index"].as_u64()).expect("searched"));
            assert_eq!(rest, expected[3..], "{question:?}");
        }
    }
    assert!(some >= 70, "{some}");
}

/// A call by its id, an approval, a trace and what fits: those of an index are those of the log, also where its files are damaged on the way.
#[test]
fn what_is_looked_up_is_the_same_with_and_without_an_index() {
    use vidimus_ledger::Query;
    use vidimus_query::audit::{InLog, Lookup as _, ShowQuestion, show, show_by};

    let directory = tempfile::tempdir().expect("a directory");
    let (ledger, index) = (log(directory.path()), directory.path().join("index"));
    vidimus_readmodel::extend(&index, &ledger, &mut |_, _| {}).expect("made");
    let (by_index, in_log) = (super::super::lookup(&ledger, Some(&index)), InLog(ledger.clone()));
    assert!(format!("{by_index:?}").starts_with("ByIndex"));
    let some = |text: &str| Some(text.to_owned());
    let queries = [
        Query { id: some("call-900"), ..Query::default() },
        Query { id: some("call-4990"), newest_first: true, ..Query::default() },
        Query { id: some("act-4247"), ..Query::default() },
        Query { id: some("call"), ..Query::default() },
        Query { kind: some("act"), resource: some("Approval/ap-10"), ..Query::default() },
        Query { kind: some("act"), resource: some("Approval/ap-1"), ..Query::default() },
    ];
    let hits = |found: audit::Hits| found.map(|hit| hit.expect("whole")).collect::<Vec<_>>();
    for (number, query) in queries.iter().enumerate() {
        let expected = hits(in_log.hits(query).expect("searched"));
        assert_eq!(hits(by_index.hits(query).expect("searched")), expected, "{query:?}");
        let is_found = !matches!(number, 3 | 5);
        assert_eq!(!expected.is_empty(), is_found, "{query:?}");
    }
    // A few of many, which effects repeat from their decisions.
    for limit in [1, 40, 4000] {
        let query = Query { agent: some("bot-0"), limit: Some(limit), ..Query::default() };
        let expected = hits(in_log.hits(&query).expect("searched"));
        assert_eq!(hits(by_index.hits(&query).expect("searched")), expected, "{limit}");
    }
    let misspelt = SearchQuestion {
        principal: some("a/bot-3"),
        server: some("MCPServer/a/srver"),
        on_behalf_of: some("a/mid"),
        approval: some("ap-1"),
        ..SearchQuestion::default()
    };
    for lookup in [&*by_index, &in_log] {
        let unknown = audit::unknown_names(lookup, &misspelt).expect("searched");
        let expected = [("server", "MCPServer/a/srver".to_owned()), ("approval", "ap-1".to_owned())];
        assert_eq!(unknown, expected);
    }
    for question in questions().iter().skip(2).step_by(3) {
        let expected = told(in_log.fitting(&[], question).expect("searched"));
        assert_eq!(told(by_index.fitting(&[], question).expect("searched")), expected, "{question:?}");
    }
    break_files(&index, 3);
    for id in ["call-900", "ap-20", "act-17", "nothing"] {
        let question = ShowQuestion { id: id.to_owned() };
        let shown = |call: audit::ShownCall| serde_json::to_string(&call).expect("JSON");
        let by_index = shown(show_by(&*by_index, &ledger, &question).expect("shown"));
        assert_eq!(by_index, shown(show(&ledger, &question).expect("shown")), "{id}");
    }
    assert!(format!("{:?}", super::super::lookup(&ledger, None)).starts_with("InLog"));
}

/// In the middle of each file a byte is another.
fn break_files(index: &Path, number: usize) {
    for entry in fs::read_dir(index).expect("read").flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "parquet") {
            let mut bytes = fs::read(entry.path()).expect("read");
            let at = bytes.len() * (number % 7 + 1) / 9;
            bytes[at] ^= 0x10;
            fs::write(entry.path(), bytes).expect("written");
        }
    }
}

/// A log that was cut is read itself, and tells what it lacks, whatever the index has.
#[test]
fn a_cut_log_is_told_with_an_index_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let (ledger, index) = (log(directory.path()), directory.path().join("index"));
    vidimus_readmodel::extend(&index, &ledger, &mut |_, _| {}).expect("made");
    index::is_all_there(&ledger, 4096).expect("all");
    let segment = fs::read_dir(ledger.join("segments")).expect("read").flatten().next().expect("one").path();
    let length = fs::metadata(&segment).expect("there").len();
    fs::File::options().write(true).open(&segment).expect("opened").set_len(length / 2).expect("cut");
    let question = SearchQuestion::default();
    let by_index = told(records(&ledger, Some(&index), &question, None, usize::MAX).expect("searched"));
    assert_eq!(by_index, told(of_log(&ledger, &question, None).expect("searched")));
    assert!(by_index.iter().any(|one| one.contains("5000 were signed for")), "{:?}", by_index.first());
    assert!(index::made(&ledger, Some(&index)).is_err(), "no sum of some of them");
    assert!(index::is_all_there(&ledger, 4096).is_err());
}

/// Sums and SQL too are answered where a damaged file cannot be made again now: another process writes.
#[test]
fn what_cannot_be_made_again_is_read_from_the_log() {
    let directory = tempfile::tempdir().expect("a directory");
    let (ledger, index) = (log(directory.path()), directory.path().join("index"));
    vidimus_readmodel::extend(&index, &ledger, &mut |_, _| {}).expect("made");
    let all = |model: &Model| {
        let bounds = vidimus_readmodel::Bounds { rows: 10, time: std::time::Duration::from_secs(60) };
        let query = "SELECT count(*) AS n FROM records WHERE record LIKE '%version%'";
        model.sql(query, bounds).map(|answer| answer.rows[0]["n"].clone())
    };
    assert_eq!(all(&index::made(&ledger, Some(&index)).expect("whole")).expect("answered"), RECORDS);
    let held = fs::File::create(index.join("lock")).expect("opened");
    held.lock().expect("held");
    // Found while a query is answered, or before.
    for number in 0..7 {
        break_files(&index, number);
        let answer = match all(&index::made(&ledger, Some(&index)).expect("opened")) {
            Err(error) if error.damaged().is_some() => {
                all(&index::repaired(&ledger, Some(&index), &error).expect("read"))
            }
            answer => answer,
        };
        assert_eq!(answer.expect("answered"), RECORDS, "{number}");
    }
    // Found when it is opened.
    for entry in fs::read_dir(&index).expect("read").flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "parquet") {
            fs::write(entry.path(), "short").expect("written");
        }
    }
    let instead = index::made(&ledger, Some(&index)).expect("read");
    assert_eq!((instead.extent(), all(&instead).expect("answered")), ((0, RECORDS), RECORDS.into()));
}
