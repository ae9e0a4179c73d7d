//! How many may be at a registry at once, so that nobody keeps its gateways out: neither who connects and says nothing, nor one gateway the others.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use vidimus_cluster::MAX_GATEWAYS;
use vidimus_identity::SpiffeId;

/// Handshakes at once; who is through takes no place of others.
const HANDSHAKES: usize = 64;
/// Those of one address.
const OF_ADDRESS: usize = 8;

/// The handshakes that go on, the oldest first. Each holds the other end of its channel for as long as it does.
#[derive(Default)]
pub(super) struct Handshakes(VecDeque<(IpAddr, oneshot::Sender<()>)>);

impl Handshakes {
    /// Another one begins. It ends at once when what is returned does, which is when it is the oldest and there are too many: of its address, or of all.
    pub(super) fn begin(&mut self, from: IpAddr) -> oneshot::Receiver<()> {
        self.0.retain(|(_, place)| !place.is_closed());
        let is_same = |(other, _): &(IpAddr, oneshot::Sender<()>)| *other == from;
        let same = self.0.iter().filter(|one| is_same(one)).count();
        let oldest = match same >= OF_ADDRESS {
            true => self.0.iter().position(is_same),
            false => (self.0.len() >= HANDSHAKES).then_some(0),
        };
        if let Some(oldest) = oldest {
            self.0.remove(oldest);
        }
        let (place, shed) = oneshot::channel();
        self.0.push_back((from, place));
        shed
    }
}

/// The places of gateways that are through, an equal share for each ID.
pub(super) struct Gateways(HashMap<SpiffeId, Arc<Semaphore>>);

impl Gateways {
    pub(super) fn new(ids: &[SpiffeId]) -> Self {
        let ids: HashSet<SpiffeId> = ids.iter().cloned().collect();
        let share = MAX_GATEWAYS.checked_div(ids.len()).unwrap_or_default().max(1);
        Self(ids.into_iter().map(|id| (id, Arc::new(Semaphore::new(share)))).collect())
    }

    /// A place for a gateway of this ID, for as long as it is held; `None` where its share is taken.
    pub(super) fn enter(&self, id: &SpiffeId) -> Option<OwnedSemaphorePermit> {
        self.0.get(id)?.clone().try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    fn goes_on(shed: &mut oneshot::Receiver<()>) -> bool {
        shed.try_recv() == Err(TryRecvError::Empty)
    }

    /// Attack: connections that say nothing, from one address and then from many.
    #[test]
    fn a_handshake_is_let_go_for_a_newer_one_and_of_its_address_first() {
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let mut handshakes = Handshakes::default();
        let mut gateway = handshakes.begin(address(1));
        let mut silent: Vec<_> = (0..200).map(|_| handshakes.begin(address(2))).collect();
        assert!(goes_on(&mut gateway));
        assert_eq!(silent.iter_mut().map(goes_on).filter(|goes_on| *goes_on).count(), OF_ADDRESS);
        assert!(silent.last_mut().is_some_and(goes_on));
        // Who is through, or has left, has no place.
        drop(silent);
        let mut others: Vec<_> =
            (0..HANDSHAKES - 1).map(|n| handshakes.begin(address(3 + u8::try_from(n).unwrap()))).collect();
        assert!(goes_on(&mut gateway) && others.iter_mut().all(goes_on));
        let mut newest = handshakes.begin(address(200));
        assert!(goes_on(&mut newest) && !goes_on(&mut gateway));
    }

    /// Attack: a gateway that was taken over, and connects until no other one can.
    #[test]
    fn one_id_takes_no_place_of_another() {
        let id = |name: &str| SpiffeId::parse(&format!("spiffe://corp.example/{name}")).unwrap();
        let gateways = Gateways::new(&[id("a"), id("b"), id("a")]);
        let all: Vec<_> = std::iter::from_fn(|| gateways.enter(&id("a"))).collect();
        assert_eq!(all.len(), MAX_GATEWAYS / 2);
        assert!(gateways.enter(&id("b")).is_some() && gateways.enter(&id("c")).is_none());
        drop(all);
        assert!(gateways.enter(&id("a")).is_some());
        let only = Gateways::new(&[id("a")]);
        let all: Vec<_> = std::iter::from_fn(|| only.enter(&id("a"))).collect();
        assert_eq!(all.len(), MAX_GATEWAYS);
    }
}
