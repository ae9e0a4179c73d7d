//! Forbids that a guard lifts: decided as plain Cedar does, with the names of those that let the call pass.

use std::sync::Arc;

use vidimus_core::call::{Action, Ask, Call, Target};
use vidimus_core::decision::Outcome;
use vidimus_core::guard::{Came, Guard, Guarded, Kinds, Looked, OnFinding};
use vidimus_core::json_schema::HeldSchema;
use vidimus_core::refusal::Code;
use vidimus_core::resource::own_guard::{Looks, OnFailure, OwnGuard, Pattern, Webhook};
use vidimus_core::resource::policy::{Mode, Scope};
use vidimus_core::resource::{Object, Policy};
use vidimus_core::snapshot::Snapshot;

use crate::world::{Facts, agent, cluster, objects, policy, server, snapshot};

const PERMIT: &str = "permit (principal, action, resource);";
const SECRETS: &str = r#"@guard("secrets") forbid (principal, action == Action::"invokeTool", resource)
    unless { context.guarded.contains("secrets") };"#;
/// What the residual language does not have: Cedar itself evaluates it.
const BY_CEDAR: &str = r#"@guard("secrets") forbid (principal, action == Action::"invokeTool", resource)
    unless { {g: context.guarded.contains("secrets")} == {g: true} };"#;
const DATA: &str = r#"@guard("personal_data") @on_finding("redact") forbid (principal, action == Action::"invokeTool", resource)
    unless { context.guarded.contains("personal_data") };"#;

fn world(texts: &[&str]) -> Snapshot {
    snapshot(objects(vec![agent("a", "x")], vec![server("a", "s")], vec![cluster(&texts.concat())]))
}

/// What is decided once these guards came to this, and those that are waited for then.
fn decided(world: &Snapshot, came: &[(Guard, Came)]) -> (Outcome, Option<Code>, Vec<(Guard, OnFinding)>) {
    let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "pay" };
    let mut guarded = Guarded::default();
    for (guard, came) in came {
        guarded.add(Looked { guard: guard.clone(), came: *came, kinds: Kinds::new() }, []);
    }
    Facts::of(world, "a/x").ask(Action::InvokeTool, target, |call| {
        let ask = Ask { guarded: &guarded, ..call.ask };
        let call = Call { ask, ..*call };
        let decision = world.authorize(&call);
        let wanted = world.guards_wanted(&decision).into_iter().map(|one| (one.guard, one.on_finding));
        (decision.outcome(), decision.code(), wanted.collect())
    })
}

#[test]
fn a_guard_lifts_what_waits_for_it() {
    for text in [SECRETS, BY_CEDAR] {
        let world = world(&[PERMIT, text]);
        let wanted = vec![(Guard::Secrets, OnFinding::Refuse)];
        let refused = (Outcome::Deny, Some(Code::ForbiddenByPolicy));
        let (outcome, code, waits) = decided(&world, &[]);
        assert_eq!(((outcome, code), waits), (refused, wanted), "{text}");
        for came in [Came::Passed, Came::Recorded, Came::Redacted, Came::Open] {
            assert_eq!(
                decided(&world, &[(Guard::Secrets, came)]),
                (Outcome::Allow, None, vec![]),
                "{came:?}"
            );
        }
        for came in [Came::Found, Came::Unredactable, Came::Failed] {
            let (outcome, code, waits) = decided(&world, &[(Guard::Secrets, came)]);
            assert_eq!(((outcome, code), waits), (refused, vec![]), "{came:?}");
        }
        // Another guard is nothing to it.
        let (outcome, _, waits) = decided(&world, &[(Guard::Injection, Came::Passed)]);
        assert_eq!((outcome, waits.len()), (Outcome::Deny, 1));
    }
}

/// A guard permits nothing, and lifts no other refusal.
#[test]
fn a_guard_permits_nothing() {
    let passed = [(Guard::Secrets, Came::Passed)];
    assert_eq!(decided(&world(&[SECRETS]), &passed).1, Some(Code::NoPermit));
    let forbid = r#"forbid (principal, action == Action::"invokeTool", resource) when { context.method == "tools/call" };"#;
    assert_eq!(decided(&world(&[PERMIT, SECRETS, forbid]), &passed).1, Some(Code::ForbiddenByPolicy));
}

/// No guard is waited for where no policy waits, and all are at once where several do.
#[test]
fn only_what_could_be_lifted_is_waited_for() {
    assert_eq!(decided(&world(&[PERMIT]), &[]), (Outcome::Allow, None, vec![]));
    let elsewhere = SECRETS.replace("resource)", "resource == Tool::\"a/s/other\")");
    assert_eq!(decided(&world(&[PERMIT, &elsewhere]), &[]), (Outcome::Allow, None, vec![]));
    let (_, _, waits) = decided(&world(&[PERMIT, SECRETS, DATA]), &[]);
    assert_eq!(waits, [(Guard::PersonalData, OnFinding::Redact), (Guard::Secrets, OnFinding::Refuse)]);
}

/// What is only tried has its guard look too, and takes nothing out.
#[test]
fn a_guard_of_what_is_only_tried_looks() {
    let Object::Policy(tried) = policy("t", "tried", Scope::Cluster, DATA) else { panic!("a policy") };
    let tried = Object::Policy(Arc::new(Policy { mode: Mode::Observe, ..(*tried).clone() }));
    let world =
        snapshot(objects(vec![agent("a", "x")], vec![server("a", "s")], vec![cluster(PERMIT), tried]));
    let (outcome, _, waits) = decided(&world, &[]);
    assert_eq!((outcome, waits), (Outcome::Allow, vec![(Guard::PersonalData, OnFinding::Record)]));
}

