//! A call as plain Cedar: request, context and entities. Used for what the residual language does not cover.

use std::collections::HashMap;

use cedar_policy::{
    Authorizer, Context, Entities, Entity, EntityUid, PolicySet, Request, RestrictedExpression,
};

use super::deciding::Deciding;
use super::entities::EntityFault;
use super::residual::evaluate::Failed;
use super::residual::field::{cycle, hour, weekday};
use super::residual::value::OF_CALL;
use super::schema::{Type, actions, schema, uid};
use super::view::shown;
use crate::call::{Action, Arguments, Call, Left, SentParts};
use crate::caller::User;
use crate::entity::{EntityId, EntityKind};
use crate::standing::rfc3339;

/// The Cedar entity of a text id.
pub(crate) fn entity_uid(entity: &EntityId) -> Result<EntityUid, EntityFault> {
    let of = match entity.kind {
        EntityKind::Agent => Type::Agent,
        EntityKind::Service => Type::Service,
        EntityKind::McpServer => Type::McpServer,
        EntityKind::Tool => Type::Tool,
        EntityKind::Resource => Type::Resource,
        EntityKind::Prompt => Type::Prompt,
        EntityKind::Skill => Type::Skill,
        EntityKind::LlmProvider => Type::LlmProvider,
        EntityKind::Model => Type::Model,
    };
    named(of, &entity.id)
}

pub(crate) fn action_uid(action: Action) -> Result<EntityUid, EntityFault> {
    named(Type::Action, action.as_str())
}

fn named(of: Type, id: &str) -> Result<EntityUid, EntityFault> {
    uid(of, id).ok_or_else(|| fault("an entity id", &of.as_str()))
}

pub(crate) fn fault(what: &str, reason: &dyn std::fmt::Display) -> EntityFault {
    EntityFault { what: what.to_owned(), reason: reason.to_string() }
}

