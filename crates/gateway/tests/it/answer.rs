//! What becomes of answers: passed on as they come, changed, and ended in time.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};
use vidimus_core::clock::Clock as _;
use vidimus_gateway::Limits;
use vidimus_testkit::upstream::Answer;

use super::world::{World, call_id, json_of, objects, snapshot};

/// The next chunk of a streamed answer, or `None` at its end.
async fn next(body: &mut Incoming) -> Option<Result<String, hyper::Error>> {
    let frame = tokio::time::timeout(Duration::from_secs(10), body.frame()).await.expect("in time")?;
    Some(frame.map(|frame| String::from_utf8(frame.into_data().expect("data").to_vec()).expect("UTF-8")))
}

#[tokio::test]
async fn events_pass_one_by_one_as_they_come() {
    let world = World::new().await;
    let (response, stream) = world.streaming("echo").await;
    let id = call_id(response.headers());
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let mut body = response.into_body();
    for number in 0..3 {
        assert!(stream.event(&format!("{{\"n\":{number}}}")).await);
        let passed = next(&mut body).await.expect("an event").expect("whole");
        assert!(passed.contains(&format!("\"n\":{number}")), "{passed}");
    }
    assert!(stream.event(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).await);
    next(&mut body).await.expect("an event").expect("whole");
    drop(stream);
    assert!(next(&mut body).await.is_none());
    let records = world.records(&id, 2).await;
    assert_eq!(records[1]["result"], "ok");
}

#[tokio::test]
async fn a_listing_is_filtered_whole_or_as_an_event() {
    let world = World::new().await;
    let list = json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "echo"}, {"name": "other"}]}});
    let ask = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let names = |answer: &Value| -> Vec<String> {
        let tools = answer["result"]["tools"].as_array().expect("tools");
        tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
    };
    world.upstream.next(Answer::json(&list));
    let (_, _, body) = world.call(world.request(Method::POST, "/mcp/t/tools", &ask)).await;
    assert_eq!(names(&json_of(&body)), ["echo"]);
    world.upstream.next(Answer::whole("text/event-stream", format!("data: {list}\n\n")));
    let (_, _, body) = world.call(world.request(Method::POST, "/mcp/t/tools", &ask)).await;
    let data = String::from_utf8(body.to_vec()).expect("UTF-8");
    assert_eq!(names(&json_of(data.trim().strip_prefix("data: ").expect("data").as_bytes())), ["echo"]);
}

#[tokio::test]
async fn a_stream_whose_call_is_taken_back_ends_at_once() {
    let world = World::new().await;
    for (change, pauses) in [(json!({"quarantined": true}), true), (json!({"quarantined": true}), false)] {
        world.gate.take_into_use(snapshot(&objects(&world.upstream)));
        let (response, stream) = world.streaming("echo").await;
        let id = call_id(response.headers());
        let mut body = response.into_body();
        assert!(stream.event("{}").await);
        next(&mut body).await.expect("an event").expect("whole");
        // What does not concern the call leaves it alone.
        let mut other = objects(&world.upstream);
        other[1]["spec"]["quarantined"] = json!(true);
        world.gate.take_into_use(snapshot(&other));
        assert!(stream.event("{}").await);
        next(&mut body).await.expect("an event").expect("whole");
        let mut quarantined = objects(&world.upstream);
        quarantined[0]["spec"]["quarantined"] = change["quarantined"].clone();
        world.gate.take_into_use(snapshot(&quarantined));
        if !pauses {
            stream.event("{\"too\":\"late\"}").await;
        }
        let ended = next(&mut body).await;
        assert!(ended.is_none_or(|ended| ended.is_err()), "cut, not finished");
        let records = world.records(&id, 2).await;
        assert_eq!((&records[1]["result"], &records[1]["code"]), (&json!("failed"), &json!("revoked")));
        tokio::time::timeout(Duration::from_secs(10), stream.closed()).await.expect("cancelled upstream");
    }
}

