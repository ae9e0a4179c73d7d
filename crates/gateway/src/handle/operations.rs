//! The arguments of an operation of an API are held to its schema, and make a request of it, before the call is on record (ADR 85).

use vidimus_core::call::Target;
use vidimus_core::decision::{Decision, Outcome};
use vidimus_core::refusal::Refusal;
use vidimus_core::resource::integrity::HeldArguments;

use super::definition::is_bound;
use crate::forward::makes_request;
use crate::gate::Gate;
use crate::request_context::RequestContext;

/// Of a call that policies let pass, or hold: who may not make it learns nothing of the operation.
///
/// # Errors
/// `arguments_invalid`; `tool_unverified` where nothing can be held to the schema.
pub(super) fn check(
    gate: &Gate,
    context: &mut RequestContext,
    decision: &Decision<'_>,
) -> Result<(), Refusal> {
    let ask = &decision.call().ask;
    let Target::Tool { server, name } = ask.target else { return Ok(()) };
    let Some(api) = &server.endpoint.openapi else { return Ok(()) };
    let Some(operation) = api.tools.get(name).filter(|_| is_bound(ask)) else { return Ok(()) };
    if decision.outcome() == Outcome::Deny {
        return Ok(());
    }
    let schema = gate.standing.schema_of(&format!("{}\n{name}", api.digest), &operation.definition);
    let is_closed = server.integrity.as_ref().is_some_and(|one| one.arguments == HeldArguments::Closed);
    let checked =
        schema.check(ask.body, is_closed).and_then(|()| makes_request(&server.endpoint, name, ask.body));
    checked.inspect_err(|_| context.held(decision, None))
}
