//! Model calls by the providers' native paths. What all providers share is here; each binding's own wire is a file.

pub mod added_usage;
mod anthropic;
mod azure;
pub mod bedrock;
mod extras;
mod gemini;
mod kept;
mod openai;
mod question;
pub mod shapes;

pub use anthropic::Anthropic;
pub use azure::Azure;
pub use bedrock::Bedrock;
pub use gemini::Gemini;
pub use openai::OpenAi;

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, Response};
use serde_json::json;
use vidimus_core::call::{Action, Ask, Call, Destination, Target};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::LlmProvider;
use vidimus_core::resource::llm_provider::{API_PATH_OF_OPENAI, Model, ProviderType, is_path_segment};
use vidimus_core::snapshot::Snapshot;

use super::members::{Replaced, quoted};
use super::observe::Observe;
use super::{Answer, Binding, Expected, MAX_NAME, Message, Operation, Parsed};

/// The listing of models, which every binding has at the same path: answered from the registry, nothing goes upstream.
const MODELS: &str = "/v1/models";
pub const MODELS_METHOD: &str = "models.list";
/// One of them, below that path.
const MODEL_METHOD: &str = "models.get";
/// What is asked for, by the names that policies and records have for it.
pub const CHAT: &str = "chat.completions";
pub const RESPONSES: &str = "responses";
/// OpenAI's older way to ask, which many servers have.
pub const COMPLETIONS: &str = "completions";
const EMBEDDINGS: &str = "embeddings";
const MESSAGES: &str = "messages";
/// Counts the tokens of a question, and answers nothing else.
const COUNT_TOKENS: &str = "messages.count_tokens";
const GENERATE: &str = "models.generate_content";
const COUNT: &str = "models.count_tokens";
const EMBED: &str = "models.embed_content";
pub const CONVERSE: &str = "converse";

/// The path by which a message goes on to its provider: where that has OpenAI's API at another one, the same below that.
pub fn path_to<'p>(destination: &Destination, path: Cow<'p, str>) -> Cow<'p, str> {
    let Destination::Provider(provider) = destination else { return path };
    let below = path.strip_prefix(API_PATH_OF_OPENAI).filter(|below| below.starts_with('/'));
    match (&provider.api_path, below) {
        (Some(at), Some(below)) => Cow::Owned(format!("{at}{below}")),
        _ => path,
    }
}

/// Whether a model writes tokens to answer this. What it does not write is neither reserved nor capped.
pub fn writes(method: &str) -> bool {
    !matches!(method, EMBEDDINGS | EMBED | COUNT_TOKENS | COUNT)
}

/// The binding to answer in before the provider is known: what the path looks like.
pub fn binding_by_path(rest: &str) -> &'static dyn Binding {
    if rest.starts_with("/v1/messages") {
        &Anthropic
    } else if rest.starts_with("/v1beta/") || rest.starts_with("/v1/models/") {
        &Gemini
    } else if rest.starts_with("/openai/") {
        &Azure
    } else if rest.starts_with("/model/") {
        &Bedrock
    } else {
        &OpenAi
    }
}

/// The binding that a provider is called in by a path below its route: its own, or where that is another API's, this one's, of which the message
/// is translated ([`shapes`]).
pub fn binding_at(provider: &LlmProvider, rest: &str) -> &'static dyn Binding {
    match shapes::Shape::of_path(rest).filter(|_| !shapes::is_native(provider, rest)) {
        None => binding_of(provider),
        Some(shapes::Shape::OpenAi) => &OpenAi,
        Some(shapes::Shape::Anthropic) => &Anthropic,
        Some(shapes::Shape::Gemini) => &Gemini,
        Some(shapes::Shape::Bedrock) => &Bedrock,
    }
}

