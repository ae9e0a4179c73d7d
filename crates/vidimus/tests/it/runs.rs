//! When a gateway ran is on record: a start, how the run before it ended, and a stop.

use serde_json::Value;

use super::gateway::Gateway;
use super::run;

/// The starts and stops, oldest first.
fn acts(data: &str) -> Vec<Value> {
    let ran = run(&[
        "audit",
        "search",
        "--data",
        data,
        "--kind",
        "act",
        "--oldest-first",
        "--limit",
        "0",
        "-o",
        "json",
    ]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_start_says_how_the_run_before_it_ended_and_a_stop_that_it_did() {
    let gateway = Gateway::start(1);
    gateway.call(None);
    let gateway = Gateway::start_in(gateway.stop().0);
    gateway.call(None);
    let gateway = gateway.killed_and_started();
    let data = gateway.path("data");
    let told = acts(&data);
    let found: Vec<&str> = told.iter().filter_map(|one| one["act"]["start"]["found"].as_str()).collect();
    assert_eq!(found, ["new", "stopped", "unstopped"], "{told:?}");
    let [first, stop, second, third] = &told[..] else { panic!("{told:?}") };
    assert_eq!((&stop["act"]["stop"]["of"], &stop["why"]), (&first["id"], &"it was told to stop".into()));
    for one in &told {
        assert_eq!((&one["actor"], &one["note"]), (&"vidimus".into(), &true.into()), "{one}");
    }
    // Nothing of a run is on record before its start, or behind its stop.
    assert_eq!(
        (first["index"].as_u64(), &first["act"]["start"]["since"]),
        (Some(0), &Value::Null),
        "{first}"
    );
    assert_eq!((&second["act"]["start"]["since"], &second["index"]), (&stop["time"], &3.into()), "{second}");
    assert!(third["act"]["start"]["since"].as_str() > second["time"].as_str(), "{third}");
    let start = |of: &Value, name: &str| of["act"]["start"][name].as_str().unwrap().to_owned();
    for one in [first, second, third] {
        assert!(start(one, "flags").starts_with("sha256:") && !start(one, "version").is_empty(), "{one}");
        assert_eq!(start(one, "configuration"), start(first, "configuration"), "nothing of it was changed");
    }
    // They listen elsewhere.
    assert_ne!(start(first, "flags"), start(second, "flags"));

    let ran = run(&["audit", "logs", "--data", &data, "--silence", "1s"]);
    assert!(ran.code == Some(0) && ran.out.contains("ended without a stop after "), "{ran:?}");
    let (directory, _) = gateway.stop();
    let data = directory.path().join("data").display().to_string();
    let told = run(&["audit", "logs", "--data", &data, "--silence", "1s", "-o", "json"]).json();
    let runs = &told["logs"][0]["runs"];
    assert_eq!((&runs["starts"], &runs["unstopped"]), (&3.into(), &1.into()), "{told}");
    let last = runs["away"].as_array().unwrap().last().unwrap();
    assert!(last["stop"].is_u64() && last["start"].is_null(), "{told}");
    let ran = run(&["audit", "logs", "--data", &data]);
    assert!(ran.out.contains("and not started since"), "{ran:?}");
    // Where nothing is found of a time, it is told that nobody could have been called.
    let beside = |hours| (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours)).to_string();
    let ran = run(&["audit", "search", "--data", &data, "--since", &beside(1), "--until", &beside(2)]);
    assert!(ran.code == Some(0) && ran.err.contains("and not started since"), "{ran:?}");
    let html = directory.path().join("report.html").display().to_string();
    let ran =
        run(&["audit", "evidence", "--data", &data, "--framework", "soc2", "--from", "1d", "--out", &html]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let html = std::fs::read_to_string(&html).unwrap();
    assert!(
        html.contains("3, 1 without a stop before") && html.contains("ended without a stop after"),
        "{html}"
    );
}

/// Nobody listens on port 1: the start waits for the store.
#[test]
fn a_start_that_waits_for_its_store_stops_in_order() {
    let gateway = Gateway::begin_in(Gateway::start(1).stop().0, |command| {
        command.args(["--standing", "redis://127.0.0.1:1"]);
    });
    let log = |gateway: &Gateway| std::fs::read_to_string(gateway.path("log")).unwrap();
    gateway.wait("waiting", |gateway| log(gateway).contains("the store of what gateways share is lost"));
    assert!(!log(&gateway).contains("not known yet"), "it waits still");
    let (directory, code) = gateway.stop();
    let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("stopping before it serves"), "{log}");
    let told = acts(&directory.path().join("data").display().to_string());
    let last = told.last().unwrap();
    assert!(last["act"]["stop"].is_object() && last["why"] == "it was told to stop", "{told:?}");
}

/// What fails after it is on record that it begins ends on record too, with the reason: the next start misses nothing.
#[test]
fn a_start_that_fails_is_on_record_with_its_end() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let admission = ["--admission", "127.0.0.1:0"];
    let mut directory = Gateway::start(1).stop().0;
    let mut failed = Vec::new();
    for (words, says) in [
        (
            [&admission[..], &["--admission-client-ca", "/nope/x.pem"]].concat(),
            "--admission-client-ca /nope/x.pem",
        ),
        (vec!["--admission", &taken], "--admission 127.0.0.1"),
        (vec!["--webhook", "http://127.0.0.1:1/", "--webhook-secret", "none"], "--webhook-secret"),
    ] {
        let (left, code, log) = Gateway::ends_in(directory, |command| {
            command.args(&words);
        });
        assert!(code == Some(2) && log.contains(says), "{words:?}: {code:?} {log}");
        directory = left;
        failed.push(says);
    }
    let gateway = Gateway::start_in(directory);
    let log = std::fs::read_to_string(gateway.path("log")).unwrap();
    assert!(!log.contains("ended without a stop"), "{log}");
    let told = acts(&gateway.path("data"));
    assert!(told.iter().all(|one| one["act"]["start"]["found"] != "unstopped"), "{told:?}");
    let whys =
        told.iter().filter(|one| one["act"]["stop"].is_object()).map(|one| one["why"].as_str().unwrap());
    let whys: Vec<&str> = whys.filter(|why| why.starts_with("the start failed: ")).collect();
    // A webhook is looked at before anything is on record, or after: in both cases nothing is left open.
    for says in &failed[..2] {
        assert!(whys.iter().any(|why| why.contains(says)), "{says}: {whys:?}");
    }
    assert_eq!(gateway.stop().1, Some(0));
}
