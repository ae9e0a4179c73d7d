//! Limits that policies declare, through a gateway: what counts, what is given back, how it is told, and what is left to several gateways.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use vidimus_testkit::upstream::Answer;

use super::chains::{also, begin, code, estate, with};
use super::redis::Redis;
use super::replicas::two;
use super::world::{World, call_id, json_of, objects, snapshot};

/// The estate, with limits of the policy that permits all, and `cedar` that says which calls count.
pub fn limited(world: &World, limits: &Value, cedar: &str) -> Vec<Value> {
    estate(world, |all| {
        also(all, cedar);
        also(all, r#"permit (principal == Agent::"t/stranger", action, resource);"#);
        all[5]["spec"]["limits"] = limits.clone();
        all[4]["spec"]["models"] =
            json!([{"name": "small", "price": {"inputPerMTok": "1.00", "outputPerMTok": "1.00"}}]);
    })
}

pub const TOOLS: &str = r#"@limit("calls") forbid (principal, action == Action::"invokeTool", resource);"#;
pub const MODELS: &str = r#"@limit("budget") forbid (principal, action == Action::"callModel", resource);"#;

pub fn chat(world: &World, more: &Value) -> Request<Full<Bytes>> {
    let mut body = json!({"model": "small", "messages": []});
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    world.request(Method::POST, "/llm/t/models/v1/chat/completions", &body)
}

fn of_stranger(world: &World, request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    with(&world.token("stranger", Duration::from_secs(600)), request)
}

fn said<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers[name].to_str().expect("text")
}

const EXCEEDED: Option<&str> = Some("limit_exceeded");

#[tokio::test]
async fn a_limit_refuses_what_does_not_fit_in_each_protocols_own_way_and_opens_again() {
    let world = World::new().await;
    let limits = json!([{"name": "calls", "requests": 2, "per": ["principal"], "window": {"sliding": "1h"}},
        {"name": "budget", "requests": 1, "window": {"sliding": "1h"}}]);
    world.gate.take_into_use(snapshot(&limited(&world, &limits, &[TOOLS, MODELS].concat())));
    for _ in 0..2 {
        assert_eq!(code(&world, world.tool("echo")).await, None);
    }
    let (status, headers, body) = world.call(world.tool("echo")).await;
    assert_eq!((status.as_u16(), said(&headers, "vidimus-code")), (200, "limit_exceeded"));
    let after: u64 = said(&headers, "retry-after").parse().expect("seconds");
    assert!((3600..=3825).contains(&after), "{after}");
    let error = &json_of(&body)["error"];
    assert_eq!((&error["code"], &error["data"]["limit"]), (&json!(-31_429), &json!("t/some/calls")));
    let record = world.records(&call_id(&headers), 1).await.remove(0);
    assert_eq!((&record["code"], &record["policies"]), (&json!("limit_exceeded"), &json!(["t/some#2"])));
    assert_eq!(record["facts"]["context.limits[\"t/some/calls\"]"], "-1");
    // Others have their own, and what connects does not count.
    assert_eq!(code(&world, of_stranger(&world, world.tool("echo"))).await, None);
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    assert_eq!(code(&world, world.request(Method::POST, "/mcp/t/tools", &list)).await, None);
    // A model's SDK is told as by its provider.
    assert_eq!(code(&world, chat(&world, &json!({}))).await, None);
    let (status, headers, body) = world.call(chat(&world, &json!({}))).await;
    assert_eq!((status.as_u16(), &json_of(&body)["error"]["type"]), (429, &json!("rate_limit_error")));
    assert!(headers.contains_key("retry-after"));
    world.clock.advance(Duration::from_secs(after - 1));
    assert_eq!(code(&world, world.tool("echo")).await.as_deref(), EXCEEDED);
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(code(&world, world.tool("echo")).await, None);
}

