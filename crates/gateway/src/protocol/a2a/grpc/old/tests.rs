use super::super::super::METHODS as KNOWN;
use super::super::OLD_SERVICE;
use super::super::schema::Rpc;
use super::*;

fn rpc(name: &str) -> &'static Rpc {
    Rpc::named(&format!("{OLD_SERVICE}/{name}")).expect("a method")
}

/// What a request, as the schema has it in JSON, asks in JSON-RPC: over the bytes that go over gRPC.
fn asked(name: &str, said: &Value) -> Result<Value, Fault> {
    let bytes = rpc(name).request(&said.to_string()).expect("a request");
    rpc(name).asked(&bytes, None).map(|asked| serde_json::from_str(&asked).expect("JSON"))
}

/// What a result of JSON-RPC is in the schema's JSON, over the bytes that go over gRPC.
fn answered(name: &str, result: &Value) -> Value {
    let bytes = rpc(name).answer(&result.to_string()).expect("an answer");
    // Read as it is: the way back of another version is not asked for.
    serde_json::from_str(&rpc(name).answered(&bytes).expect("a message")).expect("JSON")
}

#[test]
fn each_method_is_one_of_json_rpc() {
    for method in &METHODS {
        assert!(KNOWN.iter().any(|(old, ..)| *old == method.rpc), "{method:?}");
        rpc(method.name);
    }
    assert!(Method::named("ListTasks").is_none());
}

#[test]
fn a_message_is_said_in_the_words_of_json_rpc() {
    let said = json!({
        "message": {"messageId": "m", "contextId": "c", "taskId": "t", "role": "ROLE_USER",
            "content": [{"text": "é", "metadata": {"a": 1.5}},
                {"file": {"fileWithUri": "https://h/x", "mimeType": "image/png", "name": "x"}},
                {"file": {"fileWithBytes": "AP8="}},
                {"data": {"data": {"kind": "own", "n": [true]}}}],
            "metadata": {"skill": "pay", "content": "own", "role": "ROLE_USER"}, "extensions": ["e"]},
        "configuration": {"acceptedOutputModes": ["text/plain"], "historyLength": 2,
            "pushNotification": {"url": "https://h/", "token": "x", "authentication": {"schemes": ["Bearer"]}}},
        "metadata": {"b": "c"},
    });
    let expected = json!({
        "message": {"kind": "message", "messageId": "m", "contextId": "c", "taskId": "t", "role": "user",
            "parts": [{"kind": "text", "text": "é", "metadata": {"a": 1.5}},
                {"kind": "file", "file": {"uri": "https://h/x", "mimeType": "image/png", "name": "x"}},
                {"kind": "file", "file": {"bytes": "AP8="}},
                {"kind": "data", "data": {"kind": "own", "n": [true]}}],
            "metadata": {"skill": "pay", "content": "own", "role": "ROLE_USER"}, "extensions": ["e"]},
        "configuration": {"acceptedOutputModes": ["text/plain"], "historyLength": 2, "blocking": false,
            "pushNotificationConfig": {"url": "https://h/", "token": "x", "authentication": {"schemes": ["Bearer"]}}},
        "metadata": {"b": "c"},
    });
    for name in ["SendMessage", "SendStreamingMessage"] {
        assert_eq!(asked(name, &said), Ok(expected.clone()));
    }
    // What protobuf does not write is what it stands for.
    let short =
        json!({"message": {"messageId": "m", "role": "ROLE_AGENT", "content": [{"data": {}}, {"text": ""}]}});
    let parts = json!([{"kind": "data", "data": {}}, {"kind": "text", "text": ""}]);
    let expected = json!({"message": {"kind": "message", "messageId": "m", "role": "agent", "parts": parts}});
    assert_eq!(asked("SendMessage", &short), Ok(expected));
}

