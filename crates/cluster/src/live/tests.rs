use std::path::Path;
use std::sync::mpsc;
use std::thread;

use serde_json::json;
use vidimus_registry::{KEY_LENGTH, KeptObjects, Loaded, feed};

use super::*;
use crate::seen::Changes;

fn agent(name: &str, generation: i64) -> Value {
    json!({
        "metadata": {"namespace": "a", "name": name, "uid": name, "generation": generation},
        "spec": {"owner": "ada@example.com", "team": "t", "purpose": "a test", "riskLevel": "low", "identities": [{"spiffe": format!("spiffe://example.com/{name}")}]},
    })
}

fn live() -> (Live, watch::Receiver<Arc<Loaded>>, watch::Receiver<SourceState>) {
    live_with(None)
}

fn live_with(kept: Option<Kept>) -> (Live, watch::Receiver<Arc<Loaded>>, watch::Receiver<SourceState>) {
    let (loaded, feed, _) = feed("the cluster", None, Arc::default()).unwrap();
    let (_, heard) = mpsc::channel();
    let (publish, state) = watch::channel(SourceState::unread());
    let (wanted, _) = watch::channel(Arc::default());
    let followed: Vec<(Kind, Option<Arc<str>>)> = Kind::ALL.into_iter().map(|kind| (kind, None)).collect();
    (
        Live::new((feed, kept), &followed, heard, publish, (wanted, Lead::default(), Secrets::default())),
        loaded,
        state,
    )
}

/// Where the API server asks nobody: each change is told once, with who is said to have made it, and neither a status nor what was there already is one.
#[test]
fn each_change_is_told_with_who_is_said_to_have_made_it() {
    let (to, Changes(mut seen)) = crate::seen::changes();
    let mut live = live().0.with_seen(Some(to));
    take(&mut live, 0, Told::Listed(vec![agent("x", 1), agent("y", 1)]));
    assert!(seen.try_recv().is_err(), "what is there at first was not changed");
    let by = |name: &str, subresource: &str, second: u32| json!({"manager": name, "operation": "Update", "subresource": subresource, "time": format!("2026-11-28T16:00:0{second}Z")});
    let mut next = agent("x", 2);
    next["spec"]["team"] = json!("u");
    next["metadata"]["managedFields"] =
        json!([by("helm", "", 1), by("kubectl-edit", "", 2), by("vidimus", "status", 3)]);
    take(&mut live, 0, Told::There(next.clone()));
    let told = seen.try_recv().unwrap();
    assert_eq!((&*told.object, told.operation), ("Agent/a/x", "update"));
    assert!(told.before.is_some() && told.after.is_some() && told.before != told.after, "{told:?}");
    let manager = told.manager.unwrap();
    assert_eq!((&*manager.name, &*manager.time), ("kubectl-edit", "2026-11-28T16:00:02Z"));
    next["status"] = json!({"observedGeneration": 2});
    take(&mut live, 0, Told::There(next.clone()));
    assert!(seen.try_recv().is_err(), "a status is no change");

    // Malformed, it is a change all the same; gone, nobody is named.
    let mut bad = next.clone();
    bad["metadata"]["generation"] = json!(3);
    bad["spec"]["owner"] = json!(7);
    take(&mut live, 0, Told::There(bad));
    let told = seen.try_recv().unwrap();
    assert_eq!((told.operation, told.before.is_some(), told.after), ("update", true, None));
    take(&mut live, 0, Told::Gone(agent("y", 1)));
    let told = seen.try_recv().unwrap();
    assert_eq!(
        (told.operation, told.before.is_some(), told.after, told.manager),
        ("delete", true, None, None)
    );
    // A list tells what was missed.
    take(&mut live, 0, Told::Listed(vec![agent("z", 1)]));
    let mut told: Vec<(String, &str)> = Vec::new();
    while let Ok(one) = seen.try_recv() {
        told.push((one.object, one.operation));
    }
    assert_eq!(told, [("Agent/a/z".to_owned(), "create"), ("Agent/a/x".to_owned(), "delete")]);
    // Who does not listen any more costs nothing.
    drop(seen);
    take(&mut live, 0, Told::Gone(agent("z", 1)));
    assert!(live.index.gather(false).is_empty());
}

