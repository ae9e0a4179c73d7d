//! A2A where caller and agent speak different versions: what is said in the one is said in the other; the call, its decision and its record are the
//! same. (Different bindings: `bindings.rs`, `grpc.rs`.)

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use vidimus_testkit::upstream::{Answer, Received, Upstream};

use super::bindings::world;
use super::grpc::{self, GrpcAgent, Scripted};
use super::world::{World, call_id, json_of};

const ROUTE: &str = "/a2a/t/callee";

/// Its agent speaks JSON-RPC of this version alone.
async fn of_version(version: &str) -> World {
    world(|world| json!({"url": world.upstream.url("/a2a"), "a2a": version, "timeout": "3s"})).await
}

async fn ask(world: &World, (method, path): (Method, &str), body: &Value) -> (StatusCode, HeaderMap, Bytes) {
    world.call(world.request(method, &format!("{ROUTE}{path}"), body)).await
}

/// What is answered to a message over JSON-RPC, and the code where it is refused.
async fn rpc(world: &World, method: &str, params: &Value) -> (Value, Option<String>, HeaderMap) {
    let said = json!({"jsonrpc": "2.0", "id": "own", "method": method, "params": params});
    let (status, headers, body) = ask(world, (Method::POST, ""), &said).await;
    assert_eq!(status, StatusCode::OK, "{body:?}");
    let code = headers.get("vidimus-code").map(|code| code.to_str().expect("text").to_owned());
    (json_of(&body), code, headers)
}

fn last(world: &World) -> Received {
    world.upstream.received().last().expect("a request").clone()
}

fn response(result: &Value) -> Answer {
    Answer::json(&json!({"jsonrpc": "2.0", "id": "own", "result": result}))
}

fn new_send() -> Value {
    json!({"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "x"}]}})
}

fn old_send() -> Value {
    json!({"message": {"kind": "message", "messageId": "m", "role": "user", "parts": [{"kind": "text", "text": "x"}]}})
}

fn new_task() -> Value {
    json!({"id": "1", "contextId": "ctx", "status": {"state": "TASK_STATE_WORKING"}})
}

fn old_task() -> Value {
    json!({"kind": "task", "id": "1", "contextId": "ctx", "status": {"state": "working"}})
}

#[tokio::test]
async fn a_caller_of_0_3_reaches_an_agent_of_1_0() {
    let world = of_version("1.0").await;
    world.upstream.next(response(&json!({"task": new_task()})));
    let (said, code, headers) = rpc(&world, "message/send", &old_send()).await;
    assert_eq!((code, &said["id"]), (None, &json!("own")), "{said}");
    let made = said["result"].clone();
    assert_eq!((&made["kind"], &made["status"]["state"]), (&json!("task"), &json!("working")), "{made}");
    let id = made["id"].as_str().expect("an id").to_owned();
    assert!(id != "1" && made["contextId"] != "ctx", "its ids are the caller's alone: {made}");
    let sent = last(&world);
    assert_eq!((&sent.json()["method"], &sent.json()["params"]), (&json!("SendMessage"), &new_send()));
    assert_eq!((sent.uri.path(), sent.header("a2a-version")), ("/a2a", Some("1.0")));
    let records = world.records(&call_id(&headers), 2).await;
    assert_eq!(
        (&records[0]["method"], &records[0]["resource"]),
        (&json!("SendMessage"), &json!("Agent/t/callee"))
    );
    assert_eq!((&records[1]["task"], &records[1]["result"]), (&json!("1"), &json!("ok")));

    for (method, params, asks, asked) in [
        (
            "tasks/get",
            json!({"id": id, "historyLength": 2}),
            "GetTask",
            json!({"id": "1", "historyLength": 2}),
        ),
        ("tasks/cancel", json!({"id": id}), "CancelTask", json!({"id": "1"})),
    ] {
        world.upstream.next(response(&new_task()));
        let (said, code, _) = rpc(&world, method, &params).await;
        assert_eq!(
            (code, &said["result"]["id"], &said["result"]["kind"]),
            (None, &json!(id), &json!("task"))
        );
        assert_eq!((&last(&world).json()["method"], &last(&world).json()["params"]), (&json!(asks), &asked));
    }
    // An error has what 0.3 reads.
    let details = json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "TASK_NOT_FOUND", "domain": "a2a-protocol.org", "metadata": {}}]);
    world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": "own", "error": {"code": -32001, "message": "gone", "data": details}})));
    let (said, code, headers) = rpc(&world, "tasks/get", &json!({"id": id})).await;
    assert_eq!(
        (code, &said["error"]["code"], &said["error"]["data"]["details"]),
        (None, &json!(-32001), &details)
    );
    assert_eq!(world.records(&call_id(&headers), 2).await[1]["result"], "error");
    // What is none of its version does not pass.
    for answer in [
        response(&old_task()),
        response(&json!({"id": "1", "status": {"state": "OTHER"}})),
        Answer::whole("text/html", "<html>"),
    ] {
        world.upstream.next(answer);
        let (_, code, _) = rpc(&world, "message/send", &old_send()).await;
        assert_eq!(code.as_deref(), Some("upstream_invalid"));
    }
}

