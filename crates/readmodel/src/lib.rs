//! The log's records as a table that is quick to search: Parquet files of what is sealed, rows in memory of what is newer, and DataFusion over
//! both. ADR 50.
//!
//! It is made of the log and can be thrown away. It proves nothing and decides nothing: each row has the index of its record, by which that
//! is found and proven in the log, and its text. What of a file is not what was written is made again from the log.
//!
//! A directory holds one model:
//!
//! | path | what |
//! |---|---|
//! | `manifest` | which files there are, of which records, with checksums; a CRC32C of itself is its last line |
//! | `<first>-<end>.records.parquet` | records as rows, by their index: 4,096, 65,536 or 1,048,576 of them |
//! | `<first>-<end>.records.sieve` | which of these rows, by chunks of 4,096, can have a text |
//! | `<first>-<end>.hours.parquet` | sums of these by hour, by who called and by what was called |
//! | `lock` | held by the process that writes |
//!
//! Any process that can read the log can make one, also beside a running gateway: [`extend`]. [`Model::open`] reads one.

mod build;
mod file;
mod find;
mod hours;
mod manifest;
mod open_range;
mod private;
mod row;
mod several;
mod sieve;
mod sql;
mod stats;
mod table;

use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use datafusion::arrow::array::{AsArray as _, RecordBatch};
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::execution::context::{SessionConfig, SessionContext};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use parquet::errors::ParquetError;
use vidimus_ledger::{FileError, Reading, SearchError};

pub use build::{
    Extended, Extent, SMALLEST, check, extend, extend_by, has_pruned, is_due, rebuild, repair, to_seal,
};
pub use file::DamagedFile;
pub use find::{Candidate, Wanted};
pub use several::Several;
pub use sql::{Answer, Bounds, Column, MOST_BYTES as MOST_ANSWER, tables};
pub use stats::{By, Order, StatsQuestion};

use build::Builder;
use manifest::Manifest;
use open_range::OpenRange;

/// Bytes that the queries of a model hold at most, beside what they read.
const MEMORY: usize = if cfg!(test) { 64 << 20 } else { 512 << 20 };

/// Rows of a batch in memory.
const TAIL_BATCH: usize = 4096;

/// Why a model gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error(transparent)]
    Log(#[from] SearchError),
    #[error("{}: it cannot {what}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    /// It can be made again from the log.
    #[error(transparent)]
    Damaged(#[from] DamagedFile),
    #[error("record {index} is signed for and not in the log")]
    Short { index: u64 },
    #[error(
        "the records before {index} are not those that were signed for; `vidimus audit verify` tells more"
    )]
    Altered { index: u64 },
    #[error("record {index} is no text, so it is in no table")]
    NotText { index: u64 },
    /// Nothing but reading is answered.
    #[error("only SELECT and EXPLAIN are answered: the record is not changed, and no other file is read")]
    NotRead,
    #[error("it took longer than {} s, and was ended; ask for less, or for a shorter time", after.as_secs())]
    TooLong { after: Duration },
    #[error("{0}")]
    Query(String),
}

impl ModelError {
    fn io<'p>(what: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> Self + use<'p> {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }

    /// What is wrong with a query.
    #[expect(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
    fn query(error: DataFusionError) -> Self {
        Self::Query(error.strip_backtrace())
    }

    /// What went wrong while a query was answered.
    fn of_query(error: DataFusionError) -> Self {
        match damaged(&error) {
            Some(damaged) => Self::Damaged(damaged.clone()),
            None => Self::query(error),
        }
    }

    /// The file that is not what was written, where that is what is wrong.
    pub fn damaged(&self) -> Option<&DamagedFile> {
        match self {
            Self::Damaged(damaged) => Some(damaged),
            _ => None,
        }
    }
}

/// The damaged file that is among an error's causes.
fn damaged<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e DamagedFile> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(damaged) = error.downcast_ref() {
            return Some(damaged);
        }
        // Theirs give what they wrap by no other way.
        let inner = match (error.downcast_ref(), error.downcast_ref(), error.downcast_ref()) {
            (Some(ParquetError::External(inner)), ..) | (_, Some(DataFusionError::External(inner)), _) => {
                Some(&**inner as &(dyn std::error::Error + 'static))
            }
            (_, _, Some(ArrowError::ExternalError(inner))) => Some(&**inner as _),
            _ => error.downcast_ref().and_then(io::Error::get_ref).map(|inner| inner as _),
        };
        cause = inner.or_else(|| error.source());
    }
    None
}

impl From<FileError> for ModelError {
    fn from(error: FileError) -> Self {
        Self::Log(error.into())
    }
}

impl From<ParquetError> for ModelError {
    fn from(error: ParquetError) -> Self {
        damaged(&error).cloned().map_or_else(|| Self::Query(error.to_string()), Self::Damaged)
    }
}

impl From<ArrowError> for ModelError {
    fn from(error: ArrowError) -> Self {
        damaged(&error).cloned().map_or_else(|| Self::Query(error.to_string()), Self::Damaged)
    }
}

/// Sealed files, and what of the log is newer.
///
/// It has threads of its own and waits for them, so it is not for asynchronous code.
pub struct Model {
    builder: Builder,
    tail: Tail,
    log: PathBuf,
    reading: Reading,
    session: SessionContext,
    runtime: tokio::runtime::Runtime,
}

/// Rows in memory.
#[derive(Debug, Default)]
struct Tail {
    batches: Vec<RecordBatch>,
    first: u64,
    next: u64,
}