fn disk(root: &Path) -> KeptObjects {
    let (file, count) = (root.join("registry/cluster"), root.join("identity/cluster.count"));
    KeptObjects::new(&file, &count, &[7; KEY_LENGTH]).unwrap()
}

/// A start after one to which two agents were told, and when that knew of all.
fn restarted(
    root: &Path,
    of: &str,
) -> (Live, watch::Receiver<Arc<Loaded>>, watch::Receiver<SourceState>, Timestamp) {
    let (mut before, _, state) = live_with(Some(Kept::begin(disk(root), "here").unwrap()));
    take(&mut before, 0, Told::Listed(vec![agent("x", 1), agent("y", 1)]));
    for place in 1..5 {
        take(&mut before, place, Told::Listed(vec![]));
    }
    let synced = state.borrow().synced.unwrap();
    let begun = Instant::now();
    while disk(root).read("here", &SOURCE.into()).unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing was kept");
        thread::sleep(Duration::from_millis(5));
    }
    let (live, loaded, state) = live_with(Some(Kept::begin(disk(root), of).unwrap()));
    (live, loaded, state, synced)
}

#[test]
fn what_was_kept_is_in_force_as_old_as_it_is_until_all_is_heard() {
    let root = tempfile::tempdir().unwrap();
    let (mut live, loaded, state, synced) = restarted(root.path(), "here");
    take(&mut live, 0, Told::Lost("connection refused".to_owned()));
    assert!(loaded.borrow().not_ready.is_some());
    live.begin_by_kept(Timestamp::now());
    assert_eq!((loaded.borrow().not_ready.clone(), loaded.borrow().snapshot.objects().len()), (None, 2));
    let is = state.borrow().clone();
    assert_eq!(is.synced.unwrap().as_millisecond(), synced.as_millisecond(), "not from the start");
    let why = is.reason.unwrap();
    assert!(is.is_kept && why.contains("kept on disk") && why.contains("connection refused"), "{why}");
    assert!(loaded.borrow().rejections.iter().any(|one| one.reason.contains("kept on disk")));
    // Of one kind it is known again what there is.
    take(&mut live, 0, Told::Listed(vec![agent("x", 2)]));
    assert!(state.borrow().is_kept);
    let objects = |loaded: &Loaded| -> Vec<String> {
        loaded.snapshot.objects().iter().map(|object| object.reference().to_string()).collect()
    };
    assert!(!objects(&loaded.borrow()).contains(&"Agent a/y".to_owned()), "deleted meanwhile");
    for place in 1..5 {
        take(&mut live, place, Told::Listed(vec![]));
    }
    assert_eq!((state.borrow().is_kept, state.borrow().reason.clone()), (false, None));
    assert_eq!(objects(&loaded.borrow()), ["Agent a/x"]);
    assert!(loaded.borrow().rejections.is_empty() && loaded.borrow().snapshot.only_refusing().count() == 0);
}

#[test]
fn what_was_kept_of_another_cluster_is_not_in_force_and_says_why() {
    let root = tempfile::tempdir().unwrap();
    let (mut live, loaded, state, _) = restarted(root.path(), "there");
    live.begin_by_kept(Timestamp::now());
    let why = loaded.borrow().not_ready.clone().unwrap();
    assert!(why.contains("it is of here, and this is there"), "{why}");
    assert_eq!((loaded.borrow().snapshot.objects().len(), state.borrow().is_kept), (0, false));
}

/// Attack: a machine whose clock is set back, so that what was kept is young for ever.
#[test]
fn what_was_kept_is_as_old_as_can_be_by_a_clock_that_went_back() {
    let root = tempfile::tempdir().unwrap();
    let (mut live, loaded, state, synced) = restarted(root.path(), "here");
    let now = Timestamp::from_millisecond(synced.as_millisecond() - 3_600_000).unwrap();
    live.begin_by_kept(now);
    assert_eq!(loaded.borrow().snapshot.objects().len(), 2, "what goes on at any age does");
    let age = now.as_millisecond() - state.borrow().synced.unwrap().as_millisecond();
    assert!(age > 365 * 24 * 3_600_000, "{age}");
}

#[test]
fn what_is_heard_in_time_is_in_force_and_not_what_was_kept() {
    let root = tempfile::tempdir().unwrap();
    let (mut live, loaded, state, _) = restarted(root.path(), "here");
    for place in 0..5 {
        take(&mut live, place, Told::Listed(vec![]));
    }
    live.begin_by_kept(Timestamp::now());
    assert_eq!((loaded.borrow().snapshot.objects().len(), state.borrow().is_kept), (0, false));
}

