use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use vidimus_core::record::Kept;
use vidimus_ledger::{ActBy, Config, Hit, Ledger, Query, Retention};

use super::*;
use crate::sql::MOST_QUERY;

mod cut;
mod late;
mod several;
mod steps;
mod text;

const ALL: [&str; 4] = ["decision", "effect", "refusal", "act"];
const BOUNDS: Bounds = Bounds { rows: 10_000, time: Duration::from_secs(60) };

/// A log, and where its model is to be.
struct Place {
    directory: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    ledger: Option<Ledger>,
    next: u64,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut place = Self { directory, runtime, ledger: None, next: 0 };
        place.open();
        place
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("ledger")
    }

    fn dir(&self) -> PathBuf {
        self.directory.path().join("index")
    }

    fn open(&mut self) {
        self.ledger = Some(
            Ledger::open(Config { dir: self.log(), segment_bytes: 100_000, ..Config::default() })
                .expect("a log"),
        );
    }

    /// Signs for what there is.
    fn close(&mut self) {
        let ledger = self.ledger.take().expect("open");
        self.runtime.block_on(ledger.close());
    }

    /// Appends records: of four a decision, its effect, a denial and a refusal; the effect of one of a hundred calls comes late.
    fn append(&mut self, records: u64) {
        let ledger = self.ledger.as_ref().expect("open");
        for index in self.next..self.next + records {
            let text = text(index).to_string();
            let record = Kept::read(text.as_bytes()).expect("a record");
            self.runtime.block_on(ledger.record(&record)).expect("kept");
        }
        self.next += records;
    }

    /// Signs for all, and seals it.
    fn extend(&mut self) -> Extended {
        self.close();
        let extended = extend(&self.dir(), &self.log(), &mut |_, _| {}).expect("extended");
        self.open();
        extended
    }

    fn model(&self) -> Model {
        let mut model = Model::open(&self.dir(), &self.log()).expect("whole").expect("there");
        model.refresh().expect("read");
        model
    }
}

fn text(index: u64) -> Value {
    let (time, call) = (format!("2026-11-2{}T12:{:02}:00.000000Z", index / 1000, index % 60), index / 4 * 4);
    let id = format!("call-{call}");
    match index % 4 {
        0 | 2 => {
            let denied = index % 4 == 2;
            let mut decision = json!({
                "action": "invokeTool", "body": "sha256:00", "chain": [], "depth": 1, "facts": {}, "id": id, "identity": "spiffe:x",
                "kind": "decision", "method": "tools/call", "outcome": if denied { "deny" } else { "allow" },
                "policies": [format!("a/p-{}", index % 7)], "principal": format!("Agent/a/bot-{}", index % 5), "protocol": "mcp",
                "resource": format!("Tool/a/server/tool-{}", index % 3), "snapshot": "sha256:01", "time": time,
                "trace": format!("{index:032x}-{index:016x}"), "transaction": format!("t-{index}"), "version": 1,
            });
            if denied {
                decision["code"] = "no_permit".into();
                decision["user"] = "https://login.example#ada".into();
            }
            decision
        }
        1 => json!({
            "bytes_in": 1, "bytes_out": 2, "charged_spend": 5, "decision": call, "duration_us": 10, "id": id, "kind": "effect",
            "result": "ok", "status": 200, "time": time, "tokens_input": 3, "tokens_output": 4, "version": 1,
        }),
        _ => json!({
            "code": "token_expired", "id": format!("call-{index}"), "identity": "oidc:https://login.example#eve", "kind": "refusal",
            "message": "no", "outcome": "deny", "path": "/mcp", "time": time, "trace": "", "version": 1,
        }),
    }
}

fn find(model: &Model, query: Query) -> Vec<Candidate> {
    model.find(&Wanted { kinds: ALL.to_vec(), query, after: None }, usize::MAX).expect("found")
}

fn indices(found: &[Candidate]) -> Vec<u64> {
    found.iter().map(|candidate| candidate.hit.index).collect()
}

/// Sealed of every size, and what is newer.
fn whole() -> Place {
    let mut place = Place::new();
    place.append(4096 + 256 * 3);
    place.extend();
    place.append(100);
    place
}

