//! What a file that is whole by itself says no longer, while the rest of the directory is being written: it permits nothing any more.
//! To take away is safe before the rest is known; to add is not, since what is added may go with a forbid in another file.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use cedar_policy::Effect;

use super::Made;
use super::digest::{self, Digest};
use crate::decide::statement::Statement;
use crate::resource::{Kind, Object, ObjectKey};

/// Of what is in force, what permits nothing any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Withdrawn {
    /// Policies, each with those of its permits that stand, word for word, in what is being written.
    policies: BTreeMap<ObjectKey, BTreeSet<String>>,
    /// All others: nobody is bound to them, and no endpoint of them is called.
    others: HashSet<ObjectKey>,
}

impl Withdrawn {
    /// `coming` is what is being written, compiled.
    pub(super) fn of(withdrawn: &[Object], coming: &[(Object, Arc<Made>)]) -> Self {
        let mut all = Self::default();
        for object in withdrawn {
            let key = ObjectKey::of(object);
            match object {
                Object::Policy(_) => drop(all.policies.insert(key, BTreeSet::new())),
                _ => drop(all.others.insert(key)),
            }
        }
        for (object, made) in coming {
            if let Some(standing) = all.policies.get_mut(&ObjectKey::of(object)) {
                let statements = made.compiled.iter().flat_map(|compiled| &compiled.statements);
                let permits = statements.filter(|statement| statement.effect == Effect::Permit);
                standing.extend(permits.map(|statement| statement.policy.to_string()));
            }
        }
        all
    }

    /// The policies of which only some permits stand, by `namespace/name`, each with these.
    pub(super) fn policies(&self) -> impl Iterator<Item = (String, &BTreeSet<String>)> {
        self.policies.iter().map(|(policy, standing)| (policy.name(), standing))
    }

    /// The same, as it was.
    pub(super) fn restored(policies: &BTreeMap<String, BTreeSet<String>>) -> Self {
        let policies = policies
            .iter()
            .filter_map(|(name, standing)| Some((ObjectKey::named(Kind::Policy, name)?, standing.clone())));
        Self { policies: policies.collect(), ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.others.is_empty()
    }

    /// Whether an object other than a policy is withdrawn.
    pub(super) fn holds(&self, object: &ObjectKey) -> bool {
        self.others.contains(object)
    }

    /// Whether something of a policy is withdrawn.
    pub(super) fn concerns(&self, policy: &ObjectKey) -> bool {
        self.policies.contains_key(policy)
    }

    /// The policies of which something is withdrawn.
    pub(super) fn concerned(&self) -> impl Iterator<Item = &ObjectKey> {
        self.policies.keys()
    }

    /// Whether a statement of a policy counts.
    pub(super) fn leaves(&self, policy: &ObjectKey, statement: &Statement) -> bool {
        statement.effect == Effect::Forbid
            || self
                .policies
                .get(policy)
                .is_none_or(|standing| standing.contains(&statement.policy.to_string()))
    }

    /// Stands for what is withdrawn of the policies, in the digest of a configuration.
    pub(super) fn digests(&self) -> impl Iterator<Item = Digest> {
        self.policies().map(|(policy, standing)| digest::of_withdrawn(&policy, standing))
    }
}
