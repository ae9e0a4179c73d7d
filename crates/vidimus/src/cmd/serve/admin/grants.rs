//! What agents are lent for a task: asked for, granted, revoked.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use serde::Deserialize;
use vidimus_core::act::{Act, Granted, OfGrant, Requested, Subject, Terms, Thing};
use vidimus_core::clock::Clock as _;
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::person::{About, GrantOf, Names, Operation};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::standing::{Placed, Unfit, rfc3339};
use vidimus_gateway::millis;
use vidimus_query::acts::{ActDone, GrantShown, Grants};

use super::people::{Admin, Asks, Refused};
use super::registered::is_known;
use crate::clock::SystemClock;

/// Longest life of a grant.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// How long a request waits for a person.
const REQUEST: Duration = Duration::from_secs(3600);

/// A grant to give.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Give {
    terms: Terms,
    /// How long it is good.
    seconds: u64,
    /// The request that it answers.
    #[serde(default)]
    request: Option<String>,
    why: String,
}

/// A grant to ask for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    terms: Terms,
    why: String,
}

/// A grant, or a request for one, to end.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revoke {
    of: String,
    why: String,
}

pub(super) async fn list(State(admin): State<Admin>, asks: Asks) -> Result<Json<Grants>, Refused> {
    asks.may(Operation::Read, About::View("standing")).await?;
    let standing = admin.shared().acts.standing();
    let shown = |(placed, terms, until_ms): (&Placed, &Terms, i64), used: u32| GrantShown {
        actor: placed.actor.clone(),
        agent: terms.agent.to_string(),
        id: placed.id.clone(),
        resources: terms.resources.iter().map(ToString::to_string).collect(),
        time: placed.time.clone(),
        transaction: terms.transaction.clone(),
        until: rfc3339(until_ms).unwrap_or_default(),
        used,
        uses: terms.uses,
        why: placed.why.clone(),
    };
    let grants = standing.grants.values();
    let requests = standing.requests.values();
    Ok(Json(Grants {
        ended: standing.all_ended().cloned().collect(),
        grants: grants.map(|one| shown((&one.placed, &one.terms, one.until_ms), one.used)).collect(),
        requests: requests.map(|one| shown((&one.placed, &one.terms, one.until_ms), 0)).collect(),
    }))
}

pub(super) async fn give(
    asks: Asks,
    body: Result<Json<Give>, JsonRejection>,
) -> Result<Json<ActDone>, Refused> {
    let Give { terms, seconds, request, why } = asks.body(body).await?;
    let life = Duration::from_secs(seconds);
    if life.is_zero() || life > LONGEST {
        let message = format!("a grant is good for 1 to {} s, not for {seconds}", LONGEST.as_secs());
        return Err(asks.refuse(Refusal::new(Code::MessageInvalid, message)).await);
    }
    let until_ms = millis(SystemClock.now().wall + life).0;
    permitted(&asks, Operation::Grant, &terms, until_ms).await?;
    registered(&asks, &terms).await?;
    of_another(&asks, &terms).await?;
    let standing = asks.admin.shared().acts.standing();
    if let Some(request) = request.as_ref().filter(|request| !standing.requests.contains_key(*request)) {
        return Err(asks.refuse(gone(&asks, request)).await);
    }
    drop(standing);
    let agent = terms.agent.to_string();
    let warnings = unregistered(&asks, &terms);
    let done = asks.done(Act::Grant(Granted { request, terms, until_ms }), &why).await?;
    Ok(Json(ActDone { act: done.id, record: done.record, subject: agent, warnings }))
}

/// Whoever may be shown what stands may ask; what is asked for is granted by somebody who may grant it.
pub(super) async fn request(
    asks: Asks,
    body: Result<Json<Request>, JsonRejection>,
) -> Result<Json<ActDone>, Refused> {
    let Request { terms, why } = asks.body(body).await?;
    asks.may(Operation::Read, About::View("standing")).await?;
    checked(&asks, &terms).await?;
    registered(&asks, &terms).await?;
    let until_ms = millis(SystemClock.now().wall + REQUEST).0;
    let agent = terms.agent.to_string();
    let warnings = unregistered(&asks, &terms);
    let done = asks.done(Act::RequestGrant(Requested { terms, until_ms }), &why).await?;
    Ok(Json(ActDone { act: done.id, record: done.record, subject: agent, warnings }))
}

