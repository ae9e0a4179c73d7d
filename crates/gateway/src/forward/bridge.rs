//! An upstream of another era than its caller: a client with a session reaches a server without, and the other way round (ADR 81).
//!
//! It stands where a request reaches its upstream, as what answers for a job does: everything before it saw the caller's own message, and
//! everything behind it sees an answer in the caller's own era. Which era a server speaks alone, its record says, or how it
//! refuses the other one.

mod beside;
mod ended;
mod found;
mod held;
pub(super) mod left;
mod listening;
mod sessions;
mod stateless;
mod wire;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::timeout;
use vidimus_core::json::Json;
use vidimus_core::permit::Permit;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{Endpoint, Era};

use super::{Body, Upstream, send};
use crate::answer::Ongoing;
use crate::gate::Shared;
use crate::protocol::mcp::SESSION_HEADER;
use crate::protocol::mcp::bridge::session::Session;
use crate::protocol::mcp::bridge::{self, unlike};
use crate::protocol::members::Members;
use crate::seal;
use found::Tried;
pub use held::Held;
pub use left::InSession;
pub(super) use wire::Wire;
use wire::{Messages, Said};

/// Why a request is bridged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Its server speaks the other era alone, as its record says, or as was found when the caller's session began.
    Speaks(Era),
    /// It begins a session, and whether its server has any is not known: it is asked.
    Begins,
    /// It is of no session, and whether its server speaks without is not known: how that refuses tells.
    Unknown,
}

impl Need {
    /// `None` of nearly every request, which passes as it is. `found` tells which era the server was found to speak, where no record says it.
    pub(super) fn of(
        endpoint: &Endpoint,
        found: impl FnOnce() -> Option<Era>,
        (headers, body, is_on_account): (&HeaderMap, &[u8], bool),
    ) -> Option<Self> {
        // An API would be sent an `initialize` that none of its operations is.
        if bridge::is_answered_here(endpoint) {
            return None;
        }
        let of_caller = bridge::era(headers);
        match endpoint.mcp {
            Some(speaks) => (speaks != of_caller).then_some(Self::Speaks(speaks)),
            // A client of both eras falls back by how its server refuses this, and has more of it then than the bridge has: tasks, and any replica.
            None if of_caller == Era::Stateless && !is_on_account && found::is_discovery(headers) => None,
            None if of_caller == Era::Stateless => match found() {
                Some(Era::Stateless) => None,
                Some(Era::Sessions) => Some(Self::Speaks(Era::Sessions)),
                None => Some(Self::Unknown),
            },
            None => match wire::header(headers, SESSION_HEADER) {
                // The session is the gateway's own, so the server has none.
                Some(id) => Session::of(id).map(|_| Self::Speaks(Era::Stateless)),
                None => begins(body).then_some(Self::Begins),
            },
        }
    }
}

