//! What a command prints: a table with colour on a terminal, JSON for programs.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::json;

pub use vidimus_query::printable;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

/// What the commands say of themselves follows this too: errors and warnings. Set once, by `main`.
static FORMAT: OnceLock<Format> = OnceLock::new();

/// The first write to standard output that failed. Nothing is written after it.
static FAILED: OnceLock<io::Error> = OnceLock::new();

/// How errors and warnings are printed from now on.
pub fn speak(format: Format) {
    // Only the first counts, and there is one.
    let _ = FORMAT.set(format);
}

/// Whether a program reads what is printed.
pub fn is_json() -> bool {
    FORMAT.get() == Some(&Format::Json)
}

/// Prints one line to standard output. Whether it could be written is seen at the end, by [`ended`]: the command has its verdict all
/// the same.
pub fn line(text: &str) {
    if FAILED.get().is_none() {
        note(writeln!(io::stdout().lock(), "{text}"));
    }
}

/// Whether what is printed goes nowhere any more: for a command that has no end of its own.
pub fn is_gone() -> bool {
    FAILED.get().is_some()
}

fn note(written: io::Result<()>) {
    if let Err(error) = written {
        // The first is why the others failed.
        let _ = FAILED.set(error);
    }
}

/// The exit status of a command with this verdict. A reader that has gone away (`| head`) changes nothing of it; what could not be
/// written for another reason is an error, 2: whoever reads what was printed must not take it for all there is.
pub fn ended(verdict: ExitCode) -> ExitCode {
    if FAILED.get().is_none() {
        note(io::stdout().lock().flush());
    }
    match FAILED.get() {
        Some(failed) if failed.kind() != io::ErrorKind::BrokenPipe => {
            error(&anyhow::anyhow!("the result could not be written to standard output: {failed}"));
            ExitCode::from(2)
        }
        _ => verdict,
    }
}

/// Prints one JSON document on a line.
pub fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    line(&serde_json::to_string(value)?);
    Ok(())
}

/// A text member of a record; empty where there is none.
pub fn text<'r>(record: &'r serde_json::Value, name: &str) -> &'r str {
    record.get(name).and_then(serde_json::Value::as_str).unwrap_or_default()
}