/// The binding of a provider's own API.
pub fn binding_of(provider: &LlmProvider) -> &'static dyn Binding {
    match provider.provider {
        ProviderType::Anthropic => &Anthropic,
        ProviderType::Gemini => &Gemini,
        ProviderType::Azure => &Azure,
        ProviderType::Bedrock => &Bedrock,
        ProviderType::OpenAi | ProviderType::OpenAiCompatible => &OpenAi,
    }
}

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
    method: &'static str,
}

/// The operation that a method and path name, of a binding that serves `endpoints` and lists its models at `listings`. `base_url` tells an
/// author whose SDK asked for another path what its base URL ends in: SDKs add what is behind it.
fn operation(
    (endpoints, listings): (&[Endpoint], &[&'static str]),
    base_url: &str,
    method: &Method,
    path: &str,
) -> Result<Operation, Refusal> {
    if let Some(listing) = listings.iter().find(|listing| **listing == path) {
        return only("GET", method, path).map(|()| Operation { has_body: false, path: (*listing).into() });
    }
    if let Some(about) = about_a_model(listings, method, path) {
        return Ok(about);
    }
    if let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.path == path) {
        return only("POST", method, path).map(|()| Operation { has_body: true, path: endpoint.path.into() });
    }
    let served: Vec<&str> =
        endpoints.iter().map(|endpoint| endpoint.path).chain(listings.iter().copied()).collect();
    Err(not_served(path, &served, base_url))
}

/// The model that is asked about: what stands below a listing, where it is asked for by GET. Nothing of it is decoded.
fn asked_about<'p>(listings: &[&str], method: &Method, path: &'p str) -> Option<&'p str> {
    let below = |listing: &&str| path.strip_prefix(*listing)?.strip_prefix('/');
    let name = listings.iter().find_map(below)?;
    (method == Method::GET && (1..=MAX_NAME).contains(&name.len())).then_some(name)
}

/// The operation that asks about one model, where a method and path name it.
fn about_a_model(listings: &[&str], method: &Method, path: &str) -> Option<Operation> {
    asked_about(listings, method, path)?;
    Some(Operation { has_body: false, path: path.to_owned().into() })
}

/// That a path is asked for by the method that it has.
fn only(allowed: &'static str, method: &Method, path: &str) -> Result<(), Refusal> {
    match method.as_str() == allowed {
        true => Ok(()),
        false => Err(Refusal::method_not_allowed(path, allowed)),
    }
}

/// What is of one API alone: it is translated for no provider of another. How its path ends, and whose it is.
const UNTRANSLATED: [(&str, &str); 10] = [
    ("/v1/responses", "OpenAI's"),
    ("/v1/completions", "OpenAI's"),
    ("/v1/embeddings", "OpenAI's"),
    ("/v1/messages/count_tokens", "Anthropic's"),
    (":countTokens", "Gemini's"),
    (":embedContent", "Gemini's"),
    (":batchEmbedContents", "Gemini's"),
    ("/v1beta/models", "Gemini's"),
    ("/converse", "Bedrock's"),
    ("/converse-stream", "Bedrock's"),
];

/// The refusal of a path that a provider does not serve.
fn not_served(path: &str, served: &[&str], base_url: &str) -> Refusal {
    const NEXT: &str = "Call a provider of that API; or use /v1/chat/completions, /v1/messages or /v1beta/models/{model}:generateContent, which go to providers of every type (docs/clients.md).";
    let shown: String = path.chars().take(64).collect();
    let of_another = UNTRANSLATED.iter().find(|(end, _)| path.ends_with(end));
    if let Some((end, whose)) = of_another.filter(|(end, _)| !served.iter().any(|one| one.ends_with(end))) {
        let message = format!("{end:?} is of {whose} own API alone, and this provider speaks another one");
        return Refusal::new(Code::RouteUnknown, message).with_next(NEXT);
    }
    let served = match served.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    };
    let message = format!(
        "{shown:?} is not a governed path; this provider serves {served}, and clients of other APIs at /v1/chat/completions, /v1/messages and \
         /v1beta/models/{{model}}:generateContent; does the base URL end in {base_url}?"
    );
    Refusal::new(Code::RouteUnknown, message)
}

