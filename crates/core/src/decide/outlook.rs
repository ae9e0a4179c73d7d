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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reach::{Answered, Condition};

    #[test]
    fn an_edge_that_cannot_be_evaluated_denies() {
        let fault = Outlook { permits: vec!["a/p".into()], ..Outlook::fault() };
        assert_eq!(
            (fault.refusals.as_slice(), fault.answered()),
            ([FAULT.into()].as_slice(), Answered::Never)
        );
    }

    /// Edges are told apart by what is said of them, not by the order in which it was found.
    #[test]
    fn what_is_said_is_said_in_one_order() {
        let of = |ids: [&str; 2]| {
            let ids: Vec<Arc<str>> = ids.map(Arc::from).to_vec();
            let when = |policy: &Arc<str>| Condition {
                policy: policy.clone(),
                when: "context.chain.cycle".into(),
                reads: Vec::new(),
                certain: true,
                unless_approved: false,
                window: None,
            };
            let conditions: Vec<Condition> = ids.iter().map(when).collect();
            Outlook {
                permits: ids.clone(),
                refusals: ids.clone(),
                holds: ids.clone(),
                changes: ids,
                permits_when: conditions.clone(),
                refusals_when: conditions.clone(),
                holds_when: conditions.clone(),
                changes_when: conditions,
                ..Outlook::default()
            }
        };
        let mut outlook = of(["a/q", "a/p"]);
        outlook.sort();
        assert_eq!(outlook, of(["a/p", "a/q"]));
    }
}
