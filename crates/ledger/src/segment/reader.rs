//! Reading a segment from its beginning, record by record.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use super::{HEADER, Segment, SegmentError, Unauthenticated, Version, header};
use crate::file::FileError;
use crate::frame::{self, Broken, MAX_RECORD};
use crate::seal::{self, MAX_SEALED, SEAL, Seal, SealKey, Tag};
use crate::times::{Clock, Span};

/// Read at once: large enough that system calls do not count, small beside everything else.
const CHUNK: usize = 256 * 1024;

/// What a reader holds against what it reads, beside its form.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    /// Records from here on, which no checkpoint covers, are the log's only with a seal.
    pub(crate) from: u64,
    /// The key of the seals; without it, anybody can have made them.
    pub(crate) key: Option<Arc<SealKey>>,
    /// Whether the times that seals give are held against the records.
    pub(crate) times: bool,
}

/// Reads a segment. At the end it can be asked again: the file may have grown.
#[derive(Debug)]
pub(crate) struct Reader {
    segment: Segment,
    version: Version,
    file: File,
    buffer: Vec<u8>,
    /// Where in `buffer` the next frame begins.
    pub(super) at: usize,
    /// Where in the file the next frame begins.
    offset: u64,
    next: u64,
    /// How many records are sealed, and where in the file what follows begins.
    sealed: (u64, u64),
    /// The last seal of the log, here or in the segment before.
    last: Option<Seal>,
    /// Records before this one were on disk when one of those that were read was made.
    on_disk: u64,
    /// How many records are signed for by what seals say whose tags are right, or not looked at.
    said: u64,
    check: Option<Checking>,
}

#[derive(Debug)]
struct Checking {
    check: Check,
    /// All since the last seal.
    unsealed: Vec<u8>,
    times: Span,
    /// The first seal whose times are not those of its records.
    wrong_times: Option<u64>,
    clock: Clock,
}

impl Reader {
    pub(crate) fn open(segment: &Segment) -> Result<Self, SegmentError> {
        let path = &segment.path;
        let mut file = File::open(path).map_err(FileError::on("open", path))?;
        let mut found = Vec::with_capacity(HEADER);
        file.by_ref().take(HEADER as u64).read_to_end(&mut found).map_err(FileError::on("read", path))?;
        let versions = [Version::Two, Version::One];
        let Some(version) = versions.into_iter().find(|version| found == header(segment.first, *version))
        else {
            let ours = versions
                .iter()
                .any(|version| found.get(..8).is_some_and(|magic| header(0, *version).starts_with(magic)));
            let reason = if ours {
                "the segment's header is damaged or does not fit its name"
            } else {
                "not a segment of a ledger, or of a later version"
            };
            return Err(SegmentError::Header { path: path.clone(), reason });
        };
        Ok(Self {
            segment: segment.clone(),
            version,
            file,
            buffer: Vec::new(),
            at: 0,
            offset: HEADER as u64,
            next: segment.first,
            sealed: (segment.first, HEADER as u64),
            last: None,
            on_disk: 0,
            said: 0,
            check: None,
        })
    }

    /// As [`Reader::open`], behind the reader of the segment before, if that was read.
    pub(crate) fn open_after(
        segment: &Segment,
        before: Option<&Self>,
        check: Option<&Check>,
    ) -> Result<Self, SegmentError> {
        let mut reader = Self::open(segment)?;
        if let Some(before) = before {
            (reader.last, reader.said, reader.on_disk) = (before.last, before.said, before.on_disk);
            if before.version > reader.version {
                let why = Unauthenticated::OlderForm;
                return Err(SegmentError::Unauthenticated {
                    path: segment.path.clone(),
                    offset: 0,
                    index: segment.first,
                    why,
                });
            }
        }
        reader.check = check.map(|check| Checking {
            check: check.clone(),
            unsealed: header(segment.first, reader.version),
            times: Span::default(),
            wrong_times: None,
            clock: before.and_then(Self::clock).unwrap_or_default(),
        });
        Ok(reader)
    }

    /// As [`Reader::open_after`], with what the reader of the segment before held against it.
    pub(crate) fn open_next(segment: &Segment, before: &Self) -> Result<Self, SegmentError> {
        let check = before.check.as_ref().map(|checking| checking.check.clone());
        Self::open_after(segment, Some(before), check.as_ref())
    }

    /// Where in the file the next record begins.
    #[cfg(test)]
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// How many records of the log are known to be, and where in the file what follows them begins: all that were read, up to the
    /// last seal.
    pub(crate) fn sealed(&self) -> (u64, u64) {
        match self.version {
            Version::One => (self.next, self.offset),
            Version::Two => self.sealed,
        }
    }

    /// The last seal before the next record.
    pub(crate) fn last_seal(&self) -> Option<&Seal> {
        self.last.as_ref()
    }

    /// Records before this one were on disk when one of those that were read was made.
    pub(crate) fn on_disk(&self) -> u64 {
        self.on_disk
    }

    /// For how many records a checkpoint was issued, by what the seals say.
    pub(crate) fn said(&self) -> u64 {
        self.said
    }

    /// Where the first seal stands whose times are not those of its records.
    pub(crate) fn wrong_times(&self) -> Option<u64> {
        self.check.as_ref().and_then(|checking| checking.wrong_times)
    }

    /// What the times of the records say of the clock that they were made by, in this segment and those before it.
    pub(crate) fn clock(&self) -> Option<Clock> {
        self.check.as_ref().map(|checking| checking.clock)
    }

    /// What is wrong where the segment ends here: records without a seal.
    pub(crate) fn unsealed(&self) -> Option<SegmentError> {
        let (index, _) = self.sealed();
        (index < self.next).then(|| self.unauthenticated(Unauthenticated::NoSeal))
    }

