//! Guards look at a call that a policy has wait for them (ADR 77): at every text, number and name of the message as it was parsed, and at what
//! goes on beside it. Of a webhook (ADR 87) it is asked what it finds; to a schema all is held that the message says.

use futures_util::future::join_all;
use vidimus_core::call::{Action, Ask, Call};
use vidimus_core::guard::{Came, Guarded, Kinds, Looked, OnFinding, Wanted};
use vidimus_core::json::Json;
use vidimus_core::json_schema::HeldSchema;
use vidimus_core::obligation::{Change, MAX_POINTER, MAX_POINTERS, Obligation};
use vidimus_core::resource::own_guard::{OnFailure, Webhook};
use vidimus_core::snapshot::Snapshot;

use super::said_to;
use crate::body_signature::SignedBody;
use crate::found::{Found, InPlace};
use crate::gate::{Gate, millis, rfc3339};
use crate::held_to;

/// Where the arguments of a tool are, which alone can go on without a value.
const ARGUMENTS: &str = "/params/arguments";

/// `typ` of the gateway's signature over what it asks a webhook.
const SIGNED_AS: &str = "vidimus-guard+jwt";

/// The most values that are taken out of a message to a model or an agent: with each turn of a conversation all of it is sent.
const MAX_SAID: usize = 64;

