//! Guards on what models and agents answer: whole, and in streams whose texts come in pieces.

use http::Method;
use serde_json::{Value, json};
use vidimus_testkit::upstream::Answer;

use super::changes::{CARD, with};
use super::world::{World, call_id, json_of, snapshot};

const EVENTS: &str = "text/event-stream";

/// Halves of a card's number, with words around them.
const HALVES: [&str; 2] = ["my card is 4111 1111 1", "111 1111, thanks."];

/// A forbid that has the answers of models and agents looked at, with what else it says.
fn guarded(annotations: &str) -> String {
    format!(
        r#"@guard_answer("personal_data") {annotations}
           forbid (principal, action in [Action::"callModel", Action::"callAgent"], resource);
           permit (principal == Agent::"t/caller", action == Action::"callModel", resource);"#
    )
}

async fn world(annotations: &str) -> World {
    let world = World::new().await;
    let mut all = with(&world, &guarded(annotations));
    for (name, kind) in [("claude", "anthropic"), ("gemini", "gemini"), ("openai", "openAI")] {
        let spec = json!({"owner": "a@b.example", "type": kind, "credential": {"none": {}},
            "endpoint": {"url": world.upstream.url("/at"), "timeout": "3s"}, "models": [{"name": "small"}]});
        all.push(json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "LLMProvider", "metadata": {"namespace": "t", "name": name}, "spec": spec}));
    }
    world.gate.take_into_use(snapshot(&all));
    world
}

/// Asks, and gives what the caller was answered and the records of the call.
async fn asked(world: &World, (path, body): (&str, &Value), answer: Answer) -> (String, Vec<Value>) {
    world.upstream.next(answer);
    let (_, headers, answered) = world.call(world.request(Method::POST, path, body)).await;
    let records = world.records(&call_id(&headers), 2).await;
    assert!(!json!(records).to_string().contains("4111"), "{records:?}");
    (String::from_utf8(answered.to_vec()).expect("UTF-8"), records)
}

const CHAT: &str = "/llm/t/openai/v1/chat/completions";

fn chat(streams: bool) -> Value {
    json!({"model": "small", "messages": [{"role": "user", "content": "hi"}], "stream": streams})
}

fn completion(content: &str) -> Value {
    json!({"object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}]})
}

fn events(all: &[Value]) -> String {
    all.iter().map(|one| format!("data: {one}\n\n")).collect()
}

fn chunks(texts: &[&str]) -> String {
    let chunk = |text: &&str| json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]});
    let last = json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let all: Vec<Value> = texts.iter().map(chunk).chain([last]).collect();
    events(&all) + "data: [DONE]\n\n"
}

#[tokio::test]
async fn an_answer_of_a_model_passes_in_which_nothing_is_found() {
    let world = world("").await;
    let (said, records) = asked(&world, (CHAT, &chat(false)), Answer::json(&completion("hello"))).await;
    assert_eq!(json_of(said.as_bytes()), completion("hello"));
    assert_eq!((&records[1]["result"], &records[1]["detail"]), (&json!("ok"), &Value::Null));
    let (said, records) =
        asked(&world, (CHAT, &chat(true)), Answer::whole(EVENTS, chunks(&["hel", "lo ", "there"]))).await;
    assert_eq!(said, chunks(&["hel", "lo ", "there"]));
    assert_eq!((&records[1]["result"], &records[1]["changed"]), (&json!("ok"), &json!({})));
}

