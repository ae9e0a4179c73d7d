//! Counting what becomes of the calls, by who asked for what.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use vidimus_core::record::DecisionRecord;

use super::{Counts, ReplayAnswer, ReplayedEdge};

/// What became of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Became {
    Known {
        allowed: bool,
        policies: Vec<String>,
    },
    /// It depends on these facts, or could not be decided for this reason.
    Unknown(BTreeSet<String>),
}

impl Became {
    pub(super) const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }

    const fn lacking(&self) -> Option<&BTreeSet<String>> {
        match self {
            Self::Known { .. } => None,
            Self::Unknown(lacking) => Some(lacking),
        }
    }
}

/// Most edges that an answer lists.
pub(super) const MAX_EDGES: usize = 1_000;

#[derive(Debug, Default)]
struct Edge {
    calls: Counts,
    policies: BTreeSet<String>,
    lacking: BTreeSet<String>,
    example: Option<(u64, String)>,
}

/// Principal, action and resource.
type Name = (String, String, String);

/// What became of some calls.
#[derive(Debug, Default)]
pub(super) struct Tally {
    edges: HashMap<Name, Edge>,
    lacking: BTreeMap<String, u64>,
}

impl Tally {
    /// A call that `was` one thing and `became` another. What is unknown of the one is unknown of both.
    pub(super) fn add(&mut self, index: u64, record: &DecisionRecord<'_>, was: &Became, became: Became) {
        let name = (record.principal.to_string(), record.action.to_string(), record.resource.to_string());
        let edge = self.edges.entry(name).or_default();
        let calls = &mut edge.calls;
        let changes = match (was, became) {
            (Became::Known { allowed: was, .. }, Became::Known { allowed, policies }) => {
                match (was, allowed) {
                    (true, true) => calls.stays_allowed += 1,
                    (false, false) => calls.stays_denied += 1,
                    (true, false) => calls.allow_to_deny += 1,
                    (false, true) => calls.deny_to_allow += 1,
                }
                if *was != allowed {
                    edge.policies.extend(policies);
                }
                *was != allowed
            }
            (was, became) => {
                calls.unknown += 1;
                let lacking: BTreeSet<&String> =
                    [was, &became].into_iter().filter_map(Became::lacking).flatten().collect();
                for fact in lacking {
                    *self.lacking.entry(fact.clone()).or_default() += 1;
                    edge.lacking.insert(fact.clone());
                }
                true
            }
        };
        if changes && edge.example.as_ref().is_none_or(|(first, _)| index < *first) {
            edge.example = Some((index, record.id.to_string()));
        }
    }

    /// Also these.
    pub(super) fn merge(&mut self, other: Self) {
        for (name, edge) in other.edges {
            let mine = self.edges.entry(name).or_default();
            mine.calls.add(&edge.calls);
            mine.policies.extend(edge.policies);
            mine.lacking.extend(edge.lacking);
            mine.example = match (mine.example.take(), edge.example) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        for (fact, calls) in other.lacking {
            *self.lacking.entry(fact).or_default() += calls;
        }
    }

    pub(super) fn answer(self) -> ReplayAnswer {
        let mut answer = ReplayAnswer { lacking: self.lacking, ..ReplayAnswer::default() };
        for ((principal, action, resource), edge) in self.edges {
            answer.calls.add(&edge.calls);
            let Some((_, example)) = edge.example else {
                answer.edges_that_stay += 1;
                continue;
            };
            answer.edges.push(ReplayedEdge {
                principal,
                action,
                resource,
                calls: edge.calls,
                policies: edge.policies.into_iter().collect(),
                lacking: edge.lacking.into_iter().collect(),
                example,
            });
        }
        let of = |edge: &ReplayedEdge| (edge.calls.flips(), edge.calls.unknown);
        answer.edges.sort_by(|one, other| {
            fn names(edge: &ReplayedEdge) -> (&str, &str, &str) {
                (&edge.principal, &edge.action, &edge.resource)
            }
            of(other).cmp(&of(one)).then_with(|| names(one).cmp(&names(other)))
        });
        answer
    }
}
