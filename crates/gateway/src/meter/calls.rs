//! Of calls that were permitted and have ended: what came of them, and whose the time was that they took.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::exemplar::Traced;
use super::{Listed, Spoken, list};
use crate::protocol::mcp::CALL;
use crate::route::Protocol;

/// What went well, as most does.
const OK: &str = "ok";

/// A method that the conventions do not name, and MCP does not either: a server may ask its client anything.
const OTHER: &str = "_OTHER";

/// The methods of MCP, with what the gateway calls what has none.
const METHODS: [&str; 36] = [
    CALL,
    "tools/list",
    "initialize",
    "notifications/initialized",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "server/discover",
    "subscriptions/listen",
    "completion/complete",
    "logging/setLevel",
    "tasks/get",
    "tasks/result",
    "tasks/list",
    "tasks/update",
    "tasks/cancel",
    "sampling/createMessage",
    "elicitation/create",
    "roots/list",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/message",
    "notifications/roots/list_changed",
    "notifications/tasks/status",
    "notifications/elicitation/complete",
    "notifications/tools/list_changed",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "session/stream",
    "session/end",
    "response",
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Came {
    protocol: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Served {
    mcp_method_name: &'static str,
    error_type: Option<&'static str>,
}

/// One call that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) protocol: Protocol,
    /// The method, where it is one of MCP.
    pub(crate) method: Option<&'static str>,
    pub(crate) result: &'static str,
    /// The code, or the result where it has none; `None` where it went well.
    pub(crate) error: Option<&'static str>,
    /// All the time that it took.
    pub(crate) duration: Duration,
    /// What of it was the gateway's.
    pub(crate) own: Duration,
    /// Its trace, where somebody keeps that.
    pub(crate) trace: Option<u128>,
}

/// A metric of each protocol, which is found without its labels: every call has some.
#[derive(Debug)]
pub(super) struct Each<M> {
    mcp: OnceLock<M>,
    a2a: OnceLock<M>,
    llm: OnceLock<M>,
    rest: OnceLock<M>,
}

impl<M> Default for Each<M> {
    fn default() -> Self {
        Self { mcp: OnceLock::new(), a2a: OnceLock::new(), llm: OnceLock::new(), rest: OnceLock::new() }
    }
}

impl<M> Each<M> {
    /// That of `protocol`, which is `made` where none of it was asked for before.
    pub(super) fn of(&self, protocol: Protocol, made: impl FnOnce() -> M) -> &M {
        let one = match protocol {
            Protocol::Mcp => &self.mcp,
            Protocol::A2a => &self.a2a,
            Protocol::Llm => &self.llm,
            Protocol::Rest => &self.rest,
        };
        one.get_or_init(made)
    }
}

/// What is measured of them.
#[derive(Debug)]
pub(crate) struct CallMeter {
    effects: Family<Came, Counter>,
    duration: Family<Spoken, HistogramWithExemplars<Traced>>,
    own: Family<Spoken, Histogram>,
    /// By the names and buckets of the MCP conventions (v1.41.1).
    served: Family<Served, Histogram>,
    well: Each<Counter>,
    durations: Each<HistogramWithExemplars<Traced>>,
    owns: Each<Histogram>,
    calls_of_tools: OnceLock<Histogram>,
}

impl Default for CallMeter {
    fn default() -> Self {
        const DURATION: [f64; 15] =
            [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
        const OWN: [f64; 14] = [
            0.000_05, 0.000_1, 0.000_2, 0.000_4, 0.000_8, 0.001_5, 0.003, 0.006, 0.012, 0.025, 0.05, 0.1,
            1.0, 10.0,
        ];
        const SERVED: [f64; 14] =
            [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
        Self {
            effects: Family::default(),
            duration: Family::new_with_constructor(|| HistogramWithExemplars::new(DURATION.into_iter())),
            own: Family::new_with_constructor(|| Histogram::new(OWN)),
            served: Family::new_with_constructor(|| Histogram::new(SERVED)),
            well: Each::default(),
            durations: Each::default(),
            owns: Each::default(),
            calls_of_tools: OnceLock::new(),
        }
    }
}

impl CallMeter {
    pub(super) fn register(&self, registry: &mut Listed) {
        registry.add(&list::EFFECTS, self.effects.clone());
        registry.add(&list::DURATION, self.duration.clone());
        registry.add(&list::OWN_DURATION, self.own.clone());
        registry.add(&list::MCP_SERVED, self.served.clone());
    }

    /// A call that went upstream has ended, or one that the gateway answered itself.
    pub(crate) fn ended(&self, call: Ended) {
        let protocol = call.protocol.as_str();
        let came = || self.effects.get_or_create_owned(&Came { protocol, result: call.result });
        if call.result == OK {
            self.well.of(call.protocol, came).inc();
        } else {
            came().inc();
        }
        let (spoken, seconds) = (Spoken { protocol }, call.duration.as_secs_f64());
        let duration = self.durations.of(call.protocol, || self.duration.get_or_create_owned(&spoken));
        duration.observe(seconds, call.trace.map(Traced::of), None);
        let own = self.owns.of(call.protocol, || self.own.get_or_create_owned(&spoken));
        own.observe(call.own.as_secs_f64());
        if let Some(method) = call.method {
            self.served(method, call.error, seconds);
        }
    }

    fn served(&self, method: &'static str, error: Option<&'static str>, seconds: f64) {
        let labels = Served { mcp_method_name: method, error_type: error };
        if method == CALL && error.is_none() {
            let calls = self.calls_of_tools.get_or_init(|| self.served.get_or_create_owned(&labels));
            return calls.observe(seconds);
        }
        self.served.get_or_create(&labels).observe(seconds);
    }
}

/// A method of MCP as a label has it, where `protocol` is that. The set is closed: what a server asks its client is the server's word.
pub(crate) fn method_of(protocol: Protocol, method: &str) -> Option<&'static str> {
    let known = || METHODS.iter().copied().find(|known| *known == method).unwrap_or(OTHER);
    (protocol == Protocol::Mcp).then(known)
}
