//! What a message says beside the arguments of a tool, and what of it is another at each try of one call.

use std::borrow::Cow;

use super::Action;
use crate::json::Json;

/// What a message says beside the arguments of a tool, each part by the place where it stands: nothing that a caller writes at one place
/// reads as if it stood at another.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Content<'a> {
    /// The members beside the parameters, without those that say what the message is.
    pub beside: Option<&'a Json<'a>>,
    /// The headers that go on and say something: the values of each, by its name.
    pub headers: Option<&'a Json<'a>>,
    /// The parameters, of a tool without its name and its arguments; the whole message to a model.
    pub params: Option<&'a Json<'a>>,
    /// What of the query goes on.
    pub query: Option<&'a Json<'a>>,
}

impl<'a> Content<'a> {
    /// The names of the parts, in order.
    pub const PARTS: [&'static str; 4] = ["beside", "headers", "params", "query"];

    /// What is said, as it is digested and shown: an object of the parts that there are. It is without what is another at each try of one call
    /// and has no room for a sentence: the id of an A2A message, and what MCP says in `_meta` about the request, each where it stands and in
    /// its known form. Elsewhere, and in any other form, members of these names are said as any other. `None` where nothing is left.
    pub fn said(&self, action: Action) -> Option<Json<'a>> {
        let params = self.params.and_then(|params| lasting(action, params));
        let parts = [self.beside.cloned(), self.headers.cloned(), params, self.query.cloned()];
        let there = Self::PARTS.into_iter().zip(parts);
        let said: Vec<(Cow<'a, str>, Json<'a>)> =
            there.filter_map(|(name, part)| Some((Cow::Borrowed(name), part?))).collect();
        (!said.is_empty()).then_some(Json::Object(said))
    }
}

/// The parameters without what is another at each try; `None` where that leaves nothing.
fn lasting<'j>(action: Action, params: &Json<'j>) -> Option<Json<'j>> {
    let is_mcp = matches!(
        action,
        Action::InvokeTool | Action::ReadResource | Action::GetPrompt | Action::ConnectServer
    );
    let Json::Object(members) = params else { return Some(params.clone()) };
    let lasting = members.iter().filter_map(|(name, value)| {
        let value = match (&**name, value) {
            ("_meta", Json::Object(meta)) if is_mcp => {
                let says = meta.iter().filter(|(name, value)| !is_of_each_try(name, value));
                let says: Vec<_> = says.cloned().collect();
                if says.is_empty() {
                    return None;
                }
                Json::Object(says)
            }
            ("message", Json::Object(message)) if action == Action::CallAgent => {
                let is_own = |name: &str, id| name == "messageId" && is_a_number_or_uuid(id);
                Json::Object(message.iter().filter(|(name, id)| !is_own(name, id)).cloned().collect())
            }
            (_, value) => value.clone(),
        };
        Some((name.clone(), value))
    });
    let lasting: Vec<_> = lasting.collect();
    (!lasting.is_empty()).then_some(Json::Object(lasting))
}

/// Whether a member of MCP's `_meta` is about the request and not about what is done: which version its client speaks, by which number it
/// is told of progress, where its trace is. One that has not the form of these says something.
pub fn is_of_each_try(name: &str, value: &Json<'_>) -> bool {
    let is_text = |is: fn(&str) -> bool| value.as_str().is_some_and(is);
    match name {
        "progressToken" => is_a_number_or_uuid(value),
        "traceparent" => is_text(is_trace_parent),
        "tracestate" => is_text(is_trace_state),
        "io.modelcontextprotocol/protocolVersion" => is_text(is_date),
        "io.modelcontextprotocol/logLevel" => is_text(is_level),
        "io.modelcontextprotocol/clientInfo" => is_client(value),
        "io.modelcontextprotocol/clientCapabilities" => are_capabilities(value, 4),
        _ => false,
    }
}

/// Whether an id of a message is one as clients make them, another for each: a number, or one word.
pub fn is_id(value: &Json<'_>) -> bool {
    match value {
        Json::Int(_) | Json::UInt(_) => true,
        Json::String(text) => is_word(text, 64),
        _ => false,
    }
}

/// What has no room for a message to whom it is sent.
fn is_a_number_or_uuid(value: &Json<'_>) -> bool {
    match value {
        Json::Int(_) => true,
        Json::String(text) => uuid::Uuid::try_parse(text).is_ok(),
        _ => false,
    }
}

/// One word of at most so many bytes, as identifiers and versions are.
fn is_word(text: &str, most: usize) -> bool {
    let is_of_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:;/+~@*".contains(&byte);
    (1..=most).contains(&text.len()) && text.bytes().all(is_of_word)
}

/// W3C Trace Context, section 3.2: version, trace, parent and flags, in lower-case hex.
fn is_trace_parent(text: &str) -> bool {
    let is_of_hex = |byte: u8| matches!(byte, b'-' | b'0'..=b'9' | b'a'..=b'f');
    text.split('-').map(str::len).eq([2_usize, 32, 16, 2]) && text.bytes().all(is_of_hex)
}

/// W3C Trace Context, section 3.3: at most 32 members, `key=value`; here of words alone.
fn is_trace_state(text: &str) -> bool {
    let is_member = |member: &str| {
        member.trim().split_once('=').is_some_and(|(key, value)| is_word(key, 256) && is_word(value, 256))
    };
    text.split(',').count() <= 32 && text.split(',').all(is_member)
}

/// A version of the protocol: `2026-07-28`.
fn is_date(text: &str) -> bool {
    text.split('-').map(str::len).eq([4_usize, 2, 2])
        && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit())
}

