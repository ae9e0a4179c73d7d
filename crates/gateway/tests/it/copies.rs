//! One of several copies of an agent: named in the records, cut off alone, and refused when its pod is gone.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use vidimus_core::act::{Act, Lifted, OfSubject, Subject};
use vidimus_core::approval::pending::State;
use vidimus_core::caller::UnixMillis;
use vidimus_core::clock::Clock as _;
use vidimus_gateway::millis;
use vidimus_identity::PodScope;
use vidimus_testkit::upstream::{Answer, Upstream};

use super::acts::{ADMIN, follow_with};
use super::approvals::{BOB, HOLD, holding, yes};
use super::world::{CLUSTER, World, call_id, json_of, objects, snapshot};

const ONE: &str = "778a530c-b3f4-47c0-9cd5-ab018fb64f33";
const TWO: &str = "0b1fd29a-6e52-4d0c-8a3a-5d7b6c1c9f10";

/// The objects of a world whose calling agent runs under a ServiceAccount.
fn in_cluster(world: &World) -> Vec<Value> {
    let mut all = objects(&world.upstream);
    let identities = all[0]["spec"]["identities"].as_array_mut().expect("identities");
    identities.push(json!({"serviceAccount": {"name": "caller"}}));
    all
}

/// A call of a tool by one pod, with a token of its own for each call.
fn by(world: &World, uid: &str) -> Request<Full<Bytes>> {
    of(uid, world.tool("echo"))
}

/// The request, by one pod.
fn of(uid: &str, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let token = CLUSTER.token(json!({
        "aud": ["vidimus"], "sub": "system:serviceaccount:t:caller", "jti": uuid(),
        "kubernetes.io": {
            "namespace": "t", "node": {"name": "worker-1"}, "pod": {"name": format!("caller-{}", uid.get(..4).expect("a UID")), "uid": uid},
            "serviceaccount": {"name": "caller"}, "warnafter": 1,
        },
    }));
    let value = format!("Bearer {token}").parse().expect("a header");
    request.headers_mut().insert("authorization", value);
    request
}

fn uuid() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

async fn outcome(world: &World, uid: &str) -> (Option<String>, String) {
    world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}})));
    let (_, headers, _) = world.call(by(world, uid)).await;
    let code = headers.get("vidimus-code").map(|code| code.to_str().expect("text").to_owned());
    (code, call_id(&headers))
}

/// Attack: a copy that is cut off presents a new token of the same pod; or goes on with the answer that it reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_copy_is_cut_off_without_its_siblings() {
    let world = World::new().await;
    let all = in_cluster(&world);
    world.gate.take_into_use(snapshot(&all));
    follow_with(&world, &all);
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let open = world.send(by(&world, ONE)).await;
    assert!(stream.event("{}").await);
    let (answer, sibling) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let mut goes_on = world.send(by(&world, TWO)).await.into_body();
    // Who calls is on record, copy by copy.
    let id = call_id(open.headers());
    let recorded = &world.records(&id, 1).await[0];
    let copy = json!({"id": ONE, "kind": "pod", "name": "t/caller-778a", "node": "worker-1"});
    assert_eq!((&recorded["instance"], &recorded["principal"]), (&copy, &json!("Agent/t/caller")));
    let subject = || -> Subject { format!("Instance/{ONE}").parse().expect("a subject") };
    let quarantine = Act::Quarantine(OfSubject { subject: subject() });
    let done = world.gate.shared.act(ADMIN, quarantine, "INC-7").await.expect("done");
    assert!(open.into_body().collect().await.is_err(), "cut, not finished");
    assert_eq!(world.records(&id, 2).await[1]["code"], "revoked");
    let (code, id) = outcome(&world, ONE).await;
    assert_eq!(code.as_deref(), Some("forbidden_by_policy"));
    let refused = &world.records(&id, 1).await[0];
    assert_eq!(refused["facts"]["context.instance.id"], ONE, "{refused}");
    assert!(sibling.event("{}").await);
    assert!(goes_on.frame().await.is_some_and(|frame| frame.is_ok()));
    let lift = Lifted { of: done.id, subject: subject() };
    world.gate.shared.act(ADMIN, Act::Lift(lift), "closed").await.expect("done");
}

