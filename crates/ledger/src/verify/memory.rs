//! The last verified checkpoint of a log, remembered outside of it: a log that is rolled back together with its checkpoint and
//! history is consistent in itself, and only somebody who saw more of it can tell.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::file::{self, FileError};
use crate::note::{KeyError, VerifierKey, hex};

/// The memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    #[error("{}", .0.story())]
    File(FileError),
    #[error("{} is not a remembered checkpoint", path.display())]
    Form { path: PathBuf },
    #[error("{}: {source}", path.display())]
    Key { path: PathBuf, source: KeyError },
}

/// `$XDG_STATE_HOME/vidimus/verified`, or `~/.local/state/vidimus/verified` (XDG Base Directory Specification); `None` where
/// neither variable is set.
pub fn default_memory() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").filter(|path| path.is_absolute());
    let state = state.or_else(|| set("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("vidimus").join("verified"))
}

fn path(memory: &Path, origin: &str) -> PathBuf {
    let hash = hex(&Sha256::digest(origin));
    memory.join(hash.get(..32).unwrap_or(&hash))
}

/// Key and checkpoint of the log named `origin`, as they were last verified.
pub(super) fn recall(memory: &Path, origin: &str) -> Result<Option<(VerifierKey, String)>, MemoryError> {
    let path = path(memory, origin);
    let Some(bytes) = file::read_if_there(&path).map_err(MemoryError::File)? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|_| MemoryError::Form { path: path.clone() })?;
    let (key, note) = text.split_once('\n').ok_or_else(|| MemoryError::Form { path: path.clone() })?;
    let key = key.parse().map_err(|source| MemoryError::Key { path, source })?;
    Ok(Some((key, note.to_owned())))
}

/// Remembers a verified checkpoint.
pub(super) fn remember(memory: &Path, key: &VerifierKey, note: &str) -> Result<(), MemoryError> {
    let write = || {
        file::make_dir(memory)?;
        file::replace(&path(memory, key.name()), format!("{key}\n{note}").as_bytes(), 0o600)
    };
    write().map_err(MemoryError::File)
}
