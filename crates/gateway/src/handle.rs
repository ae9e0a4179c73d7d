//! The whole way of one call, in one linear function: [`govern`].

mod answer;
mod journey;
mod object;
mod unrecorded;
mod viewer;

use std::borrow::Cow;
use std::sync::Arc;

use aws_lc_rs::digest;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use vidimus_core::call::{Call, Context};
use vidimus_core::caller::{Caller, Chain, Proven};
use vidimus_core::decision::Decision;
use vidimus_core::record::{DecisionKind, DecisionRecord, Record};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Snapshot;
use vidimus_identity::{Evidence, Hop, HopToken, PeerSvid};
use vidimus_ledger::Receipt;

use crate::effect::{Effect, Ending};
use crate::forward::{Outbound, forward, headers};
use crate::gate::{Gate, millis, rfc3339};
use crate::protocol::{self, Ask};
use crate::reply::{self, ReplyBody};
use crate::route::Route;

use journey::Journey;
use object::Object;
use unrecorded::closed;

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
    let mut journey = Journey::begin(gate, &parts, peer);
    match govern(gate, &mut journey, &parts, body).await {
        Ok(mut response) => {
            if let Ok(call) = HeaderValue::from_str(&journey.call) {
                response.headers_mut().insert(reply::CALL_HEADER, call);
            }
            response
        }
        Err(refusal) => journey.refuse(gate, &parts, refusal).await,
    }
}

/// listener → **authenticate → adapter → decide → record → mint → upstream → record**.
async fn govern(
    gate: &Gate,
    journey: &mut Journey,
    parts: &http::request::Parts,
    body: Incoming,
) -> Result<Response<ReplyBody>, Refusal> {
    let world = gate.snapshot();
    let route = Route::parse(parts.uri.path()).ok_or_else(|| {
        Refusal::new(Code::RouteUnknown, "the path addresses nothing that is governed here")
    })?;
    same_origin(gate, parts)?;
    // Before the body is read: nobody unknown may make the gateway work.
    let (caller, credential) = authenticate(gate, &world, journey, &route, parts).await?;
    let object = Object::find(&world, &route)?;
    let endpoint = object.endpoint(&parts.method, &route)?;
    let most = most(gate, &route);
    let _held = gate.bodies.lease(announced(&body, most))?;
    let bytes = read(gate, most, body).await?;
    let json = match endpoint.has_body() {
        true => Some(protocol::parse(&bytes)?),
        false if bytes.is_empty() => None,
        // Bytes that nobody read must not go on: to a server that expects none they are the next request.
        false => return Err(Refusal::new(Code::MessageInvalid, "this request must not have a body")),
    };
    journey.answer_to(json.as_ref());

    let ask = match object.ask(&endpoint, parts, json.as_ref(), bytes.len())? {
        object::Asked::Forward(ask) => ask,
        object::Asked::ListModels(provider) => {
            return answer::models(gate, journey, &world, &caller, &route, provider).await;
        }
    };
    let session = object.open_session(gate, &caller, &parts.headers)?;
    let reserved = gate.reach.reserve(&caller, object.id(), journey.started)?;
    let mut call = call(&ask, &caller, journey);
    call.context.fan_out = reserved.fan_out();
    let decision = world.authorize(&call);
    let receipt = record(gate, journey, &world, &call, &decision, &route, &bytes).await?;
    let permit = decision.permit()?;
    reserved.keep();

    // The refusal of an agent without an endpoint is on record as a decision without an effect.
    let to = object.upstream().ok_or_else(|| object.unreachable())?;
    let mut effect = effect(gate, journey, &receipt, &route, &ask, bytes.len());
    let response = match ask.sent(&bytes).and_then(|body| {
        outbound(gate, journey, &caller, credential, parts, &object, &endpoint, session, body)
    }) {
        Ok((outbound, token)) => {
            effect.token = token;
            forward(&gate.upstream, permit, &receipt, to, outbound).await
        }
        Err(refusal) => Err(refusal),
    };
    match response {
        Ok(response) => {
            answer::Answering { gate, world: &world, caller: &caller, call: &call, object: &object }
                .pass(&ask, response, effect)
                .await
        }
        Err(refusal) => {
            effect.record(Ending::Failed(refusal.code)).await.map_err(closed)?;
            Err(refusal)
        }
    }
}

/// A browser page of an origin that nobody allowed may not use a person's network position (MCP, transports, "Security warning").
fn same_origin(gate: &Gate, parts: &http::request::Parts) -> Result<(), Refusal> {
    match parts.headers.get(http::header::ORIGIN) {
        Some(origin)
            if !gate.allowed_origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()) =>
        {
            Err(Refusal::new(Code::OriginRefused, "requests with this Origin are refused"))
        }
        _ => Ok(()),
    }
}

