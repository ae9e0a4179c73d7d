use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use vidimus_ledger::{Closed, Config, Durability, Ledger, MAX_RECORD, Query, search};

use crate::support::{assert_whole, config, grow, refusal, report};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("a runtime")
}

/// Many tasks, small segments, every durability: each record once, in the place that its receipt says.
#[test]
fn every_record_is_kept_once_where_its_receipt_says() {
    for (durability, each) in [(Durability::Commit, 200), (Durability::Sync, 10)] {
        let dir = tempfile::tempdir().expect("a directory");
        let config = Config {
            durability,
            segment_bytes: 20_000,
            checkpoint_interval: Duration::from_millis(1),
            ..config(dir.path())
        };
        let receipts = runtime().block_on(async {
            let ledger = Ledger::open(config).expect("opened");
            let tasks: Vec<_> = (0..64)
                .map(|task| {
                    let ledger = ledger.clone();
                    tokio::spawn(async move {
                        let mut receipts = Vec::new();
                        for number in 0..each {
                            let id = format!("{task}-{number}");
                            let index = ledger.record(&refusal(&id)).await.expect("recorded");
                            receipts.push((index, id));
                        }
                        assert!(receipts.is_sorted(), "a caller's records are in its order");
                        receipts
                    })
                })
                .collect();
            let mut receipts = Vec::new();
            for task in tasks {
                receipts.extend(task.await.expect("finished"));
            }
            assert_eq!(ledger.size(), 64 * each);
            ledger.close().await;
            receipts
        });
        let mut expected = receipts;
        expected.sort();
        let hits = search(dir.path(), &Query::default()).expect("searched").map(|hit| hit.expect("read"));
        let found: Vec<_> = hits
            .map(|hit| {
                let json: serde_json::Value = serde_json::from_slice(&hit.record).expect("JSON");
                (hit.index, json["id"].as_str().expect("id").to_owned())
            })
            .collect();
        assert_eq!(found, expected);
        assert_whole(dir.path(), 64 * each);
        assert!(report(dir.path()).segments > 5, "{durability:?}: segments were changed under load");
    }
}

/// Futures dropped before, at and after every poll lose nothing that was acknowledged and hold nobody up.
#[test]
fn callers_that_leave_hold_nobody_up() {
    for durability in [Durability::Commit, Durability::Sync] {
        let dir = tempfile::tempdir().expect("a directory");
        let config = Config { durability, segment_bytes: 5_000, ..config(dir.path()) };
        let (acknowledged, started) = runtime().block_on(async {
            let ledger = Ledger::open(config).expect("opened");
            drop(ledger.record(&refusal("never")));
            let tasks: Vec<_> = (0..32)
                .map(|task| {
                    let ledger = ledger.clone();
                    tokio::spawn(async move {
                        let mut kept = Vec::new();
                        for number in 0..20 {
                            let id = format!("{task}-{number}");
                            let record = refusal(&id);
                            let mut future = pin!(ledger.record(&record));
                            if (task + number) % 3 == 0 {
                                // One poll, with a waker that nobody hears, and gone.
                                let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                            } else {
                                kept.push(future.await.expect("recorded"));
                            }
                        }
                        kept
                    })
                })
                .collect();
            let mut acknowledged = Vec::new();
            for task in tasks {
                acknowledged.extend(task.await.expect("finished"));
            }
            ledger.close().await;
            (acknowledged, 32 * 20)
        });
        let found: Vec<_> = search(dir.path(), &Query::default())
            .expect("searched")
            .map(|hit| hit.expect("read").index)
            .collect();
        assert_eq!(found, (0..started).collect::<Vec<_>>(), "every record that was begun, once");
        assert!(acknowledged.iter().all(|index| found.contains(index)));
        assert_whole(dir.path(), started);
    }
}

#[tokio::test]
async fn a_closed_ledger_takes_nothing_and_lets_the_next_one_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = grow(config(dir.path()), 3).await;
    assert!(!ledger.is_open());
    assert_eq!(ledger.record(&refusal("x")).await, Err(Closed::Finished));
    ledger.close().await;
    let next = grow(config(dir.path()), 2).await;
    assert_eq!(next.size(), 5);
    assert_eq!(next.public_key(), ledger.public_key());
    assert_whole(dir.path(), 5);
}

#[tokio::test]
async fn the_last_clone_leaves_everything_signed_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = Ledger::open(config(dir.path())).expect("opened");
    let other = ledger.clone();
    drop(ledger);
    other.record(&refusal("x")).await.expect("recorded");
    drop(other);
    assert_whole(dir.path(), 1);
}

#[tokio::test]
async fn a_record_that_is_too_large_is_refused_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = Ledger::open(config(dir.path())).expect("opened");
    let long = "x".repeat(MAX_RECORD);
    assert!(
        matches!(ledger.record(&refusal(&long)).await, Err(Closed::TooLarge { bytes }) if bytes > MAX_RECORD)
    );
    let empty = serde_json::to_vec(&refusal("")).expect("a record").len();
    let fits = "x".repeat(MAX_RECORD - empty);
    assert_eq!(ledger.record(&refusal(&fits)).await.expect("recorded"), 0);
    ledger.close().await;
    assert_whole(dir.path(), 1);
}

/// A checkpoint is issued while the log is written, and what follows it is told apart from what is wrong.
#[tokio::test]
async fn a_log_that_is_being_written_can_be_verified() {
    let dir = tempfile::tempdir().expect("a directory");
    let config =
        Config { checkpoint_interval: Duration::from_millis(2), segment_bytes: 30_000, ..config(dir.path()) };
    let ledger = Ledger::open(config).expect("opened");
    let mut confirmed = 0;
    while confirmed < 600 {
        for _ in 0..50 {
            ledger.record(&refusal("x")).await.expect("recorded");
        }
        let report = report(dir.path());
        assert!(report.intact(), "{:?}", report.findings);
        assert!(report.confirmed >= confirmed && report.records >= report.confirmed);
        confirmed = report.confirmed;
    }
    ledger.close().await;
}
