//! An agent as a server of tools: who calls a tool sends the agent a message, and is held to what holds of messages.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use vidimus_testkit::upstream::{Answer, Received};

use super::world::{World, call_id, json_of, objects, snapshot};

const TOOLS: &str =
    r#"permit (principal, action == Action::"invokeTool", resource in MCPServer::"t/tools");"#;

/// A world whose server is the agent `t/callee`, with these policies beside the one that lets everybody call its tools.
async fn world(cedar: &str) -> World {
    streaming(cedar, false).await
}

/// The same, where the record says whether the agent has streams.
async fn streaming(cedar: &str, streams: bool) -> World {
    let world = World::new().await;
    let mut all = objects(&world.upstream);
    for object in &mut all {
        let is_server = object["kind"] == "MCPServer";
        let spec = object["spec"].as_object_mut().expect("a mapping");
        if spec.contains_key("cedar") {
            spec.insert("cedar".into(), json!([TOOLS, cedar].concat()));
        }
        if is_server {
            spec.remove("endpoint");
            let skills = json!({"pay": {"description": "Pays."}, "read": {"description": "Reads."}});
            spec.insert("agent".into(), json!({"name": "callee", "skills": skills, "streams": streams}));
        }
    }
    world.gate.take_into_use(snapshot(&all));
    world
}

/// The agent answers each message so.
fn answers(world: &World, result: Value) {
    world.upstream.otherwise(move |received: &Received| {
        let id = received.json()["id"].clone();
        Answer::json(&json!({"jsonrpc": "2.0", "id": id, "result": result}))
    });
}

async fn ask(world: &World, who: &str, method: &str, params: Value) -> (String, Value) {
    let message = json!({"jsonrpc": "2.0", "id": "x", "method": method, "params": params});
    let mut request = world.request(Method::POST, "/mcp/t/tools", &message);
    let token = world.token(who, Duration::from_secs(600));
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a value"));
    let (_, headers, body) = world.call(request).await;
    (call_id(&headers), json_of(&body))
}

async fn tool(world: &World, name: &str, arguments: Value) -> (String, Value) {
    ask(world, "caller", "tools/call", json!({"name": name, "arguments": arguments})).await
}

