//! A table in memory that callers can fill: bounded, and swept of what is out of use.
//!
//! It never forgets what is in use: when it is full of that, a new entry is refused. Sweeping looks at every entry, so it happens
//! at most once a second; otherwise a full table would be what an attacker makes the gateway search all the time.

mod divided;

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

pub use divided::Divided;

/// Between two sweeps of a full table.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Entries of a [`Table`] say themselves when they are out of use.
pub trait Entry {
    /// Whether forgetting this entry at `now` changes nothing.
    fn is_unused(&self, now: Instant) -> bool;
}

/// At most `capacity` entries.
#[derive(Debug)]
pub struct Table<K, V> {
    entries: HashMap<K, V, RandomState>,
    capacity: usize,
    swept: Option<Instant>,
}

impl<K: Eq + Hash, V: Entry> Table<K, V> {
    pub fn new(capacity: usize) -> Self {
        Self { entries: HashMap::default(), capacity, swept: None }
    }

    /// The entry of `key`, a new one if there is none that is in use; `None` when the table is full.
    pub fn entry(&mut self, key: K, now: Instant, new: impl FnOnce() -> V) -> Option<&mut V> {
        if self.entries.get(&key).is_some_and(|entry| entry.is_unused(now)) {
            self.entries.remove(&key);
        }
        if !self.entries.contains_key(&key) && !self.has_room(now) {
            return None;
        }
        Some(self.entries.entry(key).or_insert_with(new))
    }

    /// The entry of `key`, if there is one.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    /// All entries, also such as are out of use.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter()
    }

    fn has_room(&mut self, now: Instant) -> bool {
        if self.entries.len() < self.capacity {
            return true;
        }
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_INTERVAL) {
            self.swept = Some(now);
            self.entries.retain(|_, entry| !entry.is_unused(now));
        }
        self.entries.len() < self.capacity
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Entry for Instant {
        fn is_unused(&self, now: Instant) -> bool {
            *self <= now
        }
    }

    #[test]
    fn a_full_table_refuses_and_forgets_only_what_is_out_of_use() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut table = Table::new(2);
        let mut put = |key: u8, now, end| table.entry(key, now, || end).map(|entry| *entry);
        assert_eq!(put(1, start, at(10)), Some(at(10)));
        assert_eq!(put(1, start, at(99)), Some(at(10)), "what is there stays");
        assert_eq!(put(2, start, at(3)), Some(at(3)));
        assert_eq!(put(3, start, at(9)), None, "full");
        assert_eq!(put(3, at(3), at(9)), Some(at(9)), "2 is out of use");
        assert_eq!(put(1, at(10), at(99)), Some(at(99)), "begun anew");
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn a_full_table_is_swept_once_a_second() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut table = Table::new(1);
        assert!(table.entry(1, start, || at(500)).is_some());
        assert!(table.entry(2, start, || at(9_000)).is_none(), "swept in vain");
        assert!(table.entry(2, at(600), || at(9_000)).is_none(), "not again so soon");
        assert!(table.entry(2, at(1_000), || at(9_000)).is_some());
    }
}
