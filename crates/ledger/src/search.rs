//! Finding records by reading the log, also while another process writes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::{self, CheckpointError, SignedCheckpoint};
use crate::counted::Counted;
use crate::file::{self, FileError};
use crate::note::{KeyError, VerifierKey};
use crate::open::public_key_path;
use crate::proof::{Proof, ProveError, Prover};
use crate::pruned::{self, Pruned, PrunedError, pruned};
use crate::segment::{self, Ending, Reader, Segment, SegmentError};
use crate::succession;

mod query;

pub use query::{Matcher, Query};

/// Why a log, or a part of it, cannot be searched.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    #[error("{} is not a ledger: it has no segments/", dir.display())]
    NotALedger { dir: PathBuf },
    #[error("{}", .0.story())]
    File(FileError),
    /// What of a segment follows the damage is left out; other segments are searched.
    #[error("{} is damaged; records from {index} on in it were not read: {error}", path.display())]
    Damaged { path: PathBuf, index: u64, error: SegmentError },
    #[error("{records} records are there, but {signed} were signed for by the latest checkpoint")]
    Shorter { records: u64, signed: u64 },
    #[error("{}: {source}", path.display())]
    Key { path: PathBuf, source: KeyError },
    /// How many records were signed for is not known, so it cannot be told whether some are missing at the end.
    #[error("{} is missing, so it is not known how many records were signed for", path.display())]
    CheckpointMissing { path: PathBuf },
    #[error("{} cannot be used, so it is not known how many records were signed for: {source}", path.display())]
    Checkpoint { path: PathBuf, source: CheckpointError },
    #[error("record {index} is not there any more: {pruned}")]
    Pruned { index: u64, pruned: Box<Pruned> },
    #[error(transparent)]
    Front(#[from] PrunedError),
}

impl From<FileError> for SearchError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl SearchError {
    /// Whether whoever reads may not: that says nothing of the log.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::File(error) if error.source.kind() == std::io::ErrorKind::PermissionDenied)
    }
}

/// A record that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Its index in the log.
    pub index: u64,
    /// Its bytes, canonical JSON.
    pub record: Vec<u8>,
}

/// One segment after the other, so that memory is bounded by what one segment has.
///
/// What is wrong in a segment comes before the records of it.
#[derive(Debug)]
pub struct Search {
    dir: PathBuf,
    matcher: Matcher,
    /// To be read, last first, each with where the one after it in the log begins.
    segments: Vec<(Segment, Option<u64>)>,
    /// The size that the latest checkpoint was signed for.
    signed: u64,
    newest_first: bool,
    left: usize,
    found: std::vec::IntoIter<Hit>,
    failed: Option<SearchError>,
}

/// The records of the log in `dir` that fit `query`.
///
/// # Errors
/// See [`SearchError`].
pub fn search(dir: &Path, query: &Query) -> Result<Search, SearchError> {
    // Before the segments: what is signed for is then in them.
    let signed = signed(dir);
    let found = segments(dir)?;
    // After the segments: what went before they were listed is known by then.
    let minimum = pruned(dir)?.map_or(0, |pruned| pruned.minimum());
    let found = pruned::remaining(found, minimum);
    let (signed, mut failed) = match unless_new(dir, &found, signed) {
        Ok(signed) => (signed, None),
        Err(error) => (0, Some(error)),
    };
    match found.first() {
        None if signed > 0 => failed = Some(SearchError::Shorter { records: 0, signed }),
        Some(first) if first.first > minimum => failed = Some(gap(first, minimum)),
        _ => {}
    }
    let mut segments = followed(found);
    if let Some(made) = query.not_before() {
        // From the first on that reaches it, whatever a clock said later: records stand in the order in which they were written.
        let is_before = |(segment, next): &(Segment, Option<u64>)| ends_before(segment, *next, made);
        let before = segments.iter().take_while(|one| is_before(one)).count();
        segments.drain(..before);
    }
    if !query.newest_first {
        segments.reverse();
    }
    Ok(Search {
        dir: dir.to_owned(),
        matcher: Matcher::new(query),
        segments,
        signed,
        newest_first: query.newest_first,
        left: query.limit.unwrap_or(usize::MAX),
        found: Vec::new().into_iter(),
        failed,
    })
}

