//! Registered objects for the adapters' tests, and what all adapters share.

use std::collections::BTreeMap;
use std::sync::Arc;

use vidimus_core::caller::{Caller, Chain, Proven, UnixMillis};
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::resource::llm_provider::{CredentialSource, Model, ProviderType};
use vidimus_core::resource::{
    Agent, AuthorityClass, DelegationLimits, Endpoint, LlmProvider, McpServer, Meta, Principal, RiskLevel,
};

use super::*;
use crate::part::Part;
use crate::seal::{self, KEY_LENGTH, Kind, Seal};

fn meta(namespace: &str, name: &str) -> Meta {
    Meta { namespace: namespace.into(), name: name.into(), ..Meta::default() }
}

fn endpoint() -> Endpoint {
    let url: url::Url = "http://127.0.0.1:1/x".parse().expect("URL");
    Endpoint {
        audience: url.as_str().into(),
        url,
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

pub(crate) fn server() -> Arc<McpServer> {
    Arc::new(McpServer {
        meta: meta("finance", "ledger"),
        id: EntityId::new(EntityKind::McpServer, "finance/ledger"),
        owner: "a@b.example".into(),
        team: "finance".into(),
        capabilities: Default::default(),
        risk_level: RiskLevel::Low,
        environment: "production".into(),
        endpoint: endpoint(),
        members: None,
        tool_sets: BTreeMap::new(),
        tools: BTreeMap::new(),
        labels: Default::default(),
        integrity: None,
    })
}

pub(crate) fn agent() -> Arc<Agent> {
    Arc::new(Agent {
        meta: meta("finance", "summarizer"),
        id: EntityId::new(EntityKind::Agent, "finance/summarizer"),
        owner: "a@b.example".into(),
        team: "finance".into(),
        purpose: "".into(),
        version: None,
        capabilities: Default::default(),
        risk_level: RiskLevel::Low,
        environment: "production".into(),
        groups: Default::default(),
        authority_class: AuthorityClass::Advise,
        authority_stated: false,
        sandbox_class: None,
        delegation: DelegationLimits::default(),
        identities: Vec::new(),
        acts_for: Vec::new(),
        endpoint: Some(Box::new(endpoint())),
        card_keys: None,
        labels: Default::default(),
        trust_score: None,
        quarantined: false,
    })
}

pub(crate) fn provider() -> Arc<LlmProvider> {
    Arc::new(LlmProvider {
        meta: meta("platform", "openai"),
        id: EntityId::new(EntityKind::LlmProvider, "platform/openai"),
        owner: "a@b.example".into(),
        team: "platform".into(),
        environment: "production".into(),
        provider: ProviderType::OpenAi,
        endpoint: endpoint(),
        credential: CredentialSource::None,
        region: None,
        stream_usage: true,
        api_path: None,
        stream_timeout_ms: 1_800_000,
        aliases: Default::default(),
        failover: None,
        labels: Default::default(),
        models: vec![Model { name: "sim-small".into(), sets: Default::default(), price: None }],
    })
}

/// An agent that calls for nobody.
pub(crate) fn caller() -> Caller {
    let proven = Proven {
        principal: Principal::Agent(agent()),
        identity: "spiffe://t/a".into(),
        user: None,
        delegated: None,
        instance: None,
        expires: None,
    };
    let chain = Chain { transaction: "t".into(), started: UnixMillis(0), actors: Vec::new() };
    Caller { proven: Arc::new(proven), chain: Arc::new(chain) }
}

pub(crate) fn seal() -> Seal {
    Seal::new(&[7; KEY_LENGTH]).expect("a key")
}

/// An id as `caller` has it.
pub(crate) fn sealed(kind: Kind, destination: &Destination, part: &Part, id: &str) -> String {
    seal().seal(kind, &seal::binding(destination, &caller()), part, id).expect("sealed")
}

#[test]
fn what_is_not_one_json_document_is_refused_by_its_fault() {
    for (body, code) in [
        (&b"\xff{}"[..], Code::BodyNotUtf8),
        (b"{", Code::BodyNotJson),
        (b"{} {}", Code::BodyNotJson),
        (br#"{"a":1,"a":1}"#, Code::DuplicateKey),
        (br#"{"params":{"arguments":{"amount":1,"amount":2}}}"#, Code::DuplicateKey),
    ] {
        assert_eq!(parse(body).map(|_| ()).map_err(|r| r.code), Err(code), "{body:?}");
    }
}

#[test]
fn a_member_is_spelled_as_it_is_read() {
    for (key, refused) in [
        ("taskId", false),
        ("task_id", true),
        ("TaskId", true),
        ("TASK_ID", true),
        ("tasks_id", false),
        ("skill", false),
        ("_skill", false),
        ("other", false),
    ] {
        let text = format!(r#"{{"{key}":1}}"#);
        let object = Json::parse(text.as_bytes()).expect("JSON");
        assert_eq!(check_spelling(&object, &["taskId", "skill"]).is_err(), refused, "{key}");
    }
}
