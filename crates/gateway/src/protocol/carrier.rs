//! How a call that waits for a person is answered, where its protocol has more for that than an error: its caller is led to the
//! approval, and gets a handle of it that nobody else can use. A handle opens nothing: what is approved is found by what is called.

use http::Response;
use vidimus_core::refusal::Refusal;

use super::{a2a, mcp};

/// What a message tells of how its sender takes it that the call waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carrier<'a> {
    /// As a refusal.
    #[default]
    Refusal,
    /// MCP 2026-07-28: a result by which the client leads its user to an address, and makes the request again.
    InputRequired,
    /// MCP 2025-11-25: the error that says at which address the client's user has something to do.
    UrlElicitation,
    /// A2A: a task that waits for authorization.
    Task(a2a::held::Sent<'a>),
}

/// A call that waits.
#[derive(Clone, Copy, Debug)]
pub struct Waiting<'a> {
    pub refusal: &'a Refusal,
    /// The approval that it waits for.
    pub approval: &'a str,
    /// The same, sealed to the caller.
    pub handle: &'a str,
    /// Where people see it; `None` where no such address is configured.
    pub url: Option<&'a str>,
    /// The id of the call.
    pub call: &'a str,
    /// What identifies the message to its sender, as JSON.
    pub id: &'a str,
}

impl Carrier<'_> {
    /// The answer; `None` where it is the refusal.
    pub fn answer(self, waiting: &Waiting<'_>) -> Option<Response<String>> {
        match self {
            Self::Refusal => None,
            Self::InputRequired => mcp::held::input_required(waiting),
            Self::UrlElicitation => mcp::held::url_elicitation(waiting),
            Self::Task(sent) => Some(a2a::held::waits(waiting, sent)),
        }
    }
}
