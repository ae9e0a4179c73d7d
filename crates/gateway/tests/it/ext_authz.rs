//! A data plane that carries calls itself and asks by `envoy.service.auth.v3.Authorization/Check`: what it is told, and what is on record.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;
use vidimus_core::resource::Network;
use vidimus_gateway::listener::{self, Connections, Door, Listener};
use vidimus_gateway::{AddressGuard, DataPlanes, KeepAlive, Upstream};
use vidimus_identity::SpiffeId;

use super::world::{World, json_of, snapshot};
use super::{approvals, changes, limits};

const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// The published messages, as far as they are used here.
mod proto {
    use std::collections::HashMap;

    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    pub struct CheckRequest {
        #[prost(message, optional, tag = "1")]
        pub attributes: Option<AttributeContext>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct AttributeContext {
        #[prost(message, optional, tag = "4")]
        pub request: Option<RequestAttributes>,
        #[prost(map = "string, string", tag = "10")]
        pub context_extensions: HashMap<String, String>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct RequestAttributes {
        #[prost(message, optional, tag = "2")]
        pub http: Option<HttpRequest>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct HttpRequest {
        #[prost(string, tag = "2")]
        pub method: String,
        #[prost(map = "string, string", tag = "3")]
        pub headers: HashMap<String, String>,
        #[prost(string, tag = "4")]
        pub path: String,
        #[prost(string, tag = "5")]
        pub host: String,
        #[prost(bytes = "vec", tag = "12")]
        pub raw_body: Vec<u8>,
        #[prost(message, optional, tag = "13")]
        pub header_map: Option<Lines>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Lines {
        #[prost(message, repeated, tag = "1")]
        pub headers: Vec<Line>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Line {
        #[prost(string, tag = "1")]
        pub key: String,
        #[prost(string, tag = "2")]
        pub value: String,
        #[prost(bytes = "vec", tag = "3")]
        pub raw_value: Vec<u8>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct CheckResponse {
        #[prost(message, optional, tag = "1")]
        pub status: Option<Status>,
        #[prost(message, optional, tag = "2")]
        pub denied: Option<Denied>,
        #[prost(message, optional, tag = "3")]
        pub ok: Option<Allowed>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Status {
        #[prost(int32, tag = "1")]
        pub code: i32,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Denied {
        #[prost(message, optional, tag = "1")]
        pub status: Option<Status>,
        #[prost(message, repeated, tag = "2")]
        pub headers: Vec<LineOption>,
        #[prost(string, tag = "3")]
        pub body: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Allowed {
        #[prost(message, repeated, tag = "2")]
        pub headers: Vec<LineOption>,
        #[prost(string, repeated, tag = "5")]
        pub headers_to_remove: Vec<String>,
        #[prost(message, repeated, tag = "6")]
        pub response_headers_to_add: Vec<LineOption>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct LineOption {
        #[prost(message, optional, tag = "1")]
        pub header: Option<Line>,
        #[prost(int32, tag = "3")]
        pub append_action: i32,
    }
}

use proto::{
    AttributeContext, CheckRequest, CheckResponse, HttpRequest, Line, LineOption, RequestAttributes,
};

/// Where data planes ask, for as long as the gate is there.
struct Asked {
    address: SocketAddr,
    _stop: watch::Sender<bool>,
}

fn asked(world: &World, planes: DataPlanes) -> Asked {
    let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    socket.set_nonblocking(true).expect("non-blocking");
    let address = socket.local_addr().expect("an address");
    let (stop, stopping) = watch::channel(false);
    let listeners = vec![Listener { socket, tls: None, door: Door::DataPlanes(Arc::new(planes)) }];
    tokio::spawn(listener::serve(world.gate.clone(), listeners, Connections::new(64), stopping));
    Asked { address, _stop: stop }
}

fn on_loopback(world: &World) -> Asked {
    asked(world, DataPlanes::new(Vec::new(), false, false))
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    [&[flag][..], &length[..], message].concat()
}

impl Asked {
    /// A request over HTTP/2: status of HTTP, headers with trailers, body.
    async fn send(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> (StatusCode, HeaderMap, Bytes) {
        let stream = TcpStream::connect(self.address).await.expect("connected");
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.expect("HTTP/2");
        tokio::spawn(connection);
        let mut request = Request::builder().method(Method::POST).uri(format!("http://vidimus{path}"));
        request = request.header("content-type", "application/grpc").header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).expect("a request");
        let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("a whole answer");
        let mut headers = head.headers;
        headers.extend(body.trailers().cloned().unwrap_or_default());
        (head.status, headers, body.to_bytes())
    }

    async fn check(&self, check: &CheckRequest) -> CheckResponse {
        let (status, headers, body) = self.send(PATH, &[], framed(0, &check.encode_to_vec())).await;
        assert_eq!((status, headers["grpc-status"].as_bytes()), (StatusCode::OK, &b"0"[..]), "{headers:?}");
        CheckResponse::decode(body.slice(5..)).expect("an answer")
    }

    /// What is asked about a request, and answered.
    async fn about(&self, request: Request<Full<Bytes>>) -> CheckResponse {
        self.check(&check_of(request).await).await
    }
}

/// The question that Envoy asks about a request.
async fn check_of(request: Request<Full<Bytes>>) -> CheckRequest {
    let (parts, body) = request.into_parts();
    let raw_body = body.collect().await.expect("memory").to_bytes().to_vec();
    let text = |value: &http::HeaderValue| value.to_str().expect("text").to_owned();
    let lines = parts.headers.iter().filter(|(name, _)| *name != "host");
    let http = HttpRequest {
        method: parts.method.to_string(),
        headers: lines.map(|(name, value)| (name.to_string(), text(value))).collect(),
        path: parts.uri.to_string(),
        host: "gateway.example".to_owned(),
        raw_body,
        header_map: None,
    };
    let request = Some(RequestAttributes { http: Some(http) });
    CheckRequest { attributes: Some(AttributeContext { request, ..AttributeContext::default() }) }
}

fn http_of(check: &mut CheckRequest) -> &mut HttpRequest {
    let attributes = check.attributes.as_mut().expect("attributes");
    attributes.request.as_mut().expect("a request").http.as_mut().expect("HTTP")
}

fn header<'a>(lines: &'a [LineOption], name: &str) -> Option<&'a str> {
    let mut found = lines.iter().filter_map(|line| line.header.as_ref()).filter(|line| line.key == name);
    let line = found.next()?;
    assert!(found.next().is_none(), "{name} is set once");
    Some(&line.value)
}

/// The code, the status of HTTP and the body of an answer that lets nothing pass.
fn denied(response: &CheckResponse) -> (String, i32, Value) {
    assert_ne!(response.status.as_ref().map_or(0, |status| status.code), 0, "{response:?}");
    assert_eq!(response.ok, None);
    let denied = response.denied.as_ref().expect("an answer");
    let code = header(&denied.headers, "vidimus-code").expect("a code").to_owned();
    (code, denied.status.as_ref().expect("a status").code, json_of(denied.body.as_bytes()))
}

/// The id of a call that may be carried, and that goes on by these headers.
fn carried(response: &CheckResponse) -> (String, &proto::Allowed) {
    assert_eq!(response.status.as_ref().map(|status| status.code), Some(0), "{response:?}");
    assert_eq!(response.denied, None);
    let ok = response.ok.as_ref().expect("leave");
    (header(&ok.response_headers_to_add, "vidimus-call").expect("a call").to_owned(), ok)
}

#[tokio::test]
async fn a_permitted_call_is_handed_over_with_a_credential_of_its_own_and_its_effect_is_not_seen() {
    let world = World::new().await;
    let door = on_loopback(&world);
    let mut request = world.tool("echo");
    let given = request.headers()["authorization"].to_str().expect("text").to_owned();
    for (name, value) in [("cookie", "a=b"), ("x-secret", given.as_str()), ("x-forwarded-for", "192.0.2.1")] {
        request.headers_mut().insert(name, value.parse().expect("a value"));
    }
    let response = door.about(request).await;
    let (call, ok) = carried(&response);
    let hop = header(&ok.headers, "authorization").expect("a credential");
    assert!(hop.starts_with("Bearer ey") && hop != given);
    assert_eq!(header(&ok.headers, "content-type"), Some("application/json"));
    for removed in ["cookie", "x-secret", "x-forwarded-for"] {
        assert!(ok.headers_to_remove.iter().any(|name| name == removed), "{removed}: {ok:?}");
    }
    assert!(ok.headers_to_remove.iter().all(|name| header(&ok.headers, name).is_none()), "not both");
    let records = world.records(&call, 2).await;
    assert_eq!(
        (&records[0]["outcome"], &records[0]["resource"]),
        (&json!("allow"), &json!("Tool/t/tools/echo"))
    );
    let effect = &records[1];
    assert_eq!(
        (&effect["result"], &effect["status"], &effect["bytes_out"]),
        (&json!("unknown"), &json!(0), &json!(0))
    );
    assert!(effect["detail"].as_str().is_some_and(|detail| detail.contains("ext_authz")), "{effect}");
    assert!(effect["token"].is_string(), "the token is named");
    assert!(world.upstream.received().is_empty(), "the data plane sends it");
}

#[tokio::test]
async fn a_refused_call_is_answered_as_its_protocol_says_it() {
    let world = World::new().await;
    let door = on_loopback(&world);
    let chat = json!({"model": "large", "messages": [{"role": "user", "content": "a"}]});
    let send = json!({"jsonrpc": "2.0", "id": "x", "method": "SendMessage", "params": {"message": {}}});
    for (request, code, status, pointer) in [
        (world.tool("forbidden"), "forbidden_by_policy", 200, "/error/data/code"),
        (world.tool("other"), "no_permit", 200, "/error/data/code"),
        (
            world.request(Method::POST, "/llm/t/models/v1/chat/completions", &chat),
            "no_permit",
            403,
            "/error/code",
        ),
        (world.request(Method::POST, "/a2a/t/nothing", &send), "resource_unknown", 404, "/error/data/code"),
        (world.request(Method::POST, "/nothing", &send), "route_unknown", 404, "/error"),
    ] {
        // In-process and by the door, the same answer but for the call.
        let (direct, _, _) = world.call(copy(&request)).await;
        let (said, got, body) = denied(&door.about(request).await);
        assert_eq!((said.as_str(), got), (code, status), "{body}");
        assert_eq!(i32::from(direct.as_u16()), got);
        assert_eq!(body.pointer(pointer), Some(&json!(code)));
    }
    let mut nobody = world.tool("echo");
    nobody.headers_mut().remove("authorization");
    let response = door.about(nobody).await;
    assert_eq!((denied(&response).0.as_str(), denied(&response).1), ("credential_missing", 401));
    let said = header(&response.denied.as_ref().expect("an answer").headers, "www-authenticate");
    assert!(said.is_some_and(|said| said.starts_with("Bearer")), "a client is led to a token");
    let refused = world.all_records().iter().filter(|record| record["outcome"] == "deny").count();
    assert_eq!(refused, 11, "each of them is on record");
    assert!(world.upstream.received().is_empty());
}

fn copy(request: &Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let mut copy = Request::new(request.body().clone());
    (*copy.method_mut(), *copy.uri_mut()) = (request.method().clone(), request.uri().clone());
    *copy.headers_mut() = request.headers().clone();
    copy
}

#[tokio::test]
async fn the_gateways_own_answer_is_one_that_nothing_is_sent_for() {
    let world = World::new().await;
    let door = on_loopback(&world);
    let response = door.about(world.request(Method::GET, "/llm/t/models/v1/models", &json!(null))).await;
    assert_ne!(response.status.as_ref().map_or(0, |status| status.code), 0);
    let answer = response.denied.as_ref().expect("an answer");
    assert_eq!(answer.status.as_ref().map(|status| status.code), Some(200));
    assert_eq!(json_of(answer.body.as_bytes())["data"][0]["id"], "small");
    let call = header(&answer.headers, "vidimus-call").expect("a call").to_owned();
    assert_eq!(world.records(&call, 2).await[1]["result"], "ok");
}

#[tokio::test]
async fn what_a_data_plane_cannot_do_is_refused_and_not_left_out() {
    const UNABLE: &str = "data_plane_unable";
    let forbid = changes::TOOLS;
    for policy in [
        format!("@redact(\"/card\") {forbid};"),
        format!("@redact_answer(\"/card\") {forbid};"),
        "@keep(\"answer\") permit (principal, action == Action::\"invokeTool\", resource == Tool::\"t/tools/echo\");".to_owned(),
    ] {
        let world = changes::world(&policy).await;
        let door = on_loopback(&world);
        let response = door.about(world.tool("echo")).await;
        assert_eq!(denied(&response).0, UNABLE, "{policy}");
        let call = header(&response.denied.as_ref().expect("an answer").headers, "vidimus-call");
        let records = world.records(call.expect("a call"), 2).await;
        assert_eq!((&records[1]["result"], &records[1]["code"]), (&json!("failed"), &json!(UNABLE)));
        assert_eq!(records[1].get("token"), None, "nothing was minted");
    }
    let world = World::new().await;
    let door = on_loopback(&world);
    let message =
        |method: &str, params: Value| json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let begin = message(
        "initialize",
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}}),
    );
    let chat = json!({"model": "small", "messages": [{"role": "user", "content": "a"}]});
    for (request, code) in [
        (world.request(Method::POST, "/mcp/t/tools", &begin), UNABLE),
        (world.request(Method::GET, "/mcp/t/tools", &json!(null)), "method_not_allowed"),
        (world.request(Method::POST, "/llm/t/models/v1/chat/completions?key=secret", &chat), UNABLE),
    ] {
        let uri = request.uri().clone();
        assert_eq!(denied(&door.about(request).await).0, code, "{uri}");
    }
    let mut session = world.tool("echo");
    session.headers_mut().insert("mcp-session-id", "of-the-server".parse().expect("a value"));
    session.headers_mut().insert("mcp-protocol-version", "2025-11-25".parse().expect("a value"));
    assert_eq!(denied(&door.about(copy(&session)).await).0, "session_foreign");
    let raw = asked(&world, DataPlanes::new(Vec::new(), false, true));
    carried(&raw.about(world.request(Method::POST, "/mcp/t/tools", &begin)).await);
    let response = raw.about(session).await;
    assert_eq!(header(&carried(&response).1.headers, "mcp-session-id"), Some("of-the-server"));
}

/// What it carries counts; calls at once could not be counted, since nobody here sees when one ends.
#[tokio::test]
async fn what_a_data_plane_carries_counts_for_limits() {
    let unable = Some("data_plane_unable");
    let world = World::new().await;
    let door = on_loopback(&world);
    for (limit, codes) in [
        (
            json!({"name": "calls", "requests": 1, "window": {"fixed": "24h"}}),
            [None, Some("limit_exceeded"), Some("limit_exceeded")],
        ),
        (json!({"name": "calls", "concurrency": 9}), [unable; 3]),
    ] {
        world.gate.take_into_use(snapshot(&limits::limited(&world, &json!([limit]), limits::TOOLS)));
        for code in codes {
            let response = door.about(world.tool("echo")).await;
            let found = response.denied.is_some().then(|| denied(&response).0);
            assert_eq!(found.as_deref(), code, "{limit}");
        }
    }
}

/// Attack: a data plane sends the caller's own bytes, so that an answer has more tokens than a limit reserved for it.
#[tokio::test]
async fn what_a_limit_of_tokens_caps_is_capped_by_the_caller() {
    let world = World::new().await;
    let door = on_loopback(&world);
    let limit = json!([{"name": "budget", "tokens": 100_000, "window": {"fixed": "24h"}}]);
    world.gate.take_into_use(snapshot(&limits::limited(&world, &limit, limits::MODELS)));
    for (more, code) in [(json!({}), Some("data_plane_unable")), (json!({"max_tokens": 9}), None)] {
        let response = door.about(limits::chat(&world, &more)).await;
        let found = response.denied.is_some().then(|| denied(&response).0);
        assert_eq!(found.as_deref(), code, "{more}");
    }
}

/// Attack: a record leads to an address that the installation keeps calls from, and a data plane, which knows nothing of that, goes there.
#[tokio::test]
async fn what_no_call_may_reach_no_call_of_a_data_plane_reaches() {
    let mut world = World::new().await;
    let own: Network = world.address.ip().to_string().parse().expect("a network");
    let guard = AddressGuard { denied: Arc::new([own]), ..AddressGuard::default() };
    world.gate.upstream = Upstream::new(guard, KeepAlive::default()).expect("roots");
    let response = on_loopback(&world).about(world.tool("echo")).await;
    assert_eq!(denied(&response).0, "upstream_refused_address");
    let call = header(&response.denied.as_ref().expect("an answer").headers, "vidimus-call");
    let records = world.records(call.expect("a call"), 2).await;
    assert_eq!(
        (&records[1]["result"], &records[1]["code"]),
        (&json!("failed"), &json!("upstream_refused_address"))
    );
}

/// What a client brings back that was led to an approval is no part of what its server gets, and would be.
#[tokio::test]
async fn a_held_call_is_told_by_an_error_and_leads_nobody_to_what_could_not_go_on() {
    let world = changes::world(approvals::HOLD).await;
    let params = json!({"name": "echo", "arguments": {"a": 1}, "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}}}});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let mut request = world.request(Method::POST, "/mcp/t/tools", &message);
    for (name, value) in
        [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "echo")]
    {
        request.headers_mut().insert(name, value.parse().expect("a value"));
    }
    let (code, _, body) = denied(&on_loopback(&world).about(request).await);
    assert_eq!(
        (code.as_str(), body["error"]["data"]["approval"].is_string()),
        ("approval_required", true),
        "{body}"
    );
    assert_eq!(body.get("result"), None);
}

#[tokio::test]
async fn a_route_of_the_data_planes_own_names_the_object() {
    let world = World::new().await;
    let door = on_loopback(&world);
    let mut check = check_of(world.tool("echo")).await;
    http_of(&mut check).path = "/mcp".to_owned();
    assert_eq!(denied(&door.check(&check).await).0, "route_unknown");
    let extensions = &mut check.attributes.as_mut().expect("attributes").context_extensions;
    extensions.insert("vidimus.dev/route".to_owned(), "/mcp/t/tools".to_owned());
    extensions.insert("vidimus.dev/prefix".to_owned(), "/mcp".to_owned());
    let response = door.check(&check).await;
    assert_eq!(world.records(&carried(&response).0, 2).await[0]["resource"], "Tool/t/tools/echo");
}

/// Attacks: a request that is another one for the data plane than here.
#[tokio::test]
async fn what_the_data_plane_may_read_otherwise_is_refused() {
    let world = World::new().await;
    let door = on_loopback(&world);
    let good = check_of(world.tool("echo")).await;
    carried(&door.check(&good).await);
    for path in [
        "/mcp//t/tools",
        "/mcp/t%2ftools",
        "/mcp/x/../t/tools",
        "/mcp/t/tools/../other",
        "/mcp/t/tools#x",
        "/mcp/t/%74ools",
    ] {
        let mut check = good.clone();
        http_of(&mut check).path = path.to_owned();
        assert_eq!(denied(&door.check(&check).await).0, "route_unknown", "{path}");
    }
    for (name, value, code) in [
        ("x-envoy-auth-partial-body", "true", "body_too_large"),
        ("content-length", "7", "body_too_large"),
        (":path", "/mcp/t/other", "request_malformed"),
        ("host", "other.example", "request_malformed"),
    ] {
        let mut check = good.clone();
        http_of(&mut check).headers.insert(name.to_owned(), value.to_owned());
        assert_eq!(denied(&door.check(&check).await).0, code, "{name}");
    }
    // Two credentials, joined as a data plane does it, or line by line.
    let mut joined = good.clone();
    let authorization = http_of(&mut joined).headers.get_mut("authorization").expect("a credential");
    *authorization = format!("{authorization},{authorization}");
    assert_eq!(denied(&door.check(&joined).await).0, "token_malformed");
    let mut lines = good.clone();
    let http = http_of(&mut lines);
    let line = |(key, value): (&String, &String)| Line {
        key: key.clone(),
        value: String::new(),
        raw_value: value.clone().into_bytes(),
    };
    let mut all: Vec<_> = http.headers.iter().map(line).collect();
    let again = all.iter().find(|line| line.key == "authorization").expect("a credential").clone();
    all.push(again);
    http.headers.clear();
    http.header_map = Some(proto::Lines { headers: all });
    assert_eq!(denied(&door.check(&lines).await).0, "credential_ambiguous");
    let mut many = good.clone();
    http_of(&mut many).headers.extend((0..5_000).map(|number| (format!("x-{number}"), "a".to_owned())));
    assert_eq!(denied(&door.check(&many).await).0, "headers_too_large");
    assert!(world.upstream.received().is_empty());
}

/// Attacks: frames and requests that are no question.
#[tokio::test]
async fn what_is_no_question_is_an_error_of_grpc_and_on_record() {
    let world = World::new().await;
    let door = on_loopback(&world);
    let question = check_of(world.tool("echo")).await.encode_to_vec();
    let good = framed(0, &question);
    let mut long = good.clone();
    long[4] = long[4].wrapping_add(1);
    for (path, headers, body, status) in [
        (PATH, &[][..], Vec::new(), "3"),
        (PATH, &[], long, "3"),
        (PATH, &[], [good.clone(), good.clone()].concat(), "3"),
        (PATH, &[], framed(1, &question), "3"),
        (PATH, &[], framed(0, b"\x0a\xff\xff\xff\xff\x0f"), "3"),
        (PATH, &[("grpc-encoding", "gzip")], framed(1, &question), "12"),
        (PATH, &[], framed(0, &vec![0; 40 * 1024 * 1024]), "3"),
        ("/envoy.service.auth.v3.Authorization/Other", &[], good.clone(), "12"),
        ("/mcp/t/tools", &[], good.clone(), "12"),
    ] {
        let before = world.all_records().len();
        let (http, answer, _) = door.send(path, headers, body).await;
        assert_eq!(
            (http, &answer["grpc-status"]),
            (StatusCode::OK, &status.parse().expect("a value")),
            "{path} {headers:?}"
        );
        assert!(answer.contains_key("vidimus-code"));
        assert_eq!(world.all_records().len(), before + 1, "{path}");
    }
    // It is no door for calls.
    let stream = TcpStream::connect(door.address).await.expect("connected");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    let response = sender.send_request(world.tool("echo")).await.expect("an answer");
    assert_eq!(response.headers()["vidimus-code"], "route_unknown");
    assert!(world.upstream.received().is_empty());
}

/// Attack: somebody who is no data plane asks, to have the credential of a call.
#[tokio::test]
async fn who_is_no_data_plane_is_told_nothing() {
    let world = World::new().await;
    let envoy = SpiffeId::parse("spiffe://corp.example/envoy").expect("an id");
    let door = asked(&world, DataPlanes::new(vec![envoy], false, false));
    let question = framed(0, &check_of(world.tool("echo")).await.encode_to_vec());
    let (_, headers, body) = door.send(PATH, &[], question).await;
    assert_eq!(headers["grpc-status"], "16");
    assert_eq!((&headers["vidimus-code"], body.len()), (&"credential_missing".parse().expect("a value"), 0));
    let [record] = &world.all_records()[..] else { panic!("one record") };
    assert_eq!((&record["code"], record.get("principal")), (&json!("credential_missing"), None));
}

/// The ledger is written before a data plane has anything.
#[tokio::test]
async fn without_a_record_nothing_is_handed_over() {
    let world = World::new().await;
    let door = on_loopback(&world);
    world.gate.ledger.close().await;
    assert_eq!(denied(&door.about(world.tool("echo")).await).0, "ledger_closed");
}

/// What an Envoy with a `grpc_health_check` asks: `SERVING` is 1, `NOT_SERVING` is 2, and 0 is not written.
#[tokio::test]
async fn a_data_plane_is_told_whether_calls_are_decided_and_nothing_is_on_record() {
    let world = World::new().await;
    let door = on_loopback(&world);
    let named = |name: &str| {
        let length = u8::try_from(name.len()).expect("short");
        framed(0, &[&[0x0a, length][..], name.as_bytes()].concat())
    };
    let authorization = "envoy.service.auth.v3.Authorization";
    for question in [framed(0, b""), named(authorization)] {
        let (_, headers, body) = door.send(HEALTH, &[], question).await;
        assert_eq!(
            (&headers["grpc-status"], &body[..]),
            (&"0".parse().expect("a value"), &framed(0, &[8, 1])[..])
        );
    }
    assert!(world.all_records().is_empty());
    for (question, status) in [
        (named("vidimus"), "12"),
        (framed(0, b"\x0a\x05"), "3"),
        (framed(1, b""), "3"),
        (framed(0, &[0; 4096]), "3"),
    ] {
        let (_, headers, _) = door.send(HEALTH, &[], question).await;
        assert_eq!(headers["grpc-status"], status);
    }
    let envoy = SpiffeId::parse("spiffe://corp.example/envoy").expect("an id");
    let nobody = asked(&world, DataPlanes::new(vec![envoy], false, false));
    let (_, headers, body) = nobody.send(HEALTH, &[], framed(0, b"")).await;
    assert_eq!((&headers["grpc-status"], body.len()), (&"16".parse().expect("a value"), 0));
    world.gate.ledger.close().await;
    let (_, _, body) = door.send(HEALTH, &[], framed(0, b"")).await;
    assert_eq!(body[..], framed(0, &[8, 2])[..]);
}
