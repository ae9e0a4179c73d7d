use std::fs;

use serde_json::{Value, json};
use vidimus_core::record::Kept;
use vidimus_ledger::{Config, Finding, Ledger};

use super::*;
use crate::audit::{Kind, SearchQuestion, ShowQuestion};

mod parts;

const NOBODY: &str = "example.com/log+d455c521+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";

fn time(second: u64) -> String {
    format!("2026-11-28T12:{:02}:{:02}.000000Z", second / 60, second % 60)
}

fn decision(id: &str, second: u64, more: Value) -> Value {
    let mut record = json!({
        "action": "invokeTool", "body": "sha256:00", "chain": [], "depth": 1, "facts": {}, "id": id, "identity": "spiffe:x", "kind": "decision",
        "method": "tools/call", "outcome": "allow", "policies": ["a/p"], "principal": "Agent/a/bot", "protocol": "mcp",
        "resource": "Tool/a/server/get", "snapshot": "sha256:01", "time": time(second), "trace": "", "transaction": format!("t-{id}"), "version": 1,
    });
    if let (Value::Object(record), Value::Object(more)) = (&mut record, more) {
        record.extend(more);
    }
    record
}

/// Appends to the log in a directory, which is made where it is not there.
fn write(dir: &Path, origin: &str, records: &[Value]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let origin = Some(origin.to_owned());
    let ledger = Ledger::open(Config { dir: dir.to_owned(), origin, ..Config::default() }).expect("a log");
    for record in records {
        let text = record.to_string();
        let record = Kept::read(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
        runtime.block_on(ledger.record(&record)).expect("kept");
    }
    runtime.block_on(ledger.close());
}

/// Calls of a log, each by its id and second.
fn calls(directory: &Path, name: &str, all: &[(&str, u64)]) -> PathBuf {
    let dir = directory.join(name);
    let records: Vec<Value> = all.iter().map(|(id, second)| decision(id, *second, json!({}))).collect();
    write(&dir, &format!("{name}.example"), &records);
    dir
}

fn copy(from: &Path, to: &Path) -> PathBuf {
    let copied = std::process::Command::new("cp").arg("-r").args([from, to]).status().expect("run");
    assert!(copied.success());
    to.to_owned()
}

fn question(oldest_first: bool) -> SearchQuestion {
    SearchQuestion { kind: Some(Kind::All), oldest_first, ..SearchQuestion::default() }
}

/// `log/id` of each record, and what is wrong.
fn found(logs: &Logs, oldest_first: bool) -> (Vec<String>, Vec<String>) {
    let (mut records, mut damage) = (Vec::new(), Vec::new());
    for one in search(logs, &question(oldest_first), &Cursor::default()).expect("a question") {
        match one {
            Ok(one) => records.push(format!("{}/{}", one.log, one.found.record.id())),
            Err(error) => damage.push(error.to_string()),
        }
    }
    (records, damage)
}

/// Flips a byte of a record.
fn damaged(dir: &Path) {
    let segments = fs::read_dir(dir.join("segments")).expect("read");
    let newest = segments.map(|entry| entry.expect("read").path()).max().expect("a segment");
    let mut bytes = fs::read(&newest).expect("read");
    let at = bytes.windows(9).rposition(|bytes| bytes == b"invokeToo").expect("a record");
    bytes[at] ^= 1;
    fs::write(&newest, bytes).expect("written");
}

#[test]
fn records_of_several_logs_are_in_one_order_and_pages_lose_none_and_repeat_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    // The clock of b goes back; of two at the same time the log with the lesser name is first.
    let dirs = [
        calls(at, "c", &[("1", 2), ("2", 5), ("3", 9)]),
        calls(at, "a", &[("1", 1), ("2", 5), ("3", 6)]),
        calls(at, "b", &[("1", 3), ("2", 8), ("3", 4), ("4", 10)]),
    ];
    let logs = Logs::of(&dirs);
    let (oldest, damage) = found(&logs, true);
    let expected = [
        "a.example/1",
        "c.example/1",
        "b.example/1",
        "a.example/2",
        "c.example/2",
        "a.example/3",
        "b.example/2",
        "b.example/3",
        "c.example/3",
        "b.example/4",
    ];
    assert_eq!((oldest.as_slice(), damage.len()), (expected.map(str::to_owned).as_slice(), 0));
    // The newest first, a log's indexes are from its end on, whatever its clock did.
    let (newest, _) = found(&logs, false);
    let of_b: Vec<_> = newest.iter().filter(|one| one.starts_with('b')).collect();
    assert_eq!(of_b, ["b.example/4", "b.example/3", "b.example/2", "b.example/1"]);
    assert_eq!((newest.len(), newest[0].as_str()), (10, "b.example/4"));
    for (oldest_first, whole) in [(true, oldest), (false, newest)] {
        for page in 1..=10 {
            let (mut pages, mut after) = (Vec::new(), Cursor::default());
            while pages.len() < whole.len() {
                let found = search(&logs, &question(oldest_first), &after).expect("a question");
                let found: Vec<FoundIn> = found.take(page).map(|one| one.expect("whole")).collect();
                assert!(!found.is_empty(), "{pages:?}");
                after = found.last().map(|one| one.cursor.parse().expect("a cursor")).expect("some");
                pages.extend(found.into_iter().map(|one| format!("{}/{}", one.log, one.found.record.id())));
            }
            assert_eq!(pages, whole, "{page}");
            let rest = search(&logs, &question(oldest_first), &after).expect("a question");
            assert_eq!(rest.count(), 0, "{page}");
        }
    }
    // A cursor of another log is none: its page would not be the one that follows.
    let first = search(&logs, &question(true), &Cursor::default()).expect("a question").next();
    let cursor: Cursor = first.expect("some").expect("whole").cursor.parse().expect("a cursor");
    let others = Logs::of(&dirs[..1]);
    let error = search(&others, &question(true), &cursor).err().expect("refused").to_string();
    assert!(error.contains("not among those that are read"), "{error}");
    for none in ["", "7", "x:1", "0123456789abcdef:", "0123456789abcdef:1,0123456789abcdef:2"] {
        assert_eq!(none.parse::<Cursor>(), Err(BadCursor), "{none}");
    }
}

