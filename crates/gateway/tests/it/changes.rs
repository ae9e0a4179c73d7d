//! What policies change of a call and of its answer, on the wire and on record.

use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use vidimus_testkit::upstream::Answer;

use super::world::{World, call_id, json_of, objects, snapshot};

const TOOLS: &str = r#"forbid (principal, action == Action::"invokeTool", resource == Tool::"t/tools/echo")"#;
const CARD: &str = "4111111111111111";

async fn world(text: &str) -> World {
    let world = World::new().await;
    world.gate.take_into_use(snapshot(&with(&world, text)));
    world
}

fn with(world: &World, text: &str) -> Vec<Value> {
    let mut all = objects(&world.upstream);
    all.push(json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy",
        "metadata": {"namespace": "t", "name": "changes"}, "spec": {"description": "changes", "cedar": text}}));
    all
}

fn pay(world: &World) -> Request<http_body_util::Full<bytes::Bytes>> {
    let arguments = json!({"card": CARD, "to": "ada", "items": [{"cvv": "123"}]});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": arguments}});
    world.request(Method::POST, "/mcp/t/tools", &call)
}

fn result(structured: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": structured.to_string()}],
        "structuredContent": structured}})
}

#[tokio::test]
async fn arguments_are_redacted_before_they_go_out_and_answers_before_they_come_back() {
    let world = world(&format!("@redact(\"/card /items/*/cvv\") @redact_answer(\"/card\") {TOOLS};")).await;
    world.upstream.next(Answer::json(&result(&json!({"card": CARD, "ok": true}))));
    let (status, headers, body) = world.call(pay(&world)).await;
    assert_eq!(status, 200);
    let [sent] = &world.upstream.received()[..] else { panic!("one request") };
    let arguments = &json_of(&sent.body)["params"]["arguments"];
    assert_eq!(*arguments, json!({"card": "[redacted]", "to": "ada", "items": [{"cvv": "[redacted]"}]}));
    assert_eq!(json_of(&body)["result"]["structuredContent"], json!({"card": "[redacted]", "ok": true}));
    assert!(!String::from_utf8_lossy(&body).contains(CARD));
    let records = world.records(&call_id(&headers), 2).await;
    assert_eq!(records[0]["outcome"], "allow-with-obligations");
    let demanded: Vec<_> = records[0]["obligations"].as_array().expect("a list").iter().collect();
    assert_eq!(demanded.len(), 3);
    assert_eq!(*demanded[0], json!({"change": "redact", "policy": "t/changes", "value": "/card"}));
    assert_eq!(records[1]["changed"], json!({"redact": 2, "redact_answer": 2}));
    assert!(!json!(records).to_string().contains(CARD), "{records:?}");
}

#[tokio::test]
async fn events_are_redacted_one_by_one() {
    let world = world(&format!("@redact_answer(\"/card\") {TOOLS};")).await;
    let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": CARD}});
    let events = format!("data: {log}\n\ndata: {}\n\n", result(&json!({"card": CARD})));
    world.upstream.next(Answer::whole("text/event-stream", events));
    let (status, headers, body) = world.call(pay(&world)).await;
    let text = String::from_utf8_lossy(&body);
    assert!(status == 200 && text.contains("[redacted]") && !text.contains(CARD), "{text}");
    let records = world.records(&call_id(&headers), 2).await;
    assert_eq!((&records[1]["result"], &records[1]["changed"]), (&json!("ok"), &json!({"redact_answer": 2})));
}

/// Attack: the words of an error, in all that an upstream can say beside an answer; and of the record only what is known of it.
#[tokio::test]
async fn no_words_of_the_upstream_come_beside_what_is_redacted() {
    let world = world(&format!("@redact_answer(\"/card\") {TOOLS};")).await;
    let error = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": 4_111_111_111_111_111_u64, "message": format!("declined: {CARD}")}});
    let done = result(&json!({"ok": true}));
    let task = json!({"jsonrpc": "2.0", "id": 1, "result": {"content": [], "ttl": CARD}});
    let events = format!(
        ": {CARD}\n\nevent: {CARD}\nretry: {CARD}\n{CARD}: {CARD}\ndata: {done}\n\ndata: {{\"id\":\"{CARD}\",\"result\":{{}}}}\n\n"
    );
    for (answer, passes) in [
        (Answer::json(&error), true),
        (Answer::json(&error).with_status(StatusCode::BAD_REQUEST), true),
        (
            Answer::whole("text/plain", format!("declined: {CARD}")).with_status(StatusCode::BAD_GATEWAY),
            false,
        ),
        (Answer::json(&json!({"card": CARD})).with_status(StatusCode::BAD_REQUEST), false),
        (Answer::json(&task), false),
        (Answer::whole("text/event-stream", events), true),
        (
            Answer::json(&done).with_header("x-request-id", CARD).with_header("x-ratelimit-remaining", CARD),
            true,
        ),
        (
            Answer::json(&task).with_header("retry-after", CARD).with_status(StatusCode::SERVICE_UNAVAILABLE),
            false,
        ),
    ] {
        world.upstream.next(answer);
        let (_, headers, body) = world.call(pay(&world)).await;
        let said = format!("{headers:?} {}", String::from_utf8_lossy(&body));
        assert!(!said.contains(CARD), "{said}");
        let refused = said.contains("change_impossible") || said.contains("upstream_invalid");
        assert_eq!(refused, !passes, "{said}");
        let records = world.records(&call_id(&headers), 2).await;
        assert!(!json!(records).to_string().contains(CARD), "{records:?}");
    }
}

