//! What one version says, in the words of the other.

use serde_json::{Value, json};

use super::*;

fn crossed(to: A2aVersion, method: &str) -> Crossed {
    Crossed { row: Row::of(method).expect("a method of both"), to }
}

/// What goes on of a request, and the code of what does not.
fn asked(to: A2aVersion, method: &str, params: &Value) -> Result<Value, Code> {
    let message = json!({"jsonrpc": "2.0", "id": "own", "method": method, "params": params}).to_string();
    let (sent, _) = request(message.as_bytes(), to).map_err(|refusal| refusal.code)?;
    let sent: Value = serde_json::from_slice(&sent).expect("JSON");
    assert_eq!((&sent["jsonrpc"], &sent["id"]), (&json!("2.0"), &json!("own")));
    Ok(json!([sent["method"], sent["params"]]))
}

/// What a caller is told of a result, and the code of what it is not told.
fn told(to: A2aVersion, method: &str, result: &Value) -> Result<Value, Code> {
    let response = json!({"jsonrpc": "2.0", "id": 7, "result": result}).to_string();
    let said = crossed(to, method).response(&response).map_err(|refusal| refusal.code)?;
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&said["jsonrpc"], &said["id"]), (&json!("2.0"), &json!(7)));
    Ok(said["result"].clone())
}

const OLD: A2aVersion = A2aVersion::V0_3;
const NEW: A2aVersion = A2aVersion::V1_0;

fn new_message() -> Value {
    json!({"messageId": "m", "contextId": "c", "taskId": "t", "role": "ROLE_USER", "metadata": {"skill": "s", "n": 1.50},
    "extensions": ["e"], "referenceTaskIds": ["r"], "parts": [
        {"text": "x", "metadata": {"a": 1}}, {"data": {"kind": "text", "n": [1]}}, {"raw": "eA==", "mediaType": "a/b", "filename": "f"},
        {"url": "https://h/", "mediaType": "a/b"}]})
}

fn old_message() -> Value {
    json!({"kind": "message", "messageId": "m", "contextId": "c", "taskId": "t", "role": "user", "metadata": {"skill": "s", "n": 1.50},
    "extensions": ["e"], "referenceTaskIds": ["r"], "parts": [
        {"kind": "text", "text": "x", "metadata": {"a": 1}}, {"kind": "data", "data": {"kind": "text", "n": [1]}},
        {"kind": "file", "file": {"bytes": "eA==", "mimeType": "a/b", "name": "f"}},
        {"kind": "file", "file": {"uri": "https://h/", "mimeType": "a/b"}}]})
}

