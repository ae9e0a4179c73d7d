//! How wide a chain has grown: the destinations that an agent with `spec.delegation.maxFanOut` reaches in one transaction.
//!
//! Counted only where it matters, for agents that have the limit and continue a chain; for everybody else it is one branch. The
//! count is this process's own: it is not shared between replicas, and a restart begins anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use vidimus_core::caller::Caller;
use vidimus_core::entity::EntityId;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Principal;

/// What was reached, by whom, in which transaction. Bounded: a full table refuses, it never forgets what is in use.
#[derive(Debug)]
pub struct Reach {
    table: Mutex<Table>,
    /// Entries at once.
    capacity: usize,
    /// An entry that was not asked for so long is gone.
    quiet: Duration,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<Key, Entry>,
    /// When a full table was last searched for entries that are gone.
    swept: Option<Instant>,
}

/// One agent in one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    transaction: Arc<str>,
    agent: Arc<str>,
}

#[derive(Debug)]
struct Entry {
    destinations: HashMap<EntityId, Use>,
    last: Instant,
}

/// How a destination came to be counted.
#[derive(Debug, Default)]
struct Use {
    /// Some call was allowed there: it counts for good.
    allowed: bool,
    /// Calls that are being decided.
    undecided: usize,
}

/// A call's place in the count. When it is dropped and the call was not allowed, the call has not been counted.
#[derive(Debug)]
#[must_use = "dropping it undoes the reservation"]
pub struct Reservation<'a> {
    fan_out: i64,
    held: Option<Held<'a>>,
}

#[derive(Debug)]
struct Held<'a> {
    reach: &'a Reach,
    key: Key,
    destination: EntityId,
}

impl Reach {
    /// A full table is searched at most this often: finding nothing must not be what an attacker makes the gateway do.
    const SWEEP: Duration = Duration::from_secs(1);

    pub fn new(capacity: usize, quiet: Duration) -> Self {
        Self { table: Mutex::default(), capacity, quiet }
    }

    /// Counts `destination` for this caller and transaction before it is decided, so that of two calls at once only one can
    /// be the last that fits. A destination beyond the limit gets no place; the decision denies it.
    ///
    /// # Errors
    /// `overloaded` when the table is full.
    pub fn reserve(
        &self,
        caller: &Caller,
        destination: &EntityId,
        now: Instant,
    ) -> Result<Reservation<'_>, Refusal> {
        let Principal::Agent(agent) = &caller.proven.principal else { return Ok(Reservation::FIRST) };
        let Some(most) = agent.delegation.max_fan_out else { return Ok(Reservation::FIRST) };
        if caller.chain.actors.is_empty() {
            return Ok(Reservation::FIRST);
        }
        let key = Key { transaction: caller.chain.transaction.clone(), agent: agent.id.id.clone() };
        self.place(key, destination, usize::try_from(most).unwrap_or(usize::MAX), now)
    }

    fn place(
        &self,
        key: Key,
        destination: &EntityId,
        most: usize,
        now: Instant,
    ) -> Result<Reservation<'_>, Refusal> {
        let mut table = self.table.lock().map_err(|_| {
            Refusal::new(Code::Internal, "the count of a chain's destinations is in an unknown state")
        })?;
        if table.entries.get(&key).is_some_and(|entry| entry.gone(now, self.quiet)) {
            table.entries.remove(&key);
        }
        if !table.entries.contains_key(&key) {
            self.make_room(&mut table, now)?;
        }
        let entry = table
            .entries
            .entry(key.clone())
            .or_insert_with(|| Entry { destinations: HashMap::new(), last: now });
        entry.last = entry.last.max(now);
        let known = entry.destinations.contains_key(destination);
        if !known && entry.destinations.len() >= most {
            return Ok(Reservation { fan_out: count(entry.destinations.len() + 1), held: None });
        }
        entry.destinations.entry(destination.clone()).or_default().undecided += 1;
        let fan_out = count(entry.destinations.len());
        let held = Held { reach: self, key, destination: destination.clone() };
        Ok(Reservation { fan_out, held: Some(held) })
    }

    fn make_room(&self, table: &mut Table, now: Instant) -> Result<(), Refusal> {
        if table.entries.len() < self.capacity {
            return Ok(());
        }
        let due = table.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= Self::SWEEP);
        if due {
            table.swept = Some(now);
            table.entries.retain(|_, entry| !entry.gone(now, self.quiet));
        }
        if table.entries.len() < self.capacity {
            return Ok(());
        }
        let message = format!("{} chains with a limit on their width are under way", self.capacity);
        Err(Refusal::new(Code::Overloaded, message))
    }
}

impl Entry {
    fn gone(&self, now: Instant, quiet: Duration) -> bool {
        now.saturating_duration_since(self.last) >= quiet
            && self.destinations.values().all(|it| it.undecided == 0)
    }
}

impl Reservation<'_> {
    /// Of a call whose destinations nobody limits.
    const FIRST: Self = Self { fan_out: 1, held: None };

    /// How many distinct destinations there are with this one. 1 where nothing is counted.
    pub fn fan_out(&self) -> i64 {
        self.fan_out
    }

    /// The call was allowed: its destination counts from now on.
    pub fn keep(mut self) {
        self.settle(true);
    }

    fn settle(&mut self, allowed: bool) {
        let Some(held) = self.held.take() else { return };
        // Whoever panicked while holding the table left every later call refused; there is nothing to undo.
        let Ok(mut table) = held.reach.table.lock() else { return };
        let Some(entry) = table.entries.get_mut(&held.key) else { return };
        if let Some(it) = entry.destinations.get_mut(&held.destination) {
            it.undecided = it.undecided.saturating_sub(1);
            it.allowed |= allowed;
            // Another call to the same destination may have been allowed, or may still be.
            if !it.allowed && it.undecided == 0 {
                entry.destinations.remove(&held.destination);
            }
        }
        if entry.destinations.is_empty() {
            table.entries.remove(&held.key);
        }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.settle(false);
    }
}

fn count(destinations: usize) -> i64 {
    i64::try_from(destinations).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
