//! In what two lists of things in memory differ: found by where each thing is, so that those that are in both are not looked at.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::Made;
use crate::resource::Object;

/// In what the `next` list differs from the `last` one. Order is no difference.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// Of each of the next ones, its place among the last ones, if it is there.
    pub(crate) from: Vec<Option<usize>>,
    /// The places of the last ones that are not there any more.
    pub(crate) gone: Vec<usize>,
    /// The places of the next ones that were not there.
    pub(crate) new: Vec<usize>,
}

impl Difference {
    /// `last` and `next` say where each thing is in memory. Both lists of things must be alive.
    pub(crate) fn between<K: Copy + Eq + Hash>(last: &[K], next: &[K]) -> Self {
        let is_same = |(one, other): &(&K, &K)| one == other;
        let first = last.iter().zip(next).take_while(is_same).count();
        let (old, now) = (last.get(first..).unwrap_or_default(), next.get(first..).unwrap_or_default());
        let at_end = old.iter().rev().zip(now.iter().rev()).take_while(is_same).count();
        let old = old.get(..old.len() - at_end).unwrap_or_default();
        let now = now.get(..now.len() - at_end).unwrap_or_default();
        let mut difference = Self::default();
        let (found, alone) = side_by_side(old, now);
        let mut left: HashMap<K, usize, RandomState> = HashMap::default();
        if now.is_empty() {
            difference.gone.extend(first..first + old.len());
        } else {
            let places = alone.into_iter().filter_map(|place| Some((*old.get(place)?, first + place)));
            // One that was there twice is gone once.
            difference.gone.extend(places.filter_map(|(one, place)| left.insert(one, place)));
        }
        difference.from = Vec::with_capacity(next.len());
        difference.from.extend((0..first).map(Some));
        for (place, (one, found)) in now.iter().zip(found).enumerate() {
            let from = found.map(|found| first + found).or_else(|| left.remove(one));
            if from.is_none() {
                difference.new.push(first + place);
            }
            difference.from.push(from);
        }
        difference.gone.extend(left.into_values());
        difference.gone.sort_unstable();
        difference.from.extend((last.len() - at_end..last.len()).map(Some));
        difference
    }

    /// Of objects.
    pub(super) fn of_objects(last: &[Object], next: &[Object]) -> Self {
        let addresses = |objects: &[Object]| objects.iter().map(address).collect::<Vec<usize>>();
        Self::between(&addresses(last), &addresses(next))
    }

    /// Of objects, and of what is made of them.
    pub(super) fn of_made<'a>(
        (last, made): (&[Object], &[Arc<Made>]),
        next: impl Iterator<Item = (&'a Object, &'a Arc<Made>)>,
    ) -> Self {
        let both = |(object, made): (&Object, &Arc<Made>)| (address(object), Arc::as_ptr(made).addr());
        let last: Vec<(usize, usize)> = last.iter().zip(made).map(both).collect();
        Self::between(&last, &next.map(both).collect::<Vec<_>>())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.new.is_empty()
    }

    /// The last ones that are gone, of a list beside the one that was compared.
    pub(crate) fn taken<'t, T>(&'t self, last: &'t [T]) -> impl Iterator<Item = &'t T> + Clone {
        self.gone.iter().filter_map(|place| last.get(*place))
    }

    /// The next ones that are new, likewise.
    pub(crate) fn added<'t, T>(&'t self, next: &'t [T]) -> impl Iterator<Item = &'t T> + Clone {
        self.new.iter().filter_map(|place| next.get(*place))
    }

    /// Where the one at a place was.
    pub(crate) fn from(&self, place: usize) -> Option<usize> {
        self.from.get(place).copied().flatten()
    }
}

