//! What is answered, as data: the outcome, the policies that decided, and the attribute values that they looked at.

mod candidates;
mod passed_over;
mod refused;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use crate::approval::Requirement;
use crate::call::{Action, Call, CallDigest};
use crate::keep::{Keep, KeptPayload};
use crate::obligation::{self, Demanded, Obligation};
use crate::permit::{Held, Permit, Receipt, Verdict};
use crate::record::{DecisionKind, DecisionRecord, ObservedOutcome, VERSION, whole};
use crate::refusal::Code;
use crate::resource::{Limit, limit};

pub use candidates::Candidate;
pub use passed_over::{PassedOver, Why};

/// The outcome of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Allowed.
    Allow,
    /// Allowed, and whoever carries the call out must do what the decision demands.
    AllowWithObligations,
    /// Not allowed until a person approves it.
    Hold,
    /// Not allowed.
    Deny,
}

impl Outcome {
    /// The outcome as it stands in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::AllowWithObligations => "allow-with-obligations",
            Self::Hold => "hold",
            Self::Deny => "deny",
        }
    }
}

/// One attribute value that a deciding policy looked at: `("principal.risk_level", "low")`.
pub type Fact = (Arc<str>, Arc<str>);

/// What was found out about a call, as plain data. By itself it opens nothing; a [`Decision`] binds it to its call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) outcome: Outcome,
    /// `None` when allowed.
    pub(crate) code: Option<Code>,
    /// On allow: every satisfied permit. On a forbid: every satisfied forbid. On an error: the policies that failed.
    pub(crate) policies: Arc<[Arc<str>]>,
    /// On a denial by default: permits whose scope fits and whose conditions do not hold, at most 8.
    pub(crate) closest_permits: Arc<[Arc<str>]>,
    /// What the policies above looked at, sorted by name.
    pub(crate) facts: Arc<[Fact]>,
    /// `@reason("…")` of a forbid that refused: public words of the policy's author. On a denial by default: the windows by which alone
    /// permits do not permit it.
    pub(crate) reason: Option<Arc<str>>,
    /// What policies demand that is changed, sorted; also on a hold, where it is part of what is approved.
    pub(crate) obligations: Arc<[Obligation]>,
    /// What the call counts for where it may be made, sorted by their ids; also on a denial by default, as another permit may be of it.
    pub(crate) limits: Arc<[Arc<Limit>]>,
    /// What people are asked, sorted by policy: on a hold by whom, on a denial by default by whom it would be asked as well.
    pub(crate) asking: Arc<[Arc<Requirement>]>,
    /// What policies that are only tried say, sorted by policy; of each what is satisfied, whether it would matter or not.
    pub(crate) tried: Arc<[Tried]>,
}

/// What a call counts for, and the facts beside it, some of which say what is left of that.
pub(crate) type Counted = (Arc<[Arc<Limit>]>, Arc<[Fact]>);

/// A policy that is only tried (`mode: observe`), and what it says of a call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tried {
    pub(crate) policy: Arc<str>,
    pub(crate) says: Says,
}

/// What a policy says of a call, by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Says {
    Permitted,
    /// It is to be changed.
    Changed,
    /// It counts for a limit.
    Limited,
    Held,
    /// Also by a policy that fails, or cannot see what it looks at.
    Refused,
}

/// A policy that is only tried, and the outcome that a call would have had if it decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The id of the policy.
    pub policy: Arc<str>,
    /// The outcome with it.
    pub outcome: Outcome,
}

