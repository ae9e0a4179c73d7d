//! What ends a stream that does not end by itself.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};
use vidimus_core::refusal::Code;

use super::revocation::Revocation;

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
    /// The end of a stream that has none of its own: that of the caller's credential.
    deadline: Option<Instant>,
    /// Whether a change of the configuration ends it, or of the gateway.
    revocation: Revocation,
}

impl Bounds {
    pub fn new(idle: Duration, deadline: Option<Instant>, revocation: Revocation) -> Self {
        let heard = Instant::now();
        let first = deadline.map_or(heard + idle, |deadline| deadline.min(heard + idle));
        let timer = Box::pin(tokio::time::sleep_until(first));
        Self { idle, heard, timer, deadline, revocation }
    }

    /// A chunk has come. One that comes too late does not pass.
    pub(super) fn heard(&mut self) -> Result<(), Code> {
        self.heard = Instant::now();
        if self.deadline.is_some_and(|deadline| deadline <= self.heard) {
            return Err(Code::TokenExpired);
        }
        self.revocation.ended().map_or(Ok(()), Err)
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
            if self.deadline.is_some_and(|deadline| deadline <= now) {
                return Poll::Ready(Code::TokenExpired);
            }
            if idle_until <= now {
                return Poll::Ready(Code::UpstreamTimeout);
            }
            let next = self.deadline.map_or(idle_until, |deadline| deadline.min(idle_until));
            self.timer.as_mut().reset(next);
        }
    }
}
