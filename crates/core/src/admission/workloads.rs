//! Which records claim which ServiceAccounts, and what they ask of the pods that run as these.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::resource::field::name::{check_namespace, check_object_name};
use crate::resource::{Identity, Meta, Object, ObjectRef};
use crate::snapshot::Snapshot;

/// The label of a record whose pods have to name their images by digest; its value is [`DIGEST`].
pub const IMAGES_LABEL: &str = "vidimus.dev/images";
/// See [`IMAGES_LABEL`].
pub const DIGEST: &str = "digest";

/// A ServiceAccount: its namespace, and its name.
pub type ServiceAccount = (Arc<str>, Arc<str>);

/// What the records in force say of the ServiceAccounts that they claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workloads(BTreeMap<ServiceAccount, Workload>);

/// A ServiceAccount that some record claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The records that claim it; of several none is approved.
    pub records: Vec<ObjectRef>,
    /// Why it is not approved, where it is not.
    pub held: Option<&'static str>,
    /// The RuntimeClass that its pods run with, by `spec.sandboxClass` of the record.
    pub sandbox: Option<Arc<str>>,
    /// Whether its pods name their images by digest.
    pub digest: bool,
}

impl Workloads {
    /// Of the records in force. A record claims a ServiceAccount by its name, or by a SPIFFE ID that ends in `/ns/NAMESPACE/sa/NAME`, as
    /// SPIRE's controller gives them.
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut all: BTreeMap<ServiceAccount, Workload> = BTreeMap::new();
        for object in snapshot.objects() {
            let (identities, quarantined, sandbox) = match object {
                Object::Agent(agent) => (&agent.identities, agent.quarantined, agent.sandbox_class.clone()),
                Object::Service(service) => (&service.identities, service.quarantined, None),
                Object::McpServer(_) | Object::LlmProvider(_) | Object::Policy(_) => continue,
            };
            let meta = object.meta();
            let workload = Workload {
                records: vec![object.reference()],
                held: held(snapshot, meta, identities, quarantined),
                sandbox,
                digest: meta.labels.get(IMAGES_LABEL).is_some_and(|value| value == DIGEST),
            };
            // One record may claim it in both ways.
            let claimed: BTreeSet<ServiceAccount> = identities.iter().filter_map(service_account).collect();
            for account in claimed {
                match all.get_mut(&account) {
                    None => drop(all.insert(account, workload.clone())),
                    Some(known) => known.claimed_too(&workload),
                }
            }
        }
        Self(all)
    }

    /// The record's word on a ServiceAccount; `None` where no record claims it.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Workload> {
        let account: ServiceAccount = (namespace.into(), name.into());
        self.0.get(&account)
    }

    /// All of them, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = (&ServiceAccount, &Workload)> {
        self.0.iter()
    }
}

impl Workload {
    fn claimed_too(&mut self, other: &Self) {
        self.records.extend(other.records.iter().cloned());
        self.held = Some("several records claim this ServiceAccount, so it proves none of them");
        self.digest |= other.digest;
        self.sandbox = self.sandbox.take().or_else(|| other.sandbox.clone());
    }
}

/// Why the pods of a record are not approved. That somebody was permitted to register it was asked when it was: what is in force was let in.
fn held(
    snapshot: &Snapshot,
    meta: &Meta,
    identities: &[Identity],
    quarantined: bool,
) -> Option<&'static str> {
    if quarantined {
        return Some("its record is quarantined");
    }
    if meta.not_borne.has_any() {
        return Some("its record bears a name that its namespace may not bear");
    }
    let contested = identities.iter().any(|identity| match identity {
        Identity::Spiffe(id) => !snapshot.claims_on_spiffe(id).is_empty(),
        Identity::ServiceAccount { namespace, name } => {
            !snapshot.claims_on_service_account(namespace, name).is_empty()
        }
        Identity::Oidc { .. } => false,
    });
    contested.then_some("another object claims its identity, so it proves nobody")
}

/// The ServiceAccount that an identity is of.
pub fn service_account(identity: &Identity) -> Option<ServiceAccount> {
    match identity {
        Identity::ServiceAccount { namespace, name } => Some((namespace.clone(), name.clone())),
        Identity::Spiffe(id) => {
            let (_, path) = id.strip_prefix("spiffe://")?.split_once('/')?;
            let (before, name) = path.rsplit_once("/sa/")?;
            let below = before.rsplit_once("/ns/").map(|(_, namespace)| namespace);
            let namespace = below.or_else(|| before.strip_prefix("ns/"))?;
            // What no ServiceAccount can be called is none: `a.b` and `c` would be told like `a` and `b.c`.
            let is_one = check_namespace(namespace).is_ok() && check_object_name(name).is_ok();
            is_one.then(|| (namespace.into(), name.into()))
        }
        Identity::Oidc { .. } => None,
    }
}
