use clap::Parser;
use serde_json::json;

use super::found::Found;
use super::table::render;
use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    search: Search,
}

fn parsed(line: &str) -> Result<Wanted, String> {
    let line = Line::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
    line.search.wanted().map_err(|error| error.to_string())
}

#[test]
fn a_filter_that_nothing_can_fit_is_refused_and_not_answered_with_nothing() {
    let all = Some(Decided::All);
    for (line, decided, effects) in [
        ("x", all, false),
        ("x --outcome deny", all, false),
        ("x --outcome deny --code no_permit", all, false),
        ("x --outcome failed", None, true),
        ("x --outcome failed --code upstream_timeout", None, true),
        ("x --outcome ok --kind all", None, true),
        ("x --outcome deny --kind all", all, false),
        // Refusals and effects have the same codes.
        ("x --code no_permit", all, true),
        ("x --code refusals_not_recorded", all, true),
        ("x --code no_permit --kind decision", Some(Decided::Decisions), false),
        ("x --code no_permit --kind refusal", Some(Decided::Refusals), false),
        ("x --kind effect --agent a/b", None, true),
        ("x --outcome ok --tool t --kind all", None, true),
        ("x --since 2026-11-21 --until 2026-11-21T00:00:01Z", all, false),
        ("x --since 1h30m --until 1h", all, false),
    ] {
        assert_eq!(parsed(line), Ok(Wanted { decided, effects }), "{line}");
    }
    for (line, says) in [
        ("x --outcome denied", "deny"),
        ("x --code nopermit", "the codes are"),
        ("x --code permit", "did you mean no_permit"),
        ("x --kind efect", "effect"),
        ("x --kind decision --outcome ok", "no record of the --kind"),
        ("x --kind effect --outcome deny", "no record of the --kind"),
        ("x --since 1h --until 2h", "is not before"),
        ("x --since 2026-11-22 --until 2026-11-21", "is not before"),
        ("x --since yesterday", "2026-11-21"),
        ("x --since 30", "1h30m"),
    ] {
        let error = parsed(line).expect_err(line);
        assert!(error.contains(says), "{line}: {error}");
    }
}

const CALL: &str = "019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10";

fn row(resource: &str) -> Row {
    Row::of(&Found::alone(json!({
        "kind": "decision", "time": "2026-11-21T08:00:01.000000Z", "principal": "Agent/finance/invoice-bot",
        "user": "https://login.example.com#grace@example.com", "method": "tools/call", "resource": resource,
        "outcome": "deny", "policies": [], "code": "no_permit", "id": CALL,
    })))
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

#[test]
fn what_is_not_there_is_a_dash() {
    let refused = json!({"kind": "refusal", "time": "", "path": "/", "outcome": "deny", "code": "token_expired", "id": CALL});
    let text = render(&[Row::of(&Found::alone(refused))], None, None);
    assert!(text.lines().any(|line| line.starts_with("-  ") && line.matches(" -").count() == 2), "{text}");
}
