mod random;
mod same;

use serde_json::{Value, json};

use super::*;

const SEND: &str = "SendMessage";

fn rpc(name: &str) -> &'static Rpc {
    Rpc::named(name).expect("a method")
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// A field that says how long it is.
fn field(number: u8, inside: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    prost::encoding::encode_varint(inside.len() as u64, &mut out);
    out.extend_from_slice(inside);
    out
}

#[test]
fn every_method_of_json_rpc_is_one_of_the_service() {
    for (_, name, streams) in super::super::super::METHODS {
        assert_eq!(rpc(name).streams, streams, "{name}");
    }
    let all = SCHEMA.as_ref().expect("descriptors");
    let is_old = |rpc: &&Rpc| rpc.rpc_method().is_some();
    assert_eq!(all.values().filter(|rpc| !is_old(rpc)).count(), super::super::super::METHODS.len());
    // Of 0.3 all but the list of tasks, which its gRPC does not have.
    for (old, _, streams) in
        super::super::super::METHODS.into_iter().filter(|(_, new, _)| *new != "ListTasks")
    {
        let rpc = all.values().find(|rpc| rpc.rpc_method() == Some(old)).unwrap_or_else(|| panic!("{old}"));
        assert_eq!(rpc.streams, streams, "{old}");
    }
    assert_eq!(all.values().filter(is_old).count(), 10);
    assert_eq!(rpc("a2a.v1.A2AService/TaskSubscription").rpc_method(), Some("tasks/resubscribe"));
    assert_eq!(Rpc::named("Other").map(|_| ()).map_err(|refusal| refusal.code), Err(Code::MethodUnknown));
}

#[test]
fn a_request_is_in_protobuf_what_it_is_in_json() {
    let part = json!({"data": {"a": [1.5, null, {"b": true}]}, "mediaType": "application/json"});
    for (method, said) in [
        (
            SEND,
            json!({"message": {"messageId": "m", "role": "ROLE_USER", "contextId": "c", "parts": [{"text": "é\n"}, part, {"raw": "AP8="}],
                "metadata": {"skill": "pay", "hops": 2.0}, "referenceTaskIds": ["a", "b"]},
                "configuration": {"historyLength": 0, "returnImmediately": true}}),
        ),
        ("GetTask", json!({"id": "t", "historyLength": 3})),
        (
            "ListTasks",
            json!({"status": "TASK_STATE_WORKING", "pageToken": "p", "statusTimestampAfter": "2026-01-02T03:04:05Z"}),
        ),
        (
            "CreateTaskPushNotificationConfig",
            json!({"taskId": "t", "url": "https://h/", "authentication": {"scheme": "Bearer"}}),
        ),
        ("GetExtendedAgentCard", json!({})),
    ] {
        let request = rpc(method).request(&said.to_string()).expect("a request");
        assert_eq!(json_of(&rpc(method).asked(&request, None).expect("a message")), said, "{method}");
    }
}

