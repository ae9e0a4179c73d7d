//! What a server says of a redacted answer elsewhere than in the answer: of its task, beside it, and while policies change.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use vidimus_testkit::upstream::{Answer, Received};

use super::changes::{CARD, TOOLS, result_of, with, world};
use super::world::{World, call_id, json_of, objects, snapshot};

/// Changes nothing of the tool that is called.
const SLOW: &str = r#"permit (principal, action == Action::"invokeTool", resource == Tool::"t/tools/slow")"#;
const PATH: &str = "/mcp/t/tools";

fn redacting() -> String {
    format!("@redact_answer(\"/card\") {TOOLS};")
}

async fn ask(world: &World, method: &str, params: Value) -> Value {
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let (_, _, body) = world.call(world.request(Method::POST, PATH, &message)).await;
    json_of(&body)
}

/// What comes on the session's own stream until its end, and the records of that.
async fn stream(world: &World, events: String) -> (String, Vec<Value>) {
    world.upstream.next(Answer::whole("text/event-stream", events));
    let response = world.send(world.request(Method::GET, PATH, &json!(null))).await;
    let id = call_id(response.headers());
    let (mut body, mut text) = (response.into_body(), String::new());
    while let Some(Ok(frame)) = body.frame().await {
        text.push_str(&String::from_utf8_lossy(&frame.into_data().unwrap_or_default()));
    }
    (text, world.records(&id, 2).await)
}

/// As [`stream`], of what comes after `first` has passed: the gateway ends the stream at it.
async fn ended(world: &World, first: &str, then: String) -> (String, Vec<Value>) {
    let (answer, upstream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let response = world.send(world.request(Method::GET, PATH, &json!(null))).await;
    let (id, mut body) = (call_id(response.headers()), response.into_body());
    assert!(upstream.send(first.to_owned()).await);
    body.frame().await.expect("an event").expect("whole");
    upstream.send(then).await;
    drop(upstream);
    let mut text = String::new();
    while let Some(Ok(frame)) = body.frame().await {
        text.push_str(&String::from_utf8_lossy(&frame.into_data().unwrap_or_default()));
    }
    (text, world.records(&id, 2).await)
}

fn messages(text: &str) -> Vec<Value> {
    text.lines().filter_map(|line| line.strip_prefix("data: ")).map(|data| json_of(data.as_bytes())).collect()
}

fn task() -> Value {
    json!({"taskId": "1", "status": "working", "statusMessage": format!("card {CARD}"), "createdAt": "2026-11-28T10:00:00Z", "ttl": 60_000})
}

/// Attack: the words of a redacted answer in what is said of its task, wherever that is.
#[tokio::test]
async fn of_a_task_whose_answers_are_redacted_no_words_come_anywhere() {
    for (policy, redacts) in [(redacting(), true), (format!("{SLOW};"), false)] {
        let world = world(&policy).await;
        let mut more = task();
        more["note"] = json!(CARD);
        let listed = more.clone();
        world.upstream.otherwise(move |received: &Received| {
            let asked = received.json();
            let result = match asked["method"].as_str().unwrap_or_default() {
                "tools/call" => json!({"task": task()}),
                "tasks/list" => json!({"tasks": [listed]}),
                _ => task(),
            };
            Answer::json(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}))
        });
        let call = json!({"name": "echo", "arguments": {}, "task": {"ttl": 60_000}});
        let made = ask(&world, "tools/call", call).await;
        let id = made["result"]["task"]["taskId"].as_str().expect("a task").to_owned();
        let mut bare = task();
        bare["taskId"] = json!(id);
        bare["statusMessage"] = json!("[redacted]");
        let list = ask(&world, "tasks/list", json!({})).await;
        let get = ask(&world, "tasks/get", json!({"taskId": id})).await;
        let news = |method: &str| {
            let news = json!({"jsonrpc": "2.0", "method": method, "params": more});
            format!("data: {news}\n\n")
        };
        let events = news("notifications/tasks/status") + &news("notifications/tasks");
        let (news, _) = stream(&world, events).await;
        let told: Vec<Value> = messages(&news).into_iter().map(|one| one["params"].clone()).collect();
        let said = format!("{made} {list} {get} {news}");
        assert_eq!(said.contains(CARD), !redacts, "{said}");
        assert_eq!(told.len(), 2, "{said}");
        if redacts {
            assert_eq!((&list["result"]["tasks"], &get["result"]), (&json!([bare]), &bare));
            assert_eq!(told, [bare.clone(), bare]);
        }
    }
}

