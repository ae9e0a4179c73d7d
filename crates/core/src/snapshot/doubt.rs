//! Places of which it cannot be told whether they say all that is meant: a file that somebody may still be writing, or that says
//! nothing any more. What was refused there, and is not any more, stays refused: forbids, quarantine, and what was contested.
//!
//! A fault hides objects; a doubt only keeps what they refused. So what is there now is in force beside it.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::Snapshot;
use super::refusing::Refusing;
use crate::resource::{Identity, Object, ObjectKey, Origin};

/// That a place may not say all that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The file, or the object of a cluster.
    pub place: Origin,
    /// Why it may not: how the sentence goes on that begins with what is gone.
    pub reason: &'static str,
    /// What to do to say it.
    pub fix: &'static str,
}

/// The doubts of one time, by their places.
pub(super) struct Doubts<'a> {
    of_place: BTreeMap<Origin, &'a Doubt>,
    /// The identities that several objects claimed before; looked up when it is first asked for.
    contested: OnceCell<HashSet<IdentityKey<'a>>>,
    last: &'a Snapshot,
}

/// What two claims to one identity have in common: claims of a token do not make two identities of one subject.
type IdentityKey<'a> = (u8, &'a str, &'a str);

impl<'a> Doubts<'a> {
    pub(super) fn of(doubted: &'a [Doubt], last: &'a Snapshot) -> Self {
        let of_place = doubted.iter().map(|doubt| (doubt.place.whole(), doubt)).collect();
        Self { of_place, contested: OnceCell::new(), last }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.of_place.is_empty()
    }

    pub(super) fn about(&self, place: &Origin) -> Option<&'a Doubt> {
        if self.of_place.is_empty() { None } else { self.of_place.get(&place.whole()).copied() }
    }

    /// Whom what is in doubt quarantined.
    pub(super) fn quarantined(&self) -> HashSet<ObjectKey> {
        if self.is_empty() {
            return HashSet::new();
        }
        let coming = self.last.coming.iter().map(|(object, _)| object);
        let objects = self.last.objects.iter().chain(coming).filter(|object| object.is_quarantined());
        let objects = objects.filter(|object| self.about(&object.meta().origin).is_some());
        let beside = self.last.refusing.iter().filter(|one| one.quarantined);
        let beside = beside.filter(|one| self.about(&one.origin).is_some());
        objects.map(ObjectKey::of).chain(beside.map(Refusing::key)).collect()
    }

    /// What an object at a place in doubt refused; `None` where it refused nothing, or its place is in no doubt.
    pub(super) fn kept(&self, mut one: Refusing) -> Option<(Refusing, &'a Doubt)> {
        let doubt = self.about(&one.origin)?;
        // Who is quarantined keeps its identities: another that claims them would free whoever has them.
        if !one.identities.is_empty() && !one.quarantined {
            let contested = self.contested.get_or_init(|| contested(self.last));
            one.identities.retain(|identity| contested.contains(&key(identity)));
        }
        one.refuses().then_some((one, doubt))
    }
}

/// The identities that more than one object, in force or not, claims.
fn contested(last: &Snapshot) -> HashSet<IdentityKey<'_>> {
    // What is remembered was before what is there: of a start, the two together say nothing.
    if let Some(before) = &last.contested_before {
        return before.iter().map(key).collect();
    }
    let in_force = last.objects.iter().map(|object| (ObjectKey::of(object), identities(object)));
    let beside = last.refusing.iter().map(|one| (one.key(), &*one.identities));
    claimed_by_several(in_force.chain(beside)).into_iter().map(key).collect()
}

/// The identities that more than one of these objects claims.
pub(super) fn claimed_by_several<'i, O: PartialEq + Clone>(
    claims: impl Iterator<Item = (O, &'i [Identity])>,
) -> Vec<&'i Identity> {
    let mut claimed: HashMap<IdentityKey<'i>, O> = HashMap::new();
    let mut contested = Vec::new();
    for (object, identities) in claims {
        for identity in identities {
            match claimed.get(&key(identity)) {
                Some(first) if *first != object => contested.push(identity),
                Some(_) => {}
                None => drop(claimed.insert(key(identity), object.clone())),
            }
        }
    }
    contested
}

fn identities(object: &Object) -> &[Identity] {
    match object {
        Object::Agent(agent) => &agent.identities,
        Object::Service(service) => &service.identities,
        Object::McpServer(_) | Object::LlmProvider(_) | Object::Policy(_) => &[],
    }
}

fn key(identity: &Identity) -> IdentityKey<'_> {
    match identity {
        Identity::Spiffe(id) => (0, id, ""),
        Identity::Oidc { issuer, subject, .. } => (1, issuer, subject),
        Identity::ServiceAccount { namespace, name } => (2, namespace, name),
    }
}
