use http::Request;
use serde_json::{Value, json};
use vidimus_core::resource::{McpServer, Object, Origin, check};

use super::*;

/// The server of an API with these paths.
pub(crate) fn server(paths: &Value) -> Arc<McpServer> {
    let record = json!({
        "apiVersion": "vidimus.dev/v1alpha1", "kind": "MCPServer", "metadata": {"namespace": "shop", "name": "pets"},
        "spec": {"owner": "first.last@example.com", "team": "shop", "riskLevel": "low", "openapi": {
            "url": "http://127.0.0.1:1/api?tenant=a", "headers": {"set": {"X-Set": "ours"}}, "document": {"openapi": "3.1.0", "paths": paths},
        }},
    });
    match check(&Origin::file("a.yaml", 1), &record) {
        Ok(Object::McpServer(server)) => server,
        other => panic!("{other:?}"),
    }
}

/// An API with something of each kind.
pub(crate) fn pets() -> Arc<McpServer> {
    let parameter = |name: &str, place: &str, schema: Value, more: Value| {
        let mut given = json!({"name": name, "in": place, "required": place == "path", "schema": schema});
        given.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        given
    };
    let list = |of: &str| json!({"type": "array", "items": {"type": of}});
    let body = json!({"content": {"application/json": {"schema": {"type": "object"}}}});
    server(&json!({
        "/pets": {
            "get": {"operationId": "list", "parameters": [
                parameter("limit", "query", json!({"type": "integer"}), json!({})),
                parameter("tag", "query", list("string"), json!({})),
                parameter("ids", "query", list("integer"), json!({"explode": false})),
                parameter("deep[er]", "query", json!({"type": "boolean"}), json!({})),
                parameter("X-Trace", "header", json!({"type": "string"}), json!({})),
                parameter("X-Set", "header", json!({"type": "string"}), json!({})),
                parameter("X-List", "header", list("number"), json!({})),
            ]},
            "post": {"operationId": "create", "requestBody": body},
        },
        "/forms": {"post": {"operationId": "form", "requestBody": {"content": {"application/x-www-form-urlencoded": {
            "schema": {"type": "object", "properties": {"name": {"type": "string"}, "count": {"type": "integer"}, "tags": list("string"), "ids": list("integer")}},
            "encoding": {"ids": {"explode": false}}}}}}},
        "/texts": {"put": {"operationId": "text", "requestBody": {"content": {"text/plain": {}}}}},
        "/bytes": {"put": {"operationId": "bytes", "requestBody": {"required": true, "content": {"application/octet-stream": {}}}}},
        "/pets/all": {"delete": {"operationId": "drop"}},
        "/pets/{id}": {
            "parameters": [parameter("id", "path", json!({"type": "string"}), json!({}))],
            "get": {"operationId": "get"}, "delete": {"operationId": "delete"},
        },
        "/pets/{id}/toys/{toys}.json": {"get": {"operationId": "toys", "parameters": [
            parameter("id", "path", json!({"type": "integer"}), json!({})), parameter("toys", "path", list("string"), json!({}))]}},
    }))
}

