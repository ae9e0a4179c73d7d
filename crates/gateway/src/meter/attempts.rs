//! Of calls of models that several providers may answer.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::{Listed, list};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    provider: String,
    result: &'static str,
}

/// What is counted of them.
#[derive(Debug, Default)]
pub(crate) struct AttemptMeter {
    asked: Family<Asked, Counter>,
}

impl AttemptMeter {
    pub(super) fn register(&self, registry: &mut Listed) {
        registry.add(&list::PROVIDER_ATTEMPTS, self.asked.clone());
    }

    /// That became of asking this provider.
    pub(crate) fn asked(&self, provider: &str, result: &'static str) {
        self.asked.get_or_create(&Asked { provider: provider.to_owned(), result }).inc();
    }
}
