//! Of the webhooks that guards ask.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::{Listed, list};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    guard: String,
    result: &'static str,
}

/// What is counted of them.
#[derive(Debug, Default)]
pub(crate) struct GuardMeter {
    asked: Family<Asked, Counter>,
}

impl GuardMeter {
    pub(super) fn register(&self, registry: &mut Listed) {
        registry.add(&list::GUARD_REQUESTS, self.asked.clone());
    }

    /// That became of asking the webhook of this guard.
    pub(crate) fn asked(&self, guard: &str, result: &'static str) {
        self.asked.get_or_create(&Asked { guard: guard.to_owned(), result }).inc();
    }
}
