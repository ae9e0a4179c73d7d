//! Reading from a record on as the log grows, and leaving out what cannot be of the time asked for.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use vidimus_ledger::{Config, Durability, Finding, Ledger, Query, SearchError, Watermark, read_from, search};

use crate::support::{
    Asked, as_version_1, assert_whole, config, decide, grow, items, refusal, report, segments, summed, time,
};

/// The indexes of what a reading gives until the end for now.
fn indexes(reading: &mut vidimus_ledger::Reading) -> Vec<u64> {
    reading.map(|hit| hit.expect("read").index).collect()
}

#[tokio::test]
async fn a_reading_begins_at_any_record_and_follows_the_log_through_its_segments() {
    let dir = tempfile::tempdir().expect("a directory");
    let small = Config { segment_bytes: 1500, ..config(dir.path()) };
    grow(small.clone(), 10).await;
    let ledger = Ledger::open(small).expect("opened");
    let mut readings: Vec<_> =
        [0, 3, 9, 10, 12].map(|from| (from, ledger.read_from(from).expect("a log"))).into();
    for (from, reading) in &mut readings {
        assert_eq!(indexes(reading), (*from..10).collect::<Vec<_>>());
        assert!(indexes(reading).is_empty(), "the end for now");
    }
    for size in 11..40 {
        ledger.record(&refusal(&format!("n-{}", size - 1))).await.expect("recorded");
        for (from, reading) in &mut readings {
            let expected: Vec<u64> = if size > *from { vec![size - 1] } else { vec![] };
            assert_eq!(indexes(reading), expected, "from {from} on, at {size}");
            assert_eq!(reading.index(), size.max(*from));
        }
    }
    let hit = readings[0].1.next();
    assert!(hit.is_none());
    ledger.close().await;
    assert!(segments(dir.path()).len() > 5);
    assert!(matches!(read_from(&dir.path().join("none"), 0), Err(SearchError::NotALedger { .. })));
    as_version_1(dir.path());
    assert_eq!(indexes(&mut read_from(dir.path(), 35).expect("a log")), [35, 36, 37, 38]);
}

/// What is read is what is sealed: neither the beginning of a write nor what somebody else put there.
#[tokio::test]
async fn a_reading_gives_no_record_before_its_seal() {
    let dir = tempfile::tempdir().expect("a directory");
    grow(config(dir.path()), 4).await;
    let path = segments(dir.path()).remove(0);
    let whole = std::fs::read(&path).expect("read");
    let items = items(&whole);
    // Header, seal, and frame and seal of 4 records.
    let ends: Vec<usize> = items
        .iter()
        .scan(0, |end, item| {
            Some({
                *end += item.len();
                *end
            })
        })
        .collect();
    let mut reading = read_from(dir.path(), 0).expect("a log");
    std::fs::write(&path, &whole[..ends[1]]).expect("written");
    let file = OpenOptions::new().append(true).open(&path).expect("opened");
    let mut seen = 0;
    for at in ends[1]..whole.len() {
        (&file).write_all(&whole[at..=at]).expect("written");
        if at % 7 == 0 || ends.contains(&(at + 1)) {
            seen += indexes(&mut reading).len();
            let sealed = ends.iter().skip(3).step_by(2).filter(|end| **end <= at + 1).count();
            assert_eq!(seen, sealed.min(4), "after byte {at}");
        }
    }
    (&file).write_all(&items[2]).expect("written");
    assert!(
        matches!(reading.next(), Some(Err(SearchError::Damaged { .. }))),
        "a record that is out of order"
    );
    assert!(reading.next().is_none(), "nothing after an error");
}

