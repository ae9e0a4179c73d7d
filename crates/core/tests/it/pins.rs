//! A tool that is not what the record of its server pins.

use vidimus_core::call::{Action, Arguments, Ask, Call, Target};
use vidimus_core::decision::Outcome;
use vidimus_core::refusal::Code;
use vidimus_core::resource::integrity::Unpinned;
use vidimus_core::resource::{Integrity, McpServer};
use vidimus_core::snapshot::Snapshot;

use crate::world::{Answer, Facts, agent, cluster, objects, server, snapshot};

const ALL: &str = r#"@id("all") permit (principal, action, resource);"#;
const PIN: &str = "sha256:00";
const OTHER: &str = "sha256:11";

fn world(policy: &str) -> Snapshot {
    let integrity = Integrity { pins: [("pay".into(), PIN.into())].into(), ..Integrity::default() };
    let pinned = McpServer { integrity: Some(integrity), ..server("a", "s") };
    snapshot(objects(vec![agent("a", "x")], vec![pinned, server("a", "free")], vec![cluster(policy)]))
}

fn ask<'a>(world: &'a Snapshot, (server, tool): (&str, &'a str), definition: Option<&'a str>) -> Ask<'a> {
    let target = Target::Tool { server: world.mcp_server(server).unwrap(), name: tool };
    Ask { definition, ..Ask::about("tools/call", Action::InvokeTool, target) }
}

fn invoke(world: &Snapshot, of: (&str, &str), definition: Option<&str>) -> Answer {
    Facts::of(world, "a/x").asked(world, ask(world, of, definition))
}

#[test]
fn a_tool_that_is_not_what_is_pinned_is_not_called() {
    const DRIFTED: Option<Code> = Some(Code::ToolDrifted);
    let world = world(ALL);
    for (server, tool, definition, code) in [
        ("a/s", "pay", None, None),
        ("a/s", "pay", Some(PIN), None),
        ("a/s", "pay", Some(OTHER), DRIFTED),
        ("a/s", "pay", Some(Ask::NOT_LISTED), DRIFTED),
        ("a/s", "refund", None, DRIFTED),
        ("a/s", "refund", Some(PIN), DRIFTED),
        // A pin is of exactly one name: another case, a letter that looks the same, a space of no width.
        ("a/s", "Pay", Some(PIN), DRIFTED),
        ("a/s", "p\u{430}y", Some(PIN), DRIFTED),
        ("a/s", "pay\u{200b}", Some(PIN), DRIFTED),
        ("a/free", "pay", Some(OTHER), None),
        ("a/free", "refund", None, None),
    ] {
        let answer = invoke(&world, (server, tool), definition);
        assert_eq!(answer.code, code, "{server} {tool} {definition:?}");
    }
}

#[test]
fn what_differs_stands_in_the_decision() {
    let world = world(ALL);
    let answer = invoke(&world, ("a/s", "pay"), Some(OTHER));
    assert_eq!(answer.policies(), ["MCPServer/a/s spec.integrity.pins"]);
    let facts = [("resource.definition", OTHER), ("resource.drifted", "true"), ("resource.pinned", PIN)];
    assert_eq!(answer.facts(), facts);
    assert!(answer.refusal().next().contains("vidimus pin --diff"), "{:?}", answer.refusal());
}

