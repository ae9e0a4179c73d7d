//! One API's client, another API's provider (ADR 89). What is decided, held, guarded, limited and recorded is the caller's message, in its own API.
//! Where it goes on it is lowered into the provider's, and the answer is lifted back before anything reads it.
//!
//! Each API has a reader and a writer of requests, answers, streams and errors; between them is a [`conversation`]. A request is read by a closed
//! table of members ([`taken`]): what is read is written, and what is not read, known or not, is refused. Nothing of it is left out.

mod anthropic;
mod bedrock;
mod conversation;
mod effects;
mod effort;
mod format;
mod gemini;
mod lifted;
mod openai;
mod taken;
mod thoughts;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::Value;
use serde_json::value::RawValue;
use vidimus_core::json::inexact_number;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::LlmProvider;
use vidimus_core::resource::llm_provider::{API_PATH_OF_OPENAI, ProviderType};

use self::openai::Takes;
use self::taken::no_equivalent;
use super::bedrock::frames::FRAMES;
use super::bedrock::path_of;
use super::{
    CHAT, COMPLETIONS, CONVERSE, COUNT, COUNT_TOKENS, EMBED, EMBEDDINGS, GENERATE, MESSAGES, RESPONSES,
    added_usage,
};
use crate::protocol::members::{Edits, Members, first_member, quoted, without};
pub use effects::has_none as has_no_effect;
pub use lifted::lifted;

/// The headers of a caller that go on to a provider of another API. What a beta of an API (`anthropic-beta`, `openai-beta`) lets a request say stands in
/// its members, which are read by a closed table; what else it does is of that API's own providers.
const PASSED_HEADERS: [&str; 4] = ["accept", "user-agent", "x-request-id", "tracestate"];
/// And to another provider of the same: what the API's own clients say beside, which guards read.
const PASSED_BY_OPENAI: [&str; 5] = ["accept", "user-agent", "x-request-id", "tracestate", "openai-beta"];
const PASSED_BY_ANTHROPIC: [&str; 6] =
    ["accept", "user-agent", "x-request-id", "tracestate", "anthropic-version", "anthropic-beta"];

/// An API that is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    OpenAi,
    Anthropic,
    Gemini,
    /// Translated for no provider of another one.
    Bedrock,
}

impl Shape {
    /// The API of a caller that asks for this, where that is translated.
    pub fn of_method(method: &str) -> Option<Self> {
        match method {
            CHAT => Some(Self::OpenAi),
            MESSAGES => Some(Self::Anthropic),
            GENERATE => Some(Self::Gemini),
            _ => None,
        }
    }

    /// The API that this is asked in, whether it is translated or goes to providers of the same API alone.
    pub fn asked_by(method: &str) -> Option<Self> {
        match method {
            COMPLETIONS | RESPONSES | EMBEDDINGS => Some(Self::OpenAi),
            COUNT_TOKENS => Some(Self::Anthropic),
            COUNT | EMBED => Some(Self::Gemini),
            CONVERSE => Some(Self::Bedrock),
            other => Self::of_method(other),
        }
    }

    /// The API that a provider speaks.
    pub const fn of_provider(provider: ProviderType) -> Self {
        match provider {
            ProviderType::OpenAi | ProviderType::OpenAiCompatible | ProviderType::Azure => Self::OpenAi,
            ProviderType::Anthropic => Self::Anthropic,
            ProviderType::Gemini => Self::Gemini,
            ProviderType::Bedrock => Self::Bedrock,
        }
    }

    /// The API that a path below a provider's route is of, where it is one that is translated.
    pub fn of_path(rest: &str) -> Option<Self> {
        match rest {
            "/v1/chat/completions" => Some(Self::OpenAi),
            "/v1/messages" => Some(Self::Anthropic),
            _ => {
                let below = ["/v1beta/models/", "/v1/models/"].iter().find_map(|at| rest.strip_prefix(at))?;
                // A model's own name may have colons, where an alias stood for it.
                let (_, verb) = below.rsplit_once(':')?;
                matches!(verb, "generateContent" | "streamGenerateContent").then_some(Self::Gemini)
            }
        }
    }
}

