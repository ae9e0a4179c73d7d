//! The places of a call among those at once (`concurrency`, ADR 73).

use std::sync::{Arc, Weak};

use vidimus_core::resource::Limit;

use super::super::StandingState;
use super::super::store::leases::Lease;
use super::Key;

/// A place by one count.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) limit: Arc<Limit>,
    key: Key,
    /// In which part of the count, and how much.
    taken: (u64, i64),
    /// The same in the store, where gateways share one.
    pub(super) lease: Option<Lease>,
}

/// The places of one call. Whoever goes on with something of the call has them too, such as what waits behind the bridge for its client (ADR 81): they are
/// given back when nobody has them any more.
#[derive(Debug)]
pub struct UnderWay {
    /// Not held by what waits: that is kept in this state.
    state: Weak<StandingState>,
    places: Vec<Place>,
    /// Of the call that it goes on with.
    former: Option<Arc<Self>>,
}

impl UnderWay {
    /// None yet but those of the call that it goes on with.
    pub(super) fn after(former: Option<Arc<Self>>, state: &Arc<StandingState>) -> Self {
        Self { state: Arc::downgrade(state), places: Vec::new(), former }
    }

    /// Whether it has a place by this count.
    pub(super) fn has(&self, key: Key) -> bool {
        let own = self.places.iter().any(|own| own.key == key);
        own || self.former.as_ref().is_some_and(|former| former.has(key))
    }

    /// It has taken one: nothing, where it had one already.
    pub(super) fn take(&mut self, limit: &Arc<Limit>, key: Key, taken: (u64, i64)) {
        if taken.1 > 0 {
            self.places.push(Place { limit: limit.clone(), key, taken, lease: None });
        }
    }

    /// Those that are its own.
    pub(super) fn own(&mut self) -> &mut [Place] {
        &mut self.places
    }

    /// All that it has, to be shared; `None` where that is nothing.
    pub(super) fn taken(mut self) -> Option<Arc<Self>> {
        if self.places.is_empty() { self.former.take() } else { Some(Arc::new(self)) }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Some(state) = self.state.upgrade() else { return };
        for Place { key, taken: (number, taken), .. } in self.places.drain(..) {
            state.limits.settle(key, number, (taken, 0));
        }
    }
}
