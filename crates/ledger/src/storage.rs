//! Everything that a log asks of the file system in order to change it. Reading needs no such place: it changes nothing that a
//! power loss could take.
//!
//! A log is kept on a [`Disk`]. Tests put something in its place that is slow, that fails, or that writes down every operation in
//! order to replay what a power loss leaves of them.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// To append; it must exist.
    Append,
    /// To append; made with mode 0600 where it does not exist.
    AppendOrCreate,
    /// To change what is there; it must exist.
    Change,
    /// As an empty file of this mode, whatever there was.
    Replace { mode: u32 },
}

/// A place for logs. What was changed survives a power loss only once it was synced: the bytes and the length of a file by
/// [`Stored::sync`], the names in a directory by [`Storage::sync_dir`].
pub trait Storage: fmt::Debug + Send + Sync {
    /// Makes one directory, for the owner only.
    ///
    /// # Errors
    /// Of `mkdir(2)`; also where it exists.
    fn make_dir(&self, path: &Path) -> io::Result<()>;

    /// Opens a file.
    ///
    /// # Errors
    /// Of `open(2)`.
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn Stored>>;

    /// Gives a file another name, in the place of what has it.
    ///
    /// # Errors
    /// Of `rename(2)`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a file's name away.
    ///
    /// # Errors
    /// Of `unlink(2)`.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// Of `open(2)` and `fsync(2)`.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes everything durable that was changed so far, names included, of the file system that has `path`.
    ///
    /// # Errors
    /// Of `open(2)` and `syncfs(2)`.
    fn sync_everything(&self, path: &Path) -> io::Result<()>;
}

/// An open file.
pub trait Stored: fmt::Debug + Send + Sync {
    /// Writes all of it, at the end of a file that was opened to append.
    ///
    /// # Errors
    /// Of `write(2)`. A part may be written then.
    fn write(&self, bytes: &[u8]) -> io::Result<()>;

    /// Overwrites what is at byte `offset`.
    ///
    /// # Errors
    /// Of `pwrite(2)`. A part may be written then.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts the file.
    ///
    /// # Errors
    /// Of `ftruncate(2)`.
    fn cut(&self, length: u64) -> io::Result<()>;

    /// Makes bytes and length durable.
    ///
    /// # Errors
    /// Of `fdatasync(2)`. What was written since the last time may be lost then, whatever a later call says.
    fn sync(&self) -> io::Result<()>;
}

/// The file system of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Storage for Disk {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        // Records name people.
        DirBuilder::new().mode(0o700).create(path)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn Stored>> {
        let mut options = OpenOptions::new();
        match how {
            Open::Append => options.append(true),
            Open::AppendOrCreate => options.append(true).create(true).mode(0o600),
            Open::Change => options.write(true),
            Open::Replace { mode } => options.write(true).create(true).truncate(true).mode(mode),
        };
        Ok(Box::new(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_everything(&self, path: &Path) -> io::Result<()> {
        let directory = File::open(path)?;
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(directory)?;
        // POSIX promises no more of it than to begin; the systems that have no syncfs(2) wait.
        #[cfg(not(target_os = "linux"))]
        drop((directory, rustix::fs::sync()));
        Ok(())
    }
}

impl Stored for File {
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.write_all(bytes)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
