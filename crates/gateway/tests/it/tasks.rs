//! A task belongs to who made it, whatever its server thinks: these servers show every task to everybody and number them from 1.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use vidimus_testkit::upstream::{Answer, Received, Upstream};

use super::world::{World, call_id, json_of, objects, snapshot};

const RELATED: &str = "io.modelcontextprotocol/related-task";

/// How a server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Events,
}

/// A world whose `stranger` may use another tool of the server, and another skill of the agent, than `caller` may.
async fn world() -> World {
    let world = World::new().await;
    let mut given = objects(&world.upstream);
    let last = given.len() - 1;
    given[last]["spec"]["cedar"] = json!(CEDAR);
    world.gate.take_into_use(snapshot(&given));
    world
}

const CEDAR: &str = r#"
    permit (principal == Agent::"t/caller", action == Action::"invokeTool", resource == Tool::"t/tools/echo");
    permit (principal == Agent::"t/stranger", action == Action::"invokeTool", resource == Tool::"t/tools/read");
    permit (principal == Agent::"t/caller", action == Action::"callAgent", resource == Skill::"t/callee/pay");
    permit (principal == Agent::"t/stranger", action == Action::"callAgent", resource == Skill::"t/callee/read");
"#;

/// Answers every question about every task.
fn serve(world: &World, form: Form, answer: fn(&Value, u64) -> Value) {
    let made = Arc::new(Mutex::new(0_u64));
    world.upstream.otherwise(move |received: &Received| {
        let asked = received.json();
        let mut made = made.lock().expect("a lock");
        if matches!(asked["method"].as_str(), Some("tools/call" | "SendMessage" | "message/send")) {
            *made += 1;
        }
        let result = answer(&asked, *made);
        let message = json!({"jsonrpc": "2.0", "id": asked["id"], "result": result});
        match form {
            Form::Json => Answer::json(&message),
            Form::Events => Answer::whole("text/event-stream", format!("id: e-1\ndata: {message}\n\n")),
        }
    });
}

fn mcp(asked: &Value, made: u64) -> Value {
    let task = |id: &Value| json!({"taskId": id, "status": "working", "createdAt": "x", "ttl": 5});
    let id = &asked["params"]["taskId"];
    match asked["method"].as_str().unwrap_or_default() {
        "tools/call" => json!({"task": task(&json!(made.to_string()))}),
        "tasks/list" => {
            let all: Vec<Value> = (1..=made).map(|id| task(&json!(id.to_string()))).collect();
            json!({"tasks": all})
        }
        "tasks/result" => json!({"content": [], "_meta": {RELATED: {"taskId": id}}}),
        _ => task(id),
    }
}

fn a2a(asked: &Value, made: u64) -> Value {
    let params = &asked["params"];
    let context = params["message"]["contextId"].as_str().unwrap_or("ctx").to_owned();
    let task = |id: &Value| {
        json!({"id": id, "contextId": context, "status": {"state": "TASK_STATE_WORKING",
            "message": {"messageId": "m", "taskId": id, "contextId": context, "parts": [{"text": "1"}]}},
            "history": [{"messageId": "u", "taskId": id, "contextId": context}]})
    };
    match asked["method"].as_str().unwrap_or_default() {
        "SendMessage" => json!({"task": task(&json!(made.to_string()))}),
        "message/send" => {
            let mut task = task(&json!(made.to_string()));
            task["kind"] = json!("task");
            task
        }
        "ListTasks" | "tasks/list" => {
            let all: Vec<Value> = (1..=made).map(|id| task(&json!(id.to_string()))).collect();
            json!({"tasks": all, "totalSize": made})
        }
        _ => task(&params["id"]),
    }
}

fn of(world: &World, subject: &str, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let token = world.token(subject, Duration::from_secs(600));
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a value"));
    request
}