#[test]
fn copies_of_a_log_are_read_once_and_two_ends_of_one_log_are_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    let one = calls(at, "one", &[("1", 1), ("2", 2)]);
    let copied = copy(&one, &at.join("copy"));
    write(&one, "one.example", &[decision("3", 3, json!({}))]);
    let logs = Logs::of(&[copied.clone(), one.clone(), at.join("./one")]);
    assert_eq!((logs.all().len(), logs.repeated()), (1, [at.join("./one")].as_slice()));
    let expected = ["one.example/1", "one.example/2", "one.example/3"].map(str::to_owned);
    assert_eq!(found(&logs, true), (expected.to_vec(), Vec::new()));
    let mut newest = expected.to_vec();
    newest.reverse();
    assert_eq!(found(&logs, false).0, newest);
    // An older copy is a part of the log.
    let report = verify(&logs, &Held::default()).expect("checked");
    assert!(report.intact() && report.logs.len() == 2, "{report:#?}");
    // Nor is it held against what only the log has reached.
    let memory = Some(at.join("memory"));
    let since = Some(set(&logs).0);
    for _ in 0..2 {
        let held = Held { since: since.clone(), memory: memory.clone(), ..Held::default() };
        let report = verify(&logs, &held).expect("checked");
        assert!(report.intact(), "{report:#?}");
    }
    let remarks: Vec<String> = report.notes.iter().map(ToString::to_string).collect();
    assert!(remarks.len() == 2 && remarks[0].contains("in 2 directories"), "{remarks:?}");

    // Attack: whoever has the key goes on with the copy, so that each of the two is whole.
    write(&copied, "one.example", &[decision("forged", 3, json!({})), decision("4", 4, json!({}))]);
    let (records, damage) = found(&logs, true);
    assert_eq!(records.len(), 4, "{records:?}");
    assert!(damage.iter().any(|one| one.contains("record 2 is not the same")), "{damage:?}");
    for alone in [&one, &copied] {
        assert!(verify(&Logs::of(std::slice::from_ref(alone)), &Held::default()).expect("checked").intact());
    }
    let report = verify(&logs, &Held::default()).expect("checked");
    assert!(report.is_wrong(), "{report:#?}");
    let altered = |one: &LogVerified| {
        let findings = one.report.as_ref().map(|report| report.findings.as_slice()).unwrap_or_default();
        findings.iter().any(|finding| matches!(finding, Finding::Altered { .. }))
    };
    assert!(report.logs.iter().any(altered), "{report:#?}");
    let shown = show(&logs, &ShowQuestion { id: "3".to_owned() }, true);
    assert_eq!(shown.records.len(), 1);
}

