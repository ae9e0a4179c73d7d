//! What policies change of a call and of its answer, on the wire and on record.

use std::collections::HashMap;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use vidimus_testkit::upstream::{ANSWERED, Answer};

use super::world::{World, call_id, json_of, objects, snapshot};

pub(super) const TOOLS: &str =
    r#"forbid (principal, action == Action::"invokeTool", resource == Tool::"t/tools/echo")"#;
pub(super) const CARD: &str = "4111111111111111";

pub(super) async fn world(text: &str) -> World {
    let world = World::new().await;
    world.gate.take_into_use(snapshot(&with(&world, text)));
    world
}

pub(super) fn with(world: &World, text: &str) -> Vec<Value> {
    let mut all = objects(&world.upstream);
    all.push(json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy",
        "metadata": {"namespace": "t", "name": "changes"}, "spec": {"description": "changes", "cedar": text}}));
    all
}

fn pay(world: &World) -> Request<http_body_util::Full<Bytes>> {
    let arguments = json!({"card": CARD, "to": "ada", "items": [{"cvv": "123"}]});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": arguments}});
    world.request(Method::POST, "/mcp/t/tools", &call)
}

/// The answer to whatever request is answered: of one whose answer is redacted the upstream gets another id than the caller's.
fn result(structured: &Value) -> Value {
    result_of(&json!(ANSWERED), structured)
}

pub(super) fn result_of(id: &Value, structured: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": structured.to_string()}],
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
    assert_eq!(json_of(&body)["id"], 1);
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
    let error = json!({"jsonrpc": "2.0", "id": ANSWERED, "error": {"code": 4_111_111_111_111_111_u64, "message": format!("declined: {CARD}")}});
    let done = result(&json!({"ok": true}));
    let task = json!({"jsonrpc": "2.0", "id": ANSWERED, "result": {"content": [], "ttl": CARD}});
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
    let text = json!({"jsonrpc": "2.0", "id": ANSWERED, "result": {"content": [{"type": "text", "text": format!("card {CARD}")}]}});
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
        assert!(stream.send(result_of(&json!(1), &json!({"card": CARD})).to_string()).await);
        drop(stream);
    });
    let said = String::from_utf8_lossy(&passed.2).into_owned();
    assert!(said.contains("revoked") && !said.contains(CARD), "{said}");
}

/// Attack: another call of which nothing is redacted, by the id of one that runs, or by one that is the same as text. Servers keep their
/// streams by that (the Python SDK of MCP by `str(id)`), so the second call would get the first one's answer.
#[tokio::test]
async fn an_answer_that_is_redacted_comes_on_no_other_calls_stream() {
    const SLOW: &str =
        r#"permit (principal, action == Action::"invokeTool", resource == Tool::"t/tools/slow")"#;
    let world = world(&format!("@redact_answer(\"/card\") {TOOLS}; {SLOW};")).await;
    let call = |tool: &str, id: &Value| {
        let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool}});
        world.request(Method::POST, "/mcp/t/tools", &call)
    };
    let key = |id: &Value| id.as_str().map_or_else(|| id.to_string(), str::to_owned);
    for (round, (secret, slow)) in
        [(json!(2), json!("2")), (json!("2"), json!(2)), (json!(1), json!(1))].into_iter().enumerate()
    {
        let (first, own) = Answer::stream("text/event-stream");
        let (second, other) = Answer::stream("text/event-stream");
        world.upstream.next(first);
        world.upstream.next(second);
        let (redacted, plain, ()) = tokio::join!(
            world.call(call("echo", &secret)),
            async {
                world.upstream.until_received(2 * round + 1).await;
                world.call(call("slow", &slow)).await
            },
            async {
                let received = world.upstream.until_received(2 * round + 2).await;
                let ids: Vec<Value> = received.iter().map(|one| one.json()["id"].clone()).collect();
                let (of_secret, of_slow) = (&ids[2 * round], &ids[2 * round + 1]);
                assert_eq!(*of_slow, slow, "nothing else changes");
                let mut streams = HashMap::from([(key(of_secret), own)]);
                // Where the keys are the same, this one is the only stream that there is.
                streams.insert(key(of_slow), other);
                let answer = format!("data: {}\n\n", result_of(of_secret, &json!({"card": CARD})));
                assert!(streams[&key(of_secret)].send(answer.clone()).await);
                // Attack: also where the server says it on the other stream.
                assert!(streams[&key(of_slow)].send(answer).await);
                let answer = format!("data: {}\n\n", result_of(of_slow, &json!({"slow": true})));
                assert!(streams[&key(of_slow)].send(answer).await);
            },
        );
        let text = |(_, _, body): &(StatusCode, HeaderMap, Bytes)| String::from_utf8_lossy(body).into_owned();
        let (redacted, plain) = (text(&redacted), text(&plain));
        assert!(plain.contains("slow") && !plain.contains(CARD) && !plain.contains("vidimus-"), "{plain}");
        assert!(redacted.contains("[redacted]") && !redacted.contains(CARD), "{redacted}");
        assert!(
            redacted.contains(&format!("\"id\":{secret}")) && !redacted.contains("vidimus-"),
            "{redacted}"
        );
    }
    let mut sent: Vec<String> =
        world.upstream.received().iter().map(|one| one.json()["id"].to_string()).collect();
    sent.sort_unstable();
    sent.dedup();
    assert_eq!(sent.len(), 6, "each by an id of its own: {sent:?}");
}
