//! How many connections are open: in all, of one source, and with each worker. Before a connection says anything, where it comes
//! from is all that is known of it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::accept::Entrance;
use crate::refusal_sampler::network;

/// The connections of all workers together, divided between sources as [`fair_share`](crate::fair_share) says: no source has more
/// than are left for the others. Behind a load balancer all come from one source, and share a half.
///
/// They are also shared out evenly to the workers: the kernel wakes whichever it likes, and one that has all of the connections has
/// all of the work for as long as they live.
#[derive(Debug)]
pub struct Connections {
    most: usize,
    open: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    /// Those that have any.
    sources: HashMap<IpAddr, usize, RandomState>,
    /// In the order in which they joined.
    workers: Vec<OfWorker>,
}

#[derive(Debug)]
struct OfWorker {
    open: usize,
    /// To the worker. Never more than there may be connections.
    arrivals: UnboundedSender<Arrival>,
}

/// A worker among those that serve the same sockets.
#[derive(Debug)]
pub(super) struct Seat {
    connections: Arc<Connections>,
    number: usize,
}

/// A connection that another worker has accepted.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) address: SocketAddr,
    pub(super) entrance: Entrance,
    pub(super) open: Open,
}

/// An open connection; dropping it counts it as closed.
#[derive(Debug)]
#[must_use = "dropping it counts the connection as closed"]
pub(super) struct Open {
    connections: Arc<Connections>,
    source: IpAddr,
    worker: usize,
}

impl Connections {
    /// At most `most` at once.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    /// One more worker, and what the others give to it.
    pub(super) fn join(self: &Arc<Self>) -> (Seat, UnboundedReceiver<Arrival>) {
        let (arrivals, arriving) = unbounded_channel();
        let workers = &mut self.counts().workers;
        workers.push(OfWorker { open: 0, arrivals });
        (Seat { connections: self.clone(), number: workers.len() - 1 }, arriving)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// One more from `address`, for the worker that has fewest; `None` where there is no place, or not for this source.
    pub(super) fn open(&self, address: IpAddr) -> Option<Open> {
        let source = network(address);
        let mut open = self.connections.counts();
        let own = open.sources.get(&source).copied().unwrap_or_default() + 1;
        let left = self.connections.most.checked_sub(open.all + 1)?;
        // The first of a source has a place wherever there is one.
        if own > left.max(1) {
            return None;
        }
        open.all += 1;
        open.sources.insert(source, own);
        let worker = open.idlest(self.number);
        if let Some(of) = open.workers.get_mut(worker) {
            of.open += 1;
        }
        Some(Open { connections: self.connections.clone(), source, worker })
    }

    /// Whether it is this worker's own.
    pub(super) fn has(&self, open: &Open) -> bool {
        open.worker == self.number
    }

    /// Gives it to the worker whose it is. It comes back where that one has ended.
    pub(super) fn give(&self, arrival: Arrival) -> Result<(), Arrival> {
        let to = self.connections.counts().workers.get(arrival.open.worker).map(|it| it.arrivals.clone());
        match to {
            Some(to) => to.send(arrival).map_err(|back| back.0),
            None => Err(arrival),
        }
    }
}

impl Counts {
    /// The worker with the fewest connections of those that serve; `own` where nobody has fewer.
    fn idlest(&self, own: usize) -> usize {
        let serving = self.workers.iter().enumerate().filter(|(_, of)| !of.arrivals.is_closed());
        serving.min_by_key(|(number, of)| (of.open, *number != own)).map_or(own, |(number, _)| number)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.connections.counts();
        open.all = open.all.saturating_sub(1);
        if let Some(of) = open.workers.get_mut(self.worker) {
            of.open = of.open.saturating_sub(1);
        }
        if let Some(own) = open.sources.get_mut(&self.source) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.sources.remove(&self.source);
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
        let (seat, _arriving) = connections.join();
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let takes_all = |last| std::iter::from_fn(|| seat.open(address(last))).collect::<Vec<_>>();
        let (first, second) = (takes_all(1), takes_all(2));
        assert_eq!((first.len(), second.len()), (50, 25));
        let strangers: Vec<_> = (10..60).filter_map(|last| seat.open(address(last))).collect();
        assert_eq!(strangers.len(), 25, "as long as there is a place");
        assert!(seat.open(address(200)).is_none());
        drop(first);
        assert_eq!(connections.counts().sources.get(&address(1)), None);
        assert_eq!(takes_all(2).len(), 12);
        drop((second, strangers));
        assert_eq!(connections.counts().all, 0);
    }

    #[test]
    fn whoever_accepts_each_worker_has_as_many_and_none_that_has_ended_gets_any() {
        let connections = Connections::new(100);
        let source = IpAddr::from([192, 0, 2, 1]);
        let (first, arriving) = connections.join();
        let (second, _arriving) = connections.join();
        let opened: Vec<_> = std::iter::repeat_with(|| first.open(source)).take(8).flatten().collect();
        assert_eq!(opened.iter().filter(|open| first.has(open)).count(), 4);
        assert_eq!(opened.iter().filter(|open| second.has(open)).count(), 4);
        // What ends makes room where it was.
        let (of_first, of_second): (Vec<_>, Vec<_>) = opened.into_iter().partition(|open| first.has(open));
        drop(of_second);
        assert!((0..4).all(|_| first.open(source).is_some_and(|open| second.has(&open))));
        drop((of_first, arriving));
        assert!(second.open(source).is_some_and(|open| second.has(&open)), "the first serves no more");
    }
}
