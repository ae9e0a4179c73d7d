//! What an agent knows that is called comes back to who called it: with the answer, and before that as far as it has come.
//!
//! So it is taken over when the call ends, and before every decision about a call of who waits for one.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use vidimus_core::call::Collected;
use vidimus_core::refusal::Refusal;

use super::StandingState;
use super::taken::{Flow, Taken};

/// The calls to agents that are under way, by who calls (`Kind/namespace/name`), and those of which a shared store has not been told yet
/// what came back.
#[derive(Debug, Default)]
pub(super) struct Returning {
    under_way: Mutex<HashMap<Arc<str>, Vec<Call>>>,
    /// Whether some label was ever collected.
    collected: AtomicBool,
}

/// A call to an agent.
#[derive(Clone, Debug)]
struct Call {
    taken: Arc<Taken>,
    /// Nothing more comes back of it than what its agent knows by now.
    has_ended: bool,
}

impl Returning {
    /// A call is permitted; `known` is what its caller knew.
    pub(super) fn flows(&self, taken: &Taken, known: &[Collected]) {
        if taken.flow.as_ref().is_some_and(|flow| !flow.brings.is_empty() || !known.is_empty()) {
            self.collected.store(true, Ordering::Release);
        }
    }

    /// A call to an agent is under way.
    pub(super) fn begun(&self, taken: &Arc<Taken>) {
        let Some(flow) = taken.flow.as_ref().filter(|flow| flow.callee.is_some()) else { return };
        let Some(caller) = flow.callers.first() else { return };
        let call = Call { taken: taken.clone(), has_ended: false };
        self.calls().entry(caller.clone()).or_default().push(call);
    }

    /// The call has ended: once what its agent knows has come back, it is over.
    pub(super) fn ended(&self, taken: &Arc<Taken>) {
        let Some(caller) = taken.flow.as_ref().and_then(|flow| flow.callers.first()) else { return };
        let mut calls = self.calls();
        if let Some(of_caller) = calls.get_mut(caller)
            && let Some(call) = of_caller.iter_mut().find(|one| Arc::ptr_eq(&one.taken, taken))
        {
            call.has_ended = true;
        }
    }

    /// All that came back of it is known.
    pub(super) fn over(&self, taken: &Arc<Taken>) {
        let Some(caller) = taken.flow.as_ref().and_then(|flow| flow.callers.first()) else { return };
        let mut calls = self.calls();
        if let Some(of_caller) = calls.get_mut(caller) {
            of_caller.retain(|one| !Arc::ptr_eq(&one.taken, taken));
            if of_caller.is_empty() {
                calls.remove(caller);
            }
        }
    }

    /// The calls that `caller` waits for, and those that they wait for, in turn: what is to come back first is first.
    fn awaited_by(&self, caller: &str) -> Vec<Call> {
        let calls = self.calls();
        // So it is of nearly every call.
        if !calls.contains_key(caller) {
            return Vec::new();
        }
        let caller: Arc<str> = Arc::from(caller);
        let (mut awaited, mut seen) = (Vec::new(), BTreeSet::from([caller.clone()]));
        let mut waiting = VecDeque::from([caller]);
        while let Some(who) = waiting.pop_front() {
            for call in calls.get(&who).into_iter().flatten() {
                awaited.push(call.clone());
                if let Some(callee) = call.taken.flow.as_ref().and_then(|flow| flow.callee.as_ref())
                    && seen.insert(callee.clone())
                {
                    waiting.push_back(callee.clone());
                }
            }
        }
        awaited.reverse();
        awaited
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vec<Call>>> {
        // Each change is whole: nothing is left half done by who panics.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StandingState {
    /// Whether some label may be kept, also where nothing that is registered brings one any more.
    pub fn has_labels(&self) -> bool {
        self.is_shared() || self.returning.collected.load(Ordering::Acquire)
    }

    /// What comes back from the calls that the caller of this one waits for, as far as that is known now.
    ///
    /// # Errors
    /// `overloaded` where what is known of as many agents as can be is; `standing_unavailable` where a shared store does not answer.
    pub(super) async fn returned(&self, taken: &Taken, now: Instant) -> Result<(), Refusal> {
        let Some(flow) = taken.flow.as_ref().filter(|_| self.has_labels()) else { return Ok(()) };
        let awaited = self.returning.awaited_by(flow.caller());
        if awaited.is_empty() {
            return Ok(());
        }
        for Call { taken, .. } in &awaited {
            self.return_here(taken, now)?;
        }
        self.return_to_store(awaited.iter().map(|call| &*call.taken), now).await?;
        // What could not come back at its end has done so now.
        for Call { taken, .. } in awaited.iter().filter(|call| call.has_ended) {
            self.returning.over(taken);
        }
        Ok(())
    }

    /// The same of one call, as far as this gateway knows.
    ///
    /// # Errors
    /// `overloaded`.
    pub(super) fn return_here(&self, taken: &Taken, now: Instant) -> Result<(), Refusal> {
        let Some(asks) = of_callee(taken) else { return Ok(()) };
        let knows = self.chains()?.known(&asks, now);
        self.bring(taken, knows, now)
    }

    /// What the agent knows that was called is known to who called it, here, where a store cannot lose it.
    fn bring(&self, taken: &Taken, mut knows: Vec<Collected>, now: Instant) -> Result<(), Refusal> {
        if knows.is_empty() {
            return Ok(());
        }
        let mut chains = self.chains()?;
        // What the caller has already it does not get anew: that would be kept for longer.
        let had: BTreeSet<Arc<str>> = chains.known(taken, now).into_iter().map(|one| one.label).collect();
        knows.retain(|one| !had.contains(&one.label));
        let Some(back) = brought(taken, knows) else { return Ok(()) };
        self.returning.flows(&back, &[]);
        chains.permitted(&back, &[], now)
    }

    /// The same of some calls as far as a shared store knows, which is asked once for all of them: what comes back first is first. What came
    /// back is known here as well from then on: no other gateway need know it, and a store may lose it.
    ///
    /// # Errors
    /// `standing_unavailable`; `overloaded`.
    pub(super) async fn return_to_store<'t>(
        &self,
        calls: impl Iterator<Item = &'t Taken>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let Some(store) = &self.store else { return Ok(()) };
        let life = |taken: &Taken| self.keeps.quiet_of(taken.began_elsewhere);
        let found = store.returned(calls.map(|taken| (taken, life(taken))), self.keeps.window).await?;
        found.into_iter().try_for_each(|(taken, knows)| self.bring(taken, knows, now))
    }
}

/// The question what the agent that is called knows; `None` of a call to none.
fn of_callee(taken: &Taken) -> Option<Taken> {
    let flow = taken.flow.as_ref()?;
    let callers = vec![flow.callee.clone()?];
    let flow = Flow { callers, callee: None, person: flow.person.clone(), brings: Vec::new() };
    Some(Taken { continues: false, counted: None, fan_out: None, flow: Some(flow), ..taken.clone() })
}

/// What it brings to who called; `None` where it is nothing.
fn brought(taken: &Taken, brings: Vec<Collected>) -> Option<Taken> {
    let flow = taken.flow.as_ref().filter(|_| !brings.is_empty())?;
    let flow = Flow { callers: flow.callers.clone(), callee: None, person: flow.person.clone(), brings };
    // The chain has it too.
    Some(Taken { continues: true, counted: None, fan_out: None, flow: Some(flow), ..taken.clone() })
}
