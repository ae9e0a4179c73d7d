//! Who may create, change or delete a registered object: plain Cedar over the policies that say so (`Action::"registerObject"`, ADR 60).

use std::sync::Arc;

use cedar_policy::{
    Authorizer, Context, Decision, Effect, Entities, Entity, EntityUid, PolicyId, PolicySet, Request,
    RestrictedExpression,
};
use url::Url;

use super::{Snapshot, people};
use crate::admission::{Change, Permitted, Registering};
use crate::decide::entities::EntityFault;
use crate::decide::plain::{datetime, fault};
use crate::decide::schema::{Type, actions, schema, uid};
use crate::decide::statement::Statement;
use crate::refusal::{Code, Refusal};
use crate::resource::llm_provider::CredentialSource;
use crate::resource::own_guard::Looks;
use crate::resource::policy::Scope;
use crate::resource::{ActsFor, Endpoint, Identity, Names, Object};

impl Snapshot {
    /// The policies by which somebody may register, change or delete an object; [`Permitted::Unsaid`] as long as no policy permits anybody
    /// anything of the kind, and none forbids this. A change is asked of what the object is, and of what it will be.
    ///
    /// It is decided by the policies of this snapshot, and never by what is being registered.
    ///
    /// # Errors
    /// `no_permit`, `forbidden_by_policy`, or `policy_error` where a policy failed, which denies.
    pub fn authorize_registration(&self, asked: &Registering<'_>) -> Result<Permitted, Refusal> {
        let saying = |one: &&Arc<Statement>| one.actions.register_object && !one.observes;
        let statements: Vec<&Arc<Statement>> = self.statements_in_force().filter(saying).collect();
        if statements.is_empty() {
            return Ok(Permitted::Unsaid);
        }
        let mut permitted = Permitted::Unsaid;
        for object in asked.change.objects() {
            let said = said_of(asked, object, &statements).map_err(|fault| {
                Refusal::new(Code::Internal, "the question could not be put to the policies")
                    .with_detail(fault)
            })??;
            permitted = permitted.and(said);
        }
        Ok(permitted)
    }
}

fn said_of(
    asked: &Registering<'_>,
    object: &Object,
    statements: &[&Arc<Statement>],
) -> Result<Result<Permitted, Refusal>, EntityFault> {
    let schema = schema().map_err(|e| fault("the schema", &e))?;
    let known = |of: Type, id: &str| uid(of, id).ok_or_else(|| fault("an entity id", &of.as_str()));
    let (who, action) = (known(Type::User, &asked.person.user.id())?, known(Type::Action, "registerObject")?);
    let record = record(object)?;
    let context =
        [("now".to_owned(), datetime(asked.now.0)?), ("operation".to_owned(), text(asked.change.as_str()))];
    let context = Context::from_pairs(context).map_err(|e| fault("the context", &e))?;
    let request = Request::new(who, action, record.uid(), context, Some(schema))
        .map_err(|e| fault("the request", &e))?;
    let policies = statements.iter().map(|one| one.policy.evaluated().cloned());
    let policies = policies.collect::<Result<Vec<_>, _>>().map_err(|e| fault("the policies", &e))?;
    let policies = PolicySet::from_policies(policies).map_err(|e| fault("the policies", &e))?;
    let all = actions().map_err(|e| fault("the actions", &e))?;
    let all = all.into_iter().chain([record, people::person(asked.person)?]);
    let entities = Entities::from_entities(all, None).map_err(|e| fault("the entities", &e))?;
    let response = Authorizer::new().is_authorized(&request, &policies, &entities);
    let mut reasons: Vec<Arc<str>> = response.diagnostics().reason().map(id_of).collect();
    reasons.sort();
    let failed = response.diagnostics().errors().next().is_some();
    let permits = statements.iter().any(|one| one.effect == Effect::Permit);
    let code = match response.decision() {
        // A policy that fails denies, here as everywhere.
        _ if failed => Code::PolicyError,
        Decision::Allow => return Ok(Ok(Permitted::By(reasons))),
        Decision::Deny if reasons.is_empty() && !permits => return Ok(Ok(Permitted::Unsaid)),
        Decision::Deny if reasons.is_empty() => Code::NoPermit,
        Decision::Deny => Code::ForbiddenByPolicy,
    };
    Ok(Err(refused(asked, object, code, reasons, statements)))
}