/// The answer to one message, its code where it was refused, and the id of the call.
async fn ask(
    world: &World,
    subject: &str,
    path: &str,
    method: &str,
    params: Value,
) -> (Value, Option<String>, String) {
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let request = of(world, subject, world.request(Method::POST, path, &message));
    let (_, headers, body) = world.call(request).await;
    let code = headers.get("vidimus-code").map(|code| code.to_str().expect("text").to_owned());
    let text = String::from_utf8(body.to_vec()).expect("UTF-8");
    let answer = match text.lines().find_map(|line| line.strip_prefix("data: ")) {
        Some(data) => json_of(data.as_bytes()),
        None => json_of(text.as_bytes()),
    };
    (answer, code, call_id(&headers))
}

/// Makes a task of `tool`; its id as the caller has it.
async fn made(world: &World, subject: &str, tool: &str) -> (String, String) {
    let call = json!({"name": tool, "arguments": {}, "task": {"ttl": 60_000}});
    let (answer, code, call) = ask(world, subject, "/mcp/t/tools", "tools/call", call).await;
    assert_eq!(code, None, "{answer}");
    (answer["result"]["task"]["taskId"].as_str().expect("a task").to_owned(), call)
}

#[tokio::test]
async fn a_task_of_a_tool_is_its_makers() {
    for form in [Form::Json, Form::Events] {
        let world = world().await;
        serve(&world, form, mcp);
        let (own, call) = made(&world, "caller", "echo").await;
        let (others, _) = made(&world, "stranger", "read").await;
        assert!(own != "1" && others != "2" && own != others, "the server's own ids stay here");
        let records = world.records(&call, 2).await;
        assert_eq!(records[1]["task"], "1", "{form:?} the record says which task the call became");
        for method in ["tasks/get", "tasks/result", "tasks/cancel", "tasks/update"] {
            let (answer, code, call) =
                ask(&world, "caller", "/mcp/t/tools", method, json!({"taskId": own})).await;
            assert_eq!(code, None, "{form:?} {method} {answer}");
            let sent = world.upstream.received();
            assert_eq!(sent[sent.len() - 1].json()["params"]["taskId"], "1", "the server knows its own id");
            let result = &answer["result"];
            let named = if method == "tasks/result" {
                &result["_meta"][RELATED]["taskId"]
            } else {
                &result["taskId"]
            };
            assert_eq!(named, &json!(own), "{form:?} {method}: one task, one id");
            let decision = &world.records(&call, 2).await[0];
            assert_eq!(
                (&decision["task"], &decision["resource"], &decision["method"], &decision["action"]),
                (&json!("1"), &json!("Tool/t/tools/echo"), &json!(method), &json!("invokeTool"))
            );
            let before = world.upstream.received().len();
            for foreign in [&*own, "1", "2", ""] {
                let (answer, code, _) =
                    ask(&world, "stranger", "/mcp/t/tools", method, json!({"taskId": foreign})).await;
                let expected = if foreign.is_empty() { "message_invalid" } else { "task_foreign" };
                assert_eq!(code.as_deref(), Some(expected), "{form:?} {method} {foreign} {answer}");
                if !foreign.is_empty() {
                    assert_eq!(answer["error"]["code"], -32602, "as the protocol has it");
                }
            }
            assert_eq!(world.upstream.received().len(), before, "nothing of it reached the server");
        }
        for (subject, id) in [("caller", &own), ("stranger", &others)] {
            let (answer, code, _) = ask(&world, subject, "/mcp/t/tools", "tasks/list", json!({})).await;
            assert_eq!(code, None, "{answer}");
            let listed: Vec<&Value> = answer["result"]["tasks"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|task| &task["taskId"])
                .collect();
            assert_eq!(listed, [&json!(id)], "{form:?} {subject} sees its own");
        }
    }
}

#[tokio::test]
async fn what_became_of_a_call_is_decided_as_the_call_and_now() {
    let world = world().await;
    serve(&world, Form::Json, mcp);
    let (own, _) = made(&world, "caller", "echo").await;
    let mut given = objects(&world.upstream);
    let last = given.len() - 1;
    given[last]["spec"]["cedar"] = json!(
        r#"
        permit (principal == Agent::"t/caller", action == Action::"invokeTool", resource == Tool::"t/tools/other");
    "#
    );
    world.gate.take_into_use(snapshot(&given));
    for method in ["tasks/get", "tasks/result", "tasks/cancel", "tasks/update"] {
        let (answer, code, _) = ask(&world, "caller", "/mcp/t/tools", method, json!({"taskId": own})).await;
        assert_eq!(code.as_deref(), Some("no_permit"), "{method} {answer}");
    }
    let (answer, code, _) = ask(&world, "caller", "/mcp/t/tools", "tasks/list", json!({})).await;
    assert_eq!((code, &answer["result"]["tasks"]), (None, &json!([])), "what may not be read is not listed");
}