impl Tail {
    fn text(&self, index: u64) -> Option<String> {
        let mut at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        let batch = self.batches.iter().find(|batch| match at.checked_sub(batch.num_rows()) {
            Some(behind) => {
                at = behind;
                false
            }
            None => true,
        })?;
        Some(batch.column_by_name("record")?.as_string_view_opt()?.value(at).to_owned())
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("ranges", &self.builder.ranges.len())
            .field("tail", &self.tail.next)
            .finish()
    }
}

impl Model {
    /// The model in `dir` of the log in `log`; `None` where there is none, one of another log or of an older copy of this one, or one that has
    /// what was pruned.
    ///
    /// What is newer than its files has not been read yet: [`Model::refresh`].
    ///
    /// # Errors
    /// See [`ModelError`].
    pub fn open(dir: &Path, log: &Path) -> Result<Option<Self>, ModelError> {
        let front = build::front(log)?;
        // What has records that were pruned since is not shown before they are taken out of it.
        let Some(manifest) = Manifest::read(dir)?.filter(|manifest| manifest.first == front) else {
            return Ok(None);
        };
        if !build::is_of(&manifest, log)? {
            return Ok(None);
        }
        // Of what is sealed the log is not read again; that nothing of it is gone is seen by its files.
        vidimus_ledger::has_no_gap(log)?;
        let ranges = manifest.ranges.iter().map(|range| OpenRange::open(dir, range));
        Ok(Some(Self::new(ranges.collect::<Result<_, _>>()?, manifest.end(), log)?))
    }

    /// Without files: the records from `index` on, in memory. Effects have their decision also where that came before, and was not pruned.
    ///
    /// # Errors
    /// See [`ModelError`].
    pub fn in_memory(log: &Path, index: u64) -> Result<Self, ModelError> {
        Self::new(Vec::new(), index.max(build::front(log)?), log)
    }

    fn new(ranges: Vec<OpenRange>, next: u64, log: &Path) -> Result<Self, ModelError> {
        Ok(Self {
            builder: Builder::new(ranges, log),
            tail: Tail { batches: Vec::new(), first: next, next },
            log: log.to_owned(),
            reading: vidimus_ledger::read_from(log, next)?,
            session: session()?,
            runtime: tokio::runtime::Builder::new_multi_thread()
                .enable_time()
                .build()
                .map_err(ModelError::io("start threads", Path::new("vidimus")))?,
        })
    }

    /// How many records are sealed, and how many can be searched.
    pub fn extent(&self) -> (u64, u64) {
        (self.tail.first, self.tail.next)
    }

    /// The index of the first record that can be searched.
    pub(crate) fn begins(&self) -> u64 {
        self.builder.ranges.first().map_or(self.tail.first, |range| range.range.first)
    }

    /// How many records are signed for, and neither sealed nor read.
    pub fn behind(&self) -> u64 {
        self.reading.watermark().signed.saturating_sub(self.tail.next)
    }

    /// Reads what the log has by now; how many records that were.
    ///
    /// # Errors
    /// See [`ModelError`]; also where the log ends before what is signed for. What was read stays.
    pub fn refresh(&mut self) -> Result<u64, ModelError> {
        // Before it is read: what is signed for by now is there.
        let signed = vidimus_ledger::signed_for(&self.log)?;
        let before = self.tail.next;
        while let Some(hit) = self.reading.next() {
            let hit = hit?;
            self.builder.take(&hit)?;
            if self.builder.rows.len() >= TAIL_BATCH {
                self.keep()?;
            }
        }
        self.keep()?;
        let records = self.tail.next;
        if records < signed {
            return Err(SearchError::Shorter { records, signed }.into());
        }
        Ok(records - before)
    }

    /// Rows so far become a batch.
    fn keep(&mut self) -> Result<(), ModelError> {
        let rows = self.builder.rows.len();
        if rows > 0 {
            self.tail.batches.push(self.builder.rows.finish()?);
            self.tail.next += rows as u64;
        }
        Ok(())
    }

    /// Forgets rows in memory of records before `index`, for who only asks for what comes.
    pub fn forget_before(&mut self, index: u64) {
        while let Some(batch) = self.tail.batches.first() {
            let end = self.tail.first + batch.num_rows() as u64;
            if end > index {
                break;
            }
            self.tail.first = end;
            self.tail.batches.remove(0);
        }
    }

    /// Carries out a query of our own.
    fn run<T>(&self, query: impl Future<Output = Result<T, DataFusionError>>) -> Result<T, ModelError> {
        self.runtime.block_on(query).map_err(ModelError::of_query)
    }
}

/// What queries are planned and carried out with: a pool of memory of its own, and no disk.
fn session() -> Result<SessionContext, ModelError> {
    let mut config =
        SessionConfig::new().with_information_schema(false).with_create_default_catalog_and_schema(true);
    let options = config.options_mut();
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = true;
    options.execution.time_zone = Some("UTC".to_owned());
    // Nothing is written anywhere, not even what does not fit into memory.
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let runtime = RuntimeEnvBuilder::new().with_disk_manager_builder(disk).with_memory_limit(MEMORY, 1.0);
    Ok(SessionContext::new_with_config_rt(config, runtime.build_arc().map_err(ModelError::query)?))
}

/// The directory of a model in a gateway's data directory.
pub fn directory(data: &Path) -> PathBuf {
    data.join("index")
}

#[cfg(test)]
mod tests;