/// Attack: what 1.0 would read, in a message that was decided as one of 0.3.
#[tokio::test]
async fn what_is_not_of_the_callers_version_is_not_sent() {
    let world = of_version("1.0").await;
    let before = world.upstream.received().len();
    let mut hidden = old_send();
    hidden["message"]["parts"] = json!([{"kind": "text", "text": "x", "url": "https://h/"}]);
    for (method, params, expected) in [
        ("message/send", hidden, "message_invalid"),
        ("message/send", new_send(), "message_invalid"),
        ("tasks/list", json!({}), "no_equivalent"),
    ] {
        let (said, code, _) = rpc(&world, method, &params).await;
        assert_eq!(code.as_deref(), Some(expected), "{method} {said}");
    }
    // Who may not call learns nothing of what the agent speaks.
    let mut forbidden = old_send();
    forbidden["message"]["metadata"] = json!({"skill": "forbidden"});
    let (_, code, _) = rpc(&world, "message/send", &forbidden).await;
    assert_eq!(code.as_deref(), Some("forbidden_by_policy"));
    assert_eq!(world.upstream.received().len(), before);
}

/// Attack: extensions by the other version's name that policies, guards and who keeps the caller's credential from agents did not see.
#[tokio::test]
async fn extensions_are_named_anew_of_the_headers_that_go_on() {
    let said = json!({"jsonrpc": "2.0", "id": "own", "method": "message/send", "params": old_send()});
    let world = of_version("1.0").await;
    let token = world.token("caller", std::time::Duration::from_secs(600));
    for (given, expected) in [
        (
            vec![("x-a2a-extensions", "urn:a, urn:b"), ("x-a2a-extensions", "urn:c")],
            vec!["urn:a, urn:b", "urn:c"],
        ),
        // Its caller keeps it to this hop.
        (vec![("x-a2a-extensions", "urn:a"), ("connection", "x-a2a-extensions")], vec![]),
        (vec![("x-a2a-extensions", &*token)], vec![]),
        // Its version has no such header.
        (vec![("a2a-extensions", "urn:a")], vec![]),
    ] {
        let mut request = world.request(Method::POST, ROUTE, &said);
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a value"));
        for (name, value) in &given {
            request.headers_mut().append(*name, value.parse().expect("a value"));
        }
        let answer = response(&json!({"task": new_task()}));
        let answer = answer.with_header("a2a-extensions", "urn:a");
        world.upstream.next(answer);
        let (status, headers, body) = world.call(request).await;
        assert_eq!(status, StatusCode::OK, "{body:?}");
        let lines = |headers: &HeaderMap, name: &str| {
            let all = headers.get_all(name).iter();
            all.map(|line| line.to_str().expect("text").to_owned()).collect::<Vec<_>>()
        };
        let sent = last(&world).headers;
        assert_eq!(lines(&sent, "a2a-extensions"), expected, "{given:?}");
        assert_eq!(lines(&sent, "x-a2a-extensions"), Vec::<String>::new(), "{given:?}");
        assert_eq!(lines(&headers, "x-a2a-extensions"), ["urn:a"]);
    }
}

