//! What was counted before a start, from the records of it: chains under way go on with what they have come to, those that were ended
//! stay so, and agents have what they have read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use vidimus_core::call::{Collected, Target};
use vidimus_core::caller::{Chain, UnixMillis};
use vidimus_core::clock::Moment;
use vidimus_core::decision::Outcome;
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::record::{DecisionRecord, EffectRecord, Kept, Record};
use vidimus_core::resource::llm_provider::Price;
use vidimus_core::snapshot::{ENDED_BY, Snapshot};

use super::Accounts;
use crate::standing::taken::{FanOut, Flow, Taken, Used, callee};

/// What is taken up of a call until its effect is read.
struct Open {
    taken: Taken,
    price: Option<Price>,
}

impl Accounts {
    /// Takes up what `records` say, oldest first, as far as it still counts by `world`. To be called once, before any call.
    pub fn restore(&self, world: &Snapshot, records: impl Iterator<Item = Kept>, now: Moment) {
        let mut open: HashMap<Box<str>, Open> = HashMap::new();
        for record in records {
            let Some(at) = instant(record.time(), now) else { continue };
            match &record {
                Record::Decision(decision) => {
                    if let Some((id, one)) = self.decided(world, decision, at) {
                        open.insert(id, one);
                    }
                }
                Record::Effect(effect) => {
                    if let Some(one) = open.remove(&*effect.id) {
                        self.state.settle_restored(&one.taken, used(&one, effect));
                    }
                }
                Record::Act(act) => self.state.declassified(act, now),
                Record::Refusal(_) => {}
            }
        }
        // Of these it is not known what they used.
        open.values().for_each(|one| self.state.settle_restored(&one.taken, Used::default()));
    }

    fn decided(
        &self,
        world: &Snapshot,
        decision: &DecisionRecord<'_>,
        at: Instant,
    ) -> Option<(Box<str>, Open)> {
        let chain = chain(decision)?;
        if let Some((_, by)) = decision.facts.iter().find(|(name, _)| **name == *ENDED_BY) {
            let caller: EntityId = decision.principal.parse().ok()?;
            self.state.end_restored((&chain, &caller), by, at);
            return None;
        }
        let allowed = [Outcome::Allow, Outcome::AllowWithObligations].map(Outcome::as_str);
        if !allowed.contains(&&*decision.outcome) {
            return None;
        }
        let resource: EntityId = decision.resource.parse().ok()?;
        let target = world.target(&resource)?;
        let taken = taken(world, decision, &chain, target)?;
        if let Err(refusal) = self.state.take_restored(&taken, at) {
            tracing::warn!(call = %decision.id, %refusal, "what was counted before the start could not be taken up");
            return None;
        }
        let price = match target {
            Target::Model { provider, name } => provider.model(name).and_then(|model| model.price),
            _ => None,
        };
        Some((Box::from(&*decision.id), Open { taken, price }))
    }
}

/// What the call took of its chain; `None` where nothing is counted of it now.
fn taken(
    world: &Snapshot,
    decision: &DecisionRecord<'_>,
    chain: &Chain,
    target: Target<'_>,
) -> Option<Taken> {
    let reads = world.chain_reads();
    let principal: EntityId = decision.principal.parse().ok()?;
    let destination = target.destination();
    let callee = callee(&destination);
    let mut taken = Taken::of(chain, &principal);
    taken.counted = (reads.counts && (taken.continues || callee.is_some())).then(Used::default);
    let limit = world.agent(&principal.id).and_then(|agent| agent.delegation.max_fan_out);
    if taken.continues && principal.kind == EntityKind::Agent && (reads.fan_out || limit.is_some()) {
        let destination = destination.id().clone();
        taken.fan_out = Some(FanOut { agent: principal.id.clone(), destination, limit: usize::MAX });
    }
    if reads.labels {
        let from = |label: &Arc<str>| Collected {
            label: label.clone(),
            from: Arc::from(&*decision.resource),
            call: Arc::from(&*decision.id),
        };
        let before = chain.actors.iter().filter(|actor| actor.kind == EntityKind::Agent);
        let mut callers: Vec<Arc<str>> = vec![Arc::from(&*decision.principal)];
        callers.extend(before.map(|actor| Arc::from(actor.to_string())));
        taken.flow = Some(Flow {
            callers,
            callee: callee.map(|callee| callee.to_string().into()),
            person: decision.user.as_deref().map(Arc::from),
            brings: target.labels().brought().map(from).collect(),
        });
    }
    (!taken.is_nothing()).then_some(taken)
}

fn chain(decision: &DecisionRecord<'_>) -> Option<Chain> {
    let actors = decision.chain.iter().map(|actor| actor.parse().ok()).collect::<Option<Vec<EntityId>>>()?;
    // It began then or before.
    let started = decision.time.parse::<Timestamp>().map_or(i64::MAX, Timestamp::as_millisecond);
    Some(Chain { transaction: Arc::from(&*decision.transaction), started: UnixMillis(started), actors })
}

fn used(open: &Open, effect: &EffectRecord<'_>) -> Used {
    let (input, output) = (effect.tokens_input.unwrap_or_default(), effect.tokens_output.unwrap_or_default());
    let tokens = i64::try_from(input.saturating_add(output)).unwrap_or(i64::MAX);
    Used { tokens, spend: open.price.map_or(0, |price| price.of(input, output)) }
}

/// When that was by the clock that limits count by.
fn instant(time: &str, now: Moment) -> Option<Instant> {
    let then: Timestamp = time.parse().ok()?;
    let present = Timestamp::try_from(now.wall).ok()?;
    let ago = Duration::try_from(present.duration_since(then)).unwrap_or_default();
    now.monotonic.checked_sub(ago)
}
