//! Calls that wait for a person, and what an approval lets pass.

use std::sync::Arc;

use vidimus_core::approval::Approval;
use vidimus_core::call::{Action, Arguments, Ask, CallDigest, Target};
use vidimus_core::caller::{UnixMillis, User};
use vidimus_core::decision::Outcome;
use vidimus_core::permit::Verdict;
use vidimus_core::refusal::Code;
use vidimus_core::resource::McpServer;
use vidimus_core::resource::policy::Scope;
use vidimus_core::snapshot::Snapshot;

use crate::world::{Answer, Facts, agent, cluster, objects, policy, server, snapshot};

const PERMIT: &str = r#"@id("all") permit (principal, action, resource);"#;

const HOLD: &str = r#"
    @id("large") @approval("payers") @quorum("2") @reason("large amounts leave")
    forbid (principal, action == Action::"invokeTool", resource == Tool::"a/s/pay")
    when { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") > 100 }
    unless { context has approval && context.approval.role == "payers" };
"#;

fn world(text: &str) -> Snapshot {
    snapshot(objects(vec![agent("a", "x"), agent("b", "y")], vec![server("a", "s")], vec![cluster(text)]))
}

fn approval(role: &str, subject: &str) -> Approval {
    let by =
        User { issuer: "https://i".into(), subject: subject.into(), email: None, groups: Arc::default() };
    Approval { role: role.into(), by, at: UnixMillis(1_790_000_000_400) }
}

fn pay(world: &Snapshot, arguments: &'static str, approvals: &[Approval]) -> Answer {
    let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "pay" };
    let mut facts = Facts::of(world, "a/x").with(arguments);
    facts.approvals = approvals.to_vec();
    facts.authorize(world, Action::InvokeTool, target)
}

fn to_approve(world: &Snapshot, change: impl Fn(&mut Facts)) -> Option<CallDigest> {
    let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "pay" };
    let mut facts = Facts::of(world, "a/x").with(r#"{"amount": 101}"#);
    change(&mut facts);
    facts.ask(Action::InvokeTool, target, |call| world.authorize(call).to_approve())
}

