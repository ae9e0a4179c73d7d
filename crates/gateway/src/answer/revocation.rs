//! A long answer is decided again when the configuration changes, and when a window of a policy closes: what would be refused now does not
//! go on. Nor does anything when the gateway has stopped.

mod anew;

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, Sleep};
use vidimus_core::approval::Approval;
use vidimus_core::authorize::NEWS_OF_TASK;
use vidimus_core::call::{Action, Arguments, Ask, Call, Destination, SoFar};
use vidimus_core::caller::{Caller, UnixMillis};
use vidimus_core::decision::{Candidate, Outcome};
use vidimus_core::entity::EntityId;
use vidimus_core::guard::Guarded;
use vidimus_core::obligation::Obligation;
use vidimus_core::permit::Permit;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Snapshot;

pub use self::anew::{found, rebound};
use super::kept::{Kept, KeptContent};
use super::passage::Passage;
use crate::followed::Followed;
use crate::gate::{Shared, millis};
use crate::part::Part;

/// What a call asked, owned.
#[derive(Clone, Debug)]
pub struct Asked {
    method: Box<str>,
    action: Action,
    /// When it was decided: the copy that made it was there.
    pub(super) made: UnixMillis,
    pub part: Part,
    /// The task that it is about, by the upstream's id.
    pub task: Option<Box<str>>,
    push_url: Option<Box<str>>,
    pub source_ip: Option<IpAddr>,
    /// What its chain had come to, where that was counted.
    pub so_far: Option<Arc<SoFar>>,
    tokens_estimated: i64,
    streaming: bool,
    arguments: Kept,
    /// What it said beside them.
    content: KeptContent,
    /// What people approved of it: they did when it was made.
    approvals: Arc<[Approval]>,
    /// The guards that looked at it.
    guarded: Guarded,
    /// The server with members by which it came.
    passage: Option<Box<Passage>>,
    /// The grant of which it took a use, where nothing else permitted it.
    grant: Option<Arc<str>>,
    /// What is changed of it.
    obligations: Arc<[Obligation]>,
    /// What else it is about, each permitted by itself.
    followed: Arc<[Followed]>,
    /// Who answers it in place of whom it is to: that may be called as well.
    by: Option<Box<(Destination, Asked)>>,
}

impl Asked {
    /// The protocol's method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// `so_far` is that of the call, where there is one.
    pub fn of(call: &Call<'_>, so_far: Option<Arc<SoFar>>) -> Self {
        let Ask { method, action, target, tokens_estimated, streaming, task, push_url, .. } = call.ask;
        Self {
            method: method.into(),
            action,
            made: call.now,
            part: target.into(),
            task: task.map(Into::into),
            push_url: push_url.map(Into::into),
            source_ip: call.source_ip,
            so_far,
            tokens_estimated,
            streaming,
            arguments: Kept::of(&call.ask),
            content: KeptContent::of(&call.ask),
            approvals: if call.approvals.is_empty() { Arc::default() } else { call.approvals.into() },
            guarded: call.ask.guarded.clone(),
            passage: call.ask.via.map(|front| Box::new(Passage::by(front, call.ask.guarded))),
            grant: None,
            obligations: Arc::default(),
            followed: Arc::default(),
            by: None,
        }
    }

    /// What its chain had come to.
    pub fn so_far(&self) -> &SoFar {
        self.so_far.as_deref().unwrap_or(SoFar::nothing())
    }

    /// What guards came to at it.
    pub fn guarded(&self) -> &Guarded {
        &self.guarded
    }

    /// The same, with the grant of which it took a use, and what it is about beside.
    pub fn with(self, grant: Option<Arc<str>>, followed: Arc<[Followed]>) -> Self {
        Self { grant, followed, ..self }
    }

    /// The same, at which these guards looked for policies about the server with members by which it came.
    pub fn come_by(mut self, guarded: Option<&Guarded>) -> Self {
        if let (Some(passage), Some(guarded)) = (&mut self.passage, guarded) {
            passage.guarded = guarded.clone();
        }
        self
    }

    /// The same, changed as its permit demands.
    pub fn under(self, permit: &Permit) -> Self {
        let obligations = permit.obligations();
        if obligations.is_empty() { self } else { Self { obligations: obligations.into(), ..self } }
    }

    /// Another model answers it.
    pub fn answered_by(&mut self, candidate: &Candidate) {
        let part = Part::Model((*candidate.model).into());
        // It was decided without what people approved, or lent, for the other one.
        let (approvals, grant) = (Arc::default(), None);
        let other = Self { part, approvals, grant, by: None, ..self.clone() };
        self.by = Some(Box::new((Destination::Provider(candidate.provider.clone()), other)));
    }

