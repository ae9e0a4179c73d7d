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
        let mut left: HashMap<K, usize, RandomState> = HashMap::default();
        if now.is_empty() {
            difference.gone.extend(first..first + old.len());
        } else {
            let places = old.iter().enumerate().map(|(place, one)| (*one, first + place));
            // One that was there twice is gone once.
            difference.gone.extend(places.filter_map(|(one, place)| left.insert(one, place)));
        }
        difference.from = Vec::with_capacity(next.len());
        difference.from.extend((0..first).map(Some));
        for (place, one) in now.iter().enumerate() {
            let from = left.remove(one);
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
}
