//! Metrics for Prometheus. The list with meanings is `docs/metrics.md`.

mod sinks;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use vidimus_core::refusal::Code;
use vidimus_ledger::Ledger;

use crate::protocol::observe::Usage;
use crate::route::Protocol;
use crate::vitals::Vitals;
use sinks::SinkMeter;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decided {
    protocol: &'static str,
    outcome: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Coded {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    protocol: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Directed {
    direction: &'static str,
}

/// Which way header fields go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Request,
    Answer,
}

impl Direction {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Answer => "answer",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Sent {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    witness: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Spoken {
    protocol: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Counted {
    provider: String,
    model: String,
    direction: &'static str,
}

/// All that the gateway counts. Labels are from closed sets or from the registry, never from a caller.
#[derive(Debug)]
pub struct Meter {
    registry: Registry,
    decisions: Family<Decided, Counter>,
    unrecorded: Family<Coded, Counter>,
    effects: Family<Ended, Counter>,
    duration: Family<Spoken, Histogram>,
    tokens: Family<Counted, Counter>,
    headers_dropped: Family<Directed, Counter>,
    connections: Gauge,
    connections_refused: Counter,
    streams: Gauge,
    objects: Gauge,
    rejected: Gauge,
    reloads: Counter,
    ledger_open: Gauge,
    ledger_unsynced: Seconds,
    ledger_unsynced_max: Seconds,
    webhooks: Family<Sent, Counter>,
    webhooks_waiting: Gauge,
    witnesses: Family<Asked, Counter>,
    uncosigned: Seconds,
    sinks: SinkMeter,
}

/// A gauge of seconds.
type Seconds = Gauge<f64, AtomicU64>;

impl Meter {
    /// Counts from nothing. What `vitals` counts is shown with the rest.
    pub fn new(vitals: &Vitals) -> Self {
        let mut registry = Registry::with_prefix("vidimus");
        let histogram: fn() -> Histogram = || {
            Histogram::new([
                0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
            ])
        };
        let meter = Self {
            decisions: Family::default(),
            unrecorded: Family::default(),
            effects: Family::default(),
            duration: Family::new_with_constructor(histogram),
            tokens: Family::default(),
            headers_dropped: Family::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            streams: Gauge::default(),
            objects: Gauge::default(),
            rejected: Gauge::default(),
            reloads: Counter::default(),
            ledger_open: Gauge::default(),
            ledger_unsynced: Gauge::default(),
            ledger_unsynced_max: Gauge::default(),
            webhooks: Family::default(),
            webhooks_waiting: Gauge::default(),
            witnesses: Family::default(),
            uncosigned: Gauge::default(),
            sinks: SinkMeter::default(),
            registry: Registry::default(),
        };
        registry.register("decisions", "Calls decided or refused, by stable code", meter.decisions.clone());
        registry.register(
            "refusals_not_recorded",
            "Refusals that were counted, not recorded one by one",
            meter.unrecorded.clone(),
        );
        registry.register("effects", "Calls ended, by result", meter.effects.clone());
        registry.register(
            "call_duration_seconds",
            "From the first byte of a call to the last of its answer",
            meter.duration.clone(),
        );
        registry.register("tokens", "Model tokens as counted by the provider", meter.tokens.clone());
        registry.register(
            "headers_dropped",
            "Header fields that did not go on, to an upstream or to a caller",
            meter.headers_dropped.clone(),
        );
        registry.register("connections", "Open client connections", meter.connections.clone());
        registry.register(
            "connections_refused",
            "Connections closed at once, because there was no place for them",
            meter.connections_refused.clone(),
        );
        registry.register("streams", "Answers being passed on now", meter.streams.clone());
        registry.register("registry_objects", "Registered objects that are live", meter.objects.clone());
        registry.register(
            "registry_rejected",
            "Objects left out because they are malformed",
            meter.rejected.clone(),
        );
        registry.register("registry_reloads", "Snapshots taken into use", meter.reloads.clone());
        meter.register_ledger(&mut registry);
        meter.register_webhooks(&mut registry);
        meter.register_witnesses(&mut registry);
        meter.sinks.register(&mut registry);
        registry.register(
            "task_restarts",
            "Tasks beside the calls that ended by a panic and were begun anew",
            vitals.restarts().clone(),
        );
        registry.register("panics", "Panics of any thread, each a fault of Vidimus", vitals.panics().clone());
        registry.register(
            "log_lines_lost",
            "Lines of the log that could not be written, or waited too long to be",
            vitals.log_lines_lost().clone(),
        );
        Self { registry, ..meter }
    }

    /// Shows how the ledger keeps up.
    fn register_ledger(&self, registry: &mut Registry) {
        registry.register(
            "ledger_open",
            "1 while the ledger accepts records, 0 when the gate is closed",
            self.ledger_open.clone(),
        );
        registry.register(
            "ledger_unsynced_seconds",
            "Age of the oldest record that is written and not on disk",
            self.ledger_unsynced.clone(),
        );
        registry.register(
            "ledger_unsynced_max_seconds",
            "The longest from the write of a record to the return of its fsync since the start",
            self.ledger_unsynced_max.clone(),
        );
    }

    /// Shows whether whoever is to be told is told.
    fn register_webhooks(&self, registry: &mut Registry) {
        registry.register("webhooks", "Requests to the webhook, by what came of them", self.webhooks.clone());
        registry.register(
            "webhooks_waiting",
            "Events that the webhook has not taken yet",
            self.webhooks_waiting.clone(),
        );
    }

    /// Shows whether witnesses cosign.
    fn register_witnesses(&self, registry: &mut Registry) {
        registry.register(
            "witness_requests",
            "Checkpoints offered, by witness and what came of it",
            self.witnesses.clone(),
        );
        registry.register(
            "ledger_uncosigned_seconds",
            "How long there has been a checkpoint that not enough witnesses have cosigned",
            self.uncosigned.clone(),
        );
    }

    /// What is counted of sinks.
    pub(crate) fn sinks(&self) -> &SinkMeter {
        &self.sinks
    }

    /// What came of offering a checkpoint to a witness, by its configured name.
    pub(crate) fn witness(&self, witness: &str, result: &'static str) {
        self.witnesses.get_or_create(&Asked { witness: witness.to_owned(), result }).inc();
    }

    /// How often that came of it.
    #[cfg(test)]
    pub(crate) fn witnesses_of(&self, witness: &str, result: &'static str) -> u64 {
        self.witnesses.get_or_create(&Asked { witness: witness.to_owned(), result }).get()
    }

    /// How long there has been a checkpoint that not enough witnesses have cosigned.
    pub(crate) fn uncosigned(&self, age: Duration) {
        self.uncosigned.set(age.as_secs_f64());
    }

    /// What came of telling the webhook of something.
    pub(crate) fn webhook(&self, result: &'static str) {
        self.webhooks.get_or_create(&Sent { result }).inc();
    }

    /// How often that came of it.
    #[cfg(test)]
    pub(crate) fn webhooks_of(&self, result: &'static str) -> u64 {
        self.webhooks.get_or_create(&Sent { result }).get()
    }

    /// How much it is still to be told.
    pub(crate) fn webhooks_waiting(&self, events: usize) {
        self.webhooks_waiting.set(i64::try_from(events).unwrap_or(i64::MAX));
    }

    /// A decision (`code` is `None` when allowed) or a refusal before one.
    pub fn decided(&self, protocol: Option<Protocol>, code: Option<Code>) {
        let labels = Decided {
            protocol: protocol.map_or("none", Protocol::as_str),
            outcome: if code.is_none() { "allow" } else { "deny" },
            code: code.map_or("allowed", Code::as_str),
        };
        self.decisions.get_or_create(&labels).inc();
    }

    /// A refusal that is counted and has no record of its own.
    pub fn unrecorded(&self, code: Code) {
        self.unrecorded.get_or_create(&Coded { code: code.as_str() }).inc();
    }

    /// A call that went upstream has ended.
    pub fn ended(&self, protocol: Protocol, result: &'static str, duration: Duration) {
        self.effects.get_or_create(&Ended { protocol: protocol.as_str(), result }).inc();
        self.duration.get_or_create(&Spoken { protocol: protocol.as_str() }).observe(duration.as_secs_f64());
    }

    /// Tokens of one model call. Both names are registered ones.
    pub fn tokens(&self, provider: &str, model: &str, usage: Usage) {
        for (direction, count) in [("input", usage.input), ("output", usage.output)] {
            if let Some(count) = count {
                let labels = Counted { provider: provider.to_owned(), model: model.to_owned(), direction };
                self.tokens.get_or_create(&labels).inc_by(count);
            }
        }
    }

    /// So many header fields of one request or answer did not go on.
    pub fn headers_dropped(&self, direction: Direction, count: u64) {
        let labels = Directed { direction: direction.as_str() };
        self.headers_dropped.get_or_create(&labels).inc_by(count);
    }

    pub fn connections(&self) -> &Gauge {
        &self.connections
    }

    pub(crate) fn connections_refused(&self) -> &Counter {
        &self.connections_refused
    }

    pub fn streams(&self) -> &Gauge {
        &self.streams
    }

    /// A snapshot was taken into use.
    pub fn reloaded(&self, objects: usize, rejected: usize) {
        self.reloads.inc();
        self.objects.set(i64::try_from(objects).unwrap_or(i64::MAX));
        self.rejected.set(i64::try_from(rejected).unwrap_or(i64::MAX));
    }

    /// The text format of OpenMetrics 1.0, which Prometheus reads.
    pub fn text(&self, ledger: &Ledger) -> String {
        let unsynced = ledger.unsynced();
        self.ledger_open.set(i64::from(ledger.is_open()));
        self.ledger_unsynced.set(unsynced.now.as_secs_f64());
        self.ledger_unsynced_max.set(unsynced.longest.as_secs_f64());
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}
