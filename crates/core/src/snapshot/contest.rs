//! Two objects of one name, or of one identity: what is then in force is what refuses most, and does not depend on which was
//! read first.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::audience::{self, Taken};
use super::difference::Difference;
use super::doubt::Doubts;
use super::refusing::{self, Held, Refusing};
use super::said::Said;
use super::withdrawn::Withdrawn;
use super::world::World;
use super::{Made, Places, Snapshot, reject};
use crate::resource::{Identity, Object, ObjectKey, Rejection};

/// Good objects, apart by whether they are in force.
#[derive(Debug, Default)]
pub(super) struct Contest {
    pub(super) objects: Vec<Object>,
    pub(super) made: Vec<Arc<Made>>,
    pub(super) places: Places,
    /// Sorted, so that no order of the objects shows.
    pub(super) refusing: Vec<Refusing>,
    pub(super) contested: Names,
    /// What is not in force because another namespace has its audience.
    pub(super) taken: Taken,
    /// In which objects it differs from the last snapshot, where that is known.
    pub(super) difference: Option<Difference>,
}

/// Names that several objects have, each with the places of these, sorted.
pub(super) type Names = HashMap<ObjectKey, BTreeSet<String>>;

impl Contest {
    /// Decides which of the `good` objects are in force: those whose name no other object has, be it malformed or held from `last` or
    /// what `came`, and that are not `withdrawn`.
    pub(super) fn of(
        (last, came): (&Snapshot, &[(Object, Arc<Made>)]),
        good: Vec<(Object, Arc<Made>)>,
        rejected: &mut Vec<Rejection>,
        (doubts, withdrawn): (&Doubts<'_>, &Withdrawn),
    ) -> Self {
        let difference = Difference::of_made(
            (&last.objects, &last.made),
            good.iter().map(|(object, made)| (object, made)),
        );
        let (mut places, mut contested) = places(last, &good, &difference);
        let malformed = rejected.iter().filter_map(|fault| fault.object.reference());
        contested.extend(malformed.map(ObjectKey::of_reference).filter(|key| places.contains_key(key)));
        let held = Held::of((last, came), (&good, &places, &difference), rejected, doubts);
        contested.extend(held.names().filter(|key| places.contains_key(key)));
        let taken = audience::taken((last, &difference), &good, &held.hidden);
        let Held { hidden: mut refusing, doubted } = held;
        let mut doubted: Vec<Refusing> = doubted
            .into_iter()
            .map(|(one, doubt)| {
                rejected.push(reject::doubted(&one.object, doubt));
                one
            })
            .collect();
        if contested.is_empty() && withdrawn.is_empty() && taken.is_empty() {
            refusing::report(&refusing, rejected);
            let (objects, made) = good.into_iter().unzip();
            refusing.append(&mut doubted);
            return Self { objects, made, places, refusing, difference: Some(difference), ..Self::default() };
        }
        refusing.iter_mut().for_each(|one| one.contested |= contested.contains(&one.key()));
        let mut contest = Self::default();
        let mut beside = doubted;
        for (object, made) in good {
            let key = ObjectKey::of(&object);
            if contested.contains(&key) {
                places.remove(&key);
                refusing.push(Refusing::of(&object, &made, true));
            } else if let (Some(holder), Some(audience)) = (taken.get(&key), audience::claimed(&object)) {
                rejected.push(reject::audience_taken(&object, audience, holder));
                places.remove(&key);
                beside.push(Refusing { audience: None, ..Refusing::of(&object, &made, false) });
            } else if withdrawn.holds(&key) {
                places.remove(&key);
                beside.push(Refusing::of(&object, &made, false));
            } else {
                contest.objects.push(object);
                contest.made.push(made);
            }
        }
        refusing.sort_by(|a, b| (&a.object, a.digest, &a.origin).cmp(&(&b.object, b.digest, &b.origin)));
        (contest.refusing, contest.places) = (refusing, places);
        contest.contested = contest.report(&contested, rejected);
        // Of these it is said why already, or nothing is to be said.
        contest.refusing.append(&mut beside);
        contest.taken = taken;
        contest
    }

    /// Says of each contested object where the others of its name are.
    fn report(&self, contested: &HashSet<ObjectKey>, rejected: &mut Vec<Rejection>) -> Names {
        let (named, held): (Vec<&Refusing>, Vec<&Refusing>) =
            self.refusing.iter().partition(|one| contested.contains(&one.key()));
        let mut claims = Names::with_capacity(contested.len());
        let malformed = rejected.iter().filter_map(|fault| {
            Some((ObjectKey::of_reference(fault.object.reference()?), fault.origin.to_string()))
        });
        let good = named.iter().map(|one| (one.key(), one.origin.to_string()));
        for (key, place) in malformed.filter(|(key, _)| contested.contains(key)).chain(good) {
            claims.entry(key).or_default().insert(place);
        }
        for one in &named {
            let (own, places) = (one.origin.to_string(), claims.get(&one.key()));
            let others =
                reject::some_of(places.into_iter().flatten().filter(|place| **place != own).cloned());
            rejected.push(reject::name_contested(&one.object, &one.origin, &others));
        }
        let held: Vec<Refusing> = held.into_iter().cloned().collect();
        refusing::report(&held, rejected);
        claims
    }
}

/// The objects by their names, the first of each, and the names that are there more than once.
fn places(
    last: &Snapshot,
    good: &[(Object, Arc<Made>)],
    difference: &Difference,
) -> (Places, HashSet<ObjectKey>) {
    // All of the last ones have names of their own.
    let mut places = last.places.clone();
    for object in difference.taken(&last.objects) {
        places.remove(&ObjectKey::of(object));
    }
    let mut is_contested = false;
    for one in difference.added(good) {
        is_contested |= places.insert(ObjectKey::of(&one.0), one.clone()).is_some();
    }
    let mut contested = HashSet::new();
    if is_contested {
        // Which is the first depends on all of them.
        places = Places::default();
        for one in good {
            let key = ObjectKey::of(&one.0);
            if places.contains_key(&key) {
                contested.insert(key);
            } else {
                places.insert(key, one.clone());
            }
        }
    }
    (places, contested)
}

/// Says of each object in force which of its identities prove nobody, because something else claims them.
pub(super) fn report_identities(objects: &[Object], world: &World, rejected: &mut Vec<Rejection>) {
    if !world.bindings.has_contests() {
        return;
    }
    for object in objects {
        for (place, identity) in identities(object).iter().enumerate() {
            let claims = world.bindings.claims(identity);
            let reference = object.reference();
            let others = claims.iter().filter(|claim| claim.object != reference);
            let others = reject::some_of(others.map(|claim| format!("{} ({})", claim.object, claim.origin)));
            if !others.is_empty() {
                rejected.push(reject::identity_contested(object, place, identity, &others));
            }
        }
    }
}

/// Says of each record which of its identities prove nobody, because policies name a person by them.
pub(super) fn report_people(said: &Said, world: &World, rejected: &mut Vec<Rejection>) {
    for (issuer, subject) in said.people().filter_map(|person| person.split_once('#')) {
        let Some(principal) = world.bindings.by_oidc(issuer, subject) else { continue };
        let is_it = |identity: &Identity| match identity {
            Identity::Oidc { issuer: i, subject: s, .. } => **i == *issuer && **s == *subject,
            Identity::Spiffe(_) | Identity::ServiceAccount { .. } => false,
        };
        if let Some(place) = principal.identities().iter().position(is_it) {
            rejected.push(reject::of_a_person(principal, place, &format!("{issuer}#{subject}")));
        }
    }
}

fn identities(object: &Object) -> &[Identity] {
    match object {
        Object::Agent(agent) => &agent.identities,
        Object::Service(service) => &service.identities,
        Object::McpServer(_) | Object::LlmProvider(_) | Object::Policy(_) => &[],
    }
}