/// The request, validated against the schema.
pub(crate) fn request(call: &Deciding<'_>) -> Result<Request, EntityFault> {
    let context = Context::from_pairs(context(call)?).map_err(|e| fault("the context", &e))?;
    let schema = schema().map_err(|e| fault("the schema", &e))?;
    let (principal, resource) =
        (entity_uid(call.principal().entity())?, entity_uid(&call.ask.target.entity())?);
    Request::new(principal, action_uid(call.ask.action)?, resource, context, Some(schema))
        .map_err(|e| fault("the request", &e))
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn context(call: &Deciding<'_>) -> Result<Vec<(String, RestrictedExpression)>, EntityFault> {
    let (ask, chain) = (&call.ask, call.chain());
    let agents = chain.actors.iter().filter(|actor| actor.kind == EntityKind::Agent);
    let agents: Result<Vec<_>, _> =
        agents.map(|agent| entity_uid(agent).map(RestrictedExpression::new_entity_uid)).collect();
    let chain_record = RestrictedExpression::new_record([
        ("depth".to_owned(), RestrictedExpression::new_long(chain.depth())),
        ("fan_out".to_owned(), RestrictedExpression::new_long(call.so_far.fan_out)),
        ("calls".to_owned(), RestrictedExpression::new_long(call.so_far.calls)),
        ("tokens".to_owned(), RestrictedExpression::new_long(call.chain_tokens())),
        ("spend".to_owned(), RestrictedExpression::new_long(call.chain_spend())),
        ("age".to_owned(), RestrictedExpression::new_duration(format!("{}ms", call.chain_age()))),
        ("cycle".to_owned(), RestrictedExpression::new_bool(cycle(call))),
        ("agents".to_owned(), RestrictedExpression::new_set(agents?)),
    ]);
    let mut pairs = vec![
        ("method", text(ask.method)),
        ("delegation_depth", RestrictedExpression::new_long(chain.depth())),
        ("chain", chain_record.map_err(|e| fault("context.chain", &e))?),
        ("labels", RestrictedExpression::new_set(call.so_far.labels.iter().map(|one| text(&one.label)))),
        ("now", datetime(call.now.0)?),
        ("weekday", text(weekday(call))),
        ("hour", RestrictedExpression::new_long(hour(call))),
        ("transaction", text(&chain.transaction)),
        ("identity", text(call.identity())),
        ("guarded", RestrictedExpression::new_set(ask.guarded.lifting().map(text))),
        ("limits", RestrictedExpression::new_entity_uid(named(Type::Limits, OF_CALL)?)),
    ];
    if let Some(user) = call.user() {
        pairs.push(("on_behalf_of", RestrictedExpression::new_entity_uid(named(Type::User, &user.id())?)));
    }
    if let Some(approval) = call.approval() {
        let by = named(Type::User, &approval.by.id())?;
        let record = RestrictedExpression::new_record([
            ("role".to_owned(), text(&approval.role)),
            ("by".to_owned(), RestrictedExpression::new_entity_uid(by)),
            ("at".to_owned(), datetime(approval.at.0)?),
        ]);
        pairs.push(("approval", record.map_err(|e| fault("context.approval", &e))?));
    }
    if let Some(address) = call.source_ip {
        pairs.push(("source_ip", RestrictedExpression::new_ip(address.to_canonical().to_string())));
    }
    if let Some(instance) = call.instance() {
        let optional = [("name", &instance.name), ("node", &instance.node)];
        let optional = optional.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let always = [("id", &*instance.id), ("kind", instance.kind.as_str())];
        let members = always.into_iter().chain(optional).map(|(name, value)| (name.to_owned(), text(value)));
        let record = RestrictedExpression::new_record(members);
        pairs.push(("instance", record.map_err(|e| fault("context.instance", &e))?));
    }
    match ask.action {
        Action::InvokeTool => {
            pairs.push(("args", RestrictedExpression::new_entity_uid(named(Type::Arguments, OF_CALL)?)));
            pairs.push(("numbers", RestrictedExpression::new_entity_uid(named(Type::Numbers, OF_CALL)?)));
            pairs.push(("call_digest", text(call.step().unwrap_or_default())));
        }
        Action::CallModel | Action::ListModels => {
            pairs.push(("tokens_estimated", RestrictedExpression::new_long(ask.tokens_estimated)));
            pairs.push(("streaming", RestrictedExpression::new_bool(ask.streaming)));
        }
        Action::CallAgent => {
            pairs.extend(ask.push_url.map(|url| ("push_notification_url", text(url))));
            if let Some(parts) = SentParts::of(&ask.content) {
                let types = parts.media_types.iter().map(|one| text(one));
                let record = RestrictedExpression::new_record([
                    ("media_types".to_owned(), RestrictedExpression::new_set(types)),
                    ("largest".to_owned(), RestrictedExpression::new_long(parts.largest)),
                    ("bytes".to_owned(), RestrictedExpression::new_long(parts.bytes)),
                ]);
                pairs.push(("parts", record.map_err(|e| fault("context.parts", &e))?));
            }
        }
        Action::ReadResource | Action::GetPrompt | Action::ConnectServer => {}
    }
    Ok(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// RFC 3339 UTC with milliseconds, the only form in which Cedar takes one.
pub(crate) fn datetime(millis: i64) -> Result<RestrictedExpression, EntityFault> {
    let time = rfc3339(millis).ok_or_else(|| fault("a time", &"there is no such time"))?;
    Ok(RestrictedExpression::new_datetime(time))
}

/// The entities that no object stands for: the call's arguments, what is left of limits, its user and who approved it, and the actions.
pub(crate) fn entities(call: &Call<'_>) -> Result<Vec<Entity>, EntityFault> {
    let (mut texts, mut numbers) = (HashMap::new(), HashMap::new());
    if let Arguments::Known(arguments) = call.ask.arguments {
        arguments.leaves(&mut |pointer, value| {
            if let Some(shown) = shown(pointer, value) {
                texts.insert(pointer.to_owned(), text(&shown));
            }
            if let Some(number) = value.as_integer() {
                numbers.insert(pointer.to_owned(), RestrictedExpression::new_long(number));
            }
        });
    }
    let left = |one: &Left| (one.limit.to_string(), RestrictedExpression::new_long(one.left));
    let limits = call.so_far.limits.iter().map(left).collect();
    let mut entities =
        vec![tagged(Type::Arguments, texts)?, tagged(Type::Numbers, numbers)?, tagged(Type::Limits, limits)?];
    entities.extend(call.user().map(|person| user(person, groups(person)?)).transpose()?);
    // Nobody approves what is done for himself; where it is so all the same, there is one entity of him.
    let approver = call.approval().map(|approval| &approval.by);
    let approver = approver.filter(|by| call.user().is_none_or(|user| user.id() != by.id()));
    entities.extend(approver.map(|by| user(by, groups(by)?)).transpose()?);
    entities.extend(actions().map_err(|e| fault("the actions", &e))?);
    Ok(entities)
}

fn tagged(of: Type, tags: HashMap<String, RestrictedExpression>) -> Result<Entity, EntityFault> {
    Entity::new_with_tags(named(of, OF_CALL)?, [], [], tags).map_err(|e| fault(of.as_str(), &e))
}

/// The groups of a person that a token names, each as one of its issuer: the issuers whose people are acted for are many.
fn groups(user: &User) -> Result<Vec<EntityUid>, EntityFault> {
    user.groups.iter().map(|group| named(Type::UserGroup, &user.group_id(group))).collect()
}

/// A person, in these groups.
pub(crate) fn user(user: &User, groups: Vec<EntityUid>) -> Result<Entity, EntityFault> {
    let mut attributes =
        vec![("issuer".to_owned(), text(&user.issuer)), ("subject".to_owned(), text(&user.subject))];
    attributes.extend(user.email.as_ref().map(|email| ("email".to_owned(), text(email))));
    Entity::new_with_tags(named(Type::User, &user.id())?, attributes, groups, [])
        .map_err(|e| fault("the user", &e))
}

/// Whether the one policy of `policy` is satisfied, by Cedar's own evaluator.
pub(crate) fn holds(policy: &PolicySet, entities: &Entities, call: &Deciding<'_>) -> Result<bool, Failed> {
    let request = request(call).map_err(|_| Failed::Evaluation)?;
    let of_call = self::entities(call).map_err(|_| Failed::Evaluation)?;
    let entities = entities.clone().add_entities(of_call, None).map_err(|_| Failed::Evaluation)?;
    let response = Authorizer::new().is_authorized(&request, policy, &entities);
    match response.diagnostics().errors().next() {
        Some(_) => Err(Failed::Evaluation),
        None => Ok(response.diagnostics().reason().next().is_some()),
    }
}
