//! What records and policies name and leads nowhere is a warning: who writes it is told before a call is refused, or a forbid holds nobody.

use serde_json::{Value, json};
use vidimus_core::resource::{self, Object, Origin, Rejection};
use vidimus_core::snapshot::Snapshot;

/// `namespace/name`, with this spec beside what each record has to say.
fn object(kind: &str, key: &str, spec: &Value) -> Object {
    let (namespace, name) = key.split_once('/').unwrap();
    let mut whole = match kind {
        "Policy" => json!({"description": "d"}),
        "LLMProvider" => json!({"owner": "ada.l@example.com", "type": "openAI", "credential": {"none": {}}}),
        "Agent" => {
            json!({"owner": "ada.l@example.com", "team": "t", "riskLevel": "low", "purpose": "a test"})
        }
        _ => json!({"owner": "ada.l@example.com", "team": "t", "riskLevel": "low"}),
    };
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let document = json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": kind,
        "metadata": {"namespace": namespace, "name": name}, "spec": whole});
    resource::check(&Origin::file("a.yaml", 1), &document).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn server(key: &str) -> Object {
    object("MCPServer", key, &json!({"endpoint": {"url": format!("http://{}/mcp", key.replace('/', "."))}}))
}

/// A server with members: each by its name, `namespace/name`.
fn front(key: &str, members: &[(&str, &str)]) -> Object {
    let member = |(name, server): &(&str, &str)| {
        let (namespace, of) = server.split_once('/').unwrap();
        json!({"name": name, "server": {"namespace": namespace, "name": of}})
    };
    object("MCPServer", key, &json!({"members": members.iter().map(member).collect::<Vec<_>>()}))
}

fn of_agent(key: &str, more: &Value) -> Object {
    let mut agent = json!({"name": "bot"});
    agent.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object("MCPServer", key, &json!({"agent": agent}))
}

