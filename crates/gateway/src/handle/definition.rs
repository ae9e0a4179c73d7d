//! What the server says of the tool that a held call is about: the gateway asks it (`tools/list`) before people are asked, and again before
//! the approved call is made. Only a permit reaches an upstream, so each question is a call of its own: the caller's, decided and recorded
//! as what it is (ADRs 23 and 41).

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;
use vidimus_core::approval::pending::Definition;
use vidimus_core::call::{Action, Ask, Call, Target};
use vidimus_core::decision::About;
use vidimus_core::json::Json;
use vidimus_core::permit::{Permit, Verdict};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::HeaderRules;
use vidimus_core::snapshot::Snapshot;

use super::admit::{end_chain, sha256};
use super::carry::taken_back;
use crate::answer::Asked;
use crate::credential;
use crate::effect::{Begun, Effect, Ending};
use crate::forward::{Body, Outbound, forward, headers};
use crate::gate::{Gate, rfc3339};
use crate::protocol::mcp::definition::{self, Answering, Found, LISTING, PASSED_HEADERS};
use crate::protocol::mcp::pinned;
use crate::request_context::RequestContext;
use crate::route::Protocol;
use crate::unrecorded::closed;

/// What to do where a policy holds the question itself.
const HELD: &str = "A policy holds what it takes to ask people about the tool (connectServer), so nobody can be asked: have it name invokeTool, or \
     context.method.";

/// The most pages of a listing that are asked for. All are read: what a tool is said to be twice is not known.
const MOST_PAGES: usize = 32;

/// The caller's request, as far as a question goes with it.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) parts: &'a Parts,
    pub(super) message: Option<&'a Json<'a>>,
    /// The headers that go on opened: the id of a session.
    pub(super) opened: &'a [(HeaderName, HeaderValue)],
    /// The caller's own credential, to be kept from going further.
    pub(super) credential: Option<&'a str>,
    pub(super) world: &'a Arc<Snapshot>,
}

impl<'a> Source<'a> {
    pub(super) fn of(
        parts: &'a Parts,
        message: Option<&'a Json<'a>>,
        (opened, credential): (&'a [(HeaderName, HeaderValue)], Option<&'a str>),
        world: &'a Arc<Snapshot>,
    ) -> Self {
        Self { parts, message, opened, credential, world }
    }
}

/// Whether what people approve of a call is bound to what its server says of it.
pub(super) fn is_bound(ask: &Ask<'_>) -> bool {
    ask.action == Action::InvokeTool && ask.method == "tools/call"
}

/// That the server says of the tool what it said when people were asked. Where it does not, their approval is void for good.
///
/// # Errors
/// `tool_changed`; those of [`of`], and of acts.
pub(super) async fn check(
    gate: &Gate,
    context: &RequestContext,
    call: &Call<'_>,
    source: &Source<'_>,
    (approval, approved): (&str, Option<&Definition>),
) -> Result<(), Refusal> {
    let said = of(gate, context, call, source).await?;
    // One that was asked for before definitions were bound names none.
    if approved.is_some_and(|approved| approved.digest == said.digest) {
        return Ok(());
    }
    let digest = |definition: Option<&Definition>| match definition.map(|one| one.digest.as_deref()) {
        None => "not asked for".to_owned(),
        Some(None) => "not listed".to_owned(),
        Some(Some(digest)) => digest.to_owned(),
    };
    let why =
        format!("the tool's definition changed: it was {}, and is {}", digest(approved), digest(Some(&said)));
    let changed = call.ask.target.entity().to_string();
    gate.shared.void(approval, changed, why.clone()).await?;
    let message =
        "the tool's definition changed since people were asked about this call, so their approval is void";
    Err(Refusal::new(Code::ToolChanged, message).with_detail(format!("approval {approval}: {why}")))
}

/// What the server says of the tool now.
///
/// # Errors
/// `tool_unverified` where it does not say it in time, or the caller may not ask; those of the ledger.
pub(super) async fn of(
    gate: &Gate,
    context: &RequestContext,
    call: &Call<'_>,
    source: &Source<'_>,
) -> Result<Definition, Refusal> {
    let Target::Tool { server, name } = call.ask.target else {
        return Err(Refusal::new(Code::Internal, "only a tool has a definition"));
    };
    // It says nothing that the call does not, at which guards looked.
    let listing = Ask::about(LISTING, Action::ConnectServer, Target::Server(server));
    let ask = Ask { guarded: call.ask.guarded, ..listing };
    let own = Call { ask, approvals: &[], ..*call };
    let until = Instant::now() + gate.limits.definition_time;
    let (mut found, mut cursor) = (Found::default(), None);
    for _ in 0..MOST_PAGES {
        // As clients choose them: a server is not told by it who asks, to whom it could describe the tool in another way.
        let id = Uuid::new_v4().hyphenated().to_string();
        let params = source.message.and_then(|message| message.get("params"));
        let question = definition::question(&source.parts.headers, params, (&id, cursor.as_deref()));
        let asked = Question { id: &id, headers: question.0, body: question.1 };
        cursor = page(gate, context, (&own, source), asked, (&mut found, name, until)).await?;
        if cursor.is_none() {
            return Ok(found.definition());
        }
    }
    let message = format!("its listing has more than {MOST_PAGES} pages");
    Err(unverified(Refusal::new(Code::UpstreamInvalid, message)))
}

/// One page to ask for.
struct Question<'q> {
    id: &'q str,
    headers: HeaderMap,
    body: Bytes,
}

