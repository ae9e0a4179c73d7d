//! The facts of an effect: errors are errors however they are written, and what was not read is not called good.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use vidimus_testkit::upstream::Answer;

use super::world::{World, call_id};

const ERROR: &str = r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}"#;

const RESPONSE: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
const PROGRESS: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1,"progressToken":1}}"#;

fn of_another() -> String {
    RESPONSE.replace("\"id\":1", "\"id\":2")
}

fn long_response() -> String {
    let result = json!({"content": [{"type": "text", "text": "x".repeat(200_000)}]});
    json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string()
}

/// An answer that comes in chunks of its own length.
fn chunked(world: &World, kind: &str, text: String) -> tokio::task::JoinHandle<()> {
    let (answer, stream) = Answer::stream(kind);
    world.upstream.next(answer);
    tokio::spawn(async move {
        for part in text.into_bytes().chunks(10_000) {
            stream.send(part.to_vec()).await;
        }
    })
}

#[tokio::test]
async fn an_effect_says_what_the_answer_was() {
    const EVENTS: &str = "text/event-stream";
    let world = World::new().await;
    let long = format!(r#"{{"x":"{}","error":{{"code":1}}}}"#, "x".repeat(2_000_000));
    for (what, kind, text, result) in [
        ("a line over 256 KiB", EVENTS, format!("data: {long}\n\n"), "error"),
        ("data in several lines", EVENTS, format!("data: {}\n\n", ERROR.replace(',', ",\ndata:")), "error"),
        ("a byte order mark", EVENTS, format!("\u{feff}data: {ERROR}\n\n"), "error"),
        ("CR alone", EVENTS, format!("data: {ERROR}\r\r"), "error"),
        (
            "a response after keep-alives",
            EVENTS,
            format!(": ping\n\ndata: ping\n\ndata: {RESPONSE}\n\n"),
            "ok",
        ),
        ("keep-alives alone", EVENTS, ": ping\n\ndata: ping\n\ndata: {}\n\n".to_owned(), "failed"),
        ("no event", EVENTS, String::new(), "failed"),
        ("progress alone", EVENTS, format!("data: {PROGRESS}\n\n"), "failed"),
        ("progress, and the response", EVENTS, format!("data: {PROGRESS}\n\ndata: {RESPONSE}\n\n"), "ok"),
        ("a response, and an error", EVENTS, format!("data: {RESPONSE}\n\ndata: {ERROR}\n\n"), "error"),
        ("a response that was cut", EVENTS, format!("data: {RESPONSE}"), "failed"),
        ("the response to another", EVENTS, format!("data: {}\n\n", of_another()), "failed"),
        (
            "an error of another, and the response",
            EVENTS,
            format!("data: {}\n\ndata: {RESPONSE}\n\n", ERROR.replace(":1,", ":2,")),
            "ok",
        ),
        ("an error of another alone", EVENTS, format!("data: {}\n\n", ERROR.replace(":1,", ":2,")), "failed"),
        ("a tool that failed", "application/json", RESPONSE.replace("[]", "[],\"isError\":true"), "error"),
        (
            "another's tool that failed, and the response",
            EVENTS,
            format!("data: {}\n\ndata: {RESPONSE}\n\n", of_another().replace("[]", "[],\"isError\":true")),
            "ok",
        ),
        // Its client comes back for the rest.
        ("a stream to come back to", EVENTS, "id: 7\ndata: \n\n".to_owned(), "unknown"),
        ("a response in pieces", EVENTS, format!("data: {}\n\n", long_response()), "ok"),
        ("a document labelled as events", EVENTS, RESPONSE.to_owned(), "failed"),
        ("an error labelled as events", EVENTS, ERROR.to_owned(), "failed"),
        ("events labelled as a document", "application/json", format!("data: {RESPONSE}\n\n"), "failed"),
        ("a response labelled as text", "text/plain", RESPONSE.to_owned(), "ok"),
        ("nothing", "application/json", String::new(), "failed"),
        ("a blank", "application/json", " \n".to_owned(), "failed"),
        ("a batch", "application/json", format!("[{RESPONSE}]"), "unknown"),
        (
            "a response that was cut after a bracket",
            "application/json",
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{}"#.to_owned(),
            "unknown",
        ),
        ("more behind a response", "application/json", format!(r#"{RESPONSE}{{"x":{{}}}}"#), "unknown"),
        ("a batch with an error", "application/json", format!("[{RESPONSE},{ERROR}]"), "error"),
        (
            "a response without an id",
            "application/json",
            r#"{"jsonrpc":"2.0","result":{}}"#.to_owned(),
            "unknown",
        ),
        ("another's document", "application/json", of_another(), "unknown"),
        ("the result first", "application/json", r#"{"result":{},"jsonrpc":"2.0","id":1}"#.to_owned(), "ok"),
        ("a long response", "application/json", long_response(), "ok"),
        ("a document over 1 MiB", "application/json", long.clone(), "error"),
        ("a document with a byte order mark", "application/json", format!("\u{feff}{ERROR}"), "error"),
        ("a document that is no JSON", "text/html", "<html></html>".to_owned(), "failed"),
        ("a long document that is no JSON", "text/html", "<html></html>".repeat(10_000), "failed"),
        ("a document", "application/json", RESPONSE.to_owned(), "ok"),
    ] {
        let sent = chunked(&world, kind, text);
        let (_, headers, _) = world.call(world.tool("echo")).await;
        sent.await.expect("sent");
        assert_eq!(world.records(&call_id(&headers), 2).await[1]["result"], result, "{what}");
    }
    for (status, encoding, kind, result) in [
        (200, "gzip", EVENTS, "unknown"),
        (200, "gzip", "application/json", "failed"),
        (202, "identity", "text/plain", "failed"),
        (404, "identity", "text/plain", "failed"),
    ] {
        let answer = Answer::whole(kind, "\u{1f}x").with_header("content-encoding", encoding);
        world.upstream.next(answer.with_status(StatusCode::from_u16(status).expect("a status")));
        let listing = json!({"model": "small", "messages": []});
        let request = world.request(Method::POST, "/llm/t/models/v1/chat/completions", &listing);
        let (_, headers, _) = world.call(request).await;
        let records = world.records(&call_id(&headers), 2).await;
        assert_eq!(records[1]["result"], result, "{status} {encoding} {kind}");
    }
}

/// What is not to be answered has gone well where it was taken; what is to be answered has not, whatever the status says.
#[tokio::test]
async fn what_wants_no_answer_is_answered_by_none() {
    let world = World::new().await;
    let notification = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let response = json!({"jsonrpc": "2.0", "id": 7, "result": {}});
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    for (what, method, message, status, kind, body, result) in [
        ("a notification", Method::POST, &notification, 202, "application/json", "", "ok"),
        ("a notification, and words", Method::POST, &notification, 202, "text/plain", "Accepted", "ok"),
        ("a notification", Method::POST, &notification, 204, "application/json", "", "ok"),
        ("a notification", Method::POST, &notification, 200, "application/json", "", "ok"),
        ("a notification", Method::POST, &notification, 200, "text/html", "<html>", "failed"),
        ("a notification", Method::POST, &notification, 400, "application/json", "", "error"),
        ("a notification", Method::POST, &notification, 200, "application/json", ERROR, "error"),
        ("a response", Method::POST, &response, 202, "application/json", "", "ok"),
        ("the end of a session", Method::DELETE, &Value::Null, 200, "application/json", "", "ok"),
        ("the end of a session", Method::DELETE, &Value::Null, 405, "application/json", "", "error"),
        ("a session's stream", Method::GET, &Value::Null, 200, "text/event-stream", "", "ok"),
        ("a session's stream", Method::GET, &Value::Null, 200, "text/event-stream", "data: {}\n\n", "ok"),
        ("a request", Method::POST, &request, 202, "application/json", "", "failed"),
        ("a request", Method::POST, &request, 204, "application/json", "", "failed"),
        ("a request", Method::POST, &request, 200, "text/event-stream", "", "failed"),
    ] {
        let answer = Answer::whole(kind, body);
        world.upstream.next(answer.with_status(StatusCode::from_u16(status).expect("a status")));
        let (_, headers, _) = world.call(world.request(method, "/mcp/t/tools", message)).await;
        let records = world.records(&call_id(&headers), 2).await;
        assert_eq!(records[1]["result"], result, "{what} {status} {body}");
    }
}

#[tokio::test]
async fn the_tokens_and_errors_of_a_model_are_on_record() {
    let world = World::new().await;
    let both = r#""usage":{"prompt_tokens":3,"input_tokens":3,"completion_tokens":4,"output_tokens":4}"#;
    let long = format!(r#"{{"x":"{}","choices":[],{both}}}"#, "x".repeat(2_000_000));
    let none = json!([null, null]);
    const EVENTS: &str = "text/event-stream";
    const CHUNK: &str = r#"{"choices":[{"delta":{"content":"x"},"finish_reason":null}]}"#;
    let last = CHUNK.replace("null", "\"stop\"");
    let anthropic = |last: &str| {
        format!("event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{}}}}\n\n{last}")
    };
    for (what, kind, text, result, tokens) in [
        ("a document over 1 MiB", "application/json", long.clone(), "ok", json!([3, 4])),
        ("both spellings", "application/json", format!("{{\"choices\":[],{both}}}"), "ok", json!([3, 4])),
        ("nothing", "application/json", String::new(), "failed", none.clone()),
        ("no answer of a model", "application/json", "{}".to_owned(), "unknown", none.clone()),
        (
            "a message of Anthropic's",
            "application/json",
            r#"{"type":"message","content":[]}"#.to_owned(),
            "ok",
            none.clone(),
        ),
        (
            "a list with an error",
            "application/json",
            r#"[{"error":{"code":400}}]"#.to_owned(),
            "error",
            none.clone(),
        ),
        ("a list", "application/json", r#"[{"choices":[]}]"#.to_owned(), "unknown", none.clone()),
        ("a stream of nothing", EVENTS, String::new(), "failed", none.clone()),
        ("a stream without its end", EVENTS, format!("data: {CHUNK}\n\n"), "unknown", none.clone()),
        (
            "a stream that says why it ends",
            EVENTS,
            format!("data: {CHUNK}\n\ndata: {last}\n\n"),
            "ok",
            none.clone(),
        ),
        (
            "a stream of two choices, of which one ends",
            EVENTS,
            format!("data: {}\n\ndata: {last}\n\n", CHUNK.replace("{\"delta", "{\"index\":1,\"delta")),
            "unknown",
            none.clone(),
        ),
        (
            "a stream of two choices, which both call tools",
            EVENTS,
            format!(
                "data: {CHUNK}\n\ndata: {}\n\ndata: {last}\n\n",
                last.replace("stop", "tool_calls").replace("{\"delta", "{\"index\":1,\"delta")
            ),
            "ok",
            none.clone(),
        ),
        ("a stream that is done", EVENTS, format!("data: {CHUNK}\n\ndata: [DONE]\n\n"), "ok", none.clone()),
        (
            "a stream whose end was cut",
            EVENTS,
            format!("data: {CHUNK}\n\ndata: [DONE]"),
            "unknown",
            none.clone(),
        ),
        ("a stream of Anthropic's without its end", EVENTS, anthropic(""), "unknown", none.clone()),
        (
            "a stream of Anthropic's",
            EVENTS,
            anthropic("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
            "ok",
            none.clone(),
        ),
        ("a document labelled as events", EVENTS, r#"{"choices":[]}"#.to_owned(), "failed", none.clone()),
        (
            "a stream labelled as a document",
            "application/json",
            format!("data: {CHUNK}\n\ndata: [DONE]\n\n"),
            "unknown",
            none.clone(),
        ),
        (
            "both spellings, in a stream",
            "text/event-stream",
            format!("data: {{\"choices\":[0],{both}}}\n\ndata: [DONE]\n\n"),
            "ok",
            json!([3, 4]),
        ),
        (
            "an error in a stream",
            "text/event-stream",
            "data: {\"choices\":[0]}\n\ndata: {\"error\":{\"message\":\"overloaded\"}}\n\n".to_owned(),
            "error",
            json!([null, null]),
        ),
        (
            "Anthropic's error in a stream",
            "text/event-stream",
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n"
                .to_owned(),
            "error",
            json!([null, null]),
        ),
        (
            "an event that was broken off",
            "text/event-stream",
            "data: {\"choices\":\n\n".to_owned(),
            "unknown",
            json!([null, null]),
        ),
    ] {
        let sent = chunked(&world, kind, text);
        let ask = json!({"model": "small", "messages": [], "stream": kind == "text/event-stream"});
        let request = world.request(Method::POST, "/llm/t/models/v1/chat/completions", &ask);
        let (_, headers, _) = world.call(request).await;
        sent.await.expect("sent");
        let effect: &Value = &world.records(&call_id(&headers), 2).await[1];
        assert_eq!(effect["result"], result, "{what}");
        assert_eq!(json!([effect["tokens_input"], effect["tokens_output"]]), tokens, "{what}");
    }
}

/// What came of a task that was sent is what came of the call; to be told of one is not.
#[tokio::test]
async fn a_task_that_failed_is_an_error_of_the_call_that_sent_it() {
    const EVENTS: &str = "text/event-stream";
    let world = World::new().await;
    let task = |state: &str| json!({"jsonrpc": "2.0", "id": 1, "result": {"kind": "task", "id": "t", "status": {"state": state}}});
    let news = |state: &str| json!({"jsonrpc": "2.0", "id": 1, "result": {"statusUpdate": {"taskId": "t", "status": {"state": state}}}});
    let ask =
        |method: &str, params: Value| json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let message = json!({"message": {}});
    for (what, ask, kind, answer, result) in [
        (
            "failed",
            ask("message/send", message.clone()),
            "application/json",
            task("failed").to_string(),
            "error",
        ),
        (
            "rejected",
            ask("message/send", message.clone()),
            "application/json",
            task("rejected").to_string(),
            "error",
        ),
        (
            "canceled",
            ask("message/send", message.clone()),
            "application/json",
            task("canceled").to_string(),
            "ok",
        ),
        (
            "completed",
            ask("message/send", message.clone()),
            "application/json",
            task("completed").to_string(),
            "ok",
        ),
        (
            "fails in the stream",
            ask("SendStreamingMessage", message.clone()),
            EVENTS,
            format!("data: {}\n\ndata: {}\n\n", news("TASK_STATE_WORKING"), news("TASK_STATE_FAILED")),
            "error",
        ),
        (
            "works in the stream",
            ask("SendStreamingMessage", message),
            EVENTS,
            format!("data: {}\n\n", news("TASK_STATE_COMPLETED")),
            "ok",
        ),
    ] {
        world.upstream.next(Answer::whole(kind, answer));
        let (_, headers, _) = world.call(world.request(Method::POST, "/a2a/t/callee", &ask)).await;
        assert_eq!(world.records(&call_id(&headers), 2).await[1]["result"], result, "{what}");
    }
}
