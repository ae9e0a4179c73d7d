//! What is refused is kept beside what is in force, and who hears of changes does not wait for it: it is of all names that there are, so with many of
//! them it takes a core and the disk for a while, at each change. A thread keeps the newest of it, with less priority than calls have, and rests after
//! that, so that with many changes it takes a tenth of the time. So what is refused is kept a second or two after it is in force, at the latest, and
//! what was told is kept before the end.

use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io};

use vidimus_core::resource::Rejection;
use vidimus_core::snapshot::Snapshot;

use crate::in_force::InForce;
use crate::kept::Kept;
use crate::load::about;

/// It rests so many times as long as it took.
const REST: u32 = 9;
/// And at most so long.
const MAX_REST: Duration = Duration::from_secs(1);
/// Before what could not be kept is tried again; and where nothing is to be kept.
const AGAIN: Duration = Duration::from_secs(2);
/// What is added to how nice this thread is to others (`nice(2)`).
const NICE: i32 = 10;

/// That what was refused at some time is kept, for who waits for it.
#[derive(Clone, Debug, Default)]
pub struct KeptUpTo {
    number: u64,
    done: Arc<Done>,
}

impl KeptUpTo {
    /// Waits until it is kept, at most so long; whether it is.
    #[must_use]
    pub fn wait(&self, most: Duration) -> bool {
        let is_missing = |count: &mut Count| count.kept < self.number;
        let waited = self.done.changed.wait_timeout_while(self.done.count(), most, is_missing);
        let (count, _) = waited.unwrap_or_else(PoisonError::into_inner);
        count.kept >= self.number
    }
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusals").field("done", &self.done).finish_non_exhaustive()
    }
}

/// How far it is.
#[derive(Debug, Default)]
pub(crate) struct Done {
    count: Mutex<Count>,
    changed: Condvar,
}

/// How often something was told, and which of these is kept.
#[derive(Debug, Default)]
struct Count {
    told: u64,
    kept: u64,
}

impl Done {
    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that was told by now.
    pub(crate) fn now(self: &Arc<Self>) -> KeptUpTo {
        KeptUpTo { number: self.count().told, done: self.clone() }
    }

    fn is_kept(&self, number: u64) {
        self.count().kept = number;
        self.changed.notify_all();
    }
}

/// What is to be kept.
struct Told {
    /// Where, with the first.
    first: Option<Kept>,
    snapshot: Arc<Snapshot>,
    number: u64,
}

/// The newest that was told and not taken yet: a disk that hangs holds up nothing else, and holds no other one in memory.
#[derive(Default)]
struct Newest(Mutex<Option<Told>>);

impl Newest {
    fn put(&self, told: Told) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = newest.take().and_then(|last| last.first);
        *newest = Some(Told { first: told.first.or(first), ..told });
    }

    fn take(&self) -> Option<Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Has what is refused kept.
pub(crate) struct Refusals {
    /// That there is a newer one.
    tell: Option<SyncSender<()>>,
    newest: Arc<Newest>,
    done: Arc<Done>,
    thread: Option<JoinHandle<()>>,
}

impl Refusals {
    /// Begins the thread, which says of `in_force` where it cannot keep what is refused.
    pub(crate) fn begin(in_force: Arc<InForce>) -> io::Result<Self> {
        let (tell, told) = mpsc::sync_channel(1);
        let (newest, done) = (Arc::<Newest>::default(), Arc::<Done>::default());
        let (of, counts) = (newest.clone(), done.clone());
        let thread = thread::Builder::new()
            .name("vidimus-refused".to_owned())
            .spawn(move || keep(&in_force, (&told, &of), &counts))?;
        Ok(Self { tell: Some(tell), newest, done, thread: Some(thread) })
    }

    /// This is in force; with the first it is said where what it refuses is to be kept.
    pub(crate) fn keep(&self, first: Option<Kept>, snapshot: Arc<Snapshot>) {
        let mut count = self.done.count();
        count.told += 1;
        self.newest.put(Told { first, snapshot, number: count.told });
        drop(count);
        let tell = self.tell.as_ref().map(|tell| tell.try_send(()));
        // Where it is full, the newest is not taken yet.
        if !matches!(tell, Some(Ok(()) | Err(TrySendError::Full(())))) {
            tracing::error!(
                "what is refused is not kept for the next start any more: the thread that does so has ended"
            );
        }
    }

    pub(crate) const fn done(&self) -> &Arc<Done> {
        &self.done
    }
}