/// A server whose record has tools pinned as what they are when they are first seen, but for one that it pins itself.
#[test]
fn a_tool_is_held_to_what_it_was_when_it_was_first_seen() {
    const DRIFTED: Option<Code> = Some(Code::ToolDrifted);
    let integrity = Integrity {
        pins: [("pay".into(), PIN.into())].into(),
        unpinned: Unpinned::FirstSight,
        ..Integrity::default()
    };
    let pinned = McpServer { integrity: Some(integrity), ..server("a", "s") };
    let world = snapshot(objects(vec![agent("a", "x")], vec![pinned], vec![cluster(ALL)]));
    for (tool, definition, first_seen, code) in [
        // Nobody looked: who carries the call does.
        ("get", None, None, None),
        ("get", None, Some(PIN), None),
        ("get", Some(PIN), Some(PIN), None),
        ("get", Some(OTHER), Some(PIN), DRIFTED),
        ("get", Some(Ask::NOT_LISTED), Some(PIN), DRIFTED),
        // Somebody looked, and it could not be pinned.
        ("get", Some(OTHER), None, DRIFTED),
        ("get", Some(Ask::NOT_LISTED), None, DRIFTED),
        // What the record says counts.
        ("pay", Some(OTHER), Some(OTHER), DRIFTED),
        ("pay", Some(PIN), Some(OTHER), None),
    ] {
        let ask = Ask { first_seen, ..ask(&world, ("a/s", tool), definition) };
        let answer = Facts::of(&world, "a/x").asked(&world, ask);
        assert_eq!(answer.code, code, "{tool} {definition:?} {first_seen:?}");
        if code.is_some() {
            let field = if tool == "pay" { "pins" } else { "unpinned" };
            assert_eq!(answer.policies(), [format!("MCPServer/a/s spec.integrity.{field}")]);
        }
    }
    // Elsewhere nothing is first seen.
    let elsewhere = self::world(ALL);
    let ask = Ask { first_seen: Some(PIN), ..ask(&elsewhere, ("a/s", "get"), Some(PIN)) };
    assert_eq!(Facts::of(&elsewhere, "a/x").asked(&elsewhere, ask).code, DRIFTED);
}

/// Who may not call it is told that, and nothing of what it is.
#[test]
fn policies_are_asked_first() {
    let forbids = r#"@id("all") permit (principal, action, resource);
        @id("no") forbid (principal, action == Action::"invokeTool", resource);"#;
    for (policy, code) in [
        (forbids, Code::ForbiddenByPolicy),
        (r#"@id("none") forbid (principal, action == Action::"callModel", resource);"#, Code::NoPermit),
    ] {
        let world = world(policy);
        assert_eq!(invoke(&world, ("a/s", "pay"), Some(OTHER)).code, Some(code));
    }
}

#[test]
fn nobody_is_asked_about_a_tool_that_drifted() {
    let held = r#"@id("all") permit (principal, action, resource);
        @id("held") @approval("owners") forbid (principal, action == Action::"invokeTool", resource);"#;
    let world = world(held);
    assert_eq!(invoke(&world, ("a/s", "pay"), Some(PIN)).outcome, Outcome::Hold);
    let drifted = invoke(&world, ("a/s", "pay"), Some(OTHER));
    assert_eq!((drifted.outcome, drifted.code), (Outcome::Deny, Some(Code::ToolDrifted)));
}

#[test]
fn it_is_not_listed_and_what_it_made_is_asked_for() {
    let world = world(ALL);
    let facts = Facts::of(&world, "a/x");
    let shows = |tool: &str, definition: Option<&str>| {
        let ask = Ask {
            arguments: Arguments::Unknown,
            method: "tools/list",
            ..ask(&world, ("a/s", tool), definition)
        };
        facts.ask(ask.action, ask.target, |call| world.could_allow(&Call { ask, ..*call }))
    };
    assert!(shows("pay", Some(PIN)));
    assert!(!shows("pay", Some(OTHER)));
    assert!(!shows("refund", Some(PIN)));
    let of_task = Ask {
        method: "tasks/get",
        task: Some("1"),
        arguments: Arguments::Unknown,
        ..ask(&world, ("a/s", "pay"), Some(OTHER))
    };
    assert_eq!(facts.asked(&world, of_task).code, None);
}

/// Who may use a tool of it connects, whatever is pinned.
#[test]
fn a_server_with_pins_is_connected_to() {
    let one =
        r#"@id("one") permit (principal, action == Action::"invokeTool", resource == Tool::"a/s/pay");"#;
    for policy in [ALL, one, r#"@id("any") permit (principal, action == Action::"invokeTool", resource);"#] {
        let world = world(policy);
        let target = Target::Server(world.mcp_server("a/s").unwrap());
        let facts = Facts { method: "tools/list", ..Facts::of(&world, "a/x") };
        assert_eq!(facts.authorize(&world, Action::ConnectServer, target).code, None, "{policy}");
    }
}
