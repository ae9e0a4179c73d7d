//! Bedrock's wire: its Converse API (`bedrock-runtime`). The model stands in the path, and a stream is one of frames ([`frames`]).
//!
//! Callers prove who they are by a bearer, as everywhere: a signature of AWS's proves something to AWS alone, and how the hop to Bedrock is signed
//! is no business of theirs ([`crate::credential`]).

pub mod frames;

use std::borrow::Cow;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::json;
use url::form_urlencoded;
use vidimus_core::call::{Call, Destination};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Class, Code, Refusal};
use vidimus_core::resource::llm_provider::is_model_of_bedrock;
use vidimus_core::snapshot::Snapshot;

use super::{Asked, CHOICES, CONVERSE, MODELS, MOST, UNSAID, extras, invalid, kept};
use crate::gate::Limits;
use crate::protocol::beside::{check_is_other, is_given, is_plain_of, plain, undecided};
use crate::protocol::members::Members;
use crate::protocol::observe::Observe;
use crate::protocol::sse::is_events;
use crate::protocol::{Answer, Binding, Message, Operation, Parsed};
use crate::reply::{self, ReplyBody};

/// Bedrock.
#[derive(Debug)]
pub struct Bedrock;

/// What may be asked of a model. Its older `invoke` has another body for each maker of models, which nobody here reads.
const VERBS: [(&str, bool); 2] = [("converse", false), ("converse-stream", true)];

/// What its SDKs send (`boto3`, `@aws-sdk/client-bedrock-runtime`), and the trace. Nothing of a signature.
const PASSED_HEADERS: [&str; 6] =
    ["accept", "user-agent", "amz-sdk-invocation-id", "amz-sdk-request", "x-request-id", "tracestate"];

/// The members of a request that are read here, or have names of the caller's own in them.
const READ: [&str; 6] = [
    "messages",
    "system",
    "inferenceConfig",
    "toolConfig",
    "additionalModelRequestFields",
    "additionalModelResponseFieldPaths",
];

/// The only limit of tokens.
pub const LIMIT: &str = "maxTokens";
/// Where it stands.
pub const CONFIG: &str = "inferenceConfig";

/// What stands in a path as it is (RFC 3986, unreserved).
const ESCAPED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How deep what a caller adds for its model is looked at.
const DEEPEST: usize = 8;

impl Binding for Bedrock {
    fn body_limit(&self, limits: &Limits) -> usize {
        limits.model_body
    }

    fn passed_headers(&self) -> &'static [&'static str] {
        &PASSED_HEADERS
    }

    fn operation(&self, method: &Method, path: &str) -> Result<Operation, Refusal> {
        if path == MODELS {
            return super::only("GET", method, path)
                .map(|()| Operation { has_body: false, path: MODELS.into() });
        }
        if let Some(about) = super::about_a_model(&[MODELS], method, path) {
            return Ok(about);
        }
        let Some(named) = Named::of(path) else {
            let [converse, stream] = VERBS.map(|(verb, _)| format!("/model/{{modelId}}/{verb}"));
            let served = [converse.as_str(), &stream, MODELS];
            return Err(super::not_served(path, &served, "the route's name"));
        };
        let path = path_of(&named.model, named.streams);
        super::only("POST", method, &path).map(|()| Operation { has_body: true, path: path.into() })
    }

    /// An address that is signed is a credential.
    fn lifted(&self, _: &Destination, parts: &Parts, _rest: &str, body: &Bytes) -> Result<Bytes, Refusal> {
        let query = parts.uri.query().unwrap_or_default();
        let mut names = form_urlencoded::parse(query.as_bytes());
        if names.any(|(name, _)| name.to_ascii_lowercase().starts_with("x-amz-")) {
            return Err(Refusal::new(Code::CredentialAmbiguous, "the query has a credential").with_next(
                "Send your token in Authorization alone (AWS_BEARER_TOKEN_BEDROCK); the gateway signs for AWS.",
            ));
        }
        Ok(body.clone())
    }

    fn parse<'a>(&self, message: &Message<'a>) -> Result<Parsed<'a>, Refusal> {
        if let Some(listing) = super::listing(message, &[MODELS]) {
            return listing;
        }
        let named = Named::of(message.path).ok_or_else(super::not_governed)?;
        let body = message.body()?;
        check(body)?;
        kept::check(body)?;
        let asked =
            Asked { method: CONVERSE, name: &named.model, most: most(body)?, streaming: named.streams };
        let (ask, model) = super::ask(message, asked)?;
        let mut parsed = Parsed::new(ask, Answer::pass(Observe::Model));
        if *model.name != *named.model {
            parsed.path = Some(path_of(&model.name, named.streams).into());
        }
        Ok(parsed)
    }

    fn own_answer(&self, call: &Call<'_>, world: &Snapshot, model: Option<&str>) -> Option<String> {
        super::models(call, world, model)
    }

    /// An error was read as the value of a member `error` ([`frames::unframed`]).
    fn answered(&self, answer: &[u8]) -> Result<Option<Bytes>, Refusal> {
        let text = std::str::from_utf8(answer).ok();
        Ok(text.and_then(error_in).map(|error| Bytes::from(error.to_owned())))
    }

    fn refused(&self, refusal: &Refusal, call: &str, _id: Option<&str>) -> Response<String> {
        let error = json!({"message": reply::sentence(refusal), "vidimus": reply::about(refusal, call)});
        let mut response = reply::json(refusal.http_status(), error.to_string());
        let kind = HeaderValue::from_static(kind(refusal.code.class()));
        response.headers_mut().insert("x-amzn-errortype", kind);
        super::not_to_be_repeated(refusal, response)
    }

    fn last_event(&self, error: &str) -> String {
        format!("event: modelStreamErrorException\ndata: {{\"error\":{error}}}\n\n")
    }

    fn sent(&self, answer: Response<ReplyBody>, limit: usize) -> Response<ReplyBody> {
        if !is_events(answer.headers()) {
            return answer;
        }
        let mut answer = answer.map(|body| ReplyBody::in_frames(frames::InFrames::new(body, limit)));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(frames::FRAMES));
        answer
    }
}

