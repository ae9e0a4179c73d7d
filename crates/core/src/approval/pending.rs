//! What people are asked, and what became of it: the fold of the acts about approvals. Pure; the time comes in with each question.
//!
//! ```text
//! asked ─┬─ approved ─┬─ used ─┬─ answered
//!        │            │        └─ (nothing is known of it)
//!        ├─ denied ───┤
//!        └─ expired ──┘
//! ```
//!
//! What asks for it, where its call goes, or the tool that is called may be changed: then it has expired too, for good, also where that is
//! changed back (`void`). So it has from the moment at which somebody who approved it is quarantined.
//!
//! An approval is used at most once, unless its policies give a window. What was used stays used: where nothing is known of what
//! became of the call, the same call is a new question, which says so.

mod acts;
mod answers;
mod duties;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::act::Subject;
use crate::person::Names;

pub use acts::{
    Approve, Before, Came, Deed, Definition, Escalates, OfApproval, Question, Use, Voided, Wanted,
};
pub use answers::{Denial, Made, Said, Vote};

/// The most questions that stand at once.
pub const MOST: usize = 4_096;

/// The most of them that one principal asks for one person, or for nobody.
pub const MOST_OF_ONE: usize = 64;

/// The most of them that one principal asks, whoever it is for.
pub const MOST_OF_PRINCIPAL: usize = 512;

/// The most that are kept of those that are over, of one principal; of all, it is [`MOST`]. The oldest goes first, what was denied last.
const MOST_OVER: usize = 256;

/// The most calls that are kept of those that were made with one approval: the newest.
const MOST_USES: usize = 64;

/// Where a question stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// People have not answered, or not all.
    Asked,
    /// The call may be made.
    Approved,
    /// It may not.
    Denied,
    /// Nobody answered in time, or the approved call was not made in time.
    Expired,
    /// It was made, once or in its window.
    Used,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Asked, Self::Approved, Self::Denied, Self::Expired, Self::Used];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Used => "used",
        }
    }
}

/// A question and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pending {
    /// What is asked.
    pub question: Question,
    /// In the order of questions, whatever the clocks said that their ids are of.
    #[serde(default)]
    pub number: u64,
    /// Who approved, in order.
    pub votes: Vec<Vote>,
    /// Where it stands.
    pub state: State,
    /// Who denied it, where somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<Denial>,
    /// The newest calls that were made with it, in the order in which they were, whatever the clocks said that their ids are of.
    pub uses: Vec<Made>,
    /// The gateway at which its call was held, by the name of its log: that one alone has what people look at. `None` where it is this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_at: Option<String>,
    /// What was changed since, so that it is good for nothing any more ([`Voided::changed`]); or who approved it and was quarantined since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<String>,
}

impl Pending {
    /// Where it stands at a time: what was not answered or not used in time has expired.
    pub fn state_at(&self, now: i64) -> State {
        match self.state {
            State::Asked | State::Approved if now >= self.question.until => State::Expired,
            State::Used if self.is_usable(now) => State::Approved,
            state => state,
        }
    }

    /// Whether a call may be made with it now.
    pub fn is_usable(&self, now: i64) -> bool {
        let in_window = self.window_ends().is_none_or(|end| now < end);
        match self.state {
            State::Approved => now < self.question.until && in_window,
            State::Used => self.question.window.is_some() && in_window,
            State::Asked | State::Denied | State::Expired => false,
        }
    }

    /// When its call can no longer be made again; `None` where it has no window, or is not approved.
    fn window_ends(&self) -> Option<i64> {
        Some(self.approved_at()?.saturating_add(self.question.window?))
    }

    /// Until when it is kept: nobody answers it then, and no call is made with it.
    fn kept_until(&self) -> i64 {
        let window = self.window_ends().filter(|_| self.state == State::Used);
        window.map_or(self.question.until, |end| end.max(self.question.until))
    }

    /// When it was complete.
    fn approved_at(&self) -> Option<i64> {
        self.votes.iter().map(|vote| vote.at).max()
    }

