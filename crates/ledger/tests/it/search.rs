use std::fs::OpenOptions;
use std::io::Write as _;

use vidimus_core::record::{Record, RefusalRecord};
use vidimus_ledger::{Config, Ledger, Matcher, Query, SearchError, search, show, show_intact};

use crate::support::{Asked, SEAL, config, decide, effect, killed, refusal, segments, time};

/// Indexes of the records that fit.
fn found(dir: &std::path::Path, query: &Query) -> Vec<u64> {
    search(dir, query).expect("searched").map(|hit| hit.expect("read").index).collect()
}

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

/// 0 allowed, 1 its effect, 2 denied with another agent, 3 a refusal, 4 by no user on an agent.
async fn example(dir: &std::path::Path) -> Ledger {
    let ledger = Ledger::open(Config { segment_bytes: 900, ..config(dir) }).expect("opened");
    let decision = decide(&ledger, &Asked::default()).await;
    let record = Record::Effect(effect("call-0", decision, 1));
    ledger.record(&record).await.expect("recorded");
    let denied = Asked {
        id: "call-1".to_owned(),
        agent: "Agent/sales/bot",
        outcome: "deny",
        policy: "finance/no \"quotes\"",
        transaction: "txn-2",
        second: 2,
        ..Asked::default()
    };
    decide(&ledger, &denied).await;
    ledger.record(&refusal("call-2")).await.expect("recorded");
    let agent = Asked {
        id: "call-3".to_owned(),
        resource: "Agent/finance/invoice-bot",
        user: None,
        second: 70,
        ..Asked::default()
    };
    decide(&ledger, &agent).await;
    ledger
}

#[tokio::test]
async fn records_are_found_by_each_of_their_members() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = example(dir.path()).await;
    let at = |second| time(second).parse().ok();
    let any = Query::default;
    let cases: Vec<(Query, &[u64])> = vec![
        (any(), &[0, 1, 2, 3, 4]),
        (Query { agent: text("Agent/finance/invoice-bot"), ..any() }, &[0, 4]),
        (Query { agent: text("finance/invoice-bot"), ..any() }, &[0, 4]),
        (Query { agent: text("bot"), ..any() }, &[2]),
        (Query { agent: text("voice-bot"), ..any() }, &[]),
        (Query { user: text("alice"), ..any() }, &[0, 2]),
        (Query { user: text("https://login.example.com#alice"), ..any() }, &[0, 2]),
        (Query { policy: text("finance-read"), ..any() }, &[0, 4]),
        (Query { policy: text("no \"quotes\""), ..any() }, &[2]),
        (Query { outcome: text("deny"), ..any() }, &[2, 3]),
        (Query { outcome: text("ok"), ..any() }, &[1]),
        (Query { resource: text("get_invoice"), ..any() }, &[0, 2]),
        (Query { resource: text("invoice-bot"), ..any() }, &[4]),
        (Query { kind: text("effect"), ..any() }, &[1]),
        (Query { kind: text("refusal"), ..any() }, &[3]),
        (Query { code: text("no_permit"), ..any() }, &[2]),
        (Query { transaction: text("txn-1"), ..any() }, &[0, 4]),
        (Query { id: text("call-0"), ..any() }, &[0, 1]),
        (Query { id: text("call"), ..any() }, &[]),
        (Query { since: at(1), ..any() }, &[1, 2, 4]),
        (Query { until: at(2), ..any() }, &[0, 1, 3]),
        (Query { since: at(1), until: at(2), ..any() }, &[1]),
        (Query { agent: text("invoice-bot"), resource: text("get_invoice"), ..any() }, &[0]),
        (Query { limit: Some(2), ..any() }, &[0, 1]),
        (Query { limit: Some(0), ..any() }, &[]),
        (Query { newest_first: true, ..any() }, &[4, 3, 2, 1, 0]),
        (Query { newest_first: true, limit: Some(3), ..any() }, &[4, 3, 2]),
        (Query { newest_first: true, limit: Some(1), outcome: text("deny"), ..any() }, &[3]),
    ];
    for (query, expected) in cases {
        assert_eq!(found(dir.path(), &query), expected, "{query:?}");
    }
    ledger.close().await;
}

