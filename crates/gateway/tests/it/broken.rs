//! A broken upstream speaks the caller's protocol: whatever it answers, the caller gets its protocol's error, and the record says what
//! came.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use vidimus_testkit::upstream::raw::{End, RawAnswer, RawUpstream};

use super::world::{World, call_id, json_of, objects, snapshot};

const HTML: &str = "<html><body>502 Bad Gateway</body></html>";

/// Who asks for what, and reads errors of which shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Mcp,
    A2a,
    OpenAi,
    Anthropic,
}

const CLIENTS: [Client; 4] = [Client::Mcp, Client::A2a, Client::OpenAi, Client::Anthropic];

impl Client {
    fn request(self, world: &World, streams: bool) -> Request<Full<Bytes>> {
        let post = |path: &str, body: Value| world.request(Method::POST, path, &body);
        let model = |name: &str| json!({"model": name, "max_tokens": 9, "messages": [], "stream": streams});
        let method = if streams { "SendStreamingMessage" } else { "SendMessage" };
        match self {
            Self::Mcp => world.tool("echo"),
            Self::A2a => post(
                "/a2a/t/callee",
                json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"message": {}}}),
            ),
            Self::OpenAi => post("/llm/t/models/v1/chat/completions", model("small")),
            Self::Anthropic => post("/llm/t/claude/v1/messages", model("haiku")),
        }
    }

    /// What an error of this client's protocol is about; nothing where it is none.
    fn about(self, body: &Value) -> Value {
        match self {
            Self::Mcp | Self::A2a if body["jsonrpc"] == "2.0" && body["id"] == 1 => {
                body["error"]["data"].clone()
            }
            Self::OpenAi if body["error"]["message"].is_string() => body["error"]["vidimus"].clone(),
            Self::Anthropic if body["type"] == "error" && body["error"]["type"].is_string() => {
                body["vidimus"].clone()
            }
            _ => Value::Null,
        }
    }

    /// The HTTP status of an error, where the upstream's was `upstream`.
    fn status(self, upstream: u16) -> u16 {
        match self {
            Self::A2a => 200,
            _ if upstream >= 400 => upstream,
            _ => 502,
        }
    }

    /// What answers it well.
    fn good(self) -> &'static str {
        match self {
            Self::Mcp | Self::A2a => r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            Self::OpenAi => r#"{"choices":[{"index":0,"finish_reason":"stop"}]}"#,
            Self::Anthropic => r#"{"type":"message","content":[]}"#,
        }
    }
}

/// A gateway before an upstream that writes what it likes.
async fn world() -> (World, RawUpstream) {
    let (world, upstream) = (World::new().await, RawUpstream::start());
    let mut all = objects(&world.upstream);
    for (object, path) in [(2, "/a2a"), (3, "/mcp"), (4, "/llm")] {
        all[object]["spec"]["endpoint"]["url"] = json!(upstream.url(path));
    }
    let mut claude = all[4].clone();
    claude["metadata"]["name"] = json!("claude");
    claude["spec"]["type"] = json!("anthropic");
    claude["spec"]["models"] = json!([{"name": "haiku"}]);
    all.push(claude);
    let cedar = all[5]["spec"]["cedar"].as_str().expect("text").to_owned();
    let more = r#"permit (principal == Agent::"t/caller", action == Action::"callModel", resource == Model::"t/claude/haiku");"#;
    all[5]["spec"]["cedar"] = json!(cedar + more);
    world.gate.take_into_use(snapshot(&all));
    (world, upstream)
}

