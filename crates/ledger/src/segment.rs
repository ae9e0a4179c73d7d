//! The files that hold the records: `segments/<index of the first record, 20 digits>.log`, a header, frames and seals.
//!
//! The header is 24 bytes: `VIDIMUS` and the version, the first index (u64), flags (u32, 0), CRC32C of these; little-endian. A seal
//! follows it, and the frames of each write ([`crate::seal`]).
//!
//! That is version 2. Segments of version 1 have no seals; they are read as they were, and no record is added to them. Of theirs, only
//! what a checkpoint covers is known to be the log's.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::file::{self, FileError};
use crate::frame::Broken;
use crate::seal::{Chain, SEAL, Seal};
use crate::storage::{Open, Storage, Stored};
use crate::times::Span;

mod ending;
mod reader;

pub(crate) use ending::{Ending, ending};
pub(crate) use reader::{Check, Reader};

/// How a segment is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum Version {
    /// Frames alone.
    One = 1,
    /// Frames, and behind those of each write a seal.
    Two = 2,
}

/// Bytes before the first frame or seal.
pub(crate) const HEADER: usize = 24;

/// Bytes of a new segment.
pub(crate) const START: usize = HEADER + SEAL;

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
    /// From here on, nothing says that the log's writer wrote it.
    #[error("{} at byte {offset}: records from {index} on are not authenticated: {why}", path.display())]
    Unauthenticated { path: PathBuf, offset: u64, index: u64, why: Unauthenticated },
}

/// Why whole records are not known to be the log's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unauthenticated {
    #[error("no seal follows them")]
    NoSeal,
    #[error("their seal was not made with the log's key, or for other records")]
    Seal,
    #[error(
        "they are in the form of an earlier version of vidimus, which sealed nothing, and no checkpoint covers them"
    )]
    Unsealed,
    #[error("they are in the form of an earlier version of vidimus, behind records of this one")]
    OlderForm,
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

    /// Creates the file with its header and its first seal, durably: an unfinished header never stands under a segment's name.
    pub(crate) fn create(
        &self,
        storage: &dyn Storage,
        chain: &mut Chain,
        signed: u64,
    ) -> Result<Box<dyn Stored>, FileError> {
        let mut bytes = header(self.first, Version::Two);
        let sealed = chain.seal(&mut bytes, self.first, signed, Span::default());
        sealed.map_err(FileError::on("seal", &self.path))?;
        file::replace(storage, &self.path, &bytes, 0o600)?;
        self.append(storage)
    }

    /// The times of its records, and the index behind them, as its last seal says; `None` where it does not end with one.
    pub(crate) fn last_seal(&self) -> Result<Option<Seal>, FileError> {
        let mut end = Vec::with_capacity(SEAL);
        let read = File::open(&self.path).and_then(|mut file| {
            let length = file.metadata()?.len();
            // Of a segment of version 1, these bytes are records.
            if length >= START as u64 {
                file.seek(SeekFrom::Start(length - SEAL as u64))?;
                file.take(SEAL as u64).read_to_end(&mut end)?;
            }
            Ok(())
        });
        read.map_err(FileError::on("read", &self.path))?;
        Ok(Seal::parse_any(&end).ok().filter(|seal| seal.sequence >= self.first))
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

/// Which record a segment begins with, by its name; `None` of what is none.
pub(crate) fn first_of(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".log")?;
    if digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

pub(crate) fn header(first: u64, version: Version) -> Vec<u8> {
    let mut bytes = b"VIDIMUS".to_vec();
    bytes.push(version as u8);
    bytes.extend_from_slice(&first.to_le_bytes());
    bytes.extend_from_slice(&0u32.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests;
