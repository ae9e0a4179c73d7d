//! Standing state: what outlives a call, and what several replicas of the gateway must agree on.
//!
//! One seam for all of it: the methods of [`StandingState`] are its only operations, and those that ask for something are
//! asynchronous, so that a shared store (Redis, Valkey) can stand behind them. In process now: each gateway has its own, and a
//! restart begins anew. It holds the destinations of chains, and who made which task; replay caches, approvals, grants and
//! quarantines are to come here. Sessions and tasks need no place to be used: their sealed ids carry all that is to be known.
//! Only a list of tasks names ids that the caller did not bring.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use quick_cache::sync::Cache;
use vidimus_core::entity::EntityId;
use vidimus_core::refusal::{Code, Refusal};

use crate::part::Part;
use crate::protocol::mcp::mirrored::MirroredTools;
use crate::table::{Entry, Table};

/// The state, shared by all workers.
#[derive(Debug)]
pub struct StandingState {
    chains: Mutex<Table<ChainKey, Chain>>,
    tasks: Cache<TaskKey, Arc<Part>>,
    /// What servers said of themselves, by the address that said it.
    versions: Cache<Box<str>, Served>,
    mirrored: Cache<Box<str>, Arc<MirroredTools>>,
    capacity: usize,
    /// How long a chain is quiet before it is forgotten.
    quiet: Duration,
}

