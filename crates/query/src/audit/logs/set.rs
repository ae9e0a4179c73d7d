//! The newest checkpoint of each of several logs, in one text: what several logs are held against later.

use std::fmt;
use std::str::FromStr;

use vidimus_ledger::{Checkpoint, CheckpointError, newest_checkpoint};

use super::{LogDamage, Logs};
use crate::audit::Damage;

/// Checkpoints of several logs: signed notes (C2SP signed-note, tlog-checkpoint) as they are, each followed by a blank line, which is the form
/// of a log's own `checkpoints`. Nothing signs the set: each note is believed by the key of its log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointSet {
    /// Whose each is by its first line, and the note.
    notes: Vec<(String, String)>,
}

/// It is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSet {
    #[error("it has no checkpoint")]
    Empty,
    #[error("checkpoint {number} of it is none: {error}")]
    Checkpoint {
        /// Counted from 1.
        number: usize,
        error: CheckpointError,
    },
}

impl CheckpointSet {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.notes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// The names of the logs that they are of.
    pub(super) fn origins(&self) -> impl Iterator<Item = &str> {
        self.notes.iter().map(|(origin, _)| origin.as_str())
    }

    /// Those of the log of this name.
    pub(super) fn of(&self, name: &str) -> impl Iterator<Item = &str> {
        self.notes.iter().filter(move |(origin, _)| origin == name).map(|(_, note)| note.as_str())
    }
}

/// The newest checkpoint of each log, by the key that stands in it; and of which none could be had. Of copies it is that of the longest.
/// Records are not read for it: that a log is what its checkpoint says, [`super::verify()`] tells.
pub fn set(logs: &Logs) -> (CheckpointSet, Vec<LogDamage>) {
    let (mut set, mut damage) = (CheckpointSet::default(), Vec::new());
    for log in logs.all() {
        let mut newest = None;
        for directory in &log.directories {
            match newest_checkpoint(directory) {
                Ok(signed) => newest = newest.into_iter().chain([signed]).max_by_key(|it| it.checkpoint.size),
                Err(error) => {
                    damage.push(LogDamage::Of { log: log.name.clone(), damage: Damage::Log(error) });
                }
            }
        }
        set.notes.extend(newest.map(|signed| (signed.checkpoint.origin, signed.note)));
    }
    (set, damage)
}

impl fmt::Display for CheckpointSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.notes.iter().try_for_each(|(_, note)| writeln!(f, "{note}"))
    }
}

impl FromStr for CheckpointSet {
    type Err = BadSet;

    fn from_str(text: &str) -> Result<Self, BadSet> {
        // A note is a text and lines of signatures, with a blank line between them, and one behind them.
        let blocks: Vec<&str> = text.trim_end_matches('\n').split("\n\n").collect();
        let mut notes = Vec::new();
        for (number, note) in (1..).zip(blocks.chunks(2)) {
            let note = format!("{}\n", note.join("\n\n"));
            if note.trim().is_empty() {
                return Err(BadSet::Empty);
            }
            let read = Checkpoint::unverified(&note).map_err(|error| BadSet::Checkpoint { number, error })?;
            notes.push((read.origin, note));
        }
        Ok(Self { notes })
    }
}