/// Whether what is asked by this path of a provider is in the provider's own API and at its own paths, so that it goes on as it is. A path that
/// nobody knows is nobody's own.
pub fn is_native(provider: &LlmProvider, path: &str) -> bool {
    match (Shape::of_path(path), provider.provider) {
        (Some(_), ProviderType::Azure) => false,
        (Some(shape), other) => shape == Shape::of_provider(other),
        (None, _) => {
            let served = super::binding_of(provider).operation(&Method::POST, path);
            !served.is_err_and(|refusal| refusal.code == Code::RouteUnknown)
        }
    }
}

/// A message of a caller, on its way to a provider that it was not written for.
#[derive(Clone, Copy, Debug)]
pub struct Going<'a> {
    /// The caller's API, and what it asks for.
    pub client: Shape,
    pub method: &'a str,
    /// The path of the caller's operation, and the query behind it.
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
    pub body: &'a Bytes,
    /// Usage is to be asked for, where the provider takes that.
    pub amends: bool,
}

/// The same as it goes on.
#[derive(Debug)]
pub struct Gone {
    /// Below the provider's address, with its query.
    pub path: Cow<'static, str>,
    pub body: Bytes,
    /// Headers that the provider's API wants.
    pub headers: Vec<(&'static str, HeaderValue)>,
}

impl Going<'_> {
    /// The headers of the caller that go on to this provider.
    pub fn passed_headers(&self, provider: &LlmProvider) -> &'static [&'static str] {
        match (self.client, Shape::of_provider(provider.provider)) {
            (Shape::OpenAi, Shape::OpenAi) => &PASSED_BY_OPENAI,
            (Shape::Anthropic, Shape::Anthropic) => &PASSED_BY_ANTHROPIC,
            _ => &PASSED_HEADERS,
        }
    }

    fn streams_by_path(&self) -> bool {
        self.path.ends_with(":streamGenerateContent") || self.path.ends_with("/converse-stream")
    }

    /// The message for this model of this provider.
    ///
    /// # Errors
    /// `no_equivalent`, `message_invalid`; `internal` for what is not the message that was parsed before.
    pub fn to(&self, provider: &LlmProvider, model: &str) -> Result<Gone, Refusal> {
        let shape = Shape::of_provider(provider.provider);
        if shape != self.client && Shape::of_method(self.method).is_none() {
            return Err(no_equivalent("the request", self.method));
        }
        let (streams, body) = if shape == self.client {
            (self.streams_by_path(), self.renamed(provider, model)?)
        } else {
            self.translated(shape, provider, model)?
        };
        let mut headers = Vec::new();
        if shape != self.client {
            let accepts = match (streams, shape) {
                (false, _) => "application/json",
                (true, Shape::Bedrock) => FRAMES,
                (true, _) => "text/event-stream",
            };
            headers.push(("accept", HeaderValue::from_static(accepts)));
        }
        let is_said = shape == self.client && self.headers.contains_key("anthropic-version");
        if shape == Shape::Anthropic && !is_said {
            headers.push(("anthropic-version", HeaderValue::from_static(anthropic::VERSION)));
        }
        Ok(Gone { path: self.path_at(provider, model, streams), body, headers })
    }

    /// Where a provider answers this, and how.
    fn path_at(&self, provider: &LlmProvider, model: &str, streams: bool) -> Cow<'static, str> {
        let of_openai = match self.method {
            COMPLETIONS => "completions",
            RESPONSES => "responses",
            EMBEDDINGS => "embeddings",
            _ => "chat/completions",
        };
        match provider.provider {
            ProviderType::OpenAi => format!("{API_PATH_OF_OPENAI}/{of_openai}").into(),
            ProviderType::OpenAiCompatible => {
                let at = provider.api_path.as_deref().unwrap_or(API_PATH_OF_OPENAI);
                format!("{at}/{of_openai}").into()
            }
            ProviderType::Azure => format!("/openai/v1/{of_openai}").into(),
            ProviderType::Anthropic if self.method == COUNT_TOKENS => "/v1/messages/count_tokens".into(),
            ProviderType::Anthropic => "/v1/messages".into(),
            ProviderType::Gemini => {
                let verb = match (self.method, streams) {
                    (COUNT | EMBED, _) => self.path.rsplit_once(':').map_or("", |(_, verb)| verb),
                    (_, false) => "generateContent",
                    (_, true) => "streamGenerateContent?alt=sse",
                };
                format!("/v1beta/models/{model}:{verb}").into()
            }
            ProviderType::Bedrock => path_of(model, streams).into(),
        }
    }

    /// In the same API, with the name that the provider has for the model.
    fn renamed(&self, provider: &LlmProvider, model: &str) -> Result<Bytes, Refusal> {
        self.check_form(self.streams_by_path())?;
        let fault = || Refusal::new(Code::Internal, "the model could not be named in the caller's message");
        let renamed = std::str::from_utf8(self.body).ok().and_then(|text| {
            let text = if self.method == CHAT { limited(text, provider.provider)? } else { text.into() };
            named(&text, (self.client, self.method), model)
        });
        let body = renamed.map(Bytes::from).ok_or_else(fault)?;
        if self.amends && provider.stream_usage { added_usage::ask_for(&body) } else { Ok(body) }
    }

    /// In another API; and whether its answer is a stream.
    fn translated(
        &self,
        shape: Shape,
        provider: &LlmProvider,
        model: &str,
    ) -> Result<(bool, Bytes), Refusal> {
        if let Some(number) = inexact_number(self.body) {
            return Err(no_equivalent("the request", number));
        }
        let body: Value = serde_json::from_slice(self.body)
            .map_err(|error| Refusal::new(Code::Internal, "the message is no JSON").with_detail(error))?;
        let request = match self.client {
            Shape::OpenAi => openai::read(body)?,
            Shape::Anthropic => anthropic::read(body)?,
            Shape::Gemini => gemini::read(body, self.streams_by_path())?,
            Shape::Bedrock => return Err(no_equivalent("the request", CONVERSE)),
        };
        self.check_form(request.streams)?;
        let streams = request.streams;
        let takes = Takes {
            completion_tokens: provider.provider != ProviderType::OpenAiCompatible,
            stream_usage: provider.stream_usage,
        };
        let body = match shape {
            Shape::OpenAi => openai::write(request, model, takes)?,
            Shape::Anthropic => anthropic::write(request, model)?,
            Shape::Gemini => gemini::write(request, model)?,
            Shape::Bedrock => bedrock::write(request, model)?,
        };
        Ok((streams, body.to_string().into()))
    }

    /// Gemini's other form of a stream is a list.
    fn check_form(&self, streams: bool) -> Result<(), Refusal> {
        let is_sse = |query: &str| query.split('&').any(|pair| pair == "alt=sse");
        match self.client == Shape::Gemini && streams && !self.query.is_some_and(is_sse) {
            true => Err(no_equivalent("the request", "a stream without alt=sse")),
            false => Ok(()),
        }
    }
}

