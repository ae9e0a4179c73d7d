//! The Merkle tree over the records (RFC 6962 section 2.1, the same hashing as RFC 9162), grown leaf by leaf.

use sha2::{Digest, Sha256};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// Hashes in a full tile, and the logarithm of it (C2SP tlog-tiles, "Merkle Tree").
pub(crate) const TILE: usize = 256;
pub(crate) const TILE_HEIGHT: u32 = 8;

/// The hash of a record as a leaf.
pub(crate) fn leaf(record: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(record).finalize().into()
}

/// The hash of two neighbouring nodes.
pub(crate) fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root over `hashes`, whose number is a power of two (0 is taken as the empty tree).
pub(crate) fn complete(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => Sha256::digest([]).into(),
        [one] => *one,
        more => {
            let (left, right) = more.split_at(more.len() / 2);
            node(&complete(left), &complete(right))
        }
    }
}

/// A full tile, which the tree will not need again once it is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FullTile<'a> {
    pub(crate) level: u8,
    pub(crate) index: u64,
    pub(crate) hashes: &'a [Hash],
}

/// The right edge of a tree: enough to append and to know the root.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    size: u64,
    /// Roots of the complete subtrees that the tree falls into, largest first.
    peaks: Vec<Hash>,
    /// By level, the hashes of the last tile, which is not full.
    partial: Vec<Vec<Hash>>,
}

