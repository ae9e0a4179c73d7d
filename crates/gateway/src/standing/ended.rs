//! Chains that were ended: none of their calls is permitted any more, and their streams are cut.
//!
//! What is ended stays so, also where there is no room to keep it one by one: nobody has more than its share of that room, and who has
//! used it up has all its chains ended that began until then.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use vidimus_core::caller::{Chain, UnixMillis};
use vidimus_core::entity::EntityId;
use vidimus_core::refusal::{Code, Refusal};

use crate::table::{Divided, Entry};

/// Between two wake-ups of all streams: who ends chains all the time must not keep all of them awake.
const BETWEEN_WAKE_UPS: Duration = Duration::from_millis(20);

/// The ended chains that this gateway knows of. What is here stays, whatever becomes of a shared store.
#[derive(Debug)]
pub struct Ended {
    marks: Mutex<Marks>,
    /// As many as there were ever, so that nobody looks while there is none.
    marked: AtomicUsize,
    /// Streams look whether they go on when this changes.
    wakes: watch::Sender<u64>,
    woken: Mutex<Option<Instant>>,
    will_wake: AtomicBool,
}

#[derive(Debug)]
struct Marks {
    /// By transaction, each of who began the chain.
    chains: Divided<Arc<str>, EntityId, Mark>,
    /// Of whom not every chain could be kept: all that they began until then are ended. Only registered principals begin chains, so there are
    /// no more of these.
    all_of: HashMap<EntityId, AllOf>,
}

#[derive(Debug)]
struct Mark {
    by: Arc<str>,
    started: UnixMillis,
    until: Instant,
}

#[derive(Debug)]
struct AllOf {
    by: Arc<str>,
    /// Those that began then or before.
    began_until: UnixMillis,
    until: Instant,
}

/// A chain that was ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedChain {
    pub transaction: Arc<str>,
    pub began_by: EntityId,
    pub started: UnixMillis,
    /// What ended it.
    pub by: Arc<str>,
}

impl EndedChain {
    /// The chain of a call by `caller`, which something ended.
    pub fn of(chain: &Chain, caller: &EntityId, by: Arc<str>) -> Self {
        let began_by = chain.began_by(caller).clone();
        Self { transaction: chain.transaction.clone(), began_by, started: chain.started, by }
    }
}

impl Entry for Mark {
    fn is_unused(&self, now: Instant) -> bool {
        self.until <= now
    }
}

impl Ended {
    pub fn new(capacity: usize, wakes: watch::Sender<u64>) -> Self {
        Self {
            marks: Mutex::new(Marks { chains: Divided::new(capacity), all_of: HashMap::new() }),
            marked: AtomicUsize::new(0),
            wakes,
            woken: Mutex::new(None),
            will_wake: AtomicBool::new(false),
        }
    }

    /// What ended the chain of a call by `caller`, if something did.
    ///
    /// # Errors
    /// `internal` where that cannot be told.
    pub fn by(&self, chain: &Chain, caller: &EntityId) -> Result<Option<Arc<str>>, Refusal> {
        if self.marked.load(Ordering::Acquire) == 0 {
            return Ok(None);
        }
        let mut marks = self.marks.lock().map_err(|_| unknown())?;
        if let Some(mark) = marks.chains.get_mut(&chain.transaction) {
            return Ok(Some(mark.by.clone()));
        }
        let all = marks.all_of.get(chain.began_by(caller)).filter(|all| chain.started <= all.began_until);
        Ok(all.map(|all| all.by.clone()))
    }

    /// The chain is ended until then. Who was first stays the one who ended it. Whether this is news.
    ///
    /// # Errors
    /// `internal` where that cannot be told.
    pub fn mark(
        self: &Arc<Self>,
        ended: EndedChain,
        (now, until): (Instant, Instant),
    ) -> Result<bool, Refusal> {
        let is_news = self.marks.lock().map_err(|_| unknown())?.add(ended, now, until);
        if is_news {
            self.marked.fetch_add(1, Ordering::Release);
            self.wake();
        }
        Ok(is_news)
    }

    /// Those that are marked, and for how long still each is kept.
    pub fn all(&self, now: Instant) -> Vec<(EndedChain, Duration)> {
        let Ok(marks) = self.marks.lock() else { return Vec::new() };
        let kept = marks.chains.iter().filter(|(.., mark)| mark.until > now);
        let ended = |transaction: &Arc<str>, began_by: &EntityId, mark: &Mark| EndedChain {
            transaction: transaction.clone(),
            began_by: began_by.clone(),
            started: mark.started,
            by: mark.by.clone(),
        };
        kept.map(|(transaction, began_by, mark)| (ended(transaction, began_by, mark), mark.until - now))
            .collect()
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

impl Marks {
    fn add(&mut self, ended: EndedChain, now: Instant, until: Instant) -> bool {
        let EndedChain { transaction, began_by, started, by } = ended;
        let is_news = self.chains.get_mut(&transaction).is_none();
        let new = || Mark { by: by.clone(), started, until };
        if let Ok(mark) = self.chains.entry(transaction, &began_by, now, new) {
            mark.until = mark.until.max(until);
            return is_news;
        }
        self.all_of.retain(|_, all| all.until > now);
        if !self.all_of.contains_key(&began_by) {
            tracing::error!(
                %began_by,
                by = &*by,
                "so many chains of one principal were ended that all which it began until now are"
            );
        }
        let all = self.all_of.entry(began_by).or_insert_with(|| AllOf { by, began_until: started, until });
        let goes_further = all.began_until < started;
        all.began_until = all.began_until.max(started);
        all.until = all.until.max(until);
        is_news || goes_further
    }
}

fn unknown() -> Refusal {
    Refusal::new(Code::Internal, "which chains were ended is in an unknown state")
}
