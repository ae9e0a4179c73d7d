use serde_json::json;
use vidimus_core::resource::Kind;
use vidimus_registry::{Says, feed};

use super::*;
use crate::index::Index;
use crate::live::Told;
use crate::pods::known::tests::pod;
use crate::pods::read::Item;
use crate::rollouts::Rollouts;
use crate::routes::Routes;
use crate::runs_jobs::RunsJobs;
use crate::secrets::Secrets;
use crate::verdict::{Reported, wanted};

/// A record with these identities, in namespace `a`.
fn record(kind: Kind, name: &str, identities: &Value) -> (Kind, Value) {
    let mut spec = json!({"owner": "ada@example.com", "team": "t", "identities": identities});
    if kind == Kind::Agent {
        spec["purpose"] = json!("a test");
        spec["riskLevel"] = json!("low");
    }
    let metadata =
        json!({"namespace": "a", "name": name, "uid": name, "generation": 4, "resourceVersion": "9"});
    (kind, json!({"metadata": metadata, "spec": spec}))
}

fn account(name: &str) -> Value {
    json!([{"serviceAccount": {"name": name}}])
}

fn index(records: &[(Kind, Value)]) -> Index {
    let mut index = Index::new("c");
    for (kind, document) in records {
        index.there(*kind, document.clone());
    }
    index
}

fn loaded(index: &Index) -> Arc<vidimus_registry::Loaded> {
    let (_, mut feed, _) = feed("the cluster", None, Arc::default()).unwrap();
    let (objects, rejected) = index.says();
    feed.says(Says { objects, rejected, about: vec![] });
    feed.current()
}

fn known(namespaces: &[Arc<str>], pods: Vec<Item>) -> Known {
    let mut known = Known::of(namespaces);
    let places = known.watched().len();
    known.take(0, Told::Listed(pods));
    for place in 1..places {
        known.take(place, Told::Listed(vec![]));
    }
    known
}

fn joined(index: &Index, known: &Known, calls: LastCalls) -> Joined {
    let loaded = loaded(index);
    assert!(loaded.rejections.is_empty(), "{:?}", loaded.rejections);
    Joined::of(known, &loaded.snapshot, &Workloads::of(&loaded.snapshot), Arc::new(calls))
}

fn key(kind: Kind, name: &str) -> Key {
    (kind, "a".into(), name.into())
}

/// Status, reason and how many, of a record.
fn said(joined: &Joined, kind: Kind, name: &str) -> Option<(String, String, i64)> {
    let (condition, runs) = joined.runs(&key(kind, name), &Runs::default(), &[], Some(4));
    let condition = condition?;
    assert_eq!((&*condition.of, condition.observed_generation), ("Running", Some(4)));
    Some((condition.status, condition.reason, runs.instances.unwrap().count))
}

fn call(time: &str, identity: &str) -> LastCall {
    LastCall { gateway: "g".to_owned(), identity: identity.to_owned(), instance: None, time: time.to_owned() }
}

#[test]
fn pods_are_joined_to_records_by_service_account_and_spiffe_id() {
    let index = index(&[
        record(Kind::Agent, "two", &account("two")),
        record(Kind::Agent, "none", &account("none")),
        record(Kind::Agent, "begins", &account("begins")),
        record(Kind::Agent, "ended", &account("ended")),
        record(
            Kind::Agent,
            "anywhere",
            &json!([{"oidc": {"issuer": "https://login.example", "subject": "x"}}]),
        ),
        record(Kind::ServiceIdentity, "spiffe", &json!([{"spiffe": "spiffe://corp.example/ns/b/sa/spiffe"}])),
    ]);
    let known = known(
        &[],
        vec![
            pod("a", "1", "two", "Running"),
            pod("a", "2", "two", "Running"),
            pod("a", "3", "begins", "Pending"),
            pod("a", "4", "ended", "Succeeded"),
            pod("a", "5", "stranger", "Running"),
            pod("a", "6", "stranger", "Failed"),
            pod("b", "7", "spiffe", "Running"),
            // Nothing is registered in these namespaces, and they have no label.
            pod("b", "8", "two", "Running"),
            pod("kube-system", "9", "default", "Running"),
        ],
    );
    let joined = joined(&index, &known, LastCalls::new());
    for (kind, name, expected) in [
        (Kind::Agent, "two", Some(("True", "Running", 2))),
        (Kind::Agent, "none", Some(("False", "NoPod", 0))),
        (Kind::Agent, "begins", Some(("False", "NotRunning", 1))),
        (Kind::Agent, "ended", Some(("False", "NoPod", 0))),
        (Kind::Agent, "anywhere", None),
        (Kind::ServiceIdentity, "spiffe", Some(("True", "Running", 1))),
        (Kind::McpServer, "two", None),
    ] {
        let expected = expected.map(|(status, reason, count)| (status.to_owned(), reason.to_owned(), count));
        assert_eq!(said(&joined, kind, name), expected, "{name}");
    }
    let report = joined.report();
    assert!(report.known);
    let unclaimed: Vec<&str> = report.unclaimed.iter().map(|pod| &*pod.uid).collect();
    assert_eq!(unclaimed, ["5"]);
    assert_eq!(report.unclaimed_by_namespace, BTreeMap::from([("a".to_owned(), 1)]));
    let not_running: Vec<&str> = report.not_running.iter().map(|one| &*one.object).collect();
    assert_eq!(not_running, ["Agent a/begins", "Agent a/ended", "Agent a/none"]);
    assert!(report.not_running[2].message.contains("a/none"), "{report:?}");
}

