//! Refusals: how many of them become records of their own.
//!
//! Every refusal is worth a record, and whoever can send bytes can cause one; a registered agent that repeats a refused call as fast as
//! it can would fill the disk, and then nothing passes any more. Beyond a rate, for each source or principal and in all, refusals are
//! counted: by who was refused, where that is proven, and by code. One record for each after an interval says how many were not
//! recorded one by one, so none is lost from the count. Nothing that is allowed is ever counted here. ADR 24.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use vidimus_core::clock::Moment;
use vidimus_core::entity::EntityId;
use vidimus_core::record::{NOT_RECORDED, Record, RefusalKind, RefusalRecord, VERSION};
use vidimus_core::refusal::Code;

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

/// What of one principal was refused and not recorded one by one; or of all who proved nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Missed {
    codes: BTreeMap<&'static str, u64>,
    from: SystemTime,
    to: SystemTime,
}

/// Who was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused<'a> {
    /// A registered principal.
    Principal(&'a EntityId),
    /// Somebody at this address who proved nobody.
    Unproven(IpAddr),
}

/// Chooses which refusals are recorded one by one; one for the process.
#[derive(Debug)]
pub struct RefusalSampler {
    proven: Rates,
    unproven: Rates,
    /// There is little room on the disk: what is left of it is for the records of what is allowed.
    spare: AtomicBool,
    state: Mutex<State>,
    /// Held by the worker that records the counts.
    turn: tokio::sync::Mutex<()>,
}

/// Of all together, and of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    pub(crate) all: Rate,
    pub(crate) each: Rate,
}

#[derive(Debug)]
struct State {
    principals: Buckets<EntityId>,
    sources: Buckets<IpAddr>,
    /// `None` is all who proved nobody.
    missed: BTreeMap<Option<EntityId>, Missed>,
}

/// The rates of some, and of all together.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    all: TokenBucket,
    of: Table<K, TokenBucket>,
    /// Shared by those that found the table full.
    others: TokenBucket,
}

impl<K: Eq + Hash> Buckets<K> {
    pub(crate) fn new(most: usize) -> Self {
        Self { all: TokenBucket::default(), of: Table::new(most), others: TokenBucket::default() }
    }

    /// Whoever is over its own rate takes nothing from everybody's.
    pub(crate) fn fits(&mut self, key: K, rates: Rates, now: Instant) -> bool {
        let Some(all) = self.all.take(rates.all, now) else { return false };
        let own = self.of.entry(key, now, TokenBucket::default);
        let own = own.unwrap_or(&mut self.others);
        let Some(left) = own.take(rates.each, now) else { return false };
        (*own, self.all) = (left, all);
        true
    }
}

