//! What of a call is measured, and whose time it took: until it goes out and from when its upstream has said all it is the gateway's.

use std::time::{Duration, Instant};

use vidimus_core::clock::Moment;

use super::{Effect, Ending};
use crate::meter::{self, Answered, Ended};
use crate::protocol::observe::Told;
use crate::route::Protocol;

/// Where the time of a call went.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// How long its body was on its way.
    pub arriving: Duration,
    /// When it went out to the upstream.
    out: Option<Instant>,
    /// When the upstream had said all, where that was before the end.
    back: Option<Instant>,
    /// The method, where it is one of MCP, as metrics have it.
    method: Option<&'static str>,
}

impl Course {
    /// Of a call that has gone nowhere yet.
    pub(super) fn of(protocol: Protocol, method: &str) -> Self {
        let method = meter::method_of(protocol, method);
        Self { arriving: Duration::ZERO, out: None, back: None, method }
    }

    /// How long the upstream had the call that ends `now`; `None` where it went to nobody.
    fn away(self, now: Instant) -> Option<Duration> {
        Some(self.back.unwrap_or(now).saturating_duration_since(self.out?))
    }
}

impl Effect {
    /// The request goes out, or may have gone: from here on it counts, whoever leaves.
    pub fn goes_out(&mut self) {
        self.sent = true;
        if self.course.out.is_none() {
            self.course.out = Some(self.shared.clock.monotonic());
        }
    }

    /// The upstream has said all, and what it said is looked at before it passes.
    pub fn heard(&mut self) {
        self.course.back = Some(self.shared.clock.monotonic());
    }

    /// Whether it is to be told what a model says of its answer: the call has a span.
    pub fn is_told(&self) -> bool {
        self.span.is_some() && self.model.is_some()
    }

    /// Has an answer read with the place for what a model says of it, which is nowhere where that is not to be told.
    pub fn telling<T>(&mut self, read: impl FnOnce(&mut Option<Box<Told>>) -> T) -> T {
        let is_told = self.is_told();
        match self.span.as_mut().filter(|_| is_told) {
            Some(span) => read(span.told()),
            None => read(&mut None),
        }
    }

    /// Measures the call, which ended so.
    pub(super) fn measured(&self, ending: Ending, now: Moment, duration: Duration) {
        let (trace, away) = (self.trace, self.course.away(now.monotonic));
        let error = (ending != Ending::Ok).then(|| ending.code().unwrap_or(ending.as_str()));
        self.shared.meter.calls().ended(Ended {
            protocol: self.protocol,
            method: self.course.method,
            result: ending.as_str(),
            error,
            duration,
            own: duration.saturating_sub(self.course.arriving).saturating_sub(away.unwrap_or_default()),
            trace,
        });
        let Some(model) = &self.model else { return };
        let first = self.first_token.filter(|_| ending == Ending::Ok);
        let answered = Answered {
            usage: self.found.usage,
            spend: self.charged.map_or(0, |used| used.spend),
            took: away,
            error,
            pace: first.map(|first| (first, self.each_token(duration))),
            trace,
        };
        self.shared.meter.models().answered(model, answered);
    }
}
