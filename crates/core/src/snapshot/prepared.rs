//! What is made of policies before a snapshot is built of them. To parse, type-check and compile a policy is nearly all that it costs, and is of its
//! text alone: whoever has a source does it once for each policy, before and beside what is in force, and what is built of them then costs little,
//! however often it is built: with each act, not least. So is the digest of its text. What was refused is kept too, or a policy that is wrong would be
//! checked at each build. Of what is too much with the others of its namespace it is kept what it costs ([`super::costly`]).

use std::collections::{BTreeSet, HashSet};
use std::iter;
use std::mem;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::bounds::{MAX_TEXT, Sums};
use super::checked::{self, Checked};
use super::compile::{self, Problem};
use super::costly::Costly;
use super::{Had, Made, Snapshot, digest};
use crate::resource::{Object, ObjectKey, Policy};
use crate::shards::Shards;

/// What was made of a policy, or why it is left out: boxed, since it is large, and seldom.
pub(super) type Outcome = Result<Arc<Made>, Box<Problem>>;

/// A policy, and what its type check said where that was made before.
type New<'n> = (&'n Arc<Policy>, Option<&'n [String]>);

/// Policies that are compiled, or refused, already. A copy costs little, and shares what it has.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// By where in memory each policy is; it is kept, so that nothing else comes to be there.
    outcomes: Shards<usize, (Arc<Policy>, Outcome)>,
    /// Where those are that were too much; some of these may be gone.
    costly: BTreeSet<usize>,
}

impl Prepared {
    /// Whether this policy, the same one in memory, is among them.
    pub fn has(&self, policy: &Arc<Policy>) -> bool {
        self.outcomes.contains_key(&place(policy))
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.outcomes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// Compiles those of `policies` that are not here, on all cores where they are many; `checked` are those whose type check was made before
    /// ([`super::checks`]).
    pub fn prepare(&mut self, policies: &[Arc<Policy>], checked: &[Checked]) {
        let checked = checked::by_policy(checked);
        let new = policies.iter().filter(|policy| !self.has(policy));
        let new: Vec<New<'_>> =
            new.map(|policy| (policy, checked.get(&Arc::as_ptr(policy)).copied())).collect();
        // No more is in memory at once than may be in force of one namespace, and of each namespace no more than that is kept.
        let mut sums = Sums::default();
        for piece in pieces(&new) {
            for (&(policy, _), outcome) in piece.iter().zip(made_of_all(piece)) {
                let outcome = outcome.map(|made| self.within(&mut sums, policy, made));
                self.outcomes.insert(place(policy), (policy.clone(), outcome));
            }
        }
    }

    /// What was made of a policy, where it fits; else what it costs.
    fn within(&mut self, sums: &mut Sums, policy: &Arc<Policy>, made: Arc<Made>) -> Arc<Made> {
        if made.cost().is_none_or(|cost| sums.add_fitting(&policy.meta.namespace, cost)) {
            return made;
        }
        let Some(costly) = Costly::of(policy, &made) else { return made };
        self.costly.insert(place(policy));
        Arc::new(Arc::new(costly).made())
    }

    /// Of what `snapshot`, which was built with these, left out as too much, only what it costs is kept from now on; what it found room for is kept as it
    /// was compiled.
    pub fn settle(&mut self, snapshot: &Snapshot) {
        for place in mem::take(&mut self.costly) {
            let Some((policy, _)) = self.outcomes.get(&place) else { continue };
            let there = snapshot.places.get(&ObjectKey::of(&Object::Policy(policy.clone())));
            let is_it =
                |object: &Object| matches!(object, Object::Policy(other) if Arc::ptr_eq(other, policy));
            if let Some((_, made)) = there.filter(|(object, _)| is_it(object)) {
                let (policy, made) = (policy.clone(), made.clone());
                self.outcomes.insert(place, (policy, Ok(made)));
            }
        }
        for costly in &snapshot.costly {
            let place = place(&costly.policy);
            self.costly.insert(place);
            self.outcomes.insert(place, (costly.policy.clone(), Ok(Arc::new(costly.made()))));
        }
    }

    /// Forgets these.
    pub fn forget<'p>(&mut self, policies: impl Iterator<Item = &'p Arc<Policy>>) {
        policies.for_each(|policy| drop(self.outcomes.remove(&place(policy))));
    }

