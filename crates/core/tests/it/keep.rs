//! Permits that have records keep a payload of what they permit.

use std::sync::Arc;

use vidimus_core::call::{Action, Target};
use vidimus_core::decision::{About, Outcome};
use vidimus_core::keep::{Keep, KeptPayload};
use vidimus_core::permit::Verdict;
use vidimus_core::resource::policy::{Mode, Scope};
use vidimus_core::resource::{McpServer, Object};
use vidimus_core::snapshot::Snapshot;

use crate::world::{Facts, agent, cluster, objects, policy, provider, server, snapshot};

const ALL: &str = r#"@id("all") permit (principal, action, resource);"#;
const ARGUMENTS: &str = r#"@id("arguments") @keep("arguments") permit (principal, action == Action::"invokeTool", resource == Tool::"a/s/pay")
    when { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") > 100 };"#;
const ANSWER: &str =
    r#"@id("answer") @keep("answer") permit (principal, action == Action::"invokeTool", resource);"#;

const NOTHING: Keep = Keep { arguments: false, answer: false };
const BOTH: Keep = Keep { arguments: true, answer: true };

fn world_of(policies: Vec<Object>) -> Snapshot {
    let mut all = objects(vec![agent("a", "x")], vec![server("a", "s")], policies);
    all.push(Object::LlmProvider(Arc::new(provider("a", "llm", &[("big", &[])]))));
    snapshot(all)
}

fn world(texts: &[&str]) -> Snapshot {
    world_of(vec![cluster(&texts.concat())])
}

fn server_of(world: &Snapshot) -> &Arc<McpServer> {
    world.mcp_server("a/s").unwrap()
}

fn pay(world: &Snapshot) -> Target<'_> {
    Target::Tool { server: server_of(world), name: "pay" }
}

fn of(world: &Snapshot, arguments: &'static str) -> (Outcome, Keep) {
    Facts::of(world, "a/x").with(arguments).ask(Action::InvokeTool, pay(world), |call| {
        let decision = world.authorize(call);
        (decision.outcome(), decision.keeps())
    })
}

#[test]
fn what_the_permits_say_is_kept_that_allow_the_call_and_nothing_else() {
    let all = world(&[ALL, ARGUMENTS, ANSWER]);
    assert_eq!(of(&all, r#"{"amount": 101}"#), (Outcome::Allow, BOTH));
    // A permit that is not satisfied keeps nothing.
    assert_eq!(of(&all, r#"{"amount": 100}"#), (Outcome::Allow, Keep { answer: true, ..NOTHING }));
    assert_eq!(of(&world(&[ALL]), "{}"), (Outcome::Allow, NOTHING));
    let forbid = r#"forbid (principal, action, resource == Tool::"a/s/pay");"#;
    assert_eq!(of(&world(&[ALL, ANSWER, forbid]), "{}"), (Outcome::Deny, NOTHING));
    assert_eq!(of(&world(&[ARGUMENTS]), "{}"), (Outcome::Deny, NOTHING));
    // Of what is changed it is kept as well, and whoever carries it out is told.
    let changed = r#"@redact("/card") forbid (principal, action == Action::"invokeTool", resource);"#;
    let all = world(&[ALL, ANSWER, changed]);
    assert_eq!(of(&all, "{}"), (Outcome::AllowWithObligations, Keep { answer: true, ..NOTHING }));
    let answer = Facts::of(&all, "a/x").authorize(&all, Action::InvokeTool, pay(&all));
    let Verdict::Permitted(permit) = answer.verdict else { panic!("{answer:?}") };
    assert_eq!(permit.keeps(), Keep { answer: true, ..NOTHING });
}

/// What is held was not permitted: once it is approved, it is decided again.
#[test]
fn of_what_is_held_nothing_is_kept() {
    let hold = r#"@approval("payers") forbid (principal, action == Action::"invokeTool", resource)
        unless { context has approval && context.approval.role == "payers" };"#;
    assert_eq!(of(&world(&[ALL, ANSWER, hold]), "{}"), (Outcome::Hold, NOTHING));
}

#[test]
fn what_is_only_tried_keeps_nothing() {
    let Object::Policy(tried) = policy("t", "tried", Scope::Cluster, ANSWER) else { panic!("a policy") };
    let mut tried = (*tried).clone();
    tried.mode = Mode::Observe;
    let world = world_of(vec![cluster(ALL), Object::Policy(Arc::new(tried))]);
    assert_eq!(of(&world, "{}"), (Outcome::Allow, NOTHING));
}

/// To connect, and to list, is allowed by what permits a use, and has no payload.
#[test]
fn what_only_connects_or_lists_keeps_nothing() {
    let keeps = r#"@keep("arguments, answer") permit (principal, action, resource);"#;
    let world = world(&[keeps]);
    let server = server_of(&world);
    let provider = world.llm_provider("a/llm").unwrap();
    let of =
        |action, target| Facts::of(&world, "a/x").ask(action, target, |call| world.authorize(call).keeps());
    for (action, target, kept) in [
        (Action::InvokeTool, pay(&world), BOTH),
        (Action::ReadResource, Target::Resource { server, uri: "file:///a" }, BOTH),
        (Action::GetPrompt, Target::Prompt { server, name: "p" }, BOTH),
        (Action::ConnectServer, Target::Server(server), NOTHING),
        (Action::CallModel, Target::Model { provider, name: "big" }, BOTH),
        (Action::ListModels, Target::Provider(provider), NOTHING),
    ] {
        assert_eq!(of(action, target), kept, "{action:?}");
    }
}

#[test]
fn the_record_of_a_decision_has_what_was_sealed_for_it() {
    let world = world(&[ALL, ANSWER]);
    Facts::of(&world, "a/x").ask(Action::InvokeTool, pay(&world), |call| {
        let decision = world.authorize(call);
        let id: Arc<str> = "call".into();
        let kept = KeptPayload {
            bytes: 2,
            key: Some("k".to_owned()),
            sealed: Some("s".to_owned()),
            ..KeptPayload::default()
        };
        let about = About {
            id: &id,
            trace: "",
            parent: None,
            time: "",
            protocol: "mcp",
            body: "",
            snapshot: "",
            approval: None,
            on_account_of: None,
            kept: Some(&kept),
            aged: None,
        };
        let record = serde_json::to_value(decision.record(&about)).unwrap();
        assert_eq!(record["kept"], serde_json::json!({"bytes": 2, "key": "k", "sealed": "s"}));
        let without = serde_json::to_value(decision.record(&About { kept: None, ..about })).unwrap();
        assert_eq!(without.get("kept"), None);
    });
}
