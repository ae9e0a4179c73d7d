//! A2A where caller and agent speak different bindings: HTTP+JSON is translated to JSON-RPC and gRPC, and they to it; the call, its decision and
//! its record are the same. (JSON-RPC and gRPC to each other: `grpc.rs`.)

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use vidimus_testkit::upstream::{Answer, Received};

use super::grpc::{self, GrpcAgent, Scripted};
use super::world::{World, call_id, json_of, objects, snapshot};

const ROUTE: &str = "/a2a/t/callee";
const CEDAR: &str = r#"
    permit (principal == Agent::"t/caller", action == Action::"callAgent", resource == Agent::"t/callee");
    permit (principal == Agent::"t/stranger", action == Action::"callAgent", resource == Agent::"t/callee");
    forbid (principal, action == Action::"callAgent", resource == Skill::"t/callee/forbidden");
"#;

/// A world whose agent's endpoint is this, and which caller and stranger may call, but for a skill.
pub(super) async fn world(endpoint: impl Fn(&World) -> Value) -> World {
    let world = World::new().await;
    let mut given = objects(&world.upstream);
    given[2]["spec"]["endpoint"] = endpoint(&world);
    given[5]["spec"]["cedar"] = json!(CEDAR);
    world.gate.take_into_use(snapshot(&given));
    world
}

/// Its agent speaks JSON-RPC alone.
async fn of_rpc() -> World {
    world(|world| json!({"url": world.upstream.url("/a2a"), "timeout": "3s"})).await
}

/// Its agent speaks HTTP+JSON alone.
async fn of_rest() -> World {
    world(|world| {
        let url = world.upstream.url("/rest");
        json!({"url": url, "rest": url, "restAlone": true, "timeout": "3s"})
    })
    .await
}

/// Its agent speaks gRPC alone.
async fn of_grpc(address: SocketAddr) -> World {
    world(|_| json!({"url": format!("http://{address}/"), "grpc": format!("http://{address}"), "timeout": "3s"})).await
}

/// What came of one request over HTTP+JSON.
#[derive(Debug)]
struct Came {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Came {
    fn json(&self) -> Value {
        json_of(&self.body)
    }

