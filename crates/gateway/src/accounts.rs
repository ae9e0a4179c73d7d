//! Accounts: what a call takes of a limited amount. It is reserved before the decision, which sees what is left, and settled from
//! the effect. There are two: the place of a call among all that are under way, which is divided fairly between those who call, and
//! what a chain comes to: destinations, calls, tokens, spend, and what it has read. Of that only what a policy or the limit of an agent
//! looks at is counted ([`ChainReads`]); a call that nothing looks at costs nothing here.

mod restored;

use std::sync::Arc;

use quick_cache::sync::Cache;
use vidimus_core::call::{Action, Call, Collected, SoFar, Target};
use vidimus_core::clock::Moment;
use vidimus_core::decide::chain_reads::ChainReads;
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Principal;
use vidimus_core::resource::llm_provider::Price;
use vidimus_core::snapshot::Snapshot;

use crate::fair_share::{Denied, Pool, Share};
use crate::protocol::observe::Usage;
use crate::standing::taken::{FanOut, Flow, Taken, Used, callee};
use crate::standing::{StandingState, Tally};

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
    /// `None` for a call of which nothing is counted.
    tally: Option<Tally>,
    /// Whether what was permitted could be counted.
    counted: Result<(), Refusal>,
    /// The chain was ended, as far as this gateway knows.
    ended: Option<Arc<SoFar>>,
    /// Of the model that is called, where its record has one.
    price: Option<Price>,
    tokens_estimated: i64,
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

    /// Reserves what a call will take if it is permitted. `id` is the call's own.
    ///
    /// # Errors
    /// `overloaded` when no account can be opened for it; `standing_unavailable` where gateways share a store that does not answer.
    pub async fn reserve(
        &self,
        call: &Call<'_>,
        id: &Arc<str>,
        place: Place,
        world: &Snapshot,
        now: Moment,
    ) -> Result<Reservation, Refusal> {
        let tokens_estimated = call.ask.tokens_estimated;
        let mut reservation =
            Reservation { tally: None, counted: Ok(()), ended: None, price: None, tokens_estimated, place };
        let chain = call.chain();
        if !chain.actors.is_empty()
            && let Some(by) = self.state.ended(chain, call.principal().entity())?
        {
            reservation.ended = Some(Arc::new(SoFar { ended: Some(by), ..SoFar::default() }));
            return Ok(reservation);
        }
        if let Some(taken) = taken(call, id, world.chain_reads(), self.state.is_shared()) {
            reservation.price = price(call);
            reservation.tally = Some(self.state.reserve(taken, now.monotonic).await?);
        }
        Ok(reservation)
    }
}

/// What of the call's chain is to be known, and taken; `None` where nothing is. Where gateways share a store, another one may have
/// ended the chain, so that it is asked of every chain that something could end.
fn taken(call: &Call<'_>, id: &Arc<str>, reads: ChainReads, shared: bool) -> Option<Taken> {
    // What the gateway answers itself reaches nobody.
    if call.ask.action == Action::ListModels {
        return None;
    }
    let limit = fan_out_limit(call);
    if reads.is_nothing() && limit.is_none() && !(shared && reads.ends) {
        return None;
    }
    let chain = call.chain();
    let mut taken = Taken::of(chain, call.principal().entity());
    let destination = call.ask.target.destination();
    let callee = callee(&destination);
    // A chain that nobody can go on with has come to nothing but its one call.
    if reads.counts && (taken.continues || callee.is_some()) {
        let estimated = u64::try_from(call.ask.tokens_estimated).unwrap_or_default();
        let spend = call.ask.target.cost(estimated, 0);
        taken.counted = Some(Used { tokens: call.ask.tokens_estimated, spend });
    }
    if let (true, Principal::Agent(agent)) =
        (limit.is_some() || reads.fan_out && taken.continues, call.principal())
    {
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        taken.fan_out =
            Some(FanOut { agent: agent.id.id.clone(), destination: destination.id().clone(), limit });
    }
    if reads.labels {
        taken.flow = Some(flow(call, id, callee));
    }
    (!taken.is_nothing() || shared && taken.continues).then_some(taken)
}

/// The price of the model that is called, where its record has one.
fn price(call: &Call<'_>) -> Option<Price> {
    let Target::Model { provider, name } = call.ask.target else { return None };
    provider.model(name)?.price
}

/// How many distinct destinations the caller may have, where it has a limit and continues a chain.
fn fan_out_limit(call: &Call<'_>) -> Option<u32> {
    let Principal::Agent(agent) = call.principal() else { return None };
    agent.delegation.max_fan_out.filter(|_| !call.chain().actors.is_empty())
}

/// What the call does with information.
fn flow(call: &Call<'_>, id: &Arc<str>, callee: Option<&EntityId>) -> Flow {
    let labels = call.ask.target.labels();
    let from = |label: &Arc<str>| Collected {
        label: label.clone(),
        from: call.ask.target.entity().to_string().into(),
        call: id.clone(),
    };
    let actors = call.chain().actors.iter().filter(|actor| actor.kind == EntityKind::Agent);
    let callers = std::iter::once(call.principal().entity()).chain(actors);
    let mut known: Vec<Arc<str>> = callers.map(|caller| caller.to_string().into()).collect();
    // Who called twice in the chain learns it once.
    let mut seen = std::collections::BTreeSet::new();
    known.retain(|caller| seen.insert(caller.clone()));
    Flow {
        callers: known,
        callee: callee.map(|callee| callee.to_string().into()),
        person: call.user().map(|user| user.id().into()),
        brings: labels.brought().map(from).collect(),
    }
}

impl Reservation {
    /// What the chain has come to with the call; `None` where nothing of it is counted.
    pub fn so_far(&self) -> Option<Arc<SoFar>> {
        self.ended.clone().or_else(|| self.tally.as_ref().map(|tally| tally.so_far().clone()))
    }

    /// The call was permitted: what it reserved is taken. Where that cannot be counted, it may not be sent: [`Reservation::counted`].
    pub async fn permitted(&mut self, now: Moment) {
        if let Some(tally) = &mut self.tally {
            self.counted = tally.permitted(now.monotonic).await;
        }
    }

    /// Whether what a permitted call takes is counted.
    ///
    /// # Errors
    /// As [`Accounts::reserve`].
    pub fn counted(&self) -> Result<(), Refusal> {
        self.counted.clone()
    }

    /// The effect is known: accounts that count what a call cost are charged for it. Of a model that does not say what it used, what was
    /// sent counts as it was estimated.
    pub fn settle(self, usage: Usage, sent: bool) {
        let Some(tally) = self.tally else { return };
        let estimated = u64::try_from(self.tokens_estimated).ok().filter(|_| sent);
        let input = usage.input.or(estimated).unwrap_or_default();
        let output = usage.output.unwrap_or_default();
        let tokens = i64::try_from(input.saturating_add(output)).unwrap_or(i64::MAX);
        tally.settle(Used { tokens, spend: self.price.map_or(0, |price| price.of(input, output)) });
    }
}

#[cfg(test)]
mod tests;
