//! What is to be said of the names in a policy: that nothing bears one, or is decided as it, or who else could.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cedar_policy::EntityUid;

use super::borne::{Borne, mention, mention_of};
use super::compile::Compiled;
use super::nowhere::MOST_TOLD;
use super::registered::Registered;
use super::reject;
use super::undecided::{self, Undecided};
use crate::decide::membership::Granting;
use crate::decide::statement::Statement;
use crate::resource::policy::Scope;
use crate::resource::{Policy, Rejection};

/// The names in a policy that deserve a look.
#[derive(Debug)]
pub(super) struct NamesLookedUp {
    /// Nothing bears them.
    unborne: Vec<EntityUid>,
    /// Their server is registered, and nothing is decided as what they name of it.
    undecided: Vec<(EntityUid, Undecided)>,
    /// Something is granted by them, and objects of these other namespaces bear them too.
    elsewhere: Vec<(Granting, Vec<Arc<str>>)>,
}

impl NamesLookedUp {
    pub(super) fn of(policy: &Policy, compiled: &Compiled, registered: &Registered, borne: &Borne) -> Self {
        let granting: BTreeSet<&Granting> =
            compiled.statements.iter().flat_map(|statement| &statement.granting).collect();
        let granted = policy
            .members
            .with(&policy.meta.namespace)
            .unwrap_or_else(|| vec![policy.meta.namespace.clone()]);
        // Sets of other namespaces are out of its reach anyway.
        let is_in_reach =
            |name: &&Granting| policy.scope == Scope::Cluster || !matches!(&*name.of, "ToolSet" | "ModelSet");
        let elsewhere = granting.iter().copied().filter(is_in_reach).filter_map(|name| {
            let mut namespaces = borne.namespaces_of(name);
            namespaces.retain(|namespace| !granted.contains(namespace));
            (!namespaces.is_empty()).then(|| (name.clone(), namespaces))
        });
        let elsewhere: Vec<_> = elsewhere.collect();
        // What is said of a name that others bear is not said again of the name that was made of it.
        let is_said = |literal: &EntityUid| {
            let (of, id) = (literal.type_name().basename(), literal.id().unescaped());
            let name = id.split_once('/').map_or(id, |(_, name)| name);
            elsewhere.iter().any(|(said, _)| *said.of == *of && *said.name == *name)
        };
        // A name that its policy writes without a namespace became one of each namespace that may bear it. It is enough that
        // one of them does; where none does, that is said once, of the policy's own.
        let all_are_meant = policy.members.are_all();
        let is_borne = |literal: &EntityUid| match made_of(&granting, &granted, literal) {
            None => borne.knows(registered, literal) || !all_are_meant && is_written(&granting, literal),
            Some((name, namespace)) => {
                *namespace != policy.meta.namespace
                    || borne.namespaces_of(name).iter().any(|bears| granted.contains(bears))
            }
        };
        let literals = compiled.statements.iter().flat_map(|statement| statement.literals());
        let unborne: BTreeSet<_> =
            literals.filter(|literal| !is_borne(literal) && !is_said(literal)).collect();
        let named = compiled.statements.iter();
        let named = named.flat_map(|one| one.literals().map(move |literal| (one, literal)));
        let undecided = named.filter_map(|(statement, literal)| {
            Some((literal, undecided::of(policy, statement, literal, registered)?))
        });
        let undecided: BTreeMap<_, _> = undecided.take(MOST_TOLD).collect();
        let undecided = undecided.into_iter().map(|(literal, why)| (literal.clone(), why)).collect();
        Self { unborne: unborne.into_iter().cloned().collect(), undecided, elsewhere }
    }

    pub(super) fn remarks<'a>(&'a self, policy: &'a Policy) -> impl Iterator<Item = Rejection> + 'a {
        let unborne = self.unborne.iter().map(|literal| reject::unborne(policy, literal));
        let undecided = self.undecided.iter().map(|(literal, why)| reject::undecided(policy, literal, why));
        let elsewhere = self.elsewhere.iter();
        let elsewhere = elsewhere.map(|(name, namespaces)| reject::borne_elsewhere(policy, name, namespaces));
        unborne.chain(undecided).chain(elsewhere)
    }
}

/// All names on which it depends what is said of those in a policy, as [`mention`] has them, sorted.
pub(super) fn mentions(statements: &[Arc<Statement>]) -> Box<[u64]> {
    let literals = statements.iter().flat_map(|statement| statement.literals()).filter_map(mention_of);
    let granting = statements.iter().flat_map(|statement| &statement.granting);
    let mut all: Vec<u64> = literals.chain(granting.map(|name| mention(&name.of, &name.name))).collect();
    all.sort_unstable();
    all.dedup();
    all.into()
}

/// Whether a policy writes the name like this, so that others were made of it.
fn is_written(granting: &BTreeSet<&Granting>, literal: &EntityUid) -> bool {
    let (of, id) = (literal.type_name().basename(), literal.id().unescaped());
    granting.iter().any(|written| *written.of == *of && *written.name == *id)
}

/// The name that a policy writes, and the namespace with which it became `literal`.
fn made_of<'a>(
    granting: &BTreeSet<&'a Granting>,
    granted: &'a [Arc<str>],
    literal: &EntityUid,
) -> Option<(&'a Granting, &'a Arc<str>)> {
    let (namespace, name) = literal.id().unescaped().split_once('/')?;
    let namespace = granted.iter().find(|one| ***one == *namespace)?;
    let of = literal.type_name().basename();
    let written = granting.iter().copied().find(|written| *written.of == *of && *written.name == *name)?;
    Some((written, namespace))
}
