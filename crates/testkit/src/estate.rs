//! A seeded estate for benchmarks: agents, servers, providers and policies as a company might have them.
//!
//! Policies are a mix, so that a figure cannot come from policies that never apply: on attributes, on groups and tool sets, some
//! that depend on depth or arguments, some forbids. An estate with more policies has more groups, teams and tool sets, not more
//! rules on each; half of the calls are to tools that a group of the caller was given.

use std::collections::BTreeMap;
use std::sync::Arc;

use vidimus_core::call::{Action, Arguments, Ask, Call, SoFar, Target};
use vidimus_core::caller::{Caller, Chain, Proven, UnixMillis};
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::json::Json;
use vidimus_core::resource::llm_provider::{CredentialSource, Model, ProviderType};
use vidimus_core::resource::policy::{Members, Mode, Scope};
use vidimus_core::resource::{
    Agent, AuthorityClass, DelegationLimits, Endpoint, Identity, Labels, LlmProvider, McpServer, Meta, Names,
    Object, Origin, Policy, Principal, RiskLevel, ServerLabels,
};
use vidimus_core::snapshot::Snapshot;

/// The namespace of everything in an estate.
pub const NAMESPACE: &str = "estate";

const CAPABILITIES: usize = 40;
const TOOLS_OF_A_SERVER: usize = 12;
const TOOLS_OF_A_SET: usize = 4;
const SETS_OF_A_SERVER: usize = 3;
const AGENTS_OF_A_TEAM: usize = 50;
const RISKS: [RiskLevel; 4] = [RiskLevel::Low, RiskLevel::Medium, RiskLevel::High, RiskLevel::Critical];

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `n` - 1; 0 where `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        let n = u64::try_from(n).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.roll() % n).unwrap_or_default()
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.roll() % 100 < percent
    }
}

/// How many of each thing.
#[derive(Clone, Copy, Debug)]
struct Size {
    agents: usize,
    teams: usize,
    groups: usize,
    servers: usize,
}

impl Size {
    fn of(policies: usize, agents: usize) -> Self {
        Self {
            agents,
            teams: (agents / AGENTS_OF_A_TEAM).clamp(2, 400),
            groups: (policies / 4).clamp(2, 2_500),
            servers: (policies / 20).clamp(2, 400),
        }
    }
}

/// An estate.
#[derive(Clone, Debug)]
pub struct Estate {
    pub objects: Vec<Object>,
    size: Size,
    seed: u64,
}

impl Estate {
    /// The objects of an estate of `policies` policies and `agents` agents, the same for the same seed.
    pub fn generate(seed: u64, policies: usize, agents: usize) -> Vec<Object> {
        Self::new(seed, policies, agents).objects
    }

    /// As [`Estate::generate`], with the calls that are made in it.
    pub fn new(seed: u64, policies: usize, agents: usize) -> Self {
        let size = Size::of(policies, agents);
        let mut dice = Dice::new(seed);
        let mut objects = Vec::with_capacity(policies + agents + size.servers);
        for number in 0..agents {
            objects.push(Object::Agent(Arc::new(agent(&mut dice, size, number))));
        }
        for number in 0..size.servers {
            objects.push(Object::McpServer(Arc::new(server(&mut dice, size, number))));
        }
        for number in 0..4 {
            objects.push(Object::LlmProvider(Arc::new(provider(number))));
        }
        for number in 0..policies {
            objects.push(Object::Policy(Arc::new(policy(&mut dice, size, number))));
        }
        Self { objects, size, seed }
    }

    /// Endless realistic calls, the same for the same estate: about half of them to what the caller's groups were given.
    pub fn calls<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = EstateCall> + 'a {
        let mut dice = Dice::new(self.seed ^ 0xca11);
        std::iter::repeat_with(move || self.call(snapshot, &mut dice)).flatten()
    }

    fn call(&self, snapshot: &Snapshot, dice: &mut Dice) -> Option<EstateCall> {
        let agent = snapshot.agent(&key(&agent_name(dice.below(self.size.agents))))?;
        let group = agent.groups.iter().nth(dice.below(agent.groups.len()));
        let group: usize =
            group.and_then(|name| name.strip_prefix("group-")?.parse().ok()).unwrap_or_default();
        // Sets are given to groups in turn, so this is a set that some policy may have given to the group.
        let set = if dice.chance(50) { group % self.sets() } else { dice.below(self.sets()) };
        let server = server_name(set / SETS_OF_A_SERVER);
        let tool = first_tool_of(set) + dice.below(TOOLS_OF_A_SET);
        let (action, owner, name) = match dice.below(10) {
            0 => (Action::CallAgent, agent_name(dice.below(self.size.agents)), String::new()),
            1 => {
                (Action::CallModel, format!("provider-{}", dice.below(4)), format!("model-{}", dice.below(3)))
            }
            2 => (Action::ConnectServer, server, String::new()),
            _ => (Action::InvokeTool, server, tool_name(tool)),
        };
        let depth = dice.below(4);
        let actors = (0..depth).map(|hop| EntityId::new(EntityKind::Agent, key(&agent_name(hop)))).collect();
        let started = UnixMillis(1_790_000_000_000);
        let arguments =
            ARGUMENTS.get(dice.below(ARGUMENTS.len())).and_then(|text| Json::parse(text.as_bytes()).ok())?;
        let chain = Chain { transaction: "0198a3c0-0000-7000-8000-000000000001".into(), started, actors };
        let proven = Proven {
            principal: Principal::Agent(agent.clone()),
            identity: "spiffe://estate.test/agent".into(),
            user: None,
            delegated: None,
            instance: None,
            expires: None,
        };
        Some(EstateCall {
            caller: Caller { proven: Arc::new(proven), chain: Arc::new(chain) },
            action,
            owner: key(&owner).into(),
            name: name.into(),
            now: UnixMillis(started.0 + 1_234),
            arguments,
        })
    }

    fn sets(&self) -> usize {
        self.size.servers * SETS_OF_A_SERVER
    }
}

const ARGUMENTS: [&str; 3] = [
    r#"{"id": "INV-2041", "amount": 250}"#,
    r#"{"id": "INV-7", "amount": 250000, "note": "urgent"}"#,
    r#"{"query": "open invoices", "limit": 20}"#,
];

/// One call of an estate, owned.
#[derive(Clone, Debug)]
pub struct EstateCall {
    caller: Caller,
    pub action: Action,
    owner: Arc<str>,
    name: Arc<str>,
    now: UnixMillis,
    arguments: Json<'static>,
}

impl EstateCall {
    /// As the gateway would put it; `None` where `snapshot` lacks what it is about.
    pub fn call<'a>(&'a self, snapshot: &'a Snapshot) -> Option<Call<'a>> {
        let target = match self.action {
            Action::InvokeTool => {
                Target::Tool { server: snapshot.mcp_server(&self.owner)?, name: &self.name }
            }
            Action::CallAgent => Target::Agent(snapshot.agent(&self.owner)?),
            Action::CallModel => {
                Target::Model { provider: snapshot.llm_provider(&self.owner)?, name: &self.name }
            }
            _ => Target::Server(snapshot.mcp_server(&self.owner)?),
        };
        let arguments = if self.action == Action::InvokeTool {
            Arguments::Known(&self.arguments)
        } else {
            Arguments::None
        };
        let ask = Ask { arguments, tokens_estimated: 900, ..Ask::about("tools/call", self.action, target) };
        Some(Call {
            caller: &self.caller,
            ask,
            now: self.now,
            source_ip: None,
            so_far: SoFar::nothing(),
            approvals: &[],
        })
    }
}

fn key(name: &str) -> String {
    format!("{NAMESPACE}/{name}")
}

fn agent_name(number: usize) -> String {
    format!("agent-{number}")
}

fn server_name(number: usize) -> String {
    format!("server-{number}")
}

fn tool_name(number: usize) -> String {
    format!("tool-{number}")
}

/// Sets overlap: each begins in the middle of the one before.
fn first_tool_of(set: usize) -> usize {
    (set % SETS_OF_A_SERVER) * TOOLS_OF_A_SET / 2
}

fn meta(name: String) -> Meta {
    let origin = Origin::file("estate", 0);
    Meta {
        namespace: NAMESPACE.into(),
        name: name.into(),
        labels: BTreeMap::new(),
        generation: None,
        created: None,
        origin,
        document: Arc::default(),
        not_borne: Default::default(),
    }
}

fn endpoint(host: &str) -> Endpoint {
    let text = format!("http://{host}.estate.test/");
    #[expect(clippy::expect_used, reason = "a constant with a name from this file")]
    let url = text.parse().expect("a URL");
    Endpoint {
        url,
        audience: text.into(),
        ca_file: None,
        timeout_ms: 30_000,
        headers: Default::default(),
        card: None,
        rest: None,
        rest_alone: false,
        grpc: None,
        a2a: None,
        tenant: None,
        stale_after: None,
        mcp: None,
        job: None,
        grpc_tools: None,
        agent: None,
        openapi: None,
        key: None,
    }
}

fn agent(dice: &mut Dice, size: Size, number: usize) -> Agent {
    let meta = meta(agent_name(number));
    let capabilities: Names = (0..=dice.below(3)).map(|_| capability(dice)).collect();
    let groups: Names =
        (0..=dice.below(3)).map(|_| Arc::from(format!("group-{}", dice.below(size.groups)))).collect();
    Agent {
        id: EntityId::new(EntityKind::Agent, meta.key()),
        owner: format!("person{}@example.com", number % 300).into(),
        team: format!("team-{}", number % size.teams).into(),
        purpose: "benchmark".into(),
        version: Some("1.0.0".into()),
        capabilities,
        risk_level: RISKS.get(dice.below(4)).copied().unwrap_or(RiskLevel::Low),
        environment: if dice.chance(70) { "production" } else { "test" }.into(),
        groups,
        authority_class: AuthorityClass::Act,
        authority_stated: true,
        sandbox_class: None,
        delegation: DelegationLimits::default(),
        identities: vec![Identity::Spiffe(format!("spiffe://estate.test/{}", meta.name).into())],
        acts_for: Vec::new(),
        endpoint: Some(Box::new(endpoint("agents"))),
        card_keys: None,
        labels: Labels::default(),
        trust_score: None,
        quarantined: number % 1_000 == 999,
        meta,
    }
}

fn capability(dice: &mut Dice) -> Arc<str> {
    format!("capability-{}", dice.below(CAPABILITIES)).into()
}

fn server(dice: &mut Dice, size: Size, number: usize) -> McpServer {
    let meta = meta(server_name(number));
    let set = |set: usize| {
        let first = first_tool_of(set);
        let tools: Names = (first..first + TOOLS_OF_A_SET).map(|tool| Arc::from(tool_name(tool))).collect();
        (Arc::from(format!("set-{set}")), tools)
    };
    let first = number * SETS_OF_A_SERVER;
    McpServer {
        id: EntityId::new(EntityKind::McpServer, meta.key()),
        meta,
        owner: "person0@example.com".into(),
        team: format!("team-{}", dice.below(size.teams)).into(),
        capabilities: (0..2).map(|_| capability(dice)).collect(),
        risk_level: RISKS.get(number % RISKS.len()).copied().unwrap_or(RiskLevel::Low),
        environment: "production".into(),
        endpoint: endpoint("servers"),
        members: None,
        tool_sets: (first..first + SETS_OF_A_SERVER).map(set).collect(),
        tools: (0..TOOLS_OF_A_SERVER)
            .map(|tool| {
                let risk_level = RISKS.get(tool % 3).copied().unwrap_or(RiskLevel::Low);
                let known = vidimus_core::resource::mcp_server::Tool {
                    risk_level,
                    read_only: tool % 2 == 0,
                    destructive: tool % 5 == 0,
                    unseen_arguments: false,
                };
                (Arc::from(tool_name(tool)), known)
            })
            .collect(),
        labels: ServerLabels::default(),
        integrity: None,
    }
}

fn provider(number: usize) -> LlmProvider {
    let meta = meta(format!("provider-{number}"));
    let model = |model: usize| Model {
        name: format!("model-{model}").into(),
        sets: [Arc::from(if model == 0 { "small" } else { "large" })].into(),
        price: None,
    };
    LlmProvider {
        id: EntityId::new(EntityKind::LlmProvider, meta.key()),
        meta,
        owner: "person0@example.com".into(),
        team: "team-0".into(),
        environment: "production".into(),
        provider: ProviderType::OpenAiCompatible,
        endpoint: endpoint("providers"),
        credential: CredentialSource::None,
        region: None,
        models: (0..3).map(model).collect(),
        stream_usage: false,
        api_path: None,
        stream_timeout_ms: 1_800_000,
        aliases: BTreeMap::new(),
        labels: Labels::default(),
        failover: None,
    }
}

fn policy(dice: &mut Dice, size: Size, number: usize) -> Policy {
    Policy {
        meta: meta(format!("policy-{number}")),
        description: "benchmark".into(),
        scope: if number.is_multiple_of(3) { Scope::Namespace } else { Scope::Cluster },
        mode: Mode::Enforce,
        replaces: Default::default(),
        members: Members::default(),
        window: None,
        plan: None,
        limits: Default::default(),
        guards: Default::default(),
        cedar: cedar(dice, size, number).into(),
    }
}

/// The text of policy `number`. The first ten kinds come once in every ten policies, so small estates have all of them.
fn cedar(dice: &mut Dice, size: Size, number: usize) -> String {
    let group = dice.below(size.groups);
    let team = dice.below(size.teams);
    // As the calls expect it: sets are given to groups in turn.
    let set = group % (size.servers * SETS_OF_A_SERVER);
    let any_set = dice.below(size.servers * SETS_OF_A_SERVER);
    // General rules are few however large the estate; beyond the first of each, its place is a rule of a team or group.
    let first = number < 10;
    match number % 10 {
        0 => format!(
            "permit (principal in Group::\"group-{group}\", action == Action::\"invokeTool\", resource in ToolSet::\"set-{set}\") \
             when {{ principal.risk_level == \"low\" && context.delegation_depth <= 3 }};"
        ),
        1 | 2 => format!(
            "permit (principal in Group::\"group-{group}\", action == Action::\"invokeTool\", resource in ToolSet::\"set-{set}\");"
        ),
        3 => format!(
            "permit (principal is Agent, action in Action::\"mcp\", resource) \
             when {{ principal.team == \"team-{team}\" && resource.team == \"team-{team}\" }};"
        ),
        4 if first => "permit (principal is Agent, action == Action::\"callAgent\", resource) \
                       when { principal.capabilities.containsAny(resource.capabilities) && principal.risk >= resource.risk };"
            .to_owned(),
        4 => format!(
            "permit (principal is Agent, action == Action::\"callAgent\", resource is Agent) \
             when {{ principal.team == \"team-{team}\" && resource.risk <= 2 }};"
        ),
        5 if first => "permit (principal is Agent, action == Action::\"callModel\", resource in ModelSet::\"small\") \
                       when { context.tokens_estimated <= 8000 };"
            .to_owned(),
        5 => format!(
            "permit (principal in Team::\"team-{team}\", action == Action::\"callModel\", resource in ModelSet::\"large\") \
             when {{ principal.environment == \"production\" && context.tokens_estimated <= 32000 }};"
        ),
        6 => format!(
            "permit (principal is Agent, action == Action::\"invokeTool\", resource in ToolSet::\"set-{any_set}\") \
             when {{ principal.team == \"team-{team}\" && resource.read_only }};"
        ),
        7 => format!(
            "permit (principal in Group::\"group-{group}\", action == Action::\"invokeTool\", resource in ToolSet::\"set-{set}\") \
             when {{ context.numbers.hasTag(\"/amount\") && context.numbers.getTag(\"/amount\") <= 10000 }};"
        ),
        8 if first => "forbid (principal, action in [Action::\"mcp\", Action::\"a2a\", Action::\"llm\"], resource) \
                       when { context.chain.cycle || context.chain.depth > 5 };"
            .to_owned(),
        8 => format!(
            "forbid (principal is Agent, action == Action::\"invokeTool\", resource in ToolSet::\"set-{any_set}\") \
             when {{ principal.risk_level == \"critical\" && resource.destructive }};"
        ),
        _ => format!(
            "permit (principal is Agent, action == Action::\"connectServer\", resource) \
             when {{ principal.team == \"team-{team}\" && principal.capabilities.contains(\"capability-{}\") }};",
            number % CAPABILITIES
        ),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_object_is_accepted_and_calls_are_mixed() {
        let estate = super::Estate::new(1, 200, 300);
        let (snapshot, rejected) = super::Snapshot::build(estate.objects.clone());
        assert!(rejected.is_empty(), "{rejected:#?}");
        assert_eq!(
            snapshot.digest(),
            super::Snapshot::build(super::Estate::generate(1, 200, 300)).0.digest()
        );
        let calls: Vec<super::EstateCall> = estate.calls(&snapshot).take(500).collect();
        let allows = |one: &&super::EstateCall| {
            let call = one.call(&snapshot).unwrap();
            snapshot.authorize(&call).outcome() == vidimus_core::decision::Outcome::Allow
        };
        let allowed = calls.iter().filter(allows).count();
        assert!((50..450).contains(&allowed), "{allowed} of 500");
    }
}
