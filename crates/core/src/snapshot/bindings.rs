//! Which principal an identity is bound to: exactly one, or nobody. An identity that several objects claim proves none of them,
//! in whatever order they were read.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::refusing::Refusing;
use crate::resource::{Identity, ObjectRef, Origin, Principal};
use crate::shards::Shards;

type BoundTo = Shards<Arc<str>, Bound>;

#[derive(Clone, Debug)]
enum Bound {
    One(Principal),
    Nobody(Arc<Claims>),
}

/// Who claims an identity that proves nobody.
#[derive(Clone, Debug, Default)]
struct Claims {
    /// The principals in force that list it, each once.
    principals: Vec<Principal>,
    /// The claims of what is not in force.
    beside: Vec<Claim>,
    /// All of them, sorted.
    all: Vec<Claim>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Bindings {
    spiffe: BoundTo,
    /// Issuer → subject.
    oidc: Shards<Arc<str>, BoundTo>,
    /// Namespace → name.
    service_accounts: Shards<Arc<str>, BoundTo>,
    /// Each with how often it is named.
    issuers: Arc<BTreeMap<Arc<str>, usize>>,
    /// How many identities are contested.
    contests: usize,
}

/// That an object lists an identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// Which object.
    pub object: ObjectRef,
    /// Where it stands.
    pub origin: Origin,
}

impl Claim {
    fn of(principal: &Principal) -> Self {
        Self { object: principal.reference(), origin: principal.meta().origin.clone() }
    }

    fn beside(refusing: &Refusing) -> Self {
        Self { object: refusing.object.clone(), origin: refusing.origin.clone() }
    }
}

/// Every issuer that a principal names, as often as it does.
fn issuers(principal: &Principal) -> impl Iterator<Item = &Arc<str>> {
    let of_identities = principal.identities().iter().filter_map(|identity| match identity {
        Identity::Oidc { issuer, .. } => Some(issuer),
        Identity::Spiffe(_) | Identity::ServiceAccount { .. } => None,
    });
    of_identities.chain(principal.acts_for().iter().map(|acts_for| &acts_for.issuer))
}

impl Bindings {
    /// Binds the identities of `principal` that nothing else claims.
    pub(crate) fn bind(&mut self, principal: &Principal) {
        for issuer in issuers(principal) {
            *Arc::make_mut(&mut self.issuers).entry(issuer.clone()).or_default() += 1;
        }
        for identity in principal.identities() {
            self.change(identity, |bound| bound.add(principal));
        }
    }

    /// Takes back what [`Bindings::bind`] did.
    pub(super) fn unbind(&mut self, principal: &Principal) {
        for issuer in issuers(principal) {
            let issuers = Arc::make_mut(&mut self.issuers);
            if let Some(count) = issuers.get_mut(issuer) {
                *count -= 1;
                if *count == 0 {
                    issuers.remove(issuer);
                }
            }
        }
        for identity in principal.identities() {
            self.change(identity, |bound| {
                bound.principals.retain(|other| other.entity() != principal.entity());
            });
        }
    }

    /// Takes from everybody what an object claims that is not in force.
    pub(super) fn claim(&mut self, refusing: &Refusing) {
        for identity in &refusing.identities {
            self.change(identity, |bound| bound.beside.push(Claim::beside(refusing)));
        }
    }

    /// Takes back what [`Bindings::claim`] did.
    pub(super) fn unclaim(&mut self, refusing: &Refusing) {
        let claim = Claim::beside(refusing);
        for identity in &refusing.identities {
            self.change(identity, |bound| {
                if let Some(place) = bound.beside.iter().position(|other| *other == claim) {
                    bound.beside.swap_remove(place);
                }
            });
        }
    }

