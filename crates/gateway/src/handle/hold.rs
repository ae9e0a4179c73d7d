//! A call that policies hold: people are asked, and once they approved it, it is decided again with their approval, and made once.

use std::collections::BTreeSet;

use uuid::Uuid;
use vidimus_core::act::{Act, BY_ITSELF};
use vidimus_core::approval::Approval;
use vidimus_core::approval::pending::{
    Before, Definition, Escalates, Pending, Question, State, Vote, Wanted,
};
use vidimus_core::call::Call;
use vidimus_core::caller::{UnixMillis, User};
use vidimus_core::decision::{Decision, Outcome};
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::permit::Held;
use vidimus_core::refusal::{Awaited, Code, Refusal};
use vidimus_core::resource::Principal;
use vidimus_core::snapshot::Snapshot;

use super::admit::sha256;
use super::content;
use super::definition::{self, Source};
use crate::gate::{Gate, millis};
use crate::request_context::RequestContext;

/// When a caller that waits for an approval may look again, in seconds.
pub(super) const RETRY_AFTER: u32 = 10;

/// The approval that people gave to a call.
#[derive(Debug)]
pub(super) struct Given {
    approval: Box<str>,
    approvals: Vec<Approval>,
    /// What the server said of the tool when they were asked.
    definition: Option<Definition>,
}

/// How a call stands to approvals, when it is decided for good.
#[derive(Debug)]
pub(super) enum Standing {
    /// No policy asks for one.
    None,
    /// It is made with this one, once that is claimed for it ([`super::grants::claimed`]).
    With(Box<str>),
    /// It waits for this one; `again` where people were asked for an earlier try.
    Waits { awaited: Awaited, again: bool },
}

impl Given {
    /// The approval that stands for the call which `decision` holds, if one does.
    pub(super) fn to(gate: &Gate, decision: &Decision<'_>, now: UnixMillis) -> Option<Self> {
        let digest = decision.to_approve()?.to_string();
        let standing = gate.acts.standing();
        let pending = standing.approvals.about(&digest).filter(|pending| pending.is_usable(now.0))?;
        // What asked for it was changed since, and may have been changed back: that it is void is being recorded.
        if gate.acts.is_void(&pending.question.approval) {
            return None;
        }
        // A quarantine makes it void; what an earlier version kept may be older than that.
        if standing.is_approved_in_doubt(pending) {
            return None;
        }
        let approval = |vote: &Vote| {
            let by = User::of_id(vote.by.strip_prefix("User/")?)?;
            Some(Approval { role: vote.role.as_str().into(), by, at: UnixMillis(vote.at) })
        };
        let approvals: Option<Vec<Approval>> = pending.given().map(approval).collect();
        let Question { approval, definition, .. } = &pending.question;
        let (approval, definition) = (approval.as_str().into(), definition.clone());
        Some(Self { approval, approvals: approvals?, definition })
    }

    /// Which approval it is.
    pub(super) fn approval(&self) -> &str {
        &self.approval
    }

    /// As policies see them.
    pub(super) fn approvals(given: Option<&Self>) -> &[Approval] {
        given.map(|given| &*given.approvals).unwrap_or_default()
    }
}

impl Standing {
    /// Finds out which approval lets the call pass, or asks people about a call that is held.
    ///
    /// # Errors
    /// `approval_denied`; `unrepresentable` where what is approved could be read as something else; `change_impossible` where what people are
    /// not to be shown cannot be told from what they are; `tool_changed` and `tool_unverified`, where the server says something else of the
    /// tool than it did, or nothing; `overloaded` where too many questions stand; those of acts.
    pub(super) async fn of(
        gate: &Gate,
        context: &RequestContext,
        decision: &Decision<'_>,
        given: Option<&Given>,
        source: &Source<'_>,
    ) -> Result<Self, Refusal> {
        if decision.outcome() == Outcome::Hold || given.is_some() {
            check_numbers(decision.call())?;
        }
        match (decision.outcome(), given) {
            // Few calls are held, and what is kept in place is moved with each.
            (Outcome::Hold, _) => Box::pin(ask(gate, context, decision, source)).await,
            (Outcome::Allow | Outcome::AllowWithObligations, Some(given)) => {
                let call = decision.call();
                if definition::is_bound(call) {
                    let approved = (&*given.approval, given.definition.as_ref());
                    Box::pin(definition::check(gate, context, call, source, approved)).await?;
                    still_allowed(gate, call, source)?;
                }
                Ok(Self::With(given.approval.clone()))
            }
            _ => Ok(Self::None),
        }
    }