#[test]
fn what_is_sealed_and_what_is_newer_is_one() {
    let place = whole();
    let model = place.model();
    assert_eq!((model.extent(), model.builder.ranges.len()), ((4864, 4964), 4));
    let all = find(&model, Query::default());
    assert_eq!(indices(&all), (0..4964).collect::<Vec<_>>());
    for Candidate { hit: Hit { index, record }, decision } in &all {
        let kept = Kept::read(record).expect("a record");
        assert_eq!(kept, Kept::read(text(*index).to_string().as_bytes()).expect("a record"), "{index}");
        let expected = (index % 4 == 1).then(|| index - 1);
        assert_eq!(decision.as_ref().map(|decision| decision.index), expected, "{index}");
    }
    for (query, fits) in [
        (
            Query { agent: Some("a/bot-2".into()), ..Query::default() },
            (|index| match index % 4 {
                0 | 2 => index % 5 == 2,
                1 => (index - 1) % 5 == 2,
                _ => false,
            }) as fn(u64) -> bool,
        ),
        (Query { user: Some("ada".into()), ..Query::default() }, |index| index % 4 == 2),
        (Query { user: Some("eve".into()), ..Query::default() }, |index| index % 4 == 3),
        (Query { policy: Some("p-3".into()), ..Query::default() }, |index| {
            index % 4 != 3 && (index - index % 2) % 7 == 3
        }),
        (
            Query { outcome: Some("ok".into()), resource: Some("tool-1".into()), ..Query::default() },
            |index| index % 4 == 1 && (index - 1) % 3 == 1,
        ),
        (Query { code: Some("token_expired".into()), newest_first: true, ..Query::default() }, |index| {
            index % 4 == 3
        }),
        (Query { transaction: Some("t-4100".into()), ..Query::default() }, |index| {
            index == 4100 || index == 4101
        }),
        (Query { trace: Some(format!("{:032x}", 4960)), ..Query::default() }, |index| {
            index == 4960 || index == 4961
        }),
        (Query { text: Some("\"id\":\"call-4903\"".into()), ..Query::default() }, |index| index == 4903),
        (Query { since: "2026-11-24T00:00:00Z".parse().ok(), ..Query::default() }, |index| index >= 4000),
        (
            Query { until: "2026-11-21T00:00:00Z".parse().ok(), newest_first: true, ..Query::default() },
            |index| index < 1000,
        ),
    ] {
        let mut expected: Vec<u64> = (0..4964).filter(|index| fits(*index)).collect();
        if query.newest_first {
            expected.reverse();
        }
        assert!(!expected.is_empty());
        assert_eq!(indices(&find(&model, query.clone())), expected, "{query:?}");
        // In pages, too.
        let (mut pages, mut after) = (Vec::<u64>::new(), None);
        loop {
            let wanted = Wanted { kinds: ALL.to_vec(), query: query.clone(), after };
            let page = indices(&model.find(&wanted, 97).expect("found"));
            after = page.last().copied();
            pages.extend(&page);
            if page.len() < 97 {
                break;
            }
        }
        assert_eq!(pages, expected, "{query:?}");
    }
}

/// What was made by an earlier version, whose files lack columns, is not asked, and is made again by whoever extends it.
#[test]
fn an_index_of_an_earlier_form_is_made_again() {
    let mut place = Place::new();
    place.append(600);
    place.extend();
    let path = place.dir().join("manifest");
    let text = fs::read_to_string(&path).expect("read");
    let (json, _) = text.trim_end().rsplit_once('\n').expect("a sum");
    let mut manifest: Value = serde_json::from_str(json).expect("JSON");
    let version = manifest["version"].as_u64().expect("a version");
    manifest["version"] = (version - 1).into();
    let json = manifest.to_string();
    fs::write(&path, format!("{json}\n{:08x}\n", crc32c::crc32c(json.as_bytes()))).expect("written");
    assert!(Model::open(&place.dir(), &place.log()).expect("read").is_none());
    assert_eq!(place.extend().added, 512);
    let answer = place.model().sql("SELECT count(*) AS n FROM records WHERE on_behalf_of IS NULL", BOUNDS);
    assert_eq!(answer.expect("answered").rows[0]["n"], 0);
}

