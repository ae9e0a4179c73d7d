//! What a message says beside the arguments of a tool, as a person approves it.

use std::borrow::Cow;

use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use vidimus_core::call::{Action, Arguments, Call, Content, Destination, is_id, is_of_each_try};
use vidimus_core::json::Json;
use vidimus_core::refusal::Refusal;
use vidimus_core::resource::HeaderRules;

use super::carry::passed_pairs;
use crate::changes;
use crate::forward::headers::passed;
use crate::protocol::{Binding, Dropped};

/// The members of a message of JSON-RPC that say what it is, and not what it says.
const ENVELOPE: [&str; 3] = ["jsonrpc", "method", "params"];

/// What of a request goes on beside its body, by whom it is read and to whom it goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside<'a> {
    parts: &'a Parts,
    binding: &'static dyn Binding,
    rules: Option<&'a HeaderRules>,
    credential: Option<&'a str>,
}

impl<'a> Beside<'a> {
    pub(super) fn of(
        parts: &'a Parts,
        binding: &'static dyn Binding,
        (destination, credential): (&'a Destination, Option<&'a str>),
    ) -> Self {
        let rules = destination.endpoint().map(|endpoint| &endpoint.headers);
        Self { parts, binding, rules, credential }
    }

    /// The headers that go on and say something: those that the record lets pass, and those by which a protocol, or a provider, is told
    /// what is meant. Most requests have none.
    fn headers(&self, action: Action) -> Option<Json<'static>> {
        let is_said = |name: &str| says(action, name) || self.rules.is_some_and(|rules| rules.passes(name));
        let all = &self.parts.headers;
        if !all.keys().any(|name| is_said(name.as_str())) {
            return None;
        }
        // One that its caller keeps to this hop, or that holds its credential, is not sent.
        let none = HeaderRules::default();
        let rules = self.rules.unwrap_or(&none);
        let (sent, _) = passed(all, self.binding.passed_headers(), rules, self.credential);
        let said: Vec<_> = sent
            .keys()
            .filter(|name| is_said(name.as_str()))
            .map(|name| (Cow::Owned(name.as_str().to_owned()), values(&sent, name.as_str())))
            .collect();
        (!said.is_empty()).then_some(Json::Object(said))
    }

    /// What of the query goes on.
    fn query(&self) -> Option<Json<'static>> {
        let pairs = passed_pairs(self.parts.uri.query(), self.binding.passed_query());
        let pairs: Vec<_> = pairs.into_iter().map(|pair| Json::String(Cow::Borrowed(pair))).collect();
        (!pairs.is_empty()).then_some(Json::Array(pairs))
    }
}

/// Whether a header that goes on tells the other end what is meant. Others say who asks, in which form, and of which trace, or what the
/// message says itself.
fn says(action: Action, name: &str) -> bool {
    const OF_MODELS: [&str; 4] = ["anthropic-beta", "openai-beta", "openai-organization", "openai-project"];
    const SAID_BY_MCP: [&str; 4] = ["mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id"];
    match action {
        Action::CallModel => OF_MODELS.contains(&name),
        Action::ListModels => false,
        Action::CallAgent => name.starts_with("a2a-") && name != "a2a-version" || name == "x-a2a-extensions",
        Action::InvokeTool | Action::ReadResource | Action::GetPrompt | Action::ConnectServer => {
            // An argument in a header is held to the argument.
            let is_said = SAID_BY_MCP.contains(&name) || name.starts_with("mcp-param-");
            name.starts_with("mcp-") && !is_said
        }
    }
}

fn values(headers: &HeaderMap, name: &str) -> Json<'static> {
    let value = |value: &HeaderValue| match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Json::String(Cow::Owned(text.to_owned())),
        // What is no text is not made one, which would be that of others too.
        Err(_) => Json::Array(value.as_bytes().iter().map(|byte| Json::Int(i64::from(*byte))).collect()),
    };
    Json::Array(headers.get_all(name).iter().map(value).collect())
}

