//! What the gateway looks at when a call is made, and nobody can look at of one that is not: what guards find, and what a server says of its tools.

use std::collections::BTreeSet;

use vidimus_core::call::{Ask, Call, Target};
use vidimus_core::decision::{Decision, Outcome};
use vidimus_core::guard::{Came, Guard, Guarded, Kinds, Looked, Wanted};
use vidimus_core::snapshot::Snapshot;

use super::ExplainQuestion;
use crate::Misasked;

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

/// That there is a guard and a limit of each name that a question says: of what is misspelled it would be told what is so without it.
///
/// # Errors
/// The name that nothing has.
pub(super) fn are_known(world: &Snapshot, question: &ExplainQuestion) -> Result<(), Misasked> {
    let is_guard =
        |name: &str| Guard::named(name).is_some() || world.own_guards().any(|own| *own.id == *name);
    if let Some(name) = question.guarded.iter().find(|name| !is_guard(name)) {
        let built_in = Guard::ALL.map(|guard| guard.as_str().to_owned());
        let own = world.own_guards().map(|own| own.id.to_string());
        return Err(unknown("guarded", name, "guard", built_in.into_iter().chain(own)));
    }
    let is_limit = |id: &str| world.limits().any(|limit| *limit.id == *id);
    match question.limits.keys().find(|id| !is_limit(id)) {
        Some(id) => Err(unknown("limits", id, "limit", world.limits().map(|limit| limit.id.to_string()))),
        None => Ok(()),
    }
}

/// How many names are told of those that there are.
const TOLD: usize = 8;

fn unknown(member: &'static str, name: &str, what: &str, names: impl Iterator<Item = String>) -> Misasked {
    let names: BTreeSet<String> = names.collect();
    let more = if names.len() > TOLD { ", …" } else { "" };
    let told: Vec<&str> = names.iter().take(TOLD).map(String::as_str).collect();
    let there = if told.is_empty() { "none".to_owned() } else { told.join(", ") };
    Misasked::new(member, &name, format!("no {what} of this name is in force; there are: {there}{more}"))
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
