//! How the ledger's two threads are told that there is something to do. Both sleep while there is nothing.

use std::sync::{Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::queue::lock;

/// Signals to the thread that writes and syncs, and to the one that grows the tree.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    told: Mutex<Told>,
    syncing: Condvar,
    growing: Condvar,
}

#[derive(Debug, Default)]
struct Told {
    write: bool,
    sync: bool,
    stop: bool,
    grow: bool,
    flushed: bool,
    finished: bool,
    leaving: Vec<Waker>,
}

/// What the syncing thread woke up for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Be the writer until nothing waits.
    pub(crate) write: bool,
    /// There are unsynced records.
    pub(crate) sync: bool,
    /// Finish. Once told, told always.
    pub(crate) stop: bool,
}

impl Bell {
    pub(crate) fn write(&self) {
        lock(&self.told).write = true;
        self.syncing.notify_one();
    }

    pub(crate) fn sync(&self) {
        lock(&self.told).sync = true;
        self.syncing.notify_one();
    }

    /// New records are on disk.
    pub(crate) fn grow(&self) {
        lock(&self.told).grow = true;
        self.growing.notify_one();
    }

    pub(crate) fn stop(&self) {
        let mut told = lock(&self.told);
        // As if there were something to sync, so that the thread looks even if it has heard of the stop before.
        (told.stop, told.sync) = (true, true);
        self.syncing.notify_one();
    }

    /// Every record is on disk, and there will be no more.
    pub(crate) fn flushed(&self) {
        lock(&self.told).flushed = true;
        self.growing.notify_one();
    }

    /// Both threads are done.
    pub(crate) fn finished(&self) {
        let mut told = lock(&self.told);
        told.finished = true;
        std::mem::take(&mut told.leaving).into_iter().for_each(Waker::wake);
    }

    pub(crate) fn poll_finished(&self, cx: &Context<'_>) -> Poll<()> {
        let mut told = lock(&self.told);
        if told.finished {
            return Poll::Ready(());
        }
        told.leaving.push(cx.waker().clone());
        Poll::Pending
    }

    /// Waits, at most until `due`, for work of the syncing thread.
    pub(crate) fn wait_for_work(&self, due: Option<Instant>) -> Work {
        let mut told = self.wait(&self.syncing, due, |told| told.write || told.sync);
        let work = Work { write: told.write, sync: told.sync, stop: told.stop };
        (told.write, told.sync) = (false, false);
        work
    }

    /// Waits, at most until `due`, for records on disk; true when there will be no more.
    pub(crate) fn wait_for_growth(&self, due: Option<Instant>) -> bool {
        let mut told = self.wait(&self.growing, due, |told| told.grow || told.flushed);
        told.grow = false;
        told.flushed
    }

    fn wait(
        &self,
        condition: &Condvar,
        due: Option<Instant>,
        ready: impl Fn(&Told) -> bool,
    ) -> std::sync::MutexGuard<'_, Told> {
        let mut told = lock(&self.told);
        while !ready(&told) {
            let Some(due) = due else {
                told = condition.wait(told).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            told = condition.wait_timeout(told, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        told
    }
}
