//! What is counted over several calls counts whoever leaves, stops or is unregistered meanwhile.

use std::time::Duration;

use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use serde_json::{Value, json};
use vidimus_core::act::{Act, Granted, Terms};
use vidimus_core::clock::Clock as _;
use vidimus_core::record::Kept;
use vidimus_gateway::{Limits, millis};
use vidimus_testkit::upstream::Answer;

use super::acts::{ADMIN, follow_with};
use super::approvals::HOLD;
use super::chains::{also, begin, code, estate, received_token, with};
use super::redis::Redis;
use super::world::{World, call_id, objects, snapshot};

const BUDGET: &str = r#"
    @id("budget") forbid (principal, action in Action::"llm", resource) when { context.chain.tokens > 3000 };
"#;

/// Confidential content does not leave.
const KEPT: &str = r#"
    forbid (principal, action, resource is Tool)
    when { context.labels.contains("confidential") && resource.sends.contains("external") };
"#;

fn chat(world: &World, more: &Value) -> Request<Full<Bytes>> {
    let mut body = json!({"model": "small", "messages": []});
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    world.request(Method::POST, "/llm/t/models/v1/chat/completions", &body)
}

/// A tool that reads what is confidential, one that sends to the outside, and a policy that keeps the two apart.
fn labelled(all: &mut [Value]) {
    all[3]["spec"]["tools"] = json!({
        "customer": {"labels": {"reads": ["confidential"]}}, "mail": {"labels": {"sends": ["external"]}},
    });
    also(all, KEPT);
}

async fn ends(body: &mut Incoming) -> bool {
    let next = tokio::time::timeout(Duration::from_secs(10), body.frame()).await;
    matches!(next, Ok(None | Some(Err(_))))
}

/// Attack: the caller leaves before the head of the answer, or within a stream, so that its budget is never used up.
#[tokio::test]
async fn a_call_of_a_model_counts_where_its_caller_leaves() {
    let world = World::new().await;
    world.gate.take_into_use(snapshot(&estate(&world, |all| also(all, BUDGET))));
    // Within the stream, when the provider has counted little.
    let token = begin(&world).await;
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let asks = json!({"stream": true, "max_tokens": 1000, "max_completion_tokens": 900, "n": 3});
    let mut response = world.send(with(&token, chat(&world, &asks))).await;
    let said = json!({"choices": [{"index": 0, "delta": {"content": "x"}}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 1}});
    assert!(stream.event(&said.to_string()).await);
    response.body_mut().frame().await.expect("a chunk").expect("whole");
    // While it is under way as much is reserved, so that many at once do not all pass.
    assert_eq!(
        code(&world, with(&token, chat(&world, &json!({})))).await.as_deref(),
        Some("forbidden_by_policy")
    );
    let id = call_id(response.headers());
    drop(response);
    let effect = world.records(&id, 2).await.remove(1);
    assert_eq!((&effect["result"], &effect["charged_tokens"]), (&json!("cancelled"), &json!(3007)));
    assert_eq!(
        code(&world, with(&token, chat(&world, &json!({})))).await.as_deref(),
        Some("forbidden_by_policy")
    );
    // Before anything came.
    let token = begin(&world).await;
    let before = world.upstream.received().len();
    world.upstream.next(Answer::hang());
    let sent =
        tokio::time::timeout(Duration::from_millis(500), world.send(with(&token, chat(&world, &json!({})))));
    assert!(sent.await.is_err(), "no answer");
    world.upstream.until_received(before + 1).await;
    let of_model =
        |record: &Value| record["kind"] == "effect" && record["charged_tokens"].as_u64() > Some(4000);
    for _ in 0..1000 {
        if world.all_records().iter().any(of_model) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        code(&world, with(&token, chat(&world, &json!({})))).await.as_deref(),
        Some("forbidden_by_policy")
    );
    // A whole answer of a provider that counts is what that says, and one that does not count is what passed.
    let token = begin(&world).await;
    for usage in [json!({"prompt_tokens": 2, "completion_tokens": 3}), Value::Null] {
        let choices = json!([{"index": 0, "finish_reason": "stop", "message": {"content": "hi"}}]);
        world
            .upstream
            .next(Answer::json(&json!({"object": "chat.completion", "choices": choices, "usage": usage})));
        let (status, headers, body) =
            world.call(with(&token, chat(&world, &json!({"max_tokens": 2000})))).await;
        assert!(status.is_success(), "{headers:?}");
        let effect = world.records(&call_id(&headers), 2).await.remove(1);
        let estimated = effect["bytes_in"].as_u64().expect("a number") / 4;
        let charged = if usage.is_null() { estimated + body.len() as u64 / 4 } else { 5 };
        assert_eq!(effect["charged_tokens"], charged, "{effect}");
    }
}

