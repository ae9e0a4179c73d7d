//! A directory over time: what of it is in force, what is being written, and what is held because something cannot be read.
//!
//! Time comes in, so that a test drives it without waiting.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use vidimus_core::resource::{Object, ObjectRef, Origin, Rejection};
use vidimus_core::snapshot::{Before, Configuration, Doubt, Forgotten, Memory, Overlay, Prepared, Snapshot};

use crate::debounce::Change;
use crate::emptied::Emptied;
use crate::files::Listing;
use crate::in_force::Parts;
use crate::kept::{Before as Was, Keeping, Kept};
use crate::load::{Loaded, Read, about, unreadable};
use crate::settle::{Seen, Settling};

/// How long a directory may be restless before that is said.
const RESTLESS: Duration = Duration::from_secs(10);

/// What a gateway has that starts now with this directory (where it says what a cluster has: `of_cluster`), with what is `kept` over restarts,
/// and what stands by acts. Nothing is written.
pub fn as_started(directory: &Path, of_cluster: bool, kept: Keeping, standing: Arc<Overlay>) -> Loaded {
    let mut source = Source::new(directory, Some(kept));
    source.of_cluster = of_cluster;
    source.stand(standing);
    source.at_once(Some(Instant::now()))
}

/// What a running gateway has as soon as this directory, as it is now, is whole to it. `memory` is what it refuses until then;
/// `closed` says that it refuses everything, since it does not know what was forbidden before; `standing` stands by acts.
///
/// # Errors
/// When what it refuses is not understood: it is of another version.
pub fn as_running(
    directory: &Path,
    memory: &Memory,
    closed: bool,
    standing: Arc<Overlay>,
) -> Result<Loaded, Forgotten> {
    let mut source = Source::new(directory, None);
    source.stand(standing);
    let read = match Read::consistent((directory, false), None, None) {
        Ok(read) => Arc::new(read),
        Err(error) => return Ok(source.unreadable(&error)),
    };
    let seen = source.take(&read, None).snapshot;
    source.last = seen.remembering(memory)?.map_or(seen, Arc::new);
    if closed {
        source.before = Before::Nothing;
        source.unknown = "the gateway does not know it either".to_owned();
    }
    Ok(source.take(&read, None))
}

/// A directory, and what was made of it so far.
#[derive(Debug)]
pub(crate) struct Source {
    directory: PathBuf,
    /// Whether what is there is as a cluster has it.
    of_cluster: bool,
    kept: Option<Kept>,
    settling: Settling,
    emptied: Emptied,
    /// What is in force was read from; `None` before the directory was whole for the first time.
    whole: Option<Arc<Read>>,
    /// What was there when it was last looked at; `None` when it could not be read.
    seen: Option<Arc<Read>>,
    /// What was being written since it was whole, and is not there any more: it refuses until it is known what became of it.
    came: Vec<Object>,
    /// What files that were whole by themselves said no longer since then: it permits nothing until it is known what does.
    withdrawn: Vec<Object>,
    /// What is known of what was refused before the start.
    before: Before,
    /// Why it is not known; empty where it is.
    unknown: String,
    /// Of what was kept, as long as everything is refused because of it.
    fault: Option<Rejection>,
    /// What stands by acts.
    standing: Arc<Overlay>,
    /// What the last configuration was made from.
    parts: Option<Arc<Parts>>,
    /// The next snapshot is built on.
    last: Arc<Snapshot>,
    /// The policies that were compiled: an act, or another look, compiles none of them again.
    prepared: Prepared,
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
    pub(crate) fn new(directory: &Path, kept: Option<Keeping>) -> Self {
        Self {
            directory: directory.to_owned(),
            of_cluster: false,
            kept: kept.map(Kept::at),
            settling: Settling::default(),
            emptied: Emptied::default(),
            whole: None,
            seen: None,
            came: Vec::new(),
            withdrawn: Vec::new(),
            before: Before::Known,
            unknown: String::new(),
            fault: None,
            standing: Arc::default(),
            parts: None,
            last: Arc::new(Snapshot::default()),
            prepared: Prepared::default(),
        }
    }

    /// From now on this stands by acts.
    pub(crate) fn stand(&mut self, standing: Arc<Overlay>) {
        self.standing = standing;
    }

