//! News of a task, from the agent to who asked for them: a later part of that call, decided again as its caller's each time, and recorded as any
//! call. It is [`super::admit()`] and `carry`, with an address in place of a credential and a webhook in place of the upstream.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use vidimus_core::authorize::NEWS_OF_TASK;
use vidimus_core::call::{Action, Ask, Call, Destination, SoFar};
use vidimus_core::caller::Caller;
use vidimus_core::clock::Moment;
use vidimus_core::obligation::{Change, Changed, Obligation};
use vidimus_core::permit::{Permit, Verdict};
use vidimus_core::refusal::{Answered, Code, Refusal};
use vidimus_core::resource::A2aVersion;
use vidimus_core::snapshot::Snapshot;

use super::Peer;
use super::admit::{Sent, check_page, record};
use super::authenticate::authenticate;
use super::carry::taken_back;
use super::decided::decided;
use crate::accounts::{Place, Reservation};
use crate::answer::Asked;
use crate::body_signature::{SIGNATURE, SignedBody};
use crate::changes::{Demands, Redaction, Tally};
use crate::effect::{Begun, Effect, Ending};
use crate::forward::{Notice, tell};
use crate::gate::{Gate, millis};
use crate::news::{self, Address};
use crate::part::Part;
use crate::protocol::a2a::sealed::{self, Shape};
use crate::protocol::a2a::webhook::{Authorization, Said};
use crate::protocol::a2a::{self, Framing};
use crate::protocol::handles::Handles;
use crate::protocol::members::Replaced;
use crate::reply::{self, ReplyBody};
use crate::request_context::RequestContext;
use crate::route::{Protocol, Route};
use crate::seal;
use crate::unrecorded::closed;

/// The longest news that are taken, in bytes.
const MAX_BODY: usize = 1024 * 1024;

/// `typ` of the gateway's signature.
const TYPE: &str = "vidimus-push+jwt";

/// The caller's own token comes back in it (A2A 1.0 section 4.3.3).
const TOKEN: HeaderName = HeaderName::from_static("x-a2a-notification-token");

const VERSION: HeaderName = HeaderName::from_static("a2a-version");

/// What of a message that says where news of a task go is changed for the agent: it gets an address of the gateway's. A configuration that is
/// deleted closes the addresses that were made for it, whatever the agent does.
pub(super) fn told_to_agent(
    gate: &Gate,
    permit: &Permit,
    asked: &Asked,
    said: &Said,
) -> Result<Vec<Replaced>, Refusal> {
    let now = millis(gate.clock.now().wall);
    match said {
        Said::To(webhook) => {
            let address = Address::of(permit, asked, webhook, now);
            let agent = permit.destination().id();
            Ok(webhook.replaced(&address.sealed(&gate.seal, agent, &asked.part, &gate.public_url)?))
        }
        Said::NoMore(config) => {
            let holder = seal::binding(permit.destination(), permit.caller());
            if let Some(task) = &asked.task {
                gate.standing.news().close(&holder, task, config.as_deref(), now);
            }
            Ok(Vec::new())
        }
    }
}

/// Governs what an agent sends to an address for news, and answers it, whatever comes.
pub(crate) async fn receive(gate: &Gate, request: Request<Incoming>, peer: &Peer) -> Response<ReplyBody> {
    let (mut parts, body) = request.into_parts();
    let address = news::address_of(parts.uri.path());
    let (agent, sealed) =
        address.map(|(agent, sealed)| (agent.to_owned(), sealed.to_owned())).unwrap_or_default();
    // Who has an address may send to it, so it is in no record and no log.
    parts.uri = format!("/push/{agent}").parse().unwrap_or_default();
    let mut context = RequestContext::begin(gate, &parts, peer);
    match received(gate, &mut context, &parts, body, (&agent, &sealed)).await {
        Ok(()) => {
            let mut response = reply::document("{}");
            if let Ok(call) = HeaderValue::from_str(&context.call) {
                response.headers_mut().insert(reply::CALL_HEADER, call);
            }
            response
        }
        Err(refusal) => context.refuse(gate, &parts, refusal).await,
    }
}

