//! The question that every front door asks: what the policies say of a call, and what follows for it from the agent's own record
//! and from what a protocol needs. Nothing here permits what no policy permits.

mod bounds;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::call::{Action, Arguments, Ask, Call, Target};
use crate::caller::MAX_DEPTH;
use crate::decide::residual::field::cycle;
use crate::decide::statement::Statement;
use crate::decide::view::misfit;
use crate::decision::{Decision, Fact, Finding, Outcome};
use crate::keep::Keep;
use crate::obligation;
use crate::refusal::Code;
use crate::resource::{Agent, LlmProvider, McpServer, Principal};
use crate::snapshot::Snapshot;
use bounds::{drifted, ended, too_deep, too_much, too_wide, unrepresentable};

/// The tools, resources, prompts and skills that policies name one by one, by the key of their server or agent.
pub(crate) type Named = HashMap<Arc<str>, BTreeSet<(Action, Arc<str>)>>;

/// How many of the tools that a server's sets list are looked at one by one.
const MAX_LISTED: usize = 256;

/// The fact that says what ended a chain.
pub const ENDED_BY: &str = "chain.ended_by";

/// Stands for the tools, resources, prompts and skills that nothing names.
pub(crate) const UNNAMED: &str = "*";

/// The methods of A2A that are not about a skill and cannot name one: the card, and the list of the caller's own tasks. What is
/// about one task is decided as the call that made it, which did or did not name a skill.
pub const OF_NO_SKILL: [&str; 3] = ["GetAgentCard", "GetExtendedAgentCard", "ListTasks"];

/// What the telling of news of a task is called, which an agent sends: a later part of the call that named where they go, decided as a call of
/// its caller.
pub const NEWS_OF_TASK: &str = "SendPushNotification";

/// The methods of A2A that ask for what an earlier call made, or end it. That call was approved where it had to be; these are not held.
const OF_MADE_TASKS: [&str; 7] = [
    "GetTask",
    "CancelTask",
    "SubscribeToTask",
    "GetTaskPushNotificationConfig",
    "ListTaskPushNotificationConfigs",
    "DeleteTaskPushNotificationConfig",
    NEWS_OF_TASK,
];

/// Whether a method asks for what an earlier call made, or ends it: it takes no use of a grant, as that call took one. A message to a task, and
/// news of it to a new address, are nothing of that kind; a task of MCP is one call of a tool, whatever is said to it (`tasks/update`).
pub(crate) fn asks_of_made(method: &str) -> bool {
    OF_MADE_TASKS.contains(&method) || method.starts_with("tasks/")
}

