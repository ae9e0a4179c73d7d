//! Each of several logs checked from its files, and all of them held against what is known of them together.

use std::path::PathBuf;

use serde::Serialize;
use vidimus_ledger::{
    Checkpoint, MemoryError, Options, Report, SignedCheckpoint, VerifierKey, VerifyError, Witnesses,
    newest_checkpoint,
};

use super::copies::Copies;
use super::{CheckpointSet, Log, Logs};

/// What to hold logs against, beside themselves.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// The public keys of the logs. Where some are given, each log must have one of them, and each of them must be of a log.
    pub keys: Vec<VerifierKey>,
    /// Earlier checkpoints, of any of the logs: each must be continued by its log, which must be there.
    pub checkpoints: CheckpointSet,
    /// The checkpoints that all logs had once ([`super::set()`]): as `checkpoints`, and of a log that is not among them that is told.
    pub since: Option<CheckpointSet>,
    /// As [`Options::memory`].
    pub memory: Option<PathBuf>,
    /// Who must have cosigned a checkpoint of each log.
    pub witnesses: Witnesses,
    /// As [`Options::accept_new`], of each.
    pub accept_new: bool,
    /// As [`Options::archive`], of each.
    pub may_be_archives: bool,
}

/// A directory, and what was seen there.
#[derive(Clone, Debug, Serialize)]
pub struct LogVerified {
    /// The name of its log.
    pub log: String,
    /// The directory.
    pub directory: PathBuf,
    /// What was seen; `None` where it could not be read.
    pub report: Option<Report>,
    /// Why it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unchecked: Option<String>,
}

impl LogVerified {
    /// Whether it was read, and nothing is wrong there.
    pub fn is_intact(&self) -> bool {
        self.report.as_ref().is_some_and(Report::intact)
    }
}

/// What was seen of all.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LogsReport {
    /// Of each directory, in the order of the names of their logs.
    pub logs: Vec<LogVerified>,
    /// What is wrong with them together.
    pub findings: Vec<Amiss>,
    /// What is worth knowing and not wrong.
    pub notes: Vec<Remark>,
}

impl LogsReport {
    /// Whether something is wrong. What could not be read is not known to be.
    pub fn is_wrong(&self) -> bool {
        let has_findings = |one: &LogVerified| one.report.as_ref().is_some_and(|report| !report.intact());
        !self.findings.is_empty() || self.logs.iter().any(has_findings)
    }

    /// Whether all was read, and nothing is wrong.
    pub fn intact(&self) -> bool {
        self.findings.is_empty() && !self.logs.is_empty() && self.logs.iter().all(LogVerified::is_intact)
    }
}

/// Something that is wrong with several logs together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "finding")]
pub enum Amiss {
    /// A checkpoint says that there is a log of this name.
    #[error(
        "the log {log}, of which a checkpoint was given, is not among those that were read: give the directory that has it"
    )]
    Gone { log: String },
    /// A key was given, and no log has it.
    #[error("no log that was read has the key {key}, which was given")]
    NotThere { key: String },
    /// Keys were given, and none of them is of this log's name.
    #[error("none of the keys that were given is of the log {log}: give its key, or none at all")]
    NotGiven { log: String },
    /// Two logs have the same name, and neither's key followed the other's.
    #[error(
        "the name {origin} is that of {logs} logs, whose keys are not of one log: a name is of one log, so all but one of them are not what they say"
    )]
    OneName { origin: String, logs: usize },
    /// Two directories of a log have other records at one index, behind what both are signed for.
    #[error(
        "the log {log} has another record {index} in {} than in {}, which no checkpoint of both is of: one of them is not the log's",
        directory.display(),
        other.display()
    )]
    Differs { log: String, index: u64, directory: PathBuf, other: PathBuf },
}

/// Something that is worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "note")]
pub enum Remark {
    #[error("the log {log} is not in the set of checkpoints: it began later, or was left out of it")]
    NotInSet { log: String },
    /// Copies, or parts: each was held against the checkpoints of the others, and record by record behind these.
    #[error("the log {log} is in {directories} directories, which agree where nothing else is said")]
    Copies { log: String, directories: usize },
    #[error("{} was named more than once, and read once", directory.display())]
    Repeated { directory: PathBuf },
}

/// Checks each log. A log that is being written can be checked too.
///
/// # Errors
/// Where what is remembered cannot be read. What is wrong with the logs is in the report.
pub fn verify(logs: &Logs, held: &Held) -> Result<LogsReport, MemoryError> {
    verify_with_progress(logs, held, &mut |_, _| {})
}

