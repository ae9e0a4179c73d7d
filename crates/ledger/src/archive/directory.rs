//! An archive in a directory.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::ArchiveError;
use super::place::{Found, Place};
use crate::file::{self, FileError};
use crate::open::public_key_path;
use crate::segment::{self, Segment};
use crate::storage::Storage;
use crate::tile;
use crate::tree::FullTile;

/// A directory that nobody else writes to.
#[derive(Debug)]
pub(super) struct Directory<'a> {
    storage: &'a dyn Storage,
    dir: &'a Path,
}

impl<'a> Directory<'a> {
    /// Made where it is not there.
    pub(super) fn open(storage: &'a dyn Storage, dir: &'a Path) -> Result<Self, ArchiveError> {
        for dir in [dir.to_owned(), dir.join("keys"), segment::dir(dir)] {
            file::make_dir(storage, &dir)?;
        }
        Ok(Self { storage, dir })
    }
}

impl fmt::Display for Directory<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dir.display().fmt(f)
    }
}

impl Place for Directory<'_> {
    fn read(&self, name: &Path) -> Result<Option<Found>, ArchiveError> {
        let bytes = file::read_if_there(&self.dir.join(name))?;
        Ok(bytes.map(|bytes| Found { bytes, version: None }))
    }

    /// What a crash may have left there is written again.
    fn put(&self, name: &Path, bytes: Vec<u8>) -> Result<(), ArchiveError> {
        self.replace(name, &bytes, None)
    }

    fn replace(&self, name: &Path, bytes: &[u8], _was: Option<&Found>) -> Result<(), ArchiveError> {
        let path = self.dir.join(name);
        file::parent(&path).map_or(Ok(()), |parent| file::make_dir(self.storage, parent))?;
        let mode = if name == public_key_path(Path::new("")) { 0o644 } else { 0o600 };
        Ok(file::replace(self.storage, &path, bytes, mode)?)
    }

    /// One that is there stays as it is, whatever becomes of this process.
    fn tile(&self, tile: FullTile<'_>) -> Result<(), ArchiveError> {
        match tile::read(self.dir, tile.level, tile.index)? {
            Some(stored) if stored == tile.hashes => Ok(()),
            _ => Ok(tile::write(self.storage, self.dir, tile)?),
        }
    }

    fn settle(&self) -> Result<(), ArchiveError> {
        Ok(tile::settle(self.storage, self.dir)?)
    }

    fn nothing_from(&self, end: u64) -> Result<(), ArchiveError> {
        let (mut segments, _) = segment::list(self.dir)?;
        segments.retain(|segment| segment.first >= end);
        for Segment { path, .. } in &segments {
            self.storage.remove(path).map_err(FileError::on("remove", path))?;
        }
        if !segments.is_empty() {
            file::sync_dir(self.storage, &segment::dir(self.dir))?;
        }
        Ok(())
    }

    fn names(&self, below: &Path) -> Result<BTreeSet<PathBuf>, ArchiveError> {
        let names = file::below(&self.dir.join(below))?;
        Ok(names.into_iter().map(|name| below.join(name)).collect())
    }

    fn guard(&self, _name: &Path, _bytes: &[u8]) -> Result<(), ArchiveError> {
        Ok(())
    }
}
