//! What waits for people: they look at it, approve it or deny it.

use std::time::{Duration, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use serde::Deserialize;
use vidimus_core::act::Act;
use vidimus_core::approval::pending::{Approve, OfApproval, Pending, Question};
use vidimus_core::clock::Clock as _;
use vidimus_core::entity::EntityId;
use vidimus_core::person::{About, ApprovalOf, Operation};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_gateway::{Shared, millis, rfc3339};
use vidimus_query::acts::ActDone;
use vidimus_query::approvals::{Approval, Approvals, Given, Made};

use super::people::{Admin, Asks, Refused};
use crate::clock::SystemClock;

/// What is approved.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Approving {
    approval: String,
    /// In which role; needless where one is asked for.
    role: Option<String>,
    /// The digest of what was looked at, as it was shown.
    shown: String,
    why: String,
}

/// What is denied.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Denying {
    approval: String,
    why: String,
}

pub(super) async fn list(State(admin): State<Admin>, asks: Asks) -> Result<Json<Approvals>, Refused> {
    asks.may(Operation::Read, About::View("approvals")).await?;
    let (shared, standing) = (admin.shared(), admin.shared().acts.standing());
    Ok(Json(Approvals {
        approvals: standing.approvals.all().map(|pending| described(shared, pending)).collect(),
    }))
}

pub(super) async fn approve(
    asks: Asks,
    body: Result<Json<Approving>, JsonRejection>,
) -> Result<Json<ActDone>, Refused> {
    let Approving { approval, role, shown, why } = asks.body(body).await?;
    let pending = find(&asks, &approval).await?;
    let Some(role) = role.or_else(|| the_one_role(&pending.question)) else {
        let message = "people of several roles are asked: say in which one you approve";
        return Err(asks.refuse(Refusal::new(Code::MessageInvalid, message)).await);
    };
    may_answer(&asks, &pending.question, &role).await?;
    let fault = match described(asks.admin.shared(), &pending).shown {
        None => Some("its arguments cannot be shown since a restart; they can when its caller tries again"),
        Some(now) if now != shown => Some("what was looked at is not what is asked"),
        Some(_) => None,
    };
    if let Some(fault) = fault {
        return Err(asks.refuse(Refusal::new(Code::ActUnfit, fault)).await);
    }
    done(&asks, Act::Approve(Approve { approval, role, shown }), &why).await
}

pub(super) async fn deny(
    asks: Asks,
    body: Result<Json<Denying>, JsonRejection>,
) -> Result<Json<ActDone>, Refused> {
    let Denying { approval, why } = asks.body(body).await?;
    let pending = find(&asks, &approval).await?;
    // Whoever could approve it in some role may say no.
    let mut refused = Refusal::new(Code::NoPermit, "nobody is asked");
    let resource = match resource(&pending.question) {
        Ok(resource) => resource,
        Err(refusal) => return Err(asks.refuse(refusal).await),
    };
    for wanted in &pending.question.asking {
        match asks.decided(Operation::Approve, about(&pending.question, &resource, &wanted.role)) {
            Ok(_) => return done(&asks, Act::Deny(OfApproval { approval }), &why).await,
            Err(refusal) => refused = refusal,
        }
    }
    Err(asks.refuse(refused).await)
}

async fn done(asks: &Asks, act: Act, why: &str) -> Result<Json<ActDone>, Refused> {
    let subject = act.subject();
    let done = asks.done(act, why).await?;
    Ok(Json(ActDone { act: done.id, record: done.record, subject }))
}

/// The approval, for somebody who may look at all of them.
async fn find(asks: &Asks, approval: &str) -> Result<Pending, Refused> {
    asks.may(Operation::Read, About::View("approvals")).await?;
    let found = asks.admin.shared().acts.standing().approvals.get(approval).cloned();
    match found {
        Some(pending) => Ok(pending),
        None => {
            let refusal = Refusal::new(Code::ActUnfit, "there is no approval of this id");
            Err(asks.refuse(refusal).await)
        }
    }
}

async fn may_answer(asks: &Asks, question: &Question, role: &str) -> Result<(), Refused> {
    match resource(question) {
        Ok(resource) => asks.may(Operation::Approve, about(question, &resource, role)).await,
        Err(refusal) => Err(asks.refuse(refusal).await),
    }
}

fn about<'a>(question: &'a Question, resource: &'a EntityId, role: &'a str) -> About<'a> {
    About::Approval(ApprovalOf { resource, caller: &question.principal, role })
}

/// What the held call is about.
fn resource(question: &Question) -> Result<EntityId, Refusal> {
    question
        .resource
        .parse()
        .map_err(|_| Refusal::new(Code::Internal, "what the call is about cannot be read"))
}

fn the_one_role(question: &Question) -> Option<String> {
    let first = question.asking.first()?;
    question.asking.iter().all(|one| one.role == first.role).then(|| first.role.clone())
}

fn described(shared: &Shared, pending: &Pending) -> Approval {
    let question = &pending.question;
    let (arguments, shown) = shared.questions.shown(question);
    let time =
        |millis: i64| rfc3339(UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or_default()));
    let now = millis(SystemClock.now().wall).0;
    let given = pending.votes.iter().map(|vote| Given {
        by: vote.by.clone(),
        role: vote.role.clone(),
        time: time(vote.at),
    });
    let made = pending.uses.iter().map(|(call, result)| Made {
        call: call.clone(),
        result: result.clone().unwrap_or_else(|| "unknown".to_owned()),
    });
    Approval {
        arguments: arguments.map(|text| text.to_string()),
        given: given.collect(),
        made: made.collect(),
        question: question.clone(),
        shown,
        state: pending.state_at(now).as_str().to_owned(),
        until: time(question.until),
    }
}
