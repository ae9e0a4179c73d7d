//! Model calls by the providers' native paths. What all providers share is here; each binding's own wire is a file.

pub mod added_usage;
mod anthropic;
mod extras;
mod openai;

pub use anthropic::Anthropic;
pub use openai::OpenAi;

use http::{HeaderName, HeaderValue, Method, Response};
use serde_json::json;
use vidimus_core::call::{Action, Ask, Call, Destination, Target};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::LlmProvider;
use vidimus_core::snapshot::Snapshot;

use super::{Answer, Expected, MAX_NAME, Message, Operation, Parsed};

/// The listing of models, which every binding has at the same path: answered from the registry, nothing goes upstream.
const MODELS: &str = "/v1/models";
const MODELS_METHOD: &str = "models.list";
/// Counts the tokens of a question, and answers nothing else.
pub const COUNT_TOKENS: &str = "messages.count_tokens";

/// Members that say how many tokens an answer may have: of OpenAI and Anthropic, of OpenAI's newer models, of its responses; and of servers
/// that resemble them (vLLM, TGI, llama.cpp, Ollama, Bedrock), which take more than they document.
pub const MOST: [&str; 10] = [
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_new_tokens",
    "max_tokens_to_sample",
    "max_gen_len",
    "max_length",
    "max_token_count",
    "n_predict",
    "num_predict",
];

/// Members that say how many answers are made: of OpenAI, of its completions and vLLM (it chooses among so many), of TGI, of Gemini.
pub const CHOICES: [&str; 4] = ["n", "best_of", "num_return_sequences", "candidate_count"];

/// So many tokens are assumed where a request does not say.
const UNSAID: i64 = 4096;

/// One path of a binding.
#[derive(Clone, Copy, Debug)]
struct Endpoint {
    path: &'static str,
    /// What is asked for, by the name that policies and records have for it.
    method: &'static str,
}

/// The operation that a method and path name, of a binding that serves `endpoints`. `base_url` tells an author whose SDK asked
/// for another path what its base URL ends in: SDKs add what is behind it.
fn operation(
    endpoints: &[Endpoint],
    base_url: &str,
    method: &Method,
    path: &str,
) -> Result<Operation, Refusal> {
    let only = |allowed: &'static str| match method.as_str() == allowed {
        true => Ok(()),
        false => Err(Refusal::method_not_allowed(path, allowed)),
    };
    if path == MODELS {
        return only("GET").map(|()| Operation { has_body: false, path: MODELS.into() });
    }
    if let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.path == path) {
        return only("POST").map(|()| Operation { has_body: true, path: endpoint.path.into() });
    }
    let shown: String = path.chars().take(64).collect();
    let served: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.path).collect();
    let message = format!(
        "{shown:?} is not a governed path; this provider serves {} and {MODELS}; does the base URL end in {base_url}?",
        served.join(", "),
    );
    Err(Refusal::new(Code::RouteUnknown, message))
}

/// Reads one model request: which model, and whether it streams. `answer` chooses what becomes of the answer.
///
/// # Errors
/// `message_invalid` without a model, `resource_unknown` for a model that the provider's record does not list.
fn parse<'a>(
    endpoints: &[Endpoint],
    message: &Message<'a>,
    answer: impl FnOnce(&'a Json<'a>, bool) -> Result<Answer, Refusal>,
) -> Result<Parsed<'a>, Refusal> {
    let Destination::Provider(provider) = message.destination else {
        return Err(Refusal::new(Code::Internal, "this binding is not the destination's"));
    };
    if message.path == MODELS {
        let ask = Ask::about(MODELS_METHOD, Action::ListModels, Target::Provider(provider));
        return Ok(Parsed::expecting(ask, Expected::Own));
    }
    let method = endpoints.iter().find(|endpoint| endpoint.path == message.path);
    let method = method.ok_or_else(|| Refusal::new(Code::RouteUnknown, "not a governed path"))?.method;
    let body = message.body()?;
    extras::check(body)?;
    let name = model(provider, body)?;
    let streaming = match body.get("stream") {
        None | Some(Json::Null) => false,
        Some(Json::Bool(streaming)) => *streaming,
        Some(_) => return Err(Refusal::new(Code::MessageInvalid, "member \"stream\" must be a boolean")),
    };
    let ask = Ask {
        tokens_estimated: i64::try_from(message.bytes / 4).unwrap_or(i64::MAX),
        tokens_most: most(body),
        streaming,
        ..Ask::about(method, Action::CallModel, Target::Model { provider, name })
    };
    Ok(Parsed::new(ask, answer(body, streaming)?))
}

/// The most tokens that the answer may have, by the greatest that the request says, for each of the answers that it has made.
fn most(body: &Json<'_>) -> i64 {
    let number = |name: &str| body.get(name).and_then(Json::as_integer).filter(|number| *number > 0);
    let each = MOST.iter().filter_map(|name| number(name)).max().unwrap_or(UNSAID);
    each.saturating_mul(CHOICES.iter().filter_map(|name| number(name)).max().unwrap_or(1))
}

/// The model that a request names, which must be registered.
fn model<'a>(provider: &LlmProvider, body: &'a Json<'a>) -> Result<&'a str, Refusal> {
    let Some(name) = body.get("model").and_then(Json::as_str) else {
        return Err(Refusal::new(Code::MessageInvalid, "member \"model\" is missing or not a string"));
    };
    if provider.model(name).is_none() {
        let shown: String = name.chars().take(MAX_NAME / 2).collect();
        let message = format!("model {shown:?} is not registered on LLMProvider {}", provider.id.id);
        return Err(Refusal::new(Code::ResourceUnknown, message));
    }
    Ok(name)
}

/// The registered models that the caller may call, in a shape that every SDK reads.
fn models(call: &Call<'_>, world: &Snapshot) -> Option<String> {
    let Target::Provider(provider) = call.ask.target else { return None };
    let callable = |name: &str| {
        let ask = Ask::about(MODELS_METHOD, Action::CallModel, Target::Model { provider, name });
        world.could_allow(&Call { ask, ..*call })
    };
    let shown: Vec<_> = provider
        .models
        .iter()
        .filter(|model| callable(&model.name))
        .map(|model| {
            json!({"id": &*model.name, "object": "model", "type": "model", "display_name": &*model.name,
                "created": 0, "created_at": "1970-01-01T00:00:00Z", "owned_by": &*provider.id.id})
        })
        .collect();
    Some(json!({"object": "list", "data": shown, "has_more": false}).to_string())
}

/// The SDKs of both providers repeat a call that ends with a 5xx, unless they are told not to. What may have been carried out is
/// not to be repeated without a thought.
fn not_to_be_repeated(refusal: &Refusal, mut response: Response<String>) -> Response<String> {
    if matches!(refusal.code, Code::UpstreamInterrupted | Code::GatewayStopping) {
        let name = HeaderName::from_static("x-should-retry");
        response.headers_mut().insert(name, HeaderValue::from_static("false"));
    }
    response
}

#[cfg(test)]
mod tests;
