//! Namespaces that observe until a date: what no policy permits passes there, and its record says that it would be refused (ADR 62).
//!
//! What passes is said by permits of policies with `mode: rollout`, each of its own namespace and with an end. They are asked only of what no
//! other policy permits, so they open nothing that a forbid, a limit or the lack of an approval closes.

use std::sync::Arc;

use super::Snapshot;
use crate::call::Call;
use crate::decide::Policies;
use crate::decide::statement::Statement;
use crate::decision::{Finding, Outcome};
use crate::refusal::Code;

impl Snapshot {
    /// Takes the statements in force into use, apart by whether they decide or only let pass. Those that `last`, the snapshot before this one, had
    /// and this one has not are `gone`.
    pub(super) fn rule_by(&mut self, last: &Self, [gone, new]: [Vec<Arc<Statement>>; 2]) {
        self.rollout = self.rolled_out(last, [&gone, &new]);
        let deciding = |some: Vec<Arc<Statement>>| -> Vec<Arc<Statement>> {
            some.into_iter().filter(|one| !one.lets_pass).collect()
        };
        let all = || self.statements_in_force().cloned().collect();
        self.policies = last.policies.with(&deciding(gone), &deciding(new), all);
    }

    /// This snapshot with what lets pass too, where anything does.
    pub(super) fn rolled_out(&self, last: &Self, [gone, new]: [&[Arc<Statement>]; 2]) -> Option<Box<Self>> {
        if !self.said.lets_pass() {
            return None;
        }
        let all = || -> Vec<Arc<Statement>> { self.statements().cloned().collect() };
        let policies = match &last.rollout {
            Some(rollout) => rollout.policies.with(gone, new, all),
            None => Policies::default().with(&[], &all(), all),
        };
        Some(Box::new(Self {
            policies,
            world: self.world.clone(),
            named: self.named.clone(),
            standing: self.standing.clone(),
            ..Self::default()
        }))
    }

    /// What is found of a call, or where no policy permits it, what is found of it while its namespace observes, and whether that is so.
    pub(crate) fn or_passed(&self, call: &Call<'_>, found: Finding) -> (Finding, bool) {
        let unpermitted = found.code == Some(Code::NoPermit);
        let Some(rollout) = self.rollout.as_ref().filter(|_| unpermitted) else { return (found, false) };
        let passed = rollout.finding(call);
        match passed.outcome {
            Outcome::Deny => (found, false),
            // What asks people does so whoever permits it.
            Outcome::Allow | Outcome::AllowWithObligations | Outcome::Hold => (passed.passed(&found), true),
        }
    }

    /// Whether something of the rollout says yes, where there is one.
    pub(super) fn would_pass(&self, asks: impl FnOnce(&Self) -> bool) -> bool {
        self.rollout.as_deref().is_some_and(asks)
    }
}
