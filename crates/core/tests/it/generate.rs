//! Random configurations and calls from small vocabularies, so that policies and calls often meet.

use std::net::IpAddr;
use std::sync::Arc;

use vidimus_core::approval::Approval;
use vidimus_core::call::{Action, Arguments, Ask, Call, Collected, SoFar, Target};
use vidimus_core::caller::{Chain, Instance, InstanceKind, UnixMillis, User};
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::guard::{Came, Guard, Guarded, Kinds, Looked};
use vidimus_core::json::Json;
use vidimus_core::resource::llm_provider::Price;
use vidimus_core::resource::mcp_server::Tool;
use vidimus_core::resource::policy::Scope;
use vidimus_core::resource::{
    Agent, AuthorityClass, Labels, LlmProvider, McpServer, Meta, Object, Origin, Principal, Rejection,
    RiskLevel, Service, Subject,
};
use vidimus_core::snapshot::Snapshot;

use crate::world::{agent, caller, copy, policy, provider, server, service};

/// SplitMix64 (Steele et al., 2014).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub(crate) fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn some(&mut self, of: &[&str], percent: u64) -> std::collections::BTreeSet<Arc<str>> {
        of.iter().filter(|_| self.chance(percent)).map(|name| Arc::from(*name)).collect()
    }
}

const ROLES: &[&str] = &["boss", "owner"];
const TEAMS: &[&str] = &["red", "blue"];
const NAMESPACES: &[&str] = &["n0", "n1"];
const GROUPS: &[&str] = &["g0", "g1", "g2"];
const CLASSES: &[&str] = &["c0", "c1"];
const SKILLS: &[&str] = &["s0", "s1", "s2"];
const ENVIRONMENTS: &[&str] = &["production", "test"];
const TOOLS: &[&str] = &["read", "write", "drop/all"];
const SETS: &[&str] = &["set0", "set1"];
pub(crate) const POINTERS: &[&str] =
    &["/n", "/text", "/items/0", "/deep/a~1b", "/m~0n", "/odd~2", "/none", ""];
const METHODS: &[&str] = &["tools/call", "SendMessage", "chat.completions", "GetTask", "ListTasks"];
const CLASSES_OF_AUTHORITY: &[AuthorityClass] = &[
    AuthorityClass::Advise,
    AuthorityClass::ActWithApproval,
    AuthorityClass::Act,
    AuthorityClass::SelfModify,
];
const RISKS: &[RiskLevel] = &[RiskLevel::Low, RiskLevel::Medium, RiskLevel::High, RiskLevel::Critical];
const NOW: i64 = 1_790_000_000_123;

/// A configuration and `calls` calls on it.
pub(crate) fn world(seed: u64, calls: u64) -> (Vec<Object>, Vec<Sample>) {
    let mut dice = Dice(seed.wrapping_mul(0x5851_f42d_4c95_7f2d));
    let mut objects = Vec::new();
    for number in 0..3 {
        objects.push(Object::Agent(Arc::new(some_agent(&mut dice, number))));
    }
    objects.push(Object::Service(Arc::new(some_service(&mut dice))));
    for number in 0..2 {
        objects.push(Object::McpServer(Arc::new(some_server(&mut dice, number))));
    }
    objects.push(Object::LlmProvider(Arc::new(some_provider(&mut dice))));
    for number in 0..6 + dice.below(8) {
        let scope = if dice.chance(30) { Scope::Namespace } else { Scope::Cluster };
        let namespace = dice.one(NAMESPACES);
        let text = Writer::new(&mut dice).policy();
        objects.push(policy(namespace, &format!("p{number}"), scope, &text));
    }
    let samples = (0..calls).map(|_| Sample::new(&mut dice, &objects)).collect();
    (objects, samples)
}

fn some_agent(dice: &mut Dice, number: usize) -> Agent {
    let mut agent = agent(dice.one(NAMESPACES), &format!("a{number}"));
    agent.team = dice.one(TEAMS).into();
    agent.version = dice.chance(50).then(|| dice.one(&["1.0", "2.0"]).into());
    agent.capabilities = dice.some(SKILLS, 50);
    agent.risk_level = RISKS[dice.below(4)];
    agent.environment = dice.one(ENVIRONMENTS).into();
    agent.groups = dice.some(GROUPS, 50);
    agent.authority_class = dice.one_of(CLASSES_OF_AUTHORITY);
    agent.authority_stated = dice.chance(30);
    agent.sandbox_class = dice.chance(50).then(|| dice.one(CLASSES).into());
    agent.quarantined = dice.chance(10);
    agent.delegation.max_depth = dice.chance(15).then(|| 1 + dice.below(4) as u32);
    agent.delegation.max_fan_out = dice.chance(15).then(|| 1 + dice.below(3) as u32);
    agent.delegation.max_calls = dice.chance(8).then(|| 1 + dice.below(3) as u32);
    agent.delegation.max_tokens = dice.chance(5).then(|| 1 + dice.below(200) as u64);
    agent.delegation.max_spend = dice.chance(5).then(|| 1 + dice.below(3) as u64);
    agent.delegation.max_age = dice.chance(5).then_some(1_000);
    agent.delegation.no_cycles = dice.chance(5);
    agent.trust_score = dice.chance(50).then(|| [10, 50, 90][dice.below(3)]);
    agent.labels = some_labels(dice);
    if dice.chance(50) {
        agent.meta.labels.insert("tier".to_owned(), dice.one(&["gold", "iron"]).to_owned());
    }
    agent
}