/// Attack: the words of a redacted answer in a log message, a progress, a question or a line of the session's own stream, which say nothing of
/// whose they are.
#[tokio::test]
async fn on_a_stream_of_no_call_comes_nothing_that_may_be_of_a_redacted_answer() {
    let event = |message: Value| format!("data: {message}\n\n");
    let asks = event(
        json!({"jsonrpc": "2.0", "id": 8, "method": "elicitation/create", "params": {"message": CARD}}),
    );
    let changed = event(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
    let said = [
        event(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": CARD}})),
        event(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1, "message": CARD}})),
        format!(": {CARD}\n\nevent: {CARD}\n{changed}"),
        event(json!({"jsonrpc": "2.0", "id": 7, "method": "ping"})),
    ]
    .concat();
    let (own, others) = (redacting(), redacting().replace("t/tools/echo", "t/others/echo"));
    let exempt = own.replace(';', r#" unless { principal == Agent::"t/caller" };"#);
    for (policy, redacts) in [(own, true), (others, false), (exempt, false)] {
        let world = world(&policy).await;
        let (text, records) = stream(&world, said.clone()).await;
        assert_eq!(text.contains(CARD), !redacts, "{text}");
        assert_eq!(messages(&text).len(), if redacts { 2 } else { 4 }, "{text}");
        assert_eq!(records[1]["result"], "ok", "{records:?}");
        // What asks waits for an answer: its stream ends, and the record says why.
        let (text, records) = ended(&world, &changed, format!("{asks}{changed}")).await;
        assert_eq!(text.contains(CARD), !redacts, "{text}");
        let code = if redacts { json!("change_impossible") } else { json!(null) };
        assert_eq!(records[1].get("code").cloned().unwrap_or_default(), code, "{records:?}");
        assert!(!json!(records).to_string().contains(CARD), "{records:?}");
    }
}

/// Attack: the words of a redacted answer in members that nobody reads, in ids, in URIs, and in an answer that nobody asked for.
#[tokio::test]
async fn what_passes_on_a_stream_of_no_call_is_nothing_that_the_server_wrote() {
    let ping = json!({"jsonrpc": "2.0", "id": 7, "method": "ping"});
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    let (mut asks, mut tells) = (ping.clone(), changed.clone());
    for (member, said) in [("params", json!({"x": CARD, "_meta": {"x": CARD}})), (CARD, json!(CARD))] {
        asks[member] = said.clone();
        tells[member] = said;
    }
    let updated = json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "x": CARD,
        "params": {"uri": format!("card://{CARD}"), "title": CARD, "_meta": {"x": CARD}}});
    let answered =
        json!({"jsonrpc": "2.0", "id": 4_711, "result": {"content": [{"type": "text", "text": CARD}]}});
    let task = json!({"jsonrpc": "2.0", "method": "notifications/tasks", "result": {}, "params": {"taskId": CARD, "status": "working"}});
    let all = [&asks, &updated, &answered, &task, &tells];
    let events: String = all.iter().map(|message| format!("data: {message}\n\n")).collect();
    for (policy, redacts) in [(redacting(), true), (format!("{SLOW};"), false)] {
        let world = world(&policy).await;
        let (text, records) = stream(&world, events.clone()).await;
        assert_eq!(text.contains(CARD), !redacts, "{text}");
        assert_eq!(records[1]["result"], "ok", "{records:?}");
        if redacts {
            assert_eq!(messages(&text), [ping.clone(), changed.clone()], "{text}");
        }
        // It waits for an answer by an id that cannot pass: the stream ends.
        let named = json!({"jsonrpc": "2.0", "id": format!("card {CARD}"), "method": "ping"});
        let (text, records) =
            ended(&world, &format!("data: {changed}\n\n"), format!("data: {named}\n\n")).await;
        assert_eq!(text.contains(CARD), !redacts, "{text}");
        let code = if redacts { json!("change_impossible") } else { json!(null) };
        assert_eq!(records[1].get("code").cloned().unwrap_or_default(), code, "{records:?}");
    }
}

