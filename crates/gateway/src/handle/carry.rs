//! The second half of a request's lifecycle: a permitted call, carried out.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use vidimus_core::call::Destination;
use vidimus_core::obligation::{Change, Changed};
use vidimus_core::permit::Permit;
use vidimus_core::record::Attempt;
use vidimus_core::refusal::{Code, Refusal, Served};
use vidimus_core::resource::llm_provider::ProviderType;
use vidimus_core::resource::{Endpoint, HeaderRules};
use vidimus_core::snapshot::Snapshot;

use super::admit::{Admitted, OwnPermit};
use super::attempts::Elsewhere;
use super::{agent_tool, front, key_refused, news, others, pins};
use crate::answer::{Answering, Asked, Ongoing, taken_back_before};
use crate::bodies::Lease;
use crate::changes::{self, Demands, Tally};
use crate::credential;
use crate::data_plane::{only_here, uncapped};
use crate::effect::{Begun, Effect, Ending};
use crate::forward::{Body, Outbound, forward, headers};
use crate::gate::Gate;
use crate::protocol::a2a::webhook;
use crate::protocol::llm::{self, bedrock};
use crate::protocol::members::{self, Replaced};
use crate::protocol::{Below, Binding, Dropped, Instead, Lowered, a2a, mcp};
use crate::reply::{self, ReplyBody};
use crate::request_context::RequestContext;
use crate::seal;
use crate::unrecorded::closed;

/// … → **credential → upstream → answer → record**. What was admitted is done with before anything waits: what is kept in place is moved with each call.
pub(super) fn carry<'a>(
    gate: &'a Gate,
    context: &'a mut RequestContext,
    parts: &'a Parts,
    admitted: Admitted<'a>,
) -> impl Future<Output = Result<Response<ReplyBody>, Refusal>> + Send + 'a {
    let (crossed, credential) = (admitted.crossed.clone(), admitted.credential);
    let as_crossed = crossed.as_deref().map_or(parts, |crossed| &crossed.parts);
    let ready = ready(gate, context, as_crossed, admitted);
    async move {
        let parts = crossed.as_deref().map_or(parts, |crossed| &crossed.parts);
        carried(gate, context, (parts, credential), ready).await
    }
}

async fn carried(
    gate: &Gate,
    context: &RequestContext,
    (parts, credential): (&Parts, Option<&str>),
    ready: Ready<'_, '_>,
) -> Result<Response<ReplyBody>, Refusal> {
    let Ready { mut answering, mut effect, outbound, elsewhere, requested, lease: _lease } = ready;
    let permit = outbound.as_ref().map(|outbound| outbound.permit());
    let passed_over = permit.map_or_else(|_| Vec::new(), |permit| permit.passed_over().to_vec());
    let response = match (outbound, elsewhere.as_deref()) {
        (Ok(outbound), Some(elsewhere)) if !outbound.permit().candidates().is_empty() => {
            let noted = (&mut *effect, &mut *answering);
            // Few calls have several that may answer, and what is kept in place is moved with each.
            Box::pin(elsewhere.sent(gate, (context, parts), *outbound, noted)).await
        }
        (Ok(outbound), _) => {
            effect.ran = outbound.ran();
            let sent = pin!(sent(gate, context, (parts, credential), (outbound, &*answering)));
            match answering.unless_taken_back(sent).await.unwrap_or_else(Err) {
                Ok(response) => key_refused::checked((&mut *effect, &*answering), response).await,
                Err(refusal) => Err(refusal),
            }
        }
        (Err(refusal), _) => Err(refusal),
    };
    match response {
        Ok(response) => {
            let response = unframed(gate, &answering, response);
            let response = match elsewhere {
                Some(elsewhere) => elsewhere.lifted(gate, (&*effect, &*answering), response),
                None => response,
            };
            answering.pass(response, effect).await.map_err(|refusal| asked_for(refusal, requested))
        }
        Err(refusal) => {
            // That is said only where nothing was sent.
            effect.sent &= !refusal.code.is_of_unsent() || effect.attempts.iter().any(Attempt::was_sent);
            let refusal = others::told(refusal, &passed_over, &effect.unasked);
            Box::pin(effect.record_refused(&refusal)).await.map_err(closed)?;
            Err(refusal)
        }
    }
}

