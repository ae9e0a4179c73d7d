//! The compiled edges of a snapshot, kept while they are used.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, UnitWeighter};

use super::edge::Edge;
use crate::call::{Action, Call, Target};
use crate::entity::{EntityId, EntityKind};

/// How many edges are kept. Seldom used ones make room for others, so a flood of made-up names costs no memory and
/// displaces little.
pub const MAX_EDGES: usize = 65_536;

/// Edges to tools, resources and so on with longer names (in bytes) are compiled for each call and not kept: names come from
/// callers, and what is kept must be bounded in bytes too.
pub const MAX_EDGE_NAME: usize = 256;

/// The name of an edge, borrowed from the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Name<'a> {
    principal: &'a EntityId,
    action: Action,
    kind: EntityKind,
    owner: &'a str,
    name: &'a str,
}

#[derive(Clone, Debug)]
struct OwnedName {
    principal: EntityId,
    action: Action,
    kind: EntityKind,
    owner: Arc<str>,
    name: Box<str>,
}

impl<'a> Name<'a> {
    fn of(call: &'a Call<'_>) -> Self {
        let (kind, owner, name) = match &call.ask.target {
            Target::Tool { server, name } => (EntityKind::Tool, &server.id, *name),
            Target::Resource { server, uri } => (EntityKind::Resource, &server.id, *uri),
            Target::Prompt { server, name } => (EntityKind::Prompt, &server.id, *name),
            Target::Server(server) => (EntityKind::McpServer, &server.id, ""),
            Target::Agent(agent) => (EntityKind::Agent, &agent.id, ""),
            Target::Skill { agent, name } => (EntityKind::Skill, &agent.id, *name),
            Target::Model { provider, name } => (EntityKind::Model, &provider.id, *name),
            Target::Provider(provider) => (EntityKind::LlmProvider, &provider.id, ""),
        };
        Self { principal: call.principal().entity(), action: call.ask.action, kind, owner: &owner.id, name }
    }

    fn owned(self) -> OwnedName {
        OwnedName {
            principal: self.principal.clone(),
            action: self.action,
            kind: self.kind,
            owner: self.owner.into(),
            name: self.name.into(),
        }
    }
}

impl OwnedName {
    fn borrowed(&self) -> Name<'_> {
        Name {
            principal: &self.principal,
            action: self.action,
            kind: self.kind,
            owner: &self.owner,
            name: &self.name,
        }
    }
}

impl PartialEq for OwnedName {
    fn eq(&self, other: &Self) -> bool {
        self.borrowed() == other.borrowed()
    }
}

impl Eq for OwnedName {}

/// As [`Name`] hashes, so that one finds the other.
impl Hash for OwnedName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrowed().hash(state);
    }
}

impl Equivalent<OwnedName> for Name<'_> {
    fn equivalent(&self, key: &OwnedName) -> bool {
        *self == key.borrowed()
    }
}

/// The compiled edges.
pub(crate) struct Edges(Cache<OwnedName, Arc<Edge>, UnitWeighter, RandomState>);

impl Edges {
    /// The edge of a call, compiled now if it is not here.
    pub(crate) fn of(&self, call: &Call<'_>, compile: impl FnOnce() -> Edge) -> Arc<Edge> {
        let name = Name::of(call);
        if let Some(edge) = self.0.get(&name) {
            return edge;
        }
        // Two calls may compile the same edge at once; both get the same, and neither waits for the other.
        let edge = Arc::new(compile());
        if name.name.len() <= MAX_EDGE_NAME {
            self.0.insert(name.owned(), edge.clone());
        }
        edge
    }

    /// All of them are let go: each is compiled again where somebody asks for it.
    pub(crate) fn forget(&self) {
        self.0.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Default for Edges {
    fn default() -> Self {
        let maximum = u64::try_from(MAX_EDGES).unwrap_or(u64::MAX);
        Self(Cache::with(
            MAX_EDGES,
            maximum,
            UnitWeighter,
            RandomState::default(),
            DefaultLifecycle::default(),
        ))
    }
}

impl std::fmt::Debug for Edges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Edges({})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher as _;

    use super::*;

    /// An edge that is here is found, and no other one for it.
    #[test]
    fn a_name_is_found_as_it_is_kept() {
        let [one, other] = ["a/x", "a/y"].map(|id| EntityId::new(EntityKind::Agent, id));
        let name = Name {
            principal: &one,
            action: Action::InvokeTool,
            kind: EntityKind::Tool,
            owner: "a/s",
            name: "t",
        };
        let seed = RandomState::default();
        let (kept, again) = (name.owned(), name.owned());
        assert!(name.equivalent(&kept) && kept == again);
        assert_eq!(
            (seed.hash_one(name), seed.hash_one(&again)),
            (seed.hash_one(&kept), seed.hash_one(&kept))
        );
        for another in [
            Name { principal: &other, ..name },
            Name { action: Action::ReadResource, ..name },
            Name { kind: EntityKind::Prompt, ..name },
            Name { owner: "a/t", ..name },
            Name { name: "s", ..name },
        ] {
            assert!(!another.equivalent(&kept) && another.owned() != kept, "{another:?}");
            assert_ne!(seed.hash_one(another.owned()), seed.hash_one(&kept), "{another:?}");
        }
        assert_eq!(format!("{:?}", Edges::default()), "Edges(0)");
    }
}
