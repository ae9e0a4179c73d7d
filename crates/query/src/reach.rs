//! Who can call what, over all calls at once: answered from the policies in force, not from what was called.
//!
//! As the gateway goes: who cannot prove who it is calls nothing, and what has no address is not called; the rest is said by
//! [`Snapshot::reach`]. And who may operate what, as the admin address goes: by [`Snapshot::reach_people`].

mod named;
mod people;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vidimus_core::call::{Action, Target};
use vidimus_core::person::Operation;
use vidimus_core::reach::{Access, Answered, Condition, NotSurveyed, Outlook, Pairs};
use vidimus_core::refusal::Refusal;
use vidimus_core::resource::window::WindowSpec;
use vidimus_core::resource::{DelegationLimits, Principal, nearest};
use vidimus_core::snapshot::Snapshot;

use crate::Misasked;
use crate::explain::{can_prove, principal, target, told};
use crate::state::{State, StateOf};

pub use self::named::{Unnamed, What, Who};

/// Which pairs of principals and resources. At least one of the two sides is named, or something that people do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReachQuestion {
    /// Who would call: `Agent/namespace/name` or `ServiceIdentity/namespace/name`. Who would do what people do: `User/issuer#subject`, or
    /// `UserGroup/group` for somebody of that group whom no policy names, and of no other that one names. Everybody where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Who>,
    /// The groups that the token of a `User/…` names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Its e-mail address; any, or none, where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// What would be called, as in an explanation; of an `MCPServer/…`, `Agent/…` or `LLMProvider/…` all that can be called of it. To what
    /// people would do something: these too, and `Service/…`, `View/…`, `User/…`, `Identity/…` and `Chain/…`. Everything where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<What>,
    /// Only this Cedar action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = [
        "invokeTool", "readResource", "getPrompt", "connectServer", "callAgent", "callModel", "listModels", "quarantine", "lift",
        "declassify", "grant", "revoke", "approve", "read", "export", "shred", "evaluate", null
    ]))]
    pub action: Option<String>,
    /// Whether those are listed too that can never call.
    #[serde(default)]
    pub never: bool,
}

/// What is answered of all pairs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReachAnswer {
    /// Pairs with one answer together, in the order of principals and resources.
    pub reached: Vec<Reached>,
    /// How many pairs have each outcome, those that are not listed included.
    pub counts: ReachCounts,
    /// How many agents were left out because their record names no endpoint, so that nobody can call them.
    pub without_endpoint: usize,
    /// Whether people are not told of who are in several of the groups that policies name, or are named and in one: they may do more, or less,
    /// and are asked about by name.
    pub in_several_groups: bool,
    /// What this is the answer of.
    pub state: StateOf,
}

/// How many pairs of a principal and a resource there are of each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReachCounts {
    /// Each call is allowed.
    pub always: usize,
    /// It depends on the call.
    pub conditional: usize,
    /// No call is allowed without the approval of a person.
    pub held: usize,
    /// No call is allowed.
    pub never: usize,
}

/// Each of these principals with each of these resources: what becomes of their calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reached {
    /// `always`, `conditional`, `held` (none without the approval of a person) or `never`. Refused all the same are arguments that policies cannot see exactly, chains that have ended, and those that are
    /// deeper than any may be.
    #[schemars(extend("enum" = ["always", "conditional", "held", "never"]))]
    pub outcome: String,
    /// The Cedar action.
    pub action: String,
    /// Who, `Kind/namespace/name`, sorted. Of what people do: those whom policies tell apart, `User/issuer#subject`, `UserGroup/group` for somebody of
    /// that group alone, and `User/*` for all others.
    pub principals: Vec<String>,
    /// What, `Kind/id`, sorted. Of what people do `…/*` is all that neither a record nor a policy names.
    pub resources: Vec<String>,
    /// Of which servers and agents it is every tool, resource, prompt or skill that neither their record nor a policy names; sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub any_other_of: Vec<String>,
    /// The permits that are satisfied whatever the context.
    pub permits: Vec<String>,
    /// The permits that depend on the context.
    pub permits_when: Vec<When>,
    /// What refuses whatever the context: forbids, and policies that fail.
    pub refusals: Vec<String>,
    /// The forbids that depend on the context.
    pub refusals_when: Vec<When>,
    /// The forbids that hold a call for the approval of a person whatever the context.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<String>,
    /// Those of them that depend on the context.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds_when: Vec<When>,
    /// The forbids that change a call or its answer instead of refusing it, whatever the context.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// Those of them that depend on the context.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes_when: Vec<When>,
    /// Where the whole is reached by the use of a part: which, at most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub implied_by: Vec<String>,
    /// Limits of the agent's own record, as conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
    /// Of what is refused before policies are asked: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A policy of which only the context is left to be known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct When {
    /// Its id.
    pub policy: String,
    /// What is left of it, in Cedar's words; and last, of a permit with a window, that it is open.
    pub when: String,
    /// The window, as the policy's record has it (`spec.window`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowSpec>,
}

