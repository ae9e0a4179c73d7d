//! The tables of a snapshot: each is that of the snapshot before, with what is gone taken out and what is new added. From an empty snapshot
//! that is building from nothing; there is no other way.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::borne::Touched;
use super::closings::Closings;
use super::difference::Difference;
use super::names::NamesLookedUp;
use super::world::World;
use super::{Made, Snapshot, builtin, digest, nowhere, registration, reject};
use crate::authorize::{self, Named};
use crate::decide::statement::Statement;
use crate::resource::{Object, ObjectKey, Rejection};
use crate::shards::Shards;

/// What `Snapshot::remark` looks at again.
pub(super) struct Anew {
    /// In which objects this snapshot differs from the last.
    difference: Difference,
    /// The names of which something else is known.
    touched: Touched,
}

impl Snapshot {
    /// Fills its tables, with its objects and what stands beside them known. `difference` is that of its objects to those of the last, where
    /// it is known. Broken built-in policies are `faults`; names that may not be borne are `unlawful`.
    pub(super) fn fill(
        &mut self,
        last: &Self,
        difference: Option<Difference>,
        faults: &mut Vec<Rejection>,
        unlawful: &mut Vec<Rejection>,
    ) -> Anew {
        let mut difference = difference.unwrap_or_else(|| self.difference(last));
        let statements = self.fill_statements(last, &difference, faults);
        let ruling = (last.said.ruling(), self.said.ruling());
        if registration::apply(&mut self.objects, &difference, ruling, unlawful) {
            difference = self.difference(last);
        }
        if !difference.is_empty() {
            let said = Arc::make_mut(&mut self.said);
            difference.taken(&last.objects).for_each(|object| said.remove_object(object));
            difference.added(&self.objects).for_each(|object| said.add_object(object));
        }
        self.chain_reads = self.said.chain_reads();
        self.closings = Closings::of(&self.said);
        let touched = self.fill_world(last, &difference);
        self.named = last.named.clone();
        self.named.change(
            difference.taken(&last.made).filter_map(named),
            difference.added(&self.made).filter_map(named),
            authorize::named(self.beside.iter()),
        );
        self.sums = last.sums.clone();
        self.sums.change(
            difference.taken(&last.objects).zip(difference.taken(&last.made)),
            difference.added(&self.objects).zip(difference.added(&self.made)),
        );
        self.mentioned = last.mentioned.clone();
        for (object, made) in difference.added(&self.objects).zip(difference.added(&self.made)) {
            for mention in &*mentions(object, made) {
                self.mentioned
                    .or_insert(mention, Vec::new)
                    .into_iter()
                    .for_each(|all| all.push(address(made)));
            }
        }
        for (object, made) in difference.taken(&last.objects).zip(difference.taken(&last.made)) {
            for mention in &*mentions(object, made) {
                take_back(&mut self.mentioned, *mention, address(made));
            }
        }
        let digests = |all: &mut dyn Iterator<Item = &Arc<Made>>| all.map(|made| made.digest).collect();
        let gone = digests(&mut difference.taken(&last.made));
        let new = digests(&mut difference.added(&self.made));
        self.digests = last.digests.with(gone, new);
        self.digest = self.digest_of_all();
        self.rule_by(last, statements);
        Anew { difference, touched }
    }

    fn difference(&self, last: &Self) -> Difference {
        Difference::of_made((&last.objects, &last.made), self.objects.iter().zip(&self.made))
    }

    /// What is in force, and what it says together. Gives the statements that are gone, and those that are new.
    fn fill_statements(
        &mut self,
        last: &Self,
        difference: &Difference,
        faults: &mut Vec<Rejection>,
    ) -> [Vec<Arc<Statement>>; 2] {
        self.said = last.said.clone();
        if difference.added(&self.objects).chain(difference.taken(&last.objects)).any(replaces) {
            let said = Arc::make_mut(&mut self.said);
            difference.taken(&last.objects).for_each(|object| said.remove_policy(object));
            difference.added(&self.objects).for_each(|object| said.add_policy(object));
        }
        self.apart = self.statements_apart(faults);
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        for (object, made) in difference.taken(&last.objects).zip(difference.taken(&last.made)) {
            gone.extend(last.counting(object, made).cloned());
        }
        for (object, made) in difference.added(&self.objects).zip(difference.added(&self.made)) {
            new.extend(self.counting(object, made).cloned());
        }
        // Of those that stay, something else may be withdrawn.
        let concerned: BTreeSet<&ObjectKey> =
            last.withdrawn.concerned().chain(self.withdrawn.concerned()).collect();
        for key in concerned {
            if let (Some((_, was)), Some((object, made))) = (last.places.get(key), self.places.get(key))
                && Arc::ptr_eq(was, made)
            {
                gone.extend(last.counting(object, made).cloned());
                new.extend(self.counting(object, made).cloned());
            }
        }
        let others =
            |of: &Self| -> Vec<Arc<Statement>> { of.apart.iter().chain(&of.beside).cloned().collect() };
        let (had, has) = (others(last), others(self));
        let addresses = |all: &[Arc<Statement>]| all.iter().map(address).collect::<Vec<usize>>();
        let of_others = Difference::between(&addresses(&had), &addresses(&has));
        gone.extend(of_others.taken(&had).cloned());
        new.extend(of_others.added(&has).cloned());
        if !(gone.is_empty() && new.is_empty()) {
            let said = Arc::make_mut(&mut self.said);
            gone.iter().for_each(|statement| said.remove(statement));
            new.iter().for_each(|statement| said.add(statement));
        }
        [gone, new]
    }

