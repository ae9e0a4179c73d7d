//! The configuration of data planes: an unmodified agentgateway gets its routes from here by xDS (delta ADS over gRPC), and asks the door of
//! [`crate::ext_authz`] about each call (ADR 66).
//!
//! It is no call: nobody is decided upon here, and nothing here decides. Who is given the configuration is a gateway that the installation
//! names, by the token of its ServiceAccount. What it makes of it is in [`Planes`].

mod compile;
#[cfg(test)]
pub(crate) mod contract;
mod planes;
mod proto;
mod serve;
mod stream;
mod subscription;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use vidimus_core::snapshot::Snapshot;

use crate::gate::Shared;
use planes::Place;

pub(crate) use compile::ALLOWED;
pub use compile::{Gateway, NoGateway, Settings};
pub use planes::Planes;
pub(crate) use proto::{Field, Struct, Text};
pub use serve::serve;

/// What the token of a gateway is for.
const AUDIENCE: &str = "agentgateway";

/// How long is waited, and how much is open at once.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the first message of a stream, and for a handshake.
    pub first: Duration,
    /// For the answer to what was sent, and for it to be read.
    pub answer: Duration,
    /// What changes within this is one change.
    pub gather: Duration,
    /// Streams of one gateway: a replica has one.
    pub streams: usize,
    /// Connections of all of them.
    pub connections: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            gather: Duration::from_millis(100),
            streams: 64,
            connections: 256,
        }
    }
}

/// Where data planes get their configuration.
#[derive(Clone, Debug)]
pub struct Xds(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    gateways: Vec<Gateway>,
    settings: Settings,
    patience: Patience,
    /// What is in force; `None` until all is read that is configured.
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    audience: Arc<str>,
}

impl Xds {
    /// For these gateways, and no others.
    pub fn new(
        shared: Arc<Shared>,
        gateways: Vec<Gateway>,
        settings: Settings,
        patience: Patience,
        snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    ) -> Self {
        Self(Arc::new(Inner { shared, gateways, settings, patience, snapshots, audience: AUDIENCE.into() }))
    }

    fn place(&self, gateway: &Gateway) -> Option<Place> {
        self.0.shared.planes.enter(gateway, self.0.patience.streams)
    }
}
