//! What becomes of a call although its record lacks something: what it lacks was one thing to all who decide it.

use std::sync::Arc;

use vidimus_core::call::Target;
use vidimus_core::caller::Caller;
use vidimus_core::decision::{Decision, Outcome};
use vidimus_core::record::DecisionRecord;
use vidimus_core::recorded::Recorded;
use vidimus_core::refusal::Code;
use vidimus_core::snapshot::Snapshot;

use super::call::{Parts, target};
use super::run::was_allowed;
use super::tally::Became;
use super::worlds::World;

/// The configurations that decide a call.
pub(super) struct Known {
    /// The one that decided it: as its record says, so that not everything can be that lacks.
    pub(super) in_force: Option<World>,
    /// What it is compared with; where that is nothing, with its record.
    pub(super) before: Option<World>,
    pub(super) after: World,
}

impl Known {
    /// What the call was and becomes; `None` where that depends on what lacks, or something is not known beside facts.
    pub(super) fn settled(&self, record: &DecisionRecord<'_>) -> Option<(Became, Became)> {
        let (recorded, parts) = (Recorded::of(record), Parts::of(record)?);
        let asked = |world: &Arc<Snapshot>| Asked::of(&parts, world.clone());
        let in_force = self.in_force.as_ref().and_then(|world| world.as_ref().ok());
        let in_force = in_force.filter(|world| world.digest() == &*record.snapshot).and_then(asked);
        let before = match &self.before {
            Some(world) => Some(asked(world.as_ref().ok()?)?),
            None => None,
        };
        let after = asked(self.after.as_ref().ok()?)?;
        let again = |asked: &Asked| asked.again(record, &parts, &recorded, Said::of);
        let mut first: Option<(bool, Said)> = None;
        let (mut one, mut alike) = (true, true);
        let all = recorded.whatever_lacks(|| {
            let as_recorded = |asked: &Asked| {
                asked.again(record, &parts, &recorded, |decision| is_as_recorded(decision, record))
                    == Some(true)
            };
            // What lacks is not so.
            if in_force.as_ref().is_some_and(|asked| !as_recorded(asked)) {
                return true;
            }
            let was = match &before {
                None => Some(was_allowed(record)),
                Some(before) => again(before).map(|said| said.allowed),
            };
            let (Some(was), Some(now)) = (was, again(&after)) else { return false };
            alike &= was == now.allowed;
            match &first {
                Some((first_was, first_now)) => one &= (*first_was, first_now.allowed) == (was, now.allowed),
                None => first = Some((was, now)),
            }
            one || alike
        });
        let (was, now) = first.filter(|_| all)?;
        // What is decided alike by both, whatever that is, stays as it was.
        let (was, allowed) =
            if one { (was, now.allowed) } else { (was_allowed(record), was_allowed(record)) };
        let known = |allowed, policies| Became::Known { allowed, policies };
        Some((known(was, Vec::new()), known(allowed, now.policies)))
    }
}

/// What is decided of the call.
struct Said {
    allowed: bool,
    policies: Vec<String>,
}

impl Said {
    fn of(decision: &Decision<'_>) -> Self {
        Self {
            allowed: matches!(decision.outcome(), Outcome::Allow | Outcome::AllowWithObligations),
            policies: decision.policies().iter().map(ToString::to_string).collect(),
        }
    }
}

fn is_as_recorded(decision: &Decision<'_>, record: &DecisionRecord<'_>) -> bool {
    decision.outcome().as_str() == &*record.outcome
        && decision.code().map(Code::as_str) == record.code.as_deref()
        && *decision.policies() == *record.policies
}

/// A configuration, and who calls in it.
struct Asked {
    world: Arc<Snapshot>,
    caller: Caller,
}

impl Asked {
    fn of(parts: &Parts, world: Arc<Snapshot>) -> Option<Self> {
        let caller = parts.caller(&world)?;
        let is_called = target(&world, &parts.resource).is_some();
        is_called.then_some(Self { world, caller })
    }

    /// What `made` makes of the decision, as what lacks is assumed to be now; `None` where nothing is called there.
    fn again<T>(
        &self,
        record: &DecisionRecord<'_>,
        parts: &Parts,
        recorded: &Recorded,
        made: impl FnOnce(&Decision<'_>) -> T,
    ) -> Option<T> {
        let called: Target<'_> = target(&self.world, &parts.resource)?;
        let mut call = parts.call(record, &self.caller, called);
        call.ask.tokens_estimated = recorded.tokens_estimated().unwrap_or_default();
        call.ask.streaming = recorded.streaming().unwrap_or_default();
        Some(made(&recorded.decided(&self.world, &call)))
    }
}
