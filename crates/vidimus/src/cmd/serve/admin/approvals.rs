//! What waits for people: they look at it, approve it or deny it.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use serde::Deserialize;
use tokio::time::Instant;
use vidimus_core::act::Act;
use vidimus_core::approval::pending::{self, Approve, OfApproval, Pending, Question, Wanted};
use vidimus_core::entity::EntityId;
use vidimus_core::person::{About, ApprovalOf, Operation};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::standing::Unfit;
use vidimus_gateway::Shared;
use vidimus_query::acts::ActDone;
use vidimus_query::approvals::{Answered, Approvals, unshown};

use super::super::questions::{described, now, revision};
use super::people::{Admin, Asks, Refused};

/// The longest that a request waits for something to happen, in seconds: a connection lives for 120.
const LONGEST_WAIT: u64 = 60;
/// How often is looked for what happens by time alone.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks, however much is done.
const PAUSE: Duration = Duration::from_millis(50);

/// Which list is wanted: that of now, or the first in which something has happened.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Following {
    /// The revision of the list that is known.
    #[serde(default)]
    since: Option<String>,
    /// For how many seconds to wait.
    #[serde(default)]
    wait: Option<u64>,
}

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

pub(super) async fn list(
    State(admin): State<Admin>,
    asks: Asks,
    following: Result<Query<Following>, QueryRejection>,
) -> Result<Json<Approvals>, Refused> {
    asks.may(Operation::Read, About::View("approvals")).await?;
    let Following { since, wait } = match following {
        Ok(Query(following)) => following,
        Err(fault) => {
            return Err(asks.refuse(Refusal::new(Code::MessageInvalid, fault.body_text())).await);
        }
    };
    let wait = wait.unwrap_or(0);
    if wait > LONGEST_WAIT {
        let message = format!("wait is a number of seconds, at most {LONGEST_WAIT}, not {wait}");
        return Err(asks.refuse(Refusal::new(Code::MessageInvalid, message)).await);
    }
    let shared = admin.shared();
    // Who finds no place gets what there is now, and asks again.
    if let (Some(since), Ok(_place)) = (since, admin.watchers.try_acquire()) {
        happened(shared, &since, Duration::from_secs(wait)).await;
        // Much may have changed meanwhile, also of who may look.
        asks.may(Operation::Read, About::View("approvals")).await?;
    }
    let (standing, now) = (shared.acts.standing(), now());
    Ok(Json(Approvals {
        approvals: standing.approvals.all().map(|pending| described(shared, pending, now)).collect(),
        revision: revision(&standing.approvals, now),
    }))
}

/// Until something happened since, or the time is over.
async fn happened(shared: &Shared, since: &str, wait: Duration) {
    let end = Instant::now() + wait;
    let mut changes = shared.acts.changes();
    loop {
        changes.mark_unchanged();
        if revision(&shared.acts.standing().approvals, now()) != since || Instant::now() >= end {
            return;
        }
        let look = end.min(Instant::now() + LOOK);
        let _ = tokio::time::timeout_at(look, changes.changed()).await;
        tokio::time::sleep(PAUSE).await;
    }
}

pub(super) async fn approve(
    asks: Asks,
    body: Result<Json<Approving>, JsonRejection>,
) -> Result<Json<Answered>, Refused> {
    let Approving { approval, role, shown, why } = asks.body(body).await?;
    let pending = find(&asks, &approval).await?;
    let Some(way) = way(&asks, &pending, role.as_deref()).await? else {
        return Err(asks.refuse(several(&pending.question)).await);
    };
    let fault = match asks.admin.shared().questions.shown(&pending.question).1 {
        None => Some((unshown(pending.held_at.as_deref()), pending.held_at.as_deref())),
        Some(now) if now != shown => Some(("what was looked at is not what is asked".to_owned(), None)),
        Some(_) => None,
    };
    if let Some((fault, elsewhere)) = fault {
        let next = match elsewhere {
            Some(_) => {
                "Ask the admin address of that gateway (`--admin`): of the chart's it is the pod that is named, for `kubectl port-forward`."
            }
            None => "Look at what is asked now (`vidimus approvals show`), and approve that with its digest.",
        };
        return Err(asks.refuse(Refusal::new(Code::ActUnfit, fault).with_next(next)).await);
    }
    let Way { role, escalation } = way;
    let email = asks.person.user.email.as_deref().map(str::to_owned);
    let unverified_email = asks.person.unverified_email.as_deref().map(str::to_owned);
    done(&asks, Act::Approve(Approve { approval, email, escalation, role, shown, unverified_email }), &why)
        .await
}

