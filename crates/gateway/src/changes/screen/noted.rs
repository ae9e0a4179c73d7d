//! What guards found in one answer, for its record: kinds and counts, and how much had left before. Never what was found.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use vidimus_core::guard::{Came, Guard, Kinds, Looked};

/// Counted while the answer passes.
#[derive(Debug, Default)]
pub struct Noted {
    /// In how many values something was found.
    values: AtomicU64,
    guards: Mutex<BTreeMap<Guard, Note>>,
}

/// What one guard came to.
#[derive(Debug)]
struct Note {
    came: Came,
    kinds: Kinds,
    /// The most characters of a text that had left when something was found in it.
    left: u64,
}

impl Noted {
    /// Something was found in so many values more.
    pub fn add(&self, values: usize) {
        self.values.fetch_add(u64::try_from(values).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub fn values(&self) -> u64 {
        self.values.load(Ordering::Relaxed)
    }

    /// What a guard found. The strictest of what became of it stands, and of each kind the most that was found at once.
    pub fn found(&self, guard: &Guard, came: Came, kinds: &Kinds, left: u64) {
        let mut guards = self.guards.lock().unwrap_or_else(PoisonError::into_inner);
        let note = guards.entry(guard.clone()).or_insert_with(|| Note { came, kinds: Kinds::new(), left: 0 });
        if strictness(came) > strictness(note.came) {
            note.came = came;
        }
        note.left = note.left.max(left);
        for (kind, count) in kinds {
            let known = note.kinds.entry(kind.clone()).or_default();
            *known = (*known).max(*count);
        }
    }

    /// As the record has it: `guard.secrets: found: jwt 1, after 512 characters had left`. `None` where nothing was found.
    pub fn said(&self) -> Option<String> {
        let guards = self.guards.lock().unwrap_or_else(PoisonError::into_inner);
        let each = guards.iter().map(|(guard, Note { came, kinds, left })| {
            let name = guard.as_str();
            let looked = Looked { guard: guard.clone(), came: *came, kinds: kinds.clone() };
            match left {
                0 => format!("guard.{name}: {looked}"),
                left => format!("guard.{name}: {looked}, after {left} characters had left"),
            }
        });
        let said: Vec<String> = each.collect();
        (!said.is_empty()).then(|| said.join("; "))
    }
}

const fn strictness(came: Came) -> u8 {
    match came {
        Came::Passed | Came::Open => 0,
        Came::Recorded => 1,
        Came::Redacted => 2,
        Came::Found | Came::Unredactable | Came::Failed => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_and_the_most_is_noted() {
        let noted = Noted::default();
        assert_eq!(noted.said(), None);
        let kinds = |count| Kinds::from([("jwt".into(), count)]);
        noted.found(&Guard::Secrets, Came::Recorded, &kinds(2), 0);
        noted.found(&Guard::Secrets, Came::Recorded, &kinds(1), 512);
        noted.found(&Guard::Injection, Came::Found, &Kinds::from([("new-role".into(), 1)]), 0);
        let expected = "guard.injection: found: new-role 1; guard.secrets: recorded: jwt 2, after 512 characters had left";
        assert_eq!(noted.said().as_deref(), Some(expected));
        noted.found(&Guard::Secrets, Came::Found, &kinds(1), 1);
        assert!(noted.said().is_some_and(|said| said.contains("guard.secrets: found: jwt 2, after 512")));
    }
}
