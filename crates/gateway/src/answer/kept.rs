//! What is kept of a call's arguments, and of what it says beside them, so that the call can be decided again as what it is: a policy that
//! comes while it is under way, or outlives the one that permitted it, may look at them.

use std::fmt;
use std::sync::Arc;

use vidimus_core::call::{Action, Arguments, Ask, Content};
use vidimus_core::json::Json;

use crate::protocol::mcp;

/// What is kept of the arguments of a call while it is under way.
#[derive(Clone)]
pub(super) enum Kept {
    /// It has none.
    None,
    /// All: the message of a tool's call that has them, which is not longer than [`LONGEST_KEPT`].
    Message(Arc<[u8]>),
    /// Nothing: the message is longer, or they are those of an earlier call.
    Unknown,
}

/// The longest message that is kept, in bytes. As many are as calls are under way.
const LONGEST_KEPT: usize = 8 * 1024;

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Message(_) => "Message",
            Self::Unknown => "Unknown",
        })
    }
}

impl Kept {
    pub(super) fn of(ask: &Ask<'_>) -> Self {
        match ask.arguments {
            Arguments::None => Self::None,
            Arguments::Known(_) if ask.body.len() <= LONGEST_KEPT => Self::Message(ask.body.into()),
            Arguments::Known(_) | Arguments::Unknown | Arguments::Recorded(_) => Self::Unknown,
        }
    }

    /// The message, read; `None` where it is not kept.
    pub(super) fn message(&self) -> Option<Json<'_>> {
        match self {
            Self::Message(message) => Json::parse(message).ok(),
            Self::None | Self::Unknown => None,
        }
    }

    /// The message byte for byte, in which a number stands as it is written; empty where it is not kept.
    pub(super) fn body(&self) -> &[u8] {
        match self {
            Self::Message(message) => message,
            Self::None | Self::Unknown => &[],
        }
    }

    /// The arguments; `message` is [`Kept::message`].
    pub(super) fn arguments<'m>(&self, message: Option<&'m Json<'m>>) -> Arguments<'m> {
        match (self, message) {
            (Self::None, _) => Arguments::None,
            (Self::Message(_), Some(message)) => mcp::arguments(message.get("params")),
            (Self::Message(_) | Self::Unknown, _) => Arguments::Unknown,
        }
    }
}

/// What is kept of what the call of a tool says beside its arguments: with them it is what makes it a step of a plan.
#[derive(Clone)]
pub(super) enum KeptContent {
    /// It says nothing, as nearly all do, or is of no tool.
    None,
    /// All, as [`Content::said`] has it, which is not longer than [`LONGEST_KEPT`].
    Said(Arc<str>),
    /// Nothing: it is longer.
    Unknown,
}

impl fmt::Debug for KeptContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Said(_) => "Said",
            Self::Unknown => "Unknown",
        })
    }
}

impl KeptContent {
    pub(super) fn of(ask: &Ask<'_>) -> Self {
        if ask.action != Action::InvokeTool {
            return Self::None;
        }
        match ask.content.said(ask.action).map(|said| said.canonical()) {
            None => Self::None,
            Some(said) if said.len() <= LONGEST_KEPT => Self::Said(said.into()),
            Some(_) => Self::Unknown,
        }
    }

    /// What is kept, read; `None` where nothing is.
    pub(super) fn said(&self) -> Option<Json<'_>> {
        match self {
            Self::Said(said) => Json::parse(said.as_bytes()).ok(),
            Self::None | Self::Unknown => None,
        }
    }

    /// What the call said, `None` where that is not known; `said` is [`KeptContent::said`].
    pub(super) fn content<'s>(&self, said: Option<&'s Json<'s>>) -> Option<Content<'s>> {
        match (self, said) {
            (Self::None, _) => Some(Content::default()),
            (Self::Said(_), Some(said)) => Some(Content {
                beside: said.get("beside"),
                headers: said.get("headers"),
                params: said.get("params"),
                query: said.get("query"),
            }),
            (Self::Said(_) | Self::Unknown, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use vidimus_core::call::Target;

    use super::*;
    use crate::protocol::tests::server;

    fn kept(body: &str) -> Kept {
        let (json, server) = (Json::parse(body.as_bytes()).expect("JSON"), server());
        let arguments = mcp::arguments(json.get("params"));
        let ask = Ask::about("tools/call", Action::InvokeTool, Target::Tool { server: &server, name: "pay" });
        Kept::of(&Ask { arguments, body: body.as_bytes(), ..ask })
    }

    #[test]
    fn arguments_are_kept_up_to_a_length_and_no_longer() {
        let call =
            |text: &str| format!(r#"{{"method":"tools/call","params":{{"arguments":{{"a":"{text}"}}}}}}"#);
        let short = kept(&call("x"));
        let message = short.message();
        let Arguments::Known(arguments) = short.arguments(message.as_ref()) else { panic!("{short:?}") };
        assert_eq!(arguments.get("a").and_then(Json::as_str), Some("x"));
        let long = kept(&call(&"x".repeat(LONGEST_KEPT)));
        let message = long.message();
        assert!(matches!(long.arguments(message.as_ref()), Arguments::Unknown), "{long:?}");
        let none = kept(r#"{"method":"tools/call","params":{"arguments":null}}"#);
        assert!(matches!(none.arguments(None), Arguments::None), "{none:?}");
    }

    #[test]
    fn what_is_said_beside_arguments_is_kept_as_it_is_digested() {
        let server = server();
        let ask = Ask::about("tools/call", Action::InvokeTool, Target::Tool { server: &server, name: "pay" });
        let json = |text: &str| Json::parse(text.as_bytes()).expect("JSON").canonical();
        let (params, headers) = (json(r#"{"b":[1.5],"_meta":{"a/b":2}}"#), json(r#"{"mcp-x":["1"]}"#));
        let (params, headers) = (Json::parse(params.as_bytes()), Json::parse(headers.as_bytes()));
        let (params, headers) = (params.expect("JSON"), headers.expect("JSON"));
        let content = Content { params: Some(&params), headers: Some(&headers), ..Content::default() };
        let kept = KeptContent::of(&Ask { content, ..ask });
        let said = kept.said();
        let again = kept.content(said.as_ref()).expect("it is known");
        assert_eq!(
            again.said(Action::InvokeTool).map(|said| said.canonical()),
            content.said(Action::InvokeTool).map(|said| said.canonical())
        );
        assert_eq!(KeptContent::of(&ask).content(None), Some(Content::default()));
        let long = Json::String("x".repeat(LONGEST_KEPT).into());
        let content = Content { params: Some(&long), ..Content::default() };
        let kept = KeptContent::of(&Ask { content, ..ask });
        assert_eq!(kept.content(kept.said().as_ref()), None);
    }
}