/// Attack: a record that nothing signs for is put behind those of an older copy, where the log has another one.
#[test]
fn a_forged_tail_of_a_copy_is_found_and_never_shown_as_the_logs() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    let one = calls(at, "one", &[("1", 1), ("2", 2)]);
    let (forged, donor) = (copy(&one, &at.join("forged")), copy(&one, &at.join("donor")));
    write(&one, "one.example", &[decision("3", 3, json!({}))]);
    write(&donor, "one.example", &[decision("forged", 3, json!({"principal": "Agent/a/forged"}))]);
    // Its segments alone: the copy's own checkpoint is of two records.
    fs::remove_dir_all(forged.join("segments")).expect("removed");
    copy(&donor.join("segments"), &forged.join("segments"));
    let report = verify(&Logs::of(std::slice::from_ref(&one)), &Held::default()).expect("checked");
    assert!(report.intact(), "{report:#?}");
    for dirs in [[forged.clone(), one.clone()], [one.clone(), forged.clone()]] {
        let logs = Logs::of(&dirs);
        let report = verify(&logs, &Held::default()).expect("checked");
        let differs = Amiss::Differs {
            log: "one.example".to_owned(),
            index: 2,
            directory: one.clone(),
            other: forged.clone(),
        };
        assert_eq!(report.findings, [differs], "{report:#?}");
        assert!(report.is_wrong() && !report.intact());

        let (records, damage) = found(&logs, true);
        assert_eq!(records, ["one.example/1", "one.example/2", "one.example/3"].map(str::to_owned));
        assert!(damage.len() == 1 && damage[0].contains("record 2 is not the same"), "{damage:?}");
        // Nor where the log's own record does not fit what is asked for.
        let asked = SearchQuestion { principal: Some("Agent/a/forged".to_owned()), ..question(false) };
        let told: Vec<_> = search(&logs, &asked, &Cursor::default()).expect("a question").collect();
        assert!(matches!(told.as_slice(), [Err(LogDamage::Differs { index: 2, .. })]), "{told:?}");
        // And where only the forged one does not, the log's is shown, and what is wrong is said.
        let asked = SearchQuestion { principal: Some("Agent/a/bot".to_owned()), ..question(false) };
        let told: Vec<_> = search(&logs, &asked, &Cursor::default()).expect("a question").collect();
        assert_eq!((told.len(), told.iter().filter(|one| one.is_err()).count()), (4, 1), "{told:?}");
        for (id, records) in [("forged", 0), ("3", 1)] {
            let shown = show(&logs, &ShowQuestion { id: id.to_owned() }, false);
            assert_eq!((shown.records.len(), shown.damage.len()), (records, 1), "{shown:#?}");
        }
    }
    // A tail that is another one, where neither is signed for, is told too.
    let other = copy(&forged, &at.join("other"));
    let donor = copy(&one, &at.join("second"));
    fs::remove_dir_all(other.join("segments")).expect("removed");
    copy(&donor.join("segments"), &other.join("segments"));
    let logs = Logs::of(&[forged, other]);
    assert!(verify(&logs, &Held::default()).expect("checked").is_wrong());
    assert!(found(&logs, true).1.iter().any(|one| one.contains("record 2 is not the same")));
}

