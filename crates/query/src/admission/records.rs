//! What is asked about a registered object.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use vidimus_core::act::Registration;
use vidimus_core::admission::workloads::service_account;
use vidimus_core::admission::{Change, Permitted, Registering};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::policy::Scope;
use vidimus_core::resource::{Identity, Kind, Object, Origin, Rejection, check};
use vidimus_core::snapshot::Snapshot;

use super::{Answer, Asked, By, Kept, Said};
use crate::review::finding;

/// The API group of what is registered.
const GROUP: &str = "vidimus.dev";
/// With more policies than this they are not looked at together, of which one is dead or adds nothing: it would take longer than the API server
/// waits.
const REVIEWED: usize = 500;

/// Answers about an object: whether it is well formed and fits what is registered, and whether who asks may register it.
///
/// It may take as long as a snapshot takes to be made.
pub fn record(by: &By<'_>, asked: &Asked) -> Answer {
    let person = asked.person(by.cluster);
    let (said, kept) = match judged(by, asked, &person) {
        Ok(None) => (Said::default(), None),
        Ok(Some((registration, warnings))) => {
            let said = Said { warnings, ..Said::default() };
            (said, Some(Kept::Registered(Box::new(registration))))
        }
        Err(refusal) => {
            let code = refusal.http_status();
            let reason = if code == 403 { "Forbidden" } else { "Invalid" };
            let policies = match refusal.policies.is_empty() {
                true => String::new(),
                false => format!(" (by {})", refusal.policies.join(", ")),
            };
            let message =
                format!("{}: {}{policies}; {}", refusal.code.as_str(), refusal.message, refusal.next());
            (Said::refusing(code, reason, message), Some(Kept::Refused(Box::new(refusal), path(asked))))
        }
    };
    let kept = kept.filter(|_| !asked.is_dry());
    Answer { review: said.review(&asked.uid), actor: person.user, kept }
}

/// Where the object is in the API of Kubernetes.
fn path(asked: &Asked) -> String {
    let name = asked.name.as_deref().unwrap_or_default();
    format!("/apis/{GROUP}/namespaces/{}/{}/{name}", asked.namespace(), asked.kind.kind)
}

/// What is to be on record, with what its author should know; `None` where nothing changes of what is registered.
fn judged(
    by: &By<'_>,
    asked: &Asked,
    person: &vidimus_core::person::Person,
) -> Result<Option<(Registration, Vec<String>)>, Refusal> {
    let kind = Kind::of(&asked.kind.kind).filter(|_| asked.kind.group == GROUP).ok_or_else(|| {
        let kind = crate::printable(&asked.kind.kind).into_owned();
        Refusal::new(Code::MessageInvalid, format!("asked about a {kind}, which is not registered here"))
            .with_next("Ask only about the kinds of vidimus.dev, as `vidimus admission manifests` has it.")
    })?;
    let old = asked.old_object.as_ref().and_then(|old| read(by, old).ok());
    let (before, after) = match asked.operation.as_str() {
        "CREATE" => (None, Some(new(by, asked, kind)?)),
        "UPDATE" => (old, Some(new(by, asked, kind)?)),
        "DELETE" => (old, None),
        _ => return Ok(None),
    };
    let registration = Registration {
        after: after.as_ref().map(digest),
        before: before.as_ref().map(digest),
        file: None,
        manager: None,
        object: named(asked, kind),
        operation: asked.operation.to_ascii_lowercase(),
        policies: Vec::new(),
        request: asked.uid.clone(),
        verdict: None,
        written: None,
    };
    // Its status, its finalizers: nothing that is registered.
    if registration.after.is_some() && registration.after == registration.before {
        return Ok(None);
    }
    let change = match (&before, &after) {
        (None, Some(after)) if asked.operation == "CREATE" => Change::Create(after),
        (before, Some(after)) => Change::Update { before: before.as_ref(), after },
        (Some(before), None) => Change::Delete(before),
        // It was not in force, and Kubernetes lets who deletes it.
        (None, None) => return Ok(Some((registration, Vec::new()))),
    };
    let permitted = by.snapshot.authorize_registration(&Registering { person, change, now: by.now })?;
    let mut warnings = Vec::new();
    if let Some(after) = &after {
        fits(by.snapshot, before.as_ref(), after, &mut warnings)?;
        if permitted == Permitted::Unsaid {
            warnings.extend(crossings(after));
        }
    }
    let policies = match permitted {
        Permitted::By(policies) => policies,
        Permitted::Unsaid => Vec::new(),
    };
    Ok(Some((Registration { policies, ..registration }, warnings)))
}

/// The object as it is asked for, which is where the API server says that it is.
fn new(by: &By<'_>, asked: &Asked, kind: Kind) -> Result<Object, Refusal> {
    let object = read(by, asked.object.as_ref().unwrap_or(&Value::Null)).map_err(|all| invalid(&all))?;
    let meta = object.meta();
    let is_it = object.kind() == kind
        && *meta.namespace == *asked.namespace()
        && asked.name.as_deref().is_none_or(|name| name.is_empty() || *meta.name == *name);
    if is_it {
        return Ok(object);
    }
    let message =
        format!("the request is about {}, and its object is {}", named(asked, kind), object.reference());
    Err(Refusal::new(Code::MessageInvalid, message))
}

