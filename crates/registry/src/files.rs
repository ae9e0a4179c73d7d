//! Which files of a directory hold resources.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Directories below directories.
const MAX_DEPTH: usize = 16;
/// Files in all.
const MAX_FILES: usize = 20_000;

/// Opens a file to read it. It was one when it was listed, and may be something else now: a pipe is not waited for, since nothing that is
/// written in the directory would be in force any more.
pub(crate) fn open(path: &Path) -> io::Result<fs::File> {
    let no_wait = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(no_wait).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

/// What a directory holds at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// In the order of their paths, so that which of two objects of one name comes first is no accident.
    pub(crate) files: Vec<File>,
    /// What could not be looked at, and why.
    pub(crate) faults: Vec<Fault>,
    /// Whether something was found through a link: the same file may then be here under several paths.
    has_links: bool,
}

/// What could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    pub(crate) path: PathBuf,
    pub(crate) reason: String,
    /// What to do about it.
    pub(crate) fix: &'static str,
}

/// A file as it was seen: two listings are equal when nothing has changed in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) path: Arc<Path>,
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
    pub(crate) fn is_conclusive(&self, now: SystemTime) -> bool {
        const TICK: Duration = Duration::from_millis(50);
        self.is_older_than(TICK, now)
    }

    /// Whether nothing was written since: its attributes, such as who may read it, may be others.
    pub(crate) fn is_as_written(&self, other: &Self) -> bool {
        *self == Self { changed: self.changed, ..*other }
    }

    /// Whether it is the same file, whatever it holds: not one that was put into its place.
    pub(crate) const fn is_same_file(&self, other: &Self) -> bool {
        self.device == other.device && self.inode == other.inode
    }

    /// Whether the file was left alone for longer than `age`; not, where its time is in the future.
    pub(crate) fn is_older_than(&self, age: Duration, now: SystemTime) -> bool {
        let (Ok(seconds), Ok(nanos)) = (u64::try_from(self.changed.0), u32::try_from(self.changed.1)) else {
            return false;
        };
        let changed = SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos));
        changed.is_some_and(|changed| now.duration_since(changed).is_ok_and(|since| since > age))
    }
}

/// Which files are listed, by their paths.
type Wanted = fn(&Path) -> bool;

/// The directories that were read already, by device and inode, and what is looked for.
type Looking<'s> = (&'s mut HashSet<(u64, u64)>, Wanted);

/// Something below a directory that could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct Unlisted {
    /// What.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// The files below a directory that are wanted, in the order of their paths: as those of resources are found, without what is hidden.
///
/// # Errors
/// The first thing that could not be looked at.
pub fn files_below(directory: &Path, wanted: Wanted) -> Result<Vec<PathBuf>, Unlisted> {
    let unlisted = |path: &Path, reason: String| Unlisted { path: path.to_owned(), reason };
    let listing =
        Listing::of_those(directory, wanted).map_err(|error| unlisted(directory, error.to_string()))?;
    match listing.faults.into_iter().next() {
        Some(fault) => Err(unlisted(&fault.path, fault.reason)),
        None => Ok(listing.files.iter().map(|file| file.path.to_path_buf()).collect()),
    }
}

impl Listing {
    /// The YAML and JSON files below `directory`. Hidden entries are left out, among them the `..data` of a mounted
    /// ConfigMap; the links into it are followed.
    ///
    /// # Errors
    /// When `directory` itself cannot be listed.
    pub(crate) fn of(directory: &Path) -> io::Result<Self> {
        Self::of_those(directory, holds_resources)
    }

