//! What was used, by whom.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::record::DecisionRecord;

use super::{LentEdge, SuggestAnswer, SuggestedPolicy, UsedEdge, cedar};

/// How something was used.
#[derive(Clone, Debug, Default)]
pub(super) struct Use {
    pub(super) calls: u64,
    /// Of an agent as a whole, where methods differ in what they imply.
    pub(super) methods: BTreeSet<String>,
}

/// By action and resource.
pub(super) type Uses = BTreeMap<(String, EntityKey), Use>;

/// A resource, in the order of kinds and names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntityKey {
    kind: &'static str,
    pub(super) id: String,
}

impl EntityKey {
    fn of(id: &EntityId) -> Self {
        Self { kind: id.kind.as_str(), id: id.id.to_string() }
    }

    pub(super) fn is(&self, kind: EntityKind) -> bool {
        self.kind == kind.as_str()
    }

    /// In Cedar. A text of Rust's is one of Cedar's: both have the same escapes.
    pub(super) fn cedar(&self) -> String {
        format!("{}::{:?}", self.kind, self.id)
    }

    /// The registered object that it belongs to: `namespace/name`.
    pub(super) fn owner(&self) -> &str {
        let second = self.id.match_indices('/').nth(1);
        second.and_then(|(at, _)| self.id.get(..at)).unwrap_or(&self.id)
    }

    pub(super) fn namespace(&self) -> &str {
        self.id.split_once('/').map_or("", |(namespace, _)| namespace)
    }
}

impl std::fmt::Display for EntityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}

/// What was used, by principal.
#[derive(Debug, Default)]
pub(super) struct Used {
    of: HashMap<String, HashMap<(String, String), Use>>,
    /// By principal, action and resource: how often by grants alone.
    lent: BTreeMap<(String, String, String), u64>,
}

/// What the policy of a grant is called, before its id.
const OF_GRANT: &str = "vidimus/grant#";

impl Used {
    /// Also this call.
    pub(super) fn add(&mut self, record: &DecisionRecord<'_>) {
        let by_grant = |policy: &Arc<str>| policy.starts_with(OF_GRANT);
        if !record.policies.is_empty() && record.policies.iter().all(by_grant) {
            let edge = (&record.principal, &record.action, &record.resource);
            let edge = (edge.0.to_string(), edge.1.to_string(), edge.2.to_string());
            *self.lent.entry(edge).or_default() += 1;
            return;
        }
        let of = self.of.entry(record.principal.to_string()).or_default();
        let used = of.entry((record.action.to_string(), record.resource.to_string())).or_default();
        used.calls += 1;
        if !used.methods.contains(&*record.method) {
            used.methods.insert(record.method.to_string());
        }
    }

    /// Also these.
    pub(super) fn and(mut self, other: Self) -> Self {
        for (edge, calls) in other.lent {
            *self.lent.entry(edge).or_default() += calls;
        }
        for (principal, uses) in other.of {
            let mine = self.of.entry(principal).or_default();
            for (edge, used) in uses {
                let one = mine.entry(edge).or_default();
                one.calls += used.calls;
                one.methods.extend(used.methods);
            }
        }
        self
    }

    pub(super) fn suggested(self) -> SuggestAnswer {
        let mut answer = SuggestAnswer { principals: self.of.len(), ..SuggestAnswer::default() };
        let is_used = |(principal, action, resource): &(String, String, String)| {
            let used = self.of.get(principal);
            used.is_some_and(|used| used.contains_key(&(action.clone(), resource.clone())))
        };
        let lent = self.lent.iter().filter(|(edge, _)| !is_used(edge));
        answer.lent = lent
            .map(|((principal, action, resource), calls)| LentEdge {
                principal: principal.clone(),
                action: action.clone(),
                resource: resource.clone(),
                calls: *calls,
            })
            .collect();
        let all: BTreeMap<String, _> = self.of.into_iter().collect();
        for (principal, uses) in all {
            let Ok(id) = principal.parse::<EntityId>() else { continue };
            let mut of_namespaces: BTreeMap<String, Uses> = BTreeMap::new();
            for ((action, resource), used) in uses {
                let Ok(resource) = resource.parse::<EntityId>() else { continue };
                answer.edges += 1;
                answer.calls += used.calls;
                let resource = EntityKey::of(&resource);
                let uses = of_namespaces.entry(resource.namespace().to_owned()).or_default();
                uses.insert((action, resource), used);
            }
            for (namespace, uses) in of_namespaces {
                policies(&mut answer.policies, &EntityKey::of(&id), &namespace, &uses);
            }
        }
        answer
    }
}

/// The policies for one principal in one namespace: several where one would be too long.
fn policies(all: &mut Vec<SuggestedPolicy>, principal: &EntityKey, namespace: &str, uses: &Uses) {
    let texts = cedar::texts(principal, uses);
    let several = texts.len() > 1;
    for (number, (cedar, edges)) in (1..).zip(texts) {
        let suffix = if several { format!("-{number}") } else { String::new() };
        let calls: u64 = edges.iter().map(|((_, _), used)| used.calls).sum();
        let edges: Vec<UsedEdge> = edges
            .into_iter()
            .map(|((action, resource), used)| UsedEdge {
                action: action.clone(),
                resource: resource.to_string(),
                calls: used.calls,
            })
            .collect();
        all.push(SuggestedPolicy {
            namespace: namespace.to_owned(),
            name: name(principal, &suffix),
            description: format!("What {principal} used in {namespace}: {} by {calls} calls.", edges.len()),
            cedar,
            principal: principal.to_string(),
            edges,
        });
    }
}

/// The longest name of an object, with room for a suffix.
const MAX_NAME: usize = 240;

fn name(principal: &EntityKey, suffix: &str) -> String {
    let kind = principal.kind.to_ascii_lowercase();
    let name = format!("used-by-{kind}.{}", principal.id.replace('/', "."));
    let name = name.get(..name.floor_char_boundary(MAX_NAME)).unwrap_or_default();
    format!("{}{suffix}", name.trim_end_matches(['.', '-']))
}
