//! What was last verified, remembered outside of the log. A log that is rolled back together with its checkpoint and history is
//! consistent in itself, and so is another log that was put in its place; only somebody who saw more can tell. So the last
//! checkpoint is remembered by the log's name, and the log's key by the path it was found at.
//!
//! Several processes may share one memory. What is remembered is read before the log, so that the log is never older than what is
//! held against it. It is changed under a lock, never to an older checkpoint of the same log, and not where another process has
//! changed whose log it is since.

use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::checkpoint::SignedCheckpoint;
use crate::file::{self, FileError};
use crate::note::{KeyError, VerifierKey};
use crate::storage::Disk;

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
    let mut hash = HEXLOWER.encode(&Sha256::digest(bytes));
    hash.truncate(32);
    hash
}

/// Under which paths the log in `dir` is known: as it was named, and where that leads. Both, so that neither a link that now
/// leads elsewhere nor another way to the same place hides a change.
fn places(dir: &Path) -> Result<Vec<PathBuf>, FileError> {
    let named = std::path::absolute(dir).map_err(FileError::on("resolve", dir))?;
    let real = dir.canonicalize().map_err(FileError::on("resolve", dir))?;
    Ok(if named == real { vec![real] } else { vec![real, named] })
}

/// The key of the log that was last verified at a place.
fn recall_at(memory: &Path, place: &Path) -> Result<Option<VerifierKey>, MemoryError> {
    let path = place_path(memory, place);
    let Some(bytes) = file::read_if_there(&path).map_err(MemoryError::File)? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|_| MemoryError::Form { path: path.clone() })?;
    let (key, _) = text.split_once('\n').ok_or_else(|| MemoryError::Form { path: path.clone() })?;
    key.parse().map(Some).map_err(|source| MemoryError::Key { path, source })
}

/// Key and checkpoint of the log named `origin`, as they were last verified.
fn recall(memory: &Path, origin: &str) -> Result<Option<(VerifierKey, String)>, MemoryError> {
    let path = path(memory, origin);
    let Some(bytes) = file::read_if_there(&path).map_err(MemoryError::File)? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|_| MemoryError::Form { path: path.clone() })?;
    let (key, note) = text.split_once('\n').ok_or_else(|| MemoryError::Form { path: path.clone() })?;
    let key: VerifierKey = key.parse().map_err(|source| MemoryError::Key { path: path.clone(), source })?;
    // It was remembered because it is signed by this key. One that is not says nothing of the log.
    SignedCheckpoint::open(note.as_bytes(), &key).map_err(|_| MemoryError::Form { path })?;
    Ok(Some((key, note.to_owned())))
}

/// What is remembered of a log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Recalled {
    /// The paths that the log is known under, and the key of the log that was there.
    pub(super) places: Vec<(PathBuf, Option<VerifierKey>)>,
    /// Key and checkpoint of the log of this name.
    pub(super) last: Option<(VerifierKey, String)>,
}

impl Recalled {
    /// What is remembered of the log named `origin` in `dir`.
    pub(super) fn of(memory: &Path, dir: &Path, origin: &str) -> Result<Self, MemoryError> {
        let places = places(dir).map_err(MemoryError::File)?.into_iter();
        let places = places.map(|place| recall_at(memory, &place).map(|key| (place, key)));
        Ok(Self { places: places.collect::<Result<_, _>>()?, last: recall(memory, origin)? })
    }

    /// Remembers a verified checkpoint, and that its log is at these places.
    pub(super) fn update(&self, memory: &Path, key: &VerifierKey, note: &str) -> Result<(), MemoryError> {
        file::make_dir(&Disk, memory).map_err(MemoryError::File)?;
        let _lock = locked(memory).map_err(MemoryError::File)?;
        let now = recall(memory, key.name())?;
        let size = |note: &str| {
            let signed = SignedCheckpoint::open(note.as_bytes(), key).ok();
            signed.map(|signed| signed.checkpoint.size)
        };
        let newer = match &now {
            Some((known, last)) if known == key => size(last) < size(note),
            known => *known == self.last,
        };
        if newer {
            write(&path(memory, key.name()), &format!("{key}\n{note}"))?;
        }
        for (place, before) in &self.places {
            let known = recall_at(memory, place)?;
            if known.as_ref() != Some(key) && known == *before {
                // The path is for people who look into the file.
                write(&place_path(memory, place), &format!("{key}\n{}\n", place.display()))?;
            }
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> Result<(), MemoryError> {
    file::replace(&Disk, path, text.as_bytes(), 0o600).map_err(MemoryError::File)
}

/// Waits for other processes that change the memory. The lock goes with the file.
fn locked(memory: &Path) -> Result<File, FileError> {
    let locked = File::open(memory).and_then(|file| file.lock().map(|()| file));
    locked.map_err(FileError::on("lock", memory))
}

#[cfg(test)]
mod tests;
