//! Policies about servers with members (ADR 82), and what their authors are told.

use serde_json::{Value, json};
use vidimus_core::resource::{self, Object, Origin};
use vidimus_core::snapshot::Snapshot;

fn object(kind: &str, key: &str, spec: &Value) -> Object {
    let (namespace, name) = key.split_once('/').unwrap();
    let metadata = json!({"namespace": namespace, "name": name});
    let document =
        json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
    resource::check(&Origin::file("a.yaml", 1), &document).unwrap()
}

fn server(key: &str, more: &Value) -> Object {
    let mut spec = json!({"owner": "ada.l@example.com", "team": "t", "riskLevel": "low"});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object("MCPServer", key, &spec)
}

/// `fin/desk`, of which `crm` is `sales/crm`; `fin/plain` has no members.
fn servers() -> Vec<Object> {
    let at = |url: &str| json!({"endpoint": {"url": url}});
    let member = json!({"name": "crm", "server": {"namespace": "sales", "name": "crm"}});
    vec![
        server("sales/crm", &at("http://crm/mcp")),
        server("fin/plain", &at("http://plain/mcp")),
        server("fin/desk", &json!({"members": [member]})),
    ]
}

fn policy(cedar: &str) -> Object {
    object("Policy", "fin/p", &json!({"description": "a test", "scope": "Cluster", "cedar": cedar}))
}

fn said(world: &Snapshot) -> Vec<String> {
    let said = world.warnings().iter();
    said.map(|one| format!("{}: {} ({})", one.value, one.reason, one.fix)).collect()
}

/// Attack on oneself: a forbid of what every client shows, by the name that it shows, which forbids nothing.
#[test]
fn who_forbids_something_of_a_server_with_members_is_told_that_it_forbids_nothing() {
    let told = |cedar: &str| {
        let mut all = servers();
        all.push(policy(cedar));
        let (world, rejected) = Snapshot::build(all);
        assert!(rejected.is_empty(), "{cedar}: {rejected:?}");
        said(&world)
    };
    for (cedar, value, fix) in [
        (
            r#"forbid (principal, action == Action::"invokeTool", resource in MCPServer::"fin/desk");"#,
            r#"MCPServer::"fin/desk": "#,
            r#"action == Action::"connectServer" and resource == MCPServer::"fin/desk")"#,
        ),
        (
            r#"forbid (principal, action == Action::"invokeTool", resource == Tool::"fin/desk/crm__find");"#,
            r#"Tool::"fin/desk/crm__find": "#,
            r#"(write Tool::"sales/crm/find")"#,
        ),
        (
            r#"forbid (principal, action == Action::"invokeTool", resource) when { resource == Tool::"fin/desk/find" };"#,
            r#"Tool::"fin/desk/find": "#,
            "(write the name that it has at the member)",
        ),
        (
            r#"permit (principal, action == Action::"readResource", resource == Resource::"fin/desk/crm+file:///x");"#,
            r#"Resource::"fin/desk/crm+file:///x": "#,
            r#"(write Resource::"sales/crm/file:///x")"#,
        ),
        (
            r#"permit (principal, action, resource in MCPServer::"fin/desk");"#,
            r#"MCPServer::"fin/desk": "#,
            "(name the members (sales/crm))",
        ),
    ] {
        let told = told(cedar);
        assert!(told.len() == 1 && told[0].starts_with(value) && told[0].ends_with(fix), "{cedar}: {told:?}");
        let does = if cedar.starts_with("forbid") { "forbids nothing" } else { "permits nothing" };
        assert!(told[0].contains(does), "{told:?}");
    }
    for cedar in [
        // It refuses all that comes by it.
        r#"forbid (principal, action == Action::"connectServer", resource == MCPServer::"fin/desk");"#,
        r#"forbid (principal, action, resource in MCPServer::"fin/desk");"#,
        r#"permit (principal, action, resource == MCPServer::"fin/desk");"#,
        r#"forbid (principal, action == Action::"invokeTool", resource in MCPServer::"sales/crm");"#,
        r#"forbid (principal, action == Action::"invokeTool", resource == Tool::"fin/plain/crm__find");"#,
    ] {
        assert_eq!(told(cedar), Vec::<String>::new(), "{cedar}");
    }
}

/// A server that gets members later: a policy that was good is so no more, and is told of with that very configuration.
#[test]
fn what_is_told_follows_the_server() {
    let forbid = policy(
        r#"forbid (principal, action == Action::"invokeTool", resource == Tool::"fin/desk/crm__find");"#,
    );
    let with = |desk: Object| {
        let mut all = servers();
        all.pop();
        all.extend([desk, forbid.clone()]);
        all
    };
    let plain = || server("fin/desk", &json!({"endpoint": {"url": "http://desk/mcp"}}));
    let (mut world, _) = Snapshot::build(with(plain()));
    for (desk, count) in [(servers().remove(2), 1), (plain(), 0), (servers().remove(2), 1)] {
        let (next, rejected) = world.rebuilt(with(desk), Vec::new());
        assert_eq!((said(&next).len(), rejected.len()), (count, 0), "{:?}", said(&next));
        world = next;
    }
}
