//! Acts of people against calls that are under way.

use std::sync::Arc;

use http_body_util::BodyExt as _;
use serde_json::Value;
use vidimus_core::act::{Act, Lifted, OfSubject, Terms};
use vidimus_core::act::{Granted, OfGrant};
use vidimus_core::clock::Clock as _;
use vidimus_core::resource::{self, Object, Origin};
use vidimus_core::snapshot::{Configuration, Overlay, Snapshot};
use vidimus_gateway::millis;
use vidimus_testkit::upstream::Answer;

use super::world::{World, call_id, objects};

pub const ADMIN: &str = "User/urn:vidimus:local#admin";

/// Brings what stands into force whenever it changes, as the registry does.
fn follow(world: &World) {
    follow_with(world, &objects(&world.upstream));
}

/// The same with other objects.
pub fn follow_with(world: &World, values: &[Value]) {
    let shared = world.gate.shared.clone();
    let objects: Vec<Object> =
        values.iter().map(|value| resource::check(&Origin::default(), value).expect("good")).collect();
    tokio::spawn(async move {
        let mut changes = shared.acts.changes();
        let mut in_force: Option<Arc<Overlay>> = None;
        loop {
            let overlay = changes.borrow_and_update().overlay.clone();
            if in_force.as_ref().is_none_or(|before| !Arc::ptr_eq(before, &overlay)) {
                let standing = overlay.clone();
                let configuration =
                    Configuration { objects: objects.clone(), standing, ..Configuration::default() };
                let (snapshot, _) = Snapshot::default().next(configuration);
                shared.take_into_use(Arc::new(snapshot));
                in_force = Some(overlay);
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    });
}

/// Streams that were open when somebody was quarantined have ended, and calls that were on their way are refused or cut: after the act no
/// byte of an answer comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantine_cuts_what_is_open_and_refuses_what_is_on_its_way() {
    const OPEN: usize = 40;
    let world = World::new().await;
    follow(&world);
    for subject in ["Agent/t/caller", "MCPServer/t/tools"] {
        let mut open = Vec::new();
        for _ in 0..OPEN {
            let (response, stream) = world.streaming("echo").await;
            assert!(stream.event("{}").await);
            open.push((response, stream));
        }
        let before = world.upstream.received().len();
        let (answer, late) = Answer::stream("application/json");
        world.upstream.next(answer);
        let on_its_way = world.send(world.tool("echo"));
        let act = async {
            world.upstream.until_received(before + 1).await;
            let subject = OfSubject { subject: subject.parse().expect("a subject") };
            let done = world.gate.shared.act(ADMIN, Act::Quarantine(subject), "INC-7").await.expect("done");
            // Too late.
            late.send(r#"{"jsonrpc":"2.0","id":1,"result":{"secret":1}}"#.to_owned()).await;
            drop(late);
            done
        };
        let (answered, done) = tokio::join!(on_its_way, act);
        let body = answered.into_body().collect().await.map(http_body_util::Collected::to_bytes);
        let secret = body.is_ok_and(|body| String::from_utf8_lossy(&body).contains("secret"));
        assert!(!secret, "{subject}");
        for (response, _stream) in open {
            let id = call_id(response.headers());
            let ended = response.into_body().collect().await;
            assert!(ended.is_err(), "cut, not finished");
            let records = world.records(&id, 2).await;
            assert_eq!(records[1]["code"], "revoked", "{records:?}");
        }
        let (status, headers, body) = world.call(world.tool("echo")).await;
        assert_eq!(status.as_u16(), 200, "a refusal in the protocol's words: {body:?}");
        assert_eq!(headers["vidimus-code"], "forbidden_by_policy");
        let lift = Lifted { of: done.id, subject: subject.parse().expect("a subject") };
        world.gate.shared.act(ADMIN, Act::Lift(lift), "closed").await.expect("done");
    }
}

/// Two calls for one last use: one gets it, and it goes on to its end although the grant has no uses left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_calls_for_a_last_use_one_gets_it() {
    let world = World::new().await;
    follow(&world);
    let terms = Terms {
        agent: "Agent/t/caller".parse().expect("an agent"),
        resources: vec!["Tool/t/tools/lent".parse().expect("a tool")],
        transaction: None,
        uses: Some(1),
    };
    let until_ms = millis(world.clock.now().wall).0 + 3_600_000;
    let grant = Act::Grant(Granted { request: None, terms, until_ms });
    let done = world.gate.shared.act(ADMIN, grant, "CASE-12").await.expect("done");
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let calls = (0..8).map(|_| world.send(world.tool("lent")));
    let answers = futures_util::future::join_all(calls).await;
    let (allowed, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| !answer.headers().contains_key("vidimus-code"));
    assert_eq!((allowed.len(), refused.len()), (1, 7));
    for refused in refused {
        let code = refused.headers()["vidimus-code"].to_str().expect("text").to_owned();
        assert!(code == "no_permit" || code == "grant_spent", "{code}");
    }
    // Out of force by now, and the stream of the one goes on.
    let refused = world.call(world.tool("lent")).await;
    assert!(["no_permit", "grant_spent"].contains(&refused.1["vidimus-code"].to_str().expect("text")));
    let mut body = allowed.into_iter().next().expect("one").into_body();
    for _ in 0..3 {
        assert!(stream.event("{}").await);
        assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
    }
    // Until it is revoked.
    let revoke = Act::Revoke(OfGrant { of: done.id });
    world.gate.shared.act(ADMIN, revoke, "done").await.expect("done");
    assert!(body.collect().await.is_err(), "cut");
    let used = world.all_records().iter().filter(|record| record["act"]["useGrant"].is_object()).count();
    assert_eq!(used, 1);
}