pub(super) async fn revoke(
    asks: Asks,
    body: Result<Json<Revoke>, JsonRejection>,
) -> Result<Json<ActDone>, Refused> {
    let Revoke { of, why } = asks.body(body).await?;
    let standing = asks.admin.shared().acts.standing();
    let grant = standing.grants.get(&of).map(|grant| (&grant.terms, grant.until_ms));
    let found = grant.or_else(|| standing.requests.get(&of).map(|one| (&one.terms, one.until_ms)));
    let Some((terms, until_ms)) = found else {
        return Err(asks.refuse(gone(&asks, &of)).await);
    };
    permitted(&asks, Operation::Revoke, terms, until_ms).await?;
    let kind = if standing.grants.contains_key(&of) { "Grant" } else { "Request" };
    let done = asks.done(Act::Revoke(OfGrant { of: of.clone() }), &why).await?;
    Ok(Json(ActDone {
        act: done.id,
        record: done.record,
        subject: format!("{kind}/{of}"),
        warnings: Vec::new(),
    }))
}

/// Of a grant or a request that is not there; what ended it is told to who may see what stands.
fn gone(asks: &Asks, of: &str) -> Refusal {
    let may_see = || asks.decided(Operation::Read, About::View("standing")).is_ok();
    let standing = asks.admin.shared().acts.standing();
    let unfit = match standing.ended(of).filter(|_| may_see()) {
        Some(ended) => Unfit::Ended(ended.clone()),
        None => Unfit::NoGrant { id: of.chars().take(100).collect() },
    };
    unfit.refusal()
}

async fn checked(asks: &Asks, terms: &Terms) -> Result<(), Refused> {
    match terms.check() {
        Ok(()) => Ok(()),
        Err(bad) => Err(asks.refuse(Refusal::new(Code::MessageInvalid, bad.to_string())).await),
    }
}

/// Nothing is granted, or asked for, for who is not registered. Asked after the policies: who may not grant is not told.
async fn registered(asks: &Asks, terms: &Terms) -> Result<(), Refused> {
    match asks.admin.shared().snapshot().agent(&terms.agent.0.id) {
        Some(_) => Ok(()),
        None => {
            let message = format!("nothing is registered as {}", terms.agent);
            Err(asks.refuse(Refusal::new(Code::ResourceUnknown, message)).await)
        }
    }
}

/// Nobody grants anything to what he answers for, whatever policies say, as nobody approves its calls (ADR 35).
async fn of_another(asks: &Asks, terms: &Terms) -> Result<(), Refused> {
    let world = asks.admin.shared().snapshot();
    let owner = world.agent(&terms.agent.0.id).map(|agent| Names::default().and(Some(&*agent.owner)));
    drop(world);
    if owner.is_some_and(|owner| owner.may_be(&asks.person.names())) {
        let message =
            format!("you answer for {}, and nobody grants anything to what he answers for", terms.agent);
        let refusal = Refusal::new(Code::ActUnfit, message);
        return Err(asks.refuse(refusal.with_next("Have somebody else who may grant it do so.")).await);
    }
    Ok(())
}

/// What of the resources belongs to nothing that is registered: it may come later, or be misspelt.
fn unregistered(asks: &Asks, terms: &Terms) -> Vec<String> {
    let world = asks.admin.shared().snapshot();
    let warning = |resource: &Thing| {
        let owner = owner(&resource.0)?;
        let known = is_known(&world, &Subject::Object(owner.clone()));
        (!known).then(|| {
            format!(
                "{resource}: nothing is registered as {owner}, so the grant lets nothing pass until it is"
            )
        })
    };
    terms.resources.iter().filter_map(warning).collect()
}

/// The registered object that a resource is of.
fn owner(resource: &EntityId) -> Option<EntityId> {
    let kind = match resource.kind {
        EntityKind::Tool | EntityKind::Resource | EntityKind::Prompt | EntityKind::McpServer => {
            EntityKind::McpServer
        }
        EntityKind::Model | EntityKind::LlmProvider => EntityKind::LlmProvider,
        EntityKind::Skill | EntityKind::Agent => EntityKind::Agent,
        EntityKind::Service => return None,
    };
    let end = resource.id.match_indices('/').nth(1).map_or(resource.id.len(), |(at, _)| at);
    Some(EntityId::new(kind, resource.id.get(..end)?))
}

/// Whether the person may do it with each of the resources.
async fn permitted(asks: &Asks, operation: Operation, terms: &Terms, until_ms: i64) -> Result<(), Refused> {
    checked(asks, terms).await?;
    for resource in &terms.resources {
        let until = vidimus_core::caller::UnixMillis(until_ms);
        let of = GrantOf { resource: &resource.0, agent: &terms.agent.0, until, uses: terms.uses };
        asks.may(operation, About::Grant(of)).await?;
    }
    Ok(())
}