#[test]
fn files_become_larger_as_the_log_grows_and_residue_goes() {
    let mut place = Place::new();
    fs::create_dir(place.dir()).expect("made");
    // Of processes that were killed: while they wrote, and before they said that they had.
    for name in
        ["manifest.tmp", "x.records.parquet.tmp", "00000000000000000000-00000000000000000256.records.parquet"]
    {
        fs::write(place.dir().join(name), b"residue").expect("written");
    }
    // Of somebody else.
    for name in ["mine.parquet", "mine.tmp"] {
        fs::write(place.dir().join(name), b"mine").expect("written");
    }
    for round in 1..=17 {
        place.append(256);
        let extended = place.extend();
        assert_eq!((extended.records, extended.added), (round * 256, 256));
    }
    let model = place.model();
    let sizes: Vec<u64> = model.builder.ranges.iter().map(|range| range.range.records).collect();
    assert_eq!(sizes, [4096, 256]);
    assert_eq!(indices(&find(&model, Query::default())), (0..17 * 256).collect::<Vec<_>>());
    let count = |what: &str| -> i64 {
        let sum = format!("SELECT sum({what}) AS n FROM hours WHERE what = 'principal'");
        model.sql(&sum, BOUNDS).expect("answered").rows[0]["n"].as_i64().expect("a number")
    };
    let quarter = 17 * 64;
    assert_eq!((count("calls"), count("allowed"), count("denied")), (quarter * 3, quarter, quarter * 2));
    assert_eq!(
        (count("effects"), count("cost"), count("tokens_output")),
        (quarter, quarter * 5, quarter * 4)
    );
    let mut names: Vec<_> = fs::read_dir(place.dir())
        .expect("read")
        .map(|entry| entry.expect("read").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    let of = |first: u64, end: u64, what: &str| format!("{first:020}-{end:020}.{what}");
    let expected = [
        of(0, 4096, "hours.parquet"),
        of(0, 4096, "records.parquet"),
        of(0, 4096, "records.sieve"),
        of(4096, 4352, "hours.parquet"),
        of(4096, 4352, "records.parquet"),
        of(4096, 4352, "records.sieve"),
        "lock".to_owned(),
        "manifest".to_owned(),
        "mine.parquet".to_owned(),
        "mine.tmp".to_owned(),
    ];
    assert_eq!(names, expected);
}

/// Each byte of some, wherever it stands: the answer is the same, or there is none until the file was made again.
#[test]
fn a_damaged_file_is_made_again_and_never_believed() {
    let place = whole();
    let query = || Query { agent: Some("bot-2".into()), ..Query::default() };
    let right = find(&place.model(), query());
    let sums = |model: &Model| model.sql("SELECT sum(calls) AS n FROM hours", BOUNDS);
    let right_sums = sums(&place.model()).expect("answered");
    let mut noticed = 0;
    for entry in fs::read_dir(place.dir()).expect("read").flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "parquet") {
            continue;
        }
        let good = fs::read(&path).expect("read");
        for part in 0..12 {
            let at = (good.len() - 1) * part / 11;
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            fs::write(&path, &bad).expect("written");
            let asked = |model: &Model| -> Result<(), ModelError> {
                let found =
                    model.find(&Wanted { kinds: ALL.to_vec(), query: query(), after: None }, usize::MAX)?;
                assert_eq!(found, right, "{} at {at}", path.display());
                assert_eq!(sums(model)?, right_sums, "{} at {at}", path.display());
                Ok(())
            };
            if let Err(error) = asked(&place.model()) {
                noticed += 1;
                assert!(error.damaged().is_some(), "{error}");
                repair(&place.dir(), &place.log(), &error).expect("made again");
                asked(&place.model()).expect("whole");
            }
            let checked = check(&place.dir(), &place.log()).expect("checked");
            assert!(checked.repaired <= 1);
            assert_eq!(check(&place.dir(), &place.log()).expect("checked").repaired, 0);
            assert_eq!(fs::read(&path).expect("read").len(), good.len());
        }
    }
    assert!(noticed > 40, "{noticed}");
    for change in [truncate as fn(&Path), |path| fs::remove_file(path).expect("removed")] {
        for entry in fs::read_dir(place.dir()).expect("read").flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.ends_with(".parquet")) {
                change(&entry.path());
            }
        }
        assert!(Model::open(&place.dir(), &place.log()).expect_err("damaged").damaged().is_some());
        let extended = extend(&place.dir(), &place.log(), &mut |_, _| {}).expect("made again");
        assert!(extended.repaired >= 4, "{extended:?}");
        assert_eq!(find(&place.model(), query()), right);
    }
    // What says which files there are.
    let manifest = place.dir().join("manifest");
    let mut text = fs::read(&manifest).expect("read");
    let at = text.len() / 2;
    text[at] ^= 1;
    fs::write(&manifest, text).expect("written");
    assert!(Model::open(&place.dir(), &place.log()).expect("read").is_none());
    extend(&place.dir(), &place.log(), &mut |_, _| {}).expect("made again");
    assert_eq!(find(&place.model(), query()), right);
}

