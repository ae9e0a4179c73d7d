//! A2A 1.0 and 0.3 over JSON-RPC and HTTP+JSON, 1.0 over gRPC, and the agent card. What a message asks is read in one place: the other bindings
//! are lifted to JSON-RPC before, and lowered again where it goes on ([`Rest`], [`Grpc`]). In which of them that is, and in which version where that is
//! another one ([`version`]), the agent's record says.
//!
//! A message names a skill in `message.metadata.skill` (or `params.metadata.skill`); neither version of the protocol has a
//! field of its own for it. Naming one narrows the call to that skill; it never escapes what is said of the agent.

pub mod card;
pub mod grpc;
pub mod held;
mod places;
pub mod rest;
pub mod sealed;
mod spelling;
mod tasks;
mod tenant;
pub mod version;
pub mod webhook;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Response};
use serde_json::json;
use vidimus_core::call::{Action, Ask, Destination, Target};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Class, Code, Refusal};
use vidimus_core::resource::Agent;

pub use grpc::Grpc;
use grpc::status;
pub use rest::Rest;
use version::Wrote;

use super::beside::{check_none_of, check_spelled};
use super::carrier::Carrier;
use super::jsonrpc::{self, Envelope};
use super::members;
use super::observe::Observe;
use super::{
    Answer, Below, Binding, DocumentChange, EventChange, Expected, Leaves, Lowered, MAX_NAME, Message,
    Operation, Parsed, check_spelling, is_same_member,
};

/// Where the card is served: A2A 1.0 section 8.2 and 0.3 section 5.3; the second is what 0.2 clients still ask for.
const CARD_PATHS: [&str; 2] = ["/.well-known/agent-card.json", "/.well-known/agent.json"];

/// The method that answers with a card.
const EXTENDED_CARD: &str = "GetExtendedAgentCard";

/// The method that says where news of a task go.
const CREATE_PUSH: &str = "CreateTaskPushNotificationConfig";

/// The method whose answer says nothing.
const DELETE_PUSH: &str = "DeleteTaskPushNotificationConfig";

/// The versions that are served, newest first.
const SERVED: [&str; 2] = ["1.0", "0.3"];

const VERSION_HEADER: &str = "a2a-version";

const PASSED_HEADERS: [&str; 9] = [
    "accept",
    "accept-language",
    "user-agent",
    "a2a-",
    "x-a2a-extensions",
    "tracestate",
    "baggage",
    "x-request-id",
    "idempotency-key",
];

/// 0.3 name, 1.0 name, and whether the answer streams.
const METHODS: [(&str, &str, bool); 11] = [
    ("message/send", "SendMessage", false),
    ("message/stream", "SendStreamingMessage", true),
    ("tasks/get", "GetTask", false),
    ("tasks/list", "ListTasks", false),
    ("tasks/cancel", "CancelTask", false),
    ("tasks/resubscribe", "SubscribeToTask", true),
    ("tasks/pushNotificationConfig/set", CREATE_PUSH, false),
    ("tasks/pushNotificationConfig/get", "GetTaskPushNotificationConfig", false),
    ("tasks/pushNotificationConfig/list", "ListTaskPushNotificationConfigs", false),
    ("tasks/pushNotificationConfig/delete", DELETE_PUSH, false),
    ("agent/getAuthenticatedExtendedCard", EXTENDED_CARD, false),
];

/// Where a result, or an error, stands in what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// In a response of JSON-RPC.
    Rpc,
    /// By itself.
    Bare,
}

/// How a caller is answered, and how the agent answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Framings {
    caller: Framing,
    agent: Framing,
}

impl Framings {
    const RPC: Self = Self { caller: Framing::Rpc, agent: Framing::Rpc };
    const BARE: Self = Self { caller: Framing::Bare, agent: Framing::Bare };
    /// Who asks over HTTP+JSON is answered by an agent of another binding.
    const TRANSLATED: Self = Self { caller: Framing::Bare, agent: Framing::Rpc };
}

/// The binding of a request to an agent, by the path below its route and the version that it says.
pub fn binding_at(path: &str, headers: &HeaderMap) -> &'static dyn Binding {
    match path {
        path if matches!(path, "" | "/") || CARD_PATHS.contains(&path) => {
            if reads_details(headers) {
                &JsonRpc::NEW
            } else {
                &JsonRpc::OLD
            }
        }
        path if grpc::is_below(path) => &Grpc,
        _ => &Rest,
    }
}

/// Whether it asks for an agent's card, wherever that is. The extended card is an answer of the agent's.
pub fn is_card(operation: &Operation) -> bool {
    CARD_PATHS.contains(&&*operation.path)
}

