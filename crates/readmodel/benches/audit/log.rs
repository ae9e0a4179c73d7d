//! The log itself, by its size: opening it, proving one record of it, and verifying all of it.

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use vidimus_ledger::{Config, Hit, Ledger, Options, Prover, read_from, verify};

use crate::Anything;
use crate::estate::{self, mixed};
use crate::figures::Figures;

const ROUNDS: u64 = 9;

/// How many times smaller the log is that opening is compared with.
const SMALLER: u64 = 10;

pub(crate) fn measure(figures: &Figures, root: &Path, log: &Path) -> Anything<()> {
    let small = root.join("smaller");
    if !small.exists() {
        estate::append(&small, figures.records / SMALLER)?;
    }
    let (mut large_ms, mut small_ms, mut large_bytes, mut small_bytes) = (Vec::new(), Vec::new(), 0, 0);
    for _ in 0..ROUNDS {
        for (log, all, bytes) in
            [(log, &mut large_ms, &mut large_bytes), (&small, &mut small_ms, &mut small_bytes)]
        {
            let (before, begun) = (bytes_read()?, Instant::now());
            let ledger = Ledger::open(Config { dir: log.to_owned(), ..Config::default() })?;
            all.push(begun.elapsed().as_secs_f64() * 1000.0);
            *bytes = bytes_read()? - before;
            tokio::runtime::Builder::new_current_thread().build()?.block_on(ledger.close());
        }
    }
    let (large, smaller) = (median(large_ms), median(small_ms));
    figures.say("ledger_open_at_size", large, "ms", None, json!({ "bytes_read": large_bytes }));
    let of = json!({ "of_records": figures.records / SMALLER, "bytes_read": small_bytes });
    figures.say("ledger_open_by_size", large / smaller, "ratio", Some(1.2), of.clone());
    figures.say("ledger_open_bytes_by_size", large_bytes as f64 / small_bytes as f64, "ratio", Some(1.2), of);
    prove(figures, log)?;
    verify_all(figures, log)
}

/// Bytes that this process has read from files, by the kernel's count, cached ones included.
fn bytes_read() -> Anything<u64> {
    let text = fs::read_to_string("/proc/self/io")?;
    let read = text.lines().find_map(|line| line.strip_prefix("rchar: ")).ok_or("no rchar")?;
    Ok(read.parse()?)
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// One record somewhere, by its index, and a proof of it to the newest checkpoint, by a process that knows nothing yet.
fn prove(figures: &Figures, log: &Path) -> Anything<()> {
    let mut all = Vec::new();
    for round in 0..51 {
        let index = mixed(round) % figures.records;
        let begun = Instant::now();
        let Hit { record, .. } = read_from(log, index)?.next().ok_or("no such record")??;
        Prover::latest(log)?.prove(index, &record)?;
        all.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    figures.say("ledger_prove", median(all), "ms", Some(5.0), json!({}));
    Ok(())
}

fn verify_all(figures: &Figures, log: &Path) -> Anything<()> {
    let begun = Instant::now();
    let report = verify(log, &Options::default())?;
    let seconds = begun.elapsed().as_secs_f64();
    if !report.intact() {
        return Err("the log is not intact".into());
    }
    figures.say("ledger_verify_all", report.records as f64 / seconds, "records/s", None, json!({}));
    // The same bytes, by one core that does nothing else with them.
    let mut spent = 0.0;
    let mut bytes = 0;
    for entry in fs::read_dir(log.join("segments"))? {
        let file = fs::read(entry?.path())?;
        let begun = Instant::now();
        std::hint::black_box(Sha256::digest(&file));
        spent += begun.elapsed().as_secs_f64();
        bytes += file.len();
    }
    figures.say("ledger_verify_of_sha256", seconds / spent, "ratio", None, json!({ "bytes": bytes }));
    Ok(())
}
