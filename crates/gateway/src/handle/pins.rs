//! A call of a pinned tool is made while the tool is what is pinned (ADR 76): what its server last said of it goes into the decision, and where
//! nobody looked for a while, the gateway looks first (as for an approval, ADR 41). So it does where the tool is to be held to what it is at first
//! sight, and nobody saw it yet (ADR 91).

use std::sync::Arc;
use std::time::Instant;

use vidimus_core::call::{Ask, Call, Destination, Target};
use vidimus_core::clock::Moment;
use vidimus_core::decision::{Decision, Outcome};
use vidimus_core::permit::Permit;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::integrity::{HeldArguments, HeldTo};
use vidimus_core::resource::{Integrity, McpServer};
use vidimus_core::snapshot::Snapshot;

use super::definition::{self, Source, is_bound};
use super::operations;
use crate::answer::Asked;
use crate::first_sight::{Seen, subject};
use crate::gate::{Gate, millis};
use crate::part::Part;
use crate::protocol::mcp;
use crate::protocol::mcp::pinned::{self, Sight};
use crate::protocol::mcp::results::OutputSchema;
use crate::request_context::RequestContext;

/// What to do where a tool is not pinned unseen by people.
const LOOK: &str = "Whoever keeps the server's record: look at what the tool says (`vidimus pin`), and pin it in the record (spec.integrity.pins) if that is well, \
     or have the server put right.";

/// What to do where the act by which a tool is pinned cannot be done.
const UNPINNED: &str = "Make the call again; where it goes on, look at the ledger and at the store of what gateways share, or pin the tool in its server's record \
     (spec.integrity.pins).";

/// The pinned tool that is called: its server, what that pins, and its name.
fn pinned<'c>(ask: &Ask<'c>) -> Option<(&'c Arc<McpServer>, &'c Integrity, &'c str)> {
    let Target::Tool { server, name } = ask.target else { return None };
    let integrity = server.integrity.as_ref()?;
    (is_bound(ask) && integrity.holds(name)).then_some((server, integrity, name))
}

/// What is known of the pinned tool that is called.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// What it was when somebody looked.
    sight: Option<Arc<Sight>>,
    /// What it is held to since it was first seen, where it is held to that.
    first: Option<Arc<str>>,
}

impl Known {
    /// What is asked, with that.
    pub(super) fn told<'k>(&'k self, ask: Ask<'k>) -> Ask<'k> {
        Ask { definition: self.digest(), first_seen: self.first(), ..ask }
    }

    /// The digest of what the tool was, as a call has it.
    fn digest(&self) -> Option<&str> {
        self.sight.as_ref().map(|sight| sight.digest())
    }

    /// The digest of what it was when it was first seen.
    fn first(&self) -> Option<&str> {
        self.first.as_deref()
    }
}

/// What the pinned tool that is called was when somebody looked not long ago. What is not held to anything yet is looked at.
pub(super) fn seen(gate: &Gate, ask: &Ask<'_>, moment: Moment) -> Known {
    let Some((server, integrity, name)) = pinned(ask) else { return Known::default() };
    let first = gate.shared.first_seen(server, name);
    if first.is_none() && integrity.is_at_first_sight(name) {
        return Known::default();
    }
    Known { sight: recent(gate, server, name, moment.monotonic), first }
}

/// What a tool was when somebody looked not long ago.
fn recent(gate: &Gate, server: &McpServer, name: &str, now: Instant) -> Option<Arc<Sight>> {
    let sight = gate.standing.sight(&pinned::key(server, name))?;
    sight.is_fresh(now, gate.limits.definition_life).then_some(sight)
}

/// Looks what the pinned tool is, of a call that policies let pass, or hold, and of which that is not known. The call is to be decided anew.
///
/// # Errors
/// `tool_unverified`; `token_expired` where the caller's token ended meanwhile; those of the ledger.
pub(super) async fn look(
    gate: &Gate,
    context: &mut RequestContext,
    decision: &Decision<'_>,
    source: &Source<'_>,
) -> Result<Known, Refusal> {
    let call = decision.call();
    let Some((server, integrity, name)) = pinned(&call.ask) else { return Ok(Known::default()) };
    if decision.outcome() == Outcome::Deny || call.ask.definition.is_some() {
        return Ok(Known::default());
    }
    let is_first = integrity.is_at_first_sight(name);
    let listed = recent(gate, server, name, gate.clock.now().monotonic).filter(|_| is_first);
    let sight = match listed {
        // A listing showed it just now.
        Some(sight) => sight,
        // Few calls look, and what is kept in place is moved with each.
        None => Box::pin(asked(gate, context, decision, (server, name), source)).await?,
    };
    let first = match is_first {
        true => Box::pin(first_sight(gate, (server, name), &sight))
            .await
            .inspect_err(|_| context.held(decision, None))?,
        false => None,
    };
    Ok(Known { sight: Some(sight), first })
}

