//! Which namespaces may bear which names.

use std::sync::Arc;

use vidimus_core::call::{Action, Target};
use vidimus_core::resource::policy::{Members, Scope};
use vidimus_core::resource::{Agent, LlmProvider, Object, Policy};
use vidimus_core::snapshot::Snapshot;

use crate::world::{Facts, agent, names, objects, policy, provider, server};

const RULE: &str = r#"forbid (principal, action == Action::"register", resource == Group::"g") unless { principal == Namespace::"n" };"#;

fn member(namespace: &str) -> Agent {
    Agent { groups: names(&["g", "h"]), ..agent(namespace, "bot") }
}

fn cluster(name: &str, members: &[&str], text: &str) -> Object {
    let Object::Policy(of) = policy("n", name, Scope::Cluster, text) else { panic!("a policy") };
    let members = members.iter().copied().collect::<Members>();
    Object::Policy(Arc::new(Policy { members, ..(*of).clone() }))
}

fn world(policies: Vec<Object>) -> (Snapshot, Vec<String>) {
    let agents = ["n", "a", "x"].map(member).into();
    let (snapshot, rejected) = Snapshot::build(objects(agents, vec![server("n", "tools")], policies));
    let said =
        |one: &vidimus_core::resource::Rejection| format!("{} {} {}", one.object, one.field, one.value);
    (snapshot, rejected.iter().map(said).collect())
}

/// Which of the agents may use the tool.
fn who(world: &Snapshot) -> String {
    let target = Target::Tool { server: world.mcp_server("n/tools").unwrap(), name: "t" };
    let may = |of: &&str| {
        Facts::of(world, &format!("{of}/bot")).authorize(world, Action::InvokeTool, target).allowed()
    };
    ["n", "a", "x"].into_iter().filter(may).collect::<Vec<_>>().join(" ")
}

fn permit(group: &str) -> String {
    format!("permit (principal in Group::\"{group}\", action == Action::\"invokeTool\", resource);")
}

fn forbid(group: &str) -> String {
    permit(group).replace("permit", "forbid")
}

/// Whoever may not bear a name is granted nothing by it, in whatever way it is written, and refused what it refuses.
#[test]
fn a_name_that_may_not_be_borne_grants_nothing_and_refuses_all() {
    let everything = "permit (principal, action == Action::\"invokeTool\", resource);";
    let unless =
        r#"forbid (principal, action == Action::"invokeTool", resource) unless { principal in Group::"g" };"#
            .to_owned();
    let both = "permit (principal, action == Action::\"invokeTool\", resource) when { principal in [Group::\"g\", Group::\"h\"] };";
    for (members, texts, without, with) in [
        (&["*"][..], vec![permit("g")], "n a x", "n"),
        (&["a"], vec![permit("g")], "n a", "n"),
        (&[], vec![permit("a/g")], "a", ""),
        (&[], vec![permit("n/g")], "n", "n"),
        // By another name, which it may bear.
        (&["*"], vec![both.to_owned()], "n a x", "n a x"),
        (&["*"], vec![permit("h")], "n a x", "n a x"),
        (&[], vec![everything.to_owned(), forbid("g")], "", ""),
        (&[], vec![everything.to_owned(), forbid("a/g")], "n x", "n x"),
        (&["*"], vec![everything.to_owned(), unless.clone()], "n a x", "n"),
        (&["a"], vec![everything.to_owned(), unless], "n a", "n"),
    ] {
        let policies = |rule: Option<&str>| {
            let named = texts.iter().enumerate();
            let policies = named.map(|(number, text)| cluster(&format!("p{number}"), members, text));
            policies.chain(rule.map(|rule| cluster("rule", &[], rule))).collect::<Vec<_>>()
        };
        let (free, rejected) = world(policies(None));
        assert_eq!((who(&free), rejected), (without.to_owned(), vec![]), "{members:?} {texts:?}");
        let (ruled, rejected) = world(policies(Some(RULE)));
        assert_eq!(who(&ruled), with, "{members:?} {texts:?}");
        assert_eq!(rejected, ["Agent a/bot spec.groups[0] g", "Agent x/bot spec.groups[0] g"]);
    }
}

/// Who has no team asks for none.
#[test]
fn a_provider_without_a_team_bears_no_name() {
    let own = r#"permit (principal == Namespace::"n", action == Action::"register", resource);"#;
    for (team, faults) in [("", 0), ("platform", 1)] {
        let provider = LlmProvider { team: team.into(), ..provider("a", "x", &[("m", &[])]) };
        let of_provider = Object::LlmProvider(Arc::new(provider));
        let (_, rejected) = Snapshot::build(vec![cluster("own", &[], own), of_provider]);
        assert_eq!(rejected.len(), faults, "{team}: {rejected:?}");
    }
}

/// Once something is permitted, the rest is not.
#[test]
fn where_some_are_permitted_no_others_are() {
    let own = r#"permit (principal == Namespace::"n", action == Action::"register", resource);"#;
    let (ruled, rejected) = world(vec![cluster("all", &["*"], &permit("h")), cluster("own", &[], own)]);
    assert_eq!(who(&ruled), "n");
    // Groups and teams, of two agents.
    assert_eq!(rejected.len(), 6, "{rejected:?}");
    // Which does not last longer than the policy, and shares nothing with what was before.
    let objects = |ruled: bool| {
        let agents = ["n", "a", "x"].map(member).into();
        let mut policies = vec![cluster("all", &["*"], &permit("h"))];
        policies.extend(ruled.then(|| cluster("own", &[], own)));
        objects(agents, vec![server("n", "tools")], policies)
    };
    let (free, _) = ruled.rebuilt(objects(false), Vec::new());
    assert_eq!(who(&free), "n a x");
    let (again, _) = free.rebuilt(objects(true), Vec::new());
    assert_eq!((who(&again), again.digest()), ("n".to_owned(), ruled.digest()));
}

/// A policy of one namespace says nothing of names, and one on calls does not either.
#[test]
fn who_may_bear_a_name_is_said_for_all() {
    for (scope, text) in [
        (Scope::Namespace, RULE.to_owned()),
        (
            Scope::Cluster,
            RULE.replace("action ==", "action in [Action::\"invokeTool\",")
                .replace("\"register\"", "\"register\"]"),
        ),
    ] {
        let (_, rejected) = Snapshot::build(vec![policy("n", "p", scope, &text)]);
        let [one] = &rejected[..] else { panic!("{text}: {rejected:?}") };
        assert!(one.reason.contains("cluster-wide") || one.reason.contains("register"), "{one:?}");
    }
    // What leaves the action open is about calls alone.
    let open = "forbid (principal, action, resource) when { principal.quarantined };";
    let (free, rejected) = world(vec![cluster("all", &["*"], &permit("g")), cluster("open", &[], open)]);
    assert_eq!((who(&free), rejected), ("n a x".to_owned(), vec![]));
}

/// What is said of the same objects is the same each time: Cedar gives the policies that decide in no order.
#[test]
fn who_keeps_a_name_from_being_borne_is_told_in_one_order() {
    for _ in 0..20 {
        let rules = ["d", "b", "c", "a"].map(|name| policy("n", name, Scope::Cluster, RULE));
        let (_, rejected) = Snapshot::build(objects(vec![member("x")], Vec::new(), rules.into()));
        let reasons: Vec<&str> = rejected.iter().map(|one| &*one.reason).collect();
        assert!(reasons[0].contains("(forbidden by n/a, n/b, n/c, n/d)"), "{reasons:?}");
    }
}
