//! What the policies of one namespace may come to. A policy costs when it is compiled, in memory, and at the first call on each edge that it can matter
//! to, which waits for it. So who writes the policies of one namespace could hold up the calls of all others, or take the memory of all.
//!
//! What is over a bound is rejected, and says so; of its object what it refused before stays refused. What was in force stays: nobody displaces it by
//! adding something. Otherwise what forbids comes first, then what costs less, then the name.

use std::collections::{HashMap, HashSet};
use std::iter;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::compile::Compiled;
use super::costly::{Costly, Over};
use super::difference::Difference;
use super::{Made, Snapshot, compile, reject};
use crate::decide::index::Key;
use crate::decide::statement::Statement;
use crate::resource::{Object, ObjectKey, Rejection};
use crate::shards::Shards;

/// Maximum bytes of the text of all policies of one namespace: 10,000 policies of 400 bytes. Compiled, they take some hundred times as much.
pub const MAX_TEXT: usize = 4 * 1024 * 1024;
/// Maximum of what policies of one namespace come to on an edge, in parts of expressions, and eight for each policy: some 90 ms. It is of those with one
/// narrowest constant (an agent, group, team, tool set, …), and of those without any; 20 such constants can be true of one edge.
pub const MAX_ON_EDGE: usize = 20_000;
/// What the reason of a rejection by these bounds begins with.
pub const TOO_COSTLY: &str = "too costly: ";

/// A policy counts for so many bytes at least: a short one costs more than its text.
const LEAST_TEXT: usize = 256;
/// A policy counts for so many parts of expressions beside its own.
const LEAST_ON_EDGE: usize = 8;

/// What one `Policy` object costs.
#[derive(Debug)]
pub(super) struct Cost {
    text: usize,
    /// By the narrowest constant of its policies.
    on_edge: Box<[(Option<Key>, usize)]>,
}

impl Cost {
    pub(super) fn of(text: &str, statements: &[Arc<Statement>]) -> Self {
        let mut on_edge: HashMap<Option<Key>, usize, RandomState> = HashMap::default();
        for statement in statements {
            let keys = statement.scope.iter().chain(&statement.conditions);
            *on_edge.entry(Key::narrowest(keys).cloned()).or_default() += statement.nodes + LEAST_ON_EDGE;
        }
        Self { text: text.len().max(LEAST_TEXT), on_edge: on_edge.into_iter().collect() }
    }

    fn whole(&self) -> usize {
        self.on_edge.iter().map(|(_, cost)| cost).sum()
    }
}

/// What the policies of one namespace come to. A copy shares what does not change.
#[derive(Clone, Debug, Default)]
struct Sum {
    text: usize,
    on_edge: Shards<Option<Key>, usize>,
    /// How many of `on_edge` are over their bound.
    over: usize,
}

impl Sum {
    /// Why this is too much with the others.
    fn excess(&self, cost: &Cost, namespace: &str) -> Option<String> {
        let text = self.text + cost.text;
        if text > MAX_TEXT {
            return Some(format!(
                "{TOO_COSTLY}with it the policies of namespace {namespace} are {text} bytes long, more than {MAX_TEXT}"
            ));
        }
        let sums =
            cost.on_edge.iter().map(|(key, cost)| self.on_edge.get(key).copied().unwrap_or_default() + cost);
        sums.filter(|sum| *sum > MAX_ON_EDGE).max().map(|sum| {
            format!(
                "{TOO_COSTLY}with it the policies of namespace {namespace} come to {sum} parts of expressions that one call may have to look at, \
                 more than {MAX_ON_EDGE}"
            )
        })
    }

    const fn fits(&self) -> bool {
        self.text <= MAX_TEXT && self.over == 0
    }

    fn take_back(&mut self, cost: &Cost) {
        self.text = self.text.saturating_sub(cost.text);
        for (key, cost) in &cost.on_edge {
            let Some(sum) = self.on_edge.get_mut(key) else { continue };
            let left = sum.saturating_sub(*cost);
            self.over -= usize::from(*sum > MAX_ON_EDGE && left <= MAX_ON_EDGE);
            *sum = left;
            if left == 0 {
                self.on_edge.remove(key);
            }
        }
    }

    fn add(&mut self, cost: &Cost) {
        self.text += cost.text;
        for (key, cost) in &cost.on_edge {
            let Some(sum) = self.on_edge.or_insert(key, usize::default) else { continue };
            let with = *sum + cost;
            self.over += usize::from(*sum <= MAX_ON_EDGE && with > MAX_ON_EDGE);
            *sum = with;
        }
    }
}