/// The method of one of the endpoints.
fn method_at(endpoints: &[Endpoint], path: &str) -> Result<&'static str, Refusal> {
    let endpoint = endpoints.iter().find(|endpoint| endpoint.path == path);
    endpoint.map(|endpoint| endpoint.method).ok_or_else(not_governed)
}

fn not_governed() -> Refusal {
    Refusal::new(Code::RouteUnknown, "not a governed path")
}

fn invalid(message: &'static str) -> Refusal {
    Refusal::new(Code::MessageInvalid, message)
}

/// The provider that a message goes to.
fn provider<'a>(message: &Message<'a>) -> Result<&'a Arc<LlmProvider>, Refusal> {
    match message.destination {
        Destination::Provider(provider) => Ok(provider),
        Destination::Server(_) | Destination::Agent(_) => {
            Err(Refusal::new(Code::Internal, "this binding is not the destination's"))
        }
    }
}

/// A question for the models of a provider that are listed at these paths, or for one of them below; `None` of any other message.
fn listing<'a>(message: &Message<'a>, listings: &[&str]) -> Option<Result<Parsed<'a>, Refusal>> {
    let model = asked_about(listings, message.method, message.path);
    if model.is_none() && !listings.contains(&message.path) {
        return None;
    }
    let method = if model.is_some() { MODEL_METHOD } else { MODELS_METHOD };
    Some(provider(message).map(|provider| {
        let ask = Ask::about(method, Action::ListModels, Target::Provider(provider));
        Parsed { model, ..Parsed::expecting(ask, Expected::Own) }
    }))
}

/// A request to a model, as its binding reads it.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    method: &'static str,
    /// The name that it has for the model.
    name: &'a str,
    /// The most tokens that it lets the answer have.
    most: i64,
    streaming: bool,
}

/// What a request asks, of the model that is meant by its name.
///
/// # Errors
/// `resource_unknown` for a model that the provider's record does not have by this name.
fn ask<'a>(message: &Message<'a>, asked: Asked<'_>) -> Result<(Ask<'a>, &'a Model), Refusal> {
    let provider = provider(message)?;
    let Some(model) = provider.meant(asked.name) else {
        let shown: String = asked.name.chars().take(MAX_NAME / 2).collect();
        let message = format!("model {shown:?} is not registered on LLMProvider {}", provider.id.id);
        return Err(Refusal::new(Code::ResourceUnknown, message));
    };
    let target = Target::Model { provider, name: &model.name };
    let question = question::of(message.body()?, message.bytes);
    let ask = Ask {
        tokens_estimated: question.estimated,
        tokens_reserved: question.most,
        tokens_most: if writes(asked.method) { asked.most } else { 0 },
        streaming: asked.streaming,
        ..Ask::about(asked.method, Action::CallModel, target)
    };
    Ok((ask, model))
}

/// Reads one model request in the members of OpenAI or of Anthropic. `in_path` is the model that the path names, where it names one.
///
/// # Errors
/// `message_invalid` without a model or with two, `resource_unknown` for a model that the provider's record does not list.
fn parse<'a>(
    message: &Message<'a>,
    method: &'static str,
    in_path: Option<&'a str>,
) -> Result<Parsed<'a>, Refusal> {
    let body = message.body()?;
    if body.as_object().is_none() {
        return Err(invalid("a request must be an object"));
    }
    extras::check(body)?;
    kept::check(body)?;
    match method {
        RESPONSES => extras::check_response(body)?,
        COMPLETIONS => extras::check_completion(body)?,
        _ => {}
    }
    let name = name(body, in_path)?;
    let streaming = match body.get("stream") {
        None | Some(Json::Null) => false,
        Some(Json::Bool(streaming)) => *streaming,
        Some(_) => return Err(invalid("member \"stream\" must be a boolean")),
    };
    let (ask, model) = ask(message, Asked { method, name, most: most(body), streaming })?;
    let mut parsed = Parsed::new(ask, Answer::pass(Observe::Model));
    parsed.lifted = !shapes::is_native(provider(message)?, message.path);
    if *model.name != *name && body.get("model").and_then(Json::as_str).is_some() {
        parsed.replaced.push(Replaced { path: &["model"], with: quoted(&model.name) });
    }
    Ok(parsed)
}

