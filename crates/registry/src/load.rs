//! Reading a directory whole.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use vidimus_core::resource::{Object, ObjectRef, Origin, Rejection, Subject};
use vidimus_core::snapshot::Snapshot;

use crate::contents::Contents;
use crate::files::{Fault, File, Listing, Seen};

/// What a directory says, compiled.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// All that is live.
    pub snapshot: Arc<Snapshot>,
    /// What was left out, and why. Empty when the directory is clean.
    pub rejections: Vec<Rejection>,
    /// Why nothing may be let through yet, where that is so: everything is refused then. Always `None` of a directory that is only
    /// loaded.
    pub not_ready: Option<String>,
}

/// Reads a directory, or a file, as it is now. What is malformed is left out and reported; a directory that cannot be read is an empty one
/// with a rejection.
pub fn load(directory: &Path) -> Loaded {
    loaded(directory, false)
}

/// As [`load`], where what the directory says is as a cluster has it, such as what `kubectl get vidimus -A -o yaml` prints: keys come from
/// Secrets.
pub fn load_of_cluster(directory: &Path) -> Loaded {
    loaded(directory, true)
}

fn loaded(directory: &Path, of_cluster: bool) -> Loaded {
    let read = match directory.is_file() {
        true => Listing::of_file(directory).map(|listing| Read::once((listing, of_cluster), None)),
        false => Read::consistent((directory, of_cluster), None, None),
    };
    let read = match read {
        Ok(read) => read,
        Err(error) => {
            return Loaded { rejections: vec![unreadable(directory, &error, false)], ..Loaded::empty() };
        }
    };
    let rejected = read.rejections();
    let (snapshot, mut rejections) = Snapshot::default().rebuilt(read.objects().cloned().collect(), rejected);
    rejections.sort_by(|a, b| a.origin.cmp(&b.origin));
    Loaded { snapshot: Arc::new(snapshot), rejections, not_ready: None }
}

impl Loaded {
    pub(crate) fn empty() -> Self {
        let (snapshot, rejections) = Snapshot::build(Vec::new());
        Self { snapshot: Arc::new(snapshot), rejections, not_ready: None }
    }
}

fn unreadable_entry(fault: &Fault) -> Rejection {
    Rejection { reason: fault.reason.clone(), fix: fault.fix.to_owned(), ..about(&fault.path) }
}

pub(crate) fn unreadable(directory: &Path, error: &io::Error, something_is_live: bool) -> Rejection {
    let consequence = match something_is_live {
        true => "the last good configuration stays live",
        false => "nothing is registered, so everything is refused",
    };
    Rejection {
        reason: format!("the directory cannot be read ({error}); {consequence}"),
        fix: "create the directory, or give the right one with --resources".to_owned(),
        ..about(directory)
    }
}

pub(crate) fn about(path: &Path) -> Rejection {
    Rejection {
        origin: Origin::file(path, 0),
        object: Subject::Source,
        field: String::new(),
        value: String::new(),
        reason: String::new(),
        fix: String::new(),
    }
}

/// A directory, read and checked file by file.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) listing: Arc<Listing>,
    /// In the order of their paths.
    files: Vec<ReadFile>,
}

/// A file, read and checked.
#[derive(Clone, Debug)]
struct ReadFile {
    path: Arc<Path>,
    /// As what the file was seen when it was read; `None` when it had just been written, so that it must be read again.
    reusable: Option<Seen>,
    contents: Arc<Contents>,
}

