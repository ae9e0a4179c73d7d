//! Nobody takes the room of others: of memory, of places, of the disk.

use std::time::{Duration, SystemTime};

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use vidimus_core::call::{Action, Ask, Call, SoFar, Target};
use vidimus_core::clock::Clock as _;
use vidimus_gateway::{AskedElsewhere, Limits, Rate};
use vidimus_testkit::upstream::Answer;

use super::stale::named_elsewhere;
use super::world::{World, call_id, snapshot};

/// A connection on which `stranger`, who may do nothing, has sent the head of a request with these lines, and `begun` of its body.
async fn held(world: &World, path: &str, lines: &str, begun: &[u8]) -> TcpStream {
    let token = world.token("stranger", Duration::from_secs(600));
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: gateway.example\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n{lines}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(world.address).await.expect("connected");
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(begun).await.expect("sent");
    stream
}

/// What `caller` is answered to a permitted call.
async fn answered(world: &World) -> Option<String> {
    world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}})));
    let (_, headers, _) = world.call(world.tool("echo")).await;
    headers.get("vidimus-code").map(|code| code.to_str().expect("text").to_owned())
}

/// All of the answer that comes without anything more being sent.
async fn answer(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await;
    // A connection whose body is not read may be reset after the answer.
    drop(read.expect("an end"));
    String::from_utf8_lossy(&answer).into_owned()
}

/// 16 heads that announced 32 MiB each gave everybody 503 for 29 s.
#[tokio::test]
async fn announcing_bodies_takes_no_room() {
    let world = World::new().await;
    let mut streams = Vec::new();
    for _ in 0..16 {
        streams
            .push(held(&world, "/llm/t/models/v1/chat/completions", "Content-Length: 33554432", b"").await);
    }
    // They have all been heard when a later one of the same kind is.
    let refused = held(&world, "/llm/t/models/v1/chat/completions", "Content-Length: 2", b"{}").await;
    drop(refused);
    for _ in 0..20 {
        assert_eq!(answered(&world).await, None);
    }
}

/// 128 chunked bodies of 4 MiB each, held before their ends, did the same.
#[tokio::test]
async fn holding_bodies_takes_no_more_than_a_share() {
    let limits = Limits { held_bodies: 1 << 20, message_body: 64 << 10, ..Limits::default() };
    let world = World::with(limits).await;
    let chunk = [b"7f00\r\n", vec![b' '; 0x7f00].as_slice(), b"\r\n"].concat();
    let mut streams = Vec::new();
    for _ in 0..128 {
        streams.push(held(&world, "/mcp/t/tools", "Transfer-Encoding: chunked", &chunk).await);
    }
    for _ in 0..20 {
        assert_eq!(answered(&world).await, None);
    }
    // What is too much for one is refused to that one.
    let mut refused = 0;
    for stream in streams {
        let mut first = [0; 12];
        let read = stream.readable();
        if tokio::time::timeout(Duration::from_millis(20), read).await.is_ok() {
            refused += usize::from(matches!(stream.try_read(&mut first), Ok(12) if &first[9..] == b"503"));
        }
    }
    assert!(refused >= 100, "{refused}");
}

#[tokio::test]
async fn a_body_that_is_announced_as_too_large_is_refused_at_once() {
    let world = World::new().await;
    let stream = held(&world, "/mcp/t/tools", "Content-Length: 4194305", b"").await;
    let answer = answer(stream).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("body_too_large"), "{answer}");
}

/// Calls that wait for their upstream are places taken; another caller has some left.
#[tokio::test]
async fn one_who_calls_much_leaves_places() {
    let world = World::with(Limits { calls: 8, ..Limits::default() }).await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(held(&world, "/mcp/t/tools", "Content-Length: 10", b"").await);
    }
    let over = answer(streams.pop().expect("the last")).await;
    assert!(over.contains("503") && over.contains("overloaded"), "{over}");
    assert_eq!(answered(&world).await, None);
    drop(streams);
}

fn counts(records: &[Value]) -> (u64, u64) {
    let (counted, single): (Vec<&Value>, Vec<&Value>) = records
        .iter()
        .filter(|record| record["outcome"] == "deny")
        .partition(|record| record["code"] == "refusals_not_recorded");
    let count = |record: &&Value| {
        let message = record["message"].as_str().expect("text");
        message.split(' ').next().and_then(|count| count.parse::<u64>().ok()).expect("a number")
    };
    (single.len() as u64, counted.iter().map(count).sum())
}

