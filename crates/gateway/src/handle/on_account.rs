//! What the gateway asks an MCP server on account of a caller's call: only a permit reaches an upstream, so each question is a call of its own,
//! the caller's, decided and recorded as what it is (ADRs 23, 41 and 82). What a server asks in the course of one is decided so too ([`Course`]).

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, Method, Response};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;
use vidimus_core::call::{Call, SoFar};
use vidimus_core::clock::Moment;
use vidimus_core::decision::{About, Decision};
use vidimus_core::permit::{Permit, Verdict};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::HeaderRules;
use vidimus_core::snapshot::Snapshot;

use super::admit::{end_chain, sha256};
use super::carry::taken_back;
use super::definition::Source;
use crate::answer::Asked;
use crate::credential;
use crate::effect::{Begun, Effect, Ending};
use crate::forward::{Body, Outbound, forward, headers};
use crate::gate::{Gate, rfc3339};
use crate::protocol::mcp::definition::{Answering, PASSED_HEADERS};
use crate::request_context::RequestContext;
use crate::route::Protocol;
use crate::standing::limits::{Claims, UnderWay};
use crate::trace::TraceContext;
use crate::unrecorded::closed;

/// One question.
#[derive(Debug)]
pub(super) struct Question<'q> {
    /// Its id, by which its answer is known among events; empty of what is only told.
    pub(super) id: &'q str,
    pub(super) method: Method,
    /// What goes with it beside what of the caller's request does.
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The caller gets what is answered: nothing of it may have to be changed, and it counts as if the caller had asked it.
    pub(super) is_shown: bool,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// All of it, or of a stream of events the one that answers.
    pub(super) body: Bytes,
}

/// Why nothing was answered.
#[derive(Debug)]
pub(super) enum NotSaid {
    /// Its decision, or what came of it, is not on record.
    Closed(Refusal),
    /// A policy holds it.
    Held(Refusal),
    /// The caller may not ask.
    Refused(Refusal),
    /// The server does not say it.
    Failed(Refusal),
}

impl NotSaid {
    /// Why, whatever the reason.
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Self::Closed(refusal) | Self::Held(refusal) | Self::Refused(refusal) | Self::Failed(refusal) => {
                refusal
            }
        }
    }
}

/// Asks: a call, from its decision to its effect. `read` says what comes of an answer that is at most so many bytes long, and here in time.
///
/// # Errors
/// [`NotSaid`].
pub(super) async fn ask<T>(
    gate: &Gate,
    context: &RequestContext,
    (own, source): (&Call<'_>, &Source<'_>),
    question: Question<'_>,
    (longest, until): (usize, Instant),
    read: impl FnOnce(&Said) -> Result<T, Refusal>,
) -> Result<T, NotSaid> {
    let (id, started): (Arc<str>, _) = (Uuid::now_v7().hyphenated().to_string().into(), gate.clock.now());
    let (bytes_in, trace) = (question.body.len(), context.trace.sampled());
    let begun = Begun { call: &id, caller: own.caller, started, bytes_in, trace };
    let course =
        Course { gate, world: source.world, trace: &context.trace, call: &context.call, under_way: None };
    let counts = question.is_shown;
    // Of a flood of refusals one more says nothing new.
    let has_record = |decision: &Decision<'_>, one: Code| {
        !is_left_out(decision, &question) && context.has_record(gate, one)
    };
    let Made { permit, mut effect, claims, asked } =
        course.made(own, begun, (&question.body, counts), &has_record).await?;
    let back = taken_back(gate, &asked, source.world, &permit).and_then(|()| unchanged(&permit, &question));
    let id = question.id.to_owned();
    let outbound = back.and_then(|()| outbound(gate, context, source, permit, question));
    let said = match outbound {
        Ok((outbound, token)) => {
            effect.token = token;
            effect.goes_out();
            let said = timeout_at(until, said(gate, outbound, (&id, longest), &mut effect.status)).await;
            said.unwrap_or_else(|_| Err(late()))
        }
        Err(refusal) => Err(refusal),
    };
    ended((effect, claims), said.and_then(|said| read(&said))).await
}

