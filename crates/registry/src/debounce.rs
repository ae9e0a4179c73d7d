//! When a burst of changes is over, so that a file is not read while it is being written. Pure: time comes in.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Silence after the last event before the directory is read: a save is several events.
const QUIET: Duration = Duration::from_millis(5);
/// Maximum that events which keep coming delay a refresh.
const MAX_DELAY: Duration = Duration::from_millis(25);
/// Maximum that a file which is open for writing, and being written, delays a refresh.
const MAX_WRITING: Duration = Duration::from_secs(1);

/// What an event means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Something is there, gone, or under another name.
    Done,
    /// Something was put into its place whole, by a rename.
    Placed,
    /// Content is being written; that the writer closes the file will complete it.
    Writing,
    /// The writer closed the file.
    Closed,
    /// Its attributes are others: who may read it, its times. Who writes it may write on.
    Touched,
}

/// Changes since the last refresh.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    first: Option<Instant>,
    last: Option<Instant>,
    /// Files that are being written, since when.
    writing: HashMap<PathBuf, Instant>,
    /// What the events were about.
    paths: BTreeSet<PathBuf>,
    /// Those that were put into their place whole, and not touched since.
    placed: BTreeSet<PathBuf>,
}

impl Pending {
    pub(crate) fn note(&mut self, path: &Path, change: Change, now: Instant) {
        match change {
            Change::Writing => {
                self.writing.entry(path.to_owned()).or_insert(now);
            }
            Change::Closed | Change::Done | Change::Placed => {
                self.writing.remove(path);
            }
            Change::Touched => {}
        }
        if change == Change::Placed {
            self.placed.insert(path.to_owned());
        } else {
            self.placed.remove(path);
        }
        if !self.paths.contains(path) {
            self.paths.insert(path.to_owned());
        }
        self.first = self.first.or(Some(now));
        self.last = Some(now);
    }

    /// What the events were about.
    pub(crate) fn paths(&self) -> &BTreeSet<PathBuf> {
        &self.paths
    }

    /// What was put into its place whole, and not touched since.
    pub(crate) fn placed(&self) -> &BTreeSet<PathBuf> {
        &self.placed
    }

    /// When the directory is to be read; `None` while nothing has changed.
    pub(crate) fn due(&self) -> Option<Instant> {
        let soon = (self.last? + QUIET).min(self.first? + MAX_DELAY);
        let written = self.writing.values().max().map(|since| *since + MAX_WRITING);
        Some(written.map_or(soon, |written| written.max(soon)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events as (milliseconds, path, change), then when the directory is to be read, in milliseconds.
    #[track_caller]
    fn check(events: &[(u64, &str, Change)], due: Option<u64>) {
        let start = Instant::now();
        let mut pending = Pending::default();
        for (at, path, change) in events {
            pending.note(Path::new(path), *change, start + Duration::from_millis(*at));
        }
        assert_eq!(pending.due(), due.map(|due| start + Duration::from_millis(due)));
        let paths: BTreeSet<PathBuf> = events.iter().map(|(_, path, _)| PathBuf::from(path)).collect();
        assert_eq!(*pending.paths(), paths);
    }

    #[test]
    fn a_change_is_read_when_it_is_complete() {
        use Change::{Closed, Done, Placed, Touched, Writing};
        check(&[], None);
        check(&[(0, "a", Done)], Some(5));
        // A storm is read all the same.
        check(&[(0, "a", Done), (4, "b", Done), (8, "c", Done), (24, "d", Done)], Some(25));
        // A file is not read in the middle of being written, not even when another one is complete.
        check(&[(0, "a", Writing), (2, "b", Done)], Some(1000));
        check(&[(0, "a", Writing), (400, "a", Writing)], Some(1000));
        check(&[(0, "a", Writing), (400, "a", Writing), (401, "a", Closed)], Some(25));
        check(&[(0, "a", Writing), (3, "a", Closed)], Some(8));
        // Other attributes do not say that it is.
        check(&[(0, "a", Writing), (3, "a", Touched)], Some(1000));
        check(&[(0, "a", Touched)], Some(5));
        check(&[(0, "a", Writing), (3, "b", Writing), (4, "a", Closed)], Some(1003));
        // Taken away while it was written, or put over what was.
        check(&[(0, "a", Writing), (3, "a", Done)], Some(8));
        check(&[(0, "a", Writing), (3, "a", Placed)], Some(8));
    }

    #[test]
    fn what_was_placed_and_then_written_is_not_whole() {
        for (changes, placed) in [
            (&[Change::Placed][..], true),
            (&[Change::Writing, Change::Placed], true),
            (&[Change::Placed, Change::Writing], false),
            (&[Change::Placed, Change::Closed], false),
            (&[Change::Placed, Change::Done], false),
        ] {
            let mut pending = Pending::default();
            changes.iter().for_each(|change| pending.note(Path::new("a"), *change, Instant::now()));
            assert_eq!(pending.placed().len(), usize::from(placed), "{changes:?}");
        }
    }
}
