//! From the text of a file to its documents. A malformed document drops itself; those around it stay.

use serde_json::Value;
use vidimus_core::json::Json;

/// One document of a file.
#[derive(Debug, PartialEq)]
pub(crate) struct Document {
    /// Where its first line of content is, 1-based.
    pub(crate) line: u32,
    pub(crate) content: Result<Value, Malformed>,
}

/// Why a document could not be read.
#[derive(Debug, PartialEq)]
pub(crate) struct Malformed {
    /// The line in the file, 1-based.
    pub(crate) line: u32,
    pub(crate) reason: String,
    pub(crate) fix: &'static str,
}

/// The one document of a JSON file: no key twice, as everywhere.
pub(crate) fn json(text: &str) -> Document {
    let malformed = |reason: String| Malformed { line: 1, reason, fix: "write one valid JSON object" };
    let content = match Json::parse(text.as_bytes()) {
        Ok(_) => serde_json::from_str(text).map_err(|error| malformed(error.to_string())),
        Err(error) => Err(malformed(error.to_string())),
    };
    Document { line: 1, content }
}

/// The text between two document markers.
#[derive(Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) text: &'a str,
    /// The line of its first line, 1-based.
    pub(crate) line: u32,
}

/// Splits at the document markers. YAML 1.2.2 (section 9.1.4, `c-forbidden`) keeps `---` and `...` at the beginning of a
/// line out of every kind of content, so that a line is enough to know one, whatever is malformed around it.
pub(crate) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut pieces = Vec::new();
    let (mut start, mut start_line) = (0, 1);
    let (mut at, mut line) = (0, 1);
    for full in text.split_inclusive('\n') {
        let next = at + full.len();
        if is_marker(full, "---") {
            pieces.push((start..at, start_line));
            (start, start_line) = (at, line);
        } else if is_marker(full, "...") {
            pieces.push((start..at, start_line));
            (start, start_line) = (next, line + 1);
        }
        (at, line) = (next, line + 1);
    }
    pieces.push((start..at, start_line));
    pieces.into_iter().filter_map(|(range, line)| text.get(range).map(|text| Piece { text, line })).collect()
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

impl Piece<'_> {
    /// `None` when there is nothing in it but comments and directives.
    pub(crate) fn read(&self) -> Option<Document> {
        let line = self.first_line_of_content()?;
        let content = serde_saphyr::from_str_with_options::<Value>(self.text, options());
        let content = content.map_err(|error| {
            let error = error.without_snippet();
            let (reason, fix) = said_of(error);
            let found_at = error.location().and_then(|location| u32::try_from(location.line()).ok());
            Malformed {
                line: found_at.map_or(line, |of_piece| self.line.saturating_add(of_piece.saturating_sub(1))),
                reason,
                fix,
            }
        });
        match content {
            Ok(Value::Null) => None,
            content => Some(Document { line, content }),
        }
    }

    fn first_line_of_content(&self) -> Option<u32> {
        for (line, text) in (self.line..).zip(self.text.lines()) {
            let content =
                if is_marker(text, "---") { text.get(3..).unwrap_or_default() } else { text }.trim_start();
            let is_directive = text.starts_with('%') && line == self.line;
            if !content.is_empty() && !content.starts_with('#') && !is_directive {
                return Some(line);
            }
        }
        None
    }
}

/// The reason and the fix, in the words of whoever wrote the file, not of the parser's own user.
fn said_of(error: &serde_saphyr::Error) -> (String, &'static str) {
    match error {
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => (
            format!("the key {key} is written twice in one mapping"),
            "keep one of the two: readers differ in which they take",
        ),
        _ if is_limit(&error.to_string()) => (
            format!("it is nested too deep, or its aliases stand for too much: {error}"),
            "write it flatter, and what an alias stands for where it is meant",
        ),
        _ => (error.to_string(), "write valid YAML: indent with spaces, quote text with special characters"),
    }
}

/// Whether valid YAML is more than is read. The parser tells its own limits apart by their texts only.
fn is_limit(message: &str) -> bool {
    ["recursion limit", "limit exceeded", "budget"].iter().any(|text| message.contains(text))
}

/// Far above any resource, far below what would hurt. An alias that multiplies (a "billion laughs") runs into them.
pub(crate) fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 64,
            max_events: 400_000,
            max_nodes: 200_000,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 20_000,
            max_replay_stack_depth: 8,
        },
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

#[cfg(test)]
mod tests;
