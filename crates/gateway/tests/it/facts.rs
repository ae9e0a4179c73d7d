//! The facts of an effect: errors are errors however they are written, and what was not read is not called good.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use vidimus_testkit::upstream::Answer;

use super::world::{World, call_id};

const ERROR: &str = r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}"#;

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
        ("a keep-alive", EVENTS, ": ping\n\ndata: ping\n\ndata: {}\n\n".to_owned(), "ok"),
        ("a document over 1 MiB", "application/json", long.clone(), "error"),
        ("a document with a byte order mark", "application/json", format!("\u{feff}{ERROR}"), "error"),
        ("a document that is no JSON", "text/html", "<html></html>".to_owned(), "unknown"),
        ("a long document that is no JSON", "text/html", "<html></html>".repeat(10_000), "unknown"),
        ("a document", "application/json", "{\"result\":{}}".to_owned(), "ok"),
    ] {
        let sent = chunked(&world, kind, text);
        let (_, headers, _) = world.call(world.tool("echo")).await;
        sent.await.expect("sent");
        assert_eq!(world.records(&call_id(&headers), 2).await[1]["result"], result, "{what}");
    }
    for (status, encoding, kind, result) in [
        (200, "gzip", EVENTS, "unknown"),
        (200, "gzip", "application/json", "unknown"),
        (202, "identity", "text/plain", "ok"),
        (404, "identity", "text/plain", "error"),
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

#[tokio::test]
async fn the_tokens_and_errors_of_a_model_are_on_record() {
    let world = World::new().await;
    let both = r#""usage":{"prompt_tokens":3,"input_tokens":3,"completion_tokens":4,"output_tokens":4}"#;
    let long = format!(r#"{{"x":"{}",{both}}}"#, "x".repeat(2_000_000));
    for (what, kind, text, result, tokens) in [
        ("a document over 1 MiB", "application/json", long.clone(), "ok", json!([3, 4])),
        ("both spellings", "application/json", format!("{{{both}}}"), "ok", json!([3, 4])),
        (
            "both spellings, in a stream",
            "text/event-stream",
            format!("data: {{\"choices\":[0],{both}}}\n\n"),
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
