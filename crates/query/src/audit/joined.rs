//! Effects, each with its decision.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::path::{Path, PathBuf};

use vidimus_core::decision::Outcome;
use vidimus_core::record::{DecisionRecord, EffectRecord, Kept, Record};
use vidimus_ledger::{Hit, Matcher, Query, SearchError, read_from};

use super::{Asked, Damage, Found, SearchQuestion};

/// The effects that are asked for, each with its decision.
pub(super) struct Effects {
    question: SearchQuestion,
    effects: vidimus_ledger::Search,
    decisions: Peekable<vidimus_ledger::Search>,
    /// Decisions that were read, and whose effects were not. Those of calls that ran at one time, since effects that nobody asked for
    /// are read too, where decisions come first.
    read: BTreeMap<u64, DecisionRecord<'static>>,
    elsewhere: Elsewhere,
}

/// Decisions that another directory of the same log has: of calls that were under way where what this one has begins, or of what is damaged here. And
/// those of second effects, which are read anew.
struct Elsewhere {
    here: PathBuf,
    /// The other directories.
    others: Vec<PathBuf>,
    fits: Matcher,
    /// The first record that this one has.
    minimum: u64,
    is_damaged: bool,
}

impl Elsewhere {
    /// The decision of the effect at `index`, where it may not be here. What is wrong with the others, their own search tells.
    fn decision(&self, index: u64, effect: &EffectRecord<'_>) -> Option<DecisionRecord<'static>> {
        let (wanted, is_second) = (effect.decision, effect.is_second());
        if wanted >= index || (wanted >= self.minimum && !self.is_damaged && !is_second) {
            return None;
        }
        let of = |dir: &PathBuf| read_from(dir, wanted).ok()?.next()?.ok().filter(|hit| hit.index == wanted);
        let here = is_second.then_some(&self.here);
        let hit = here.into_iter().chain(&self.others).find_map(of)?;
        if self.fits.matches(&hit.record) { allowed(&hit.record) } else { None }
    }
}

/// A decision that lets the call pass: what was refused has no effect.
fn allowed(record: &[u8]) -> Option<DecisionRecord<'static>> {
    match Kept::read(record) {
        Ok(Record::Decision(decision)) if decision.outcome.starts_with(Outcome::Allow.as_str()) => {
            Some(decision)
        }
        _ => None,
    }
}

impl Effects {
    /// Of the log in `dir`; `others` have it too, or parts of it.
    pub(super) fn of(
        dir: &Path,
        others: &[PathBuf],
        question: &SearchQuestion,
        approvals: &[String],
    ) -> Result<Self, SearchError> {
        let effects = question.of_effects();
        let decisions = question.of_their_decisions(approvals);
        let minimum = vidimus_ledger::pruned(dir)?.map_or(0, |pruned| pruned.minimum());
        let (others, fits) = (others.to_vec(), Matcher::new(&decisions));
        Ok(Self {
            elsewhere: Elsewhere { here: dir.to_owned(), others, fits, minimum, is_damaged: false },
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
            match hit {
                Ok(hit) if hit.index < index => {
                    self.read.extend(allowed(&hit.record).map(|decision| (hit.index, decision)));
                }
                Ok(_) => {}
                Err(_) => self.elsewhere.is_damaged = true,
            }
        }
        // What it says is behind the first effect, which takes the decision with it where that comes first.
        let found = match effect.is_second() {
            true => self.read.get(&wanted).cloned(),
            false => self.read.remove(&wanted),
        };
        found.or_else(|| self.elsewhere.decision(index, effect))
    }
}

impl SearchQuestion {
    /// What effects must fit, their decisions aside.
    pub(super) fn of_effects(&self) -> Query {
        let newest_first = !self.oldest_first;
        let (kind, made_before) =
            (Some("effect".to_owned()), self.transaction.clone().or_else(|| self.approval.clone()));
        let effects = Query { kind, until: self.until, made_before, newest_first, ..Query::default() };
        if !newest_first {
            return effects;
        }
        // Whatever is not asked for need not be read: its decision is passed over.
        let outcome = self.outcome.map(|outcome| outcome.as_str().to_owned());
        let (code, text) = (self.code.clone(), self.text.clone());
        Query { outcome, code, text, since: self.since, ..effects }
    }

    /// What the decisions must fit whose effects are asked for.
    pub(super) fn of_their_decisions(&self, approvals: &[String]) -> Query {
        Query { kind: Some("decision".to_owned()), ..self.asked(approvals) }
    }

    /// Whether an effect is one that is asked for, its decision aside. `bytes` are its record.
    pub(super) fn asks_for(&self, effect: &EffectRecord<'_>, bytes: &[u8]) -> bool {
        let has = |text: &str| str::from_utf8(bytes).is_ok_and(|record| record.contains(text));
        self.text.as_deref().is_none_or(has)
            && self.outcome.is_none_or(|outcome| effect.result == outcome.as_str())
            && self.code.as_deref().is_none_or(|code| effect.code.as_deref() == Some(code))
            && self
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
            if self.question.asks_for(effect, &found.bytes)
                && (decision.is_some() || !self.question.asks_who())
            {
                found.decided = decision.as_ref().map(Asked::from);
                return Some(Ok(found));
            }
        }
    }
}
