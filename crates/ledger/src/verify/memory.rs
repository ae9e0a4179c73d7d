//! What was last verified, remembered outside of the log. A log that is rolled back together with its checkpoint and history is
//! consistent in itself, and so is another log that was put in its place; only somebody who saw more can tell. So the last
//! checkpoint is remembered by the log's name, and the log's key by the path it was found at.

use std::os::unix::ffi::OsStrExt as _;
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
    memory.join(short(origin.as_bytes()))
}

/// The file that says which log was at a place.
fn place_path(memory: &Path, place: &Path) -> PathBuf {
    memory.join(format!("at-{}", short(place.as_os_str().as_bytes())))
}

fn short(bytes: &[u8]) -> String {
    let mut hash = hex(&Sha256::digest(bytes));
    hash.truncate(32);
    hash
}

/// Under which paths the log in `dir` is known: as it was named, and where that leads. Both, so that neither a link that now
/// leads elsewhere nor another way to the same place hides a change.
pub(super) fn places(dir: &Path) -> Result<Vec<PathBuf>, FileError> {
    let named = std::path::absolute(dir).map_err(FileError::on("resolve", dir))?;
    let real = dir.canonicalize().map_err(FileError::on("resolve", dir))?;
    Ok(if named == real { vec![real] } else { vec![real, named] })
}

/// The key of the log that was last verified at a place.
pub(super) fn recall_at(memory: &Path, place: &Path) -> Result<Option<VerifierKey>, MemoryError> {
    let path = place_path(memory, place);
    let Some(bytes) = file::read_if_there(&path).map_err(MemoryError::File)? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|_| MemoryError::Form { path: path.clone() })?;
    let (key, _) = text.split_once('\n').ok_or_else(|| MemoryError::Form { path: path.clone() })?;
    key.parse().map(Some).map_err(|source| MemoryError::Key { path, source })
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

/// Remembers a verified checkpoint, and that its log is at these places.
pub(super) fn remember(
    memory: &Path,
    places: &[PathBuf],
    key: &VerifierKey,
    note: &str,
) -> Result<(), MemoryError> {
    let write = || {
        file::make_dir(memory)?;
        file::replace(&path(memory, key.name()), format!("{key}\n{note}").as_bytes(), 0o600)?;
        places.iter().try_for_each(|place| {
            // The path is for people who look into the file.
            let text = format!("{key}\n{}\n", place.display());
            file::replace(&place_path(memory, place), text.as_bytes(), 0o600)
        })
    };
    write().map_err(MemoryError::File)
}
