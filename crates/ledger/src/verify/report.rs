//! What was seen.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::open::root_text;
use crate::pruned::Pruned;
use crate::segment::{SegmentError, Unauthenticated};

/// The maximum number of findings in a report. The first ones tell what happened.
const MAX_FINDINGS: usize = 64;

/// The result of checking a log.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The log's name, empty where no key said it.
    pub origin: String,
    /// The public key that the checkpoints were checked with.
    pub key: String,
    /// Records that were read, up to the first that was damaged.
    pub records: u64,
    /// How many segments the log has.
    pub segments: usize,
    /// Checkpoints of the history that were found right.
    pub checkpoints: u64,
    /// Tiles that were found right.
    pub tiles: u64,
    /// The latest checkpoint.
    pub checkpoint: Option<CheckpointText>,
    /// The newest checkpoint that witnesses cosigned, and which of those who were asked for did.
    pub cosigned: Option<Cosigned>,
    /// The size of the largest checkpoint that the records agree with: these records are what they were when it was signed.
    pub confirmed: u64,
    /// What is wrong. Empty: nothing.
    pub findings: Vec<Finding>,
    /// What is worth knowing and not wrong.
    pub notes: Vec<Note>,
    #[serde(skip)]
    pub(super) checkpoint_note: String,
}

/// A checkpoint, with its root in base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckpointText {
    /// Number of records.
    pub size: u64,
    /// The Merkle root, in base64.
    pub root: String,
}

/// What witnesses say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cosigned {
    /// The number of records of the checkpoint.
    pub size: u64,
    /// Whose cosignatures were asked for, and found right.
    pub by: Vec<CosignedBy>,
}

/// One cosignature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CosignedBy {
    /// The witness, by the name of its key.
    pub witness: String,
    /// When, in Unix seconds, as it says.
    pub time: u64,
}

impl From<Checkpoint> for CheckpointText {
    fn from(checkpoint: Checkpoint) -> Self {
        Self { size: checkpoint.size, root: root_text(&checkpoint.root) }
    }
}

impl Report {
    /// Whether nothing is wrong.
    pub fn intact(&self) -> bool {
        self.findings.is_empty()
    }

    /// What went from the front of the log, where anything did.
    pub fn pruned(&self) -> Option<&Pruned> {
        self.notes
            .iter()
            .find_map(|note| if let Note::Pruned(pruned) = note { Some(&**pruned) } else { None })
    }

    pub(super) fn find(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }

    /// For what would be found again and again: the first of its kind.
    pub(super) fn find_once(&mut self, finding: Finding) {
        let kind = std::mem::discriminant(&finding);
        if !self.findings.iter().any(|found| std::mem::discriminant(found) == kind) {
            self.find(finding);
        }
    }
}