pub(crate) fn segments(dir: &Path) -> Result<Vec<Segment>, SearchError> {
    match segment::list(dir) {
        Ok((segments, _)) => Ok(segments),
        Err(error) if error.missing() => Err(SearchError::NotALedger { dir: dir.to_owned() }),
        Err(error) => Err(error.into()),
    }
}

/// Segments with where each next one begins.
fn followed(segments: Vec<Segment>) -> Vec<(Segment, Option<u64>)> {
    let next: Vec<_> = segments.iter().skip(1).map(|segment| Some(segment.first)).chain([None]).collect();
    segments.into_iter().zip(next).collect()
}

/// Whether all records of a segment were made before a time, by its last seal, which must be that of all of them.
fn ends_before(segment: &Segment, next: Option<u64>, time: jiff::Timestamp) -> bool {
    let Some(next) = next else { return false };
    let seal = segment.last_seal().ok().flatten();
    seal.is_some_and(|seal| seal.sequence == next && !seal.times.meets(Some(time), None))
}

/// How many records the log in `dir` must have: those that its newest checkpoint signs for, and 0 of a log of which nothing says that it ever
/// had one. Whoever reads it to its end asks this first: what ends before is [`SearchError::Shorter`].
///
/// # Errors
/// See [`SearchError`].
pub fn signed_for(dir: &Path) -> Result<u64, SearchError> {
    let signed = signed(dir);
    if signed.is_ok() { signed } else { unless_new(dir, &segments(dir)?, signed) }
}

/// That no segment before the last one is missing, or ends early, by their names and last seals. What stands in them is not read.
///
/// # Errors
/// See [`SearchError`].
pub fn has_no_gap(dir: &Path) -> Result<(), SearchError> {
    let found = segments(dir)?;
    // After the segments, as above.
    let minimum = pruned(dir)?.map_or(0, |pruned| pruned.minimum());
    let found = pruned::remaining(found, minimum);
    if let Some(first) = found.first().filter(|first| first.first > minimum) {
        return Err(gap(first, minimum));
    }
    for (segment, next) in found.iter().zip(found.iter().skip(1)) {
        // One that has none, or was pruned meanwhile, says nothing of where it ends.
        let seal = segment.last_seal().ok().flatten();
        if let Some(seal) = seal.filter(|seal| seal.sequence != next.first) {
            return Err(gap(next, seal.sequence));
        }
    }
    Ok(())
}

/// That a segment begins behind the record that is expected there.
fn gap(segment: &Segment, expected: u64) -> SearchError {
    let (path, found) = (segment.path.clone(), segment.first);
    let error = SegmentError::Gap { path: path.clone(), expected, found };
    SearchError::Damaged { path, index: expected, error }
}

/// What is signed for; 0 in a log's first moments: its key is there before its checkpoint, and that before its first segment.
fn unless_new(
    dir: &Path,
    segments: &[Segment],
    signed: Result<u64, SearchError>,
) -> Result<u64, SearchError> {
    match signed {
        Err(SearchError::File(_) | SearchError::CheckpointMissing { .. }) if is_new(dir, segments) => Ok(0),
        signed => signed,
    }
}

/// Whether nothing says that a log ever had a record.
fn is_new(dir: &Path, segments: &[Segment]) -> bool {
    segments.is_empty() && !checkpoint::path(dir).exists() && !checkpoint::history_path(dir).exists()
}

