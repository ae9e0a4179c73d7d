use serde_json::{Value, json};
use vidimus_core::json::Json;

use super::capabilities::Capabilities;
use super::object::{line, with};
use super::session::Session;
use super::to_sessions::{self, Begun, Client, Wanted};
use super::to_stateless::{self, Round};
use super::*;
use crate::protocol::members::Members;
use crate::protocol::tests::server;
use crate::seal::MAX_ID;

const FULL: &str = r#"{"roots":{"listChanged":true},"sampling":{"context":{},"tools":{}},"elicitation":{"form":{},"url":{}},"extensions":{"x":{}}}"#;

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn session(params: &Value) -> Session {
    let text = params.to_string();
    Session::begun(Some(&Json::parse(text.as_bytes()).expect("JSON")))
}

fn client(message: &str) -> Client {
    let parsed = Json::parse(message.as_bytes()).expect("JSON");
    Client::of(message, parsed.get("params")).expect("a request")
}

#[test]
fn an_object_keeps_what_is_not_changed_as_it_was_written() {
    for (object, without, set, expected) in [
        ("{}", &[][..], &[][..], Some("{}")),
        (r#"{ "a" : 1.50, "b":[ 1 ]}"#, &["z"], &[("c", "{}")], Some(r#"{"a":1.50,"b":[ 1 ],"c":{}}"#)),
        (r#"{"a":1,"b":2}"#, &["a", "b"], &[], Some("{}")),
        (r#"{"a":1,"b":2}"#, &[], &[("a", "3")], Some(r#"{"b":2,"a":3}"#)),
        ("[]", &[], &[], None),
        ("", &[], &[], None),
    ] {
        assert_eq!(with(object, without, set).as_deref(), expected, "{object}");
    }
    assert_eq!(line("{\n\"a\":\r\n\"b\\n\"}"), r#"{ "a":  "b\n"}"#);
}

#[test]
fn capabilities_are_said_as_each_version_has_them() {
    for (said, modern, oldest) in [
        ("{}", "{}", "{}"),
        (r#"{"elicitation":{}}"#, r#"{"elicitation":{"form":{}}}"#, r#"{"elicitation":{}}"#),
        (r#"{"elicitation":{"url":{}}}"#, r#"{"elicitation":{"url":{}}}"#, "{}"),
        (
            r#"{"sampling":{},"roots":{"listChanged":true}}"#,
            r#"{"roots":{},"sampling":{}}"#,
            r#"{"roots":{},"sampling":{}}"#,
        ),
        (
            FULL,
            r#"{"elicitation":{"form":{},"url":{}},"roots":{},"sampling":{"context":{},"tools":{}}}"#,
            r#"{"elicitation":{},"roots":{},"sampling":{}}"#,
        ),
        (r#"{"sampling":true,"elicitation":[]}"#, "{}", "{}"),
    ] {
        let can = Capabilities::of(Some(&Json::parse(said.as_bytes()).expect("JSON")));
        assert_eq!(value(&can.json(MODERN)), value(modern), "{said}");
        assert_eq!(value(&can.json("2025-06-18")), value(oldest), "{said}");
        assert_eq!(value(&can.json("2025-03-26")).get("elicitation"), None, "{said}");
        assert_eq!(Capabilities::from_number(can.number()), Some(can));
    }
    assert_eq!(Capabilities::from_number(64), None);
}

#[test]
fn the_id_of_a_session_says_all_of_it_and_can_be_sealed() {
    let long = "n\"\\\u{1}".repeat(1000);
    for (params, version) in [
        (json!({"protocolVersion": "2025-06-18", "clientInfo": {"name": "c", "version": "1"}}), "2025-06-18"),
        (
            json!({"protocolVersion": "2024-10-07", "clientInfo": {"name": long, "version": long}}),
            "2025-11-25",
        ),
        (json!({"protocolVersion": "2024-11-05"}), "2024-11-05"),
        (json!({"protocolVersion": 7, "capabilities": value(FULL)}), "2025-11-25"),
    ] {
        let begun = session(&params);
        assert_eq!(begun.version, version);
        let id = begun.id();
        assert!(id.len() <= MAX_ID && id.is_ascii(), "{id}");
        assert_eq!(Session::of(&id), Some(begun));
        for other in [
            "",
            "s-1",
            "b1",
            &format!("{id}.x"),
            &id.replacen("b1.", "b2.", 1),
            id.get(..id.len() - 2).expect("ASCII"),
        ] {
            assert!(Session::of(other).is_none_or(|other| other.id() != id), "{other}");
        }
    }
    assert_ne!(session(&json!({})).id(), session(&json!({})).id(), "two are never one");
}

#[test]
fn a_request_says_to_a_stateless_server_what_its_session_does() {
    let begun = session(&json!({"protocolVersion": "2025-11-25", "capabilities": {"sampling": {}},
        "clientInfo": {"name": "c", "version": "1"}}));
    let message = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a","arguments":{"x":1.50},"_meta":{"progressToken":3},"requestState":"forged"}}"#;
    let sent = to_stateless::request(message, &begun, Some("info"), None).expect("a request");
    assert!(sent.contains(r#""arguments":{"x":1.50}"#), "{sent}");
    let sent = value(&sent);
    let meta = json!({
        "progressToken": 3,
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {"sampling": {}},
        "io.modelcontextprotocol/logLevel": "info",
    });
    assert_eq!(
        sent["params"],
        json!({"name": "a", "arguments": {"x": 1.5}, "_meta": meta}),
        "and no state that it was not given"
    );
    assert_eq!((&sent["id"], &sent["method"]), (&json!(7), &json!("tools/call")));
    let round = Round {
        id: "\"r\"".to_owned(),
        responses: Some(r#"{"k":{"action":"accept"}}"#.to_owned()),
        state: Some("\"s\"".to_owned()),
    };
    let again = value(&to_stateless::request(message, &begun, None, Some(&round)).expect("a request"));
    assert_eq!((&again["id"], &again["params"]["requestState"]), (&json!("r"), &json!("s")));
    assert_eq!(again["params"]["inputResponses"], json!({"k": {"action": "accept"}}));
    let bare = value(
        &to_stateless::request(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#, &begun, None, None)
            .expect("a request"),
    );
    assert_eq!(bare["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], json!("2026-07-28"));
}

#[test]
fn what_a_stateless_server_is_is_said_as_the_answer_to_initialize() {
    let discovered = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"extensions":{"x":{}}},
        "_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}},"instructions":"i","ttlMs":0,"cacheScope":"public"}"#;
    let result = value(&to_stateless::initialized(discovered, "2025-06-18").expect("a result"));
    let expected = json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
        "serverInfo": {"name": "s", "version": "1"}, "instructions": "i"});
    assert_eq!(result, expected);
    for other in [
        r#"{"supportedVersions":["2025-11-25"],"capabilities":{}}"#,
        "{}",
        "[]",
        r#"{"supportedVersions":"2026-07-28"}"#,
    ] {
        assert!(to_stateless::initialized(other, "2025-11-25").is_err(), "{other}");
    }
}

#[test]
fn what_a_stateless_server_asks_is_what_a_client_answers() {
    let asked = r#"{"resultType":"input_required","requestState":"s","inputRequests":{"k":{"method":"elicitation/create","params":{"mode":"url","url":"https://e.example","message":"m"}}}}"#;
    let questions = to_stateless::questions(asked).expect("read").expect("questions");
    assert_eq!(questions.state.as_deref(), Some("\"s\""));
    let (key, method, params) = &questions.asked[0];
    assert_eq!((key.as_str(), method.as_str()), ("k", "elicitation/create"));
    let question = value(&to_stateless::question(method, params, "v-1").expect("a question"));
    assert_eq!((&question["id"], &question["params"]["elicitationId"]), (&json!("v-1"), &json!("v-1")));
    assert_eq!(to_stateless::questions(r#"{"resultType":"complete","content":[]}"#).expect("read"), None);
    assert_eq!(to_stateless::questions("{}").expect("read"), None);
    let many: Vec<String> = (0..17).map(|n| format!(r#""{n}":{{"method":"roots/list"}}"#)).collect();
    for bad in [
        r#"{"resultType":"input_required","inputRequests":{"k":{"method":"tools/call","params":{}}}}"#
            .to_owned(),
        r#"{"resultType":"input_required","inputRequests":{"k":[]}}"#.to_owned(),
        r#"{"resultType":"input_required","resultType":"complete"}"#.to_owned(),
        format!(r#"{{"resultType":"input_required","inputRequests":{{{}}}}}"#, many.join(",")),
    ] {
        assert!(to_stateless::questions(&bad).is_err(), "{bad}");
    }
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"a","arguments":{"n":1.50},"requestState":"vidimus-bridge.h","inputResponses":{"1":{"action":"accept"}},"_meta":{"progressToken":"p","io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{},"url":{}}},"own":1}}}"#;

#[test]
fn a_request_in_a_session_has_nothing_that_its_session_says() {
    let sent = to_sessions::request(CALL, "5").expect("a request");
    assert!(sent.contains(r#""arguments":{"n":1.50}"#), "{sent}");
    let expected = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call",
        "params": {"name": "a", "arguments": {"n": 1.5}, "_meta": {"own": 1, "progressToken": 5}}});
    assert_eq!(value(&sent), expected);
    // What is no member of that era any more would be asked for in this one.
    let of_before = CALL.replace(r#""name":"a""#, r#""name":"a","task":{"ttl":60000}"#);
    assert_eq!(value(&to_sessions::request(&of_before, "5").expect("a request")), expected);
    let bare = r#"{"jsonrpc":"2.0","id":"x","method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    assert_eq!(value(&to_sessions::request(bare, "5").expect("a request"))["params"], json!({}));
    let params = value(CALL)["params"].to_string();
    assert_eq!(
        to_sessions::answers(Some(&params)),
        Some(("h".to_owned(), Some(r#"{"action":"accept"}"#.to_owned())))
    );
    assert_eq!(to_sessions::answers(Some(r#"{"requestState":"an upstream's"}"#)), None);
    let hello = value(&to_sessions::initialize(client(CALL).capabilities, Some(&params)));
    assert_eq!(hello["params"]["clientInfo"], json!({"name": "c", "version": "1"}));
    assert_eq!(hello["params"]["capabilities"], json!({"elicitation": {"form": {}, "url": {}}}));
}

#[test]
fn a_server_of_sessions_answers_as_a_stateless_one() {
    let begun = Begun::of(r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"tasks":{}},"serverInfo":{"name":"s","version":"1"}}"#).expect("a session");
    assert_eq!(begun.version, "2025-06-18");
    let said = value(&begun.discovered().expect("a result"));
    assert_eq!(said["capabilities"], json!({"tools": {"listChanged": true}}));
    assert_eq!(said["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], json!("s"));
    assert_eq!(
        (&said["resultType"], &said["ttlMs"], &said["cacheScope"]),
        (&json!("complete"), &json!(0), &json!("private"))
    );
    assert!(Begun::of(r#"{"protocolVersion":"2024-10-07"}"#).is_err());
    for early in ["2025-03-26", "2024-11-05"] {
        let begun = Begun::of(&format!(r#"{{"protocolVersion":"{early}"}}"#));
        assert_eq!(begun.map(|begun| begun.version), Ok(early));
    }
    let asked = client(CALL);
    for (response, expected) in [
        (
            r#"{"jsonrpc":"2.0","id":5,"result":{"content":[]}}"#,
            json!({"result": {"content": [], "resultType": "complete"}}),
        ),
        (
            r#"{"jsonrpc":"2.0","id":5,"error":{"code":-32603,"message":"m"}}"#,
            json!({"error": {"code": -32603, "message": "m"}}),
        ),
        (
            r#"{"jsonrpc":"2.0","id":5,"error":{"code":-32042,"message":"m","data":{"elicitations":[{"mode":"url","elicitationId":"e","url":"https://e.example","message":"go"}]}}}"#,
            json!({"result": {"resultType": "input_required", "inputRequests":
                {"0": {"method": "elicitation/create", "params": {"mode": "url", "url": "https://e.example", "message": "go"}}}}}),
        ),
    ] {
        let members = Members::unique(response).expect("an object");
        let mut expected = expected;
        (expected["jsonrpc"], expected["id"]) = (json!("2.0"), json!("x"));
        assert_eq!(value(&to_sessions::answered(&members, &asked).expect("an answer")), expected);
    }
    for (code, status) in
        [(-32601, Some(404)), (-32020, Some(400)), (-32021, Some(400)), (-32022, Some(400)), (-32603, None)]
    {
        let refused = json!({"jsonrpc": "2.0", "id": 5, "error": {"code": code, "message": "m"}}).to_string();
        let members = Members::unique(&refused).expect("an object");
        assert_eq!(to_sessions::status(&members).map(|status| status.as_u16()), status, "{code}");
    }
    let members = Members::unique(r#"{"result":{"code":-32601},"error":null}"#).expect("an object");
    assert_eq!(to_sessions::status(&members), None);
    for (told, expected) in [
        (
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":5,"progress":1}}"#,
            Some(json!("p")),
        ),
        (r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#, None),
        (r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#, None),
    ] {
        let members = Members::unique(told).expect("an object");
        let passed = to_sessions::notified(told, &members, &asked);
        assert_eq!(
            passed.map(|passed| value(&passed)["params"]["progressToken"].clone()),
            expected,
            "{told}"
        );
    }
}

#[test]
fn who_listens_is_told_what_was_asked_for_and_nothing_else() {
    let params = r#"{"notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourceSubscriptions":["file:///a","file:///c"]}}"#;
    let begun = Begun::of(r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true}}}"#).expect("a session");
    let wanted = Wanted::of(Some(&Json::parse(params.as_bytes()).expect("JSON"))).of_what_is_told(&begun);
    let said = value(&wanted.acknowledged("4"));
    assert_eq!(
        said["params"]["notifications"],
        json!({"toolsListChanged": true, "resourceSubscriptions": ["file:///a", "file:///c"]})
    );
    assert_eq!(said["params"]["_meta"], json!({"io.modelcontextprotocol/subscriptionId": 4}));
    for (told, is_told) in [
        (r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#, true),
        (r#"{"jsonrpc":"2.0","method":"notifications/resources/list_changed"}"#, false),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///a"}}"#,
            true,
        ),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///b"}}"#,
            false,
        ),
        (r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#, false),
    ] {
        let members = Members::unique(told).expect("an object");
        let passed = wanted.told(told, &members, "4");
        assert_eq!(passed.is_some(), is_told, "{told}");
        if let Some(passed) = passed {
            assert_eq!(value(&passed)["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], json!(4));
        }
    }
}

#[test]
fn what_has_no_like_in_the_other_era_is_refused_and_in_its_own_passes() {
    let mut one = McpServer::clone(&server());
    for (mcp, is_modern, method, params, refused) in [
        (None, false, "tasks/get", "{}", false),
        (Some(Era::Sessions), false, "tasks/get", "{}", false),
        (Some(Era::Stateless), true, "tasks/get", "{}", false),
        (Some(Era::Stateless), false, "tasks/get", "{}", true),
        (Some(Era::Sessions), true, "tasks/update", "{}", true),
        (Some(Era::Stateless), false, "tools/call", r#"{"name":"a"}"#, false),
        (Some(Era::Stateless), false, "tools/call", r#"{"name":"a","task":{}}"#, true),
        (Some(Era::Stateless), false, "tools/call", r#"{"name":"a","task":null}"#, false),
        (Some(Era::Sessions), true, "tools/call", r#"{"name":"a","task":{"ttl":60000}}"#, false),
        (Some(Era::Sessions), true, "subscriptions/listen", r#"{"notifications":{"taskIds":["t"]}}"#, true),
        (Some(Era::Sessions), true, "subscriptions/listen", r#"{"notifications":{"taskIds":[]}}"#, false),
    ] {
        one.endpoint.mcp = mcp;
        let params = Json::parse(params.as_bytes()).expect("JSON");
        let code = unbridged(&one, method, Some(&params), is_modern).map(|refusal| refusal.code);
        assert_eq!(code, refused.then_some(Code::EraUnbridged), "{mcp:?} {method}");
    }
}
