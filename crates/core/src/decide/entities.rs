//! Registered objects as Cedar entities.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{Entities, Entity, EntityUid, RestrictedExpression};

use super::membership::unlawful;
use super::schema::{Type, uid};
use crate::call::Target;
use crate::resource::{Agent, Labels, LlmProvider, McpServer, Meta, Names, Principal, RiskLevel, Service};
use crate::snapshot::registered::Registered;

/// An entity that Cedar would not take. Checked objects always fit the schema, so this is a fault of this crate.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot express {what} for Cedar: {reason}")]
pub(crate) struct EntityFault {
    pub(crate) what: String,
    pub(crate) reason: String,
}

/// The entities that evaluation may look at, each with what it belongs to.
#[derive(Debug, Default)]
pub(crate) struct EntitySlice {
    entities: HashMap<EntityUid, Entity>,
}

impl EntitySlice {
    /// What a call from `principal` to `target` may look at, `literals` being what the policies name.
    pub(crate) fn of<'a>(
        registered: &Registered,
        principal: &Principal,
        target: &Target<'_>,
        literals: impl IntoIterator<Item = &'a EntityUid>,
    ) -> Result<Self, EntityFault> {
        let mut slice = Self::default();
        slice.principal(principal)?;
        slice.target(target)?;
        for literal in literals {
            slice.literal(registered, literal)?;
        }
        Ok(slice)
    }

    /// Whether some of `literals` are registered objects, or parts of one.
    pub(crate) fn names_more<'a>(
        registered: &Registered,
        literals: impl IntoIterator<Item = &'a EntityUid>,
    ) -> bool {
        literals.into_iter().any(|literal| {
            let (type_name, id) = (literal.type_name().basename(), literal.id().unescaped());
            registered.principal(type_name, id).is_some() || registered.target(type_name, id).is_some()
        })
    }

    /// With ancestors of ancestors worked out.
    pub(crate) fn entities(self) -> Result<Entities, EntityFault> {
        Entities::from_entities(self.entities.into_values(), None)
            .map_err(|e| EntityFault { what: "the entities of a call".to_owned(), reason: e.to_string() })
    }

    pub(crate) fn literal(
        &mut self,
        registered: &Registered,
        literal: &EntityUid,
    ) -> Result<(), EntityFault> {
        if self.entities.contains_key(literal) {
            return Ok(());
        }
        let (type_name, id) = (literal.type_name().basename(), literal.id().unescaped());
        if let Some(principal) = registered.principal(type_name, id) {
            self.principal(&principal)
        } else if let Some(target) = registered.target(type_name, id) {
            self.target(&target)
        } else {
            // Unknown: no attributes, no ancestors; Cedar then matches it by name only.
            Ok(())
        }
    }

    pub(crate) fn principal(&mut self, principal: &Principal) -> Result<(), EntityFault> {
        match principal {
            Principal::Agent(agent) => self.agent(agent),
            Principal::Service(service) => self.service(service),
        }
    }

    pub(crate) fn target(&mut self, target: &Target<'_>) -> Result<(), EntityFault> {
        match target {
            Target::Tool { server, name } => self.tool(server, name),
            Target::Resource { server, uri } => self.part(server, Type::Resource, "uri", uri),
            Target::Prompt { server, name } => self.part(server, Type::Prompt, "name", name),
            Target::Server(server) => self.mcp_server(server),
            Target::Agent(agent) => self.agent(agent),
            Target::Skill { agent, name } => self.skill(agent, name),
            Target::Model { provider, name } => self.model(provider, name),
            Target::Provider(provider) => self.llm_provider(provider),
        }
    }

    fn agent(&mut self, agent: &Agent) -> Result<(), EntityFault> {
        let mut attributes = vec![
            ("owner", text(&agent.owner)),
            ("team", text(&agent.team)),
            ("capabilities", texts(&agent.capabilities)),
            ("environment", text(&agent.environment)),
            ("authority_class", text(agent.authority_class.as_str())),
            ("authority_stated", RestrictedExpression::new_bool(agent.authority_stated)),
            ("quarantined", RestrictedExpression::new_bool(agent.quarantined)),
        ];
        attributes.extend(risk(agent.risk_level));
        attributes.extend(flow(&agent.labels));
        let score = agent.trust_score.map(|score| RestrictedExpression::new_long(score.into()));
        attributes.extend(score.map(|score| ("trust_score", score)));
        attributes.extend(agent.version.as_ref().map(|version| ("version", text(version))));
        attributes.extend(agent.sandbox_class.as_ref().map(|class| ("sandbox_class", text(class))));
        let mut parents = Parents::of(&agent.meta, &agent.team);
        parents.add_all(Type::Group, &agent.groups, &agent.meta);
        parents.add_all(Type::AgentClass, &agent.sandbox_class, &agent.meta);
        self.add(Type::Agent, &agent.id.id, attributes, parents, Some(&agent.meta))
    }

    fn service(&mut self, service: &Service) -> Result<(), EntityFault> {
        let mut attributes = vec![
            ("owner", text(&service.owner)),
            ("team", text(&service.team)),
            ("capabilities", texts(&service.capabilities)),
            ("environment", text(&service.environment)),
            ("quarantined", RestrictedExpression::new_bool(service.quarantined)),
        ];
        attributes.extend(risk(service.risk_level));
        let mut parents = Parents::of(&service.meta, &service.team);
        parents.add_all(Type::Group, &service.groups, &service.meta);
        self.add(Type::Service, &service.id.id, attributes, parents, Some(&service.meta))
    }

    fn mcp_server(&mut self, server: &McpServer) -> Result<(), EntityFault> {
        let mut attributes = vec![
            ("owner", text(&server.owner)),
            ("team", text(&server.team)),
            ("capabilities", texts(&server.capabilities)),
            ("environment", text(&server.environment)),
        ];
        attributes.extend(risk(server.risk_level));
        attributes.extend(flow(&server.labels.server));
        let parents = Parents::of(&server.meta, &server.team);
        self.add(Type::McpServer, &server.id.id, attributes, parents, Some(&server.meta))
    }

    fn tool(&mut self, server: &McpServer, name: &str) -> Result<(), EntityFault> {
        self.mcp_server(server)?;
        let known = server.tool(name);
        let owner = uid(Type::McpServer, &server.id.id);
        let mut attributes = vec![
            ("name", text(name)),
            ("team", text(&server.team)),
            ("environment", text(&server.environment)),
            ("read_only", RestrictedExpression::new_bool(known.read_only)),
            ("destructive", RestrictedExpression::new_bool(known.destructive)),
            ("drifted", RestrictedExpression::new_bool(false)),
        ];
        attributes.extend(risk(known.risk_level));
        attributes.extend(flow(&server.labels.of_tool(name, server.sets_of(name))));
        attributes.extend(reference("server", owner.as_ref()));
        let mut parents = Parents(vec![owner]);
        parents.add_all(Type::ToolSet, server.sets_of(name), &server.meta);
        self.add(Type::Tool, &format!("{}/{name}", server.id.id), attributes, parents, None)
    }

    /// A resource or a prompt, whose own name is under `own`.
    fn part(
        &mut self,
        server: &McpServer,
        of: Type,
        own: &'static str,
        name: &str,
    ) -> Result<(), EntityFault> {
        self.mcp_server(server)?;
        let owner = uid(Type::McpServer, &server.id.id);
        let mut attributes =
            vec![(own, text(name)), ("team", text(&server.team)), ("environment", text(&server.environment))];
        attributes.extend(risk(server.risk_level));
        attributes.extend(flow(&server.labels.server));
        attributes.extend(reference("server", owner.as_ref()));
        self.add(of, &format!("{}/{name}", server.id.id), attributes, Parents(vec![owner]), None)
    }

    fn skill(&mut self, agent: &Agent, name: &str) -> Result<(), EntityFault> {
        self.agent(agent)?;
        let owner = uid(Type::Agent, &agent.id.id);
        let mut attributes = vec![
            ("name", text(name)),
            ("team", text(&agent.team)),
            ("capabilities", texts(&agent.capabilities)),
            ("environment", text(&agent.environment)),
            ("authority_class", text(agent.authority_class.as_str())),
            ("quarantined", RestrictedExpression::new_bool(agent.quarantined)),
        ];
        attributes.extend(risk(agent.risk_level));
        attributes.extend(flow(&agent.labels));
        attributes.extend(reference("agent", owner.as_ref()));
        self.add(Type::Skill, &format!("{}/{name}", agent.id.id), attributes, Parents(vec![owner]), None)
    }

    pub(crate) fn llm_provider(&mut self, provider: &LlmProvider) -> Result<(), EntityFault> {
        let own = uid(Type::LlmProvider, &provider.id.id);
        let mut attributes = vec![
            ("name", text(&provider.meta.name)),
            ("owner", text(&provider.owner)),
            ("team", text(&provider.team)),
            ("kind", text(provider.provider.as_str())),
            ("environment", text(&provider.environment)),
        ];
        attributes.extend(flow(&provider.labels));
        attributes.extend(reference("provider", own.as_ref()));
        let parents = Parents::of(&provider.meta, &provider.team);
        self.add(Type::LlmProvider, &provider.id.id, attributes, parents, Some(&provider.meta))
    }

    fn model(&mut self, provider: &LlmProvider, name: &str) -> Result<(), EntityFault> {
        self.llm_provider(provider)?;
        let owner = uid(Type::LlmProvider, &provider.id.id);
        let mut attributes = vec![
            ("name", text(name)),
            ("team", text(&provider.team)),
            ("environment", text(&provider.environment)),
        ];
        attributes.extend(flow(&provider.labels));
        attributes.extend(reference("provider", owner.as_ref()));
        let mut parents = Parents(vec![owner]);
        if let Some(model) = provider.model(name) {
            parents.add_all(Type::ModelSet, &model.sets, &provider.meta);
        }
        self.add(Type::Model, &format!("{}/{name}", provider.id.id), attributes, parents, None)
    }

    fn add(
        &mut self,
        of: Type,
        id: &str,
        attributes: Vec<Attribute>,
        parents: Parents,
        labels: Option<&Meta>,
    ) -> Result<(), EntityFault> {
        let fault = |reason: &str| EntityFault {
            what: format!("{}::\"{id}\"", of.as_str()),
            reason: reason.to_owned(),
        };
        let own = uid(of, id).ok_or_else(|| fault("unknown type"))?;
        if self.entities.contains_key(&own) {
            return Ok(());
        }
        let parents: Option<Vec<EntityUid>> = parents.0.into_iter().collect();
        let parents = parents.ok_or_else(|| fault("unknown type of a parent"))?;
        let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value));
        let tags =
            labels.into_iter().flat_map(|meta| &meta.labels).map(|(name, value)| (name.clone(), text(value)));
        let entity = Entity::new_with_tags(own.clone(), attributes, parents, tags);
        self.entities.insert(own, entity.map_err(|error| fault(&error.to_string()))?);
        Ok(())
    }
}

