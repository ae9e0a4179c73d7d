//! The printed policies act as they read. Each is loaded from the file that users get.

use std::sync::Arc;

use cedar_policy::{Authorizer, Context, Decision, Entities, PolicySet, Request, Schema};
use serde::Deserialize;
use vidimus_core::call::{Action, Target};
use vidimus_core::caller::UnixMillis;
use vidimus_core::refusal::Code;
use vidimus_core::resource::policy::Scope;
use vidimus_core::resource::{Agent, McpServer, Object, RiskLevel};

use crate::world::{Facts, agent, names, objects, policy, server, snapshot};

#[derive(Deserialize)]
struct Document {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    namespace: String,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    scope: Option<String>,
    cedar: String,
}

fn document(name: &str) -> Document {
    let path = format!("{}/../../examples/policies/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn example(name: &str) -> Object {
    let document = document(name);
    let scope = match document.spec.scope.as_deref() {
        Some("Cluster") => Scope::Cluster,
        None | Some("Namespace") => Scope::Namespace,
        Some(other) => panic!("{other}"),
    };
    policy(&document.metadata.namespace, &document.metadata.name, scope, &document.spec.cedar)
}

#[test]
fn every_example_is_accepted() {
    let folder = format!("{}/../../examples/policies", env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
        snapshot(vec![example(&name)]);
        seen += 1;
    }
    assert!(seen >= 7, "{seen}");
}

fn finance_agent(name: &str, risk: RiskLevel, group: &str) -> Agent {
    Agent { risk_level: risk, groups: names(&[group]), ..agent("finance", name) }
}

fn ledger(namespace: &str) -> McpServer {
    let sets = [(Arc::from("finance-readonly"), names(&["get_invoice", "list_invoices"]))].into();
    McpServer { tool_sets: sets, ..server(namespace, "ledger") }
}

#[test]
fn finance_agents_of_low_risk_read_the_ledger_at_most_three_hops_away() {
    let world = snapshot(objects(
        vec![
            finance_agent("low", RiskLevel::Low, "finance-agents"),
            finance_agent("medium", RiskLevel::Medium, "finance-agents"),
            finance_agent("other", RiskLevel::Low, "sales-agents"),
        ],
        vec![ledger("finance"), ledger("sales")],
        vec![example("finance-read")],
    ));
    for (agent, server, tool, depth, allowed) in [
        ("finance/low", "finance/ledger", "get_invoice", 1, true),
        ("finance/low", "finance/ledger", "list_invoices", 3, true),
        ("finance/low", "finance/ledger", "get_invoice", 4, false),
        ("finance/low", "finance/ledger", "delete_invoice", 1, false),
        ("finance/medium", "finance/ledger", "get_invoice", 1, false),
        ("finance/other", "finance/ledger", "get_invoice", 1, false),
        // The set has the same name there, but the policy governs its own namespace.
        ("finance/low", "sales/ledger", "get_invoice", 1, false),
    ] {
        let server = world.mcp_server(server).unwrap();
        let facts = Facts::of(&world, agent).at_depth(depth);
        let decision = facts.authorize(&world, Action::InvokeTool, Target::Tool { server, name: tool });
        assert_eq!(decision.allowed(), allowed, "{agent} {tool} at {depth}: {decision:?}");
        let code = (!allowed).then_some(Code::NoPermit);
        assert_eq!(decision.code, code);
    }
}

#[test]
fn a_decision_names_the_policy_and_what_it_saw() {
    let world = snapshot(objects(
        vec![finance_agent("low", RiskLevel::Low, "finance-agents")],
        vec![ledger("finance")],
        vec![example("finance-read")],
    ));
    let target = Target::Tool { server: world.mcp_server("finance/ledger").unwrap(), name: "get_invoice" };
    let facts = |depth: usize| {
        let facts = Facts::of(&world, "finance/low").at_depth(depth);
        facts.authorize(&world, Action::InvokeTool, target)
    };
    let wanted = |depth: &'static str| {
        [
            ("context.delegation_depth", depth),
            ("principal in Group::finance-agents", "true"),
            ("principal.risk_level", "low"),
            ("resource in Namespace::finance", "true"),
            ("resource in ToolSet::finance-readonly", "true"),
        ]
    };
    let allowed = facts(2);
    assert_eq!(allowed.policies(), ["finance/finance-read"]);
    assert_eq!(allowed.facts(), wanted("2"));
    let denied = facts(4);
    assert!(denied.policies().is_empty());
    assert_eq!(denied.closest_permits(), ["finance/finance-read"]);
    assert_eq!(denied.facts(), wanted("4"));
    let refusal = denied.refusal();
    assert!(refusal.message.contains("context.delegation_depth = 4"), "{}", refusal.message);
}

