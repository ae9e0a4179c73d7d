//! Names in policies that nothing registered bears. Such a policy is valid, and never matches; its author should know.

use std::collections::HashSet;
use std::sync::Arc;

use cedar_policy::EntityUid;
use foldhash::fast::RandomState;

use super::registered::Registered;
use crate::call::Target;
use crate::resource::Object;

/// The groups, teams, classes, namespaces and sets that some registered object is in.
#[derive(Debug, Default)]
pub(crate) struct Borne {
    agent_classes: Bearers,
    groups: Bearers,
    model_sets: Bearers,
    namespaces: Bearers,
    teams: Bearers,
    tool_sets: Bearers,
}

type Bearers = HashSet<Arc<str>, RandomState>;

impl Borne {
    pub(crate) fn add(&mut self, object: &Object) {
        fn all<'a>(to: &mut Bearers, names: impl IntoIterator<Item = &'a Arc<str>>) {
            for name in names {
                // Most names are borne by many objects.
                if !to.contains(name) {
                    to.insert(name.clone());
                }
            }
        }
        let team = match object {
            Object::Agent(agent) => {
                all(&mut self.groups, &agent.groups);
                all(&mut self.agent_classes, &agent.sandbox_class);
                &agent.team
            }
            Object::Service(service) => {
                all(&mut self.groups, &service.groups);
                &service.team
            }
            Object::McpServer(server) => {
                all(&mut self.tool_sets, server.tool_sets.keys());
                &server.team
            }
            Object::LlmProvider(provider) => {
                all(&mut self.model_sets, provider.models.iter().flat_map(|model| &model.sets));
                &provider.team
            }
            Object::Policy(_) => return,
        };
        all(&mut self.teams, [team]);
        all(&mut self.namespaces, [&object.meta().namespace]);
    }

    /// Whether something registered bears the name. Types that are not registered here (users, files, hosts) always count.
    pub(crate) fn knows(&self, registered: &Registered, literal: &EntityUid) -> bool {
        let (of, id) = (literal.type_name().basename(), literal.id().unescaped());
        match of {
            "Agent" | "Service" => registered.principal(of, id).is_some(),
            "MCPServer" | "Tool" | "Resource" | "Prompt" | "Skill" => registered.target(of, id).is_some(),
            "Model" => matches!(
                registered.target(of, id),
                Some(Target::Model { provider, name }) if provider.model(name).is_some()
            ),
            "LLMProvider" => registered.llm_providers.contains_key(id),
            "AgentClass" => self.agent_classes.contains(id),
            "Group" => self.groups.contains(id),
            "ModelSet" => self.model_sets.contains(id),
            "Namespace" => self.namespaces.contains(id),
            "Team" => self.teams.contains(id),
            "ToolSet" => self.tool_sets.contains(id),
            _ => true,
        }
    }
}