/// Who asks for a task says its id alone, in which no guard finds anything. What became of a tool's call may be read while some call of the tool is allowed,
/// so a webhook is not asked again; of an agent's, one that let the list be asked for lets it be read.
#[tokio::test]
async fn a_list_has_the_tasks_of_which_a_guarded_forbid_is() {
    let hook = Upstream::start();
    hook.otherwise(|_| Answer::json(&json!({"findings": []})));
    for looks in [
        json!({"regex": [{"kind": "host", "pattern": r"corp\.example"}]}),
        json!({"schema": {"type": ["object", "string"]}}),
        json!({"webhook": {"url": hook.url("/")}}),
    ] {
        let world = world().await;
        let mut given = objects(&world.upstream);
        let last = given.len() - 1;
        given[last]["spec"]["cedar"] = json!(CEDAR);
        let mut guard = looks.clone();
        guard["name"] = json!("ours");
        let cedar = r#"@guard("ours") forbid (principal, action in [Action::"invokeTool", Action::"callAgent"], resource)
            unless { context.guarded.contains("t/guarded/ours") };"#;
        given.push(json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy",
            "metadata": {"namespace": "t", "name": "guarded"},
            "spec": {"description": "guarded", "guards": [guard], "cedar": cedar}}));
        world.gate.take_into_use(snapshot(&given));
        serve(&world, Form::Json, |asked, made| match asked["method"].as_str() {
            Some("SendMessage" | "ListTasks") => a2a(asked, made),
            _ => mcp(asked, made),
        });
        made(&world, "caller", "echo").await;
        let (answer, code, _) = ask(&world, "caller", "/mcp/t/tools", "tasks/list", json!({})).await;
        let listed = answer["result"]["tasks"].as_array().map(Vec::len);
        assert_eq!((code, listed), (None, Some(1)), "{looks} {answer}");
        let id = json!({"taskId": answer["result"]["tasks"][0]["taskId"]});
        let (answer, code, _) = ask(&world, "caller", "/mcp/t/tools", "tasks/get", id).await;
        assert_eq!(code, None, "what is listed can be read: {looks} {answer}");
        let message = json!({"messageId": "u", "role": "ROLE_USER", "parts": [{"text": "hello"}],
            "metadata": {"skill": "pay"}});
        let path = "/a2a/t/callee";
        let (answer, code, _) = ask(&world, "caller", path, "SendMessage", json!({"message": message})).await;
        assert_eq!(code, None, "{looks} {answer}");
        let (answer, code, _) = ask(&world, "caller", path, "ListTasks", json!({})).await;
        assert_eq!((code, &answer["result"]["totalSize"]), (None, &json!(1)), "{looks} {answer}");
    }
}

