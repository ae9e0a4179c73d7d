//! Where the records of a log begin: at its first, or behind those that were pruned.

use std::path::Path;

use super::{Anchor, Check, Finding, Note, VerifyError};
use crate::file::FileError;
use crate::nodes::Nodes;
use crate::note::VerifierKey;
use crate::pruned::{self, Pruned, PrunedError};
use crate::tile;
use crate::tree::{self, FullTile, Hash, TILE, TILE_HEIGHT, Tree};

/// What is known of records that are not there any more.
pub(super) struct Gone {
    minimum: u64,
    root: Hash,
    nodes: Nodes,
}

impl Gone {
    fn of(dir: &Path, pruned: &Pruned, tree: Tree) -> Self {
        Self { minimum: pruned.minimum(), root: *pruned.root(), nodes: Nodes::new(dir.to_owned(), tree) }
    }

    /// Whether what went, and all before it, begins with what a checkpoint of fewer records was signed for.
    fn begins_with(&mut self, anchor: &Anchor) -> bool {
        let hashes =
            tree::consistency(anchor.size, self.minimum, |height, at| self.nodes.complete(height, at));
        let (older, newer) = ((anchor.size, &anchor.root), (self.minimum, &self.root));
        hashes.is_ok_and(|hashes| tree::is_consistent(older, newer, &hashes))
    }
}

impl Check<'_> {
    /// The tree that the first record which is there is put behind; `None` where that cannot be known, which was found.
    pub(super) fn front(&mut self, key: Option<&VerifierKey>) -> Result<Option<Tree>, VerifyError> {
        let Some(key) = key else { return Ok(Some(Tree::default())) };
        let pruned = match pruned::read(self.dir, key) {
            Ok(Some(pruned)) => pruned,
            Ok(None) => return Ok(Some(Tree::default())),
            Err(PrunedError::File(error)) => return Err(error.into()),
            // What is missing at the front is then found as a gap.
            Err(PrunedError::Unproven { path, reason }) => {
                self.find(Finding::Pruned { path, reason });
                return Ok(Some(Tree::default()));
            }
        };
        // An archive ends before what is proven of the log that goes on.
        if pruned.signed() > self.signed && !self.archive && self.has_latest() {
            self.report.find_once(Finding::RolledBack { size: self.signed, issued: pruned.signed() });
        }
        let Some(tree) = pruned.tree(self.dir)? else {
            self.find(Finding::PrunedTiles { minimum: pruned.minimum() });
            return Ok(None);
        };
        let mut gone = Gone::of(self.dir, &pruned, tree.clone());
        self.tiles_of(&mut gone)?;
        self.gone = Some(gone);
        self.report.notes.push(Note::Pruned(Box::new(pruned)));
        Ok(Some(tree))
    }

    /// Where the records begin that are there.
    pub(super) fn minimum(&self) -> u64 {
        self.gone.as_ref().map_or(0, |gone| gone.minimum)
    }

    /// Each full tile of what went must be what the one above it says.
    fn tiles_of(&mut self, gone: &mut Gone) -> Result<(), FileError> {
        for level in 0u8.. {
            let full = tree::full_tiles(gone.minimum, level.into());
            if full == 0 {
                return Ok(());
            }
            for index in 0..full {
                let root = tile::read(self.dir, level, index)?.map(|hashes| tree::complete(&hashes));
                let above = gone.nodes.complete(TILE_HEIGHT * (u32::from(level) + 1), index).ok();
                if root.is_some() && root == above {
                    self.report.tiles += 1;
                } else {
                    let path = tile::path(self.dir, level, index);
                    self.find(Finding::Tile { path, record: None });
                }
            }
        }
        Ok(())
    }

    /// Whether a checkpoint is right, where the tree of the records has grown to its size.
    pub(super) fn fits(&mut self, tree: &Tree, anchor: &Anchor) -> bool {
        match &mut self.gone {
            Some(gone) if anchor.size < gone.minimum => gone.begins_with(anchor),
            _ => tree.root() == anchor.root,
        }
    }

    /// Holds a full tile against what is stored.
    pub(super) fn tile(&mut self, full: FullTile<'_>) -> Result<(), FileError> {
        let path = tile::path(self.dir, full.level, full.index);
        let stored = tile::read(self.dir, full.level, full.index)?;
        let records = (TILE as u128).pow(u32::from(full.level) + 1) * (u128::from(full.index) + 1);
        match stored {
            Some(stored) if stored == full.hashes => self.report.tiles += 1,
            // Written before the checkpoint that covers it; of a later one, a crash may have left anything.
            _ if records > u128::from(self.signed) => {}
            None => self.find(Finding::Tile { path, record: None }),
            Some(stored) => {
                let differs = stored.iter().zip(full.hashes).position(|(stored, made)| stored != made);
                let record =
                    differs.filter(|_| full.level == 0).map(|at| full.index * TILE as u64 + at as u64);
                self.find(Finding::Tile { path, record });
            }
        }
        Ok(())
    }
}
