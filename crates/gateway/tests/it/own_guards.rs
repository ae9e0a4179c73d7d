//! Guards that a policy declares: regular expressions, and webhooks that answer, that do not, and that answer something else.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use vidimus_testkit::upstream::{ANSWERED, Answer, Upstream};

use super::changes::with;
use super::logged::Logged;
use super::news::signed;
use super::world::{World, call_id, json_of, snapshot};

/// A gateway with one policy that declares a guard, and has calls of the tool wait for it.
pub async fn world(guard: &Value, annotations: &str) -> World {
    let world = World::new().await;
    let name = guard["name"].as_str().expect("a name");
    let cedar = format!(
        r#"@guard("{name}") {annotations} forbid (principal, action == Action::"invokeTool", resource == Tool::"t/tools/echo")
           unless {{ context.guarded.contains("t/changes/{name}") }};"#
    );
    let mut all = with(&world, &cedar);
    let policy = all.last_mut().expect("the policy");
    policy["spec"]["guards"] = json!([guard]);
    world.gate.take_into_use(snapshot(&all));
    world
}

fn echo(world: &World, arguments: &Value) -> Request<Full<Bytes>> {
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": arguments}});
    world.request(Method::POST, "/mcp/t/tools", &call)
}

/// Whether the call passes, and what its record says of the guard.
pub async fn asked(world: &World, arguments: &Value, fact: &str) -> (bool, String) {
    world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": ANSWERED, "result": {"content": []}})));
    let before = world.upstream.received().len();
    let (_, headers, body) = world.call(echo(world, arguments)).await;
    let passes = world.upstream.received().len() > before;
    assert_eq!(passes, json_of(&body)["error"].is_null(), "{body:?}");
    let records = world.records(&call_id(&headers), 1).await;
    let came = records[0]["facts"][fact].as_str().unwrap_or_default().to_owned();
    (passes, came)
}

