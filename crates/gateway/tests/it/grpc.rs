//! A2A over gRPC: who calls by it reaches every agent, and an agent that speaks it is reached by every caller; the call, its decision and its
//! record are those of JSON-RPC.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Value, json};
use vidimus_testkit::upstream::Answer;

use super::world::{World, call_id, json_of, objects, snapshot};

const ROUTE: &str = "/a2a/t/callee";
const SERVICE: &str = "/lf.a2a.v1.A2AService/";
const CEDAR: &str = r#"
    permit (principal == Agent::"t/caller", action == Action::"callAgent", resource == Agent::"t/callee");
    permit (principal == Agent::"t/stranger", action == Action::"callAgent", resource == Agent::"t/callee");
    forbid (principal, action == Action::"callAgent", resource == Skill::"t/callee/forbidden");
"#;

static SCHEMA: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let bytes = include_bytes!("../../src/protocol/a2a/grpc/a2a.binpb");
    DescriptorPool::decode(&bytes[..]).expect("descriptors")
});

/// The messages of a method: what is asked, and what is answered.
fn types(method: &str) -> (prost_reflect::MessageDescriptor, prost_reflect::MessageDescriptor) {
    let service = SCHEMA.get_service_by_name("lf.a2a.v1.A2AService").expect("the service");
    let method = service.methods().find(|one| one.name() == method).expect("the method");
    (method.input(), method.output())
}

fn written(of: prost_reflect::MessageDescriptor, said: &Value) -> Vec<u8> {
    let text = said.to_string();
    let mut reader = serde_json::Deserializer::from_str(&text);
    DynamicMessage::deserialize(of, &mut reader).expect("a message").encode_to_vec()
}

fn read(of: prost_reflect::MessageDescriptor, message: &[u8]) -> Value {
    let message = DynamicMessage::decode(of, message).expect("a message");
    serde_json::to_value(&message).expect("JSON")
}

fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    [&[0_u8][..], &length[..], message].concat().into()
}

/// The messages of a body that is whole.
fn messages(mut body: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some(([flag, length @ ..], rest)) = body.split_first_chunk::<5>() {
        assert_eq!(*flag, 0);
        let (message, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        found.push(message.to_vec());
        body = rest;
    }
    assert_eq!(body, b"");
    found
}

/// What came of one call.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) headers: HeaderMap,
    pub(super) messages: Vec<Value>,
    trailers: HeaderMap,
}

impl Came {
    pub(super) fn status(&self) -> u16 {
        let said = self.trailers.get("grpc-status").expect("a status");
        said.to_str().expect("text").parse().expect("a number")
    }

    pub(super) fn code(&self) -> Option<&str> {
        self.headers.get("vidimus-code").map(|code| code.to_str().expect("text"))
    }

    /// Whether the details of the status have this word.
    pub(super) fn details_have(&self, word: &str) -> bool {
        let details = self.trailers.get("grpc-status-details-bin").expect("details");
        use base64::Engine as _;
        let details = base64::engine::general_purpose::STANDARD_NO_PAD.decode(details).expect("base64");
        String::from_utf8_lossy(&details).contains(word)
    }
}

fn request(world: &World, subject: &str, path: &str, body: Bytes) -> Request<Full<Bytes>> {
    let (mut parts, _) = world.request(Method::POST, path, &Value::Null).into_parts();
    let token = world.token(subject, Duration::from_secs(600));
    parts.headers.remove("accept");
    parts.headers.insert("authorization", format!("Bearer {token}").parse().expect("a value"));
    parts.headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    parts.headers.insert("te", HeaderValue::from_static("trailers"));
    Request::from_parts(parts, Full::new(body))
}

async fn sent(world: &World, method: &str, request: Request<Full<Bytes>>) -> Came {
    let (parts, body) = world.send_http2(request).await.into_parts();
    assert_eq!(parts.status, StatusCode::OK);
    assert_eq!(parts.headers["content-type"], "application/grpc");
    let collected = body.collect().await.expect("a whole answer");
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let (_, output) = types(method);
    let messages = messages(&collected.to_bytes()).iter().map(|one| read(output.clone(), one)).collect();
    Came { headers: parts.headers, messages, trailers }
}

/// Calls the agent by its path.
pub(super) async fn ask(world: &World, subject: &str, method: &str, said: &Value) -> Came {
    let body = framed(&written(types(method).0, said));
    sent(world, method, request(world, subject, &format!("{ROUTE}{SERVICE}{method}"), body)).await
}

