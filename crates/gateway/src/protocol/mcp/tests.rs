use http::HeaderName;

use super::*;
use crate::followed::Followed;
use crate::protocol::Expected;
use crate::protocol::members::quoted;
use crate::protocol::tests::{caller, seal, sealed, server};
use crate::seal::{Holder, MAX_SEALED};
use crate::standing::StandingState;

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("value");
        map.append(HeaderName::try_from(*name).expect("name"), value);
    }
    map
}

/// `action target`, and what becomes of the answer.
fn shown(parsed: &Parsed<'_>) -> String {
    let Expected::Upstream(answer) = parsed.expected else { return "own".to_owned() };
    let becomes = match answer {
        Answer { document: Some(DocumentChange::Listing(listing)), .. } => format!("Listing({listing:?})"),
        Answer { document: Some(DocumentChange::McpTasks(too_long)), .. } => format!("Tasks({too_long:?})"),
        Answer { seals: Some(_), .. } => "Session".to_owned(),
        Answer { events: Some(EventChange::Listings(TooLong::EndsStream)), .. } => "Stream".to_owned(),
        _ => "Pass".to_owned(),
    };
    format!("{} {} {becomes}", parsed.ask.action.as_str(), parsed.ask.target.entity())
}

/// What is made of a request.
fn parsed<T>(
    method: &Method,
    headers: &HeaderMap,
    body: Option<&str>,
    look: impl FnOnce(Result<Parsed<'_>, Refusal>) -> T,
) -> T {
    let (destination, caller, seal) = (Destination::Server(server()), caller(), seal());
    let holder = Holder::new(&seal, &destination, &caller);
    let json = body.map(|body| Json::parse(body.as_bytes()).expect("valid JSON"));
    let (path, bytes) = ("", body.map_or(0, str::len));
    let message = Message {
        destination: &destination,
        method,
        path,
        headers,
        holder: &holder,
        json: json.as_ref(),
        bytes,
        standing: None,
    };
    look(StreamableHttp.parse(&message))
}

/// A call of a tool in the stateless version, with these headers besides those of every such call.
pub(super) fn call_of_tool(
    tool: &str,
    arguments: &serde_json::Value,
    given: &HeaderMap,
    standing: Option<&StandingState>,
) -> Result<(), Refusal> {
    let mut headers =
        headers(&[("mcp-protocol-version", MODERN), ("mcp-method", "tools/call"), ("mcp-name", tool)]);
    for (name, value) in given {
        headers.append(name, value.clone());
    }
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments},{META}}}}}"#
    );
    let (destination, caller, seal) = (Destination::Server(server()), caller(), seal());
    let holder = Holder::new(&seal, &destination, &caller);
    let json = Json::parse(body.as_bytes()).expect("valid JSON");
    let message = Message {
        destination: &destination,
        method: &Method::POST,
        path: "",
        headers: &headers,
        holder: &holder,
        json: Some(&json),
        bytes: body.len(),
        standing,
    };
    let parsed = StreamableHttp.parse(&message)?;
    parsed.fault.map_or(Ok(()), |fault| Err(*fault))
}

/// `action target answer`, or the code of the refusal.
fn check(lines: &[(&str, &str)], body: &str) -> String {
    parsed(&Method::POST, &headers(lines), Some(body), |parsed| match parsed {
        Ok(parsed) => shown(&parsed),
        Err(refusal) => refusal.code.as_str().to_owned(),
    })
}

