//! The ledger's files: read by verify, search and show, and opened to be written on. What opens, grows, and stays intact.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use vidimus_core::record::{EffectKind, EffectRecord, Record};
use vidimus_ledger::{Config, Ledger, Options, Query, search, show, verify};

const SEGMENT: &str = "segments/00000000000000000000.log";

/// The files of a log that has signed that it is empty.
static EMPTY: LazyLock<Vec<(PathBuf, Vec<u8>)>> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    drop(Ledger::open(config(dir.path())).expect("a new log"));
    let mut files = Vec::new();
    for part in ["", "keys", "segments"] {
        for entry in std::fs::read_dir(dir.path().join(part)).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                let name = path.strip_prefix(dir.path()).expect("inside").to_owned();
                files.push((name, std::fs::read(&path).expect("a file")));
            }
        }
    }
    assert!(files.iter().any(|(name, _)| name == Path::new(SEGMENT)));
    files
});

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else { return };
    let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).expect("a directory");
    let mut segment = if first & 4 == 0 { Vec::new() } else { rest.to_vec() };
    for (name, bytes) in EMPTY.iter() {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(path, bytes).expect("a file");
        if name == Path::new(SEGMENT) && segment.is_empty() {
            segment.clone_from(bytes);
            segment.extend_from_slice(&if first & 1 == 0 { rest.to_vec() } else { framed(rest) });
        }
    }
    std::fs::write(dir.path().join(SEGMENT), &segment).expect("a file");
    read(dir.path());
    if first & 2 != 0 {
        open(dir.path());
    }
});

fn config(dir: &Path) -> Config {
    Config { dir: dir.to_owned(), check_all_on_open: true, ..Config::default() }
}

/// Frames whose checksum is right, so that what is in them is read: a length byte, then so many bytes of record.
fn framed(mut input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for sequence in 0_u64.. {
        let Some((length, rest)) = input.split_first() else { break };
        let (record, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        let record = if record.is_empty() { b"{}" } else { record };
        let tail = [&(record.len() as u32).to_le_bytes()[..], &sequence.to_le_bytes(), &[0; 4]].concat();
        let checksum = crc32c::crc32c_append(crc32c::crc32c(record), &tail);
        out.extend_from_slice(&tail[..4]);
        out.extend_from_slice(&checksum.to_le_bytes());
        out.extend_from_slice(&tail[4..]);
        out.extend_from_slice(record);
        input = rest;
    }
    out
}

fn read(dir: &Path) {
    let _ = verify(dir, &Options::default());
    for newest_first in [false, true] {
        let query = Query { newest_first, outcome: Some("deny".to_owned()), ..Query::default() };
        if let Ok(found) = search(dir, &query) {
            let _ = found.take(64).count();
        }
    }
    let _ = show(dir, "a");
}

fn open(dir: &Path) {
    let Ok(ledger) = Ledger::open(config(dir)) else { return };
    let record = Record::Effect(EffectRecord {
        attempts: Vec::new(),
        bytes_in: 0,
        bytes_out: 0,
        changed: None,
        charged_spend: None,
        charged_tokens: None,
        code: None,
        decision: 0,
        detail: None,
        duration_us: 0,
        id: "a".into(),
        job: None,
        kept: None,
        kind: EffectKind,
        result: "ok".into(),
        status: 200,
        task: None,
        time: "2026-01-01T00:00:00.000000Z".into(),
        time_per_output_token_us: None,
        time_to_first_token_us: None,
        token: None,
        tokens_cache_written: None,
        tokens_input: None,
        tokens_input_cached: None,
        tokens_output: None,
        tokens_reasoning: None,
        version: 1,
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let index = runtime.block_on(ledger.record(&record)).expect("an open log takes a record");
    drop(ledger);
    let report = verify(dir, &Options::default()).expect("a log that can be read");
    assert!(report.intact(), "{report:?}");
    assert_eq!(Ledger::open(config(dir)).expect("it opens again").size(), index + 1);
}
