//! What people may do: plain Cedar over the policies that name what people do. It happens some times a day, so nothing of it is kept.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Entities, Entity, EntityUid, PolicyId, PolicySet, Request,
    RestrictedExpression,
};

use super::{Snapshot, builtin};
use crate::act::Subject;
use crate::decide::entities::{EntityFault, EntitySlice};
use crate::decide::plain::{datetime, entity_uid, fault, user};
use crate::decide::schema::{Type, actions, schema, uid};
use crate::decide::statement::Statement;
use crate::person::{About, Asked, Operation, Person};
use crate::refusal::{Code, Refusal};

impl Snapshot {
    /// The policies by which a person may do what it asks.
    ///
    /// Default deny: `no_permit`, `forbidden_by_policy`, or `policy_error` where a policy failed, which denies. Until a policy permits
    /// people something, the person `admin` of the built-in issuer may do everything: [`super::FIRST_ADMINISTRATOR_ID`].
    ///
    /// # Errors
    /// Why not, with the policies that refused.
    pub fn authorize_person(&self, asked: &Asked<'_>) -> Result<Vec<Arc<str>>, Refusal> {
        let fault = |fault: EntityFault| {
            Refusal::new(Code::Internal, "the question could not be put to the policies").with_detail(fault)
        };
        let statements = self.said_of(Some(asked.operation)).map_err(|reason| {
            Refusal::new(Code::Internal, "a built-in policy is broken").with_detail(reason)
        })?;
        self.evaluated(asked, &statements).map_err(fault)?.map_err(|refused| refused.told(asked, &statements))
    }

    /// Whether no policy has ever permitted people anything in more than one namespace, so that the built-in one for a first administrator is in force. Once one
    /// has, it is over for good: a policy that is lost or malformed must not give anybody more than it did.
    pub const fn has_first_administrator(&self) -> bool {
        !self.administered
    }

    /// The built-in policy of the first administrator.
    pub(crate) fn first_administrator(&self) -> Result<Arc<Statement>, String> {
        builtin::FIRST_ADMINISTRATOR.compiled()
    }

    /// Whether a policy permits people something now, in more than one namespace: who writes the policies of one does not say who operates
    /// the whole.
    pub fn permits_people(&self) -> bool {
        self.said.permits_people()
    }

    /// The ids of the policies that say what people may.
    pub fn policies_of_people(&self) -> impl Iterator<Item = &str> {
        self.of_people().map(|statement| &*statement.id)
    }

    /// What is in force about one thing that people do, or about any of it, the built-in policy for a first administrator included.
    ///
    /// # Errors
    /// When that does not compile: a fault of this crate.
    pub(crate) fn said_of(&self, operation: Option<Operation>) -> Result<Vec<Arc<Statement>>, String> {
        let mut statements: Vec<Arc<Statement>> = self.of_people().cloned().collect();
        if self.has_first_administrator() {
            statements.push(self.first_administrator()?);
        }
        statements.retain(|statement| statement.actions.of_people(operation));
        Ok(statements)
    }

    fn of_people(&self) -> impl Iterator<Item = &Arc<Statement>> {
        self.statements_in_force()
            .filter(|statement| statement.actions.of_people(None) && !statement.observes)
    }

    fn evaluated(
        &self,
        asked: &Asked<'_>,
        statements: &[Arc<Statement>],
    ) -> Result<Result<Vec<Arc<str>>, Refused>, EntityFault> {
        let schema = schema().map_err(|e| fault("the schema", &e))?;
        let resource = resource_uid(asked.about)?;
        let person =
            uid(Type::User, asked.person.user.id()).ok_or_else(|| fault("the person", &"unknown type"))?;
        let action = uid(Type::Action, asked.operation.as_str())
            .ok_or_else(|| fault("the action", &"unknown type"))?;
        let context = Context::from_pairs(context(asked)?).map_err(|e| fault("the context", &e))?;
        let request = Request::new(person, action, resource.clone(), context, Some(schema))
            .map_err(|e| fault("the request", &e))?;
        let mut policies = PolicySet::new();
        for statement in statements {
            let policy = statement.policy.evaluated().map_err(|e| fault("the policies", &e))?;
            policies.add(policy.clone()).map_err(|e| fault("the policies", &e))?;
        }
        let literals = statements.iter().flat_map(|statement| statement.literals());
        let entities = self.entities_for(asked, &resource, literals)?;
        let response = Authorizer::new().is_authorized(&request, &policies, &entities);
        let known = |id: &PolicyId| {
            let id: &str = id.as_ref();
            statements.iter().find(|statement| *statement.id == *id).map(|statement| statement.id.clone())
        };
        let mut failed: Vec<Arc<str>> =
            response.diagnostics().errors().filter_map(|error| known(of_policy(error))).collect();
        if response.diagnostics().errors().next().is_some() {
            failed.sort();
            return Ok(Err(Refused { code: Code::PolicyError, policies: failed }));
        }
        let mut reasons: Vec<Arc<str>> = response.diagnostics().reason().filter_map(known).collect();
        reasons.sort();
        Ok(match response.decision() {
            cedar_policy::Decision::Allow => Ok(reasons),
            cedar_policy::Decision::Deny if reasons.is_empty() => {
                Err(Refused { code: Code::NoPermit, policies: reasons })
            }
            cedar_policy::Decision::Deny => Err(Refused { code: Code::ForbiddenByPolicy, policies: reasons }),
        })
    }

