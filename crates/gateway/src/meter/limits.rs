//! Of the limits that policies declare.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use vidimus_core::decision::Decision;
use vidimus_core::refusal::Code;
use vidimus_core::resource::limit::Measure;

use super::models::units;
use super::{Listed, list};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    limit: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LeftTo {
    limit: Arc<str>,
    team: Option<Arc<str>>,
}

/// What is left of a limit, or how much it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) limit: Arc<str>,
    /// Of whose count, where the limit is counted by teams.
    pub(crate) team: Option<Arc<str>>,
    /// What it counts.
    pub(crate) of: Measure,
    /// Of spend in millionths of the currency unit.
    pub(crate) amount: i64,
}

impl Amount {
    fn shown(&self) -> f64 {
        match self.of {
            Measure::Spend => units(self.amount),
            Measure::Requests | Measure::Tokens | Measure::Concurrency => self.amount as f64,
        }
    }
}

/// What is counted of limits.
#[derive(Debug, Default)]
pub(crate) struct LimitMeter {
    refusals: Family<Of, Counter>,
    amount: Family<Of, Gauge<f64, AtomicU64>>,
    left: Family<LeftTo, Gauge<f64, AtomicU64>>,
}

impl LimitMeter {
    pub(super) fn register(&self, registry: &mut Listed) {
        registry.add(&list::LIMIT_REFUSALS, self.refusals.clone());
        registry.add(&list::LIMIT_AMOUNT, self.amount.clone());
        registry.add(&list::LIMIT_LEFT, self.left.clone());
    }

    /// A decision; what has no room for its call is counted.
    pub(crate) fn decided(&self, decision: &Decision<'_>) {
        if decision.code() == Some(Code::LimitExceeded) {
            let limits = decision.call().so_far.limits.iter();
            limits.filter(|one| one.left < 0).for_each(|one| self.refused(&one.limit));
        }
    }

    pub(super) fn refused(&self, limit: &Arc<str>) {
        self.refusals.get_or_create(&Of { limit: limit.clone() }).inc();
    }

    /// What limits are of, and what is left of them, before it is asked for. What is no more declared is not shown any more.
    pub(crate) fn left(&self, all: impl IntoIterator<Item = Amount>, left: impl IntoIterator<Item = Amount>) {
        self.amount.clear();
        for one in all {
            self.amount.get_or_create(&Of { limit: one.limit.clone() }).set(one.shown());
        }
        self.left.clear();
        for one in left {
            let labels = LeftTo { limit: one.limit.clone(), team: one.team.clone() };
            self.left.get_or_create(&labels).set(one.shown());
        }
    }
}
