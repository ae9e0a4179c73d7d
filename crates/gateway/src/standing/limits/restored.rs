//! What was taken of limits before a start, from the records of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use jiff::Timestamp;
use vidimus_core::clock::Moment;
use vidimus_core::decision::Outcome;
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::record::{Attempt, DecisionRecord, EffectRecord};
use vidimus_core::refusal::Code;
use vidimus_core::resource::Limit;
use vidimus_core::resource::limit::{CountedBy, Measure};
use vidimus_core::snapshot::Snapshot;

use super::counter::Try;
use super::{Key, StandingState};

/// The limits in force, and what calls took of them of which the end was not read yet.
#[derive(Debug)]
pub struct Restoring<'w> {
    world: &'w Snapshot,
    state: &'w StandingState,
    /// By their ids, of one each that counts otherwise.
    limits: HashMap<&'w str, Vec<&'w Limit>>,
    open: HashMap<Box<str>, Vec<Taken>>,
}

/// What a call took of one.
#[derive(Clone, Copy, Debug)]
struct Taken {
    of: Measure,
    key: Key,
    number: u64,
    taken: i64,
}

impl<'w> Restoring<'w> {
    /// Of the limits that `world` declares.
    pub fn of(world: &'w Snapshot, state: &'w StandingState) -> Self {
        let mut by_id: HashMap<&str, Vec<&Limit>> = HashMap::new();
        for limit in world.limits() {
            let same = by_id.entry(&*limit.id).or_default();
            if same.iter().all(|one| one.counts_as() != limit.counts_as()) {
                same.push(limit);
            }
        }
        Self { world, state, limits: by_id, open: HashMap::new() }
    }

    /// A decision of that time: what its call counted for is taken, where it was permitted.
    pub fn decided(&mut self, decision: &DecisionRecord<'_>, at: Instant) {
        let allowed = [Outcome::Allow, Outcome::AllowWithObligations].map(Outcome::as_str);
        // What another enforcement point asked about counted for nobody. What the gateway asked by itself did where its record has what was left.
        if self.limits.is_empty() || decision.asked_by.is_some() || !allowed.contains(&&*decision.outcome) {
            return;
        }
        let Some(by) = Counted::of(self.world, decision) else { return };
        let Some(now) = moment(&decision.time, at) else { return };
        for (name, left) in decision.facts.iter() {
            let id = name.strip_prefix("context.limits[\"").and_then(|name| name.strip_suffix("\"]"));
            let limits = id.and_then(|id| self.limits.get(id)).filter(|_| left.parse::<i64>().is_ok());
            for limit in limits.into_iter().flatten().copied() {
                if let Some(taken) = take(self.state, limit, &by, decision, now) {
                    self.open.entry(Box::from(&*decision.id)).or_default().push(taken);
                }
            }
        }
    }

    /// A call ended: what it did not use is given back.
    pub fn ended(&mut self, effect: &EffectRecord<'_>) {
        let is_of_unsent = effect.code.as_deref().is_some_and(Code::is_text_of_unsent);
        let is_sent = !is_of_unsent || effect.attempts.iter().any(Attempt::was_sent);
        for Taken { of, key, number, taken } in self.open.remove(&*effect.id).unwrap_or_default() {
            let charged = |used: Option<u64>| used.map_or(taken, whole);
            let used = match of {
                _ if !is_sent => 0,
                Measure::Tokens => charged(effect.charged_tokens),
                Measure::Spend => charged(effect.charged_spend),
                Measure::Requests | Measure::Concurrency => taken,
            };
            self.state.limits.settle(key, number, (taken, used));
        }
    }
}

/// `None` of what is not taken up: calls at once have ended.
fn take(
    state: &StandingState,
    limit: &Limit,
    by: &Counted,
    decision: &DecisionRecord<'_>,
    now: Moment,
) -> Option<Taken> {
    let taken = match limit.of {
        Measure::Requests => 1,
        Measure::Tokens => whole(decision.reserved_tokens?),
        Measure::Spend => whole(decision.reserved_spend?),
        Measure::Concurrency => return None,
    };
    let parts = by.parts(decision);
    let key = state.limits.key(limit, parts);
    // It was permitted, whatever there is room for now.
    let without_end = Limit { amount: i64::MAX, ..limit.clone() };
    match state.limits.take(&without_end, (key, &by.principal, &parts), taken, now) {
        Ok(Try::Taken { number, .. }) => Some(Taken { of: limit.of, key, number, taken }),
        Ok(Try::Full { .. }) => None,
        Err(refusal) => {
            tracing::warn!(call = %decision.id, %refusal, "what was taken of a limit before the start could not be taken up");
            None
        }
    }
}

/// Who called what, by a record.
struct Counted {
    principal: EntityId,
    team: Arc<str>,
    resource: EntityId,
    /// What the resource belongs to.
    whole: EntityId,
}

impl Counted {
    fn of(world: &Snapshot, decision: &DecisionRecord<'_>) -> Option<Self> {
        let principal: EntityId = decision.principal.parse().ok()?;
        let resource: EntityId = decision.resource.parse().ok()?;
        let team = match principal.kind {
            EntityKind::Agent => world.agent(&principal.id).map(|agent| agent.team.clone()),
            _ => world.service(&principal.id).map(|service| service.team.clone()),
        };
        let whole = resource.registered()?;
        Some(Self { principal, team: team.unwrap_or_default(), resource, whole })
    }

    /// As [`CountedBy::of`] of the call.
    fn parts<'a>(&'a self, decision: &'a DecisionRecord<'_>) -> CountedBy<'a> {
        let user = decision.user.as_deref().and_then(|user| user.split_once('#'));
        let namespace = self.principal.id.split_once('/').map_or("", |(namespace, _)| namespace);
        let name = self.resource.id.strip_prefix(&*self.whole.id).and_then(|name| name.strip_prefix('/'));
        let part = |kind| match name {
            Some(name) if self.resource.kind == kind => [&*self.whole.id, name],
            _ => ["", ""],
        };
        CountedBy {
            principal: [self.principal.kind.as_str(), &*self.principal.id],
            user: user.map_or(["", ""], |(issuer, subject)| [issuer, subject]),
            team: &self.team,
            model: part(EntityKind::Model),
            tool: part(EntityKind::Tool),
            namespace,
            transaction: &decision.transaction,
        }
    }
}

fn moment(time: &str, monotonic: Instant) -> Option<Moment> {
    let then: Timestamp = time.parse().ok()?;
    let since = u64::try_from(then.as_millisecond()).ok()?;
    Some(Moment { wall: UNIX_EPOCH + Duration::from_millis(since), monotonic })
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