/// Attack: a budget that is nearly used up is whole again after a restart, because the model does not say what it used.
#[tokio::test]
async fn what_was_charged_counts_after_a_start() {
    let world = World::new().await;
    let all = estate(&world, |all| also(all, BUDGET));
    world.gate.take_into_use(snapshot(&all));
    let token = begin(&world).await;
    let words = "word ".repeat(1000);
    let long = json!({"messages": [{"role": "user", "content": words}]});
    for _ in 0..2 {
        world.upstream.next(Answer::json(&json!({"choices": [{"finish_reason": "stop", "message": {}}]})));
        assert_eq!(code(&world, with(&token, chat(&world, &long))).await, None);
    }
    assert_eq!(code(&world, with(&token, chat(&world, &long))).await.as_deref(), Some("forbidden_by_policy"));
    // The provider is not registered any more while the records are read.
    let mut without = all.clone();
    without.remove(4);
    let again = world.again(snapshot(&without)).await;
    again.gate.take_into_use(snapshot(&all));
    assert_eq!(code(&again, with(&token, chat(&again, &long))).await.as_deref(), Some("forbidden_by_policy"));
    // One that had come to no end counts for what it may have used.
    let other = begin(&world).await;
    assert_eq!(code(&world, with(&other, chat(&world, &json!({"max_tokens": 5000})))).await, None);
    let cut: Vec<Value> = world
        .all_records()
        .into_iter()
        .filter(|record| record["kind"] != "effect" || record["charged_tokens"].is_null())
        .collect();
    let again = world.again_with(snapshot(&all), cut).await;
    assert_eq!(
        code(&again, with(&other, chat(&again, &json!({})))).await.as_deref(),
        Some("forbidden_by_policy")
    );
}

/// Attack: whoever brought a label is taken off the register, or labelled otherwise, and the label is gone.
#[tokio::test]
async fn a_label_outlives_what_brought_it() {
    let world = World::new().await;
    let all = estate(&world, labelled);
    let unlabelled = estate(&world, |all| {
        labelled(all);
        all[3]["spec"]["tools"] = json!({"mail": {"labels": {"sends": ["external"]}}});
    });
    // Another server has the tool that sends.
    let mut gone = all.clone();
    gone[3]["metadata"]["name"] = json!("others");
    gone[3]["spec"]["tools"] = json!({"mail": {"labels": {"sends": ["external"]}}});
    world.gate.take_into_use(snapshot(&all));
    assert_eq!(code(&world, world.tool("mail")).await, None);
    assert_eq!(code(&world, world.tool("customer")).await, None);
    let mail = |world: &World, server: &str| {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "mail"}});
        world.request(Method::POST, &format!("/mcp/t/{server}"), &call)
    };
    for (next, server) in [(&unlabelled, "tools"), (&gone, "others"), (&all, "tools")] {
        world.gate.take_into_use(snapshot(next));
        assert_eq!(
            code(&world, mail(&world, server)).await.as_deref(),
            Some("forbidden_by_policy"),
            "{server}"
        );
        let again = world.again(snapshot(next)).await;
        assert_eq!(
            code(&again, mail(&again, server)).await.as_deref(),
            Some("forbidden_by_policy"),
            "{server}"
        );
    }
}