    /// What the configuration of the last look was made from; `None` before there was one.
    pub(crate) fn parts(&self) -> Option<Arc<Parts>> {
        self.parts.clone()
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

    /// Whether what was seen last is in force, and was whole.
    pub(crate) fn is_whole(&self) -> bool {
        match (&self.whole, &self.seen) {
            (Some(whole), Some(seen)) => Arc::ptr_eq(whole, seen),
            _ => false,
        }
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

    /// Looks at the directory; `wall` is the time by the clock of files. Gives what is in force, and when to look again although
    /// nothing changes: where it is not whole, or in doubt.
    pub(crate) fn look(
        &mut self,
        heard: Heard<'_>,
        now: Instant,
        wall: SystemTime,
    ) -> (Loaded, Option<Instant>) {
        let read =
            match Read::consistent((&self.directory, self.of_cluster), self.seen.as_deref(), heard.changed) {
                Ok(read) => Arc::new(read),
                Err(error) => {
                    self.note_gone(None);
                    self.seen = None;
                    return (self.unreadable(&error), None);
                }
            };
        let first = self.whole.is_none();
        if first {
            self.settling.see_first(&read.listing, wall);
        }
        self.note_gone(Some(&read));
        self.seen = Some(read.clone());
        let looked = match self.settling.see(&read.listing, heard.placed, heard.heard, now) {
            Seen::Whole => {
                if let Some(last) = self.whole.replace(read.clone()) {
                    self.emptied.note(&last, &read);
                }
                (self.came, self.withdrawn) = (Vec::new(), Vec::new());
                (self.whole(&read, first.then_some(now)), self.settling.next_certain())
            }
            Seen::Moving(due) => (self.moving(now), Some(due)),
        };
        // Before the directory was whole, what was kept is still to be compared with it.
        if self.whole.is_some() {
            self.last = looked.0.snapshot.clone();
        }
        looked
    }

    /// The directory as it is now, taken as whole. `first` is the time, where what is kept is to be compared with it.
    fn at_once(&mut self, first: Option<Instant>) -> Loaded {
        match Read::consistent((&self.directory, self.of_cluster), None, None) {
            Ok(read) => self.take(&Arc::new(read), first),
            Err(error) => self.unreadable(&error),
        }
    }

    fn take(&mut self, read: &Arc<Read>, first: Option<Instant>) -> Loaded {
        self.whole = Some(read.clone());
        self.settling.take(&read.listing);
        self.whole(read, first)
    }

    /// The directory is whole: all of it is in force. `first` is the time, where it was not before.
    fn whole(&mut self, read: &Read, first: Option<Instant>) -> Loaded {
        let mut configuration = self.prepared(Configuration {
            objects: read.objects().cloned().collect(),
            rejected: read.rejections(),
            ..Configuration::default()
        });
        if let Some(now) = first.filter(|_| self.kept.is_some()) {
            let (seen, _) = self.last.next(configuration.clone());
            if !self.remember(seen, read) {
                self.settling.doubt_all(now);
            }
        }
        configuration.doubted = self.doubts(read);
        let loaded = self.compile(configuration, Vec::new());
        if !loaded.snapshot.is_closed() {
            (self.before, self.fault) = (Before::Known, None);
        }
        loaded
    }

    /// Reads what was refused before the start, and builds on it; `seen` is what there is now. Whether that refuses the same, as far
    /// as can be known.
    fn remember(&mut self, seen: Snapshot, read: &Read) -> bool {
        let (directory, emptied) = (&self.directory, &mut self.emptied);
        let remembered: Result<_, String> = self.kept.as_mut().map_or(Ok(Some(None)), |kept| {
            let Some(Was { memory, silent }) = kept.read()? else { return Ok(None) };
            let memory = memory.with_paths(|path| directory.join(path));
            let remembering = kept.remembering(&seen, &memory)?;
            let missing = remembering.iter().flat_map(Snapshot::only_refusing);
            let places = missing.filter_map(|missing| match missing.origin {
                Origin::File { path, .. } => Some(path.clone()),
                Origin::Cluster { .. } => None,
            });
            let silent = silent.map(|silent| silent.iter().map(|path| directory.join(path)).collect());
            emptied.begin(read, &places.collect(), silent.as_ref());
            Ok(Some(remembering))
        });
        match remembered {
            // All that was refused is here, as it was.
            Ok(Some(None)) => {
                self.last = Arc::new(seen);
                true
            }
            Ok(Some(Some(remembering))) => {
                self.last = Arc::new(remembering);
                false
            }
            Ok(None) => {
                self.last = Arc::new(seen);
                self.before = Before::Nothing;
                self.unknown = "this data directory has not been served from before".to_owned();
                true
            }
            Err(reason) => {
                tracing::error!("what was refused before the start is not known: {reason}");
                self.last = Arc::new(seen);
                self.before = Before::Lost;
                self.fault = self.kept.as_ref().map(|kept| lost(kept.path(), &reason));
                self.unknown = reason;
                false
            }
        }
    }

    /// The places that may not say all that is meant.
    fn doubts(&self, read: &Read) -> Vec<Doubt> {
        let doubt = |path: &Arc<Path>, reason, fix| {
            let place = Origin::File { path: path.clone(), line: 0 };
            Doubt { place, reason, fix }
        };
        let unheard = self.settling.in_doubt().map(|path| doubt(path, UNHEARD, UNHEARD_FIX));
        let gone = self.emptied.remains().map(|path| doubt(path, GONE, GONE_FIX));
        // Of a place that is in two doubts the last says why.
        unheard.chain(gone).chain(read.silent().map(|path| doubt(path, SILENT, SILENT_FIX))).collect()
    }

    /// It is not: what was in force stays so, and what is being written may only refuse.
    fn moving(&mut self, now: Instant) -> Loaded {
        let mut configuration =
            Configuration { coming: self.coming(), came: self.came.clone(), ..Configuration::default() };
        if let Some(whole) = self.whole.clone() {
            let whole = &whole;
            configuration.objects = whole.objects().cloned().collect();
            configuration.rejected = whole.rejections();
            for object in self.withdrawn(whole, now) {
                if !self.withdrawn.iter().any(|known| known.is_identical(&object)) {
                    self.withdrawn.push(object);
                }
            }
            configuration.withdrawn = self.withdrawn.clone();
            configuration.doubted = self.doubts(whole);
        }
        let mut said = Vec::new();
        if self.whole.is_none() || self.settling.restless_for(now) >= RESTLESS {
            said.push(restless(&self.directory));
        }
        self.compile(configuration, said)
    }

    fn compile(&mut self, configuration: Configuration, said: Vec<Rejection>) -> Loaded {
        let configuration = self.prepared(configuration);
        let mut parts = Parts {
            on: self.last.clone(),
            configuration: Configuration { before: self.before, ..configuration },
            said,
            fault: self.fault.clone(),
            source: "the directory of resources",
            begun: self.whole.is_some(),
            unknown: self.unknown.clone(),
            unreadable: None,
        };
        let loaded = parts.with(&self.standing);
        self.prepared.settle(&loaded.snapshot);
        parts.configuration.prepared = self.prepared.clone();
        self.parts = Some(Arc::new(parts));
        loaded
    }

    /// With its policies compiled, each once.
    fn prepared(&mut self, configuration: Configuration) -> Configuration {
        let Configuration { objects, coming, came, .. } = &configuration;
        let all = objects.iter().chain(coming).chain(came).filter_map(|object| match object {
            Object::Policy(policy) => Some(policy),
            Object::Agent(_) | Object::Service(_) | Object::McpServer(_) | Object::LlmProvider(_) => None,
        });
        let new: Vec<_> = all
            .clone()
            .filter(|policy| !self.prepared.has(policy) && !self.last.has_compiled(policy))
            .cloned()
            .collect();
        self.prepared.prepare(&new, &[]);
        self.prepared.keep(all);
        Configuration { prepared: self.prepared.clone(), ..configuration }
    }

    fn unreadable(&mut self, error: &io::Error) -> Loaded {
        let begun = self.whole.is_some();
        let rejection = unreadable(&self.directory, error, begun);
        if let Some(parts) = self.parts.as_ref().filter(|_| begun) {
            let parts = Parts { unreadable: Some(rejection.clone()), ..Parts::clone(parts) };
            let not_ready = parts.not_ready(&self.last);
            self.parts = Some(Arc::new(parts));
            return Loaded { snapshot: self.last.clone(), rejections: vec![rejection], not_ready };
        }
        let not_ready = Some("the directory of resources cannot be read".to_owned());
        Loaded { rejections: vec![rejection], not_ready, ..Loaded::empty() }
    }

    /// Notes what was being written and refuses, where nothing of its name is in `next`, what is there now; `None` where that cannot be
    /// read.
    fn note_gone(&mut self, next: Option<&Read>) {
        let refuses = |object: &Object| match object {
            Object::Policy(policy) => policy.cedar.contains("forbid"),
            Object::Agent(agent) => agent.quarantined,
            Object::Service(service) => service.quarantined,
            Object::McpServer(_) | Object::LlmProvider(_) => false,
        };
        let coming = self.coming().into_iter().filter(refuses);
        self.came.extend(coming);
        if let Some(next) = next.filter(|_| !self.came.is_empty()) {
            let there: HashSet<ObjectRef> = next.objects().map(Object::reference).collect();
            self.came.retain(|object| !there.contains(&object.reference()));
        }
    }

    /// The objects that are not in force, as they stand there.
    fn coming(&self) -> Vec<Object> {
        let Some(seen) = self.seen.as_ref().filter(|_| !self.is_whole()) else { return Vec::new() };
        let whole = self.whole.as_deref();
        let in_force: HashMap<ObjectRef, Vec<&Object>> =
            whole.map(|whole| whole.changed(seen)).unwrap_or_default();
        let is_new = |object: &&Object| {
            !in_force.get(&object.reference()).into_iter().flatten().any(|one| one.is_identical(object))
        };
        seen.objects_beside(whole).filter(is_new).cloned().collect()
    }

    /// The objects in force that are not as they were in files that are whole by themselves: policies that are otherwise, or gone,
    /// and all others that are gone.
    fn withdrawn(&self, whole: &Read, now: Instant) -> Vec<Object> {
        let Some(seen) = &self.seen else { return Vec::new() };
        let files: HashSet<&Path> = self.settling.whole_files(now).map(|path| &**path).collect();
        if files.is_empty() {
            return Vec::new();
        }
        let mut there: HashMap<ObjectRef, Vec<&Object>> = HashMap::new();
        for object in seen.objects() {
            there.entry(object.reference()).or_default().push(object);
        }
        let stands = |object: &Object| match there.get(&object.reference()) {
            Some(there) if matches!(object, Object::Policy(_)) => {
                there.iter().any(|one| one.is_identical(object))
            }
            there => there.is_some(),
        };
        whole.objects_of(&files).filter(|object| !stands(object)).cloned().collect()
    }

    /// Keeps what is refused, for the next start. `loaded` is what [`Source::look`] gave last.
    pub(crate) fn keep(&mut self, loaded: &Loaded) -> Result<(), Box<Rejection>> {
        let is_known = self.whole.is_some() && self.before == Before::Known;
        let Some(kept) = self.kept.as_mut().filter(|_| is_known) else { return Ok(()) };
        // However the directory is named at the next start.
        let below = |path: &Path| path.strip_prefix(&self.directory).unwrap_or(path).to_owned();
        let memory = loaded.snapshot.memory().with_paths(|path| below(self.emptied.place(path)));
        let silent = self.whole.iter().flat_map(|whole| whole.silent());
        let silent = silent.filter(|path| self.emptied.is_harmless(path)).map(|path| below(path)).collect();
        kept.write(&Was { memory, silent: Some(silent) }).map_err(|reason| {
            Box::new(Rejection {
                reason: format!("what is refused cannot be kept for the next start: {reason}"),
                fix: "see that the data directory can be written".to_owned(),
                ..about(kept.path())
            })
        })
    }
}

const UNHEARD: &str = "its file was written while nobody could hear whether its writer closed it, so it may be half-written; in 30 s \
    it counts as it is";
const UNHEARD_FIX: &str = "wait, or delete the file if all of it is to be gone";
const SILENT: &str = "its file says nothing any more, and an emptied file deletes nothing";
const SILENT_FIX: &str = "delete the file if what it held is to be gone, or write what it is to say";

const GONE: &str = "its file is gone, and a file that says nothing may be what is left of it: it came, or was emptied, since, or said \
    the same before; an emptied file deletes nothing";
const GONE_FIX: &str =
    "delete the file that says nothing too, if all of it is to be gone, or write what it is to say";

/// What was kept cannot be used.
fn lost(kept: &Path, reason: &str) -> Rejection {
    Rejection {
        reason: reason.to_owned(),
        fix: "restore the data directory, or see to it that nothing is malformed or empty: after 30 s it is written anew"
            .to_owned(),
        ..about(kept)
    }
}

fn restless(directory: &Path) -> Rejection {
    Rejection {
        reason:
            "something here is written all the time; until it is still, nothing more is permitted than before"
                .to_owned(),
        fix: "write files beside the directory and rename them into it".to_owned(),
        ..about(directory)
    }
}

#[cfg(test)]
mod tests;
