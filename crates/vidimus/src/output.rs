//! What a command prints: a table with colour on a terminal, JSON for programs.

use std::io::{IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

/// Prints one line to standard output. A reader that has gone away (`| head`) ends the command quietly.
pub fn line(text: &str) {
    let written = writeln!(std::io::stdout().lock(), "{text}");
    if written.is_err() {
        std::process::exit(0);
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

/// A table in the style of the house: no borders, headers in bold, fitted to the terminal.
pub fn table(headers: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if !std::io::stdout().is_terminal() {
        // A pipe has no width to fit to: one row, one line.
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table.set_header(headers.iter().map(|header| paint(header, Style::new().bold())));
    table
}

/// The text in a style, where standard output is a terminal and `NO_COLOR` is not set.
pub fn paint(text: &str, style: Style) -> String {
    let plain = !std::io::stdout().is_terminal()
        || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if plain { text.to_owned() } else { format!("{style}{text}{style:#}") }
}

/// Green for what is well, red for what is not.
pub fn verdict(text: &str, good: bool) -> String {
    let color = if good { AnsiColor::Green } else { AnsiColor::Red };
    paint(text, Style::new().fg_color(Some(color.into())))
}

/// Prints a remark on standard error.
pub fn warning(text: &str) {
    // Nothing can be done when standard error is gone.
    let _ = writeln!(std::io::stderr().lock(), "warning: {text}");
}

/// Prints an error and what led to it on standard error.
pub fn error(error: &anyhow::Error) {
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("\n  because: {cause}"));
    }
    // Nothing can be done when standard error is gone.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
