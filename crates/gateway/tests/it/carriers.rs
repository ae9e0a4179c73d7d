//! How a held call reaches the person: each protocol's own way, for who can take it, and what callers try with it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use vidimus_core::act::Act;
use vidimus_core::approval::pending::OfApproval;
use vidimus_core::keep::{KeptPayload, PayloadOf};
use vidimus_gateway::{Place, Plain};
use vidimus_testkit::upstream::Answer;

use super::approvals::{BOB, yes};
use super::world::{World, call_id, json_of, objects, snapshot};

const HOLD: &str = r#"
    @approval("payers") forbid (principal, action == Action::"invokeTool", resource)
    unless { context has approval && context.approval.role == "payers" };
    @approval("payers") forbid (principal, action == Action::"callAgent", resource)
    unless { context has approval && context.approval.role == "payers" };
    permit (principal == Agent::"t/stranger", action, resource);
    permit (principal == Agent::"t/caller", action == Action::"invokeTool", resource == Tool::"t/tools/other");
"#;

const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

async fn world() -> World {
    world_with(HOLD).await
}

async fn world_with(cedar: &str) -> World {
    let world = World::new().await;
    let mut all = objects(&world.upstream);
    all.push(json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy",
        "metadata": {"namespace": "t", "name": "hold"}, "spec": {"description": "hold", "cedar": cedar}}));
    world.gate.take_into_use(snapshot(&all));
    world
}

