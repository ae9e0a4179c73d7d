//! The trace of one call, beside the number that it is an example of.

use std::fmt::{self, Write as _};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

/// It is no label: there is one for each bucket, and the next takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Traced {
    trace_id: TraceId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct TraceId(u128);

impl Traced {
    pub(super) const fn of(trace: u128) -> Self {
        Self { trace_id: TraceId(trace) }
    }
}

impl EncodeLabelValue for TraceId {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        write!(encoder, "{:032x}", self.0)
    }
}