/// Attack: the words of a redacted answer in a document, of whatever status, where the session's own stream was asked for.
#[tokio::test]
async fn a_document_in_the_place_of_the_sessions_stream_has_no_words_of_a_redacted_answer() {
    let tells = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": CARD}});
    let answered =
        json!({"jsonrpc": "2.0", "id": 4_711, "result": {"content": [{"type": "text", "text": CARD}]}});
    let failed = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32_000, "message": CARD}});
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    for (policy, redacts) in [(redacting(), true), (format!("{SLOW};"), false)] {
        let world = world(&policy).await;
        for (said, status) in [(&tells, 200), (&answered, 200), (&failed, 405), (&failed, 404)] {
            let status = StatusCode::from_u16(status).expect("a status");
            world.upstream.next(Answer::json(said).with_status(status).with_header("cache-control", CARD));
            let (got, headers, body) = world.call(world.request(Method::GET, PATH, &json!(null))).await;
            let text = String::from_utf8_lossy(&body);
            assert_eq!((got, text.contains(CARD)), (status, !redacts), "{said}: {text}");
            if redacts {
                let says = |value: &http::HeaderValue| value.as_bytes() == CARD.as_bytes();
                assert!(body.is_empty() && !headers.values().any(says), "{said}: {headers:?} {text}");
            }
        }
        // What has no words passes as it would on a stream, and what cannot be read does not.
        world.upstream.next(Answer::json(&changed));
        let (_, _, body) = world.call(world.request(Method::GET, PATH, &json!(null))).await;
        assert_eq!(json_of(&body), changed);
        world.upstream.next(Answer::json(&json!([tells])));
        let (_, _, body) = world.call(world.request(Method::GET, PATH, &json!(null))).await;
        assert!(!redacts || !String::from_utf8_lossy(&body).contains(CARD), "{body:?}");
    }
}

/// Attack: the same on a stream that was asked for, which tells what it was asked for all the same.
#[tokio::test]
async fn on_the_stream_of_a_subscription_what_was_asked_for_passes_and_no_words() {
    const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
    let world = world(&redacting()).await;
    let tells = |method: &str, params: Value| json!({"jsonrpc": "2.0", "method": method, "params": params});
    let (acknowledged, changed) =
        ("notifications/subscriptions/acknowledged", "notifications/tools/list_changed");
    let own = json!({SUBSCRIPTION: "listen:0"});
    let more = json!({SUBSCRIPTION: "listen:0", "x": CARD});
    let said = [
        tells(acknowledged, json!({"notifications": {"toolsListChanged": true, CARD: CARD}, "_meta": more})),
        tells(changed, json!({"_meta": more, "x": CARD})),
        tells("notifications/resources/updated", json!({"uri": format!("card://{CARD}"), "_meta": own})),
        json!({"jsonrpc": "2.0", "id": CARD, "result": {}}),
        json!({"jsonrpc": "2.0", "id": "listen:0", "result": {"resultType": "complete", "x": CARD, "_meta": more}}),
    ];
    let events: String = said.iter().map(|message| format!("data: {message}\n\n")).collect();
    world.upstream.next(Answer::whole("text/event-stream", events));
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let params = json!({"notifications": {"toolsListChanged": true}, "_meta": meta});
    let listen =
        json!({"jsonrpc": "2.0", "id": "listen:0", "method": "subscriptions/listen", "params": params});
    let mut request = world.request(Method::POST, PATH, &listen);
    for (header, value) in [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "subscriptions/listen")] {
        request.headers_mut().insert(header, value.parse().expect("a value"));
    }
    let (_, _, body) = world.call(request).await;
    let text = String::from_utf8_lossy(&body);
    let expected = [
        tells(acknowledged, json!({"notifications": {"toolsListChanged": true}, "_meta": own})),
        tells(changed, json!({"_meta": own})),
        json!({"jsonrpc": "2.0", "id": "listen:0", "result": {"resultType": "complete", "_meta": own}}),
    ];
    assert_eq!(messages(&text), expected, "{text}");
}

