//! Which guards a decision waits for.

use super::Snapshot;
use crate::decision::{Decision, Outcome, Says};
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
        let finding = &decision.finding;
        let binding = match (finding.outcome, finding.code) {
            (Outcome::Deny, Some(Code::ForbiddenByPolicy)) | (Outcome::Hold, _) => &*finding.policies,
            _ => &[],
        };
        let tried = finding.tried.iter().filter(|one| matches!(one.says, Says::Refused | Says::Held));
        let policies = binding.iter().chain(tried.map(|one| &one.policy));
        let guarding = policies.filter_map(|policy| Some((policy, self.said.guard_of(policy)?)));
        guard::wanted(guarding, decision.call.ask.guarded)
    }
}
