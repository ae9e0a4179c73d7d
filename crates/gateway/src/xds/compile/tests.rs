use serde_json::{Value, json};
use vidimus_core::resource::{self, Origin};

use super::*;

pub(in crate::xds) fn gateway() -> Gateway {
    "edge/agents".parse().expect("a gateway")
}

pub(in crate::xds) fn settings() -> Settings {
    Settings { port: 8080, door: ("127.0.0.1".to_owned(), 9191), door_id: None, most_body: 33_554_432 }
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    let mut all = json!({"owner": "ada@example.com", "team": "t", "riskLevel": "low"});
    if kind == "LLMProvider" {
        all = json!({"owner": "ada@example.com", "team": "t", "type": "openAICompatible", "credential": {"none": {}},
            "models": [{"name": "small"}]});
    }
    if kind == "Agent" {
        all["purpose"] = json!("is called");
    }
    let (all, spec) = (all.as_object_mut().expect("an object"), spec.as_object().expect("an object"));
    all.extend(spec.clone());
    json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": kind, "metadata": {"namespace": "finance", "name": name},
        "spec": all})
}

pub(in crate::xds) fn snapshot(objects: &[Value]) -> Snapshot {
    let check = |value: &Value| {
        resource::check(&Origin::default(), value).unwrap_or_else(|problems| panic!("{problems:?}"))
    };
    Snapshot::build(objects.iter().map(check).collect()).0
}

fn compiled(objects: &[Value]) -> Compiled {
    compile(&snapshot(objects), &gateway(), &settings())
}

fn at(url: &str) -> Value {
    json!({"endpoint": {"url": url}})
}

/// One of each that is called, and a policy.
pub(in crate::xds) fn one_of_each() -> Vec<Value> {
    let policy = json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy",
        "metadata": {"namespace": "finance", "name": "some"},
        "spec": {"description": "some", "cedar": "permit (principal, action, resource);"}});
    vec![
        object("Agent", "ledger", &at("https://ledger.example/a2a")),
        object("MCPServer", "ledger", &at("http://ledger-mcp.finance:9000/mcp")),
        object("LLMProvider", "models", &at("https://[2606:4700::1111]:8443/v1")),
        policy,
    ]
}

fn names(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| &*item.name).collect()
}

fn read(items: &[Item], name: &str) -> Resource {
    let found = items.iter().find(|item| &*item.name == name).expect("a resource of this name");
    Resource::decode(found.value.clone()).expect("a resource")
}

#[test]
fn each_kind_that_is_called_has_an_address_and_a_route_and_the_port_is_last() {
    let all = compiled(&one_of_each());
    assert_eq!(
        names(&all.rest),
        [
            "backend/finance/a2a.ledger",
            "backend/finance/llm.models",
            "backend/finance/mcp.ledger",
            "route/finance/a2a.ledger.00.http",
            "route/finance/llm.models.00.http",
            "route/finance/mcp.ledger.00.http",
            "listener/edge/agents.http",
            "bind/8080/edge/agents",
        ]
    );
    assert_eq!(
        names(&all.guards),
        ["policy/edge/agents.vidimus-ask", "policy/edge/agents.vidimus-default-deny"]
    );
    assert_eq!(all.left_out, []);
    for (name, host, port, policies) in [
        ("a2a.ledger", "ledger.example", 443, 3),
        ("llm.models", "2606:4700::1111", 8443, 2),
        ("mcp.ledger", "ledger-mcp.finance", 9000, 1),
    ] {
        let backend = read(&all.rest, &format!("backend/finance/{name}")).backend.expect("a backend");
        assert_eq!(backend.fixed, Some(StaticBackend { host: host.to_owned(), port }), "{name}");
        assert_eq!(backend.inline_policies.len(), policies, "{name}: {backend:?}");
        let tls = backend.inline_policies.iter().any(|policy| policy.backend_tls.is_some());
        let card = backend.inline_policies.iter().any(|policy| policy.a2a.is_some());
        assert_eq!((tls, card), (name != "mcp.ledger", name == "a2a.ledger"), "{name}");
    }
    for (name, path, host, upstream) in [
        ("a2a.ledger", "/a2a/finance/ledger", "ledger.example", "/a2a"),
        ("llm.models", "/llm/finance/models", "[2606:4700::1111]:8443", "/v1"),
        ("mcp.ledger", "/mcp/finance/ledger", "ledger-mcp.finance:9000", "/mcp"),
    ] {
        let route = read(&all.rest, &format!("route/finance/{name}.00.http")).route.expect("a route");
        let matched = route.matches.first().and_then(|it| it.path.as_ref()).map(|it| it.path_prefix.as_str());
        assert_eq!(matched, Some(path));
        let rewritten = route.traffic_policies.first().and_then(|policy| policy.url_rewrite.as_ref());
        assert_eq!(rewritten.map(|it| (it.host.as_str(), it.prefix.as_str())), Some((host, upstream)));
        assert_eq!(route.listener_key, "edge/agents.http");
        let leads_to = route.backends.first().and_then(|it| it.backend.as_ref()).map(|it| it.backend.clone());
        assert_eq!(leads_to, Some(format!("finance/{name}")));
    }
}

