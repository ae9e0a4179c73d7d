//! What refuses although it is not in force: the forbids, and the claims to a name or an identity, of objects that are contested,
//! or that may be missing only because something cannot be read.
//!
//! An object is known here by its name *and* its place. What was deleted on purpose is gone; what may be hidden by a fault is held
//! until the fault is corrected, or until the object is good at its place, or is found elsewhere as it was.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use super::compile::Compiled;
use super::difference::Difference;
use super::digest::Digest;
use super::doubt::{Doubt, Doubts};
use super::{Made, Places, Snapshot, audience, reject};
use crate::decide::statement::Statement;
use crate::resource::{Identity, Kind, Object, ObjectKey, ObjectRef, Origin, Policy, Rejection, Subject};

/// An object of which only what it refuses is in force, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnlyRefusing<'a> {
    /// The object.
    pub object: &'a ObjectRef,
    /// Where it is, or was.
    pub origin: &'a Origin,
    /// Whether another object has, or had, its name; otherwise it is held, since it may be missing only because something is
    /// malformed.
    pub contested: bool,
}

impl OnlyRefusing<'_> {
    /// `contested` or `held`.
    pub const fn why(&self) -> &'static str {
        if self.contested { "contested" } else { "held" }
    }

    /// Whether it is the object of this kind and `namespace/name`.
    pub fn is(&self, kind: Kind, key: &str) -> bool {
        let name = (&*self.object.namespace, &*self.object.name);
        self.object.kind == kind && key.split_once('/') == Some(name)
    }
}

/// As JSON, `object` and `source` as in a rejection, and `why`.
impl Serialize for OnlyRefusing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_struct("OnlyRefusing", 3)?;
        row.serialize_field("object", &self.object.to_string())?;
        row.serialize_field("source", &self.origin.source())?;
        row.serialize_field("why", self.why())?;
        row.end()
    }
}

/// An object of which only what it refuses is in force.
#[derive(Clone, Debug)]
pub(super) struct Refusing {
    pub(super) object: ObjectRef,
    pub(super) origin: Origin,
    pub(super) digest: Digest,
    pub(super) policy: Option<(Arc<Policy>, Arc<Compiled>)>,
    /// What it claims, and proves nobody.
    pub(super) identities: Vec<Identity>,
    /// What its namespace has while it is held ([`super::audience`]).
    pub(super) audience: Option<Arc<str>>,
    /// Whether another object has, or had, its name.
    pub(super) contested: bool,
    /// Whether it is an agent or a service in quarantine, and not by an act alone.
    pub(super) quarantined: bool,
}

impl Made {
    /// The digest of what the object's own record says, whatever acts say of it.
    pub(super) fn of_record(&self) -> Digest {
        self.own.as_deref().copied().unwrap_or(self.digest)
    }
}

impl Refusing {
    pub(super) fn of(object: &Object, made: &Made, contested: bool) -> Self {
        let policy = match object {
            Object::Policy(policy) => made.compiled.clone().map(|compiled| (policy.clone(), compiled)),
            _ => None,
        };
        let identities = match object {
            Object::Agent(agent) => agent.identities.clone(),
            Object::Service(service) => service.identities.clone(),
            _ => Vec::new(),
        };
        Self {
            object: object.reference(),
            origin: object.meta().origin.clone(),
            digest: made.of_record(),
            policy,
            identities,
            audience: audience::claimed(object).cloned(),
            contested,
            quarantined: object.is_quarantined() && made.own.is_none(),
        }
    }

    /// So that no order of the objects shows.
    pub(super) fn in_order(&self, other: &Self) -> Ordering {
        (&self.object, &self.origin, self.digest).cmp(&(&other.object, &other.origin, other.digest))
    }

    pub(super) fn key(&self) -> ObjectKey {
        ObjectKey::of_reference(&self.object)
    }

    fn forbids(&self) -> impl Iterator<Item = &Arc<Statement>> {
        let statements = self.policy.iter().flat_map(|(_, compiled)| &compiled.statements);
        statements.filter(|statement| statement.refuses())
    }

    /// Whether it would refuse anything if its name were not used by another object.
    pub(super) fn refuses(&self) -> bool {
        self.contested || self.quarantined || !self.identities.is_empty() || self.forbids().next().is_some()
    }
}

