//! Refusals of callers that proved nobody: how many of them become records of their own.
//!
//! Every such refusal is worth a record, and whoever can send bytes can cause one. Beyond a rate, for each source and in all, they
//! are counted by code, and one record after an interval says how many were not recorded one by one. Nobody who is proven, and no
//! decision, is ever counted here.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use vidimus_core::clock::Moment;
use vidimus_core::record::{NOT_RECORDED, Record, RefusalKind, RefusalRecord};
use vidimus_core::refusal::Code;
use vidimus_ledger::Closed;

use crate::gate::{Limits, Shared, rfc3339};
use crate::table::{Entry, Table};
use crate::trace::TraceContext;

/// So many at once, and so many a second from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub burst: u32,
    pub per_second: u32,
}

/// A token bucket, as the time at which it is full again. `None` is full.
#[derive(Clone, Copy, Debug, Default)]
struct TokenBucket(Option<Instant>);

impl TokenBucket {
    /// The bucket with one token fewer; `None` when it is empty.
    fn take(self, rate: Rate, now: Instant) -> Option<Self> {
        let each = Duration::from_secs(1) / rate.per_second.max(1);
        let full = self.0.map_or(now, |full| full.max(now)) + each;
        (full.saturating_duration_since(now) <= each * rate.burst).then_some(Self(Some(full)))
    }
}

impl Entry for TokenBucket {
    fn is_unused(&self, now: Instant) -> bool {
        self.0.is_none_or(|full| full <= now)
    }
}

/// What was refused and not recorded one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Missed {
    codes: BTreeMap<&'static str, u64>,
    from: SystemTime,
    to: SystemTime,
}

/// What becomes of one refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampled {
    /// It gets a record of its own.
    Record,
    /// It was counted. `first`: nobody waits yet to record the count, so [`record_count_later`] has to.
    Counted { first: bool },
}

/// Chooses which refusals are recorded one by one; one for the process.
#[derive(Debug)]
pub struct RefusalSampler {
    all: Rate,
    source: Rate,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    all: TokenBucket,
    sources: Table<IpAddr, TokenBucket>,
    /// Shared by the sources that found the table full.
    others: TokenBucket,
    missed: Option<Missed>,
    /// Somebody waits to record the count.
    waiting: bool,
}

impl RefusalSampler {
    pub fn new(limits: &Limits) -> Self {
        let state = State {
            all: TokenBucket::default(),
            sources: Table::new(limits.unproven_sources),
            others: TokenBucket::default(),
            missed: None,
            waiting: false,
        };
        Self { all: limits.unproven, source: limits.unproven_source, state: Mutex::new(state) }
    }

    /// Decides what becomes of a refusal with `code` of somebody unproven at `address`.
    pub fn sample(&self, address: IpAddr, code: Code, now: Moment) -> Sampled {
        let wall = now.wall;
        let mut state = self.state();
        if self.fits(&mut state, address, now.monotonic) {
            return Sampled::Record;
        }
        let missed =
            state.missed.get_or_insert_with(|| Missed { codes: BTreeMap::new(), from: wall, to: wall });
        *missed.codes.entry(code.as_str()).or_default() += 1;
        missed.from = missed.from.min(wall);
        missed.to = missed.to.max(wall);
        Sampled::Counted { first: !std::mem::replace(&mut state.waiting, true) }
    }

    /// A source that is over its own rate takes nothing from everybody's.
    fn fits(&self, state: &mut State, address: IpAddr, now: Instant) -> bool {
        let Some(all) = state.all.take(self.all, now) else { return false };
        let own = state.sources.entry(network(address), now, TokenBucket::default);
        let own = own.unwrap_or(&mut state.others);
        let Some(left) = own.take(self.source, now) else { return false };
        (*own, state.all) = (left, all);
        true
    }

    fn take(&self) -> Option<Missed> {
        let mut state = self.state();
        state.waiting = false;
        state.missed.take()
    }

    /// Takes back a count that could not be recorded. Whether it is for who gives it back to try again.
    fn give_back(&self, unrecorded: Missed) -> bool {
        let mut state = self.state();
        state.missed = Some(match state.missed.take() {
            Some(since) => unrecorded.and(since),
            None => unrecorded,
        });
        !std::mem::replace(&mut state.waiting, true)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Missed {
    fn and(mut self, other: Self) -> Self {
        for (code, count) in other.codes {
            *self.codes.entry(code).or_default() += count;
        }
        Self { from: self.from.min(other.from), to: self.to.max(other.to), codes: self.codes }
    }

    fn record<'r>(&self, id: &'r str) -> Record<'r> {
        let count: u64 = self.codes.values().sum();
        let codes: Vec<String> = self.codes.iter().map(|(code, count)| format!("{code} {count}")).collect();
        let message = format!(
            "{count} refusals of callers that proved nobody were not recorded one by one, from {} to {}: {}",
            rfc3339(self.from),
            rfc3339(self.to),
            codes.join(", ")
        );
        Record::Refusal(RefusalRecord {
            code: NOT_RECORDED,
            detail: None,
            id,
            identity: None,
            kind: RefusalKind,
            message: Cow::Owned(message),
            outcome: "deny",
            path: Cow::Borrowed(""),
            principal: None,
            source: None,
            time: Cow::Owned(rfc3339(self.to)),
            trace: Cow::Owned(TraceContext::from_header(None).to_string()),
            user: None,
            version: 1,
        })
    }
}

/// One source: an IPv4 address, or the network of 64 bits within which an IPv6 host has as many addresses as it likes.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// Records the count after the interval, on this thread's runtime; again and again while the ledger does not take it.
pub fn record_count_later(shared: Arc<Shared>) {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(shared.limits.unproven_interval).await;
            if !record_count(&shared).await {
                return;
            }
        }
    });
}

/// Records how many refusals were not recorded one by one, if there were any. Whether it has to be tried again.
pub async fn record_count(shared: &Shared) -> bool {
    let Some(missed) = shared.refusals.take() else { return false };
    match write(shared, &missed).await {
        Ok(()) => false,
        Err(error) => {
            tracing::warn!(%error, "the count of refusals that were not recorded could not be recorded either");
            shared.refusals.give_back(missed)
        }
    }
}

async fn write(shared: &Shared, missed: &Missed) -> Result<(), Closed> {
    let id = uuid::Uuid::now_v7().hyphenated().to_string();
    shared.ledger.record(&missed.record(&id)).await.map(|_index| ())
}

#[cfg(test)]
mod tests;
