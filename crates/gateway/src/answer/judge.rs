//! Whether what an upstream says is of its protocol, as far as that can be told before it passes. What is not does not pass: the
//! caller gets an error of its own protocol, and the record the beginning of what came.

use http::HeaderMap;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::response::Parts;
use vidimus_core::refusal::{Answered, Class, Code, Refusal};

use crate::protocol::observe::{Observation, Observe, Sought};
use crate::protocol::rest::Came;

/// The longest extract of an answer that a record has, in bytes.
const EXTRACT: usize = 240;

/// The longest word of it that is shown, in bytes. An error page may show the credential that it was sent, which is longer.
const LONGEST_WORD: usize = 24;

/// How the events of a stream begin.
const EVENTS: [&[u8]; 5] = [b":", b"data:", b"event:", b"id:", b"retry:"];

/// Whether an answer of success may begin like this. `text` has something other than white space, or is all there is of it.
pub fn may_begin(sought: &Sought, text: &[u8]) -> bool {
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text).trim_ascii_start();
    match text.first() {
        Some(b'{' | b'[') => true,
        // A server that labels its events as something else is understood by SDKs of models.
        Some(_) if sought.observe == Observe::Model => {
            EVENTS.iter().any(|begins| text.starts_with(begins) || begins.starts_with(text))
        }
        // What wants no answer may be answered by words, and not by a page of somebody in between.
        Some(first) => !sought.is_due() && *first != b'<',
        None => !sought.is_due(),
    }
}

/// Whether a whole answer of success may pass: where an answer is due it is one, or the protocol's error.
pub fn is_answer(sought: &Sought, found: Observation, text: &[u8]) -> bool {
    if !may_begin(sought, text) {
        return false;
    }
    // Events that are labelled as a document are not read.
    let is_events = || !matches!(text.trim_ascii_start().first(), Some(b'{' | b'['));
    !sought.is_due() || found.answered || found.is_error || sought.observe == Observe::Model && is_events()
}

/// Whether the whole answer of an error status may pass: it is the protocol's own error, and not a result, which would not be filtered;
/// or it is nothing, where nothing is waited for.
pub fn is_error(sought: &Sought, found: Observation, text: &[u8]) -> bool {
    let says = if sought.observe == Observe::Model { found.is_error } else { found.is_rpc_error };
    says && !found.unread || !sought.is_due() && text.is_empty()
}

/// The refusal that stands for what did not pass.
pub fn not_of_protocol(status: u16, headers: &HeaderMap, text: &[u8]) -> Refusal {
    let message = match status {
        400.. => format!("the upstream answered {status}, with an error that is not one of its protocol"),
        _ => "what the upstream answered is no answer of its protocol".to_owned(),
    };
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("no type");
    let shown = if text.is_empty() { "nothing".to_owned() } else { extract(text) };
    Refusal::new(Code::UpstreamInvalid, message)
        .with_detail(format!("{status}, {}: {shown}", extract(kind.as_bytes())))
}

/// The refusal of what began as nothing of its protocol does, when that was seen only after the head had passed.
pub fn not_begun_so(text: &[u8]) -> Refusal {
    Refusal::new(Code::UpstreamInvalid, "what the upstream answered is no answer of its protocol")
        .with_detail(extract(text))
}

/// A refusal with what is told of the answer that it stands for, where the upstream is at fault.
pub fn with_answer(mut refusal: Refusal, parts: &Parts) -> Refusal {
    const LONGEST: usize = 64;
    if matches!(refusal.code.class(), Class::BadUpstream | Class::UpstreamTimeout) {
        let after = parts.headers.get(RETRY_AFTER).and_then(|after| after.to_str().ok());
        let retry_after = after.filter(|after| after.len() <= LONGEST).map(Into::into);
        // What an answer was made of has the status that it came with.
        let status = parts.extensions.get().map_or(parts.status, |came: &Came| came.status).as_u16();
        refusal.upstream = Some(Box::new(Answered { status, retry_after }));
    }
    refusal
}

/// The beginning of a text, in one line, without words that may be secrets.
fn extract(text: &[u8]) -> String {
    let begins = text.get(..text.len().min(EXTRACT * 4)).unwrap_or_default();
    let begins = String::from_utf8_lossy(begins);
    let is_gap = |c: char| c.is_whitespace() || c.is_control();
    let mut shown = String::new();
    for word in begins.split(is_gap).filter(|word| !word.is_empty()) {
        if !shown.is_empty() {
            shown.push(' ');
        }
        for part in word.split_inclusive(|c: char| !is_of_secret(c)) {
            // What ends a part is no part of a secret.
            let secret = part.trim_end_matches(|c: char| !is_of_secret(c));
            match secret.len() > LONGEST_WORD {
                true => shown.extend(["…", part.strip_prefix(secret).unwrap_or_default()]),
                false => shown.push_str(part),
            }
        }
    }
    if shown.len() > EXTRACT {
        let end = shown.floor_char_boundary(EXTRACT);
        shown.truncate(end);
        shown.push('…');
    }
    shown
}

