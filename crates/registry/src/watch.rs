//! Reading a directory again whenever it changes, on a thread of its own.

use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use notify::event::{AccessKind, AccessMode, CreateKind, DataChange, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;

use crate::debounce::{Change, Pending};
use crate::files::{self, Listing};
use crate::load::{Loaded, Read, compile};

/// How often the whole directory is looked at when nothing was heard: events are lost when a queue overflows, when what a link
/// points to changes, and on some network file systems.
const LOOK: Duration = Duration::from_secs(2);
/// The same, when the operating system reports no events at all.
const LOOK_WITHOUT_EVENTS: Duration = Duration::from_millis(250);
/// The same after a refresh: a directory that was just made may have been filled before it was watched.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Keeps a directory watched until it is dropped.
#[derive(Debug)]
pub struct Watching {
    stop: Sender<Heard>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        // It has stopped already when nobody receives.
        let _ = self.stop.send(Heard::Stop);
    }
}

/// Loads a directory, and loads it again whenever it changes. The first configuration is there when this returns; later
/// ones are published when they differ. Reading happens on a thread of its own.
///
/// # Errors
/// When the thread cannot be started.
pub fn watch(directory: &Path) -> io::Result<(watch::Receiver<Arc<Loaded>>, Watching)> {
    let (tell, heard) = mpsc::channel();
    // Watched before it is read, so that no change falls in between.
    let events = Events::of(directory, &tell);
    let read = Read::consistent(directory, None, None);
    let first = compile(directory, &read, &Loaded::empty());
    let (publish, current) = watch::channel(Arc::new(first));
    let watcher = Thread {
        directory: directory.to_owned(),
        tell: tell.clone(),
        heard,
        events,
        read: read.ok(),
        publish,
    };
    thread::Builder::new().name("vidimus-registry".to_owned()).spawn(|| watcher.run())?;
    Ok((current, Watching { stop: tell }))
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
    /// What the directory held when it was last read; `None` when it could not be.
    read: Option<Read>,
    publish: watch::Sender<Arc<Loaded>>,
}

impl Thread {
    fn run(mut self) {
        let mut pending = Pending::default();
        let mut look = Instant::now() + LOOK_AGAIN;
        // After a refresh comes a pause of the same length, so that a storm of changes leaves half of a core to the calls.
        let mut not_before = Instant::now();
        loop {
            let due = pending.due().map_or(look, |due| due.max(not_before));
            match self.heard.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Heard::Event(event)) => self.note(&mut pending, event),
                Ok(Heard::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let begun = Instant::now();
                    let heard = std::mem::take(&mut pending);
                    let read = if heard.due().is_some() {
                        self.refresh(Some(heard.paths()));
                        true
                    } else if self.has_changed() {
                        self.refresh(None);
                        true
                    } else {
                        false
                    };
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

    fn has_changed(&self) -> bool {
        Listing::of(&self.directory).ok().as_ref() != self.read.as_ref().map(|read| &read.listing)
    }

    /// Reads and publishes the directory. `changed` are the files that did, if nothing else has.
    fn refresh(&mut self, changed: Option<&BTreeSet<PathBuf>>) {
        let last = self.publish.borrow().clone();
        // Should one object find a fault of ours, the thread must live on to read its repair.
        let reloaded = panic::catch_unwind(AssertUnwindSafe(|| {
            let read = Read::consistent(&self.directory, self.read.as_ref(), changed);
            let next = compile(&self.directory, &read, &last);
            (read, next)
        }));
        let Ok((read, next)) = reloaded else {
            tracing::error!(directory = %self.directory.display(), "reading panicked; the last configuration stays live");
            // What is there has been looked at; only the next change is worth another try.
            self.read = self.read.take().map(|read| read.looked_at(&self.directory));
            return;
        };
        self.read = read.ok();
        if next.snapshot.digest() != last.snapshot.digest() || next.rejections != last.rejections {
            self.publish.send_replace(Arc::new(next));
        }
    }

    fn note(&self, pending: &mut Pending, event: notify::Result<Event>) {
        let now = Instant::now();
        let Ok(event) = event else { return pending.note(&self.directory, Change::Done, now) };
        let Some(change) = meaning(&event) else { return };
        if event.paths.is_empty() || event.need_rescan() {
            pending.note(&self.directory, change, now);
        }
        for path in event.paths.iter().filter(|path| matters(path)) {
            pending.note(&self.as_listed(path), change, now);
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
        _ => Some(Change::Done),
    }
}

/// A link is complete when it is there; nobody writes to it.
fn is_written(event: &Event) -> bool {
    let path = event.paths.first();
    path.and_then(|path| fs::symlink_metadata(path).ok())
        .is_some_and(|metadata| metadata.is_file() && metadata.len() == 0)
}

/// A swap file does not; a ConfigMap's `..data` does, and so does anything that may be a directory.
fn matters(path: &Path) -> bool {
    let is_swap = files::is_hidden(path)
        && !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
    !is_swap && (files::holds_resources(path) || path.is_dir() || !path.is_file())
}
