//! Why a record was not kept.

use std::sync::Arc;

use crate::frame::MAX_RECORD;

/// Why a record was not kept. Whatever it was to be the record of must not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// A write or fsync failed. The ledger takes nothing more until it is opened again.
    #[error("the ledger has failed: {reason}")]
    Failed { reason: Arc<str> },
    /// [`Ledger::close`] was called.
    #[error("the ledger has been closed")]
    Finished,
    /// This record only.
    #[error("the record has {bytes} bytes; at most {MAX_RECORD} are kept")]
    TooLarge { bytes: usize },
    /// This record only: the disk does not keep up, or too many calls are under way whose ends have to be recorded. Never the end of
    /// an admitted call.
    #[error("{bytes} bytes already wait for the disk, or are kept for the ends of calls under way")]
    Behind { bytes: usize },
    /// This record only: it has no JSON.
    #[error("the record cannot be serialized: {reason}")]
    Unserializable { reason: String },
}
