//! A value that policies cannot see does not pass as if it were absent.

use vidimus_core::call::{Action, Target};
use vidimus_core::refusal::{Class, Code};
use vidimus_core::resource::mcp_server::Tool;
use vidimus_core::resource::{McpServer, RiskLevel};
use vidimus_core::snapshot::Snapshot;

use crate::world::{Answer, Facts, agent, cluster, objects, server, snapshot};

const ALL: &str = r#"@id("all") permit (principal, action, resource);"#;
const LARGE: &str = r#"@id("all") permit (principal, action, resource);
    @id("large") forbid (principal, action == Action::"invokeTool", resource)
    when { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") > 100 };"#;
const SEVEN: &str = r#"@id("all") permit (principal, action, resource);
    @id("seven") forbid (principal, action == Action::"invokeTool", resource)
    when { context.args.hasTag("/id") && context.args.getTag("/id") == "7" };"#;
/// The same, by Cedar's own evaluator.
const SEVEN_BY_CEDAR: &str = r#"@id("all") permit (principal, action, resource);
    @id("seven") forbid (principal, action == Action::"invokeTool", resource)
    when { context.args.hasTag("/id") && {id: context.args.getTag("/id")} == {id: "7"} };"#;
const LARGE_BY_CEDAR: &str = r#"@id("all") permit (principal, action, resource);
    @id("large") forbid (principal, action == Action::"invokeTool", resource)
    when { context.numbers.hasTag("/amount") && {amount: context.numbers.getTag("/amount")} == {amount: 101} };"#;
/// Which number is looked at depends on the call.
const SOMEWHERE: &str = r#"@id("all") permit (principal, action, resource);
    @id("any") forbid (principal, action == Action::"invokeTool", resource)
    when { {there: context.numbers.hasTag(context.method)} == {there: true} };"#;

fn world(policy: &str) -> Snapshot {
    let loose =
        Tool { risk_level: RiskLevel::Low, read_only: false, destructive: true, unseen_arguments: true };
    let server = McpServer { tools: [("loose".into(), loose)].into(), ..server("a", "s") };
    snapshot(objects(vec![agent("a", "x")], vec![server], vec![cluster(policy)]))
}

fn invoke(world: &Snapshot, tool: &str, arguments: &'static str) -> Answer {
    let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: tool };
    Facts::of(world, "a/x").with(arguments).authorize(world, Action::InvokeTool, target)
}

