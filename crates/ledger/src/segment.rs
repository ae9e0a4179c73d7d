//! The files that hold the records: `segments/<index of the first record, 20 digits>.log`, a header and frames.
//!
//! The header is 24 bytes: `VIDIMUS` and version 1, the first index (u64), flags (u32, 0), CRC32C of these; little-endian.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::file::{self, FileError};
use crate::frame::{self, Broken, HEADER, MAX_RECORD};
use crate::storage::{Open, Storage, Stored};

mod ending;

pub(crate) use ending::{Ending, ending};

const MAGIC: [u8; 8] = *b"VIDIMUS\x01";

/// Bytes before the first frame.
pub(crate) const START: usize = 24;

/// Read at once: large enough that system calls do not count, small beside everything else.
const CHUNK: usize = 256 * 1024;

/// What is wrong in a segment.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: {reason}", path.display())]
    Header { path: PathBuf, reason: &'static str },
    /// Records are missing between two segments, or stand in two.
    #[error("{}: begins with record {found}, but record {expected} should follow", path.display())]
    Gap { path: PathBuf, expected: u64, found: u64 },
    #[error("{} at byte {offset}: record {index}: {broken}", path.display())]
    Frame { path: PathBuf, offset: u64, index: u64, broken: Broken },
}

/// A segment, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) first: u64,
    pub(crate) path: PathBuf,
}

pub(crate) fn dir(log: &Path) -> PathBuf {
    log.join("segments")
}

impl Segment {
    pub(crate) fn new(log: &Path, first: u64) -> Self {
        Self { first, path: dir(log).join(format!("{first:020}.log")) }
    }

    /// Creates the file with its header, durably: an unfinished header never stands under a segment's name.
    pub(crate) fn create(&self, storage: &dyn Storage) -> Result<Box<dyn Stored>, FileError> {
        file::replace(storage, &self.path, &header(self.first), 0o600)?;
        self.append(storage)
    }

    /// Opens the file to append.
    pub(crate) fn append(&self, storage: &dyn Storage) -> Result<Box<dyn Stored>, FileError> {
        file::open(storage, &self.path, Open::Append)
    }
}

/// The files in `segments/`: segments in order, and what is none.
pub(crate) fn list(log: &Path) -> Result<(Vec<Segment>, Vec<PathBuf>), FileError> {
    let dir = dir(log);
    let (mut segments, mut strangers) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(&dir).map_err(FileError::on("list", &dir))? {
        let path = entry.map_err(FileError::on("list", &dir))?.path();
        match first_of(&path) {
            Some(first) => segments.push(Segment { first, path }),
            None => strangers.push(path),
        }
    }
    segments.sort_by_key(|segment| segment.first);
    strangers.sort();
    Ok((segments, strangers))
}

fn first_of(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".log")?;
    if digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

fn header(first: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&first.to_le_bytes());
    bytes.extend_from_slice(&0u32.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Reads a segment from its beginning, record by record. At the end it can be asked again: the file may have grown.
#[derive(Debug)]
pub(crate) struct Reader {
    segment: Segment,
    file: File,
    buffer: Vec<u8>,
    /// Where in `buffer` the next frame begins.
    at: usize,
    /// Where in the file the next frame begins.
    offset: u64,
    next: u64,
}

impl Reader {
    pub(crate) fn open(segment: &Segment) -> Result<Self, SegmentError> {
        let path = &segment.path;
        let mut file = File::open(path).map_err(FileError::on("open", path))?;
        let mut found = Vec::with_capacity(START);
        file.by_ref().take(START as u64).read_to_end(&mut found).map_err(FileError::on("read", path))?;
        if found != header(segment.first) {
            let reason = match found.first_chunk() {
                Some(magic) if *magic == MAGIC => "the segment's header is damaged or does not fit its name",
                _ => "not a segment of a ledger",
            };
            return Err(SegmentError::Header { path: path.clone(), reason });
        }
        let segment = segment.clone();
        let next = segment.first;
        Ok(Self { segment, file, buffer: Vec::new(), at: 0, offset: START as u64, next })
    }

    /// Where in the file that record begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// How many bytes follow the last record that was read.
    pub(crate) fn left(&self) -> Result<u64, FileError> {
        let length = self.file.metadata().map_err(FileError::on("read", &self.segment.path))?.len();
        Ok(length.saturating_sub(self.offset))
    }

    /// Whether there is anything after the last record that was read; at the end of the file there is not.
    pub(crate) fn ready(&mut self) -> Result<bool, FileError> {
        if !self.buffered() {
            self.refill()?;
        }
        Ok(self.at < self.buffer.len())
    }

    /// The next record and its index; `None` where the file ends between two frames.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, &[u8])>, SegmentError> {
        if !self.ready()? {
            return Ok(None);
        }
        let index = self.next;
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        let frame = frame::parse(rest, index).map_err(|broken| SegmentError::Frame {
            path: self.segment.path.clone(),
            offset: self.offset,
            index,
            broken,
        })?;
        self.at += frame.length;
        self.offset += frame.length as u64;
        self.next += 1;
        Ok(Some((index, frame.record)))
    }

    /// Whether a whole frame is in the buffer: only its length is looked at.
    fn buffered(&self) -> bool {
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        rest.first_chunk().is_some_and(|length| {
            let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX).min(MAX_RECORD);
            rest.len() >= HEADER + length
        })
    }

    /// The same place in the file, with nothing buffered: what was buffered may have been cut since.
    pub(crate) fn restarted(mut self) -> Result<Self, FileError> {
        self.buffer.clear();
        self.at = 0;
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

#[cfg(test)]
mod tests;
