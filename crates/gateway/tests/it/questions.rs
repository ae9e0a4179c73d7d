//! What a server asks of its client (sampling, elicitation, roots) is decided and recorded before the client has it, whichever way it is asked (ADR 97).

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};
use vidimus_testkit::upstream::{Answer, Received};

use super::eras::{self, code, modern_tool, request, sessions};
use super::world::{World, call_id, objects, snapshot};

const SAMPLING: &str = "sampling/createMessage";
const ELICITATION: &str = "elicitation/create";
const ANSWER: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;

/// Forbids that the server asks by this method.
fn forbids(method: &str) -> String {
    format!(
        r#"forbid (principal, action == Action::"connectServer", resource == MCPServer::"t/tools")
        when {{ context.method == "{method}" }};"#
    )
}

/// The world's objects with one more policy, `t/asks`, and a server of one era where it is said which.
fn take(world: &World, cedar: &str, mcp: Option<&str>) {
    let mut all = objects(&world.upstream);
    for server in all.iter_mut().filter(|object| object["kind"] == "MCPServer") {
        if let Some(mcp) = mcp {
            server["spec"]["endpoint"]["mcp"] = json!(mcp);
        }
    }
    if !cedar.is_empty() {
        all.push(json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy", "metadata": {"namespace": "t", "name": "asks"},
            "spec": {"description": "asks", "cedar": cedar}}));
    }
    world.gate.take_into_use(snapshot(&all));
}

async fn with(cedar: &str, mcp: Option<&str>) -> World {
    let world = World::new().await;
    take(&world, cedar, mcp);
    world
}

/// A question of the server's, written as servers do.
fn asks(id: &Value, method: &str) -> String {
    format!(r#"{{"jsonrpc": "2.0",  "id": {id}, "method": "{method}", "params": {{"message": "Who?"}}}}"#)
}

fn event(data: &str) -> String {
    format!("event: message\ndata: {data}\n\n")
}

/// The decisions about what was asked in a call, once there are `count`.
async fn decided(world: &World, call: &str, count: usize) -> Vec<Value> {
    for _ in 0..1000 {
        let all = world.all_records();
        let asked: Vec<Value> =
            all.into_iter().filter(|record| record["on_account_of"] == json!(call)).collect();
        if asked.len() >= count {
            assert_eq!(asked.len(), count, "{asked:?}");
            return asked;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("nothing was decided in the call");
}

/// Begins a session of the server's, and gives its id.
async fn begun(world: &World) -> String {
    world.upstream.otherwise(sessions);
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
        "capabilities": {"sampling": {}, "elicitation": {}}, "clientInfo": {"name": "c", "version": "1"}}});
    let (_, headers, said) = eras::call(world, None, &hello).await;
    headers.get("mcp-session-id").unwrap_or_else(|| panic!("{said}")).to_str().expect("text").to_owned()
}

fn echo(id: u8) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "echo", "arguments": {}}})
}

/// What a call within a session is answered, as it came.
async fn called(world: &World, session: &str) -> (HeaderMap, String) {
    let (_, headers, body) = world.call(request(world, "caller", Some(session), &echo(1))).await;
    (headers, String::from_utf8(body.to_vec()).expect("UTF-8"))
}

