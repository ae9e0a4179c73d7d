//! Which edges change between two sets of resources: for each registered principal and each known resource, what is decided whatever the
//! context says, before and after.
//!
//! That is found by enumeration. Where a decision depends on the context in both, it is the same where the policies that it depends on say
//! the same of the same objects; otherwise it is told as one that may change.

mod beside;
mod edges;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vidimus_core::call::{Action, Ask, Call, SoFar};
use vidimus_core::caller::{Caller, Chain, Proven, UnixMillis};
use vidimus_core::decision::Outcome;
use vidimus_core::entity::EntityId;
use vidimus_core::recorded::{Foreseen, Recorded};
use vidimus_core::resource::{Kind, Object, Principal};
use vidimus_core::snapshot::Snapshot;

use self::edges::Edges;
use crate::prove::{Compared, Proof};

/// Which sets of resources, and which edges of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiffQuestion {
    /// Directory of the one.
    pub old: PathBuf,
    /// Directory of the other.
    pub new: PathBuf,
    /// Who would call: `Agent/namespace/name` or the end of it. Everybody where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// What would be called, or the end of it. Everything that is known where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// How many edges are looked at at most.
    #[serde(default = "most")]
    pub most: usize,
}

/// How many edges are looked at where nothing else is said.
pub const MOST: usize = 1_000_000;

const fn most() -> usize {
    MOST
}

/// What changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiffAnswer {
    /// Edges that change, or may.
    pub changed: Vec<ChangedEdge>,
    /// Edges that were looked at.
    pub edges: usize,
    /// How it is known: `enumeration` of the registered principals and the known resources. A tool that no record, no set and no policy
    /// names stands for all others of its server under the name `*`.
    pub by: String,
    /// Whether every edge was looked at.
    pub complete: bool,
    /// Objects that differ, `Kind namespace/name`, each `added`, `removed` or `changed`.
    pub objects: BTreeMap<String, String>,
    /// Of these, what is decided by them and is no edge: `people` (a policy says what people may do), `identities` (who is taken for it),
    /// `actsFor`, `delegation` (limits on its chains), `labels` (what its calls do with information).
    pub beside: BTreeMap<String, Vec<String>>,
    /// Digest of the old configuration.
    pub old: String,
    /// Digest of the new one.
    pub new: String,
    /// What is proven of the policies, where that was asked for. What is proven not to change is not among `changed` and `beside`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// An edge that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangedEdge {
    /// Who calls.
    pub principal: String,
    /// The Cedar action.
    pub action: String,
    /// What is called.
    pub resource: String,
    /// Before.
    pub old: EdgeState,
    /// After.
    pub new: EdgeState,
}

/// What is decided on an edge, whatever the context says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EdgeState {
    /// `allow`, `allow-with-obligations`, `hold`, `deny`, `depends` on the context, or `absent` where principal or resource is not
    /// registered.
    pub outcome: String,
    /// What it depends on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<String>,
    /// The policies that decide it, or that it depends on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
}

const DEPENDS: &str = "depends";
const ABSENT: &str = "absent";
const DENY: &str = Outcome::Deny.as_str();
const ALLOW: &str = Outcome::Allow.as_str();

impl DiffAnswer {
    /// Whether nothing changes, and all was looked at. Where a proof was asked for, there is one of each type of request.
    pub fn holds(&self) -> bool {
        let is_proven = |proof: &Proof| proof.types.iter().all(|one| one.outcome == Compared::Equivalent);
        self.changed.is_empty()
            && self.beside.is_empty()
            && self.complete
            && self.proof.as_ref().is_none_or(is_proven)
    }
}

/// Compares two configurations.
pub fn diff(old: &Snapshot, new: &Snapshot, question: &DiffQuestion) -> DiffAnswer {
    let objects = objects(old, new);
    let edges = Edges::of([old, new], question);
    let mut changed = Vec::new();
    let mut looked_at = 0;
    let mut complete = true;
    'all: for principal in &edges.principals {
        for (action, resource) in &edges.resources {
            if looked_at == question.most {
                complete = false;
                break 'all;
            }
            looked_at += 1;
            let (before, after) =
                (state(old, principal, *action, resource), state(new, principal, *action, resource));
            // Who approves, and what is changed of a call, is written in the policies.
            let is_open = !matches!(&*before.outcome, ABSENT | DENY | ALLOW);
            let may_differ = || is_open && depends_on_any(&before, &after, principal, resource, &objects);
            // What is not registered is refused too.
            let is_refused = |state: &EdgeState| matches!(&*state.outcome, ABSENT | DENY);
            let differs = before.outcome != after.outcome && !(is_refused(&before) && is_refused(&after));
            if differs || may_differ() {
                changed.push(ChangedEdge {
                    principal: principal.to_string(),
                    action: action.as_str().to_owned(),
                    resource: resource.to_string(),
                    old: before,
                    new: after,
                });
            }
        }
    }
    DiffAnswer {
        changed,
        edges: looked_at,
        by: "enumeration".to_owned(),
        complete,
        beside: beside::changes([old, new], &objects),
        objects,
        old: old.digest().to_owned(),
        new: new.digest().to_owned(),
        proof: None,
    }
}

