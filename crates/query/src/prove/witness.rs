//! The two sets of one type of request, and a request that tells them apart: what the solver found is decided by Cedar before it is shown.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Authorizer, Effect, EvalResult, Expression, PolicySet, eval_expression};
use cedar_policy_symcc::Env;
use vidimus_core::composed::{Composed, Does};
use vidimus_core::decision::Outcome;

use super::Counterexample;
use super::ask::Implied;
use crate::diff::EdgeState;

/// How many facts of a counterexample are shown at most.
const MAX_FACTS: usize = 32;

/// The policies that decide requests of one type, in both sets.
pub(super) struct Sets {
    pub(super) old: Vec<Composed>,
    pub(super) new: Vec<Composed>,
    /// The texts that one of them has more often than the other.
    differ: BTreeSet<String>,
}

impl Sets {
    pub(super) fn new(old: Vec<Composed>, new: Vec<Composed>) -> Self {
        let mut count: BTreeMap<&str, i64> = BTreeMap::new();
        old.iter().for_each(|one| *count.entry(&one.text).or_default() += 1);
        new.iter().for_each(|one| *count.entry(&one.text).or_default() -= 1);
        let differ = count.into_iter().filter(|(_, more)| *more != 0).map(|(text, _)| text.to_owned());
        let differ = differ.collect();
        Self { old, new, differ }
    }

    pub(super) fn are_same(&self) -> bool {
        self.differ.is_empty()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Composed> {
        self.old.iter().chain(&self.new)
    }

    /// Those that only one of them has.
    pub(super) fn changed(&self) -> impl Iterator<Item = &Composed> {
        self.all().filter(|one| self.differ.contains(&one.text))
    }
}

/// What is shown of a request, where the two sets let it pass as `claimed`: what does not hold in Cedar is not shown.
pub(super) fn shown(sets: &Sets, found: &Env, claimed: impl Fn([bool; 2]) -> bool) -> Implied {
    let (old, new) = (decided(&sets.old, found), decided(&sets.new, found));
    let (Some(old), Some(new)) = (old, new) else {
        return Implied::Unknown("the solver gave a request in which a policy fails".to_owned());
    };
    if !claimed([&old, &new].map(passes)) {
        return Implied::Unknown("the solver gave a request that Cedar decides otherwise".to_owned());
    }
    let name = |uid: Option<&cedar_policy::EntityUid>| {
        uid.map(|uid| format!("{}/{}", uid.type_name(), uid.id().unescaped())).unwrap_or_default()
    };
    let looked_at: BTreeSet<String> = sets.changed().flat_map(Composed::looks_at).collect();
    let facts = looked_at.into_iter().filter_map(|name| {
        let value = value(&name, found)?;
        Some((name, value))
    });
    Implied::Fails(Some(Box::new(Counterexample {
        principal: name(found.request.principal()),
        resource: name(found.request.resource()),
        facts: facts.take(MAX_FACTS).collect(),
        old,
        new,
    })))
}

fn passes(state: &EdgeState) -> bool {
    state.outcome != Outcome::Deny.as_str()
}

/// What the policies say of a request by Cedar and our rules; `None` where one fails.
fn decided(policies: &[Composed], found: &Env) -> Option<EdgeState> {
    let by = |does: Does| satisfied(policies.iter().filter(|one| one.does == does), found);
    let [permits, refuses] = [by(Does::Permits)?, by(Does::Refuses)?];
    let [holds, changes] = [by(Does::Holds)?, by(Does::Changes)?];
    let (outcome, policies) = if !refuses.is_empty() {
        (Outcome::Deny, refuses)
    } else if permits.is_empty() {
        (Outcome::Deny, permits)
    } else if !holds.is_empty() {
        (Outcome::Hold, holds)
    } else if !changes.is_empty() {
        (Outcome::AllowWithObligations, changes)
    } else {
        (Outcome::Allow, permits)
    };
    Some(EdgeState { outcome: outcome.as_str().to_owned(), facts: Vec::new(), policies })
}

/// Which of some policies of one effect a request satisfies, by Cedar's authorizer; `None` where one fails.
fn satisfied<'a>(policies: impl Iterator<Item = &'a Composed>, found: &Env) -> Option<Vec<String>> {
    let mut set = PolicySet::new();
    let mut effect = Effect::Permit;
    for one in policies {
        effect = one.policy.effect();
        set.add(one.policy.clone()).ok()?;
    }
    debug_assert!(set.policies().all(|one| one.effect() == effect));
    let response = Authorizer::new().is_authorized(&found.request, &set, &found.entities);
    if response.diagnostics().errors().next().is_some() {
        return None;
    }
    let mut names: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
    names.sort_unstable();
    Some(names)
}

fn value(name: &str, found: &Env) -> Option<String> {
    let expression: Expression = name.parse().ok()?;
    match eval_expression(&found.request, &found.entities, &expression).ok()? {
        // Its parts are looked at, or nothing of it.
        EvalResult::Record(_) => None,
        value => Some(value.to_string()),
    }
}
