//! Accounts: what a call takes of a limited amount. It is reserved before the decision, which sees what is left, and settled from
//! the effect. There are two: the place of a call among all that are under way, which is divided fairly between those who call, and
//! the fan-out of a chain (`spec.delegation.maxFanOut`). Rates, tokens and spend join them.

use std::sync::Arc;
use std::time::Instant;

use quick_cache::sync::Cache;
use vidimus_core::call::{Action, Call};
use vidimus_core::entity::EntityId;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Principal;

use crate::fair_share::{Denied, Pool, Share};
use crate::protocol::observe::Usage;
use crate::standing::{ChainKey, Claim, StandingState};

/// Principals whose shares are told apart. Only registered ones have any; of more, those that called least lately begin anew.
const HOLDERS: usize = 65_536;

/// The accounts of one gateway. Chains are kept in its [`StandingState`].
#[derive(Debug)]
pub struct Accounts {
    state: Arc<StandingState>,
    calls: Arc<Pool>,
    holders: Cache<EntityId, Arc<Holder>>,
}

/// What one principal has of what all share.
#[derive(Debug)]
pub struct Holder {
    /// Of request bodies.
    pub bytes: Share,
    calls: Share,
}

/// The place of a call among those under way. Dropping it gives it back.
#[derive(Debug)]
#[must_use = "dropping it gives the place back"]
pub struct Place(Arc<Pool>, Arc<Holder>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.give_back(&self.1.calls, 1);
    }
}

impl Holder {
    pub fn new() -> Self {
        Self { bytes: Share::default(), calls: Share::default() }
    }
}

/// What one call has reserved. Dropped before it is permitted, it has taken nothing.
#[derive(Debug)]
#[must_use = "dropping it undoes the reservation"]
pub struct Reservation {
    /// `None` for a call whose destinations nobody limits.
    destination: Option<Claim>,
    /// Held until the end of its answer is recorded.
    #[expect(dead_code, reason = "held for its drop")]
    place: Place,
}

impl Accounts {
    /// At most `calls` are under way at once.
    pub fn new(state: Arc<StandingState>, calls: usize) -> Self {
        Self { state, calls: Arc::new(Pool::new(calls)), holders: Cache::new(HOLDERS) }
    }

    /// What `principal` has.
    pub fn holder(&self, principal: &EntityId) -> Arc<Holder> {
        match self.holders.get(principal) {
            Some(holder) => holder,
            // Two that come first at once have to find the same one.
            None => self
                .holders
                .get_or_insert_with(principal, || Ok::<_, std::convert::Infallible>(Arc::new(Holder::new())))
                .unwrap_or_else(|never| match never {}),
        }
    }

    /// A call of this holder is under way: its body may still be coming.
    ///
    /// # Errors
    /// `overloaded` where as many are as can be, or as many of this holder as is fair to the others.
    pub fn enter(&self, holder: &Arc<Holder>) -> Result<Place, Refusal> {
        self.calls.take(&holder.calls, 1).map_err(|denied| {
            let message = match denied {
                Denied::Empty => "as many calls are under way as can be",
                Denied::Share => "as many calls of this caller are under way as is fair to the others",
            };
            Refusal::new(Code::Overloaded, message)
        })?;
        Ok(Place(self.calls.clone(), holder.clone()))
    }

    /// Reserves what a call will take if it is permitted. Fan-out is counted for agents that have a limit and continue a chain;
    /// for everybody else it is one branch.
    ///
    /// # Errors
    /// `overloaded` when no account can be opened for it.
    pub async fn reserve(&self, call: &Call<'_>, place: Place, now: Instant) -> Result<Reservation, Refusal> {
        let destination = match Self::chain(call) {
            Some((key, limit)) => {
                let destination = call.ask.target.destination();
                Some(self.state.claim(key, destination.id(), limit, now).await?)
            }
            None => None,
        };
        Ok(Reservation { destination, place })
    }

    /// The chain whose destinations are counted, and how many it may have.
    fn chain(call: &Call<'_>) -> Option<(ChainKey, usize)> {
        // What the gateway answers itself reaches nobody.
        if call.ask.action == Action::ListModels {
            return None;
        }
        let Principal::Agent(agent) = call.principal() else { return None };
        let limit = agent.delegation.max_fan_out?;
        let chain = call.chain();
        if chain.actors.is_empty() {
            return None;
        }
        let key = ChainKey { transaction: chain.transaction.clone(), agent: agent.id.id.clone() };
        Some((key, usize::try_from(limit).unwrap_or(usize::MAX)))
    }
}

impl Reservation {
    /// How many distinct destinations there are with this one; 1 where nothing is counted.
    pub fn fan_out(&self) -> i64 {
        self.destination.as_ref().map_or(1, |claim| i64::try_from(claim.count()).unwrap_or(i64::MAX))
    }

    /// The call was permitted: what it reserved is taken.
    pub fn permitted(&mut self) {
        if let Some(claim) = &mut self.destination {
            claim.permitted();
        }
    }

    /// The effect is known: accounts that count what a call cost are charged for it. Fan-out is not one of them.
    pub fn settle(self, _usage: Usage) {}
}

#[cfg(test)]
mod tests;
