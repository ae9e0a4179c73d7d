//! Reading a log from segment to segment.

use std::path::PathBuf;

use crate::file::FileError;
use crate::segment::{self, Check, Ending, Reader, Segment, SegmentError};

/// Reads the records of a log in order, from some segment on.
#[derive(Debug)]
pub(crate) struct Walk {
    segments: std::vec::IntoIter<Segment>,
    reader: Option<Reader>,
    next: u64,
    check: Option<Check>,
    wrong_times: Option<(PathBuf, u64)>,
}

/// A write at the end of the log that did not finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Torn {
    pub(crate) segment: Segment,
    /// Where the last seal ends; in a segment that has none, the last whole frame.
    pub(crate) offset: u64,
    /// What follows it.
    pub(crate) bytes: u64,
    /// How many whole records are in there.
    pub(crate) records: u64,
    /// The bytes that its first frame lacks, and where: with them, the frame is whole and what follows it may be.
    pub(crate) lacks: Option<(u64, Vec<u8>)>,
}

impl Walk {
    /// Begins with the segment that has record `from`, if it exists. `segments` are all of the log, in order.
    pub(crate) fn new(segments: &[Segment], from: u64) -> Self {
        let before = segments.partition_point(|segment| segment.first <= from).saturating_sub(1);
        let segments: Vec<_> = segments.iter().skip(before).cloned().collect();
        // A log begins with record 0, unless it is said otherwise; a first segment that does not is a gap, found when it is opened.
        let next = if before == 0 { 0 } else { segments.first().map_or(0, |segment| segment.first) };
        Self { segments: segments.into_iter(), reader: None, next, check: None, wrong_times: None }
    }

    /// Of a log whose records before `minimum` were pruned: it begins with that one.
    pub(crate) fn behind(mut self, minimum: u64) -> Self {
        self.next = self.next.max(minimum);
        self
    }

    /// Holds this against what is read.
    pub(crate) fn checked(mut self, check: Check) -> Self {
        self.check = Some(check);
        self
    }

    /// Index of the record that [`Walk::next`] gives.
    pub(crate) fn index(&self) -> u64 {
        self.next
    }

    /// Makes a segment the present one that has, or will have, the next record. False where there is none.
    fn advance(&mut self) -> Result<bool, SegmentError> {
        let Some(segment) = self.segments.next() else { return Ok(false) };
        if let Some(error) = self.unsealed() {
            return Err(error);
        }
        if segment.first != self.next {
            return Err(SegmentError::Gap { path: segment.path, expected: self.next, found: segment.first });
        }
        self.wrong_times = self.wrong_times();
        self.reader = Some(Reader::open_after(&segment, self.reader.as_ref(), self.check.as_ref())?);
        Ok(true)
    }

    /// The next record; `None` at the end of the last segment.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, &[u8])>, SegmentError> {
        // Asked before the record is taken, because the borrow of a record that is returned cannot end early.
        while !match &mut self.reader {
            Some(reader) => reader.ready()?,
            None => false,
        } {
            if !self.advance()? {
                return Ok(None);
            }
        }
        let Some(reader) = &mut self.reader else { return Ok(None) };
        let record = reader.next()?;
        self.next += u64::from(record.is_some());
        Ok(record)
    }

    /// After an error of [`Walk::next`]: whether it is a write at the very end of the log that did not finish.
    pub(crate) fn torn(&self, error: &SegmentError) -> Result<Option<Torn>, FileError> {
        let (SegmentError::Frame { offset, index, .. }, Some(reader)) = (error, &self.reader) else {
            return Ok(None);
        };
        if !self.segments.as_slice().is_empty() {
            return Ok(None);
        }
        let (sealed, end) = reader.sealed();
        let lacks = match segment::ending(reader.segment(), *offset, *index, sealed)? {
            Ending::Torn { .. } => None,
            Ending::Lacks { at, bytes } => Some((at, bytes)),
            Ending::Damaged => return Ok(None),
        };
        let (segment, bytes, records) = (reader.segment().clone(), reader.left()?, *index - sealed);
        Ok(Some(Torn { segment, offset: end, bytes, records, lacks }))
    }

    /// After an error of [`Walk::next`] that is not [`Walk::torn`]: whether it met the end of a write that has gone on since. Then it
    /// can be asked again.
    pub(crate) fn has_gone_on(&self, error: &SegmentError) -> Result<bool, FileError> {
        self.reader.as_ref().map_or(Ok(false), |reader| reader.has_gone_on(error))
    }

    /// How many records are known to be the log's, of those that were read.
    pub(crate) fn sealed(&self) -> u64 {
        self.reader.as_ref().map_or(self.next, |reader| reader.sealed().0)
    }

    /// The present segment, where its last seal ends, and how many bytes follow.
    pub(crate) fn behind_seal(&self) -> Result<Option<(PathBuf, u64, u64)>, FileError> {
        let Some(reader) = &self.reader else { return Ok(None) };
        Ok(Some((reader.segment().path.clone(), reader.sealed().1, reader.left()?)))
    }

    /// At the end: whether there is more by now.
    pub(crate) fn grown(&mut self) -> bool {
        self.reader
            .as_mut()
            .is_some_and(|reader| !matches!(reader.ready(), Ok(false)) || reader.unsealed().is_none())
    }

    /// At the end: what is wrong where records have no seal behind them.
    pub(crate) fn unsealed(&self) -> Option<SegmentError> {
        self.reader.as_ref().and_then(Reader::unsealed)
    }

    /// For how many records a checkpoint was issued, by what seals say.
    pub(crate) fn said(&self) -> u64 {
        self.reader.as_ref().map_or(0, Reader::said)
    }

    /// Where the first seal stands whose times are not those of its records.
    pub(crate) fn wrong_times(&self) -> Option<(PathBuf, u64)> {
        let here = || {
            let reader = self.reader.as_ref()?;
            Some((reader.segment().path.clone(), reader.wrong_times()?))
        };
        self.wrong_times.clone().or_else(here)
    }

    /// The record that is older by the most than one before it, and by how many seconds, where a clock must have gone back.
    pub(crate) fn clock_back(&self) -> Option<(u64, u32)> {
        self.reader.as_ref().and_then(Reader::clock)?.back
    }

    /// The reader at the end of the log, and where it stands.
    pub(crate) fn into_reader(self) -> Option<Reader> {
        self.reader
    }
}

#[cfg(test)]
mod tests;