impl Tree {
    /// The tree of `size` leaves whose partial tiles are `partial`, by level. `None` where their widths do not fit the size.
    pub(crate) fn restore(size: u64, partial: Vec<Vec<Hash>>) -> Option<Self> {
        let levels = u32::try_from(partial.len()).ok()?;
        if size.checked_shr(TILE_HEIGHT * levels).is_some_and(|rest| rest > 0) {
            return None;
        }
        let mut peaks = Vec::new();
        for (level, hashes) in (0..levels).zip(&partial).rev() {
            if width(size, level) != hashes.len() {
                return None;
            }
            let mut rest = hashes.as_slice();
            while !rest.is_empty() {
                let (subtree, after) = rest.split_at(1 << rest.len().ilog2());
                peaks.push(complete(subtree));
                rest = after;
            }
        }
        Some(Self { size, peaks, partial })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf; hands over the tiles that this fills, lowest first.
    pub(crate) fn append<E>(
        &mut self,
        leaf: Hash,
        mut full: impl FnMut(FullTile<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.push(0, leaf);
        let mut hash = leaf;
        let mut height = 0;
        // As in a binary counter: every 1 at the end of the size is a peak that the new one completes to a larger.
        while (self.size >> height) & 1 == 1 {
            if let Some(left) = self.peaks.pop() {
                hash = node(&left, &hash);
            }
            height += 1;
            if height % TILE_HEIGHT == 0 {
                let level = height / TILE_HEIGHT;
                self.fill(level - 1, self.size >> height, &mut full)?;
                self.push(level, hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
        Ok(())
    }

    fn push(&mut self, level: u32, hash: Hash) {
        let level = level as usize;
        if self.partial.len() <= level {
            self.partial.resize_with(level + 1, || Vec::with_capacity(TILE));
        }
        if let Some(tile) = self.partial.get_mut(level) {
            tile.push(hash);
        }
    }

    fn fill<E>(
        &mut self,
        level: u32,
        index: u64,
        full: &mut impl FnMut(FullTile<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(hashes) = self.partial.get_mut(level as usize) else { return Ok(()) };
        let level = u8::try_from(level).unwrap_or(u8::MAX);
        full(FullTile { level, index, hashes })?;
        hashes.clear();
        Ok(())
    }

    /// The tree's root hash (RFC 6962 section 2.1).
    pub(crate) fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => complete(&[]),
            Some(last) => peaks.fold(*last, |right, left| node(left, &right)),
        }
    }

    /// The hashes of the last, not full tile of a level.
    pub(crate) fn partial(&self, level: u8) -> &[Hash] {
        self.partial.get(usize::from(level)).map_or(&[], Vec::as_slice)
    }
}

/// How many hashes the partial tile of a level has in a tree of `size` leaves (C2SP tlog-tiles, "Partial Tiles").
pub(crate) fn width(size: u64, level: u32) -> usize {
    let hashes = size.checked_shr(TILE_HEIGHT * level).unwrap_or(0);
    usize::try_from(hashes % TILE as u64).unwrap_or(0)
}

/// How many full tiles a level has in a tree of `size` leaves.
pub(crate) fn full_tiles(size: u64, level: u32) -> u64 {
    size.checked_shr(TILE_HEIGHT * (level + 1)).unwrap_or(0)
}

/// The inclusion proof of leaf `index` in the tree of `size` leaves (RFC 6962 section 2.1.1), lowest hash first.
///
/// `complete` gives the root over the 2^`height` leaves from `at * 2^height` on, all of which are in that tree.
pub(crate) fn inclusion<E>(
    index: u64,
    size: u64,
    mut complete: impl FnMut(u32, u64) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    let mut siblings = Vec::new();
    let (mut from, mut to) = (0, size);
    // From the root down; at each step the half without the leaf is a hash of the proof.
    while to - from > 1 {
        let middle = from + half(to - from);
        let (keep, sibling) =
            if index < middle { ((from, middle), (middle, to)) } else { ((middle, to), (from, middle)) };
        siblings.push(subtree(sibling.0, sibling.1, &mut complete)?);
        (from, to) = keep;
    }
    siblings.reverse();
    Ok(siblings)
}

/// The proof that the tree of `size` leaves begins with that of `older` (RFC 6962 section 2.1.2), lowest hash first; without a hash
/// where one of both is empty or they are the same.
///
/// `complete` is that of [`inclusion`].
pub(crate) fn consistency<E>(
    older: u64,
    size: u64,
    mut complete: impl FnMut(u32, u64) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    let mut hashes = Vec::new();
    if older == 0 || older >= size {
        return Ok(hashes);
    }
    let (mut from, mut to) = (0, size);
    while older < to {
        let middle = from + half(to - from);
        if older <= middle {
            hashes.push(subtree(middle, to, &mut complete)?);
            to = middle;
        } else {
            hashes.push(subtree(from, middle, &mut complete)?);
            from = middle;
        }
    }
    // Where the older tree is one that this one falls into, its root is known.
    if from > 0 {
        hashes.push(subtree(from, to, &mut complete)?);
    }
    hashes.reverse();
    Ok(hashes)
}

/// The largest power of two below `count` (RFC 6962 section 2.1), for `count` > 1.
fn half(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// The root over leaves `from..to`, where `from` is a multiple of the largest power of two that is not above `to - from`.
fn subtree<E>(from: u64, to: u64, complete: &mut impl FnMut(u32, u64) -> Result<Hash, E>) -> Result<Hash, E> {
    let count = to - from;
    if count.is_power_of_two() {
        let height = count.ilog2();
        return complete(height, from >> height);
    }
    let middle = from + half(count);
    Ok(node(&subtree(from, middle, complete)?, &subtree(middle, to, complete)?))
}

/// The root that a leaf and its inclusion proof lead to (RFC 9162 section 2.1.3.2); `None` where the proof has the wrong length
/// or the index is not in the tree.
pub(crate) fn root_of_proof(index: u64, size: u64, leaf: Hash, proof: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            hash = node(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// Whether a consistency proof leads from the root of `older` leaves to that of `size` (RFC 9162 section 2.1.4.2).
pub(crate) fn is_consistent(
    (older, older_root): (u64, &Hash),
    (size, root): (u64, &Hash),
    proof: &[Hash],
) -> bool {
    if older == 0 || older >= size {
        let fits = older == size || older == 0 && *older_root == complete(&[]);
        return fits && proof.is_empty() && (older < size || older_root == root);
    }
    let first = if older.is_power_of_two() { Some(older_root) } else { None };
    let mut hashes = first.into_iter().chain(proof);
    let Some(begin) = hashes.next() else { return false };
    let (mut at, mut last) = (older - 1, size - 1);
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let (mut old, mut new) = (*begin, *begin);
    for hash in hashes {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            (old, new) = (node(hash, &old), node(hash, &new));
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            new = node(&new, hash);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && old == *older_root && new == *root
}

#[cfg(test)]
mod tests;
