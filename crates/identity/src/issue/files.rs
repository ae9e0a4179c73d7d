//! Key files: created once, whole, readable by their owner only.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::rand;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use vidimus_core::exposure::Access;

/// Mode of files that hold a private key.
pub(crate) const PRIVATE: u32 = 0o600;
/// Mode of files that hold certificates and public keys.
pub(crate) const PUBLIC: u32 = 0o644;
/// How long somebody else's lock is waited for: so many times this pause, 10 s in all. What is done under one takes milliseconds.
const LOCK_PAUSE: Duration = Duration::from_millis(5);
const LOCK_TRIES: usize = 2000;
/// No key file is nearly this large, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("{path}: cannot {operation}", path = path.display())]
    Io { path: PathBuf, operation: &'static str, source: io::Error },
    #[error(
        "{path}: mode {mode:o} lets everybody on this machine read the key; make it 0600, and consider the key stolen",
        path = path.display()
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{path}: not {expected}: {reason}", path = path.display())]
    Content { path: PathBuf, expected: &'static str, reason: String },
    #[error("{path}: another process holds this lock, and does not let go of it", path = path.display())]
    Locked { path: PathBuf },
    #[error("the random number generator failed")]
    Random,
}

impl KeyFileError {
    /// The file, where it is about one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Io { path, .. }
            | Self::Exposed { path, .. }
            | Self::Content { path, .. }
            | Self::Locked { path } => Some(path),
            Self::Random => None,
        }
    }

    pub(crate) fn io(path: &Path, operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, operation, source }
    }
}

/// Makes the directory and its parents, for the owner only.
pub(crate) fn directory(path: &Path) -> Result<(), KeyFileError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(KeyFileError::io(path, "create the directory"))
}

/// Locks the file at `path`, made on first use, until what is returned is dropped, or the process ends. It keeps others that lock
/// the same file away, in this process and in others; not who does not lock it.
///
/// Blocks the thread for 10 s at most.
pub(crate) fn lock(path: &Path) -> Result<File, KeyFileError> {
    // Never truncated, never removed: who locked a file that is gone keeps nobody away.
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(PRIVATE).open(path);
    let file = file.map_err(KeyFileError::io(path, "open"))?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(KeyFileError::io(path, "lock")(error)),
        }
    }
    Err(KeyFileError::Locked { path: path.to_owned() })
}

/// The text of a private file; on first use, what `make` gives. Of several processes that start at once one wins, and all read
/// the winner's.
pub(crate) fn read_or_create(
    path: &Path,
    mode: u32,
    make: impl FnOnce() -> Result<SecretString, KeyFileError>,
) -> Result<SecretString, KeyFileError> {
    let make = || make().map(|text| text.expose_secret().as_bytes().to_vec().into());
    text(path, &bytes_or_create(path, mode, make)?)
}

/// `N` random bytes in a private file, made on first use.
///
/// # Errors
/// See [`KeyFileError`].
pub fn random_key<const N: usize>(path: &Path) -> Result<[u8; N], KeyFileError> {
    let make = || {
        let mut key = [0; N];
        rand::fill(&mut key).map_err(|_| KeyFileError::Random)?;
        Ok(key.to_vec().into())
    };
    of_length(path, &bytes_or_create(path, PRIVATE, make)?)
}

/// As [`random_key`], of a file that is there; `None` where there is none.
///
/// # Errors
/// See [`KeyFileError`].
pub fn existing_random_key<const N: usize>(path: &Path) -> Result<Option<[u8; N]>, KeyFileError> {
    read_bytes(path, PRIVATE)?.map(|bytes| of_length(path, &bytes)).transpose()
}

pub(crate) fn of_length<const N: usize>(
    path: &Path,
    bytes: &SecretSlice<u8>,
) -> Result<[u8; N], KeyFileError> {
    bytes.expose_secret().try_into().map_err(|_| KeyFileError::Content {
        path: path.to_owned(),
        expected: "a key",
        reason: format!("it is not {N} bytes long; delete it to get a new one"),
    })
}

pub(crate) fn text(path: &Path, bytes: &SecretSlice<u8>) -> Result<SecretString, KeyFileError> {
    let text = str::from_utf8(bytes.expose_secret());
    let text = text.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
    text.map(SecretString::from).map_err(KeyFileError::io(path, "read"))
}

