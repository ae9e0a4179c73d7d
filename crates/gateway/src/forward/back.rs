//! The way back to a server that asks its client something in a session of theirs: what is refused of that, the server is told (ADR 97).

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Uri};
use vidimus_core::call::Destination;
use vidimus_core::permit::Permit;
use vidimus_core::refusal::Refusal;
use vidimus_core::resource::Era;

use super::bridge::Wire;
use crate::credential::minted;
use crate::gate::Gate;
use crate::protocol::mcp::bridge::era;
use crate::protocol::mcp::{SESSION_HEADER, VERSION_HEADER};

/// By the permit of the call in whose answer the server asks, to the address of that.
#[derive(Clone, Debug)]
pub struct Back {
    permit: Arc<Permit>,
    uri: Uri,
    /// Those that the call went out with.
    headers: HeaderMap,
}

/// The address and the headers of a call in whose answer the server may ask by requests of its own; `None` of every other.
pub(super) fn of(permit: &Permit, uri: &Uri, headers: &HeaderMap) -> Option<(Uri, HeaderMap)> {
    let is_of_session =
        matches!(permit.destination(), Destination::Server(_)) && era(headers) == Era::Sessions;
    is_of_session.then(|| (uri.clone(), headers.clone()))
}

impl Back {
    pub(super) fn new(permit: Arc<Permit>, (uri, headers): (Uri, HeaderMap)) -> Self {
        Self { permit, uri, headers }
    }

    /// Tells the server this answer (JSON) to what it asked. Nobody waits for it: a server may not listen while nobody reads what it says.
    ///
    /// # Errors
    /// `internal` where no credential can be minted.
    pub fn answer(&self, gate: &Gate, answer: String) -> Result<(), Refusal> {
        let to = (self.permit.clone(), &gate.shared);
        let wire = Wire::new(&gate.upstream, to, self.uri.clone(), &self.headers);
        let mut headers = wire.headers()?;
        // That of the call may have ended long ago.
        headers.insert(AUTHORIZATION, minted(&gate.shared, &self.permit)?.1);
        for name in [SESSION_HEADER, VERSION_HEADER] {
            if let Some(value) = self.headers.get(name) {
                headers.insert(name, value.clone());
            }
        }
        tokio::spawn(async move {
            if let Err(refusal) = wire.post(headers, answer).await {
                tracing::debug!(%refusal, "a server was not told that what it asks is refused");
            }
        });
        Ok(())
    }
}
