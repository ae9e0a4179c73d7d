//! Calls that wait for their client behind the bridge between the eras of MCP: what they count for, whose room they take, and what ends them.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use vidimus_testkit::upstream::{Answer, AnswerStream};

use super::eras::{asking, call, code, configured, modern, modern_tool, request, sessions, world};
use super::world::{World, call_id, json_of, objects, snapshot};

const PERMIT: &str = r#"permit (principal, action == Action::"invokeTool", resource);"#;

/// The world's objects with a server of sessions, `cedar` and limits.
fn with(world: &World, cedar: &str, limits: &Value) -> Vec<Value> {
    let mut all = objects(&world.upstream);
    all[3]["spec"]["endpoint"]["mcp"] = json!("sessions");
    all[5]["spec"]["cedar"] = json!(format!("{PERMIT} {cedar}"));
    if !limits.is_null() {
        all[5]["spec"]["limits"] = limits.clone();
    }
    all
}

/// A call that its server asks about, and that waits now: the stream of it there, and the answer that it got here.
async fn waits(world: &World) -> (AnswerStream, HeaderMap, Value) {
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let asks = tokio::spawn(async move {
        let asked =
            json!({"jsonrpc": "2.0", "id": 7, "method": "elicitation/create", "params": {"message": "Who?"}});
        stream.event(&asked.to_string()).await;
        stream
    });
    let (_, headers, answer) = call(world, None, &modern_tool("a", "echo")).await;
    assert_eq!(answer["result"]["resultType"], json!("input_required"), "{answer}");
    (asks.await.expect("asked"), headers, answer)
}

/// The same call with an answer to what was asked in it.
fn again(answer: &Value, arguments: &Value) -> Value {
    let accepted = json!({"1": {"action": "accept", "content": {"name": "Ada"}}});
    let params = json!({"name": "echo", "arguments": arguments,
        "requestState": answer["result"]["requestState"], "inputResponses": accepted});
    modern("c", "tools/call", &params)
}

fn refused(headers: &HeaderMap) -> Option<&str> {
    headers.get("vidimus-code").map(|code| code.to_str().expect("text"))
}

/// Attack: a tool that asks is called again and again, and each time its place among the calls at once is free, since all wait for their client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_waits_for_its_client_is_one_of_those_at_once() {
    let world = world("sessions").await;
    let limits = json!([{"name": "calls", "concurrency": 1, "per": ["principal"]}]);
    let cedar = r#"@limit("calls") forbid (principal, action == Action::"invokeTool", resource);"#;
    world.gate.take_into_use(snapshot(&with(&world, cedar, &limits)));
    world.upstream.otherwise(sessions);
    call(&world, None, &modern_tool("d", "echo")).await;
    let (stream, _, answer) = waits(&world).await;
    let before = world.upstream.received().len();
    let (_, headers, said) = call(&world, None, &modern_tool("b", "echo")).await;
    assert_eq!(refused(&headers), Some("limit_exceeded"), "{said}");
    // What is no answer to the call that waits is not made in its place.
    let (_, headers, said) = call(&world, None, &again(&answer, &json!({"a": 2}))).await;
    assert_eq!(code(&said), &json!("era_unbridged"), "{headers:?} {said}");
    let (_, headers, said) = call(&world, None, &modern_tool("b", "echo")).await;
    assert_eq!(refused(&headers), Some("limit_exceeded"), "{said}");
    assert_eq!(world.upstream.received().len(), before, "nothing of it was sent");
    // What is one goes on in it, and takes no second one.
    let answers = async {
        let all = world.upstream.until_received(before + 1).await;
        let asked = all[..before].iter().rev().find(|one| one.json()["method"] == json!("tools/call"));
        let id = asked.expect("a call").json()["id"].clone();
        let (_, headers, said) = call(&world, None, &modern_tool("b", "echo")).await;
        assert_eq!(refused(&headers), Some("limit_exceeded"), "{said}");
        stream.event(&json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}}).to_string()).await;
    };
    let message = again(&answer, &json!({"a": 1}));
    let (done, ()) = tokio::join!(call(&world, None, &message), answers);
    assert_eq!(done.2["result"]["resultType"], json!("complete"), "{done:?}");
    let (_, headers, said) = call(&world, None, &modern_tool("b", "echo")).await;
    assert_eq!((refused(&headers), &said["result"]["resultType"]), (None, &json!("complete")), "{said}");
}

