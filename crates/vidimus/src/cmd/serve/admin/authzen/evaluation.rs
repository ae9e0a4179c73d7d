//! Whether a call may be made: one question, or several.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Json, Response};
use serde::Serialize;
use uuid::Uuid;
use vidimus_core::call::{Action, Arguments, Ask, Call, SoFar};
use vidimus_core::caller::{Caller, Chain, Proven};
use vidimus_core::clock::Clock as _;
use vidimus_core::decision::Outcome;
use vidimus_core::entity::EntityId;
use vidimus_core::json::Json as Strict;
use vidimus_core::obligation::Demanded;
use vidimus_core::person::{About, Operation};
use vidimus_core::refusal::{Class, Code, Refusal};
use vidimus_core::snapshot::Snapshot;
use vidimus_gateway::{AskedElsewhere, Evaluated, millis};
use vidimus_query::elsewhere::{self, Named};
use vidimus_query::explain;
use vidimus_query::state::State;
use vidimus_registry::Loaded;

use super::super::people::{Admin, Asks, Refused};
use super::wire::{Entity, Malformed, Members, Semantic, Stated, object};
use super::{Body, bytes, question};
use crate::clock::SystemClock;

/// Questions in one request.
const MOST: usize = 100;
/// What proves the caller is seen by the asker alone.
const IDENTITY: &str = "authzen";

/// What is answered of one question.
#[derive(Debug, Serialize)]
struct Answered {
    decision: bool,
    context: Context,
}

/// Why, with what belongs to no decision in `error`.
#[derive(Debug, Serialize)]
struct Context {
    /// Of the record.
    id: String,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'static str>,
    policies: Vec<Arc<str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    obligations: Vec<Demanded>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
}

/// Why a question came to no decision.
#[derive(Debug, Serialize)]
struct Error {
    status: u16,
    message: String,
}

/// The answers to several questions.
#[derive(Debug, Serialize)]
struct All {
    evaluations: Vec<Answered>,
}

impl Answered {
    fn decided(evaluated: Evaluated) -> Self {
        let Evaluated { id, outcome, refusal, policies, obligations } = evaluated;
        let context = Context {
            id: id.to_string(),
            outcome: outcome.as_str(),
            code: refusal.as_ref().map(|refusal| refusal.code.as_str()),
            reason: refusal.as_ref().map(|refusal| refusal.message.to_string()),
            next: refusal.as_ref().map(Refusal::next),
            policies,
            obligations,
            error: None,
        };
        Self { decision: refusal.is_none(), context }
    }

    fn refused(refused: &Refused) -> Self {
        let (refusal, record) = refused.parts();
        let status = match refusal.code.class() {
            // Who asks is proven: it is the one asked about who could not be.
            Class::Unauthenticated => 404,
            _ => refusal.http_status(),
        };
        let context = Context {
            id: record.to_owned(),
            outcome: Outcome::Deny.as_str(),
            code: Some(refusal.code.as_str()),
            reason: Some(refusal.message.to_string()),
            next: Some(refusal.next()),
            policies: refusal.policies.to_vec(),
            obligations: Vec::new(),
            error: Some(Error { status, message: refusal.message.to_string() }),
        };
        Self { decision: false, context }
    }
}

pub(super) async fn evaluation(asks: Asks, headers: HeaderMap, body: Body) -> Result<Response, Refused> {
    let body = bytes(&asks, &headers, body).await?;
    let asked = asks.or_refused(question(&body)).await?;
    let answered = Asking::of(&asks, &headers, &body).answer(Members::of(&asked)).await?;
    Ok(Json(answered).into_response())
}

pub(super) async fn evaluations(asks: Asks, headers: HeaderMap, body: Body) -> Result<Response, Refused> {
    let body = bytes(&asks, &headers, body).await?;
    let asked = asks.or_refused(question(&body)).await?;
    let asking = Asking::of(&asks, &headers, &body);
    let items = asks.or_refused(items(&asked).map_err(Refusal::from)).await?;
    if items.is_empty() {
        return Ok(Json(asking.answer(Members::of(&asked)).await?).into_response());
    }
    let semantic = asks.or_refused(Semantic::of(&asked).map_err(Refusal::from)).await?;
    let mut evaluations = Vec::with_capacity(items.len());
    for own in items {
        let answered = match asking.answer(Members { own, defaults: Some(&asked) }).await {
            Ok(answered) => answered,
            // What cannot be done now is done for none.
            Err(refused) if refused.parts().0.code.class() == Class::Unavailable => return Err(refused),
            Err(refused) => Answered::refused(&refused),
        };
        let ends = semantic.ends_with(answered.decision);
        evaluations.push(answered);
        if ends {
            break;
        }
    }
    Ok(Json(All { evaluations }).into_response())
}

/// The questions of several; none where it is one.
fn items<'j>(asked: &'j Strict<'j>) -> Result<&'j [Strict<'j>], Malformed> {
    let items = match asked.get("evaluations") {
        None => return Ok(&[]),
        Some(items) => {
            items.as_array().ok_or_else(|| Malformed::new("evaluations", "is not a list of questions"))?
        }
    };
    if items.len() > MOST {
        return Err(Malformed::new("evaluations", &format!("has more than {MOST} questions")));
    }
    Ok(items)
}

/// One question.
struct Question<'j> {
    subject: Entity<'j>,
    action: &'j str,
    resource: Entity<'j>,
    stated: Stated<'j>,
}

