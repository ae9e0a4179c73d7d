//! `audit` of several ledgers, which are read as one.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::gateway::{Gateway, damage, upstream_that_hangs_up};
use super::{Ran, command, run};

/// The data directories of two gateways: each has its start, two refusals, a decision, its effect, and its stop.
fn two() -> [tempfile::TempDir; 2] {
    let upstream = upstream_that_hangs_up();
    let gateways = [Gateway::start(upstream), Gateway::start(upstream)];
    for gateway in gateways.iter().chain(&gateways) {
        // Each in its turn, so that their records stand between each other.
        let _ = gateway.call(None);
    }
    for gateway in &gateways {
        let _ = gateway.call(Some(&gateway.token()));
    }
    gateways.map(|gateway| gateway.stop().0)
}

fn ledger(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("data/ledger")
}

fn copy(from: &Path, to: &Path) -> PathBuf {
    assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
    to.to_owned()
}

/// `audit` of these ledgers.
fn audit(words: &[&str], ledgers: &[&Path]) -> Ran {
    let ledgers: Vec<String> = ledgers.iter().map(|ledger| ledger.display().to_string()).collect();
    let flags = ledgers.iter().flat_map(|ledger| ["--ledger", ledger]);
    run(&["audit"].into_iter().chain(words.iter().copied()).chain(flags).collect::<Vec<_>>())
}

fn rows(ran: &Ran) -> Vec<Value> {
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text<'r>(row: &'r Value, name: &str) -> &'r str {
    row[name].as_str().unwrap()
}

fn key(ledger: &Path) -> String {
    fs::read_to_string(ledger.join("keys/checkpoint.vkey")).unwrap().trim().to_owned()
}

const ALL: [&str; 7] = ["search", "--kind", "all", "--limit", "0", "-o", "json"];

