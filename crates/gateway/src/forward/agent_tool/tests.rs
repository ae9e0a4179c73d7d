use serde_json::{Value, json};

use super::result::{Followed, of_answer};

fn texts(result: &Value) -> Vec<&str> {
    let blocks = result["content"].as_array().expect("content");
    blocks.iter().filter_map(|block| block["text"].as_str()).collect()
}

fn task(state: &str, more: &Value) -> Value {
    let mut task = json!({"id": "t-1", "contextId": "c-1", "status": {"state": state}});
    for (name, value) in more.as_object().expect("members") {
        task[name] = value.clone();
    }
    json!({"jsonrpc": "2.0", "id": 1, "result": {"task": task}})
}

#[test]
fn a_message_is_its_parts() {
    let parts = json!([
        {"text": "Here."},
        {"data": {"sum": 3}},
        {"url": "https://a.example/x.pdf", "filename": "x.pdf", "mediaType": "application/pdf"},
        {"raw": "AAEC", "mediaType": "image/png"},
        {"raw": "AAEC", "mediaType": "audio/wav"},
        {"raw": "AAEC"},
        {"unknown": 1},
        7,
    ]);
    let message = json!({"result": {"message": {"messageId": "m", "contextId": "c-1", "parts": parts}}});
    let result = of_answer(&message);
    assert_eq!(
        result["content"],
        json!([
            {"type": "text", "text": "Here."},
            {"type": "text", "text": "{\"sum\":3}"},
            {"type": "resource_link", "uri": "https://a.example/x.pdf", "name": "x.pdf", "mimeType": "application/pdf"},
            {"type": "image", "data": "AAEC", "mimeType": "image/png"},
            {"type": "audio", "data": "AAEC", "mimeType": "audio/wav"},
            {"type": "resource", "resource": {"uri": "a2a:part/6", "blob": "AAEC", "mimeType": "application/octet-stream"}},
        ])
    );
    let structure = json!({"state": "completed", "contextId": "c-1", "data": [{"sum": 3}]});
    assert_eq!((&result["structuredContent"], &result["isError"]), (&structure, &json!(false)));
}

#[test]
fn a_task_says_how_it_stands_and_how_to_go_on() {
    let artifacts = json!([{"artifactId": "a", "parts": [{"text": "one"}]}, {"artifactId": "b", "parts": [{"text": "two"}]}]);
    let done = of_answer(&task("TASK_STATE_COMPLETED", &json!({"artifacts": artifacts})));
    assert_eq!((texts(&done), &done["isError"]), (vec!["one", "two"], &json!(false)));
    let asks = |state: &str| {
        let message = json!({"parts": [{"text": "Which account?"}]});
        task(state, &json!({"status": {"state": state, "message": message}}))
    };
    for (state, is_error, says) in [
        ("TASK_STATE_INPUT_REQUIRED", true, "asks for more"),
        ("TASK_STATE_AUTH_REQUIRED", true, "until somebody agrees"),
        ("TASK_STATE_WORKING", false, "goes on"),
        ("TASK_STATE_FAILED", true, "ended without"),
        ("TASK_STATE_REJECTED", true, "ended without"),
        ("TASK_STATE_CANCELED", true, "ended without"),
        ("something new", true, "ended without"),
    ] {
        let result = of_answer(&asks(state));
        let texts = texts(&result);
        assert_eq!((texts[0], &result["isError"]), ("Which account?", &json!(is_error)), "{state}");
        assert!(texts[1].contains(says) && texts[1].contains("taskId t-1"), "{texts:?}");
        assert_eq!(result["structuredContent"]["taskId"], json!("t-1"));
        assert_eq!(result["structuredContent"]["contextId"], json!("c-1"));
    }
    let asked_for = json!({"result": {"id": "t-1", "status": {"state": "TASK_STATE_WORKING"}}});
    assert_eq!(of_answer(&asked_for)["structuredContent"], json!({"state": "working", "taskId": "t-1"}));
    let nothing = of_answer(&task("TASK_STATE_COMPLETED", &json!({})));
    assert_eq!(texts(&nothing), ["The agent answered without content (state completed)."]);
}

#[test]
fn what_is_no_answer_is_an_error() {
    for (answer, says) in [
        (json!({"error": {"code": -32603, "message": "no"}}), "error -32603: no"),
        (json!({"error": 7}), "no reason was given"),
        (json!({"result": {}}), "neither a message nor a task"),
        (json!({"result": []}), "neither a message nor a task"),
        (json!([]), "neither a message nor a task"),
    ] {
        let result = of_answer(&answer);
        assert_eq!(result["isError"], json!(true));
        assert!(texts(&result)[0].contains(says), "{result}");
    }
}

