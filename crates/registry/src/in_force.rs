//! What is in force, published: what the directory said when it was looked at last, with what stands by acts now.
//!
//! An act does not wait for a look: it may be somebody's quarantine, and whoever looks may wait for a file, of a disk or another
//! machine, for as long as that takes. So what a configuration is made from is kept, and whoever has something new makes the next one of
//! it: both threads do so in turn, and neither reads anything meanwhile.

use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use vidimus_core::resource::Rejection;
use vidimus_core::snapshot::{Before, Configuration, Overlay, Snapshot};

use crate::load::Loaded;

/// Before what could not be brought into force is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// What a configuration is made from, but for what stands by acts.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// It is built on this one.
    pub(crate) on: Arc<Snapshot>,
    pub(crate) configuration: Configuration,
    /// What is said of it beside what is wrong with its objects.
    pub(crate) said: Vec<Rejection>,
    /// Of what was kept over the start, as long as everything is refused because of it.
    pub(crate) fault: Option<Rejection>,
    /// The words for where its objects are, as in "the directory of resources".
    pub(crate) source: &'static str,
    /// Whether the source was ever whole.
    pub(crate) begun: bool,
    /// Why it is not known what was refused before the start.
    pub(crate) unknown: String,
    /// The directory cannot be read now: this is all that is said.
    pub(crate) unreadable: Option<Rejection>,
}

impl Parts {
    /// The configuration with what stands.
    pub(crate) fn with(&self, standing: &Arc<Overlay>) -> Loaded {
        let configuration = Configuration { standing: standing.clone(), ..self.configuration.clone() };
        let (snapshot, mut rejections) = self.on.next(configuration);
        rejections.extend(self.said.iter().cloned());
        rejections.extend(self.fault.clone().filter(|_| snapshot.is_closed()));
        rejections.sort_by(|a, b| a.origin.cmp(&b.origin));
        if let Some(unreadable) = &self.unreadable {
            rejections = vec![unreadable.clone()];
        }
        let not_ready = self.not_ready(&snapshot);
        Loaded { snapshot: Arc::new(snapshot), rejections, not_ready }
    }

    /// Why a gateway with this snapshot is not ready.
    pub(crate) fn not_ready(&self, snapshot: &Snapshot) -> Option<String> {
        let (reason, source) = (&self.unknown, self.source);
        match self.configuration.before {
            _ if !self.begun => Some(format!("{source} has not been still since the start")),
            _ if !snapshot.is_closed() => None,
            Before::Lost => Some(format!(
                "what was forbidden before the start is not known ({reason}); everything is refused for 30 s, and for as long as \
                 something in {source} is malformed or empty, see /registry"
            )),
            Before::Nothing | Before::Known => Some(format!(
                "something in {source} is malformed, and what it forbade before is not known ({reason}); \
                 everything is refused until it is corrected, see /registry"
            )),
        }
    }
}

/// What is in force now, shared between who reads the directory and who brings acts into force.
#[derive(Debug)]
pub(crate) struct InForce {
    live: Mutex<Live>,
    publish: watch::Sender<Arc<Loaded>>,
    /// How often a test has what stands fail.
    #[cfg(test)]
    pub(crate) faults: std::sync::atomic::AtomicUsize,
}

#[derive(Debug)]
struct Live {
    standing: Arc<Overlay>,
    /// `None` before the directory was looked at.
    parts: Option<Arc<Parts>>,
    /// Why what is refused could not be kept when that was last tried.
    unkept: Option<Rejection>,
}

impl InForce {
    pub(crate) fn new(standing: Arc<Overlay>) -> Self {
        let (publish, _) = watch::channel(Arc::new(Loaded::empty()));
        let live = Mutex::new(Live { standing, parts: None, unkept: None });
        Self {
            live,
            publish,
            #[cfg(test)]
            faults: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Loaded>> {
        self.publish.subscribe()
    }

    pub(crate) fn current(&self) -> Arc<Loaded> {
        self.publish.borrow().clone()
    }

    pub(crate) fn standing(&self) -> Arc<Overlay> {
        self.live().standing.clone()
    }

    /// The directory was looked at: `next` is what was made of `parts`, with what stood when the look began.
    pub(crate) fn looked(&self, next: Loaded, parts: Option<Arc<Parts>>) {
        let mut live = self.live();
        let last = mem::replace(&mut live.parts, parts);
        let next = match &live.parts {
            Some(parts) if !next.snapshot.has(&live.standing) => parts.with(&live.standing),
            _ => next,
        };
        self.publish(&live, next);
        drop(live);
        // Mostly nobody else has the snapshot that the last one was built on: it is let go when nobody waits for the next one any more.
        drop(last);
    }

    /// From now on this stands by acts.
    pub(crate) fn stand(&self, standing: Arc<Overlay>) {
        let mut live = self.live();
        live.standing = standing;
        #[cfg(test)]
        assert_eq!(self.faults.load(std::sync::atomic::Ordering::SeqCst), 0, "a test wants it");
        // The first look has it, where there was none.
        if let Some(parts) = &live.parts {
            self.publish(&live, parts.with(&live.standing));
        }
    }

    /// Whether what is refused could be kept for the next start.
    pub(crate) fn kept(&self, unkept: Option<Rejection>) {
        let mut live = self.live();
        if unkept == live.unkept {
            return;
        }
        if let Some(fault) = &unkept {
            tracing::error!(reason = fault.reason, fix = fault.fix, "{}", fault.origin);
        }
        let last = mem::replace(&mut live.unkept, unkept.clone());
        self.publish.send_modify(|published| {
            let rejections = &mut Arc::make_mut(published).rejections;
            rejections.retain(|rejection| Some(rejection) != last.as_ref());
            rejections.extend(unkept);
        });
    }

    /// Whether what is refused could not be kept when that was last tried.
    pub(crate) fn is_unkept(&self) -> bool {
        self.live().unkept.is_some()
    }

    fn publish(&self, live: &Live, mut next: Loaded) {
        let last = self.current();
        // It is so until it could be kept, and would be published twice if it were only added afterwards.
        next.rejections.extend(live.unkept.clone());
        if next.snapshot.digest() != last.snapshot.digest()
            || !next.snapshot.has_switches_of(&last.snapshot)
            || next.rejections != last.rejections
            || next.not_ready != last.not_ready
        {
            let next = Arc::new(next);
            let was = self.publish.send_replace(next.clone());
            // The next one is built on it, and what is kept is written of it: for as long as nothing changes.
            if !Arc::ptr_eq(&was.snapshot, &next.snapshot) {
                was.snapshot.retire();
            }
        }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        // Nothing in it is half-changed: who panicked had not published yet.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings what stands into force whenever it is told, until nobody can tell any more: to be run by a thread that does nothing else.
pub(crate) fn stand_by(in_force: &InForce, told: &Receiver<Arc<Overlay>>) {
    while let Ok(mut standing) = told.recv() {
        loop {
            // The newest is all that counts.
            standing = told.try_iter().last().unwrap_or(standing);
            let stands = standing.clone();
            if panic::catch_unwind(AssertUnwindSafe(|| in_force.stand(stands))).is_ok() {
                break;
            }
            tracing::error!("what stands could not be brought into force; it is tried again");
            thread::sleep(AGAIN);
        }
    }
}
