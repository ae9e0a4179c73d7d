//! The newest checkpoint of a log that is opened, and the history of all.

use std::path::Path;

use super::OpenError;
use crate::checkpoint::{self, Checkpoint, SignedCheckpoint};
use crate::file::{self, FileError};
use crate::growth;
use crate::note::SigningKey;
use crate::storage::Storage;
use crate::tree::Tree;

/// The latest checkpoint, and what is to be done to the history so that it ends with it.
pub(super) struct Latest {
    pub(super) signed: SignedCheckpoint,
    /// The size of the last checkpoint in the history.
    issued: Option<u64>,
    /// Where the history is to be cut.
    cut: Option<u64>,
    /// Whether the history lacks the checkpoint.
    lacks: bool,
}

/// The latest checkpoint. A new log begins with one of no records, so that a log without a checkpoint is a log that lost it.
pub(super) fn latest(
    storage: &dyn Storage,
    dir: &Path,
    key: &SigningKey,
    new: bool,
) -> Result<Latest, OpenError> {
    let (path, history) = (checkpoint::path(dir), checkpoint::history_path(dir));
    let (last, rest) = checkpoint::last(dir, key.verifier())?;
    let signed = match file::read_if_there(&path)? {
        Some(note) => SignedCheckpoint::open(&note, key.verifier())
            .map_err(|source| OpenError::Checkpoint { path, offset: 0, source })?,
        None if new && last.is_none() && rest.bytes.is_empty() => {
            let origin = key.verifier().name().to_owned();
            let first = Checkpoint { origin, size: 0, root: Tree::default().root() }.sign(key);
            growth::issue(storage, dir, &first)?;
            return Ok(Latest { signed: first, issued: Some(0), cut: None, lacks: false });
        }
        None => return Err(OpenError::CheckpointMissing { path }),
    };
    if signed.is_archive() {
        return Err(OpenError::Archive { dir: dir.to_owned() });
    }
    let size = signed.checkpoint.size;
    if let Some(SignedCheckpoint { checkpoint: last, .. }) = &last {
        if last.size > size {
            return Err(OpenError::RolledBack { size, issued: last.size });
        }
        if last.size == size && *last != signed.checkpoint {
            return Err(OpenError::Altered { size });
        }
    }
    // The file is written before the history, so an entry that a crash cut short can only be that of the file.
    if !rest.bytes.is_empty() && !signed.left(&rest) {
        return Err(OpenError::History { path: history, offset: rest.offset, bytes: rest.bytes.len() });
    }
    let issued = last.map(|last| last.checkpoint.size);
    // It begins with the checkpoint of no records, which is there for good before there is another.
    if issued.is_none() && size > 0 {
        return Err(OpenError::CheckpointMissing { path: history });
    }
    let cut = (!rest.bytes.is_empty()).then_some(rest.offset);
    Ok(Latest { lacks: issued != Some(size), signed, issued, cut })
}

impl Latest {
    /// Whether both files have what was issued by what the log's end says.
    pub(super) fn fits(&self, said: u64) -> Result<(), OpenError> {
        let size = self.signed.checkpoint.size;
        if size < said {
            return Err(OpenError::RolledBack { size, issued: said });
        }
        // Without a history, nothing but the checkpoint of no records is there.
        let issued = self.issued.unwrap_or(0);
        if issued < said { Err(OpenError::HistoryShort { issued, said }) } else { Ok(()) }
    }

    /// The history ends with the checkpoint when this returns.
    pub(super) fn settle(&self, storage: &dyn Storage, dir: &Path) -> Result<(), FileError> {
        if let Some(offset) = self.cut {
            file::cut(storage, &checkpoint::history_path(dir), offset)?;
        }
        if self.lacks { checkpoint::remember(storage, dir, &self.signed) } else { Ok(()) }
    }
}
