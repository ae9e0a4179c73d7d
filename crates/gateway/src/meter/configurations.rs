//! Whether the configurations that decide are kept.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::{Listed, list};

/// What is counted of them.
#[derive(Debug, Default)]
pub(super) struct ConfigurationMeter {
    pub(super) kept: Gauge,
    pub(super) lost: Counter,
}

impl ConfigurationMeter {
    pub(super) fn register(&self, registry: &mut Listed) {
        registry.add(&list::CONFIGURATION_KEPT, self.kept.clone());
        registry.add(&list::CONFIGURATIONS_LOST, self.lost.clone());
    }
}
