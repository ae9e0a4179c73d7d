//! A line of the log for each call: who asked for what, and what became of it. For whoever watches; what counts is the record.
//!
//! Under a flood the log is a sample: further calls of a second are counted, and the next line that is written says how many. Callers
//! that proved nobody have a share of their own, so that they crowd nobody out. What is not written costs two loads and an addition.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tracing::{Level, enabled, info};
use vidimus_core::call::Destination;
use vidimus_core::caller::{Proven, User};
use vidimus_core::refusal::Code;

/// The part of the program that `--log` knows it by: `--log info,vidimus::access=off`.
const TARGET: &str = "vidimus::access";
/// Lines a second of callers that proved who they are.
const PROVEN: u64 = 100;
/// Lines a second of those that proved nobody.
const UNPROVEN: u64 = 20;
/// How many bits of a window are its count.
const COUNT_BITS: u32 = 16;

/// Which calls have a line; one for the process.
#[derive(Debug)]
pub struct AccessLog {
    begun: Instant,
    proven: Window,
    unproven: Window,
}

/// The present second since the beginning, and how many lines it has, in one word.
#[derive(Debug, Default)]
struct Window {
    word: AtomicU64,
    left_out: AtomicU64,
}

impl Window {
    /// Whether there is room for one more line; and how many had none since there was.
    fn take(&self, second: u64, most: u64) -> Option<u64> {
        let taken = self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            let (of, count) = (word >> COUNT_BITS, word & ((1 << COUNT_BITS) - 1));
            match of < second {
                true => Some((second << COUNT_BITS) | 1),
                false => (count < most).then_some(word + 1),
            }
        });
        if taken.is_ok() {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// What a line says of a call that was allowed, kept until it ends.
#[derive(Debug)]
pub struct Line {
    caller: Arc<Proven>,
    destination: String,
    method: Box<str>,
    name: Box<str>,
}

/// How an allowed call ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    pub call: &'a str,
    pub result: &'static str,
    pub code: Option<&'static str>,
    pub status: u16,
    pub bytes_out: u64,
    pub duration: Duration,
}

impl AccessLog {
    pub fn new(begun: Instant) -> Self {
        Self { begun, proven: Window::default(), unproven: Window::default() }
    }

    /// The line of an allowed call, where it has one.
    pub fn of_allowed(
        &self,
        caller: &Arc<Proven>,
        destination: &Destination,
        (method, name): (&str, &str),
        now: Instant,
    ) -> Option<Box<Line>> {
        self.has_line(true, now).then(|| {
            let destination = destination.id().to_string();
            Box::new(Line { caller: caller.clone(), destination, method: method.into(), name: name.into() })
        })
    }

    /// Writes the line of a refused call, where it has one. `path` is the caller's, and is written quoted.
    pub fn refused(&self, call: &str, caller: Option<&Proven>, path: &str, code: Code, now: Instant) {
        if !self.has_line(caller.is_some(), now) {
            return;
        }
        let principal = caller.map(|proven| proven.principal.entity().to_string());
        let path: String = path.chars().take(256).collect();
        info!(target: TARGET, call, outcome = "refused", code = code.as_str(), principal, path, "call");
    }

    fn has_line(&self, is_proven: bool, now: Instant) -> bool {
        if !enabled!(target: TARGET, Level::INFO) {
            return false;
        }
        let second = now.saturating_duration_since(self.begun).as_secs();
        let (window, most) = if is_proven { (&self.proven, PROVEN) } else { (&self.unproven, UNPROVEN) };
        let Some(left_out) = window.take(second, most) else { return false };
        if left_out > 0 {
            info!(target: TARGET, left_out, "calls had no line of their own: more came than {most} a second");
        }
        true
    }
}

impl Line {
    /// Writes it. A call whose answer did not come whole is `failed`.
    pub fn write(&self, ended: Ended<'_>) {
        let Ended { call, result, code, status, bytes_out, duration } = ended;
        let outcome = if code.is_some() { "failed" } else { "allowed" };
        let principal = self.caller.principal.entity().to_string();
        let user = self.caller.user.as_ref().map(User::id);
        let ms = duration.as_secs_f64() * 1e3;
        info!(
            target: TARGET,
            call, outcome, result, code, principal, user,
            destination = self.destination, method = &*self.method, name = &*self.name,
            status, bytes_out, ms, "call"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines_and_the_next_says_how_many_had_none() {
        let window = Window::default();
        for (second, expected) in [
            (0, Some(0)),
            (0, Some(0)),
            (0, None),
            (0, None),
            (1, Some(2)),
            // Another thread's older look opens nothing.
            (0, Some(0)),
            (0, None),
            (1, None),
            (9, Some(2)),
            (9, Some(0)),
            (10, Some(0)),
        ] {
            assert_eq!(window.take(second, 2), expected, "{second}");
        }
    }
}
