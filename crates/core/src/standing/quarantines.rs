//! What is quarantined by acts. Each act suffices alone: who lifts one undoes that one, and nothing that another person did for another reason.

use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::{Placed, Standing, Unfit};
use crate::act::{Lifted, Subject};

/// Most acts by which one thing is quarantined at once.
pub const MOST_EACH: usize = 64;

impl Standing {
    /// The acts by which a thing is quarantined, oldest first.
    pub fn quarantined_by(&self, subject: &Subject) -> impl Iterator<Item = &Placed> {
        let first = self.quarantined.get(subject);
        first
            .into_iter()
            .chain(self.quarantined_too.get(subject).into_iter().flatten())
            .map(|placed| &**placed)
    }

    /// One more act. One that is told again is the same.
    pub(super) fn quarantine(&mut self, subject: &Subject, placed: Placed) {
        if self.quarantined_by(subject).any(|known| known.id == placed.id) {
            return;
        }
        match self.quarantined.entry(subject.clone()) {
            Entry::Vacant(first) => {
                first.insert(Arc::new(placed));
            }
            Entry::Occupied(_) => {
                self.quarantined_too.entry(subject.clone()).or_default().push(Arc::new(placed));
            }
        }
    }

    /// Undoes the acts that `is_lifted` picks by their ids, of one thing.
    pub(super) fn lift(&mut self, subject: &Subject, is_lifted: impl Fn(&str) -> bool) {
        let Some(first) = self.quarantined.remove(subject) else { return };
        let too = self.quarantined_too.remove(subject).unwrap_or_default();
        let mut left = [first].into_iter().chain(too).filter(|placed| !is_lifted(&placed.id));
        let Some(first) = left.next() else { return };
        let too: Vec<_> = left.collect();
        self.quarantined.insert(subject.clone(), first);
        if !too.is_empty() {
            self.quarantined_too.insert(subject.clone(), too);
        }
    }

    pub(super) fn check_quarantine(&self, subject: &Subject) -> Result<(), Unfit> {
        if self.quarantined_by(subject).count() < MOST_EACH { Ok(()) } else { Err(Unfit::Full) }
    }

    pub(super) fn check_lift(&self, Lifted { of, subject }: &Lifted) -> Result<(), Unfit> {
        if self.quarantined_by(subject).any(|placed| placed.id == *of) {
            return Ok(());
        }
        let what = subject.to_string();
        Err(match self.quarantined_by(subject).next() {
            Some(placed) => Unfit::Other { what, act: placed.id.clone() },
            None => Unfit::Nothing { what },
        })
    }
}
