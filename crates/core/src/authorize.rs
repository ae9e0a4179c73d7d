//! The question that every front door asks: [`Snapshot::decide`], and what follows for a call from records and from what a
//! protocol needs. Nothing here permits what no policy permits.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::call::{Action, Arguments, Call, Target};
use crate::decide::statement::Statement;
use crate::decision::{Decision, Fact, Outcome};
use crate::refusal::Code;
use crate::resource::{Agent, McpServer, Principal};
use crate::snapshot::Snapshot;

/// The tools, resources, prompts and skills that policies name one by one, by the key of their server or agent.
pub(crate) type Named = HashMap<Arc<str>, BTreeSet<(Action, Arc<str>)>>;

/// Stands for the tools, resources, prompts and skills that nothing names.
const UNNAMED: &str = "*";

/// The methods of A2A that are not about a skill and cannot name one: the card, and what becomes of a task.
const OF_NO_SKILL: [&str; 10] = [
    "GetAgentCard",
    "GetExtendedAgentCard",
    "GetTask",
    "ListTasks",
    "CancelTask",
    "SubscribeToTask",
    "CreateTaskPushNotificationConfig",
    "GetTaskPushNotificationConfig",
    "ListTaskPushNotificationConfigs",
    "DeleteTaskPushNotificationConfig",
];

impl Snapshot {
    /// Decides a call as it came in.
    ///
    /// - A chain deeper or wider than the agent's own record allows is denied, whatever the policies say.
    /// - A call that names a skill is denied by what forbids the skill *or* the agent, and allowed by what permits either:
    ///   callers name skills, so naming one must not escape what is said of the agent.
    /// - Connecting to an MCP server (initialize, list) is allowed, unless forbidden, to whoever may use something of it: an
    ///   author who permits a tool need not know the protocol's handshake.
    /// - So are the card of an agent and the methods about its tasks to whoever may use some skill of it: neither can name one.
    pub fn authorize(&self, call: &Call<'_>) -> Decision {
        if let Some(denied) = too_deep(call).or_else(|| too_wide(call)) {
            return denied;
        }
        match call.target {
            Target::Skill { agent, .. } => {
                let whole = self.decide(&Call { target: Target::Agent(agent), ..*call });
                narrow(self.decide(call), whole)
            }
            Target::Server(server) if call.action == Action::ConnectServer => {
                self.or_through(call, || self.parts_of_server(call, server))
            }
            Target::Agent(agent) if OF_NO_SKILL.contains(&call.context.method) => {
                self.or_through(call, || self.skills_of_agent(call, agent))
            }
            _ => self.decide(call),
        }
    }

    /// The decision, or where no policy permits the whole, what follows from the use of a part.
    fn or_through(&self, call: &Call<'_>, through: impl FnOnce() -> Option<Decision>) -> Decision {
        let whole = self.decide(call);
        if whole.code == Some(Code::NoPermit) { through().unwrap_or(whole) } else { whole }
    }

    /// The permission to connect that follows from the permission to use something; `None` when there is none.
    fn parts_of_server(&self, call: &Call<'_>, server: &Arc<McpServer>) -> Option<Decision> {
        let registered = server.tool_sets.values().flatten().chain(server.tools.keys());
        let tools = registered.map(|name| (Action::InvokeTool, &**name));
        let named = self.named_of(&server.id.id).filter(|(action, _)| *action != Action::CallAgent);
        let unnamed =
            [Action::InvokeTool, Action::ReadResource, Action::GetPrompt].map(|action| (action, UNNAMED));
        tools.chain(named).chain(unnamed).find_map(|(action, name)| {
            let target = match action {
                Action::ReadResource => Target::Resource { server, uri: name },
                Action::GetPrompt => Target::Prompt { server, name },
                _ => Target::Tool { server, name },
            };
            self.through(call, action, target)
        })
    }

