//! The directory of resources that the gateway serves: a generated estate, and in it the servers, agents and models that are
//! called, their callers, and the policies that decide on them.
//!
//! The generated part makes the estate as large as asked, and its cluster-wide policies apply here too: the callers are in some
//! of its groups, the called tools in some of its tool sets. The policies here are of the same kinds (attributes, groups, tool
//! sets; permits and forbids with conditions on the context) and each applies to some of the calls that are measured: on every
//! called edge at least three permits match and at least three forbids are left to be evaluated per call.

mod document;

use std::path::Path;

use anyhow::ensure;
use serde_json::{Map, Value, json};
use vidimus_core::resource::Object;
use vidimus_testkit::estate::Estate;

use crate::upstream::{At, WIDE_PATH};

/// The namespace of everything that is called.
pub(crate) const NAMESPACE: &str = "bench";
/// The MCP server, and those of its tools that are called.
pub(crate) const SERVER: &str = "ledger";
pub(crate) const TOOLS: [&str; 4] = ["get_invoice", "list_invoices", "match_invoice", "get_purchase_order"];
/// The server that stands for [`MEMBERS`] others.
pub(crate) const DESK: &str = "desk";
/// How many it stands for.
pub(crate) const MEMBERS: usize = 8;
/// The server with as many tools of which callers may use all.
pub(crate) const WHOLE: &str = "inventory";
/// The server with many tools, how many, and how many of them the callers may use: one in four.
pub(crate) const WIDE: &str = "catalogue";
pub(crate) const WIDE_TOOLS: usize = 1_000;
pub(crate) const WIDE_PERMITTED: usize = WIDE_TOOLS / 4;
/// The agents that are called.
pub(crate) const AGENTS: [&str; 4] = ["matcher-0", "matcher-1", "matcher-2", "matcher-3"];
/// Those that are called over gRPC, too.
pub(crate) const GRPC_AGENTS: [&str; 4] = ["herald-0", "herald-1", "herald-2", "herald-3"];
/// The provider and its model.
pub(crate) const PROVIDER: &str = "models";
pub(crate) const MODEL: &str = "bench-model";
/// The same again, with a guard on what its model answers.
pub(crate) const GUARDED: &str = "guarded-models";
/// The provider's key, which only the gateway knows.
pub(crate) const PROVIDER_KEY: &str = "bench-provider-key-7d1f0a";
/// Where the gateway has it from. Binaries of before and after `--secrets` take it.
pub(crate) const PROVIDER_KEY_VARIABLE: &str = "BENCH_PROVIDER_KEY";
/// Agents that call, each with a token of its own.
pub(crate) const CALLERS: usize = 16;

const SEED: u64 = 20_260_801;
const GROUPS: usize = 8;
const TEAMS: usize = 4;
/// Documents of the generated estate in one file.
const PER_FILE: usize = 100;

/// The subject of a caller's token.
pub(crate) fn caller(number: usize) -> String {
    format!("caller-{number:02}")
}

/// The name of a member.
pub(crate) fn member(number: usize) -> String {
    format!("ledger-{number}")
}

/// The name of a tool of the server with many.
pub(crate) fn wide_tool(number: usize) -> String {
    format!("invoice_tool_{number:04}")
}

/// Writes `policies` policies and `agents` agents in all, and what is called, to `directory`.
pub(crate) fn write(directory: &Path, upstream: At, policies: usize, agents: usize) -> anyhow::Result<()> {
    let called = called(upstream);
    let own_policies = policies_here();
    let own_agents = CALLERS + AGENTS.len() + GRPC_AGENTS.len();
    ensure!(policies >= own_policies.len(), "at least {} policies are needed", own_policies.len());
    ensure!(agents >= own_agents, "at least {own_agents} agents are needed");
    let generated: Vec<Object> = Estate::generate(SEED, policies - own_policies.len(), agents - own_agents);
    let documents: Vec<Value> = generated.iter().map(document::of).collect();
    for (number, some) in documents.chunks(PER_FILE).enumerate() {
        document::write(&directory.join(format!("estate-{number:03}.yaml")), some)?;
    }
    document::write(&directory.join("called.yaml"), &called)?;
    document::write(&directory.join("policies.yaml"), &own_policies)
}

