//! What an upstream does wrong, and what becomes of it.

use http_body_util::BodyExt as _;
use serde_json::json;
use vidimus_testkit::upstream::Answer;

use super::world::{World, call_id, json_of};

#[tokio::test]
async fn what_an_upstream_does_wrong_is_refused_and_on_record() {
    let world = World::new().await;
    for (answer, code, upstream) in [
        (Answer::redirect("http://127.0.0.1:1/elsewhere"), "upstream_invalid", 307),
        (Answer::hang(), "upstream_timeout", 0),
        // The request was there already: it may have been carried out.
        (Answer::reset(), "upstream_interrupted", 0),
    ] {
        world.upstream.next(answer);
        let (_, headers, body) = world.call(world.tool("echo")).await;
        assert_eq!(json_of(&body)["error"]["data"]["code"], code);
        let records = world.records(&call_id(&headers), 2).await;
        assert_eq!(
            (&records[0]["outcome"], &records[1]["result"], &records[1]["code"]),
            (&json!("allow"), &json!("failed"), &json!(code))
        );
        assert_eq!(
            records[1]["status"], upstream,
            "the status of the upstream's answer, where there was one"
        );
    }
    assert_eq!(world.upstream.received().len(), 3);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_interrupted() {
    let world = World::new().await;
    for (kind, begun) in [
        ("application/json", "{".to_owned()),
        ("text/event-stream", "data: {}\n\n".to_owned()),
        ("application/json", " ".repeat(100_000)),
    ] {
        let (answer, stream) = Answer::stream(kind);
        world.upstream.next(answer);
        let sent = async {
            assert!(stream.send(begun).await);
            stream.reset().await;
        };
        let (response, ()) = tokio::join!(world.send(world.tool("echo")), sent);
        let id = call_id(response.headers());
        drop(response.into_body().collect().await);
        let records = world.records(&id, 2).await;
        assert_eq!(
            (&records[1]["result"], &records[1]["code"]),
            (&json!("failed"), &json!("upstream_interrupted")),
            "{kind}"
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