/// What news of a task are in 1.0 (section 4.3.3). A message is of no task that somebody waits for.
const NEWS: [&str; 3] = ["task", "statusUpdate", "artifactUpdate"];

/// What a task and its updates have in 0.3, where they stand by themselves.
const BARE_NEWS: [&str; 12] = [
    "kind",
    "id",
    "taskId",
    "contextId",
    "status",
    "history",
    "artifacts",
    "artifact",
    "append",
    "lastChunk",
    "final",
    "metadata",
];

/// Whether it is what news are, with nothing beside it: it goes to an address that its caller chose, where other words may be a call.
fn is_news(news: &str) -> bool {
    let Ok(members) = members::Members::unique(news) else { return false };
    let is = |name: &str, known: &[&str]| known.iter().any(|known| is_same_member(name, known));
    match &members.0[..] {
        [(name, value)] if is(name, &NEWS) => value.get().starts_with('{'),
        all => {
            all.iter().all(|(name, _)| is(name, &BARE_NEWS))
                && all
                    .iter()
                    .any(|(name, value)| is(name, &["status", "artifact"]) && value.get().starts_with('{'))
        }
    }
}

/// The one task, by the agent's id, that news of a task name wherever they name one; `None` of what names none, or several, and of what are no news.
pub fn task_of_news(news: &[u8]) -> Option<String> {
    let news = std::str::from_utf8(news).ok()?.trim();
    if !is_news(news) {
        return None;
    }
    let response = format!(r#"{{"result":{news}}}"#);
    let places = places::of_response(&response, places::Id::Task).ok()?;
    let mut tasks =
        places.iter().filter(|(id, _)| *id == places::Id::Task).map(|(_, value)| members::text(value));
    let first = tasks.next()??;
    (!first.is_empty() && tasks.all(|other| other.as_ref() == Some(&first))).then_some(first)
}

/// Whether a request says a version whose errors have details: 0.3 is what is said by nothing (1.0, section 3.6.2).
fn reads_details(headers: &HeaderMap) -> bool {
    headers.get(VERSION_HEADER).is_some_and(|said| !said.is_empty() && !said.as_bytes().starts_with(b"0."))
}

/// The JSON-RPC binding: a POST of a message, and a GET of the card.
#[derive(Debug)]
pub struct JsonRpc {
    /// What an error has for programs is a list of details (1.0, section 9.5), and not one object as in 0.3: the official client in Go of either version
    /// reads no answer at all that has the other's.
    details: bool,
}

impl JsonRpc {
    /// Of who says 1.0 or later.
    pub const NEW: Self = Self { details: true };
    /// Of who says 0.3, or nothing.
    pub const OLD: Self = Self { details: false };
}

impl Binding for JsonRpc {
    fn passed_headers(&self) -> &'static [&'static str] {
        &PASSED_HEADERS
    }

    fn operation(&self, method: &Method, path: &str) -> Result<Operation, Refusal> {
        if CARD_PATHS.contains(&path) {
            let [card, _] = CARD_PATHS;
            return match *method {
                Method::GET => Ok(Operation { has_body: false, path: card.into() }),
                _ => Err(Refusal::method_not_allowed("the agent card", "GET")),
            };
        }
        if !matches!(path, "" | "/") {
            return Err(Refusal::new(
                Code::RouteUnknown,
                "nothing is served at this path below the object's route",
            ));
        }
        match *method {
            Method::POST => Ok(Operation { has_body: true, path: "".into() }),
            _ => Err(Refusal::method_not_allowed("A2A", "POST")),
        }
    }

    /// What is written by the names of the schema is read as JSON has it.
    fn lifted(&self, _: &Destination, _: &Parts, _: &str, body: &Bytes) -> Result<Bytes, Refusal> {
        Ok(spelling::in_json(body))
    }

    fn parse<'a>(&self, message: &Message<'a>) -> Result<Parsed<'a>, Refusal> {
        let Destination::Agent(agent) = message.destination else {
            return Err(Refusal::new(Code::Internal, "this binding is not the destination's"));
        };
        match message.json {
            Some(json) => {
                let mut parsed = posted(message, agent, json, Framings::RPC)?;
                let wrote = Wrote { old: is_old(json), of_schema: false };
                if !goes_elsewhere(agent, wrote, &mut parsed) {
                    tell_version(message, wrote.old, &mut parsed);
                }
                Ok(parsed)
            }
            None => Ok(card_asked(agent)),
        }
    }

    /// An agent may speak gRPC, or HTTP+JSON, alone.
    fn lowered(
        &self,
        _method: &Method,
        path: Cow<'static, str>,
        message: Bytes,
        tenant: Option<&str>,
    ) -> Result<Lowered, Refusal> {
        lowered(path, message, tenant)
    }

    fn message_id(&self, message: &Json<'_>) -> Option<Arc<str>> {
        jsonrpc::id_text(message)
    }

    fn refused(&self, refusal: &Refusal, call: &str, id: Option<&str>) -> Response<String> {
        let error =
            jsonrpc::Error { number: number(refusal.code), supported: SERVED.to_vec(), refusal, call };
        // A2A's clients lose what comes with an error status (e2e/WIRE.md), so only a challenge has one.
        let is_answered = refusal.code.class() != Class::Unauthenticated && id.is_some();
        let data = match self.details {
            true => {
                let (reason, domain) = status::reason(refusal.code);
                json!([status::info(&reason, domain, &status::texts(&error.data()))])
            }
            false => error.data(),
        };
        error.response_with(&data, id, is_answered)
    }

    /// Each event of an agent's stream answers the request, and so does the last.
    fn ends_streams(&self, _answered: bool, id: Option<&str>) -> bool {
        id.is_some()
    }
}

