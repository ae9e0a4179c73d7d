//! What is registered, by name.

use std::sync::Arc;

use super::Snapshot;
use crate::call::Target;
use crate::entity::{EntityId, EntityKind};
use crate::resource::{Agent, LlmProvider, McpServer, Service};

impl Snapshot {
    /// The agent of this key: `namespace/name`, here and below.
    pub fn agent(&self, key: &str) -> Option<&Arc<Agent>> {
        self.world.registered.agents.get(key)
    }

    /// The MCP server of this key.
    pub fn mcp_server(&self, key: &str) -> Option<&Arc<McpServer>> {
        self.world.registered.mcp_servers.get(key)
    }

    /// The model provider of this key.
    pub fn llm_provider(&self, key: &str) -> Option<&Arc<LlmProvider>> {
        self.world.registered.llm_providers.get(key)
    }

    /// The service of this key.
    pub fn service(&self, key: &str) -> Option<&Arc<Service>> {
        self.world.registered.services.get(key)
    }

    /// The resource with this entity; `None` where the object that it is, or belongs to, is not registered.
    pub fn target<'a>(&'a self, resource: &'a EntityId) -> Option<Target<'a>> {
        match resource.kind {
            EntityKind::Agent => self.agent(&resource.id).map(Target::Agent),
            kind => self.world.registered.target(kind.as_str(), &resource.id),
        }
    }
}
