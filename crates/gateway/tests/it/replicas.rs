//! Several gateways with one store: what they agree on, and what becomes of it when the store is lost.

use std::time::Duration;

use serde_json::json;
use vidimus_identity::LOCAL_ISSUER;
use vidimus_testkit::upstream::Answer;

use super::chains::{also, begin, code, estate, received_token, with};
use super::logged::Logged;
use super::redis::Redis;
use super::world::{World, call_id, snapshot};

pub async fn two() -> (Redis, World, World) {
    let redis = Redis::start().await;
    let one = World::sharing(redis.address(), None).await;
    let other = World::sharing(redis.address(), Some(&one)).await;
    (redis, one, other)
}

fn configure(worlds: [&World; 2], change: impl Fn(&mut [serde_json::Value])) {
    for world in worlds {
        world.gate.take_into_use(snapshot(&estate(world, &change)));
    }
}

/// A tool that reads what is confidential, one that sends to the outside, and a policy that keeps the two apart.
pub fn kept_apart(all: &mut [serde_json::Value]) {
    all[3]["spec"]["tools"] = json!({
        "customer": {"labels": {"reads": ["confidential"]}}, "mail": {"labels": {"sends": ["external"]}},
    });
    also(
        all,
        r#"forbid (principal, action, resource is Tool)
           when { context.labels.contains("confidential") && resource.sends.contains("external") };"#,
    );
}

/// Attack: a chain's calls are spread over gateways, so that none sees too many.
#[tokio::test]
async fn a_limit_is_not_split_over_two_gateways() {
    let (_redis, one, other) = two().await;
    configure([&one, &other], |all| all[2]["spec"]["delegation"] = json!({"maxCalls": 3}));
    let token = begin(&one).await;
    assert_eq!(code(&other, with(&token, other.tool("echo"))).await, None);
    assert_eq!(code(&one, with(&token, one.tool("echo"))).await, None);
    assert_eq!(code(&other, with(&token, other.tool("echo"))).await.as_deref(), Some("chain_limit"));
    // What one ended is ended at the other.
    assert_eq!(code(&one, with(&token, one.tool("echo"))).await.as_deref(), Some("chain_ended"));
    let next = begin(&other).await;
    assert_eq!(code(&one, with(&next, one.tool("echo"))).await, None);
}

