//! Which files of a directory hold resources.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Directories below directories.
const MAX_DEPTH: usize = 16;
/// Files in all.
const MAX_FILES: usize = 20_000;

/// What a directory holds at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// In the order of their paths, so that which of two objects of one name comes first is no accident.
    pub(crate) files: Vec<File>,
    /// What could not be looked at, and why.
    pub(crate) faults: Vec<(PathBuf, String)>,
}

/// A file as it was seen: two listings are equal when nothing has changed in between.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) seen: Seen,
}

/// What changes about a file whenever its content does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Seen {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Seen {
    /// Whether the file was left alone for longer than the clock of a file system takes to tick: only then does the same
    /// time mean the same content.
    pub(crate) fn is_settled(&self, now: SystemTime) -> bool {
        const TICK: Duration = Duration::from_millis(50);
        let (Ok(seconds), Ok(nanos)) = (u64::try_from(self.changed.0), u32::try_from(self.changed.1)) else {
            return false;
        };
        let changed = SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos));
        changed.is_some_and(|changed| now.duration_since(changed).is_ok_and(|age| age > TICK))
    }
}

impl Listing {
    /// The YAML and JSON files below `directory`. Hidden entries are left out, among them the `..data` of a mounted
    /// ConfigMap; the links into it are followed.
    ///
    /// # Errors
    /// When `directory` itself cannot be listed.
    pub(crate) fn of(directory: &Path) -> io::Result<Self> {
        let mut listing = Self::default();
        let mut seen = HashSet::new();
        listing.add(directory, 0, &mut seen)?;
        listing.files.sort_by(|a, b| a.path.cmp(&b.path));
        listing.faults.sort();
        Ok(listing)
    }

    fn add(&mut self, directory: &Path, depth: usize, seen: &mut HashSet<(u64, u64)>) -> io::Result<()> {
        let metadata = fs::metadata(directory)?;
        if !seen.insert((metadata.dev(), metadata.ino())) {
            // A link to a directory that was read already, or to one of its ancestors.
            return Ok(());
        }
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if !is_hidden(&entry.path()) {
                self.add_entry(entry.path(), depth, seen);
            }
        }
        Ok(())
    }

    fn add_entry(&mut self, path: PathBuf, depth: usize, seen: &mut HashSet<(u64, u64)>) {
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            // A broken link says so only where it would have been read.
            Err(_) if !holds_resources(&path) => return,
            Err(error) => return self.faults.push((path, error.to_string())),
        };
        if metadata.is_dir() {
            let added = match depth < MAX_DEPTH {
                true => self.add(&path, depth + 1, seen).map_err(|error| error.to_string()),
                false => Err(format!("more than {MAX_DEPTH} directories deep")),
            };
            if let Err(reason) = added {
                self.faults.push((path, reason));
            }
        } else if !holds_resources(&path) {
            // Not ours.
        } else if !metadata.is_file() {
            // Opening a pipe would wait for its other end.
            self.faults.push((path, "not a regular file".to_owned()));
        } else if self.files.len() >= MAX_FILES {
            self.faults.push((path, format!("more than {MAX_FILES} files")));
        } else {
            self.files.push(File { path, seen: Seen::of(&metadata) });
        }
    }
}

/// Whether a file of this name is read.
pub(crate) fn holds_resources(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known))
    })
}

pub(crate) fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

/// Editors' and version control's own.
pub(crate) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}
