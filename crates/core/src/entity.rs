//! Names of the things a policy speaks about.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The Cedar entity types that name a registered principal or a governed resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntityKind {
    Agent,
    /// A `ServiceIdentity`: a plain service, or a person's client.
    Service,
    McpServer,
    Tool,
    /// An MCP resource (by URI).
    Resource,
    Prompt,
    Skill,
    LlmProvider,
    Model,
}

impl EntityKind {
    const ALL: [Self; 9] = [
        Self::Agent,
        Self::Service,
        Self::McpServer,
        Self::Tool,
        Self::Resource,
        Self::Prompt,
        Self::Skill,
        Self::LlmProvider,
        Self::Model,
    ];

    /// The Cedar entity type name, which is also the first segment of the text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "Agent",
            Self::Service => "Service",
            Self::McpServer => "MCPServer",
            Self::Tool => "Tool",
            Self::Resource => "Resource",
            Self::Prompt => "Prompt",
            Self::Skill => "Skill",
            Self::LlmProvider => "LLMProvider",
            Self::Model => "Model",
        }
    }
}

/// One entity: its type and its Cedar id (`namespace/name`, a tool: `namespace/server/tool`).
///
/// The text form, used in tokens, records and commands, is `Kind/id`: `Tool/finance/ledger/get_invoice`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityId {
    /// Its Cedar type.
    pub kind: EntityKind,
    /// Its Cedar id.
    pub id: Arc<str>,
}

impl EntityId {
    /// The entity of this type and id.
    pub fn new(kind: EntityKind, id: impl Into<Arc<str>>) -> Self {
        Self { kind, id: id.into() }
    }

    /// The registered object that it is, or is a part of: of a tool its server. `None` where its id has no place for one.
    pub fn registered(&self) -> Option<Self> {
        let kind = match self.kind {
            EntityKind::Agent | EntityKind::Service | EntityKind::McpServer | EntityKind::LlmProvider => {
                return Some(self.clone());
            }
            EntityKind::Tool | EntityKind::Resource | EntityKind::Prompt => EntityKind::McpServer,
            EntityKind::Skill => EntityKind::Agent,
            EntityKind::Model => EntityKind::LlmProvider,
        };
        let (end, _) = self.id.match_indices('/').nth(1)?;
        Some(Self::new(kind, self.id.get(..end)?))
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Piece by piece: that is done for each call, and std's formatting machinery takes four times as long.
        [self.kind.as_str(), "/", &self.id].into_iter().try_for_each(|piece| f.write_str(piece))
    }
}

/// The text is not `Kind/id` with a known kind and a non-empty id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not of the form Kind/namespace/name with a kind such as Agent, Service or Tool")]
pub struct NotAnEntity(pub String);

impl FromStr for EntityId {
    type Err = NotAnEntity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, id) = text.split_once('/').ok_or_else(|| NotAnEntity(text.to_owned()))?;
        let kind = EntityKind::ALL.into_iter().find(|k| k.as_str() == kind);
        match kind {
            Some(kind) if !id.is_empty() => Ok(Self::new(kind, id)),
            _ => Err(NotAnEntity(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_rejects_the_rest() {
        let tool = EntityId::new(EntityKind::Tool, "finance/ledger/get_invoice");
        assert_eq!(tool.to_string(), "Tool/finance/ledger/get_invoice");
        assert_eq!(tool.to_string().parse(), Ok(tool));
        for (part, object) in [
            ("Tool/a/s/get", "MCPServer/a/s"),
            ("Resource/a/s/file:///x/y", "MCPServer/a/s"),
            ("Skill/a/b/c", "Agent/a/b"),
            ("Model/a/p/org/m", "LLMProvider/a/p"),
            ("Agent/a/b", "Agent/a/b"),
        ] {
            let part: EntityId = part.parse().unwrap();
            assert_eq!(part.registered().map(|object| object.to_string()).as_deref(), Some(object));
        }
        assert_eq!("Tool/a/s".parse::<EntityId>().unwrap().registered(), None);
        for bad in ["", "Agent", "Agent/", "Robot/x/y", "/x"] {
            assert!(bad.parse::<EntityId>().is_err(), "{bad}");
        }
    }
}
