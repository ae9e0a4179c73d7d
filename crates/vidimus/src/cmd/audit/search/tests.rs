use clap::Parser;
use serde_json::json;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    search: Search,
}

fn parsed(line: &str) -> Result<Kind, String> {
    let line = Line::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
    line.search.kind().map_err(|error| error.to_string())
}

#[test]
fn a_filter_that_nothing_can_fit_is_refused_and_not_answered_with_nothing() {
    for (line, kind) in [
        ("x", Kind::Decided),
        ("x --outcome deny", Kind::Decided),
        ("x --outcome failed", Kind::Effect),
        ("x --outcome ok --kind all", Kind::All),
        ("x --code no_permit", Kind::Decided),
    ] {
        assert_eq!(parsed(line), Ok(kind), "{line}");
    }
    for (line, says) in [
        ("x --outcome denied", "deny"),
        ("x --code nopermit", "the codes are"),
        ("x --code permit", "did you mean no_permit"),
        ("x --kind efect", "effect"),
        ("x --kind decision --outcome ok", "no record of the --kind"),
        ("x --kind effect --agent a/b", "does not repeat who"),
        ("x --outcome ok --tool t --kind all", "does not repeat who"),
    ] {
        let error = parsed(line).expect_err(line);
        assert!(error.contains(says), "{line}: {error}");
    }
}

const CALL: &str = "019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10";

fn row(resource: &str) -> Row {
    Row::of(&json!({
        "kind": "decision", "time": "2026-11-21T08:00:01.000000Z", "principal": "Agent/finance/invoice-bot",
        "user": "https://login.example.com#grace@example.com", "method": "tools/call", "resource": resource,
        "outcome": "deny", "policies": [], "code": "no_permit", "id": CALL,
    }))
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
    assert!(text.contains("\n08:00:01Z  deny"), "{text}");
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

#[test]
fn what_is_not_there_is_a_dash() {
    let refused = json!({"kind": "refusal", "time": "", "path": "/", "outcome": "deny", "code": "token_expired", "id": CALL});
    let text = render(&[Row::of(&refused)], None, None);
    assert!(text.lines().any(|line| line.starts_with("-  ") && line.matches(" -").count() == 2), "{text}");
}
