//! A call and the records of who calls and what is called, of which something is supposed to be otherwise.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Fact, Value};
use crate::approval::Approval;
use crate::call::{Arguments, Ask, Call, Target};
use crate::caller::{Caller, Chain, MAX_DEPTH, Proven, User};
use crate::decide::index::Side;
use crate::decide::ways::Way;
use crate::decision::Finding;
use crate::entity::EntityId;
use crate::json::{Json, array_index, segments};
use crate::resource::{
    Agent, AuthorityClass, LlmProvider, McpServer, Meta, Names, Object, Principal, RiskLevel, Service,
};
use crate::snapshot::Snapshot;

/// What stands for anything that is not what it is.
const OTHER: &str = "another-value";

/// A record that may be changed.
#[derive(Clone, Debug)]
enum Record {
    Agent(Agent),
    Service(Service),
    Server(McpServer),
    Provider(LlmProvider),
}

impl Record {
    fn of_principal(principal: &Principal) -> Self {
        match principal {
            Principal::Agent(agent) => Self::Agent((**agent).clone()),
            Principal::Service(service) => Self::Service((**service).clone()),
        }
    }

    fn of_target(target: &Target<'_>) -> Self {
        match target {
            Target::Tool { server, .. }
            | Target::Resource { server, .. }
            | Target::Prompt { server, .. }
            | Target::Server(server) => Self::Server((***server).clone()),
            Target::Agent(agent) | Target::Skill { agent, .. } => Self::Agent((***agent).clone()),
            Target::Model { provider, .. } | Target::Provider(provider) => {
                Self::Provider((***provider).clone())
            }
        }
    }

    fn object(self) -> Object {
        match self {
            Self::Agent(agent) => Object::Agent(agent.into()),
            Self::Service(service) => Object::Service(service.into()),
            Self::Server(server) => Object::McpServer(server.into()),
            Self::Provider(provider) => Object::LlmProvider(provider.into()),
        }
    }

    fn meta(&mut self) -> &mut Meta {
        match self {
            Self::Agent(agent) => &mut agent.meta,
            Self::Service(service) => &mut service.meta,
            Self::Server(server) => &mut server.meta,
            Self::Provider(provider) => &mut provider.meta,
        }
    }

    /// An attribute that is a text.
    fn text(&mut self, name: &str) -> Option<&mut Arc<str>> {
        let [owner, team, environment] = match self {
            Self::Agent(agent) => [&mut agent.owner, &mut agent.team, &mut agent.environment],
            Self::Service(service) => [&mut service.owner, &mut service.team, &mut service.environment],
            Self::Server(server) => [&mut server.owner, &mut server.team, &mut server.environment],
            Self::Provider(provider) => [&mut provider.owner, &mut provider.team, &mut provider.environment],
        };
        match name {
            "owner" => Some(owner),
            "team" => Some(team),
            "environment" => Some(environment),
            _ => None,
        }
    }

    fn risk(&mut self, tool: Option<&str>) -> Option<&mut RiskLevel> {
        match (self, tool) {
            (Self::Agent(agent), _) => Some(&mut agent.risk_level),
            (Self::Service(service), _) => Some(&mut service.risk_level),
            (Self::Server(server), Some(tool)) => {
                let known = server.tool(tool);
                Some(&mut server.tools.entry(tool.into()).or_insert(known).risk_level)
            }
            (Self::Server(server), None) => Some(&mut server.risk_level),
            (Self::Provider(_), _) => None,
        }
    }

    fn capabilities(&mut self) -> Option<&mut Names> {
        match self {
            Self::Agent(agent) => Some(&mut agent.capabilities),
            Self::Service(service) => Some(&mut service.capabilities),
            Self::Server(server) => Some(&mut server.capabilities),
            Self::Provider(_) => None,
        }
    }

