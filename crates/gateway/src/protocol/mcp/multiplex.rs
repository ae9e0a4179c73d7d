//! An MCP server that stands for others, its members (ADR 82): which of them a message concerns, and what of it is said otherwise there.
//!
//! A message that concerns one member becomes the message that its caller could have sent to that member's own address; it is decided, recorded
//! and carried as that. What concerns all is asked of each, and their answers become one ([`merge`]). What a member says on its way back names
//! what it has as the caller has to name it ([`back`]).

pub mod back;
pub mod merge;
mod names;
mod sessions;

use http::{HeaderMap, Method};
use vidimus_core::call::{Action, Ask, Destination, Target};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{Member, Members};

use super::listen::{RESOURCES, TASKS};
use super::{
    LAST_EVENT_HEADER, SESSION_HEADER, STREAM, StreamableHttp, connect, is_modern, labels, single, versions,
};
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::members::{Replaced, quoted};
use crate::protocol::observe::Observe;
use crate::protocol::{Answer, Binding as _, Expected, Message, Parsed};
use crate::seal::{Holder, Kind};
pub use sessions::{Joined, MAX_ID as MAX_SESSION, Sessions};

/// Where a message goes.
#[derive(Debug)]
pub enum Way<'f> {
    /// To one member, as this message.
    To(To<'f>),
    /// To all of them, or to none: the server itself answers.
    All,
}

/// A message to one member.
#[derive(Debug)]
pub struct To<'f> {
    pub member: &'f Member,
    /// What of the body has another value there.
    pub replaced: Vec<Replaced>,
    /// What the message names, as the member does: what `Mcp-Name` says, where it is there.
    pub name: Option<String>,
}

impl<'f> To<'f> {
    fn new(member: &'f Member, path: &'static [&'static str], with: String, name: Option<&str>) -> Self {
        Self { member, replaced: vec![Replaced { path, with }], name: name.map(str::to_owned) }
    }

    /// What goes on as it is.
    fn unchanged(member: &'f Member) -> Self {
        Self { member, replaced: Vec::new(), name: None }
    }
}

/// Where a message goes. `opens` tells whether an id that the gateway sealed was sealed to this caller at this member.
///
/// # Errors
/// `resource_unknown` for what no member has; `method_unknown` for what is not served by a server with members; `task_foreign` and
/// `session_foreign` for what no member gave this caller; `message_invalid` for what is no message.
pub fn way<'f>(
    members: &'f Members,
    (method, headers): (&Method, &HeaderMap),
    message: Option<&Json<'_>>,
    opens: &dyn Fn(&Member, Kind, &str) -> bool,
) -> Result<Way<'f>, Refusal> {
    let of_member = |kind, sealed: &str| members.all.iter().find(|member| opens(member, kind, sealed));
    let Some(message) = message else {
        return match single(headers, LAST_EVENT_HEADER)?.filter(|_| *method == Method::GET) {
            Some(sealed) => {
                let member = of_member(Kind::Event, sealed).ok_or_else(no_event)?;
                Ok(Way::To(To::unchanged(member)))
            }
            None => Ok(Way::All),
        };
    };
    let (asks, params) = match Envelope::of(message)? {
        Envelope::Request { method, params } | Envelope::Notification { method, params } => (method, params),
        Envelope::Response => return response(members, message),
    };
    // Which versions are spoken here is no member's to say, and what a version has no more is of none.
    if versions::not_served(headers, params)?.is_some() {
        return Ok(Way::All);
    }
    let modern = is_modern(headers, params);
    versions::check_method(headers, asks, modern)?;
    // They are held to what the caller says; what the member gets says the same of its own names.
    labels::check(headers, asks, params, modern)?;
    let Some(params) = params else { return of_all(asks) };
    let text =
        |path: &[&str]| path.iter().try_fold(params, |json, name| json.get(name)).and_then(Json::as_str);
    let to = match asks {
        "tools/call" | "prompts/get" => named(members, &["params", "name"], text(&["name"]))?,
        "resources/read" => located(members, &["params", "uri"], text(&["uri"]))?,
        "completion/complete" => match text(&["ref", "type"]) {
            Some("ref/resource") => located(members, &["params", "ref", "uri"], text(&["ref", "uri"]))?,
            _ => named(members, &["params", "ref", "name"], text(&["ref", "name"]))?,
        },
        "tasks/get" | "tasks/result" | "tasks/update" | "tasks/cancel" => {
            let member = text(&["taskId"]).and_then(|id| of_member(Kind::Task, id));
            To::unchanged(member.ok_or_else(super::tasks::foreign)?)
        }
        "subscriptions/listen" => listened(members, params, &|id| of_member(Kind::Task, id))?,
        "notifications/progress" => {
            let token = text(&["progressToken"]).and_then(names::tagged);
            let (name, token) = token.ok_or_else(|| unknown("a progress token"))?;
            let member = members.named(name).ok_or_else(|| unknown("a progress token"))?;
            To::new(member, &["params", "progressToken"], token.to_owned(), None)
        }
        _ => return of_all(asks),
    };
    Ok(Way::To(to))
}

