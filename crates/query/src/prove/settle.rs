//! What a proof says of what enumeration found.

use vidimus_core::composed::{AskedBy, RequestType};
use vidimus_core::resource::Kind;

use super::{Compared, Ground, Proof, TypeProof};
use crate::diff::{ChangedEdge, DiffAnswer};

/// Takes from an answer what is proven not to change, and puts the proof into it.
///
/// Where an object other than a policy differs, or who may bear a name, nothing is taken from it: what is proven is about the policies.
pub fn settle(answer: &mut DiffAnswer, mut proof: Proof) {
    let policy = format!("{} ", Kind::Policy.as_str());
    let others = answer.objects.keys().filter(|object| !object.starts_with(&policy)).count();
    if others > 0 {
        let what = if others == 1 {
            "1 object that is no policy differs"
        } else {
            "objects that are no policies differ"
        };
        proof.notes.push(format!("{what}: what is proven is about the policies, over the same objects"));
    }
    let of_names = |one: &&TypeProof| asked_by(one) == AskedBy::Name;
    let same_names = proof.types.iter().filter(of_names).all(TypeProof::is_settled);
    if !same_names {
        let what =
            "who may bear which name is not proven to be the same: other objects may be meant by a name";
        proof.notes.push(what.to_owned());
    }
    if others == 0 && same_names {
        contradicted(answer, &mut proof);
        let before = answer.changed.len() + answer.beside.len();
        answer.changed.retain(|edge| !proof.types.iter().any(|one| one.is_settled() && is_of(edge, one)));
        let of_people = |one: &&TypeProof| matches!(asked_by(one), AskedBy::Person(_));
        if proof.types.iter().filter(of_people).all(TypeProof::is_settled) {
            answer.beside.values_mut().for_each(|parts| parts.retain(|part| part != "people"));
            answer.beside.retain(|_, parts| !parts.is_empty());
        }
        proof.settled = before - answer.changed.len() - answer.beside.len();
    }
    answer.proof = Some(proof);
}

/// Takes back what an edge contradicts. None should; a proof that is wrong must not be believed.
fn contradicted(answer: &DiffAnswer, proof: &mut Proof) {
    for edge in answer.changed.iter().filter(|edge| is_certain(edge)) {
        for one in
            proof.types.iter_mut().filter(|one| one.outcome == Compared::Equivalent && is_of(edge, one))
        {
            one.outcome = Compared::NotProven;
            one.by = Ground::Enumeration;
            one.of = None;
            one.why = Some(format!(
                "{} on {} is decided otherwise, which contradicts the solver: report this as a fault of Vidimus, with the policies",
                edge.principal, edge.resource
            ));
        }
    }
}

/// Whether something else is decided, whatever the context says.
fn is_certain(edge: &ChangedEdge) -> bool {
    let is_open = |outcome: &str| matches!(outcome, "depends" | "absent");
    !is_open(&edge.old.outcome) && !is_open(&edge.new.outcome) && edge.old.outcome != edge.new.outcome
}

fn is_of(edge: &ChangedEdge, one: &TypeProof) -> bool {
    let is_a = |name: &str, of: &str| name.split_once('/').is_some_and(|(kind, _)| kind == of);
    edge.action == one.action && is_a(&edge.principal, &one.principal) && is_a(&edge.resource, &one.resource)
}

fn asked_by(one: &TypeProof) -> AskedBy {
    let (principal, resource) = (one.principal.clone(), one.resource.clone());
    RequestType { principal, action: one.action.clone(), resource }.asked_by()
}