#[test]
fn what_both_versions_can_say_is_the_same_there_and_back() {
    let (new_push, old_push) = (
        json!({"id": "c", "url": "https://h/", "token": "t", "authentication": {"scheme": "Basic", "credentials": "x"}}),
        json!({"id": "c", "url": "https://h/", "token": "t", "authentication": {"schemes": ["Basic"], "credentials": "x"}}),
    );
    let of_task = |mut push: Value| {
        push["taskId"] = json!("t");
        push
    };
    for (new, new_params, old, old_params) in [
        (
            "SendMessage",
            json!({"message": new_message(), "metadata": {"m": 1}, "configuration": {"acceptedOutputModes": ["a/b"],
                "historyLength": 2, "returnImmediately": true, "taskPushNotificationConfig": new_push}}),
            "message/send",
            json!({"message": old_message(), "metadata": {"m": 1}, "configuration": {"acceptedOutputModes": ["a/b"],
                "historyLength": 2, "blocking": false, "pushNotificationConfig": old_push}}),
        ),
        (
            "SendStreamingMessage",
            json!({"message": new_message()}),
            "message/stream",
            json!({"message": old_message()}),
        ),
        (
            "GetTask",
            json!({"id": "t", "historyLength": 0}),
            "tasks/get",
            json!({"id": "t", "historyLength": 0}),
        ),
        (
            "CancelTask",
            json!({"id": "t", "metadata": {"a": 1}}),
            "tasks/cancel",
            json!({"id": "t", "metadata": {"a": 1}}),
        ),
        ("SubscribeToTask", json!({"id": "t"}), "tasks/resubscribe", json!({"id": "t"})),
        (
            "CreateTaskPushNotificationConfig",
            of_task(new_push.clone()),
            "tasks/pushNotificationConfig/set",
            json!({"taskId": "t", "pushNotificationConfig": old_push}),
        ),
        (
            "GetTaskPushNotificationConfig",
            json!({"taskId": "t", "id": "c"}),
            "tasks/pushNotificationConfig/get",
            json!({"id": "t", "pushNotificationConfigId": "c"}),
        ),
        (
            "ListTaskPushNotificationConfigs",
            json!({"taskId": "t"}),
            "tasks/pushNotificationConfig/list",
            json!({"id": "t"}),
        ),
        (
            "DeleteTaskPushNotificationConfig",
            json!({"taskId": "t", "id": "c"}),
            "tasks/pushNotificationConfig/delete",
            json!({"id": "t", "pushNotificationConfigId": "c"}),
        ),
        ("GetExtendedAgentCard", json!({}), "agent/getAuthenticatedExtendedCard", json!({})),
    ] {
        assert_eq!(asked(OLD, new, &new_params), Ok(json!([old, old_params])), "{new}");
        assert_eq!(asked(NEW, old, &old_params), Ok(json!([new, new_params])), "{old}");
    }
    let status = |state: &str, message: Value| json!({"state": state, "message": message, "timestamp": "2026-11-29T12:00:00Z"});
    let artifact = |parts: Value| json!({"artifactId": "a", "name": "n", "description": "d", "parts": parts, "metadata": {}, "extensions": ["e"]});
    let (new_parts, old_parts) = (new_message()["parts"].clone(), old_message()["parts"].clone());
    let new_task = json!({"id": "t", "contextId": "c", "status": status("TASK_STATE_WORKING", new_message()), "metadata": {"m": 1},
        "artifacts": [artifact(new_parts.clone())], "history": [new_message()]});
    let old_task = json!({"kind": "task", "id": "t", "contextId": "c", "status": status("working", old_message()), "metadata": {"m": 1},
        "artifacts": [artifact(old_parts.clone())], "history": [old_message()]});
    for (method, new, old) in [
        ("GetTask", new_task.clone(), old_task.clone()),
        ("SendMessage", json!({"task": new_task}), old_task),
        ("SendStreamingMessage", json!({"message": new_message()}), old_message()),
        (
            "SubscribeToTask",
            json!({"statusUpdate": {"taskId": "t", "contextId": "c", "status": status("TASK_STATE_COMPLETED", new_message())}}),
            json!({"kind": "status-update", "final": true, "taskId": "t", "contextId": "c", "status": status("completed", old_message())}),
        ),
        (
            "SubscribeToTask",
            json!({"artifactUpdate": {"taskId": "t", "contextId": "c", "artifact": artifact(new_parts), "append": true, "lastChunk": false}}),
            json!({"kind": "artifact-update", "taskId": "t", "contextId": "c", "artifact": artifact(old_parts), "append": true, "lastChunk": false}),
        ),
        (
            "GetTaskPushNotificationConfig",
            of_task(new_push.clone()),
            json!({"taskId": "t", "pushNotificationConfig": old_push}),
        ),
        (
            "ListTaskPushNotificationConfigs",
            json!({"configs": [of_task(new_push)]}),
            json!([{"taskId": "t", "pushNotificationConfig": old_push}]),
        ),
        ("DeleteTaskPushNotificationConfig", json!({}), json!(null)),
        ("GetExtendedAgentCard", json!({"name": "b"}), json!({"name": "b"})),
    ] {
        assert_eq!(told(OLD, method, &new), Ok(old.clone()), "{method}");
        assert_eq!(told(NEW, method, &old), Ok(new), "{method}");
    }
}

/// As a2a-sdk 0.3 answers.
#[test]
fn that_a_configuration_is_deleted_is_said_without_a_result_too() {
    let bare = json!({"jsonrpc": "2.0", "id": 7}).to_string();
    for (to, nothing) in [(NEW, json!({})), (OLD, json!(null))] {
        let said = crossed(to, "DeleteTaskPushNotificationConfig").response(&bare).expect("a response");
        let said: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(said, json!({"jsonrpc": "2.0", "id": 7, "result": nothing}));
        let refused = crossed(to, "GetTask").response(&bare).map_err(|refusal| refusal.code);
        assert_eq!(refused, Err(Code::UpstreamInvalid), "what says something has a result");
    }
}