/// What is wrong with one log keeps nobody from the others, and is the verdict on all.
#[test]
fn a_log_that_is_damaged_or_has_no_key_is_told_and_the_others_are_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    let dirs =
        [calls(at, "a", &[("1", 1)]), calls(at, "b", &[("1", 2), ("2", 4)]), calls(at, "c", &[("1", 3)])];
    let logs = Logs::of(&dirs);
    assert!(verify(&logs, &Held::default()).expect("checked").intact());
    damaged(&dirs[1]);
    let (records, damage) = found(&logs, true);
    assert!(records.contains(&"a.example/1".to_owned()) && records.contains(&"c.example/1".to_owned()));
    assert!(damage.iter().any(|one| one.starts_with("b.example: ")), "{damage:?}");
    let report = verify(&logs, &Held::default()).expect("checked");
    assert_eq!(report.logs.iter().map(LogVerified::is_intact).collect::<Vec<_>>(), [true, false, true]);
    assert!(report.is_wrong() && !report.intact());

    fs::remove_file(dirs[2].join("keys/checkpoint.vkey")).expect("removed");
    let logs = Logs::of(&[dirs[0].clone(), dirs[2].clone()]);
    let (records, damage) = found(&logs, false);
    // It has no name, so its directory stands for it; a directory is before it by name.
    assert_eq!(records, [format!("{}/1", dirs[2].display()), "a.example/1".to_owned()]);
    assert!(!damage.is_empty(), "nothing says how much there was");
    assert!(verify(&logs, &Held::default()).expect("checked").is_wrong());
    let (set, damage) = set(&logs);
    assert_eq!((set.len(), damage.len()), (1, 1), "{damage:?}");
    assert!(!verify(&Logs::of(&[]), &Held::default()).expect("checked").intact(), "nothing is not whole");
}

#[test]
fn several_logs_are_held_against_the_checkpoints_and_keys_that_they_had() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    let (a, b) = (calls(at, "a", &[("1", 1)]), calls(at, "b", &[("1", 2), ("2", 3)]));
    let earlier = copy(&b, &at.join("earlier"));
    write(&b, "b.example", &[decision("3", 4, json!({}))]);
    let (kept, damage) = set(&Logs::of(&[a.clone(), b.clone()]));
    assert_eq!((kept.len(), damage.len()), (2, 0));
    let text = kept.to_string();
    assert_eq!(text.parse::<CheckpointSet>(), Ok(kept.clone()));
    // It is the form of a log's own history, and one checkpoint is a set as well.
    let one = fs::read_to_string(a.join("checkpoint")).expect("read");
    assert!(text.starts_with(&format!("{one}\n")));
    assert_eq!(one.parse::<CheckpointSet>().expect("a set").len(), 1);
    for (bad, says) in
        [("", "no checkpoint"), ("x\n", "checkpoint 1"), (&*format!("{one}\nx\n"), "checkpoint 2")]
    {
        let error = bad.parse::<CheckpointSet>().expect_err(bad).to_string();
        assert!(error.contains(says), "{error}");
    }
    let since = |since: &CheckpointSet| Held { since: Some(since.clone()), ..Held::default() };
    let checked = |dirs: &[&PathBuf], held: &Held| {
        let dirs: Vec<PathBuf> = dirs.iter().map(|dir| (*dir).clone()).collect();
        verify(&Logs::of(&dirs), held).expect("checked")
    };
    write(&a, "a.example", &[decision("2", 9, json!({}))]);
    assert!(checked(&[&a, &b], &since(&kept)).intact());
    // One that began later is told, and nothing wrong.
    let c = calls(at, "c", &[("1", 5)]);
    let report = checked(&[&a, &b, &c], &since(&kept));
    assert!(report.intact(), "{report:#?}");
    assert_eq!(report.notes, [Remark::NotInSet { log: "c.example".to_owned() }]);
    // Attack: the log with what somebody would hide is left out.
    let report = checked(&[&a, &c], &since(&kept));
    assert_eq!(report.findings, [Amiss::Gone { log: "b.example".to_owned() }]);
    assert!(report.is_wrong());
    // Attack: it is given as it was before.
    let report = checked(&[&a, &earlier], &since(&kept));
    let rolled = report.logs[1].report.as_ref().expect("read");
    assert!(
        rolled.findings.iter().any(|finding| matches!(finding, Finding::RolledBack { .. })),
        "{report:#?}"
    );
    // Attack: another log of the same name is put in its place.
    let other = at.join("other");
    write(
        &other,
        "b.example",
        &[decision("1", 2, json!({})), decision("2", 3, json!({})), decision("3", 4, json!({}))],
    );
    assert!(checked(&[&a, &other], &Held::default()).intact(), "by itself it is one");
    assert!(checked(&[&a, &other], &since(&kept)).is_wrong());
    // Attack: it is put beside it.
    let report = checked(&[&a, &b, &other], &Held::default());
    assert_eq!(report.findings, [Amiss::OneName { origin: "b.example".to_owned(), logs: 2 }]);
    let names =
        Logs::of(&[b.clone(), other.clone()]).all().iter().map(|log| log.name.clone()).collect::<Vec<_>>();
    assert!(names.iter().all(|name| name.starts_with("b.example+")) && names[0] != names[1], "{names:?}");

    let key = |dir: &Path| known_key(dir).expect("a key");
    let keys = |keys: &[VerifierKey]| Held { keys: keys.to_vec(), ..Held::default() };
    assert!(checked(&[&a, &b], &keys(&[key(&b), key(&a)])).intact());
    assert_eq!(
        checked(&[&a, &b], &keys(&[key(&a)])).findings,
        [Amiss::NotGiven { log: "b.example".to_owned() }]
    );
    // Attack: of two logs of one name, whose keys are known, one is left out.
    for given in [[key(&a), key(&b), key(&other)], [key(&other), key(&b), key(&a)]] {
        let report = checked(&[&a, &b], &keys(&given));
        assert_eq!(report.findings, [Amiss::NotThere { key: key(&other).to_string() }]);
        assert!(report.logs.iter().all(LogVerified::is_intact), "{report:#?}");
    }
    let nobody: VerifierKey = NOBODY.parse().expect("a key");
    let report = checked(&[&a, &b], &keys(&[key(&a), key(&b), nobody]));
    assert_eq!(report.findings, [Amiss::NotThere { key: NOBODY.to_owned() }]);
}

