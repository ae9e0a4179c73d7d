//! The directories of one log, held against each other: copies and parts of it have the same record at each index, whatever is asked for.

use std::path::{Path, PathBuf};

use vidimus_ledger::{newest_checkpoint, pruned, read_from};

use super::Log;

/// The directories of one log, in their order.
#[derive(Debug)]
pub(super) struct Copies(Vec<Directory>);

/// One of them, as it was when it was looked at.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    /// Records below this index are signed for there.
    signed: u64,
    /// It has the records from this one on, and up to `end`.
    first: u64,
    end: u64,
    /// A record could not be read. What is damaged is told by whoever reads it; nothing is looked up there any more.
    is_damaged: bool,
}

/// What the directories say together of one index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Agreed {
    /// Which directory's record is shown: one that is signed for there before one that is not, and then the first. `None` where only what nothing
    /// signs for was found, and another directory has a signed record at this index.
    pub(super) stands: Option<usize>,
    /// Whether a directory has another record there.
    pub(super) differs: bool,
}

/// The first record that two directories do not have alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) index: u64,
    /// That which is signed for further, and the other.
    pub(super) directories: [PathBuf; 2],
}

impl Copies {
    pub(super) fn of(log: &Log) -> Self {
        // One alone agrees with itself.
        let look = if log.directories.len() > 1 { Directory::seen } else { Directory::unseen };
        Self(log.directories.iter().map(|path| look(path)).collect())
    }

    /// `found` has of each directory the record that was found there at `index`. Where none was, there may be another one that does not fit
    /// what is asked for, so it is looked up.
    pub(super) fn agreed(&mut self, index: u64, found: &[Option<&[u8]>]) -> Agreed {
        let mut best: Option<(usize, &[u8], bool)> = None;
        for ((at, directory), record) in self.0.iter().enumerate().zip(found) {
            let is_signed = index < directory.signed;
            if let Some(record) = *record
                && best.is_none_or(|(_, _, best)| is_signed && !best)
            {
                best = Some((at, record, is_signed));
            }
        }
        let Some((at, record, is_signed)) = best else { return Agreed::default() };
        let mut agreed = Agreed { stands: Some(at), differs: false };
        for (directory, other) in self.0.iter_mut().zip(found) {
            let looked_up = if other.is_none() { directory.record(index) } else { None };
            if other.or(looked_up.as_deref()).is_some_and(|other| other != record) {
                agreed.differs = true;
                if !is_signed && index < directory.signed {
                    agreed.stands = None;
                }
            }
        }
        agreed
    }

    /// Where two of them differ in what is not signed for in both. What is, has one root, and [`super::verify()`] holds each against the checkpoints of
    /// the others.
    pub(super) fn differences(&self) -> Vec<Difference> {
        let mut all: Vec<&Directory> = self.0.iter().collect();
        // Stable: of two that are signed for as far, the first was named first.
        all.sort_by_key(|directory| std::cmp::Reverse(directory.signed));
        let pairs = all
            .iter()
            .enumerate()
            .flat_map(|(at, one)| all.iter().skip(at + 1).map(move |other| (one, other)));
        let differ = pairs.filter_map(|(one, other)| {
            let index = one.differs(other)?;
            Some(Difference { index, directories: [one.path.clone(), other.path.clone()] })
        });
        differ.collect()
    }
}

impl Directory {
    fn unseen(path: &Path) -> Self {
        Self { path: path.to_owned(), signed: 0, first: 0, end: 0, is_damaged: false }
    }

    fn seen(path: &Path) -> Self {
        let signed = newest_checkpoint(path).map_or(0, |newest| newest.checkpoint.size);
        let first = pruned(path).ok().flatten().map_or(0, |pruned| pruned.minimum());
        let from = signed.max(first);
        let end = match read_from(path, from) {
            Ok(mut reading) => {
                // Up to its end, or to what is damaged.
                reading.by_ref().take_while(Result::is_ok).for_each(drop);
                reading.index()
            }
            Err(_) => from,
        };
        Self { path: path.to_owned(), signed, first, end, is_damaged: false }
    }

    /// Its record at an index, where it has one that can be read.
    fn record(&mut self, index: u64) -> Option<Vec<u8>> {
        if self.is_damaged || !(self.first..self.end).contains(&index) {
            return None;
        }
        match read_from(&self.path, index).and_then(|mut reading| reading.next().transpose()) {
            Ok(hit) => hit.map(|hit| hit.record),
            Err(_) => {
                self.is_damaged = true;
                None
            }
        }
    }

    /// The first index at which another directory, which is signed for no further than this, has another record, of those that are not signed for
    /// in both.
    fn differs(&self, other: &Self) -> Option<u64> {
        let from = other.signed.max(self.first).max(other.first);
        let end = self.end.min(other.end);
        if from >= end {
            return None;
        }
        let records = |of: &Self| read_from(&of.path, from).ok();
        // What cannot be read is told by whoever checks the directory.
        let pairs = records(self)?.map_while(Result::ok).zip(records(other)?.map_while(Result::ok));
        let mut pairs = pairs.take_while(|(one, _)| one.index < end);
        pairs.find(|(one, other)| one != other).map(|(one, _)| one.index)
    }
}
