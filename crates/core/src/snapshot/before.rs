//! What is known of what was refused before a start.

use super::costly::Over;
use super::doubt::Doubts;
use super::refusing::{self, Refusing};
use crate::resource::Rejection;

/// What is known of what was refused before the first snapshot. Where it matters and is not known, everything is refused: see
/// [`super::Snapshot::is_closed`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Before {
    /// It is known.
    #[default]
    Known,
    /// As far as can be told nothing was. That matters where something malformed says that it is a policy, or cannot say what it is. A policy that is too
    /// costly refuses what its forbids name in their heads.
    Nothing,
    /// Something was, and it is lost. That matters where anything is malformed or in doubt.
    Lost,
}

impl Before {
    /// What refuses in place of the policies that are `over` a bound; `None` where that is not known, and all is refused. What is lost may have been
    /// anything. Where nothing was before, it is told from their texts.
    pub(super) fn stand_ins(self, over: &[Over]) -> Option<Vec<Refusing>> {
        match self {
            Self::Known => Some(Vec::new()),
            Self::Nothing => {
                let all = over.iter().map(|one| one.costly.stand_in().ok());
                let mut all: Vec<Refusing> = all.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect();
                all.sort_by(Refusing::in_order);
                Some(all)
            }
            Self::Lost => over.is_empty().then(Vec::new),
        }
    }

    /// Whether everything is refused, with what was rejected and is in doubt now.
    pub(super) fn closes(self, rejected: &[Rejection], doubts: &Doubts<'_>) -> bool {
        match self {
            Self::Known => false,
            Self::Nothing => rejected.iter().any(refusing::may_be_a_policy),
            Self::Lost => !rejected.is_empty() || !doubts.is_empty(),
        }
    }
}
