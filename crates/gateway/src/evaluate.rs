//! A call that another enforcement point asks about. It is decided as the gateway would decide it now, and that is on record before the
//! answer; whether it is made, and what comes of it, is that point's, and not seen here (ADR 59).

use std::sync::Arc;

use uuid::Uuid;
use vidimus_core::call::{Call, SoFar};
use vidimus_core::clock::Moment;
use vidimus_core::decision::{About, Decision, Outcome};
use vidimus_core::obligation::Demanded;
use vidimus_core::permit::Verdict;
use vidimus_core::record::Record;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Snapshot;

use crate::data_plane::only_here;
use crate::gate::{Shared, millis, rfc3339};
use crate::handle::sha256;
use crate::refusal_sampler::Refused;
use crate::source_state::Noted;
use crate::trace::TraceContext;
use crate::unrecorded::closed;

/// The protocol of such a question, in its record.
const PROTOCOL: &str = "authzen";

/// Who asks, and by what message.
#[derive(Clone, Copy, Debug)]
pub struct AskedElsewhere<'a> {
    /// The enforcement point: `User/issuer#subject`.
    pub by: &'a str,
    /// The message, of which the record has the digest.
    pub body: &'a [u8],
    /// Its `traceparent`, where it has one.
    pub traceparent: Option<&'a str>,
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// The id of the record, where it has one: of a flood of questions that are answered with no only the sum has.
    pub id: Arc<str>,
    /// What was decided.
    pub outcome: Outcome,
    /// Why the point is not to make the call; `None` where it may.
    pub refusal: Option<Refusal>,
    /// The policies that decided.
    pub policies: Vec<Arc<str>>,
    /// What policies demand that is changed of the call or of its answer.
    pub obligations: Vec<Demanded>,
}

impl Shared {
    /// Decides a call that is not made here, and records that. `call` is of `world`; what its chain has come to, and when it is, is
    /// filled in here.
    ///
    /// The answer is yes only to what another point can carry out as it is: not to what policies change, for nobody would see whether it
    /// was changed, and not to what counts for a limit, or what only grants permit whose uses are counted, for none would be taken. Nor is
    /// it to a job, which only the gateway runs, and to what goes where calls are refused by the age of the configuration.
    ///
    /// # Errors
    /// Those of the accounts and of the ledger: then there is no answer.
    pub async fn evaluate(
        &self,
        world: &Snapshot,
        call: &Call<'_>,
        asked: &AskedElsewhere<'_>,
    ) -> Result<Evaluated, Refusal> {
        let id: Arc<str> = Uuid::now_v7().hyphenated().to_string().into();
        let so_far = self.so_far(world, call, &id).await?;
        let moment = self.clock.now();
        let now = millis(moment.wall);
        let call = Call { now, so_far: so_far.as_deref().unwrap_or(SoFar::nothing()), ..*call };
        let decision = world.authorize(&call);
        let source = self.source();
        let trace = TraceContext::from_header(asked.traceparent);
        let parent = trace.parent();
        let about = About {
            id: &id,
            trace: &trace.ids(),
            parent: parent.as_deref(),
            time: &rfc3339(moment.wall),
            protocol: PROTOCOL,
            body: &sha256(asked.body),
            snapshot: world.digest(),
            approval: None,
            aged: source.aged(moment),
            on_account_of: None,
            kept: None,
        };
        if self.has_record(&decision, moment) {
            let record = Record::Decision(decision.record_of_question(&about, asked.by));
            self.ledger.record(&record).await.map_err(closed)?;
        }
        Ok(Evaluated {
            outcome: decision.outcome(),
            refusal: not_elsewhere(world, &decision).or_else(|| closed_by_age(&source, &call, moment)),
            policies: decision.policies().to_vec(),
            obligations: decision.obligations().iter().map(Demanded::of).collect(),
            id,
        })
    }

    /// Whether a question has a record of its own, as a call would: who is refused elsewhere as fast as it can would else fill the disk here.
    fn has_record(&self, decision: &Decision<'_>, moment: Moment) -> bool {
        let code = match decision.outcome() {
            Outcome::Allow | Outcome::AllowWithObligations => return true,
            Outcome::Deny | Outcome::Hold => decision.code().unwrap_or(Code::ApprovalRequired),
        };
        let who = Refused::Principal(decision.call().principal().entity());
        let has = self.refusals.has_record(who, code, moment);
        if !has {
            self.meter.unrecorded(code);
        }
        has
    }

    /// Whether the answer to such a question would be yes, for who looks for what is permitted. It leaves no record.
    ///
    /// # Errors
    /// Those of the accounts.
    pub async fn would_permit(&self, world: &Snapshot, call: &Call<'_>) -> Result<bool, Refusal> {
        let id: Arc<str> = Uuid::now_v7().hyphenated().to_string().into();
        let so_far = self.so_far(world, call, &id).await?;
        let moment = self.clock.now();
        let now = millis(moment.wall);
        let call = Call { now, so_far: so_far.as_deref().unwrap_or(SoFar::nothing()), ..*call };
        let is_closed = closed_by_age(&self.source(), &call, moment).is_some();
        Ok(!is_closed && not_elsewhere(world, &world.authorize(&call)).is_none())
    }

    /// What the chain of the call has come to with it, and what the caller has read of late. A question takes nothing: what is reserved for it
    /// is given back.
    async fn so_far(
        &self,
        world: &Snapshot,
        call: &Call<'_>,
        id: &Arc<str>,
    ) -> Result<Option<Arc<SoFar>>, Refusal> {
        let (_, place) = self.accounts.entered(call.principal().entity())?;
        let reservation = self.accounts.reserve(call, id, place, world, self.clock.now()).await?;
        Ok(reservation.so_far())
    }
}

/// Why nothing goes there now, whatever policies say: as at the gateway, where that is looked at before a call is decided.
fn closed_by_age(source: &Noted, call: &Call<'_>, moment: Moment) -> Option<Refusal> {
    source.check(&call.ask.target.destination(), moment).err()
}

/// Why a call is not to be made by another enforcement point; `None` where it may.
fn not_elsewhere(world: &Snapshot, decision: &Decision<'_>) -> Option<Refusal> {
    match decision.unmade() {
        Some(Verdict::Refused(refusal)) => return Some(refusal),
        Some(Verdict::Held(held)) => return Some(held.refusal()),
        // What is only unmade permits nothing.
        Some(Verdict::Permitted(_)) | None => {}
    }
    let destination = decision.call().ask.target.destination();
    if let Some(refusal) = destination.endpoint().and_then(only_here) {
        return Some(refusal);
    }
    if decision.outcome() == Outcome::AllowWithObligations {
        let message = "policies change this call or its answer, and whether another enforcement point does so is not known here";
        let next = "Make the call through the gateway, or permit it where nothing has to be changed.";
        return Some(Refusal::new(Code::ChangeImpossible, message).with_next(next));
    }
    if let [limit, ..] = decision.limits() {
        let message = format!(
            "the call counts for the limit {}, and calls that are made elsewhere are not counted",
            limit.id
        );
        let refusal = Refusal::new(Code::LimitExceeded, message);
        return Some(refusal.with_next("Make the call through the gateway."));
    }
    world.grant_to_claim(decision).map(|_| {
        let message = "only a grant with a number of uses permits this call, and calls that are made elsewhere are not counted";
        Refusal::new(Code::NoPermit, message).with_next("Make the call through the gateway.")
    })
}
