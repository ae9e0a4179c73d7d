//! The way back to a server that asks its client something in a session of theirs: what is refused of that, the server is told (ADR 97).

use std::sync::Arc;

use http::HeaderMap;
use tokio::sync::Semaphore;
use vidimus_core::refusal::{Code, Refusal};

use super::bridge::Wire;

/// How many answers one stream may have on their way to the server: each has a connection until the server has taken it.
const MOST: usize = 16;

/// To the server of a call in whose answer it asks, by the permit of that.
#[derive(Clone, Debug)]
pub struct Back {
    wire: Wire,
    /// The headers that say in which session.
    session: HeaderMap,
    places: Arc<Semaphore>,
}

impl Back {
    pub(super) fn new(wire: Wire, session: HeaderMap) -> Self {
        Self { wire, session, places: Arc::new(Semaphore::new(MOST)) }
    }

    /// Tells the server this answer (JSON) to what it asked. Nobody waits for it: a server may not listen while nobody reads what it says.
    ///
    /// # Errors
    /// `internal` where no credential can be minted; `upstream_invalid` where the server does not take what it is told, and asks on.
    pub fn answer(&self, answer: String) -> Result<(), Refusal> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| {
            let message =
                "the server asks its client on and on what is refused, and does not take the answers";
            Refusal::new(Code::UpstreamInvalid, message)
        })?;
        // That of the call may have ended long ago, and is minted anew then.
        let mut headers = self.wire.headers()?;
        headers.extend(self.session.clone());
        let wire = self.wire.clone();
        tokio::spawn(async move {
            if let Err(refusal) = wire.post(headers, answer).await {
                tracing::debug!(%refusal, "a server was not told that what it asks is refused");
            }
            drop(place);
        });
        Ok(())
    }
}