/// An answer with its length.
fn sized(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// One in chunks.
fn chunked(head: &str, body: &str) -> Vec<u8> {
    let chunk = if body.is_empty() { String::new() } else { format!("{:x}\r\n{body}\r\n", body.len()) };
    format!("HTTP/1.1 {head}\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n")
        .into_bytes()
}

fn html(head: &str) -> String {
    format!("{head}\r\ncontent-type: text/html")
}

fn json_typed(head: &str) -> String {
    format!("{head}\r\ncontent-type: application/json")
}

#[tokio::test]
async fn whatever_an_upstream_answers_the_caller_gets_its_protocols_error() {
    let (world, upstream) = world().await;
    let later = |head: &str| format!("{}\r\nretry-after: 7", html(head));
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 9].to_vec();
    let other = r#"{"hello":"world"}"#;
    for (what, bytes, end, code, status, retry) in [
        ("HTML 502", sized(&html("502 Bad Gateway"), HTML), End::Close, "invalid", 502, false),
        ("HTML 502 in chunks", chunked(&html("502 Bad Gateway"), HTML), End::Close, "invalid", 502, false),
        ("an empty 503", sized("503 Busy\r\nretry-after: 7", ""), End::Close, "invalid", 503, true),
        (
            "an empty 503 in chunks",
            chunked("503 Busy\r\nretry-after: 7", ""),
            End::Close,
            "invalid",
            503,
            true,
        ),
        ("HTML 429", sized(&later("429 Slow Down"), HTML), End::Close, "invalid", 429, true),
        (
            "a JSON 404",
            sized(&json_typed("404 No"), r#"{"detail":"Not Found"}"#),
            End::Close,
            "invalid",
            404,
            false,
        ),
        ("HTML 200", sized(&html("200 OK"), HTML), End::Close, "invalid", 200, false),
        ("HTML 200 in chunks", chunked(&html("200 OK"), HTML), End::Close, "invalid", 200, false),
        ("HTML 200 that says JSON", chunked(&json_typed("200 OK"), HTML), End::Close, "invalid", 200, false),
        ("other JSON", sized(&json_typed("200 OK"), other), End::Close, "invalid", 200, false),
        ("half JSON", sized(&json_typed("200 OK"), "{\"a\":"), End::Close, "invalid", 200, false),
        ("text", sized("200 OK\r\ncontent-type: text/plain", "Accepted"), End::Close, "invalid", 200, false),
        ("nothing", sized(&json_typed("200 OK"), ""), End::Close, "invalid", 200, false),
        ("nothing in chunks", chunked(&json_typed("200 OK"), ""), End::Close, "invalid", 200, false),
        (
            "204",
            b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_vec(),
            End::Close,
            "invalid",
            204,
            false,
        ),
        ("202", sized("202 Accepted", ""), End::Close, "invalid", 202, false),
        ("a redirect", sized("302 Found\r\nlocation: /x", ""), End::Close, "invalid", 302, false),
        (
            "another protocol",
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_vec(),
            End::Stay,
            "invalid",
            101,
            false,
        ),
        ("no HTTP", b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(), End::Close, "invalid", 0, false),
        ("no answer", Vec::new(), End::Close, "interrupted", 0, false),
        ("a reset", Vec::new(), End::Reset, "interrupted", 0, false),
        ("half a head", b"HTTP/1.1 200 OK\r\ncontent-".to_vec(), End::Close, "interrupted", 0, false),
        ("a body cut short", cut(sized(&json_typed("200 OK"), other)), End::Close, "interrupted", 200, false),
        ("a body reset", cut(sized(&json_typed("200 OK"), other)), End::Reset, "interrupted", 200, false),
        (
            "chunks that do not come",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
            End::Close,
            "interrupted",
            200,
            false,
        ),
        ("an error cut short", cut(sized(&html("500 No"), HTML)), End::Close, "interrupted", 500, false),
    ] {
        for client in CLIENTS {
            upstream.next(RawAnswer::new(bytes.clone(), end));
            let (got, headers, body) = world.call(client.request(&world, false)).await;
            check(&world, client, (got, &headers, &body), (what, code, status)).await;
            let kept = headers.get("retry-after").map(http::HeaderValue::as_bytes);
            assert_eq!(kept, retry.then_some(&b"7"[..]), "{what} {client:?}");
        }
    }
}

/// What the caller got, and what the record says.
async fn check(
    world: &World,
    client: Client,
    (got, headers, body): (StatusCode, &HeaderMap, &Bytes),
    (what, code, status): (&str, &str, u16),
) {
    let code = format!("upstream_{code}");
    let text = String::from_utf8_lossy(body);
    let about = client.about(&serde_json::from_slice(body).unwrap_or_default());
    assert_eq!(about["code"], code, "{what} {client:?}: {got} {text}");
    assert_eq!(headers["vidimus-code"], *code, "{what} {client:?}");
    assert_eq!(headers["content-type"], "application/json", "{what} {client:?}");
    assert_eq!(got.as_u16(), client.status(status), "{what} {client:?}");
    let shown = if status == 0 { Value::Null } else { json!(status) };
    assert_eq!(about["upstream_status"], shown, "{what} {client:?}: {text}");
    assert!(!text.contains("<html"), "{what} {client:?}: {text}");
    let effect = world.records(&call_id(headers), 2).await.remove(1);
    assert_eq!((&effect["result"], &effect["code"]), (&json!("failed"), &json!(code)), "{what} {client:?}");
    assert_eq!(effect["status"], status, "{what} {client:?}");
    let detail = effect["detail"].as_str().unwrap_or_default();
    assert!(!detail.is_empty() && detail.len() <= 512, "{what} {client:?}: {effect}");
    if what.starts_with("HTML") {
        assert!(detail.contains("502 Bad Gateway"), "{what} {client:?}: {detail}");
    }
}

/// What a protocol says in its own words passes as it is, with its status.
#[tokio::test]
async fn a_protocols_own_error_passes() {
    let (world, upstream) = world().await;
    let error = |client: Client| match client {
        Client::Mcp | Client::A2a => r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"x"}}"#,
        Client::OpenAi => r#"{"error":{"message":"x","type":"y"}}"#,
        Client::Anthropic => r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#,
    };
    for client in CLIENTS {
        for (status, in_chunks) in [(200, false), (400, false), (429, true), (500, true)] {
            let head = format!("{status} X\r\ncontent-type: application/json\r\nretry-after: 7");
            let bytes = if in_chunks { chunked(&head, error(client)) } else { sized(&head, error(client)) };
            upstream.next(RawAnswer::new(bytes, End::Close));
            let (got, headers, body) = world.call(client.request(&world, false)).await;
            assert_eq!((got.as_u16(), &*body), (status, error(client).as_bytes()), "{client:?}");
            assert_eq!((headers.get("vidimus-code"), &headers["retry-after"] == "7"), (None, true));
            let effect = world.records(&call_id(&headers), 2).await.remove(1);
            assert_eq!(effect["result"], "error", "{client:?} {status}");
        }
    }
}

