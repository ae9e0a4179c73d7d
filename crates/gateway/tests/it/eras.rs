//! Clients of one era of MCP, and a server of the other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use vidimus_core::snapshot::Snapshot;
use vidimus_testkit::upstream::{Answer, Received};

use super::world::{World, call_id, json_of, objects, snapshot};

const PATH: &str = "/mcp/t/tools";

/// The world, whose server speaks one era alone.
pub async fn world(mcp: &str) -> World {
    let world = World::new().await;
    world.gate.take_into_use(configured(&world, mcp));
    world
}

pub fn configured(world: &World, mcp: &str) -> Arc<Snapshot> {
    let mut all = objects(&world.upstream);
    for object in &mut all {
        match object["kind"].as_str() {
            Some("MCPServer") => object["spec"]["endpoint"]["mcp"] = json!(mcp),
            Some("Policy") => {
                object["spec"]["cedar"] = json!(
                    r#"permit (principal, action == Action::"invokeTool", resource == Tool::"t/tools/echo");
                    permit (principal, action in [Action::"readResource", Action::"getPrompt"], resource);"#
                );
            }
            _ => {}
        }
    }
    snapshot(&all)
}

fn accepted() -> Answer {
    Answer::whole("text/plain", "").with_status(StatusCode::ACCEPTED)
}

fn answers(received: &Received, result: &Value) -> Answer {
    Answer::json(&json!({"jsonrpc": "2.0", "id": received.json()["id"], "result": result}))
}

/// A server that is only stateless.
fn stateless(received: &Received) -> Answer {
    let message = received.json();
    let is_modern = received.header("mcp-protocol-version") == Some("2026-07-28")
        && message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == json!("2026-07-28")
        && received.header("mcp-method") == message["method"].as_str();
    if !is_modern {
        let error = json!({"code": -32022, "message": "no", "data": {"supported": ["2026-07-28"]}});
        return Answer::json(&json!({"jsonrpc": "2.0", "id": message["id"], "error": error}))
            .with_status(StatusCode::BAD_REQUEST);
    }
    match message["method"].as_str() {
        Some("server/discover") => answers(
            received,
            &json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "s", "version": "1"}}}),
        ),
        Some("tools/list") => {
            let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
            answers(received, &json!({"resultType": "complete", "tools": [tool("echo"), tool("other")]}))
        }
        Some("tools/call") => answers(received, &json!({"resultType": "complete", "content": []})),
        _ => Answer::json(
            &json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no"}}),
        )
        .with_status(StatusCode::NOT_FOUND),
    }
}

/// A server that only has sessions.
pub fn sessions(received: &Received) -> Answer {
    let message = received.json();
    match (received.method.as_str(), message["method"].as_str()) {
        ("GET" | "DELETE", _) => Answer::whole("text/plain", "").with_status(StatusCode::METHOD_NOT_ALLOWED),
        (_, Some("initialize")) => {
            let result = json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                "serverInfo": {"name": "s", "version": "1"}});
            answers(received, &result).with_header("mcp-session-id", "up-1")
        }
        _ if received.header("mcp-session-id") != Some("up-1") => Answer::json(
            &json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32000, "message": "no session"}}),
        )
        .with_status(StatusCode::BAD_REQUEST),
        _ if message.get("id").is_none() => accepted(),
        (_, Some("tools/call")) => answers(received, &json!({"content": []})),
        _ => answers(received, &json!({})),
    }
}

/// A server of sessions whose resources can be followed.
fn of_subscriptions(received: &Received) -> Answer {
    let message = received.json();
    match message["method"].as_str() {
        Some("initialize") => {
            let result = json!({"protocolVersion": "2025-11-25", "capabilities": {"resources": {"subscribe": true}},
                "serverInfo": {"name": "s", "version": "1"}});
            answers(received, &result).with_header("mcp-session-id", "up-1")
        }
        _ if message.get("id").is_none() => accepted(),
        _ => answers(received, &json!({})),
    }
}

/// A request of `subject`, with what its era has in headers.
pub fn request(world: &World, subject: &str, session: Option<&str>, message: &Value) -> Request<Full<Bytes>> {
    let mut request = world.request(Method::POST, PATH, message);
    let token = world.token(subject, Duration::from_secs(600));
    let headers = request.headers_mut();
    headers.insert("authorization", format!("Bearer {token}").parse().expect("well formed"));
    match session {
        Some(session) => {
            headers.insert("mcp-session-id", session.parse().expect("well formed"));
            headers.insert("mcp-protocol-version", "2025-11-25".parse().expect("well formed"));
        }
        None if message["params"]["_meta"].is_object() => {
            headers.insert("mcp-protocol-version", "2026-07-28".parse().expect("well formed"));
            headers.insert(
                "mcp-method",
                message["method"].as_str().expect("well formed").parse().expect("well formed"),
            );
            if let Some(name) = message["params"]["name"].as_str() {
                headers.insert("mcp-name", name.parse().expect("well formed"));
            }
        }
        None => {}
    }
    request
}

pub async fn call(world: &World, session: Option<&str>, message: &Value) -> (StatusCode, HeaderMap, Value) {
    let (status, headers, body) = world.call(request(world, "caller", session, message)).await;
    let text = String::from_utf8(body.to_vec()).expect("well formed");
    // The last event of a stream is the answer.
    let last = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back();
    let answer = last.map_or_else(
        || if text.is_empty() { Value::Null } else { json_of(&body) },
        |last| serde_json::from_str(last).expect("JSON"),
    );
    (status, headers, answer)
}

/// Begins a session of a client that answers questions.
async fn begun(world: &World) -> String {
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
        "capabilities": {"elicitation": {}}, "clientInfo": {"name": "c", "version": "1"}}});
    let (status, headers, answer) = call(world, None, &hello).await;
    assert_eq!(
        (status, &answer["result"]["protocolVersion"]),
        (StatusCode::OK, &json!("2025-11-25")),
        "{answer}"
    );
    assert_eq!(answer["result"]["serverInfo"], json!({"name": "s", "version": "1"}));
    headers["mcp-session-id"].to_str().expect("well formed").to_owned()
}

