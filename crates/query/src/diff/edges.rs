//! The principals that are registered and the resources that are known, of either configuration.

use std::collections::BTreeSet;

use vidimus_core::call::Action;
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::resource::Object;
use vidimus_core::snapshot::Snapshot;

use super::DiffQuestion;

/// Stands for the tools, resources, prompts and skills that nothing names.
const UNNAMED: &str = "*";

/// Every pair of these is an edge.
#[derive(Debug, Default)]
pub(super) struct Edges {
    pub(super) principals: BTreeSet<EntityId>,
    pub(super) resources: BTreeSet<(Action, EntityId)>,
}

impl Edges {
    pub(super) fn of(worlds: [&Snapshot; 2], question: &DiffQuestion) -> Self {
        let mut edges = Self::default();
        // What one of them names, both are asked of.
        for world in worlds {
            world.objects().iter().for_each(|object| edges.add(object, worlds));
        }
        edges.principals.retain(|id| fits(id, question.principal.as_deref()));
        edges.resources.retain(|(_, id)| fits(id, question.resource.as_deref()));
        edges
    }

    fn add(&mut self, object: &Object, worlds: [&Snapshot; 2]) {
        let named = |key: &str| -> Vec<(Action, String)> {
            let named = worlds.into_iter().flat_map(|world| world.named_of(key));
            named.map(|(action, name)| (action, name.to_owned())).collect()
        };
        match object {
            Object::Agent(agent) => {
                if !agent.identities.is_empty() {
                    self.principals.insert(agent.id.clone());
                }
                if agent.endpoint.is_some() {
                    self.resources.insert((Action::CallAgent, agent.id.clone()));
                    let skills = named(&agent.id.id).into_iter().map(|(_, name)| name);
                    for name in skills.chain([UNNAMED.to_owned()]) {
                        self.part(Action::CallAgent, EntityKind::Skill, &agent.id, &name);
                    }
                }
            }
            Object::Service(service) => drop(self.principals.insert(service.id.clone())),
            Object::McpServer(server) => {
                self.resources.insert((Action::ConnectServer, server.id.clone()));
                let tools = server.tool_sets.values().flatten().chain(server.tools.keys());
                tools.for_each(|name| self.part(Action::InvokeTool, EntityKind::Tool, &server.id, name));
                let unnamed = [Action::InvokeTool, Action::ReadResource, Action::GetPrompt];
                let unnamed = unnamed.map(|action| (action, UNNAMED.to_owned()));
                for (action, name) in named(&server.id.id).into_iter().chain(unnamed) {
                    let kind = match action {
                        Action::ReadResource => EntityKind::Resource,
                        Action::GetPrompt => EntityKind::Prompt,
                        _ => EntityKind::Tool,
                    };
                    self.part(action, kind, &server.id, &name);
                }
            }
            Object::LlmProvider(provider) => {
                self.resources.insert((Action::ListModels, provider.id.clone()));
                for model in &provider.models {
                    self.part(Action::CallModel, EntityKind::Model, &provider.id, &model.name);
                }
            }
            Object::Policy(_) => {}
        }
    }

    fn part(&mut self, action: Action, kind: EntityKind, of: &EntityId, name: &str) {
        self.resources.insert((action, EntityId::new(kind, format!("{}/{name}", of.id))));
    }
}

/// As names fit in `search`: whole, or from any slash on.
fn fits(id: &EntityId, wanted: Option<&str>) -> bool {
    let Some(wanted) = wanted else { return true };
    let text = id.to_string();
    text.strip_suffix(wanted).is_some_and(|before| before.is_empty() || before.ends_with('/'))
}
