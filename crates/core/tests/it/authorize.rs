//! What follows for a call from records and from what a protocol needs.

use vidimus_core::call::{Action, Target};
use vidimus_core::decision::Decision;
use vidimus_core::refusal::Code;
use vidimus_core::resource::{DelegationLimits, Object};
use vidimus_core::snapshot::Snapshot;

use crate::world::{Facts, agent, cluster, names, objects, server, snapshot};

fn world(policy: &str) -> Snapshot {
    let mut limited = agent("a", "limited");
    limited.delegation = DelegationLimits { max_depth: Some(2), max_fan_out: Some(3) };
    let mut tools = server("a", "s");
    tools.tool_sets.insert("readers".into(), names(&["get"]));
    let policies: Vec<Object> = if policy.is_empty() { Vec::new() } else { vec![cluster(policy)] };
    snapshot(objects(vec![agent("a", "x"), agent("b", "y"), limited], vec![tools], policies))
}

fn connect(world: &Snapshot) -> Decision {
    let target = Target::Server(world.mcp_server("a/s").unwrap());
    Facts::of(world, "a/x").ask(Action::ConnectServer, target, |call| world.authorize(call))
}

fn skill(world: &Snapshot, name: &str) -> Decision {
    let target = Target::Skill { agent: world.agent("b/y").unwrap(), name };
    Facts::of(world, "a/x").ask(Action::CallAgent, target, |call| world.authorize(call))
}

