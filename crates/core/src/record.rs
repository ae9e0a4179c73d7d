//! What is kept of a call: one record before the effect, one after, never changed.
//!
//! A record's bytes are canonical JSON (RFC 8785): members sorted, no white space, whole numbers only, which stay below 2^53
//! (section 3.2.2.3). The structs here declare their fields in that order, so that plain serialization is canonical; a test
//! holds them to it.
//!
//! The gateway writes them out of borrowed parts, and [`Kept::read`] gives them back owned. Their JSON Schema is
//! `docs/record.schema.json` ([`schema`]). A member that is added leaves [`VERSION`] as it is, and readers pass over members that they do
//! not know; one that changes its meaning raises it.

mod attempt;
mod facts;
mod ran;
mod read;
mod waited;

use std::borrow::Cow;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::act::Act;
use crate::caller::Instance;
use crate::decision::Observed;
use crate::keep::KeptPayload;
use crate::obligation::{Changed, Demanded};
use crate::standing::agreed::Place;

pub use attempt::Attempt;
pub use ran::JobRun;
pub use read::{Unreadable, schema};

/// The version of the records that are written.
pub const VERSION: u8 = 1;

/// A number as a record has it: below 2^53, and none that is negative.
pub fn whole(number: i64) -> u64 {
    const MOST: u64 = (1 << 53) - 1;
    u64::try_from(number).unwrap_or_default().min(MOST)
}

/// A record as it is read: it has its parts itself.
pub type Kept = Record<'static>;

/// One leaf of the ledger. Its `kind` says which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, on the stack, on its way to the ledger or from it"
)]
pub enum Record<'a> {
    /// What was decided of a call.
    Decision(DecisionRecord<'a>),
    /// What came of a call that was carried out.
    Effect(EffectRecord<'a>),
    /// A call that was refused before it could be decided.
    Refusal(RefusalRecord<'a>),
    /// What was done to what stands: no call, but what calls are decided by.
    Act(ActRecord<'a>),
}

impl Record<'_> {
    /// The call that the record is of; of an act its own.
    pub fn id(&self) -> &str {
        match self {
            Self::Decision(record) => &record.id,
            Self::Effect(record) => &record.id,
            Self::Refusal(record) => &record.id,
            Self::Act(record) => &record.id,
        }
    }

    /// When it was made: RFC 3339 UTC with microseconds.
    pub fn time(&self) -> &str {
        match self {
            Self::Decision(record) => &record.time,
            Self::Effect(record) => &record.time,
            Self::Refusal(record) => &record.time,
            Self::Act(record) => &record.time,
        }
    }

    /// `decision`, `effect`, `refusal` or `act`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Decision(_) => DecisionKind::TEXT,
            Self::Effect(_) => EffectKind::TEXT,
            Self::Refusal(_) => RefusalKind::TEXT,
            Self::Act(_) => ActKind::TEXT,
        }
    }
}

