//! How many records this process has read, for who waits and looks at it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Records between two counts: what is shared between threads is written seldom.
const STEP: u64 = 1 << 12;

static READ: AtomicU64 = AtomicU64::new(0);

/// How many records searches and prunings of this process have read so far, of whatever log, to some thousands.
pub fn records_read() -> u64 {
    READ.load(Ordering::Relaxed)
}

/// Counts the records of one reading.
#[derive(Debug, Default)]
pub(crate) struct Counted(u64);

impl Counted {
    pub(crate) fn one(&mut self) {
        self.0 += 1;
        if self.0 == STEP {
            self.flush();
        }
    }

    fn flush(&mut self) {
        READ.fetch_add(std::mem::take(&mut self.0), Ordering::Relaxed);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.flush();
    }
}
