//! What a power loss does to a file that was being appended to.
//!
//! A disk writes whole sectors, in any order. The file has got some new length, and of each sector either what was written or what
//! was there before, which reads as zeros where the file had not reached.

use std::ops::Range;

/// The smallest unit that a disk writes as a whole, in bytes. Pages and blocks are multiples of it.
const SECTOR: u64 = 512;

/// The parts of `length` bytes at `offset` that are each on disk as a whole or not at all.
pub(crate) fn parts(offset: u64, length: usize) -> impl Iterator<Item = Range<usize>> {
    let first = usize::try_from(SECTOR - offset % SECTOR).unwrap_or(usize::MAX).min(length);
    let rest = (first..length).step_by(SECTOR as usize);
    let ends = move |begin: usize| begin..(begin + SECTOR as usize).min(length);
    std::iter::once(0..first).filter(|part| !part.is_empty()).chain(rest.map(ends))
}

/// Whether `found`, which stands at byte `offset` of a file, is what a power loss left of `written`: it was appended there, and some
/// sectors of it may have been lost, or its end.
pub(crate) fn left_of(written: &[u8], found: &[u8], offset: u64) -> bool {
    let (whole, beyond) = found.split_at(found.len().min(written.len()));
    let kept = parts(offset, whole.len()).all(|part| {
        let (there, was) = (whole.get(part.clone()), written.get(part));
        there == was || there.is_some_and(lost)
    });
    kept && lost(beyond)
}

/// Whether a sector ends at byte `offset`, and another begins.
pub(crate) fn is_border(offset: u64) -> bool {
    offset.is_multiple_of(SECTOR)
}

/// Whether nothing but zeros is there.
pub(crate) fn lost(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests;
