//! What a decision says that it looked at, and which permits it names when there is none.

use vidimus_core::call::{Action, Target};
use vidimus_core::caller::User;
use vidimus_core::refusal::Code;
use vidimus_core::resource::policy::Scope;
use vidimus_core::resource::{Agent, McpServer};
use vidimus_core::snapshot::Snapshot;

use crate::world::{Answer, Facts, agent, cluster, meta, names, objects, policy, server, service, snapshot};

fn world(policies: &[(&str, &str)]) -> Snapshot {
    let mut meta = meta("a", "x");
    meta.labels.insert("tier".into(), "gold".into());
    let caller = Agent {
        meta,
        groups: names(&["g"]),
        capabilities: names(&["read", "write"]),
        version: Some("v1".into()),
        ..agent("a", "x")
    };
    let tools = McpServer { tool_sets: [("readers".into(), names(&["get"]))].into(), ..server("a", "s") };
    let policies = policies.iter().map(|(name, text)| policy("t", name, Scope::Cluster, text)).collect();
    snapshot(objects(vec![caller, agent("b", "y")], vec![tools, server("b", "s")], policies))
}

fn get(world: &Snapshot, change: impl Fn(&mut Facts)) -> Answer {
    let mut facts = Facts::of(world, "a/x").with(r#"{"n": 7, "text": "a", "list": [1]}"#);
    facts.user = Some(User {
        issuer: "https://i".into(),
        subject: "anna".into(),
        email: None,
        groups: std::sync::Arc::default(),
    });
    facts.source_ip = Some("10.0.0.1".parse().unwrap());
    change(&mut facts);
    let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "get" };
    facts.authorize(world, Action::InvokeTool, target)
}

