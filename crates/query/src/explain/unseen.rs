//! What the gateway looks at when a call is made, and nobody can look at of one that is not: what guards find, and what a server says of its tools.

use vidimus_core::call::{Ask, Call, Target};
use vidimus_core::decision::{Decision, Outcome};
use vidimus_core::guard::{Came, Guarded, Kinds, Looked, Wanted};
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
    let mut guarded = call.ask.guarded.clone();
    let is_said = guarded.looked().len();
    let mut wanted = world.guards_wanted(decision);
    let mut outcome = decision.outcome();
    // Where one policy is lifted, another may be what refuses.
    while !wanted.is_empty() {
        for one in wanted {
            pass(&mut guarded, one);
        }
        (outcome, wanted) = again(world, call, &guarded);
    }
    let passes = matches!(outcome, Outcome::Allow | Outcome::AllowWithObligations);
    let guards: Vec<&str> = guarded.looked().iter().skip(is_said).map(|one| one.guard.as_str()).collect();
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

/// What guards came to where those of these names, as in `context.guarded`, find nothing in the call. As of one that is made, those alone look for which
/// a policy has it wait.
pub(super) fn guarded(world: &Snapshot, call: &Call<'_>, names: &[String]) -> Guarded {
    let mut guarded = Guarded::default();
    if names.is_empty() {
        return guarded;
    }
    loop {
        let (_, mut wanted) = again(world, call, &guarded);
        wanted.retain(|one| names.iter().any(|name| *name == one.guard.as_str()));
        if wanted.is_empty() {
            return guarded;
        }
        for one in wanted {
            pass(&mut guarded, one);
        }
    }
}

/// One more guard finds nothing.
fn pass(guarded: &mut Guarded, Wanted { guard, .. }: Wanted) {
    guarded.add(Looked { guard, came: Came::Passed, kinds: Kinds::new() }, []);
}

/// What is decided of a call with what guards came to, and for which others it waits then.
fn again(world: &Snapshot, call: &Call<'_>, guarded: &Guarded) -> (Outcome, Vec<Wanted>) {
    let ask = Ask { guarded, ..call.ask };
    let call = Call { ask, ..*call };
    let decision = world.authorize(&call);
    (decision.outcome(), world.guards_wanted(&decision))
}
