//! What an allowing decision demands of whoever carries the call out: that it is changed on its way, or its answer is. A forbid that
//! carries such an annotation refuses the call as it is, and lets it pass as changed (ADR 39).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::Fact;
use crate::guard::{Guard, OnFinding};
use crate::json;
use crate::recorded::ABSENT;

/// What stands in the place of a value that is redacted: JSON text, whatever the value was.
pub const REDACTED: &str = "[redacted]";

/// The segment of a pointer that names every member of an object, and every element of a list.
pub const EVERY: &str = "*";

/// The most pointers that one policy may name in one annotation.
pub const MAX_POINTERS: usize = 16;

/// The longest pointer, in bytes.
pub const MAX_POINTER: usize = 256;

/// One change that a policy demands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Obligation {
    /// What has to be changed.
    pub change: Change,
    /// The id of the policy that demands it.
    pub policy: Arc<str>,
}

/// What has to be changed. Match on it exhaustively: a change that nobody makes must not compile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// `@cap_tokens("1000")`: a model may answer with so many tokens at most.
    CapTokens(u32),
    /// `@redact("/card")`: this value in the arguments of a tool call does not go on.
    RedactArgument(Arc<str>),
    /// `@guard("personal_data") @on_finding("redact")`: what the guard finds in this value does not go on. The value is one of the arguments of a tool
    /// call, or of the message to a model or an agent.
    RedactFound(Arc<str>, Guard),
    /// `@redact_answer("/card")`: this value in what a tool answers does not reach the caller.
    RedactAnswer(Arc<str>),
    /// `@guard_answer("injection")`: a guard looks at what a tool, an agent or a model answers before that reaches the caller.
    GuardAnswer(Guard, OnFinding),
}

impl Change {
    /// The name in records and answers: that of the annotation.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::CapTokens(_) => "cap_tokens",
            Self::RedactArgument(_) | Self::RedactFound(..) => "redact",
            Self::RedactAnswer(_) => "redact_answer",
            Self::GuardAnswer(..) => "guard_answer",
        }
    }

    /// What the annotation says: a pointer, a number, or a guard, with what `@on_finding` says.
    pub fn value(&self) -> Cow<'_, str> {
        match self {
            Self::CapTokens(tokens) => Cow::Owned(tokens.to_string()),
            Self::RedactArgument(pointer) | Self::RedactFound(pointer, _) | Self::RedactAnswer(pointer) => {
                Cow::Borrowed(pointer)
            }
            Self::GuardAnswer(guard, OnFinding::Refuse) => Cow::Borrowed(guard.as_str()),
            Self::GuardAnswer(guard, OnFinding::Redact) => Cow::Owned(format!("{} redact", guard.as_str())),
            Self::GuardAnswer(guard, OnFinding::Record) => Cow::Owned(format!("{} record", guard.as_str())),
        }
    }

    /// Whether it is made to what the call sends, and not to its answer.
    pub const fn is_of_request(&self) -> bool {
        !matches!(self, Self::RedactAnswer(_) | Self::GuardAnswer(..))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}(\"{}\")", self.as_str(), self.value())
    }
}

/// What policies may keep from a caller of what a server answers, where nobody knows what it is an answer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptBack {
    /// Something may be redacted of it (`@redact_answer`).
    pub redacts: bool,
    /// The guards that may have to look at it (`@guard_answer`), sorted, with what becomes of that in which they find something.
    pub guards: Vec<(Guard, OnFinding)>,
}

/// A change that a policy demands, as it stands in records and answers. Where a value is, never what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Demanded {
    /// `redact` (an argument, or a value of the message to a model or an agent), `redact_answer`, `cap_tokens` or `guard_answer`.
    #[schemars(extend("enum" = ["redact", "redact_answer", "cap_tokens", "guard_answer"]))]
    pub change: Cow<'static, str>,
    /// The policy that demands it.
    pub policy: Arc<str>,
    /// The JSON pointer of the value, the number of tokens, or the guard.
    pub value: String,
}

impl Demanded {
    /// As it is kept.
    pub fn of(obligation: &Obligation) -> Self {
        let Obligation { change, policy } = obligation;
        Self {
            change: Cow::Borrowed(change.as_str()),
            policy: policy.clone(),
            value: change.value().into_owned(),
        }
    }
}

/// How many values of a call were changed, as its effect's record says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    /// Limits on the tokens of an answer that were lowered or added.
    #[serde(default, skip_serializing_if = "is_none")]
    pub cap_tokens: u64,
    /// Values of the answer in which a guard found something.
    #[serde(default, skip_serializing_if = "is_none")]
    pub guard_answer: u64,
    /// Values of the arguments, or of the message to a model or an agent, that did not go on as they were.
    #[serde(default, skip_serializing_if = "is_none")]
    pub redact: u64,
    /// Values of the answer that did not reach the caller.
    #[serde(default, skip_serializing_if = "is_none")]
    pub redact_answer: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls it with")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Facts in which no argument is that is redacted, nor anything in it.
pub(crate) fn without_redacted(facts: Arc<[Fact]>, demands: &[Obligation]) -> Arc<[Fact]> {
    let pointers = || {
        demands.iter().filter_map(|one| match &one.change {
            Change::RedactArgument(pointer) | Change::RedactFound(pointer, _) => Some(&**pointer),
            Change::CapTokens(_) | Change::RedactAnswer(_) | Change::GuardAnswer(..) => None,
        })
    };
    let is_hidden = |(name, value): &Fact| {
        let looked_at = argument(name).filter(|_| **value != *ABSENT);
        looked_at.is_some_and(|at| pointers().any(|pointer| covers(pointer, &at)))
    };
    if !facts.iter().any(is_hidden) {
        return facts;
    }
    let hidden = |fact: &Fact| if is_hidden(fact) { (fact.0.clone(), REDACTED.into()) } else { fact.clone() };
    facts.iter().map(hidden).collect()
}

/// The pointer of the argument that a fact is about.
fn argument(fact: &str) -> Option<String> {
    let rest = fact.strip_prefix("context.args[").or_else(|| fact.strip_prefix("context.numbers["))?;
    serde_json::from_str(rest.strip_suffix(']')?).ok().or_else(|| Some(String::new()))
}

/// Whether a value at `at` is, holds, or is in what a pointer redacts. A fact whose pointer is not understood is taken to be.
fn covers(pointer: &str, at: &str) -> bool {
    let (Some(redacted), Some(looked_at)) = (json::segments(pointer), json::segments(at)) else {
        return true;
    };
    redacted.zip(looked_at).all(|(name, at)| is_named(&at, &name))
}

/// Whether a member or a place is one that a segment of a pointer names: `*` names all, and case does not count, since it does not to
/// some readers.
pub fn is_named(key: &str, segment: &str) -> bool {
    segment == EVERY || json::same_key(key, segment)
}

/// Of several demands each once, sorted.
pub(crate) fn united<'o>(some: impl Iterator<Item = &'o Obligation>) -> Arc<[Obligation]> {
    let mut all: Vec<Obligation> = some.cloned().collect();
    all.sort_unstable();
    all.dedup();
    all.into()
}
