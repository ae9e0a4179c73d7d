//! Of the pods of a cluster, where they are watched.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::{Listed, list};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    namespace: String,
}

/// What is counted of pods.
#[derive(Debug, Default)]
pub(super) struct PodMeter {
    unclaimed: Family<Of, Gauge>,
}

impl PodMeter {
    pub(super) fn register(&self, registry: &mut Listed) {
        registry.add(&list::PODS_UNCLAIMED, self.unclaimed.clone());
    }

    /// So many that no record claims; in other namespaces there are none.
    pub(super) fn unclaimed<'a>(&self, namespaces: impl IntoIterator<Item = (&'a str, usize)>) {
        self.unclaimed.clear();
        for (namespace, pods) in namespaces {
            let of = Of { namespace: namespace.to_owned() };
            self.unclaimed.get_or_create(&of).set(i64::try_from(pods).unwrap_or(i64::MAX));
        }
    }
}