fn tool(id: &str, name: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": name, "arguments": {"a": 1}}})
}

/// The same without a session.
pub fn modern(id: &str, method: &str, params: &Value) -> Value {
    let mut params = params.clone();
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
    });
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

pub fn modern_tool(id: &str, name: &str) -> Value {
    modern(id, "tools/call", &json!({"name": name, "arguments": {"a": 1}}))
}

/// The data of the next event that has some.
async fn event(body: &mut Incoming) -> Value {
    let mut text = String::new();
    loop {
        let frame = tokio::time::timeout(Duration::from_secs(10), body.frame()).await;
        let frame = frame.expect("in time").expect("more").expect("a frame");
        text.push_str(std::str::from_utf8(&frame.into_data().expect("data")).expect("well formed"));
        if let Some(data) = text.split("\n\n").find_map(|event| event.split("data: ").nth(1)) {
            return serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {text}"));
        }
    }
}

pub fn code(answer: &Value) -> &Value {
    &answer["error"]["data"]["code"]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_a_session_reaches_a_server_without() {
    let world = world("stateless").await;
    world.upstream.otherwise(stateless);
    let session = begun(&world).await;
    let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(call(&world, Some(&session), &told).await.0, StatusCode::ACCEPTED);
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    assert_eq!(call(&world, Some(&session), &ping).await.2["result"], json!({}));
    assert_eq!(world.upstream.received().len(), 1, "a session of the gateway's own needs no server");
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
    let (_, _, answer) = call(&world, Some(&session), &list).await;
    let tools = answer["result"]["tools"].as_array().expect("tools");
    assert_eq!(
        tools.iter().map(|tool| &tool["name"]).collect::<Vec<_>>(),
        [&json!("echo")],
        "what may be used"
    );
    let (status, headers, answer) = call(&world, Some(&session), &tool("x", "echo")).await;
    assert_eq!((status, &answer["id"]), (StatusCode::OK, &json!("x")), "{answer}");
    let records = world.records(&call_id(&headers), 2).await;
    assert_eq!((&records[0]["method"], &records[1]["result"]), (&json!("tools/call"), &json!("ok")));
    let received = world.upstream.received();
    let sent = received.last().expect("a request");
    assert_eq!((sent.header("mcp-name"), sent.header("mcp-session-id")), (Some("echo"), None));
    assert!(sent.header("authorization").is_some_and(|token| token.starts_with("Bearer ")));
    let meta = &sent.json()["params"]["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/clientInfo"], json!({"name": "c", "version": "1"}));
    assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({"elicitation": {"form": {}}}));
    // Another replica with the same keys goes on with the session, of which nothing is kept.
    let replica = world.again(configured(&world, "stateless")).await;
    assert_eq!(call(&replica, Some(&session), &tool("r", "echo")).await.2["id"], json!("r"));
    let received = world.upstream.received();
    // What is not permitted reaches nobody, and another's session is nobody's.
    let (_, _, answer) = call(&world, Some(&session), &tool("x", "other")).await;
    assert!(answer["error"].is_object());
    let foreign = world.call(request(&world, "stranger", Some(&session), &tool("x", "echo"))).await;
    assert_eq!(foreign.0, StatusCode::NOT_FOUND);
    let (_, _, answer) = call(
        &world,
        Some(&session),
        &json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call",
        "params": {"name": "echo", "task": {}}}),
    )
    .await;
    assert_eq!(code(&answer), &json!("era_unbridged"), "{answer}");
    assert_eq!(world.upstream.received().len(), received.len());
    // An error that has the status of one would say to this client that its session is gone.
    let (status, _, answer) =
        call(&world, Some(&session), &json!({"jsonrpc": "2.0", "id": 4, "method": "prompts/list"})).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::OK, &json!(-32601)));
}

/// A session that its client ended is gone, whatever its id says, and another one is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_has_ended_does_not_go_on() {
    let world = world("stateless").await;
    world.upstream.otherwise(stateless);
    let (session, other) = (begun(&world).await, begun(&world).await);
    let ended = async |method: Method| {
        let mut request = request(&world, "caller", Some(&session), &Value::Null);
        *request.method_mut() = method;
        world.call(request).await.0
    };
    assert_eq!(ended(Method::DELETE).await, StatusCode::OK);
    let before = world.upstream.received().len();
    let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    for message in [&tool("x", "echo"), &ping, &told] {
        let (status, _, answer) = call(&world, Some(&session), message).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{message}: {answer}");
    }
    assert_eq!(ended(Method::GET).await, StatusCode::NOT_FOUND);
    assert_eq!(ended(Method::DELETE).await, StatusCode::NOT_FOUND);
    assert_eq!(world.upstream.received().len(), before, "nothing of it reaches the server");
    let (_, _, answer) = call(&world, Some(&other), &tool("o", "echo")).await;
    assert_eq!(answer["id"], json!("o"), "{answer}");
}

