//! Names in policies that nothing registered bears. Such a policy is valid, and never matches; its author should know.

use std::collections::HashSet;
use std::sync::Arc;

use cedar_policy::EntityUid;

use super::registered::Registered;

/// The groups, teams, classes, namespaces and sets that registered objects are in.
pub(crate) struct Used<'a> {
    registered: &'a Registered,
    containers: HashSet<(&'static str, &'a str)>,
}

impl<'a> Used<'a> {
    pub(crate) fn of(registered: &'a Registered) -> Self {
        let mut containers: HashSet<(&'static str, &'a str)> = HashSet::new();
        let mut all = |of: &'static str, names: &mut dyn Iterator<Item = &'a Arc<str>>| {
            containers.extend(names.map(|name| (of, &**name)));
        };
        for agent in registered.agents.values() {
            all("Namespace", &mut std::iter::once(&agent.meta.namespace));
            all("Team", &mut std::iter::once(&agent.team));
            all("Group", &mut agent.groups.iter());
            all("AgentClass", &mut agent.sandbox_class.iter());
        }
        for service in registered.services.values() {
            all("Namespace", &mut std::iter::once(&service.meta.namespace));
            all("Team", &mut std::iter::once(&service.team));
            all("Group", &mut service.groups.iter());
        }
        for server in registered.mcp_servers.values() {
            all("Namespace", &mut std::iter::once(&server.meta.namespace));
            all("Team", &mut std::iter::once(&server.team));
            all("ToolSet", &mut server.tool_sets.keys());
        }
        for provider in registered.llm_providers.values() {
            all("Namespace", &mut std::iter::once(&provider.meta.namespace));
            all("Team", &mut std::iter::once(&provider.team));
            all("ModelSet", &mut provider.models.iter().flat_map(|model| &model.sets));
        }
        Self { registered, containers }
    }

    /// Whether something registered bears the name. Types that are not registered here (users, files, hosts) always count.
    pub(crate) fn knows(&self, literal: &EntityUid) -> bool {
        let (of, id) = (literal.type_name().to_string(), literal.id().unescaped());
        match &*of {
            "Agent" | "Service" => self.registered.principal(&of, id).is_some(),
            "MCPServer" | "Tool" | "Resource" | "Prompt" | "Skill" => {
                self.registered.target(&of, id).is_some()
            }
            "Model" => matches!(
                self.registered.target(&of, id),
                Some(crate::call::Target::Model { provider, name }) if provider.model(name).is_some()
            ),
            "LLMProvider" => self.registered.llm_providers.contains_key(id),
            "Group" | "Team" | "AgentClass" | "Namespace" | "ToolSet" | "ModelSet" => {
                self.containers.contains(&(container(&of), id))
            }
            _ => true,
        }
    }
}

fn container(of: &str) -> &'static str {
    match of {
        "Group" => "Group",
        "Team" => "Team",
        "AgentClass" => "AgentClass",
        "Namespace" => "Namespace",
        "ToolSet" => "ToolSet",
        _ => "ModelSet",
    }
}
