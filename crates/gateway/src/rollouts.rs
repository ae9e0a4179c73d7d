//! What namespaces that observe let pass: of each policy with `mode: rollout` how many calls, at this gateway, since its start (ADR 62).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use vidimus_core::caller::UnixMillis;

/// The counts. Only policies that are registered let anything pass, so callers cannot fill it.
#[derive(Debug, Default)]
pub struct Rollouts(Mutex<BTreeMap<Arc<str>, Passed>>);

/// What one policy let pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Calls that no other policy permits.
    pub calls: u64,
    /// When the last of them was decided.
    pub last: UnixMillis,
}

impl Rollouts {
    /// A call passes by these policies alone. Few calls do.
    pub(crate) fn note(&self, policies: &[Arc<str>], now: UnixMillis) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for policy in policies {
            let passed = all.entry(object(policy)).or_default();
            passed.calls = passed.calls.saturating_add(1);
            passed.last = now;
        }
    }

    /// What each policy let pass, by `namespace/name`. Those that are none any more (`is_there`) are forgotten.
    pub fn passed(&self, is_there: impl Fn(&str) -> bool) -> BTreeMap<Arc<str>, Passed> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|policy, _| is_there(policy));
        all.clone()
    }
}

/// The object that a statement is of: of several in one each has a name behind that.
fn object(policy: &Arc<str>) -> Arc<str> {
    policy.split_once('#').map_or_else(|| policy.clone(), |(object, _)| object.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_for_the_object_that_lets_them_pass() {
        let rollouts = Rollouts::default();
        for (policy, now) in [("a/x#1", 7), ("a/x#other", 9), ("a/gone", 9)] {
            rollouts.note(&[policy.into()], UnixMillis(now));
        }
        let found = rollouts.passed(|policy| policy != "a/gone");
        assert_eq!(found, BTreeMap::from([("a/x".into(), Passed { calls: 2, last: UnixMillis(9) })]));
    }
}