/// A server of an older SDK, as `vidimus wrap` has them: its version is spoken from `initialize` on, and what came later is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_an_early_version_is_served_as_sessions() {
    for version in ["2025-03-26", "2024-11-05"] {
        let early = move |received: &Received| match received.json()["method"].as_str() {
            Some("initialize") => {
                let result = json!({"protocolVersion": version, "capabilities": {"tools": {}},
                    "serverInfo": {"name": "s", "version": "1"}});
                answers(received, &result).with_header("mcp-session-id", "up-1")
            }
            _ => sessions(received),
        };
        let world = world("sessions").await;
        world.upstream.otherwise(early);
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
            "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}});
        let (_, headers, answer) = call(&world, None, &hello).await;
        assert_eq!(answer["result"]["protocolVersion"], json!(version), "{answer}");
        let session = headers["mcp-session-id"].to_str().expect("text").to_owned();
        let said = async |message: &Value| {
            let mut request = request(&world, "caller", Some(&session), message);
            request.headers_mut().insert("mcp-protocol-version", version.parse().expect("a value"));
            let (status, _, body) = world.call(request).await;
            (status, if body.is_empty() { Value::Null } else { json_of(&body) })
        };
        let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(said(&told).await.0, StatusCode::ACCEPTED);
        let (status, answer) = said(&tool("x", "echo")).await;
        assert_eq!((status, &answer["result"]), (StatusCode::OK, &json!({"content": []})), "{answer}");
        let before = world.upstream.received().len();
        let (_, answer) = said(&json!({"jsonrpc": "2.0", "id": 1, "method": "tasks/list"})).await;
        assert_eq!(code(&answer), &json!("method_unknown"), "{answer}");
        let (_, answer) = said(&json!([tool("x", "echo"), tool("y", "echo")])).await;
        assert_eq!(code(&answer), &json!("batch_not_supported"), "{answer}");
        assert_eq!(world.upstream.received().len(), before);
        // Bridged to clients of the other era, in its own version.
        let (status, _, answer) = call(&world, None, &modern_tool("m", "echo")).await;
        assert_eq!(
            (status, &answer["result"]["resultType"]),
            (StatusCode::OK, &json!("complete")),
            "{answer}"
        );
        let sent = world.upstream.received().pop().expect("a call");
        assert_eq!(sent.header("mcp-protocol-version"), Some(version));
    }
}

/// The other way round: a client that offers an early version gets it where the gateway answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_an_early_version_reaches_a_server_without_sessions() {
    let world = world("stateless").await;
    world.upstream.otherwise(stateless);
    for version in ["2025-03-26", "2024-11-05"] {
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": version,
            "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}});
        let (_, headers, answer) = call(&world, None, &hello).await;
        assert_eq!(answer["result"]["protocolVersion"], json!(version), "{answer}");
        let session = headers["mcp-session-id"].to_str().expect("text").to_owned();
        // Clients of before 2025-06-18 name no version from then on.
        let mut request = request(&world, "caller", Some(&session), &tool("x", "echo"));
        request.headers_mut().remove("mcp-protocol-version");
        let (status, _, body) = world.call(request).await;
        assert_eq!((status, &json_of(&body)["id"]), (StatusCode::OK, &json!("x")));
    }
}

/// Begins a session that passes as it is.
async fn begun_with(world: &World) -> String {
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
        "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}});
    let (_, headers, _) = call(world, None, &hello).await;
    headers["mcp-session-id"].to_str().expect("text").to_owned()
}

/// In a session the end of a stream says nothing to a server by itself, so that it is told who left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_a_call_in_a_session_is_told_to_its_server() {
    for is_declared in [false, true] {
        let world = if is_declared { world("sessions").await } else { World::new().await };
        world.upstream.otherwise(sessions);
        let session = begun_with(&world).await;
        // What is answered is over, whoever leaves then.
        let events = |id: &str| {
            format!("data: {}\n\n", json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}}))
        };
        world.upstream.next(Answer::whole("text/event-stream", events("a")));
        assert_eq!(call(&world, Some(&session), &tool("a", "echo")).await.2["id"], json!("a"));
        let (answer, stream) = Answer::stream("text/event-stream");
        world.upstream.next(answer);
        let mut body =
            world.send(request(&world, "caller", Some(&session), &tool("b", "echo"))).await.into_body();
        assert!(stream.send(events("b")).await);
        assert_eq!(event(&mut body).await["id"], json!("b"));
        drop(body);
        stream.closed().await;
        // One that waits is taken back: by events that were begun, and before anything came.
        let (answer, stream) = Answer::stream("text/event-stream");
        world.upstream.next(answer);
        let mut body =
            world.send(request(&world, "caller", Some(&session), &tool("c", "echo"))).await.into_body();
        stream.event(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1}}"#).await;
        event(&mut body).await;
        drop(body);
        let all = world.upstream.until_received(5).await;
        let told = all.last().expect("a message");
        assert_eq!(told.json()["method"], json!("notifications/cancelled"), "{is_declared}");
        assert_eq!(told.json()["params"]["requestId"], json!("c"));
        assert_eq!(
            (told.header("mcp-session-id"), told.header("mcp-protocol-version")),
            (Some("up-1"), Some("2025-11-25"))
        );
        assert!(told.header("authorization").is_some_and(|token| token.starts_with("Bearer ")));
        assert_eq!(
            methods_of(&world),
            ["initialize", "tools/call", "tools/call", "tools/call", "notifications/cancelled"]
        );
    }
}

/// A stream that can be asked for again is not given up at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_come_again_for_a_stream_has_not_left_yet() {
    let world = World::new().await;
    world.upstream.otherwise(sessions);
    let session = begun_with(&world).await;
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let mut body =
        world.send(request(&world, "caller", Some(&session), &tool("c", "echo"))).await.into_body();
    let progress =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1}}"#;
    assert!(stream.send(format!("id: e-1\ndata: {progress}\n\n")).await);
    event(&mut body).await;
    drop(body);
    stream.closed().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(methods_of(&world), ["initialize", "tools/call"]);
}

/// What its record does not say is found when a session begins, and not before the server has refused to begin one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_begins_no_session_is_found_to_have_none() {
    let world = World::new().await;
    world.upstream.otherwise(stateless);
    let session = begun(&world).await;
    let (_, _, answer) = call(&world, Some(&session), &tool("x", "echo")).await;
    assert_eq!((&answer["id"], &answer["result"]["content"]), (&json!("x"), &json!([])), "{answer}");
    let (_, _, answer) = call(
        &world,
        Some(&session),
        &json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call",
        "params": {"name": "echo", "task": {}}}),
    )
    .await;
    assert_eq!(code(&answer), &json!("era_unbridged"), "{answer}");
    let all = world.upstream.received();
    let methods: Vec<_> =
        all.iter().map(|one| one.json()["method"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(methods, ["initialize", "server/discover", "tools/call"]);
    // One that is of neither era is told as it tells itself.
    world.upstream.otherwise(|received| {
        let error = json!({"code": -32099, "message": "closed"});
        Answer::json(&json!({"jsonrpc": "2.0", "id": received.json()["id"], "error": error}))
            .with_status(StatusCode::BAD_REQUEST)
    });
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}});
    let (status, _, answer) = call(&world, None, &hello).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::BAD_REQUEST, &json!(-32099)));
}

