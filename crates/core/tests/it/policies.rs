//! Corners of decisions.

use vidimus_core::call::{Action, Arguments, Target};
use vidimus_core::decide::edges::MAX_EDGE_NAME;
use vidimus_core::permit::Verdict;
use vidimus_core::refusal::Code;
use vidimus_core::resource::policy::Scope;
use vidimus_core::resource::{Agent, McpServer, Object};
use vidimus_core::snapshot::{QUARANTINE_ID, Snapshot};

use crate::world::{Answer, Facts, agent, cluster, names, objects, policy, server, snapshot};

fn world(policies: Vec<Object>) -> Snapshot {
    snapshot(objects(
        vec![agent("a", "x"), agent("b", "y")],
        vec![server("a", "s"), server("b", "s")],
        policies,
    ))
}

fn invoke(world: &Snapshot, server: &str, tool: &str, arguments: &'static str) -> Answer {
    let target = Target::Tool { server: world.mcp_server(server).unwrap(), name: tool };
    Facts::of(world, "a/x").with(arguments).authorize(world, Action::InvokeTool, target)
}

#[test]
fn nothing_is_allowed_by_default() {
    let world = world(Vec::new());
    let server = world.mcp_server("a/s").unwrap();
    for (action, target) in [
        (Action::InvokeTool, Target::Tool { server, name: "t" }),
        (Action::ReadResource, Target::Resource { server, uri: "u" }),
        (Action::GetPrompt, Target::Prompt { server, name: "p" }),
        (Action::ConnectServer, Target::Server(server)),
        (Action::CallAgent, Target::Agent(world.agent("b/y").unwrap())),
    ] {
        let facts = Facts::of(&world, "a/x");
        let decision = facts.authorize(&world, action, target);
        assert_eq!((decision.allowed(), decision.code), (false, Some(Code::NoPermit)));
        assert_eq!(decision.refusal().message, "no policy permits this call");
        assert!(!facts.ask(action, target, |call| world.could_allow(call)));
    }
}

#[test]
fn an_action_on_a_target_of_another_kind_is_denied() {
    let world = world(vec![cluster("permit (principal, action, resource);")]);
    let server = world.mcp_server("a/s").unwrap();
    let decision =
        Facts::of(&world, "a/x").authorize(&world, Action::CallModel, Target::Tool { server, name: "t" });
    assert_eq!(decision.code, Some(Code::PolicyError));
}

#[test]
fn one_failing_policy_denies_whatever_the_others_say() {
    let overflow = "when { context.delegation_depth + 9223372036854775807 > 0 };";
    for failing in [
        format!("permit (principal, action == Action::\"invokeTool\", resource) {overflow}"),
        format!("forbid (principal, action == Action::\"invokeTool\", resource) {overflow}"),
        // Known on the edge already.
        "permit (principal, action, resource) when { principal.risk + 9223372036854775807 > 0 };".to_owned(),
        "forbid (principal, action, resource) when { Agent::\"a/ghost\".team == \"x\" };".to_owned(),
    ] {
        let others = policy("t", "all", Scope::Cluster, "permit (principal, action, resource);");
        let world = world(vec![cluster(&failing), others]);
        let decision = invoke(&world, "a/s", "t", "{}");
        assert_eq!((decision.code, decision.policies()), (Some(Code::PolicyError), vec!["t/p"]), "{failing}");
        let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "t" };
        assert!(!Facts::of(&world, "a/x").ask(Action::InvokeTool, target, |call| world.could_allow(call)));
    }
}

