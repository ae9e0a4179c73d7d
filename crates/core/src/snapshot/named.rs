//! The parts of servers and agents that policies name one by one, counted, so that what one policy names can be taken back.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::authorize::Named;
use crate::call::Action;
use crate::shards::Shards;

/// What all policies name.
#[derive(Clone, Debug, Default)]
pub(crate) struct NamedParts {
    /// The parts of each server or agent, each with how many policies name it.
    of: Shards<Arc<str>, Parts>,
    /// What of it the policies name that are not in force.
    beside: Arc<Named>,
}

type Parts = Arc<BTreeMap<(Action, Arc<str>), usize>>;

impl NamedParts {
    /// The parts of one server or agent.
    pub(crate) fn of(&self, whole: &str) -> impl Iterator<Item = &(Action, Arc<str>)> {
        self.of.get(whole).into_iter().flat_map(|parts| parts.keys())
    }

    /// Makes it what other policies name: in force and, all of those, `beside` them.
    pub(super) fn change<'n>(
        &mut self,
        gone: impl Iterator<Item = &'n Named>,
        new: impl Iterator<Item = &'n Named>,
        beside: Named,
    ) {
        let was_beside = std::mem::replace(&mut self.beside, Arc::new(beside));
        new.for_each(|named| self.add(named));
        self.add(&self.beside.clone());
        gone.for_each(|named| self.take_back(named));
        self.take_back(&was_beside);
    }

    fn add(&mut self, named: &Named) {
        for (whole, parts) in named {
            let Some(there) = self.of.or_insert(whole, Parts::default) else { continue };
            let there = Arc::make_mut(there);
            parts.iter().for_each(|part| *there.entry(part.clone()).or_default() += 1);
        }
    }

    fn take_back(&mut self, named: &Named) {
        for (whole, parts) in named {
            let Some(there) = self.of.get_mut(&**whole) else { continue };
            let there = Arc::make_mut(there);
            for part in parts {
                match there.get_mut(part) {
                    Some(count) if *count > 1 => *count -= 1,
                    _ => drop(there.remove(part)),
                }
            }
            if there.is_empty() {
                self.of.remove(&**whole);
            }
        }
    }
}

/// Whether the same parts are named, by however many.
impl PartialEq for NamedParts {
    fn eq(&self, other: &Self) -> bool {
        self.of.len() == other.of.len()
            && self.of.iter().all(|(whole, parts)| parts.keys().eq(other.of(whole)))
    }
}
