//! Guards that hold what calls and answers say to a JSON Schema (`spec.guards[].schema`, ADR 87).

use http::Method;
use serde_json::{Value, json};
use vidimus_testkit::upstream::Answer;

use super::changes::with;
use super::own_guards::{asked, world};
use super::world::{World, call_id, json_of, snapshot};

/// An amount up to 100, and nothing else.
fn shape() -> Value {
    json!({"name": "shape", "schema": {"type": "object", "properties": {"amount": {"type": "integer", "maximum": 100}},
        "required": ["amount"], "additionalProperties": false}})
}

const FACT: &str = "guard.t/changes/shape";

#[tokio::test]
async fn arguments_are_what_a_policy_lets_them_be() {
    let refuses = world(&shape(), "").await;
    for (arguments, came) in [
        (json!({"amount": 100}), "passed"),
        (json!({"amount": 101}), "found: invalid 1"),
        (json!({"amount": "5"}), "found: invalid 1"),
        // Attack: another spelling, and what stands beside.
        (json!({"amount": 5, "amoun\u{fe}t": 1}), "found: invalid 1"),
        (json!({"amount": 5, "bcc": "mallory"}), "found: invalid 1"),
        (json!({}), "found: invalid 1"),
    ] {
        let (passes, said) = asked(&refuses, &arguments, FACT).await;
        assert_eq!((passes, said.as_str()), (came == "passed", came), "{arguments}");
    }
    // What has no place in the message is not taken out.
    let redacts = world(&shape(), r#"@on_finding("redact")"#).await;
    let (passes, said) = asked(&redacts, &json!({"amount": 101}), FACT).await;
    assert_eq!((passes, said.as_str()), (false, "unredactable: invalid 1"));
    let records = world(&shape(), r#"@on_finding("record")"#).await;
    let (passes, said) = asked(&records, &json!({"amount": 101}), FACT).await;
    assert_eq!((passes, said.as_str()), (true, "recorded: invalid 1"));
}

/// A world in which answers of tools, agents and models are held to that.
async fn answering(annotations: &str) -> World {
    let world = World::new().await;
    let cedar = format!(
        r#"@guard_answer("shape") {annotations}
           forbid (principal, action in [Action::"invokeTool", Action::"callAgent", Action::"callModel"], resource);"#
    );
    let mut all = with(&world, &cedar);
    let policy = all.last_mut().expect("the policy");
    policy["spec"]["guards"] = json!([shape()]);
    world.gate.take_into_use(snapshot(&all));
    world
}

/// What a call is answered, and what its effect's record says.
async fn answered(world: &World, (path, body): (&str, &Value), answer: Answer) -> (String, Value) {
    world.upstream.next(answer);
    let (_, headers, answered) = world.call(world.request(Method::POST, path, body)).await;
    let records = world.records(&call_id(&headers), 2).await;
    (String::from_utf8(answered.to_vec()).expect("UTF-8"), records[1].clone())
}

const FOUND: &str = "guard.t/changes/shape: found: invalid 1";

/// Attack: over HTTP+JSON 0.3 has the parts of a message in another member, and their data in an object; the agent gets them as those of its JSON-RPC.
#[tokio::test]
async fn what_0_3_says_over_http_json_is_held_as_what_any_caller_says() {
    let world = World::new().await;
    let cedar = r#"@guard("shape") forbid (principal, action == Action::"callAgent", resource)
        unless { context.guarded.contains("t/changes/shape") };"#;
    let mut all = with(&world, cedar);
    all.last_mut().expect("the policy")["spec"]["guards"] = json!([shape()]);
    world.gate.take_into_use(snapshot(&all));
    for (part, came) in [
        (json!({"text": "{\"amount\": 5}"}), "passed"),
        (json!({"data": {"data": {"amount": 5}}}), "passed"),
        (json!({"text": "mallory"}), "found: invalid 1"),
        (json!({"data": {"data": {"amount": 500}}}), "found: invalid 1"),
        (json!({"file": {"fileWithUri": "https://mallory.example/"}}), "found: invalid 1"),
    ] {
        let task = json!({"kind": "task", "id": "1", "contextId": "c", "status": {"state": "working"}});
        world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": 1, "result": task})));
        let before = world.upstream.received().len();
        let said = json!({"request": {"message_id": "m", "role": "ROLE_USER", "content": [part]}});
        let asked = world.request(Method::POST, "/a2a/t/callee/v1/message:send", &said);
        let (_, headers, body) = world.call(asked).await;
        let passes = world.upstream.received().len() > before;
        assert_eq!(passes, came == "passed", "{part}: {body:?}");
        let records = world.records(&call_id(&headers), 1).await;
        assert_eq!(records[0]["facts"][FACT], came, "{part}");
    }
}

#[tokio::test]
async fn what_a_tool_answers_is_what_a_policy_lets_it_be() {
    let world = answering("").await;
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {}}});
    let result = |result: &Value| json!({"jsonrpc": "2.0", "id": 1, "result": result});
    let text = |text: &str| json!([{"type": "text", "text": text}]);
    for (answer, passes) in [
        (result(&json!({"content": text("{\"amount\": 5}"), "structuredContent": {"amount": 5}})), true),
        (result(&json!({"content": text(" {\"amount\": 5}\n")})), true),
        (result(&json!({"content": text("mallory says more"), "structuredContent": {"amount": 5}})), false),
        (result(&json!({"content": text("{\"amount\": 5, \"more\": \"mallory\"}")})), false),
        (
            result(
                &json!({"content": [{"type": "resource", "text": "{\"amount\": 5}", "resource": {"text": "mallory"}}]}),
            ),
            false,
        ),
        (result(&json!({"content": text("mallory"), "isError": true})), false),
        (json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "mallory"}}), false),
    ] {
        for streams in [false, true] {
            let upstream = match streams {
                false => Answer::json(&answer),
                true => Answer::whole("text/event-stream", format!("data: {answer}\n\n")),
            };
            let (said, record) = answered(&world, ("/mcp/t/tools", &call), upstream).await;
            assert_eq!(said.contains("change_impossible"), !passes, "{answer}: {said}");
            assert!(!said.contains("mallory"), "{said}");
            assert_eq!(record["detail"], if passes { Value::Null } else { json!(FOUND) }, "{record}");
        }
    }
}