#[tokio::test]
async fn a_task_survives_what_the_gateway_forgets_but_is_not_listed_then() {
    let world = world().await;
    serve(&world, Form::Json, mcp);
    let (own, _) = made(&world, "caller", "echo").await;
    // Another gateway with the same key knows nothing of the task.
    let other = super::tasks::world().await;
    other.upstream.otherwise(|received: &Received| {
        let asked = received.json();
        Answer::json(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": mcp(&asked, 1)}))
    });
    let (answer, code, _) = ask(&other, "caller", "/mcp/t/tools", "tasks/get", json!({"taskId": own})).await;
    assert_eq!((code, &answer["result"]["taskId"]), (None, &json!(own)));
    let (answer, _, _) = ask(&other, "caller", "/mcp/t/tools", "tasks/list", json!({})).await;
    assert_eq!(answer["result"]["tasks"], json!([]));
}

#[tokio::test]
async fn news_of_a_task_reach_its_maker_only() {
    let world = world().await;
    serve(&world, Form::Json, mcp);
    let (own, _) = made(&world, "caller", "echo").await;
    made(&world, "stranger", "read").await;
    let news = |method: &str, id: &str| json!({"jsonrpc": "2.0", "method": method, "params": {"taskId": id, "status": "working"}});
    let events = |messages: &[Value]| -> String {
        messages.iter().enumerate().map(|(at, message)| format!("id: e-{at}\ndata: {message}\n\n")).collect()
    };
    let all: Vec<Value> = ["notifications/tasks/status", "notifications/tasks"]
        .into_iter()
        .flat_map(|method| [news(method, "1"), news(method, "2")])
        .collect();
    world.upstream.next(Answer::whole("text/event-stream", events(&all)));
    let stream = of(&world, "caller", world.request(Method::GET, "/mcp/t/tools", &json!(null)));
    let (status, _, body) = world.call(stream).await;
    let text = String::from_utf8(body.to_vec()).expect("UTF-8");
    assert_eq!(status.as_u16(), 200);
    let passed: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| json_of(data.as_bytes())["params"]["taskId"].clone())
        .collect();
    assert_eq!(passed, [json!(own), json!(own)], "{text}");
}

#[tokio::test]
async fn a_stream_is_resumed_by_its_caller_as_what_it_answered() {
    let world = world().await;
    serve(&world, Form::Events, mcp);
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}});
    let (_, _, body) = world.call(world.request(Method::POST, "/mcp/t/tools", &call)).await;
    let text = String::from_utf8(body.to_vec()).expect("UTF-8");
    let event = text.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id").to_owned();
    assert_ne!(event, "e-1");
    let resumed = |subject: &str, event: &str| {
        let mut request = of(&world, subject, world.request(Method::GET, "/mcp/t/tools", &json!(null)));
        request.headers_mut().insert("last-event-id", event.parse().expect("a value"));
        request
    };
    let (_, headers, _) = world.call(resumed("caller", &event)).await;
    assert!(!headers.contains_key("vidimus-code"));
    let records = world.records(&call_id(&headers), 2).await;
    assert_eq!(
        (&records[0]["resource"], &records[0]["method"]),
        (&json!("Tool/t/tools/echo"), &json!("session/stream"))
    );
    let received = world.upstream.received();
    assert_eq!(received[received.len() - 1].header("last-event-id"), Some("e-1"));
    for (subject, event) in [("stranger", &*event), ("stranger", "e-1"), ("caller", "e-1")] {
        let (status, headers, _) = world.call(resumed(subject, event)).await;
        assert_eq!(
            (status.as_u16(), &headers["vidimus-code"]),
            (404, &"session_foreign".parse().expect("a value"))
        );
    }
    let mut given = objects(&world.upstream);
    let last = given.len() - 1;
    given[last]["spec"]["cedar"] = json!(CEDAR.replace("t/tools/echo", "t/tools/other"));
    world.gate.take_into_use(snapshot(&given));
    let (_, headers, _) = world.call(resumed("caller", &event)).await;
    assert_eq!(headers["vidimus-code"], "no_permit", "the tool is not the caller's any more");
}