#[test]
fn records_of_several_ledgers_are_searched_and_shown_as_of_one() {
    let directories = two();
    let [a, b] = directories.each_ref().map(ledger);
    let ran = audit(&[&ALL[..], &["--oldest-first"]].concat(), &[&a, &b]);
    assert_eq!((ran.code, &*ran.err), (Some(0), ""), "{ran:?}");
    let all = rows(&ran);
    let times: Vec<&str> = all.iter().map(|row| text(row, "time")).collect();
    assert!(times.is_sorted() && times.len() == 12, "{ran:?}");
    let logs: BTreeSet<&str> = all.iter().map(|row| text(row, "log")).collect();
    assert_eq!(logs.len(), 2, "{ran:?}");
    // Their records stand between each other, each with its log.
    assert_ne!(text(&all[0], "log"), text(&all[1], "log"));
    // In pages, and the other way round.
    let mut newest = rows(&audit(&ALL, &[&b, &a]));
    newest.reverse();
    let place = |row: &Value| (text(row, "log").to_owned(), row["index"].as_u64().unwrap());
    assert_eq!(newest.iter().map(place).collect::<Vec<_>>(), all.iter().map(place).collect::<Vec<_>>());
    let (mut paged, mut after) = (Vec::new(), Vec::new());
    loop {
        let page = ["search", "--kind", "all", "--limit", "3", "-o", "json", "--oldest-first"];
        let flags: Vec<&str> = after.iter().flat_map(|cursor: &String| ["--after", cursor]).collect();
        let ran = audit(&[&page[..], &flags].concat(), &[&a, &b]);
        let page = rows(&ran);
        let Some(last) = page.last() else { break };
        after = vec![text(last, "cursor").to_owned()];
        assert_eq!(ran.err.contains(&after[0]), paged.len() + page.len() < 12, "{ran:?}");
        paged.extend(page);
    }
    assert_eq!(paged, all);
    // The same twice, by another path too, and a copy elsewhere: its records are there once.
    let copied = copy(&a, &directories[1].path().join("copied"));
    let ran = audit(&ALL, &[&a, &a.join("../ledger"), &copied]);
    assert_eq!((ran.code, rows(&ran).len()), (Some(0), 6), "{ran:?}");
    assert_eq!(ran.err.matches("is read once").count(), 1, "{ran:?}");
    let table = audit(&["search", "--kind", "all"], &[&a, &b]).out;
    assert!(table.contains("LOG") && logs.iter().all(|log| table.contains(log)), "{table}");

    let call = all.iter().find(|row| text(row, "kind") == "decision").unwrap();
    let shown = audit(&["show", text(call, "id")], &[&a, &b]);
    let heads = shown.out.lines().filter(|line| line.starts_with("record "));
    let of = format!(") of {}", text(call, "log"));
    assert!(shown.code == Some(0) && heads.clone().count() == 2, "{shown:?}");
    assert!(heads.clone().all(|line| line.ends_with(&of)) && shown.out.contains("--chain"), "{shown:?}");
    let evidence = directories[0].path().join("evidence").display().to_string();
    let shown =
        audit(&["show", text(call, "id"), "--chain", "--evidence", &evidence, "-o", "json"], &[&a, &b]);
    assert!(
        rows(&shown).iter().all(|row| row["proof"].is_string() && row["log"] == call["log"]),
        "{shown:?}"
    );
    let of_logs: Vec<_> = fs::read_dir(&evidence).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!((of_logs.len(), fs::read_dir(&of_logs[0]).unwrap().count()), (1, 4));
    assert_eq!(audit(&["show", "nobody"], &[&a, &b]).code, Some(2));

    let alone = audit(&["logs", "--silence", "0s"], &[&a]).out;
    assert!(!alone.contains("the others"), "there are none: {alone}");
    let told = audit(&["logs"], &[&a, &b]);
    assert!(told.code == Some(0) && logs.iter().all(|log| told.out.contains(log)), "{told:?}");
    let told = audit(&["logs", "--silence", "1s", "-o", "json"], &[&a, &b]).json();
    assert_eq!((&told["logs"][0]["records"], &told["logs"][1]["records"]), (&6.into(), &6.into()));
    assert_eq!((&told["skews"], &told["damage"]), (&Value::Array(Vec::new()), &Value::Array(Vec::new())));
    // The parser would keep one of the two.
    let [first, second] = [&a, &b].map(|ledger| ledger.display().to_string());
    let ran = run(&["audit", "--ledger", &first, "search", "--ledger", &second]);
    assert!(ran.code == Some(2) && ran.err.contains("all before it"), "{ran:?}");
    assert_eq!(run(&["audit", "--ledger", &first, &format!("--ledger={second}"), "search"]).code, Some(0));
    for (words, ledgers, says) in [
        (&["search", "--after", "3"][..], &[&*a, &b][..], "--after"),
        (&["search", "--after", "x"], &[&a, &b], "cursor"),
        (&["search", "--after", &after[0]], &[&a], "--after"),
        (&["search", "--follow", "--after", &after[0]], &[&a, &b], "--after"),
        (&["search", "--follow"], &[&a, &b, &copied], "the one that grows"),
        (&["search", "--since", "1h", "--until", "2h"], &[&a, &b], "--since"),
        (&["search"], &[&a, Path::new("/nonexistent")], "no ledger is there"),
        (&["evidence", "--framework", "soc2", "--from", "1d"], &[&a, &b], "--out"),
        (&["prune", "--keep", "1d", "--why", "x"], &[&a, &b], "--ledger"),
    ] {
        let ran = audit(words, ledgers);
        assert!(ran.code == Some(2) && ran.err.contains(says), "{words:?}: {ran:?}");
    }
}

#[test]
fn what_comes_of_several_gateways_is_shown_as_it_comes() {
    let upstream = upstream_that_hangs_up();
    let gateways = [Gateway::start(upstream), Gateway::start(upstream)];
    let mut command = command(&["audit", "search", "--follow", "--kind", "all", "-o", "json"]);
    for gateway in &gateways {
        command.arg("--ledger").arg(ledger(&gateway.directory));
    }
    let mut following = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
    let (mut logs, begun) = (BTreeSet::new(), Instant::now());
    while logs.len() < 2 && begun.elapsed() < Duration::from_secs(60) {
        // What came before it looks is not shown.
        for gateway in &gateways {
            let _ = gateway.call(None);
        }
        while let Ok(line) = told.recv_timeout(Duration::from_millis(500)) {
            let row: Value = serde_json::from_str(&line).unwrap();
            logs.insert(text(&row, "log").to_owned());
        }
    }
    following.kill().unwrap();
    following.wait().unwrap();
    assert_eq!(logs.len(), 2, "{logs:?}");
}

