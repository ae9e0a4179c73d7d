//! Reading a directory again whenever it changes, on a thread of its own; and another one, for acts, that never waits for a file.

use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use std::{fs, io, thread};

use notify::event::{AccessKind, AccessMode, CreateKind, DataChange, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;
use vidimus_core::snapshot::Overlay;

use crate::debounce::{Change, Pending};
use crate::files;
use crate::in_force::{InForce, stand_by};
use crate::kept::Keeping;
use crate::load::Loaded;
use crate::source::{self, Source};

/// How often the whole directory is looked at when nothing was heard: events are lost when a queue overflows, when what a link
/// points to changes, and on some network file systems.
const LOOK: Duration = Duration::from_secs(2);
/// The same, when the operating system reports no events at all.
const LOOK_WITHOUT_EVENTS: Duration = Duration::from_millis(250);
/// The same after a refresh: a directory that was just made may have been filled before it was watched.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long a start waits until nothing is being written in the directory. Then it begins with everything refused.
const MAX_START: Duration = Duration::from_secs(5);

/// Keeps a directory watched until it is dropped.
#[derive(Debug)]
pub struct Watching {
    tell: Sender<Heard>,
    stands: Sender<Arc<Overlay>>,
    round: Arc<Mutex<Instant>>,
}

impl Watching {
    /// How long the thread that reads the directory has not come round, which it does every few seconds: what is written there is
    /// not in force meanwhile.
    pub fn silent_for(&self) -> Duration {
        self.round.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// From now on this stands by acts: what is in force is published with it at once, also where the directory does not change, or
    /// cannot be read.
    pub fn stand(&self, standing: Arc<Overlay>) {
        // Somebody receives for as long as this is here.
        let _ = self.stands.send(standing);
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // It has stopped already when nobody receives.
        let _ = self.tell.send(Heard::Stop);
    }
}

/// Loads a directory, and loads it again whenever it changes. The first configuration is there when this returns, which is up to
/// [`MAX_START`] later where files are being written; later ones are published when they differ. Reading happens on a thread of
/// its own.
///
/// `kept` is where what is refused is kept over restarts; without it, what something malformed at the start forbade before is not
/// known, and not in force. `standing` is what stands by acts at the start.
///
/// # Errors
/// When the thread cannot be started.
pub fn watch(
    directory: &Path,
    kept: Option<Keeping>,
    standing: Arc<Overlay>,
) -> io::Result<(watch::Receiver<Arc<Loaded>>, Watching)> {
    let (tell, heard) = mpsc::channel();
    // Watched before it is read, so that no change falls in between.
    let events = Events::of(directory, &tell);
    let in_force = Arc::new(InForce::new(standing));
    let round = Arc::new(Mutex::new(Instant::now()));
    let mut watcher = Thread {
        directory: directory.to_owned(),
        tell: tell.clone(),
        heard,
        events,
        source: Source::new(directory, kept),
        in_force: in_force.clone(),
        round: round.clone(),
        #[cfg(test)]
        waits: Arc::default(),
    };
    let due = watcher.start();
    // What was published until now is the first configuration, not a change.
    let current = in_force.subscribe();
    let (stands, told) = mpsc::channel();
    thread::Builder::new().name("vidimus-acts".to_owned()).spawn(move || stand_by(&in_force, &told))?;
    thread::Builder::new().name("vidimus-registry".to_owned()).spawn(move || watcher.run(due))?;
    Ok((current, Watching { tell, stands, round }))
}

#[derive(Debug)]
enum Heard {
    Event(notify::Result<Event>),
    Stop,
}

/// The operating system's events about one directory: about the directory that bears the name, not about the name.
struct Events {
    _watcher: RecommendedWatcher,
    directory: (u64, u64),
    /// The path that events give the directory.
    root: PathBuf,
}

impl Events {
    fn of(directory: &Path, tell: &Sender<Heard>) -> Option<Self> {
        let tell = tell.clone();
        // Nobody receives once the directory is not watched any more.
        let hear = move |event| drop(tell.send(Heard::Event(event)));
        let watched = notify::recommended_watcher(hear)
            .and_then(|mut watcher| watcher.watch(directory, RecursiveMode::Recursive).map(|()| watcher));
        match watched {
            Ok(watcher) => Some(Self {
                _watcher: watcher,
                directory: identity(directory)?,
                root: std::path::absolute(directory).ok()?,
            }),
            Err(error) => {
                tracing::debug!(directory = %directory.display(), %error, "no file events; looking at the directory instead");
                None
            }
        }
    }
}

fn identity(directory: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(directory).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

struct Thread {
    directory: PathBuf,
    tell: Sender<Heard>,
    heard: Receiver<Heard>,
    events: Option<Events>,
    source: Source,
    in_force: Arc<InForce>,
    /// When it came round last.
    round: Arc<Mutex<Instant>>,
    /// A look waits for as long as a test holds it, as for a file.
    #[cfg(test)]
    waits: Arc<Mutex<()>>,
}

impl Thread {
    /// Looks until the directory is whole. Events wait in their queue meanwhile. Gives when to look again although nothing changes.
    fn start(&mut self) -> Option<Instant> {
        let begun = Instant::now();
        loop {
            let due = self.refresh(None, &BTreeSet::new());
            let now = Instant::now();
            if self.source.has_begun() || now.duration_since(begun) >= MAX_START {
                return due;
            }
            let due = due.unwrap_or(now).min(begun + MAX_START);
            thread::sleep(due.saturating_duration_since(now).min(LOOK_AGAIN));
        }
    }

    fn run(mut self, mut whole: Option<Instant>) {
        self.keep();
        let mut pending = Pending::default();
        // When to look although nothing was heard; `whole` is when to look because what is there may be whole, or certain, then.
        let mut look = Instant::now() + LOOK_AGAIN;
        // After a refresh comes a pause of the same length, so that a storm of changes leaves half of a core to the calls.
        let mut not_before = Instant::now();
        loop {
            *self.round.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            let heard = pending.due().map(|due| due.max(not_before));
            let due = heard.unwrap_or(look);
            let due = whole.map_or(due, |whole: Instant| whole.min(due));
            match self.heard.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Heard::Event(event)) => self.note(&mut pending, event),
                Ok(Heard::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let begun = Instant::now();
                    let read = if heard.is_some_and(|due| due <= begun) {
                        let heard = std::mem::take(&mut pending);
                        whole = self.refresh(Some(heard.paths()), heard.placed());
                        true
                    } else if whole.is_some_and(|due| due <= begun)
                        || (heard.is_none() && self.source.has_changed())
                    {
                        // All of it is looked at: what else has begun to be written meanwhile is not whole either.
                        whole = self.refresh(None, &BTreeSet::new());
                        true
                    } else {
                        false
                    };
                    // What could not be kept is tried again, also where nothing changes: there may be room by now.
                    if read || self.in_force.is_unkept() {
                        self.keep();
                    }
                    self.rearm();
                    let ended = Instant::now();
                    if read {
                        not_before = ended + (ended - begun);
                    }
                    look = ended + self.until_next_look(read);
                }
            }
        }
    }

    fn until_next_look(&self, just_read: bool) -> Duration {
        match (&self.events, just_read) {
            (Some(_), true) => LOOK_AGAIN,
            (Some(_), false) => LOOK,
            (None, _) => LOOK_WITHOUT_EVENTS,
        }
    }

    /// Reads and publishes the directory. `changed` are the files that did, if nothing else has; `placed` those that were put there
    /// whole. Gives when to look again, where the directory is not whole, or in doubt.
    fn refresh(
        &mut self,
        changed: Option<&BTreeSet<PathBuf>>,
        placed: &BTreeSet<PathBuf>,
    ) -> Option<Instant> {
        let heard = source::Heard { changed, placed, heard: self.events.is_some() };
        self.source.stand(self.in_force.standing());
        #[cfg(test)]
        let _waits = self.waits.lock();
        // Should one object find a fault of ours, the thread must live on to read its repair.
        let looked = panic::catch_unwind(AssertUnwindSafe(|| {
            let (next, due) = self.source.look(heard, Instant::now(), SystemTime::now());
            // It is made anew where something else stands by now.
            self.in_force.looked(next, self.source.parts());
            due
        }));
        let Ok(due) = looked else {
            tracing::error!(directory = %self.directory.display(), "reading panicked; the last configuration stays live");
            // What is there has been looked at; only the next change is worth another try.
            self.source.give_up();
            return None;
        };
        due
    }

    /// Keeps what is refused for the next start: after it is in force, since that is the safe order.
    fn keep(&mut self) {
        let unkept = self.source.keep(&self.in_force.current()).err().map(|fault| *fault);
        self.in_force.kept(unkept);
    }

    fn note(&mut self, pending: &mut Pending, event: notify::Result<Event>) {
        let now = Instant::now();
        let Ok(event) = event else {
            self.source.forget_open();
            return pending.note(&self.directory, Change::Done, now);
        };
        let Some(change) = meaning(&event) else { return };
        if event.paths.is_empty() || event.need_rescan() {
            self.source.forget_open();
            pending.note(&self.directory, change, now);
        }
        for path in event.paths.iter().filter(|path| matters(path)) {
            let path = self.as_listed(path);
            self.source.note(&path, change, now);
            pending.note(&path, change, now);
        }
    }

    /// The path that the listing has for the path of an event.
    fn as_listed(&self, path: &Path) -> PathBuf {
        let below = self.events.as_ref().and_then(|events| path.strip_prefix(&events.root).ok());
        below.map_or_else(|| path.to_owned(), |below| self.directory.join(below))
    }

    /// Another directory under the same name has to be watched anew: it was replaced, or it came back.
    fn rearm(&mut self) {
        let present = identity(&self.directory);
        if present.is_none() {
            self.events = None;
        } else if self.events.as_ref().map(|events| events.directory) != present {
            self.events = Events::of(&self.directory, &self.tell);
        }
    }
}

/// Reading is no change; on Linux a writer says when it is done.
fn meaning(event: &Event) -> Option<Change> {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Change::Closed),
        EventKind::Access(_) => None,
        EventKind::Modify(ModifyKind::Data(DataChange::Any)) if cfg!(target_os = "linux") => {
            Some(Change::Writing)
        }
        EventKind::Create(CreateKind::File) if cfg!(target_os = "linux") && is_written(event) => {
            Some(Change::Writing)
        }
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(Change::Placed),
        // From something that is not read, it is whole; a file that is read may be moved while it is written.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both))
            if !event.paths.first().is_some_and(|from| is_read(from)) =>
        {
            Some(Change::Placed)
        }
        EventKind::Modify(ModifyKind::Metadata(_)) => Some(Change::Touched),
        _ => Some(Change::Done),
    }
}

