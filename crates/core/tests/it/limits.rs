//! What calls count for by `@limit`, what is decided of one that does not fit, and what policies see of what is left.

use std::sync::Arc;

use vidimus_core::call::{Action, Left, SoFar, Target};
use vidimus_core::caller::UnixMillis;
use vidimus_core::decision::Outcome;
use vidimus_core::refusal::{Code, Room};
use vidimus_core::resource::limit::{LimitWindow, Measure, Per, WhenLost};
use vidimus_core::resource::{Limit, Object, Policy};
use vidimus_core::snapshot::Snapshot;

use crate::world::{Facts, agent, cluster, objects, server, snapshot};

fn limit(name: &str) -> Arc<Limit> {
    Arc::new(Limit {
        id: format!("t/p/{name}").into(),
        name: name.into(),
        of: Measure::Requests,
        amount: 10,
        per: [Per::Principal].into(),
        window: LimitWindow::Fixed(3_600_000),
        when_lost: WhenLost::Closed,
    })
}

/// With a policy `t/p` that declares the limits `calls` and `others`.
fn world(cedar: &str) -> Snapshot {
    let Object::Policy(policy) = cluster(cedar) else { panic!("a policy") };
    let limits = [limit("calls"), limit("others")].into();
    let policy = Object::Policy(Arc::new(Policy { limits, ..Arc::unwrap_or_clone(policy) }));
    snapshot(objects(vec![agent("a", "x"), agent("a", "callee")], vec![server("a", "s")], vec![policy]))
}

fn left(limit: &str, left: i64, again: Option<i64>) -> SoFar {
    let of = Some((Measure::Requests, 60));
    let limits = vec![Left { limit: limit.into(), left, again: again.map(UnixMillis), of }];
    SoFar { limits, ..SoFar::default() }
}

/// What is decided of a call of the tool, and what it counts for.
fn tool(world: &Snapshot, method: &'static str, so_far: SoFar) -> (Outcome, Option<Code>, Vec<String>) {
    let facts = Facts { so_far, method, ..Facts::of(world, "a/x") };
    let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "get" };
    facts.ask(Action::InvokeTool, target, |call| {
        let decision = world.authorize(call);
        let limits = decision.limits().iter().map(|limit| limit.name.to_string()).collect();
        (decision.outcome(), decision.code(), limits)
    })
}

const COUNTED: &str = r#"
    permit (principal, action, resource);
    @limit("calls") @reason("ask the owner")
    forbid (principal, action == Action::"invokeTool", resource) when { context.method != "ping" };
"#;

#[test]
fn a_call_counts_where_the_forbid_is_about_it_and_passes_while_there_is_room() {
    let world = world(COUNTED);
    let none = SoFar::default();
    for (method, so_far, expected) in [
        ("tools/call", none.clone(), (Outcome::Allow, None, vec!["calls".to_owned()])),
        ("tools/call", left("t/p/calls", 0, None), (Outcome::Allow, None, vec!["calls".to_owned()])),
        ("tools/call", left("t/p/calls", -1, None), (Outcome::Deny, Some(Code::LimitExceeded), vec![])),
        ("tools/call", left("t/p/others", -1, None), (Outcome::Allow, None, vec!["calls".to_owned()])),
        ("ping", left("t/p/calls", -1, None), (Outcome::Allow, None, vec![])),
        // The call that made the task has counted.
        ("tasks/get", none, (Outcome::Allow, None, vec![])),
    ] {
        assert_eq!(tool(&world, method, so_far.clone()), expected, "{method} {so_far:?}");
    }
}