/// Attack: a gateway that was started before Vidimus, or asks it in vain, lets calls pass.
#[test]
fn whatever_is_routed_is_asked_about_and_nothing_passes_that_was_not_let_pass() {
    for objects in [one_of_each(), Vec::new()] {
        let all = compiled(&objects);
        let ask = read(&all.guards, "policy/edge/agents.vidimus-ask").policy.expect("a policy");
        let deny = read(&all.guards, "policy/edge/agents.vidimus-default-deny").policy.expect("a policy");
        for policy in [&ask, &deny] {
            assert_eq!(policy.inheritance, OVERRIDE, "nothing below takes its place");
            assert_eq!(policy.traffic.as_ref().map(|traffic| traffic.phase), Some(GATEWAY));
            let target = policy.target.as_ref().and_then(|target| target.gateway.clone());
            let expected = GatewayTarget { name: "agents".to_owned(), namespace: "edge".to_owned() };
            assert_eq!(target, Some(expected), "of all of its ports");
        }
        let ask = ask.traffic.and_then(|traffic| traffic.ext_authz).expect("a question");
        let body = ask.include_request_body.expect("with the body");
        assert_eq!((body.max_request_bytes, body.pack_as_bytes), (33_554_432, true));
        let target = ask.target.and_then(|target| target.inline).expect("an address");
        assert_eq!((target.hostname.as_str(), target.port), ("127.0.0.1", 9191));
        assert!(ask.inline_policies.iter().all(|policy| policy.backend_tls.is_none()), "plain, on loopback");
        let deny = deny.traffic.and_then(|traffic| traffic.authorization).expect("a rule");
        assert_eq!(deny.require, ["extauthz.vidimus == \"allowed\""]);
    }
}

/// Attack: somebody answers in the place of the door, and lets everything pass.
#[test]
fn a_door_elsewhere_is_known_by_its_spiffe_id() {
    let id = "spiffe://vidimus.local/ns/vidimus/sa/gateway";
    let door = ("vidimus.vidimus-system.svc".to_owned(), 9191);
    let settings = Settings { door, door_id: Some(id.to_owned()), ..settings() };
    let all = compile(&snapshot(&[]), &gateway(), &settings);
    let ask = read(&all.guards, "policy/edge/agents.vidimus-ask").policy.expect("a policy");
    let ask = ask.traffic.and_then(|traffic| traffic.ext_authz).expect("a question");
    let tls = ask.inline_policies.iter().find_map(|policy| policy.backend_tls.as_ref()).expect("TLS");
    assert_eq!(
        (tls.certificate_source, tls.verify_subject_alt_names.as_slice()),
        (SPIFFE, &[id.to_owned()][..])
    );
}

#[test]
fn what_such_a_data_plane_would_call_otherwise_is_left_out_and_named() {
    let mut objects = vec![
        object("MCPServer", "bridged", &json!({"endpoint": {"url": "https://a/mcp", "mcp": "sessions"}})),
        object("MCPServer", "desk", &json!({"members": [{"name": "good", "server": {"name": "good"}}]})),
        object(
            "MCPServer",
            "own-roots",
            &json!({"endpoint": {"url": "https://a/mcp", "caFile": "/etc/ca.pem"}}),
        ),
        object("MCPServer", "query", &at("https://a/mcp?tenant=1")),
        object("MCPServer", "good", &at("https://a/mcp")),
    ];
    // One that only calls has no address.
    let identity = json!([{"serviceAccount": {"name": "caller"}}]);
    objects.push(object("Agent", "caller", &json!({"identities": identity})));
    let all = compiled(&objects);
    let left: Vec<&str> = all.left_out.iter().map(|one| one.object.as_str()).collect();
    let expected = ["bridged", "desk", "own-roots", "query"].map(|name| format!("MCPServer finance/{name}"));
    assert_eq!(left, expected);
    let routes: Vec<&str> = names(&all.rest).into_iter().filter(|name| name.starts_with("route/")).collect();
    assert_eq!(routes, ["route/finance/mcp.good.00.http"]);
}

/// What refuses is the door, with its code; a route that is gone would be refused with none.
#[test]
fn what_is_quarantined_or_closed_keeps_its_route_and_what_is_removed_has_none() {
    let quarantined = json!({"endpoint": {"url": "https://a/a2a"}, "quarantined": true});
    let with = compiled(&[object("Agent", "bad", &quarantined)]);
    assert!(names(&with.rest).contains(&"route/finance/a2a.bad.00.http"));
    let without = compiled(&[]);
    assert_eq!(names(&without.rest), ["listener/edge/agents.http", "bind/8080/edge/agents"]);
    assert_eq!(with.guards, without.guards);
}

#[test]
fn versions_are_of_the_content_and_the_same_wherever_they_are_made() {
    let mut objects = one_of_each();
    let all = compiled(&objects);
    objects.reverse();
    assert_eq!(compiled(&objects), all, "in whatever order they are read");
    objects.push(object("MCPServer", "other", &at("https://b/mcp")));
    let more = compiled(&objects);
    let of = |compiled: &Compiled, name: &str| {
        compiled.rest.iter().find(|item| &*item.name == name).map(|item| item.version.clone())
    };
    for item in &all.rest {
        assert_eq!(of(&more, &item.name), Some(item.version.clone()), "{} did not change", item.name);
    }
    let slower = json!({"endpoint": {"url": "http://ledger-mcp.finance:9000/mcp", "timeout": "5s"}});
    let slower = compiled(&[object("MCPServer", "ledger", &slower)]);
    let (backend, route) = ("backend/finance/mcp.ledger", "route/finance/mcp.ledger.00.http");
    assert_ne!(of(&slower, backend), of(&all, backend));
    assert_eq!(of(&slower, route), of(&all, route), "it says nothing of how long");
    assert!(all.rest.iter().all(|item| item.version.len() == 32));
}

#[test]
fn a_gateway_is_named_by_its_service_account() {
    for bad in ["agents", "/agents", "edge/", "edge/a/b", "Edge/agents", "edge~agents", "edge/a~b", ""] {
        assert_eq!(bad.parse::<Gateway>(), Err(NoGateway), "{bad}");
    }
    assert_eq!(
        (gateway().to_string(), gateway().role()),
        ("edge/agents".to_owned(), "edge~agents".to_owned())
    );
}