/// A link is complete when it is there; nobody writes to it.
fn is_written(event: &Event) -> bool {
    let path = event.paths.first();
    path.and_then(|path| fs::symlink_metadata(path).ok())
        .is_some_and(|metadata| metadata.is_file() && metadata.len() == 0)
}

/// Whether a file of this name is read.
fn is_read(path: &Path) -> bool {
    files::holds_resources(path) && !files::is_hidden(path)
}

/// A swap file does not; a ConfigMap's `..data` does, and so does anything that may be a directory.
fn matters(path: &Path) -> bool {
    let is_swap = files::is_hidden(path)
        && !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
    !is_swap && (files::holds_resources(path) || path.is_dir() || !path.is_file())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use vidimus_core::act::{Act, OfSubject};
    use vidimus_core::record::{ActKind, ActRecord, VERSION};
    use vidimus_core::standing::Standing;

    use super::*;

    fn quarantine(subject: &str) -> Arc<Overlay> {
        let mut standing = Standing::default();
        standing.apply(&ActRecord {
            act: Act::Quarantine(OfSubject { subject: subject.parse().unwrap() }),
            actor: "User/urn:vidimus:local#admin".into(),
            id: "1".into(),
            kind: ActKind,
            note: false,
            shared: None,
            time: "2026-01-01T00:00:00.000000Z".into(),
            version: VERSION,
            why: "INC-1".into(),
        });
        Arc::new(Overlay::of(&standing).unwrap())
    }

    fn until(in_force: &InForce, overlay: &Arc<Overlay>) {
        for _ in 0..3_000 {
            if in_force.current().snapshot.has(overlay) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("it is not in force");
    }

    /// A file of another machine that does not answer keeps the directory from being read, and nobody's quarantine.
    #[test]
    fn an_act_comes_into_force_while_a_read_hangs_and_is_tried_again_where_it_fails() {
        let directory = tempfile::tempdir().unwrap();
        let in_force = Arc::new(InForce::new(Arc::default()));
        let (tell, heard) = mpsc::channel();
        let waits = Arc::new(Mutex::new(()));
        let mut thread = Thread {
            directory: directory.path().to_owned(),
            tell,
            heard,
            events: None,
            source: Source::new(directory.path(), None),
            in_force: in_force.clone(),
            round: Arc::new(Mutex::new(Instant::now())),
            waits: waits.clone(),
        };
        thread.start();
        let (stands, told) = mpsc::channel();
        let acts = in_force.clone();
        thread::spawn(move || stand_by(&acts, &told));
        let hangs = waits.lock().unwrap();
        let reading = thread::spawn(move || thread.refresh(None, &BTreeSet::new()));
        let (first, second) = (quarantine("Agent/a/b"), quarantine("Agent/a/c"));
        stands.send(first.clone()).unwrap();
        until(&in_force, &first);
        in_force.faults.store(1, Ordering::SeqCst);
        stands.send(second.clone()).unwrap();
        thread::sleep(AGAIN_FAILED);
        assert!(in_force.current().snapshot.has(&first));
        in_force.faults.store(0, Ordering::SeqCst);
        until(&in_force, &second);
        // What was read meanwhile, with what stood when the read began, does not take it back.
        drop(hangs);
        reading.join().unwrap();
        assert!(in_force.current().snapshot.has(&second));
    }

    /// Long enough for a try to have failed.
    const AGAIN_FAILED: Duration = Duration::from_millis(50);
}
