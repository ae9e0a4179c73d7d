//! What stands by acts, beside what is configured: the fold of all acts, in the order of the log. Pure; whoever keeps it replays the
//! acts of the log over what was kept last.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::act::{Act, Subject};
use crate::record::ActRecord;

/// What stands now. Its serialized form is what is kept, so that a start need not read the whole log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Standing {
    /// What is quarantined, and by whom.
    pub quarantined: BTreeMap<Subject, Placed>,
}

/// Who brought something about, when and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Placed {
    /// Who did it, as in the act's record.
    pub actor: String,
    /// RFC 3339 UTC with microseconds.
    pub time: String,
    /// In the words of who did it.
    pub why: String,
}

impl Placed {
    fn by(record: &ActRecord<'_>) -> Self {
        Self {
            actor: record.actor.clone().into_owned(),
            time: record.time.clone().into_owned(),
            why: record.why.clone().into_owned(),
        }
    }
}

impl Standing {
    /// Takes one act over. Any act fits any state: what is quarantined already keeps who did it first.
    pub fn apply(&mut self, record: &ActRecord<'_>) {
        match &record.act {
            Act::Quarantine(of) => {
                self.quarantined.entry(of.subject.clone()).or_insert_with(|| Placed::by(record));
            }
            Act::Lift(of) => drop(self.quarantined.remove(&of.subject)),
        }
    }
}