impl Snapshot {
    /// Decides a call as it came in. Principal and target must be of this snapshot.
    ///
    /// - A chain deeper or wider than the agent's own record allows, or deeper than [`MAX_DEPTH`], is denied, whatever the policies
    ///   say.
    /// - A call that takes its chain beyond another limit of that record is denied and ends the chain, as is one that a forbid with
    ///   `@ends_chain` refuses; whatever is called in an ended chain is denied.
    /// - A call with an argument that no policy can see exactly is denied, unless the record of the tool lets such pass.
    /// - A call that names a skill is denied by what forbids the skill *or* the agent, and allowed by what permits either:
    ///   callers name skills, so naming one must not escape what is said of the agent.
    /// - Connecting to an MCP server (initialize, list) is allowed, unless forbidden, to whoever may use something of it: an
    ///   author who permits a tool need not know the protocol's handshake.
    /// - Of a server with members that is whoever may use something of one of these.
    /// - So are the card of an agent and the list of one's own tasks to whoever may use some skill of it, because neither can
    ///   name one; and the listing of a provider's models to whoever may call one of them.
    /// - What the policies allow, or hold, of a tool that its server's record does not pin, or that is not what it pins, is denied (ADR 76).
    /// - A call that a forbid with `@limit` is about is denied where what is left of the limit (`SoFar::limits`) is less than nothing, and
    ///   otherwise allowed as if there were no such forbid; [`Decision::limits`] says what it counts for.
    /// - A call about a task is decided as the call that made the task, now. What the arguments of a tool call were is not kept,
    ///   so it is allowed while some arguments are. The call that made the task was approved where a person had to approve it, and
    ///   so asking for the task, or ending it, is not held again.
    /// - While a namespace observes (`mode: rollout`), what no policy permits there is let pass, and is said to be what would be refused.
    /// - What holds a part or the whole, where neither is refused and either is permitted, holds the call.
    ///
    /// This is the only public way to a decision:
    ///
    /// ```compile_fail,E0624
    /// # use vidimus_core::{call::Call, snapshot::Snapshot};
    /// # fn example(snapshot: &Snapshot, call: &Call<'_>) {
    /// let decision = snapshot.decide(call);
    /// # }
    /// ```
    ///
    /// ```
    /// # use vidimus_core::{call::Call, snapshot::Snapshot};
    /// # fn example(snapshot: &Snapshot, call: &Call<'_>) {
    /// let decision = snapshot.authorize(call);
    /// # }
    /// ```
    pub fn authorize<'c>(&self, call: &Call<'c>) -> Decision<'c> {
        let (mut finding, would_refuse) = self.or_passed(call, self.finding(call));
        // The call that made the task has counted; what is not made does not.
        if asks_of_made(call.ask.method) || finding.outcome == Outcome::Deny {
            finding.limits = Arc::default();
        }
        let ends_chain = self.ends_chain(&finding);
        if let Some(by) = &ends_chain {
            finding = finding.with_fact(ENDED_BY, by.clone());
        }
        finding = finding.guarded(call);
        let keeps = self.keeps(call, &finding);
        let (candidates, passed_over) = (Vec::new(), Vec::new());
        Decision { call: *call, finding, ends_chain, keeps, would_refuse, candidates, passed_over }
    }

    /// What of an allowed call its records keep, as the permits say that its record names. What only connects to something, or lists it, has no
    /// payload: it is allowed by what permits a use.
    fn keeps(&self, call: &Call<'_>, finding: &Finding) -> Keep {
        let is_allowed = matches!(finding.outcome, Outcome::Allow | Outcome::AllowWithObligations);
        let is_use = match call.ask.action {
            Action::ConnectServer | Action::ListModels => false,
            Action::CallAgent => !OF_NO_SKILL.contains(&call.ask.method),
            Action::InvokeTool | Action::ReadResource | Action::GetPrompt | Action::CallModel => true,
        };
        if is_allowed && is_use { self.kept_by(&finding.policies) } else { Keep::default() }
    }

    /// What ends the chain, where this is the denial that does.
    fn ends_chain(&self, finding: &Finding) -> Option<Arc<str>> {
        match finding.code? {
            Code::ChainLimit => finding.policies.first().cloned(),
            Code::ForbiddenByPolicy => finding.policies.iter().find(|policy| self.is_ending(policy)).cloned(),
            _ => None,
        }
    }

    pub(crate) fn finding(&self, call: &Call<'_>) -> Finding {
        let found = self.found(call);
        match found.outcome {
            Outcome::Deny => found,
            Outcome::Allow | Outcome::AllowWithObligations | Outcome::Hold => drifted(call).unwrap_or(found),
        }
    }

    fn found(&self, call: &Call<'_>) -> Finding {
        let limits = [ended, too_deep, too_wide, too_much, unrepresentable];
        if let Some(denied) = limits.into_iter().find_map(|limit| limit(call)) {
            return denied;
        }
        if let Some([part, whole]) = self.halves(call) {
            // What the agent as a whole is permitted takes no use of a grant for the skill.
            let spares = whole.outcome == Outcome::Allow && self.takes_a_use(&part.policies);
            return narrow(part, whole, spares);
        }
        match call.ask.target {
            Target::Server(server) => {
                let uses = || self.called_by(server).flat_map(|server| self.uses_of_server(server));
                self.or_implied(call, uses)
            }
            Target::Agent(agent) if OF_NO_SKILL.contains(&call.ask.method) => {
                self.or_implied(call, || self.uses_of_agent(agent))
            }
            Target::Provider(provider) => self.or_implied(call, || uses_of_provider(provider)),
            Target::Tool { .. } if matches!(call.ask.arguments, Arguments::Unknown) => {
                self.possible_allowance(call).unwrap_or_else(|| self.decide(call).denied())
            }
            Target::Agent(_) => self.once_made(call),
            _ => self.decide(call),
        }
    }

    /// Of a call of a skill, what is found of that and of its agent as a whole, each by itself.
    pub(crate) fn halves(&self, call: &Call<'_>) -> Option<[Finding; 2]> {
        let Target::Skill { agent, .. } = call.ask.target else { return None };
        let ask = Ask { target: Target::Agent(agent), ..call.ask };
        Some([self.once_made(call), self.once_made(&Call { ask, ..*call })])
    }

    /// What the policies say; of what asks for what an earlier call made, as if a person had approved it.
    fn once_made(&self, call: &Call<'_>) -> Finding {
        let found = self.decide(call);
        if found.asking.is_empty() || !OF_MADE_TASKS.contains(&call.ask.method) || call.ask.task.is_none() {
            return found;
        }
        match found.outcome {
            Outcome::Hold => match self.possible_allowance(call) {
                Some(allowed) => allowed.and_tried(&found.tried),
                None => found,
            },
            _ => Finding { asking: Arc::default(), ..found },
        }
    }

    /// What is found of the whole, or where no policy permits the whole, what the use of a part implies.
    fn or_implied<'a, I: Iterator<Item = Use<'a>>>(&self, call: &Call<'_>, uses: impl Fn() -> I) -> Finding {
        let whole = self.decide(call);
        if whole.code != Some(Code::NoPermit) {
            return whole;
        }
        let implied = uses().find_map(|one| self.implied_by(call, one));
        match implied {
            Some(implied) => implied.held_by(&whole).and_tried(&whole.tried).counting(&whole.counted()),
            None => self.explained(call, whole, uses()),
        }
    }

    /// Why nothing implies the whole, as far as the first uses tell: the permits that come closest to one of them, or where each of
    /// them is forbidden, what forbids the first.
    fn explained<'a>(&self, call: &Call<'_>, whole: Finding, uses: impl Iterator<Item = Use<'a>>) -> Finding {
        const LOOKED_AT: usize = 16;
        let (mut closest, mut refusing, mut all_refused) = (None, None, true);
        for (number, (action, target)) in uses.take(LOOKED_AT + 1).enumerate() {
            let ask = Ask { action, target, ..call.ask };
            let finding = self.decide(&Call { ask, ..*call });
            if number == LOOKED_AT || matches!(finding.code, None | Some(Code::NoPermit)) {
                all_refused = false;
                closest = closest.or((!finding.closest_permits.is_empty()).then(|| finding.of_use(&ask)));
            } else {
                refusing = refusing.or(Some(finding.of_use(&ask)));
            }
        }
        if all_refused {
            return refusing.unwrap_or(whole);
        }
        closest.filter(|_| whole.closest_permits.is_empty()).unwrap_or(whole)
    }

    /// Whether a call goes on as it stands beside one that is decided and recorded: it is allowed, nothing of it is changed or kept, it counts for no limit,
    /// and it takes no use of a grant.
    pub fn permits_as_it_stands(&self, call: &Call<'_>) -> bool {
        let decision = self.authorize(call);
        decision.outcome() == Outcome::Allow
            && decision.limits().is_empty()
            && decision.keeps() == Keep::default()
            && !self.takes_a_use(decision.policies())
    }

    /// Whether policies refuse a call, or hold it, whatever else permits it: nobody comes by a server with members who is kept from it.
    pub fn stands_against(&self, call: &Call<'_>) -> bool {
        !matches!(self.decide(call).code, None | Some(Code::NoPermit))
    }

    /// The server, or where it has members, these. One that has members itself is none: it is not called by this server either.
    pub(crate) fn called_by<'a>(
        &'a self,
        server: &'a Arc<McpServer>,
    ) -> impl Iterator<Item = &'a Arc<McpServer>> {
        let members = server.members.iter().flat_map(|members| members.all.iter());
        let members = members.filter_map(|member| self.mcp_server(&member.server));
        let itself = server.members.is_none().then_some(server);
        itself.into_iter().chain(members.filter(|member| member.members.is_none()))
    }

    /// What of a server may be used: what its record lists, what policies name, and anything else.
    ///
    /// A record's tool sets may list 16,384 tools, and each one looked at is an edge compiled. Of more than [`MAX_LISTED`] all are
    /// looked at that can stand for others: the first of each set, those with attributes of their own, those that policies name,
    /// and one that nothing names. What is then missed is a permit by a pattern of names that none of the first matches.
    fn uses_of_server<'a>(&'a self, server: &'a Arc<McpServer>) -> impl Iterator<Item = Use<'a>> {
        let listed = || server.tool_sets.values().flatten();
        let (all, none) = (usize::MAX, 0);
        let (at_first, of_each_set, at_last) =
            if listed().nth(MAX_LISTED).is_none() { (all, none, none) } else { (none, all, MAX_LISTED) };
        let first_of_sets = server.tool_sets.values().filter_map(|set| set.iter().next()).take(of_each_set);
        let tools = listed().take(at_first).chain(first_of_sets).chain(server.tools.keys());
        let invoked = |name: &'a Arc<str>| (Action::InvokeTool, &**name);
        let named = self.named_of(&server.id.id).filter(|(action, _)| *action != Action::CallAgent);
        let unnamed =
            [Action::InvokeTool, Action::ReadResource, Action::GetPrompt].map(|action| (action, UNNAMED));
        let rest = listed().take(at_last).map(invoked);
        tools.map(invoked).chain(named).chain(unnamed).chain(rest).map(|(action, name)| {
            let target = match action {
                Action::ReadResource => Target::Resource { server, uri: name },
                Action::GetPrompt => Target::Prompt { server, name },
                _ => Target::Tool { server, name },
            };
            (action, target)
        })
    }

    /// The same of an agent and its skills.
    fn uses_of_agent<'a>(&'a self, agent: &'a Arc<Agent>) -> impl Iterator<Item = Use<'a>> {
        let named = self.named_of(&agent.id.id).filter(|(action, _)| *action == Action::CallAgent);
        let skills = named.map(|(_, name)| name).chain([UNNAMED]);
        skills.map(|name| (Action::CallAgent, Target::Skill { agent, name }))
    }

    /// The parts of one server or agent that policies name.
    pub fn named_of(&self, whole: &str) -> impl Iterator<Item = (Action, &str)> {
        self.named.of(whole).map(|(action, name)| (*action, &**name))
    }

    /// What one use implies, if some call of it could be allowed: the policies that permit the use permit what it needs, and
    /// the record says which use it is.
    fn implied_by(&self, call: &Call<'_>, (action, target): Use<'_>) -> Option<Finding> {
        let ask = Ask { action, target, arguments: call.ask.arguments.any(), ..call.ask };
        let found = self.possible_allowance(&Call { ask, ..*call })?;
        // What is changed of the use, and what it counts for, is nothing of the whole.
        let (obligations, limits) = (Arc::default(), Arc::default());
        let found = Finding { outcome: Outcome::Allow, obligations, limits, ..found };
        Some(found.of_use(&ask))
    }
}

