//! Disks that are slow or stand still: what was written is synced in time, an admitted call can always record its end, and nobody
//! else gets the log while a write is under way.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use vidimus_core::permit::{Permit, Verdict};
use vidimus_ledger::storage::{Disk, Open, Storage, Stored};
use vidimus_ledger::{Closed, Config, Durability, Ledger, OpenError, Query, search};

use crate::decide::{decide, invoice_bot, snapshot};
use crate::support::{assert_whole, config, effect, refusal};

/// Longer than any machine is busy with something else.
const LONG: Duration = Duration::from_secs(120);

/// What a disk does at the writes and syncs of segments.
#[derive(Debug, Default)]
struct Rules {
    /// A write waits until what was written before is synced.
    writes_after_sync: bool,
    /// Writes stand still.
    stalled: bool,
    /// Syncs stand still.
    syncs_stalled: bool,
    /// Syncs fail.
    broken: bool,
    /// Writes that stand still now.
    waiting: usize,
    /// Bytes of segments that were written, and how many of them a sync has seen.
    written: usize,
    synced: usize,
    writes: usize,
}

#[derive(Clone, Debug, Default)]
struct SlowDisk(Arc<(Mutex<Rules>, Condvar)>);

impl SlowDisk {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.0.0.lock().expect("not poisoned")
    }

    fn set(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.rules());
        self.0.1.notify_all();
    }

    /// Waits until it is so.
    fn wait(&self, what: &str, so: impl Fn(&Rules) -> bool) -> MutexGuard<'_, Rules> {
        let (rules, timeout) =
            self.0.1.wait_timeout_while(self.rules(), LONG, |rules| !so(rules)).expect("not poisoned");
        assert!(!timeout.timed_out(), "{what}: {rules:?}");
        rules
    }
}

impl Storage for SlowDisk {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        Disk.make_dir(path)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn Stored>> {
        let file = Disk.open(path, how)?;
        let segment = how == Open::Append && path.extension().is_some_and(|end| end == "log");
        Ok(if segment { Box::new(SlowFile { disk: self.clone(), file }) } else { file })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        Disk.sync_dir(path)
    }

    fn sync_everything(&self, path: &Path) -> io::Result<()> {
        Disk.sync_everything(path)
    }
}

#[derive(Debug)]
struct SlowFile {
    disk: SlowDisk,
    file: Box<dyn Stored>,
}

impl Stored for SlowFile {
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.disk.set(|rules| rules.waiting += 1);
        let may =
            |rules: &Rules| !rules.stalled && (!rules.writes_after_sync || rules.synced == rules.written);
        drop(self.disk.wait("what was written is not synced while others write", may));
        self.file.write(bytes)?;
        self.disk.set(|rules| {
            rules.waiting -= 1;
            rules.writes += 1;
            rules.written += bytes.len();
        });
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.file.cut(length)
    }

    fn sync(&self) -> io::Result<()> {
        let rules = self.disk.wait("a sync stands still", |rules| !rules.syncs_stalled);
        let (broken, seen) = (rules.broken, rules.written);
        drop(rules);
        if broken {
            return Err(io::Error::other("broken"));
        }
        self.file.sync()?;
        self.disk.set(|rules| rules.synced = rules.synced.max(seen));
        Ok(())
    }
}