/// Where a checkpoint came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The file `checkpoint`.
    Checkpoint,
    /// The file `checkpoints`, at this byte.
    History { offset: u64 },
    /// [`super::Options::trusted`].
    Given,
    /// [`super::Options::memory`].
    Remembered,
    /// The file `cosigned`.
    Cosigned,
    /// A file of `keys/succession`.
    Succession,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint => f.write_str("the latest checkpoint"),
            Self::History { offset } => write!(f, "the checkpoint at byte {offset} of the history"),
            Self::Given => f.write_str("the given checkpoint"),
            Self::Remembered => f.write_str("the checkpoint remembered from an earlier verification"),
            Self::Cosigned => f.write_str("the newest checkpoint that witnesses cosigned"),
            Self::Succession => f.write_str("the checkpoint at which the log's key followed another"),
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "finding")]
pub enum Finding {
    #[error("{}: {reason}", path.display())]
    Key { path: PathBuf, reason: String },
    #[error("the log's key is {found}, not {expected}")]
    WrongKey { expected: String, found: String },
    /// At this path was another log.
    #[error(
        "{} held another log when it was last verified from here: its key was {expected}, now it is {found}; {ACCEPT}",
        path.display()
    )]
    Replaced { path: PathBuf, expected: String, found: String },
    /// A log of this name had another key.
    #[error("the log's key was {expected} when it was last verified from here, now it is {found}; {ACCEPT}")]
    Rekeyed { expected: String, found: String },
    #[error("{} is missing", path.display())]
    CheckpointMissing { path: PathBuf },
    #[error("{} at byte {offset}: {reason}", path.display())]
    Checkpoint { path: PathBuf, offset: u64, reason: String },
    #[error(
        "the log was rolled back: its checkpoint is of {size} records, but one of {issued} has been issued"
    )]
    RolledBack { size: u64, issued: u64 },
    /// What was in the history by what the log's end says.
    #[error(
        "checkpoints were taken from the end of the history: it ends with one of {issued} records, and one of {said} had been issued"
    )]
    HistoryShort { issued: u64, said: u64 },
    #[error("{by} cannot be used: {reason}")]
    Trusted { by: Source, reason: String },
    /// Not so many of the witnesses that were asked for as there had to be.
    #[error("{cosigned} of the witnesses cosigned the newest checkpoint that has cosignatures, not {quorum}")]
    Uncosigned { cosigned: usize, quorum: usize },
    #[error("{} is damaged; records from {index} on were not read: {reason}", path.display())]
    Segment { path: PathBuf, offset: Option<u64>, index: u64, reason: String },
    /// Whole records that the log's writer did not write.
    #[error(
        "{} at byte {offset}: records from {index} on are not authenticated and no part of the log: {why}; the next start sets them aside",
        path.display()
    )]
    Unauthenticated { path: PathBuf, offset: u64, index: u64, why: Unauthenticated },
    #[error("{} at byte {offset}: the seal there gives other times than the records before it have, so a search by time misses some", path.display())]
    Times { path: PathBuf, offset: u64 },
    #[error("{records} records are there, but {signed} were signed for by {by}")]
    Shorter { records: u64, signed: u64, by: Source },
    #[error("a record between {intact} and {size} was altered, removed or added: {by} does not fit")]
    Altered { size: u64, intact: u64, by: Source },
    #[error("{} is missing or not what the records give{}", path.display(), named(.record))]
    Tile { path: PathBuf, record: Option<u64> },
    /// Nothing proves that what is missing at the front was pruned.
    #[error("{} does not prove what was pruned: {reason}", path.display())]
    Pruned { path: PathBuf, reason: String },
    /// Nothing can be said of what is there.
    #[error(
        "the hashes of the {minimum} records that were pruned are not what they were; the records behind them were not read"
    )]
    PrunedTiles { minimum: u64 },
    /// What was pruned, in the place of what is left.
    #[error(
        "it is an archive, which ends where the log was pruned, and not the log; --ledger says that an archive is meant"
    )]
    Archive,
}

/// What to do about another log that is there on purpose.
const ACCEPT: &str = "if somebody you trust began a new log here, verify it once with --accept-new-log";

fn named(record: &Option<u64>) -> String {
    record.map_or(String::new(), |record| format!("; record {record} is the first to differ"))
}

impl Finding {
    pub(super) fn of(error: SegmentError, index: u64) -> Self {
        let reason = error.to_string();
        let (path, offset) = match error {
            SegmentError::Unauthenticated { path, offset, index, why } => {
                return Self::Unauthenticated { path, offset, index, why };
            }
            SegmentError::Frame { path, offset, .. } => (path, Some(offset)),
            SegmentError::Header { path, .. } => (path, Some(0)),
            SegmentError::Gap { path, .. } => (path, None),
            SegmentError::File(error) => (error.path, None),
        };
        Self::Segment { path, offset, index, reason }
    }
}

/// Records from one to before another.
fn of_records(from: u64, to: u64) -> String {
    match to.saturating_sub(1) {
        last if last == from => format!("record {from}"),
        last => format!("records {from} to {last}"),
    }
}

