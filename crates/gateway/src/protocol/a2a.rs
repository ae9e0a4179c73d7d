//! A2A 1.0 and 0.3 over JSON-RPC, and the agent card.
//!
//! A message names a skill in `message.metadata.skill` (or `params.metadata.skill`); neither version of the protocol has a
//! field of its own for it. Naming one narrows the call to that skill; it never escapes what is said of the agent.

use std::sync::Arc;

use http::HeaderMap;
use vidimus_core::call::{Action, Arguments, Target};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Agent;

use super::jsonrpc::Envelope;
use super::{Answer, Ask, LONGEST_NAME, check_spelling};

/// Where the card is served: A2A 1.0 section 8.2 and 0.3 section 5.3; the second is what 0.2 clients still ask for.
pub const CARD_PATHS: [&str; 2] = ["/.well-known/agent-card.json", "/.well-known/agent.json"];

/// The method that answers with a card.
pub const EXTENDED_CARD: &str = "GetExtendedAgentCard";

/// The versions that are served, newest first.
pub const SERVED: [&str; 2] = ["1.0", "0.3"];

const VERSION_HEADER: &str = "a2a-version";

/// 0.3 name, 1.0 name, and whether the answer streams.
const METHODS: [(&str, &str, bool); 11] = [
    ("message/send", "SendMessage", false),
    ("message/stream", "SendStreamingMessage", true),
    ("tasks/get", "GetTask", false),
    ("tasks/list", "ListTasks", false),
    ("tasks/cancel", "CancelTask", false),
    ("tasks/resubscribe", "SubscribeToTask", true),
    ("tasks/pushNotificationConfig/set", "CreateTaskPushNotificationConfig", false),
    ("tasks/pushNotificationConfig/get", "GetTaskPushNotificationConfig", false),
    ("tasks/pushNotificationConfig/list", "ListTaskPushNotificationConfigs", false),
    ("tasks/pushNotificationConfig/delete", "DeleteTaskPushNotificationConfig", false),
    ("agent/getAuthenticatedExtendedCard", EXTENDED_CARD, false),
];

/// Reads one POSTed message.
///
/// # Errors
/// A refusal for anything that is not one request of a served version whose header agrees with its body.
pub fn ask<'a>(agent: &'a Arc<Agent>, headers: &HeaderMap, body: &'a Json<'a>) -> Result<Ask<'a>, Refusal> {
    let Envelope::Request { method, params } = Envelope::of(body)? else {
        return Err(Refusal::new(
            Code::MessageInvalid,
            "A2A has requests only; the message needs a method and an id",
        ));
    };
    let Some((old, new, streaming)) =
        METHODS.into_iter().find(|(old, new, _)| *old == method || *new == method)
    else {
        let shown: String = method.chars().take(64).collect();
        return Err(Refusal::new(
            Code::MethodUnknown,
            format!("method {shown:?} is not a method of a served A2A version"),
        ));
    };
    version_agrees(headers, method == old)?;
    let target = match skill(params)? {
        Some(name) => Target::Skill { agent, name },
        None => Target::Agent(agent),
    };
    let answer = if new == EXTENDED_CARD { Answer::Card } else { Answer::Pass };
    Ok(Ask {
        method: new,
        action: Action::CallAgent,
        target,
        arguments: Arguments::None,
        tokens_estimated: 0,
        streaming,
        answer,
    })
}

/// A GET of the card.
pub fn ask_card<'a>(agent: &'a Arc<Agent>) -> Ask<'a> {
    Ask {
        method: "GetAgentCard",
        action: Action::CallAgent,
        target: Target::Agent(agent),
        arguments: Arguments::None,
        tokens_estimated: 0,
        streaming: false,
        answer: Answer::Card,
    }
}

/// `A2A-Version` and the spelling of the method must be of one version; an absent header says nothing.
fn version_agrees(headers: &HeaderMap, old: bool) -> Result<(), Refusal> {
    let mut values = headers.get_all(VERSION_HEADER).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return match headers.contains_key(VERSION_HEADER) {
            true => Err(Refusal::new(Code::HeaderMismatch, "header a2a-version is given twice")),
            false => Ok(()),
        };
    };
    match (value.as_bytes(), old) {
        (b"", _) | (b"0.3" | b"0.3.0", true) | (b"1.0" | b"1.0.0" | b"1.0.1", false) => Ok(()),
        (b"0.3" | b"0.3.0" | b"1.0" | b"1.0.0" | b"1.0.1", _) => Err(Refusal::new(
            Code::HeaderMismatch,
            "header a2a-version and the spelling of the method are of different versions",
        )),
        _ => Err(Refusal::new(Code::ProtocolVersionUnsupported, "A2A versions 0.3 and 1.0 are served")),
    }
}

/// The skill that the message names. Named in two places, it must be the same.
fn skill<'a>(params: Option<&'a Json<'a>>) -> Result<Option<&'a str>, Refusal> {
    let of = |value: Option<&'a Json<'a>>| -> Result<Option<&'a str>, Refusal> {
        value.map_or(Ok(()), |value| check_spelling(value, &["message", "metadata"]))?;
        match value.and_then(|v| v.get("metadata")).and_then(|m| m.get("skill")) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(name)) if !name.is_empty() && name.len() <= LONGEST_NAME => Ok(Some(name)),
            Some(_) => {
                let message = format!("metadata.skill must be a string of 1 to {LONGEST_NAME} bytes");
                Err(Refusal::new(Code::MessageInvalid, message))
            }
        }
    };
    match (of(params)?, of(params.and_then(|p| p.get("message")))?) {
        (Some(a), Some(b)) if a != b => {
            Err(Refusal::new(Code::MessageInvalid, "params.metadata.skill and message.metadata.skill differ"))
        }
        (a, b) => Ok(a.or(b)),
    }
}

#[cfg(test)]
mod tests;
