//! What a message says beside the arguments of a tool, as a person approves it.

use std::borrow::Cow;

use vidimus_core::call::Action;
use vidimus_core::json::Json;

use crate::protocol::Dropped;

/// What answers a question of an MCP server's, and goes to the server beside the arguments (2026-07-28, "Multi Round-Trip Requests").
const ANSWERS: [&str; 2] = ["inputResponses", "requestState"];

/// What it says, without what does not go on: that is the same at each try of one call.
pub(super) fn content<'a>(
    action: Action,
    message: Option<&'a Json<'a>>,
    dropped: Dropped,
) -> Option<Cow<'a, Json<'a>>> {
    match action {
        Action::InvokeTool => answers(message?.get("params")?, dropped).map(Cow::Owned),
        Action::CallModel | Action::ListModels => message.map(Cow::Borrowed),
        Action::ReadResource | Action::GetPrompt | Action::ConnectServer | Action::CallAgent => {
            let params = message?.get("params")?;
            Some(match dropped.is_empty() {
                true => Cow::Borrowed(params),
                false => Cow::Owned(without(params, "params", dropped)),
            })
        }
    }
}

/// What a tool is told beside its arguments; `None` of nearly all calls.
fn answers<'a>(params: &Json<'a>, dropped: Dropped) -> Option<Json<'a>> {
    let goes_on = |name: &str| !dropped.iter().any(|path| path.last() == Some(&name));
    let is_answer =
        |name: &str, value: &Json<'_>| ANSWERS.contains(&name) && *value != Json::Null && goes_on(name);
    let given = params.as_object()?.iter().filter(|(name, value)| is_answer(name, value));
    let given: Vec<_> = given.cloned().collect();
    (!given.is_empty()).then_some(Json::Object(given))
}

/// A copy of what stands at `at`, without what is dropped below it.
fn without<'a>(value: &Json<'a>, at: &str, dropped: Dropped) -> Json<'a> {
    fn pruned<'a>(value: &Json<'a>, paths: &[&[&str]]) -> Json<'a> {
        let Json::Object(members) = value else { return value.clone() };
        let kept = members.iter().filter(|(name, _)| !paths.contains(&[&**name].as_slice()));
        let kept = kept.map(|(name, value)| {
            let below = paths.iter().filter_map(|path| match path.split_first() {
                Some((first, rest)) if *first == name => Some(rest),
                _ => None,
            });
            let below: Vec<&[&str]> = below.collect();
            (name.clone(), if below.is_empty() { value.clone() } else { pruned(value, &below) })
        });
        Json::Object(kept.collect())
    }
    let below = dropped.iter().filter_map(|path| match path.split_first() {
        Some((first, rest)) if *first == at => Some(rest),
        _ => None,
    });
    pruned(value, &below.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_go_on_is_not_approved_and_what_goes_on_is() {
        const OWN: Dropped = &[&["params", "requestState"], &["params", "inputResponses"]];
        const TASK: Dropped = &[&["params", "message", "taskId"]];
        for (action, params, dropped, expected) in [
            (Action::InvokeTool, r#"{"name":"a","arguments":{"b":1}}"#, &[][..], None),
            (Action::InvokeTool, r#"{"requestState":null}"#, &[], None),
            (Action::InvokeTool, r#"{"name":"a","requestState":"s"}"#, &[], Some(r#"{"requestState":"s"}"#)),
            (
                Action::InvokeTool,
                r#"{"inputResponses":{"q":{"content":{"amount":5}}},"_meta":{}}"#,
                &[],
                Some(r#"{"inputResponses":{"q":{"content":{"amount":5}}}}"#),
            ),
            (Action::InvokeTool, r#"{"requestState":"s","inputResponses":{}}"#, OWN, None),
            (Action::ReadResource, r#"{"uri":"u","requestState":"s"}"#, OWN, Some(r#"{"uri":"u"}"#)),
            (
                Action::ReadResource,
                r#"{"uri":"u","requestState":"s"}"#,
                &[],
                Some(r#"{"requestState":"s","uri":"u"}"#),
            ),
            (
                Action::CallAgent,
                r#"{"message":{"taskId":"t","parts":[{"taskId":"t"}]},"taskId":"t"}"#,
                TASK,
                Some(r#"{"message":{"parts":[{"taskId":"t"}]},"taskId":"t"}"#),
            ),
        ] {
            let message = format!(r#"{{"params":{params}}}"#);
            let json = Json::parse(message.as_bytes()).expect("JSON");
            let found = content(action, Some(&json), dropped).map(|found| found.canonical());
            assert_eq!(found.as_deref(), expected, "{params}");
        }
    }
}