fn between(policy: &str, pairs: &[(Agent, Agent, bool)]) {
    for (caller, called, allowed) in pairs {
        let text = format!("{caller:?} calls {called:?}");
        let world =
            snapshot(objects(vec![caller.clone(), called.clone()], Vec::new(), vec![example(policy)]));
        let agent = world.agent(&called.meta.key()).unwrap();
        for target in [Target::Agent(agent), Target::Skill { agent, name: "summarize" }] {
            let facts = Facts::of(&world, &caller.meta.key());
            let decision = facts.authorize(&world, Action::CallAgent, target);
            assert_eq!(decision.allowed(), *allowed, "{text}: {decision:?}");
        }
    }
}

#[test]
fn low_calls_low_and_medium_calls_both() {
    let at = |name: &str, risk_level| Agent { risk_level, ..agent("a", name) };
    use RiskLevel::{Critical, Low, Medium};
    between(
        "risk-levels",
        &[
            (at("x", Low), at("y", Low), true),
            (at("x", Medium), at("y", Low), true),
            (at("x", Medium), at("y", Medium), true),
            (at("x", Low), at("y", Medium), false),
            (at("x", Medium), at("y", Critical), false),
        ],
    );
}

#[test]
fn agents_with_overlapping_capabilities_talk() {
    let with = |name: &str, all: &[&str]| Agent { capabilities: names(all), ..agent("a", name) };
    between(
        "overlapping-capabilities",
        &[
            (with("x", &["search", "finance"]), with("y", &["finance"]), true),
            (with("x", &["search"]), with("y", &["finance"]), false),
            (with("x", &[]), with("y", &["finance"]), false),
            (with("x", &[]), with("y", &[]), false),
        ],
    );
}

#[test]
fn agents_of_a_team_use_its_mcp_servers() {
    let caller = Agent { team: "finance".into(), ..agent("a", "x") };
    let ours = McpServer { team: "finance".into(), ..server("b", "ours") };
    let theirs = McpServer { team: "sales".into(), ..server("b", "theirs") };
    let world = snapshot(objects(vec![caller], vec![ours, theirs], vec![example("same-team")]));
    for (server, allowed) in [("b/ours", true), ("b/theirs", false)] {
        let server = world.mcp_server(server).unwrap();
        for (action, target) in [
            (Action::InvokeTool, Target::Tool { server, name: "t" }),
            (Action::ReadResource, Target::Resource { server, uri: "file:///a" }),
            (Action::GetPrompt, Target::Prompt { server, name: "p" }),
            (Action::ConnectServer, Target::Server(server)),
        ] {
            let decision = Facts::of(&world, "a/x").authorize(&world, action, target);
            assert_eq!(decision.allowed(), allowed, "{action:?}: {decision:?}");
        }
    }
}

#[test]
fn chains_end() {
    let everything = policy("p", "all", Scope::Cluster, "permit (principal, action, resource);");
    let world = snapshot(objects(
        vec![agent("a", "x"), agent("a", "y")],
        Vec::new(),
        vec![example("chain-limits"), everything],
    ));
    let target = Target::Agent(world.agent("a/y").unwrap());
    let ask = |facts: Facts, target| facts.authorize(&world, Action::CallAgent, target);
    assert!(ask(Facts::of(&world, "a/x").at_depth(5), target).allowed());
    let refused = ask(Facts::of(&world, "a/x").at_depth(6), target);
    assert_eq!(refused.code, Some(Code::ForbiddenByPolicy));
    let message = &refused.refusal().message;
    assert!(message.contains("this chain of calls loops"), "{message}");
    // Calls itself.
    assert!(!ask(Facts::of(&world, "a/y"), target).allowed());
    // The called agent acted before.
    let mut facts = Facts::of(&world, "a/x");
    facts.chain.actors.push(world.agent("a/y").unwrap().id.clone());
    assert!(!ask(facts, target).allowed());
    let mut facts = Facts::of(&world, "a/x");
    facts.now = UnixMillis(facts.chain.started.0 + 3_600_000);
    assert!(ask(facts, target).allowed());
    let mut facts = Facts::of(&world, "a/x");
    facts.now = UnixMillis(facts.chain.started.0 + 3_600_001);
    assert!(!ask(facts, target).allowed());
}