    fn unauthenticated(&self, why: Unauthenticated) -> SegmentError {
        let (index, sealed) = self.sealed();
        // Without its first seal, a segment is none.
        let offset = if self.version == Version::Two && sealed == HEADER as u64 { 0 } else { sealed };
        SegmentError::Unauthenticated { path: self.segment.path.clone(), offset, index, why }
    }

    /// How many bytes follow the last seal.
    pub(crate) fn left(&self) -> Result<u64, FileError> {
        let length = self.file.metadata().map_err(FileError::on("read", &self.segment.path))?.len();
        Ok(length.saturating_sub(self.sealed().1))
    }

    /// After an error of [`Reader::next`]: whether it met the end of a write that has gone on since. Then it can be asked again.
    pub(crate) fn has_gone_on(&self, error: &SegmentError) -> Result<bool, FileError> {
        let SegmentError::Frame { offset, broken: Broken::Incomplete { need, .. }, .. } = error else {
            return Ok(false);
        };
        Ok(self.sealed().1 + self.left()? >= *offset + *need as u64)
    }

    /// Whether there is anything after the last record that was read and the seals behind it, which are taken; at the end of the
    /// file there is not.
    pub(crate) fn ready(&mut self) -> Result<bool, SegmentError> {
        loop {
            if !self.buffered() {
                self.refill()?;
            }
            let rest = self.buffer.get(self.at..).unwrap_or_default();
            if self.version == Version::One || !seal::begins(rest) {
                // It is made with its first seal.
                let sealed = self.version == Version::One || self.sealed.1 > HEADER as u64;
                return if sealed {
                    Ok(!rest.is_empty())
                } else {
                    Err(self.unauthenticated(Unauthenticated::NoSeal))
                };
            }
            let seal = Seal::parse(rest, self.next).map_err(|broken| self.broken(broken))?;
            if let Some(checking) = &mut self.check
                && !checking.right(&seal, self.last.map_or([0; 16], |last| last.tag), self.offset)
            {
                return Err(self.unauthenticated(Unauthenticated::Seal));
            }
            self.at += SEAL;
            self.offset += SEAL as u64;
            self.sealed = (self.next, self.offset);
            self.said = self.said.max(seal.signed);
            self.last = Some(seal);
        }
    }

    /// The next record and its index; `None` where the file ends between two frames.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, &[u8])>, SegmentError> {
        if !self.ready()? {
            return Ok(None);
        }
        let index = self.next;
        if self.version == Version::One
            && self.check.as_ref().is_some_and(|checking| index >= checking.check.from)
        {
            return Err(self.unauthenticated(Unauthenticated::Unsealed));
        }
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        let found = match frame::parse(rest, index) {
            Ok(found) => found,
            Err(broken) => return Err(self.broken(broken)),
        };
        let length = found.frame.length;
        if let Some(checking) = &mut self.check
            && !checking.takes(index, rest.get(..length).unwrap_or_default(), found.frame.record)
        {
            return Err(self.unauthenticated(Unauthenticated::NoSeal));
        }
        self.on_disk = self.on_disk.max(found.on_disk);
        self.at += length;
        self.offset += length as u64;
        self.next += 1;
        Ok(Some((index, found.frame.record)))
    }

    fn broken(&self, broken: Broken) -> SegmentError {
        SegmentError::Frame { path: self.segment.path.clone(), offset: self.offset, index: self.next, broken }
    }

    /// Whether a whole frame or seal is in the buffer: only its length is looked at.
    fn buffered(&self) -> bool {
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        rest.first_chunk().is_some_and(|length| {
            let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX).min(MAX_RECORD);
            rest.len() >= if seal::begins(rest) { SEAL } else { frame::HEADER + length }
        })
    }

    /// The same place in the file, behind a seal, with nothing buffered: what was buffered may have been cut since. `check` is held
    /// against what follows.
    pub(crate) fn restarted(mut self, check: Check) -> Result<Self, FileError> {
        self.buffer.clear();
        self.at = 0;
        let (times, clock) = Default::default();
        self.check = Some(Checking { check, unsealed: Vec::new(), times, wrong_times: None, clock });
        let seek = self.file.seek(SeekFrom::Start(self.offset));
        seek.map_err(FileError::on("read", &self.segment.path))?;
        Ok(self)
    }

    fn refill(&mut self) -> Result<(), FileError> {
        self.buffer.drain(..self.at.min(self.buffer.len()));
        self.at = 0;
        let limit = CHUNK.saturating_sub(self.buffer.len()) as u64;
        let read = self.file.by_ref().take(limit).read_to_end(&mut self.buffer);
        read.map(|_| ()).map_err(FileError::on("read", &self.segment.path))
    }
}

impl Checking {
    /// Whether a record can be kept until its seal comes.
    fn takes(&mut self, index: u64, frame: &[u8], record: &[u8]) -> bool {
        if self.check.times {
            let span = Span::of(record);
            self.clock.see(index, span);
            self.times.add(span);
        }
        if index >= self.check.from && self.check.key.is_some() {
            self.unsealed.extend_from_slice(frame);
        }
        self.unsealed.len() <= MAX_SEALED
    }

    /// Whether a seal is what it must be, behind one with the tag `previous`.
    fn right(&mut self, seal: &Seal, previous: Tag, offset: u64) -> bool {
        if self.check.times && !seal.times.covers(self.times) {
            self.wrong_times.get_or_insert(offset);
        }
        let right = match &self.check.key {
            Some(key) if seal.sequence > self.check.from => seal.made_with(key, previous, &mut self.unsealed),
            _ => true,
        };
        self.unsealed.clear();
        right
    }
}
