//! What a message asks, as its binding reads it.

use bytes::Bytes;
use http::request::Parts;
use vidimus_core::call::{Action, Ask, Call, Destination, SoFar, Target};
use vidimus_core::caller::Caller;
use vidimus_core::clock::Moment;
use vidimus_core::entity::EntityId;
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Kind as ObjectKind;
use vidimus_core::snapshot::Snapshot;

use super::crossing::Crossing;
use crate::gate::{Gate, millis};
use crate::protocol::llm;
use crate::protocol::{Binding, Message, Parsed};
use crate::request_context::RequestContext;
use crate::route::{Protocol, Route};
use crate::seal::Holder;

/// What the message asks. Whoever may call no model of a provider is not told which it has: it is as where there is no such provider.
pub(super) fn parsed<'a>(
    (crossing, binding): (&'a Crossing, &dyn Binding),
    (message, as_sent): (&Message<'a>, bool),
    (world, caller): (&Snapshot, &Caller),
    at: (&RequestContext, Moment),
) -> Result<Parsed<'a>, Refusal> {
    let parsed = crossing.parsed(binding, message).map_err(|refusal| {
        let Destination::Provider(provider) = message.destination else { return refusal };
        let ask = Ask::about(llm::MODELS_METHOD, Action::ListModels, Target::Provider(provider));
        let is_kept = || !world.shows_models(&call_of(caller, (ask, None), at), provider);
        match refusal.code {
            Code::ResourceUnknown if is_kept() => world
                .absent(ObjectKind::LlmProvider, &provider.id.id, Code::ResourceUnknown)
                .with_detail(refusal.message),
            _ => refusal,
        }
    })?;
    Ok(Parsed { lifted: parsed.lifted || !as_sent, ..parsed })
}

/// The message as its binding reads it.
pub(super) fn message_of<'a>(
    gate: &'a Gate,
    parts: &'a Parts,
    (route, destination, holder): (&Route<'a>, &'a Destination, &'a Holder<'a>),
    (json, bytes): (Option<&'a Json<'a>>, usize),
) -> Message<'a> {
    Message {
        destination,
        method: &parts.method,
        path: route.rest,
        headers: &parts.headers,
        holder,
        json,
        bytes,
        standing: Some(&gate.standing),
    }
}

/// The call that a message makes, by the tool of a server where it is one's.
pub(super) fn call_of<'a>(
    caller: &'a Caller,
    (ask, via): (Ask<'a>, Option<&'a EntityId>),
    (context, moment): (&RequestContext, Moment),
) -> Call<'a> {
    Call {
        caller,
        ask: Ask { via: via.or(ask.via), ..ask },
        now: millis(moment.wall),
        source_ip: Some(context.peer.address.ip().to_canonical()),
        so_far: SoFar::nothing(),
        approvals: &[],
    }
}

/// Whether a message is the one that came: one to an agent that was written anew goes on so. Elsewhere a binding knows whether it does.
pub(super) fn is_as_sent(protocol: Protocol, (came, message): (&Bytes, &Bytes)) -> bool {
    protocol != Protocol::A2a || came.as_ptr() == message.as_ptr()
}