/// The forbids of all, each under an id of its own: that which it had, unless another policy in force or among these has the name.
pub(super) fn forbids(refusing: &[Refusing], in_force: &Places) -> Vec<Arc<Statement>> {
    let mut of_key: BTreeMap<ObjectKey, BTreeMap<Digest, &Refusing>> = BTreeMap::new();
    for one in refusing.iter().filter(|one| one.forbids().next().is_some()) {
        of_key.entry(one.key()).or_default().insert(one.digest, one);
    }
    let mut statements = Vec::new();
    for (key, versions) in &of_key {
        let alone = versions.len() == 1 && !in_force.contains_key(key);
        for (digest, one) in versions {
            statements.extend(one.forbids().map(|statement| match alone {
                true => statement.clone(),
                false => Arc::new(statement.under(version_id(&statement.id, digest).into())),
            }));
        }
    }
    statements
}

/// Those of `stand_ins` that are not held from the last snapshot: while everything is refused, each look finds them again.
pub(super) fn not_held(mut stand_ins: Vec<Refusing>, held: &[Refusing]) -> Vec<Refusing> {
    if stand_ins.is_empty() {
        return stand_ins;
    }
    let mut of: HashMap<(ObjectKey, Digest), Vec<&Origin>> = HashMap::new();
    for one in held {
        of.entry((one.key(), one.digest)).or_default().push(&one.origin);
    }
    stand_ins.retain(|one| {
        let held = of.get(&(one.key(), one.digest));
        !held.into_iter().flatten().any(|origin| origin.is_same_place(&one.origin))
    });
    stand_ins
}

/// `namespace/name~` and eight bytes of the digest of the object: which of several of one name.
fn version_id(id: &str, digest: &Digest) -> String {
    format!("{id}~{}", HEXLOWER.encode(digest.get(..8).unwrap_or_default()))
}

/// What is held of the last snapshot.
#[derive(Default)]
pub(super) struct Held<'a> {
    /// What may be hidden by a fault: all that it refused, and its name.
    pub(super) hidden: Vec<Refusing>,
    /// What may be missing because its place does not say all that is meant: what it refused.
    pub(super) doubted: Vec<(Refusing, &'a Doubt)>,
}

