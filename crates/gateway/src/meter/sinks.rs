//! Whether records go out.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Seconds;

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
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("sink_records", "Records that a sink has acknowledged", self.records.clone());
        registry.register(
            "sink_requests",
            "Batches sent to a sink, by what came of it",
            self.requests.clone(),
        );
        registry.register("sink_retries", "Batches sent again to a sink", self.retries.clone());
        registry.register(
            "sink_lag_records",
            "Records on disk that a sink has not acknowledged",
            self.lag_records.clone(),
        );
        registry.register(
            "sink_lag_seconds",
            "Age of the oldest record that a sink has not acknowledged",
            self.lag_seconds.clone(),
        );
    }

    /// A batch was acknowledged: so many records were taken, and so many rejected.
    pub(crate) fn records(&self, sink: &str, (sent, rejected): (u64, u64)) {
        for (result, count) in [("sent", sent), ("rejected", rejected)] {
            self.records.get_or_create(&Came { sink: sink.to_owned(), result }).inc_by(count);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_metrics_has_each() {
        let (meter, mut registry) = (SinkMeter::default(), Registry::with_prefix("vidimus"));
        meter.register(&mut registry);
        meter.records("s", (3, 1));
        meter.request("s", "failed");
        meter.retried("s");
        meter.lag("s", 7, Duration::from_millis(1_500));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let page = include_str!("../../../../docs/metrics.md");
        let values = text.lines().filter(|line| !line.starts_with('#'));
        let mut all: Vec<&str> = values.collect();
        all.sort_unstable();
        assert_eq!(
            all,
            [
                "vidimus_sink_lag_records{sink=\"s\"} 7",
                "vidimus_sink_lag_seconds{sink=\"s\"} 1.5",
                "vidimus_sink_records_total{sink=\"s\",result=\"rejected\"} 1",
                "vidimus_sink_records_total{sink=\"s\",result=\"sent\"} 3",
                "vidimus_sink_requests_total{sink=\"s\",result=\"failed\"} 1",
                "vidimus_sink_retries_total{sink=\"s\"} 1",
            ]
        );
        for line in all {
            let name = line.split('{').next().unwrap();
            assert!(page.contains(&format!("| `{name}` |")), "docs/metrics.md does not say {name}");
        }
    }
}