/// Whether a message is `initialize`. Most are told by a look.
fn begins(body: &[u8]) -> bool {
    memchr::memmem::find(body, b"\"initialize\"").is_some()
        && serde_json::from_slice(body)
            .is_ok_and(|message: Message<'_>| message.method.as_deref() == Some("initialize"))
}

/// A request to such a server.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Answers one permitted message in the caller's era. `ongoing`: what is to be known of its call where that waits behind its answer.
///
/// # Errors
/// As [`super::forward`], and `era_unbridged` for what has no like in the server's era or is not held here any more.
pub(super) async fn answer(
    upstream: &Upstream,
    (permit, shared): (Permit, Arc<Shared>),
    need: Need,
    (asked, ongoing): (Asked, Option<Arc<Ongoing>>),
) -> Result<Response<Body>, Refusal> {
    let refused = match need {
        Need::Speaks(_) => None,
        Need::Begins => {
            let response = asked.sent(upstream, permit.endpoint()?).await?;
            // A server without sessions has no such version, or no such method (2026-07-28, "Protocol Version Header").
            if !matches!(response.status(), StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND) {
                return Ok(response);
            }
            let late = |_| Refusal::new(Code::UpstreamTimeout, "the server's refusal did not end in time");
            let limit = Duration::from_millis(u64::from(permit.endpoint()?.timeout_ms));
            Some(timeout(limit, held_whole(response)).await.map_err(late)??)
        }
        Need::Unknown => match found::tried(upstream, (&permit, &*shared), &asked).await? {
            Tried::Answered(response) => return Ok(response),
            Tried::Refused(response) => Some(response),
        },
    };
    let (is_found, address) = (permit.endpoint()?.mcp.is_none(), permit.endpoint()?.url.clone());
    let holder = holder(&permit, need, &asked.headers)?;
    let held = shared.standing.bridged();
    let wire = Wire::new(upstream, (Arc::new(permit), &shared), asked.uri.clone(), &asked.headers);
    let way = Way { wire, held, holder, ongoing };
    match (need, refused) {
        (Need::Unknown, Some(refused)) => found::bridged(way, asked, refused, &shared).await,
        (Need::Speaks(Era::Sessions) | Need::Unknown, _) => {
            let answer = sessions::answer(way, asked).await;
            // It may be another server by now.
            let is_unlike = match &answer {
                Ok(response) => response.status() == StatusCode::BAD_REQUEST,
                Err(refusal) => refusal.code == Code::UpstreamInvalid,
            };
            if is_found && is_unlike {
                shared.standing.forget_era(address.as_str());
            }
            answer
        }
        (Need::Speaks(Era::Stateless) | Need::Begins, refused) => {
            match (stateless::answer(way, asked).await, refused) {
                // It is not of that era either, so what it said stands.
                (Err(_), Some(refused)) => Ok(refused),
                (answer, _) => answer,
            }
        }
    }
}

/// Fields that are others with each request, and say nothing of whose session it is.
const OF_EACH_REQUEST: [&str; 4] = ["idempotency-key", "request-id", "x-correlation-id", "x-request-id"];

/// Whose is what the bridge holds: the caller and the person it acts for, at this server and its address of now, with what the record lets it say beside
/// its messages. A server may bind a session to that, such as to a tenant, and what is decided of one must not be done in the session of another.
fn holder(permit: &Permit, need: Need, headers: &HeaderMap) -> Result<Box<str>, Refusal> {
    let endpoint = permit.endpoint()?;
    let mut holder = format!("{}|{}", seal::binding(permit.destination(), permit.caller()), endpoint.url);
    // A server without sessions binds nothing to one.
    let has_sessions = matches!(need, Need::Speaks(Era::Sessions) | Need::Unknown);
    let is_said =
        |name: &str| has_sessions && endpoint.headers.passes(name) && !OF_EACH_REQUEST.contains(&name);
    let said = headers.iter().filter(|(name, _)| is_said(name.as_str()));
    let mut said: Vec<String> = said.map(|(name, value)| format!("{name}={:?}", value.as_bytes())).collect();
    said.sort_unstable();
    if !said.is_empty() {
        holder.push('|');
        holder.push_str(&said.join("|"));
    }
    Ok(holder.into())
}

impl Asked {
    async fn sent(&self, upstream: &Upstream, endpoint: &Endpoint) -> Result<Response<Body>, Refusal> {
        let (method, uri) = (self.method.clone(), self.uri.clone());
        let to = (endpoint, upstream.client(endpoint)?);
        send(upstream, to, method, uri, self.headers.clone(), self.body.clone()).await
    }
}

/// An answer by which a server refuses, read whole; what is longer than an error is cut, and no error then.
async fn held_whole(response: Response<Body>) -> Result<Response<Body>, Refusal> {
    const LONGEST: usize = 64 * 1024;
    let (parts, mut body) = response.into_parts();
    let mut held = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.refusal("the server's answer broke off"))?;
        held.extend_from_slice(&frame.into_data().unwrap_or_default());
        if held.len() > LONGEST {
            held.truncate(LONGEST);
            break;
        }
    }
    Ok(Response::from_parts(parts, Body::Whole(Some(Bytes::from(held)))))
}