/// A method that is about no one member.
fn of_all<'f>(method: &str) -> Result<Way<'f>, Refusal> {
    let why = match method {
        "resources/subscribe" | "resources/unsubscribe" => {
            "news of a resource would come on a stream of the session, which a server with members does not have; ask for the resource again"
        }
        "tasks/list" => {
            "tasks are listed by the server that has them; ask each at its own address, or ask for a task by its id"
        }
        "subscriptions/listen" => {
            "a stream for news is of one member here: name resources or tasks of one, and open one for each member"
        }
        "notifications/tasks/status" | "notifications/elicitation/complete" => {
            "which member it is meant for does not stand in it"
        }
        _ => return Ok(Way::All),
    };
    let message = format!("a server with members does not serve {method:?}: {why}");
    Err(Refusal::new(Code::MethodUnknown, message))
}

/// What names a tool or a prompt.
fn named<'f>(
    members: &'f Members,
    path: &'static [&'static str],
    name: Option<&str>,
) -> Result<To<'f>, Refusal> {
    let found = name.and_then(|name| members.of_name(name));
    let (member, own) = found.ok_or_else(|| unknown("a tool or prompt"))?;
    Ok(To::new(member, path, quoted(own), Some(own)))
}

/// What names a resource.
fn located<'f>(
    members: &'f Members,
    path: &'static [&'static str],
    uri: Option<&str>,
) -> Result<To<'f>, Refusal> {
    let found = uri.and_then(|uri| members.of_uri(uri));
    let (member, own) = found.ok_or_else(|| unknown("a resource"))?;
    Ok(To::new(member, path, quoted(&own), Some(&own)))
}

/// A stream for news of resources and tasks of one member.
fn listened<'f>(
    members: &'f Members,
    params: &Json<'_>,
    of_task: &dyn Fn(&str) -> Option<&'f Member>,
) -> Result<To<'f>, Refusal> {
    let asked = params.get("notifications");
    let named = |path: &[&str]| {
        let list = path.last().and_then(|list| asked?.get(list)).and_then(Json::as_array);
        list.unwrap_or_default().iter().map(|one| one.as_str().ok_or_else(|| unknown("a resource or task")))
    };
    let (mut found, mut own) = (Vec::new(), Vec::new());
    for uri in named(RESOURCES) {
        let (member, uri) = members.of_uri(uri?).ok_or_else(|| unknown("a resource"))?;
        found.push(member);
        own.push(quoted(&uri));
    }
    for id in named(TASKS) {
        found.push(of_task(id?).ok_or_else(super::tasks::foreign)?);
    }
    match found.as_slice() {
        [first, others @ ..] if others.iter().all(|other| other.name == first.name) => {
            let uris = Replaced { path: RESOURCES, with: format!("[{}]", own.join(",")) };
            let replaced = if own.is_empty() { Vec::new() } else { vec![uris] };
            Ok(To { member: first, replaced, name: None })
        }
        _ => Err(of_all("subscriptions/listen").err().unwrap_or_else(|| unknown("a resource"))),
    }
}

/// An answer to what a member asked: the id that the client answers by says which one, and that member's own id.
fn response<'f>(members: &'f Members, message: &Json<'_>) -> Result<Way<'f>, Refusal> {
    let asked = message.get("id").and_then(Json::as_str).and_then(names::tagged);
    let found = asked.and_then(|(member, id)| Some((members.named(member)?, id)));
    let (member, id) = found.ok_or_else(|| {
        Refusal::new(Code::MessageInvalid, "the answer is to no question that a member of this server asked")
    })?;
    Ok(Way::To(To::new(member, &["id"], id.to_owned(), None)))
}