#[test]
fn a_forbid_wins_and_says_why() {
    let text = r#"
        @id("all") permit (principal, action, resource);
        @id("large") @reason("amounts above 100 need a person")
        forbid (principal, action == Action::"invokeTool", resource)
        when { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") > 100 };
    "#;
    let world = world(vec![cluster(text)]);
    let allowed = invoke(&world, "a/s", "pay", r#"{"amount": 100}"#);
    assert_eq!((allowed.allowed(), allowed.policies()), (true, vec!["t/p#all"]));
    assert!(matches!(allowed.verdict, Verdict::Permitted(_)));
    let refused = invoke(&world, "a/s", "pay", r#"{"amount": 101}"#);
    assert_eq!((refused.code, refused.policies()), (Some(Code::ForbiddenByPolicy), vec!["t/p#large"]));
    assert_eq!(refused.facts(), [("context.numbers[\"/amount\"]", "101")]);
    assert_eq!(refused.refusal().message, "refused by t/p#large: amounts above 100 need a person");
}

#[test]
fn the_quarantined_are_refused_whatever_is_permitted() {
    let caught = Agent { quarantined: true, ..agent("a", "x") };
    let all = cluster("permit (principal, action, resource);");
    let world = snapshot(objects(vec![caught], vec![server("a", "s")], vec![all]));
    let decision = invoke(&world, "a/s", "t", "{}");
    assert_eq!((decision.code, decision.policies()), (Some(Code::ForbiddenByPolicy), vec![QUARANTINE_ID]));
    // Nobody owns that policy: what is told is who lifts it.
    assert!(decision.refusal().next().contains("vidimus quarantine list"), "{}", decision.refusal().next());
}

#[test]
fn nobody_calls_an_agent_that_is_quarantined() {
    let caught = Agent { quarantined: true, ..agent("a", "y") };
    let all = cluster("permit (principal, action, resource);");
    let world =
        snapshot(objects(vec![agent("a", "x"), agent("a", "z"), caught], vec![server("a", "s")], vec![all]));
    let call = |agent, skill| {
        let agent = world.agent(agent).unwrap();
        let target = if skill { Target::Skill { agent, name: "s" } } else { Target::Agent(agent) };
        let decision = Facts::of(&world, "a/x").authorize(&world, Action::CallAgent, target);
        (decision.code, decision.policies().join(" "))
    };
    for skill in [false, true] {
        assert_eq!(call("a/y", skill), (Some(Code::ForbiddenByPolicy), QUARANTINE_ID.to_owned()));
        assert_eq!(call("a/z", skill).0, None);
    }
}

#[test]
fn a_namespaced_policy_governs_its_own_resources() {
    let permit = "permit (principal, action, resource);";
    let world = world(vec![policy("b", "p", Scope::Namespace, permit)]);
    assert!(invoke(&world, "b/s", "t", "{}").allowed());
    assert!(!invoke(&world, "a/s", "t", "{}").allowed());
    let call = |agent| {
        let target = Target::Skill { agent: world.agent(agent).unwrap(), name: "s" };
        Facts::of(&world, "a/x").authorize(&world, Action::CallAgent, target).allowed()
    };
    assert_eq!((call("b/y"), call("a/x")), (true, false));
    // Its forbids too: a namespace cannot shut another one.
    let forbid = policy("b", "q", Scope::Namespace, "forbid (principal, action, resource);");
    let world = crate::policies::world(vec![cluster(permit), forbid]);
    assert!(invoke(&world, "a/s", "t", "{}").allowed());
    assert!(!invoke(&world, "b/s", "t", "{}").allowed());
    // A condition that would fail is not reached outside of the namespace.
    let failing = "permit (principal, action, resource) when { principal.risk + 9223372036854775807 > 0 };";
    let world = crate::policies::world(vec![cluster(permit), policy("b", "q", Scope::Namespace, failing)]);
    assert!(invoke(&world, "a/s", "t", "{}").allowed());
    assert_eq!(invoke(&world, "b/s", "t", "{}").code, Some(Code::PolicyError));
}

#[test]
fn names_from_callers_cannot_reach_other_names() {
    let text = r#"permit (principal, action, resource == Tool::"a/s/read");"#;
    let world = world(vec![cluster(text)]);
    for (tool, allowed) in [
        ("read", true),
        ("Read", false),
        ("read ", false),
        ("read\0", false),
        ("../s/read", false),
        ("", false),
        ("read\"", false),
        ("a/s/read", false),
        ("re\u{0430}d", false),
    ] {
        assert_eq!(invoke(&world, "a/s", tool, "{}").allowed(), allowed, "{tool:?}");
        assert!(!invoke(&world, "b/s", tool, "{}").allowed(), "{tool:?}");
    }
}

#[test]
fn long_names_are_decided_and_not_kept() {
    let world =
        world(vec![cluster(r#"permit (principal, action, resource) when { resource in Namespace::"a" };"#)]);
    let long = "x".repeat(MAX_EDGE_NAME + 1);
    for _ in 0..2 {
        assert!(invoke(&world, "a/s", &long, "{}").allowed());
        assert!(!invoke(&world, "b/s", &long, "{}").allowed());
    }
    assert_eq!(world.edges(), 0);
    invoke(&world, "a/s", &"x".repeat(MAX_EDGE_NAME), "{}");
    assert_eq!(world.edges(), 1);
}

/// What is in force no longer is kept for what is built on it, with no more than that needs; who still has it is answered as before.
#[test]
fn what_is_in_force_no_longer_keeps_no_edges() {
    let world =
        world(vec![cluster(r#"permit (principal, action, resource) when { resource in Namespace::"a" };"#)]);
    assert!(invoke(&world, "a/s", "read", "{}").allowed());
    assert_eq!(world.edges(), 1);
    world.retire();
    assert_eq!(world.edges(), 0);
    assert!(invoke(&world, "a/s", "read", "{}").allowed() && !invoke(&world, "b/s", "read", "{}").allowed());
}

#[test]
fn values_of_arguments_are_shortened_in_facts() {
    let text = r#"permit (principal, action == Action::"invokeTool", resource)
        when { context.args.hasTag("/text") && context.args.getTag("/text") like "a*" };"#;
    let world = world(vec![cluster(text)]);
    let arguments: &'static str = format!(r#"{{"text": "a{}"}}"#, "ü".repeat(1_000)).leak();
    let decision = invoke(&world, "a/s", "t", arguments);
    assert!(decision.allowed());
    let (name, value) = decision.facts()[0];
    assert_eq!((name, value.len()), ("context.args[\"/text\"]", 255));
}

#[test]
fn arguments_are_looked_up_by_exact_pointer() {
    let asks = |pointer: &str| {
        let text = format!(
            r#"permit (principal, action == Action::"invokeTool", resource) when {{ context.args.hasTag({pointer:?}) }};"#
        );
        world(vec![cluster(&text)])
    };
    for (pointer, arguments, there) in [
        ("/a", r#"{"a": 1}"#, true),
        ("/a", r#"{"a": null}"#, true),
        ("/a", r#"{"a": {}}"#, true),
        ("/a", r#"{"a": []}"#, true),
        ("/a", r#"{"a": {"b": 1}}"#, false),
        ("/a", r#"{"a": [1]}"#, false),
        ("a", r#"{"a": 1}"#, false),
        ("/a/", r#"{"a": 1}"#, false),
        ("/a/0", r#"{"a": [1]}"#, true),
        ("/a/00", r#"{"a": [1]}"#, false),
        ("/a/-", r#"{"a": [1]}"#, false),
        ("/a~1b", r#"{"a/b": 1}"#, true),
        ("/a/b", r#"{"a/b": 1}"#, false),
        ("/a~0b", r#"{"a~b": 1}"#, true),
        // Not a pointer (RFC 6901 section 3), although lenient readers would take it.
        ("/a~b", r#"{"a~b": 1}"#, false),
        ("/a~2b", r#"{"a~2b": 1}"#, false),
        ("/a~", r#"{"a~": 1}"#, false),
    ] {
        let arguments: &'static str = arguments;
        assert_eq!(
            invoke(&asks(pointer), "a/s", "t", arguments).allowed(),
            there,
            "{pointer} in {arguments}"
        );
    }
}

#[test]
fn a_listing_shows_what_some_arguments_would_be_allowed_for() {
    let bank = McpServer { tool_sets: [("pay".into(), names(&["transfer"]))].into(), ..server("a", "bank") };
    let text = r#"
        permit (principal, action == Action::"invokeTool", resource in ToolSet::"pay")
        when { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") <= 100 };
        forbid (principal, action == Action::"invokeTool", resource)
        when { context.args.hasTag("/to") && context.args.getTag("/to") == "evil" };
        permit (principal, action == Action::"invokeTool", resource == Tool::"a/bank/balance")
        unless { context.delegation_depth > 1 };
    "#;
    let world = snapshot(objects(vec![agent("a", "x")], vec![bank], vec![cluster(text)]));
    let could = |tool, depth| {
        let target = Target::Tool { server: world.mcp_server("a/bank").unwrap(), name: tool };
        Facts::of(&world, "a/x").at_depth(depth).ask(Action::InvokeTool, target, |call| {
            let mut call = *call;
            call.ask.arguments = Arguments::Unknown;
            world.could_allow(&call)
        })
    };
    assert!(could("transfer", 1));
    assert!(could("balance", 1));
    assert!(!could("balance", 2), "refused for any arguments");
    assert!(!could("close_account", 1));
}

#[test]
fn at_most_eight_closest_permits_are_named() {
    let some = |number: usize| {
        let text =
            format!(r#"permit (principal, action, resource) when {{ principal.team == "team-{number}" }};"#);
        policy("t", &format!("p{number:02}"), Scope::Cluster, &text)
    };
    let close = policy(
        "t",
        "zz",
        Scope::Cluster,
        r#"permit (principal, action in Action::"mcp", resource) when { context.chain.depth > 1 };"#,
    );
    let mut policies: Vec<Object> = (0..30).map(some).collect();
    policies.push(close);
    let world = world(policies);
    let decision = invoke(&world, "a/s", "t", "{}");
    // What only the context kept from being satisfied comes first.
    assert_eq!((decision.closest_permits().len(), decision.closest_permits()[0]), (8, "t/zz"));
    assert!(decision.facts().contains(&("principal.team", "finance")));
    assert!(decision.facts().contains(&("context.chain.depth", "1")));
    // Eight are just as many.
    let eight = crate::policies::world((0..8).map(some).collect());
    assert_eq!(invoke(&eight, "a/s", "t", "{}").closest_permits().len(), 8);
}

#[test]
fn where_no_scope_fits_the_permits_about_the_caller_are_closest() {
    let permit = |name: &str, scope: &str| {
        policy(
            "t",
            name,
            Scope::Cluster,
            &format!("permit (principal == {scope}, action, resource in ToolSet::\"other\");"),
        )
    };
    let world = world(vec![permit("own", r#"Agent::"a/x""#), permit("their", r#"Agent::"b/y""#)]);
    let decision = invoke(&world, "a/s", "t", "{}");
    assert_eq!(decision.closest_permits(), ["t/own"], "what concerns others is not told");
    let facts = decision.facts();
    assert!(facts.contains(&("resource in ToolSet::other", "false")), "{facts:?}");
}

/// What a policy names besides the caller and what is called is looked at as it is registered.
#[test]
fn a_policy_may_look_at_what_else_is_registered() {
    for (condition, allowed) in [
        (r#"Agent::"b/y".team == "finance""#, true),
        (r#"Agent::"b/y".team == "other""#, false),
        (r#"MCPServer::"a/s".team == principal.team"#, true),
        (r#"Tool::"a/s/other".server.team == principal.team"#, true),
        (r#"Tool::"a/s/other" in MCPServer::"a/s""#, true),
        (r#"Agent::"b/y" in Team::"finance""#, true),
        (r#"Agent::"b/y" in Team::"other""#, false),
    ] {
        let world =
            world(vec![cluster(&format!("permit (principal, action, resource) when {{ {condition} }};"))]);
        let decision = invoke(&world, "a/s", "t", "{}");
        let code = if allowed { None } else { Some(Code::NoPermit) };
        assert_eq!(decision.code, code, "{condition}: {:?}", decision.facts());
    }
}

/// A policy that fails denies, also where a condition behind what fails would not hold.
#[test]
fn what_fails_fails_before_what_does_not_hold() {
    let text = r#"permit (principal, action, resource);
        forbid (principal, action == Action::"invokeTool", resource)
        when { context.numbers.hasTag("/n") && -context.numbers.getTag("/n") > 0 && principal.team == "nobody" };"#;
    let world = world(vec![cluster(text)]);
    for (arguments, code) in
        [(r#"{"n": -5}"#, None), (r#"{"n": -9223372036854775808}"#, Some(Code::PolicyError))]
    {
        assert_eq!(invoke(&world, "a/s", "t", arguments).code, code, "{arguments}");
    }
}

#[test]
fn an_edge_is_compiled_once() {
    let world = world(vec![cluster("permit (principal, action, resource);")]);
    for _ in 0..2 {
        for number in 0..50 {
            assert!(invoke(&world, "a/s", &format!("t{number}"), "{}").allowed());
        }
        assert_eq!(world.edges(), 50);
    }
}

#[test]
fn a_forbid_is_no_closest_permit() {
    for scope in ["principal == Agent::\"a/x\"", "principal"] {
        for condition in ["context.delegation_depth > 5", "principal.team == \"other\""] {
            let forbid = format!(
                "forbid ({scope}, action == Action::\"invokeTool\", resource) when {{ {condition} }};"
            );
            let decision = invoke(&world(vec![cluster(&forbid)]), "a/s", "t", "{}");
            let found = (decision.code, decision.closest_permits().len());
            assert_eq!(found, (Some(Code::NoPermit), 0), "{scope} {condition}");
        }
    }
}

/// As many as are looked for, one fewer and one more.
#[test]
fn closest_permits_are_counted_at_their_bounds() {
    for (scope, most) in [("principal", 8), ("principal == Agent::\"a/x\"", 8)] {
        for number in [1, 3, 4, 7, 8, 9, 15, 16, 17] {
            let some = |number: usize| {
                let text = format!(
                    "permit ({scope}, action, resource) when {{ principal.team == \"team-{number}\" }};"
                );
                policy("t", &format!("p{number:02}"), Scope::Cluster, &text)
            };
            let decision = invoke(&world((0..number).map(some).collect()), "a/s", "t", "{}");
            assert_eq!(decision.closest_permits().len(), number.min(most), "{number} of {scope}");
        }
    }
    // About the caller and something else: three.
    for number in [2, 3, 4] {
        let some = |number: usize| {
            let text =
                format!("permit (principal == Agent::\"a/x\", action, resource in ToolSet::\"s{number}\");");
            policy("t", &format!("p{number:02}"), Scope::Cluster, &text)
        };
        let decision = invoke(&world((0..number).map(some).collect()), "a/s", "t", "{}");
        assert_eq!(decision.closest_permits().len(), number.min(3), "{number}");
    }
}