impl<'j> Question<'j> {
    fn of(members: Members<'j>) -> Result<Self, Malformed> {
        object(members.own, "evaluation")?;
        Ok(Self {
            subject: members.entity("subject")?,
            action: members.action()?,
            resource: members.entity("resource")?,
            stated: members.stated()?,
        })
    }
}

/// Who asks, by what request.
struct Asking<'a> {
    asks: &'a Asks,
    by: String,
    body: &'a [u8],
    traceparent: Option<&'a str>,
}

impl<'a> Asking<'a> {
    fn of(asks: &'a Asks, headers: &'a HeaderMap, body: &'a [u8]) -> Self {
        let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok());
        Self { asks, by: asks.person.actor(), body, traceparent }
    }

    /// Answers a question, which is then on record.
    ///
    /// # Errors
    /// Of what is no question, of what may not be asked, and where nothing can be answered now.
    async fn answer(&self, members: Members<'_>) -> Result<Answered, Refused> {
        let asks = self.asks;
        let asked = asks.or_refused(Question::of(members).map_err(Refusal::from)).await?;
        let resource = entity(&asked.resource, Code::ResourceUnknown);
        let resource = match resource.and_then(|id| elsewhere::called_by(&id).map(|_| id)) {
            Ok(resource) => resource,
            Err(refusal) => return Ok(Answered::refused(&asks.refuse(refusal).await)),
        };
        // Before anything is told of who and what there is.
        asks.may(Operation::Evaluate, About::Resource(&resource)).await?;
        let world = asks.admin.shared().snapshot();
        let state = state(&asks.admin, &world);
        let named = entity(&asked.subject, Code::PrincipalUnknown).and_then(|subject| {
            elsewhere::named(&state, (&subject, asked.stated.user.as_ref()), asked.action, &resource)
        });
        let named = match named {
            Ok(named) => named,
            Err(refusal) => return Ok(Answered::refused(&asks.refuse(refusal).await)),
        };
        let caller = caller(&named, &asked.stated);
        let call = call(&caller, &named, (&asked.stated, self.body));
        let about = AskedElsewhere { by: &self.by, body: self.body, traceparent: self.traceparent };
        let evaluated = asks.admin.shared().evaluate(&world, &call, &about).await;
        Ok(Answered::decided(asks.or_refused(evaluated).await?))
    }
}

/// A subject or a resource by its type and id.
pub(super) fn entity(of: &Entity<'_>, code: Code) -> Result<EntityId, Refusal> {
    explain::entity(&of.text()).map_err(|_| {
        let message = format!("nothing is registered of type {:?}", of.kind);
        Refusal::new(code, message).with_next(
            "Name it as policies do: Agent or Service; Tool, MCPServer and so on (docs/authzen.md).",
        )
    })
}

/// What decides now, to be asked about.
pub(super) fn state(admin: &Admin, world: &Arc<Snapshot>) -> State {
    let loaded = admin.health.loaded.borrow().clone();
    State::new(Loaded { snapshot: world.clone(), ..(*loaded).clone() }, "this gateway".to_owned())
}

/// Who would make the call. What is stated of others before it is how many they are.
pub(super) fn caller(named: &Named<'_>, stated: &Stated<'_>) -> Caller {
    let kind = named.principal.entity().kind;
    let chain = Chain {
        transaction: format!("authzen-{}", Uuid::now_v7().hyphenated()).into(),
        started: millis(SystemClock.now().wall),
        actors: (1..stated.depth).map(|hop| EntityId::new(kind, format!("authzen/hop-{hop}"))).collect(),
    };
    let proven = Proven {
        instance: None,
        principal: named.principal.clone(),
        identity: IDENTITY.into(),
        user: stated.user.clone(),
        delegated: None,
        expires: None,
    };
    Caller { proven: Arc::new(proven), chain: Arc::new(chain) }
}

/// The call. What is stated that belongs to another kind of call is nothing of it.
pub(super) fn call<'a>(
    caller: &'a Caller,
    named: &Named<'a>,
    (stated, body): (&Stated<'a>, &'a [u8]),
) -> Call<'a> {
    let Named { action, target, .. } = *named;
    let mut ask = Ask { body, ..Ask::about(method(action), action, target) };
    match action {
        Action::InvokeTool => ask.arguments = stated.arguments.map_or(Arguments::None, Arguments::Known),
        Action::CallModel => {
            (ask.tokens_estimated, ask.streaming) = (stated.tokens_estimated, stated.streaming);
        }
        Action::CallAgent => ask.push_url = stated.push_url,
        Action::ReadResource | Action::GetPrompt | Action::ConnectServer | Action::ListModels => {}
    }
    let (so_far, source_ip) = (SoFar::nothing(), stated.source_ip);
    Call { caller, ask, now: caller.chain.started, source_ip, so_far, approvals: &[] }
}

/// The method that makes such a call: new work, and nothing that only looks after what was made.
const fn method(action: Action) -> &'static str {
    match action {
        Action::InvokeTool => "tools/call",
        Action::ReadResource => "resources/read",
        Action::GetPrompt => "prompts/get",
        Action::ConnectServer => "initialize",
        Action::CallAgent => "SendMessage",
        Action::CallModel => "chat.completions",
        Action::ListModels => "models.list",
    }
}