/// A chain goes through two gateways, and people are asked at one about a call that is made at the other.
#[test]
fn one_call_is_shown_from_all_logs_with_its_approval_and_its_chain() {
    let directory = tempfile::tempdir().expect("a directory");
    let (a, b) = (directory.path().join("a"), directory.path().join("b"));
    let act = |id: &str, second, act: Value| json!({"act": act, "actor": "vidimus", "id": id, "kind": "act", "time": time(second), "version": 1, "why": "because"});
    let asked = json!({"ask": {
        "action": "invokeTool", "approval": "ap-1", "asking": [{"policy": "a/held#1", "quorum": 1, "role": "owner", "timeout": 1}], "call": "held",
        "chain": [], "digest": "sha256:02", "endpoint": "https://x.example", "method": "tools/call", "owner": "o@example.com",
        "principal": "Agent/a/bot", "resource": "Tool/a/server/get", "until": 1,
    }});
    write(
        &a,
        "a.example",
        &[
            decision("first", 1, json!({"transaction": "t", "resource": "Agent/a/other"})),
            decision("held", 3, json!({"transaction": "t-2", "outcome": "hold", "approval": "ap-1"})),
            act("ask", 4, asked),
            decision("elsewhere", 9, json!({})),
        ],
    );
    write(
        &b,
        "b.example",
        &[
            decision(
                "hop",
                2,
                json!({"transaction": "t", "chain": ["Agent/a/bot"], "depth": 2, "principal": "Agent/a/other"}),
            ),
            act("approve", 5, json!({"approve": {"approval": "ap-1", "role": "owner", "shown": ""}})),
            decision("made", 6, json!({"transaction": "t-2", "approval": "ap-1"})),
        ],
    );
    let logs = Logs::of(&[b, a]);
    let ids = |id: &str, chain| {
        let shown = show(&logs, &ShowQuestion { id: id.to_owned() }, chain);
        assert!(shown.damage.is_empty() && !shown.more, "{shown:#?}");
        assert!(shown.records.iter().all(|one| one.shown.proof.is_some()), "{shown:#?}");
        let id = |one: &ShownIn| one.shown.record["id"].as_str().expect("an id").to_owned();
        shown.records.iter().map(|one| format!("{}/{}", one.log, id(one))).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ids("first", false), "a.example/first");
    assert_eq!(ids("first", true), "a.example/first b.example/hop");
    assert_eq!(ids("hop", true), "a.example/first b.example/hop");
    let approval = "a.example/held a.example/ask b.example/approve";
    assert!(ids("held", false).starts_with(approval), "{}", ids("held", false));
    assert_eq!(ids("made", true), format!("{approval} b.example/made"));
    assert!(ids("ap-1", false).starts_with(approval));
    assert_eq!(ids("nobody", true), "");
}