/// Attack: a list where the policy's author thought of one.
#[tokio::test]
async fn a_list_is_redacted_in_each_of_its_elements() {
    let world = world(&format!("@redact(\"/customer/ssn\") @redact_answer(\"/card\") {TOOLS};")).await;
    world.upstream.next(Answer::json(&result(&json!([{"card": CARD}, {"card": CARD}]))));
    let arguments = json!({"customer": [{"ssn": CARD}, {"ssn": "2"}]});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": arguments}});
    let (status, _, body) = world.call(world.request(Method::POST, "/mcp/t/tools", &call)).await;
    assert_eq!(status, 200);
    let [sent] = &world.upstream.received()[..] else { panic!("one request") };
    let redacted = json!({"customer": [{"ssn": "[redacted]"}, {"ssn": "[redacted]"}]});
    assert_eq!(json_of(&sent.body)["params"]["arguments"], redacted);
    assert!(!String::from_utf8_lossy(&body).contains(CARD), "{body:?}");
}

/// What cannot be read may hold anything.
#[tokio::test]
async fn what_cannot_be_redacted_does_not_pass() {
    let world = world(&format!("@redact_answer(\"/card\") {TOOLS};")).await;
    let text = json!({"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": format!("card {CARD}")}]}});
    for answer in [
        Answer::json(&text),
        Answer::whole("text/event-stream", format!("data: {text}\n\n")),
        Answer::whole("application/json", format!("[{text}]")),
    ] {
        world.upstream.next(answer);
        let (_, headers, body) = world.call(pay(&world)).await;
        let said = String::from_utf8_lossy(&body);
        assert!(!said.contains(CARD), "{said}");
        let records = world.records(&call_id(&headers), 2).await;
        assert_eq!(records[1]["result"], "failed", "{records:?}");
        assert!(said.contains("change_impossible") || said.contains("upstream_invalid"), "{said}");
    }
}

#[tokio::test]
async fn models_answer_with_as_many_tokens_as_they_may() {
    let world =
        world(r#"@cap_tokens("50") forbid (principal, action == Action::"callModel", resource);"#).await;
    let ask = |more: Value| {
        let mut chat = json!({"model": "small", "messages": []});
        chat.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        world.request(Method::POST, "/llm/t/models/v1/chat/completions", &chat)
    };
    let answer = json!({"object": "chat.completion", "choices": [{}]});
    for (more, expected, changed) in [
        (json!({"max_tokens": 4000}), 50, 1),
        (json!({}), 50, 1),
        (json!({"max_tokens": 10}), 10, 0),
        // Attack: a limit by a name that the server may not know, and answers that are made and not shown.
        (json!({"max_completion_tokens": 20}), 20, 1),
        (json!({"best_of": 50, "max_tokens": 40}), 1, 1),
    ] {
        world.upstream.next(Answer::json(&answer));
        let (status, headers, _) = world.call(ask(more)).await;
        assert_eq!(status, 200);
        let received = world.upstream.received();
        let sent = json_of(&received.last().expect("a request").body);
        assert_eq!(sent["max_tokens"], expected);
        let records = world.records(&call_id(&headers), 2).await;
        assert_eq!(records[1]["changed"].get("cap_tokens").cloned().unwrap_or(json!(0)), changed);
    }
    let before = world.upstream.received().len();
    for more in [json!({"max_tokens": "many"}), json!({"options": {"num_predict": 4000}})] {
        let (_, _, body) = world.call(ask(more)).await;
        assert_eq!(json_of(&body)["error"]["code"], "change_impossible");
    }
    assert_eq!(world.upstream.received().len(), before);
}

/// A policy that came while the call was being answered, and would have it changed, takes it back.
#[tokio::test]
async fn an_answer_that_would_be_redacted_now_does_not_pass_as_it_is() {
    let world = World::new().await;
    let (answer, stream) = Answer::stream("application/json");
    world.upstream.next(answer);
    let asked = pay(&world);
    let (passed, ()) = tokio::join!(world.call(asked), async {
        while world.upstream.received().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        world.gate.take_into_use(snapshot(&with(&world, &format!("@redact_answer(\"/card\") {TOOLS};"))));
        assert!(stream.send(result(&json!({"card": CARD})).to_string()).await);
        drop(stream);
    });
    let said = String::from_utf8_lossy(&passed.2).into_owned();
    assert!(said.contains("revoked") && !said.contains(CARD), "{said}");
}
