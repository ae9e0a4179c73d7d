//! What a server asks of its client in the course of a call (sampling, elicitation, roots) is a call in the other direction: decided and recorded
//! as one before the client has it (ADR 97). It is its caller's, to the server as a whole, by the method of the question.

use std::sync::{Arc, OnceLock};

use uuid::Uuid;
use vidimus_core::call::{Action, Ask, Call, Destination, Target};
use vidimus_core::caller::Caller;
use vidimus_core::clock::Moment;
use vidimus_core::decision::Decision;
use vidimus_core::entity::EntityId;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::McpServer;
use vidimus_core::snapshot::Snapshot;

use super::decided::decided;
use super::on_account::{Course, Made, NotSaid};
use crate::answer::{Asked, found, rebound};
use crate::effect::{Begun, Effect, Ending};
use crate::gate::{Gate, millis};
use crate::protocol::question::Question;
use crate::refusal_sampler::Refused;
use crate::standing::limits::UnderWay;
use crate::trace::TraceContext;
use crate::unrecorded::closed;

/// The call in the course of which a server asks.
#[derive(Debug)]
pub(crate) struct InCall {
    pub(crate) asked: Asked,
    pub(crate) caller: Caller,
    pub(crate) destination: Destination,
    /// Its id.
    pub(crate) call: Arc<str>,
    /// Its places among the calls at once, which are also those of what is asked in it.
    pub(crate) under_way: Option<Arc<UnderWay>>,
    pub(crate) trace: TraceContext,
}

impl InCall {
    /// Of the call of this effect.
    pub(crate) fn of(
        (asked, caller, destination): (&Asked, &Caller, &Destination),
        effect: &Effect,
        trace: TraceContext,
    ) -> Self {
        Self {
            asked: asked.clone(),
            caller: caller.clone(),
            destination: destination.clone(),
            call: effect.call().clone(),
            under_way: effect.under_way(),
            trace,
        }
    }

    /// That the client may be asked, by the configuration in force; the decision, and that it is asked, are on record then.
    ///
    /// # Errors
    /// Those of policies, and of the ledger; `revoked` where the caller or the server is not registered any more, `upstream_invalid` for what cannot
    /// be read.
    pub(crate) async fn check(&self, gate: &Gate, question: &Question) -> Result<(), Refusal> {
        let (world, started) = (gate.snapshot(), gate.clock.now());
        let caller = rebound(&world, &self.caller).ok_or_else(gone)?;
        let Some(Destination::Server(server)) = found(&world, &self.destination) else { return Err(gone()) };
        let via = self.asked.via();
        let at = (&world, &caller, started);
        // Who is kept from what a server with members is asked is kept from what comes back by it.
        if let Some(front) = via
            && self.asked.is_barred_by(&world, &caller, (&question.method, millis(started.wall)))
        {
            let front = world.mcp_server(&front.id).ok_or_else(gone)?;
            self.decided(gate, question, at, (front, None)).await?;
        }
        self.decided(gate, question, at, (&server, via)).await
    }

    /// The same by what is said of one server.
    async fn decided(
        &self,
        gate: &Gate,
        question: &Question,
        (world, caller, started): (&Arc<Snapshot>, &Caller, Moment),
        (server, via): (&Arc<McpServer>, Option<&EntityId>),
    ) -> Result<(), Refusal> {
        let (text, guarded) = (question.text.as_bytes(), OnceLock::new());
        let message = crate::protocol::parse(text).map_err(|refusal| {
            let what = "what the server asks its client could not be read";
            Refusal::new(Code::UpstreamInvalid, what).with_detail(refusal.message)
        })?;
        let about = Ask::about(&question.method, Action::ConnectServer, Target::Server(server));
        let mut call = Call {
            caller,
            ask: Ask { via, body: text, ..about },
            now: millis(started.wall),
            source_ip: self.asked.source_ip,
            so_far: self.asked.so_far(),
            approvals: &[],
        };
        drop(decided(gate, world, &mut call, (Some(&message), &guarded)).await?);
        let id: Arc<str> = Uuid::now_v7().hyphenated().to_string().into();
        let begun = Begun { call: &id, caller, started, bytes_in: text.len(), trace: self.trace.sampled() };
        let course =
            Course { gate, world, trace: &self.trace, call: &self.call, under_way: self.under_way.clone() };
        // It is the server that may ask without end, so the records that its caller's own denials have are not for it.
        let has_record = |_: &Decision<'_>, code: Code| {
            let has = gate.refusals.has_record(Refused::Principal(&server.id), code, started);
            if !has {
                gate.meter.unrecorded(code);
            }
            has
        };
        let made = course.made(&call, begun, (text, true), &has_record).await;
        asked_of(made.map_err(NotSaid::refusal)?, question).await
    }
}

/// The client is asked: what came of the question is that, and its answer is a call of the client's.
async fn asked_of(made: Made, question: &Question) -> Result<(), Refusal> {
    let Made { permit, mut effect, claims, .. } = made;
    let is_changed = !permit.obligations().is_empty();
    if let Some(claims) = claims {
        claims.settle(!is_changed, None);
    }
    if is_changed {
        let message =
            "a policy changes what the server asks its client, which is passed as it is or not at all";
        let refusal = Refusal::new(Code::ChangeImpossible, message);
        effect.record_refused(&refusal).await.map_err(closed)?;
        return Err(refusal);
    }
    effect.passed(question.text.as_bytes(), false);
    effect.record(Ending::Ok).await.map_err(closed)
}

fn gone() -> Refusal {
    Refusal::new(Code::Revoked, "who would be asked, or the server that asks, is not registered any more")
}
