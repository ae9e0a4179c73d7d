//! What happened, from the record. Reads only; works beside a running gateway and without one.
//!
//! Damage ends no reading: what can be read is, and what cannot is told with it.

mod assessment;
mod evidence;
mod found;
mod joined;
mod judged;
pub mod logs;
mod lookup;
mod search;
mod show;

use vidimus_core::record::Unreadable;
use vidimus_ledger::SearchError;

pub use assessment::{
    AssessedLog, AssessedPart, Assessment, AssessmentError, AssessmentQuestion, Control, Counts, Evidence,
    EvidenceTogether, Framework, Gaps, MOST_SAMPLES, Overlap, Sample, Together, assess, event, findings,
    frameworks, html, oscal, overview,
};
pub use evidence::{
    EvidenceAsked, EvidenceCosigned, EvidenceFinding, EvidenceReport, EvidenceVerified, ExportAnswer,
    ExportError, ExportQuestion, Exported, VerifyOptions, export, export_by, verify,
};
pub use found::{Asked, Found};
pub use judged::Judge;
pub use lookup::{Fitting, Hits, InLog, Lookup};
pub use search::{Kind, Outcome, SearchQuestion, in_order, search, unknown_names};
pub(crate) use show::Gathered;
pub use show::{ShowQuestion, ShownCall, ShownRecord, show, show_by};

/// What of a log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    #[error(transparent)]
    Log(#[from] SearchError),
    #[error("record {index} cannot be read: {error}")]
    Record {
        /// Its index in the log.
        index: u64,
        error: Unreadable,
    },
}

impl Damage {
    /// Whether it is none: whoever reads may not read it.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Log(error) if error.is_denied())
    }
}

/// Why nothing is searched.
#[derive(Debug, thiserror::Error)]
pub enum Unsearched {
    #[error(transparent)]
    Misasked(#[from] crate::Misasked),
    #[error(transparent)]
    Log(#[from] SearchError),
}
