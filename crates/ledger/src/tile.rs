//! The tree's tiles as files, where C2SP tlog-tiles puts them: `tile/<L>/<N>`, 256 hashes each.
//!
//! Only full tiles are kept. They follow from the records, so each is not synced by itself: what is missing or wrong after a power
//! loss is made again when the log is opened. Opening looks at the last tiles of each level, those that no full tile of the level
//! above stands for. Therefore a tile of a higher level is written only when everything below it is on disk, and so are then those
//! of its own level before it: of a higher level opening looks at the last one alone, where the hint says what the others come to,
//! so that it takes as long for a log of ten million records as for one of a million. Partial tiles are
//! kept as a hint beside them ([`crate::partial`]); they and entry bundles follow from records and full tiles when they are exported.

use std::io;
use std::path::{Path, PathBuf};

use crate::file::{self, FileError};
use crate::storage::{Open, Storage};
use crate::tree::{self, FullTile, Hash, TILE, Tree};

/// Bytes of a full tile.
const BYTES: usize = TILE * size_of::<Hash>();

/// The path of a full tile below the log's directory (C2SP tlog-tiles, "Merkle Tree").
pub(crate) fn path(dir: &Path, level: u8, index: u64) -> PathBuf {
    let mut groups = vec![format!("{:03}", index % 1000)];
    let mut rest = index / 1000;
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    let mut path = dir.join("tile").join(level.to_string());
    path.extend(groups.iter().rev());
    path
}

/// Stores a full tile. Of one of a higher level, everything below is durable before.
pub(crate) fn write(storage: &dyn Storage, dir: &Path, tile: FullTile<'_>) -> Result<(), FileError> {
    let path = path(dir, tile.level, tile.index);
    let bytes = tile.hashes.concat();
    if tile.level > 0 {
        settle(storage, dir)?;
    }
    match put(storage, &path, &bytes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), |parent| file::make_dir(storage, parent))?;
            put(storage, &path, &bytes)
        }
        other => other,
    }
    .map_err(FileError::on("write", &path))
}

/// Makes all tiles durable that were written so far.
///
/// One call for hundreds of files: a sync of each would be a sync more for every 256 records.
pub(crate) fn settle(storage: &dyn Storage, dir: &Path) -> Result<(), FileError> {
    storage.sync_everything(dir).map_err(FileError::on("fsync the file system of", dir))
}

fn put(storage: &dyn Storage, path: &Path, bytes: &[u8]) -> io::Result<()> {
    storage.open(path, Open::Replace { mode: 0o644 })?.write(bytes)
}

/// Reads a full tile; `None` where it is missing or not of a full tile's length.
pub(crate) fn read(dir: &Path, level: u8, index: u64) -> Result<Option<Vec<Hash>>, FileError> {
    let bytes = file::read_if_there(&path(dir, level, index))?;
    Ok(bytes.filter(|bytes| bytes.len() == BYTES).map(|bytes| bytes.as_chunks().0.to_vec()))
}

/// The tree of `size` leaves from stored tiles and `last`, the leaves after the last full tile of level 0. `hint` is what
/// [`crate::partial::tiles`] says, or nothing. `None` where a tile is missing. Whether it is the right tree, its root must show.
pub(crate) fn restore(
    dir: &Path,
    size: u64,
    last: Vec<Hash>,
    hint: &[Vec<Hash>],
) -> Result<Option<Tree>, FileError> {
    let mut partial = vec![last];
    for level in 1u8.. {
        let below = level - 1;
        let hashes = tree::full_tiles(size, u32::from(below));
        if hashes == 0 {
            break;
        }
        let first = tree::full_tiles(size, u32::from(level)) * TILE as u64;
        let mut roots = Vec::with_capacity(TILE);
        let durable = hashes.saturating_sub(first).saturating_sub(1);
        if let (1.., Some(hinted), Ok(durable)) =
            (below, hint.get(usize::from(level)), usize::try_from(durable))
        {
            roots.extend(hinted.iter().take(durable));
        }
        for index in first + roots.len() as u64..hashes {
            let Some(tile) = read(dir, below, index)? else { return Ok(None) };
            roots.push(tree::complete(&tile));
        }
        partial.push(roots);
    }
    Ok(Tree::restore(size, partial))
}

/// The tree of the first `size` records from stored tiles alone, of which the last may have hashes of later records too; `None` where one is
/// missing. Whether it is the right tree, its root must show.
pub(crate) fn frontier(dir: &Path, size: u64) -> Result<Option<Tree>, FileError> {
    let within = tree::width(size, 0);
    let mut last = Vec::new();
    if within > 0 {
        let Some(tile) = read(dir, 0, size / TILE as u64)? else { return Ok(None) };
        last = tile;
        last.truncate(within);
    }
    restore(dir, size, last, &[])
}

#[cfg(test)]
mod tests;
