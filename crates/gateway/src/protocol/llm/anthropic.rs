//! Anthropic's wire: messages.

use http::{Method, Response};
use serde_json::json;
use vidimus_core::call::Call;
use vidimus_core::refusal::{Class, Refusal};
use vidimus_core::snapshot::Snapshot;

use super::Endpoint;
use crate::gate::Limits;
use crate::protocol::{Binding, Message, Operation, Parsed};
use crate::reply;

/// Anthropic.
#[derive(Debug)]
pub struct Anthropic;

const ENDPOINTS: [Endpoint; 2] = [
    Endpoint { path: "/v1/messages", method: super::MESSAGES },
    Endpoint { path: "/v1/messages/count_tokens", method: super::COUNT_TOKENS },
];

/// What its SDKs send (`anthropic` 0.7x for Python and TypeScript), and the trace.
const PASSED_HEADERS: [&str; 9] = [
    "accept",
    "user-agent",
    "anthropic-version",
    "anthropic-beta",
    "anthropic-dangerous-direct-browser-access",
    "x-stainless-",
    "x-request-id",
    "idempotency-key",
    "tracestate",
];

impl Binding for Anthropic {
    fn key_headers(&self, _path: &str) -> &'static [&'static str] {
        &["x-api-key"]
    }

    fn body_limit(&self, limits: &Limits) -> usize {
        limits.model_body
    }

    fn passed_headers(&self) -> &'static [&'static str] {
        &PASSED_HEADERS
    }

    /// Its SDKs ask for what is in beta by `?beta=true`, beside a header.
    fn passed_query(&self) -> &'static [&'static str] {
        &["beta=true"]
    }

    fn operation(&self, method: &Method, path: &str) -> Result<Operation, Refusal> {
        super::operation((&ENDPOINTS, &[super::MODELS]), "the route's name, without /v1", method, path)
    }

    fn parse<'a>(&self, message: &Message<'a>) -> Result<Parsed<'a>, Refusal> {
        if let Some(listing) = super::listing(message, &[super::MODELS]) {
            return listing;
        }
        super::parse(message, super::method_at(&ENDPOINTS, message.path)?, None)
    }

    fn own_answer(&self, call: &Call<'_>, world: &Snapshot, model: Option<&str>) -> Option<String> {
        super::models(call, world, model)
    }

    fn refused(&self, refusal: &Refusal, call: &str, _id: Option<&str>) -> Response<String> {
        let error = json!({
            "type": "error",
            "error": {"type": kind(refusal.code.class()), "message": reply::sentence(refusal)},
            "request_id": call,
            "vidimus": reply::about(refusal, call),
        });
        let response = reply::json(refusal.http_status(), error.to_string());
        super::not_to_be_repeated(refusal, response)
    }

    fn last_event(&self, error: &str) -> String {
        format!("event: error\ndata: {error}\n\n")
    }
}

fn kind(class: Class) -> &'static str {
    match class {
        Class::Invalid | Class::MethodNotAllowed | Class::Conflict | Class::TooSlow => {
            "invalid_request_error"
        }
        Class::TooLarge | Class::HeadersTooLarge => "request_too_large",
        Class::NotFound => "not_found_error",
        Class::Unauthenticated => "authentication_error",
        Class::Forbidden => "permission_error",
        Class::TooMany => "rate_limit_error",
        Class::Unavailable => "overloaded_error",
        Class::BadUpstream | Class::UpstreamTimeout => "api_error",
    }
}