    fn attribute(&mut self, name: &str, part: Option<&str>, is_tool: bool, value: &Value) -> Option<()> {
        if let Some(text) = self.text(name) {
            *text = match value {
                Value::Text(value) => value.clone(),
                Value::Other => OTHER.into(),
                _ => return None,
            };
            return Some(());
        }
        match (name, value) {
            ("risk_level" | "risk", value) => {
                let risk = self.risk(part.filter(|_| is_tool))?;
                *risk = RISKS.into_iter().find(|level| match value {
                    Value::Text(text) => level.as_str() == &**text,
                    Value::Long(rank) => level.rank() == *rank,
                    Value::Other => level != risk,
                    _ => false,
                })?;
            }
            ("quarantined", Value::Bool(value)) => match self {
                Self::Agent(agent) => agent.quarantined = *value,
                Self::Service(service) => service.quarantined = *value,
                Self::Server(_) | Self::Provider(_) => return None,
            },
            ("read_only" | "destructive", Value::Bool(value)) if is_tool => {
                let Self::Server(server) = self else { return None };
                let known = server.tool(part?);
                let tool = server.tools.entry(part?.into()).or_insert(known);
                *(if name == "read_only" { &mut tool.read_only } else { &mut tool.destructive }) = *value;
            }
            ("authority_class", value) => {
                let Self::Agent(agent) = self else { return None };
                agent.authority_class = CLASSES.into_iter().find(|class| match value {
                    Value::Text(text) => class.as_str() == &**text,
                    Value::Other => *class != agent.authority_class,
                    _ => false,
                })?;
            }
            ("version", value) => {
                let Self::Agent(agent) = self else { return None };
                agent.version = optional(value)?;
            }
            ("sandbox_class", value) => {
                let Self::Agent(agent) = self else { return None };
                agent.sandbox_class = optional(value)?;
            }
            _ => return None,
        }
        Some(())
    }

    /// Whether it is in a group that its own record can name.
    fn member(&mut self, of: &str, id: &str, part: Option<&str>, value: &Value) -> Option<()> {
        let Value::Bool(wanted) = value else { return None };
        let namespace = self.meta().namespace.clone();
        let name: &str = match id.split_once('/') {
            Some((own, name)) if *own == *namespace => name,
            Some(_) => return None,
            None => id,
        };
        match (self, of) {
            (Self::Agent(Agent { groups, .. }) | Self::Service(Service { groups, .. }), "Group") => {
                put(groups, name, *wanted);
            }
            (Self::Agent(agent), "AgentClass") => agent.sandbox_class = wanted.then(|| name.into()),
            (one, "Team") => *one.text("team")? = if *wanted { name.into() } else { OTHER.into() },
            (Self::Server(server), "ToolSet") => {
                put(server.tool_sets.entry(name.into()).or_default(), part?, *wanted);
            }
            (Self::Provider(provider), "ModelSet") => {
                let model = provider.models.iter_mut().find(|model| Some(&*model.name) == part)?;
                put(&mut model.sets, name, *wanted);
            }
            _ => return None,
        }
        Some(())
    }
}

const RISKS: [RiskLevel; 4] = [RiskLevel::Low, RiskLevel::Medium, RiskLevel::High, RiskLevel::Critical];
const CLASSES: [AuthorityClass; 4] = [
    AuthorityClass::Advise,
    AuthorityClass::ActWithApproval,
    AuthorityClass::Act,
    AuthorityClass::SelfModify,
];

fn put(names: &mut Names, name: &str, wanted: bool) {
    match wanted {
        true => drop(names.insert(name.into())),
        false => drop(names.remove(name)),
    }
}

/// The value of something that need not be there.
fn optional(value: &Value) -> Option<Option<Arc<str>>> {
    match value {
        Value::Absent => Some(None),
        Value::Text(text) => Some(Some(text.clone())),
        Value::Other => Some(Some(OTHER.into())),
        Value::Bool(_) | Value::Long(_) => None,
    }
}

/// The call and both records, with what is supposed.
pub(super) struct Supposed<'c> {
    call: Call<'c>,
    proven: Proven,
    chain: Chain,
    arguments: Option<Json<'c>>,
    push_url: Option<Arc<str>>,
    approvals: Vec<Approval>,
    /// Whether a record is another one.
    records: Option<[Record; 2]>,
}

impl<'c> Supposed<'c> {
    pub(super) fn new(call: &Call<'c>) -> Self {
        let arguments = match call.ask.arguments {
            Arguments::Known(arguments) => Some(arguments.clone()),
            Arguments::None | Arguments::Unknown | Arguments::Recorded(_) => None,
        };
        Self {
            call: *call,
            proven: (*call.caller.proven).clone(),
            chain: call.chain().clone(),
            arguments,
            push_url: call.ask.push_url.map(Arc::from),
            approvals: call.approvals.to_vec(),
            records: None,
        }
    }

