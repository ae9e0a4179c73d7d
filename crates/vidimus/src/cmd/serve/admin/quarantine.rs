//! What is taken out of use in one act, and put back.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use serde::Deserialize;
use vidimus_core::act::{Act, Lifted, OfSubject, Subject};
use vidimus_core::person::{About, Operation};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Object;
use vidimus_query::acts::{ActDone, Quarantined, QuarantinedBy, Quarantines};

use super::people::{Admin, Asks, Refused};
use super::registered::is_known;

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
    let done = asks.done(Act::Quarantine(OfSubject { subject: subject.clone() }), &why).await?;
    Ok(Json(ActDone {
        act: done.id,
        record: done.record,
        subject: subject.to_string(),
        warnings: Vec::new(),
    }))
}

pub(super) async fn lift(
    asks: Asks,
    body: Result<Json<Lift>, JsonRejection>,
) -> Result<Json<ActDone>, Refused> {
    let Lift { subject, of, why } = asks.body(body).await?;
    let act = Act::Lift(Lifted { of, subject: subject.clone() });
    let done = asks.act((Operation::Lift, About::Subject(&subject)), act, &why).await?;
    Ok(Json(ActDone {
        act: done.id,
        record: done.record,
        subject: subject.to_string(),
        warnings: Vec::new(),
    }))
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