    fn entities_for<'a>(
        &self,
        asked: &Asked<'_>,
        resource: &EntityUid,
        literals: impl Iterator<Item = &'a EntityUid>,
    ) -> Result<Entities, EntityFault> {
        let registered = &self.world.registered;
        let mut slice = EntitySlice::default();
        slice.literal(registered, resource)?;
        if let About::Grant(of) = asked.about {
            slice.literal(registered, &entity_uid(of.agent)?)?;
        }
        for literal in literals {
            slice.literal(registered, literal)?;
        }
        let mut others: HashMap<EntityUid, Entity> = HashMap::new();
        if let About::Subject(Subject::User(id)) = asked.about {
            let (issuer, subject) = id.split_once('#').unwrap_or_default();
            let attributes = [("issuer", issuer), ("subject", subject)]
                .map(|(name, value)| (name.to_owned(), RestrictedExpression::new_string(value.to_owned())));
            let entity = Entity::new_with_tags(resource.clone(), attributes, [], []);
            others.insert(resource.clone(), entity.map_err(|e| fault("the person in question", &e))?);
        }
        // Last, so that it is the verified one where somebody asks about itself.
        let person = person(asked.person)?;
        others.insert(person.uid(), person);
        let all = others.into_values().chain(actions().map_err(|e| fault("the actions", &e))?);
        slice.entities()?.add_entities(all, None).map_err(|e| fault("the entities", &e))
    }
}

fn of_policy(error: &AuthorizationError) -> &PolicyId {
    let AuthorizationError::PolicyEvaluationError(error) = error;
    error.policy_id()
}

/// Why something is not permitted.
struct Refused {
    code: Code,
    policies: Vec<Arc<str>>,
}

impl Refused {
    fn told(self, asked: &Asked<'_>, statements: &[Arc<Statement>]) -> Refusal {
        let (who, what) = (asked.person.actor(), asked.operation.as_str());
        let about = asked.about;
        let said = statements.iter().filter(|statement| self.policies.contains(&statement.id));
        let reason = said.filter_map(|statement| statement.reason.as_deref()).next();
        let message = match (self.code, reason) {
            (Code::ForbiddenByPolicy, Some(reason)) => format!("{who} may not {what} {about}: {reason}"),
            (Code::ForbiddenByPolicy, None) => format!("a policy forbids {who} to {what} {about}"),
            (Code::PolicyError, _) => format!("a policy that says whether {who} may {what} {about} failed"),
            _ => format!("no policy permits {who} to {what} {about}"),
        };
        let refusal = Refusal { policies: self.policies.into(), ..Refusal::new(self.code, message) };
        match refusal.code {
            Code::NoPermit => refusal.with_next(
                "What people do is permitted by policies, with a User or UserGroup as principal: docs/policies.md, People.",
            ),
            _ => refusal,
        }
    }
}

fn resource_uid(about: About<'_>) -> Result<EntityUid, EntityFault> {
    let (of, id) = match about {
        About::Subject(Subject::Object(entity))
        | About::Grant(crate::person::GrantOf { resource: entity, .. })
        | About::Approval(crate::person::ApprovalOf { resource: entity, .. })
        | About::Resource(entity) => {
            return entity_uid(entity);
        }
        About::Subject(Subject::Identity(id)) => (Type::Identity, &**id),
        About::Subject(Subject::Instance(id)) => (Type::Instance, &**id),
        About::Subject(Subject::User(id)) => (Type::User, &**id),
        About::Subject(Subject::Chain(id)) => (Type::Transaction, &**id),
        About::View(name) => (Type::View, name),
    };
    uid(of, id).ok_or_else(|| fault("what it is about", &of.as_str()))
}

fn context(asked: &Asked<'_>) -> Result<Vec<(String, RestrictedExpression)>, EntityFault> {
    let mut pairs = vec![("now", datetime(asked.now.0)?)];
    if let Some(address) = asked.source_ip {
        pairs.push(("source_ip", RestrictedExpression::new_ip(address.to_canonical().to_string())));
    }
    if let About::Approval(of) = asked.about {
        pairs.push(("role", RestrictedExpression::new_string(of.role.to_owned())));
        pairs.push(("caller", RestrictedExpression::new_string(of.caller.to_owned())));
    }
    if let About::Grant(of) = asked.about {
        pairs.push(("agent", RestrictedExpression::new_entity_uid(entity_uid(of.agent)?)));
        pairs.push(("until", datetime(of.until.0)?));
        pairs.extend(of.uses.map(|uses| ("uses", RestrictedExpression::new_long(uses.into()))));
    }
    Ok(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// A person as an entity, in the groups that its credential names.
pub(super) fn person(person: &Person) -> Result<Entity, EntityFault> {
    let groups: Option<Vec<EntityUid>> =
        person.group_ids().into_iter().map(|group| uid(Type::UserGroup, group)).collect();
    user(&person.user, groups.ok_or_else(|| fault("the groups", &"unknown type"))?)
}