    /// With these changes; `None` where one of them cannot be.
    pub(super) fn with(mut self, way: &Way) -> Option<Self> {
        for (fact, value) in way {
            match fact {
                Fact::Context(path) => self.context(path, value)?,
                Fact::Argument(pointer, _) => self.argument(pointer, value)?,
                Fact::Attribute(side, name) => {
                    let (part, is_tool) = self.part(*side);
                    let part = part.map(str::to_owned);
                    self.record(*side)?.attribute(name, part.as_deref(), is_tool, value)?;
                }
                Fact::Member(side, of, id) => {
                    let part = self.part(*side).0.map(str::to_owned);
                    self.record(*side)?.member(of, id, part.as_deref(), value)?;
                }
                Fact::Capability(side, name) => {
                    let Value::Bool(wanted) = value else { return None };
                    put(self.record(*side)?.capabilities()?, name, *wanted);
                }
                Fact::Label(side, key) => {
                    let labels = &mut self.record(*side)?.meta().labels;
                    match value {
                        Value::Absent => drop(labels.remove(&**key)),
                        Value::Text(text) => drop(labels.insert(key.to_string(), text.to_string())),
                        Value::Other => drop(labels.insert(key.to_string(), OTHER.to_owned())),
                        Value::Bool(_) | Value::Long(_) => return None,
                    }
                }
            }
        }
        Some(self)
    }

    /// The name of the part that is called, and whether it is a tool.
    fn part(&self, side: Side) -> (Option<&'c str>, bool) {
        match (side, self.call.ask.target) {
            (Side::Resource, Target::Tool { name, .. }) => (Some(name), true),
            (Side::Resource, Target::Model { name, .. }) => (Some(name), false),
            _ => (None, false),
        }
    }

    fn record(&mut self, side: Side) -> Option<&mut Record> {
        let call = &self.call;
        // Of one that calls itself, both sides would change at once.
        if call.principal().entity() == call.ask.target.destination().id() {
            return None;
        }
        let both = || [Record::of_principal(call.principal()), Record::of_target(&call.ask.target)];
        let [principal, target] = self.records.get_or_insert_with(both);
        Some(if side == Side::Principal { principal } else { target })
    }