#[test]
fn a_model_is_its_owners_alone_and_writes_to_nothing_behind_a_link() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let mut place = Place::new();
    place.append(300);
    place.close();
    let (dir, log) = (place.dir(), place.log());
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    // Attack: files of others by the names of its own.
    let victim = place.directory.path().join("victim");
    fs::write(&victim, "theirs").expect("written");
    fs::create_dir(&dir).expect("made");
    symlink(&victim, dir.join("lock")).expect("linked");
    let error = extend(&dir, &log, &mut |_, _| {}).expect_err("refused").to_string();
    assert!(error.contains("no regular file"), "{error}");
    fs::remove_file(dir.join("lock")).expect("removed");
    let temporary = format!("{:020}-{:020}.records.parquet.tmp", 0, 256);
    symlink(&victim, dir.join("manifest.tmp")).expect("linked");
    symlink(&victim, dir.join(temporary)).expect("linked");
    assert_eq!(extend(&dir, &log, &mut |_, _| {}).expect("extended").records, 256);
    assert_eq!(fs::read_to_string(&victim).expect("read"), "theirs");

    // A pipe is not waited for, whatever would be read there.
    let pipe = |name: &str| {
        let path = dir.join(name);
        fs::remove_file(&path).expect("there");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().expect("run").success());
        path
    };
    let records = format!("{:020}-{:020}.records.parquet", 0, 256);
    pipe(&records);
    let damaged = Model::open(&dir, &log).expect_err("damaged");
    repair(&dir, &log, &damaged).expect("made again");
    assert!(Model::open(&dir, &log).expect("whole").is_some());
    // Nor is a file read that is elsewhere.
    let text = fs::read_to_string(dir.join("manifest")).expect("read");
    let json = text.lines().next().expect("a line").replace(&records, &format!("../{records}"));
    fs::copy(dir.join(&records), place.directory.path().join(&records)).expect("copied");
    fs::write(dir.join("manifest"), format!("{json}\n{:08x}\n", crc32c::crc32c(json.as_bytes())))
        .expect("written");
    assert!(Model::open(&dir, &log).expect("read").is_none());
    let manifest = pipe("manifest");
    assert!(Model::open(&dir, &log).is_err() && extend(&dir, &log, &mut |_, _| {}).is_err());
    fs::remove_file(manifest).expect("removed");
    fs::remove_dir_all(&dir).expect("removed");

    extend(&dir, &log, &mut |_, _| {}).expect("extended");
    assert_eq!(mode(&dir), 0o700);
    let files: Vec<PathBuf> =
        fs::read_dir(&dir).expect("read").map(|entry| entry.expect("read").path()).collect();
    assert!(files.len() == 5 && files.iter().all(|file| mode(file) == 0o600), "{files:?}");
}

fn truncate(path: &Path) {
    let length = fs::metadata(path).expect("there").len();
    fs::File::options().write(true).open(path).expect("opened").set_len(length / 2).expect("cut");
}

#[test]
fn a_model_is_of_one_log_alone() {
    let (mut one, mut other) = (whole(), Place::new());
    other.append(512);
    other.close();
    one.close();
    assert!(Model::open(&one.dir(), &other.log()).expect("read").is_none());
    // The same key, and another past: a copy that was put back and went on.
    fs::remove_dir_all(other.log()).expect("removed");
    copy(&one.log(), &other.log());
    assert!(Model::open(&one.dir(), &other.log()).expect("read").is_some());
    let tile = other.log().join("tile/0/018");
    let mut hashes = fs::read(&tile).expect("a tile");
    hashes[0] ^= 1;
    fs::write(&tile, hashes).expect("written");
    assert!(Model::open(&one.dir(), &other.log()).expect("read").is_none());
}