    /// Nobody else answers it.
    pub fn answered_itself(&mut self) {
        self.by = None;
    }

    /// Who answers it, and which model of theirs, where that is somebody else.
    pub fn by(&self) -> Option<(&Destination, &str)> {
        self.by.as_deref().map(|(by, asked)| (by, asked.name()))
    }

    /// Whether all of these changes are made to it.
    fn meets(&self, obligations: &[Obligation]) -> bool {
        obligations.iter().all(|wanted| self.obligations.iter().any(|made| made.change == wanted.change))
    }

    /// The name of the tool, resource, prompt, skill or model; empty where the call is about the object itself.
    pub fn name(&self) -> &str {
        self.part.name()
    }

    /// Whether some call of this tool may go on as this one does, whatever its arguments are. `call` is this one with arguments that are not
    /// known: what any of them could have it changed by is demanded.
    fn could_go_on(&self, world: &Snapshot, call: &Call<'_>) -> bool {
        world.could_go_on(call) && self.meets(world.authorize(call).obligations())
    }

    /// Whether policies of `world` refuse, or hold, what comes by the server with members by which it came.
    fn is_barred(&self, world: &Snapshot, caller: &Caller, now: UnixMillis) -> bool {
        self.is_barred_by(world, caller, (self.method(), now))
    }

    /// The same of something else that is said in its course, by this method.
    pub fn is_barred_by(&self, world: &Snapshot, caller: &Caller, (method, now): (&str, UnixMillis)) -> bool {
        let passed = (method, self.source_ip, now);
        self.passage.as_deref().is_some_and(|passage| passage.is_barred(world, caller, passed))
    }

    /// The server with members by which it came.
    pub fn via(&self) -> Option<&EntityId> {
        self.passage.as_deref().map(|passage| &passage.front)
    }

    /// Whether `world` would refuse the call, or have it changed in a way that it is not; where its arguments are not known, whether it would
    /// refuse all, or have some changed so. Caller and destination are those of `world`; one that is not registered any more is refused
    /// everything.
    pub fn is_refused(
        &self,
        world: &Snapshot,
        caller: &Caller,
        destination: &Destination,
        now: UnixMillis,
    ) -> bool {
        if let Some((by, asked)) = self.by.as_deref()
            && asked.is_refused(world, caller, by, now)
        {
            return true;
        }
        let comes_by = |caller: &Caller| !self.is_barred(world, caller, now);
        let Some(caller) = rebound(world, caller).filter(comes_by) else { return true };
        let Some(destination) = found(world, destination) else { return true };
        let Some(target) = self.part.of(&destination) else { return true };
        let message = self.arguments.message();
        let arguments = self.arguments.arguments(message.as_ref());
        let is_known = !matches!(arguments, Arguments::Unknown);
        let said = self.content.said();
        let content = self.content.content(said.as_ref());
        // All that a policy can look at is as it was, but for the time.
        let is_whole = is_known && content.is_some();
        let ask = Ask {
            arguments,
            content: content.unwrap_or_default(),
            body: self.arguments.body(),
            tokens_estimated: self.tokens_estimated,
            streaming: self.streaming,
            task: self.task.as_deref(),
            push_url: self.push_url.as_deref(),
            guarded: &self.guarded,
            ..Ask::about(&self.method, self.action, target)
        };
        let call = Call {
            caller: &caller,
            ask,
            now,
            source_ip: self.source_ip,
            so_far: self.so_far(),
            approvals: &self.approvals,
        };
        let goes_on = self.followed.iter().all(|one| one.is_permitted(world, &destination, &call));
        let decision = goes_on.then(|| world.authorize(&call));
        let Some(decision) = decision else { return true };
        match (decision.outcome(), decision.code()) {
            (Outcome::Allow, _) if is_known => false,
            (Outcome::AllowWithObligations, _) if is_known => !self.meets(decision.obligations()),
            // It took the last use.
            (Outcome::Deny, Some(Code::NoPermit))
                if self.grant.as_ref().is_some_and(|grant| world.is_spent(grant, now)) =>
            {
                false
            }
            (
                _,
                Some(
                    Code::DelegationTooDeep
                    | Code::DelegationTooWide
                    | Code::ChainLimit
                    | Code::ChainEnded
                    | Code::ToolDrifted,
                ),
            ) => true,
            // What a policy cannot see of its arguments it may redact by.
            (Outcome::Hold, _) | (Outcome::Deny, Some(Code::ForbiddenByPolicy | Code::Unrepresentable))
                if is_known =>
            {
                true
            }
            // What permits other arguments is nothing to it.
            _ if is_whole => true,
            // Not all that it was permitted by is kept, such as which step of a plan it is. What people approved of it is.
            _ if self.action == Action::InvokeTool => {
                let ask = Ask { arguments: Arguments::Unknown, ..ask };
                !self.could_go_on(world, &Call { ask, ..call })
            }
            _ => true,
        }
    }
}

