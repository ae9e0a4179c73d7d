//! Calls over gRPC (A2A 1.0): which agent they mean, how long they may take, and how they are answered. All between is the way of every call.

mod lowering;

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use tokio::time::Instant;
use vidimus_core::refusal::{Code, Refusal};

use crate::gate::Gate;
use crate::handle::{self, Peer, authenticate, handle};
use crate::protocol::a2a::grpc::{self, Named, ROUTE};
use crate::protocol::sse::is_events;
use crate::reply::ReplyBody;
use crate::request_context::RequestContext;

pub(crate) use lowering::Lowering;

const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const ACCEPTED: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Where a call may not say from.
const NEXT: &str = "Name the agent in the metadata vidimus-route (namespace/name), or by the tenant of its card at this gateway, or have the path \
    begin with /a2a/{namespace}/{name}.";

/// Whether it is a call over gRPC, also of an agent that is not there.
pub(super) fn is_call(parts: &Parts) -> bool {
    parts.version == Version::HTTP_2 && Named::of(parts.uri.path()).is_some()
}

/// Answers one call, whatever comes.
pub(super) async fn answer(gate: &Gate, request: Request<Incoming>, peer: &Peer) -> Response<ReplyBody> {
    let (parts, body) = request.into_parts();
    let method: Box<str> = Named::of(parts.uri.path()).map_or("", |named| named.method).into();
    let deadline = match deadline(&parts) {
        Ok(deadline) => deadline,
        Err(refusal) => {
            let refused = handle::refuse(gate, &parts, peer, refusal).await;
            return lowered(gate, refused, &method, None);
        }
    };
    let handled = async {
        match routed(gate, parts, body, peer).await {
            Ok(request) => handle(gate, request, peer).await,
            Err(refused) => refused,
        }
    };
    let handled = match deadline {
        None => handled.await,
        // Who waits no longer has left, for the record as well.
        Some(deadline) => match tokio::time::timeout_at(deadline, handled).await {
            Ok(handled) => handled,
            Err(_) => return lowered(gate, late(), &method, None),
        },
    };
    lowered(gate, handled, &method, deadline)
}

/// By when its caller wants the answer (gRPC over HTTP/2, "Timeout").
fn deadline(parts: &Parts) -> Result<Option<Instant>, Refusal> {
    let malformed =
        || Refusal::new(Code::MessageInvalid, "grpc-timeout is no number of up to 8 digits with a unit");
    let mut given = parts.headers.get_all(TIMEOUT).iter();
    let Some(first) = given.next() else { return Ok(None) };
    let said = first.to_str().ok().filter(|_| given.next().is_none()).ok_or_else(malformed)?;
    let unit = said.chars().next_back().ok_or_else(malformed)?;
    let digits = said.strip_suffix(unit).unwrap_or_default();
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(malformed());
    }
    let number: u64 = digits.parse().map_err(|_| malformed())?;
    let after = match unit {
        'H' => Duration::from_secs(number.saturating_mul(3_600)),
        'M' => Duration::from_secs(number.saturating_mul(60)),
        'S' => Duration::from_secs(number),
        'm' => Duration::from_millis(number),
        'u' => Duration::from_micros(number),
        'n' => Duration::from_nanos(number),
        _ => return Err(malformed()),
    };
    // What no clock reaches is no deadline.
    Ok(Instant::now().checked_add(after))
}

/// What is said to who waits no longer, if it hears it at all.
fn late() -> Response<ReplyBody> {
    let mut late = Response::new(ReplyBody::whole(""));
    *late.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    late
}

/// The body of a call: as it comes, or as it had to be read.
type CallBody = Either<Incoming, Full<Bytes>>;

