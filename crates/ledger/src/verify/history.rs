//! The checkpoints of the history, one after the other.

use std::path::Path;

use super::{Anchor, Finding, Source};
use crate::checkpoint::{History, SignedCheckpoint};
use crate::file::FileError;
use crate::note::VerifierKey;

/// The history, one checkpoint ahead of the records.
pub(super) struct PastCheckpoints {
    entries: History,
    /// Where the whole entries end.
    end: u64,
    pub(super) ahead: Option<Anchor>,
    last: Option<u64>,
}

pub(super) enum HistoryError {
    File(FileError),
    Entry(Finding),
}

impl PastCheckpoints {
    /// Of a history whose whole entries end at byte `end`.
    pub(super) fn new(entries: History, end: u64) -> Self {
        Self { entries, end, ahead: None, last: None }
    }

    /// The next checkpoint.
    pub(super) fn advance(&mut self, key: &VerifierKey, path: &Path) -> Result<Option<Anchor>, HistoryError> {
        let Some(entry) = self.entries.next().map_err(HistoryError::File)? else { return Ok(None) };
        let (path, offset) = (path.to_owned(), entry.offset);
        if offset >= self.end {
            return Ok(None);
        }
        let bad = |reason: String| HistoryError::Entry(Finding::Checkpoint { path, offset, reason });
        if !entry.whole {
            return Err(bad("the entry is not followed by a blank line".to_owned()));
        }
        let signed = match SignedCheckpoint::open(&entry.bytes, key) {
            Ok(signed) => signed.checkpoint,
            Err(error) => return Err(bad(error.to_string())),
        };
        match self.last.replace(signed.size) {
            // A log begins with the checkpoint of no records.
            None if signed.size > 0 => Err(bad(format!(
                "the history begins with a checkpoint of {} records: those before it were taken away",
                signed.size
            ))),
            Some(last) if last >= signed.size => {
                Err(bad(format!("a checkpoint of {} records follows one of {last}", signed.size)))
            }
            _ => {
                Ok(Some(Anchor { size: signed.size, root: signed.root, source: Source::History { offset } }))
            }
        }
    }
}
