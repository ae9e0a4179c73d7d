//! When what a snapshot permits may be permitted no longer by the time alone.

use std::sync::{Mutex, PoisonError};

use super::Snapshot;
use super::said::{Said, Windows};
use crate::caller::UnixMillis;
use crate::decide::pace::Pace;

/// What of a snapshot ends by the time alone.
#[derive(Debug, Default)]
pub(super) struct Closings {
    /// The windows of permits, each once.
    windows: Windows,
    /// Of conditions and limits that look at the time by themselves.
    pace: Option<Pace>,
    /// What was found last. The windows are looked through once for each time at which one closes, however many calls begin until then.
    found: Mutex<Option<Found>>,
}

/// That no window closes after one time and before another.
#[derive(Clone, Copy, Debug)]
struct Found {
    after: UnixMillis,
    /// When one closes; `None` where none does any more.
    closes: Option<UnixMillis>,
}

impl Found {
    fn is_of(&self, after: UnixMillis) -> bool {
        self.after <= after && self.closes.is_none_or(|closes| after < closes)
    }
}

impl Closings {
    pub(super) fn of(said: &Said) -> Self {
        Self { windows: said.windows().clone(), pace: said.pace(), found: Mutex::default() }
    }

    fn next(&self, after: UnixMillis) -> Option<UnixMillis> {
        let of_pace = self.pace.and_then(|pace| pace.next(after));
        self.next_of_windows(after).into_iter().chain(of_pace).min()
    }

    fn next_of_windows(&self, after: UnixMillis) -> Option<UnixMillis> {
        if self.windows.is_empty() {
            return None;
        }
        // Whoever comes meanwhile waits: it would look for the same.
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = found.filter(|found| found.is_of(after)) {
            return found.closes;
        }
        let closes = self.windows.values().filter_map(|(window, _)| window.closes(after)).min();
        *found = Some(Found { after, closes });
        closes
    }
}

impl Snapshot {
    /// When what is permitted at a time may be permitted no longer, after that time, though nothing of the configuration changes: when the first
    /// window of a permit closes, or at the next full minute or hour where a condition looks at the time by itself, or an agent has a limit on
    /// how old its chains become. Grants end by [`Snapshot::next_grant_end`].
    ///
    /// It costs the same however many windows there are, but for the first time after each closing.
    pub fn next_closing(&self, after: UnixMillis) -> Option<UnixMillis> {
        self.closings.next(after)
    }
}
