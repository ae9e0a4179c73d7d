use std::fs;
use std::sync::Arc;

use super::*;

const OBJECTS: &str = r#"
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: bot, namespace: a}
spec: {owner: ada.l@example.com, team: t, purpose: p, riskLevel: low, identities: [{oidc: {issuer: "urn:vidimus:local", subject: bot}}]}
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {name: bank, namespace: a}
spec: {owner: ada.l@example.com, team: t, riskLevel: low, endpoint: {url: "http://127.0.0.1:1/mcp"}, toolSets: {looks: [look]}}
"#;

fn world(objects: &str, cedar: &str) -> Arc<Snapshot> {
    let directory = tempfile::tempdir().expect("a directory");
    let policy = format!(
        "---\napiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {{name: p, namespace: a}}\nspec:\n  description: d\n  cedar: |\n    {cedar}\n"
    );
    fs::write(directory.path().join("a.yaml"), format!("{objects}{policy}")).expect("written");
    let loaded = vidimus_registry::load(directory.path());
    assert!(loaded.rejections.is_empty(), "{:#?}", loaded.rejections);
    loaded.snapshot
}

fn changed(old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let question = DiffQuestion { most: MOST, ..DiffQuestion::default() };
    let answer = diff(old, new, &question);
    assert!(answer.complete);
    let changed = answer.changed.iter();
    let mut changed: Vec<String> = changed
        .map(|edge| format!("{} {} → {}", edge.resource, edge.old.outcome, edge.new.outcome))
        .collect();
    changed.sort();
    changed
}

#[test]
fn what_changes_whatever_the_context_says_is_told() {
    let looks = "permit (principal, action == Action::\"invokeTool\", resource in ToolSet::\"looks\");";
    let limited = "permit (principal, action == Action::\"invokeTool\", resource in ToolSet::\"looks\") when { context.delegation_depth <= 3 };";
    let by_argument = "permit (principal, action == Action::\"invokeTool\", resource in ToolSet::\"looks\") when { context.args.hasTag(\"/a\") };";
    for (old, new, expected) in [
        (looks, looks, vec![]),
        // What is written otherwise and decides the same.
        (
            looks,
            "permit (principal, action == Action::\"invokeTool\", resource) when { resource.name == \"look\" };",
            vec![],
        ),
        (looks, limited, vec!["MCPServer/a/bank allow → depends", "Tool/a/bank/look allow → depends"]),
        (limited, limited, vec![]),
        (
            limited,
            by_argument,
            vec!["MCPServer/a/bank depends → allow", "Tool/a/bank/look depends → depends"],
        ),
        (
            looks,
            "permit (principal, action == Action::\"invokeTool\", resource);",
            vec!["Tool/a/bank/* deny → allow"],
        ),
        (
            looks,
            "forbid (principal, action, resource);",
            vec!["MCPServer/a/bank allow → deny", "Tool/a/bank/look allow → deny"],
        ),
    ] {
        assert_eq!(changed(&world(OBJECTS, old), &world(OBJECTS, new)), expected, "{old} → {new}");
    }
}

#[test]
fn a_context_that_is_asked_otherwise_may_change_what_is_decided() {
    let limited = |depth| {
        format!(
            "permit (principal, action == Action::\"invokeTool\", resource in ToolSet::\"looks\") when {{ context.delegation_depth <= {depth} }};"
        )
    };
    let (three, four) = (world(OBJECTS, &limited(3)), world(OBJECTS, &limited(4)));
    let expected = ["MCPServer/a/bank depends → depends", "Tool/a/bank/look depends → depends"];
    assert_eq!(changed(&three, &four), expected);
}

#[test]
fn what_is_added_and_what_is_gone_is_told() {
    let all = "permit (principal, action, resource);";
    let old = world(OBJECTS, all);
    let new = world(&OBJECTS.replace("name: bank", "name: shop"), all);
    let answer = diff(&old, &new, &DiffQuestion { most: MOST, ..DiffQuestion::default() });
    let objects: Vec<String> = answer.objects.iter().map(|(object, how)| format!("{object} {how}")).collect();
    assert_eq!(objects, ["MCPServer a/bank removed", "MCPServer a/shop added"]);
    assert!(answer.changed.iter().all(|edge| edge.old.outcome == "absent" || edge.new.outcome == "absent"));
    assert_eq!(answer.by, "enumeration");
}

#[test]
fn as_many_edges_are_looked_at_as_is_asked() {
    let world = world(OBJECTS, "permit (principal, action, resource);");
    let of = |most, resource: Option<&str>| {
        let question =
            DiffQuestion { most, resource: resource.map(str::to_owned), ..DiffQuestion::default() };
        let answer = diff(&world, &world, &question);
        (answer.edges, answer.complete, answer.holds())
    };
    assert_eq!(of(2, None), (2, false, false));
    assert_eq!(of(MOST, Some("bank/look")), (1, true, true));
    assert_eq!(of(MOST, Some("ook")), (0, true, true));
}

#[test]
fn what_no_edge_shows_is_told_of_the_objects() {
    let looks = "permit (principal, action == Action::\"invokeTool\", resource in ToolSet::\"looks\");";
    let with = |spec: &str| OBJECTS.replacen("riskLevel: low, ", &format!("riskLevel: low, {spec}"), 1);
    let beside = |objects: &str, cedar: &str| {
        let question = DiffQuestion { most: MOST, ..DiffQuestion::default() };
        let answer = diff(&world(OBJECTS, looks), &world(objects, cedar), &question);
        assert_eq!(answer.holds(), answer.beside.is_empty() && answer.changed.is_empty());
        let told = answer.beside.into_iter().map(|(object, parts)| format!("{object}: {}", parts.join(" ")));
        told.collect::<Vec<_>>()
    };
    let operators = "permit (principal, action in [Action::\"operate\", Action::\"read\"], resource);";
    for (objects, cedar, expected) in [
        (OBJECTS.to_owned(), looks, vec![]),
        (with("environment: test, "), looks, vec![]),
        (with("delegation: {maxDepth: 1}, "), looks, vec!["Agent a/bot: delegation"]),
        (with("actsFor: [{issuer: \"https://login.example.com\"}], "), looks, vec!["Agent a/bot: actsFor"]),
        (OBJECTS.replace("subject: bot", "subject: other"), looks, vec!["Agent a/bot: identities"]),
        (
            OBJECTS.replace("toolSets:", "labels: {reads: [personal]}, toolSets:"),
            looks,
            vec!["MCPServer a/bank: labels"],
        ),
        (OBJECTS.to_owned(), &*format!("{looks} {operators}"), vec!["Policy a/p: people"]),
    ] {
        assert_eq!(beside(&objects, cedar), expected, "{objects} {cedar}");
    }
}

#[test]
fn who_approves_is_what_changes_of_a_call_that_waits() {
    let held = |role: &str| {
        format!(
            "permit (principal, action == Action::\"invokeTool\", resource in ToolSet::\"looks\"); @approval(\"{role}\") forbid (principal, action == Action::\"invokeTool\", resource) unless {{ context has approval && context.approval.role == \"{role}\" }};"
        )
    };
    let one = world(OBJECTS, &held("one"));
    assert_eq!(changed(&one, &one), Vec::<String>::new());
    let told = changed(&one, &world(OBJECTS, &held("other")));
    assert!(told.contains(&"Tool/a/bank/look depends → depends".to_owned()), "{told:?}");
}