fn message(more: &Value) -> Value {
    let mut message = json!({"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "x"}]});
    for (key, value) in more.as_object().expect("an object") {
        message[key] = value.clone();
    }
    json!({"message": message})
}

fn task(id: &str) -> Value {
    json!({"id": id, "contextId": "ctx", "status": {"state": "TASK_STATE_WORKING"}})
}

fn response(result: &Value) -> Answer {
    Answer::json(&json!({"jsonrpc": "2.0", "id": 1, "result": result}))
}

/// A world in which both may call the agent, which is served over gRPC where `grpc` says so, and alone by that where `alone`.
async fn world(grpc: Option<SocketAddr>, alone: bool) -> World {
    let world = World::new().await;
    let mut given = objects(&world.upstream);
    if let Some(grpc) = grpc {
        given[2]["spec"]["endpoint"]["grpc"] = json!(format!("http://{grpc}"));
        if alone {
            given[2]["spec"]["endpoint"]["url"] = json!(format!("http://{grpc}/"));
            given[2]["spec"]["endpoint"]["card"] = json!(world.upstream.url("/card.json"));
        }
    }
    given[5]["spec"]["cedar"] = json!(CEDAR);
    world.gate.take_into_use(snapshot(&given));
    world
}

#[tokio::test]
async fn an_agent_of_json_rpc_is_called_by_its_path_in_metadata_or_by_the_tenant_of_its_card() {
    let world = world(None, false).await;
    let by_path = |said: &Value| {
        request(
            &world,
            "caller",
            &format!("{ROUTE}{SERVICE}SendMessage"),
            framed(&written(types("SendMessage").0, said)),
        )
    };
    let bare = |said: &Value| {
        request(
            &world,
            "caller",
            &format!("{SERVICE}SendMessage"),
            framed(&written(types("SendMessage").0, said)),
        )
    };
    let mut by_tenant = message(&json!({"metadata": {"note": "n"}}));
    let plain = by_tenant.clone();
    by_tenant["tenant"] = json!("t/callee");
    let mut by_metadata = bare(&plain);
    by_metadata.headers_mut().insert("vidimus-route", HeaderValue::from_static("t/callee"));
    for request in [by_path(&plain), by_path(&by_tenant), by_metadata, bare(&by_tenant)] {
        world.upstream.next(response(&json!({"task": task("1")})));
        let came = sent(&world, "SendMessage", request).await;
        assert_eq!((came.status(), came.code(), came.messages.len()), (0, None, 1), "{came:?}");
        let made = &came.messages[0]["task"];
        assert!(made["id"] != "1" && made["contextId"] != "ctx", "its ids are the caller's alone: {made}");
        assert_eq!(made["status"]["state"], "TASK_STATE_WORKING");
        let received = world.upstream.received();
        let last = received.last().expect("a request");
        let said = last.json();
        assert_eq!(
            (last.uri.path(), &said["method"], &said["params"]),
            ("/a2a", &json!("SendMessage"), &plain)
        );
        assert_eq!(last.header("a2a-version"), Some("1.0"));
        assert_eq!((last.header("vidimus-route"), last.header("te")), (None, None));
        assert!(last.header("authorization").is_some_and(|token| token.starts_with("Bearer ")));
        let records = world.records(&call_id(&came.headers), 2).await;
        assert_eq!(
            (&records[0]["method"], &records[0]["resource"], &records[0]["protocol"]),
            (&json!("SendMessage"), &json!("Agent/t/callee"), &json!("a2a"))
        );
        assert_eq!((&records[1]["task"], &records[1]["result"]), (&json!("1"), &json!("ok")));
    }
}

/// Attacks: an agent that is named twice, or not, or by who may not know it.
#[tokio::test]
async fn who_is_called_is_said_once_and_only_to_who_is_known() {
    let world = world(None, false).await;
    let ask = async |path: &str, tenant: &str, metadata: &[&'static str], subject: Option<&str>| {
        let mut said = message(&json!({}));
        said["tenant"] = json!(tenant);
        let body = framed(&written(types("SendMessage").0, &said));
        let mut request = request(&world, subject.unwrap_or("caller"), path, body);
        if subject.is_none() {
            request.headers_mut().remove("authorization");
        }
        for &route in metadata {
            request.headers_mut().append("vidimus-route", HeaderValue::from_static(route));
        }
        sent(&world, "SendMessage", request).await
    };
    let (at_route, bare) = (format!("{ROUTE}{SERVICE}SendMessage"), format!("{SERVICE}SendMessage"));
    let (at_route, bare) = (&*at_route, &*bare);
    for (path, tenant, metadata, subject, code, status) in [
        // The tenant of another route.
        (at_route, "t/other", &[][..], Some("caller"), "member_undecided", 3),
        (at_route, "callee", &[], Some("caller"), "member_undecided", 3),
        (bare, "t/other", &["t/callee"], Some("caller"), "member_undecided", 3),
        (at_route, "", &["t/other"], Some("caller"), "route_unknown", 5),
        (at_route, "", &["t/callee", "t/other"], Some("caller"), "route_unknown", 5),
        (bare, "", &[], Some("caller"), "route_unknown", 5),
        (bare, "t/../t/callee", &[], Some("caller"), "route_unknown", 5),
        (bare, "t/none", &[], Some("caller"), "resource_unknown", 5),
        (bare, "t/callee", &["t/callee", "t/callee"], Some("caller"), "route_unknown", 5),
        (bare, "t/callee", &["/t/callee"], Some("caller"), "route_unknown", 5),
        (bare, "t/callee", &[], None, "credential_missing", 16),
        (bare, "", &["t/callee"], None, "credential_missing", 16),
        (bare, "t/callee", &[], Some("nobody"), "principal_unknown", 16),
    ] {
        let came = ask(path, tenant, metadata, subject).await;
        assert_eq!(
            (came.code(), came.status()),
            (Some(code), status),
            "{path} {tenant} {metadata:?} {came:?}"
        );
        assert!(came.details_have("next"), "{code}");
        assert!(!world.records(&call_id(&came.headers), 1).await.is_empty());
    }
    let old = request(&world, "caller", &format!("{ROUTE}/a2a.v1.A2AService/GetTask"), framed(b""));
    let came = sent(&world, "GetTask", old).await;
    assert_eq!((came.code(), came.status()), (Some("message_invalid"), 3), "0.3 names a task in its request");
    assert_eq!(world.upstream.received().len(), 0, "nothing of it reached the agent");
}

#[tokio::test]
async fn a_task_is_its_makers_over_grpc_too() {
    let world = world(None, false).await;
    world.upstream.next(response(&json!({"task": task("1")})));
    let came = ask(&world, "caller", "SendMessage", &message(&json!({}))).await;
    let made = came.messages[0]["task"]["id"].as_str().expect("an id").to_owned();
    world.upstream.next(response(&task("1")));
    let came = ask(&world, "caller", "GetTask", &json!({"id": made})).await;
    assert_eq!((came.status(), &came.messages[0]["id"]), (0, &json!(made)));
    assert_eq!(world.upstream.received()[1].json()["params"]["id"], "1");
    // What one binding gives out, the others take.
    world.upstream.next(response(&task("1")));
    let rpc = json!({"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": made}});
    let (_, _, body) = world.call(world.request(Method::POST, ROUTE, &rpc)).await;
    assert_eq!(json_of(&body)["result"]["id"], made);
    let before = world.upstream.received().len();
    for (subject, id) in [("stranger", &*made), ("stranger", "1"), ("caller", "1")] {
        for method in ["GetTask", "CancelTask", "SubscribeToTask"] {
            let came = ask(&world, subject, method, &json!({"id": id})).await;
            assert_eq!((came.status(), came.code()), (5, Some("task_foreign")), "{method}");
            assert!(came.details_have("TASK_NOT_FOUND") && came.details_have("a2a-protocol.org"));
        }
    }
    assert_eq!(world.upstream.received().len(), before);
    let came =
        ask(&world, "caller", "SendMessage", &message(&json!({"metadata": {"skill": "forbidden"}}))).await;
    assert_eq!((came.status(), came.code()), (7, Some("forbidden_by_policy")));
    world.upstream.next(Answer::json(
        &json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32002, "message": "over"}}),
    ));
    let came = ask(&world, "caller", "CancelTask", &json!({"id": made})).await;
    assert_eq!(
        (came.status(), came.code(), &came.trailers["grpc-message"]),
        (9, None, &HeaderValue::from_static("over"))
    );
    assert!(came.details_have("TASK_NOT_CANCELABLE"));
}

