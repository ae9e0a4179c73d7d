//! What a crash leaves at the end of a log, told apart from damage.
//!
//! Records go to the file in one `write(2)` after the other, fsync comes later. That leaves two things behind:
//!
//! - A killed process, a full disk: the beginning of what was to be written. The file is shorter than its last frame says.
//! - A power loss: the file has got its new length but not all of its data. What is missing reads as zeros, and is missing in
//!   whole sectors, or from the end of an earlier write on, which is the end of a frame.
//!
//! Anything else was there and was altered. Where both can be meant, it counts as damage: a record that was acknowledged must
//! not be cut off because one byte of it is wrong.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use super::Segment;
use crate::file::FileError;
use crate::frame::{self, HEADER};

/// The smallest unit that a disk writes as a whole, in bytes. Pages and blocks are multiples of it.
const SECTOR: u64 = 512;

/// How a segment ends that does not end between two frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A write that did not finish.
    Torn { bytes: u64 },
    /// Anything else: something was there and was altered.
    Damaged,
}

/// Looks at what follows byte `offset`, where the frame of record `index` is broken. Never takes a frame that can still be read,
/// or that could be read but for one altered byte, for a torn one.
pub(crate) fn ending(segment: &Segment, offset: u64, index: u64) -> Result<Ending, FileError> {
    let path = &segment.path;
    let mut rest = Vec::new();
    File::open(path)
        .and_then(|mut file| {
            file.seek(SeekFrom::Start(offset))?;
            file.read_to_end(&mut rest)
        })
        .map_err(FileError::on("read", path))?;
    let torn = (cut_short(&rest, index) || lost_to_zeros(&rest, offset, index)) && !goes_on(&rest, index);
    Ok(if torn { Ending::Torn { bytes: rest.len() as u64 } } else { Ending::Damaged })
}

/// Whether the file ends before the frame does, and what is there is the beginning of that frame.
fn cut_short(rest: &[u8], index: u64) -> bool {
    if rest.len() < HEADER {
        // The sequence number, as far as it was written, must be the expected one.
        return index.to_le_bytes().starts_with(rest.get(8..rest.len().clamp(8, 16)).unwrap_or_default());
    }
    let end = frame::end_by_header(rest, index);
    end.is_some_and(|end| rest.len() < end) && !frame::whole_but_for_length(rest, index)
}

/// Whether the end of the frame, and everything after it, are zeros that begin where a crash can make them begin.
fn lost_to_zeros(rest: &[u8], offset: u64, index: u64) -> bool {
    let data = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if data == 0 {
        return true;
    }
    // Of the zeros before the first boundary, some may be the frame's own, so that they are not those that were lost.
    let Some(lost) = offset.checked_add(data as u64).and_then(|end| end.checked_next_multiple_of(SECTOR))
    else {
        return false;
    };
    let Ok(lost) = usize::try_from(lost - offset) else { return false };
    if lost >= rest.len() {
        return false;
    }
    if lost < HEADER {
        return index.to_le_bytes().starts_with(rest.get(8..lost.clamp(8, 16)).unwrap_or_default());
    }
    frame::end_by_header(rest, index).is_some_and(|end| lost < end)
        && !frame::whole_but_for_last_byte(rest, index)
        && !frame::whole_but_for_length(rest, index)
}

/// Whether a later record is still there.
fn goes_on(rest: &[u8], index: u64) -> bool {
    (1..rest.len()).any(|at| {
        let later = rest.get(at..).unwrap_or_default();
        matches!(frame::parse_any(later), Ok((found, _)) if found > index)
    })
}
