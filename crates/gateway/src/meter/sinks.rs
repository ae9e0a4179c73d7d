//! Whether records go out.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::{Listed, Seconds, list};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    sink: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Came {
    sink: String,
    result: &'static str,
}

/// What is counted of sinks, by scheme, host and port as they are configured.
#[derive(Debug, Default)]
pub(crate) struct SinkMeter {
    records: Family<Came, Counter>,
    requests: Family<Came, Counter>,
    retries: Family<Named, Counter>,
    lag_records: Family<Named, Gauge>,
    lag_seconds: Family<Named, Seconds>,
}

impl SinkMeter {
    pub(super) fn register(&self, registry: &mut Listed) {
        registry.add(&list::SINK_RECORDS, self.records.clone());
        registry.add(&list::SINK_REQUESTS, self.requests.clone());
        registry.add(&list::SINK_RETRIES, self.retries.clone());
        registry.add(&list::SINK_LAG_RECORDS, self.lag_records.clone());
        registry.add(&list::SINK_LAG_SECONDS, self.lag_seconds.clone());
    }

    /// A batch was acknowledged: so many records were taken, and so many rejected.
    pub(crate) fn records(&self, sink: &str, (sent, rejected): (u64, u64)) {
        for (result, count) in [("sent", sent), ("rejected", rejected)] {
            self.records.get_or_create(&Came { sink: sink.to_owned(), result }).inc_by(count);
        }
    }

    /// Of a record that was not taken, a stub was.
    pub(crate) fn stub(&self, sink: &str) {
        self.records.get_or_create(&Came { sink: sink.to_owned(), result: "stub" }).inc();
    }

    /// What came of sending one: `acknowledged` or `failed`.
    pub(crate) fn request(&self, sink: &str, result: &'static str) {
        self.requests.get_or_create(&Came { sink: sink.to_owned(), result }).inc();
    }

    /// A batch is sent again.
    pub(crate) fn retried(&self, sink: &str) {
        self.retries.get_or_create(&Named { sink: sink.to_owned() }).inc();
    }

    /// How far it is behind.
    pub(crate) fn lag(&self, sink: &str, records: u64, age: Duration) {
        let named = Named { sink: sink.to_owned() };
        self.lag_records.get_or_create(&named).set(i64::try_from(records).unwrap_or(i64::MAX));
        self.lag_seconds.get_or_create(&named).set(age.as_secs_f64());
    }
}