#[tokio::test]
async fn what_is_read_is_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = example(dir.path()).await;
    // Others read too, in this process.
    let before = vidimus_ledger::records_read();
    assert!(found(dir.path(), &Query { id: text("none"), ..Query::default() }).is_empty());
    assert!(vidimus_ledger::records_read() >= before + 5);
    ledger.close().await;
}

/// 0 a call of a first hop, 1 one of the third hop, by a server with members, 2 a refusal on the way, 3 what people are asked about it, 4 a start,
/// 5 a quarantine of the server.
fn others() -> [serde_json::Value; 6] {
    use serde_json::json;
    let time = "2026-11-28T00:00:00.000000Z";
    let decision = |principal: &str, chain: serde_json::Value, rest: serde_json::Value| {
        let mut record = json!({
            "action": "invokeTool", "body": "sha256:0", "chain": chain, "depth": 1, "facts": {}, "id": "c", "identity": "i", "kind": "decision",
            "method": "tools/call", "outcome": "allow", "policies": [], "principal": principal, "protocol": "mcp", "resource": "Tool/a/mail/send",
            "snapshot": "sha256:01", "time": time, "trace": "", "transaction": "t", "version": 1,
        });
        if let (Some(record), serde_json::Value::Object(rest)) = (record.as_object_mut(), rest) {
            record.extend(rest);
        }
        record
    };
    let act = |act: serde_json::Value| json!({"act": act, "actor": "vidimus", "id": "x", "kind": "act", "time": time, "version": 1, "why": "w"});
    let chain = json!(["Agent/a/first", "Agent/a/middle"]);
    [
        decision(
            "Agent/a/first",
            json!([]),
            json!({"snapshot": "sha256:02", "user": "https://i.example#ada"}),
        ),
        decision(
            "Agent/a/last",
            chain.clone(),
            json!({"approval": "p-1", "instance": {"id": "6d1f", "kind": "pod", "name": "a/last-0"}, "source": "192.0.2.1", "via": "MCPServer/a/all"}),
        ),
        json!({
            "asked": {"action": "invokeTool", "approval": "p-1", "method": "tools/call", "policies": [], "resource": "Tool/a/mail/send", "transaction": "t"},
            "chain": chain, "code": "approval_denied", "id": "r", "kind": "refusal", "message": "", "outcome": "deny", "path": "/",
            "source": "::ffff:192.0.2.1", "time": time, "trace": "", "version": 1,
        }),
        act(json!({"ask": {
            "action": "invokeTool", "approval": "p-1", "asking": [], "call": "c", "chain": chain, "digest": "d", "endpoint": "https://a.example",
            "instance": "6d1f", "method": "tools/call", "owner": "o", "principal": "Agent/a/last", "resource": "Tool/a/mail/send", "until": 1,
        }})),
        act(
            json!({"start": {"configuration": "sha256:02", "flags": "sha256:03", "found": "new", "version": "1"}}),
        ),
        act(json!({"quarantine": {"subject": "MCPServer/a/mail"}})),
    ]
}

#[tokio::test]
async fn records_are_found_by_whoever_acted_before_and_by_what_decided() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = Ledger::open(config(dir.path())).expect("opened");
    for record in others() {
        let record = vidimus_core::record::Kept::read(record.to_string().as_bytes()).expect("a record");
        ledger.record(&record).await.expect("recorded");
    }
    let any = Query::default;
    let cases: Vec<(Query, &[u64])> = vec![
        (Query { on_behalf_of: text("Agent/a/middle"), ..any() }, &[1, 2, 3]),
        (Query { on_behalf_of: text("first"), ..any() }, &[1, 2, 3]),
        (Query { on_behalf_of: text("irst"), ..any() }, &[]),
        (Query { on_behalf_of: text("a/last"), ..any() }, &[]),
        (Query { on_behalf_of: text("ada"), ..any() }, &[0]),
        (Query { on_behalf_of: text("https://i.example#ada"), ..any() }, &[0]),
        (Query { instance: text("6d1f"), ..any() }, &[1, 3]),
        (Query { instance: text("last-0"), ..any() }, &[1]),
        (Query { source: text("192.0.2.1"), ..any() }, &[1, 2]),
        (Query { source: text("2.0.2.1"), ..any() }, &[]),
        (Query { server: text("a/mail"), ..any() }, &[0, 1, 2, 3, 5]),
        (Query { server: text("mail"), kind: text("act"), ..any() }, &[3, 5]),
        (Query { server: text("a/all"), ..any() }, &[1]),
        (Query { server: text("send"), ..any() }, &[]),
        (Query { approval: text("p-1"), ..any() }, &[1, 2, 3]),
        (Query { configuration: text("sha256:02"), ..any() }, &[0, 4]),
        (Query { configuration: text("01"), ..any() }, &[1]),
    ];
    for (query, expected) in cases {
        assert_eq!(found(dir.path(), &query), expected, "{query:?}");
    }
    ledger.close().await;
}

