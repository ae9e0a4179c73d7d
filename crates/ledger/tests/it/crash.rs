//! Power losses: every operation on a file is written down, and what each may leave of them is started, verified and written again.
//!
//! `VIDIMUS_CRASH_STATES` says how many states are looked at (`make crash`: 12,000).

mod pruning;
mod random;
mod recorder;
mod states;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vidimus_ledger::{Config, Durability, Finding, Ledger, Prover, Query, fsck, read_from, search, verify};

use crate::support::{as_version_1, assert_whole, config, grow, items, refusal, segments, summed};
use random::Random;
use recorder::{Log, Operation, Recorder};
use states::{Luck, after};

/// Records of one run: more than a tile has.
const RECORDS: u64 = 330;

/// How many callers write at once.
const CALLERS: u64 = 6;

/// A run: what it did to its files, and after how many operations which record was acknowledged as synced.
struct Run {
    log: Log,
    acknowledged: Vec<(usize, u64)>,
    /// Records that there were to write, at most.
    written: u64,
    public_key: String,
    durability: Durability,
    /// Whether it began with records at its end that somebody else put there, which a verifier finds.
    forged: bool,
}

fn small(dir: &Path, durability: Durability) -> Config {
    Config {
        durability,
        segment_bytes: 40_000,
        fsync_interval: Duration::from_micros(300),
        checkpoint_interval: Duration::from_millis(1),
        ..config(dir)
    }
}

/// The log below `root`: making its directory can be lost, too.
fn log(root: &Path) -> PathBuf {
    root.join("log")
}

/// A record's text, by the caller and its number: of many lengths, so that frames lie everywhere between the borders of sectors.
fn text(caller: u64, number: u64) -> String {
    let mut random = Random(caller << 32 | number);
    format!("{caller}-{number}-{}", "x".repeat(random.below(700)))
}

/// Writes a log below `root`, with several callers at once. It ends without a word: nothing is closed before its log is taken.
fn run(root: &Path, durability: Durability, records: u64) -> Run {
    let recorder = Recorder::new(root);
    let ledger = Ledger::open_on(Arc::new(recorder.clone()), small(&log(root), durability)).expect("opened");
    let before = ledger.size();
    let acknowledged = Mutex::new(Vec::new());
    let writing = std::sync::atomic::AtomicU64::new(CALLERS);
    std::thread::scope(|scope| {
        // Beside the callers: what witnesses cosign is kept. That nobody cosigned is no matter to the log.
        let (cosigning, busy) = (&ledger, &writing);
        scope.spawn(move || {
            while busy.load(std::sync::atomic::Ordering::SeqCst) > 0 {
                cosigning.keep_cosigned(cosigning.tiles().checkpoint()).expect("kept");
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        for caller in 0..CALLERS {
            let (ledger, recorder, acknowledged, writing) = (&ledger, &recorder, &acknowledged, &writing);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                for number in 0..records / CALLERS {
                    let record = text(caller, before + number);
                    let index = runtime.block_on(ledger.record(&refusal(&record))).expect("recorded");
                    if durability == Durability::Sync {
                        let done = recorder.done();
                        acknowledged.lock().expect("not poisoned").push((done, index));
                    }
                }
                writing.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            });
        }
    });
    let log = recorder.log();
    let public_key = ledger.public_key();
    let written = before + records;
    Run {
        log,
        acknowledged: acknowledged.into_inner().expect("not poisoned"),
        written,
        public_key,
        durability,
        forged: false,
    }
}

/// The indexes and texts of all records.
fn texts(dir: &Path) -> Vec<(u64, String)> {
    let hits = search(dir, &Query::default()).expect("searched").map(|hit| hit.expect("read"));
    hits.map(|hit| {
        let json: serde_json::Value = serde_json::from_slice(&hit.record).expect("JSON");
        (hit.index, json["id"].as_str().expect("id").to_owned())
    })
    .collect()
}

/// Where states are made: in memory, where there is such a place.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a directory")
}