    /// What is in force beside the policies of objects.
    fn statements_apart(&self, faults: &mut Vec<Rejection>) -> Vec<Arc<Statement>> {
        let replaced: BTreeSet<&Arc<str>> = self.replaced().collect();
        let is_replaced = |id: &str| replaced.iter().any(|replaced| ***replaced == *id);
        let classes = builtin::CLASSES.iter().filter(|(id, _)| !is_replaced(id));
        let always = [Some(&builtin::QUARANTINE), self.closed.then_some(&builtin::CLOSED)];
        let mut statements = Vec::new();
        for built_in in always.into_iter().flatten().chain(classes.map(|(_, class)| *class)) {
            match built_in.compiled() {
                Ok(statement) => statements.push(statement),
                Err(problem) => faults.push(reject::fault(&problem)),
            }
        }
        statements.extend(self.standing.statements().cloned());
        statements
    }

    /// The built-in policies that a policy in force takes the place of.
    fn replaced(&self) -> impl Iterator<Item = &Arc<str>> {
        let whole = self.said.replacing().filter(|(policy, _)| !self.withdrawn.concerns(policy));
        whole.flat_map(|(_, policy)| &policy.replaces)
    }

    /// The statements of a policy that count.
    fn counting<'a>(
        &'a self,
        object: &Object,
        made: &'a Made,
    ) -> impl Iterator<Item = &'a Arc<Statement>> + use<'a> {
        let policy = (!self.withdrawn.is_empty()).then(|| ObjectKey::of(object));
        let all = made.compiled.iter().flat_map(|compiled| &compiled.statements);
        all.filter(move |one| policy.as_ref().is_none_or(|policy| self.withdrawn.leaves(policy, one)))
    }

    /// All policies in force, the built-in ones included, in the order of their objects.
    pub(crate) fn statements_in_force(&self) -> impl Iterator<Item = &Arc<Statement>> {
        self.statements().filter(|one| !one.lets_pass)
    }

    /// The same, and those that only let pass (`mode: rollout`).
    pub(super) fn statements(&self) -> impl Iterator<Item = &Arc<Statement>> {
        let of_objects = self.objects.iter().zip(&self.made);
        let of_objects = of_objects.flat_map(|(object, made)| self.counting(object, made));
        self.apart.iter().chain(of_objects).chain(&self.beside)
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

    /// Looks at what is accepted and still deserves a look, in the order of the objects: names that nothing bears, text that may confuse, what
    /// leads nowhere. Only objects that are new, and those with names of which something else is known, are looked at.
    pub(super) fn remark(&mut self, last: &Self, Anew { difference, touched }: &Anew) {
        let World { registered, borne, .. } = &*self.world;
        let again: HashSet<usize, RandomState> =
            touched.iter().filter_map(|name| self.mentioned.get(name)).flatten().copied().collect();
        let remark = |(place, (object, made)): (usize, (&Object, &Arc<Made>))| {
            let known = difference.from(place).and_then(|from| last.remarks.get(from));
            match known {
                Some(known) if again.is_empty() || !again.contains(&address(made)) => known.clone(),
                _ => {
                    let all: Vec<Rejection> = match (object, &made.compiled) {
                        (Object::Policy(policy), Some(compiled)) => {
                            let names = NamesLookedUp::of(policy, compiled, registered, borne);
                            let confusing = compiled.remarks.iter();
                            let confusing = confusing.map(|remark| reject::confusing(policy, remark));
                            confusing.chain(names.remarks(policy)).collect()
                        }
                        _ => nowhere::remarks(object, registered),
                    };
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
        let refuses = |(object, made): &&(Object, Arc<Made>)| made.forbids() || object.is_quarantined();
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
            rollout: self.rolled_out(self, [&[], &[]]),
            named: self.named.clone(),
            sums: self.sums.clone(),
            costly: self.costly.clone(),
            apart: self.apart.clone(),
            beside: self.beside.clone(),
            // By what was withdrawn it is told which statements are in force.
            withdrawn: self.withdrawn.clone(),
            said: self.said.clone(),
            mentioned: self.mentioned.clone(),
            warnings: self.warnings.clone(),
            digests: self.digests.clone(),
            ..Self::default()
        }
    }
}

fn named(made: &Arc<Made>) -> Option<&Named> {
    made.compiled.as_ref().map(|compiled| &compiled.named).filter(|named| !named.is_empty())
}

/// The names that are looked up for an object, each once.
fn mentions<'a>(object: &Object, made: &'a Made) -> Cow<'a, [u64]> {
    match &made.compiled {
        Some(compiled) => Cow::Borrowed(&compiled.mentions),
        None => Cow::Owned(nowhere::mentions(object)),
    }
}

fn take_back(mentioned: &mut Shards<u64, Vec<usize>>, mention: u64, made: usize) {
    let Some(all) = mentioned.get_mut(&mention) else { return };
    if let Some(place) = all.iter().position(|one| *one == made) {
        all.swap_remove(place);
    }
    if all.is_empty() {
        mentioned.remove(&mention);
    }
}

fn replaces(object: &Object) -> bool {
    matches!(object, Object::Policy(policy) if !policy.replaces.is_empty())
}

/// Where something is in memory.
fn address<T>(one: &Arc<T>) -> usize {
    Arc::as_ptr(one).addr()
}
