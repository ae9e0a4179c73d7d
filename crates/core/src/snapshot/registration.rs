//! Which namespaces may bear which names: a policy says so (`Action::"register"`), and where none does, each may bear each.
//!
//! What bears a name that it may not bear is as though it did not where something is granted by the name, and as though it did where
//! something is refused (ADR 40).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cedar_policy::{Authorizer, Context, Decision, Effect, Entities, PolicySet, Request};

use super::difference::Difference;
use super::reject;
use crate::decide::schema::{Type, actions, schema, uid};
use crate::decide::statement::Statement;
use crate::resource::{Meta, NotBorne, Object, Rejection};

/// The policies that say who may bear what.
struct Registrations {
    policies: PolicySet,
    /// Whether some of them permits. As long as none does, what none forbids is permitted.
    permits: bool,
    entities: Entities,
    /// Which policies keep a namespace from bearing a name; `None` where it may.
    known: HashMap<Bearing, Option<Vec<String>>>,
}

/// A namespace, and the type and name that it bears.
type Bearing = (Arc<str>, Type, Arc<str>);

/// Takes from each object the names that it may not bear, and says so. `ruling` are the policies that say who may bear what; under the same
/// ones an object that was among the last bears what it did. Whether some object is another one now.
pub(super) fn apply(
    objects: &mut [Object],
    difference: &Difference,
    (last_ruling, ruling): (&[Arc<Statement>], &[Arc<Statement>]),
    rejected: &mut Vec<Rejection>,
) -> bool {
    let is_ruled_as_before = ruling.len() == last_ruling.len()
        && ruling.iter().all(|one| last_ruling.iter().any(|other| Arc::ptr_eq(one, other)));
    if ruling.is_empty() {
        if !is_ruled_as_before {
            // Those of another snapshot have what its policies said.
            return objects.iter_mut().filter_map(|object| bear_all(object).then_some(())).count() > 0;
        }
        let mut changed = false;
        for place in &difference.new {
            changed |= objects.get_mut(*place).is_some_and(bear_all);
        }
        return changed;
    }
    let ruling: Vec<&Arc<Statement>> = ruling.iter().collect();
    let mut registrations = match Registrations::of(&ruling) {
        Ok(registrations) => registrations,
        Err(reason) => {
            rejected.push(reject::fault(&reason));
            Registrations {
                policies: PolicySet::new(),
                permits: true,
                entities: Entities::empty(),
                known: HashMap::new(),
            }
        }
    };
    let mut changed = false;
    for (place, object) in objects.iter_mut().enumerate() {
        // One that was there, and lacks nothing, lacked nothing.
        let was_there = is_ruled_as_before && difference.from(place).is_some();
        if was_there && object.meta().not_borne == NotBorne::default() {
            continue;
        }
        let not_borne = registrations.not_borne(object, rejected);
        changed |= bear(object, not_borne);
    }
    changed
}

fn bear_all(object: &mut Object) -> bool {
    bear(object, NotBorne::default())
}

/// What is so already stays the same one in memory; whether it is another now.
fn bear(object: &mut Object, not_borne: NotBorne) -> bool {
    if object.meta().not_borne == not_borne {
        return false;
    }
    meta(object).map(|meta| meta.not_borne = not_borne).is_some()
}

impl Registrations {
    fn of(ruling: &[&Arc<Statement>]) -> Result<Self, String> {
        let policies = ruling.iter().map(|one| one.policy.evaluated().cloned());
        let policies = policies.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        let policies = PolicySet::from_policies(policies).map_err(|error| error.to_string())?;
        let permits = ruling.iter().any(|one| one.effect == Effect::Permit);
        let entities = Entities::from_entities(actions()?, None).map_err(|error| error.to_string())?;
        Ok(Self { policies, permits, entities, known: HashMap::new() })
    }

