use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::*;

/// The messages of a lowered answer, as JSON, and what it ends with.
async fn lowered(method: &str, head: (u16, bool), chunks: &[&str]) -> (Vec<Value>, Status) {
    limited(method, head, chunks, 10_000).await
}

async fn limited(
    method: &str,
    (status, events): (u16, bool),
    chunks: &[&str],
    limit: usize,
) -> (Vec<Value>, Status) {
    let status = StatusCode::from_u16(status).expect("a status");
    let frames: Vec<_> =
        chunks.iter().map(|chunk| Frame::data(Bytes::copy_from_slice(chunk.as_bytes()))).collect();
    let answer = ReplyBody::framed(frames);
    let body = ReplyBody::lowered(Lowering::new(answer, method, (status, events), (limit, None)));
    let collected = body.collect().await.expect("an answer");
    let trailers = collected.trailers().cloned().expect("trailers");
    let mut frames = crate::protocol::a2a::grpc::frames::Frames::of_at_most(usize::MAX);
    frames.push(&collected.to_bytes());
    let mut messages = Vec::new();
    while let Some(message) = frames.take().expect("frames") {
        let json = Rpc::named(method).expect("a method").answered(&message).expect("a message");
        messages.push(serde_json::from_str(&json).expect("JSON"));
    }
    frames.finish().expect("whole");
    (messages, Status::of_trailers(&trailers).expect("a status"))
}

fn response(result: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string()
}

#[tokio::test]
async fn a_document_is_one_message_or_a_status() {
    let task = json!({"task": {"id": "t", "status": {"state": "TASK_STATE_WORKING"}}});
    let text = response(&task);
    let (begins, ends) = text.split_at(20);
    let (messages, status) = lowered("SendMessage", (200, false), &[begins, ends]).await;
    assert_eq!((messages, status), (vec![task], Status::OK));
    let nothing = r#"{"jsonrpc":"2.0","id":1,"result":null}"#;
    let (messages, status) = lowered("DeleteTaskPushNotificationConfig", (200, false), &[nothing]).await;
    assert_eq!((messages, status), (vec![json!({})], Status::OK));
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"no"}}"#;
    for http in [200, 404] {
        let (messages, status) = lowered("GetTask", (http, false), &[error]).await;
        assert_eq!((messages.len(), status.code, &*status.message), (0, 5, "no"));
        assert_eq!(status.infos[0].reason, "TASK_NOT_FOUND");
    }
    // Where no protocol was known, a refusal is told in plain words.
    let plain = r#"{"error":"route_unknown","error_description":"nothing here","vidimus":{}}"#;
    let (_, status) = lowered("GetTask", (404, false), &[plain]).await;
    assert_eq!(
        (status.code, &*status.message, &*status.infos[0].reason),
        (5, "nothing here", "ROUTE_UNKNOWN")
    );
}

#[tokio::test]
async fn each_event_is_a_message_until_an_error_is_one() {
    let update = json!({"statusUpdate": {"taskId": "t", "contextId": "c", "status": {"state": "TASK_STATE_COMPLETED"}}});
    let task = json!({"task": {"id": "t"}});
    let text = format!(
        ": ping\n\nid: 1\ndata: {}\n\ndata: keep-alive\n\nretry: 5\n\ndata: {}\r\n\r\n",
        response(&task),
        response(&update)
    );
    for size in [1, 7, 10_000] {
        let chunks: Vec<&str> =
            text.as_bytes().chunks(size).map(|c| std::str::from_utf8(c).expect("ASCII")).collect();
        let (messages, status) = lowered("SendStreamingMessage", (200, true), &chunks).await;
        assert_eq!((messages, status), (vec![task.clone(), update.clone()], Status::OK), "{size}");
    }
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-31403,"message":"no"}}"#;
    let text = format!("data: {}\n\ndata: {error}\n\ndata: {}\n\n", response(&task), response(&task));
    let (messages, status) = lowered("SendStreamingMessage", (200, true), &[&text]).await;
    assert_eq!((messages.len(), status.code), (1, 7), "nothing follows an error");
}

/// Attack: an answer that cannot be said, or does not end, or is cut.
#[tokio::test]
async fn what_cannot_be_said_is_a_status() {
    for (head, text) in [
        ((200, false), "<html>"),
        ((200, false), ""),
        ((200, false), r#"{"result":{"id":7}}"#),
        ((200, false), r#"{"result":{"id":"a"},"result":{"id":"b"}}"#),
        ((200, true), "data: {\"result\":[]}\n\n"),
        ((200, true), "data: {\"jsonrpc\n\n"),
    ] {
        let (messages, status) = lowered("GetTask", head, &[text]).await;
        assert_eq!((messages.len(), &*status.infos[0].reason), (0, "UPSTREAM_INVALID"), "{text}");
    }
    let long = response(&json!({"id": "x".repeat(500)}));
    let (messages, status) = limited("GetTask", (200, false), &[&long, &long], 100).await;
    assert_eq!((messages.len(), status.code), (0, 8));
    let event = format!("data: {long}");
    let (messages, status) = limited("SubscribeToTask", (200, true), &[&event, &event], 100).await;
    assert_eq!((messages.len(), status.code), (0, 8));
    // What is left of it is not read, which may have no end.
    let answer = ReplyBody::framed(Vec::new());
    let mut lowering = Lowering::new(answer, "SubscribeToTask", (StatusCode::OK, true), (100, None));
    lowering.push(
        format!("data: {}\n\ndata: {}", response(&json!({"task": {"id": "t"}})), "x".repeat(200)).as_bytes(),
    );
    assert_eq!((lowering.ended, lowering.ready.len()), (true, 1));
    let (_, status) = lowered("Other", (404, false), &[r#"{"error":{"code":-32601,"message":"no"}}"#]).await;
    assert_eq!(status.code, 12);
    for (code, expected) in
        [("revoked", "REVOKED"), ("upstream_timeout", "UPSTREAM_TIMEOUT"), ("?", "UPSTREAM_INTERRUPTED")]
    {
        assert_eq!(of_cut(code).infos[0].reason, expected);
    }
}