    /// One file alone, whatever its name.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub(crate) fn of_file(path: &Path) -> io::Result<Self> {
        let file = File { path: path.into(), seen: Seen::of(&fs::metadata(path)?) };
        Ok(Self { files: vec![file], ..Self::default() })
    }

    /// The same of the files that are `wanted`.
    fn of_those(directory: &Path, wanted: Wanted) -> io::Result<Self> {
        let mut listing = Self::default();
        let mut seen = HashSet::new();
        listing.add(directory, 0, (&mut seen, wanted))?;
        listing.faults.sort();
        Ok(listing)
    }

    /// The listing after these files, and nothing else, changed: looking at each file of a large directory takes longer than
    /// reading one. `None` when it takes more to know, and everything has to be listed.
    pub(crate) fn after(&self, changed: &BTreeSet<PathBuf>) -> Option<Self> {
        /// Above this many, listing everything is not slower.
        const MAX: usize = 1_000;
        if self.has_links || changed.len() > MAX {
            return None;
        }
        let mut after = self.clone();
        for path in changed {
            let place = after.place_of(path).ok()?;
            let file = after.files.get_mut(place)?;
            let metadata = fs::symlink_metadata(path).ok().filter(Metadata::is_file)?;
            file.seen = Seen::of(&metadata);
        }
        Some(after)
    }

    /// Whether something was found through a link.
    pub(crate) const fn has_links(&self) -> bool {
        self.has_links
    }

    pub(crate) fn holds(&self, path: &Path) -> bool {
        self.place_of(path).is_ok()
    }

    fn place_of(&self, path: &Path) -> Result<usize, usize> {
        self.files.binary_search_by(|file| (*file.path).cmp(path))
    }

    /// Whether `later` is the same but for these files, which it has.
    pub(crate) fn differs_only_in(&self, later: &Self, changed: &BTreeSet<PathBuf>) -> bool {
        let mut before = self.files.iter().peekable();
        let same = later.files.iter().all(|file| {
            if before.next_if(|before| *before == file).is_some() {
                return true;
            }
            before.next_if(|before| before.path == file.path);
            changed.contains(&*file.path)
        });
        same && before.next().is_none() && self.faults == later.faults
    }

    /// The files that are otherwise in `later`, and as what they are there; `None` of one that is not there.
    pub(crate) fn differences(&self, later: &Self) -> Vec<(Arc<Path>, Option<Seen>)> {
        let mut differences = Vec::new();
        let mut before = self.files.iter().peekable();
        for file in &later.files {
            while let Some(gone) = before.next_if(|before| before.path < file.path) {
                differences.push((gone.path.clone(), None));
            }
            if before.next_if(|before| before.path == file.path).is_none_or(|before| before.seen != file.seen)
            {
                differences.push((file.path.clone(), Some(file.seen)));
            }
        }
        differences.extend(before.map(|gone| (gone.path.clone(), None)));
        differences
    }

    /// As what a file is seen.
    pub(crate) fn seen(&self, path: &Path) -> Option<Seen> {
        self.place_of(path).ok().and_then(|place| self.files.get(place)).map(|file| file.seen)
    }

    /// Adds what is below a directory. Entries are taken by name, which makes the order that of whole paths.
    fn add(&mut self, directory: &Path, depth: usize, (seen, wanted): Looking<'_>) -> io::Result<()> {
        let metadata = fs::metadata(directory)?;
        if !seen.insert((metadata.dev(), metadata.ino())) {
            // A link to a directory that was read already, or to one of its ancestors.
            return Ok(());
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if !is_hidden_name(&name) {
                entries.push((name, entry));
            }
        }
        entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for (_, entry) in entries {
            self.add_entry(&entry, depth, (&mut *seen, wanted));
        }
        Ok(())
    }

    fn add_entry(&mut self, entry: &DirEntry, depth: usize, (seen, wanted): Looking<'_>) {
        let path = entry.path();
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        self.has_links |= is_link;
        // Looking from the directory is faster than by the whole path, and does not follow links.
        let metadata = if is_link { fs::metadata(&path) } else { entry.metadata() };
        let metadata = match metadata {
            Ok(metadata) => metadata,
            // Whatever its name is: a directory of resources may have been there.
            Err(error) => {
                let (reason, fix) = match is_link {
                    true => (dangling(&path, &error), LINK),
                    false => (error.to_string(), READABLE),
                };
                return self.faults.push(Fault { path, reason, fix });
            }
        };
        if metadata.is_dir() {
            let added = match depth < MAX_DEPTH {
                true => {
                    self.add(&path, depth + 1, (seen, wanted)).map_err(|error| (error.to_string(), READABLE))
                }
                false => Err((format!("more than {MAX_DEPTH} directories deep"), FEWER)),
            };
            if let Err((reason, fix)) = added {
                self.faults.push(Fault { path, reason, fix });
            }
        } else if !wanted(&path) {
            // Not ours.
        } else if !metadata.is_file() {
            // Opening a pipe would wait for its other end.
            self.faults.push(Fault { path, reason: "not a regular file".to_owned(), fix: REGULAR });
        } else if self.files.len() >= MAX_FILES {
            self.faults.push(Fault { path, reason: format!("more than {MAX_FILES} files"), fix: FEWER });
        } else {
            self.files.push(File { path: path.into(), seen: Seen::of(&metadata) });
        }
    }
}

/// What is the matter with a link that leads nowhere.
fn dangling(link: &Path, error: &io::Error) -> String {
    let to = fs::read_link(link).map_or_else(|_| "somewhere".to_owned(), |to| to.display().to_string());
    format!("a link that leads nowhere: {to} cannot be reached ({error})")
}

const READABLE: &str = "make it readable for the gateway, or take it out of the directory";
const LINK: &str = "let the link lead to what it should, or remove it; until then what was behind it keeps refusing what it refused";
const REGULAR: &str = "put a file in its place, or take it out of the directory";
const FEWER: &str =
    "put several objects into one file, and files nearer to the directory given with --resources";

/// Whether a file of this name is read.
pub fn holds_resources(path: &Path) -> bool {
    is_known(path) && !holds_cases(path)
}

