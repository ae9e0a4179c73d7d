//! Files as a log needs them: named in every error, replaced as a whole, and their directory entries made durable.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

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

/// The bytes of a file, or `None` where there is none.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.missing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a directory, and those above it, for the owner only: records name people.
pub(crate) fn make_dir(path: &Path) -> Result<(), FileError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(FileError::on("create", path))
}

/// Makes the entries of a directory durable: without it, a new or renamed file may be gone after a power loss.
pub(crate) fn sync_dir(path: &Path) -> Result<(), FileError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(FileError::on("fsync", path))
}

/// Writes a whole file durably under another name and renames it, so that a reader sees the old bytes or the new ones.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let unfinished = path.with_extension(UNFINISHED);
    let write = || -> io::Result<()> {
        // Truncating, not `create_new`: residue of a crash must not stand in the way.
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(FileError::on("write", &unfinished))?;
    std::fs::rename(&unfinished, path).map_err(FileError::on("rename into place", path))?;
    path.parent().map_or(Ok(()), sync_dir)
}
