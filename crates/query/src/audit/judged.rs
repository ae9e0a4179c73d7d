//! The same search over records that somebody else looked up: whether each is one that is asked for is told by itself and, of an effect, by its
//! decision. Whoever looks them up may give too many, and never too few.

use vidimus_core::decision::Outcome;
use vidimus_core::record::{Kept, Record};
use vidimus_ledger::{Hit, Matcher, Query};

use super::search::{Decided, approvals_of};
use super::{Asked, Damage, Found, SearchQuestion};
use crate::Misasked;

/// Tells of records whether a question asks for them.
#[derive(Debug)]
pub struct Judge {
    question: SearchQuestion,
    decided: Option<(Decided, Matcher)>,
    /// Of effects, and of their decisions.
    effects: Option<(Matcher, Matcher)>,
    approvals: Vec<String>,
}

impl Judge {
    /// For a question. `approvals` are those that its policy asked for ([`Judge::approvals`]).
    ///
    /// # Errors
    /// Where no record can fit.
    pub fn of(question: &SearchQuestion, approvals: Vec<String>) -> Result<Self, Misasked> {
        let wanted = question.wanted()?;
        let decided =
            wanted.decided.map(|which| (which, Matcher::new(&question.of_decided(which, &approvals))));
        let effects = wanted.effects.then(|| {
            let theirs = question.of_their_decisions(&approvals);
            (Matcher::new(&question.of_effects()), Matcher::new(&theirs))
        });
        Ok(Self { question: question.clone(), decided, effects, approvals })
    }

    /// What acts must fit for their approvals to count as those of the policy that is asked for; `None` where none is.
    pub fn asks_of_approvals(question: &SearchQuestion) -> Option<SearchQuestion> {
        let policy = Some(question.policy.clone()?);
        Some(SearchQuestion { policy, kind: Some(super::Kind::Act), ..SearchQuestion::default() })
    }

    /// The approvals that such acts are about.
    pub fn approvals(acts: impl Iterator<Item = Found>) -> Vec<String> {
        approvals_of(acts.map(|found| found.record))
    }

    /// The kinds of records that can fit, as records have them, and what all of them must fit, of an effect where its decision says it.
    pub fn wants(&self) -> (Vec<&'static str>, Query) {
        let decided: &[&str] = match self.decided {
            None => &[],
            Some((Decided::Calls, _)) => &["decision", "refusal"],
            Some((Decided::Decisions, _)) => &["decision"],
            Some((Decided::Refusals, _)) => &["refusal"],
            Some((Decided::Acts, _)) => &["act"],
            Some((Decided::All, _)) => &["decision", "refusal", "act"],
        };
        let kinds = decided.iter().copied().chain(self.effects.as_ref().map(|_| "effect")).collect();
        (kinds, Query { kind: None, ..self.question.of_decided(Decided::All, &self.approvals) })
    }

    /// The record, where it is asked for; or that it cannot be read, where it may be. `decision` is that of an effect.
    pub fn judge(&self, hit: Hit, decision: Option<&Hit>) -> Option<Result<Found, Damage>> {
        let of_decided = self.decided.as_ref().filter(|(_, fits)| fits.matches(&hit.record));
        let of_effects = self.effects.as_ref().filter(|(fits, _)| fits.matches(&hit.record));
        let mut found = match Found::of(hit) {
            Ok(found) => found,
            Err(damage) => return (of_decided.is_some() || of_effects.is_some()).then_some(Err(damage)),
        };
        let Record::Effect(effect) = &found.record else {
            return of_decided.is_some_and(|(which, _)| which.has(&found.record)).then_some(Ok(found));
        };
        let (_, of_their_decisions) = of_effects?;
        let is_its = |decision: &&Hit| {
            decision.index == effect.decision
                && decision.index < found.index
                && of_their_decisions.matches(&decision.record)
        };
        let decision = decision.filter(is_its).and_then(|decision| match Kept::read(&decision.record) {
            // What was refused has no effect.
            Ok(Record::Decision(it)) if it.outcome.starts_with(Outcome::Allow.as_str()) => Some(it),
            _ => None,
        });
        if !self.question.asks_for(effect, &found.bytes) || (decision.is_none() && self.question.asks_who()) {
            return None;
        }
        found.decided = decision.as_ref().map(Asked::from);
        Some(Ok(found))
    }
}