#[test]
fn what_only_an_approval_is_missing_for_is_held_and_passes_with_it() {
    let world = world(&[PERMIT, HOLD].concat());
    assert!(pay(&world, r#"{"amount": 100}"#, &[]).allowed());
    let held = pay(&world, r#"{"amount": 101}"#, &[]);
    assert_eq!((held.outcome, held.code), (Outcome::Hold, Some(Code::ApprovalRequired)));
    assert_eq!(held.policies(), ["t/p#large"]);
    assert_eq!(held.facts()[0], ("context.approval.role", "absent"));
    let Verdict::Held(held) = held.verdict else { panic!("{held:?}") };
    let [asks] = held.asking() else { panic!("{held:?}") };
    assert_eq!((&*asks.policy, &*asks.role, asks.quorum), ("t/p#large", "payers", 2));
    let refusal = held.refusal();
    assert_eq!(
        refusal.message,
        "2 people of payers must approve this call first, by t/p#large: large amounts leave"
    );
    let approved = pay(&world, r#"{"amount": 101}"#, &[approval("payers", "p")]);
    assert_eq!((approved.allowed(), approved.policies()), (true, vec!["t/p#all"]));
    let elsewhere = pay(&world, r#"{"amount": 101}"#, &[approval("others", "p")]);
    assert_eq!(elsewhere.outcome, Outcome::Hold);
    assert_eq!(elsewhere.facts()[0], ("context.approval.role", "others"));
}

/// A person is asked only where the answer matters.
#[test]
fn what_is_refused_anyway_is_not_held() {
    let forbid = r#"forbid (principal, action, resource) when { principal.team == "finance" };"#;
    let failing = r#"forbid (principal, action == Action::"invokeTool", resource) when { context.delegation_depth + 9223372036854775807 > 0 };"#;
    for (text, code, policies) in [
        (HOLD.to_owned(), Code::NoPermit, vec![]),
        ([PERMIT, HOLD, forbid].concat(), Code::ForbiddenByPolicy, vec!["t/p#2", "t/p#large"]),
        ([PERMIT, HOLD, failing].concat(), Code::PolicyError, vec!["t/p#2"]),
    ] {
        let decision = pay(&world(&text), r#"{"amount": 101}"#, &[]);
        assert_eq!((decision.outcome, decision.code), (Outcome::Deny, Some(code)), "{text}");
        assert_eq!(
            decision.policies().len(),
            policies.len().max(usize::from(code != Code::NoPermit)),
            "{text}"
        );
    }
    // What the policy cannot see is refused, not asked about.
    let unseen = pay(&world(&[PERMIT, HOLD].concat()), r#"{"amount": "101"}"#, &[]);
    assert_eq!((unseen.outcome, unseen.code), (Outcome::Deny, Some(Code::Unrepresentable)));
}

/// Of two policies that ask in two roles each sees the approval of its own.
#[test]
fn two_roles_are_two_approvals() {
    let other = r#"@id("late") @approval("owners") forbid (principal, action, resource)
        unless { context has approval && context.approval.role == "owners" };"#
        .replace("action, resource", r#"action == Action::"invokeTool", resource"#);
    let world = world(&[PERMIT, HOLD, &other].concat());
    let (payers, owners) = (approval("payers", "p"), approval("owners", "o"));
    let asked = |approvals: &[Approval]| {
        let answer = pay(&world, r#"{"amount": 101}"#, approvals);
        answer.policies().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(asked(&[]), ["t/p#large", "t/p#late"]);
    assert_eq!(asked(std::slice::from_ref(&payers)), ["t/p#late"]);
    assert_eq!(asked(std::slice::from_ref(&owners)), ["t/p#large"]);
    assert_eq!(asked(&[payers.clone(), owners.clone()]), ["t/p#all"]);
    assert_eq!(asked(&[owners, payers]), ["t/p#all"]);
}

#[test]
fn what_is_to_be_approved_is_the_same_for_each_try_and_another_for_anything_else() {
    let texts = [PERMIT, HOLD].concat();
    let first = world(&texts);
    let digest = to_approve(&first, |_| {}).unwrap();
    assert_eq!(to_approve(&world(&texts), |facts| facts.now = UnixMillis(1_790_000_900_000)), Some(digest));
    assert_eq!(to_approve(&first, |facts| facts.arguments = Some(r#"{"amount":101.0}"#)), Some(digest));
    assert_eq!(to_approve(&first, |facts| facts.chain.transaction = "txn-2".into()), Some(digest));
    assert_eq!(to_approve(&first, |facts| facts.arguments = Some(r#"{"amount": 100}"#)), None);
    let person =
        || User { issuer: "https://i".into(), subject: "u".into(), email: None, groups: Arc::default() };
    for change in [
        &(|facts: &mut Facts| facts.arguments = Some(r#"{"amount": 102}"#)) as &dyn Fn(&mut Facts),
        &|facts| facts.arguments = Some(r#"{"amount": 101, "to": "x"}"#),
        &|facts| facts.user = Some(person()),
        // Who answers for these does not approve it.
        &|facts| facts.chain.actors = vec!["Agent/b/y".parse().unwrap()],
        &|facts| {
            facts.principal = vidimus_core::resource::Principal::Agent(Arc::new(agent("b", "y")));
        },
    ] {
        let other = to_approve(&first, change);
        assert!(other.is_some_and(|other| other != digest));
    }
    // The policy, its terms, its name, and where the call goes.
    let elsewhere = |text: &str, server: McpServer| {
        let policies = vec![policy("t", "p", Scope::Cluster, text)];
        let world = snapshot(objects(vec![agent("a", "x")], vec![server], policies));
        to_approve(&world, |_| {}).unwrap()
    };
    let mut moved = server("a", "s");
    moved.endpoint.url = "http://other.test/".parse().unwrap();
    let same = elsewhere(&texts, server("a", "s"));
    assert_eq!(same, digest);
    for other in [
        elsewhere(&texts.replace("> 100", "> 99"), server("a", "s")),
        elsewhere(&texts.replace("@quorum(\"2\")", ""), server("a", "s")),
        elsewhere(&texts.replace("@id(\"large\")", "@id(\"big\")"), server("a", "s")),
        elsewhere(&texts, moved),
    ] {
        assert_ne!(other, digest);
    }
}

#[test]
fn a_listing_shows_what_can_be_held() {
    let world = world(&[PERMIT, &HOLD.replace("> 100", "> -1")].concat());
    let server = world.mcp_server("a/s").unwrap();
    let target = Target::Tool { server, name: "pay" };
    let facts = Facts::of(&world, "a/x");
    let unknown =
        Ask { arguments: Arguments::Unknown, ..Ask::about("tools/list", Action::InvokeTool, target) };
    assert!(facts.ask(Action::InvokeTool, target, |call| {
        world.could_allow(&vidimus_core::call::Call { ask: unknown, ..*call })
    }));
    // What asks for the task that a held call made was approved with it.
    assert!(facts.asked(&world, Ask { method: "tasks/get", task: Some("1"), ..unknown }).allowed());
}

/// A call under way has the approvals that it has: it does not wait for others, and may not go on without them.
#[test]
fn what_is_under_way_goes_on_with_the_approvals_that_it_has() {
    let hold =
        r#"@id("hold") @approval("owners") forbid (principal, action == Action::"invokeTool", resource)"#;
    let lifted = format!("{hold} unless {{ context has approval && context.approval.role == \"owners\" }};");
    for (text, approved, could_allow, could_go_on) in [
        (String::new(), false, false, false),
        (PERMIT.to_owned(), false, true, true),
        ([PERMIT, &lifted].concat(), false, true, false),
        ([PERMIT, &lifted].concat(), true, true, true),
        (format!("{PERMIT} {hold};"), true, true, false),
        (format!("{PERMIT} forbid (principal, action, resource);"), false, false, false),
    ] {
        let policies = if text.is_empty() { Vec::new() } else { vec![cluster(&text)] };
        let world = snapshot(objects(vec![agent("a", "x")], vec![server("a", "s")], policies));
        let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "pay" };
        let mut facts = Facts::of(&world, "a/x");
        facts.approvals = if approved { vec![approval("owners", "o")] } else { Vec::new() };
        let found = facts.ask(Action::InvokeTool, target, |call| {
            let ask = Ask { arguments: Arguments::Unknown, ..call.ask };
            let call = vidimus_core::call::Call { ask, ..*call };
            (world.could_allow(&call), world.could_go_on(&call))
        });
        assert_eq!(found, (could_allow, could_go_on), "{text} {approved}");
    }
}

#[test]
fn a_skill_is_held_by_what_holds_it_or_its_agent() {
    let hold = |resource: &str| {
        format!(
            r#"@id("hold") @approval("owners") forbid (principal, action == Action::"callAgent", resource == {resource})
            unless {{ context has approval && context.approval.role == "owners" }};"#
        )
    };
    let agent_only = r#"@id("all") permit (principal, action, resource == Agent::"b/y");"#;
    let both = r#"@id("all") permit (principal, action, resource in Agent::"b/y");"#;
    let forbid = r#"forbid (principal, action, resource == Agent::"b/y");"#;
    let ask = |text: &str, method: &'static str, task, approved: bool| {
        let world = world(text);
        let mut facts = Facts::of(&world, "a/x");
        facts.approvals = if approved { vec![approval("owners", "o")] } else { Vec::new() };
        let target = Target::Skill { agent: world.agent("b/y").unwrap(), name: "s" };
        facts.asked(&world, Ask { task, ..Ask::about(method, Action::CallAgent, target) }).outcome
    };
    let (skill, whole) = (hold(r#"Skill::"b/y/s""#), hold(r#"Agent::"b/y""#));
    for (text, expected) in [
        ([agent_only, &skill].concat(), Outcome::Hold),
        ([both, &skill].concat(), Outcome::Hold),
        ([agent_only, &whole].concat(), Outcome::Hold),
        ([both, &whole].concat(), Outcome::Hold),
        ([both, &skill, forbid].concat(), Outcome::Deny),
        (skill.clone(), Outcome::Deny),
    ] {
        assert_eq!(ask(&text, "SendMessage", None, false), expected, "{text}");
        assert_eq!(ask(&text, "SendMessage", Some("1"), false), expected, "{text}");
        let approved = if expected == Outcome::Hold { Outcome::Allow } else { expected };
        assert_eq!(ask(&text, "SendMessage", None, true), approved, "{text}");
        assert_eq!(ask(&text, "GetTask", Some("1"), false), approved, "{text}");
    }
}

/// Also of a call that names no skill.
#[test]
fn what_asks_for_the_task_of_an_approved_call_is_not_held_again() {
    let hold = r#"@id("hold") @approval("owners") forbid (principal, action == Action::"callAgent", resource == Agent::"b/y")
        unless { context has approval && context.approval.role == "owners" };"#;
    let world = world(&[PERMIT, hold].concat());
    let target = Target::Agent(world.agent("b/y").unwrap());
    for (method, task, expected) in [
        ("SendMessage", None, Outcome::Hold),
        ("SendMessage", Some("1"), Outcome::Hold),
        ("GetTask", None, Outcome::Hold),
        ("GetTask", Some("1"), Outcome::Allow),
        ("CancelTask", Some("1"), Outcome::Allow),
    ] {
        let ask = Ask { task, ..Ask::about(method, Action::CallAgent, target) };
        let answer = Facts::of(&world, "a/x").asked(&world, ask);
        assert_eq!(answer.outcome, expected, "{method} {task:?}");
    }
}

#[test]
fn connecting_is_held_where_a_policy_says_so() {
    let permit = r#"@id("use") permit (principal, action == Action::"invokeTool", resource);"#;
    let hold = r#"@id("hold") @approval("owners") forbid (principal, action == Action::"connectServer", resource)
        unless { context has approval && context.approval.role == "owners" };"#;
    let world = world(&[permit, hold].concat());
    let target = Target::Server(world.mcp_server("a/s").unwrap());
    let mut facts = Facts::of(&world, "a/x");
    let held = facts.authorize(&world, Action::ConnectServer, target);
    assert_eq!((held.outcome, held.policies()), (Outcome::Hold, vec!["t/p#hold"]));
    facts.approvals = vec![approval("owners", "o")];
    let approved = facts.authorize(&world, Action::ConnectServer, target);
    assert_eq!((approved.outcome, approved.policies()), (Outcome::Allow, vec!["t/p#use"]));
}

#[test]
fn an_annotation_that_says_nothing_is_refused_and_one_that_never_lifts_is_told() {
    let build = |text: &str| Snapshot::build(vec![cluster(text)]);
    let (_, rejected) = build(r#"@approval("a") permit (principal, action, resource);"#);
    assert_eq!(rejected[0].reason, "@approval is on a permit: what permits a call cannot hold it");
    assert_eq!((&*rejected[0].field, &*rejected[0].value), ("spec.cedar", "a"));
    assert!(rejected[0].fix.starts_with("put it on a forbid"), "{}", rejected[0].fix);
    let (_, rejected) = build(r#"@approval("") forbid (principal, action, resource);"#);
    assert!(rejected[0].reason.starts_with("@approval(\"\") names no role"), "{}", rejected[0].reason);
    let (snapshot, rejected) = build(r#"@approval("a") forbid (principal, action, resource);"#);
    assert!(rejected.is_empty() && snapshot.warnings()[0].reason.contains("context.approval"));
}