/// A call of a tool in the stateless version, with these members besides.
fn tool(
    world: &World,
    name: &str,
    arguments: &Value,
    more: &Value,
    elicitation: &Value,
) -> Request<Full<Bytes>> {
    let mut params = json!({"name": name, "arguments": arguments, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", CAPABILITIES: {"elicitation": elicitation}}});
    for (member, value) in more.as_object().into_iter().flatten() {
        params[member] = value.clone();
    }
    let call = json!({"jsonrpc": "2.0", "id": "c-1", "method": "tools/call", "params": params});
    let mut request = world.request(Method::POST, "/mcp/t/tools", &call);
    for (header, value) in
        [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", name)]
    {
        request.headers_mut().insert(header, HeaderValue::from_str(value).expect("text"));
    }
    request
}

fn urls() -> Value {
    json!({"form": {}, "url": {}})
}

fn echo(world: &World, arguments: &Value, more: &Value) -> Request<Full<Bytes>> {
    tool(world, "echo", arguments, more, &urls())
}

fn of_stranger(world: &World, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let token = format!("Bearer {}", world.token("stranger", Duration::from_secs(600)));
    request.headers_mut().insert("authorization", HeaderValue::from_str(&token).expect("text"));
    request
}

async fn said(world: &World, request: Request<Full<Bytes>>) -> (HeaderMap, Value) {
    let (status, headers, body) = world.call(request).await;
    assert_eq!(status, 200);
    (headers, json_of(&body))
}

/// What a client does that led its user to the approval: the answer, and the state.
fn accepted(told: &Value, action: &str) -> Value {
    json!({"inputResponses": {"vidimus-approval": {"action": action}}, "requestState": told["result"]["requestState"]})
}

async fn approve(world: &World, approval: &str) {
    world.gate.shared.act(BOB, yes(approval, None), "looked at").await.expect("approved");
}

async fn deny(world: &World, approval: &str) {
    world
        .gate
        .shared
        .act(BOB, Act::Deny(OfApproval { approval: approval.into() }), "no")
        .await
        .expect("denied");
}

/// The approval that stands and was asked for last.
fn newest(world: &World) -> String {
    let standing = world.gate.acts.standing();
    standing.approvals.all().next_back().expect("an approval").question.approval.clone()
}

fn asked(world: &World) -> usize {
    world.gate.acts.standing().approvals.all().count()
}

#[tokio::test]
async fn a_client_leads_its_user_to_the_approval_and_the_same_call_completes() {
    let world = world().await;
    let arguments = json!({"amount": 5.0});
    let (headers, told) = said(&world, echo(&world, &arguments, &json!({}))).await;
    let (result, approval) = (&told["result"], newest(&world));
    let asked = &result["inputRequests"]["vidimus-approval"];
    assert_eq!((&told["id"], &result["resultType"]), (&json!("c-1"), &json!("input_required")), "{told}");
    assert_eq!((&asked["method"], &asked["params"]["mode"]), (&json!("elicitation/create"), &json!("url")));
    assert_eq!(asked["params"]["url"], format!("https://admin.example/approvals/{approval}"));
    let about = &result["_meta"]["dev.vidimus/refusal"];
    assert_eq!(
        (&about["code"], &about["approval"]),
        (&json!("approval_required"), &json!(approval)),
        "{about}"
    );
    assert_eq!(
        (headers["vidimus-code"].as_bytes(), headers["retry-after"].as_bytes()),
        (&b"approval_required"[..], &b"10"[..])
    );
    let records = world.records(&call_id(&headers), 1).await;
    assert_eq!((&records[0]["outcome"], &records[0]["approval"]), (&json!("hold"), &json!(approval)));

    // The request is made again at once, as clients do, and waits with its caller.
    let again = echo(&world, &arguments, &accepted(&told, "accept"));
    let approving = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        approve(&world, &approval).await;
    };
    let ((headers, done), ()) = tokio::join!(said(&world, again), approving);
    assert_eq!(done["result"]["resultType"], Value::Null, "{done}");
    let records = world.records(&call_id(&headers), 2).await;
    assert_eq!((&records[0]["outcome"], &records[0]["approval"]), (&json!("allow"), &json!(approval)));
    // What answered the gateway stays here.
    let received = world.upstream.received();
    assert_eq!(received.len(), 1);
    let params = &received[0].json()["params"];
    assert_eq!(
        (&params["arguments"], params.get("requestState"), params.get("inputResponses")),
        (&arguments, None, None)
    );
    // It is one call: the next is asked about anew, also with the old state.
    said(&world, echo(&world, &arguments, &accepted(&told, "accept"))).await;
    assert_ne!(newest(&world), approval);
    assert_eq!(world.upstream.received().len(), 1);
}

/// By a server with members it is a call of one of these that waits, and its caller is waited with all the same.
#[tokio::test]
async fn a_call_by_a_server_with_members_waits_with_its_caller() {
    let world = World::new().await;
    let mut all = objects(&world.upstream);
    let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": kind, "metadata": {"namespace": "t", "name": name}, "spec": spec});
    all.push(object("Policy", "hold", json!({"description": "hold", "cedar": HOLD})));
    let members = json!([{"name": "ledger", "server": {"name": "tools"}}]);
    all.push(object(
        "MCPServer",
        "front",
        json!({"owner": "ada.lovelace@example.com", "team": "t", "riskLevel": "low", "members": members}),
    ));
    world.gate.take_into_use(snapshot(&all));
    let by_front = |more: &Value| {
        let mut request = tool(&world, "ledger__echo", &json!({"amount": 5.0}), more, &urls());
        *request.uri_mut() = "/mcp/t/front".parse().expect("a path");
        request
    };
    let (_, told) = said(&world, by_front(&json!({}))).await;
    assert_eq!(told["result"]["resultType"], json!("input_required"), "{told}");
    let approval = newest(&world);
    let approving = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        approve(&world, &approval).await;
    };
    let again = by_front(&accepted(&told, "accept"));
    let ((_, done), ()) = tokio::join!(said(&world, again), approving);
    assert_eq!(done["result"]["resultType"], Value::Null, "{done}");
    assert_eq!(world.upstream.received().len(), 1);
}

#[tokio::test]
async fn who_cannot_or_will_not_is_told_by_the_error() {
    let world = world().await;
    for elicitation in [json!(null), json!({}), json!({"form": {}}), json!({"url": true}), json!({"URL": {}})]
    {
        let (_, told) = said(&world, tool(&world, "echo", &json!({}), &json!({}), &elicitation)).await;
        assert_eq!(told["error"]["data"]["approval"], newest(&world), "{elicitation}: {told}");
    }
    let (_, told) = said(&world, echo(&world, &json!({}), &json!({}))).await;
    for action in ["decline", "cancel", "approve"] {
        let (_, told) = said(&world, echo(&world, &json!({}), &accepted(&told, action))).await;
        assert_eq!(told["error"]["data"]["code"], "approval_required", "{action}: {told}");
    }
    // The consent to go there is not the approval.
    assert!(world.upstream.received().is_empty());
    deny(&world, &newest(&world)).await;
    let (_, told) = said(&world, echo(&world, &json!({}), &accepted(&told, "accept"))).await;
    assert_eq!(told["error"]["data"]["code"], "approval_denied", "{told}");
    assert_eq!(asked(&world), 1);
}

#[tokio::test]
async fn a_state_is_good_for_who_got_it_and_for_what_and_opens_nothing() {
    let world = world().await;
    let arguments = json!({"amount": 5});
    let (_, told) = said(&world, echo(&world, &arguments, &json!({}))).await;
    let approval = newest(&world);
    approve(&world, &approval).await;
    let more = accepted(&told, "accept");
    let state = told["result"]["requestState"].as_str().expect("a state").to_owned();
    // Another caller's, another tool's, and what nobody was given.
    let (_, foreign) = said(&world, of_stranger(&world, echo(&world, &arguments, &more))).await;
    let (_, other) = said(&world, tool(&world, "other", &arguments, &more, &urls())).await;
    let mut forged = vec![foreign, other];
    for state in [format!("{state}A"), "vidimus-approval.".to_owned(), format!("vidimus-approval.{approval}")]
    {
        forged.push(said(&world, echo(&world, &arguments, &json!({"requestState": state}))).await.1);
    }
    for told in forged {
        assert_eq!(
            (&told["error"]["code"], &told["error"]["data"]["code"]),
            (&json!(-32_602), &json!("task_foreign"))
        );
    }
    // With other arguments it is another call, which is asked about.
    let (_, told) = said(&world, echo(&world, &json!({"amount": 6}), &more)).await;
    assert_eq!(told["result"]["resultType"], "input_required", "{told}");
    assert_ne!(newest(&world), approval);
    let misspelled = json!({"request_state": state});
    let (status, ..) = world.call(echo(&world, &arguments, &misspelled)).await;
    assert_eq!((status.as_u16(), world.upstream.received().len()), (400, 0));
    // And the approved one may be made with it and without.
    let (_, told) = said(&world, echo(&world, &arguments, &json!({}))).await;
    assert_eq!((told.get("error"), world.upstream.received().len()), (None, 1), "{told}");
}

/// A server may ask something itself, and what answers it is as good as an argument.
#[tokio::test]
async fn what_answers_a_server_is_part_of_what_is_approved() {
    let world = world().await;
    let arguments = json!({"to": "acme"});
    let (_, _) = said(&world, echo(&world, &arguments, &json!({}))).await;
    let plain = newest(&world);
    approve(&world, &plain).await;
    let answers = json!({"inputResponses": {"amount": {"action": "accept", "content": {"amount": 5000}}}, "requestState": "of the server"});
    let (_, told) = said(&world, echo(&world, &arguments, &answers)).await;
    // It would be lost on the way to our question and back.
    assert_eq!(told["error"]["data"]["code"], "approval_required", "{told}");
    let approval = newest(&world);
    assert_ne!(approval, plain);
    let shown = world.gate.questions.arguments(&approval).expect("what is asked");
    assert_eq!(json_of(shown.as_bytes()), json!({"arguments": arguments, "beside": {"params": answers}}));
    let state_only = json!({"requestState": "of the server"});
    said(&world, echo(&world, &arguments, &state_only)).await;
    assert_eq!((asked(&world), world.upstream.received().len()), (3, 0));
    approve(&world, &approval).await;
    let (_, told) = said(&world, echo(&world, &arguments, &answers)).await;
    assert_eq!(told.get("error"), None, "{told}");
    let params = world.upstream.received()[0].json()["params"].clone();
    assert_eq!(
        (&params["requestState"], &params["inputResponses"]),
        (&answers["requestState"], &answers["inputResponses"])
    );
}

/// A client learns only from its server's fault that it has to say an argument in a header as well, and then makes the call again.
#[tokio::test]
async fn a_call_that_is_at_fault_takes_no_approval() {
    let world = world().await;
    let schema =
        json!({"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}});
    let tools = json!([{"name": "echo", "inputSchema": schema}]);
    world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}})));
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    said(&world, world.request(Method::POST, "/mcp/t/tools", &list)).await;
    let arguments = json!({"region": "north"});
    said(&world, echo(&world, &arguments, &json!({}))).await;
    approve(&world, &newest(&world)).await;
    let (status, _, body) = world.call(echo(&world, &arguments, &json!({}))).await;
    assert_eq!((status.as_u16(), &json_of(&body)["error"]["code"]), (400, &json!(-32_020)));
    let mut request = echo(&world, &arguments, &json!({}));
    request.headers_mut().insert("mcp-param-region", HeaderValue::from_static("north"));
    let (_, told) = said(&world, request).await;
    assert_eq!((told.get("error"), asked(&world), world.upstream.received().len()), (None, 1, 2), "{told}");
}