#[test]
fn a_limit_holds_whatever_the_notation_and_the_range() {
    const FORBIDDEN: Option<Code> = Some(Code::ForbiddenByPolicy);
    const UNSEEN: Option<Code> = Some(Code::Unrepresentable);
    for (policy, arguments, code) in [
        (LARGE, r#"{"amount": 100}"#, None),
        (LARGE, r#"{"amount": 1e2}"#, None),
        (LARGE, r#"{"amount": null}"#, None),
        (LARGE, r#"{"other": 7.5}"#, None),
        (LARGE, r#"{"amount": 101}"#, FORBIDDEN),
        (LARGE, r#"{"amount": 101.0}"#, FORBIDDEN),
        (LARGE, r#"{"amount": 1e18}"#, UNSEEN),
        (LARGE, r#"{"amount": 1e15}"#, FORBIDDEN),
        (LARGE, r#"{"amount": 100.5}"#, UNSEEN),
        (LARGE, r#"{"amount": 9223372036854775807}"#, UNSEEN),
        (LARGE, r#"{"amount": 9223372036854775808}"#, UNSEEN),
        (LARGE, r#"{"amount": 18446744073709551616}"#, UNSEEN),
        (LARGE, r#"{"amount": 1e300}"#, UNSEEN),
        (LARGE, r#"{"amount": "101"}"#, UNSEEN),
        (LARGE, r#"{"amount": [101]}"#, UNSEEN),
        (LARGE, r#"{"Amount": 101}"#, UNSEEN),
        (SEVEN, r#"{"id": "8"}"#, None),
        (SEVEN, r#"{"id": "7"}"#, FORBIDDEN),
        (SEVEN, r#"{"id": 7}"#, FORBIDDEN),
        (SEVEN, r#"{"id": 7.0}"#, FORBIDDEN),
        (SEVEN, r#"{"id": 7e0}"#, FORBIDDEN),
        (SEVEN, r#"{"id": 0.7e1}"#, FORBIDDEN),
        (SEVEN, r#"{"id": [7]}"#, UNSEEN),
        (SEVEN, r#"{"id": {"value": 7}}"#, UNSEEN),
        (SEVEN, r#"{"ID": 7}"#, UNSEEN),
        (SEVEN_BY_CEDAR, r#"{"id": "8"}"#, None),
        (SEVEN_BY_CEDAR, r#"{"id": 7.0}"#, FORBIDDEN),
        (SEVEN_BY_CEDAR, r#"{"id": [7]}"#, UNSEEN),
        (SEVEN_BY_CEDAR, r#"{"Id": 7}"#, UNSEEN),
        (LARGE_BY_CEDAR, r#"{"amount": 100}"#, None),
        (LARGE_BY_CEDAR, r#"{"amount": 101}"#, FORBIDDEN),
        (LARGE_BY_CEDAR, r#"{"amount": "101"}"#, UNSEEN),
        (SOMEWHERE, r#"{"amount": 101, "unit": "x"}"#, None),
        (SOMEWHERE, r#"{"amount": 101.0}"#, None),
        (SOMEWHERE, r#"{"amounts": [{"of": 100.5}]}"#, UNSEEN),
        // Whatever the policies.
        (ALL, r#"{"anything": [0, 0.5, 9007199254740992]}"#, None),
        (ALL, r#"{"anything": [0, 9007199254740993]}"#, UNSEEN),
        (ALL, r#"{"anything": [0, 9223372036854775808]}"#, UNSEEN),
        (ALL, r#""amount=101""#, UNSEEN),
        (ALL, r#"[{"amount": 101}]"#, UNSEEN),
        (ALL, "101", UNSEEN),
    ] {
        let decision = invoke(&world(policy), "t", arguments);
        assert_eq!(decision.code, code, "{arguments} by {policy}");
    }
}

#[test]
fn the_member_is_named() {
    assert_eq!(Code::Unrepresentable.class(), Class::Forbidden);
    let by_none = invoke(&world(ALL), "t", r#"{"to": {"a/b": [1, 9223372036854775808]}}"#);
    assert_eq!(by_none.policies(), ["vidimus/arguments"]);
    assert_eq!(
        by_none.refusal().message,
        "an argument is not one that policies see exactly: \
         context.args[\"/to/a~1b/1\"] = 9223372036854775808, which is beyond the numbers of policies"
    );
    let by_one = invoke(&world(LARGE), "t", r#"{"amount": "101"}"#);
    assert_eq!(by_one.policies(), ["t/p#large"]);
    assert_eq!(
        by_one.refusal().message,
        "an argument is not one that policies see exactly: context.numbers[\"/amount\"] = the text \"101\""
    );
}

#[test]
fn a_tool_is_opted_out_by_its_name_alone() {
    for (policy, arguments) in [
        (LARGE, r#"{"amount": "101"}"#),
        (LARGE, r#"{"amount": 9223372036854775808}"#),
        (LARGE, r#"{"Amount": 101}"#),
        (SEVEN, r#"{"id": [7]}"#),
        (SEVEN_BY_CEDAR, r#"{"id": [7]}"#),
        (SOMEWHERE, r#"{"amount": 100.5}"#),
        (ALL, "[101]"),
    ] {
        let world = world(policy);
        assert_eq!(invoke(&world, "loose", arguments).code, None, "{arguments}");
        assert_eq!(invoke(&world, "Loose", arguments).code, Some(Code::Unrepresentable), "{arguments}");
    }
    // What is seen is decided as ever.
    let decision = invoke(&world(LARGE), "loose", r#"{"amount": 101}"#);
    assert_eq!(decision.code, Some(Code::ForbiddenByPolicy));
}

#[test]
fn a_forbid_that_sees_is_said_before_one_that_does_not() {
    let policy = format!("{LARGE} {}", SEVEN.trim_start_matches(ALL));
    let decision = invoke(&world(&policy), "t", r#"{"amount": "101", "id": 7}"#);
    assert_eq!(decision.code, Some(Code::ForbiddenByPolicy));
    // What nothing permits is said to be unseen all the same.
    let permit = r#"permit (principal, action == Action::"invokeTool", resource)
        unless { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") > 100 };"#;
    for (arguments, code) in [
        (r#"{"amount": 100}"#, None),
        (r#"{"amount": 101}"#, Some(Code::NoPermit)),
        (r#"{"amount": "101"}"#, Some(Code::Unrepresentable)),
    ] {
        assert_eq!(invoke(&world(permit), "t", arguments).code, code, "{arguments}");
    }
}
