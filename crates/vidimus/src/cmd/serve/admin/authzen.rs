//! The door for other enforcement points: OpenID AuthZEN Authorization API 1.0 (ADR 59, docs/authzen.md).
//!
//! Who asks is a person or a client of an operator issuer, whom a policy permits to `evaluate` the resource. A question is parsed strictly,
//! as a message of a call is.

mod evaluation;
mod search;
mod wire;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use vidimus_core::json::{Json as Strict, JsonError};
use vidimus_core::refusal::{Code, Refusal};

use self::wire::Malformed;
use super::people::{Admin, Asks, Refused};

/// Where what is served here is told.
pub(super) const DISCOVERY: &str = "/.well-known/authzen-configuration";
/// What is served, as discovery names it.
const ENDPOINTS: [(&str, &str); 5] = [
    ("access_evaluation_endpoint", "/access/v1/evaluation"),
    ("access_evaluations_endpoint", "/access/v1/evaluations"),
    ("search_subject_endpoint", "/access/v1/search/subject"),
    ("search_resource_endpoint", "/access/v1/search/resource"),
    ("search_action_endpoint", "/access/v1/search/action"),
];
/// By which the asker finds its question again.
const REQUEST_ID: &str = "x-request-id";

pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route(DISCOVERY, get(discovery))
        .route("/access/v1/evaluation", post(evaluation::evaluation))
        .route("/access/v1/evaluations", post(evaluation::evaluations))
        .route("/access/v1/search/subject", post(search::subjects))
        .route("/access/v1/search/resource", post(search::resources))
        .route("/access/v1/search/action", post(search::actions))
        .layer(from_fn(identified))
}

/// Gives the request's id back, whatever is answered.
async fn identified(request: Request, next: Next) -> Response {
    let id: Option<HeaderValue> = request.headers().get(REQUEST_ID).cloned();
    let mut response = next.run(request).await;
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// What is served, and where: below the address that people reach, or else the one that the request names.
async fn discovery(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let here = || -> Option<String> {
        headers.get(header::HOST)?.to_str().ok().map(|host| format!("http://{host}"))
    };
    let Some(address) = admin.shared().people_url().map(str::to_owned).or_else(here) else {
        return (StatusCode::BAD_REQUEST, "the request has no Host\n").into_response();
    };
    let mut metadata: serde_json::Map<String, Value> = ENDPOINTS
        .iter()
        .map(|(name, path)| ((*name).to_owned(), json!(format!("{address}{path}"))))
        .collect();
    metadata.insert("policy_decision_point".to_owned(), json!(address));
    Json(metadata).into_response()
}

/// What came, before it is read.
pub(super) type Body = Result<Bytes, BytesRejection>;

/// The bytes of a question.
///
/// # Errors
/// `body_too_large`, `message_invalid`, which are then on record.
async fn bytes(asks: &Asks, headers: &HeaderMap, body: Body) -> Result<Bytes, Refused> {
    let read = body.map_err(|fault| match fault.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let message = format!("a question has {} bytes at most", super::BODY);
            Refusal::new(Code::BodyTooLarge, message).with_next("Ask in several requests.")
        }
        _ => Refusal::new(Code::MessageInvalid, fault.body_text()),
    });
    match read.and_then(|body| is_json(headers).map(|()| body)) {
        Ok(body) => Ok(body),
        Err(refusal) => Err(asks.refuse(refusal).await),
    }
}

/// The question in them.
///
/// # Errors
/// `body_not_utf8`, `duplicate_key`, `body_not_json`.
fn question(bytes: &[u8]) -> Result<Strict<'_>, Refusal> {
    let question = Strict::parse(bytes).map_err(|error| {
        let code = match &error {
            JsonError::NotUtf8 { .. } => Code::BodyNotUtf8,
            JsonError::DuplicateKey { .. } => Code::DuplicateKey,
            JsonError::TooMany | JsonError::Syntax { .. } => Code::BodyNotJson,
        };
        Refusal::new(code, error.to_string())
    })?;
    match question {
        Strict::Object(_) => Ok(question),
        _ => Err(Malformed::new("the body", "is not a JSON object").into()),
    }
}

fn is_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let named = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let named = named.split(';').next().unwrap_or_default().trim();
    match named.eq_ignore_ascii_case("application/json") {
        true => Ok(()),
        false => Err(Refusal::new(Code::MessageInvalid, "Content-Type is not application/json")),
    }
}
