//! A2A over HTTP+JSON: what is asked in that binding is the call that JSON-RPC makes, with the same owner of each task.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use vidimus_testkit::upstream::{Answer, Received};

use super::approvals::{BOB, yes};
use super::world::{World, call_id, json_of, objects, snapshot};

const ROUTE: &str = "/a2a/t/callee";

/// A world whose agent is served over HTTP+JSON too, and whose `stranger` may use another skill of it than `caller` may. `more` is in force too.
async fn world(more: &str) -> World {
    let world = World::new().await;
    let mut given = objects(&world.upstream);
    given[2]["spec"]["endpoint"]["rest"] = json!(world.upstream.url("/rest/"));
    let last = given.len() - 1;
    given[last]["spec"]["cedar"] = json!(format!("{CEDAR} {more}"));
    world.gate.take_into_use(snapshot(&given));
    world
}

const CEDAR: &str = r#"
    permit (principal == Agent::"t/caller", action == Action::"callAgent", resource == Skill::"t/callee/pay");
    permit (principal == Agent::"t/stranger", action == Action::"callAgent", resource == Skill::"t/callee/read");
"#;

/// The agent: it shows every task to everybody, and numbers them from 1.
fn serve(world: &World) {
    let made = Arc::new(Mutex::new(0_u64));
    world.upstream.otherwise(move |received: &Received| {
        let mut made = made.lock().expect("a lock");
        let path = received.uri.path().trim_start_matches("/rest").trim_start_matches("/v1").to_owned();
        let context = received.json()["message"]["contextId"].as_str().unwrap_or("ctx").to_owned();
        let task = |id: &str| {
            json!({"id": id, "contextId": context, "status": {"state": "TASK_STATE_WORKING",
                "message": {"messageId": "m", "taskId": id, "contextId": context, "parts": [{"text": "1"}]}}})
        };
        let about = path.strip_prefix("/tasks/").unwrap_or_default();
        let (id, below) = about.split_once(['/', ':']).unwrap_or((about, ""));
        let config = |id: &str| json!({"taskId": id, "id": id, "url": "https://h/"});
        match (received.method.as_str(), &*path, below) {
            ("POST", "/message:send", _) => {
                *made += 1;
                Answer::json(&json!({"task": task(&made.to_string())}))
            }
            ("POST", "/message:stream", _) | (_, _, "subscribe") => {
                let id = if id.is_empty() { "1" } else { id };
                let update = json!({"statusUpdate": {"taskId": id, "contextId": "ctx", "status": {"state": "TASK_STATE_COMPLETED"}}});
                let text = format!("id: e-1\ndata: {}\n\n: ping\n\ndata: {update}\n\n", json!({"task": task(id)}));
                Answer::whole("text/event-stream", text)
            }
            ("GET", "/tasks", _) => {
                let all: Vec<Value> = (1..=*made).map(|id| task(&id.to_string())).collect();
                Answer::json(&json!({"tasks": all, "totalSize": *made, "nextPageToken": "after-2"}))
            }
            ("GET", "/extendedAgentCard" | "/card", _) => Answer::json(&json!({"name": "b", "signatures": [{}],
                "supportedInterfaces": [{"url": "http://b:1/rest", "protocolBinding": "HTTP+JSON"}]})),
            ("DELETE", ..) => Answer::whole("application/json", String::new()).with_status(StatusCode::NO_CONTENT),
            ("GET", _, "pushNotificationConfigs") => Answer::json(&json!({"configs": [config(id)]})),
            (_, _, below) if below.starts_with("pushNotificationConfigs") => Answer::json(&config(id)),
            _ if id == "gone" => Answer::json(&status_of(404, "TASK_NOT_FOUND")).with_status(StatusCode::NOT_FOUND),
            _ => Answer::json(&task(id)),
        }
    });
}