/// A message of JSON-RPC as the request that goes on by this path, in the binding that the path is of.
///
/// # Errors
/// As those of [`grpc::lowered`], [`rest::lowered`] and [`version::lowered`].
fn lowered(path: Cow<'static, str>, message: Bytes, tenant: Option<&str>) -> Result<Lowered, Refusal> {
    if let Some(lowered) = version::lowered(&path, &message, tenant)? {
        return Ok(lowered);
    }
    let message = tenant::named(message, tenant)?;
    let posted = |body| Lowered { path: "".into(), body, below: Below::Rpc, crossed: None };
    match &*path {
        rest::TO_RPC => Ok(posted(message)),
        rest::TO_OLD_RPC => rest::translated::old_message(message).map(posted),
        rest::TO_REST => rest::lowered(&message),
        _ => grpc::lowered(path, message),
    }
}

/// Has a message go on to an agent that is called over another binding than JSON-RPC, or speaks the other version alone; whether it is one.
fn goes_elsewhere(agent: &Agent, wrote: Wrote, parsed: &mut Parsed<'_>) -> bool {
    if grpc::is_alone(agent) {
        grpc::goes_on(wrote, parsed);
    } else if rest::is_alone(agent) {
        rest::goes_on(agent, wrote, parsed);
    } else if version::differs(agent, wrote.old) {
        version::goes_on(wrote, rest::TO_RPC, parsed);
    } else {
        return false;
    }
    true
}

/// Whether the method of a message is spelled as in 0.3.
fn is_old(json: &Json<'_>) -> bool {
    let method = json.get("method").and_then(Json::as_str);
    METHODS.iter().any(|(old, ..)| method == Some(*old))
}

/// The number of a code in a JSON-RPC error.
fn number(code: Code) -> i64 {
    match code {
        // A2A has no code of its own for it.
        Code::HeaderMismatch => -32600,
        // VersionNotSupportedError (A2A 1.0, section 5.4).
        Code::ProtocolVersionUnsupported => -32009,
        // TaskNotFoundError.
        Code::TaskForeign => -32001,
        _ => jsonrpc::number(code),
    }
}