#[test]
fn what_is_asked_of_a_task_names_it_by_its_id() {
    let config = json!({"url": "https://h/"});
    for (name, said, expected) in [
        ("GetTask", json!({"name": "tasks/t", "historyLength": 3}), json!({"id": "t", "historyLength": 3})),
        ("CancelTask", json!({"name": "tasks/t"}), json!({"id": "t"})),
        ("TaskSubscription", json!({"name": "tasks/t"}), json!({"id": "t"})),
        (
            "GetTaskPushNotificationConfig",
            json!({"name": "tasks/t/pushNotificationConfigs/c"}),
            json!({"id": "t", "pushNotificationConfigId": "c"}),
        ),
        (
            "DeleteTaskPushNotificationConfig",
            json!({"name": "tasks/t/pushNotificationConfigs/c"}),
            json!({"id": "t", "pushNotificationConfigId": "c"}),
        ),
        ("ListTaskPushNotificationConfig", json!({"parent": "tasks/t", "pageSize": 3}), json!({"id": "t"})),
        (
            "CreateTaskPushNotificationConfig",
            json!({"parent": "tasks/t", "configId": "c", "config": {"pushNotificationConfig": config}}),
            json!({"taskId": "t", "pushNotificationConfig": {"url": "https://h/", "id": "c"}}),
        ),
        (
            "CreateTaskPushNotificationConfig",
            json!({"parent": "tasks/t/pushNotificationConfigs",
                "config": {"name": "tasks/t/pushNotificationConfigs/None", "pushNotificationConfig": config}}),
            json!({"taskId": "t", "pushNotificationConfig": config}),
        ),
        ("GetAgentCard", json!({}), json!({})),
    ] {
        assert_eq!(asked(name, &said), Ok(expected), "{name}");
    }
}

/// Attacks: a name that leads to something else than what is decided on, or that says two things.
#[test]
fn a_name_that_is_none_of_what_is_asked_for_is_refused() {
    for name in [
        "",
        "t",
        "tasks/",
        "task/t",
        "tasks/t/",
        "tasks//t",
        "tasks/t/x",
        "tasks/t/pushNotificationConfigs/c",
        "TASKS/t",
    ] {
        for method in ["GetTask", "CancelTask", "TaskSubscription"] {
            assert!(asked(method, &json!({"name": name})).is_err(), "{method} {name}");
        }
    }
    for name in [
        "",
        "tasks/t",
        "tasks/t/pushNotificationConfigs",
        "tasks/t/pushNotificationConfigs/",
        "tasks//pushNotificationConfigs/c",
        "tasks/t/pushNotificationConfigsc",
        "tasks/t/c",
        "tasks/t/pushNotificationConfigs/c/d",
        "tasks/t/other/pushNotificationConfigs/c",
    ] {
        for method in ["GetTaskPushNotificationConfig", "DeleteTaskPushNotificationConfig"] {
            assert!(asked(method, &json!({"name": name})).is_err(), "{method} {name}");
        }
    }
    for said in [
        json!({"config": {}}),
        json!({"parent": "tasks/t/other", "config": {}}),
        json!({"parent": "tasks/t", "config": {"name": "tasks/u/pushNotificationConfigs/c"}}),
        json!({"parent": "tasks/t", "configId": "c", "config": {"pushNotificationConfig": {"id": "d"}}}),
    ] {
        assert!(asked("CreateTaskPushNotificationConfig", &said).is_err(), "{said}");
    }
}