fn some_service(dice: &mut Dice) -> Service {
    let mut service = service(dice.one(NAMESPACES), "svc");
    service.team = dice.one(TEAMS).into();
    service.capabilities = dice.some(SKILLS, 50);
    service.risk_level = RISKS[dice.below(4)];
    service.environment = dice.one(ENVIRONMENTS).into();
    service.groups = dice.some(GROUPS, 50);
    service
}

fn some_server(dice: &mut Dice, number: usize) -> McpServer {
    let mut server = server(dice.one(NAMESPACES), &format!("m{number}"));
    server.team = dice.one(TEAMS).into();
    server.capabilities = dice.some(SKILLS, 50);
    server.risk_level = RISKS[dice.below(4)];
    server.environment = dice.one(ENVIRONMENTS).into();
    server.labels.server = some_labels(dice);
    server.labels.sets.insert("set0".into(), some_labels(dice));
    server.labels.tools.insert("read".into(), some_labels(dice));
    for set in SETS {
        server.tool_sets.insert((*set).into(), dice.some(TOOLS, 40));
    }
    for tool in TOOLS {
        if dice.chance(50) {
            let known = Tool {
                risk_level: RISKS[dice.below(4)],
                read_only: dice.chance(50),
                destructive: dice.chance(50),
                unseen_arguments: dice.chance(50),
            };
            server.tools.insert((*tool).into(), known);
        }
    }
    server
}

fn some_provider(dice: &mut Dice) -> LlmProvider {
    let mut provider =
        provider(dice.one(NAMESPACES), "llm", &[("big", &["set0"]), ("small", &["set0", "set1"])]);
    provider.team = dice.one(TEAMS).into();
    provider.environment = dice.one(ENVIRONMENTS).into();
    provider.labels = some_labels(dice);
    provider.models[0].price = dice.chance(50).then_some(Price::plain(40_000, 1));
    provider
}

/// What a call is made of, owned.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) principal: Principal,
    pub(crate) action: Action,
    /// Key of the server, agent or provider.
    pub(crate) owner: String,
    /// Of the tool, resource, prompt, skill or model; `None` for the owner itself.
    pub(crate) name: Option<&'static str>,
    pub(crate) method: &'static str,
    pub(crate) chain: Chain,
    pub(crate) user: Option<User>,
    pub(crate) now: UnixMillis,
    pub(crate) source_ip: Option<IpAddr>,
    /// JSON text; only tool calls have arguments.
    pub(crate) arguments: Option<String>,
    pub(crate) tokens: i64,
    pub(crate) streaming: bool,
    pub(crate) push_url: Option<&'static str>,
    pub(crate) so_far: SoFar,
    pub(crate) approvals: Vec<Approval>,
    pub(crate) instance: Option<Instance>,
    pub(crate) guarded: Guarded,
}