/// Of the names that are asked for, those that nothing has in either configuration, each with its member of the question.
pub fn unknown_names(old: &Snapshot, new: &Snapshot, question: &DiffQuestion) -> Vec<(&'static str, String)> {
    let Edges { principals, resources } = Edges::of([old, new], question);
    let principal = question.principal.clone().filter(|_| principals.is_empty());
    let resource = question.resource.clone().filter(|_| resources.is_empty());
    let named = [principal.map(|name| ("principal", name)), resource.map(|name| ("resource", name))];
    named.into_iter().flatten().collect()
}

/// Whether what both depend on says something else in one of them: a policy, or the principal or the resource that it looks at.
fn depends_on_any(
    before: &EdgeState,
    after: &EdgeState,
    principal: &EntityId,
    resource: &EntityId,
    objects: &BTreeMap<String, String>,
) -> bool {
    if before.policies != after.policies || before.facts != after.facts {
        return true;
    }
    let policy = |id: &String| {
        let key = id.split(['#', '~']).next().unwrap_or(id);
        objects.contains_key(&format!("{} {key}", Kind::Policy.as_str()))
    };
    let named = |id: &EntityId| {
        let key: Vec<&str> = id.id.splitn(3, '/').take(2).collect();
        let key = key.join("/");
        Kind::ALL
            .iter()
            .any(|kind| *kind != Kind::Policy && objects.contains_key(&format!("{} {key}", kind.as_str())))
    };
    before.policies.iter().any(policy) || named(principal) || named(resource)
}

/// The objects that differ.
fn objects(old: &Snapshot, new: &Snapshot) -> BTreeMap<String, String> {
    let of = |snapshot: &Snapshot| -> BTreeMap<String, String> {
        let text = |object: &Object| match &*object.meta().document {
            // Not of a document: as it is shown.
            "" => format!("{object:?}"),
            text => text.to_owned(),
        };
        snapshot.objects().iter().map(|object| (object.reference().to_string(), text(object))).collect()
    };
    let (old, new) = (of(old), of(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differs = |name: &String| match (old.get(name), new.get(name)) {
        (Some(_), None) => Some("removed"),
        (None, Some(_)) => Some("added"),
        (one, other) if one != other => Some("changed"),
        _ => None,
    };
    names.into_iter().filter_map(|name| Some((name.clone(), differs(name)?.to_owned()))).collect()
}

/// What a configuration decides on an edge.
fn state(world: &Snapshot, principal: &EntityId, action: Action, resource: &EntityId) -> EdgeState {
    let absent = || EdgeState { outcome: ABSENT.to_owned(), ..EdgeState::default() };
    let Some(caller) = crate::replay::principal(world, principal) else { return absent() };
    let Some(target) = crate::replay::target(world, resource) else { return absent() };
    let call = Call {
        caller: &nobody(caller),
        ask: Ask::about("", action, target),
        now: UnixMillis(0),
        source_ip: None,
        approvals: &[],
        so_far: SoFar::nothing(),
    };
    let texts = |all: &mut dyn Iterator<Item = String>| all.collect::<Vec<String>>();
    match Recorded::nothing(action).foresee(world, &call) {
        Foreseen::Certain { outcome, policies, .. } => EdgeState {
            outcome: outcome.as_str().to_owned(),
            facts: Vec::new(),
            policies: match outcome {
                Outcome::Deny if policies.is_empty() => Vec::new(),
                _ => texts(&mut policies.iter().map(ToString::to_string)),
            },
        },
        Foreseen::Open { lacks, policies } => EdgeState {
            outcome: DEPENDS.to_owned(),
            facts: texts(&mut lacks.iter().map(ToString::to_string)),
            policies: texts(&mut policies.iter().map(ToString::to_string)),
        },
    }
}

fn nobody(principal: Principal) -> Caller {
    let proven =
        Proven { principal, identity: "".into(), user: None, delegated: None, instance: None, expires: None };
    let chain = Chain { transaction: "".into(), started: UnixMillis(0), actors: Vec::new() };
    Caller { proven: proven.into(), chain: chain.into() }
}

#[cfg(test)]
mod tests;