/// What was told to the server that is no call, once there is such a thing.
async fn told(world: &World, is_it: impl Fn(&Received) -> bool) -> Received {
    for _ in 0..2000 {
        if let Some(told) = world.upstream.received().into_iter().find(&is_it) {
            return told;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the server was told nothing: {:?}", world.upstream.received());
}

async fn next(body: &mut Incoming) -> Bytes {
    let frame = tokio::time::timeout(Duration::from_secs(10), body.frame()).await.expect("in time");
    frame.expect("more").expect("a frame").into_data().expect("data")
}

/// Reads until so much has come.
async fn read_until(body: &mut Incoming, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        text.push_str(std::str::from_utf8(&next(body).await).expect("UTF-8"));
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_asks_is_decided_and_recorded_and_passes_byte_for_byte() {
    let world = with("", None).await;
    let session = begun(&world).await;
    let said = [
        event(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#),
        event(&asks(&json!(9), SAMPLING)),
        event(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1,"progressToken":1}}"#),
        event(&asks(&json!("r"), "roots/list")),
        event(ANSWER),
    ]
    .concat();
    world.upstream.next(Answer::whole("text/event-stream", said.clone()));
    let (headers, text) = called(&world, &session).await;
    assert_eq!(text, said);
    let call = call_id(&headers);
    let of_call = world.records(&call, 2).await;
    assert_eq!(of_call[1]["result"], "ok");
    let asked = decided(&world, &call, 2).await;
    for (record, method) in asked.iter().zip([SAMPLING, "roots/list"]) {
        let said = (&record["method"], &record["action"], &record["outcome"]);
        assert_eq!(said, (&json!(method), &json!("connectServer"), &json!("allow")));
        for same in ["principal", "transaction", "user", "source"] {
            assert_eq!(record.get(same), of_call[0].get(same), "{same}");
        }
        let effect = world.records(record["id"].as_str().expect("an id"), 2).await.remove(1);
        assert_eq!((&effect["kind"], &effect["result"]), (&json!("effect"), &json!("ok")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_reaches_no_client_and_the_server_is_told_in_its_session() {
    let world = with(&forbids(SAMPLING), None).await;
    let session = begun(&world).await;
    let (before, after) = (event(&asks(&json!("r"), "roots/list")), event(ANSWER));
    // In whatever letters, as an answer too, and by the id of the call itself.
    for (id, question) in [
        (json!(9), asks(&json!(9), SAMPLING)),
        (json!(9), asks(&json!(9), "sampling\\/createMessage")),
        (json!(9), asks(&json!(9), "\\u0073ampling/createMessage")),
        (json!(9), asks(&json!(9), "Sampling/createmessage")),
        (json!(1), asks(&json!(1), SAMPLING)),
        (json!(1), r#"{"id":1,"result":{"content":[]},"method":"sampling/createMessage"}"#.to_owned()),
        (json!("r"), asks(&json!("r"), SAMPLING)),
    ] {
        let (so_far, said) = (
            world.upstream.received().len(),
            [&before, &event(&question), &after].map(String::as_str).concat(),
        );
        world.upstream.next(Answer::whole("text/event-stream", said));
        let (headers, text) = called(&world, &session).await;
        assert_eq!(text, [&*before, &after].concat(), "{question}");
        let told = world.upstream.until_received(so_far + 2).await.pop().expect("an answer");
        assert_eq!(told.header("mcp-session-id"), Some("up-1"));
        let error = told.json();
        assert_eq!((&error["id"], &error["error"]["code"]), (&id, &json!(-31403)), "{error}");
        assert_eq!(code(&error), "forbidden_by_policy");
        assert_eq!(error["error"]["data"]["policies"], json!(["t/asks"]));
        let call = call_id(&headers);
        let asked = decided(&world, &call, 2).await;
        assert_eq!((&asked[1]["outcome"], &asked[1]["method"]), (&json!("deny"), &json!(SAMPLING)));
        let effect = world.records(&call, 2).await.remove(1);
        assert_eq!(effect["result"], "ok", "{effect}");
        assert!(effect["detail"].as_str().is_some_and(|detail| detail.contains(SAMPLING)), "{effect}");
    }
}

/// A server that has a key of the gateway's is told by that, and gets no token of the gateway's beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_a_key_is_told_by_its_key() {
    let key = std::env::var("CARGO_PKG_NAME").expect("cargo sets it");
    let world = World::new().await;
    let mut all = objects(&world.upstream);
    for server in all.iter_mut().filter(|object| object["kind"] == "MCPServer") {
        server["spec"]["endpoint"]["credential"] = json!({"env": "CARGO_PKG_NAME"});
        server["spec"]["endpoint"]["credentialHeader"] = json!("X-API-Key");
    }
    all.push(json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy", "metadata": {"namespace": "t", "name": "asks"},
        "spec": {"description": "asks", "cedar": forbids(SAMPLING)}}));
    world.gate.take_into_use(snapshot(&all));
    let session = begun(&world).await;
    for method in [Method::POST, Method::GET] {
        let before = world.upstream.received().len();
        let said = [event(&asks(&json!(9), SAMPLING)), event(ANSWER)].concat();
        world.upstream.next(Answer::whole("text/event-stream", said));
        let mut request = request(&world, "caller", Some(&session), &echo(1));
        if method == Method::GET {
            *request.body_mut() = Bytes::new().into();
            *request.method_mut() = method.clone();
        }
        world.call(request).await;
        for received in &world.upstream.until_received(before + 2).await[before..] {
            let sent = (received.header("x-api-key"), received.header("authorization"));
            assert_eq!(sent, (Some(&*key), None), "{method}: {received:?}");
        }
    }
}

/// Attack: a server that asks on and on, and takes none of the answers: each would hold a connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_answer_does_not_ask_on() {
    let world = with(&forbids(SAMPLING), None).await;
    let session = begun(&world).await;
    let before = world.upstream.received().len();
    let all: Vec<String> = (2..100).map(|id| event(&asks(&json!(id), SAMPLING))).collect();
    world.upstream.next(Answer::whole("text/event-stream", [&*all.concat(), &event(ANSWER)].concat()));
    world.upstream.otherwise(|_| Answer::hang());
    let (headers, text) = called(&world, &session).await;
    assert!(!text.contains("createMessage\"") && text.contains("upstream_invalid"), "{text}");
    assert_eq!(world.records(&call_id(&headers), 2).await[1]["code"], "upstream_invalid");
    // The call, the answers that are on their way, and that nobody waits for the call.
    let told = world.upstream.received().len() - before;
    assert!((1..=20).contains(&told), "{told}");
}

/// Attack: questions that some reader finds, and another does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_ask_and_cannot_be_read_ends_the_stream() {
    let world = with("", None).await;
    let session = begun(&world).await;
    for question in [
        r#"{"jsonrpc":"2.0","ID":9,"method":"sampling/createMessage"}"#,
        r#"{"jsonrpc":"2.0","id":9,"Method":"sampling/createMessage"}"#,
        r#"{"jsonrpc":"2.0","id":9,"method":"ping","method":"sampling/createMessage"}"#,
        r#"[{"jsonrpc":"2.0","id":9,"method":"sampling/createMessage"}]"#,
        // Attack: what only some readers take for a message: behind a mark or a comment, or in a line that ends for them.
        "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"sampling/createMessage\"}",
        r#"/**/{"jsonrpc":"2.0","id":9,"method":"sampling/createMessage"}"#,
        "\n: \u{2028}data: {\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"sampling/createMessage\"}\u{2028}\u{2028}",
        "\nevent: \u{b}data: {\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"sampling/createMessage\"}\u{b}\u{b}",
    ] {
        world.upstream.next(Answer::whole("text/event-stream", event(question)));
        let (headers, text) = called(&world, &session).await;
        assert!(!text.contains("createMessage") && text.contains("upstream_invalid"), "{question}: {text}");
        assert_eq!(world.records(&call_id(&headers), 2).await[1]["code"], "upstream_invalid", "{question}");
    }
}

/// Attack: a question in events that are said to be something else, where some client reads what comes as events whatever that says (the SDK of TypeScript
/// on a GET), or by another of two types, or in another charset (the SDK of Python).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_answer_is_read_as_here_is_what_its_client_reads() {
    let world = with(&forbids(SAMPLING), None).await;
    let session = begun(&world).await;
    let question = event(&asks(&json!(9), SAMPLING));
    let got = |said: Answer| {
        world.upstream.next(said);
        let mut get = request(&world, "caller", Some(&session), &Value::Null);
        *get.method_mut() = Method::GET;
        world.call(get)
    };
    for (kind, said) in [
        ("text/plain", question.clone()),
        ("application/json", format!(": x\n\n{question}")),
        ("application/json", format!("{{\"a\":[[[[[[\n\n{question}")),
    ] {
        let (_, headers, body) = got(Answer::whole(kind, said.clone())).await;
        assert_eq!(headers["vidimus-code"], "upstream_invalid", "{said}");
        assert!(!body.windows(4).any(|four| four == b"Who?"), "{said}");
        let (answer, chunks) = Answer::stream(kind);
        let sends = async {
            chunks.send(said.clone()).await;
            drop(chunks);
        };
        let ((_, headers, body), ()) = tokio::join!(got(answer), sends);
        assert_eq!(headers["vidimus-code"], "upstream_invalid", "{said}");
        assert!(!body.windows(4).any(|four| four == b"Who?"), "{said}");
    }
    // JSON is no event to anybody.
    let told = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    assert_eq!(got(Answer::whole("text/plain", told)).await.2, told.as_bytes());
    for (kind, said, told) in [
        ("application/json; a=text/event-stream", ANSWER.to_owned(), "application/json"),
        ("text/event-stream; charset=utf-7", event(ANSWER), "text/event-stream"),
        ("text/event-stream; a=application/json", event(ANSWER), "text/event-stream"),
    ] {
        world.upstream.next(Answer::whole(kind, said));
        assert_eq!(called(&world, &session).await.0["content-type"], told, "{kind}");
    }
}

/// What is in force when it is asked decides, on the stream of a session too, which may be there for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_question_is_decided_by_what_is_in_force_then() {
    let world = with("", None).await;
    let session = begun(&world).await;
    for method in [Method::POST, Method::GET] {
        take(&world, "", None);
        let (answer, stream) = Answer::stream("text/event-stream");
        world.upstream.next(answer);
        let mut request = request(&world, "caller", Some(&session), &echo(1));
        if method == Method::GET {
            *request.body_mut() = Bytes::new().into();
            *request.method_mut() = method.clone();
        }
        let first = asks(&json!(1), ELICITATION);
        let (response, sent) = tokio::join!(world.send(request), stream.event(&first));
        assert!(sent);
        let (parts, mut body) = response.into_parts();
        read_until(&mut body, &format!("data: {first}\n\n")).await;
        let before = world.upstream.received().len();
        take(&world, &forbids(ELICITATION), None);
        stream.event(&asks(&json!(2), ELICITATION)).await;
        let told = world.upstream.until_received(before + 1).await.pop().expect("an answer");
        assert_eq!((&told.json()["id"], code(&told.json())), (&json!(2), &json!("forbidden_by_policy")));
        assert_eq!(told.method, Method::POST);
        stream.event(ANSWER).await;
        assert_eq!(read_until(&mut body, "\n\n").await, format!("data: {ANSWER}\n\n"), "{method}");
        drop(stream);
        let asked = decided(&world, &call_id(&parts.headers), 2).await;
        assert_eq!((&asked[0]["outcome"], &asked[1]["outcome"]), (&json!("allow"), &json!("deny")));
        assert_ne!(asked[0]["snapshot"], asked[1]["snapshot"]);
    }
}

/// A result by which a server asks two things.
fn asking_result(id: &Value) -> String {
    let asked =
        json!({"a": {"method": "roots/list"}, "b": {"method": ELICITATION, "params": {"message": "Who?"}}});
    json!({"jsonrpc": "2.0", "id": id, "result": {"resultType": "input_required", "inputRequests": asked, "requestState": "s"}})
        .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_within_a_result_is_decided_before_that_passes() {
    for (cedar, refused) in [(String::new(), false), (forbids(ELICITATION), true)] {
        let world = with(&cedar, None).await;
        let result = asking_result(&json!("a"));
        for way in ["a document", "a document in chunks", "an event", "an error"] {
            let url = json!({"jsonrpc": "2.0", "id": "a", "error": {"code": -32042, "message": "x", "data": {
                "elicitations": [{"mode": "url", "url": "https://e.example", "message": "x", "elicitationId": "1"}]}}});
            let url = url.to_string();
            let said = match way {
                "an event" => event(&result),
                "an error" => url.clone(),
                _ => result.clone(),
            };
            let (answer, chunks) = Answer::stream("application/json");
            world.upstream.next(match way {
                "a document in chunks" => answer,
                "an event" => Answer::whole("text/event-stream", said.clone()),
                _ => Answer::whole("application/json", said.clone()),
            });
            let sends = async {
                if way == "a document in chunks" {
                    let (one, other) = said.split_at(said.len() / 2);
                    chunks.send(one.to_owned()).await;
                    chunks.send(other.to_owned()).await;
                }
                drop(chunks);
            };
            let call = request(&world, "caller", None, &modern_tool("a", "echo"));
            let ((status, headers, body), ()) = tokio::join!(world.call(call), sends);
            let text = String::from_utf8(body.to_vec()).expect("UTF-8");
            let asked = decided(&world, &call_id(&headers), if way == "an error" { 1 } else { 2 }).await;
            let last = asked.last().expect("one");
            assert_eq!(last["method"], ELICITATION, "{way}");
            let effect = world.records(&call_id(&headers), 2).await.remove(1);
            if refused {
                assert_eq!(last["outcome"], "deny", "{way}");
                assert!(!text.contains("inputRequests") && !text.contains("e.example"), "{way}: {text}");
                let answer: Value =
                    serde_json::from_str(text.trim().trim_start_matches("data: ")).expect("JSON");
                assert_eq!((status, code(&answer)), (StatusCode::OK, &json!("forbidden_by_policy")), "{way}");
                assert_eq!(answer["id"], "a", "{way}");
                assert_eq!(
                    (&effect["result"], &effect["code"]),
                    (&json!("failed"), &json!("forbidden_by_policy")),
                    "{way}"
                );
            } else {
                assert_eq!((text, &last["outcome"]), (said, &json!("allow")), "{way}");
            }
        }
    }
}

/// Attack: a request in place of an answer, in what answers a notification, and in documents that nobody reads whole or that are encoded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_asks_nothing_that_is_not_decided() {
    let world = with(&forbids(SAMPLING), None).await;
    let session = begun(&world).await;
    let question = asks(&json!(9), SAMPLING);
    let notice = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    for said in [question.clone(), format!("[{question}]")] {
        world.upstream.next(Answer::whole("application/json", said.clone()));
        let (_, headers, body) = world.call(request(&world, "caller", Some(&session), &notice)).await;
        assert_eq!(headers["vidimus-code"], "forbidden_by_policy");
        assert!(!body.windows(4).any(|four| four == b"Who?"), "{said}");
    }
    // Of a document that passes as it comes nothing is whole that asks.
    for said in [
        question.clone(),
        asking_result(&json!(1)),
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"x","data":{"elicitations":[{}]}}}"#
            .to_owned(),
    ] {
        // The server is told that the call before is cancelled, and that takes an answer too.
        let world = with(&forbids(SAMPLING), None).await;
        let session = begun(&world).await;
        // It is too long to be collected before anything of it passes.
        let said = said.replacen('{', &format!(r#"{{"x":"{}","#, "x".repeat(100_000)), 1);
        let (answer, chunks) = Answer::stream("application/json");
        world.upstream.next(answer);
        let sends = async {
            for piece in said.as_bytes().chunks(4096) {
                if !chunks.send(piece.to_vec()).await {
                    break;
                }
            }
            drop(chunks);
        };
        let (response, ()) =
            tokio::join!(world.send(request(&world, "caller", Some(&session), &echo(1))), sends);
        let (parts, body) = response.into_parts();
        assert!(body.collect().await.is_err(), "{said}");
        assert_eq!(world.records(&call_id(&parts.headers), 2).await[1]["code"], "upstream_invalid", "{said}");
    }
    let encoded = Answer::whole("application/json", "x").with_header("content-encoding", "br");
    world.upstream.next(encoded);
    let (_, headers, _) = world.call(request(&world, "caller", Some(&session), &echo(1))).await;
    assert_eq!(headers["vidimus-code"], "upstream_invalid");
}

/// Behind the bridge between the eras the call ends, whichever asks whom.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_across_the_bridge_ends_the_call() {
    // A server without sessions, and a client with one.
    let world = with(&forbids(ELICITATION), Some("stateless")).await;
    world.upstream.otherwise(|received| {
        let id = received.json()["id"].clone();
        Answer::json(&match received.json()["method"].as_str() {
            Some("server/discover") => {
                json!({"jsonrpc": "2.0", "id": id, "result": {"resultType": "complete",
                "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}})
            }
            _ => serde_json::from_str(&asking_elicitation(&id)).expect("JSON"),
        })
    });
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
        "capabilities": {"elicitation": {}}, "clientInfo": {"name": "c", "version": "1"}}});
    let (_, headers, _) = eras::call(&world, None, &hello).await;
    let session = headers["mcp-session-id"].to_str().expect("text").to_owned();
    let (_, headers, answer) = eras::call(&world, Some(&session), &echo(1)).await;
    assert_eq!((&answer["id"], code(&answer)), (&json!(1), &json!("forbidden_by_policy")), "{answer}");
    assert_eq!(decided(&world, &call_id(&headers), 1).await[0]["outcome"], "deny");
    // A server with sessions, and a client without: the server is told that nobody waits.
    let world = with(&forbids(ELICITATION), Some("sessions")).await;
    world.upstream.otherwise(eras::asking);
    let (_, headers, answer) = eras::call(&world, None, &modern_tool("a", "echo")).await;
    assert_eq!((&answer["id"], code(&answer)), (&json!("a"), &json!("forbidden_by_policy")), "{answer}");
    assert_eq!(decided(&world, &call_id(&headers), 1).await[0]["method"], ELICITATION);
    told(&world, |received| received.json()["method"] == json!("notifications/cancelled")).await;
    // Permitted, it is asked by a result, and that once.
    take(&world, "", Some("sessions"));
    let (_, headers, answer) = eras::call(&world, None, &modern_tool("b", "echo")).await;
    assert_eq!(answer["result"]["resultType"], "input_required", "{answer}");
    assert_eq!(decided(&world, &call_id(&headers), 1).await[0]["outcome"], "allow");
}