#[tokio::test]
async fn fan_out_is_of_all_gateways_and_only_what_was_permitted_counts() {
    let (_redis, one, other) = two().await;
    configure([&one, &other], |all| {
        all[2]["spec"]["delegation"] = json!({"maxFanOut": 1});
        also(all, r#"forbid (principal, action, resource in LLMProvider::"t/models");"#);
    });
    let token = begin(&one).await;
    let model = |world: &World| {
        let chat = json!({"model": "small", "messages": []});
        world.request(http::Method::POST, "/llm/t/models/v1/chat/completions", &chat)
    };
    assert_eq!(code(&one, with(&token, model(&one))).await.as_deref(), Some("forbidden_by_policy"));
    // It is given back beside the path.
    let mut found = code(&other, with(&token, other.tool("echo"))).await;
    for _ in 0..500 {
        if found.is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        found = code(&other, with(&token, other.tool("echo"))).await;
    }
    assert_eq!(found, None);
    assert_eq!(code(&one, with(&token, model(&one))).await.as_deref(), Some("delegation_too_wide"));
    assert_eq!(code(&one, with(&token, one.tool("echo"))).await, None);
}

/// Of calls at once, over both, no more are sent than may be. The one too many ends the chain, and with it what is still on its way.
#[tokio::test]
async fn however_many_call_at_once_over_two_gateways_the_limit_holds() {
    let (_redis, one, other) = two().await;
    configure([&one, &other], |all| all[2]["spec"]["delegation"] = json!({"maxCalls": 6}));
    let token = begin(&one).await;
    let calls = (0..24).map(|number| {
        let world = if number % 2 == 0 { &one } else { &other };
        code(world, with(&token, world.tool("echo")))
    });
    let before = one.upstream.received().len() + other.upstream.received().len();
    let passed = futures_util::future::join_all(calls).await.into_iter().filter(Option::is_none).count();
    let sent = one.upstream.received().len() + other.upstream.received().len() - before;
    assert!(passed <= sent && sent <= 5, "{passed} {sent}");
}

#[tokio::test]
async fn what_is_read_at_one_gateway_is_known_at_the_other() {
    let (_redis, one, other) = two().await;
    configure([&one, &other], kept_apart);
    assert_eq!(code(&one, one.tool("customer")).await, None);
    assert_eq!(code(&other, other.tool("mail")).await.as_deref(), Some("forbidden_by_policy"));
    let stranger =
        code(&other, with(&other.token("stranger", Duration::from_secs(60)), other.tool("mail"))).await;
    assert_eq!(stranger.as_deref(), Some("no_permit"));
}

/// What is cut stays cut, nothing opens, and what nobody counts goes on.
#[tokio::test]
async fn a_lost_store_opens_nothing() {
    let (mut redis, one, other) = two().await;
    let limit = |all: &mut [serde_json::Value]| {
        all[2]["spec"]["delegation"] = json!({"maxCalls": 2});
        all[3]["spec"]["tools"] = json!({
            "customer": {"labels": {"reads": ["confidential"]}}, "mail": {"labels": {"sends": ["external"]}},
        });
    };
    configure([&one, &other], limit);
    let (ended, open) = (begin(&one).await, begin(&one).await);
    assert_eq!(code(&other, with(&ended, other.tool("echo"))).await, None);
    assert_eq!(code(&other, with(&ended, other.tool("echo"))).await.as_deref(), Some("chain_limit"));
    assert_eq!(code(&one, with(&ended, one.tool("echo"))).await.as_deref(), Some("chain_ended"));
    redis.stop();
    for world in [&one, &other] {
        world.until_shared(false).await;
        let of = |token: &str| code(world, with(token, world.tool("echo")));
        assert_eq!(of(&open).await.as_deref(), Some("standing_unavailable"));
        // A call of one's own begins no chain that anybody counts.
        assert_eq!(code(world, world.tool("echo")).await, None);
    }
    assert_eq!(code(&other, with(&ended, other.tool("echo"))).await.as_deref(), Some("chain_ended"));
    redis.restart().await;
    for world in [&one, &other] {
        world.until_shared(true).await;
        // It began before the store did, and what it did is not known any more.
        let of = |token: &str| code(world, with(token, world.tool("echo")));
        assert_eq!(of(&open).await.as_deref(), Some("standing_unavailable"));
        assert_eq!(of(&ended).await.as_deref(), Some("chain_ended"), "told to the new store");
    }
}

#[tokio::test]
async fn what_was_read_is_told_to_a_store_that_lost_it() {
    let (mut redis, one, other) = two().await;
    configure([&one, &other], kept_apart);
    assert_eq!(code(&one, one.tool("customer")).await, None);
    redis.stop();
    for world in [&one, &other] {
        world.until_shared(false).await;
    }
    assert_eq!(code(&one, one.tool("mail")).await.as_deref(), Some("standing_unavailable"));
    redis.restart().await;
    for world in [&one, &other] {
        world.until_shared(true).await;
    }
    assert_eq!(code(&other, other.tool("mail")).await.as_deref(), Some("forbidden_by_policy"));
}

/// Attack: the store is emptied while all are connected, and what was read at one gateway is sent out by another before it is told again.
#[tokio::test]
async fn what_was_read_is_not_forgotten_with_a_store_that_is_emptied_under_its_connections() {
    let (redis, one, other) = two().await;
    configure([&one, &other], kept_apart);
    for _round in 0..2 {
        assert_eq!(code(&one, one.tool("customer")).await, None);
        assert_eq!(code(&other, other.tool("mail")).await.as_deref(), Some("forbidden_by_policy"));
        redis.flush().await;
        // Until it is told again, nobody knows.
        assert_eq!(sent_out(&other).await.as_deref(), Some("forbidden_by_policy"));
        one.until_shared(true).await;
    }
}

/// What becomes of sending to the outside, once the store can say what the caller has read.
async fn sent_out(world: &World) -> Option<String> {
    let mut found = code(world, world.tool("mail")).await;
    for _ in 0..1_000 {
        if found.as_deref() != Some("standing_unavailable") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        found = code(world, world.tool("mail")).await;
    }
    found
}

/// Attack: an agent reads, with a credential of its own and at another gateway, what comes back to who called it by way of the store alone;
/// then the store is emptied.
#[tokio::test]
async fn what_came_back_by_way_of_the_store_is_not_lost_with_it() {
    let message =
        json!({"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": {"message": {}}});
    for is_asked_meanwhile in [true, false] {
        let (redis, one, other) = two().await;
        configure([&one, &other], |all| {
            kept_apart(all);
            all[2]["spec"]["identities"] = json!([{"oidc": {"issuer": LOCAL_ISSUER, "subject": "callee"}}]);
        });
        let (answer, under_way) = Answer::stream("text/event-stream");
        one.upstream.next(answer);
        let called = one.send(one.request(http::Method::POST, "/a2a/t/callee", &message)).await;
        let call = call_id(called.headers());
        let own = other.token("callee", Duration::from_secs(600));
        assert_eq!(code(&other, with(&own, other.tool("customer"))).await, None);
        if is_asked_meanwhile {
            assert_eq!(code(&one, one.tool("mail")).await.as_deref(), Some("forbidden_by_policy"));
        }
        drop((called, under_way));
        one.records(&call, 2).await;
        // What came back is told to the store beside the path.
        for _ in 0..500 {
            if code(&other, other.tool("mail")).await.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        redis.flush().await;
        for world in [&one, &other] {
            assert_eq!(sent_out(world).await.as_deref(), Some("forbidden_by_policy"), "{is_asked_meanwhile}");
        }
    }
}

/// Attack: a gateway is started just after the store was emptied, and asked before the others have told the store again what was read.
#[tokio::test]
async fn a_gateway_that_starts_on_an_emptied_store_waits_for_what_others_know() {
    let (redis, one, other) = two().await;
    configure([&one, &other], kept_apart);
    assert_eq!(code(&one, one.tool("customer")).await, None);
    redis.flush().await;
    let third = World::sharing(redis.address(), Some(&one)).await;
    configure([&third, &other], kept_apart);
    assert_eq!(sent_out(&third).await.as_deref(), Some("forbidden_by_policy"));
}

/// What is answered over a connection says nothing of the next one.
#[tokio::test]
async fn many_calls_that_find_the_store_emptied_have_it_connected_to_anew_once() {
    let redis = Redis::start().await;
    let world = World::sharing(redis.address(), None).await;
    world.gate.take_into_use(snapshot(&estate(&world, kept_apart)));
    let logged = Logged::begin();
    redis.flush().await;
    let calls = (0..16).map(|_| code(&world, world.tool("mail")));
    for found in futures_util::future::join_all(calls).await {
        assert_eq!(found.as_deref(), Some("standing_unavailable"));
    }
    world.until_shared(false).await;
    world.until_shared(true).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let lost = logged.with("the store of what gateways share is lost");
    assert_eq!(lost.len(), 1, "{lost:?}");
}

/// What comes back from an agent that is called is known to who called it, and is so no longer because it is looked for before each decision.
#[tokio::test]
async fn what_came_back_is_not_kept_longer_by_looking_for_it() {
    let redis = Redis::start().await;
    let world = World::sharing(redis.address(), None).await;
    world.gate.take_into_use(snapshot(&estate(&world, kept_apart)));
    let message =
        json!({"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": {"message": {}}});
    let (answer, under_way) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let called = world.send(world.request(http::Method::POST, "/a2a/t/callee", &message)).await;
    let token = received_token(&world);
    assert_eq!(code(&world, with(&token, world.tool("customer"))).await, None);
    let known = async || redis.says("HGETALL {vidimus}:read:Agent/t/caller").await;
    assert_eq!(code(&world, world.tool("mail")).await.as_deref(), Some("forbidden_by_policy"));
    let first = known().await;
    assert!(first.contains("confidential"), "{first}");
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(code(&world, world.tool("mail")).await.as_deref(), Some("forbidden_by_policy"));
    }
    assert_eq!(known().await, first);
    drop((called, under_way));
}
