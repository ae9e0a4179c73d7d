//! The lifecycle of one request: [`handle`] is [`admit()`] and then `carry`.

mod addressed;
mod admit;
mod authenticate;
mod carry;
mod content;
mod definition;
mod grants;
mod hold;
mod keep;
mod waiting;

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use vidimus_core::refusal::Refusal;
use vidimus_identity::PeerSvid;

use crate::gate::Gate;
use crate::reply::{self, ReplyBody};
use crate::request_context::RequestContext;

pub(crate) use admit::sha256;
pub use admit::{Admission, Admitted, admit};
pub(crate) use authenticate::authenticate;

/// The other end of a client connection.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: std::net::SocketAddr,
    /// What mTLS proved, if it was used.
    pub svid: Option<Arc<PeerSvid>>,
}

/// Governs one request and answers it, whatever comes.
pub async fn handle(gate: &Gate, request: Request<Incoming>, peer: &Peer) -> Response<ReplyBody> {
    let (parts, body) = request.into_parts();
    let mut context = RequestContext::begin(gate, &parts, peer);
    let answered = match admit(gate, &mut context, &parts, body).await {
        Ok(Admission::Permitted(admitted)) => carry::carry(gate, &mut context, &parts, admitted).await,
        Ok(Admission::Answered(permit, answer)) => carry::answer(gate, &mut context, permit, answer).await,
        Ok(Admission::Held(held)) => Err(held.refusal()),
        Err(refusal) => Err(refusal),
    };
    match answered {
        Ok(mut response) => {
            if let Ok(call) = HeaderValue::from_str(&context.call) {
                response.headers_mut().insert(reply::CALL_HEADER, call);
            }
            response
        }
        Err(refusal) => context.refuse(gate, &parts, refusal).await,
    }
}

/// Refuses a request that cannot be governed, for there is no telling what it is. It is recorded and counted as any refusal.
pub(crate) async fn refuse(gate: &Gate, parts: &Parts, peer: &Peer, refusal: Refusal) -> Response<ReplyBody> {
    RequestContext::begin(gate, parts, peer).refuse(gate, parts, refusal).await
}
