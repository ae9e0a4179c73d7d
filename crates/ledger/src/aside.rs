//! What a start takes from the end of a log because nothing says that the log's writer wrote it. It is kept, and no part of the log.

use std::path::{Path, PathBuf};

use crate::file::{self, FileError};
use crate::frame;
use crate::seal::{self, SEAL};
use crate::segment::{HEADER, Segment, Unauthenticated};
use crate::storage::Storage;

/// Records that were taken from the end of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The index that the first of them had. Records that were made since have these indexes now.
    pub from: u64,
    /// How many whole records are among them.
    pub records: u64,
    /// Why they are no part of the log.
    pub why: Unauthenticated,
    /// Where they are kept, byte for byte.
    pub paths: Vec<PathBuf>,
}

/// The directory of a log where they are kept.
pub(crate) fn dir(log: &Path) -> PathBuf {
    log.join("aside")
}

/// What is kept there.
pub(crate) fn list(log: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut paths = file::list(&dir(log))?;
    paths.retain(|path| !file::is_unfinished(path));
    Ok(paths)
}

/// Takes away what is at byte `offset` of the segment at `path`, from record `from` on, and all segments behind it. It is on disk in
/// its new place before it leaves the old one.
pub(crate) fn take(
    storage: &dyn Storage,
    log: &Path,
    segments: &[Segment],
    (path, offset, from, why): (&Path, u64, u64, Unauthenticated),
) -> Result<SetAside, FileError> {
    file::make_dir(storage, &dir(log))?;
    let at = segments.iter().position(|segment| segment.path == path).unwrap_or(segments.len());
    let (mut paths, mut records) = (Vec::new(), 0);
    for (segment, offset) in segments.iter().skip(at).zip(std::iter::once(offset).chain(std::iter::repeat(0)))
    {
        let bytes = file::read_from(&segment.path, offset)?;
        records += count(bytes.get(if offset == 0 { HEADER } else { 0 }..).unwrap_or_default());
        let kept = free(log, from.max(segment.first));
        file::replace(storage, &kept, &bytes, 0o600)?;
        paths.push(kept);
    }
    for segment in segments.iter().skip(at + usize::from(offset > 0)).rev() {
        storage.remove(&segment.path).map_err(FileError::on("remove", &segment.path))?;
        file::sync_dir(storage, &crate::segment::dir(log))?;
    }
    if offset > 0 {
        file::cut(storage, path, offset)?;
    }
    Ok(SetAside { from, records, why, paths })
}

/// A name that nothing has: `<first index, 20 digits>-<number>.log`.
fn free(log: &Path, from: u64) -> PathBuf {
    let name = |number: u32| dir(log).join(format!("{from:020}-{number}.log"));
    (0..u32::MAX).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(u32::MAX))
}

/// How many whole frames stand one after the other, with seals between them.
fn count(mut bytes: &[u8]) -> u64 {
    let mut records = 0;
    loop {
        let length = match frame::parse_any(bytes) {
            Ok(found) => found.frame.length,
            Err(_) if seal::begins(bytes) => SEAL,
            Err(_) => return records,
        };
        records += u64::from(!seal::begins(bytes));
        bytes = bytes.get(length..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests;
