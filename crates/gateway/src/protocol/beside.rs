//! Members beside the one that was decided which name something to run: a list of models to fall back to, a server that the provider is
//! to call, another tool. One decision covers what it was asked about, so a message with such a member is refused.

use std::borrow::Cow;

use vidimus_core::json::{Json, folded};
use vidimus_core::refusal::{Code, Refusal};

/// The name by which members are compared: what some reader takes for one is one. Most names are as they are.
pub fn plain(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9')) {
        return name.into();
    }
    let mut letters = String::with_capacity(name.len());
    letters.extend(name.chars().filter(|c| !is_separator(*c)));
    folded(letters.into())
}

fn is_separator(c: char) -> bool {
    c == '_' || c == '-'
}

/// Whether [`plain`] of a name of the protocol's, which is ASCII, is this.
pub fn is_plain_of(name: &str, plain: &str) -> bool {
    let letters = name.bytes().filter(|b| !is_separator(char::from(*b)));
    letters.map(|b| b.to_ascii_lowercase()).eq(plain.bytes())
}

/// Whether a member is given at all.
pub fn is_given(value: &Json<'_>) -> bool {
    *value != Json::Null
}

/// Refuses an object with a member of one of these names, in whatever spelling. `names` are in lower case without separators.
///
/// # Errors
/// `member_undecided`.
pub fn check_none_of(object: &Json<'_>, names: &[&str], decided: &str) -> Result<(), Refusal> {
    let members = object.as_object().unwrap_or_default();
    let beside = members.iter().find(|(name, value)| is_given(value) && names.contains(&&*plain(name)));
    beside.map_or(Ok(()), |(name, _)| Err(undecided(name, decided)))
}

/// As [`check_none_of`], where an empty text is none: protobuf's JSON may say so.
///
/// # Errors
/// `member_undecided`.
pub fn check_none_but_empty(object: &Json<'_>, names: &[&str], decided: &str) -> Result<(), Refusal> {
    let members = object.as_object().unwrap_or_default();
    let given = |value: &Json<'_>| is_given(value) && value.as_str() != Some("");
    let beside = members.iter().find(|(name, value)| given(value) && names.contains(&&*plain(name)));
    beside.map_or(Ok(()), |(name, _)| Err(undecided(name, decided)))
}

/// Refuses an object whose member is one of these by another spelling only. `names` are as the protocol spells them.
///
/// # Errors
/// `message_invalid`.
pub fn check_spelled(object: &Json<'_>, names: &[&str]) -> Result<(), Refusal> {
    let members = object.as_object().unwrap_or_default();
    let mut others = members.iter().map(|(name, _)| &**name).filter(|name| !names.contains(name));
    others.try_for_each(|other| check_is_other(&plain(other), names))
}

/// Refuses a name that is one of these by another spelling, as [`check_spelled`] does. `plain` is how [`plain`] has it.
///
/// # Errors
/// `message_invalid`.
pub fn check_is_other(plain: &str, names: &[&str]) -> Result<(), Refusal> {
    // Most are told apart by their length alone: what is plain has no more letters.
    let spelled = names.iter().find(|name| name.len() >= plain.len() && is_plain_of(name, plain));
    spelled.map_or(Ok(()), |name| {
        let message = format!("member {name:?} is spelled in another way; write it as the protocol does");
        Err(Refusal::new(Code::MessageInvalid, message))
    })
}

/// Refuses an object that has both of two members which say the same in two ways.
///
/// # Errors
/// `member_undecided`.
pub fn check_not_both(object: &Json<'_>, [one, other]: [&str; 2]) -> Result<(), Refusal> {
    let given = |name| object.get(name).is_some_and(is_given);
    if given(one) && given(other) { Err(undecided(other, one)) } else { Ok(()) }
}

/// The refusal of a member beside the one that was decided.
pub fn undecided(name: &str, decided: &str) -> Refusal {
    let shown: String = name.chars().take(64).collect();
    let message =
        format!("member {shown:?} names something to run beside {decided:?}, which alone is decided");
    Refusal::new(Code::MemberUndecided, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_known_by_any_spelling() {
        let code = |text: &str| {
            let object = Json::parse(text.as_bytes()).expect("valid JSON");
            let checks = check_none_of(&object, &["fallbackmodels"], "model")
                .and_then(|()| check_spelled(&object, &["tool_choice"]))
                .and_then(|()| check_not_both(&object, ["tools", "functions"]));
            checks.err().map(|refusal| refusal.code.as_str())
        };
        for (text, expected) in [
            (r#"{"model":"a","tool_choice":"auto","tools":[]}"#, None),
            (r#"{"fallback_models":null,"tools":[],"functions":null}"#, None),
            (r#"{"fallback_models":[]}"#, Some("member_undecided")),
            (r#"{"fallbackModels":["b"]}"#, Some("member_undecided")),
            (r#"{"Fallback-Models":"b"}"#, Some("member_undecided")),
            (r#"{"fall\u0062ac\u212a_model\u017f":"b"}"#, Some("member_undecided")),
            (r#"{"toolChoice":"auto"}"#, Some("message_invalid")),
            (r#"{"tool_choice":"auto","TOOL-CHOICE":"none"}"#, Some("message_invalid")),
            (r#"{"tools":[],"functions":[]}"#, Some("member_undecided")),
            (r#"[]"#, None),
        ] {
            assert_eq!(code(text), expected, "{text}");
        }
    }
}
