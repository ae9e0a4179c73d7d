//! What a snapshot refuses, as it is kept over restarts: enough to hold it when something cannot be read at the next start. Nothing of
//! it ever permits: it is only what [`Snapshot::next`] compares with.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde::ser::{SerializeStruct as _, Serializer};
use serde::{Deserialize, Serialize};

use super::Snapshot;
use super::audience::Holders;
use super::compile::{self, Compiled};
use super::digest::Digest;
use super::doubt::claimed_by_several;
use super::refusing::Refusing;
use crate::resource::identity::{IdentitySpec, OidcSpec, ServiceAccountSpec};
use crate::resource::policy::{Mode, Scope};
use crate::resource::{Identity, Kind, Limit, Meta, Names, Object, ObjectRef, Origin, OwnGuard, Policy};

/// An object by kind, namespace and name, its place, and its digest in hex.
type Name = ((String, Arc<str>, Arc<str>), Place, String);

/// The form of what is kept; another one is not understood.
const VERSION: u32 = 2;

/// What a snapshot refuses, to be written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Memory {
    version: u32,
    objects: Vec<Remembered>,
    /// Whether a policy permitted people something.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    administered: bool,
}

/// Why what was kept cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forgotten {
    /// It was written by another version of Vidimus.
    #[error("it is of version {0}, which this program does not know")]
    Version(u32),
    /// It was damaged, or changed by hand.
    #[error("{object} in it is malformed: {reason}")]
    Malformed {
        /// `Kind namespace/name`.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Remembered {
    kind: String,
    namespace: Arc<str>,
    name: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    generation: Option<i64>,
    place: Place,
    /// In hex.
    digest: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    contested: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    quarantined: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<RememberedPolicy>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    identities: Vec<IdentitySpec>,
    /// What its namespace has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    audience: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RememberedPolicy {
    scope: Scope,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    members: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    limits: Vec<Arc<Limit>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    guards: Vec<Arc<OwnGuard>>,
    cedar: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Place {
    File(String),
    Cluster { cluster: Arc<str>, uid: Option<Arc<str>> },
}

/// As the [`Memory`] of it is.
struct Written<'s>(&'s Snapshot);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Objects<'s>(&'s Snapshot);
        impl Serialize for Objects<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(self.0.remembered())
            }
        }
        let Self(snapshot) = self;
        let mut memory = serializer.serialize_struct("Memory", 2 + usize::from(snapshot.administered))?;
        memory.serialize_field("version", &VERSION)?;
        memory.serialize_field("objects", &Objects(snapshot))?;
        if snapshot.administered {
            memory.serialize_field("administered", &true)?;
        }
        memory.end()
    }
}

impl Snapshot {
    /// What it refuses, to be kept over a restart.
    pub fn memory(&self) -> Memory {
        Memory { version: VERSION, objects: self.remembered().collect(), administered: self.administered }
    }

    /// The same, made as it is written: it is of all names that there are.
    pub fn written_memory(&self) -> impl Serialize + '_ {
        Written(self)
    }

    fn remembered(&self) -> impl Iterator<Item = Remembered> + '_ {
        // All objects: each claims its name.
        let in_force = self.objects.iter().zip(&self.made);
        let in_force = in_force.map(|(object, made)| Remembered::of(&Refusing::of(object, made, false)));
        let beside = self.refusing.iter().map(Remembered::of);
        let coming =
            self.coming.iter().map(|(object, made)| Remembered::of(&Refusing::of(object, made, false)));
        in_force.chain(beside).chain(coming)
    }

    /// This snapshot, as one to build the next on that was refused what `memory` says too: the first one after a restart is built
    /// once to see what is there, and a second time on this, where something is not there any more as it was. `None` where
    /// everything is.
    ///
    /// It is for [`Snapshot::next`] only, and decides nothing itself.
    ///
    /// # Errors
    /// When something of `memory` is not as it was written.
    pub fn remembering(&self, memory: &Memory) -> Result<Option<Self>, Forgotten> {
        if memory.version != VERSION {
            return Err(Forgotten::Version(memory.version));
        }
        let missing = self.missing(memory);
        let audiences_before = memory.audiences();
        let is_known = self.administered || !memory.administered;
        if missing.is_empty() && is_known && self.has_holders(&audiences_before) {
            return Ok(None);
        }
        let contested_before = memory.contested()?;
        let mut refusing = self.refusing.clone();
        refusing.extend(Remembered::all_refusing(&missing)?);
        Ok(Some(Self {
            refusing,
            contested_before: Some(contested_before),
            audiences_before,
            administered: memory.administered,
            // The next one takes over what it has too.
            ..self.with_objects_alone()
        }))
    }

    /// What was remembered and is not here as it was, at its place.
    fn missing<'a>(&self, memory: &'a Memory) -> Vec<&'a Remembered> {
        let in_force = self.objects.iter().zip(&self.made);
        let in_force =
            in_force.map(|(object, made)| (object.reference(), &object.meta().origin, made.of_record()));
        let beside = self.refusing.iter().map(|one| (one.object.clone(), &one.origin, one.digest));
        let mut here: HashMap<Name, usize> = HashMap::with_capacity(self.objects.len());
        for (object, origin, digest) in in_force.chain(beside) {
            let name = (object.kind.as_str().to_owned(), object.namespace, object.name);
            *here.entry((name, Place::of(origin), HEXLOWER.encode(&digest))).or_default() += 1;
        }
        let is_missing = |one: &&Remembered| {
            let name = (one.kind.clone(), one.namespace.clone(), one.name.clone());
            match here.get_mut(&(name, one.place.clone(), one.digest.clone())) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    false
                }
                _ => true,
            }
        };
        memory.objects.iter().filter(is_missing).collect()
    }
}

