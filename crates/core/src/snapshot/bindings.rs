//! Which principal an identity is bound to: exactly one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::resource::{Identity, Principal};

type Bound = HashMap<Arc<str>, Principal, RandomState>;

#[derive(Debug, Default)]
pub(crate) struct Bindings {
    spiffe: Bound,
    /// Issuer → subject.
    oidc: HashMap<Arc<str>, Bound, RandomState>,
    /// Namespace → name.
    service_accounts: HashMap<Arc<str>, Bound, RandomState>,
    issuers: BTreeSet<Arc<str>>,
}

/// An identity that belongs to another principal already.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    /// Place in `spec.identities`.
    pub(crate) place: usize,
    pub(crate) identity: Identity,
    pub(crate) by: Principal,
}

impl Bindings {
    /// Binds all identities of `principal`, or none.
    pub(crate) fn bind(&mut self, principal: &Principal) -> Result<(), Taken> {
        for (place, identity) in principal.identities().iter().enumerate() {
            if let Some(by) = self.find(identity).filter(|by| by.entity() != principal.entity()) {
                return Err(Taken { place, identity: identity.clone(), by: by.clone() });
            }
        }
        for identity in principal.identities() {
            let (bound, name) = match identity {
                Identity::Spiffe(id) => (&mut self.spiffe, id),
                Identity::Oidc { issuer, subject, .. } => {
                    self.issuers.insert(issuer.clone());
                    (self.oidc.entry(issuer.clone()).or_default(), subject)
                }
                Identity::ServiceAccount { namespace, name } => {
                    (self.service_accounts.entry(namespace.clone()).or_default(), name)
                }
            };
            bound.insert(name.clone(), principal.clone());
        }
        self.issuers.extend(principal.acts_for().iter().map(|acts_for| acts_for.issuer.clone()));
        Ok(())
    }

    fn find(&self, identity: &Identity) -> Option<&Principal> {
        match identity {
            Identity::Spiffe(id) => self.by_spiffe(id),
            Identity::Oidc { issuer, subject, .. } => self.by_oidc(issuer, subject),
            Identity::ServiceAccount { namespace, name } => self.by_service_account(namespace, name),
        }
    }

    pub(crate) fn by_spiffe(&self, id: &str) -> Option<&Principal> {
        self.spiffe.get(id)
    }

    pub(crate) fn by_oidc(&self, issuer: &str, subject: &str) -> Option<&Principal> {
        self.oidc.get(issuer)?.get(subject)
    }

    pub(crate) fn by_service_account(&self, namespace: &str, name: &str) -> Option<&Principal> {
        self.service_accounts.get(namespace)?.get(name)
    }

    pub(crate) fn issuers(&self) -> impl Iterator<Item = &str> {
        self.issuers.iter().map(|issuer| &**issuer)
    }
}
