//! Who is meant by a name that objects give themselves.

use std::sync::Arc;

use vidimus_core::call::{Action, Target};
use vidimus_core::refusal::Code;
use vidimus_core::resource::policy::{Members, Scope};
use vidimus_core::resource::{Agent, McpServer, Object, Policy};
use vidimus_core::snapshot::Snapshot;

use crate::world::{Facts, agent, names, objects, policy, server};

fn member(namespace: &str) -> Agent {
    Agent { groups: names(&["g"]), ..agent(namespace, "bot") }
}

fn tools(namespace: &str) -> McpServer {
    McpServer { tool_sets: [("s".into(), names(&["t"]))].into(), ..server(namespace, "tools") }
}

fn policy_with(scope: Scope, members: &[&str], text: &str) -> Object {
    let Object::Policy(of) = policy("n", "p", scope, text) else { panic!("a policy") };
    Object::Policy(Arc::new(Policy {
        members: members.iter().copied().collect::<Members>(),
        ..(*of).clone()
    }))
}

fn world(policies: Vec<Object>) -> Snapshot {
    let agents = ["n", "a", "x"].map(member).into();
    let servers = ["n", "a", "x"].map(tools).into();
    let (snapshot, rejected) = Snapshot::build(objects(agents, servers, policies));
    assert_eq!(rejected, []);
    snapshot
}

/// Which of the agents may use the tool of which of the servers.
fn who(world: &Snapshot) -> String {
    let mut pairs = Vec::new();
    for agent in ["n", "a", "x"] {
        for server in ["n", "a", "x"] {
            let target =
                Target::Tool { server: world.mcp_server(&format!("{server}/tools")).unwrap(), name: "t" };
            let facts = Facts::of(world, &format!("{agent}/bot"));
            if facts.authorize(world, Action::InvokeTool, target).allowed() {
                pairs.push(format!("{agent}>{server}"));
            }
        }
    }
    pairs.join(" ")
}

const OF_GROUP: &str = r#"permit (principal in Group::"g", action == Action::"invokeTool", resource);"#;
const OF_SET: &str = r#"permit (principal, action == Action::"invokeTool", resource in ToolSet::"s");"#;

#[test]
fn a_permit_is_for_who_was_granted_the_name() {
    for (scope, members, text, expected) in [
        (Scope::Namespace, &[][..], OF_GROUP, "n>n"),
        (Scope::Cluster, &[], OF_GROUP, "n>n n>a n>x"),
        (Scope::Namespace, &["a"], OF_GROUP, "n>n a>n"),
        (Scope::Namespace, &["*"], OF_GROUP, "n>n a>n x>n"),
        (Scope::Cluster, &[], OF_SET, "n>n a>n x>n"),
        (Scope::Cluster, &["a"], OF_SET, "n>n n>a a>n a>a x>n x>a"),
        (Scope::Cluster, &["*"], OF_SET, "n>n n>a n>x a>n a>a a>x x>n x>a x>x"),
    ] {
        let world = world(vec![policy_with(scope, members, text)]);
        assert_eq!(who(&world), expected, "{scope:?} {members:?} {text}");
    }
    let other = r#"permit (principal in Group::"a/g", action == Action::"invokeTool", resource);"#;
    assert_eq!(who(&world(vec![policy_with(Scope::Namespace, &[], other)])), "a>n");
}

#[test]
fn a_forbid_is_for_whoever_bears_the_name() {
    let all = |forbid: &str| {
        let everything = policy("n", "all", Scope::Cluster, "permit (principal, action, resource);");
        world(vec![everything, policy_with(Scope::Cluster, &[], forbid)])
    };
    let forbid = r#"forbid (principal in Group::"g", action, resource);"#;
    assert_eq!(who(&all(forbid)), "");
    // An exception is a grant.
    let unless = r#"forbid (principal, action, resource) unless { principal in Group::"g" };"#;
    assert_eq!(who(&all(unless)), "n>n n>a n>x");
}

