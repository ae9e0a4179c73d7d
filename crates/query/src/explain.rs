//! What would be decided of a call that nobody makes, and which policies and attribute values decide it.
//!
//! As the gateway goes: the rules of authentication and of the adapters first, with the same codes, then the policies.

mod recorded;
pub(crate) mod target;
mod unseen;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vidimus_core::call::{Action, Arguments, Ask, Call, Left, SoFar, Target};
use vidimus_core::caller::{Caller, Chain, Instance, InstanceKind, Proven, UnixMillis, User};
use vidimus_core::decision::{Decision, Outcome};
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::json::Json;
use vidimus_core::obligation::Demanded;
use vidimus_core::record::ObservedOutcome;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{Identity, Kind, McpServer, Principal};
use vidimus_core::snapshot::Snapshot;

use crate::Misasked;
use crate::state::{State, StateOf};
use crate::text;

pub use recorded::{
    NotExplained, Recorded, RecordedQuestion, UNKNOWN, of as of_record, recorded, recorded_by,
};

/// A call that nobody makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuestion {
    /// Who would call: `Agent/namespace/name` or `ServiceIdentity/namespace/name` (`Service/…` in policies).
    #[serde(with = "text::entity")]
    #[schemars(with = "String")]
    pub principal: EntityId,
    /// What would be called: `Tool/…`, `Prompt/…`, `Resource/…`, `MCPServer/…`, `Agent/…`, `Skill/…`, `LLMProvider/…` (its listing) or
    /// `Model/…`; the kind gives the action.
    #[serde(with = "text::entity")]
    #[schemars(with = "String")]
    pub resource: EntityId,
    /// Arguments of a tool call: the text of a JSON object, so that no number loses its notation on the way.
    #[serde(default = "no_arguments")]
    pub args: String,
    /// The number of the hop in its chain, 1 for a call that nobody delegated.
    #[serde(default = "first_hop")]
    #[schemars(range(min = 1))]
    pub depth: u8,
    /// The person the principal would act for, as `issuer#subject`.
    #[serde(default, with = "text::user", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub user: Option<User>,
    /// Which copy of the principal would call, by the UID of its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// What would be left of limits with the call, by their ids (`namespace/policy/name`); less than 0 where it would not fit. Where none is given it fits
    /// into all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, i64>,
    /// The guards that would find nothing in it, by their names in `context.guarded`. What waits for another is decided as if that found something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guarded: Vec<String>,
}

fn no_arguments() -> String {
    "{}".to_owned()
}

const fn first_hop() -> u8 {
    1
}

/// A decision, or a refusal that comes before one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// `allow`, `allow-with-obligations`, `hold` or `deny`; of a recorded call also `unknown`, where it depends on what its record does
    /// not say.
    #[schemars(extend("enum" = ["allow", "allow-with-obligations", "hold", "deny", "unknown"]))]
    pub outcome: String,
    /// Stable code where the call would not be allowed: docs/codes.md.
    pub code: Option<String>,
    /// The Cedar action.
    pub action: String,
    /// Of a refusal before a decision: what is the matter. Of what is permitted at other times only: in which window of which policy, and
    /// when that opens next.
    pub reason: String,
    /// The policies that decided.
    pub policies: Vec<String>,
    /// On a denial by default: the permits that come closest to the call.
    pub closest_permits: Vec<String>,
    /// The attribute values that decided, by their names.
    pub facts: BTreeMap<String, String>,
    /// The code by which the call would be refused if its namespace did not observe until a date (`mode: rollout`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_refuse: Option<String>,
    /// What policies demand that is changed of the call or of its answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub obligations: Vec<Demanded>,
    /// The limits that the call would count for, each with what it says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counts_for: Vec<String>,
    /// What policies that are only tried (`mode: observe`) would change, each by itself.
    pub observed: Vec<ObservedOutcome>,
    /// What to do next; empty where the call would be allowed.
    pub next: String,
    /// What would turn the outcome: the smallest sets of facts that were found, each decided with; empty where none was found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub would_change: Vec<WouldChange>,
    /// Of a call that nobody makes: what the gateway looks at when it is made, such as what guards find in it, and what would be decided then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_looked_at: Vec<String>,
    /// What was decided, where that is not what was asked about: what is called by a server with members is decided as its member's, unless
    /// policies refuse, or hold, what comes by that server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Of a call that was made: what its record says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Recorded>,
    /// What this is the answer of.
    pub state: StateOf,
}