/// Attack: a copy that is cut off is told of its tasks at the webhook that it named before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_cut_off_is_told_no_news() {
    let (world, hook) = (World::new().await, Upstream::start());
    let all = in_cluster(&world);
    world.gate.take_into_use(snapshot(&all));
    follow_with(&world, &all);
    let task = json!({"id": "1", "contextId": "c", "status": {"state": "TASK_STATE_WORKING"}});
    let made = json!({"jsonrpc": "2.0", "id": 1, "result": {"task": task}});
    world.upstream.next(Answer::json(&made));
    let params = json!({
        "message": {"messageId": "m", "parts": []},
        "configuration": {"taskPushNotificationConfig": {"url": hook.url("/hook")}},
    });
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params});
    world.call(of(ONE, world.request(Method::POST, "/a2a/t/callee", &message))).await;
    let told = world.upstream.until_received(1).await[0].json();
    let url = told.pointer("/params/configuration/taskPushNotificationConfig/url").and_then(Value::as_str);
    let address = url.and_then(|url| url.strip_prefix("http://gateway.example")).expect("an address");
    let push = async || {
        let request = Request::builder().method(Method::POST).uri(address).header("host", "gateway.example");
        let request = request.header("content-type", "application/a2a+json");
        let news = json!({"task": task}).to_string();
        let (_, headers, _) =
            world.call(request.body(Full::new(Bytes::from(news))).expect("a request")).await;
        headers.get("vidimus-code").map(|code| code.to_str().expect("text").to_owned())
    };
    assert_eq!(push().await, None);
    // Pods come and go while a task lasts: who is told is the principal.
    let later = UnixMillis(millis(world.clock.now().wall).0 + 60_000);
    world.gate.shared.live_pods().list(PodScope::Cluster, [("t".into(), ONE.into())], later);
    world.gate.shared.live_pods().went("t", ONE);
    assert_eq!(push().await, None);
    assert_eq!(hook.received().len(), 2);
    let subject = format!("Instance/{ONE}").parse().expect("a subject");
    world.gate.shared.act(ADMIN, Act::Quarantine(OfSubject { subject }), "INC-7").await.expect("done");
    assert_eq!(push().await.as_deref(), Some("forbidden_by_policy"));
    assert_eq!(hook.received().len(), 2);
}

/// Attack: a copy that was taken over has people asked about a call, and is cut off before they look: they approve it, and another copy that is
/// told to makes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_copy_asked_people_is_void_once_it_is_cut_off() {
    let world = World::new().await;
    let mut all = in_cluster(&world);
    all.extend(holding(&world, HOLD).pop());
    world.gate.take_into_use(snapshot(&all));
    follow_with(&world, &all);
    let asks = async |uid: &str| {
        let (_, _, body) = world.call(by(&world, uid)).await;
        let approval =
            json_of(&body).pointer("/error/data/approval").and_then(Value::as_str).map(str::to_owned);
        approval.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&body)))
    };
    let asked = asks(ONE).await;
    assert_eq!(asks(TWO).await, asked, "it is the same call");
    world.gate.shared.act(BOB, yes(&asked, None), "looked at").await.expect("approved");
    let quarantine = |uid: &str| {
        let subject = format!("Instance/{uid}").parse().expect("a subject");
        Act::Quarantine(OfSubject { subject })
    };
    let state = || {
        let standing = world.gate.acts.standing();
        let pending = standing.approvals.get(&asked).expect("asked");
        (pending.state, pending.changed.clone())
    };
    world.gate.shared.act(ADMIN, quarantine(TWO), "INC-7").await.expect("done");
    assert_eq!(state(), (State::Approved, None), "it did not ask first");
    world.gate.shared.act(ADMIN, quarantine(ONE), "INC-7").await.expect("done");
    assert_eq!(state(), (State::Expired, Some(format!("Instance/{ONE}"))));
    // Another copy is not denied what one that was cut off had asked: people are asked anew.
    assert_ne!(asks("0f0f0f0f-6e52-4d0c-8a3a-5d7b6c1c9f10").await, asked);
}

