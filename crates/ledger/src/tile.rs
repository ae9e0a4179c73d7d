//! The tree's tiles as files, where C2SP tlog-tiles puts them: `tile/<L>/<N>`, 256 hashes each.
//!
//! Only full tiles are kept. They follow from the records, so they are not fsynced: what is missing or wrong after a power loss
//! is made again when the log is opened. Partial tiles and entry bundles follow from records and full tiles when they are exported.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::file::{self, FileError};
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

/// Stores a full tile.
pub(crate) fn write(dir: &Path, tile: FullTile<'_>) -> Result<(), FileError> {
    let path = path(dir, tile.level, tile.index);
    let bytes = tile.hashes.concat();
    match put(&path, &bytes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), file::make_dir)?;
            put(&path, &bytes)
        }
        other => other,
    }
    .map_err(FileError::on("write", &path))
}

fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(true).open(path)?.write_all(bytes)
}

/// Reads a full tile; `None` where it is missing or not of a full tile's length.
pub(crate) fn read(dir: &Path, level: u8, index: u64) -> Result<Option<Vec<Hash>>, FileError> {
    let bytes = file::read_if_there(&path(dir, level, index))?;
    Ok(bytes.filter(|bytes| bytes.len() == BYTES).map(|bytes| bytes.as_chunks().0.to_vec()))
}

/// The tree of `size` leaves from stored tiles and `last`, the leaves after the last full tile of level 0.
/// `None` where a tile is missing. Whether it is the right tree, its root must show.
pub(crate) fn restore(dir: &Path, size: u64, last: Vec<Hash>) -> Result<Option<Tree>, FileError> {
    let mut partial = vec![last];
    for level in 1u8.. {
        let below = level - 1;
        let hashes = tree::full_tiles(size, u32::from(below));
        if hashes == 0 {
            break;
        }
        let first = tree::full_tiles(size, u32::from(level)) * TILE as u64;
        let mut roots = Vec::with_capacity(TILE);
        for index in first..hashes {
            let Some(tile) = read(dir, below, index)? else { return Ok(None) };
            roots.push(tree::complete(&tile));
        }
        partial.push(roots);
    }
    Ok(Tree::restore(size, partial))
}

#[cfg(test)]
mod tests;