/// What the policies in force come to, by namespace. Those of one snapshot are those of the last, with what is gone taken back and what is new added.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums(Shards<Arc<str>, Sum>);

impl Sums {
    /// Makes them those of other objects.
    pub(super) fn change<'m>(
        &mut self,
        gone: impl Iterator<Item = (&'m Object, &'m Arc<Made>)>,
        new: impl Iterator<Item = (&'m Object, &'m Arc<Made>)>,
    ) {
        for (object, made) in new {
            if let Some(cost) = made.cost() {
                self.add(&object.meta().namespace, cost);
            }
        }
        for (object, made) in gone {
            let Some(cost) = made.cost() else { continue };
            let namespace = &*object.meta().namespace;
            let Some(sum) = self.0.get_mut(namespace) else { continue };
            sum.take_back(cost);
            if sum.text == 0 {
                self.0.remove(namespace);
            }
        }
    }

    fn add(&mut self, namespace: &Arc<str>, cost: &Cost) {
        if let Some(sum) = self.0.or_insert(namespace, Sum::default) {
            sum.add(cost);
        }
    }

    /// Adds what fits with the others of its namespace; whether it does.
    pub(super) fn add_fitting(&mut self, namespace: &Arc<str>, cost: &Cost) -> bool {
        let Some(sum) = self.0.or_insert(namespace, Sum::default) else { return false };
        let fits = sum.excess(cost, namespace).is_none();
        if fits {
            sum.add(cost);
        }
        fits
    }

    fn fit(&self, namespace: &str) -> bool {
        self.0.get(namespace).is_none_or(Sum::fits)
    }
}

type Good = Vec<(Object, Arc<Made>)>;

/// Takes from the `good` objects the policies that are over a bound, and gives them too. Only namespaces in which some policy is another one than in `last` are
/// looked at. What there is room for now is compiled where it was not kept so.
pub(super) fn keep(last: &Snapshot, good: Good, rejected: &mut Vec<Rejection>) -> (Good, Vec<Over>) {
    let now = good.iter().map(|(object, made)| (object, made));
    let difference = Difference::of_made((&last.objects, &last.made), now);
    let policies = difference.added(&good).filter(|(_, made)| made.cost().is_some());
    let concerned: HashSet<Arc<str>> = policies.map(|(object, _)| object.meta().namespace.clone()).collect();
    if concerned.is_empty() {
        return (good, Vec::new());
    }
    // What was too much is in no snapshot, and so is new each time.
    let is_whole = difference.added(&good).all(|(_, made)| made.costly.is_none());
    let mut excess = match fit_together(last, &good, &concerned, &difference) {
        true => HashMap::new(),
        false => over(last, &good, &concerned, rejected),
    };
    if excess.is_empty() && is_whole {
        return (good, Vec::new());
    }
    let (mut kept, mut left) = (Vec::with_capacity(good.len()), Vec::new());
    for (place, one) in good.into_iter().enumerate() {
        let Some(why) = excess.remove(&place) else {
            kept.push(one);
            continue;
        };
        let (object, made) = &one;
        let Object::Policy(policy) = object else { continue };
        let costly = made.costly.clone().or_else(|| Costly::of(policy, made).map(Arc::new));
        left.extend(costly.map(|costly| Over::new(costly, why)));
    }
    let kept = if is_whole { kept } else { whole(kept, rejected) };
    (kept, left)
}

/// Compiles the policies of which only what they cost was kept.
fn whole(good: Good, rejected: &mut Vec<Rejection>) -> Good {
    let costly = good.iter().filter_map(|(object, made)| match object {
        Object::Policy(policy) if made.costly.is_some() => Some((policy, None)),
        _ => None,
    });
    let mut compiled = compile::compile_all(&costly.collect::<Vec<_>>()).into_iter();
    let mut whole = Vec::with_capacity(good.len());
    for (object, made) in good {
        if made.costly.is_none() {
            whole.push((object, made));
            continue;
        }
        let Object::Policy(policy) = &object else { continue };
        match compiled.next() {
            Some(Ok(compiled)) => {
                let made = Made { compiled: Some(Arc::new(compiled)), costly: None, ..(*made).clone() };
                whole.push((object, Arc::new(made)));
            }
            Some(Err(problem)) => rejected.push(reject::not_compiled(policy, &problem)),
            None => rejected.push(reject::fault("a policy was not compiled")),
        }
    }
    whole
}