/// Who calls. The credential is returned only so that it can be kept from going further.
async fn authenticate<'p>(
    gate: &Gate,
    world: &Snapshot,
    journey: &mut Journey,
    route: &Route<'_>,
    parts: &'p http::request::Parts,
) -> Result<(Caller, Option<&'p str>), Refusal> {
    let bearer = credential(route, parts)?;
    let path = parts.uri.path();
    let evidence = Evidence {
        bearer,
        peer: journey.peer.svid.as_deref(),
        route: path.strip_suffix(route.rest).unwrap_or(path),
        now: millis(journey.wall),
    };
    let proven = gate.authenticator.authenticate(world, evidence).await?;
    let chain = Arc::new(chain(&proven, journey));
    journey.caller = Some(proven.clone());
    Ok((Caller { proven, chain }, bearer))
}

/// The one credential of a request. Anthropic's SDK sends its key as `x-api-key`; two different ones are one too many.
fn credential<'p>(route: &Route<'_>, parts: &'p http::request::Parts) -> Result<Option<&'p str>, Refusal> {
    let ambiguous =
        || Refusal::new(Code::CredentialAmbiguous, "the request carries more than one credential");
    let mut lines = parts.headers.get_all(AUTHORIZATION).iter();
    let bearer = match (lines.next(), lines.next()) {
        (None, _) => None,
        (Some(_), Some(_)) => return Err(ambiguous()),
        (Some(line), None) => {
            let text = line.to_str().ok().and_then(|text| text.split_once(' '));
            match text.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) {
                Some((_, token)) => Some(token.trim()),
                None => {
                    return Err(Refusal::new(
                        Code::TokenMalformed,
                        "Authorization must be \"Bearer\" and one token",
                    ));
                }
            }
        }
    };
    if route.protocol != crate::route::Protocol::Llm {
        return Ok(bearer);
    }
    let key = parts.headers.get("x-api-key").and_then(|key| key.to_str().ok());
    match (bearer, key) {
        (Some(a), Some(b)) if a != b => Err(ambiguous()),
        (bearer, key) => Ok(bearer.or(key)),
    }
}

/// The chain that the credential continues, or a new one that begins with this call.
fn chain(proven: &Proven, journey: &Journey) -> Chain {
    proven.delegated.clone().unwrap_or_else(|| Chain {
        transaction: journey.call.clone(),
        started: millis(journey.wall),
        actors: Vec::new(),
    })
}

/// The longest body of a route.
fn most(gate: &Gate, route: &Route<'_>) -> usize {
    match route.protocol {
        crate::route::Protocol::Llm => gate.limits.model_body,
        _ => gate.limits.message_body,
    }
}

/// How long the body says it is; `most` where it does not, or says more than is read of it.
fn announced(body: &Incoming, most: usize) -> usize {
    body.size_hint()
        .upper()
        .and_then(|length| usize::try_from(length).ok())
        .map_or(most, |length| length.min(most))
}

/// Reads the body, bounded in size and time.
async fn read(gate: &Gate, most: usize, body: Incoming) -> Result<Bytes, Refusal> {
    let slow = || {
        Refusal::new(
            Code::RequestTooSlow,
            format!("the body did not arrive within {:?}", gate.limits.body_time),
        )
    };
    match tokio::time::timeout(gate.limits.body_time, Limited::new(body, most).collect()).await {
        Err(_) => Err(slow()),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Refusal::new(Code::BodyTooLarge, format!("the body is larger than {most} bytes")))
        }
        Ok(Err(error)) => Err(Refusal::new(Code::MessageInvalid, "the body broke off").with_detail(error)),
    }
}

fn call<'a>(ask: &Ask<'a>, caller: &'a Caller, journey: &Journey) -> Call<'a> {
    Call {
        principal: &caller.proven.principal,
        action: ask.action,
        target: ask.target,
        context: Context {
            method: ask.method,
            user: caller.proven.user.as_ref(),
            chain: &caller.chain,
            now: millis(journey.wall),
            source_ip: Some(journey.peer.address.ip().to_canonical()),
            identity: &caller.proven.identity,
            arguments: ask.arguments,
            tokens_estimated: ask.tokens_estimated,
            streaming: ask.streaming,
            fan_out: 1,
        },
    }
}