/// A call, and what was decided of it. Only [`Snapshot::authorize`] makes one.
///
/// Nothing outside of this crate makes one or copies one, so a decision is of the call that was asked about:
///
/// ```compile_fail,E0451
/// # fn example(decision: vidimus_core::decision::Decision<'_>) {
/// let other = vidimus_core::decision::Decision { ..decision };
/// # }
/// ```
///
/// ```compile_fail,E0599
/// # fn example(decision: vidimus_core::decision::Decision<'_>) {
/// let other = decision.clone();
/// # }
/// ```
///
/// ```
/// # fn example(decision: vidimus_core::decision::Decision<'_>) {
/// let other = decision;
/// # }
/// ```
///
/// [`Snapshot::authorize`]: crate::snapshot::Snapshot::authorize
#[derive(Debug)]
#[must_use]
pub struct Decision<'c> {
    pub(crate) call: Call<'c>,
    pub(crate) finding: Finding,
    /// The limit or the policy by which this denial ends the chain.
    pub(crate) ends_chain: Option<Arc<str>>,
    /// What of the call its records keep.
    pub(crate) keeps: Keep,
    /// No policy permits it: it is let pass while its namespace observes.
    pub(crate) would_refuse: bool,
    /// Who may answer it, where several may: first the model that is called.
    pub(crate) candidates: Vec<Candidate>,
    /// Who may not, of those that the failover of its provider names.
    pub(crate) passed_over: Vec<PassedOver>,
}

/// What a decision's record says that the decision does not know.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The id of the call (UUIDv7), by which its records are joined.
    pub id: &'a Arc<str>,
    /// W3C trace id and span id of the gateway's span.
    pub trace: &'a str,
    /// The span id of the caller's span, where it sent one.
    pub parent: Option<&'a str>,
    /// RFC 3339 UTC with microseconds.
    pub time: &'a str,
    /// The protocol of the route: `mcp`, `a2a`, `llm`; `authzen` where another enforcement point asked.
    pub protocol: &'a str,
    /// Digest of the request body, `sha256:` and hex.
    pub body: &'a str,
    /// Digest of the configuration that decided.
    pub snapshot: &'a str,
    /// The approval that the call waits for, or is made with.
    pub approval: Option<&'a str>,
    /// The call on account of which the gateway itself asks this.
    pub on_account_of: Option<&'a str>,
    /// What the call says, sealed, where [`Decision::keeps`] says so.
    pub kept: Option<&'a KeptPayload>,
    /// How old the configuration is; `None` while it is what is there.
    pub aged: Option<Aged<'a>>,
}

/// That the configuration that decides may be an old one.
#[derive(Clone, Copy, Debug)]
pub struct Aged<'a> {
    /// Since when what it is read from was not heard of.
    pub seconds: u64,
    /// Why.
    pub reason: &'a str,
    /// What it is read from.
    pub source: &'a str,
}