/// Attack: an agent asks another one, which knows what is confidential and says so, and sends that outside.
#[tokio::test]
async fn what_an_agent_knows_that_is_called_comes_back_to_who_called_it() {
    let world = World::new().await;
    let all = estate(&world, |all| {
        labelled(all);
        all[2]["spec"]["identities"] =
            json!([{"oidc": {"issuer": "urn:vidimus:local", "subject": "callee"}}]);
    });
    world.gate.take_into_use(snapshot(&all));
    let own = world.token("callee", Duration::from_secs(600));
    assert_eq!(code(&world, world.tool("mail")).await, None);
    // It reads by its own credential while it is asked, and what it streams is known before the stream ends.
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let message =
        json!({"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": {"message": {}}});
    let asked = world.send(world.request(Method::POST, "/a2a/t/callee", &message)).await;
    let chain = received_token(&world);
    assert!(stream.event("{}").await);
    assert_eq!(code(&world, world.tool("mail")).await, None, "it knows nothing yet");
    assert_eq!(code(&world, with(&own, world.tool("customer"))).await, None);
    assert_eq!(code(&world, world.tool("mail")).await.as_deref(), Some("forbidden_by_policy"));
    assert_eq!(code(&world, with(&chain, world.tool("mail"))).await.as_deref(), Some("forbidden_by_policy"));
    drop((asked, stream));
    // From memory, to who asks later.
    let stranger = world.token("stranger", Duration::from_secs(600));
    let mut all = all.clone();
    also(&mut all, r#"permit (principal == Agent::"t/stranger", action, resource);"#);
    world.gate.take_into_use(snapshot(&all));
    assert_eq!(code(&world, with(&stranger, world.tool("mail"))).await, None);
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": {}}});
    let ask = with(&stranger, world.request(Method::POST, "/a2a/t/callee", &message));
    assert_eq!(code(&world, ask).await, None);
    assert_eq!(
        code(&world, with(&stranger, world.tool("mail"))).await.as_deref(),
        Some("forbidden_by_policy")
    );
    let again = world.again(snapshot(&all)).await;
    assert_eq!(
        code(&again, with(&stranger, again.tool("mail"))).await.as_deref(),
        Some("forbidden_by_policy")
    );
}

/// An end is on record as a decision, and is taken up from that, however long ago it was.
#[tokio::test]
async fn a_chain_that_was_ended_long_before_a_start_stays_so() {
    let world = World::new().await;
    let all = estate(&world, |all| all[2]["spec"]["delegation"] = json!({"maxCalls": 2}));
    world.gate.take_into_use(snapshot(&all));
    let token = begin(&world).await;
    assert_eq!(code(&world, with(&token, world.tool("echo"))).await, None);
    assert_eq!(code(&world, with(&token, world.tool("echo"))).await.as_deref(), Some("chain_limit"));
    assert!(world.gate.shared.longest_end() >= Duration::from_secs(24 * 3600));
    // Nothing ends chains any more, and nothing else is taken up.
    let unlimited = snapshot(&estate(&world, |_| ()));
    let again = world.again_with(unlimited, Vec::new()).await;
    assert_eq!(code(&again, with(&token, again.tool("echo"))).await, None, "not known");
    let ended =
        world.all_records().into_iter().filter(|record| record["facts"]["chain.ended_by"].is_string());
    let ended: Vec<Value> = ended.collect();
    let read = |record: &Value| Kept::read(record.to_string().as_bytes()).expect("a record");
    // That another enforcement point asked about such a call ended nothing, before the start or after it.
    let mut asked = ended.clone();
    asked.iter_mut().for_each(|record| record["asked_by"] = json!("User/i#point"));
    again.gate.restore_ended(asked.iter().map(read));
    assert_eq!(code(&again, with(&token, again.tool("echo"))).await, None);
    again.gate.restore_ended(ended.iter().map(read));
    assert_eq!(code(&again, with(&token, again.tool("echo"))).await.as_deref(), Some("chain_ended"));
}

/// A policy that asks for an approval from now on cuts what is under way and was not approved.
#[tokio::test]
async fn a_stream_ends_where_its_tool_would_be_held_now() {
    let world = World::new().await;
    let given = estate(&world, |_| ());
    let held = estate(&world, |all| also(all, HOLD));
    let by_argument = estate(&world, |all| {
        also(
            all,
            r#"@approval("payers") forbid (principal, action == Action::"invokeTool", resource)
               when { context.args.hasTag("/amount") } unless { context has approval };"#,
        );
    });
    for (next, goes_on) in [(&held, false), (&by_argument, true)] {
        world.gate.take_into_use(snapshot(&given));
        let (response, stream) = world.streaming("echo").await;
        let mut body = response.into_body();
        assert!(stream.event("{}").await);
        assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
        world.gate.take_into_use(snapshot(next));
        if goes_on {
            // It has no argument that matters.
            assert!(stream.event("{}").await);
            assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
        } else {
            assert!(ends(&mut body).await, "cut");
        }
    }
}

/// What is only tried refuses nothing, also where it would have to be counted and cannot be.
#[tokio::test]
async fn a_policy_that_is_tried_changes_nothing_without_the_store() {
    let mut redis = Redis::start().await;
    let world = World::sharing(redis.address(), None).await;
    let with_policy = |mode: &str| {
        let mut all = estate(&world, |all| {
            all[3]["spec"]["tools"] = json!({"customer": {"labels": {"reads": ["confidential"]}}});
        });
        let cedar = r#"forbid (principal, action in Action::"mcp", resource)
            when { context.chain.calls > 90 || context.labels.contains("confidential") };"#;
        all.push(json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy",
            "metadata": {"namespace": "t", "name": "tried"},
            "spec": {"description": "tried", "mode": mode, "cedar": cedar}}));
        snapshot(&all)
    };
    world.gate.take_into_use(with_policy("observe"));
    let token = begin(&world).await;
    assert_eq!(code(&world, with(&token, world.tool("customer"))).await, None);
    // It is counted for it all the same.
    let (_, headers, _) = world.call(with(&token, world.tool("echo"))).await;
    let record = world.records(&call_id(&headers), 1).await.remove(0);
    assert_eq!(record["observed"][0]["outcome"], "deny", "{record}");
    redis.stop();
    world.until_shared(false).await;
    assert_eq!(code(&world, with(&token, world.tool("echo"))).await, None);
    assert_eq!(code(&world, world.tool("echo")).await, None);
    world.gate.take_into_use(with_policy("enforce"));
    assert_eq!(code(&world, world.tool("echo")).await.as_deref(), Some("standing_unavailable"));
}

