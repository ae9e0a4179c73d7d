//! A call as far as its record says it, decided again.
//!
//! A record has most of the context of its call, and of the arguments only what the deciding policies looked at. What it lacks is neither
//! there nor absent: where it matters to a policy, the call is decided for either outcome of that policy, in the one way in which calls
//! are decided. What all of these come to is known; where they differ, the call is open, and which facts are lacking is known.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::call::{Action, Arguments, Ask, Call};
use crate::decide::facts::MAX_VALUE;
use crate::decide::residual::View;
use crate::decide::residual::field::{Field, Presence};
use crate::decide::residual::value::Value;
use crate::decide::view::Seen;
use crate::decision::{Decision, Fact, Outcome};
use crate::obligation::REDACTED;
use crate::record::DecisionRecord;
use crate::refusal::Code;
use crate::snapshot::Snapshot;

/// How many times one call is decided at most, before it is given up as open.
const MAX_RUNS: usize = 256;

/// The value of a fact that is not there.
pub(crate) const ABSENT: &str = "absent";

/// What the record of a call says of its facts.
#[derive(Debug)]
pub struct Recorded {
    facts: Arc<[Fact]>,
    action: Option<Action>,
    /// No record says anything.
    is_empty: bool,
    is_first_hop: bool,
    has_user: bool,
    /// A person approved it; who that was stands elsewhere.
    may_be_approved: bool,
    /// An argument was there in a form that a policy could not see: what the facts say of arguments is not what they are.
    unseen: bool,
    assumed: Mutex<Assumed>,
}

/// What of the lacking facts is assumed while a call is decided once more.
#[derive(Debug, Default)]
struct Assumed {
    /// Whether each policy that looks at a lacking fact holds, in the order in which they are asked.
    path: Vec<bool>,
    at: usize,
    /// The facts that are looked at and lack.
    lacks: BTreeSet<Arc<str>>,
    /// The policies that look at them.
    policies: BTreeSet<Arc<str>>,
}

/// What a recorded call comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreseen {
    /// This, whatever the facts are that its record lacks.
    Certain {
        /// The outcome.
        outcome: Outcome,
        /// The code of what is not allowed.
        code: Option<Code>,
        /// The policies that decide, or where facts lack, those that do for some of them.
        policies: Arc<[Arc<str>]>,
        /// What policies look at and the record does not say, by their names in policies: it makes no difference.
        lacks: BTreeSet<Arc<str>>,
    },
    /// That depends on facts which its record lacks.
    Open {
        /// Their names in policies: `context.numbers["/amount"]`.
        lacks: BTreeSet<Arc<str>>,
        /// The policies that look at them.
        policies: BTreeSet<Arc<str>>,
    },
}

impl Recorded {
    /// What a record says.
    pub fn of(record: &DecisionRecord<'_>) -> Self {
        Self {
            facts: record.facts.iter().cloned().collect(),
            action: Action::ALL.into_iter().find(|action| *action.as_str() == *record.action),
            is_empty: false,
            is_first_hop: record.depth <= 1,
            has_user: record.user.is_some(),
            // What was not let through waits for one.
            may_be_approved: record.approval.is_some() && record.outcome != Outcome::Hold.as_str(),
            unseen: record.code.as_deref() == Some(Code::Unrepresentable.as_str()),
            assumed: Mutex::default(),
        }
    }

    /// What nobody says anything of: which outcomes an edge has at all.
    pub fn nothing(action: Action) -> Self {
        Self {
            facts: Arc::default(),
            action: Some(action),
            is_empty: true,
            is_first_hop: false,
            has_user: true,
            may_be_approved: true,
            unseen: false,
            assumed: Mutex::default(),
        }
    }

    /// The estimate of a model call's tokens, where the facts say it.
    pub fn tokens_estimated(&self) -> Option<i64> {
        self.fact("context.tokens_estimated")?.parse().ok()
    }

    /// Whether the answer of a model call was to be streamed, where the facts say it.
    pub fn streaming(&self) -> Option<bool> {
        self.fact("context.streaming")?.parse().ok()
    }

    /// Which step of a plan the call was, where the facts say it.
    pub(crate) fn call_digest(&self) -> Option<&str> {
        self.fact("context.call_digest").filter(|digest| *digest != ABSENT)
    }

    /// What `snapshot` makes of the call, whose arguments are those of the record.
    pub fn foresee(&self, snapshot: &Snapshot, call: &Call<'_>) -> Foreseen {
        let ask = Ask { arguments: Arguments::Recorded(self), ..call.ask };
        let call = Call { ask, ..*call };
        *self.assumed() = Assumed::default();
        let mut found: Option<Decision<'_>> = None;
        for _ in 0..MAX_RUNS {
            self.assumed().at = 0;
            let decision = snapshot.authorize(&call);
            let other = found.as_ref().is_some_and(|found| found.outcome() != decision.outcome());
            let decision = found.get_or_insert(decision);
            let mut assumed = self.assumed();
            if other {
                return assumed.open();
            }
            if !assumed.next() {
                return Foreseen::Certain {
                    outcome: decision.outcome(),
                    code: decision.code(),
                    policies: decision.policies().into(),
                    lacks: std::mem::take(&mut assumed.lacks),
                };
            }
        }
        self.assumed().open()
    }

