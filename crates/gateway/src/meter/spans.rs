//! What becomes of the spans that agents send.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::{Listed, list};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Became {
    result: &'static str,
}

/// What is counted of spans.
#[derive(Debug, Default)]
pub(crate) struct SpanMeter {
    spans: Family<Became, Counter>,
    bytes: Gauge,
}

impl SpanMeter {
    pub(super) fn register(&self, registry: &mut Listed) {
        registry.add(&list::SPANS, self.spans.clone());
        registry.add(&list::SPAN_BYTES, self.bytes.clone());
    }

    /// That became of so many.
    pub(crate) fn count(&self, result: &'static str, spans: u64) {
        if spans > 0 {
            self.spans.get_or_create(&Became { result }).inc_by(spans);
        }
    }

    /// How much of them is kept.
    pub(crate) fn bytes(&self, bytes: u64) {
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