#[test]
fn transfers_have_a_limit_however_the_amount_is_written() {
    let caller = Agent { groups: names(&["finance-agents"]), ..agent("finance", "x") };
    let world =
        snapshot(objects(vec![caller], vec![server("finance", "bank")], vec![example("transfer-limit")]));
    let server = world.mcp_server("finance/bank").unwrap();
    for (arguments, allowed) in [
        (r#"{"amount": 10000}"#, true),
        (r#"{"amount": 1e4}"#, true),
        (r#"{"amount": 10001}"#, false),
        (r#"{"amount": 1e5}"#, false),
        (r#"{"amount": 9999.5}"#, false),
        (r#"{"amount": "10"}"#, false),
        (r#"{"amount": [10]}"#, false),
        (r#"{"amount": 99999999999999999999}"#, false),
        (r#"{"Amount": 10}"#, false),
        (r#"{}"#, false),
    ] {
        let facts = Facts::of(&world, "finance/x").with(arguments);
        let target = Target::Tool { server, name: "transfer" };
        let decision = facts.authorize(&world, Action::InvokeTool, target);
        assert_eq!(decision.allowed(), allowed, "{arguments}: {decision:?}");
    }
}

/// The kernel's actions do not come through the gateway; here Cedar itself says that the print acts as it reads.
#[test]
fn data_analysts_stay_in_their_sandbox() {
    let text = document("data-analyst-sandbox").spec.cedar;
    let policies: PolicySet = text.parse().unwrap();
    let (schema, _) = Schema::from_cedarschema_str(vidimus_core::decide::schema::TEXT).unwrap();
    let ask = |action: &str, resource: serde_json::Value, uid: &str, permit_all: bool| {
        let agent = serde_json::json!({
            "uid": {"type": "Agent", "id": "a/x"},
            "parents": [{"type": "AgentClass", "id": "data-analyst"}],
            "attrs": {
                "owner": "o", "team": "t", "capabilities": [], "risk_level": "low", "risk": 1, "environment": "e",
                "authority_class": "act", "authority_stated": false, "quarantined": false,
                "reads": [], "returns": [], "sends": []
            }
        });
        let entities =
            Entities::from_json_value(serde_json::json!([agent, resource]), Some(&schema)).unwrap();
        let request = Request::new(
            r#"Agent::"a/x""#.parse().unwrap(),
            format!("Action::{action:?}").parse().unwrap(),
            uid.parse().unwrap(),
            Context::empty(),
            Some(&schema),
        )
        .unwrap();
        let mut policies = policies.clone();
        if permit_all {
            let all = "permit (principal, action, resource);";
            policies
                .add(cedar_policy::Policy::parse(Some(cedar_policy::PolicyId::new("all")), all).unwrap())
                .unwrap();
        }
        Authorizer::new().is_authorized(&request, &policies, &entities).decision() == Decision::Allow
    };
    for (path, allowed) in [
        ("/workspace/analyst-7/data.csv", true),
        ("/var/run/secrets/analyst-key", true),
        ("/var/run/secrets/other-key", false),
        ("/workspace/other/data.csv", false),
    ] {
        let file = serde_json::json!({"uid": {"type": "FilePath", "id": "f"}, "parents": [], "attrs": {"path": path}});
        for action in ["readFile", "writeFile"] {
            assert_eq!(ask(action, file.clone(), r#"FilePath::"f""#, false), allowed, "{action} {path}");
        }
    }
    for (host, set, allowed) in [
        ("api.example.com", "approved-llm-endpoints", true),
        ("lynx-gateway.internal", "none", true),
        ("evil.example.com", "none", false),
    ] {
        let destination = serde_json::json!({
            "uid": {"type": "NetworkDestination", "id": "n"},
            "parents": [{"type": "DestinationSet", "id": set}],
            "attrs": {"host": host, "port": 443}
        });
        assert_eq!(ask("connectNetwork", destination, r#"NetworkDestination::"n""#, true), allowed, "{host}");
    }
}
