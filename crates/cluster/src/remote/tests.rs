use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, PoisonError};

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::task::{AbortHandle, JoinHandle};

use super::*;
use crate::followed;
use crate::relay::Relay;

/// A registry and a gateway that hears it, in one process.
struct Both {
    relay: Relay,
    /// Of the registry.
    secrets: Secrets,
    /// Of the gateway.
    held: Secrets,
    ask: watch::Sender<Vec<SecretKey>>,
    calls: watch::Sender<Arc<LastCalls>>,
    heard: Receiver<Heard>,
    pods: Receiver<OfPods>,
    is_trusted: Arc<AtomicBool>,
    /// The connections, at the registry.
    serving: Arc<Mutex<Vec<AbortHandle>>>,
    task: JoinHandle<()>,
}

impl Drop for Both {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn names(namespaces: &[&str]) -> Vec<Arc<str>> {
    namespaces.iter().map(|name| Arc::from(*name)).collect()
}

/// How the registry is reached, over a pipe.
fn dial(relay: &Relay, is_trusted: &Arc<AtomicBool>, serving: &Arc<Mutex<Vec<AbortHandle>>>) -> Dial {
    let (relay, is_trusted, serving) = (relay.clone(), is_trusted.clone(), serving.clone());
    Box::new(move || {
        let (relay, trusted, serving) = (relay.clone(), is_trusted.clone(), serving.clone());
        Box::pin(async move {
            let (near, far) = tokio::io::duplex(64 * 1024);
            let served = tokio::spawn(async move { relay.serve(far, || true).await });
            serving.lock().unwrap_or_else(PoisonError::into_inner).push(served.abort_handle());
            let is_trusted = Box::new(move || trusted.load(Ordering::Relaxed));
            Ok(Link { stream: Box::new(near), is_trusted })
        })
    })
}

impl Both {
    /// `there` is what the registry was told of namespaces and pods, `here` the gateway.
    fn of(there: (&[&str], bool), here: (&[&str], bool)) -> Self {
        let count = |namespaces: &[Arc<str>], pods: bool| {
            let pods = if pods { crate::Pods::watched(namespaces).len() } else { 0 };
            followed(namespaces).len() + pods
        };
        let secrets = Secrets::default();
        let all = names(there.0);
        let relay = Relay::new(all.clone(), there.1, count(&all, there.1), secrets.clone());
        let (is_trusted, serving) = (Arc::new(AtomicBool::new(true)), Arc::default());
        let namespaces = names(here.0);
        let dial = dial(&relay, &is_trusted, &serving);
        let remote = Remote {
            identity: "spiffe://corp.example/registry".to_owned(),
            namespaces: namespaces.clone(),
            pods: here.1,
            dial,
        };
        let (tell, heard) = mpsc::channel();
        let (told, pods) = mpsc::channel();
        let (ask, keys) = watch::channel(Vec::new());
        let calls = watch::Sender::default();
        let asks = Asked { keys, calls: calls.clone() };
        let held = Secrets::default();
        let watched = here.1.then(|| (crate::Pods::watched(&namespaces), told));
        let hearing = Hearing::new(remote, &followed(&namespaces), watched, tell, (held.clone(), asks));
        let task = tokio::spawn(hearing.run());
        Self { relay, secrets, held, ask, calls, heard, pods, is_trusted, serving, task }
    }

    /// What is told next, but for signs of life: of which watch, and as of when.
    fn next(&self) -> (usize, String, Timestamp) {
        loop {
            let heard = self.heard.recv_timeout(Duration::from_secs(20)).expect("something is told");
            let Heard::AsOf(place, told, at, _room) = heard else { panic!("{heard:?}") };
            if !matches!(told, Told::Alive) {
                return (place, shown_told(&told), at);
            }
        }
    }