fn read(by: &By<'_>, document: &Value) -> Result<Object, Vec<Rejection>> {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).map(Arc::from);
    let origin = Origin::Cluster {
        cluster: by.cluster.into(),
        uid: text("/metadata/uid"),
        resource_version: text("/metadata/resourceVersion"),
    };
    check(&origin, document)
}

fn named(asked: &Asked, kind: Kind) -> String {
    let name = asked.name.as_deref().unwrap_or_default();
    crate::printable(&format!("{kind}/{}/{name}", asked.namespace())).into_owned()
}

/// Of what counts of it, in one form for all that mean the same.
fn digest(object: &Object) -> String {
    format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(object.meta().document.as_bytes())))
}

fn invalid(all: &[Rejection]) -> Refusal {
    let said: Vec<String> = all.iter().map(sentence).collect();
    Refusal::new(Code::ObjectInvalid, said.join("\n"))
}

/// Field, value, what is wrong and what to write.
fn sentence(fault: &Rejection) -> String {
    let Rejection { field, value, reason, fix, .. } = fault;
    let at = if field.is_empty() { String::new() } else { format!("{field}: ") };
    let value = if value.is_empty() { String::new() } else { format!("'{value}': ") };
    format!("{at}{value}{reason}; {fix}")
}

/// That it fits what is registered beside it; what its author should look at is added to `warnings`. What was wrong with it already keeps nobody from
/// changing something else of it: a quarantine, not least.
fn fits(
    snapshot: &Snapshot,
    before: Option<&Object>,
    after: &Object,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    let (next, faults) = with(snapshot, after);
    let was = |fault: &Rejection| {
        let same = |other: &Rejection| {
            (&other.field, &other.value, &other.reason) == (&fault.field, &fault.value, &fault.reason)
        };
        before.is_some_and(|before| with(snapshot, before).1.iter().any(same))
    };
    let (known, new): (Vec<Rejection>, Vec<Rejection>) = faults.into_iter().partition(was);
    if !new.is_empty() {
        return Err(invalid(&new));
    }
    let reference = after.reference();
    let remarks = next.warnings().iter().filter(|one| one.object.is(&reference));
    warnings.extend(known.iter().chain(remarks).map(sentence));
    if matches!(after, Object::Policy(_)) {
        warnings.extend(reviewed(&next, after));
    }
    Ok(())
}

/// What would be in force with an object in the place of what has its name, and what is wrong with it then.
fn with(snapshot: &Snapshot, object: &Object) -> (Snapshot, Vec<Rejection>) {
    let reference = object.reference();
    let others = snapshot.objects().iter().filter(|other| !other.reference().is_same_object(&reference));
    let objects: Vec<Object> = others.cloned().chain([object.clone()]).collect();
    let (next, mut faults) = snapshot.rebuilt(objects, Vec::new());
    faults.retain(|fault| fault.object.is(&reference));
    (next, faults)
}

/// Whether a policy can matter, as things are registered.
fn reviewed(next: &Snapshot, policy: &Object) -> Vec<String> {
    if next.policies().take(REVIEWED + 1).count() > REVIEWED {
        return vec![format!(
            "with more than {REVIEWED} policies it is not looked at here whether this one is dead or adds nothing: run `vidimus policy review`"
        )];
    }
    let Ok(found) = next.review() else {
        return vec!["it could not be found out whether this policy is dead or adds nothing".to_owned()];
    };
    let meta = policy.meta();
    let own = found
        .iter()
        .filter(|one| (&one.object.meta.namespace, &one.object.meta.name) == (&meta.namespace, &meta.name));
    own.filter_map(finding)
        .map(|one| {
            format!("{}: {} is {}: {}; {}", one.object, one.policy, one.class.as_str(), one.reason, one.fix)
        })
        .collect()
}

/// What of an object reaches beyond its namespace, where no policy says who may register that.
fn crossings(object: &Object) -> Vec<String> {
    let mut found = Vec::new();
    let own = &object.meta().namespace;
    let identities: &[Identity] = match object {
        Object::Agent(agent) => &agent.identities,
        Object::Service(service) => &service.identities,
        Object::McpServer(_) | Object::LlmProvider(_) => &[],
        Object::Policy(policy) => {
            if policy.scope == Scope::Cluster {
                found.push("spec.scope: it governs every namespace");
            }
            &[]
        }
    };
    let is_foreign =
        |identity: &Identity| service_account(identity).is_some_and(|(namespace, _)| namespace != *own);
    if identities.iter().any(is_foreign) {
        found.push("spec.identities: it claims a ServiceAccount of another namespace");
    }
    let said = |what: &str| {
        format!(
            "{what}, and no policy says who may register that: whoever Kubernetes lets (Action::\"registerObject\", docs/admission.md)"
        )
    };
    found.into_iter().map(said).collect()
}
