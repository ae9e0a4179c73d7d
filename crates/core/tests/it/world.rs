//! Objects and calls, shortly.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use vidimus_core::approval::Approval;
use vidimus_core::call::{Action, Arguments, Ask, Call, SoFar, Target};
use vidimus_core::caller::{Caller, Chain, Instance, Proven, UnixMillis, User};
use vidimus_core::decision::{Decision, Fact, Outcome};
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::json::Json;
use vidimus_core::permit::{Receipt, Room, Verdict};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::llm_provider::{CredentialSource, Model, ProviderType};
use vidimus_core::resource::mcp_server::Tool;
use vidimus_core::resource::policy::{Members, Mode, REPLACEABLE, Scope};
use vidimus_core::resource::{
    Agent, AuthorityClass, DelegationLimits, Endpoint, Labels, LlmProvider, McpServer, Meta, Names, Object,
    Origin, Policy, Principal, RiskLevel, ServerLabels, Service,
};
use vidimus_core::snapshot::Snapshot;

pub(crate) fn names(all: &[&str]) -> Names {
    all.iter().map(|name| Arc::from(*name)).collect()
}

pub(crate) fn meta(namespace: &str, name: &str) -> Meta {
    Meta {
        namespace: namespace.into(),
        name: name.into(),
        labels: BTreeMap::new(),
        generation: None,
        created: None,
        origin: Origin::default(),
        document: Arc::default(),
        not_borne: Default::default(),
    }
}