/// The id of a task that a call of `pay` made, as the caller has it.
fn task(id: &str) -> String {
    sealed(Kind::Task, &Destination::Server(server()), &Part::Tool("pay".into()), id)
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
        ("tasks/list", "{}", &connect("Tasks(EndsStream)")),
        ("tasks/get", "{}", "message_invalid"),
        ("tasks/get", r#"{"taskId":7}"#, "message_invalid"),
        ("tasks/get", r#"{"task_id":"x"}"#, "message_invalid"),
        ("tasks/get", r#"{"taskId":"the-upstreams-own"}"#, "task_foreign"),
        (
            "tools/call",
            r#"{"name":"pay","task":{"ttl":5}}"#,
            "invokeTool Tool/finance/ledger/pay Tasks(Passes)",
        ),
        ("subscriptions/listen", r#"{"notifications":{"taskIds":["x"]}}"#, "task_foreign"),
        ("subscriptions/listen", r#"{"notifications":{"taskIds":"x"}}"#, "message_invalid"),
        ("subscriptions/listen", r#"{"notifications":{"taskIds":["x","y"]}}"#, "task_foreign"),
        (
            "subscriptions/listen",
            r#"{"notifications":{"taskIds":["x"],"resourceSubscriptions":["u"]}}"#,
            &connect("Pass"),
        ),
        (
            "ping",
            r#"{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"the-upstreams-own"}}}"#,
            "task_foreign",
        ),
        ("subscriptions/listen", r#"{"notifications":{"toolsListChanged":true}}"#, &connect("Pass")),
        (
            "subscriptions/listen",
            r#"{"notifications":{"resourceSubscriptions":["u"]}}"#,
            "readResource Resource/finance/ledger/u Pass",
        ),
        (
            "subscriptions/listen",
            r#"{"notifications":{"resourceSubscriptions":["u","v"]}}"#,
            &connect("Pass"),
        ),
        ("subscriptions/listen", r#"{"notifications":{"resourceSubscriptions":"u"}}"#, "message_invalid"),
        ("subscriptions/listen", r#"{"notifications":{"resourceSubscriptions":["u",7]}}"#, "message_invalid"),
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
        (&[("mcp-protocol-version", "2025-03-26")], &old, good),
        (&[("mcp-protocol-version", "2024-11-05")], &old, good),
        (&[("mcp-protocol-version", "2024-10-07")], &old, "connectServer MCPServer/finance/ledger Pass"),
        (&[("mcp-protocol-version", "2027-01-01")], &old, "connectServer MCPServer/finance/ledger Pass"),
    ] {
        assert_eq!(check(lines, body), expected, "{lines:?} {body}");
    }
}

#[test]
fn headers_say_what_the_body_says_and_nothing_else() {
    const MISMATCH: &str = "header_mismatch";
    let (method, name) = (("mcp-method", "tools/call"), ("mcp-name", "pay"));
    let region = ("mcp-param-region", "eu");
    let arguments = r#"{"region":"eu","deep":{"limit":42,"exact":true},"none":null,"é":"é"}"#;
    let request = |method: &str, params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
    };
    let call = request("tools/call", &format!(r#"{{"name":"pay","arguments":{arguments}}}"#));
    let prompt = request("prompts/get", &format!(r#"{{"name":"pay","arguments":{arguments}}}"#));
    let subscribe = request("resources/subscribe", r#"{"uri":"u"}"#);
    let complete = request("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"pay"}}"#);
    let (list, ping) = (request("tools/list", "{}"), request("ping", "{}"));
    let response = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    let told = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{}}"#;
    let (good, refused) = ("ok", MISMATCH);
    for (lines, body, expected) in [
        // What asks nothing is not labelled as a call.
        (&[][..], response, good),
        (&[method], response, refused),
        (&[method, name], response, refused),
        (&[name], response, refused),
        (&[region], response, refused),
        (&[("mcp-method", "")], response, refused),
        // What names nothing has no name.
        (&[], &list, good),
        (&[name], &list, refused),
        (&[("mcp-method", "tools/list"), name], &list, refused),
        (&[("mcp-name", "")], &ping, refused),
        (&[name], told, refused),
        (&[("mcp-method", "notifications/cancelled")], told, good),
        // What names something has that name, also where the header is not asked for.
        (&[("mcp-name", "u")], &subscribe, good),
        (&[("mcp-name", "v")], &subscribe, refused),
        (&[name], &complete, good),
        (&[("mcp-name", "get")], &complete, refused),
        // Arguments.
        (&[region], &call, good),
        (&[region, ("mcp-param-limit", "42"), ("mcp-param-exact", "true")], &call, good),
        (&[("mcp-param-limit", "42.0")], &call, good),
        (&[("mcp-param-letter", "=?base64?w6k=?=")], &call, good),
        (&[region, region], &call, refused),
        (&[region, ("Mcp-Param-Region", "us")], &call, refused),
        (&[("mcp-param-region", "us")], &call, refused),
        (&[("mcp-param-region", "")], &call, refused),
        (&[("mcp-param-none", "null")], &call, refused),
        (&[("mcp-param-limit", "43")], &call, refused),
        (&[("mcp-param-letter", "=?base64?w6k?=")], &call, refused),
        (&[("mcp-param-letter", "é")], &call, refused),
        (&[region], &prompt, refused),
        (&[region], &list, refused),
    ] {
        let found = check(lines, body);
        let found = if found == MISMATCH { MISMATCH } else { "ok" };
        assert_eq!(found, expected, "{lines:?} {body}");
    }
    for (how, lines) in [(Method::GET, [method]), (Method::DELETE, [name]), (Method::GET, [region])] {
        let code = parsed(&how, &headers(&lines), None, |parsed| parsed.err().map(|refusal| refusal.code));
        assert_eq!(code, Some(Code::HeaderMismatch), "{how} {lines:?}");
    }
}

#[test]
fn nothing_is_named_beside_what_the_method_is_about() {
    for (method, params, expected) in [
        ("tools/call", r#"{"name":"pay","arguments":{"tool":"drop","uri":"u"}}"#, None),
        ("tools/call", r#"{"name":"pay","uri":null}"#, None),
        ("tools/call", r#"{"name":"pay","tool":"drop"}"#, Some("member_undecided")),
        ("tools/call", r#"{"name":"pay","toolName":"drop"}"#, Some("member_undecided")),
        ("tools/call", r#"{"name":"pay","tool_name":"drop"}"#, Some("member_undecided")),
        ("tools/call", r#"{"name":"pay","Tools":["drop"]}"#, Some("member_undecided")),
        ("tools/call", r#"{"name":"pay","uri":"file:///a"}"#, Some("member_undecided")),
        ("tools/call", r#"{"name":"pay","taskId":"t"}"#, Some("member_undecided")),
        ("resources/read", r#"{"uri":"u","name":"pay"}"#, Some("member_undecided")),
        ("prompts/get", r#"{"name":"p","ref":{"type":"ref/prompt","name":"q"}}"#, Some("member_undecided")),
        ("tools/list", r#"{"name":"pay"}"#, Some("member_undecided")),
    ] {
        let found = legacy(method, params);
        assert_eq!(
            Some(found.as_str()).filter(|_| found == "member_undecided"),
            expected,
            "{params}: {found}"
        );
    }
}

#[test]
fn arguments_that_are_null_are_none() {
    for (params, none) in [
        (r#"{"name":"pay"}"#, true),
        (r#"{"name":"pay","arguments":null}"#, true),
        (r#"{"name":"pay","arguments":{}}"#, false),
        (r#"{"name":"pay","arguments":"x"}"#, false),
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"tools/call","params":{params}}}"#);
        let found = parsed(&Method::POST, &HeaderMap::new(), Some(&body), |parsed| {
            matches!(parsed.expect("a call").ask.arguments, Arguments::None)
        });
        assert_eq!(found, none, "{params}");
    }
}

#[test]
fn without_a_body_there_is_the_stream_and_the_end_of_a_session() {
    let asked = |method: Method| {
        let operation = StreamableHttp.operation(&method, "").map_err(|refusal| refusal.code)?;
        assert!(!operation.has_body && operation.path.is_empty());
        parsed(&method, &HeaderMap::new(), None, |parsed| {
            let parsed = parsed.map_err(|refusal| refusal.code)?;
            Ok((parsed.ask.method.to_owned(), shown(&parsed)))
        })
    };
    let connect = |answer: &str| format!("connectServer MCPServer/finance/ledger {answer}");
    assert_eq!(asked(Method::GET), Ok(("session/stream".to_owned(), connect("Stream"))));
    assert_eq!(asked(Method::DELETE), Ok(("session/end".to_owned(), connect("Pass"))));
    assert_eq!(asked(Method::PUT), Err(Code::MethodNotAllowed));
    assert_eq!(StreamableHttp.operation(&Method::GET, "/x").map_err(|r| r.code), Err(Code::RouteUnknown));
}

#[test]
fn a_session_is_opened_and_its_stream_ends_with_the_credential() {
    let id = sealed(Kind::Session, &Destination::Server(server()), &Part::Whole, "upstream-1");
    parsed(&Method::GET, &headers(&[("mcp-session-id", &id)]), None, |parsed| {
        let parsed = parsed.expect("a stream");
        assert_eq!(
            parsed.headers,
            [(HeaderName::from_static(SESSION_HEADER), "upstream-1".parse().expect("value"))]
        );
        assert!(matches!(parsed.expected, Expected::Upstream(Answer { open_ended: true, .. })));
    });
    for foreign in ["upstream-1", &task("upstream-1"), ""] {
        parsed(&Method::GET, &headers(&[("mcp-session-id", foreign)]), None, |parsed| {
            assert_eq!(
                parsed.map(|_| ()).map_err(|refusal| refusal.code),
                Err(Code::SessionForeign),
                "{foreign}"
            );
        });
    }
}

#[test]
fn a_task_is_asked_for_as_what_made_it() {
    let id = task("1");
    let made = |method: &str, answer: &str, streaming: bool| {
        (
            format!("{method} invokeTool Tool/finance/ledger/pay"),
            Some("1".to_owned()),
            answer.to_owned(),
            streaming,
        )
    };
    for (method, params, expected) in [
        ("tasks/get", format!(r#"{{"taskId":"{id}"}}"#), made("tasks/get", "Tasks(EndsStream)", false)),
        ("tasks/result", format!(r#"{{"taskId":"{id}"}}"#), made("tasks/result", "Tasks(EndsStream)", false)),
        ("tasks/cancel", format!(r#"{{"taskId":"{id}"}}"#), made("tasks/cancel", "Tasks(EndsStream)", false)),
        (
            "tasks/update",
            format!(r#"{{"taskId":"{id}","inputResponses":{{}}}}"#),
            made("tasks/update", "Tasks(EndsStream)", false),
        ),
        (
            "subscriptions/listen",
            format!(r#"{{"notifications":{{"taskIds":["{id}"]}}}}"#),
            made("subscriptions/listen", "Pass", true),
        ),
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"{method}","params":{params}}}"#);
        parsed(&Method::POST, &HeaderMap::new(), Some(&body), |parsed| {
            let parsed = parsed.expect("a task");
            let shown = shown(&parsed);
            let ask = parsed.ask;
            assert!(matches!(ask.arguments, Arguments::Unknown), "{method}: which they were is not known");
            let (named, answer) = shown.rsplit_once(' ').expect("an answer");
            let found =
                (format!("{method} {named}"), ask.task.map(str::to_owned), answer.to_owned(), ask.streaming);
            assert_eq!(found, expected);
            let sent = crate::protocol::members::replace(&body, &parsed.replaced).expect("its ids");
            assert_eq!(sent, body.replace(&quoted(&id), "\"1\""), "all else is the caller's");
        });
    }
}

#[test]
fn the_name_header_of_a_task_agrees_and_is_opened_too() {
    for (raw, header) in [("1", "1"), ("=?x", "=?base64?PT94?="), ("é", "=?base64?w6k=?=")] {
        let id = task(raw);
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{{"taskId":"{id}",{META}}}}}"#);
        let (version, method) = (("mcp-protocol-version", MODERN), ("mcp-method", "tasks/get"));
        let good = headers(&[version, method, ("mcp-name", &id)]);
        parsed(&Method::POST, &good, Some(&body), |parsed| {
            let parsed = parsed.expect("a task");
            assert_eq!(
                parsed.headers,
                [(HeaderName::from_static(NAME_HEADER), header.parse().expect("value"))]
            );
        });
        for lines in [&[version, method][..], &[version, method, ("mcp-name", raw)]] {
            if raw.is_ascii() {
                assert_eq!(check(lines, &body), "header_mismatch", "{lines:?}");
            }
        }
    }
}

#[test]
fn a_message_is_related_to_a_task_of_the_callers_or_to_the_clients_own() {
    let meta =
        |id: &str| format!(r#""_meta":{{"io.modelcontextprotocol/related-task":{{"taskId":"{id}"}}}}"#);
    let body = |frame: &str, id: &str| frame.replace('…', &meta(id));
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{…}}"#;
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{…}}"#;
    let response = r#"{"jsonrpc":"2.0","id":1,"result":{…}}"#;
    for (frame, id, expected) in [
        (request, task("1"), Ok("1")),
        (notification, task("1"), Ok("1")),
        (response, task("1"), Ok("1")),
        (request, "clients".to_owned(), Err(Code::TaskForeign)),
        (notification, "clients".to_owned(), Ok("clients")),
        (response, "clients".to_owned(), Ok("clients")),
    ] {
        let sent = body(frame, &id);
        parsed(&Method::POST, &HeaderMap::new(), Some(&sent), |parsed| {
            let replaced = parsed.map(|parsed| parsed.replaced).map_err(|refusal| refusal.code);
            let sent = replaced.map(|replaced| crate::protocol::members::replace(&sent, &replaced));
            assert_eq!(sent, expected.map(|id| Some(body(frame, id))), "{frame} {id}");
        });
    }
}

#[test]
fn a_stream_is_resumed_as_what_it_answered() {
    let server = Destination::Server(server());
    let event = |part: &Part| sealed(Kind::Event, &server, part, "e-1");
    for (id, expected) in [
        (event(&Part::Whole), Ok("connectServer MCPServer/finance/ledger Stream")),
        (event(&Part::Tool("pay".into())), Ok("invokeTool Tool/finance/ledger/pay Stream")),
        (event(&Part::Resource("u".into())), Ok("readResource Resource/finance/ledger/u Stream")),
        (event(&Part::Prompt("p".into())), Ok("getPrompt Prompt/finance/ledger/p Stream")),
        (event(&Part::Skill("s".into())), Err(Code::SessionForeign)),
        (task("e-1"), Err(Code::SessionForeign)),
        ("e-1".to_owned(), Err(Code::SessionForeign)),
    ] {
        parsed(&Method::GET, &headers(&[("last-event-id", &id)]), None, |parsed| {
            let found = parsed.as_ref().map(shown).map_err(|refusal| refusal.code);
            assert_eq!(found.as_deref().map_err(|code| *code), expected, "{id}");
            if let Ok(parsed) = parsed {
                let (name, value) = ("last-event-id", "e-1".parse().expect("value"));
                assert_eq!(parsed.headers, [(HeaderName::from_static(name), value)]);
            }
        });
    }
}

#[test]
fn what_names_is_bounded_and_the_refusal_says_which_member() {
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
        ("tasks/get", r#"{"taskId":"…"}"#, "params.taskId", MAX_SEALED),
    ] {
        for (length, fits) in [(0, false), (1, true), (longest, true), (longest + 1, false)] {
            let params = params.replace('…', &"x".repeat(length));
            let body = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"{method}","params":{params}}}"#);
            parsed(&Method::POST, &HeaderMap::new(), Some(&body), |parsed| match parsed {
                Ok(_) => assert!(fits, "{method} {length}"),
                // One that is not too long is only not the caller's.
                Err(refusal) if refusal.code == Code::TaskForeign => assert!(fits, "{method} {length}"),
                Err(refusal) => {
                    assert!(!fits && refusal.code == Code::MessageInvalid, "{method} {length} {refusal}");
                    assert!(refusal.message.starts_with(member), "{refusal}");
                }
            });
        }
    }
}

/// Of several the message says which, and whose tasks are not the caller's is not among them.
#[test]
fn what_one_stream_is_to_tell_of_is_known_one_by_one() {
    let listen = |uris: usize, tasks: &[&str]| {
        let uris: Vec<String> = (0..uris).map(|number| format!("file:///{number}")).collect();
        let notifications = serde_json::json!({"resourceSubscriptions": uris, "taskIds": tasks});
        let params = serde_json::json!({"notifications": notifications});
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{params}}}"#)
    };
    let own = task("t-1");
    for (body, expected) in [
        (listen(2, &[]), Some(&["file:///0", "file:///1"][..])),
        (listen(1, &[&own]), Some(&["file:///0", "t-1"])),
        (listen(1, &["t-2", &own]), Some(&["file:///0", "t-1"])),
        (listen(1, &[]), Some(&[])),
        (listen(65, &[]), None),
    ] {
        parsed(&Method::POST, &HeaderMap::new(), Some(&body), |parsed| match (parsed, expected) {
            (Ok(parsed), Some(expected)) => {
                let found: Vec<&str> = parsed.followed.iter().map(Followed::name).collect();
                assert_eq!(found, expected, "{body}");
                assert!(parsed.ask.streaming);
            }
            (Err(refusal), None) => assert_eq!(refusal.code, Code::MessageInvalid),
            (found, _) => panic!("{body}: {found:?}"),
        });
    }
}

/// The official suite's `sep-2575-http-server-method-not-found-404-*`.
#[test]
fn what_the_stateless_version_has_removed_is_not_there() {
    for method in versions::REMOVED {
        let body = format!(r#"{{"jsonrpc":"2.0","id":500,"method":"{method}","params":{{{META}}}}}"#);
        let lines = [("mcp-protocol-version", MODERN), ("mcp-method", method)];
        assert_eq!(check(&lines, &body), "method_unknown", "{method}");
    }
    let error = StreamableHttp.refused(&Refusal::new(Code::MethodUnknown, ""), "c", Some("500"));
    assert_eq!(error.status().as_u16(), 404);
    assert!(error.body().contains(r#""code":-32601"#) && error.body().contains(r#""id":500"#));
}

/// Versions of before 2025-06-18 are sessions without what came later, and their batches are no message here.
#[test]
fn early_versions_are_served_without_what_came_later() {
    for version in versions::EARLY {
        let lines = [("mcp-protocol-version", version)];
        let request =
            |method: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{}}}}"#);
        for method in ["tasks/list", "tasks/get", "server/discover", "subscriptions/listen"] {
            assert_eq!(check(&lines, &request(method)), "method_unknown", "{version} {method}");
        }
        for method in ["notifications/tasks/status", "notifications/elicitation/complete"] {
            let told = format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#);
            assert_eq!(check(&lines, &told), "method_unknown", "{version} {method}");
        }
        for method in ["ping", "logging/setLevel"] {
            let expected = "connectServer MCPServer/finance/ledger Pass";
            assert_eq!(check(&lines, &request(method)), expected, "{version} {method}");
        }
        let batch = format!("[{}]", request("ping"));
        assert_eq!(check(&lines, &batch), "batch_not_supported", "{version}");
    }
}

#[test]
fn a_version_that_is_not_served_is_asked_about_and_the_request_does_not_go_on() {
    let body = r#"{"jsonrpc":"2.0","id":301,"method":"tools/call","params":{"name":"pay","_meta":{"io.modelcontextprotocol/protocolVersion":"v999.0.0"}}}"#;
    let lines =
        headers(&[("mcp-protocol-version", "v999.0.0"), ("mcp-method", "tools/call"), ("mcp-name", "pay")]);
    parsed(&Method::POST, &lines, Some(body), |parsed| {
        let parsed = parsed.expect("understood");
        assert_eq!((parsed.ask.method, parsed.ask.action), ("server/discover", Action::ConnectServer));
        let instead = parsed.instead.expect("the gateway's own request");
        let asked: serde_json::Value = serde_json::from_slice(&instead.body).expect("JSON");
        assert_eq!(
            (&asked["id"], &asked["method"]),
            (&serde_json::json!(301), &serde_json::json!("server/discover"))
        );
        assert_eq!(asked["params"]["_meta"][META_VERSION], MODERN);
        assert_eq!((&*instead.requested, instead.headers.contains_key("mcp-name")), ("v999.0.0", false));
    });
    let told = r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#;
    assert_eq!(check(&[("mcp-protocol-version", "v999.0.0")], told), "protocol_version_unsupported");
}
