//! A namespace that observes until a date: its calls pass, are counted and recorded, and stop to pass by the time alone.

use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use vidimus_core::clock::Clock as _;

use super::world::{World, call_id, objects, snapshot};

const LEFT: Duration = Duration::from_millis(500);

/// The objects of the world with a namespace that observes until `until`.
fn observing(world: &World, until: &str) -> Vec<Value> {
    let mut all = objects(&world.upstream);
    all.push(json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy", "metadata": {"namespace": "t", "name": "observe"},
        "spec": {"description": "until all agents have policies", "mode": "rollout", "window": {"until": until},
                 "cedar": "permit (principal, action, resource);"}}));
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_policy_permits_passes_until_the_date() {
    let world = World::new().await;
    let end = world.clock.now().wall + LEFT;
    world.gate.take_into_use(snapshot(&observing(&world, &vidimus_gateway::rfc3339(end))));
    let (response, stream) = world.streaming("nobody-permits-this").await;
    let id = call_id(response.headers());
    assert!(!response.headers().contains_key("vidimus-code"));
    assert!(stream.event("{}").await);
    let decided = &world.records(&id, 1).await[0];
    assert_eq!(
        (&decided["outcome"], &decided["would_refuse"]),
        (&json!("allow"), &json!("no_permit")),
        "{decided}"
    );
    assert_eq!(decided["policies"], json!(["t/observe"]));
    assert!(
        world.gate.meter.text(&world.gate.ledger).contains("vidimus_would_refuse_total{protocol=\"mcp\"} 1")
    );
    let passed = world.gate.rollouts.passed(|policy| policy == "t/observe");
    assert_eq!(passed.values().map(|passed| passed.calls).collect::<Vec<_>>(), [1]);
    // What is permitted says nothing of it.
    let (permitted, other) = world.streaming("echo").await;
    assert!(other.event("{}").await);
    assert!(world.records(&call_id(permitted.headers()), 1).await[0].get("would_refuse").is_none());
    // Attack: what a policy forbids, and a caller who proves nothing.
    let (_, headers, _) = world.call(world.tool("forbidden")).await;
    assert_eq!(headers["vidimus-code"], "forbidden_by_policy");
    let nobody = Request::post("/mcp/t/tools")
        .header("host", "gateway.example")
        .body(Full::default())
        .expect("a request");
    assert_eq!(world.call(nobody).await.1["vidimus-code"], "credential_missing");
    // The time alone ends it, also what is under way.
    world.clock.advance(LEFT + Duration::from_millis(10));
    assert!(response.into_body().collect().await.is_err(), "cut, not finished");
    assert_eq!(world.records(&id, 2).await[1]["code"], "revoked");
    let (_, headers, _) = world.call(world.tool("nobody-permits-this")).await;
    assert_eq!(headers["vidimus-code"], "no_permit");
}