/// Attack: what no event of a stream has whole. It ends with the protocol's own error.
#[tokio::test]
async fn what_a_model_says_is_refused_whole_and_in_pieces() {
    let world = world("").await;
    let found = "guard.personal_data: found: card 1";
    let (said, records) = asked(&world, (CHAT, &chat(false)), Answer::json(&completion(CARD))).await;
    assert_eq!(json_of(said.as_bytes())["error"]["code"], "change_impossible", "{said}");
    assert_eq!((&records[1]["code"], &records[1]["detail"]), (&json!("change_impossible"), &json!(found)));
    assert_eq!(records[1]["changed"], json!({"guard_answer": 1}));
    let (said, records) = asked(&world, (CHAT, &chat(true)), Answer::whole(EVENTS, chunks(&HALVES))).await;
    assert!(!said.contains("4111") && said.ends_with("}}\n\n"), "{said}");
    let last = said.trim_end().lines().last().and_then(|line| line.strip_prefix("data: ")).expect("an event");
    assert_eq!(json_of(last.as_bytes())["error"]["code"], "change_impossible", "{said}");
    assert_eq!((&records[1]["code"], &records[1]["detail"]), (&json!("change_impossible"), &json!(found)));

    let block = |text: &str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
    let stream: String =
        HALVES.iter().map(|text| format!("event: content_block_delta\ndata: {}\n\n", block(text))).collect();
    let (said, records) =
        asked(&world, ("/llm/t/claude/v1/messages", &chat(true)), Answer::whole(EVENTS, stream)).await;
    assert!(!said.contains("4111") && said.contains("event: error\ndata: {"), "{said}");
    assert_eq!(records[1]["detail"], json!(found));

    let part =
        |text: &&str| json!({"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}}]});
    let parts: Vec<Value> = HALVES.iter().map(part).collect();
    let question = json!({"contents": [{"parts": [{"text": "hi"}]}]});
    for (path, answer) in [
        (
            "/llm/t/gemini/v1beta/models/small:streamGenerateContent?alt=sse",
            Answer::whole(EVENTS, events(&parts)),
        ),
        ("/llm/t/gemini/v1beta/models/small:streamGenerateContent", Answer::json(&json!(parts))),
    ] {
        let (said, records) = asked(&world, (path, &question), answer).await;
        assert!(!said.contains("4111") && said.contains("change_impossible"), "{said}");
        assert_eq!(records[1]["detail"], json!(found));
    }
}

/// What has left is not called back, and the record says how much that was.
#[tokio::test]
async fn the_record_says_how_much_had_left() {
    let world = world("").await;
    let begins = "the chairs leave on Tuesday and are with you soon ".repeat(40);
    let pieces: Vec<&str> = begins.split_inclusive("soon ").chain(HALVES).collect();
    let (answer, stream) = Answer::stream(EVENTS);
    world.upstream.next(answer);
    let sent = async {
        for event in chunks(&pieces).split_inclusive("\n\n") {
            // Each by itself: of what comes together with what is refused, nothing is passed on.
            stream.send(event.to_owned()).await;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        drop(stream);
    };
    let ((), (_, headers, body)) =
        tokio::join!(sent, world.call(world.request(Method::POST, CHAT, &chat(true))));
    let said = String::from_utf8_lossy(&body);
    assert!(
        said.contains("Tuesday") && !said.contains("4111") && said.contains("change_impossible"),
        "{said}"
    );
    let left =
        said.matches("the chairs").count() * "the chairs leave on Tuesday and are with you soon ".len();
    let records = world.records(&call_id(&headers), 2).await;
    assert_eq!(
        records[1]["detail"],
        format!("guard.personal_data: found: card 1, after {left} characters had left")
    );
    assert_eq!((&records[1]["result"], &records[1]["code"]), (&json!("failed"), &json!("change_impossible")));
}

#[tokio::test]
async fn what_a_model_says_is_redacted_or_only_recorded_where_a_policy_says_so() {
    let world_of = |what: &'static str| async move { world(&format!(r#"@on_finding("{what}")"#)).await };
    let redacts = world_of("redact").await;
    let (said, records) = asked(&redacts, (CHAT, &chat(false)), Answer::json(&completion(CARD))).await;
    assert_eq!(json_of(said.as_bytes()), completion("[redacted:card]"));
    assert_eq!(records[1]["detail"], "guard.personal_data: redacted: card 1");
    let (said, records) = asked(&redacts, (CHAT, &chat(true)), Answer::whole(EVENTS, chunks(&HALVES))).await;
    assert_eq!(said, chunks(&["my card is [redacted:card]", ", thanks."]));
    assert_eq!((&records[1]["result"], &records[1]["changed"]), (&json!("ok"), &json!({"guard_answer": 1})));
    let records_only = world_of("record").await;
    records_only.upstream.next(Answer::whole(EVENTS, chunks(&HALVES)));
    let (_, headers, body) = records_only.call(records_only.request(Method::POST, CHAT, &chat(true))).await;
    assert_eq!(String::from_utf8_lossy(&body), chunks(&HALVES));
    let records = records_only.records(&call_id(&headers), 2).await;
    assert_eq!(records[1]["detail"], "guard.personal_data: recorded: card 1");
    assert_eq!(records[1]["result"], "ok");
}

/// What cannot be read does not pass: an encoding, what is no JSON, events that are labelled as a document.
#[tokio::test]
async fn what_a_guard_cannot_read_does_not_pass() {
    let world = world("").await;
    for answer in [
        Answer::whole(EVENTS, chunks(&["hello"])).with_header("content-encoding", "br"),
        Answer::whole(EVENTS, "data: {\"choices\": [\n\n"),
        Answer::whole("application/json", chunks(&["hello"])),
        Answer::whole("text/plain", "hello"),
    ] {
        let (said, records) = asked(&world, (CHAT, &chat(true)), answer).await;
        assert!(!said.contains("hello"), "{said}");
        assert_eq!(records[1]["result"], "failed", "{records:?}");
    }
}

/// Attack: an agent that says in two chunks of an artifact what none of them has.
#[tokio::test]
async fn what_an_agent_says_is_looked_at_whole_and_in_pieces() {
    let world = world("").await;
    let ask = |method: &str| json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hi"}]}}});
    let message = |text: &str| json!({"jsonrpc": "2.0", "id": 1, "result": {"message": {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": text}]}}});
    let update = |text: &str| {
        let artifact = json!({"artifactId": "a", "parts": [{"text": text}]});
        json!({"jsonrpc": "2.0", "id": 1, "result": {"artifactUpdate": {"taskId": "t-1", "contextId": "c-1", "append": true, "artifact": artifact}}})
    };
    let path = "/a2a/t/callee";
    let (said, _) = asked(&world, (path, &ask("SendMessage")), Answer::json(&message("hello"))).await;
    assert!(said.contains("hello"), "{said}");
    let (said, _) = asked(
        &world,
        (path, &ask("SendStreamingMessage")),
        Answer::whole(EVENTS, events(&[update("hel"), update("lo")])),
    )
    .await;
    assert!(said.contains("\"hel\"") && said.contains("\"lo\""), "{said}");
    let found = json!("guard.personal_data: found: card 1");
    let (said, records) = asked(&world, (path, &ask("SendMessage")), Answer::json(&message(CARD))).await;
    assert_eq!(json_of(said.as_bytes())["error"]["data"]["code"], "change_impossible", "{said}");
    assert_eq!(records[1]["detail"], found);
    let (said, records) = asked(
        &world,
        (path, &ask("SendStreamingMessage")),
        Answer::whole(EVENTS, events(&HALVES.map(update))),
    )
    .await;
    assert!(!said.contains("4111") && said.contains("change_impossible"), "{said}");
    assert_eq!(records[1]["detail"], found);
}
