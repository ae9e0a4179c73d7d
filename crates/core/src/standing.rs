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
    /// The act.
    pub id: String,
    /// Who did it, as in the act's record.
    pub actor: String,
    /// RFC 3339 UTC with microseconds.
    pub time: String,
    /// In the words of who did it.
    pub why: String,
}

/// Why an act does not fit what stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// What it would undo does not stand.
    #[error("{what} is not quarantined by an act")]
    Nothing { what: String },
    /// Another act stands there.
    #[error("{what} is quarantined by the act {act}, which is another one than this would undo")]
    Other { what: String, act: String },
}

impl Placed {
    fn by(record: &ActRecord<'_>) -> Self {
        Self {
            id: record.id.clone().into_owned(),
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
            Act::Lift(lifted) => drop(self.quarantined.remove(&lifted.subject)),
            // Labels are counted where calls are, and no part of a snapshot.
            Act::Declassify(_) => {}
        }
    }

    /// Whether an act fits what stands. One that does not is not done, and has no record; [`Standing::apply`] takes it all the same,
    /// as all that is on record.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(&self, act: &Act) -> Result<(), Unfit> {
        match act {
            Act::Quarantine(_) | Act::Declassify(_) => Ok(()),
            Act::Lift(lifted) => match self.quarantined.get(&lifted.subject) {
                Some(placed) if placed.id == lifted.of => Ok(()),
                Some(placed) => {
                    Err(Unfit::Other { what: lifted.subject.to_string(), act: placed.id.clone() })
                }
                None => Err(Unfit::Nothing { what: lifted.subject.to_string() }),
            },
        }
    }
}
