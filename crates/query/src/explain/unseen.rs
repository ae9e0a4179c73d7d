//! What the gateway looks at when a call is made, and nobody can look at of one that is not: what guards find, and what a server says of its tools.

use vidimus_core::call::{Ask, Call, Target};
use vidimus_core::decision::{Decision, Outcome};
use vidimus_core::guard::{Came, Guarded, Kinds, Looked};
use vidimus_core::snapshot::Snapshot;

/// What was not looked at.
#[derive(Debug, Default)]
pub(super) struct Unseen {
    /// Each in words.
    pub(super) said: Vec<String>,
    /// The call would pass where guards find nothing.
    pub(super) is_lifted: bool,
}

/// What was not looked at of a call that nobody makes, and what comes of it.
pub(super) fn of(world: &Snapshot, call: &Call<'_>, decision: &Decision<'_>) -> Unseen {
    let mut unseen = Unseen::default();
    let mut guarded = Guarded::default();
    let mut wanted = world.guards_wanted(decision);
    let mut outcome = decision.outcome();
    // Where one policy is lifted, another may be what refuses.
    while !wanted.is_empty() {
        for one in wanted {
            guarded.add(Looked { guard: one.guard, came: Came::Passed, kinds: Kinds::new() }, []);
        }
        let ask = Ask { guarded: &guarded, ..call.ask };
        let lifted = Call { ask, ..*call };
        let again = world.authorize(&lifted);
        outcome = again.outcome();
        wanted = world.guards_wanted(&again);
    }
    let passes = matches!(outcome, Outcome::Allow | Outcome::AllowWithObligations);
    let guards: Vec<&str> = guarded.looked().iter().map(|one| one.guard.as_str()).collect();
    if !guards.is_empty() {
        unseen.said.push(format!(
            "what the call says, by its guards ({}): {} where none of them finds anything",
            guards.join(", "),
            outcome.as_str()
        ));
        unseen.is_lifted = passes && decision.outcome() != outcome;
    }
    if let Target::Tool { server, name } = call.ask.target
        && outcome != Outcome::Deny
        && server.integrity.as_ref().is_some_and(|integrity| integrity.holds(name))
    {
        let said = "what the server says of the tool (spec.integrity): each call is refused while that is not what is pinned";
        unseen.said.push(said.to_owned());
    }
    unseen
}
