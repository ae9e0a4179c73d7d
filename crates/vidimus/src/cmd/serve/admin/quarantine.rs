//! What is taken out of use in one act, and put back.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use serde::Deserialize;
use vidimus_core::act::{Act, Lifted, OfSubject, Subject};
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::person::{About, Names, Operation};
use vidimus_core::record::{Kept, Record};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{Endpoint, Object};
use vidimus_core::snapshot::Snapshot;
use vidimus_ledger::{Ledger, Matcher, Query};
use vidimus_query::acts::{ActDone, Quarantined, QuarantinedBy, Quarantines};

use super::people::{Admin, Asks, Refused};
use super::registered::is_known;

/// Among so many records is looked for a chain, and for so long: one that goes on has young ones.
const MOST_RECORDS: u64 = 100_000;
const LOOKS: Duration = Duration::from_secs(1);

/// What is to be quarantined.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Quarantine {
    subject: Subject,
    why: String,
}

/// What is to be lifted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lift {
    subject: Subject,
    /// The act that is undone, so that a request that is sent twice undoes nothing that was done in between.
    of: String,
    why: String,
}

pub(super) async fn list(State(admin): State<Admin>, asks: Asks) -> Result<Json<Quarantines>, Refused> {
    asks.may(Operation::Read, About::View("standing")).await?;
    Ok(Json(stands(&admin)))
}

pub(super) async fn place(
    asks: Asks,
    body: Result<Json<Quarantine>, JsonRejection>,
) -> Result<Json<ActDone>, Refused> {
    let Quarantine { subject, why } = asks.body(body).await?;
    asks.may(Operation::Quarantine, About::Subject(&subject)).await?;
    // After the policies were asked: who may not quarantine it is not told whether it exists.
    if !is_known(&asks.admin.shared().snapshot(), &subject) {
        let message = format!("nothing is registered as {subject}");
        return Err(asks.refuse(Refusal::new(Code::ResourceUnknown, message)).await);
    }
    let mut warnings = in_doubt(&asks.admin, &subject);
    let done = asks.done(Act::Quarantine(OfSubject { subject: subject.clone() }), &why).await?;
    // After the act, which does not wait for it.
    warnings.extend(unheard_of(&asks.admin.shared().ledger, &subject).await);
    Ok(Json(ActDone { act: done.id, record: done.record, subject: subject.to_string(), warnings }))
}

pub(super) async fn lift(
    asks: Asks,
    body: Result<Json<Lift>, JsonRejection>,
) -> Result<Json<ActDone>, Refused> {
    let Lift { subject, of, why } = asks.body(body).await?;
    asks.may(Operation::Lift, About::Subject(&subject)).await?;
    // Who is quarantined by this very id may nothing; another issuer may know it by another one.
    if matches!(&subject, Subject::User(id) if Names::of(id).may_be(&asks.person.names())) {
        let refusal = Refusal::new(Code::ActUnfit, "nobody lifts a quarantine of himself");
        return Err(asks.refuse(refusal.with_next("Have somebody else who may lift it do so.")).await);
    }
    let act = Act::Lift(Lifted { of, subject: subject.clone() });
    let done = asks.done(act, &why).await?;
    Ok(Json(ActDone {
        act: done.id,
        record: done.record,
        subject: subject.to_string(),
        warnings: Vec::new(),
    }))
}

/// What may not be as it was meant: nobody and nothing has the name, or it is not all that has to be taken out of use.
fn in_doubt(admin: &Admin, subject: &Subject) -> Vec<String> {
    let world = admin.shared().snapshot();
    match subject {
        Subject::Object(entity) => elsewhere(&world, entity),
        Subject::User(id) => {
            let issuer = id.split_once('#').map_or(&**id, |(issuer, _)| issuer);
            let known = admin.has_issuer(issuer) || world.issuers().any(|known| known == issuer);
            let warning = || {
                format!(
                    "{subject}: {issuer} is no issuer here, neither of people who operate (--operator-issuer) nor one that an identity or \
                     actsFor names, so this may be nobody"
                )
            };
            (!known).then(warning).into_iter().collect()
        }
        Subject::Identity(identity) if !is_borne(&world, identity) => {
            vec![format!("{subject}: nothing that is registered has this identity, so this may be nothing")]
        }
        Subject::Instance(_) | Subject::Identity(_) | Subject::Chain(_) => Vec::new(),
    }
}

