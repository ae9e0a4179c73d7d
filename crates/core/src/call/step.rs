//! The digest of a step of a plan: which tool is called, with exactly which arguments.

use std::borrow::Cow;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::{Action, Arguments, Call, Content};
use crate::json::Json;

/// The method of a step.
const METHOD: &str = "tools/call";

/// In place of the digest of a call with a number that can be taken for another: canonical JSON makes another of it, or of the other it.
const INEXACT: &str = "unrepresentable";

/// The digest of a call of a tool (`Tool/namespace/server/tool`), `sha256:` and hex: SHA-256 over canonical JSON (RFC 8785). Who calls, for
/// whom and when is not part of it. An empty list of arguments is none. `content` is what the message says beside the arguments.
///
/// ```
/// use vidimus_core::call::{Content, step_digest};
/// use vidimus_core::json::Json;
/// let of = |arguments: &str| {
///     let arguments = Json::parse(arguments.as_bytes()).expect("JSON");
///     step_digest("Tool/finance/bank/transfer", Some(&arguments), Content::default())
/// };
/// assert_eq!(of(r#"{"amount": 5, "to": "acme"}"#), of(r#"{"to":"acme","amount":5.0}"#));
/// assert_ne!(of(r#"{"amount": 5}"#), of(r#"{"amount": 50}"#));
/// ```
pub fn step_digest(tool: &str, arguments: Option<&Json<'_>>, content: Content<'_>) -> String {
    of(METHOD, tool, (arguments, content))
}

#[cfg(test)]
thread_local! {
    /// How many were made.
    pub(crate) static STEPS_DIGESTED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

fn of(method: &str, tool: &str, (arguments, content): (Option<&Json<'_>>, Content<'_>)) -> String {
    #[cfg(test)]
    STEPS_DIGESTED.set(STEPS_DIGESTED.get() + 1);
    let arguments =
        arguments.filter(|given| !matches!(given, Json::Null) && **given != Json::Object(Vec::new()));
    let said = content.said(Action::InvokeTool);
    if !arguments.is_none_or(is_exact) || !said.as_ref().is_none_or(is_exact) {
        return INEXACT.to_owned();
    }
    let text = |text: &str| Json::String(Cow::Owned(text.to_owned()));
    let mut members: Vec<(Cow<'_, str>, Json<'_>)> = vec![
        ("method".into(), text(method)),
        ("target".into(), text(tool)),
        // Raised when what is digested changes, so that an old plan permits no new call.
        ("version".into(), Json::Int(2)),
    ];
    members.extend(arguments.map(|arguments| ("arguments".into(), arguments.clone())));
    members.extend(said.map(|said| ("content".into(), said)));
    format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(Json::Object(members).canonical())))
}

/// Whether canonical JSON says each number in it as it is, whoever reads it. How a fraction is written is not known here any more.
fn is_exact(value: &Json<'_>) -> bool {
    const TWO_TO_53: u64 = 1 << 53;
    match value {
        // From here on a double may have come of a number beside it.
        Json::Float(number) => number.abs() < 9_007_199_254_740_992.0,
        Json::Int(number) => number.unsigned_abs() <= TWO_TO_53,
        Json::UInt(number) => *number <= TWO_TO_53,
        Json::Array(items) => items.iter().all(is_exact),
        Json::Object(members) => members.iter().all(|(_, value)| is_exact(value)),
        Json::Null | Json::Bool(_) | Json::String(_) => true,
    }
}

impl Call<'_> {
    /// `context.call_digest`: which step of a plan it is. `None` where its arguments are not known, and the record does not say it.
    pub(crate) fn step(&self) -> Option<Cow<'_, str>> {
        let arguments = match self.ask.arguments {
            Arguments::None => None,
            Arguments::Known(arguments) => Some(arguments),
            Arguments::Recorded(recorded) => return recorded.call_digest().map(Cow::Borrowed),
            Arguments::Unknown => return None,
        };
        if self.inexact_number().is_some() {
            return Some(Cow::Borrowed(INEXACT));
        }
        let tool = self.ask.target.entity().to_string();
        Some(Cow::Owned(of(self.ask.method, &tool, (arguments, self.ask.content))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(tool: &str, arguments: &str, content: Option<&str>) -> String {
        let arguments = Json::parse(arguments.as_bytes()).expect("JSON");
        let params = content.map(|params| Json::parse(params.as_bytes()).expect("JSON"));
        step_digest(tool, Some(&arguments), Content { params: params.as_ref(), ..Content::default() })
    }

    #[test]
    fn a_step_is_one_tool_with_exactly_these_arguments() {
        let one = digest("Tool/a/b/c", r#"{"x":1,"y":[true,null]}"#, None);
        // Stable over versions: it stands in policies.
        assert_eq!(
            digest("Tool/a/b/c", "{}", None),
            format!(
                "sha256:{}",
                HEXLOWER
                    .encode(&Sha256::digest(r#"{"method":"tools/call","target":"Tool/a/b/c","version":2}"#))
            )
        );
        assert_eq!(digest("Tool/a/b/c", r#"{"y":[true,null],"x":1e0}"#, None), one);
        assert_eq!(digest("Tool/a/b/c", "{}", None), step_digest("Tool/a/b/c", None, Content::default()));
        assert_eq!(digest("Tool/a/b/c", "null", None), step_digest("Tool/a/b/c", None, Content::default()));
        for other in [
            digest("Tool/a/b/d", r#"{"x":1,"y":[true,null]}"#, None),
            digest("Tool/a/b/c", r#"{"x":2,"y":[true,null]}"#, None),
            digest("Tool/a/b/c", r#"{"x":1,"y":[true]}"#, None),
            digest("Tool/a/b/c", r#"{"x":1,"y":[true,null],"z":0}"#, None),
            digest("Tool/a/b/c", r#"{"X":1,"y":[true,null]}"#, None),
            digest("Tool/a/b/c", r#"{"x":"1","y":[true,null]}"#, None),
            digest("Tool/a/b/c", r#"{"x":1,"y":[true,null]}"#, Some(r#"{"requestState":"s"}"#)),
        ] {
            assert_ne!(other, one);
        }
    }

    #[test]
    fn a_number_that_canonical_json_changes_is_in_no_plan() {
        for inexact in [
            "9007199254740993",
            "-9007199254740993",
            "18446744073709551615",
            // Doubles, of which nobody knows any more what they were.
            "18446744073709551616",
            "18446744073709551617",
            "9007199254740993.0",
            "-1e22",
        ] {
            assert_eq!(digest("Tool/a/b/c", &format!("{{\"x\":[{{\"y\":{inexact}}}]}}"), None), INEXACT);
            assert_eq!(digest("Tool/a/b/c", "{}", Some(format!("[{inexact}]").as_str())), INEXACT);
        }
        assert!(digest("Tool/a/b/c", r#"{"x":9007199254740992}"#, None).starts_with("sha256:"));
    }
}
