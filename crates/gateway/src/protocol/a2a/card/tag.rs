//! The entity tag of a card that goes on (A2A 1.0 section 8.6; RFC 9110 section 8.8.3). The agent's own is of another card.

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use http::header::IF_NONE_MATCH;
use http::request::Parts;
use http::{HeaderValue, Method};
use serde_json::Value;

use super::signed::SIGNATURES;

/// The tag of a card, JSON. It is weak, since the same card is signed by other bytes each time; by which key, the card says, and the tag with it.
pub fn of(card: &[u8]) -> Option<HeaderValue> {
    let mut said: Value = serde_json::from_slice(card).ok()?;
    let signatures = said.get_mut(SIGNATURES).and_then(Value::as_array_mut).into_iter().flatten();
    for signature in signatures.filter_map(Value::as_object_mut) {
        signature.remove("signature");
    }
    let digest = digest::digest(&digest::SHA256, said.to_string().as_bytes());
    HeaderValue::from_str(&format!("W/\"{}\"", HEXLOWER.encode(digest.as_ref()))).ok()
}

/// The tags of what a caller has already: those of `If-None-Match`, where it gets a document.
pub fn given(parts: &Parts) -> Vec<HeaderValue> {
    let all = parts.headers.get_all(IF_NONE_MATCH).iter().filter(|_| parts.method == Method::GET);
    all.cloned().collect()
}

/// Whether this tag is among those given, by the weak comparison (RFC 9110 section 13.1.2). A comma within another one parts nothing that is this.
pub fn is_among(given: &[HeaderValue], tag: &HeaderValue) -> bool {
    let opaque = |tag: &str| tag.trim().strip_prefix("W/").unwrap_or(tag.trim()).to_owned();
    let Ok(wanted) = tag.to_str().map(opaque) else { return false };
    let given = given.iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    given.map(opaque).any(|one| one == "*" || one == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_of_what_a_card_says_and_of_the_key_that_signs_it() {
        let card = |name: &str, key: &str, signature: &str| {
            let signed = serde_json::json!([{"protected": key, "signature": signature}]);
            of(serde_json::json!({"name": name, "signatures": signed}).to_string().as_bytes())
                .expect("a card")
        };
        let tag = card("a", "k", "1");
        assert!(tag.to_str().is_ok_and(|tag| tag.len() == 68 && tag.starts_with("W/\"")), "{tag:?}");
        assert_eq!(tag, card("a", "k", "2"), "the same, signed again");
        assert_ne!(tag, card("b", "k", "1"));
        assert_ne!(tag, card("a", "l", "1"), "a signature by another key has to be told");
        assert!(of(b"{}").is_some() && of(b"[]").is_some());
        assert_eq!(of(b"no JSON"), None);
    }

    #[test]
    fn a_tag_is_found_among_those_that_are_given() {
        let tag = HeaderValue::from_static("W/\"ab\"");
        for (given, expected) in [
            (&["W/\"ab\""][..], true),
            (&["\"ab\""], true),
            (&["\"x\" ,W/\"ab\""], true),
            (&["\"x,y\"", "\"ab\""], true),
            (&["*"], true),
            (&[], false),
            (&[""], false),
            (&["\"abc\"", "ab", "\"a\",\"b\""], false),
            (&["w/\"ab\""], false),
        ] {
            let given: Vec<_> = given.iter().map(|line| HeaderValue::from_static(line)).collect();
            assert_eq!(is_among(&given, &tag), expected, "{given:?}");
        }
    }
}
