//! The places of a call among those at once (`concurrency`, ADR 73).

use std::sync::{Arc, Weak};

use super::super::StandingState;
use super::Key;

/// The places of one call. Whoever goes on with something of the call has them too, such as what waits behind the bridge for its client (ADR 81): they are
/// given back when nobody has them any more.
#[derive(Debug)]
pub struct UnderWay {
    /// Not held by what waits: that is kept in this state.
    state: Weak<StandingState>,
    /// By whose count, in which part of it, and how much was taken.
    places: Vec<(Key, u64, i64)>,
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
        let own = self.places.iter().any(|(own, ..)| *own == key);
        own || self.former.as_ref().is_some_and(|former| former.has(key))
    }

    /// It has taken one: nothing, where it had one already.
    pub(super) fn take(&mut self, key: Key, number: u64, taken: i64) {
        if taken > 0 {
            self.places.push((key, number, taken));
        }
    }

    /// All that it has, to be shared; `None` where that is nothing.
    pub(super) fn taken(mut self) -> Option<Arc<Self>> {
        if self.places.is_empty() { self.former.take() } else { Some(Arc::new(self)) }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Some(state) = self.state.upgrade() else { return };
        for (key, number, taken) in self.places.drain(..) {
            state.limits.settle(key, number, (taken, 0));
        }
    }
}
