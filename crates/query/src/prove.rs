//! Whether two sets of policies let the same requests pass: asked of an SMT solver, by Cedar's symbolic compiler, over all that could be
//! registered and whatever the context says. What is registered is of no account here.
//!
//! What is said is exact: `equivalent` is said only where no rule of ours that Cedar does not know can tell the two sets apart (ADR 44).
//! Where one can, or the solver does not know, it is said that it is not proven, and why.

mod ask;
mod rules;
mod settle;
mod solver;
mod witness;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vidimus_core::call::Action;
use vidimus_core::composed::{AskedBy, RequestType};
use vidimus_core::snapshot::Snapshot;

use self::ask::{Asking, Implied, Own};
use crate::diff::EdgeState;

pub use self::settle::settle;
pub use self::solver::SolverProgram;

/// What is known of two sets of policies beyond what is registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Proof {
    /// The solver that was asked.
    pub solver: String,
    /// Each type of request that policies can be about.
    pub types: Vec<TypeProof>,
    /// How many edges, and policies of people, enumeration alone says may be decided otherwise, and are not: they are not among `changed`
    /// and `beside`.
    pub settled: usize,
    /// What differs beside policies, so that no edge is settled.
    pub notes: Vec<String>,
}

/// What is known of requests of one type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TypeProof {
    /// The Cedar type of the principal.
    pub principal: String,
    /// The Cedar action.
    pub action: String,
    /// The Cedar type of the resource.
    pub resource: String,
    /// What is so.
    pub outcome: Compared,
    /// How it is known.
    pub by: Ground,
    /// Of which requests it is said, where that is not all of them: `arguments that policies can see`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// Why it is not proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Requests that one set lets pass and the other does not, found by the solver and decided by Cedar itself: one for each direction.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counterexamples: Vec<Counterexample>,
}

/// How the new set stands to the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Compared {
    /// The same requests pass, and the same are held and changed.
    Equivalent,
    /// All that passed passes, and more.
    MorePermissive,
    /// Nothing passes that did not, and less.
    LessPermissive,
    /// Some pass that did not, and some do not that did.
    Incomparable,
    /// Not the same; more is not known.
    NotEquivalent,
    /// Not known: see what the enumeration says.
    NotProven,
}

/// How something is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ground {
    /// The same policies decide it, whatever they are called: nothing had to be asked.
    SamePolicies,
    /// The solver.
    Proven,
    /// Only what is registered was compared.
    Enumeration,
}

/// A request that one set lets pass and the other does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counterexample {
    /// Who asks. It need not be registered.
    pub principal: String,
    /// What is asked for. It need not be registered.
    pub resource: String,
    /// What the policies that tell them apart look at, by what they call it.
    pub facts: BTreeMap<String, String>,
    /// What the old policies say of it.
    pub old: EdgeState,
    /// What the new ones do.
    pub new: EdgeState,
}

/// Why nothing could be asked.
#[derive(Debug, thiserror::Error)]
pub enum NotAsked {
    /// There is no solver, or it does not answer.
    #[error("the solver {program} {said}")]
    NoSolver {
        /// Which one.
        program: String,
        /// What it says, or the system of it.
        said: String,
    },
    /// A fault of this program.
    #[error("{0}")]
    Fault(String),
}

impl Compared {
    /// As in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equivalent => "equivalent",
            Self::MorePermissive => "more permissive",
            Self::LessPermissive => "less permissive",
            Self::Incomparable => "incomparable",
            Self::NotEquivalent => "not equivalent",
            Self::NotProven => "not proven",
        }
    }
}

impl Ground {
    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SamePolicies => "same policies",
            Self::Proven => "proven",
            Self::Enumeration => "by enumeration",
        }
    }
}

impl TypeProof {
    /// Whether it is sure of every request of the type that nothing changes.
    pub fn is_settled(&self) -> bool {
        self.outcome == Compared::Equivalent && self.of.is_none()
    }
}

