//! Effects, each with its decision.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::path::Path;

use vidimus_core::decision::Outcome;
use vidimus_core::record::{DecisionRecord, EffectRecord, Kept, Record};
use vidimus_ledger::{Hit, Query, SearchError};

use super::{Asked, Damage, Found, SearchQuestion};

/// The effects that are asked for, each with its decision.
pub(super) struct Effects {
    question: SearchQuestion,
    effects: vidimus_ledger::Search,
    decisions: Peekable<vidimus_ledger::Search>,
    /// Decisions that were read, and whose effects were not. Those of calls that ran at one time, since effects that nobody asked for
    /// are read too, where decisions come first.
    read: BTreeMap<u64, DecisionRecord<'static>>,
}

impl Effects {
    pub(super) fn of(
        dir: &Path,
        question: &SearchQuestion,
        approvals: &[String],
    ) -> Result<Self, SearchError> {
        let newest_first = !question.oldest_first;
        let kind = |kind: &str| Some(kind.to_owned());
        let mut effects =
            Query { kind: kind("effect"), until: question.until, newest_first, ..Query::default() };
        if newest_first {
            // Whatever is not asked for need not be read: its decision is passed over.
            effects.outcome = question.outcome.map(|outcome| outcome.as_str().to_owned());
            (effects.code, effects.since) = (question.code.clone(), question.since);
        }
        let decisions = Query { kind: kind("decision"), ..question.asked(approvals) };
        Ok(Self {
            question: question.clone(),
            effects: vidimus_ledger::search(dir, &effects)?,
            decisions: vidimus_ledger::search(dir, &decisions)?.peekable(),
            read: BTreeMap::new(),
        })
    }

    /// The decision of the effect at `index`, where it is one that is asked for.
    fn decision(&mut self, index: u64, effect: &EffectRecord<'_>) -> Option<DecisionRecord<'static>> {
        let wanted = effect.decision;
        let newest_first = !self.question.oldest_first;
        if newest_first {
            // What is not before this effect is before none that comes.
            drop(self.read.split_off(&index));
        }
        // Damage is met by the effects too.
        let is_not_past = |hit: &Result<Hit, SearchError>| match hit {
            Ok(hit) if newest_first => hit.index >= wanted,
            Ok(hit) => hit.index <= wanted,
            Err(_) => true,
        };
        while let Some(hit) = self.decisions.next_if(is_not_past) {
            if let Ok(hit) = hit
                && hit.index < index
                && let Ok(Record::Decision(decision)) = Kept::read(&hit.record)
                // What was refused has no effect.
                && decision.outcome.starts_with(Outcome::Allow.as_str())
            {
                self.read.insert(hit.index, decision);
            }
        }
        self.read.remove(&wanted)
    }

    /// Whether an effect is one that is asked for, its decision aside.
    fn is_asked_for(&self, effect: &EffectRecord<'_>) -> bool {
        let Self { question, .. } = self;
        question.outcome.is_none_or(|outcome| effect.result == outcome.as_str())
            && question.code.as_deref().is_none_or(|code| effect.code.as_deref() == Some(code))
            && question
                .since
                .is_none_or(|since| effect.time.parse().is_ok_and(|time: jiff::Timestamp| since <= time))
    }
}

impl Iterator for Effects {
    type Item = Result<Found, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut found = match self.effects.next()?.map_err(Damage::from).and_then(Found::of) {
                Ok(found) => found,
                Err(damage) => return Some(Err(damage)),
            };
            let Record::Effect(effect) = &found.record else { continue };
            let decision = self.decision(found.index, effect);
            if self.is_asked_for(effect) && (decision.is_some() || !self.question.asks_who()) {
                found.decided = decision.as_ref().map(Asked::from);
                return Some(Ok(found));
            }
        }
    }
}
