//! Azure's wire: OpenAI's, below `/openai`. Its older paths name the model (a deployment) and have the version of the API in the query.

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use vidimus_core::call::{Call, Destination};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Snapshot;

use super::{CHAT, COMPLETIONS, EMBEDDINGS, Endpoint, RESPONSES, added_usage, openai};
use crate::gate::Limits;
use crate::protocol::{Binding, Message, Operation, Parsed};

/// Azure OpenAI.
#[derive(Debug)]
pub struct Azure;

const ENDPOINTS: [Endpoint; 8] = [
    Endpoint { path: "/openai/v1/chat/completions", method: CHAT },
    Endpoint { path: "/openai/v1/completions", method: COMPLETIONS },
    Endpoint { path: "/v1/completions", method: COMPLETIONS },
    Endpoint { path: "/openai/v1/responses", method: RESPONSES },
    Endpoint { path: "/openai/v1/embeddings", method: EMBEDDINGS },
    Endpoint { path: "/openai/responses", method: RESPONSES },
    Endpoint { path: "/v1/responses", method: RESPONSES },
    Endpoint { path: "/v1/embeddings", method: EMBEDDINGS },
];

/// What stands before OpenAI's own paths, which clients of OpenAI's ask for. Chat completions of theirs are [`super::shapes`].
const OWN: &str = "/openai";

/// What is below a deployment.
static OF_DEPLOYMENT: [Endpoint; 3] = [
    Endpoint { path: "/chat/completions", method: CHAT },
    Endpoint { path: "/completions", method: COMPLETIONS },
    Endpoint { path: "/embeddings", method: EMBEDDINGS },
];

const LISTINGS: [&str; 3] = ["/openai/v1/models", "/openai/models", super::MODELS];

const DEPLOYMENTS: &str = "/openai/deployments/";

/// What its SDKs send (`openai` for Python and TypeScript, `AzureOpenAI`), and the trace.
const PASSED_HEADERS: [&str; 9] = [
    "accept",
    "user-agent",
    "openai-beta",
    "x-stainless-",
    "x-request-id",
    "x-client-request-id",
    "x-ms-client-request-id",
    "idempotency-key",
    "tracestate",
];

/// The versions of the API (Microsoft, "Azure OpenAI API version lifecycle"). There come no more that are dates: `/openai/v1` needs none.
const VERSIONS: [&str; 23] = [
    "api-version=v1",
    "api-version=latest",
    "api-version=preview",
    "api-version=2022-12-01",
    "api-version=2023-05-15",
    "api-version=2024-02-01",
    "api-version=2024-02-15-preview",
    "api-version=2024-03-01-preview",
    "api-version=2024-04-01-preview",
    "api-version=2024-05-01-preview",
    "api-version=2024-06-01",
    "api-version=2024-07-01-preview",
    "api-version=2024-08-01-preview",
    "api-version=2024-09-01-preview",
    "api-version=2024-10-01-preview",
    "api-version=2024-10-21",
    "api-version=2024-11-01-preview",
    "api-version=2024-12-01-preview",
    "api-version=2025-01-01-preview",
    "api-version=2025-02-01-preview",
    "api-version=2025-03-01-preview",
    "api-version=2025-04-01-preview",
    "api-version=2025-05-01-preview",
];

impl Binding for Azure {
    fn key_headers(&self, _path: &str) -> &'static [&'static str] {
        &["api-key"]
    }

    fn body_limit(&self, limits: &Limits) -> usize {
        limits.model_body
    }

    fn passed_headers(&self) -> &'static [&'static str] {
        &PASSED_HEADERS
    }

    fn passed_query(&self) -> &'static [&'static str] {
        &VERSIONS
    }

    fn operation(&self, method: &Method, path: &str) -> Result<Operation, Refusal> {
        if let Some((deployment, endpoint)) = deployment(path) {
            let path = path_of(deployment, endpoint);
            return super::only("POST", method, &path)
                .map(|()| Operation { has_body: true, path: path.into() });
        }
        super::operation((&ENDPOINTS, &LISTINGS), "the route's name, without /openai", method, path)
    }

    fn lifted(&self, _: &Destination, parts: &Parts, _rest: &str, body: &Bytes) -> Result<Bytes, Refusal> {
        let query = parts.uri.query().unwrap_or_default();
        let mut versions = query.split('&').filter(|pair| pair.starts_with("api-version="));
        match (versions.next(), versions.next()) {
            (None, _) => Ok(body.clone()),
            (Some(version), None) if VERSIONS.contains(&version) => Ok(body.clone()),
            _ => Err(Refusal::new(
                Code::ProtocolVersionUnsupported,
                "the query must have one api-version, which is one of Azure's",
            )),
        }
    }

    fn parse<'a>(&self, message: &Message<'a>) -> Result<Parsed<'a>, Refusal> {
        if let Some(listing) = super::listing(message, &LISTINGS) {
            return listing;
        }
        let Some((name, endpoint)) = deployment(message.path) else {
            let mut parsed = openai::parse(message, super::method_at(&ENDPOINTS, message.path)?, None)?;
            if !message.path.starts_with(OWN) {
                parsed.path = Some(format!("{OWN}{}", message.path).into());
            }
            return Ok(parsed);
        };
        let mut parsed = openai::parse(message, endpoint.method, Some(name))?;
        let model = super::provider(message)?.meant(name).map_or(name, |model| &*model.name);
        if model != name {
            parsed.path = Some(path_of(model, endpoint).into());
        }
        Ok(parsed)
    }

    fn amended(&self, body: &Bytes) -> Result<Bytes, Refusal> {
        added_usage::ask_for(body)
    }

    fn own_answer(&self, call: &Call<'_>, world: &Snapshot, model: Option<&str>) -> Option<String> {
        super::models(call, world, model)
    }

    fn refused(&self, refusal: &Refusal, call: &str, _id: Option<&str>) -> Response<String> {
        openai::refused(refusal, call)
    }
}

/// The deployment that a path names, and what is asked of it. What would have to be escaped names none.
fn deployment(path: &str) -> Option<(&str, &'static Endpoint)> {
    let below = path.strip_prefix(DEPLOYMENTS)?;
    let (name, rest) = below.split_at_checked(below.find('/')?)?;
    let endpoint = OF_DEPLOYMENT.iter().find(|endpoint| endpoint.path == rest)?;
    super::is_path_segment(name).then_some((name, endpoint))
}

fn path_of(deployment: &str, endpoint: &Endpoint) -> String {
    format!("{DEPLOYMENTS}{deployment}{}", endpoint.path)
}