/// The lines of a text, each as [`printable`]: an error may quote a file that somebody else wrote.
fn shown(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

/// The width of the terminal on standard output; `None` where there is none, or where it does not say or is of no use.
pub fn width() -> Option<u16> {
    Table::new().width().filter(|width| *width >= 60)
}

/// A table in the style of the house: no borders, headers in bold, fitted to `width`; without one, one row is one line. Columns
/// in `whole` are never broken.
pub fn table(headers: &[&str], whole: &[usize], width: Option<u16>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    let bold = |header: &&str| styled(Cell::new(header), |cell| cell.add_attribute(Attribute::Bold));
    table.set_header(headers.iter().map(bold));
    for (column, at) in table.column_iter_mut().zip(0..) {
        column.set_padding((0, 2));
        if whole.contains(&at) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table
}

/// A cell; `-` where there is nothing to say.
pub fn cell(text: &str) -> Cell {
    Cell::new(if text.is_empty() { "-" } else { text })
}

/// An instant of RFC 3339 in UTC, to the second, as all tables have it; without the date where it is `today`'s. What is no instant stays.
pub fn when(time: &str, today: Option<&str>) -> String {
    match (time.get(..10), time.get(11..19)) {
        (Some(date), Some(clock)) if Some(date) == today => format!("{clock}Z"),
        (Some(date), Some(clock)) if time.ends_with('Z') => format!("{date} {clock}Z"),
        _ => printable(time).into_owned(),
    }
}

/// A cell, green for what is well, red for what is not. Not by [`verdict`]: its codes would count as width.
pub fn verdict_cell(text: &str, good: bool) -> Cell {
    styled(cell(text), |cell| cell.fg(if good { Color::Green } else { Color::Red }))
}

fn styled(cell: Cell, style: impl FnOnce(Cell) -> Cell) -> Cell {
    if is_plain() { cell } else { style(cell) }
}

/// Whether standard output takes no styles.
pub fn is_plain() -> bool {
    !io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// The text in a style, where standard output is a terminal and `NO_COLOR` is not set.
pub fn paint(text: &str, style: Style) -> String {
    if is_plain() { text.to_owned() } else { format!("{style}{text}{style:#}") }
}

/// Green for what is well, red for what is not.
pub fn verdict(text: &str, good: bool) -> String {
    let color = if good { AnsiColor::Green } else { AnsiColor::Red };
    paint(text, Style::new().fg_color(Some(color.into())))
}

/// Prints a remark on standard error.
pub fn warning(text: &str) {
    say(&printable(text), &[], "warning");
}

/// Prints an error and what led to it on standard error.
pub fn error(error: &anyhow::Error) {
    let because: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
    say(&error.to_string(), &because, "error");
}

/// For people `error: …` and its causes below each other; with `-o json` one document on a line, `{"error": …, "because": [ … ]}`.
fn say(text: &str, because: &[String], what: &str) {
    let said = if is_json() {
        match because {
            [] => json!({ what: text }).to_string(),
            because => json!({ what: text, "because": because }).to_string(),
        }
    } else {
        let first = format!("{what}: {}", shown(text));
        because.iter().fold(first, |said, cause| format!("{said}\n  because: {}", shown(cause)))
    };
    let mut to = io::stderr().lock();
    let taken_back = if UNENDED.swap(false, Ordering::Relaxed) { TAKE_BACK } else { "" };
    // Nothing can be done when standard error is gone.
    let _ = writeln!(to, "{taken_back}{said}");
}

/// Takes a line on a terminal back.
const TAKE_BACK: &str = "\r\u{1b}[K";

/// Whether a line that has no end stands on standard error: whatever is said then takes its place.
static UNENDED: AtomicBool = AtomicBool::new(false);

/// Shows a line on standard error, a terminal, in the place of the one before; an empty one takes that back.
pub fn in_place(text: &str) {
    let mut to = io::stderr().lock();
    UNENDED.store(!text.is_empty(), Ordering::Relaxed);
    // Nothing can be done when standard error is gone.
    let _ = write!(to, "{TAKE_BACK}{text}").and_then(|()| to.flush());
}

#[cfg(test)]
mod tests {
    use super::{printable, shown, when};

    #[test]
    fn times_have_one_form() {
        for (time, today, shown) in [
            ("2026-11-27T18:20:11.123456Z", None, "2026-11-27 18:20:11Z"),
            ("2026-11-27T18:20:11.123Z", Some("2026-11-27"), "18:20:11Z"),
            ("2026-11-27T18:20:11Z", Some("2026-11-26"), "2026-11-27 18:20:11Z"),
            ("soon", None, "soon"),
        ] {
            assert_eq!(when(time, today), shown, "{time}");
        }
    }

    #[test]
    fn nothing_that_steers_a_terminal_or_misleads_the_eye_is_printed() {
        for (text, shown) in [
            ("x\u{1b}[31mRED\u{1b}[0m\nFAKE ROW allow", r"x\u{1b}[31mRED\u{1b}[0m\nFAKE ROW allow"),
            ("a\tb\r\u{7f}\u{9b}31m\0", r"a\tb\r\u{7f}\u{9b}31m\u{0}"),
            ("pay\u{202e}eciovni\u{2066}", r"pay\u{202e}eciovni\u{2066}"),
            (
                "in\u{200b}voice\u{ad}\u{feff}\u{e0041}\u{2028}",
                r"in\u{200b}voice\u{ad}\u{feff}\u{e0041}\u{2028}",
            ),
        ] {
            assert_eq!(printable(text), shown);
        }
        assert_eq!(shown("a\u{1b}[31m\nb\u{9b}\r\n"), "a\\u{1b}[31m\nb\\u{9b}");
        for text in ["", "Tool/finance/ledger/get_invoice", "Grüße, 世界 — \"ok\" 🙂", r"C:\dir"] {
            assert_eq!(printable(text), text);
        }
    }
}
