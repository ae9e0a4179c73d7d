//! The files of a model: its owner's alone, as those of the log are, and nobody else's behind a link of their name.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// No link is followed, and a pipe is not waited for.
const NO_LINK_NO_WAIT: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK);

/// Makes a directory that only its owner opens, where none is there. One that is there stays as it is.
pub(crate) fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// A new file in the place of whatever has its name, which is not written to.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Nor is a link followed that is put there now.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// A file to be read.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    regular(OpenOptions::new().read(true), path)
}

/// A file to be locked, made where none is there. What it has is left as it is.
pub(crate) fn open_or_make(path: &Path) -> io::Result<File> {
    regular(OpenOptions::new().write(true).create(true).truncate(false).mode(0o600), path)
}

/// Whether an error is that something else than a file has the name.
pub(crate) fn is_no_file(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

fn regular(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let no_file = || io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file; remove it");
    let opened = options.custom_flags(NO_LINK_NO_WAIT.bits().cast_signed()).open(path);
    // A link, and a pipe or a socket that nobody has open.
    let is_other = |error: &io::Error| {
        [Errno::LOOP, Errno::NXIO].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
    };
    let file = opened.map_err(|error| if is_other(&error) { no_file() } else { error })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(no_file()) }
}