    /// How many people have approved what a policy asks.
    pub fn given_to(&self, wanted: &Wanted) -> u32 {
        let given = self.votes.iter().filter(|vote| vote.counts_for(wanted)).count();
        u32::try_from(given).unwrap_or(u32::MAX)
    }

    /// Whether an approval in a role that is asked, by somebody of it or of the role that the question went on to, would bring it further.
    pub fn lacks(&self, role: &str, escalation: Option<&str>, now: i64) -> bool {
        self.question.asking.iter().any(|wanted| {
            let may = escalation.is_none_or(|escalation| wanted.is_open_to(escalation, now));
            may && wanted.role == role && self.given_to(wanted) < wanted.quorum
        })
    }

    /// The roles that the question has gone on to, each once, in the order in which it did: the place of one stays the same.
    pub fn escalated(&self, now: i64) -> Vec<&str> {
        let all = self.question.asking.iter().filter_map(|wanted| wanted.escalation.as_ref());
        let mut open: Vec<&Escalates> = all.filter(|escalation| escalation.at <= now).collect();
        open.sort_by_key(|escalation| escalation.at);
        let mut roles: Vec<&str> = Vec::new();
        for escalation in open {
            if !roles.contains(&escalation.role.as_str()) {
                roles.push(&escalation.role);
            }
        }
        roles
    }

    fn is_complete(&self) -> bool {
        self.question.asking.iter().all(|wanted| self.given_to(wanted) >= wanted.quorum)
    }

    /// The roles that were asked for, each with the last person who approved in it: one of the role itself, where there is one.
    pub fn given(&self) -> impl Iterator<Item = &Vote> {
        let votes = || self.votes.iter().enumerate();
        let rank = |(at, vote): (usize, &Vote)| (vote.escalation.is_none(), at);
        votes().filter_map(move |one| {
            let outranked = votes().any(|other| other.1.role == one.1.role && rank(other) > rank(one));
            (!outranked).then_some(one.1)
        })
    }
}

/// Why an act about an approval is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("there is no approval of this id")]
    Unknown,
    #[error("a question of this id, or about this very call, stands already")]
    Standing,
    #[error("as many questions stand as can at once; answer some, or let them expire")]
    TooMany,
    #[error("it was answered, has expired, or was used")]
    Over,
    #[error("its time is over")]
    TooLate,
    #[error("its time is not over yet")]
    TooEarly,
    #[error("nobody is asked in this role, or nobody more, or not yet")]
    NotAsked,
    #[error("this person has approved it already, and others are asked")]
    Again,
    #[error("only a person approves")]
    NoPerson,
    #[error("nobody approves what is done for himself, or by what he answers for, also earlier in the chain")]
    OwnCall,
    #[error("whoever is quarantined, by whatever name, approves nothing")]
    Quarantined,
    #[error("the approval is not, or no longer, good for a call")]
    NotUsable,
}

/// All questions that stand, and those that stood not long ago.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Approvals(BTreeMap<String, Arc<Pending>>);

impl Approvals {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of them.
    pub fn get(&self, approval: &str) -> Option<&Pending> {
        self.0.get(approval).map(|pending| &**pending)
    }