impl<'c> Decision<'c> {
    /// The call that was decided.
    pub fn call(&self) -> &Call<'c> {
        &self.call
    }

    /// What was decided. There are more than two outcomes, so callers match on it.
    pub fn outcome(&self) -> Outcome {
        self.finding.outcome
    }

    /// The stable code of a call that is not allowed; `None` when it is.
    pub fn code(&self) -> Option<Code> {
        self.finding.code
    }

    /// By which code the call would be refused if its namespace did not observe; `None` of all others.
    pub fn would_refuse(&self) -> Option<Code> {
        self.would_refuse.then_some(Code::NoPermit)
    }

    /// The policies that decided: the satisfied permits, or the satisfied forbids, or those that failed.
    pub fn policies(&self) -> &[Arc<str>] {
        &self.finding.policies
    }

    /// On a denial by default: the permits that come closest to the call, closest first, at most 8.
    pub fn closest_permits(&self) -> &[Arc<str>] {
        &self.finding.closest_permits
    }

    /// The attribute values that the policies looked at, sorted by name.
    pub fn facts(&self) -> &[Fact] {
        &self.finding.facts
    }

    /// What ends the chain of the call, where this decision does: the limit of a record (`Agent/a/b spec.delegation.maxCalls`), or a policy.
    pub fn ends_chain(&self) -> Option<&Arc<str>> {
        self.ends_chain.as_ref()
    }

    /// What the author of a refusing policy wants the caller to read (`@reason("…")`); of what no policy permits, which do so in their
    /// windows, and when these open next.
    pub fn reason(&self) -> Option<&Arc<str>> {
        self.finding.reason.as_ref()
    }

    /// On a hold: what each of the policies asks for that hold it, sorted by policy.
    pub fn asking(&self) -> &[Arc<Requirement>] {
        if self.finding.outcome == Outcome::Hold { &self.finding.asking } else { &[] }
    }

    /// On a hold: the digest of what is to be approved. It is the same for each try of one call while nothing changes of who calls
    /// what, for whom, with which arguments, and of the policies that hold it.
    pub fn to_approve(&self) -> Option<CallDigest> {
        let Finding { outcome, asking, obligations, .. } = &self.finding;
        (*outcome == Outcome::Hold).then(|| self.call.digest_to_approve(asking, obligations))
    }

    /// What is to be changed of the call or of its answer, sorted; on a hold, what will be once it is approved.
    pub fn obligations(&self) -> &[Obligation] {
        &self.finding.obligations
    }

    /// What the call counts for where it may be made, sorted by their ids: to be taken before it is decided for good.
    pub fn limits(&self) -> &[Arc<Limit>] {
        &self.finding.limits
    }

    /// What of the call its records keep, as the permits say that allow it; nothing where it is not allowed.
    pub fn keeps(&self) -> Keep {
        self.keeps
    }

    /// What policies that are only tried would have changed, each by itself; sorted by policy.
    pub fn observed(&self) -> Vec<Observed> {
        let with = |tried: &Tried| Some((tried.policy.clone(), self.finding.with(tried.says)?));
        let observed = self.finding.tried.iter().filter_map(with);
        observed.map(|(policy, outcome)| Observed { policy, outcome }).collect()
    }

    /// The verdict on a call that is not made, for who counts such tries instead of recording each: a denial, or one that waits for a person,
    /// whose question is on record. What allows has none: it comes about by its record alone ([`Decision::recorded`]).
    pub fn unmade(&self) -> Option<Verdict> {
        match self.finding.outcome {
            Outcome::Deny => Some(Verdict::Refused(self.refusal())),
            Outcome::Hold => Some(Verdict::Held(Held::new(self, None))),
            Outcome::Allow | Outcome::AllowWithObligations => None,
        }
    }

    /// The record of this decision. It is built from the decision itself, so it cannot be the record of another one.
    pub fn record<'a>(&'a self, about: &About<'a>) -> DecisionRecord<'a> {
        let Call { ask, source_ip, .. } = &self.call;
        let chain = self.call.chain();
        let is_allowed = matches!(self.finding.outcome, Outcome::Allow | Outcome::AllowWithObligations);
        let reserves = (is_allowed && ask.action == Action::CallModel).then(|| ask.reserves());
        DecisionRecord {
            action: ask.action.as_str().into(),
            alternatives: self.candidates.iter().skip(1).map(|other| other.entity().to_string()).collect(),
            approval: about.approval.map(Cow::Borrowed),
            asked_by: None,
            body: about.body.into(),
            chain: chain.actors.iter().map(|actor| Cow::Owned(actor.to_string())).collect(),
            closest_permits: Cow::Borrowed(&self.finding.closest_permits),
            code: self.finding.code.map(|code| code.as_str().into()),
            config_age: about.aged.map(|aged| aged.seconds),
            config_reason: about.aged.map(|aged| aged.reason.into()),
            config_source: about.aged.map(|aged| aged.source.into()),
            depth: chain.depth(),
            facts: Cow::Borrowed(&self.finding.facts),
            id: Cow::Borrowed(about.id),
            identity: self.call.identity().into(),
            instance: self.call.instance().map(Cow::Borrowed),
            kept: about.kept.map(Cow::Borrowed),
            kind: DecisionKind,
            labels: match is_allowed {
                true => ask.target.labels().brought().cloned().collect(),
                false => Vec::new(),
            },
            method: ask.method.into(),
            not_tried: self.passed_over.iter().map(ToString::to_string).collect(),
            obligations: self.finding.obligations.iter().map(Demanded::of).collect(),
            observed: self.observed().iter().map(ObservedOutcome::of).collect(),
            on_account_of: about.on_account_of.map(Cow::Borrowed),
            outcome: self.finding.outcome.as_str().into(),
            parent: about.parent.map(Cow::Borrowed),
            policies: Cow::Borrowed(&self.finding.policies),
            principal: self.call.principal().entity().to_string().into(),
            protocol: about.protocol.into(),
            push_url: ask.push_url.map(Cow::Borrowed),
            reserved_spend: reserves.map(|(_, spend)| whole(spend)),
            reserved_tokens: reserves.map(|(tokens, _)| whole(tokens)),
            resource: ask.target.entity().to_string().into(),
            snapshot: about.snapshot.into(),
            source: source_ip.map(|address| address_text(address).into()),
            task: ask.task.map(Cow::Borrowed),
            time: about.time.into(),
            trace: about.trace.into(),
            transaction: Cow::Borrowed(&chain.transaction),
            user: self.call.user().map(|user| user.id().into()),
            version: VERSION,
            via: ask.via.map(|via| via.to_string().into()),
            would_refuse: self.would_refuse().map(|code| code.as_str().into()),
        }
    }

    /// The record of this decision where another enforcement point asked for it, `by` which the call is made, or not. It is a question: nobody
    /// reads anything by it, and nothing is used up.
    pub fn record_of_question<'a>(&'a self, about: &About<'a>, by: &'a str) -> DecisionRecord<'a> {
        DecisionRecord {
            alternatives: Vec::new(),
            asked_by: Some(by.into()),
            labels: Vec::new(),
            reserved_spend: None,
            reserved_tokens: None,
            ..self.record(about)
        }
    }

    /// What becomes of the call, now that the decision is on record. `id` is the id of the call in that record.
    ///
    /// This consumes the decision, so one recorded decision gives one verdict:
    ///
    /// ```compile_fail,E0382
    /// # use std::sync::Arc;
    /// # use vidimus_core::{decision::Decision, permit::Receipt};
    /// # fn example(decision: Decision<'_>, one: Receipt, two: Receipt, id: Arc<str>) {
    /// let first = decision.recorded(one, id.clone());
    /// let second = decision.recorded(two, id);
    /// # }
    /// ```
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use vidimus_core::{decision::Decision, permit::Receipt};
    /// # fn example(decision: Decision<'_>, another: Decision<'_>, one: Receipt, two: Receipt, id: Arc<str>) {
    /// let first = decision.recorded(one, id.clone());
    /// let second = another.recorded(two, id);
    /// # }
    /// ```
    pub fn recorded(self, receipt: Receipt, id: Arc<str>) -> Verdict {
        match self.finding.outcome {
            Outcome::Allow | Outcome::AllowWithObligations => {
                Verdict::Permitted(Permit::new(self, receipt, id))
            }
            Outcome::Hold => Verdict::Held(Held::new(&self, Some(&receipt))),
            Outcome::Deny => Verdict::Refused(self.refusal()),
        }
    }
}

