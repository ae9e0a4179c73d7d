//! OpenAI's wire: chat completions, completions, responses and embeddings.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response};
use serde_json::json;
use vidimus_core::call::{Call, Destination};
use vidimus_core::refusal::{Class, Limited, Refusal};
use vidimus_core::resource::limit::Measure;
use vidimus_core::snapshot::Snapshot;

use super::{CHAT, COMPLETIONS, EMBEDDINGS, Endpoint, RESPONSES, added_usage};
use crate::gate::Limits;
use crate::protocol::observe::Observe;
use crate::protocol::{Answer, Binding, EventChange, Expected, Message, Operation, Parsed};
use crate::reply;

/// OpenAI, and servers that speak as it does.
#[derive(Debug)]
pub struct OpenAi;

const ENDPOINTS: [Endpoint; 4] = [
    Endpoint { path: "/v1/chat/completions", method: CHAT },
    Endpoint { path: "/v1/completions", method: COMPLETIONS },
    Endpoint { path: "/v1/responses", method: RESPONSES },
    Endpoint { path: "/v1/embeddings", method: EMBEDDINGS },
];

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
    /// An SDK of Anthropic's may be pointed at any provider; its key is a credential wherever it stands. Google's asks for the list of models
    /// by the same path.
    fn key_headers(&self, path: &str) -> &'static [&'static str] {
        if path.starts_with(super::MODELS) { &["x-api-key", "x-goog-api-key"] } else { &["x-api-key"] }
    }

    fn body_limit(&self, limits: &Limits) -> usize {
        limits.model_body
    }

    fn passed_headers(&self) -> &'static [&'static str] {
        &PASSED_HEADERS
    }

    fn operation(&self, method: &Method, path: &str) -> Result<Operation, Refusal> {
        super::operation((&ENDPOINTS, &[super::MODELS]), "/v1", method, path)
    }

    fn parse<'a>(&self, message: &Message<'a>) -> Result<Parsed<'a>, Refusal> {
        if let Some(listing) = super::listing(message, &[super::MODELS]) {
            return listing;
        }
        parse(message, super::method_at(&ENDPOINTS, message.path)?, None)
    }

    fn amended(&self, body: &Bytes) -> Result<Bytes, Refusal> {
        added_usage::ask_for(body)
    }

    fn own_answer(&self, call: &Call<'_>, world: &Snapshot, model: Option<&str>) -> Option<String> {
        super::models(call, world, model)
    }

    fn refused(&self, refusal: &Refusal, call: &str, _id: Option<&str>) -> Response<String> {
        refused(refusal, call)
    }
}

/// Reads one request in OpenAI's members. `in_path` is the model that the path names, where it names one.
pub(super) fn parse<'a>(
    message: &Message<'a>,
    method: &'static str,
    in_path: Option<&'a str>,
) -> Result<Parsed<'a>, Refusal> {
    let mut parsed = super::parse(message, method, in_path)?;
    // The events of responses end with their usage. A server that only resembles OpenAI's may refuse a member that it does not know.
    // What is translated has it in any case.
    let Destination::Provider(provider) = message.destination else { return Ok(parsed) };
    let takes = parsed.lifted || provider.stream_usage;
    // Who answers in its place may say it unasked.
    let may_say = takes || provider.failover.is_some();
    if matches!(method, CHAT | COMPLETIONS)
        && parsed.ask.streaming
        && !added_usage::asked(message.body()?)?
        && may_say
    {
        let answer = Answer { events: Some(EventChange::WithoutUsage), ..Answer::pass(Observe::Model) };
        (parsed.expected, parsed.amends) = (Expected::Upstream(answer), takes);
    }
    Ok(parsed)
}

/// A refusal in OpenAI's shape.
pub(super) fn refused(refusal: &Refusal, call: &str) -> Response<String> {
    let error = json!({"error": {
        "message": reply::sentence(refusal),
        "type": kind(refusal.code.class()),
        "param": null,
        "code": refusal.code.as_str(),
        "vidimus": reply::about(refusal, call),
    }});
    let mut response = reply::json(refusal.http_status(), error.to_string());
    if let Some(limited) = &refusal.limited {
        tell_room(limited, response.headers_mut());
    }
    super::not_to_be_repeated(refusal, response)
}

/// How much room there is in a limit, in the headers of OpenAI's own ("Rate limits", "Rate limits in headers").
fn tell_room(limited: &Limited, headers: &mut HeaderMap) {
    let Some(room) = &limited.room else { return };
    let [limit, left, again] = match room.of {
        Measure::Requests => {
            ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"]
        }
        Measure::Tokens => {
            ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"]
        }
        // OpenAI has no such limits.
        Measure::Spend | Measure::Concurrency => return,
    };
    headers.insert(limit, room.amount.into());
    headers.insert(left, room.left.into());
    let seconds = limited.retry_after.and_then(|seconds| HeaderValue::try_from(format!("{seconds}s")).ok());
    if let Some(seconds) = seconds {
        headers.insert(again, seconds);
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
