//! What keeping a record costs: records a second and CPU time a record, of the whole process, background threads included.
//!
//! Prints one JSON object a line. `VIDIMUS_BENCH_SECONDS` sets how long each case runs (default 2).

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot run has nothing to say"
)]
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vidimus_core::record::{DecisionKind, DecisionRecord, Record};
use vidimus_ledger::{Config, Durability, Ledger, Options, verify};

/// CPU time of this process, of all its threads, also those that have ended, in nanoseconds.
fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// A decision as the gateway records it, about 900 bytes.
fn decision<'a>(
    id: &'a str,
    facts: &'a [(Arc<str>, Arc<str>)],
    policies: &'a [Arc<str>],
    time: &'a str,
) -> Record<'a> {
    Record::Decision(DecisionRecord {
        action: "invokeTool".into(),
        alternatives: Vec::new(),
        asked_by: None,
        body: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".into(),
        chain: Vec::new(),
        closest_permits: Cow::Borrowed(&[]),
        code: None,
        config_age: None,
        config_reason: None,
        config_source: None,
        depth: 1,
        facts: Cow::Borrowed(facts),
        id: id.into(),
        identity: "spiffe://corp.example/ns/finance/sa/invoice-bot".into(),
        instance: None,
        kept: None,
        kind: DecisionKind,
        labels: Vec::new(),
        method: "tools/call".into(),
        not_tried: Vec::new(),
        obligations: Vec::new(),
        observed: Vec::new(),
        approval: None,
        on_account_of: None,
        outcome: "allow".into(),
        parent: None,
        policies: Cow::Borrowed(policies),
        principal: "Agent/finance/invoice-bot".into(),
        protocol: "mcp".into(),
        push_url: None,
        reserved_spend: None,
        reserved_tokens: None,
        resource: "Tool/finance/ledger/get_invoice".into(),
        snapshot: "sha256:01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b".into(),
        source: Some("10.0.0.7".into()),
        task: None,
        time: time.into(),
        trace: "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7".into(),
        transaction: "0193b3c6-9a0e-7c4e-8f25-1d8e2a6b4c10".into(),
        user: Some("https://login.example.com#alice".into()),
        version: 1,
        via: None,
        would_refuse: None,
    })
}

async fn caller(ledger: Ledger, until: Instant, latencies: bool) -> (u64, Vec<u64>) {
    let facts = [
        (Arc::from("context.delegation_depth"), Arc::from("1")),
        (Arc::from("principal.risk_level"), Arc::from("low")),
    ];
    let policies = [Arc::from("finance/finance-read")];
    let id = "0193b3c6-9a0e-7c4e-8f25-1d8e2a6b4c0f";
    let (mut count, mut times) = (0, Vec::new());
    loop {
        let begin = Instant::now();
        if begin >= until {
            return (count, times);
        }
        let record = decision(id, &facts, &policies, "2026-11-21T08:30:00.123456Z");
        ledger.record(&record).await.expect("recorded");
        count += 1;
        if latencies && times.len() < 1_000_000 {
            times.push(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
        tokio::task::yield_now().await;
    }
}

fn line(name: &str, value: f64, unit: &str, durability: Durability, concurrency: usize) {
    let parameters = serde_json::json!({"durability": format!("{durability:?}").to_lowercase(), "concurrency": concurrency});
    let value = (value * 100.0).round() / 100.0;
    println!("{}", serde_json::json!({"name": name, "value": value, "unit": unit, "parameters": parameters}));
}

fn main() {
    let seconds =
        std::env::var("VIDIMUS_BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2.0);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory");
    for (case, (durability, concurrency)) in
        [(Durability::Commit, 1), (Durability::Commit, 64), (Durability::Sync, 1), (Durability::Sync, 64)]
            .into_iter()
            .enumerate()
    {
        let dir = dir.path().join(case.to_string());
        let ledger =
            Ledger::open(Config { dir: dir.clone(), durability, ..Config::default() }).expect("opened");
        let (begin, cpu_before) = (Instant::now(), cpu());
        let until = begin + Duration::from_secs_f64(seconds);
        let (count, mut times) = runtime.block_on(async {
            let tasks: Vec<_> =
                (0..concurrency).map(|_| tokio::spawn(caller(ledger.clone(), until, true))).collect();
            let (mut count, mut times) = (0, Vec::new());
            for task in tasks {
                let (some, of_task) = task.await.expect("finished");
                count += some;
                times.extend(of_task);
            }
            (count, times)
        });
        let elapsed = begin.elapsed().as_secs_f64();
        // The tree and its signing belong to the cost, also what is left of it at the end.
        runtime.block_on(ledger.close());
        let spent = cpu() - cpu_before;
        drop(ledger);
        let count_f = f64::from(u32::try_from(count).expect("fewer than 2^32"));
        line("ledger_append", count_f / elapsed, "records/s", durability, concurrency);
        line("ledger_append_cpu", spent / 1000.0 / count_f, "µs CPU/record", durability, concurrency);
        times.sort_unstable();
        for (name, share) in [("ledger_append_p50", 0.5), ("ledger_append_p99", 0.99)] {
            let at = ((times.len() - 1) as f64 * share) as usize;
            line(name, times[at] as f64 / 1000.0, "µs", durability, concurrency);
        }
        if (durability, concurrency) == (Durability::Commit, 64) {
            read_again(&dir, count);
        }
    }
}

/// Opening and verifying what was just written.
fn read_again(dir: &std::path::Path, records: u64) {
    let timed = |name: &str, check_all: Option<bool>| {
        let begin = Instant::now();
        match check_all {
            Some(check_all_on_open) => {
                drop(
                    Ledger::open(Config { dir: dir.to_owned(), check_all_on_open, ..Config::default() })
                        .expect("opened"),
                );
            }
            None => assert!(verify(dir, &Options::default()).expect("verified").intact()),
        }
        let value = (begin.elapsed().as_secs_f64() * 1e5).round() / 100.0;
        println!(
            "{}",
            serde_json::json!({"name": name, "value": value, "unit": "ms", "parameters": {"records": records}})
        );
    };
    timed("ledger_open", Some(false));
    timed("ledger_open_check_all", Some(true));
    timed("ledger_verify", None);
}
