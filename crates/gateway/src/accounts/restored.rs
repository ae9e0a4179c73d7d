//! What was counted before a start, from the records of it: chains under way go on with what they have come to, those that were ended
//! stay so, and agents have what they have read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use vidimus_core::call::{Action, Collected};
use vidimus_core::caller::{Chain, UnixMillis};
use vidimus_core::clock::Moment;
use vidimus_core::decision::Outcome;
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::record::{DecisionRecord, EffectRecord, Kept, Record};
use vidimus_core::snapshot::{ENDED_BY, Snapshot};

use super::Accounts;
use crate::standing::limits::restored::Restoring;
use crate::standing::taken::{FanOut, Flow, Taken, Used};

impl Accounts {
    /// Takes up what `records` say, oldest first, as far as it still counts by `world`; of those that are older than `counted` only what was taken of limits.
    /// To be called once, before any call.
    pub fn restore(
        &self,
        world: &Snapshot,
        (records, counted): (impl Iterator<Item = Kept>, Duration),
        now: Moment,
    ) {
        let mut open: HashMap<Box<str>, Taken> = HashMap::new();
        let mut limits = Restoring::of(world, &self.state);
        for record in records {
            let Some(at) = instant(record.time(), now) else { continue };
            let is_of_limits = now.monotonic.saturating_duration_since(at) > counted;
            match &record {
                Record::Decision(decision) => {
                    limits.decided(decision, at);
                    if is_of_limits {
                        continue;
                    }
                    if let Some((id, one)) = self.decided(world, decision, at) {
                        open.insert(id, one);
                    }
                }
                Record::Effect(effect) => {
                    limits.ended(effect);
                    if let Some(one) = open.remove(&*effect.id) {
                        self.state.settle_restored(&one, used(&one, effect), at);
                    }
                }
                Record::Act(act) => self.state.declassified(act, now),
                Record::Refusal(_) => {}
            }
        }
        // Of these it is not known what they used: what they may have.
        for one in open.values() {
            self.state.settle_restored(one, one.counted.unwrap_or_default(), now.monotonic);
        }
    }

    /// Takes up which chains were ended, by what `records` say, oldest first. To be called once, before any call.
    pub fn restore_ended(&self, records: impl Iterator<Item = Kept>, now: Moment) {
        for record in records {
            let Record::Decision(decision) = &record else { continue };
            if let (Some(at), Some(chain)) = (instant(record.time(), now), chain(decision)) {
                self.end_restored(decision, &chain, at);
            }
        }
    }

    /// Whether the decision says that its chain is ended. That somebody asked about such a call elsewhere ended none.
    fn end_restored(&self, decision: &DecisionRecord<'_>, chain: &Chain, at: Instant) -> bool {
        if decision.asked_by.is_some() {
            return false;
        }
        let Some((_, by)) = decision.facts.iter().find(|(name, _)| **name == *ENDED_BY) else { return false };
        if let Ok(caller) = decision.principal.parse() {
            self.state.end_restored((chain, &caller), by, at);
        }
        true
    }

    fn decided(
        &self,
        world: &Snapshot,
        decision: &DecisionRecord<'_>,
        at: Instant,
    ) -> Option<(Box<str>, Taken)> {
        let chain = chain(decision)?;
        if self.end_restored(decision, &chain, at) {
            return None;
        }
        // What the gateway asked by itself counted for nobody, nor did what another enforcement point asked about.
        if decision.on_account_of.is_some() || decision.asked_by.is_some() {
            return None;
        }
        let allowed = [Outcome::Allow, Outcome::AllowWithObligations].map(Outcome::as_str);
        if !allowed.contains(&&*decision.outcome) {
            return None;
        }
        let taken = taken(world, decision, &chain)?;
        if let Err(refusal) = self.state.take_restored(&taken, at) {
            tracing::warn!(call = %decision.id, %refusal, "what was counted before the start could not be taken up");
            return None;
        }
        Some((Box::from(&*decision.id), taken))
    }
}

/// What the call took of its chain, by its record alone: what it was about need not be registered any more, or not so. `None` where nothing
/// is counted of it now.
fn taken(world: &Snapshot, decision: &DecisionRecord<'_>, chain: &Chain) -> Option<Taken> {
    // What the gateway answers itself reaches nobody.
    if *decision.action == *Action::ListModels.as_str() {
        return None;
    }
    let reads = world.chain_reads();
    let principal: EntityId = decision.principal.parse().ok()?;
    let resource: EntityId = decision.resource.parse().ok()?;
    let destination = resource.registered()?;
    let callee = (destination.kind == EntityKind::Agent).then_some(&destination);
    let mut taken = Taken::of(chain, &principal);
    let number = |number: Option<u64>| i64::try_from(number.unwrap_or_default()).unwrap_or(i64::MAX);
    let reserved = Used { tokens: number(decision.reserved_tokens), spend: number(decision.reserved_spend) };
    taken.counted = (reads.counts && (taken.continues || callee.is_some())).then_some(reserved);
    let limit = world.agent(&principal.id).and_then(|agent| agent.delegation.max_fan_out);
    if taken.continues && principal.kind == EntityKind::Agent && (reads.fan_out || limit.is_some()) {
        let destination = destination.clone();
        taken.fan_out = Some(FanOut { agent: principal.id.clone(), destination, limit: usize::MAX });
    }
    if reads.labels_kept {
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
            brings: decision.labels.iter().map(from).collect(),
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

/// What the call was charged for. An effect that does not say it is of no model, or of an earlier version.
fn used(taken: &Taken, effect: &EffectRecord<'_>) -> Used {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    match (effect.charged_tokens, effect.charged_spend) {
        (None, None) => taken.counted.unwrap_or_default(),
        (tokens, spend) => {
            Used { tokens: number(tokens.unwrap_or_default()), spend: number(spend.unwrap_or_default()) }
        }
    }
}

/// When that was by the clock that limits count by.
fn instant(time: &str, now: Moment) -> Option<Instant> {
    let then: Timestamp = time.parse().ok()?;
    let present = Timestamp::try_from(now.wall).ok()?;
    let ago = Duration::try_from(present.duration_since(then)).unwrap_or_default();
    now.monotonic.checked_sub(ago)
}