#[tokio::test]
async fn a_caller_of_1_0_reaches_an_agent_of_0_3_in_each_binding() {
    let world = of_version("0.3").await;
    world.upstream.next(response(&old_task()));
    let (said, code, headers) = rpc(&world, "SendMessage", &new_send()).await;
    assert_eq!(
        (code, &said["result"]["task"]["status"]["state"]),
        (None, &json!("TASK_STATE_WORKING")),
        "{said}"
    );
    assert_eq!(
        (&last(&world).json()["method"], &last(&world).json()["params"]),
        (&json!("message/send"), &old_send())
    );
    assert_eq!(last(&world).header("a2a-version"), Some("0.3"));
    assert_eq!(world.records(&call_id(&headers), 2).await[0]["method"], "SendMessage");

    world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": 1, "result": old_task()})));
    let (status, _, body) = ask(&world, (Method::POST, "/message:send"), &new_send()).await;
    let made = json_of(&body)["task"].clone();
    assert_eq!((status, &made["status"]["state"]), (StatusCode::OK, &json!("TASK_STATE_WORKING")), "{made}");
    assert_eq!(
        (&last(&world).json()["method"], &last(&world).json()["params"]),
        (&json!("message/send"), &old_send())
    );

    world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": 1, "result": old_task()})));
    let came = grpc::ask(&world, "caller", "SendMessage", &new_send()).await;
    assert_eq!((came.status(), came.messages.len()), (0, 1), "{came:?}");
    assert_eq!(last(&world).json()["params"], old_send());

    let (_, code, _) = rpc(&world, "ListTasks", &json!({})).await;
    assert_eq!(code.as_deref(), Some("no_equivalent"));
}

#[tokio::test]
async fn events_are_in_the_words_of_their_callers_version() {
    let world = of_version("1.0").await;
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let said = json!({"jsonrpc": "2.0", "id": "own", "method": "message/stream", "params": old_send()});
    let (parts, mut body) = world.send(world.request(Method::POST, ROUTE, &said)).await.into_parts();
    assert_eq!(parts.status, StatusCode::OK);
    assert_eq!(parts.headers["content-type"], "text/event-stream");
    let event = |result: Value| {
        format!("id: 1\ndata: {}\n\n", json!({"jsonrpc": "2.0", "id": "own", "result": result}))
    };
    let mut next = async || {
        let frame = body.frame().await.expect("a frame").expect("no fault").into_data().expect("data");
        let text = String::from_utf8(frame.to_vec()).expect("UTF-8");
        let data = text.lines().find_map(|line| line.strip_prefix("data: ")).expect("an event").to_owned();
        json_of(data.as_bytes())["result"].clone()
    };
    stream.send(event(json!({"task": new_task()}))).await;
    let first = next().await;
    assert_eq!((&first["kind"], first["id"] != "1"), (&json!("task"), true), "{first}");
    let artifact = json!({"artifactId": "a", "parts": [{"url": "https://h/"}]});
    stream
        .send(event(json!({"artifactUpdate": {"taskId": "1", "contextId": "ctx", "artifact": artifact}})))
        .await;
    let second = next().await;
    assert_eq!((&second["kind"], &second["taskId"]), (&json!("artifact-update"), &first["id"]), "{second}");
    assert_eq!(second["artifact"]["parts"], json!([{"kind": "file", "file": {"uri": "https://h/"}}]));
    stream.send(event(json!({"statusUpdate": {"taskId": "1", "contextId": "ctx", "status": {"state": "TASK_STATE_COMPLETED"}}}))).await;
    let third = next().await;
    assert_eq!(
        (&third["kind"], &third["final"], &third["status"]["state"]),
        (&json!("status-update"), &json!(true), &json!("completed"))
    );
}

#[tokio::test]
async fn a_version_is_translated_beside_a_binding() {
    // HTTP+JSON of 0.3, which is its schema's JSON, to JSON-RPC of 1.0.
    let rpc_alone = of_version("1.0").await;
    let send = json!({"request": {"message_id": "m", "role": "ROLE_USER", "content": [{"text": "x"}]}});
    rpc_alone
        .upstream
        .next(Answer::json(&json!({"jsonrpc": "2.0", "id": 1, "result": {"task": new_task()}})));
    let (status, _, body) = ask(&rpc_alone, (Method::POST, "/v1/message:send"), &send).await;
    assert_eq!(
        (status, &json_of(&body)["task"]["status"]["state"]),
        (StatusCode::OK, &json!("TASK_STATE_WORKING")),
        "{body:?}"
    );
    let sent = last(&rpc_alone).json();
    assert_eq!((&sent["method"], &sent["params"]), (&json!("SendMessage"), &new_send()));

    // JSON-RPC of 0.3 to HTTP+JSON of 1.0 alone.
    let rest = world(|world| {
        let url = world.upstream.url("/rest");
        json!({"url": url, "rest": url, "restAlone": true, "timeout": "3s"})
    })
    .await;
    rest.upstream.next(Answer::json(&json!({"task": new_task()})));
    let (said, code, _) = rpc(&rest, "message/send", &old_send()).await;
    assert_eq!((code, &said["result"]["kind"]), (None, &json!("task")), "{said}");
    assert_eq!((last(&rest).uri.path(), last(&rest).json()), ("/rest/message:send", new_send()));

    // The same to gRPC alone.
    let agent = GrpcAgent::start().await;
    let of_grpc = world(|_| {
        let address = agent.address;
        json!({"url": format!("http://{address}/"), "grpc": format!("http://{address}"), "timeout": "3s"})
    })
    .await;
    agent.answers(Scripted::of("SendMessage", &[json!({"task": new_task()})], "0"));
    let (said, code, _) = rpc(&of_grpc, "message/send", &old_send()).await;
    assert_eq!((code, &said["result"]["status"]["state"]), (None, &json!("working")), "{said}");
    assert_eq!(agent.last("SendMessage").2, new_send());
}