#[tokio::test]
async fn events_are_messages_as_they_come() {
    let world = world(None, false).await;
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let body = framed(&written(types("SendStreamingMessage").0, &message(&json!({}))));
    let asked = request(&world, "caller", &format!("{ROUTE}{SERVICE}SendStreamingMessage"), body);
    let (parts, mut body) = world.send_http2(asked).await.into_parts();
    let event = |result: Value| format!("data: {}\n\n", json!({"jsonrpc": "2.0", "id": 1, "result": result}));
    let mut next = async || {
        let frame = body.frame().await.expect("a frame").expect("no fault");
        match frame.into_data() {
            Ok(data) => Ok(read(types("SendStreamingMessage").1, &messages(&data)[0])),
            Err(frame) => Err(frame.into_trailers().expect("trailers")),
        }
    };
    stream.send(event(json!({"task": task("1")}))).await;
    let first = next().await.expect("a message");
    let id = first["task"]["id"].as_str().expect("an id").to_owned();
    assert_ne!(id, "1");
    let update = json!({"statusUpdate": {"taskId": "1", "contextId": "ctx", "status": {"state": "TASK_STATE_COMPLETED"}}});
    stream.send(event(update)).await;
    assert_eq!(next().await.expect("a message")["statusUpdate"]["taskId"], id);
    drop(stream);
    let trailers = next().await.expect_err("trailers");
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(world.records(&call_id(&parts.headers), 2).await[1]["result"], "ok");
    // What broke off is told, which HTTP alone cannot.
    let error = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "broke"}});
    world.upstream.next(Answer::whole(
        "text/event-stream",
        format!("{}data: {error}\n\n", event(json!({"task": task("2")}))),
    ));
    let came = ask(&world, "caller", "SendStreamingMessage", &message(&json!({}))).await;
    assert_eq!((came.messages.len(), came.status()), (1, 13), "{came:?}");
    world.upstream.next(Answer::whole(
        "text/event-stream",
        format!("{}data: {{\"jsonrpc\"", event(json!({"task": task("2")}))),
    ));
    let came = ask(&world, "caller", "SendStreamingMessage", &message(&json!({}))).await;
    assert_eq!(came.messages.len(), 1);
    assert_ne!(came.status(), 0, "{came:?}");
}

