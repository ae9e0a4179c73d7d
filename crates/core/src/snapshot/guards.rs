//! Which guards a decision waits for.

use super::Snapshot;
use std::sync::Arc;

use crate::decision::{Decision, Finding, Outcome, Says};
use crate::guard::{self, Wanted};
use crate::refusal::Code;

impl Snapshot {
    /// The guards by which the policies could be lifted that refuse or hold a call, without those that looked at it already; and those of
    /// policies that are only tried. Of nearly every call there are none. Who has them look decides the call again, with what they came to
    /// ([`crate::call::Ask::guarded`]): until then it is decided as if each had found something.
    pub fn guards_wanted(&self, decision: &Decision<'_>) -> Vec<Wanted> {
        if !self.said.has_guards() {
            return Vec::new();
        }
        if waiting(&decision.finding).next().is_none() {
            return Vec::new();
        }
        // Of a skill and its agent the decision names the policies of one: what lifts these must not lift the other's unseen.
        let halves = self.halves(&decision.call);
        let all = [&decision.finding].into_iter().chain(halves.iter().flatten());
        let guarding = all.flat_map(waiting).filter_map(|policy| Some((policy, self.said.guard_of(policy)?)));
        guard::wanted(guarding, decision.call.ask.guarded)
    }
}

/// The policies that refuse or hold a call, and those that would.
fn waiting(finding: &Finding) -> impl Iterator<Item = &Arc<str>> {
    let binding = match (finding.outcome, finding.code) {
        (Outcome::Deny, Some(Code::ForbiddenByPolicy)) | (Outcome::Hold, _) => &*finding.policies,
        _ => &[],
    };
    let tried = finding.tried.iter().filter(|one| matches!(one.says, Says::Refused | Says::Held));
    binding.iter().chain(tried.map(|one| &one.policy))
}