/// Attack: an agent repeats what it may not behind another enforcement point, which asks here each time.
#[tokio::test]
async fn questions_of_another_point_that_are_refused_fill_no_disk_and_none_is_lost_from_the_count() {
    let limits = Limits {
        refused_principal: Rate { burst: 5, per_second: 1 },
        unproven_interval: Duration::from_millis(50),
        ..Limits::default()
    };
    let world = World::with(limits).await;
    let decides = world.gate.shared.snapshot();
    let caller = named_elsewhere(&world, &decides);
    let server = decides.mcp_server("t/tools").expect("a server");
    let asked = AskedElsewhere { by: "User/i#point", body: b"{}", traceparent: None };
    for (name, refused) in [("forbidden", true), ("echo", false)] {
        let ask = Ask::about("tools/call", Action::InvokeTool, Target::Tool { server, name });
        let (now, so_far) = (caller.chain.started, SoFar::nothing());
        let call = Call { caller: &caller, ask, now, source_ip: None, so_far, approvals: &[] };
        for _ in 0..20 {
            let answer = world.gate.shared.evaluate(&decides, &call, &asked).await.expect("an answer");
            assert_eq!(answer.refusal.is_some(), refused);
        }
    }
    let mut found = (0, 0);
    for _ in 0..1000 {
        found = counts(&world.all_records());
        if found.0 + found.1 == 20 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(found, (5, 15));
    let all = world.all_records();
    let allowed = all.iter().filter(|record| record["outcome"] == "allow").count();
    assert_eq!(allowed, 20, "what is allowed has its records");
}

/// One registered agent that repeated a refused call wrote 7 MB a second for ever.
#[tokio::test]
async fn repeating_a_refused_call_fills_no_disk_and_none_is_lost_from_the_count() {
    let limits = Limits {
        refused_principal: Rate { burst: 5, per_second: 1 },
        unproven_interval: Duration::from_millis(50),
        ..Limits::default()
    };
    let world = World::with(limits).await;
    let refused = || {
        let mut request = world.tool("forbidden");
        let bearer = format!("Bearer {}", world.token("stranger", Duration::from_secs(600)));
        request.headers_mut().insert("authorization", bearer.parse().expect("a value"));
        request
    };
    for number in 0..200 {
        // Both kinds: decided, and refused before.
        let request =
            if number % 2 == 0 { refused() } else { world.request(Method::POST, "/mcp/t/none", &json!({})) };
        let (_, headers, _) = world.call(request).await;
        assert!(headers.contains_key("vidimus-code"));
    }
    // The clock stands still: nobody gets more than the burst.
    let mut found = (0, 0);
    for _ in 0..1000 {
        found = counts(&world.all_records());
        if found.0 + found.1 == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(found, (10, 190), "of two principals");
    let names: Vec<String> = world
        .all_records()
        .iter()
        .filter(|record| record["code"] == "refusals_not_recorded")
        .map(|record| record["principal"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert!(
        names.iter().any(|name| name == "Agent/t/stranger")
            && names.iter().any(|name| name == "Agent/t/caller"),
        "{names:?}"
    );
    // What is allowed has its records all the same.
    world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}})));
    let (_, headers, _) = world.call(world.tool("echo")).await;
    assert_eq!(world.records(&call_id(&headers), 2).await.len(), 2);
}

/// A wall clock that jumps stops nothing: limits count by the other one.
#[tokio::test]
async fn a_clock_that_steps_changes_no_limit_and_no_loop() {
    let world = World::new().await;
    let present = world.clock.now().wall;
    let hour = Duration::from_secs(3600);
    for wall in [present - hour, SystemTime::UNIX_EPOCH, present + hour, present] {
        world.clock.set_wall(wall);
        world.gate.take_into_use(snapshot(&super::world::objects(&world.upstream)));
        let (_, headers, _) = world.call(world.tool("echo")).await;
        let id = call_id(&headers);
        assert!(!world.records(&id, 1).await.is_empty(), "answered and recorded");
    }
    assert_eq!(answered(&world).await, None);
    assert!(world.gate.vitals.loops().iter().all(|it| it.since < Duration::from_secs(10)));
}
