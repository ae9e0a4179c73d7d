//! What is said of objects that are left out, and of those that deserve a look.

use cedar_policy::EntityUid;

use super::bindings::Taken;
use super::compile::{Problem, QUARANTINE_ID};
use crate::resource::policy::Scope;
use crate::resource::{Identity, Kind, Meta, Object, ObjectRef, Origin, Policy, Rejection, Subject};

/// Two objects of one kind have one name.
pub(super) fn name_taken(object: &Object) -> Rejection {
    let (kind, meta) = (object.kind(), object.meta());
    Rejection {
        value: meta.key(),
        reason: format!("another {kind} of this namespace has this name"),
        fix: "rename one of them, or delete it".to_owned(),
        ..about(kind, meta, "metadata.name")
    }
}

/// Two principals have one identity.
pub(super) fn identity_taken(object: &Object, taken: &Taken) -> Rejection {
    let (field, value) = match &taken.identity {
        Identity::Spiffe(id) => ("spiffe", id.to_string()),
        Identity::Oidc { issuer, subject, .. } => ("oidc", format!("{issuer}#{subject}")),
        Identity::ServiceAccount { namespace, name } => ("serviceAccount", format!("{namespace}/{name}")),
    };
    let by = taken.by.entity();
    Rejection {
        value: shortened(&value),
        reason: format!("this identity is bound to {by} already; one identity proves one principal"),
        fix: "give each principal its own identity".to_owned(),
        ..about(object.kind(), object.meta(), &format!("spec.identities[{}].{field}", taken.place))
    }
}

/// The text of a policy is not good.
pub(super) fn not_compiled(policy: &Policy, problem: &Problem) -> Rejection {
    Rejection {
        value: shortened(&problem.value(&policy.cedar)),
        reason: problem.to_string(),
        fix: problem.fix(),
        ..about_text(policy)
    }
}

/// The text of a policy is good and may be misread.
pub(super) fn confusing(policy: &Policy, remark: &str) -> Rejection {
    Rejection {
        reason: remark.to_owned(),
        fix: "check that the text is what it looks like".to_owned(),
        ..about_text(policy)
    }
}

/// Nothing bears a name in a policy. The namespace of a policy's own scope stands nowhere in its text.
pub(super) fn unborne(policy: &Policy, literal: &EntityUid) -> Rejection {
    let namespace = &*policy.meta.namespace;
    let own = policy.scope == Scope::Namespace
        && literal.type_name().basename() == "Namespace"
        && literal.id().unescaped() == namespace;
    let (reason, fix) = if own {
        let reason =
            format!("nothing is registered in namespace {namespace}, so this policy reaches nothing");
        (reason, "move it, or use scope: Cluster")
    } else {
        let reason = "nothing registered has this name, so the policy never matches by it";
        (reason.to_owned(), "correct the name, or register the object")
    };
    Rejection { value: shortened(&literal.to_string()), reason, fix: fix.to_owned(), ..about_text(policy) }
}

/// This build is broken; a test holds that it is not.
pub(super) fn fault(reason: &str) -> Rejection {
    Rejection {
        origin: Origin::default(),
        object: Subject::Document(QUARANTINE_ID.to_owned()),
        field: String::new(),
        value: String::new(),
        reason: reason.to_owned(),
        fix: String::new(),
    }
}

fn about_text(policy: &Policy) -> Rejection {
    about(Kind::Policy, &policy.meta, "spec.cedar")
}

fn about(kind: Kind, meta: &Meta, field: &str) -> Rejection {
    Rejection {
        origin: meta.origin.clone(),
        object: Subject::Object(ObjectRef::new(kind, meta)),
        field: field.to_owned(),
        value: String::new(),
        reason: String::new(),
        fix: String::new(),
    }
}

/// The beginning; the maximum is 120 characters.
fn shortened(value: &str) -> String {
    const MAX: usize = 120;
    match value.char_indices().nth(MAX) {
        None => value.to_owned(),
        Some(_) => value.chars().take(MAX - 1).chain(['…']).collect(),
    }
}