/// What the server says now that the tool is.
async fn asked(
    gate: &Gate,
    context: &mut RequestContext,
    decision: &Decision<'_>,
    (server, name): (&McpServer, &str),
    source: &Source<'_>,
) -> Result<Arc<Sight>, Refusal> {
    let call = decision.call();
    let said = definition::of(gate, context, call, source).await;
    let said = said.inspect_err(|_| context.held(decision, None))?;
    let now = gate.clock.now();
    if call.caller.proven.expires.is_some_and(|end| end <= millis(now.wall)) {
        let message = "the token ended while the tool's server was asked about it";
        return Err(Refusal::new(Code::TokenExpired, message));
    }
    let listed = said.digest.and_then(|_| gate.standing.sight(&pinned::key(server, name)));
    Ok(listed.unwrap_or_else(|| Sight::none(now.monotonic)))
}

/// What the tool is held to from its first sight on, which is this one where nobody saw it before; `None` where its server does not list it.
///
/// # Errors
/// `tool_unverified` where it cannot be pinned: something is hidden in what it is, or the act cannot be done.
async fn first_sight(
    gate: &Gate,
    (server, name): (&McpServer, &str),
    sight: &Sight,
) -> Result<Option<Arc<str>>, Refusal> {
    let known = gate.shared.first_seen(server, name);
    if known.is_some() || *sight.digest() == *Ask::NOT_LISTED {
        return Ok(known);
    }
    if let Some(rule) = sight.found() {
        let message = format!(
            "the tool is seen for the first time, and what its server says of it is not pinned without that people look at it: {rule}"
        );
        return Err(Refusal::new(Code::ToolUnverified, message).with_next(LOOK));
    }
    let seen = Seen::from([(name.to_owned(), sight.digest().into())]);
    gate.shared.pin_at_first_sight(&subject(server), &seen).await.map_err(|refusal| {
        let message = "the tool is seen for the first time, and what it is could not be pinned";
        let detail = format!("{}: {}", refusal.code.as_str(), refusal.message);
        Refusal::new(Code::ToolUnverified, message).with_detail(detail).with_next(UNPINNED)
    })?;
    Ok(gate.shared.first_seen(server, name))
}

/// What the results of a permitted call are held to: the output schema of the definition that is pinned, where it has one.
///
/// # Errors
/// `tool_unverified` where nothing can be held to it, or the tool was described otherwise since the call was decided.
pub(super) fn results(
    gate: &Gate,
    permit: &Permit,
    asked: &Asked,
) -> Result<Option<Arc<OutputSchema>>, Refusal> {
    let (Destination::Server(server), Part::Tool(tool)) = (permit.destination(), &asked.part) else {
        return Ok(None);
    };
    let integrity = server.integrity.as_ref().filter(|integrity| integrity.results == HeldTo::Schema);
    let pin = integrity.and_then(|integrity| integrity.pins.get(&**tool).cloned());
    let pin = pin.or_else(|| gate.shared.first_seen(server, tool).filter(|_| integrity.is_some()));
    // A stream that is resumed has what the call's own had.
    let Some(pin) = pin.filter(|_| matches!(asked.method(), mcp::CALL | mcp::STREAM)) else {
        return Ok(None);
    };
    let sight = gate.standing.sight(&pinned::key(server, tool)).filter(|sight| *sight.digest() == *pin);
    let sight = sight.ok_or_else(|| {
        let message =
            "what the server says of the tool changed while the call was under way; nothing was sent";
        Refusal::new(Code::ToolUnverified, message)
    })?;
    match sight.results() {
        Some(schema) => schema.usable().map(|_| Some(schema.clone())),
        None => Ok(None),
    }
}

/// The decision with what the tool is, where somebody `looked`: that took its time. What it lets pass, or holds, has arguments as the pinned schema
/// lets them be, and as the operation of an API does.
///
/// # Errors
/// `arguments_invalid`; `tool_unverified` where nothing can be held to the schema.
pub(super) fn anew<'c>(
    gate: &Gate,
    context: &mut RequestContext,
    world: &Snapshot,
    (call, decision): (&mut Call<'c>, Decision<'c>),
    [seen, looked]: [&'c Known; 2],
) -> Result<Decision<'c>, Refusal> {
    let decision = match looked.digest() {
        Some(digest) => {
            (call.ask.definition, call.ask.first_seen) = (Some(digest), looked.first());
            call.now = millis(gate.clock.now().wall);
            world.authorize(call)
        }
        None => decision,
    };
    let sight = looked.sight.as_ref().or(seen.sight.as_ref());
    if let (Some((_, integrity, _)), Some(sight)) = (pinned(&call.ask), sight)
        && integrity.arguments != HeldArguments::Nothing
        && decision.outcome() != Outcome::Deny
    {
        let is_closed = integrity.arguments == HeldArguments::Closed;
        let held = sight.schema().check(call.ask.body, is_closed);
        held.inspect_err(|_| context.held(&decision, None))?;
    }
    operations::check(gate, context, &decision)?;
    Ok(decision)
}