/// A request with the name that another provider of the same API has for the model, and with the ids of calls as that takes them: what a model of
/// Gemini's signed is of no use to any other. `None` of what is no request.
fn named(text: &str, (client, method): (Shape, &str), model: &str) -> Option<String> {
    let members: Members<'_> = serde_json::from_str(text).ok()?;
    let mut edits = Edits::of(text);
    let said = members.get("model");
    match (client, said) {
        (Shape::Gemini, _) => named_by_gemini(&members, model, &mut edits)?,
        (Shape::OpenAi | Shape::Anthropic, Some(said)) => edits.put(said, quoted(model)),
        (Shape::OpenAi | Shape::Anthropic, None) | (Shape::Bedrock, _) => {}
    }
    if may_be_signed(method, text.as_bytes())
        && let Some(messages) = members.get("messages")
    {
        thoughts::put_bare(messages, &mut edits);
    }
    let renamed = edits.finish().ok()?.unwrap_or_else(|| text.to_owned());
    if said.is_some() || matches!(client, Shape::Gemini | Shape::Bedrock) {
        return Some(renamed);
    }
    let (at, with) = first_member(&renamed, format!("\"model\":{}", quoted(model)));
    Some([renamed.get(..at.start)?, &with, renamed.get(at.end..)?].concat())
}