#[test]
fn clocks_that_disagree_or_go_back_and_times_without_records_are_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    let hop = |id: &str, second, transaction: &str| {
        let more = json!({
            "transaction": transaction, "chain": ["Agent/a/bot"], "depth": 2, "principal": "Agent/a/other",
        });
        decision(id, second, more)
    };
    let first =
        |id: &str, second, transaction: &str| decision(id, second, json!({"transaction": transaction}));
    // Called twice in one chain: what followed from the one or the other is not before the earlier.
    let of_a = [
        first("1", 10, "t-1"),
        first("2", 20, "t-2"),
        first("3", 30, "t-2"),
        first("4", 5, "x"),
        first("5", 900, "x"),
    ];
    let of_b = [hop("1", 7, "t-1"), hop("2", 25, "t-2"), hop("3", 16, "t-2"), hop("4", 1, "of-nobody")];
    let (a, b) = (at.join("a"), at.join("b"));
    write(&a, "a.example", &of_a);
    write(&b, "b.example", &of_b);
    // A denied call is followed by none.
    let denied = decision("6", 901, json!({"transaction": "t-3", "outcome": "deny", "code": "no_permit"}));
    write(&a, "a.example", &[denied]);
    write(&b, "b.example", &[hop("5", 30, "t-3")]);
    let logs = Logs::of(&[a.clone(), b.clone()]);
    let question = TimesQuestion { since: None, until: None, silence_s: 600 };
    let told = times(&logs, &question).expect("a question");
    let skew = Skew {
        ahead: "a.example".to_owned(),
        behind: "b.example".to_owned(),
        at_least_us: 4_000_000,
        seen: 2,
        transaction: "t-2".to_owned(),
        first: 1,
        then: 2,
    };
    assert_eq!((told.skews.as_slice(), told.passed_over, told.damage.len()), ([skew].as_slice(), 0, 0));
    let [of_a, of_b] = told.logs.as_slice() else { panic!("{told:#?}") };
    assert_eq!((of_a.log.as_str(), of_a.records, of_a.went_back), ("a.example", 6, 1));
    let back = of_a.most_back.as_ref().expect("it went back");
    assert_eq!((back.index, back.by_us), (3, 25_000_000));
    let [silence] = of_a.silences.as_slice() else { panic!("{told:#?}") };
    // Of b, what it had after second 30 and what the merge puts behind it.
    assert_eq!((silence.after, silence.seconds, silence.ends_log), (Some(3), 870, false));
    let [silence] = of_b.silences.as_slice() else { panic!("{told:#?}") };
    assert_eq!((silence.after, silence.seconds, silence.ends_log, silence.others), (Some(4), 871, true, 2));
    assert_eq!(of_b.went_back, 2);
    // Where the first call could be one of a third log, or of the same, nothing is known.
    let c = at.join("c");
    write(&c, "c.example", &[first("1", 1, "t-1"), first("2", 1, "t-2")]);
    let told = times(&Logs::of(&[a, b, c]), &question).expect("a question");
    assert!(told.skews.is_empty(), "{told:#?}");
    let of_c = &told.logs[2];
    assert!(of_c.silences.iter().all(|silence| silence.ends_log) && of_c.silences.len() == 1, "{of_c:#?}");
    let none = TimesQuestion {
        since: "2026-11-28T12:00:01Z".parse().ok(),
        until: "2026-11-28T12:00:00Z".parse().ok(),
        ..question
    };
    assert!(times(&logs, &none).is_err());
}

fn act(id: &str, second: u64, act: &Value) -> Value {
    json!({
        "act": act, "actor": "vidimus", "id": id, "kind": "act", "note": true, "time": time(second), "version": 1, "why": "w",
    })
}