impl Read {
    /// Reads what is there at one moment, so that a ConfigMap swapped while it is read is not read half old and half new: files that
    /// changed in the meantime are read again. Whoever never stops writing is read as it comes; the next change follows anyway.
    ///
    /// `of_cluster` says whether what is there is as a cluster has it. Files that have not changed since `last` are not read again. If it is known that nothing but the files `changed` did,
    /// the others are not even looked at.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub(crate) fn consistent(
        (directory, of_cluster): (&Path, bool),
        last: Option<&Self>,
        changed: Option<&BTreeSet<PathBuf>>,
    ) -> io::Result<Self> {
        const MAX_TRIES: usize = 3;
        let list = |last: Option<&Self>| match changed.and_then(|changed| last?.listing.after(changed)) {
            Some(listing) => Ok(listing),
            None => Listing::of(directory),
        };
        let mut read = Self::once((list(last)?, of_cluster), last);
        for _ in 1..MAX_TRIES {
            let after = list(Some(&read))?;
            if after == *read.listing {
                break;
            }
            read = Self::once((after, of_cluster), Some(&read));
        }
        Ok(read)
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = &Object> {
        self.files.iter().flat_map(|file| file.contents.objects())
    }

    /// The objects of these files.
    pub(crate) fn objects_of<'a>(&'a self, files: &'a HashSet<&Path>) -> impl Iterator<Item = &'a Object> {
        self.files.iter().filter(|file| files.contains(&*file.path)).flat_map(|file| file.contents.objects())
    }

    /// The files that say nothing.
    pub(crate) fn silent(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.files.iter().filter(|file| file.contents.is_silent()).map(|file| &file.path)
    }

    /// What a file says; `None` of one that is not there.
    pub(crate) fn contents(&self, path: &Path) -> Option<&Contents> {
        let place = self.files.binary_search_by(|file| (*file.path).cmp(path)).ok()?;
        self.files.get(place).map(|file| &*file.contents)
    }

    /// Whether a file is there and says nothing.
    pub(crate) fn is_silent(&self, path: &Path) -> bool {
        self.contents(path).is_some_and(Contents::is_silent)
    }

    /// Whether anything could not be read.
    pub(crate) fn has_rejections(&self) -> bool {
        !self.listing.faults.is_empty()
            || self.files.iter().any(|file| file.contents.rejections().next().is_some())
    }

    /// What could not be read, and why.
    pub(crate) fn rejections(&self) -> Vec<Rejection> {
        let faults = self.listing.faults.iter().map(unreadable_entry);
        faults.chain(self.files.iter().flat_map(|file| file.contents.rejections()).cloned()).collect()
    }

    /// The objects of files that `other` has otherwise, or does not have, by their names.
    pub(crate) fn changed<'a>(&'a self, other: &Self) -> HashMap<ObjectRef, Vec<&'a Object>> {
        let mut changed: HashMap<ObjectRef, Vec<&Object>> = HashMap::new();
        for object in self.objects_beside(Some(other)) {
            changed.entry(object.reference()).or_default().push(object);
        }
        changed
    }

    /// The objects of files that `other` has otherwise, or does not have.
    pub(crate) fn objects_beside<'a>(&'a self, other: Option<&Self>) -> impl Iterator<Item = &'a Object> {
        let others = other.map(|other| &*other.files).unwrap_or_default();
        let others: HashMap<&Path, &Arc<Contents>> =
            others.iter().map(|file| (&*file.path, &file.contents)).collect();
        let differs = move |file: &&ReadFile| {
            !others.get(&*file.path).is_some_and(|contents| Arc::ptr_eq(contents, &file.contents))
        };
        let differing: Vec<&ReadFile> = self.files.iter().filter(differs).collect();
        differing.into_iter().flat_map(|file| file.contents.objects())
    }

    /// The same contents, but with the directory as it is now.
    pub(crate) fn looked_at(&self, directory: &Path) -> Self {
        let listing = Arc::new(Listing::of(directory).unwrap_or_default());
        Self { listing, files: self.files.clone() }
    }

    /// Files that have not changed since `last` are not read again.
    fn once((listing, of_cluster): (Listing, bool), last: Option<&Self>) -> Self {
        let mut known = last.map(|last| &*last.files).unwrap_or_default().iter().peekable();
        let now = SystemTime::now();
        let read = |file: &File| {
            // Both are in the order of their paths.
            while known.next_if(|known| known.path != file.path && known.path < file.path).is_some() {}
            let known = known.next_if(|known| known.path == file.path);
            let (reusable, contents) = match known {
                Some(known) if known.reusable == Some(file.seen) => (known.reusable, known.contents.clone()),
                _ => {
                    let reusable = file.seen.is_conclusive(now).then_some(file.seen);
                    let known = known.map(|known| &*known.contents);
                    (reusable, Arc::new(Contents::of(&file.path, of_cluster, known)))
                }
            };
            ReadFile { path: file.path.clone(), reusable, contents }
        };
        let files = listing.files.iter().map(read).collect();
        Self { listing: Arc::new(listing), files }
    }
}