/// Attack: who is forbidden, or quarantined, has a tool run on by a call that waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_waits_for_its_client_ends_with_what_allowed_it() {
    let world = world("sessions").await;
    world.upstream.otherwise(sessions);
    call(&world, None, &modern_tool("d", "echo")).await;
    let (stream, headers, answer) = waits(&world).await;
    let asked = world.upstream.received();
    let asked = asked.iter().rev().find(|one| one.json()["method"] == json!("tools/call")).expect("a call");
    let id = asked.json()["id"].clone();
    let before = world.upstream.received().len();
    // What changes nothing of it leaves it as it is.
    world.gate.take_into_use(configured(&world, "sessions"));
    assert_eq!(world.upstream.received().len(), before);
    let forbid = r#"forbid (principal == Agent::"t/caller", action, resource);"#;
    world.gate.take_into_use(snapshot(&with(&world, forbid, &Value::Null)));
    let told = &world.upstream.until_received(before + 1).await[before];
    let told = told.json();
    assert_eq!((&told["method"], &told["params"]["requestId"]), (&json!("notifications/cancelled"), &id));
    let records = world.records(&call_id(&headers), 3).await;
    assert_eq!(
        (&records[1]["kind"], &records[2]["kind"], &records[2]["decision"]),
        (&json!("effect"), &json!("effect"), &records[1]["decision"])
    );
    assert_eq!((&records[2]["result"], &records[2]["code"]), (&json!("failed"), &json!("revoked")));
    let mut is_there = true;
    for _ in 0..1000 {
        is_there = stream.event(r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#).await;
        if !is_there {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!is_there, "its stream is closed");
    // It is not there any more when the caller may call again.
    world.gate.take_into_use(configured(&world, "sessions"));
    let (_, _, said) = call(&world, None, &again(&answer, &json!({"a": 1}))).await;
    assert_eq!(code(&said), &json!("era_unbridged"), "{said}");
}

/// Attack: a tool whose server says nothing before its end runs on for who is forbidden: no stream of it is there that could be closed, and in that era a
/// connection that closes takes nothing back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_nothing_before_its_end_is_told_that_a_call_is_taken_back() {
    let world = world("sessions").await;
    let mut all = with(&world, "", &Value::Null);
    all[3]["spec"]["endpoint"]["timeout"] = json!("30s");
    world.gate.take_into_use(snapshot(&all));
    world.upstream.otherwise(sessions);
    call(&world, None, &modern_tool("d", "echo")).await;
    let before = world.upstream.received().len();
    world.upstream.next(Answer::hang());
    let forbidden = async {
        let id = world.upstream.until_received(before + 1).await[before].json()["id"].clone();
        let forbid = r#"forbid (principal == Agent::"t/caller", action, resource);"#;
        all[5]["spec"]["cedar"] = json!(format!("{PERMIT} {forbid}"));
        world.gate.take_into_use(snapshot(&all));
        let told = world.upstream.until_received(before + 2).await[before + 1].json();
        assert_eq!((&told["method"], &told["params"]["requestId"]), (&json!("notifications/cancelled"), &id));
    };
    let message = modern_tool("a", "echo");
    let ((_, headers, said), ()) = tokio::join!(call(&world, None, &message), forbidden);
    assert_eq!(refused(&headers), Some("revoked"), "{said}");
    let records = world.records(&call_id(&headers), 2).await;
    assert_eq!((&records[1]["result"], &records[1]["code"]), (&json!("failed"), &json!("revoked")));
}

/// Attack: who names one server of its own by many records has a call wait at each, until nobody else's may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_has_more_calls_wait_than_are_left_for_all_others() {
    const OF_ONE: usize = 16;
    let world = world("sessions").await;
    let mut all = with(&world, "", &Value::Null);
    let names: Vec<String> = (0..33).map(|number| format!("s{number}")).collect();
    for name in &names {
        let mut server = all[3].clone();
        server["metadata"]["name"] = json!(name);
        all.push(server);
    }
    world.gate.take_into_use(snapshot(&all));
    world.upstream.otherwise(asking);
    let called = async |subject: &str, server: &str| {
        let mut request = request(&world, subject, None, &modern_tool("a", "echo"));
        *request.uri_mut() = format!("/mcp/t/{server}").parse().expect("a path");
        let (status, _, body) = world.call(request).await;
        assert_eq!(status, StatusCode::OK);
        let text = String::from_utf8(body.to_vec()).expect("text");
        json_of(text.lines().find_map(|line| line.strip_prefix("data: ")).expect("an event").as_bytes())
    };
    let mut waiting = 0;
    for name in &names {
        for _ in 0..OF_ONE {
            let said = called("caller", name).await;
            match said["result"]["resultType"].as_str() {
                Some("input_required") => waiting += 1,
                _ => assert_eq!(code(&said), &json!("overloaded"), "{said}"),
            }
        }
    }
    assert_eq!(waiting, 512);
    let said = called("stranger", "s0").await;
    assert_eq!(said["result"]["resultType"], json!("input_required"), "{said}");
}