/// What a path names.
#[derive(Debug)]
struct Named<'p> {
    model: Cow<'p, str>,
    streams: bool,
}

impl<'p> Named<'p> {
    /// `None` of a path that is not served. What a model is called is escaped once, and has nothing in it that would have to be twice.
    fn of(path: &'p str) -> Option<Self> {
        let (model, verb) = path.strip_prefix("/model/")?.split_once('/')?;
        let (_, streams) = VERBS.into_iter().find(|(known, _)| *known == verb)?;
        let model = percent_decode_str(model).decode_utf8().ok()?;
        is_model_of_bedrock(&model).then_some(Self { model, streams })
    }
}

/// Where a model is asked.
pub fn path_of(model: &str, streams: bool) -> String {
    let [(whole, _), (stream, _)] = VERBS;
    format!("/model/{}/{}", utf8_percent_encode(model, &ESCAPED), if streams { stream } else { whole })
}

/// The value of the only member `error` of a document.
fn error_in(document: &str) -> Option<&str> {
    let members: Members<'_> = serde_json::from_str(document).ok()?;
    match members.0.as_slice() {
        [(name, error)] if name == "error" => Some((*error).get()),
        _ => None,
    }
}

/// Refuses a request that names something to run beside its model, or something of the gateway's account.
fn check(request: &Json<'_>) -> Result<(), Refusal> {
    let members = request.as_object().ok_or_else(|| invalid("a request must be an object"))?;
    for (name, value) in members {
        match &**name {
            "messages" | "system" => check_addresses(value)?,
            "toolConfig" => {
                let tools = value.get("tools").and_then(Json::as_array).unwrap_or_default();
                tools.iter().try_for_each(extras::of_tool)?;
            }
            "additionalModelRequestFields" => check_added(value)?,
            "inferenceConfig" | "additionalModelResponseFieldPaths" => {}
            name => extras::check_other(name, value, &[READ.as_slice()])?,
        }
    }
    Ok(())
}

/// That nothing of a conversation, or of what is added to it, is at an address of S3: who asks would have it read by the rights of the gateway's account.
fn check_addresses(value: &Json<'_>) -> Result<(), Refusal> {
    for (name, value) in value.as_object().unwrap_or_default() {
        match &**name {
            // What a tool is called with, and what it answered, are somebody's own words.
            "toolUse" | "json" => {}
            name if is_given(value) && *plain(name) == *"s3location" => return Err(undecided(name, "model")),
            _ => check_addresses(value)?,
        }
    }
    value.as_array().unwrap_or_default().iter().try_for_each(check_addresses)
}

/// What goes to the model as it is: members of its maker's own API, of which none may name another one, or something of the account's, or say a
/// limit once more.
fn check_added(added: &Json<'_>) -> Result<(), Refusal> {
    const TOOLS: &str = "tools";
    for (name, value) in added.as_object().unwrap_or_default().iter().filter(|(name, _)| *name != TOOLS) {
        extras::check_other(name, value, &[[TOOLS].as_slice()])?;
    }
    check_addresses(added)?;
    for tool in added.get(TOOLS).and_then(Json::as_array).unwrap_or_default() {
        extras::of_tool(tool)?;
    }
    check_limits(added, 0)
}

fn check_limits(value: &Json<'_>, depth: usize) -> Result<(), Refusal> {
    if depth > DEEPEST {
        return Err(invalid("additionalModelRequestFields has too many levels"));
    }
    for (name, value) in value.as_object().unwrap_or_default() {
        let plain = plain(name);
        if MOST.iter().chain(&CHOICES).any(|limit| is_plain_of(limit, &plain)) {
            return Err(undecided(name, LIMIT));
        }
        check_limits(value, depth + 1)?;
    }
    value.as_array().unwrap_or_default().iter().try_for_each(|value| check_limits(value, depth + 1))
}

/// The most tokens that the answer may have.
fn most(body: &Json<'_>) -> Result<i64, Refusal> {
    let Some(config) = body.get(CONFIG).filter(|config| is_given(config)) else { return Ok(UNSAID) };
    let members =
        config.as_object().ok_or_else(|| invalid("member \"inferenceConfig\" must be an object"))?;
    for (name, _) in members.iter().filter(|(name, _)| *name != LIMIT) {
        check_is_other(&plain(name), &[LIMIT])?;
    }
    match config.get(LIMIT).filter(|most| is_given(most)) {
        None => Ok(UNSAID),
        Some(most) => {
            let most = most.as_integer().filter(|most| *most > 0);
            most.ok_or_else(|| invalid("maxTokens must be a whole number above 0"))
        }
    }
}

/// The names of Bedrock's own errors.
fn kind(class: Class) -> &'static str {
    match class {
        Class::Invalid
        | Class::MethodNotAllowed
        | Class::TooLarge
        | Class::HeadersTooLarge
        | Class::TooSlow => "ValidationException",
        Class::Conflict => "ConflictException",
        Class::NotFound => "ResourceNotFoundException",
        Class::Unauthenticated | Class::Forbidden => "AccessDeniedException",
        Class::TooMany => "ThrottlingException",
        Class::Unavailable => "ServiceUnavailableException",
        Class::BadUpstream => "ModelErrorException",
        Class::UpstreamTimeout => "ModelTimeoutException",
    }
}

#[cfg(test)]
mod tests;
