//! What a crash leaves at the end of a log, told apart from damage.
//!
//! Records go to the file in one `write(2)` after the other, fsync comes later. That leaves two things behind:
//!
//! - A killed process, a full disk: the beginning of what was to be written. The file is shorter than its last frame says.
//! - A power loss: of the sectors written since the last fsync, some are there and some read as zeros, in any order
//!   ([`crate::sectors`]). So there may be a hole, and whole frames behind it.
//!
//! Anything else was there and was altered. A frame says how many of those before it were not yet on disk when it was made: what it
//! says was on disk cannot be lost, and a hole in it is damage. Where both can be meant, it counts as damage, but for the few bytes
//! that a sector's border cuts off from a frame, its length or the end of its record: its checksum says what they were, so they are
//! put back, and nothing is lost whichever it was.

use std::ops::Range;

use super::Segment;
use crate::file::{self, FileError};
use crate::frame::{self, HEADER};
use crate::seal::{self, SEAL, Seal};
use crate::sectors;

/// How a segment ends that does not end between two frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A write that did not finish: `bytes` from the end of the last whole frame on.
    Torn { bytes: u64 },
    /// The frame lacks a few bytes that a power loss can have taken, and is whole with these at byte `at` of the file.
    Lacks { at: u64, bytes: Vec<u8> },
    /// Anything else: something was there and was altered.
    Damaged,
}

/// Looks at what follows byte `offset`, where the frame of record `index`, or a seal before it, is broken; of those before it,
/// `sealed` have a seal. Never takes a frame that can still be read, or that could be read but for one altered byte, for a torn one.
pub(crate) fn ending(segment: &Segment, offset: u64, index: u64, sealed: u64) -> Result<Ending, FileError> {
    Ok(of(&file::read_from(&segment.path, offset)?, offset, index, sealed))
}

fn of(rest: &[u8], offset: u64, index: u64, sealed: u64) -> Ending {
    // Of one write, all is on disk or it was not synced.
    if was_on_disk(rest, sealed) {
        return Ending::Damaged;
    }
    if let Some((at, byte)) = seal::whole_but_for_one_byte(rest, index) {
        let mut lost = sectors::parts(offset, SEAL).filter(|part| part.contains(&at));
        return match lost.next().and_then(|part| rest.get(part)) {
            Some(part) if sectors::lost(part) => Ending::Lacks { at: offset + at as u64, bytes: vec![byte] },
            _ => Ending::Damaged,
        };
    }
    if let Some((at, bytes)) = lacks(rest, offset, index) {
        return Ending::Lacks { at: offset + at as u64, bytes };
    }
    // With another length, or another last byte, the frame would be whole: one byte was altered.
    let altered =
        frame::whole_but_for_length(rest, index).is_some() || frame::whole_but_for_last_byte(rest, index);
    if unfinished(rest, offset, index) && !altered {
        Ending::Torn { bytes: rest.len() as u64 }
    } else {
        Ending::Damaged
    }
}

/// Whether a later record that is still there says that record `index` was on disk before it.
fn was_on_disk(rest: &[u8], index: u64) -> bool {
    (1..rest.len()).any(|at| {
        let later = rest.get(at..).unwrap_or_default();
        matches!(frame::parse_any(later), Ok(found) if found.on_disk > index)
            || seal::begins(later) && matches!(Seal::parse_any(later), Ok(seal) if seal.signed > index)
    })
}

/// Whether what is missing first, a lost sector or what would follow the end of the file, is missing from this frame.
fn unfinished(rest: &[u8], offset: u64, index: u64) -> bool {
    let lost = sectors::parts(offset, rest.len()).find(|part| {
        // Of a first byte alone in its sector, zero can be the right value.
        part.end > 1 && rest.get(part.clone()).is_some_and(sectors::lost)
    });
    let missing = lost.map_or(rest.len(), |part| part.start);
    let there = rest.get(..missing).unwrap_or_default();
    if there.len() < HEADER {
        // As far as it goes, the sequence number must be the expected one.
        return index.to_le_bytes().starts_with(there.get(8..there.len().clamp(8, 16)).unwrap_or_default());
    }
    if frame::end_by_header(there, index).is_some_and(|end| missing < end) {
        return true;
    }
    lost_length(there, offset, index) || unfinished_seal(there, index)
}

/// Whether a seal goes on behind the end of `there`. Its first byte may be the zero that stands alone in its sector.
fn unfinished_seal(there: &[u8], index: u64) -> bool {
    let Some((first, rest)) = there.split_first() else { return false };
    let begins = matches!(first, 0 | b'S') && rest.starts_with(b"EAL");
    begins && there.len() < SEAL && there.get(8..16) == Some(&index.to_le_bytes())
}

/// Whether the frame goes on to the end of `there` and beyond, with another first byte than the zero that stands alone in its sector:
/// the lower half of its length was lost.
fn lost_length(there: &[u8], offset: u64, index: u64) -> bool {
    /// Fewer bytes can be the beginning of the next frame. The third byte of a frame is zero, and no byte of a record is.
    const TEXT: usize = 3;
    let alone = sectors::parts(offset, there.len()).next() == Some(0..1) && there.first() == Some(&0);
    let mut longest = there.to_vec();
    longest.iter_mut().take(1).for_each(|byte| *byte = u8::MAX);
    let Some(end) = frame::end_by_header(&longest, index).filter(|_| alone) else { return false };
    let least = end.saturating_sub(usize::from(u8::MAX));
    let text = there.get(least..).unwrap_or_default();
    there.len() < end && text.len() >= TEXT && !text.contains(&0)
}

/// What the frame lacks, if that lies in a sector without the rest of it, and what it must be: its length, or its last byte.
fn lacks(rest: &[u8], offset: u64, index: u64) -> Option<(usize, Vec<u8>)> {
    let lost = |part: &Range<usize>| rest.get(part.clone()).is_some_and(sectors::lost);
    let first = sectors::parts(offset, rest.len()).next().filter(lost);
    if let (Some(first), Some(length)) = (first, frame::whole_but_for_length(rest, index)) {
        let length = length.to_le_bytes();
        // What of it is behind the border is still there.
        let kept = length.iter().zip(rest).skip(first.end).all(|(was, is)| was == is);
        return kept.then(|| (0, length.to_vec()));
    }
    let last = frame::end_by_header(rest, index)?.checked_sub(1)?;
    let alone = sectors::parts(offset, rest.len()).any(|part| part.start == last && lost(&part));
    (alone && frame::whole_but_for_last_byte(rest, index)).then(|| (last, vec![frame::RECORD_END]))
}