#[test]
fn who_may_use_something_may_connect_and_the_record_says_through_what() {
    for (policy, through) in [
        (
            r#"permit (principal, action == Action::"invokeTool", resource in ToolSet::"readers");"#,
            "Tool/a/s/get",
        ),
        (
            r#"permit (principal, action == Action::"invokeTool", resource == Tool::"a/s/pay");"#,
            "Tool/a/s/pay",
        ),
        (
            r#"permit (principal, action == Action::"getPrompt", resource == Prompt::"a/s/p");"#,
            "Prompt/a/s/p",
        ),
        (r#"permit (principal, action == Action::"readResource", resource);"#, "Resource/a/s/*"),
        (
            r#"permit (principal, action == Action::"invokeTool", resource == Tool::"a/s/pay")
               when { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") < 5 };"#,
            "Tool/a/s/pay",
        ),
    ] {
        let decision = connect(&world(policy));
        assert!(decision.allowed(), "{policy}");
        assert_eq!(decision.policies().iter().map(|id| &**id).collect::<Vec<_>>(), ["t/p"], "{policy}");
        assert!(
            decision.facts().iter().any(|(name, value)| &**name == "through" && value.ends_with(through)),
            "{policy}"
        );
    }
    for policy in [
        "",
        r#"permit (principal == Agent::"b/y", action == Action::"invokeTool", resource);"#,
        r#"permit (principal, action == Action::"invokeTool", resource == Tool::"a/other/pay");"#,
        r#"permit (principal, action == Action::"callAgent", resource);"#,
        r#"permit (principal, action, resource); forbid (principal, action == Action::"connectServer", resource);"#,
    ] {
        assert!(!connect(&world(policy)).allowed(), "{policy}");
    }
}

#[test]
fn a_skill_narrows_and_never_escapes() {
    let part = r#"permit (principal, action, resource == Skill::"b/y/s");"#;
    let whole = r#"permit (principal, action, resource == Agent::"b/y");"#;
    let no_part = r#"forbid (principal, action, resource == Skill::"b/y/s");"#;
    let no_whole = r#"forbid (principal, action, resource == Agent::"b/y");"#;
    for (policy, named, other) in [
        (part.to_owned(), None, Some(Code::NoPermit)),
        (whole.to_owned(), None, None),
        (format!("{whole}{no_part}"), Some(Code::ForbiddenByPolicy), None),
        (format!("{part}{no_whole}"), Some(Code::ForbiddenByPolicy), Some(Code::ForbiddenByPolicy)),
        (String::new(), Some(Code::NoPermit), Some(Code::NoPermit)),
    ] {
        let world = world(&policy);
        assert_eq!(skill(&world, "s").code(), named, "{policy}");
        assert_eq!(skill(&world, "t").code(), other, "{policy}");
    }
}

#[test]
fn who_may_use_a_skill_may_read_the_card_and_follow_its_tasks() {
    let ask = |world: &Snapshot, method| {
        let target = Target::Agent(world.agent("b/y").unwrap());
        let facts = Facts { method, ..Facts::of(world, "a/x") };
        facts.ask(Action::CallAgent, target, |call| world.authorize(call))
    };
    let about = ["GetAgentCard", "GetExtendedAgentCard", "GetTask", "CancelTask", "SubscribeToTask"];
    for (policy, through) in [
        (r#"permit (principal, action, resource == Skill::"b/y/s");"#, "Skill/b/y/s"),
        (r#"permit (principal, action, resource) when { resource == Skill::"b/y/s" };"#, "Skill/b/y/s"),
        (r#"permit (principal, action == Action::"callAgent", resource is Skill);"#, "Skill/b/y/*"),
    ] {
        let world = world(policy);
        for method in about {
            let decision = ask(&world, method);
            assert!(decision.allowed(), "{policy} {method}");
            assert_eq!(decision.policies().iter().map(|id| &**id).collect::<Vec<_>>(), ["t/p"], "{policy}");
            let mut facts = decision.facts().iter();
            assert!(
                facts.any(|(name, value)| &**name == "through" && value.ends_with(through)),
                "{policy} {method} {:?}",
                decision.facts()
            );
        }
        for method in ["SendMessage", "SendStreamingMessage", ""] {
            assert_eq!(ask(&world, method).code(), Some(Code::NoPermit), "{policy} {method}");
        }
    }
    let part = r#"permit (principal, action, resource == Skill::"b/y/s");"#;
    for (policy, code) in [
        (String::new(), Code::NoPermit),
        (r#"permit (principal, action, resource == Skill::"b/z/s");"#.to_owned(), Code::NoPermit),
        (r#"permit (principal, action, resource == Tool::"b/y/s");"#.to_owned(), Code::NoPermit),
        (format!(r#"{part} forbid (principal, action, resource == Skill::"b/y/s");"#), Code::NoPermit),
        (format!(r#"{part} forbid (principal, action, resource == Agent::"b/y");"#), Code::ForbiddenByPolicy),
        (
            format!(
                r#"{part} forbid (principal, action == Action::"callAgent", resource) when {{ context.method == "GetTask" }};"#
            ),
            Code::ForbiddenByPolicy,
        ),
    ] {
        assert_eq!(ask(&world(&policy), "GetTask").code(), Some(code), "{policy}");
    }
}

#[test]
fn an_agents_own_record_limits_its_depth_whatever_policies_say() {
    let world = world("permit (principal, action, resource);");
    let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "get" };
    for (name, depth, code) in
        [("a/limited", 2, None), ("a/limited", 3, Some(Code::DelegationTooDeep)), ("a/x", 9, None)]
    {
        let facts = Facts::of(&world, name).at_depth(depth);
        let decision = facts.ask(Action::InvokeTool, target, |call| world.authorize(call));
        assert_eq!(decision.code(), code, "{name} at {depth}");
        assert_eq!(decision.permit().is_ok(), code.is_none());
    }
}

#[test]
fn an_agents_own_record_limits_its_width_whatever_policies_say() {
    let world = world("permit (principal, action, resource);");
    let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "get" };
    for (name, fan_out, code) in
        [("a/limited", 3, None), ("a/limited", 4, Some(Code::DelegationTooWide)), ("a/x", 9, None)]
    {
        let facts = Facts { fan_out, ..Facts::of(&world, name).at_depth(2) };
        let decision = facts.ask(Action::InvokeTool, target, |call| world.authorize(call));
        assert_eq!(decision.code(), code, "{name} at {fan_out}");
        assert_eq!(decision.permit().is_ok(), code.is_none());
        if code.is_some() {
            let facts: Vec<_> = decision.facts().iter().map(|(name, value)| (&**name, &**value)).collect();
            assert_eq!(facts, [("context.fan_out", "4"), ("principal.delegation.maxFanOut", "3")]);
        }
    }
}
