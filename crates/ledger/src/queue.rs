//! Where callers meet. A caller that finds nobody writing becomes the writer. The others put their records into a buffer, which
//! goes out with the next write.
//!
//! So an uncontended caller does its own write(2), with no other thread involved, and under load one write carries many
//! records. A caller becomes the writer and finishes writing within one poll, so dropping its future can neither lose a record,
//! nor write one twice, nor leave the others without a writer.
//!
//! # Who may touch what
//!
//! [`Queue`] is locked for moments only. [`Tail`] is locked for as long as somebody writes. Whoever needs both locks the tail
//! first. [`Queue::writing`] decides who may lock the tail to write: it is set under the queue's lock by the caller that finds it
//! unset, and it stays set when the role passes to the writing thread. So there is one writer at a time, and records reach the
//! file in the order of their indexes.
//!
//! The syncing thread needs neither lock: however long a write takes, and however many follow it, fsync begins when it is due.
//!
//! # The atomics
//!
//! `acknowledged`, `written` and `synced` only grow. The first two are stored by the present writer alone. Each is stored with
//! `Release` after the system call that it speaks of, and loaded with `Acquire`: who reads an index from it also sees the effects
//! of that call. A reader that gets an older value does too little, never too much, so it must be sure to look again:
//!
//! - a caller that reads an older `acknowledged` looks again under the queue's lock ([`Shared::poll`]). The writer stores it under
//!   the same lock, and then wakes whoever waits. So the caller either sees the new value, or its waker is there to be woken;
//! - the syncing thread that reads an older `written` is woken once more, through `dirty` ([`Shared::sync`]);
//! - the tree's thread that reads an older `synced` is woken once more, by the request that follows each store of it.
//!
//! `failed` is set before the queue is locked, and read under that lock by whoever is about to wait. So no caller begins to wait
//! after the ledger has failed and woken its callers.
//!
//! `tests/interleavings` runs this file under `loom`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use vidimus_core::permit::Room;

use crate::file::FileError;
use crate::frame;
use crate::primitives::{AtomicBool, AtomicU64, Mutex, MutexGuard};
use crate::segment::{START, Segment};
use crate::storage::Storage;
pub(crate) use crate::submission::{Purpose, Submitted};
use crate::tail::{End, SegmentFile, Tail};
use crate::times::Span;
use crate::wake_ups::WakeUps;
use crate::{Closed, Config, Durability};

/// How many times a caller writes what came in meanwhile. It leaves the rest to the writing thread.
const MAX_ROUNDS: u32 = 16;

/// The largest buffer that is used again, in bytes. A larger one, which only a burst needs, is given back.
const MAX_KEPT_BUFFER: usize = 1 << 20;

/// Kept free in the queue for the record of the end of each admitted call, in bytes: more than such a record has, unless the id of
/// a task in it has much to escape.
pub(crate) const END_BYTES: usize = 2304;
/// How many times that it takes more where an answer is kept in it.
pub(crate) const KEPT_PLACES: usize = vidimus_core::keep::MAX_KEPT_RECORD.div_ceil(END_BYTES);

/// Locks, also after a panic of whoever held the lock: each state here is consistent whenever its lock is free.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// State shared by the callers and the ledger's threads.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) wake_ups: WakeUps,
    queue: Mutex<Queue>,
    tail: Mutex<Tail>,
    /// The segment that the writer writes. It is stored when all records of the one before are on disk.
    current: Mutex<Arc<SegmentFile>>,
    /// How many places of [`END_BYTES`] are kept for the records of the ends of admitted calls.
    rooms: Arc<AtomicUsize>,
    /// Records below this index are as durable as configured.
    acknowledged: AtomicU64,
    /// Records below this index have been handed to the kernel.
    written: AtomicU64,
    /// Records below this index are on disk: fsync has returned.
    synced: AtomicU64,
    /// Records below this index are signed for: the checkpoint is issued.
    signed: AtomicU64,
    /// Whether a seal without records was written since the last sync began.
    seal_unsynced: AtomicBool,
    /// Whether the syncing thread has been told of unsynced records since it last began to sync.
    dirty: AtomicBool,
    /// The longest time from a record's write to the return of its fsync, in nanoseconds.
    longest_unsynced: AtomicU64,
    /// Whether the ledger closed for good.
    failed: AtomicBool,
    /// Why; set before `failed`.
    failure: OnceLock<Arc<str>>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Frames that wait for the writer. Empty while nobody writes.
    pending: Vec<u8>,
    /// The times of their records.
    times: Span,
    /// Whether the log's end is to say how much is signed for, even if nothing else is written.
    seal: bool,
    /// Index of the next record.
    next: u64,
    /// Callers that wait, by the index of their record, ascending.
    waiting: VecDeque<(u64, Waker)>,
    /// Whether somebody is the writer, or has been asked to be.
    writing: bool,
    /// Whether no further record is taken.
    closing: bool,
}

