//! What policies with `mode: rollout` let pass, in the words of their status: the condition `Observing`.

use std::collections::BTreeMap;
use std::mem;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use vidimus_core::resource::Object;
use vidimus_core::resource::policy::Mode;

use crate::condition::Condition;
use crate::index::Key;
use crate::live::Heard;

/// The name of the condition.
const OBSERVING: &str = "Observing";

/// What was let pass, as the gateway tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetPass {
    /// Who counts: a replica counts its own calls.
    pub gateway: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// Of each policy, by `namespace/name`: how many calls, and when the last one was.
    pub calls: BTreeMap<Arc<str>, (u64, String)>,
}

/// What is known of it; nothing where nobody counts here. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rollouts(Arc<Mutex<Option<Arc<LetPass>>>>);

impl Rollouts {
    /// What is said of an object that observes.
    pub(crate) fn condition(&self, key: &Key, generation: Option<i64>) -> Option<Condition> {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let LetPass { gateway, since, calls } = &*counted;
        let (reason, message) = match calls.get(&*format!("{}/{}", key.1, key.2)) {
            None => ("NothingPassed", format!("{gateway} let no call pass by it since {since}")),
            Some((calls, last)) => (
                "WouldRefuse",
                format!(
                    "{gateway} let {calls} calls pass since {since} that no policy permits, the last at {last}; they are refused when this ends: \
                     vidimus audit search --text would_refuse finds them"
                ),
            ),
        };
        Some(Condition {
            of: OBSERVING.to_owned(),
            status: "True".to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: generation,
            last_transition_time: String::new(),
        })
    }
}

/// Says what was let pass, to those who write the statuses of policies.
#[derive(Clone, Debug)]
pub struct RolloutsReport {
    rollouts: Rollouts,
    tell: Sender<Heard>,
}

impl RolloutsReport {
    pub(crate) const fn new(rollouts: Rollouts, tell: Sender<Heard>) -> Self {
        Self { rollouts, tell }
    }

    /// It is so much by now. Each change is written, so it is told every half minute at most.
    pub fn note(&self, counted: LetPass) {
        let counted = Some(Arc::new(counted));
        let mut known = self.rollouts.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = mem::replace(&mut *known, counted.clone());
        drop(known);
        if before != counted {
            // Nobody hears it once the source has ended.
            drop(self.tell.send(Heard::Secrets));
        }
    }
}

/// Whether what no policy permits passes by this.
pub fn observes(object: &Object) -> bool {
    matches!(object, Object::Policy(policy) if policy.mode == Mode::Rollout)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use vidimus_core::resource::Kind;

    use super::*;

    #[test]
    fn what_was_let_pass_is_told_of_its_policy() {
        let (tell, heard) = mpsc::channel();
        let rollouts = Rollouts::default();
        let report = RolloutsReport::new(rollouts.clone(), tell);
        let key = |name: &str| (Kind::Policy, "a".into(), name.into());
        assert_eq!(rollouts.condition(&key("x"), Some(4)), None, "nobody counts");
        let calls = BTreeMap::from([("a/x".into(), (3, "2026-01-02T00:00:00Z".to_owned()))]);
        let counted = LetPass { gateway: "g-0".to_owned(), since: "2026-01-01T00:00:00Z".to_owned(), calls };
        for _ in 0..2 {
            report.note(counted.clone());
        }
        assert_eq!(heard.try_iter().count(), 1, "a change is one");
        let said = rollouts.condition(&key("x"), Some(4)).unwrap();
        assert_eq!(
            (&*said.of, &*said.reason, said.observed_generation),
            ("Observing", "WouldRefuse", Some(4))
        );
        assert!(said.message.starts_with("g-0 let 3 calls pass since 2026-01-01"), "{}", said.message);
        assert_eq!(rollouts.condition(&key("y"), None).unwrap().reason, "NothingPassed");
    }
}