#[tokio::test]
async fn a_watermark_says_what_is_kept_durable_and_signed_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let hour = Duration::from_secs(3600);
    let config = Config { fsync_interval: hour, ..config(dir.path()) };
    let ledger = Ledger::open(config.clone()).expect("opened");
    assert_eq!(ledger.watermark(), Watermark::default());
    for _ in 0..3 {
        ledger.record(&refusal("x")).await.expect("recorded");
    }
    assert_eq!(ledger.watermark(), Watermark { kept: 3, durable: 0, signed: 0 });
    let mut reading = ledger.read_from(0).expect("a log");
    assert_eq!(indexes(&mut reading).len(), 3);
    assert_eq!(reading.watermark(), Watermark { kept: 3, durable: 0, signed: 0 });
    ledger.close().await;
    assert_eq!(ledger.watermark(), Watermark { kept: 3, durable: 3, signed: 3 });
    assert_eq!(reading.watermark(), Watermark { kept: 3, durable: 3, signed: 3 });
    drop(ledger);
    // What is on disk is known from the records after it, before it is signed for.
    let ledger = Ledger::open(Config { durability: Durability::Sync, ..config }).expect("opened");
    for _ in 0..2 {
        ledger.record(&refusal("x")).await.expect("recorded");
    }
    assert_eq!(ledger.watermark(), Watermark { kept: 5, durable: 5, signed: 3 });
    assert_eq!(indexes(&mut reading), [3, 4]);
    assert_eq!(reading.watermark(), Watermark { kept: 5, durable: 4, signed: 3 }, "at least so far");
}

/// A log whose segments are of one record each, at these seconds.
async fn at_seconds(dir: &Path, seconds: &[u32]) {
    let ledger = Ledger::open(Config { segment_bytes: 100, ..config(dir) }).expect("opened");
    for second in seconds {
        decide(&ledger, &Asked { second: *second, ..Asked::default() }).await;
    }
    ledger.close().await;
}

#[tokio::test]
async fn a_search_by_time_reads_no_segment_that_cannot_have_it() {
    let dir = tempfile::tempdir().expect("a directory");
    // The clock stood still, and went back.
    let seconds = [10, 20, 20, 15, 40, 50];
    at_seconds(dir.path(), &seconds).await;
    let at = |second| Some(time(second).parse().expect("a time"));
    let queries = [(None, None), (Some(20), None), (Some(16), Some(41)), (None, Some(20)), (Some(51), None)];
    let found = |since: Option<u32>, until: Option<u32>, newest_first| {
        let query =
            Query { since: since.and_then(at), until: until.and_then(at), newest_first, ..Query::default() };
        search(dir.path(), &query).expect("searched").collect::<Vec<_>>()
    };
    for (since, until) in queries {
        let fits = |second: u32| {
            since.is_none_or(|since| since <= second) && until.is_none_or(|until| second < until)
        };
        let expected: Vec<u64> =
            (0..).zip(seconds).filter(|(_, second)| fits(*second)).map(|(index, _)| index).collect();
        let hits: Vec<_> =
            found(since, until, false).into_iter().map(|hit| hit.expect("read").index).collect();
        assert_eq!(hits, expected, "{since:?} {until:?}");
        let hits: Vec<_> =
            found(since, until, true).into_iter().map(|hit| hit.expect("read").index).collect();
        assert!(hits.iter().rev().eq(&expected), "{since:?} {until:?}");
    }
    // It is not read: what is wrong in it is not met.
    let path = segments(dir.path()).remove(3);
    let whole = std::fs::read(&path).expect("read");
    let mut damaged = whole.clone();
    damaged[100] ^= 1;
    std::fs::write(&path, &damaged).expect("written");
    for (since, until, met) in
        [(Some(20), None, false), (None, Some(15), false), (None, Some(16), true), (None, None, true)]
    {
        assert_eq!(found(since, until, false).iter().any(Result::is_err), met, "{since:?} {until:?}");
    }
    std::fs::write(&path, &whole).expect("written");
    // A segment of the version before says no times, so all of it is read.
    as_version_1(dir.path());
    assert_eq!(found(Some(20), Some(41), false).len(), 3);
}

/// A seal that is under a checkpoint is not looked at by who opens the log; who verifies it finds that it hides records.
#[tokio::test]
async fn times_that_hide_a_record_from_a_search_are_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    at_seconds(dir.path(), &[10, 20, 30]).await;
    assert_whole(dir.path(), 3);
    for (at, seal) in [(24, u32::MAX), (28, 0)] {
        let path = segments(dir.path()).remove(1);
        let whole = std::fs::read(&path).expect("read");
        let mut items = items(&whole);
        let last = items.last_mut().expect("a seal");
        last[at..at + 4].copy_from_slice(&seal.to_le_bytes());
        summed(last);
        std::fs::write(&path, items.concat()).expect("written");
        let findings = report(dir.path()).findings;
        assert!(matches!(findings[..], [Finding::Times { .. }]), "{findings:?}");
        std::fs::write(&path, whole).expect("written");
    }
}
