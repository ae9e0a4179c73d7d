//! What tells that the process is whole: that what runs beside the calls still runs, and that what it has to say is heard.
//!
//! Nothing here decides anything. It is counted for metrics, and looked at by the readiness probe: a gateway that decides by an old
//! configuration, or accepts nobody any more, must not look well.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// Before a task begins anew that ended by a panic.
const PAUSE: Duration = Duration::from_millis(10);

/// The signs of life of one process; shared by whoever gives them and whoever looks.
#[derive(Clone, Debug, Default)]
pub struct Vitals(Arc<Signs>);

#[derive(Debug)]
struct Signs {
    begun: Instant,
    log_lines_lost: Counter,
    panics: Counter,
    restarts: Family<Task, Counter>,
    own_spans: Family<Became, Counter>,
    pulses: Mutex<Vec<Arc<Pulse>>>,
    /// Where a test says which task is to panic. There is no such thing in a release.
    #[cfg(debug_assertions)]
    faults: Option<std::path::PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Task {
    task: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Became {
    result: &'static str,
}

/// The last time that a loop came round, in milliseconds since the process began to count.
pub struct Pulse {
    of: String,
    begun: Instant,
    last: AtomicU64,
}

/// A loop that has not come round for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silent {
    /// What it does, as in `accept 127.0.0.1:8080 (worker 0)`.
    pub of: String,
    /// For how long.
    pub since: Duration,
}

impl Default for Signs {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            log_lines_lost: Counter::default(),
            panics: Counter::default(),
            restarts: Family::default(),
            own_spans: Family::default(),
            pulses: Mutex::default(),
            #[cfg(debug_assertions)]
            faults: std::env::var_os("VIDIMUS_TEST_FAULTS").map(Into::into),
        }
    }
}

impl Vitals {
    /// Lines of the log that nobody will read.
    pub fn log_lines_lost(&self) -> &Counter {
        &self.0.log_lines_lost
    }

    /// Panics of any thread, caught or not.
    pub fn panics(&self) -> &Counter {
        &self.0.panics
    }

    pub(crate) fn restarts(&self) -> &Family<Task, Counter> {
        &self.0.restarts
    }

    /// That became of so many spans of the gateway's own.
    pub(crate) fn own_spans(&self, result: &'static str, count: u64) {
        self.0.own_spans.get_or_create(&Became { result }).inc_by(count);
    }

    pub(crate) fn all_own_spans(&self) -> &Family<Became, Counter> {
        &self.0.own_spans
    }

    /// Of how many that became.
    #[cfg(test)]
    pub(crate) fn own_spans_of(&self, result: &'static str) -> u64 {
        self.0.own_spans.get_or_create(&Became { result }).get()
    }

    /// `task` ended by a panic and goes on from its beginning.
    pub fn restarted(&self, task: &'static str) {
        tracing::error!(task, "a task ended by a panic and begins anew");
        self.0.restarts.get_or_create(&Task { task }).inc();
    }

    /// Runs `task` until it ends by itself; where it panics, it begins anew.
    pub async fn again<F: Future<Output = ()>>(&self, name: &'static str, task: impl Fn() -> F) {
        while AssertUnwindSafe(task()).catch_unwind().await.is_err() {
            self.restarted(name);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A loop that lives until the pulse is dropped.
    pub fn pulse(&self, of: String) -> Arc<Pulse> {
        let pulse = Arc::new(Pulse { of, begun: self.0.begun, last: AtomicU64::new(0) });
        pulse.beat();
        self.pulses().push(pulse.clone());
        pulse
    }

    /// The loops that live, each with how long it has been silent.
    pub fn loops(&self) -> Vec<Silent> {
        let mut pulses = self.pulses();
        // Nobody else holds the pulse of a loop that has ended for good.
        pulses.retain(|pulse| Arc::strong_count(pulse) > 1);
        pulses.iter().map(|pulse| Silent { of: pulse.of.clone(), since: pulse.silence() }).collect()
    }

    fn pulses(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Pulse>>> {
        self.0.pulses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a test can have `task` panic: in debug builds, when the environment names a directory (`VIDIMUS_TEST_FAULTS`) and a file
    /// of the task's name is in it. In a release this is nothing.
    #[inline]
    pub fn fault_point(&self, task: &'static str) {
        #[cfg(debug_assertions)]
        if let Some(faults) = &self.0.faults
            && std::fs::remove_file(faults.join(task)).is_ok()
        {
            #[expect(clippy::panic, reason = "a test asked for it, in a debug build")]
            {
                panic!("a test wants {task} to panic");
            }
        }
        #[cfg(not(debug_assertions))]
        let _ = task;
    }
}

impl Pulse {
    /// The loop comes round.
    pub fn beat(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    fn silence(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").field("of", &self.of).field("silence", &self.silence()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_listed_while_it_lives_with_how_long_it_is_silent() {
        let vitals = Vitals::default();
        let (one, two) = (vitals.pulse("one".to_owned()), vitals.pulse("two".to_owned()));
        std::thread::sleep(Duration::from_millis(30));
        two.beat();
        let of: Vec<Silent> = vitals.loops();
        assert_eq!(of.iter().map(|it| it.of.as_str()).collect::<Vec<_>>(), ["one", "two"]);
        assert!(of[0].since >= Duration::from_millis(20) && of[1].since < of[0].since, "{of:?}");
        drop(one);
        assert_eq!(vitals.loops().len(), 1);
    }
}