/// What a state must come to.
struct Expected<'a> {
    run: &'a Run,
    /// All records, as the run wrote them.
    texts: &'a [(u64, String)],
    /// At least so many are there.
    records: u64,
}

/// Starts a log that a power loss left, writes to it and verifies it; what was done to its files meanwhile.
fn start(root: &Path, expected: &Expected<'_>) -> Run {
    let dir = &log(root);
    // Before it is started, nothing but tiles may be missing: those are made again.
    if expected.records > 0 {
        let report = verify(dir, &vidimus_ledger::Options::default()).expect("verified");
        let found = |finding: &&Finding| match finding {
            Finding::Tile { .. } => false,
            Finding::Unauthenticated { .. } => !expected.run.forged,
            _ => true,
        };
        let wrong: Vec<_> = report.findings.iter().filter(found).collect();
        assert!(wrong.is_empty(), "before the start: {wrong:?}");
        let looked = fsck(dir, false).expect("looked");
        let damage = looked.faults.iter().find(|fault| !fault.means.is_well());
        assert!(damage.is_none() || expected.run.forged, "a start mends it: {damage:?}");
        // Also where what a proof is begun with is torn, lost, or of another moment.
        if report.findings.is_empty() && report.confirmed > 0 {
            let mut prover = Prover::latest(dir).expect("a prover");
            prove(dir, &mut prover, report.confirmed - 1);
        }
    }
    let recorder = Recorder::new(root);
    let config = small(dir, expected.run.durability);
    let ledger = match Ledger::open_on(Arc::new(recorder.clone()), config) {
        Ok(ledger) => ledger,
        Err(error) => panic!("not started: {error}"),
    };
    let size = ledger.size();
    assert!(size >= expected.records, "{size} records are left of {} that were synced", expected.records);
    assert!(size <= expected.run.written);
    if expected.records > 0 {
        assert_eq!(ledger.public_key(), expected.run.public_key);
        assert_eq!(texts(dir), expected.texts[..usize::try_from(size).expect("small")]);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        for index in size..size + 3 {
            assert_eq!(ledger.record(&refusal(&text(99, index))).await, Ok(index));
        }
        ledger.close().await;
    });
    assert_whole(dir, size + 3);
    let public_key = ledger.public_key();
    let durability = expected.run.durability;
    let (acknowledged, written) = (Vec::new(), size + 3);
    Run { log: recorder.log(), acknowledged, written, public_key, durability, forged: expected.run.forged }
}

/// A proof of one record to the newest checkpoint.
fn prove(dir: &Path, prover: &mut Prover, index: u64) {
    let hit = read_from(dir, index).expect("read").next().expect("a record").expect("whole");
    prover.prove(index, &hit.record).expect("proven");
}

