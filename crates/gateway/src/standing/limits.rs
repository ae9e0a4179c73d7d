//! What is taken of the limits that policies declare (`spec.limits`, ADR 73): before a call is decided for good, given back where it is not made, and
//! settled with what it used. Each gateway counts what passes through it; those that share a store ask that as well, and then what fits into both
//! is taken. So a store that lost what it had opens nothing here that this gateway knows to be taken.

mod counter;
mod left;
pub mod restored;
mod under_way;

use std::hash::{BuildHasher as _, Hash, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use vidimus_core::call::{Call, Left};
use vidimus_core::caller::UnixMillis;
use vidimus_core::clock::Moment;
use vidimus_core::entity::EntityId;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Limit;
use vidimus_core::resource::limit::{CountedBy, LimitWindow, Measure, Per, WhenLost};

pub use self::counter::Division;
use self::counter::{Counter, Try};
pub use self::under_way::UnderWay;
use super::StandingState;
use super::store::Store;
use super::store::limits::{Found, Settled, Wanted};
use super::taken::Used;
use super::to_the_end::ToTheEnd;
use crate::fair_share::Denied;
use crate::gate::millis;
use crate::table::{Divided, Entry};

/// Into so many parts the counts are divided, each behind its own lock.
const SHARDS: usize = 64;

/// When a process began, by the clock of what slides, in milliseconds: longer than any window, so that what was taken before has a time too.
const BEGAN: u64 = 366 * 24 * 3_600_000;

/// When a call may come again that found as many at once as may be, in milliseconds: when one of them ends is not known.
const AGAIN_AT_ONCE: i64 = 1_000;

/// Whose count it is: by two hashes under keys of this process, so that nobody finds two that are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key(u64, u64);

/// What was taken of all limits, by whose count it is. Each count is of who made its first call, so that nobody takes the room of others' counts. Where
/// there is none for one more, calls that need it are refused.
#[derive(Debug)]
pub struct Counters {
    shards: Box<[Mutex<Counts>]>,
    hashers: [RandomState; 2],
    began: Instant,
}

/// Some of the counts, with who made them.
type Counts = Divided<Key, EntityId, Count>;

/// What was taken of a limit by those who count together.
#[derive(Debug)]
struct Count {
    counter: Counter,
    /// The limit's id, what it counted and by whom: one that is changed is counted anew.
    limit: Arc<str>,
    of: Measure,
    per: Box<[Per]>,
    /// Of whom it is, where the limit is counted by teams.
    team: Option<Arc<str>>,
}

impl Count {
    /// Nothing is taken yet.
    fn new(limit: &Limit, by: &CountedBy<'_>) -> Self {
        Self {
            counter: Counter::new(Division::of(limit.window)),
            limit: limit.id.clone(),
            of: limit.of,
            per: limit.per.clone(),
            team: limit.per.contains(&Per::Team).then(|| by.team.into()),
        }
    }

    /// How much of this limit is left at so many milliseconds; `None` where it is not what is counted here.
    fn left(&self, limit: &Limit, at: u64) -> Option<i64> {
        let is_of = self.of == limit.of && self.per == limit.per;
        is_of.then(|| self.counter.left(Division::of(limit.window), at, limit.amount)).flatten()
    }
}

impl Entry for Count {
    fn is_unused(&self, now: Instant) -> bool {
        self.counter.is_unused(now)
    }
}

/// Those who count together for a limit.
struct Together<'a>(&'a Limit, CountedBy<'a>);

impl Hash for Together<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self(limit, by) = self;
        limit.counts_as().hash(state);
        limit.counted_by(by, |part| part.hash(state));
    }
}

impl Counters {
    /// At most so many counts.
    pub fn new(capacity: usize) -> Self {
        let shard = |_| Mutex::new(Divided::new(capacity.div_ceil(SHARDS)));
        let hashers = [RandomState::new(), RandomState::new()];
        Self { shards: (0..SHARDS).map(shard).collect(), hashers, began: Instant::now() }
    }