/// The newest checkpoint of the log in `dir`, signed by the key that stands there.
///
/// # Errors
/// See [`SearchError`].
pub fn newest_checkpoint(dir: &Path) -> Result<SignedCheckpoint, SearchError> {
    let path = checkpoint::path(dir);
    let key = own_key(dir)?;
    let note =
        file::read_if_there(&path)?.ok_or_else(|| SearchError::CheckpointMissing { path: path.clone() })?;
    SignedCheckpoint::open(&note, &key).map_err(|source| SearchError::Checkpoint { path, source })
}

/// The size that the latest checkpoint says.
pub(crate) fn signed(dir: &Path) -> Result<u64, SearchError> {
    Ok(newest_checkpoint(dir)?.checkpoint.size)
}

impl Iterator for Search {
    type Item = Result<Hit, SearchError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.left == 0 {
                return None;
            }
            // First, because with the newest first what is missing would stand before what is there.
            if let Some(failed) = self.failed.take() {
                return Some(Err(failed));
            }
            if let Some(hit) = self.found.next() {
                self.left -= 1;
                return Some(Ok(hit));
            }
            self.read_segment()?;
        }
    }
}

impl Search {
    /// Finds what one more segment has, in the order asked for; `None` when there is none left.
    fn read_segment(&mut self) -> Option<()> {
        let (segment, next) = self.segments.pop()?;
        if self.passed_over(&segment, next) {
            return Some(());
        }
        let mut hits = std::collections::VecDeque::new();
        let (matcher, left, newest_first) = (&self.matcher, self.left, self.newest_first);
        let result = each(&segment, next, |index, record, sealed| {
            if matcher.matches(record) {
                hits.push_back(Hit { index, record: record.to_vec() });
            }
            // Read in order, so the newest that fit are the last ones; what has no seal may be none of the log, and takes the place of none.
            while hits.get(left).is_some_and(|hit| hit.index < sealed) {
                hits.pop_front();
            }
            newest_first || hits.len() < left
        });
        if let Ok(Ended { sealed, .. }) = &result {
            hits.retain(|hit| hit.index < *sealed);
        }
        if newest_first {
            hits.make_contiguous().reverse();
        }
        self.found = Vec::from(hits).into_iter();
        self.failed = match result {
            Ok(Ended { sealed: records, whole: true }) if next.is_none() && records < self.signed => {
                Some(SearchError::Shorter { records, signed: self.signed })
            }
            // It was pruned while it was its turn.
            Err(SearchError::File(error)) if error.missing() && self.is_pruned(&segment) => None,
            other => other.err(),
        };
        Some(())
    }

    fn is_pruned(&self, segment: &Segment) -> bool {
        matches!(pruned(&self.dir), Ok(Some(pruned)) if segment.first < pruned.minimum())
    }

    /// Whether nothing in a segment can be of the time asked for, by its last seal. It must be that of all its records.
    fn passed_over(&self, segment: &Segment, next: Option<u64>) -> bool {
        let seal = if self.matcher.by_time() { segment.last_seal().ok().flatten() } else { None };
        seal.is_some_and(|seal| {
            let all = next.map_or(seal.sequence >= self.signed, |next| seal.sequence == next);
            all && !self.matcher.meets(seal.times)
        })
    }
}

