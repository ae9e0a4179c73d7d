//! What is kept of a call's arguments, so that the call can be decided again as what it is: a policy that comes while it is under way may look
//! at them.

use std::fmt;
use std::sync::Arc;

use vidimus_core::call::{Arguments, Ask};
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

    /// The arguments; `message` is [`Kept::message`].
    pub(super) fn arguments<'m>(&self, message: Option<&'m Json<'m>>) -> Arguments<'m> {
        match (self, message) {
            (Self::None, _) => Arguments::None,
            (Self::Message(_), Some(message)) => mcp::arguments(message.get("params")),
            (Self::Message(_) | Self::Unknown, _) => Arguments::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use vidimus_core::call::{Action, Target};

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
}
