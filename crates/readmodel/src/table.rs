//! Sealed files and rows in memory as one table for queries.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use parquet::arrow::arrow_reader::RowSelection;

use crate::file::{CheckedReaders, DamagedFile, Sealed};
use crate::sieve::Sieve;

/// A file of a table.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    file: Arc<Sealed>,
    /// How many rows it has, where that is known.
    rows: Option<u64>,
    sieve: Option<Arc<Sieve>>,
    /// The rows that are read, where these are not all.
    selected: Option<RowSelection>,
}

impl Part {
    pub(crate) fn new(file: Arc<Sealed>, rows: Option<u64>, sieve: Option<Arc<Sieve>>) -> Self {
        Self { file, rows, sieve, selected: None }
    }
}

/// A table: files, oldest first, and behind them what is in memory.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) schema: SchemaRef,
    pub(crate) files: Vec<Part>,
    pub(crate) batches: Vec<RecordBatch>,
}

impl Table {
    /// Leaves rows out that have not this text, as far as sieves tell.
    pub(crate) fn sift(&mut self, text: &str) -> Result<(), DamagedFile> {
        for part in &mut self.files {
            if let Some(sieve) = &part.sieve {
                part.selected = sieve.select(text)?;
            }
        }
        self.files.retain(|part| part.selected.as_ref().is_none_or(RowSelection::selects_any));
        Ok(())
    }

    fn sealed(&self, state: &dyn Session, projection: Option<&Vec<usize>>) -> Result<Arc<dyn ExecutionPlan>> {
        let source = ParquetSource::new(self.schema.clone())
            .with_parquet_file_reader_factory(Arc::new(CheckedReaders))
            .with_pushdown_filters(true)
            .with_reorder_filters(true)
            .with_enable_page_index(true);
        let files = self.files.iter().map(|Part { file, rows, selected, .. }| {
            let mut statistics = Statistics::new_unknown(&self.schema);
            let rows = rows.and_then(|rows| usize::try_from(rows).ok());
            statistics.num_rows = match (rows, selected) {
                (_, Some(selected)) => Precision::Inexact(selected.row_count()),
                (Some(rows), None) => Precision::Exact(rows),
                (None, None) => Precision::Absent,
            };
            let file = file.partitioned().with_statistics(Arc::new(statistics));
            match selected {
                Some(selected) => file.with_extension(ParquetRowSelection::new(selected.clone())),
                None => file,
            }
        });
        let files: Vec<_> = files.collect();
        // As many groups as run at once, each of neighbours.
        let share = files.len().div_ceil(state.config().target_partitions().max(1)).max(1);
        let groups = files.chunks(share).map(|files| FileGroup::new(files.to_vec())).collect();
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(source))
            .with_file_groups(groups)
            .with_projection_indices(projection.cloned())?
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

#[async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut plans: Vec<Arc<dyn ExecutionPlan>> = Vec::with_capacity(2);
        if !self.files.is_empty() {
            plans.push(self.sealed(state, projection)?);
        }
        if !self.batches.is_empty() || plans.is_empty() {
            let batches = std::slice::from_ref(&self.batches);
            plans.push(MemorySourceConfig::try_new_exec(batches, self.schema.clone(), projection.cloned())?);
        }
        UnionExec::try_new(plans)
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // They are pushed into the files by the optimizer, which keeps them for what is in memory.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}