/// The protocol versions that are served at an address, and until when that is believed.
type Served = (Arc<[&'static str]>, Instant);

/// How many servers' words about themselves are kept.
const SERVERS: usize = 4096;

/// For how long a server is not asked again which versions it serves.
const VERSIONS_LIFE: Duration = Duration::from_secs(600);

/// A task of one holder at one object: the digest of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TaskKey([u8; 32]);

/// One agent in one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChainKey {
    pub transaction: Arc<str>,
    pub agent: Arc<str>,
}

/// The destinations that one agent reaches in one transaction.
#[derive(Debug)]
struct Chain {
    destinations: Vec<(EntityId, Use)>,
    last: Instant,
    quiet: Duration,
}

/// How a destination came to be counted.
#[derive(Debug, Default)]
struct Use {
    /// Some call was permitted there: it counts for good.
    permitted: bool,
    /// Calls that are being decided.
    undecided: usize,
}

impl Entry for Chain {
    fn is_unused(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= self.quiet
            && self.destinations.iter().all(|(_, it)| it.undecided == 0)
    }
}

/// A destination's place in the count of its chain. A claim that is dropped without [`Claim::permitted`] has not been counted.
#[derive(Debug)]
#[must_use = "dropping it gives the place back"]
pub struct Claim {
    /// `None` when the destination is one too many, and so has no place.
    place: Option<(Arc<StandingState>, ChainKey, EntityId)>,
    count: usize,
}

impl StandingState {
    /// Holds at most `chains` chains, each forgotten when it was `quiet` for so long, and the makers of `tasks` tasks, of which the
    /// least used is forgotten first.
    pub fn new(chains: usize, quiet: Duration, tasks: usize) -> Arc<Self> {
        let (chains, capacity) = (Mutex::new(Table::new(chains)), chains);
        let (tasks, versions, mirrored) = (Cache::new(tasks), Cache::new(SERVERS), Cache::new(SERVERS));
        Arc::new(Self { chains, tasks, versions, mirrored, capacity, quiet })
    }

    /// The server at `address` serves these versions.
    pub fn serves(&self, address: &str, versions: &[&'static str], now: Instant) {
        self.versions.insert(address.into(), (versions.into(), now + VERSIONS_LIFE));
    }

    /// Which versions the server at `address` serves, where it was asked not long ago.
    pub fn served(&self, address: &str, now: Instant) -> Option<Arc<[&'static str]>> {
        let (versions, until) = self.versions.get(address)?;
        (now < until).then_some(versions)
    }

    /// The tools of the server at `address` have these arguments in headers.
    pub fn mirrors(&self, address: &str, tools: MirroredTools) {
        self.mirrored.insert(address.into(), Arc::new(tools));
    }

    /// Which arguments the tools of the server at `address` have in headers, as far as its listings told; `None` where none has.
    pub fn mirrored(&self, address: &str) -> Option<Arc<MirroredTools>> {
        self.mirrored.get(address)
    }

    /// A call about `part` made a task.
    pub fn task_made(&self, task: TaskKey, part: Arc<Part>) {
        self.tasks.insert(task, part);
    }

    /// What the call was about that made a task; `None` of one that is forgotten.
    ///
    /// This is asked from within an answer, so it is not asynchronous; a shared store would be read before the answer.
    pub fn maker_of(&self, task: &TaskKey) -> Option<Arc<Part>> {
        self.tasks.get(task)
    }

    /// Counts a destination before the call to it is decided, so that of two calls at once only one can be the last that fits.
    /// One beyond `limit` is told its number and gets no place.
    ///
    /// # Errors
    /// `overloaded` when as many chains as can be held are in use.
    #[expect(clippy::unused_async, reason = "a shared store answers over the network")]
    pub async fn claim(
        self: &Arc<Self>,
        key: ChainKey,
        destination: &EntityId,
        limit: usize,
        now: Instant,
    ) -> Result<Claim, Refusal> {
        let mut chains = self.chains.lock().map_err(|_| {
            Refusal::new(Code::Internal, "the count of a chain's destinations is in an unknown state")
        })?;
        let new = || Chain { destinations: Vec::new(), last: now, quiet: self.quiet };
        let Some(chain) = chains.entry(key.clone(), now, new) else {
            let message = format!("{} chains with a limit on their width are under way", self.capacity);
            return Err(Refusal::new(Code::Overloaded, message));
        };
        chain.last = chain.last.max(now);
        let count = chain.destinations.len();
        let known = chain.destinations.iter_mut().find(|(known, _)| known == destination);
        match known {
            Some((_, it)) => it.undecided += 1,
            None if count >= limit => return Ok(Claim { place: None, count: count + 1 }),
            None => {
                chain.destinations.push((destination.clone(), Use { permitted: false, undecided: 1 }));
            }
        }
        let count = chain.destinations.len();
        Ok(Claim { place: Some((self.clone(), key, destination.clone())), count })
    }

    fn settle(&self, key: &ChainKey, destination: &EntityId, permitted: bool) {
        // Whoever panicked while holding the table left every later call refused; there is nothing to undo.
        let Ok(mut chains) = self.chains.lock() else { return };
        let Some(chain) = chains.get_mut(key) else { return };
        if let Some((_, it)) = chain.destinations.iter_mut().find(|(known, _)| known == destination) {
            it.undecided = it.undecided.saturating_sub(1);
            it.permitted |= permitted;
        }
        // Another call to the same destination may have been permitted, or may still be.
        chain.destinations.retain(|(_, it)| it.permitted || it.undecided > 0);
        if chain.destinations.is_empty() {
            chains.remove(key);
        }
    }
}

impl TaskKey {
    /// The task that an upstream calls `task`. `holder` is who it was made for, at which object.
    pub fn of(holder: &str, task: &str) -> Self {
        let mut context = Context::new(&SHA256);
        // The length keeps the two apart.
        context.update(&holder.len().to_le_bytes());
        context.update(holder.as_bytes());
        context.update(task.as_bytes());
        let mut key = [0; 32];
        key.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
        Self(key)
    }
}

impl Claim {
    /// How many distinct destinations the chain has with this one.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The call was permitted: its destination counts from now on.
    pub fn permitted(&mut self) {
        if let Some((state, key, destination)) = self.place.take() {
            state.settle(&key, &destination, true);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some((state, key, destination)) = self.place.take() {
            state.settle(&key, &destination, false);
        }
    }
}

#[cfg(test)]
mod tests;
