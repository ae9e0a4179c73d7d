//! What ends a stream that does not end by itself: a pause, the end of a credential or of the time that a model may take, a change of what allowed it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};
use vidimus_core::call::Destination;
use vidimus_core::caller::UnixMillis;
use vidimus_core::refusal::{Code, Refusal};

use super::Answering;
use super::revocation::Revocation;
use crate::effect::Effect;
use crate::gate::millis;
use crate::handle::question::InCall;
use crate::trace::TraceContext;

/// What ends a stream that does not end by itself.
#[derive(Debug)]
pub struct Bounds {
    /// The longest pause between two chunks.
    idle: Duration,
    /// When the last chunk came.
    heard: Instant,
    /// Fires at the deadline or when the pause may be too long, whichever is first. It is not reset for each chunk: it looks at
    /// `heard` when it fires.
    timer: Pin<Box<Sleep>>,
    /// When it ends however it goes on, and why: of one that has no end of its own with the caller's credential, of a model's when it has taken as long
    /// as it may.
    deadline: Option<(Instant, Code)>,
    /// Whether a change of the configuration ends it, or of the gateway.
    revocation: Revocation,
}

impl Bounds {
    pub fn new(idle: Duration, deadline: Option<(Instant, Code)>, revocation: Revocation) -> Self {
        let heard = Instant::now();
        let first = deadline.map_or(heard + idle, |(deadline, _)| deadline.min(heard + idle));
        let timer = Box::pin(tokio::time::sleep_until(first));
        Self { idle, heard, timer, deadline, revocation }
    }

    /// A chunk has come. One that comes too late does not pass.
    pub(super) fn heard(&mut self) -> Result<(), Code> {
        self.heard = Instant::now();
        if let Some((_, code)) = self.deadline.filter(|(deadline, _)| *deadline <= self.heard) {
            return Err(code);
        }
        self.revocation.ended().map_or(Ok(()), Err)
    }

    /// The refusal of a stream that ends by this code.
    pub(super) fn refusal(&self, code: Code) -> Refusal {
        let is_over = self.deadline.is_some_and(|(deadline, by)| by == code && deadline <= Instant::now());
        let message = match (code, is_over) {
            (Code::UpstreamTimeout, true) => "the answer took longer than a stream of its provider may",
            _ => "the upstream said nothing more for too long",
        };
        Refusal::new(code, message)
    }

    /// Why what is left of an answer that has come to its end may not pass.
    pub(super) fn cut(&mut self) -> Option<Code> {
        self.revocation.ended().filter(|code| matches!(code, Code::Revoked | Code::ChainEnded))
    }

    /// Why the stream ends now, while nothing comes.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Code> {
        if let Poll::Ready(code) = self.revocation.poll_ended(cx) {
            return Poll::Ready(code);
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let (now, idle_until) = (Instant::now(), self.heard + self.idle);
            if let Some((_, code)) = self.deadline.filter(|(deadline, _)| *deadline <= now) {
                return Poll::Ready(code);
            }
            if idle_until <= now {
                return Poll::Ready(Code::UpstreamTimeout);
            }
            let next = self.deadline.map_or(idle_until, |(deadline, _)| deadline.min(idle_until));
            self.timer.as_mut().reset(next);
        }
    }

    /// The call that it is an answer to, of which a server asks something in its course.
    pub(super) fn in_call(&self, effect: &Effect, trace: TraceContext) -> InCall {
        InCall::of(self.revocation.of(), effect, trace)
    }
}

impl Answering<'_> {
    /// What ends the stream of an answer to a request that came at `since`.
    pub(super) fn bounds(self, since: UnixMillis) -> Bounds {
        let shared = &self.gate.shared;
        let expires = self.caller.proven.expires.filter(|_| self.answer.open_ended);
        let now = Instant::now();
        let of_credential = expires.map(|expires| {
            let left = expires.0.saturating_sub(millis(shared.clock.now().wall).0);
            let left = Duration::from_millis(u64::try_from(left).unwrap_or_default());
            (now + left, Code::TokenExpired)
        });
        let of_model = match self.answers() {
            Destination::Provider(provider) => {
                let most = Duration::from_millis(provider.stream_timeout_ms.into());
                Some((now + most, Code::UpstreamTimeout))
            }
            Destination::Server(_) | Destination::Agent(_) => None,
        };
        let deadline = [of_credential, of_model].into_iter().flatten().min_by_key(|(at, _)| *at);
        let idle = shared.limits.idle_stream;
        let decided = (self.world, since);
        let revocation = Revocation::new(shared.clone(), self.asked, self.caller, self.destination, decided);
        Bounds::new(idle, deadline, revocation)
    }
}
