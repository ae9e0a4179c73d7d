//! What takes a call back while nothing of its answer passes: its answer is awaited whole, or what it began waits for its client. Streams look for themselves
//! ([`super::revocation`]).

use std::borrow::Cow;
use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::timeout;
use vidimus_core::call::Destination;
use vidimus_core::caller::Caller;
use vidimus_core::clock::Moment;
use vidimus_core::record::{EffectKind, EffectRecord, Record, VERSION};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Snapshot;

use super::revocation::{next_end, timer_until};
use super::{Answering, Asked, taken_back_before};
use crate::effect::Effect;
use crate::gate::{Shared, millis, rfc3339};
use crate::standing::limits::UnderWay;

/// For so long nobody looks whether a call goes on: most have ended by then.
const AWHILE: Duration = Duration::from_secs(1);

/// A call that was allowed.
#[derive(Clone, Copy)]
struct Allowed<'a> {
    asked: &'a Asked,
    caller: &'a Caller,
    destination: &'a Destination,
}

impl Allowed<'_> {
    /// Waits until something takes the call back, and says what. It does not end with the credential by which it was made: that was for its beginning.
    /// Where the gateway is gone, so is what allowed it. `decided`: the configuration that did; `None` where it has not been in force for so long that
    /// nobody has it any more.
    async fn until_taken_back(
        self,
        mut decided: Option<Arc<Snapshot>>,
        shared: impl Fn() -> Option<Arc<Shared>>,
    ) -> Code {
        let Self { asked, caller, destination } = self;
        let Some(mut changes) = shared().map(|shared| shared.world.changes()) else {
            return Code::GatewayStopping;
        };
        let mut since = asked.made;
        loop {
            // The gateway is not held while nothing happens.
            let timer = {
                let Some(shared) = shared() else { return Code::GatewayStopping };
                if let Some(code) = asked.ended(&shared, caller, destination) {
                    return code;
                }
                let now = millis(shared.clock.now().wall);
                let is_there = decided.as_ref().filter(|decided| shared.world.is(decided));
                let goes_on = is_there
                    .is_some_and(|world| next_end(world, caller, since).is_none_or(|until| until > now));
                if !goes_on {
                    let world = shared.snapshot();
                    if asked.is_refused(&world, caller, destination, now) {
                        return Code::Revoked;
                    }
                    (decided, since) = (Some(world), now);
                }
                let end = decided.as_ref().and_then(|world| next_end(world, caller, since));
                end.map(|until| timer_until(&shared, until))
            };
            let timed = async {
                match timer {
                    Some(timer) => timer.await,
                    None => pending().await,
                }
            };
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return Code::GatewayStopping },
                () = timed => {}
            }
        }
    }
}

impl Answering<'_> {
    /// What `work` for the call comes to.
    ///
    /// # Errors
    /// Where something takes the call back meanwhile. The work is not gone on with then: what the upstream does for it, it is told to leave.
    pub async fn unless_taken_back<T>(
        &self,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Refusal> {
        if let Ok(done) = timeout(AWHILE, work.as_mut()).await {
            return Ok(done);
        }
        let (asked, caller, destination) = (&self.asked, &self.caller, &self.destination);
        let (allowed, decided) = (Allowed { asked, caller, destination }, Some(self.world.clone()));
        let code = tokio::select! {
            biased;
            done = work => return Ok(done),
            code = allowed.until_taken_back(decided, || Some(self.gate.shared.clone())) => code,
        };
        Err(self.taken_back(code))
    }

    /// That the call was taken back before its answer had passed.
    pub(super) fn taken_back(&self, code: Code) -> Refusal {
        let mut refusal = taken_back_before("the answer had come", code, &self.gate.shared, &self.caller);
        refusal.message = format!("{}; it may have been carried out", refusal.message).into();
        refusal
    }
}

/// A call whose answer may end before all that it began has: what the bridge has wait for its client (ADR 81).
#[derive(Clone, Debug)]
pub struct Ongoing {
    /// Not held by what waits: the gateway may stop meanwhile.
    shared: Weak<Shared>,
    asked: Asked,
    caller: Caller,
    destination: Destination,
    /// The configuration that decided. Not held by what waits: many may follow it meanwhile.
    decided: Weak<Snapshot>,
    call: Arc<str>,
    /// Index of the decision's record.
    decision: u64,
    started: Moment,
    /// Its places among the calls at once: it has them as long as it goes on.
    under_way: Option<Arc<UnderWay>>,
}

impl Ongoing {
    /// Of a call that is being carried out.
    pub fn of(answering: &Answering<'_>, effect: &Effect) -> Self {
        Self {
            shared: Arc::downgrade(&effect.shared),
            asked: answering.asked.clone(),
            caller: answering.caller.clone(),
            destination: answering.destination.clone(),
            decided: Arc::downgrade(&answering.world),
            call: effect.call().clone(),
            decision: effect.decision(),
            started: effect.started,
            under_way: effect.under_way(),
        }
    }

    /// Its places among the calls at once.
    pub fn under_way(&self) -> Option<Arc<UnderWay>> {
        self.under_way.clone()
    }

    /// Waits until something takes it back, and says what.
    pub async fn taken_back(&self) -> Code {
        let Self { shared, asked, caller, destination, decided, .. } = self;
        let allowed = Allowed { asked, caller, destination };
        allowed.until_taken_back(decided.upgrade(), || shared.upgrade()).await
    }

    /// Records that it was taken back by this. The record of its effect says how its answer ended; this one is behind it, and says how the call did.
    pub async fn record(&self, code: Code) {
        let Some(shared) = self.shared.upgrade() else { return };
        let now = shared.clock.now();
        let took = now.monotonic.saturating_duration_since(self.started.monotonic);
        let effect = EffectRecord {
            attempts: Vec::new(),
            bytes_in: 0,
            bytes_out: 0,
            changed: None,
            charged_spend: None,
            charged_tokens: None,
            code: Some(Cow::Borrowed(code.as_str())),
            decision: self.decision,
            detail: Some(EffectRecord::WAITED.into()),
            duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            id: Cow::Borrowed(&self.call),
            job: None,
            kept: None,
            kind: EffectKind,
            result: "failed".into(),
            status: 0,
            task: None,
            time: rfc3339(now.wall).into(),
            time_per_output_token_us: None,
            time_to_first_token_us: None,
            token: None,
            tokens_cache_written: None,
            tokens_input: None,
            tokens_input_cached: None,
            tokens_output: None,
            tokens_reasoning: None,
            version: VERSION,
        };
        if let Err(error) = shared.ledger.record(&Record::Effect(effect)).await {
            tracing::error!(%error, call = &*self.call, "that a waiting call was taken back is not on record");
        }
    }
}
