//! A configuration that is old by what it is read from: routes close at the age that their records say, and others go on.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use vidimus_core::call::{Action, Ask, Call, SoFar, Target};
use vidimus_core::caller::{Caller, Chain, Proven};
use vidimus_core::clock::Clock as _;
use vidimus_core::refusal::Code;
use vidimus_core::resource::Principal;
use vidimus_core::snapshot::Snapshot;
use vidimus_gateway::{AskedElsewhere, SourceState, Stale, millis};
use vidimus_testkit::upstream::Answer;

use super::world::{World, call_id, objects, snapshot};

/// The objects of the world, with what becomes of calls of the server when the configuration is old.
fn closing(world: &World, stale_after: Option<Value>) -> Vec<Value> {
    let mut all = objects(&world.upstream);
    let server = all.iter_mut().find(|object| object["kind"] == "MCPServer").expect("a server");
    if let Some(stale_after) = stale_after {
        server["spec"]["endpoint"]["staleAfter"] = stale_after;
    }
    all
}

fn unheard_of(world: &World) -> SourceState {
    let since = millis(world.clock.now().wall);
    SourceState { source: "cluster".into(), stale: Some(Stale { since, reason: "the watch ended".into() }) }
}

async fn code(world: &World) -> (Option<String>, String) {
    world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}})));
    let (_, headers, _) = world.call(world.tool("echo")).await;
    let code = headers.get("vidimus-code").map(|code| code.to_str().expect("text").to_owned());
    (code, call_id(&headers))
}

/// Attack: who cuts the gateway off from the API server keeps what was permitted before it was taken back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_closes_at_the_age_that_its_record_says() {
    let (close, go_on) = (json!({"age": "60s", "then": "close"}), json!({"age": "60s", "then": "continue"}));
    for (stale_after, closes) in
        [(Some(close), true), (Some(json!({"age": "60s"})), true), (Some(go_on), false), (None, false)]
    {
        let world = World::new().await;
        world.gate.take_into_use(snapshot(&closing(&world, stale_after.clone())));
        // What is there is never old.
        world.clock.advance(Duration::from_secs(120));
        let (fresh, id) = code(&world).await;
        assert_eq!(fresh, None);
        assert!(world.records(&id, 1).await[0].get("config_age").is_none());
        world.gate.shared.note_source(unheard_of(&world));
        let (answer, stream) = Answer::stream("text/event-stream");
        world.upstream.next(answer);
        let mut open = world.send(world.tool("echo")).await.into_body();
        assert!(stream.event("{}").await);
        assert!(open.frame().await.is_some_and(|frame| frame.is_ok()));
        world.clock.advance(Duration::from_secs(59));
        let (young, id) = code(&world).await;
        assert_eq!(young, None, "{stale_after:?}");
        let decided = &world.records(&id, 1).await[0];
        assert_eq!(
            (&decided["config_age"], &decided["config_reason"], &decided["config_source"]),
            (&json!(59), &json!("the watch ended"), &json!("cluster"))
        );
        world.clock.advance(Duration::from_secs(1));
        let (old, id) = code(&world).await;
        assert_eq!(old.as_deref(), closes.then_some("config_stale"), "{stale_after:?}");
        let record = &world.records(&id, 1).await[0];
        let detail = closes.then(|| json!("cluster: the watch ended"));
        assert_eq!(record.get("detail").cloned(), detail, "{record}");
        // It is said again every few seconds, and streams look then.
        let state = world.gate.shared.source_state();
        world.gate.shared.note_source(state);
        assert_eq!(world.gate.shared.source_age(), Duration::from_secs(60));
        match closes {
            true => assert!(open.collect().await.is_err(), "cut, not finished"),
            false => {
                assert!(stream.event("{}").await);
                assert!(open.frame().await.is_some_and(|frame| frame.is_ok()));
            }
        }
        // Back again.
        world.gate.shared.note_source(SourceState { source: "cluster".into(), stale: None });
        assert_eq!(world.gate.shared.source_age(), Duration::ZERO);
    }
}

/// Attack: an answer is on its way, and is read whole before it passes, when its route comes to the age at which it closes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_read_whole_does_not_pass_where_its_route_has_closed() {
    let world = World::new().await;
    world.gate.take_into_use(snapshot(&closing(&world, Some(json!({"age": "60s"})))));
    world.gate.shared.note_source(unheard_of(&world));
    for (passes, code) in [(59, None), (1, Some("config_stale"))] {
        let before = world.upstream.received().len();
        let (answer, stream) = Answer::stream("application/json");
        world.upstream.next(answer);
        let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
        let request = world.request(Method::POST, "/mcp/t/tools", &list);
        let change = async {
            world.upstream.until_received(before + 1).await;
            world.clock.advance(Duration::from_secs(passes));
            assert!(stream.send(r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}"#.to_owned()).await);
            drop(stream);
        };
        let ((_, headers, body), ()) = tokio::join!(world.call(request), change);
        let shown = headers.get("vidimus-code").map(|code| code.to_str().expect("text"));
        assert_eq!(shown, code, "{}", String::from_utf8_lossy(&body));
        let effect = &world.records(&call_id(&headers), 2).await[1];
        assert_eq!(effect.get("code").and_then(Value::as_str), code, "{effect}");
    }
}

/// The agent of the world, as another enforcement point names it.
pub fn named_elsewhere(world: &World, decides: &Snapshot) -> Caller {
    let agent = decides.agent("t/caller").expect("an agent").clone();
    let proven = Proven {
        principal: Principal::Agent(agent),
        identity: "authzen".into(),
        instance: None,
        user: None,
        delegated: None,
        expires: None,
    };
    let started = millis(world.clock.now().wall);
    let chain = Chain { transaction: "authzen-1".into(), started, actors: Vec::new() };
    Caller { proven: Arc::new(proven), chain: Arc::new(chain) }
}

/// Attack: what the gateway would not carry any more, another enforcement point asks about and carries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_closed_is_closed_for_who_asks_and_carries_elsewhere() {
    let world = World::new().await;
    world.gate.take_into_use(snapshot(&closing(&world, Some(json!({"age": "60s"})))));
    let decides = world.gate.shared.snapshot();
    let caller = named_elsewhere(&world, &decides);
    let server = decides.mcp_server("t/tools").expect("a server");
    let ask = Ask::about("tools/call", Action::InvokeTool, Target::Tool { server, name: "echo" });
    let (now, so_far) = (caller.chain.started, SoFar::nothing());
    let call = Call { caller: &caller, ask, now, source_ip: None, so_far, approvals: &[] };
    let asked = AskedElsewhere { by: "User/i#point", body: b"{}", traceparent: None };
    world.gate.shared.note_source(unheard_of(&world));
    for (passes, closed) in [(59, None), (1, Some(Code::ConfigStale))] {
        world.clock.advance(Duration::from_secs(passes));
        let answer = world.gate.shared.evaluate(&decides, &call, &asked).await.expect("an answer");
        assert_eq!(answer.refusal.map(|refusal| refusal.code), closed);
        assert_eq!(world.records(&answer.id, 1).await[0]["asked_by"], json!("User/i#point"));
        let is_found = world.gate.shared.would_permit(&decides, &call).await.expect("an answer");
        assert_eq!(is_found, closed.is_none(), "nor does a search find it");
    }
}