const BY: ActBy<'_> = ActBy {
    actor: "User/local#ada",
    id: "019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10",
    time: "2026-11-28T00:00:00.000000Z",
    why: "policy 4.2",
};

/// The index of the first record that is left.
fn prune(place: &mut Place, before: &str) -> u64 {
    let before = before.parse().expect("a time");
    let retention =
        Retention { before, stands: u64::MAX, witnessed: false, archive: None, new_archive: false };
    let pruned = place.ledger.as_ref().expect("open").prune(&retention, &BY).expect("pruned").expect("some");
    place.next += 1;
    pruned.minimum()
}

/// Of a file that has some of it what is left is kept, also when that is less than the smallest, and damaged.
#[test]
fn what_is_pruned_is_in_no_table() {
    let mut place = whole();
    place.close();
    place.open();
    for before in ["2026-11-22T00:00:00Z", "2026-11-24T12:00:00Z"] {
        let front = prune(&mut place, before);
        assert!(front > 1000, "{front}");
        assert!(Model::open(&place.dir(), &place.log()).expect("read").is_none(), "it has what was pruned");
        place.append(300);
        let sealed = place.extend();
        assert_eq!((sealed.repaired, sealed.first, (front + sealed.records) % 256), (0, front, 0));
        let model = place.model();
        let all = indices(&find(&model, Query::default()));
        assert_eq!((all.first(), all.len() as u64), (Some(&front), place.next - front));
        let sums = |text: &str| model.sql(text, BOUNDS).expect("answered").rows;
        let first = sums("SELECT min(index) AS n, count(*) AS all FROM records");
        assert_eq!(Value::from(first), json!([{ "n": front, "all": place.next - front }]));
        let calls = sums("SELECT sum(calls) AS n FROM hours WHERE what = 'principal'");
        let counted = sums("SELECT count(*) AS n FROM records WHERE kind IN ('decision', 'refusal')");
        assert_eq!(calls, counted);
        let first = model.builder.ranges.first().expect("some").range.clone();
        assert_eq!((first.first, first.end() % 256), (front, 0));
        truncate(&place.dir().join(&first.rows.name));
        assert_eq!(check(&place.dir(), &place.log()).expect("checked").repaired, 1);
        assert_eq!(indices(&find(&place.model(), Query::default())), all);
    }
    let front = build::front(&place.log()).expect("read");
    let made = rebuild(&place.dir(), &place.log(), &mut |_, _| {}).expect("made");
    assert_eq!((made.added, made.first), (made.records, front));
}

#[test]
fn a_log_with_another_key_is_the_same_log() {
    let mut place = whole();
    let until = "2999-01-01T00:00:00Z".parse().expect("a time");
    place.ledger.as_ref().expect("open").rotate_key(until, &BY).expect("rotated");
    place.next += 1;
    place.close();
    place.open();
    place.append(300);
    assert_eq!(place.extend().added, 256);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("made");
    for entry in fs::read_dir(from).expect("read").flatten() {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copied");
        }
    }
}