/// Listener → **address → sender → body → decide → record → webhook → record**.
async fn received(
    gate: &Gate,
    context: &mut RequestContext,
    parts: &Parts,
    body: Incoming,
    (agent, sealed): (&str, &str),
) -> Result<(), Refusal> {
    check_page(gate, parts)?;
    if parts.method != Method::POST {
        return Err(Refusal::method_not_allowed("an address for news of a task", "POST"));
    }
    let world = gate.snapshot();
    if agent.is_empty() {
        // It is nearly one: with a slash too many, or behind a proxy that writes paths anew.
        return Err(foreign());
    }
    let destination = agent_of(&world, agent)?;
    let (part, address) = Address::opened(&gate.seal, destination.id(), sealed).ok_or_else(foreign)?;
    check_sender(gate, context, parts, (&world, &destination)).await?;
    gate.standing.news().enter(destination.id(), context.started.monotonic)?;
    let (holder, place) = gate.accounts.entered(destination.id())?;
    let (bytes, _lease) = gate.bodies.read(holder, MAX_BODY, body).await?;
    // It may have been long on its way: what is decided is whether it may go on now.
    let (world, moment) = (gate.snapshot(), gate.clock.now());
    let destination = agent_of(&world, agent)?;
    gate.source().check(&destination, moment)?;
    let caller = address.caller(&world).ok_or_else(|| {
        Refusal::new(Code::Revoked, "who asked for news of the task may not act any more as it did")
    })?;
    let told = Told { address, part, caller, destination, world, moment };
    let task = told.task(gate, sealed, &bytes)?;
    let (permit, asked, reservation) = told.permitted(gate, context, (&task, &bytes), place).await?;
    told.tell(gate, context, parts, (permit, asked, reservation), &bytes).await
}

/// The agent as `world` has it.
fn agent_of(world: &Snapshot, agent: &str) -> Result<Destination, Refusal> {
    crate::protocol::destination(world, &Route { protocol: Protocol::A2a, key: agent, rest: "" })
}

/// That who shows a credential is the agent that the address was given to. Without one, the address is what proves it.
async fn check_sender(
    gate: &Gate,
    context: &mut RequestContext,
    parts: &Parts,
    (world, agent): (&Snapshot, &Destination),
) -> Result<(), Refusal> {
    if context.peer.svid.is_none() && !parts.headers.contains_key(AUTHORIZATION) {
        return Ok(());
    }
    let (sender, _) = authenticate(gate, world, context, None, parts).await?;
    if sender.proven.principal.entity() == agent.id() { Ok(()) } else { Err(foreign()) }
}

/// News on their way.
struct Told {
    address: Address,
    /// What the call was about that asked for them.
    part: Part,
    /// Who is told.
    caller: Caller,
    /// The agent that they come from.
    destination: Destination,
    /// The configuration that decides, and the time.
    world: Arc<Snapshot>,
    moment: Moment,
}

impl Told {
    /// The one task that the news are of, which is the one that the address is for.
    fn task(&self, gate: &Gate, sealed: &str, bytes: &[u8]) -> Result<String, Refusal> {
        const NONE: &str =
            "news are a task or an update of one, with nothing beside it, and name one task wherever they do";
        crate::protocol::parse(bytes)?;
        let task = a2a::task_of_news(bytes).ok_or_else(|| Refusal::new(Code::MessageInvalid, NONE))?;
        let holder = seal::binding(&self.destination, &self.caller);
        let news = gate.standing.news();
        let is_closed = news.is_closed(&holder, &task, &self.address);
        if is_closed
            || self.address.is_over(millis(self.moment.wall))
            || !news.is_of(sealed, &self.address, (self.destination.id(), &holder, &task))
        {
            return Err(foreign());
        }
        Ok(task)
    }