    /// Which approval it is.
    pub(super) fn approval(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::With(approval) => Some(approval),
            Self::Waits { awaited, .. } => Some(&awaited.approval),
        }
    }

    /// That of a call which is made with it.
    pub(super) fn claimed(self) -> Option<Box<str>> {
        match self {
            Self::With(approval) => Some(approval),
            _ => None,
        }
    }

    /// Whether it is one more try of a call that waits.
    pub(super) fn waits_again(&self) -> bool {
        matches!(self, Self::Waits { again: true, .. })
    }

    /// Has the caller of a held call know what it waits for.
    pub(super) fn tell(self, held: Held) -> Held {
        match self {
            Self::Waits { awaited, .. } => held.awaiting(awaited),
            _ => held,
        }
    }
}

/// That the call may be made now: its server had time to say what the tool is, and meanwhile a token, or what permits it, may have ended.
fn still_allowed(gate: &Gate, call: &Call<'_>, source: &Source<'_>) -> Result<(), Refusal> {
    let now = millis(gate.clock.now().wall);
    if call.caller.proven.expires.is_some_and(|end| end <= now) {
        return Err(Refusal::new(
            Code::TokenExpired,
            "the token ended while the tool's server was asked about it",
        ));
    }
    let decision = source.world.authorize(&Call { now, ..*call });
    match decision.outcome() {
        Outcome::Allow | Outcome::AllowWithObligations => Ok(()),
        Outcome::Deny | Outcome::Hold => {
            let message = "what permitted the call ended while the tool's server was asked about it";
            Err(Refusal::new(decision.code().unwrap_or(Code::NoPermit), message))
        }
    }
}

/// That each number of what is approved is one, however it is read: the digest of it knows numbers as doubles.
fn check_numbers(call: &Call<'_>) -> Result<(), Refusal> {
    let Some(number) = call.inexact_number() else { return Ok(()) };
    let shown: String = number.chars().take(64).collect();
    let message = format!(
        "the number {shown} can be taken for others, so nobody can approve just it; send it as a text, or rounded"
    );
    Err(Refusal::new(Code::Unrepresentable, message))
}

/// The question about a held call: the one that stands, or a new one.
async fn ask(
    gate: &Gate,
    context: &RequestContext,
    decision: &Decision<'_>,
    source: &Source<'_>,
) -> Result<Standing, Refusal> {
    let Some(digest) = decision.to_approve().map(|digest| digest.to_string()) else {
        return Err(Refusal::new(Code::Internal, "the call is not held"));
    };
    let call = decision.call();
    let hidden = hidden(decision);
    let arguments = content::shown(call, &hidden)?;
    let asking = call.principal().entity().to_string();
    let mut standing = gate.acts.standing();
    let is_void = |last: &Pending| gate.acts.is_void(&last.question.approval);
    if standing.approvals.about(&digest).is_some_and(is_void) {
        // On record before the same is asked anew.
        gate.shared.record_void().await;
        standing = gate.acts.standing();
    }
    let last = standing.approvals.about(&digest);
    let stands = |last: &&Pending| matches!(last.state_at(call.now.0), State::Asked | State::Approved);
    let again = last.as_ref().is_some_and(stands);
    let approval = match last.map(|last| (last, last.state_at(call.now.0))) {
        Some((last, _)) if again => last.question.approval.clone(),
        Some((last, State::Denied)) if call.now.0 < last.question.until => return Err(denied(last)),
        _ => {
            let same = call.digest().to_string();
            let before = standing.approvals.made_before(&same);
            let mut question =
                question(context, decision, (digest.clone(), same), arguments.as_deref(), before);
            question.chain_owners = owners(source.world, call);
            question.redacted = hidden;
            if definition::is_bound(call) {
                question.definition = Some(definition::of(gate, context, call, source).await?);
            }
            let approval = question.approval.clone();
            // Whoever follows questions finds with this one what it is about.
            if let Some(arguments) = &arguments {
                gate.questions.keep(&approval, &asking, arguments, &standing.approvals);
            }
            match gate.shared.act(BY_ITSELF, Act::Ask(Box::new(question)), "a policy holds the call").await {
                Ok(_done) => {
                    // One that decides only by now has not found this among what it makes void.
                    if !gate.shared.world.is(source.world) {
                        gate.shared.void_changed(Some(source.world), &gate.shared.snapshot());
                    }
                    approval
                }
                Err(refusal) => asked_meanwhile(gate, &digest, refusal)?,
            }
        }
    };
    // Payloads are not recorded, so what is shown to people is kept here; after a restart the next try of the call brings it back.
    if let Some(arguments) = arguments {
        gate.questions.keep(&approval, &asking, &arguments, &gate.acts.standing().approvals);
    }
    let awaited = Awaited { approval: approval.into(), retry_after: RETRY_AFTER };
    Ok(Standing::Waits { awaited, again })
}

