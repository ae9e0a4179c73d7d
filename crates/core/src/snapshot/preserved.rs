//! A configuration in the form in which it is kept beside the records that it decided: the texts of its objects, and what of it stands in
//! none of them. A snapshot that is made of that decides as the one that was kept, and has its digest.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::digest::Parts;
use super::memory::{Forgotten, Remembered};
use super::refusing::Refusing;
use super::withdrawn::Withdrawn;
use super::{GRANT_ID, Overlay, Places, QUARANTINE_ID, Snapshot};
use crate::resource::{API_VERSION, Kind, Object, ObjectKey, ObjectRef, Policy};

/// The form of what stands in no object; another one is not understood.
const VERSION: u32 = 1;

/// A configuration, to be written down.
#[derive(Clone, Debug)]
pub struct Preserved<'a> {
    /// What is in force.
    pub objects: Vec<PreservedObject<'a>>,
    /// What of it stands in no object.
    pub beside: Beside,
}

/// An object of a configuration, to be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreservedObject<'a> {
    /// Its document, as JSON.
    pub text: Cow<'a, str>,
    /// An agent or a service in quarantine, whatever its document says.
    pub quarantined: bool,
}

/// What of a configuration stands in no object that is in force: most have nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Beside {
    version: u32,
    /// What refuses although it is not in force.
    refusing: Vec<Remembered>,
    /// Policies, by `namespace/name`, of which only these permits stand.
    withdrawn: BTreeMap<String, BTreeSet<String>>,
    closed: bool,
    /// What stands by acts; the objects say themselves who is in quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    standing: Option<Standing>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Standing {
    key: String,
    /// Cedar, by the ids of the policies.
    policies: BTreeMap<String, String>,
}

impl Default for Beside {
    fn default() -> Self {
        Self {
            version: VERSION,
            refusing: Vec::new(),
            withdrawn: BTreeMap::new(),
            closed: false,
            standing: None,
        }
    }
}

impl Beside {
    /// What its part of the digest of a configuration is of; the objects in force are not in it.
    ///
    /// # Errors
    /// When it is not as it was written, or of another form.
    pub fn parts(&self) -> Result<Parts, Forgotten> {
        if self.version != VERSION {
            return Err(Forgotten::Version(self.version));
        }
        Ok(Parts {
            objects: Vec::new(),
            refusing: self.refusing.iter().map(Remembered::digest).collect::<Result<_, _>>()?,
            withdrawn: self.withdrawn.clone(),
            closed: self.closed,
            standing: self.standing.as_ref().map(|standing| standing.key.clone()),
        })
    }

    /// Whether each policy that stood by acts is of something that its key names. What stood is proven by the key; of the words of its policies
    /// nothing is.
    pub fn names_what_stood(&self) -> bool {
        let Some(Standing { key, policies }) = &self.standing else { return true };
        let lines = format!("\n{key}");
        policies.keys().all(|id| match id.split_once('#') {
            Some((GRANT_ID, of)) => {
                let grant = of.split_once('~').map_or(of, |(grant, _)| grant);
                lines.contains(&format!("\ngrant {grant} "))
            }
            Some((QUARANTINE_ID, of)) => {
                let names = |subject: &str| lines.contains(&format!("\nquarantine {subject}\n"));
                names(of) || of.strip_prefix("operator/").is_some_and(|user| names(&format!("User/{user}")))
            }
            _ => false,
        })
    }

    /// What stood by acts. Whom it quarantined is so by the objects.
    ///
    /// # Errors
    /// When it is not as it was written.
    pub fn standing(&self) -> Result<Overlay, Forgotten> {
        let Some(Standing { key, policies }) = &self.standing else { return Ok(Overlay::default()) };
        let malformed = |reason| Forgotten::Malformed { object: "what stands by acts".to_owned(), reason };
        Overlay::restored(key, policies).map_err(malformed)
    }
}

/// An object was not read from a document, so nobody else can read it either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not of a document")]
pub struct NotPreserved(pub ObjectRef);

