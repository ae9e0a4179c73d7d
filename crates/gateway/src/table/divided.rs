//! A table that is divided between those who fill it: nobody has more entries than are left for everybody else, as of what is shared
//! by a [`crate::fair_share::Pool`].

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Instant;

use foldhash::fast::RandomState;

use super::{Entry, SWEEP_INTERVAL};
use crate::fair_share::{Denied, one_more};

/// At most `capacity` entries, each of somebody: its holder.
#[derive(Debug)]
pub struct Divided<K, H, V> {
    entries: HashMap<K, (H, V), RandomState>,
    /// How many entries each holder has; who has none is not here.
    held: HashMap<H, usize, RandomState>,
    capacity: usize,
    swept: Option<Instant>,
}

impl<K: Eq + Hash, H: Clone + Eq + Hash, V: Entry> Divided<K, H, V> {
    pub fn new(capacity: usize) -> Self {
        Self { entries: HashMap::default(), held: HashMap::default(), capacity, swept: None }
    }

    /// The entry of `key`, a new one of `holder` if there is none that is in use.
    ///
    /// # Errors
    /// See [`Denied`]: where a new one is needed and there is no room for it.
    pub fn entry(
        &mut self,
        key: K,
        holder: &H,
        now: Instant,
        new: impl FnOnce() -> V,
    ) -> Result<&mut V, Denied> {
        if self.entries.get(&key).is_some_and(|(_, entry)| entry.is_unused(now)) {
            self.remove(&key);
        }
        if !self.entries.contains_key(&key) {
            if let Err(denied) = self.room_for(holder) {
                if !self.sweep(now) {
                    return Err(denied);
                }
                self.room_for(holder)?;
            }
            *self.held.entry(holder.clone()).or_default() += 1;
        }
        Ok(&mut self.entries.entry(key).or_insert_with(|| (holder.clone(), new())).1)
    }

    /// The entry of `key`, if there is one.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, entry)| entry)
    }

    /// All entries with their holders, also such as are out of use.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &H, &V)> {
        self.entries.iter().map(|(key, (holder, entry))| (key, holder, entry))
    }

    /// Forgets the entry of `key`.
    pub fn remove(&mut self, key: &K) {
        if let Some((holder, _)) = self.entries.remove(key) {
            give_back(&mut self.held, &holder);
        }
    }

    fn room_for(&self, holder: &H) -> Result<(), Denied> {
        let held = self.held.get(holder).copied().unwrap_or_default();
        one_more(self.capacity, self.entries.len(), held)
    }

    /// Forgets what is out of use, at most once a second; whether it looked.
    fn sweep(&mut self, now: Instant) -> bool {
        if self.swept.is_some_and(|swept| now.saturating_duration_since(swept) < SWEEP_INTERVAL) {
            return false;
        }
        self.swept = Some(now);
        let held = &mut self.held;
        self.entries.retain(|_, (holder, entry)| {
            let stays = !entry.is_unused(now);
            if !stays {
                give_back(held, holder);
            }
            stays
        });
        true
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

fn give_back<H: Eq + Hash>(held: &mut HashMap<H, usize, RandomState>, holder: &H) {
    if let Some(count) = held.get_mut(holder) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            held.remove(holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn nobody_has_more_than_is_left_for_the_others_and_what_is_out_of_use_counts_for_nobody() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut table = Divided::new(100);
        let fill = |table: &mut Divided<(char, u32), char, Instant>, holder: char, now| {
            let end = now + Duration::from_secs(60);
            (0..100).take_while(|key| table.entry((holder, *key), &holder, now, || end).is_ok()).count()
        };
        assert_eq!(fill(&mut table, 'a', start), 50);
        assert_eq!(fill(&mut table, 'b', start), 25);
        assert_eq!(table.entry(('a', 99), &'a', start, || at(60)).err(), Some(Denied::Share));
        assert!(table.entry(('c', 0), &'c', start, || at(60)).is_ok(), "there is room for who comes new");
        // What is there is there for everybody.
        assert!(table.entry(('a', 0), &'b', start, || at(60)).is_ok());
        table.remove(&('a', 0));
        assert!(table.entry(('a', 99), &'a', start, || at(60)).is_err(), "there is less left than it has");
        assert_eq!(fill(&mut table, 'b', at(60)), 50, "all others are over");
        assert_eq!(table.len(), 50);
    }

    #[test]
    fn the_last_place_is_whose_who_has_none() {
        let start = Instant::now();
        let mut table: Divided<u32, char, Instant> = Divided::new(2);
        let end = start + Duration::from_secs(9);
        assert!(table.entry(1, &'a', start, || end).is_ok());
        assert_eq!(table.entry(2, &'a', start, || end).err(), Some(Denied::Share));
        assert!(table.entry(2, &'b', start, || end).is_ok());
        assert_eq!(table.entry(3, &'c', start, || end).err(), Some(Denied::Empty));
    }
}
