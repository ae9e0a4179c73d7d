//! The records that a search finds, of whatever kind, in their order. The record of an effect does not repeat who asked for what:
//! its decision, which stands before it, is found with it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::path::Path;

use anyhow::Error;
use serde_json::Value;
use vidimus_core::decision::Outcome;
use vidimus_ledger::{Hit, Query, SearchError};

use super::{Decided, Search, Wanted};
use crate::output;

/// A record that was found.
#[derive(Debug)]
pub(super) struct Found {
    index: u64,
    pub(super) record: Value,
    /// Of an effect: its decision.
    pub(super) decided: Option<Value>,
}

impl Found {
    fn of(hit: &Hit) -> Result<Self, Error> {
        Ok(Self { index: hit.index, record: serde_json::from_slice(&hit.record)?, decided: None })
    }

    #[cfg(test)]
    pub(super) const fn alone(record: Value) -> Self {
        Self { index: 0, record, decided: None }
    }

    fn kind(&self) -> &str {
        output::text(&self.record, "kind")
    }

    /// As JSON: the record, with who asked for what where it does not say that itself.
    pub(super) fn shown(&self) -> Value {
        const ASKED: [&str; 7] =
            ["action", "method", "policies", "principal", "resource", "transaction", "user"];
        let mut shown = self.record.clone();
        if let (Some(decided), Some(shown)) = (&self.decided, shown.as_object_mut()) {
            let asked =
                ASKED.iter().filter_map(|name| Some(((*name).to_owned(), decided.get(*name)?.clone())));
            shown.insert("decided".to_owned(), Value::Object(asked.collect()));
        }
        shown
    }
}

/// What is wrong with the log comes where it is met, and only once.
pub(super) fn search(
    dir: &Path,
    search: &Search,
    wanted: Wanted,
) -> Result<impl Iterator<Item = Result<Found, Error>>, SearchError> {
    let decided = wanted.decided.map(|which| decided(dir, search, which)).transpose()?;
    let effects = wanted.effects.then(|| Effects::of(dir, search)).transpose()?;
    let newest_first = !search.oldest_first;
    let says_damage = decided.is_none();
    let effects = effects.into_iter().flatten().filter(move |effect| says_damage || effect.is_ok());
    Ok(Merged { one: decided.into_iter().flatten().peekable(), other: effects.peekable(), newest_first })
}

/// Of the names that were asked for, those that no record has, whatever else it says: they may be misspelt. Each is a flag and its
/// value.
pub(super) fn unknown(dir: &Path, search: &Search) -> Result<Vec<(&'static str, String)>, SearchError> {
    let one = |flag, value: &Option<String>, query: Query| {
        value.clone().map(|value| (flag, value, Query { limit: Some(1), ..query }))
    };
    let Query { agent, user, policy, resource, transaction, .. } = search.asked();
    let none = Query::default;
    let asked = [
        one("principal", &agent, Query { agent: agent.clone(), ..none() }),
        one("user", &user, Query { user: user.clone(), ..none() }),
        one("policy", &policy, Query { policy: policy.clone(), ..none() }),
        one("resource", &resource, Query { resource: resource.clone(), ..none() }),
        one("transaction", &transaction, Query { transaction: transaction.clone(), ..none() }),
    ];
    let mut unknown = Vec::new();
    for (flag, value, query) in asked.into_iter().flatten() {
        // What is damaged may have it.
        let hits = vidimus_ledger::search(dir, &query)?.next();
        if hits.is_none() {
            unknown.push((flag, value));
        }
    }
    Ok(unknown)
}

/// Decisions and refusals.
fn decided(
    dir: &Path,
    search: &Search,
    which: Decided,
) -> Result<impl Iterator<Item = Result<Found, Error>>, SearchError> {
    let kind = match which {
        Decided::All => None,
        Decided::Decisions => Some("decision".to_owned()),
        Decided::Refusals => Some("refusal".to_owned()),
    };
    let query = Query {
        outcome: search.outcome.map(|outcome| outcome.as_str().to_owned()),
        code: search.code.clone(),
        since: search.since,
        kind,
        ..search.asked()
    };
    let hits = vidimus_ledger::search(dir, &query)?.map(|hit| Found::of(&hit?));
    Ok(hits.filter(|found| !matches!(found, Ok(found) if found.kind() == "effect")))
}

impl Search {
    /// Who asked for what, and until when. Of an effect in the time that is asked for, the decision may stand before it.
    fn asked(&self) -> Query {
        Query {
            agent: self.principal.clone(),
            user: self.user.clone(),
            policy: self.policy.clone(),
            resource: self.resource.clone(),
            transaction: self.transaction.clone(),
            until: self.until,
            newest_first: !self.oldest_first,
            ..Query::default()
        }
    }