/// The most tokens that the answer may have, by the greatest that the request says, for each of the answers that it has made: as many as it says to each
/// of its prompts, where it has a list of these.
fn most(body: &Json<'_>) -> i64 {
    let number = |name: &str| body.get(name).and_then(Json::as_integer).filter(|number| *number > 0);
    let each = MOST.iter().filter_map(|name| number(name)).max().unwrap_or(UNSAID);
    let prompts = body.get("prompt").and_then(Json::as_array).map_or(1, |prompts| prompts.len().max(1));
    let prompts = i64::try_from(prompts).unwrap_or(i64::MAX);
    each.saturating_mul(CHOICES.iter().filter_map(|name| number(name)).max().unwrap_or(1))
        .saturating_mul(prompts)
}

/// The name that a request has for its model.
fn name<'a>(body: &'a Json<'a>, in_path: Option<&'a str>) -> Result<&'a str, Refusal> {
    match (body.get("model"), in_path) {
        (None | Some(Json::Null), Some(name)) => Ok(name),
        (Some(Json::String(said)), Some(name)) if **said != *name => {
            Err(invalid("member \"model\" is not the model that the path names"))
        }
        (Some(Json::String(said)), _) => Ok(&**said),
        _ => Err(invalid("member \"model\" is missing or not a string")),
    }
}

/// The names by which the caller may call a model of the provider: its models', and their aliases.
fn callable<'a>(call: &Call<'a>, world: &Snapshot) -> Option<(&'a LlmProvider, Vec<&'a str>)> {
    let Target::Provider(provider) = call.ask.target else { return None };
    let may_call = |name: &str| {
        let ask = Ask::about(MODELS_METHOD, Action::CallModel, Target::Model { provider, name });
        world.could_allow(&Call { ask, ..*call })
    };
    let models: Vec<&str> =
        provider.models.iter().map(|model| &*model.name).filter(|name| may_call(name)).collect();
    let aliases = provider.aliases.iter().filter(|(_, model)| models.contains(&&***model));
    let aliases: Vec<&str> = aliases.map(|(alias, _)| &**alias).collect();
    Some((&**provider, [models, aliases].concat()))
}

/// The models that the caller may call, in a shape that the SDKs of OpenAI and of Anthropic read; or the one of them that is asked about.
fn models(call: &Call<'_>, world: &Snapshot, asked: Option<&str>) -> Option<String> {
    let (provider, names) = callable(call, world)?;
    let shown = |name: &str| {
        json!({"id": name, "object": "model", "type": "model", "display_name": name,
            "created": 0, "created_at": "1970-01-01T00:00:00Z", "owned_by": &*provider.id.id})
    };
    if let Some(name) = asked {
        return names.contains(&name).then(|| shown(name).to_string());
    }
    let shown: Vec<_> = names.into_iter().map(shown).collect();
    Some(json!({"object": "list", "data": shown, "has_more": false}).to_string())
}

/// The SDKs of all providers repeat a call that ends with a 5xx, unless they are told not to. What may have been carried out is
/// not to be repeated without a thought, and a key that is refused is so again.
fn not_to_be_repeated(refusal: &Refusal, mut response: Response<String>) -> Response<String> {
    if matches!(refusal.code, Code::UpstreamInterrupted | Code::GatewayStopping | Code::CredentialRefused) {
        let name = HeaderName::from_static("x-should-retry");
        response.headers_mut().insert(name, HeaderValue::from_static("false"));
    }
    response
}

#[cfg(test)]
mod tests;