    /// All of them, oldest first.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &Pending> {
        self.0.values().map(|pending| &**pending)
    }

    /// The last call that was made with an approval of the same call ([`Question::same`]), whatever policies held it then.
    pub fn made_before(&self, same: &str) -> Option<Before> {
        let is_same =
            |pending: &&Pending| pending.question.same.as_deref() == Some(same) && !pending.uses.is_empty();
        let last = self.all().filter(is_same).max_by_key(|pending| pending.number)?;
        let Made { call, result } = last.uses.last()?.clone();
        Some(Before { approval: last.question.approval.clone(), call, result })
    }

    /// Those that people may still answer, or that a call may be made with.
    pub fn open(&self, now: i64) -> impl Iterator<Item = &Pending> {
        self.all().filter(move |pending| matches!(pending.state_at(now), State::Asked | State::Approved))
    }

    /// Those whose time is over, and which nobody has ended.
    pub fn overdue(&self, now: i64) -> impl Iterator<Item = &str> {
        let is_over = move |pending: &&Pending| {
            matches!(pending.state, State::Asked | State::Approved) && pending.question.until <= now
        };
        self.all().filter(is_over).map(|pending| pending.question.approval.as_str())
    }

    /// The newest that is about a call with this digest.
    pub fn about(&self, digest: &str) -> Option<&Pending> {
        self.all().filter(|pending| pending.question.digest == digest).max_by_key(|pending| pending.number)
    }

    /// Those that are neither answered no nor over, of calls by or for or to what is taken out of use.
    pub fn of_subject(&self, subject: &Subject, now: i64) -> impl Iterator<Item = &str> {
        let of_subject = self.open(now).filter(|pending| pending.question.is_of(subject));
        of_subject.map(|pending| pending.question.approval.as_str())
    }

    /// Whether an act may be done now. Who may approve by policy is asked elsewhere; what holds whatever policies say is held here: a person
    /// approves, once, and never what is done for himself.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, deed: Deed<'_>, actor: &str, now: i64) -> Result<(), Unfit> {
        let find = |approval: &str| self.0.get(approval).ok_or(Unfit::Unknown);
        match deed {
            Deed::Ask(question) => self.check_ask(question, now),
            Deed::Approve(approve) => {
                let pending = find(&approve.approval)?;
                actor.strip_prefix("User/").ok_or(Unfit::NoPerson)?;
                let person = approve.names(actor);
                if pending.question.is_own_of(&person) {
                    return Err(Unfit::OwnCall);
                }
                open(pending, now)?;
                if pending.votes.iter().any(|vote| vote.names().may_be(&person)) {
                    return Err(Unfit::Again);
                }
                let lacks = pending.lacks(&approve.role, approve.escalation.as_deref(), now);
                if lacks { Ok(()) } else { Err(Unfit::NotAsked) }
            }
            Deed::Deny(of) => {
                actor.strip_prefix("User/").ok_or(Unfit::NoPerson)?;
                match find(&of.approval)?.state_at(now) {
                    State::Asked | State::Approved => Ok(()),
                    State::Expired => Err(Unfit::TooLate),
                    State::Denied | State::Used => Err(Unfit::Over),
                }
            }
            Deed::Expire(of) => {
                match (find(&of.approval)?.state, find(&of.approval)?.question.until <= now) {
                    (State::Asked | State::Approved, true) => Ok(()),
                    (State::Asked | State::Approved, false) => Err(Unfit::TooEarly),
                    _ => Err(Unfit::Over),
                }
            }
            Deed::Use(used) => match find(&used.approval)?.is_usable(now) {
                true => Ok(()),
                false => Err(Unfit::NotUsable),
            },
            Deed::Void(voided) => match find(&voided.approval)?.state_at(now) {
                State::Asked | State::Approved => Ok(()),
                State::Denied | State::Expired | State::Used => Err(Unfit::Over),
            },
            Deed::Came(came) => {
                match find(&came.approval)?.uses.iter().any(|made| made.is_under_way(&came.call)) {
                    true => Ok(()),
                    false => Err(Unfit::Over),
                }
            }
        }
    }

    fn check_ask(&self, question: &Question, now: i64) -> Result<(), Unfit> {
        let stands = |pending: &&Pending| match pending.state_at(now) {
            State::Asked | State::Approved => true,
            // Nobody is asked again what somebody has denied, until its time is over.
            State::Denied => now < pending.question.until,
            State::Expired | State::Used => false,
        };
        if self.0.contains_key(&question.approval)
            || self.all().filter(stands).any(|pending| pending.question.digest == question.digest)
        {
            return Err(Unfit::Standing);
        }
        let open = || self.open(now);
        let of_principal = |pending: &&Pending| pending.question.principal == question.principal;
        let of_one = |pending: &&Pending| of_principal(pending) && pending.question.user == question.user;
        if open().count() >= MOST
            || open().filter(of_principal).count() >= MOST_OF_PRINCIPAL
            || open().filter(of_one).count() >= MOST_OF_ONE
        {
            return Err(Unfit::TooMany);
        }
        Ok(())
    }

    /// Takes an act over that was done at a time, for whatever reason. One that does not fit what stands changes nothing.
    pub fn apply(&mut self, deed: Deed<'_>, actor: &str, at: i64) {
        self.apply_said(deed, Said { actor, at, why: "", from: None });
    }

    /// The same, with what was said of why.
    pub fn apply_said(&mut self, deed: Deed<'_>, said: Said<'_>) {
        let Said { actor, at, why, from } = said;
        if self.check(deed, actor, at).is_err() {
            return;
        }
        match deed {
            Deed::Ask(question) => {
                // What is over is no longer needed when its time is: until then the same call gets the same answer.
                self.0.retain(|_, pending| at < pending.kept_until());
                self.forget_over(&question.principal, at);
                let number = self.all().map(|pending| pending.number).max().unwrap_or(0) + 1;
                let pending = Pending {
                    question: question.clone(),
                    number,
                    votes: Vec::new(),
                    state: State::Asked,
                    denied: None,
                    uses: Vec::new(),
                    held_at: from.map(str::to_owned),
                    changed: None,
                };
                self.0.insert(question.approval.clone(), Arc::new(pending));
            }
            Deed::Approve(approve) => self.change(&approve.approval, |pending| {
                pending.votes.push(Vote::of(approve, said));
                if pending.is_complete() {
                    pending.state = State::Approved;
                }
            }),
            Deed::Deny(of) => self.change(&of.approval, |pending| {
                pending.state = State::Denied;
                pending.denied = Some(Denial { by: actor.to_owned(), at, why: why.to_owned() });
            }),
            Deed::Expire(of) => self.change(&of.approval, |pending| pending.state = State::Expired),
            Deed::Void(voided) => self.change(&voided.approval, |pending| {
                pending.state = State::Expired;
                pending.changed = Some(voided.changed.clone());
            }),
            Deed::Use(used) => self.change(&used.approval, |pending| {
                pending.state = State::Used;
                pending.uses.push(Made { call: used.call.clone(), result: None });
                if pending.uses.len() > MOST_USES {
                    pending.uses.remove(0);
                }
            }),
            Deed::Came(came) => self.change(&came.approval, |pending| {
                if let Some(made) = pending.uses.iter_mut().find(|made| made.is_under_way(&came.call)) {
                    made.result = Some(came.result.clone());
                }
            }),
        }
    }

    /// Somebody is quarantined, who may not have been itself before: what it approved, with whomever, is void. What was made with it was made.
    pub(crate) fn void_votes_of(&mut self, person: &str, at: i64) {
        let names = Names::of(person);
        for pending in self.0.values_mut() {
            let is_good = matches!(pending.state, State::Asked | State::Approved) || pending.is_usable(at);
            if is_good && pending.votes.iter().any(|vote| vote.names().may_be(&names)) {
                let pending = Arc::make_mut(pending);
                pending.state = State::Expired;
                pending.changed = Some(format!("User/{person}"));
            }
        }
    }

    /// Makes room for one more that will be over some day.
    fn forget_over(&mut self, principal: &str, now: i64) {
        let is_over = |pending: &&Pending| !matches!(pending.state_at(now), State::Asked | State::Approved);
        let of_one = |pending: &&Pending| pending.question.principal == principal;
        let over = || self.all().filter(is_over);
        let first = |pending: &&Pending| (pending.state == State::Denied, pending.number);
        let oldest = match (over().count() >= MOST, over().filter(of_one).count() >= MOST_OVER) {
            (_, true) => over().filter(of_one).min_by_key(first),
            (true, false) => over().min_by_key(first),
            (false, false) => None,
        };
        if let Some(oldest) = oldest.map(|pending| pending.question.approval.clone()) {
            self.0.remove(&oldest);
        }
    }

    fn change(&mut self, approval: &str, change: impl FnOnce(&mut Pending)) {
        if let Some(pending) = self.0.get_mut(approval) {
            change(Arc::make_mut(pending));
        }
    }
}

fn open(pending: &Pending, now: i64) -> Result<(), Unfit> {
    match pending.state_at(now) {
        State::Asked => Ok(()),
        State::Expired if pending.state == State::Asked => Err(Unfit::TooLate),
        _ => Err(Unfit::Over),
    }
}

#[cfg(test)]
mod tests;