/// As [`verify`]. `progress` is told now and then how many of the records of one of them were read, and how many it signed for; it begins anew
/// with each.
///
/// # Errors
/// As [`verify`].
pub fn verify_with_progress(
    logs: &Logs,
    held: &Held,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<LogsReport, MemoryError> {
    let mut report = LogsReport::default();
    report.together(logs, held);
    for log in logs.all() {
        let newest: Vec<Option<SignedCheckpoint>> =
            log.directories.iter().map(|directory| newest_checkpoint(directory).ok()).collect();
        let size = |own: &Option<SignedCheckpoint>| own.as_ref().map_or(0, |own| own.checkpoint.size);
        let longest = newest.iter().map(size).max().unwrap_or_default();
        for difference in Copies::of(log).differences() {
            let (log, index, [directory, other]) =
                (log.name.clone(), difference.index, difference.directories);
            report.findings.push(Amiss::Differs { log, index, directory, other });
        }
        for (directory, own) in log.directories.iter().zip(&newest) {
            let others = newest.iter().flatten().filter(|other| Some(*other) != own.as_ref());
            let others = others.map(|other| other.note.clone());
            let trusted = held.of(log).into_iter().chain(others);
            let options = if size(own) < longest {
                // A copy that is older, or a part: that it is of fewer records than are known says nothing against it. That it is a part of the
                // log is seen there, and that the log is what it was.
                let trusted = trusted.filter(|note| is_within(note, size(own))).collect();
                Options { key: held.key(log), trusted, archive: held.may_be_archives, ..Options::default() }
            } else {
                Options {
                    key: held.key(log),
                    trusted: trusted.collect(),
                    memory: held.memory.clone(),
                    witnesses: held.witnesses.clone(),
                    accept_new: held.accept_new,
                    archive: held.may_be_archives,
                }
            };
            let (seen, unchecked) = match vidimus_ledger::verify_with_progress(directory, &options, progress)
            {
                Ok(seen) => (Some(seen), None),
                Err(VerifyError::Memory(error)) => return Err(error),
                Err(error) => (None, Some(error.to_string())),
            };
            let (log, directory) = (log.name.clone(), directory.clone());
            report.logs.push(LogVerified { log, directory, report: seen, unchecked });
        }
    }
    Ok(report)
}

/// Whether a key that was given is that of a log: its own, or one before or after that.
fn is_key(own: &VerifierKey, given: &VerifierKey) -> bool {
    own == given || own.follows(given) || given.follows(own)
}

/// Whether a checkpoint is of at most so many records, or none, which is wrong with any.
fn is_within(note: &str, size: u64) -> bool {
    Checkpoint::unverified(note).map_or(true, |checkpoint| checkpoint.size <= size)
}

impl Held {
    /// The key that a log is to have. One without a key of its own has no name by which to choose.
    fn key(&self, log: &Log) -> Option<VerifierKey> {
        match (&log.key, self.keys.as_slice()) {
            // Of keys of one name the log's own; where none is, that the log has another key is told where it is read.
            (Ok(own), keys) => {
                let of_name = || keys.iter().find(|given| given.name() == own.name());
                keys.iter().find(|given| is_key(own, given)).or_else(of_name).cloned()
            }
            (Err(_), [only]) => Some(only.clone()),
            (Err(_), _) => None,
        }
    }

    /// Earlier checkpoints of a log.
    fn of(&self, log: &Log) -> Vec<String> {
        let Ok(key) = &log.key else { return Vec::new() };
        let all = self.checkpoints.of(key.name()).chain(self.since.iter().flat_map(|set| set.of(key.name())));
        all.map(str::to_owned).collect()
    }
}

impl LogsReport {
    /// What can be told of all without reading one.
    fn together(&mut self, logs: &Logs, held: &Held) {
        let names: Vec<&str> =
            logs.all().iter().filter_map(|log| Some(log.key.as_ref().ok()?.name())).collect();
        for (at, name) in names.iter().enumerate() {
            let count = names.iter().filter(|other| *other == name).count();
            let is_first = names.iter().position(|other| other == name) == Some(at);
            if count > 1 && is_first {
                self.findings.push(Amiss::OneName { origin: (*name).to_owned(), logs: count });
            }
        }
        let given = held.checkpoints.origins().chain(held.since.iter().flat_map(CheckpointSet::origins));
        for log in given.filter(|origin| !names.contains(origin)) {
            let gone = Amiss::Gone { log: log.to_owned() };
            if !self.findings.contains(&gone) {
                self.findings.push(gone);
            }
        }
        let has = |log: &Log, given: &VerifierKey| log.key.as_ref().is_ok_and(|own| is_key(own, given));
        for key in held.keys.iter().filter(|key| !logs.all().iter().any(|log| has(log, key))) {
            self.findings.push(Amiss::NotThere { key: key.to_string() });
        }
        for log in logs.all() {
            let name = log.key.as_ref().map(VerifierKey::name).unwrap_or_default();
            if !held.keys.is_empty() && log.key.is_ok() && held.key(log).is_none() {
                self.findings.push(Amiss::NotGiven { log: log.name.clone() });
            }
            if held.since.as_ref().is_some_and(|set| set.of(name).next().is_none()) {
                self.notes.push(Remark::NotInSet { log: log.name.clone() });
            }
            let directories = log.directories.len();
            if directories > 1 {
                self.notes.push(Remark::Copies { log: log.name.clone(), directories });
            }
        }
        let repeated = logs.repeated().iter().cloned();
        self.notes.extend(repeated.map(|directory| Remark::Repeated { directory }));
    }
}