/// What was sent; the stream that is asked for beside it has no message.
fn methods_of(world: &World) -> Vec<String> {
    let all = world.upstream.received();
    let sent = all.iter().filter(|one| one.method == Method::POST);
    sent.map(|one| one.json()["method"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The other way round: a server of sessions of which no record says that is found by how it refuses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_what_is_of_no_session_is_found_to_have_them() {
    let world = World::new().await;
    world.upstream.otherwise(sessions);
    // A client of both eras falls back by this, and then speaks with the server as it is.
    let (status, _, found) = call(&world, None, &modern("d", "server/discover", &json!({}))).await;
    assert_eq!((status, &found["error"]["code"]), (StatusCode::BAD_REQUEST, &json!(-32000)), "{found}");
    for id in ["a", "b"] {
        let (status, _, answer) = call(&world, None, &modern_tool(id, "echo")).await;
        assert_eq!((status, &answer["id"]), (StatusCode::OK, &json!(id)), "{answer}");
        assert_eq!(answer["result"], json!({"content": [], "resultType": "complete"}));
    }
    let expected = [
        "server/discover",
        "tools/call",
        "server/discover",
        "initialize",
        "notifications/initialized",
        "tools/call",
        "tools/call",
    ];
    assert_eq!(methods_of(&world), expected, "from then on it is known");
    // What has no like there is refused, and what its request has to say of itself is not made up.
    let (_, _, answer) = call(&world, None, &modern("t", "tasks/get", &json!({"taskId": "x"}))).await;
    assert!(answer["error"].is_object(), "{answer}");
    // A client with a session passes as it did.
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
        "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}});
    assert_eq!(call(&world, None, &hello).await.2["result"]["protocolVersion"], json!("2025-11-25"));
    // It is another server by now: what was found is forgotten, and found anew.
    world.upstream.otherwise(stateless);
    let mut answered = Value::Null;
    for _ in 0..3 {
        answered = call(&world, None, &modern_tool("n", "echo")).await.2;
    }
    assert_eq!(answered["result"]["resultType"], json!("complete"), "{answered}");
}

/// A client that begins with a call, and does not ask first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_a_server_of_sessions_refused_is_made_in_one() {
    let world = World::new().await;
    world.upstream.otherwise(sessions);
    let (_, headers, answer) = call(&world, None, &modern_tool("a", "echo")).await;
    assert_eq!(answer["result"]["resultType"], json!("complete"), "{answer}");
    assert_eq!(world.records(&call_id(&headers), 2).await[1]["result"], json!("ok"));
    let expected = ["tools/call", "server/discover", "initialize", "notifications/initialized", "tools/call"];
    assert_eq!(methods_of(&world), expected);
}

/// Attack, or a fault: a server of both eras answers what it has done with an error under a status of HTTP. It is not made again in a session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_of_the_stateless_version_refuses_is_not_made_again() {
    let world = World::new().await;
    world.upstream.otherwise(|received| match received.json()["method"].as_str() {
        Some("tools/call") => Answer::json(
            &json!({"jsonrpc": "2.0", "id": received.json()["id"], "error": {"code": -32099, "message": "done by half"}}),
        )
        .with_status(StatusCode::BAD_REQUEST),
        Some("initialize") => sessions(received),
        _ => stateless(received),
    });
    for _ in 0..2 {
        let (status, _, answer) = call(&world, None, &modern_tool("a", "echo")).await;
        assert_eq!((status, &answer["error"]["code"]), (StatusCode::BAD_REQUEST, &json!(-32099)), "{answer}");
    }
    assert_eq!(methods_of(&world), ["tools/call", "server/discover", "tools/call"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stateless_server_asks_its_client_is_asked_by_a_request() {
    let world = world("stateless").await;
    world.upstream.otherwise(|received| {
        let params = &received.json()["params"];
        match (received.json()["method"].as_str(), &params["inputResponses"]) {
            (Some("tools/call"), Value::Null) => answers(
                received,
                &json!({"resultType": "input_required", "requestState": "kept", "inputRequests":
                    {"who": {"method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": {"type": "object"}}}}}),
            ),
            (Some("tools/call"), given) => answers(
                received,
                &json!({"resultType": "complete", "content": [], "structuredContent": {"given": given, "state": params["requestState"]}}),
            ),
            _ => stateless(received),
        }
    });
    let session = begun(&world).await;
    let mut answer =
        world.send(request(&world, "caller", Some(&session), &tool("x", "echo"))).await.into_body();
    let asked = event(&mut answer).await;
    assert_eq!(
        (&asked["method"], &asked["params"]["message"]),
        (&json!("elicitation/create"), &json!("Who?"))
    );
    let said = |id: &Value| json!({"jsonrpc": "2.0", "id": id, "result": {"action": "accept", "content": {"name": "Ada"}}});
    // Attack: another session's client answers, or the id is guessed.
    let other = begun(&world).await;
    for (session, id) in [(&other, &asked["id"]), (&session, &json!("vidimus-0"))] {
        let (status, _, refused) = call(&world, Some(session), &said(id)).await;
        assert!(!status.is_success() && code(&refused) == &json!("era_unbridged"), "{status} {refused}");
    }
    assert_eq!(call(&world, Some(&session), &said(&asked["id"])).await.0, StatusCode::ACCEPTED);
    let done = event(&mut answer).await;
    assert_eq!(done["id"], json!("x"));
    let expected =
        json!({"given": {"who": {"action": "accept", "content": {"name": "Ada"}}}, "state": "kept"});
    assert_eq!(done["result"]["structuredContent"], expected);
    let (status, _, _) = call(&world, Some(&session), &said(&asked["id"])).await;
    assert!(!status.is_success(), "it is answered once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_a_session_takes_a_call_back() {
    let world = world("stateless").await;
    world.upstream.otherwise(stateless);
    let session = begun(&world).await;
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let mut message = tool("x", "echo");
    message["params"]["_meta"] = json!({"progressToken": 7});
    let mut body = world.send(request(&world, "caller", Some(&session), &message)).await.into_body();
    stream.event(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1}}"#).await;
    assert_eq!(event(&mut body).await["params"], json!({"progressToken": 7, "progress": 1}));
    let back = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "x"}});
    assert_eq!(call(&world, Some(&session), &back).await.0, StatusCode::ACCEPTED);
    body.collect().await.expect("it ends");
    let mut is_there = true;
    for _ in 0..1000 {
        is_there = stream.event(r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#).await;
        if !is_there {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!is_there, "a server without sessions is told by the end of its stream");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_a_session_reaches_a_server_that_has_them() {
    let world = world("sessions").await;
    world.upstream.otherwise(sessions);
    let (_, _, found) = call(&world, None, &modern("d", "server/discover", &json!({}))).await;
    assert_eq!(found["result"]["capabilities"], json!({"tools": {}}), "{found}");
    assert_eq!((&found["id"], &found["result"]["resultType"]), (&json!("d"), &json!("complete")));
    for id in ["a", "b"] {
        let (status, headers, answer) = call(&world, None, &modern_tool(id, "echo")).await;
        assert_eq!((status, &answer["id"]), (StatusCode::OK, &json!(id)), "{answer}");
        assert_eq!(answer["result"], json!({"content": [], "resultType": "complete"}));
        assert_eq!(world.records(&call_id(&headers), 2).await[1]["result"], json!("ok"));
    }
    let methods = |world: &World| -> Vec<String> {
        let all = world.upstream.received();
        all.iter().filter_map(|one| one.json()["method"].as_str().map(str::to_owned)).collect()
    };
    let once = ["initialize", "notifications/initialized", "tools/call", "tools/call"];
    assert_eq!(methods(&world), once, "one session of a caller serves all its calls");
    let sent = world.upstream.received().pop().expect("a request");
    assert_eq!((sent.header("mcp-protocol-version"), sent.header("mcp-method")), (Some("2025-11-25"), None));
    assert_eq!(sent.json()["params"], json!({"name": "echo", "arguments": {"a": 1}}));
    // Another caller has another session.
    world.call(request(&world, "stranger", None, &modern_tool("s", "echo"))).await;
    assert_eq!(methods(&world).iter().filter(|method| *method == "initialize").count(), 2);
    // A session that the server has forgotten is begun anew, and the call made.
    world.upstream.next(
        Answer::json(&json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32001, "message": "gone"}}))
            .with_status(StatusCode::NOT_FOUND),
    );
    let (_, _, answer) = call(&world, None, &modern_tool("c", "echo")).await;
    assert_eq!(answer["result"]["resultType"], json!("complete"), "{answer}");
    assert_eq!(methods(&world).iter().filter(|method| *method == "initialize").count(), 3);
    let (_, _, answer) = call(
        &world,
        None,
        &modern("l", "subscriptions/listen", &json!({"notifications": {"toolsListChanged": true}})),
    )
    .await;
    assert_eq!(
        answer["result"]["resultType"],
        json!("complete"),
        "a server without a stream tells nothing: {answer}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_of_sessions_asks_its_client_is_asked_by_a_result() {
    let world = world("sessions").await;
    world.upstream.otherwise(sessions);
    call(&world, None, &modern_tool("d", "echo")).await;
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let asks = tokio::spawn(async move {
        let asked =
            json!({"jsonrpc": "2.0", "id": 7, "method": "elicitation/create", "params": {"message": "Who?"}});
        stream.event(&asked.to_string()).await;
        stream
    });
    let (_, _, answer) = call(&world, None, &modern_tool("a", "echo")).await;
    let stream = asks.await.expect("asked");
    assert_eq!(
        (&answer["id"], &answer["result"]["resultType"]),
        (&json!("a"), &json!("input_required")),
        "{answer}"
    );
    assert_eq!(
        answer["result"]["inputRequests"]["1"],
        json!({"method": "elicitation/create", "params": {"message": "Who?"}})
    );
    let again = |id: &str, arguments: Value| {
        let accepted = json!({"1": {"action": "accept", "content": {"name": "Ada"}}});
        modern(
            id,
            "tools/call",
            &json!({"name": "echo", "arguments": arguments,
            "requestState": answer["result"]["requestState"], "inputResponses": accepted}),
        )
    };
    // Attack: another caller goes on with it, or it is gone on with as another call than was decided.
    let (_, _, body) = world.call(request(&world, "stranger", None, &again("s", json!({"a": 1})))).await;
    assert_eq!(code(&json_of(&body)), &json!("era_unbridged"));
    let (_, _, refused) = call(&world, None, &again("b", json!({"a": 2}))).await;
    assert_eq!(code(&refused), &json!("era_unbridged"), "{refused}");
    // Attack: it is gone on with as a prompt of the tool's name, of which something else is decided. It waits on.
    let mut prompt = again("p", json!({"a": 1}));
    prompt["method"] = json!("prompts/get");
    let (_, _, refused) = call(&world, None, &prompt).await;
    assert_eq!(code(&refused), &json!("era_unbridged"), "{refused}");
    let before = world.upstream.received().len();
    let answers = async {
        let all = world.upstream.until_received(before + 1).await;
        let answer = all[before].json();
        assert_eq!(
            answer,
            json!({"jsonrpc": "2.0", "id": 7, "result": {"action": "accept", "content": {"name": "Ada"}}})
        );
        let asked = all[..before].iter().rev().find(|one| one.json()["method"] == json!("tools/call"));
        let id = asked.expect("a call").json()["id"].clone();
        stream.event(&json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}}).to_string()).await;
    };
    let message = again("c", json!({"a": 1}));
    let (done, ()) = tokio::join!(call(&world, None, &message), answers);
    assert_eq!(
        (&done.2["id"], &done.2["result"]["resultType"]),
        (&json!("c"), &json!("complete")),
        "{done:?}"
    );
    let (_, _, refused) = call(&world, None, &message).await;
    assert_eq!(code(&refused), &json!("era_unbridged"), "it is answered once");
}