/// Writes the decision, before any effect of it.
async fn record(
    gate: &Gate,
    journey: &mut Journey,
    world: &Snapshot,
    call: &Call<'_>,
    decision: &Decision,
    route: &Route<'_>,
    body: &[u8],
) -> Result<Receipt, Refusal> {
    let context = &call.context;
    let record = Record::Decision(DecisionRecord {
        action: call.action.as_str(),
        body: Cow::Owned(sha256(body)),
        chain: context.chain.actors.iter().map(|actor| Cow::Owned(actor.to_string())).collect(),
        code: decision.code().map(Code::as_str),
        depth: context.chain.depth(),
        facts: decision.facts(),
        id: &journey.call,
        identity: context.identity,
        kind: DecisionKind,
        method: context.method,
        near: decision.near(),
        outcome: decision.outcome().as_str(),
        policies: decision.policies(),
        principal: Cow::Owned(call.principal.entity().to_string()),
        protocol: route.protocol.as_str(),
        resource: Cow::Owned(call.target.entity().to_string()),
        snapshot: world.digest(),
        source: Some(Cow::Owned(journey.peer.address.ip().to_string())),
        time: Cow::Owned(rfc3339(journey.wall)),
        trace: Cow::Owned(journey.trace.to_string()),
        transaction: &context.chain.transaction,
        user: context.user.map(|user| Cow::Owned(user.id())),
        version: 1,
    });
    let receipt = gate.ledger.record(&journey.call, &record).await.map_err(closed)?;
    gate.meter.decided(Some(route.protocol), decision.code());
    journey.decided(call, decision);
    Ok(receipt)
}

/// The caller's bytes, addressed to the upstream, with this hop's own credential in place of the caller's.
#[expect(
    clippy::too_many_arguments,
    reason = "each is one ingredient of the request; a struct would only rename them"
)]
fn outbound(
    gate: &Gate,
    journey: &Journey,
    caller: &Caller,
    credential: Option<&str>,
    parts: &http::request::Parts,
    object: &Object<'_>,
    endpoint: &object::Entry,
    session: Option<HeaderValue>,
    body: Bytes,
) -> Result<(Outbound, Option<String>), Refusal> {
    let (mut headers, token) = match object {
        Object::Provider(provider) => {
            let mut headers = headers::to_third_party(&parts.headers, credential);
            if let Some((name, value)) = gate.lender.header(provider)? {
                headers.insert(name, value);
            }
            (headers, None)
        }
        Object::Server(_) | Object::Agent(_) => {
            let mut headers = headers::to_estate(&parts.headers, credential);
            let token = mint(gate, journey, caller, object)?;
            headers.insert(AUTHORIZATION, token.header_value);
            (headers, Some(token.jti))
        }
    };
    headers.remove(crate::session::HEADER);
    if let Some(session) = session {
        headers.insert(crate::session::HEADER, session);
    }
    headers::finish(&mut headers, &journey.trace, &body);
    let uri = object.uri(endpoint)?;
    Ok((Outbound { method: parts.method.clone(), uri, headers, body }, token))
}

/// A credential for exactly this destination, for a couple of minutes.
fn mint(gate: &Gate, journey: &Journey, caller: &Caller, object: &Object<'_>) -> Result<HopToken, Refusal> {
    let audience =
        object.upstream().map(|endpoint| &*endpoint.audience).ok_or_else(|| object.unreachable())?;
    let hop = Hop {
        audience,
        destination: object.id(),
        caller: caller.proven.principal.entity(),
        user: caller.proven.user.as_ref(),
        chain: &caller.chain,
        now: millis(journey.wall),
        ttl: gate.limits.token_life,
    };
    gate.mint.mint(&hop).map_err(|error| {
        Refusal::new(Code::Internal, "no credential could be minted for this hop").with_detail(error)
    })
}

fn effect(
    gate: &Gate,
    journey: &mut Journey,
    receipt: &Receipt,
    route: &Route<'_>,
    ask: &Ask<'_>,
    bytes_in: usize,
) -> Effect {
    Effect {
        shared: gate.shared.clone(),
        protocol: route.protocol,
        call: journey.call.clone(),
        decision: receipt.index(),
        started: journey.started,
        status: 0,
        bytes_in: bytes_in as u64,
        bytes_out: 0,
        token: None,
        usage: protocol::usage::Usage::default(),
        model: match ask.target {
            vidimus_core::call::Target::Model { provider, name } => {
                provider.model(name).map(|model| (provider.id.id.clone(), model.name.clone()))
            }
            _ => None,
        },
        span: journey.span.take(),
        recorded: false,
    }
}

/// `sha256:` and hex.
fn sha256(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value & 15)).copied().map_or('0', char::from);
    let mut text = String::with_capacity(71);
    text.push_str("sha256:");
    for byte in digest::digest(&digest::SHA256, bytes).as_ref() {
        text.push(digit(byte >> 4));
        text.push(digit(*byte));
    }
    text
}