#[test]
fn what_is_left_out_of_several_ledgers_is_said() {
    let directories = two();
    let [a, b] = directories.each_ref().map(ledger);
    // The ledger of --data is none of them.
    let data = a.parent().unwrap().display().to_string();
    for command in ["search", "stats"] {
        let ran = audit(&[command, "--data", &data], &[&b]);
        assert!(ran.code == Some(0) && ran.err.contains("that of --data is not read"), "{ran:?}");
        assert_eq!(&*audit(&[command, "--data", &data], &[&a, &b]).err, "", "it is one of them");
    }
    let columns = audit(&["sql", "-o", "json"], &[&a, &b]);
    let origins = rows(&columns).iter().filter(|row| text(row, "column") == "origin").count();
    assert_eq!(origins, 2, "{columns:?}");

    let out = directories[0].path().join("report").display().to_string();
    let evidence = |more: &[&str]| {
        audit(&[&["evidence", "--framework", "soc2", "--out", &out], more].concat(), &[&a, &b])
    };
    let ran = evidence(&["--from", "1d", "--key", &key(&a)]);
    assert!(ran.code == Some(0) && ran.err.matches("its own is believed").count() == 1, "{ran:?}");
    let ran = evidence(&["--from", "1d", "--key", &key(&a), "--key", &key(&b)]);
    assert_eq!((ran.code, &*ran.err), (Some(0), ""), "{ran:?}");
    // All of one window, also where its end is not named.
    let index: Value = serde_json::from_slice(&fs::read(format!("{out}/index.json")).unwrap()).unwrap();
    for log in index["logs"].as_array().unwrap() {
        let report = fs::read_to_string(format!("{out}/{}", text(log, "file"))).unwrap();
        assert!(report.contains(text(&index, "to")), "{}", text(log, "file"));
    }
    let ran = evidence(&["--from", "2020-01-01", "--to", "2020-01-02"]);
    assert!(ran.code == Some(3) && ran.err.matches("has no records").count() == 1, "{ran:?}");
    let ran = evidence(&["--from", "2020-01-02", "--to", "2020-01-01"]);
    assert!(ran.code == Some(2) && ran.err.matches("not before --to").count() == 1, "{ran:?}");
    let file = format!("{out}/index.html");
    let ran = audit(&["evidence", "--framework", "soc2", "--from", "1d", "--out", &file], &[&a, &b]);
    assert!(ran.code == Some(2) && ran.err.contains("is no directory"), "{ran:?}");
}

#[test]
fn several_ledgers_have_one_verdict_and_none_of_them_can_be_left_out() {
    let directories = two();
    let [a, b] = directories.each_ref().map(ledger);
    let verify = |more: &[&str], ledgers: &[&Path]| audit(&[&["verify", "--forget"], more].concat(), ledgers);
    let ran = verify(&[], &[&a, &b]);
    assert!(ran.code == Some(0) && ran.out.contains("verdict      intact"), "{ran:?}");
    let [of_a, of_b] = [&a, &b].map(|ledger| key(ledger));
    for key in [&of_a, &of_b] {
        let mut parts = key.splitn(3, '+');
        assert!(
            ran.out.contains(parts.next().unwrap()) && ran.out.contains(parts.next().unwrap()),
            "{ran:?}"
        );
    }
    let report = verify(&["-o", "json"], &[&a, &b]).json();
    assert_eq!(
        (&report["intact"], &report["report"]["logs"][1]["report"]["records"]),
        (&true.into(), &6.into())
    );

    let set = directories[0].path().join("set").display().to_string();
    let ran = audit(&["checkpoints", "--out", &set], &[&a, &b]);
    assert!(ran.code == Some(0) && ran.out.contains("2 checkpoints"), "{ran:?}");
    assert_eq!(audit(&["checkpoints"], &[&a, &b]).out, fs::read_to_string(&set).unwrap());
    let since = ["--since-set", &set];
    assert_eq!(verify(&since, &[&a, &b]).code, Some(0));
    let ran = verify(&since, &[&a]);
    assert!(ran.code == Some(1) && ran.out.contains("is not among those that were read"), "{ran:?}");
    let ran = verify(&["--since-set", &set, "-o", "json"], &[&a]).json();
    assert_eq!((&ran["intact"], &ran["report"]["findings"][0]["finding"]), (&false.into(), &"gone".into()));
    let unusable = directories[0].path().join("unusable").display().to_string();
    fs::write(&unusable, "no note").unwrap();
    for none in [&unusable, "/nonexistent"] {
        let ran = verify(&["--since-set", none], &[&a, &b]);
        assert!(ran.code == Some(2) && ran.err.contains("--since-set"), "{ran:?}");
    }
    for (keys, code) in [(&[&of_a, &of_b][..], 0), (&[&of_b, &of_a], 0), (&[&of_a], 1)] {
        let flags: Vec<&str> = keys.iter().flat_map(|key| ["--key", key.as_str()]).collect();
        assert_eq!(verify(&flags, &[&a, &b]).code, Some(code), "{flags:?}");
    }
    assert_eq!(verify(&["--key", &of_a, "--key", &of_b], &[&a]).code, Some(1));

    // What is wrong with one is the verdict on all, and the others are read all the same.
    let broken = directories[0].path().join("broken");
    copy(&directories[1].path().join("data"), &broken);
    damage(&broken);
    let broken = broken.join("ledger");
    let ran = verify(&[], &[&a, &broken]);
    assert!(ran.code == Some(1) && ran.out.contains("NOT INTACT") && ran.out.contains(" intact"), "{ran:?}");
    let ran = audit(&ALL, &[&a, &broken]);
    let own = rows(&audit(&ALL, &[&a, &a]))[0]["log"].clone();
    assert_eq!(
        (ran.code, rows(&ran).iter().filter(|row| row["log"] == own).count()),
        (Some(1), 6),
        "{ran:?}"
    );
    let nameless = copy(&b, &directories[0].path().join("nameless"));
    fs::remove_file(nameless.join("keys/checkpoint.vkey")).unwrap();
    let ran = verify(&[], &[&a, &nameless]);
    assert!(ran.code == Some(1) && ran.out.contains("nameless"), "{ran:?}");
    let ran = audit(&ALL, &[&a, &nameless]);
    assert_eq!((ran.code, rows(&ran).len()), (Some(1), 12), "{ran:?}");
    let ran = audit(&["checkpoints"], &[&a, &nameless]);
    assert!(ran.code == Some(1) && ran.out.matches("— ").count() == 1, "{ran:?}");
}