/// Attack: the clock is set back, so that a day's amount is there once more.
#[tokio::test]
async fn a_clock_that_is_set_back_gives_no_second_amount() {
    let world = World::new().await;
    let limits = json!([{"name": "calls", "requests": 1, "window": {"fixed": "24h"}}]);
    world.gate.take_into_use(snapshot(&limited(&world, &limits, TOOLS)));
    let day = Duration::from_secs(24 * 3600);
    let present = std::time::SystemTime::now();
    assert_eq!(code(&world, world.tool("echo")).await, None);
    // Tokens are made by the same clock.
    world.clock.set_wall(present - day);
    assert_eq!(code(&world, world.tool("echo")).await.as_deref(), EXCEEDED);
    world.clock.set_wall(present + day);
    assert_eq!(code(&world, world.tool("echo")).await, None, "the next day");
    world.clock.set_wall(present);
    assert_eq!(code(&world, world.tool("echo")).await.as_deref(), EXCEEDED);
}

/// What is not sent is given back, and of models what they did not use.
#[tokio::test]
async fn what_was_reserved_is_settled_with_what_was_used() {
    let world = World::new().await;
    let limits = json!([{"name": "budget", "tokens": 3000, "per": ["principal"], "window": {"fixed": "1h"}}]);
    let all = limited(&world, &limits, MODELS);
    world.gate.take_into_use(snapshot(&all));
    let answer = |input: u64, output: u64| {
        let choices = json!([{"index": 0, "finish_reason": "stop", "message": {"content": "hi"}}]);
        let usage = json!({"prompt_tokens": input, "completion_tokens": output});
        Answer::json(&json!({"object": "chat.completion", "choices": choices, "usage": usage}))
    };
    // Each may use 2,000, and uses 105.
    for _ in 0..3 {
        world.upstream.next(answer(100, 5));
        assert_eq!(code(&world, chat(&world, &json!({"max_tokens": 2000}))).await, None);
    }
    // While one is under way, what it may use is taken.
    let (streamed, stream) = Answer::stream("text/event-stream");
    world.upstream.next(streamed);
    let mut response = world.send(chat(&world, &json!({"stream": true, "max_tokens": 2000}))).await;
    let said = json!({"choices": [{"index": 0, "delta": {"content": "x"}}]});
    assert!(stream.event(&said.to_string()).await);
    response.body_mut().frame().await.expect("a chunk").expect("whole");
    assert_eq!(code(&world, chat(&world, &json!({"max_tokens": 2000}))).await.as_deref(), EXCEEDED);
    // Attack: who leaves before the provider counted saves nothing.
    let id = call_id(response.headers());
    drop(response);
    let effect = world.records(&id, 2).await.remove(1);
    assert!(effect["charged_tokens"].as_u64().expect("a number") >= 2000, "{effect}");
    assert_eq!(code(&world, chat(&world, &json!({"max_tokens": 1000}))).await.as_deref(), EXCEEDED);
    // What could not be sent takes nothing.
    let mut gone = all.clone();
    gone[4]["spec"]["endpoint"]["url"] = json!("http://127.0.0.1:9/llm");
    world.gate.take_into_use(snapshot(&gone));
    for _ in 0..4 {
        let refused = code(&world, chat(&world, &json!({"max_tokens": 300}))).await;
        assert_eq!(refused.as_deref(), Some("upstream_unreachable"));
    }
    world.gate.take_into_use(snapshot(&all));
    world.upstream.next(answer(1, 1));
    assert_eq!(code(&world, chat(&world, &json!({"max_tokens": 300}))).await, None);
}

