//! A range of records that is sealed in files, open for reading.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::AsArray as _;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::RowSelection;

use crate::ModelError;
use crate::file::Sealed;
use crate::manifest::Range;
use crate::sieve::Sieve;

/// Sealed files of a range.
#[derive(Clone, Debug)]
pub(crate) struct OpenRange {
    pub(crate) range: Range,
    pub(crate) rows: Arc<Sealed>,
    pub(crate) hours: Arc<Sealed>,
    pub(crate) sieve: Option<Arc<Sieve>>,
}

impl OpenRange {
    pub(crate) fn open(dir: &Path, range: &Range) -> Result<Self, ModelError> {
        let open = |written| Sealed::open(dir, written).map(Arc::new);
        let sieve =
            range.sieve.as_ref().map(|written| Sieve::open(dir, written, range.records).map(Arc::new));
        let (rows, hours) = (open(&range.rows)?, open(&range.hours)?);
        Ok(Self { range: range.clone(), rows, hours, sieve: sieve.transpose()? })
    }

    /// The texts of the records at some of its indices, which are sorted.
    pub(crate) fn records(&self, indices: &[u64]) -> Result<Vec<(u64, String)>, ModelError> {
        let at = |index: &u64| usize::try_from(index.saturating_sub(self.range.first)).unwrap_or(usize::MAX);
        let rows = usize::try_from(self.range.records).unwrap_or(usize::MAX);
        let wanted = indices.iter().map(at).filter(|at| *at < rows).map(|at| at..at + 1);
        let reader = self.rows.reader()?;
        let record = ProjectionMask::columns(reader.parquet_schema(), ["record"]);
        let selection = RowSelection::from_consecutive_ranges(wanted, rows);
        let batches = reader.with_projection(record).with_row_selection(selection).build()?;
        let mut texts = Vec::with_capacity(indices.len());
        for batch in batches {
            let batch = batch.map_err(|error| self.rows.said(error))?;
            let column = batch.column_by_name("record").and_then(|column| column.as_string_view_opt());
            texts.extend(column.into_iter().flatten().map(|text| text.unwrap_or_default().to_owned()));
        }
        Ok(indices.iter().copied().zip(texts).collect())
    }
}

/// The range that has a record.
pub(crate) fn range_of(ranges: &[OpenRange], index: u64) -> Option<&OpenRange> {
    let at = ranges.partition_point(|range| range.range.end() <= index);
    ranges.get(at).filter(|range| range.range.first <= index)
}