impl Sample {
    fn new(dice: &mut Dice, objects: &[Object]) -> Self {
        let key =
            |wanted: fn(&Object) -> Option<String>| objects.iter().filter_map(wanted).collect::<Vec<_>>();
        let agents = key(|o| if let Object::Agent(agent) = o { Some(agent.meta.key()) } else { None });
        let servers = key(|o| if let Object::McpServer(server) = o { Some(server.meta.key()) } else { None });
        let providers = key(|o| if let Object::LlmProvider(one) = o { Some(one.meta.key()) } else { None });
        let principals: Vec<Principal> = objects
            .iter()
            .filter_map(|object| match object {
                Object::Agent(agent) => Some(Principal::Agent(agent.clone())),
                Object::Service(service) => Some(Principal::Service(service.clone())),
                _ => None,
            })
            .collect();
        let mut pick = |of: &[String]| of[dice.below(of.len())].clone();
        let (agent, server, provider) = (pick(&agents), pick(&servers), pick(&providers));
        // Tools are what most policies are about, and what arguments are for.
        let action =
            if dice.chance(50) { Action::InvokeTool } else { Action::ALL[dice.below(Action::ALL.len())] };
        let (owner, name) = match action {
            Action::InvokeTool => (server, Some(dice.one(&["read", "write", "drop/all", "unlisted"]))),
            Action::ReadResource => (server, Some(dice.one(&["file:///a", "db://x/y"]))),
            Action::GetPrompt => (server, Some("greet")),
            Action::ConnectServer => (server, None),
            Action::CallAgent => (agent, dice.chance(40).then(|| dice.one(SKILLS))),
            Action::CallModel => (provider, Some(dice.one(&["big", "small", "unlisted"]))),
            Action::ListModels => (provider, None),
        };
        let actors = (0..dice.below(5)).map(|_| principals[dice.below(principals.len())].id()).collect();
        Self {
            principal: principals[dice.below(principals.len())].clone(),
            action,
            owner,
            name,
            method: dice.one(METHODS),
            chain: Chain {
                transaction: dice.one(&["t1", "t2"]).into(),
                started: UnixMillis(NOW - [0, 5, 3_600_001][dice.below(3)]),
                actors,
            },
            user: some_user(dice),
            source_ip: some_address(dice),
            arguments: (action == Action::InvokeTool && dice.chance(90)).then(|| some_arguments(dice)),
            now: UnixMillis(NOW),
            tokens: [0, 100, i64::MAX][dice.below(3)],
            streaming: dice.chance(50),
            push_url: dice.chance(50).then(|| dice.one(&["https://hooks.example/a", "http://10.0.0.1/"])),
            so_far: some_state(dice),
            approvals: some_approvals(dice),
            instance: some_instance(dice),
            guarded: some_guarded(dice),
        }
    }

    /// Whether what it is about is registered.
    pub(crate) fn is_about(&self, snapshot: &Snapshot) -> bool {
        let key = &*self.owner;
        // Each kind has names of its own here.
        snapshot.mcp_server(key).is_some()
            || snapshot.agent(key).is_some()
            || snapshot.llm_provider(key).is_some()
    }