/// Written before the effect: who, on whose behalf, what, which policy, which attributes, outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DecisionRecord<'a> {
    /// The Cedar action.
    pub action: Cow<'a, str>,
    /// The models of other providers that may answer in place of the one that is called, `Model/namespace/provider/model`. Each was decided as
    /// a call of it; one that may not answer is not among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<String>,
    /// The approval that the call waits for, or is made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Cow<'a, str>>,
    /// Where another enforcement point asked about the call: who that is, `User/issuer#subject`. Whether the call is made, and what comes of it, is
    /// not seen here, so it has no effect on record; what is not `allow` was answered with no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<Cow<'a, str>>,
    /// Digest of the request body, `sha256:` and hex; payloads themselves are not recorded, but for what stands in `kept`.
    pub body: Cow<'a, str>,
    /// Principals that acted before the caller, oldest first.
    pub chain: Vec<Cow<'a, str>>,
    /// On a denial by default, and of what is let pass in place of one: the permits that come closest to the call.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub closest_permits: Cow<'a, [Arc<str>]>,
    /// Stable code of a denial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Cow<'a, str>>,
    /// How many seconds what the configuration is read from was not heard of; absent while the configuration is what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_age: Option<u64>,
    /// Why it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_reason: Option<Cow<'a, str>>,
    /// What it is read from then: `cluster`, `registry` (which watches one), or `kept` where some of it is what was kept on disk since the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_source: Option<Cow<'a, str>>,
    /// The number of the hop, 1 for a call that nobody delegated.
    pub depth: i64,
    /// `name → value` of the attributes that decided, sorted.
    #[serde(with = "facts")]
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    pub facts: Cow<'a, [(Arc<str>, Arc<str>)]>,
    /// The call, by which its records are joined (UUIDv7).
    pub id: Cow<'a, str>,
    /// Which of the principal's identities was used.
    pub identity: Cow<'a, str>,
    /// Which copy of the principal called, where its credential names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Cow<'a, Instance>>,
    /// What the call says, sealed, where a permit has it kept (`@keep`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Cow<'a, KeptPayload>>,
    /// `decision`.
    pub kind: DecisionKind,
    /// The flow labels that a call which is allowed brings to who makes it, and to its chain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub labels: Vec<Arc<str>>,
    /// The protocol's method, by its newest name.
    pub method: Cow<'a, str>,
    /// Of a model that others may answer for (`spec.failover`): the providers that may not, each with why, `namespace/name: why`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_tried: Vec<String>,
    /// What policies demand that is changed of the call or of its answer; of a held call, once it is approved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub obligations: Vec<Demanded>,
    /// What policies that are only tried (`mode: observe`) would have changed, each by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<ObservedOutcome>,
    /// The call in the course of which this one is made, where nobody sent it: what the gateway asks a server, such as what a tool is before people are
    /// asked about a call of it, and what a server asks of its client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_account_of: Option<Cow<'a, str>>,
    /// `allow`, `allow-with-obligations`, `hold` or `deny`.
    #[schemars(extend("enum" = ["allow", "allow-with-obligations", "hold", "deny"]))]
    pub outcome: Cow<'a, str>,
    /// The span of the caller's that this call continues, where it sent a `traceparent`: its span id in hex. It is what the caller says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Cow<'a, str>>,
    /// The policies that decided, `namespace/name`, with `#id` or `~version` where a policy has several.
    #[schemars(with = "Vec<String>")]
    pub policies: Cow<'a, [Arc<str>]>,
    /// Who called, `Kind/namespace/name`.
    pub principal: Cow<'a, str>,
    /// `mcp`, `a2a`, `llm` or `rest`; `authzen` where another enforcement point asked.
    pub protocol: Cow<'a, str>,
    /// Where the agent was to send news of a task, as the caller said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_url: Option<Cow<'a, str>>,
    /// What a call of a model that is allowed costs at most by what its message says, in millionths of the currency unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_spend: Option<u64>,
    /// How many tokens it uses at most by what its message says. Where the call has no effect on record, so many count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_tokens: Option<u64>,
    /// What was called, `Kind/id`.
    pub resource: Cow<'a, str>,
    /// Digest of the configuration that decided.
    pub snapshot: Cow<'a, str>,
    /// The address of the caller's connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Cow<'a, str>>,
    /// The task that the call was about, by the destination's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Cow<'a, str>>,
    /// RFC 3339 UTC with microseconds.
    pub time: Cow<'a, str>,
    /// W3C trace id and span id of the gateway's span.
    pub trace: Cow<'a, str>,
    /// The id that all calls of one chain share.
    pub transaction: Cow<'a, str>,
    /// `issuer#subject` of the person on whose behalf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Cow<'a, str>>,
    /// Of this schema: 1.
    pub version: u8,
    /// The server with members by which the call came, `MCPServer/namespace/name`: `resource` is of one of its members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Cow<'a, str>>,
    /// The code by which the call would be refused if its namespace did not observe until a date (`mode: rollout`): no policy permits it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_refuse: Option<Cow<'a, str>>,
}

impl DecisionRecord<'_> {
    /// Every policy that the record names, one or more times: those that decided, the closest permits, those that demand a change of the call or
    /// of its answer, and those that are only tried.
    pub fn named_policies(&self) -> impl Iterator<Item = &str> {
        let changing = self.obligations.iter().map(|demanded| &*demanded.policy);
        let tried = self.observed.iter().map(|observed| &*observed.policy);
        let named = self.policies.iter().chain(&*self.closest_permits).map(|policy| &**policy);
        named.chain(changing).chain(tried)
    }
}