    /// Forgets all but these.
    pub fn keep<'p>(&mut self, policies: impl Iterator<Item = &'p Arc<Policy>>) {
        let kept: HashSet<usize, RandomState> = policies.map(place).collect();
        let gone = self.outcomes.iter().map(|(place, _)| *place).filter(|place| !kept.contains(place));
        let gone: Vec<usize> = gone.collect();
        for place in gone {
            self.outcomes.remove(&place);
        }
    }

    pub(super) fn outcome(&self, policy: &Arc<Policy>) -> Option<&Outcome> {
        self.outcomes.get(&place(policy)).map(|(_, outcome)| outcome)
    }
}

/// What is made of each of these, on all cores where they are many.
pub(super) fn made_of_all(policies: &[New<'_>]) -> Vec<Outcome> {
    let all = compile::on_all_cores(policies, |policy, checked| {
        let compiled = Some(Arc::new(compile::compile(policy, checked)?));
        let digest = digest::of_object(&Object::Policy(policy.clone()));
        Ok(Arc::new(Made { digest, own: None, compiled, costly: None }))
    });
    all.into_iter().map(|outcome| outcome.map_err(Box::new)).collect()
}

/// These in pieces of as much text as one namespace may have.
fn pieces<'p, 'n>(mut policies: &'p [New<'n>]) -> impl Iterator<Item = &'p [New<'n>]> {
    iter::from_fn(move || {
        let mut left = MAX_TEXT;
        let fits = |(policy, _): &&New<'_>| {
            let fits = policy.cedar.len() <= left;
            left = left.saturating_sub(policy.cedar.len());
            fits
        };
        // One that is longer than all of it is refused as too long.
        let count = policies.iter().take_while(fits).count().max(1);
        let (piece, rest) = policies.split_at_checked(count)?;
        policies = rest;
        Some(piece)
    })
}

impl Snapshot {
    /// Whether the next snapshot has this policy without compiling it: it is the same one, or says the same as the one of its name.
    pub fn has_compiled(&self, policy: &Arc<Policy>) -> bool {
        !matches!(self.had(&Object::Policy(policy.clone())), Had::Nothing)
    }
}

fn place(policy: &Arc<Policy>) -> usize {
    Arc::as_ptr(policy).addr()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Configuration, Overlay};
    use super::*;
    use crate::resource::{Origin, check};

    fn policy(name: &str, cedar: &str) -> Object {
        let document = json!({
            "apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy",
            "metadata": {"namespace": "a", "name": name}, "spec": {"description": "a test", "cedar": cedar},
        });
        check(&Origin::default(), &document).unwrap()
    }

    /// There is one of each object, and what few have would be in each.
    #[test]
    fn what_is_made_of_an_object_is_no_larger_than_what_all_of_them_have() {
        assert!(size_of::<Outcome>() <= 16, "{}", size_of::<Outcome>());
        assert!(size_of::<Made>() <= 56, "{}", size_of::<Made>());
    }

    /// However often a snapshot is built on what was there before a change, the policies of the change are compiled once, and those that are
    /// wrong are checked once.
    #[test]
    fn what_is_prepared_is_not_compiled_again() {
        let objects = vec![
            policy("good", "permit (principal, action, resource);"),
            policy("wrong", "permit (principal, action, resource) when { principal.nothing };"),
        ];
        let policies: Vec<Arc<Policy>> = objects
            .iter()
            .filter_map(|object| match object {
                Object::Policy(policy) => Some(policy.clone()),
                _ => None,
            })
            .collect();
        let mut prepared = Prepared::default();
        prepared.prepare(&policies, &[]);
        let before = Snapshot::default();
        let build = || {
            let standing = Arc::new(Overlay::default());
            let (objects, prepared) = (objects.clone(), prepared.clone());
            before.next(Configuration { objects, prepared, standing, ..Configuration::default() })
        };
        let ((one, rejected), (other, again)) = (build(), build());
        assert_eq!((rejected.len(), &rejected), (1, &again));
        let compiled = |snapshot: &Snapshot| snapshot.made[0].compiled.clone().unwrap();
        assert!(Arc::ptr_eq(&compiled(&one), &compiled(&other)), "compiled twice");
        assert!(Arc::ptr_eq(&one.made[0], &other.made[0]), "its text is hashed twice");
        // It is what building without it gives.
        let (plain, wanted) = Snapshot::build(objects.clone());
        assert_eq!((plain.digest(), wanted), (one.digest(), rejected));
        assert!(one.has_compiled(&policies[0]) && !one.has_compiled(&policies[1]));
        prepared.keep(policies.iter().take(1));
        assert_eq!((prepared.len(), prepared.has(&policies[1])), (1, false));
        prepared.forget(policies.iter());
        assert!(prepared.is_empty());
    }
}