    fn key(&self, limit: &Limit, by: CountedBy<'_>) -> Key {
        let [one, other] = &self.hashers;
        let together = Together(limit, by);
        Key(one.hash_one(&together), other.hash_one(&together))
    }

    /// The time by which a limit counts, in milliseconds. What slides does so by a clock that nobody sets.
    fn at(&self, window: LimitWindow, now: Moment) -> u64 {
        match window {
            LimitWindow::Fixed(_) => u64::try_from(millis(now.wall).0).unwrap_or_default(),
            LimitWindow::Sliding(_) | LimitWindow::UnderWay => {
                let millis = |since: Duration| u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
                let after = now.monotonic.saturating_duration_since(self.began);
                let before = self.began.saturating_duration_since(now.monotonic);
                BEGAN.saturating_add(millis(after)).saturating_sub(millis(before))
            }
        }
    }

    fn take(
        &self,
        limit: &Limit,
        (key, caller, by): (Key, &EntityId, &CountedBy<'_>),
        want: i64,
        now: Moment,
    ) -> Result<Try, Refusal> {
        let mut shard = self.shard(key)?;
        let new = || Count::new(limit, by);
        let count = shard.entry(key, caller, now.monotonic, new).map_err(|denied| full(denied, caller))?;
        Ok(count.counter.take((self.at(limit.window, now), now.monotonic), want, limit.amount))
    }

    fn settle(&self, key: Key, number: u64, (taken, used): (i64, i64)) {
        let Ok(mut shard) = self.shard(key) else { return };
        if let Some(count) = shard.get_mut(&key) {
            count.counter.settle(number, taken, used);
        }
    }

    fn shard(&self, key: Key) -> Result<MutexGuard<'_, Counts>, Refusal> {
        let unknown = || Refusal::new(Code::Internal, "what was taken of limits is unknown");
        let place = usize::try_from(key.0).unwrap_or_default() % SHARDS;
        self.shards.get(place).ok_or_else(unknown)?.lock().map_err(|_| unknown())
    }
}

/// There is no room for one more count.
fn full(denied: Denied, caller: &EntityId) -> Refusal {
    let message = match denied {
        Denied::Empty => "as much as can be counted for limits is counted already".to_owned(),
        Denied::Share => format!(
            "as much is counted for limits that {caller} began as is fair to the others; it is over when its windows are"
        ),
    };
    Refusal::new(Code::Overloaded, message)
}

/// What one call has taken of its limits. Dropped before it is permitted, it has taken nothing; dropped after, it has used what it took.
#[derive(Debug)]
#[must_use = "dropping it gives back what was taken"]
pub struct Claims {
    state: Arc<StandingState>,
    claims: Vec<Claim>,
    left: Vec<Left>,
    is_permitted: bool,
    /// Its places among the calls at once.
    under_way: Option<Arc<UnderWay>>,
}

/// What it has taken of one, but for calls at once.
#[derive(Debug)]
struct Claim {
    limit: Arc<Limit>,
    key: Key,
    number: u64,
    taken: i64,
    /// Where it is taken in the store too: by which name, and in the part of which number.
    in_store: Option<(Arc<str>, u64)>,
}

impl StandingState {
    /// Takes what a call takes of all these limits, or where it does not fit into one of them, nothing of any. Sorted by their ids.
    ///
    /// # Errors
    /// `overloaded` where no more can be counted; `standing_unavailable` where a shared store does not answer, and a limit says that calls are refused
    /// then.
    pub async fn claim(
        self: &Arc<Self>,
        call: &Call<'_>,
        limits: &[Arc<Limit>],
        now: Moment,
    ) -> Result<Claims, Refusal> {
        self.claim_after(None, (call, limits), now).await
    }