/// A policy that is only tried, and the outcome that the call would have had if it decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObservedOutcome {
    /// `allow`, `allow-with-obligations`, `hold` or `deny`.
    #[schemars(extend("enum" = ["allow", "allow-with-obligations", "hold", "deny"]))]
    pub outcome: Cow<'static, str>,
    /// The policy, as among those that decided.
    pub policy: Arc<str>,
}

impl ObservedOutcome {
    /// As it is kept.
    pub fn of(observed: &Observed) -> Self {
        Self { outcome: Cow::Borrowed(observed.outcome.as_str()), policy: observed.policy.clone() }
    }
}

/// Written after the effect: what came of it and what it cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EffectRecord<'a> {
    /// Whom it was sent to, in that order, where several providers may answer. The last of them is whose answer counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// Bytes of the body that the caller sent.
    pub bytes_in: u64,
    /// Bytes of the body that the caller was answered.
    pub bytes_out: u64,
    /// How many values were changed as policies demand; which those were stands in the record of the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Changed>,
    /// What a call of a model counts for in its chain, in millionths of the currency unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charged_spend: Option<u64>,
    /// The tokens that it counts for in its chain: as the provider counted them, or where that is not known what is known at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charged_tokens: Option<u64>,
    /// Stable code when the gateway, not the upstream, ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Cow<'a, str>>,
    /// Index of the decision record in the ledger.
    pub decision: u64,
    /// Why no full answer came, for the operator: at most 256 bytes; of an answer that did not pass, how it begins; of one at which guards looked,
    /// what they found; of a key of the gateway's that was refused, whose it is; why a provider that may answer was not asked. Never a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Cow<'a, str>>,
    /// From the whole request to the end of the answer, microseconds.
    pub duration_us: u64,
    /// The call, by which its records are joined (UUIDv7).
    pub id: Cow<'a, str>,
    /// What ran, where the call was to a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Cow<'a, JobRun>>,
    /// What the caller was answered, sealed, where a permit has it kept (`@keep`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Cow<'a, KeptPayload>>,
    /// `effect`.
    pub kind: EffectKind,
    /// `ok`, `error` (the protocol's own error), `unknown` (no answer to what was asked, or one that could not be read, so it may be
    /// an error), `failed` (no full answer), `cancelled` (the caller left).
    #[schemars(extend("enum" = ["ok", "error", "unknown", "failed", "cancelled"]))]
    pub result: Cow<'a, str>,
    /// HTTP status of the upstream; 0 when there was none.
    pub status: u16,
    /// The first task that the answer named, by the destination's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Cow<'a, str>>,
    /// RFC 3339 UTC with microseconds.
    pub time: Cow<'a, str>,
    /// Of a model's answer that was streamed: how long each token took after the first, microseconds, by the provider's count of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_per_output_token_us: Option<u64>,
    /// Of a model's answer that was streamed: from the whole request to the first event with something of the answer, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_first_token_us: Option<u64>,
    /// `jti` of the token minted for this hop; absent where the gateway lent a provider's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Cow<'a, str>>,
    /// Of the tokens of the question, those that the model's provider keeps from now on (a cache write). Some of `tokens_input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_cache_written: Option<u64>,
    /// Tokens of the question, all of them, as the model's provider counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_input: Option<u64>,
    /// Those of them that it read from what it keeps of earlier questions. Some of `tokens_input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_input_cached: Option<u64>,
    /// Tokens of the answer, all of them, as the model's provider counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_output: Option<u64>,
    /// Those of them that the model thought, and nobody got as the answer. Some of `tokens_output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_reasoning: Option<u64>,
    /// Of this schema: 1.
    pub version: u8,
}

/// The `code` of the one refusal record that stands for many: its message counts them by their own codes. No caller gets it.
pub const NOT_RECORDED: &str = "refusals_not_recorded";

