//! What one call has taken of the state of its chain, from its decision to its end.

use std::sync::Arc;
use std::time::Instant;

use vidimus_core::call::SoFar;
use vidimus_core::refusal::{Code, Refusal};

use super::StandingState;
use super::taken::{Taken, Used};
use super::to_the_end::ToTheEnd;

/// What a call has taken. Dropped before it is permitted, it has taken nothing; dropped after, it has used nothing of models.
#[derive(Debug)]
#[must_use = "dropping it gives back what was taken"]
pub struct Tally {
    state: Arc<StandingState>,
    taken: Arc<Taken>,
    so_far: Arc<SoFar>,
    stage: Stage,
    /// When it was permitted, by the clock that limits count by and by that of the process.
    at: (Instant, Instant),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Reserved,
    Permitted,
    /// Nothing is to be given back.
    Closed,
}

impl StandingState {
    /// Takes a call's place in the state of its chain, before the call is decided.
    ///
    /// # Errors
    /// `overloaded` when as much as can be kept is; `standing_unavailable` where a shared store does not answer.
    pub async fn reserve(self: &Arc<Self>, taken: Taken, now: Instant) -> Result<Tally, Refusal> {
        self.returned(&taken, now).await?;
        if self.store.is_some() {
            // Who calls may leave before the store has answered: what it took then is given back by the tally.
            return ToTheEnd::new(self.clone().reserved(taken, now), drop).await;
        }
        let (so_far, placed) = self.chains()?.reserve(&taken, now)?;
        Ok(self.clone().tally(taken, (so_far, placed), now))
    }

    /// The same in the store.
    async fn reserved(self: Arc<Self>, taken: Taken, now: Instant) -> Result<Tally, Refusal> {
        let life = self.keeps.quiet_of(taken.began_elsewhere);
        let Some(store) = &self.store else { return Err(Refusal::new(Code::Internal, "there is no store")) };
        let found = store.reserve(&taken, life, self.keeps.capacity).await?;
        let has_flow = taken.flow.is_some();
        let mut tally = self.clone().tally(taken, found, now);
        // What this gateway knows counts also where the store has lost it.
        if has_flow {
            let mut so_far = SoFar::clone(&tally.so_far);
            so_far.labels.extend(self.chains()?.known(&tally.taken, now));
            so_far.labels = super::chains::each_once(so_far.labels);
            tally.so_far = Arc::new(so_far);
        }
        Ok(tally)
    }

    fn tally(self: Arc<Self>, mut taken: Taken, (so_far, placed): (SoFar, bool), now: Instant) -> Tally {
        if !placed {
            taken.fan_out = None;
        }
        let stage = if so_far.ended.is_some() { Stage::Closed } else { Stage::Reserved };
        Tally {
            state: self,
            taken: Arc::new(taken),
            so_far: Arc::new(so_far),
            stage,
            at: (now, Instant::now()),
        }
    }
}

impl Tally {
    /// What the chain has come to with the call.
    pub fn so_far(&self) -> &Arc<SoFar> {
        &self.so_far
    }

    /// The call was permitted: its destination counts, and what it brings is known.
    ///
    /// # Errors
    /// As [`StandingState::reserve`]: such a call may not be sent.
    pub async fn permitted(&mut self, now: Instant) -> Result<(), Refusal> {
        self.stage = Stage::Permitted;
        self.at = (now, Instant::now());
        let (state, known) = (&self.state, &self.so_far.labels);
        state.returning.flows(&self.taken, known);
        state.returning.begun(&self.taken);
        match &state.store {
            Some(store) => {
                // What it brings is kept here too, where the store cannot lose it.
                let of_flow = Taken { counted: None, fan_out: None, ..Taken::clone(&self.taken) };
                state.chains()?.permitted(&of_flow, known, now)?;
                let life = state.keeps.quiet_of(self.taken.began_elsewhere);
                store.permitted(&self.taken, known, (life, state.keeps.window)).await
            }
            None => state.chains()?.permitted(&self.taken, known, now),
        }
    }

    /// The call ended, and used so much.
    pub fn settle(mut self, used: Used) {
        self.close(used);
    }

    /// What the agent knows that was called is known to who called it.
    fn returned(&self) {
        if self.taken.flow.as_ref().is_none_or(|flow| flow.callee.is_none()) {
            return;
        }
        self.state.returning.ended(&self.taken);
        let (now, then) = self.at;
        let now = now + then.elapsed();
        if let Err(refusal) = self.state.return_here(&self.taken, now) {
            // It stays among those that are looked at before the next call.
            tracing::error!(%refusal, transaction = %self.taken.transaction, "what came back from an agent is not known");
            return;
        }
        match (&self.state.store, tokio::runtime::Handle::try_current()) {
            (Some(_), Ok(runtime)) => {
                let (state, taken) = (self.state.clone(), self.taken.clone());
                runtime.spawn(async move {
                    // As above.
                    if state.return_to_store(std::iter::once(&*taken), now).await.is_ok() {
                        state.returning.over(&taken);
                    }
                });
            }
            _ => self.state.returning.over(&self.taken),
        }
    }

    fn close(&mut self, used: Used) {
        let stage = std::mem::replace(&mut self.stage, Stage::Closed);
        let used = (stage == Stage::Permitted).then_some(used);
        if stage == Stage::Closed {
            return;
        }
        if used.is_some() {
            self.returned();
        }
        match &self.state.store {
            None => {
                let Ok(mut chains) = self.state.chains() else { return };
                match used {
                    Some(used) => chains.settled(&self.taken, used),
                    None => chains.released(&self.taken),
                }
            }
            Some(store) => {
                let (store, taken) = (store.clone(), self.taken.clone());
                let is_nothing = taken.counted.is_none() && (used.is_some() || taken.fan_out.is_none());
                // Nobody waits for it. Where it does not arrive, more is counted than was taken, never less.
                if let (false, Ok(runtime)) = (is_nothing, tokio::runtime::Handle::try_current()) {
                    runtime.spawn(async move {
                        if let Err(error) = store.closed(&taken, used).await {
                            let detail = error.detail.as_deref().unwrap_or_default();
                            tracing::warn!(%error, detail, transaction = %taken.transaction, "what a call took was not given back");
                        }
                    });
                }
            }
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.close(Used::default());
    }
}