/// Attack: the token of a pod that was deleted, which is good for another hour, and a stream that it reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_gone_is_refused_and_its_streams_end() {
    let world = World::new().await;
    world.gate.take_into_use(snapshot(&in_cluster(&world)));
    let pods = world.gate.shared.live_pods();
    let later = UnixMillis(millis(world.clock.now().wall).0 + 60_000);
    pods.list(PodScope::Cluster, [("t".into(), ONE.into()), ("t".into(), TWO.into())], later);
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let open = world.send(by(&world, ONE)).await;
    assert!(stream.event("{}").await);
    let id = call_id(open.headers());
    pods.went("t", ONE);
    world.gate.shared.wake_streams();
    assert!(open.into_body().collect().await.is_err(), "cut, not finished");
    assert_eq!(world.records(&id, 2).await[1]["code"], "pod_gone");
    let (_, headers, _) = world.call(by(&world, ONE)).await;
    assert_eq!(headers["vidimus-code"], "pod_gone");
    let refused = &world.records(&call_id(&headers), 1).await[0];
    assert_eq!((&refused["kind"], &refused["instance"]["id"]), (&json!("refusal"), &json!(ONE)));
    let (answer, sibling) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let mut goes_on = world.send(by(&world, TWO)).await.into_body();
    assert!(sibling.event("{}").await);
    assert!(goes_on.frame().await.is_some_and(|frame| frame.is_ok()));
}

/// Attack: who cut the watch of pods off reads on from the stream of a pod that nobody ever saw.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_a_pod_that_was_never_seen_ends_when_nothing_is_heard() {
    let world = World::new().await;
    world.gate.take_into_use(snapshot(&in_cluster(&world)));
    let pods = world.gate.shared.live_pods();
    let long_ago = UnixMillis(0);
    pods.list(PodScope::Cluster, [("t".into(), TWO.into())], long_ago);
    let mut open = Vec::new();
    for uid in [ONE, TWO] {
        let (answer, stream) = Answer::stream("text/event-stream");
        world.upstream.next(answer);
        let response = world.send(by(&world, uid)).await;
        assert!(stream.event("{}").await);
        open.push((response, stream));
    }
    pods.refuse_unknown_after(std::time::Duration::ZERO);
    world.gate.shared.wake_streams();
    let (known, stream) = open.remove(1);
    let (unknown, _stream) = open.remove(0);
    let id = call_id(unknown.headers());
    assert!(unknown.into_body().collect().await.is_err(), "cut, not finished");
    assert_eq!(world.records(&id, 2).await[1]["code"], "pod_unknown");
    assert_eq!(outcome(&world, ONE).await.0.as_deref(), Some("pod_unknown"));
    assert!(stream.event("{}").await);
    assert!(known.into_body().frame().await.is_some_and(|frame| frame.is_ok()));
}

/// Attack: an answer is on its way, and is read whole before it passes, when the pod that called is deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_read_whole_does_not_pass_to_a_pod_that_is_gone() {
    let world = World::new().await;
    world.gate.take_into_use(snapshot(&in_cluster(&world)));
    let pods = world.gate.shared.live_pods();
    let later = UnixMillis(millis(world.clock.now().wall).0 + 60_000);
    pods.list(PodScope::Cluster, [("t".into(), ONE.into()), ("t".into(), TWO.into())], later);
    for (goes, code) in [(TWO, None), (ONE, Some("pod_gone"))] {
        let before = world.upstream.received().len();
        let (answer, stream) = Answer::stream("application/json");
        world.upstream.next(answer);
        let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
        let request = of(ONE, world.request(Method::POST, "/mcp/t/tools", &list));
        let change = async {
            world.upstream.until_received(before + 1).await;
            pods.went("t", goes);
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

/// Which copy called last is known, and what is not registered any more is forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_call_of_a_principal_is_known() {
    let world = World::new().await;
    world.gate.take_into_use(snapshot(&in_cluster(&world)));
    let last = || world.gate.shared.last_calls.of_registered(|_| true);
    assert!(last().is_empty());
    outcome(&world, ONE).await;
    let first = last();
    outcome(&world, TWO).await;
    assert_eq!(last(), first, "within a second");
    world.clock.advance(std::time::Duration::from_secs(1));
    let at = millis(world.clock.now().wall);
    outcome(&world, TWO).await;
    let all = last();
    let [one] = &all[..] else { panic!("one principal") };
    assert_eq!((one.principal.to_string(), one.at), ("Agent/t/caller".to_owned(), at));
    assert!(one.identity.contains("system:serviceaccount:t:caller"), "{one:?}");
    assert_eq!(one.instance.as_ref().map(|copy| &*copy.id), Some(TWO));
    assert!(world.gate.shared.last_calls.of_registered(|_| false).is_empty());
    assert!(last().is_empty());
}
