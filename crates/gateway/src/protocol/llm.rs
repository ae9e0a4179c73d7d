//! Model calls by the providers' native paths: OpenAI chat completions and Anthropic messages.

use std::sync::Arc;

use vidimus_core::call::{Action, Arguments, Target};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::LlmProvider;
use vidimus_core::resource::llm_provider::ProviderType;

use super::usage::Dialect;
use super::{Answer, Ask, added_usage, check_spelling};

/// What a path below the provider's route asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    ChatCompletions,
    Messages,
    CountTokens,
    /// The models that the caller may call: answered from the registry, nothing goes upstream.
    Models,
}

impl Endpoint {
    /// Finds the endpoint of a method and path.
    ///
    /// # Errors
    /// `route_unknown` or `method_not_allowed`: a path that is not understood is not passed on.
    pub fn of(provider: ProviderType, method: &http::Method, path: &str) -> Result<Self, Refusal> {
        let endpoint = match (provider, path) {
            (_, "/v1/models") => Self::Models,
            (ProviderType::OpenAi | ProviderType::OpenAiCompatible, "/v1/chat/completions") => {
                Self::ChatCompletions
            }
            (ProviderType::Anthropic, "/v1/messages") => Self::Messages,
            (ProviderType::Anthropic, "/v1/messages/count_tokens") => Self::CountTokens,
            _ => {
                let shown: String = path.chars().take(64).collect();
                let message = format!(
                    "{shown:?} is not a governed path; this provider serves {}; does the base URL end in {}?",
                    Self::served(provider),
                    // The SDKs add what is behind it: Anthropic's the version too.
                    if provider == ProviderType::Anthropic { "the route's name, without /v1" } else { "/v1" },
                );
                return Err(Refusal::new(Code::RouteUnknown, message));
            }
        };
        let wanted = if endpoint == Self::Models { "GET" } else { "POST" };
        if method.as_str() == wanted { Ok(endpoint) } else { Err(Refusal::method_not_allowed(path, wanted)) }
    }

    /// The paths of a provider, for people.
    const fn served(provider: ProviderType) -> &'static str {
        match provider {
            ProviderType::OpenAi | ProviderType::OpenAiCompatible => "/v1/chat/completions and /v1/models",
            ProviderType::Anthropic => "/v1/messages, /v1/messages/count_tokens and /v1/models",
        }
    }

    /// The path below the provider's endpoint.
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
            Self::Models => "/v1/models",
        }
    }

    const fn method(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat.completions",
            Self::Messages => "messages",
            Self::CountTokens => "messages.count_tokens",
            Self::Models => "models.list",
        }
    }
}

/// Reads one model request.
///
/// # Errors
/// `message_invalid` without a model, `resource_unknown` for a model that the provider's record does not list.
pub fn ask<'a>(
    provider: &'a Arc<LlmProvider>,
    endpoint: Endpoint,
    body: &'a Json<'a>,
    bytes: usize,
) -> Result<Ask<'a>, Refusal> {
    check_spelling(body, &["model", "stream", "stream_options"])?;
    let Some(name) = body.get("model").and_then(Json::as_str) else {
        return Err(Refusal::new(Code::MessageInvalid, "member \"model\" is missing or not a string"));
    };
    if provider.model(name).is_none() {
        let shown: String = name.chars().take(128).collect();
        let message = format!("model {shown:?} is not registered on LLMProvider {}", provider.id.id);
        return Err(Refusal::new(Code::ResourceUnknown, message));
    }
    let streaming = match body.get("stream") {
        None | Some(Json::Null) => false,
        Some(Json::Bool(streaming)) => *streaming,
        Some(_) => return Err(Refusal::new(Code::MessageInvalid, "member \"stream\" must be a boolean")),
    };
    let answer = match endpoint {
        Endpoint::Messages | Endpoint::CountTokens => Answer::Usage(Dialect::Anthropic),
        Endpoint::ChatCompletions if streaming && !added_usage::asked(body)? => Answer::AddedUsage,
        Endpoint::ChatCompletions | Endpoint::Models => Answer::Usage(Dialect::OpenAi),
    };
    Ok(Ask {
        method: endpoint.method(),
        action: Action::CallModel,
        target: Target::Model { provider, name },
        arguments: Arguments::None,
        tokens_estimated: i64::try_from(bytes / 4).unwrap_or(i64::MAX),
        streaming,
        answer,
    })
}

/// The question behind one entry of `GET /v1/models`.
pub fn ask_listed<'a>(provider: &'a Arc<LlmProvider>, name: &'a str) -> Ask<'a> {
    Ask {
        method: Endpoint::Models.method(),
        action: Action::CallModel,
        target: Target::Model { provider, name },
        arguments: Arguments::None,
        tokens_estimated: 0,
        streaming: false,
        answer: Answer::Pass,
    }
}

#[cfg(test)]
mod tests;