/// Whether all of them fit, with what each was before and all that is held: then in no order one is over. It is so of nearly every change, and is known
/// without the order, from what changed.
fn fit_together(
    last: &Snapshot,
    good: &[(Object, Arc<Made>)],
    concerned: &HashSet<Arc<str>>,
    difference: &Difference,
) -> bool {
    // What is gone counts still: it may be held.
    let mut sums = last.sums.clone();
    sums.change(iter::empty(), difference.added(good).map(|(object, made)| (object, made)));
    let held = last.refusing.iter();
    let held = held.filter_map(|one| Some((&one.object.namespace, &one.policy.as_ref()?.1)));
    for (namespace, compiled) in held.filter(|(namespace, _)| concerned.contains(*namespace)) {
        sums.add(namespace, &compiled.cost);
    }
    concerned.iter().all(|namespace| sums.fit(namespace))
}

/// The places of those that are over a bound, and why.
fn over(
    last: &Snapshot,
    good: &[(Object, Arc<Made>)],
    concerned: &HashSet<Arc<str>>,
    rejected: &[Rejection],
) -> HashMap<usize, String> {
    let is_policy = |(object, made): &(Object, Arc<Made>)| {
        made.cost().is_some() && concerned.contains(&object.meta().namespace)
    };
    let mut places: Vec<usize> =
        (0..good.len()).filter(|place| good.get(*place).is_some_and(is_policy)).collect();
    places.sort_by_cached_key(|place| good.get(*place).map(|one| rank(last, one)));
    let mut sums: HashMap<&str, Sum> = HashMap::new();
    // Of what is wrong now, or will be too much, it is held what it refused before.
    let wrong = rejected.iter().filter_map(|one| one.object.reference());
    let wrong = wrong.map(|one| (ObjectKey::of_reference(one), (&*one.namespace, None)));
    let there = places
        .iter()
        .filter_map(|place| good.get(*place))
        .map(|(object, made)| (ObjectKey::of(object), (&*object.meta().namespace, made.compiled.as_ref())));
    let former = Former::of(last, wrong.chain(there).collect());
    for (namespace, costs) in former.0.values() {
        let sum = sums.entry(*namespace).or_default();
        costs.iter().for_each(|cost| sum.add(cost));
    }
    let mut over = HashMap::new();
    for place in places {
        let Some((object, made)) = good.get(place) else { continue };
        let Some(cost) = made.cost() else { continue };
        let namespace = &*object.meta().namespace;
        let sum = sums.entry(namespace).or_default();
        let own = former.0.get(&ObjectKey::of(object)).map(|(_, costs)| costs.as_slice()).unwrap_or_default();
        own.iter().for_each(|cost| sum.take_back(cost));
        match sum.excess(cost, namespace) {
            Some(why) => {
                own.iter().for_each(|cost| sum.add(cost));
                over.insert(place, why);
            }
            None => sum.add(cost),
        }
    }
    over
}

/// By name, the namespace and what each was in the last snapshot where it is not the same now: in force, or held.
struct Former<'a>(HashMap<ObjectKey, (&'a str, Vec<&'a Cost>)>);

impl<'a> Former<'a> {
    fn of(last: &'a Snapshot, now: HashMap<ObjectKey, (&'a str, Option<&Arc<Compiled>>)>) -> Self {
        let mut former: HashMap<ObjectKey, (&'a str, Vec<&'a Cost>)> = HashMap::new();
        for one in &last.refusing {
            let (Some((_, compiled)), key) = (&one.policy, one.key()) else { continue };
            if let Some((namespace, _)) = now.get(&key) {
                former.entry(key).or_insert((*namespace, Vec::new())).1.push(&compiled.cost);
            }
        }
        for (key, (namespace, now)) in now {
            let was = last.places.get(&key).and_then(|(_, made)| made.compiled.as_ref());
            if let Some(was) = was.filter(|was| now.is_none_or(|now| !Arc::ptr_eq(was, now))) {
                former.entry(key).or_insert((namespace, Vec::new())).1.push(&was.cost);
            }
        }
        Self(former)
    }
}

/// Which comes first: the least.
fn rank(last: &Snapshot, (object, made): &(Object, Arc<Made>)) -> (bool, bool, usize, Arc<str>) {
    let there = last.places.get(&ObjectKey::of(object)).and_then(|(_, made)| made.compiled.as_ref());
    let is_new = match (there, &made.compiled) {
        (Some(there), Some(compiled)) => !Arc::ptr_eq(there, compiled),
        _ => true,
    };
    let whole = made.cost().map(Cost::whole).unwrap_or_default();
    (is_new, !made.forbids(), whole, object.meta().name.clone())
}

#[cfg(test)]
mod tests;
