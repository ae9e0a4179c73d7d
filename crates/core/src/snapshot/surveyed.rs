//! All edges at once, and the policies themselves: for [`crate::reach`] and [`crate::review`].

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::EntityUid;

use super::{Configuration, Snapshot};
use crate::call::Call;
use crate::decide::entities::EntityFault;
use crate::decide::people;
use crate::decide::plain::fault;
use crate::decide::statement::Statement;
use crate::decide::survey::Table;
use crate::decide::ways::Way;
use crate::obligation::KeptBack;
use crate::reach::Access;
use crate::reach::people::{Deed, Somebody};
use crate::resource::{McpServer, Object, Policy, Principal};
use crate::review::Flaw;

impl Snapshot {
    /// How the policies stand to each pair of a principal and an access, whatever the context.
    pub(crate) fn survey<'a>(
        &'a self,
        principals: &'a [Principal],
        accesses: &'a [Access<'a>],
    ) -> Result<Table, EntityFault> {
        self.policies.survey(&self.world.registered, principals, accesses)
    }

    /// What may be kept from `principal` of what `server` answers (`@redact_answer`, `@guard_answer`), whichever tool, resource or prompt that is of
    /// and whatever it is asked with. Where that cannot be told, anything may be redacted.
    pub fn kept_back(&self, principal: &Principal, server: &Arc<McpServer>) -> KeptBack {
        let unknown = |_| KeptBack { redacts: true, ..KeptBack::default() };
        self.policies.kept_back(&self.world.registered, principal, server).unwrap_or_else(unknown)
    }

    /// How the policies stand to what these people do: of each what is answered, and of which of `deeds`.
    pub(crate) fn survey_people(
        &self,
        who: &[Somebody],
        deeds: &[Deed],
    ) -> Result<Vec<people::Answers>, EntityFault> {
        let statements = self.said_of(None).map_err(|reason| fault("a built-in policy", &reason))?;
        people::Survey::new(&self.world.registered, &statements).of(who, deeds)
    }

    /// What policies name of what people do, and to whom or what.
    pub(crate) fn named_by_people(&self) -> Result<BTreeSet<EntityUid>, EntityFault> {
        let statements = self.said_of(None).map_err(|reason| fault("a built-in policy", &reason))?;
        Ok(statements.iter().flat_map(|statement| statement.literals()).cloned().collect())
    }

    /// What is found of some policies.
    pub(crate) fn flaws(&self, statements: &[&Arc<Statement>]) -> Result<Vec<Vec<Flaw>>, EntityFault> {
        let accesses: Vec<Access<'_>> =
            self.wholes().into_iter().flat_map(|target| self.accesses(target)).collect();
        self.policies.flaws(&self.world.registered, (&self.principals(), &accesses), statements)
    }

    /// The Cedar policies of all objects, each with its object and its number in the text of that.
    pub(crate) fn compiled_policies(&self) -> impl Iterator<Item = (&Arc<Policy>, usize, &Arc<Statement>)> {
        self.objects.iter().zip(&self.made).flat_map(|(object, made)| {
            let statements = made.compiled.iter().flat_map(|compiled| compiled.statements.iter().enumerate());
            statements.filter_map(move |(number, statement)| match object {
                Object::Policy(policy) => Some((policy, number, statement)),
                _ => None,
            })
        })
    }

    /// By which changes the policies might come to allow a call, or to allow it no longer.
    pub(crate) fn proposed(&self, call: &Call<'_>, allow: bool) -> Result<Vec<Way>, EntityFault> {
        self.policies.ways(&self.world.registered, call, allow)
    }

    /// This snapshot, were its objects these: nothing else changes. `None` where something refuses that is not in force, or is in force
    /// no longer: what other objects would make of that is not known here.
    pub(crate) fn were(&self, objects: Vec<Object>) -> Option<Self> {
        let plain = self.refusing.is_empty() && self.coming.is_empty() && self.withdrawn.is_empty();
        let configuration =
            Configuration { objects, standing: self.standing.clone(), ..Configuration::default() };
        (plain && !self.closed).then(|| self.next(configuration).0)
    }
}