/// Whether a token or a key may have this character.
fn is_of_secret(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '/' | '=' | '~' | '%')
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = "\u{feff}";

    fn sought(observe: Observe, id: Option<&str>) -> Sought {
        Sought { observe, id: id.map(Into::into) }
    }

    #[test]
    fn how_an_answer_may_begin() {
        let (rpc, told, model) =
            (sought(Observe::Rpc, Some("1")), sought(Observe::Rpc, None), sought(Observe::Model, None));
        for (text, of_rpc, of_told, of_model) in [
            ("{", true, true, true),
            (" \r\n\t[", true, true, true),
            ("\u{feff}{}", true, true, true),
            ("<html>", false, false, false),
            ("\n<!DOCTYPE", false, false, false),
            ("Accepted", false, true, false),
            ("", false, true, false),
            ("  ", false, true, false),
            ("data: {", false, true, true),
            ("ev", false, true, true),
            (": ping", false, true, true),
            ("event", false, true, true),
            ("error", false, true, false),
            ("\"x\"", false, true, false),
        ] {
            for (sought, expected) in [(&rpc, of_rpc), (&told, of_told), (&model, of_model)] {
                assert_eq!(may_begin(sought, text.as_bytes()), expected, "{text:?} {sought:?}");
            }
        }
        assert!(may_begin(&rpc, format!("{MARK} {{").as_bytes()));
    }

    #[test]
    fn an_error_status_has_the_protocols_error() {
        let (rpc, told, model) =
            (sought(Observe::Rpc, Some("1")), sought(Observe::Rpc, None), sought(Observe::Model, None));
        for (text, of_rpc, of_told, of_model) in [
            (r#"{"jsonrpc":"2.0","id":null,"error":{"code":1}}"#, true, true, true),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, false, false, false),
            (r#"{"error":{"code":1}}"#, false, false, true),
            (r#"{"error":"invalid_token"}"#, false, false, true),
            (r#"{"jsonrpc":"2.0","error":"x"}"#, false, false, true),
            (r#"{"jsonrpc":"2.0","error":{"code":1}"#, false, false, false),
            (r#"{"detail":"Not Found"}"#, false, false, false),
            ("", false, true, false),
            ("<html>", false, false, false),
        ] {
            for (sought, expected) in [(&rpc, of_rpc), (&told, of_told), (&model, of_model)] {
                let found = Observation::of(sought, text.as_bytes());
                assert_eq!(is_error(sought, found, text.as_bytes()), expected, "{text:?} {sought:?}");
            }
        }
    }

    #[test]
    fn what_is_told_of_an_answer_is_the_status_that_it_came_with() {
        let told = |came: Option<u16>| {
            let mut response =
                http::Response::builder().header(RETRY_AFTER, "3").body(()).expect("a response");
            if let Some(came) = came {
                let status = http::StatusCode::from_u16(came).expect("a status");
                let kind = http::HeaderValue::from_static("application/json");
                response.extensions_mut().insert(Came { status, kind });
            }
            let refusal = Refusal::new(Code::UpstreamInvalid, "because");
            let told = with_answer(refusal, &response.into_parts().0).upstream.expect("what was answered");
            (told.status, told.retry_after.as_deref().map(str::to_owned))
        };
        assert_eq!(told(None), (200, Some("3".to_owned())));
        // It was translated.
        assert_eq!(told(Some(503)), (503, Some("3".to_owned())));
    }

    #[test]
    fn an_extract_is_short_and_has_no_secrets() {
        for (text, expected) in [
            ("<h1>502\n Bad  Gateway</h1>\0", "<h1>502 Bad Gateway</h1>"),
            ("Bearer eyJhbGciOiJFUzI1NiIsInR5cCI6.x=, next", "Bearer …, next"),
            ("key=\"sk-abcdefghijklmnopqrstuvwxyz0123\"", "key=\"…\""),
            ("\u{e9}\u{e9}", "\u{e9}\u{e9}"),
        ] {
            assert_eq!(extract(text.as_bytes()), expected);
        }
        let long = extract("a b \u{e9} ".repeat(1000).as_bytes());
        assert!((EXTRACT..EXTRACT + 8).contains(&long.len()), "{long}");
        assert_eq!(extract(&[0xff, b'x']), "\u{fffd}x");
    }
}
