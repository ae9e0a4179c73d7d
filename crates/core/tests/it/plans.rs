//! Policies that permit the steps of a plan, and nothing else.

use serde_json::{Value, json};
use vidimus_core::call::{Action, Arguments, Ask, Call, Content, Target, step_digest};
use vidimus_core::json::Json;
use vidimus_core::refusal::Code;
use vidimus_core::resource::mcp_server::Tool;
use vidimus_core::resource::{self, Object, Origin, RiskLevel};
use vidimus_core::snapshot::Snapshot;

use crate::world::{Facts, agent, objects, server, snapshot};

const TOOLS: &str = r#"permit (principal, action == Action::"invokeTool", resource);"#;
const STEP: &str = r#"{"to":"acme","amount":100}"#;

fn policy(name: &str, cedar: &str, plan: &Value) -> Value {
    json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy", "metadata": {"namespace": "t", "name": name},
        "spec": {"description": "d", "scope": "Cluster", "cedar": cedar, "plan": plan}})
}

fn digest(tool: &str, arguments: &str) -> String {
    step_digest(tool, Some(&Json::parse(arguments.as_bytes()).unwrap()), Content::default())
}

fn object(policy: &Value) -> Object {
    resource::check(&Origin::default(), policy).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn world(policies: &[Value]) -> Snapshot {
    snapshot(objects(vec![agent("a", "x")], vec![server("a", "s")], policies.iter().map(object).collect()))
}

/// The code of a call, and what its facts say of the step that it is.
fn made(world: &Snapshot, ask: Ask<'_>) -> (Option<Code>, Option<String>) {
    Facts::of(world, "a/x").ask(ask.action, ask.target, |call| {
        let decision = world.authorize(&Call { ask, ..*call });
        let fact = decision.facts().iter().find(|(name, _)| &**name == "context.call_digest");
        (decision.code(), fact.map(|(_, value)| value.to_string()))
    })
}

#[test]
fn a_plan_permits_its_steps_and_nothing_else() {
    let step = digest("Tool/a/s/pay", STEP);
    let world = world(&[policy("p", TOOLS, &json!([step, digest("Tool/a/s/close", "{}")]))]);
    let server = world.mcp_server("a/s").unwrap();
    let pay = |arguments: &str| {
        let arguments = Json::parse(arguments.as_bytes()).unwrap();
        let target = Target::Tool { server, name: "pay" };
        let ask = Ask {
            arguments: Arguments::Known(&arguments),
            ..Ask::about("tools/call", Action::InvokeTool, target)
        };
        made(&world, ask)
    };
    assert_eq!(pay(STEP), (None, Some(step)));
    assert_eq!(pay(r#"{"amount":1e2,"to":"acme"}"#).0, None, "however it is written");
    for other in [
        r#"{"to":"acme","amount":101}"#,
        r#"{"to":"acme","amount":"100"}"#,
        r#"{"to":"acme","amount":100,"memo":""}"#,
        r#"{"to":"acme","Amount":100}"#,
        r#"{"to":"acme"}"#,
        "{}",
    ] {
        let (code, fact) = pay(other);
        assert_eq!((code, fact), (Some(Code::NoPermit), Some(digest("Tool/a/s/pay", other))), "{other}");
    }
    let close = Ask::about("tools/call", Action::InvokeTool, Target::Tool { server, name: "close" });
    assert_eq!(made(&world, close).0, None);
    // What goes beside the arguments is another step.
    let beside = Json::parse(br#"{"requestState":"s"}"#).unwrap();
    let content = Content { params: Some(&beside), ..Content::default() };
    assert_eq!(made(&world, Ask { content, ..close }).0, Some(Code::NoPermit));
    let other = Ask { target: Target::Tool { server, name: "open" }, ..close };
    assert_eq!(made(&world, other).0, Some(Code::NoPermit));
    // Who may take some step may look at what there is.
    let list = Ask::about("tools/list", Action::ConnectServer, Target::Server(server));
    assert_eq!(made(&world, list).0, None);
    // Some arguments are permitted; what became of a call is asked by whoever could have made it.
    let unknown = Ask { arguments: Arguments::Unknown, ..close };
    Facts::of(&world, "a/x").ask(close.action, close.target, |call| {
        assert!(world.could_allow(&Call { ask: unknown, ..*call }));
    });
    assert_eq!(made(&world, unknown).0, None);
}

/// Also where Cedar itself evaluates the policy.
#[test]
fn who_may_take_some_step_may_look_whoever_evaluates_the_policy() {
    let by_cedar = TOOLS.replace(';', " when { {cycle: context.chain.cycle} == {cycle: false} };");
    let world = world(&[policy("p", &by_cedar, &json!([digest("Tool/a/s/close", "{}")]))]);
    let server = world.mcp_server("a/s").unwrap();
    let close = Ask::about("tools/call", Action::InvokeTool, Target::Tool { server, name: "close" });
    assert_eq!(made(&world, close).0, None);
    let other = Ask { target: Target::Tool { server, name: "open" }, ..close };
    assert_eq!(made(&world, other).0, Some(Code::NoPermit));
    let list = Ask::about("tools/list", Action::ConnectServer, Target::Server(server));
    assert_eq!(made(&world, list).0, None);
}

#[test]
fn a_number_that_may_be_read_as_another_is_in_no_plan() {
    let near = digest("Tool/a/s/pay", r#"{"amount":9007199254740992}"#);
    let mut lenient = server("a", "s");
    let pay =
        Tool { risk_level: RiskLevel::Low, read_only: false, destructive: true, unseen_arguments: true };
    lenient.tools.insert("pay".into(), pay);
    let fraction = digest("Tool/a/s/pay", r#"{"amount":0.1}"#);
    let policies = vec![object(&policy("p", TOOLS, &json!([near, fraction])))];
    let world = snapshot(objects(vec![agent("a", "x")], vec![lenient], policies));
    let server = world.mcp_server("a/s").unwrap();
    let no = Some(Code::NoPermit);
    for (amount, code) in [
        ("9007199254740992", None),
        ("9007199254740993", no),
        ("9007199254740993.0", no),
        ("18446744073709551616", no),
        ("0.1", None),
        ("1e-1", None),
        // The same double; how it is written is known of the message alone.
        ("0.10000000000000000001", no),
    ] {
        let body = format!("{{\"amount\":{amount}}}");
        let arguments = Json::parse(body.as_bytes()).unwrap();
        let target = Target::Tool { server, name: "pay" };
        let ask = Ask {
            arguments: Arguments::Known(&arguments),
            body: body.as_bytes(),
            ..Ask::about("tools/call", Action::InvokeTool, target)
        };
        assert_eq!(made(&world, ask).0, code, "{amount}");
    }
}

/// What is forbidden is forbidden whatever the plan is, and its author is told.
#[test]
fn a_plan_opens_no_forbid_and_is_of_tools_alone() {
    let plan = json!([digest("Tool/a/s/pay", STEP)]);
    let forbid = TOOLS.replace("permit", "forbid");
    let world = world(&[policy("p", TOOLS, &plan), policy("f", &forbid, &plan)]);
    assert!(world.warnings().iter().any(|one| one.reason.contains("whatever the plan is")));
    let close = Ask::about(
        "tools/call",
        Action::InvokeTool,
        Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "close" },
    );
    assert_eq!(made(&world, close).0, Some(Code::ForbiddenByPolicy));
    for cedar in [
        "permit (principal, action, resource);",
        r#"permit (principal, action == Action::"readResource", resource);"#,
        r#"permit (principal, action in Action::"mcp", resource);"#,
    ] {
        let (_, rejected) = Snapshot::build(vec![object(&policy("p", cedar, &plan))]);
        assert!(
            rejected.iter().any(|one| one.reason.contains("a plan is of calls of tools")),
            "{cedar} {rejected:?}"
        );
    }
}

#[test]
fn a_plan_that_is_none_is_refused() {
    let good = digest("Tool/a/s/pay", STEP);
    for (plan, field) in [
        (json!([]), "spec.plan"),
        (json!([good, "sha256:00"]), "spec.plan[1]"),
        (json!([good.to_uppercase()]), "spec.plan[0]"),
        (json!([good.trim_start_matches("sha256:")]), "spec.plan[0]"),
        (json!(vec![&good; 257]), "spec.plan"),
        (json!("x"), "spec.plan"),
    ] {
        let refused = resource::check(&Origin::default(), &policy("p", TOOLS, &plan));
        let fields: Vec<String> = refused.unwrap_err().into_iter().map(|one| one.field).collect();
        assert!(fields.iter().any(|one| one == field), "{plan}: {fields:?}");
    }
}
