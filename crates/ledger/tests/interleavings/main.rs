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
#[path = "../../src/submission.rs"]
mod submission;
#[path = "../../src/tail.rs"]
mod tail;
#[path = "../../src/threads.rs"]
mod threads;
#[path = "../../src/times.rs"]
mod times;
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

/// Seals that take no place.
mod seal {
    use std::io;
    use std::sync::{Arc, Mutex};

    use crate::times::Span;

    /// What the last seal said was signed for.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Chain(pub(crate) Arc<Mutex<u64>>);

    impl Chain {
        pub(crate) fn said(&self) -> u64 {
            *self.0.lock().expect("not poisoned")
        }

        pub(crate) fn seal(&mut self, _: &mut Vec<u8>, _: u64, signed: u64, _: Span) -> io::Result<()> {
            *self.0.lock().expect("not poisoned") = signed;
            Ok(())
        }
    }
}

/// Segments that are all one file.
mod segment {
    use std::path::{Path, PathBuf};

    use crate::file::{self, FileError};
    use crate::seal::Chain;
    use crate::storage::{Open, Storage, Stored};

    pub(crate) const START: usize = 0;

    pub(crate) struct Segment {
        pub(crate) path: PathBuf,
    }

    impl Segment {
        pub(crate) fn new(log: &Path, _first: u64) -> Self {
            Self { path: log.to_owned() }
        }

        pub(crate) fn create(
            &self,
            storage: &dyn Storage,
            _: &mut Chain,
            _: u64,
        ) -> Result<Box<dyn Stored>, FileError> {
            file::open(storage, &self.path, Open::Append)
        }
    }
}
