//! What a model of Gemini's signs of its thoughts, and wants back with the call of a tool that it made: a later model of its makers answers 400 without it.
//! The other APIs have no place for it that every client hands back but the call's id. So there it stands, behind a mark, as LiteLLM has it; and it
//! goes back to Gemini alone.

use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD, URL_SAFE_NO_PAD};
use memchr::memmem;
use serde_json::value::RawValue;
use vidimus_core::refusal::Refusal;

use super::taken::unreadable;
use crate::protocol::members::{Edits, Members, quoted, text};

/// Between an id and a signature.
const MARK: &str = "__thought__";

/// What says of a call that another model made it, or that it is from before there were signatures (Gemini API, "Thought signatures").
pub(super) const FOREIGN: &str = "skip_thought_signature_validator";

const READ: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The id of a call with its signature, in letters, digits, `-` and `_`: what every API lets an id have. Where the id has a mark of its own, there
/// is one behind it whether or not there is a signature: the last one counts.
///
/// # Errors
/// `upstream_invalid` for a signature that is no Base64.
pub(super) fn signed(id: &str, signature: Option<&str>) -> Result<String, Refusal> {
    let Some(signature) = signature.filter(|signature| !signature.is_empty()) else {
        return Ok(if id.contains(MARK) { format!("{id}{MARK}") } else { id.to_owned() });
    };
    let bytes = decoded(signature).ok_or_else(|| unreadable("a signature that is no Base64"))?;
    Ok(format!("{id}{MARK}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// The id itself, and the signature that it has.
pub(super) fn signature_in(id: &str) -> (&str, Option<String>) {
    let parts = id.rsplit_once(MARK);
    let signature = parts.and_then(|(id, signature)| Some((id, decoded(signature)?)));
    match signature {
        Some((bare, bytes)) if !bytes.is_empty() => (bare, Some(STANDARD.encode(bytes))),
        Some((bare, _)) if bare.contains(MARK) => (bare, None),
        _ => (id, None),
    }
}

/// The id itself: an id with a signature is longer than OpenAI and Bedrock let it be.
pub(super) fn bare(id: &str) -> &str {
    signature_in(id).0
}

/// Whether a text may have an id with a signature in it.
pub(super) fn may_be_in(text: &[u8]) -> bool {
    memmem::find(text, MARK.as_bytes()).is_some()
}

/// Has the ids of calls in the `messages` of OpenAI's or of Anthropic's API be without their signatures. What is no message has none: its provider says so.
pub(super) fn put_bare<'d>(messages: &'d RawValue, edits: &mut Edits<'d>) {
    let mut put = |id: Option<&'d RawValue>| {
        let Some((id, said)) = id.and_then(|id| Some((id, text(id)?))) else { return };
        let bare = bare(&said);
        if bare != said {
            edits.put(id, quoted(bare));
        }
    };
    for message in objects(Some(messages)) {
        put(message.get("tool_call_id"));
        objects(message.get("tool_calls")).for_each(|call| put(call.get("id")));
        for block in objects(message.get("content")) {
            put(block.get("id"));
            put(block.get("tool_use_id"));
        }
    }
}

/// The objects of a list; none of what is no list.
fn objects<'d>(list: Option<&'d RawValue>) -> impl Iterator<Item = Members<'d>> {
    let items = list.and_then(|list| serde_json::from_str::<Vec<&'d RawValue>>(list.get()).ok());
    items.unwrap_or_default().into_iter().filter_map(|item| serde_json::from_str(item.get()).ok())
}

/// Whether a model wants signatures: Gemini's do from 3 on.
pub(super) fn wants_signatures(model: &str) -> bool {
    let rest = model.strip_prefix("gemini-").unwrap_or_default();
    let digits = rest.split(|char: char| !char.is_ascii_digit()).next().unwrap_or_default();
    digits.parse::<u32>().is_ok_and(|version| version >= 3)
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    READ.decode(text.replace('-', "+").replace('_', "/")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_goes_into_an_id_and_comes_out_of_it() {
        for signature in ["AAEC", "+/+/", "_-_-", "QQ==", "QQ"] {
            let id = signed("call_1", Some(signature)).expect("Base64");
            assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)), "{id}");
            let (bare, back) = signature_in(&id);
            assert_eq!((bare, decoded(&back.expect("a signature"))), ("call_1", decoded(signature)));
        }
        for none in [None, Some("")] {
            assert_eq!(signed("call_1", none).expect("no signature"), "call_1");
        }
        assert!(signed("call_1", Some("no Base64!")).is_err());
        for id in ["call_1", "call__thought__", "call__thought__a b"] {
            assert_eq!(signature_in(id), (id, None));
        }
    }

    /// What a model calls its calls is its own.
    #[test]
    fn an_id_that_has_a_mark_of_its_own_is_the_one_that_it_was() {
        for own in
            ["__thought__", "a__thought__b c", "a__thought__QUJD", "a__thought__", "__thought____thought__"]
        {
            for (signature, expected) in [(None, None), (Some("+/8="), Some("+/8="))] {
                let id = signed(own, signature).expect("Base64");
                let (bare, back) = signature_in(&id);
                assert_eq!((bare, back.as_deref()), (own, expected), "{id}");
            }
        }
    }

    #[test]
    fn signatures_are_wanted_from_3_on() {
        for (model, expected) in [
            ("gemini-3-pro-preview", true),
            ("gemini-3.1-flash", true),
            ("gemini-10", true),
            ("gemini-2.5-pro", false),
            ("gemini-flash-latest", false),
            ("gemma-3", false),
        ] {
            assert_eq!(wants_signatures(model), expected, "{model}");
        }
    }
}