/// A server that says no usage in its streams is charged by what it wrote, and not by the events that this stands in.
#[tokio::test]
async fn a_stream_without_usage_counts_its_texts() {
    let world = World::new().await;
    let limits = json!([{"name": "budget", "tokens": 30_000, "window": {"fixed": "1h"}}]);
    world.gate.take_into_use(snapshot(&limited(&world, &limits, MODELS)));
    let chunk = |delta: &str, end: &Value| {
        let choices = json!([{"index": 0, "delta": {"content": delta}, "finish_reason": end}]);
        let chunk = json!({"id": "chatcmpl-7c3f5a1e9b2d4c68", "object": "chat.completion.chunk", "created": 1_700_000_000,
            "model": "small", "system_fingerprint": "fp_0123456789", "choices": choices});
        format!("data: {chunk}\n\n")
    };
    let body = chunk(" word", &Value::Null).repeat(50) + &chunk("", &json!("stop")) + "data: [DONE]\n\n";
    world.upstream.next(Answer::whole("text/event-stream", body));
    let (_, headers, _) = world.call(chat(&world, &json!({"stream": true, "max_tokens": 2000}))).await;
    let effect = world.records(&call_id(&headers), 2).await.remove(1);
    let question = effect["bytes_in"].as_u64().expect("a number") / 4;
    assert_eq!(effect["charged_tokens"], question + 63, "{effect}");
}

/// No provider charges for an answer that is an error, so neither do tokens nor spend; the call was made, and counts as one.
#[tokio::test]
async fn what_a_provider_refuses_takes_no_tokens() {
    let world = World::new().await;
    let limits = json!([{"name": "budget", "tokens": 3000, "window": {"fixed": "1h"}},
        {"name": "asked", "requests": 5, "window": {"fixed": "1h"}}]);
    let cedar = r#"@limit("budget asked") forbid (principal, action == Action::"callModel", resource);"#;
    world.gate.take_into_use(snapshot(&limited(&world, &limits, cedar)));
    for status in [429, 503, 400, 401] {
        let error = Answer::json(&json!({"error": {"message": "no", "type": "x"}}));
        world.upstream.next(error.with_status(StatusCode::from_u16(status).expect("a status")));
        let (_, headers, _) = world.call(chat(&world, &json!({"max_tokens": 2900}))).await;
        let effect = world.records(&call_id(&headers), 2).await.remove(1);
        assert_eq!((&effect["status"], &effect["charged_tokens"]), (&json!(status), &json!(0)), "{effect}");
    }
    assert_eq!(code(&world, chat(&world, &json!({"max_tokens": 2900}))).await, None);
    assert_eq!(code(&world, chat(&world, &json!({"max_tokens": 1}))).await.as_deref(), EXCEEDED, "asked");
}

/// As OpenAI's own clients read it: there is room, and not for this much.
#[tokio::test]
async fn how_much_room_there_is_is_told() {
    let world = World::new().await;
    let limits = json!([{"name": "budget", "tokens": 1000, "window": {"fixed": "1h"}}]);
    world.gate.take_into_use(snapshot(&limited(&world, &limits, MODELS)));
    let (_, headers, _) = world.call(chat(&world, &json!({"max_tokens": 2000}))).await;
    let told = ["vidimus-code", "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens"];
    assert_eq!(told.map(|name| said(&headers, name)), ["limit_exceeded", "1000", "1000"]);
}

