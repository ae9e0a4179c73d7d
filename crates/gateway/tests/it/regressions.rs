//! What a close reading found once, each as a test: bounds that must last, streams that must end, shapes that SDKs read.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use vidimus_core::resource::{self, Object, Origin};
use vidimus_core::snapshot::Snapshot;
use vidimus_gateway::Limits;
use vidimus_testkit::upstream::Answer;

use super::world::{World, call_id, json_of, objects, snapshot};

async fn next(body: &mut Incoming) -> Option<Result<String, hyper::Error>> {
    let frame = tokio::time::timeout(Duration::from_secs(10), body.frame()).await.expect("in time")?;
    Some(frame.map(|frame| String::from_utf8(frame.into_data().expect("data").to_vec()).expect("UTF-8")))
}

/// Whether the stream ends within a second.
async fn ends(body: &mut Incoming) -> bool {
    matches!(tokio::time::timeout(Duration::from_secs(1), body.frame()).await, Ok(None | Some(Err(_))))
}

fn with_bearer(mut request: Request<Full<Bytes>>, bearer: &str) -> Request<Full<Bytes>> {
    request.headers_mut().insert("authorization", bearer.parse().expect("a value"));
    request
}

fn permit(given: &mut [Value], cedar: &str) {
    let last = given.len() - 1;
    let text = given[last]["spec"]["cedar"].as_str().expect("text").to_owned() + cedar;
    given[last]["spec"]["cedar"] = json!(text);
}

/// What the gateway mints for the callee when the caller calls it.
async fn hop_of_callee(world: &World) -> String {
    let before = world.upstream.received().len();
    let message = json!({"jsonrpc": "2.0", "id": "x", "method": "SendMessage", "params": {"message": {}}});
    let (status, _, body) = world.call(world.request(Method::POST, "/a2a/t/callee", &message)).await;
    assert_eq!(status.as_u16(), 200, "{body:?}");
    let received = world.upstream.received();
    received[before].header("authorization").expect("a credential").to_owned()
}

#[tokio::test]
async fn bodies_are_bounded_while_the_upstream_is_waited_for() {
    let world = World::with(Limits { held_bodies: 3000, ..Limits::default() }).await;
    world.upstream.next(Answer::hang());
    let call = || {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "echo", "arguments": {"a": "x".repeat(1000)}}});
        world.request(Method::POST, "/mcp/t/tools", &call)
    };
    let (first, second) = tokio::join!(world.call(call()), async {
        world.upstream.until_received(1).await;
        // The first body is still held: its upstream has not answered.
        world.call(call()).await
    });
    assert_eq!(first.1["vidimus-code"], "upstream_timeout");
    let code = second.1.get("vidimus-code").map(|code| code.to_str().expect("text"));
    assert_eq!(
        code,
        Some("overloaded"),
        "1,000 + 1,000 bytes would be held by one, where less would be left for the others"
    );
}

/// A stalled disk refuses decisions, never what has happened: the place for a call's end is kept from its decision on.
#[tokio::test]
async fn a_call_under_way_keeps_its_room_in_the_ledger() {
    let ledger = vidimus_ledger::Config { max_pending_bytes: 4000, ..Default::default() };
    let world = World::with_ledger(Limits::default(), ledger).await;
    world.upstream.next(Answer::hang());
    let (first, second) = tokio::join!(world.call(world.tool("echo")), async {
        world.upstream.until_received(1).await;
        world.call(world.tool("echo")).await
    });
    let code = |headers: &http::HeaderMap| {
        headers.get("vidimus-code").map(|code| code.to_str().expect("text").to_owned())
    };
    assert_eq!(code(&first.1).as_deref(), Some("upstream_timeout"));
    assert_eq!(code(&second.1).as_deref(), Some("overloaded"), "2,000 bytes are room for one end");
    assert_eq!(world.records(&call_id(&first.1), 2).await[1]["result"], "failed");
    // It is free again, also when the answer was passed on.
    for _ in 0..3 {
        world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}})));
        let (_, headers, _) = world.call(world.tool("echo")).await;
        assert_eq!(code(&headers), None);
    }
}