impl Shared {
    pub(crate) fn new(config: Config, storage: Arc<dyn Storage>, size: u64, end: End) -> Self {
        let segment = Arc::new(end.segment);
        let signed = AtomicU64::new(end.chain.said());
        let tail = Tail::new(segment.clone(), end.length, end.times, end.chain);
        Self {
            config,
            storage,
            wake_ups: WakeUps::default(),
            queue: Mutex::new(Queue { next: size, ..Queue::default() }),
            tail: Mutex::new(tail),
            current: Mutex::new(segment),
            rooms: Arc::default(),
            acknowledged: AtomicU64::new(size),
            written: AtomicU64::new(size),
            synced: AtomicU64::new(size),
            signed,
            seal_unsynced: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
            longest_unsynced: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            failure: OnceLock::new(),
        }
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    pub(crate) fn signed(&self) -> u64 {
        self.signed.load(Ordering::Acquire)
    }

    /// A checkpoint of so many records was issued. The log's end says so with the next record; where none comes, the writing thread
    /// sees to it.
    pub(crate) fn issued(&self, size: u64) {
        self.signed.fetch_max(size, Ordering::AcqRel);
        let mut queue = lock(&self.queue);
        queue.seal = true;
        let writing = std::mem::replace(&mut queue.writing, true);
        drop(queue);
        // Who writes now leaves it to the thread.
        if !writing {
            self.wake_ups.request_write();
        }
    }

    /// As [`Shared::issued`], for the last checkpoint: when nobody can write any more but the caller, who has the log's lock.
    pub(crate) fn issued_last(&self, size: u64) -> Result<(), FileError> {
        self.signed.fetch_max(size, Ordering::AcqRel);
        let mut tail = lock(&self.tail);
        tail.segment = Some(lock(&self.current).clone());
        let sealed = self.seal_alone(&mut tail);
        let sealed = sealed.and_then(|behind| if behind { lock(&self.current).sync() } else { Ok(()) });
        tail.segment = None;
        sealed
    }

    /// Says how much is signed for, if the last seal does not: then there is something to sync.
    fn seal_alone(&self, tail: &mut Tail) -> Result<bool, FileError> {
        let (end, signed) = (self.written.load(Ordering::Acquire), self.signed());
        let behind = tail.chain.said() < signed;
        if behind {
            tail.write(&mut Vec::new(), end, signed)?;
        }
        Ok(behind)
    }

    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.failed() && !lock(&self.queue).closing
    }

    pub(crate) fn closed(&self) -> Closed {
        self.failure.get().map_or(Closed::Finished, |reason| Closed::Failed { reason: reason.clone() })
    }

    /// Takes no further records; those taken are still written.
    pub(crate) fn begin_close(&self) {
        lock(&self.queue).closing = true;
        self.wake_ups.request_stop();
    }

    /// Whether nobody is writing: then all records that were taken have been written.
    pub(crate) fn idle(&self) -> bool {
        !lock(&self.queue).writing
    }