/// Scope, condition, and what is told.
type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// Each condition holds of the call, and of all of it exactly this is told.
#[test]
fn everything_that_was_looked_at_is_told_once() {
    let anywhere = "principal, action == Action::\"invokeTool\", resource";
    let table: &[Row<'_>] = &[
        (anywhere, "true", &[]),
        // The scope.
        ("principal == Agent::\"a/x\", action, resource", "true", &[("principal", "Agent/a/x")]),
        ("principal in Group::\"g\", action, resource", "true", &[("principal in Group::g", "true")]),
        ("principal is Agent, action, resource", "true", &[]),
        (
            "principal is Agent in Team::\"finance\", action, resource",
            "true",
            &[("principal in Team::finance", "true")],
        ),
        ("principal, action, resource == Tool::\"a/s/get\"", "true", &[("resource", "Tool/a/s/get")]),
        (
            "principal, action, resource in MCPServer::\"a/s\"",
            "true",
            &[("resource in MCPServer::a/s", "true")],
        ),
        (
            "principal, action, resource is Tool in ToolSet::\"readers\"",
            "true",
            &[("resource in ToolSet::readers", "true")],
        ),
        ("principal in Agent::\"a/x\", action, resource", "true", &[("principal in Agent::a/x", "true")]),
        // Attributes of every type, and through another entity.
        (anywhere, "principal.team == \"finance\"", &[("principal.team", "finance")]),
        (anywhere, "principal.risk < 9", &[("principal.risk", "1")]),
        (anywhere, "!principal.quarantined", &[("principal.quarantined", "false")]),
        (
            anywhere,
            "principal.capabilities.contains(\"read\")",
            &[("principal.capabilities", "[read, write]")],
        ),
        (anywhere, "principal has version && principal.version == \"v1\"", &[("principal.version", "v1")]),
        (anywhere, "!(principal has sandbox_class)", &[("principal.sandbox_class", "absent")]),
        (anywhere, "resource.server == MCPServer::\"a/s\"", &[("resource.server", "MCPServer/a/s")]),
        (
            anywhere,
            "resource.server.owner == \"first.last@example.com\"",
            &[("resource.server.owner", "first.last@example.com")],
        ),
        (
            anywhere,
            "resource.server.team == principal.team",
            &[("principal.team", "finance"), ("resource.server.team", "finance")],
        ),
        // Labels.
        (
            anywhere,
            "principal.hasTag(\"tier\") && principal.getTag(\"tier\") == \"gold\"",
            &[("principal[\"tier\"]", "gold")],
        ),
        (anywhere, "!(principal.hasTag(\"rank\"))", &[("principal[\"rank\"]", "absent")]),
        // Comparisons and memberships in conditions.
        (anywhere, "principal == Agent::\"a/x\"", &[("principal", "Agent/a/x")]),
        (anywhere, "Agent::\"a/y\" != principal", &[("principal", "Agent/a/x")]),
        (anywhere, "principal in Group::\"g\"", &[("principal in Group::g", "true")]),
        (anywhere, "!(principal in Group::\"h\")", &[("principal in Group::h", "false")]),
        (
            anywhere,
            "resource in [ToolSet::\"readers\", ToolSet::\"writers\"]",
            &[("resource in ToolSet::readers", "true"), ("resource in ToolSet::writers", "false")],
        ),
        (anywhere, "principal is Agent in Group::\"g\"", &[("principal in Group::g", "true")]),
        (anywhere, "principal is Agent in Namespace::\"a\"", &[("principal in Namespace::a", "true")]),
        // The context.
        (anywhere, "context.method == \"tools/call\"", &[("context.method", "tools/call")]),
        (anywhere, "context.delegation_depth == 1", &[("context.delegation_depth", "1")]),
        (anywhere, "context.chain.depth == 1", &[("context.chain.depth", "1")]),
        (anywhere, "context.chain.age < duration(\"1s\")", &[("context.chain.age", "500ms")]),
        (anywhere, "!context.chain.cycle", &[("context.chain.cycle", "false")]),
        (anywhere, "context.chain.agents.isEmpty()", &[("context.chain.agents", "[]")]),
        (anywhere, "context.now > datetime(\"2026-09-21\")", &[("context.now", "2026-09-21T14:13:20.5Z")]),
        (anywhere, "context.transaction == \"txn-1\"", &[("context.transaction", "txn-1")]),
        (anywhere, "context.identity like \"*agent\"", &[("context.identity", "spiffe://test/agent")]),
        (anywhere, "context has on_behalf_of", &[("context.on_behalf_of", "User/https://i#anna")]),
        (
            anywhere,
            "context has on_behalf_of && context.on_behalf_of.issuer == \"https://i\"",
            &[("context.on_behalf_of.issuer", "https://i")],
        ),
        (
            anywhere,
            "context has on_behalf_of && context.on_behalf_of.subject == \"anna\"",
            &[("context.on_behalf_of.subject", "anna")],
        ),
        (anywhere, "!(context has on_behalf_of.email)", &[("context.on_behalf_of.email", "absent")]),
        (
            anywhere,
            "context has source_ip && context.source_ip.isIpv4()",
            &[("context.source_ip", "10.0.0.1")],
        ),
        (anywhere, "!(context has instance)", &[("context.instance", "absent")]),
        // Part of the schema that nothing fills yet, and a part that is no value by itself.
        (anywhere, "!(context has approval)", &[("context.approval", "absent")]),
        (anywhere, "!(context has approval.role)", &[("context.approval.role", "absent")]),
        (
            anywhere,
            "context has chain && context.delegation_depth == 1",
            &[("context.delegation_depth", "1")],
        ),
        // Arguments, as text and as numbers.
        (
            anywhere,
            "context.args.hasTag(\"/text\") && context.args.getTag(\"/text\") == \"a\"",
            &[("context.args[\"/text\"]", "a")],
        ),
        (
            anywhere,
            "context.numbers.hasTag(\"/n\") && context.numbers.getTag(\"/n\") == 7",
            &[("context.numbers[\"/n\"]", "7")],
        ),
        (anywhere, "!(context.args.hasTag(\"/none\"))", &[("context.args[\"/none\"]", "absent")]),
        (anywhere, "!(context.numbers.hasTag(\"/none\"))", &[("context.numbers[\"/none\"]", "absent")]),
    ];
    for (scope, condition, expected) in table {
        let world = world(&[("p", &format!("permit ({scope}) when {{ {condition} }};"))]);
        let decision = get(&world, |_| {});
        assert!(decision.allowed(), "{scope}: {condition}");
        assert_eq!(decision.facts(), *expected, "{scope}: {condition}");
    }
}

