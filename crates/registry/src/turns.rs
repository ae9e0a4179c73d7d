//! Policies are compiled in turns, so that what one namespace writes does not hold up what another wrote. To compile a policy is nearly all that it
//! costs, some 30 ms for the longest: a burst of them was compiled before anything that was said with it was in force. Here a piece is compiled at a
//! time, of each namespace in turn; between the pieces what is ready is in force, with whatever was heard meanwhile.
//!
//! What is not ready is in force as it was before, or, where it is new, not at all. Before anything is in force there are no turns: nothing is let
//! through until all of it is compiled.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use vidimus_core::resource::{Meta, Object, Origin, Policy, Rejection, Subject};
use vidimus_core::snapshot::{Checked, Prepared, Snapshot};

/// So much text is compiled at a time, in bytes: some tens of milliseconds. The longest policy fits in it.
const PIECE: usize = 65_536;
/// A policy counts for so much at least: a short one costs more than its text.
const LEAST: usize = 256;
/// Of so many namespaces it is remembered when they had their turn.
const MAX_REMEMBERED: usize = 16_384;

/// Why a policy that is not compiled yet does not forbid what it will; what its object forbade before stays forbidden.
const WAITS: &str = "it is not compiled yet, since many policies were written at once";

/// Which policies are compiled, and which wait for that.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    prepared: Prepared,
    /// The policies of the last configuration.
    given: Vec<Arc<Policy>>,
    /// In which turn something of a namespace was compiled last.
    served: HashMap<Arc<str>, u64>,
    turn: u64,
    /// How many wait.
    behind: usize,
    /// The uids of those.
    waiting: HashSet<Arc<str>>,
}

/// What is ready to be in force.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) objects: Vec<Object>,
    /// What waits, and held something before: it goes on to hold it.
    pub(crate) held: Vec<Rejection>,
    pub(crate) prepared: Prepared,
}

impl Turns {
    /// Compiles a piece of what is new among `objects`; all of it where `at_once`. The next snapshot is built on `last`. What was there the last time is
    /// not looked at.
    pub(crate) fn take(
        &mut self,
        last: &Snapshot,
        objects: Vec<Object>,
        checked: &[Checked],
        at_once: bool,
    ) -> Ready {
        let now: Vec<&Arc<Policy>> = policies(&objects).collect();
        let (was, is) = differing(&self.given, &now);
        let others: Vec<Arc<Policy>> =
            now.get(is).unwrap_or_default().iter().map(|policy| Arc::clone(policy)).collect();
        let new: Vec<Arc<Policy>> =
            others.iter().filter(|policy| !self.is_compiled(last, policy)).cloned().collect();
        let count = new.len();
        let piece = if at_once { new } else { self.piece(new) };
        self.prepared.prepare(&piece, checked);
        if piece.len() < count {
            return self.with_waiting(last, objects);
        }
        (self.behind, self.waiting) = (0, HashSet::new());
        let stay: HashSet<*const Policy> = others.iter().map(Arc::as_ptr).collect();
        let gone: Vec<Arc<Policy>> = self.given.splice(was, others).collect();
        // What is gone takes no memory.
        self.prepared.forget(gone.iter().filter(|policy| !stay.contains(&Arc::as_ptr(policy))));
        self.forget_others();
        Ready { objects, held: Vec::new(), prepared: self.prepared.clone() }
    }

    /// Some of `objects` wait.
    fn with_waiting(&mut self, last: &Snapshot, objects: Vec<Object>) -> Ready {
        let is_ready = |object: &Object| match object {
            Object::Policy(policy) => self.is_compiled(last, policy),
            Object::Agent(_) | Object::Service(_) | Object::McpServer(_) | Object::LlmProvider(_) => true,
        };
        let (mut ready, waiting): (Vec<Object>, Vec<Object>) = objects.into_iter().partition(is_ready);
        let mut held = Vec::new();
        let former = by_name(&self.given);
        for object in &waiting {
            // One that was deleted and made anew is another one.
            let meta = object.meta();
            match former.get(&name(meta)).filter(|former| uid(&former.meta) == uid(meta)) {
                Some(former) => ready.push(Object::Policy(Arc::clone(former))),
                None => held.extend(waits(last, object)),
            }
        }
        self.behind = waiting.len();
        self.waiting = waiting.iter().filter_map(|object| uid(object.meta())).cloned().collect();
        self.given = policies(&ready).cloned().collect();
        self.forget_others();
        Ready { objects: ready, held, prepared: self.prepared.clone() }
    }

    /// What is in force now says which policies were too much: of these only what they cost is kept. Gives what is kept.
    pub(crate) fn settle(&mut self, now: &Snapshot) -> Prepared {
        self.prepared.settle(now);
        self.prepared.clone()
    }

