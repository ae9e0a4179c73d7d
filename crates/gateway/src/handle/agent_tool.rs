//! A tool that is a message to an agent. What is sent is a call of its own, from its authentication to its effect, with the credential of the tool's
//! caller: whoever may call the tool and may not send the message is refused, and what holds of a message that is sent without the tool holds of
//! this one (ADR 86). Both are on record, the message as the tool's in the trace.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::Full;
use vidimus_core::entity::EntityId;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::AgentTools;

use super::admit::{Admission, admit};
use super::carry;
use crate::forward::agent_tool::{Asked, Read, asked};
use crate::forward::{Body, Outbound};
use crate::gate::Gate;
use crate::reply::ReplyBody;
use crate::request_context::RequestContext;
use crate::route::{Protocol, Route};
use crate::trace::TRACEPARENT;

/// What of the caller's request goes with the message: who it is, in words, and what else its trace says.
const PASSED: [&str; 4] = ["accept-language", "user-agent", "tracestate", "baggage"];

/// Carries out what was permitted on the server: a message to the agent, where a tool was called. It is boxed, since it is a call within one.
///
/// # Errors
/// Whatever the message is refused by, or fails by.
pub(super) fn carried<'a>(
    gate: &'a Gate,
    context: &'a RequestContext,
    parts: &'a Parts,
    (agent, outbound): (Arc<AgentTools>, Box<Outbound>),
) -> Pin<Box<dyn Future<Output = Result<Response<Body>, Refusal>> + Send + 'a>> {
    Box::pin(async move {
        let message = match asked(&agent, &outbound)? {
            Asked::Answered(response) => return Ok(response),
            Asked::Message(message) => message,
        };
        let (server, most) = (outbound.permit().destination().id().clone(), gate.limits.held_answer);
        // One call is one message, whatever comes of it: limits and approvals are of each.
        let streams = agent.streams && message.is_followed();
        let response = sent(gate, (context, parts), (&agent, &server), message.text(streams)).await?;
        match Read::of(response, most).await? {
            Read::Whole(answer) => Ok(message.answered(&answer)),
            Read::Events(body) => message.followed(body, most).await,
        }
    })
}

/// Sends the message to the agent's own route, as its caller would.
async fn sent(
    gate: &Gate,
    (outer, called): (&RequestContext, &Parts),
    (agent, server): (&AgentTools, &EntityId),
    message: Bytes,
) -> Result<Response<ReplyBody>, Refusal> {
    let parts = request(outer, called, agent)?;
    let mut context = RequestContext::begin(gate, &parts, &outer.peer);
    context.via = Some(server.clone());
    context.presented_at = Route::parse(called.uri.path()).map(|route| route.address().into());
    let answered = match admit(gate, &mut context, &parts, Full::new(message)).await {
        Ok(Admission::Permitted(admitted)) => carry::carry(gate, &mut context, &parts, admitted).await,
        Ok(Admission::Answered(permit, answer)) => carry::answer(gate, &mut context, permit, answer).await,
        Ok(Admission::Held(held)) => Err(held.refusal()),
        Err(refusal) => Err(refusal),
    };
    match answered {
        Ok(response) => Ok(response),
        Err(refusal) => {
            // Of a message that waits for people there is a task, which can be asked for.
            let is_told = context.is_told() && refusal.awaited.is_some();
            let response = context.refuse(gate, &parts, refusal.clone()).await;
            if is_told { Ok(response) } else { Err(refusal) }
        }
    }
}

/// The request that a caller sends who has no tool for it.
fn request(outer: &RequestContext, called: &Parts, agent: &AgentTools) -> Result<Parts, Refusal> {
    let route = Route { protocol: Protocol::A2a, key: &agent.agent, rest: "" };
    let request = Request::builder().method(Method::POST).uri(route.address()).body(());
    let request = request.map_err(|error| {
        Refusal::new(Code::Internal, "the agent has no usable address").with_detail(error)
    })?;
    let (mut parts, ()) = request.into_parts();
    for name in PASSED {
        for value in called.headers.get_all(name) {
            parts.headers.append(name, value.clone());
        }
    }
    if let Some(credential) = called.headers.get(AUTHORIZATION) {
        parts.headers.insert(AUTHORIZATION, credential.clone());
    }
    if let Ok(trace) = HeaderValue::try_from(outer.trace.header()) {
        parts.headers.insert(TRACEPARENT, trace);
    }
    parts.headers.insert("a2a-version", HeaderValue::from_static("1.0"));
    parts.headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(parts)
}
