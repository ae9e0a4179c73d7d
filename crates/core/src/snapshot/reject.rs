//! What is said of objects that are left out, and of those that deserve a look.

use std::sync::Arc;

use cedar_policy::EntityUid;

use super::builtin::QUARANTINE_ID;
use super::compile::Problem;
use super::doubt::Doubt;
use super::nowhere::Nowhere;
use super::undecided::Undecided;
use crate::decide::membership::Granting;
use crate::resource::policy::Scope;
use crate::resource::{
    Endpoint, Identity, Kind, Meta, Object, ObjectRef, Origin, Policy, Principal, Rejection, Subject,
};

/// Another object has, or had, the name of this one; `others` are the places of these, sorted.
pub(super) fn name_contested(object: &ObjectRef, origin: &Origin, others: &[String]) -> Rejection {
    let others = others.join(", ");
    let consequence = match object.kind {
        Kind::Policy => "what any of them forbids is forbidden, and nothing that they permit is permitted",
        _ => "which one is meant cannot be known, so none is used",
    };
    Rejection {
        origin: origin.clone(),
        object: Subject::Object(object.clone()),
        field: "metadata.name".to_owned(),
        value: format!("{}/{}", object.namespace, object.name),
        reason: format!("another {} of this name is at {others}; {consequence}", object.kind),
        fix: "rename one of them, or delete it".to_owned(),
    }
}

/// The first few, and that there are more: each of many that collide names the others, which must not take the square of them.
pub(super) fn some_of(mut all: impl Iterator<Item = String>) -> Vec<String> {
    const MAX: usize = 8;
    let mut some: Vec<String> = all.by_ref().take(MAX).collect();
    if all.next().is_some() {
        some.push("more".to_owned());
    }
    some
}

/// An object gives itself a name that its namespace may not bear. `by` are the policies that forbid it; none permits it where there are
/// none.
pub(super) fn not_borne(object: &Object, field: &str, (of, name): (&str, &str), by: &[String]) -> Rejection {
    let namespace = &object.meta().namespace;
    let why = match by {
        [] => "no policy permits it".to_owned(),
        by => format!("forbidden by {}", by.join(", ")),
    };
    Rejection {
        value: shortened(name),
        reason: format!(
            "objects of {namespace} may not bear {of}::\"{name}\" ({why}): what is granted by this name is not granted to it, and what is refused by it is refused"
        ),
        fix: "take the name out, or have a cluster-wide policy permit it (Action::\"register\")".to_owned(),
        ..about(object.kind(), object.meta(), field)
    }
}

/// Other objects claim one of the identities of this one.
pub(super) fn identity_contested(
    object: &Object,
    place: usize,
    identity: &Identity,
    others: &[String],
) -> Rejection {
    let (field, value) = match identity {
        Identity::Spiffe(id) => ("spiffe", id.to_string()),
        Identity::Oidc { issuer, subject, .. } => ("oidc", format!("{issuer}#{subject}")),
        Identity::ServiceAccount { namespace, name } => ("serviceAccount", format!("{namespace}/{name}")),
    };
    let verb = if others.len() == 1 { "claims" } else { "claim" };
    Rejection {
        value: shortened(&value),
        reason: format!("{} {verb} this identity too, so it proves nobody", others.join(" and ")),
        fix: "give each principal its own identity".to_owned(),
        ..about(object.kind(), object.meta(), &format!("spec.identities[{place}].{field}"))
    }
}

/// Objects of another namespace have the audience of this one.
pub(super) fn audience_taken(object: &Object, audience: &str, holder: &str) -> Rejection {
    Rejection {
        value: shortened(audience),
        reason: format!(
            "objects of namespace {holder} have this audience (of the URL where none is given), and what trusts it would trust the callers of this one: it is not in force"
        ),
        fix: format!("call what is registered in {holder}, or give this its own URL and audience"),
        ..about(object.kind(), object.meta(), "spec.endpoint")
    }
}

