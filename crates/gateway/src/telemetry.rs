//! Spans over OTLP/HTTP, off unless an endpoint is given. With it off a call pays one branch.
//!
//! The names of its attributes are in [`vidimus_traces::names`].

mod export;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, Value};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use vidimus_core::call::Target;
use vidimus_core::clock::Moment;
use vidimus_core::decision::{Decision, Outcome};
use vidimus_core::json::Json;
use vidimus_core::resource::llm_provider::ProviderType;
use vidimus_core::resource::{Endpoint, LlmProvider};
use vidimus_traces::names;

use crate::protocol::mcp;
use crate::protocol::observe::{Told, Usage};
use crate::route::Protocol;
use crate::trace::TraceContext;
use crate::vitals::Vitals;
use export::{MOST, Queue};

/// Exports spans in the background. The queue is bounded: spans may be dropped, and are counted then; records never are.
#[derive(Clone, Debug, Default)]
pub struct Telemetry(Option<Arc<Queue>>);

/// The exporter could not be built from the endpoint given.
#[derive(Debug, thiserror::Error)]
#[error("the OTLP endpoint {endpoint} cannot be used: {reason}")]
pub struct BadEndpoint {
    pub endpoint: String,
    pub reason: String,
}

impl Telemetry {
    /// Exports to `endpoint`, e.g. `http://collector:4318/v1/traces`; `None` turns export off. Headers of its requests are in the environment
    /// (`OTEL_EXPORTER_OTLP_TRACES_HEADERS`, `OTEL_EXPORTER_OTLP_HEADERS`), as OpenTelemetry has it. `vitals` counts what becomes of spans.
    ///
    /// # Errors
    /// [`BadEndpoint`] when the address cannot be used at all. An endpoint that does not answer is not an error.
    pub fn new(endpoint: Option<&str>, vitals: &Vitals) -> Result<Self, BadEndpoint> {
        let Some(endpoint) = endpoint else { return Ok(Self(None)) };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .build()
            .map_err(|error| BadEndpoint { endpoint: endpoint.to_owned(), reason: error.to_string() })?;
        Ok(Self::of(Queue::to(exporter, MOST, vitals)))
    }

    fn of(queue: Queue) -> Self {
        Self(Some(Arc::new(queue)))
    }

    /// Begins the gateway's span of a call; `None` when nothing is exported or the caller's trace is not sampled.
    pub fn span(&self, trace: &TraceContext, started: Moment) -> Option<Span> {
        let queue = self.0.clone().filter(|_| trace.flags & 1 == 1)?;
        let attributes = Vec::with_capacity(32);
        Some(Span {
            queue,
            trace: *trace,
            started: started.wall,
            name: "call".into(),
            attributes,
            told: None,
            denied: false,
        })
    }

    /// Sends what is queued. Called once, when the gateway stops.
    pub fn flush(&self) {
        if let Some(queue) = &self.0
            && let Err(error) = queue.flush()
        {
            tracing::warn!(%error, "the last spans could not be exported");
        }
    }
}

/// The gateway's span of one call.
#[derive(Debug)]
pub struct Span {
    queue: Arc<Queue>,
    trace: TraceContext,
    started: SystemTime,
    name: String,
    attributes: Vec<KeyValue>,
    /// What a model says of its answer.
    told: Option<Box<Told>>,
    denied: bool,
}

impl Span {
    /// Adds by what the message, and the conversation that it is of, are known to its caller, whose own spans have the same. What a caller wrote is
    /// not always a name: what is too long is left out. `has_session`: the id of a session is the caller's own, and opens no other's.
    pub(crate) fn said(
        &mut self,
        protocol: Protocol,
        (headers, has_session): (&HeaderMap, bool),
        (message, id): (Option<&Json<'_>>, Option<&str>),
    ) {
        const LONGEST: usize = 256;
        let mut add = |key: &'static str, value: Option<&str>| {
            let value = value.filter(|value| (1..=LONGEST).contains(&value.len()));
            self.attributes.extend(value.map(|value| KeyValue::new(key, value.to_owned())));
        };
        match protocol {
            Protocol::Mcp => {
                let session = headers.get(mcp::SESSION_HEADER).filter(|_| has_session);
                add(names::MCP_SESSION, session.and_then(|session| session.to_str().ok()));
                add(names::MCP_VERSION, mcp::version_named(headers, message));
                add(names::RPC_REQUEST, id.filter(|id| *id != "null").map(|id| id.trim_matches('"')));
            }
            Protocol::A2a => {
                let sent = message.and_then(|message| message.get("params")?.get("message"));
                add(names::CONVERSATION, sent.and_then(|sent| sent.get("contextId")?.as_str()));
            }
            Protocol::Llm | Protocol::Rest => {}
        }
    }