/// Callers that never stop, on a disk whose every write takes until what was written before it is synced: who syncs only when
/// nothing waits never writes the next.
#[test]
fn what_is_written_is_synced_and_signed_while_the_queue_is_never_empty() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = SlowDisk::default();
    disk.set(|rules| rules.writes_after_sync = true);
    let config = Config {
        segment_bytes: 300_000,
        fsync_interval: Duration::from_micros(100),
        checkpoint_interval: Duration::from_millis(1),
        ..config(dir.path())
    };
    let ledger = Ledger::open_on(Arc::new(disk.clone()), config).expect("opened");
    let signed = || std::fs::read_to_string(dir.path().join("checkpoint")).expect("read");
    let first = signed();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().expect("a runtime");
    runtime.block_on(async {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let callers: Vec<_> = (0..64)
            .map(|_| {
                let (ledger, stop) = (ledger.clone(), stop.clone());
                tokio::spawn(async move {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        ledger.record(&refusal("x")).await.expect("recorded");
                    }
                })
            })
            .collect();
        // Far more writes than callers do before they leave writing to the ledger's thread.
        drop(disk.wait("writes", |rules| rules.writes > 300));
        let begun = Instant::now();
        while signed() == first {
            assert!(begun.elapsed() < LONG, "no checkpoint is issued while others write");
            std::thread::yield_now();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for caller in callers {
            caller.await.expect("finished");
        }
    });
    let unsynced = ledger.unsynced();
    assert!(unsynced.longest > Duration::ZERO && unsynced.longest >= unsynced.now, "{unsynced:?}");
    let size = ledger.size();
    runtime.block_on(ledger.close());
    assert_eq!(ledger.unsynced().now, Duration::ZERO);
    assert_whole(dir.path(), size);
}

/// Of a segment that is not the last, a power loss may take nothing: not the seal either that no record follows.
#[test]
fn what_the_end_says_is_signed_for_is_synced_as_well() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = SlowDisk::default();
    let interval = Duration::from_millis(1);
    let config = Config { checkpoint_interval: interval, fsync_interval: interval, ..config(dir.path()) };
    let ledger = Ledger::open_on(Arc::new(disk.clone()), config).expect("opened");
    assert!(matches!(poll(ledger.record(&refusal("x"))), Poll::Ready(Ok(0))));
    drop(disk.wait("the seal is written", |rules| rules.writes == 2));
    drop(disk.wait("the seal is not synced", |rules| rules.synced == rules.written));
    assert_eq!(ledger.watermark().signed, 1);
}

/// How old the oldest unsynced record is can be seen while the disk stands still.
#[test]
fn a_sync_that_does_not_return_is_seen() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger =
        Ledger::open_on(Arc::new(SlowDisk::default()), Config { fsync_interval: LONG, ..config(dir.path()) })
            .expect("opened");
    assert_eq!(ledger.unsynced().longest, Duration::ZERO);
    assert!(matches!(poll(ledger.record(&refusal("x"))), Poll::Ready(Ok(0))));
    let begun = Instant::now();
    while ledger.unsynced().now < Duration::from_millis(5) {
        assert!(begun.elapsed() < LONG, "{:?}", ledger.unsynced());
        std::thread::yield_now();
    }
    assert!(ledger.unsynced().longest >= Duration::from_millis(5));
}

#[test]
fn the_log_is_nobody_elses_while_a_write_is_under_way() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = SlowDisk::default();
    let ledger = Ledger::open_on(Arc::new(disk.clone()), config(dir.path())).expect("opened");
    disk.set(|rules| (rules.syncs_stalled, rules.broken) = (true, true));
    assert!(matches!(poll(ledger.record(&refusal("first"))), Poll::Ready(Ok(0))));
    disk.set(|rules| rules.stalled = true);
    std::thread::scope(|scope| {
        // This one is its own writer, and stands still in the write while the sync of the first fails.
        let writer = scope.spawn(|| poll(ledger.record(&refusal("second"))));
        drop(disk.wait("a write", |rules| rules.waiting == 1));
        disk.set(|rules| rules.syncs_stalled = false);
        let begun = Instant::now();
        while ledger.is_open() {
            assert!(begun.elapsed() < LONG, "the ledger does not fail");
            std::thread::yield_now();
        }
        // Time enough for threads to end that do not wait for the write.
        for _ in 0..200 {
            let opened = Ledger::open(config(dir.path()));
            assert!(matches!(opened, Err(OpenError::InUse { .. })), "opened while a write is under way");
            std::thread::sleep(Duration::from_millis(1));
        }
        disk.set(|rules| rules.stalled = false);
        assert!(matches!(writer.join().expect("ended"), Poll::Ready(Err(Closed::Failed { .. }))));
    });
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(ledger.close());
    let next = Ledger::open(config(dir.path())).expect("opened");
    let size = next.size();
    assert!(size >= 1);
    drop(next);
    assert_whole(dir.path(), size);
}

fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn permitted(verdict: Poll<Result<Verdict, Closed>>) -> Result<Permit, Closed> {
    match verdict {
        Poll::Ready(Ok(Verdict::Permitted(permit))) => Ok(permit),
        Poll::Ready(Err(closed)) => Err(closed),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_admitted_call_can_always_record_its_end() {
    for durability in [Durability::Commit, Durability::Sync] {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = SlowDisk::default();
        let config = Config { durability, max_pending_bytes: 80_000, ..config(dir.path()) };
        let ledger = Ledger::open_on(Arc::new(disk.clone()), config).expect("opened");
        let (snapshot, runtime) = (snapshot(), tokio::runtime::Builder::new_current_thread().build());
        let (caller, runtime) = (invoice_bot(&snapshot), runtime.expect("a runtime"));
        let ask = async |id: &str| decide(&ledger, &snapshot, &caller, id, "get_invoice").await;

        // Each call under way keeps its place, so there are not more than places.
        let mut permits = Vec::new();
        let full = loop {
            match permitted(Poll::Ready(runtime.block_on(ask(&format!("call-{}", permits.len()))))) {
                Ok(permit) => permits.push(permit),
                Err(closed) => break closed,
            }
        };
        assert!(matches!(full, Closed::Behind { .. }), "{full:?}");
        assert!((30..40).contains(&permits.len()), "{} places of 2,048 bytes", permits.len());
        // A call that ends without an effect gives its place back, and so does one whose end is recorded.
        permits.truncate(20);
        runtime
            .block_on(ledger.end(permits.remove(0).take_room(), &effect("call-0", 0, 0)))
            .expect("recorded");
        permits.push(permitted(Poll::Ready(runtime.block_on(ask("again")))).expect("there is room again"));

        // The disk stands still, and other records fill the queue.
        disk.set(|rules| rules.stalled = true);
        let before = ledger.size();
        std::thread::scope(|scope| {
            // In `commit`, the first is its own writer and stands still; in `sync`, the ledger's thread is.
            scope.spawn(|| poll(ledger.record(&refusal("first"))));
            drop(disk.wait("a write", |rules| rules.waiting == 1));
            let mut waiting = 0;
            while poll(ledger.record(&refusal("waits"))).is_pending() {
                waiting += 1;
            }
            assert!(waiting > 20, "{waiting}");
            let refused = permitted(poll(ask("too late")));
            assert!(matches!(refused, Err(Closed::Behind { .. })), "{refused:?}");
            let admitted = permits.len() as u64;
            for permit in &mut permits {
                let ended = poll(ledger.end(permit.take_room(), &effect("ended", permit.index(), 0)));
                assert!(ended.is_pending(), "the end of an admitted call is refused: {ended:?}");
            }
            disk.set(|rules| rules.stalled = false);
            // Every record has the index that it was to have; this one is the last.
            let last = loop {
                match runtime.block_on(ledger.record(&refusal("last"))) {
                    Err(Closed::Behind { .. }) => std::thread::yield_now(),
                    kept => break kept.expect("recorded"),
                }
            };
            assert_eq!(last, before + 1 + waiting + admitted);
        });
        runtime.block_on(ledger.close());
        let ends = search(dir.path(), &Query::default()).expect("searched").filter(|hit| {
            let record = &hit.as_ref().expect("read").record;
            std::str::from_utf8(record).expect("text").contains("\"id\":\"ended\"")
        });
        assert_eq!(ends.count(), permits.len(), "{durability:?}");
        assert_whole(dir.path(), ledger.size());
    }
}
