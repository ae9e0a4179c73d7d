//! What of a call its records keep: what it says is sealed before its decision is on record, and there is a key for what it is answered.

use vidimus_core::call::{Action, Call};
use vidimus_core::decision::Decision;
use vidimus_core::keep::{KeptPayload, MAX_KEPT, PayloadOf};
use vidimus_core::obligation::{Change, Obligation};
use vidimus_core::refusal::{Code, Refusal};

use super::content;
use crate::gate::{Gate, Shared};
use crate::payloads::{Keeping, Lease, Place};

/// The longest message that is looked through for what is kept of it, in bytes: with less around it, it may be short enough.
const LONGEST_MESSAGE: usize = 4 * MAX_KEPT;

/// How often another key is taken where one is destroyed meanwhile.
const TRIES: usize = 3;

impl Shared {
    /// Why no call passes whose payload is to be kept; `None` where none was refused for it, or the next one can be tried.
    pub async fn why_unkept(&self) -> Option<String> {
        Some(self.payload_keys.fault().await?.to_string())
    }
}

/// What is kept of one call.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// For the record of the decision.
    pub(super) arguments: Option<KeptPayload>,
    /// For that of the effect.
    pub(super) answer: Option<Box<Keeping>>,
}

impl Kept {
    /// As the permits say that allow the call; nothing of nearly every one.
    ///
    /// # Errors
    /// `ledger_closed` where there is no key: what a policy has on record is, or the call does not pass.
    pub(super) async fn of(gate: &Gate, decision: &Decision<'_>, call: &str) -> Result<Self, Refusal> {
        let keeps = decision.keeps();
        if keeps.is_nothing() {
            return Ok(Self::default());
        }
        let said = if keeps.arguments { said(decision) } else { Said::Nothing };
        for _ in 0..TRIES {
            let (arguments, lease) = match &said {
                Said::Text(text) => {
                    let lease = lease(gate, decision.call()).await?;
                    let place = Place { origin: gate.ledger.origin(), call, of: PayloadOf::Arguments };
                    (Some(lease.seal(place, text.as_bytes())), Some(lease))
                }
                Said::Unkept(why) if !keeps.answer => (Some(why.clone()), None),
                Said::Unkept(why) => (Some(why.clone()), Some(lease(gate, decision.call()).await?)),
                Said::Nothing if !keeps.answer => (None, None),
                Said::Nothing => (None, Some(lease(gate, decision.call()).await?)),
            };
            // Whoever calls after a key was destroyed has another.
            if !lease.as_ref().is_some_and(Lease::is_void) {
                let answer = lease.filter(|_| keeps.answer).map(|lease| Box::new(Keeping::new(lease)));
                return Ok(Self { arguments, answer });
            }
        }
        Err(unkept("keys are destroyed all the time"))
    }
}

/// What a call says, as it is kept.
enum Said {
    Nothing,
    Text(String),
    Unkept(KeptPayload),
}

/// What a call says, without what policies keep from its destination.
fn said(decision: &Decision<'_>) -> Said {
    let call = decision.call();
    let too_long = |bytes: usize| {
        Said::Unkept(KeptPayload { bytes: bytes as u64, too_long: true, ..KeptPayload::default() })
    };
    if call.ask.body.len() > LONGEST_MESSAGE {
        return too_long(call.ask.body.len());
    }
    // A message is kept as it came, so of one in which something is redacted nothing is.
    let is_redacted = |one: &Obligation| matches!(one.change, Change::RedactFound(..));
    if call.ask.action != Action::InvokeTool && decision.obligations().iter().any(is_redacted) {
        return Said::Unkept(KeptPayload::unkept("hidden"));
    }
    let hidden = decision.obligations().iter().filter_map(|one| match &one.change {
        Change::RedactArgument(pointer) | Change::RedactFound(pointer, _) => Some(pointer.to_string()),
        Change::RedactAnswer(_) | Change::CapTokens(_) | Change::GuardAnswer(..) => None,
    });
    match content::shown(call, &hidden.collect::<Vec<_>>()) {
        Ok(None) => Said::Nothing,
        Ok(Some(text)) if text.len() > MAX_KEPT => too_long(text.len()),
        Ok(Some(text)) => Said::Text(text),
        Err(_) => Said::Unkept(KeptPayload::unkept("hidden")),
    }
}

/// The key of the person for whom the call is made, or of whoever makes it.
async fn lease(gate: &Gate, call: &Call<'_>) -> Result<Lease, Refusal> {
    let whose = match call.user() {
        Some(user) => format!("User/{}", user.id()),
        None => call.principal().entity().to_string(),
    };
    gate.payload_keys.lease(&whose, gate.clock.now().wall).await.map_err(unkept)
}

fn unkept(detail: impl std::fmt::Display) -> Refusal {
    let message = "a policy has the record of this call keep its payload, and there is no key for it, so nothing passes";
    Refusal::new(Code::LedgerClosed, message).with_detail(detail)
}