fn asking_elicitation(id: &Value) -> String {
    let asked = json!({"b": {"method": ELICITATION, "params": {"message": "Who?", "requestedSchema": {}}}});
    json!({"jsonrpc": "2.0", "id": id, "result": {"resultType": "input_required", "inputRequests": asked}})
        .to_string()
}

/// What a person would have to approve is not asked: nobody could be asked while the server waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_wait_for_a_person_is_refused() {
    let scope = r#"forbid (principal, action == Action::"connectServer", resource == MCPServer::"t/tools")
        when { context.method == "sampling/createMessage" }"#;
    let cedar = format!("@approval(\"people\") {scope} unless {{ context has approval }};");
    let world = with(&cedar, None).await;
    let session = begun(&world).await;
    let before = world.upstream.received().len();
    world.upstream.next(Answer::whole(
        "text/event-stream",
        [event(&asks(&json!(9), SAMPLING)), event(ANSWER)].concat(),
    ));
    let (_, text) = called(&world, &session).await;
    assert_eq!(text, event(ANSWER));
    let told = world.upstream.until_received(before + 2).await.pop().expect("an answer");
    assert_eq!(code(&told.json()), "approval_required");
}

/// A limit bounds how often a server asks, and a question has the place of its call among those at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_counts_and_takes_no_further_place() {
    let world = with("", None).await;
    let session = begun(&world).await;
    let mut all = objects(&world.upstream);
    let cedar = r#"@limit("once") forbid (principal, action in Action::"mcp", resource);
        @limit("asks") forbid (principal, action == Action::"connectServer", resource)
        when { context.method == "sampling/createMessage" };"#;
    all.push(json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy", "metadata": {"namespace": "t", "name": "asks"},
        "spec": {"description": "asks", "cedar": cedar, "limits": [
            {"name": "once", "concurrency": 1, "per": ["principal"]},
            {"name": "asks", "requests": 1, "per": ["principal"], "window": {"sliding": "1h"}}]}}));
    world.gate.take_into_use(snapshot(&all));
    let before = world.upstream.received().len();
    let (first, second) = (event(&asks(&json!(1), SAMPLING)), event(&asks(&json!(2), SAMPLING)));
    world.upstream.next(Answer::whole("text/event-stream", [&*first, &second, &event(ANSWER)].concat()));
    let (_, text) = called(&world, &session).await;
    assert_eq!(text, [first, event(ANSWER)].concat());
    let told = world.upstream.until_received(before + 2).await.pop().expect("an answer");
    assert_eq!((&told.json()["id"], code(&told.json())), (&json!(2), &json!("limit_exceeded")));
}
