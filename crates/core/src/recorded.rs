//! A call as far as its record says it, decided again.
//!
//! A record has most of the context of its call, and of the arguments only what the deciding policies looked at. What it lacks is neither
//! there nor absent: where it matters to a policy, the call is decided for either outcome of that policy, in the one way in which calls
//! are decided. What all of these come to is known; where they differ, the call is open, and which facts are lacking is known.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::call::{Action, Arguments, Ask, Call};
use crate::caller::Instance;
use crate::decide::facts::MAX_VALUE;
use crate::decide::residual::View;
use crate::decide::residual::field::{Field, Presence};
use crate::decide::residual::value::Value;
use crate::decide::view::Seen;
use crate::decision::{Decision, Fact, Outcome};
use crate::guard::{Came, Guard};
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
    /// It names no copy, and one may have called: records did not always say which.
    may_be_a_copy: bool,
    /// An argument was there in a form that a policy could not see: what the facts say of arguments is not what they are.
    unseen: bool,
    assumed: Mutex<Assumed>,
}

/// What of the lacking facts is assumed while a call is decided once more.
#[derive(Debug, Default)]
struct Assumed {
    /// Whether each condition that looks at a lacking fact holds, in the order in which they are asked. What is asked again, of another
    /// policy or by another configuration, is answered in the same way.
    path: Vec<(String, bool)>,
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
        /// The code of what is not allowed; `None` too where that depends on what lacks.
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
            may_be_a_copy: record.instance.is_none() && Instance::may_be_named_by(&record.identity),
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
            may_be_a_copy: true,
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
        let mut found: Option<Decision<'_>> = None;
        let mut one_code = true;
        let certain = self.whatever_lacks(|| {
            let decision = self.decided(snapshot, call);
            if let Some(first) = &found {
                one_code &= first.code() == decision.code();
                return first.outcome() == decision.outcome();
            }
            found = Some(decision);
            true
        });
        let mut assumed = self.assumed();
        match found.filter(|_| certain) {
            Some(decision) => Foreseen::Certain {
                outcome: decision.outcome(),
                code: decision.code().filter(|_| one_code),
                policies: decision.policies().into(),
                lacks: std::mem::take(&mut assumed.lacks),
            },
            None => assumed.open(),
        }
    }

    /// Goes through what the facts may be which lack: whether `visit` said yes each time. It stops at the first no, and where there are too
    /// many. What `visit` decides it decides by [`Recorded::decided`], by one configuration or several: a condition is one thing to all.
    pub fn whatever_lacks(&self, mut visit: impl FnMut() -> bool) -> bool {
        *self.assumed() = Assumed::default();
        for _ in 0..MAX_RUNS {
            if !visit() {
                return false;
            }
            if !self.assumed().next() {
                return true;
            }
        }
        false
    }

    /// The decision of the call, whose arguments are those of the record, as what lacks is assumed to be.
    pub fn decided<'c>(&'c self, snapshot: &Snapshot, call: &Call<'c>) -> Decision<'c> {
        let ask = Ask { arguments: Arguments::Recorded(self), ..call.ask };
        snapshot.authorize(&Call { ask, ..*call })
    }

    /// Whether a condition of a policy holds that looks at facts which lack: decided for both, one after the other. `condition` says which,
    /// whatever policy has it.
    pub(crate) fn assume<'n>(
        &self,
        policy: &Arc<str>,
        condition: String,
        lacks: impl Iterator<Item = &'n Arc<str>>,
    ) -> bool {
        let mut assumed = self.assumed();
        assumed.lacks.extend(lacks.cloned());
        assumed.policies.insert(policy.clone());
        if let Some((_, holds)) = assumed.path.iter().find(|(asked, _)| *asked == condition) {
            return *holds;
        }
        assumed.path.push((condition, true));
        true
    }

    /// Whether an attribute of the context lacks. A new one does until it stands in records.
    pub(crate) fn lacks(&self, field: Field) -> bool {
        match field {
            Field::Args | Field::Numbers | Field::Limits => false,
            _ if self.is_empty => true,
            Field::UserEmail => self.has_user,
            Field::ApprovalRole
            | Field::ApprovedBy
            | Field::ApproverIssuer
            | Field::ApproverSubject
            | Field::ApproverEmail
            | Field::ApprovedAt => self.may_be_approved,
            Field::InstanceId | Field::InstanceKind | Field::InstanceName | Field::InstanceNode => {
                self.may_be_a_copy
            }
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
            Presence::Instance
            | Presence::InstanceName
            | Presence::InstanceNode
            | Presence::NameOfInstance
            | Presence::NodeOfInstance => self.may_be_a_copy,
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

    /// Whether it lacks which copy of the principal called.
    pub(crate) const fn lacks_instance(&self) -> bool {
        self.may_be_a_copy
    }

    /// An argument; `None` where it lacks.
    pub(crate) fn argument(&self, view: View, pointer: &str) -> Option<Seen<'_>> {
        if self.unseen {
            return None;
        }
        let value = match view {
            View::Text => self.fact(&format!("context.args[{pointer:?}]"))?,
            View::Numbers => self.fact(&format!("context.numbers[{pointer:?}]"))?,
            View::Limits => self.fact(&format!("context.limits[{pointer:?}]"))?,
        };
        match view {
            View::Numbers | View::Limits if value == ABSENT => Some(Seen::Absent),
            View::Numbers | View::Limits => value.parse().ok().map(|number| Seen::There(Value::Long(number))),
            // An argument may say so itself.
            View::Text if value == ABSENT || value == REDACTED => None,
            // It may have been cut, at a character.
            View::Text if value.len() + 4 > MAX_VALUE => None,
            View::Text => Some(Seen::There(Value::Text(value.into()))),
        }
    }

    /// Whether this guard looked at the call and found nothing. That is known of one that is built in: one that a policy declares may look for something else
    /// by now. What a guard came to otherwise is by what policies said of it then.
    pub(crate) fn has_passed(&self, guard: &str) -> bool {
        let came = || self.fact(&format!("guard.{guard}"));
        Guard::named(guard).is_some() && came().is_some_and(|came| came == Came::Passed.as_str())
    }

    /// Those guards.
    pub(crate) fn passed_guards(&self) -> Vec<String> {
        let built_in = Guard::ALL.into_iter().map(|guard| guard.as_str().to_owned());
        built_in.filter(|guard| self.has_passed(guard)).collect()
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
        while let Some((condition, held)) = self.path.pop() {
            if held {
                self.path.push((condition, false));
                return true;
            }
        }
        false
    }
}