#[test]
fn names_that_others_bear_are_warned_of() {
    let said = |members: &[&str], text: &str| {
        let world = world(vec![policy_with(Scope::Namespace, members, text)]);
        let warnings = world.warnings().iter();
        warnings.map(|one| format!("{}: {} ({})", one.value, one.reason, one.fix)).collect::<Vec<_>>()
    };
    assert_eq!(
        said(&[], OF_GROUP),
        [
            r#"Group::"g": objects of a, x bear this name too, and are not meant: it is that of their namespace (write Group::"namespace/g" to mean theirs, or list the namespace under spec.members)"#
        ]
    );
    assert_eq!(said(&["a", "x"], OF_GROUP), Vec::<String>::new());
    assert_eq!(
        said(&["*"], OF_GROUP),
        [
            r#"Group::"g": objects of a, x bear this name too, and whoever registers one anywhere can (list the namespaces that are meant under spec.members)"#
        ]
    );
    assert_eq!(said(&[], &OF_GROUP.replace("permit", "forbid")), Vec::<String>::new());
    let nobody = said(&[], &OF_GROUP.replace("\"g\"", "\"h\""));
    assert!(
        nobody.len() == 1 && nobody[0].starts_with(r#"Group::"n/h": nothing registered has this name"#),
        "{nobody:?}"
    );
    assert_eq!(said(&[], &OF_GROUP.replace("\"g\"", "\"a/g\"")), Vec::<String>::new());
}

/// A policy that grants by a name to members need not have one that bears it in its own namespace, nor in each of theirs.
#[test]
fn a_name_that_some_of_those_meant_bear_is_not_missing() {
    let said = |members: &[&str], text: &str| {
        let bearing = member("a");
        let plain = ["n", "x"].map(|namespace| agent(namespace, "bot"));
        let agents = plain.into_iter().chain([bearing]).collect();
        let policies = vec![policy_with(Scope::Namespace, members, text)];
        let (world, _) = Snapshot::build(objects(agents, vec![tools("n")], policies));
        world.warnings().iter().map(|one| format!("{}: {}", one.value, one.reason)).collect::<Vec<_>>()
    };
    let missing = r#"Group::"n/g": nothing registered has this name, so the policy never matches by it"#;
    let elsewhere = |text: &str| {
        text == r#"Group::"g": objects of a bear this name too, and are not meant: it is that of their namespace"#
    };
    for members in [&["a"][..], &["a", "n"], &["a", "x"], &["*"]] {
        let warnings = said(members, OF_GROUP);
        assert!(warnings.iter().all(|text| !text.contains("nothing registered")), "{members:?} {warnings:?}");
        assert_eq!(warnings.len(), usize::from(members == ["*"]), "{members:?} {warnings:?}");
    }
    // It is a grant, where the members are those of others.
    for members in [&[][..], &["x"], &["n"]] {
        let warnings = said(members, OF_GROUP);
        assert!(warnings.len() == 1 && elsewhere(&warnings[0]), "{members:?} {warnings:?}");
    }
    // What none of them bears is said once.
    for members in [&[][..], &["x"], &["a", "x"], &["n", "x"]] {
        let warnings = said(members, &OF_GROUP.replace("\"g\"", "\"h\""));
        assert_eq!(warnings, [missing.replace("n/g", "n/h")], "{members:?}");
    }
    // A name that is written with its namespace is looked up there, whatever others bear.
    assert_eq!(said(&["a"], &OF_GROUP.replace("\"g\"", "\"n/g\"")), [missing]);
}

#[test]
fn a_name_whose_meaning_cannot_be_told_is_refused() {
    let text = r#"permit (principal, action == Action::"invokeTool", resource) when { (principal in Group::"g") == context.chain.cycle };"#;
    let (_, rejected) = Snapshot::build(vec![policy_with(Scope::Cluster, &[], text)]);
    let [rejection] = &rejected[..] else { panic!("{rejected:#?}") };
    assert_eq!(
        (&*rejection.value, &*rejection.fix),
        (r#"Group::"g""#, r#"write the name with its namespace: Group::"namespace/g""#)
    );
    for (members, text) in [(&["*"][..], text.to_owned()), (&[], text.replace("\"g\"", "\"n/g\""))] {
        let (_, rejected) = Snapshot::build(vec![policy_with(Scope::Cluster, members, &text)]);
        assert_eq!(rejected, []);
    }
}

/// A fact says what was looked at: the name as it was understood.
#[test]
fn facts_show_the_name_as_it_was_understood() {
    let world = world(vec![policy_with(Scope::Cluster, &[], OF_GROUP)]);
    let target = Target::Tool { server: world.mcp_server("n/tools").unwrap(), name: "t" };
    let answer = Facts::of(&world, "x/bot").authorize(&world, Action::InvokeTool, target);
    assert_eq!(answer.code, Some(Code::NoPermit));
    let answer = Facts::of(&world, "n/bot").authorize(&world, Action::InvokeTool, target);
    assert!(answer.facts().contains(&("principal in Group::n/g", "true")), "{:?}", answer.facts());
}
