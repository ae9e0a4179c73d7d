//! Forbids that change a call instead of refusing it.

use std::sync::Arc;

use vidimus_core::call::{Action, Arguments, Ask, CallDigest, Target};
use vidimus_core::decision::{About, Decision, Outcome};
use vidimus_core::guard::{Guard, OnFinding};
use vidimus_core::permit::Verdict;
use vidimus_core::refusal::Code;
use vidimus_core::resource::policy::{Mode, Scope};
use vidimus_core::resource::{McpServer, Object, Principal};
use vidimus_core::snapshot::Snapshot;

use crate::world::{Facts, agent, cluster, objects, policy, provider, server, snapshot};

const PERMIT: &str = r#"@id("all") permit (principal, action, resource);"#;
const CARDS: &str = r#"
    @id("cards") @redact("/card /items/*/cvv") @redact_answer("/card")
    forbid (principal, action == Action::"invokeTool", resource == Tool::"a/s/pay");
"#;
const LARGE: &str = r#"
    @id("large") @redact_answer("/iban")
    forbid (principal, action == Action::"invokeTool", resource == Tool::"a/s/pay")
    when { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") > 100 };
"#;
const CAP: &str = r#"
    @id("cap") @cap_tokens("1000") forbid (principal, action == Action::"callModel", resource);
"#;

fn world_of(policies: Vec<Object>) -> Snapshot {
    let mut all = objects(vec![agent("a", "x")], vec![server("a", "s")], policies);
    all.push(Object::LlmProvider(Arc::new(provider("a", "llm", &[("big", &[])]))));
    snapshot(all)
}

fn world(texts: &[&str]) -> Snapshot {
    world_of(vec![cluster(&texts.concat())])
}

fn pay(world: &Snapshot) -> Target<'_> {
    Target::Tool { server: server_of(world), name: "pay" }
}

fn server_of(world: &Snapshot) -> &Arc<McpServer> {
    world.mcp_server("a/s").unwrap()
}

fn demanded(decision: &Decision<'_>) -> Vec<String> {
    decision.obligations().iter().map(|one| format!("{} {}", one.policy, one.change)).collect()
}

fn of(world: &Snapshot, arguments: &'static str) -> (Outcome, Vec<String>) {
    Facts::of(world, "a/x").with(arguments).ask(Action::InvokeTool, pay(world), |call| {
        let decision = world.authorize(call);
        (decision.outcome(), demanded(&decision))
    })
}

