//! What is not there any more at the front of a log, and that it went by an act on record.
//!
//! Whole segments go ([`crate::prune`]), the hashes of all records stay in the tiles. So the tree is what it was, and all proofs of what is
//! left, as C2SP tlog-tiles has it ("Pruning"). The file `pruned` has the record of the newest act that says so, a newline, and the proof
//! that it is in the log (C2SP tlog-proof): who deletes segments cannot make it.

use std::fmt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::Serialize;
use vidimus_core::act::{Act, Prune};
use vidimus_core::record::{ActRecord, Kept, Record};

use crate::checkpoint::Checkpoint;
use crate::file::{self, FileError};
use crate::note::VerifierKey;
use crate::open::OpenError;
use crate::proof::Proof;
use crate::search::{SearchError, own_key};
use crate::segment::{self, Segment};
use crate::storage::Storage;
use crate::tile;
use crate::tree::{Hash, TILE, Tree};

/// What went from the front of a log, by the newest act that says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// The index of the record of the act.
    pub record: u64,
    /// What went.
    #[serde(flatten)]
    pub prune: Prune,
    /// Who did it, as in the record.
    pub actor: String,
    /// When, as in the record.
    pub time: String,
    /// Why, in the words of who did it.
    pub why: String,
    #[serde(skip)]
    root: Hash,
    /// A checkpoint of so many records had been issued.
    #[serde(skip)]
    signed: u64,
}

/// Why it is not known what went.
#[derive(Debug, thiserror::Error)]
pub enum PrunedError {
    #[error("{}", .0.story())]
    File(FileError),
    #[error("{} does not prove what was pruned: {reason}", path.display())]
    Unproven { path: PathBuf, reason: String },
}

impl From<FileError> for PrunedError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl Pruned {
    /// Whether records may be among what went that were made from this time on, which is the beginning of all where none is given.
    pub fn may_have_any_since(&self, since: Option<Timestamp>) -> bool {
        let before = self.prune.before.parse::<Timestamp>().ok();
        since.is_none_or(|since| before.is_none_or(|before| since < before))
    }

    /// No record before this one is there any more.
    pub fn minimum(&self) -> u64 {
        self.prune.minimum
    }

    /// Of how many records the checkpoint is that the act is proven to.
    pub(crate) fn signed(&self) -> u64 {
        self.signed
    }

    /// The root over what is not there any more, and all before it.
    pub(crate) fn root(&self) -> &Hash {
        &self.root
    }

    /// The tree that the first record which is there is put behind; `None` where the tiles in `dir` are not those that it was.
    pub(crate) fn tree(&self, dir: &Path) -> Result<Option<Tree>, FileError> {
        let tree = tile::frontier(dir, self.prune.minimum)?;
        Ok(tree.filter(|tree| tree.root() == self.root))
    }

    /// What a record and its proof say.
    fn of(text: &[u8], key: &VerifierKey) -> Result<Self, String> {
        let text = str::from_utf8(text).map_err(|error| error.to_string())?;
        let (bytes, proof) = text.split_once('\n').ok_or("it is not a record and its proof")?;
        let proof: Proof = proof.parse().map_err(|error: crate::ProofError| error.to_string())?;
        let checkpoint = proof.verify(bytes.as_bytes(), key).map_err(|error| error.to_string())?;
        let record = Kept::read(bytes.as_bytes()).map_err(|error| error.to_string())?;
        // What was taken over from a store that gateways share was done at another log.
        let Record::Act(ActRecord { act: Act::Prune(prune), shared: None, actor, time, why, .. }) = record
        else {
            return Err("its record is not of an act of this log that prunes".to_owned());
        };
        let root: Option<Hash> =
            HEXLOWER.decode(prune.root.as_bytes()).ok().and_then(|root| root.try_into().ok());
        let root = root.ok_or("the root in its record is none")?;
        if prune.from >= prune.minimum || !is_covered(prune.minimum, checkpoint.size) {
            return Err("its record prunes what cannot have been pruned".to_owned());
        }
        let (record, signed) = (proof.index(), checkpoint.size);
        let owned = |text: std::borrow::Cow<'_, str>| text.into_owned();
        Ok(Self { record, prune, actor: owned(actor), time: owned(time), why: owned(why), root, signed })
    }
}

/// `records 0 to 1199 were pruned on 2026-11-28T… by vidimus: …`
impl fmt::Display for Pruned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Prune { before, from, minimum, .. } = &self.prune;
        write!(f, "records 0 to {} were pruned", minimum.saturating_sub(1))?;
        if *from > 0 {
            write!(f, ", the last of them, from {from} on,")?;
        }
        let Self { record, actor, time, why, .. } = self;
        write!(f, " on {time} by {actor} (record {record}; older than {before}): {why}")
    }
}

/// Whether the tree of the first `minimum` records can be had from the full tiles of a log of `size` records.
pub(crate) fn is_covered(minimum: u64, size: u64) -> bool {
    minimum.checked_next_multiple_of(TILE as u64).is_some_and(|tile| tile <= size)
}

/// Where it stands what was pruned.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join("pruned")
}

/// What was pruned of the log in `dir`, whose key is `key`; `None` where nothing was.
pub(crate) fn read(dir: &Path, key: &VerifierKey) -> Result<Option<Pruned>, PrunedError> {
    let path = path(dir);
    let Some(text) = file::read_if_there(&path)? else { return Ok(None) };
    Pruned::of(&text, key).map(Some).map_err(|reason| PrunedError::Unproven { path, reason })
}

/// What was pruned of the log in `dir`, by the key that stands in it; `None` where nothing was.
///
/// # Errors
/// See [`SearchError`]; also where that is not proven.
pub fn pruned(dir: &Path) -> Result<Option<Pruned>, SearchError> {
    // A log that is just being made has no key yet.
    if !path(dir).exists() {
        return Ok(None);
    }
    Ok(read(dir, &own_key(dir)?)?)
}

/// Of a log that is opened, whose newest checkpoint is `latest`: what is proven by a newer one is of a log that was put back.
pub(crate) fn open(dir: &Path, key: &VerifierKey, latest: &Checkpoint) -> Result<Option<Pruned>, OpenError> {
    let pruned = read(dir, key)?;
    match pruned.as_ref().map(Pruned::signed).filter(|signed| *signed > latest.size) {
        Some(issued) => Err(OpenError::RolledBack { size: latest.size, issued }),
        None => Ok(pruned),
    }
}

/// The segments that are the log's: from the one on that begins with record `minimum`.
pub(crate) fn remaining(mut segments: Vec<Segment>, minimum: u64) -> Vec<Segment> {
    segments.retain(|segment| segment.first >= minimum);
    segments
}

/// Takes away the segments before record `minimum`. Which of them a crash leaves is no matter: they are no part of the log any more.
pub(crate) fn remove(storage: &dyn Storage, dir: &Path, minimum: u64) -> Result<(), FileError> {
    let (mut segments, _) = segment::list(dir)?;
    segments.retain(|segment| segment.first < minimum);
    for Segment { path, .. } in &segments {
        storage.remove(path).map_err(FileError::on("remove", path))?;
    }
    if segments.is_empty() { Ok(()) } else { file::sync_dir(storage, &segment::dir(dir)) }
}