/// Of callers that nobody registered there is no principal, only what they proved.
#[tokio::test]
async fn a_refusal_is_found_by_the_identity_that_was_proven() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = Ledger::open(config(dir.path())).expect("opened");
    for (index, identity) in
        ["oidc:https://login.example#anna", "spiffe://corp.example/bot"].into_iter().enumerate()
    {
        for principal in [None, Some("Agent/a/b".into())] {
            let Record::Refusal(refused) = refusal("x") else { panic!("a refusal") };
            let user = (index == 1).then(|| "https://login.example#otto".into());
            let record = Record::Refusal(RefusalRecord {
                asked: None,
                identity: Some(identity.into()),
                principal,
                user,
                ..refused
            });
            ledger.record(&record).await.expect("recorded");
        }
    }
    for (value, as_agent, as_user) in [
        ("oidc:https://login.example#anna", &[0][..], &[0][..]),
        ("https://login.example#anna", &[0], &[0]),
        ("anna", &[0], &[0]),
        ("nna", &[], &[]),
        ("spiffe://corp.example/bot", &[2], &[2]),
        ("otto", &[], &[2, 3]),
        ("a/b", &[1, 3], &[]),
    ] {
        assert_eq!(found(dir.path(), &Query { agent: text(value), ..Query::default() }), as_agent, "{value}");
        assert_eq!(found(dir.path(), &Query { user: text(value), ..Query::default() }), as_user, "{value}");
    }
    ledger.close().await;
}

#[tokio::test]
async fn a_search_sees_what_is_written_while_it_is_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = Ledger::open(Config { segment_bytes: 2000, ..config(dir.path()) }).expect("opened");
    for index in 0..40 {
        ledger.record(&refusal("x")).await.expect("recorded");
        let newest = found(dir.path(), &Query { newest_first: true, limit: Some(1), ..Query::default() });
        assert_eq!(newest, [index]);
        assert_eq!(found(dir.path(), &Query::default()).len() as u64, index + 1);
    }
    ledger.close().await;
}

#[tokio::test]
async fn an_unfinished_write_ends_a_search_and_damage_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    example(dir.path()).await.close().await;
    let paths = segments(dir.path());
    assert!(paths.len() >= 3, "{paths:?}");
    OpenOptions::new()
        .append(true)
        .open(&paths[paths.len() - 1])
        .and_then(|mut file| file.write_all(&[90, 0, 0]))
        .expect("written");
    assert_eq!(found(dir.path(), &Query::default()), [0, 1, 2, 3, 4]);

    let mut bytes = std::fs::read(&paths[0]).expect("read");
    bytes[100] ^= 1;
    std::fs::write(&paths[0], bytes).expect("written");
    let results: Vec<_> = search(dir.path(), &Query::default()).expect("searched").collect();
    assert!(matches!(results[0], Err(SearchError::Damaged { .. })), "{results:?}");
    let rest: Vec<_> = results[1..].iter().map(|hit| hit.as_ref().expect("read").index).collect();
    assert!(!rest.is_empty() && rest[rest.len() - 1] == 4, "other segments are searched: {rest:?}");

    let empty = tempfile::tempdir().expect("a directory");
    assert!(matches!(search(empty.path(), &Query::default()), Err(SearchError::NotALedger { .. })));
    assert!(matches!(show(empty.path(), "x"), Err(SearchError::NotALedger { .. })));
}