/// Calls `visit` with every record of a segment, and how many are sealed before it, until it returns false; where the segment ends, if it
/// got there. An unfinished write at the end of the last segment is the end; another must end where the `next` begins. What has no seal is
/// no record of the log.
fn each(
    segment: &Segment,
    next: Option<u64>,
    mut visit: impl FnMut(u64, &[u8], u64) -> bool,
) -> Result<Ended, SearchError> {
    let path = || segment.path.clone();
    let failed = |error, index| match error {
        SegmentError::File(error) => SearchError::File(error),
        error => SearchError::Damaged { path: path(), index, error },
    };
    let mut end = segment.first;
    let mut reader = Reader::open(segment).map_err(|error| failed(error, end))?;
    let (mut wanted, mut counted) = (true, Counted::default());
    loop {
        // Records that nobody sealed are known by that only behind them.
        if !wanted && reader.sealed().0 >= end {
            return Ok(Ended { sealed: end, whole: false });
        }
        let sealed = reader.sealed().0;
        match reader.next() {
            Ok(Some((index, record))) if wanted => {
                counted.one();
                end = index + 1;
                wanted = visit(index, record, sealed);
            }
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(error) => match error {
                SegmentError::Frame { offset, index, .. }
                    if next.is_none()
                        && segment::ending(segment, offset, index, reader.sealed().0)? != Ending::Damaged =>
                {
                    break;
                }
                error if next.is_none() && reader.has_gone_on(&error)? => {}
                error => return Err(failed(error, end)),
            },
        }
    }
    let sealed = reader.sealed().0;
    match next {
        Some(found) if found != sealed => {
            Err(failed(SegmentError::Gap { path: path(), expected: sealed, found }, sealed))
        }
        _ => Ok(Ended { sealed, whole: wanted }),
    }
}

/// Where reading a segment ended.
struct Ended {
    /// Records before this one are the log's.
    sealed: u64,
    /// Whether it is the end of the segment.
    whole: bool,
}

/// A record of a call, and the evidence for it.
#[derive(Debug)]
pub struct Shown {
    /// Its index in the log.
    pub index: u64,
    /// Its bytes, canonical JSON.
    pub record: Vec<u8>,
    /// A proof against the latest checkpoint.
    pub proof: Result<Proof, ProveError>,
}

/// The records of a call that can be read.
#[derive(Debug)]
pub struct ShownIntact {
    /// Oldest first.
    pub records: Vec<Shown>,
    /// What could not be read, where the call may have further records, or which no proof can be made without.
    pub damage: Vec<SearchError>,
}

/// All records of the call `id`, oldest first, of a log of which all can be read.
///
/// # Errors
/// See [`SearchError`].
pub fn show(dir: &Path, id: &str) -> Result<Vec<Shown>, SearchError> {
    let ShownIntact { records, damage } = show_intact(dir, id)?;
    damage.into_iter().next().map_or(Ok(records), Err)
}

/// The records of the call `id` that can be read, oldest first.
///
/// # Errors
/// When nothing can: see [`SearchError`].
pub fn show_intact(dir: &Path, id: &str) -> Result<ShownIntact, SearchError> {
    let (mut hits, mut damage) = (Vec::new(), Vec::new());
    for hit in search(dir, &Query { id: Some(id.to_owned()), ..Query::default() })? {
        match hit {
            Ok(hit) => hits.push(hit),
            Err(error) => damage.push(error),
        }
    }
    let mut prover = Prover::latest(dir).map_err(Arc::new);
    let mut proof = |index, record: &[u8]| match &mut prover {
        Ok(prover) => prover.prove(index, record),
        Err(error) => Err(ProveError::Unprovable(error.clone())),
    };
    let records =
        hits.into_iter().map(|Hit { index, record }| Shown { index, proof: proof(index, &record), record });
    Ok(ShownIntact { records: records.collect(), damage })
}

/// The public key that stands in the log in `dir`, which knows the keys that it followed.
///
/// # Errors
/// See [`SearchError`].
pub fn known_key(dir: &Path) -> Result<VerifierKey, SearchError> {
    own_key(dir)
}

/// The public key that stands in the log.
///
/// # Errors
/// See [`SearchError`].
pub fn own_key(dir: &Path) -> Result<VerifierKey, SearchError> {
    let path = public_key_path(dir);
    let text = file::read(&path)?;
    let text = String::from_utf8_lossy(&text);
    let text = text.trim_end();
    // What it followed is proven elsewhere.
    let key = if text.contains('\n') { Err(KeyError::Form) } else { text.parse() };
    let key = key.map_err(|source| SearchError::Key { path, source })?;
    Ok(succession::known(dir, key)?)
}
