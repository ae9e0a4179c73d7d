//! Refusals of callers that proved nobody: how many of them become records of their own.
//!
//! Every such refusal is worth a record, and whoever can send bytes can cause one. Beyond a rate, for each source and in all, they
//! are counted by code, and one record after an interval says how many were not recorded one by one. Nobody who is proven, and no
//! decision, is ever counted here.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use vidimus_core::record::{NOT_RECORDED, Record, RefusalKind, RefusalRecord};
use vidimus_core::refusal::Code;
use vidimus_ledger::Closed;

use crate::gate::{Limits, Shared, rfc3339};
use crate::trace::TraceContext;

/// So many at once, and so many a second from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub burst: u32,
    pub per_second: u32,
}

/// What is left of a [`Rate`]: the time at which all of it is there again. `None` is all of it.
#[derive(Clone, Copy, Debug, Default)]
struct Level(Option<Instant>);

impl Level {
    /// The level after one more, unless that is one too many.
    fn after(self, rate: Rate, now: Instant) -> Option<Self> {
        let each = Duration::from_secs(1) / rate.per_second.max(1);
        let full = self.0.map_or(now, |full| full.max(now)) + each;
        (full.saturating_duration_since(now) <= each * rate.burst).then_some(Self(Some(full)))
    }

    fn is_full(self, now: Instant) -> bool {
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
pub enum Fate {
    Recorded,
    /// Counted. `first`: nobody waits yet to tell, so [`tell_later`] has to.
    Counted {
        first: bool,
    },
}

/// The count, one for the process.
#[derive(Debug)]
pub struct Flood {
    all: Rate,
    source: Rate,
    /// Sources that are told apart; further ones share one rate.
    sources: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    all: Level,
    sources: HashMap<IpAddr, Level>,
    /// Of sources that found the table full.
    others: Level,
    swept: Option<Instant>,
    missed: Option<Missed>,
    /// Somebody waits to tell.
    telling: bool,
}

impl Flood {
    /// A full table is searched at most this often, so that searching is not what a flood makes the gateway do.
    const SWEEP: Duration = Duration::from_secs(1);

    pub fn new(limits: &Limits) -> Self {
        Self {
            all: limits.unproven,
            source: limits.unproven_source,
            sources: limits.unproven_sources,
            state: Mutex::default(),
        }
    }

    /// Decides what becomes of a refusal with `code` of somebody unproven at `address`.
    pub fn meet(&self, address: IpAddr, code: Code, now: Instant, wall: SystemTime) -> Fate {
        let mut state = self.state();
        if self.fits(&mut state, address, now) {
            return Fate::Recorded;
        }
        let missed =
            state.missed.get_or_insert_with(|| Missed { codes: BTreeMap::new(), from: wall, to: wall });
        *missed.codes.entry(code.as_str()).or_default() += 1;
        missed.from = missed.from.min(wall);
        missed.to = missed.to.max(wall);
        Fate::Counted { first: !std::mem::replace(&mut state.telling, true) }
    }

    /// A source that is over its own rate takes nothing from everybody's.
    fn fits(&self, state: &mut State, address: IpAddr, now: Instant) -> bool {
        let source = network(address);
        if state.sources.len() >= self.sources && !state.sources.contains_key(&source) {
            state.sweep(now);
        }
        let room = state.sources.len() < self.sources;
        let known = state.sources.get(&source).copied();
        let own = known.unwrap_or(if room { Level::default() } else { state.others });
        let (Some(own), Some(all)) = (own.after(self.source, now), state.all.after(self.all, now)) else {
            return false;
        };
        state.all = all;
        if known.is_some() || room {
            state.sources.insert(source, own);
        } else {
            state.others = own;
        }
        true
    }

    fn take(&self) -> Option<Missed> {
        let mut state = self.state();
        state.telling = false;
        state.missed.take()
    }

    /// What could not be told. Whether it is for who gives it back to tell it later.
    fn give_back(&self, untold: Missed) -> bool {
        let mut state = self.state();
        state.missed = Some(match state.missed.take() {
            Some(since) => untold.and(since),
            None => untold,
        });
        !std::mem::replace(&mut state.telling, true)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= Flood::SWEEP) {
            self.swept = Some(now);
            self.sources.retain(|_, level| !level.is_full(now));
        }
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

/// Tells after the interval, on this thread's runtime; again and again while the ledger does not take it.
pub fn tell_later(shared: Arc<Shared>) {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(shared.limits.unproven_interval).await;
            if !tell(&shared).await {
                return;
            }
        }
    });
}

/// Records what was not recorded one by one, if there is anything. Whether it has to be tried again.
pub async fn tell(shared: &Shared) -> bool {
    let Some(missed) = shared.flood.take() else { return false };
    match write(shared, &missed).await {
        Ok(()) => false,
        Err(error) => {
            tracing::warn!(%error, "the count of refusals that were not recorded could not be recorded either");
            shared.flood.give_back(missed)
        }
    }
}

async fn write(shared: &Shared, missed: &Missed) -> Result<(), Closed> {
    let id = uuid::Uuid::now_v7().hyphenated().to_string();
    shared.ledger.record(&id, &missed.record(&id)).await.map(|_receipt| ())
}

#[cfg(test)]
mod tests;
