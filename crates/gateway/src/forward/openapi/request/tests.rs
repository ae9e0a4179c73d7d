use std::sync::Arc;

use http::Request;
use proptest::prelude::*;
use serde_json::{Value, json};
use vidimus_core::call::Destination;
use vidimus_core::resource::McpServer;

use super::*;
use crate::protocol::Binding as _;
use crate::protocol::rest::Rest;
use crate::protocol::rest::tests::pets;

fn made(server: &McpServer, tool: &str, arguments: &Value, headers: HeaderMap) -> Result<Made, Refusal> {
    let api = server.endpoint.openapi.as_ref().expect("an API");
    of((&server.endpoint, api), (tool, &api.tools[tool]), &arguments.to_string(), headers)
}

#[test]
fn arguments_are_a_request() {
    let server = pets();
    for (tool, arguments, expected, body) in [
        ("list", json!({}), "GET /api/pets?tenant=a", ""),
        (
            "list",
            json!({"limit": 5, "tag": ["a b", "c,d&e=f#"], "ids": [1, 2]}),
            "GET /api/pets?tenant=a&limit=5&tag=a%20b&tag=c%2Cd%26e%3Df%23&ids=1,2",
            "",
        ),
        (
            "list",
            json!({"deep[er]": false, "tag": [], "ids": [], "limit": null}),
            "GET /api/pets?tenant=a&deep%5Ber%5D=false",
            "",
        ),
        ("list", json!({"tag": [""]}), "GET /api/pets?tenant=a&tag=", ""),
        (
            "get",
            json!({"id": "a b:c@d;e?f#g{h}"}),
            "GET /api/pets/a%20b%3Ac%40d%3Be%3Ff%23g%7Bh%7D?tenant=a",
            "",
        ),
        ("get", json!({"id": "\u{e9}\u{2215}"}), "GET /api/pets/%C3%A9%E2%88%95?tenant=a", ""),
        ("get", json!({"id": "..."}), "GET /api/pets/...?tenant=a", ""),
        ("delete", json!({"id": "100%"}), "DELETE /api/pets/100%25?tenant=a", ""),
        ("toys", json!({"id": 7, "toys": ["a", "b"]}), "GET /api/pets/7/toys/a,b.json?tenant=a", ""),
        ("create", json!({"body": {"a": [1.50]}}), "POST /api/pets?tenant=a", r#"{"a":[1.5]}"#),
        ("create", json!({}), "POST /api/pets?tenant=a", ""),
        (
            "form",
            json!({"body": {"name": "a b&c=d", "tags": ["x", "y"], "ids": [1, 2], "count": null}}),
            "POST /api/forms?tenant=a",
            "name=a%20b%26c%3Dd&tags=x&tags=y&ids=1,2",
        ),
        ("text", json!({"body": "a \"b\""}), "PUT /api/texts?tenant=a", "a \"b\""),
        ("bytes", json!({"body": "AGE="}), "PUT /api/bytes?tenant=a", "\u{0}a"),
    ] {
        let made = made(&server, tool, &arguments, HeaderMap::new())
            .unwrap_or_else(|refusal| panic!("{arguments}: {refusal}"));
        assert_eq!(format!("{} {}", made.method, made.uri.path_and_query().expect("a path")), expected);
        assert_eq!((made.uri.host(), &*made.body), (Some("127.0.0.1"), body.as_bytes()));
        assert_eq!(made.headers.contains_key(CONTENT_TYPE), !body.is_empty());
    }
}

/// Attacks: an argument that leads out of its place in the path, that makes the path another operation's, that is another parameter too, or another
/// header field.
#[test]
fn what_would_be_another_request_is_none() {
    let server = pets();
    for (tool, arguments) in [
        ("get", json!({})),
        ("get", json!({"id": null})),
        ("get", json!({"id": ""})),
        ("get", json!({"id": "."})),
        ("get", json!({"id": ".."})),
        ("get", json!({"id": "../admin"})),
        ("get", json!({"id": "a/b"})),
        ("get", json!({"id": "a\\b"})),
        ("get", json!({"id": "%2e%2e"})),
        ("get", json!({"id": "%2Fadmin"})),
        ("get", json!({"id": "a\r\nHost: evil"})),
        ("get", json!({"id": "a\u{0}"})),
        ("get", json!({"id": ["a"]})),
        ("get", json!({"id": {"a": 1}})),
        ("get", json!({"id": "7", "other": 1})),
        ("get", json!({"id": "7", "body": {}})),
        // It is `DELETE /pets/all`, which is another tool.
        ("delete", json!({"id": "all"})),
        ("toys", json!({"id": 7, "toys": []})),
        ("toys", json!({"id": 7, "toys": ["a,b"]})),
        ("toys", json!({"id": 7, "toys": ["a", "../b"]})),
        ("form", json!({"body": {"other": "a"}})),
        ("form", json!({"body": {"name": {"a": "b"}}})),
        ("form", json!({"body": {"name": ["a", "b"]}})),
        ("form", json!({"body": "name=a&other=b"})),
        ("text", json!({"body": {"a": 1}})),
        ("bytes", json!({"body": "not base64"})),
        ("bytes", json!({})),
        ("list", json!({"ids": ["1,2"]})),
        ("list", json!({"limit": [1]})),
        ("list", json!({"tag": "a"})),
        ("list", json!({"tag": [null]})),
        ("list", json!({"tag": [["a"]]})),
        ("list", json!({"x-trace": "a\r\nX-Evil: 1"})),
        ("list", json!({"x-trace": " a"})),
        ("list", json!({"x-trace": "\u{e9}"})),
        ("list", json!({"x-list": ["1, 2"]})),
        ("list", json!({"tag": ["x".repeat(20_000)]})),
    ] {
        let refused =
            made(&server, tool, &arguments, HeaderMap::new()).map(|made| made.uri).expect_err("refused");
        assert_eq!(refused.code, Code::ArgumentsInvalid, "{tool} {arguments}");
    }
    let api = server.endpoint.openapi.as_ref().expect("an API");
    let twice =
        of((&server.endpoint, api), ("get", &api.tools["get"]), r#"{"id":"7","id":"8"}"#, HeaderMap::new());
    assert!(twice.is_err_and(|refusal| refusal.code == Code::ArgumentsInvalid));
}

#[test]
fn headers_are_the_hops_the_records_and_the_operations() {
    let given = [
        ("authorization", "Bearer hop"),
        ("accept", "text/event-stream"),
        ("content-type", "application/json"),
        ("mcp-session-id", "s"),
        ("mcp-protocol-version", "v"),
        ("last-event-id", "e"),
        ("traceparent", "t"),
        ("x-set", "ours"),
        ("x-trace", "the caller's own"),
        ("x-list", "9"),
    ];
    let given: HeaderMap = given
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    let arguments = json!({"x-trace": "t 1", "x-set": "theirs"});
    let made = made(&pets(), "list", &arguments, given).unwrap_or_else(|refusal| panic!("{refusal}"));
    let mut said: Vec<(&str, &str)> =
        made.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect();
    said.sort_unstable();
    assert_eq!(
        said,
        [
            ("accept", ACCEPTED),
            ("authorization", "Bearer hop"),
            ("traceparent", "t"),
            ("x-set", "ours"),
            ("x-trace", "t 1")
        ]
    );
}

/// Whatever a server undoes of escapes, and however often.
fn undone(path: &str) -> Vec<String> {
    let mut readings = vec![path.to_owned()];
    for _ in 0..4 {
        let last = readings.last().expect("one").as_bytes();
        let (mut bytes, mut at) = (Vec::new(), 0);
        while let Some(byte) = last.get(at) {
            let hex = last.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
            let escaped = hex.filter(|_| *byte == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
            bytes.push(escaped.unwrap_or(*byte));
            at += if escaped.is_some() { 3 } else { 1 };
        }
        readings.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    readings
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// No argument can leave its part of a path, and what is sent says what the argument says.
    #[test]
    fn no_argument_leaves_its_place(id in "([a-z./\\\\%2eEfF5cC;?#+:& ]|\\PC|[\u{0}-\u{1f}]){0,12}", tag in "\\PC{0,12}", trace in "[ -~]{0,12}") {
        let server: Arc<McpServer> = pets();
        if let Ok(made) = made(&server, "get", &json!({"id": id}), HeaderMap::new()) {
            let path = made.uri.path().to_owned();
            for reading in undone(&path) {
                let parts: Vec<&str> = reading.split(['/', '\\']).collect();
                prop_assert_eq!(parts.len(), 4, "{} of {:?}", &reading, &id);
                let before = parts[3].split(';').next().unwrap_or_default();
                prop_assert!(!matches!(before, "" | "." | ".."), "{} of {:?}", &reading, &id);
            }
            // The same, asked by a request.
            let (parts, ()) = Request::get(path.strip_prefix("/api").expect("the base")).body(()).expect("a request").into_parts();
            let message = Rest.lifted(&Destination::Server(server.clone()), &parts, parts.uri.path(), &Bytes::new()).expect("a call");
            let message: Value = serde_json::from_slice(&message).expect("JSON");
            prop_assert_eq!(&message["params"]["arguments"], &json!({"id": id}));
        }
        let arguments = json!({"tag": [tag, "end"], "x-trace": trace});
        if let Ok(made) = made(&server, "list", &arguments, HeaderMap::new()) {
            let query = made.uri.query().expect("a query");
            prop_assert_eq!(query.split(['&', ';']).count(), 3, "{}", query);
            prop_assert_eq!(made.headers["x-trace"].to_str().expect("text"), &trace);
        }
    }
}
