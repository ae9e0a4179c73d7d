//! The tiles that are not full yet, one of each level, in one file: `partial`. With it a record is proven by a few reads, whatever the size
//! of the log and of its newest segment.
//!
//! It is a hint and vouches for nothing. It is believed only where it leads to the root of a signed checkpoint; else the records are read
//! in its stead. So it need not be durable, is not synced, and may be torn, of another moment or missing.

use std::io;
use std::path::{Path, PathBuf};

use crate::checkpoint::Checkpoint;
use crate::file;
use crate::storage::{Open, Storage, Stored};
use crate::tile;
use crate::tree::{self, Hash, TILE_HEIGHT, Tree};

/// A tile in a tree of 2^64 leaves is of no higher level.
const LEVELS: u8 = 8;

/// Where it is.
pub(crate) fn path(log: &Path) -> PathBuf {
    log.join("partial")
}

/// The file, in the hands of who writes the log.
#[derive(Debug, Default)]
pub(crate) struct Partial {
    file: Option<Box<dyn Stored>>,
}

impl Partial {
    /// Writes down the partial tiles of `tree`, before its checkpoint is issued: so they are of the newest checkpoint that is there, or of
    /// one behind it, which has the same tiles or full ones in their place. One write, whose failure is not that of the log.
    pub(crate) fn write(&mut self, storage: &dyn Storage, log: &Path, tree: &Tree) {
        let path = path(log);
        if let Err(error) = self.put(storage, &path, &bytes(tree)) {
            tracing::warn!(path = %path.display(), %error, "cannot write it; until it can be, proofs read the newest records");
        }
    }

    fn put(&mut self, storage: &dyn Storage, path: &Path, bytes: &[u8]) -> io::Result<()> {
        // Of a file that could not be written it is not known what is in it: it is begun anew.
        let file = match self.file.take() {
            Some(file) => file,
            None => storage.open(path, Open::Replace { mode: 0o600 })?,
        };
        file.write_at(bytes, 0)?;
        self.file = Some(file);
        Ok(())
    }
}

/// The levels that a tree of `size` leaves has hashes in.
fn levels(size: u64) -> impl Iterator<Item = u8> {
    (0..LEVELS).take_while(move |level| size >> (TILE_HEIGHT * u32::from(*level)) > 0)
}

/// The number of records (u64, little-endian), and the hashes of each level's partial tile, lowest level first.
fn bytes(tree: &Tree) -> Vec<u8> {
    let mut bytes = tree.size().to_le_bytes().to_vec();
    for level in levels(tree.size()) {
        bytes.extend_from_slice(&tree.partial(level).concat());
    }
    bytes
}

/// What [`bytes`] made; what follows it is left of a longer one. `None` where it is cut.
fn parse(bytes: &[u8]) -> Option<(u64, Vec<Vec<Hash>>)> {
    let (size, rest) = bytes.split_first_chunk()?;
    let size = u64::from_le_bytes(*size);
    let mut hashes: &[Hash] = rest.as_chunks().0;
    let mut partial = Vec::new();
    for level in levels(size) {
        let (tile, after) = hashes.split_at_checked(tree::width(size, level.into()))?;
        partial.push(tile.to_vec());
        hashes = after;
    }
    Some((size, partial))
}

/// The tree that `signed` is of, where the file and full tiles lead to its root; `None` where they do not, for whatever reason.
pub(crate) fn tree(log: &Path, signed: &Checkpoint) -> Option<Tree> {
    Tree::restore(signed.size, tiles(log, signed.size)?).filter(|tree| tree.root() == signed.root)
}

/// The partial tiles of a tree of `signed` leaves, lowest level first, by the file and full tiles; `None` where they do not say.
pub(crate) fn tiles(log: &Path, signed: u64) -> Option<Vec<Vec<Hash>>> {
    let (size, partial) = parse(&file::read_if_there(&path(log)).ok()??)?;
    if size < signed {
        return None;
    }
    let mut tiles = Vec::new();
    for (level, hashes) in levels(signed).zip(partial) {
        let index = tree::full_tiles(signed, level.into());
        // Since that checkpoint the tile has grown, or become full. It begins with what it was.
        let grown = index == tree::full_tiles(size, level.into());
        let mut hashes = if grown { hashes } else { tile::read(log, level, index).ok()?? };
        hashes.truncate(tree::width(signed, level.into()));
        tiles.push(hashes);
    }
    Some(tiles)
}

#[cfg(test)]
mod tests;
