//! Several logs, read as one: those of replicas, of several gateways, and copies or parts of one log (an archive, and what is left).
//!
//! A log is known by the name and the key that stand in it, and not by where it lies. So two directories of one log are copies or parts of it:
//! each of its records is there once, whichever has it, and where they do not agree on one that is said. Logs are in one order by time;
//! within each it is that of its indexes, whatever its clock did.

mod copies;
mod cursor;
mod search;
mod set;
mod show;
mod times;
mod verify;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use vidimus_ledger::{SearchError, VerifierKey, known_key};

use super::Damage;

pub use cursor::{BadCursor, Cursor};
pub use search::{FoundIn, Searched, search, search_by, unknown_names};
pub use set::{BadSet, CheckpointSet, set};
pub use show::{ShownIn, ShownInLogs, show, show_by};
pub(in crate::audit) use times::Runs;
pub use times::{
    Away, ClockBack, LogTimes, RunTimes, Silence, Skew, Times, TimesQuestion, away_within, times,
};
pub use verify::{Amiss, Held, LogVerified, LogsReport, Remark, verify, verify_with_progress};

/// One of several logs.
#[derive(Clone, Debug)]
pub struct Log {
    /// As checkpoints have it, with the id of the key where another log has the same name; the directory where no key stands in it.
    pub name: String,
    /// Its public key; what is wrong with that, where it has none.
    pub key: Result<VerifierKey, String>,
    /// The directories that have it: copies, or parts.
    pub directories: Vec<PathBuf>,
    /// By which it is known in a cursor.
    short: String,
}

impl Log {
    /// The directories beside one that have it too.
    pub fn others(&self, directory: &Path) -> Vec<PathBuf> {
        self.directories.iter().filter(|one| *one != directory).cloned().collect()
    }

    /// A name for files of it, which those of no other log have.
    pub fn file_name(&self) -> String {
        let last = self.name.rsplit('/').next().unwrap_or_default();
        let plain = |char: char| if char.is_ascii_alphanumeric() || "._".contains(char) { char } else { '-' };
        let plain: String = last.chars().map(plain).take(64).collect();
        format!("{}-{}", plain.trim_start_matches('.'), self.short)
    }
}

/// Several logs.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    all: Vec<Log>,
    repeated: Vec<PathBuf>,
}

impl Logs {
    /// The logs in these directories.
    pub fn of(directories: &[PathBuf]) -> Self {
        let mut logs = Self::default();
        let mut places = Vec::new();
        for directory in directories {
            // What cannot be resolved is told by whoever reads it.
            let place = directory.canonicalize().unwrap_or_else(|_| directory.clone());
            if places.contains(&place) {
                logs.repeated.push(directory.clone());
                continue;
            }
            places.push(place);
            logs.add(directory);
        }
        logs.named();
        logs
    }

    fn add(&mut self, directory: &Path) {
        let key = known_key(directory).map_err(|error: SearchError| error.to_string());
        let known = self.all.iter_mut().find(|log| match (&log.key, &key) {
            // One of them may have been copied before another key followed.
            (Ok(known), Ok(key)) => known == key || known.follows(key) || key.follows(known),
            _ => false,
        });
        match known {
            Some(log) => {
                log.directories.push(directory.to_owned());
                // The newest knows the others.
                if let (Ok(known), Ok(newer)) = (&log.key, &key)
                    && newer.follows(known)
                {
                    log.key = key;
                }
            }
            None => {
                let directories = vec![directory.to_owned()];
                self.all.push(Log { name: String::new(), key, directories, short: String::new() });
            }
        }
    }

    /// Gives each its name, which no other has, and puts them in the order of these: it is the same wherever they were named.
    fn named(&mut self) {
        let mut same: BTreeMap<String, usize> = BTreeMap::new();
        for key in self.all.iter().filter_map(|log| log.key.as_ref().ok()) {
            *same.entry(key.name().to_owned()).or_default() += 1;
        }
        for log in &mut self.all {
            log.name = match &log.key {
                Ok(key) if same.get(key.name()).is_some_and(|count| *count > 1) => {
                    format!("{}+{}", key.name(), key_id(key))
                }
                Ok(key) => key.name().to_owned(),
                Err(_) => log.directories.first().map(|one| one.display().to_string()).unwrap_or_default(),
            };
            let mut digest = HEXLOWER.encode(&Sha256::digest(&log.name));
            digest.truncate(16);
            log.short = digest;
        }
        self.all.sort_by(|one, other| one.name.cmp(&other.name));
    }

    /// All of them, in the order of their names.
    pub fn all(&self) -> &[Log] {
        &self.all
    }

    /// Directories that were named before, by this or another path: they are read once.
    pub fn repeated(&self) -> &[PathBuf] {
        &self.repeated
    }

    fn name(&self, at: usize) -> String {
        self.all.get(at).map(|log| log.name.clone()).unwrap_or_default()
    }

    /// Each directory, with which log it has.
    fn directories(&self) -> impl Iterator<Item = (usize, &Path)> {
        let all = self.all.iter().enumerate();
        all.flat_map(|(at, log)| log.directories.iter().map(move |directory| (at, directory.as_path())))
    }
}

/// The id of a key, as in its text: `name+id+key`.
fn key_id(key: &VerifierKey) -> String {
    key.to_string().split('+').nth(1).unwrap_or_default().to_owned()
}

/// What of one of several logs could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LogDamage {
    #[error("{log}: {damage}")]
    Of { log: String, damage: Damage },
    /// One of them at least is not what was signed for, or they are ends that one log cannot have.
    #[error(
        "{log}: record {index} is not the same in all directories that have this log; one that nothing signs for is not shown where another is signed for"
    )]
    Differs { log: String, index: u64 },
}

/// The times of the records of a log in the order that they are read in, made such that none goes back: a record stands at the time of
/// the one before it where its own is on the wrong side of that. So the order by time never changes that of a log's indexes.
#[derive(Clone, Copy, Debug, Default)]
struct Running {
    last: Option<Timestamp>,
}

impl Running {
    /// Where the next record stands, which says that it was made at `time`.
    fn next(&mut self, time: &str, newest_first: bool) -> Timestamp {
        let (own, last) = (time.parse::<Timestamp>().ok(), self.last);
        let all = own.into_iter().chain(last);
        let (first, none) =
            if newest_first { (all.min(), Timestamp::MAX) } else { (all.max(), Timestamp::MIN) };
        let stands = first.unwrap_or(none);
        self.last = Some(stands);
        stands
    }
}

#[cfg(test)]
mod tests;
