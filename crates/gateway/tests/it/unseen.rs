//! Nothing unseen: what is refused before it could be governed is on record as well, and counted.

use std::time::Duration;

use http::{HeaderValue, Method};
use serde_json::{Value, json};
use vidimus_testkit::upstream::Answer;

use super::http::raw;
use super::world::{World, call_id, json_of};

/// The one refusal of `code`, once it is there.
async fn refusal(world: &World, code: &str) -> Value {
    for _ in 0..2000 {
        if let Some(found) = world.all_records().into_iter().find(|record| record["code"] == code) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("no record of {code}");
}

#[tokio::test]
async fn a_token_on_no_route_and_bytes_that_are_no_request_are_on_record() {
    let world = World::new().await;
    let (_, headers, _) = world.call(world.request(Method::GET, "/admin/secrets", &json!(null))).await;
    let records = world.records(&call_id(&headers), 1).await;
    assert_eq!(
        (&records[0]["code"], &records[0]["principal"], &records[0]["path"]),
        (&json!("route_unknown"), &json!("Agent/t/caller"), &json!("/admin/secrets"))
    );
    let mut nobody = world.request(Method::GET, "/.git/config", &json!(null));
    nobody.headers_mut().remove("authorization");
    let (_, headers, _) = world.call(nobody).await;
    assert_eq!(world.records(&call_id(&headers), 1).await[0]["principal"], json!(null));
    raw(&world, b"GET / HTTP/1.1\r\nHost: gw\r\nBad Name: x\r\n\r\n").await;
    assert_eq!(refusal(&world, "request_malformed").await["source"], "127.0.0.1");
    let long = format!("GET / HTTP/1.1\r\nHost: gw\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    assert!(raw(&world, long.as_bytes()).await.starts_with("HTTP/1.1 431"));
    assert_eq!(refusal(&world, "headers_too_large").await["path"], "*");
    let metrics = world.gate.meter.text(&world.gate.ledger);
    for code in ["route_unknown", "request_malformed", "headers_too_large"] {
        assert!(metrics.contains(&format!("code=\"{code}\"")), "{code}: {metrics}");
    }
}

/// An agent that calls itself, each time with the token of the hop before.
#[tokio::test]
async fn an_agent_that_calls_itself_ends_by_the_limit_on_depth_and_is_told_so() {
    let world = World::new().await;
    let mut all = super::world::objects(&world.upstream);
    all.push(json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy", "metadata": {"namespace": "t", "name": "self"},
        "spec": {"description": "itself", "cedar": r#"permit (principal == Agent::"t/callee", action == Action::"callAgent", resource == Agent::"t/callee");"#}}));
    world.gate.take_into_use(super::world::snapshot(&all));
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "again"}]}}});
    let mut token: Option<HeaderValue> = None;
    for depth in 1..20 {
        world.upstream.next(Answer::json(
            &json!({"jsonrpc": "2.0", "id": 1, "result": {"message": {"messageId": "m"}}}),
        ));
        let mut request = world.request(Method::POST, "/a2a/t/callee", &message);
        if let Some(token) = &token {
            request.headers_mut().insert("authorization", token.clone());
        }
        let (_, headers, body) = world.call(request).await;
        if let Some(code) = headers.get("vidimus-code") {
            assert_eq!(
                (code.to_str().expect("text"), depth),
                ("delegation_too_deep", 17),
                "{}",
                json_of(&body)
            );
            return;
        }
        token = world.upstream.received().pop().map(|received| received.headers["authorization"].clone());
    }
    panic!("it never ended");
}
