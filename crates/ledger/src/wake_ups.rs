//! How the ledger's threads learn that there is something to do. All sleep while there is nothing.
//!
//! Everything here is behind one mutex, so a request that is made while a thread is looking is never missed: the thread either
//! sees the flag before it sleeps, or is woken from its sleep. Requests are flags and not a queue, because doing something once
//! answers all requests for it that came before.
//!
//! The threads end one after the other, each when the one before it has: the writing thread when nothing more can be written, the
//! syncing thread when everything written is on disk, the tree's thread when all of it is signed for. They do so after a failure as
//! well, so that the log's lock outlives every write.

use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::primitives::{Condvar, Mutex, MutexGuard};
use crate::queue::lock;

/// Wake-ups of the threads that write, that sync and that grow the tree.
#[derive(Debug, Default)]
pub(crate) struct WakeUps {
    requests: Mutex<Requests>,
    writing: Condvar,
    syncing: Condvar,
    growing: Condvar,
}

/// What was asked for and not yet begun.
#[derive(Debug, Default)]
struct Requests {
    /// Of the writing thread: be the writer.
    write: bool,
    /// Of the writing thread: look whether it can end.
    look: bool,
    /// Of the writing thread: end when nobody writes. Never taken back.
    stop: bool,
    /// Of the syncing thread: when the first record was written that it does not know of.
    unsynced: Option<Instant>,
    /// The same of the records that it is syncing.
    syncing: Option<Instant>,
    /// Of the syncing thread: nothing more will be written. Never taken back.
    written_out: bool,
    /// Of the tree's thread: records are on disk that the tree does not have.
    grow: bool,
    /// Of the tree's thread: nothing more will be synced. Never taken back.
    flushed: bool,
    /// All threads are done, and the log's lock is free. Never taken back.
    finished: bool,
    /// Callers of `close` that wait for `finished`.
    closers: Vec<Waker>,
}

/// What the writing thread woke up for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Be the writer until nothing waits.
    pub(crate) write: bool,
    /// End when nobody writes. Once true, it is true at every later wake-up.
    pub(crate) stop: bool,
}

/// What the syncing thread woke up for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    /// When the first of the records was written that are not synced.
    pub(crate) since: Option<Instant>,
    /// Nothing more will be written. Once true, it is true at every later wake-up.
    pub(crate) last: bool,
}

impl WakeUps {
    /// Asks the writing thread to be the writer.
    pub(crate) fn request_write(&self) {
        lock(&self.requests).write = true;
        self.writing.notify_one();
    }

    /// Asks the writing thread to end, or to look again whether it can.
    pub(crate) fn request_stop(&self) {
        let mut requests = lock(&self.requests);
        // `stop` alone wakes nobody: it stays true, and would make the thread spin while a caller still writes. With `look` the
        // thread looks once for each request.
        (requests.stop, requests.look) = (true, true);
        self.writing.notify_one();
    }

    /// Tells the syncing thread that a record was written at `since` and is not on disk.
    pub(crate) fn request_sync(&self, since: Instant) {
        let mut requests = lock(&self.requests);
        requests.unsynced = Some(requests.unsynced.map_or(since, |before| before.min(since)));
        self.syncing.notify_one();
    }

    /// Tells the syncing thread that nothing more will be written.
    pub(crate) fn written_out(&self) {
        lock(&self.requests).written_out = true;
        self.syncing.notify_one();
    }

    /// Tells the tree's thread that there are new records on disk.
    pub(crate) fn request_growth(&self) {
        lock(&self.requests).grow = true;
        self.growing.notify_one();
    }

    /// Tells the tree's thread that nothing more will come to the disk.
    pub(crate) fn flushed(&self) {
        lock(&self.requests).flushed = true;
        self.growing.notify_one();
    }

    /// Tells those who wait in [`WakeUps::poll_finished`] that all threads are done.
    pub(crate) fn finished(&self) {
        let mut requests = lock(&self.requests);
        requests.finished = true;
        std::mem::take(&mut requests.closers).into_iter().for_each(Waker::wake);
    }

    /// Waits for all threads to be done.
    pub(crate) fn poll_finished(&self, cx: &Context<'_>) -> Poll<()> {
        let mut requests = lock(&self.requests);
        if requests.finished {
            return Poll::Ready(());
        }
        requests.closers.push(cx.waker().clone());
        Poll::Pending
    }

    /// Waits for work of the writing thread.
    pub(crate) fn wait_for_work(&self) -> Work {
        let ready = |requests: &Requests| requests.write || requests.look;
        let mut requests = self.wait(&self.writing, |_| None, ready);
        let work = Work { write: requests.write, stop: requests.stop };
        (requests.write, requests.look) = (false, false);
        work
    }

    /// Waits until the first unsynced record was written `interval` ago, or until nothing more will be written.
    pub(crate) fn wait_for_sync(&self, interval: Duration) -> Due {
        // From the first unsynced record on, and not from the latest: a steady stream of records must not put the sync off.
        let due = |requests: &Requests| requests.unsynced.map(|since| since + interval);
        let mut requests = self.wait(&self.syncing, due, |requests| requests.written_out);
        requests.syncing = requests.unsynced.take();
        Due { since: requests.syncing, last: requests.written_out }
    }

    /// Everything that [`WakeUps::wait_for_sync`] spoke of is on disk.
    pub(crate) fn synced(&self) {
        lock(&self.requests).syncing = None;
    }

    /// When the oldest record was written that is not on disk.
    pub(crate) fn unsynced_since(&self) -> Option<Instant> {
        let requests = lock(&self.requests);
        requests.syncing.or(requests.unsynced)
    }

    /// Waits for records on disk, until `deadline` where there is one. True when there will be no more.
    pub(crate) fn wait_for_growth(&self, deadline: Option<Instant>) -> bool {
        let ready = |requests: &Requests| requests.grow || requests.flushed;
        let mut requests = self.wait(&self.growing, |_| deadline, ready);
        requests.grow = false;
        requests.flushed
    }

    fn wait(
        &self,
        condition: &Condvar,
        deadline: impl Fn(&Requests) -> Option<Instant>,
        ready: impl Fn(&Requests) -> bool,
    ) -> MutexGuard<'_, Requests> {
        let mut requests = lock(&self.requests);
        while !ready(&requests) {
            let Some(deadline) = deadline(&requests) else {
                requests = condition.wait(requests).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            requests = condition.wait_timeout(requests, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        requests
    }
}
