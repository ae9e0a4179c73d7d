//! A2A 1.0 and 0.3 to each other, where an agent's record says that it speaks one of them alone (ADR 102).
//!
//! A message is read, decided, sealed and recorded in the words of its caller. Last of all, before it is lowered to the agent's binding, it is
//! written anew in the words of the agent's version; what the agent answers is written in the caller's as the first thing after it came in
//! ([`forward`](crate::forward())). So nothing between knows of it, and nothing goes on that was not read: each is made of known members alone
//! ([`words`]). Of a request what is unknown, and what the other version cannot say, is refused; of an answer it is left out.

mod object;
mod parts;
mod words;

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{A2aVersion, Agent};

use self::object::{Fault, Saying, Who, Written};
use self::words::Row;
use super::grpc::status::{self, OF_A2A};
use super::{METHODS, NEWS, grpc, rest, task_of_news};
use crate::protocol::event::{self, Change, Rewrite};
use crate::protocol::members::{Members, quoted, text};
use crate::protocol::sse::EventFilter;
use crate::protocol::{Lowered, Parsed, is_same_member};

/// What stands before the path by which a message goes on that is of 0.3, to an agent of 1.0.
const FROM_OLD: &str = "/:from-0.3";
/// The same of one that is written as the schema of 0.3 has it, as over HTTP+JSON.
const FROM_OLD_SCHEMA: &str = "/:from-0.3-schema";
/// The same of one of 1.0, to an agent of 0.3.
const FROM_NEW: &str = "/:from-1.0";

/// In which header extensions are named, by 0.3 and by 1.0.
const OLD_EXTENSIONS: HeaderName = HeaderName::from_static("x-a2a-extensions");
const EXTENSIONS: HeaderName = HeaderName::from_static("a2a-extensions");

/// The version of a message, by how its method is spelled.
pub(super) const fn of_message(old: bool) -> A2aVersion {
    if old { A2aVersion::V0_3 } else { A2aVersion::V1_0 }
}

/// The version that an agent's record says it speaks alone.
pub(super) fn declared(agent: &Agent) -> Option<A2aVersion> {
    agent.endpoint.as_ref().and_then(|endpoint| endpoint.a2a)
}

/// The same, and that of who is called over a binding that is spoken to in 1.0 alone.
pub fn spoken(agent: &Agent) -> Option<A2aVersion> {
    let implied = grpc::is_alone(agent) || rest::is_alone(agent);
    declared(agent).or(implied.then_some(A2aVersion::V1_0))
}

/// Whether an agent speaks the other version than a message is of, and that one alone.
pub(super) fn differs(agent: &Agent, old: bool) -> bool {
    spoken(agent).is_some_and(|spoken| spoken != of_message(old))
}

/// How a caller wrote what goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrote {
    /// As 0.3 does.
    pub old: bool,
    /// As the schema of 0.3 has it, and not its JSON-RPC.
    pub of_schema: bool,
}

/// Has a message go on to an agent of the other version, by this path of the binding that the agent speaks.
pub(super) fn goes_on(wrote: Wrote, path: &str, parsed: &mut Parsed<'_>) {
    let before = match wrote {
        Wrote { old: false, .. } => FROM_NEW,
        Wrote { of_schema: true, .. } => FROM_OLD_SCHEMA,
        Wrote { .. } => FROM_OLD,
    };
    if Row::of(parsed.ask.method).is_none() {
        let message = format!("A2A {} has no {}", of_message(!wrote.old).as_str(), parsed.ask.method);
        parsed.fault = Some(Box::new(no_equivalent(message)));
        return;
    }
    parsed.path = Some(format!("{before}{path}").into());
    parsed.headers.extend(grpc::of_rpc(!wrote.old));
}

/// A message whose path says that it is of the other version than the agent's, as the request that goes on; `None` where it says nothing of that.
///
/// # Errors
/// `message_invalid` for what is none of the caller's version, `no_equivalent` for what the agent's cannot say; else as those of the binding.
pub(super) fn lowered(path: &str, message: &Bytes, tenant: Option<&str>) -> Result<Option<Lowered>, Refusal> {
    let from = |before: &str| path.strip_prefix(before).filter(|behind| behind.starts_with('/'));
    let (to, behind, message) = if let Some(behind) = from(FROM_NEW) {
        (A2aVersion::V0_3, behind, message.clone())
    } else if let Some(behind) = from(FROM_OLD) {
        (A2aVersion::V1_0, behind, message.clone())
    } else if let Some(behind) = from(FROM_OLD_SCHEMA) {
        (A2aVersion::V1_0, behind, rest::translated::old_message(message.clone())?)
    } else {
        return Ok(None);
    };
    let (message, crossed) = request(&message, to)?;
    let lowered = super::lowered(Cow::Owned(behind.to_owned()), message, tenant)?;
    Ok(Some(Lowered { crossed: Some(crossed), ..lowered }))
}