/// Has the one who may answer do so.
async fn sent(
    gate: &Gate,
    context: &RequestContext,
    (parts, credential): (&Parts, Option<&str>),
    (outbound, answering): (Box<Outbound>, &Answering<'_>),
) -> Result<Response<Body>, Refusal> {
    if outbound.permit().endpoint().is_ok_and(Endpoint::is_of_members) {
        return Box::pin(front::answer(gate, context, (parts, credential), (&outbound, answering))).await;
    }
    match outbound.agent() {
        Some(agent) => agent_tool::carried(gate, context, parts, (agent, outbound)).await,
        None => forward(&gate.upstream, outbound).await,
    }
}

/// The answer of whoever answers, where that is Bedrock: in events, as the others of models have them.
fn unframed(gate: &Gate, answering: &Answering<'_>, response: Response<Body>) -> Response<Body> {
    match answering.answers() {
        Destination::Provider(provider) if provider.provider == ProviderType::Bedrock => {
            bedrock::frames::unframed(response, gate.limits.held_answer)
        }
        _ => response,
    }
}

/// … → **credential → record**: what goes to the upstream beside the message, for a data plane that sends it. What comes of it is not seen from
/// here, and its record says so before the data plane has anything.
pub(super) async fn hand_over(
    gate: &Gate,
    context: &mut RequestContext,
    parts: &Parts,
    admitted: Admitted<'_>,
    door: &str,
) -> Result<HeaderMap, Refusal> {
    let goes_on = query_goes_on(parts.uri.query(), admitted.binding.passed_query())
        .and_then(|()| is_reached(gate, &admitted.permit));
    let reserved = admitted.reservation.most_written().is_some();
    let Ready { mut effect, outbound, .. } = ready(gate, context, parts, admitted);
    let is_capped = effect.changed.as_ref().is_some_and(|changed| changed.request.cap_tokens > 0);
    let goes_on = if reserved && is_capped { goes_on.and_then(|()| Err(uncapped())) } else { goes_on };
    match goes_on.and(outbound) {
        Ok(outbound) => {
            effect.record_not_seen(door).await.map_err(closed)?;
            Ok(outbound.into_headers())
        }
        Err(refusal) => {
            effect.sent = false;
            effect.record_refused(&refusal).await.map_err(closed)?;
            Err(refusal)
        }
    }
}

/// That all of a query goes on: a data plane sends all of it.
fn query_goes_on(query: Option<&str>, passed: &[&str]) -> Result<(), Refusal> {
    let mut pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    if pairs.all(|pair| passed.contains(&pair)) {
        return Ok(());
    }
    Err(Refusal::new(
        Code::DataPlaneUnable,
        "the address has a query that does not go on, and the data plane would send it",
    ))
}

/// That there is something to send it to, where calls may go: only the gateway runs jobs, and a data plane knows nothing of its guard.
fn is_reached(gate: &Gate, permit: &Permit) -> Result<(), Refusal> {
    let endpoint = permit.endpoint()?;
    only_here(endpoint).map_or_else(|| gate.upstream.check_address(endpoint), Err)
}

/// A call, ready to be carried out.
struct Ready<'g, 'p> {
    answering: Box<Answering<'g>>,
    effect: Box<Effect>,
    outbound: Result<Box<Outbound>, Refusal>,
    /// The message, where it goes to another API, or may go to several providers.
    elsewhere: Option<Box<Elsewhere>>,
    /// What the caller had asked for, where the gateway asks something in its place.
    requested: Option<Box<str>>,
    /// The room that the message takes until it is answered.
    lease: Lease<'p>,
}

/// All that waits for nothing: what it is done with is not kept while the call is under way.
fn ready<'g, 'p>(
    gate: &'g Gate,
    context: &mut RequestContext,
    parts: &Parts,
    mut admitted: Admitted<'p>,
) -> Ready<'g, 'p> {
    let reserved = admitted.reservation.most_written();
    let demands = Demands::of(admitted.permit.obligations(), reserved).map(|demands| {
        let caller = || cancelling(parts, &admitted.permit);
        demands.cancellable(&gate.redacted_calls, caller, context.message_id())
    });
    let room = admitted.permit.take_room();
    let permit = &admitted.permit;
    let begun = Begun {
        call: &context.call,
        caller: permit.caller(),
        started: context.started,
        bytes_in: admitted.bytes_in,
        trace: context.trace.sampled(),
    };
    let decided = (permit.index(), room, permit.destination());
    let mut effect = Effect::begin(gate, begun, decided, admitted.protocol, &admitted.asked);
    effect.course.arriving = context.arriving;
    effect.span = context.span.take();
    effect.approval = admitted.approval.take();
    effect.keeping = context.keeping.take();
    effect.changed = demands.as_ref().filter(|_| !permit.obligations().is_empty()).map(Tally::of);
    let taken_back = taken_back(gate, &admitted.asked, &admitted.world, &admitted.permit);
    let results = pins::results(gate, &admitted.permit, &admitted.asked);
    let screen = demands.as_ref().and_then(|demands| demands.screen.clone());
    let answering = Box::new(Answering {
        gate,
        world: admitted.world.clone(),
        caller: admitted.permit.caller().clone(),
        destination: admitted.permit.destination().clone(),
        binding: admitted.binding,
        answer: admitted.answer,
        id: context.message_id(),
        asked: admitted.asked,
        redaction: demands.as_ref().and_then(|demands| demands.answer.clone()),
        screen: screen.map(|screen| screen.of_answers_by(admitted.permit.destination())),
        beside: None,
        results: results.as_ref().ok().cloned().flatten(),
        member: admitted.crossed.as_ref().map(|crossed| crossed.by.member.clone()),
        had: a2a::card::tag::given(parts),
        trace: context.trace,
    });
    let sent = Sent {
        permit: admitted.permit,
        binding: admitted.binding,
        card: a2a::is_card(&admitted.operation),
        path: admitted.operation.path,
        body: admitted.body,
        amends: admitted.amends,
        dropped: admitted.dropped,
        replaced: admitted.replaced,
        webhook: admitted.webhook,
        opened: admitted.opened,
        instead: admitted.instead,
        credential: admitted.credential,
        demands,
    };
    let requested = sent.instead.as_ref().map(|instead| instead.requested.clone());
    let counted = admitted.reservation.counted();
    effect.reservation = Some(admitted.reservation);
    let prepared = match counted {
        Err(refusal) => Err(refusal),
        Ok(()) => taken_back
            .and(results.map(drop))
            .and_then(|()| sent.prepared(gate, context, parts, &answering.asked)),
    };
    let mut written = None;
    let outbound = prepared.map(|Prepared { outbound, elsewhere, token, changed }| {
        (effect.token, written) = (token, elsewhere);
        effect.is_sent_changed(changed);
        effect.goes_out();
        Box::new(outbound.that_may_wait(|| Ongoing::of(&answering, &effect)))
    });
    Ready { answering, effect, outbound, elsewhere: written, requested, lease: admitted.lease }
}

/// That nothing took the call back while something of it was being written.
pub(super) fn taken_back(
    gate: &Gate,
    asked: &Asked,
    world: &Arc<Snapshot>,
    permit: &Permit,
) -> Result<(), Refusal> {
    let Some(code) = asked.taken_back(&gate.shared, world, permit.caller(), permit.destination()) else {
        return Ok(());
    };
    Err(taken_back_before("it was carried out", code, &gate.shared, permit.caller()))
}

/// The fault that the gateway asked the upstream about, with what the caller had asked for.
fn asked_for(mut refusal: Refusal, requested: Option<Box<str>>) -> Refusal {
    if let (Some(Served::Versions { requested: said, .. }), Some(requested)) =
        (refusal.served.as_deref_mut(), requested)
    {
        *said = requested;
    }
    refusal
}

/// What goes upstream.
struct Sent<'p> {
    permit: Permit,
    binding: &'static dyn Binding,
    path: Cow<'static, str>,
    body: Bytes,
    amends: bool,
    dropped: Dropped,
    replaced: Vec<Replaced>,
    webhook: Option<Box<webhook::Said>>,
    opened: Vec<(HeaderName, HeaderValue)>,
    instead: Option<Box<Instead>>,
    /// It asks for an agent's card, wherever that is.
    card: bool,
    credential: Option<&'p str>,
    /// What policies demand that is changed of it.
    demands: Option<Demands>,
}

