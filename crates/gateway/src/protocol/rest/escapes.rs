//! Texts in paths and queries: with one spelling where the gateway writes them, and read in one way or not at all.

use data_encoding::HEXUPPER;

/// Writes a text so that it is one part of a path, or one value of a query, to every reader (RFC 3986 section 2.3).
pub fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if is_unreserved(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            HEXUPPER.encode_append(&[byte], out);
        }
    }
}

/// What a part of a path or of a query says; `None` where two readers may read two texts: a broken escape, one of what needs none, or what is
/// no UTF-8. `plus`: a plus sign is a space, as in queries of forms.
pub fn decode(written: &str, plus: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(written.len());
    let mut rest = written.as_bytes().iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                let byte = u8::try_from(high * 16 + low).ok()?;
                // Forms, as browsers write them, have an escape of `~` (WHATWG URL section 5.2).
                if is_unreserved(byte) && !(plus && byte == b'~') {
                    return None;
                }
                byte
            }
            b'+' if plus => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Whether a text stays where it is put in a path, however often and early a server undoes its escapes: it has no slash of either kind, no escape of
/// its own and no control character, and is not `.` or `..`, also where a server leaves out what is behind a semicolon.
pub fn is_confined(text: &str) -> bool {
    let has_escape = || {
        let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
        let bytes = text.as_bytes();
        let mut places = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%');
        places.any(|(at, _)| is_hex(bytes.get(at + 1)) && is_hex(bytes.get(at + 2)))
    };
    let is_step = matches!(text.split(';').next(), None | Some("" | "." | ".."));
    !is_step && !text.chars().any(|c| matches!(c, '/' | '\\') || c.is_control()) && !has_escape()
}

/// Whether a byte is written as it is everywhere in an address.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_has_one_meaning() {
        for (written, text, in_query) in [
            ("a", Some("a"), Some("a")),
            ("a%20b", Some("a b"), Some("a b")),
            ("a+b", Some("a+b"), Some("a b")),
            ("a%2Bb", Some("a+b"), Some("a+b")),
            ("a%2bb", Some("a+b"), Some("a+b")),
            ("%c3%a9", Some("\u{e9}"), Some("\u{e9}")),
            ("%c3", None, None),
            ("%61", None, None),
            ("%2E%2E", None, None),
            ("%", None, None),
            ("%4", None, None),
            ("%zz", None, None),
            ("%+1", None, None),
            ("%252F", Some("%2F"), Some("%2F")),
        ] {
            assert_eq!(decode(written, false).as_deref(), text, "{written}");
            assert_eq!(decode(written, true).as_deref(), in_query, "{written}");
        }
    }

    #[test]
    fn what_could_leave_its_part_is_told() {
        for text in ["a", "..a", "a b", "100%", "%zz", "a;b", "\u{2215}", "a?b#c", "{id}"] {
            assert!(is_confined(text), "{text:?}");
        }
        for text in [
            "", "a/b", "/", "a\\b", "%2F", "a%2e%2E", "a%00", "a\n", "a\u{85}b", "\u{0}", ".", "..", "..;a",
            ";a",
        ] {
            assert!(!is_confined(text), "{text:?}");
        }
    }
}