/// A message of JSON-RPC in the words of the other version, and how what is answered to it is read.
fn request(message: &[u8], to: A2aVersion) -> Result<(Bytes, Crossed), Refusal> {
    let lost = || Refusal::new(Code::Internal, "what is to be sent is no message of JSON-RPC");
    let said = std::str::from_utf8(message).map_err(|_| lost())?;
    let envelope = Members::unique(said).map_err(|error| lost().with_detail(error))?;
    let named = envelope.get("method").and_then(text).ok_or_else(lost)?;
    let is_it = |old: &str, new: &str| if to == A2aVersion::V1_0 { old == named } else { new == named };
    let (old, new, _) = METHODS.into_iter().find(|(old, new, _)| is_it(old, new)).ok_or_else(lost)?;
    let row = Row::of(new).ok_or_else(lost)?;
    let id = envelope.get("id").ok_or_else(lost)?.get();
    let params = envelope.get("params").map_or("{}", RawValue::get);
    let saying = Saying { to, who: Who::Caller };
    let params = row.asked(saying, if params == "null" { "{}" } else { params }).map_err(unasked)?;
    let method = quoted(if to == A2aVersion::V1_0 { new } else { old });
    let message = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method},"params":{params}}}"#);
    Ok((message.into(), Crossed { row, to: to.other() }))
}

/// A request that went out in another version than its caller's.
#[derive(Clone, Copy, Debug)]
pub struct Crossed {
    row: &'static Row,
    /// The caller's version.
    to: A2aVersion,
}

impl PartialEq for Crossed {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.row, other.row) && self.to == other.to
    }
}

impl Eq for Crossed {}

impl Crossed {
    /// A response of JSON-RPC of the agent's, in the words of the caller's version.
    ///
    /// # Errors
    /// `upstream_invalid` for what is no response, or none of the agent's version.
    pub fn response(&self, said: &str) -> Result<String, Refusal> {
        let members = Members::unique(said).map_err(|error| unanswered(error.into()))?;
        let mut written = Written::default();
        for name in ["jsonrpc", "id"] {
            if let Some(value) = members.get(name) {
                written.put(name, value.get());
            }
        }
        let is_there = |name: &str| members.get(name).map(RawValue::get);
        let nothing = || self.row.answers_nothing().then_some("null");
        match (is_there("error").filter(|error| *error != "null"), is_there("result").or_else(nothing)) {
            (Some(told), _) => written.put("error", &error(told, self.to).map_err(unanswered)?),
            (None, Some(result)) => {
                let saying = Saying { to: self.to, who: Who::Agent };
                written.put("result", &self.row.answered(saying, result).map_err(unanswered)?);
            }
            (None, None) => return Err(unanswered(Fault::Unreadable("it is no response".to_owned()))),
        }
        Ok(written.finish())
    }

    /// What goes on of the caller's extensions, by the name that the agent's version has for them. By that name the caller's has none.
    pub fn name_to_agent(&self, headers: &mut HeaderMap) {
        match self.to {
            A2aVersion::V0_3 => rename(headers, &OLD_EXTENSIONS, &EXTENSIONS),
            A2aVersion::V1_0 => rename(headers, &EXTENSIONS, &OLD_EXTENSIONS),
        }
    }

    /// What the answer says of extensions, by the name that the caller's version has for it.
    pub fn name_to_caller(&self, headers: &mut HeaderMap) {
        match self.to {
            A2aVersion::V0_3 => rename(headers, &EXTENSIONS, &OLD_EXTENSIONS),
            A2aVersion::V1_0 => rename(headers, &OLD_EXTENSIONS, &EXTENSIONS),
        }
    }
}