type Attribute = (&'static str, RestrictedExpression);

/// Parents; `None` where the schema lacks the type, which fails the entity.
struct Parents(Vec<Option<EntityUid>>);

impl Parents {
    fn of(meta: &Meta, team: &Arc<str>) -> Self {
        let mut parents = Self(vec![uid(Type::Namespace, &meta.namespace)]);
        parents.add_all(Type::Team, [team], meta);
        parents
    }

    /// Each name as its object declares it, and as one of its namespace: what policies grant by is the latter. One that the object may
    /// not bear is not of its namespace.
    fn add_all<'a>(&mut self, of: Type, names: impl IntoIterator<Item = &'a Arc<str>>, meta: &Meta) {
        for name in names {
            let own = match meta.not_borne.has(of.as_str(), name) {
                false => format!("{}/{name}", meta.namespace),
                true => unlawful(name),
            };
            self.0.extend([uid(of, name), uid(of, own)]);
        }
    }
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn texts(values: &Names) -> RestrictedExpression {
    RestrictedExpression::new_set(values.iter().map(|value| text(value)))
}

fn risk(level: RiskLevel) -> [Attribute; 2] {
    [("risk_level", text(level.as_str())), ("risk", RestrictedExpression::new_long(level.rank()))]
}

fn flow(labels: &Labels) -> [Attribute; 3] {
    [("reads", texts(&labels.reads)), ("returns", texts(&labels.returns)), ("sends", texts(&labels.sends))]
}

fn reference(name: &'static str, to: Option<&EntityUid>) -> Option<Attribute> {
    Some((name, RestrictedExpression::new_entity_uid(to?.clone())))
}
