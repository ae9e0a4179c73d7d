use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use vidimus_core::refusal::Code;

use super::*;

const LIMIT: usize = 256;

fn read(status: u16, kind: &str, body: &str) -> Result<Response<Body>, Code> {
    let response = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, kind)
        .header(CONTENT_LENGTH, body.len())
        .body(Body::Whole(Some(Bytes::copy_from_slice(body.as_bytes()))))
        .expect("a response");
    let reading = Reading { id: "\"own\"".into(), limit: LIMIT };
    reading.answer(response).map_err(|refusal| refusal.code)
}

async fn whole(response: Response<Body>) -> Result<String, Code> {
    let body = response.into_body().collect().await;
    let body = body.map_err(|broken| broken.refusal("it broke off").code)?;
    Ok(String::from_utf8(body.to_bytes().to_vec()).expect("UTF-8"))
}

#[tokio::test]
async fn an_answer_is_a_response_and_its_status_is_kept_for_the_record() {
    let error =
        json!({"error": {"code": 404, "status": "NOT_FOUND", "message": "no", "details": []}}).to_string();
    for (status, body, member) in [
        (200, r#"{"id":"1"}"#, "result"),
        (204, "", "result"),
        (404, &*error, "error"),
        (200, &*error, "error"),
    ] {
        let response = read(status, "application/a2a+json", body).expect("an answer");
        assert_eq!(response.status(), StatusCode::OK, "over JSON-RPC an error is an answer");
        assert_eq!(response.headers().get(CONTENT_LENGTH), None);
        assert_eq!(response.headers().get(CONTENT_TYPE), Some(&JSON));
        assert_eq!(response.extensions().get::<Came>().map(|came| came.status.as_u16()), Some(status));
        let said: Value = serde_json::from_str(&whole(response).await.expect("whole")).expect("JSON");
        assert_eq!(said["id"], "own");
        assert!(
            said.get(member).is_some() && said.as_object().map(serde_json::Map::len) == Some(3),
            "{said}"
        );
    }
}

#[tokio::test]
async fn events_are_responses_and_one_that_has_no_end_is_none() {
    let events = "data: {\"task\":{}}\n\ndata: {\"statusUpdate\":{}}\n\ndata: {\"task\":{}}";
    let response = read(200, "text/event-stream; charset=utf-8", events).expect("an answer");
    assert_eq!(response.headers().get(CONTENT_TYPE), Some(&EVENTS));
    let said = whole(response).await.expect("whole");
    let expected = r#"data: {"jsonrpc":"2.0","id":"own","result":{"task":{}}}"#;
    assert_eq!(said.lines().next(), Some(expected));
    assert_eq!(said.matches("jsonrpc").count(), 2, "{said}");
}

/// Attacks: an agent that redirects, compresses, answers without end, or with what is no answer.
#[tokio::test]
async fn what_is_no_answer_is_refused_as_that() {
    let redirect = read(307, "text/html", "x").expect("it is refused as any redirect");
    assert_eq!(redirect.status(), StatusCode::TEMPORARY_REDIRECT);
    for (status, kind, body) in [
        (200, "application/json", "{"),
        (200, "application/json", r#"{"id":"1"}{"#),
        (200, "application/json", r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
        (502, "text/html", "<html>"),
        (404, "application/json", r#"{"id":"1"}"#),
        (200, "application/json", &*"1".repeat(LIMIT + 1)),
        (200, "text/event-stream", &*format!("data: {{\"x\":\"{}\"}}\n\n", "x".repeat(LIMIT))),
        (200, "text/event-stream", "data: {\"result\":{}}\n\n"),
    ] {
        let response = read(status, kind, body).expect("it begins well");
        assert_eq!(whole(response).await, Err(Code::UpstreamInvalid), "{status} {kind} {body}");
    }
    let squeezed =
        Response::builder().header(CONTENT_ENCODING, "gzip").body(Body::Whole(None)).expect("a response");
    let refused = Reading { id: "1".into(), limit: LIMIT }.answer(squeezed).map_err(|refusal| refusal.code);
    assert_eq!(refused.map(|_| ()), Err(Code::UpstreamInvalid));
}
