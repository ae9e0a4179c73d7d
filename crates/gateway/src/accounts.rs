//! Accounts: what a call takes of a limited amount. It is reserved before the decision, which sees what is left, and settled from
//! the effect. There are three: the place of a call among all that are under way, which is divided fairly between those who call, what it
//! takes of the limits that policies declare ([`crate::standing::limits`]), and what a chain comes to: destinations, calls, tokens, spend, and what it has read. Of that only what a policy or the limit of an agent
//! looks at is counted ([`ChainReads`]); a call that nothing looks at costs nothing here.

mod restored;

use std::sync::Arc;

use quick_cache::sync::Cache;
use vidimus_core::call::{Action, Call, Collected, SoFar, Target};
use vidimus_core::clock::Moment;
use vidimus_core::decide::chain_reads::ChainReads;
use vidimus_core::decision::Decision;
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Principal;
use vidimus_core::resource::llm_provider::{Price, Tokens};
use vidimus_core::snapshot::Snapshot;

use crate::fair_share::{Denied, Pool, Share};
use crate::protocol::observe::Usage;
use crate::standing::limits::{Claims, UnderWay};
use crate::standing::taken::{FanOut, Flow, Taken, Used, callee};
use crate::standing::{StandingState, Tally};

/// Principals whose shares are told apart. Only registered ones have any; of more, those that called least lately begin anew.
const HOLDERS: usize = 65_536;

/// The accounts of one gateway. Chains are kept in its [`StandingState`].
#[derive(Debug)]
pub struct Accounts {
    state: Arc<StandingState>,
    calls: Arc<Pool>,
    jobs: Arc<Pool>,
    holders: Cache<EntityId, Arc<Holder>>,
}

/// What one principal has of what all share.
#[derive(Debug)]
pub struct Holder {
    /// Of request bodies.
    pub bytes: Share,
    /// Of spans on their way to the disk, in bytes.
    pub spans: Share,
    calls: Share,
    /// Of jobs, from before they are made until all of them is deleted.
    jobs: Share,
}

/// The place of a call, or of a job, among those under way. Dropping it gives it back.
#[derive(Debug)]
#[must_use = "dropping it gives the place back"]
pub struct Place {
    pool: Arc<Pool>,
    holder: Arc<Holder>,
    share: fn(&Holder) -> &Share,
}

impl Place {
    /// One of `pool` for this holder; `what` they are, in words.
    fn take(
        pool: &Arc<Pool>,
        holder: &Arc<Holder>,
        share: fn(&Holder) -> &Share,
        what: &str,
    ) -> Result<Self, Refusal> {
        pool.take(share(holder), 1).map_err(|denied| {
            let message = match denied {
                Denied::Empty => format!("as many {what} are under way as can be"),
                Denied::Share => {
                    format!("as many {what} of this caller are under way as is fair to the others")
                }
            };
            Refusal::new(Code::Overloaded, message)
        })?;
        Ok(Self { pool: pool.clone(), holder: holder.clone(), share })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pool.give_back((self.share)(&self.holder), 1);
    }
}

impl Holder {
    pub fn new() -> Self {
        Self {
            bytes: Share::default(),
            spans: Share::default(),
            calls: Share::default(),
            jobs: Share::default(),
        }
    }
}

/// What a call of a model may use, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Most {
    /// Of the question, as estimated.
    estimated: u64,
    /// The same at most.
    question: u64,
    /// Of the answer, at most.
    answer: u64,
}

/// What one call has reserved. Dropped before it is permitted, it has taken nothing.
#[derive(Debug)]
#[must_use = "dropping it undoes the reservation"]
pub struct Reservation {
    /// `None` for a call of which nothing is counted.
    tally: Option<Tally>,
    /// What it takes of the limits that policies declare; `None` where it counts for none.
    claims: Option<Claims>,
    /// Whether what was permitted could be counted.
    counted: Result<(), Refusal>,
    /// The chain was ended, as far as this gateway knows.
    ended: Option<Arc<SoFar>>,
    /// Of the model that is called, where its record has one.
    price: Option<Price>,
    /// Of a call of a model.
    of_model: Option<Most>,
    /// The caller's own record limits what the models of its chain use.
    limits_chain: bool,
    /// What is counted once the call is permitted is for policies alone that are tried: where it cannot be, that changes nothing.
    only_tried: bool,
    /// Held until the end of its answer is recorded.
    #[expect(dead_code, reason = "held for its drop")]
    place: Place,
}