fn states() -> usize {
    std::env::var("VIDIMUS_CRASH_STATES").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

/// A power loss in `run`, after any of its operations. Every eighth log is lost once more, while it is started.
fn lose(run: &Run, texts: &[(u64, String)], seed: u64, again: bool) {
    let mut random = Random(seed);
    let done = random.below(run.log.operations.len() + 1);
    let luck = match random.below(8) {
        0 => Luck::Nothing,
        1 => Luck::Everything,
        2 | 3 => Luck::Beginning,
        _ => Luck::Any,
    };
    let records = after(&run.log, done, Luck::Nothing, &mut random).records();
    let acknowledged = run.acknowledged.iter().filter(|(at, _)| *at <= done);
    for (_, index) in acknowledged {
        assert!(*index < records, "record {index} was acknowledged before it was synced");
    }
    let state = after(&run.log, done, luck, &mut random);
    let dir = scratch();
    state.write(dir.path());
    let started = catch_unwind(AssertUnwindSafe(|| start(dir.path(), &Expected { run, texts, records })));
    let Ok(next) = started else {
        let kept = kept(&run.log, &state, done, luck);
        panic!("seed {seed}: {luck:?} after {done} operations, kept in {}", kept.display());
    };
    if again && seed.is_multiple_of(8) {
        let all = self::texts(&log(dir.path()));
        (0..3).for_each(|round| lose(&next, &all, random.next() ^ round, false));
    }
}

/// A state that fails, and what led to it, for whoever looks into it.
fn kept(recorded: &Log, state: &states::State, done: usize, luck: Luck) -> PathBuf {
    let dir = tempfile::tempdir().expect("a directory").keep();
    state.write(&dir);
    let short: Vec<String> = recorded.operations[..done].iter().rev().take(60).map(briefly).collect();
    let story = format!("{luck:?}\n{}\n", short.join("\n"));
    std::fs::write(dir.join("operations"), story).expect("written");
    dir
}

fn briefly(operation: &Operation) -> String {
    match operation {
        Operation::Write { file, offset, bytes } => {
            format!("Write {{ file: {file}, offset: {offset}, {} bytes }}", bytes.len())
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn whatever_a_power_loss_leaves_is_started_and_nothing_that_was_synced_is_lost() {
    let states = states();
    let runs = (states / 1000).clamp(2, 12);
    for number in 0..runs {
        let durability = if number % 2 == 0 { Durability::Commit } else { Durability::Sync };
        let dir = scratch();
        let run = run(dir.path(), durability, RECORDS);
        let texts = texts(&log(dir.path()));
        for state in 0..states / runs {
            lose(&run, &texts, (number * states + state) as u64, true);
        }
    }
}

/// What a start does to the end of a log: the next segment where that is of the version before, and records that are set aside.
#[test]
fn a_power_loss_while_a_log_is_taken_over_or_something_is_set_aside_loses_nothing_either() {
    let prepared: [fn(&Path); 2] = [as_version_1, |dir| {
        let path = segments(dir).pop().expect("a segment");
        let mut items = items(&std::fs::read(&path).expect("read"));
        let sealed = items.iter().rfind(|item| item.starts_with(b"SEAL")).expect("a seal");
        let next = u64::from_le_bytes(sealed[8..16].try_into().expect("8 bytes"));
        let mut forged = items.iter().rfind(|item| !item.starts_with(b"SEAL")).expect("a record").clone();
        forged[8..16].copy_from_slice(&next.to_le_bytes());
        summed(&mut forged);
        items.push(forged);
        std::fs::write(path, items.concat()).expect("written");
    }];
    for (number, prepare) in (0..).zip(prepared) {
        let dir = scratch();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(grow(small(&log(dir.path()), Durability::Commit), 200));
        prepare(&log(dir.path()));
        let run = Run { forged: number > 0, ..run(dir.path(), Durability::Commit, 18) };
        let texts = texts(&log(dir.path()));
        for state in 0..states() as u64 / 5 {
            lose(&run, &texts, number * 1000 + state, true);
        }
    }
}

/// Tiles are synced by the level: one of a higher level that outlives those below it would hide that they are gone.
#[test]
fn a_tile_of_a_higher_level_does_not_outlive_those_below_it() {
    let dir = scratch();
    let recorder = Recorder::new(dir.path());
    let config = config(&log(dir.path()));
    let ledger = Ledger::open_on(Arc::new(recorder.clone()), config.clone()).expect("opened");
    // No full tile of level 0 is left over: a lost one of these would be seen, and all tiles made again.
    let size = 256 * 256 + 100;
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        for _ in 0..size {
            ledger.record(&refusal("x")).await.expect("recorded");
        }
        ledger.close().await;
    });
    let recorded = recorder.log();
    let mut random = Random(0);
    let mut state = |luck| after(&recorded, recorded.operations.len(), luck, &mut random);
    let (least, mut left) = (state(Luck::Nothing), state(Luck::Everything));
    assert!(left.files.contains_key(Path::new("log/tile/1/000")), "a tile of 65,536 records");
    left.files.retain(|path, content| match least.files.get(path) {
        kept if path.starts_with("log/tile/0") => {
            *content = kept.cloned().unwrap_or_default();
            kept.is_some()
        }
        _ => true,
    });
    let started = scratch();
    left.write(started.path());
    drop(Ledger::open(Config { dir: log(started.path()), ..config }).expect("opened"));
    assert_whole(&log(started.path()), size);
}