/// The way of one call across the bridge.
#[derive(Clone, Debug)]
struct Way {
    wire: Wire,
    held: Held,
    holder: Box<str>,
    ongoing: Option<Arc<Ongoing>>,
}

/// A message of a client's, as far as it is read here. What it may be was looked at when it was parsed.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    method: Option<String>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    fn of(body: &'a Bytes) -> Result<(&'a str, Self), Refusal> {
        let text = std::str::from_utf8(body).map_err(|error| unread(&error))?;
        Ok((text, serde_json::from_str(text).map_err(|error| unread(&error))?))
    }

    /// Its parameters, as they are read elsewhere.
    fn params(&self) -> Result<Option<Json<'a>>, Refusal> {
        let params = self.params.map(|params| Json::parse(params.get().as_bytes()));
        params.transpose().map_err(|error| unread(&error))
    }
}

fn unread(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(Code::Internal, "a message to a bridged server could not be read again").with_detail(error)
}

/// An answer that is there as a whole.
fn whole(status: StatusCode, body: Option<String>) -> Response<Body> {
    let has_body = body.is_some();
    let mut response = Response::new(Body::Whole(body.map(Bytes::from)));
    *response.status_mut() = status;
    if has_body {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}

/// There is no such HTTP method here: a client takes it for a server that has no stream of its own.
fn not_allowed(allow: &'static str) -> Response<Body> {
    let mut response = whole(StatusCode::METHOD_NOT_ALLOWED, None);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// What gives the events of an answer, one after another.
trait Source: Send + 'static {
    /// The next bytes; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Refusal>> + Send;
}

/// An answer as events, from a source that ends with whoever reads it.
fn events(source: impl Source) -> Response<Body> {
    let stream = stream::unfold(Some(source), |source| async move {
        let mut source = source?;
        match source.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(source))),
            Ok(None) => None,
            Err(refusal) => Some((Err(refusal), None)),
        }
    });
    let mut response = Response::new(Body::Bridged(Bridged(Box::pin(stream))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

/// The events of a bridged answer.
pub struct Bridged(Pin<Box<dyn Stream<Item = Result<Bytes, Refusal>> + Send>>);

impl std::fmt::Debug for Bridged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bridged")
    }
}

impl Bridged {
    /// The next of them.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Refusal>>> {
        self.0.as_mut().poll_next(cx)
    }
}

/// The one response that an answer has, whatever else stands before it.
async fn response_of(messages: &mut Messages) -> Result<String, Refusal> {
    loop {
        match messages.next().await? {
            Said::Message(message) if is_response(&message) => return Ok(message),
            Said::Message(_) | Said::Alive => {}
            Said::End => return Err(unlike("the server's answer has no response")),
        }
    }
}

/// Whether a message answers: it has a result or an error, and no method.
fn is_response(message: &str) -> bool {
    #[derive(Deserialize)]
    struct Shape {
        method: Option<serde::de::IgnoredAny>,
        result: Option<serde::de::IgnoredAny>,
        error: Option<serde::de::IgnoredAny>,
    }
    let shape: Result<Shape, _> = serde_json::from_str(message);
    shape.is_ok_and(|shape| shape.method.is_none() && (shape.result.is_some() || shape.error.is_some()))
}

/// That a response answers the request of this id (JSON), or by an error none at all.
fn check_id(response: &Members<'_>, id: &str) -> Result<(), Refusal> {
    let said = response.get("id").map(RawValue::get);
    // A server may write the same text with other escapes.
    let value = |json: &str| serde_json::from_str::<Value>(json).ok();
    let is_own = said.is_some_and(|said| said == id || value(said).is_some() && value(said) == value(id));
    let is_of_none = response.get("error").is_some() && matches!(said, None | Some("null"));
    (is_own || is_of_none)
        .then_some(())
        .ok_or_else(|| unlike("the server answers another request than the one that it got"))
}
