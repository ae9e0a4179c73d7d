//! What is registered, by name. Names are unique per kind.

use std::collections::HashMap;
use std::sync::Arc;

use crate::call::Target;
use crate::decide::edge::OfClass;
use crate::resource::{Agent, AuthorityClass, LlmProvider, McpServer, Object, Principal, Service};
use crate::shards::Shards;

/// The registered objects other than policies, each under its `namespace/name`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registered {
    pub(crate) agents: Shards<Arc<str>, Arc<Agent>>,
    pub(crate) services: Shards<Arc<str>, Arc<Service>>,
    pub(crate) mcp_servers: Shards<Arc<str>, Arc<McpServer>>,
    pub(crate) llm_providers: Shards<Arc<str>, Arc<LlmProvider>>,
    /// The agents whose record says their class, where the class keeps them from something.
    of_class: HashMap<AuthorityClass, OfClass>,
}

impl Registered {
    /// Adds an object; policies are not kept here.
    pub(crate) fn insert(&mut self, object: &Object) {
        match object {
            Object::Agent(agent) => {
                if let Some(class) = keeping_class(agent) {
                    Arc::make_mut(self.of_class.entry(class).or_default()).insert(agent.id.id.clone());
                }
                drop(self.agents.insert(agent.id.id.clone(), agent.clone()));
            }
            Object::Service(service) => drop(self.services.insert(service.id.id.clone(), service.clone())),
            Object::McpServer(server) => drop(self.mcp_servers.insert(server.id.id.clone(), server.clone())),
            Object::LlmProvider(provider) => {
                drop(self.llm_providers.insert(provider.id.id.clone(), provider.clone()));
            }
            Object::Policy(_) => {}
        }
    }

    /// Takes an object away that was added.
    pub(super) fn remove(&mut self, object: &Object) {
        match object {
            Object::Agent(agent) => {
                if let Some(class) = keeping_class(agent)
                    && let Some(of_class) = self.of_class.get_mut(&class)
                {
                    let agents = Arc::make_mut(of_class);
                    agents.remove(&*agent.id.id);
                    if agents.is_empty() {
                        self.of_class.remove(&class);
                    }
                }
                drop(self.agents.remove(&*agent.id.id));
            }
            Object::Service(service) => drop(self.services.remove(&*service.id.id)),
            Object::McpServer(server) => drop(self.mcp_servers.remove(&*server.id.id)),
            Object::LlmProvider(provider) => drop(self.llm_providers.remove(&*provider.id.id)),
            Object::Policy(_) => {}
        }
    }

    /// The agents whose record says that they are of a class which keeps them from something; `None` where there is none.
    pub(crate) fn of_class(&self, class: AuthorityClass) -> Option<&OfClass> {
        self.of_class.get(&class)
    }

    /// The registered principal that a Cedar literal names.
    pub(crate) fn principal(&self, type_name: &str, id: &str) -> Option<Principal> {
        match type_name {
            "Agent" => self.agents.get(id).cloned().map(Principal::Agent),
            "Service" => self.services.get(id).cloned().map(Principal::Service),
            _ => None,
        }
    }

    /// The resource that a Cedar literal names: it exists when the object that it belongs to is registered.
    pub(crate) fn target<'a>(&'a self, type_name: &str, id: &'a str) -> Option<Target<'a>> {
        match type_name {
            "MCPServer" => return self.mcp_servers.get(id).map(Target::Server),
            "LLMProvider" => return self.llm_providers.get(id).map(Target::Provider),
            _ => {}
        }
        // Neither a namespace nor a name contains a slash, so the second one ends the owner's key.
        let second = id.match_indices('/').nth(1)?.0;
        let (owner, name) = (id.get(..second)?, id.get(second + 1..)?);
        match type_name {
            "Tool" => self.mcp_servers.get(owner).map(|server| Target::Tool { server, name }),
            "Resource" => self.mcp_servers.get(owner).map(|server| Target::Resource { server, uri: name }),
            "Prompt" => self.mcp_servers.get(owner).map(|server| Target::Prompt { server, name }),
            "Skill" => self.agents.get(owner).map(|agent| Target::Skill { agent, name }),
            "Model" => self.llm_providers.get(owner).map(|provider| Target::Model { provider, name }),
            _ => None,
        }
    }
}

/// The class of an agent whose record says it, where it keeps the agent from something.
fn keeping_class(agent: &Agent) -> Option<AuthorityClass> {
    let keeps = agent.authority_stated && agent.authority_class < AuthorityClass::Act;
    keeps.then_some(agent.authority_class)
}