/// Attack: what a guard does not let pass of a tool's answer, in a log message or a question on the session's own stream.
#[tokio::test]
async fn a_stream_of_no_call_is_looked_at_by_the_guards_of_answers() {
    let event = |message: Value| format!("data: {message}\n\n");
    let log = |data: &str| json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": data}});
    let asks = json!({"jsonrpc": "2.0", "id": 8, "method": "elicitation/create", "params": {"message": format!("is {CARD} yours?")}});
    let plain = event(log("it begins"));
    let guarding = |more: &str| format!("@guard_answer(\"personal_data\") {more} {TOOLS};");
    let resources = guarding("")
        .replace("invokeTool", "readResource")
        .replace("Tool::\"t/tools/echo\"", "MCPServer::\"t/tools\"");
    let resources = resources.replace("resource ==", "resource in");
    for (policy, passes, came) in [
        (guarding(""), false, "found: card 1"),
        (resources, false, "found: card 1"),
        (guarding("@on_finding(\"record\")"), true, "recorded: card 1"),
        (guarding("@on_finding(\"redact\")"), true, "redacted: card 1"),
        (guarding("").replace("t/tools/echo", "t/others/echo"), true, ""),
    ] {
        let world = world(&policy).await;
        let kept = came.starts_with("redacted") || came.starts_with("found");
        for said in [log(CARD), asks.clone()] {
            let (text, records) = ended(&world, &plain, event(said)).await;
            assert_eq!(text.contains(CARD), !kept, "{policy} {text}");
            let code = if passes { json!(null) } else { json!("change_impossible") };
            assert_eq!(records[1].get("code").cloned().unwrap_or_default(), code, "{records:?}");
            let told =
                if came.is_empty() { json!(null) } else { json!(format!("guard.personal_data: {came}")) };
            assert_eq!(records[1].get("detail").cloned().unwrap_or_default(), told, "{records:?}");
            assert!(!json!(records).to_string().contains(CARD), "{records:?}");
        }
        // A document in its place.
        world.upstream.next(Answer::json(&log(CARD)));
        let (_, _, body) = world.call(world.request(Method::GET, PATH, &json!(null))).await;
        assert_eq!(String::from_utf8_lossy(&body).contains(CARD), !kept, "{body:?}");
    }
}

/// A guard comes while the stream is open.
#[tokio::test]
async fn a_stream_of_no_call_is_held_to_the_guards_in_force() {
    let world = World::new().await;
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let response = world.send(world.request(Method::GET, PATH, &json!(null))).await;
    let (id, mut body) = (call_id(response.headers()), response.into_body());
    let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": CARD}});
    assert!(stream.event(&log.to_string()).await);
    let first = body.frame().await.expect("an event").expect("whole").into_data().expect("data");
    assert!(String::from_utf8_lossy(&first).contains(CARD), "{first:?}");
    let guarding = format!("@guard_answer(\"personal_data\") @on_finding(\"redact\") {TOOLS};");
    world.gate.take_into_use(snapshot(&with(&world, &guarding)));
    assert!(stream.event(&log.to_string()).await);
    drop(stream);
    let rest = body.collect().await.expect("whole").to_bytes();
    assert!(!String::from_utf8_lossy(&rest).contains(CARD), "{rest:?}");
    let records = world.records(&id, 2).await;
    assert_eq!(records[1]["changed"], json!({"guard_answer": 1}));
}

/// A policy comes while the stream is open.
#[tokio::test]
async fn a_stream_of_no_call_is_held_to_the_policies_in_force() {
    let world = World::new().await;
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let mut body = world.send(world.request(Method::GET, PATH, &json!(null))).await.into_body();
    let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": CARD}});
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    assert!(stream.event(&log.to_string()).await);
    let first = body.frame().await.expect("an event").expect("whole").into_data().expect("data");
    assert!(String::from_utf8_lossy(&first).contains(CARD), "{first:?}");
    world.gate.take_into_use(snapshot(&with(&world, &redacting())));
    assert!(stream.event(&log.to_string()).await);
    assert!(stream.event(&changed.to_string()).await);
    drop(stream);
    let rest = body.collect().await.expect("whole").to_bytes();
    let rest = String::from_utf8_lossy(&rest);
    assert!(rest.contains("list_changed") && !rest.contains(CARD), "{rest}");
}