#[test]
fn a_denial_says_which_limit_has_no_room_and_when_it_has_again() {
    let world = world(COUNTED);
    for (again, retry_after) in [(Some(1_790_000_000_500 + 1_001), Some(2)), (Some(0), Some(1)), (None, None)]
    {
        let so_far = left("t/p/calls", -3, again);
        let facts = Facts { so_far, ..Facts::of(&world, "a/x") };
        let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "get" };
        let found = facts.authorize(&world, Action::InvokeTool, target);
        assert_eq!(found.policies(), ["t/p#1"]);
        assert!(found.facts().contains(&("context.limits[\"t/p/calls\"]", "-3")), "{:?}", found.facts());
        let refusal = found.refusal();
        let limited = refusal.limited.as_ref().unwrap();
        assert_eq!((&*limited.limit, limited.retry_after), ("t/p/calls", retry_after));
        assert_eq!(limited.room, Some(Room { of: Measure::Requests, amount: 60, left: 0 }));
        for said in ["t/p/calls (10 requests for each principal in each 3600 s)", "ask the owner", "t/p#1"] {
            assert!(refusal.message.contains(said), "{}", refusal.message);
        }
    }
    let fits = tool_facts(&world, left("t/p/calls", 4, None));
    assert!(fits.contains(&("context.limits[\"t/p/calls\"]".to_owned(), "4".to_owned())), "{fits:?}");
}

fn tool_facts(world: &Snapshot, so_far: SoFar) -> Vec<(String, String)> {
    let facts = Facts { so_far, ..Facts::of(world, "a/x") };
    let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "get" };
    let found = facts.authorize(world, Action::InvokeTool, target);
    assert!(found.allowed());
    found.facts().iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// By the residual language, and by Cedar's own evaluator, which alone knows records.
#[test]
fn policies_see_what_is_left_and_may_hold_or_refuse_before_there_is_no_room() {
    for condition in [
        r#"context.limits.hasTag("t/p/calls") && context.limits.getTag("t/p/calls") < 5"#,
        r#"context.limits.hasTag("t/p/calls") && {few: context.limits.getTag("t/p/calls") < 5} == {few: true}"#,
    ] {
        let world = world(&format!(
            r#"{COUNTED}
            @approval("leads") forbid (principal, action == Action::"invokeTool", resource) when {{ {condition} }}
            unless {{ context has approval && context.approval.role == "leads" }};"#
        ));
        for (so_far, outcome) in [
            (SoFar::default(), Outcome::Allow),
            (left("t/p/calls", 5, None), Outcome::Allow),
            (left("t/p/calls", 4, None), Outcome::Hold),
            (left("t/p/calls", -1, None), Outcome::Deny),
        ] {
            let found = tool(&world, "tools/call", so_far.clone());
            assert_eq!(found.0, outcome, "{condition} {so_far:?}");
            // What is held counts too once it is approved.
            assert_eq!(found.2.is_empty(), outcome == Outcome::Deny);
        }
    }
}