    fn not_borne(&mut self, object: &Object, rejected: &mut Vec<Rejection>) -> NotBorne {
        let mut not_borne = BTreeSet::new();
        for (field, of, name) in names(object) {
            let key = (object.meta().namespace.clone(), of, name.clone());
            let refused = match self.known.get(&key) {
                Some(known) => known.clone(),
                None => {
                    let refused = self.refused(&key);
                    self.known.insert(key, refused.clone());
                    refused
                }
            };
            if let Some(by) = refused {
                rejected.push(reject::not_borne(object, &field, (of.as_str(), &name), &by));
                not_borne.insert((of.as_str(), name));
            }
        }
        NotBorne::from(not_borne)
    }

    /// Which policies keep a namespace from bearing a name, if it may not; none of them where no policy permits it.
    fn refused(&self, (namespace, of, name): &Bearing) -> Option<Vec<String>> {
        let response = self
            .request(namespace, *of, name)
            .map(|request| Authorizer::new().is_authorized(&request, &self.policies, &self.entities));
        let Some(response) = response else { return Some(Vec::new()) };
        let failed = response.diagnostics().errors().next().is_some();
        let mut reasons: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        // Cedar gives a set, in another order each time.
        reasons.sort();
        match response.decision() {
            // A policy that fails denies, here as everywhere.
            _ if failed => Some(Vec::new()),
            Decision::Allow => None,
            Decision::Deny if reasons.is_empty() && !self.permits => None,
            Decision::Deny => Some(reasons),
        }
    }

    fn request(&self, namespace: &str, of: Type, name: &str) -> Option<Request> {
        let (who, what) = (uid(Type::Namespace, namespace)?, uid(of, name)?);
        let action = uid(Type::Action, "register")?;
        Request::new(who, action, what, Context::empty(), Some(schema().ok()?)).ok()
    }
}

/// The names that an object gives itself, each with the field that has it.
fn names(object: &Object) -> Vec<(String, Type, Arc<str>)> {
    let mut names: Vec<(String, Type, Arc<str>)> = Vec::new();
    let groups = |groups: &BTreeSet<Arc<str>>| -> Vec<(String, Type, Arc<str>)> {
        let field = |place| format!("spec.groups[{place}]");
        groups.iter().enumerate().map(|(place, name)| (field(place), Type::Group, name.clone())).collect()
    };
    let team = match object {
        Object::Agent(agent) => {
            names.extend(groups(&agent.groups));
            let class = agent.sandbox_class.iter().cloned();
            names.extend(class.map(|class| ("spec.sandboxClass".to_owned(), Type::AgentClass, class)));
            &agent.team
        }
        Object::Service(service) => {
            names.extend(groups(&service.groups));
            &service.team
        }
        Object::McpServer(server) => {
            let set = |name: &Arc<str>| (format!("spec.toolSets.{name}"), Type::ToolSet, name.clone());
            names.extend(server.tool_sets.keys().map(set));
            &server.team
        }
        Object::LlmProvider(provider) => {
            let sets: BTreeSet<&Arc<str>> = provider.models.iter().flat_map(|model| &model.sets).collect();
            let set = |name: &Arc<str>| ("spec.models[].sets".to_owned(), Type::ModelSet, name.clone());
            names.extend(sets.into_iter().map(set));
            &provider.team
        }
        Object::Policy(_) => return names,
    };
    // A provider may have none, and bears no name by that.
    if !team.is_empty() {
        names.push(("spec.team".to_owned(), Type::Team, team.clone()));
    }
    names
}

fn meta(object: &mut Object) -> Option<&mut Meta> {
    Some(match object {
        Object::Agent(agent) => &mut Arc::make_mut(agent).meta,
        Object::Service(service) => &mut Arc::make_mut(service).meta,
        Object::McpServer(server) => &mut Arc::make_mut(server).meta,
        Object::LlmProvider(provider) => &mut Arc::make_mut(provider).meta,
        Object::Policy(_) => return None,
    })
}
