//! The rules that pods of governed namespaces are held to. The webhook and the scan ask [`violations`]; the manifests for an API server without
//! the webhook say the same in CEL (`deploy/admission`), in the same order and with [`Rule::message`]. One table of pods holds all of them to it
//! (`e2e/admission/pods.json`).

use std::collections::BTreeSet;

use serde_json::Value;

use super::workloads::Workload;

/// The ServiceAccount of whoever names none, which all these share.
const SHARED: &str = "default";
/// Where images stand in a pod's spec: the lists, and where in each of their items. A volume without an image has none.
const IMAGES: [(&str, &str); 4] = [
    ("containers", "/image"),
    ("initContainers", "/image"),
    ("ephemeralContainers", "/image"),
    ("volumes", "/image/reference"),
];
/// Hex characters of a sha256.
const HEX: usize = 64;

/// What is looked at of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name, or how it begins where the API server is to complete it; empty where there is neither.
    pub name: String,
    /// As whom it runs.
    pub service_account: String,
    /// The RuntimeClass, where it names one.
    pub runtime_class: Option<String>,
    /// Of all its containers, and those that are mounted as volumes.
    pub images: BTreeSet<String>,
}

/// It is no pod as the API of Kubernetes has them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is not {expected}")]
pub struct NoPod {
    /// What cannot be read.
    pub field: &'static str,
    /// What should be there.
    pub expected: &'static str,
}

impl Pod {
    /// Reads one as the API server, or `kubectl get -o json`, has it. `namespace` is where it is asked to be, where it does not say.
    ///
    /// # Errors
    /// What of it cannot be read.
    pub fn read(pod: &Value, namespace: &str) -> Result<Self, NoPod> {
        let spec = pod
            .get("spec")
            .filter(|spec| spec.is_object())
            .ok_or(NoPod { field: "spec", expected: "an object" })?;
        let named = [
            text(pod, "/metadata/name", "metadata.name")?,
            text(pod, "/metadata/generateName", "metadata.generateName")?,
        ];
        let accounts = [
            text(spec, "/serviceAccountName", "spec.serviceAccountName")?,
            text(spec, "/serviceAccount", "spec.serviceAccount")?,
        ];
        let first =
            |all: [Option<&str>; 2]| all.into_iter().flatten().find(|one| !one.is_empty()).map(str::to_owned);
        let own = text(pod, "/metadata/namespace", "metadata.namespace")?.filter(|own| !own.is_empty());
        let mut images = BTreeSet::new();
        for (of, at) in IMAGES {
            let items = match spec.get(of) {
                None | Some(Value::Null) => continue,
                Some(Value::Array(items)) => items,
                Some(_) => return Err(NoPod { field: of, expected: "a list" }),
            };
            for item in items {
                let is_other = of == "volumes" && item.get("image").is_none_or(Value::is_null);
                if !is_other {
                    let image = text(item, at, "an image")?;
                    images.insert(image.unwrap_or_default().to_owned());
                }
            }
        }
        Ok(Self {
            namespace: own.unwrap_or(namespace).to_owned(),
            name: first(named).unwrap_or_default(),
            service_account: first(accounts).unwrap_or_else(|| SHARED.to_owned()),
            runtime_class: text(spec, "/runtimeClassName", "spec.runtimeClassName")?
                .filter(|class| !class.is_empty())
                .map(str::to_owned),
            images,
        })
    }
}

/// Where the template stands of the pods that an object of this kind makes, in the object; `None` of a kind that makes none.
pub fn template_of(group: &str, kind: &str) -> Option<&'static str> {
    match (group, kind) {
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") | ("batch", "Job") => {
            Some("/spec/template")
        }
        ("batch", "CronJob") => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

fn text<'v>(of: &'v Value, pointer: &str, field: &'static str) -> Result<Option<&'v str>, NoPod> {
    match of.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(NoPod { field, expected: "text" }),
    }
}

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// It runs as a ServiceAccount of its own.
    OwnServiceAccount,
    /// A record claims that.
    Registered,
    /// The record is in force, by itself and in all.
    Approved,
    /// It runs in the sandbox that its record says.
    Sandbox,
    /// Its images are named by digest, where its record asks for that.
    ImageDigest,
}

impl Rule {
    /// All of them, in the order in which they are looked at.
    pub const ALL: [Self; 5] =
        [Self::OwnServiceAccount, Self::Registered, Self::Approved, Self::Sandbox, Self::ImageDigest];