#[test]
fn every_state_and_role_has_its_word() {
    for (new, old, is_final) in [
        ("TASK_STATE_SUBMITTED", "submitted", false),
        ("TASK_STATE_WORKING", "working", false),
        ("TASK_STATE_INPUT_REQUIRED", "input-required", false),
        ("TASK_STATE_AUTH_REQUIRED", "auth-required", false),
        ("TASK_STATE_UNSPECIFIED", "unknown", false),
        ("TASK_STATE_COMPLETED", "completed", true),
        ("TASK_STATE_CANCELED", "canceled", true),
        ("TASK_STATE_FAILED", "failed", true),
        ("TASK_STATE_REJECTED", "rejected", true),
    ] {
        let update = json!({"statusUpdate": {"taskId": "t", "contextId": "c", "status": {"state": new}}});
        let said = json!({"kind": "status-update", "final": is_final, "taskId": "t", "contextId": "c", "status": {"state": old}});
        assert_eq!(told(OLD, "SubscribeToTask", &update), Ok(said.clone()), "{new}");
        assert_eq!(told(NEW, "SubscribeToTask", &said), Ok(update), "{old}");
    }
    // What protobuf's JSON leaves out, and 0.3 has to have.
    assert_eq!(
        told(OLD, "GetTask", &json!({"id": "t"})),
        Ok(json!({"kind": "task", "id": "t", "contextId": "", "status": {"state": "unknown"}}))
    );
    // Some agents of 0.3 leave out the kind, and the offset of a time.
    let bare = json!({"id": "t", "status": {"state": "working", "timestamp": "2026-11-29T12:00:00"}});
    let status = json!({"state": "TASK_STATE_WORKING", "timestamp": "2026-11-29T12:00:00Z"});
    assert_eq!(told(NEW, "SendMessage", &bare), Ok(json!({"task": {"id": "t", "status": status}})));
}

/// Attack: what the agent would read and nobody decided on, under a name that the caller's version does not have.
#[test]
fn what_is_not_of_the_callers_version_does_not_go_on() {
    let message = |version: A2aVersion, more: Value| {
        let mut message = if version == NEW { new_message() } else { old_message() };
        for (name, value) in more.as_object().expect("an object") {
            message[name] = value.clone();
        }
        json!({"message": message})
    };
    for (to, method, params) in [
        (NEW, "message/send", message(OLD, json!({"more": 1}))),
        (NEW, "message/send", message(OLD, json!({"kind": "task"}))),
        (NEW, "message/send", message(OLD, json!({"role": "ROLE_USER"}))),
        (NEW, "message/send", message(OLD, json!({"parts": [{"text": "x"}]}))),
        (NEW, "message/send", message(OLD, json!({"parts": [{"kind": "text", "text": "x", "data": {}}]}))),
        (
            NEW,
            "message/send",
            message(OLD, json!({"parts": [{"kind": "text", "text": "x", "url": "https://h/"}]})),
        ),
        (
            NEW,
            "message/send",
            message(OLD, json!({"parts": [{"kind": "file", "file": {"uri": "u", "bytes": "b"}}]})),
        ),
        (NEW, "message/send", message(OLD, json!({"parts": [{"kind": "file"}]}))),
        (NEW, "message/send", message(OLD, json!({"parts": ["x"]}))),
        (NEW, "message/send", json!({"message": old_message(), "tenant": "x"})),
        (
            NEW,
            "message/send",
            json!({"message": old_message(), "configuration": {"returnImmediately": true}}),
        ),
        (
            NEW,
            "message/send",
            json!({"message": old_message(), "configuration": {"taskPushNotificationConfig": {"url": "u"}}}),
        ),
        (NEW, "tasks/get", json!({"id": "t", "taskId": "u"})),
        (NEW, "tasks/pushNotificationConfig/set", json!({"taskId": "t", "url": "https://h/"})),
        (OLD, "SendMessage", message(NEW, json!({"kind": "message"}))),
        (OLD, "SendMessage", message(NEW, json!({"role": "user"}))),
        (OLD, "SendMessage", message(NEW, json!({"parts": [{"text": "x", "url": "u"}]}))),
        (OLD, "SendMessage", message(NEW, json!({"parts": [{"metadata": {}}]}))),
        (OLD, "SendMessage", json!({"message": new_message(), "configuration": {"blocking": true}})),
        (OLD, "SendMessage", json!({"message": [new_message()]})),
        // By no name at all, which stands in the table for what the version does not have.
        (OLD, "GetTask", json!({"id": "t", "": {"a": 1}})),
        (NEW, "tasks/get", json!({"id": "t", "": "other"})),
    ] {
        assert_eq!(asked(to, method, &params), Err(Code::MessageInvalid), "{method} {params}");
    }
    let next = no_equivalent(String::new()).next();
    assert!(next.contains("A2A") && !next.contains("model"), "{next}");
    for (to, method, params) in [
        (NEW, "tasks/get", json!({"id": "t", "metadata": {"a": 1}})),
        (
            NEW,
            "tasks/pushNotificationConfig/set",
            json!({"taskId": "t", "pushNotificationConfig": {"url": "u", "authentication": {"schemes": ["Basic", "Bearer"]}}}),
        ),
        (OLD, "SendMessage", message(NEW, json!({"parts": [{"data": [1]}]}))),
        (OLD, "SendMessage", message(NEW, json!({"parts": [{"text": "x", "mediaType": "text/markdown"}]}))),
        (OLD, "GetTask", json!({"id": "t", "tenant": "x"})),
        (OLD, "ListTaskPushNotificationConfigs", json!({"taskId": "t", "pageSize": 5})),
    ] {
        assert_eq!(asked(to, method, &params), Err(Code::NoEquivalent), "{method} {params}");
    }
    // What says nothing is lost by nobody.
    for (to, method, params) in [
        (NEW, "tasks/get", json!({"id": "t", "metadata": {}, "historyLength": null})),
        (
            OLD,
            "SendMessage",
            message(
                NEW,
                json!({"taskId": "", "parts": [{"text": "x", "mediaType": "text/plain", "filename": ""}]}),
            ),
        ),
        (
            OLD,
            "ListTaskPushNotificationConfigs",
            json!({"taskId": "t", "pageSize": 0, "pageToken": "", "tenant": ""}),
        ),
    ] {
        assert!(asked(to, method, &params).is_ok(), "{method} {params}");
    }
}