#[tokio::test]
async fn a_stream_of_a_tool_ends_when_the_chain_is_too_deep_now() {
    let world = World::new().await;
    let mut given = objects(&world.upstream);
    permit(
        &mut given,
        r#"permit (principal == Agent::"t/callee", action == Action::"invokeTool", resource == Tool::"t/tools/echo");
        permit (principal == Agent::"t/callee", action == Action::"readResource", resource == Resource::"t/tools/file:///a");"#,
    );
    world.gate.take_into_use(snapshot(&given));
    let hop = hop_of_callee(&world).await;
    let mut too_deep = given.clone();
    too_deep[2]["spec"]["delegation"] = json!({"maxDepth": 1});
    let read = json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "file:///a"}});
    for (what, request) in
        [("resource", world.request(Method::POST, "/mcp/t/tools", &read)), ("tool", world.tool("echo"))]
    {
        world.gate.take_into_use(snapshot(&given));
        let (answer, stream) = Answer::stream("text/event-stream");
        world.upstream.next(answer);
        let response = world.send(with_bearer(request, &hop)).await;
        assert_eq!(response.status().as_u16(), 200);
        let mut body = response.into_body();
        assert!(stream.event("{}").await);
        next(&mut body).await.expect("an event").expect("whole");
        world.gate.take_into_use(snapshot(&too_deep));
        let (_, headers, _) = world.call(with_bearer(world.tool("echo"), &hop)).await;
        assert_eq!(headers["vidimus-code"], "delegation_too_deep", "a new call is refused");
        assert!(ends(&mut body).await, "the stream of the {what} goes on");
    }
}

#[tokio::test]
async fn a_stream_ends_when_its_model_is_not_registered_any_more() {
    let world = World::new().await;
    let mut given = objects(&world.upstream);
    permit(
        &mut given,
        r#"permit (principal == Agent::"t/caller", action == Action::"callModel", resource in LLMProvider::"t/models");"#,
    );
    world.gate.take_into_use(snapshot(&given));
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let chat = json!({"model": "large", "messages": [], "stream": true});
    let ask = || world.request(Method::POST, "/llm/t/models/v1/chat/completions", &chat);
    let mut body = world.send(ask()).await.into_body();
    assert!(stream.event("{}").await);
    next(&mut body).await.expect("an event").expect("whole");
    let mut without = given.clone();
    without[4]["spec"]["models"] = json!([{"name": "small"}]);
    world.gate.take_into_use(snapshot(&without));
    let (_, headers, _) = world.call(ask()).await;
    assert_eq!(headers["vidimus-code"], "resource_unknown", "a new call is refused");
    assert!(ends(&mut body).await, "the stream of a model that is not registered goes on");
}

#[tokio::test]
async fn a_stream_ends_when_the_identity_of_its_caller_is_taken_back() {
    let world = World::new().await;
    let (response, stream) = world.streaming("echo").await;
    let mut body = response.into_body();
    assert!(stream.event("{}").await);
    next(&mut body).await.expect("an event").expect("whole");
    let mut rebound = objects(&world.upstream);
    rebound[0]["spec"]["identities"][0]["oidc"]["subject"] = json!("somebody-else");
    world.gate.take_into_use(snapshot(&rebound));
    let (_, headers, _) = world.call(world.tool("echo")).await;
    assert_eq!(headers["vidimus-code"], "principal_unknown", "a new call is refused");
    assert!(ends(&mut body).await, "the stream goes on with a credential that proves nobody");
}