fn api(key: &str, operations: &[&str], more: &Value) -> Object {
    let path = |operation: &&str| (format!("/{operation}"), json!({"get": {"operationId": operation}}));
    let paths: serde_json::Map<String, Value> = operations.iter().map(path).collect();
    let document = json!({"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": paths});
    let mut spec = json!({"openapi": {"url": "http://api.example/", "document": document}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object("MCPServer", key, &spec)
}

fn policy(key: &str, scope: &str, cedar: &str) -> Object {
    object("Policy", key, &json!({"scope": scope, "cedar": cedar}))
}

fn built(objects: &[Object]) -> Snapshot {
    let (world, rejected) = Snapshot::build(objects.to_vec());
    assert!(rejected.is_empty(), "{rejected:#?}");
    world
}

fn line(one: &Rejection) -> String {
    format!("{} {} {}: {}; {}", one.object, one.field, one.value, one.reason, one.fix)
}

fn told(objects: &[Object]) -> Vec<String> {
    built(objects).warnings().iter().map(line).collect()
}

fn only(mut said: Vec<String>) -> String {
    assert_eq!(said.len(), 1, "{said:#?}");
    said.remove(0)
}

#[test]
fn agents_and_members_that_are_not_there_are_told() {
    let bots = of_agent("finance/bots", &json!({}));
    let bot = |spec: Value| object("Agent", "finance/bot", &spec);
    assert_eq!(
        told(std::slice::from_ref(&bots)),
        [
            "MCPServer finance/bots spec.agent.name finance/bot: no Agent finance/bot is registered; correct the name, or register it"
        ]
    );
    let caller = bot(json!({"identities": [{"spiffe": "spiffe://t/bot"}]}));
    let one = only(told(&[bots.clone(), caller]));
    assert!(one.contains("has no endpoint, so nobody can call it; give it spec.endpoint"), "{one}");
    assert!(told(&[bots, bot(json!({"endpoint": {"url": "http://bot:1/"}}))]).is_empty());

    let desk = front("finance/desk", &[("a", "finance/ledger"), ("b", "sales/crm")]);
    let ledger = server("finance/ledger");
    let said = told(&[desk.clone(), ledger.clone()]);
    assert_eq!(
        said,
        [
            "MCPServer finance/desk spec.members[1].server sales/crm: no MCPServer sales/crm is registered; correct the name, or register it"
        ]
    );
    let crm = front("sales/crm", &[("a", "finance/ledger")]);
    let one = only(told(&[desk.clone(), ledger.clone(), crm]));
    assert!(
        one.contains("spec.members[1].server sales/crm: the MCPServer sales/crm has members itself"),
        "{one}"
    );
    assert!(told(&[desk, ledger, server("sales/crm")]).is_empty());
}

/// Of a public document the one operation that is not supported takes the others with it no more.
#[test]
fn operations_that_are_left_out_are_told() {
    let of = |more: usize| {
        let own = |number| {
            (
                format!("/own{number:02}"),
                json!({"get": {"operationId": format!("own{number}"), "servers": []}}),
            )
        };
        let mut paths: serde_json::Map<String, Value> = (0..more).map(own).collect();
        paths.insert("/a".to_owned(), json!({"get": {"operationId": "a"}}));
        let document = json!({"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": paths});
        object(
            "MCPServer",
            "shop/pets",
            &json!({"openapi": {"url": "http://api.example/", "document": document}}),
        )
    };
    assert_eq!(told(&[of(0)]), [""; 0]);
    assert_eq!(
        only(told(&[of(1)])),
        "MCPServer shop/pets spec.openapi.document.paths[\"/own00\"].get : the operation own0 is no tool: it has servers of its own, and a call goes to spec.openapi.url alone; leave the operation out: name those that are to be tools in spec.openapi.operations"
    );
    let all = told(&[of(20)]);
    let more = all.iter().filter(|one| one.contains("so it is with 4 more of the document")).count();
    assert!(all.len() == 17 && more == 1, "{all:#?}");
}

/// A forbid on a set of tools holds nothing of a tool that is written otherwise.
#[test]
fn tools_that_a_record_does_not_have_are_told() {
    let more = json!({"tools": {"GetInvoice": {"readOnly": true}}, "toolSets": {"ro": ["Invoices_GetInvoice", "get_pett"]}});
    assert_eq!(
        told(&[api("shop/pets", &["Invoices_GetInvoice", "get_pet"], &more)]),
        [
            "MCPServer shop/pets spec.tools.GetInvoice GetInvoice: the server has no tool of this name; write Invoices_GetInvoice",
            "MCPServer shop/pets spec.toolSets.ro get_pett: the server has no tool of this name; write one of its tools: Invoices_GetInvoice, get_pet",
        ]
    );
    // Of a server that is asked for its tools nobody knows.
    let mut spec = json!({"endpoint": {"url": "http://ledger:1/"}});
    spec["toolSets"] = json!({"ro": ["anything"]});
    assert!(told(&[object("MCPServer", "shop/ledger", &spec)]).is_empty());
    // So many that nobody reads them cost nothing.
    let many: Vec<String> = (0..60).map(|number| format!("t{number}")).collect();
    assert_eq!(told(&[api("shop/pets", &["get_pet"], &json!({"toolSets": {"all": many}}))]).len(), 16);
}

#[test]
fn what_nothing_is_done_by_is_told() {
    let integrity = json!({"integrity": {"pins": {}}});
    let one = only(told(&[api("shop/pets", &["get_pet"], &integrity)]));
    assert!(one.contains("spec.integrity ") && one.ends_with("; remove it"), "{one}");
    let mut pinned = json!({"endpoint": {"url": "http://ledger:1/"}});
    pinned["integrity"] = integrity["integrity"].clone();
    assert!(told(&[object("MCPServer", "shop/ledger", &pinned)]).is_empty());

    let key = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let agent = |more: Value| {
        let mut spec = json!({"card": {"keys": [key]}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        told(&[object("Agent", "finance/bot", &spec)])
    };
    let one = only(agent(json!({"identities": [{"spiffe": "spiffe://t/bot"}]})));
    assert!(one.contains("spec.card ") && one.contains("has no endpoint"), "{one}");
    assert!(agent(json!({"endpoint": {"url": "http://bot:1/"}})).is_empty());
}

#[test]
fn a_failover_that_is_never_tried_is_told() {
    let provider = |key: &str, spec: Value| object("LLMProvider", key, &spec);
    let main = |failover: Value| {
        provider("p/main", json!({"models": [{"name": "gpt"}, {"name": "mini"}], "failover": failover}))
    };
    let to_other = json!({"to": [{"provider": "other"}]});
    let beside = |other: Value| told(&[main(to_other.clone()), provider("p/other", other)]);
    let one = only(told(&[main(to_other.clone())]));
    assert!(
        one.contains("spec.failover.to[0].provider p/other: no LLMProvider p/other is registered"),
        "{one}"
    );
    let one = only(beside(json!({"models": [{"name": "claude"}]})));
    assert!(one.contains("never tried") && one.ends_with("under its aliases: gpt, mini"), "{one}");
    assert!(beside(json!({"models": [{"name": "claude"}], "aliases": {"mini": "claude"}})).is_empty());
    assert!(beside(json!({"models": [{"name": "gpt"}]})).is_empty());
    let one = only(beside(json!({"models": [{"name": "gpt"}], "labels": {"sends": ["external"]}})));
    assert!(one.contains("other things with information"), "{one}");
    let shares =
        |failover: Value| told(&[main(failover), provider("p/other", json!({"models": [{"name": "gpt"}]}))]);
    let one = only(shares(json!({"weight": 0, "to": [{"provider": "other"}]})));
    assert!(one.contains("spec.failover.weight 0: nobody has a share"), "{one}");
    assert!(shares(json!({"weight": 0, "to": [{"provider": "other", "weight": 1}]})).is_empty());
}

/// The base URL of an SDK ends in what a provider's own paths begin with.
#[test]
fn an_address_that_has_the_paths_of_the_api_already_is_told() {
    let at = |kind: &str, url: &str| {
        let mut spec = json!({"type": kind, "endpoint": {"url": url}, "models": [{"name": "m"}]});
        if kind == "bedrock" {
            spec["region"] = json!("eu-central-1");
        }
        told(&[object("LLMProvider", "p/main", &spec)])
    };
    for (kind, url, goes, fix) in [
        (
            "openAI",
            "http://vllm:8000/v1",
            "http://vllm:8000/v1/v1/chat/completions",
            "write http://vllm:8000",
        ),
        (
            "openAICompatible",
            "https://a.example/openai/v1/",
            "/openai/v1/v1/",
            "write https://a.example/openai",
        ),
        ("anthropic", "https://a.example/v1", "https://a.example/v1/v1/messages", "write https://a.example"),
        ("gemini", "https://a.example/v1beta", "/v1beta/v1beta/models", "write https://a.example"),
        ("azure", "https://a.example/openai", "/openai/openai/v1/", "write https://a.example"),
        ("azure", "https://a.example/openai/v1", "/openai/v1/openai/v1/", "write https://a.example"),
    ] {
        let one = only(at(kind, url));
        assert!(one.contains("spec.endpoint.url ") && one.contains(goes) && one.ends_with(fix), "{one}");
    }
    for (kind, url) in [
        ("openAI", "http://v1"),
        ("openAI", "http://vllm:8000/xv1"),
        ("openAICompatible", "http://vllm:8000/v1/proxy"),
        ("azure", "https://a.example/v1"),
        ("bedrock", "https://a.example/v1"),
    ] {
        assert_eq!(at(kind, url), [""; 0], "{kind} {url}");
    }
}

/// What a policy is told of that says this of a desk of two members, and of what else is registered.
fn of_policy(namespace: &str, scope: &str, cedar: &str) -> Vec<String> {
    let objects = [
        front("finance/desk", &[("ledger", "finance/ledger"), ("crm", "sales/crm")]),
        server("finance/ledger"),
        server("sales/crm"),
        api("shop/pets", &["get_pet", "Invoices_GetInvoice"], &json!({})),
        object("Agent", "hr/bot", &json!({"endpoint": {"url": "http://bot:1/"}})),
        policy(&format!("{namespace}/p"), scope, cedar),
    ];
    told(&objects)
}

/// Attack: a tool that is forbidden by the name which every client shows.
#[test]
fn policies_about_what_a_server_with_members_shows_are_told_what_to_write() {
    let invoked = r#"principal, action == Action::"invokeTool""#;
    for (cedar, value, fix) in [
        (
            format!(r#"forbid ({invoked}, resource == Tool::"finance/desk/crm__get_invoice");"#),
            r#"Tool::"finance/desk/crm__get_invoice""#,
            r#"write Tool::"sales/crm/get_invoice""#,
        ),
        (
            format!(r#"permit ({invoked}, resource == Tool::"finance/desk/get_invoice");"#),
            r#"Tool::"finance/desk/get_invoice""#,
            r#"write Tool::"finance/ledger/get_invoice""#,
        ),
        (
            r#"permit (principal, action == Action::"readResource", resource == Resource::"finance/desk/crm+crm://a/b");"#
                .to_owned(),
            r#"Resource::"finance/desk/crm+crm://a/b""#,
            r#"write Resource::"sales/crm/crm://a/b""#,
        ),
        (
            format!(r#"forbid ({invoked}, resource in MCPServer::"finance/desk");"#),
            r#"MCPServer::"finance/desk""#,
            r#"add Action::"connectServer" to its actions"#,
        ),
        (
            format!(r#"permit ({invoked}, resource in MCPServer::"finance/desk");"#),
            r#"MCPServer::"finance/desk""#,
            r#"name the members: MCPServer::"finance/ledger", MCPServer::"sales/crm""#,
        ),
        (
            r#"permit (principal, action, resource in MCPServer::"finance/desk");"#.to_owned(),
            r#"MCPServer::"finance/desk""#,
            "name the members",
        ),
    ] {
        let said = of_policy("finance", "Cluster", &cedar);
        let one = only(said);
        assert!(one.contains(&format!("spec.cedar {value}: ")) && one.contains(fix), "{cedar}: {one}");
    }
    for cedar in [
        r#"forbid (principal, action == Action::"connectServer", resource == MCPServer::"finance/desk");"#,
        r#"forbid (principal, action in Action::"mcp", resource in MCPServer::"finance/desk");"#,
        r#"forbid (principal, action, resource in MCPServer::"finance/desk");"#,
        r#"permit (principal, action == Action::"connectServer", resource == MCPServer::"finance/desk");"#,
        r#"permit (principal, action == Action::"invokeTool", resource == Tool::"sales/crm/get_invoice");"#,
    ] {
        assert_eq!(of_policy("finance", "Cluster", cedar), [""; 0], "{cedar}");
    }
}

#[test]
fn policies_about_tools_that_cannot_exist_are_told_what_to_write() {
    for (tool, fix) in [
        ("getPet", "write Tool::\"shop/pets/get_pet\""),
        ("GetInvoice", "write Tool::\"shop/pets/Invoices_GetInvoice\""),
        ("finance.v1.Invoices/GetInvoice", "write Tool::\"shop/pets/Invoices_GetInvoice\""),
        ("drop", "name one of its tools: Invoices_GetInvoice, get_pet"),
    ] {
        let cedar = format!(r#"forbid (principal, action, resource == Tool::"shop/pets/{tool}");"#);
        let said = of_policy("finance", "Cluster", &cedar);
        let one = only(said);
        assert!(one.contains("has no tool of this name") && one.ends_with(fix), "{tool}: {one}");
    }
    let known = r#"forbid (principal, action, resource == Tool::"shop/pets/get_pet");"#;
    assert_eq!(of_policy("finance", "Cluster", known), [""; 0]);
}

/// Attack: a namespace that asks by policies of its own what another one's servers stand for, and which tools they have.
#[test]
fn what_a_record_says_is_told_to_its_own_namespace() {
    for (tool, hidden) in [("finance/desk/crm__get_invoice", "sales/crm"), ("shop/pets/getPet", "get_pet")] {
        let cedar = format!(r#"permit (principal, action, resource == Tool::"{tool}");"#);
        for (namespace, scope, is_told) in [("hr", "Namespace", false), ("hr", "Cluster", true)] {
            let said = of_policy(namespace, scope, &cedar).join("\n");
            assert_eq!(said.contains(hidden), is_told, "{tool}: {said}");
            assert!(said.contains(tool), "{said}");
        }
        let own = tool.split('/').next().unwrap();
        assert!(of_policy(own, "Namespace", &cedar).join("\n").contains(hidden));
    }
    // The same of the server itself, whatever the policy says of it.
    for effect in ["permit", "forbid"] {
        let cedar = format!(
            r#"{effect} (principal, action == Action::"invokeTool", resource in MCPServer::"finance/desk");"#
        );
        for (namespace, scope, is_told) in
            [("hr", "Namespace", false), ("hr", "Cluster", true), ("finance", "Namespace", true)]
        {
            let one = only(of_policy(namespace, scope, &cedar));
            assert!(one.contains("finance/desk has members"), "{one}");
            for member in ["sales/crm", "finance/ledger"] {
                assert_eq!(one.contains(member), is_told, "{namespace} {scope} {effect}: {one}");
            }
        }
    }
}

/// What is said of a record that did not change is looked at again where what it names did, and is what is said of it from nothing.
#[test]
fn what_is_told_changes_with_what_is_named() {
    let desk = front("finance/desk", &[("ledger", "finance/ledger"), ("crm", "sales/crm")]);
    let main = object(
        "LLMProvider",
        "finance/main",
        &json!({"models": [{"name": "gpt"}], "failover": {"to": [{"provider": "other"}]}}),
    );
    let forbid = policy(
        "finance/p",
        "Cluster",
        r#"forbid (principal, action, resource == Tool::"finance/bots/reconcile");
           forbid (principal, action == Action::"invokeTool", resource in MCPServer::"sales/crm");"#,
    );
    let bots = |skills: Value| of_agent("finance/bots", &json!({"skills": skills}));
    let reconciling = bots(json!({"reconcile": {"description": "d"}}));
    let (ledger, crm) = (server("finance/ledger"), server("sales/crm"));
    let other = |aliases: Value| {
        object("LLMProvider", "finance/other", &json!({"models": [{"name": "claude"}], "aliases": aliases}))
    };
    let (other, without) = (other(json!({"gpt": "claude"})), other(json!({})));
    let bot = object("Agent", "finance/bot", &json!({"endpoint": {"url": "http://bot:1/"}}));
    let caller = object("Agent", "finance/bot", &json!({"identities": [{"spiffe": "spiffe://t/bot"}]}));
    let always = [desk, main, forbid];
    let world = |others: &[&Object]| -> Vec<Object> {
        always.iter().chain(others.iter().copied()).cloned().collect()
    };
    let crm_of_others = front("sales/crm", &[("ledger", "finance/ledger")]);
    let moved = object("MCPServer", "sales/crm", &json!({"endpoint": {"url": "http://elsewhere/"}}));
    let steps: [(Vec<Object>, &[&str]); 9] = [
        (
            world(&[&reconciling]),
            &[
                "spec.members[0].server",
                "spec.members[1].server",
                "spec.failover.to[0].provider",
                "spec.cedar",
                "spec.agent.name",
            ],
        ),
        (world(&[&reconciling, &ledger, &crm, &bot, &other]), &[]),
        (
            world(&[&reconciling, &ledger, &crm_of_others, &bot, &other]),
            &["spec.members[1].server", "spec.cedar"],
        ),
        (world(&[&reconciling, &ledger, &moved, &bot, &other]), &[]),
        (world(&[&reconciling, &ledger, &moved, &caller, &other]), &["spec.agent.name"]),
        (world(&[&reconciling, &ledger, &moved, &bot, &without]), &["spec.failover.to[0].provider"]),
        (world(&[&bots(json!({})), &ledger, &moved, &bot, &other]), &["spec.cedar"]),
        (world(&[&reconciling, &moved, &bot, &other]), &["spec.members[0].server"]),
        (world(&[&reconciling, &ledger, &moved, &bot, &other]), &[]),
    ];
    let mut last = Snapshot::default();
    for (number, (objects, fields)) in steps.into_iter().enumerate() {
        let (next, rejected) = last.rebuilt(objects.clone(), Vec::new());
        assert!(rejected.is_empty(), "{number}: {rejected:#?}");
        let found: Vec<&str> = next.warnings().iter().map(|one| &*one.field).collect();
        assert_eq!(found, fields, "{number}: {:#?}", next.warnings());
        assert_eq!(next.warnings(), built(&objects).warnings(), "{number}");
        last = next;
    }
}