fn id_of(policy: &PolicyId) -> Arc<str> {
    let id: &str = policy.as_ref();
    id.into()
}

fn refused(
    asked: &Registering<'_>,
    object: &Object,
    code: Code,
    policies: Vec<Arc<str>>,
    statements: &[&Arc<Statement>],
) -> Refusal {
    let (who, what, object) = (asked.person.user.id(), asked.change.as_str(), object.reference());
    let said = statements.iter().filter(|statement| policies.contains(&statement.id));
    let reason = said.filter_map(|statement| statement.reason.as_deref()).next();
    let message = match (code, reason) {
        (Code::ForbiddenByPolicy, Some(reason)) => format!("{who} may not {what} {object}: {reason}"),
        (Code::ForbiddenByPolicy, None) => format!("a policy forbids {who} to {what} {object}"),
        (Code::PolicyError, _) => format!("a policy that says whether {who} may {what} {object} failed"),
        _ => format!("no policy permits {who} to {what} {object}"),
    };
    let refusal = Refusal { policies: policies.into(), ..Refusal::new(code, message) };
    match code {
        Code::NoPermit => refusal.with_next(
            "Who may register what is permitted by cluster-wide policies (Action::\"registerObject\"): docs/admission.md.",
        ),
        _ => refusal,
    }
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

/// An object, as policies see it that say who may register it: by what it says of itself.
fn record(object: &Object) -> Result<Entity, EntityFault> {
    let meta = object.meta();
    let mut attributes = Attributes::default();
    attributes.text("kind", object.kind().as_str());
    attributes.text("namespace", &meta.namespace);
    attributes.text("name", &meta.name);
    match object {
        Object::Agent(agent) => {
            attributes.of_all(&agent.owner, &agent.team, &agent.environment);
            attributes.text("risk_level", agent.risk_level.as_str());
            if agent.authority_stated {
                attributes.text("authority_class", agent.authority_class.as_str());
            }
            if let Some(class) = &agent.sandbox_class {
                attributes.text("sandbox_class", class);
            }
            attributes.endpoint(agent.endpoint.as_deref());
            attributes.principal(&agent.groups, &agent.capabilities, &agent.identities, &agent.acts_for);
        }
        Object::Service(service) => {
            attributes.of_all(&service.owner, &service.team, &service.environment);
            attributes.text("risk_level", service.risk_level.as_str());
            attributes.principal(
                &service.groups,
                &service.capabilities,
                &service.identities,
                &service.acts_for,
            );
        }
        Object::McpServer(server) => {
            attributes.of_all(&server.owner, &server.team, &server.environment);
            attributes.text("risk_level", server.risk_level.as_str());
            attributes.endpoint(Some(&server.endpoint));
            attributes.set("capabilities", server.capabilities.iter().map(ToString::to_string));
            attributes.set("tool_sets", server.tool_sets.keys().map(ToString::to_string));
            if let Some(members) = &server.members {
                attributes.set("members", members.all.iter().map(|member| member.server.to_string()));
            }
        }
        Object::LlmProvider(provider) => {
            attributes.of_all(&provider.owner, &provider.team, &provider.environment);
            attributes.endpoint(Some(&provider.endpoint));
            attributes.secret(&provider.credential);
            let sets = provider.models.iter().flat_map(|model| &model.sets);
            attributes.set("model_sets", sets.map(ToString::to_string));
        }
        Object::Policy(policy) => {
            let scope = match policy.scope {
                Scope::Namespace => "Namespace",
                Scope::Cluster => "Cluster",
            };
            attributes.text("scope", scope);
            attributes.set("members", policy.members.listed().into_iter());
            let asked = policy.guards.iter().filter_map(|guard| match &guard.looks {
                Looks::Webhook(webhook) => Url::parse(&webhook.url).ok(),
                Looks::Patterns(_) | Looks::Schema(_) => None,
            });
            attributes.set("webhooks", asked.filter_map(|url| url.host_str().map(str::to_owned)));
        }
    }
    let known = |of: Type, id: &str| uid(of, id).ok_or_else(|| fault("an entity id", &of.as_str()));
    let id: EntityUid = known(Type::Registration, &format!("{}/{}", object.kind(), meta.key()))?;
    let namespace = known(Type::Namespace, &meta.namespace)?;
    let tags = meta.labels.iter().map(|(name, value)| (name.clone(), text(value)));
    Entity::new_with_tags(id, attributes.whole(), [namespace], tags).map_err(|e| fault("the object", &e))
}

/// Of a record; sets that its kind does not have are empty.
#[derive(Default)]
struct Attributes(Vec<(String, RestrictedExpression)>);

impl Attributes {
    const SETS: [&str; 11] = [
        "groups",
        "capabilities",
        "tool_sets",
        "model_sets",
        "identities",
        "issuers",
        "acts_for",
        "members",
        "egress",
        "webhooks",
        "secrets",
    ];

    fn text(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), text(value)));
    }

    fn set(&mut self, name: &str, values: impl Iterator<Item = String>) {
        let values: Vec<_> = values.map(RestrictedExpression::new_string).collect();
        self.0.push((name.to_owned(), RestrictedExpression::new_set(values)));
    }

    fn of_all(&mut self, owner: &str, team: &str, environment: &str) {
        self.text("owner", owner);
        // A provider may have none: then it has no such attribute.
        if !team.is_empty() {
            self.text("team", team);
        }
        self.text("environment", environment);
    }

    /// The Secret that its key comes from: it is sent to whatever address the object names.
    fn secret(&mut self, source: &CredentialSource) {
        if let CredentialSource::Secret(secret) = source {
            self.set("secrets", std::iter::once(secret.name.to_string()));
        }
    }

    /// What its calls go to, and of a job what runs and what that reaches.
    fn endpoint(&mut self, endpoint: Option<&Endpoint>) {
        let Some(endpoint) = endpoint else { return };
        if endpoint.agent.is_some() {
            return self.text("endpoint", "agent");
        }
        if endpoint.is_of_members() {
            return self.text("endpoint", "members");
        }
        let Some(job) = &endpoint.job else {
            self.text("endpoint", "url");
            self.text("host", endpoint.url.host_str().unwrap_or_default());
            if let Some(host) = endpoint.card.as_ref().and_then(Url::host_str) {
                self.text("card_host", host);
            }
            if let Some(key) = &endpoint.key {
                self.secret(&key.source);
            }
            return self.text("audience", &endpoint.audience);
        };
        self.text("endpoint", "job");
        self.text("image", &job.image);
        self.set("egress", job.egress.iter().map(|network| network.cidr.to_string()));
        self.set("secrets", job.pull_secrets.iter().map(|secret| secret.name.to_string()));
    }

    fn principal(
        &mut self,
        groups: &Names,
        capabilities: &Names,
        identities: &[Identity],
        acts_for: &[ActsFor],
    ) {
        self.set("groups", groups.iter().map(ToString::to_string));
        self.set("capabilities", capabilities.iter().map(ToString::to_string));
        self.set("identities", identities.iter().map(shown));
        let issuer = |identity: &Identity| match identity {
            Identity::Oidc { issuer, .. } => Some(issuer.to_string()),
            Identity::Spiffe(_) | Identity::ServiceAccount { .. } => None,
        };
        self.set("issuers", identities.iter().filter_map(issuer));
        self.set("acts_for", acts_for.iter().map(|acts| acts.issuer.to_string()));
    }

    fn whole(mut self) -> Vec<(String, RestrictedExpression)> {
        for name in Self::SETS {
            if !self.0.iter().any(|(known, _)| known == name) {
                self.set(name, std::iter::empty());
            }
        }
        self.0
    }
}

/// As in records; a ServiceAccount by its namespace and name.
fn shown(identity: &Identity) -> String {
    match identity {
        Identity::Spiffe(id) => id.to_string(),
        Identity::Oidc { issuer, subject, .. } => format!("oidc:{issuer}#{subject}"),
        Identity::ServiceAccount { namespace, name } => format!("serviceAccount:{namespace}/{name}"),
    }
}

impl<'a> Change<'a> {
    /// What is asked about: what is there, and what will be.
    fn objects(self) -> impl Iterator<Item = &'a Object> {
        let (before, after) = match self {
            Self::Create(after) => (None, Some(after)),
            Self::Update { before, after } => (before, Some(after)),
            Self::Delete(before) => (Some(before), None),
        };
        before.into_iter().chain(after)
    }
}