/// A message.
fn posted<'a>(
    message: &Message<'a>,
    agent: &'a Arc<Agent>,
    body: &'a Json<'a>,
    framings: Framings,
) -> Result<Parsed<'a>, Refusal> {
    let framing = framings.agent;
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
    version_agrees(message.headers, method == old)?;
    let of_method = tasks::Method::of(new, method == old);
    let found = tasks::read(message, of_method, new == CREATE_PUSH, params)?;
    params.map_or(Ok(()), |params| {
        tenant::check(params, agent)?;
        check_none_of(params, &SKILLS, "skill")
    })?;
    let target = tasks::target(agent, skill(params)?, found.task.or(found.waits))?;
    let sends = of_method.answer == Some(sealed::Shape::Sent);
    // A message that was held is sent for the first time; what else is asked is asked of a task.
    let of_task = found.task.or(found.waits.filter(|_| !sends));
    let (task, push_url) = (of_task.map(|task| &*task.id), found.push_url);
    let ask = Ask { streaming, task, push_url, ..Ask::about(new, Action::CallAgent, target) };
    let leaves = match framings {
        Framings::TRANSLATED if method == old => Leaves::OldBare(old),
        Framings::TRANSLATED => Leaves::Bare,
        _ => Leaves::AsItComes,
    };
    let document = match of_method.answer {
        Some(shape) => Some(DocumentChange::A2aTasks(shape, framing)),
        None if new == EXTENDED_CARD => Some(DocumentChange::Card { rpc: framing == Framing::Rpc }),
        // What leaves as something else is read whole.
        None => (leaves != Leaves::AsItComes).then_some(DocumentChange::Redacted),
    };
    let events = of_method.answer.map(|shape| EventChange::A2aTasks(shape, framing));
    let open_ended = new == "SubscribeToTask";
    // What came of a task that was sent is what came of the call; to be told of one that failed is no failure.
    let observe = match framing {
        Framing::Rpc if sends => Observe::Agent,
        // google.protobuf.Empty; a2a-sdk 0.3 answers it without a result, and some agents by 204.
        Framing::Rpc if new == DELETE_PUSH => Observe::RpcOrNone,
        Framing::Rpc => Observe::Rpc,
        Framing::Bare if sends => Observe::BareAgent,
        Framing::Bare if new == DELETE_PUSH => Observe::BareOrNone,
        Framing::Bare => Observe::Bare,
    };
    let form = held::Form { old: method == old, framing: framings.caller };
    let answer = Answer { document, events, open_ended, leaves, ..Answer::pass(observe) };
    let mut parsed = Parsed::new(ask, answer);
    parsed.replaced = found.replaced;
    parsed.headers.extend(tasks::resumed(message, target)?);
    parsed.dropped = found.dropped;
    parsed.webhook = webhook::said(found.webhook, (new == DELETE_PUSH, method == old), params);
    if sends {
        let context = params.and_then(|params| params.get("message")?.get("contextId")?.as_str());
        let context = context.filter(|context| !context.is_empty() && found.dropped.len() < 2);
        parsed.carrier = Carrier::Task(held::Sent { form, streams: streaming, context });
    } else if let Some(waits) = found.waits {
        let handle = params.and_then(|params| params.get("id")?.as_str()).unwrap_or_default();
        if new != "GetTask" {
            return Err(held::only_waits());
        }
        parsed.expected = Expected::Own;
        parsed.held = Some(held::Asked { form, handle, approval: &waits.id });
    }
    Ok(parsed)
}

/// A GET of the card.
fn card_asked(agent: &Arc<Agent>) -> Parsed<'_> {
    let ask = Ask::about("GetAgentCard", Action::CallAgent, Target::Agent(agent));
    let document = Some(DocumentChange::Card { rpc: false });
    Parsed::new(ask, Answer { document, ..Answer::pass(Observe::Rpc) })
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
    check_version(value.as_bytes(), old)
}

/// Tells the agent that it is 1.0, by which the message was decided, where its caller says nothing of it: who is told nothing takes it for 0.3 (1.0,
/// section 3.6.2). What the caller says, and be it nothing in a header, goes on.
fn tell_version(message: &Message<'_>, old: bool, parsed: &mut Parsed<'_>) {
    if !message.headers.contains_key(VERSION_HEADER) && !old {
        parsed.headers.push(grpc::version(false));
    }
}

/// That a version which is said is that of the method. Patches do not count (1.0, section 3.6).
///
/// # Errors
/// `header_mismatch`, `protocol_version_unsupported`.
fn check_version(said: &[u8], old: bool) -> Result<(), Refusal> {
    let is_digits = |patch: &[u8]| !patch.is_empty() && patch.iter().all(u8::is_ascii_digit);
    let says = |version: &str| {
        let behind = said.strip_prefix(version.as_bytes());
        behind.is_some_and(|behind| behind.is_empty() || behind.strip_prefix(b".").is_some_and(is_digits))
    };
    let [new, earlier] = SERVED.map(says);
    let is_its = if old { earlier } else { new };
    if said.is_empty() || is_its {
        return Ok(());
    }
    Err(match new || earlier {
        true => Refusal::new(
            Code::HeaderMismatch,
            "a2a-version and the spelling of the method are of different versions",
        ),
        false => Refusal::new(Code::ProtocolVersionUnsupported, "A2A versions 0.3 and 1.0 are served"),
    })
}

/// Where some agent may look for a skill that nobody decided on.
const SKILLS: [&str; 4] = ["skill", "skills", "skillid", "skillname"];

/// The skill that the message names. Named in two places, it must be the same.
fn skill<'a>(params: Option<&'a Json<'a>>) -> Result<Option<&'a str>, Refusal> {
    let of = |value: Option<&'a Json<'a>>| -> Result<Option<&'a str>, Refusal> {
        value.map_or(Ok(()), |value| check_spelling(value, &["message", "metadata"]))?;
        let metadata = value.and_then(|value| value.get("metadata"));
        metadata.map_or(Ok(()), |given| check_spelled(given, &["skill"]))?;
        metadata
            .map_or(Ok(()), |given| check_none_of(given, &["skills", "skillid", "skillname"], "skill"))?;
        match metadata.and_then(|given| given.get("skill")) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(name)) if !name.is_empty() && name.len() <= MAX_NAME => Ok(Some(name)),
            Some(_) => {
                let message = format!("metadata.skill must be a string of 1 to {MAX_NAME} bytes");
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
