//! Policies that are only tried, and the built-in policies of the authority classes.

use std::sync::Arc;

use vidimus_core::approval::Approval;
use vidimus_core::call::{Action, Target};
use vidimus_core::caller::{UnixMillis, User};
use vidimus_core::decision::Outcome;
use vidimus_core::refusal::Code;
use vidimus_core::resource::mcp_server::Tool;
use vidimus_core::resource::policy::{Mode, Scope};
use vidimus_core::resource::{Agent, AuthorityClass, McpServer, Object, Policy, RiskLevel};
use vidimus_core::snapshot::{ACT_WITH_APPROVAL_ID, ADVISE_ID, CLASS_APPROVERS, Snapshot};

use crate::world::{Facts, agent, cluster, objects, policy, server, snapshot};

const ALL: &str = "permit (principal, action, resource);";
const TOOLS: &str = r#"principal, action == Action::"invokeTool", resource"#;

fn tried(name: &str, text: &str) -> Object {
    changed(policy("t", name, Scope::Cluster, text), |policy| policy.mode = Mode::Observe)
}

fn changed(object: Object, change: impl FnOnce(&mut Policy)) -> Object {
    let Object::Policy(policy) = object else { panic!("a policy") };
    let mut policy = (*policy).clone();
    change(&mut policy);
    Object::Policy(Arc::new(policy))
}

fn world(policies: Vec<Object>) -> Snapshot {
    snapshot(objects(vec![agent("a", "x"), agent("b", "y")], vec![server("a", "s")], policies))
}

/// The outcome of a call, and what would have changed it.
fn call(world: &Snapshot, action: Action, target: Target<'_>) -> (Outcome, Vec<(String, Outcome)>) {
    Facts::of(world, "a/x").with(r#"{"n": 5}"#).ask(action, target, |call| {
        let decision = world.authorize(call);
        let observed = decision.observed();
        (decision.outcome(), observed.into_iter().map(|one| (one.policy.to_string(), one.outcome)).collect())
    })
}

fn invoke(world: &Snapshot) -> (Outcome, Vec<(String, Outcome)>) {
    call(world, Action::InvokeTool, Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "t" })
}