    /// Closes the ledger for good. Whatever waits now or later is refused.
    pub(crate) fn fail(&self, reason: &str) {
        if self.failure.set(reason.into()).is_ok() {
            tracing::error!(dir = %self.config.dir.display(), reason, "the ledger failed and takes no further record");
        }
        self.failed.store(true, Ordering::Release);
        let waiting = std::mem::take(&mut lock(&self.queue).waiting);
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
        self.wake_ups.request_stop();
    }

    /// The first poll of a caller: gives the record its index and writes it, or leaves it to whoever is writing.
    ///
    /// `frame` is a frame that [`frame::begin`] began.
    pub(crate) fn submit(
        &self,
        frame: &mut Vec<u8>,
        purpose: Purpose,
        waker: &Waker,
    ) -> Result<Submitted, Closed> {
        let record = frame::record(frame);
        if record.len() > frame::MAX_RECORD {
            return Err(Closed::TooLarge { bytes: record.len() });
        }
        let (checksum, times) = (crc32c::crc32c(record), Span::of(record));
        let mut queue = lock(&self.queue);
        if queue.closing || self.failed() {
            return Err(self.closed());
        }
        let index = queue.next;
        let alone = !queue.writing && self.config.durability == Durability::Commit;
        let room = self.room(&queue, purpose, if alone { 0 } else { frame.len() })?;
        queue.next += 1;
        frame::seal(frame, index, index.saturating_sub(self.synced()), checksum);
        let writing = std::mem::replace(&mut queue.writing, true);
        if alone {
            drop(queue);
            self.write_alone(frame, index + 1, times);
            return Ok(Submitted::Done(index, room));
        }
        queue.pending.extend_from_slice(frame);
        queue.times.add(times);
        queue.waiting.push_back((index, waker.clone()));
        drop(queue);
        if !writing {
            self.wake_ups.request_write();
        }
        Ok(Submitted::Waits(index, room))
    }

    /// Whether there is space for a record that adds `bytes` to those that wait; with a decision, room for the record of its end.
    /// The places of calls under way count as taken, so an end is within the bound without being held to it.
    fn room(&self, queue: &Queue, purpose: Purpose, bytes: usize) -> Result<Room, Closed> {
        let places = match purpose {
            Purpose::End => return Ok(Room::default()),
            Purpose::Decision { kept } => 1 + if kept { KEPT_PLACES } else { 0 },
            Purpose::Only => 0,
        };
        let end = places * END_BYTES;
        // It grows under the queue's lock only. Who reads an older number sees more calls under way than there are.
        let kept = self.rooms.load(Ordering::Relaxed).saturating_mul(END_BYTES);
        let taken = queue.pending.len().saturating_add(kept);
        if bytes + end > 0 && taken.saturating_add(bytes + end) > self.config.max_pending_bytes {
            return Err(Closed::Behind { bytes: taken });
        }
        Ok(if places > 0 { Room::of(&self.rooms, places) } else { Room::default() })
    }

    /// A later poll: whether record `index` is as durable as configured.
    pub(crate) fn poll(&self, index: u64, waker: &Waker) -> Poll<Result<(), Closed>> {
        if self.acknowledged() > index {
            return Poll::Ready(Ok(()));
        }
        let mut queue = lock(&self.queue);
        // Again, now that neither an acknowledgement nor a failure can come between this look and the waker's place in the queue.
        if self.acknowledged() > index {
            return Poll::Ready(Ok(()));
        }
        if self.failed() {
            return Poll::Ready(Err(self.closed()));
        }
        match queue.waiting.binary_search_by_key(&index, |(waits, _)| *waits) {
            Ok(at) => queue.waiting.iter_mut().skip(at).take(1).for_each(|(_, old)| old.clone_from(waker)),
            Err(at) => queue.waiting.insert(at, (index, waker.clone())),
        }
        Poll::Pending
    }

