//! What the server says of the tool that a held call is about: the gateway asks it (`tools/list`) before people are asked, and again before
//! the approved call is made. Only a permit reaches an upstream, so each question is a call of its own: the caller's, decided and recorded
//! as what it is (ADRs 23 and 41).

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method};
use tokio::time::Instant;
use uuid::Uuid;
use vidimus_core::approval::pending::Definition;
use vidimus_core::call::{Action, Ask, Call, Target};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::McpServer;
use vidimus_core::snapshot::Snapshot;

use super::on_account::{self, NotSaid, Question, Said};
use crate::answer::looked_at;
use crate::gate::Gate;
use crate::protocol::mcp::definition::{self, Found, LISTING};
use crate::protocol::mcp::pinned;
use crate::request_context::RequestContext;

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
    let ask = Ask { guarded: call.ask.guarded, via: call.ask.via, ..listing };
    let own = Call { ask, approvals: &[], ..*call };
    let until = Instant::now() + gate.limits.definition_time;
    let (mut found, mut cursor) = (Found::default(), None);
    for _ in 0..MOST_PAGES {
        // As clients choose them: a server is not told by it who asks, to whom it could describe the tool in another way.
        let id = Uuid::new_v4().hyphenated().to_string();
        let params = source.message.and_then(|message| message.get("params"));
        let question = definition::question(&source.parts.headers, params, (&id, cursor.as_deref()));
        let (headers, body) = question;
        let asked = Question { id: &id, method: Method::POST, headers, body, is_shown: false };
        cursor = page(gate, context, (&own, source), asked, (&mut found, name, until)).await?;
        if cursor.is_none() {
            return Ok(found.definition());
        }
    }
    let message = format!("its listing has more than {MOST_PAGES} pages");
    Err(unverified(Refusal::new(Code::UpstreamInvalid, message)))
}

/// Asks for one page: a call, from its decision to its effect. Gives where the next one begins, where there is one.
async fn page(
    gate: &Gate,
    context: &RequestContext,
    (own, source): (&Call<'_>, &Source<'_>),
    question: Question<'_>,
    (found, tool, until): (&mut Found, &str, Instant),
) -> Result<Option<String>, Refusal> {
    let id = question.id;
    let read = |said: &Said| {
        let next = found.read(&said.body, said.status, (id, tool))?;
        Ok((next, said.body.clone()))
    };
    let rest = (gate.limits.held_answer, until);
    let asked = on_account::ask(gate, context, (own, source), question, rest, read).await;
    let (next, body) = asked.map_err(|not_said| {
        match not_said {
            NotSaid::Closed(refusal) => refusal,
            // What people approve of the call comes after it: nobody can approve the look.
            NotSaid::Held(refusal) => unverified(refusal).with_next(HELD),
            NotSaid::Refused(refusal) | NotSaid::Failed(refusal) => unverified(refusal),
        }
    })?;
    if let Target::Server(server) = own.ask.target {
        learn(gate, server.clone(), body, until).await?;
    }
    Ok(next)
}

/// Notes what a page says of the server's tools.
///
/// # Errors
/// `tool_unverified` where that takes too long, since others are looked at before it.
async fn learn(gate: &Gate, server: Arc<McpServer>, page: Bytes, until: Instant) -> Result<(), Refusal> {
    let (standing, now) = (gate.standing.clone(), gate.clock.now().monotonic);
    let look = looked_at(gate, page.len(), move || pinned::learn(&standing, &server, &page, now));
    tokio::time::timeout_at(until, look).await.unwrap_or_else(|_| {
        let message = "other listings are looked at before this one";
        Err(unverified(Refusal::new(Code::Overloaded, message)))
    })
}

/// That it could not be found out, and why.
fn unverified(refusal: Refusal) -> Refusal {
    let message = format!("what the server says of the tool could not be found out: {}", refusal.message);
    let detail = refusal.detail.unwrap_or_else(|| refusal.code.as_str().into());
    Refusal { policies: refusal.policies, ..Refusal::new(Code::ToolUnverified, message).with_detail(detail) }
}
