//! Sealed files: Parquet that is written once, and read only where it is still what was written.
//!
//! The manifest has a CRC32C of each block of a file, and whatever is read is held against them first: damage is found where it matters and when
//! it matters, without reading gigabytes before the first answer.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::{Buf as _, Bytes};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::bloom_filter::Sbbf;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};

use crate::{ModelError, private};

/// Bytes that one checksum is of.
const BLOCK: usize = 64 * 1024;

/// Rows of a row group, which is read or passed over as a whole.
const ROW_GROUP: usize = if cfg!(test) { 2048 } else { 65_536 };

/// A file, as the manifest has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    /// In the model's directory.
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// CRC32C of each block, 4 bytes little-endian each, in base64.
    pub(crate) sums: String,
}

/// Writes a Parquet file under a name that it has only when all of it is on disk.
pub(crate) struct FileWriter {
    to: ArrowWriter<Summing>,
    name: String,
}

impl FileWriter {
    pub(crate) fn create(dir: &Path, name: String, schema: SchemaRef) -> Result<Self, ModelError> {
        let to = ArrowWriter::try_new(Summing::create(dir, &name)?, schema, Some(properties()))?;
        Ok(Self { to, name })
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), ModelError> {
        Ok(self.to.write(batch)?)
    }

    /// Everything is on disk, under its name.
    pub(crate) fn finish(self) -> Result<Written, ModelError> {
        self.to.into_inner()?.finish(self.name)
    }
}

/// Writes a file of these bytes, as [`FileWriter`] does.
pub(crate) fn write(dir: &Path, name: String, bytes: &[u8]) -> Result<Written, ModelError> {
    let mut to = Summing::create(dir, &name)?;
    to.write_all(bytes).map_err(ModelError::io("write", &to.temporary))?;
    to.finish(name)
}

/// Whether so many rows are in row groups that have no room left, as they are written.
pub(crate) fn fills_row_groups(rows: u64) -> bool {
    rows.is_multiple_of(ROW_GROUP as u64)
}

/// Writes a file of the rows of others, in their order: their row groups as they are, without a look at a row.
pub(crate) fn copied<'a>(
    dir: &Path,
    name: String,
    schema: SchemaRef,
    parts: impl Iterator<Item = &'a Arc<Sealed>>,
) -> Result<Written, ModelError> {
    let to = ArrowWriter::try_new(Summing::create(dir, &name)?, schema, Some(properties()))?;
    let (mut to, _) = to.into_serialized_writer()?;
    for part in parts {
        copy(part, &mut to).map_err(|error| part.said(error.into()))?;
    }
    to.into_inner()?.finish(name)
}

/// Copies all row groups of one.
fn copy(part: &Arc<Sealed>, to: &mut SerializedFileWriter<Summing>) -> Result<(), ParquetError> {
    let (metadata, from) = (part.metadata()?, Chunks(part.clone()));
    let (columns, offsets) = (metadata.column_index(), metadata.offset_index());
    for (at, group) in metadata.row_groups().iter().enumerate() {
        let columns = columns.and_then(|groups| groups.get(at));
        let offsets = offsets.and_then(|groups| groups.get(at));
        let mut to = to.next_row_group()?;
        for (at, column) in group.columns().iter().enumerate() {
            let chunk = ColumnCloseResult {
                bytes_written: u64::try_from(column.compressed_size()).unwrap_or_default(),
                rows_written: u64::try_from(group.num_rows()).unwrap_or_default(),
                metadata: column.clone(),
                bloom_filter: Sbbf::read_from_column_chunk(column, &from)?,
                column_index: columns.and_then(|columns| columns.get(at)).cloned(),
                offset_index: offsets.and_then(|offsets| offsets.get(at)).cloned(),
            };
            to.append_column(&from, chunk)?;
        }
        to.close()?;
    }
    Ok(())
}

fn properties() -> WriterProperties {
    let column = |name: &str| ColumnPath::from(name);
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).unwrap_or_default()))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by("vidimus".to_owned());
    // Pages of what is looked up by its index are small, so that one row costs little.
    for name in ["index", "time"] {
        properties = properties
            .set_column_statistics_enabled(column(name), EnabledStatistics::Page)
            .set_column_dictionary_enabled(column(name), false)
            .set_column_encoding(column(name), Encoding::DELTA_BINARY_PACKED);
    }
    for name in ["id", "record", "trace", "transaction"] {
        properties = properties
            .set_column_dictionary_enabled(column(name), false)
            .set_column_statistics_enabled(column(name), EnabledStatistics::None);
    }
    for name in ["id", "trace", "transaction"] {
        properties = properties.set_column_bloom_filter_enabled(column(name), true);
    }
    properties.set_column_data_page_size_limit(column("record"), 128 * 1024).build()
}