/// Asks the solver about each type of request.
///
/// # Errors
/// Where there is no solver that answers, or this build is broken. What the solver does not know is no error.
pub async fn prove(old: &Snapshot, new: &Snapshot, solver: SolverProgram) -> Result<Proof, NotAsked> {
    let name = solver.program.display().to_string();
    let all = RequestType::all().map_err(|fault| NotAsked::Fault(fault.to_owned()))?;
    let mut asking = Asking::begin(solver).await?;
    let mut found: BTreeMap<RequestType, Own> = BTreeMap::new();
    for one in all {
        let own = asking.about(&one, [old, new]).await.map_err(NotAsked::Fault);
        match own {
            Ok(own) => drop(found.insert(one, own)),
            Err(fault) => {
                asking.end().await;
                return Err(fault);
            }
        }
    }
    asking.end().await;
    let same_parts = old.names_the_same_parts(new);
    let types = found.iter().map(|(one, own)| told(one, own, &found, same_parts)).collect();
    Ok(Proof { solver: name, types, settled: 0, notes: Vec::new() })
}

/// What is told of one type, by what was found of it and of those that it follows from.
fn told(of: &RequestType, own: &Own, all: &BTreeMap<RequestType, Own>, same_parts: bool) -> TypeProof {
    let with: Vec<(&RequestType, &Own)> = rules::follows_from(of)
        .iter()
        .filter_map(|(action, resource)| {
            all.iter().find(|(one, _)| {
                one.principal == of.principal && one.action == *action && one.resource == *resource
            })
        })
        .collect();
    let blank = TypeProof {
        principal: of.principal.clone(),
        action: of.action.clone(),
        resource: of.resource.clone(),
        outcome: Compared::NotProven,
        by: Ground::Enumeration,
        of: None,
        why: None,
        counterexamples: own.counterexamples(),
    };
    let looks_for_parts = !with.is_empty();
    if own.same && with.iter().all(|(_, part)| part.same) && (same_parts || !looks_for_parts) {
        return TypeProof { outcome: Compared::Equivalent, by: Ground::SamePolicies, ..blank };
    }
    let why = own.open.clone().or_else(|| rules::why_not(own, &with, same_parts));
    let (outcome, why) = match own.open {
        Some(_) => (Compared::NotProven, why),
        None => compared(own, why.as_ref(), [own.kept(&with), own.bounded(&with)]),
    };
    let by = if why.is_none() { Ground::Proven } else { Ground::Enumeration };
    let of = of_which(of, own, looks_for_parts, outcome).filter(|_| why.is_none());
    TypeProof { outcome, by, of, why, ..blank }
}

/// Of which requests something is said, where that is not all of them.
fn of_which(of: &RequestType, own: &Own, follows: bool, outcome: Compared) -> Option<String> {
    if of.asked_by() == AskedBy::Call(Action::InvokeTool) && own.on_arguments {
        return Some(rules::SEEN.to_owned());
    }
    // What its own policies say of it need not be all that is said.
    (follows && outcome != Compared::Equivalent).then(|| rules::ALONE.to_owned())
}

/// How the new set stands to the old one, and why no more is known. `why` nothing is known of all requests of the type; `sides`: whether all
/// that passed passes, and whether nothing passes that did not.
fn compared(own: &Own, why: Option<&String>, sides: [Result<(), String>; 2]) -> (Compared, Option<String>) {
    let is_shown = |implied: &Implied| matches!(implied, Implied::Fails(_));
    let [kept, bounded] = sides.map(|side| why.map_or(side, |why| Err(why.clone())));
    match (is_shown(&own.kept), is_shown(&own.bounded)) {
        (true, true) => (Compared::Incomparable, None),
        (true, false) => match bounded {
            Ok(()) => (Compared::LessPermissive, None),
            Err(why) => (Compared::NotEquivalent, Some(why)),
        },
        (false, true) => match kept {
            Ok(()) => (Compared::MorePermissive, None),
            Err(why) => (Compared::NotEquivalent, Some(why)),
        },
        (false, false) => match kept.and(bounded) {
            Ok(()) => (Compared::Equivalent, None),
            Err(why) => (Compared::NotProven, Some(why)),
        },
    }
}