/// A grant is over at its time, whether or not that can be recorded: nothing follows what stands here, so nothing else would end it.
#[tokio::test]
async fn a_stream_ends_with_the_time_of_its_grant() {
    let world = World::new().await;
    follow_with(&world, &objects(&world.upstream));
    let terms = Terms {
        agent: "Agent/t/caller".parse().expect("an agent"),
        resources: vec!["Tool/t/tools/lent".parse().expect("a tool")],
        transaction: None,
        uses: Some(2),
    };
    let until_ms = millis(world.clock.now().wall).0 + 300_000;
    let grant = Act::Grant(Granted { request: None, terms, until_ms });
    world.gate.shared.act(ADMIN, grant, "CASE-12").await.expect("done");
    let (response, stream) = world.streaming("lent").await;
    let mut body = response.into_body();
    assert!(stream.event("{}").await);
    assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
    world.clock.advance(Duration::from_secs(301));
    assert!(stream.event("{}").await);
    assert!(ends(&mut body).await, "cut");
}

/// Whoever called is proven no longer, and would be refused now; the token of `world.tool` is good for ten minutes.
#[tokio::test]
async fn a_stream_ends_with_the_token_that_it_was_asked_with() {
    let world = World::new().await;
    let (response, stream) = world.streaming("echo").await;
    let id = call_id(response.headers());
    let mut body = response.into_body();
    assert!(stream.event("{}").await);
    assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
    world.clock.advance(Duration::from_secs(590));
    assert!(stream.event("{}").await);
    assert!(body.frame().await.is_some_and(|frame| frame.is_ok()), "it is good still");
    world.clock.advance(Duration::from_secs(11));
    assert!(stream.event("{}").await);
    assert!(ends(&mut body).await, "cut");
    assert_eq!(world.records(&id, 2).await[1]["code"], "token_expired");
}

/// Nothing that people do can be recorded any more, so nothing may go on that they could end.
#[tokio::test]
async fn streams_end_when_nothing_can_be_recorded_any_more() {
    let ledger = vidimus_ledger::Config { segment_bytes: 4096, ..Default::default() };
    let world = World::with_ledger(Limits::default(), ledger).await;
    let (response, stream) = world.streaming("echo").await;
    let mut body = response.into_body();
    assert!(stream.event("{}").await);
    assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
    world.lose_ledger();
    for _ in 0..200 {
        if world.gate.ledger.failure().is_some() {
            break;
        }
        code(&world, world.tool("echo")).await;
    }
    assert!(world.gate.ledger.failure().is_some(), "it fails at the next segment");
    // As a supervisor does, so that a stream in which nothing comes ends too.
    world.gate.shared.wake_streams();
    assert!(ends(&mut body).await, "cut");
    drop(stream);
}