/// A file that counts the checksums of what is written to it.
struct Summing {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    sums: Vec<u32>,
    sum: u32,
    /// Bytes of the present block.
    filled: usize,
    bytes: u64,
}

impl Summing {
    fn create(dir: &Path, name: &str) -> Result<Self, ModelError> {
        let temporary = dir.join(format!("{name}.tmp"));
        let file = private::create(&temporary).map_err(ModelError::io("create", &temporary))?;
        let path = dir.join(name);
        Ok(Self { file, temporary, path, sums: Vec::new(), sum: 0, filled: 0, bytes: 0 })
    }

    fn finish(mut self, name: String) -> Result<Written, ModelError> {
        if self.filled > 0 {
            self.sums.push(self.sum);
        }
        self.file.sync_all().map_err(ModelError::io("sync", &self.temporary))?;
        fs::rename(&self.temporary, &self.path).map_err(ModelError::io("rename", &self.temporary))?;
        let sums: Vec<u8> = self.sums.into_iter().flat_map(u32::to_le_bytes).collect();
        Ok(Written { name, bytes: self.bytes, sums: data_encoding::BASE64.encode(&sums) })
    }
}

impl Write for Summing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        let mut rest = bytes.get(..written).unwrap_or_default();
        self.bytes += written as u64;
        while !rest.is_empty() {
            let (part, behind) = rest.split_at(rest.len().min(BLOCK - self.filled));
            self.sum = crc32c::crc32c_append(self.sum, part);
            self.filled += part.len();
            if self.filled == BLOCK {
                self.sums.push(std::mem::take(&mut self.sum));
                self.filled = 0;
            }
            rest = behind;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// That a file is not what was written.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} is damaged: {why}", path.display())]
pub struct DamagedFile {
    /// Which one.
    pub path: PathBuf,
    /// What is wrong.
    pub why: String,
}

/// A sealed file, open. It stays readable where another process takes another in its place.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) path: PathBuf,
    file: File,
    bytes: u64,
    sums: Vec<u32>,
    metadata: OnceLock<Arc<ParquetMetaData>>,
    /// What was found to be wrong with it.
    damage: OnceLock<DamagedFile>,
}

