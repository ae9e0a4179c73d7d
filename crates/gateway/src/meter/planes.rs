//! What data planes make of their configuration.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::{Listed, list};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Became {
    result: &'static str,
}

/// What is counted of streams of xDS.
#[derive(Debug, Default)]
pub(crate) struct PlaneMeter {
    resources: Family<Became, Counter>,
    streams: Gauge,
}

impl PlaneMeter {
    pub(super) fn register(&self, registry: &mut Listed) {
        registry.add(&list::PLANE_RESOURCES, self.resources.clone());
        registry.add(&list::PLANE_STREAMS, self.streams.clone());
    }

    /// That became of so many.
    pub(crate) fn count(&self, result: &'static str, resources: u64) {
        if resources > 0 {
            self.resources.get_or_create(&Became { result }).inc_by(resources);
        }
    }

    /// One more stream is open; one fewer when it is given back.
    pub(crate) fn streams(&self) -> &Gauge {
        &self.streams
    }
}