impl Asked {
    /// Why a call that was allowed goes on no more, whatever the configuration says of it: its chain was ended, the copy that made it is gone,
    /// or its route is closed by the age of the configuration.
    pub(super) fn ended(&self, shared: &Shared, caller: &Caller, destination: &Destination) -> Option<Code> {
        if is_ended(shared, caller) {
            return Some(Code::ChainEnded);
        }
        // Who is told news is the principal: pods come and go while a task lasts.
        let copy = caller.proven.instance.as_ref().filter(|_| *self.method != *NEWS_OF_TASK);
        let refused = copy.and_then(|copy| shared.live_pods().why_refused(copy, self.made));
        if refused.is_some() {
            return refused;
        }
        let mut places = std::iter::once(destination).chain(self.by.as_deref().map(|(by, _)| by));
        let is_stale = |place| shared.source().check(place, shared.clock.now()).is_err();
        places.any(is_stale).then_some(Code::ConfigStale)
    }

    /// Why a call that `decided` allowed goes on no more: one of those that no configuration says, or it is another one and would refuse it now.
    pub fn taken_back(
        &self,
        shared: &Shared,
        decided: &Arc<Snapshot>,
        caller: &Caller,
        destination: &Destination,
    ) -> Option<Code> {
        let ended = self.ended(shared, caller, destination);
        if ended.is_some() {
            return ended;
        }
        if shared.world.is(decided) {
            return None;
        }
        let now = millis(shared.clock.now().wall);
        self.is_refused(&shared.snapshot(), caller, destination, now).then_some(Code::Revoked)
    }
}

/// That a call which was allowed is taken back `before` something of it had come about, by this code ([`Asked::taken_back`]).
pub fn taken_back_before(before: &str, code: Code, shared: &Shared, caller: &Caller) -> Refusal {
    let why = match code {
        Code::ChainEnded => return ended_before(before, shared, caller),
        Code::PodGone => format!("the pod that called was gone before {before}"),
        Code::PodUnknown => {
            format!("pods were not heard of any more before {before}, and this one was never seen")
        }
        Code::ConfigStale => {
            format!("the configuration came to the age at which its route closes before {before}")
        }
        _ => format!("the configuration changed before {before}, and does not allow the call any more"),
    };
    Refusal::new(code, why)
}

fn ended_before(before: &str, shared: &Shared, caller: &Caller) -> Refusal {
    let code = Code::ChainEnded;
    match shared.standing.ended(&caller.chain, caller.proven.principal.entity()) {
        Ok(Some(by)) => {
            let message = format!("the chain was ended by {by} before {before}");
            Refusal { policies: [by].into(), ..Refusal::new(code, message) }
        }
        _ => Refusal::new(code, format!("the chain was ended before {before}")),
    }
}

/// Whether the chain of a call was ended. Where that is not known it is.
fn is_ended(shared: &Shared, caller: &Caller) -> bool {
    !matches!(shared.standing.ended(&caller.chain, caller.proven.principal.entity()), Ok(None))
}

/// Where a timer fired before the clock says so, it is looked at then.
const SOON: Duration = Duration::from_millis(50);

/// A stream that lasts longer is looked at then.
const LONGEST_TIMER: Duration = Duration::from_secs(24 * 3600);

type Change = Pin<Box<dyn Future<Output = watch::Receiver<u64>> + Send>>;

/// Tells when a change of the configuration, or the time, takes back what allowed a call, or the gateway stops.
pub struct Revocation {
    shared: Arc<Shared>,
    asked: Asked,
    caller: Caller,
    destination: Destination,
    /// The configuration by which the call was decided last.
    decided: Arc<Snapshot>,
    /// When the caller's credential ends, or the first of its grants or the first window of a policy, which may be what permits the call.
    ends: Option<UnixMillis>,
    /// Wakes then; made on first need, as most answers come without a pause.
    timer: Option<Pin<Box<Sleep>>>,
    /// The next change, waited for while no chunk comes; made on first need.
    next: Option<Change>,
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocation").field("asked", &self.asked).finish_non_exhaustive()
    }
}

