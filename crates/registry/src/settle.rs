//! When what a directory says is whole, so that nothing half-written is in force. Pure: time comes in, and what was seen.
//!
//! A directory is whole when it has been seen without a change for long enough while nobody was writing to a file of it, or when
//! all that changed was put into its place whole, by a rename. Until then what is in force stays in force, and what is being written
//! may only refuse.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::debounce::Change;
use crate::files::Listing;

/// How long a directory is still before what it says is in force: longer than a program that writes a file pauses.
pub(crate) const STILL: Duration = Duration::from_millis(500);
/// The same where writers are not heard: without events, and behind links, where nobody tells that a file is open.
pub(crate) const STILL_UNHEARD: Duration = Duration::from_secs(2);
/// How long after its last write a file counts as open where its writer does not say that it closed it.
const MAX_OPEN: Duration = Duration::from_secs(30);

/// What a directory was seen to hold, and since when.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    /// What is in force was read from.
    whole: Option<Arc<Listing>>,
    /// What is there instead, since when it has been so.
    moving: Option<(Arc<Listing>, Instant)>,
    /// When it was last whole.
    restless_since: Option<Instant>,
    /// Files that are open for writing, and when they were last written.
    open: HashMap<PathBuf, Instant>,
}

/// Whether what was seen is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Whole,
    /// To be looked at again then.
    Moving(Instant),
}

impl Settling {
    /// Notes what was heard of a file.
    pub(crate) fn note(&mut self, path: &Path, change: Change, now: Instant) {
        match change {
            Change::Writing => drop(self.open.insert(path.to_owned(), now)),
            Change::Done | Change::Placed | Change::Closed => drop(self.open.remove(path)),
        }
    }

    /// Events were lost: who is writing is not known any more.
    pub(crate) fn forget_open(&mut self) {
        self.open.clear();
    }

    /// Says whether what is seen `now` is whole. `placed` are the files that were put into their place whole since the last look;
    /// `heard` is whether writers are heard.
    pub(crate) fn see(
        &mut self,
        listing: &Arc<Listing>,
        placed: &BTreeSet<PathBuf>,
        heard: bool,
        now: Instant,
    ) -> Seen {
        let still = if heard && !listing.has_links() { STILL } else { STILL_UNHEARD };
        if self.whole.as_ref() == Some(listing) {
            self.settle();
            return Seen::Whole;
        }
        let since = match &self.moving {
            Some((moving, since)) if moving == listing => *since,
            _ => {
                self.moving = Some((listing.clone(), now));
                now
            }
        };
        self.restless_since.get_or_insert(now);
        self.open.retain(|path, last| now.duration_since(*last) < MAX_OPEN && listing.holds(path));
        let closed = self.open.values().map(|last| *last + MAX_OPEN).max();
        let was_placed = self.whole.as_ref().is_some_and(|whole| whole.differs_only_in(listing, placed));
        if closed.is_none() && (was_placed || now.duration_since(since) >= still) {
            self.whole = Some(listing.clone());
            self.settle();
            return Seen::Whole;
        }
        let due = since + still;
        Seen::Moving(closed.map_or(due, |closed| closed.max(due)))
    }

    /// Takes the first listing for whole where all its files are old enough: nothing is in force that could have been better.
    pub(crate) fn see_first(&mut self, listing: &Arc<Listing>, wall: SystemTime) {
        if listing.files.iter().all(|file| file.seen.is_older_than(STILL, wall)) {
            self.whole = Some(listing.clone());
        }
    }

    fn settle(&mut self) {
        (self.moving, self.restless_since) = (None, None);
    }

    /// For how long it has not been whole.
    pub(crate) fn restless_for(&self, now: Instant) -> Duration {
        self.restless_since.map_or(Duration::ZERO, |since| now.duration_since(since))
    }
}

#[cfg(test)]
mod tests;
