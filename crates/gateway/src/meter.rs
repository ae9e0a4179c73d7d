//! Metrics for Prometheus. The list with meanings is [`METRICS`], and `docs/metrics.md` is made of it.

mod attempts;
mod calls;
mod configurations;
mod exemplar;
mod exposition;
mod guards;
mod issuers;
mod limits;
mod list;
mod models;
mod planes;
mod pods;
mod sinks;
mod source;
mod spans;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};
use vidimus_core::refusal::Code;
use vidimus_ledger::Ledger;

use crate::route::Protocol;
use crate::source_state::SourceState;
use crate::vitals::Vitals;
use attempts::AttemptMeter;
use calls::Each;
pub(crate) use calls::{CallMeter, Ended, method_of};
use configurations::ConfigurationMeter;
use guards::GuardMeter;
use issuers::IssuerMeter;
pub(crate) use limits::{Amount, LimitMeter};
pub(crate) use models::{Answered, ModelMeter, OfModel};
pub(crate) use planes::PlaneMeter;
use pods::PodMeter;
use sinks::SinkMeter;
use source::SourceMeter;
pub(crate) use spans::SpanMeter;

pub use exposition::Exposition;
pub use list::{Described, Kind, LABELS, METRICS, OF_CONVENTIONS};

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

/// The registry, which takes nothing that is not on the list.
#[derive(Debug)]
struct Listed(Registry);

impl Listed {
    fn add(&mut self, described: &Described, metric: impl Metric) {
        self.0.register(described.base_name(), described.meaning, metric);
    }
}

/// All that the gateway counts. Labels are from closed sets or from the registry, never from a caller.
#[derive(Debug)]
pub struct Meter {
    registry: Listed,
    decisions: Family<Decided, Counter>,
    allowed: Each<Counter>,
    unrecorded: Family<Coded, Counter>,
    would_refuse: Family<Spoken, Counter>,
    calls: CallMeter,
    models: ModelMeter,
    headers_dropped: Family<Directed, Counter>,
    connections: Gauge,
    connections_refused: Counter,
    streams: Gauge,
    objects: Gauge,
    rejected: Gauge,
    reloads: Counter,
    ledger_open: Gauge,
    configurations: ConfigurationMeter,
    source: SourceMeter,
    ledger_unsynced: Seconds,
    ledger_unsynced_max: Seconds,
    webhooks: Family<Sent, Counter>,
    webhooks_waiting: Gauge,
    witnesses: Family<Asked, Counter>,
    uncosigned: Seconds,
    sinks: SinkMeter,
    spans: SpanMeter,
    planes: PlaneMeter,
    issuers: IssuerMeter,
    pods: PodMeter,
    limits: LimitMeter,
    attempts: AttemptMeter,
    guards: GuardMeter,
}

/// A gauge of seconds.
type Seconds = Gauge<f64, AtomicU64>;

impl Meter {
    /// Counts from nothing. What `vitals` counts is shown with the rest.
    pub fn new(vitals: &Vitals) -> Self {
        let mut meter = Self {
            decisions: Family::default(),
            allowed: Each::default(),
            unrecorded: Family::default(),
            would_refuse: Family::default(),
            calls: CallMeter::default(),
            models: ModelMeter::default(),
            headers_dropped: Family::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            streams: Gauge::default(),
            objects: Gauge::default(),
            rejected: Gauge::default(),
            reloads: Counter::default(),
            ledger_open: Gauge::default(),
            configurations: ConfigurationMeter::default(),
            source: SourceMeter::default(),
            ledger_unsynced: Gauge::default(),
            ledger_unsynced_max: Gauge::default(),
            webhooks: Family::default(),
            webhooks_waiting: Gauge::default(),
            witnesses: Family::default(),
            uncosigned: Gauge::default(),
            sinks: SinkMeter::default(),
            spans: SpanMeter::default(),
            planes: PlaneMeter::default(),
            issuers: IssuerMeter::default(),
            pods: PodMeter::default(),
            limits: LimitMeter::default(),
            attempts: AttemptMeter::default(),
            guards: GuardMeter::default(),
            registry: Listed(Registry::default()),
        };
        let registry = &mut meter.registry;
        registry.add(&list::DECISIONS, meter.decisions.clone());
        registry.add(&list::UNRECORDED, meter.unrecorded.clone());
        registry.add(&list::WOULD_REFUSE, meter.would_refuse.clone());
        meter.limits.register(registry);
        meter.calls.register(registry);
        meter.models.register(registry);
        meter.attempts.register(registry);
        meter.guards.register(registry);
        registry.add(&list::HEADERS_DROPPED, meter.headers_dropped.clone());
        registry.add(&list::CONNECTIONS, meter.connections.clone());
        registry.add(&list::CONNECTIONS_REFUSED, meter.connections_refused.clone());
        registry.add(&list::STREAMS, meter.streams.clone());
        registry.add(&list::OBJECTS, meter.objects.clone());
        registry.add(&list::REJECTED, meter.rejected.clone());
        registry.add(&list::RELOADS, meter.reloads.clone());
        registry.add(&list::LEDGER_OPEN, meter.ledger_open.clone());
        meter.configurations.register(registry);
        meter.source.register(registry);
        meter.issuers.register(registry);
        meter.pods.register(registry);
        registry.add(&list::UNSYNCED, meter.ledger_unsynced.clone());
        registry.add(&list::UNSYNCED_MAX, meter.ledger_unsynced_max.clone());
        registry.add(&list::WEBHOOKS, meter.webhooks.clone());
        registry.add(&list::WEBHOOKS_WAITING, meter.webhooks_waiting.clone());
        registry.add(&list::WITNESS_REQUESTS, meter.witnesses.clone());
        registry.add(&list::UNCOSIGNED, meter.uncosigned.clone());
        meter.sinks.register(registry);
        meter.spans.register(registry);
        meter.planes.register(registry);
        registry.add(&list::OWN_SPANS, vitals.all_own_spans().clone());
        registry.add(&list::TASK_RESTARTS, vitals.restarts().clone());
        registry.add(&list::PANICS, vitals.panics().clone());
        registry.add(&list::LOG_LINES_LOST, vitals.log_lines_lost().clone());
        meter
    }

