//! What the API server of a cluster asks before it takes an object (`admission.k8s.io/v1`), and what is said of pods that are there already
//! (ADR 60, docs/admission.md). Nothing here reads a socket or writes a record: who serves it does.

mod manifests;
mod records;
mod scan;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use vidimus_core::act::Registration;
use vidimus_core::admission::Enforcement;
use vidimus_core::admission::pod::{Pod, Violation, template_of, violations};
use vidimus_core::admission::workloads::Workloads;
use vidimus_core::caller::{UnixMillis, User};
use vidimus_core::person::Person;
use vidimus_core::refusal::Refusal;
use vidimus_core::snapshot::Snapshot;

pub use manifests::{At, Form, registrations, webhook};
pub use records::record;
pub use scan::{Scanned, Unscannable, documents, is_report_name, scan, yaml};

/// The version that is spoken.
const VERSION: &str = "admission.k8s.io/v1";
/// Longest name that is taken of whoever is named, of an id and of a verb, in bytes. Kubernetes' own are shorter.
const LONGEST: usize = 1024;
/// Most groups that somebody is taken to be in.
const GROUPS: usize = 1024;
/// The most that is told by one answer, and in one text: the API server cuts off what is longer.
const WARNINGS: usize = 12;
const WARNING: usize = 256;

/// What the API server asks: the part of an AdmissionReview that is looked at.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// The id of the request, which the answer has too.
    pub uid: String,
    kind: GroupKind,
    #[serde(default)]
    sub_resource: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    name: Option<String>,
    operation: String,
    user_info: UserInfo,
    #[serde(default)]
    object: Option<Value>,
    #[serde(default)]
    old_object: Option<Value>,
    #[serde(default)]
    dry_run: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
struct GroupKind {
    #[serde(default)]
    group: String,
    kind: String,
}

#[derive(Clone, Debug, Deserialize)]
struct UserInfo {
    #[serde(default)]
    username: String,
    #[serde(default)]
    groups: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AdmissionReview {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    request: Option<Asked>,
}

/// What was sent is no question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an AdmissionReview of admission.k8s.io/v1: {0}; only the API server asks here, by the webhook that `vidimus admission manifests` prints"
)]
pub struct NoQuestion(String);

impl Asked {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(body: &[u8]) -> Result<Self, NoQuestion> {
        let review: AdmissionReview =
            serde_json::from_slice(body).map_err(|error| NoQuestion(error.to_string()))?;
        if review.api_version != VERSION || review.kind != "AdmissionReview" {
            let found = printed(&format!("{} {}", review.api_version, review.kind));
            return Err(NoQuestion(format!("it is '{found}'")));
        }
        let asked = review.request.ok_or_else(|| NoQuestion("it has no request".to_owned()))?;
        let texts = [
            ("uid", &asked.uid),
            ("operation", &asked.operation),
            ("userInfo.username", &asked.user_info.username),
        ];
        for (field, text) in texts {
            if text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control) {
                return Err(NoQuestion(format!(
                    "request.{field} is empty, too long or has control characters in it"
                )));
            }
        }
        if asked.user_info.groups.as_ref().is_some_and(|groups| groups.len() > GROUPS) {
            return Err(NoQuestion(format!("request.userInfo.groups has more than {GROUPS}")));
        }
        Ok(asked)
    }

    /// Whom the API server names, as one of the people of `cluster`.
    fn person(&self, cluster: &str) -> Person {
        let mut groups: Vec<Arc<str>> =
            self.user_info.groups.iter().flatten().map(|group| group.as_str().into()).collect();
        groups.sort();
        groups.dedup();
        let user = User {
            issuer: cluster.into(),
            subject: self.user_info.username.as_str().into(),
            email: None,
            groups: groups.clone().into(),
        };
        Person { user, groups: groups.into(), unverified_email: None }
    }

    fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    fn is_dry(&self) -> bool {
        self.dry_run == Some(true)
    }
}

/// By what is decided.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    /// What is in force.
    pub snapshot: &'a Snapshot,
    /// Who vouches for the people that the API server names: `issuer` of a `User`.
    pub cluster: &'a str,
    pub now: UnixMillis,
}

/// What the API server is told.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The AdmissionReview.
    pub review: Value,
    /// Who asked, `User/issuer#subject`.
    pub actor: User,
    /// What is to be on record before the API server is told; nothing of a dry run, of a pod, or of what changes nothing.
    pub kept: Option<Kept>,
}

/// What an answer leaves on record.
#[derive(Clone, Debug)]
pub enum Kept {
    /// It may be done.
    Registered(Box<Registration>),
    /// It is refused: why, and the path of the object in the API.
    Refused(Box<Refusal>, String),
}

