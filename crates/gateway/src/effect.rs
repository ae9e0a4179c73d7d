//! What came of a call: counted while the answer passes, recorded before its end is passed on.

use std::borrow::Cow;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use vidimus_core::call::Destination;
use vidimus_core::clock::Moment;
use vidimus_core::permit::Permit;
use vidimus_core::record::{EffectKind, EffectRecord, Record};
use vidimus_core::refusal::Code;
use vidimus_ledger::Closed;

use crate::accounts::Reservation;
use crate::answer::Asked;
use crate::gate::{Gate, Shared, rfc3339};
use crate::protocol::handles::FirstTask;
use crate::protocol::observe::{Observation, Usage};
use crate::route::Protocol;
use crate::telemetry::Span;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Ok,
    /// The protocol's own error: an HTTP error status, a JSON-RPC error, a tool that says `isError`.
    Error,
    /// No full answer came.
    Failed(Code),
    /// The caller left before the end.
    Cancelled,
}

impl Ending {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Failed(code) => Some(code.as_str()),
            _ => None,
        }
    }
}

/// An effect that has begun and is not yet recorded.
#[derive(Debug)]
pub struct Effect {
    pub shared: Arc<Shared>,
    protocol: Protocol,
    call: Arc<str>,
    /// Index of the decision's record.
    decision: u64,
    started: Moment,
    /// HTTP status of the upstream; 0 when there was none.
    pub status: u16,
    bytes_in: u64,
    pub bytes_out: u64,
    /// `jti` of the minted token.
    pub token: Option<String>,
    usage: Usage,
    /// The first task that the answer names, where it may name some.
    pub task: Option<FirstTask>,
    /// The answer is the protocol's own error.
    is_error: bool,
    /// Registered provider and model, for the token metric.
    model: Option<(Arc<str>, Arc<str>)>,
    pub span: Option<Span>,
    /// What the call reserved, settled with its end.
    pub reservation: Option<Reservation>,
    /// Handed to the ledger. An effect that is dropped without is recorded as cancelled.
    recorded: bool,
}

/// What an effect begins with, beside its permit.
#[derive(Clone, Copy, Debug)]
pub struct Begun<'a> {
    pub call: &'a Arc<str>,
    pub started: Moment,
    /// Length of the caller's message.
    pub bytes_in: usize,
}

impl Effect {
    /// The effect of a permitted call, which from here on is recorded whatever comes.
    pub fn begin(gate: &Gate, begun: Begun<'_>, permit: &Permit, protocol: Protocol, asked: &Asked) -> Self {
        let model = match permit.destination() {
            Destination::Provider(provider) => {
                provider.model(asked.name()).map(|model| (provider.id.id.clone(), model.name.clone()))
            }
            Destination::Server(_) | Destination::Agent(_) => None,
        };
        Self {
            shared: gate.shared.clone(),
            protocol,
            call: begun.call.clone(),
            decision: permit.index(),
            started: begun.started,
            status: 0,
            bytes_in: begun.bytes_in as u64,
            bytes_out: 0,
            token: None,
            usage: Usage::default(),
            task: None,
            is_error: false,
            model,
            span: None,
            reservation: None,
            recorded: false,
        }
    }

    /// What was found in the answer.
    pub fn observed(&mut self, found: Observation) {
        match found {
            Observation::Usage(usage) => self.usage = usage,
            Observation::RpcError(error) => self.is_error = error,
        }
    }

    /// How a call ended whose answer came whole: an HTTP error status and the protocol's own error are errors.
    pub fn of_whole_answer(&self) -> Ending {
        if self.status >= 400 || self.is_error { Ending::Error } else { Ending::Ok }
    }

    /// Records the effect. Consumes it: an effect is recorded once.
    ///
    /// # Errors
    /// [`Closed`] when the ledger does not take the record.
    pub async fn record(mut self, ending: Ending) -> Result<(), Closed> {
        self.recorded = true;
        let now = self.shared.clock.now();
        let duration = now.monotonic.saturating_duration_since(self.started.monotonic);
        // Before the record is waited for: who waits may leave.
        self.ended(ending, now, duration);
        let written = self.shared.ledger.record(&self.entry(ending, now, duration)).await;
        written.map(|_index| ())
    }

    fn entry(&self, ending: Ending, now: Moment, duration: Duration) -> Record<'_> {
        Record::Effect(EffectRecord {
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            code: ending.code(),
            decision: self.decision,
            duration_us: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            id: &self.call,
            kind: EffectKind,
            result: ending.as_str(),
            status: self.status,
            task: self.task.as_ref().and_then(|task| task.get()).map(|task| &**task),
            time: Cow::Owned(rfc3339(now.wall)),
            token: self.token.as_deref(),
            tokens_input: self.usage.input,
            tokens_output: self.usage.output,
            version: 1,
        })
    }

    fn ended(&mut self, ending: Ending, now: Moment, duration: Duration) {
        if let Some(reservation) = self.reservation.take() {
            reservation.settle(self.usage);
        }
        self.shared.meter.ended(self.protocol, ending.as_str(), duration);
        if let Some((provider, model)) = &self.model {
            self.shared.meter.tokens(provider, model, self.usage);
        }
        if let Some(mut span) = self.span.take() {
            span.used(self.usage);
            span.end(ending.as_str(), ending.code(), self.status, now.wall);
        }
    }
}

impl Drop for Effect {
    /// The caller left before there was an answer to pass on. The call may have had its effect all the same, so that is recorded;
    /// polled once, the ledger keeps the record even if nobody waits for it.
    fn drop(&mut self) {
        if self.recorded {
            return;
        }
        let now = self.shared.clock.now();
        let duration = now.monotonic.saturating_duration_since(self.started.monotonic);
        let entry = self.entry(Ending::Cancelled, now, duration);
        let submitted = pin!(self.shared.ledger.record(&entry)).poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(Err(error)) = submitted {
            tracing::error!(call = %self.call, %error, "a cancelled call could not be recorded");
        }
        self.ended(Ending::Cancelled, now, duration);
    }
}