    /// Decides whether its caller may be told, and records that.
    async fn permitted(
        &self,
        gate: &Gate,
        context: &mut RequestContext,
        (task, bytes): (&str, &Bytes),
        place: Place,
    ) -> Result<(Permit, Asked, Reservation), Refusal> {
        let (world, moment) = (&self.world, self.moment);
        let target = self.part.of(&self.destination).ok_or_else(foreign)?;
        let webhook = self.address.webhook();
        let about = Ask::about(NEWS_OF_TASK, Action::CallAgent, target);
        let mut call = Call {
            caller: &self.caller,
            ask: Ask { task: Some(task), push_url: Some(webhook), ..about },
            now: millis(moment.wall),
            source_ip: self.address.source(),
            so_far: SoFar::nothing(),
            approvals: &[],
        };
        let json = crate::protocol::parse(bytes)?;
        let guarded = OnceLock::new();
        let mut reservation = gate.accounts.reserve(&call, &context.call, place, world, moment).await?;
        let so_far = reservation.so_far();
        call.so_far = so_far.as_deref().unwrap_or(SoFar::nothing());
        let decision = decided(gate, world, &mut call, (Some(&json), &guarded)).await?;
        let counted = gate.accounts.count(&mut reservation, &decision, || None, moment).await?;
        let so_far = counted.or_else(|| so_far.clone());
        call.so_far = so_far.as_deref().unwrap_or(SoFar::nothing());
        let decision = if decision.limits().is_empty() { decision } else { world.authorize(&call) };
        let (protocol, bytes_in) = (Protocol::A2a, bytes.len());
        let sent = Sent { protocol, body: bytes, bytes_in, approval: None, claims: true, again: false };
        let (verdict, grant) = record(gate, context, decision, sent, (world, moment)).await?;
        let permit = match verdict {
            Verdict::Permitted(permit) => permit,
            Verdict::Held(held) => return Err(held.refusal()),
            Verdict::Refused(refusal) => return Err(refusal),
        };
        reservation.permitted(moment).await;
        let asked = Asked::of(&call, so_far.clone()).with(grant, Arc::default()).under(&permit);
        Ok((permit, asked, reservation))
    }

    /// Tells its caller, and records what came of it.
    async fn tell(
        &self,
        gate: &Gate,
        context: &mut RequestContext,
        parts: &Parts,
        (mut permit, asked, reservation): (Permit, Asked, Reservation),
        bytes: &Bytes,
    ) -> Result<(), Refusal> {
        let room = permit.take_room();
        let (call, started, trace) = (&context.call, context.started, context.trace.sampled());
        let begun = Begun { call, caller: &self.caller, started, bytes_in: bytes.len(), trace };
        let recorded = (permit.index(), room, permit.destination());
        let mut effect = Effect::begin(gate, begun, recorded, Protocol::A2a, &asked);
        (effect.span, effect.keeping) = (context.span.take(), context.keeping.take());
        let demands = Demands::of(permit.obligations(), None);
        effect.changed = demands.as_ref().map(Tally::of);
        let counted = reservation.counted();
        effect.reservation = Some(reservation);
        let ready = counted
            .and_then(|()| taken_back(gate, &asked, &self.world, &permit))
            .and_then(|()| self.said(gate, (&permit, &asked, demands), bytes))
            .and_then(|(body, changed)| {
                effect.is_sent_changed(changed);
                self.addressed(gate, context, parts, body)
            });
        let notice = ready.and_then(|(headers, body)| {
            let said = body.clone();
            Notice::of(permit, headers, body).map(|notice| (notice, said))
        });
        if notice.is_ok() {
            effect.goes_out();
        }
        let is_beside = news::is_beside(&self.destination);
        let told = match notice {
            Ok((notice, said)) => tell(&gate.upstream, notice, is_beside).await.map(|status| (status, said)),
            Err(refusal) => Err(refusal),
        };
        match told {
            Ok((status, body)) => {
                effect.status = status.as_u16();
                effect.passed(&body, false);
                let ending = if status.is_success() { Ending::Ok } else { Ending::Error };
                effect.record(ending).await.map_err(closed)?;
                if status.is_success() { Ok(()) } else { Err(not_taken(status)) }
            }
            Err(refusal) => {
                effect.sent &= !refusal.code.is_of_unsent();
                effect.record_refused(&refusal).await.map_err(closed)?;
                Err(refusal)
            }
        }
    }