/// Beside a transfer coding a length says nothing, and the caller is told none: what it was told would not be what comes.
#[tokio::test]
async fn a_length_beside_chunks_is_no_length() {
    let (world, upstream) = world().await;
    for client in CLIENTS {
        let good = client.good();
        for length in [1, good.len() + 1, 100_000] {
            let head = format!("{}\r\ncontent-length: {length}", json_typed("200 OK"));
            upstream.next(RawAnswer::new(chunked(&head, good), End::Close));
            let (status, headers, body) = world.call(client.request(&world, false)).await;
            assert_eq!((status.as_u16(), &*body), (200, good.as_bytes()), "{client:?} {length}");
            let effect = world.records(&call_id(&headers), 2).await.remove(1);
            assert_eq!(
                (&effect["result"], &effect["bytes_out"]),
                (&json!("ok"), &json!(good.len())),
                "{client:?}"
            );
        }
    }
}

/// White space comes first, for longer than a document is waited for; what begins then is judged all the same.
#[tokio::test]
async fn what_begins_late_is_judged_when_it_begins() {
    let (world, upstream) = world().await;
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\ncontent-type: text/html\r\n\r\n";
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let white = " ".repeat(70_000);
    for client in [Client::Mcp, Client::OpenAi] {
        let bytes = format!("{head}{}{}0\r\n\r\n", chunk(&white), chunk(HTML));
        upstream.next(RawAnswer::new(bytes, End::Close));
        let response = world.send(client.request(&world, false)).await;
        let id = call_id(response.headers());
        let body = response.into_body().collect().await;
        assert!(body.is_err() || !body.is_ok_and(|body| body.to_bytes().ends_with(b"</html>")), "{client:?}");
        let effect = world.records(&id, 2).await.remove(1);
        assert_eq!(
            (&effect["result"], &effect["code"]),
            (&json!("failed"), &json!("upstream_invalid")),
            "{client:?}"
        );
    }
}