    /// The same of an agent and its skills.
    fn skills_of_agent(&self, call: &Call<'_>, agent: &Arc<Agent>) -> Option<Decision> {
        let named = self.named_of(&agent.id.id).filter(|(action, _)| *action == Action::CallAgent);
        let skills = named.map(|(_, name)| name).chain([UNNAMED]);
        skills
            .into_iter()
            .find_map(|name| self.through(call, Action::CallAgent, Target::Skill { agent, name }))
    }

    /// The parts of one server or agent that policies name.
    fn named_of(&self, whole: &str) -> impl Iterator<Item = (Action, &str)> {
        self.named.get(whole).into_iter().flatten().map(|(action, name)| (*action, &**name))
    }

    /// What follows from one use, if some call of it could be allowed.
    fn through(&self, call: &Call<'_>, action: Action, target: Target<'_>) -> Option<Decision> {
        let context = crate::call::Context { arguments: Arguments::Unknown, ..call.context };
        let use_of_it = Call { principal: call.principal, action, target, context };
        self.could_allow(&use_of_it).then(|| self.derived(&use_of_it))
    }

    /// The policies that permit the use permit what it needs; the record says by which use.
    fn derived(&self, use_of_it: &Call<'_>) -> Decision {
        let by = self.decide(use_of_it);
        // Without arguments a permit that looks at them does not hold yet; it is the nearest one.
        let policies = if by.allowed() { by.policies } else { by.near };
        let through = format!("{} {}", use_of_it.action.as_str(), use_of_it.target.entity());
        let mut facts: Vec<Fact> = by.facts.to_vec();
        facts.push(("through".into(), through.into()));
        facts.sort_unstable();
        Decision {
            outcome: Outcome::Allow,
            code: None,
            policies,
            near: Arc::new([]),
            facts: facts.into(),
            reason: None,
        }
    }
}

/// The limit of the agent's own record on how deep a chain may be.
fn too_deep(call: &Call<'_>) -> Option<Decision> {
    let Principal::Agent(agent) = call.principal else { return None };
    let (most, depth) = (agent.delegation.max_depth?, call.context.chain.depth());
    (depth > i64::from(most)).then(|| {
        beyond(agent, Code::DelegationTooDeep, "maxDepth", most, ("context.delegation_depth", depth))
    })
}

/// The limit of the agent's own record on how many destinations it may reach in one chain.
fn too_wide(call: &Call<'_>) -> Option<Decision> {
    let Principal::Agent(agent) = call.principal else { return None };
    let (most, fan_out) = (agent.delegation.max_fan_out?, call.context.fan_out);
    (fan_out > i64::from(most))
        .then(|| beyond(agent, Code::DelegationTooWide, "maxFanOut", most, ("context.fan_out", fan_out)))
}

/// The denial by a limit of the agent's own record.
fn beyond(agent: &Agent, code: Code, limit: &str, most: u32, (name, found): (&str, i64)) -> Decision {
    let facts: [Fact; 2] = [
        (name.into(), found.to_string().into()),
        (format!("principal.delegation.{limit}").into(), most.to_string().into()),
    ];
    Decision {
        outcome: Outcome::Deny,
        code: Some(code),
        policies: Arc::new([format!("{} spec.delegation.{limit}", agent.id).into()]),
        near: Arc::new([]),
        facts: facts.into(),
        reason: None,
    }
}

/// What holds of a part, given what holds of the part and of the whole.
fn narrow(part: Decision, whole: Decision) -> Decision {
    let refused = |decision: &Decision| !matches!(decision.code, None | Some(Code::NoPermit));
    if refused(&part) || (part.allowed() && !refused(&whole)) {
        return part;
    }
    // Now the part is not permitted by itself, or the whole is forbidden: the whole decides.
    if whole.code == Some(Code::NoPermit) { part } else { whole }
}

/// Collects the parts of MCP servers and agents that the statements name one by one.
pub(crate) fn named<'a>(statements: impl Iterator<Item = &'a Arc<Statement>>) -> Named {
    let mut named = Named::new();
    for literal in statements.flat_map(|statement| &statement.literals) {
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