/// Every place at which a request of Gemini's names its model: itself, the request whose tokens are counted, and each of those that are embedded.
fn named_by_gemini<'d>(members: &Members<'d>, model: &str, edits: &mut Edits<'d>) -> Option<()> {
    let mut put = |members: &Members<'d>| {
        if let Some(said) = members.get("model").filter(|said| said.get() != "null") {
            edits.put(said, quoted(&format!("models/{model}")));
        }
    };
    put(members);
    let there = |name: &str| members.get(name).filter(|value| value.get() != "null");
    if let Some(counted) = there("generateContentRequest") {
        put(&serde_json::from_str(counted.get()).ok()?);
    }
    if let Some(requests) = there("requests") {
        serde_json::from_str::<Vec<Members<'d>>>(requests.get()).ok()?.iter().for_each(put);
    }
    Some(())
}

/// Whether a message may have ids of calls that are not for other providers of its own API as they are. What has no calls says what it likes.
pub fn may_be_signed(method: &str, body: &[u8]) -> bool {
    matches!(method, CHAT | MESSAGES | COUNT_TOKENS) && thoughts::may_be_in(body)
}

/// Whether the caller wants one tool to be called at a time.
pub fn one_at_a_time(client: Shape, body: &[u8]) -> bool {
    let Ok(body) = serde_json::from_slice::<Members<'_>>(body) else { return false };
    let says = |members: &Members<'_>, name, value| members.get(name).is_some_and(|said| said.get() == value);
    match client {
        Shape::OpenAi => says(&body, "parallel_tool_calls", "false"),
        Shape::Anthropic => {
            let choice = body.get("tool_choice").and_then(|choice| serde_json::from_str(choice.get()).ok());
            choice.is_some_and(|choice| says(&choice, "disable_parallel_tool_use", "true"))
        }
        Shape::Gemini | Shape::Bedrock => false,
    }
}

/// A request of OpenAI's with the limit of its answer by the name that the provider knows for sure, where it has one by the other alone: what only resembles
/// OpenAI's may know the older one alone, and models of OpenAI's that reason refuse it.
fn limited(text: &str, provider: ProviderType) -> Option<Cow<'_, str>> {
    let (name, other) = match provider {
        ProviderType::OpenAiCompatible => ("max_tokens", "max_completion_tokens"),
        _ => ("max_completion_tokens", "max_tokens"),
    };
    let members: Members<'_> = serde_json::from_str(text).ok()?;
    let said = |name| members.get(name).map(RawValue::get).filter(|value| *value != "null");
    match (said(name), said(other)) {
        (None, Some(value)) => {
            let rest = without(text, &[&[name], &[other]])?;
            let (at, with) = first_member(&rest, format!("\"{name}\":{value}"));
            Some([rest.get(..at.start)?, &with, rest.get(at.end..)?].concat().into())
        }
        _ => Some(text.into()),
    }
}

/// How an answer is lifted back: out of the API of the provider, into that of the caller.
#[derive(Clone, Debug)]
pub struct Answered {
    pub client: Shape,
    pub provider: Shape,
    /// What answered.
    pub model: Arc<str>,
    /// The id of the call, for what has none of its own.
    pub call: Arc<str>,
    /// When it was asked, in seconds since 1970.
    pub seconds: u64,
    /// The caller wants one tool to be called at a time, and the provider's API cannot be told.
    pub one_at_a_time: bool,
    /// In how many seconds the provider wants to be asked again, once it answered; `None` where it does not say it, or by a date.
    pub again: Option<u32>,
}

impl Answered {
    /// The id that the provider gave its answer, or that of the call.
    fn id_or(&self, id: String) -> String {
        if id.is_empty() { self.call.to_string() } else { id }
    }
}

/// A text of an answer; an empty one where there is none.
fn text_at<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// What stands there in an answer; null where nothing does.
fn value_at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// An object, with those of these members that there are.
fn with<const N: usize>(mut object: Value, members: [(&str, Option<Value>); N]) -> Value {
    if let Value::Object(all) = &mut object {
        all.extend(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
    object
}

#[cfg(test)]
mod tests;