/// What of a server, an agent or a provider is used, and how.
type Use<'a> = (Action, Target<'a>);

/// The registered models of a provider; no others can be called.
fn uses_of_provider(provider: &Arc<LlmProvider>) -> impl Iterator<Item = Use<'_>> {
    provider
        .models
        .iter()
        .map(move |model| (Action::CallModel, Target::Model { provider, name: &model.name }))
}

impl Finding {
    /// What is found of a call that no arguments could make allowed: never an allowance, whatever was found of it without any.
    fn denied(mut self) -> Self {
        if self.code.is_some() && self.outcome == Outcome::Deny {
            return self;
        }
        (self.outcome, self.code) = (Outcome::Deny, Some(Code::NoPermit));
        (self.obligations, self.limits) = (Arc::default(), Arc::default());
        self.asking = Arc::default();
        self
    }

    /// What is found of a use, as what it says of the whole: which use it is stands among the facts.
    fn of_use(self, ask: &Ask<'_>) -> Self {
        let use_of_it = format!("{} {}", ask.action.as_str(), ask.target.entity());
        self.with_fact("implied_by", use_of_it.into())
    }

    /// With what guards came to that looked at the call, and without what they have taken out.
    fn guarded(mut self, call: &Call<'_>) -> Self {
        for looked in call.ask.guarded.looked() {
            let name = format!("guard.{}", looked.guard.as_str());
            self = self.with_fact(&name, looked.to_string().into());
        }
        match call.ask.guarded.obligations() {
            [] => self,
            more => {
                let all = obligation::united(self.obligations.iter().chain(more));
                self.changed(&all, &[])
            }
        }
    }

