//! OpenAI's wire: chat completions.

use bytes::Bytes;
use http::{Method, Response};
use serde_json::json;
use vidimus_core::call::{Call, Destination};
use vidimus_core::refusal::{Class, Refusal};
use vidimus_core::snapshot::Snapshot;

use super::{Endpoint, added_usage};
use crate::gate::Limits;
use crate::protocol::observe::Observe;
use crate::protocol::{Answer, Binding, EventChange, Expected, Message, Operation, Parsed};
use crate::reply;

/// OpenAI, and servers that speak as it does.
#[derive(Debug)]
pub struct OpenAi;

const ENDPOINTS: [Endpoint; 1] = [Endpoint { path: "/v1/chat/completions", method: "chat.completions" }];

/// What its SDKs send (`openai` for Python and TypeScript), and the trace.
const PASSED_HEADERS: [&str; 10] = [
    "accept",
    "user-agent",
    "openai-organization",
    "openai-project",
    "openai-beta",
    "x-stainless-",
    "x-request-id",
    "x-client-request-id",
    "idempotency-key",
    "tracestate",
];

impl Binding for OpenAi {
    /// An SDK of Anthropic's may be pointed at any provider; its key is a credential wherever it stands.
    fn key_header(&self) -> Option<&'static str> {
        Some("x-api-key")
    }

    fn body_limit(&self, limits: &Limits) -> usize {
        limits.model_body
    }

    fn passed_headers(&self) -> &'static [&'static str] {
        &PASSED_HEADERS
    }

    fn operation(&self, method: &Method, path: &str) -> Result<Operation, Refusal> {
        super::operation(&ENDPOINTS, "/v1", method, path)
    }

    fn parse<'a>(&self, message: &Message<'a>) -> Result<Parsed<'a>, Refusal> {
        // A server that only resembles OpenAI's may refuse a member that it does not know.
        let takes = matches!(message.destination, Destination::Provider(provider) if provider.stream_usage);
        let mut parsed = super::parse(&ENDPOINTS, message, |body, streaming| {
            let answer = Answer::pass(Observe::Model);
            let adds = streaming && !added_usage::asked(body)? && takes;
            Ok(if adds { Answer { events: Some(EventChange::WithoutUsage), ..answer } } else { answer })
        })?;
        parsed.amends = matches!(parsed.expected, Expected::Upstream(answer) if answer.events.is_some());
        Ok(parsed)
    }

    fn amended(&self, body: &Bytes) -> Result<Bytes, Refusal> {
        added_usage::ask_for(body)
    }

    fn own_answer(&self, call: &Call<'_>, world: &Snapshot) -> Option<String> {
        super::models(call, world)
    }

    fn refused(&self, refusal: &Refusal, call: &str, _id: Option<&str>) -> Response<String> {
        let error = json!({"error": {
            "message": reply::sentence(refusal),
            "type": kind(refusal.code.class()),
            "param": null,
            "code": refusal.code.as_str(),
            "vidimus": reply::about(refusal, call),
        }});
        let response = reply::json(refusal.http_status(), error.to_string());
        super::not_to_be_repeated(refusal, response)
    }
}

fn kind(class: Class) -> &'static str {
    match class {
        Class::Invalid
        | Class::NotFound
        | Class::MethodNotAllowed
        | Class::Conflict
        | Class::TooLarge
        | Class::HeadersTooLarge
        | Class::TooSlow => "invalid_request_error",
        Class::Unauthenticated => "authentication_error",
        Class::Forbidden => "permission_error",
        Class::TooMany => "rate_limit_error",
        Class::Unavailable | Class::BadUpstream | Class::UpstreamTimeout => "server_error",
    }
}
