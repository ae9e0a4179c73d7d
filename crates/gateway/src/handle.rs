//! The lifecycle of one request: [`handle`] is [`admit()`] and then `carry`.

mod addressed;
mod admit;
mod agent_tool;
mod asks;
mod attempts;
mod authenticate;
mod carry;
mod content;
mod crossing;
mod decided;
mod definition;
mod follow;
mod front;
mod grants;
mod guards;
mod hold;
mod keep;
mod key_refused;
pub(crate) mod news;
mod on_account;
mod operations;
mod others;
mod pins;
pub(crate) mod question;
mod said_to;
mod waiting;

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::Full;
use vidimus_core::refusal::Refusal;
use vidimus_identity::PeerSvid;

use crate::data_plane::Carried;
use crate::gate::Gate;
use crate::reply::{self, ReplyBody};
use crate::request_context::RequestContext;

pub(crate) use admit::sha256;
pub use admit::{Admission, Admitted, admit};
pub(crate) use authenticate::{authenticate, credential};

/// The other end of a client connection.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: std::net::SocketAddr,
    /// What mTLS proved, if it was used.
    pub svid: Option<Arc<PeerSvid>>,
}

/// Governs one request and answers it, whatever comes.
pub async fn handle<B>(gate: &Gate, request: Request<B>, peer: &Peer) -> Response<ReplyBody>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
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

/// What a data plane is told of a request that it asked about.
#[derive(Debug)]
pub(crate) enum Told {
    /// It may send it to the upstream, with these headers and no others. The id of the call.
    Carry(Arc<str>, HeaderMap),
    /// It answers it so, and sends nothing.
    Answer(Response<ReplyBody>),
}

/// Governs one request that a data plane carries itself: as [`handle`], but that what may go on is handed over.
pub(crate) async fn hand_over(
    gate: &Gate,
    parts: &Parts,
    body: Bytes,
    peer: &Peer,
    carried: Carried,
) -> Told {
    let mut context = RequestContext::begin(gate, parts, peer);
    context.carried = Some(carried);
    let told = match admit(gate, &mut context, parts, Full::new(body)).await {
        Ok(Admission::Permitted(admitted)) => {
            let headers = carry::hand_over(gate, &mut context, parts, admitted, carried.door).await;
            headers.map(|headers| Told::Carry(context.call.clone(), headers))
        }
        Ok(Admission::Answered(permit, answer)) => {
            let answered = carry::answer(gate, &mut context, permit, answer).await;
            answered.map(|mut response| {
                if let Ok(call) = HeaderValue::from_str(&context.call) {
                    response.headers_mut().insert(reply::CALL_HEADER, call);
                }
                Told::Answer(response)
            })
        }
        Ok(Admission::Held(held)) => Err(held.refusal()),
        Err(refusal) => Err(refusal),
    };
    match told {
        Ok(told) => told,
        Err(refusal) => Told::Answer(context.refuse(gate, parts, refusal).await),
    }
}

/// Refuses a request that cannot be governed, for there is no telling what it is. It is recorded and counted as any refusal.
pub(crate) async fn refuse(gate: &Gate, parts: &Parts, peer: &Peer, refusal: Refusal) -> Response<ReplyBody> {
    RequestContext::begin(gate, parts, peer).refuse(gate, parts, refusal).await
}