/// A request, ready to be sent.
struct Prepared {
    outbound: Outbound,
    elsewhere: Option<Box<Elsewhere>>,
    /// The id of the token that was minted for it.
    token: Option<String>,
    changed: Changed,
}

impl Sent<'_> {
    /// The caller's message, addressed to the upstream, changed as policies demand, with this hop's own credential in place of the
    /// caller's.
    fn prepared(
        mut self,
        gate: &Gate,
        context: &RequestContext,
        parts: &Parts,
        asked: &Asked,
    ) -> Result<Prepared, Refusal> {
        if let Some(said) = self.webhook.take() {
            self.replaced.extend(news::told_to_agent(gate, &self.permit, asked, &said)?);
        }
        let (endpoint, method) = (self.permit.endpoint()?, asked.method());
        let (foreign, none) = (self.card && endpoint.has_foreign_card(), HeaderRules::default());
        let rules = if foreign { &none } else { &endpoint.headers };
        if let Some(instead) = self.instead {
            let Instead { mut headers, body, .. } = *instead;
            headers::finish(&mut headers, rules, &context.trace, &body);
            let mut outbound = Outbound::to(self.permit, parts.method.clone(), "", headers, body)?;
            let token = credential::apply(gate, &mut outbound)?;
            // What the gateway asks in place of a call is about the server as a whole, of which nothing is changed.
            return Ok(Prepared { outbound, elsewhere: None, token, changed: Changed::default() });
        }
        let passed = self.binding.passed_headers();
        let (mut headers, dropped) = headers::passed(&parts.headers, passed, rules, self.credential);
        dropped.report(&gate.meter, &context.call);
        for (name, value) in self.opened {
            headers.insert(name, value);
        }
        let body = self.body;
        let body = if self.dropped.is_empty() { body } else { without(&body, self.dropped)? };
        let body = if self.replaced.is_empty() { body } else { replaced(&body, &self.replaced)? };
        let body = if method == mcp::CANCELLED { cancelled(gate, parts, &self.permit, body) } else { body };
        let (body, changed) = match &self.demands {
            Some(demands) => demands.request(body, &mut headers, (method, self.permit.destination()))?,
            None => (body, Changed::default()),
        };
        let sent = (&body, self.amends);
        let elsewhere = elsewhere(&self.permit, (method, &self.path), sent, self.credential);
        let written = match (&elsewhere, self.permit.destination()) {
            (Some(elsewhere), Destination::Provider(provider)) if elsewhere.translates() => {
                Some(elsewhere.written(context, parts, provider, asked.name())?)
            }
            _ => None,
        };
        let (path, headers, body, (at, crossed)) = match written {
            Some((path, headers, body)) => (Cow::Owned(path), headers, body, (Below::Url, None)),
            None => {
                let body = if self.amends { self.binding.amended(&body)? } else { body };
                let Lowered { path, body, below: at, crossed } =
                    self.binding.lowered(&parts.method, self.path, body, endpoint.tenant.as_deref())?;
                // Of what passes alone: it is what policies and guards saw, and no credential.
                if let Some(crossed) = &crossed {
                    crossed.name_to_agent(&mut headers);
                }
                headers::finish(&mut headers, rules, &context.trace, &body);
                let path = llm::path_to(self.permit.destination(), path);
                (below(path, parts.uri.query(), self.binding.passed_query()), headers, body, (at, crossed))
            }
        };
        let elsewhere = elsewhere.map(|elsewhere| Box::new(elsewhere.with_own(&path, &headers, &body)));
        let place = match &endpoint.job {
            Some(_) if method == mcp::CALL => {
                Some(gate.accounts.run(self.permit.caller().proven.principal.entity())?)
            }
            _ => None,
        };
        let outbound = Outbound::to(self.permit, parts.method.clone(), &path, headers, body)?;
        let mut outbound =
            outbound.in_place(place).by_binding(&path, (at, crossed), gate.limits.held_answer)?;
        // Where several may answer, whoever is asked gets the credential for it then.
        let is_shared = elsewhere.is_some() && !outbound.permit().candidates().is_empty();
        let token = if foreign || is_shared { None } else { credential::apply(gate, &mut outbound)? };
        if self.card {
            outbound = outbound.of_card(&path)?;
        }
        Ok(Prepared { outbound, elsewhere, token, changed })
    }
}