fn endpoint() -> Endpoint {
    Endpoint {
        url: "http://upstream.test/".parse().unwrap(),
        audience: "http://upstream.test/".into(),
        ca_file: None,
        timeout_ms: 1000,
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

pub(crate) fn agent(namespace: &str, name: &str) -> Agent {
    let meta = meta(namespace, name);
    Agent {
        id: EntityId::new(EntityKind::Agent, meta.key()),
        meta,
        owner: "first.last@example.com".into(),
        team: "finance".into(),
        purpose: "test".into(),
        version: None,
        capabilities: Names::new(),
        risk_level: RiskLevel::Low,
        environment: "production".into(),
        groups: Names::new(),
        authority_class: AuthorityClass::Act,
        authority_stated: true,
        sandbox_class: None,
        delegation: DelegationLimits::default(),
        identities: Vec::new(),
        acts_for: Vec::new(),
        endpoint: None,
        card_keys: None,
        labels: Labels::default(),
        trust_score: None,
        quarantined: false,
    }
}

pub(crate) fn service(namespace: &str, name: &str) -> Service {
    let meta = meta(namespace, name);
    Service {
        id: EntityId::new(EntityKind::Service, meta.key()),
        meta,
        owner: "first.last@example.com".into(),
        team: "finance".into(),
        capabilities: Names::new(),
        risk_level: RiskLevel::Low,
        environment: "production".into(),
        groups: Names::new(),
        identities: Vec::new(),
        acts_for: Vec::new(),
        quarantined: false,
    }
}

pub(crate) fn server(namespace: &str, name: &str) -> McpServer {
    let meta = meta(namespace, name);
    McpServer {
        id: EntityId::new(EntityKind::McpServer, meta.key()),
        meta,
        owner: "first.last@example.com".into(),
        team: "finance".into(),
        capabilities: Names::new(),
        risk_level: RiskLevel::Medium,
        environment: "production".into(),
        endpoint: endpoint(),
        members: None,
        tool_sets: BTreeMap::new(),
        tools: BTreeMap::<Arc<str>, Tool>::new(),
        labels: ServerLabels::default(),
        integrity: None,
    }
}

pub(crate) fn provider(namespace: &str, name: &str, models: &[(&str, &[&str])]) -> LlmProvider {
    let meta = meta(namespace, name);
    LlmProvider {
        id: EntityId::new(EntityKind::LlmProvider, meta.key()),
        meta,
        owner: "first.last@example.com".into(),
        team: "platform".into(),
        environment: "production".into(),
        provider: ProviderType::OpenAi,
        endpoint: endpoint(),
        credential: CredentialSource::None,
        region: None,
        stream_usage: true,
        api_path: None,
        stream_timeout_ms: 1_800_000,
        aliases: BTreeMap::new(),
        labels: Labels::default(),
        failover: None,
        models: models
            .iter()
            .map(|(name, sets)| Model { name: (*name).into(), sets: names(sets), price: None })
            .collect(),
    }
}

pub(crate) fn policy(namespace: &str, name: &str, scope: Scope, cedar: &str) -> Object {
    Object::Policy(Arc::new(Policy {
        meta: meta(namespace, name),
        description: "test".into(),
        scope,
        mode: Mode::Enforce,
        replaces: Names::new(),
        // So that a name means what it says: membership.rs is about the rest.
        members: Members::from_iter([Members::ALL]),
        window: None,
        plan: None,
        limits: Default::default(),
        guards: Default::default(),
        cedar: cedar.into(),
    }))
}

/// A cluster-wide policy `t/p`.
pub(crate) fn cluster(cedar: &str) -> Object {
    policy("t", "p", Scope::Cluster, cedar)
}

/// The ids of all policies in force but those of the authority classes.
pub(crate) fn ids(world: &Snapshot) -> Vec<&str> {
    world.policies().map(|id| &**id).filter(|id| !REPLACEABLE.contains(id)).collect()
}

/// A snapshot of objects that must all be accepted.
pub(crate) fn snapshot(objects: Vec<Object>) -> Snapshot {
    let (snapshot, rejected) = Snapshot::build(objects);
    assert!(rejected.is_empty(), "{rejected:#?}");
    snapshot
}

pub(crate) fn objects(agents: Vec<Agent>, servers: Vec<McpServer>, policies: Vec<Object>) -> Vec<Object> {
    let agents = agents.into_iter().map(|agent| Object::Agent(Arc::new(agent)));
    agents
        .chain(servers.into_iter().map(|server| Object::McpServer(Arc::new(server))))
        .chain(policies)
        .collect()
}

/// What a call is made of, owned.
pub(crate) struct Facts {
    pub(crate) principal: Principal,
    pub(crate) chain: Chain,
    pub(crate) user: Option<User>,
    pub(crate) arguments: Option<&'static str>,
    pub(crate) now: UnixMillis,
    pub(crate) source_ip: Option<IpAddr>,
    pub(crate) so_far: SoFar,
    pub(crate) method: &'static str,
    pub(crate) approvals: Vec<Approval>,
    pub(crate) instance: Option<Instance>,
}

impl Facts {
    pub(crate) fn of(snapshot: &Snapshot, agent: &str) -> Self {
        Self {
            principal: Principal::Agent(snapshot.agent(agent).unwrap().clone()),
            chain: Chain {
                transaction: "txn-1".into(),
                started: UnixMillis(1_790_000_000_000),
                actors: Vec::new(),
            },
            user: None,
            arguments: None,
            now: UnixMillis(1_790_000_000_500),
            source_ip: None,
            so_far: SoFar::default(),
            method: "tools/call",
            approvals: Vec::new(),
            instance: None,
        }
    }

    /// As the `depth`-th hop.
    pub(crate) fn at_depth(mut self, depth: usize) -> Self {
        self.chain.actors =
            (1..depth).map(|hop| EntityId::new(EntityKind::Agent, format!("earlier/hop{hop}"))).collect();
        self
    }

    pub(crate) fn with(mut self, arguments: &'static str) -> Self {
        self.arguments = Some(arguments);
        self
    }

    pub(crate) fn ask<T>(&self, action: Action, target: Target<'_>, ask: impl FnOnce(&Call<'_>) -> T) -> T {
        let parsed = self.arguments.map(|text| Json::parse(text.as_bytes()).unwrap());
        let arguments = parsed.as_ref().map_or(Arguments::None, Arguments::Known);
        let caller = caller(&self.principal, &self.chain, self.user.as_ref());
        let caller = copy(caller, self.instance.as_ref());
        let asked = Ask { arguments, ..Ask::about(self.method, action, target) };
        let (now, source_ip, so_far) = (self.now, self.source_ip, &self.so_far);
        let approvals = &self.approvals;
        ask(&Call { caller: &caller, ask: asked, now, source_ip, so_far, approvals })
    }

    /// The outcome of another ask, whole as it is given.
    pub(crate) fn asked(&self, snapshot: &Snapshot, ask: Ask<'_>) -> Answer {
        self.ask(ask.action, ask.target, |call| Answer::of(snapshot.authorize(&Call { ask, ..*call })))
    }

    /// The outcome, with what explains it.
    pub(crate) fn authorize(&self, snapshot: &Snapshot, action: Action, target: Target<'_>) -> Answer {
        self.ask(action, target, |call| Answer::of(snapshot.authorize(call)))
    }
}

pub(crate) fn caller(principal: &Principal, chain: &Chain, user: Option<&User>) -> Caller {
    let proven = Proven {
        principal: principal.clone(),
        identity: "spiffe://test/agent".into(),
        instance: None,
        user: user.cloned(),
        delegated: None,
        expires: None,
    };
    Caller { proven: Arc::new(proven), chain: Arc::new(chain.clone()) }
}

/// The same caller, as this copy of it.
pub(crate) fn copy(caller: Caller, instance: Option<&Instance>) -> Caller {
    let instance = instance.cloned().map(Arc::new);
    Caller { proven: Arc::new(Proven { instance, ..(*caller.proven).clone() }), chain: caller.chain }
}

/// What a decision says, when its call is gone, and what becomes of it once it is recorded.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    pub(crate) code: Option<Code>,
    policies: Vec<Arc<str>>,
    closest_permits: Vec<Arc<str>>,
    facts: Vec<Fact>,
    pub(crate) verdict: Verdict,
}

impl Answer {
    #[expect(clippy::disallowed_methods, reason = "stands for the ledger")]
    pub(crate) fn of(decision: Decision<'_>) -> Self {
        Self {
            outcome: decision.outcome(),
            code: decision.code(),
            policies: decision.policies().to_vec(),
            closest_permits: decision.closest_permits().to_vec(),
            facts: decision.facts().to_vec(),
            verdict: decision.recorded(Receipt::kept(7, Room::default()), "call-1".into()),
        }
    }

    pub(crate) fn allowed(&self) -> bool {
        self.outcome == Outcome::Allow
    }

    pub(crate) fn policies(&self) -> Vec<&str> {
        self.policies.iter().map(|id| &**id).collect()
    }

    pub(crate) fn closest_permits(&self) -> Vec<&str> {
        self.closest_permits.iter().map(|id| &**id).collect()
    }

    pub(crate) fn facts(&self) -> Vec<(&str, &str)> {
        self.facts.iter().map(|(name, value)| (&**name, &**value)).collect()
    }

    /// What the caller is answered.
    pub(crate) fn refusal(&self) -> &Refusal {
        match &self.verdict {
            Verdict::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        }
    }
}