/// Facts that would turn the outcome together; none of them can be left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WouldChange {
    /// The facts.
    pub facts: Vec<ChangedFact>,
    /// What would be decided then: `allow`, `allow-with-obligations`, `hold` or `deny`.
    pub outcome: String,
    /// The policies that would decide.
    pub policies: Vec<String>,
}

/// One fact that would be otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangedFact {
    /// Its name, as in `facts`.
    pub fact: String,
    /// What it is, where the explanation says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it would be; `absent` where it would not be there.
    pub to: String,
}

impl Explanation {
    /// Whether the call would be let through.
    pub fn allowed(&self) -> bool {
        [Outcome::Allow, Outcome::AllowWithObligations].iter().any(|outcome| outcome.as_str() == self.outcome)
    }
}

/// Decides the call by `state`. `now` is the time that it would be made at.
///
/// # Errors
/// When nobody could make it: its principal is not there, nothing calls its resource, its arguments are no JSON object.
pub fn explain(state: &State, question: &ExplainQuestion, now: UnixMillis) -> Result<Explanation, Misasked> {
    let misasked = |reason: String| Misasked::new("args", &question.args, reason);
    let arguments = Json::parse(question.args.as_bytes())
        .map_err(|error| misasked(format!("it is not acceptable JSON: {error}")))?;
    if !matches!(arguments, Json::Object(_)) {
        return Err(misasked(
            "the arguments of a tool call are a JSON object, as in '{\"amount\": 20000}'".to_owned(),
        ));
    }
    let principal = principal(state, &question.principal)?;
    let action = target::action(&question.resource)?;
    let world = &*state.loaded.snapshot;
    unseen::are_known(world, question)?;
    let followed = target::followed(world, &question.resource);
    let (front, followed) = followed.map_or((None, Ok(None)), |(front, own)| (Some(front), own.map(Some)));
    let target = match &followed {
        Ok(own) => target::target(state, own.as_ref().unwrap_or(&question.resource))?,
        Err(refusal) => Err(refusal.clone()),
    };
    let user = question.user.as_ref();
    let proven = can_prove(world, &principal)
        .and_then(|()| user.map_or(Ok(()), |user| may_act_for(world, &principal, user)));
    let explanation = match proven.and(target) {
        Ok(target) => decide(world, &principal, question, &arguments, Asked { action, target, front, now }),
        Err(refusal) => Explanation::refused(action, &refusal),
    };
    Ok(Explanation { state: state.described(), ..explanation })
}

/// Whether anything proves the principal: an identity that no other claims, or, of an agent that can be called and has no identity, the
/// token of the hop to it.
pub(crate) fn can_prove(world: &Snapshot, principal: &Principal) -> Result<(), Refusal> {
    let is_called = matches!(principal, Principal::Agent(agent) if agent.endpoint.is_some());
    if principal.identities().is_empty() && !is_called {
        let message = format!("{} has no identity, so nobody can prove to be it", principal.entity());
        return Err(Refusal::new(Code::PrincipalUnknown, message));
    }
    let mut contested = Ok(());
    for identity in principal.identities() {
        let (name, claims) = match identity {
            Identity::Spiffe(id) => (id.to_string(), world.claims_on_spiffe(id)),
            Identity::Oidc { issuer, subject, .. } => {
                (format!("{issuer}#{subject}"), world.claims_on_oidc(issuer, subject))
            }
            Identity::ServiceAccount { namespace, name } => {
                (format!("{namespace}/{name}"), world.claims_on_service_account(namespace, name))
            }
        };
        if claims.is_empty() {
            return Ok(());
        }
        contested = Err(Snapshot::contested(&name, claims));
    }
    contested
}

/// As `identity` binds a token to a principal and its user.
pub(crate) fn may_act_for(world: &Snapshot, principal: &Principal, user: &User) -> Result<(), Refusal> {
    if let Some(registered) = world.principal_by_oidc(&user.issuer, &user.subject) {
        let message = format!("the user is itself a registered principal, {}", registered.entity());
        return Err(Refusal::new(Code::CredentialAmbiguous, message));
    }
    match world.claims_on_oidc(&user.issuer, &user.subject) {
        [] => {}
        claims => return Err(Snapshot::contested(&user.id(), claims)),
    }
    if principal.may_act_for(&user.issuer) {
        return Ok(());
    }
    let message = format!("{} may not act for people of {}", principal.entity(), user.issuer);
    Err(Refusal::new(Code::UserNotAllowed, message))
}