/// The official suite's `sep-2575-request-meta-invalid-*`: the bridge does not make up what a client has to say of itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_a_session_says_itself_what_each_has_to() {
    let world = world("sessions").await;
    world.upstream.otherwise(sessions);
    for missing in ["protocolVersion", "clientCapabilities"] {
        for method in ["server/discover", "tools/list", "tools/call"] {
            let params = if method == "tools/call" { json!({"name": "echo"}) } else { json!({}) };
            let mut message = modern("m", method, &params);
            let meta = message["params"]["_meta"].as_object_mut().expect("an object");
            meta.remove(&format!("io.modelcontextprotocol/{missing}"));
            let (status, _, answer) = call(&world, None, &message).await;
            let said = (status, &answer["id"], &answer["error"]["code"]);
            assert_eq!(said, (StatusCode::BAD_REQUEST, &json!("m"), &json!(-32602)), "{answer}");
            assert_eq!(code(&answer), &json!("params_invalid"));
        }
    }
    // Who may not call learns nothing of how the server is called.
    let mut message = modern_tool("s", "other");
    message["params"]["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
    assert_eq!(code(&call(&world, None, &message).await.2), &json!("no_permit"));
    assert!(world.upstream.received().is_empty(), "and nobody is asked anything");
}

/// A server of sessions says every error under one status; to its client some have their own, also in place of a stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_a_server_of_sessions_has_the_status_of_its_clients_era() {
    let world = world("sessions").await;
    for is_stream in [false, true] {
        for (number, status) in [(-32021, 400), (-32601, 404), (-32603, 200)] {
            world.upstream.otherwise(move |received| {
                let message = received.json();
                if message["method"] != json!("tools/call") {
                    return sessions(received);
                }
                let error = json!({"code": number, "message": "no", "data": {"requiredCapabilities": {"sampling": {}}}});
                let answer = json!({"jsonrpc": "2.0", "id": message["id"], "error": error});
                match is_stream {
                    true => Answer::whole("text/event-stream", format!("id: 1\ndata: \n\ndata: {answer}\n\n")),
                    false => Answer::json(&answer),
                }
            });
            let (said, _, answer) = call(&world, None, &modern_tool("a", "echo")).await;
            let found = (said.as_u16(), &answer["id"], &answer["error"]["code"]);
            assert_eq!(found, (status, &json!("a"), &json!(number)), "{is_stream}: {answer}");
            let required = &answer["error"]["data"]["requiredCapabilities"];
            assert_eq!(required, &json!({"sampling": {}}), "{answer}");
        }
    }
    let all = world.upstream.received();
    let cancelled = all.iter().filter(|one| one.json()["method"] == json!("notifications/cancelled"));
    assert_eq!(cancelled.count(), 0, "nobody left");
}