/// A process that was killed wrote a record and not its seal: it is none of the log, and takes no place among the newest.
#[tokio::test]
async fn what_has_no_seal_takes_no_place_among_the_newest() {
    let dir = tempfile::tempdir().expect("a directory");
    killed(dir.path(), 3, 2).await;
    let path = segments(dir.path()).pop().expect("one");
    let bytes = std::fs::read(&path).expect("read");
    std::fs::write(&path, &bytes[..bytes.len() - SEAL]).expect("written");
    let newest = |limit| found(dir.path(), &Query { newest_first: true, limit, ..Query::default() });
    assert_eq!(newest(None), [3, 2, 1, 0]);
    assert_eq!(newest(Some(1)), [3]);
    assert_eq!(newest(Some(2)), [3, 2]);
}

#[tokio::test]
async fn the_newest_are_not_shown_as_such_when_newer_ones_are_missing() {
    let newest = Query { newest_first: true, limit: Some(1), ..Query::default() };
    type Alter = fn(&std::path::Path);
    let cases: [(&str, Alter, &str); 4] = [
        (
            "the last record is damaged",
            |dir| flip_last(&segments(dir).pop().expect("one")),
            "is damaged; records from 4 on",
        ),
        (
            "the last segment is gone",
            |dir| drop(std::fs::remove_file(segments(dir).pop().expect("one"))),
            "were signed for",
        ),
        ("the last record is cut off", |dir| cut(&segments(dir).pop().expect("one")), "were signed for"),
        ("a segment ends early", |dir| cut(&segments(dir).remove(0)), "is damaged"),
    ];
    for (what, alter, says) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        example(dir.path()).await.close().await;
        alter(dir.path());
        let query =
            if what.contains("early") { Query { limit: None, ..newest.clone() } } else { newest.clone() };
        let results: Vec<_> = search(dir.path(), &query).expect("searched").collect();
        let error = results.iter().position(Result::is_err).unwrap_or_else(|| panic!("{what}: {results:?}"));
        let text = results[error].as_ref().expect_err("an error").to_string();
        assert!(text.contains(says), "{what}: {text}");
        assert!(error == 0 || what.contains("early"), "{what}: {results:?}");
        assert!(
            results.len() > error + 1 || what.contains("early"),
            "the search goes on: {what}: {results:?}"
        );
    }
}

/// Also that all is gone is told: what is not found may have been there.
#[tokio::test]
async fn a_search_of_what_was_taken_away_is_not_one_that_finds_nothing() {
    type Alter = fn(&std::path::Path);
    fn remove(path: std::path::PathBuf) {
        std::fs::remove_file(path).expect("removed");
    }
    let cases: [(&str, Alter, &str, usize); 6] = [
        (
            "all segments are gone",
            |dir| segments(dir).into_iter().for_each(remove),
            "0 records are there, but 5 were signed for",
            0,
        ),
        (
            "the first segment is gone",
            |dir| remove(segments(dir).remove(0)),
            "is damaged; records from 0 on",
            1,
        ),
        ("the checkpoint is gone", |dir| remove(dir.join("checkpoint")), "checkpoint is missing", 5),
        (
            "the checkpoint and the segments are gone",
            |dir| {
                segments(dir).into_iter().for_each(remove);
                remove(dir.join("checkpoint"));
            },
            "checkpoint is missing",
            0,
        ),
        (
            "the checkpoint is another's",
            |dir| std::fs::write(dir.join("checkpoint"), "x").expect("written"),
            "not a signed note",
            5,
        ),
        ("the key is gone", |dir| remove(dir.join("keys/checkpoint.vkey")), "checkpoint.vkey", 5),
    ];
    for (what, alter, says, least) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        example(dir.path()).await.close().await;
        alter(dir.path());
        let results: Vec<_> = search(dir.path(), &Query::default()).expect("searched").collect();
        let (told, hits): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_err);
        let told: Vec<String> =
            told.into_iter().map(|told| told.expect_err("an error").to_string()).collect();
        assert!(told.len() == 1 && told[0].contains(says), "{what}: {told:?}");
        assert!(hits.len() >= least, "what is there is found: {what}: {hits:?}");
        let shown = show_intact(dir.path(), "no such call").expect("read");
        assert_eq!((shown.records.len(), shown.damage.len()), (0, 1), "{what}: {:?}", shown.damage);
    }
    // A log that is just being made has nothing that could be missing.
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("segments")).expect("made");
    assert_eq!(search(dir.path(), &Query::default()).expect("searched").count(), 0);
}

