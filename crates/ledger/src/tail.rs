//! The end of the log, where the present writer writes.
//!
//! `tests/interleavings` includes this file.

use std::path::PathBuf;
use std::sync::Arc;
use std::task::Waker;

use crate::file::FileError;
use crate::seal::Chain;
use crate::storage::Stored;
use crate::times::Span;

/// A segment that is open to append.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    file: Box<dyn Stored>,
    path: PathBuf,
}

impl SegmentFile {
    pub(crate) fn new(file: Box<dyn Stored>, path: PathBuf) -> Self {
        Self { file, path }
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), FileError> {
        self.file.write(bytes).map_err(FileError::on("write", &self.path))
    }

    pub(crate) fn sync(&self) -> Result<(), FileError> {
        self.file.sync().map_err(FileError::on("fsync", &self.path))
    }
}

/// Where a log that was opened goes on.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) segment: SegmentFile,
    /// Bytes in the segment.
    pub(crate) length: u64,
    /// The times of its records.
    pub(crate) times: Span,
    pub(crate) chain: Chain,
}

impl End {
    /// Says that there are `size` records, and how many of them are signed for, if the log does not say so yet; durably.
    pub(crate) fn say(&mut self, size: u64, signed: u64) -> Result<(), FileError> {
        if self.chain.said() >= signed {
            return Ok(());
        }
        let mut seal = Vec::new();
        let sealed = self.chain.seal(&mut seal, size, signed, self.times);
        sealed.map_err(FileError::on("seal", &self.segment.path))?;
        self.segment.write(&seal)?;
        self.length += seal.len() as u64;
        self.segment.sync()
    }
}

/// The end of the log. Only the present writer writes here.
#[derive(Debug)]
pub(crate) struct Tail {
    /// `None` once nobody may write any more: the log's lock is about to be given away.
    pub(crate) segment: Option<Arc<SegmentFile>>,
    /// Bytes in the segment.
    pub(crate) length: u64,
    /// The times of its records.
    pub(crate) times: Span,
    pub(crate) chain: Chain,
    /// The buffer that swaps places with the queue's.
    pub(crate) batch: Vec<u8>,
    /// Callers to wake once the queue's lock is free. Empty between two acknowledgements; kept for its memory.
    pub(crate) wake: Vec<Waker>,
}

impl Tail {
    pub(crate) fn new(segment: Arc<SegmentFile>, length: u64, times: Span, chain: Chain) -> Self {
        Self { segment: Some(segment), length, times, chain, batch: Vec::new(), wake: Vec::new() }
    }

    /// Writes frames, and a seal behind them that says that there are `end` records, `signed` of them signed for.
    pub(crate) fn write(&mut self, frames: &mut Vec<u8>, end: u64, signed: u64) -> Result<(), FileError> {
        // There is none only after a failure, and then nothing is acknowledged.
        let Some(segment) = &self.segment else { return Ok(()) };
        let sealed = self.chain.seal(frames, end, signed, self.times);
        sealed.map_err(FileError::on("seal", &segment.path))?;
        segment.write(frames)?;
        self.length += frames.len() as u64;
        Ok(())
    }
}