impl Accounts {
    /// At most `calls` are under way at once, and of them at most `jobs` that are jobs.
    pub fn new(state: Arc<StandingState>, (calls, jobs): (usize, usize)) -> Self {
        let pool = |most| Arc::new(Pool::new(most));
        Self { state, calls: pool(calls), jobs: pool(jobs), holders: Cache::new(HOLDERS) }
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

    /// A call of `principal` begins, which has a place until it ends.
    ///
    /// # Errors
    /// As [`Accounts::enter`].
    pub fn entered(&self, principal: &EntityId) -> Result<(Arc<Holder>, Place), Refusal> {
        let holder = self.holder(principal);
        let place = self.enter(&holder)?;
        Ok((holder, place))
    }

    /// A call of this holder is under way: its body may still be coming.
    ///
    /// # Errors
    /// `overloaded` where as many are as can be, or as many of this holder as is fair to the others.
    pub fn enter(&self, holder: &Arc<Holder>) -> Result<Place, Refusal> {
        Place::take(&self.calls, holder, |holder| &holder.calls, "calls")
    }

    /// A job of `principal` is to run. Its place is held until nothing of it is left, which may be after its call has ended.
    ///
    /// # Errors
    /// As [`Accounts::enter`].
    pub fn run(&self, principal: &EntityId) -> Result<Place, Refusal> {
        Place::take(&self.jobs, &self.holder(principal), |holder| &holder.jobs, "jobs")
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
        let number = |tokens: i64| u64::try_from(tokens).unwrap_or_default();
        let of_model = (call.ask.action == Action::CallModel).then(|| Most {
            estimated: number(call.ask.tokens_estimated),
            question: number(call.ask.tokens_reserved.max(call.ask.tokens_estimated)),
            answer: number(call.ask.tokens_most),
        });
        let mut reservation = Reservation {
            tally: None,
            claims: None,
            counted: Ok(()),
            ended: None,
            price: of_model.and_then(|_| price(call)),
            of_model,
            limits_chain: matches!(call.principal(), Principal::Agent(agent) if agent.delegation.counts_tokens()),
            only_tried: false,
            place,
        };
        let chain = call.chain();
        if !chain.actors.is_empty()
            && let Some(by) = self.state.ended(chain, call.principal().entity())?
        {
            reservation.ended = Some(Arc::new(SoFar { ended: Some(by), ..SoFar::default() }));
            return Ok(reservation);
        }
        let (reads, binding) = (world.chain_reads(), world.binding_chain_reads());
        let Some(all) = taken(call, id, reads, &self.state) else { return Ok(reservation) };
        reservation.tally = if binding == reads {
            Some(self.state.reserve(all, now.monotonic).await?)
        } else {
            // What only policies look at that are tried changes nothing of what happens.
            let binding = taken(call, id, binding, &self.state);
            let by_permit = |taken: &Taken| taken.fan_out.is_some() || taken.flow.is_some();
            reservation.only_tried = !binding.as_ref().is_some_and(by_permit);
            match (self.state.reserve(all, now.monotonic).await, binding) {
                (Ok(tally), _) => Some(tally),
                (Err(_), None) => None,
                (Err(_), Some(binding)) => Some(self.state.reserve(binding, now.monotonic).await?),
            }
        };
        Ok(reservation)
    }

    /// Takes what the call counts for by a `decision` that does not know what is left: what its chain has come to, with what is left then, by which it
    /// is to be decided for good. `None` where it counts for nothing. `former`: the places of the call that it goes on with.
    ///
    /// # Errors
    /// As [`StandingState::claim`].
    pub async fn count(
        &self,
        reservation: &mut Reservation,
        decision: &Decision<'_>,
        former: impl FnOnce() -> Option<Arc<UnderWay>>,
        now: Moment,
    ) -> Result<Option<Arc<SoFar>>, Refusal> {
        if decision.limits().is_empty() {
            return Ok(None);
        }
        let call = decision.call();
        // Few calls count, and what is kept in place is moved with each.
        let claims = Box::pin(self.state.claim_after(former(), (call, decision.limits()), now)).await?;
        let so_far = SoFar { limits: claims.left().to_vec(), ..call.so_far.clone() };
        reservation.claims = Some(claims);
        Ok(Some(Arc::new(so_far)))
    }
}

/// What of the call's chain is to be known, and taken; `None` where nothing is. Where gateways share a store, another one may have
/// ended the chain, so that it is asked of every chain that something could end.
fn taken(call: &Call<'_>, id: &Arc<str>, reads: ChainReads, state: &StandingState) -> Option<Taken> {
    let shared = state.is_shared();
    // What the gateway answers itself reaches nobody.
    if call.ask.action == Action::ListModels {
        return None;
    }
    let limit = fan_out_limit(call);
    let reads = ChainReads { labels: reads.labels || reads.labels_kept && state.has_labels(), ..reads };
    if reads.is_nothing() && limit.is_none() && !(shared && reads.ends) {
        return None;
    }
    let chain = call.chain();
    let mut taken = Taken::of(chain, call.principal().entity());
    let destination = call.ask.target.destination();
    let callee = callee(&destination);
    // A chain that nobody can go on with has come to nothing but its one call.
    if reads.counts && (taken.continues || callee.is_some()) {
        let (tokens, spend) = call.ask.reserves();
        taken.counted = Some(Used { tokens, spend });
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
        if let Some(claims) = &mut self.claims {
            claims.permitted();
        }
        if let Some(tally) = &mut self.tally {
            let counted = tally.permitted(now.monotonic).await;
            self.counted = if self.only_tried { Ok(()) } else { counted };
        }
    }

    /// Whether what a permitted call takes is counted.
    ///
    /// # Errors
    /// As [`Accounts::reserve`].
    pub fn counted(&self) -> Result<(), Refusal> {
        self.counted.clone()
    }

    /// Its places among the calls at once, for what of it goes on when its answer has ended.
    pub fn under_way(&self) -> Option<Arc<UnderWay>> {
        self.claims.as_ref()?.under_way()
    }

    /// The most tokens that the answer may have, where a limit of tokens or of spend counts the call, of a policy or of the caller's record: so many
    /// were reserved for it.
    pub fn most_written(&self) -> Option<u64> {
        let counts = self.limits_chain || self.claims.as_ref().is_some_and(Claims::count_tokens);
        self.of_model.filter(|most| counts && most.answer > 0).map(|most| most.answer)
    }

    /// Another model answered than the one that was called: what it costs is what counts.
    pub fn answered_by(&mut self, price: Option<Price>) {
        self.price = price;
    }

    /// The end of the call is known: its chain is charged for it. Gives what a call of a model is charged for.
    pub fn settle(self, known: Known) -> Option<Used> {
        let used = self.of_model.map(|most| known.used(most, self.price));
        if let Some(claims) = self.claims {
            claims.settle(known.is_sent, used);
        }
        if let Some(tally) = self.tally {
            tally.settle(used.unwrap_or_default());
        }
        used
    }
}

/// What is known at the end of a call of a model.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// As far as the upstream said it.
    pub usage: Usage,
    /// The request went out, or may have.
    pub is_sent: bool,
    /// The answer came to its end, by its own words.
    pub is_answered: bool,
    /// The upstream said all that it had to say, and all of it was read; or that it does not answer.
    pub has_ended: bool,
    /// Whoever was asked answered with an error of HTTP.
    pub is_refused: bool,
    /// An estimate of the tokens of the answer that passed.
    pub passed: u64,
}

