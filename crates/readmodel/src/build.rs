//! Rows from records of the log: what is signed for is sealed in files, and what is newer is read when it is asked for.

mod merge;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use datafusion::arrow::array::AsArray as _;
use vidimus_core::record::{Kept, Record};
use vidimus_core::row::{Asked, lets_pass};
use vidimus_ledger::{BUNDLE, Hit, Reading, SearchError};

use crate::ModelError;
use crate::file::{DamagedFile, FileWriter, Sealed};
use crate::hours::{self, Hours};
use crate::manifest::{self, Manifest, Range};
use crate::open_range::{OpenRange, range_of};
use crate::row::{self, Rows};
use crate::sieve::SieveWriter;

/// Records of the smallest files. What is left over is read from the log when it is asked for.
pub const SMALLEST: u64 = if cfg!(test) { 1 << 8 } else { 1 << 12 };

/// Records of a file, largest first. Sixteen of one size become one of the next.
const SIZES: [u64; 3] = [SMALLEST << 8, SMALLEST << 4, SMALLEST];

/// How many of one size become one of the next.
const MERGED: usize = 16;

/// What is sealed of what is new. The fewer files come of it at first, the fewer rows are written once more with those of other files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All that fills one of the smallest files.
    All,
    /// What goes up to where the next file of sixteen times as many begins. For who seals beside calls, and can wait for fewer of them.
    Large,
}

impl Extent {
    /// Up to where that is, of records that are signed for.
    fn of(self, signed: u64) -> u64 {
        let [_, large, _] = SIZES;
        match self {
            Self::All => signed,
            Self::Large => signed - signed % large,
        }
    }
}

/// Rows that are written at once.
const BATCH: usize = 8192;

/// Calls whose effects have not come yet and that are remembered. Those of others are read again, from the file that has them, or the log.
const UNDER_WAY: usize = if cfg!(test) { 16 } else { 200_000 };

/// Files that are repaired in one go, before it is given up: a disk that breaks everything is not worked around.
const REPAIRS: usize = 1000;

/// What was sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extended {
    /// Index of the first record that is sealed, or would be: those before it were pruned.
    pub first: u64,
    /// Records that are sealed now.
    pub records: u64,
    /// How many of them were not before.
    pub added: u64,
    /// How many files were damaged, and were made again from the log.
    pub repaired: usize,
    /// Whether another process is at it, so that nothing was done here.
    pub busy: bool,
}

impl Extended {
    /// What a manifest has.
    fn of(manifest: &Manifest) -> Self {
        let first = manifest.first;
        Self { first, records: manifest.end().saturating_sub(first), ..Self::default() }
    }
}

/// Makes rows of records, in their order.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    /// Decisions that let a call pass, by their index.
    under_way: BTreeMap<u64, Asked>,
    /// Where the others are.
    pub(crate) ranges: Vec<OpenRange>,
    pub(crate) rows: Rows,
    pub(crate) hours: Hours,
    pub(crate) unreadable: u64,
    log: PathBuf,
}

impl Builder {
    pub(crate) fn new(ranges: Vec<OpenRange>, log: &Path) -> Self {
        Self { ranges, log: log.to_owned(), ..Self::default() }
    }

    pub(crate) fn take(&mut self, hit: &Hit) -> Result<(), ModelError> {
        let index = hit.index;
        // Of other bytes there is no text, so no row could have the record as it is.
        let text = str::from_utf8(&hit.record).map_err(|_| ModelError::NotText { index })?;
        let Ok(record) = Kept::read(&hit.record) else {
            self.unreadable += 1;
            self.rows.push(index, text, None, None);
            return Ok(());
        };
        let asked = match &record {
            Record::Effect(effect) if effect.decision < index => self.asked(effect.decision)?,
            record => Asked::of(record),
        };
        self.rows.push(index, text, Some(&record), asked.as_ref());
        let asked = asked.unwrap_or_default();
        self.hours.count(&record, &asked);
        if lets_pass(&record) {
            self.under_way.insert(index, asked);
            if self.under_way.len() > UNDER_WAY {
                self.under_way.pop_first();
            }
        }
        Ok(())
    }

