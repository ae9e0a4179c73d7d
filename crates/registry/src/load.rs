//! Reading a directory whole.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use vidimus_core::resource::{self, Object, Origin, Rejection};
use vidimus_core::snapshot::Snapshot;

use crate::document::{self, Document};
use crate::files::{self, Listing, Seen};

/// Bytes of one file.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// What a directory says, compiled.
#[derive(Debug)]
pub struct Loaded {
    pub snapshot: Arc<Snapshot>,
    /// What was left out, and why. Empty when the directory is clean.
    pub rejections: Vec<Rejection>,
}

/// Reads a directory. What is malformed is left out and reported; a directory that cannot be read is an empty one with a
/// rejection.
pub fn load(directory: &Path) -> Loaded {
    compile(directory, &Read::steadily(directory, None), &Loaded::empty())
}

impl Loaded {
    pub(crate) fn empty() -> Self {
        let (snapshot, rejections) = Snapshot::build(Vec::new());
        Self { snapshot: Arc::new(snapshot), rejections }
    }
}

/// Compiles what was read. What did not change is taken over from `last`; if nothing could be read, everything is.
pub(crate) fn compile(directory: &Path, read: &io::Result<Read>, last: &Loaded) -> Loaded {
    let read = match read {
        Ok(read) => read,
        Err(error) => {
            let rejection = unreadable(directory, error, !last.snapshot.objects().is_empty());
            return Loaded { snapshot: last.snapshot.clone(), rejections: vec![rejection] };
        }
    };
    let contents = || read.listing.files.iter().filter_map(|file| read.contents.get(&file.path));
    let objects = contents().flat_map(|(_, contents)| contents.objects.iter().cloned()).collect();
    let mut rejections: Vec<_> =
        read.listing.faults.iter().map(|(path, reason)| unreadable_entry(path, reason)).collect();
    rejections.extend(contents().flat_map(|(_, contents)| contents.rejections.iter().cloned()));
    let (snapshot, mut rejections) = last.snapshot.rebuilt(objects, rejections);
    rejections.sort_by(|a, b| (&a.source, a.line).cmp(&(&b.source, b.line)));
    Loaded { snapshot: Arc::new(snapshot), rejections }
}

fn unreadable_entry(path: &Path, reason: &str) -> Rejection {
    let fix = "make it readable for the gateway, or take it out of the directory".to_owned();
    Rejection { reason: reason.to_owned(), fix, ..about(path) }
}

fn unreadable(directory: &Path, error: &io::Error, something_is_live: bool) -> Rejection {
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

fn about(path: &Path) -> Rejection {
    Rejection {
        source: path.display().to_string(),
        line: 0,
        object: String::new(),
        field: String::new(),
        value: String::new(),
        reason: String::new(),
        fix: String::new(),
    }
}

/// A directory, read and checked file by file.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) listing: Listing,
    contents: HashMap<PathBuf, (Reusable, Arc<Contents>)>,
}

/// As what a file was seen when it was read; `None` when it had just been written, so that it must be read again.
type Reusable = Option<Seen>;

/// What one file says.
#[derive(Debug, Default)]
struct Contents {
    objects: Vec<Object>,
    rejections: Vec<Rejection>,
}

impl Read {
    /// Reads again when files changed while they were read, so that a ConfigMap swapped under us is not read half old and
    /// half new. Whoever never stops writing is read as it comes; the next change follows anyway.
    pub(crate) fn steadily(directory: &Path, last: Option<&Self>) -> io::Result<Self> {
        const TRIES: usize = 3;
        let mut read = Self::once(Listing::of(directory)?, last);
        for _ in 1..TRIES {
            let after = Listing::of(directory)?;
            if after == read.listing {
                break;
            }
            read = Self::once(after, Some(&read));
        }
        Ok(read)
    }

    /// The same contents, but with the directory as it is now.
    pub(crate) fn looked_at(self, directory: &Path) -> Self {
        let listing = Listing::of(directory).unwrap_or_default();
        Self { listing, ..self }
    }

    /// Files that have not changed since `last` are not read again.
    fn once(listing: Listing, last: Option<&Self>) -> Self {
        let mut contents = HashMap::with_capacity(listing.files.len());
        for file in &listing.files {
            let known = last.and_then(|last| last.contents.get(&file.path));
            let entry = match known {
                Some((Some(seen), known)) if *seen == file.seen => (Some(*seen), known.clone()),
                _ => {
                    let reusable = file.seen.is_settled(SystemTime::now()).then_some(file.seen);
                    (reusable, Arc::new(Contents::of(&file.path)))
                }
            };
            contents.insert(file.path.clone(), entry);
        }
        Self { listing, contents }
    }
}

impl Contents {
    fn of(path: &Path) -> Self {
        let mut contents = Self::default();
        match text_of(path) {
            Ok(text) => contents.add(path, &text),
            Err((reason, fix)) => {
                contents.rejections.push(Rejection { reason, fix: fix.to_owned(), ..about(path) });
            }
        }
        contents
    }

    fn add(&mut self, path: &Path, text: &str) {
        let documents = if files::is_json(path) { vec![document::json(text)] } else { document::yaml(text) };
        let source: Arc<str> = path.display().to_string().into();
        for Document { line, content } in documents {
            match content {
                Ok(value) => match resource::check(&Origin { source: source.clone(), line }, &value) {
                    Ok(object) => self.objects.push(object),
                    Err(rejections) => self.rejections.extend(rejections),
                },
                Err(malformed) => self.rejections.push(Rejection {
                    line: malformed.line,
                    reason: malformed.reason,
                    fix: malformed.fix.to_owned(),
                    ..about(path)
                }),
            }
        }
    }
}

/// The text, or the reason why there is none and the fix.
fn text_of(path: &Path) -> Result<String, (String, &'static str)> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    read.map_err(|error| {
        (error.to_string(), "make it readable for the gateway, or take it out of the directory")
    })?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE) {
        return Err((format!("the file is larger than {MAX_FILE} bytes"), "split it into several files"));
    }
    String::from_utf8(bytes).map_err(|error| {
        (format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to()), "save it as UTF-8")
    })
}
