//! What must not stand in a line: some reader would end it there, or a terminal would be steered.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Control characters, among them all ends of lines of ASCII and NEL (U+0085), and Unicode's separators of lines and paragraphs.
fn breaks(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}')
}

/// A blank for what must not stand there.
pub(super) fn plain(letter: char) -> char {
    if breaks(letter) { ' ' } else { letter }
}

/// JSON in one line, whatever ends one: what must not stand there is written as an escape, and reads as the same. Outside strings
/// JSON has nothing of it, but blanks that whoever wrote it may have put there.
pub(super) fn escaped(json: &str) -> Cow<'_, str> {
    if !json.contains(breaks) {
        return Cow::Borrowed(json);
    }
    let mut line = String::with_capacity(json.len() + 16);
    for letter in json.chars() {
        match letter {
            // Between members, since it is escaped in strings.
            '\n' | '\r' | '\t' => line.push(' '),
            _ if breaks(letter) => {
                // To a string it does not fail.
                let _ = write!(line, "\\u{:04x}", u32::from(letter));
            }
            _ => line.push(letter),
        }
    }
    Cow::Owned(line)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn json_is_one_line_to_every_reader_and_reads_as_it_did() {
        for text in ["plain", "é=ü…", "a\u{85}b\u{2028}c\u{2029}d\u{7f}e\u{9b}31mf\u{b}\n\r", "\\u2028"] {
            let value = json!({"path": text});
            for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let line = escaped(&json);
                assert!(!line.contains(breaks), "{line:?}");
                assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
            }
        }
        assert!(matches!(escaped(r#"{"path":"/x"}"#), Cow::Borrowed(_)));
    }
}