    /// Who asked for what by the decision at `index`, which let the call pass.
    fn asked(&mut self, index: u64) -> Result<Option<Asked>, ModelError> {
        if let Some(asked) = self.under_way.remove(&index) {
            return Ok(Some(asked));
        }
        let text = self.text(index)?;
        let record = text.as_deref().and_then(|text| Kept::read(text.as_bytes()).ok());
        Ok(record.as_ref().filter(|record| lets_pass(record)).and_then(Asked::of))
    }

    /// The text of a record that is not among the rows in memory: from the file that has it; where none has, from the log, which reads a
    /// segment up to it. `None` where it was pruned.
    pub(crate) fn text(&self, index: u64) -> Result<Option<String>, ModelError> {
        if let Some(range) = range_of(&self.ranges, index) {
            return Ok(range.records(&[index])?.into_iter().next().map(|(_, text)| text));
        }
        match vidimus_ledger::read_from(&self.log, index)?.next() {
            None | Some(Err(SearchError::Pruned { .. })) => Ok(None),
            Some(hit) => Ok(String::from_utf8(hit?.record).ok()),
        }
    }
}

/// Seals what the log in `log` has that is signed for and not sealed yet, in the directory `dir`. `progress` is told how many records are
/// sealed, and how many there are.
///
/// What is damaged, or of another log, is made again.
///
/// # Errors
/// See [`ModelError`].
pub fn extend(dir: &Path, log: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Extended, ModelError> {
    extend_by(dir, log, (u64::MAX, Extent::All), progress)
}

/// As [`extend`], of so many records at most, and of so much of them: what does so beside other work holds no more of them in memory, and may end in
/// between. A number below [`SMALLEST`] seals nothing, nor may one below the records of a large file where only such are wanted.
///
/// # Errors
/// See [`ModelError`].
pub fn extend_by(
    dir: &Path,
    log: &Path,
    (most, extent): (u64, Extent),
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Extended, ModelError> {
    let Some(_lock) = manifest::lock(dir)? else {
        let there = Manifest::read(dir)?.map(|manifest| Extended::of(&manifest)).unwrap_or_default();
        return Ok(Extended { busy: true, ..there });
    };
    let front = front(log)?;
    let manifest = match Manifest::read(dir)? {
        Some(manifest) if manifest.first <= front && is_of(&manifest, log)? => manifest,
        _ => Manifest::new(front),
    };
    manifest.sweep(dir);
    if manifest.ranges.is_empty() {
        manifest.write(dir)?;
    }
    let mut work = Work { dir, log, manifest, repaired: 0 };
    while let Err(error) = work.prune(front) {
        work.repair(error)?;
    }
    let before = work.manifest.end();
    // Also no file is put together of others then: where nothing is to be sealed there may be no room.
    while most >= SMALLEST
        && let Err(error) = work.go_on((before.saturating_add(most), extent), progress)
    {
        work.repair(error)?;
    }
    let added = work.manifest.end().saturating_sub(before);
    Ok(Extended { added, repaired: work.repaired, ..Extended::of(&work.manifest) })
}

/// How many records [`extend`] would seal now, or again: those that are signed for and in no file, and those of a file whose front was pruned. It looks at
/// no more than names and the newest checkpoint.
///
/// # Errors
/// See [`ModelError`].
pub fn to_seal(dir: &Path, log: &Path) -> Result<u64, ModelError> {
    to_seal_of(dir, log, Extent::All)
}

fn to_seal_of(dir: &Path, log: &Path, extent: Extent) -> Result<u64, ModelError> {
    let front = front(log)?;
    let all = vidimus_ledger::signed_for(log)?;
    let signed = extent.of(all);
    let manifest = match Manifest::read(dir)? {
        Some(manifest) if manifest.first <= front && manifest.end() <= all && is_of(&manifest, log)? => {
            manifest
        }
        _ => return Ok(signed.saturating_sub(front)),
    };
    let cut = manifest.ranges.iter().find(|range| range.first < front && range.end() > front);
    let again = cut.map_or(0, |range| range.end() - front);
    Ok(signed.saturating_sub(manifest.end().max(front)).saturating_add(again))
}

/// Whether there is anything for [`extend_by`] to do: records for a file, or some that went from the log.
///
/// # Errors
/// See [`ModelError`].
pub fn is_due(dir: &Path, log: &Path, extent: Extent) -> Result<bool, ModelError> {
    Ok(has_pruned(dir, log)? || to_seal_of(dir, log, extent)? >= SMALLEST)
}

/// Whether the model in `dir` has records that went from the log. [`extend_by`] takes them out, also where it seals nothing.
///
/// # Errors
/// See [`ModelError`].
pub fn has_pruned(dir: &Path, log: &Path) -> Result<bool, ModelError> {
    Ok(Manifest::read(dir)?.is_some_and(|manifest| manifest.first < front(log).unwrap_or(0)))
}

/// As [`extend`], of a model of which nothing is taken over.
///
/// # Errors
/// See [`ModelError`].
pub fn rebuild(dir: &Path, log: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Extended, ModelError> {
    if let Some(lock) = manifest::lock(dir)? {
        Manifest::new(front(log)?).write(dir)?;
        drop(lock);
    }
    extend(dir, log, progress)
}

/// Reads every file of the model in `dir`; how many were not what was written, which are made again from the log.
///
/// # Errors
/// See [`ModelError`].
pub fn check(dir: &Path, log: &Path) -> Result<Extended, ModelError> {
    let lock = manifest::lock(dir)?;
    let Some(manifest) = Manifest::read(dir)?.filter(|_| lock.is_some()) else {
        return Ok(Extended { busy: lock.is_none(), ..Extended::default() });
    };
    let mut work = Work { dir, log, manifest, repaired: 0 };
    for range in work.manifest.ranges.clone() {
        for written in range.files() {
            if let Err(error) = Sealed::open(dir, written).and_then(|file| Ok(file.check()?)) {
                work.repair(error)?;
            }
        }
    }
    Ok(Extended { repaired: work.repaired, ..Extended::of(&work.manifest) })
}

/// Makes the file again from the log that an error is about. Of one that the model has no more, since it was put together with others while the model was
/// opened, nothing is to be made.
///
/// # Errors
/// See [`ModelError`]; also where the error is about none, or another process writes.
pub fn repair(dir: &Path, log: &Path, error: &ModelError) -> Result<(), ModelError> {
    let again = || ModelError::Query(error.to_string());
    let damaged = error.damaged().cloned().ok_or_else(again)?;
    if Manifest::read(dir)?.is_some_and(|manifest| place(&manifest, &damaged).is_none()) {
        return Ok(());
    }
    let _lock = manifest::lock(dir)?.ok_or_else(again)?;
    let manifest = Manifest::read(dir)?.ok_or_else(again)?;
    Work { dir, log, manifest, repaired: 0 }.repair(damaged.into())
}

/// The index of the first record that a log has: what was pruned is not in the model either.
pub(crate) fn front(log: &Path) -> Result<u64, ModelError> {
    Ok(vidimus_ledger::pruned(log)?.map_or(0, |pruned| pruned.minimum()))
}

/// Whether the log in `log` is the one whose records a manifest is of, and not another, or an older copy. Its newest tile tells.
pub(crate) fn is_of(manifest: &Manifest, log: &Path) -> Result<bool, ModelError> {
    let Some(last) = manifest.ranges.last() else { return Ok(true) };
    let root = vidimus_ledger::bundle_root(log, (last.end() / BUNDLE).saturating_sub(1))?;
    Ok(root.is_some_and(|root| data_encoding::HEXLOWER.encode(&root) == last.last_bundle))
}

/// Sealing, with the right to write.
struct Work<'a> {
    dir: &'a Path,
    log: &'a Path,
    manifest: Manifest,
    repaired: usize,
}

impl Work<'_> {
    /// Takes out what the log has no more: retention is of this copy too. A file that has some of it is made again from what is left.
    fn prune(&mut self, front: u64) -> Result<(), ModelError> {
        if self.manifest.first >= front {
            return Ok(());
        }
        let mut ranges: Vec<Range> =
            self.manifest.ranges.iter().filter(|range| range.end() > front).cloned().collect();
        if let Some(begun) = ranges.first_mut().filter(|range| range.first < front) {
            let mut reading = vidimus_ledger::read_from(self.log, front)?;
            let left = begun.end().saturating_sub(front);
            let sealed = self.seal(&mut Builder::new(Vec::new(), self.log), &mut reading, front, left)?;
            *begun = sealed.ok_or(ModelError::Altered { index: begun.end() })?;
        }
        (self.manifest.first, self.manifest.ranges) = (front, ranges);
        self.manifest.write(self.dir)
    }

    /// Seals what is before `until`.
    fn go_on(
        &mut self,
        (until, extent): (u64, Extent),
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ModelError> {
        let next = self.manifest.end();
        let mut reading = vidimus_ledger::read_from(self.log, next)?;
        let signed = extent.of(vidimus_ledger::signed_for(self.log)?.min(until));
        let ranges = self.manifest.ranges.iter().map(|range| OpenRange::open(self.dir, range));
        let mut builder = Builder::new(ranges.collect::<Result<_, _>>()?, self.log);
        loop {
            // Here, and not behind a file that was written: so also what an error, or the end of the process, kept apart then becomes one.
            while self.merge()? {
                builder.ranges = self
                    .manifest
                    .ranges
                    .iter()
                    .map(|range| OpenRange::open(self.dir, range))
                    .collect::<Result<_, _>>()?;
            }
            let next = self.manifest.end();
            progress(next, signed);
            // Where the front was pruned, the first file ends where one of the smallest size would.
            let odd = next.next_multiple_of(SMALLEST) - next;
            let is_there = |size: &u64| next + size <= signed;
            let fits = |size: &u64| next.is_multiple_of(*size) && is_there(size);
            let size = if odd > 0 { Some(odd).filter(is_there) } else { SIZES.into_iter().find(fits) };
            let Some(size) = size else { break };
            let Some(range) = self.seal(&mut builder, &mut reading, next, size)? else { break };
            builder.ranges.push(OpenRange::open(self.dir, &range)?);
            self.manifest.ranges.push(range);
            self.manifest.write(self.dir)?;
        }
        Ok(())
    }

    /// Seals `records` from `first` on; `None` where the log has no tile of them yet.
    fn seal(
        &self,
        builder: &mut Builder,
        reading: &mut Reading,
        first: u64,
        records: u64,
    ) -> Result<Option<Range>, ModelError> {
        let end = first + records;
        let Some(root) = vidimus_ledger::bundle_root(self.log, (end / BUNDLE).saturating_sub(1))? else {
            return Ok(None);
        };
        let mut to = FileWriter::create(self.dir, name(first, end, "records.parquet"), row::schema())?;
        let mut sieve = SieveWriter::default();
        let (mut times, mut last) = (Some((i64::MAX, i64::MIN)), Vec::new());
        builder.unreadable = 0;
        builder.hours = Hours::default();
        while reading.index() < end {
            let hit = reading.next().ok_or(ModelError::Short { index: reading.index() })??;
            builder.take(&hit)?;
            if builder.rows.len() == BATCH || hit.index + 1 == end {
                let batch = builder.rows.finish()?;
                times = widened(times, &batch);
                sieve.take(&batch)?;
                to.write(&batch)?;
            }
            if hit.index >= end.saturating_sub(BUNDLE) {
                last.push(hit.record);
            }
        }
        // What was read is what was signed for. Of a bundle whose front was pruned the rest has no root of its own.
        let ours = vidimus_ledger::root_of_bundle(last.iter().map(Vec::as_slice));
        if ours != Some(root) && last.len() as u64 == BUNDLE {
            return Err(ModelError::Altered { index: end });
        }
        let rows = to.finish()?;
        let hours = self.write_hours(&builder.hours, first, end)?;
        let sieve = Some(sieve.finish(self.dir, name(first, end, "records.sieve"))?);
        let (last_bundle, unreadable) = (data_encoding::HEXLOWER.encode(&root), builder.unreadable);
        Ok(Some(Range { first, records, unreadable, times, last_bundle, rows, hours, sieve }))
    }

    fn write_hours(&self, hours: &Hours, first: u64, end: u64) -> Result<crate::file::Written, ModelError> {
        let mut to = FileWriter::create(self.dir, name(first, end, "hours.parquet"), hours::schema())?;
        to.write(&hours.batch()?)?;
        to.finish()
    }

    /// Makes the files again that an error is about, and those that are found damaged meanwhile.
    fn repair(&mut self, error: ModelError) -> Result<(), ModelError> {
        let mut errors = vec![error];
        while let Some(error) = errors.pop() {
            // What is wrong with the log is no matter of a file.
            if self.repaired >= REPAIRS || error.damaged().is_none() {
                return Err(error);
            }
            if let Err(next) = self.make_again(&error)? {
                errors.extend([error, next]);
            }
        }
        Ok(())
    }

    /// Makes the files of one range again from the log; inside, why it could not be done yet.
    fn make_again(&mut self, error: &ModelError) -> Result<Result<(), ModelError>, ModelError> {
        let at = error.damaged().and_then(|damaged| place(&self.manifest, damaged));
        let Some((at, old)) = at.and_then(|at| Some((at, self.manifest.ranges.get(at)?.clone()))) else {
            return Err(ModelError::Query(error.to_string()));
        };
        self.repaired += 1;
        // Decisions of calls that were under way where it begins stand in files before it.
        let before = self.manifest.ranges.iter().take(at).map(|range| OpenRange::open(self.dir, range));
        let before = match before.collect::<Result<_, _>>() {
            Ok(before) => before,
            Err(error) => return Ok(Err(error)),
        };
        let mut reading = vidimus_ledger::read_from(self.log, old.first)?;
        match self.seal(&mut Builder::new(before, self.log), &mut reading, old.first, old.records) {
            Ok(Some(new)) => {
                if let Some(range) = self.manifest.ranges.get_mut(at) {
                    *range = new;
                }
                self.manifest.write(self.dir)?;
                Ok(Ok(()))
            }
            Ok(None) => Err(ModelError::Altered { index: old.end() }),
            Err(error) => Ok(Err(error)),
        }
    }
}

/// Which of the ranges of a model has a file.
fn place(manifest: &Manifest, damaged: &DamagedFile) -> Option<usize> {
    let name = damaged.path.file_name()?.to_str()?;
    manifest.ranges.iter().position(|range| range.files().any(|file| file.name == name))
}

fn name(first: u64, end: u64, what: &str) -> String {
    format!("{first:020}-{end:020}.{what}")
}

/// The times of some rows, too; `None` where one has none.
fn widened(times: Option<(i64, i64)>, batch: &datafusion::arrow::array::RecordBatch) -> Option<(i64, i64)> {
    let column = batch.column_by_name("time")?;
    let column = column.as_primitive_opt::<datafusion::arrow::datatypes::TimestampMicrosecondType>()?;
    column.iter().try_fold(times?, |(first, last), time| Some((first.min(time?), last.max(time?))))
}
