//! Spans that agents send of themselves, by all three ways that they come, and whose they are.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use serde_json::{Value, json};
use vidimus_core::act::{Act, Lifted, OfSubject, Subject};
use vidimus_core::clock::Clock as _;
use vidimus_gateway::millis;
use vidimus_identity::TokenRequest;
use vidimus_testkit::upstream::Answer;
use vidimus_traces::{KeptSpan, names};

use crate::acts::{ADMIN, follow_with};
use crate::world::{World, call_id, json_of, objects, snapshot};

const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const HTTP: &str = "/v1/traces";
const GRPC: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const PROTOBUF: &str = "application/x-protobuf";

fn span(id: u64, name: &str) -> Span {
    Span {
        trace_id: TRACE.to_be_bytes().to_vec(),
        span_id: id.to_be_bytes().to_vec(),
        name: name.to_owned(),
        start_time_unix_nano: 1,
        end_time_unix_nano: 2,
        ..Span::default()
    }
}

fn export(spans: Vec<Span>) -> Vec<u8> {
    let resource = Resource {
        attributes: vec![
            names::text("service.name", "t/caller"),
            names::text(names::PRINCIPAL, "Agent/t/stranger"),
        ],
        ..Resource::default()
    };
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans =
        vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn request(world: &World, who: Option<&str>, path: &str, kind: &str, body: Vec<u8>) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("host", "gateway.example")
        .header("content-type", kind);
    if let Some(who) = who {
        let token = world.token(who, Duration::from_secs(600));
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Full::new(Bytes::from(body))).expect("a request")
}

/// Sends spans in protobuf; how many were rejected, and why.
async fn sent(world: &World, who: &str, spans: Vec<Span>) -> (i64, String) {
    let (status, headers, body) = world.call(request(world, Some(who), HTTP, PROTOBUF, export(spans))).await;
    assert_eq!((status, headers["content-type"].as_bytes()), (StatusCode::OK, PROTOBUF.as_bytes()));
    let answer = ExportTraceServiceResponse::decode(body).expect("an answer of OTLP");
    answer.partial_success.map(|partial| (partial.rejected_spans, partial.error_message)).unwrap_or_default()
}

/// Who said what in the trace.
fn kept(world: &World) -> Vec<(String, String)> {
    let found = vidimus_traces::read(&world.traces(), TRACE).expect("a store");
    let name = |kept: &KeptSpan| kept.span.as_ref().expect("a span").name.clone();
    let mut kept: Vec<_> = found.spans.iter().map(|kept| (kept.principal.clone(), name(kept))).collect();
    kept.sort();
    kept
}

fn as_kept(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(who, what)| ((*who).to_owned(), (*what).to_owned())).collect()
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    [&[flag][..], &length[..], message].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// A call over gRPC: headers, message and trailers.
async fn grpc(world: &World, mut request: Request<Full<Bytes>>) -> (HeaderMap, Bytes, HeaderMap) {
    request.headers_mut().insert("te", "trailers".parse().expect("a value"));
    let (head, body) = world.send_http2(request).await.into_parts();
    assert_eq!(head.status, StatusCode::OK, "gRPC says the rest itself");
    let body = body.collect().await.expect("a whole answer");
    let trailers = body.trailers().cloned().unwrap_or_default();
    (head.headers, body.to_bytes(), trailers)
}

#[tokio::test]
async fn spans_come_by_all_three_ways_and_are_of_who_was_proven() {
    let world = World::new().await;
    assert_eq!(sent(&world, "caller", vec![span(1, "protobuf")]).await, (0, String::new()));
    let json = json!({"resourceSpans": [{"scopeSpans": [{"spans": [{
        "traceId": format!("{TRACE:032x}"), "spanId": "0000000000000002", "name": "json", "kind": 3,
        "startTimeUnixNano": "1", "endTimeUnixNano": "2", "attributes": [{"key": "a", "value": {"intValue": "1"}}]}]}]}]});
    let json =
        request(&world, Some("caller"), HTTP, "application/json; charset=utf-8", json.to_string().into());
    let (status, headers, body) = world.call(json).await;
    assert_eq!((status, json_of(&body)), (StatusCode::OK, json!({})));
    assert_eq!(headers["content-type"], "application/json");
    for (id, flag, body) in
        [(3, 0, export(vec![span(3, "grpc")])), (4, 1, gzip(&export(vec![span(4, "grpc-gzip")])))]
    {
        let mut request = request(&world, Some("caller"), GRPC, "application/grpc", framed(flag, &body));
        request.headers_mut().insert("grpc-encoding", "gzip".parse().expect("a value"));
        let (headers, message, trailers) = grpc(&world, request).await;
        assert_eq!(
            (&headers["content-type"], &trailers["grpc-status"]),
            (&"application/grpc".parse().expect("a value"), &"0".parse().expect("a value")),
            "{id}"
        );
        assert_eq!(message, framed(0, b""), "{id}");
    }
    let mut zipped = request(&world, Some("caller"), HTTP, PROTOBUF, gzip(&export(vec![span(5, "gzip")])));
    zipped.headers_mut().insert("content-encoding", "gzip".parse().expect("a value"));
    assert_eq!(world.call(zipped).await.0, StatusCode::OK);
    let all = ["grpc", "grpc-gzip", "gzip", "json", "protobuf"].map(|name| ("Agent/t/caller", name));
    assert_eq!(kept(&world), as_kept(&all));
    let found = vidimus_traces::read(&world.traces(), TRACE).expect("a store").spans;
    let first = found.iter().find(|kept| kept.span.as_ref().is_some_and(|span| span.name == "protobuf"));
    let first = first.expect("the first");
    assert!(first.identity.ends_with("#caller"), "{}", first.identity);
    assert_eq!(names::shown(&first.resource)["vidimus.principal"], "Agent/t/stranger", "said, and no more");
    assert_eq!(world.all_records(), Vec::<Value>::new(), "what is taken is no call");
}

