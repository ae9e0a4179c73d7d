//! Servers that speak gRPC: each method is a tool, decided as any, and what the server answers is bounded and read by its descriptors.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::world::{World, call_id, json_of, objects, snapshot};

/// How an answer of the server ends.
#[derive(Clone, Copy, Debug, Default)]
enum End {
    /// By this status and message.
    Status(u32, &'static str),
    /// Without a status.
    #[default]
    Nothing,
    /// Never: the last of its body is sent again and again.
    Forever,
    /// Never, and nothing more comes.
    Silent,
}

/// What a server of gRPC does with a call.
#[derive(Clone, Debug, Default)]
struct Script {
    /// HTTP status, beside 200.
    status: Option<u16>,
    /// Beside the content type, or in its place.
    head: Vec<(&'static str, &'static str)>,
    body: Vec<&'static [u8]>,
    end: End,
}

impl Script {
    fn answers(body: &[&'static [u8]]) -> Self {
        Self { body: body.to_vec(), end: End::Status(0, ""), ..Self::default() }
    }
}

/// A body as the script has it.
struct Scripted {
    frames: VecDeque<Frame<Bytes>>,
    last: Bytes,
    end: End,
}

impl http_body::Body for Scripted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match (self.frames.pop_front(), self.end) {
            (Some(frame), _) => Poll::Ready(Some(Ok(frame))),
            (None, End::Forever) => Poll::Ready(Some(Ok(Frame::data(self.last.clone())))),
            (None, End::Silent) => Poll::Pending,
            (None, End::Status(..) | End::Nothing) => Poll::Ready(None),
        }
    }
}

type Asked = (String, HeaderMap, Bytes);

