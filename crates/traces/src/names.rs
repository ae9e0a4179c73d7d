//! The names of attributes: those that the gateway writes, and those that it reads in the spans of agents. There is no other list.
//!
//! They are of the OpenTelemetry conventions for GenAI and MCP as of v1.41.1, the last version that has all of them (later ones are in
//! <https://github.com/open-telemetry/semantic-conventions-genai>, and begin to rename: ADR 104); the gateway's own begin with `vidimus.`. Agents of
//! older and of other instrumentations are read too: [`Meaning`] has all names of a thing, the newest first.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

macro_rules! names {
    ($($name:ident = $text:literal;)+) => {
        $(#[doc = concat!("`", $text, "`")] pub const $name: &str = $text;)+

        /// All that the gateway writes.
        pub const ALL: &[&str] = &[$($name),+];
    };
}

names! {
    OPERATION = "gen_ai.operation.name";
    AGENT_ID = "gen_ai.agent.id";
    AGENT_NAME = "gen_ai.agent.name";
    CONVERSATION = "gen_ai.conversation.id";
    PROMPT_NAME = "gen_ai.prompt.name";
    PROVIDER = "gen_ai.provider.name";
    REQUEST_MODEL = "gen_ai.request.model";
    FINISH_REASONS = "gen_ai.response.finish_reasons";
    RESPONSE_ID = "gen_ai.response.id";
    RESPONSE_MODEL = "gen_ai.response.model";
    TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk";
    TOOL_NAME = "gen_ai.tool.name";
    INPUT_TOKENS = "gen_ai.usage.input_tokens";
    OUTPUT_TOKENS = "gen_ai.usage.output_tokens";
    CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens";
    CACHE_CREATION_TOKENS = "gen_ai.usage.cache_creation.input_tokens";
    REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens";
    RPC_REQUEST = "jsonrpc.request.id";
    MCP_METHOD = "mcp.method.name";
    MCP_VERSION = "mcp.protocol.version";
    MCP_RESOURCE = "mcp.resource.uri";
    MCP_SESSION = "mcp.session.id";
    CLIENT_ADDRESS = "client.address";
    ENDUSER = "enduser.id";
    ERROR_TYPE = "error.type";
    REQUEST_SIZE = "http.request.body.size";
    RESPONSE_SIZE = "http.response.body.size";
    STATUS = "http.response.status_code";
    SERVER_ADDRESS = "server.address";
    SERVER_PORT = "server.port";
    ACTION = "vidimus.action";
    APPROVAL = "vidimus.approval";
    CALL = "vidimus.call";
    CHAIN = "vidimus.chain";
    DECISION_INDEX = "vidimus.decision.index";
    DEPTH = "vidimus.delegation.depth";
    DETAIL = "vidimus.detail";
    DURATION = "vidimus.duration_us";
    IDENTITY = "vidimus.identity";
    INSTANCE = "vidimus.instance";
    LEDGER_INDEX = "vidimus.ledger.index";
    LEDGER_ORIGIN = "vidimus.ledger.origin";
    MESSAGE = "vidimus.message";
    METHOD = "vidimus.method";
    OUTCOME = "vidimus.outcome";
    PATH = "vidimus.path";
    POLICIES = "vidimus.policies";
    PRINCIPAL = "vidimus.principal";
    PROTOCOL = "vidimus.protocol";
    RECORD_KIND = "vidimus.record.kind";
    RECORD_STUB = "vidimus.record.stub";
    RESOURCE = "vidimus.resource";
    RESULT = "vidimus.result";
    SNAPSHOT = "vidimus.snapshot";
    TASK = "vidimus.task";
    TRANSACTION = "vidimus.transaction";
    WOULD_REFUSE = "vidimus.would_refuse";
}

/// What a span of an agent may say of itself, under any of these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning(&'static [&'static str]);

/// The service that it says it is.
pub const SERVICE: Meaning = Meaning(&["service.name"]);
/// The agent that it says it is of.
pub const AGENT: Meaning = Meaning(&[AGENT_NAME, AGENT_ID, "agent.name"]);
/// The model that it asked.
pub const MODEL: Meaning =
    Meaning(&[REQUEST_MODEL, RESPONSE_MODEL, "llm.model_name", "embedding.model_name"]);
/// The tool that it called.
pub const TOOL: Meaning = Meaning(&[TOOL_NAME, "tool.name"]);
/// What it did: `chat`, `execute_tool`, `invoke_agent`; OpenInference's `LLM`, `TOOL`, `AGENT`.
pub const DOES: Meaning = Meaning(&[OPERATION, "openinference.span.kind"]);
/// Tokens of the question.
pub const TOKENS_IN: Meaning =
    Meaning(&[INPUT_TOKENS, "gen_ai.usage.prompt_tokens", "llm.token_count.prompt"]);
/// Tokens of the answer.
pub const TOKENS_OUT: Meaning =
    Meaning(&[OUTPUT_TOKENS, "gen_ai.usage.completion_tokens", "llm.token_count.completion"]);
/// What went wrong.
pub const ERROR: Meaning = Meaning(&[ERROR_TYPE, "exception.type"]);

impl Meaning {
    fn value(self, attributes: &[KeyValue]) -> Option<&Value> {
        self.0.iter().find_map(|name| {
            let found = attributes.iter().find(|attribute| attribute.key == *name)?;
            found.value.as_ref()?.value.as_ref()
        })
    }

    /// Whether an attribute is one of them.
    pub(crate) fn is(self, attribute: &KeyValue) -> bool {
        self.0.contains(&attribute.key.as_str())
    }

    /// As a text, where it is one.
    pub fn text(self, attributes: &[KeyValue]) -> Option<&str> {
        match self.value(attributes)? {
            Value::StringValue(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// As a number of things, where it is one.
    pub fn count(self, attributes: &[KeyValue]) -> Option<u64> {
        match self.value(attributes)? {
            Value::IntValue(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }
}

/// An attribute that is a text.
pub fn text(key: &str, value: impl Into<String>) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.into())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// An attribute that is a number.
pub fn number(key: &str, value: i64) -> KeyValue {
    let value = AnyValue { value: Some(Value::IntValue(value)) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// Attributes by their names, as texts: lists with commas, what has parts of its own by its parts.
pub fn shown(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let shown =
        attributes.iter().map(|attribute| (attribute.key.clone(), value(attribute.value.as_ref(), 0)));
    shown.collect()
}

fn value(value_: Option<&AnyValue>, depth: usize) -> String {
    // It is read from a message that is nested no deeper than this.
    const DEEPEST: usize = 32;
    let Some(found) = value_.and_then(|value| value.value.as_ref()).filter(|_| depth < DEEPEST) else {
        return String::new();
    };
    match found {
        Value::StringValue(text) => text.clone(),
        Value::BoolValue(is_so) => is_so.to_string(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BytesValue(bytes) => HEXLOWER.encode(bytes),
        Value::ArrayValue(all) => {
            let all = all.values.iter().map(|one| value(Some(one), depth + 1));
            all.collect::<Vec<_>>().join(", ")
        }
        Value::KvlistValue(all) => {
            let all = all.values.iter();
            let all = all.map(|one| format!("{}={}", one.key, value(one.value.as_ref(), depth + 1)));
            all.collect::<Vec<_>>().join(", ")
        }
        // Of profiles alone.
        Value::StringValueStrindex(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_there_once_and_is_of_a_known_namespace() {
        let mut sorted: Vec<_> = ALL.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), ALL.len());
        let known =
            ["gen_ai.", "mcp.", "jsonrpc.", "vidimus.", "http.", "client.", "server.", "enduser.", "error."];
        for name in ALL {
            assert!(known.iter().any(|prefix| name.starts_with(prefix)), "{name}");
        }
    }

    #[test]
    fn the_newest_name_wins_and_older_ones_are_read() {
        let newest = [text("llm.model_name", "old"), text("gen_ai.request.model", "new")];
        assert_eq!(MODEL.text(&newest), Some("new"));
        assert_eq!(MODEL.text(&[text("llm.model_name", "old")]), Some("old"));
        assert_eq!(MODEL.text(&[number("llm.model_name", 1)]), None, "what is no text says nothing");
        assert_eq!(TOKENS_IN.count(&[number("gen_ai.usage.prompt_tokens", 7)]), Some(7));
        assert_eq!(TOKENS_IN.count(&[number("gen_ai.usage.input_tokens", -7)]), None);
    }
}
