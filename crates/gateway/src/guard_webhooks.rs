//! That the webhook of a guard gives no answer (ADR 87) is told to whoever operates: to callers it looks like a policy that refuses them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Of one guard the log is told so often at most, however many calls wait for it.
const AGAIN: Duration = Duration::from_secs(60);
/// Of so many guards it is kept when the log was told. When there are more, each is told of anew.
const KNOWN: usize = 4096;

/// When the log was told last of each guard, by its id.
#[derive(Debug, Default)]
pub struct GuardWebhooks {
    told: Mutex<HashMap<Box<str>, Instant>>,
}

impl GuardWebhooks {
    /// The webhook of this guard gave no answer: whether the log is to be told of it now.
    pub fn is_to_be_told(&self, guard: &str, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(guard).is_some_and(|last| now.saturating_duration_since(*last) < AGAIN) {
            return false;
        }
        if told.len() >= KNOWN {
            told.clear();
        }
        told.insert(guard.into(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_that_fails_is_told_of_once_in_a_while() {
        let (webhooks, begun) = (GuardWebhooks::default(), Instant::now());
        for (guard, after, is_told) in [
            ("a", 0, true),
            ("a", 1, false),
            ("b", 1, true),
            ("a", 59, false),
            ("a", 60, true),
            ("a", 61, false),
        ] {
            let now = begun + Duration::from_secs(after);
            assert_eq!(webhooks.is_to_be_told(guard, now), is_told, "{guard} after {after} s");
        }
    }
}