fn take(live: &mut Live, place: usize, told: Told) {
    live.take(Heard::Of(place, told), Instant::now(), Timestamp::now());
    if live.pending.due().is_some() {
        live.pending = Pending::default();
        live.compile();
    }
}

/// What waits for its turn to be compiled goes on by itself, where nothing more is told.
#[test]
fn what_waits_is_compiled_although_nothing_more_is_told() {
    let (mut live, loaded, _state) = live();
    let (tell, heard) = mpsc::channel();
    live.heard = heard;
    for place in 0..Kind::ALL.len() {
        tell.send(Heard::Of(place, Told::Listed(vec![]))).unwrap();
    }
    let running = thread::spawn(move || live.run());
    let until = |count: usize| {
        let begun = Instant::now();
        while loaded.borrow().not_ready.is_some() || loaded.borrow().snapshot.objects().len() < count {
            assert!(begun.elapsed() < Duration::from_secs(60), "{count}");
            thread::sleep(Duration::from_millis(5));
        }
    };
    until(0);
    // Each is a piece, and they are heard at once.
    let cedar = format!("permit (principal, action, resource); // {}", "x".repeat(40_000));
    let policy = |name: &str| {
        json!({
            "metadata": {"namespace": "a", "name": name, "uid": name, "generation": 1},
            "spec": {"description": "a test", "cedar": cedar},
        })
    };
    let place = Kind::ALL.iter().position(|kind| *kind == Kind::Policy).unwrap();
    tell.send(Heard::Of(place, Told::Listed(["p", "q", "r"].map(policy).into()))).unwrap();
    until(3);
    drop(tell);
    running.join().unwrap();
}

/// Nothing passes before all five kinds are known, and what is wrong until then is said.
#[test]
fn it_is_ready_when_all_kinds_were_listed_and_what_is_lost_changes_nothing() {
    let (mut live, loaded, state) = live();
    take(&mut live, 0, Told::Listed(vec![agent("x", 1)]));
    take(&mut live, 1, Told::Lost("forbidden (403)".to_owned()));
    let why = loaded.borrow().not_ready.clone().unwrap();
    assert!(why.contains("mcpservers.vidimus.dev: forbidden (403)"), "{why}");
    assert_eq!(loaded.borrow().snapshot.objects().len(), 0);
    for place in 1..5 {
        take(&mut live, place, Told::Listed(vec![]));
    }
    assert_eq!((loaded.borrow().not_ready.clone(), loaded.borrow().snapshot.objects().len()), (None, 1));
    assert_eq!(state.borrow().reason, None);
    let digest = loaded.borrow().snapshot.digest().to_owned();
    let synced = state.borrow().synced;
    take(&mut live, 0, Told::Lost("connection refused".to_owned()));
    assert_eq!(loaded.borrow().snapshot.digest(), digest);
    assert!(loaded.borrow().rejections[0].reason.contains("connection refused"));
    assert_eq!(loaded.borrow().not_ready, None, "what is live stays so");
    assert!(
        state
            .borrow()
            .reason
            .as_deref()
            .is_some_and(|why| why.contains("agents.vidimus.dev: connection refused"))
    );
    assert_eq!(state.borrow().synced, synced);
    take(&mut live, 0, Told::There(agent("y", 1)));
    assert_eq!((loaded.borrow().rejections.len(), loaded.borrow().snapshot.objects().len()), (0, 2));
    // Listed anew after a gap: what is gone was deleted in it.
    take(&mut live, 0, Told::Listed(vec![agent("y", 1)]));
    assert_eq!(loaded.borrow().snapshot.objects().len(), 1);
}

#[test]
fn a_burst_is_one_compilation_and_a_storm_is_not_waited_for() {
    let begun = Instant::now();
    let mut pending = Pending::default();
    assert_eq!(pending.due(), None);
    for (millis, due) in [(0, 5), (4, 9), (8, 13), (24, 25), (100, 25)] {
        pending.note(begun + Duration::from_millis(millis));
        assert_eq!(pending.due(), Some(begun + Duration::from_millis(due)));
    }
}