/// Attacks: frames that are none, bombs, and callers that wait for nothing.
#[tokio::test]
async fn what_is_no_call_is_refused_and_a_deadline_is_kept() {
    let world = world(None, false).await;
    let path = format!("{ROUTE}{SERVICE}GetTask");
    let good = framed(&written(types("GetTask").0, &json!({"id": "t"})));
    let mut squeezed = good.to_vec();
    squeezed[0] = 1;
    let many = [&[0x2a_u8, 0][..]].concat().repeat(200_000);
    let bomb = [&[0x12_u8][..], &varint(many.len()), &many].concat();
    for (body, headers, method, code, status) in [
        // By which clients send it again as it is (gRPC, "Compression").
        (
            Bytes::from(squeezed.clone()),
            &[("grpc-encoding", "gzip")][..],
            "GetTask",
            "compression_unserved",
            12,
        ),
        (Bytes::from(squeezed), &[], "GetTask", "message_invalid", 3),
        (good.slice(..good.len() - 1), &[], "GetTask", "message_invalid", 3),
        (Bytes::from([&good[..], &good[..]].concat()), &[], "GetTask", "message_invalid", 3),
        (Bytes::from_static(b"\0\xff\xff\xff\xff"), &[], "GetTask", "message_invalid", 3),
        (framed(b"\x12\xff"), &[], "GetTask", "message_invalid", 3),
        (framed(b"\x7a\x01x"), &[], "GetTask", "message_invalid", 3),
        (framed(&bomb), &[], "SendMessage", "body_too_large", 8),
        (good.clone(), &[("content-type", "application/json")], "GetTask", "message_invalid", 3),
        (good.clone(), &[("grpc-timeout", "5 s")], "GetTask", "message_invalid", 3),
        (good.clone(), &[], "Nothing", "method_unknown", 12),
    ] {
        let path = path.replace("GetTask", method);
        let mut asked = request(&world, "caller", &path, body);
        for &(name, value) in headers {
            asked.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        let came = sent(&world, "GetTask", asked).await;
        assert_eq!((came.code(), came.status()), (Some(code), status), "{method} {headers:?} {came:?}");
    }
    let huge = framed(&vec![0; 5 * 1024 * 1024]);
    let came = sent(&world, "GetTask", request(&world, "caller", &path, huge)).await;
    assert_eq!((came.code(), came.status()), (Some("body_too_large"), 8));
    assert_eq!(world.upstream.received().len(), 0);

    let timed = |method: &str| {
        let body = framed(&written(types(method).0, &message(&json!({}))));
        let mut asked = request(&world, "caller", &format!("{ROUTE}{SERVICE}{method}"), body);
        asked.headers_mut().insert("grpc-timeout", HeaderValue::from_static("200m"));
        asked
    };
    let begun = Instant::now();
    world.upstream.next(Answer::hang());
    let came = sent(&world, "SendMessage", timed("SendMessage")).await;
    assert_eq!(came.status(), 4, "{came:?}");
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    stream
        .send(format!("data: {}\n\n", json!({"jsonrpc": "2.0", "id": 1, "result": {"task": task("1")}})))
        .await;
    let came = sent(&world, "SendStreamingMessage", timed("SendStreamingMessage")).await;
    assert_eq!((came.messages.len(), came.status()), (1, 4), "{came:?}");
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert_eq!(
        world.records(&call_id(&came.headers), 2).await[1]["result"],
        "cancelled",
        "its caller has left"
    );
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while number > 0x7f {
        out.push(u8::try_from(number & 0x7f).expect("seven bits") | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).expect("seven bits"));
    out
}

/// An agent over gRPC, that answers what a test says.
pub(super) struct GrpcAgent {
    pub(super) address: SocketAddr,
    received: Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>,
    next: Arc<Mutex<Vec<Scripted>>>,
}

#[derive(Clone)]
pub(super) struct Scripted {
    head: Vec<(&'static str, &'static str)>,
    frames: Vec<Bytes>,
    trailers: Vec<(&'static str, String)>,
}

impl Scripted {
    pub(super) fn of(method: &str, messages: &[Value], status: &str) -> Self {
        let frames = messages.iter().map(|said| framed(&written(types(method).1, said))).collect();
        Self {
            head: vec![("content-type", "application/grpc")],
            frames,
            trailers: vec![("grpc-status", status.to_owned())],
        }
    }
}

impl GrpcAgent {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (received, next) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let agent = Self { address, received: received.clone(), next: next.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (received, next) = (received.clone(), next.clone());
                let service = service_fn(move |request| answer(received.clone(), next.clone(), request));
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
            }
        });
        agent
    }

    pub(super) fn answers(&self, scripted: Scripted) {
        self.next.lock().expect("a lock").push(scripted);
    }

    /// The last request: its path, its headers and its message.
    pub(super) fn last(&self, method: &str) -> (String, HeaderMap, Value) {
        let received = self.received.lock().expect("a lock");
        let (path, headers, body) = received.last().expect("a request").clone();
        (path, headers, read(types(method).0, &messages(&body)[0]))
    }
}

