//! The first half of a request's lifecycle: from bytes to a recorded decision. Every front door ends in it.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use http_body::Body;
use vidimus_core::call::{Ask, SoFar};
use vidimus_core::clock::Moment;
use vidimus_core::decision::{About, Decision, Outcome};
use vidimus_core::json::Json;
use vidimus_core::permit::{Held, Permit, Verdict};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Snapshot;

use super::addressed::Addressed;
use super::asks::{call_of, is_as_sent, message_of, parsed};
use super::authenticate::authenticate;
use super::content::{Beside, Said};
use super::crossing::{self, Crossed};
use super::decided::{among, counted, decided, with_approvals, with_counts};
use super::definition::Source;
use super::follow;
use super::grants;
use super::hold::{Given, Standing};
use super::keep::Kept;
use super::pins;
use super::waiting::{self, told};
use crate::accounts::Reservation;
use crate::answer::Asked;
use crate::bodies::Lease;
use crate::effect::{Begun, Effect};
use crate::gate::{Gate, rfc3339};
use crate::listener::page::Page;
use crate::news;
use crate::protocol::a2a::webhook;
use crate::protocol::mcp::versions;
use crate::protocol::members::Replaced;
use crate::protocol::{self, Answer, Binding, Dropped, Expected, Instead, Operation, Parsed};
use crate::request_context::RequestContext;
use crate::route::{Protocol, Route};
use crate::seal::Holder;
use crate::spans;
use crate::unrecorded::closed;

/// What becomes of a request that is not refused.
#[derive(Debug)]
pub enum Admission<'p> {
    /// It may be carried to its destination.
    Permitted(Admitted<'p>),
    /// The gateway answers it itself, with this document or by this fault; nothing goes upstream.
    Answered(OwnPermit, Result<String, Refusal>),
    /// A person must approve it first.
    Held(Held),
}

/// A permitted call, with what is needed to carry it out. `'p` is the gate and the request, of which nothing is copied.
#[derive(Debug)]
pub struct Admitted<'p> {
    pub(super) permit: Permit,
    pub(super) protocol: Protocol,
    pub(super) binding: &'static dyn Binding,
    pub(super) operation: Operation,
    pub(super) answer: Answer,
    /// The configuration that decided.
    pub(super) world: Arc<Snapshot>,
    /// What was decided, so that a long answer can be decided again.
    pub(super) asked: Asked,
    /// The approval that it is made with.
    pub(super) approval: Option<Box<str>>,
    pub(super) reservation: Reservation,
    /// How many bytes the caller sent.
    pub(super) bytes_in: usize,
    /// The caller's message, from which all that was parsed of it borrows until here.
    pub(super) body: Bytes,
    /// The room that the message takes until it is answered.
    pub(super) lease: Lease<'p>,
    /// The message is changed on its way ([`Binding::amended`]).
    pub(super) amends: bool,
    /// What of the message does not go on.
    pub(super) dropped: Dropped,
    /// What of the message goes on with another value: what was sealed to this caller, opened.
    pub(super) replaced: Vec<Replaced>,
    /// What it says of where news of a task go.
    pub(super) webhook: Option<Box<webhook::Said>>,
    /// The headers that do.
    pub(super) opened: Vec<(HeaderName, HeaderValue)>,
    /// What goes on in its place.
    pub(super) instead: Option<Box<Instead>>,
    /// The request to a member of the server that it came to, where it goes to one.
    pub(super) crossed: Option<Arc<Crossed>>,
    /// The caller's own credential, to be kept from going further.
    pub(super) credential: Option<&'p str>,
}

/// The permit of a call that the gateway answers itself.
#[derive(Debug)]
pub struct OwnPermit {
    pub(super) permit: Permit,
    pub(super) protocol: Protocol,
    /// The configuration that decided.
    pub(super) world: Arc<Snapshot>,
    pub(super) asked: Asked,
    /// The approval that it is made with.
    pub(super) approval: Option<Box<str>>,
    pub(super) reservation: Reservation,
    pub(super) bytes_in: usize,
}

