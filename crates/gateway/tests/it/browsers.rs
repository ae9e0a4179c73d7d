//! Pages of browsers: who may call, what is answered before any credential is asked for, and what a page may read.

use http::{HeaderMap, Method, Request};
use http_body_util::Full;
use serde_json::json;
use vidimus_testkit::upstream::Answer;

use super::world::{World, json_of};

const APP: &str = "https://app.example";

fn preflight(path: &str, origin: &str) -> Request<Full<bytes::Bytes>> {
    Request::builder()
        .method(Method::OPTIONS)
        .uri(path)
        .header("host", "gateway.example")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,mcp-protocol-version")
        .body(Full::default())
        .expect("a request")
}

fn of<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).map_or("", |value| value.to_str().expect("text"))
}

#[tokio::test]
async fn a_preflight_is_answered_before_any_credential_and_only_to_who_may_call() {
    let world = World::new().await;
    for path in
        ["/mcp/t/tools", "/a2a/t/callee", "/llm/t/models/v1/chat/completions", "/.well-known/jwks.json"]
    {
        let (status, headers, body) = world.call(preflight(path, APP)).await;
        assert_eq!((status.as_u16(), body.len()), (204, 0), "{path}");
        assert_eq!(of(&headers, "access-control-allow-origin"), APP);
        assert_eq!(of(&headers, "access-control-allow-methods"), "GET, POST, PUT, PATCH, DELETE");
        assert_eq!(
            of(&headers, "access-control-allow-headers"),
            "authorization,content-type,mcp-protocol-version"
        );
        assert_eq!(of(&headers, "access-control-max-age"), "7200");
        let vary: Vec<_> =
            headers.get_all("vary").iter().map(|value| value.to_str().expect("text")).collect();
        assert!(vary.contains(&"Origin"), "{vary:?}");
    }
    for origin in ["https://evil.example", "null", "https://app.example.evil"] {
        let (status, headers, _) = world.call(preflight("/mcp/t/tools", origin)).await;
        assert_eq!((status.as_u16(), of(&headers, "vidimus-code")), (403, "origin_refused"), "{origin}");
        assert!(!headers.contains_key("access-control-allow-origin"));
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn a_page_that_may_call_reads_every_answer_and_error_and_the_metadata() {
    let world = World::new().await;
    world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}})));
    let from = |mut request: Request<Full<bytes::Bytes>>, origin: &str| {
        request.headers_mut().insert("origin", origin.parse().expect("a value"));
        request
    };
    let without = |mut request: Request<Full<bytes::Bytes>>| {
        request.headers_mut().remove("authorization");
        request
    };
    let get = |path: &str| world.request(Method::GET, path, &json!(null));
    for (request, status) in [
        (world.tool("echo"), 200),
        (world.tool("forbidden"), 200),
        (without(world.tool("echo")), 401),
        (get("/nothing"), 404),
        (get("/.well-known/oauth-protected-resource/mcp/t/tools"), 200),
        (get("/.well-known/nothing"), 404),
    ] {
        let path = request.uri().clone();
        let (got, headers, _) = world.call(from(request, APP)).await;
        assert_eq!(got.as_u16(), status, "{path}");
        assert_eq!(of(&headers, "access-control-allow-origin"), APP, "{path}");
        let exposed = of(&headers, "access-control-expose-headers").to_ascii_lowercase();
        for name in ["mcp-session-id", "www-authenticate", "retry-after", "vidimus-call", "x-request-id"] {
            assert!(exposed.contains(name), "{path}: {exposed}");
        }
        assert_eq!(of(&headers, "vary"), "Origin", "{path}");
    }
    let (_, headers, _) = world.call(get("/.well-known/jwks.json")).await;
    assert_eq!(of(&headers, "vary"), "Origin", "what a cache keeps is not for a page");
}

/// The suite's `localhost-host-valid-accepted` and `localhost-host-rebinding-rejected`.
#[tokio::test]
async fn the_gateways_own_pages_pass_and_a_name_that_leads_here_does_not() {
    let world = World::new().await;
    for (host, origin, code) in [
        ("localhost:8080", "http://localhost:8080", ""),
        ("127.0.0.1:8080", "http://127.0.0.1:8080", ""),
        ("gateway.example", "http://gateway.example", ""),
        ("evil.example.com", "http://evil.example.com", "origin_refused"),
        ("localhost:8080", "http://localhost:3000", "origin_refused"),
    ] {
        world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}})));
        let mut request = world.tool("echo");
        request.headers_mut().insert("host", host.parse().expect("a value"));
        request.headers_mut().insert("origin", origin.parse().expect("a value"));
        let (_, headers, body) = world.call(request).await;
        assert_eq!(of(&headers, "vidimus-code"), code, "{host} {origin}");
        assert_eq!(json_of(&body).get("result").is_some(), code.is_empty(), "{host} {origin}");
        assert!(!headers.contains_key("access-control-allow-origin"), "its own pages need no leave");
    }
}