impl From<&Condition> for When {
    fn from(condition: &Condition) -> Self {
        let Condition { policy, when, window, .. } = condition;
        let object = policy.split('#').next().unwrap_or(policy);
        let within = window.as_ref().map(|window| format!("within the window of {object} ({window})"));
        let when = match within {
            None => when.to_string(),
            Some(within) if &**when == "true" => within,
            Some(within) => format!("{when}, {within}"),
        };
        Self { policy: policy.to_string(), when, window: window.clone() }
    }
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum NotReached {
    #[error(transparent)]
    Misasked(#[from] Misasked),
    #[error(transparent)]
    Fault(#[from] NotSurveyed),
}

impl ReachCounts {
    /// Counts pairs of one answer, which is returned.
    fn count(&mut self, pairs: &Pairs) -> Answered {
        let outcome = pairs.outlook.answered();
        *match outcome {
            Answered::Always => &mut self.always,
            Answered::Conditionally => &mut self.conditional,
            Answered::Held => &mut self.held,
            Answered::Never => &mut self.never,
        } += pairs.principals.len() * pairs.accesses.len();
        outcome
    }
}

impl ReachAnswer {
    /// Whether anybody could be allowed anything of it, of those who are told of.
    pub const fn any(&self) -> bool {
        self.counts.always + self.counts.conditional + self.counts.held > 0
    }
}

/// Answers the question by `state`.
///
/// # Errors
/// When it names nobody and nothing, or what is not there; and see [`NotSurveyed`].
pub fn reach(state: &State, question: &ReachQuestion) -> Result<ReachAnswer, NotReached> {
    let world = &*state.loaded.snapshot;
    if let Some(asked) = people::asked(question)? {
        return asked.answer(state, question);
    }
    let action = question.action.as_deref().map(named_action).transpose()?;
    let called = match &question.resource {
        Some(What::Called(id)) => Some(id),
        _ => None,
    };
    let principals = match (&question.principal, called) {
        (Some(Who::Workload(one)), _) => vec![principal(state, one)?],
        (_, Some(_)) => world.principals(),
        (_, None) => {
            let reason = "name who calls or what is called: of everybody with everything there is no end";
            return Err(Misasked::new("principal", &"-", reason).into());
        }
    };
    let (mut accesses, mut without_endpoint) = match called {
        Some(id) => {
            let found = target::target(state, id)?;
            let found = found.map_err(|refusal| Misasked::new("resource", id, told(&refusal)))?;
            (world.accesses(found), 0)
        }
        None => everything(world),
    };
    if let Some(action) = action {
        accesses.retain(|access| access.action == action);
        if action != Action::CallAgent {
            without_endpoint = 0;
        }
        if accesses.is_empty() && question.resource.is_some() {
            let reason = "nothing of the resource is called by this action";
            return Err(Misasked::new("action", &action.as_str(), reason).into());
        }
    }
    let (proving, unproven): (Vec<_>, Vec<_>) = principals
        .into_iter()
        .map(|one| (can_prove(world, &one), one))
        .partition(|(proven, _)| proven.is_ok());
    let proving: Vec<Principal> = proving.into_iter().map(|(_, one)| one).collect();
    let mut answer = ReachAnswer {
        reached: Vec::new(),
        counts: ReachCounts { never: unproven.len() * accesses.len(), ..ReachCounts::default() },
        without_endpoint,
        in_several_groups: false,
        state: state.described(),
    };
    for pairs in world.reach(&proving, &accesses)? {
        let outcome = answer.counts.count(&pairs);
        if outcome != Answered::Never || question.never {
            answer.reached.extend(rows(&pairs, &proving, &accesses));
        }
    }
    if question.never {
        answer.reached.extend(unproven.into_iter().flat_map(|(why, one)| refused(&why, &one, &accesses)));
    }
    Ok(answer)
}

fn named_action(name: &str) -> Result<Action, Misasked> {
    let of_people = Operation::ALL.iter().map(|operation| operation.as_str());
    let all = || Action::ALL.iter().map(|action| action.as_str()).chain(of_people.clone());
    Action::ALL.into_iter().find(|action| action.as_str() == name).ok_or_else(|| {
        let reason = match nearest(all(), name) {
            Some(near) => format!("there is no such action; did you mean {near}?"),
            None => format!("there is no such action; write one of {}", all().collect::<Vec<_>>().join(", ")),
        };
        Misasked::new("action", &name, reason)
    })
}

/// Everything that can be called, sorted; and how many agents cannot.
fn everything(world: &Snapshot) -> (Vec<Access<'_>>, usize) {
    let (callable, without): (Vec<Target<'_>>, Vec<Target<'_>>) = world
        .wholes()
        .into_iter()
        .partition(|target| !matches!(target, Target::Agent(agent) if agent.endpoint.is_none()));
    (callable.into_iter().flat_map(|target| world.accesses(target)).collect(), without.len())
}

/// Pairs with one answer, by their action.
fn rows(pairs: &Pairs, principals: &[Principal], accesses: &[Access<'_>]) -> Vec<Reached> {
    let who = pairs.principals.iter().filter_map(|place| principals.get(*place));
    let who: Vec<String> = who.map(|one| one.entity().to_string()).collect();
    let of_all = Reached { principals: who, ..row(&pairs.outlook) };
    by_action(&of_all, pairs.accesses.iter().filter_map(|place| accesses.get(*place)))
}

/// What is said of pairs with one answer, before who and what.
fn row(outlook: &Outlook) -> Reached {
    let Outlook { permits, refusals, permits_when, refusals_when, holds, holds_when, .. } = outlook;
    let Outlook { changes, changes_when, implied, limits, .. } = outlook;
    let texts = |ids: &[Arc<str>]| ids.iter().map(ToString::to_string).collect();
    Reached {
        outcome: outlook.answered().as_str().to_owned(),
        permits: texts(permits),
        permits_when: permits_when.iter().map(When::from).collect(),
        refusals: texts(refusals),
        refusals_when: refusals_when.iter().map(When::from).collect(),
        holds: texts(holds),
        holds_when: holds_when.iter().map(When::from).collect(),
        changes: texts(changes),
        changes_when: changes_when.iter().map(When::from).collect(),
        implied_by: implied.iter().map(|one| one.by.to_string()).collect(),
        limits: limited(limits),
        ..Reached::default()
    }
}

/// The limits of an agent's own record, as conditions.
fn limited(limits: &DelegationLimits) -> Vec<String> {
    let DelegationLimits { max_depth, max_fan_out, max_calls, max_tokens, max_spend, max_age, no_cycles } =
        limits;
    let at_most = |name: &str, most: Option<u64>| most.map(|most| format!("context.chain.{name} <= {most}"));
    let age = max_age.map(|most| format!("context.chain.age <= duration(\"{most}ms\")"));
    let spend =
        max_spend.map(|most| format!("context.chain.spend at most {most} millionths of the currency unit"));
    let cycle = no_cycles.then(|| "!context.chain.cycle".to_owned());
    [
        at_most("depth", max_depth.map(u64::from)),
        at_most("fan_out", max_fan_out.map(u64::from)),
        at_most("calls", max_calls.map(u64::from)),
        at_most("tokens", *max_tokens),
        spend,
        age,
        cycle,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What somebody cannot call who proves nothing.
fn refused(why: &Result<(), Refusal>, who: &Principal, accesses: &[Access<'_>]) -> Vec<Reached> {
    let reason = why.as_ref().err().map(told);
    let of_all = Reached {
        outcome: Answered::Never.as_str().to_owned(),
        principals: vec![who.entity().to_string()],
        reason,
        ..Reached::default()
    };
    by_action(&of_all, accesses.iter())
}

fn by_action<'a, 'b: 'a>(of_all: &Reached, accesses: impl Iterator<Item = &'a Access<'b>>) -> Vec<Reached> {
    let mut rows: BTreeMap<Action, Reached> = BTreeMap::new();
    for access in accesses {
        let row = rows
            .entry(access.action)
            .or_insert_with(|| Reached { action: access.action.as_str().to_owned(), ..of_all.clone() });
        match access.any_other {
            true => row.any_other_of.push(access.target.destination().id().to_string()),
            false => row.resources.push(access.target.entity().to_string()),
        }
    }
    rows.into_values()
        .map(|mut row| {
            row.resources.sort();
            row.any_other_of.sort();
            row
        })
        .collect()
}

/// What a part is called, of which there may be others than those that are named.
pub fn part(action: &str) -> &'static str {
    match action {
        "readResource" => "resource",
        "getPrompt" => "prompt",
        "callAgent" => "skill",
        _ => "tool",
    }
}

#[cfg(test)]
mod tests;