/// The message, where it goes to a model of another API, or may go to several.
fn elsewhere(
    permit: &Permit,
    asked: (&str, &Cow<'static, str>),
    sent: (&Bytes, bool),
    credential: Option<&str>,
) -> Option<Elsewhere> {
    let Destination::Provider(provider) = permit.destination() else { return None };
    Elsewhere::of(provider, permit.candidates(), asked, sent, credential)
}

/// The path of an operation, with what of the caller's query goes on: the pairs that are passed, each once. A value of the caller's own
/// may be its credential.
fn below<'p>(path: Cow<'p, str>, query: Option<&str>, passed: &[&str]) -> Cow<'p, str> {
    let pairs = passed_pairs(query, passed);
    if pairs.is_empty() { path } else { Cow::Owned(format!("{path}?{}", pairs.join("&"))) }
}

/// The pairs of a caller's query that go on, each once.
pub(super) fn passed_pairs<'p>(query: Option<&str>, passed: &[&'p str]) -> Vec<&'p str> {
    let query = query.unwrap_or_default();
    passed.iter().copied().filter(|passed| query.split('&').any(|pair| pair == *passed)).collect()
}

/// The message with the ids that its upstream knows.
fn replaced(body: &Bytes, values: &[Replaced]) -> Result<Bytes, Refusal> {
    let changed = std::str::from_utf8(body).ok().and_then(|text| members::replace(text, values));
    let fault = || Refusal::new(Code::Internal, "the ids in the caller's message could not be replaced");
    changed.map(Bytes::from).ok_or_else(fault)
}