    /// What is counted of limits that policies declare.
    pub(crate) fn limits(&self) -> &LimitMeter {
        &self.limits
    }

    /// What is counted of calls that several providers may answer.
    pub(crate) fn attempts(&self) -> &AttemptMeter {
        &self.attempts
    }

    /// What is counted of the webhooks that guards ask.
    pub(crate) fn guards(&self) -> &GuardMeter {
        &self.guards
    }

    /// What is counted of data planes and their configuration.
    pub(crate) fn planes(&self) -> &PlaneMeter {
        &self.planes
    }

    /// The issuers whose keys could not be fetched, before it is asked for.
    pub fn unfetched_issuers<'a>(&self, issuers: impl IntoIterator<Item = &'a str>) {
        self.issuers.unfetched(issuers);
    }

    /// Pods of governed namespaces that no record claims, by namespace.
    pub fn pods_unclaimed<'a>(&self, namespaces: impl IntoIterator<Item = (&'a str, usize)>) {
        self.pods.unclaimed(namespaces);
    }

    /// What is counted of the spans that agents send.
    pub(crate) fn spans(&self) -> &SpanMeter {
        &self.spans
    }

    /// What is measured of calls that have ended.
    pub(crate) fn calls(&self) -> &CallMeter {
        &self.calls
    }

    /// What is measured of models.
    pub(crate) fn models(&self) -> &ModelMeter {
        &self.models
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
        let decided = || self.decisions.get_or_create_owned(&labels);
        match (protocol, code) {
            (Some(protocol), None) => self.allowed.of(protocol, decided).inc(),
            _ => decided().inc(),
        };
    }

    /// A refusal that is counted and has no record of its own.
    pub fn unrecorded(&self, code: Code) {
        self.unrecorded.get_or_create(&Coded { code: code.as_str() }).inc();
    }

    /// A call passes that no policy permits, while its namespace observes.
    pub fn would_refuse(&self, protocol: Protocol) {
        self.would_refuse.get_or_create(&Spoken { protocol: protocol.as_str() }).inc();
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

    /// Whether what decides is kept, before it is asked for.
    pub fn configuration_kept(&self, is_kept: bool) {
        self.configurations.kept.set(i64::from(is_kept));
    }

    /// A configuration that decided is not kept, and will not be.
    pub fn configuration_lost(&self) {
        self.configurations.lost.inc();
    }

    /// How old the configuration is ([`crate::Shared::source_age`]), and what it is read from, before it is asked for.
    pub fn source(&self, age: Duration, state: &SourceState) {
        self.source.set(age, state);
    }

    /// The text format of OpenMetrics 1.0, which Prometheus reads.
    pub fn text(&self, ledger: &Ledger) -> String {
        let unsynced = ledger.unsynced();
        self.ledger_open.set(i64::from(ledger.is_open()));
        self.ledger_unsynced.set(unsynced.now.as_secs_f64());
        self.ledger_unsynced_max.set(unsynced.longest.as_secs_f64());
        self.encoded()
    }

    /// The same in the format that a reader asks for.
    pub fn exposed(&self, ledger: &Ledger, exposition: Exposition) -> String {
        exposition.of(self.text(ledger))
    }

    fn encoded(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry.0);
        text
    }
}

#[cfg(test)]
mod tests;