    /// A caller's turn as the writer: its own frame, then what the others brought meanwhile.
    ///
    /// After a failed write the loop ends in [`Self::written_to`], which acknowledges nothing and leaves `writing` set: nobody
    /// writes after a failure, since nobody knows what of the failed write is in the file.
    fn write_alone(&self, frame: &mut Vec<u8>, end: u64, times: Span) {
        let guard = FailOnUnwind(self);
        let mut tail = lock(&self.tail);
        tail.times.add(times);
        if let Err(error) = tail.write(frame, end, self.signed()) {
            self.fail(&error.story());
        }
        let mut end = end;
        for round in 0..=MAX_ROUNDS {
            let leave = round == MAX_ROUNDS || tail.length >= self.config.segment_bytes;
            match self.written_to(end, &mut tail, leave) {
                Some(next) => end = next,
                None => break,
            }
            let mut batch = std::mem::take(&mut tail.batch);
            if let Err(error) = tail.write(&mut batch, end, self.signed()) {
                self.fail(&error.story());
            }
            tail.batch = batch;
        }
        drop(tail);
        std::mem::forget(guard);
    }

    /// Acknowledges the records below `end`, which are written, and takes the records that wait into `tail.batch`. Gives the index
    /// after the last of those, or `None` where the caller's turn ends.
    ///
    /// With `leave`, the role of the writer passes to the writing thread, with what waits and with a segment that is full.
    fn written_to(&self, end: u64, tail: &mut Tail, leave: bool) -> Option<u64> {
        if self.failed() {
            return None;
        }
        let unsynced = self.wrote(end);
        let mut queue = lock(&self.queue);
        self.acknowledge(end, &mut queue, &mut tail.wake);
        let more = !queue.pending.is_empty();
        let closing = queue.closing;
        let next = queue.next;
        let leave = leave || queue.seal;
        if more && !leave {
            tail.batch.clear();
            std::mem::swap(&mut queue.pending, &mut tail.batch);
            tail.times.add(std::mem::take(&mut queue.times));
        }
        // With `leave` it stays set although this caller stops, so that nobody becomes the writer before the thread does.
        queue.writing = more || leave;
        drop(queue);
        tail.wake.drain(..).for_each(Waker::wake);
        if leave {
            self.wake_ups.request_write();
        } else if closing {
            // The writing thread ends when there is no writer any more.
            self.wake_ups.request_stop();
        }
        if let Some(since) = unsynced {
            self.wake_ups.request_sync(since);
        }
        (more && !leave).then_some(next)
    }

    /// The records below `end` have been handed to the kernel. Where they are the first since the last sync began, when that was:
    /// who gets it must pass it on to the syncing thread.
    fn wrote(&self, end: u64) -> Option<Instant> {
        self.written.store(end, Ordering::Release);
        // After `written` is stored; see `sync`.
        (!self.dirty.swap(true, Ordering::AcqRel)).then(Instant::now)
    }

    fn acknowledge(&self, end: u64, queue: &mut Queue, wake: &mut Vec<Waker>) {
        self.acknowledged.store(end, Ordering::Release);
        while queue.waiting.front().is_some_and(|(index, _)| *index < end) {
            wake.extend(queue.waiting.pop_front().map(|(_, waker)| waker));
        }
    }

    /// The writing thread's turn as the writer: everything that waits, and the next segment when this one is full.
    pub(crate) fn write_pending(&self) -> Result<(), FileError> {
        let mut tail = lock(&self.tail);
        loop {
            if tail.length >= self.config.segment_bytes {
                self.next_segment(&mut tail)?;
            }
            let mut queue = lock(&self.queue);
            let seal = std::mem::take(&mut queue.seal);
            if queue.pending.is_empty() && seal && !self.failed() {
                drop(queue);
                if self.seal_alone(&mut tail)? {
                    // As a record is: a power loss may take something of the last segment only.
                    self.seal_unsynced.store(true, Ordering::Release);
                    let unsynced = self.wrote(self.written.load(Ordering::Acquire));
                    unsynced.into_iter().for_each(|since| self.wake_ups.request_sync(since));
                }
                continue;
            }
            if queue.pending.is_empty() || self.failed() {
                queue.writing = false;
                return Ok(());
            }
            let mut batch = std::mem::take(&mut tail.batch);
            batch.clear();
            std::mem::swap(&mut queue.pending, &mut batch);
            tail.times.add(std::mem::take(&mut queue.times));
            let end = queue.next;
            drop(queue);
            tail.write(&mut batch, end, self.signed())?;
            tail.batch = if batch.capacity() > MAX_KEPT_BUFFER { Vec::new() } else { batch };
            let unsynced = match self.config.durability {
                Durability::Sync => {
                    self.written.store(end, Ordering::Release);
                    self.sync_current(end)?;
                    None
                }
                Durability::Commit => self.wrote(end),
            };
            let mut queue = lock(&self.queue);
            self.acknowledge(end, &mut queue, &mut tail.wake);
            drop(queue);
            tail.wake.drain(..).for_each(Waker::wake);
            if let Some(since) = unsynced {
                self.wake_ups.request_sync(since);
            }
        }
    }