/// Who may cancel a call, or cancels one.
fn cancelling(parts: &Parts, permit: &Permit) -> changes::Caller {
    let holder = seal::binding(permit.destination(), permit.caller());
    let session = parts.headers.get(mcp::SESSION_HEADER).map(|session| session.as_bytes().into());
    changes::Caller { holder, session }
}

/// A cancellation by the id that the server knows: a call whose answer is redacted went out by another one than its caller's.
fn cancelled(gate: &Gate, parts: &Parts, permit: &Permit, body: Bytes) -> Bytes {
    let text = std::str::from_utf8(&body).ok();
    let by_its_id = text.and_then(|text| gate.redacted_calls.cancelled(text, cancelling(parts, permit)));
    by_its_id.map_or(body, Bytes::from)
}

/// The message without what its caller was given here.
fn without(body: &Bytes, dropped: Dropped) -> Result<Bytes, Refusal> {
    let kept = std::str::from_utf8(body).ok().and_then(|text| members::without(text, dropped));
    let fault =
        || Refusal::new(Code::Internal, "the gateway's own could not be taken out of the caller's message");
    kept.map(Bytes::from).ok_or_else(fault)
}

/// Answers a permitted call that stays here. It has an effect like any other: it was asked for, and this was said.
pub(super) async fn answer(
    gate: &Gate,
    context: &mut RequestContext,
    mut own: OwnPermit,
    document: Result<String, Refusal>,
) -> Result<Response<ReplyBody>, Refusal> {
    let room = own.permit.take_room();
    let caller = own.permit.caller();
    let (started, bytes_in, trace) = (context.started, own.bytes_in, context.trace.sampled());
    let begun = Begun { call: &context.call, caller, started, bytes_in, trace };
    let decided = (own.permit.index(), room, own.permit.destination());
    let mut effect = Effect::begin(gate, begun, decided, own.protocol, &own.asked);
    effect.course.arriving = context.arriving;
    effect.span = context.span.take();
    effect.approval = own.approval.take();
    effect.keeping = context.keeping.take();
    let document =
        own.reservation.counted().and(document).and_then(|document| unchanged(&own.permit, document));
    effect.reservation = Some(own.reservation);
    let ending = match &document {
        Ok(document) => {
            effect.status = StatusCode::OK.as_u16();
            effect.passed(document.as_bytes(), false);
            Ending::Ok
        }
        Err(refusal) => Ending::Failed(refusal.code),
    };
    effect.record(ending).await.map_err(closed)?;
    taken_back(gate, &own.asked, &own.world, &own.permit)?;
    document.map(reply::document)
}

/// What the gateway answers itself is not what policies change; an answer that had to be is not given. Guards look at what others say, and at what is
/// said to others.
fn unchanged(permit: &Permit, document: String) -> Result<String, Refusal> {
    let mut changes = permit.obligations().iter().map(|one| &one.change);
    if changes.all(|change| matches!(change, Change::GuardAnswer(..) | Change::RedactFound(..))) {
        return Ok(document);
    }
    Err(Refusal::new(Code::Internal, "the gateway's own answer would have to be changed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_a_data_plane_would_send_is_one_that_is_passed() {
        for (query, goes_on) in [
            (None, true),
            (Some(""), true),
            (Some("beta=true"), true),
            (Some("beta=true&"), true),
            (Some("key=secret"), false),
            (Some("beta=true&key=secret"), false),
            (Some("b%65ta=true"), false),
            (Some("beta=true;key=secret"), false),
        ] {
            assert_eq!(query_goes_on(query, &["beta=true"]).is_ok(), goes_on, "{query:?}");
        }
        assert!(query_goes_on(Some("beta=true"), &[]).is_err());
    }

    #[test]
    fn of_a_query_goes_on_what_is_passed() {
        for (query, expected) in [
            (None, "/v1/messages"),
            (Some(""), "/v1/messages"),
            (Some("beta=true"), "/v1/messages?beta=true"),
            (Some("key=secret&beta=true&beta=false&x"), "/v1/messages?beta=true"),
            (Some("b%65ta=true"), "/v1/messages"),
            (Some("key=secret"), "/v1/messages"),
            (Some("beta=secret"), "/v1/messages"),
        ] {
            assert_eq!(below("/v1/messages".into(), query, &["beta=true"]), expected, "{query:?}");
            assert_eq!(below("/v1/messages".into(), query, &[]), "/v1/messages");
        }
    }
}