    /// Another provider is asked than the one that was called.
    pub(crate) fn turned_to(&mut self, provider: &LlmProvider, model: &str) {
        let turned = [names::PROVIDER, names::REQUEST_MODEL, names::SERVER_ADDRESS, names::SERVER_PORT];
        self.attributes.retain(|attribute| !turned.contains(&attribute.key.as_str()));
        self.attributes.push(KeyValue::new(names::PROVIDER, provider_name(provider.provider)));
        self.attributes.push(KeyValue::new(names::REQUEST_MODEL, model.to_owned()));
        self.server(&provider.endpoint);
    }

    /// Where it goes, if that is somewhere.
    fn server(&mut self, endpoint: &Endpoint) {
        let Some(host) = endpoint.url.host_str() else { return };
        self.attributes.push(KeyValue::new(names::SERVER_ADDRESS, host.to_owned()));
        let port = endpoint.url.port_or_known_default();
        self.attributes.extend(port.map(|port| KeyValue::new(names::SERVER_PORT, i64::from(port))));
    }

    /// Adds who, what and why.
    pub fn decided(&mut self, decision: &Decision<'_>, id: &str) {
        let call = decision.call();
        self.denied = match decision.outcome() {
            Outcome::Allow | Outcome::AllowWithObligations => false,
            Outcome::Hold | Outcome::Deny => true,
        };
        self.target(call.ask.method, call.ask.target);
        if let Some(endpoint) = call.ask.target.destination().endpoint() {
            self.server(endpoint);
        }
        let mut add = |key: &'static str, value: String| self.attributes.push(KeyValue::new(key, value));
        add(names::CALL, id.to_owned());
        add(names::METHOD, call.ask.method.to_owned());
        add(names::PRINCIPAL, call.principal().entity().to_string());
        add(names::RESOURCE, call.ask.target.entity().to_string());
        add(names::OUTCOME, decision.outcome().as_str().to_owned());
        add(names::POLICIES, decision.policies().join(","));
        add(names::TRANSACTION, call.chain().transaction.to_string());
        if let Some(instance) = call.instance() {
            add(names::INSTANCE, instance.id.to_string());
        }
        if let Some(code) = decision.would_refuse() {
            add(names::WOULD_REFUSE, code.as_str().to_owned());
        }
        if let Some(user) = call.user() {
            add(names::ENDUSER, user.subject.to_string());
        }
    }

    /// What is called. The span's name has only what is registered or a method of the protocol, so that there are not too many.
    fn target(&mut self, method: &str, target: Target<'_>) {
        let mut add =
            |key: &'static str, value: &str| self.attributes.push(KeyValue::new(key, value.to_owned()));
        self.name = match target {
            Target::Tool { name, .. } => {
                add(names::OPERATION, "execute_tool");
                add(names::TOOL_NAME, name);
                add(names::MCP_METHOD, method);
                format!("{method} {name}")
            }
            Target::Prompt { name, .. } => {
                add(names::PROMPT_NAME, name);
                add(names::MCP_METHOD, method);
                format!("{method} {name}")
            }
            Target::Resource { uri, .. } => {
                add(names::MCP_RESOURCE, uri);
                add(names::MCP_METHOD, method);
                method.to_owned()
            }
            Target::Server(_) => {
                add(names::MCP_METHOD, method);
                method.to_owned()
            }
            Target::Agent(agent) | Target::Skill { agent, .. } => {
                let name = agent.id.id.rsplit('/').next().unwrap_or_default();
                add(names::OPERATION, "invoke_agent");
                add(names::AGENT_ID, &agent.id.id);
                add(names::AGENT_NAME, name);
                format!("invoke_agent {name}")
            }
            Target::Provider(provider) => {
                add(names::OPERATION, "list_models");
                add(names::PROVIDER, provider_name(provider.provider));
                "list_models".to_owned()
            }
            Target::Model { provider, name } => {
                let operation = operation_of(method);
                add(names::OPERATION, operation);
                add(names::REQUEST_MODEL, name);
                add(names::PROVIDER, provider_name(provider.provider));
                format!("{operation} {name}")
            }
        };
    }

