//! How many connections are open, in all and of one source. Before a connection says anything, where it comes from is all that is
//! known of it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

use crate::refusal_sampler::network;

/// The connections of all workers together, divided between sources as [`fair_share`](crate::fair_share) says: no source has more
/// than are left for the others. Behind a load balancer all come from one source, and share a half.
#[derive(Debug)]
pub struct Connections {
    most: usize,
    open: Mutex<Sources>,
}

#[derive(Debug, Default)]
struct Sources {
    all: usize,
    /// Those that have any.
    of: HashMap<IpAddr, usize, RandomState>,
}

/// An open connection; dropping it counts it as closed.
#[derive(Debug)]
#[must_use = "dropping it counts the connection as closed"]
pub(super) struct Open(Arc<Connections>, IpAddr);

impl Connections {
    /// At most `most` at once.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    /// One more from `address`; `None` where there is no place, or not for this source.
    pub(super) fn open(self: &Arc<Self>, address: IpAddr) -> Option<Open> {
        let source = network(address);
        let mut open = self.sources();
        let own = open.of.get(&source).copied().unwrap_or_default() + 1;
        let left = self.most.checked_sub(open.all + 1)?;
        // The first of a source has a place wherever there is one.
        if own > left.max(1) {
            return None;
        }
        open.all += 1;
        open.of.insert(source, own);
        Some(Open(self.clone(), source))
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.0.sources();
        open.all = open.all.saturating_sub(1);
        if let Some(own) = open.of.get_mut(&self.1) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.of.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_leaves_places_for_the_others_and_what_is_closed_is_free_again() {
        let connections = Connections::new(100);
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let takes_all = |last| std::iter::from_fn(|| connections.open(address(last))).collect::<Vec<_>>();
        let (first, second) = (takes_all(1), takes_all(2));
        assert_eq!((first.len(), second.len()), (50, 25));
        let strangers: Vec<_> = (10..60).filter_map(|last| connections.open(address(last))).collect();
        assert_eq!(strangers.len(), 25, "as long as there is a place");
        assert!(connections.open(address(200)).is_none());
        drop(first);
        assert_eq!(connections.sources().of.get(&address(1)), None);
        assert_eq!(takes_all(2).len(), 12);
        drop((second, strangers));
        assert_eq!(connections.sources().all, 0);
    }
}