type Frames = futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>;

async fn answer(
    received: Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>,
    next: Arc<Mutex<Vec<Scripted>>>,
    request: Request<Incoming>,
) -> Result<Response<StreamBody<Frames>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    received.lock().expect("a lock").push((parts.uri.path().to_owned(), parts.headers, body));
    let scripted = next.lock().expect("a lock").remove(0);
    let mut frames: Vec<Result<Frame<Bytes>, Infallible>> =
        scripted.frames.into_iter().map(|frame| Ok(Frame::data(frame))).collect();
    if !scripted.trailers.is_empty() {
        let trailers = scripted.trailers.into_iter();
        let trailers = trailers.map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::try_from(value).expect("a value"))
        });
        frames.push(Ok(Frame::trailers(trailers.collect())));
    }
    let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)));
    for (name, value) in scripted.head {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

#[tokio::test]
async fn an_agent_over_grpc_is_called_by_callers_of_either_binding() {
    for alone in [false, true] {
        let agent = GrpcAgent::start().await;
        let world = world(Some(agent.address), alone).await;
        agent.answers(Scripted::of("SendMessage", &[json!({"task": task("1")})], "0"));
        let came = ask(&world, "caller", "SendMessage", &message(&json!({"metadata": {"n": 1.5}}))).await;
        assert_eq!((came.status(), came.messages.len()), (0, 1), "{came:?}");
        let made = came.messages[0]["task"]["id"].as_str().expect("an id").to_owned();
        assert_ne!(made, "1");
        let (path, headers, said) = agent.last("SendMessage");
        assert_eq!(path, format!("{SERVICE}SendMessage"));
        assert_eq!(said, message(&json!({"metadata": {"n": 1.5}})));
        assert_eq!(
            (&headers["content-type"], &headers["te"]),
            (&HeaderValue::from_static("application/grpc"), &HeaderValue::from_static("trailers"))
        );
        assert_eq!(headers["a2a-version"], "1.0");
        let token = headers["authorization"].to_str().expect("text").to_owned();
        assert!(token.starts_with("Bearer ey"), "the hop's own: {token}");
        let records = world.records(&call_id(&came.headers), 2).await;
        assert_eq!((&records[1]["task"], &records[1]["result"]), (&json!("1"), &json!("ok")));

        let update =
            json!({"artifactUpdate": {"taskId": "1", "contextId": "ctx", "artifact": {"artifactId": "a"}}});
        agent.answers(Scripted::of("SubscribeToTask", &[json!({"task": task("1")}), update], "0"));
        let came = ask(&world, "caller", "SubscribeToTask", &json!({"id": made})).await;
        assert_eq!((came.status(), came.messages.len()), (0, 2), "{came:?}");
        assert_eq!(came.messages[1]["artifactUpdate"]["taskId"], made);
        assert_eq!(agent.last("SubscribeToTask").2, json!({"id": "1"}));

        let rpc = json!({"jsonrpc": "2.0", "id": "own", "method": "GetTask", "params": {"id": made}});
        if alone {
            agent.answers(Scripted::of("GetTask", &[task("1")], "0"));
            let (_, _, body) = world.call(world.request(Method::POST, ROUTE, &rpc)).await;
            let said = json_of(&body);
            assert_eq!((&said["id"], &said["result"]["id"]), (&json!("own"), &json!(made)), "{said}");
        } else {
            world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": "own", "result": task("1")})));
            let (_, _, body) = world.call(world.request(Method::POST, ROUTE, &rpc)).await;
            assert_eq!(
                json_of(&body)["result"]["id"],
                made,
                "who speaks JSON-RPC is led to where that is spoken"
            );
        }
    }
}

/// Attacks: an agent that breaks off, compresses, answers twice or not at all, or is no gRPC.
#[tokio::test]
async fn what_an_agent_over_grpc_says_is_an_answer_or_its_fault() {
    let agent = GrpcAgent::start().await;
    let world = world(Some(agent.address), true).await;
    agent.answers(Scripted::of("SendMessage", &[json!({"task": task("1")})], "0"));
    let came = ask(&world, "caller", "SendMessage", &message(&json!({}))).await;
    let made = came.messages[0]["task"]["id"].as_str().expect("an id").to_owned();
    let good = Scripted::of("GetTask", &[task("1")], "0");
    let whole = good.frames[0].clone();
    let mut squeezed = whole.to_vec();
    squeezed[0] = 1;
    let with = |frames: Vec<Bytes>| Scripted { frames, ..good.clone() };
    for (scripted, code) in [
        (with(vec![squeezed.into()]), "upstream_invalid"),
        (with(vec![whole.clone(), whole.clone()]), "upstream_invalid"),
        (with(vec![whole.slice(..whole.len() - 1)]), "upstream_invalid"),
        (with(vec![]), "upstream_invalid"),
        (with(vec![Bytes::from_static(b"\0\xff\xff\xff\xff")]), "upstream_invalid"),
        (with(vec![framed(b"\x0a\xff")]), "upstream_invalid"),
        (Scripted { trailers: vec![], ..good.clone() }, "upstream_interrupted"),
        (Scripted { trailers: vec![("grpc-message", "x".to_owned())], ..good.clone() }, "upstream_invalid"),
        (Scripted { head: vec![("content-type", "application/json")], ..good.clone() }, "upstream_invalid"),
    ] {
        agent.answers(scripted.clone());
        let came = ask(&world, "caller", "GetTask", &json!({"id": made})).await;
        assert_eq!((came.code(), came.status(), came.messages.len()), (Some(code), 14, 0), "{came:?}");
        assert_eq!(world.records(&call_id(&came.headers), 2).await[1]["code"], code);
    }
    // Cut within what streams, where one message has passed.
    let streamed = Scripted::of("SubscribeToTask", &[json!({"task": task("1")})], "0");
    agent.answers(Scripted { trailers: vec![], ..streamed });
    let came = ask(&world, "caller", "SubscribeToTask", &json!({"id": made})).await;
    assert_eq!((came.messages.len(), came.status()), (1, 14), "{came:?}");
    // Its own errors are its own, in either binding.
    for (status, number) in [("5", -32001), ("9", -32603), ("3", -32602), ("14", -32603)] {
        let failed = Scripted { frames: vec![], ..Scripted::of("GetTask", &[], status) };
        let failed = Scripted {
            trailers: [failed.trailers, vec![("grpc-message", "a%20b".to_owned())]].concat(),
            ..failed
        };
        agent.answers(failed.clone());
        let came = ask(&world, "caller", "GetTask", &json!({"id": made})).await;
        assert_eq!((came.status().to_string(), came.code()), (status.to_owned(), None), "{came:?}");
        assert_eq!(came.trailers["grpc-message"], "a b");
        assert_eq!(world.records(&call_id(&came.headers), 2).await[1]["result"], "error");
        // The trailers may come in place of the headers.
        let bare = Scripted {
            head: vec![("content-type", "application/grpc"), ("grpc-status", leaked(status))],
            trailers: vec![],
            ..failed
        };
        agent.answers(bare);
        let rpc = json!({"jsonrpc": "2.0", "id": 7, "method": "GetTask", "params": {"id": made}});
        let (_, _, body) = world.call(world.request(Method::POST, ROUTE, &rpc)).await;
        assert_eq!(json_of(&body)["error"]["code"], number, "{status}");
    }
    // In place of a stream it is no event.
    let refused = Scripted {
        head: vec![("content-type", "application/grpc"), ("grpc-status", "9")],
        frames: vec![],
        trailers: vec![],
    };
    agent.answers(refused.clone());
    let follow = json!({"jsonrpc": "2.0", "id": 7, "method": "SubscribeToTask", "params": {"id": made}});
    let (_, headers, body) = world.call(world.request(Method::POST, ROUTE, &follow)).await;
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!((&json_of(&body)["id"], &json_of(&body)["error"]["code"]), (&json!(7), &json!(-32603)));
    agent.answers(refused);
    let came = ask(&world, "caller", "SubscribeToTask", &json!({"id": made})).await;
    assert_eq!((came.messages.len(), came.status()), (0, 9), "{came:?}");
    // What A2A does not have is passed over.
    agent.answers(Scripted::of("GetTask", &[task("1")], "0"));
    let more = json!({"jsonrpc": "2.0", "id": 7, "method": "GetTask", "params": {"id": made, "more": 1}});
    let (_, _, body) = world.call(world.request(Method::POST, ROUTE, &more)).await;
    assert_eq!(json_of(&body)["result"]["id"], made);
    assert_eq!(agent.last("GetTask").2, json!({"id": "1"}));
    // What gRPC cannot say is not sent.
    let before = agent.received.lock().expect("a lock").len();
    let number =
        json!({"jsonrpc": "2.0", "id": 7, "method": "GetTask", "params": {"id": made, "historyLength": "x"}});
    let (_, headers, _) = world.call(world.request(Method::POST, ROUTE, &number)).await;
    assert_eq!(headers["vidimus-code"], "message_invalid");
    let old = json!({"jsonrpc": "2.0", "id": 7, "method": "tasks/get", "params": {"id": made, "metadata": {"a": 1}}});
    let (_, headers, _) = world.call(world.request(Method::POST, ROUTE, &old)).await;
    assert_eq!(headers["vidimus-code"], "no_equivalent", "gRPC is 1.0, which has no metadata here");
    assert_eq!(agent.received.lock().expect("a lock").len(), before);
}

fn leaked(text: &str) -> &'static str {
    text.to_owned().leak()
}