    /// Changes who claims an identity. Which principal that binds it to follows from all of the claims, whatever their order.
    fn change(&mut self, identity: &Identity, change: impl FnOnce(&mut Claims)) {
        let (of, name) = match identity {
            Identity::Spiffe(id) => (Some(&mut self.spiffe), id),
            Identity::Oidc { issuer, subject, .. } => {
                (self.oidc.or_insert(issuer, BoundTo::default), subject)
            }
            Identity::ServiceAccount { namespace, name } => {
                (self.service_accounts.or_insert(namespace, BoundTo::default), name)
            }
        };
        let Some(of) = of else { return };
        let (mut claims, was_contested) = match of.get(&**name) {
            None => (Claims::default(), false),
            Some(Bound::One(principal)) => (Claims::of(principal), false),
            Some(Bound::Nobody(claims)) => (Claims::clone(claims), true),
        };
        change(&mut claims);
        self.contests -= usize::from(was_contested);
        match (claims.principals.as_slice(), claims.beside.as_slice()) {
            ([], []) => drop(of.remove(&**name)),
            ([one], []) => drop(of.insert(name.clone(), Bound::One(one.clone()))),
            _ => {
                self.contests += 1;
                of.insert(name.clone(), Bound::Nobody(Arc::new(claims.sorted())));
            }
        }
    }

    fn at_spiffe(&self, id: &str) -> Option<&Bound> {
        self.spiffe.get(id)
    }

    fn at_oidc(&self, issuer: &str, subject: &str) -> Option<&Bound> {
        self.oidc.get(issuer)?.get(subject)
    }

    fn at_service_account(&self, namespace: &str, name: &str) -> Option<&Bound> {
        self.service_accounts.get(namespace)?.get(name)
    }

    /// Whether any identity is contested.
    pub(crate) const fn has_contests(&self) -> bool {
        self.contests > 0
    }

    /// Who claims an identity that is contested, sorted; empty of any other.
    pub(crate) fn claims(&self, identity: &Identity) -> &[Claim] {
        match identity {
            Identity::Spiffe(id) => self.claims_on_spiffe(id),
            Identity::Oidc { issuer, subject, .. } => self.claims_on_oidc(issuer, subject),
            Identity::ServiceAccount { namespace, name } => self.claims_on_service_account(namespace, name),
        }
    }

    pub(crate) fn claims_on_spiffe(&self, id: &str) -> &[Claim] {
        self.claims_at(|this| this.at_spiffe(id))
    }

    pub(crate) fn claims_on_oidc(&self, issuer: &str, subject: &str) -> &[Claim] {
        self.claims_at(|this| this.at_oidc(issuer, subject))
    }

    pub(crate) fn claims_on_service_account(&self, namespace: &str, name: &str) -> &[Claim] {
        self.claims_at(|this| this.at_service_account(namespace, name))
    }

    /// Nothing is looked up where nothing is contested, as nearly always.
    fn claims_at<'a>(&'a self, at: impl FnOnce(&'a Self) -> Option<&'a Bound>) -> &'a [Claim] {
        match self.has_contests().then(|| at(self)).flatten() {
            Some(Bound::Nobody(claims)) => &claims.all,
            Some(Bound::One(_)) | None => &[],
        }
    }

    pub(crate) fn by_spiffe(&self, id: &str) -> Option<&Principal> {
        self.at_spiffe(id)?.one()
    }

    pub(crate) fn by_oidc(&self, issuer: &str, subject: &str) -> Option<&Principal> {
        self.at_oidc(issuer, subject)?.one()
    }

    pub(crate) fn by_service_account(&self, namespace: &str, name: &str) -> Option<&Principal> {
        self.at_service_account(namespace, name)?.one()
    }

    pub(crate) fn issuers(&self) -> impl Iterator<Item = &str> {
        self.issuers.keys().map(|issuer| &**issuer)
    }
}

impl Bound {
    const fn one(&self) -> Option<&Principal> {
        match self {
            Self::One(principal) => Some(principal),
            Self::Nobody(_) => None,
        }
    }
}

impl Claims {
    fn of(principal: &Principal) -> Self {
        Self { principals: vec![principal.clone()], ..Self::default() }
    }

    fn add(&mut self, principal: &Principal) {
        if self.principals.iter().all(|other| other.entity() != principal.entity()) {
            self.principals.push(principal.clone());
        }
    }

    fn sorted(mut self) -> Self {
        self.all = self.principals.iter().map(Claim::of).chain(self.beside.iter().cloned()).collect();
        self.all.sort_unstable();
        self
    }
}