/// A copy of which nothing but its UID is said.
fn pod(uid: &str) -> Instance {
    Instance { id: uid.into(), kind: InstanceKind::Pod, name: None, node: None }
}

/// The method by which a tool is called.
const CALL: &str = "tools/call";

/// What to do where guards have not looked.
const GUARDED: &str =
    "Make the call: guards look at what it says, and it passes where they find nothing (docs/guards.md).";

/// What would be called.
struct Asked<'a> {
    action: Action,
    target: Target<'a>,
    /// The server with members by which it would be.
    front: Option<&'a Arc<McpServer>>,
    now: UnixMillis,
}

fn decide(
    world: &Snapshot,
    principal: &Principal,
    question: &ExplainQuestion,
    arguments: &Json<'_>,
    Asked { action, target, front, now }: Asked<'_>,
) -> Explanation {
    let actor = &question.principal;
    let chain = Chain {
        transaction: "explain".into(),
        // It begins with the call: what is described has no past.
        started: now,
        // The agents in between are not known; others than the caller stand for them.
        actors: (1..question.depth)
            .map(|hop| EntityId::new(actor.kind, format!("explain/hop-{hop}")))
            .collect(),
    };
    let proven = Proven {
        principal: principal.clone(),
        identity: "explain".into(),
        user: question.user.clone(),
        delegated: None,
        instance: question.instance.as_deref().map(|uid| Arc::new(pod(uid))),
        expires: None,
    };
    let caller = Caller { proven: Arc::new(proven), chain: Arc::new(chain) };
    if let Some(front) = front
        && let Some(barred) = barred(world, front, &caller, (action, now))
    {
        return barred;
    }
    let arguments = if action == Action::InvokeTool { Arguments::Known(arguments) } else { Arguments::None };
    // What a tool is called by is in its digest.
    let method = if action == Action::InvokeTool { CALL } else { "" };
    let ask = Ask { arguments, ..Ask::about(method, action, target) };
    let left = |(limit, left): (&String, &i64)| Left {
        limit: limit.as_str().into(),
        left: *left,
        again: None,
        of: None,
    };
    let so_far = SoFar { limits: question.limits.iter().map(left).collect(), ..SoFar::default() };
    let call = Call { caller: &caller, ask, now, source_ip: None, so_far: &so_far, approvals: &[] };
    let guarded = unseen::guarded(world, &call, &question.guarded);
    let ask = Ask { guarded: &guarded, ..call.ask };
    let call = Call { ask, ..call };
    let decision = world.authorize(&call);
    let would_change = would_change(world, &call, &decision);
    let resource = front.map(|_| target.entity().to_string());
    let unseen = unseen::of(world, &call, &decision);
    let mut explained = Explanation::decided(&decision);
    if unseen.is_lifted {
        explained.next = GUARDED.to_owned();
    }
    Explanation { would_change, resource, not_looked_at: unseen.said, ..explained }
}

/// Why nothing comes by a server with members, where policies about that refuse it, or hold it: they are asked first.
fn barred(
    world: &Snapshot,
    front: &Arc<McpServer>,
    caller: &Caller,
    (action, now): (Action, UnixMillis),
) -> Option<Explanation> {
    let method = match action {
        Action::GetPrompt => "prompts/get",
        Action::ReadResource => "resources/read",
        _ => CALL,
    };
    let ask = Ask::about(method, Action::ConnectServer, Target::Server(front));
    let call = Call { caller, ask, now, source_ip: None, so_far: SoFar::nothing(), approvals: &[] };
    let resource = Some(front.id.to_string());
    world
        .stands_against(&call)
        .then(|| Explanation { resource, ..Explanation::decided(&world.authorize(&call)) })
}

/// What would turn the outcome of a call.
fn would_change(world: &Snapshot, call: &Call<'_>, decision: &Decision<'_>) -> Vec<WouldChange> {
    let from = |name: &str| {
        decision.facts().iter().find(|(fact, _)| **fact == *name).map(|(_, value)| value.to_string())
    };
    let turned = world.otherwise(call).into_iter().map(|otherwise| WouldChange {
        facts: otherwise
            .changes
            .iter()
            .map(|change| ChangedFact {
                fact: change.fact.to_string(),
                from: from(&change.fact),
                to: change.to.to_string(),
            })
            .collect(),
        outcome: otherwise.outcome.as_str().to_owned(),
        policies: otherwise.policies.iter().map(ToString::to_string).collect(),
    });
    turned.collect()
}

