//! What stands behind the last seal of a log.

use std::time::Duration;

use super::Note;
use crate::file::FileError;
use crate::sectors;
use crate::segment::SegmentError;
use crate::walk::Walk;

/// What stands at the end of the log behind its last seal.
pub(super) enum Unsealed {
    None,
    /// The log has grown meanwhile.
    More,
    /// A write that did not finish, though of no record in the midst.
    Torn(Note),
    /// Whole records, and nothing that cuts off their seal.
    Forged(SegmentError),
}

/// Whether records without a seal at the end of the log are what a crash leaves: the end of what is written is then that of a sector.
pub(super) fn unsealed(walk: &mut Walk) -> Result<Unsealed, FileError> {
    /// A writer may be in the midst of a write, on a file system that shows any part of it.
    const ATTEMPTS: usize = 5;
    for attempt in 1..=ATTEMPTS {
        let Some(error) = walk.unsealed() else { return Ok(Unsealed::None) };
        let (records, Some((path, offset, bytes))) = (walk.sealed(), walk.behind_seal()?) else {
            return Ok(Unsealed::Forged(error));
        };
        if sectors::is_border(offset + bytes) {
            return Ok(Unsealed::Torn(Note::Torn { path, offset, bytes, records }));
        }
        if attempt == ATTEMPTS {
            return Ok(Unsealed::Forged(error));
        }
        std::thread::sleep(Duration::from_millis(10));
        if walk.grown() {
            return Ok(Unsealed::More);
        }
    }
    Ok(Unsealed::None)
}