#[test]
fn of_an_answer_what_the_other_version_has_not_is_left_out() {
    let part = |part: Value| json!({"messageId": "m", "role": "ROLE_AGENT", "parts": [part]});
    let said = |part: Value| {
        told(OLD, "SendMessage", &json!({"message": part})).map(|message| message["parts"][0].clone())
    };
    assert_eq!(
        said(part(json!({"text": "x", "mediaType": "text/markdown", "more": 1}))),
        Ok(json!({"kind": "text", "text": "x"}))
    );
    let wrapped =
        json!({"kind": "data", "data": {"value": [1, "x"]}, "metadata": {"data_part_compat": true, "a": 1}});
    assert_eq!(said(part(json!({"data": [1, "x"], "metadata": {"a": 1}}))), Ok(wrapped));
    let nothing = json!({"kind": "data", "data": {"value": null}, "metadata": {"data_part_compat": true}});
    assert_eq!(said(part(json!({"data": null}))), Ok(nothing));
    assert_eq!(said(part(json!({"data": null, "text": "x"}))), Ok(json!({"kind": "text", "text": "x"})));
    assert_eq!(said(part(json!({"text": null}))), Err(Code::UpstreamInvalid));
    assert_eq!(said(part(json!({"data": {}, "text": "x"}))), Err(Code::UpstreamInvalid));
    for (to, method, result) in [
        (OLD, "SendMessage", json!({})),
        (OLD, "SendMessage", json!({"task": {"id": "t"}, "message": {}})),
        (OLD, "GetTask", json!({"id": "t", "status": {"state": "TASK_STATE_OTHER"}})),
        (OLD, "GetTask", json!([])),
        // What is not all of them must not look so.
        (OLD, "ListTaskPushNotificationConfigs", json!({"configs": [], "nextPageToken": "p"})),
        (NEW, "SendMessage", json!({"kind": "other"})),
        (NEW, "ListTaskPushNotificationConfigs", json!({})),
    ] {
        assert_eq!(told(to, method, &result), Err(Code::UpstreamInvalid), "{method} {result}");
    }
    for no in [
        "",
        "[]",
        "{}",
        r#"{"id":1}"#,
        r#"{"result":{},"result":{}}"#,
        r#"{"error":7}"#,
        r#"{"error":{"code":"x"}}"#,
    ] {
        assert!(crossed(OLD, "GetTask").response(no).is_err(), "{no}");
    }
}