#[tokio::test]
async fn a_task_of_an_agent_is_its_makers() {
    let send = |skill: &str, more: Value| {
        let mut message = json!({"messageId": "m", "metadata": {"skill": skill}, "parts": []});
        for (key, value) in more.as_object().expect("an object") {
            message[key] = value.clone();
        }
        json!({"message": message})
    };
    for (form, modern) in [(Form::Json, true), (Form::Json, false), (Form::Events, true)] {
        let world = world().await;
        serve(&world, form, a2a);
        let path = "/a2a/t/callee";
        let name = |old: &'static str, new: &'static str| if modern { new } else { old };
        let sent = name("message/send", "SendMessage");
        let task =
            |answer: &Value| if modern { answer["result"]["task"].clone() } else { answer["result"].clone() };
        let (answer, code, call) = ask(&world, "caller", path, sent, send("pay", json!({}))).await;
        assert_eq!(code, None, "{answer}");
        let first = task(&answer);
        let id = first["id"].as_str().expect("an id").to_owned();
        let context = first["contextId"].as_str().expect("an id").to_owned();
        assert!(id != "1" && context != "ctx", "{answer}");
        for named in [&first["status"]["message"], &first["history"][0]] {
            assert_eq!((&named["taskId"], &named["contextId"]), (&json!(id), &json!(context)), "{answer}");
        }
        assert_eq!(first["status"]["message"]["parts"], json!([{"text": "1"}]), "its own words stay");
        assert_eq!(world.records(&call, 2).await[1]["task"], "1");
        // The next message goes on in the context, and about the task.
        let more = json!({"contextId": context, "taskId": id, "referenceTaskIds": [id]});
        let (answer, code, call) = ask(&world, "caller", path, sent, send("pay", more)).await;
        assert_eq!(code, None, "{answer}");
        let received = world.upstream.received();
        let said = received[received.len() - 1].json()["params"]["message"].clone();
        let ids = (&said["contextId"], &said["taskId"], &said["referenceTaskIds"]);
        assert_eq!(ids, (&json!("ctx"), &json!("1"), &json!(["1"])));
        assert_eq!(world.records(&call, 2).await[0]["task"], "1");
        let before = world.upstream.received().len();
        for foreign in [&*id, "1"] {
            for more in [json!({"taskId": foreign}), json!({"referenceTaskIds": [foreign]})] {
                let (answer, code, _) = ask(&world, "stranger", path, sent, send("read", more)).await;
                assert_eq!(code.as_deref(), Some("task_foreign"), "{answer}");
                assert_eq!(answer["error"]["code"], -32001, "as the protocol has it");
            }
            for method in [
                name("tasks/get", "GetTask"),
                name("tasks/cancel", "CancelTask"),
                name("tasks/resubscribe", "SubscribeToTask"),
            ] {
                let (_, code, _) = ask(&world, "stranger", path, method, json!({"id": foreign})).await;
                assert_eq!(code.as_deref(), Some("task_foreign"), "{method}");
            }
        }
        assert_eq!(world.upstream.received().len(), before, "nothing of it reached the agent");
        // Another's context is no context of this caller's: what it names is its own.
        let (answer, code, _) =
            ask(&world, "stranger", path, sent, send("read", json!({"contextId": context}))).await;
        assert_eq!(code, None, "{answer}");
        let received = world.upstream.received();
        let named = received[received.len() - 1].json()["params"]["message"]["contextId"].clone();
        assert!(named != "ctx" && named != json!(context), "{named}");
        assert_eq!(task(&answer)["contextId"], json!(context), "and it gets its own word back");
        for method in [name("tasks/get", "GetTask"), name("tasks/cancel", "CancelTask")] {
            let (answer, code, call) = ask(&world, "caller", path, method, json!({"id": id})).await;
            assert_eq!((code, &answer["result"]["id"]), (None, &json!(id)), "{method}");
            assert_eq!(world.records(&call, 2).await[0]["resource"], "Skill/t/callee/pay");
        }
        let (answer, code, _) = ask(&world, "caller", path, name("tasks/list", "ListTasks"), json!({})).await;
        assert_eq!(code, None);
        let listed: Vec<&Value> =
            answer["result"]["tasks"].as_array().expect("a list").iter().map(|task| &task["id"]).collect();
        assert!(listed.len() == 2 && listed.contains(&&json!(id)), "the caller's two of three: {answer}");
        assert_eq!(answer["result"]["totalSize"], 2);
    }
}

const SECRET: &str = "secret of another";

/// Tasks of both protocols, not as the value of `tasks`.
fn tasks_of_others(asked: &Value) -> Value {
    match asked["params"]["kind"].as_str() {
        Some("mcp") => json!([{"taskId": "1", "status": "working", "statusMessage": SECRET}]),
        _ => json!([{"id": "1", "contextId": "c", "status": {"state": "TASK_STATE_WORKING"},
            "artifacts": [{"parts": [{"text": SECRET}]}]}]),
    }
}

