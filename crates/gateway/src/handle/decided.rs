//! What is decided of a call, and decided again once more of it is known: what guards found, what it counts for, who approved it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::request::Parts;
use vidimus_core::call::{Call, SoFar};
use vidimus_core::clock::Moment;
use vidimus_core::decision::Decision;
use vidimus_core::guard::Guarded;
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Snapshot;

use super::guards;
use super::hold::Given;
use crate::accounts::Reservation;
use crate::gate::{Gate, millis};
use crate::protocol::llm::shapes::Shape;
use crate::request_context::RequestContext;

/// The decision, once the guards looked for which a policy has the call wait. Nearly every call waits for none, and is decided once.
///
/// # Errors
/// `token_expired` where the caller's token ended while somebody was asked.
pub(super) async fn decided<'c>(
    gate: &Gate,
    world: &Snapshot,
    call: &mut Call<'c>,
    (message, guarded): (Option<&Json<'_>>, &'c OnceLock<Guarded>),
) -> Result<Decision<'c>, Refusal> {
    let decision = world.authorize(call);
    let wanted = world.guards_wanted(&decision);
    if wanted.is_empty() {
        return Ok(decision);
    }
    // Few calls wait for guards, and what is kept in place is moved with each.
    let (found, waited) = Box::pin(guards::guarded(gate, world, call, (wanted, message))).await;
    call.ask.guarded = guarded.get_or_init(|| found);
    if waited {
        call.now = millis(gate.clock.now().wall);
        if call.caller.proven.expires.is_some_and(|end| end <= call.now) {
            let message = "the token ended while a guard's webhook was asked about the call";
            return Err(Refusal::new(Code::TokenExpired, message));
        }
    }
    Ok(world.authorize(call))
}

/// Takes what the call counts for, and gives what it has come to with that. One that answers what was asked in a former call, which waits for it, has the
/// place of that one among the calls at once.
///
/// # Errors
/// As [`crate::accounts::Accounts::count`].
pub(super) async fn counted(
    gate: &Gate,
    reservation: &mut Reservation,
    decision: &Decision<'_>,
    (parts, message): (&Parts, &Bytes),
    now: Moment,
) -> Result<Option<Arc<SoFar>>, Refusal> {
    let era = |address: &str| gate.standing.era(address, now.monotonic);
    let former = || gate.standing.bridged().goes_on(decision.call(), era, (&parts.headers, message));
    let counted = gate.accounts.count(reservation, decision, former, now).await?;
    Ok(counted.or_else(|| reservation.so_far()))
}

/// The decision with what the call counts for, where limits are of it.
pub(super) fn with_counts<'c>(
    world: &Snapshot,
    (call, decision): (&mut Call<'c>, Decision<'c>),
    so_far: Option<&'c SoFar>,
) -> Decision<'c> {
    call.so_far = so_far.unwrap_or(SoFar::nothing());
    if decision.limits().is_empty() { decision } else { world.authorize(call) }
}

/// The decision with the approvals that the call has.
pub(super) fn with_approvals<'c>(
    world: &Snapshot,
    (call, decision): (&mut Call<'c>, Decision<'c>),
    given: Option<&'c Given>,
) -> Decision<'c> {
    call.approvals = Given::approvals(given);
    if given.is_some() { world.authorize(call) } else { decision }
}

/// The decision with all who may answer the call, where several may: of what can be written for another one. A data plane knows of one address.
pub(super) fn among<'c>(context: &RequestContext, world: &Snapshot, decision: Decision<'c>) -> Decision<'c> {
    let is_written = Shape::asked_by(decision.call().ask.method).is_some();
    if is_written && context.carried.is_none() { world.with_candidates(decision) } else { decision }
}