impl Explanation {
    fn decided(decision: &Decision<'_>) -> Self {
        let texts = |ids: &[Arc<str>]| ids.iter().map(ToString::to_string).collect();
        let code = decision.code();
        let shut = decision.reason().filter(|_| code == Some(Code::NoPermit));
        Self {
            outcome: decision.outcome().as_str().to_owned(),
            reason: shut.map(ToString::to_string).unwrap_or_default(),
            action: decision.call().ask.action.as_str().to_owned(),
            code: code.map(|code| code.as_str().to_owned()),
            policies: texts(decision.policies()),
            closest_permits: texts(decision.closest_permits()),
            facts: decision
                .facts()
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            would_refuse: decision.would_refuse().map(|code| code.as_str().to_owned()),
            obligations: decision.obligations().iter().map(Demanded::of).collect(),
            counts_for: decision.limits().iter().map(|limit| format!("{}: {limit}", limit.id)).collect(),
            observed: decision.observed().iter().map(ObservedOutcome::of).collect(),
            next: code.map(|code| next(code, decision).to_owned()).unwrap_or_default(),
            ..Self::default()
        }
    }

    fn refused(action: Action, refusal: &Refusal) -> Self {
        Self {
            action: action.as_str().to_owned(),
            outcome: Outcome::Deny.as_str().to_owned(),
            code: Some(refusal.code.as_str().to_owned()),
            reason: told(refusal),
            next: refusal.code.next().to_owned(),
            ..Self::default()
        }
    }
}

/// Why something is refused, with what else log and record have.
pub(crate) fn told(refusal: &Refusal) -> String {
    match &refusal.detail {
        Some(detail) => format!("{}; {detail}", refusal.message),
        None => refusal.message.to_string(),
    }
}

/// What to do next, for somebody who has this explanation already.
fn next(code: Code, decision: &Decision<'_>) -> &'static str {
    match code {
        Code::NoPermit if decision.closest_permits().is_empty() => {
            "Write a policy that permits it; none comes close."
        }
        Code::NoPermit if decision.reason().is_some() => {
            "Call again when the window is open, or change the window of the policy."
        }
        Code::NoPermit => {
            "Compare the facts with the closest permits; change the record, the call or the policy."
        }
        code => code.next(),
    }
}

pub(crate) fn principal(state: &State, id: &EntityId) -> Result<Principal, Misasked> {
    let world = &*state.loaded.snapshot;
    let (found, kind) = match id.kind {
        EntityKind::Agent => (world.agent(&id.id).cloned().map(Principal::Agent), Kind::Agent),
        EntityKind::Service => {
            (world.service(&id.id).cloned().map(Principal::Service), Kind::ServiceIdentity)
        }
        _ => return Err(Misasked::new("principal", id, "a principal is an Agent or a Service")),
    };
    found.ok_or_else(|| {
        let refusal = world.absent(kind, &id.id, Code::PrincipalUnknown);
        let places =
            refusal.detail.map(|detail| format!("; {detail}: rename one of them")).unwrap_or_default();
        let held = state.held(kind, &id.id).map(|held| format!("; {held}")).unwrap_or_default();
        Misasked::new("principal", id, format!("{}{places}{held}", refusal.message))
    })
}

/// The text of a principal or a resource is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write Kind/namespace/name, as in Agent/finance/invoice-bot or Tool/finance/ledger/get_invoice")]
pub struct NoEntity;

/// The text of a person is not of the form `issuer#subject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write issuer#subject")]
pub struct NoUser;

/// A principal or a resource. An object of kind `ServiceIdentity` is a `Service` in policies; both names are understood.
///
/// # Errors
/// See [`NoEntity`].
pub fn entity(text: &str) -> Result<EntityId, NoEntity> {
    let id = match text.strip_prefix("ServiceIdentity/") {
        Some(id) => format!("Service/{id}").parse(),
        None => text.parse(),
    };
    id.map_err(|_| NoEntity)
}

/// A person, as `issuer#subject`.
///
/// # Errors
/// See [`NoUser`].
pub fn user(text: &str) -> Result<User, NoUser> {
    User::of_id(text).ok_or(NoUser)
}

#[cfg(test)]
mod tests;
