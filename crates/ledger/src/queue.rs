//! Where callers meet: a caller who finds nobody writing writes, and the others' records wait in a buffer that goes out with the
//! next write.
//!
//! So an uncontended caller does its own write(2), with no other thread involved, and under load one write carries many
//! records. Becoming the writer and finishing happen within one poll: a dropped future can neither lose a record, nor write
//! one twice, nor leave the others without a writer.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};

use crate::bell::Bell;
use crate::file::FileError;
use crate::frame;
use crate::segment::{START, Segment};
use crate::{Closed, Config, Durability};

/// How many times a caller writes what came in meanwhile before it leaves the rest to the ledger's own thread.
const ROUNDS: u32 = 16;

/// A buffer that a burst made larger than this is not kept.
const KEEP: usize = 1 << 20;

/// A lock that a panic elsewhere does not take away: every state below is whole whenever its lock is free.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// State shared by the callers and the ledger's two threads.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) bell: Bell,
    queue: Mutex<Queue>,
    tail: Mutex<Tail>,
    /// Records below this index are as durable as configured.
    acknowledged: AtomicU64,
    /// Records below this index have been handed to the kernel.
    written: AtomicU64,
    /// Records below this index are on disk: fsync has returned.
    synced: AtomicU64,
    /// Whether the syncing thread already knows of unsynced records.
    dirty: AtomicBool,
    /// Why the ledger closed for good.
    failure: OnceLock<Arc<str>>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Frames that wait for the writer. Empty while nobody writes.
    pending: Vec<u8>,
    /// Index of the next record.
    next: u64,
    /// Callers that wait, by the index of their record, ascending.
    waiting: VecDeque<(u64, Waker)>,
    /// Whether somebody is writing, or has been told to.
    writing: bool,
    /// Whether no further record is taken.
    closing: bool,
}

/// The end of the log. Only the present writer uses it.
#[derive(Debug)]
pub(crate) struct Tail {
    file: Arc<File>,
    path: PathBuf,
    /// Bytes in the segment.
    length: u64,
    /// The buffer that swaps places with [`Queue::pending`].
    batch: Vec<u8>,
    wake: Vec<Waker>,
}

impl Tail {
    pub(crate) fn new(file: File, path: PathBuf, length: u64) -> Self {
        Self { file: Arc::new(file), path, length, batch: Vec::new(), wake: Vec::new() }
    }

    fn write(&mut self, frames: &[u8]) -> Result<(), FileError> {
        (&*self.file).write_all(frames).map_err(FileError::on("write", &self.path))?;
        self.length += frames.len() as u64;
        Ok(())
    }
}

/// What became of a record at the first poll.
pub(crate) enum Submitted {
    /// It waits for another caller, or for the disk.
    Waits(u64),
    /// This caller wrote it, unless the ledger has failed.
    Done(u64),
}

