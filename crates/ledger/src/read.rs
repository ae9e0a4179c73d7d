//! Reading a log from any record on, as it grows.

use std::path::{Path, PathBuf};

use crate::pruned::pruned;
use crate::search::{Hit, SearchError, segments, signed};
use crate::segment::{self, Ending, Reader, Segment, SegmentError};

/// How far a log has come: `signed <= durable <= kept`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermark {
    /// Records below this index are kept as [`crate::Config::durability`] has it.
    pub kept: u64,
    /// Records below this index survive a power loss.
    pub durable: u64,
    /// Records below this index are signed for by the latest checkpoint: nobody can change them unnoticed.
    pub signed: u64,
}

/// The records of a log from one on, oldest first.
///
/// `None` is the end for now: the next call looks again. A record is given once its seal is written, which is before it is durable or
/// signed for; [`Reading::watermark`] tells. An error is given once, and nothing after it.
#[derive(Debug)]
pub struct Reading {
    dir: PathBuf,
    reader: Option<Reader>,
    /// Read, and not yet known to be sealed, or not yet given.
    ready: std::collections::VecDeque<Hit>,
    /// Index of the next record to give.
    next: u64,
    failed: bool,
}

/// The records of the log in `dir` from `index` on, also while it is written. Where the log is shorter, those that it will have. That `index`
/// is of a record that was pruned is told by the first record that is asked for.
///
/// # Errors
/// See [`SearchError`].
pub fn read_from(dir: &Path, index: u64) -> Result<Reading, SearchError> {
    segments(dir)?;
    Ok(Reading { dir: dir.to_owned(), reader: None, ready: Default::default(), next: index, failed: false })
}

impl Iterator for Reading {
    type Item = Result<Hit, SearchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let hit = self.hit();
        self.failed = hit.is_err();
        hit.transpose()
    }
}

impl Reading {
    /// Index of the record that comes next.
    pub fn index(&self) -> u64 {
        self.next
    }

    /// How far the log has come, by what stands in it: at least so far. `kept` is what was read of it.
    pub fn watermark(&self) -> Watermark {
        let (kept, on_disk) =
            self.reader.as_ref().map_or((0, 0), |reader| (reader.sealed().0, reader.on_disk()));
        // Where none can be read, nothing is known to be signed; verifying says why.
        let signed = signed(&self.dir).unwrap_or(0);
        let durable = on_disk.min(kept).max(signed);
        Watermark { kept: kept.max(durable), durable, signed }
    }

    fn hit(&mut self) -> Result<Option<Hit>, SearchError> {
        loop {
            let sealed = self.reader.as_ref().map_or(0, |reader| reader.sealed().0);
            if self.ready.front().is_some_and(|hit| hit.index < sealed) {
                let hit = self.ready.pop_front();
                self.next += 1;
                return Ok(hit);
            }
            if !self.read()? {
                return Ok(None);
            }
        }
    }

    /// Reads one record. False at the end for now.
    fn read(&mut self) -> Result<bool, SearchError> {
        let Some(reader) = &mut self.reader else { return self.open(|first, from| first <= from, self.next) };
        let at = reader.segment().clone();
        let error = match reader.next() {
            Ok(Some((index, record))) => {
                if index >= self.next {
                    self.ready.push_back(Hit { index, record: record.to_vec() });
                }
                return Ok(true);
            }
            Ok(None) => {
                let (end, _) = reader.sealed();
                // Also a seal may have come.
                let waits = self.ready.front().is_some_and(|hit| hit.index < end);
                return if waits {
                    Ok(true)
                } else {
                    self.open(|first, end| first == end && first > at.first, end)
                };
            }
            Err(error) => error,
        };
        let index = reader.sealed().0;
        // What is sealed is whole, whatever follows it; the reader stays where it is.
        if self.ready.front().is_some_and(|hit| hit.index < index) {
            return Ok(true);
        }
        match error {
            SegmentError::File(error) => Err(error.into()),
            SegmentError::Frame { offset, index: broken, .. }
                if segment::ending(&at, offset, broken, index)? != Ending::Damaged =>
            {
                // Being written, or never finished. What was read of it is read again.
                self.ready.clear();
                self.reader = None;
                Ok(false)
            }
            error if reader.has_gone_on(&error)? => Ok(true),
            error => Err(SearchError::Damaged { path: at.path, index, error }),
        }
    }

    /// That record `index` was not pruned, nor is missing.
    fn is_there(&self, segments: &[Segment], index: u64) -> Result<(), SearchError> {
        match (pruned(&self.dir)?, segments.first()) {
            (Some(pruned), _) if index < pruned.minimum() => {
                Err(SearchError::Pruned { index, pruned: Box::new(pruned) })
            }
            (_, Some(Segment { first, path })) if index < *first => {
                let error = SegmentError::Gap { path: path.clone(), expected: index, found: *first };
                Err(SearchError::Damaged { path: path.clone(), index, error })
            }
            _ => Ok(()),
        }
    }

    /// Goes on in the last segment whose first record fits.
    fn open(&mut self, fits: impl Fn(u64, u64) -> bool, from: u64) -> Result<bool, SearchError> {
        let all = segments(&self.dir)?;
        // What comes next may have gone since it was looked for last.
        if self.reader.is_none() || all.first().is_some_and(|first| first.first > from) {
            self.is_there(&all, from)?;
        }
        let found = all.into_iter().rev().find(|Segment { first, .. }| fits(*first, from));
        let Some(segment) = found else { return Ok(false) };
        let index = segment.first;
        let opened = Reader::open_after(&segment, self.reader.as_ref(), None);
        self.reader = Some(opened.map_err(|error| match error {
            SegmentError::File(error) => SearchError::File(error),
            error => SearchError::Damaged { path: segment.path, index, error },
        })?);
        Ok(true)
    }
}
