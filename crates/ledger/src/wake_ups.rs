//! How the ledger's two threads learn that there is something to do. Both sleep while there is nothing.
//!
//! Everything here is behind one mutex, so a request that is made while a thread is looking is never missed: the thread either
//! sees the flag before it sleeps, or is woken from its sleep. Requests are flags and not a queue, because doing something once
//! answers all requests for it that came before.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::queue::lock;

/// Wake-ups of the thread that writes and syncs, and of the one that grows the tree.
#[derive(Debug, Default)]
pub(crate) struct WakeUps {
    requests: Mutex<Requests>,
    /// Wakes the syncing thread.
    syncing: Condvar,
    /// Wakes the tree's thread.
    growing: Condvar,
}

/// What was asked for and not yet begun.
#[derive(Debug, Default)]
struct Requests {
    /// Of the syncing thread: be the writer.
    write: bool,
    /// Of the syncing thread: sync before the interval is over.
    sync: bool,
    /// Of the syncing thread: finish. Never taken back.
    stop: bool,
    /// Of the tree's thread: records are on disk that the tree does not have.
    grow: bool,
    /// Of the tree's thread: finish. Every record is on disk. Never taken back.
    flushed: bool,
    /// Both threads are done. Never taken back.
    finished: bool,
    /// Callers of `close` that wait for `finished`.
    closers: Vec<Waker>,
}

/// What the syncing thread woke up for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Be the writer until nothing waits.
    pub(crate) write: bool,
    /// There are unsynced records.
    pub(crate) sync: bool,
    /// Finish. Once true, it is true at every later wake-up.
    pub(crate) stop: bool,
}

impl WakeUps {
    /// Asks the syncing thread to be the writer.
    pub(crate) fn request_write(&self) {
        lock(&self.requests).write = true;
        self.syncing.notify_one();
    }

    /// Tells the syncing thread that there are unsynced records.
    pub(crate) fn request_sync(&self) {
        lock(&self.requests).sync = true;
        self.syncing.notify_one();
    }

    /// Tells the tree's thread that there are new records on disk.
    pub(crate) fn request_growth(&self) {
        lock(&self.requests).grow = true;
        self.growing.notify_one();
    }

    /// Asks the syncing thread to finish.
    pub(crate) fn request_stop(&self) {
        let mut requests = lock(&self.requests);
        // `stop` alone wakes nobody: it stays true, and would make the thread spin while a caller still writes. With `sync` the
        // thread looks once for each request.
        (requests.stop, requests.sync) = (true, true);
        self.syncing.notify_one();
    }

    /// Tells the tree's thread that every record is on disk, and that there will be no more.
    pub(crate) fn flushed(&self) {
        lock(&self.requests).flushed = true;
        self.growing.notify_one();
    }

    /// Tells those who wait in [`WakeUps::poll_finished`] that both threads are done.
    pub(crate) fn finished(&self) {
        let mut requests = lock(&self.requests);
        requests.finished = true;
        std::mem::take(&mut requests.closers).into_iter().for_each(Waker::wake);
    }

    /// Waits for both threads to be done.
    pub(crate) fn poll_finished(&self, cx: &Context<'_>) -> Poll<()> {
        let mut requests = lock(&self.requests);
        if requests.finished {
            return Poll::Ready(());
        }
        requests.closers.push(cx.waker().clone());
        Poll::Pending
    }

    /// Waits for work of the syncing thread, until `deadline` where there is one.
    pub(crate) fn wait_for_work(&self, deadline: Option<Instant>) -> Work {
        let mut requests = self.wait(&self.syncing, deadline, |requests| requests.write || requests.sync);
        let work = Work { write: requests.write, sync: requests.sync, stop: requests.stop };
        (requests.write, requests.sync) = (false, false);
        work
    }

    /// Waits for records on disk, until `deadline` where there is one. True when there will be no more.
    pub(crate) fn wait_for_growth(&self, deadline: Option<Instant>) -> bool {
        let mut requests = self.wait(&self.growing, deadline, |requests| requests.grow || requests.flushed);
        requests.grow = false;
        requests.flushed
    }

    fn wait(
        &self,
        condition: &Condvar,
        deadline: Option<Instant>,
        ready: impl Fn(&Requests) -> bool,
    ) -> MutexGuard<'_, Requests> {
        let mut requests = lock(&self.requests);
        while !ready(&requests) {
            let Some(deadline) = deadline else {
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
