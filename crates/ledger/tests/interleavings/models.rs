//! Callers and the threads that write and sync.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use loom::thread;

use crate::queue::{Purpose, Shared, Submitted};
use crate::seal::Chain;
use crate::storage::{Open, Storage, Stored};
use crate::tail::{End, SegmentFile};
use crate::threads;
use crate::times::Span;
use crate::{Closed, Config, Durability, primitives};

/// What was written, in order, and how much of it was synced.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Mutex<(Vec<u8>, usize)>>);

/// A disk that fails at a write or a sync, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fails {
    Never,
    Writing,
    Syncing,
}

#[derive(Clone, Debug)]
struct File(Memory, Fails);

impl File {
    fn state(&self) -> (Vec<u8>, usize) {
        self.0.0.lock().expect("not poisoned").clone()
    }
}

impl Stored for File {
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        if self.1 == Fails::Writing {
            return Err(io::Error::other("full"));
        }
        self.0.0.lock().expect("not poisoned").0.extend_from_slice(bytes);
        Ok(())
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        unreachable!("records are appended")
    }

    fn cut(&self, _: u64) -> io::Result<()> {
        unreachable!("records are appended")
    }

    fn sync(&self) -> io::Result<()> {
        if self.1 == Fails::Syncing {
            return Err(io::Error::other("broken"));
        }
        let mut memory = self.0.0.lock().expect("not poisoned");
        memory.1 = memory.0.len();
        Ok(())
    }
}

impl Storage for File {
    fn make_dir(&self, _: &Path) -> io::Result<()> {
        unreachable!("only segments are opened")
    }

    fn open(&self, _: &Path, _: Open) -> io::Result<Box<dyn Stored>> {
        Ok(Box::new(self.clone()))
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        unreachable!("only segments are opened")
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        unreachable!("only segments are opened")
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        unreachable!("only segments are opened")
    }

    fn sync_everything(&self, _: &Path) -> io::Result<()> {
        unreachable!("only segments are opened")
    }
}

fn ledger(durability: Durability, segment_bytes: u64, fails: Fails) -> (Arc<Shared>, File) {
    let (shared, file, _) = sealed(durability, segment_bytes, fails);
    (shared, file)
}

fn sealed(durability: Durability, segment_bytes: u64, fails: Fails) -> (Arc<Shared>, File, Chain) {
    let file = File(Memory::default(), fails);
    let config = Config { durability, segment_bytes, fsync_interval: Duration::ZERO, ..Config::default() };
    let segment = SegmentFile::new(Box::new(file.clone()), "segment".into());
    let chain = Chain::default();
    let end = End { segment, length: 0, times: Span::default(), chain: chain.clone() };
    (Arc::new(Shared::new(config, Arc::new(file.clone()), 0, end)), file, chain)
}

/// Wakes a caller. Not by unparking its thread: `loom` takes an unpark that comes late for the end of a thread that is joined.
#[derive(Default)]
struct Call {
    woken: primitives::Mutex<bool>,
    waits: primitives::Condvar,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().expect("not poisoned") = true;
        self.waits.notify_one();
    }
}

impl Call {
    fn wait(&self) {
        let mut woken = self.woken.lock().expect("not poisoned");
        while !std::mem::take(&mut *woken) {
            woken = self.waits.wait(woken).expect("not poisoned");
        }
    }
}

/// Records as a caller does: submits, and waits for its wake-up.
fn record(shared: &Shared) -> Result<u64, Closed> {
    let call = Arc::new(Call::default());
    let waker = call.clone().into();
    let mut submitted = None;
    let mut future = pin!(std::future::poll_fn(|cx: &mut Context<'_>| {
        let index = match submitted {
            Some(index) => index,
            None => match shared.submit(&mut vec![0], Purpose::Only, cx.waker())? {
                Submitted::Done(index, _) | Submitted::Waits(index, _) => *submitted.insert(index),
            },
        };
        shared.poll(index, cx.waker()).map_ok(|()| index)
    }));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(kept) => return kept,
            Poll::Pending => call.wait(),
        }
    }
}

fn recorded(shared: &Shared) {
    record(shared).expect("recorded");
}