/// Begins a session of the handshake era.
async fn session(world: &World, capabilities: &Value) -> String {
    let answer =
        json!({"jsonrpc": "2.0", "id": 0, "result": {"protocolVersion": "2025-11-25", "capabilities": {}}});
    world.upstream.next(Answer::json(&answer).with_header("mcp-session-id", "upstream-1"));
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": {"name": "c", "version": "1"}});
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let (headers, _) = said(world, world.request(Method::POST, "/mcp/t/tools", &initialize)).await;
    headers["mcp-session-id"].to_str().expect("text").to_owned()
}

fn in_session(world: &World, session: &str, version: &str) -> Request<Full<Bytes>> {
    let mut request = world.tool("echo");
    for (header, value) in [("mcp-session-id", session), ("mcp-protocol-version", version)] {
        request.headers_mut().insert(header, HeaderValue::from_str(value).expect("text"));
    }
    request
}

#[tokio::test]
async fn a_session_remembers_that_its_client_leads_to_addresses() {
    let world = world().await;
    let able = session(&world, &json!({"elicitation": urls()})).await;
    let (headers, told) = said(&world, in_session(&world, &able, "2025-11-25")).await;
    let (error, approval) = (&told["error"], newest(&world));
    let elicitation = &error["data"]["elicitations"][0];
    assert_eq!(
        (&error["code"], &error["data"]["code"]),
        (&json!(-32_042), &json!("approval_required")),
        "{told}"
    );
    assert_eq!((&elicitation["mode"], &elicitation["elicitationId"]), (&json!("url"), &json!(approval)));
    assert_eq!(elicitation["url"], format!("https://admin.example/approvals/{approval}"));
    assert_eq!(&headers["retry-after"], "10");
    let unable = session(&world, &json!({"elicitation": {}})).await;
    // The version before has no such error, and not every client can.
    for (session, version) in [(&able, "2025-06-18"), (&unable, "2025-11-25")] {
        let (_, told) = said(&world, in_session(&world, session, version)).await;
        assert_eq!(
            (&told["error"]["code"], &told["error"]["data"]["approval"]),
            (&json!(-31_403), &json!(approval))
        );
    }
    let foreign = of_stranger(&world, in_session(&world, &able, "2025-11-25"));
    let (status, ..) = world.call(foreign).await;
    assert_eq!(status, 404);
    approve(&world, &approval).await;
    said(&world, in_session(&world, &able, "2025-11-25")).await;
    let received = world.upstream.received();
    assert_eq!((received.len(), received[2].header("mcp-session-id")), (3, Some("upstream-1")));
}