    /// Its stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::OwnServiceAccount => "pod_service_account",
            Self::Registered => "pod_not_registered",
            Self::Approved => "pod_not_approved",
            Self::Sandbox => "pod_sandbox",
            Self::ImageDigest => "pod_image",
        }
    }

    /// What is wrong with a pod that breaks it.
    pub const fn wrong(self) -> &'static str {
        match self {
            Self::OwnServiceAccount => {
                "the pod runs as the ServiceAccount 'default', which is that of every pod that names none"
            }
            Self::Registered => "no Agent or ServiceIdentity claims the ServiceAccount of the pod",
            Self::Approved => "what claims the ServiceAccount of the pod is not approved",
            Self::Sandbox => "the pod does not run in the sandbox of its record",
            Self::ImageDigest => "an image of the pod is not named by its digest, which its record asks for",
        }
    }

    /// What to do about it.
    pub const fn fix(self) -> &'static str {
        match self {
            Self::OwnServiceAccount => "give it a ServiceAccount of its own (spec.serviceAccountName)",
            Self::Registered => {
                "register it: an Agent or ServiceIdentity with identities: [{serviceAccount: {name: …}}]"
            }
            Self::Approved => {
                "see why in the status of its record (kubectl get agents,serviceidentities -o wide), and have that mended"
            }
            Self::Sandbox => "set spec.runtimeClassName to the spec.sandboxClass of its record",
            Self::ImageDigest => "write each image as NAME@sha256:DIGEST",
        }
    }

    /// Code, what is wrong and what to do, as everybody says it.
    pub fn message(self) -> String {
        format!("{}: {}; {}", self.code(), self.wrong(), self.fix())
    }
}

/// What is said of a ServiceAccount to who asks in CEL: `approved` or `held`, `sandbox=NAME` and `digest` where its record asks for these.
pub fn word(workload: &Workload) -> String {
    let mut word = if workload.held.is_none() { "approved".to_owned() } else { "held".to_owned() };
    if let Some(class) = &workload.sandbox {
        word.push_str(" sandbox=");
        word.push_str(class);
    }
    if workload.digest {
        word.push_str(" digest");
    }
    word
}

/// A rule that a pod breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// Of what: the ServiceAccount, the image.
    pub of: String,
}

impl Violation {
    /// Code, what is wrong, of what, and what to do.
    pub fn message(&self) -> String {
        format!("{}: {} ({}); {}", self.rule.code(), self.rule.wrong(), self.of, self.rule.fix())
    }
}

/// The rules that a pod breaks, in their order. `workload` is what is said of its ServiceAccount; `before` what it was, where it is changed:
/// then only images that it did not have are asked about, since nothing else of these rules can be changed, and whatever runs already must
/// be able to end.
pub fn violations(pod: &Pod, workload: Option<&Workload>, before: Option<&Pod>) -> Vec<Violation> {
    let account = format!("ServiceAccount {}/{}", pod.namespace, pod.service_account);
    let violation = |rule, of: &str| Violation { rule, of: of.to_owned() };
    if pod.service_account == SHARED {
        let broken = before.is_none().then(|| violation(Rule::OwnServiceAccount, &account));
        return broken.into_iter().collect();
    }
    let Some(workload) = workload else {
        return before.is_none().then(|| violation(Rule::Registered, &account)).into_iter().collect();
    };
    let mut broken = Vec::new();
    if before.is_none() {
        if let Some(why) = workload.held {
            broken.push(violation(Rule::Approved, &format!("{account}: {why}")));
        }
        if let Some(class) = &workload.sandbox
            && pod.runtime_class.as_deref() != Some(&**class)
        {
            broken.push(violation(Rule::Sandbox, &format!("its record says {class}")));
        }
    }
    let had = |image: &String| before.is_some_and(|before| before.images.contains(image));
    let unnamed = pod.images.iter().find(|image| workload.digest && !is_by_digest(image) && !had(image));
    broken.extend(unnamed.map(|image| violation(Rule::ImageDigest, image)));
    broken
}

fn is_by_digest(image: &str) -> bool {
    let digest = image.rsplit_once("@sha256:").map(|(_, digest)| digest.as_bytes());
    digest
        .is_some_and(|hex| hex.len() == HEX && hex.iter().all(|one| matches!(one, b'0'..=b'9' | b'a'..=b'f')))
}
