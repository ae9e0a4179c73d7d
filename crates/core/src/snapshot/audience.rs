//! Whose an audience is. An upstream trusts the `aud` of a hop token and nothing else of it, so whoever registers an audience is let in where it is
//! trusted: one namespace has it. Where objects of several namespaces of a cluster claim one, those of the others are not in force.
//!
//! The namespace that had it keeps it, for as long as an object of it claims it, be that one malformed or quarantined. Where that is not known, it is
//! the one of the object that the API server made first: nobody else can say when that was. Files have one author and no such times: there it
//! is only said ([`Snapshot::shared_audiences`]).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::difference::Difference;
use super::refusing::Refusing;
use super::{Made, Snapshot, reject};
use crate::resource::{Endpoint, Kind, Object, ObjectKey, Origin, Rejection};

/// Audiences, each with the namespace that has it.
pub(super) type Holders = HashMap<Arc<str>, Arc<str>>;

/// The objects that are left out, each with the namespace that has its audience.
pub(super) type Taken = HashMap<ObjectKey, Arc<str>>;

/// The audience of the tokens that are minted for an object of a cluster; `None` of what is given no token, and of files.
pub(super) fn claimed(object: &Object) -> Option<&Arc<str>> {
    let endpoint = endpoint(object)?;
    matches!(object.meta().origin, Origin::Cluster { .. }).then_some(&endpoint.audience)
}

/// Where an object is called with a token. A provider gets the key that is held for it, as an API does that has one; a job and an agent as a tool get nothing,
/// and of a server with members each of these.
fn endpoint(object: &Object) -> Option<&Endpoint> {
    let endpoint = match object {
        Object::Agent(agent) => agent.endpoint.as_deref()?,
        Object::McpServer(server) => &server.endpoint,
        Object::LlmProvider(_) | Object::Service(_) | Object::Policy(_) => return None,
    };
    let has_key = endpoint.openapi.as_ref().is_some_and(|api| api.key.is_some());
    let is_nowhere = endpoint.job.is_some() || endpoint.agent.is_some() || endpoint.is_of_members();
    (!is_nowhere && !has_key).then_some(endpoint)
}

/// Which of the `good` objects may not have the audience that they claim, where they differ from those of `last` so. What is `hidden` by a fault claims
/// what it did.
pub(super) fn taken(
    (last, difference): (&Snapshot, &Difference),
    good: &[(Object, Arc<Made>)],
    hidden: &[Refusing],
) -> Taken {
    // Of what is in force nothing takes what another has: where nothing that is new claims anything, they are not looked through.
    let claims = difference.added(good).any(|(object, _)| claimed(object).is_some());
    if !claims && hidden.iter().all(|one| one.audience.is_none()) {
        return Taken::new();
    }
    let of_good =
        good.iter().filter_map(|(object, _)| Some((&**claimed(object)?, &*object.meta().namespace)));
    let of_hidden = hidden.iter().filter_map(|one| Some((one.audience.as_deref()?, &*one.object.namespace)));
    let mut first: HashMap<&str, &str> = HashMap::new();
    let mut disputed: HashSet<&str> = HashSet::new();
    for (audience, namespace) in of_good.chain(of_hidden) {
        if *first.entry(audience).or_insert(namespace) != namespace {
            disputed.insert(audience);
        }
    }
    if disputed.is_empty() {
        return Taken::new();
    }
    let holders = holders(last, good, hidden, &disputed);
    let mut taken = Taken::new();
    for (object, _) in good {
        let holder = claimed(object).and_then(|audience| holders.get(audience));
        if let Some(holder) = holder.filter(|holder| ***holder != *object.meta().namespace) {
            taken.insert(ObjectKey::of(object), holder.clone());
        }
    }
    taken
}

/// Whether it is new, when it was made, and of which namespace and name: the least has it.
type Claim = (bool, i64, Arc<str>, Arc<str>);

/// Who has each of the `disputed` ones.
fn holders(
    last: &Snapshot,
    good: &[(Object, Arc<Made>)],
    hidden: &[Refusing],
    disputed: &HashSet<&str>,
) -> Holders {
    let before = last.holders(disputed);
    let mut first: HashMap<Arc<str>, Claim> = HashMap::new();
    let mut claims = |audience: &Arc<str>, created: Option<i64>, namespace: &Arc<str>, name: &Arc<str>| {
        if disputed.contains(&**audience) {
            let is_new = before.get(audience) != Some(namespace);
            let claim = (is_new, created.unwrap_or(i64::MAX), namespace.clone(), name.clone());
            first
                .entry(audience.clone())
                .and_modify(|one| *one = claim.clone().min(one.clone()))
                .or_insert(claim);
        }
    };
    for (object, _) in good {
        let meta = object.meta();
        if let Some(audience) = claimed(object) {
            claims(audience, meta.created, &meta.namespace, &meta.name);
        }
    }
    for one in hidden {
        if let Some(audience) = &one.audience {
            claims(audience, None, &one.object.namespace, &one.object.name);
        }
    }
    first.into_iter().map(|(audience, (_, _, namespace, _))| (audience, namespace)).collect()
}

impl Snapshot {
    /// Who had these audiences.
    fn holders(&self, of: &HashSet<&str>) -> Holders {
        let in_force =
            self.objects.iter().filter_map(|object| Some((claimed(object)?, &object.meta().namespace)));
        let hidden =
            self.refusing.iter().filter_map(|one| Some((one.audience.as_ref()?, &one.object.namespace)));
        // What was so before a start says more than what is there at one.
        let all = in_force.chain(hidden).chain(&self.audiences_before);
        let of_these = all.filter(|(audience, _)| of.contains(&***audience));
        of_these.map(|(audience, namespace)| (audience.clone(), namespace.clone())).collect()
    }

    /// Whether these are the namespaces that have these audiences, where anybody has them.
    pub(super) fn has_holders(&self, before: &Holders) -> bool {
        let of = before.keys().map(|audience| &**audience).collect();
        self.holders(&of).iter().all(|(audience, namespace)| before.get(audience) == Some(namespace))
    }

    /// The namespace that has the audience of an object which is not in force for that.
    pub fn audience_holder(&self, kind: Kind, namespace: &Arc<str>, name: &Arc<str>) -> Option<&str> {
        if self.audiences_taken.is_empty() {
            return None;
        }
        self.audiences_taken.get(&ObjectKey::new(kind, namespace, name)).map(|holder| &**holder)
    }

    /// Objects of files that have an audience which objects of other namespaces have too: in a cluster one namespace has it. Whoever may call one
    /// of them holds tokens that the other takes.
    pub fn shared_audiences(&self) -> Vec<Rejection> {
        let mut namespaces: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let of_files = || {
            let is_of_a_file = |object: &&Object| matches!(object.meta().origin, Origin::File { .. });
            let found = self.objects.iter().filter(is_of_a_file);
            found.filter_map(|object| Some((object, endpoint(object)?)))
        };
        for (object, endpoint) in of_files() {
            namespaces.entry(&endpoint.audience).or_default().insert(&object.meta().namespace);
        }
        let others = |object: &Object, endpoint: &Endpoint| {
            let all = namespaces.get(&*endpoint.audience)?;
            all.iter().find(|one| ***one != *object.meta().namespace).map(|one| (*one).to_owned())
        };
        of_files()
            .filter_map(|(object, endpoint)| {
                Some(reject::audience_shared(object, endpoint, &others(object, endpoint)?))
            })
            .collect()
    }
}
