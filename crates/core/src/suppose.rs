//! What would have to be otherwise for a call to be answered otherwise: the smallest sets of facts, each found by what the policies ask
//! for and held to be one only after deciding with it.

mod supposed;

use std::sync::Arc;

use crate::call::Call;
use crate::decide::index::Side;
use crate::decide::ways::Way;
use crate::decision::{Finding, Outcome};
use crate::refusal::Code;
use crate::resource::Principal;
use crate::snapshot::Snapshot;

use self::supposed::Supposed;

/// How many sets of changes are decided with, at most.
const MAX_TRIED: usize = 40;
/// How many sets are given, at most.
const MAX_GIVEN: usize = 3;

/// Something of a record or of a call that may be otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fact {
    /// An attribute of principal or resource.
    Attribute(Side, Arc<str>),
    /// Whether it is in a group: its type and id.
    Member(Side, Arc<str>, Arc<str>),
    Capability(Side, Arc<str>),
    Label(Side, Arc<str>),
    /// Something of the context, by its path below it.
    Context(Arc<str>),
    /// An argument by its JSON pointer; as a number, or as text.
    Argument(Arc<str>, bool),
}

/// What it would be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Value {
    Absent,
    Bool(bool),
    Long(i64),
    Text(Arc<str>),
    /// Anything but what it is.
    Other,
}

/// One fact that would be otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// As in the facts of a decision: `principal.risk_level`, `context.numbers["/amount"]`.
    pub fact: Arc<str>,
    /// What it would be; `absent` where it would not be there.
    pub to: Arc<str>,
}

/// Facts that would have to be otherwise together, and what would be decided then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Otherwise {
    /// None of them can be left out.
    pub changes: Vec<Change>,
    /// What would be decided.
    pub outcome: Outcome,
    /// The policies that would decide.
    pub policies: Vec<Arc<str>>,
}

impl std::fmt::Display for Fact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Attribute(side, name) => write!(f, "{}.{name}", side.as_str()),
            Self::Member(side, of, id) => write!(f, "{} in {of}::{id}", side.as_str()),
            Self::Capability(side, name) => write!(f, "{}.capabilities.contains({name:?})", side.as_str()),
            Self::Label(side, key) => write!(f, "{}[{key:?}]", side.as_str()),
            Self::Context(path) => write!(f, "context.{path}"),
            Self::Argument(pointer, true) => write!(f, "context.numbers[{pointer:?}]"),
            Self::Argument(pointer, false) => write!(f, "context.args[{pointer:?}]"),
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent => f.write_str("absent"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Long(value) => write!(f, "{value}"),
            Self::Text(text) => f.write_str(text),
            Self::Other => f.write_str("another value"),
        }
    }
}

impl Snapshot {
    /// What would turn the answer of a call: of one that is not allowed into an allowance, of one that is allowed into something else.
    /// The sets with the fewest facts that were found, at most 3 of them; none where nothing was found, which does not mean that there is
    /// nothing. Each set was decided with, and no part of it alone is enough.
    ///
    /// Records are changed in a copy of this snapshot; the call must be of this one.
    pub fn otherwise(&self, call: &Call<'_>) -> Vec<Otherwise> {
        // What is refused for what cannot be read is not allowed by anything else.
        if self.is_closed() {
            return Vec::new();
        }
        let found = self.finding(call);
        let trial = Trial { snapshot: self, call, allow: !is_allowed(&found) };
        let mut given: Vec<(Way, Finding)> = Vec::new();
        for way in self.ways(call, &found, trial.allow).into_iter().take(MAX_TRIED) {
            let smallest = given.first().map_or(usize::MAX, |(way, _)| way.len());
            if way.is_empty() || way.len() > smallest || given.len() >= MAX_GIVEN {
                continue;
            }
            let Some(turned) = trial.turned(&way) else { continue };
            let (way, turned) = trial.smallest(way, turned);
            if way.len() < smallest {
                given.clear();
            }
            if given.iter().all(|(one, _)| *one != way) {
                given.push((way, turned));
            }
        }
        given.into_iter().map(|(way, finding)| Otherwise::of(&way, &finding)).collect()
    }

    /// The ways that the policies and the limits of the agent's own record propose.
    fn ways(&self, call: &Call<'_>, found: &Finding, allow: bool) -> Vec<Way> {
        if found.code == Some(Code::DelegationTooDeep) {
            let own = match call.principal() {
                Principal::Agent(agent) => agent.delegation.max_depth,
                Principal::Service(_) => None,
            };
            let most = own.map_or(crate::caller::MAX_DEPTH as i64, i64::from);
            return vec![Way::from([(Fact::Context("delegation_depth".into()), Value::Long(most))])];
        }
        self.proposed(call, allow).unwrap_or_default()
    }
}

fn is_allowed(found: &Finding) -> bool {
    matches!(found.outcome, Outcome::Allow | Outcome::AllowWithObligations)
}

/// A call whose answer is to be turned.
struct Trial<'a, 'c> {
    snapshot: &'a Snapshot,
    call: &'a Call<'c>,
    allow: bool,
}

impl Trial<'_, '_> {
    /// What is found with these changes, where that turns the answer.
    fn turned(&self, way: &Way) -> Option<Finding> {
        let supposed = Supposed::new(self.call).with(way)?;
        let found = supposed.found(self.snapshot)?;
        (is_allowed(&found) == self.allow).then_some(found)
    }

    /// Without what can be left out.
    fn smallest(&self, way: Way, turned: Finding) -> (Way, Finding) {
        let (mut way, mut turned) = (way, turned);
        for fact in way.keys().cloned().collect::<Vec<_>>() {
            let mut less = way.clone();
            less.remove(&fact);
            if !less.is_empty()
                && let Some(found) = self.turned(&less)
            {
                (way, turned) = (less, found);
            }
        }
        (way, turned)
    }
}

impl Otherwise {
    fn of(way: &Way, finding: &Finding) -> Self {
        let change = |(fact, value): (&Fact, &Value)| Change {
            fact: fact.to_string().into(),
            to: value.to_string().into(),
        };
        Self {
            changes: way.iter().map(change).collect(),
            outcome: finding.outcome,
            policies: finding.policies.to_vec(),
        }
    }
}