/// That no record is of it, as far as was looked, where it is a chain or a copy: neither is registered.
async fn unheard_of(ledger: &Ledger, subject: &Subject) -> Option<String> {
    let query = match subject {
        Subject::Chain(transaction) => {
            Query { transaction: Some(transaction.to_string()), ..Query::default() }
        }
        // As it stands in each record of it.
        Subject::Instance(id) => {
            Query { text: Some(format!("\"instance\":{{\"id\":\"{id}\"")), ..Query::default() }
        }
        Subject::Object(_) | Subject::Identity(_) | Subject::User(_) => return None,
    };
    let ledger = ledger.clone();
    let looked = tokio::task::spawn_blocking(move || newest_without(&ledger, &Matcher::new(&query)));
    let count = looked.await.ok()??;
    Some(format!(
        "{subject}: none of the newest {count} records of this gateway is of it, so this may be nothing"
    ))
}

/// How many of the newest records were looked at, where none fits; `None` where one does, or where it cannot be told in time.
fn newest_without(ledger: &Ledger, wanted: &Matcher) -> Option<u64> {
    let end = Instant::now() + LOOKS;
    let from = ledger.size().saturating_sub(MOST_RECORDS).max(ledger.minimum().ok()?);
    let mut reading = ledger.read_from(from).ok()?;
    for hit in reading.by_ref() {
        let record = hit.ok()?.record;
        // Acts that are about it, as this one is, are no calls of it.
        let is_act = || matches!(Kept::read(&record), Ok(Record::Act(_)));
        if wanted.matches(&record) && !is_act() || Instant::now() > end {
            return None;
        }
    }
    Some(reading.index().saturating_sub(from))
}

/// Whether something is registered by an identity, also where more than one claim it.
fn is_borne(world: &Snapshot, identity: &str) -> bool {
    let Some((issuer, subject)) = identity.strip_prefix("oidc:").and_then(|rest| rest.split_once('#')) else {
        return world.principal_by_spiffe(identity).is_some() || !world.claims_on_spiffe(identity).is_empty();
    };
    let account = subject.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let by_account = account.is_some_and(|(namespace, name)| {
        world.principal_by_service_account(namespace, name).is_some()
            || !world.claims_on_service_account(namespace, name).is_empty()
    });
    by_account
        || world.principal_by_oidc(issuer, subject).is_some()
        || !world.claims_on_oidc(issuer, subject).is_empty()
}

/// The other objects by which the endpoint of this one can be called: they are not taken out of use with it.
fn elsewhere(world: &Snapshot, quarantined: &EntityId) -> Vec<String> {
    let called = |object: &Object| -> Option<(EntityId, String)> {
        let (id, endpoint): (&EntityId, &Endpoint) = match object {
            Object::Agent(agent) => (&agent.id, agent.endpoint.as_deref()?),
            Object::McpServer(server) => (&server.id, &server.endpoint),
            Object::LlmProvider(provider) => (&provider.id, &provider.endpoint),
            Object::Service(_) | Object::Policy(_) => return None,
        };
        Some((id.clone(), endpoint.url.to_string()))
    };
    if quarantined.kind == EntityKind::Service {
        return Vec::new();
    }
    let all: Vec<(EntityId, String)> = world.objects().iter().filter_map(called).collect();
    let Some((_, url)) = all.iter().find(|(id, _)| id == quarantined) else { return Vec::new() };
    let others = all.iter().filter(|(id, at)| id != quarantined && at == url);
    let warning = |(id, url): &(EntityId, String)| {
        format!(
            "{url} is called by {id} too, which is not quarantined with {quarantined}: quarantine it as well"
        )
    };
    others.map(warning).collect()
}

/// Both switches: acts, and what records themselves say.
pub(super) fn stands(admin: &Admin) -> Quarantines {
    let shared = admin.shared();
    let standing = shared.acts.standing();
    let by_act = standing.quarantined.keys().flat_map(|subject| {
        standing.quarantined_by(subject).map(move |placed| Quarantined {
            subject: subject.to_string(),
            by: QuarantinedBy::Act,
            act: Some(placed.id.clone()),
            actor: Some(placed.actor.clone()),
            time: Some(placed.time.clone()),
            why: Some(placed.why.clone()),
        })
    });
    let snapshot = shared.snapshot();
    let by_record = snapshot.quarantined_by_record().filter_map(|object| {
        let entity = match object {
            Object::Agent(agent) => &agent.id,
            Object::Service(service) => &service.id,
            Object::McpServer(_) | Object::LlmProvider(_) | Object::Policy(_) => return None,
        };
        let by = QuarantinedBy::Record;
        Some(Quarantined { subject: entity.to_string(), by, act: None, actor: None, time: None, why: None })
    });
    let mut quarantined: Vec<Quarantined> = by_act.chain(by_record).collect();
    quarantined.sort_by(|a, b| (&a.subject, a.by).cmp(&(&b.subject, b.by)));
    Quarantines { quarantined }
}