impl Sealed {
    pub(crate) fn open(dir: &Path, written: &Written) -> Result<Self, ModelError> {
        let path = dir.join(&written.name);
        let damaged = |why: &str| DamagedFile { path: path.clone(), why: why.to_owned() };
        let file = match private::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged("it is missing").into());
            }
            Err(error) if private::is_no_file(&error) => return Err(damaged("it is no regular file").into()),
            file => file.map_err(ModelError::io("open", &path))?,
        };
        let length = file.metadata().map_err(ModelError::io("read", &path))?.len();
        let sums = data_encoding::BASE64.decode(written.sums.as_bytes()).unwrap_or_default();
        let sums: Vec<u32> = sums.as_chunks().0.iter().map(|sum| u32::from_le_bytes(*sum)).collect();
        let blocks = usize::try_from(written.bytes.div_ceil(BLOCK as u64)).ok();
        if length != written.bytes || blocks != Some(sums.len()) {
            return Err(damaged("it has another length than was written").into());
        }
        Ok(Self { path, file, bytes: length, sums, metadata: OnceLock::new(), damage: OnceLock::new() })
    }

    /// What a reader of it said, which keeps of an error of ours the text alone.
    pub(crate) fn said(&self, error: ArrowError) -> ModelError {
        self.damage.get().cloned().map_or_else(|| error.into(), ModelError::Damaged)
    }

    /// Bytes of the file, which are those that were written.
    pub(crate) fn read(&self, range: Range<u64>) -> Result<Bytes, DamagedFile> {
        self.read_checked(range).inspect_err(|damaged| {
            let _ = self.damage.set(damaged.clone());
        })
    }

    fn read_checked(&self, range: Range<u64>) -> Result<Bytes, DamagedFile> {
        let damaged = |why: String| DamagedFile { path: self.path.clone(), why };
        let block = BLOCK as u64;
        let (start, end) = (range.start / block * block, range.end.div_ceil(block).saturating_mul(block));
        let end = end.min(self.bytes);
        if range.start > range.end || range.end > self.bytes {
            return Err(damaged(format!("it says of itself that it has bytes at {range:?}")));
        }
        let length = usize::try_from(end - start).map_err(|_| damaged("a part is too large".to_owned()))?;
        let mut bytes = vec![0; length];
        let read = self.file.read_exact_at(&mut bytes, start);
        read.map_err(|error| damaged(format!("it cannot be read at byte {start}: {error}")))?;
        let first = usize::try_from(start / block).unwrap_or(usize::MAX);
        for (part, at) in bytes.chunks(BLOCK).zip(first..) {
            if self.sums.get(at) != Some(&crc32c::crc32c(part)) {
                return Err(damaged(format!("block {at} has other bytes than were written")));
            }
        }
        let mut bytes = Bytes::from(bytes);
        bytes.advance(usize::try_from(range.start - start).unwrap_or(usize::MAX).min(length));
        bytes.truncate(usize::try_from(range.end - range.start).unwrap_or(usize::MAX));
        Ok(bytes)
    }

    /// As [`Self::read`], neighbours at once: a block that has some of several pages is read and checked once.
    fn read_all(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, DamagedFile> {
        let mut all = Vec::with_capacity(ranges.len());
        for run in ranges.chunk_by(|one, next| one.end == next.start) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let mut bytes = self.read(first.start..last.end)?;
            all.extend(run.iter().map(|range| {
                let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
                bytes.split_to(length.min(bytes.len()))
            }));
        }
        Ok(all)
    }

    /// Its footer and page index.
    pub(crate) fn metadata(self: &Arc<Self>) -> Result<Arc<ParquetMetaData>, ParquetError> {
        if let Some(known) = self.metadata.get() {
            return Ok(known.clone());
        }
        let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = Arc::new(reader.parse_and_finish(&Chunks(self.clone()))?);
        Ok(self.metadata.get_or_init(|| metadata).clone())
    }

    /// To read rows of it, beside any query.
    pub(crate) fn reader(self: &Arc<Self>) -> Result<ParquetRecordBatchReaderBuilder<Chunks>, ParquetError> {
        let metadata = ArrowReaderMetadata::try_new(self.metadata()?, ArrowReaderOptions::new())?;
        Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(Chunks(self.clone()), metadata))
    }

    /// As a query reads it, through [`CheckedReaders`].
    pub(crate) fn partitioned(self: &Arc<Self>) -> PartitionedFile {
        PartitionedFile::new(self.path.display().to_string(), self.bytes).with_extension(self.clone())
    }

    /// Whether all of it is what was written.
    pub(crate) fn check(&self) -> Result<(), DamagedFile> {
        let step = BLOCK as u64 * 64;
        let mut at = 0;
        while at < self.bytes {
            let end = (at + step).min(self.bytes);
            self.read(at..end)?;
            at = end;
        }
        Ok(())
    }
}

fn external(damaged: DamagedFile) -> ParquetError {
    ParquetError::External(Box::new(damaged))
}

/// A sealed file, for who reads it in chunks.
pub(crate) struct Chunks(Arc<Sealed>);

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.bytes
    }
}

impl ChunkReader for Chunks {
    type T = From;

    fn get_read(&self, start: u64) -> parquet::errors::Result<From> {
        Ok(From { file: self.0.clone(), at: start, ready: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.0.read(start..start.saturating_add(length as u64)).map_err(external)
    }
}

/// A sealed file from some byte on.
pub(crate) struct From {
    file: Arc<Sealed>,
    at: u64,
    ready: Bytes,
}

impl Read for From {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.ready.is_empty() {
            let end = (self.at + BLOCK as u64).min(self.file.bytes);
            self.ready = self.file.read(self.at.min(end)..end).map_err(io::Error::other)?;
            self.at = end;
        }
        let length = self.ready.len().min(to.len());
        self.ready.split_to(length).copy_to_slice(to.get_mut(..length).unwrap_or_default());
        Ok(length)
    }
}

/// Reads sealed files for queries, and nothing else.
#[derive(Debug)]
pub(crate) struct CheckedReaders;

impl ParquetFileReaderFactory for CheckedReaders {
    fn create_reader(
        &self,
        _partition: usize,
        file: PartitionedFile,
        _hint: Option<usize>,
        _metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>, DataFusionError> {
        let Some(sealed) = file.extension::<Arc<Sealed>>() else {
            return Err(DataFusionError::Plan("only sealed files of the read model are read".to_owned()));
        };
        Ok(Box::new(Reading(sealed.clone())))
    }
}

struct Reading(Arc<Sealed>);

impl AsyncFileReader for Reading {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        // Local, and mostly in memory: waiting for it elsewhere would cost more.
        std::future::ready(self.0.read(range).map_err(external)).boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        std::future::ready(self.0.read_all(&ranges).map_err(external)).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        std::future::ready(self.0.metadata()).boxed()
    }
}
