use http::{HeaderName, HeaderValue};
use vidimus_core::resource::WhenDown;

use super::*;

fn members() -> Members {
    let member = |name: &str| Member { name: name.into(), server: format!("f/{name}").into() };
    Members { all: [member("a"), member("b"), member("pay")].into(), when_down: WhenDown::Omit }
}

/// To whom a message goes, and what of it is said otherwise there; or the code of its refusal. What `b` was given is sealed as `of-b`.
fn check(method: &Method, lines: &[(&str, &str)], body: Option<&str>) -> String {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_str(value).expect("a value");
        headers.append(HeaderName::try_from(*name).expect("a name"), value);
    }
    let json = body.map(|body| Json::parse(body.as_bytes()).expect("JSON"));
    let members = members();
    let opens = |member: &Member, _: Kind, sealed: &str| &*member.name == "b" && sealed == "of-b";
    match way(&members, (method, &headers), json.as_ref(), &opens) {
        Ok(Way::All) => "all".to_owned(),
        Ok(Way::To(to)) => {
            let replaced = to.replaced.iter().map(|one| format!(" {}={}", one.path.join("."), one.with));
            format!("{}{}", to.member.name, replaced.collect::<String>())
        }
        Err(refusal) => refusal.code.as_str().to_owned(),
    }
}

fn asked(method: &str, params: &str) -> String {
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
    check(&Method::POST, &[], Some(&body))
}

