//! What the chain of a call has come to so far: the part of a call that is counted, not told.

use std::sync::Arc;

use crate::caller::UnixMillis;
use crate::resource::limit::Measure;

/// A label that a chain, or an agent for a while, has, and the call that brought it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collected {
    /// The label: a plain name, as some object's `labels` have it.
    pub label: Arc<str>,
    /// What was called: `Kind/id`.
    pub from: Arc<str>,
    /// The call, by which its records are found.
    pub call: Arc<str>,
}

/// How a limit stands with a call that counts for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its id: `namespace/policy/name`.
    pub limit: Arc<str>,
    /// What is left with this call, of spend in millionths of the currency unit; less than 0 where the call does not fit.
    pub left: i64,
    /// When a call fits that takes as much, if nothing else is taken; `None` of one that fits, and where none ever does.
    pub again: Option<UnixMillis>,
    /// What it counts, and how much of that calls may take in all; `None` where nobody said.
    pub of: Option<(Measure, i64)>,
}

/// What a chain has come to, and what is left of the limits that the call counts for. Counted where a policy or the limit of an agent looks at it; [`SoFar::nothing`] elsewhere, and on calls
/// that begin a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoFar {
    /// How many distinct destinations the principal reaches in this transaction, with this one.
    pub fan_out: i64,
    /// How many calls were permitted in this transaction, with this one.
    pub calls: i64,
    /// Tokens of the models that were called in this transaction before: as the providers counted them, and for calls under way as they
    /// were estimated.
    pub tokens: i64,
    /// What these tokens cost by the prices of the providers' records, in millionths of the currency unit.
    pub spend: i64,
    /// What the chain has read, sorted by label, each label once.
    pub labels: Vec<Collected>,
    /// What ended the chain: a limit of an agent's record, or a policy. Such a chain makes no call any more.
    pub ended: Option<Arc<str>>,
    /// The limits that the call counts for, once they were asked; sorted by their ids.
    pub limits: Vec<Left>,
}

static NOTHING: SoFar =
    SoFar { fan_out: 1, calls: 1, tokens: 0, spend: 0, labels: Vec::new(), ended: None, limits: Vec::new() };

impl SoFar {
    /// Of a call that begins a chain, or that nobody counts.
    pub fn nothing() -> &'static Self {
        &NOTHING
    }

    /// Where a label came from; `None` where the chain does not have it.
    pub fn origin(&self, label: &str) -> Option<&Collected> {
        self.labels.iter().find(|one| *one.label == *label)
    }

    /// What is left of a limit with the call; `None` where the call does not count for it, or it was not asked.
    pub fn left(&self, limit: &str) -> Option<i64> {
        self.limits.iter().find(|one| *one.limit == *limit).map(|one| one.left)
    }
}

impl Default for SoFar {
    fn default() -> Self {
        NOTHING.clone()
    }
}