impl<'a> Held<'a> {
    /// The objects of `last`, and those that `came` and were not in force, that are missing among the `good` ones of now, and may be
    /// so only because of what is `rejected`, or because it is in doubt.
    pub(super) fn of(
        (last, came): (&Snapshot, &[(Object, Arc<Made>)]),
        (good, places, difference): (&[(Object, Arc<Made>)], &Places, &Difference),
        rejected: &[Rejection],
        doubts: &Doubts<'a>,
    ) -> Self {
        // What is gone from sources in which nothing is malformed was deleted.
        if rejected.is_empty() && doubts.is_empty() {
            return Self::default();
        }
        let mut held = Self::default();
        let Gone { missing, changed } = Gone::of((last, came), (good, places, difference));
        for one in missing {
            let now = places.get(&one.key());
            let moved = now.is_some_and(|(_, made)| made.of_record() == one.digest);
            // Even what refuses nothing has its name, which something else may claim later.
            if rejected.iter().any(|fault| may_hide(fault, &one, moved)) {
                held.hidden.push(one);
            } else if one.contested || one.quarantined || !moved {
                // Whom it quarantines is quarantined elsewhere too, and looks the same there.
                held.doubted.extend(doubts.kept(one));
            }
        }
        for one in changed {
            if rejected.iter().any(|fault| may_be(fault, &one)) {
                held.hidden.push(one);
            } else {
                held.doubted.extend(doubts.kept(one));
            }
        }
        // Where it was in its file is not where it is.
        held.all_mut().for_each(|one| one.origin = one.origin.whole());
        held.hidden.sort_by(Refusing::in_order);
        held.doubted.sort_by(|(one, _), (other, _)| one.in_order(other));
        held
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Refusing> {
        self.hidden.iter_mut().chain(self.doubted.iter_mut().map(|(one, _)| one))
    }

    /// The names that are not free for others.
    pub(super) fn names(&self) -> impl Iterator<Item = ObjectKey> {
        let doubted = self.doubted.iter().map(|(one, _)| one).filter(|one| one.contested);
        self.hidden.iter().chain(doubted).map(Refusing::key)
    }
}

/// Whether an object may be missing at its place because of a fault.
///
/// A fault at its place may have swallowed it. One elsewhere may be the object itself, moved and malformed in one step, whatever
/// kind it says that it is: what is malformed is not believed about that. But what is good elsewhere, says the same, and was the
/// only one of its name, was `moved`.
fn may_hide(fault: &Rejection, one: &Refusing, moved: bool) -> bool {
    if fault.origin.may_hide(&one.origin) {
        return true;
    }
    fault.origin.is_same_source(&one.origin) && (one.contested || !moved)
}

/// Whether what could not be read, or is malformed, may be a policy.
pub(super) fn may_be_a_policy(fault: &Rejection) -> bool {
    match &fault.object {
        Subject::Object(object) => object.kind == Kind::Policy,
        Subject::Document(_) | Subject::Source => true,
    }
}

/// Whether a fault may be the object itself, where one of its name is good at its place: then both are there.
fn may_be(fault: &Rejection, one: &Refusing) -> bool {
    let names_it = match &fault.object {
        // Whatever kind it says that it is.
        Subject::Object(object) => object.namespace == one.object.namespace && object.name == one.object.name,
        Subject::Document(_) | Subject::Source => true,
    };
    names_it && fault.origin.may_hide(&one.origin)
}

/// What there was and is not any more, by name and place.
struct Gone {
    /// Nothing of its name is at its place.
    missing: Vec<Refusing>,
    /// Something of its name is at its place, and says something else.
    changed: Vec<Refusing>,
}

impl Gone {
    fn of(
        (last, came): (&Snapshot, &[(Object, Arc<Made>)]),
        (good, places, difference): (&[(Object, Arc<Made>)], &Places, &Difference),
    ) -> Self {
        // Nearly all objects had their name alone, and are as they were and where they were: most of them are the same in memory.
        let is_there = |object: &Object, made: &Made| {
            places.get(&ObjectKey::of(object)).is_some_and(|(now, is)| {
                is.of_record() == made.of_record() && now.meta().origin.is_same_place(&object.meta().origin)
            })
        };
        let others = difference.taken(&last.objects).zip(difference.taken(&last.made));
        let others = others.filter(|(object, made)| !is_there(object, made));
        let others = others.map(|(object, made)| Refusing::of(object, made, false));
        let came = came.iter().map(|(object, made)| Refusing::of(object, made, false));
        let mut left: Vec<Refusing> = others.chain(last.refusing.iter().cloned()).chain(came).collect();
        let mut present: HashMap<ObjectKey, Vec<(&Origin, Digest)>> =
            left.iter().map(|one| (one.key(), Vec::new())).collect();
        // Each name is there once, unless there are more objects than names.
        let all = if places.len() == good.len() { &[] } else { good };
        for (key, there) in present.iter_mut().filter(|_| all.is_empty()) {
            let now = places.get(key).map(|(object, made)| (&object.meta().origin, made.of_record()));
            there.extend(now);
        }
        for (object, made) in all.iter().filter(|_| !left.is_empty()) {
            if let Some(there) = present.get_mut(&ObjectKey::of(object)) {
                there.push((&object.meta().origin, made.of_record()));
            }
        }
        left.retain(|one| !take(&mut present, one));
        // What stands at its place now takes the place of all that stood there before, one after the other.
        let replaced = |one: &Refusing| {
            let there = present.get(&one.key()).into_iter().flatten();
            there.into_iter().any(|(origin, _)| origin.is_same_place(&one.origin))
        };
        let (changed, missing) = left.into_iter().partition(replaced);
        Self { missing, changed }
    }
}

/// Takes what is present of an object at its place, if it is there as it was.
fn take(present: &mut HashMap<ObjectKey, Vec<(&Origin, Digest)>>, one: &Refusing) -> bool {
    let Some(there) = present.get_mut(&one.key()) else { return false };
    let is_it =
        |(origin, digest): &(&Origin, Digest)| origin.is_same_place(&one.origin) && *digest == one.digest;
    let found = there.iter().position(is_it);
    found.map(|place| there.swap_remove(place)).is_some()
}

/// Says of each that is held, and refuses something, that it is: in what is said of it already, or by itself.
pub(super) fn report(held: &[Refusing], rejected: &mut Vec<Rejection>) {
    for one in held.iter().filter(|one| one.refuses()) {
        let stays = match one.object.kind {
            Kind::Policy => "what it forbade while it was good stays forbidden",
            _ => "its name and its identities stay refused",
        };
        match rejected.iter_mut().find(|rejection| rejection.object.is(&one.object)) {
            Some(rejection) if rejection.reason.ends_with(stays) => {}
            Some(rejection) => rejection.reason = format!("{}; {stays}", rejection.reason),
            None => rejected.push(reject::held(&one.object, &one.origin, stays)),
        }
    }
}