/// Listener → **authenticate → adapter → decide → record** → …
///
/// Who calls is found out before the body is read: nobody unknown may make the gateway work.
///
/// # Errors
/// The refusal of a request that is not permitted, in whatever step. One that was decided is on record already.
pub async fn admit<'p, B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>>(
    gate: &'p Gate,
    context: &mut RequestContext,
    parts: &'p Parts,
    body: B,
) -> Result<Admission<'p>, Refusal> {
    let route = addressed_by(gate, context, parts).await?;
    let addressed = Addressed::now(gate, context, parts, &route).await?;
    let (holder, place) = gate.accounts.entered(addressed.caller.proven.principal.entity())?;
    let (bytes, lease) = gate.bodies.read(holder, addressed.binding.body_limit(&gate.limits), body).await?;
    let message = addressed.binding.lifted(&addressed.destination, parts, route.rest, &bytes)?;
    let json = read(gate, context, (parts, &lease), (&addressed, &message)).await?;
    let (addressed, moment, crossing) =
        crossing::present(gate, context, (parts, &route), (addressed, json.as_ref(), &message)).await?;
    let (parts, message, json) = crossing.request(parts, &message, json)?;
    let Addressed { world, caller, credential, destination, binding, operation, .. } = addressed;
    let holder = Holder::new(&gate.seal, &destination, &caller).with_raw_sessions(context.raw_sessions());
    let asked = message_of(gate, parts, (&route, &destination, &holder), (json.as_ref(), bytes.len()));
    let as_sent = is_as_sent(route.protocol, (&bytes, message));
    let mut parsed = parsed((&crossing, binding), (&asked, as_sent), (&world, &caller), (context, moment))?;
    let beside = Beside::of(parts, binding, (&destination, credential));
    let said = Said::of((parsed.ask.action, parsed.dropped), json.as_ref(), &beside);
    let (seen, via) = (pins::seen(gate, &parsed.ask, moment), context.via.clone());
    let ask = seen.told(Ask { content: said.content(), body: message, ..parsed.ask });
    let mut call = call_of(&caller, (ask, via.as_ref()), (context, moment));
    let mut reservation = gate.accounts.reserve(&call, &context.call, place, &world, moment).await?;
    let (so_far, guarded) = (reservation.so_far(), OnceLock::new());
    call.so_far = so_far.as_deref().unwrap_or(SoFar::nothing());
    let mut decision = decided(gate, &world, &mut call, (json.as_ref(), &guarded)).await?;
    let so_far = counted(gate, &mut reservation, &decision, (parts, message), moment).await?;
    decision = with_counts(&world, (&mut call, decision), so_far.as_deref());
    let given = Given::to(gate, &decision, call.now);
    decision = with_approvals(&world, (&mut call, decision), given.as_ref());
    let also = follow::permitted(&world, (&call, json.as_ref()), &mut parsed);
    let source = Source::of(parts, json.as_ref(), (&parsed.headers, credential), &world);
    let looked = pins::look(gate, context, &decision, &source).await?;
    decision = pins::anew(gate, context, &world, (&mut call, decision), [&seen, &looked])?;
    let answer = upstreams(gate, context, &decision, &parsed, &world);
    let claims = !matches!(answer, Err(Err(_)));
    let approval = standing(gate, context, &decision, given.as_ref().filter(|_| claims), &source).await?;
    let sent = Sent::of(route.protocol, (&bytes, message), &approval, claims);
    let (verdict, grant) = record(gate, context, decision, sent, (&world, moment)).await?;
    let permit = match verdict {
        Verdict::Permitted(permit) => permit,
        Verdict::Held(held) => return Ok(told(gate, context, (&holder, &parsed), approval.tell(held))),
        Verdict::Refused(refusal) => return Err(grants::requested(gate, parts, &call, refusal).await),
    };
    reservation.permitted(moment).await;
    let asked = Asked::of(&call, so_far.clone()).come_by(crossing.guarded()).with(grant, also).under(&permit);
    let (protocol, approval, bytes_in) = (route.protocol, approval.claimed(), bytes.len());
    let answer = match answer {
        Ok(answer) => answer,
        Err(own) => {
            let permit = OwnPermit { permit, protocol, world, asked, approval, reservation, bytes_in };
            return Ok(Admission::Answered(permit, own));
        }
    };
    Ok(Admission::Permitted(Admitted {
        permit,
        protocol,
        binding,
        operation: operation.by(parsed.path),
        answer,
        world,
        asked,
        approval,
        reservation,
        bytes_in,
        body: message.clone(),
        lease,
        amends: parsed.amends,
        dropped: parsed.dropped,
        replaced: parsed.replaced,
        webhook: parsed.webhook,
        opened: parsed.headers,
        instead: parsed.instead,
        crossed: crossing.crossed(),
        credential,
    }))
}

/// How the call stands to approvals. The record of one that a person denied says what it asked for.
async fn standing(
    gate: &Gate,
    context: &mut RequestContext,
    decision: &Decision<'_>,
    given: Option<&Given>,
    source: &Source<'_>,
) -> Result<Standing, Refusal> {
    if let Some(given) = given {
        context.held(decision, Some(given.approval().to_owned()));
    }
    if decision.outcome() == Outcome::Hold {
        let digest = decision.to_approve().map(|digest| digest.to_string());
        let standing = gate.acts.standing();
        let asked = digest.and_then(|digest| standing.approvals.about(&digest));
        context.held(decision, asked.map(|pending| pending.question.approval.clone()));
    }
    Standing::of(gate, context, decision, given, source).await
}