/// What is asked, and how its answer is treated: passed on as it comes, filtered, or sealed.
fn asked(world: &World) -> Vec<(&'static str, http::Request<http_body_util::Full<bytes::Bytes>>)> {
    let rpc = |method: &str| json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"message": {}}});
    let chat = json!({"model": "small", "messages": []});
    vec![
        ("passed", world.tool("echo")),
        ("a listing", world.request(Method::POST, "/mcp/t/tools", &rpc("tools/list"))),
        ("an agent's", world.request(Method::POST, "/a2a/t/callee", &rpc("SendMessage"))),
        ("passed, a model's", world.request(Method::POST, "/llm/t/models/v1/chat/completions", &chat)),
    ]
}

/// The answer is on its way when the configuration changes, and has not come whole.
#[tokio::test]
async fn an_answer_does_not_pass_or_not_to_its_end_when_its_call_was_taken_back() {
    let world = World::new().await;
    let response =
        json!({"jsonrpc": "2.0", "id": 1, "result": {"secret": 1, "tools": []}, "choices": []}).to_string();
    for taken_back in [false, true] {
        for at in 0..asked(&world).len() {
            world.gate.take_into_use(snapshot(&objects(&world.upstream)));
            let (what, request) = asked(&world).remove(at);
            let before = world.upstream.received().len();
            let (answer, stream) = Answer::stream("application/json");
            world.upstream.next(answer);
            let change = async {
                world.upstream.until_received(before + 1).await;
                assert!(stream.send(response.get(..10).expect("ASCII").to_owned()).await);
                let mut other = objects(&world.upstream);
                other[usize::from(!taken_back)]["spec"]["quarantined"] = json!(true);
                world.gate.take_into_use(snapshot(&other));
                assert!(stream.send(response.get(10..).expect("ASCII").to_owned()).await);
                drop(stream);
            };
            let (response, ()) = tokio::join!(world.send(request), change);
            let (parts, body) = response.into_parts();
            let (headers, body) = (parts.headers, body.collect().await);
            let effect = world.records(&call_id(&headers), 2).await.remove(1);
            let code = headers.get("vidimus-code").map(|code| code.to_str().expect("text"));
            if what.starts_with("passed") && taken_back {
                // It was refused, or had begun to pass and was cut.
                assert_eq!(
                    (effect["code"].as_str(), code.is_none()),
                    (Some("revoked"), body.is_err()),
                    "{what}"
                );
                let secret =
                    body.is_ok_and(|whole| String::from_utf8_lossy(&whole.to_bytes()).contains("secret"));
                assert!(
                    !secret && effect["bytes_out"].as_u64().is_some_and(|passed| passed <= 10),
                    "{what}: {effect}"
                );
                continue;
            }
            let shown = String::from_utf8(body.expect("whole").to_bytes().to_vec()).expect("UTF-8");
            if taken_back {
                assert_eq!((code, &effect["code"]), (Some("revoked"), &json!("revoked")), "{what}: {shown}");
                assert!(!shown.contains("secret"), "{what}: {shown}");
            } else {
                assert_eq!((code, &effect["result"]), (None, &json!("ok")), "{what}: {shown}");
            }
        }
    }
}

