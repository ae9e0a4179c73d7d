//! What happened to a question between two looks at it: for whoever follows questions, and sees where they stand and not the acts. Pure.

use super::pending::{Pending, State};

/// Where a question stood when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// Where it stood.
    pub state: State,
    /// How many people had approved.
    pub votes: usize,
    /// The roles that it had gone on to.
    pub escalated: Vec<String>,
    /// The calls that were made with it.
    pub uses: Vec<String>,
    /// What was changed since, so that it is void.
    pub changed: Option<String>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Happening {
    /// People are asked.
    Asked,
    /// Somebody approved.
    Voted,
    /// People of a further role may approve.
    Escalated,
    /// The call may be made.
    Approved,
    /// Somebody said no.
    Denied,
    /// Nobody answered in time, or the approved call was not made in time.
    Expired,
    /// What asked for it, where its call goes or what is called was changed ([`Mark::changed`]), so it is good for nothing.
    Void,
    /// A call was made with it.
    Used,
}

impl Happening {
    /// All of them, in the order in which they may come.
    pub const ALL: [Self; 8] = [
        Self::Asked,
        Self::Voted,
        Self::Escalated,
        Self::Approved,
        Self::Denied,
        Self::Expired,
        Self::Void,
        Self::Used,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Voted => "voted",
            Self::Escalated => "escalated",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Void => "void",
            Self::Used => "used",
        }
    }
}

/// What happened, and which of its kind it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// What.
    pub what: Happening,
    /// Of votes the number, from 1; of escalations the number of the role, from 1; of uses the call; else nothing.
    pub which: String,
}

impl Happened {
    fn plain(what: Happening) -> Self {
        Self { what, which: String::new() }
    }

    /// What tells it from everything else that happens to any question, and is the same whenever it is found: letters, digits and hyphens.
    pub fn id(&self, approval: &str) -> String {
        match self.which.as_str() {
            "" => format!("{approval}-{}", self.what.as_str()),
            which => format!("{approval}-{}-{which}", self.what.as_str()),
        }
    }
}

impl Mark {
    /// Where a question stands now.
    pub fn of(pending: &Pending, now: i64) -> Self {
        Self {
            state: pending.state_at(now),
            votes: pending.votes.len(),
            escalated: pending.escalated(now).into_iter().map(str::to_owned).collect(),
            uses: pending.uses.iter().map(|made| made.call.clone()).collect(),
            changed: pending.changed.clone(),
        }
    }

    /// Why it has expired, where it has.
    const fn over(&self) -> Happening {
        if self.changed.is_some() { Happening::Void } else { Happening::Expired }
    }

    /// What happened since `before`; since there was no such question, where that is `None`. In order.
    pub fn since(&self, before: Option<&Self>) -> Vec<Happened> {
        let mut all: Vec<Happened> = Vec::new();
        if before.is_none() {
            all.push(Happened::plain(Happening::Asked));
        }
        let votes = before.map_or(0, |before| before.votes)..self.votes;
        all.extend(votes.map(|vote| Happened { what: Happening::Voted, which: (vote + 1).to_string() }));
        // Who may approve what is over is nobody's concern.
        if self.state == State::Asked {
            let new = |role: &String| before.is_none_or(|before| !before.escalated.contains(role));
            let new = self.escalated.iter().enumerate().filter(|(_, role)| new(role));
            let which = |at: usize| (at + 1).to_string();
            all.extend(new.map(|(at, _)| Happened { what: Happening::Escalated, which: which(at) }));
        }
        if before.is_none_or(|before| before.state != self.state) {
            let through = before.is_none_or(|before| before.state == State::Asked);
            match self.state {
                State::Asked => {}
                State::Approved if through => all.push(Happened::plain(Happening::Approved)),
                // Used before, and good for more calls: it was approved all the time.
                State::Approved => {}
                State::Denied => all.push(Happened::plain(Happening::Denied)),
                State::Expired => all.push(Happened::plain(self.over())),
                State::Used if through => all.push(Happened::plain(Happening::Approved)),
                State::Used => {}
            }
        }
        let made = |call: &&String| before.is_none_or(|before| !before.uses.contains(call));
        let uses = self.uses.iter().filter(made);
        all.extend(uses.map(|call| Happened { what: Happening::Used, which: call.clone() }));
        all
    }