/// An answer, before it has its form.
#[derive(Debug, Default)]
struct Said {
    /// Why it is not let in: an HTTP status, its reason in Kubernetes' words, and the message.
    refused: Option<(u16, &'static str, String)>,
    warnings: Vec<String>,
    /// For the API server's audit log.
    audit: Vec<(&'static str, String)>,
}

impl Said {
    fn refusing(code: u16, reason: &'static str, message: String) -> Self {
        Self { refused: Some((code, reason, message)), ..Self::default() }
    }

    fn review(self, uid: &str) -> Value {
        let mut response = json!({"uid": uid, "allowed": self.refused.is_none()});
        let warnings: Vec<String> = self.warnings.iter().take(WARNINGS).map(|text| printed(text)).collect();
        if let Some(members) = response.as_object_mut() {
            if let Some((code, reason, message)) = &self.refused {
                let status = json!({"code": code, "reason": reason, "message": message});
                members.insert("status".to_owned(), status);
            }
            if !warnings.is_empty() {
                members.insert("warnings".to_owned(), json!(warnings));
            }
            if !self.audit.is_empty() {
                let all: serde_json::Map<String, Value> =
                    self.audit.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
                members.insert("auditAnnotations".to_owned(), Value::Object(all));
            }
        }
        json!({"apiVersion": VERSION, "kind": "AdmissionReview", "response": response})
    }
}

/// On one line, and no longer than the API server passes on.
fn printed(text: &str) -> String {
    let plain = crate::printable(text);
    match plain.char_indices().nth(WARNING - 1) {
        Some((end, _)) => format!("{}…", plain.get(..end).unwrap_or_default()),
        None => plain.into_owned(),
    }
}

/// Answers about a pod of a namespace that is held to the rules in this way, or about what makes pods by a template, where nobody is refused: whoever writes
/// that is told, and not the controller alone that makes the pods.
pub fn pod(workloads: &Workloads, enforcement: Enforcement, asked: &Asked, cluster: &str) -> Answer {
    let template = template_of(&asked.kind.group, &asked.kind.kind);
    let said = match template.filter(|_| enforcement != Enforcement::Enforce && asked.sub_resource.is_none())
    {
        Some(template) => said_of_template(workloads, asked, template),
        None => said_of_pod(workloads, asked),
    };
    let said = said.map_or_else(
        |message| match enforcement {
            Enforcement::Enforce => Said::refusing(422, "Invalid", message),
            Enforcement::Warn => Said { warnings: vec![message], ..Said::default() },
            Enforcement::Audit => Said { audit: vec![("violations", message)], ..Said::default() },
        },
        |broken| told(&broken, enforcement),
    );
    Answer { review: said.review(&asked.uid), actor: asked.person(cluster).user, kept: None }
}

/// The rules that it breaks, or why that cannot be said.
fn said_of_pod(workloads: &Workloads, asked: &Asked) -> Result<Vec<Violation>, String> {
    let is_pod = asked.kind.group.is_empty() && asked.kind.kind == "Pod";
    if !is_pod || !matches!(asked.sub_resource.as_deref(), None | Some("" | "ephemeralcontainers")) {
        let kind = crate::printable(&asked.kind.kind);
        return Err(format!(
            "pod_unreadable: asked about a {kind}; only pods are to be asked about here, as `vidimus admission manifests` has it"
        ));
    }
    let read = |pod: &Value| read(pod, asked);
    let before = match asked.operation.as_str() {
        "CREATE" => None,
        "UPDATE" => Some(read(asked.old_object.as_ref().unwrap_or(&Value::Null))?),
        // What is deleted runs no longer.
        _ => return Ok(Vec::new()),
    };
    let mut pod = read(asked.object.as_ref().unwrap_or(&Value::Null))?;
    // The API server's word, and not the pod's.
    asked.namespace().clone_into(&mut pod.namespace);
    Ok(violations(&pod, workloads.get(&pod.namespace, &pod.service_account), before.as_ref()))
}

/// The same of the pods that something makes, as its template has them: all of it where that is new or changed, for it makes other pods then.
fn said_of_template(
    workloads: &Workloads,
    asked: &Asked,
    template: &'static str,
) -> Result<Vec<Violation>, String> {
    let of = |object: &Option<Value>| object.as_ref().and_then(|object| object.pointer(template)).cloned();
    let (now, before) = match asked.operation.as_str() {
        "CREATE" => (of(&asked.object), None),
        "UPDATE" => (of(&asked.object), of(&asked.old_object)),
        _ => return Ok(Vec::new()),
    };
    let spec =
        |template: &Option<Value>| template.as_ref().and_then(|template| template.get("spec")).cloned();
    if before.is_some() && spec(&before) == spec(&now) {
        return Ok(Vec::new());
    }
    let mut pod = read(&now.unwrap_or_default(), asked)?;
    asked.namespace().clone_into(&mut pod.namespace);
    Ok(violations(&pod, workloads.get(&pod.namespace, &pod.service_account), None))
}

fn read(pod: &Value, asked: &Asked) -> Result<Pod, String> {
    Pod::read(pod, asked.namespace())
        .map_err(|error| format!("pod_unreadable: {error}; write the pod as the API of Kubernetes has it"))
}

fn told(broken: &[Violation], enforcement: Enforcement) -> Said {
    // An image may be called anything.
    let messages: Vec<String> =
        broken.iter().map(|one| crate::printable(&one.message()).into_owned()).collect();
    match (enforcement, messages.is_empty()) {
        (_, true) => Said::default(),
        (Enforcement::Enforce, _) => Said::refusing(403, "Forbidden", messages.join("\n")),
        (Enforcement::Warn, _) => Said { warnings: messages, ..Said::default() },
        (Enforcement::Audit, _) => {
            Said { audit: vec![("violations", messages.join("\n"))], ..Said::default() }
        }
    }
}

#[cfg(test)]
mod tests;
