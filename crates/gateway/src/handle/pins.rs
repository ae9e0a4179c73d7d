//! A call of a pinned tool is made while the tool is what is pinned (ADR 76): what its server last said of it goes into the decision, and where
//! nobody looked for a while, the gateway looks first (as for an approval, ADR 41).

use std::sync::Arc;

use vidimus_core::call::{Ask, Call, Destination, Target};
use vidimus_core::clock::Moment;
use vidimus_core::decision::{Decision, Outcome};
use vidimus_core::permit::Permit;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::integrity::HeldTo;
use vidimus_core::resource::{Integrity, McpServer};
use vidimus_core::snapshot::Snapshot;

use super::definition::{self, Source, is_bound};
use super::operations;
use crate::answer::Asked;
use crate::gate::{Gate, millis};
use crate::part::Part;
use crate::protocol::mcp;
use crate::protocol::mcp::pinned::{self, Sight};
use crate::protocol::mcp::results::OutputSchema;
use crate::request_context::RequestContext;

/// The pinned tool that is called: its server, what that pins, and its name.
fn pinned<'c>(ask: &Ask<'c>) -> Option<(&'c Arc<McpServer>, &'c Integrity, &'c str)> {
    let Target::Tool { server, name } = ask.target else { return None };
    let integrity = server.integrity.as_ref()?;
    (is_bound(ask) && integrity.pins.contains_key(name)).then_some((server, integrity, name))
}

/// What the pinned tool that is called was when somebody looked not long ago.
pub(super) fn seen(gate: &Gate, ask: &Ask<'_>, moment: Moment) -> Option<Arc<Sight>> {
    let (server, _, name) = pinned(ask)?;
    let sight = gate.standing.sight(&pinned::key(server, name))?;
    sight.is_fresh(moment.monotonic, gate.limits.definition_life).then_some(sight)
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
) -> Result<Option<Arc<Sight>>, Refusal> {
    let call = decision.call();
    let Some((server, _, name)) = pinned(&call.ask) else { return Ok(None) };
    if decision.outcome() == Outcome::Deny || call.ask.definition.is_some() {
        return Ok(None);
    }
    // Few calls look, and what is kept in place is moved with each.
    let said = Box::pin(definition::of(gate, context, call, source)).await;
    let said = said.inspect_err(|_| context.held(decision, None))?;
    let now = gate.clock.now();
    if call.caller.proven.expires.is_some_and(|end| end <= millis(now.wall)) {
        let message = "the token ended while the tool's server was asked about it";
        return Err(Refusal::new(Code::TokenExpired, message));
    }
    let listed = said.digest.and_then(|_| gate.standing.sight(&pinned::key(server, name)));
    Ok(Some(listed.unwrap_or_else(|| Sight::none(now.monotonic))))
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
    let pin = integrity.and_then(|integrity| integrity.pins.get(&**tool));
    // A stream that is resumed has what the call's own had.
    let Some(pin) = pin.filter(|_| matches!(asked.method(), mcp::CALL | mcp::STREAM)) else {
        return Ok(None);
    };
    let sight = gate.standing.sight(&pinned::key(server, tool)).filter(|sight| *sight.digest() == **pin);
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

/// The digest of what the tool was, as a call has it.
pub(super) fn digest(sight: &Option<Arc<Sight>>) -> Option<&str> {
    sight.as_ref().map(|sight| sight.digest())
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
    [seen, looked]: [&'c Option<Arc<Sight>>; 2],
) -> Result<Decision<'c>, Refusal> {
    let decision = match looked {
        Some(sight) => {
            (call.ask.definition, call.now) = (Some(sight.digest()), millis(gate.clock.now().wall));
            world.authorize(call)
        }
        None => decision,
    };
    if let (Some((_, integrity, _)), Some(sight)) = (pinned(&call.ask), looked.as_ref().or(seen.as_ref()))
        && integrity.arguments == HeldTo::Schema
        && decision.outcome() != Outcome::Deny
    {
        sight.schema().check(call.ask.body).inspect_err(|_| context.held(&decision, None))?;
    }
    operations::check(gate, context, &decision)?;
    Ok(decision)
}