/// A severity of RFC 5424.
fn is_level(text: &str) -> bool {
    const LEVELS: [&str; 8] =
        ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];
    LEVELS.contains(&text)
}

/// Name and version of a client's software, each one word.
fn is_client(value: &Json<'_>) -> bool {
    value.as_object().is_some_and(|members| {
        members.iter().all(|(name, value)| {
            matches!(&**name, "name" | "version") && value.as_str().is_some_and(|text| is_word(text, 64))
        })
    })
}

/// What a client can do, in the protocol's own words: of an extension it is said like anything else.
fn are_capabilities(value: &Json<'_>, depth: usize) -> bool {
    const WORDS: [&str; 14] = [
        "roots",
        "listchanged",
        "sampling",
        "context",
        "tools",
        "elicitation",
        "form",
        "url",
        "tasks",
        "list",
        "cancel",
        "requests",
        "create",
        "createmessage",
    ];
    let is_known = |name: &str| WORDS.iter().any(|word| word.eq_ignore_ascii_case(name));
    match value {
        Json::Null | Json::Bool(_) => depth < 4,
        Json::Object(members) => members.iter().all(|(name, value)| {
            is_known(name) && depth.checked_sub(1).is_some_and(|depth| are_capabilities(value, depth))
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_left_out(name: &str, value: &str) -> bool {
        is_of_each_try(name, &Json::parse(value.as_bytes()).expect("JSON"))
    }

    #[test]
    fn what_is_of_each_try_is_so_in_its_form_alone() {
        let mcp = |name: &str| format!("io.modelcontextprotocol/{name}");
        let (version, client) = (mcp("protocolVersion"), mcp("clientInfo"));
        let (level, can) = (mcp("logLevel"), mcp("clientCapabilities"));
        for (name, value) in [
            ("progressToken", "7"),
            ("progressToken", r#""67e55044-10b1-426f-9247-bb680e5fe0c8""#),
            ("traceparent", r#""00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01""#),
            ("tracestate", r#""rojo=00f067aa0ba902b7, dd=s:2;o:rum;t.usr.id:baz64~~""#),
            (&version, r#""2026-07-28""#),
            (&client, r#"{"name":"claude-code","version":"1.0.3"}"#),
            (&client, r#"{"name":"@acme/bot"}"#),
            (&level, r#""debug""#),
            (&can, "{}"),
            (&can, r#"{"elicitation":{"form":{},"url":{}},"roots":{"listChanged":true},"sampling":null}"#),
        ] {
            assert!(is_left_out(name, value), "{name} {value}");
        }
        for (name, value) in [
            ("progressToken", r#""pay M""#),
            ("progressToken", r#"{"pay":"M"}"#),
            ("traceparent", r#""pay mallory""#),
            ("traceparent", r#""00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-pay""#),
            ("traceparent", r#""00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01""#),
            ("traceparent", "7"),
            ("tracestate", r#""pay mallory""#),
            ("tracestate", r#""a=pay mallory""#),
            (&version, r#""to mallory""#),
            (&client, r#"{"name":"pay mallory"}"#),
            (&client, r#"{"name":"a","account":"M"}"#),
            (&client, r#"{"name":{"pay":"M"}}"#),
            (&client, r#""pay mallory""#),
            (&level, r#"{"pay":"mallory"}"#),
            (&level, r#""pay mallory""#),
            (&can, r#"{"pay mallory":{}}"#),
            (&can, r#"{"roots":"pay mallory"}"#),
            (&can, r#"{"roots":{"list":{"list":{"list":{"list":{}}}}}}"#),
            (&can, "true"),
            ("com.bank/account", "7"),
            ("Traceparent", r#""00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01""#),
        ] {
            assert!(!is_left_out(name, value), "{name} {value}");
        }
    }

    #[test]
    fn only_what_stands_in_its_place_is_left_out() {
        const TRACE: &str = r#"{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#;
        let said = |action, params: &str| {
            let params = Json::parse(params.as_bytes()).expect("JSON");
            let content = Content { params: Some(&params), ..Content::default() };
            content.said(action).map(|said| said.canonical())
        };
        let meta = format!(r#"{{"_meta":{TRACE}}}"#);
        assert_eq!(said(Action::InvokeTool, &meta), None);
        assert_eq!(said(Action::ReadResource, &meta), None);
        // A2A has no such member, and neither has what a caller writes further down.
        let whole = |params: &str| Some(format!(r#"{{"params":{params}}}"#));
        assert_eq!(said(Action::CallAgent, &meta), whole(&meta));
        for name in Content::PARTS {
            let nested = format!(r#"{{"{name}":{meta}}}"#);
            assert_eq!(said(Action::InvokeTool, &nested), whole(&nested));
            assert_eq!(said(Action::CallAgent, &nested), whole(&nested));
        }
        let id = r#"{"message":{"messageId":1}}"#;
        assert_eq!(said(Action::CallAgent, id), whole(r#"{"message":{}}"#));
        assert_eq!(said(Action::InvokeTool, id), whole(id));
    }

    #[test]
    fn an_id_is_a_number_or_one_word() {
        for (id, expected) in [
            ("7", true),
            (r#""67e55044-10b1-426f-9247-bb680e5fe0c8""#, true),
            (r#""c-1""#, true),
            (r#""""#, false),
            (r#""pay mallory""#, false),
            ("null", false),
        ] {
            assert_eq!(is_id(&Json::parse(id.as_bytes()).expect("JSON")), expected, "{id}");
        }
    }
}