/// A server of gRPC as a test wants it: broken, where that is the test.
struct Server {
    url: String,
    script: Arc<Mutex<Script>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    async fn start() -> Self {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", socket.local_addr().expect("an address"));
        let (script, asked) = (Arc::new(Mutex::new(Script::default())), Arc::new(Mutex::new(Vec::new())));
        let server = Self { url, script: script.clone(), asked: asked.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let (script, asked) = (script.clone(), asked.clone());
                let service = service_fn(move |request| answer(script.clone(), asked.clone(), request));
                let server = http2::Builder::new(TokioExecutor::new());
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
        server
    }

    fn does(&self, script: Script) {
        *self.script.lock().expect("held") = script;
    }

    fn count(&self) -> usize {
        self.asked.lock().expect("held").len()
    }
}

async fn answer(
    script: Arc<Mutex<Script>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    request: Request<Incoming>,
) -> Result<Response<Scripted>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.expect("a whole request").to_bytes();
    asked.lock().expect("held").push((parts.uri.path().to_owned(), parts.headers, body));
    let Script { status, head, body, end } = script.lock().expect("held").clone();
    let last = body.last().map(|data| Bytes::from_static(data)).unwrap_or_default();
    let mut frames: VecDeque<_> =
        body.into_iter().map(|data| Frame::data(Bytes::from_static(data))).collect();
    if let End::Status(code, message) = end {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", code.into());
        trailers.insert("grpc-message", HeaderValue::from_static(message));
        frames.push_back(Frame::trailers(trailers));
    }
    let mut response = Response::new(Scripted { frames, last, end });
    *response.status_mut() = StatusCode::from_u16(status.unwrap_or(200)).expect("a status");
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    for (name, value) in head {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

const PERMIT: &str = r#"
    permit (principal == Agent::"t/caller", action == Action::"invokeTool", resource)
    when { resource in MCPServer::"t/tools" };
    forbid (principal, action == Action::"invokeTool", resource == Tool::"t/tools/Invoices_Record")
    when { context.args.hasTag("/status") && context.args.getTag("/status") == "PAID" };
    forbid (principal, action == Action::"invokeTool", resource == Tool::"t/tools/Invoices_Now");"#;

struct Grpc {
    world: World,
    server: Server,
}

impl Grpc {
    /// The gateway of the world, whose server speaks gRPC.
    async fn new() -> Self {
        Self::of(Server::start().await).await
    }

    /// The same with what listens at this address.
    async fn at(url: &str) -> Self {
        let server = Server::start().await;
        Self::of(Server { url: url.to_owned(), ..server }).await
    }

    async fn of(server: Server) -> Self {
        Self::with(server, &json!({})).await
    }

    /// The same with more in its record.
    async fn with(server: Server, more: &Value) -> Self {
        let world = World::new().await;
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src/resource/grpc");
        let mut compiler = protox::Compiler::new([directory]).expect("a directory");
        compiler.include_imports(true).open_file("invoices.proto").expect("a description");
        let descriptors = BASE64_STANDARD.encode(compiler.encode_file_descriptor_set());
        let mut all = objects(&world.upstream);
        for object in &mut all {
            let spec = object["spec"].as_object_mut().expect("a mapping");
            if spec.contains_key("cedar") {
                spec.insert("cedar".into(), json!(PERMIT));
            }
            if object["kind"] == "MCPServer" {
                let spec = object["spec"].as_object_mut().expect("a mapping");
                spec.remove("endpoint");
                let mut grpc = json!({"url": server.url, "descriptors": descriptors, "timeout": "1s", "maxAnswer": 1024});
                let more = more.as_object().expect("a mapping").clone();
                grpc.as_object_mut().expect("a mapping").extend(more);
                spec.insert("grpc".into(), grpc);
            }
        }
        world.gate.take_into_use(snapshot(&all));
        Self { world, server }
    }

    async fn ask(&self, method: &str, params: Value) -> (String, Value) {
        let message = json!({"jsonrpc": "2.0", "id": "x", "method": method, "params": params});
        let request = self.world.request(Method::POST, "/mcp/t/tools", &message);
        let (_, headers, body) = self.world.call(request).await;
        (call_id(&headers), json_of(&body))
    }

    async fn tool(&self, name: &str, arguments: Value) -> (String, Value) {
        self.ask("tools/call", json!({"name": name, "arguments": arguments})).await
    }
}

/// A server at the address that speaks HTTP/1 is told to be that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_http2_is_told_so() {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", socket.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let mut begun = [0; 24];
            stream.read_exact(&mut begun).await.expect("the preface of HTTP/2");
            let answer = b"HTTP/1.1 505 HTTP Version Not Supported\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer).await.expect("written");
            // What is closed with bytes unread is reset, and the answer with it.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let grpc = Grpc::at(&url).await;
    const REASON: &str = "what the upstream answered is not HTTP/2";
    // Where the connection is seen to be over before its reason is, that it broke is all that is known.
    let (mut id, mut answer) = (String::new(), Value::Null);
    for _ in 0..20 {
        (id, answer) = grpc.tool("Invoices_GetInvoice", json!({"invoiceId": "7"})).await;
        assert_eq!(answer["error"]["data"]["code"], "upstream_interrupted", "{answer}");
        if answer["error"]["data"]["reason"] == REASON {
            break;
        }
    }
    let told = &answer["error"]["data"];
    assert_eq!(told["reason"], REASON, "{answer}");
    assert!(told["next"].as_str().is_some_and(|next| next.contains("spec.grpc.url")), "{answer}");
    assert_eq!(grpc.world.records(&id, 2).await[1]["code"], "upstream_interrupted");
}

/// `{"invoiceId": "7", "amountCents": 1250}`.
const INVOICE: &[u8] = b"\0\0\0\0\x06\x0a\x017\x10\xe2\x09";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permitted_call_is_one_of_its_method_with_this_hops_credential() {
    let grpc = Grpc::new().await;
    grpc.server.does(Script::answers(&[INVOICE]));
    let (id, answer) = grpc.tool("Invoices_GetInvoice", json!({"invoiceId": "7"})).await;
    let expected = json!({"invoiceId": "7", "amountCents": 1250});
    assert_eq!(answer["result"]["structuredContent"], expected, "{answer}");
    assert_eq!(json_of(answer["result"]["content"][0]["text"].as_str().expect("text").as_bytes()), expected);
    assert_eq!(answer["result"]["isError"], json!(false));
    let (path, headers, body) = grpc.server.asked.lock().expect("held")[0].clone();
    assert_eq!((&*path, &*body), ("/finance.v1.Invoices/GetInvoice", &b"\0\0\0\0\x03\x0a\x017"[..]));
    let own = grpc.world.token("caller", Duration::from_secs(600));
    let sent = headers["authorization"].to_str().expect("text");
    assert!(sent.starts_with("Bearer ") && !sent.contains(&own), "a token of this hop, and not the caller's");
    assert_eq!(headers["te"], "trailers");
    assert_eq!(headers["grpc-timeout"], "1000m");
    assert_eq!(headers.get("accept"), None);
    let records = grpc.world.records(&id, 2).await;
    assert_eq!(records[0]["resource"], json!("Tool/t/tools/Invoices_GetInvoice"), "{}", records[0]);
    assert_eq!(records[1]["result"], json!("ok"));
    assert!(records[1]["token"].is_string(), "{}", records[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_listed_is_what_is_described_and_may_be_called() {
    let grpc = Grpc::new().await;
    let (_, list) = grpc.ask("tools/list", json!({})).await;
    let names: Vec<_> =
        list["result"]["tools"].as_array().expect("tools").iter().map(|tool| &tool["name"]).collect();
    assert_eq!(names, ["Invoices_GetInvoice", "Invoices_ListInvoices", "Invoices_Record"], "{list}");
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
    let (_, begun) = grpc.ask("initialize", hello).await;
    assert_eq!(begun["result"]["protocolVersion"], json!("2025-11-25"));
    let (_, answer) = grpc.tool("Invoices_Now", json!({})).await;
    assert!(answer.get("error").is_some(), "{answer}");
    let (_, answer) = grpc.tool("Invoices_Import", json!({})).await;
    assert_eq!(answer["error"]["code"], json!(-32602), "permitted, and no tool: {answer}");
    assert_eq!(grpc.server.count(), 0);
}

/// The same as plain REST: one policy, one record, and the answer by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_to_the_path_of_a_method_is_the_call_of_its_tool() {
    let grpc = Grpc::new().await;
    let rest = async |method: Method, path: &str, body: &Value| {
        let request = grpc.world.request(method, &format!("/rest/t/tools/{path}"), body);
        grpc.world.call(request).await
    };
    const GET: &str = "finance.v1.Invoices/GetInvoice";
    grpc.server.does(Script::answers(&[INVOICE]));
    let (status, headers, body) = rest(Method::POST, GET, &json!({"invoiceId": "7"})).await;
    assert_eq!(
        (status, &headers["content-type"]),
        (StatusCode::OK, &HeaderValue::from_static("application/json"))
    );
    assert_eq!(json_of(&body), json!({"invoiceId": "7", "amountCents": 1250}));
    let records = grpc.world.records(&call_id(&headers), 2).await;
    let of = (&records[0]["resource"], &records[0]["protocol"]);
    assert_eq!(of, (&json!("Tool/t/tools/Invoices_GetInvoice"), &json!("rest")));
    assert_eq!(grpc.server.asked.lock().expect("held")[0].0, "/finance.v1.Invoices/GetInvoice");
    // A status of gRPC is one of HTTP.
    grpc.server.does(Script { end: End::Status(5, "no such invoice"), ..Script::default() });
    let (status, _, body) = rest(Method::POST, GET, &json!({"invoiceId": "8"})).await;
    assert_eq!((status, &*body), (StatusCode::NOT_FOUND, &b"gRPC status NOT_FOUND (5): no such invoice"[..]));
    let asked = grpc.server.count();
    let (status, ..) = rest(Method::POST, GET, &json!({"invoice_id": "7"})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "in another spelling nothing is sent");
    for (method, path, body, code) in [
        (Method::POST, "finance.v1.Invoices/Record", json!({"status": "PAID"}), "forbidden_by_policy"),
        (Method::GET, GET, Value::Null, "method_not_allowed"),
        (Method::POST, "finance.v1.Invoices/Import", json!({}), "route_unknown"),
        (Method::POST, "finance.v1.Invoices/GetInvoice/", json!({}), "route_unknown"),
        (Method::POST, "Invoices_GetInvoice", json!({}), "route_unknown"),
        (Method::POST, "finance.v1.Invoices/GetInvoice?invoiceId=7", json!({}), "message_invalid"),
    ] {
        let (_, headers, _) = rest(method, path, &body).await;
        assert_eq!(headers["vidimus-code"], code, "{path} {body}");
    }
    assert_eq!(grpc.server.count(), asked);
}

/// Attack: what a policy forbids, written in another way that protobuf reads as the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arguments_that_policies_would_not_know_again_go_nowhere() {
    let grpc = Grpc::new().await;
    let (_, answer) = grpc.tool("Invoices_Record", json!({"status": "PAID"})).await;
    assert!(answer.get("error").is_some(), "the policy knows it: {answer}");
    for arguments in
        [json!({"status": 2}), json!({"invoice_id": "7"}), json!({"amountCents": "1250"}), json!({"x": 1})]
    {
        let (id, answer) = grpc.tool("Invoices_Record", arguments).await;
        assert_eq!(answer["result"]["isError"], json!(true), "{answer}");
        let text = answer["result"]["content"][0]["text"].as_str().expect("text");
        assert!(
            text.starts_with("gRPC status INVALID_ARGUMENT (3): ") && text.ends_with("nothing was sent"),
            "{text}"
        );
        assert_eq!(grpc.world.records(&id, 2).await[1]["result"], json!("error"));
    }
    assert_eq!(grpc.server.count(), 0);
    grpc.server.does(Script::answers(&[b"\0\0\0\0\0"]));
    let (_, answer) = grpc.tool("Invoices_Record", json!({"status": "OPEN"})).await;
    assert_eq!(answer["result"]["structuredContent"], json!({}), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_progress_and_then_a_list() {
    let grpc = Grpc::new().await;
    grpc.server.does(Script::answers(&[INVOICE, b"\0\0\0\0\x03\x0a", b"\x018"]));
    let (_, answer) = grpc.tool("Invoices_ListInvoices", json!({"limit": 2})).await;
    let all = json!({"messages": [{"invoiceId": "7", "amountCents": 1250}, {"invoiceId": "8"}]});
    assert_eq!(answer["result"]["structuredContent"], all, "{answer}");
    let params = json!({"name": "Invoices_ListInvoices", "_meta": {"progressToken": "p"}});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let request = grpc.world.request(Method::POST, "/mcp/t/tools", &message);
    let (_, headers, body) = grpc.world.call(request).await;
    assert_eq!(headers["content-type"], "text/event-stream");
    let text = String::from_utf8(body.to_vec()).expect("text");
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"));
    let second = at(r#""progressToken":"p","progress":2,"message":"{\"invoiceId\":\"8\"}""#);
    assert!(at(r#""progress":1"#) < second && second < at("structuredContent"), "{text}");
    assert_eq!(grpc.world.records(&call_id(&headers), 2).await[1]["result"], json!("ok"));
    // Of nothing there is a list too.
    grpc.server.does(Script::answers(&[]));
    let (_, answer) = grpc.tool("Invoices_ListInvoices", json!({})).await;
    assert_eq!(answer["result"]["structuredContent"], json!({"messages": []}), "{answer}");
}

/// As servers with compression on have it: the head names it, and each message says whether it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_could_compress_is_answered_for() {
    let grpc = Grpc::new().await;
    grpc.server.does(Script { head: vec![("grpc-encoding", "gzip")], ..Script::answers(&[INVOICE]) });
    let (_, answer) = grpc.tool("Invoices_GetInvoice", json!({"invoiceId": "7"})).await;
    assert_eq!(answer["result"]["structuredContent"]["invoiceId"], json!("7"), "{answer}");
    let compressed = Script::answers(&[b"\x01\0\0\0\x02ab"]);
    grpc.server.does(Script { head: vec![("grpc-encoding", "gzip")], ..compressed });
    let (_, answer) = grpc.tool("Invoices_GetInvoice", json!({"invoiceId": "7"})).await;
    assert!(answer.to_string().contains("upstream_invalid"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_is_the_tools_own_error() {
    let grpc = Grpc::new().await;
    let in_trailers = Script { end: End::Status(5, "no%20such invoice"), ..Script::default() };
    let in_head =
        Script { head: vec![("grpc-status", "5"), ("grpc-message", "no such invoice")], ..Script::default() };
    let behind_a_message = Script { body: vec![INVOICE], ..in_trailers.clone() };
    for script in [in_trailers, in_head, behind_a_message] {
        grpc.server.does(script.clone());
        let (id, answer) = grpc.tool("Invoices_GetInvoice", json!({})).await;
        assert_eq!(answer["result"]["isError"], json!(true), "{script:?}: {answer}");
        let text = &answer["result"]["content"][0]["text"];
        assert_eq!(text, "gRPC status NOT_FOUND (5): no such invoice", "{script:?}");
        assert_eq!(answer["result"].get("structuredContent"), None);
        assert_eq!(grpc.world.records(&id, 2).await[1]["result"], json!("error"));
    }
}

/// It may be of what was asked, and clients of MCP take it for no answer about their own token: it is in a result.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_a_key_is_refused_is_what_the_tool_answers_and_who_operates_is_told() {
    let key = json!({"credential": {"env": "CARGO_PKG_NAME"}, "credentialHeader": "X-API-Key"});
    let grpc = Grpc::with(Server::start().await, &key).await;
    grpc.server.does(Script { end: End::Status(16, "no such key"), ..Script::default() });
    let (id, answer) = grpc.tool("Invoices_GetInvoice", json!({})).await;
    assert_eq!(answer["result"]["isError"], json!(true), "{answer}");
    let text = &answer["result"]["content"][0]["text"];
    assert_eq!(text, "gRPC status UNAUTHENTICATED (16): no such key");
    let (_, sent, _) = grpc.server.asked.lock().expect("held")[0].clone();
    assert_eq!(
        (sent["x-api-key"].to_str().ok(), sent.get("authorization")),
        (Some(env!("CARGO_PKG_NAME")), None)
    );
    let note = "401 to the gateway's key: look at spec.grpc.credential of MCPServer t/tools";
    let detail = &grpc.world.records(&id, 2).await[1]["detail"];
    assert!(detail.as_str().is_some_and(|detail| detail.contains(note)), "{detail}");
}

/// Attacks of a server: broken frames, compressed bombs, messages without end, streams without end, answers that are none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_answer_is_refused_with_its_code() {
    let grpc = Grpc::new().await;
    let invalid = |body: &[&'static [u8]]| (Script::answers(body), "upstream_invalid");
    let head = |name, value| Script { head: vec![(name, value)], ..Script::answers(&[INVOICE]) };
    for (what, (script, code)) in [
        ("a length that nothing follows", invalid(&[b"\0\xff\xff\xff\xffab"])),
        ("a message that is cut", invalid(&[b"\0\0\0\0\x06\x0a"])),
        ("a prefix that is cut", invalid(&[b"\0\0\0"])),
        ("compressed", invalid(&[b"\x01\0\0\0\x02ab"])),
        ("another message than is described", invalid(&[b"\0\0\0\0\x02\x0a\xff"])),
        ("two messages", invalid(&[INVOICE, INVOICE])),
        ("no message", invalid(&[])),
        ("HTTP", (Script { status: Some(502), ..Script::answers(&[INVOICE]) }, "upstream_invalid")),
        ("a page", (head("content-type", "text/html"), "upstream_invalid")),
        ("grpc-web", (head("content-type", "application/grpc-web"), "upstream_invalid")),
        ("no status", (Script { body: vec![INVOICE], ..Script::default() }, "upstream_interrupted")),
        (
            "never",
            (Script { body: vec![INVOICE], end: End::Silent, ..Script::default() }, "upstream_timeout"),
        ),
    ] {
        grpc.server.does(script);
        let (id, answer) = grpc.tool("Invoices_GetInvoice", json!({})).await;
        assert!(answer.to_string().contains(code), "{what}: {answer}");
        let effect = &grpc.world.records(&id, 2).await[1];
        assert_eq!(effect["code"], json!(code), "{what}: {effect}");
    }
    for tool in ["Invoices_GetInvoice", "Invoices_ListInvoices"] {
        let forever = Script { body: vec![INVOICE], end: End::Forever, ..Script::default() };
        grpc.server.does(forever);
        let (_, answer) = grpc.tool(tool, json!({})).await;
        assert!(answer.to_string().contains("upstream_invalid"), "{tool}: {answer}");
    }
    let empty = Script { body: vec![b"\0\0\0\0\0"], end: End::Silent, ..Script::default() };
    grpc.server.does(empty);
    let (_, answer) = grpc.tool("Invoices_ListInvoices", json!({})).await;
    assert!(
        answer.to_string().contains("upstream_timeout"),
        "the time is that of the whole answer: {answer}"
    );
}