fn start(id: &str, second: u64, found: &str, since: Option<u64>) -> Value {
    let mut start =
        json!({"configuration": "sha256:01", "flags": "sha256:02", "found": found, "version": "0.1.0"});
    if let Some(since) = since {
        start["since"] = time(since).into();
    }
    act(id, second, &json!({ "start": start }))
}

fn stop(id: &str, second: u64, of: &str) -> Value {
    act(id, second, &json!({"stop": {"of": of}}))
}

/// No calls, a gateway that was stopped, and one that was killed are three things.
#[test]
fn when_no_gateway_was_running_is_told_apart_from_no_calls() {
    let directory = tempfile::tempdir().expect("a directory");
    let dir = directory.path().join("a");
    let records = [
        start("s1", 0, "new", None),
        decision("1", 10, json!({})),
        // Nobody called.
        decision("2", 710, json!({})),
        stop("e1", 720, "s1"),
        // A key was rotated meanwhile.
        act("r", 800, &json!({"export": {"asked": "{}", "cosigned": false}})),
        start("s2", 1500, "stopped", Some(800)),
        decision("3", 1510, json!({})),
        start("s3", 2300, "unstopped", Some(1510)),
        decision("4", 2310, json!({})),
        // So short that nothing is told of it but this.
        start("s4", 2311, "unstopped", Some(2310)),
        stop("e4", 2320, "s4"),
        start("s5", 2321, "stopped", Some(2320)),
        stop("e5", 2330, "s5"),
    ];
    write(&dir, "a.example", &records);
    let question = TimesQuestion { since: None, until: None, silence_s: 600 };
    let told = times(&Logs::of(std::slice::from_ref(&dir)), &question).expect("a question");
    let [of] = told.logs.as_slice() else { panic!("{told:#?}") };
    let silences: Vec<_> = of.silences.iter().map(|one| (one.after, one.seconds, one.ends_log)).collect();
    assert_eq!(silences, [(Some(1), 700, false)], "{of:#?}");
    assert_eq!((of.runs.starts, of.runs.unstopped, of.runs.more_away), (5, 2, 0));
    let away: Vec<_> =
        of.runs.away.iter().map(|one| (one.stop, one.start, one.seconds, one.to.is_some())).collect();
    let expected = [
        (Some(3), Some(5), 780, true),
        (None, Some(7), 790, true),
        (None, Some(9), 1, true),
        (Some(12), None, 0, false),
    ];
    assert_eq!(away, expected, "{of:#?}");
    // As JSON and back.
    let text = serde_json::to_string(&told).expect("JSON");
    assert_eq!(serde_json::from_str::<Times>(&text).expect("read"), told);
}

/// Of a window in which nothing is found, whether anybody could have been called.
#[test]
fn of_a_window_it_is_told_when_no_gateway_was_running() {
    let directory = tempfile::tempdir().expect("a directory");
    let dir = directory.path().join("a");
    let records = [
        start("s1", 0, "new", None),
        stop("e1", 100, "s1"),
        start("s2", 700, "stopped", Some(100)),
        decision("1", 710, json!({})),
        start("s3", 1400, "unstopped", Some(710)),
        stop("e3", 1500, "s3"),
    ];
    write(&dir, "a.example", &records);
    let within = |since: Option<u64>, until: Option<u64>| {
        let at = |second: u64| time(second).parse::<Timestamp>().expect("a time");
        let all = away_within(&dir, since.map(at), until.map(at)).expect("read");
        all.iter().map(|one| (one.stop, one.start)).collect::<Vec<_>>()
    };
    let (first, second, last) = ((None, Some(2)), (None, Some(4)), (Some(5), None));
    assert_eq!(within(None, None), [first, second, last]);
    assert_eq!(within(Some(200), Some(300)), [first], "all of it between two records");
    assert!(within(Some(20), Some(90)).is_empty());
    assert_eq!(within(Some(705), Some(1400)), [second]);
    assert_eq!(within(Some(1450), None), [last]);
    assert_eq!(within(Some(1600), Some(1700)), [last]);
    // While one runs, nobody is away.
    write(&dir, "a.example", &[start("s4", 1510, "stopped", Some(1500))]);
    assert!(within(Some(1600), None).is_empty());
}
