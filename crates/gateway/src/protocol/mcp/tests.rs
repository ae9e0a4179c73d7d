use http::HeaderName;

use super::*;
use crate::protocol::Expected;
use crate::protocol::tests::server;

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(HeaderName::try_from(*name).expect("name"), value.parse().expect("value"));
    }
    map
}

/// `action target`, and what becomes of the answer.
fn shown(parsed: &Parsed<'_>) -> String {
    let Expected::Upstream(answer) = parsed.expected else { return "own".to_owned() };
    let becomes = match answer {
        Answer { document: Some(DocumentChange::Listing(listing)), .. } => format!("Listing({listing:?})"),
        Answer { seals: Some(_), .. } => "Session".to_owned(),
        Answer { events: Some(EventChange::Listings(TooLong::EndsStream)), .. } => "Stream".to_owned(),
        _ => "Pass".to_owned(),
    };
    format!("{} {} {becomes}", parsed.ask.action.as_str(), parsed.ask.target.entity())
}

/// `action target answer`, or the code of the refusal.
fn check(lines: &[(&str, &str)], body: &str) -> String {
    let server = server();
    let body = Json::parse(body.as_bytes()).expect("valid JSON");
    match posted(&server, &headers(lines), &body) {
        Ok(parsed) => shown(&parsed),
        Err(refusal) => refusal.code.as_str().to_owned(),
    }
}

