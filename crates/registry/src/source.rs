//! A directory over time: what of it is in force, what is being written, and what is held because something cannot be read.
//!
//! Time comes in, so that a test drives it without waiting.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use vidimus_core::resource::{Object, ObjectRef, Rejection};
use vidimus_core::snapshot::{Configuration, Forgotten, Memory, Snapshot};

use crate::debounce::Change;
use crate::files::Listing;
use crate::kept::Kept;
use crate::load::{Loaded, Read, about, unreadable};
use crate::settle::{Seen, Settling};

/// How long a directory may be restless before that is said.
const RESTLESS: Duration = Duration::from_secs(10);

/// What a gateway has that starts now with this directory, and with `kept`, the file in which what is refused is kept. Nothing is
/// written.
pub fn as_started(directory: &Path, kept: &Path) -> Loaded {
    Source::new(directory, Some(kept)).at_once(true)
}

/// What a running gateway has as soon as this directory, as it is now, is whole to it. `memory` is what it refuses until then;
/// `closed` says that it refuses everything, since it does not know what was forbidden before.
///
/// # Errors
/// When what it refuses is not understood: it is of another version.
pub fn as_running(directory: &Path, memory: &Memory, closed: bool) -> Result<Loaded, Forgotten> {
    let mut source = Source::new(directory, None);
    source.last = Arc::new(Snapshot::remembering(memory)?);
    source.unknown = closed.then(|| "the gateway does not know it either".to_owned());
    Ok(source.at_once(false))
}

/// A directory, and what was made of it so far.
#[derive(Debug)]
pub(crate) struct Source {
    directory: PathBuf,
    kept: Option<Kept>,
    settling: Settling,
    /// What is in force was read from; `None` before the directory was whole for the first time.
    whole: Option<Arc<Read>>,
    /// What was there when it was last looked at; `None` when it could not be read.
    seen: Option<Arc<Read>>,
    /// Why it is not known what was refused before the start; `None` where it is, or does not matter.
    unknown: Option<String>,
    /// Of what was kept.
    fault: Option<Rejection>,
    /// The next snapshot is built on.
    last: Arc<Snapshot>,
}

/// What was heard since the last look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard<'a> {
    /// Files that changed, if it is known that nothing else did.
    pub(crate) changed: Option<&'a BTreeSet<PathBuf>>,
    /// Files that were put into their place whole.
    pub(crate) placed: &'a BTreeSet<PathBuf>,
    /// Whether writers are heard at all.
    pub(crate) heard: bool,
}

impl Source {
    /// `kept` is the file with what was refused before the start.
    pub(crate) fn new(directory: &Path, kept: Option<&Path>) -> Self {
        Self {
            directory: directory.to_owned(),
            kept: kept.map(Kept::at),
            settling: Settling::default(),
            whole: None,
            seen: None,
            unknown: None,
            fault: None,
            last: Arc::new(Snapshot::default()),
        }
    }

    /// Notes what was heard of a file.
    pub(crate) fn note(&mut self, path: &Path, change: Change, now: Instant) {
        self.settling.note(path, change, now);
    }

    /// Events were lost.
    pub(crate) fn forget_open(&mut self) {
        self.settling.forget_open();
    }

    /// Whether the directory has been whole, or could not be read at all.
    pub(crate) fn has_begun(&self) -> bool {
        self.whole.is_some() || self.seen.is_none()
    }

    /// Whether there is something else than was last seen.
    pub(crate) fn has_changed(&self) -> bool {
        let listing = Listing::of(&self.directory).ok();
        listing.as_ref() != self.seen.as_ref().map(|read| &*read.listing)
    }

    /// What could not be taken over is not tried again until it changes: reading it panicked.
    pub(crate) fn give_up(&mut self) {
        self.seen = self.seen.take().map(|read| Arc::new(read.looked_at(&self.directory)));
    }

    /// Looks at the directory; `wall` is the time by the clock of files. Gives what is in force, and when to look again where it is
    /// not whole.
    pub(crate) fn look(
        &mut self,
        heard: Heard<'_>,
        now: Instant,
        wall: SystemTime,
    ) -> (Loaded, Option<Instant>) {
        let read = match Read::consistent(&self.directory, self.seen.as_deref(), heard.changed) {
            Ok(read) => Arc::new(read),
            Err(error) => {
                self.seen = None;
                return (self.unreadable(&error), None);
            }
        };
        let first = self.whole.is_none();
        if first {
            self.settling.see_first(&read.listing, wall);
        }
        self.seen = Some(read.clone());
        let looked = match self.settling.see(&read.listing, heard.placed, heard.heard, now) {
            Seen::Whole => {
                self.whole = Some(read.clone());
                (self.whole(&read, first), None)
            }
            Seen::Moving(due) => (self.moving(now), Some(due)),
        };
        // Before the directory was whole, what was kept is still to be compared with it.
        if self.whole.is_some() {
            self.last = looked.0.snapshot.clone();
        }
        looked
    }

