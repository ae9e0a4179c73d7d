//! What is kept of a call: one record before the effect, one after, never changed.
//!
//! A record's bytes are canonical JSON (RFC 8785): members sorted, no white space, whole numbers only, which stay below 2^53
//! (section 3.2.2.3). The structs here declare their fields in that order, so that plain serialization is canonical; a test
//! holds them to it.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;

use crate::json::canonical::utf16_order;

/// One leaf of the ledger.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Record<'a> {
    /// What was decided of a call.
    Decision(DecisionRecord<'a>),
    /// What came of a call that was carried out.
    Effect(EffectRecord<'a>),
    /// A call that was refused before it could be decided.
    Refusal(RefusalRecord<'a>),
}

impl Record<'_> {
    /// The call that the record is of.
    pub fn id(&self) -> &str {
        match self {
            Self::Decision(record) => record.id,
            Self::Effect(record) => record.id,
            Self::Refusal(record) => record.id,
        }
    }
}

/// Written before the effect: who, on whose behalf, what, which policy, which attributes, outcome.
#[derive(Clone, Debug, Serialize)]
pub struct DecisionRecord<'a> {
    /// The Cedar action.
    pub action: &'a str,
    /// Digest of the request body, `sha256:` and hex; payloads themselves are not recorded.
    pub body: Cow<'a, str>,
    /// Principals that acted before the caller, oldest first.
    pub chain: Vec<Cow<'a, str>>,
    /// On a denial by default: the permits that come closest to the call.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub closest_permits: &'a [Arc<str>],
    /// Stable code of a denial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'a str>,
    /// The number of the hop, 1 for a call that nobody delegated.
    pub depth: i64,
    /// `name → value` of the attributes that decided, sorted.
    #[serde(serialize_with = "facts")]
    pub facts: &'a [(Arc<str>, Arc<str>)],
    /// The call, by which its records are joined (UUIDv7).
    pub id: &'a str,
    /// Which of the principal's identities was used.
    pub identity: &'a str,
    /// `decision`.
    pub kind: DecisionKind,
    /// The protocol's method, by its newest name.
    pub method: &'a str,
    /// `allow`, `allow-with-obligations`, `hold` or `deny`.
    pub outcome: &'a str,
    /// The policies that decided.
    pub policies: &'a [Arc<str>],
    /// Who called, `Kind/namespace/name`.
    pub principal: Cow<'a, str>,
    /// `mcp`, `a2a` or `llm`.
    pub protocol: &'a str,
    /// Where the agent was to send news of a task, as the caller said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push_url: Option<Cow<'a, str>>,
    /// What was called, `Kind/id`.
    pub resource: Cow<'a, str>,
    /// Digest of the configuration that decided.
    pub snapshot: &'a str,
    /// The address of the caller's connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Cow<'a, str>>,
    /// The task that the call was about, by the destination's own id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Cow<'a, str>>,
    /// RFC 3339 UTC with microseconds.
    pub time: Cow<'a, str>,
    /// W3C trace id and span id of the gateway's span.
    pub trace: Cow<'a, str>,
    /// The id that all calls of one chain share.
    pub transaction: &'a str,
    /// `issuer#subject` of the person on whose behalf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Cow<'a, str>>,
    /// Of the record's schema.
    pub version: u8,
}

/// Written after the effect: what came of it and what it cost.
#[derive(Clone, Debug, Serialize)]
pub struct EffectRecord<'a> {
    /// Bytes of the body that the caller sent.
    pub bytes_in: u64,
    /// Bytes of the body that the caller was answered.
    pub bytes_out: u64,
    /// Stable code when the gateway, not the upstream, ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'a str>,
    /// Index of the decision record in the ledger.
    pub decision: u64,
    /// Why no full answer came, for the operator: at most 256 bytes; of an answer that did not pass, how it begins. Never a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    /// From the whole request to the end of the answer, microseconds.
    pub duration_us: u64,
    pub id: &'a str,
    pub kind: EffectKind,
    /// `ok`, `error` (the protocol's own error), `unknown` (no answer to what was asked, or one that could not be read, so it may be an error), `failed`
    /// (no full answer), `cancelled` (the caller left).
    pub result: &'a str,
    /// HTTP status of the upstream; 0 when there was none.
    pub status: u16,
    /// The first task that the answer named, by the destination's own id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<&'a str>,
    pub time: Cow<'a, str>,
    /// `jti` of the token minted for this hop; absent where the gateway lent a provider's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_input: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_output: Option<u64>,
    pub version: u8,
}

/// The `code` of the one refusal record that stands for many: its message counts them by their own codes. No caller gets it.
pub const NOT_RECORDED: &str = "refusals_not_recorded";

/// Written when a call is refused before it could be decided: no identity, unknown object, bad message.
#[derive(Clone, Debug, Serialize)]
pub struct RefusalRecord<'a> {
    pub code: &'a str,
    /// For the operator; never a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Cow<'a, str>>,
    pub id: &'a str,
    /// What the caller's credential proved, also where that is no registered principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Cow<'a, str>>,
    pub kind: RefusalKind,
    pub message: Cow<'a, str>,
    pub outcome: &'a str,
    /// The path asked for, at most 256 bytes.
    pub path: Cow<'a, str>,
    /// Who called, where that was proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Cow<'a, str>>,
    pub time: Cow<'a, str>,
    pub trace: Cow<'a, str>,
    /// `issuer#subject` of the person on whose behalf, where that was proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Cow<'a, str>>,
    pub version: u8,
}

macro_rules! tag {
    ($name:ident, $text:literal) => {
        /// The constant value of `kind`.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name;
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($text)
            }
        }
    };
}
tag!(DecisionKind, "decision");
tag!(EffectKind, "effect");
tag!(RefusalKind, "refusal");

/// An object of the facts. They come sorted and each once; where they do not, they are made so, because a member that is there
/// twice is not JSON that everybody reads alike.
fn facts<S: serde::Serializer>(facts: &&[(Arc<str>, Arc<str>)], serializer: S) -> Result<S::Ok, S::Error> {
    if facts.is_sorted_by(|(a, _), (b, _)| utf16_order(a, b).is_lt()) {
        return serializer.collect_map(facts.iter().map(|(name, value)| (name, value)));
    }
    let mut sorted: Vec<_> = facts.iter().collect();
    sorted.sort_by(|(a, _), (b, _)| utf16_order(a, b));
    sorted.dedup_by(|(a, _), (b, _)| a == b);
    serializer.collect_map(sorted.into_iter().map(|(name, value)| (name, value)))
}

#[cfg(test)]
mod tests;