/// What the guards came to for which the policies have a call wait, beginning with those that are `wanted`; and whether somebody had to be waited for.
pub(super) async fn guarded(
    gate: &Gate,
    world: &Snapshot,
    call: &Call<'_>,
    (mut wanted, message): (Vec<Wanted>, Option<&Json<'_>>),
) -> (Guarded, bool) {
    let (mut guarded, mut waited) = (Guarded::default(), false);
    // Where one policy is lifted, another may be what refuses: of an agent as a whole, where this is of a skill. Each guard looks once.
    while !wanted.is_empty() {
        let mut asked = Vec::new();
        for one in &wanted {
            match one.guard.webhook() {
                Some(webhook) => asked.push(ask(gate, one, webhook, call)),
                None => {
                    let (looked, obligations) = look(one, call, message);
                    guarded.add(looked, obligations);
                }
            }
        }
        waited |= !asked.is_empty();
        for looked in join_all(asked).await {
            guarded.add(looked, []);
        }
        let again = Ask { guarded: &guarded, ..call.ask };
        let again = world.authorize(&Call { ask: again, ..*call });
        wanted = world.guards_wanted(&again);
    }
    (guarded, waited)
}

/// Asks a webhook what it finds. Nothing of that has a place in the message.
async fn ask(gate: &Gate, wanted: &Wanted, webhook: &Webhook, call: &Call<'_>) -> Looked {
    let guard = wanted.guard.clone();
    let now = gate.clock.now().wall;
    let time = rfc3339(now);
    let sign = |body: &[u8]| {
        let (sub, htu, at) = (guard.as_str(), &*webhook.url, millis(now));
        SignedBody { typ: SIGNED_AS, sub, htu, call: None, at, body }.by(&gate.mint).ok()
    };
    let answer = gate.upstream.ask(webhook, (guard.as_str(), call, &time), sign).await;
    gate.meter.guards().asked(guard.as_str(), if answer.is_ok() { "answered" } else { "failed" });
    if let Err(why) = answer
        && gate.guard_webhooks.is_to_be_told(guard.as_str(), gate.clock.now().monotonic)
    {
        let (then, why) = (webhook.on_failure.said(), why.as_str());
        tracing::warn!(
            guard = guard.as_str(),
            why,
            "the webhook of a guard gives no answer; calls that wait for it {then}"
        );
    }
    let (came, kinds) = match answer {
        Ok(kinds) if kinds.is_empty() => (Came::Passed, kinds),
        Ok(kinds) => (found_nowhere(wanted.on_finding), kinds),
        Err(why) => {
            let came = if webhook.on_failure == OnFailure::Open { Came::Open } else { Came::Failed };
            (came, Kinds::from([(why.as_str().into(), 1)]))
        }
    };
    Looked { guard, came, kinds }
}

fn look(wanted: &Wanted, call: &Call<'_>, message: Option<&Json<'_>>) -> (Looked, Vec<Obligation>) {
    let Wanted { guard, on_finding, policy } = wanted;
    if let Some(schema) = guard.schema() {
        return (held(wanted, schema, &call.ask), Vec::new());
    }
    let guard = guard.clone();
    let content = &call.ask.content;
    let is_of_tool = call.ask.action == Action::InvokeTool;
    let parts = [
        (message, if is_of_tool { in_arguments as InPlace } else { anywhere as InPlace }),
        (content.headers, nowhere as InPlace),
        (content.query, nowhere as InPlace),
    ];
    let Ok(Found { kinds, places, is_elsewhere }) = Found::of(&guard, parts) else {
        return (Looked { guard, came: Came::Failed, kinds: Kinds::new() }, Vec::new());
    };
    if kinds.is_empty() {
        return (Looked { guard, came: Came::Passed, kinds }, Vec::new());
    }
    let is_text = |place: &String| message.is_some_and(|message| said_to::is_text(message, place));
    let (can, most) = match call.ask.action {
        Action::InvokeTool => (true, MAX_POINTERS),
        Action::CallAgent | Action::CallModel => (places.iter().all(is_text), MAX_SAID),
        _ => (false, 0),
    };
    let can_redact =
        can && !is_elsewhere && places.len() <= most && places.iter().all(|place| place.len() <= MAX_POINTER);
    let came = match on_finding {
        OnFinding::Record => Came::Recorded,
        OnFinding::Refuse => Came::Found,
        OnFinding::Redact if can_redact => Came::Redacted,
        OnFinding::Redact => Came::Unredactable,
    };
    let redacted = if came == Came::Redacted { places } else { Vec::new() };
    let obligation = |place: String| {
        let change = Change::RedactFound(place.into(), guard.clone());
        Obligation { change, policy: policy.clone() }
    };
    let obligations = redacted.into_iter().map(obligation).collect();
    (Looked { guard, came, kinds }, obligations)
}

/// What comes of it that a message is held to a schema. What is not as it has to be has no place that could be taken out.
fn held(wanted: &Wanted, schema: &HeldSchema, ask: &Ask<'_>) -> Looked {
    let guard = wanted.guard.clone();
    let Ok(said) = held_to::asked(ask) else {
        return Looked { guard, came: Came::Failed, kinds: Kinds::new() };
    };
    let kinds = held_to::invalid(schema, &said);
    let came = match (kinds.is_empty(), wanted.on_finding) {
        (true, _) => Came::Passed,
        (false, on_finding) => found_nowhere(on_finding),
    };
    Looked { guard, came, kinds }
}

/// What becomes of a call in which something is found that has no place.
const fn found_nowhere(on_finding: OnFinding) -> Came {
    match on_finding {
        OnFinding::Record => Came::Recorded,
        OnFinding::Redact => Came::Unredactable,
        OnFinding::Refuse => Came::Found,
    }
}

/// The pointer of a value in the arguments; `None` for one elsewhere, and for the arguments as a whole.
fn in_arguments(pointer: &str) -> Option<&str> {
    pointer.strip_prefix(ARGUMENTS).filter(|rest| rest.starts_with('/'))
}

/// A value of the message to a model or an agent; which can be taken out is told by more than its pointer.
const fn anywhere(pointer: &str) -> Option<&str> {
    Some(pointer)
}

/// Of what goes on beside the message nothing can be taken out.
fn nowhere(_: &str) -> Option<&str> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_value_of_the_arguments_has_a_place() {
        for (pointer, place) in [
            ("/params/arguments/password", Some("/password")),
            ("/params/arguments/keys/0", Some("/keys/0")),
            ("/params/arguments", None),
            ("/params/argumentsx/a", None),
            ("/params/name", None),
            ("", None),
        ] {
            assert_eq!(in_arguments(pointer), place, "{pointer}");
        }
    }
}