/// What a request addresses, but for one of a page that may not call.
async fn addressed_by<'p>(
    gate: &Gate,
    context: &mut RequestContext,
    parts: &'p Parts,
) -> Result<Route<'p>, Refusal> {
    check_page(gate, parts)?;
    match Route::parse(parts.uri.path()) {
        Some(route) => Ok(route),
        None => Err(nothing_here(gate, context, parts).await),
    }
}

/// A page of an origin that nobody allowed may not call.
pub(super) fn check_page(gate: &Gate, parts: &Parts) -> Result<(), Refusal> {
    match Page::of(gate, parts) {
        Page::Foreign => Err(Refusal::new(Code::OriginRefused, "requests with this Origin are refused")),
        Page::None | Page::Own | Page::Allowed(_) => Ok(()),
    }
}

/// What becomes of the upstream's answer to an allowed call; the gateway's own, as the error, where it needs none, or cannot send it.
fn upstreams(
    gate: &Gate,
    context: &RequestContext,
    decision: &Decision<'_>,
    parsed: &Parsed<'_>,
    world: &Snapshot,
) -> Result<Answer, Result<String, Refusal>> {
    let call = decision.call();
    if decision.code().is_some() {
        return Err(Err(not_answered()));
    }
    if let Some(fault) = &parsed.fault {
        return Err(Err((**fault).clone()));
    }
    if let Some(webhook) = call.ask.push_url {
        let agent = call.ask.target.destination();
        let to = (webhook, gate.public_url.as_str());
        news::check_webhook(&gate.upstream, world, (call.caller, &agent), to).map_err(Err)?;
    }
    if let Some(unable) = context.carried.and_then(|carried| carried.unable(decision, parsed)) {
        return Err(Err(unable));
    }
    match (
        parsed.expected,
        parsed.instead.as_deref().and_then(|instead| versions::known(gate, call, instead)),
    ) {
        (_, Some(fault)) => Err(Err(fault)),
        (Expected::Upstream(answer), None) => Ok(answer),
        (Expected::Own, None) => {
            if let Some(asked) = &parsed.held {
                let (id, standing) = (context.message_id(), gate.acts.standing());
                return Err(asked.answer(&standing.approvals, call.now.0, id.as_deref().unwrap_or("null")));
            }
            let own =
                protocol::binding_of(&call.ask.target.destination()).own_answer(call, world, parsed.model);
            Err(own.ok_or_else(|| parsed.model.map_or_else(not_answered, no_model)))
        }
    }
}

/// A model that is not registered, or that the caller may not call: which of the two is not told.
fn no_model(name: &str) -> Refusal {
    let shown: String = name.chars().take(64).collect();
    Refusal::new(Code::ResourceUnknown, format!("{shown:?} is no model that you may call here"))
}

fn not_answered() -> Refusal {
    Refusal::new(Code::Internal, "the gateway has no answer to this")
}

/// The refusal of a path that is no route. Who asks for it is found out all the same, for the record: whoever has a good token and
/// looks around is worth knowing.
async fn nothing_here(gate: &Gate, context: &mut RequestContext, parts: &Parts) -> Refusal {
    let refusal = Refusal::new(Code::RouteUnknown, "the path addresses nothing that is governed here");
    let refusal = match gate.spans {
        None if spans::is_address(parts.uri.path()) => {
            refusal.with_next("This gateway takes no spans: start it with --traces (VIDIMUS_TRACES=true), or send them elsewhere.")
        }
        _ => refusal,
    };
    match authenticate(gate, &gate.snapshot(), context, None, parts).await {
        Ok(_) => refusal,
        Err(Refusal { proven: Some(proven), .. }) => refusal.of(*proven),
        Err(_) => refusal,
    }
}

/// The message, which is answered from here on; `None` where the operation has none.
async fn read<'b>(
    gate: &Gate,
    context: &mut RequestContext,
    (parts, lease): (&Parts, &Lease<'_>),
    (addressed, bytes): (&Addressed<'_>, &'b [u8]),
) -> Result<Option<Json<'b>>, Refusal> {
    context.arriving = lease.arriving();
    let json = parse(&addressed.operation, bytes)?;
    context.answers(json.as_ref());
    waiting::for_an_answer(gate, addressed, json.as_ref()).await;
    context.said(parts, json.as_ref());
    Ok(json)
}

fn parse<'b>(operation: &Operation, bytes: &'b [u8]) -> Result<Option<Json<'b>>, Refusal> {
    match operation.has_body {
        true => protocol::parse(bytes).map(Some),
        false if bytes.is_empty() => Ok(None),
        // Bytes that nobody read must not go on: to a server that expects none they are the next request.
        false => Err(Refusal::new(Code::MessageInvalid, "this request must not have a body")),
    }
}