/// Attack: a call that is under way while a policy comes which redacts by its arguments. They are kept; where they are too long for that, what
/// might be redacted does not pass.
#[tokio::test]
async fn an_answer_that_would_be_redacted_for_its_arguments_does_not_pass_as_it_is() {
    let world = World::new().await;
    let by_arguments = redacting()
        .replace(';', r#" when { context.args.hasTag("/to") && context.args.getTag("/to") == "ada" };"#);
    let refusing = by_arguments.replace("@redact_answer(\"/card\")", "");
    let long = "x".repeat(9_000);
    let rounds = [
        (&by_arguments, "ada", "", false),
        (&by_arguments, "bob", "", true),
        (&by_arguments, "bob", &*long, false),
        (&refusing, "ada", "", false),
        (&refusing, "bob", "", true),
        // Some arguments are allowed still.
        (&refusing, "ada", &*long, true),
    ];
    for (round, (policy, to, note, passes)) in rounds.into_iter().enumerate() {
        world.gate.take_into_use(snapshot(&objects(&world.upstream)));
        let (answer, stream) = Answer::stream("application/json");
        world.upstream.next(answer);
        let params = json!({"name": "echo", "arguments": {"to": to, "note": note}});
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let asked = world.request(Method::POST, PATH, &call);
        let (passed, ()) = tokio::join!(world.call(asked), async {
            world.upstream.until_received(round + 1).await;
            world.gate.take_into_use(snapshot(&with(&world, policy)));
            assert!(stream.send(result_of(&json!(1), &json!({"card": CARD})).to_string()).await);
            drop(stream);
        });
        let said = String::from_utf8_lossy(&passed.2).into_owned();
        assert_eq!((said.contains(CARD), said.contains("revoked")), (passes, !passes), "{to} {said}");
    }
}

/// By which id a cancellation reaches the server.
async fn named(world: &World, cancel: Request<Full<Bytes>>) -> Value {
    let before = world.upstream.received().len();
    world.call(cancel).await;
    world.upstream.until_received(before + 1).await[before].json()["params"]["requestId"].clone()
}

/// A redacted call goes out by an id of the gateway's, and is cancelled by its caller's: by nobody else, in no other session, and while it is
/// under way.
#[tokio::test]
async fn a_redacted_call_is_cancelled_by_who_made_it() {
    const CONNECT: &str =
        r#"permit (principal == Agent::"t/stranger", action == Action::"connectServer", resource)"#;
    let world = world(&format!("{} {CONNECT};", redacting())).await;
    let cancel = |subject: &str, id: Value, session: Option<&str>| -> Request<Full<Bytes>> {
        let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id, "reason": "late"}});
        let mut request = world.request(Method::POST, PATH, &cancel);
        let token = world.token(subject, Duration::from_secs(600));
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a value"));
        if let Some(session) = session {
            request.headers_mut().insert("mcp-session-id", session.parse().expect("a value"));
        }
        request
    };
    world.upstream.next(
        Answer::json(&json!({"jsonrpc": "2.0", "id": 5, "result": {"protocolVersion": "2025-11-25"}}))
            .with_header("mcp-session-id", "s-1"),
    );
    let initialize = json!({"jsonrpc": "2.0", "id": 5, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}}});
    let (_, headers, _) = world.call(world.request(Method::POST, PATH, &initialize)).await;
    let session = headers["mcp-session-id"].to_str().expect("text").to_owned();
    let (response, stream) = world.streaming("echo").await;
    let received = world.upstream.until_received(2).await;
    let sent = received[1].json()["id"].clone();
    assert_ne!(sent, json!(1));
    assert_eq!(named(&world, cancel("caller", json!(1), None)).await, sent);
    assert_eq!(named(&world, cancel("stranger", json!(1), None)).await, json!(1));
    assert_eq!(named(&world, cancel("caller", json!(1), Some(&session))).await, json!(1));
    assert_eq!(named(&world, cancel("caller", json!("1"), None)).await, json!("1"));
    assert!(stream.event(&result_of(&sent, &json!({"card": CARD})).to_string()).await);
    drop(stream);
    let answer = response.into_body().collect().await.expect("whole").to_bytes();
    assert!(String::from_utf8_lossy(&answer).contains("[redacted]"), "{answer:?}");
    // It is over when its stream is, which is a moment after its last byte.
    for _ in 0..1000 {
        if named(&world, cancel("caller", json!(1), None)).await == json!(1) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it is under way still");
}