/// Asks for one page: a call, from its decision to its effect. Gives where the next one begins, where there is one.
async fn page(
    gate: &Gate,
    context: &RequestContext,
    (own, source): (&Call<'_>, &Source<'_>),
    question: Question<'_>,
    (found, tool, until): (&mut Found, &str, Instant),
) -> Result<Option<String>, Refusal> {
    let (id, started): (Arc<str>, _) = (Uuid::now_v7().hyphenated().to_string().into(), gate.clock.now());
    let decision = source.world.authorize(own);
    end_chain(gate, &decision, started).await;
    let (parent, source_state) = (context.trace.parent(), gate.source());
    let about = About {
        id: &id,
        trace: &context.trace.ids(),
        parent: parent.as_deref(),
        time: &rfc3339(started.wall),
        protocol: Protocol::Mcp.as_str(),
        body: &sha256(&question.body),
        snapshot: source.world.digest(),
        approval: None,
        on_account_of: Some(&context.call),
        kept: None,
        aged: source_state.aged(started),
    };
    let (bytes_in, trace) = (question.body.len(), context.trace.sampled());
    let begun = Begun { call: &id, caller: own.caller, started, bytes_in, trace };
    let (asked, code) = (Asked::of(own, None), decision.code());
    let left = |index, room| {
        if code.is_none() {
            let destination = own.ask.target.destination();
            drop(Effect::begin(gate, begun, (index, room, &destination), Protocol::Mcp, &asked));
        }
    };
    // Of a flood of refusals one more says nothing new.
    let unmade = code.filter(|one| !context.has_record(gate, *one)).and_then(|_| decision.unmade());
    let verdict = match unmade {
        Some(verdict) => verdict,
        None => gate.ledger.decide_or(decision, &about, left).await.map_err(closed)?,
    };
    gate.meter.decided(Some(Protocol::Mcp), code);
    let mut permit = match verdict {
        Verdict::Permitted(permit) => permit,
        // What people approve of the call comes after it: nobody can approve the look.
        Verdict::Held(held) => return Err(unverified(held.refusal()).with_next(HELD)),
        Verdict::Refused(refusal) => return Err(unverified(refusal)),
    };
    let room = permit.take_room();
    let decided = (permit.index(), room, permit.destination());
    let mut effect = Effect::begin(gate, begun, decided, Protocol::Mcp, &asked);
    let back = taken_back(gate, &asked, source.world, &permit);
    let outbound = back.and_then(|()| outbound(gate, context, source, permit, &question));
    let answer = match outbound {
        Ok((outbound, token)) => {
            (effect.token, effect.sent) = (token, true);
            let answer = timeout_at(until, answer(gate, outbound, question.id, &mut effect.status)).await;
            answer.unwrap_or_else(|_| Err(late()))
        }
        Err(refusal) => Err(refusal),
    };
    let status = effect.status;
    let read = answer.and_then(|answer| {
        let next = found.read(&answer, status, (question.id, tool))?;
        if let Target::Server(server) = own.ask.target {
            pinned::learn(&gate.standing, server, &answer, gate.clock.now().monotonic);
        }
        Ok(next)
    });
    match read {
        Ok(next) => {
            effect.record(Ending::Ok).await.map_err(closed)?;
            Ok(next)
        }
        Err(refusal) => {
            effect.sent &= refusal.code != Code::UpstreamUnreachable;
            effect.record_refused(&refusal).await.map_err(closed)?;
            Err(unverified(refusal))
        }
    }
}

/// The question, addressed to the server, with this hop's own credential in place of the caller's.
fn outbound(
    gate: &Gate,
    context: &RequestContext,
    source: &Source<'_>,
    permit: Permit,
    question: &Question<'_>,
) -> Result<(Outbound, Option<String>), Refusal> {
    let rules: &HeaderRules = &permit.endpoint()?.headers;
    let (mut sent, dropped) =
        headers::passed(&source.parts.headers, &PASSED_HEADERS, rules, source.credential);
    dropped.report(&gate.meter, &context.call);
    for (name, value) in source.opened {
        sent.insert(name.clone(), value.clone());
    }
    sent.extend(question.headers.clone());
    headers::finish(&mut sent, rules, &context.trace, &question.body);
    let mut outbound = Outbound::to(permit, Method::POST, "", sent, question.body.clone())?;
    let token = credential::apply(gate, &mut outbound)?;
    Ok((outbound, token))
}

/// What the server answers, as far as it is the answer.
async fn answer(gate: &Gate, outbound: Outbound, id: &str, status: &mut u16) -> Result<Vec<u8>, Refusal> {
    let response: Response<Body> = forward(&gate.upstream, outbound).await?;
    let (parts, mut body) = response.into_parts();
    *status = parts.status.as_u16();
    if parts.headers.contains_key(CONTENT_ENCODING) {
        let message = "the server's answer is in an encoding, and none was asked for";
        return Err(Refusal::new(Code::UpstreamInvalid, message));
    }
    let (mut answering, mut read) = (Answering::of(&parts.headers), 0_usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.refusal("the server's answer broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        read = read.saturating_add(data.len());
        if read > gate.limits.held_answer {
            let message = format!("the server's answer is larger than {} bytes", gate.limits.held_answer);
            return Err(Refusal::new(Code::UpstreamInvalid, message));
        }
        if answering.push(&data, id) {
            break;
        }
    }
    Ok(answering.finish())
}

fn late() -> Refusal {
    Refusal::new(Code::UpstreamTimeout, "the server did not say it in time")
}

/// That it could not be found out, and why.
fn unverified(refusal: Refusal) -> Refusal {
    let message = format!("what the server says of the tool could not be found out: {}", refusal.message);
    let detail = refusal.detail.unwrap_or_else(|| refusal.code.as_str().into());
    Refusal { policies: refusal.policies, ..Refusal::new(Code::ToolUnverified, message).with_detail(detail) }
}