/// A policy of two statements has a number for each; its name is that of both.
#[tokio::test]
async fn a_policy_is_found_by_its_name_whichever_of_its_statements_decided() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = Ledger::open(config(dir.path())).expect("opened");
    for policy in ["ops/p1#0", "ops/p1#1", "ops/p1", "ops/p10#0", "ops/xp1#0"] {
        decide(&ledger, &Asked { policy, ..Asked::default() }).await;
    }
    for (asked, expected) in [
        ("ops/p1", &[0, 1, 2][..]),
        ("p1", &[0, 1, 2]),
        ("ops/p1#0", &[0]),
        ("p1#1", &[1]),
        ("ops/p10", &[3]),
        ("#0", &[]),
        ("ops/p", &[]),
    ] {
        let query = Query { policy: text(asked), ..Query::default() };
        assert_eq!(found(dir.path(), &query), expected, "{asked}");
    }
    ledger.close().await;
}

/// A policy that changes a call decides nothing: it is among the record's obligations alone.
#[test]
fn a_policy_is_found_by_the_calls_that_it_changed() {
    let record = br#"{"action":"invokeTool","body":"sha256:0","chain":[],"depth":1,"facts":{},"id":"c","identity":"i","kind":"decision","method":"tools/call","obligations":[{"change":"redact","policy":"books/hide#1","value":"/iban"}],"outcome":"allow-with-obligations","policies":["books/read"],"principal":"Agent/a/b","protocol":"mcp","resource":"Tool/a/b/c","snapshot":"s","time":"2026-11-28T00:00:00.000000Z","trace":"t","transaction":"x","version":1}"#;
    for (policy, expected) in [
        ("books/hide", true),
        ("hide", true),
        ("books/hide#1", true),
        ("books/read", true),
        ("books/hid", false),
    ] {
        let query = Query { policy: text(policy), ..Query::default() };
        assert_eq!(Matcher::new(&query).matches(record), expected, "{policy}");
    }
}

/// Segments that end long before an id was made are not read for it: what is damaged in them is not met.
#[tokio::test]
async fn what_was_written_before_an_id_was_made_is_not_read_for_it() {
    const DAY: u64 = 86_400;
    let made = |second: u64| {
        let at: jiff::Timestamp = time(0).parse().expect("a time");
        let seconds = u64::try_from(at.as_second()).expect("after 1970") + second;
        let at = uuid::Timestamp::from_unix(uuid::NoContext, seconds, 0);
        uuid::Uuid::new_v7(at).hyphenated().to_string()
    };
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = Ledger::open(Config { segment_bytes: 900, ..config(dir.path()) }).expect("opened");
    let (old, new) = (made(0), made(5 * DAY));
    let asked = |id: &str, second: u64| Asked {
        id: id.to_owned(),
        transaction: if second < DAY { "txn-1" } else { "txn-2" },
        second: second.try_into().expect("small"),
        ..Asked::default()
    };
    for second in 0..4 {
        decide(&ledger, &asked(&old, second)).await;
    }
    for second in 0..4 {
        decide(&ledger, &asked(&new, 5 * DAY + second)).await;
    }
    // A clock that was put back: what is written after a record is read, whatever it says.
    decide(&ledger, &asked(&new, 60)).await;
    decide(&ledger, &asked("last", 61)).await;
    ledger.close().await;
    let by_id = |id: &str| Query { id: text(id), ..Query::default() };
    assert_eq!(found(dir.path(), &by_id(&new)), [4, 5, 6, 7, 8]);
    assert_eq!(found(dir.path(), &by_id(&old)), [0, 1, 2, 3]);
    flip_last(&segments(dir.path())[0]);
    assert_eq!(found(dir.path(), &by_id(&new)), [4, 5, 6, 7, 8]);
    for query in [by_id(&old), by_id("call"), by_id(&made(0))] {
        assert!(search(dir.path(), &query).expect("searched").any(|hit| hit.is_err()), "{query:?}");
    }
}

fn flip_last(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).expect("read");
    // Two seals are behind the last record: its own, and that of the end.
    let last = bytes.len() - 2 * SEAL - 1;
    bytes[last] = 0;
    std::fs::write(path, bytes).expect("written");
}

/// Cuts off all that follows the header.
fn cut(path: &std::path::Path) {
    let bytes = std::fs::read(path).expect("read");
    std::fs::write(path, &bytes[..30]).expect("written");
}