/// What of a listing is shown is what may be used when it passes, by the configuration and the time of then.
#[tokio::test]
async fn a_listing_is_filtered_by_the_present() {
    let world = World::new().await;
    let list = json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "echo"}, {"name": "other"}, {"name": "timed"}]}});
    let list = list.to_string();
    let ask = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let end = vidimus_gateway::rfc3339(world.clock.now().wall + Duration::from_secs(60));
    let end = format!("{}Z", end.get(..19).expect("whole seconds"));
    let permits = |tools: &[&str]| {
        let permit = |tool: &&str| {
            format!(
                r#"permit (principal == Agent::"t/caller", action == Action::"invokeTool", resource == Tool::"t/tools/{tool}");"#
            )
        };
        let timed = format!(
            r#"permit (principal == Agent::"t/caller", action == Action::"invokeTool", resource == Tool::"t/tools/timed")
            when {{ context.now < datetime("{end}") }};"#
        );
        let mut all = objects(&world.upstream);
        let last = all.len() - 1;
        all[last]["spec"]["cedar"] = json!(tools.iter().map(permit).chain([timed]).collect::<String>());
        snapshot(&all)
    };
    for events in [false, true] {
        for (expected, changed, later) in [
            (&["echo", "timed"][..], None, Duration::ZERO),
            (&["other", "timed"], Some("other"), Duration::ZERO),
            // The last, since time only goes on.
            (&["echo"], None, Duration::from_secs(61)),
        ] {
            if events && later > Duration::ZERO {
                world.clock.set_wall(std::time::SystemTime::now());
            }
            world.gate.take_into_use(permits(&["echo"]));
            let (answer, stream) =
                Answer::stream(if events { "text/event-stream" } else { "application/json" });
            world.upstream.next(answer);
            let before = world.upstream.received().len();
            let change = async {
                world.upstream.until_received(before + 1).await;
                let (text, half) = (if events { format!("data: {list}\n\n") } else { list.clone() }, 20);
                assert!(stream.send(text.get(..half).expect("ASCII").to_owned()).await);
                if let Some(tool) = changed {
                    world.gate.take_into_use(permits(&[tool]));
                }
                world.clock.advance(later);
                assert!(stream.send(text.get(half..).expect("ASCII").to_owned()).await);
                drop(stream);
            };
            let request = world.request(Method::POST, "/mcp/t/tools", &ask);
            let ((_, _, body), ()) = tokio::join!(world.call(request), change);
            let text = String::from_utf8(body.to_vec()).expect("UTF-8");
            let shown = json_of(text.trim().trim_start_matches("data: ").as_bytes());
            let shown: Vec<&str> = shown["result"]["tools"]
                .as_array()
                .expect("tools")
                .iter()
                .map(|tool| tool["name"].as_str().expect("a name"))
                .collect();
            assert_eq!(shown, expected, "events: {events}, changed: {changed:?}, later: {later:?}");
        }
        world.clock.set_wall(std::time::SystemTime::now());
    }
}

#[tokio::test]
async fn a_stream_without_an_end_ends_with_the_credential() {
    let world = World::new().await;
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let mut request = world.request(Method::GET, "/mcp/t/tools", &json!(null));
    let token = world.token("caller", Duration::from_secs(3));
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a value"));
    let response = world.send(request).await;
    let id = call_id(response.headers());
    let mut body = response.into_body();
    assert!(stream.event("{}").await);
    next(&mut body).await.expect("an event").expect("whole");
    assert!(next(&mut body).await.is_none_or(|ended| ended.is_err()));
    let records = world.records(&id, 2).await;
    assert_eq!((&records[1]["result"], &records[1]["code"]), (&json!("failed"), &json!("token_expired")));
}

#[tokio::test]
async fn a_stream_that_pauses_too_long_is_given_up_and_one_that_does_not_goes_on() {
    let limits = Limits { idle_stream: Duration::from_secs(1), ..Limits::default() };
    let world = World::with(limits).await;
    let (response, stream) = world.streaming("echo").await;
    let id = call_id(response.headers());
    let mut body = response.into_body();
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(stream.event("{}").await);
        next(&mut body).await.expect("an event").expect("whole");
    }
    let told = next(&mut body).await.expect("an event").expect("whole");
    assert!(told.contains("upstream_timeout"), "{told}");
    assert!(next(&mut body).await.is_none());
    let records = world.records(&id, 2).await;
    assert_eq!((&records[1]["result"], &records[1]["code"]), (&json!("failed"), &json!("upstream_timeout")));
}

