//! Names in policies that nothing registered bears. Such a policy is valid, and never matches; its author should know.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::EntityUid;
use foldhash::fast::RandomState;

use super::registered::Registered;
use crate::call::Target;
use crate::decide::membership::Granting;
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

/// Name → the namespaces of the objects that bear it.
type Bearers = HashMap<Arc<str>, Vec<Arc<str>>, RandomState>;

impl Borne {
    pub(crate) fn add(&mut self, object: &Object) {
        let own = &object.meta().namespace;
        fn all<'a>(to: &mut Bearers, names: impl IntoIterator<Item = &'a Arc<str>>, own: &Arc<str>) {
            for name in names {
                // Most names are borne by many objects of one namespace.
                match to.get_mut(name) {
                    Some(namespaces) if namespaces.contains(own) => {}
                    Some(namespaces) => namespaces.push(own.clone()),
                    None => drop(to.insert(name.clone(), vec![own.clone()])),
                }
            }
        }
        let team = match object {
            Object::Agent(agent) => {
                all(&mut self.groups, &agent.groups, own);
                all(&mut self.agent_classes, &agent.sandbox_class, own);
                &agent.team
            }
            Object::Service(service) => {
                all(&mut self.groups, &service.groups, own);
                &service.team
            }
            Object::McpServer(server) => {
                all(&mut self.tool_sets, server.tool_sets.keys(), own);
                &server.team
            }
            Object::LlmProvider(provider) => {
                all(&mut self.model_sets, provider.models.iter().flat_map(|model| &model.sets), own);
                &provider.team
            }
            Object::Policy(_) => return,
        };
        all(&mut self.teams, [team], own);
        all(&mut self.namespaces, [own], own);
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
            "Namespace" => self.namespaces.contains_key(id),
            _ => self.bearers(of).is_none_or(|bearers| match id.split_once('/') {
                None => bearers.contains_key(id),
                Some((namespace, name)) => {
                    bearers.get(name).is_some_and(|all| all.iter().any(|one| **one == *namespace))
                }
            }),
        }
    }

    /// The namespaces whose objects bear a name, sorted.
    pub(crate) fn namespaces_of(&self, granting: &Granting) -> Vec<Arc<str>> {
        let bearers = self.bearers(&granting.of).and_then(|bearers| bearers.get(&granting.name));
        let mut all = bearers.cloned().unwrap_or_default();
        all.sort_unstable();
        all
    }

    fn bearers(&self, of: &str) -> Option<&Bearers> {
        Some(match of {
            "AgentClass" => &self.agent_classes,
            "Group" => &self.groups,
            "ModelSet" => &self.model_sets,
            "Team" => &self.teams,
            "ToolSet" => &self.tool_sets,
            _ => return None,
        })
    }
}
