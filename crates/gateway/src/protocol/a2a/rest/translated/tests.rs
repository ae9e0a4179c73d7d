use serde_json::json;

use super::*;

fn error(number: i64, reason: &str) -> Value {
    json!({"code": number, "message": "no", "data": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason, "domain": "a2a-protocol.org", "metadata": {"taskId": "t"}}]})
}

fn status(code: u16, name: &str, reason: &str) -> Value {
    json!({"error": {"code": code, "status": name, "message": "no", "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason, "domain": "a2a-protocol.org", "metadata": {"taskId": "t"}}]}})
}

/// A2A 1.0, section 5.4.
const ERRORS: [(i64, u16, &str, &str); 9] = [
    (-32001, 404, "NOT_FOUND", "TASK_NOT_FOUND"),
    (-32002, 400, "FAILED_PRECONDITION", "TASK_NOT_CANCELABLE"),
    (-32003, 400, "FAILED_PRECONDITION", "PUSH_NOTIFICATION_NOT_SUPPORTED"),
    (-32004, 400, "FAILED_PRECONDITION", "UNSUPPORTED_OPERATION"),
    (-32005, 400, "INVALID_ARGUMENT", "CONTENT_TYPE_NOT_SUPPORTED"),
    (-32006, 500, "INTERNAL", "INVALID_AGENT_RESPONSE"),
    (-32007, 400, "FAILED_PRECONDITION", "EXTENDED_AGENT_CARD_NOT_CONFIGURED"),
    (-32008, 400, "FAILED_PRECONDITION", "EXTENSION_SUPPORT_REQUIRED"),
    (-32009, 400, "FAILED_PRECONDITION", "VERSION_NOT_SUPPORTED"),
];

fn left(response: &Value) -> (u16, Value) {
    let (status, document) = document(response.to_string().as_bytes(), Leaves::Bare).expect("a document");
    (status.as_u16(), serde_json::from_slice(&document).expect("JSON"))
}

fn came(said: &str, status: u16) -> Result<Value, Code> {
    let status = StatusCode::from_u16(status).expect("a status");
    let response = response("7", said, status).map_err(|refusal| refusal.code)?;
    Ok(serde_json::from_str(&response).expect("JSON"))
}

#[test]
fn an_error_is_the_same_in_each_binding_and_so_is_its_status() {
    for (number, http, name, reason) in ERRORS {
        let (rpc, rest) = (error(number, reason), status(http, name, reason));
        let response = json!({"jsonrpc": "2.0", "id": 7, "error": rpc});
        assert_eq!(left(&response), (http, rest.clone()));
        assert_eq!(came(&rest.to_string(), http), Ok(response.clone()));
        // Where a stream has begun, no status says it.
        assert_eq!(came(&rest.to_string(), 200), Ok(response), "{reason}");
        let bare = json!({"jsonrpc": "2.0", "id": 7, "error": {"code": number, "message": "no"}});
        let (status, document) = left(&bare);
        assert_eq!((status, &document["error"]["details"][0]["reason"]), (http, &json!(reason)));
    }
    for (number, http, name) in [
        (-32700, 400, "INVALID_ARGUMENT"),
        (-32602, 400, "INVALID_ARGUMENT"),
        (-32601, 501, "UNIMPLEMENTED"),
        (-32603, 500, "INTERNAL"),
        (-31403, 403, "PERMISSION_DENIED"),
        (-31429, 429, "RESOURCE_EXHAUSTED"),
        (1, 500, "UNKNOWN"),
    ] {
        let (status, document) =
            left(&json!({"jsonrpc": "2.0", "id": 7, "error": {"code": number, "message": "m"}}));
        assert_eq!((status, &document["error"]["status"]), (http, &json!(name)), "{number}");
        assert_eq!(document["error"]["code"], http);
    }
    for (http, name, number) in
        [(401, "UNAUTHENTICATED", -32603), (400, "INVALID_ARGUMENT", -32602), (501, "UNIMPLEMENTED", -32601)]
    {
        let said = json!({"error": {"code": http, "status": name, "message": "m"}, "vidimus": {"code": "x"}})
            .to_string();
        let response = came(&said, http).expect("an error");
        assert_eq!(
            (&response["error"]["code"], &response["error"]["message"]),
            (&json!(number), &json!("m"))
        );
        assert_eq!(response.get("vidimus"), None, "nobody speaks in the gateway's name");
    }
    // An error is one whatever it says that it is.
    for odd in [json!({}), json!({"code": 200, "status": "OK"}), json!({"code": "x", "details": 7})] {
        let response = came(&json!({"error": odd}).to_string(), 500).expect("an error");
        assert!(response["error"]["code"].is_i64() && response.get("result").is_none(), "{odd}");
    }
}

/// What a2a-sdk reads of an agent of 0.3 (`compat/v0_3/rest_transport.py`, `_handle_http_error`): its names of the classes.
#[test]
fn an_error_of_0_3_says_its_class_beside_what_1_0_says() {
    for (number, class) in [
        (-32001, Some("TaskNotFoundError")),
        (-32002, Some("TaskNotCancelableError")),
        (-32003, Some("PushNotificationNotSupportedError")),
        (-32007, Some("ExtendedAgentCardNotConfiguredError")),
        (-32602, Some("InvalidParamsError")),
        (-32601, Some("MethodNotFoundError")),
        (-32603, Some("InternalError")),
        (-31429, None),
        (1, None),
    ] {
        let response = json!({"jsonrpc": "2.0", "id": 7, "error": {"code": number, "message": "no"}});
        let said = document(response.to_string().as_bytes(), Leaves::OldBare("tasks/get"));
        let (status, said) = said.expect("a document");
        let said: Value = serde_json::from_slice(&said).expect("JSON");
        let (as_new, new) = left(&response);
        assert_eq!((status.as_u16(), &said["error"]), (as_new, &new["error"]), "{number}");
        assert_eq!(said.get("type").and_then(Value::as_str), class, "{number}");
        assert_eq!(said.get("message").and_then(Value::as_str), class.and(Some("no")), "{number}");
        assert_eq!(new.get("type"), None, "1.0 has its own form");
    }
    let event = format!(
        "data: {}\n\n",
        json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32001, "message": "no"}})
    );
    let bare = Bare::behind(Box::new(crate::protocol::sse::Unchanged), Leaves::OldBare("message/stream"));
    let out = through(Box::new(bare), &[&event]).expect("events");
    assert!(out.contains(r#""type":"TaskNotFoundError""#), "{out}");
}

#[test]
fn a_result_stands_by_itself_or_in_a_response_byte_for_byte() {
    let result = r#"{"task": {"id": "\u0041", "n": 1.50}}"#;
    let said = response("\"own\"", result, StatusCode::OK).expect("a response");
    assert_eq!(said, format!(r#"{{"jsonrpc":"2.0","id":"own","result":{result}}}"#));
    let (status, document) = document(said.as_bytes(), Leaves::Bare).expect("a document");
    assert_eq!((status, &*document), (StatusCode::OK, result.as_bytes()));
    // google.protobuf.Empty, as each of them says it.
    assert_eq!(left(&json!({"jsonrpc": "2.0", "id": 7, "result": null})), (200, json!({})));
    for nothing in ["", " ", "{}"] {
        assert_eq!(came(nothing, 200), Ok(json!({"jsonrpc": "2.0", "id": 7, "result": {}})));
    }
}

/// Attacks: an answer that is more than one value, is framed so that its ids stand where nobody looks, or is none of the protocol.
#[test]
fn what_is_no_result_and_no_error_of_the_protocol_is_refused() {
    for (said, status) in [
        (r#"{"id":"1"},"x":{}"#, 200),
        (r#"{"id":"1"}}"#, 200),
        (r#"{"jsonrpc":"2.0","id":1,"result":{"id":"raw"}}"#, 200),
        (r#"{"Result":{"task":{"id":"raw"}}}"#, 200),
        (r#"[{"result":{"id":"raw"}}]"#, 200),
        (r#"{"id":"1","ID":"2"}"#, 200),
        ("<html>", 200),
        (r#"{"id":"1"}"#, 404),
        ("<html>", 502),
        ("", 500),
        (r#"{"error":"invalid_token"}"#, 401),
        (r#"{"detail":"Not Found"}"#, 404),
    ] {
        assert_eq!(came(said, status), Err(Code::UpstreamInvalid), "{said} {status}");
    }
    for response in
        [&b"{}"[..], b"[]", b"", b"\xff", br#"{"result":{},"Result":{}}"#, br#"{"jsonrpc":"2.0","id":1}"#]
    {
        assert_eq!(
            document(response, Leaves::Bare).map_err(|refusal| refusal.code),
            Err(Code::UpstreamInvalid),
            "{response:?}"
        );
    }
}

fn through(filter: Box<dyn EventFilter>, chunks: &[&str]) -> Result<String, Code> {
    let mut stream = EventStream::new(filter, 4096, TooLong::EndsStream);
    let mut out = Vec::new();
    for chunk in chunks {
        let passes =
            stream.push(&Bytes::copy_from_slice(chunk.as_bytes())).map_err(|refusal| refusal.code)?;
        out.extend_from_slice(&passes);
    }
    out.extend_from_slice(&stream.finish().map_err(|refusal| refusal.code)?);
    Ok(String::from_utf8(out).expect("UTF-8"))
}

#[test]
fn events_are_responses_in_one_binding_and_results_in_the_other() {
    let error =
        json!({"error": {"code": 404, "status": "NOT_FOUND", "message": "no", "details": []}}).to_string();
    let rest = format!(
        "data: {{\"task\":{{}}}}\n\n: ping\n\nid: e\ndata: {{\"a\":\ndata: 1}}\n\nevent: error\ndata: {error}\n\n"
    );
    let wrapped = through(Box::new(Enveloped { id: "7".into() }), &[&rest]).expect("events");
    let lines: Vec<&str> = wrapped.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines[0], r#"data: {"jsonrpc":"2.0","id":7,"result":{"task":{}}}"#);
    assert_eq!(&lines[1..3], [": ping", "id: e"]);
    assert!(wrapped.contains("event: error\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"error\":{"), "{wrapped}");
    // And back, in whatever chunks it comes.
    for size in [1, 7, usize::MAX] {
        let chunks: Vec<&str> =
            wrapped.as_bytes().chunks(size).map(|chunk| std::str::from_utf8(chunk).expect("ASCII")).collect();
        let back =
            through(Box::new(Bare::behind(Box::new(crate::protocol::sse::Unchanged), Leaves::Bare)), &chunks);
        let back = back.expect("events");
        assert!(back.starts_with("data: {\"task\":{}}\n\n"), "{back}");
        assert!(!back.contains("jsonrpc") && back.contains("event: error\ndata: {\"error\":{"), "{back}");
        assert!(back.contains("id: e\n") && back.contains("data: {\"a\":\ndata: 1}\n"), "{back}");
        assert!(back.contains(r#""code":404"#), "{back}");
    }
    for broken in ["data: {\n\n", "data: []\n\n", "data: {\"x\":1}\n\n"] {
        let through = through(
            Box::new(Bare::behind(Box::new(crate::protocol::sse::Unchanged), Leaves::Bare)),
            &[broken],
        );
        assert_eq!(through, Err(Code::UpstreamInvalid), "{broken}");
    }
}

/// A filter before it may hold events back, and let them go together.
#[test]
fn events_that_were_held_back_leave_as_results_too() {
    #[derive(Debug, Default)]
    struct Holding(Vec<u8>);
    impl EventFilter for Holding {
        fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
            self.0.extend_from_slice(event);
            Ok(Some(Vec::new()))
        }
        fn finish(&mut self) -> Result<Vec<u8>, Refusal> {
            Ok(std::mem::take(&mut self.0))
        }
    }
    let event = |n: u8| format!("data: {{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{\"n\":{n}}}}}\n\n");
    let (one, two) = (event(1), event(2));
    let out = through(Box::new(Bare::behind(Box::<Holding>::default(), Leaves::Bare)), &[&one, &two]);
    assert_eq!(out.as_deref(), Ok("data: {\"n\":1}\n\ndata: {\"n\":2}\n\n"));
}

#[test]
fn what_leaves_in_0_3_is_the_json_of_its_schema() {
    let task = json!({"kind": "task", "id": "t", "status": {"state": "canceled"},
        "history": [{"kind": "message", "messageId": "m", "role": "user", "parts": [{"kind": "text", "text": "x"}]}]});
    let said = json!({"id": "t", "status": {"state": "TASK_STATE_CANCELLED"},
        "history": [{"messageId": "m", "role": "ROLE_USER", "content": [{"text": "x"}]}]});
    let response = json!({"jsonrpc": "2.0", "id": 1, "result": task}).to_string();
    for (method, expected) in [("tasks/get", said.clone()), ("message/send", json!({"task": said}))] {
        let (status, document) = document(response.as_bytes(), Leaves::OldBare(method)).expect("a document");
        let document: Value = serde_json::from_slice(&document).expect("JSON");
        assert_eq!((status, document), (StatusCode::OK, expected), "{method}");
    }
    let update =
        json!({"kind": "status-update", "taskId": "t", "final": true, "status": {"state": "completed"}});
    let event = format!("data: {}\n\n", json!({"jsonrpc": "2.0", "id": 1, "result": update}));
    let bare = Bare::behind(Box::new(crate::protocol::sse::Unchanged), Leaves::OldBare("message/stream"));
    let out = through(Box::new(bare), &[&event]).expect("events");
    let data: Value = serde_json::from_str(out.trim().trim_start_matches("data: ")).expect("JSON");
    let expected =
        json!({"statusUpdate": {"taskId": "t", "final": true, "status": {"state": "TASK_STATE_COMPLETED"}}});
    assert_eq!(data, expected);
    let odd = json!({"jsonrpc": "2.0", "id": 1, "result": 7}).to_string();
    let odd = document(odd.as_bytes(), Leaves::OldBare("tasks/get")).map_err(|refusal| refusal.code);
    assert_eq!(odd, Err(Code::UpstreamInvalid));
}

/// The schema of 0.3 has doubles; JSON has what is written.
#[test]
fn a_number_that_no_double_holds_is_the_same_in_0_3() {
    let numbers = r#"{"n":-9007199254740993,"m":18446744073709551615,"long":123456789012345678901234567890,"d":0.1234567890123456789}"#;
    let data = |data: &str| format!(r#"{{"kind":"data","data":{data}}}"#);
    let history = format!(
        r#"{{"kind":"message","messageId":"m","role":"agent","metadata":{numbers},"parts":[{},{}]}}"#,
        data(numbers),
        data(r#"{"half":0.5}"#)
    );
    let task =
        format!(r#"{{"kind":"task","id":"t","status":{{"state":"completed"}},"history":[{history}]}}"#);
    let response = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{task}}}"#);
    let (_, said) = document(response.as_bytes(), Leaves::OldBare("tasks/get")).expect("a document");
    let said = std::str::from_utf8(&said).expect("UTF-8");
    let is_whole = |text: &str| {
        let members = [
            "-9007199254740993",
            "18446744073709551615",
            "123456789012345678901234567890",
            "0.1234567890123456789",
        ];
        members.iter().map(|number| text.matches(number).count()).collect::<Vec<_>>()
    };
    assert_eq!(is_whole(said), [2; 4], "{said}");
    assert!(said.contains(r#""half":0.5"#), "{said}");
    serde_json::from_str::<Value>(said).expect("JSON");
    let message = |more: &str| {
        let content = format!(r#"[{{"data":{{"data":{numbers}}}}}]"#);
        let message = format!(r#"{{"messageId":"m","role":"ROLE_USER","content":{content}{more}}}"#);
        let params = format!(r#"{{"message":{message}}}"#);
        Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"message/send","params":{params}}}"#))
    };
    let sent = old_message(message("")).expect("a message");
    let sent = std::str::from_utf8(&sent).expect("UTF-8");
    assert_eq!(is_whole(sent), [1; 4], "{sent}");
    assert!(sent.contains(r#""kind":"data""#), "{sent}");
    // Attack: a number where a text is wanted, so that what nobody reads as an id goes on as one.
    let refused = old_message(message(r#","taskId":18446744073709551615"#)).map_err(|refusal| refusal.code);
    assert_eq!(refused, Err(Code::MessageInvalid));
}
