//! The three adapters. Each is pure: a parsed message in, what it asks out; no I/O and no policy.

pub mod a2a;
pub mod added_usage;
pub mod card;
pub mod events;
pub mod jsonrpc;
pub mod listing;
pub mod llm;
pub mod mcp;
pub mod usage;

use bytes::Bytes;
use vidimus_core::call::{Action, Arguments, Target};
use vidimus_core::json::{Json, JsonError, same_key};
use vidimus_core::refusal::{Code, Refusal};

/// The longest name of a tool, prompt or skill, in bytes. MCP 2025-11-25 ("Tool names") wants at most 128 characters.
pub const LONGEST_NAME: usize = 256;

/// The longest URI of a resource, in bytes. Neither protocol has a limit; entity ids, records and log fields need one.
pub const LONGEST_URI: usize = 2_048;

/// What a message asks, in the terms of a decision, and how its answer is to be treated.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The method by its newest name.
    pub method: &'a str,
    pub action: Action,
    pub target: Target<'a>,
    pub arguments: Arguments<'a>,
    pub tokens_estimated: i64,
    pub streaming: bool,
    pub answer: Answer,
}

/// How the upstream's answer is to be treated on its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Passed on as it comes.
    Pass,
    /// The MCP server's own stream. It replays what an earlier answer held (`Last-Event-ID`), so listings in it are filtered.
    Stream,
    /// A listing: entries the caller may not use are taken out.
    Listing(Listing),
    /// An `initialize` answer: the session id is sealed to the caller.
    Session,
    /// An agent card: addresses are rewritten to the gateway.
    Card,
    /// A model's answer: token usage is read from it as it passes.
    Usage(usage::Dialect),
    /// A model's streamed answer with the usage that the gateway, not the caller, asks for: read, and taken out.
    AddedUsage,
}

impl Ask<'_> {
    /// The body that goes upstream: the caller's own bytes, but for usage that the gateway asks for.
    ///
    /// # Errors
    /// See [`added_usage::ask_for`].
    pub fn sent(&self, body: &Bytes) -> Result<Bytes, Refusal> {
        match self.answer {
            Answer::AddedUsage => added_usage::ask_for(body),
            _ => Ok(body.clone()),
        }
    }
}

/// The MCP listings that are filtered, by what their entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    Tools,
    Resources,
    ResourceTemplates,
    Prompts,
}

/// Refuses an object that spells a member that is read here in another case: some servers would read it all the same.
pub fn check_spelling(object: &Json<'_>, read: &[&str]) -> Result<(), Refusal> {
    let members = object.as_object().unwrap_or_default();
    for (key, _) in members {
        if let Some(name) = read.iter().find(|name| **key != ***name && same_key(key, name)) {
            let message =
                format!("member {name:?} is spelled in another case; write it as the protocol does");
            return Err(Refusal::new(Code::MessageInvalid, message));
        }
    }
    Ok(())
}

/// Parses a body strictly, in the words of a refusal.
pub fn parse(body: &[u8]) -> Result<Json<'_>, Refusal> {
    Json::parse(body).map_err(|error| {
        let code = match &error {
            JsonError::NotUtf8 { .. } => Code::BodyNotUtf8,
            JsonError::DuplicateKey { .. } => Code::DuplicateKey,
            JsonError::Syntax { .. } => Code::BodyNotJson,
            JsonError::TooMany => Code::BodyTooLarge,
        };
        Refusal::new(code, format!("the body is not acceptable JSON: {error}"))
    })
}

#[cfg(test)]
pub(crate) mod tests;
