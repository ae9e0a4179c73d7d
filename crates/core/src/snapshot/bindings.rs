//! Which principal an identity is bound to: exactly one, or nobody. An identity that several objects claim proves none of them,
//! in whatever order they were read.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::refusing::Refusing;
use crate::resource::{Identity, ObjectRef, Origin, Principal};

type BoundTo = HashMap<Arc<str>, Bound, RandomState>;

#[derive(Debug)]
enum Bound {
    One(Principal),
    Nobody(Vec<Claim>),
}

#[derive(Debug, Default)]
pub(crate) struct Bindings {
    spiffe: BoundTo,
    /// Issuer → subject.
    oidc: HashMap<Arc<str>, BoundTo, RandomState>,
    /// Namespace → name.
    service_accounts: HashMap<Arc<str>, BoundTo, RandomState>,
    issuers: BTreeSet<Arc<str>>,
    has_contests: bool,
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
}

impl Bindings {
    /// Binds the identities of `principal` that nothing else claims.
    pub(crate) fn bind(&mut self, principal: &Principal) {
        for identity in principal.identities() {
            if let Identity::Oidc { issuer, .. } = identity {
                self.issuers.insert(issuer.clone());
            }
            let (bound, name) = self.entry(identity);
            match bound.get_mut(&*name) {
                None => drop(bound.insert(name, Bound::One(principal.clone()))),
                Some(Bound::One(other)) if other.entity() == principal.entity() => {}
                Some(there) => {
                    there.contest(Claim::of(principal));
                    self.has_contests = true;
                }
            }
        }
        self.issuers.extend(principal.acts_for().iter().map(|acts_for| acts_for.issuer.clone()));
    }

    /// Takes from everybody what an object claims that is not in force.
    pub(super) fn claim(&mut self, refusing: &Refusing) {
        for identity in &refusing.identities {
            let claim = Claim { object: refusing.object.clone(), origin: refusing.origin.clone() };
            let (bound, name) = self.entry(identity);
            bound.entry(name).or_insert_with(|| Bound::Nobody(Vec::new())).contest(claim);
            self.has_contests = true;
        }
    }

    fn entry(&mut self, identity: &Identity) -> (&mut BoundTo, Arc<str>) {
        match identity {
            Identity::Spiffe(id) => (&mut self.spiffe, id.clone()),
            Identity::Oidc { issuer, subject, .. } => {
                (self.oidc.entry(issuer.clone()).or_default(), subject.clone())
            }
            Identity::ServiceAccount { namespace, name } => {
                (self.service_accounts.entry(namespace.clone()).or_default(), name.clone())
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
        self.has_contests
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
        match self.has_contests.then(|| at(self)).flatten() {
            Some(Bound::Nobody(claims)) => claims,
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
        self.issuers.iter().map(|issuer| &**issuer)
    }
}

impl Bound {
    const fn one(&self) -> Option<&Principal> {
        match self {
            Self::One(principal) => Some(principal),
            Self::Nobody(_) => None,
        }
    }

    fn contest(&mut self, claim: Claim) {
        if let Self::One(principal) = self {
            *self = Self::Nobody(vec![Claim::of(principal)]);
        }
        if let Self::Nobody(claims) = self {
            claims.insert(claims.partition_point(|other| *other < claim), claim);
        }
    }
}
