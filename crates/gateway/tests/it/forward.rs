//! What an upstream does wrong, and what becomes of it.

use serde_json::json;
use vidimus_testkit::upstream::Answer;

use super::world::{World, call_id, json_of};

#[tokio::test]
async fn what_an_upstream_does_wrong_is_refused_and_on_record() {
    let world = World::new().await;
    for (answer, code) in [
        (Answer::redirect("http://127.0.0.1:1/elsewhere"), "upstream_invalid"),
        (Answer::hang(), "upstream_timeout"),
        (Answer::reset(), "upstream_unreachable"),
    ] {
        world.upstream.next(answer);
        let (_, headers, body) = world.call(world.tool("echo")).await;
        assert_eq!(json_of(&body)["error"]["data"]["code"], code);
        let records = world.records(&call_id(&headers), 2).await;
        assert_eq!(
            (&records[0]["outcome"], &records[1]["result"], &records[1]["code"]),
            (&json!("allow"), &json!("failed"), &json!(code))
        );
    }
}

#[tokio::test]
async fn nobody_listens_there() {
    let world = World::new().await;
    let mut objects = super::world::objects(&world.upstream);
    objects[3]["spec"]["endpoint"]["url"] = json!("http://127.0.0.1:9/mcp");
    world.gate.take_into_use(super::world::snapshot(&objects));
    let (_, _, body) = world.call(world.tool("echo")).await;
    assert_eq!(json_of(&body)["error"]["data"]["code"], "upstream_unreachable");
    assert!(world.upstream.received().is_empty());
}