    fn code(&self) -> Option<&str> {
        self.headers.get("vidimus-code").map(|code| code.to_str().expect("text"))
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("UTF-8")
    }
}

fn request(world: &World, subject: &str, (method, path): (&str, &str), body: &Value) -> Request<Full<Bytes>> {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let mut request = world.request(method, &format!("{ROUTE}{path}"), body);
    let token = world.token(subject, Duration::from_secs(600));
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a value"));
    request
}

async fn ask(world: &World, subject: &str, asked: (&str, &str), body: Value) -> Came {
    let (status, headers, body) = world.call(request(world, subject, asked, &body)).await;
    Came { status, headers, body }
}

/// A message over JSON-RPC, and its answer.
async fn rpc(world: &World, method: &str, params: &Value) -> (HeaderMap, Bytes) {
    let said = json!({"jsonrpc": "2.0", "id": "own", "method": method, "params": params});
    let (status, headers, body) = world.call(world.request(Method::POST, ROUTE, &said)).await;
    assert_eq!(status, StatusCode::OK, "{body:?}");
    (headers, body)
}

fn message(more: &Value) -> Value {
    let mut message = json!({"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "x"}]});
    for (key, value) in more.as_object().expect("an object") {
        message[key] = value.clone();
    }
    json!({"message": message})
}

fn task(id: &str) -> Value {
    json!({"id": id, "contextId": "ctx", "status": {"state": "TASK_STATE_WORKING"}})
}

fn update() -> Value {
    json!({"statusUpdate": {"taskId": "1", "contextId": "ctx", "status": {"state": "TASK_STATE_COMPLETED"}}})
}

fn response(result: &Value) -> Answer {
    Answer::json(&json!({"jsonrpc": "2.0", "id": 1, "result": result}))
}

fn status_of(code: u16, status: &str, reason: &str) -> Value {
    json!({"error": {"code": code, "status": status, "message": "over",
        "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "a2a-protocol.org", "metadata": {}}]}})
}

fn last(world: &World) -> Received {
    world.upstream.received().last().expect("a request").clone()
}

#[tokio::test]
async fn a_caller_over_http_json_reaches_an_agent_of_json_rpc() {
    let world = of_rpc().await;
    world.upstream.next(response(&json!({"task": task("1")})));
    let came = ask(&world, "caller", ("POST", "/message:send"), message(&json!({}))).await;
    assert_eq!((came.status, came.code()), (StatusCode::OK, None), "{came:?}");
    let made = came.json();
    let id = made["task"]["id"].as_str().expect("an id").to_owned();
    assert!(id != "1" && made["task"]["contextId"] != "ctx", "its ids are the caller's alone: {made}");
    let sent = last(&world);
    let said = sent.json();
    assert_eq!((sent.method.as_str(), sent.uri.path()), ("POST", "/a2a"));
    assert_eq!((&said["method"], &said["params"]), (&json!("SendMessage"), &message(&json!({}))));
    assert_eq!(
        (sent.header("a2a-version"), sent.header("content-type")),
        (Some("1.0"), Some("application/json"))
    );
    let records = world.records(&call_id(&came.headers), 2).await;
    assert_eq!(
        (&records[0]["method"], &records[0]["resource"]),
        (&json!("SendMessage"), &json!("Agent/t/callee"))
    );
    assert_eq!((&records[1]["task"], &records[1]["result"]), (&json!("1"), &json!("ok")));

    // What stands in a path and a query is in the message.
    let config = json!({"taskId": "1", "id": "c", "url": "https://h/"});
    for (method, path, asks, params, result) in [
        (
            "GET",
            format!("/tasks/{id}?historyLength=2"),
            "GetTask",
            json!({"id": "1", "historyLength": 2}),
            task("1"),
        ),
        ("POST", format!("/tasks/{id}:cancel"), "CancelTask", json!({"id": "1"}), task("1")),
        (
            "GET",
            "/tasks?pageSize=5&includeArtifacts=true".to_owned(),
            "ListTasks",
            json!({"pageSize": 5, "includeArtifacts": true}),
            json!({"tasks": [task("1"), task("2")], "totalSize": 2}),
        ),
        (
            "GET",
            format!("/tasks/{id}/pushNotificationConfigs/c"),
            "GetTaskPushNotificationConfig",
            json!({"taskId": "1", "id": "c"}),
            config.clone(),
        ),
        (
            "GET",
            format!("/tasks/{id}/pushNotificationConfigs"),
            "ListTaskPushNotificationConfigs",
            json!({"taskId": "1"}),
            json!({"configs": [config]}),
        ),
    ] {
        world.upstream.next(response(&result));
        let came = ask(&world, "caller", (method, &path), json!(null)).await;
        assert_eq!((came.status, came.code()), (StatusCode::OK, None), "{path} {came:?}");
        assert!(came.json().get("jsonrpc").is_none() && came.text().contains(&id), "{came:?}");
        let sent = last(&world);
        assert_eq!((sent.method.as_str(), &*sent.uri.to_string()), ("POST", "/a2a"), "{path}");
        assert_eq!((&sent.json()["method"], &sent.json()["params"]), (&json!(asks), &params), "{path}");
        if asks == "ListTasks" {
            assert_eq!(
                (came.json()["tasks"].as_array().map(Vec::len), &came.json()["totalSize"]),
                (Some(1), &json!(1))
            );
        }
    }
    // The official SDK of 0.3 says that there is nothing to say by no result at all.
    for answer in [response(&json!(null)), Answer::json(&json!({"jsonrpc": "2.0", "id": 1}))] {
        world.upstream.next(answer);
        let path = format!("/tasks/{id}/pushNotificationConfigs/c");
        let came = ask(&world, "caller", ("DELETE", &path), json!(null)).await;
        assert_eq!((came.status, came.code(), came.json()), (StatusCode::OK, None, json!({})), "{came:?}");
        assert_eq!(
            (last(&world).method, last(&world).json()["method"].clone()),
            (Method::POST, json!("DeleteTaskPushNotificationConfig"))
        );
    }
    // That of another request is none of this one.
    world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": 2})));
    let came =
        ask(&world, "caller", ("DELETE", &format!("/tasks/{id}/pushNotificationConfigs/c")), json!(null))
            .await;
    assert_eq!((came.status, came.code()), (StatusCode::BAD_GATEWAY, Some("upstream_invalid")), "{came:?}");
    world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": "own"})));
    let (_, body) = rpc(&world, "DeleteTaskPushNotificationConfig", &json!({"taskId": id, "id": "c"})).await;
    assert_eq!(json_of(&body), json!({"jsonrpc": "2.0", "id": "own", "result": null}));

    // Its errors have the status that says the same.
    for (number, status, name, reason) in [
        (-32002, StatusCode::BAD_REQUEST, "FAILED_PRECONDITION", "TASK_NOT_CANCELABLE"),
        (-32001, StatusCode::NOT_FOUND, "NOT_FOUND", "TASK_NOT_FOUND"),
    ] {
        world.upstream.next(Answer::json(
            &json!({"jsonrpc": "2.0", "id": 1, "error": {"code": number, "message": "over"}}),
        ));
        let came = ask(&world, "caller", ("POST", &format!("/tasks/{id}:cancel")), json!({})).await;
        assert_eq!((came.status, came.code()), (status, None), "{came:?}");
        assert_eq!(came.json(), status_of(status.as_u16(), name, reason));
        assert_eq!(world.records(&call_id(&came.headers), 2).await[1]["result"], "error");
    }
    for answer in [
        Answer::whole("text/html", "<html>").with_status(StatusCode::BAD_GATEWAY),
        Answer::json(&task("1")),
        Answer::json(&json!({"jsonrpc": "2.0", "id": 2, "result": task("1")})),
        Answer::whole("application/json", ""),
    ] {
        world.upstream.next(answer);
        let came = ask(&world, "caller", ("GET", &format!("/tasks/{id}")), json!(null)).await;
        assert_eq!(came.code(), Some("upstream_invalid"), "{came:?}");
        assert_eq!(came.json()["error"]["details"][0]["reason"], "UPSTREAM_INVALID");
    }
}

#[tokio::test]
async fn events_of_json_rpc_leave_as_what_stands_by_itself() {
    let world = of_rpc().await;
    let event = |result: Value| format!("data: {}\n\n", json!({"jsonrpc": "2.0", "id": 1, "result": result}));
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let asked = request(&world, "caller", ("POST", "/message:stream"), &message(&json!({})));
    let (parts, mut body) = world.send(asked).await.into_parts();
    assert_eq!(parts.status, StatusCode::OK);
    assert_eq!(parts.headers["content-type"], "text/event-stream");
    let mut next = async || {
        let frame = body.frame().await.expect("a frame").expect("no fault").into_data().expect("data");
        let text = String::from_utf8(frame.to_vec()).expect("UTF-8");
        json_of(text.trim().strip_prefix("data: ").expect("an event").as_bytes())
    };
    stream.send(event(json!({"task": task("1")}))).await;
    let first = next().await;
    let id = first["task"]["id"].as_str().expect("an id").to_owned();
    assert!(id != "1" && first.get("jsonrpc").is_none(), "{first}");
    stream.send(event(update())).await;
    assert_eq!(next().await["statusUpdate"]["taskId"], id);
    drop(stream);
    assert!(body.frame().await.is_none());
    assert_eq!(world.records(&call_id(&parts.headers), 2).await[1]["result"], "ok");

    // An error within is an event that is one; in place of the stream it has a status.
    let error = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32004, "message": "over"}});
    let expected = status_of(400, "FAILED_PRECONDITION", "UNSUPPORTED_OPERATION");
    let events = format!("{}: ping\n\ndata: {error}\n\n", event(json!({"task": task("1")})));
    world.upstream.next(Answer::whole("text/event-stream", events));
    let came = ask(&world, "caller", ("POST", &format!("/tasks/{id}:subscribe")), json!({})).await;
    let text = came.text();
    assert!(
        text.contains(": ping\n") && text.contains("event: error\ndata: {") && !text.contains("jsonrpc"),
        "{text}"
    );
    let said = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().expect("an event");
    assert_eq!(json_of(said.as_bytes()), expected);
    assert_eq!(world.records(&call_id(&came.headers), 2).await[1]["result"], "error");
    world.upstream.next(Answer::json(&error));
    let came = ask(&world, "caller", ("GET", &format!("/tasks/{id}:subscribe")), json!(null)).await;
    assert_eq!((came.status, came.json()), (StatusCode::BAD_REQUEST, expected));
    // What is no response of the agent's ends the stream, and nothing of it passes.
    world
        .upstream
        .next(Answer::whole("text/event-stream", format!("data: {}\n\n", json!({"task": task("raw-task")}))));
    let came = ask(&world, "caller", ("POST", "/message:stream"), message(&json!({}))).await;
    assert!(!came.text().contains("raw-task") && came.text().contains("UPSTREAM_INVALID"), "{came:?}");
}

#[tokio::test]
async fn a_caller_over_http_json_reaches_an_agent_of_grpc() {
    let agent = GrpcAgent::start().await;
    let world = of_grpc(agent.address).await;
    agent.answers(Scripted::of("SendMessage", &[json!({"task": task("1")})], "0"));
    let came = ask(&world, "caller", ("POST", "/message:send"), message(&json!({}))).await;
    assert_eq!((came.status, came.code()), (StatusCode::OK, None), "{came:?}");
    let id = came.json()["task"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(agent.last("SendMessage").2, message(&json!({})));
    agent.answers(Scripted::of("GetTask", &[task("1")], "0"));
    let came = ask(&world, "caller", ("GET", &format!("/tasks/{id}?historyLength=3")), json!(null)).await;
    assert_eq!((came.status, &came.json()["id"]), (StatusCode::OK, &json!(id)), "{came:?}");
    let (path, headers, said) = agent.last("GetTask");
    assert_eq!(path, "/lf.a2a.v1.A2AService/GetTask");
    assert_eq!(headers["content-type"], "application/grpc");
    assert_eq!(said, json!({"id": "1", "historyLength": 3}));
    agent.answers(Scripted::of("SubscribeToTask", &[json!({"task": task("1")}), update()], "0"));
    let came = ask(&world, "caller", ("POST", &format!("/tasks/{id}:subscribe")), json!({})).await;
    assert!(came.text().matches(&id).count() == 2 && !came.text().contains("jsonrpc"), "{came:?}");
    agent.answers(Scripted::of("CancelTask", &[], "5"));
    let came = ask(&world, "caller", ("POST", &format!("/tasks/{id}:cancel")), json!({})).await;
    assert_eq!(
        (came.status, &came.json()["error"]["status"]),
        (StatusCode::NOT_FOUND, &json!("NOT_FOUND")),
        "{came:?}"
    );
}

#[tokio::test]
async fn callers_of_each_other_binding_reach_an_agent_of_http_json() {
    let world = of_rest().await;
    world.upstream.next(Answer::json(&json!({"task": task("1")})));
    let (headers, body) = rpc(&world, "SendMessage", &message(&json!({}))).await;
    let said = json_of(&body);
    assert_eq!((&said["jsonrpc"], &said["id"]), (&json!("2.0"), &json!("own")), "{said}");
    let id = said["result"]["task"]["id"].as_str().expect("an id").to_owned();
    assert_ne!(id, "1");
    let sent = last(&world);
    assert_eq!(
        (sent.method.as_str(), &*sent.uri.to_string(), sent.json()),
        ("POST", "/rest/message:send", message(&json!({})))
    );
    assert_eq!(sent.header("a2a-version"), Some("1.0"));
    let records = world.records(&call_id(&headers), 2).await;
    assert_eq!((&records[1]["task"], &records[1]["result"]), (&json!("1"), &json!("ok")));

    world.upstream.next(Answer::json(&task("1")));
    let (_, body) = rpc(&world, "GetTask", &json!({"id": id, "historyLength": 2})).await;
    assert_eq!(json_of(&body)["result"]["id"], id);
    let sent = last(&world);
    assert_eq!(
        (sent.method.as_str(), &*sent.uri.to_string(), sent.body.len()),
        ("GET", "/rest/tasks/1?historyLength=2", 0)
    );
    world.upstream.next(Answer::json(&task("1")));
    let came = grpc::ask(&world, "caller", "CancelTask", &json!({"id": id})).await;
    assert_eq!((came.status(), &came.messages[0]["id"]), (0, &json!(id)), "{came:?}");
    assert_eq!(last(&world).uri.path(), "/rest/tasks/1:cancel");
    world.upstream.next(Answer::whole("application/json", "").with_status(StatusCode::NO_CONTENT));
    let (_, body) = rpc(&world, "DeleteTaskPushNotificationConfig", &json!({"taskId": id, "id": "c"})).await;
    assert_eq!(json_of(&body)["result"], json!({}));
    assert_eq!(last(&world).method, Method::DELETE);

    // Events, and an error in them or in their place.
    let events = |last: &Value| format!("data: {}\n\n: ping\n\ndata: {last}\n\n", json!({"task": task("1")}));
    world.upstream.next(Answer::whole("text/event-stream", events(&update())));
    let (headers, body) = rpc(&world, "SubscribeToTask", &json!({"id": id})).await;
    let text = String::from_utf8(body.to_vec()).expect("UTF-8");
    assert_eq!(headers["content-type"], "text/event-stream");
    assert!(
        text.matches(r#""id":"own""#).count() == 2 && text.contains(&id) && text.contains(": ping"),
        "{text}"
    );
    assert_eq!(
        (last(&world).method, last(&world).uri.path().to_owned()),
        (Method::POST, "/rest/tasks/1:subscribe".to_owned())
    );
    world.upstream.next(Answer::whole("text/event-stream", events(&update())));
    let came = grpc::ask(&world, "caller", "SubscribeToTask", &json!({"id": id})).await;
    assert_eq!((came.status(), came.messages.len()), (0, 2), "{came:?}");
    let gone = status_of(404, "NOT_FOUND", "TASK_NOT_FOUND");
    world.upstream.next(Answer::json(&gone).with_status(StatusCode::NOT_FOUND));
    let (headers, body) = rpc(&world, "GetTask", &json!({"id": id})).await;
    assert_eq!((&json_of(&body)["error"]["code"], headers.get("vidimus-code")), (&json!(-32001), None));
    let records = world.records(&call_id(&headers), 2).await;
    assert_eq!(
        (&records[1]["result"], &records[1]["status"]),
        (&json!("error"), &json!(404)),
        "what it said is on record"
    );
    world.upstream.next(Answer::json(&gone).with_status(StatusCode::NOT_FOUND));
    let came = grpc::ask(&world, "caller", "SubscribeToTask", &json!({"id": id})).await;
    assert!(came.status() == 5 && came.details_have("TASK_NOT_FOUND"), "{came:?}");
    world.upstream.next(Answer::whole("text/html", "<html>").with_status(StatusCode::SERVICE_UNAVAILABLE));
    let (_, body) = rpc(&world, "GetTask", &json!({"id": id})).await;
    let about = json_of(&body)["error"]["data"].clone();
    assert_eq!((&about["code"], &about["upstream_status"]), (&json!("upstream_invalid"), &json!(503)));
    world.upstream.next(Answer::json(&json!({"name": "b", "supportedInterfaces": [{"url": "http://b:1/rest", "protocolBinding": "HTTP+JSON", "protocolVersion": "1.0"}]})));
    let (_, body) = rpc(&world, "GetExtendedAgentCard", &json!({})).await;
    let card = json_of(&body)["result"].clone();
    let bindings: Vec<&Value> = card["supportedInterfaces"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| &one["protocolBinding"])
        .collect();
    assert_eq!(bindings, ["HTTP+JSON", "GRPC", "JSONRPC"], "each is served: {card}");
    // Its HTTP+JSON is 1.0, to which 0.3 is translated.
    world.upstream.next(Answer::json(&task("1")));
    let old = json!({"jsonrpc": "2.0", "id": 7, "method": "tasks/get", "params": {"id": id}});
    let (_, headers, body) = world.call(world.request(Method::POST, ROUTE, &old)).await;
    assert_eq!((headers.get("vidimus-code"), &json_of(&body)["result"]["kind"]), (None, &json!("task")));
}

/// Where an agent speaks HTTP+JSON too, they go to its JSON-RPC: their names there have the task's id in them.
#[tokio::test]
async fn configurations_of_0_3_are_made_over_http_json() {
    let world = world(|world| {
        json!({"url": world.upstream.url("/a2a"), "rest": world.upstream.url("/rest"), "timeout": "3s"})
    })
    .await;
    world.upstream.next(response(
        &json!({"kind": "task", "id": "1", "contextId": "ctx", "status": {"state": "working"}}),
    ));
    let sent = json!({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params":
        {"message": {"kind": "message", "messageId": "m", "role": "user", "parts": []}}});
    let (_, _, body) = world.call(world.request(Method::POST, ROUTE, &sent)).await;
    let id = json_of(&body)["result"]["id"].as_str().expect("an id").to_owned();
    let at = format!("/v1/tasks/{id}/pushNotificationConfigs");
    let config = json!({"id": "c", "url": "https://hook.example/", "token": "t"});
    let name = format!("tasks/{id}/pushNotificationConfigs/c");
    for body in [
        // As the official SDK writes it, and as the annotations of the schema have it.
        json!({"parent": format!("tasks/{id}"), "config_id": "c", "config": {"name": name, "push_notification_config": config}}),
        json!({"pushNotificationConfig": config}),
    ] {
        world.upstream.otherwise(|received| {
            let asked = received.json();
            Answer::json(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": asked["params"]}))
        });
        let came = ask(&world, "caller", ("POST", &at), body).await;
        assert_eq!((came.status, came.code()), (StatusCode::OK, None), "{came:?}");
        let made = came.json();
        assert_eq!((&made["name"], &made["pushNotificationConfig"]), (&json!(name), &config), "{made}");
        let sent = last(&world);
        assert_eq!(
            (sent.uri.path(), &sent.json()["method"]),
            ("/a2a", &json!("tasks/pushNotificationConfig/set"))
        );
        assert_eq!(sent.json()["params"]["taskId"], "1");
        assert_ne!(
            sent.json()["params"]["pushNotificationConfig"]["url"],
            config["url"],
            "the gateway's own"
        );
    }
    let kept = json!({"taskId": "1", "pushNotificationConfig": config});
    world.upstream.next(response(&kept));
    let came = ask(&world, "caller", ("GET", &format!("{at}/c")), json!(null)).await;
    assert_eq!((came.status, &came.json()["name"]), (StatusCode::OK, &json!(name)), "{came:?}");
    assert_eq!(last(&world).json()["params"], json!({"id": "1", "pushNotificationConfigId": "c"}));
    world.upstream.next(response(&json!([kept])));
    let came = ask(&world, "caller", ("GET", &at), json!(null)).await;
    assert_eq!(came.json()["configs"][0]["name"], json!(name), "{came:?}");
    world.upstream.next(response(&json!(null)));
    let came = ask(&world, "caller", ("DELETE", &format!("{at}/c")), json!(null)).await;
    assert_eq!((came.status, came.json()), (StatusCode::OK, json!({})), "{came:?}");
    // Attack: another task than the path's, in whatever name; what the schema does not have.
    let before = world.upstream.received().len();
    for (path, body) in [
        (at.clone(), json!({"parent": "tasks/other", "config": {"pushNotificationConfig": config}})),
        (
            at.clone(),
            json!({"config": {"name": "tasks/other/pushNotificationConfigs/c", "pushNotificationConfig": config}}),
        ),
        (at.clone(), json!({"taskId": id, "pushNotificationConfig": config})),
        (at.clone(), json!({"config": {"pushNotificationConfig": config}, "url": "https://other.example/"})),
        (format!("{at}?pageSize=5"), json!({"pushNotificationConfig": config})),
    ] {
        let came = ask(&world, "caller", ("POST", &path), body.clone()).await;
        assert_eq!(came.code(), Some("message_invalid"), "{path} {body}");
    }
    let came = ask(&world, "caller", ("GET", "/v1/tasks/1/pushNotificationConfigs"), json!(null)).await;
    assert_eq!(came.code(), Some("task_foreign"), "the agent's own id");
    assert_eq!(world.upstream.received().len(), before);
}

#[tokio::test]
async fn a_caller_over_http_json_of_0_3_reaches_an_agent_of_json_rpc() {
    let world = of_rpc().await;
    let task =
        |id: &str| json!({"kind": "task", "id": id, "contextId": "ctx", "status": {"state": "working"}});
    // As the official SDK writes it: by the names of the schema.
    let send = json!({"request": {"message_id": "m", "role": "ROLE_USER", "content": [{"text": "x"}], "metadata": {"note": "n"}},
        "configuration": {"blocking": true}});
    world.upstream.next(response(&task("1")));
    let came = ask(&world, "caller", ("POST", "/v1/message:send"), send.clone()).await;
    assert_eq!((came.status, came.code()), (StatusCode::OK, None), "{came:?}");
    let made = came.json()["task"].clone();
    let id = made["id"].as_str().expect("an id").to_owned();
    assert_eq!((id != "1", &made["status"]["state"]), (true, &json!("TASK_STATE_WORKING")), "{made}");
    let sent = last(&world);
    let params = json!({"message": {"kind": "message", "messageId": "m", "role": "user", "parts": [{"kind": "text", "text": "x"}],
        "metadata": {"note": "n"}}, "configuration": {"blocking": true}});
    assert_eq!((&sent.json()["method"], &sent.json()["params"]), (&json!("message/send"), &params));
    assert_eq!(
        (sent.method.as_str(), sent.uri.path(), sent.header("a2a-version")),
        ("POST", "/a2a", Some("0.3"))
    );
    for (method, path, asks) in [
        ("GET", format!("/v1/tasks/{id}"), "tasks/get"),
        ("POST", format!("/v1/tasks/{id}:cancel"), "tasks/cancel"),
    ] {
        world.upstream.next(response(&task("1")));
        let came = ask(&world, "caller", (method, &path), json!(null)).await;
        assert_eq!((came.code(), &came.json()["id"]), (None, &json!(id)), "{came:?}");
        assert!(came.json().get("kind").is_none(), "it is of the schema: {came:?}");
        let sent = last(&world).json();
        assert_eq!((&sent["method"], &sent["params"]), (&json!(asks), &json!({"id": "1"})));
    }
    let event =
        |result: &Value| format!("data: {}\n\n", json!({"jsonrpc": "2.0", "id": 1, "result": result}));
    let update = json!({"kind": "status-update", "taskId": "1", "contextId": "ctx", "final": true, "status": {"state": "completed"}});
    world.upstream.next(Answer::whole("text/event-stream", event(&task("1")) + &event(&update)));
    let came = ask(&world, "caller", ("POST", "/v1/message:stream"), send).await;
    let text = came.text();
    assert!(text.contains(r#"data: {"task":{"#) && text.contains("TASK_STATE_COMPLETED"), "{text}");
    assert!(!text.contains("kind") && !text.contains("jsonrpc"), "{text}");
    // Attacks: another's task; a task that is named twice, in two spellings; the words of JSON-RPC.
    let before = world.upstream.received().len();
    let raw = json!({"request": {"message_id": "m", "task_id": "1"}});
    let twice = json!({"request": {"message_id": "m", "task_id": id, "taskId": "1"}});
    let of_rpc = json!({"message": {"kind": "message", "messageId": "m", "role": "user", "parts": []}});
    for (subject, method, path, body, code) in [
        ("stranger", "GET", format!("/v1/tasks/{id}"), json!(null), "task_foreign"),
        ("caller", "POST", "/v1/message:send".to_owned(), raw, "task_foreign"),
        ("caller", "POST", "/v1/message:send".to_owned(), twice, "duplicate_key"),
        ("caller", "POST", "/v1/message:send".to_owned(), of_rpc, "message_invalid"),
    ] {
        let came = ask(&world, subject, (method, &path), body).await;
        assert_eq!(came.code(), Some(code), "{subject} {path} {came:?}");
    }
    assert_eq!(world.upstream.received().len(), before);
}

/// Attacks: one thing in the path and another in the body, a query or a tenant; another's task; an answer in which ids stand elsewhere.
#[tokio::test]
async fn what_is_decided_is_what_is_translated() {
    let world = of_rpc().await;
    world.upstream.next(response(&json!({"task": task("1")})));
    let came = ask(&world, "caller", ("POST", "/message:send"), message(&json!({}))).await;
    let id = came.json()["task"]["id"].as_str().expect("an id").to_owned();
    let before = world.upstream.received().len();
    for (subject, method, path, body, code) in [
        // What is asked is what the path says; a method in the body is no more than a member.
        ("caller", "POST", format!("/tasks/{id}:cancel"), json!({"id": "2"}), "message_invalid"),
        ("caller", "POST", format!("/tasks/{id}:cancel"), json!({"taskId": "2"}), "message_invalid"),
        ("caller", "GET", format!("/tasks/{id}?id=2"), json!(null), "message_invalid"),
        ("caller", "GET", format!("/tasks/{id}?tenant=t%2Fother"), json!(null), "message_invalid"),
        (
            "caller",
            "POST",
            "/message:send".to_owned(),
            json!({"tenant": "t/other", "message": {}}),
            "member_undecided",
        ),
        ("caller", "POST", "/other/message:send".to_owned(), message(&json!({})), "member_undecided"),
        (
            "caller",
            "POST",
            "/other/message:send".to_owned(),
            json!({"tenant": "t/callee", "message": {}}),
            "message_invalid",
        ),
        (
            "caller",
            "POST",
            "/message:send".to_owned(),
            message(&json!({"metadata": {"skill": "forbidden"}})),
            "forbidden_by_policy",
        ),
        ("caller", "GET", format!("/tasks/%2e%2e%2f{id}"), json!(null), "route_unknown"),
        ("caller", "GET", "/tasks/1".to_owned(), json!(null), "task_foreign"),
        ("stranger", "GET", format!("/tasks/{id}"), json!(null), "task_foreign"),
        ("stranger", "POST", format!("/tasks/{id}:cancel"), json!({}), "task_foreign"),
    ] {
        let came = ask(&world, subject, (method, &path), body).await;
        assert_eq!(came.code(), Some(code), "{subject} {method} {path} {came:?}");
    }
    assert_eq!(world.upstream.received().len(), before, "nothing of it reached the agent");
    // A body that is itself a message of JSON-RPC is the parameters of what the path says.
    world.upstream.next(response(&json!({"task": task("1")})));
    let mut body = message(&json!({}));
    body["jsonrpc"] = json!("2.0");
    body["method"] = json!("CancelTask");
    let came = ask(&world, "caller", ("POST", "/message:send"), body).await;
    assert_eq!((came.code(), last(&world).json()["method"].clone()), (None, json!("SendMessage")));

    let world = of_rest().await;
    world.upstream.next(Answer::json(&json!({"task": task("1")})));
    let (_, body) = rpc(&world, "SendMessage", &message(&json!({}))).await;
    let id = json_of(&body)["result"]["task"]["id"].as_str().expect("an id").to_owned();
    for framed in [
        json!({"jsonrpc": "2.0", "id": "own", "result": task("raw-task")}),
        json!({"Result": {"task": task("raw-task")}}),
        json!([{"result": task("raw-task")}]),
    ] {
        for answer in
            [Answer::json(&framed), Answer::whole("text/event-stream", format!("data: {framed}\n\n"))]
        {
            world.upstream.next(answer);
            let (_, body) = rpc(&world, "SubscribeToTask", &json!({"id": id})).await;
            let text = String::from_utf8_lossy(&body);
            assert!(!text.contains("raw-task") && text.contains("upstream_invalid"), "{framed}: {text}");
        }
    }
    // An id that leads elsewhere in a path is one segment of it, or refused.
    let before = world.upstream.received().len();
    for (config, code) in [("..", "upstream_invalid"), ("", "message_invalid")] {
        let params = json!({"taskId": id, "id": config});
        let (headers, _) = rpc(&world, "GetTaskPushNotificationConfig", &params).await;
        assert_eq!(headers["vidimus-code"], code, "{config:?}");
    }
    assert_eq!(world.upstream.received().len(), before);
    world.upstream.next(Answer::json(&json!({"taskId": "1", "id": "../x?y", "url": "https://h/"})));
    rpc(&world, "GetTaskPushNotificationConfig", &json!({"taskId": id, "id": "../x?y"})).await;
    assert_eq!(last(&world).uri.to_string(), "/rest/tasks/1/pushNotificationConfigs/..%2Fx%3Fy");
}
