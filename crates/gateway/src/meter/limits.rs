//! Of the limits that policies declare.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use vidimus_core::decision::Decision;
use vidimus_core::refusal::Code;

use super::{Listed, list};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    limit: String,
}

/// What is counted of limits.
#[derive(Debug, Default)]
pub(crate) struct LimitMeter {
    refusals: Family<Of, Counter>,
}

impl LimitMeter {
    pub(super) fn register(&self, registry: &mut Listed) {
        registry.add(&list::LIMIT_REFUSALS, self.refusals.clone());
    }

    /// A decision; what has no room for its call is counted.
    pub(crate) fn decided(&self, decision: &Decision<'_>) {
        if decision.code() == Some(Code::LimitExceeded) {
            let limits = decision.call().so_far.limits.iter();
            limits.filter(|one| one.left < 0).for_each(|one| self.refused(&one.limit));
        }
    }

    pub(super) fn refused(&self, limit: &str) {
        self.refusals.get_or_create(&Of { limit: limit.to_owned() }).inc();
    }
}