    /// With one fact more.
    fn with_fact(mut self, name: &str, value: Arc<str>) -> Self {
        let mut facts: Vec<Fact> = self.facts.to_vec();
        facts.push((name.into(), value));
        facts.sort_unstable();
        self.facts = facts.into();
        self
    }
}

/// Whether a call is of a tool that is not what the record of its server pins, as far as the call says what it is.
pub(crate) fn is_drifted(call: &Call<'_>) -> bool {
    drifted(call).is_some()
}

fn refused(code: Code, by: Arc<str>, facts: Arc<[Fact]>) -> Finding {
    Finding {
        outcome: Outcome::Deny,
        code: Some(code),
        policies: Arc::new([by]),
        closest_permits: Arc::default(),
        facts,
        reason: None,
        obligations: Arc::default(),
        limits: Arc::default(),
        asking: Arc::default(),
        tried: Arc::default(),
    }
}

/// What holds of a part, given what holds of the part and of the whole.
///
/// The whole decides where it is refused, and where the part is not permitted by itself, or where that would take a use of a grant which
/// the whole `spares`. The call counts for the limits of both, whichever is permitted.
fn narrow(part: Finding, whole: Finding, spares: bool) -> Finding {
    let tried = (part.tried.clone(), whole.tried.clone());
    let counted = (part.counted(), whole.counted());
    let found = match (standing(&part), standing(&whole)) {
        (Standing::Refused, _) => part,
        (_, Standing::Refused) => whole,
        (Standing::Permitted, Standing::Permitted) if spares => whole.held_by(&part),
        (Standing::Permitted, _) => part.held_by(&whole),
        (Standing::NotPermitted, Standing::Permitted) => whole.held_by(&part),
        (Standing::NotPermitted, Standing::NotPermitted) => part,
    };
    found.and_tried(&tried.0).and_tried(&tried.1).counting(&counted.0).counting(&counted.1)
}

