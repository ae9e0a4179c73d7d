//! A caller whose call waits for a person: how it is told, and how long the gateway waits with it when it comes back.

use std::time::Duration;

use http::Response;
use vidimus_core::approval::pending::State;
use vidimus_core::call::Destination;
use vidimus_core::json::Json;
use vidimus_core::permit::Held;

use super::addressed::Addressed;
use super::admit::Admission;
use super::crossing;
use super::hold::RETRY_AFTER;
use crate::gate::{Gate, millis};
use crate::part::Part;
use crate::protocol::carrier::Waiting;
use crate::protocol::{Parsed, mcp};
use crate::request_context::RequestContext;
use crate::seal::{Holder, Kind};

/// Waits for people's answer, for as long as its caller is told to wait in vain, where a client that was led to the approval makes its request
/// again: clients do so at once, and some only so often. Nothing is decided meanwhile, so it is as if the message had been long on its way.
pub(super) async fn for_an_answer(gate: &Gate, addressed: &Addressed<'_>, message: Option<&Json<'_>>) {
    let Destination::Server(server) = &addressed.destination else { return };
    let Addressed { destination, caller, world, .. } = addressed;
    let of = |at: &Destination| mcp::held::waits_for(message, &Holder::new(&gate.seal, at, caller));
    // By a server with members it is a call of one of these that waits.
    let waits = match &server.members {
        None => of(destination),
        Some(members) => {
            members.all.iter().find_map(|member| of(&crossing::destination(world, member).ok()?))
        }
    };
    if let Some(approval) = waits {
        // Few calls come here, and what is kept in place is moved with each.
        Box::pin(answered(gate, &approval)).await;
    }
}

/// Until people have answered, or it is in vain.
async fn answered(gate: &Gate, approval: &str) {
    let mut acts = gate.acts.changes();
    let answered = async {
        loop {
            let now = millis(gate.clock.now().wall).0;
            let standing = acts.borrow_and_update().standing.clone();
            let pending = standing.approvals.get(approval);
            if pending.is_none_or(|pending| pending.state_at(now) != State::Asked)
                || acts.changed().await.is_err()
            {
                return;
            }
        }
    };
    // In vain: it is decided all the same, and waits.
    let _ = tokio::time::timeout(Duration::from_secs(RETRY_AFTER.into()), answered).await;
}

/// A held call, whose caller is told of it in its protocol's own way, where that has one and the message says that its sender takes it.
pub(super) fn told<'p>(
    gate: &Gate,
    context: &mut RequestContext,
    (holder, parsed): (&Holder<'_>, &Parsed<'_>),
    held: Held,
) -> Admission<'p> {
    context.told(answer(gate, context, (holder, parsed), &held));
    Admission::Held(held)
}

/// The answer in the protocol's own way; `None` where it is the refusal, also for want of a handle.
fn answer(
    gate: &Gate,
    context: &RequestContext,
    (holder, parsed): (&Holder<'_>, &Parsed<'_>),
    held: &Held,
) -> Option<Response<String>> {
    if context.carried.is_some() {
        // What it brings back would have to be taken out of its message, which a data plane sends as it is.
        return None;
    }
    let refusal = held.as_refusal();
    let (approval, id) = (&*refusal.awaited.as_deref()?.approval, context.message_id()?);
    let handle = holder.sealed(Kind::Approval, &Part::from(parsed.ask.target), approval).ok()?;
    let url = gate.admin_url.as_deref().map(|base| format!("{base}/approvals/{approval}"));
    let (url, call) = (url.as_deref(), &*context.call);
    parsed.carrier.answer(&Waiting { refusal, approval, handle: &handle, url, call, id: &id })
}