    pub(crate) fn ask<T>(&self, snapshot: &Snapshot, ask: impl FnOnce(&Call<'_>) -> T) -> T {
        let parsed = self.arguments.as_ref().map(|text| Json::parse(text.as_bytes()).unwrap());
        let server = snapshot.mcp_server(&self.owner);
        let name = self.name.unwrap_or_default();
        let target = match self.action {
            Action::InvokeTool => Target::Tool { server: server.unwrap(), name },
            Action::ReadResource => Target::Resource { server: server.unwrap(), uri: name },
            Action::GetPrompt => Target::Prompt { server: server.unwrap(), name },
            Action::ConnectServer => Target::Server(server.unwrap()),
            Action::CallAgent => match self.name {
                Some(name) => Target::Skill { agent: snapshot.agent(&self.owner).unwrap(), name },
                None => Target::Agent(snapshot.agent(&self.owner).unwrap()),
            },
            Action::CallModel => {
                Target::Model { provider: snapshot.llm_provider(&self.owner).unwrap(), name }
            }
            Action::ListModels => Target::Provider(snapshot.llm_provider(&self.owner).unwrap()),
        };
        let asked = Ask {
            arguments: parsed.as_ref().map_or(Arguments::None, Arguments::Known),
            tokens_estimated: self.tokens,
            streaming: self.streaming,
            push_url: self.push_url,
            guarded: &self.guarded,
            ..Ask::about(self.method, self.action, target)
        };
        let caller = caller(&self.principal, &self.chain, self.user.as_ref());
        let caller = copy(caller, self.instance.as_ref());
        let Self { now, source_ip, so_far, approvals, .. } = self;
        ask(&Call { caller: &caller, ask: asked, now: *now, source_ip: *source_ip, so_far, approvals })
    }
}

/// A copy, with and without what tokens may leave out.
fn some_instance(dice: &mut Dice) -> Option<Instance> {
    let kind = [InstanceKind::Pod, InstanceKind::Certificate][dice.below(2)];
    let mut text = |texts: &[&'static str]| Arc::<str>::from(dice.one(texts));
    let (id, name, node) = (text(&["p0", "p1"]), text(&["n0/x-0", "n0/x-1"]), text(&["node-a", "node-b"]));
    let (name, node) = (dice.chance(60).then_some(name), dice.chance(60).then_some(node));
    dice.chance(60).then_some(Instance { id, kind, name, node })
}

/// What guards may have come to.
fn some_guarded(dice: &mut Dice) -> Guarded {
    let mut guarded = Guarded::default();
    for guard in Guard::ALL {
        if dice.chance(50) {
            let came = [Came::Passed, Came::Recorded, Came::Found, Came::Failed][dice.below(4)];
            guarded.add(Looked { guard, came, kinds: Kinds::new() }, []);
        }
    }
    guarded
}

/// What a chain may have come to, and what is read of it.
const LABELS: &[&str] = &["confidential", "personal", "untrusted"];

fn some_state(dice: &mut Dice) -> SoFar {
    let labels = dice.some(LABELS, 40).into_iter();
    let from = |label| Collected { label, from: "Tool/n0/m0/read".into(), call: "c".into() };
    SoFar {
        fan_out: 1 + dice.below(4) as i64,
        calls: 1 + dice.below(4) as i64,
        tokens: [0, 2, i64::MAX][dice.below(3)],
        spend: [0, 3][dice.below(2)],
        labels: labels.map(from).collect(),
        ended: dice.chance(3).then(|| "n0/p0".into()),
        limits: Vec::new(),
    }
}

fn some_labels(dice: &mut Dice) -> Labels {
    Labels {
        reads: dice.some(LABELS, 20),
        returns: dice.some(&["untrusted"], 20),
        sends: dice.some(&["external"], 20),
    }
}

fn some_user(dice: &mut Dice) -> Option<User> {
    dice.chance(60).then(|| User {
        issuer: "https://i".into(),
        subject: dice.one(&["u0", "u1"]).into(),
        email: dice.chance(50).then(|| "u@example.com".into()),
        groups: dice.some(&["admins", "staff"], 50).into_iter().collect(),
    })
}

/// Of none, one or both of the roles.
fn some_approvals(dice: &mut Dice) -> Vec<Approval> {
    let roles = match dice.below(6) {
        0 => &["boss"][..],
        1 => &["owner"],
        2 => &["boss", "owner"],
        3 => &["owner", "boss"],
        _ => &[],
    };
    let approval = |role: &&str| Approval {
        role: (*role).into(),
        by: User {
            issuer: "https://i".into(),
            subject: dice.one(&["b0", "b1"]).into(),
            email: dice.chance(50).then(|| "b@example.com".into()),
            groups: dice.some(&["admins"], 50).into_iter().collect(),
        },
        at: UnixMillis(NOW - [5, 3_600_001][dice.below(2)]),
    };
    roles.iter().map(approval).collect()
}

fn some_address(dice: &mut Dice) -> Option<IpAddr> {
    let text =
        dice.one(&["10.1.2.3", "192.168.0.1", "127.0.0.1", "::1", "fd00::7", "::ffff:10.1.2.3", "224.0.0.1"]);
    dice.chance(70).then(|| text.parse().unwrap())
}

fn some_arguments(dice: &mut Dice) -> String {
    let number = dice.one(&[
        "0",
        "5",
        "10",
        "-3",
        "10.0",
        "1e1",
        "2.5",
        "9223372036854775807",
        "18446744073709551615",
        "\"5\"",
        "null",
        "true",
        "1e300",
        "-9223372036854775808",
        "7",
        "70e-1",
    ]);
    let text = dice.one(&["\"a\"", "\"abc\"", "\"\"", "\"5\"", "false", "{\"x\": 1}", "5", "5.0", "{}"]);
    let items = dice.one(&["[]", "[5]", "[\"a\", 2]", "[[1]]", "\"a\"", "null"]);
    let odd = if dice.chance(30) { ", \"odd~2\": 5" } else { "" };
    let (n, deep) = (dice.one(&["n", "n", "n", "n", "N"]), dice.one(&["{\"a/b\": 7}", "7"]));
    match dice.below(24) {
        0 => "5".to_owned(),
        1 => "\"a\"".to_owned(),
        2 => "[]".to_owned(),
        _ => format!(
            r#"{{"{n}": {number}, "text": {text}, "items": {items}, "deep": {deep}, "m~n": "tilde"{odd}}}"#
        ),
    }
}

/// Which conditions a policy may use: they must fit every type that its scope lets in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    Tool,
    Mcp,
    Agents,
    Models,
    /// Models and their providers.
    Llm,
    Anything,
}

struct Writer<'a> {
    dice: &'a mut Dice,
    about: About,
    agents_only: bool,
}

impl<'a> Writer<'a> {
    fn new(dice: &'a mut Dice) -> Self {
        let about = match dice.below(10) {
            0..5 => About::Tool,
            5 => About::Mcp,
            6..8 => About::Agents,
            8 if dice.chance(60) => About::Models,
            8 => About::Llm,
            _ => About::Anything,
        };
        let agents_only = dice.chance(40);
        Self { dice, about, agents_only }
    }

