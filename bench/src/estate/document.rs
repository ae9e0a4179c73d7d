//! Objects as the YAML documents that a user would write.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use vidimus_core::resource::llm_provider::CredentialSource;
use vidimus_core::resource::policy::Scope;
use vidimus_core::resource::{
    API_VERSION, Agent, Endpoint, Identity, LlmProvider, McpServer, Meta, Names, Object, Policy, Service,
};

/// A document.
pub(crate) fn new(kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": API_VERSION, "kind": kind, "metadata": {"namespace": namespace, "name": name}, "spec": spec})
}

/// Writes documents to one file.
pub(crate) fn write(path: &Path, documents: &[Value]) -> anyhow::Result<()> {
    let mut text = String::new();
    for document in documents {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(document).context("a document cannot be written as YAML")?);
    }
    fs::write(path, text).with_context(|| path.display().to_string())
}

/// The document of a checked object. Reading it again gives the object.
pub(crate) fn of(object: &Object) -> Value {
    match object {
        Object::Agent(agent) => meta("Agent", &agent.meta, self::agent(agent)),
        Object::McpServer(server) => meta("MCPServer", &server.meta, mcp_server(server)),
        Object::LlmProvider(provider) => meta("LLMProvider", &provider.meta, llm_provider(provider)),
        Object::Service(service) => meta("ServiceIdentity", &service.meta, self::service(service)),
        Object::Policy(policy) => meta("Policy", &policy.meta, self::policy(policy)),
    }
}

fn meta(kind: &str, meta: &Meta, spec: Value) -> Value {
    let mut document = new(kind, &meta.namespace, &meta.name, &without_empty(spec));
    if let (false, Some(Value::Object(to))) = (meta.labels.is_empty(), document.get_mut("metadata")) {
        to.insert("labels".to_owned(), json!(meta.labels));
    }
    document
}

fn agent(agent: &Agent) -> Value {
    json!({
        "owner": agent.owner, "team": agent.team, "purpose": agent.purpose, "version": agent.version,
        "capabilities": names(&agent.capabilities), "riskLevel": agent.risk_level, "environment": agent.environment,
        "groups": names(&agent.groups), "authorityClass": agent.authority_class, "sandboxClass": agent.sandbox_class,
        "delegation": without_empty(json!({"maxDepth": agent.delegation.max_depth, "maxFanOut": agent.delegation.max_fan_out})),
        "identities": identities(&agent.identities), "endpoint": agent.endpoint.as_deref().map(endpoint),
        "actsFor": agent.acts_for.iter().map(|acts| json!({"issuer": acts.issuer})).collect::<Vec<_>>(),
        "quarantined": agent.quarantined,
    })
}

fn mcp_server(server: &McpServer) -> Value {
    let sets: Map<String, Value> =
        server.tool_sets.iter().map(|(set, tools)| (set.to_string(), names(tools))).collect();
    let tools = server.tools.iter().map(|(name, tool)| {
        // A tool that only reads is not destructive, whatever was generated: a document that says both is refused.
        let destructive = tool.destructive && !tool.read_only;
        (
            name.to_string(),
            json!({"riskLevel": tool.risk_level, "readOnly": tool.read_only, "destructive": destructive}),
        )
    });
    json!({
        "owner": server.owner, "team": server.team, "capabilities": names(&server.capabilities),
        "riskLevel": server.risk_level, "environment": server.environment, "endpoint": endpoint(&server.endpoint),
        "toolSets": sets, "tools": tools.collect::<Map<_, _>>(),
    })
}

fn llm_provider(provider: &LlmProvider) -> Value {
    let credential = match &provider.credential {
        CredentialSource::File(file) => json!({"file": file}),
        CredentialSource::Env(variable) => json!({"env": variable}),
        CredentialSource::Secret(secret) => json!({"secretRef": {"name": secret.name, "key": secret.key}}),
        CredentialSource::None => json!({"none": {}}),
    };
    let models: Vec<Value> = provider
        .models
        .iter()
        .map(|model| {
            let price = model.price.map(
                |price| json!({"inputPerMTok": decimal(price.input), "outputPerMTok": decimal(price.output)}),
            );
            without_empty(json!({"name": model.name, "sets": names(&model.sets), "price": price}))
        })
        .collect();
    // Only where it is not the default: the same files are read by the build that is compared with, which may not know it.
    let stream_usage = provider.stream_usage.then_some(true);
    without_empty(json!({
        "owner": provider.owner, "team": provider.team, "environment": provider.environment, "type": provider.provider,
        "endpoint": endpoint(&provider.endpoint), "credential": credential, "models": models, "streamUsage": stream_usage,
    }))
}

fn service(service: &Service) -> Value {
    json!({
        "owner": service.owner, "team": service.team, "capabilities": names(&service.capabilities),
        "riskLevel": service.risk_level, "environment": service.environment, "groups": names(&service.groups),
        "identities": identities(&service.identities), "quarantined": service.quarantined,
        "actsFor": service.acts_for.iter().map(|acts| json!({"issuer": acts.issuer})).collect::<Vec<_>>(),
    })
}

fn policy(policy: &Policy) -> Value {
    let scope = match policy.scope {
        Scope::Namespace => "Namespace",
        Scope::Cluster => "Cluster",
    };
    json!({"description": policy.description, "scope": scope, "cedar": policy.cedar})
}

fn names(names: &Names) -> Value {
    json!(names.iter().map(|name| &**name).collect::<Vec<_>>())
}

fn identities(identities: &[Identity]) -> Value {
    let one = |identity: &Identity| match identity {
        Identity::Spiffe(id) => json!({"spiffe": id}),
        Identity::Oidc { issuer, subject, claims } => {
            json!({"oidc": without_empty(json!({"issuer": issuer, "subject": subject, "claims": claims}))})
        }
        Identity::ServiceAccount { namespace, name } => {
            json!({"serviceAccount": {"namespace": namespace, "name": name}})
        }
    };
    json!(identities.iter().map(one).collect::<Vec<_>>())
}

fn endpoint(endpoint: &Endpoint) -> Value {
    without_empty(json!({
        "url": endpoint.url.as_str(), "audience": endpoint.audience, "caFile": endpoint.ca_file,
        "timeout": format!("{}ms", endpoint.timeout_ms),
    }))
}

/// Millionths as a decimal.
fn decimal(millionths: u64) -> String {
    format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000)
}

/// Without the members that say nothing.
fn without_empty(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    let said = |value: &Value| match value {
        Value::Null => false,
        Value::Object(members) => !members.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    };
    Value::Object(members.into_iter().filter(|(_, value)| said(value)).collect())
}