#[test]
fn sets_are_told_in_order() {
    let world = world(&[(
        "p",
        "permit (principal, action == Action::\"invokeTool\", resource) unless { context.chain.agents.isEmpty() };",
    )]);
    let chain = |facts: &mut Facts| {
        facts.chain.actors = ["Agent/b/y", "Service/c/z", "Agent/a/z"].map(|id| id.parse().unwrap()).to_vec();
    };
    assert_eq!(get(&world, chain).facts(), [("context.chain.agents", "[Agent/a/z, Agent/b/y]")]);
}

/// Which permits a denied call is told of: those that come closest to it, and none that are about something else.
#[test]
fn the_permits_that_come_closest_are_of_the_call() {
    let other = "when { principal.team == \"other\" }";
    let on = |scope: &str| format!("permit ({scope}) {other};");
    let table: &[(&str, &[&str])] = &[
        ("principal, action, resource", &["t/p"]),
        ("principal, action == Action::\"invokeTool\", resource", &["t/p"]),
        ("principal, action in Action::\"mcp\", resource", &["t/p"]),
        ("principal, action in [Action::\"getPrompt\", Action::\"invokeTool\"], resource", &["t/p"]),
        ("principal is Agent, action, resource is Tool", &["t/p"]),
        ("principal == Agent::\"a/x\", action, resource in MCPServer::\"a/s\"", &["t/p"]),
        // Another action, another type, somebody else.
        ("principal, action == Action::\"getPrompt\", resource", &[]),
        ("principal, action == Action::\"callAgent\", resource", &[]),
        ("principal, action in Action::\"a2a\", resource", &[]),
        ("principal, action in Action::\"kernel\", resource", &[]),
        ("principal is Service, action, resource", &[]),
        ("principal is Service, action, resource is Tool", &[]),
        ("principal is Agent, action, resource is Prompt", &[]),
        ("principal == Agent::\"b/y\", action, resource", &[]),
        ("principal in Group::\"h\", action, resource", &[]),
        // Another resource: told only where it is about the caller.
        ("principal, action, resource in MCPServer::\"b/s\"", &[]),
        ("principal == Agent::\"a/x\", action, resource in MCPServer::\"b/s\"", &["t/p"]),
        ("principal in Group::\"g\", action, resource == Tool::\"b/s/get\"", &["t/p"]),
    ];
    for (scope, expected) in table {
        let decision = get(&world(&[("p", &on(scope))]), |_| {});
        assert_eq!(
            (decision.code, &*decision.closest_permits()),
            (Some(Code::NoPermit), *expected),
            "{scope}"
        );
    }
}

/// Those that lack least come first; where they lack as much, those that ask for more; then by name.
#[test]
fn the_closest_permits_are_in_the_order_of_what_they_lack() {
    let world = world(&[
        (
            "a",
            "permit (principal, action, resource) when { principal.team == \"o\" && principal.owner == \"o\" };",
        ),
        ("b", "permit (principal, action, resource) when { principal.team == \"o\" };"),
        ("c", "permit (principal in Group::\"g\", action, resource) when { principal.team == \"o\" };"),
        (
            "d",
            "permit (principal in Group::\"g\", action, resource in ToolSet::\"readers\") when { principal.team == \"o\" };",
        ),
        ("e", "permit (principal, action, resource) when { principal.environment == \"o\" };"),
        ("f", "permit (principal == Agent::\"a/x\", action, resource in ToolSet::\"other\");"),
    ]);
    assert_eq!(get(&world, |_| {}).closest_permits(), ["t/d", "t/c", "t/b", "t/e", "t/a"]);
}

#[test]
fn at_most_three_permits_of_the_caller_elsewhere_are_named() {
    let text = "permit (principal == Agent::\"a/x\", action, resource in ToolSet::\"other\");";
    let world = world(&[("d", text), ("c", text), ("b", text), ("a", text)]);
    assert_eq!(get(&world, |_| {}).closest_permits(), ["t/a", "t/b", "t/c"]);
}

/// A permit that fell short by its context is named with what it saw there, once, and not among those of the edge again.
#[test]
fn permits_that_fall_short_by_the_context_come_first() {
    let world = world(&[
        ("a", "permit (principal, action, resource) when { principal.team == \"o\" };"),
        (
            "z",
            "permit (principal in Group::\"g\", action in Action::\"mcp\", resource) when { context.chain.depth > 1 };",
        ),
        ("f", "forbid (principal, action in Action::\"mcp\", resource) when { context.chain.depth > 2 };"),
    ]);
    let decision = get(&world, |_| {});
    assert_eq!(decision.closest_permits(), ["t/z", "t/a"]);
    assert_eq!(
        decision.facts(),
        [("context.chain.depth", "1"), ("principal in Group::g", "true"), ("principal.team", "finance")]
    );
}