#[test]
fn only_what_reads_is_answered_and_only_so_much() {
    let place = whole();
    let model = place.model();
    let outside = place.directory.path().join("outside.csv");
    fs::write(&outside, "secret\n1\n").expect("written");
    let file = outside.display();
    for refused in [
        "CREATE TABLE x AS SELECT 1".to_owned(),
        "CREATE VIEW x AS SELECT 1".to_owned(),
        format!("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '{file}'"),
        format!("COPY records TO '{file}.copy' STORED AS CSV"),
        format!("COPY (SELECT 1) TO '{file}.copy' STORED AS CSV"),
        format!("EXPLAIN ANALYZE COPY (SELECT 1) TO '{file}.copy' STORED AS CSV"),
        "INSERT INTO records (index) VALUES (1)".to_owned(),
        "DELETE FROM records".to_owned(),
        "UPDATE records SET kind = 'act'".to_owned(),
        "DROP TABLE records".to_owned(),
        "TRUNCATE TABLE records".to_owned(),
        "SET datafusion.execution.time_zone = 'CET'".to_owned(),
        "RESET datafusion.execution.time_zone".to_owned(),
        "SHOW TABLES".to_owned(),
        "DESCRIBE records".to_owned(),
        "BEGIN".to_owned(),
        "PREPARE p AS SELECT 1".to_owned(),
        "SELECT 1; DROP TABLE records".to_owned(),
        "SELECT 1 INTO x".to_owned(),
        "SELECT * INTO x FROM records".to_owned(),
        format!("SELECT * FROM '{file}'"),
        format!("SELECT * FROM \"{file}\""),
        format!("SELECT * FROM read_csv('{file}')"),
        format!("SELECT * FROM read_parquet('{file}')"),
        "SELECT * FROM information_schema.tables".to_owned(),
        "WITH x AS (DELETE FROM records RETURNING 1) SELECT * FROM x".to_owned(),
        String::new(),
    ] {
        let answer = model.sql(&refused, BOUNDS);
        assert!(matches!(answer, Err(ModelError::NotRead | ModelError::Query(_))), "{refused}: {answer:?}");
    }
    assert!(!place.directory.path().join("outside.csv.copy").exists());
    let rows = |query: &str| model.sql(query, BOUNDS).unwrap_or_else(|error| panic!("{query}: {error}")).rows;
    assert_eq!(rows("SELECT count(*) AS n FROM records")[0]["n"], 4964);
    assert_eq!(
        rows("SELECT max(index) AS n, count(policies) AS p FROM records WHERE kind = 'effect'")[0]["n"],
        4961
    );
    assert_eq!(rows("SELECT tool FROM records WHERE index = 4900")[0]["tool"], "tool-1");
    assert_eq!(
        rows("SELECT index FROM records WHERE array_has(policies, 'a/p-3') ORDER BY index LIMIT 2").len(),
        2
    );
    assert_eq!(rows("SELECT record FROM records WHERE index = 7")[0]["record"], json!(text(7).to_string()));
    let hours =
        rows("SELECT date_trunc('hour', time) AS h, count(*) AS n FROM records GROUP BY h ORDER BY h");
    assert_eq!((hours.len(), &hours[0]["n"]), (5, &json!(1000)));
    assert!(rows("EXPLAIN SELECT * FROM records").len() > 1);
    assert!(!rows("EXPLAIN ANALYZE SELECT count(*) FROM records").is_empty());

    let few = model.sql("SELECT * FROM records", Bounds { rows: 10, ..BOUNDS }).expect("answered");
    assert_eq!((few.rows.len(), few.more, few.is_cut), (10, true, false));
    let long = "SELECT count(*) FROM records a, records b, records c WHERE a.latency_us + b.latency_us = c.latency_us * 3";
    let error = model.sql(long, Bounds { time: Duration::from_millis(50), ..BOUNDS }).expect_err("ended");
    assert!(matches!(error, ModelError::TooLong { .. }), "{error}");
    let endless = "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t";
    let error = model.sql(endless, Bounds { time: Duration::from_millis(50), ..BOUNDS }).expect_err("ended");
    assert!(matches!(error, ModelError::TooLong { .. }), "{error}");
    for grown in [
        "repeat('x', 1000000000000)",
        "lpad('', 2000000000, 'x')",
        "range(0, 10000000000)",
        "list_repeat(1, 10000000000)",
    ] {
        assert!(
            matches!(model.sql(&format!("SELECT {grown}"), BOUNDS), Err(ModelError::Query(_))),
            "{grown}"
        );
    }
    assert!(model.sql("SELECT * FROM generate_series(1, 10)", BOUNDS).is_err());
    // What is nested in itself is planned by functions that call themselves: the stack has room for what is taken.
    let sum = |count: usize| format!("SELECT 1{} AS n", "+1".repeat(count));
    assert_eq!(rows(&sum(900))[0]["n"], 901);
    let unions = |count: usize| format!("SELECT 1 AS n{}", " UNION ALL SELECT 1".repeat(count));
    assert_eq!(rows(&unions(200)).len(), 201);
    let any: Vec<String> = (0..3_000).map(|index| format!("'call-{index}'")).collect();
    assert!(!rows(&format!("SELECT id FROM records WHERE id IN ({})", any.join(", "))).is_empty());
    for deep in [
        sum(30_000),
        sum(1_000_000),
        unions(2_000),
        format!("SELECT {}1{}", "(".repeat(30_000), ")".repeat(30_000)),
        format!("SELECT {}true", "NOT ".repeat(10_000)),
        format!("SELECT 1{}", "::int".repeat(10_000)),
        format!("SELECT '{}'", "x".repeat(MOST_QUERY)),
    ] {
        let error = model.sql(&deep, BOUNDS).expect_err("too long").to_string();
        assert!(error.contains("too long"), "{error}");
    }
    let large = "SELECT array_agg(a.record || b.record) FROM records a, records b";
    let error = model.sql(large, BOUNDS).expect_err("too much memory").to_string();
    assert!(error.contains("exhausted") || error.contains("memory"), "{error}");
    assert_eq!(rows("SELECT count(*) AS n FROM records")[0]["n"], 4964);
}