/// The session that a request names, and as what its id was sealed.
///
/// # Errors
/// `session_foreign` for one that is not this caller's at this server; `header_mismatch` where two are named.
pub fn session(headers: &HeaderMap, holder: &Holder<'_>) -> Result<Option<(Kind, Sessions)>, Refusal> {
    let Some(sealed) = single(headers, SESSION_HEADER)? else { return Ok(None) };
    let opened = [Kind::Session, Kind::ElicitingSession]
        .into_iter()
        .find_map(|kind| holder.open(kind, sealed).map(|opened| (kind, opened)));
    let foreign = || Refusal::new(Code::SessionForeign, "no such session of this caller");
    let (kind, opened) = opened.ok_or_else(foreign)?;
    Ok(Some((kind, Sessions::read(&opened.id)?)))
}

fn unknown(what: &str) -> Refusal {
    let message = format!(
        "{what} of no member of this server was named; a tool or prompt is MEMBER__NAME and a resource MEMBER+URI, as the lists have them"
    );
    Refusal::new(Code::ResourceUnknown, message)
}

fn no_event() -> Refusal {
    Refusal::new(Code::SessionForeign, "no such event of a stream of this caller")
}

/// What is asked of a server with members itself.
///
/// # Errors
/// As of a message to any other server; `method_not_allowed` for the stream of a session, which would be of all members at once.
pub fn parsed<'a>(message: &Message<'a>) -> Result<Parsed<'a>, Refusal> {
    if message.json.is_none() && *message.method == Method::GET {
        // A client takes this for a server that has no such stream, and goes on (MCP 2025-11-25, "Listening for Messages from the Server").
        return Err(Refusal::method_not_allowed("MCP with members", "POST, DELETE"));
    }
    let mut parsed = StreamableHttp.parse(message)?;
    if let Some(instead) = parsed.instead.take() {
        return Err(versions::refusal(&instead.requested, versions::SERVED.to_vec()));
    }
    if !matches!(parsed.ask.target, Target::Server(_)) {
        return Err(Refusal::new(Code::Internal, "what a member has was asked of the server itself"));
    }
    if let Expected::Upstream(answer) = parsed.expected {
        // What is in it is of the members, whose answers were looked at one by one.
        parsed.expected = Expected::Upstream(Answer { seals: answer.seals, ..Answer::pass(Observe::Rpc) });
    }
    Ok(parsed)
}

/// What a policy about a server with members refuses, or holds, although it concerns one of these: it is decided as what comes to the server.
///
/// # Errors
/// `internal` where the destination is no MCP server.
pub fn barred<'a>(message: &Message<'a>) -> Result<Parsed<'a>, Refusal> {
    let Destination::Server(server) = message.destination else {
        return Err(Refusal::new(Code::Internal, "only an MCP server has members"));
    };
    let method = message.json.and_then(|json| json.get("method")).and_then(Json::as_str);
    let mut parsed = connect(server, method.unwrap_or(STREAM));
    parsed.expected = Expected::Upstream(Answer::pass(Observe::Rpc));
    let what = "a policy holds what comes by this server, and people approve calls of tools: have it hold those of the members";
    parsed.fault = Some(Box::new(Refusal::new(Code::ForbiddenByPolicy, what)));
    Ok(parsed)
}

/// What policies are asked about the server itself, before this message, which concerns a member, goes there.
pub fn passage<'a>(destination: &'a Destination, message: Option<&'a Json<'_>>) -> Option<Ask<'a>> {
    let Destination::Server(server) = destination else { return None };
    let method = match message {
        Some(message) => message.get("method").and_then(Json::as_str).unwrap_or("response"),
        None => STREAM,
    };
    Some(Ask::about(method, Action::ConnectServer, Target::Server(server)))
}

/// Whether a message to all of them is told to each, and nobody waits for an answer.
pub fn is_told(method: &str) -> bool {
    method.starts_with("notifications/") || method == "session/end"
}

#[cfg(test)]
mod tests;
