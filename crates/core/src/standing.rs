//! What stands by acts, beside what is configured: the fold of all acts, in the order of the log. Pure; whoever keeps it replays the
//! acts of the log over what was kept last.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::act::{Act, Subject};
use crate::approval::pending::{self, Approvals};
use crate::record::ActRecord;

/// What stands now. Its serialized form is what is kept, so that a start need not read the whole log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Standing {
    /// What is quarantined, and by whom.
    pub quarantined: BTreeMap<Subject, Placed>,
    /// What people are asked, and what they answered.
    #[serde(default, skip_serializing_if = "Approvals::is_empty")]
    pub approvals: Approvals,
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
    /// What is asked of people, or was, is not as it would have to be.
    #[error(transparent)]
    Approval(#[from] pending::Unfit),
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
            Act::Ask(_) | Act::Approve(_) | Act::Deny(_) | Act::Expire(_) | Act::Use(_) | Act::Came(_) => {
                if let Some(deed) = record.act.about_approval() {
                    self.approvals.apply(deed, &record.actor, at(record));
                }
            }
        }
    }

    /// Whether an act fits what stands. One that does not is not done, and has no record; [`Standing::apply`] takes it all the same,
    /// as all that is on record.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(&self, record: &ActRecord<'_>) -> Result<(), Unfit> {
        if let Some(deed) = record.act.about_approval() {
            return Ok(self.approvals.check(deed, &record.actor, at(record))?);
        }
        match &record.act {
            Act::Lift(lifted) => match self.quarantined.get(&lifted.subject) {
                Some(placed) if placed.id == lifted.of => Ok(()),
                Some(placed) => {
                    Err(Unfit::Other { what: lifted.subject.to_string(), act: placed.id.clone() })
                }
                None => Err(Unfit::Nothing { what: lifted.subject.to_string() }),
            },
            _ => Ok(()),
        }
    }
}

/// When an act was done: milliseconds since the Unix epoch. One whose time cannot be read was done at the end of all time, when nothing is
/// good any more.
fn at(record: &ActRecord<'_>) -> i64 {
    record.time.parse::<jiff::Timestamp>().map_or(i64::MAX, jiff::Timestamp::as_millisecond)
}
