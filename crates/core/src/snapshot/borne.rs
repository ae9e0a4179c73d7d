//! Names in policies that nothing registered bears. Such a policy is valid, and never matches; its author should know.

use std::collections::HashSet;
use std::hash::BuildHasher as _;
use std::sync::{Arc, LazyLock};

use cedar_policy::EntityUid;
use foldhash::fast::RandomState;

use super::registered::Registered;
use crate::call::Target;
use crate::decide::membership::Granting;
use crate::resource::Object;
use crate::shards::Shards;

/// The groups, teams, classes, namespaces and sets that some registered object is in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Borne {
    agent_classes: Bearers,
    groups: Bearers,
    model_sets: Bearers,
    namespaces: Bearers,
    teams: Bearers,
    tool_sets: Bearers,
}

/// Name → the namespaces of the objects that bear it, each with how often it is borne there.
type Bearers = Shards<Arc<str>, Vec<(Arc<str>, usize)>>;

/// Names of which something else is known than before, as [`mention`] has them.
pub(super) type Touched = HashSet<u64, RandomState>;

/// A name that policies may have, of a type, as a number. Two names have the same one about never; then more is looked up than need be.
pub(super) fn mention(of: &str, name: &str) -> u64 {
    static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::default);
    SEED.hash_one((of, name))
}

/// On what it depends whether something bears `literal`; `None` where that is not asked.
pub(super) fn mention_of(literal: &EntityUid) -> Option<u64> {
    let (of, id) = (literal.type_name().basename(), literal.id().unescaped());
    let owner = || id.match_indices('/').nth(1).and_then(|(at, _)| id.get(..at)).unwrap_or(id);
    Some(match of {
        "Agent" | "Skill" => mention("Agent", owner()),
        "Service" | "Namespace" => mention(of, id),
        "MCPServer" | "Tool" | "Resource" | "Prompt" => mention("MCPServer", owner()),
        "LLMProvider" | "Model" => mention("LLMProvider", owner()),
        "AgentClass" | "Group" | "ModelSet" | "Team" | "ToolSet" => {
            mention(of, id.split_once('/').map_or(id, |(_, name)| name))
        }
        _ => return None,
    })
}

/// The same of the name of an object itself.
pub(super) fn mention_of_object(object: &Object) -> Option<u64> {
    let (of, id) = match object {
        Object::Agent(agent) => ("Agent", &agent.id.id),
        Object::Service(service) => ("Service", &service.id.id),
        Object::McpServer(server) => ("MCPServer", &server.id.id),
        Object::LlmProvider(provider) => ("LLMProvider", &provider.id.id),
        Object::Policy(_) => return None,
    };
    Some(mention(of, id))
}

impl Borne {
    /// Adds the names that an object bears; `touched` has then also those that nothing of its namespace bore.
    pub(super) fn add(&mut self, object: &Object, touched: &mut Touched) {
        self.each(object, |of, bearers, name, own| {
            let namespaces = bearers.or_insert(name, Vec::new);
            let Some(namespaces) = namespaces else { return };
            // Most names are borne by many objects of one namespace.
            match namespaces.iter_mut().find(|(namespace, _)| namespace == own) {
                Some((_, count)) => *count += 1,
                None => {
                    namespaces.push((own.clone(), 1));
                    touched.insert(mention(of, name));
                }
            }
        });
    }

    /// Takes them back; `touched` has then also those that nothing of its namespace bears any more.
    pub(super) fn remove(&mut self, object: &Object, touched: &mut Touched) {
        self.each(object, |of, bearers, name, own| {
            let Some(namespaces) = bearers.get_mut(&**name) else { return };
            let Some(place) = namespaces.iter().position(|(namespace, _)| namespace == own) else { return };
            if let Some((_, count)) = namespaces.get_mut(place)
                && *count > 1
            {
                *count -= 1;
                return;
            }
            namespaces.swap_remove(place);
            touched.insert(mention(of, name));
            if namespaces.is_empty() {
                bearers.remove(&**name);
            }
        });
    }

    /// Goes through the names that an object bears, with their types.
    fn each(&mut self, object: &Object, mut with: impl FnMut(&str, &mut Bearers, &Arc<str>, &Arc<str>)) {
        let own = &object.meta().namespace;
        let team = match object {
            Object::Agent(agent) => {
                agent.groups.iter().for_each(|name| with("Group", &mut self.groups, name, own));
                let class = agent.sandbox_class.iter();
                class.for_each(|name| with("AgentClass", &mut self.agent_classes, name, own));
                &agent.team
            }
            Object::Service(service) => {
                service.groups.iter().for_each(|name| with("Group", &mut self.groups, name, own));
                &service.team
            }
            Object::McpServer(server) => {
                let sets = server.tool_sets.keys();
                sets.for_each(|name| with("ToolSet", &mut self.tool_sets, name, own));
                &server.team
            }
            Object::LlmProvider(provider) => {
                let sets = provider.models.iter().flat_map(|model| &model.sets);
                sets.for_each(|name| with("ModelSet", &mut self.model_sets, name, own));
                &provider.team
            }
            Object::Policy(_) => return,
        };
        with("Team", &mut self.teams, team, own);
        with("Namespace", &mut self.namespaces, own, own);
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
                    bearers.get(name).is_some_and(|all| all.iter().any(|(one, _)| **one == *namespace))
                }
            }),
        }
    }

    /// The namespaces whose objects bear a name, sorted.
    pub(crate) fn namespaces_of(&self, granting: &Granting) -> Vec<Arc<str>> {
        let bearers = self.bearers(&granting.of).and_then(|bearers| bearers.get(&*granting.name));
        let mut all: Vec<Arc<str>> =
            bearers.into_iter().flatten().map(|(namespace, _)| namespace.clone()).collect();
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