#[test]
fn an_error_has_its_number_and_what_the_version_has_for_programs() {
    let error = |to: A2aVersion, error: Value| -> Value {
        let response = json!({"jsonrpc": "2.0", "id": 1, "error": error}).to_string();
        let said = crossed(to, "GetTask").response(&response).expect("an error");
        serde_json::from_str::<Value>(&said).expect("JSON")["error"].clone()
    };
    let info = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "TASK_NOT_FOUND", "domain": "a2a-protocol.org",
        "metadata": {"taskId": "t"}});
    let (new, old) = (
        json!({"code": -32001, "message": "m", "data": [info]}),
        json!({"code": -32001, "message": "m", "data": {"taskId": "t"}}),
    );
    assert_eq!(error(NEW, old.clone()), new);
    assert_eq!(error(NEW, new.clone()), new);
    assert_eq!(error(OLD, new), json!({"code": -32001, "message": "m", "data": {"details": [info]}}));
    assert_eq!(error(OLD, old.clone()), old);
    let own = json!({"code": 7, "message": "m", "data": {"a": 1}});
    assert_eq!(error(NEW, own), json!({"code": 7, "message": "m"}));
}

#[test]
fn news_are_told_in_the_version_of_who_asked_for_them() {
    let new = json!({"statusUpdate": {"taskId": "t", "contextId": "c", "status": {"state": "TASK_STATE_COMPLETED"}}}).to_string();
    let old = r#"{"kind":"task","id":"t","contextId":"c","status":{"state":"completed"}}"#;
    let said = |said: &str, to| {
        news(said, to).expect("news").map(|said| serde_json::from_str::<Value>(&said).expect("JSON"))
    };
    let update = json!({"kind": "status-update", "final": true, "taskId": "t", "contextId": "c", "status": {"state": "completed"}});
    assert_eq!((said(&new, OLD), said(&new, NEW)), (Some(update), None));
    let task = json!({"task": {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_COMPLETED"}}});
    assert_eq!((said(old, NEW), said(old, OLD)), (Some(task), None));
    // Attack: news of a task, by what they are looked at for, that would be a message where they go, or name no task.
    for no in [
        r#"{"kind":"message","taskId":"t","status":{},"metadata":{"skill":"pay"}}"#,
        r#"{"kind":"task","taskId":"t","status":{"state":"completed"}}"#,
    ] {
        assert_eq!(task_of_news(no.as_bytes()).as_deref(), Some("t"));
        assert_eq!(news(no, NEW).map_err(|refusal| refusal.code), Err(Code::MessageInvalid), "{no}");
    }
    // News of 1.0 by another spelling are not news of 0.3.
    for no in [
        r#"{"Task":{"id":"t","status":{"state":"TASK_STATE_COMPLETED"}}}"#,
        r#"{"status_update":{"task_id":"t","status":{"state":"TASK_STATE_COMPLETED"}}}"#,
    ] {
        assert_eq!(task_of_news(no.as_bytes()).as_deref(), Some("t"));
        assert_eq!(news(no, OLD).map_err(|refusal| refusal.code), Err(Code::MessageInvalid), "{no}");
    }
}

#[test]
fn numbers_pass_as_they_were_written() {
    let response = r#"{"jsonrpc":"2.0","id":1,"result":{"id":"t","status":{"state":"working"},"metadata":{ "n" : 12345678901234567890123.50 }}}"#;
    let said = crossed(NEW, "GetTask").response(response).expect("a task");
    assert!(said.contains(r#""metadata":{ "n" : 12345678901234567890123.50 }"#), "{said}");
}

#[test]
fn where_a_message_goes_on_is_said_before_its_path() {
    let send =
        json!({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"message": old_message()}});
    let message = Bytes::from(send.to_string());
    let to_rpc = lowered("/:from-0.3/:rpc", &message, None).expect("a message").expect("crosses");
    assert_eq!((&*to_rpc.path, &to_rpc.below), ("", &crate::protocol::Below::Rpc));
    assert_eq!(to_rpc.crossed, Some(crossed(OLD, "SendMessage")));
    let to_rest = lowered("/:from-0.3/:rest", &message, None).expect("a message").expect("crosses");
    assert_eq!((&*to_rest.path, to_rest.crossed.is_some()), ("/message:send", true));
    let to_grpc = lowered("/:from-0.3/lf.a2a.v1.A2AService/SendMessage", &message, None)
        .expect("a message")
        .expect("crosses");
    assert!(matches!(to_grpc.below, crate::protocol::Below::Grpc(_)));
    for path in ["", "/:rpc", "/:rest", "/lf.a2a.v1.A2AService/SendMessage", "/:from-0.3x/:rpc"] {
        assert_eq!(lowered(path, &message, None).expect("no fault"), None, "{path}");
    }
}