    /// Begins the next segment. The full one is on disk before the next exists: only the last can be torn.
    fn next_segment(&self, tail: &mut Tail) -> Result<(), FileError> {
        let end = self.written.load(Ordering::Acquire);
        // Whatever another thread says it is about to sync: it may do so in the next one.
        tail.segment.as_ref().map_or(Ok(()), |full| full.sync())?;
        self.synced.fetch_max(end, Ordering::AcqRel);
        self.wake_ups.request_growth();
        let segment = Segment::new(&self.config.dir, end);
        let file = segment.create(&*self.storage, &mut tail.chain, self.signed())?;
        let segment = Arc::new(SegmentFile::new(file, segment.path));
        *lock(&self.current) = segment.clone();
        tail.segment = Some(segment);
        tail.length = START as u64;
        tail.times = Span::default();
        Ok(())
    }

    /// Brings everything written to the disk.
    pub(crate) fn sync(&self) -> Result<(), FileError> {
        // A writer stores `written`, then sets `dirty`, and wakes this thread if `dirty` was unset. This thread unsets `dirty`, then
        // loads `written`. Both change `dirty` by a swap, and all swaps of one atomic have one order:
        // - the writer's swap comes first: this swap reads what it stored, so its `Acquire` pairs with the writer's `Release`, and
        //   the load below sees the writer's `written`;
        // - this swap comes first: the writer's swap finds `dirty` unset, unless another writer's has set it since. Whoever set it
        //   wakes this thread, whose next swap comes after both.
        // A store in place of this swap is not enough: the processor may load `written` before the store is seen (store-load
        // reordering, which happens on x86 too), the writer would find `dirty` still set, and its record would not be synced
        // before the next one.
        self.dirty.swap(false, Ordering::AcqRel);
        self.sync_current(self.written.load(Ordering::Acquire))
    }

    /// Syncs the present segment; then the records below `end` are on disk. They must have been written before.
    ///
    /// Those of a former segment were synced before this one became the present one. So a segment that becomes the present one
    /// between the write and this has to be synced in vain at worst.
    fn sync_current(&self, end: u64) -> Result<(), FileError> {
        if self.seal_unsynced.swap(false, Ordering::AcqRel) || end > self.synced() {
            let segment = lock(&self.current).clone();
            segment.sync()?;
            self.synced.fetch_max(end, Ordering::AcqRel);
            self.wake_ups.request_growth();
        }
        Ok(())
    }

    /// A record that was written at `since` is on disk.
    pub(crate) fn observe(&self, since: Instant) {
        let nanos = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.longest_unsynced.fetch_max(nanos, Ordering::Relaxed);
    }

    /// The longest time that a record was written and not on disk, so far.
    pub(crate) fn longest_unsynced(&self) -> Duration {
        Duration::from_nanos(self.longest_unsynced.load(Ordering::Relaxed))
    }

    /// Nobody writes from here on; waits for who is writing. Before, the queue must be closing and idle, or the ledger failed.
    pub(crate) fn retire(&self) {
        lock(&self.tail).segment = None;
    }
}

/// Closes the ledger when the writer panics: otherwise the others would wait for ever.
struct FailOnUnwind<'a>(&'a Shared);

impl Drop for FailOnUnwind<'_> {
    fn drop(&mut self) {
        self.0.fail("the writer panicked");
    }
}