/// What a decision's record says of its message.
#[derive(Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) protocol: Protocol,
    pub(super) body: &'a [u8],
    /// How many bytes the caller sent.
    pub(super) bytes_in: usize,
    /// The approval that it waits for, or is made with.
    pub(super) approval: Option<&'a str>,
    /// Whether what it is made with is used up by it. What cannot be carried out uses nothing up.
    pub(super) claims: bool,
    /// Whether it waits, and has been asked about before.
    pub(super) again: bool,
}

impl<'a> Sent<'a> {
    /// Of a message as it came. Of a request whose path says as much as its body, or that has none, it is what that was lifted to.
    fn of(
        protocol: Protocol,
        (came, lifted): (&'a Bytes, &'a Bytes),
        approval: &'a Standing,
        claims: bool,
    ) -> Self {
        let (again, bytes_in) = (approval.waits_again(), came.len());
        let body = if protocol == Protocol::Rest || came.is_empty() { lifted } else { came };
        Self { protocol, body, bytes_in, approval: approval.approval(), claims, again }
    }
}

/// Writes the decision, before any effect of it, and gives the grant of which the call takes a use.
pub(super) async fn record(
    gate: &Gate,
    context: &mut RequestContext,
    decision: Decision<'_>,
    Sent { protocol, body, bytes_in, approval, claims, again }: Sent<'_>,
    (world, moment): (&Snapshot, Moment),
) -> Result<(Verdict, Option<Arc<str>>), Refusal> {
    let decision = among(context, world, decision);
    context.describe(&decision);
    gate.meter.limits().decided(&decision);
    end_chain(gate, &decision, moment).await;
    // Of a question that stands, and of a flood of denials, one more try says nothing new.
    if (decision.outcome() == Outcome::Deny || again)
        && let Some(code) = decision.code()
        && !context.has_record(gate, code)
        && let Some(verdict) = decision.unmade()
    {
        context.decided(gate, Some(code));
        return Ok((verdict, None));
    }
    // Few calls have a payload kept, and what is kept in place is moved with each. Before anything is used up.
    let kept = match decision.keeps().is_nothing() {
        true => Kept::default(),
        false => Box::pin(Kept::of(gate, &decision, &context.call)).await?,
    };
    let grant = match claims {
        true => grants::claimed(gate, world, &decision, &context.call, approval).await?,
        false => None,
    };
    let (code, call) = (decision.code(), *decision.call());
    // What waits for people is let pass when it is made again.
    let passes = decision.would_refuse().map(|_| match code {
        None => decision.policies().to_vec(),
        Some(_) => Vec::new(),
    });
    let (parent, source) = (context.trace.parent(), gate.source());
    let about = About {
        id: &context.call,
        trace: &context.trace.ids(),
        parent: parent.as_deref(),
        time: &rfc3339(moment.wall),
        protocol: protocol.as_str(),
        body: &sha256(body),
        snapshot: world.digest(),
        approval,
        on_account_of: None,
        kept: kept.arguments.as_ref(),
        aged: source.aged(moment),
    };
    let (call_id, started) = (&context.call, context.started);
    let (caller, trace) = (call.caller, context.trace.sampled());
    let begun = Begun { call: call_id, caller, started, bytes_in, trace };
    let left = |index, room| {
        // The caller left while its decision was written. What is allowed has an effect, also where that is nothing.
        if code.is_none() {
            let destination = call.ask.target.destination();
            drop(Effect::begin(gate, begun, (index, room, &destination), protocol, &Asked::of(&call, None)));
        }
    };
    let verdict = gate.ledger.decide_or(decision, &about, left).await.map_err(closed)?;
    context.decided(gate, code);
    gate.last_calls.note(&call.caller.proven, call.now);
    if let Some(policies) = passes {
        gate.meter.would_refuse(protocol);
        gate.rollouts.note(&policies, call.now);
    }
    context.keeping = kept.answer;
    Ok((verdict, grant))
}

/// Where the decision ends its chain, that is so before it is on record, and whether it ever is.
pub(super) async fn end_chain(gate: &Gate, decision: &Decision<'_>, moment: Moment) {
    let Some(by) = decision.ends_chain() else { return };
    let (chain, caller) = (decision.call().chain(), decision.call().principal().entity());
    // Few calls end a chain, and what is kept in place is moved with each.
    let ended = Box::pin(gate.standing.end_chain((chain, caller), by, moment.monotonic)).await;
    if let Err(refusal) = ended {
        tracing::error!(transaction = %chain.transaction, by = &**by, %refusal, "not every gateway knows that a chain is ended");
    }
}

/// `sha256:` and hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(71);
    text.push_str("sha256:");
    HEXLOWER.encode_append(digest::digest(&digest::SHA256, bytes).as_ref(), &mut text);
    text
}
