//! When each principal called last, and by what it proved itself: of this gateway, since its start.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::ArcSwap;
use vidimus_core::caller::{Instance, Proven, UnixMillis};
use vidimus_core::entity::EntityId;

/// Calls closer together than this are not told apart, in milliseconds.
const COARSE: i64 = 1_000;

/// The last calls. Only registered principals are proven, so callers cannot fill it.
#[derive(Debug, Default)]
pub struct LastCalls(RwLock<HashMap<EntityId, Last>>);

#[derive(Debug)]
struct Last {
    at: AtomicI64,
    by: ArcSwap<Proven>,
}

/// The last call of one principal that is on record, permitted or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastCall {
    pub principal: EntityId,
    /// To a second.
    pub at: UnixMillis,
    /// Which of its identities it used.
    pub identity: Arc<str>,
    /// Which copy called, where its credential says so.
    pub instance: Option<Arc<Instance>>,
}

impl LastCalls {
    /// A call was decided. Beside the first of a principal, this looks it up and compares a number.
    pub(crate) fn note(&self, proven: &Arc<Proven>, now: UnixMillis) {
        let principal = proven.principal.entity();
        if let Some(last) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(principal) {
            if now.0.saturating_sub(last.at.load(Ordering::Relaxed)) >= COARSE {
                last.at.store(now.0, Ordering::Relaxed);
                last.by.store(proven.clone());
            }
            return;
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(principal.clone())
            .or_insert_with(|| Last { at: AtomicI64::new(now.0), by: ArcSwap::new(proven.clone()) });
    }

    /// Those of principals that are still registered; the others are forgotten.
    pub fn of_registered(&self, is_registered: impl Fn(&EntityId) -> bool) -> Vec<LastCall> {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|principal, _| is_registered(principal));
        let last = |(principal, last): (&EntityId, &Last)| {
            let by = last.by.load();
            LastCall {
                principal: principal.clone(),
                at: UnixMillis(last.at.load(Ordering::Relaxed)),
                identity: by.identity.clone(),
                instance: by.instance.clone(),
            }
        };
        all.iter().map(last).collect()
    }
}
