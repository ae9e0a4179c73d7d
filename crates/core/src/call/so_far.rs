//! What the chain of a call has come to so far: the part of a call that is counted, not told.

use std::sync::Arc;

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

/// What a chain has come to. Counted where a policy or the limit of an agent looks at it; [`SoFar::nothing`] elsewhere, and on calls
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
}

static NOTHING: SoFar = SoFar { fan_out: 1, calls: 1, tokens: 0, spend: 0, labels: Vec::new(), ended: None };

impl SoFar {
    /// Of a call that begins a chain, or that nobody counts.
    pub fn nothing() -> &'static Self {
        &NOTHING
    }

    /// Where a label came from; `None` where the chain does not have it.
    pub fn origin(&self, label: &str) -> Option<&Collected> {
        self.labels.iter().find(|one| *one.label == *label)
    }
}

impl Default for SoFar {
    fn default() -> Self {
        NOTHING.clone()
    }
}
