//! Servers that are APIs: a call of a tool is one request of its operation, whichever way it is asked for.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use vidimus_testkit::upstream::{Answer, Received};

use super::approvals::{BOB, yes};
use super::world::{World, call_id, json_of, objects, snapshot};

const MCP: &str = "/mcp/t/pets";
const CEDAR: &str = r#"
    permit (principal == Agent::"t/caller", action == Action::"invokeTool", resource == Tool::"t/pets/getPet");
    permit (principal == Agent::"t/caller", action == Action::"invokeTool", resource == Tool::"t/pets/addPet")
        when { context.args.hasTag("/body/name") };
    permit (principal == Agent::"t/caller", action == Action::"invokeTool", resource == Tool::"t/pets/listPets");
"#;

fn document() -> Value {
    let id =
        json!({"name": "petId", "in": "path", "required": true, "schema": {"type": "integer", "minimum": 1}});
    json!({"openapi": "3.1.0", "info": {"title": "Pets", "version": "1"}, "paths": {
        "/pets": {
            "get": {"operationId": "listPets", "parameters": [
                {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 100}},
                {"name": "X-Trace", "in": "header", "schema": {"type": "string"}}]},
            "post": {"operationId": "addPet", "requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}},
        },
        "/pets/{petId}": {"parameters": [id], "get": {"operationId": "getPet", "summary": "Gets a pet."}, "delete": {"operationId": "dropPet"}},
    }, "components": {"schemas": {"Pet": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "tag": {"type": "string"}}}}}})
}

/// A world with an API, whose `spec.openapi` has `more`; `cedar` is in force too.
async fn world(more: &Value, cedar: &str) -> World {
    let world = World::new().await;
    world.gate.take_into_use(snapshot(&configured(&world, more, cedar)));
    world
}

fn configured(world: &World, more: &Value, cedar: &str) -> Vec<Value> {
    let mut all = objects(&world.upstream);
    let mut openapi =
        json!({"url": world.upstream.url("/api?tenant=a"), "timeout": "3s", "document": document()});
    openapi.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let object = |kind: &str, name: &str, spec: Value| {
        json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": kind,
        "metadata": {"namespace": "t", "name": name}, "spec": spec})
    };
    all.push(object(
        "MCPServer",
        "pets",
        json!({"owner": "a@b.example", "team": "t", "riskLevel": "low", "openapi": openapi}),
    ));
    all.push(object("Policy", "pets", json!({"description": "pets", "cedar": format!("{CEDAR} {cedar}")})));
    all
}

/// Attack: an API works on for who is forbidden meanwhile, since nothing of its answer passes before its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_answer_is_awaited_ends_with_what_allowed_it() {
    let world = world(&json!({"timeout": "30s"}), "").await;
    let forbid = r#"forbid (principal == Agent::"t/caller", action, resource);"#;
    let forbidden = snapshot(&configured(&world, &json!({"timeout": "30s"}), forbid));
    let (begun, stream) = Answer::stream("application/json");
    for answer in [begun, Answer::hang()] {
        world.gate.take_into_use(snapshot(&configured(&world, &json!({"timeout": "30s"}), "")));
        world.upstream.next(answer);
        let before = world.upstream.received().len();
        let forbids = async {
            world.upstream.until_received(before + 1).await;
            stream.send("{").await;
            world.gate.take_into_use(forbidden.clone());
        };
        let asked = rest(&world, Method::GET, "/pets/7", &[], &Value::Null);
        let asked = tokio::time::timeout(Duration::from_secs(10), asked);
        let (came, ()) = tokio::join!(asked, forbids);
        let came = came.expect("in time");
        assert_eq!(came.code(), Some("revoked"), "{:?}", came.body);
        let effect = &world.records(&call_id(&came.headers), 2).await[1];
        assert_eq!((&effect["result"], &effect["code"]), (&json!("failed"), &json!("revoked")));
    }
    let mut is_there = true;
    for _ in 0..1000 {
        is_there = stream.send(" ").await;
        if !is_there {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!is_there, "the API is told by the end of its connection");
}