    fn cut(&self) {
        let serving = std::mem::take(&mut *self.serving.lock().unwrap_or_else(PoisonError::into_inner));
        serving.iter().for_each(AbortHandle::abort);
    }
}

fn shown_told(told: &Told) -> String {
    let name = |object: &Value| {
        let by = object.pointer("/metadata/managedFields");
        assert!(
            object.get("status").is_none()
                && by.is_none_or(|by| *by == json!([{"manager": "kubectl", "time": ""}]))
        );
        let text =
            |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        format!("{}@{}", text("/metadata/name"), text("/metadata/resourceVersion"))
    };
    match told {
        Told::Listed(all) => format!("listed {}", all.iter().map(name).collect::<Vec<_>>().join(" ")),
        Told::There(object) => format!("there {}", name(object)),
        Told::Gone(object) => format!("gone {}", name(object)),
        Told::Alive => "alive".to_owned(),
        Told::UpTo(_) => "up to".to_owned(),
        Told::Lost(why) | Told::Forbidden(why) => format!("lost {why}"),
    }
}

fn agent(name: &str, version: &str, team: &str) -> Value {
    json!({
        "metadata": {"namespace": "a", "name": name, "uid": name, "resourceVersion": version, "managedFields": [{"manager": "kubectl"}]},
        "spec": {"team": team},
        "status": {"observedGeneration": version},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_there_is_told_first_and_then_what_happens() {
    let both = Both::of((&[], false), (&[], false));
    let relay = &both.relay;
    relay.hear(0, &Told::Listed(vec![agent("y", "2", "t"), agent("x", "1", "t")]));
    for place in 1..5 {
        relay.hear::<Value>(place, &Told::Listed(vec![]));
    }
    let mut listed = Vec::new();
    for _ in 0..5 {
        let (place, told, at) = both.next();
        assert!(Timestamp::now().duration_since(at) < SignedDuration::from_secs(20));
        listed.push((place, told));
    }
    listed.sort();
    assert_eq!(listed[0], (0, "listed x@1 y@2".to_owned()));
    assert_eq!(listed[4], (4, "listed ".to_owned()));
    for (told, says) in [
        (Told::There(agent("z", "3", "t")), Some("there z@3")),
        // A status, and nothing that counts.
        (Told::There(agent("z", "4", "t")), None),
        (Told::There(agent("z", "5", "u")), Some("there z@5")),
        (Told::Gone(agent("y", "6", "t")), Some("gone y@6")),
        (Told::Gone(agent("y", "6", "t")), None),
        (Told::UpTo(Timestamp::now()), Some("up to")),
        (Told::Lost("503".to_owned()), Some("lost the registry does not hear it: 503")),
        (Told::Lost("503".to_owned()), None),
    ] {
        relay.hear(0, &told);
        if let Some(says) = says {
            assert_eq!(both.next().1, says);
        }
    }
    // Whoever connects anew hears all of it anew, and that it is lost.
    both.cut();
    let mut lost: Vec<_> = (0..5).map(|_| both.next()).map(|(place, told, _)| (place, told)).collect();
    lost.dedup_by(|(_, one), (_, other)| one == other);
    assert!(lost.len() == 1 && lost[0].1.starts_with("lost the registry: "), "{lost:?}");
    let again: Vec<_> =
        (0..6).map(|_| both.next()).map(|(place, told, _)| format!("{place} {told}")).collect();
    assert_eq!(again[0], "0 listed x@1 z@5");
    assert_eq!(again[1], "0 lost the registry does not hear it: 503");
    assert_eq!(again[5], "4 listed ");
}

/// So that what a gateway records of a change says who is said to have made it; of all that managed fields say that alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_said_to_have_written_an_object_is_told_with_it() {
    let both = Both::of((&[], false), (&[], false));
    let by = |name: &str, subresource: &str, second: u32| json!({"manager": name, "operation": "Update", "subresource": subresource, "time": format!("2026-11-28T16:00:0{second}Z"), "fieldsV1": {"f:spec": {}}});
    let mut object = agent("x", "1", "t");
    object["metadata"]["managedFields"] =
        json!([by("helm", "", 1), by("kubectl-edit", "", 2), by("vidimus", "status", 3)]);
    both.relay.hear(0, &Told::Listed(vec![object]));
    let heard = both.heard.recv_timeout(Duration::from_secs(20)).expect("something is told");
    let Heard::AsOf(0, Told::Listed(all), ..) = heard else { panic!("{heard:?}") };
    let by = json!([{"manager": "kubectl-edit", "time": "2026-11-28T16:00:02Z"}]);
    assert_eq!(all[0]["metadata"]["managedFields"], by);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_proved_by_what_is_not_good_any_more_is_not_heard() {
    let both = Both::of((&[], false), (&[], false));
    both.relay.hear::<Value>(0, &Told::Listed(vec![]));
    assert_eq!(both.next().1, "listed ");
    both.is_trusted.store(false, Ordering::Relaxed);
    let why = both.next().1;
    assert!(why.contains("not good any more"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_follow_the_same_or_nothing_is_heard() {
    for (there, here, says) in [
        (
            (&["a"][..], false),
            (&[][..], false),
            "it follows namespaces a, and this gateway was told all namespaces",
        ),
        ((&[][..], false), (&["a", "b"][..], false), "told namespaces a, b"),
        ((&["b", "a"][..], false), (&["a", "b"][..], false), "in that order"),
        ((&[][..], true), (&[][..], false), "--pods"),
        ((&[][..], false), (&[][..], true), "--pods"),
    ] {
        let both = Both::of(there, here);
        let why = both.next().1;
        assert!(why.contains(says), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_told_as_they_are_known() {
    let both = Both::of((&["a"], true), (&["a"], true));
    let pod = |uid: &str| {
        let object =
            json!({"metadata": {"namespace": "a", "name": "p", "uid": uid}, "status": {"phase": "Running"}});
        crate::pods::read_pod(&object).expect("a pod")
    };
    let as_of = Timestamp::now();
    both.relay.hear(5, &Told::Listed(vec![pod("1")]));
    both.relay.hear::<Item>(5, &Told::UpTo(as_of));
    both.relay.hear(5, &Told::There(pod("2")));
    let mut told = Vec::new();
    let is_whole =
        |told: &[String]| ["\"2\"", "UpTo"].iter().all(|part| told.iter().any(|one| one.contains(part)));
    while !is_whole(&told) {
        let (place, one, room) = both.pods.recv_timeout(Duration::from_secs(20)).expect("something is told");
        assert!(place == 0 && room.is_some());
        told.push(format!("{one:?}"));
    }
    assert!(told.iter().any(|one| one.starts_with(&format!("UpTo({as_of:?}"))), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_told_to_who_asks_for_it_where_it_is_named_there_too() {
    let both = Both::of((&[], false), (&[], false));
    let named = |name: &str| SecretKey { namespace: "a".into(), name: name.into(), key: "k".into() };
    let secret = |name: &str, key: &str| {
        use base64::Engine as _;
        let data = base64::engine::general_purpose::STANDARD.encode(key);
        json!({"metadata": {"namespace": "a", "name": name}, "data": {"k": data}})
    };
    let until = |key: Result<&'static str, &'static str>| {
        let begun = Instant::now();
        loop {
            let found = both.held.read(&named("one")).map(|key| key.expose_secret().to_owned());
            match (&found, key) {
                (Ok(found), Ok(key)) if found == key => return,
                (Err(found), Err(key)) if found.contains(key) => return,
                _ => assert!(begun.elapsed() < Duration::from_secs(20), "{found:?} {key:?}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    // The registry's own records name one and other; the gateway's name one and unknown.
    both.secrets.named([&named("one"), &named("other")].into_iter(), std::iter::empty());
    both.held.named([&named("one"), &named("unknown")].into_iter(), std::iter::empty());
    for name in ["one", "other"] {
        both.secrets.told(
            &named(name),
            Told::Listed(vec![secret(name, &format!("sk-{name}"))]),
            Instant::now(),
        );
    }
    both.ask.send_replace(vec![named("one"), named("unknown")]);
    until(Ok("sk-one"));
    both.secrets.told(&named("one"), Told::There(secret("one", "sk-rotated")), Instant::now());
    until(Ok("sk-rotated"));
    // What was read stays while the registry is away, and while it has not read it again.
    both.cut();
    both.secrets.named(std::iter::empty(), std::iter::empty());
    both.secrets.named([&named("one")].into_iter(), std::iter::empty());
    both.secrets.told(&named("one"), Told::Lost("no answer".to_owned()), Instant::now());
    std::thread::sleep(Duration::from_millis(500));
    until(Ok("sk-rotated"));
    both.secrets.told(&named("one"), Told::Listed(vec![]), Instant::now());
    until(Err("does not exist"));
    assert!(both.held.read(&named("unknown")).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_called_a_gateway_is_told_to_the_registry() {
    use vidimus_core::resource::crd::LastCall;
    let both = Both::of((&[], true), (&[], true));
    let of = |name: &str| (Kind::Agent, Arc::<str>::from("a"), Arc::<str>::from(name));
    let call =
        |time: &str| LastCall { gateway: "g".to_owned(), time: time.to_owned(), ..LastCall::default() };
    let until = |name: &str, time: &str| {
        let begun = Instant::now();
        while both.relay.last_calls().get(&of(name)).is_none_or(|call| call.time != time) {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{name} {time}: {:?}",
                both.relay.last_calls()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let many = (0..100).map(|number| (of(&number.to_string()), call("2026-11-28T12:00:00Z")));
    both.calls.send_replace(Arc::new(many.collect()));
    until("0", "2026-11-28T12:00:00Z");
    until("99", "2026-11-28T12:00:00Z");
    // Another gateway saw an earlier one.
    both.calls.send_replace(Arc::new(
        [(of("0"), call("2026-11-28T11:00:00Z")), (of("x"), call("2026-11-28T11:00:00Z"))].into(),
    ));
    until("x", "2026-11-28T11:00:00Z");
    until("0", "2026-11-28T12:00:00Z");
}

/// A gateway that asks for nothing.
fn nothing() -> Asked {
    Asked { keys: watch::channel(Vec::new()).1, calls: watch::Sender::default() }
}

/// A gateway that reads these lines.
async fn reads(lines: &[u8], namespaces: &[&str]) -> (String, Vec<String>) {
    let namespaces = names(namespaces);
    let nowhere: Dial = Box::new(|| Box::pin(async { Err("nowhere".to_owned()) }));
    let remote =
        Remote { identity: String::new(), namespaces: namespaces.clone(), pods: false, dial: nowhere };
    let (tell, heard) = mpsc::channel();
    let mut hearing =
        Hearing::new(remote, &followed(&namespaces), None, tell, (Secrets::default(), nothing()));
    let why = hearing.hear(Lines::new(lines, MAX_LINE)).await.unwrap_err();
    let told = heard.try_iter().map(|heard| match heard {
        Heard::AsOf(place, told, ..) => format!("{place} {}", shown_told(&told)),
        other => panic!("{other:?}"),
    });
    (why, told.collect())
}

/// Attack: a registry that says what none says. Nothing of the wrong line is told on, and of a list nothing before it is whole.
#[tokio::test]
async fn what_is_said_wrongly_ends_the_stream_and_is_not_in_force() {
    const BEGINS: &str = r#"{"begins":{"version":1,"namespaces":["a"],"pods":false}}"#;
    const X: &str = r#"{"metadata":{"namespace":"a","name":"x","resourceVersion":"1"}}"#;
    let item = format!(r#"{{"item":{X}}}"#);
    let there = format!(r#"{{"there":{{"watch":0,"object":{X}}}}}"#);
    let deep = format!(r#"{{"there":{{"watch":0,"object":{}{}}}}}"#, "[".repeat(200), "]".repeat(200));
    let lists = |count: usize| format!(r#"{{"lists":{{"watch":0,"count":{count},"ageMs":0}}}}"#);
    let newer = BEGINS.replace(":1,", ":2,");
    let other = there.replace("\"a\"", "\"b\"");
    let nameless = r#"{"there":{"watch":0,"object":{"metadata":{"namespace":"a"}}}}"#;
    for (lines, says, told) in [
        (vec![r#""beats""#], "does not begin", vec![]),
        (vec![there.as_str()], "does not begin", vec![]),
        (vec![newer.as_str()], "speaks version 2", vec![]),
        (vec![BEGINS, BEGINS], "begins again", vec![]),
        (vec![BEGINS, &there, &item], "not of a list", vec!["0 there x@1"]),
        (vec![BEGINS, &lists(2), &item, &there], "not whole", vec![]),
        (vec![BEGINS, &lists(2), &item], "the connection ended", vec![]),
        (
            vec![BEGINS, &lists(1), &item, r#"{"alive":{"watch":5}}"#],
            "a watch that there is not",
            vec!["0 listed x@1"],
        ),
        (vec![BEGINS, &lists(0), &there.replace("0,", "9,")], "a watch that there is not", vec!["0 listed "]),
        (vec![BEGINS, &lists(250_001)], "more than 250000", vec![]),
        (vec![BEGINS, &lists(1), r#"{"item":7}"#], "without a name", vec![]),
        (vec![BEGINS, &deep], "not understood", vec![]),
        (vec![BEGINS, nameless], "without a name", vec![]),
        (vec![BEGINS, &other], "not followed", vec![]),
        (vec![BEGINS, &other.replace("there", "gone")], "not followed", vec![]),
        (vec![BEGINS, &there, "{"], "not understood", vec!["0 there x@1"]),
    ] {
        let numbered = lines.iter().enumerate();
        let text: String =
            numbered.map(|(at, says)| format!("{{\"n\":{},\"says\":{says}}}\n", at + 1)).collect();
        let (why, found) = reads(text.as_bytes(), &["a"]).await;
        assert!(why.contains(says), "{lines:?}: {why}");
        assert_eq!(found, told, "{lines:?}");
    }
}

/// Attack: each byte of what a registry says, otherwise: it is told as it was, or the stream ends before.
#[tokio::test]
async fn a_byte_that_is_otherwise_tells_no_more() {
    let item = |name: &str| json!({"item": {"metadata": {"namespace": "a", "name": name}}});
    let script = [
        json!({"begins": {"version": 1, "namespaces": ["a"], "pods": false}}),
        json!({"lists": {"watch": 0, "count": 2, "ageMs": 0}}),
        item("x"),
        item("y"),
        json!({"alive": {"watch": 1}}),
        json!({"secret": {"of": {"namespace": "a", "name": "b", "key": "c"}, "is": {"there": "sk"}}}),
        json!("beats"),
    ];
    let numbered = script.iter().enumerate();
    let good: String = numbered.map(|(at, says)| format!("{{\"n\":{},\"says\":{says}}}\n", at + 1)).collect();
    let (why, told) = reads(good.as_bytes(), &["a"]).await;
    assert_eq!((why.as_str(), told.len()), ("the connection ended", 2));
    for at in 0..good.len() {
        for byte in [b'"', b'{', b'\n', b'0', b'9', b' ', 0, 0xff] {
            let mut odd = good.clone().into_bytes();
            odd[at] = byte;
            let (_, found) = reads(&odd, &["a"]).await;
            assert!(found.len() <= told.len(), "{at} {byte}: {found:?}");
        }
    }
}

/// Attack: a second registry that lost the API server long ago, and would bring back what was taken back since.
#[tokio::test]
async fn a_registry_that_is_further_back_is_not_believed_and_nothing_is_younger_by_connecting_anew() {
    let nowhere: Dial = Box::new(|| Box::pin(async { Err("nowhere".to_owned()) }));
    let remote = Remote { identity: String::new(), namespaces: Vec::new(), pods: false, dial: nowhere };
    let (tell, _heard) = mpsc::channel();
    let mut hearing = Hearing::new(remote, &followed(&[]), None, tell, (Secrets::default(), nothing()));
    let age = |seconds| Duration::from_secs(seconds);
    let (_, wall) = hearing.at(0, age(600)).expect("nothing is known yet");
    let since = Timestamp::now().duration_since(wall);
    assert!((600..620).contains(&since.as_secs()), "{since:?}");
    hearing.heard[0] = Some(Instant::now());
    hearing.at(0, age(30)).expect("a watch is silent for so long");
    assert!(hearing.at(0, age(60)).unwrap_err().contains("further back"));
    hearing.at(0, Duration::MAX).unwrap_err();
    hearing.at(1, age(60)).expect("of another watch nothing is known");
}

/// Attack: a registry that says the same again and again, faster than it is compiled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_taken_is_not_read() {
    let both = Both::of((&[], false), (&[], false));
    both.relay.hear::<Value>(0, &Told::Listed(vec![]));
    let large = "x".repeat(1 << 20);
    let sent = 60;
    for sent in 1..=sent {
        both.relay.hear(0, &Told::There(agent("x", &sent.to_string(), &format!("{large}{sent}"))));
        sleep(Duration::from_millis(20)).await;
    }
    // Whoever holds what was heard holds its room.
    let held: Vec<Heard> = both.heard.try_iter().collect();
    let waiting = held.iter().filter(|heard| matches!(heard, Heard::AsOf(_, Told::There(_), ..))).count();
    assert!(waiting <= 9, "{waiting} of {sent}");
}