/// A list in which it cannot be told whose the tasks are reaches nobody, in whatever form the agent or server writes it.
#[tokio::test]
async fn a_list_of_another_shape_is_not_passed_on() {
    for nested in [false, true] {
        let world = world().await;
        match nested {
            false => serve(&world, Form::Json, |asked, _| tasks_of_others(asked)),
            true => serve(&world, Form::Json, |asked, _| json!({"task": tasks_of_others(asked)})),
        }
        for (path, method, params) in [
            ("/a2a/t/callee", "ListTasks", json!({})),
            ("/a2a/t/callee", "tasks/list", json!({})),
            ("/mcp/t/tools", "tasks/list", json!({"kind": "mcp"})),
        ] {
            let (answer, code, _) = ask(&world, "stranger", path, method, params).await;
            assert_eq!(code.as_deref(), Some("upstream_invalid"), "{path} {method} {nested}: {answer}");
            assert!(!answer.to_string().contains(SECRET), "{path} {method} {nested}: {answer}");
        }
    }
}

/// Nor does one whose members some readers know by another spelling, or one in a batch.
#[tokio::test]
async fn a_list_that_some_readers_find_elsewhere_is_not_passed_on() {
    for (kind, members) in [
        ("a2a", r#"{"Tasks":[{"id":"1"}]}"#),
        ("a2a", r#"{"tasks":[],"total_size":57}"#),
        ("a2a", r#"{"tasks":[],"next_page_token":"after-2"}"#),
        ("mcp", r#"{"tasks":[],"Tasks":[{"taskId":"1"}]}"#),
        ("mcp", r#"{"tasks":[],"next_cursor":"after-2"}"#),
    ] {
        let world = world().await;
        serve(&world, Form::Json, |asked, _| {
            serde_json::from_str(asked["params"]["answer"].as_str().unwrap_or("null")).unwrap_or_default()
        });
        let (path, method) = match kind {
            "a2a" => ("/a2a/t/callee", "ListTasks"),
            _ => ("/mcp/t/tools", "tasks/list"),
        };
        let (answer, code, _) = ask(&world, "stranger", path, method, json!({"answer": members})).await;
        assert_eq!(code.as_deref(), Some("upstream_invalid"), "{kind} {members}: {answer}");
    }
    // How many tasks others have is not said, also where the empty list is left out.
    let world = world().await;
    serve(&world, Form::Json, |_, _| json!({"totalSize": 57}));
    let (answer, _, _) = ask(&world, "stranger", "/a2a/t/callee", "ListTasks", json!({})).await;
    assert_eq!(answer["result"], json!({"totalSize": 0}));
}

#[tokio::test]
async fn a_task_that_is_only_mentioned_is_nobodys_new_task() {
    let world = world().await;
    serve(&world, Form::Events, |asked, made| match asked["method"].as_str().unwrap_or_default() {
        "tools/call" if asked["params"].get("task").is_none() => {
            json!({"content": [], "_meta": {RELATED: {"taskId": "1"}}})
        }
        _ => mcp(asked, made),
    });
    made(&world, "stranger", "read").await;
    let call = json!({"name": "echo", "arguments": {}});
    let (answer, _, _) = ask(&world, "caller", "/mcp/t/tools", "tools/call", call).await;
    let id = answer["result"]["_meta"][RELATED]["taskId"].as_str().expect("an id").to_owned();
    let (answer, code, _) = ask(&world, "caller", "/mcp/t/tools", "tasks/get", json!({"taskId": id})).await;
    assert!(code.is_some(), "{answer}");
    let (answer, _, _) = ask(&world, "caller", "/mcp/t/tools", "tasks/list", json!({})).await;
    assert!(!answer.to_string().contains("taskId"), "{answer}");
}

/// Servers and agents that page their lists by the number of the last task, of whomever.
fn pages(asked: &Value, made: u64) -> Value {
    let next = json!({"nextCursor": "after-2", "nextPageToken": "after-2"});
    let mut answer = match asked["method"].as_str().unwrap_or_default() {
        "ListTasks" => a2a(asked, made),
        _ => mcp(asked, made),
    };
    let page = asked["params"]["cursor"].as_str().or(asked["params"]["pageToken"].as_str());
    if page.unwrap_or_default().is_empty() {
        for (name, token) in next.as_object().expect("an object") {
            answer[name] = token.clone();
        }
    }
    answer
}

#[tokio::test]
async fn a_page_of_a_list_of_tasks_is_for_whom_it_was_given_to() {
    for form in [Form::Json, Form::Events] {
        for (path, method, given, asked) in [
            ("/mcp/t/tools", "tasks/list", "nextCursor", "cursor"),
            ("/a2a/t/callee", "ListTasks", "nextPageToken", "pageToken"),
        ] {
            let world = world().await;
            serve(&world, form, pages);
            let (answer, code, _) = ask(&world, "caller", path, method, json!({})).await;
            assert_eq!(code, None, "{answer}");
            let token = answer["result"][given].as_str().expect("a token").to_owned();
            assert!(!token.contains("after"), "{form:?} {method}: it says nothing of others: {token}");
            let (answer, code, _) = ask(&world, "caller", path, method, json!({asked: token})).await;
            assert_eq!((code, answer["result"].get(given)), (None, None), "{form:?} {method}");
            let sent = world.upstream.received();
            assert_eq!(sent[sent.len() - 1].json()["params"][asked], "after-2", "the upstream knows its own");
            for (subject, foreign, expected) in [
                ("stranger", json!(token), "task_foreign"),
                ("caller", json!("after-2"), "task_foreign"),
                ("caller", json!(7), "message_invalid"),
            ] {
                let (answer, code, _) = ask(&world, subject, path, method, json!({asked: foreign})).await;
                assert_eq!(code.as_deref(), Some(expected), "{form:?} {method} {foreign} {answer}");
            }
            assert_eq!(world.upstream.received().len(), sent.len(), "nothing of it reached the upstream");
            // The empty token and none are the first page.
            for first in [json!(""), json!(null)] {
                let (answer, code, _) = ask(&world, "caller", path, method, json!({asked: first})).await;
                assert_eq!((code, &answer["result"][given]), (None, &json!(token)), "{form:?} {method}");
            }
        }
    }
}

/// A token that cannot be sealed would say something of others.
#[tokio::test]
async fn a_page_whose_token_cannot_be_sealed_is_not_shown() {
    let world = world().await;
    for token in [json!(7), json!({"after": 2}), json!("x".repeat(3_073))] {
        for (path, method, given) in
            [("/mcp/t/tools", "tasks/list", "nextCursor"), ("/a2a/t/callee", "ListTasks", "nextPageToken")]
        {
            let result = json!({"tasks": [], given: token});
            world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": 1, "result": result})));
            let (answer, code, _) = ask(&world, "caller", path, method, json!({})).await;
            assert_eq!(code.as_deref(), Some("upstream_invalid"), "{method} {answer}");
        }
    }
    let misspelled = json!({"tasks": [], "next_page_token": "after-2"});
    world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": 1, "result": misspelled})));
    let (answer, code, _) = ask(&world, "caller", "/a2a/t/callee", "ListTasks", json!({})).await;
    assert_eq!(code.as_deref(), Some("upstream_invalid"), "{answer}");
}

/// Agents that were given no id for a configuration take the task's; older ones say the task beside the configuration as `id`.
fn configured(asked: &Value, made: u64) -> Value {
    let params = &asked["params"];
    match asked["method"].as_str().unwrap_or_default() {
        "tasks/pushNotificationConfig/set" => {
            json!({"taskId": params["taskId"], "pushNotificationConfig": {"id": params["taskId"], "url": "https://h/"}})
        }
        "tasks/pushNotificationConfig/get" => {
            json!({"id": params["id"], "pushNotificationConfig": {"id": "own", "url": "https://h/"}})
        }
        "CreateTaskPushNotificationConfig" => {
            json!({"taskId": params["taskId"], "id": params["taskId"], "url": "https://h/"})
        }
        "ListTaskPushNotificationConfigs" if params["pageToken"] == json!("after-2") => {
            json!({"configs": []})
        }
        "ListTaskPushNotificationConfigs" => {
            json!({"configs": [{"task_id": params["taskId"], "more": {"taskId": params["taskId"]}}], "nextPageToken": "after-2"})
        }
        _ => a2a(asked, made),
    }
}

#[tokio::test]
async fn a_configuration_of_push_notifications_names_no_task_of_the_agents() {
    const PATH: &str = "/a2a/t/callee";
    let world = world().await;
    serve(&world, Form::Json, configured);
    let message = json!({"message": {"messageId": "m", "metadata": {"skill": "pay"}, "parts": []}});
    let (answer, _, _) = ask(&world, "caller", PATH, "SendMessage", message).await;
    let id = answer["result"]["task"]["id"].as_str().expect("an id").to_owned();
    let config = json!({"url": "https://h/"});
    for (method, params, expected) in [
        (
            "tasks/pushNotificationConfig/set",
            json!({"taskId": id, "pushNotificationConfig": config}),
            json!({"taskId": id, "pushNotificationConfig": {"id": id, "url": "https://h/"}}),
        ),
        (
            "tasks/pushNotificationConfig/get",
            json!({"id": id}),
            json!({"id": id, "pushNotificationConfig": {"id": "own", "url": "https://h/"}}),
        ),
        (
            "CreateTaskPushNotificationConfig",
            json!({"taskId": id, "url": "https://h/"}),
            json!({"taskId": id, "id": id, "url": "https://h/"}),
        ),
    ] {
        let (answer, code, _) = ask(&world, "caller", PATH, method, params).await;
        assert_eq!((code, &answer["result"]), (None, &expected), "{method}");
    }
    // The configuration's id goes back as the agent has it, whether it is a task's or its own.
    for (method, params, at, sent) in [
        (
            "tasks/pushNotificationConfig/delete",
            json!({"id": id, "pushNotificationConfigId": id}),
            "pushNotificationConfigId",
            "1",
        ),
        (
            "tasks/pushNotificationConfig/delete",
            json!({"id": id, "pushNotificationConfigId": "own"}),
            "pushNotificationConfigId",
            "own",
        ),
        ("DeleteTaskPushNotificationConfig", json!({"taskId": id, "id": id}), "id", "1"),
        ("DeleteTaskPushNotificationConfig", json!({"taskId": id, "id": "own"}), "id", "own"),
    ] {
        let (answer, code, _) = ask(&world, "caller", PATH, method, params).await;
        assert_eq!(code, None, "{method} {answer}");
        let received = world.upstream.received();
        assert_eq!(received[received.len() - 1].json()["params"][at], sent, "{method}");
    }
    // Its pages are the caller's, and ids are ids however they are written.
    let list = "ListTaskPushNotificationConfigs";
    let (answer, _, _) = ask(&world, "caller", PATH, list, json!({"taskId": id})).await;
    assert_eq!(answer["result"]["configs"], json!([{"task_id": id, "more": {"taskId": id}}]));
    let token = answer["result"]["nextPageToken"].as_str().expect("a token").to_owned();
    assert!(!token.contains("after"), "{token}");
    let (answer, code, _) =
        ask(&world, "caller", PATH, list, json!({"taskId": id, "pageToken": token})).await;
    assert_eq!((code, &answer["result"]), (None, &json!({"configs": []})));
    let (_, code, _) = ask(&world, "caller", PATH, list, json!({"taskId": id, "pageToken": "after-2"})).await;
    assert_eq!(code.as_deref(), Some("task_foreign"));
    // Another task, where an agent of the other version looks for it.
    let before = world.upstream.received().len();
    for (method, params) in [
        ("tasks/get", json!({"id": id, "taskId": "2"})),
        ("GetTask", json!({"id": id, "taskId": "2"})),
        ("tasks/pushNotificationConfig/get", json!({"id": id, "taskId": "2"})),
        (
            "tasks/pushNotificationConfig/set",
            json!({"taskId": id, "id": "2", "pushNotificationConfig": config}),
        ),
        ("SendMessage", json!({"message": {"messageId": "m", "taskId": id}, "id": "2"})),
        ("SendMessage", json!({"message": {"messageId": "m", "taskId": id}, "taskId": id})),
    ] {
        let (answer, code, _) = ask(&world, "caller", PATH, method, params).await;
        assert_eq!(code.as_deref(), Some("message_invalid"), "{method} {answer}");
    }
    assert_eq!(world.upstream.received().len(), before);
}