/// Whether a file holds cases (`*.cases.yaml`), which stand beside the policies that they are about and are no resources.
pub fn holds_cases(path: &Path) -> bool {
    let stem = path.file_stem().map(Path::new);
    is_known(path) && stem.and_then(Path::extension).is_some_and(|extension| extension == "cases")
}

fn is_known(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known))
    })
}

pub(crate) fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

/// Editors' and version control's own.
pub(crate) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(is_hidden_name)
}

fn is_hidden_name(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_any_more_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("a.yaml");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
            .unwrap();
        assert!(open(&pipe).unwrap_err().to_string().contains("no regular file"));
        assert!(open(directory.path()).is_err() && open(&directory.path().join("b.yaml")).is_err());
        fs::write(directory.path().join("c.yaml"), "").unwrap();
        assert!(open(&directory.path().join("c.yaml")).is_ok());
    }

    #[test]
    fn files_are_in_the_order_of_their_paths() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        for file in ["b/a.yaml", "b.yaml", "b-a.yaml", "b/c/d.yaml", "a.yaml", "B.yaml", "b/.x.yaml"] {
            fs::create_dir_all(at.join(file).parent().unwrap()).unwrap();
            fs::write(at.join(file), "").unwrap();
        }
        let listing = Listing::of(at).unwrap();
        assert_eq!(listing.files.len(), 6);
        assert!(listing.files.is_sorted_by(|one, other| one.path < other.path), "{listing:#?}");
    }

    #[test]
    fn cases_are_no_resources() {
        for (name, resources, cases) in [
            ("a.yaml", true, false),
            ("a.cases.yaml", false, true),
            ("a.cases.yml", false, true),
            ("a.b.cases.json", false, true),
            ("cases.yaml", true, false),
            (".cases.yaml", true, false),
            ("a.cases", false, false),
            ("a.cases.txt", false, false),
            ("cases/a.yaml", true, false),
            ("a.Cases.yaml", true, false),
        ] {
            let path = Path::new(name);
            assert_eq!((holds_resources(path), holds_cases(path)), (resources, cases), "{name}");
        }
    }

    #[test]
    fn differences_are_what_is_otherwise_or_gone_or_new() {
        let directory = tempfile::tempdir().unwrap();
        let at = |file: &str| directory.path().join(file);
        ["1.yaml", "2.yaml", "4.yaml"].iter().for_each(|file| fs::write(at(file), "a").unwrap());
        let before = Listing::of(directory.path()).unwrap();
        assert_eq!(before.differences(&before), []);
        fs::write(at("2.yaml"), "other").unwrap();
        fs::remove_file(at("4.yaml")).unwrap();
        ["0.yaml", "3.yaml", "5.yaml"].iter().for_each(|file| fs::write(at(file), "a").unwrap());
        let after = Listing::of(directory.path()).unwrap();
        let differences = before.differences(&after);
        let names: Vec<_> = differences
            .iter()
            .map(|(path, seen)| (path.file_name().unwrap().to_str().unwrap(), seen.is_some()))
            .collect();
        let expected =
            [("0.yaml", true), ("2.yaml", true), ("3.yaml", true), ("4.yaml", false), ("5.yaml", true)];
        assert_eq!(names, expected);
        assert_eq!(Some(after.seen(&at("2.yaml"))), differences.get(1).map(|(_, seen)| *seen));
        assert!(after.seen(&at("2.yaml")).unwrap().is_same_file(&before.seen(&at("2.yaml")).unwrap()));
        assert_eq!(after.seen(&at("4.yaml")), None);
    }

    #[test]
    fn what_changed_is_enough_where_only_files_did() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("1.yaml"), directory.path().join("2.yaml"));
        fs::write(&one, "a").unwrap();
        fs::write(&two, "a").unwrap();
        let changed = |paths: &[&Path]| paths.iter().map(|path| path.to_path_buf()).collect();
        let before = Listing::of(directory.path()).unwrap();
        assert_eq!(before.after(&changed(&[&one])), Some(before.clone()));
        fs::write(&one, "other").unwrap();
        let after = before.after(&changed(&[&one])).unwrap();
        assert!(after != before && after == Listing::of(directory.path()).unwrap());
        fs::remove_file(&two).unwrap();
        assert_eq!(after.after(&changed(&[&two])), None, "gone");
        assert_eq!(after.after(&changed(&[&directory.path().join("3.yaml")])), None, "not there before");
        assert_eq!(after.after(&changed(&[directory.path()])), None, "a directory");
        std::os::unix::fs::symlink(&one, directory.path().join("4.yaml")).unwrap();
        let with_link = Listing::of(directory.path()).unwrap();
        assert_eq!(with_link.after(&changed(&[&one])), None, "it may be there twice");
    }
}