#[test]
fn each_message_goes_to_the_member_that_it_concerns() {
    for (method, params, expected) in [
        ("tools/call", r#"{"name":"a__x"}"#, "a params.name=\"x\""),
        ("prompts/get", r#"{"name":"b__p"}"#, "b params.name=\"p\""),
        ("resources/read", r#"{"uri":"a+file:///x"}"#, "a params.uri=\"file:///x\""),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/prompt","name":"b__p"},"argument":{}}"#,
            "b params.ref.name=\"p\"",
        ),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/resource","uri":"b+db://{t}"}}"#,
            "b params.ref.uri=\"db://{t}\"",
        ),
        ("tasks/get", r#"{"taskId":"of-b"}"#, "b"),
        ("tasks/cancel", r#"{"taskId":"of-nobody"}"#, "task_foreign"),
        ("subscriptions/listen", r#"{"notifications":{"taskIds":["of-b"]}}"#, "b"),
        (
            "subscriptions/listen",
            r#"{"notifications":{"resourceSubscriptions":["a+u:v"]}}"#,
            "a params.notifications.resourceSubscriptions=[\"u:v\"]",
        ),
        ("subscriptions/listen", r#"{"notifications":{"toolsListChanged":true}}"#, "method_unknown"),
        (
            "subscriptions/listen",
            r#"{"notifications":{"resourceSubscriptions":["a+u:v","b+u:v"]}}"#,
            "method_unknown",
        ),
        (
            "subscriptions/listen",
            r#"{"notifications":{"resourceSubscriptions":["b+u:v","b+u:w"],"taskIds":["of-b"]}}"#,
            "b params.notifications.resourceSubscriptions=[\"u:v\",\"u:w\"]",
        ),
        (
            "subscriptions/listen",
            r#"{"notifications":{"resourceSubscriptions":["a+u:v"],"taskIds":["of-b"]}}"#,
            "method_unknown",
        ),
        (
            "subscriptions/listen",
            r#"{"notifications":{"resourceSubscriptions":["a+u:v",7]}}"#,
            "resource_unknown",
        ),
        ("notifications/progress", r#"{"progressToken":"b/7","progress":1}"#, "b params.progressToken=7"),
        ("notifications/progress", r#"{"progressToken":7,"progress":1}"#, "resource_unknown"),
        ("notifications/cancelled", r#"{"requestId":7}"#, "all"),
        ("notifications/tasks/status", r#"{"taskId":"x"}"#, "method_unknown"),
        ("resources/subscribe", r#"{"uri":"a+u:v"}"#, "method_unknown"),
        ("tasks/list", "{}", "method_unknown"),
        ("initialize", "{}", "all"),
        ("ping", "{}", "all"),
        ("tools/list", r#"{"cursor":"x"}"#, "all"),
        ("logging/setLevel", r#"{"level":"debug"}"#, "all"),
    ] {
        assert_eq!(asked(method, params), expected, "{method} {params}");
    }
}

/// Attack: a name that one reader takes for a tool of one member, and another for that of another.
#[test]
fn a_name_is_of_one_member_or_of_none() {
    for (name, expected) in [
        ("a__b__x", "a params.name=\"b__x\""),
        ("a___x", "a params.name=\"_x\""),
        ("a__", "resource_unknown"),
        ("__x", "resource_unknown"),
        ("a_x", "resource_unknown"),
        ("x", "resource_unknown"),
        ("A__x", "resource_unknown"),
        ("a __x", "resource_unknown"),
        ("a\u{200b}__x", "resource_unknown"),
        ("pay_roll__x", "resource_unknown"),
        ("pay__roll_run", "pay params.name=\"roll_run\""),
        ("c__x", "resource_unknown"),
    ] {
        assert_eq!(asked("tools/call", &format!(r#"{{"name":"{name}"}}"#)), expected, "{name}");
    }
    for (uri, expected) in [
        ("a+b+x:y", "a params.uri=\"b+x:y\""),
        ("a+", "resource_unknown"),
        ("x:y", "resource_unknown"),
        ("file:///a+b", "resource_unknown"),
        ("A+x:y", "resource_unknown"),
    ] {
        assert_eq!(asked("resources/read", &format!(r#"{{"uri":"{uri}"}}"#)), expected, "{uri}");
    }
}

/// Attack: what a label says of the message is one member's, and what the message says another's.
#[test]
fn a_label_says_what_the_message_says() {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a__x"}}"#;
    let label =
        |name: &str| check(&Method::POST, &[("mcp-method", "tools/call"), ("mcp-name", name)], Some(body));
    assert_eq!(label("a__x"), "a params.name=\"x\"");
    assert_eq!(label("b__x"), "header_mismatch");
    assert_eq!(label("x"), "header_mismatch");
}

/// What a version has no more is no matter of whose task is named, and which versions are spoken is no member's.
#[test]
fn what_is_of_no_version_is_of_no_member() {
    let said = |version: &str, method: &str, named: &str| {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{named},"_meta":{{"io.modelcontextprotocol/protocolVersion":"{version}"}}}}}}"#
        );
        check(&Method::POST, &[("mcp-protocol-version", version), ("mcp-method", method)], Some(&body))
    };
    let newest = "2026-07-28";
    assert_eq!(said(newest, "tasks/result", r#""taskId":"of-nobody""#), "method_unknown");
    assert_eq!(said(newest, "tasks/result", r#""taskId":"of-b""#), "method_unknown");
    assert_eq!(said(newest, "ping", r#""x":1"#), "method_unknown");
    assert_eq!(said("1999-01-01", "tools/call", r#""name":"a__x""#), "all");
    assert_eq!(said("1999-01-01", "tasks/result", r#""taskId":"of-b""#), "all");
    assert_eq!(asked("tasks/result", r#"{"taskId":"of-b"}"#), "b");
}

#[test]
fn an_answer_goes_to_the_member_that_asked() {
    let answer = |id: &str| {
        check(&Method::POST, &[], Some(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)))
    };
    assert_eq!(answer(r#""a/1""#), "a id=1");
    assert_eq!(answer(r#""b/\"x/y\"""#), r#"b id="x/y""#);
    for bad in ["1", r#""1""#, r#""c/1""#, r#""a/{}""#, r#""a/1,\"x\":1""#] {
        assert_eq!(answer(bad), "message_invalid", "{bad}");
    }
}

#[test]
fn an_event_is_resumed_at_the_member_whose_stream_it_was_of() {
    assert_eq!(check(&Method::GET, &[("last-event-id", "of-b")], None), "b");
    assert_eq!(check(&Method::GET, &[("last-event-id", "of-nobody")], None), "session_foreign");
    assert_eq!(check(&Method::GET, &[], None), "all");
    assert_eq!(check(&Method::DELETE, &[("last-event-id", "of-b")], None), "all");
}