    /// The place for what a model says of its answer.
    pub(crate) fn told(&mut self) -> &mut Option<Box<Told>> {
        self.told.get_or_insert_default();
        &mut self.told
    }

    /// Adds what the model said of its answer.
    fn tell(&mut self) {
        let Some(Told { id, model, finish_reasons }) = self.told.take().map(|told| *told) else { return };
        for (key, text) in [(names::RESPONSE_ID, id), (names::RESPONSE_MODEL, model)] {
            self.attributes.extend(text.map(|text| KeyValue::new(key, text.into_string())));
        }
        if !finish_reasons.is_empty() {
            let reasons = finish_reasons.into_iter().map(|reason| reason.into_string().into()).collect();
            self.attributes.push(KeyValue::new(names::FINISH_REASONS, Value::Array(Array::String(reasons))));
        }
    }

    /// Adds the tokens that the provider counted, and how long the first one of a streamed answer took.
    pub fn used(&mut self, usage: Usage, first: Option<Duration>) {
        self.tell();
        let first = first.map(|first| KeyValue::new(names::TIME_TO_FIRST_CHUNK, first.as_secs_f64()));
        self.attributes.extend(first);
        for (key, tokens) in [
            (names::INPUT_TOKENS, usage.input),
            (names::OUTPUT_TOKENS, usage.output),
            (names::CACHE_READ_TOKENS, usage.cached),
            (names::CACHE_CREATION_TOKENS, usage.cache_written),
            (names::REASONING_TOKENS, usage.reasoning),
        ] {
            let tokens = tokens.and_then(|tokens| i64::try_from(tokens).ok());
            self.attributes.extend(tokens.map(|tokens| KeyValue::new(key, tokens)));
        }
    }

    /// Ends and queues the span. `code` is the stable code of what failed; `status` what the caller got, 0 for nothing.
    pub fn end(mut self, result: &str, code: Option<&'static str>, status: u16, now: SystemTime) {
        self.attributes.push(KeyValue::new(names::RESULT, result.to_owned()));
        if status > 0 {
            self.attributes.push(KeyValue::new(names::STATUS, i64::from(status)));
        }
        let failed = self.denied || code.is_some() || result != "ok";
        let error = code.unwrap_or(result).to_owned();
        if failed {
            self.attributes.push(KeyValue::new(names::ERROR_TYPE, error.clone()));
        }
        let trace_id = TraceId::from(self.trace.trace_id);
        let flags = TraceFlags::new(self.trace.flags);
        self.queue.push(SpanData {
            span_context: SpanContext::new(
                trace_id,
                SpanId::from(self.trace.span_id),
                flags,
                false,
                TraceState::default(),
            ),
            parent_span_id: SpanId::from(self.trace.parent_id),
            parent_span_is_remote: self.trace.parent_id != 0,
            span_kind: SpanKind::Server,
            name: self.name.into(),
            start_time: self.started,
            end_time: now,
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: if failed { Status::error(error) } else { Status::Ok },
            instrumentation_scope: InstrumentationScope::builder("vidimus-gateway").build(),
        });
    }
}

/// What a method of a model's API does. Counting the tokens of a chat is not a chat; the conventions have no name for it.
pub(crate) fn operation_of(method: &str) -> &'static str {
    match method {
        "models.generate_content" => "generate_content",
        "completions" => "text_completion",
        "embeddings" | "models.embed_content" => "embeddings",
        method if method.ends_with("count_tokens") => "count_tokens",
        _ => "chat",
    }
}

/// By its format: whose server it is nobody told us.
pub(crate) const fn provider_name(provider: ProviderType) -> &'static str {
    match provider {
        ProviderType::Anthropic => "anthropic",
        ProviderType::Gemini => "gcp.gemini",
        ProviderType::Azure => "azure.ai.openai",
        ProviderType::Bedrock => "aws.bedrock",
        ProviderType::OpenAi | ProviderType::OpenAiCompatible => "openai",
    }
}

#[cfg(test)]
mod tests;
