//! Who may answer a call of a model, where several providers may (`spec.failover`, ADR 88).
//!
//! One decision covers each of them: whoever is not permitted, by the same policies and under the same demands as the model that is called, is
//! no candidate, and nobody else is ever tried.

use std::sync::Arc;

use super::{Decision, Finding, Outcome, PassedOver, Why};
use crate::call::{Action, Ask, Call, Target};
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
    /// Why is said of each.
    pub fn with_candidates<'c>(&self, decision: Decision<'c>) -> Decision<'c> {
        let Target::Model { provider, name } = decision.call.ask.target else { return decision };
        let is_allowed = matches!(decision.outcome(), Outcome::Allow | Outcome::AllowWithObligations);
        let Some(failover) = provider.failover.as_ref().filter(|_| is_allowed) else { return decision };
        let none_may = if reaches_few(&decision.call) {
            Some(Why::FewDestinations)
        } else if self.takes_a_use(&decision.finding.policies) {
            Some(Why::Grant)
        } else {
            None
        };
        let mut candidates =
            vec![Candidate { provider: provider.clone(), model: name.into(), weight: failover.weight }];
        let mut passed_over = Vec::new();
        for alternative in &failover.to {
            match self.answers((&decision, none_may.as_ref()), &alternative.provider, name) {
                Ok((provider, model)) => {
                    candidates.push(Candidate { provider, model, weight: alternative.weight });
                }
                Err(why) => passed_over.push(PassedOver { provider: alternative.provider.clone(), why }),
            }
        }
        if candidates.len() == 1 {
            candidates.clear();
        }
        Decision { candidates, passed_over, ..decision }
    }

    /// Whether a listing of a provider's models would show some to the caller: whoever may call none is not told which there are.
    pub fn shows_models(&self, of: &Call<'_>, provider: &Arc<LlmProvider>) -> bool {
        provider.models.iter().any(|model| {
            let target = Target::Model { provider, name: &model.name };
            let ask = Ask::about(of.ask.method, Action::CallModel, target);
            self.could_allow(&Call { ask, approvals: &[], ..*of })
        })
    }

    /// The provider of this name and its model, where that may answer in place of the one that was decided, of which `name` is the name; `none_may` is why
    /// no other one may, whoever it is.
    fn answers(
        &self,
        (decision, none_may): (&Decision<'_>, Option<&Why>),
        provider: &str,
        name: &str,
    ) -> Result<(Arc<LlmProvider>, Arc<str>), Why> {
        let other = self.llm_provider(provider).ok_or(Why::Unregistered)?;
        let Some(model) = other.meant(name) else {
            // What it has is told to who sees something of it.
            let is_seen = self.shows_models(&decision.call, other);
            return Err(if is_seen { Why::NoModel(name.into()) } else { Why::Unseen(name.into()) });
        };
        self.may_answer((decision, none_may), other, &model.name)?;
        Ok((other.clone(), model.name.clone()))
    }

    /// Whether another model may answer in place of the one that was decided.
    fn may_answer(
        &self,
        (decision, none_may): (&Decision<'_>, Option<&Why>),
        provider: &Arc<LlmProvider>,
        name: &str,
    ) -> Result<(), Why> {
        let (target, of) = (Target::Model { provider, name }, &decision.call);
        // What people approved is a call of the other one.
        let call = Call { ask: Ask { target, ..of.ask }, approvals: &[], ..*of };
        // First: of one that policies keep from the caller nothing else is found, or it would be named to the caller.
        let other = self.authorize(&call);
        if let Some(code) = other.code() {
            return Err(Why::Decided(code));
        }
        if let Some(why) = none_may {
            return Err(why.clone());
        }
        let is_counted = self.chain_reads().counts
            || decision.finding.limits.iter().any(|limit| limit.of == Measure::Spend);
        if is_counted && call.ask.reserves().1 > of.ask.reserves().1 {
            return Err(Why::Dearer);
        }
        if other.call.ask.target.labels() != of.ask.target.labels() {
            return Err(Why::Labels);
        }
        if self.takes_a_use(&other.finding.policies) {
            return Err(Why::Grant);
        }
        let is_as_decided = is_covered(&other.finding, &decision.finding)
            && other.keeps == decision.keeps
            && other.would_refuse == decision.would_refuse;
        if is_as_decided { Ok(()) } else { Err(Why::Otherwise) }
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