#[tokio::test]
async fn an_answer_that_is_read_whole_has_its_time_in_all() {
    let limits = Limits { idle_stream: Duration::from_millis(400), ..Limits::default() };
    let world = World::with(limits).await;
    let (answer, stream) = Answer::stream("application/json");
    world.upstream.next(answer);
    let drip = tokio::spawn(async move {
        while stream.send(" ").await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let ask = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let (_, _, body) = world.call(world.request(Method::POST, "/mcp/t/tools", &ask)).await;
    assert_eq!(json_of(&body)["error"]["data"]["code"], "upstream_timeout");
    drip.abort();
}

#[tokio::test]
async fn an_answer_that_need_not_be_whole_is_held_for_that_time_at_most() {
    let limits = Limits { idle_stream: Duration::from_millis(400), ..Limits::default() };
    let world = World::with(limits).await;
    let (answer, stream) = Answer::stream("application/json");
    world.upstream.next(answer);
    let drip = tokio::spawn(async move {
        while stream.send(" ").await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let answered = tokio::time::timeout(Duration::from_secs(10), world.send(world.tool("echo"))).await;
    let mut body = answered.expect("it is passed on as it comes").into_body();
    next(&mut body).await.expect("a chunk").expect("whole");
    drip.abort();
}

/// What is passed on leaves as it comes, before its upstream has said all.
#[tokio::test]
async fn lines_and_slow_documents_reach_the_caller_before_the_upstream_ends() {
    let world = World::new().await;
    let chat = json!({"model": "small", "messages": []});
    for kind in ["application/json", "application/x-ndjson", "application/json; charset=utf-8", "text/plain"]
    {
        for model in [false, true] {
            let request = match model {
                true => world.request(Method::POST, "/llm/t/models/v1/chat/completions", &chat),
                false => world.tool("echo"),
            };
            let (answer, stream) = Answer::stream(kind);
            world.upstream.next(answer);
            let (response, sent) = tokio::join!(world.send(request), stream.send("{\"n\":0}\n"));
            assert!(sent, "{kind}");
            let mut body = response.into_body();
            assert_eq!(next(&mut body).await.expect("a chunk").expect("whole"), "{\"n\":0}\n", "{kind}");
            for number in 1..4 {
                let line = format!("{{\"n\":{number}}}\n");
                assert!(stream.send(line.clone()).await);
                assert_eq!(next(&mut body).await.expect("a chunk").expect("whole"), line, "{kind}");
            }
            drop(stream);
            assert!(next(&mut body).await.is_none());
        }
    }
}

/// Nothing is read of an upstream that nobody takes from.
#[tokio::test]
async fn a_caller_that_does_not_read_is_felt_by_the_upstream() {
    let world = World::new().await;
    let (answer, stream) = Answer::stream("application/json");
    world.upstream.next(answer);
    let (response, sent) = tokio::join!(world.send(world.tool("echo")), stream.send("["));
    assert!(sent);
    let chunk = bytes::Bytes::from(vec![b' '; 1024 * 1024]);
    let mut taken = 0;
    // Buffers of the kernel and of hyper are full at some time.
    while let Ok(true) = tokio::time::timeout(Duration::from_secs(2), stream.send(chunk.clone())).await {
        taken += 1;
        assert!(taken < 200, "what nobody reads is held");
    }
    drop(response);
}

#[tokio::test]
async fn a_caller_that_leaves_cancels_upstream_and_is_on_record() {
    let world = World::new().await;
    let (response, stream) = world.streaming("echo").await;
    let id = call_id(response.headers());
    drop(response);
    tokio::time::timeout(Duration::from_secs(10), stream.closed()).await.expect("cancelled upstream");
    let records = world.records(&id, 2).await;
    assert_eq!(records[1]["result"], "cancelled");
}

/// An upstream that writes a stream of `chunks` in one piece, each a chunk of its own.
fn writes_at_once(chunks: usize) -> std::net::SocketAddr {
    use std::io::{Read as _, Write as _};
    let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = socket.local_addr().expect("an address");
    std::thread::spawn(move || {
        let (mut stream, _) = socket.accept().expect("a connection");
        let _ = stream.read(&mut [0; 16 * 1024]);
        let mut answer = String::from(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        );
        for number in 0..chunks {
            let event = format!("data: {{\"n\":{number}}}\n\n");
            answer += &format!("{:x}\r\n{event}\r\n", event.len());
        }
        answer += "0\r\n\r\n";
        stream.write_all(answer.as_bytes()).expect("written");
        let _ = stream.read(&mut [0; 1]);
    });
    address
}

#[tokio::test]
async fn chunks_that_came_together_leave_together() {
    let world = World::new().await;
    let mut objects = objects(&world.upstream);
    objects[3]["spec"]["endpoint"]["url"] = json!(format!("http://{}/mcp", writes_at_once(20)));
    world.gate.take_into_use(snapshot(&objects));
    let mut body = world.send(world.tool("echo")).await.into_body();
    let (mut frames, mut passed) = (0, String::new());
    while let Some(frame) = next(&mut body).await {
        frames += 1;
        passed += &frame.expect("whole");
    }
    assert_eq!(passed.matches("\"n\":").count(), 20);
    assert!(frames <= 3, "{frames} writes for 20 chunks that came in one");
}
