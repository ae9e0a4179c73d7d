//! Chains that were ended: none of their calls is permitted any more, and their streams are cut.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use vidimus_core::refusal::{Code, Refusal};

use crate::table::{Entry, Table};

/// Between two wake-ups of all streams: who ends chains all the time must not keep all of them awake.
const BETWEEN_WAKE_UPS: Duration = Duration::from_millis(20);

/// The ended chains that this gateway knows of. What is here stays, whatever becomes of a shared store.
#[derive(Debug)]
pub struct Ended {
    chains: Mutex<Table<Arc<str>, Mark>>,
    /// As many as there were ever, so that nobody looks while there is none.
    marked: AtomicUsize,
    /// Streams look whether they go on when this changes.
    wakes: watch::Sender<u64>,
    woken: Mutex<Option<Instant>>,
    will_wake: AtomicBool,
}

#[derive(Debug)]
struct Mark {
    by: Arc<str>,
    until: Instant,
}

impl Entry for Mark {
    fn is_unused(&self, now: Instant) -> bool {
        self.until <= now
    }
}

impl Ended {
    pub fn new(capacity: usize, wakes: watch::Sender<u64>) -> Self {
        Self {
            chains: Mutex::new(Table::new(capacity)),
            marked: AtomicUsize::new(0),
            wakes,
            woken: Mutex::new(None),
            will_wake: AtomicBool::new(false),
        }
    }

    /// What ended a chain, if it was.
    ///
    /// # Errors
    /// `internal` where that cannot be told.
    pub fn by(&self, transaction: &Arc<str>) -> Result<Option<Arc<str>>, Refusal> {
        if self.marked.load(Ordering::Acquire) == 0 {
            return Ok(None);
        }
        let mut chains = self.chains.lock().map_err(|_| unknown())?;
        Ok(chains.get_mut(transaction).map(|mark| mark.by.clone()))
    }

    /// The chain is ended until then. Who was first stays the one who ended it. Whether this is news.
    ///
    /// # Errors
    /// `overloaded` where as many are kept as can be.
    pub fn mark(
        self: &Arc<Self>,
        transaction: &Arc<str>,
        by: Arc<str>,
        (now, until): (Instant, Instant),
    ) -> Result<bool, Refusal> {
        let is_news = {
            let mut chains = self.chains.lock().map_err(|_| unknown())?;
            let is_news = chains.get_mut(transaction).is_none();
            let mark = chains.entry(transaction.clone(), now, || Mark { by, until });
            let mark = mark
                .ok_or_else(|| Refusal::new(Code::Overloaded, "as many ended chains are kept as can be"))?;
            mark.until = mark.until.max(until);
            is_news
        };
        if is_news {
            self.marked.fetch_add(1, Ordering::Release);
            self.wake();
        }
        Ok(is_news)
    }

    /// Those that are marked: the chain, what ended it, and for how long still it is kept.
    pub fn all(&self, now: Instant) -> Vec<(Arc<str>, Arc<str>, Duration)> {
        let Ok(chains) = self.chains.lock() else { return Vec::new() };
        let kept = chains.iter().filter(|(_, mark)| mark.until > now);
        kept.map(|(chain, mark)| (chain.clone(), mark.by.clone(), mark.until - now)).collect()
    }

    /// Has every stream look whether it goes on: now, or soon where that was just so.
    fn wake(self: &Arc<Self>) {
        let now = Instant::now();
        let just_now = |at: Instant| now.saturating_duration_since(at) < BETWEEN_WAKE_UPS;
        let wait = match self.woken.lock() {
            Ok(mut woken) if woken.is_none_or(|at| !just_now(at)) => {
                *woken = Some(now);
                false
            }
            Ok(_) => true,
            Err(_) => false,
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if wait => {
                if !self.will_wake.swap(true, Ordering::AcqRel) {
                    let ended = self.clone();
                    runtime.spawn(async move {
                        tokio::time::sleep(BETWEEN_WAKE_UPS).await;
                        ended.will_wake.store(false, Ordering::Release);
                        ended.wakes.send_modify(|changes| *changes += 1);
                    });
                }
            }
            _ => self.wakes.send_modify(|changes| *changes += 1),
        }
    }
}

fn unknown() -> Refusal {
    Refusal::new(Code::Internal, "which chains were ended is in an unknown state")
}