/// Attack: a policy of the skill that is content with less, so that what the agent's waits for is lifted unseen; and the other way round.
#[test]
fn of_a_skill_and_its_agent_the_strictest_holds() {
    const SKILL: &str = r#"resource == Skill::"a/callee/pay""#;
    const AGENT: &str = r#"resource == Agent::"a/callee""#;
    let rule = |more: &str, guard: &str, head: &str| {
        format!(
            r#"@guard("{guard}") {more} forbid (principal, action == Action::"callAgent", {head})
               unless {{ context.guarded.contains("{guard}") }};"#
        )
    };
    let (record, plain) = (r#"@on_finding("record")"#, "");
    for (of_skill, of_agent) in [
        (rule(record, "secrets", SKILL), rule(plain, "secrets", AGENT)),
        (rule(plain, "secrets", SKILL), rule(record, "secrets", AGENT)),
    ] {
        let world = snapshot(objects(
            vec![agent("a", "x"), agent("a", "callee")],
            vec![],
            vec![cluster(&format!("{PERMIT} {of_skill} {of_agent}"))],
        ));
        let target = Target::Skill { agent: world.agent("a/callee").unwrap(), name: "pay" };
        let wanted = Facts { method: "SendMessage", ..Facts::of(&world, "a/x") }.ask(
            Action::CallAgent,
            target,
            |call| world.guards_wanted(&world.authorize(call)),
        );
        let wanted: Vec<_> = wanted.into_iter().map(|one| (one.guard, one.on_finding)).collect();
        assert_eq!(wanted, [(Guard::Secrets, OnFinding::Refuse)], "{of_skill} {of_agent}");
    }
}

/// Attack: what a guard looks for is changed and nothing else, and the one of before goes on looking.
#[test]
fn a_guard_that_is_changed_is_the_one_that_looks() {
    const ASKS: &str = r#"@guard("own") forbid (principal, action == Action::"invokeTool", resource)
        unless { context.guarded.contains("t/own/own") };"#;
    let guard = |looks: Looks| Arc::new(OwnGuard { id: "t/own/own".into(), name: "own".into(), looks });
    let pattern =
        |text: &str| Looks::Patterns([("k".into(), Pattern::try_from(text.to_owned()).unwrap())].into());
    let schema = |text: &str| Looks::Schema(HeldSchema::try_from(text.to_owned()).unwrap());
    let webhook = |url: &str, on_failure| {
        Looks::Webhook(Webhook { url: url.into(), ca_file: None, timeout_ms: 7, on_failure })
    };
    let all = [
        pattern("SEC-"),
        pattern("ABC-"),
        schema(r#"{"type":"object"}"#),
        schema(r#"{"type":"string"}"#),
        webhook("http://one.example/", OnFailure::Closed),
        webhook("http://other.example/", OnFailure::Closed),
        webhook("http://other.example/", OnFailure::Open),
    ];
    let Object::Policy(asks) = policy("t", "own", Scope::Cluster, ASKS) else { panic!("a policy") };
    let mut last = Snapshot::default();
    for looks in all {
        let (guards, own) = (Arc::from([guard(looks.clone())]), Guard::Own(guard(looks)));
        let asks = Object::Policy(Arc::new(Policy { guards, ..(*asks).clone() }));
        let objects = objects(vec![agent("a", "x")], vec![server("a", "s")], vec![cluster(PERMIT), asks]);
        let (next, rejected) = last.rebuilt(objects, Vec::new());
        assert_eq!(rejected, []);
        let (_, _, waits) = decided(&next, &[]);
        assert_eq!(waits, [(own, OnFinding::Refuse)]);
        last = next;
    }
}

/// A guard that is declared and that no policy names lifts nothing, and holds nothing.
#[test]
fn a_guard_that_nothing_waits_for_is_told() {
    const ANSWERS: &str =
        r#"@guard_answer("own") forbid (principal, action == Action::"invokeTool", resource);"#;
    const OTHER: &str = r#"@guard("secrets") forbid (principal, action == Action::"invokeTool", resource)
        unless { context.guarded.contains("secrets") };"#;
    let own = r#"@guard("own") forbid (principal, action == Action::"invokeTool", resource)
        unless { context.guarded.contains("t/own/own") };"#;
    for (cedar, is_told) in [(own, false), (ANSWERS, false), (OTHER, true), (PERMIT, true)] {
        let looks = Looks::Schema(HeldSchema::try_from(r#"{"type":"object"}"#.to_owned()).unwrap());
        let guard = Arc::new(OwnGuard { id: "t/own/own".into(), name: "own".into(), looks });
        let Object::Policy(plain) = policy("t", "own", Scope::Cluster, cedar) else { panic!("a policy") };
        let declares = Object::Policy(Arc::new(Policy { guards: Arc::from([guard]), ..(*plain).clone() }));
        let objects = objects(vec![agent("a", "x")], vec![server("a", "s")], vec![declares]);
        let (world, rejected) = Snapshot::default().rebuilt(objects, Vec::new());
        assert_eq!(rejected, []);
        let told = world.warnings().iter().any(|one| one.reason.contains("nothing waits for the guard own"));
        assert_eq!(told, is_told, "{cedar}: {:?}", world.warnings());
    }
}