    /// The same for a call that goes on with what a `former` one began: the places of that one among the calls at once are its own.
    ///
    /// # Errors
    /// As [`StandingState::claim`].
    pub async fn claim_after(
        self: &Arc<Self>,
        former: Option<Arc<UnderWay>>,
        (call, limits): (&Call<'_>, &[Arc<Limit>]),
        now: Moment,
    ) -> Result<Claims, Refusal> {
        let mut under_way = UnderWay::after(former, self);
        let mut claims = Claims {
            state: self.clone(),
            claims: Vec::with_capacity(limits.len()),
            left: Vec::with_capacity(limits.len()),
            is_permitted: false,
            under_way: None,
        };
        for limit in limits {
            claims.take(limit, (call, &mut under_way), now)?;
        }
        if claims.fits() && self.is_shared() {
            claims.take_of_store(call, &mut under_way).await?;
        }
        match claims.fits() {
            true => claims.under_way = under_way.taken(),
            false => claims.close(|_| 0),
        }
        Ok(claims)
    }
}

impl Claims {
    /// How the call stands to its limits.
    pub fn left(&self) -> &[Left] {
        &self.left
    }

    /// Its places among the calls at once, for what of it goes on when it has ended here. `None` where it counts for no such limit.
    pub fn under_way(&self) -> Option<Arc<UnderWay>> {
        self.under_way.clone()
    }

    /// Whether it has taken tokens or spend of some.
    pub fn count_tokens(&self) -> bool {
        self.claims.iter().any(|claim| claim.limit.of.is_of_models() && claim.taken > 0)
    }

    /// The call was permitted.
    pub fn permitted(&mut self) {
        self.is_permitted = true;
    }

    /// The call ended. What was not sent has used nothing; of models it has used so much.
    pub fn settle(mut self, is_sent: bool, used: Option<Used>) {
        self.close(|claim| match claim.limit.of {
            Measure::Concurrency => 0,
            _ if !is_sent => 0,
            Measure::Requests => claim.taken,
            Measure::Tokens => used.map_or(claim.taken, |used| used.tokens),
            Measure::Spend => used.map_or(claim.taken, |used| used.spend),
        });
    }

    fn fits(&self) -> bool {
        self.left.iter().all(|one| one.left >= 0)
    }