    /// Whether only some decisions have the effects that are asked for.
    fn asks_who(&self) -> bool {
        let asked = [&self.principal, &self.user, &self.policy, &self.resource, &self.transaction];
        asked.into_iter().any(Option::is_some)
    }

    /// Whether an effect is one that is asked for, its decision aside.
    fn is_effect(&self, effect: &Found) -> bool {
        let fits = |name: &str, wanted: Option<&str>| {
            wanted.is_none_or(|wanted| output::text(&effect.record, name) == wanted)
        };
        let in_time = self.since.is_none_or(|since| {
            let time = output::text(&effect.record, "time").parse();
            time.is_ok_and(|time: jiff::Timestamp| since <= time)
        });
        fits("result", self.outcome.map(super::Outcome::as_str))
            && fits("code", self.code.as_deref())
            && in_time
    }
}

/// Effects, each with its decision.
struct Effects<'s> {
    search: &'s Search,
    effects: vidimus_ledger::Search,
    decisions: Peekable<vidimus_ledger::Search>,
    /// Decisions that were read, and whose effects were not. Those of calls that ran at one time, since effects that nobody asked for
    /// are read too, where decisions come first.
    read: BTreeMap<u64, Value>,
}

impl<'s> Effects<'s> {
    fn of(dir: &Path, search: &'s Search) -> Result<Self, SearchError> {
        let newest_first = !search.oldest_first;
        let kind = |kind: &str| Some(kind.to_owned());
        let mut effects =
            Query { kind: kind("effect"), until: search.until, newest_first, ..Query::default() };
        if newest_first {
            // Whatever is not asked for need not be read: its decision is passed over.
            effects.outcome = search.outcome.map(|outcome| outcome.as_str().to_owned());
            (effects.code, effects.since) = (search.code.clone(), search.since);
        }
        let decisions = Query { kind: kind("decision"), ..search.asked() };
        Ok(Self {
            search,
            effects: vidimus_ledger::search(dir, &effects)?,
            decisions: vidimus_ledger::search(dir, &decisions)?.peekable(),
            read: BTreeMap::new(),
        })
    }

    /// The decision of an effect, where it is one that is asked for.
    fn decision(&mut self, effect: &Found) -> Result<Option<Value>, Error> {
        let Some(wanted) = effect.record.get("decision").and_then(Value::as_u64) else { return Ok(None) };
        let newest_first = !self.search.oldest_first;
        if newest_first {
            // What is not before this effect is before none that comes.
            drop(self.read.split_off(&effect.index));
        }
        // Damage is met by the effects too.
        let is_not_past = |hit: &Result<Hit, SearchError>| match hit {
            Ok(hit) if newest_first => hit.index >= wanted,
            Ok(hit) => hit.index <= wanted,
            Err(_) => true,
        };
        while let Some(hit) = self.decisions.next_if(is_not_past) {
            if let Ok(hit) = hit
                && hit.index < effect.index
            {
                let decision: Value = serde_json::from_slice(&hit.record)?;
                // What was refused has no effect.
                if output::text(&decision, "outcome").starts_with(Outcome::Allow.as_str()) {
                    self.read.insert(hit.index, decision);
                }
            }
        }
        Ok(self.read.remove(&wanted))
    }
}

impl Iterator for Effects<'_> {
    type Item = Result<Found, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let found = match self.effects.next()? {
                Ok(hit) => Found::of(&hit),
                Err(damage) => return Some(Err(damage.into())),
            };
            let joined = found.and_then(|mut found| {
                found.decided = self.decision(&found)?;
                Ok(found)
            });
            match joined {
                Ok(found) if !self.search.is_effect(&found) => {}
                Ok(found) if self.search.asks_who() && found.decided.is_none() => {}
                joined => return Some(joined),
            }
        }
    }
}

/// Two in one order.
struct Merged<A: Iterator, B: Iterator> {
    one: Peekable<A>,
    other: Peekable<B>,
    newest_first: bool,
}

impl<A, B> Iterator for Merged<A, B>
where
    A: Iterator<Item = Result<Found, Error>>,
    B: Iterator<Item = Result<Found, Error>>,
{
    type Item = Result<Found, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let order = match (self.one.peek(), self.other.peek()) {
            (Some(Ok(one)), Some(Ok(other))) => one.index.cmp(&other.index),
            // What is wrong comes at once.
            (Some(Err(_)), _) | (_, None) => return self.one.next(),
            (_, Some(_)) => return self.other.next(),
        };
        let is_one_first = (order == Ordering::Less) != self.newest_first;
        if is_one_first { self.one.next() } else { self.other.next() }
    }
}