impl Memory {
    /// The same, with the path of each file in the words of `path`.
    #[must_use]
    pub fn with_paths(mut self, path: impl Fn(&Path) -> PathBuf) -> Self {
        for one in &mut self.objects {
            if let Place::File(file) = &mut one.place {
                *file = path(Path::new(file)).to_string_lossy().into_owned();
            }
        }
        self
    }

    /// Those of `objects` whose names were still there: what was kept a little earlier may have been deleted since.
    #[must_use]
    pub fn still_there(&self, mut objects: Vec<Object>) -> Vec<Object> {
        let there: HashSet<(&str, &str, &str)> =
            self.objects.iter().map(|one| (&*one.kind, &*one.namespace, &*one.name)).collect();
        objects.retain(|object| {
            let meta = object.meta();
            there.contains(&(object.kind().as_str(), &*meta.namespace, &*meta.name))
        });
        objects
    }

    /// Which namespaces had which audiences.
    fn audiences(&self) -> Holders {
        let all = self.objects.iter();
        all.filter_map(|one| Some((one.audience.clone()?, one.namespace.clone()))).collect()
    }

    /// The identities that several objects claimed.
    fn contested(&self) -> Result<Vec<Identity>, Forgotten> {
        let identities: Result<Vec<Vec<Identity>>, _> =
            self.objects.iter().map(Remembered::identities).collect();
        let identities = identities?;
        let names = self.objects.iter().map(|one| (&one.kind, &one.namespace, &one.name));
        let claims = names.zip(identities.iter().map(Vec::as_slice));
        Ok(claimed_by_several(claims).into_iter().cloned().collect())
    }
}

impl Remembered {
    fn identities(&self) -> Result<Vec<Identity>, Forgotten> {
        let identities: Option<Vec<Identity>> = self.identities.iter().map(identity).collect();
        identities.ok_or_else(|| self.malformed("not an identity"))
    }

    /// What these refuse, compiled.
    pub(super) fn all_refusing(all: &[&Self]) -> Result<Vec<Refusing>, Forgotten> {
        let policies: Vec<Option<Arc<Policy>>> = all.iter().map(|one| one.policy()).collect();
        let texts: Vec<_> = policies.iter().flatten().map(|policy| (policy, None)).collect();
        let mut compiled = compile::compile_all(&texts).into_iter();
        let mut refusing = Vec::with_capacity(all.len());
        for (one, policy) in all.iter().zip(&policies) {
            let compiled = match policy {
                Some(policy) => {
                    let compiled = compiled.next().ok_or_else(|| one.malformed("it was not compiled"))?;
                    let compiled = compiled.map_err(|problem| one.malformed(&problem.to_string()))?;
                    Some((policy.clone(), Arc::new(compiled)))
                }
                None => None,
            };
            refusing.push(one.refusing(compiled)?);
        }
        Ok(refusing)
    }

    /// The same, claiming no identity.
    pub(super) fn without_identities(self) -> Self {
        Self { identities: Vec::new(), ..self }
    }