#[tokio::test]
async fn a_card_says_where_an_agent_is_called_over_grpc() {
    let world = world(None, false).await;
    world.upstream.next(Answer::json(&json!({"name": "b",
        "supportedInterfaces": [{"url": "http://b:1/", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}]})));
    let (_, _, body) = world
        .call(world.request(Method::GET, &format!("{ROUTE}/.well-known/agent-card.json"), &Value::Null))
        .await;
    let grpc = json!({"url": "gateway.example:80", "protocolBinding": "GRPC", "protocolVersion": "1.0", "tenant": "t/callee"});
    assert_eq!(json_of(&body)["supportedInterfaces"][1], grpc);
    // The extended card is asked for over gRPC too, and says the same.
    world.upstream.next(response(&json!({"name": "b", "supportedInterfaces": [{"url": "b:1", "protocolBinding": "GRPC", "protocolVersion": "1.0"}]})));
    let came = ask(&world, "caller", "GetExtendedAgentCard", &json!({"tenant": "t/callee"})).await;
    assert_eq!((came.status(), &came.messages[0]["supportedInterfaces"]), (0, &json!([grpc])), "{came:?}");
}

/// The messages of a method of 0.3.
fn old_types(method: &str) -> (prost_reflect::MessageDescriptor, prost_reflect::MessageDescriptor) {
    let bytes = include_bytes!("../../src/protocol/a2a/grpc/a2a_0_3.binpb");
    let pool = DescriptorPool::decode(&bytes[..]).expect("descriptors");
    let service = pool.get_service_by_name("a2a.v1.A2AService").expect("the service");
    let method = service.methods().find(|one| one.name() == method).expect("the method");
    (method.input(), method.output())
}