/// The callers and what they call.
fn called(At { http: upstream, grpc }: At) -> Vec<Value> {
    let owner = "first.last@example.com";
    let mut tool_sets: Map<String, Value> =
        (0..CALLERS).map(|set| (format!("set-{set}"), json!(TOOLS))).collect();
    tool_sets.insert("bench-readonly".to_owned(), json!(TOOLS));
    tool_sets.insert("bench-write".to_owned(), json!(["post_invoice", "cancel_invoice"]));
    let server = |name: &str| {
        let spec = json!({
            "owner": owner, "team": "bench", "riskLevel": "low", "capabilities": ["invoice-matching"],
            "endpoint": {"url": format!("http://{upstream}/mcp")},
            "toolSets": tool_sets,
            "tools": {"get_invoice": {"readOnly": true}, "list_invoices": {"readOnly": true}},
        });
        document::new("MCPServer", NAMESPACE, name, &spec)
    };
    let provider = |name: &str, sets: &[&str]| {
        let spec = json!({
            "owner": owner, "team": "bench", "type": "openAICompatible",
            "endpoint": {"url": format!("http://{upstream}")},
            "credential": {"env": PROVIDER_KEY_VARIABLE},
            "models": [{"name": MODEL, "sets": sets, "price": {"inputPerMTok": "0.25", "outputPerMTok": "2.00"}}],
        });
        document::new("LLMProvider", NAMESPACE, name, &spec)
    };
    let members: Vec<String> = (0..MEMBERS).map(member).collect();
    let listed: Vec<Value> =
        members.iter().map(|name| json!({"name": name, "server": {"name": name}})).collect();
    let desk = json!({"owner": owner, "team": "bench", "riskLevel": "low", "members": listed});
    let permitted: Vec<String> =
        (0..WIDE_TOOLS).step_by(WIDE_TOOLS / WIDE_PERMITTED).map(wide_tool).collect();
    // Another team's, so that what is permitted of each of their tools is the set, or by the server.
    let wide = |sets: Value| {
        json!({
            "owner": owner, "team": "bench-wide", "riskLevel": "low",
            "endpoint": {"url": format!("http://{upstream}{WIDE_PATH}")}, "toolSets": sets,
        })
    };
    let mut documents = vec![
        server(SERVER),
        document::new("MCPServer", NAMESPACE, WIDE, &wide(json!({"bench-readonly": permitted}))),
        document::new("MCPServer", NAMESPACE, WHOLE, &wide(json!({}))),
        document::new("MCPServer", NAMESPACE, DESK, &desk),
        provider(PROVIDER, &["bench-models"]),
        provider(GUARDED, &["bench-models", "bench-guarded"]),
    ];
    documents.extend(members.iter().map(|name| server(name)));
    let agent = |name: &str, endpoint: Value| {
        let spec = json!({
            "owner": owner, "team": "bench", "riskLevel": "low", "purpose": "Matches invoices when it is asked to.",
            "capabilities": ["invoice-matching"], "endpoint": endpoint,
        });
        document::new("Agent", NAMESPACE, name, &spec)
    };
    let url = |name: &str| format!("http://{upstream}/a2a/{name}");
    documents.extend(AGENTS.map(|name| agent(name, json!({"url": url(name)}))));
    let grpc = format!("http://{grpc}");
    documents.extend(GRPC_AGENTS.map(|name| agent(name, json!({"url": url(name), "grpc": grpc}))));
    documents.extend((0..CALLERS).map(|number| {
        document::new("Agent", NAMESPACE, &caller(number), &json!({
            "owner": owner, "team": format!("bench-team-{}", number % TEAMS), "riskLevel": "low",
            "purpose": "Calls, so that it can be measured.", "version": "1.4.2",
            "capabilities": ["invoice-matching", format!("specialty-{number}")],
            "groups": [format!("bench-group-{}", number % GROUPS), format!("bench-group-{}", (number + 3) % GROUPS),
                format!("group-{number}")],
            "authorityClass": "act",
            "identities": [{"oidc": {"issuer": "urn:vidimus:local", "subject": caller(number)}}],
        }))
    }));
    documents
}