    pub(super) fn of(refusing: &Refusing) -> Self {
        let ObjectRef { kind, namespace, name, generation } = &refusing.object;
        // A policy that only permits has nothing to hold but its name.
        let forbidding = refusing.policy.as_ref().filter(|(_, compiled)| compiled.has_forbids());
        let policy = |(policy, _): &(Arc<Policy>, Arc<Compiled>)| RememberedPolicy {
            scope: policy.scope,
            members: policy.members.listed(),
            limits: policy.limits.to_vec(),
            guards: policy.guards.to_vec(),
            cedar: policy.cedar.clone(),
        };
        Self {
            kind: kind.as_str().to_owned(),
            namespace: namespace.clone(),
            name: name.clone(),
            place: Place::of(&refusing.origin),
            digest: HEXLOWER.encode(&refusing.digest),
            contested: refusing.contested,
            quarantined: refusing.quarantined,
            generation: *generation,
            policy: forbidding.map(policy),
            identities: refusing.identities.iter().map(identity_spec).collect(),
            audience: refusing.audience.clone(),
        }
    }

    fn policy(&self) -> Option<Arc<Policy>> {
        let RememberedPolicy { scope, members, limits, guards, cedar } = self.policy.clone()?;
        let members = members.iter().map(String::as_str).collect();
        let (namespace, name) = (self.namespace.clone(), self.name.clone());
        let meta = Meta { namespace, name, origin: self.place.origin(), ..Meta::default() };
        Some(Arc::new(Policy {
            meta,
            description: "".into(),
            mode: Mode::Enforce,
            replaces: Names::new(),
            scope,
            members,
            window: None,
            plan: None,
            limits: limits.into(),
            guards: guards.into(),
            cedar,
        }))
    }

    fn refusing(&self, policy: Option<(Arc<Policy>, Arc<Compiled>)>) -> Result<Refusing, Forgotten> {
        let kind = Kind::of(&self.kind).ok_or_else(|| self.malformed("unknown kind"))?;
        Ok(Refusing {
            object: ObjectRef {
                kind,
                namespace: self.namespace.clone(),
                name: self.name.clone(),
                generation: self.generation,
            },
            origin: self.place.origin(),
            digest: self.digest()?,
            policy,
            identities: self.identities()?,
            audience: self.audience.clone(),
            contested: self.contested,
            quarantined: self.quarantined,
        })
    }

    /// That of the object.
    pub(super) fn digest(&self) -> Result<Digest, Forgotten> {
        digest(&self.digest).ok_or_else(|| self.malformed("not a digest"))
    }

    fn malformed(&self, reason: &str) -> Forgotten {
        let object = format!("{} {}/{}", self.kind, self.namespace, self.name);
        Forgotten::Malformed { object, reason: reason.to_owned() }
    }
}

impl Place {
    fn of(origin: &Origin) -> Self {
        match origin {
            Origin::File { path, .. } => Self::File(path.to_string_lossy().into_owned()),
            Origin::Cluster { cluster, uid, .. } => {
                Self::Cluster { cluster: cluster.clone(), uid: uid.clone() }
            }
        }
    }

    fn origin(&self) -> Origin {
        match self {
            Self::File(path) => Origin::file(Path::new(path), 0),
            Self::Cluster { cluster, uid } => {
                Origin::Cluster { cluster: cluster.clone(), uid: uid.clone(), resource_version: None }
            }
        }
    }
}

fn identity_spec(identity: &Identity) -> IdentitySpec {
    match identity {
        Identity::Spiffe(id) => IdentitySpec { spiffe: Some(id.to_string()), ..IdentitySpec::default() },
        Identity::Oidc { issuer, subject, claims } => {
            let oidc =
                OidcSpec { issuer: issuer.to_string(), subject: subject.to_string(), claims: claims.clone() };
            IdentitySpec { oidc: Some(oidc), ..IdentitySpec::default() }
        }
        Identity::ServiceAccount { namespace, name } => {
            let account =
                ServiceAccountSpec { name: name.to_string(), namespace: Some(namespace.to_string()) };
            IdentitySpec { service_account: Some(account), ..IdentitySpec::default() }
        }
    }
}

/// It was checked when it was read from its object; what it claims is only refused.
fn identity(spec: &IdentitySpec) -> Option<Identity> {
    let text = |text: &String| Arc::from(text.as_str());
    match spec {
        IdentitySpec { spiffe: Some(id), .. } => Some(Identity::Spiffe(text(id))),
        IdentitySpec { oidc: Some(oidc), .. } => Some(Identity::Oidc {
            issuer: text(&oidc.issuer),
            subject: text(&oidc.subject),
            claims: oidc.claims.clone(),
        }),
        IdentitySpec { service_account: Some(account), .. } => Some(Identity::ServiceAccount {
            namespace: text(account.namespace.as_ref()?),
            name: text(&account.name),
        }),
        _ => None,
    }
}

fn digest(hex: &str) -> Option<Digest> {
    HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok()
}