/// What was told is kept.
impl Drop for Refusals {
    fn drop(&mut self) {
        drop(self.tell.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Goes on until nobody can tell anything any more.
fn keep(in_force: &InForce, (told, newest): (&Receiver<()>, &Newest), done: &Done) {
    at_low_priority();
    let (mut kept, mut next): (Option<Kept>, Option<Told>) = (None, None);
    let mut not_before = Instant::now();
    loop {
        let wait = match &next {
            None => AGAIN,
            Some(_) => not_before.saturating_duration_since(Instant::now()),
        };
        let is_end = match told.recv_timeout(wait) {
            Ok(()) => {
                if let Some(mut newer) = newest.take() {
                    kept = newer.first.take().or(kept);
                    next = Some(newer);
                }
                continue;
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        if let (Some(kept), Some(newest)) = (&mut kept, &next) {
            let begun = Instant::now();
            let is_kept = keep_one(in_force, kept, &newest.snapshot);
            let rest = if is_kept { (begun.elapsed() * REST).min(MAX_REST) } else { AGAIN };
            not_before = Instant::now() + rest;
            if is_kept {
                tracing::debug!(ms = begun.elapsed().as_millis(), "what is refused is kept");
                done.is_kept(newest.number);
                next = None;
            }
        }
        if is_end {
            return;
        }
    }
}

fn keep_one(in_force: &InForce, kept: &mut Kept, snapshot: &Snapshot) -> bool {
    let written = panic::catch_unwind(AssertUnwindSafe(|| kept.write_of(&snapshot.written_memory(), None)));
    let unkept = written.unwrap_or_else(|_| Err("a fault of this program".to_owned())).err();
    let is_kept = unkept.is_none();
    in_force.kept(unkept.map(|reason| Rejection {
        reason: format!("what is refused cannot be kept for the next start: {reason}"),
        fix: "see that the data directory can be written".to_owned(),
        ..about(kept.path())
    }));
    is_kept
}

/// From now on this thread takes a core where others leave it one; where that cannot be, as before.
pub fn at_low_priority() {
    // Elsewhere it would be all threads of the process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "a thread has the priority of others");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;
    use vidimus_core::resource::{Object, Origin, check};

    use super::*;
    use crate::kept::{KEY_LENGTH, Keeping};

    fn kept(root: &Path) -> Kept {
        Kept::at(Keeping::new(&root.join("refused"), &root.join("count"), &[7; KEY_LENGTH]).unwrap())
    }

    fn snapshot(names: usize) -> Arc<Snapshot> {
        let one = |name: usize| -> Object {
            let document = json!({
                "apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy",
                "metadata": {"namespace": "a", "name": format!("p{name}")},
                "spec": {"description": "a test", "cedar": "forbid (principal, action, resource);"},
            });
            check(&Origin::file("d/a.yaml", 1), &document).unwrap()
        };
        Arc::new(Snapshot::build((0..names).map(one).collect()).0)
    }

    /// What is told while it rests is kept too: the newest of it, and before the end.
    #[test]
    fn the_newest_is_kept_and_told_when_it_is() {
        let root = tempfile::tempdir().unwrap();
        let refusals = Refusals::begin(Arc::new(InForce::new(Arc::default()))).unwrap();
        assert!(refusals.done().now().wait(Duration::ZERO), "nothing was told");
        refusals.keep(Some(kept(root.path())), snapshot(1));
        let first = refusals.done().now();
        for names in 2..6 {
            refusals.keep(None, snapshot(names));
        }
        let last = refusals.done().now();
        assert!(first.wait(Duration::from_secs(20)) && last.wait(Duration::from_secs(20)));
        assert_eq!(kept(root.path()).read().unwrap().unwrap().memory, snapshot(5).memory());
        refusals.keep(None, snapshot(6));
        let (mark, done) = (refusals.done().now(), refusals.done().clone());
        drop(refusals);
        assert!(mark.wait(Duration::ZERO) && done.now().wait(Duration::ZERO));
        assert_eq!(kept(root.path()).read().unwrap().unwrap().memory, snapshot(6).memory());
    }

    /// Attack: a disk that hangs while changes come. Where it is to be kept is not lost with the one that it came with.
    #[test]
    fn what_is_not_taken_is_the_newest_alone() {
        let root = tempfile::tempdir().unwrap();
        let (newest, one) = (Newest::default(), snapshot(1));
        for number in 1..50 {
            let first = (number == 1).then(|| kept(root.path()));
            newest.put(Told { first, snapshot: one.clone(), number });
            assert_eq!(Arc::strong_count(&one), 2);
        }
        let told = newest.take().unwrap();
        assert!(told.first.is_some() && told.number == 49 && newest.take().is_none());
    }

    /// What cannot be kept is not said to be, and is said of what is in force.
    #[test]
    fn what_cannot_be_kept_is_not_said_to_be() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("file"), "").unwrap();
        let in_force = Arc::new(InForce::new(Arc::default()));
        let refusals = Refusals::begin(in_force.clone()).unwrap();
        refusals.keep(Some(kept(&root.path().join("file"))), snapshot(1));
        assert!(!refusals.done().now().wait(Duration::from_millis(300)));
        let begun = Instant::now();
        while !in_force.is_unkept() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is not said");
            thread::sleep(Duration::from_millis(5));
        }
        drop(refusals);
    }
}