#[test]
fn sums_are_those_of_the_records() {
    let place = whole();
    let model = place.model();
    let question = |by| StatsQuestion { by, order: Order::Usual, since: None, until: None, limit: 1000 };
    let mut expected: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for index in (0..4964).filter(|index| index % 4 == 0 || index % 4 == 2) {
        let of = expected.entry(format!("Agent/a/bot-{}", index % 5)).or_default();
        of.0 += 1;
        of.1 += i64::from(index % 4 == 0);
    }
    let by_agent = model.stats(&question(By::Agent)).expect("answered").rows;
    let of = |row: &serde_json::Map<String, Value>| {
        Some((row.get("agent")?.as_str()?.to_owned(), (row["calls"].as_i64()?, row["effects"].as_i64()?)))
    };
    let found: BTreeMap<_, _> = by_agent.iter().filter_map(of).collect();
    assert_eq!(found, expected);
    // Refusals are nobody's.
    assert_eq!(by_agent.iter().find(|row| !row.contains_key("agent")).expect("a row")["calls"], 4964 / 4);
    let tools = model.stats(&question(By::Tool)).expect("answered").rows;
    let tools: BTreeSet<_> = tools.iter().filter_map(|row| row["tool"].as_str()).collect();
    assert_eq!(tools, BTreeSet::from(["a/server/tool-0", "a/server/tool-1", "a/server/tool-2"]));
    assert_eq!(model.stats(&question(By::Hour)).expect("answered").rows.len(), 5);
    let since = "2026-11-23T12:30:00Z".parse().ok();
    let late = model.stats(&StatsQuestion { since, ..question(By::Hour) }).expect("answered").rows;
    assert_eq!(late.len(), 2, "{late:?}");
    // What is left out is told.
    for (limit, more) in [(1, true), (4, true), (5, false), (usize::MAX, false)] {
        let some = model.stats(&StatsQuestion { limit, ..question(By::Hour) }).expect("answered");
        assert_eq!((some.rows.len(), some.more), (limit.min(5), more), "{limit}");
    }
    for order in [Order::Cost, Order::Tokens, Order::Denied] {
        model.stats(&StatsQuestion { order, ..question(By::AgentHour) }).expect("answered");
    }
}

#[test]
fn a_log_that_is_too_young_or_may_not_be_written_beside_is_read_into_memory() {
    let mut place = Place::new();
    place.append(10);
    assert_eq!(place.extend(), Extended::default());
    assert_eq!(find(&place.model(), Query::default()).len(), 10);
    let mut model = Model::in_memory(&place.log(), 4).expect("read");
    assert_eq!(model.refresh().expect("read"), 6);
    place.append(5);
    assert_eq!(model.refresh().expect("read"), 5);
    assert_eq!(indices(&find(&model, Query::default())), (4..15).collect::<Vec<_>>());
    model.forget_before(15);
    assert_eq!(model.extent(), (15, 15));
}

/// The largest index is no special one, and a search behind all records finds nothing.
#[test]
fn behind_the_last_record_is_nothing() {
    let place = whole();
    let model = place.model();
    for after in [4963, 4964, u64::MAX] {
        let wanted = Wanted { kinds: ALL.to_vec(), query: Query::default(), after: Some(after) };
        assert_eq!(model.find(&wanted, usize::MAX).expect("found"), [], "{after}");
    }
    let last = Wanted { kinds: ALL.to_vec(), query: Query::default(), after: Some(4962) };
    assert_eq!(indices(&model.find(&last, usize::MAX).expect("found")), [4963]);
    let query = Query { newest_first: true, ..Query::default() };
    let before = Wanted { kinds: ALL.to_vec(), query, after: Some(u64::MAX) };
    assert_eq!(model.find(&before, usize::MAX).expect("found").len(), 4964);
}
