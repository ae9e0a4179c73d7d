//! Which header fields pass, both ways, and what becomes of an answer in an encoding.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use vidimus_testkit::upstream::Answer;

use super::world::{World, call_id, json_of, objects, snapshot};

const RESPONSE: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
const EVENTS: &str = "text/event-stream";

fn with(mut request: Request<Full<Bytes>>, lines: &[(&'static str, &'static str)]) -> Request<Full<Bytes>> {
    for (name, value) in lines {
        request.headers_mut().append(*name, value.parse().expect("a value"));
    }
    request
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h str> {
    headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect()
}

#[tokio::test]
async fn what_the_record_says_passes_or_is_set_and_all_else_is_counted() {
    let world = World::new().await;
    let mut all = objects(&world.upstream);
    all[3]["spec"]["endpoint"]["headers"] =
        json!({"pass": ["X-Tenant", "x-team-"], "set": {"X-Environment": "staging"}});
    world.gate.take_into_use(snapshot(&all));
    let request = with(
        world.tool("echo"),
        &[
            ("x-tenant", "a"),
            ("x-tenant", "b"),
            ("x-team-name", "c"),
            ("x-team-of-hop", "d"),
            ("connection", "x-team-of-hop"),
            ("x-environment", "production"),
            ("x-other", "e"),
            ("x-forwarded-for", "192.0.2.1"),
            ("idempotency-key", "k"),
            // The upstream has these too, as the gateway writes them.
            ("content-type", "application/json"),
            ("accept-encoding", "gzip"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ],
    );
    let answer = Answer::whole("application/json", RESPONSE).with_header("x-team-answered", "f");
    world.upstream.next(answer.with_header("x-else", "g"));
    let (_, headers, _) = world.call(request).await;
    let received = world.upstream.received().remove(0).headers;
    for (name, expected) in [
        ("x-tenant", &["a", "b"][..]),
        ("x-team-name", &["c"]),
        ("x-team-of-hop", &[]),
        ("x-environment", &["staging"]),
        ("x-other", &[]),
        ("x-forwarded-for", &[]),
        ("idempotency-key", &["k"]),
    ] {
        assert_eq!(text(&received, name), expected, "{name}");
    }
    assert_eq!((text(&headers, "x-team-answered"), text(&headers, "x-else")), (vec!["f"], vec![]));
    let metrics = world.gate.meter.text(&world.gate.ledger);
    // Of the request: the field that its connection has, what is set in its place, and two that nobody lets pass.
    for line in ["{direction=\"request\"} 4", "{direction=\"answer\"} 1"] {
        assert!(metrics.contains(&format!("vidimus_headers_dropped_total{line}")), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn what_sdks_send_of_themselves_passes_to_models() {
    let world = World::new().await;
    let chat = json!({"model": "small", "messages": []});
    let lines = [
        ("openai-organization", "o"),
        ("openai-project", "p"),
        ("openai-beta", "b"),
        ("idempotency-key", "i"),
        ("x-stainless-lang", "python"),
        ("tracestate", "v=1"),
    ];
    let request = with(world.request(Method::POST, "/llm/t/models/v1/chat/completions", &chat), &lines);
    world.call(request).await;
    let received = world.upstream.received().remove(0);
    for (name, value) in lines {
        assert_eq!(received.header(name), Some(value));
    }
    assert!(received.header("traceparent").is_some());
}

/// Documents and streams alike.
#[tokio::test]
async fn an_answer_has_its_rate_limits_and_does_not_speak_in_our_name() {
    let world = World::new().await;
    let own = [
        ("x-ratelimit-remaining-tokens", "7"),
        ("retry-after", "9"),
        ("x-request-id", "r"),
        ("anthropic-ratelimit-tokens-reset", "t"),
        ("openai-processing-ms", "3"),
    ];
    let ours = [
        ("vidimus-call", "forged"),
        ("vidimus-code", "no_permit"),
        ("access-control-allow-origin", "*"),
        ("alt-svc", "h3=\":1\""),
        ("strict-transport-security", "max-age=1"),
        ("set-cookie", "a=b"),
        ("location", "http://elsewhere"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
    ];
    for (kind, body) in [("application/json", RESPONSE.to_owned()), (EVENTS, format!("data: {RESPONSE}\n\n"))]
    {
        for status in [200, 429] {
            let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}"#;
            let body = if status == 200 { body.clone() } else { error.to_owned() };
            let mut answer = Answer::whole(kind, body).with_status(status.try_into().expect("a status"));
            for (name, value) in own.into_iter().chain(ours) {
                answer = answer.with_header(name, value);
            }
            world.upstream.next(answer);
            let (got, headers, _) = world.call(world.tool("echo")).await;
            assert_eq!((got.as_u16(), text(&headers, "vidimus-call").len()), (status, 1), "{kind}");
            assert_ne!(headers["vidimus-call"], "forged");
            for (name, value) in own {
                assert_eq!(text(&headers, name), [value], "{kind} {status}");
            }
            for (name, _) in &ours[1..] {
                assert_eq!(text(&headers, name), [""; 0], "{kind} {status} {name}");
            }
        }
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}

/// An answer in gzip.
fn encoded(kind: &str, body: &[u8]) -> Answer {
    Answer::whole(kind, gzip(body)).with_header("content-encoding", "gzip")
}

#[tokio::test]
async fn gzip_is_decoded_where_the_answer_must_be_read() {
    let world = World::new().await;
    let ask = |method: &str| json!({"jsonrpc": "2.0", "id": 1, "method": method});
    let list = json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "echo"}, {"name": "other"}]}});
    let shown = list.to_string().replace(r#",{"name":"other"}"#, "");
    let event = |text: &str| format!("data: {text}\n\n");
    for (what, method, answer, expected) in [
        ("a listing", "tools/list", encoded("application/json", list.to_string().as_bytes()), shown.clone()),
        (
            "a listing as an event",
            "tools/list",
            encoded(EVENTS, event(&list.to_string()).as_bytes()),
            event(&shown),
        ),
        ("a short answer", "ping", encoded("application/json", RESPONSE.as_bytes()), RESPONSE.to_owned()),
        ("events", "ping", encoded(EVENTS, event(RESPONSE).as_bytes()), event(RESPONSE)),
    ] {
        world.upstream.next(answer);
        let (status, headers, body) =
            world.call(world.request(Method::POST, "/mcp/t/tools", &ask(method))).await;
        assert_eq!((status.as_u16(), std::str::from_utf8(&body)), (200, Ok(&*expected)), "{what}");
        assert_eq!(headers.get("content-encoding"), None, "{what}");
        assert_eq!(world.records(&call_id(&headers), 2).await[1]["result"], "ok", "{what}");
    }
    let bomb = encoded("application/json", &vec![b' '; 64 * 1024 * 1024]);
    world.upstream.next(bomb);
    let (_, headers, body) =
        world.call(world.request(Method::POST, "/mcp/t/tools", &ask("tools/list"))).await;
    assert_eq!(json_of(&body)["error"]["data"]["code"], "upstream_invalid");
    let effect: Value = world.records(&call_id(&headers), 2).await.remove(1);
    assert_eq!((&effect["result"], &effect["status"]), (&json!("failed"), &json!(200)));
}

#[tokio::test]
async fn gzip_that_need_not_be_read_passes_as_it_says() {
    let world = World::new().await;
    let whole = gzip(RESPONSE.as_bytes());
    let (answer, stream) = Answer::stream("application/json");
    world.upstream.next(answer.with_header("content-encoding", "gzip"));
    let chat = json!({"model": "small", "messages": []});
    let model = world.request(Method::POST, "/llm/t/models/v1/chat/completions", &chat);
    let (response, sent) = tokio::join!(world.send(model), stream.send(whole.clone()));
    assert!(sent);
    drop(stream);
    let (parts, body) = response.into_parts();
    assert_eq!(parts.headers["content-encoding"], "gzip");
    assert_eq!(*body.collect().await.expect("whole").to_bytes(), *whole);
    assert_eq!(world.records(&call_id(&parts.headers), 2).await[1]["result"], "unknown");
    // A server may ask something in it.
    let (answer, stream) = Answer::stream("application/json");
    world.upstream.next(answer.with_header("content-encoding", "gzip"));
    let (response, sent) = tokio::join!(world.send(world.tool("echo")), stream.send(whole));
    assert!(sent);
    drop(stream);
    let (parts, body) = response.into_parts();
    assert_eq!(parts.headers.get("content-encoding"), None);
    assert_eq!(*body.collect().await.expect("whole").to_bytes(), *RESPONSE.as_bytes());
    assert_eq!(world.records(&call_id(&parts.headers), 2).await[1]["result"], "ok");
}