impl Finding {
    /// The outcome if a policy decided too that says this; `None` where it is the same.
    fn with(&self, says: Says) -> Option<Outcome> {
        match (self.outcome, says) {
            (Outcome::Allow | Outcome::AllowWithObligations | Outcome::Hold, Says::Refused) => {
                Some(Outcome::Deny)
            }
            (Outcome::Allow | Outcome::AllowWithObligations, Says::Held) => Some(Outcome::Hold),
            (Outcome::Allow, Says::Changed) => Some(Outcome::AllowWithObligations),
            (Outcome::Deny, Says::Permitted) if self.code == Some(Code::NoPermit) => {
                Some(if self.asking.is_empty() { Outcome::Allow } else { Outcome::Hold })
            }
            _ => None,
        }
    }

    /// Changed as policies demand, where it may be made. The facts do not say what is kept from others.
    pub(crate) fn changed(self, demands: &Arc<[Obligation]>, more: &[Fact]) -> Self {
        let obligations = match self.outcome {
            Outcome::Allow | Outcome::AllowWithObligations | Outcome::Hold => demands.clone(),
            Outcome::Deny => Arc::default(),
        };
        let outcome =
            if self.outcome == Outcome::Allow { Outcome::AllowWithObligations } else { self.outcome };
        let facts = if obligations.is_empty() { self.facts } else { united(&self.facts, more) };
        Self { outcome, obligations, facts: obligation::without_redacted(facts, demands), ..self }
    }

