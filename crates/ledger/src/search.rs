//! Finding records by reading the log, also while another process writes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use memchr::memmem::Finder;

use crate::file::{self, FileError};
use crate::note::{KeyError, VerifierKey};
use crate::open::public_key_path;
use crate::proof::{Proof, ProveError, Prover};
use crate::segment::{self, Ending, Reader, Segment, SegmentError};

mod query;

use query::Matcher;
pub use query::Query;

/// Why a log, or a part of it, cannot be searched.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    #[error("{} is not a ledger: it has no segments/", dir.display())]
    NotALedger { dir: PathBuf },
    #[error("{}", .0.story())]
    File(FileError),
    /// Its records after the damage are left out; other segments are searched.
    #[error(transparent)]
    Damaged(SegmentError),
    #[error("{}: {source}", path.display())]
    Key { path: PathBuf, source: KeyError },
}

impl From<FileError> for SearchError {
    fn from(error: FileError) -> Self {
        Self::File(error)
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
#[derive(Debug)]
pub struct Search {
    matcher: Matcher,
    /// To be read, last first.
    segments: Vec<Segment>,
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
    let mut segments = segments(dir)?;
    if !query.newest_first {
        segments.reverse();
    }
    Ok(Search {
        matcher: Matcher::new(query),
        segments,
        newest_first: query.newest_first,
        left: query.limit.unwrap_or(usize::MAX),
        found: Vec::new().into_iter(),
        failed: None,
    })
}

fn segments(dir: &Path) -> Result<Vec<Segment>, SearchError> {
    match segment::list(dir) {
        Ok((segments, _)) => Ok(segments),
        Err(error) if error.missing() => Err(SearchError::NotALedger { dir: dir.to_owned() }),
        Err(error) => Err(error.into()),
    }
}

impl Iterator for Search {
    type Item = Result<Hit, SearchError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.left == 0 {
                return None;
            }
            if let Some(hit) = self.found.next() {
                self.left -= 1;
                return Some(Ok(hit));
            }
            if let Some(failed) = self.failed.take() {
                return Some(Err(failed));
            }
            self.read_segment()?;
        }
    }
}

impl Search {
    /// Finds what one more segment has, in the order asked for; `None` when there is none left.
    fn read_segment(&mut self) -> Option<()> {
        let segment = self.segments.pop()?;
        let mut hits = std::collections::VecDeque::new();
        let (matcher, left, newest_first) = (&self.matcher, self.left, self.newest_first);
        let result = each(&segment, |index, record| {
            if matcher.matches(record) {
                hits.push_back(Hit { index, record: record.to_vec() });
            }
            if hits.len() > left {
                // Read in order, so the newest that fit are the last ones.
                hits.pop_front();
            }
            newest_first || hits.len() < left
        });
        if newest_first {
            hits.make_contiguous().reverse();
        }
        self.found = Vec::from(hits).into_iter();
        self.failed = result.err();
        Some(())
    }
}

/// Calls `visit` with every record of a segment until it returns false. An unfinished write at the end is the end.
fn each(segment: &Segment, mut visit: impl FnMut(u64, &[u8]) -> bool) -> Result<(), SearchError> {
    let failed = |error| match error {
        SegmentError::File(error) => SearchError::File(error),
        damaged => SearchError::Damaged(damaged),
    };
    let mut reader = Reader::open(segment).map_err(failed)?;
    loop {
        match reader.next() {
            Ok(Some((index, record))) => {
                if !visit(index, record) {
                    return Ok(());
                }
            }
            Ok(None) => return Ok(()),
            Err(SegmentError::Frame { path, offset, index, broken }) => {
                return match segment::ending(segment, offset, index)? {
                    Ending::Torn { .. } => Ok(()),
                    Ending::Damaged => {
                        Err(SearchError::Damaged(SegmentError::Frame { path, offset, index, broken }))
                    }
                };
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

/// A record of a call, and the evidence for it.
#[derive(Debug)]
pub struct Shown {
    pub index: u64,
    /// Its bytes, canonical JSON.
    pub record: Vec<u8>,
    /// A proof against the latest checkpoint.
    pub proof: Result<Proof, ProveError>,
}

/// All records of the call `id`, oldest first.
///
/// # Errors
/// See [`SearchError`].
pub fn show(dir: &Path, id: &str) -> Result<Vec<Shown>, SearchError> {
    let text = serde_json::Value::from(id).to_string();
    let needle = format!("\"id\":{text}");
    let finder = Finder::new(&needle);
    let mut hits = Vec::new();
    for segment in segments(dir)? {
        each(&segment, |index, record| {
            if finder.find(record).is_some() && query::text(record, "id").as_deref() == Some(id) {
                hits.push(Hit { index, record: record.to_vec() });
            }
            true
        })?;
    }
    let key = own_key(dir)?;
    let prover = Prover::new(dir, key).map_err(Arc::new);
    let proof = |index, record: &[u8]| match &prover {
        Ok(prover) => prover.prove(index, record),
        Err(error) => Err(ProveError::Unprovable(error.clone())),
    };
    Ok(hits
        .into_iter()
        .map(|Hit { index, record }| Shown { index, proof: proof(index, &record), record })
        .collect())
}

/// The public key that stands in the log.
fn own_key(dir: &Path) -> Result<VerifierKey, SearchError> {
    let path = public_key_path(dir);
    let text = file::read(&path)?;
    let text = String::from_utf8_lossy(&text);
    text.trim_end().parse().map_err(|source| SearchError::Key { path, source })
}