fn done(text: &str) -> Value {
    json!({"message": {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": text}]}})
}

/// The records of the message that a call of a tool sent.
fn of_message(world: &World) -> Vec<Value> {
    let all = world.all_records();
    let decided = all.iter().find(|record| record["action"] == "callAgent").expect("a decision").clone();
    let of = |record: &&Value| record["id"] == decided["id"];
    all.iter().filter(of).cloned().collect()
}

const MESSAGES: &str = r#"permit (principal == Agent::"t/caller", action == Action::"callAgent", resource == Agent::"t/callee");"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_is_a_message_with_a_decision_a_token_and_an_effect_of_its_own() {
    let world = world(MESSAGES).await;
    answers(&world, done("paid"));
    let arguments = json!({"text": "Pay it.", "data": {"amount": 1.5}});
    let (id, answer) = tool(&world, "pay", arguments).await;
    assert_eq!(answer["result"]["content"], json!([{"type": "text", "text": "paid"}]), "{answer}");
    assert_eq!(answer["result"]["structuredContent"]["state"], json!("completed"));
    let received = world.upstream.received();
    assert_eq!((received.len(), received[0].uri.path()), (1, "/a2a"));
    let sent = received[0].json();
    assert_eq!(
        (&sent["method"], &sent["params"]["message"]["metadata"]),
        (&json!("SendMessage"), &json!({"skill": "pay"}))
    );
    assert_eq!(sent["params"]["message"]["parts"], json!([{"text": "Pay it."}, {"data": {"amount": 1.5}}]));
    assert_eq!(received[0].header("a2a-version"), Some("1.0"));
    let own = world.token("caller", Duration::from_secs(600));
    assert!(!received[0].header("authorization").expect("a token").contains(&own));
    let of_tool = world.records(&id, 2).await;
    assert_eq!((&of_tool[0]["resource"], &of_tool[1]["result"]), (&json!("Tool/t/tools/pay"), &json!("ok")));
    assert!(of_tool[1].get("token").is_none(), "the server is nobody's: {}", of_tool[1]);
    let of_message = of_message(&world);
    assert_eq!((of_message.len(), &of_message[0]["resource"]), (2, &json!("Skill/t/callee/pay")));
    assert!(of_message[1]["token"].is_string());
    assert_eq!(of_message[0]["via"], json!("MCPServer/t/tools"), "{}", of_message[0]);
    // One in the trace of the other: trace-span of the tool, and the span of its parent.
    let span = of_tool[0]["trace"].as_str().expect("a trace").rsplit('-').next().expect("a span");
    assert_eq!(of_message[0]["parent"], json!(span), "{}", of_message[0]);
}

/// Attack: a caller who may call the tool, and whom no policy lets message the agent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_message_the_agent_is_refused_whatever_tools_it_may_call() {
    let skill = r#"permit (principal == Agent::"t/caller", action == Action::"callAgent", resource == Skill::"t/callee/read");"#;
    let forbidden = [
        MESSAGES,
        r#"forbid (principal, action == Action::"callAgent", resource == Skill::"t/callee/pay");"#,
    ]
    .concat();
    for (policies, who, name) in [
        ("", "caller", "pay"),
        ("", "caller", "send_message"),
        (MESSAGES, "stranger", "pay"),
        (skill, "caller", "pay"),
        (skill, "caller", "send_message"),
        (&*forbidden, "caller", "pay"),
    ] {
        let world = world(policies).await;
        answers(&world, done("paid"));
        let params = json!({"name": name, "arguments": {"text": "Pay it."}});
        let (id, answer) = ask(&world, who, "tools/call", params).await;
        assert!(answer.get("error").is_some(), "{who} {name}: {answer}");
        assert_eq!(world.upstream.received().len(), 0, "{who} {name}");
        let of_tool = world.records(&id, 2).await;
        assert_eq!((&of_tool[0]["outcome"], &of_tool[1]["result"]), (&json!("allow"), &json!("failed")));
        assert_eq!(of_message(&world)[0]["outcome"], json!("deny"), "and that is on record");
    }
    // What it may do, it does by the tool.
    let world = world(skill).await;
    answers(&world, done("read"));
    let (_, answer) = tool(&world, "read", json!({"text": "Read it."})).await;
    assert_eq!(answer["result"]["content"][0]["text"], json!("read"), "{answer}");
}

/// Attack: who may message the agent, by a tool that a policy keeps from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_call_the_tool_sends_nothing_by_it() {
    let world = world(
        &[
            MESSAGES,
            r#"forbid (principal, action == Action::"invokeTool", resource == Tool::"t/tools/pay");"#,
        ]
        .concat(),
    )
    .await;
    answers(&world, done("paid"));
    let (id, answer) = tool(&world, "pay", json!({"text": "Pay it."})).await;
    assert!(answer.get("error").is_some(), "{answer}");
    assert_eq!((world.upstream.received().len(), world.recorded(&id).len()), (0, 1));
    let (_, list) = ask(&world, "caller", "tools/list", json!({})).await;
    let names: Vec<_> =
        list["result"]["tools"].as_array().expect("tools").iter().map(|tool| &tool["name"]).collect();
    assert_eq!(names, ["get_task", "read", "send_message"], "{list}");
    assert_eq!(world.upstream.received().len(), 0, "nobody is asked what is in the record");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_asks_for_more_is_gone_on_with_by_who_began_it() {
    let both = r#"permit (principal, action == Action::"callAgent", resource == Agent::"t/callee");"#;
    let world = world(both).await;
    let message = json!({"messageId": "m", "taskId": "t-1", "contextId": "c-1", "role": "ROLE_AGENT", "parts": [{"text": "Which account?"}]});
    let status = json!({"state": "TASK_STATE_INPUT_REQUIRED", "message": message});
    world.upstream.otherwise(move |received: &Received| {
        let asked = received.json();
        let task = json!({"id": "t-1", "contextId": "c-1", "status": status});
        let result = if asked["method"] == "GetTask" { task } else { json!({"task": task}) };
        Answer::json(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}))
    });
    let (_, answer) = tool(&world, "send_message", json!({"text": "Pay it."})).await;
    assert_eq!(answer["result"]["isError"], json!(true));
    assert_eq!(answer["result"]["content"][0]["text"], json!("Which account?"));
    let structure = answer["result"]["structuredContent"].clone();
    assert_eq!(structure["state"], json!("input-required"));
    let task = structure["taskId"].as_str().expect("an id");
    assert_ne!(task, "t-1", "as in any answer of an agent, it is good for this caller alone");
    let more = json!({"text": "The first.", "taskId": task, "contextId": structure["contextId"]});
    let (_, answer) = tool(&world, "send_message", more.clone()).await;
    assert!(answer.get("result").is_some(), "{answer}");
    let sent = world.upstream.received()[1].json();
    assert_eq!(
        (&sent["params"]["message"]["taskId"], &sent["params"]["message"]["contextId"]),
        (&json!("t-1"), &json!("c-1"))
    );
    // How it stands is asked for by its id.
    let (_, answer) = tool(&world, "get_task", json!({"taskId": task})).await;
    assert!(answer.get("result").is_some(), "{answer}");
    let asked = world.upstream.received()[2].json();
    assert_eq!((&asked["method"], &asked["params"]["id"]), (&json!("GetTask"), &json!("t-1")));
    // Attack: another caller goes on with it, or asks for it.
    let params = json!({"name": "get_task", "arguments": {"taskId": task}});
    let (_, answer) = ask(&world, "stranger", "tools/call", params).await;
    assert!(answer.to_string().contains("task_foreign"), "{answer}");
    let params = json!({"name": "send_message", "arguments": more});
    let (_, answer) = ask(&world, "stranger", "tools/call", params).await;
    assert!(answer.to_string().contains("task_foreign"), "{answer}");
    assert_eq!(world.upstream.received().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_agent_does_meanwhile_is_progress_where_it_has_streams() {
    let world = streaming(MESSAGES, true).await;
    world.upstream.otherwise(|received: &Received| {
        let asked = received.json();
        let event = |result: Value| format!("data: {}\n\n", json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}));
        let update = |state: &str, text: &str| {
            let message = json!({"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": text}]});
            event(json!({"statusUpdate": {"taskId": "t-1", "contextId": "c-1", "status": {"state": state, "message": message}}}))
        };
        let artifact = json!({"artifactId": "a", "parts": [{"text": "the report"}]});
        let artifact = event(json!({"artifactUpdate": {"taskId": "t-1", "contextId": "c-1", "artifact": artifact}}));
        let body = [update("TASK_STATE_WORKING", "half"), artifact, update("TASK_STATE_COMPLETED", "done")].concat();
        Answer::whole("text/event-stream", body)
    });
    let params = json!({"name": "pay", "arguments": {"text": "Pay it."}, "_meta": {"progressToken": 7}});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let (_, headers, body) = world.call(world.request(Method::POST, "/mcp/t/tools", &message)).await;
    let text = String::from_utf8(body.to_vec()).expect("text");
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"));
    let half = at(r#""progressToken":7,"progress":1,"message":"half""#);
    assert!(half < at("the report") && at("the report") < text.len(), "{text}");
    assert!(text.contains(r#""state":"completed""#), "{text}");
    assert_eq!(world.records(&call_id(&headers), 2).await[1]["result"], json!("ok"));
    assert_eq!(world.upstream.received()[0].json()["method"], json!("SendStreamingMessage"));
    // One that says that it has none after all: that is what came of it.
    world.upstream.otherwise(|received: &Received| {
        let error = json!({"code": -32004, "message": "no streams"});
        Answer::json(&json!({"jsonrpc": "2.0", "id": received.json()["id"], "error": error}))
    });
    let (_, _, body) = world.call(world.request(Method::POST, "/mcp/t/tools", &message)).await;
    assert_eq!(json_of(&body)["result"]["isError"], json!(true));
    assert_eq!(world.upstream.received().len(), 2);
}

/// Attack on who approves and on limits: a call that a client wants to know the progress of, sent twice to an agent that has no streams.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_call_of_a_tool_is_one_message() {
    let world = world(MESSAGES).await;
    world.upstream.otherwise(|received: &Received| {
        let asked = received.json();
        match asked["method"].as_str() {
            Some("SendMessage") => Answer::json(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": done("paid")})),
            _ => Answer::json(&json!({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32004, "message": "no streams"}})),
        }
    });
    let params = json!({"name": "pay", "arguments": {"text": "Pay it."}, "_meta": {"progressToken": 7}});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let (_, _, body) = world.call(world.request(Method::POST, "/mcp/t/tools", &message)).await;
    assert_eq!(json_of(&body)["result"]["content"][0]["text"], json!("paid"));
    assert_eq!(world.upstream.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_is_not_sent() {
    let world = world(MESSAGES).await;
    answers(&world, done("paid"));
    for arguments in [
        json!({}),
        json!({"text": 7}),
        json!({"text": "a", "taskID": "t-1"}),
        json!({"text": "a", "metadata": {"skill": "read"}}),
        json!([]),
    ] {
        let (_, answer) = tool(&world, "pay", arguments.clone()).await;
        let said = answer.to_string();
        assert!(said.contains("isError\":true") || answer.get("error").is_some(), "{arguments}: {answer}");
    }
    let (_, answer) = tool(&world, "other", json!({"text": "a"})).await;
    assert_eq!(answer["error"]["code"], json!(-32602), "{answer}");
    assert_eq!(world.upstream.received().len(), 0);
    // An agent's own error is the tool's.
    world.upstream.otherwise(|received: &Received| {
        Answer::json(&json!({"jsonrpc": "2.0", "id": received.json()["id"], "error": {"code": -32603, "message": "no"}}))
    });
    let (id, answer) = tool(&world, "pay", json!({"text": "a"})).await;
    assert_eq!(
        answer["result"]["content"][0]["text"],
        json!("The agent answered with error -32603: no"),
        "{answer}"
    );
    assert_eq!(world.records(&id, 2).await[1]["result"], json!("error"));
}
