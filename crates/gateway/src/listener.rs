//! Where bytes come in: listeners, TLS, limits, and the few documents that are public.

mod accept;
mod connections;
pub(crate) mod public;
mod timed;

pub use accept::{Listener, serve};
pub use connections::Connections;

use std::convert::Infallible;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::gate::Gate;
use crate::handle::{Peer, handle};
use crate::reply::ReplyBody;

/// Answers one request: a public document, or a governed call.
async fn answer(
    gate: &Gate,
    request: Request<Incoming>,
    peer: &Peer,
) -> Result<Response<ReplyBody>, Infallible> {
    if request.uri().path().starts_with("/.well-known/") {
        return Ok(public::document(gate, request.method(), request.uri().path()));
    }
    Ok(handle(gate, request, peer).await)
}