/// What a request is lifted to: the tool and its arguments.
fn lifted(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Result<(String, Value), Code> {
    let mut request = Request::builder().method(method).uri(format!("/rest/shop/pets{target}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).expect("a request").into_parts();
    let rest = parts.uri.path().strip_prefix("/rest/shop/pets").expect("the route");
    Rest.operation(&parts.method, rest).map_err(|refusal| refusal.code)?;
    let body = Bytes::copy_from_slice(body.as_bytes());
    let message =
        Rest.lifted(&Destination::Server(pets()), &parts, rest, &body).map_err(|refusal| refusal.code)?;
    let message: Value = serde_json::from_slice(&message).expect("JSON");
    assert_eq!((&message["method"], &message["id"]), (&json!("tools/call"), &json!(1)));
    Ok((
        message["params"]["name"].as_str().expect("a name").to_owned(),
        message["params"]["arguments"].clone(),
    ))
}

#[test]
fn a_request_is_the_call_that_says_the_same() {
    for (method, target, headers, body, expected) in [
        ("GET", "/pets", &[][..], "", ("list", json!({}))),
        (
            "GET",
            "/pets?limit=5&tag=a&tag=b%2Cc&ids=1,2",
            &[],
            "",
            ("list", json!({"limit": 5, "tag": ["a", "b,c"], "ids": [1, 2]})),
        ),
        ("GET", "/pets?&deep%5Ber%5D=true&", &[], "", ("list", json!({"deep[er]": true}))),
        (
            "GET",
            "/pets?tag=a+b%2B",
            &[("x-trace", "t 1"), ("x-list", "1, 2.5")],
            "",
            ("list", json!({"tag": ["a b+"], "x-trace": "t 1", "x-list": [1, 2.5]})),
        ),
        ("GET", "/pets/7", &[], "", ("get", json!({"id": "7"}))),
        ("GET", "/pets/a%20b+c", &[], "", ("get", json!({"id": "a b+c"}))),
        ("DELETE", "/pets/all", &[], "", ("drop", json!({}))),
        ("GET", "/pets/7/toys/a,b.json", &[], "", ("toys", json!({"id": 7, "toys": ["a", "b"]}))),
        (
            "POST",
            "/pets",
            &[("content-type", "application/json; charset=utf-8")],
            r#" {"a": {"b": [1]}} "#,
            ("create", json!({"body": {"a": {"b": [1]}}})),
        ),
        ("POST", "/pets", &[], "", ("create", json!({}))),
        (
            "POST",
            "/forms",
            &[("content-type", "application/x-www-form-urlencoded")],
            "name=a+b%26%7E&tags=x&tags=y&ids=1,2&count=3",
            ("form", json!({"body": {"name": "a b&~", "tags": ["x", "y"], "ids": [1, 2], "count": 3}})),
        ),
        (
            "PUT",
            "/texts",
            &[("content-type", "text/plain; charset=UTF-8")],
            "a \"b\"\n",
            ("text", json!({"body": "a \"b\"\n"})),
        ),
        (
            "PUT",
            "/bytes",
            &[("content-type", "application/octet-stream")],
            "\u{0}a",
            ("bytes", json!({"body": "AGE="})),
        ),
    ] {
        let (tool, arguments) = expected;
        assert_eq!(
            lifted(method, target, headers, body),
            Ok((tool.to_owned(), arguments)),
            "{method} {target}"
        );
    }
}

const FORM: &[(&str, &str)] = &[("content-type", "application/x-www-form-urlencoded")];

/// Attacks: what two servers would read as two requests, what is more than the operation has, and bodies that end the message around them.
#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    use Code::{BodyNotJson, MessageInvalid, MethodNotAllowed, RouteUnknown};
    for (method, target, headers, body, code) in [
        ("GET", "/", &[][..], "", RouteUnknown),
        ("GET", "", &[], "", RouteUnknown),
        ("GET", "/pets/", &[], "", RouteUnknown),
        ("GET", "/Pets", &[], "", RouteUnknown),
        ("GET", "/p%65ts", &[], "", RouteUnknown),
        ("GET", "/openapi.json", &[], "", RouteUnknown),
        ("PATCH", "/pets", &[], "", MethodNotAllowed),
        ("HEAD", "/pets", &[], "", MethodNotAllowed),
        ("OPTIONS", "/pets", &[], "", MethodNotAllowed),
        ("get", "/pets", &[], "", MethodNotAllowed),
        ("GET", "/pets/a%2Fb", &[], "", MessageInvalid),
        ("GET", "/pets/..%2F..%2Fadmin", &[], "", MessageInvalid),
        ("GET", "/pets/a%5Cb", &[], "", MessageInvalid),
        ("GET", "/pets/%2e%2e", &[], "", MessageInvalid),
        ("GET", "/pets/a%252Fb", &[], "", MessageInvalid),
        ("GET", "/pets/a%00", &[], "", MessageInvalid),
        ("GET", "/pets/a%", &[], "", MessageInvalid),
        ("GET", "/pets/%ff", &[], "", MessageInvalid),
        ("GET", "/pets/x/toys/a.json", &[], "", MessageInvalid),
        ("GET", "/pets/07/toys/a.json", &[], "", MessageInvalid),
        ("GET", "/pets/7/toys/a%2Cb.json", &[], "", MessageInvalid),
        ("GET", "/pets?limit=5&limit=6", &[], "", MessageInvalid),
        ("GET", "/pets?limit=5&l%69mit=6", &[], "", MessageInvalid),
        ("GET", "/pets?limit=5;limit=6", &[], "", MessageInvalid),
        ("GET", "/pets?limit=", &[], "", MessageInvalid),
        ("GET", "/pets?limit=+5", &[], "", MessageInvalid),
        ("GET", "/pets?limit=5.0", &[], "", MessageInvalid),
        ("GET", "/pets?deep%5Ber%5D=1", &[], "", MessageInvalid),
        ("GET", "/pets?ids=1%2C2", &[], "", MessageInvalid),
        ("GET", "/pets?tenant=b", &[], "", MessageInvalid),
        ("GET", "/pets?Limit=5", &[], "", MessageInvalid),
        ("GET", "/pets?tag=%zz", &[], "", MessageInvalid),
        ("GET", "/pets", &[("x-trace", "a"), ("x-trace", "b")], "", MessageInvalid),
        ("GET", "/pets", &[("x-trace", "\u{e9}")], "", MessageInvalid),
        ("GET", "/pets", &[], "{}", MessageInvalid),
        ("POST", "/pets", &[("content-type", "text/plain")], "{}", MessageInvalid),
        ("POST", "/pets", &[("content-encoding", "gzip")], "{}", MessageInvalid),
        (
            "POST",
            "/pets",
            &[("content-type", "application/json"), ("content-type", "application/json")],
            "{}",
            MessageInvalid,
        ),
        ("POST", "/pets", &[], r#"{}},"id":2,"x":{"#, BodyNotJson),
        ("POST", "/pets", &[], r#"{},"name":"drop""#, BodyNotJson),
        ("POST", "/pets", &[], "{} {}", BodyNotJson),
        ("POST", "/pets", &[], "a=b", BodyNotJson),
        ("POST", "/forms", &[], "name=a", MessageInvalid),
        ("POST", "/forms", &[("content-type", "application/json")], "{}", MessageInvalid),
        ("POST", "/forms", FORM, "name=a&name=b", MessageInvalid),
        ("POST", "/forms", FORM, "name=a&n%61me=b", MessageInvalid),
        ("POST", "/forms", FORM, "other=a", MessageInvalid),
        ("POST", "/forms", FORM, "name[a]=b", MessageInvalid),
        ("POST", "/forms", FORM, "count=x", MessageInvalid),
        ("POST", "/forms", FORM, "name=%zz", MessageInvalid),
        ("PUT", "/texts", &[("content-type", "text/html")], "a", MessageInvalid),
        ("PUT", "/bytes", &[], "a", MessageInvalid),
    ] {
        assert_eq!(lifted(method, target, headers, body), Err(code), "{method} {target} {body}");
    }
}

#[test]
fn a_server_that_is_no_api_is_not_served_so() {
    let (parts, ()) = Request::get("/rest/finance/ledger/a").body(()).expect("a request").into_parts();
    let destination = Destination::Server(crate::protocol::tests::server());
    let refused = Rest.lifted(&destination, &parts, "/a", &Bytes::new()).expect_err("refused");
    assert_eq!((refused.code, refused.next().contains("/mcp/")), (Code::RouteUnknown, true));
}

#[test]
fn an_answer_is_the_last_part_of_the_result() {
    let answered = |answer: &str| Rest.answered(answer.as_bytes()).map_err(|refusal| refusal.code);
    let body = |text: &'static str| Ok(Some(Bytes::from_static(text.as_bytes())));
    assert_eq!(
        answered(r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"{\"a\":1}"}]}}"#),
        body(r#"{"a":1}"#)
    );
    let error = r#"{"id":1,"result":{"isError":true,"content":[{"type":"text","text":"{\"status\":404}"},{"type":"text","text":""}]}}"#;
    assert_eq!(answered(error), body(""));
    for other in [
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"m"}}"#,
        r#"{"id":1,"result":{}}"#,
        r#"{"id":1,"result":{"content":[]}}"#,
        r#"{"id":1,"result":{"content":[{"type":"image"}]}}"#,
        "",
    ] {
        assert_eq!(answered(other), Err(Code::UpstreamInvalid), "{other}");
    }
}