fn status_of(code: u16, reason: &str) -> Value {
    json!({"error": {"code": code, "status": "NOT_FOUND", "message": "no",
        "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "a2a-protocol.org"}]}})
}

fn of(world: &World, subject: &str, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let token = world.token(subject, Duration::from_secs(600));
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a value"));
    request
}

/// What came of one request.
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
}

/// Asks by a path below the route; nothing as a body is none.
async fn ask(world: &World, subject: &str, (method, path): (&str, &str), body: Value) -> Came {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let request = of(world, subject, world.request(method, &format!("{ROUTE}{path}"), &body));
    let (status, headers, body) = world.call(request).await;
    Came { status, headers, body }
}

fn message(skill: &str, more: &Value) -> Value {
    let mut message = json!({"messageId": "m", "metadata": {"skill": skill}, "parts": []});
    for (key, value) in more.as_object().expect("an object") {
        message[key] = value.clone();
    }
    json!({"message": message})
}

/// Where the agent was last asked, and what.
fn last(world: &World) -> (String, Value) {
    let received = world.upstream.received();
    let last = received.last().expect("a request");
    (format!("{} {}", last.method, last.uri), last.json())
}

#[tokio::test]
async fn a_task_is_its_makers_by_whatever_path_it_is_asked_for() {
    for version in ["", "/v1"] {
        let world = world("").await;
        serve(&world);
        let at = |path: &str| format!("{version}{path}");
        let came = ask(&world, "caller", ("POST", &at("/message:send")), message("pay", &json!({}))).await;
        assert_eq!((came.status, came.code()), (StatusCode::OK, None), "{:?}", came.body);
        let task = came.json()["task"].clone();
        let (id, context) = (task["id"].as_str().expect("an id"), task["contextId"].as_str().expect("an id"));
        assert!(id != "1" && context != "ctx", "{task}");
        assert_eq!(
            (&task["status"]["message"]["taskId"], &task["status"]["message"]["contextId"]),
            (&json!(id), &json!(context))
        );
        assert_eq!(last(&world).0, format!("POST /rest{}", at("/message:send")));
        let records = world.records(&call_id(&came.headers), 2).await;
        assert_eq!(
            (&records[0]["method"], &records[0]["resource"]),
            (&json!("SendMessage"), &json!("Skill/t/callee/pay"))
        );
        assert_eq!((&records[1]["task"], &records[1]["result"]), (&json!("1"), &json!("ok")));
        // It goes on in its context, and about the task.
        let more = json!({"contextId": context, "taskId": id, "referenceTaskIds": [id]});
        let came = ask(&world, "caller", ("POST", &at("/message:send/")), message("pay", &more)).await;
        assert_eq!(came.code(), None);
        let said = last(&world).1["message"].clone();
        assert_eq!(
            (&said["contextId"], &said["taskId"], &said["referenceTaskIds"]),
            (&json!("ctx"), &json!("1"), &json!(["1"]))
        );
        for (method, path, sent) in [
            ("GET", format!("/tasks/{id}?historyLength=1"), "GET /rest/tasks/1?historyLength=1"),
            ("POST", format!("/tasks/{id}:cancel"), "POST /rest/tasks/1:cancel"),
        ] {
            let came = ask(&world, "caller", (method, &at(&path)), json!(null)).await;
            assert_eq!((came.code(), &came.json()["id"]), (None, &json!(id)), "{path}");
            assert_eq!(last(&world).0, sent.replace("/rest", &format!("/rest{version}")));
            let records = world.records(&call_id(&came.headers), 2).await;
            assert_eq!(
                (&records[0]["resource"], &records[0]["task"]),
                (&json!("Skill/t/callee/pay"), &json!("1"))
            );
        }
        let before = world.upstream.received().len();
        for (method, path, body) in [
            ("GET", format!("/tasks/{id}"), json!(null)),
            ("GET", "/tasks/1".to_owned(), json!(null)),
            ("POST", format!("/tasks/{id}:cancel"), json!({})),
            ("POST", format!("/tasks/{id}:subscribe"), json!({})),
            ("GET", format!("/tasks/{id}:subscribe"), json!(null)),
            ("POST", "/message:send".to_owned(), message("read", &json!({"taskId": id}))),
        ] {
            let came = ask(&world, "stranger", (method, &at(&path)), body).await;
            assert_eq!((came.status, came.code()), (StatusCode::NOT_FOUND, Some("task_foreign")), "{path}");
            let error = &came.json()["error"];
            assert_eq!((&error["code"], &error["status"]), (&json!(404), &json!("NOT_FOUND")));
            assert_eq!(error["details"][0]["reason"], "TASK_NOT_FOUND", "as the protocol has it: {error}");
        }
        assert_eq!(world.upstream.received().len(), before, "nothing of it reached the agent");
    }
}

#[tokio::test]
async fn lists_configurations_and_streams_are_sealed_as_those_of_json_rpc() {
    let world = world("").await;
    serve(&world);
    let id = async |subject: &str, skill: &str| {
        let came = ask(&world, subject, ("POST", "/message:send"), message(skill, &json!({}))).await;
        came.json()["task"]["id"].as_str().expect("an id").to_owned()
    };
    let own = id("caller", "pay").await;
    id("stranger", "read").await;
    let came = ask(&world, "caller", ("GET", "/tasks?pageSize=5"), json!(null)).await;
    let list = came.json();
    let listed: Vec<&Value> =
        list["tasks"].as_array().expect("a list").iter().map(|task| &task["id"]).collect();
    assert_eq!((listed, &list["totalSize"]), (vec![&json!(own)], &json!(1)), "{list}");
    let page = list["nextPageToken"].as_str().expect("a token").to_owned();
    let came = ask(&world, "caller", ("GET", &format!("/tasks?pageToken={page}")), json!(null)).await;
    assert_eq!((came.code(), last(&world).0), (None, "GET /rest/tasks?pageToken=after-2".to_owned()));
    let came = ask(&world, "stranger", ("GET", &format!("/tasks?pageToken={page}")), json!(null)).await;
    assert_eq!(came.code(), Some("task_foreign"));

    let configs = format!("/tasks/{own}/pushNotificationConfigs");
    let config = json!({"taskId": own, "id": own, "url": "https://h/"});
    let came = ask(&world, "caller", ("POST", &configs), json!({"taskId": own, "url": "https://h/"})).await;
    assert_eq!((came.code(), came.json()), (None, config.clone()));
    let sent = last(&world).1;
    assert_eq!(sent.as_object().map(serde_json::Map::len), Some(1), "the path says of which task: {sent}");
    assert!(sent["url"].as_str().is_some_and(|url| url.starts_with("http://gateway.example/push/t/callee/")));
    assert_eq!(world.records(&call_id(&came.headers), 2).await[0]["push_url"], "https://h/");
    let came = ask(&world, "caller", ("GET", &configs), json!(null)).await;
    assert_eq!((came.code(), came.json()), (None, json!({"configs": [config]})));
    let came = ask(&world, "caller", ("DELETE", &format!("{configs}/{own}")), json!(null)).await;
    assert_eq!((came.status, came.code(), came.body.len()), (StatusCode::NO_CONTENT, None, 0));
    assert_eq!(last(&world).0, "DELETE /rest/tasks/1/pushNotificationConfigs/1");
    assert_eq!(world.records(&call_id(&came.headers), 2).await[1]["result"], "ok");

    for path in ["/message:stream".to_owned(), format!("/tasks/{own}:subscribe")] {
        let body = if path == "/message:stream" { message("pay", &json!({})) } else { json!({}) };
        let came = ask(&world, "caller", ("POST", &path), body).await;
        let text = String::from_utf8(came.body.to_vec()).expect("UTF-8");
        let events: Vec<Value> = text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| json_of(data.as_bytes()))
            .collect();
        assert_eq!(events.len(), 2, "{text}");
        assert_eq!(
            (&events[0]["task"]["id"], &events[1]["statusUpdate"]["taskId"]),
            (&json!(own), &json!(own)),
            "{text}"
        );
        assert!(!text.contains("ctx") && !text.contains("id: e-1") && text.contains(": ping"), "{text}");
        assert_eq!(world.records(&call_id(&came.headers), 2).await[1]["result"], "ok", "{path}");
    }
}

#[tokio::test]
async fn what_is_said_in_another_place_is_refused_and_reaches_nobody() {
    let world = world("").await;
    serve(&world);
    let came = ask(&world, "caller", ("POST", "/message:send"), message("pay", &json!({}))).await;
    let own = came.json()["task"]["id"].as_str().expect("an id").to_owned();
    let before = world.upstream.received().len();
    for (method, path, body, code) in [
        ("POST", format!("/tasks/{own}:cancel"), json!({"id": "2"}), "message_invalid"),
        ("POST", format!("/tasks/{own}:cancel"), json!({"taskId": "2"}), "message_invalid"),
        ("GET", format!("/tasks/{own}?id=2"), json!(null), "message_invalid"),
        ("GET", format!("/tasks/{own}?tenant=other"), json!(null), "message_invalid"),
        ("GET", format!("/other/tasks/{own}"), json!(null), "member_undecided"),
        ("POST", "/other/message:send".to_owned(), message("pay", &json!({})), "member_undecided"),
        ("GET", format!("/tasks/%2e%2e%2ftasks%2f{own}"), json!(null), "route_unknown"),
        ("GET", format!("/tasks/{own}/pushNotificationConfigs/..%2f..%2f2"), json!(null), "route_unknown"),
        ("GET", format!("/tasks/{own}/../2"), json!(null), "route_unknown"),
        ("GET", format!("/tasks//{own}"), json!(null), "route_unknown"),
        ("GET", format!("/tasks/{own}"), json!({"id": "2"}), "message_invalid"),
        ("PUT", format!("/tasks/{own}"), json!({}), "method_not_allowed"),
        ("POST", "/message:send".to_owned(), json!([]), "message_invalid"),
        ("POST", "/message:send".to_owned(), json!({"message": {"task_id": "2"}}), "task_foreign"),
        ("POST", "/message:send".to_owned(), json!({"message": {"task_Id": "2"}}), "message_invalid"),
        (
            "POST",
            "/message:send".to_owned(),
            json!({"request": {"task_id": "2"}, "message": {}}),
            "no_permit",
        ),
    ] {
        let came = ask(&world, "caller", (method, &path), body).await;
        assert_eq!(came.code(), Some(code), "{method} {path}");
        let said = came.json();
        assert_eq!(said["vidimus"]["code"], code, "{said}");
        // A path that is no route at all is of no protocol.
        assert!(said["error"].is_string() || said["error"]["code"] == came.status.as_u16(), "{said}");
    }
    assert_eq!(world.upstream.received().len(), before);
    // Where it speaks of a version, it is that of the path.
    for (path, version, code) in [
        ("/message:send", "0.3", Some("header_mismatch")),
        ("/v1/message:send", "1.0", Some("header_mismatch")),
        ("/message:send", "2.0", Some("protocol_version_unsupported")),
        ("/message:send", "1.0", None),
        ("/message:send", "1.0.7", None),
        ("/message:send?A2A-Version=1.0", "", None),
    ] {
        let mut request = world.request(Method::POST, &format!("{ROUTE}{path}"), &message("pay", &json!({})));
        if !version.is_empty() {
            request.headers_mut().insert("a2a-version", version.parse().expect("a value"));
        }
        let (_, headers, _) = world.call(request).await;
        let said = headers.get("vidimus-code").map(|code| code.to_str().expect("text"));
        assert_eq!(said, code, "{path} {version}");
        // An agent that is told none takes it for 0.3.
        let last = world.upstream.received().last().expect("a request").clone();
        let told = last.header("a2a-version").map(str::to_owned);
        assert!(code.is_some() || told.is_some_and(|told| told.starts_with("1.0")), "{path} {version}");
    }
}

#[tokio::test]
async fn the_agents_errors_pass_and_what_is_no_error_of_the_protocol_does_not() {
    let world = world("").await;
    serve(&world);
    let came = ask(&world, "caller", ("POST", "/message:send"), message("pay", &json!({}))).await;
    let own = came.json()["task"]["id"].as_str().expect("an id").to_owned();
    let path = format!("/tasks/{own}");
    world.upstream.next(Answer::json(&status_of(404, "TASK_NOT_FOUND")).with_status(StatusCode::NOT_FOUND));
    let came = ask(&world, "caller", ("GET", &path), json!(null)).await;
    assert_eq!(
        (came.status, came.code(), came.json()),
        (StatusCode::NOT_FOUND, None, status_of(404, "TASK_NOT_FOUND"))
    );
    assert_eq!(world.records(&call_id(&came.headers), 2).await[1]["result"], "error");
    for answer in [
        Answer::whole("text/html", "<html>".to_owned()).with_status(StatusCode::BAD_GATEWAY),
        Answer::whole("text/html", "<html>".to_owned()),
        Answer::whole("application/json", r#"{"id":"1"},"x":{}"#.to_owned()),
        Answer::whole("application/json", r#"{"id":"1"}}"#.to_owned()),
        Answer::whole("application/json", String::new()),
        Answer::json(&json!({"id": "1"})).with_status(StatusCode::NOT_FOUND),
    ] {
        world.upstream.next(answer);
        let came = ask(&world, "caller", ("GET", &path), json!(null)).await;
        assert_eq!(came.code(), Some("upstream_invalid"), "{:?}", came.body);
        assert_eq!(came.json()["error"]["details"][0]["reason"], "UPSTREAM_INVALID");
    }
    // Attack: an agent that frames its answer, so that ids stand where nobody looks for them.
    let task = json!({"id": "raw-task", "contextId": "raw-context"});
    for framed in [
        json!({"jsonrpc": "2.0", "id": 1, "result": task}),
        json!({"result": {"tasks": [task]}}),
        json!({"Result": {"task": task}}),
        json!([{"result": task}]),
    ] {
        for (method, path) in [("GET", &*path), ("GET", "/tasks"), ("POST", "/message:send")] {
            world.upstream.next(Answer::json(&framed));
            let body = if method == "POST" { message("pay", &json!({})) } else { json!(null) };
            let came = ask(&world, "caller", (method, path), body).await;
            assert_eq!(came.code(), Some("upstream_invalid"), "{path} {framed}: {:?}", came.body);
            assert!(!String::from_utf8_lossy(&came.body).contains("raw-"), "{path} {framed}");
        }
        world.upstream.next(Answer::whole("text/event-stream", format!("data: {framed}\n\n")));
        let came = ask(&world, "caller", ("POST", "/message:stream"), message("pay", &json!({}))).await;
        assert!(!String::from_utf8_lossy(&came.body).contains("raw-"), "{framed}: {:?}", came.body);
    }
    let came = ask(&world, "caller", ("GET", "/extendedAgentCard"), json!(null)).await;
    let card = came.json();
    let interfaces =
        json!([{"url": format!("http://gateway.example{ROUTE}"), "protocolBinding": "HTTP+JSON"}]);
    assert_eq!(card["supportedInterfaces"], interfaces, "{card}");
    let protected = |card: &Value| card["signatures"][0]["protected"].as_str().map(str::len);
    assert!(protected(&card).is_some_and(|length| length > 0), "it is the gateway's own: {card}");
    assert_eq!(last(&world).0, "GET /rest/extendedAgentCard", "it is asked for where the agent serves it");
}

#[tokio::test]
async fn what_1_0_says_to_an_agent_of_0_3_alone_is_not_translated_here_and_only_who_may_call_it_learns_so() {
    let world = World::new().await;
    let mut given = objects(&world.upstream);
    let at = world.upstream.url("/");
    given[2]["spec"]["endpoint"] = json!({"url": at, "rest": at, "restAlone": true, "a2a": "0.3"});
    given[5]["spec"]["cedar"] = json!(CEDAR);
    world.gate.take_into_use(snapshot(&given));
    for (skill, code) in [("pay", "binding_unserved"), ("read", "no_permit")] {
        let came = ask(&world, "caller", ("POST", "/message:send"), message(skill, &json!({}))).await;
        assert_eq!(came.code(), Some(code), "{skill}");
        assert_eq!(
            came.json()["vidimus"]["next"].as_str().is_some_and(|next| next.contains("spec.endpoint.rest")),
            skill == "pay"
        );
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn news_go_to_no_address_that_an_upstream_may_not_have() {
    let world = world("").await;
    serve(&world);
    for (url, code) in [
        ("https://hooks.example/a", None),
        ("http://169.254.169.254/latest", Some("upstream_refused_address")),
        ("http://metadata.google.internal/", Some("upstream_refused_address")),
        ("http://[fe80::1]/", Some("upstream_refused_address")),
        ("https://user:secret@hooks.example/", Some("upstream_refused_address")),
        ("gopher://hooks.example/", Some("upstream_refused_address")),
    ] {
        let mut body = message("pay", &json!({}));
        body["configuration"] = json!({"taskPushNotificationConfig": {"url": url}});
        let came = ask(&world, "caller", ("POST", "/message:send"), body.clone()).await;
        assert_eq!(came.code(), code, "{url}");
        let rpc = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": body});
        let (_, headers, _) = world.call(world.request(Method::POST, ROUTE, &rpc)).await;
        assert_eq!(
            headers.get("vidimus-code").map(|code| code.to_str().expect("text")).filter(|_| code.is_some()),
            code,
            "{url}"
        );
    }
}

const HOLD: &str = r#"
    permit (principal == Agent::"t/caller", action == Action::"callAgent", resource == Agent::"t/callee");
    @approval("payers") forbid (principal, action == Action::"callAgent", resource)
    unless { context has approval && context.approval.role == "payers" };
"#;

#[tokio::test]
async fn a_held_message_is_the_same_call_in_both_bindings() {
    for (version, old) in [("", false), ("/v1", true)] {
        let world = world(HOLD).await;
        serve(&world);
        let at = |path: &str| format!("{version}{path}");
        let pay = |more: Value| {
            let mut said = json!({"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "pay"}]});
            for (key, value) in more.as_object().expect("an object") {
                said[key] = value.clone();
            }
            json!({"message": said})
        };
        let send = async |more: Value| ask(&world, "caller", ("POST", &at("/message:send")), pay(more)).await;
        let came = send(json!({})).await;
        assert_eq!((came.status, came.code()), (StatusCode::OK, Some("approval_required")));
        let task = came.json()["task"].clone();
        assert_eq!(task["status"]["state"], "TASK_STATE_AUTH_REQUIRED", "{task}");
        let parts = if old { "content" } else { "parts" };
        assert!(task["status"]["message"][parts][0]["text"].is_string(), "{task}");
        let approval = task["metadata"]["vidimus"]["approval"].as_str().expect("an approval").to_owned();
        // JSON-RPC asks for the same.
        let method = if old { "message/send" } else { "SendMessage" };
        let rpc = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": pay(json!({}))});
        world.call(world.request(Method::POST, ROUTE, &rpc)).await;
        assert_eq!(world.gate.acts.standing().approvals.all().count(), 1);

        let id = task["id"].as_str().expect("an id");
        let path = at(&format!("/tasks/{id}"));
        let state = async || {
            let came = ask(&world, "caller", ("GET", &path), json!(null)).await;
            came.json()["status"]["state"].clone()
        };
        assert_eq!(state().await, "TASK_STATE_AUTH_REQUIRED");
        let came = ask(&world, "caller", ("POST", &format!("{path}:cancel")), json!({})).await;
        assert_eq!(came.code(), Some("task_foreign"), "it can be asked for only");
        let came = ask(&world, "stranger", ("GET", &path), json!(null)).await;
        assert_eq!(came.code(), Some("task_foreign"));
        assert!(world.upstream.received().is_empty());
        world.gate.shared.act(BOB, yes(&approval, None), "looked at").await.expect("approved");
        assert_eq!(state().await, "TASK_STATE_INPUT_REQUIRED");
        let came = send(json!({"taskId": id})).await;
        assert_eq!((came.status, came.code()), (StatusCode::OK, None), "{:?}", came.body);
        assert_eq!(
            last(&world).1["message"].get("taskId"),
            None,
            "the agent knows nothing of the gateway's task"
        );
        // As a stream, too.
        let came = ask(
            &world,
            "caller",
            ("POST", &at("/message:stream")),
            pay(json!({"parts": [{"text": "more"}]})),
        )
        .await;
        assert_eq!(&came.headers["content-type"], "text/event-stream");
        let text = std::str::from_utf8(&came.body).expect("text");
        let event = json_of(text.trim().strip_prefix("data: ").expect("an event").as_bytes());
        assert_eq!(event["task"]["status"]["state"], "TASK_STATE_AUTH_REQUIRED", "{event}");
    }
}
