//! Least privilege from what was used: policies that permit exactly the edges (who, which action, on what) of recorded calls that were let
//! through.

mod cedar;
mod used;
mod yaml;

use std::path::Path;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vidimus_ledger::SearchError;

use crate::replay::{Progress, ReplayQuestion, each_decision, was_allowed};

use self::used::Used;

pub use self::yaml::yaml;

/// Of which recorded calls policies are suggested.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SuggestQuestion {
    /// Who called: an Agent or ServiceIdentity, as in `search`. Everybody where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Not before this time (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
    /// Before this time (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
}

/// What would permit what was used, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SuggestAnswer {
    /// A policy for each principal and each namespace of what it used.
    pub policies: Vec<SuggestedPolicy>,
    /// Principals that used anything.
    pub principals: usize,
    /// Edges that were used.
    pub edges: usize,
    /// Calls that were let through.
    pub calls: u64,
    /// What was used by grants alone, which were for one task: it is not permitted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lent: Vec<LentEdge>,
    /// What of the log could not be read: what was used there is not permitted.
    pub damage: Vec<String>,
}

/// What one principal used by grants, and by no policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LentEdge {
    /// Who.
    pub principal: String,
    /// The Cedar action.
    pub action: String,
    /// What it used.
    pub resource: String,
    /// How often.
    pub calls: u64,
}

/// A policy that is suggested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SuggestedPolicy {
    /// `metadata.namespace`: that of what it governs.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `spec.description`.
    pub description: String,
    /// `spec.cedar`.
    pub cedar: String,
    /// Whom it is for.
    pub principal: String,
    /// What of its edges was used how often.
    pub edges: Vec<UsedEdge>,
}

/// What one principal used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsedEdge {
    /// The Cedar action.
    pub action: String,
    /// What it used.
    pub resource: String,
    /// How often.
    pub calls: u64,
}

/// Suggests policies from the log in `ledger`.
///
/// # Errors
/// When the log cannot be read at all.
pub fn suggest(
    ledger: &Path,
    question: &SuggestQuestion,
    progress: Progress<'_>,
) -> Result<SuggestAnswer, SearchError> {
    let calls = ReplayQuestion {
        principal: question.principal.clone(),
        since: question.since,
        until: question.until,
        ..ReplayQuestion::default()
    };
    let mut damage = Vec::new();
    let all = each_decision(ledger, &calls, progress, &mut damage, |_, record, used: &mut Used, _| {
        if was_allowed(record) {
            used.add(record);
        }
    })?;
    let used = all.into_iter().fold(Used::default(), Used::and);
    Ok(SuggestAnswer { damage, ..used.suggested() })
}

#[cfg(test)]
mod tests;