/// What a message says beside the arguments of a tool, without what does not go on.
#[derive(Debug)]
pub(super) struct Said<'a> {
    beside: Option<Json<'a>>,
    headers: Option<Json<'a>>,
    params: Option<Cow<'a, Json<'a>>>,
    query: Option<Json<'a>>,
}

impl<'a> Said<'a> {
    pub(super) fn of(
        (action, dropped): (Action, Dropped),
        message: Option<&'a Json<'a>>,
        beside: &Beside<'_>,
    ) -> Self {
        let (headers, query) = (beside.headers(action), beside.query());
        if matches!(action, Action::CallModel | Action::ListModels) {
            return Self { beside: None, headers, params: message.map(Cow::Borrowed), query };
        }
        let params = message.and_then(|message| message.get("params"));
        let params = params.map(|params| match dropped.is_empty() {
            true => Cow::Borrowed(params),
            false => Cow::Owned(without(params, "params", dropped)),
        });
        let params = match action {
            Action::InvokeTool => params.and_then(|params| rest(&params)).map(Cow::Owned),
            _ => params,
        };
        Self { beside: members(message), headers, params, query }
    }

    /// As the call has it.
    pub(super) fn content(&self) -> Content<'_> {
        Content {
            beside: self.beside.as_ref(),
            headers: self.headers.as_ref(),
            params: self.params.as_deref(),
            query: self.query.as_ref(),
        }
    }
}