/// Of each of `now` its place among `old`, where it is found by going along both lists side by side; and the places of those of `old` that were not. A list
/// that was changed here and there is nearly all found so, and what is looked up otherwise is what changed.
fn side_by_side<K: Eq>(old: &[K], now: &[K]) -> (Vec<Option<usize>>, Vec<usize>) {
    /// So many that are gone or new at one place are stepped over.
    const AHEAD: usize = 8;
    let (mut found, mut alone) = (Vec::with_capacity(now.len()), Vec::new());
    let mut was = 0;
    while let (Some(one), Some(other)) = (old.get(was), now.get(found.len())) {
        if one == other {
            found.push(Some(was));
            was += 1;
            continue;
        }
        let gone = (1..=AHEAD).find(|ahead| old.get(was + ahead) == Some(other));
        let new = (1..=AHEAD).find(|ahead| now.get(found.len() + ahead) == Some(one));
        match (gone, new) {
            (Some(gone), new) if new.is_none_or(|new| gone <= new) => {
                alone.extend(was..was + gone);
                was += gone;
            }
            (_, Some(new)) => found.resize(found.len() + new, None),
            // One in the place of the other.
            (_, None) => {
                alone.push(was);
                found.push(None);
                was += 1;
            }
        }
    }
    alone.extend(was..old.len());
    found.resize(now.len(), None);
    (found, alone)
}

/// Where an object is in memory.
fn address(object: &Object) -> usize {
    match object {
        Object::Agent(one) => Arc::as_ptr(one).addr(),
        Object::McpServer(one) => Arc::as_ptr(one).addr(),
        Object::LlmProvider(one) => Arc::as_ptr(one).addr(),
        Object::Service(one) => Arc::as_ptr(one).addr(),
        Object::Policy(one) => Arc::as_ptr(one).addr(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_found_wherever_it_is() {
        for (last, next, gone, new) in [
            ("", "", vec![], vec![]),
            ("", "ab", vec![], vec![0, 1]),
            ("ab", "", vec![0, 1], vec![]),
            ("abcd", "abcd", vec![], vec![]),
            ("abcd", "abxd", vec![2], vec![2]),
            ("abcd", "acd", vec![1], vec![]),
            ("abcd", "abxcd", vec![], vec![2]),
            ("abcd", "dcba", vec![], vec![]),
            ("abcd", "xbcdy", vec![0], vec![0, 4]),
            ("abcd", "bcx", vec![0, 3], vec![2]),
            // One that is there twice was there once.
            ("abc", "abbc", vec![], vec![2]),
            ("aab", "ab", vec![1], vec![]),
            // Here and there.
            ("abcdefghij", "axcdefyghij", vec![1], vec![1, 6]),
            ("abcdefghijklmnop", "bacdefghijklmnpo", vec![], vec![]),
            ("abcdefghijklmnop", "xadhijklmnopb", vec![2, 4, 5, 6], vec![0]),
        ] {
            let (one, other): (Vec<char>, Vec<char>) = (last.chars().collect(), next.chars().collect());
            let found = Difference::between(&one, &other);
            assert_eq!((&found.gone, &found.new), (&gone, &new), "{last} → {next}");
            assert_eq!(found.is_empty(), gone.is_empty() && new.is_empty());
            let same = |place: usize| found.from(place).is_none_or(|from| one[from] == other[place]);
            assert!((0..other.len()).all(same), "{last} → {next}");
            assert_eq!(found.from.len(), other.len());
            assert_eq!(found.from.iter().flatten().count() + new.len(), other.len());
            assert!(found.taken(&one).count() == gone.len() && found.added(&other).count() == new.len());
        }
    }

    /// Whatever was changed where, it is found as by looking up each.
    #[test]
    fn what_is_found_side_by_side_is_what_is_there() {
        let mut seed = 7_usize;
        let mut below = |most: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % most
        };
        for round in 0..300 {
            let last: Vec<usize> = (0..60).collect();
            let mut next = last.clone();
            for change in 0..round % 12 {
                let place = below(next.len());
                match below(4) {
                    0 => {
                        next.remove(place);
                    }
                    1 => next.insert(place, 1_000 + change),
                    2 => next[place] = 2_000 + change,
                    _ => {
                        let moved = next.remove(place);
                        next.insert(below(next.len()), moved);
                    }
                }
            }
            let found = Difference::between(&last, &next);
            let gone: Vec<usize> = (0..last.len()).filter(|place| !next.contains(&last[*place])).collect();
            let new: Vec<usize> = (0..next.len()).filter(|place| !last.contains(&next[*place])).collect();
            assert_eq!((&found.gone, &found.new), (&gone, &new), "{next:?}");
            let is_same = |place: usize| found.from(place).is_none_or(|from| last[from] == next[place]);
            assert!((0..next.len()).all(is_same), "{next:?}");
        }
    }
}