/// All lines of a header by another name, in the place of whatever stands there.
fn rename(headers: &mut HeaderMap, from: &HeaderName, to: &HeaderName) {
    headers.remove(to);
    let lines: Vec<HeaderValue> = headers.get_all(from).iter().cloned().collect();
    headers.remove(from);
    for line in lines {
        headers.append(to.clone(), line);
    }
}

/// Events of an agent of the other version, each a response.
impl EventFilter for Crossed {
    fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        event::rewrite(event, self)
    }
}

impl Rewrite for Crossed {
    fn data(&mut self, data: &str) -> Result<Change, Refusal> {
        match rest::translated::is_message(data) {
            true => self.response(data).map(Change::To),
            false => Ok(Change::Same),
        }
    }

    fn id(&mut self, _id: &str) -> Result<Option<String>, Refusal> {
        Ok(None)
    }
}

/// An error of JSON-RPC. The numbers are those of both versions; what it has for programs is a list of details in 1.0, and an object in 0.3.
fn error(said: &str, to: A2aVersion) -> Result<String, Fault> {
    let members = Members::unique(said)?;
    let number = members.get("code").and_then(|code| code.get().parse::<i64>().ok());
    let number = number.ok_or_else(|| Fault::Unreadable("an error has a number".to_owned()))?;
    let mut written = Written::default();
    written.put("code", &number.to_string());
    written.put("message", &quoted(&members.get("message").and_then(text).unwrap_or_default()));
    let data = members.get("data").map(RawValue::get).filter(|data| *data != "null");
    let data = match (to, data) {
        (_, None) => None,
        (A2aVersion::V0_3, Some(list)) if list.starts_with('[') => Some(format!(r#"{{"details":{list}}}"#)),
        (A2aVersion::V1_0, Some(other)) if !other.starts_with('[') => {
            let about: Value = serde_json::from_str(other)?;
            let about = if about.is_object() { about } else { json!({"data": about}) };
            let info = |reason| status::info(reason, OF_A2A, &status::texts(&about));
            status::reason_of(number).map(|reason| json!([info(reason)]).to_string())
        }
        (_, Some(same)) => Some(same.to_owned()),
    };
    if let Some(data) = data {
        written.put("data", &data);
    }
    Ok(written.finish())
}

/// News of a task in the words of `to`; `None` where they are that already.
///
/// # Errors
/// `message_invalid` for what is none of the other version, or would be no news, or those of another task.
pub fn news(said: &str, to: A2aVersion) -> Result<Option<String>, Refusal> {
    let members = Members::unique(said).map_err(|error| unasked(error.into()))?;
    // By whatever spelling they are taken for news of 1.0, they are not told as those of 0.3.
    let is_one = |name: &str| match to {
        A2aVersion::V0_3 => NEWS.iter().any(|known| is_same_member(name, known)),
        A2aVersion::V1_0 => NEWS.contains(&name),
    };
    let is_new = matches!(&members.0[..], [(name, _)] if is_one(name));
    if is_new == (to == A2aVersion::V1_0) {
        return Ok(None);
    }
    let told = words::sent(Saying { to, who: Who::Agent }, said).map_err(unasked)?;
    // What was looked at is what they were: a message, or of another task, they must not become.
    if task_of_news(told.as_bytes()).is_none_or(|task| task_of_news(said.as_bytes()) != Some(task)) {
        return Err(unasked(Fault::Unreadable("they are no news of the task that they name".to_owned())));
    }
    Ok(Some(told))
}

fn unasked(fault: Fault) -> Refusal {
    match fault {
        Fault::Unreadable(what) => Refusal::new(
            Code::MessageInvalid,
            format!("what is said cannot be translated between versions of A2A: {what}"),
        ),
        Fault::Without(what) => no_equivalent(format!("the agent's version of A2A cannot say {what}")),
    }
}

fn unanswered(fault: Fault) -> Refusal {
    let (Fault::Unreadable(what) | Fault::Without(what)) = fault;
    Refusal::new(
        Code::UpstreamInvalid,
        format!("what the agent answered is none of its version of A2A: {what}"),
    )
}

fn no_equivalent(message: String) -> Refusal {
    const NEXT: &str = "The agent speaks another version of A2A than the request (spec.endpoint.a2a). Leave out what is named, or use a client of the \
        agent's version; docs/clients.md has what is translated.";
    Refusal::new(Code::NoEquivalent, message).with_next(NEXT)
}

#[cfg(test)]
mod tests;