#[test]
fn evidence_of_several_ledgers_is_a_file_of_each_and_an_index() {
    let directories = two();
    let [a, b] = directories.each_ref().map(ledger);
    let out = directories[0].path().join("out");
    let to = out.display().to_string();
    let ran = audit(&["export", "--out", &to, "-o", "json"], &[&a, &b]);
    assert_eq!((ran.code, &*ran.err), (Some(0), ""), "{ran:?}");
    let index: Value = serde_json::from_slice(&fs::read(out.join("index.json")).unwrap()).unwrap();
    assert_eq!(ran.json(), index);
    let files: Vec<String> =
        index["logs"].as_array().unwrap().iter().map(|one| format!("{to}/{}", text(one, "file"))).collect();
    let [of_a, of_b] = [&a, &b].map(|ledger| key(ledger));
    let verify = |keys: &[&str]| {
        let files = files.iter().map(String::as_str);
        let keys = keys.iter().flat_map(|key| ["--key", key]);
        run(&["audit", "verify"].into_iter().chain(files).chain(keys).collect::<Vec<_>>())
    };
    for keys in [[&*of_a, &of_b], [&of_b, &of_a]] {
        let ran = verify(&keys);
        assert_eq!((ran.code, ran.out.matches("verdict        proven").count()), (Some(0), 2), "{ran:?}");
    }
    assert_eq!(verify(&[&of_a]).code, Some(1), "the other file is of another log");
    // What only one of them has is one file.
    let found = rows(&audit(&["search", "--kind", "decision", "--limit", "1", "-o", "json"], &[&a, &b]));
    let to = directories[0].path().join("call").display().to_string();
    let ran = audit(&["export", "--call", text(&found[0], "id"), "--out", &to], &[&a, &b]);
    let written = fs::read_dir(&to).unwrap().count();
    assert!(ran.code == Some(0) && written == 2 && ran.out.contains("no file"), "{ran:?}");
    // An older checkpoint is of one of them.
    let checkpoint = a.join("checkpoint").display().to_string();
    let ran = audit(&["export", "--out", &to, "--since-checkpoint", &checkpoint], &[&a, &b]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let copied = copy(&b, &directories[0].path().join("copied"));
    let ran = audit(&["export", "--out", &to, "--since-checkpoint", &checkpoint], &[&b, &copied]);
    assert!(ran.code == Some(2) && ran.err.contains("--since-checkpoint"), "{ran:?}");
    let ran = audit(&["export", "--out", &to, "--since", "1h", "--until", "2h"], &[&a, &b]);
    assert!(ran.code == Some(2) && ran.err.contains("--since"), "{ran:?}");
}