/// What of the arguments is not shown to people, by any of the policies that ask them; sorted.
fn hidden(decision: &Decision<'_>) -> Vec<String> {
    let mut hidden: Vec<String> =
        decision.asking().iter().flat_map(|one| one.redact_shown.iter().map(ToString::to_string)).collect();
    hidden.sort_unstable();
    hidden.dedup();
    hidden
}

/// The question that another try of the same call asked at the same time.
fn asked_meanwhile(gate: &Gate, digest: &str, refusal: Refusal) -> Result<String, Refusal> {
    let standing = gate.acts.standing();
    let other = standing.approvals.about(digest).filter(|_| refusal.code == Code::ActUnfit);
    other.map(|other| other.question.approval.clone()).ok_or(refusal)
}

fn denied(last: &Pending) -> Refusal {
    let policies = last.question.asking.iter().map(|wanted| wanted.policy.as_str().into()).collect();
    let message = format!("a person denied this call (approval {})", last.question.approval);
    Refusal { policies, ..Refusal::new(Code::ApprovalDenied, message) }
}

/// Who answers for those that acted before the caller; sorted, each once. All of these are registered, or the call would be denied.
fn owners(world: &Snapshot, call: &Call<'_>) -> Vec<String> {
    let owner = |actor: &EntityId| match actor.kind {
        EntityKind::Agent => world.agent(&actor.id).map(|agent| agent.owner.to_string()),
        EntityKind::Service => world.service(&actor.id).map(|service| service.owner.to_string()),
        _ => None,
    };
    let owners: BTreeSet<String> = call.chain().actors.iter().filter_map(owner).collect();
    owners.into_iter().collect()
}

fn question(
    context: &RequestContext,
    decision: &Decision<'_>,
    (digest, same): (String, String),
    arguments: Option<&str>,
    before: Option<Before>,
) -> Question {
    let call: &Call<'_> = decision.call();
    let millis = |time: std::time::Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let at = |after| call.now.0.saturating_add(millis(after));
    let wanted = decision.asking().iter().map(|one| Wanted {
        digest: Some(one.digest_text()),
        escalation: one
            .escalation
            .as_ref()
            .map(|one| Escalates { at: at(one.after), role: one.role.to_string() }),
        policy: one.policy.to_string(),
        quorum: one.quorum,
        reason: one.reason.as_deref().map(str::to_owned),
        role: one.role.to_string(),
    });
    let lifetime = decision.asking().iter().map(|one| one.lifetime).min().map_or(0, millis);
    // Only where each of them gives one.
    let windows: Option<Vec<_>> = decision.asking().iter().map(|one| one.window).collect();
    let owner = match call.principal() {
        Principal::Agent(agent) => &agent.owner,
        Principal::Service(service) => &service.owner,
    };
    let destination = call.ask.target.destination();
    Question {
        action: call.ask.action.as_str().to_owned(),
        approval: Uuid::now_v7().hyphenated().to_string(),
        arguments: arguments.map(|text| sha256(text.as_bytes())),
        asking: wanted.collect(),
        before,
        call: context.call.to_string(),
        chain: call.chain().actors.iter().map(ToString::to_string).collect(),
        chain_owners: Vec::new(),
        definition: None,
        digest,
        endpoint: destination.endpoint().map(|endpoint| endpoint.url.to_string()).unwrap_or_default(),
        identity: Some(call.caller.proven.identity.to_string()),
        instance: call.caller.proven.instance.as_ref().map(|copy| copy.id.to_string()),
        method: call.ask.method.to_owned(),
        owner: owner.to_string(),
        principal: call.principal().entity().to_string(),
        redacted: Vec::new(),
        resource: call.ask.target.entity().to_string(),
        same: Some(same),
        until: call.now.0.saturating_add(lifetime),
        user: call.user().map(User::id),
        user_email: call.user().and_then(|user| user.email.as_deref()).map(str::to_owned),
        window: windows.and_then(|windows| windows.into_iter().min()).map(millis),
    }
}