#[test]
fn what_is_permitted_passes_as_changed() {
    let all = world(&[PERMIT, CARDS, LARGE]);
    let always = [
        "t/p#cards @redact(\"/card\")",
        "t/p#cards @redact(\"/items/*/cvv\")",
        "t/p#cards @redact_answer(\"/card\")",
    ];
    let (outcome, changes) = of(&all, r#"{"amount": 100}"#);
    assert_eq!((outcome, changes), (Outcome::AllowWithObligations, always.map(str::to_owned).to_vec()));
    let (outcome, changes) = of(&all, r#"{"amount": 101}"#);
    assert_eq!((outcome, changes.len()), (Outcome::AllowWithObligations, 4));
    assert!(changes.contains(&"t/p#large @redact_answer(\"/iban\")".to_owned()), "{changes:?}");
    // Other tools are as they were.
    let other = Target::Tool { server: server_of(&all), name: "look" };
    assert_eq!(Facts::of(&all, "a/x").authorize(&all, Action::InvokeTool, other).outcome, Outcome::Allow);
    // Who carries it out is told.
    let answer = Facts::of(&all, "a/x").authorize(&all, Action::InvokeTool, pay(&all));
    assert_eq!(answer.policies(), ["t/p#all"]);
    let Verdict::Permitted(permit) = answer.verdict else { panic!("{answer:?}") };
    assert_eq!(permit.obligations().len(), 3);
}

/// Of what a server says beside its answers nobody knows whose it is: what is asked is whether any tool of it may be redacted for this caller.
#[test]
fn whether_some_answer_of_a_server_is_redacted_is_known_of_each_caller() {
    const HEAD: &str =
        "@redact_answer(\"/card\") forbid (principal, action == Action::\"invokeTool\", resource";
    for (text, may) in [
        (CARDS.to_owned(), true),
        // Whatever the arguments are, and whatever a tool is called that no record lists.
        (LARGE.to_owned(), true),
        (format!("{HEAD});"), true),
        (format!("{HEAD}) when {{ resource.name like \"p*\" }};"), true),
        (format!("{HEAD} in MCPServer::\"a/s\");"), true),
        (format!("{HEAD} in MCPServer::\"a/t\");"), false),
        (format!("{HEAD} == Tool::\"a/s2/pay\");"), false),
        (format!("{HEAD}) unless {{ principal.team == \"finance\" }};"), false),
        (format!("{HEAD}) when {{ principal.team == \"other\" }};"), false),
        (CARDS.replace("@redact_answer(\"/card\")", ""), false),
        (CARDS.replace("(principal", "(principal == Agent::\"a/y\""), false),
        (String::new(), false),
    ] {
        let world = world(&[PERMIT, &text]);
        let caller = Principal::Agent(world.agent("a/x").unwrap().clone());
        assert_eq!(world.kept_back(&caller, server_of(&world)).redacts, may, "{text}");
    }
}

/// So are the guards that may have to look at some answer, of whatever tool, resource or prompt.
#[test]
fn which_guards_may_look_at_an_answer_of_a_server_is_known_of_each_caller() {
    let guarding = |more: &str, action: &str, resource: &str| {
        format!(
            "@guard_answer(\"secrets\") {more} forbid (principal, action == Action::\"{action}\", resource {resource});"
        )
    };
    for (text, guards) in [
        (guarding("", "invokeTool", ""), &[(Guard::Secrets, OnFinding::Refuse)][..]),
        (guarding("", "invokeTool", "== Tool::\"a/s/pay\""), &[(Guard::Secrets, OnFinding::Refuse)]),
        (guarding("", "readResource", "in MCPServer::\"a/s\""), &[(Guard::Secrets, OnFinding::Refuse)]),
        (
            guarding("@on_finding(\"redact\")", "getPrompt", "== Prompt::\"a/s/greet\""),
            &[(Guard::Secrets, OnFinding::Redact)],
        ),
        (guarding("", "invokeTool", "== Tool::\"a/t/pay\""), &[]),
        (guarding("", "readResource", "in MCPServer::\"a/t\""), &[]),
        (guarding("", "callModel", ""), &[]),
        (guarding("", "callAgent", ""), &[]),
    ] {
        let world = world(&[PERMIT, &text]);
        let caller = Principal::Agent(world.agent("a/x").unwrap().clone());
        let kept = world.kept_back(&caller, server_of(&world));
        assert_eq!((kept.redacts, kept.guards.as_slice()), (false, guards), "{text}");
    }
}

/// Why something is changed is told, also where that is the same for all calls.
#[test]
fn what_a_change_looks_at_is_told() {
    let of_team = r#"@redact("/card") forbid (principal, action == Action::"invokeTool", resource)
        when { principal.team == "finance" };"#;
    let world = world(&[PERMIT, of_team]);
    let answer = Facts::of(&world, "a/x").authorize(&world, Action::InvokeTool, pay(&world));
    assert_eq!(answer.outcome, Outcome::AllowWithObligations);
    assert!(answer.facts().contains(&("principal.team", "finance")), "{answer:?}");
}

/// A change permits nothing, and undoes no refusal.
#[test]
fn a_change_permits_nothing() {
    for (texts, code) in [
        (&[CARDS][..], Code::NoPermit),
        (&[PERMIT, CARDS, r#"forbid (principal, action, resource);"#][..], Code::ForbiddenByPolicy),
        (
            &[
                PERMIT,
                CARDS,
                r#"forbid (principal, action, resource) when { Agent::"a/ghost".team == "x" };"#,
            ][..],
            Code::PolicyError,
        ),
    ] {
        let world = world(texts);
        let answer = Facts::of(&world, "a/x").authorize(&world, Action::InvokeTool, pay(&world));
        assert_eq!((answer.outcome, answer.code), (Outcome::Deny, Some(code)), "{texts:?}");
        let denied = answer.refusal();
        assert!(!denied.policies.iter().any(|one| &**one == "t/p#cards"), "{denied:?}");
    }
    // What fails to say whether it changes refuses, and so does what cannot see whether it does.
    let failing = r#"@redact("/card") forbid (principal, action == Action::"invokeTool", resource)
        when { Agent::"a/ghost".team == "x" };"#;
    let failing = world(&[PERMIT, failing]);
    let answer = Facts::of(&failing, "a/x").authorize(&failing, Action::InvokeTool, pay(&failing));
    assert_eq!(answer.code, Some(Code::PolicyError));
    let unseen = world(&[PERMIT, LARGE]);
    let spelled = Facts::of(&unseen, "a/x").with(r#"{"Amount": 101}"#);
    assert_eq!(
        spelled.authorize(&unseen, Action::InvokeTool, pay(&unseen)).code,
        Some(Code::Unrepresentable)
    );
}

#[test]
fn a_model_call_is_capped() {
    let world = world(&[PERMIT, CAP]);
    let provider = world.llm_provider("a/llm").unwrap();
    let facts = Facts::of(&world, "a/x");
    facts.ask(Action::CallModel, Target::Model { provider, name: "big" }, |call| {
        let decision = world.authorize(call);
        assert_eq!(demanded(&decision), ["t/p#cap @cap_tokens(\"1000\")"]);
    });
    // The listing of the models is implied by their use, and is not changed.
    let list = facts.authorize(&world, Action::ListModels, Target::Provider(provider));
    assert_eq!(list.outcome, Outcome::Allow);
}

/// What a call with unknown arguments may have answered is changed as it would be.
#[test]
fn what_asks_for_an_earlier_answer_is_changed_too() {
    let world = world(&[PERMIT, LARGE]);
    let facts = Facts::of(&world, "a/x");
    let ask = Ask {
        arguments: Arguments::Unknown,
        task: Some("1"),
        ..Ask::about("tasks/result", Action::InvokeTool, pay(&world))
    };
    let answer = facts.asked(&world, ask);
    assert_eq!(answer.outcome, Outcome::AllowWithObligations);
    let Verdict::Permitted(permit) = answer.verdict else { panic!("{answer:?}") };
    assert_eq!(permit.obligations().len(), 1);
    // Connecting is implied by a use that is changed, and is not.
    let connect = facts.authorize(&world, Action::ConnectServer, Target::Server(server_of(&world)));
    assert_eq!(connect.outcome, Outcome::Allow);
}

#[test]
fn a_policy_that_is_only_tried_says_what_it_would_change() {
    let Object::Policy(cards) = policy("t", "cards", Scope::Cluster, CARDS) else { panic!("a policy") };
    let mut cards = (*cards).clone();
    cards.mode = Mode::Observe;
    let world = world_of(vec![cluster(PERMIT), Object::Policy(Arc::new(cards))]);
    Facts::of(&world, "a/x").ask(Action::InvokeTool, pay(&world), |call| {
        let decision = world.authorize(call);
        assert_eq!((decision.outcome(), decision.obligations()), (Outcome::Allow, &[][..]));
        let observed: Vec<_> = decision.observed();
        let [one] = &*observed else { panic!("{observed:?}") };
        assert_eq!((&*one.policy, one.outcome), ("t/cards", Outcome::AllowWithObligations));
    });
}

/// An approval is of the call as it was asked, under the changes that were demanded then.
#[test]
fn an_approval_is_under_the_changes_of_its_time() {
    const HOLD: &str = r#"@id("hold") @approval("r") forbid (principal, action == Action::"invokeTool", resource)
        unless { context has approval };"#;
    let digest = |texts: &[&str], arguments: &'static str| -> (CallDigest, usize) {
        let world = world(texts);
        Facts::of(&world, "a/x").with(arguments).ask(Action::InvokeTool, pay(&world), |call| {
            let decision = world.authorize(call);
            assert_eq!(decision.outcome(), Outcome::Hold);
            (decision.to_approve().unwrap(), decision.obligations().len())
        })
    };
    let other = CARDS.replace("/items/*/cvv", "/cvv");
    let asked = r#"{"card": "1"}"#;
    let all = [
        digest(&[PERMIT, HOLD], asked),
        digest(&[PERMIT, HOLD, CARDS], asked),
        digest(&[PERMIT, HOLD, &other], asked),
        // What is redacted is part of what is approved all the same.
        digest(&[PERMIT, HOLD, CARDS], r#"{"card": "2"}"#),
    ];
    assert_eq!(all.map(|(_, changes)| changes), [0, 3, 3, 3]);
    let different: std::collections::HashSet<_> = all.iter().map(|(digest, _)| *digest).collect();
    assert_eq!(different.len(), all.len());
}

/// What is kept from others is kept from the record.
#[test]
fn facts_do_not_have_what_is_redacted() {
    let looks = r#"@id("looks") permit (principal, action, resource == Tool::"a/s/pay")
        when { context.args.hasTag("/card/number") && context.args.getTag("/card/number") like "4*" &&
            context.args.hasTag("/name") && context.args.getTag("/name") == "ada" };"#
        .replace("(principal, action,", "(principal, action == Action::\"invokeTool\",");
    let world = world(&[&looks, CARDS]);
    let facts = Facts::of(&world, "a/x").with(r#"{"card": {"number": "4111"}, "name": "ada"}"#);
    facts.ask(Action::InvokeTool, pay(&world), |call| {
        let decision = world.authorize(call);
        let id: Arc<str> = "call".into();
        let (trace, time, protocol, body) = ("", "", "mcp", "");
        let about = About {
            id: &id,
            trace,
            parent: None,
            time,
            protocol,
            body,
            snapshot: "",
            approval: None,
            on_account_of: None,
            kept: None,
            aged: None,
        };
        let record = serde_json::to_value(decision.record(&about)).unwrap();
        assert_eq!(record["facts"]["context.args[\"/card/number\"]"], "[redacted]");
        assert_eq!(record["facts"]["context.args[\"/name\"]"], "ada");
        assert_eq!(record["outcome"], "allow-with-obligations");
        assert_eq!(
            record["obligations"][0],
            serde_json::json!({"change": "redact", "policy": "t/p#cards", "value": "/card"})
        );
        assert!(!record.to_string().contains("4111"), "{record}");
    });
}
