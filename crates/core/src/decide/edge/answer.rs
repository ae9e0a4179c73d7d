//! What an edge says where its policies are satisfied: which they are, and what they looked at.

use std::sync::Arc;

use super::Residual;
use crate::decide::deciding::Deciding;
use crate::decide::facts::ContextReference;
use crate::decision::{Fact, Finding, Outcome};
use crate::refusal::Code;

/// Policies whose outcome is the same for each call on the edge, with what they looked at.
#[derive(Debug, Default)]
pub(super) struct StaticOutcome {
    /// Sorted.
    pub(super) policies: Arc<[Arc<str>]>,
    /// Sorted by name.
    pub(super) facts: Arc<[Fact]>,
    pub(super) reason: Option<Arc<str>>,
}

impl StaticOutcome {
    pub(super) fn answer(
        &self,
        outcome: Outcome,
        code: Option<Code>,
        met: &[&Residual],
        call: &Deciding<'_>,
    ) -> Finding {
        let reason =
            || self.reason.clone().or_else(|| met.iter().find_map(|residual| residual.reason.clone()));
        let mut finding = Finding {
            outcome,
            code,
            policies: self.policies.clone(),
            closest_permits: Arc::default(),
            facts: self.facts.clone(),
            reason: match code {
                Some(Code::ForbiddenByPolicy | Code::ApprovalRequired | Code::LimitExceeded) => reason(),
                _ => None,
            },
            obligations: Arc::default(),
            limits: Arc::default(),
            asking: Arc::default(),
            tried: Arc::default(),
        };
        if met.is_empty() {
            return finding;
        }
        let mut policies: Vec<Arc<str>> =
            self.policies.iter().chain(met.iter().map(|r| &r.id)).cloned().collect();
        policies.sort_unstable();
        finding.policies = policies.into();
        let references = met.iter().flat_map(|residual| &residual.references);
        finding.facts = with_context(&self.facts, met, references, call);
        finding
    }
}

/// The facts of an edge, with those of the policies `met` and of the context.
pub(super) fn with_context<'m>(
    of_edge: &Arc<[Fact]>,
    met: &[&Residual],
    references: impl Iterator<Item = &'m ContextReference>,
    call: &Deciding<'_>,
) -> Arc<[Fact]> {
    let mut facts: Vec<Fact> = Vec::new();
    facts.extend(met.iter().flat_map(|residual| &residual.facts).cloned());
    facts.extend(references.flat_map(|reference| reference.facts(call)));
    if facts.is_empty() {
        return of_edge.clone();
    }
    facts.extend(of_edge.iter().cloned());
    sorted(facts)
}

pub(super) fn sorted(mut facts: Vec<Fact>) -> Arc<[Fact]> {
    facts.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    facts.dedup_by(|a, b| a.0 == b.0);
    facts.into()
}