    /// The news with the ids that the caller knows, once guards looked at them, as at any answer of the agent; and what was taken out of them.
    fn said(
        &self,
        gate: &Gate,
        (permit, asked, demands): (&Permit, &Asked, Option<Demands>),
        bytes: &Bytes,
    ) -> Result<(Bytes, Changed), Refusal> {
        let is_of_guard =
            |one: &Obligation| matches!(one.change, Change::GuardAnswer(..) | Change::RedactFound(..));
        if !permit.obligations().iter().all(is_of_guard) {
            let message = "a policy demands a change of the call, and news of a task cannot be changed so";
            return Err(Refusal::new(Code::ChangeImpossible, message));
        }
        let found =
            demands.as_ref().map(|demands| demands.without_found(bytes, &self.destination)).transpose()?;
        let bytes = found.flatten().map_or_else(|| bytes.clone(), Bytes::from);
        let redact = demands.as_ref().map_or(0, Demands::found);
        let changed = Changed { redact, ..Changed::default() };
        let ends = (&self.caller, &self.destination);
        news::check_webhook(&gate.upstream, &self.world, ends, (self.address.webhook(), &gate.public_url))?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| Refusal::new(Code::BodyNotUtf8, "the news are not UTF-8"))?;
        let told = self.other_version().map(|version| a2a::version::news(text, version)).transpose()?;
        let told = told.flatten();
        let text = told.as_deref().unwrap_or(text);
        let handles =
            Handles::new(gate.shared.clone(), self.destination.clone(), self.caller.clone(), asked.clone());
        let sealed = sealed::framed(text, (Shape::Sent, Framing::Bare), &handles)?;
        let body = sealed.unwrap_or_else(|| text.to_owned());
        let screen = demands.and_then(|demands| demands.screen);
        let looked = match screen.map(|screen| screen.of_answers_by(&self.destination)) {
            // What the agent said is not told to it once more.
            Some(screen) => screen.document(&body).map_err(Redaction::without_words)?,
            None => None,
        };
        Ok((looked.unwrap_or(body).into(), changed))
    }

    /// The version in which they are told, where the agent speaks another one alone.
    fn other_version(&self) -> Option<A2aVersion> {
        let Destination::Agent(agent) = &self.destination else { return None };
        let version = self.address.version()?;
        a2a::version::spoken(agent).filter(|spoken| *spoken != version).map(|_| version)
    }

    /// What goes to the webhook: the news with what proves them as the caller asked, and the gateway's signature.
    fn addressed(
        &self,
        gate: &Gate,
        context: &RequestContext,
        parts: &Parts,
        body: Bytes,
    ) -> Result<(HeaderMap, Bytes), Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type(&parts.headers));
        headers.insert(USER_AGENT, HeaderValue::from_static("vidimus"));
        let said = match self.other_version() {
            Some(version) => Some(HeaderValue::from_static(version.as_str())),
            None => parts.headers.get(VERSION).cloned(),
        };
        headers.extend(said.map(|version| (VERSION, version)));
        headers.extend(self.address.proof().token_header()?.map(|token| (TOKEN, token)));
        let signature = self.signature(gate, context, &body)?;
        let authorization = match self.address.proof().authorization()? {
            Some(Authorization::Given(value)) => Some(value),
            Some(Authorization::Signed) => Some(header(&format!("Bearer {signature}"))?),
            None => None,
        };
        headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
        headers.insert(SIGNATURE, header(&signature)?);
        Ok((headers, body))
    }

    /// A JWS of the gateway's over the hash of the body: who sent it (`sub`), where it goes (`htu`), once (`jti`), and until when.
    fn signature(&self, gate: &Gate, context: &RequestContext, body: &[u8]) -> Result<String, Refusal> {
        let (agent, at) = (self.destination.id().to_string(), millis(self.moment.wall));
        let (htu, call) = (self.address.webhook(), Some(&*context.call));
        let signed = SignedBody { typ: TYPE, sub: &agent, htu, call, at, body };
        signed
            .by(&gate.mint)
            .map_err(|error| Refusal::new(Code::Internal, "the news could not be signed").with_detail(error))
    }
}

/// What the agent calls its news, where that is JSON.
fn content_type(headers: &HeaderMap) -> HeaderValue {
    const A2A: &str = "application/a2a+json";
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_a2a = given.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(A2A));
    HeaderValue::from_static(if is_a2a { A2A } else { "application/json" })
}

fn header(text: &str) -> Result<HeaderValue, Refusal> {
    HeaderValue::from_str(text).map_err(|_| Refusal::new(Code::Internal, "the signature is no header"))
}

fn not_taken(status: StatusCode) -> Refusal {
    let message = format!("the webhook answered {}, so the news may not have been taken", status.as_u16());
    let answered = Answered { status: status.as_u16(), retry_after: None };
    // A redirect is not followed, and an error of the webhook's about its own credential is none of the agent's.
    Refusal { upstream: Some(Box::new(answered)), ..Refusal::new(Code::UpstreamInvalid, message) }
}

fn foreign() -> Refusal {
    Refusal::new(
        Code::PushForeign,
        "no such address for news of this task was given to this agent, or it is closed",
    )
}
