//! What is asked of a trace, and what is shown of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceQuestion {
    /// A W3C trace id (32 digits), with or without the id of a span; or the id of a call, or of a transaction, whose traces are shown then.
    pub id: String,
}

/// All that is known of a trace, or of the traces of a transaction.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct ShownTrace {
    /// Their ids.
    pub traces: Vec<String>,
    /// Calls and spans, each behind what it is below, the earliest first.
    pub nodes: Vec<Node>,
    /// How many spans came later by ids that their sender had used already, and said something else: they are not shown.
    pub altered: u64,
    /// How many spans are there beside those that are shown, since they would be too many: the last ones of who has most.
    pub left_out: u64,
    /// How many calls there are beside those that are shown, the first that were met, since they would be too many. One may be counted for each of
    /// its traces.
    pub calls_left_out: u64,
    /// What could not be read: there may be calls and spans there.
    pub damage: Vec<String>,
}

/// A call or a span.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Node {
    /// Below how many others it is.
    pub depth: usize,
    /// Its trace.
    pub trace: String,
    /// The id of the span: of a call, of the gateway's.
    pub span: String,
    /// The span that it says it is below; of a call, as its caller said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// There is no such span here, or it is below itself, so that this stands at the root.
    pub parent_missing: bool,
    /// The method and what was called; of a span, as it says.
    pub name: String,
    /// Who called, or who sent the span, as it was proven; absent where a caller proved nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Which of its identities was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// `issuer#subject` of the person on whose behalf, where that was proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// When it began, in microseconds since 1970. Of a span, by the clock of who sent it.
    pub begins_us: i64,
    /// How long it took, where it has come to an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_us: Option<u64>,
    /// What is on record of it, where it is a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<Recorded>,
    /// What its sender says of it, where it is a span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<Claims>,
}

/// What is on record of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Recorded {
    /// Its id, for `vidimus audit show`.
    pub id: String,
    /// `allow`, `allow-with-obligations`, `hold` or `deny`.
    pub outcome: String,
    /// Why it was refused, or ended by the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The policies that decided.
    pub policies: Vec<String>,
    /// What was called, `Kind/id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The id that all calls of one chain share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// HTTP status of the upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Tokens of the question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_input: Option<u64>,
    /// Tokens of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_output: Option<u64>,
    /// What it counts for in its chain, in millionths of the currency unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charged_spend: Option<u64>,
    /// Of a streamed answer, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_first_token_us: Option<u64>,
    /// Of a streamed answer, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_per_output_token_us: Option<u64>,
}

/// What a span says. None of it is proven.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Claims {
    /// The service that it is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The agent that it is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What was done: `chat`, `execute_tool`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub does: Option<String>,
    /// The model that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The tool that was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Tokens of the question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_input: Option<u64>,
    /// Tokens of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_output: Option<u64>,
    /// `ok`, or what went wrong; absent where it says neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// There are calls in this trace, and who sent it took part in none that was let pass, as far as that is on record.
    pub stranger: bool,
    /// All its attributes, as texts.
    pub attributes: BTreeMap<String, String>,
    /// Those of its resource.
    pub resource: BTreeMap<String, String>,
}