impl Known {
    /// What the call counts for. What its provider said at the end of the answer counts; where it did not, the estimate of the question and
    /// what passed of the answer do, and where nobody waited for its end all that both might have had: who leaves early saves nothing.
    /// Of a provider's error it is what it says, which is nothing: none charges for it.
    fn used(self, most: Most, price: Option<Price>) -> Used {
        if !self.is_sent || self.is_refused && self.usage == Usage::default() {
            return Used::default();
        }
        let question = if self.has_ended { most.estimated } else { most.question };
        let input = self.usage.input.unwrap_or(question);
        let (passed, most) = (self.passed, most.answer);
        let output = match self.usage.output {
            Some(said) if self.is_answered => said,
            // Where nothing is written the answer is no text, however long it is.
            said if most == 0 => said.unwrap_or_default(),
            said if self.has_ended => said.unwrap_or_default().max(passed),
            said => said.unwrap_or_default().max(passed).max(most),
        };
        let tokens = i64::try_from(input.saturating_add(output)).unwrap_or(i64::MAX);
        let cached = self.usage.cached.unwrap_or_default();
        let cache_written = self.usage.cache_written.unwrap_or_default();
        let spent = Tokens { input, cached, cache_written, output };
        Used { tokens, spend: price.map_or(0, |price| price.of(spent)) }
    }
}

#[cfg(test)]
mod tests;
