//! A2A 1.0 over gRPC (its section 10, `lf.a2a.v1.A2AService`), and 0.3 of callers (`a2a.v1.A2AService`, [`old`]).
//!
//! A request is *lifted* into the message of JSON-RPC that asks the same, and its answer is one of JSON-RPC until it leaves
//! ([`listener`](crate::listener)). Where an agent speaks gRPC the message is *lowered* again, and what it answers becomes one of JSON-RPC where it
//! comes in ([`forward`](crate::forward())). So it does not matter which of the two ends speaks it (ADR 83).
//!
//! Where the agent is to be found stands in the path, as for the other bindings. No stub of gRPC asks by such a path, so its beginning may be said
//! in metadata or by the tenant that the gateway's card names.

pub mod frames;
pub mod old;
pub mod schema;
pub mod status;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Version};
use serde_json::json;
use vidimus_core::call::Destination;
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Agent;

use self::schema::{Fault, Rpc};
use super::{
    Framings, METHODS, PASSED_HEADERS, VERSION_HEADER, Wrote, goes_elsewhere, is_old, number, posted,
    version as versions,
};
use crate::protocol::members::{Members, quoted, text};
use crate::protocol::{Below, Binding, Lowered, Message, Operation, Parsed, jsonrpc};
use crate::reply;
use crate::route::{Protocol, Route};

/// The service of A2A 1.0.
pub const SERVICE: &str = "lf.a2a.v1.A2AService";
/// That of 0.3. Agents are not called by it.
const OLD_SERVICE: &str = "a2a.v1.A2AService";

/// In which metadata a caller says which agent it means: `namespace/name`.
pub const ROUTE: HeaderName = HeaderName::from_static("vidimus-route");
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// What a request that has no id in its binding has in the message that it is lifted to.
const ID: u8 = 1;

/// The gRPC binding.
#[derive(Debug)]
pub struct Grpc;

/// A request over gRPC, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<'p> {
    /// The agent that the path leads to; `None` where it is said elsewhere.
    pub agent: Option<&'p str>,
    /// The service and the method, with the slashes before them.
    below: &'p str,
    /// The name of the method; of 0.3 with the service before it.
    pub method: &'p str,
}

impl<'p> Named<'p> {
    /// What a path says of such a request; `None` for another one.
    pub fn of(path: &'p str) -> Option<Self> {
        let route = Route::parse(path).filter(|route| route.protocol == Protocol::A2a);
        let below = route.map_or(path, |route| route.rest);
        Some(Self { agent: route.map(|route| route.key), below, method: method_of(below)? })
    }

    /// The same where the path leads to an agent; `None` for what is no path.
    pub fn at(&self, agent: &str) -> Option<String> {
        let path = format!("/a2a/{agent}{}", self.below);
        Route::parse(&path).filter(|route| route.key == agent).is_some().then_some(path)
    }
}

/// The method that a path below a route names; of 0.3 with the service before it.
fn method_of(path: &str) -> Option<&str> {
    let named = path.strip_prefix('/')?;
    match named.split_once('/')? {
        (SERVICE, method) => Some(method),
        (OLD_SERVICE, _) => Some(named),
        _ => None,
    }
}

/// Whether a path below an object's route is one of gRPC.
pub fn is_below(path: &str) -> bool {
    method_of(path).is_some()
}

/// The tenant that a request names whose body this is.
pub fn tenant(method: &str, body: &[u8]) -> Option<String> {
    let tenant = Rpc::named(method).ok()?.tenant(frames::only(body).ok()?)?;
    (!tenant.is_empty()).then(|| tenant.to_owned())
}

impl Binding for Grpc {
    fn passed_headers(&self) -> &'static [&'static str] {
        &PASSED_HEADERS
    }

    fn operation(&self, method: &Method, path: &str) -> Result<Operation, Refusal> {
        Rpc::named(method_of(path).unwrap_or_default())?;
        match *method {
            Method::POST => Ok(Operation { has_body: true, path: "".into() }),
            _ => Err(Refusal::method_not_allowed("gRPC", "POST")),
        }
    }

    fn lifted(
        &self,
        _destination: &Destination,
        parts: &Parts,
        rest: &str,
        body: &Bytes,
    ) -> Result<Bytes, Refusal> {
        check_head(parts)?;
        let method = method_of(rest).unwrap_or_default();
        let rpc = Rpc::named(method)?;
        let message = frames::only(body)
            .map_err(|fault| invalid(format!("the body is no request of gRPC: {fault}")))?;
        // Whoever the path leads to is who the tenant of the gateway's card names; nothing is registered of another one.
        let route = Route::parse(parts.uri.path());
        let params = rpc.asked(message, route.map(|route| route.key)).map_err(|fault| refusal(&fault))?;
        let method = quoted(rpc.rpc_method().unwrap_or(method));
        Ok(format!(r#"{{"jsonrpc":"2.0","id":{ID},"method":{method},"params":{params}}}"#).into())
    }

    fn lowered(
        &self,
        _method: &Method,
        path: Cow<'static, str>,
        message: Bytes,
        tenant: Option<&str>,
    ) -> Result<Lowered, Refusal> {
        super::lowered(path, message, tenant)
    }

    fn parse<'a>(&self, message: &Message<'a>) -> Result<Parsed<'a>, Refusal> {
        let Destination::Agent(agent) = message.destination else {
            return Err(Refusal::new(Code::Internal, "this binding is not the destination's"));
        };
        let json = message.body()?;
        let mut parsed = posted(message, agent, json, Framings::RPC)?;
        parsed.lifted = true;
        let wrote = Wrote { old: is_old(json), of_schema: false };
        let speaks = agent.endpoint.as_ref().is_some_and(|endpoint| endpoint.grpc.is_some());
        if speaks && !wrote.old {
            goes_on(wrote, &mut parsed);
        } else if !goes_elsewhere(agent, wrote, &mut parsed) {
            parsed.headers.extend(of_rpc(wrote.old));
        }
        Ok(parsed)
    }

    fn message_id(&self, message: &Json<'_>) -> Option<Arc<str>> {
        jsonrpc::id_text(message)
    }

    /// As the error of JSON-RPC, from which the status is made where it leaves.
    fn refused(&self, refusal: &Refusal, call: &str, id: Option<&str>) -> Response<String> {
        let (reason, domain) = status::reason(refusal.code);
        let about = json!({"code": refusal.code.as_str(), "call": call, "next": refusal.next()});
        let error = json!({
            "code": number(refusal.code),
            "message": reply::sentence(refusal),
            "data": [status::info(&reason, domain, &about)],
        });
        let about = reply::about(refusal, call);
        let id = id.unwrap_or("null");
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error},"vidimus":{about}}}"#);
        reply::json(refusal.http_status(), body)
    }

    fn ends_streams(&self, _answered: bool, id: Option<&str>) -> bool {
        id.is_some()
    }
}

