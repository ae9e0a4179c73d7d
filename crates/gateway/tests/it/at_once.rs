//! Calls at once of several gateways: each has a place in the store, for as long as it is under way and its gateway lives.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::json;

use super::chains::{begin, code, estate, with};
use super::limits::{TOOLS, limited};
use super::redis::Redis;
use super::replicas::two;
use super::world::{World, snapshot};

const EXCEEDED: Option<&str> = Some("limit_exceeded");

fn one_at_once(worlds: [&World; 2], when_lost: &str) {
    let limits =
        json!([{"name": "calls", "concurrency": 1, "per": ["principal", "tool"], "whenLost": when_lost}]);
    for world in worlds {
        world.gate.take_into_use(snapshot(&limited(world, &limits, TOOLS)));
    }
}

/// It is free a moment after its call ended.
async fn until_free(world: &World) {
    for _ in 0..500 {
        if code(world, world.tool("echo")).await.is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("its place is not free");
}

/// The key by which the one limit of a test is counted.
async fn key_of(redis: &Redis) -> String {
    let keys = redis.says("KEYS {vidimus}:limit:*").await;
    keys.lines().find(|line| line.starts_with("{vidimus}")).expect("a key").trim().to_owned()
}

/// Attack: as many calls at once at each of several gateways.
#[tokio::test]
async fn calls_at_once_are_counted_over_all_gateways_until_their_answers_end() {
    let (_redis, one, other) = two().await;
    one_at_once([&one, &other], "closed");
    let (response, stream) = one.streaming("echo").await;
    for world in [&one, &other] {
        assert_eq!(code(world, world.tool("echo")).await.as_deref(), EXCEEDED);
    }
    assert_eq!(code(&other, other.tool("other")).await, None, "another tool");
    drop((response, stream));
    until_free(&other).await;
    // What is refused, or was let pass and has ended, has taken no place for good: one after the other at one gateway always fits.
    for _ in 0..20 {
        until_free(&one).await;
    }
}

/// Attack: a replica is killed under its calls, so that their places are never given back.
#[tokio::test]
async fn the_places_of_a_gateway_that_died_are_free_when_its_leases_run_out() {
    let (redis, one, other) = two().await;
    one_at_once([&one, &other], "closed");
    let (response, stream) = one.streaming("echo").await;
    let key = key_of(&redis).await;
    drop((response, stream));
    until_free(&other).await;
    // As one leaves it behind that is gone.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_millis();
    redis.says(&format!("ZADD {key} {} dead-1", now + 1_500)).await;
    assert_eq!(code(&one, one.tool("echo")).await.as_deref(), EXCEEDED);
    until_free(&one).await;
    assert!(redis.says(&format!("ZSCORE {key} dead-1")).await.starts_with("$-1"), "it is gone");
}

#[tokio::test]
async fn a_call_that_goes_on_keeps_its_place() {
    let (redis, one, other) = two().await;
    one_at_once([&one, &other], "closed");
    let (response, stream) = one.streaming("echo").await;
    let key = key_of(&redis).await;
    let until = async || redis.says(&format!("ZRANGE {key} 0 -1 WITHSCORES")).await;
    let first = until().await;
    assert!(first.starts_with("*2"), "{first}");
    let mut renewed = first.clone();
    for _ in 0..100 {
        renewed = until().await;
        if renewed != first {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(renewed != first && renewed.starts_with("*2"), "{first} {renewed}");
    assert_eq!(code(&other, other.tool("echo")).await.as_deref(), EXCEEDED);
    drop((response, stream));
    until_free(&other).await;
}

/// Attack: the store is emptied, or lost, while calls are under way, so that as many may begin again.
#[tokio::test]
async fn a_store_that_lost_what_it_had_is_told_which_calls_are_under_way() {
    let (mut redis, one, other) = two().await;
    one_at_once([&one, &other], "closed");
    let (response, stream) = one.streaming("echo").await;
    redis.flush().await;
    assert_eq!(code(&other, other.tool("echo")).await.as_deref(), Some("standing_unavailable"));
    for world in [&one, &other] {
        world.until_shared(false).await;
    }
    for world in [&one, &other] {
        world.until_shared(true).await;
        assert_eq!(code(world, world.tool("echo")).await.as_deref(), EXCEEDED);
    }
    drop((response, stream));
    until_free(&other).await;
    // What was let pass without the store is told to it.
    redis.stop();
    for world in [&one, &other] {
        world.until_shared(false).await;
    }
    assert_eq!(code(&one, one.tool("echo")).await.as_deref(), Some("standing_unavailable"));
    one_at_once([&one, &other], "local");
    let (response, stream) = one.streaming("echo").await;
    assert_eq!(code(&one, one.tool("echo")).await.as_deref(), EXCEEDED, "of its own");
    redis.restart().await;
    for world in [&one, &other] {
        world.until_shared(true).await;
        assert_eq!(code(world, world.tool("echo")).await.as_deref(), EXCEEDED);
    }
    drop((response, stream));
    until_free(&other).await;
}

/// Has a call wait for the store, leaves it, and lets the store answer.
async fn left_while_the_store_is_asked(redis: &Redis, world: &World, request: Request<Full<Bytes>>) {
    let leaves = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        tokio::time::timeout(Duration::from_millis(100), world.send_http2(request)).await.is_err()
    };
    // Less than a gateway waits for its answer.
    let (_, has_left) = tokio::join!(redis.says("CLIENT PAUSE 300 ALL"), leaves);
    assert!(has_left, "it waits for the store");
    tokio::time::sleep(Duration::from_millis(400)).await;
}

/// Attack: callers who leave while the store is asked, so that what it takes for them is never given back: places of others, a budget of a day, the
/// calls of a chain, without a record of any call.
#[tokio::test]
async fn who_leaves_while_the_store_is_asked_takes_nothing() {
    let (redis, one, other) = two().await;
    let of_a_day = json!([{"name": "calls", "requests": 2, "window": {"fixed": "24h"}}]);
    let at_once = json!([{"name": "calls", "concurrency": 1}]);
    for limits in [of_a_day, at_once] {
        for world in [&one, &other] {
            world.gate.take_into_use(snapshot(&limited(world, &limits, TOOLS)));
        }
        // The scripts are there.
        assert_eq!(code(&one, one.tool("echo")).await, None);
        left_while_the_store_is_asked(&redis, &one, one.tool("echo")).await;
        assert_eq!(code(&other, other.tool("echo")).await, None, "{limits}");
    }
    for world in [&one, &other] {
        let all = estate(world, |all| all[2]["spec"]["delegation"] = json!({"maxCalls": 3}));
        world.gate.take_into_use(snapshot(&all));
    }
    let token = begin(&one).await;
    assert_eq!(code(&one, with(&token, one.tool("echo"))).await, None);
    left_while_the_store_is_asked(&redis, &one, with(&token, one.tool("echo"))).await;
    assert_eq!(code(&other, with(&token, other.tool("echo"))).await, None);
}