/// Attack: JSON that some readers have, and that is no words where words may stand.
#[tokio::test]
async fn what_some_readers_have_as_json_is_no_words() {
    let mut shape = shape();
    shape["schema"] = json!({"anyOf": [shape["schema"], {"type": "string", "maxLength": 80}]});
    let world = World::new().await;
    let mut all = with(
        &world,
        r#"@guard_answer("shape") forbid (principal, action == Action::"invokeTool", resource);"#,
    );
    all.last_mut().expect("the policy")["spec"]["guards"] = json!([shape]);
    world.gate.take_into_use(snapshot(&all));
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {}}});
    for (text, passes) in [
        ("some words", true),
        (r#"{"amount": 5}"#, true),
        (r#"{"amount": 500}"#, false),
        (r#"{"amount": 5, "amount": 500}"#, false),
        (r#"{"amount": 1e999}"#, false),
        (r#"{"amount": 500, "x": "\ud800"}"#, false),
    ] {
        let answer =
            json!({"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": text}]}});
        let (said, _) = answered(&world, ("/mcp/t/tools", &call), Answer::json(&answer)).await;
        assert_eq!(said.contains("change_impossible"), !passes, "{text}: {said}");
    }
}

#[tokio::test]
async fn what_an_agent_and_a_model_answer_is_what_a_policy_lets_it_be() {
    let world = answering("").await;
    let ask = |method: &str| json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hi"}]}}});
    let message = |part: &Value| json!({"jsonrpc": "2.0", "id": 1, "result": {"message": {"messageId": "m", "role": "ROLE_AGENT", "parts": [part]}}});
    let agent = "/a2a/t/callee";
    for (part, passes) in [
        (json!({"data": {"amount": 5}}), true),
        (json!({"text": "{\"amount\": 5}"}), true),
        (json!({"data": {"amount": 500}}), false),
        (json!({"text": "mallory"}), false),
        (json!({"url": "https://mallory.example/"}), false),
        (json!({"data": {"amount": 5}, "url": "https://mallory.example/"}), false),
    ] {
        let (said, _) = answered(&world, (agent, &ask("SendMessage")), Answer::json(&message(&part))).await;
        assert_eq!(said.contains("change_impossible"), !passes, "{part}: {said}");
        assert!(!said.contains("mallory"), "{said}");
    }
    let chat = |streams: bool| json!({"model": "small", "messages": [], "stream": streams});
    let completion = |content: &str| json!({"object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}]});
    let model = "/llm/t/models/v1/chat/completions";
    for (content, passes) in
        [("{\"amount\": 5}", true), ("{\"amount\": 500}", false), ("Sure! {\"amount\": 5}", false)]
    {
        let (said, _) = answered(&world, (model, &chat(false)), Answer::json(&completion(content))).await;
        assert_eq!(said.contains("change_impossible"), !passes, "{content}: {said}");
    }
    // A stream is whole at its end alone.
    let chunk = json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "{\"amount\": 5}"}, "finish_reason": null}]});
    let events = Answer::whole("text/event-stream", format!("data: {chunk}\n\ndata: [DONE]\n\n"));
    let (said, _) = answered(&world, (model, &chat(true)), events).await;
    assert!(said.contains("change_impossible") && !said.contains("amount"), "{said}");
    let update = json!({"jsonrpc": "2.0", "id": 1, "result": {"message": {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"data": {"amount": 5}}]}}});
    let events = Answer::whole("text/event-stream", format!("data: {update}\n\n"));
    let (said, _) = answered(&world, (agent, &ask("SendStreamingMessage")), events).await;
    assert!(said.contains("change_impossible") && !said.contains("amount"), "{said}");
}

#[tokio::test]
async fn an_answer_that_is_otherwise_is_only_recorded_where_a_policy_says_so() {
    let world = answering(r#"@on_finding("record")"#).await;
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {}}});
    let answer =
        json!({"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "hello"}]}});
    let (said, record) = answered(&world, ("/mcp/t/tools", &call), Answer::json(&answer)).await;
    assert_eq!(json_of(said.as_bytes()), answer);
    assert_eq!(record["detail"], "guard.t/changes/shape: recorded: invalid 1");
    assert_eq!(record["changed"], json!({"guard_answer": 1}));
}