/// The index may leave a policy out only where it is false, and not where it would have failed.
#[test]
fn a_policy_that_fails_before_it_is_false_denies() {
    let fails = "principal.risk + 9223372036854775807 > 0";
    let is_not = "principal.team == \"other\"";
    for (conditions, code) in [
        (format!("when {{ {is_not} && {fails} }}"), None),
        (format!("when {{ {is_not} }} when {{ {fails} }}"), None),
        (format!("when {{ {is_not} }} unless {{ {fails} }}"), None),
        (format!("when {{ {fails} && {is_not} }}"), Some(Code::PolicyError)),
        (format!("when {{ {fails} }} when {{ {is_not} }}"), Some(Code::PolicyError)),
        (format!("unless {{ {fails} }} when {{ {is_not} }}"), Some(Code::PolicyError)),
        (format!("unless {{ principal.quarantined }} when {{ {is_not} }} when {{ {fails} }}"), None),
        (format!("when {{ Agent::\"a/ghost\".team == \"x\" }} when {{ {is_not} }}"), Some(Code::PolicyError)),
    ] {
        let all = "permit (principal, action, resource);";
        let world =
            world(&[("all", all), ("p", &format!("forbid (principal, action, resource) {conditions};"))]);
        assert_eq!(get(&world, |_| {}).code, code, "{conditions}");
    }
}

/// What forbids says why; and what permits does not, whatever it is annotated with.
#[test]
fn only_a_forbid_gives_its_reason() {
    let with = |effect: &str, reason: &str, condition: &str| {
        let text = format!(
            "@reason(\"{reason}\") {effect} (principal, action in Action::\"mcp\", resource) {condition};"
        );
        let all = "permit (principal, action, resource);";
        get(&world(&[("all", all), ("p", &text)]), |_| {})
    };
    for condition in ["", "when { context.chain.depth == 1 }"] {
        assert_eq!(with("forbid", "ask Anna", condition).refusal().message, "refused by t/p: ask Anna");
        assert!(with("forbid", "", condition).refusal().message.starts_with("refused by t/p on"));
        assert!(with("permit", "ask Anna", condition).allowed());
    }
    let fails = "when { context.chain.depth + 9223372036854775807 > 0 }";
    assert!(!with("forbid", "ask Anna", fails).refusal().message.contains("Anna"));
}

/// A policy on actions of the kernel says nothing of calls, and a namespaced one is valid with them, without them and with both.
#[test]
fn policies_on_the_kernels_actions_are_not_of_the_gateway() {
    for (action, allowed) in [
        ("action == Action::\"readFile\"", false),
        ("action in Action::\"kernel\"", false),
        ("action in [Action::\"exec\", Action::\"invokeTool\"]", true),
        ("action in [Action::\"kernel\", Action::\"mcp\"]", true),
        ("action", true),
    ] {
        for scope in [Scope::Cluster, Scope::Namespace] {
            let permit = policy("a", "p", scope, &format!("permit (principal, {action}, resource);"));
            let objects = objects(vec![agent("a", "x")], vec![server("a", "s")], vec![permit]);
            assert_eq!(get(&snapshot(objects), |_| {}).allowed(), allowed, "{action} {scope:?}");
        }
    }
}

#[test]
fn a_service_is_told_the_same_way() {
    let objects = objects(
        vec![],
        vec![server("a", "s")],
        vec![cluster("permit (principal is Service in Team::\"finance\", action, resource);")],
    );
    let caller = vidimus_core::resource::Object::Service(service("a", "svc").into());
    let world = snapshot(objects.into_iter().chain([caller]).collect());
    let principal = vidimus_core::resource::Principal::Service(world.service("a/svc").unwrap().clone());
    let other = snapshot(crate::world::objects(vec![agent("a", "x")], vec![], vec![]));
    let facts = Facts { principal, ..Facts::of(&other, "a/x") };
    let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "get" };
    let decision = facts.authorize(&world, Action::InvokeTool, target);
    assert!(decision.allowed());
    assert_eq!(decision.facts(), [("principal in Team::finance", "true")]);
}