    fn policy(&mut self) -> String {
        let effect = match self.dice.below(100) {
            0..70 => "permit".to_owned(),
            70..84 if self.dice.chance(60) && self.changes().is_some() => {
                format!("{} forbid", self.changes().unwrap_or_default())
            }
            70..84 => "forbid".to_owned(),
            _ => format!("@approval({:?}) forbid", self.dice.one(ROLES)),
        };
        let (principal, action, resource) = (self.principal(), self.action(), self.resource());
        let mut text = format!("{effect} ({principal}, {action}, {resource})");
        if effect.starts_with("@approval") && self.about != About::Anything && self.dice.chance(70) {
            let role = self.dice.one(ROLES);
            text.push_str(&format!(
                " unless {{ context has approval && context.approval.role == {role:?} }}"
            ));
        }
        for _ in 0..self.dice.below(4) {
            let keyword = if self.dice.chance(80) { "when" } else { "unless" };
            let condition = self.condition(3);
            text.push_str(&format!(" {keyword} {{ {condition} }}"));
        }
        text.push(';');
        text
    }

    /// What a forbid of this kind may change instead of refusing it.
    fn changes(&self) -> Option<&'static str> {
        match self.about {
            About::Tool => Some("@redact(\"/n /deep/*\") @redact_answer(\"/text\")"),
            About::Models | About::Llm => Some("@cap_tokens(\"100\")"),
            About::Mcp | About::Agents | About::Anything => None,
        }
    }

    fn principal(&mut self) -> String {
        let group = self.container();
        if self.agents_only {
            return if self.dice.chance(50) {
                format!("principal is Agent in {group}")
            } else {
                "principal is Agent".to_owned()
            };
        }
        match self.dice.below(8) {
            0..4 => "principal".to_owned(),
            4 => format!("principal == {}", self.agent()),
            5 => "principal is Service".to_owned(),
            _ => format!("principal in {group}"),
        }
    }

    fn container(&mut self) -> String {
        match self.dice.below(4) {
            0 => format!("Team::{:?}", self.dice.one(TEAMS)),
            1 => format!("Namespace::{:?}", self.dice.one(NAMESPACES)),
            2 => "Group::\"nobody\"".to_owned(),
            _ => format!("Group::{:?}", self.dice.one(GROUPS)),
        }
    }

    /// An agent by name, known or not.
    fn agent(&mut self) -> String {
        let (namespace, name) = (self.dice.one(NAMESPACES), self.dice.one(&["a0", "a1", "a2"]));
        format!("Agent::\"{namespace}/{name}\"")
    }

    fn action(&mut self) -> String {
        match self.about {
            About::Tool if self.dice.chance(20) => "action in [Action::\"invokeTool\"]".to_owned(),
            About::Tool => "action == Action::\"invokeTool\"".to_owned(),
            About::Mcp => "action in Action::\"mcp\"".to_owned(),
            About::Agents => "action in [Action::\"callAgent\"]".to_owned(),
            About::Models => "action == Action::\"callModel\"".to_owned(),
            About::Llm => "action in Action::\"llm\"".to_owned(),
            About::Anything if self.dice.chance(50) => "action".to_owned(),
            About::Anything => "action in [Action::\"mcp\", Action::\"a2a\", Action::\"llm\"]".to_owned(),
        }
    }

    fn resource(&mut self) -> String {
        let namespace = self.dice.one(NAMESPACES);
        if self.dice.chance(60) {
            return "resource".to_owned();
        }
        let server = self.dice.one(&["m0", "m1"]);
        match self.about {
            About::Tool => match self.dice.below(3) {
                0 => format!("resource in ToolSet::{:?}", self.dice.one(SETS)),
                1 => format!("resource in MCPServer::\"{namespace}/{server}\""),
                _ => format!("resource == Tool::\"{namespace}/{server}/{}\"", self.dice.one(TOOLS)),
            },
            About::Mcp => format!("resource in MCPServer::\"{namespace}/{server}\""),
            About::Agents if self.dice.chance(50) => "resource is Skill".to_owned(),
            About::Agents => format!("resource in {}", self.agent()),
            About::Models => format!("resource in ModelSet::{:?}", self.dice.one(SETS)),
            About::Llm => format!("resource in LLMProvider::\"{namespace}/llm\""),
            About::Anything => format!("resource in Namespace::{namespace:?}"),
        }
    }

    fn condition(&mut self, depth: usize) -> String {
        if depth == 0 || self.dice.chance(40) {
            return self.atom();
        }
        let (a, b) = (self.condition(depth - 1), self.condition(depth - 1));
        match self.dice.below(6) {
            0 | 1 => format!("({a} && {b})"),
            2 => format!("({a} || {b})"),
            3 => format!("!({a})"),
            4 => format!("(if {a} then {b} else {})", self.condition(depth - 1)),
            _ => format!("(({a}) == ({b}))"),
        }
    }

    fn atom(&mut self) -> String {
        match self.dice.below(10) {
            0..3 => self.about_principal(),
            3 | 4 => self.about_resource(),
            5 => self.that_may_fail(),
            // The kernel's contexts are empty, so a policy on any action has no context.
            _ if self.about == About::Anything => self.about_principal(),
            6 if self.about == About::Tool => self.about_tool(),
            7 | 8 if self.about == About::Tool => self.about_arguments(),
            6 if matches!(self.about, About::Models | About::Llm) => self
                .dice
                .one(&[
                    "context.streaming",
                    "context.tokens_estimated < 1000",
                    "context.tokens_estimated + 1 > 5",
                ])
                .to_owned(),
            _ => self.about_context(),
        }
    }

    fn level(&mut self) -> (&'static str, usize) {
        (self.dice.one(&["==", "!=", "<", "<=", ">", ">="]), 1 + self.dice.below(4))
    }

    fn about_principal(&mut self) -> String {
        let (op, level) = self.level();
        match self.dice.below(if self.agents_only { 15 } else { 11 }) {
            0 => format!("principal.team == {:?}", self.dice.one(TEAMS)),
            1 => format!("{:?} == principal.risk_level", self.dice.one(&["low", "medium", "high"])),
            2 => format!("principal.risk {op} {level}"),
            3 => format!("principal.capabilities.contains({:?})", self.dice.one(SKILLS)),
            4 => format!("principal.capabilities.containsAny([{:?}, \"s9\"])", self.dice.one(SKILLS)),
            5 => format!("principal in {}", self.container()),
            6 => {
                let (one, two) = (self.dice.one(GROUPS), self.dice.one(&["g0", "nobody"]));
                format!("principal in [Group::{one:?}, Group::{two:?}]")
            }
            7 => "principal.environment like \"prod*\"".to_owned(),
            8 => "principal.capabilities.isEmpty()".to_owned(),
            9 => "(principal.hasTag(\"tier\") && principal.getTag(\"tier\") == \"gold\")".to_owned(),
            10 => format!("[\"x\", principal.team].contains({:?})", self.dice.one(TEAMS)),
            11 => "(principal has version && principal.version == \"1.0\")".to_owned(),
            12 => "principal.authority_class == \"act\"".to_owned(),
            13 => "(principal has trust_score && principal.trust_score >= 50)".to_owned(),
            _ => format!("principal in AgentClass::{:?}", self.dice.one(CLASSES)),
        }
    }

    fn about_resource(&mut self) -> String {
        let (op, level) = self.level();
        match (self.about, self.dice.below(5)) {
            (About::Anything, _) => format!("resource in Namespace::{:?}", self.dice.one(NAMESPACES)),
            (_, 0) => format!("resource.team == {:?}", self.dice.one(TEAMS)),
            (_, 1) => "principal.team == resource.team".to_owned(),
            (_, 4) => self
                .dice
                .one(&[
                    "resource.sends.contains(\"external\")",
                    "context.labels.containsAny(resource.reads)",
                    "resource.returns.isEmpty()",
                ])
                .to_owned(),
            (About::Models, _) => format!("resource.name == {:?}", self.dice.one(&["big", "small"])),
            (About::Llm, _) => format!("resource in LLMProvider::\"{}/llm\"", self.dice.one(NAMESPACES)),
            (_, 2) => format!("resource.risk {op} {level}"),
            (About::Agents, _) => "principal.capabilities.containsAny(resource.capabilities)".to_owned(),
            (About::Tool, _) => self
                .dice
                .one(&[
                    "resource.read_only",
                    "resource.destructive",
                    "resource.server.team == \"red\"",
                    "resource.name like \"*r*\"",
                ])
                .to_owned(),
            (About::Mcp, _) => format!("resource.environment == {:?}", self.dice.one(ENVIRONMENTS)),
        }
    }

    fn about_tool(&mut self) -> String {
        match self.dice.below(3) {
            0 => "resource.server.capabilities.containsAll(principal.capabilities)".to_owned(),
            1 => format!("resource in [ToolSet::{:?}, ToolSet::\"none\"]", self.dice.one(SETS)),
            _ => "resource == Tool::\"n0/m0/read\"".to_owned(),
        }
    }

    fn about_arguments(&mut self) -> String {
        let (pointer, (op, level)) = (self.dice.one(POINTERS), self.level());
        let limit = level * 3;
        match self.dice.below(9) {
            // Follows from all of them.
            8 => "context.guarded.contains(\"secrets\")".to_owned(),
            // Of some calls.
            7 => "context.call_digest like \"*00*\"".to_owned(),
            0 => format!("context.args.hasTag({pointer:?})"),
            1 => format!("context.numbers.hasTag({pointer:?})"),
            2 | 3 => format!(
                "(context.numbers.hasTag({pointer:?}) && context.numbers.getTag({pointer:?}) {op} {limit})"
            ),
            4 => format!(
                "(context.args.hasTag({pointer:?}) && context.args.getTag({pointer:?}) like \"*{}*\")",
                self.dice.one(&["a", "5", ""])
            ),
            5 => format!(
                "(context.args.hasTag({pointer:?}) && [\"a\", \"5\", \"true\"].contains(context.args.getTag({pointer:?})))"
            ),
            // Overflows when the number is large.
            _ => format!(
                "(context.numbers.hasTag({pointer:?}) && context.numbers.getTag({pointer:?}) * 3 {op} {limit})"
            ),
        }
    }

    fn about_context(&mut self) -> String {
        let (op, level) = self.level();
        match self.dice.below(50) {
            0 => format!("context.delegation_depth {op} {level}"),
            1 => format!("context.chain.depth {op} {level}"),
            2 => "context.chain.cycle".to_owned(),
            3 => format!("context.chain.agents.contains({})", self.agent()),
            4 => format!("context.chain.agents.containsAny([{}, {}])", self.agent(), self.agent()),
            5 => "context.chain.agents.isEmpty()".to_owned(),
            6 => "context.chain.age < duration(\"1h\")".to_owned(),
            7 => "context.chain.age.toMinutes() >= 60".to_owned(),
            8 => "context.on_behalf_of == User::\"https://i#u0\"".to_owned().guarded("on_behalf_of"),
            9 => "context has on_behalf_of".to_owned(),
            10 => "(context has on_behalf_of.email && context.on_behalf_of.email like \"*@example.com\")"
                .to_owned(),
            11 => "(context.on_behalf_of has email)".to_owned().guarded("on_behalf_of"),
            12 => {
                "context.on_behalf_of in UserGroup::\"https://i#admins\"".to_owned().guarded("on_behalf_of")
            }
            28 => "context.on_behalf_of in [UserGroup::\"admins\", UserGroup::\"https://i#staff\"]"
                .to_owned()
                .guarded("on_behalf_of"),
            29 => format!("context.chain.calls {op} {level}"),
            30 => format!("context.chain.fan_out {op} {level}"),
            31 => format!("context.chain.tokens {op} {level}"),
            32 => format!("context.chain.spend {op} {level}"),
            33 => "context.chain.tokens + 1 > 1".to_owned(),
            34 => "context.labels.contains(\"untrusted\")".to_owned(),
            35 => "context.labels.containsAll([\"confidential\", \"untrusted\"])".to_owned(),
            36 => "[\"saturday\", \"sunday\", \"monday\"].contains(context.weekday)".to_owned(),
            37 => format!("context.hour {op} {}", level * 6),
            13 => "context.source_ip.isInRange(ip(\"10.0.0.0/8\"))".to_owned().guarded("source_ip"),
            14 => "(context.source_ip.isIpv6() || context.source_ip.isLoopback())"
                .to_owned()
                .guarded("source_ip"),
            15 => "context.source_ip == ip(\"192.168.0.1\")".to_owned().guarded("source_ip"),
            16 => format!(
                "context.now {} datetime(\"2026-09-21T14:13:20.123Z\")",
                self.dice.one(&["<", "<=", "==", ">="])
            ),
            17 => "context.now.toTime() > duration(\"14h\")".to_owned(),
            18 => "context.now.toDate() == datetime(\"2026-09-21\")".to_owned(),
            19 => "context.now.durationSince(datetime(\"2026-09-21\")).toHours() == 14".to_owned(),
            20 => "context.now.offset(duration(\"1d\")) > datetime(\"2026-09-22\")".to_owned(),
            21 => format!("[\"tools/call\", {:?}].contains(context.method)", self.dice.one(METHODS)),
            22 => "context.approval.role == \"boss\"".to_owned().guarded("approval"),
            38 => "context has approval".to_owned(),
            39 => "context.approval.by == User::\"https://i#b0\"".to_owned().guarded("approval"),
            40 => "context.now.durationSince(context.approval.at) < duration(\"1h\")"
                .to_owned()
                .guarded("approval"),
            41 => "(context has approval.by.email && context.approval.by.email like \"b@*\")".to_owned(),
            42 => "(context.approval.by has email || context.approval.by.subject == \"b1\")"
                .to_owned()
                .guarded("approval"),
            43 => "context.approval.by in UserGroup::\"admins\"".to_owned().guarded("approval"),
            23 => "context.transaction == \"t1\" || context.identity like \"spiffe://*/agent\"".to_owned(),
            44 => "context has instance".to_owned(),
            45 => "context.instance.id == \"p0\"".to_owned().guarded("instance"),
            46 => "context.instance.kind != \"certificate\"".to_owned().guarded("instance"),
            47 => "(context has instance.name && context.instance.name like \"n0/*-0\")".to_owned(),
            48 => "(context.instance has node && context.instance.node == \"node-a\")"
                .to_owned()
                .guarded("instance"),
            // Beyond the residual language.
            49 => "{i: context.instance.id} == {i: \"p1\"}".to_owned().guarded("instance"),
            // Only of calls of agents: no other context has it.
            26 => "context.push_notification_url like \"https://hooks.example/*\""
                .to_owned()
                .guarded("push_notification_url"),
            27 => "context has push_notification_url".to_owned(),
            // Beyond the residual language: decided by Cedar.
            24 => "{m: context.method, d: context.chain.depth} == {m: \"tools/call\", d: 1}".to_owned(),
            _ => "principal in context.chain.agents".to_owned(),
        }
    }

    fn that_may_fail(&mut self) -> String {
        let (namespace, ghost) = (self.dice.one(NAMESPACES), self.dice.one(&["a0", "a1", "ghost"]));
        let (op, level) = self.level();
        match self.dice.below(if self.about == About::Anything { 6 } else { 10 }) {
            // Fails for an agent that does not exist.
            0 => format!("Agent::\"{namespace}/{ghost}\".team == \"red\""),
            1 => format!("Agent::\"{namespace}/{ghost}\" in {}", self.container()),
            2 => format!("(Agent::\"{namespace}/{ghost}\" has version)"),
            3 => self.of_another(namespace),
            4 => format!("{} in Namespace::{namespace:?}", self.another(namespace)),
            // Fails for risks above 2.
            5 => format!("principal.risk * 4611686018427387903 {op} {level}"),
            6 => format!("context.delegation_depth * 4611686018427387903 {op} {level}"),
            7 => format!("context.delegation_depth + 9223372036854775805 {op} {level}"),
            8 => format!("-(context.chain.depth) - 9223372036854775806 {op} {level}"),
            _ => "User::\"https://i#u0\".subject == \"u0\"".to_owned(),
        }
    }

    /// A registered object other than an agent, or a part of one, if the namespace is that of the object.
    fn another(&mut self, namespace: &str) -> String {
        let (kind, name) = self.dice.one_of(OTHERS);
        format!("{kind}::\"{namespace}/{name}\"")
    }

    /// An attribute of it: fails where it does not exist.
    fn of_another(&mut self, namespace: &str) -> String {
        format!("{}.team == {:?}", self.another(namespace), self.dice.one(TEAMS))
    }
}

