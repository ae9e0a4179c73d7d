//! One namespace of a cluster has an audience: an upstream trusts it, whoever registered it again.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use vidimus_core::resource::{self, Object, Origin, Rejection};
use vidimus_core::snapshot::Snapshot;

const LEDGER: &str = "http://ledger.finance:9000/mcp";

/// `namespace/name` as a cluster has it, made in that minute, with that endpoint.
fn there(kind: &str, key: &str, minute: u32, endpoint: &Value) -> Value {
    let (namespace, name) = key.split_once('/').unwrap();
    let mut spec =
        json!({"owner": "ada.l@example.com", "team": "t", "riskLevel": "low", "endpoint": endpoint});
    if kind == "Agent" {
        spec["purpose"] = json!("a test");
    }
    json!({
        "apiVersion": "vidimus.dev/v1alpha1", "kind": kind, "spec": spec,
        "metadata": {
            "namespace": namespace, "name": name, "uid": format!("{kind} {key}"), "resourceVersion": "7",
            "creationTimestamp": format!("2026-11-01T10:{minute:02}:00Z"),
        },
    })
}

fn server(key: &str, minute: u32) -> Value {
    there("MCPServer", key, minute, &json!({"url": LEDGER}))
}

fn origin(document: &Value) -> Origin {
    let uid = document["metadata"]["uid"].as_str().map(Into::into);
    Origin::Cluster { cluster: "c".into(), uid, resource_version: None }
}

fn checked(documents: &[Value]) -> (Vec<Object>, Vec<Rejection>) {
    let (mut objects, mut rejected) = (Vec::new(), Vec::new());
    for document in documents {
        match resource::check(&origin(document), document) {
            Ok(object) => objects.push(object),
            Err(faults) => rejected.extend(faults),
        }
    }
    (objects, rejected)
}

fn next(last: &Snapshot, documents: &[Value]) -> (Snapshot, Vec<Rejection>) {
    let (objects, rejected) = checked(documents);
    last.rebuilt(objects, rejected)
}

fn in_force(world: &Snapshot) -> BTreeSet<String> {
    world.objects().iter().map(|object| object.reference().to_string()).collect()
}

fn is(world: &Snapshot, names: &[&str]) -> bool {
    in_force(world) == names.iter().map(|name| (*name).to_owned()).collect()
}

/// Attack: the address of a server of another namespace, registered again, with a permit of one's own.
#[test]
fn an_audience_is_held_by_the_namespace_that_registered_it_first() {
    let (first, again) = (server("finance/ledger", 5), server("evil/mine", 6));
    let by_name = there("MCPServer", "evil/aud", 6, &json!({"url": "http://evil/", "audience": LEDGER}));
    let agent = there("Agent", "evil/agent", 6, &json!({"url": LEDGER}));
    for other in [again, by_name, agent] {
        for documents in [[first.clone(), other.clone()], [other.clone(), first.clone()]] {
            let (world, rejected) = next(&Snapshot::default(), &documents);
            assert!(is(&world, &["MCPServer finance/ledger"]), "{other}: {:?}", in_force(&world));
            let [one] = &rejected[..] else { panic!("{rejected:#?}") };
            let (kind, key) = (other["kind"].as_str().unwrap(), other["metadata"]["name"].as_str().unwrap());
            assert_eq!(
                (one.object.to_string(), &*one.field),
                (format!("{kind} evil/{key}"), "spec.endpoint")
            );
            assert!(one.reason.contains("namespace finance"), "{one:?}");
            assert!(!one.reason.contains("finance/ledger"), "no more than the namespace is told: {one:?}");
            let kind = one.object.reference().unwrap().kind;
            assert_eq!(world.audience_holder(kind, &"evil".into(), &key.into()), Some("finance"));
        }
    }
    // Who was there first by the second of the API server, and by name where it was the same one.
    let (world, _) = next(&Snapshot::default(), &[server("finance/ledger", 5), server("evil/mine", 4)]);
    assert!(is(&world, &["MCPServer evil/mine"]));
    let (world, _) = next(&Snapshot::default(), &[server("finance/ledger", 5), server("evil/mine", 5)]);
    assert!(is(&world, &["MCPServer evil/mine"]));
    // One's own namespace may register it as often as it likes, and what gets no token is nobody's.
    let job = json!({
        "template": {"spec": {"containers": [{"name": "t", "image": "registry.example/t@sha256:00"}]}},
        "tools": {"run": {"description": "d", "inputSchema": {"type": "object"}}},
    });
    let run = |key: &str| {
        let mut job_of = server(key, 5);
        job_of["spec"]["job"] = job.clone();
        job_of["spec"].as_object_mut().unwrap().remove("endpoint");
        job_of
    };
    let (world, rejected) = next(
        &Snapshot::default(),
        &[server("finance/ledger", 5), server("finance/again", 6), run("finance/job"), run("evil/job")],
    );
    assert_eq!((world.objects().len(), rejected.len()), (4, 0), "{rejected:#?}");
}