/// The answer has passed; that the upstream breaks off behind it, or that the caller leaves, makes nothing of it undone.
#[tokio::test]
async fn an_answer_that_has_passed_is_the_effect() {
    let (world, upstream) = world().await;
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let event = format!("data: {}\n\n", Client::Mcp.good());
    let bytes = format!("{head}{:x}\r\n{event}\r\n", event.len());
    for end in [End::Close, End::Reset] {
        upstream.next(RawAnswer::new(bytes.clone(), end));
        let (_, headers, body) = world.call(Client::Mcp.request(&world, true)).await;
        assert_eq!(&*body, event.as_bytes());
        let effect = world.records(&call_id(&headers), 2).await.remove(1);
        assert_eq!(effect["result"], "ok", "{effect}");
    }
    // The stream stays open, and the caller has what it asked for.
    let (answer, open) = RawAnswer::new(bytes, End::Close).then("");
    upstream.next(answer);
    let mut response = world.send(Client::Mcp.request(&world, true)).await;
    let id = call_id(response.headers());
    let first = response.body_mut().frame().await.expect("an event").expect("in order");
    assert_eq!(first.into_data().expect("data"), event.as_bytes());
    drop(response);
    let effect = world.records(&id, 2).await.remove(1);
    assert_eq!(effect["result"], "ok", "{effect}");
    drop(open);
}

/// Where events have begun to pass, the fault is the last of them.
#[tokio::test]
async fn a_stream_that_breaks_ends_with_the_protocols_error() {
    let (world, upstream) = world().await;
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let one = |client: Client| match client {
        Client::Mcp => {
            "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{}}\n\n".to_owned()
        }
        Client::A2a => format!("data: {}\n\n", client.good()),
        Client::OpenAi => "data: {\"choices\":[{\"index\":0,\"finish_reason\":null}]}\n\n".to_owned(),
        Client::Anthropic => "event: ping\ndata: {\"type\":\"ping\"}\n\n".to_owned(),
    };
    let end = "0\r\n\r\n";
    for client in CLIENTS {
        for (what, bytes, end, code) in [
            ("no event", head.to_owned(), End::Close, "interrupted"),
            ("no event, reset", head.to_owned(), End::Reset, "interrupted"),
            ("an event", head.to_owned() + &chunk(&one(client)), End::Close, "interrupted"),
            ("an end without an event", head.to_owned() + end, End::Close, "invalid"),
            ("keep-alives alone", head.to_owned() + &chunk(": ping\n\n") + end, End::Close, "invalid"),
            ("HTML that says it is events", head.to_owned() + &chunk("<p>\n\n") + end, End::Close, "invalid"),
        ] {
            upstream.next(RawAnswer::new(bytes, end));
            let response = world.send(client.request(&world, true)).await;
            let (status, id) = (response.status().as_u16(), call_id(response.headers()));
            let body = response.into_body().collect().await.expect("ended in order").to_bytes();
            let text = String::from_utf8(body.to_vec()).expect("UTF-8");
            let last = text.trim_end().rsplit("\n\n").next().unwrap_or_default();
            let event = last.lines().find_map(|line| line.strip_prefix("event: "));
            assert_eq!(event, (client == Client::Anthropic).then_some("error"), "{what} {client:?}: {text}");
            let data = last.lines().find_map(|line| line.strip_prefix("data: ")).expect("data");
            let about = client.about(&json_of(data.as_bytes()));
            let code = format!("upstream_{code}");
            assert_eq!((status, &about["code"]), (200, &json!(code)), "{what} {client:?}: {text}");
            assert_eq!(about["call"], id, "{what} {client:?}");
            let effect = world.records(&id, 2).await.remove(1);
            assert_eq!(
                (&effect["result"], &effect["code"]),
                (&json!("failed"), &json!(code)),
                "{what} {client:?}"
            );
            assert_eq!(effect["bytes_out"], text.len(), "{what} {client:?}");
        }
    }
}