    fn take(
        &mut self,
        limit: &Arc<Limit>,
        (call, under_way): (&Call<'_>, &mut UnderWay),
        now: Moment,
    ) -> Result<(), Refusal> {
        let counters = &self.state.limits;
        let by = CountedBy::of(call);
        let key = counters.key(limit, by);
        let is_at_once = limit.of == Measure::Concurrency;
        // What goes on with a former call is no further one.
        let taken = if is_at_once && under_way.has(key) { 0 } else { limit.takes(&call.ask) };
        let caller = call.principal().entity();
        let (left, again) = match counters.take(limit, (key, caller, &by), taken, now)? {
            Try::Taken { left, number } if is_at_once => {
                under_way.take(limit, key, (number, taken));
                (left, None)
            }
            Try::Taken { left, number } => {
                self.claims.push(Claim { limit: limit.clone(), key, number, taken, in_store: None });
                (left, None)
            }
            Try::Full { left, again } => {
                let at = counters.at(limit.window, now);
                let again = again.map(|again| i64::try_from(again.saturating_sub(at)).unwrap_or(i64::MAX));
                let frees_up = is_at_once && taken <= limit.amount;
                let again = again.or(frees_up.then_some(AGAIN_AT_ONCE));
                (left, again.map(|after| UnixMillis(call.now.0.saturating_add(after))))
            }
        };
        self.note(Left { limit: limit.id.clone(), left, again, of: Some((limit.of, limit.amount)) });
        Ok(())
    }

    /// Of two limits of one id the one that leaves less is told.
    fn note(&mut self, found: Left) {
        match self.left.iter_mut().find(|known| known.limit == found.limit) {
            Some(known) if known.left <= found.left => {}
            Some(known) => *known = found,
            None => self.left.push(found),
        }
    }

    /// Takes the same of what gateways share.
    async fn take_of_store(&mut self, call: &Call<'_>, under_way: &mut UnderWay) -> Result<(), Refusal> {
        let Some(store) = self.state.store() else { return Ok(()) };
        let places = under_way.own();
        let limits =
            || self.claims.iter().map(|claim| &claim.limit).chain(places.iter().map(|own| &own.limit));
        let wanted: Vec<Wanted> = limits().map(|limit| Wanted::of(limit, call, &store)).collect();
        let local = limits().all(|limit| limit.when_lost == WhenLost::Local);
        if wanted.is_empty() {
            return Ok(());
        }
        let asks = async move {
            let answer = store.claim(&wanted).await;
            Asked { store, wanted, answer }
        };
        let Asked { store, wanted, answer } = ToTheEnd::new(asks, Asked::give_back).await;
        // Where there was no answer they may be taken, and are given back; or the call goes on, and the store is told when it is there again.
        if !matches!(answer, Ok((false, _))) {
            let at_once = wanted.iter().filter_map(|one| Some((one.place?, one.key.clone())));
            for (place, (number, key)) in places.iter_mut().zip(at_once) {
                place.lease = Some(store.hold(number, key));
            }
        }
        let (all_fit, found) = match answer {
            Ok(found) => found,
            Err(_) if local => return Ok(()),
            Err(refusal) => return Err(refusal),
        };
        let mut claims = self.claims.iter_mut();
        for (wanted, found) in wanted.into_iter().zip(found) {
            let again = found.again.or((wanted.place.is_some() && wanted.may_fit()).then_some(AGAIN_AT_ONCE));
            if let Some(left) = self.left.iter_mut().find(|left| left.limit == wanted.id)
                && found.left < left.left
            {
                let again = again.map(|after| UnixMillis(call.now.0.saturating_add(after)));
                (left.left, left.again) = (found.left, again);
            }
            // Places come behind the claims, and are none.
            if let Some(claim) = claims.next()
                && all_fit
            {
                claim.in_store = Some((wanted.key, found.number));
            }
        }
        Ok(())
    }

    /// Of each so much was used.
    fn close(&mut self, used: impl Fn(&Claim) -> i64) {
        let mut in_store = Vec::new();
        for claim in std::mem::take(&mut self.claims) {
            let used = used(&claim);
            self.state.limits.settle(claim.key, claim.number, (claim.taken, used));
            if let Some((key, number)) = claim.in_store
                && used != claim.taken
            {
                let division = Division::of(claim.limit.window);
                in_store.push(Settled { key, number, division, taken: claim.taken, used });
            }
        }
        if let Some(store) = self.state.store() {
            settle(store, in_store);
        }
    }
}

/// Tells the store what was used. Nobody waits for it. Where it does not arrive, more is counted than was taken, unless more was used than was reserved.
fn settle(store: Arc<Store>, in_store: Vec<Settled>) {
    if let (false, Ok(runtime)) = (in_store.is_empty(), tokio::runtime::Handle::try_current()) {
        runtime.spawn(async move {
            if let Err(error) = store.settle(&in_store).await {
                let detail = error.detail.as_deref().unwrap_or_default();
                tracing::warn!(%error, detail, "what a call used of its limits is not known to the other gateways");
            }
        });
    }
}

/// What the store was asked for a call, and what it said.
struct Asked {
    store: Arc<Store>,
    wanted: Vec<Wanted>,
    answer: Result<(bool, Vec<Found>), Refusal>,
}

impl Asked {
    /// Nobody takes it over: its caller has left.
    fn give_back(self) {
        let Self { store, wanted, answer } = self;
        let found = match answer {
            Ok((false, _)) => return,
            Ok((true, found)) => found,
            // Whether something was taken is not known, nor in which part: of places it does not have to be.
            Err(_) => Vec::new(),
        };
        for one in &wanted {
            if let Some(number) = one.place {
                drop(store.hold(number, one.key.clone()));
            }
        }
        let unused = wanted.into_iter().zip(found).filter_map(|(one, found)| one.unused(found));
        let unused = unused.collect();
        settle(store, unused);
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        let is_permitted = self.is_permitted;
        self.close(|claim| match claim.limit.of {
            Measure::Concurrency => 0,
            _ if is_permitted => claim.taken,
            _ => 0,
        });
    }
}

#[cfg(test)]
mod tests;
