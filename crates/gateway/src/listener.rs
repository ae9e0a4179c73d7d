//! Where bytes come in: listeners, TLS, limits, and the few documents that are public.

mod accept;
pub mod authority;
mod connections;
pub(crate) mod grpc;
mod malformed;
pub(crate) mod page;
pub(crate) mod public;
mod timed;

pub use accept::{Listener, serve};
pub use connections::Connections;

use std::convert::Infallible;
use std::sync::Arc;

use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;

use crate::data_plane::DataPlanes;
use crate::ext_authz;
use crate::gate::Gate;
use crate::handle::{self, Peer, handle};
use crate::news;
use crate::reply::ReplyBody;
use crate::spans;

use page::Page;

/// What comes in at a socket.
#[derive(Clone, Debug)]
pub enum Door {
    /// Calls, from who makes them.
    Calls,
    /// Questions about calls, from data planes that carry them themselves.
    DataPlanes(Arc<DataPlanes>),
}

/// Answers one request by the door at which it came in.
async fn enter(
    gate: &Gate,
    door: &Door,
    request: Request<Incoming>,
    peer: &Peer,
) -> Result<Response<ReplyBody>, Infallible> {
    match door {
        Door::Calls => answer(gate, request, peer).await,
        Door::DataPlanes(planes) => Ok(ext_authz::answer(gate, planes, request, peer).await),
    }
}

/// Answers one request: a page that asks beforehand, a public document, news of a task or spans that an agent sends, or a governed call.
async fn answer(
    gate: &Gate,
    request: Request<Incoming>,
    peer: &Peer,
) -> Result<Response<ReplyBody>, Infallible> {
    let (parts, body) = request.into_parts();
    let page = Page::of(gate, &parts);
    let mut response = if let Err(refusal) = malformed::check(&parts) {
        let mut response = handle::refuse(gate, &parts, peer, refusal).await;
        // Where its end is, nobody can be sure.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    } else if let Some(answer) = page.preflight(&parts) {
        answer
    } else if parts.uri.path().starts_with("/.well-known/") {
        let mut document = public::document(gate, &parts.method, parts.uri.path());
        if page == Page::None && !gate.allowed_origins.is_empty() {
            // A cache must not give to a page what was said to nobody.
            document.headers_mut().append(header::VARY, HeaderValue::from_static("Origin"));
        }
        document
    } else if news::is_address(parts.uri.path()) {
        // Few come, and what is kept in place is moved with each call.
        Box::pin(handle::news::receive(gate, Request::from_parts(parts, body), peer)).await
    } else if let Some(asked) = spans::asked(gate, &parts) {
        spans::receive(gate, asked, Request::from_parts(parts, body), peer).await
    } else if grpc::is_call(&parts) {
        grpc::answer(gate, Request::from_parts(parts, body), peer).await
    } else {
        handle(gate, Request::from_parts(parts, body), peer).await
    };
    page.announce(response.headers_mut());
    Ok(response)
}