/// The same in files, where both are in force.
pub(super) fn audience_shared(object: &Object, endpoint: &Endpoint, other: &str) -> Rejection {
    Rejection {
        value: shortened(&endpoint.audience),
        reason: format!(
            "objects of namespace {other} have this audience too, so a token for the one is taken by the other; in a cluster only those of one namespace would be in force"
        ),
        fix:
            "register a server once, and let policies say who else may call it; or give each its own audience"
                .to_owned(),
        ..about(object.kind(), object.meta(), "spec.endpoint")
    }
}

/// A part of a record leads nowhere.
pub(super) fn leads_nowhere(object: &Object, part: Nowhere) -> Rejection {
    let Nowhere { field, value, reason, fix } = part;
    Rejection { value: shortened(&value), reason, fix, ..about(object.kind(), object.meta(), &field) }
}

/// A cluster-wide policy names a person by one of the identities of this principal.
pub(super) fn of_a_person(principal: &Principal, place: usize, person: &str) -> Rejection {
    Rejection {
        value: shortened(person),
        reason: "a policy for people names this subject, so it is a person's and proves no workload"
            .to_owned(),
        fix: "give the workload a subject of its own, or name the person by another one in the policy"
            .to_owned(),
        ..about(principal.reference().kind, principal.meta(), &format!("spec.identities[{place}].oidc"))
    }
}

/// An object is gone, and may be so only because of what is malformed.
pub(super) fn held(object: &ObjectRef, origin: &Origin, stays: &str) -> Rejection {
    Rejection {
        origin: origin.whole(),
        object: Subject::Object(object.clone()),
        field: String::new(),
        value: String::new(),
        reason: format!("it is gone from a source in which something is malformed; {stays}"),
        fix: "correct what is malformed there".to_owned(),
    }
}

/// An object is gone, or refuses less, and its place may not say all that is meant.
pub(super) fn doubted(object: &ObjectRef, doubt: &Doubt) -> Rejection {
    Rejection {
        origin: doubt.place.whole(),
        object: Subject::Object(object.clone()),
        field: String::new(),
        value: String::new(),
        reason: format!("what it refused stays refused: {}", doubt.reason),
        fix: doubt.fix.to_owned(),
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

/// With it the policies of its namespace come to too much.
pub(super) fn too_costly(policy: &Policy, reason: String) -> Rejection {
    Rejection {
        reason,
        fix: "delete what is not needed of the namespace, say in the heads of policies which agents, groups or tool sets they are about, or have them \
              in several namespaces"
            .to_owned(),
        ..about_text(policy)
    }
}

/// The text of a policy is good and may be misread, or say something else than is meant: `remark` is `reason; what to do`.
pub(super) fn confusing(policy: &Policy, remark: &str) -> Rejection {
    let (reason, fix) = remark.rsplit_once("; ").unwrap_or((remark, "look whether it says what is meant"));
    Rejection { reason: reason.to_owned(), fix: fix.to_owned(), ..about_text(policy) }
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

/// A policy names what is never decided as that.
pub(super) fn undecided(policy: &Policy, literal: &EntityUid, why: &Undecided) -> Rejection {
    let (reason, fix) = (why.reason.clone(), why.fix.clone());
    Rejection { value: shortened(&literal.to_string()), reason, fix, ..about_text(policy) }
}

/// Objects of other namespaces bear a name by which a policy grants something.
pub(super) fn borne_elsewhere(policy: &Policy, name: &Granting, namespaces: &[Arc<str>]) -> Rejection {
    let Granting { of, name } = name;
    let others = namespaces.join(", ");
    let (reason, fix) = match policy.members.are_all() {
        true => (
            format!("objects of {others} bear this name too, and whoever registers one anywhere can"),
            "list the namespaces that are meant under spec.members".to_owned(),
        ),
        false => (
            format!(
                "objects of {others} bear this name too, and are not meant: it is that of their namespace"
            ),
            format!(
                "write {of}::\"namespace/{name}\" to mean theirs, or list the namespace under spec.members"
            ),
        ),
    };
    let value = shortened(&format!("{of}::\"{name}\""));
    Rejection { value, reason, fix, ..about_text(policy) }
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
