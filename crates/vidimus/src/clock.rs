//! The machine's clock. This is the one place that reads it for what is decided, issued and recorded; everything else is given a
//! [`Clock`].

use std::time::{Instant, SystemTime};

use vidimus_core::clock::{Clock, Moment};

/// The clock of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment { wall: SystemTime::now(), monotonic: Instant::now() }
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}