#[tokio::test]
async fn what_a_policy_looks_for_refuses_or_is_redacted() {
    let guard = json!({"name": "hosts", "regex": [
        {"kind": "host", "pattern": r"\b[a-z0-9-]+\.corp\.example\b"}, {"kind": "ticket", "pattern": r"\bSEC-\d+\b"}]});
    let fact = "guard.t/changes/hosts";
    let refuses = world(&guard, "").await;
    let (passes, came) = asked(&refuses, &json!({"to": "the baker"}), fact).await;
    assert_eq!((passes, came.as_str()), (true, "passed"));
    let (passes, came) =
        asked(&refuses, &json!({"a": "db-1.corp.example, ｄb-2.corp.example, SEC-12"}), fact).await;
    assert_eq!((passes, came.as_str()), (false, "found: host 2, ticket 1"));
    let redacts = world(&guard, r#"@on_finding("redact")"#).await;
    let (passes, came) = asked(&redacts, &json!({"a": "see SEC-12", "b": "none"}), fact).await;
    assert_eq!((passes, came.as_str()), (true, "redacted: ticket 1"));
    let received = redacts.upstream.received();
    let sent = json_of(&received.last().expect("a request").body);
    assert_eq!(sent["params"]["arguments"], json!({"a": "see [redacted:ticket]", "b": "none"}));
}

/// Answers of models by patterns of the policy's own.
#[tokio::test]
async fn an_answer_is_looked_at_by_patterns_of_the_policys_own() {
    let world = World::new().await;
    let cedar = r#"@guard_answer("hosts") forbid (principal, action == Action::"callModel", resource);"#;
    let mut all = with(&world, cedar);
    let policy = all.last_mut().expect("the policy");
    policy["spec"]["guards"] =
        json!([{"name": "hosts", "regex": [{"kind": "host", "pattern": r"\b[a-z0-9-]+\.corp\.example\b"}]}]);
    world.gate.take_into_use(snapshot(&all));
    for (content, passes) in [("hello", true), ("ask db-1.corp.example", false)] {
        world.upstream.next(Answer::json(
            &json!({"object": "chat.completion", "choices": [{"message": {"content": content}}]}),
        ));
        let chat = json!({"model": "small", "messages": []});
        let (status, _, body) =
            world.call(world.request(Method::POST, "/llm/t/models/v1/chat/completions", &chat)).await;
        assert_eq!(status.is_success(), passes, "{body:?}");
        let said = String::from_utf8_lossy(&body);
        assert!(
            passes || !said.contains("db-1") && said.contains("what a guard of this policy looks for"),
            "{said}"
        );
    }
}

fn webhook(url: &str, more: &Value) -> Value {
    let mut webhook = json!({"url": url, "timeout": "400ms"});
    webhook.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    json!({"name": "opa", "webhook": webhook})
}

const FACT: &str = "guard.t/changes/opa";

#[tokio::test]
async fn a_webhook_is_asked_and_gets_what_the_call_says_and_no_credential() {
    let hook = Upstream::start();
    let world = world(&webhook(&hook.url("/v1/data/guard"), &json!({})), "").await;
    hook.next(Answer::json(&json!({"result": {"findings": []}})));
    let (passes, came) = asked(&world, &json!({"amount": 1e2, "to": "ada"}), FACT).await;
    assert_eq!((passes, came.as_str()), (true, "passed"));
    let [question] = &hook.received()[..] else { panic!("one question") };
    assert_eq!((question.method.as_str(), question.uri.path()), ("POST", "/v1/data/guard"));
    assert!(!question.headers.contains_key("authorization"), "{:?}", question.headers);
    let claims = signed(&world, question).await;
    assert_eq!(
        (&claims["sub"], &claims["htu"]),
        (&json!("t/changes/opa"), &json!(hook.url("/v1/data/guard")))
    );
    assert!(claims["jti"].as_str().is_some_and(|jti| jti.len() == 32), "{claims}");
    let input = &question.json()["input"];
    assert_eq!(input["principal"], json!({"type": "Agent", "id": "t/caller"}));
    assert_eq!(input["resource"], json!({"type": "Tool", "id": "t/tools/echo"}));
    assert_eq!((&input["action"], &input["method"]), (&json!("invokeTool"), &json!("tools/call")));
    assert_eq!(
        (&input["guard"], &input["message"]["params"]["arguments"]["to"]),
        (&json!("t/changes/opa"), &json!("ada"))
    );
    assert!(!String::from_utf8_lossy(&question.body).contains("Bearer"));
    hook.next(Answer::json(&json!({"findings": ["not-allowed", "not-allowed", "prod"]})));
    let (passes, came) = asked(&world, &json!({}), FACT).await;
    assert_eq!((passes, came.as_str()), (false, "found: not-allowed 2, prod 1"));
    assert_eq!(hook.received().len(), 2);
}

/// Attacks: a webhook that hangs, in its head or in its body; that wants another to be asked; that answers with garbage, with too much, with an error;
/// that is gone. The call is refused, or passes where its policy says so, and the record says which.
#[tokio::test]
async fn a_webhook_that_gives_no_answer_refuses_unless_its_policy_says_otherwise() {
    let elsewhere = Upstream::start();
    for (on_failure, passes, came) in [("closed", false, "failed"), ("open", true, "open")] {
        let hook = Upstream::start();
        let guard = webhook(&hook.url("/guard"), &json!({"onFailure": on_failure}));
        let world = world(&guard, "").await;
        let (body_hangs, _stream) = Answer::stream("application/json");
        for (answer, why) in [
            (Answer::hang(), "timeout"),
            (body_hangs, "timeout"),
            (Answer::redirect(&elsewhere.url("/guard")), "redirect"),
            (Answer::json(&json!({"findings": []})).with_status(StatusCode::INTERNAL_SERVER_ERROR), "status"),
            (Answer::json(&json!({"findings": []})).with_status(StatusCode::NO_CONTENT), "status"),
            (Answer::json(&json!({})), "not-understood"),
            (Answer::json(&json!({"result": true})), "not-understood"),
            (Answer::json(&json!({"findings": ["the card is 4111"]})), "not-understood"),
            (Answer::whole("text/html", "<html>"), "not-understood"),
            (
                Answer::whole("application/json", format!("{{\"findings\": [{}]}}", " ".repeat(70_000))),
                "not-understood",
            ),
            (Answer::reset(), "unreachable"),
        ] {
            hook.next(answer);
            let begun = Instant::now();
            let found = asked(&world, &json!({}), FACT).await;
            assert_eq!(found, (passes, format!("{came}: {why} 1")));
            assert!(begun.elapsed() < Duration::from_secs(5), "{why}");
        }
    }
    assert!(elsewhere.received().is_empty(), "no redirect is followed");
    let nobody = vidimus_testkit::port::unused();
    let world = world(&webhook(&format!("http://127.0.0.1:{nobody}/"), &json!({})), "").await;
    assert_eq!(asked(&world, &json!({}), FACT).await, (false, "failed: unreachable 1".to_owned()));
}

/// Who calls is not told to change the call, and whoever operates is told: in the log once, in the metrics each time.
#[tokio::test]
async fn a_webhook_that_is_down_does_not_look_like_a_policy() {
    let logged = Logged::begin();
    let hook = Upstream::start();
    let world = world(&webhook(&hook.url("/"), &json!({})), "").await;
    for (answer, is_down) in [
        (Answer::reset(), true),
        (Answer::reset(), true),
        (Answer::json(&json!({"findings": ["pii"]})), false),
    ] {
        hook.next(answer);
        let (_, _, body) = world.call(echo(&world, &json!({}))).await;
        let error = json_of(&body)["error"].clone();
        assert_eq!(error["data"]["code"], "forbidden_by_policy", "{error}");
        let next = error["data"]["next"].as_str().expect("what to do");
        assert_eq!(next.contains("did not answer"), is_down, "{error}");
        let message = error["message"].as_str().expect("why");
        assert_eq!(
            message.contains("the webhook of the guard t/changes/opa gave no answer"),
            is_down,
            "{message}"
        );
    }
    let told = logged.with("the webhook of a guard gives no answer");
    assert!(
        told.len() == 1 && told[0].contains("t/changes/opa") && told[0].contains("unreachable"),
        "{told:?}"
    );
    let metrics = world.gate.meter.text(&world.gate.ledger);
    for (result, count) in [("failed", 2), ("answered", 1)] {
        let line =
            format!(r#"vidimus_guard_requests_total{{guard="t/changes/opa",result="{result}"}} {count}"#);
        assert!(metrics.contains(&line), "{metrics}");
    }
}

/// With `@on_finding("redact")` what a webhook finds has no place; recorded, it passes.
#[tokio::test]
async fn what_a_webhook_finds_has_no_place() {
    for (what, passes, came) in [("redact", false, "unredactable: x 1"), ("record", true, "recorded: x 1")] {
        let hook = Upstream::start();
        let world = world(&webhook(&hook.url("/"), &json!({})), &format!(r#"@on_finding("{what}")"#)).await;
        hook.next(Answer::json(&json!({"findings": ["x"]})));
        assert_eq!(asked(&world, &json!({"a": "b"}), FACT).await, (passes, came.to_owned()));
    }
}