    /// The directory as it is now, taken as whole.
    fn at_once(&mut self, first: bool) -> Loaded {
        match Read::consistent(&self.directory, None, None) {
            Ok(read) => {
                let read = Arc::new(read);
                self.whole = Some(read.clone());
                self.whole(&read, first)
            }
            Err(error) => self.unreadable(&error),
        }
    }

    /// The directory is whole: all of it is in force. `first` says that it was not before.
    fn whole(&mut self, read: &Read, first: bool) -> Loaded {
        let given = || (read.objects().cloned().collect(), read.rejections());
        let (objects, faults) = given();
        let mut loaded = self.compile(objects, Vec::new(), faults, Vec::new());
        // What was refused before the start matters only where something cannot be read.
        if first && !loaded.rejections.is_empty() && self.remember() {
            let (objects, faults) = given();
            loaded = self.compile(objects, Vec::new(), faults, Vec::new());
        }
        if !loaded.snapshot.is_closed() {
            (self.unknown, self.fault) = (None, None);
        }
        loaded
    }

    /// Reads what was refused before the start. Whether there is such a file at all.
    fn remember(&mut self) -> bool {
        let Some(kept) = &self.kept else { return false };
        match kept.read() {
            Ok(Some(memory)) => self.last = Arc::new(memory),
            Ok(None) => self.unknown = Some("this data directory has not been served from before".to_owned()),
            Err(reason) => {
                let fix = "restore it, or see to it that nothing is malformed: then it is written anew";
                let about = about(kept.path());
                self.fault = Some(Rejection { reason: reason.clone(), fix: fix.to_owned(), ..about });
                self.unknown = Some(reason);
            }
        }
        true
    }

    /// It is not: what was in force stays so, and what is being written may only refuse.
    fn moving(&self, now: Instant) -> Loaded {
        let (objects, faults) = match &self.whole {
            Some(whole) => (whole.objects().cloned().collect(), whole.rejections()),
            None => (Vec::new(), Vec::new()),
        };
        let mut said = Vec::new();
        if self.whole.is_none() || self.settling.restless_for(now) >= RESTLESS {
            said.push(restless(&self.directory));
        }
        self.compile(objects, self.coming(), faults, said)
    }

    fn compile(
        &self,
        objects: Vec<Object>,
        coming: Vec<Object>,
        rejected: Vec<Rejection>,
        said: Vec<Rejection>,
    ) -> Loaded {
        let unknown = self.unknown.is_some();
        let (snapshot, mut rejections) = self.last.next(Configuration { objects, coming, rejected, unknown });
        rejections.extend(said);
        rejections.extend(self.fault.clone());
        rejections.sort_by(|a, b| a.origin.cmp(&b.origin));
        let not_ready = match &self.unknown {
            _ if self.whole.is_none() => {
                Some("the directory of resources has not been still since the start".to_owned())
            }
            Some(reason) if snapshot.is_closed() => Some(format!(
                "something in the directory of resources is malformed, and what it forbade before is not known ({reason}); \
                 everything is refused until it is corrected, see /registry"
            )),
            _ => None,
        };
        Loaded { snapshot: Arc::new(snapshot), rejections, not_ready }
    }

    fn unreadable(&self, error: &io::Error) -> Loaded {
        let begun = self.whole.is_some();
        let rejections = vec![unreadable(&self.directory, error, begun)];
        if begun {
            return Loaded { snapshot: self.last.clone(), rejections, not_ready: None };
        }
        let not_ready = Some("the directory of resources cannot be read".to_owned());
        Loaded { rejections, not_ready, ..Loaded::empty() }
    }

    /// The objects that are not in force, as they stand there.
    fn coming(&self) -> Vec<Object> {
        let Some(seen) = &self.seen else { return Vec::new() };
        let whole = self.whole.as_deref();
        let in_force: HashMap<ObjectRef, Vec<&Object>> =
            whole.map(|whole| whole.changed(seen)).unwrap_or_default();
        let is_new = |object: &&Object| {
            !in_force.get(&object.reference()).into_iter().flatten().any(|one| one.is_identical(object))
        };
        seen.objects_beside(whole).filter(is_new).cloned().collect()
    }

    /// Keeps what is refused, for the next start. `loaded` is what [`Source::look`] gave last.
    pub(crate) fn keep(&mut self, loaded: &Loaded) -> Result<(), Box<Rejection>> {
        let is_known = self.whole.is_some() && self.unknown.is_none();
        let Some(kept) = self.kept.as_mut().filter(|_| is_known) else { return Ok(()) };
        kept.write(&loaded.snapshot.memory()).map_err(|reason| {
            Box::new(Rejection {
                reason: format!("what is refused cannot be kept for the next start: {reason}"),
                fix: "see that the data directory can be written".to_owned(),
                ..about(kept.path())
            })
        })
    }
}

fn restless(directory: &Path) -> Rejection {
    Rejection {
        reason:
            "something here is written all the time; until it is still, what is permitted stays as it was"
                .to_owned(),
        fix: "write files beside the directory and rename them into it".to_owned(),
        ..about(directory)
    }
}

#[cfg(test)]
mod tests;