/// Attack: an object that was made long before, and gets the address of another namespace's server later.
#[test]
fn who_has_an_audience_keeps_it_whatever_is_older() {
    let ledger = server("finance/ledger", 5);
    let old = |url: &str| there("MCPServer", "evil/old", 1, &json!({"url": url}));
    let (world, rejected) = next(&Snapshot::default(), &[ledger.clone(), old("http://evil/")]);
    assert!(rejected.is_empty(), "{rejected:#?}");
    let both = [ledger.clone(), old(LEDGER)];
    let (edited, _) = next(&world, &both);
    assert!(is(&edited, &["MCPServer finance/ledger"]));
    // From one to the next, and over a restart, with all there and with a fault in between.
    let (later, _) = next(&edited, &both);
    assert!(is(&later, &["MCPServer finance/ledger"]));
    let (seen, _) = next(&Snapshot::default(), &both);
    let remembering = seen.remembering(&later.memory()).unwrap().expect("it was otherwise");
    let (restarted, _) = next(&remembering, &both);
    assert!(is(&restarted, &["MCPServer finance/ledger"]));
    let (again, _) = next(&restarted, &both);
    assert!(is(&again, &["MCPServer finance/ledger"]));
    let mut broken = ledger.clone();
    broken["spec"]["owner"] = json!("nobody");
    let (faulty, rejected) = next(&again, &[broken.clone(), old(LEDGER)]);
    assert!(is(&faulty, &[]) && rejected.len() >= 2, "{rejected:#?}");
    let (seen, _) = next(&Snapshot::default(), &[broken.clone(), old(LEDGER)]);
    let remembering = seen.remembering(&faulty.memory()).unwrap().expect("it was otherwise");
    assert!(is(&next(&remembering, &[broken, old(LEDGER)]).0, &[]));
    let (mended, _) = next(&faulty, &both);
    assert!(is(&mended, &["MCPServer finance/ledger"]));
    // What is deleted has nothing any more.
    let (deleted, rejected) = next(&mended, &[old(LEDGER)]);
    assert!(is(&deleted, &["MCPServer evil/old"]) && rejected.is_empty(), "{rejected:#?}");
}

/// Of files nobody knows which was first, and one person answers for all of them: it is said, and both are in force.
#[test]
fn files_that_share_an_audience_are_told_and_used() {
    let documents = [server("finance/ledger", 5), server("hr/ledger", 6), server("finance/again", 7)];
    let of_file = |document: &Value| resource::check(&Origin::file("a.yaml", 1), document).unwrap();
    let (world, rejected) = Snapshot::build(documents.iter().map(of_file).collect());
    assert_eq!((world.objects().len(), rejected.len()), (3, 0), "{rejected:#?}");
    let told: Vec<String> = world.shared_audiences().iter().map(|one| one.object.to_string()).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    let (world, _) = Snapshot::build(documents.iter().take(1).map(of_file).collect());
    assert!(world.shared_audiences().is_empty() && world.warnings().is_empty());
}