#[tokio::test]
async fn a_long_stream_shows_the_listing_of_the_present_configuration() {
    let world = World::new().await;
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let response = world.send(world.request(Method::GET, "/mcp/t/tools", &json!(null))).await;
    let mut body = response.into_body();
    let list = json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "echo"}, {"name": "other"}]}});
    assert!(stream.event(&list.to_string()).await);
    let shown = next(&mut body).await.expect("an event").expect("whole");
    assert!(shown.contains("echo") && !shown.contains("other"), "{shown}");
    // Connecting stays allowed, by the other tool.
    let mut changed = objects(&world.upstream);
    permit(
        &mut changed,
        r#"permit (principal == Agent::"t/caller", action == Action::"invokeTool", resource == Tool::"t/tools/other");
        forbid (principal, action, resource == Tool::"t/tools/echo");"#,
    );
    world.gate.take_into_use(snapshot(&changed));
    assert!(stream.event(&list.to_string()).await);
    let shown = next(&mut body).await.expect("an event").expect("whole");
    assert!(shown.contains("other") && !shown.contains("echo"), "by the former configuration: {shown}");
}

#[tokio::test]
async fn listing_models_takes_no_branch_of_a_chain() {
    let world = World::new().await;
    let mut given = objects(&world.upstream);
    permit(
        &mut given,
        r#"permit (principal == Agent::"t/callee", action == Action::"invokeTool", resource == Tool::"t/tools/echo");
        permit (principal == Agent::"t/callee", action == Action::"callModel", resource == Model::"t/models/small");"#,
    );
    given[2]["spec"]["delegation"] = json!({"maxFanOut": 1});
    world.gate.take_into_use(snapshot(&given));
    let hop = hop_of_callee(&world).await;
    let list = world.request(Method::GET, "/llm/t/models/v1/models", &json!(null));
    let (status, _, body) = world.call(with_bearer(list, &hop)).await;
    assert_eq!(status.as_u16(), 200, "{body:?}");
    let (_, headers, body) = world.call(with_bearer(world.tool("echo"), &hop)).await;
    assert_eq!(headers.get("vidimus-code"), None, "nothing has gone anywhere yet: {body:?}");
}

#[tokio::test]
async fn a_refusal_is_in_the_shape_of_the_path_that_the_sdk_asked_for() {
    let world = World::new().await;
    let message = json!({"model": "small", "messages": [], "max_tokens": 1});
    // Anthropic's SDK, pointed at a provider that speaks OpenAI's protocol, for what is not translated.
    let path = "/llm/t/models/v1/messages/count_tokens";
    let (_, headers, body) = world.call(world.request(Method::POST, path, &message)).await;
    assert_eq!(headers["vidimus-code"], "route_unknown");
    assert_eq!(json_of(&body)["type"], "error", "not Anthropic's shape: {body:?}");
}

#[tokio::test]
async fn what_passed_the_filter_before_a_fault_reaches_the_caller_and_is_counted() {
    let world = World::new().await;
    for _ in 0..30 {
        let (response, stream) = world.streaming("echo").await;
        let id = call_id(response.headers());
        let mut body = response.into_body();
        stream.event(r#"{"good":1}"#).await;
        stream.event(r#"{"result":{"tools":[],"tools":[]}}"#).await;
        let mut got = String::new();
        while let Some(Ok(text)) = next(&mut body).await {
            got += &text;
        }
        let records = world.records(&id, 2).await;
        assert_eq!(records[1]["code"], "upstream_invalid");
        assert_eq!(records[1]["bytes_out"], json!(got.len()), "on record, and not passed on");
        assert!(got.contains("good"), "{got}");
    }
}

#[test]
fn a_forbid_on_everything_in_a_provider_is_still_good() {
    let cedar = r#"forbid (principal, action, resource in LLMProvider::"t/models") when { resource.name == "large" };"#;
    let value = json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy",
        "metadata": {"namespace": "t", "name": "p"}, "spec": {"description": "some", "cedar": cedar, "scope": "Cluster"}});
    let object: Object = resource::check(&Origin::default(), &value).expect("an object");
    let (_, rejected) = Snapshot::build(vec![object]);
    assert_eq!(rejected, [], "it was accepted at a39b57b");
}