/// The call by the path of the agent that it means.
///
/// # Errors
/// The answer to one that means none.
async fn routed(
    gate: &Gate,
    mut parts: Parts,
    body: Incoming,
    peer: &Peer,
) -> Result<Request<CallBody>, Response<ReplyBody>> {
    let Some(named) = Named::of(parts.uri.path()) else {
        return Ok(Request::from_parts(parts, Either::Left(body)));
    };
    if let Some(agent) = named.agent {
        // Who routes or logs by the other would see another agent.
        if parts.headers.get_all(ROUTE).iter().any(|said| said.as_bytes() != agent.as_bytes()) {
            let message = "the path and the metadata vidimus-route name two agents";
            let refusal = Refusal::new(Code::RouteUnknown, message).with_next(NEXT);
            return Err(handle::refuse(gate, &parts, peer, refusal).await);
        }
        return Ok(Request::from_parts(parts, Either::Left(body)));
    }
    let mut said = parts.headers.get_all(ROUTE).iter();
    if let Some(first) = said.next() {
        let path = first.to_str().ok().filter(|_| said.next().is_none()).and_then(|agent| named.at(agent));
        let uri = path.and_then(|path| with_path(&parts.uri, &path));
        // What leads nowhere is refused as any path that does.
        if let Some(uri) = uri {
            parts.uri = uri;
        }
        return Ok(Request::from_parts(parts, Either::Left(body)));
    }
    let mut context = RequestContext::begin(gate, &parts, peer);
    match by_tenant(gate, &mut context, &parts, body).await {
        Ok((uri, bytes)) => {
            parts.uri = uri;
            Ok(Request::from_parts(parts, Either::Right(Full::new(bytes))))
        }
        Err(refusal) => Err(context.refuse(gate, &parts, refusal).await),
    }
}

/// The address that the tenant in a message leads to, with the message, which had to be read for that: by somebody who is known. Who that is, and
/// for which agent its token is, is looked at again on the way of every call.
async fn by_tenant(
    gate: &Gate,
    context: &mut RequestContext,
    parts: &Parts,
    body: Incoming,
) -> Result<(Uri, Bytes), Refusal> {
    let (caller, _) = authenticate(gate, &gate.snapshot(), context, None, parts).await?;
    grpc::check_encoding(&parts.headers)?;
    let (holder, _place) = gate.accounts.entered(caller.proven.principal.entity())?;
    let (bytes, _lease) = gate.bodies.read(holder, gate.limits.message_body, body).await?;
    let nowhere = || Refusal::new(Code::RouteUnknown, "the call names no agent").with_next(NEXT);
    let named = Named::of(parts.uri.path()).ok_or_else(nowhere)?;
    let tenant = grpc::tenant(named.method, &bytes).ok_or_else(nowhere)?;
    let uri = named.at(&tenant).and_then(|path| with_path(&parts.uri, &path)).ok_or_else(nowhere)?;
    Ok((uri, bytes))
}

/// An address with another path, and no query.
fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// What the call was answered, as gRPC has it.
fn lowered(
    gate: &Gate,
    response: Response<ReplyBody>,
    method: &str,
    deadline: Option<Instant>,
) -> Response<ReplyBody> {
    let (mut parts, body) = response.into_parts();
    let status = parts.status;
    let has_events = is_events(&parts.headers);
    for name in [CONTENT_LENGTH, CONTENT_ENCODING, CONNECTION] {
        parts.headers.remove(name);
    }
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    parts.headers.insert(ACCEPTED, HeaderValue::from_static("identity"));
    parts.status = StatusCode::OK;
    let limit = gate.limits.held_answer;
    let lowering = Lowering::new(body, method, (status, has_events), (limit, deadline));
    Response::from_parts(parts, ReplyBody::lowered(lowering))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_a_number_and_a_unit() {
        let read = |given: &[&str]| {
            let mut request = Request::new(());
            for value in given {
                request.headers_mut().append(TIMEOUT, value.parse().expect("a value"));
            }
            let begun = Instant::now();
            let read = deadline(&request.into_parts().0).map_err(|refusal| refusal.code);
            read.map(|at| at.map(|at| at.saturating_duration_since(begun).as_secs()))
        };
        for (given, seconds) in
            [("2H", 7_200), ("3M", 180), ("5S", 5), ("7000m", 7), ("9000000u", 9), ("99999999n", 0)]
        {
            assert_eq!(read(&[given]), Ok(Some(seconds)), "{given}");
        }
        assert_eq!(read(&[]), Ok(None));
        assert!(read(&["99999999H"]).is_ok());
        for given in [&["S"][..], &["5"], &["5s"], &["-5S"], &["123456789S"], &["5 S"], &["5S", "5S"]] {
            assert_eq!(read(given), Err(Code::MessageInvalid), "{given:?}");
        }
    }
}