impl Revocation {
    /// Of a call that `decided` allowed, some time after `since`: what ended meanwhile permits nothing any more.
    pub fn new(
        shared: Arc<Shared>,
        asked: Asked,
        caller: Caller,
        destination: Destination,
        (decided, since): (Arc<Snapshot>, UnixMillis),
    ) -> Self {
        let ends = next_end(&decided, &caller, since);
        Self { shared, asked, caller, destination, decided, ends, timer: None, next: None }
    }

    /// What was asked, by whom and of whom.
    pub(super) const fn of(&self) -> (&Asked, &Caller, &Destination) {
        (&self.asked, &self.caller, &self.destination)
    }

    /// Whether the time of the credential, of a grant of the caller or of a window is over since this was asked last: the end of a grant need
    /// not be on record yet, and may never be, and that of a window is not.
    fn is_something_over(&self) -> bool {
        self.ends.is_some_and(|until| until <= millis(self.shared.clock.now().wall))
    }

    /// Why the answer ends now: what allowed the call is gone, or the gateway stops. The call is decided once for each configuration, and
    /// again when something of it is over.
    pub fn ended(&mut self) -> Option<Code> {
        if self.shared.world.is_cut() {
            return Some(Code::GatewayStopping);
        }
        // What people do cannot be recorded any more, so nothing of it could end the call.
        if self.shared.ledger.failure().is_some() {
            return Some(Code::LedgerClosed);
        }
        let ended = self.asked.ended(&self.shared, &self.caller, &self.destination);
        if ended.is_some() {
            return ended;
        }
        let now = millis(self.shared.clock.now().wall);
        let is_over = self.is_something_over();
        if !is_over && self.shared.world.is(&self.decided) {
            return None;
        }
        self.decided = self.shared.snapshot();
        // Of other grants and windows the ends are others.
        (self.ends, self.timer) = (next_end(&self.decided, &self.caller, now), None);
        if credential_ends(&self.caller).is_some_and(|end| end <= now.0) {
            return Some(Code::TokenExpired);
        }
        let refused = self.asked.is_refused(&self.decided, &self.caller, &self.destination, now);
        refused.then_some(Code::Revoked)
    }

    /// Waits until it does.
    pub fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Code> {
        loop {
            // The next change is waited for before the present one is looked at, so none falls in between.
            let shared = &self.shared;
            let next = self.next.get_or_insert_with(|| Box::pin(changed(shared.world.changes())));
            let polled = next.as_mut().poll(cx);
            if let Some(code) = self.ended() {
                return Poll::Ready(code);
            }
            if let Some(until) = self.ends {
                let shared = &self.shared;
                let timer = self.timer.get_or_insert_with(|| Box::pin(timer_until(shared, until)));
                // The timer only wakes: the clock says whether the time is over, and may be set back.
                if timer.as_mut().poll(cx).is_ready() {
                    timer.as_mut().reset(Instant::now() + SOON);
                    let _ = timer.as_mut().poll(cx);
                }
            }
            match polled {
                Poll::Ready(changes) => self.next = Some(Box::pin(changed(changes))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Until when the caller is proven. A token that continues a chain is for one call, and says until when that may begin.
fn credential_ends(caller: &Caller) -> Option<i64> {
    let continues = caller.proven.delegated.is_some();
    caller.proven.expires.filter(|_| !continues).map(|end| end.0)
}

/// When the caller's credential, the first of its grants or the first window ends after `since`.
pub(super) fn next_end(decided: &Snapshot, caller: &Caller, since: UnixMillis) -> Option<UnixMillis> {
    let of_grants = decided.next_grant_end(caller.proven.principal.entity(), since);
    let of_credential = credential_ends(caller).map(UnixMillis).filter(|until| *until > since);
    [of_grants, of_credential, decided.next_closing(since)].into_iter().flatten().min()
}

/// Wakes then.
pub(super) fn timer_until(shared: &Shared, until: UnixMillis) -> Sleep {
    let now = millis(shared.clock.now().wall);
    let left = u64::try_from(until.0.saturating_sub(now.0)).unwrap_or_default();
    // A timer looks at whole milliseconds, and may be early by one.
    tokio::time::sleep(Duration::from_millis(left.saturating_add(1)).min(LONGEST_TIMER))
}

/// The receiver, once there was a change. Nobody changes anything any more when the sender is gone.
async fn changed(mut changes: watch::Receiver<u64>) -> watch::Receiver<u64> {
    if changes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    changes
}