/// In the course of which call another one is made.
pub(super) struct Course<'a> {
    pub(super) gate: &'a Gate,
    /// The configuration that decides.
    pub(super) world: &'a Arc<Snapshot>,
    /// That of the call.
    pub(super) trace: &'a TraceContext,
    /// Its id.
    pub(super) call: &'a str,
    /// Its places among the calls at once, where what is made in its course has them too.
    pub(super) under_way: Option<Arc<UnderWay>>,
}

/// A call that is permitted, and is on record as that.
pub(super) struct Made {
    pub(super) permit: Permit,
    pub(super) effect: Box<Effect>,
    pub(super) claims: Option<Claims>,
    pub(super) asked: Asked,
}

impl Course<'_> {
    /// Decides a call and records that. `counts`: it takes of the limits that it is counted by; `body` is its message, and `has_record` says whether a
    /// denial has a record of its own.
    ///
    /// # Errors
    /// [`NotSaid`].
    pub(super) async fn made(
        self,
        own: &Call<'_>,
        begun: Begun<'_>,
        (body, counts): (&[u8], bool),
        has_record: &(dyn Fn(&Decision<'_>, Code) -> bool + Sync),
    ) -> Result<Made, NotSaid> {
        let Self { gate, world, trace, call, under_way } = self;
        let started = begun.started;
        let decision = world.authorize(own);
        let mut claims =
            claimed(gate, &decision, (counts, under_way), started).await.map_err(NotSaid::Failed)?;
        let so_far =
            claims.as_ref().map(|claims| SoFar { limits: claims.left().to_vec(), ..own.so_far.clone() });
        let own = &Call { so_far: so_far.as_ref().unwrap_or(own.so_far), ..*own };
        let decision = if claims.is_some() { world.authorize(own) } else { decision };
        end_chain(gate, &decision, started).await;
        let (parent, source_state) = (trace.parent(), gate.source());
        let about = About {
            id: begun.call,
            trace: &trace.ids(),
            parent: parent.as_deref(),
            time: &rfc3339(started.wall),
            protocol: Protocol::Mcp.as_str(),
            body: &sha256(body),
            snapshot: world.digest(),
            approval: None,
            on_account_of: Some(call),
            kept: None,
            aged: source_state.aged(started),
        };
        let (asked, code) = (Asked::of(own, None), decision.code());
        let left = |index, room| {
            if code.is_none() {
                let destination = own.ask.target.destination();
                drop(Effect::begin(gate, begun, (index, room, &destination), Protocol::Mcp, &asked));
            }
        };
        let unmade = code.filter(|one| !has_record(&decision, *one)).and_then(|_| decision.unmade());
        let verdict = match unmade {
            Some(verdict) => verdict,
            None => gate
                .ledger
                .decide_or(decision, &about, left)
                .await
                .map_err(|error| NotSaid::Closed(closed(error)))?,
        };
        gate.meter.decided(Some(Protocol::Mcp), code);
        let mut permit = match verdict {
            Verdict::Permitted(permit) => permit,
            Verdict::Held(held) => return Err(NotSaid::Held(held.refusal())),
            Verdict::Refused(refusal) => return Err(NotSaid::Refused(refusal)),
        };
        claims.iter_mut().for_each(Claims::permitted);
        let room = permit.take_room();
        let decided = (permit.index(), room, permit.destination());
        let effect = Effect::begin(gate, begun, decided, Protocol::Mcp, &asked);
        Ok(Made { permit, effect, claims, asked })
    }
}

/// What a call takes of the limits that it `counts` for; `None` of what the gateway asks to know what it decides.
async fn claimed(
    gate: &Gate,
    decision: &Decision<'_>,
    (counts, former): (bool, Option<Arc<UnderWay>>),
    now: Moment,
) -> Result<Option<Claims>, Refusal> {
    if !counts || decision.limits().is_empty() {
        return Ok(None);
    }
    // Few calls count, and what is kept in place is moved with each.
    let counted = (decision.call(), decision.limits());
    Box::pin(gate.standing.claim_after(former, counted, now)).await.map(Some)
}

/// Whether a denial is of a member that the caller did not ask for: the call by which all are asked is on record, and whom it leaves out follows from
/// the configuration. Many such members would use up the records that real denials have.
fn is_left_out(decision: &Decision<'_>, question: &Question<'_>) -> bool {
    question.is_shown
        && decision.ends_chain().is_none()
        && matches!(decision.code(), Some(Code::NoPermit | Code::ForbiddenByPolicy))
}

/// What came of it, once that is on record.
async fn ended<T>(
    (mut effect, claims): (Box<Effect>, Option<Claims>),
    read: Result<T, Refusal>,
) -> Result<T, NotSaid> {
    let unsent = |refusal: &Refusal| refusal.code.is_of_unsent();
    effect.sent &= !read.as_ref().is_err_and(unsent);
    if let Some(claims) = claims {
        claims.settle(effect.sent, None);
    }
    match read {
        Ok(read) => {
            effect.record(Ending::Ok).await.map_err(|error| NotSaid::Closed(closed(error)))?;
            Ok(read)
        }
        Err(refusal) => {
            effect.record_refused(&refusal).await.map_err(|error| NotSaid::Closed(closed(error)))?;
            Err(NotSaid::Failed(refusal))
        }
    }
}

/// The question, addressed to the server, with this hop's own credential in place of the caller's.
fn outbound(
    gate: &Gate,
    context: &RequestContext,
    source: &Source<'_>,
    permit: Permit,
    question: Question<'_>,
) -> Result<(Outbound, Option<String>), Refusal> {
    let Question { method, headers: own, body, .. } = question;
    let rules: &HeaderRules = &permit.endpoint()?.headers;
    let (mut sent, dropped) =
        headers::passed(&source.parts.headers, &PASSED_HEADERS, rules, source.credential);
    dropped.report(&gate.meter, &context.call);
    for (name, value) in source.opened {
        sent.insert(name.clone(), value.clone());
    }
    sent.extend(own);
    headers::finish(&mut sent, rules, &context.trace, &body);
    let mut outbound = Outbound::to(permit, method, "", sent, body)?.on_account();
    let token = credential::apply(gate, &mut outbound)?;
    Ok((outbound, token))
}

/// What the server answers, as far as it is the answer.
async fn said(
    gate: &Gate,
    outbound: Outbound,
    (id, longest): (&str, usize),
    status: &mut u16,
) -> Result<Said, Refusal> {
    let response: Response<Body> = forward(&gate.upstream, Box::new(outbound)).await?;
    let (parts, mut body) = response.into_parts();
    *status = parts.status.as_u16();
    if id.is_empty() {
        return Ok(Said { status: *status, headers: parts.headers, body: Bytes::new() });
    }
    if parts.headers.contains_key(CONTENT_ENCODING) {
        let message = "the server's answer is in an encoding, and none was asked for";
        return Err(Refusal::new(Code::UpstreamInvalid, message));
    }
    let (mut answering, mut read) = (Answering::of(&parts.headers), 0_usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.refusal("the server's answer broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        read = read.saturating_add(data.len());
        if read > longest {
            let message = format!("the server's answer is larger than {longest} bytes");
            return Err(Refusal::new(Code::UpstreamInvalid, message));
        }
        if answering.push(&data, id) {
            body.has_answered();
            break;
        }
    }
    Ok(Said { status: *status, headers: parts.headers, body: answering.finish().into() })
}

/// That nothing of the answer has to be changed which the caller gets as a part of another one.
fn unchanged(permit: &Permit, question: &Question<'_>) -> Result<(), Refusal> {
    if permit.obligations().is_empty() || !question.is_shown {
        return Ok(());
    }
    let message = "a policy changes what is answered, which is not done in a part of an answer";
    Err(Refusal::new(Code::ChangeImpossible, message))
}

fn late() -> Refusal {
    Refusal::new(Code::UpstreamTimeout, "the server did not say it in time")
}