impl Shared {
    pub(crate) fn new(config: Config, size: u64, tail: Tail) -> Self {
        Self {
            config,
            bell: Bell::default(),
            queue: Mutex::new(Queue { next: size, ..Queue::default() }),
            tail: Mutex::new(tail),
            acknowledged: AtomicU64::new(size),
            written: AtomicU64::new(size),
            synced: AtomicU64::new(size),
            dirty: AtomicBool::new(false),
            failure: OnceLock::new(),
        }
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    pub(crate) fn failed(&self) -> bool {
        self.failure.get().is_some()
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
        self.bell.stop();
    }

    /// Whether all records that were taken have been written.
    pub(crate) fn idle(&self) -> bool {
        !lock(&self.queue).writing
    }

    /// Closes the ledger for good. Whatever waits now or later is refused.
    pub(crate) fn fail(&self, reason: &str) {
        if self.failure.set(reason.into()).is_ok() {
            tracing::error!(dir = %self.config.dir.display(), reason, "the ledger failed and takes no further record");
        }
        let waiting = std::mem::take(&mut lock(&self.queue).waiting);
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
        self.bell.stop();
    }

    /// The first poll of a caller: gives the record its index and writes it, or leaves it to whoever is writing.
    ///
    /// `frame` is a frame that [`frame::begin`] began.
    pub(crate) fn submit(&self, frame: &mut [u8], waker: &Waker) -> Result<Submitted, Closed> {
        let record = frame::record(frame);
        if record.len() > frame::MAX_RECORD {
            return Err(Closed::TooLarge { bytes: record.len() });
        }
        let checksum = crc32c::crc32c(record);
        let mut queue = lock(&self.queue);
        if queue.closing || self.failed() {
            return Err(self.closed());
        }
        let index = queue.next;
        let alone = !queue.writing && self.config.durability == Durability::Commit;
        if !alone && queue.pending.len() + frame.len() > self.config.max_pending_bytes {
            return Err(Closed::Behind { bytes: queue.pending.len() });
        }
        queue.next += 1;
        frame::seal(frame, index, checksum);
        let writing = std::mem::replace(&mut queue.writing, true);
        if alone {
            drop(queue);
            self.write_alone(frame, index + 1);
            return Ok(Submitted::Done(index));
        }
        queue.pending.extend_from_slice(frame);
        queue.waiting.push_back((index, waker.clone()));
        drop(queue);
        if !writing {
            self.bell.write();
        }
        Ok(Submitted::Waits(index))
    }

    /// A later poll: whether record `index` is as durable as configured.
    pub(crate) fn poll(&self, index: u64, waker: &Waker) -> Poll<Result<(), Closed>> {
        if self.acknowledged() > index {
            return Poll::Ready(Ok(()));
        }
        let mut queue = lock(&self.queue);
        // Again, now that neither an acknowledgement nor a failure can pass unseen.
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
    fn write_alone(&self, frame: &[u8], end: u64) {
        let guard = FailOnUnwind(self);
        let mut tail = lock(&self.tail);
        if let Err(error) = tail.write(frame) {
            self.fail(&error.story());
        }
        let mut end = end;
        for round in 0..=ROUNDS {
            let leave = round == ROUNDS || tail.length >= self.config.segment_bytes;
            match self.written_to(end, &mut tail, leave) {
                Some(next) => end = next,
                None => break,
            }
            let batch = std::mem::take(&mut tail.batch);
            if let Err(error) = tail.write(&batch) {
                self.fail(&error.story());
            }
            tail.batch = batch;
        }
        drop(tail);
        std::mem::forget(guard);
    }

    /// Acknowledges what is written and takes what waits into `tail.batch`, up to the index returned.
    /// `leave`: what waits, and a full segment, are left to the syncing thread.
    fn written_to(&self, end: u64, tail: &mut Tail, leave: bool) -> Option<u64> {
        if self.failed() {
            return None;
        }
        self.written.store(end, Ordering::Release);
        let mut queue = lock(&self.queue);
        self.acknowledge(end, &mut queue, &mut tail.wake);
        let more = !queue.pending.is_empty();
        let closing = queue.closing;
        let next = queue.next;
        if more && !leave {
            tail.batch.clear();
            std::mem::swap(&mut queue.pending, &mut tail.batch);
        }
        // What is left keeps `writing`, so that nobody else becomes the writer before the thread does.
        queue.writing = more || leave;
        drop(queue);
        tail.wake.drain(..).for_each(Waker::wake);
        if leave {
            self.bell.write();
        }
        if !self.dirty.swap(true, Ordering::AcqRel) || closing {
            self.bell.sync();
        }
        (more && !leave).then_some(next)
    }

    fn acknowledge(&self, end: u64, queue: &mut Queue, wake: &mut Vec<Waker>) {
        self.acknowledged.store(end, Ordering::Release);
        while queue.waiting.front().is_some_and(|(index, _)| *index < end) {
            wake.extend(queue.waiting.pop_front().map(|(_, waker)| waker));
        }
    }

    /// The syncing thread's turn as the writer: everything that waits, and the next segment when this one is full.
    pub(crate) fn write_pending(&self) -> Result<(), FileError> {
        let mut tail = lock(&self.tail);
        loop {
            if tail.length >= self.config.segment_bytes {
                self.next_segment(&mut tail)?;
            }
            let mut queue = lock(&self.queue);
            if queue.pending.is_empty() || self.failed() {
                queue.writing = false;
                return Ok(());
            }
            let mut batch = std::mem::take(&mut tail.batch);
            batch.clear();
            std::mem::swap(&mut queue.pending, &mut batch);
            let end = queue.next;
            drop(queue);
            tail.write(&batch)?;
            tail.batch = if batch.capacity() > KEEP { Vec::new() } else { batch };
            self.written.store(end, Ordering::Release);
            match self.config.durability {
                Durability::Sync => self.sync_file(&tail.file, &tail.path, end)?,
                Durability::Commit => self.bell.sync(),
            }
            let mut queue = lock(&self.queue);
            self.acknowledge(end, &mut queue, &mut tail.wake);
            drop(queue);
            tail.wake.drain(..).for_each(Waker::wake);
        }
    }

    /// Begins the next segment. The full one is on disk before the next exists: only the last can be torn.
    fn next_segment(&self, tail: &mut Tail) -> Result<(), FileError> {
        let end = self.written.load(Ordering::Acquire);
        self.sync_file(&tail.file, &tail.path, end)?;
        let segment = Segment::new(&self.config.dir, end);
        tail.file = Arc::new(segment.create()?);
        tail.path = segment.path;
        tail.length = START as u64;
        Ok(())
    }

    /// Brings everything written to the disk.
    pub(crate) fn sync(&self) -> Result<(), FileError> {
        // Before `written` is read: who writes later than that sees `false` and rings.
        self.dirty.store(false, Ordering::Release);
        let end = self.written.load(Ordering::Acquire);
        if end == self.synced() {
            return Ok(());
        }
        let (file, path) = {
            let tail = lock(&self.tail);
            (tail.file.clone(), tail.path.clone())
        };
        self.sync_file(&file, &path, end)
    }

    fn sync_file(&self, file: &File, path: &std::path::Path, end: u64) -> Result<(), FileError> {
        if end > self.synced() {
            file.sync_data().map_err(FileError::on("fsync", path))?;
            self.synced.store(end, Ordering::Release);
            self.bell.grow();
        }
        Ok(())
    }
}

/// Closes the ledger when the writer panics, which would leave the others waiting for ever.
struct FailOnUnwind<'a>(&'a Shared);

impl Drop for FailOnUnwind<'_> {
    fn drop(&mut self) {
        self.0.fail("the writer panicked");
    }
}

#[cfg(test)]
mod tests;
