//! The front door of Envoy's external authorization: `envoy.service.auth.v3.Authorization/Check` over gRPC. A data plane that has a request asks
//! here, and carries the call itself where it may (ADR 58). Asked is [`hand_over`], which is the way of every call up to its upstream.
//!
//! gRPC is that of [`spans`]: one message each way. It is not read where it is compressed, so there is nothing to blow up.

mod fields;
mod health;
mod request;
mod response;

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Method, Request, Response, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use prost::Message as _;
use vidimus_core::refusal::{Code, Refusal};

use crate::accounts::Holder;
use crate::data_plane::DataPlanes;
use crate::gate::{Gate, millis};
use crate::handle::{self, Peer, Told, hand_over};
use crate::protocol::a2a::grpc;
use crate::reply::ReplyBody;
use crate::request_context::RequestContext;
use crate::spans::{self, Wire};

use request::Check;
use response::CheckResponse;

const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";
/// As records have it.
const DOOR: &str = "ext_authz";
/// What a question has beside the body and the headers that it asks about: attributes of the connection, a certificate.
const BESIDE: usize = 256 * 1024;

/// Answers one request of a data plane, whatever comes.
pub(crate) async fn answer(
    gate: &Gate,
    planes: &DataPlanes,
    request: Request<Incoming>,
    peer: &Peer,
) -> Response<ReplyBody> {
    let (parts, body) = request.into_parts();
    match answered(gate, planes, (&parts, body), peer).await {
        Ok(message) => spans::grpc(&message),
        Err(refusal) => {
            let mut context = RequestContext::begin(gate, &parts, peer);
            context.span = None;
            let response = context.refuse(gate, &parts, refusal.clone()).await;
            spans::refused(Wire::Grpc, response, &refusal)
        }
    }
}

/// The message that one who may ask is answered with.
async fn answered(
    gate: &Gate,
    planes: &DataPlanes,
    (parts, body): (&Parts, Incoming),
    peer: &Peer,
) -> Result<Vec<u8>, Refusal> {
    let holder = asker(gate, planes, peer)?;
    check_call(parts)?;
    let is_about_health = parts.uri.path() == health::PATH;
    let most = match is_about_health {
        true => health::MOST,
        false => gate.limits.model_body.max(gate.limits.message_body) + gate.limits.headers + BESIDE,
    };
    let (bytes, _lease) = gate.bodies.read(holder.clone(), most, body).await?;
    let (is_encoded, message) = spans::unframed(&bytes)?;
    if is_encoded {
        return Err(not_read());
    }
    if is_about_health {
        // Without a ledger that is written nothing is permitted.
        return health::answer(message, gate.ledger.is_open());
    }
    let check = Check::read(bytes.slice_ref(message), gate.limits.headers)?;
    Ok(decided(gate, planes, &check).await.encode_to_vec())
}

/// Of the data plane that asks, what it takes of the room for bodies. It has to be one: whoever is answered has the credentials of calls.
fn asker<'p>(gate: &Gate, planes: &'p DataPlanes, peer: &Peer) -> Result<&'p Arc<Holder>, Refusal> {
    if let Some(anybody) = planes.anybody() {
        return Ok(anybody);
    }
    let Some(svid) = peer.svid.as_deref() else {
        let refusal =
            Refusal::new(Code::CredentialMissing, "a data plane asks with an X.509-SVID of its own");
        return Err(refusal.with_next("Have the data plane present its SVID: in Envoy, a transport_socket with tls_certificates in the cluster of ext_authz."));
    };
    gate.authenticator.check_svid(svid, millis(gate.clock.now().wall))?;
    planes.of(&svid.spiffe_id).ok_or_else(|| {
        let message = format!("{} is no data plane that may ask", svid.spiffe_id);
        Refusal::new(Code::PrincipalUnknown, message)
            .with_next("Name the SPIFFE ID of the data plane with --ext-authz-data-plane.")
    })
}

/// That it is one of the two calls of gRPC that are served here.
fn check_call(parts: &Parts) -> Result<(), Refusal> {
    let is_served = matches!(parts.uri.path(), PATH | health::PATH);
    if parts.version != Version::HTTP_2 || parts.method != Method::POST || !is_served {
        let message = "here are served envoy.service.auth.v3.Authorization/Check and grpc.health.v1.Health/Check over gRPC, and nothing else";
        let refusal = Refusal::new(Code::RouteUnknown, message);
        return Err(refusal.with_next(
            "Have data planes ask here (docs/envoy.md), and send calls to --listen or --tls-listen.",
        ));
    }
    let kind = parts.headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
    if !matches!(kind, b"application/grpc" | b"application/grpc+proto") {
        return Err(Refusal::new(Code::MessageInvalid, "a question comes as application/grpc"));
    }
    grpc::check_encoding(&parts.headers)
}

fn not_read() -> Refusal {
    Refusal::new(Code::MessageInvalid, "a question that is compressed is not read")
}

/// What the data plane is to do with the request that it asks about.
async fn decided(gate: &Gate, planes: &DataPlanes, check: &Check) -> CheckResponse {
    let (parts, caller, fault) = check.request(planes);
    let told = match fault {
        None => hand_over(gate, &parts, check.body.clone(), &caller, planes.carried(DOOR)).await,
        Some(refusal) => Told::Answer(handle::refuse(gate, &parts, &caller, refusal).await),
    };
    match told {
        Told::Carry(call, headers) => response::carry(&call, &parts.headers, &headers),
        Told::Answer(answer) => {
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_or(Bytes::new(), http_body_util::Collected::to_bytes);
            let body = String::from_utf8_lossy(&body).into_owned();
            response::answer(&Response::from_parts(head, ()), body)
        }
    }
}

/// Whether a question, framed as gRPC has it, is about a request that can be decided.
#[cfg(fuzzing)]
pub fn is_decidable(framed: &[u8]) -> bool {
    let planes = DataPlanes::new(Vec::new(), true, true);
    let Ok((false, message)) = spans::unframed(framed) else { return false };
    let Ok(check) = Check::read(Bytes::copy_from_slice(message), 65_536) else { return false };
    check.request(&planes).2.is_none()
}
