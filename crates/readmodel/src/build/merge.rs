//! Files that become one.

use crate::ModelError;
use crate::file::{self, FileWriter, Written};
use crate::hours::Hours;
use crate::manifest::Range;
use crate::open_range::OpenRange;
use crate::row;
use crate::sieve::{self, SieveWriter};

use super::{BATCH, MERGED, SIZES, Work, name};

impl Work<'_> {
    /// Makes one of the last files, where they are enough of one size. False where they are not.
    pub(super) fn merge(&mut self) -> Result<bool, ModelError> {
        let ranges = &self.manifest.ranges;
        let from = ranges.len().saturating_sub(MERGED);
        let (Some(parts @ [first, ..]), Some(last)) = (ranges.get(from..), ranges.last()) else {
            return Ok(false);
        };
        let (size, begins, end) = (first.records, first.first, last.end());
        let whole = size * MERGED as u64;
        let of_one_size = parts.iter().all(|range| range.records == size);
        if !of_one_size || end - begins != whole || !begins.is_multiple_of(whole) || !SIZES.contains(&whole) {
            return Ok(false);
        }
        let parts = parts.iter().map(|range| OpenRange::open(self.dir, range));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        let (mut sums, mut unreadable, mut times) = (Hours::default(), 0, Some((i64::MAX, i64::MIN)));
        for OpenRange { range, hours, .. } in &parts {
            for batch in hours.reader()?.build()? {
                sums.merge(&batch.map_err(|error| hours.said(error))?);
            }
            unreadable += range.unreadable;
            times = match (times, range.times) {
                (Some((from, until)), Some((first, last))) => Some((from.min(first), until.max(last))),
                _ => None,
            };
        }
        let (rows, sieve) = match self.copied(&parts, (begins, end))? {
            Some(copied) => copied,
            None => self.written_anew(&parts, (begins, end))?,
        };
        let hours = self.write_hours(&sums, begins, end)?;
        let (sieve, last_bundle) = (Some(sieve), last.last_bundle.clone());
        let merged =
            Range { first: begins, records: whole, unreadable, times, last_bundle, rows, hours, sieve };
        self.manifest.ranges.truncate(from);
        self.manifest.ranges.push(merged);
        self.manifest.write(self.dir)?;
        Ok(true)
    }

    /// The rows of files and their sieve, as they are: where each has whole row groups, and a sieve of whole bytes. `None` where one does not.
    fn copied(
        &self,
        parts: &[OpenRange],
        (begins, end): (u64, u64),
    ) -> Result<Option<(Written, Written)>, ModelError> {
        if !parts.iter().all(|part| file::fills_row_groups(part.range.records)) {
            return Ok(None);
        }
        let Some(bits) = sieve::joined(parts.iter().map(|part| part.sieve.as_deref()))? else {
            return Ok(None);
        };
        let rows = parts.iter().map(|part| &part.rows);
        let rows = file::copied(self.dir, name(begins, end, "records.parquet"), row::schema(), rows)?;
        Ok(Some((rows, file::write(self.dir, name(begins, end, "records.sieve"), &bits)?)))
    }

    /// The rows of files, in fewer row groups, and their sieve.
    fn written_anew(
        &self,
        parts: &[OpenRange],
        (begins, end): (u64, u64),
    ) -> Result<(Written, Written), ModelError> {
        let mut to = FileWriter::create(self.dir, name(begins, end, "records.parquet"), row::schema())?;
        let mut sieve = SieveWriter::default();
        for OpenRange { rows, .. } in parts {
            for batch in rows.reader()?.with_batch_size(BATCH).build()? {
                let batch = batch.map_err(|error| rows.said(error))?;
                sieve.take(&batch)?;
                to.write(&batch)?;
            }
        }
        Ok((to.finish()?, sieve.finish(self.dir, name(begins, end, "records.sieve"))?))
    }
}