#[test]
fn a_label_or_being_named_governs_a_namespace() {
    let index = index(&[]);
    let stranger = || vec![pod("b", "1", "x", "Running")];
    let mut all = known(&[], stranger());
    assert!(joined(&index, &all, LastCalls::new()).report().unclaimed.is_empty());
    all.take(1, Told::There(Item::Namespace { name: "b".into(), governed: true }));
    assert_eq!(joined(&index, &all, LastCalls::new()).report().unclaimed.len(), 1);
    let named = known(&["b".into()], stranger());
    assert_eq!(joined(&index, &named, LastCalls::new()).report().unclaimed.len(), 1);
}

#[test]
fn pods_that_are_not_watched_are_not_missing() {
    let index = index(&[record(Kind::Agent, "bot", &account("bot"))]);
    let known = known(&["b".into()], vec![]);
    let (status, reason, _) = said(&joined(&index, &known, LastCalls::new()), Kind::Agent, "bot").unwrap();
    assert_eq!((&*status, &*reason), ("Unknown", "NotWatched"));
}

/// Before all pods are known, and while nothing is heard of them, what was said stays.
#[test]
fn what_is_not_known_is_not_said_anew() {
    let index = index(&[record(Kind::Agent, "bot", &account("bot"))]);
    let there = Runs {
        instances: Some(Box::new(Instances { count: 3, pods: vec![] })),
        last_call: Some(Box::new(call("2026-01-01T00:00:00Z", "old"))),
    };
    let unread = Known::of(&[]);
    let unread = joined(&index, &unread, LastCalls::new());
    assert!(!unread.report().known);
    assert_eq!(unread.runs(&key(Kind::Agent, "bot"), &there, &[], Some(4)), (None, there));
    let mut lost = known(&[], vec![pod("a", "1", "bot", "Running")]);
    lost.take(0, Told::Lost("503".to_owned()));
    let lost = joined(&index, &lost, LastCalls::new());
    assert_eq!(said(&lost, Kind::Agent, "bot"), Some(("True".to_owned(), "Running".to_owned(), 1)));
    assert_eq!(lost.report().lost.as_deref(), Some("503"));
}

#[test]
fn a_last_call_is_written_once_a_minute_and_never_goes_back() {
    let old = call("2026-01-01T00:00:00Z", "old");
    for (there, seen, expected) in [
        (None, None, None),
        (None, Some("2026-01-01T00:00:00Z"), Some("new")),
        (Some(&old), None, Some("old")),
        (Some(&old), Some("2026-01-01T00:00:59Z"), Some("old")),
        (Some(&old), Some("2026-01-01T00:01:00Z"), Some("new")),
        (Some(&old), Some("2025-12-31T00:00:00Z"), Some("old")),
        (Some(&call("odd", "odd")), Some("2026-01-01T00:00:00Z"), Some("new")),
    ] {
        let seen = seen.map(|time| call(time, "new"));
        let found = later(there, seen.as_ref()).map(|call| call.identity);
        assert_eq!(found.as_deref(), expected, "{there:?} {seen:?}");
    }
}

/// What was written comes back, and nothing more is wanted then.
#[test]
fn what_runs_is_written_once_and_goes_with_the_watch() {
    let (kind, document) = record(Kind::Agent, "bot", &account("bot"));
    let mut index = index(&[(kind, document.clone())]);
    let calls = LastCalls::from([(key(kind, "bot"), call("2026-01-01T00:00:00Z", "i"))]);
    let pods = known(&[], vec![pod("a", "1", "bot", "Running")]);
    let runs = joined(&index, &pods, calls);
    let (secrets, jobs, rollouts) = (Secrets::default(), RunsJobs::default(), Rollouts::default());
    let routes = Routes::default();
    let reported =
        Reported { secrets: &secrets, jobs: &jobs, rollouts: &rollouts, routes: &routes, knows_acts: true };
    let write = wanted(&index, &loaded(&index), &reported, Some(&runs), Timestamp::UNIX_EPOCH).remove(0);
    let mut written = document;
    written["status"] = write.document()["status"].clone();
    assert_eq!(written["status"]["instances"]["pods"][0]["uid"], "1");
    assert_eq!(written["status"]["lastCall"]["identity"], "i");
    index.there(kind, written);
    assert!(wanted(&index, &loaded(&index), &reported, Some(&runs), Timestamp::UNIX_EPOCH).is_empty());
    // Pods are not watched any more: what was said of them goes.
    let last = wanted(&index, &loaded(&index), &reported, None, Timestamp::UNIX_EPOCH).remove(0);
    assert!(last.document()["status"].get("instances").is_none(), "{last:?}");
    assert!(last.conditions.iter().all(|one| one.of != "Running"));
}

/// Without the role nothing is known of what runs, and that is said where it would stand, with what to do.
#[test]
fn what_cannot_be_known_is_said_in_the_status() {
    let (kind, document) = record(Kind::Agent, "bot", &account("bot"));
    let index = index(&[(kind, document)]);
    let mut pods = Known::of(&[]);
    assert_eq!(said(&joined(&index, &pods, LastCalls::new()), kind, "bot"), None, "nobody has answered yet");
    pods.take(0, Told::Forbidden("pods is forbidden (403)".to_owned()));
    let (condition, _) =
        joined(&index, &pods, LastCalls::new()).runs(&key(kind, "bot"), &Runs::default(), &[], Some(4));
    let condition = condition.unwrap();
    assert_eq!((&*condition.status, &*condition.reason), ("Unknown", "PodsNotHeard"));
    assert!(
        condition.message.contains("(403)") && condition.message.contains("deploy/rbac/pods.yaml"),
        "{condition:?}"
    );
}
