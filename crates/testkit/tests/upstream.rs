//! The upstream that other crates' tests stand on does what they take for granted.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use vidimus_testkit::upstream::{Answer, Upstream};

type Answered = http::Response<hyper::body::Incoming>;

async fn post(upstream: &Upstream, path: &str, body: &'static str) -> Result<Answered, String> {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::post(upstream.url(path)).header("x-test", "one").body(Full::from(body)).unwrap();
    let answered = tokio::time::timeout(Duration::from_secs(5), client.request(request)).await;
    answered.map_err(|_| "hangs".to_owned())?.map_err(|error| format!("{error:?}"))
}

async fn text(answered: Answered) -> String {
    String::from_utf8(answered.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn it_answers_in_order_and_shows_what_it_received() {
    let upstream = Upstream::start();
    upstream.otherwise(|received| Answer::json(&json!({ "path": received.uri.path() })));
    upstream.next(Answer::json(&json!({ "number": 1 })).with_status(StatusCode::CREATED));
    upstream.next(Answer::redirect("http://elsewhere.test/"));
    let first = post(&upstream, "/mcp?x=1", r#"{"a":1}"#).await.unwrap();
    assert_eq!((first.status(), &*text(first).await), (StatusCode::CREATED, r#"{"number":1}"#));
    let second = post(&upstream, "/mcp", "").await.unwrap();
    assert_eq!(second.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(second.headers().get("location").unwrap(), "http://elsewhere.test/");
    assert_eq!(text(post(&upstream, "/a2a", "").await.unwrap()).await, r#"{"path":"/a2a"}"#);

    let received = upstream.until_received(3).await;
    let first = received.first().unwrap();
    assert_eq!((first.method.as_str(), first.uri.to_string()), ("POST", "/mcp?x=1".to_owned()));
    assert_eq!((first.header("x-test"), first.header("x-other")), (Some("one"), None));
    assert_eq!(first.json(), json!({ "a": 1 }));
    assert_eq!(upstream.connections(), 3);
}

#[tokio::test]
async fn a_stream_goes_as_the_test_sends_it() {
    let upstream = Upstream::start();
    let (answer, stream) = Answer::stream("text/event-stream");
    upstream.next(answer);
    let mut body = post(&upstream, "/", "").await.unwrap().into_body();
    for data in ["one", "two"] {
        assert!(stream.event(data).await);
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), format!("data: {data}\n\n"));
    }
    drop(stream);
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_stream_can_be_reset_and_knows_when_nobody_reads_it() {
    let upstream = Upstream::start();
    let (answer, stream) = Answer::stream("text/event-stream");
    upstream.next(answer);
    let mut body = post(&upstream, "/", "").await.unwrap().into_body();
    assert!(stream.event("one").await);
    assert!(body.frame().await.unwrap().is_ok());
    stream.reset().await;
    let error = format!("{:?}", body.frame().await.unwrap().unwrap_err());
    assert!(error.contains("ConnectionReset"), "{error}");

    let (answer, stream) = Answer::stream("text/event-stream");
    upstream.next(answer);
    drop(post(&upstream, "/", "").await.unwrap());
    tokio::time::timeout(Duration::from_secs(5), stream.closed()).await.expect("closed");
}

#[tokio::test]
async fn it_resets_and_hangs_after_it_received_the_request() {
    let upstream = Upstream::start();
    upstream.next(Answer::reset());
    let error = post(&upstream, "/reset", "sent").await.unwrap_err();
    assert!(error.contains("ConnectionReset"), "{error}");
    assert_eq!(upstream.received().first().unwrap().body, "sent");

    upstream.next(Answer::hang());
    let call = post(&upstream, "/hang", "");
    tokio::select! {
        answered = call => panic!("{answered:?}"),
        received = upstream.until_received(2) => assert_eq!(received.len(), 2),
    }
}