    /// Whether the next snapshot has it without compiling it.
    fn is_compiled(&self, last: &Snapshot, policy: &Arc<Policy>) -> bool {
        self.prepared.has(policy) || last.has_compiled(policy)
    }

    /// Forgets what of `prepared` is not given any more.
    fn forget_others(&mut self) {
        if self.prepared.len() > self.given.len() {
            self.prepared.keep(self.given.iter());
        }
    }

    /// Whether anything waits.
    pub(crate) const fn is_behind(&self) -> bool {
        self.behind > 0
    }

    /// The uids of what waits.
    pub(crate) const fn waiting(&self) -> &HashSet<Arc<str>> {
        &self.waiting
    }

    /// What waits is not tried again until something is said: it finds a fault of ours.
    pub(crate) const fn give_up(&mut self) {
        self.behind = 0;
    }

    /// What is compiled in this turn: of each namespace one policy, of those first that had their turn the longest ago, and have the least that
    /// waits; and so again, as far as the piece goes.
    fn piece(&mut self, new: Vec<Arc<Policy>>) -> Vec<Arc<Policy>> {
        self.turn += 1;
        let mut of: BTreeMap<Arc<str>, VecDeque<Arc<Policy>>> = BTreeMap::new();
        for policy in new {
            of.entry(policy.meta.namespace.clone()).or_default().push_back(policy);
        }
        let mut queues: Vec<(Arc<str>, VecDeque<Arc<Policy>>)> = of.into_iter().collect();
        for (_, queue) in &mut queues {
            // What may forbid goes first.
            queue.make_contiguous().sort_by_key(|policy| Reverse(policy.cedar.contains("forbid")));
        }
        queues.sort_by_cached_key(|(namespace, queue)| {
            let waits: usize = queue.iter().map(|policy| cost(policy)).sum();
            (self.served.get(namespace).copied().unwrap_or_default(), waits)
        });
        if self.served.len() > MAX_REMEMBERED {
            self.served.clear();
        }
        let (mut piece, mut left) = (Vec::new(), PIECE);
        loop {
            let before = piece.len();
            for (namespace, queue) in &mut queues {
                // Something is compiled in any case.
                let fits = |policy: &&Arc<Policy>| cost(policy) <= left || piece.is_empty();
                let Some(next) = queue.front().filter(fits).cloned() else { continue };
                queue.pop_front();
                left = left.saturating_sub(cost(&next));
                self.served.insert(namespace.clone(), self.turn);
                piece.push(next);
            }
            if piece.len() == before {
                return piece;
            }
        }
    }
}

fn policies(objects: &[Object]) -> impl Iterator<Item = &Arc<Policy>> {
    objects.iter().filter_map(|object| match object {
        Object::Policy(policy) => Some(policy),
        Object::Agent(_) | Object::Service(_) | Object::McpServer(_) | Object::LlmProvider(_) => None,
    })
}

/// The places of those that are not the same in both, but for what both begin and end with.
fn differing(last: &[Arc<Policy>], now: &[&Arc<Policy>]) -> (Range<usize>, Range<usize>) {
    let is_same = |(one, other): &(&Arc<Policy>, &&Arc<Policy>)| Arc::ptr_eq(one, other);
    let first = last.iter().zip(now).take_while(is_same).count();
    let rest = last.iter().skip(first).rev().zip(now.iter().skip(first).rev());
    let at_end = rest.take_while(is_same).count();
    (first..last.len() - at_end, first..now.len() - at_end)
}

fn by_name(policies: &[Arc<Policy>]) -> HashMap<(&str, &str), &Arc<Policy>> {
    policies.iter().map(|policy| (name(&policy.meta), policy)).collect()
}

fn name(meta: &Meta) -> (&str, &str) {
    (&meta.namespace, &meta.name)
}

fn uid(meta: &Meta) -> Option<&Arc<str>> {
    match &meta.origin {
        Origin::Cluster { uid, .. } => uid.as_ref(),
        Origin::File { .. } => None,
    }
}

fn cost(policy: &Policy) -> usize {
    policy.cedar.len().max(LEAST)
}

/// An object that waits, where it holds something: what it was before was malformed, say.
fn waits(last: &Snapshot, object: &Object) -> Option<Rejection> {
    let reference = object.reference();
    let holds = last.only_refusing().any(|one| one.object.is_same_object(&reference));
    holds.then(|| Rejection {
        origin: object.meta().origin.clone(),
        object: Subject::Object(reference),
        field: "spec.cedar".to_owned(),
        value: String::new(),
        reason: WAITS.to_owned(),
        fix: "wait; it is compiled in its turn".to_owned(),
    })
}

#[cfg(test)]
mod tests;
