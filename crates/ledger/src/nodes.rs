//! The hashes inside of a log's tree, from its tiles, so that many proofs cost no more than a look at each tile.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::proof::ProveError;
use crate::tile;
use crate::tree::{self, Hash, TILE, TILE_HEIGHT, Tree};

/// How many tiles are kept at hand; each takes 16 KiB. Proofs of records in their order need two of each level.
const MAX_TILES: usize = 64;

/// A tile, and what is made of it: by height over its hashes, the roots of their complete subtrees.
type Roots = Vec<Vec<Hash>>;

/// The roots of all complete subtrees of one tree.
#[derive(Debug)]
pub(crate) struct Nodes {
    dir: PathBuf,
    tree: Tree,
    tiles: BTreeMap<(u32, u64), Roots>,
}

impl Nodes {
    /// Of `tree`, whose full tiles are in the log in `dir`.
    pub(crate) fn new(dir: PathBuf, tree: Tree) -> Self {
        Self { dir, tree, tiles: BTreeMap::new() }
    }

    /// The root over the 2^`height` leaves from `at * 2^height` on.
    pub(crate) fn complete(&mut self, height: u32, at: u64) -> Result<Hash, ProveError> {
        let (level, inner) = (height / TILE_HEIGHT, height % TILE_HEIGHT);
        let in_a_tile = TILE as u64 >> inner;
        let roots = self.tile(level, at / in_a_tile)?;
        let place = usize::try_from(at % in_a_tile).ok();
        let row = roots.get(inner as usize);
        row.and_then(|row| row.get(place?).copied()).ok_or(ProveError::Inconsistent)
    }

    fn tile(&mut self, level: u32, index: u64) -> Result<&Roots, ProveError> {
        if self.tiles.len() >= MAX_TILES && !self.tiles.contains_key(&(level, index)) {
            self.tiles.clear();
        }
        let entry = match self.tiles.entry((level, index)) {
            std::collections::btree_map::Entry::Occupied(entry) => return Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => entry,
        };
        let level = u8::try_from(level).map_err(|_| ProveError::Inconsistent)?;
        let hashes = if index == tree::full_tiles(self.tree.size(), level.into()) {
            self.tree.partial(level).to_vec()
        } else {
            tile::read(&self.dir, level, index)?.ok_or(ProveError::Inconsistent)?
        };
        Ok(entry.insert(roots(hashes)))
    }
}

fn roots(hashes: Vec<Hash>) -> Roots {
    let mut rows = vec![hashes];
    while let Some(last) = rows.last()
        && last.len() > 1
    {
        let above = last.as_chunks().0.iter().map(|[left, right]| tree::node(left, right)).collect();
        rows.push(above);
    }
    rows
}