    fn context(&mut self, path: &str, value: &Value) -> Option<()> {
        let user = || -> Option<User> {
            let acts = self.proven.principal.acts_for().first()?;
            Some(User {
                issuer: acts.issuer.clone(),
                subject: "somebody".into(),
                email: None,
                groups: Arc::default(),
            })
        };
        match (path, value) {
            ("delegation_depth" | "chain.depth", Value::Long(depth)) => {
                let before =
                    usize::try_from(depth.checked_sub(1)?).ok().filter(|before| *before < MAX_DEPTH)?;
                let kind = self.call.principal().kind();
                let hop = |number: usize| EntityId::new(kind, format!("explain/hop-{number}"));
                let more = self.chain.actors.len()..before;
                self.chain.actors.truncate(before);
                self.chain.actors.extend(more.map(hop));
            }
            ("tokens_estimated", Value::Long(tokens)) if *tokens >= 0 => {
                self.call.ask.tokens_estimated = *tokens;
            }
            ("streaming", Value::Bool(streaming)) => self.call.ask.streaming = *streaming,
            ("source_ip", Value::Absent) => self.call.source_ip = None,
            ("source_ip", Value::Text(text)) => self.call.source_ip = Some(text.parse().ok()?),
            ("instance", Value::Absent) => self.proven.instance = None,
            ("on_behalf_of", Value::Absent) => self.proven.user = None,
            ("on_behalf_of", Value::Other) => self.proven.user = Some(user()?),
            ("on_behalf_of.issuer", Value::Text(issuer)) => {
                let may = self.proven.principal.may_act_for(issuer);
                let user = self.proven.user.clone().or_else(user).filter(|_| may)?;
                self.proven.user = Some(User { issuer: issuer.clone(), ..user });
            }
            ("on_behalf_of.subject", value) => {
                let user = self.proven.user.clone().or_else(user)?;
                self.proven.user = Some(User { subject: optional(value)??, ..user });
            }
            ("on_behalf_of.email", value) => {
                let user = self.proven.user.clone().or_else(user)?;
                self.proven.user = Some(User { email: optional(value)?, ..user });
            }
            ("approval", Value::Absent) => self.approvals.clear(),
            ("approval", Value::Other) => self.approved("approver"),
            ("approval.role", Value::Text(role)) => self.approved(role),
            ("push_notification_url", value) => self.push_url = optional(value)?,
            ("chain.cycle", Value::Bool(false)) => {
                let called = self.call.ask.target.destination().id().clone();
                let caller = self.call.principal().entity();
                let kind = caller.kind;
                for (number, actor) in self.chain.actors.iter_mut().enumerate() {
                    if *actor == called || actor == caller {
                        *actor = EntityId::new(kind, format!("explain/hop-{}", number + 1));
                    }
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// Somebody approved it in a role, now.
    fn approved(&mut self, role: &str) {
        let by = User {
            issuer: "urn:vidimus:local".into(),
            subject: "somebody".into(),
            email: None,
            groups: Arc::default(),
        };
        self.approvals = vec![Approval { role: role.into(), by, at: self.call.now }];
    }

    fn argument(&mut self, pointer: &str, value: &Value) -> Option<()> {
        let value = match value {
            Value::Absent => None,
            Value::Long(number) => Some(Json::Int(*number)),
            Value::Text(text) => Some(Json::String(Cow::Owned(text.to_string()))),
            Value::Bool(value) => Some(Json::Bool(*value)),
            Value::Other => Some(Json::String(Cow::Borrowed(OTHER))),
        };
        let arguments = self.arguments.get_or_insert_with(|| Json::Object(Vec::new()));
        let steps: Vec<Cow<'_, str>> = segments(pointer)?.collect();
        set(arguments, &steps, value)
    }

    /// What is found then.
    pub(super) fn found(mut self, snapshot: &Snapshot) -> Option<Finding> {
        let Some([principal, target]) = self.records.take() else {
            let target = self.call.ask.target;
            return Some(self.found_by(snapshot, target));
        };
        let changed = [principal.object(), target.object()];
        let objects = snapshot.objects().iter().map(|object| {
            let reference = object.reference();
            let other = changed.iter().find(|other| other.reference().is_same_object(&reference));
            other.unwrap_or(object).clone()
        });
        let objects: Vec<Object> = objects.collect();
        let world = snapshot.were(objects)?;
        let key = self.call.principal().entity().id.clone();
        self.proven.principal = match self.call.principal() {
            Principal::Agent(_) => Principal::Agent(world.agent(&key)?.clone()),
            Principal::Service(_) => Principal::Service(world.service(&key)?.clone()),
        };
        let called = self.call.ask.target.destination().id().id.clone();
        let target = match self.call.ask.target {
            Target::Tool { name, .. } => Target::Tool { server: world.mcp_server(&called)?, name },
            Target::Resource { uri, .. } => Target::Resource { server: world.mcp_server(&called)?, uri },
            Target::Prompt { name, .. } => Target::Prompt { server: world.mcp_server(&called)?, name },
            Target::Server(_) => Target::Server(world.mcp_server(&called)?),
            Target::Agent(_) => Target::Agent(world.agent(&called)?),
            Target::Skill { name, .. } => Target::Skill { agent: world.agent(&called)?, name },
            Target::Model { name, .. } => Target::Model { provider: world.llm_provider(&called)?, name },
            Target::Provider(_) => Target::Provider(world.llm_provider(&called)?),
        };
        Some(self.found_by(&world, target))
    }

    fn found_by(&self, world: &Snapshot, target: Target<'_>) -> Finding {
        let caller = Caller { proven: Arc::new(self.proven.clone()), chain: Arc::new(self.chain.clone()) };
        let arguments = match (&self.arguments, self.call.ask.arguments) {
            (Some(arguments), _) => Arguments::Known(arguments),
            (None, unknown) => unknown,
        };
        let push_url = self.push_url.as_deref();
        let ask = Ask { target, arguments, push_url, ..self.call.ask };
        world.finding(&Call { caller: &caller, ask, approvals: &self.approvals, ..self.call })
    }
}

/// Sets what is at the end of `steps`; members that are missing on the way are made.
fn set<'j>(value: &mut Json<'j>, steps: &[Cow<'_, str>], to: Option<Json<'j>>) -> Option<()> {
    let Some((step, rest)) = steps.split_first() else {
        *value = to?;
        return Some(());
    };
    match value {
        Json::Array(items) => set(items.get_mut(array_index(step)?)?, rest, to),
        Json::Object(members) => {
            let place = members.iter().position(|(name, _)| name == step);
            match (place, rest.is_empty(), to) {
                (Some(place), true, None) => drop(members.remove(place)),
                (None, true, None) => {}
                (Some(place), _, to) => return set(&mut members.get_mut(place)?.1, rest, to),
                (None, _, to) => {
                    let mut made = if rest.is_empty() { Json::Null } else { Json::Object(Vec::new()) };
                    set(&mut made, rest, to)?;
                    members.push((Cow::Owned(step.to_string()), made));
                }
            }
            Some(())
        }
        _ => None,
    }
}