#[tokio::test]
async fn a_card_is_read_by_both_versions() {
    let path = "/.well-known/agent-card.json";
    for (version, given) in [
        (
            "1.0",
            json!({"name": "b", "capabilities": {"extendedAgentCard": true},
            "supportedInterfaces": [{"url": "http://b:1/", "protocolBinding": "JSONRPC", "protocolVersion": "1.0", "tenant": "theirs"}]}),
        ),
        (
            "0.3",
            json!({"name": "b", "protocolVersion": "0.3.0", "url": "http://b:1/", "supportsAuthenticatedExtendedCard": true, "capabilities": {}}),
        ),
    ] {
        let world = of_version(version).await;
        world.upstream.next(Answer::json(&given));
        let (_, _, body) = ask(&world, (Method::GET, path), &Value::Null).await;
        let card = json_of(&body);
        let url = "http://gateway.example/a2a/t/callee";
        assert_eq!(
            (&card["url"], &card["preferredTransport"], &card["protocolVersion"]),
            (&json!(url), &json!("JSONRPC"), &json!("0.3.0"))
        );
        assert_eq!(
            (&card["supportsAuthenticatedExtendedCard"], &card["capabilities"]["extendedAgentCard"]),
            (&json!(true), &json!(true))
        );
        let all = card["supportedInterfaces"].as_array().expect("a list");
        let mut served: Vec<String> = all
            .iter()
            .map(|one| {
                format!(
                    "{} {}",
                    one["protocolBinding"].as_str().expect("text"),
                    one["protocolVersion"].as_str().expect("text")
                )
            })
            .collect();
        assert!(served[0].ends_with(version), "its own is first: {card}");
        served.sort();
        assert_eq!(
            served,
            ["GRPC 1.0", "HTTP+JSON 0.3", "HTTP+JSON 1.0", "JSONRPC 0.3", "JSONRPC 1.0"],
            "{card}"
        );
        assert!(!card.to_string().contains("b:1") && !card.to_string().contains("theirs"), "{card}");
    }
}

/// A caller of 0.3 wants news of a task, and the agent tells them as 1.0 does.
#[tokio::test]
async fn news_come_in_the_version_of_who_asked_for_them() {
    let (world, hook) = (of_version("1.0").await, Upstream::start());
    let url = hook.url("/news");
    let mut send = old_send();
    send["configuration"] =
        json!({"blocking": false, "pushNotificationConfig": {"url": url, "token": "mine"}});
    world.upstream.next(response(&json!({"task": new_task()})));
    let (said, code, _) = rpc(&world, "message/send", &send).await;
    assert_eq!(code, None, "{said}");
    let sent = last(&world).json()["params"]["configuration"].clone();
    let config = sent["taskPushNotificationConfig"].clone();
    assert_eq!((&sent["returnImmediately"], config.get("token")), (&json!(true), None), "{sent}");
    let address = config["url"]
        .as_str()
        .expect("an address")
        .strip_prefix("http://gateway.example")
        .expect("the gateway's");
    let news = json!({"statusUpdate": {"taskId": "1", "contextId": "ctx", "status": {"state": "TASK_STATE_COMPLETED"}}});
    let mut request = world.request(Method::POST, address, &news);
    request.headers_mut().remove("authorization");
    let (status, headers, _) = world.call(request).await;
    assert_eq!((status, headers.get("vidimus-code")), (StatusCode::OK, None));
    let told = hook.until_received(1).await[0].clone();
    assert_eq!(
        (told.header("a2a-version"), told.header("x-a2a-notification-token")),
        (Some("0.3"), Some("mine"))
    );
    let told = told.json();
    assert_eq!(
        (&told["kind"], &told["status"]["state"], &told["final"]),
        (&json!("status-update"), &json!("completed"), &json!(true))
    );
    assert_eq!(told["taskId"], said["result"]["id"]);
}
