//! Who may answer a call of a model, where several providers may (`spec.failover`, ADR 88).
//!
//! One decision covers each of them: whoever is not permitted, by the same policies and under the same demands as the model that is called, is
//! no candidate, and nobody else is ever tried.

use std::sync::Arc;

use super::{Decision, Finding, Outcome};
use crate::call::{Ask, Call, Target};
use crate::entity::EntityId;
use crate::resource::limit::{Measure, Per};
use crate::resource::{LlmProvider, Principal};
use crate::snapshot::Snapshot;

/// A model that may answer.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Whose it is.
    pub provider: Arc<LlmProvider>,
    /// The model's own name there.
    pub model: Arc<str>,
    /// Its share of the calls.
    pub weight: u16,
}

impl Candidate {
    /// The model's entity.
    pub fn entity(&self) -> EntityId {
        Target::Model { provider: &self.provider, name: &self.model }.entity()
    }
}

impl Snapshot {
    /// The same decision, with all who may answer where it allows the call of a model that others may answer too.
    ///
    /// Not tried is a model that the call would not be allowed of, by itself and without what people approved or lent for the one that is
    /// called; one of which something else would have to be changed, kept or counted; one whose provider does other things with information;
    /// where spending is counted, one that costs more than was reserved; and any other at all for who may reach only so many destinations.
    pub fn with_candidates<'c>(&self, decision: Decision<'c>) -> Decision<'c> {
        let Target::Model { provider, name } = decision.call.ask.target else { return decision };
        let is_allowed = matches!(decision.outcome(), Outcome::Allow | Outcome::AllowWithObligations);
        let Some(failover) = provider.failover.as_ref().filter(|_| is_allowed) else { return decision };
        if reaches_few(&decision.call) || self.takes_a_use(&decision.finding.policies) {
            return decision;
        }
        let mut candidates =
            vec![Candidate { provider: provider.clone(), model: name.into(), weight: failover.weight }];
        for alternative in &failover.to {
            let Some(other) = self.llm_provider(&alternative.provider) else { continue };
            let Some(model) = other.meant(name) else { continue };
            if self.may_answer(&decision, other, &model.name) {
                let (provider, model, weight) = (other.clone(), model.name.clone(), alternative.weight);
                candidates.push(Candidate { provider, model, weight });
            }
        }
        if candidates.len() == 1 {
            candidates.clear();
        }
        Decision { candidates, ..decision }
    }

    /// Whether another model may answer in place of the one that was decided.
    fn may_answer(&self, decision: &Decision<'_>, provider: &Arc<LlmProvider>, name: &str) -> bool {
        let (target, of) = (Target::Model { provider, name }, &decision.call);
        // What people approved is a call of the other one.
        let call = Call { ask: Ask { target, ..of.ask }, approvals: &[], ..*of };
        let is_counted = self.chain_reads().counts
            || decision.finding.limits.iter().any(|limit| limit.of == Measure::Spend);
        if is_counted && call.ask.reserves().1 > of.ask.reserves().1 {
            return false;
        }
        let other = self.authorize(&call);
        other.call.ask.target.labels() == of.ask.target.labels()
            && is_covered(&other.finding, &decision.finding)
            && other.keeps == decision.keeps
            && other.would_refuse == decision.would_refuse
            && !self.takes_a_use(&other.finding.policies)
    }
}

/// Whether what was found of a call demands nothing that was not found of the other as well.
fn is_covered(finding: &Finding, by: &Finding) -> bool {
    matches!(finding.outcome, Outcome::Allow | Outcome::AllowWithObligations)
        && finding.outcome == by.outcome
        && finding.obligations == by.obligations
        && finding.limits == by.limits
        // What is counted for each model apart would be counted for the wrong one.
        && !finding.limits.iter().any(|limit| limit.per.contains(&Per::Model))
}

/// Whether the caller may reach only so many destinations in its chain: each that is tried would be one.
fn reaches_few(call: &Call<'_>) -> bool {
    let Principal::Agent(agent) = call.principal() else { return false };
    agent.delegation.max_fan_out.is_some() && !call.chain().actors.is_empty()
}