/// What is no member of a call any more is passed over, and no server makes a task of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_without_a_session_asks_for_no_task_by_a_member_of_before() {
    let world = world("sessions").await;
    world.upstream.otherwise(sessions);
    let mut message = modern_tool("a", "echo");
    message["params"]["task"] = json!({"ttl": 60_000});
    let (_, _, answer) = call(&world, None, &message).await;
    assert_eq!(answer["result"]["resultType"], json!("complete"), "{answer}");
    let sent = world.upstream.received().pop().expect("a call");
    assert_eq!(sent.json()["params"], json!({"name": "echo", "arguments": {"a": 1}}));
}

/// Some servers ask on the stream of the session, and not on that of the call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_beside_a_call_is_asked_in_it() {
    let world = world("sessions").await;
    world.upstream.otherwise(sessions);
    call(&world, None, &modern("d", "server/discover", &json!({}))).await;
    let ((beside, asks), (answer, _stream)) =
        (Answer::stream("text/event-stream"), Answer::stream("text/event-stream"));
    world.upstream.next(beside);
    world.upstream.next(answer);
    let asks = tokio::spawn(async move {
        let asked = json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {"message": "Who?"}});
        asks.event(&asked.to_string()).await;
        asks
    });
    let (_, _, answer) = call(&world, None, &modern_tool("a", "echo")).await;
    assert_eq!(answer["result"]["inputRequests"]["1"]["params"], json!({"message": "Who?"}), "{answer}");
    drop(asks.await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_listens_without_a_session_is_told_by_the_stream_of_one() {
    let world = world("sessions").await;
    world.upstream.otherwise(of_subscriptions);
    let (tells, stream) = Answer::stream("text/event-stream");
    for method in ["initialize", "notifications/initialized", "resources/subscribe"] {
        let (id, result) = match method {
            "initialize" => (
                json!(0),
                json!({"protocolVersion": "2025-11-25", "capabilities": {"resources": {"subscribe": true}},
                "serverInfo": {"name": "s", "version": "1"}}),
            ),
            _ => (json!(1), json!({})),
        };
        let answer = Answer::json(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
        world.upstream.next(match method {
            "notifications/initialized" => accepted(),
            _ => answer.with_header("mcp-session-id", "up-1"),
        });
    }
    world.upstream.next(tells);
    let wanted = json!({"notifications": {"resourceSubscriptions": ["file:///a"]}});
    let mut body = world
        .send(request(&world, "caller", None, &modern("l", "subscriptions/listen", &wanted)))
        .await
        .into_body();
    let begun = event(&mut body).await;
    assert_eq!(begun["params"]["notifications"], json!({"resourceSubscriptions": ["file:///a"]}), "{begun}");
    stream
        .event(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///a"}}"#)
        .await;
    let told = event(&mut body).await;
    assert_eq!(told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], json!("l"), "{told}");
    drop(body);
    let all = world.upstream.until_received(5).await;
    assert_eq!(all[2].json()["params"], json!({"uri": "file:///a"}));
    assert_eq!(
        (all[3].method.as_str(), all[4].method.as_str()),
        ("GET", "DELETE"),
        "its session ends with it"
    );
}

/// The world, where the resources `file:///a` and `file:///b` may be read, and others may not.
async fn of_two_resources(mcp: Option<&str>) -> World {
    let world = World::new().await;
    world.gate.take_into_use(with_resources(&world, mcp, &["file:///a", "file:///b"]));
    world
}

fn with_resources(world: &World, mcp: Option<&str>, uris: &[&str]) -> Arc<Snapshot> {
    let mut all = objects(&world.upstream);
    for object in &mut all {
        match (object["kind"].as_str(), mcp) {
            (Some("MCPServer"), Some(mcp)) => object["spec"]["endpoint"]["mcp"] = json!(mcp),
            (Some("Policy"), _) => {
                let permits = uris.iter().map(|uri| {
                    format!(r#"permit (principal, action == Action::"readResource", resource == Resource::"t/tools/{uri}");"#)
                });
                object["spec"]["cedar"] = json!(permits.collect::<Vec<_>>().join("\n"));
            }
            _ => {}
        }
    }
    snapshot(&all)
}

/// What one stream tells of is decided one by one, and goes on as far as it is permitted; a change that refuses one of them ends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_several_resources_is_of_those_that_are_permitted() {
    let world = of_two_resources(None).await;
    let listen = |uris: &[&str]| {
        modern("l", "subscriptions/listen", &json!({"notifications": {"resourceSubscriptions": uris}}))
    };
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let message = listen(&["file:///a", "file:///secret", "file:///b"]);
    let response = world.send(request(&world, "caller", None, &message)).await;
    let (id, mut body) = (call_id(response.headers()), response.into_body());
    let sent = world.upstream.until_received(1).await.pop().expect("a request").json();
    let wanted = &sent["params"]["notifications"]["resourceSubscriptions"];
    assert_eq!(wanted, &json!(["file:///a", "file:///b"]), "{sent}");
    stream
        .event(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///b"}}"#)
        .await;
    assert_eq!(event(&mut body).await["params"]["uri"], json!("file:///b"));
    world.gate.take_into_use(with_resources(&world, None, &["file:///a"]));
    let ended = tokio::time::timeout(Duration::from_secs(10), body.collect()).await;
    assert!(ended.expect("it ends").is_err(), "it is cut");
    assert_eq!(world.records(&id, 2).await[1]["code"], json!("revoked"));
    // Where none is permitted, nobody is asked.
    let (_, _, answer) = call(&world, None, &listen(&["file:///secret", "file:///b"])).await;
    assert_eq!(code(&answer), &json!("no_permit"), "{answer}");
    assert_eq!(world.upstream.received().len(), 1);
}

/// The same across the bridge: each is followed, and acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_resources_are_followed_across_the_bridge() {
    let world = of_two_resources(Some("sessions")).await;
    world.upstream.otherwise(|received| match received.method.as_str() {
        "GET" => Answer::stream("text/event-stream").0,
        _ => of_subscriptions(received),
    });
    let wanted =
        json!({"notifications": {"resourceSubscriptions": ["file:///secret", "file:///a", "file:///b"]}});
    let message = modern("l", "subscriptions/listen", &wanted);
    let mut body = world.send(request(&world, "caller", None, &message)).await.into_body();
    let all = world.upstream.until_received(5).await;
    let followed: Vec<Value> = all
        .iter()
        .filter(|one| one.json()["method"] == json!("resources/subscribe"))
        .map(|one| one.json()["params"]["uri"].clone())
        .collect();
    assert_eq!(followed, [json!("file:///a"), json!("file:///b")]);
    let begun = event(&mut body).await;
    let told = &begun["params"]["notifications"];
    // A stream that ends at once may tell nothing any more; what is refused is never among it.
    assert!(!told.to_string().contains("secret"), "{begun}");
}

/// The same of the other era: a stream of a session, and what it follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_of_a_session_tells_what_a_stateless_server_does() {
    let world = world("stateless").await;
    world.upstream.otherwise(stateless);
    let session = begun(&world).await;
    let (tells, stream) = Answer::stream("text/event-stream");
    world.upstream.next(tells);
    let mut get = request(&world, "caller", Some(&session), &Value::Null);
    *get.method_mut() = Method::GET;
    let mut body = world.send(get).await.into_body();
    stream
        .event(r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{}}"#)
        .await;
    stream.event(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#).await;
    assert_eq!(event(&mut body).await["method"], json!("notifications/tools/list_changed"));
    let (again, stream) = Answer::stream("text/event-stream");
    world.upstream.next(again);
    let follow =
        json!({"jsonrpc": "2.0", "id": 5, "method": "resources/subscribe", "params": {"uri": "file:///a"}});
    assert_eq!(call(&world, Some(&session), &follow).await.2["result"], json!({}));
    let all = world.upstream.until_received(3).await;
    let wanted = |at: usize| all[at].json()["params"]["notifications"]["resourceSubscriptions"].clone();
    assert_eq!((wanted(1), wanted(2)), (json!([]), json!(["file:///a"])));
    stream
        .event(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///a"}}"#)
        .await;
    assert_eq!(event(&mut body).await["params"]["uri"], json!("file:///a"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_the_servers_own_era_is_passed_byte_for_byte() {
    for (mcp, message) in [("stateless", modern_tool("a", "echo")), ("sessions", tool("a", "echo"))] {
        let world = world(mcp).await;
        let spaced = message.to_string().replacen(':', " : ", 1);
        let mut request = request(&world, "caller", None, &message);
        *request.body_mut() = Full::new(Bytes::from(spaced.clone()));
        let (status, _, _) = world.call(request).await;
        assert_eq!(status, StatusCode::OK);
        let received = world.upstream.received();
        assert_eq!((received.len(), &received[0].body), (1, &Bytes::from(spaced)), "{mcp}");
    }
}

/// Attack: a server that asks again and again, or asks for what its client said that it cannot do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_cannot_ask_what_its_client_does_not_do() {
    let world = world("stateless").await;
    world.upstream.otherwise(|received| match received.json()["method"].as_str() {
        Some("tools/call") => answers(
            received,
            &json!({"resultType": "input_required",
            "inputRequests": {"k": {"method": "sampling/createMessage", "params": {}}}}),
        ),
        _ => stateless(received),
    });
    let session = begun(&world).await;
    let (_, _, answer) = call(&world, Some(&session), &tool("x", "echo")).await;
    assert_eq!(code(&answer), &json!("upstream_invalid"), "{answer}");
}

/// Attack: an answer to another request than was made, by which one caller's result would become another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_the_answer_to_what_was_asked() {
    let world = world("sessions").await;
    world.upstream.otherwise(|received| match received.json()["method"].as_str() {
        Some("tools/call") => Answer::json(&json!({"jsonrpc": "2.0", "id": 4711, "result": {"content": []}})),
        _ => sessions(received),
    });
    let (_, _, answer) = call(&world, None, &modern_tool("a", "echo")).await;
    assert_eq!(code(&answer), &json!("upstream_invalid"), "{answer}");
}

/// What a record lets pass beside a message may be what a server binds its session to: a call that is decided as of one tenant is made in no session of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_of_what_passes_beside_the_messages() {
    let world = world("sessions").await;
    let mut all = objects(&world.upstream);
    for object in all.iter_mut().filter(|object| object["kind"] == "MCPServer") {
        object["spec"]["endpoint"]["mcp"] = json!("sessions");
        object["spec"]["endpoint"]["headers"] = json!({"pass": ["x-tenant", "x-request-id"]});
    }
    world.gate.take_into_use(snapshot(&all));
    world.upstream.otherwise(sessions);
    for (number, (tenant, sessions)) in [("a", 1), ("b", 2), ("a", 2)].into_iter().enumerate() {
        let mut request = request(&world, "caller", None, &modern_tool("a", "echo"));
        let key = number.to_string();
        for (name, value) in [("x-tenant", tenant), ("x-request-id", &*key), ("idempotency-key", &*key)] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let (status, _, _) = world.call(request).await;
        assert_eq!(status, StatusCode::OK);
        let all = world.upstream.received();
        let of = |method: &str| all.iter().filter(|one| one.json()["method"] == json!(method)).count();
        assert_eq!((of("initialize"), of("tools/call")), (sessions, number + 1));
        let begun = all.iter().rfind(|one| one.json()["method"] == json!("initialize")).expect("one");
        assert_eq!(begun.header("idempotency-key"), None, "it is the call that is made once");
        let sent = all.last().expect("a call");
        assert_eq!((sent.header("x-tenant"), sent.header("idempotency-key")), (Some(tenant), Some(&*key)));
    }
}

/// Attack: a server that begins to say how a session begins and never ends, by which all calls of a caller wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_does_not_begin_holds_up_nobody_for_long() {
    let world = world("sessions").await;
    let (answer, stream) = Answer::stream("application/json");
    world.upstream.next(answer);
    stream.send("{").await;
    let question = modern("d", "server/discover", &json!({}));
    let asked = call(&world, None, &question);
    let (_, _, answer) = tokio::time::timeout(Duration::from_secs(20), asked).await.expect("in time");
    assert_eq!(code(&answer), &json!("upstream_timeout"), "{answer}");
    world.upstream.otherwise(sessions);
    let (_, _, answer) = call(&world, None, &modern_tool("a", "echo")).await;
    assert_eq!(answer["result"]["resultType"], json!("complete"), "{answer}");
    drop(stream);
}

/// A server that only has sessions, whose tool asks the client.
pub fn asking(received: &Received) -> Answer {
    if received.json()["method"] != json!("tools/call") {
        return sessions(received);
    }
    let asked =
        json!({"jsonrpc": "2.0", "id": 7, "method": "elicitation/create", "params": {"message": "Who?"}});
    Answer::whole("text/event-stream", format!("data: {asked}\n\n"))
}

/// Who has as many calls wait as one may is told so: their stream ended without a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_has_no_room_to_wait_says_so() {
    let world = world("sessions").await;
    world.upstream.otherwise(asking);
    for _ in 0..16 {
        let (_, _, answer) = call(&world, None, &modern_tool("a", "echo")).await;
        assert_eq!(answer["result"]["resultType"], json!("input_required"), "{answer}");
    }
    let (_, _, answer) = call(&world, None, &modern_tool("a", "echo")).await;
    assert_eq!(code(&answer), &json!("overloaded"), "{answer}");
}

/// Attack: questions that no client gets, until none of the caller's calls may wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_does_not_pass_keeps_no_call_waiting() {
    let world = World::new().await;
    let mut all = objects(&world.upstream);
    for object in &mut all {
        match object["kind"].as_str() {
            Some("MCPServer") => object["spec"]["endpoint"]["mcp"] = json!("sessions"),
            Some("Policy") => {
                object["spec"]["cedar"] = json!(
                    r#"permit (principal, action == Action::"invokeTool", resource == Tool::"t/tools/echo");
                    @redact_answer("/card") forbid (principal, action == Action::"invokeTool", resource == Tool::"t/tools/echo");"#
                );
            }
            _ => {}
        }
    }
    world.gate.take_into_use(snapshot(&all));
    world.upstream.otherwise(asking);
    for number in 0..18 {
        let (_, _, answer) = call(&world, None, &modern_tool("a", "echo")).await;
        assert_eq!(code(&answer), &json!("change_impossible"), "{number}: {answer}");
    }
}
