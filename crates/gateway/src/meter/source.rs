//! What the configuration is read from, and how old it is.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::{Listed, Seconds, list};
use crate::source_state::SourceState;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    source: String,
}

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct SourceMeter {
    age: Seconds,
    kept: Gauge,
    of: Family<Of, Gauge>,
}

impl SourceMeter {
    pub(super) fn register(&self, registry: &mut Listed) {
        registry.add(&list::SOURCE_AGE, self.age.clone());
        registry.add(&list::SOURCE_KEPT, self.kept.clone());
        registry.add(&list::SOURCE, self.of.clone());
    }

    pub(super) fn set(&self, age: Duration, state: &SourceState) {
        self.age.set(age.as_secs_f64());
        self.kept.set(i64::from(state.is_kept()));
        // It is one at a time.
        self.of.clear();
        self.of.get_or_create(&Of { source: state.source.to_string() }).set(1);
    }
}