/// That it is a call of gRPC, and not compressed.
fn check_head(parts: &Parts) -> Result<(), Refusal> {
    let kind = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if parts.version != Version::HTTP_2 || !is_grpc(kind) {
        return Err(invalid("at this path gRPC is served: HTTP/2 with application/grpc".to_owned()));
    }
    check_encoding(&parts.headers)
}

/// That what comes over gRPC is not compressed.
///
/// # Errors
/// `compression_unserved`, which is `UNIMPLEMENTED` (gRPC, "Compression").
pub fn check_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get(ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(()),
        Some(_) => Err(Refusal::new(Code::CompressionUnserved, "a message that is compressed is not read")),
    }
}

/// Whether a content type is that of messages of protobuf over gRPC.
pub fn is_grpc(kind: &[u8]) -> bool {
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    matches!(kind, b"application/grpc" | b"application/grpc+proto")
}

/// Whether headers say so.
pub fn says_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| is_grpc(kind.as_bytes()))
}

/// Has a message of JSON-RPC go on over gRPC, which is of 1.0.
pub(super) fn goes_on(wrote: Wrote, parsed: &mut Parsed<'_>) {
    let path = format!("/{SERVICE}/{}", parsed.ask.method);
    if wrote.old {
        versions::goes_on(wrote, &path, parsed);
        return;
    }
    parsed.path = Some(path.into());
    parsed.headers.push(version(false));
}

/// What is told an agent of the version: one that is told none takes it for 0.3.
pub fn version(old: bool) -> (HeaderName, HeaderValue) {
    let said = if old { "0.3" } else { "1.0" };
    (HeaderName::from_static(VERSION_HEADER), HeaderValue::from_static(said))
}

/// What is said beside a message of JSON-RPC whose caller speaks another binding. `old`: it is of 0.3.
pub fn of_rpc(old: bool) -> [(HeaderName, HeaderValue); 2] {
    [version(old), (ACCEPT, HeaderValue::from_static("application/json, text/event-stream"))]
}

/// Whether an agent is called over gRPC whatever its caller speaks.
pub fn is_alone(agent: &Agent) -> bool {
    agent.endpoint.as_ref().is_some_and(|endpoint| endpoint.grpc.as_ref() == Some(&endpoint.url))
}

/// A message of JSON-RPC as the request that goes on by this path.
///
/// # Errors
/// `internal` for what is no such message, `message_invalid` for what gRPC cannot say.
pub fn lowered(path: Cow<'static, str>, message: Bytes) -> Result<Lowered, Refusal> {
    let Some(method) = method_of(&path) else {
        return Ok(Lowered { path, body: message, below: Below::Url, crossed: None });
    };
    let lost = || Refusal::new(Code::Internal, "what is to be sent is no message of JSON-RPC");
    let said = std::str::from_utf8(&message).map_err(|_| lost())?;
    let envelope = Members::unique(said).map_err(|error| lost().with_detail(error))?;
    let named = envelope.get("method").and_then(text).ok_or_else(lost)?;
    let (_, known, _) = METHODS.into_iter().find(|(_, known, _)| *known == named).ok_or_else(lost)?;
    if known != method {
        return Err(lost());
    }
    let id = envelope.get("id").ok_or_else(lost)?.get().into();
    let params = envelope.get("params").map_or("{}", |params| params.get());
    let request = Rpc::named(known)?.request(params).map_err(|fault| unsayable(&fault))?;
    let below = Below::Grpc(Sent { method: known, id });
    Ok(Lowered { path, body: frames::framed(&request), below, crossed: None })
}

/// A request that went out over gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub method: &'static str,
    /// The id of the message that it stands for, as JSON.
    pub id: Box<str>,
}

fn refusal(fault: &Fault) -> Refusal {
    let message = format!("the request is none of A2A: {fault}");
    match fault {
        Fault::TooMuch => Refusal::new(Code::BodyTooLarge, message),
        Fault::Unreadable(_) | Fault::Unknown(_) => invalid(message),
    }
}

/// The caller speaks JSON, which says what it likes.
fn unsayable(fault: &Fault) -> Refusal {
    const NEXT: &str = "Write each member as the schema of A2A 1.0 has it: the agent is served over gRPC.";
    let message = format!("what is asked cannot be said over gRPC: {fault}");
    Refusal::new(Code::MessageInvalid, message).with_next(NEXT)
}

fn invalid(message: String) -> Refusal {
    Refusal::new(Code::MessageInvalid, message)
}

#[cfg(test)]
mod tests;