impl RefusalSampler {
    pub fn new(limits: &Limits) -> Self {
        let state = State {
            principals: Buckets::new(limits.unproven_sources),
            sources: Buckets::new(limits.unproven_sources),
            missed: BTreeMap::new(),
        };
        Self {
            proven: Rates { all: limits.refused, each: limits.refused_principal },
            unproven: Rates { all: limits.unproven, each: limits.unproven_source },
            spare: AtomicBool::new(false),
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Whether a refusal with `code` gets a record of its own. Where it does not, it is counted.
    pub fn has_record(&self, who: Refused<'_>, code: Code, now: Moment) -> bool {
        let mut state = self.state();
        let fits = !self.spare.load(Ordering::Relaxed)
            && match who {
                Refused::Principal(principal) => {
                    state.principals.fits(principal.clone(), self.proven, now.monotonic)
                }
                Refused::Unproven(address) => {
                    state.sources.fits(network(address), self.unproven, now.monotonic)
                }
            };
        if !fits {
            let principal = match who {
                Refused::Principal(principal) => Some(principal.clone()),
                Refused::Unproven(_) => None,
            };
            let one = BTreeMap::from([(code.as_str(), 1)]);
            add(&mut state.missed, principal, Missed { codes: one, from: now.wall, to: now.wall });
        }
        fits
    }

    /// From now on no refusal has a record of its own, or they have again as their rates are.
    pub fn spare_disk(&self, spare: bool) {
        self.spare.store(spare, Ordering::Relaxed);
    }

    fn take(&self) -> Option<Taken<'_>> {
        let (principal, missed) = self.state().missed.pop_first()?;
        Some(Taken { sampler: self, principal, missed: Some(missed) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A count that is being recorded. It is given back where that did not come about.
#[derive(Debug)]
struct Taken<'a> {
    sampler: &'a RefusalSampler,
    principal: Option<EntityId>,
    missed: Option<Missed>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(missed) = self.missed.take() {
            add(&mut self.sampler.state().missed, self.principal.take(), missed);
        }
    }
}

fn add(all: &mut BTreeMap<Option<EntityId>, Missed>, principal: Option<EntityId>, more: Missed) {
    match all.entry(principal) {
        Slot::Vacant(slot) => drop(slot.insert(more)),
        Slot::Occupied(mut slot) => slot.get_mut().add(more),
    }
}

impl Missed {
    fn add(&mut self, more: Self) {
        for (code, count) in more.codes {
            *self.codes.entry(code).or_default() += count;
        }
        (self.from, self.to) = (self.from.min(more.from), self.to.max(more.to));
    }

    fn record<'r>(&self, id: &'r str, principal: Option<&EntityId>) -> Record<'r> {
        let count: u64 = self.codes.values().sum();
        let codes: Vec<String> = self.codes.iter().map(|(code, count)| format!("{code} {count}")).collect();
        let principal = principal.map(ToString::to_string);
        let message = format!(
            "{count} refusals of {} were not recorded one by one, from {} to {}: {}",
            principal.as_deref().unwrap_or("callers that proved nobody"),
            rfc3339(self.from),
            rfc3339(self.to),
            codes.join(", ")
        );
        Record::Refusal(RefusalRecord {
            asked: None,
            chain: Vec::new(),
            code: Cow::Borrowed(NOT_RECORDED),
            detail: None,
            id: Cow::Borrowed(id),
            identity: None,
            instance: None,
            kind: RefusalKind,
            message: Cow::Owned(message),
            outcome: Cow::Borrowed("deny"),
            parent: None,
            path: Cow::Borrowed(""),
            principal: principal.map(Cow::Owned),
            source: None,
            time: Cow::Owned(rfc3339(self.to)),
            trace: Cow::Owned(TraceContext::from_header(None).ids()),
            user: None,
            version: VERSION,
        })
    }
}

/// One source: an IPv4 address, or the network of 64 bits within which an IPv6 host has as many addresses as it likes.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// Records every interval what was counted, until `stop` changes; what is counted after that is for whoever stops to record. Every
/// worker runs it and one does it, or a flood would have as many records an interval as there are workers; where that one panics, the
/// next one does it.
pub async fn record_counts(shared: &Shared, mut stop: watch::Receiver<bool>) {
    let _turn = tokio::select! {
        turn = shared.refusals.turn.lock() => turn,
        _ = stop.changed() => return,
    };
    loop {
        tokio::select! {
            () = tokio::time::sleep(shared.limits.unproven_interval) => {}
            _ = stop.changed() => return,
        }
        shared.vitals.fault_point("counts");
        record_count(shared).await;
    }
}

/// Records how many refusals were not recorded one by one, if there were any. What the ledger does not take is counted on.
pub async fn record_count(shared: &Shared) {
    while let Some(mut taken) = shared.refusals.take() {
        let Some(missed) = &taken.missed else { return };
        let id = uuid::Uuid::now_v7().hyphenated().to_string();
        match shared.ledger.record(&missed.record(&id, taken.principal.as_ref())).await {
            Ok(_index) => taken.missed = None,
            Err(error) => {
                tracing::warn!(%error, "the count of refusals that were not recorded could not be recorded either");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