/// Something that is not wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "note")]
pub enum Note {
    /// A write at the very end, after everything that is signed, did not finish: the writer was killed, or is writing now.
    Torn { path: PathBuf, offset: u64, bytes: u64, records: u64 },
    /// These records are younger than the latest checkpoint: whole, in order, and not yet signed for.
    Uncovered { from: u64, to: u64 },
    /// As [`Note::Uncovered`], and the private key, with which their seals are checked, could not be read: somebody else may have put
    /// them there.
    Unchecked { from: u64, to: u64 },
    /// Records from `index` on were written by an earlier version, which did not seal them, and not signed for. They are no part of
    /// the log; the next start sets them aside.
    Unsealed { path: PathBuf, offset: u64, index: u64 },
    /// What a start took from the log's end, because nothing said that the log's writer had written it.
    SetAside { path: PathBuf },
    /// The clock went back: this record is so much older than one before it. What came first is told by the index and not by the time.
    ClockBack { index: u64, seconds: u32 },
    /// The history does not yet have the latest checkpoint: the writer was killed, or is writing now.
    HistoryBehind { size: u64, issued: Option<u64> },
    /// The key was taken from the log itself.
    KeyOfTheLog,
    /// No checkpoint of this log is remembered: what happened to it before cannot be told.
    NotSeenBefore,
    /// Another log was known by this path or name, and this one was accepted in its place.
    Accepted { expected: String, found: String },
    /// No witness that was asked for has cosigned these records yet.
    Unwitnessed { from: u64, to: u64 },
    /// There are cosignatures of witnesses, and nobody said whose are to be believed.
    WitnessesNotAsked { size: u64 },
    /// A file that is none of the log's.
    Unexpected { path: PathBuf },
    /// Records are not there any more, and that is on record. All others are checked as ever.
    Pruned(Box<Pruned>),
    /// The key that was given is one that the log's key followed, which both signed for.
    Succeeded { from: String, to: String },
    /// It is an archive of the first records of a log.
    Archive { records: u64 },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Torn { path, offset, bytes, records } => write!(
                f,
                "{} ends with {bytes} bytes of an unfinished write at byte {offset}, after {records} whole records",
                path.display()
            ),
            Self::Uncovered { from, to } => match to.saturating_sub(1) {
                last if last == *from => write!(f, "record {from} is not signed for yet"),
                last => write!(f, "records {from} to {last} are not signed for yet"),
            },
            Self::Unchecked { from, to } => write!(
                f,
                "that the log's writer wrote {} is not checked: that takes the log's private key",
                of_records(*from, *to)
            ),
            Self::Unwitnessed { from, to } => {
                write!(f, "no witness that was asked for has cosigned {} yet", of_records(*from, *to))
            }
            Self::WitnessesNotAsked { size } => write!(
                f,
                "the checkpoint of {size} records has cosignatures, which are not checked: give the keys of witnesses"
            ),
            Self::Unsealed { path, offset, index } => write!(
                f,
                "{} at byte {offset}: records from {index} on, of an earlier version, are not authenticated and no part of the log; the next start sets them aside",
                path.display()
            ),
            Self::SetAside { path } => {
                write!(
                    f,
                    "{} was taken from the end of the log, since nothing authenticated it",
                    path.display()
                )
            }
            Self::HistoryBehind { size, issued: Some(issued) } => {
                write!(f, "the checkpoint is of {size} records, the history ends with one of {issued}")
            }
            Self::HistoryBehind { size, issued: None } => {
                write!(f, "the checkpoint is of {size} records, the history is empty")
            }
            Self::ClockBack { index, seconds } => write!(
                f,
                "record {index} says that it is {seconds} s older than one before it: the clock went back; the index tells what came first"
            ),
            Self::KeyOfTheLog => {
                f.write_str("the key was taken from the log itself; give the key to rule out a replaced log")
            }
            Self::NotSeenBefore => f.write_str("this log was not verified from here before"),
            Self::Accepted { expected, found } => {
                write!(f, "accepted as a new log: its key was {expected}, now it is {found}")
            }
            Self::Unexpected { path } => write!(f, "{} does not belong to the log", path.display()),
            Self::Succeeded { from, to } => write!(
                f,
                "the key that was given, {from}, signed that {to} follows it; give that from now on, with the former ones"
            ),
            Self::Pruned(pruned) => write!(f, "{pruned}"),
            Self::Archive { records } => {
                write!(
                    f,
                    "this is an archive of the log, which ends before record {records}; the log goes on elsewhere"
                )
            }
        }
    }
}