/// A message to the agent; `more` goes into the message.
fn message(world: &World, method: &str, text: &str, more: &Value) -> Request<Full<Bytes>> {
    let old = method.starts_with("message/");
    let part = if old { json!({"kind": "text", "text": text}) } else { json!({"text": text}) };
    let id = uuid::Uuid::new_v4().to_string();
    let mut said = json!({"messageId": id, "role": if old { "user" } else { "ROLE_USER" }, "parts": [part]});
    for (member, value) in more.as_object().into_iter().flatten() {
        said[member] = value.clone();
    }
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": {"message": said}});
    world.request(Method::POST, "/a2a/t/callee", &body)
}

fn about(world: &World, method: &str, task: &Value) -> Request<Full<Bytes>> {
    let body = json!({"jsonrpc": "2.0", "id": 8, "method": method, "params": {"id": task}});
    world.request(Method::POST, "/a2a/t/callee", &body)
}

fn agent_answers(world: &World) {
    let task =
        json!({"task": {"id": "t-1", "contextId": "x-1", "status": {"state": "TASK_STATE_COMPLETED"}}});
    world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": 7, "result": task})));
}

/// What the gateway answers itself is kept as what others answer is.
#[tokio::test]
async fn what_is_said_here_of_a_held_call_is_kept_where_a_policy_says_so() {
    let keeps = format!(
        r#"{HOLD} @keep("answer") permit (principal == Agent::"t/caller", action == Action::"callAgent", resource == Agent::"t/callee");"#
    );
    let world = world_with(&keeps).await;
    let (_, told) = said(&world, message(&world, "SendMessage", "pay", &json!({}))).await;
    let (status, headers, body) = world.call(about(&world, "GetTask", &told["result"]["task"]["id"])).await;
    assert_eq!(status, 200);
    let id = call_id(&headers);
    let records = world.records(&id, 2).await;
    assert_eq!(records[1]["bytes_out"], json!(body.len()), "{}", records[1]);
    let kept: KeptPayload = serde_json::from_value(records[1]["kept"].clone()).expect("kept");
    let place = Place { origin: world.gate.ledger.origin(), call: &id, of: PayloadOf::Answer };
    let read = world.payload_keys().open("Agent/t/caller", place, &kept).expect("read");
    assert_eq!(read, Plain::Whole(body.to_vec()));
}

