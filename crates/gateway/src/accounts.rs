//! Accounts: what a call takes of a limited amount. It is reserved before the decision, which sees what is left, and settled from
//! the effect. Today there is one account, the fan-out of a chain (`spec.delegation.maxFanOut`); rates, tokens and spend join it.

use std::sync::Arc;
use std::time::Instant;

use vidimus_core::call::{Action, Call};
use vidimus_core::refusal::Refusal;
use vidimus_core::resource::Principal;

use crate::protocol::observe::Usage;
use crate::standing::{ChainKey, Claim, StandingState};

/// The accounts of one gateway, kept in its [`StandingState`].
#[derive(Debug)]
pub struct Accounts(Arc<StandingState>);

/// What one call has reserved. Dropped before it is permitted, it has taken nothing.
#[derive(Debug)]
#[must_use = "dropping it undoes the reservation"]
pub struct Reservation {
    /// `None` for a call whose destinations nobody limits.
    destination: Option<Claim>,
}

impl Accounts {
    pub fn new(state: Arc<StandingState>) -> Self {
        Self(state)
    }

    /// Reserves what a call will take if it is permitted. Fan-out is counted for agents that have a limit and continue a chain;
    /// for everybody else it is one branch.
    ///
    /// # Errors
    /// `overloaded` when no account can be opened for it.
    pub async fn reserve(&self, call: &Call<'_>, now: Instant) -> Result<Reservation, Refusal> {
        // What the gateway answers itself reaches nobody.
        if call.ask.action == Action::ListModels {
            return Ok(Reservation::NOTHING);
        }
        let Principal::Agent(agent) = call.principal() else { return Ok(Reservation::NOTHING) };
        let Some(limit) = agent.delegation.max_fan_out else { return Ok(Reservation::NOTHING) };
        let chain = call.chain();
        if chain.actors.is_empty() {
            return Ok(Reservation::NOTHING);
        }
        let key = ChainKey { transaction: chain.transaction.clone(), agent: agent.id.id.clone() };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let destination = call.ask.target.destination();
        let claim = self.0.claim(key, destination.id(), limit, now).await?;
        Ok(Reservation { destination: Some(claim) })
    }
}

impl Reservation {
    const NOTHING: Self = Self { destination: None };

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
