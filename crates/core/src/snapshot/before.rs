//! What is known of what was refused before a start.

use super::doubt::Doubts;
use super::refusing;
use crate::resource::Rejection;

/// What is known of what was refused before the first snapshot. Where it matters and is not known, everything is refused: see
/// [`super::Snapshot::is_closed`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Before {
    /// It is known.
    #[default]
    Known,
    /// As far as can be told nothing was. That matters where something malformed says that it is a policy, or cannot say what it is.
    Nothing,
    /// Something was, and it is lost. That matters where anything is malformed or in doubt.
    Lost,
}

impl Before {
    /// Whether everything is refused, with what was rejected and is in doubt now.
    pub(super) fn closes(self, rejected: &[Rejection], doubts: &Doubts<'_>) -> bool {
        match self {
            Self::Known => false,
            Self::Nothing => rejected.iter().any(refusing::may_be_a_policy),
            Self::Lost => !rejected.is_empty() || !doubts.is_empty(),
        }
    }
}
