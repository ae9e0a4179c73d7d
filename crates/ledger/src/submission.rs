//! How a record comes to the queue.
//!
//! `tests/interleavings` includes this file.

use vidimus_core::permit::Room;

/// What a record is to its call, which says whether it can be refused for want of space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Its decision: taken where there is space for it and for the record of its end; for so much more where an answer is `kept` in that.
    Decision { kept: bool },
    /// Its end. It has happened, so it is always taken.
    End,
    /// All there is of it.
    Only,
}

/// What became of a record at the first poll.
pub(crate) enum Submitted {
    /// It waits for another caller, or for the disk.
    Waits(u64, Room),
    /// This caller wrote it, unless the ledger has failed.
    Done(u64, Room),
}
