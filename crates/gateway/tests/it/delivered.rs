//! A caller's last byte waits for the record of the effect, and what was delivered was not cancelled.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt as _, Full};
use serde_json::json;
use vidimus_gateway::{Limits, Peer, RequestContext, admit};
use vidimus_ledger::Durability;
use vidimus_testkit::upstream::Answer;

use super::world::{World, call_id};

/// A body of `size` bytes, which is the response of a server where there is room for one.
fn body(kind: &str, size: usize) -> Bytes {
    let (before, after) = match kind {
        "text/event-stream" => ("data: ", "\n\n"),
        _ => ("", ""),
    };
    let response = format!("{before}{}{after}", r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    let room = size.checked_sub(response.len());
    room.map_or(" ".repeat(size), |room| response.replace("{}", &format!("{{{}}}", " ".repeat(room)))).into()
}

#[tokio::test]
async fn who_has_the_last_byte_has_the_record_whatever_the_size_and_framing() {
    const SMALL: usize = 64 * 1024;
    let world = World::new().await;
    for http2 in [false, true] {
        for kind in ["application/json", "text/event-stream"] {
            for chunked in [false, true] {
                for size in [0, 1, 2, SMALL - 1, SMALL, SMALL + 1, 1024 * 1024] {
                    let what = format!("HTTP/2: {http2}, {kind}, chunked: {chunked}, {size} bytes");
                    let sending = if chunked {
                        let (answer, stream) = Answer::stream(kind);
                        world.upstream.next(answer);
                        tokio::spawn(async move {
                            for part in body(kind, size).chunks(50_000) {
                                stream.send(part.to_vec()).await;
                            }
                        })
                    } else {
                        world.upstream.next(Answer::whole(kind, body(kind, size)));
                        tokio::spawn(async {})
                    };
                    // What is no answer passes where none is due.
                    let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
                    let request = match size {
                        ..100 => world.request(Method::POST, "/mcp/t/tools", &told),
                        _ => world.tool("echo"),
                    };
                    let response =
                        if http2 { world.send_http2(request).await } else { world.send(request).await };
                    let id = call_id(response.headers());
                    let length = response.headers().contains_key("content-length");
                    let (mut answer, mut read) = (response.into_body(), 0);
                    while let Some(frame) = answer.frame().await {
                        read += frame.expect("a whole answer").into_data().expect("data").len();
                        if length && read == size {
                            break;
                        }
                    }
                    // Read at once: nothing is waited for, neither here nor for the end of the connection.
                    let records = world.recorded(&id);
                    assert_eq!((read, records.len()), (size, 2), "{what}: {records:?}");
                    assert_eq!(
                        (&records[1]["result"], &records[1]["bytes_out"]),
                        (&json!("ok"), &json!(size)),
                        "{what}"
                    );
                    drop(answer);
                    sending.await.expect("sent");
                }
            }
        }
    }
    let records = world.all_records();
    assert_eq!(records.iter().filter(|record| record["kind"] == "effect").count(), 56, "one effect each");
}

/// A caller may leave while its decision waits for the disk.
#[tokio::test]
async fn every_allowed_decision_has_one_effect_also_where_the_caller_left_meanwhile() {
    let world = World::durable(Limits::default(), Durability::Sync).await;
    let peer = Peer { address: ([192, 0, 2, 7], 4711).into(), svid: None };
    let (mut waited, mut allowed) = (0, 0);
    for number in 0..40 {
        let tool = if number % 4 == 3 { "other" } else { "echo" };
        let (parts, body) = world.tool(tool).into_parts();
        let mut context = RequestContext::begin(&world.gate, &parts, &peer);
        let mut admission = Box::pin(admit::<Full<_>>(&world.gate, &mut context, &parts, body));
        // Polled once, the call waits for the disk, and then its caller is gone.
        let polled = admission.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        waited += usize::from(matches!(polled, Poll::Pending));
        allowed += usize::from(tool == "echo");
        drop((polled, admission));
    }
    assert_eq!(waited, 40, "every one waited");
    world.gate.ledger.close().await;
    let records = world.all_records();
    let of =
        |name: &str, value: &str| records.iter().filter(|record| record[name] == value).collect::<Vec<_>>();
    assert_eq!((of("outcome", "allow").len(), of("outcome", "deny").len()), (allowed, 40 - allowed));
    let effects = of("kind", "effect");
    assert_eq!(effects.len(), allowed, "an effect for each that was allowed, and for no other");
    for effect in effects {
        let index = usize::try_from(effect["decision"].as_u64().expect("an index")).expect("an index");
        assert_eq!((&records[index]["id"], &effect["result"]), (&effect["id"], &json!("cancelled")));
        assert_eq!(effect["status"], 0, "nothing was sent");
    }
    assert!(world.upstream.received().is_empty());
}