#[test]
fn the_bytes_are_those_of_the_published_schema() {
    let request = rpc("GetTask").request(r#"{"id":"t","historyLength":3}"#).expect("a request");
    assert_eq!(request, b"\x12\x01t\x18\x03");
    let answer =
        rpc(SEND).answer(r#"{"task":{"id":"t","status":{"state":"TASK_STATE_COMPLETED"}}}"#).expect("one");
    assert_eq!(answer, b"\x0a\x07\x0a\x01t\x1a\x02\x08\x03");
    assert_eq!(rpc("DeleteTaskPushNotificationConfig").answer("{}"), Ok(Vec::new()));
}

#[test]
fn the_tenant_is_left_out_where_it_is_the_routes_own() {
    let ask = |tenant: &[u8], own| {
        let message = [field(1, tenant), field(2, b"t")].concat();
        json_of(&rpc("GetTask").asked(&message, own).expect("a message"))
    };
    assert_eq!(ask(b"n/b", Some("n/b")), json!({"id": "t"}));
    for (tenant, own) in
        [(&b"n/b"[..], None), (b"n/b", Some("n/c")), (b"N/B", Some("n/b")), (b"n/b/", Some("n/b"))]
    {
        let said = ask(tenant, own)["tenant"].clone();
        assert_eq!(said.as_str().map(str::as_bytes), Some(tenant), "{own:?}");
    }
    assert_eq!(ask(b"", Some("n/b")), json!({"id": "t"}));
    // Of two the last one counts, for both readers.
    let twice = [field(1, b"n/b"), field(2, b"t"), field(1, b"n/c")].concat();
    assert_eq!(rpc("GetTask").tenant(&twice), Some("n/c"));
    assert_eq!(json_of(&rpc("GetTask").asked(&twice, None).expect("a message"))["tenant"], "n/c");
    let other = [field(4, b"n/d"), field(1, b"t")].concat();
    assert_eq!(rpc("ListTaskPushNotificationConfigs").tenant(&other), Some("n/d"), "its number differs");
    assert_eq!(rpc("GetTask").tenant(b"\x12"), None);
}

/// Attack: bytes that are no message, or another one to a later version.
#[test]
fn what_is_no_message_of_the_schema_is_refused() {
    for (message, expected) in [
        (&b"\x12"[..], "unreadable"),
        (b"\x12\xff", "unreadable"),
        (b"\x12\x05t", "unreadable"),
        (b"\x12\x02\xff\xfe", "unreadable"),
        (b"\x10\x01", "unreadable"),
        (b"\x13\x14", "unreadable"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "unreadable"),
        (b"\x00", "unreadable"),
        (b"\x7a\x01x", "unknown"),
    ] {
        let found = match rpc("GetTask").asked(message, None) {
            Err(Fault::Unreadable(_)) => "unreadable",
            Err(Fault::Unknown(15)) => "unknown",
            other => panic!("{message:?} {other:?}"),
        };
        assert_eq!(found, expected, "{message:?}");
    }
    // Within another one as well; what an agent of a later version says is left out.
    let nested = field(2, &field(15, b"x"));
    assert_eq!(rpc(SEND).asked(&nested, None), Err(Fault::Unknown(15)));
    let answer = field(1, &[field(1, b"t"), field(15, b"x")].concat());
    assert_eq!(rpc(SEND).answered(&answer).as_deref(), Ok(r#"{"task":{"id":"t"}}"#));
}

/// Attack: two bytes each of what is a hundred when it is read, or messages in each other without end.
#[test]
fn a_message_that_becomes_too_much_is_refused_before_anything_is_made_of_it() {
    let parts = field(2, &field(5, b"").repeat(MAX_VALUES));
    assert_eq!(rpc(SEND).asked(&parts, None), Err(Fault::TooMuch));
    let mut deep = Vec::new();
    for _ in 0..50 {
        // A value that is a list, and the list.
        deep = field(6, &field(1, &deep));
    }
    let deep = field(2, &field(5, &field(4, &deep)));
    assert_eq!(rpc(SEND).asked(&deep, None), Err(Fault::TooMuch));
    let many = format!(r#"{{"task":{{"artifacts":[{{"parts":[{}{{}}]}}]}}}}"#, "{},".repeat(MAX_VALUES));
    assert_eq!(rpc(SEND).answer(&many), Err(Fault::TooMuch));
    // A text that has as many commas is one value.
    let text = json!({"message": {"messageId": "m", "parts": [{"text": ",".repeat(MAX_VALUES + 1)}]}});
    assert!(rpc(SEND).answer(&text.to_string()).is_ok());
}

#[test]
fn what_json_says_beside_the_schema_is_left_out() {
    let request = rpc("GetTask").request(r#"{"id":"t","more":{"id":"x"}}"#).expect("a request");
    let request = rpc("GetTask").asked(&request, None).expect("a message");
    assert_eq!(json_of(&request), json!({"id": "t"}));
    for said in [r#"{"id":7}"#, r#"{"id":"t"} x"#, "[]"] {
        assert!(matches!(rpc("GetTask").request(said), Err(Fault::Unreadable(_))), "{said}");
    }
    let answer = rpc("GetTask").answer(r#"{"id":"t","kind":"task","status":{"state":"TASK_STATE_NEW"}}"#);
    let answer = rpc("GetTask").answered(&answer.expect("an answer")).expect("a message");
    assert_eq!(json_of(&answer)["id"], "t", "{answer}");
}
