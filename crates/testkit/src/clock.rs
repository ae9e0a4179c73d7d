//! A clock that a test moves.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use vidimus_core::caller::UnixMillis;
use vidimus_core::clock::{Clock, Moment};

/// A clock that stands still until a test moves it. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: Arc<Mutex<Moment>>,
}

impl ManualClock {
    /// A clock that stands at `wall`.
    pub fn at(wall: SystemTime) -> Self {
        // The monotonic clock of a process has no beginning that could be named, so it begins at whatever it is.
        let now = Moment { wall, monotonic: Instant::now() };
        Self { now: Arc::new(Mutex::new(now)) }
    }

    /// A clock that stands at this machine's time, so that what was issued by other clocks is valid.
    pub fn at_present() -> Self {
        Self::at(SystemTime::now())
    }

    /// Lets `time` pass, on both clocks.
    pub fn advance(&self, time: Duration) {
        let mut now = self.lock();
        now.wall += time;
        now.monotonic += time;
    }

    /// Sets the wall clock, as an operator does: no time passes on the monotonic one.
    pub fn set_wall(&self, wall: SystemTime) {
        self.lock().wall = wall;
    }

    /// The wall clock, as credentials and records count it.
    pub fn unix_millis(&self) -> UnixMillis {
        let since = self.lock().wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn lock(&self) -> MutexGuard<'_, Moment> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        *self.lock()
    }
}