    /// Where it stands, as the one thing that happened last: for whoever did not look before.
    pub fn stands(&self) -> Happened {
        let last = |what: Happening| Happened::plain(what);
        match self.state {
            State::Asked if !self.escalated.is_empty() => {
                Happened { what: Happening::Escalated, which: self.escalated.len().to_string() }
            }
            State::Asked => last(Happening::Asked),
            State::Approved => last(Happening::Approved),
            State::Denied => last(Happening::Denied),
            State::Expired => last(self.over()),
            State::Used => {
                Happened { what: Happening::Used, which: self.uses.last().cloned().unwrap_or_default() }
            }
        }
    }

    /// What happened to one that is not kept any more. Nobody says so of what nobody answered, or made a call with, in time.
    pub fn gone(&self) -> Option<Happened> {
        matches!(self.state, State::Asked | State::Approved).then(|| Happened::plain(Happening::Expired))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(state: State, votes: usize, escalated: &[&str], uses: &[&str]) -> Mark {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Mark { state, votes, escalated: owned(escalated), uses: owned(uses), changed: None }
    }

    #[test]
    fn what_happened_between_two_looks_is_told_once_and_in_order() {
        let asked = mark(State::Asked, 0, &[], &[]);
        let one = mark(State::Asked, 1, &[], &[]);
        let later = mark(State::Asked, 1, &["m"], &[]);
        let approved = mark(State::Approved, 2, &["m"], &[]);
        let used = mark(State::Used, 2, &["m"], &["c1"]);
        let again = mark(State::Approved, 2, &["m"], &["c1", "c2"]);
        let changed = Some("Policy/t/p".to_owned());
        let void = Mark { changed, ..mark(State::Expired, 2, &["m"], &[]) };
        for (before, after, happened) in [
            (None, &asked, "1-asked"),
            (Some(&asked), &asked, ""),
            (Some(&asked), &one, "1-voted-1"),
            (Some(&one), &later, "1-escalated-1"),
            (Some(&asked), &later, "1-voted-1 1-escalated-1"),
            (Some(&later), &approved, "1-voted-2 1-approved"),
            (Some(&approved), &used, "1-used-c1"),
            (Some(&used), &again, "1-used-c2"),
            (Some(&asked), &mark(State::Denied, 0, &["m"], &[]), "1-denied"),
            (Some(&asked), &mark(State::Expired, 0, &["m"], &[]), "1-expired"),
            (Some(&approved), &mark(State::Expired, 2, &["m"], &[]), "1-expired"),
            // Nobody let it pass: what it was of was changed.
            (Some(&approved), &void, "1-void"),
            (Some(&void), &void, ""),
            // All at once.
            (None, &used, "1-asked 1-voted-1 1-voted-2 1-approved 1-used-c1"),
            (None, &mark(State::Denied, 0, &[], &[]), "1-asked 1-denied"),
        ] {
            let found: Vec<String> = after.since(before).iter().map(|one| one.id("1")).collect();
            assert_eq!(found.join(" "), happened);
        }
        for (stands, gone, mark) in [
            ("1-asked", Some("1-expired"), &asked),
            ("1-escalated-1", Some("1-expired"), &later),
            ("1-approved", Some("1-expired"), &approved),
            ("1-used-c1", None, &used),
            ("1-void", None, &void),
        ] {
            assert_eq!(mark.stands().id("1"), stands);
            assert_eq!(mark.gone().map(|gone| gone.id("1")).as_deref(), gone);
        }
    }
}