#[test]
fn a_result_is_said_in_the_words_of_the_schema() {
    let message = |role: &str| {
        json!({"kind": "message", "messageId": "m", "taskId": "t", "role": role, "parts": [
            {"kind": "text", "text": "x"}, {"kind": "file", "file": {"bytes": "AP8=", "mimeType": "a/b"}},
            {"kind": "data", "data": {"n": 1.5}}]})
    };
    let said = |role: &str| {
        json!({"messageId": "m", "taskId": "t", "role": role, "content": [
            {"text": "x"}, {"file": {"fileWithBytes": "AP8=", "mimeType": "a/b"}}, {"data": {"data": {"n": 1.5}}}]})
    };
    let task = json!({"kind": "task", "id": "t", "contextId": "c",
        "status": {"state": "input-required", "message": message("agent"), "timestamp": "2026-01-02T03:04:05Z"},
        "artifacts": [{"artifactId": "a", "name": "n", "parts": [{"kind": "text", "text": "y"}]}],
        "history": [message("user")], "metadata": {"k": "v"}});
    let as_said = json!({"id": "t", "contextId": "c",
        "status": {"state": "TASK_STATE_INPUT_REQUIRED", "message": said("ROLE_AGENT"), "timestamp": "2026-01-02T03:04:05Z"},
        "artifacts": [{"artifactId": "a", "name": "n", "parts": [{"text": "y"}]}],
        "history": [said("ROLE_USER")], "metadata": {"k": "v"}});
    let update = json!({"kind": "status-update", "taskId": "t", "contextId": "c", "final": true, "status": {"state": "canceled"}});
    let artifact = json!({"kind": "artifact-update", "taskId": "t", "contextId": "c", "append": true, "lastChunk": true,
        "artifact": {"artifactId": "a", "parts": [{"kind": "text", "text": "y"}]}});
    let config = json!({"taskId": "t", "pushNotificationConfig": {"id": "c", "url": "https://h/"}});
    let named = json!({"name": "tasks/t/pushNotificationConfigs/c", "pushNotificationConfig": {"id": "c", "url": "https://h/"}});
    for (name, result, expected) in [
        ("SendMessage", task.clone(), json!({"task": as_said})),
        ("SendMessage", message("agent"), json!({"message": said("ROLE_AGENT")})),
        ("GetTask", task.clone(), as_said.clone()),
        ("TaskSubscription", task, json!({"task": as_said})),
        (
            "SendStreamingMessage",
            update,
            json!({"statusUpdate": {"taskId": "t", "contextId": "c", "final": true, "status": {"state": "TASK_STATE_CANCELLED"}}}),
        ),
        (
            "SendStreamingMessage",
            artifact,
            json!({"artifactUpdate": {"taskId": "t", "contextId": "c", "append": true, "lastChunk": true,
                "artifact": {"artifactId": "a", "parts": [{"text": "y"}]}}}),
        ),
        ("GetTaskPushNotificationConfig", config.clone(), named.clone()),
        ("ListTaskPushNotificationConfig", json!([config]), json!({"configs": [named]})),
        ("DeleteTaskPushNotificationConfig", json!(null), json!({})),
        (
            "GetAgentCard",
            json!({"name": "b", "url": "http://gw/", "protocolVersion": "0.3.0", "supportedInterfaces": [{"url": "x"}],
                "signatures": [{"protected": "p", "signature": "s"}]}),
            json!({"name": "b", "url": "http://gw/", "protocolVersion": "0.3.0", "signatures": [{"protected": "p", "signature": "s"}]}),
        ),
    ] {
        assert_eq!(answered(name, &result), expected, "{name}");
    }
    for (name, result) in
        [("GetTask", "7"), ("GetTask", "{"), ("ListTaskPushNotificationConfig", "{}"), ("SendMessage", "[]")]
    {
        assert!(rpc(name).answer(result).is_err(), "{name} {result}");
    }
}

/// ISO 8601 lets a time have no offset; the schema does not.
#[test]
fn a_time_without_an_offset_is_one_of_utc() {
    for (time, expected) in [
        ("2026-01-02T03:04:05", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05.123456", "2026-01-02T03:04:05.123456Z"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05Z"),
        ("2026-01-02T03:04:05-02:00", "2026-01-02T05:04:05Z"),
    ] {
        let status = json!({"state": "working", "timestamp": time});
        let task = json!({"kind": "task", "id": "t", "contextId": "c", "status": status});
        assert_eq!(answered("GetTask", &task)["status"]["timestamp"], expected, "{time}");
    }
    for time in ["yesterday", "2026-01-02", "2026-01-02 03:04:05", "Today", "T"] {
        let task = json!({"kind": "task", "id": "t", "status": {"timestamp": time}});
        assert!(rpc("GetTask").answer(&task.to_string()).is_err(), "{time}");
    }
}
