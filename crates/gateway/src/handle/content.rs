//! What a message says beside the arguments of a tool, as a person approves it.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue};
use vidimus_core::call::{Action, is_of_each_try};
use vidimus_core::json::Json;
use vidimus_core::resource::HeaderRules;

use crate::protocol::Dropped;

/// The members of a message of JSON-RPC that say what it is, and not what it says.
const ENVELOPE: [&str; 4] = ["jsonrpc", "id", "method", "params"];

/// What it says, without what does not go on: that is the same at each try of one call. `headers` are those that say something too.
pub(super) fn content<'a>(
    action: Action,
    message: Option<&'a Json<'a>>,
    dropped: Dropped,
    headers: Option<Json<'a>>,
) -> Option<Cow<'a, Json<'a>>> {
    let params = message.and_then(|message| message.get("params"));
    let (said, beside) = match action {
        Action::InvokeTool => {
            (params.and_then(|params| rest(params, dropped)).map(Cow::Owned), beside(message))
        }
        Action::CallModel | Action::ListModels => (message.map(Cow::Borrowed), None),
        Action::ReadResource | Action::GetPrompt | Action::ConnectServer | Action::CallAgent => {
            let said = params.map(|params| match dropped.is_empty() {
                true => Cow::Borrowed(params),
                false => Cow::Owned(without(params, "params", dropped)),
            });
            (said, beside(message))
        }
    };
    if beside.is_none() && headers.is_none() {
        return said;
    }
    let parts = [("beside", beside), ("headers", headers), ("params", said.map(Cow::into_owned))];
    let parts = parts.into_iter().filter_map(|(name, part)| Some((name.into(), part?)));
    Some(Cow::Owned(Json::Object(parts.collect())))
}

/// The headers of a request that go on and say something: those that the record lets pass, and those by which a protocol, or a provider, is
/// told what is meant. Most requests have none.
pub(super) fn headers<'a>(
    action: Action,
    all: &'a HeaderMap,
    rules: Option<&HeaderRules>,
) -> Option<Json<'a>> {
    let of_protocol: &[&str] = match action {
        Action::CallModel => &["openai-organization", "openai-project"],
        Action::CallAgent => &["a2a-extensions", "x-a2a-extensions"],
        _ => &[],
    };
    let passed = rules.filter(|rules| !rules.pass.is_empty());
    if passed.is_none() && !of_protocol.iter().any(|name| all.contains_key(*name)) {
        return None;
    }
    let says = |name: &str| of_protocol.contains(&name) || passed.is_some_and(|rules| rules.passes(name));
    let text = |value: &'a HeaderValue| Json::String(String::from_utf8_lossy(value.as_bytes()));
    let said = all.keys().filter(|name| says(name.as_str())).map(|name| {
        let values = all.get_all(name).iter().map(text).collect();
        (name.as_str().into(), Json::Array(values))
    });
    let said: Vec<_> = said.collect();
    (!said.is_empty()).then_some(Json::Object(said))
}

/// What goes on beside the parameters; `None` of nearly all calls.
fn beside<'a>(message: Option<&Json<'a>>) -> Option<Json<'a>> {
    let members = message?.as_object()?;
    let beside = members.iter().filter(|(name, value)| !ENVELOPE.contains(&&**name) && *value != Json::Null);
    let beside: Vec<_> = beside.cloned().collect();
    (!beside.is_empty()).then_some(Json::Object(beside))
}

/// What a tool is told beside its arguments; `None` of nearly all calls.
fn rest<'a>(params: &Json<'a>, dropped: Dropped) -> Option<Json<'a>> {
    let goes_on = |name: &str| !dropped.iter().any(|path| path.last() == Some(&name));
    let says = |name: &str, value: &Json<'_>| match (name, value) {
        ("name" | "arguments", _) | (_, Json::Null) => false,
        ("_meta", Json::Object(meta)) => meta.iter().any(|(name, value)| !is_of_each_try(name, value)),
        (name, _) => goes_on(name),
    };
    let given = params.as_object()?.iter().filter(|(name, value)| says(name, value));
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
                r#"{"inputResponses":{"q":{"content":{"amount":5}}},"_meta":{"com.bank/account":"M"}}"#,
                &[],
                Some(r#"{"_meta":{"com.bank/account":"M"},"inputResponses":{"q":{"content":{"amount":5}}}}"#),
            ),
            (
                Action::InvokeTool,
                r#"{"_meta":{"progressToken":7,"traceparent":"t"},"arguments":{}}"#,
                &[],
                None,
            ),
            (
                Action::InvokeTool,
                r#"{"_meta":{"progressToken":"pay M"},"task":{"ttl":5},"input":{"a":1}}"#,
                &[],
                Some(r#"{"_meta":{"progressToken":"pay M"},"input":{"a":1},"task":{"ttl":5}}"#),
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
            let found = content(action, Some(&json), dropped, None).map(|found| found.canonical());
            assert_eq!(found.as_deref(), expected, "{params}");
        }
    }

    #[test]
    fn what_stands_beside_the_parameters_and_in_headers_is_approved_too() {
        let message = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"},"account":"M","none":null}"#;
        let json = Json::parse(message.as_bytes()).expect("JSON");
        let found = content(Action::InvokeTool, Some(&json), &[], None).map(|found| found.canonical());
        assert_eq!(found.as_deref(), Some(r#"{"beside":{"account":"M"}}"#));
        let mut all = HeaderMap::new();
        all.insert("accept", HeaderValue::from_static("application/json"));
        all.insert("openai-project", HeaderValue::from_static("p"));
        all.insert("x-tenant", HeaderValue::from_static("good"));
        let said = |action, rules: Option<&HeaderRules>| {
            headers(action, &all, rules).map(|headers| headers.canonical())
        };
        assert_eq!(said(Action::InvokeTool, None), None);
        assert_eq!(said(Action::CallModel, None).as_deref(), Some(r#"{"openai-project":["p"]}"#));
        let rules = HeaderRules { pass: ["x-tenant".into()].into(), ..HeaderRules::default() };
        assert_eq!(said(Action::InvokeTool, Some(&rules)).as_deref(), Some(r#"{"x-tenant":["good"]}"#));
    }
}
