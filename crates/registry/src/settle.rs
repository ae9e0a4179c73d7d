//! When what a directory says is whole, so that nothing half-written is in force. Pure: time comes in, and what was seen.
//!
//! A directory is whole when it has been seen without a change for long enough while nobody was writing to a file of it, or when
//! all that changed was put into its place whole, by a rename. Until then what is in force stays in force, and what is being written
//! may only refuse. A file is whole by itself before that: when it has been so, whatever happens to others.
//!
//! Of a file that was written in place while nobody could hear whether its writer closed it, it stays in doubt for a time.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::debounce::Change;
use crate::files::{self, Listing};

/// How long a directory, or a file, is still before what it says is in force: longer than a program that writes a file pauses.
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
    moving: Option<Moving>,
    /// When it was last whole.
    restless_since: Option<Instant>,
    /// Files that are open for writing, and when they were last written.
    open: HashMap<PathBuf, Instant>,
    /// Files of which nobody heard whether their writer closed them: as what they were seen, and until when that counts.
    unheard: HashMap<Arc<Path>, (files::Seen, Instant)>,
}

#[derive(Debug)]
struct Moving {
    listing: Arc<Listing>,
    since: Instant,
    still: Duration,
    /// The files that are otherwise than in the whole.
    files: HashMap<Arc<Path>, MovingFile>,
}

/// A file that is otherwise than it was.
#[derive(Clone, Copy, Debug)]
struct MovingFile {
    /// `None` when it is gone.
    seen: Option<files::Seen>,
    since: Instant,
    /// Whether it was put into its place whole.
    placed: bool,
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
            Change::Touched => {}
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
        let heard = heard && !listing.has_links();
        let still = if heard { STILL } else { STILL_UNHEARD };
        if self.whole.as_ref() == Some(listing) {
            self.settle(now);
            return Seen::Whole;
        }
        let since = self.move_to(listing, placed, still, now);
        self.restless_since.get_or_insert(now);
        self.open.retain(|path, last| now.duration_since(*last) < MAX_OPEN && listing.holds(path));
        let closed = self.open.values().map(|last| *last + MAX_OPEN).max();
        let was_placed = self.whole.as_ref().is_some_and(|whole| whole.differs_only_in(listing, placed));
        if closed.is_none() && (was_placed || now.duration_since(since) >= still) {
            let last = self.whole.replace(listing.clone());
            if let Some(last) = last.filter(|_| !heard) {
                self.doubt(Some(&last), listing, now);
            }
            self.settle(now);
            return Seen::Whole;
        }
        let due = since + still;
        let due = closed.map_or(due, |closed| closed.max(due));
        Seen::Moving(self.next_file(now).map_or(due, |file| file.min(due)))
    }

    /// Takes over what is there instead of the whole. Gives since when it has been there.
    fn move_to(
        &mut self,
        listing: &Arc<Listing>,
        placed: &BTreeSet<PathBuf>,
        still: Duration,
        now: Instant,
    ) -> Instant {
        let mut last = self.moving.take();
        let since = last.as_ref().filter(|last| last.listing == *listing).map_or(now, |last| last.since);
        let differences = self.whole.as_ref().map(|whole| whole.differences(listing)).unwrap_or_default();
        let file = |(path, seen): (Arc<Path>, Option<files::Seen>)| {
            let known =
                last.as_mut().and_then(|last| last.files.remove(&path)).filter(|file| file.seen == seen);
            let mut file = known.unwrap_or(MovingFile { seen, since: now, placed: false });
            file.placed |= placed.contains(&*path);
            (path, file)
        };
        let files = differences.into_iter().map(file).collect();
        self.moving = Some(Moving { listing: listing.clone(), since, still, files });
        since
    }

    /// Takes the first listing for whole where all its files are old enough: nothing is in force that could have been better.
    pub(crate) fn see_first(&mut self, listing: &Arc<Listing>, wall: SystemTime) {
        if listing.files.iter().all(|file| file.seen.is_older_than(STILL, wall)) {
            self.whole = Some(listing.clone());
        }
    }

    /// Takes what is there for whole.
    pub(crate) fn take(&mut self, listing: &Arc<Listing>) {
        self.whole = Some(listing.clone());
    }

    /// Nobody was heard before the start: all files are in doubt.
    pub(crate) fn doubt_all(&mut self, now: Instant) {
        if let Some(listing) = self.whole.clone() {
            self.doubt(None, &listing, now);
        }
    }

    /// The files that were written in place since `last` are in doubt.
    fn doubt(&mut self, last: Option<&Listing>, listing: &Listing, now: Instant) {
        for file in &listing.files {
            let before = last.and_then(|last| last.seen(&file.path));
            let written = match (last, before) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(_), Some(before)) => before != file.seen && before.is_same_file(&file.seen),
            };
            if written {
                self.unheard.insert(file.path.clone(), (file.seen, now + MAX_OPEN));
            }
        }
    }

    /// The files of which it cannot be told whether somebody is writing them still.
    pub(crate) fn in_doubt(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.unheard.keys()
    }

    /// When the first of them is in no doubt any more.
    pub(crate) fn next_certain(&self) -> Option<Instant> {
        self.unheard.values().map(|(_, until)| *until).min()
    }

    /// The files that are otherwise than in what is in force, or gone, and that are whole by themselves.
    pub(crate) fn whole_files(&self, now: Instant) -> impl Iterator<Item = &Arc<Path>> {
        let still = self.moving.as_ref().map_or(STILL, |moving| moving.still);
        let closed = self.moving_files().filter(|(path, _)| !self.open.contains_key(&***path));
        let whole = closed.filter(move |(_, file)| file.placed || now.duration_since(file.since) >= still);
        whole.map(|(path, _)| path)
    }

    fn moving_files(&self) -> impl Iterator<Item = (&Arc<Path>, &MovingFile)> {
        self.moving.iter().flat_map(|moving| &moving.files)
    }

    /// When the next file is whole by itself.
    fn next_file(&self, now: Instant) -> Option<Instant> {
        let still = self.moving.as_ref()?.still;
        let closed =
            self.moving_files().filter(|(path, file)| !file.placed && !self.open.contains_key(&***path));
        closed.map(|(_, file)| file.since + still).filter(|due| *due > now).min()
    }

    /// What was in doubt stays so until the directory is whole.
    fn settle(&mut self, now: Instant) {
        (self.moving, self.restless_since) = (None, None);
        let Some(whole) = &self.whole else { return };
        self.unheard.retain(|path, (seen, until)| {
            now < *until && whole.seen(path).is_some_and(|now| now.is_as_written(seen))
        });
    }

    /// For how long it has not been whole.
    pub(crate) fn restless_for(&self, now: Instant) -> Duration {
        self.restless_since.map_or(Duration::ZERO, |since| now.duration_since(since))
    }
}

#[cfg(test)]
mod tests;