pub(super) async fn deny(
    asks: Asks,
    body: Result<Json<Denying>, JsonRejection>,
) -> Result<Json<Answered>, Refused> {
    let Denying { approval, why } = asks.body(body).await?;
    let pending = find(&asks, &approval).await?;
    // Whoever could approve it in some role may say no.
    let mut refused = Refusal::new(Code::NoPermit, "nobody is asked");
    let resource = match resource(&pending.question) {
        Ok(resource) => resource,
        Err(refusal) => return Err(asks.refuse(refusal).await),
    };
    let roles = pending.question.asking.iter().map(|wanted| wanted.role.as_str());
    for role in roles.chain(pending.escalated(now())) {
        match asks.decided(Operation::Approve, about(&pending.question, &resource, role)) {
            Ok(_) => return done(&asks, Act::Deny(OfApproval { approval }), &why).await,
            Err(refusal) => refused = refusal,
        }
    }
    Err(asks.refuse(refused).await)
}

async fn done(asks: &Asks, act: Act, why: &str) -> Result<Json<Answered>, Refused> {
    let (subject, approval) = (act.subject(), act.approval().map(str::to_owned));
    let done = asks.done(act, why).await?;
    let standing = asks.admin.shared().acts.standing();
    let pending = approval.and_then(|approval| standing.approvals.get(&approval));
    Ok(Json(Answered {
        done: ActDone { act: done.id, record: done.record, subject, warnings: Vec::new() },
        state: pending.map(|pending| pending.state_at(now()).as_str().to_owned()).unwrap_or_default(),
        lacks: pending.map(lacking).unwrap_or_default(),
    }))
}

/// Who else has to approve a call that is still asked about.
fn lacking(pending: &Pending) -> Vec<String> {
    let lacks = |wanted: &Wanted| {
        let more = wanted.quorum.saturating_sub(pending.given_to(wanted));
        (more > 0).then(|| format!("{more} of {}", wanted.role))
    };
    match pending.state_at(now()) {
        pending::State::Asked => pending.question.asking.iter().filter_map(lacks).collect(),
        _ => Vec::new(),
    }
}

/// The approval, for somebody who may look at all of them.
async fn find(asks: &Asks, approval: &str) -> Result<Pending, Refused> {
    asks.may(Operation::Read, About::View("approvals")).await?;
    let found = asks.admin.shared().acts.standing().approvals.get(approval).cloned();
    match found {
        Some(pending) => Ok(pending),
        None => {
            let unfit = Unfit::Approval(pending::Unfit::Unknown);
            Err(asks.refuse(unfit.refusal()).await)
        }
    }
}

/// Of several roles that are asked a person has to say which.
fn several(question: &Question) -> Refusal {
    let mut roles: Vec<&str> = Vec::new();
    for wanted in &question.asking {
        if !roles.contains(&wanted.role.as_str()) {
            roles.push(&wanted.role);
        }
    }
    let roles = roles.join(", ");
    let message = format!("people of several roles are asked ({roles}): say in which one you approve");
    Refusal::new(Code::MessageInvalid, message)
        .with_next("Name the role: `vidimus approvals approve ID --role ROLE`.")
}

/// In which of the roles that are asked somebody approves, and by which of its own where the question has gone on to that.
#[derive(Debug)]
struct Way {
    role: String,
    escalation: Option<String>,
}

impl Way {
    /// The role that policies are asked about.
    fn own(&self) -> &str {
        self.escalation.as_deref().unwrap_or(&self.role)
    }
}

/// The first way that brings the question further and that policies permit to the person; `None` where it has to say which of several.
async fn way(asks: &Asks, pending: &Pending, role: Option<&str>) -> Result<Option<Way>, Refused> {
    let question = &pending.question;
    let Some(ways) = ways(pending, role, now()) else { return Ok(None) };
    let resource = match resource(question) {
        Ok(resource) => resource,
        Err(refusal) => return Err(asks.refuse(refusal).await),
    };
    let mut refused = None;
    for way in ways {
        match asks.decided(Operation::Approve, about(question, &resource, way.own())) {
            Ok(_) => return Ok(Some(way)),
            // Whoever is asked first says why.
            Err(refusal) => refused = refused.or(Some(refusal)),
        }
    }
    let refusal = refused.unwrap_or_else(|| Refusal::new(Code::NoPermit, "nobody is asked"));
    Err(asks.refuse(refusal).await)
}

/// How the question may be answered in a role; where none is said, in the one that is asked, or in which others are asked by now.
fn ways(pending: &Pending, role: Option<&str>, now: i64) -> Option<Vec<Way>> {
    let asking = &pending.question.asking;
    let one = asking.first().filter(|first| asking.iter().all(|one| one.role == first.role));
    let own = match role {
        Some(role) => role.to_owned(),
        None => one?.role.clone(),
    };
    let later = asking.iter().filter_map(|wanted| {
        let other = &wanted.escalation.as_ref()?.role;
        let is_meant = role.is_none_or(|role| role == other) && wanted.is_open_to(other, now);
        is_meant.then(|| Way { role: wanted.role.clone(), escalation: Some(other.clone()) })
    });
    let mut ways = vec![Way { role: own, escalation: None }];
    ways.extend(later);
    let lacks = |way: &Way| pending.lacks(&way.role, way.escalation.as_deref(), now);
    // Where none is of use, the first one is refused, and says why.
    if ways.iter().any(lacks) {
        ways.retain(lacks);
    }
    Some(ways)
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
