//! What a call takes that there is only once: approvals and uses of grants, before the effect. And who is refused may ask for a grant.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use vidimus_core::act::{Act, BY_ITSELF, Requested, Terms, Thing, Used};
use vidimus_core::approval::pending::{State, Use};
use vidimus_core::call::Call;
use vidimus_core::decision::Decision;
use vidimus_core::entity::EntityKind;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Snapshot;

use crate::acts::Intent;
use crate::gate::{Gate, millis};

/// The header by which an agent asks for a grant of what it is refused: why it needs it.
const REQUEST: &str = "vidimus-request-grant";
/// How long a request waits for a person.
const PATIENCE: Duration = Duration::from_secs(3600);
/// That an approval is good for nothing any more, by what was changed since the call was decided.
const VOID: &str = "what asked for the approval of this call was changed just now";
/// That an approval is good for nothing any more, by who gave it.
const IN_DOUBT: &str = "somebody who approved this call was quarantined just now";
/// Longest reason in a request, in bytes.
const LONGEST_WHY: usize = 512;

/// Takes what the call may be made with only once, on record before anything else of it: the approval that it is made with, and a use of the
/// grant without which it would be refused, which is given. Both or neither: what is taken for nothing is lost. Of two calls for one of
/// them, one gets it.
///
/// # Errors
/// `approval_required` where another call was made with the approval meanwhile, or it is void, denied or over; `grant_spent`; those of acts.
pub(super) async fn claimed(
    gate: &Gate,
    world: &Snapshot,
    decision: &Decision<'_>,
    call: &str,
    approval: Option<&str>,
) -> Result<Option<Arc<str>>, Refusal> {
    // The server was asked since it was found.
    if approval.is_some_and(|approval| gate.acts.is_void(approval)) {
        return Err(Refusal::new(Code::ApprovalRequired, VOID));
    }
    let grant = world.grant_to_claim(decision);
    let used = approval.map(|approval| Intent {
        actor: BY_ITSELF.to_owned(),
        act: Act::Use(Use { approval: approval.to_owned(), call: call.to_owned() }),
        why: "the approved call is made".to_owned(),
    });
    let lent = grant.as_ref().map(|grant| Intent {
        actor: decision.call().principal().entity().to_string(),
        act: Act::UseGrant(Used { call: call.to_owned(), of: grant.to_string() }),
        why: "a call that only the grant permits".to_owned(),
    });
    let intents: Vec<Intent> = used.into_iter().chain(lent).collect();
    if intents.is_empty() {
        return Ok(None);
    }
    match gate.shared.do_now(intents).await {
        Ok(_) => Ok(grant),
        Err(refusal) if refusal.code.is_of_standing() => {
            Err(match approval.and_then(|approval| unusable(gate, approval)) {
                None => Refusal::new(Code::GrantSpent, refusal.message),
                Some(why) => Refusal::new(Code::ApprovalRequired, why),
            })
        }
        Err(refusal) => Err(refusal),
    }
}

/// Why no call can be made with the approval by now, which may be some time after the call was decided; `None` where one can.
fn unusable(gate: &Gate, approval: &str) -> Option<&'static str> {
    let (standing, now) = (gate.acts.standing(), millis(gate.clock.now().wall).0);
    let pending = standing.approvals.get(approval);
    if pending.is_some_and(|pending| pending.is_usable(now)) {
        return None;
    }
    Some(match pending {
        Some(pending) if pending.changed.as_deref().is_some_and(|changed| changed.starts_with("User/")) => {
            IN_DOUBT
        }
        Some(pending) if pending.changed.is_some() => VOID,
        Some(pending) if pending.state == State::Denied => "the approval of this call was denied just now",
        Some(pending) if pending.state == State::Used && pending.question.window.is_none() => {
            "another call was made with the approval of this one just now"
        }
        _ => "the time of the approval of this call was over just now",
    })
}

/// The refusal, with the request for a grant that the caller made with the call.
pub(super) async fn requested(gate: &Gate, parts: &Parts, call: &Call<'_>, refusal: Refusal) -> Refusal {
    let Some(why) = parts.headers.get(REQUEST) else { return refusal };
    let agent = call.principal().entity();
    if refusal.code != Code::NoPermit || agent.kind != EntityKind::Agent {
        return refusal;
    }
    let why = why.to_str().unwrap_or_default().trim();
    if why.is_empty() || why.len() > LONGEST_WHY {
        return Refusal {
            message: format!("{}; {REQUEST} does not say why in 1 to {LONGEST_WHY} bytes", refusal.message)
                .into(),
            ..refusal
        };
    }
    let chain = call.chain();
    let terms = Terms {
        agent: Thing(agent.clone()),
        resources: vec![Thing(call.ask.target.entity())],
        // A chain that begins with this call ends with it: the next try has another one.
        transaction: (!chain.actors.is_empty()).then(|| chain.transaction.to_string()),
        uses: Some(1),
    };
    let until_ms = millis(gate.clock.now().wall + PATIENCE).0;
    let (actor, act) = (agent.to_string(), Act::RequestGrant(Requested { terms, until_ms }));
    let asked = gate.shared.do_now(vec![Intent { actor, act, why: why.to_owned() }]).await;
    let said = match asked {
        Ok((done, _)) => format!("{}; a grant is asked for: {}", refusal.message, done.id),
        Err(fault) => format!("{}; {}", refusal.message, fault.message),
    };
    Refusal { message: said.into(), ..refusal }
        .with_next("A person may grant it (`vidimus grant approve`); then make the same call again.")
}