/// What came of one request.
struct Came {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Came {
    fn code(&self) -> Option<&str> {
        self.headers.get("vidimus-code").map(|code| code.to_str().expect("text"))
    }

    fn json(&self) -> Value {
        json_of(&self.body)
    }
}

async fn rest(
    world: &World,
    method: Method,
    path: &str,
    headers: &[(&'static str, &str)],
    body: &Value,
) -> Came {
    let mut request = world.request(method, &format!("/rest/t/pets{path}"), body);
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().expect("a value"));
    }
    let (status, headers, body) = world.call(request).await;
    Came { status, headers, body }
}

async fn mcp(world: &World, method: &str, params: Value) -> Came {
    let message = json!({"jsonrpc": "2.0", "id": "x", "method": method, "params": params});
    let (status, headers, body) = world.call(world.request(Method::POST, MCP, &message)).await;
    Came { status, headers, body }
}

async fn called(world: &World, tool: &str, arguments: Value) -> Came {
    mcp(world, "tools/call", json!({"name": tool, "arguments": arguments})).await
}

fn last(world: &World) -> Received {
    world.upstream.received().last().expect("a request").clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_is_a_request_of_its_operation() {
    let world = world(&json!({}), "").await;
    world.upstream.next(
        Answer::json(&json!({"id": 7, "name": "Rex"}))
            .with_header("x-request-id", "r-1")
            .with_header("mcp-session-id", "evil"),
    );
    let came = called(&world, "getPet", json!({"petId": 7})).await;
    let result = &came.json()["result"];
    assert_eq!(result["structuredContent"], json!({"id": 7, "name": "Rex"}));
    assert_eq!(
        json_of(result["content"][0]["text"].as_str().expect("text").as_bytes()),
        json!({"id": 7, "name": "Rex"})
    );
    assert_eq!((&result["isError"], came.status), (&json!(false), StatusCode::OK));
    assert_eq!(
        (came.headers.get("mcp-session-id"), &came.headers["x-request-id"]),
        (None, &"r-1".parse().expect("text"))
    );
    let sent = last(&world);
    assert_eq!((sent.method.as_str(), sent.uri.to_string()), ("GET", "/api/pets/7?tenant=a".to_owned()));
    assert!(
        sent.header("authorization").is_some_and(|token| token.starts_with("Bearer ey"))
            && sent.body.is_empty()
    );
    assert!(sent.headers.keys().all(|name| !name.as_str().starts_with("mcp-")), "{:?}", sent.headers);
    let records = world.records(&call_id(&came.headers), 2).await;
    assert_eq!(
        (&records[0]["resource"], &records[0]["protocol"]),
        (&json!("Tool/t/pets/getPet"), &json!("mcp"))
    );
    assert_eq!((&records[1]["result"], &records[1]["status"]), (&json!("ok"), &json!(200)));

    // An error of the API is the tool's.
    world.upstream.next(Answer::json(&json!({"detail": "none"})).with_status(StatusCode::NOT_FOUND));
    let came = called(&world, "getPet", json!({"petId": 8})).await;
    let result = &came.json()["result"];
    assert_eq!(
        (&result["isError"], &result["content"][0]["text"]),
        (&json!(true), &json!(r#"{"status":404}"#))
    );
    assert_eq!(result["content"][1]["text"], json!(r#"{"detail":"none"}"#));
    let effect = &world.records(&call_id(&came.headers), 2).await[1];
    assert_eq!((&effect["result"], &effect["status"]), (&json!("error"), &json!(404)));

    world.upstream.next(Answer::json(&json!({"id": 9})).with_status(StatusCode::CREATED));
    let came = called(&world, "addPet", json!({"body": {"name": "Rex"}})).await;
    assert_eq!(came.json()["result"]["structuredContent"], json!({"id": 9}));
    let sent = last(&world);
    assert_eq!(
        (sent.method.as_str(), sent.header("content-type"), sent.json()),
        ("POST", Some("application/json"), json!({"name": "Rex"}))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_sees_the_tools_that_it_may_use_with_their_schemas() {
    let world = world(&json!({}), "").await;
    let listed = mcp(&world, "tools/list", json!({})).await.json();
    let tools = listed["result"]["tools"].as_array().expect("a list").clone();
    let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["addPet", "getPet", "listPets"]);
    assert_eq!(
        (&tools[1]["description"], &tools[1]["annotations"]["readOnlyHint"]),
        (&json!("Gets a pet."), &json!(true))
    );
    assert_eq!(tools[1]["inputSchema"]["properties"]["petId"], json!({"type": "integer", "minimum": 1}));
    let greeted = mcp(&world, "initialize", json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}})).await.json();
    assert_eq!(greeted["result"]["capabilities"], json!({"tools": {}}));
    let (status, ..) = world.call(world.request(Method::GET, MCP, &json!(null))).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(world.upstream.received().is_empty(), "nothing of it is the API's to say");
}

/// The same tool, the same decision and the same digest, whichever way it is asked for; and the API's own answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_the_same_call_and_its_answer_is_the_apis() {
    let world = world(&json!({}), "").await;
    let text = r#"{ "id": 7,  "name": "Rex" }"#;
    world.upstream.next(
        Answer::whole("application/json", text)
            .with_header("x-request-id", "r-1")
            .with_header("set-cookie", "a=b"),
    );
    let came =
        rest(&world, Method::GET, "/pets/7", &[("x-evil", "1"), ("mcp-method", "tools/list")], &json!(null))
            .await;
    assert_eq!((came.status, &*came.body), (StatusCode::OK, text.as_bytes()), "byte for byte");
    assert_eq!(
        (&came.headers["content-type"], &came.headers["x-request-id"]),
        (&"application/json".parse().expect("text"), &"r-1".parse().expect("text"))
    );
    assert!(!came.headers.contains_key("set-cookie"));
    let sent = last(&world);
    assert_eq!((sent.uri.to_string(), sent.header("x-evil")), ("/api/pets/7?tenant=a".to_owned(), None));
    let of_rest = world.records(&call_id(&came.headers), 2).await;
    world.upstream.next(Answer::whole("application/json", text));
    let of_mcp =
        world.records(&call_id(&called(&world, "getPet", json!({"petId": 7})).await.headers), 2).await;
    for key in ["resource", "action", "method", "outcome", "policies", "principal"] {
        assert_eq!(of_rest[0][key], of_mcp[0][key], "{key}");
    }
    assert_eq!(
        (&of_rest[0]["protocol"], &of_rest[1]["result"], &of_rest[1]["status"]),
        (&json!("rest"), &json!("ok"), &json!(200))
    );
    assert_eq!(of_rest[1]["bytes_out"], json!(text.len()));

    // Status and type are the API's.
    for (answer, status, kind) in [
        (
            Answer::json(&json!({"detail": "none"})).with_status(StatusCode::NOT_FOUND),
            StatusCode::NOT_FOUND,
            Some("application/json"),
        ),
        (
            Answer::whole("application/problem+json", "{}").with_status(StatusCode::CONFLICT),
            StatusCode::CONFLICT,
            Some("application/problem+json"),
        ),
        (Answer::whole("text/html", "<script>1</script>"), StatusCode::OK, Some("text/plain; charset=utf-8")),
        (
            Answer::whole("application/json", "").with_status(StatusCode::NO_CONTENT),
            StatusCode::NO_CONTENT,
            None,
        ),
        (
            Answer::whole("text/plain", "oops").with_status(StatusCode::INTERNAL_SERVER_ERROR),
            StatusCode::INTERNAL_SERVER_ERROR,
            Some("text/plain; charset=utf-8"),
        ),
    ] {
        world.upstream.next(answer);
        let came = rest(&world, Method::GET, "/pets?limit=5", &[("x-trace", "t")], &json!(null)).await;
        assert_eq!((came.status, came.code()), (status, None), "{:?}", came.body);
        assert_eq!(came.headers.get("content-type").map(|kind| kind.to_str().expect("text")), kind);
        let sent = last(&world);
        assert_eq!(
            (sent.uri.to_string(), sent.header("x-trace")),
            ("/api/pets?tenant=a&limit=5".to_owned(), Some("t"))
        );
        let result = &world.records(&call_id(&came.headers), 2).await[1]["result"];
        assert_eq!(*result, json!(if status.as_u16() >= 400 { "error" } else { "ok" }), "{status}");
    }
    world.upstream.next(Answer::json(&json!({"id": 9})).with_status(StatusCode::CREATED));
    let came =
        rest(&world, Method::POST, "/pets", &[("content-type", "application/json")], &json!({"name": "Rex"}))
            .await;
    assert_eq!(
        (came.status, came.json(), last(&world).json()),
        (StatusCode::CREATED, json!({"id": 9}), json!({"name": "Rex"}))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_permitted_or_no_operation_reaches_nobody() {
    let world = world(&json!({}), "").await;
    for (method, path, body, status, code) in [
        (Method::DELETE, "/pets/7", json!(null), 403, "no_permit"),
        (Method::GET, "/pets/7/", json!(null), 404, "route_unknown"),
        (Method::GET, "/admin", json!(null), 404, "route_unknown"),
        (Method::GET, "", json!(null), 404, "route_unknown"),
        (Method::PATCH, "/pets/7", json!({}), 405, "method_not_allowed"),
        (Method::OPTIONS, "/pets/7", json!(null), 405, "method_not_allowed"),
        (Method::GET, "/pets/a", json!(null), 400, "message_invalid"),
        (Method::GET, "/pets/%2e%2e%2fadmin", json!(null), 400, "message_invalid"),
        (Method::GET, "/pets?limit=5&limit=6", json!(null), 400, "message_invalid"),
        (Method::GET, "/pets?limit=500", json!(null), 400, "arguments_invalid"),
        (Method::GET, "/pets/0", json!(null), 400, "arguments_invalid"),
        (Method::POST, "/pets", json!({"name": 7}), 400, "arguments_invalid"),
        (Method::POST, "/pets", json!(null), 403, "no_permit"),
        (Method::GET, "/pets", json!({}), 400, "message_invalid"),
    ] {
        let came = rest(&world, method.clone(), path, &[], &body).await;
        assert_eq!(
            (came.status.as_u16(), came.code()),
            (status, Some(code)),
            "{method} {path} {:?}",
            came.body
        );
        assert_eq!(came.json()["error"], json!(code), "{method} {path}");
        // Of the path, and not of all that APIs have.
        let allow = came.headers.get("allow").map(|allow| allow.to_str().expect("text"));
        assert_eq!(allow, (status == 405).then_some("GET, DELETE"), "{method} {path}");
        let records = world.records(&call_id(&came.headers), 1).await;
        assert_eq!((records.len(), &records[0]["code"]), (1, &json!(code)), "{method} {path}: {records:?}");
    }
    for (tool, arguments, code) in [
        ("dropPet", json!({"petId": 7}), "no_permit"),
        ("getPet", json!({"petId": "7"}), "arguments_invalid"),
        ("getPet", json!({"petId": 7, "limit": 1}), "arguments_invalid"),
        ("getPet", json!({}), "arguments_invalid"),
        ("listPets", json!({"x-trace": "a\r\nHost: evil"}), "arguments_invalid"),
    ] {
        let came = called(&world, tool, arguments).await;
        assert_eq!(came.json()["error"]["data"]["code"], json!(code), "{tool}");
    }
    // A server that is no API is not served so.
    let (status, headers, _) =
        world.call(world.request(Method::GET, "/rest/t/tools/pets", &json!(null))).await;
    assert_eq!(
        (status, &headers["vidimus-code"]),
        (StatusCode::NOT_FOUND, &"route_unknown".parse().expect("text"))
    );
    assert!(world.upstream.received().is_empty());
}

/// Attacks: an API that leads elsewhere, answers without end, in bytes that nobody reads, or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_answer_does_not_pass() {
    let world = world(&json!({"maxAnswer": 1024, "timeout": "500ms"}), "").await;
    for (answer, code, says) in [
        (Answer::redirect("http://169.254.169.254/"), "upstream_invalid", "307"),
        (Answer::json(&json!({})).with_status(StatusCode::NOT_MODIFIED), "upstream_invalid", "304"),
        (Answer::whole("application/json", "x".repeat(2000)), "upstream_invalid", "longer than 1024"),
        (Answer::whole("application/json", vec![0xff, 0xfe]), "upstream_invalid", "no text"),
        (Answer::json(&json!({})).with_header("content-encoding", "br"), "upstream_invalid", "encoding"),
        (Answer::hang(), "upstream_timeout", "500 ms"),
    ] {
        world.upstream.next(answer);
        let came = rest(&world, Method::GET, "/pets/7", &[], &json!(null)).await;
        assert_eq!(came.code(), Some(code), "{says}: {:?}", came.body);
        assert!(
            came.json()["error_description"].as_str().is_some_and(|text| text.contains(says)),
            "{says}: {:?}",
            came.body
        );
        let effect = &world.records(&call_id(&came.headers), 2).await[1];
        assert_eq!((&effect["result"], &effect["code"]), (&json!("failed"), &json!(code)));
    }
    let (answer, upstream) = Answer::stream("application/json");
    world.upstream.next(answer);
    let (came, ()) = tokio::join!(rest(&world, Method::GET, "/pets/7", &[], &json!(null)), async {
        while upstream.send(" ".to_owned()).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert_eq!(came.code(), Some("upstream_timeout"), "one that never ends: {:?}", came.body);
    assert_eq!(world.upstream.received().len(), 7, "each was asked once, and nobody else was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_of_an_api_is_the_gateways() {
    let key = std::env::var("CARGO_PKG_NAME").expect("cargo sets it");
    for (more, header, value) in [
        (json!({"credential": {"env": "CARGO_PKG_NAME"}}), "authorization", Some(format!("Bearer {key}"))),
        (
            json!({"credential": {"env": "CARGO_PKG_NAME"}, "credentialHeader": "X-API-Key"}),
            "x-api-key",
            Some(key.clone()),
        ),
        (json!({"credential": {"none": {}}}), "authorization", None),
    ] {
        let world = world(&more, "").await;
        world.upstream.otherwise(|_| Answer::json(&json!({"id": 7})));
        let asked =
            rest(&world, Method::GET, "/pets/7", &[("x-api-key", "the caller's")], &json!(null)).await;
        assert_eq!((asked.status, asked.code()), (StatusCode::OK, None), "{:?}", asked.body);
        called(&world, "getPet", json!({"petId": 7})).await;
        for sent in world.upstream.received() {
            assert_eq!(sent.header(header).map(str::to_owned), value, "{more}");
            assert_eq!(sent.headers.contains_key("x-api-key"), header == "x-api-key");
            assert!(header == "authorization" || !sent.headers.contains_key("authorization"));
        }
        assert_eq!(world.upstream.received().len(), 2);
    }
    // One in the query is the gateway's too: there is no other, and none in a header field.
    let in_query =
        world(&json!({"credential": {"env": "CARGO_PKG_NAME"}, "credentialQuery": "appid"}), "").await;
    in_query.upstream.otherwise(|_| Answer::json(&json!({"id": 7})));
    let came = rest(&in_query, Method::GET, "/pets/7", &[], &json!(null)).await;
    assert_eq!((came.status, came.code()), (StatusCode::OK, None), "{:?}", came.body);
    let came = rest(&in_query, Method::GET, "/pets/7?appid=mine", &[], &json!(null)).await;
    assert_eq!(came.code(), Some("message_invalid"), "{:?}", came.body);
    called(&in_query, "getPet", json!({"petId": 7})).await;
    let received = in_query.upstream.received();
    assert_eq!(received.len(), 2);
    for sent in received {
        let query = sent.uri.query().unwrap_or_default().to_owned();
        assert!(query.split('&').any(|pair| pair == format!("appid={key}")), "{query}");
        assert!(!sent.headers.contains_key("authorization"));
    }
    // One that it refuses is told to who operates.
    let refused = world(&json!({"credential": {"env": "CARGO_PKG_NAME"}}), "").await;
    let no = json!({"error": "no"});
    refused.upstream.otherwise(move |_| Answer::json(&no).with_status(StatusCode::UNAUTHORIZED));
    let came = rest(&refused, Method::GET, "/pets/7", &[], &json!(null)).await;
    let records = refused.records(&call_id(&came.headers), 2).await;
    let note = "401 to the gateway's key: look at spec.openapi.credential of MCPServer t/pets";
    assert_eq!((came.status, &records[1]["detail"]), (StatusCode::UNAUTHORIZED, &json!(note)));
    let world = world(&json!({"credential": {"env": "VIDIMUS_NO_SUCH_VARIABLE"}}), "").await;
    let came = rest(&world, Method::GET, "/pets/7", &[], &json!(null)).await;
    assert_eq!(came.code(), Some("credential_unavailable"));
    assert!(world.upstream.received().is_empty());
}

/// What policies demand of a tool's call is done whichever way it is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_and_a_redaction_are_of_the_call() {
    let hold = r#"@approval("payers") forbid (principal, action == Action::"invokeTool", resource == Tool::"t/pets/getPet")
        unless { context has approval && context.approval.role == "payers" };"#;
    let held = world(&json!({}), hold).await;
    held.upstream.otherwise(|_| Answer::json(&json!({"id": 7})));
    let came = called(&held, "getPet", json!({"petId": 7})).await.json();
    let approval = came["error"]["data"]["approval"].as_str().unwrap_or_else(|| panic!("{came}")).to_owned();
    let asked = rest(&held, Method::GET, "/pets/7", &[], &json!(null)).await;
    assert_eq!(
        (asked.status.as_u16(), asked.code(), &asked.json()["vidimus"]["approval"]),
        (403, Some("approval_required"), &json!(approval))
    );
    held.gate
        .shared
        .act(BOB, yes(&approval, None), "looked at")
        .await
        .unwrap_or_else(|refusal| panic!("{refusal}"));
    let made = rest(&held, Method::GET, "/pets/7", &[], &json!(null)).await;
    assert_eq!(
        (made.status, made.json()),
        (StatusCode::OK, json!({"id": 7})),
        "approved as a tool, made by a request"
    );

    let redact = r#"@redact_answer("/owner/card") permit (principal == Agent::"t/caller", action == Action::"invokeTool", resource == Tool::"t/pets/getPet");"#;
    let forbid = redact.replace("permit (", "forbid (");
    let redacted = world(&json!({}), &forbid).await;
    redacted.upstream.otherwise(|_| Answer::json(&json!({"id": 7, "owner": {"card": "4111"}})));
    let came = rest(&redacted, Method::GET, "/pets/7", &[], &json!(null)).await;
    assert_eq!(came.status, StatusCode::OK, "{:?}", came.body);
    assert!(
        !String::from_utf8_lossy(&came.body).contains("4111") && came.json()["id"] == json!(7),
        "{:?}",
        came.body
    );
    let came = called(&redacted, "getPet", json!({"petId": 7})).await;
    assert!(!String::from_utf8_lossy(&came.body).contains("4111"), "{:?}", came.body);
}

/// The record tells two requests apart that differ by their path or query alone, and says the same of two that do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_path_says_is_in_the_digest_of_the_record() {
    let world = world(&json!({}), "").await;
    let mut digests = Vec::new();
    for path in ["/pets/7", "/pets/7", "/pets/8", "/pets?limit=1", "/pets?limit=2"] {
        world.upstream.next(Answer::whole("application/json", "{}"));
        let came = rest(&world, Method::GET, path, &[], &json!(null)).await;
        digests.push(world.records(&call_id(&came.headers), 2).await[0]["body"].clone());
    }
    assert_eq!(digests[0], digests[1]);
    let apart: std::collections::HashSet<String> = digests.iter().map(Value::to_string).collect();
    assert_eq!(apart.len(), 4, "{digests:?}");
}