impl Snapshot {
    /// What it takes to decide by it again.
    ///
    /// # Errors
    /// See [`NotPreserved`].
    pub fn preserved(&self) -> Result<Preserved<'_>, NotPreserved> {
        let text = |object| text(object).ok_or_else(|| NotPreserved(object.reference()));
        let objects = self
            .objects
            .iter()
            .map(|object| Ok(PreservedObject { text: text(object)?, quarantined: object.is_quarantined() }));
        // As they count in the digest, and as they refuse: what is being written claims nothing.
        let coming = self.coming.iter().filter(|(object, made)| made.forbids() || object.is_quarantined());
        let coming = coming
            .map(|(object, made)| Remembered::of(&Refusing::of(object, made, false)).without_identities());
        let refusing = self.refusing.iter().map(Remembered::of);
        let beside = Beside {
            version: VERSION,
            refusing: refusing.chain(coming).collect(),
            withdrawn: self.withdrawn.policies().map(|(name, left)| (name, left.clone())).collect(),
            closed: self.closed,
            standing: (!self.standing.is_empty())
                .then(|| Standing { key: self.standing.key().to_owned(), policies: self.standing.texts() }),
        };
        Ok(Preserved { objects: objects.collect::<Result<_, _>>()?, beside })
    }

    /// The configuration that was preserved as these objects and this beside them. What `self` has of the same objects is shared.
    ///
    /// Whether it is the same one its digest says: another version of Vidimus may read the same texts otherwise.
    ///
    /// # Errors
    /// When something is not as it was written.
    pub fn restored(&self, objects: Vec<Object>, beside: &Beside) -> Result<Self, Forgotten> {
        if beside.version != VERSION {
            return Err(Forgotten::Version(beside.version));
        }
        let malformed =
            |object: ObjectRef, reason: String| Forgotten::Malformed { object: object.to_string(), reason };
        let mut made = Vec::with_capacity(objects.len());
        let mut places = Places::default();
        for (object, one) in objects.iter().zip(self.make(&objects)) {
            let one = one.map_err(|fault| malformed(object.reference(), fault.reason))?;
            made.push(one.clone());
            if places.insert(ObjectKey::of(object), (object.clone(), one)).is_some() {
                return Err(malformed(object.reference(), "it is there twice".to_owned()));
            }
        }
        let refusing = Remembered::all_refusing(&beside.refusing.iter().collect::<Vec<_>>())?;
        let withdrawn = Withdrawn::restored(&beside.withdrawn);
        let (standing, closed) = (Arc::new(beside.standing()?), beside.closed);
        let mut next =
            Self { objects, made, places, refusing, withdrawn, standing, closed, ..Self::default() };
        next.beside = next.forbids_beside();
        // What may not be borne was said when the configuration was made.
        let mut faults = Vec::new();
        next.fill(self, None, &mut faults, &mut Vec::new());
        if let Some(fault) = faults.into_iter().next() {
            return Err(Forgotten::Malformed { object: fault.object.to_string(), reason: fault.reason });
        }
        Ok(next)
    }
}

impl Object {
    /// Whether it is in quarantine, by itself or by an act that stands.
    pub fn is_quarantined(&self) -> bool {
        match self {
            Self::Agent(agent) => agent.quarantined,
            Self::Service(service) => service.quarantined,
            Self::McpServer(_) | Self::LlmProvider(_) | Self::Policy(_) => false,
        }
    }

    /// The same, in quarantine if it can be.
    #[must_use]
    pub fn quarantined(mut self) -> Self {
        match &mut self {
            Self::Agent(agent) => Arc::make_mut(agent).quarantined = true,
            Self::Service(service) => Arc::make_mut(service).quarantined = true,
            Self::McpServer(_) | Self::LlmProvider(_) | Self::Policy(_) => {}
        }
        self
    }
}

/// The document of an object; `None` where it was made otherwise, and cannot be written as one.
pub(super) fn text(object: &Object) -> Option<Cow<'_, str>> {
    match (&*object.meta().document, object) {
        // Of one with a window, a plan, limits or guards, which none has that is not read, it would not be all.
        ("", Object::Policy(policy))
            if policy.window.is_none()
                && policy.plan.is_none()
                && policy.limits.is_empty()
                && policy.guards.is_empty() =>
        {
            Some(Cow::Owned(of_policy(policy)))
        }
        ("", _) => None,
        (text, _) => Some(Cow::Borrowed(text)),
    }
}

/// The document of a policy that was made of something else than one.
fn of_policy(policy: &Policy) -> String {
    let mut document = json!({
        "apiVersion": API_VERSION,
        "kind": Kind::Policy.as_str(),
        "metadata": {"namespace": &*policy.meta.namespace, "name": &*policy.meta.name, "labels": policy.meta.labels},
        "spec": {
            "description": &*policy.description,
            "mode": policy.mode,
            "replaces": policy.replaces,
            "scope": policy.scope,
            "members": policy.members.listed(),
            "cedar": &*policy.cedar,
        },
    });
    document.sort_all_objects();
    document.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack: evidence with a policy among what stood that no act made.
    #[test]
    fn what_stood_has_no_policy_that_its_key_does_not_name() {
        let key = "quarantine Identity/oidc:a#b\nquarantine User/i#ada\ngrant 01a2 9 {}\n";
        for (id, is_named) in [
            ("vidimus/grant#01a2", true),
            ("vidimus/grant#01a2~2", true),
            ("vidimus/quarantine#Identity/oidc:a#b", true),
            ("vidimus/quarantine#User/i#ada", true),
            ("vidimus/quarantine#operator/i#ada", true),
            ("vidimus/grant#01a3", false),
            ("vidimus/grant#01", false),
            ("vidimus/grant#", false),
            ("vidimus/grant", false),
            ("vidimus/quarantine#User/i#ad", false),
            ("vidimus/quarantine#operator/i#eve", false),
            ("vidimus/quarantine", false),
            ("finance/p#0", false),
        ] {
            let standing = json!({"key": key, "policies": {id: "permit (principal, action, resource);"}});
            let beside =
                json!({"version": 1, "refusing": [], "withdrawn": {}, "closed": false, "standing": standing});
            let beside: Beside = serde_json::from_value(beside).expect("of the form");
            assert_eq!(beside.names_what_stood(), is_named, "{id}");
        }
        assert!(Beside::default().names_what_stood());
    }
}
