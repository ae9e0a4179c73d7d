//! How a log is kept.

use std::path::PathBuf;
use std::time::Duration;

/// When a record counts as kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When fsync has returned: survives a power loss.
    Sync,
    /// When the kernel has it. fsync begins [`Config::fsync_interval`] later at the latest, whatever else is being written, or when
    /// the fsync under way has returned. Survives a killed process; a power loss takes at most what was recorded in that interval
    /// and during the fsyncs ([`crate::Ledger::unsynced`]).
    #[default]
    Commit,
}

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct Config {
    /// The log's directory; made if missing.
    pub dir: PathBuf,
    /// The log's name in checkpoints, a URL without scheme. Fixed when the log is made: `None` takes the name it has, and gives a
    /// new log `vidimus.local/` and a random number.
    pub origin: Option<String>,
    /// When a record counts as kept.
    pub durability: Durability,
    /// A segment that reaches this size takes no further record: the next record begins another segment.
    pub segment_bytes: u64,
    /// How long after the write of the first unsynced record fsync begins at the latest.
    pub fsync_interval: Duration,
    /// How often a checkpoint is issued while there is something new.
    pub checkpoint_interval: Duration,
    /// The maximum number of bytes that wait for a slow disk, with 1,024 kept for the end of each call under way. Further decisions
    /// and refusals are not taken; the ends of admitted calls are.
    pub max_pending_bytes: usize,
    /// Whether opening reads every record and tile, not only what it needs to append (about 1 s per million records).
    pub check_all_on_open: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("ledger"),
            origin: None,
            durability: Durability::default(),
            segment_bytes: 64 << 20,
            fsync_interval: Duration::from_millis(5),
            checkpoint_interval: Duration::from_secs(1),
            max_pending_bytes: 64 << 20,
            check_all_on_open: false,
        }
    }
}