#[tokio::test]
async fn spend_is_by_the_prices_of_the_record() {
    let world = World::new().await;
    // 1.00 for a million tokens: a tenth of a cent is 1,000 tokens.
    let limits = json!([{"name": "budget", "spend": "0.001", "window": {"fixed": "1h"}}]);
    world.gate.take_into_use(snapshot(&limited(&world, &limits, MODELS)));
    assert_eq!(code(&world, chat(&world, &json!({"max_tokens": 5000}))).await.as_deref(), EXCEEDED);
    let usage = json!({"prompt_tokens": 1, "completion_tokens": 700});
    let choices = json!([{"index": 0, "finish_reason": "stop", "message": {"content": "hi"}}]);
    world
        .upstream
        .next(Answer::json(&json!({"object": "chat.completion", "choices": choices, "usage": usage})));
    assert_eq!(code(&world, chat(&world, &json!({"max_tokens": 800}))).await, None);
    assert_eq!(code(&world, chat(&world, &json!({"max_tokens": 400}))).await.as_deref(), EXCEEDED);
    let text = measured(&world);
    for line in [
        "vidimus_spend_total{provider=\"t/models\",model=\"small\",team=\"t\"} 0.000701",
        "vidimus_limit_amount{limit=\"t/some/budget\"} 0.001",
        "vidimus_limit_left{limit=\"t/some/budget\",team=\"\"} 0.000299",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert_eq!(code(&world, chat(&world, &json!({"max_tokens": 100}))).await, None);
}

/// What `/metrics` has.
fn measured(world: &World) -> String {
    world.gate.measure_limits();
    world.gate.meter.text(&world.gate.ledger)
}

/// A limit that is counted by whom calls are of shows what is left to whom the least is: who calls is no label.
#[tokio::test]
async fn what_is_left_of_a_limit_is_shown_by_team_and_of_whom_has_the_least() {
    let world = World::new().await;
    let limits =
        json!([{"name": "calls", "requests": 5, "per": ["principal", "team"], "window": {"fixed": "1h"}}]);
    world.gate.take_into_use(snapshot(&limited(&world, &limits, TOOLS)));
    assert!(!measured(&world).contains("vidimus_limit_left{"), "nothing was taken yet");
    for _ in 0..3 {
        assert_eq!(code(&world, world.tool("echo")).await, None);
    }
    assert_eq!(code(&world, of_stranger(&world, world.tool("echo"))).await, None);
    let text = measured(&world);
    assert!(text.contains("vidimus_limit_left{limit=\"t/some/calls\",team=\"t\"} 2.0"), "{text}");
    assert_eq!(text.matches("vidimus_limit_left{").count(), 1, "{text}");
    // What was taken of a limit that told others apart is nothing of the one that has its name now.
    for changed in [
        json!({"name": "calls", "requests": 2, "per": ["team"], "window": {"fixed": "1h"}}),
        json!({"name": "calls", "requests": 2, "window": {"fixed": "1h"}}),
    ] {
        world.gate.take_into_use(snapshot(&limited(&world, &json!([changed]), TOOLS)));
        assert!(!measured(&world).contains("vidimus_limit_left{"), "nothing was taken of {changed}");
    }
    world.gate.take_into_use(snapshot(&limited(&world, &limits, TOOLS)));
    // The window is over, and nobody has called since.
    world.clock.advance(Duration::from_secs(3600));
    assert!(measured(&world).contains("vidimus_limit_left{limit=\"t/some/calls\",team=\"t\"} 5.0"));
}

#[tokio::test]
async fn calls_at_once_are_counted_until_their_answers_end() {
    let world = World::new().await;
    let limits = json!([{"name": "calls", "concurrency": 1, "per": ["principal", "tool"]}]);
    world.gate.take_into_use(snapshot(&limited(&world, &limits, TOOLS)));
    let (response, stream) = world.streaming("echo").await;
    let (_, headers, _) = world.call(world.tool("echo")).await;
    assert_eq!([said(&headers, "vidimus-code"), said(&headers, "retry-after")], ["limit_exceeded", "1"]);
    assert_eq!(code(&world, world.tool("other")).await, None, "another tool");
    assert_eq!(code(&world, of_stranger(&world, world.tool("echo"))).await, None, "another caller");
    let id = call_id(response.headers());
    drop((response, stream));
    world.records(&id, 2).await;
    assert_eq!(code(&world, world.tool("echo")).await, None);
}

/// What is left is seen by the policies before it is nothing.
#[tokio::test]
async fn a_policy_holds_for_people_before_there_is_no_room() {
    let world = World::new().await;
    let limits = json!([{"name": "calls", "requests": 3, "window": {"fixed": "1h"}}]);
    let held = r#"@approval("payers") forbid (principal, action == Action::"invokeTool", resource)
        when { context.limits.hasTag("t/some/calls") && context.limits.getTag("t/some/calls") < 1 }
        unless { context has approval && context.approval.role == "payers" };"#;
    world.gate.take_into_use(snapshot(&limited(&world, &limits, &[TOOLS, held].concat())));
    for expected in [None, None, Some("approval_required"), Some("approval_required")] {
        assert_eq!(code(&world, world.tool("echo")).await.as_deref(), expected, "what is held takes nothing");
    }
}

/// 64 at once through the gateway: exactly as many as the limit says.
#[tokio::test]
async fn sixty_four_at_once_do_not_overspend_by_one() {
    let world = World::new().await;
    let limits =
        json!([{"name": "calls", "requests": 40, "per": ["namespace"], "window": {"sliding": "1h"}}]);
    world.gate.take_into_use(snapshot(&limited(&world, &limits, TOOLS)));
    let calls = (0..64).map(|number| {
        let request = world.tool("echo");
        code(&world, if number % 2 == 0 { request } else { of_stranger(&world, request) })
    });
    let passed = join_all(calls).await.into_iter().filter(Option::is_none).count();
    assert_eq!(passed, 40);
}

/// A model that answers with as much as it is let, of a question that is as long as one of so many bytes can be.
fn writes_all(world: &World) {
    world.upstream.otherwise(|received| {
        let body = received.json();
        let written = body["max_tokens"].as_u64().unwrap_or(32_000);
        let question = body["messages"].to_string().len();
        let choices = json!([{"index": 0, "finish_reason": "length", "message": {"content": "x"}}]);
        let usage = json!({"prompt_tokens": question, "completion_tokens": written});
        Answer::json(&json!({"object": "chat.completion", "choices": choices, "usage": usage}))
    });
}

/// What the model of a world used, by its own count.
fn used(world: &World) -> u64 {
    let records = world.all_records();
    let number = |record: &Value, name: &str| record[name].as_u64().unwrap_or_default();
    records.iter().map(|record| number(record, "tokens_input") + number(record, "tokens_output")).sum()
}

/// So many ask at once, without a word on how long their answers may be; gives how many passed.
async fn all_ask(worlds: &[&World], count: usize) -> usize {
    let question = json!({"messages": [{"role": "user", "content": "{}[]!? ".repeat(400)}]});
    let calls = (0..count)
        .map(|number| code(worlds[number % worlds.len()], chat(worlds[number % worlds.len()], &question)));
    let codes = join_all(calls).await;
    assert!(codes.iter().flatten().all(|code| code == "limit_exceeded"), "{codes:?}");
    codes.into_iter().filter(Option::is_none).count()
}

/// Attack: 64 at once whose requests do not say how long an answer may be, to a model that writes all it can.
#[tokio::test]
async fn sixty_four_at_once_do_not_overspend_tokens_or_spend() {
    // A price of 1.00 for a million tokens: 0.3 are 300,000.
    for limit in [json!({"tokens": 300_000}), json!({"spend": "0.3"})] {
        let world = World::new().await;
        let mut limit = limit;
        (limit["name"], limit["window"]) = (json!("budget"), json!({"sliding": "1h"}));
        world.gate.take_into_use(snapshot(&limited(&world, &json!([limit]), MODELS)));
        writes_all(&world);
        let passed = all_ask(&[&world], 64).await;
        assert!((10..64).contains(&passed), "{passed}: {limit}");
        assert!((100_000..=300_000).contains(&used(&world)), "{} of {limit}", used(&world));
        // What goes to the provider says what was reserved, and the record that it does.
        let received = world.upstream.received();
        assert!(received.iter().all(|received| received.json()["max_tokens"] == 4096));
        let records = world.all_records();
        let effects = records.iter().filter(|record| record["kind"] == "effect");
        assert!(
            effects.clone().all(|effect| effect["changed"]["cap_tokens"] == 1) && effects.count() == passed
        );
    }
}

/// The same over two gateways that share a store.
#[tokio::test]
async fn sixty_four_at_once_over_two_gateways_do_not_overspend() {
    for limit in [json!({"tokens": 300_000}), json!({"spend": "0.3"})] {
        let (_redis, one, other) = two().await;
        let mut limit = limit;
        (limit["name"], limit["window"]) = (json!("budget"), json!({"sliding": "1h"}));
        for world in [&one, &other] {
            world.gate.take_into_use(snapshot(&limited(world, &json!([limit]), MODELS)));
            writes_all(world);
        }
        let passed = all_ask(&[&one, &other], 64).await;
        assert!((10..64).contains(&passed), "{passed}: {limit}");
        let used = used(&one) + used(&other);
        assert!((100_000..=300_000).contains(&used), "{used} of {limit}");
    }
}

/// Attack: a provider that goes on beyond what it was told, so that more is used than was reserved.
#[tokio::test]
async fn a_stream_that_passes_what_was_reserved_is_cut() {
    let world = World::new().await;
    let limits = json!([{"name": "budget", "tokens": 3000, "window": {"fixed": "1h"}}]);
    let said = json!({"choices": [{"index": 0, "delta": {"content": "x"}}]}).to_string();
    for (cedar, is_cut) in [("", false), (MODELS, true)] {
        world.gate.take_into_use(snapshot(&limited(&world, &limits, cedar)));
        let (streamed, stream) = Answer::stream("text/event-stream");
        world.upstream.next(streamed);
        let goes_on = async {
            for _ in 0..30 {
                stream.event(&said).await;
            }
            stream.event("[DONE]").await;
            drop(stream);
        };
        let call = world.call(chat(&world, &json!({"stream": true, "max_tokens": 20})));
        let ((_, headers, passed), ()) = tokio::join!(call, goes_on);
        let text = String::from_utf8_lossy(&passed);
        let effect = world.records(&call_id(&headers), 2).await.remove(1);
        assert_eq!(effect["code"] == "upstream_invalid", is_cut, "{effect}");
        assert_eq!(text.contains("upstream_invalid"), is_cut, "{text}");
        assert_eq!(text.contains("[DONE]"), !is_cut, "{text}");
    }
}

/// Attack: a provider that streams for ever, a word now and then, to a call that goes on with a chain: it does not end with its credential, and holds its
/// place among the calls at once.
#[tokio::test]
async fn a_stream_of_a_model_ends_in_its_time() {
    let world = World::new().await;
    let mut all = limited(&world, &json!([]), "");
    all[4]["spec"]["streamTimeout"] = json!("700ms");
    world.gate.take_into_use(snapshot(&all));
    let token = begin(&world).await;
    let (streamed, stream) = Answer::stream("text/event-stream");
    world.upstream.next(streamed);
    let drip = tokio::spawn(async move {
        let said = json!({"choices": [{"index": 0, "delta": {"content": "x"}}]}).to_string();
        while stream.event(&said).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let call = world.call(with(&token, chat(&world, &json!({"stream": true, "max_tokens": 1000}))));
    let (_, headers, body) = tokio::time::timeout(Duration::from_secs(10), call).await.expect("it ends");
    let text = String::from_utf8_lossy(&body);
    assert!(text.contains("upstream_timeout") && text.contains("longer than a stream"), "{text}");
    let effect = world.records(&call_id(&headers), 2).await.remove(1);
    assert_eq!((&effect["result"], &effect["code"]), (&json!("failed"), &json!("upstream_timeout")));
    drip.abort();
}

/// Attack: the gateway is restarted, so that the amount is there once more.
#[tokio::test]
async fn what_was_taken_counts_after_a_start() {
    let world = World::new().await;
    let limits = json!([{"name": "calls", "requests": 2, "per": ["principal", "tool"], "window": {"sliding": "1h"}},
        {"name": "budget", "tokens": 3000, "per": ["team", "model"], "window": {"fixed": "8760h"}}]);
    let all = limited(&world, &limits, &[TOOLS, MODELS].concat());
    world.gate.take_into_use(snapshot(&all));
    for _ in 0..2 {
        assert_eq!(code(&world, world.tool("echo")).await, None);
    }
    let choices = json!([{"index": 0, "finish_reason": "stop", "message": {"content": "hi"}}]);
    let usage = json!({"prompt_tokens": 100, "completion_tokens": 5});
    world
        .upstream
        .next(Answer::json(&json!({"object": "chat.completion", "choices": choices, "usage": usage})));
    assert_eq!(code(&world, chat(&world, &json!({"max_tokens": 2000}))).await, None);
    let again = world.again(snapshot(&all)).await;
    assert_eq!(code(&again, again.tool("echo")).await.as_deref(), EXCEEDED);
    assert_eq!(code(&again, again.tool("other")).await, None);
    assert_eq!(code(&again, of_stranger(&again, again.tool("echo"))).await, None);
    assert_eq!(code(&again, chat(&again, &json!({"max_tokens": 2900}))).await.as_deref(), EXCEEDED);
    assert_eq!(code(&again, chat(&again, &json!({"max_tokens": 2800}))).await, None, "it was settled");
}

/// Attack: the gateway is restarted on the last day of a budget's month.
#[tokio::test]
async fn what_was_taken_weeks_ago_counts_after_a_start() {
    let world = World::new().await;
    let day = Duration::from_secs(24 * 3600);
    for (window, longest) in [
        (json!({"sliding": "720h"}), Some(30 * day)),
        (json!({"sliding": "12h"}), None),
        (json!({"fixed": "24h"}), None),
    ] {
        let limits = json!([{"name": "calls", "requests": 2, "window": window}]);
        let found = world.gate.shared.older_limits_of(&snapshot(&limited(&world, &limits, TOOLS)));
        assert_eq!(found, longest, "{window}");
    }
    let limits = json!([{"name": "calls", "requests": 2, "window": {"sliding": "720h"}}]);
    let all = limited(&world, &limits, TOOLS);
    world.gate.take_into_use(snapshot(&all));
    for _ in 0..2 {
        assert_eq!(code(&world, world.tool("echo")).await, None);
    }
    for (ago, expected) in [(29, EXCEEDED), (33, None)] {
        let then = jiff::Timestamp::try_from(std::time::SystemTime::now() - ago * day).expect("a time");
        let mut records = world.all_records();
        records.iter_mut().for_each(|record| record["time"] = json!(then.to_string()));
        let again = world.again_with(snapshot(&all), records).await;
        assert_eq!(code(&again, again.tool("echo")).await.as_deref(), expected, "{ago} days ago");
    }
}

/// What was not sent is given back, by the same codes after a start as before it.
#[tokio::test]
async fn what_was_not_sent_is_not_taken_up() {
    let world = World::new().await;
    let limits = json!([{"name": "calls", "requests": 2, "window": {"sliding": "1h"}}]);
    let all = limited(&world, &limits, TOOLS);
    world.gate.take_into_use(snapshot(&all));
    for _ in 0..2 {
        assert_eq!(code(&world, world.tool("echo")).await, None);
    }
    for (unsent, expected) in [
        ("upstream_unreachable", None),
        ("upstream_refused_address", None),
        ("arguments_invalid", None),
        ("era_unbridged", None),
        ("overloaded", None),
        ("upstream_interrupted", EXCEEDED),
    ] {
        let mut records = world.all_records();
        for effect in records.iter_mut().filter(|record| record["kind"] == "effect") {
            (effect["code"], effect["result"], effect["status"]) = (json!(unsent), json!("failed"), json!(0));
        }
        let again = world.again_with(snapshot(&all), records).await;
        assert_eq!(code(&again, again.tool("echo")).await.as_deref(), expected, "{unsent}");
    }
}

/// What nothing is said of costs nothing and is not refused, whatever is counted.
#[tokio::test]
async fn without_a_limit_nothing_is_counted() {
    let world = World::new().await;
    world.gate.take_into_use(snapshot(&objects(&world.upstream)));
    let (_, headers, _) = world.call(world.tool("echo")).await;
    let record = world.records(&call_id(&headers), 1).await.remove(0);
    assert!(!record["facts"].to_string().contains("context.limits"), "{record}");
}

/// Attack: calls are spread over gateways, so that each has the whole amount.
#[tokio::test]
async fn a_limit_is_of_all_gateways_that_share_a_store() {
    let (_redis, one, other) = two().await;
    for world in [&one, &other] {
        let limits =
            json!([{"name": "calls", "requests": 3, "per": ["principal"], "window": {"sliding": "1h"}}]);
        world.gate.take_into_use(snapshot(&limited(world, &limits, TOOLS)));
    }
    for world in [&one, &other, &one] {
        assert_eq!(code(world, world.tool("echo")).await, None);
    }
    for world in [&one, &other] {
        let (_, headers, _) = world.call(world.tool("echo")).await;
        assert_eq!(said(&headers, "vidimus-code"), "limit_exceeded");
        let after: u64 = said(&headers, "retry-after").parse().expect("seconds");
        assert!((3590..=3826).contains(&after), "{after}");
    }
    assert_eq!(code(&other, of_stranger(&other, other.tool("echo"))).await, None);
}

/// Of what models did not use the others may take.
#[tokio::test]
async fn what_one_gateway_settles_the_other_may_take() {
    let (_redis, one, other) = two().await;
    for world in [&one, &other] {
        let limits = json!([{"name": "budget", "tokens": 3000, "window": {"fixed": "24h"}}]);
        world.gate.take_into_use(snapshot(&limited(world, &limits, MODELS)));
    }
    let choices = json!([{"index": 0, "finish_reason": "stop", "message": {"content": "hi"}}]);
    let usage = json!({"prompt_tokens": 1, "completion_tokens": 1});
    for world in [&one, &other, &one, &other] {
        world.upstream.next(Answer::json(&json!({"choices": choices, "usage": usage})));
        let mut passed = false;
        // That it is settled is told beside the calls.
        for _ in 0..100 {
            passed = code(world, chat(world, &json!({"max_tokens": 2000}))).await.is_none();
            if passed {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(passed);
    }
}

/// Attack: the store is lost, or loses what it had, so that nothing is counted any more.
#[tokio::test]
async fn a_lost_store_does_as_the_limit_says_and_never_opens() {
    let mut redis = Redis::start().await;
    let world = World::sharing(redis.address(), None).await;
    let of = |lost: &str| {
        let limits = json!([{"name": "calls", "requests": 2, "window": {"fixed": "24h"}, "whenLost": lost}]);
        snapshot(&limited(&world, &limits, TOOLS))
    };
    world.gate.take_into_use(of("closed"));
    assert_eq!(code(&world, world.tool("echo")).await, None);
    redis.stop();
    world.until_shared(false).await;
    assert_eq!(code(&world, world.tool("echo")).await.as_deref(), Some("standing_unavailable"));
    // Each by itself, with what passed through it before.
    world.gate.take_into_use(of("local"));
    assert_eq!(code(&world, world.tool("echo")).await, None);
    assert_eq!(code(&world, world.tool("echo")).await.as_deref(), EXCEEDED);
    // It comes back with nothing in it.
    redis.restart().await;
    world.until_shared(true).await;
    for lost in ["closed", "local"] {
        world.gate.take_into_use(of(lost));
        assert_eq!(code(&world, world.tool("echo")).await.as_deref(), EXCEEDED, "{lost}");
    }
}
