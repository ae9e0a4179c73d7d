//! A map whose copies share what did not change: a copy costs a pointer for each shard, and a change to it copies one shard.
//!
//! Calls look things up here, so it is a flat hash table behind one more pointer, and no tree: reading costs about what it costs in
//! the map of the standard library.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// How many entries a shard has on average before there are four times as many shards: what one change copies.
const FULL: usize = 32;

/// See the module.
#[derive(Clone)]
pub(crate) struct Shards<K, V> {
    /// A power of two.
    shards: Box<[Shard<K, V>]>,
    hasher: RandomState,
    len: usize,
}

type Shard<K, V> = Arc<HashTable<(K, V)>>;

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self { shards: Box::new([Arc::default()]), hasher: RandomState::default(), len: 0 }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Shards<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K, V> Shards<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// In no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter()).map(|(key, value)| (key, value))
    }

    /// Which of the shards: by other bits of the hash than those that a table uses.
    fn place(&self, hash: u64) -> usize {
        usize::try_from(hash >> 32).unwrap_or_default() & (self.shards.len() - 1)
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let shard = self.shards.get(self.place(hash))?;
        shard.find(hash, |(other, _)| other.borrow() == key).map(|(_, value)| value)
    }

    pub(crate) fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// To be changed. Nothing is copied where there is none.
    pub(crate) fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let place = self.place(hash);
        let shard = self.shards.get_mut(place)?;
        shard.find(hash, |(other, _)| other.borrow() == key)?;
        let found = Arc::make_mut(shard).find_mut(hash, |(other, _)| other.borrow() == key);
        found.map(|(_, value)| value)
    }

    /// What was there before.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.grow();
        let hash = self.hasher.hash_one(&key);
        let (place, hasher) = (self.place(hash), &self.hasher);
        let shard = self.shards.get_mut(place)?;
        let entry =
            Arc::make_mut(shard).entry(hash, |(other, _)| *other == key, |(key, _)| hasher.hash_one(key));
        match entry {
            Entry::Occupied(mut there) => Some(std::mem::replace(&mut there.get_mut().1, value)),
            Entry::Vacant(free) => {
                free.insert((key, value));
                self.len += 1;
                None
            }
        }
    }

    /// What was there.
    pub(crate) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let place = self.place(hash);
        let shard = self.shards.get_mut(place)?;
        shard.find(hash, |(other, _)| other.borrow() == key)?;
        let there = Arc::make_mut(shard).find_entry(hash, |(other, _)| other.borrow() == key).ok()?;
        let ((_, value), _) = there.remove();
        self.len -= 1;
        Some(value)
    }

    /// To be changed; `value` where there was none. `None` never.
    pub(crate) fn or_insert(&mut self, key: &K, value: impl FnOnce() -> V) -> Option<&mut V> {
        if !self.contains_key(key) {
            self.insert(key.clone(), value());
        }
        self.get_mut(key)
    }

    fn grow(&mut self) {
        if self.len < self.shards.len() * FULL {
            return;
        }
        let empty = std::iter::repeat_with(Arc::default).take(self.shards.len() * 4);
        let full = std::mem::replace(&mut self.shards, empty.collect());
        self.len = 0;
        for shard in full {
            for (key, value) in Arc::unwrap_or_clone(shard) {
                self.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// A copy is what it was, whatever becomes of the other; and both are as a map of the standard library.
    #[test]
    fn a_copy_stays_as_it_was() {
        let (mut shards, mut wanted) = (Shards::<Arc<str>, u32>::default(), HashMap::new());
        let mut kept = Vec::new();
        for round in 0..4_000_u32 {
            let name: Arc<str> = format!("n{}", round.wrapping_mul(2_654_435_761) % 700).into();
            if round % 5 == 4 {
                assert_eq!(shards.remove(&*name), wanted.remove(&name), "{round}");
            } else {
                assert_eq!(shards.insert(name.clone(), round), wanted.insert(name.clone(), round));
            }
            if let (Some(one), Some(other)) = (shards.get_mut(&*name), wanted.get_mut(&name)) {
                (*one, *other) = (*one + 1, *other + 1);
            }
            if round % 500 == 0 {
                kept.push((shards.clone(), wanted.clone()));
            }
        }
        kept.push((shards, wanted));
        for (shards, wanted) in kept {
            assert_eq!((shards.len(), shards.is_empty()), (wanted.len(), wanted.is_empty()));
            let all: HashMap<Arc<str>, u32> = shards.iter().map(|(name, one)| (name.clone(), *one)).collect();
            assert_eq!(all, wanted);
            assert!(wanted.iter().all(|(name, one)| shards.get(&**name) == Some(one)));
            assert!(!shards.contains_key("other") && shards.clone().remove("other").is_none());
        }
    }
}