#[tokio::test]
async fn an_agent_adds_to_what_it_said_and_alters_nobodys() {
    let world = World::new().await;
    sent(&world, "caller", vec![span(1, "true")]).await;
    assert_eq!(sent(&world, "caller", vec![span(1, "true")]).await.0, 0, "sent again");
    let (rejected, why) = sent(&world, "caller", vec![span(1, "altered"), span(2, "more")]).await;
    assert!(rejected == 1 && why.contains("the first stands"), "{rejected} {why}");
    // By another's ids, in another's trace: it is kept as its own.
    assert_eq!(sent(&world, "stranger", vec![span(1, "forged")]).await.0, 0);
    let expected = [("Agent/t/caller", "more"), ("Agent/t/caller", "true"), ("Agent/t/stranger", "forged")];
    assert_eq!(kept(&world), as_kept(&expected));
    let text = world.gate.meter.text(&world.gate.ledger);
    for line in [
        "vidimus_spans_total{result=\"stored\"} 3",
        "vidimus_spans_total{result=\"repeated\"} 1",
        "vidimus_spans_total{result=\"altered\"} 1",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[tokio::test]
async fn who_proves_nobody_says_nothing_and_is_on_record() {
    let world = World::new().await;
    let body = || export(vec![span(1, "a")]);
    let (status, headers, answer) = world.call(request(&world, None, HTTP, PROTOBUF, body())).await;
    assert_eq!(
        (status, &headers["vidimus-code"]),
        (StatusCode::UNAUTHORIZED, &"credential_missing".parse().expect("a value"))
    );
    assert_eq!(headers["content-type"], PROTOBUF);
    assert!(!answer.is_empty(), "a google.rpc.Status");
    assert_eq!(world.records(&call_id(&headers), 1).await[0]["path"], HTTP);
    let (headers, message, _) =
        grpc(&world, request(&world, None, GRPC, "application/grpc", framed(0, &body()))).await;
    assert_eq!((&headers["grpc-status"], message.len()), (&"16".parse().expect("a value"), 0));
    let mut foreign = request(&world, Some("caller"), HTTP, PROTOBUF, body());
    foreign.headers_mut().insert("origin", "https://evil.example".parse().expect("a value"));
    assert_eq!(world.call(foreign).await.0, StatusCode::FORBIDDEN, "of a page that nobody allowed");
    let mut got = request(&world, Some("caller"), HTTP, PROTOBUF, Vec::new());
    *got.method_mut() = Method::GET;
    assert_eq!(world.call(got).await.0, StatusCode::METHOD_NOT_ALLOWED);
    let (_, headers, _) = world.call(request(&world, Some("caller"), HTTP, "text/plain", body())).await;
    assert_eq!(headers["vidimus-code"], "message_invalid");
    assert_eq!(kept(&world), as_kept(&[]));
}

#[tokio::test]
async fn who_is_quarantined_is_not_listened_to_be_it_an_agent_an_identity_or_a_person() {
    let world = World::new().await;
    let mut all = objects(&world.upstream);
    for object in &mut all {
        if object["metadata"]["name"] == "caller" {
            object["spec"]["actsFor"] = json!([{ "issuer": "urn:vidimus:local" }]);
        }
    }
    world.gate.take_into_use(snapshot(&all));
    follow_with(&world, &all);
    let send = async |id: u64| {
        let (now, ttl) = (millis(world.clock.now().wall), Duration::from_secs(600));
        let asked = TokenRequest { subject: "caller", user: Some("ada"), audience: "vidimus", ttl, now };
        let token = world.identity.token(&asked).expect("a token");
        let token = secrecy::ExposeSecret::expose_secret(&token);
        let mut request = request(&world, None, HTTP, PROTOBUF, export(vec![span(id, "a")]));
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a value"));
        let (status, headers, _) = world.call(request).await;
        (status, headers.get("vidimus-code").cloned())
    };
    assert_eq!(send(1).await, (StatusCode::OK, None));
    let one = vidimus_traces::read(&world.traces(), TRACE).expect("a store").spans.remove(0);
    let person = format!("User/{}", one.user.expect("of a person"));
    for (id, subject) in
        [(2, "Agent/t/caller".to_owned()), (3, format!("Identity/{}", one.identity)), (4, person)]
    {
        let subject: Subject = subject.parse().expect("a subject");
        let act = Act::Quarantine(OfSubject { subject: subject.clone() });
        let done = world.gate.shared.act(ADMIN, act, "INC-7").await.expect("done");
        let (status, code) = send(id).await;
        let refused = (StatusCode::FORBIDDEN, Some("forbidden_by_policy".parse().expect("a value")));
        assert_eq!((status, code), refused, "{subject}");
        let lift = Lifted { of: done.id, subject: subject.clone() };
        world.gate.shared.act(ADMIN, Act::Lift(lift), "closed").await.expect("done");
        assert_eq!(send(id).await.0, StatusCode::OK, "{subject}");
    }
}

#[tokio::test]
async fn what_is_too_much_or_no_span_is_refused_and_the_rest_is_kept() {
    let world = World::new().await;
    let mut bomb = request(&world, Some("caller"), HTTP, PROTOBUF, gzip(&vec![0; 32 << 20]));
    bomb.headers_mut().insert("content-encoding", "gzip".parse().expect("a value"));
    let (status, headers, body) = world.call(bomb).await;
    let says = String::from_utf8_lossy(&body).into_owned();
    assert!(says.contains("4 MiB") && !says.contains("--max-body"), "{says}");
    assert_eq!(
        (status, &headers["vidimus-code"]),
        (StatusCode::PAYLOAD_TOO_LARGE, &"body_too_large".parse().expect("a value"))
    );
    let many = export(vec![Span::default(); 100_000]);
    assert_eq!(
        world.call(request(&world, Some("caller"), HTTP, PROTOBUF, many)).await.0,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let long = request(&world, Some("caller"), HTTP, PROTOBUF, vec![0; 5 << 20]);
    assert_eq!(world.call(long).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let bad = request(&world, Some("caller"), HTTP, PROTOBUF, b"\xff\xff".to_vec());
    assert_eq!(world.call(bad).await.0, StatusCode::BAD_REQUEST);
    let giant = Span { attributes: vec![names::text("x", "x".repeat(100_000))], ..span(1, "giant") };
    let nameless = Span { trace_id: vec![0; 16], ..span(2, "nameless") };
    let endless = span(4, &"x".repeat(100_000));
    let (rejected, why) = sent(&world, "caller", vec![giant, nameless, span(3, "good"), endless]).await;
    let says = ["too large", "no ids", "1 are kept without the ends"];
    assert!(rejected == 2 && says.iter().all(|one| why.contains(one)), "{rejected} {why}");
    assert_eq!(kept(&world), as_kept(&[("Agent/t/caller", "giant"), ("Agent/t/caller", "good")]));
    let found = vidimus_traces::read(&world.traces(), TRACE).expect("a store").spans;
    let giant = found.iter().filter_map(|kept| kept.span.as_ref()).find(|span| span.name == "giant");
    let giant = giant.expect("the giant");
    assert_eq!(giant.dropped_attributes_count, 1);
    assert!(names::shown(&giant.attributes)["x"].ends_with("x… [100000 bytes]"));
    // That nothing is wrong but that is a warning.
    let prompt = Span { attributes: vec![names::text("x", "x".repeat(100_000))], ..span(5, "prompt") };
    let (rejected, why) = sent(&world, "caller", vec![prompt]).await;
    assert!(rejected == 0 && why.contains("without the ends"), "{why}");
    let text = world.gate.meter.text(&world.gate.ledger);
    for line in ["{result=\"refused\"} 100000", "{result=\"cut\"} 2", "{result=\"too_large\"} 1"] {
        assert!(text.contains(&format!("vidimus_spans_total{line}\n")), "{line}: {text}");
    }
}

#[tokio::test]
async fn what_is_empty_and_said_for_all_spans_is_not_kept_with_each() {
    let world = World::new().await;
    let resource = Resource { attributes: vec![KeyValue::default(); 15_000], ..Resource::default() };
    let zipped = |spans: Vec<Span>| {
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        let resource = Some(resource.clone());
        let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
        let body = gzip(&ExportTraceServiceRequest { resource_spans }.encode_to_vec());
        let mut request = request(&world, Some("caller"), HTTP, PROTOBUF, body);
        request.headers_mut().insert("content-encoding", "gzip".parse().expect("a value"));
        request
    };
    let (status, _, _) = world.call(zipped(vec![Span::default(); 20_000])).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    // Those that might be kept, and those that never are.
    for (spans, rejected) in
        [((1..501).map(|id| span(id, "a")).collect(), 0), (vec![Span::default(); 500], 500)]
    {
        let (status, _, body) = world.call(zipped(spans)).await;
        assert_eq!(status, StatusCode::OK);
        let answer = ExportTraceServiceResponse::decode(body).expect("an answer of OTLP");
        assert_eq!(answer.partial_success.map(|partial| partial.rejected_spans), Some(rejected));
    }
    let found = vidimus_traces::read(&world.traces(), TRACE).expect("a store").spans;
    assert_eq!(found.len(), 500, "a resource of which there is too much takes no span with it");
    assert!(found.iter().all(|kept| kept.resource.len() == 128));
    let text = world.gate.meter.text(&world.gate.ledger);
    assert!(text.contains("vidimus_spans_total{result=\"cut\"} 500\n"), "{text}");
}

#[tokio::test]
async fn the_record_of_a_call_says_below_which_span_its_caller_made_it() {
    let world = World::new().await;
    let mut call = world.tool("echo");
    let parent = format!("00-{TRACE:032x}-00f067aa0ba902b7-01");
    call.headers_mut().insert("traceparent", parent.parse().expect("a value"));
    let (_, headers, _) = world.call(call).await;
    let decision = &world.records(&call_id(&headers), 2).await[0];
    assert_eq!(decision["parent"], "00f067aa0ba902b7", "{decision}");
    assert!(decision["trace"].as_str().is_some_and(|trace| trace.starts_with(&format!("{TRACE:032x}-"))));
    let (_, headers, _) = world.call(world.tool("echo")).await;
    assert_eq!(world.records(&call_id(&headers), 2).await[0].get("parent"), None);
}

#[tokio::test]
async fn how_long_the_tokens_of_a_streamed_answer_took_is_on_record_and_measured() {
    let world = World::new().await;
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let chat = json!({"model": "small", "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    let response = world.send(world.request(Method::POST, "/llm/t/models/v1/chat/completions", &chat)).await;
    let call = call_id(response.headers());
    let mut body = response.into_body();
    let event = |delta: Value, usage: Value| {
        let chunk = json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}], "usage": usage});
        Bytes::from(format!("data: {chunk}\n\n"))
    };
    let after = Duration::from_millis(200);
    for (delta, usage) in [
        (json!({"role": "assistant", "content": ""}), Value::Null),
        (json!({"content": "a"}), Value::Null),
        (json!({"content": "b"}), json!({"prompt_tokens": 2, "completion_tokens": 5})),
    ] {
        world.clock.advance(after);
        stream.send(event(delta, usage)).await;
        body.frame().await.expect("an event").expect("whole");
    }
    world.clock.advance(after);
    stream.send(Bytes::from_static(b"data: [DONE]\n\n")).await;
    drop(stream);
    while let Some(frame) = body.frame().await {
        frame.expect("whole");
    }
    let effect = &world.records(&call, 2).await[1];
    assert_eq!(effect["time_to_first_token_us"], 400_000, "the first event has a role alone: {effect}");
    assert_eq!(effect["time_per_output_token_us"], 100_000, "the other four in 400 ms: {effect}");
    let text = world.gate.meter.text(&world.gate.ledger);
    let of = "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"openai\",gen_ai_request_model=\"small\"";
    for line in [
        format!("gen_ai_server_time_to_first_token_seconds_count{{{of},provider=\"t/models\"}} 1"),
        format!("gen_ai_server_time_per_output_token_seconds_count{{{of},provider=\"t/models\"}} 1"),
        // All of its time was the provider's, and none the gateway's.
        format!(
            "gen_ai_client_operation_duration_seconds_sum{{error_type=\"\",{of},provider=\"t/models\"}} 0.8"
        ),
        "vidimus_gateway_duration_seconds_bucket{le=\"0.00005\",protocol=\"llm\"} 1".to_owned(),
    ] {
        assert!(text.contains(&line), "{line}: {text}");
    }
}
