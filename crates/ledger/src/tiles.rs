//! What clients of C2SP tlog-tiles read of a log: tiles of hashes, full and partial, and bundles of records.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::file::FileError;
use crate::growth::Issued;
use crate::read::{Reading, read_from};
use crate::search::SearchError;
use crate::tile;
use crate::tree::{self, Hash, TILE};

/// A tile in a tree of 2^64 leaves is of no higher level.
const LEVELS: u8 = 8;

/// What is asked for, by its path (C2SP tlog-tiles, "Merkle Tree" and "Log entries"): `tile/<L>/<N>[.p/<W>]`, `tile/entries/<N>[.p/<W>]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TilePath {
    /// The level of the hashes; `None` for records.
    pub level: Option<u8>,
    /// Which tile of the level.
    pub index: u64,
    /// How many hashes or records: 256 of a full one.
    pub width: usize,
}

impl TilePath {
    /// Reads what follows `tile/`. Each tile has one path.
    pub fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.split_once('/')?;
        let level = match level {
            "entries" => None,
            level => Some(crate::checkpoint::decimal(level).and_then(|level| u8::try_from(level).ok())?),
        };
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, usize::try_from(crate::checkpoint::decimal(width)?).ok()?),
            None => (rest, TILE),
        };
        let is_partial = index.len() < rest.len();
        let fits = level.is_none_or(|level| level < 64) && (!is_partial || (1..TILE).contains(&width));
        let index = parse_index(index).filter(|_| fits)?;
        Some(Self { level, index, width })
    }
}

/// Groups of three digits, all but the last with an `x` before it, and none that could be left out.
fn parse_index(text: &str) -> Option<u64> {
    let (mut index, mut groups) = (0_u64, text.split('/').peekable());
    let mut first = true;
    while let Some(group) = groups.next() {
        let digits = if groups.peek().is_some() { group.strip_prefix('x')? } else { group };
        let is_group = digits.len() == 3 && digits.bytes().all(|digit| digit.is_ascii_digit());
        let is_spare = first && groups.peek().is_some() && digits == "000";
        let value = digits.parse::<u64>().ok().filter(|_| is_group && !is_spare)?;
        index = index.checked_mul(1000)?.checked_add(value)?;
        first = false;
    }
    Some(index)
}

/// Why a tile that is there cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum TilesError {
    #[error("{}", .0.story())]
    File(#[from] FileError),
    #[error(transparent)]
    Search(#[from] SearchError),
    #[error("the log's tiles and records do not fit each other; `audit verify` tells more")]
    Inconsistent,
}

/// The tiles of one checkpoint.
#[derive(Clone, Debug)]
pub struct Tiles {
    dir: PathBuf,
    issued: Arc<Issued>,
}

impl Tiles {
    pub(crate) fn new(dir: &Path, issued: Arc<Issued>) -> Self {
        Self { dir: dir.to_owned(), issued }
    }

    /// The checkpoint that they are of: a signed note.
    pub fn checkpoint(&self) -> &str {
        &self.issued.signed.note
    }

    /// A tile's hashes, one behind the other; `None` where the tree has no such tile, or not so many hashes in it.
    ///
    /// # Errors
    /// See [`TilesError`].
    pub fn hashes(&self, level: u8, index: u64, width: usize) -> Result<Option<Vec<u8>>, TilesError> {
        Ok(self.tile(level, index, width)?.map(|hashes| hashes.concat()))
    }

    fn tile(&self, level: u8, index: u64, width: usize) -> Result<Option<Vec<Hash>>, TilesError> {
        let tree = &self.issued.tree;
        let full = if level < LEVELS { tree::full_tiles(tree.size(), level.into()) } else { 0 };
        let mut hashes = if index < full {
            tile::read(&self.dir, level, index)?.ok_or(TilesError::Inconsistent)?
        } else if index == full && level < LEVELS {
            tree.partial(level).to_vec()
        } else {
            return Ok(None);
        };
        // A smaller partial tile, of an older checkpoint, is the beginning of what it has become.
        if width == 0 || hashes.len() < width {
            return Ok(None);
        }
        hashes.truncate(width);
        Ok(Some(hashes))
    }

    /// A bundle of records, each behind its length as two bytes, big-endian; `None` where the log has no such bundle. They are those that
    /// the tile of level 0 has the hashes of.
    ///
    /// `reading` is where the last one ended, if it was of the same log, and where this one does: so a log is read through once.
    ///
    /// # Errors
    /// See [`TilesError`].
    pub fn entries(
        &self,
        index: u64,
        width: usize,
        reading: &mut Option<Reading>,
    ) -> Result<Option<Vec<u8>>, TilesError> {
        let Some(hashes) = self.tile(0, index, width)? else { return Ok(None) };
        let first = index * TILE as u64;
        let mut from = match reading.take().filter(|reading| reading.index() == first) {
            Some(reading) => reading,
            None => read_from(&self.dir, first)?,
        };
        let mut bundle = Vec::new();
        for hash in hashes {
            let hit = match from.next() {
                // A bundle that ends before the minimum index may be missing (C2SP tlog-tiles, "Pruning"): this is that of the first
                // record that is there, rounded up to a bundle.
                Some(Err(SearchError::Pruned { .. })) => return Ok(None),
                other => other.ok_or(TilesError::Inconsistent)??,
            };
            let length = u16::try_from(hit.record.len()).map_err(|_| TilesError::Inconsistent)?;
            if tree::leaf(&hit.record) != hash {
                return Err(TilesError::Inconsistent);
            }
            bundle.extend_from_slice(&length.to_be_bytes());
            bundle.extend_from_slice(&hit.record);
        }
        *reading = Some(from);
        Ok(Some(bundle))
    }
}

/// Records of a bundle: as many as a full tile of level 0 has hashes.
pub const BUNDLE: u64 = TILE as u64;

/// The root over the records of the bundle `index`, by the tile that the log in `dir` has of it; `None` where that is not full, or not there.
///
/// Whoever keeps what it read of a log can tell by it that this is still the same log.
///
/// # Errors
/// See [`FileError`].
pub fn bundle_root(dir: &Path, index: u64) -> Result<Option<Hash>, FileError> {
    Ok(tile::read(dir, 0, index)?.map(|hashes| tree::complete(&hashes)))
}

/// The root over the records of a bundle, by the records themselves; `None` where there are not [`BUNDLE`] of them.
pub fn root_of_bundle<'r>(records: impl IntoIterator<Item = &'r [u8]>) -> Option<Hash> {
    let hashes: Vec<_> = records.into_iter().map(tree::leaf).collect();
    (hashes.len() == TILE).then(|| tree::complete(&hashes))
}

#[cfg(test)]
mod tests;