    /// With what those policies say too that are only tried.
    pub(crate) fn and_tried(self, tried: &Arc<[Tried]>) -> Self {
        if tried.is_empty() {
            return self;
        }
        let mut all: Vec<Tried> = self.tried.iter().chain(&**tried).cloned().collect();
        all.sort_unstable();
        all.dedup();
        Self { tried: all.into(), ..self }
    }

    /// What it says of limits.
    pub(crate) fn counted(&self) -> Counted {
        (self.limits.clone(), self.facts.clone())
    }

    /// With what else the call counts for, where it may be made, and what is left of that.
    pub(crate) fn counting(self, (limits, facts): &Counted) -> Self {
        if limits.is_empty() || self.outcome == Outcome::Deny {
            return self;
        }
        let mut all: Vec<Arc<Limit>> = self.limits.iter().chain(&**limits).cloned().collect();
        limit::each_once(&mut all);
        let left: Vec<Fact> =
            facts.iter().filter(|(name, _)| name.starts_with("context.limits[")).cloned().collect();
        Self { limits: all.into(), facts: united(&self.facts, &left), ..self }
    }

    /// What is let pass although no policy permits it, with what the refusal would have told.
    pub(crate) fn passed(self, refused: &Self) -> Self {
        let facts = obligation::without_redacted(united(&self.facts, &refused.facts), &self.obligations);
        let (closest_permits, tried) = (refused.closest_permits.clone(), refused.tried.clone());
        Self { closest_permits, facts, tried, ..self }
    }

    /// A denial by default, of which people would be asked as well.
    pub(crate) fn asking(self, held: &Self) -> Self {
        Self { asking: held.asking.clone(), facts: united(&self.facts, &held.facts), ..self }
    }

    /// What is permitted, held by what holds the other as well.
    pub(crate) fn held_by(self, other: &Self) -> Self {
        if other.asking.is_empty() {
            return self;
        }
        let mut asking: Vec<Arc<Requirement>> = self.asking.iter().chain(&*other.asking).cloned().collect();
        asking.sort_unstable();
        asking.dedup();
        Self {
            outcome: Outcome::Hold,
            code: Some(Code::ApprovalRequired),
            policies: asking.iter().map(|one| one.policy.clone()).collect(),
            closest_permits: Arc::default(),
            facts: united(&self.facts, &other.facts),
            reason: asking.iter().find_map(|one| one.reason.clone()),
            obligations: self.obligations,
            limits: self.limits,
            asking: asking.into(),
            tried: self.tried,
        }
    }
}

/// An address as std writes it, which takes three times as long for the addresses of nearly all callers.
fn address_text(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.octets().map(|octet| octet.to_string()).join("."),
        IpAddr::V6(v6) => v6.to_string(),
    }
}

/// All facts of both, sorted, each once.
fn united(some: &[Fact], others: &[Fact]) -> Arc<[Fact]> {
    let mut facts: Vec<Fact> = some.iter().chain(others).cloned().collect();
    facts.sort_unstable();
    facts.dedup_by(|one, other| one.0 == other.0);
    facts.into()
}