#[test]
fn a_policy_that_is_only_tried_changes_nothing_and_says_what_it_would() {
    let forbid = format!("forbid ({TOOLS});");
    let hold = format!(r#"@approval("r") forbid ({TOOLS}) unless {{ context has approval }};"#);
    let on_call = format!(r#"forbid ({TOOLS}) when {{ context.numbers.getTag("/n") > 4 }};"#)
        .replace("when {", r#"when { context.numbers.hasTag("/n") &&"#);
    let other_call = on_call.replace("> 4", "> 5");
    let unseen = r#"forbid (principal, action == Action::"invokeTool", resource)
        when { context.args.hasTag("/N") };"#;
    let failing = "forbid (principal, action, resource) when { Agent::\"a/ghost\".team == \"x\" };";
    let (allow, hold_now, deny) = (Outcome::Allow, Outcome::Hold, Outcome::Deny);
    for (in_force, text, outcome, would) in [
        (ALL, &*forbid, allow, Some(deny)),
        (ALL, &hold, allow, Some(hold_now)),
        (ALL, &on_call, allow, Some(deny)),
        (ALL, &other_call, allow, None),
        (ALL, unseen, allow, Some(deny)),
        (ALL, failing, allow, Some(deny)),
        (ALL, ALL, allow, None),
        ("", ALL, deny, Some(allow)),
        ("", &forbid, deny, None),
        (&hold, ALL, deny, Some(hold_now)),
        (&format!("{ALL}{hold}"), &forbid, hold_now, Some(deny)),
        (&format!("{ALL}{hold}"), &hold, hold_now, None),
        (&format!("{ALL}{forbid}"), ALL, deny, None),
    ] {
        let force = (!in_force.is_empty()).then(|| policy("t", "p", Scope::Cluster, in_force));
        let world = world(force.into_iter().chain([tried("try", text)]).collect());
        let expected = would.map(|outcome| ("t/try".to_owned(), outcome));
        assert_eq!(invoke(&world), (outcome, expected.into_iter().collect()), "{in_force} / {text}");
    }
}

#[test]
fn what_is_tried_of_an_agent_is_tried_of_its_skills() {
    let skill = |policies: Vec<Object>| {
        let world = world(policies);
        let target = Target::Skill { agent: world.agent("b/y").unwrap(), name: "s" };
        call(&world, Action::CallAgent, target)
    };
    let forbid = tried("try", r#"forbid (principal, action, resource == Agent::"b/y");"#);
    let permit = tried("try", r#"permit (principal, action, resource == Agent::"b/y");"#);
    let expected = |outcome| vec![("t/try".to_owned(), outcome)];
    assert_eq!(skill(vec![cluster(ALL), forbid]), (Outcome::Allow, expected(Outcome::Deny)));
    assert_eq!(skill(vec![permit]), (Outcome::Deny, expected(Outcome::Allow)));
}

/// What decides and what is tried may not be mixed up by a change of the mode alone.
#[test]
fn a_policy_that_decides_from_now_on_does() {
    let forbid = || policy("t", "try", Scope::Cluster, &format!("forbid ({TOOLS});"));
    let observing = world(vec![cluster(ALL), changed(forbid(), |policy| policy.mode = Mode::Observe)]);
    assert_eq!(invoke(&observing).0, Outcome::Allow);
    let all = observing.objects().iter().filter(|one| !matches!(one, Object::Policy(_))).cloned();
    let (enforcing, _) = observing.rebuilt(all.chain([cluster(ALL), forbid()]).collect(), Vec::new());
    assert_eq!(invoke(&enforcing), (Outcome::Deny, Vec::new()));
    assert_ne!(observing.digest(), enforcing.digest());
    let all = enforcing.objects().to_vec().into_iter().map(|one| match one {
        Object::Policy(policy) if &*policy.meta.name == "try" => {
            changed(Object::Policy(policy), |policy| policy.mode = Mode::Observe)
        }
        other => other,
    });
    let (again, _) = enforcing.rebuilt(all.collect(), Vec::new());
    assert_eq!((invoke(&again).0, again.digest()), (Outcome::Allow, observing.digest()));
}

fn tools() -> McpServer {
    let reads =
        Tool { risk_level: RiskLevel::Low, read_only: true, destructive: false, unseen_arguments: false };
    McpServer { tools: [("get".into(), reads)].into(), ..server("a", "s") }
}

fn of_class(class: AuthorityClass, stated: bool, policies: Vec<Object>) -> Snapshot {
    let caller = Agent { authority_class: class, authority_stated: stated, ..agent("a", "x") };
    snapshot(objects(vec![caller], vec![tools()], policies))
}

fn outcomes(world: &Snapshot) -> [(Outcome, Vec<String>); 2] {
    ["get", "pay"].map(|name| {
        let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name };
        let answer = Facts::of(world, "a/x").authorize(world, Action::InvokeTool, target);
        (answer.outcome, answer.policies().into_iter().map(str::to_owned).collect())
    })
}

#[test]
fn an_agent_is_kept_to_the_class_that_its_record_says() {
    let (allow, hold, deny) = (Outcome::Allow, Outcome::Hold, Outcome::Deny);
    for (class, stated, pay, by) in [
        (AuthorityClass::Advise, true, deny, ADVISE_ID),
        (AuthorityClass::ActWithApproval, true, hold, ACT_WITH_APPROVAL_ID),
        (AuthorityClass::Act, true, allow, "t/p"),
        (AuthorityClass::SelfModify, true, allow, "t/p"),
        // A record that says no class.
        (AuthorityClass::Advise, false, allow, "t/p"),
    ] {
        let found = outcomes(&of_class(class, stated, vec![cluster(ALL)]));
        assert_eq!(found[0], (allow, vec!["t/p".to_owned()]), "{class:?}");
        assert_eq!(found[1], (pay, vec![by.to_owned()]), "{class:?} {stated}");
        // A class permits nothing.
        let found = outcomes(&of_class(class, stated, Vec::new()));
        assert!(found.iter().all(|(outcome, _)| *outcome == deny), "{class:?}");
    }
    let world = of_class(AuthorityClass::ActWithApproval, true, vec![cluster(ALL)]);
    let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "pay" };
    let by = User { issuer: "https://i".into(), subject: "p".into(), email: None, groups: Arc::default() };
    let mut facts = Facts::of(&world, "a/x");
    facts.approvals = vec![Approval { role: CLASS_APPROVERS.into(), by, at: UnixMillis(0) }];
    assert!(facts.authorize(&world, Action::InvokeTool, target).allowed());
}

/// Attack: an agent whose class is low has another one, of a higher class, do what it may not do itself.
#[test]
fn a_chain_has_the_lowest_class_of_those_in_it() {
    let (advise, held, act) = (AuthorityClass::Advise, AuthorityClass::ActWithApproval, AuthorityClass::Act);
    let of = |name: &str, class, stated| Agent {
        authority_class: class,
        authority_stated: stated,
        ..agent("a", name)
    };
    let agents = || {
        vec![
            of("x", act, true),
            of("advises", advise, true),
            of("asks", held, true),
            of("silent", advise, false),
            of("acts", AuthorityClass::SelfModify, true),
        ]
    };
    let world = |policies| snapshot(objects(agents(), vec![tools()], policies));
    let through = |world: &Snapshot, caller: &str, before: &[&str], tool: &str| {
        let mut facts = Facts::of(world, caller);
        facts.chain.actors = before.iter().map(|id| format!("Agent/a/{id}").parse().unwrap()).collect();
        let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: tool };
        let answer = facts.authorize(world, Action::InvokeTool, target);
        (answer.outcome, answer.policies().into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    let open = world(vec![cluster(ALL)]);
    let (allow, hold, deny) = (Outcome::Allow, Outcome::Hold, Outcome::Deny);
    for (caller, before, outcome, by) in [
        ("a/x", &["acts"][..], allow, &["t/p"][..]),
        ("a/x", &["silent"], allow, &["t/p"]),
        ("a/x", &["gone"], allow, &["t/p"]),
        ("a/x", &["advises"], deny, &[ADVISE_ID]),
        ("a/x", &["asks"], hold, &[ACT_WITH_APPROVAL_ID]),
        // However far back, and whoever comes between.
        ("a/x", &["advises", "acts", "silent"], deny, &[ADVISE_ID]),
        ("a/x", &["asks", "acts"], hold, &[ACT_WITH_APPROVAL_ID]),
        ("a/acts", &["asks", "advises"], deny, &[ACT_WITH_APPROVAL_ID, ADVISE_ID]),
        ("a/asks", &["asks"], hold, &[ACT_WITH_APPROVAL_ID]),
        ("a/advises", &["advises", "acts"], deny, &[ADVISE_ID]),
        ("a/asks", &["advises"], deny, &[ACT_WITH_APPROVAL_ID, ADVISE_ID]),
    ] {
        let by: Vec<String> = by.iter().map(|id| (*id).to_owned()).collect();
        assert_eq!(through(&open, caller, before, "pay"), (outcome, by), "{caller} {before:?}");
        assert_eq!(through(&open, caller, before, "get").0, allow, "{caller} {before:?}");
    }
    // The class of who is not registered, as where its record is malformed, is not known: nothing passes through it at all.
    for (before, is_refused) in [("gone", true), ("advises", false)] {
        let mut facts = Facts::of(&open, "a/x");
        facts.chain.actors = vec![format!("Agent/a/{before}").parse().unwrap()];
        let checked = open.check_chain(&facts.chain).map_err(|refusal| refusal.code);
        assert_eq!(checked == Err(Code::ActorRevoked), is_refused, "{before}: {checked:?}");
    }
    // As for one's own class: nothing is permitted by it, and a policy may take its place.
    assert_eq!(through(&world(Vec::new()), "a/x", &["asks"], "pay").0, deny);
    let replacing =
        |id: &str| changed(cluster(ALL), |policy| policy.replaces = [Arc::from(id)].into_iter().collect());
    let replaced = world(vec![replacing(ADVISE_ID)]);
    assert_eq!(through(&replaced, "a/x", &["advises"], "pay").0, allow);
    assert_eq!(through(&replaced, "a/x", &["asks"], "pay").0, hold);
    // A person who approves it may lift the one, and never the other.
    let by = User { issuer: "https://i".into(), subject: "p".into(), email: None, groups: Arc::default() };
    for (before, outcome) in [("asks", allow), ("advises", deny)] {
        let mut facts = Facts::of(&open, "a/x");
        facts.chain.actors = vec![format!("Agent/a/{before}").parse().unwrap()];
        facts.approvals = vec![Approval { role: CLASS_APPROVERS.into(), by: by.clone(), at: UnixMillis(0) }];
        let target = Target::Tool { server: open.mcp_server("a/s").unwrap(), name: "pay" };
        assert_eq!(facts.authorize(&open, Action::InvokeTool, target).outcome, outcome, "{before}");
    }
}

#[test]
fn a_policy_in_force_takes_the_place_of_a_built_in_one_and_only_of_that() {
    let replacing =
        |id: &str| changed(cluster(ALL), |policy| policy.replaces = [Arc::from(id)].into_iter().collect());
    let advise = |object| outcomes(&of_class(AuthorityClass::Advise, true, vec![object]))[1].0;
    assert_eq!(advise(replacing(ADVISE_ID)), Outcome::Allow);
    assert_eq!(advise(replacing(ACT_WITH_APPROVAL_ID)), Outcome::Deny);
    let ids: Vec<String> = of_class(AuthorityClass::Advise, true, vec![replacing(ADVISE_ID)])
        .policies()
        .map(ToString::to_string)
        .collect();
    assert!(!ids.contains(&ADVISE_ID.to_owned()) && ids.contains(&ACT_WITH_APPROVAL_ID.to_owned()));
    // One that does not compile replaces nothing.
    let broken = changed(replacing(ADVISE_ID), |policy| policy.cedar = "permit".into());
    let caller = Agent { authority_class: AuthorityClass::Advise, authority_stated: true, ..agent("a", "x") };
    let all = policy("t", "all", Scope::Cluster, ALL);
    let (world, rejected) = Snapshot::build(objects(vec![caller], vec![tools()], vec![broken, all]));
    assert_eq!(rejected.len(), 1);
    let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "pay" };
    let answer = Facts::of(&world, "a/x").authorize(&world, Action::InvokeTool, target);
    assert_eq!(answer.code, Some(Code::ForbiddenByPolicy));
}

#[test]
fn a_permit_that_is_only_tried_is_none_that_comes_close() {
    let near = format!("permit ({TOOLS}) when {{ principal.team == \"other\" }};");
    for (object, named) in
        [(policy("t", "near", Scope::Cluster, &near), &["t/near"][..]), (tried("near", &near), &[])]
    {
        let world = world(vec![object]);
        let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "t" };
        let answer = Facts::of(&world, "a/x").authorize(&world, Action::InvokeTool, target);
        assert_eq!((answer.code, answer.closest_permits()), (Some(Code::NoPermit), named.to_vec()));
    }
}
