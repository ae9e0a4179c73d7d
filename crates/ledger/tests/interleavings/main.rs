//! The ledger's threads and callers in every order that the memory model allows, by `loom`: a wake-up that is lost is a deadlock, which
//! it finds. What is included here is the ledger's own code; only what threads meet through is `loom`'s, and frames and segments, which
//! have no part in it, are empty.

#![expect(clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![expect(dead_code, reason = "of what is included, not everything takes part")]

#[path = "../../src/closed.rs"]
mod closed;
#[path = "../../src/config.rs"]
mod config;
#[path = "../../src/file.rs"]
mod file;
#[path = "../../src/queue.rs"]
mod queue;
#[path = "../../src/storage.rs"]
mod storage;
#[path = "../../src/threads.rs"]
mod threads;
#[path = "../../src/wake_ups.rs"]
mod wake_ups;

mod models;
mod ordering;

use closed::Closed;
use config::{Config, Durability};

mod primitives {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64};
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
}

/// A frame is its record.
mod frame {
    pub(crate) const MAX_RECORD: usize = 65_535;

    pub(crate) fn record(frame: &[u8]) -> &[u8] {
        frame
    }

    pub(crate) fn seal(frame: &mut [u8], sequence: u64, _unsynced: u64, _checksum: u32) {
        frame.fill(u8::try_from(sequence).expect("few records"));
    }
}

/// Segments that are all one file.
mod segment {
    use std::path::{Path, PathBuf};

    use crate::file::{self, FileError};
    use crate::storage::{Open, Storage, Stored};

    pub(crate) const START: usize = 0;

    pub(crate) struct Segment {
        pub(crate) path: PathBuf,
    }

    impl Segment {
        pub(crate) fn new(log: &Path, _first: u64) -> Self {
            Self { path: log.to_owned() }
        }

        pub(crate) fn create(&self, storage: &dyn Storage) -> Result<Box<dyn Stored>, FileError> {
            file::open(storage, &self.path, Open::Append)
        }
    }
}