/// The policies that decide on the calls.
fn policies_here() -> Vec<Value> {
    let mut policies: Vec<(String, String)> = Vec::new();
    let whole = format!(
        r#"action in [Action::"connectServer", Action::"invokeTool"], resource in MCPServer::"{NAMESPACE}/{WHOLE}""#
    );
    for group in 0..GROUPS {
        let who = format!(r#"principal in Group::"bench-group-{group}""#);
        policies.push((
            format!("group-{group}-tools"),
            format!(
                r#"permit ({who}, action == Action::"invokeTool", resource in ToolSet::"bench-readonly")
when {{ principal.risk_level == "low" && context.delegation_depth <= 3 }};"#
            ),
        ));
        policies.push((format!("group-{group}-server"), format!(
            r#"permit ({who}, action == Action::"connectServer", resource == MCPServer::"{NAMESPACE}/{SERVER}");"#)));
        policies.push((format!("group-{group}-wide"), format!(
            r#"permit ({who}, action == Action::"connectServer", resource == MCPServer::"{NAMESPACE}/{WIDE}");"#)));
        policies.push((format!("group-{group}-whole"), format!("permit ({who}, {whole});")));
        policies.push((
            format!("group-{group}-agents"),
            format!(
                r#"permit ({who}, action == Action::"callAgent", resource)
when {{ resource.risk <= 2 && context.delegation_depth <= 3 }};"#
            ),
        ));
        policies.push((
            format!("group-{group}-models"),
            format!(
                r#"permit ({who}, action == Action::"callModel", resource in ModelSet::"bench-models")
when {{ context.tokens_estimated <= 32000 }};"#
            ),
        ));
    }
    for team in 0..TEAMS {
        let who = format!(r#"principal.team == "bench-team-{team}""#);
        policies.push((format!("team-{team}-tools"), format!(
            r#"permit (principal, action == Action::"invokeTool", resource)
when {{ {who} && resource.team == "bench" && principal.capabilities.contains("invoice-matching") && resource.risk <= principal.risk }};"#)));
        policies.push((format!("team-{team}-wide"), format!(
            r#"permit (principal, action == Action::"connectServer", resource == MCPServer::"{NAMESPACE}/{WIDE}") when {{ {who} }};"#)));
        policies
            .push((format!("team-{team}-whole"), format!("permit (principal, {whole}) when {{ {who} }};")));
        policies.push((format!("team-{team}-agents"), format!(
            r#"permit (principal, action == Action::"callAgent", resource)
when {{ {who} && resource.capabilities.contains("invoice-matching") && principal.environment == resource.environment }};"#)));
        policies.push((
            format!("team-{team}-models"),
            format!(
                r#"permit (principal, action == Action::"callModel", resource)
when {{ {who} && resource.team == "bench" && context.delegation_depth <= 3 }};"#
            ),
        ));
    }
    let every = r#"action in [Action::"mcp", Action::"a2a", Action::"llm"]"#;
    for (name, cedar) in [
        ("no-cycles", format!("forbid (principal, {every}, resource) when {{ context.chain.cycle }};")),
        ("no-long-chains", format!(r#"forbid (principal, {every}, resource) when {{ context.chain.age > duration("15m") }};"#)),
        ("not-before", format!(r#"forbid (principal, {every}, resource) when {{ context.now < datetime("2020-01-01") }};"#)),
        ("no-large-amounts", r#"forbid (principal, action == Action::"invokeTool", resource in ToolSet::"bench-readonly")
when { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") > 100000 };"#.to_owned()),
        ("no-other-region", r#"forbid (principal, action == Action::"invokeTool", resource)
when { resource.team == "bench" && context.args.hasTag("/region") && !(context.args.getTag("/region") like "eu-*") };"#.to_owned()),
        ("no-large-prompts", r#"forbid (principal, action == Action::"callModel", resource in ModelSet::"bench-models")
when { context.tokens_estimated > 100000 || (context.streaming && principal.risk >= 3) };"#.to_owned()),
        ("no-personal-data", r#"@guard_answer("personal_data") forbid (principal, action == Action::"callModel", resource in ModelSet::"bench-guarded");"#.to_owned()),
    ] {
        policies.push((name.to_owned(), cedar));
    }
    let document = |(name, cedar): (String, String)| {
        let spec =
            json!({"description": format!("Decides on the calls of the benchmark: {name}."), "cedar": cedar});
        document::new("Policy", NAMESPACE, &name, &spec)
    };
    policies.into_iter().map(document).collect()
}

#[cfg(test)]
mod tests;