/// All orders with at most so many changes of the running thread that nothing forces: more find nothing and take minutes.
fn in_every_order(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

fn spawn(shared: &Arc<Shared>, body: fn(&Shared)) -> thread::JoinHandle<()> {
    let shared = shared.clone();
    thread::spawn(move || body(&shared))
}

/// Two callers, of whom one may write for both, and the thread that syncs: without the last record's wake-up it would sleep for ever.
#[test]
fn every_record_that_a_caller_writes_is_synced() {
    in_every_order(2, || {
        let (shared, file) = ledger(Durability::Commit, 100, Fails::Never);
        let callers = [spawn(&shared, recorded), spawn(&shared, recorded)];
        while shared.synced() < 2 {
            shared.wake_ups.wait_for_sync(Duration::ZERO);
            shared.sync().expect("synced");
            shared.wake_ups.synced();
        }
        callers.into_iter().for_each(|caller| caller.join().expect("ended"));
        assert_eq!(file.state(), (vec![0, 1], 2));
        assert_eq!(shared.acknowledged(), 2);
    });
}

/// A segment is always full, so that every caller leaves what waits, and the next segment, to the thread.
#[test]
fn what_a_caller_leaves_is_written_and_the_threads_end() {
    in_every_order(2, || {
        let (shared, file) = ledger(Durability::Commit, 0, Fails::Never);
        let caller = spawn(&shared, recorded);
        let writing = spawn(&shared, threads::write);
        record(&shared).expect("recorded");
        caller.join().expect("ended");
        shared.begin_close();
        writing.join().expect("ended");
        assert_eq!(file.state().0, [0, 1]);
        threads::sync(&shared);
        assert_eq!(file.state().1, 2);
        assert!(shared.wake_ups.wait_for_growth(None), "nothing more comes");
    });
}

/// What is signed for is to stand in the log, also when nobody writes any more: the thread does that, or whoever writes last.
#[test]
fn that_a_checkpoint_was_issued_is_written_and_the_threads_end() {
    in_every_order(2, || {
        let (shared, file, chain) = sealed(Durability::Commit, 100, Fails::Never);
        let writing = spawn(&shared, threads::write);
        let caller = spawn(&shared, recorded);
        shared.issued(1);
        caller.join().expect("ended");
        shared.begin_close();
        writing.join().expect("ended");
        assert_eq!(file.state().0, [0]);
        assert_eq!(chain.said(), 1, "by the thread, by the caller, or by the thread after the caller");
    });
}

#[test]
fn what_is_acknowledged_in_sync_is_on_disk() {
    in_every_order(2, || {
        let (shared, file) = ledger(Durability::Sync, 100, Fails::Never);
        let writing = spawn(&shared, threads::write);
        let other = file.clone();
        let caller = {
            let shared = shared.clone();
            thread::spawn(move || {
                let index = record(&shared).expect("recorded");
                assert!(other.state().1 as u64 > index);
            })
        };
        let index = record(&shared).expect("recorded");
        assert!(file.state().1 as u64 > index);
        caller.join().expect("ended");
        shared.begin_close();
        writing.join().expect("ended");
    });
}

/// The three threads end whatever comes first: the last record, its sync, or the end.
#[test]
fn the_end_waits_for_the_last_write_and_its_sync() {
    in_every_order(2, || {
        let (shared, file) = ledger(Durability::Commit, 100, Fails::Never);
        let (writing, syncing) = (spawn(&shared, threads::write), spawn(&shared, threads::sync));
        let caller = spawn(&shared, |shared| match record(shared) {
            Ok(_) | Err(Closed::Finished) => {}
            Err(other) => panic!("{other}"),
        });
        shared.begin_close();
        while !shared.wake_ups.wait_for_growth(None) {}
        // Nothing is written after this: somebody else may have the log.
        let (written, synced) = file.state();
        assert_eq!(written.len(), synced);
        caller.join().expect("ended");
        assert_eq!(file.state().0, written);
        writing.join().expect("ended");
        syncing.join().expect("ended");
    });
}

#[test]
fn nobody_waits_for_ever_when_the_disk_fails() {
    for (fails, durability) in [
        (Fails::Writing, Durability::Commit),
        (Fails::Writing, Durability::Sync),
        (Fails::Syncing, Durability::Sync),
    ] {
        in_every_order(2, move || {
            let (shared, _) = ledger(durability, 100, fails);
            let writing = spawn(&shared, threads::write);
            let caller = spawn(&shared, |shared| {
                assert!(matches!(record(shared), Err(Closed::Failed { .. })));
            });
            assert!(matches!(record(&shared), Err(Closed::Failed { .. })));
            caller.join().expect("ended");
            writing.join().expect("ended");
            assert_eq!(shared.acknowledged(), 0);
        });
    }
}
