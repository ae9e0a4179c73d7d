//! The threads that bring records to the disk. One writes, where a caller may not wait that long; one syncs what was written,
//! however long writing takes meanwhile. What grows over it then is another thread's: [`crate::growth`].
//!
//! `tests/interleavings` runs this file under `loom`.

use crate::queue::Shared;

/// The body of the writing thread. It ends when it was asked to and nobody writes, or when the ledger failed. Nothing is written
/// to a segment afterwards.
pub(crate) fn write(shared: &Shared) {
    let _end = Ends {
        shared,
        then: |shared| {
            shared.retire();
            shared.wake_ups.written_out();
        },
    };
    while !shared.failed() {
        let work = shared.wake_ups.wait_for_work();
        if work.write
            && let Err(error) = shared.write_pending()
        {
            shared.fail(&error.story());
        }
        if work.stop && shared.idle() {
            break;
        }
    }
}

/// The body of the syncing thread. It ends when every record is on disk and no more can come; after a failure, when no write can be
/// under way.
pub(crate) fn sync(shared: &Shared) {
    let _end = Ends { shared, then: |shared| shared.wake_ups.flushed() };
    loop {
        let due = shared.wake_ups.wait_for_sync(shared.config.fsync_interval);
        if !shared.failed() {
            match shared.sync() {
                Ok(()) => due.since.into_iter().for_each(|since| shared.observe(since)),
                Err(error) => shared.fail(&error.story()),
            }
        }
        shared.wake_ups.synced();
        if due.last {
            break;
        }
    }
}

/// What a thread does last, however it ends. A panic closes the ledger: otherwise the others would wait for ever.
pub(crate) struct Ends<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) then: fn(&Shared),
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.fail("a thread of the ledger panicked");
        }
        (self.then)(self.shared);
    }
}
