//! How policies stand to an edge, put together from their parts.

use std::sync::Arc;

use super::edge::FAULT;
use crate::reach::Outlook;

impl Outlook {
    /// Of an edge that cannot be evaluated: it denies.
    pub(super) fn fault() -> Self {
        Self { refusals: vec![FAULT.into()], ..Self::default() }
    }

    /// Whether a policy is among them.
    pub(super) fn is_of(&self, policy: &Arc<str>) -> bool {
        let certain = [&self.permits, &self.refusals, &self.holds, &self.changes];
        let conditions = [&self.permits_when, &self.refusals_when, &self.holds_when, &self.changes_when];
        certain.into_iter().flatten().any(|id| id == policy)
            || conditions.into_iter().flatten().any(|condition| condition.policy == *policy)
    }

    pub(super) fn sort(&mut self) {
        for ids in [&mut self.permits, &mut self.refusals, &mut self.holds, &mut self.changes] {
            ids.sort_unstable();
        }
        let Self { permits_when, refusals_when, holds_when, changes_when, .. } = self;
        for conditions in [permits_when, refusals_when, holds_when, changes_when] {
            conditions.sort_unstable();
        }
    }
}