/// As [`read_or_create`], of what is no text.
pub(crate) fn bytes_or_create(
    path: &Path,
    mode: u32,
    make: impl FnOnce() -> Result<SecretSlice<u8>, KeyFileError>,
) -> Result<SecretSlice<u8>, KeyFileError> {
    if let Some(bytes) = read_bytes(path, mode)? {
        return Ok(bytes);
    }
    let temporary = write_temporary(path, mode, make()?.expose_secret())?;
    // Unlike a rename, a link fails when the name exists: nobody's key is overwritten.
    let linked = fs::hard_link(&temporary, path);
    let removed = fs::remove_file(&temporary);
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(KeyFileError::io(path, "create the file")(error));
        }
        _ => removed.map_err(KeyFileError::io(&temporary, "remove the file"))?,
    }
    sync_directory(path)?;
    read_bytes(path, mode)?.ok_or_else(|| KeyFileError::io(path, "read")(io::ErrorKind::NotFound.into()))
}

/// Writes a file whole, in the place of what was there.
pub(crate) fn replace(path: &Path, mode: u32, text: &SecretString) -> Result<(), KeyFileError> {
    let temporary = write_temporary(path, mode, text.expose_secret().as_bytes())?;
    rename(&temporary, path).inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// Puts a file in the place of another.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), KeyFileError> {
    fs::rename(from, to).map_err(KeyFileError::io(to, "replace the file"))?;
    sync_directory(to)
}

/// Makes an empty file, where it is not there.
pub(crate) fn touch(path: &Path) -> Result<(), KeyFileError> {
    let made = OpenOptions::new().write(true).create(true).truncate(false).mode(PUBLIC).open(path);
    made.map_err(KeyFileError::io(path, "make"))?;
    sync_directory(path)
}

/// Takes a file away, where it is there.
pub(crate) fn remove(path: &Path) -> Result<(), KeyFileError> {
    match fs::remove_file(path) {
        // What is mounted to be read alone, as a Secret is, says so whether or not the file is there.
        Err(error) if !matches!(path.try_exists(), Ok(false)) => Err(KeyFileError::io(path, "remove")(error)),
        _ => Ok(()),
    }
}

/// Why a file or directory is not for this process alone.
pub fn exposed(metadata: &fs::Metadata) -> Option<String> {
    let own = rustix::process::geteuid().as_raw() == metadata.uid();
    Access { mode: metadata.mode(), own, directory: metadata.is_dir() }.exposed()
}

/// Opens a file that is named by somebody, to read it. What is none is an error, and is not waited for: a pipe is ready when somebody
/// writes, and a device never ends.
fn open_regular(path: &Path) -> io::Result<File> {
    let no_wait = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(no_wait).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

/// What a file holds that is named by somebody, and has at most `max` bytes.
///
/// # Errors
/// When it cannot be read, is no regular file, or is larger.
pub fn read_regular(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open_regular(path)?.take(max.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(content) }
}

/// The text of a file; `None` when there is none. A private one that is not for this process alone is refused.
pub(crate) fn read(path: &Path, mode: u32) -> Result<Option<SecretString>, KeyFileError> {
    read_bytes(path, mode)?.map(|bytes| text(path, &bytes)).transpose()
}

/// As [`read`], of what is no text.
pub(crate) fn read_bytes(path: &Path, mode: u32) -> Result<Option<SecretSlice<u8>>, KeyFileError> {
    let mut file = match open_regular(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(KeyFileError::io(path, "open"))?,
    };
    let metadata = file.metadata().map_err(KeyFileError::io(path, "read"))?;
    if mode == PRIVATE && exposed(&metadata).is_some() {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode: metadata.mode() & 0o777 });
    }
    if metadata.len() > MAX_FILE {
        return Err(KeyFileError::io(path, "read")(io::ErrorKind::FileTooLarge.into()));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(KeyFileError::io(path, "read"))?;
    Ok(Some(bytes.into()))
}

/// A file beside `path`, under a name of its own: `ca.pem.0123456789abcdef.tmp`. It is gone again where it cannot be written; of a
/// process that is killed meanwhile it stays, until a start finds it.
fn write_temporary(path: &Path, mode: u32, bytes: &[u8]) -> Result<PathBuf, KeyFileError> {
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(|_| KeyFileError::Random)?;
    let temporary = path.with_added_extension(format!("{:016x}.tmp", u64::from_le_bytes(random)));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    match write() {
        Ok(()) => Ok(temporary),
        Err(error) => {
            let _ = fs::remove_file(&temporary);
            Err(KeyFileError::io(&temporary, "write")(error))
        }
    }
}

fn sync_directory(path: &Path) -> Result<(), KeyFileError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(KeyFileError::io(directory, "sync the directory"))
}