    /// Whether a policy holds that looks at facts which lack: decided for both, one after the other.
    pub(crate) fn assume<'n>(&self, policy: &Arc<str>, lacks: impl Iterator<Item = &'n Arc<str>>) -> bool {
        let mut assumed = self.assumed();
        assumed.lacks.extend(lacks.cloned());
        assumed.policies.insert(policy.clone());
        let at = assumed.at;
        assumed.at += 1;
        match assumed.path.get(at) {
            Some(holds) => *holds,
            None => {
                assumed.path.push(true);
                true
            }
        }
    }

    /// Whether an attribute of the context lacks. A new one does until it stands in records.
    pub(crate) fn lacks(&self, field: Field) -> bool {
        match field {
            Field::Args | Field::Numbers => false,
            _ if self.is_empty => true,
            Field::UserEmail => self.has_user,
            Field::ApprovalRole
            | Field::ApprovedBy
            | Field::ApproverIssuer
            | Field::ApproverSubject
            | Field::ApproverEmail
            | Field::ApprovedAt => self.may_be_approved,
            // A chain begins with its first hop.
            Field::ChainAge | Field::ChainFanOut | Field::ChainCalls => !self.is_first_hop,
            Field::ChainTokens | Field::ChainSpend => {
                !self.is_first_hop || self.lacks(Field::TokensEstimated)
            }
            // Nothing but a model call has any.
            Field::TokensEstimated => {
                self.action == Some(Action::CallModel) && self.tokens_estimated().is_none()
            }
            Field::CallDigest => self.call_digest().is_none(),
            Field::Streaming => self.action == Some(Action::CallModel) && self.streaming().is_none(),
            field => !matches!(
                field,
                Field::Method
                    | Field::DelegationDepth
                    | Field::OnBehalfOf
                    | Field::UserIssuer
                    | Field::UserSubject
                    | Field::ChainDepth
                    | Field::ChainCycle
                    | Field::ChainAgents
                    | Field::Now
                    | Field::Weekday
                    | Field::Hour
                    | Field::SourceIp
                    | Field::Transaction
                    | Field::Identity
                    | Field::PushUrl
            ),
        }
    }

    /// Whether it lacks that an attribute is there.
    pub(crate) fn lacks_presence(&self, presence: Presence) -> bool {
        match presence {
            _ if self.is_empty => true,
            Presence::UserEmail | Presence::EmailOfUser => self.has_user,
            Presence::Approval | Presence::ApproverEmail | Presence::EmailOfApprover => self.may_be_approved,
            presence => !matches!(presence, Presence::User | Presence::SourceIp | Presence::PushUrl),
        }
    }

    /// Whether it lacks what the person is in, which stands in no record.
    pub(crate) const fn lacks_groups(&self) -> bool {
        self.has_user
    }

    /// Whether it lacks that a person approved it.
    pub(crate) const fn lacks_approval(&self) -> bool {
        self.may_be_approved
    }

    /// An argument; `None` where it lacks.
    pub(crate) fn argument(&self, view: View, pointer: &str) -> Option<Seen<'_>> {
        if self.unseen {
            return None;
        }
        let value = match view {
            View::Text => self.fact(&format!("context.args[{pointer:?}]"))?,
            View::Numbers => self.fact(&format!("context.numbers[{pointer:?}]"))?,
        };
        match view {
            View::Numbers if value == ABSENT => Some(Seen::Absent),
            View::Numbers => value.parse().ok().map(|number| Seen::There(Value::Long(number))),
            // An argument may say so itself.
            View::Text if value == ABSENT || value == REDACTED => None,
            // It may have been cut, at a character.
            View::Text if value.len() + 4 > MAX_VALUE => None,
            View::Text => Some(Seen::There(Value::Text(value.into()))),
        }
    }

    fn fact(&self, name: &str) -> Option<&str> {
        let at = self.facts.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        self.facts.get(at).map(|(_, value)| &**value)
    }

    fn assumed(&self) -> std::sync::MutexGuard<'_, Assumed> {
        self.assumed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Assumed {
    fn open(&mut self) -> Foreseen {
        let (lacks, policies) = (std::mem::take(&mut self.lacks), std::mem::take(&mut self.policies));
        Foreseen::Open { lacks, policies }
    }

    /// Goes on to what was not assumed yet; false where all was.
    fn next(&mut self) -> bool {
        self.path.truncate(self.at);
        while let Some(last) = self.path.pop() {
            if last {
                self.path.push(false);
                return true;
            }
        }
        false
    }
}