/// A limit permits nothing, and lifts no other forbid.
#[test]
fn a_limit_only_tightens() {
    let unpermitted = world(r#"@limit("calls") forbid (principal, action, resource);"#);
    let found = tool(&unpermitted, "tools/call", SoFar::default());
    assert_eq!(found, (Outcome::Deny, Some(Code::NoPermit), vec![]));
    let forbidden = world(&format!("{COUNTED} forbid (principal, action, resource);"));
    for so_far in [SoFar::default(), left("t/p/calls", 5, None), left("t/p/calls", -1, None)] {
        let found = tool(&forbidden, "tools/call", so_far);
        assert_eq!(found, (Outcome::Deny, Some(Code::ForbiddenByPolicy), vec![]));
    }
}

/// Attack: names a skill, so that what the agent as a whole counts for is not counted.
#[test]
fn naming_a_skill_counts_for_the_agent_as_well() {
    let world = world(
        r#"permit (principal, action, resource);
           @limit("calls") forbid (principal, action, resource == Agent::"a/callee");
           @limit("others") forbid (principal, action, resource == Skill::"a/callee/sum");"#,
    );
    let agent = world.agent("a/callee").unwrap();
    for (target, expected) in [
        (Target::Skill { agent, name: "sum" }, vec!["calls", "others"]),
        (Target::Skill { agent, name: "other" }, vec!["calls"]),
        (Target::Agent(agent), vec!["calls"]),
    ] {
        let facts = Facts { method: "SendMessage", ..Facts::of(&world, "a/x") };
        let counts: Vec<String> = facts.ask(Action::CallAgent, target, |call| {
            world.authorize(call).limits().iter().map(|limit| limit.name.to_string()).collect()
        });
        assert_eq!(counts, expected, "{target:?}");
        let spent =
            Facts { method: "SendMessage", so_far: left("t/p/calls", -1, None), ..Facts::of(&world, "a/x") };
        let found = spent.authorize(&world, Action::CallAgent, target);
        assert_eq!(found.code, Some(Code::LimitExceeded), "{target:?}");
    }
}

/// Attack: only the skill is permitted, or only the agent, and what counts is said of the other.
#[test]
fn a_call_counts_for_the_half_that_nothing_permits() {
    let (whole, part) = (r#"Agent::"a/callee""#, r#"Skill::"a/callee/sum""#);
    for (permitted, limited) in [(part, whole), (whole, part)] {
        let world = world(&format!(
            r#"permit (principal, action, resource == {permitted});
               @limit("calls") forbid (principal, action, resource == {limited});"#
        ));
        let target = Target::Skill { agent: world.agent("a/callee").unwrap(), name: "sum" };
        let found = |so_far: SoFar| {
            let facts = Facts { method: "SendMessage", so_far, ..Facts::of(&world, "a/x") };
            facts.ask(Action::CallAgent, target, |call| {
                let decision = world.authorize(call);
                let left = decision.facts().iter().any(|(name, _)| name.starts_with("context.limits["));
                (decision.code(), decision.limits().len(), left)
            })
        };
        assert_eq!(found(SoFar::default()), (None, 1, false), "{permitted}");
        // Its record says what it took, by which a start takes it up.
        assert_eq!(found(left("t/p/calls", 0, None)), (None, 1, true), "{permitted}");
        assert_eq!(found(left("t/p/calls", -1, None)), (Some(Code::LimitExceeded), 0, true), "{permitted}");
    }
}

/// What is said of listings counts for one that is only implied by a use.
#[test]
fn a_listing_counts_whatever_allows_it() {
    let world = world(
        r#"permit (principal, action == Action::"invokeTool", resource);
           @limit("calls") forbid (principal, action in Action::"mcp", resource);"#,
    );
    for (so_far, expected) in [
        (SoFar::default(), (None, 1)),
        (left("t/p/calls", 0, None), (None, 1)),
        (left("t/p/calls", -1, None), (Some(Code::LimitExceeded), 0)),
    ] {
        let facts = Facts { method: "tools/list", so_far, ..Facts::of(&world, "a/x") };
        let target = Target::Server(world.mcp_server("a/s").unwrap());
        let found = facts.ask(Action::ConnectServer, target, |call| {
            let decision = world.authorize(call);
            (decision.code(), decision.limits().len())
        });
        assert_eq!(found, expected);
    }
}

/// Whoever may use a tool of it may connect to a server, and that does not count as a use.
#[test]
fn what_a_use_implies_does_not_count() {
    let world = world(
        r#"permit (principal, action == Action::"invokeTool", resource);
           @limit("calls") forbid (principal, action == Action::"invokeTool", resource);"#,
    );
    let server = world.mcp_server("a/s").unwrap();
    let facts = Facts { method: "tools/list", ..Facts::of(&world, "a/x") };
    facts.ask(Action::ConnectServer, Target::Server(server), |call| {
        let decision = world.authorize(call);
        assert_eq!((decision.outcome(), decision.limits().len()), (Outcome::Allow, 0));
    });
}

/// Of two policies of one name what both forbid counts, and so do their limits: what was taken of them is shown, and is taken up by a start.
#[test]
fn limits_of_policies_of_one_name_are_those_that_calls_count_for() {
    let with = |amount: i64, but: &str| {
        let cedar = COUNTED.replace("ping", but);
        let Object::Policy(policy) = cluster(&cedar) else { panic!("a policy") };
        let limits = [Arc::new(Limit { amount, ..Arc::unwrap_or_clone(limit("calls")) })].into();
        Object::Policy(Arc::new(Policy { limits, ..Arc::unwrap_or_clone(policy) }))
    };
    let policies = vec![with(3, "ping"), with(9, "pong")];
    let (world, rejected) = Snapshot::build(objects(vec![agent("a", "x")], vec![server("a", "s")], policies));
    assert!(!rejected.is_empty(), "neither is in order");
    let mut amounts: Vec<i64> = world.limits().map(|limit| limit.amount).collect();
    amounts.sort_unstable();
    assert_eq!(amounts, [3, 9]);
}