fn legacy(method: &str, params: &str) -> String {
    check(&[], &format!(r#"{{"jsonrpc":"2.0","id":0,"method":"{method}","params":{params}}}"#))
}

#[test]
fn every_method_of_every_era_asks_for_what_it_does() {
    let connect = |answer: &str| format!("connectServer MCPServer/finance/ledger {answer}");
    for (method, params, expected) in [
        (
            "tools/call",
            r#"{"name":"pay","arguments":{"amount":1}}"#,
            "invokeTool Tool/finance/ledger/pay Pass",
        ),
        ("resources/read", r#"{"uri":"file:///a"}"#, "readResource Resource/finance/ledger/file:///a Pass"),
        ("resources/subscribe", r#"{"uri":"u"}"#, "readResource Resource/finance/ledger/u Pass"),
        ("resources/unsubscribe", r#"{"uri":"u"}"#, "readResource Resource/finance/ledger/u Pass"),
        ("prompts/get", r#"{"name":"p"}"#, "getPrompt Prompt/finance/ledger/p Pass"),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/prompt","name":"p"}}"#,
            "getPrompt Prompt/finance/ledger/p Pass",
        ),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/resource","uri":"u"}}"#,
            "readResource Resource/finance/ledger/u Pass",
        ),
        ("completion/complete", r#"{"ref":{"type":"ref/tool"}}"#, "message_invalid"),
        ("initialize", r#"{"protocolVersion":"2025-11-25"}"#, &connect("Session")),
        ("initialize", r#"{"protocolVersion":"2026-07-28"}"#, "protocol_version_unsupported"),
        ("initialize", r#"{}"#, "message_invalid"),
        ("tools/list", "{}", &connect("Listing(Tools)")),
        ("resources/list", "{}", &connect("Listing(Resources)")),
        ("resources/templates/list", "{}", &connect("Listing(ResourceTemplates)")),
        ("prompts/list", "{}", &connect("Listing(Prompts)")),
        ("server/discover", "{}", &connect("Pass")),
        ("ping", "{}", &connect("Pass")),
        ("logging/setLevel", r#"{"level":"debug"}"#, &connect("Pass")),
        ("tasks/get", "{}", &connect("Pass")),
        ("subscriptions/listen", r#"{"notifications":{"toolsListChanged":true}}"#, &connect("Pass")),
        (
            "subscriptions/listen",
            r#"{"notifications":{"resourceSubscriptions":["u"]}}"#,
            "readResource Resource/finance/ledger/u Pass",
        ),
        (
            "subscriptions/listen",
            r#"{"notifications":{"resourceSubscriptions":["u","v"]}}"#,
            "message_invalid",
        ),
        ("subscriptions/listen", r#"{"notifications":{"resourceSubscriptions":"u"}}"#, "message_invalid"),
        ("tools/call", r#"{"arguments":{}}"#, "message_invalid"),
        ("tools/call", r#"{"name":""}"#, "message_invalid"),
        ("tools/call", r#"{"name":7}"#, "message_invalid"),
        ("tools/Call", r#"{"name":"pay"}"#, "method_unknown"),
        ("sampling/createMessage", "{}", "method_unknown"),
        ("", "{}", "method_unknown"),
    ] {
        assert_eq!(legacy(method, params), expected, "{method} {params}");
    }
    let notification = |method: &str| check(&[], &format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#));
    assert_eq!(notification("notifications/cancelled"), connect("Pass"));
    assert_eq!(notification("notifications/made-up"), "method_unknown");
    assert_eq!(notification("tools/call"), "method_unknown");
    assert_eq!(check(&[], r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), connect("Pass"));
}

#[test]
fn header_and_body_must_agree() {
    let call = |meta: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"pay"{meta}}}}}"#)
    };
    let (modern, old) = (call(&format!(",{META}")), call(""));
    let version = ("mcp-protocol-version", "2026-07-28");
    let (method, name) = (("mcp-method", "tools/call"), ("mcp-name", "pay"));
    let good = "invokeTool Tool/finance/ledger/pay Pass";
    for (lines, body, expected) in [
        (&[version, method, name][..], &modern, good),
        (&[], &old, good),
        (&[("mcp-protocol-version", "2025-11-25")], &old, good),
        (&[version, method, ("mcp-name", "=?base64?cGF5?=")], &modern, good),
        (&[version, method], &modern, "header_mismatch"),
        (&[version, name], &modern, "header_mismatch"),
        (&[method, name], &modern, "header_mismatch"),
        (&[version, method, name, ("mcp-name", "get")], &modern, "header_mismatch"),
        (&[version, method, ("mcp-name", "get")], &modern, "header_mismatch"),
        (&[version, ("mcp-method", "tools/list"), name], &modern, "header_mismatch"),
        (&[version, method, ("mcp-name", "=?base64?cGF5?")], &modern, "header_mismatch"),
        (&[version, method, ("mcp-name", "=?base64?cGF6?=")], &modern, "header_mismatch"),
        (&[("mcp-protocol-version", "2025-11-25"), method, name], &modern, "header_mismatch"),
        // A modern header on a body without the envelope is a modern request with too little in it.
        (&[version], &old, "header_mismatch"),
        // An old client need not send them, but what it sends must be true.
        (&[("mcp-name", "get")], &old, "header_mismatch"),
        (&[("mcp-protocol-version", "2024-11-05")], &old, "protocol_version_unsupported"),
        (&[("mcp-protocol-version", "2027-01-01")], &old, "protocol_version_unsupported"),
    ] {
        assert_eq!(check(lines, body), expected, "{lines:?} {body}");
    }
}

#[test]
fn without_a_body_there_is_the_stream_and_the_end_of_a_session() {
    let server = Destination::Server(server());
    let asked = |method: Method| {
        let operation = StreamableHttp.operation(&method, "").map_err(|refusal| refusal.code)?;
        assert!(!operation.has_body && operation.path.is_empty());
        let (path, headers, json, bytes) = ("", &HeaderMap::new(), None, 0);
        let message = Message { destination: &server, method: &method, path, headers, json, bytes };
        let parsed = StreamableHttp.parse(&message).map_err(|refusal| refusal.code)?;
        Ok((parsed.ask.method.to_owned(), shown(&parsed)))
    };
    let connect = |answer: &str| format!("connectServer MCPServer/finance/ledger {answer}");
    assert_eq!(asked(Method::GET), Ok(("session/stream".to_owned(), connect("Stream"))));
    assert_eq!(asked(Method::DELETE), Ok(("session/end".to_owned(), connect("Pass"))));
    assert_eq!(asked(Method::PUT), Err(Code::MethodNotAllowed));
    assert_eq!(StreamableHttp.operation(&Method::GET, "/x").map_err(|r| r.code), Err(Code::RouteUnknown));
}

#[test]
fn a_session_is_opened_and_its_stream_ends_with_the_credential() {
    let server = Destination::Server(server());
    let headers = headers(&[("mcp-session-id", "sealed")]);
    let message = Message {
        destination: &server,
        method: &Method::GET,
        path: "",
        headers: &headers,
        json: None,
        bytes: 0,
    };
    let parsed = StreamableHttp.parse(&message).expect("a stream");
    assert_eq!(parsed.sealed.map(|(_, value)| value.as_bytes()), Some(&b"sealed"[..]));
    assert!(matches!(parsed.expected, Expected::Upstream(Answer { open_ended: true, .. })));
}

#[test]
fn what_names_is_bounded_and_the_refusal_says_which_member() {
    let server = server();
    let subscription = r#"{"notifications":{"resourceSubscriptions":["…"]}}"#;
    for (method, params, member, longest) in [
        ("tools/call", r#"{"name":"…"}"#, "params.name", MAX_NAME),
        ("prompts/get", r#"{"name":"…"}"#, "params.name", MAX_NAME),
        ("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"…"}}"#, "params.name", MAX_NAME),
        ("completion/complete", r#"{"ref":{"type":"ref/resource","uri":"…"}}"#, "params.uri", MAX_URI),
        ("resources/read", r#"{"uri":"…"}"#, "params.uri", MAX_URI),
        ("resources/subscribe", r#"{"uri":"…"}"#, "params.uri", MAX_URI),
        ("subscriptions/listen", subscription, "params.notifications.resourceSubscriptions[0]", MAX_URI),
        ("initialize", r#"{"protocolVersion":"…"}"#, "params.protocolVersion", MAX_NAME),
    ] {
        for (length, fits) in [(0, false), (1, true), (longest, true), (longest + 1, false)] {
            let params = params.replace('…', &"x".repeat(length));
            let body = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"{method}","params":{params}}}"#);
            let body = Json::parse(body.as_bytes()).expect("valid JSON");
            match posted(&server, &HeaderMap::new(), &body) {
                Ok(_) => assert!(fits, "{method} {length}"),
                Err(refusal) => {
                    assert!(!fits && refusal.code == Code::MessageInvalid, "{method} {length} {refusal}");
                    assert!(refusal.message.starts_with(member), "{refusal}");
                }
            }
        }
    }
}
