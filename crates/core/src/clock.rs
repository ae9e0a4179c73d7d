//! Time, which enters from outside: the core reads no clock.

use std::fmt::Debug;
use std::time::{Instant, SystemTime};

/// One reading of a clock.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For what leaves the process: records, tokens, policies. It can jump when the machine's clock is set.
    pub wall: SystemTime,
    /// For deadlines and durations. It never goes back.
    pub monotonic: Instant,
}

/// Where time comes from: the machine, or a test.
pub trait Clock: Debug + Send + Sync {
    /// The time now.
    fn now(&self) -> Moment;

    /// The same for deadlines and durations alone, for which a machine need not ask for both.
    fn monotonic(&self) -> Instant {
        self.now().monotonic
    }
}
