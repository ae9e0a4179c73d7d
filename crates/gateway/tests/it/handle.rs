//! The whole lifecycle: what reaches an upstream, what is answered, and what is on record.

use http::Method;
use serde_json::json;
use vidimus_gateway::Peer;
use vidimus_testkit::upstream::Answer;

use super::world::{World, call_id, json_of};

#[tokio::test]
async fn a_permitted_call_goes_on_with_a_credential_of_its_own_and_has_two_records() {
    let world = World::new().await;
    world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}})));
    let request = world.tool("echo");
    let given = request.headers()["authorization"].clone();
    let (status, headers, body) = world.call(request).await;
    assert_eq!((status.as_u16(), &json_of(&body)["result"]["content"]), (200, &json!([])));
    let received = world.upstream.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].uri.path(), "/mcp");
    let sent = received[0].header("authorization").expect("a credential");
    assert!(sent.starts_with("Bearer ey") && sent.as_bytes() != given.as_bytes());
    let records = world.records(&call_id(&headers), 2).await;
    assert_eq!(records[0]["outcome"], "allow");
    assert_eq!(records[0]["resource"], "Tool/t/tools/echo");
    assert_eq!((&records[1]["result"], &records[1]["status"]), (&json!("ok"), &json!(200)));
    assert!(records[1]["token"].is_string(), "the token is named");
}

/// What a call keeps in place while it is under way is moved with it, several times: 24 KiB of it were 3 % of the processor time of a call.
#[tokio::test]
async fn what_a_call_keeps_in_place_is_small() {
    let world = World::new().await;
    let peer = Peer { address: ([192, 0, 2, 7], 4711).into(), svid: None };
    let governed = vidimus_gateway::handle(&world.gate, world.tool("echo"), &peer);
    let size = size_of_val(&governed);
    assert!(size <= 10 * 1024, "{size} bytes: box what few calls need");
}

#[tokio::test]
async fn a_refused_call_reaches_nobody_and_is_on_record() {
    let world = World::new().await;
    for (tool, code) in [("other", "no_permit"), ("forbidden", "forbidden_by_policy")] {
        let (status, headers, body) = world.call(world.tool(tool)).await;
        assert_eq!((status.as_u16(), &json_of(&body)["error"]["data"]["code"]), (200, &json!(code)));
        let records = world.records(&call_id(&headers), 1).await;
        assert_eq!(
            (records.len(), &records[0]["outcome"], &records[0]["code"]),
            (1, &json!("deny"), &json!(code))
        );
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn each_protocol_refuses_in_its_own_shape() {
    let world = World::new().await;
    let message = json!({"jsonrpc": "2.0", "id": "x", "method": "SendMessage", "params": {"message": {}}});
    let chat = json!({"model": "large", "messages": []});
    for (path, body, pointer) in [
        ("/mcp/t/nothing", &message, "/error/data/code"),
        ("/a2a/t/nothing", &message, "/error/data/code"),
        ("/llm/t/models/v1/chat/completions", &chat, "/error/code"),
        ("/llm/t/nothing/v1/messages", &chat, "/vidimus/code"),
        ("/nothing", &chat, "/error"),
    ] {
        let (_, headers, answer) = world.call(world.request(Method::POST, path, body)).await;
        let code = headers["vidimus-code"].to_str().expect("text").to_owned();
        assert_eq!(json_of(&answer).pointer(pointer), Some(&json!(code)), "{path}");
    }
    // In A2A 1.0 what an error has for programs is a list of details.
    let undecided = json!({"jsonrpc": "2.0", "id": "x", "method": "SendMessage", "params": {"tenant": "t/other", "message": {}}});
    for path in ["/a2a/t/nothing", "/a2a/t/callee"] {
        let mut request = world.request(Method::POST, path, &undecided);
        request.headers_mut().insert("a2a-version", "1.0".parse().expect("a value"));
        let (_, headers, answer) = world.call(request).await;
        let code = headers["vidimus-code"].to_str().expect("text").to_owned();
        let said = json_of(&answer);
        assert_eq!(said.pointer("/error/data/0/metadata/code"), Some(&json!(code)), "{path}: {said}");
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn the_listing_of_models_is_answered_here_and_recorded_as_what_it_is() {
    let world = World::new().await;
    let request = world.request(Method::GET, "/llm/t/models/v1/models", &json!(null));
    let (status, headers, body) = world.call(request).await;
    let shown = json_of(&body);
    assert_eq!((status.as_u16(), shown["data"].as_array().map(Vec::len)), (200, Some(1)));
    assert_eq!(shown["data"][0]["id"], "small");
    let records = world.records(&call_id(&headers), 2).await;
    let (decision, effect) = (&records[0], &records[1]);
    assert_eq!(decision["action"], "listModels");
    assert_eq!(
        (&decision["method"], &decision["resource"]),
        (&json!("models.list"), &json!("LLMProvider/t/models"))
    );
    assert_eq!((&effect["result"], &effect["bytes_out"]), (&json!("ok"), &json!(body.len())));
    assert!(world.upstream.received().is_empty());
}

/// As SDKs ask for one model (`models.retrieve`): of what the caller may not call, and of what there is not, it is told the same.
#[tokio::test]
async fn one_model_is_told_of_to_whom_may_call_it() {
    let world = World::new().await;
    for (name, expected) in [("small", 200), ("large", 404), ("none", 404), ("small/x", 404), ("", 404)] {
        let path = format!("/llm/t/models/v1/models/{name}");
        let (status, headers, body) = world.call(world.request(Method::GET, &path, &json!(null))).await;
        assert_eq!(status.as_u16(), expected, "{name}");
        let said = json_of(&body);
        if expected == 200 {
            assert_eq!((&said["id"], &said["object"]), (&json!("small"), &json!("model")));
            let decision = world.records(&call_id(&headers), 2).await.remove(0);
            assert_eq!(
                (&decision["action"], &decision["method"]),
                (&json!("listModels"), &json!("models.get"))
            );
        } else if !name.is_empty() {
            assert_eq!(said["error"]["code"], "resource_unknown", "{said}");
        }
    }
    let post = world.request(Method::POST, "/llm/t/models/v1/models/small", &json!({}));
    assert_eq!(world.call(post).await.0.as_u16(), 404);
    assert!(world.upstream.received().is_empty());
}
