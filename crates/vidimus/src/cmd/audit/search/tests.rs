use clap::Parser;
use serde_json::json;
use vidimus_query::audit::Found;

use super::table::{Row, render};
use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    search: Search,
}

fn parsed(line: &str) -> Result<SearchQuestion, String> {
    let line = Line::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
    Ok(line.search.filters.question(line.search.kind, line.search.oldest_first))
}

/// Each flag is a member of the question, by the same name.
#[test]
fn what_is_asked_by_flags_is_the_question() {
    let question =
        |members: serde_json::Value| serde_json::from_value::<SearchQuestion>(members).expect("a question");
    for (line, members) in [
        ("x", json!({})),
        (
            "x --outcome failed --code upstream_timeout",
            json!({"outcome": "failed", "code": "upstream_timeout"}),
        ),
        ("x --result ok", json!({"outcome": "ok"})),
        ("x --code refusals_not_recorded", json!({"code": "refusals_not_recorded"})),
        ("x --kind effect --agent a/b", json!({"kind": "effect", "principal": "a/b"})),
        (
            "x --principal p --user u --policy o --resource r --transaction t --kind all --oldest-first",
            json!({"principal": "p", "user": "u", "policy": "o", "resource": "r", "transaction": "t", "kind": "all", "oldest_first": true}),
        ),
        (
            "x --on-behalf-of a/b --instance a/bot-1 --source ::ffff:192.0.2.1 --server a/c --approval 1 --snapshot sha256:0",
            json!({"on_behalf_of": "a/b", "instance": "a/bot-1", "source": "::ffff:192.0.2.1", "server": "a/c", "approval": "1", "configuration": "sha256:0"}),
        ),
        (
            "x --since 2026-11-21 --until 2026-11-21T00:00:01Z",
            json!({"since": "2026-11-21T00:00:00Z", "until": "2026-11-21T00:00:01Z"}),
        ),
    ] {
        assert_eq!(parsed(line), Ok(question(members)), "{line}");
    }
    assert!(parsed("x --since 1h30m --until 1h").is_ok_and(|it| it.since < it.until));
}

#[test]
fn a_flag_that_nothing_can_fit_is_refused_and_says_what_to_write() {
    for (line, says) in [
        ("x --outcome denied", "deny"),
        ("x --code nopermit", "did you mean no_permit"),
        ("x --code quantum", "the codes are"),
        ("x --code permit", "did you mean no_permit"),
        ("x --kind efect", "effect"),
        ("x --source gateway.example", "IP address"),
        ("x --since yesterday", "2026-11-21"),
        ("x --since 30", "1h30m"),
    ] {
        let error = parsed(line).expect_err(line);
        assert!(error.contains(says), "{line}: {error}");
    }
}

const CALL: &str = "019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10";

fn row(resource: &str) -> Row {
    row_of(json!({
        "action": "invokeTool", "body": "", "chain": [], "depth": 1, "facts": {}, "identity": "", "protocol": "mcp", "snapshot": "",
        "trace": "", "transaction": "", "version": 1, "index": 0, "kind": "decision", "time": "2026-11-21T08:00:01.000000Z", "principal": "Agent/finance/invoice-bot",
        "user": "https://login.example.com#grace@example.com", "method": "tools/call", "resource": resource,
        "outcome": "deny", "policies": [], "code": "no_permit", "id": CALL,
    }))
}

fn row_of(found: serde_json::Value) -> Row {
    Row::of(&serde_json::from_value::<Found>(found).expect("a record"))
}

#[test]
fn a_call_id_stands_in_one_piece_and_lines_fit_at_every_width() {
    let rows = [row("Tool/finance/ledger/get_invoice"), row(&"long/".repeat(60))];
    for width in 60..260 {
        let text = render(&rows, Some(width), None);
        assert_eq!(text.matches(CALL).count(), 2, "{width}:\n{text}");
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(width.into()), "{width}:\n{text}");
    }
    let text = render(&rows, None, Some("2026-11-21"));
    assert_eq!(text.lines().count(), 3, "a row is a line where nothing has a width:\n{text}");
    assert!(text.contains("2026-11-21 08:00:01Z"), "{text}");
    let text = render(&rows, Some(80), Some("2026-11-21"));
    assert!(text.contains("\n08:00:01Z   deny") && text.contains("\ndecision "), "{text}");
}

#[test]
fn a_caller_cannot_forge_a_row() {
    let name = "Tool/a/b/x\u{1b}[31mRED\u{1b}[0m\nFAKE ROW allow";
    for width in [None, Some(80), Some(200)] {
        let text = render(&[row(name)], width, None);
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("FAKE")), "{text}");
    }
}

/// A policy that redacts permits nothing, and is why the call was another one.
#[test]
fn a_policy_that_changed_the_call_stands_beside_those_that_decided() {
    let demanded = |value: &str| json!({"change": "redact", "policy": "books/hide", "value": value});
    let changed = row_of(json!({
        "action": "invokeTool", "body": "", "chain": [], "depth": 1, "facts": {}, "identity": "", "protocol": "mcp", "snapshot": "",
        "trace": "", "transaction": "", "version": 1, "index": 0, "kind": "decision", "time": "", "principal": "Agent/a/b",
        "method": "tools/call", "resource": "Tool/a/b/c", "outcome": "allow-with-obligations", "policies": ["books/read"], "id": CALL,
        "obligations": [demanded("/iban"), demanded("/name")],
    }));
    let text = render(&[changed], None, None);
    assert!(text.contains("books/read, books/hide  "), "{text}");
}

#[test]
fn what_is_not_there_is_a_dash() {
    let refused = json!({"kind": "refusal", "time": "", "path": "/", "outcome": "deny", "code": "token_expired", "id": CALL,
        "message": "", "trace": "", "version": 1, "index": 0});
    let text = render(&[row_of(refused)], None, None);
    assert!(text.lines().any(|line| line.starts_with("-  ") && line.matches(" -").count() == 2), "{text}");
}

/// It says nothing of the log that somebody may not read it.
#[test]
fn what_may_not_be_read_is_no_damage_and_is_not_searched() {
    use std::io::ErrorKind::{Other, PermissionDenied};
    use vidimus_ledger::{FileError, SearchError};
    let line = Line::try_parse_from(["x"]).expect("parsed");
    let failed = |kind: std::io::ErrorKind| {
        Damage::Log(SearchError::File(FileError {
            doing: "read",
            path: "segments/0".into(),
            source: kind.into(),
        }))
    };
    let mut shown = Shown::new(&line.search, Format::Table);
    let error = shown.take(Err(failed(PermissionDenied))).expect_err("not searched");
    assert!(format!("{error:#}").contains("permission denied") && !shown.damaged, "{error:#}");
    assert!(shown.take(Err(failed(Other))).expect("searched on") && shown.damaged);
}
