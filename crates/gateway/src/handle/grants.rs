//! Grants on the way of a call: a use is taken before the effect, and who is refused may ask for one.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use vidimus_core::act::{Act, Requested, Terms, Thing, Used};
use vidimus_core::call::Call;
use vidimus_core::decision::Decision;
use vidimus_core::entity::EntityKind;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Snapshot;

use crate::gate::{Gate, millis};

/// The header by which an agent asks for a grant of what it is refused: why it needs it.
const REQUEST: &str = "vidimus-request-grant";
/// How long a request waits for a person.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Longest reason in a request, in bytes.
const LONGEST_WHY: usize = 512;

/// Takes a use of the grant without which the call would be refused, on record before anything else of the call; `None` where it needs
/// none. Of two calls for one last use, one gets it.
pub(super) async fn claimed(
    gate: &Gate,
    world: &Snapshot,
    decision: &Decision<'_>,
    call: &str,
) -> Result<Option<Arc<str>>, Refusal> {
    let Some(grant) = world.grant_to_claim(decision) else { return Ok(None) };
    let of = Used { call: call.to_owned(), of: grant.to_string() };
    let actor = decision.call().principal().entity().to_string();
    match gate.shared.do_now(&actor, Act::UseGrant(of), "a call that only the grant permits").await {
        Ok(_) => Ok(Some(grant)),
        Err(refusal) if refusal.code == Code::ActUnfit => {
            Err(Refusal::new(Code::GrantSpent, refusal.message))
        }
        Err(refusal) => Err(refusal),
    }
}

/// That the grant which the call needs a use of has one, before anything else is taken for the call: the configuration that decides it
/// may be older than the last use. That use is taken later, by [`claimed`].
///
/// # Errors
/// `grant_spent`.
pub(super) fn check(gate: &Gate, world: &Snapshot, decision: &Decision<'_>) -> Result<(), Refusal> {
    let Some(grant) = world.grant_to_claim(decision) else { return Ok(()) };
    let standing = gate.acts.standing();
    if standing.grants.get(&*grant).is_some_and(|stands| !stands.is_spent()) {
        return Ok(());
    }
    Err(Refusal::new(Code::GrantSpent, format!("the grant {grant} has no uses left, or stands no more")))
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
    let asked =
        gate.shared.do_now(&agent.to_string(), Act::RequestGrant(Requested { terms, until_ms }), why).await;
    let said = match asked {
        Ok((done, _)) => format!("{}; a grant is asked for: {}", refusal.message, done.id),
        Err(fault) => format!("{}; {}", refusal.message, fault.message),
    };
    Refusal { message: said.into(), ..refusal }
        .with_next("A person may grant it (`vidimus grant approve`); then make the same call again.")
}