/// Attack: an agent has the client of a tool open a file of its own, or run a script.
#[test]
fn a_link_is_one_of_the_web() {
    for (url, is_link) in
        [("HTTPS://a.example/x", true), ("file:///etc/passwd", false), ("javascript:alert(1)", false)]
    {
        let result = of_answer(&json!({"result": {"message": {"parts": [{"url": url}]}}}));
        let kind = if is_link { "resource_link" } else { "text" };
        assert_eq!(result["content"][0]["type"], json!(kind), "{url}");
    }
}

#[test]
fn what_is_null_is_not_there() {
    let done = json!({"message": {"parts": [{"text": "done"}]}, "task": null});
    let answer = json!({"result": done, "error": null});
    assert_eq!(texts(&of_answer(&answer)), ["done"]);
    let mut task = task("TASK_STATE_COMPLETED", &json!({"artifacts": [{"parts": [{"text": "one"}]}]}));
    (task["result"]["message"], task["error"]) = (Value::Null, Value::Null);
    assert_eq!(texts(&of_answer(&task)), ["one"]);
    let mut followed = Followed::default();
    assert!(followed.take(task).is_some());
    assert_eq!(texts(&followed.result().expect("a result")), ["one"]);
}

/// Attack: a stream of artifacts, each of which is looked for among all before it.
#[test]
fn so_many_artifacts_are_in_a_result() {
    let mut followed = Followed::default();
    for number in 0..3_000 {
        let artifact = json!({"artifactId": number.to_string(), "parts": [{"text": "x"}]});
        let update = json!({"taskId": "t-1", "contextId": "c-1", "artifact": artifact});
        followed.take(json!({"result": {"artifactUpdate": update}}));
    }
    let result = followed.result().expect("a result");
    // And one that says that the task goes on.
    assert!((1_000..=1_001).contains(&texts(&result).len()), "{}", texts(&result).len());
}

#[test]
fn a_stream_is_progress_and_then_the_task_that_it_tells_of() {
    let told = |result: Value| json!({"jsonrpc": "2.0", "id": 1, "result": result});
    let status = |state: &str, text: &str| {
        let message = json!({"parts": [{"text": text}]});
        told(
            json!({"statusUpdate": {"taskId": "t-1", "contextId": "c-1", "status": {"state": state, "message": message}}}),
        )
    };
    let artifact = |parts: Value, append: bool| {
        let artifact = json!({"artifactId": "a", "name": "report", "parts": parts});
        told(
            json!({"artifactUpdate": {"taskId": "t-1", "contextId": "c-1", "artifact": artifact, "append": append}}),
        )
    };
    let mut followed = Followed::default();
    let events = [
        status("TASK_STATE_WORKING", "half"),
        artifact(json!([{"text": "one"}]), false),
        artifact(json!([{"text": "two"}]), true),
        artifact(json!([{"text": "lost"}, 7]), true),
        artifact(json!([{"text": "three"}]), false),
        artifact(json!([{"text": "four"}]), true),
        told(json!({"else": 1})),
        told(json!({"statusUpdate": {"taskId": "t-1", "status": {"state": "TASK_STATE_COMPLETED"}}})),
    ];
    let words: Vec<String> = events.into_iter().filter_map(|event| followed.take(event)).collect();
    assert_eq!(words.first().map(String::as_str), Some("half"));
    assert_eq!(words.last().map(String::as_str), Some("completed"));
    assert_eq!(words[1], "artifact report");
    let result = followed.result().expect("a result");
    // A whole artifact takes the place of what came of it before.
    assert_eq!((texts(&result), &result["isError"]), (vec!["three", "four"], &json!(false)));
    assert_eq!(
        result["structuredContent"],
        json!({"state": "completed", "taskId": "t-1", "contextId": "c-1"})
    );
    // A message ends it, and so does an error; nothing at all is no result.
    let mut followed = Followed::default();
    followed.take(status("TASK_STATE_WORKING", "half"));
    followed.take(told(json!({"message": {"parts": [{"text": "done"}]}})));
    assert_eq!(texts(&followed.result().expect("a result")), ["done"]);
    let mut followed = Followed::default();
    assert_eq!(followed.take(json!({"error": {"code": -32000, "message": "cut"}})), None);
    assert_eq!(followed.result().expect("a result")["isError"], json!(true));
    assert!(Followed::default().result().is_none());
}