const OTHERS: &[(&str, &str)] = &[
    ("Service", "svc"),
    ("MCPServer", "m0"),
    ("LLMProvider", "llm"),
    ("Tool", "m0/read"),
    ("Tool", "m1/other"),
    ("Resource", "m0/file:///a"),
    ("Prompt", "m1/greet"),
    ("Skill", "a0/s0"),
    ("Model", "llm/big"),
];

trait HasFirst {
    fn guarded(self, attribute: &str) -> String;
}

impl HasFirst for String {
    /// With the `has` that strict validation asks for.
    fn guarded(self, attribute: &str) -> String {
        format!("(context has {attribute} && {self})")
    }
}

#[test]
fn the_generator_is_seeded() {
    let texts = |seed| format!("{:?}", world(seed, 3));
    assert_eq!(texts(7), texts(7));
    assert_ne!(texts(7), texts(8));
    let kinds = [EntityKind::Agent, EntityKind::Service];
    assert!(
        world(7, 3).1.iter().all(|sample| kinds.contains(&EntityId::clone(sample.principal.entity()).kind))
    );
}

/// A source of which something could not be read.
pub(crate) fn unread(dice: &mut Dice) -> Rejection {
    let path = dice.one(&["d", "d/a.yaml", "e/c.yaml", "elsewhere"]);
    Rejection {
        origin: Origin::file(path, 0),
        object: Subject::Source,
        field: String::new(),
        value: String::new(),
        reason: "unreadable".to_owned(),
        fix: "repair it".to_owned(),
    }
}

/// The same with other metadata; another one in memory in any case.
pub(crate) fn changed(object: &Object, change: impl FnOnce(&mut Meta)) -> Object {
    fn one<T: Clone>(of: &Arc<T>, change: impl FnOnce(&mut T)) -> Arc<T> {
        let mut copy = (**of).clone();
        change(&mut copy);
        Arc::new(copy)
    }
    match object {
        Object::Agent(agent) => Object::Agent(one(agent, |agent| change(&mut agent.meta))),
        Object::McpServer(server) => Object::McpServer(one(server, |server| change(&mut server.meta))),
        Object::LlmProvider(provider) => {
            Object::LlmProvider(one(provider, |provider| change(&mut provider.meta)))
        }
        Object::Service(service) => Object::Service(one(service, |service| change(&mut service.meta))),
        Object::Policy(policy) => Object::Policy(one(policy, |policy| change(&mut policy.meta))),
    }
}