#[tokio::test]
async fn a_caller_over_grpc_of_0_3_is_one_over_json_rpc_of_0_3() {
    let world = world(None, false).await;
    let ask = async |subject: &str, method: &str, said: Value| {
        let body = framed(&written(old_types(method).0, &said));
        let asked = request(&world, subject, &format!("{ROUTE}/a2a.v1.A2AService/{method}"), body);
        let collected = world.send_http2(asked).await;
        let (parts, body) = collected.into_parts();
        let collected = body.collect().await.expect("a whole answer");
        let trailers = collected.trailers().cloned().unwrap_or_default();
        let output = old_types(method).1;
        let messages = messages(&collected.to_bytes()).iter().map(|one| read(output.clone(), one)).collect();
        Came { headers: parts.headers, messages, trailers }
    };
    let task =
        |id: &str| json!({"kind": "task", "id": id, "contextId": "ctx", "status": {"state": "working"}});
    let send = json!({"message": {"messageId": "m", "role": "ROLE_USER", "content": [{"text": "x"}], "metadata": {"note": "n"}}});
    world.upstream.next(response(&task("1")));
    let came = ask("caller", "SendMessage", send.clone()).await;
    assert_eq!((came.status(), came.code(), came.messages.len()), (0, None, 1), "{came:?}");
    let made = came.messages[0]["task"]["id"].as_str().expect("an id").to_owned();
    assert!(made != "1" && came.messages[0]["task"]["contextId"] != "ctx", "{came:?}");
    assert_eq!(came.messages[0]["task"]["status"]["state"], "TASK_STATE_WORKING");
    let sent = world.upstream.received()[0].clone();
    let message = json!({"kind": "message", "messageId": "m", "role": "user", "parts": [{"kind": "text", "text": "x"}], "metadata": {"note": "n"}});
    assert_eq!(
        (&sent.json()["method"], &sent.json()["params"]["message"]),
        (&json!("message/send"), &message)
    );
    assert_eq!(sent.header("a2a-version"), Some("0.3"));
    let records = world.records(&call_id(&came.headers), 2).await;
    assert_eq!((&records[0]["method"], &records[1]["task"]), (&json!("SendMessage"), &json!("1")));

    world.upstream.next(response(&task("1")));
    let came = ask("caller", "GetTask", json!({"name": format!("tasks/{made}")})).await;
    assert_eq!((came.status(), &came.messages[0]["id"]), (0, &json!(made)), "{came:?}");
    assert_eq!(world.upstream.received()[1].json()["params"], json!({"id": "1"}));
    let event =
        |result: &Value| format!("data: {}\n\n", json!({"jsonrpc": "2.0", "id": 1, "result": result}));
    let update = json!({"kind": "status-update", "taskId": "1", "contextId": "ctx", "final": true, "status": {"state": "completed"}});
    world.upstream.next(Answer::whole("text/event-stream", event(&task("1")) + &event(&update)));
    let came = ask("caller", "TaskSubscription", json!({"name": format!("tasks/{made}")})).await;
    assert_eq!((came.status(), came.messages.len()), (0, 2), "{came:?}");
    assert_eq!(came.messages[1]["statusUpdate"]["taskId"], made);
    assert_eq!(came.messages[1]["statusUpdate"]["status"]["state"], "TASK_STATE_COMPLETED");
    // Attacks: another's task, the agent's own id, a name that is none.
    let before = world.upstream.received().len();
    for (subject, name, code, status) in [
        ("stranger", format!("tasks/{made}"), "task_foreign", 5),
        ("caller", "tasks/1".to_owned(), "task_foreign", 5),
        ("caller", made.clone(), "message_invalid", 3),
        ("caller", format!("tasks/x/../{made}"), "message_invalid", 3),
    ] {
        let came = ask(subject, "CancelTask", json!({"name": name})).await;
        assert_eq!((came.code(), came.status()), (Some(code), status), "{name}");
    }
    // It names no tenant, so without a path or metadata nobody is meant.
    let nobody = request(
        &world,
        "caller",
        "/a2a.v1.A2AService/SendMessage",
        framed(&written(old_types("SendMessage").0, &send)),
    );
    let (parts, _) = world.send_http2(nobody).await.into_parts();
    assert_eq!(parts.headers["vidimus-code"], "route_unknown");
    assert_eq!(world.upstream.received().len(), before);
}
