//! Registered objects for the adapters' tests, and what all adapters share.

use std::collections::BTreeMap;
use std::sync::Arc;

use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::resource::llm_provider::{CredentialSource, Model, ProviderType};
use vidimus_core::resource::{
    Agent, AuthorityClass, DelegationLimits, Endpoint, LlmProvider, McpServer, Meta, RiskLevel,
};

use super::*;

fn meta(namespace: &str, name: &str) -> Meta {
    Meta { namespace: namespace.into(), name: name.into(), ..Meta::default() }
}

fn endpoint() -> Endpoint {
    let url: url::Url = "http://127.0.0.1:1/x".parse().expect("URL");
    Endpoint { audience: url.as_str().into(), url, ca_file: None, timeout_ms: 1000 }
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
        tool_sets: BTreeMap::new(),
        tools: BTreeMap::new(),
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
        sandbox_class: None,
        delegation: DelegationLimits::default(),
        identities: Vec::new(),
        acts_for: Vec::new(),
        endpoint: Some(endpoint()),
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
        models: vec![Model { name: "sim-small".into(), sets: Default::default(), price: None }],
    })
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