#[tokio::test]
async fn a_held_message_is_a_task_that_waits_and_goes_on_when_it_is_approved() {
    let world = world().await;
    let (headers, told) = said(&world, message(&world, "SendMessage", "pay", &json!({}))).await;
    let (task, approval) = (&told["result"]["task"], newest(&world));
    assert_eq!(task["status"]["state"], "TASK_STATE_AUTH_REQUIRED", "{told}");
    assert_eq!(task["metadata"]["vidimus"]["approval"], approval);
    let text = task["status"]["message"]["parts"][0]["text"].as_str().expect("what is to do");
    assert!(text.contains(&approval) && text.contains("https://admin.example/approvals/"), "{text}");
    assert!(!task["id"].as_str().expect("an id").contains(&approval));
    assert_eq!(
        (headers["vidimus-code"].as_bytes(), headers["retry-after"].as_bytes()),
        (&b"approval_required"[..], &b"10"[..])
    );
    // Each try waits for the same, also as what goes on with the task.
    let more = json!({"taskId": task["id"]});
    let (_, again) = said(&world, message(&world, "SendMessage", "pay", &more)).await;
    assert_eq!((&again["result"]["task"]["id"], asked(&world)), (&task["id"], 1));

    let (headers, how) = said(&world, about(&world, "GetTask", &task["id"])).await;
    assert_eq!(
        (&how["result"]["id"], &how["result"]["status"]["state"]),
        (&task["id"], &json!("TASK_STATE_AUTH_REQUIRED"))
    );
    let records = world.records(&call_id(&headers), 2).await;
    assert_eq!(
        (&records[0]["method"], &records[0]["outcome"], &records[0]["task"]),
        (&json!("GetTask"), &json!("allow"), &json!(approval))
    );
    assert_eq!((&records[1]["result"], world.upstream.received().len()), (&json!("ok"), 0));

    approve(&world, &approval).await;
    let (_, how) = said(&world, about(&world, "GetTask", &task["id"])).await;
    assert_eq!(how["result"]["status"]["state"], "TASK_STATE_INPUT_REQUIRED", "{how}");
    // Another message with the task is another message.
    let (_, other) = said(&world, message(&world, "SendMessage", "pay twice", &more)).await;
    assert_eq!(other["result"]["task"]["status"]["state"], "TASK_STATE_AUTH_REQUIRED");
    assert_ne!(other["result"]["task"]["id"], task["id"]);
    assert!(world.upstream.received().is_empty());

    agent_answers(&world);
    let (_, done) = said(&world, message(&world, "SendMessage", "pay", &more)).await;
    assert_eq!(done["result"]["task"]["status"]["state"], "TASK_STATE_COMPLETED", "{done}");
    assert_ne!(done["result"]["task"]["id"], task["id"]);
    let received = world.upstream.received();
    // The agent knows nothing of the gateway's task.
    assert_eq!((received.len(), received[0].json()["params"]["message"].get("taskId")), (1, None));
    let state = async || {
        said(&world, about(&world, "GetTask", &task["id"])).await.1["result"]["status"]["state"].clone()
    };
    for _ in 0..1_000 {
        if state().await == "TASK_STATE_COMPLETED" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((state().await, world.upstream.received().len()), (json!("TASK_STATE_COMPLETED"), 1));
}

#[tokio::test]
async fn what_waits_is_told_in_each_version_and_as_a_stream() {
    let world = world().await;
    let (_, told) = said(&world, message(&world, "message/send", "pay", &json!({}))).await;
    let task = &told["result"];
    assert_eq!(
        (&task["kind"], &task["status"]["state"]),
        (&json!("task"), &json!("auth-required")),
        "{told}"
    );
    // 0.3 wants a context, which goes on with the task.
    let more = json!({"taskId": task["id"], "contextId": task["contextId"]});
    let (_, again) = said(&world, message(&world, "message/send", "pay", &more)).await;
    assert_eq!((&again["result"]["id"], asked(&world)), (&task["id"], 1));
    deny(&world, &newest(&world)).await;
    let (_, how) = said(&world, about(&world, "tasks/get", &task["id"])).await;
    assert_eq!(
        (&how["result"]["kind"], &how["result"]["status"]["state"]),
        (&json!("task"), &json!("rejected"))
    );
    let (_, told) = said(&world, message(&world, "message/send", "pay", &more)).await;
    assert_eq!(told["error"]["data"]["code"], "approval_denied", "{told}");

    let context = json!({"contextId": "conversation"});
    let (_, headers, body) = world.call(message(&world, "SendStreamingMessage", "pay", &context)).await;
    assert_eq!(&headers["content-type"], "text/event-stream");
    let text = std::str::from_utf8(&body).expect("text");
    let event: Value =
        serde_json::from_str(text.trim().strip_prefix("data: ").expect("an event")).expect("JSON");
    let task = &event["result"]["task"];
    assert_eq!((&event["id"], &task["contextId"]), (&json!(7), &json!("conversation")));
    // Nobody answers.
    world.clock.advance(Duration::from_secs(3_600));
    let (_, how) = said(&world, about(&world, "GetTask", &task["id"])).await;
    assert_eq!(how["result"]["status"]["state"], "TASK_STATE_FAILED", "{how}");
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn a_task_that_waits_is_its_callers_and_can_be_asked_for_only() {
    let world = world().await;
    let (_, told) = said(&world, message(&world, "SendMessage", "pay", &json!({}))).await;
    let (task, approval) = (&told["result"]["task"]["id"], newest(&world));
    let more = json!({"taskId": task});
    let mut tries = vec![
        of_stranger(&world, about(&world, "GetTask", task)),
        of_stranger(&world, message(&world, "SendMessage", "pay", &more)),
        about(&world, "GetTask", &json!(approval)),
        about(&world, "GetTask", &json!(format!("{}A", task.as_str().expect("an id")))),
        message(&world, "SendMessage", "pay", &json!({"referenceTaskIds": [task]})),
    ];
    for method in ["CancelTask", "tasks/cancel", "SubscribeToTask"] {
        tries.push(about(&world, method, task));
    }
    for request in tries {
        let (_, told) = said(&world, request).await;
        assert_eq!(
            (&told["error"]["code"], &told["error"]["data"]["code"]),
            (&json!(-32_001), &json!("task_foreign")),
            "{told}"
        );
    }
    // Where calls of it are no longer permitted, it is not told how it stands.
    world.gate.take_into_use(snapshot(&objects(&world.upstream)[..5]));
    let (_, told) = said(&world, about(&world, "GetTask", task)).await;
    assert_eq!(told["error"]["data"]["code"], "no_permit", "{told}");
    assert_eq!((asked(&world), world.upstream.received().len()), (1, 0));
}