/// Written when a call is refused before it could be decided: no identity, unknown object, bad message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusalRecord<'a> {
    /// What was asked for, where policies were asked and the refusal is none of theirs: a person denied the call that they hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Box<AskedFor<'a>>>,
    /// Principals that acted before the caller, oldest first, where its credential proved it. Earlier versions recorded none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<Cow<'a, str>>,
    /// Stable code: docs/codes.md.
    pub code: Cow<'a, str>,
    /// For the operator; never a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Cow<'a, str>>,
    /// The call, by which its records are joined (UUIDv7).
    pub id: Cow<'a, str>,
    /// What the caller's credential proved, also where that is no registered principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Cow<'a, str>>,
    /// Which copy of the principal called, where its credential names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Cow<'a, Instance>>,
    /// `refusal`.
    pub kind: RefusalKind,
    /// What the caller was told, at most 256 characters.
    pub message: Cow<'a, str>,
    /// `deny`.
    #[schemars(extend("const" = "deny"))]
    pub outcome: Cow<'a, str>,
    /// The span of the caller's that this call continues, where it sent a `traceparent`: its span id in hex. It is what the caller says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Cow<'a, str>>,
    /// The path asked for, at most 256 bytes.
    pub path: Cow<'a, str>,
    /// Who called, where that was proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Cow<'a, str>>,
    /// The address of the caller's connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Cow<'a, str>>,
    /// RFC 3339 UTC with microseconds.
    pub time: Cow<'a, str>,
    /// W3C trace id and span id of the gateway's span.
    pub trace: Cow<'a, str>,
    /// `issuer#subject` of the person on whose behalf, where that was proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Cow<'a, str>>,
    /// Of this schema: 1.
    pub version: u8,
}

/// What a call asked for that was refused, as in the record of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AskedFor<'a> {
    /// The Cedar action.
    pub action: Cow<'a, str>,
    /// The approval that the call waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Cow<'a, str>>,
    /// The protocol's method, by its newest name.
    pub method: Cow<'a, str>,
    /// The policies that hold it.
    #[schemars(with = "Vec<String>")]
    pub policies: Cow<'a, [Arc<str>]>,
    /// What was called, `Kind/id`.
    pub resource: Cow<'a, str>,
    /// The id that all calls of one chain share.
    pub transaction: Cow<'a, str>,
}

/// Written before an act takes effect: who did what, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActRecord<'a> {
    /// What was done, with its particulars. It is the first member, by which acts are found among records without reading these.
    pub act: Act,
    /// Who did it: `User/issuer#subject`, or `vidimus` for what the gateway does by itself.
    pub actor: Cow<'a, str>,
    /// Of the act (UUIDv7).
    pub id: Cow<'a, str>,
    /// `act`.
    pub kind: ActKind,
    /// That it only tells something: nothing stands by it and nothing is counted. A program that does not know such an act passes it over, and
    /// refuses to go on where it does not know one that is none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub note: bool,
    /// Where it is among the acts that several gateways agree on, where they share any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<Place>,
    /// RFC 3339 UTC with microseconds.
    pub time: Cow<'a, str>,
    /// Of this schema: 1.
    pub version: u8,
    /// In the words of who did it, at most 1024 bytes.
    pub why: Cow<'a, str>,
}

impl ActRecord<'_> {
    /// The same, of which nothing is borrowed.
    pub fn into_owned(self) -> ActRecord<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        ActRecord {
            act: self.act,
            actor: owned(self.actor),
            id: owned(self.id),
            kind: self.kind,
            note: self.note,
            shared: self.shared,
            time: owned(self.time),
            version: self.version,
            why: owned(self.why),
        }
    }

    /// Whether the bytes of a record are those of an act: its members are sorted, so `act` is the first.
    pub fn is_act(record: &[u8]) -> bool {
        record.starts_with(br#"{"act":"#)
    }
}

macro_rules! tag {
    ($name:ident, $text:literal) => {
        /// The constant value of `kind`.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name;
        impl $name {
            const TEXT: &'static str = $text;
        }
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($text)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let found = Cow::<str>::deserialize(deserializer)?;
                if found == $text {
                    return Ok(Self);
                }
                Err(serde::de::Error::invalid_value(serde::de::Unexpected::Str(&found), &$text))
            }
        }
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"const": $text})
            }
        }
    };
}
tag!(DecisionKind, "decision");
tag!(EffectKind, "effect");
tag!(RefusalKind, "refusal");
tag!(ActKind, "act");

#[cfg(test)]
mod tests;