/// How policies stand to one of the two.
#[derive(Clone, Copy)]
enum Standing {
    /// A policy permits it, and if anything then only the approval of a person is missing.
    Permitted,
    /// No policy permits it, and none refuses it whatever people approve.
    NotPermitted,
    /// A policy refuses it, or failed.
    Refused,
}

fn standing(finding: &Finding) -> Standing {
    match finding.outcome {
        Outcome::Allow | Outcome::AllowWithObligations | Outcome::Hold => Standing::Permitted,
        Outcome::Deny if finding.code == Some(Code::NoPermit) => Standing::NotPermitted,
        Outcome::Deny => Standing::Refused,
    }
}

/// Collects the parts of MCP servers and agents that the statements name one by one.
pub(crate) fn named<'a>(statements: impl Iterator<Item = &'a Arc<Statement>>) -> Named {
    let mut named = Named::new();
    for literal in statements.flat_map(|statement| statement.literals()) {
        let action = match literal.type_name().to_string().as_str() {
            "Tool" => Action::InvokeTool,
            "Resource" => Action::ReadResource,
            "Prompt" => Action::GetPrompt,
            "Skill" => Action::CallAgent,
            _ => continue,
        };
        let id = literal.id().unescaped();
        let Some((at, _)) = id.match_indices('/').nth(1) else { continue };
        let Some((server, name)) = id.split_at_checked(at) else { continue };
        let name = name.strip_prefix('/').unwrap_or(name);
        named.entry(server.into()).or_default().insert((action, name.into()));
    }
    named
}