/// What of a call people are shown, in canonical JSON; `None` where it says nothing. It follows from what is digested alone, and no two
/// calls of one action that say different things are shown as one.
///
/// # Errors
/// `change_impossible` where what is not to be shown cannot be told from what is.
pub(super) fn shown(call: &Call<'_>, hidden: &[String]) -> Result<Option<String>, Refusal> {
    let arguments = match call.ask.arguments {
        Arguments::Known(arguments) => Some(arguments),
        Arguments::None | Arguments::Unknown | Arguments::Recorded(_) => None,
    };
    let beside = call.ask.content.said(call.ask.action);
    let text = |arguments: &Json<'_>| changes::shown(arguments, hidden.iter().map(String::as_str));
    Ok(match (arguments, beside) {
        // Arguments that could be read as the forms below have one of these.
        (Some(arguments), None) if has_none_of(arguments, &["arguments", "beside"]) => Some(text(arguments)?),
        (Some(arguments), None) => Some(format!(r#"{{"arguments":{}}}"#, text(arguments)?)),
        // Canonical too: both are, and in order.
        (Some(arguments), Some(beside)) => {
            Some(format!(r#"{{"arguments":{},"beside":{}}}"#, text(arguments)?, beside.canonical()))
        }
        (None, Some(beside)) if call.ask.action == Action::InvokeTool => {
            Some(format!(r#"{{"beside":{}}}"#, beside.canonical()))
        }
        (None, beside) => beside.map(|beside| alone(&beside).canonical()),
    })
}

/// The parameters, where they are all that is said and cannot be read as more.
fn alone<'j, 'a>(said: &'j Json<'a>) -> &'j Json<'a> {
    match said.as_object() {
        Some([(name, params)]) if &**name == "params" && has_none_of(params, &Content::PARTS) => params,
        _ => said,
    }
}

fn has_none_of(value: &Json<'_>, names: &[&str]) -> bool {
    names.iter().all(|name| value.get(name).is_none())
}

/// What goes on beside the parameters; `None` of nearly all calls. An id that is more than one says something too.
fn members<'a>(message: Option<&Json<'a>>) -> Option<Json<'a>> {
    let says = |name: &str, value: &Json<'_>| match name {
        "id" => *value != Json::Null && !is_id(value),
        name => !ENVELOPE.contains(&name),
    };
    let members = message?.as_object()?.iter().filter(|(name, value)| says(name, value));
    let members: Vec<_> = members.cloned().collect();
    (!members.is_empty()).then_some(Json::Object(members))
}

/// What a tool is told beside its arguments; `None` of nearly all calls.
fn rest<'a>(params: &Json<'a>) -> Option<Json<'a>> {
    let says = |name: &str, value: &Json<'_>| match (name, value) {
        ("name" | "arguments", _) => false,
        // Some clients write so what they leave out. Of other names it says something that they are there.
        ("_meta" | "task" | "requestState" | "inputResponses", Json::Null) => false,
        ("_meta", Json::Object(meta)) => meta.iter().any(|(name, value)| !is_of_each_try(name, value)),
        _ => true,
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
    use http::Request;
    use vidimus_core::call::{Ask, SoFar, Target};
    use vidimus_core::caller::UnixMillis;

    use super::*;
    use crate::protocol::tests::{caller, server};
    use crate::protocol::{llm, mcp};

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parts(uri: &str, headers: &[(&str, &[u8])]) -> Parts {
        let builder = Request::builder().uri(uri);
        let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
        builder.body(()).expect("a request").into_parts().0
    }

    fn said(action: Action, message: &str, dropped: Dropped) -> Option<String> {
        let json = Json::parse(message.as_bytes()).expect("JSON");
        let parts = parts("/", &[]);
        let beside = Beside { parts: &parts, binding: &mcp::StreamableHttp, rules: None, credential: None };
        let said = Said::of((action, dropped), Some(&json), &beside);
        said.content().said(action).map(|said| said.canonical())
    }

    #[test]
    fn what_does_not_go_on_is_not_approved_and_what_goes_on_is() {
        const OWN: Dropped = &[&["params", "requestState"], &["params", "inputResponses"]];
        const TASK: Dropped = &[&["params", "message", "taskId"]];
        let each_try =
            format!(r#"{{"_meta":{{"progressToken":7,"traceparent":"{TRACE}"}},"arguments":{{}}}}"#);
        for (action, params, dropped, expected) in [
            (Action::InvokeTool, r#"{"name":"a","arguments":{"b":1}}"#, &[][..], None),
            (Action::InvokeTool, r#"{"requestState":null,"task":null}"#, &[], None),
            (Action::InvokeTool, r#"{"pay mallory":null}"#, &[], Some(r#"{"pay mallory":null}"#)),
            (Action::InvokeTool, r#"{"name":"a","requestState":"s"}"#, &[], Some(r#"{"requestState":"s"}"#)),
            (
                Action::InvokeTool,
                r#"{"inputResponses":{"q":{"content":{"amount":5}}},"_meta":{"com.bank/account":"M"}}"#,
                &[],
                Some(r#"{"_meta":{"com.bank/account":"M"},"inputResponses":{"q":{"content":{"amount":5}}}}"#),
            ),
            (Action::InvokeTool, each_try.as_str(), &[], None),
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
            let found = said(action, &format!(r#"{{"params":{params}}}"#), dropped);
            assert_eq!(found, expected.map(|params| format!(r#"{{"params":{params}}}"#)), "{params}");
        }
    }

    #[test]
    fn what_stands_beside_the_parameters_is_approved_too() {
        let with = |more: &str| {
            let message =
                format!(r#"{{"jsonrpc":"2.0","method":"tools/call","params":{{"name":"a"}},{more}}}"#);
            said(Action::InvokeTool, &message, &[])
        };
        assert_eq!(with(r#""id":1"#), None);
        assert_eq!(with(r#""id":"c-1""#), None);
        for more in [r#""account":"M""#, r#""pay mallory":null"#, r#""id":"pay mallory""#] {
            assert_eq!(with(more), Some(format!(r#"{{"beside":{{{more}}}}}"#)));
        }
    }

    #[test]
    fn headers_and_queries_that_say_something_are_approved_as_they_go_on() {
        let rules = HeaderRules { pass: ["x-tenant".into()].into(), ..HeaderRules::default() };
        let said = |action, (uri, headers): (&str, &[(&str, &[u8])]), rules: Option<&HeaderRules>| {
            let parts = parts(uri, headers);
            let binding: &'static dyn Binding = match action {
                Action::CallModel => &llm::Anthropic,
                _ => &mcp::StreamableHttp,
            };
            let beside = Beside { parts: &parts, binding, rules, credential: Some("secret") };
            let said = Said::of((action, &[]), None, &beside);
            said.content().said(action).map(|said| said.canonical())
        };
        let (tool, model) = (Action::InvokeTool, Action::CallModel);
        let plain: &[(&str, &[u8])] = &[("accept", b"application/json"), ("mcp-method", b"tools/call")];
        assert_eq!(said(tool, ("/?beta=true", plain), Some(&rules)), None);
        let tenant: &[(&str, &[u8])] = &[("x-tenant", b"good"), ("x-tenant", b"\xff")];
        assert_eq!(said(tool, ("/", tenant), None), None);
        let headers = r#"{"headers":{"x-tenant":["good",[255]]}}"#;
        assert_eq!(said(tool, ("/", tenant), Some(&rules)).as_deref(), Some(headers));
        // What does not reach the upstream is not what was approved to reach it.
        let kept: &[(&str, &[u8])] = &[("x-tenant", b"good"), ("connection", b"x-tenant")];
        assert_eq!(said(tool, ("/", kept), Some(&rules)), None);
        let secret: &[(&str, &[u8])] = &[("x-tenant", b"a secret")];
        assert_eq!(said(tool, ("/", secret), Some(&rules)), None);
        let own: &[(&str, &[u8])] = &[("mcp-account", b"M")];
        assert_eq!(said(tool, ("/", own), None).as_deref(), Some(r#"{"headers":{"mcp-account":["M"]}}"#));
        let beta: &[(&str, &[u8])] = &[("anthropic-beta", b"files"), ("anthropic-version", b"2023-06-01")];
        assert_eq!(
            said(model, ("/v1/messages?x=1&beta=true", beta), None).as_deref(),
            Some(r#"{"headers":{"anthropic-beta":["files"]},"query":["beta=true"]}"#)
        );
    }

    #[test]
    fn no_two_calls_are_shown_as_one() {
        let (server, caller) = (server(), caller());
        let shown = |arguments: Option<&str>, params: Option<&str>, action: Action| {
            let arguments = arguments.map(|text| Json::parse(text.as_bytes()).expect("JSON"));
            let params = params.map(|text| Json::parse(text.as_bytes()).expect("JSON"));
            let target = Target::Tool { server: &server, name: "pay" };
            let ask = Ask {
                arguments: arguments.as_ref().map_or(Arguments::None, Arguments::Known),
                content: Content { params: params.as_ref(), ..Content::default() },
                ..Ask::about("m", action, target)
            };
            let (now, so_far) = (UnixMillis(0), SoFar::nothing());
            let call = Call { caller: &caller, ask, now, source_ip: None, so_far, approvals: &[] };
            shown(&call, &[]).expect("nothing is hidden").expect("something is said")
        };
        let tool = Action::InvokeTool;
        assert_eq!(shown(Some(r#"{"amount":5}"#), None, tool), r#"{"amount":5}"#);
        let wrapped = shown(Some(r#"{"amount":5}"#), Some(r#"{"account":"M"}"#), tool);
        assert_eq!(wrapped, r#"{"arguments":{"amount":5},"beside":{"params":{"account":"M"}}}"#);
        let written = shown(Some(&wrapped), None, tool);
        assert_eq!(written, format!(r#"{{"arguments":{wrapped}}}"#));
        let without = shown(None, Some(r#"{"account":"M"}"#), tool);
        assert_eq!(without, r#"{"beside":{"params":{"account":"M"}}}"#);
        assert_ne!(shown(Some(&without), None, tool), without);
        // A message is shown as it is, unless it could be read as more than one.
        assert_eq!(shown(None, Some(r#"{"message":{}}"#), Action::CallAgent), r#"{"message":{}}"#);
        let twice = shown(None, Some(r#"{"params":{"message":{}}}"#), Action::CallAgent);
        assert_eq!(twice, r#"{"params":{"params":{"message":{}}}}"#);
    }
}
