//! The tables of a snapshot: each is that of the snapshot before, with what is gone taken out and what is new added. From an empty snapshot
//! that is building from nothing; there is no other way.

use std::sync::Arc;

use super::borne::Touched;
use super::closings::Closings;
use super::difference::Difference;
use super::names::NamesLookedUp;
use super::world::World;
use super::{Made, Snapshot, coming, digest, registration, reject};
use crate::authorize::{self, Named};
use crate::decide::statement::Statement;
use crate::resource::{Object, Rejection};

/// What `Snapshot::remark` looks at again.
pub(super) struct Anew {
    /// In which objects this snapshot differs from the last.
    difference: Difference,
    /// The names of which something else is known.
    touched: Touched,
}

impl Snapshot {
    /// Fills its tables, with its objects and what stands beside them known, and `statements` being all that is in force.
    pub(super) fn fill(
        &mut self,
        last: &Self,
        beside: &[Arc<Statement>],
        statements: Vec<Arc<Statement>>,
        rejected: &mut Vec<Rejection>,
    ) -> Anew {
        let of_statements = last.policies.difference(&statements);
        let mut said = last.said.clone();
        if !of_statements.is_empty() {
            let said = Arc::make_mut(&mut said);
            of_statements.taken(last.policies.all()).for_each(|statement| said.remove(statement));
            of_statements.added(&statements).for_each(|statement| said.add(statement));
        }
        registration::apply(
            (&last.objects, last.said.ruling()),
            (&mut self.objects, said.ruling()),
            rejected,
        );
        let difference =
            Difference::of_made((&last.objects, &last.made), self.objects.iter().zip(&self.made));
        if !difference.is_empty() {
            let said = Arc::make_mut(&mut said);
            difference.taken(&last.objects).for_each(|object| said.remove_object(object));
            difference.added(&self.objects).for_each(|object| said.add_object(object));
        }
        self.chain_reads = said.chain_reads();
        self.closings = Closings::of(&said);
        self.said = said;
        let touched = self.fill_world(last, &difference);
        self.policies = last.policies.with(statements, &of_statements);
        self.named = last.named.clone();
        self.named.change(
            difference.taken(&last.made).filter_map(named),
            difference.added(&self.made).filter_map(named),
            authorize::named(beside.iter()),
        );
        let digests = |places: &[usize], made: &[Arc<Made>]| -> Vec<digest::Digest> {
            places.iter().filter_map(|place| made.get(*place)).map(|made| made.digest).collect()
        };
        let gone = digests(&difference.gone, &last.made);
        let new = digests(&difference.new, &self.made);
        self.digests = last.digests.with(gone, new);
        self.digest = self.digest_of_all();
        Anew { difference, touched }
    }

    /// What exists beside policies, and the names of which something else is known than before.
    fn fill_world(&mut self, last: &Self, difference: &Difference) -> Touched {
        let is_other = |object: &&Object| !matches!(object, Object::Policy(_));
        let gone = difference.taken(&last.objects).filter(is_other);
        let new = difference.added(&self.objects).filter(is_other);
        self.world = last.world.clone();
        let has_other_claims = self.world.has_other_claims(&self.refusing);
        if gone.clone().chain(new.clone()).next().is_none() && !has_other_claims {
            return Touched::default();
        }
        let world = Arc::make_mut(&mut self.world);
        let touched = world.change(gone, new);
        if has_other_claims {
            world.claimed_by(&self.refusing);
        }
        touched
    }

    /// Looks at what is accepted and still deserves a look, in the order of the policies: names that nothing bears, text that may confuse. Only
    /// policies that are new, and those with names of which something else is known, are looked at.
    pub(super) fn remark(&mut self, last: &Self, Anew { difference, touched }: &Anew) {
        let World { registered, borne, .. } = &*self.world;
        let remark = |(place, (object, made)): (usize, (&Object, &Arc<Made>))| {
            let Object::Policy(policy) = object else { return None };
            let known = difference.from(place).and_then(|from| last.remarks.get(from));
            if let Some(known) = known
                && touched.is_empty()
            {
                return known.clone();
            }
            let compiled = made.compiled.as_ref()?;
            match known {
                Some(known) if !compiled.mentions.iter().any(|name| touched.contains(name)) => known.clone(),
                _ => {
                    let names = NamesLookedUp::of(policy, compiled, registered, borne);
                    let confusing = compiled.remarks.iter().map(|remark| reject::confusing(policy, remark));
                    let all: Vec<Rejection> = confusing.chain(names.remarks(policy)).collect();
                    (!all.is_empty()).then(|| all.into())
                }
            }
        };
        self.remarks = self.objects.iter().zip(&self.made).enumerate().map(remark).collect();
        let (mut before, mut now) = (last.remarks.iter().flatten(), self.remarks.iter().flatten());
        let is_same = loop {
            match (before.next(), now.next()) {
                (None, None) => break true,
                (Some(one), Some(other)) if Arc::ptr_eq(one, other) => {}
                _ => break false,
            }
        };
        self.warnings = match is_same {
            true => last.warnings.clone(),
            false => self.remarks.iter().flatten().flat_map(|some| some.iter()).cloned().collect(),
        };
    }

    fn digest_of_all(&self) -> String {
        let refuses =
            |(object, made): &&(Object, Arc<Made>)| made.forbids() || coming::is_quarantined(object);
        let coming = self.coming.iter().filter(refuses).map(|(_, made)| made.digest);
        let refusing = self.refusing.iter().map(|one| one.digest).chain(coming).map(digest::of_refusing);
        let standing = (!self.standing.is_empty()).then(|| digest::of_standing(self.standing.key()));
        let beside = refusing
            .chain(self.withdrawn.digests())
            .chain(self.closed.then_some(digest::CLOSED))
            .chain(standing);
        self.digests.digest(beside)
    }

    /// This snapshot with its tables alone: what is beside its objects is left out.
    pub(super) fn with_objects_alone(&self) -> Self {
        Self {
            objects: self.objects.clone(),
            made: self.made.clone(),
            remarks: self.remarks.clone(),
            places: self.places.clone(),
            world: self.world.clone(),
            policies: self.policies.again(),
            named: self.named.clone(),
            said: self.said.clone(),
            warnings: self.warnings.clone(),
            digests: self.digests.clone(),
            ..Self::default()
        }
    }
}

fn named(made: &Arc<Made>) -> Option<&Named> {
    made.compiled.as_ref().map(|compiled| &compiled.named).filter(|named| !named.is_empty())
}
