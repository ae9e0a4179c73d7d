//! Files as a log needs them: named in every error, replaced as a whole, and their directory entries made durable.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::storage::{Open, Storage, Stored};

/// The ending of a file that is not finished. Such files are residue of a crash and mean nothing.
pub(crate) const UNFINISHED: &str = "tmp";

/// An operation of the operating system failed on a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}", path.display())]
pub struct FileError {
    /// What was tried: `read`, `write`, `fsync`.
    pub doing: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

impl FileError {
    pub(crate) fn on<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self { doing, path: path.to_owned(), source }
    }

    pub(crate) fn missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// The whole story in one line, for the reason that a closed ledger gives.
    pub(crate) fn story(&self) -> String {
        format!("{self}: {}", self.source)
    }
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    std::fs::read(path).map_err(FileError::on("read", path))
}

/// The bytes of a file from `offset` on.
pub(crate) fn read_from(path: &Path, offset: u64) -> Result<Vec<u8>, FileError> {
    let mut rest = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(offset))?;
        file.read_to_end(&mut rest)
    });
    read.map_err(FileError::on("read", path))?;
    Ok(rest)
}

/// The bytes of a file, or `None` where there is none.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.missing() => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn open(storage: &dyn Storage, path: &Path, how: Open) -> Result<Box<dyn Stored>, FileError> {
    storage.open(path, how).map_err(FileError::on("open", path))
}

/// Makes a directory, and those above it, durably: the name of each is on disk before anything is made in it.
pub(crate) fn make_dir(storage: &dyn Storage, path: &Path) -> Result<(), FileError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = parent(path) {
        make_dir(storage, parent)?;
    }
    match storage.make_dir(path) {
        // Another process was faster; it is not said that it has synced the name yet.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made.map_err(FileError::on("create", path))?,
    }
    parent(path).map_or(Ok(()), |parent| sync_dir(storage, parent))
}

/// The directory that has the name of `path`.
pub(crate) fn parent(path: &Path) -> Option<&Path> {
    path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
}

/// Makes the entries of a directory durable: without it, a new or renamed file may be gone after a power loss.
pub(crate) fn sync_dir(storage: &dyn Storage, path: &Path) -> Result<(), FileError> {
    storage.sync_dir(path).map_err(FileError::on("fsync", path))
}

/// Writes a whole file durably under another name and renames it, so that a reader sees the old bytes or the new ones. The other name
/// tells what it was to be: what a killed process leaves of a public file is not taken for a private one.
pub(crate) fn replace(storage: &dyn Storage, path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let unfinished = path.with_added_extension(UNFINISHED);
    // Truncating, not creating: residue of a crash must not stand in the way.
    let write = || {
        let file = storage.open(&unfinished, Open::Replace { mode })?;
        file.write(bytes)?;
        file.sync()
    };
    let written = write().map_err(FileError::on("write", &unfinished));
    let renamed = written
        .and_then(|()| storage.rename(&unfinished, path).map_err(FileError::on("rename into place", path)));
    if renamed.is_err() {
        // Why it could not be written is told; that it could not be removed either is what a crash leaves too.
        let _ = storage.remove(&unfinished);
    }
    renamed?;
    parent(path).map_or(Ok(()), |parent| sync_dir(storage, parent))
}

/// The files below a directory, by their paths below it, sorted; none where it is not there.
pub(crate) fn below(dir: &Path) -> Result<Vec<PathBuf>, FileError> {
    let (mut files, mut dirs) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(within) = dirs.pop() {
        let path = dir.join(&within);
        let entries = match std::fs::read_dir(&path).map_err(FileError::on("list", &path)) {
            Err(error) if error.missing() => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry.map_err(FileError::on("list", &path))?;
            let is_dir = entry.file_type().map_err(FileError::on("list", &path))?.is_dir();
            let name = within.join(entry.file_name());
            if is_dir { dirs.push(name) } else { files.push(name) }
        }
    }
    files.sort();
    Ok(files)
}

/// Removes what writes that never finished left in a directory. Nobody may be writing in it.
pub(crate) fn remove_unfinished(storage: &dyn Storage, dir: &Path) -> Result<(), FileError> {
    let listed = || std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    let unfinished = |path: &&PathBuf| is_unfinished(path) && path.is_file();
    for path in listed().map_err(FileError::on("list", dir))?.iter().filter(unfinished) {
        storage.remove(path).map_err(FileError::on("remove", path))?;
    }
    Ok(())
}

/// What is in a directory, by name; nothing where it is not there.
pub(crate) fn list(dir: &Path) -> Result<Vec<PathBuf>, FileError> {
    let entries = match std::fs::read_dir(dir).map_err(FileError::on("list", dir)) {
        Err(error) if error.missing() => return Ok(Vec::new()),
        entries => entries?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(FileError::on("list", dir)));
    let mut paths = paths.collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    Ok(paths)
}

/// Whether a path is residue of a crash.
pub(crate) fn is_unfinished(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == UNFINISHED)
}

/// Cuts a file, durably.
pub(crate) fn cut(storage: &dyn Storage, path: &Path, length: u64) -> Result<(), FileError> {
    let cut = || {
        let file = storage.open(path, Open::Change)?;
        file.cut(length)?;
        file.sync()
    };
    cut().map_err(FileError::on("cut", path))
}

/// Overwrites bytes of a file, durably.
pub(crate) fn restore(
    storage: &dyn Storage,
    path: &Path,
    offset: u64,
    bytes: &[u8],
) -> Result<(), FileError> {
    let restore = || {
        let file = storage.open(path, Open::Change)?;
        file.write_at(bytes, offset)?;
        file.sync()
    };
    restore().map_err(FileError::on("restore bytes of", path))
}
