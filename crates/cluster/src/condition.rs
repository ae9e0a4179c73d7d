//! The conditions in the status of an object: `Accepted` (it is good), `Programmed` (it is in force) and `Ready` (both), each with reason and message.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One condition, as in `metav1.Condition`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Condition {
    /// `Accepted`, `Programmed` or `Ready`; others are of others.
    #[serde(rename = "type")]
    pub(crate) of: String,
    /// `True`, `False` or `Unknown`.
    pub(crate) status: String,
    /// One word.
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) observed_generation: Option<i64>,
    /// RFC 3339, to the second.
    #[serde(default)]
    pub(crate) last_transition_time: String,
}

impl Condition {
    /// One as it stands in a status; `None` where it is none.
    pub(crate) fn read(value: &Value) -> Option<Self> {
        Self::deserialize(value).ok()
    }

    /// Whether it says the same, whenever that began.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.is_same_of(other, other.observed_generation)
    }

    /// Whether it says the same as the other would of this generation.
    pub(crate) fn is_same_of(&self, other: &Self, generation: Option<i64>) -> bool {
        self.observed_generation == generation
            && self.of == other.of
            && self.status == other.status
            && self.reason == other.reason
            && self.message == other.message
    }

    /// With the time since when it has been so: that which stands there already, where its status is the same.
    pub(crate) fn since(mut self, there: &[Self], now: &str) -> Self {
        let last = there.iter().find(|last| last.of == self.of && last.status == self.status);
        let time = last.map(|last| last.last_transition_time.as_str()).filter(|time| !time.is_empty());
        self.last_transition_time = time.unwrap_or(now).to_owned();
        self
    }
}

/// What stands in statuses, the same for all that say the same since the same second: nearly all of many objects do.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    all: HashSet<Arc<[Condition]>>,
    /// When they are so many, it is looked which of them nobody has any more.
    full: usize,
}

impl Shared {
    /// As few as are not looked through.
    const FEW: usize = 1024;

    pub(crate) fn share(&mut self, conditions: Vec<Condition>) -> Arc<[Condition]> {
        if let Some(known) = self.all.get(conditions.as_slice()) {
            return known.clone();
        }
        if self.all.len() >= self.full.max(Self::FEW) {
            self.all.retain(|one| Arc::strong_count(one) > 1);
            self.full = self.all.len() * 2;
        }
        let new: Arc<[Condition]> = conditions.into();
        self.all.insert(new.clone());
        new
    }
}

/// Whether what is `there` says all that is `wanted`. What others wrote beside it does not count.
pub(crate) fn stand(there: &[Condition], wanted: &[Condition]) -> bool {
    wanted.iter().all(|wanted| there.iter().any(|there| there.is_same(wanted)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ready(status: &str, message: &str, generation: i64, time: &str) -> Condition {
        Condition {
            of: "Ready".to_owned(),
            status: status.to_owned(),
            reason: "R".to_owned(),
            message: message.to_owned(),
            observed_generation: Some(generation),
            last_transition_time: time.to_owned(),
        }
    }

    #[test]
    fn the_time_is_that_of_the_status_and_of_nothing_else() {
        for (there, wanted, time) in [
            (vec![], ready("True", "", 1, ""), "now"),
            (vec![ready("True", "", 1, "then")], ready("True", "other", 2, ""), "then"),
            (vec![ready("False", "", 1, "then")], ready("True", "", 1, ""), "now"),
            (vec![ready("True", "", 1, "")], ready("True", "", 1, ""), "now"),
        ] {
            assert_eq!(wanted.since(&there, "now").last_transition_time, time);
        }
    }

    #[test]
    fn what_stands_there_is_not_wanted_again() {
        let other = Condition { of: "Other".to_owned(), ..ready("True", "", 1, "x") };
        for (there, stands) in [
            (ready("True", "m", 1, "whenever"), true),
            (ready("False", "m", 1, ""), false),
            (ready("True", "n", 1, ""), false),
            (ready("True", "m", 2, ""), false),
        ] {
            assert_eq!(stand(&[other.clone(), there], &[ready("True", "m", 1, "now")]), stands);
        }
        assert!(!stand(&[other], &[ready("True", "m", 1, "now")]));
    }

    #[test]
    fn what_says_the_same_is_there_once_and_what_nobody_has_is_let_go() {
        let mut shared = Shared::default();
        let one = shared.share(vec![ready("True", "m", 1, "then")]);
        let (same, other) = (
            shared.share(vec![ready("True", "m", 1, "then")]),
            shared.share(vec![ready("True", "m", 1, "now")]),
        );
        assert!(Arc::ptr_eq(&one, &same) && !Arc::ptr_eq(&one, &other));
        assert_eq!(&*other, [ready("True", "m", 1, "now")]);
        for number in 0..5 * Shared::FEW {
            drop(shared.share(vec![ready("True", &number.to_string(), 1, "then")]));
        }
        assert!(shared.all.len() <= Shared::FEW, "{}", shared.all.len());
        assert!(Arc::ptr_eq(&one, &shared.share(vec![ready("True", "m", 1, "then")])));
    }

    #[test]
    fn it_is_read_as_kubernetes_writes_it() {
        let value = json!({"type": "Ready", "status": "True", "reason": "R", "message": "m", "observedGeneration": 1, "lastTransitionTime": "t"});
        let read = Condition::read(&value).unwrap();
        assert_eq!(read, ready("True", "m", 1, "t"));
        assert_eq!(serde_json::to_value(&read).unwrap(), value);
        for odd in [
            json!(7),
            json!({}),
            json!({"type": "Ready"}),
            json!({"type": 7, "status": "True", "reason": "R"}),
        ] {
            assert_eq!(Condition::read(&odd), None, "{odd}");
        }
    }
}
