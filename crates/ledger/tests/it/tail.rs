//! The end of a log that nothing is signed for yet, and what says that there was more of it.

use std::path::Path;
use std::time::Duration;

use vidimus_ledger::{
    Config, Finding, Ledger, Note, OpenError, Options, Query, Unauthenticated, search, verify,
};

use crate::support::{
    as_version_1, assert_whole, config, copy, grow, items, killed, refusal, report, segments, summed,
};

/// An item with another sequence number and a right checksum.
fn numbered(item: &[u8], sequence: u64) -> Vec<u8> {
    let mut item = item.to_vec();
    item[8..16].copy_from_slice(&sequence.to_le_bytes());
    if !item.starts_with(b"SEAL") {
        item[16..20].fill(0);
    }
    summed(&mut item);
    item
}

fn altered(item: &mut [u8], at: usize, byte: u8) {
    assert_ne!(item[at], byte);
    item[at] = byte;
    summed(item);
}

/// What follows a seal, is not by the log's writer, and has all checksums right.
type Forge = fn(&mut Vec<Vec<u8>>);

/// What of a log of 3 signed records and 2 more is no part of it: from which record on, how many, and why.
type Taken = (u64, u64, Unauthenticated);

/// The items of such a log are: header, seal, (frame, seal) 3 times, seal, (frame, seal) twice.
const FORGERIES: [(&str, Forge, Taken); 10] = [
    ("a record", |items| items.push(numbered(&items[2], 5)), (5, 1, Unauthenticated::NoSeal)),
    (
        "two records, one of them with a seal",
        |items| items.extend([numbered(&items[2], 5), numbered(&items[12], 6), numbered(&items[4], 6)]),
        (5, 2, Unauthenticated::Seal),
    ),
    ("a seal", |items| items.push(items[12].clone()), (5, 0, Unauthenticated::Seal)),
    ("the last record altered", |items| altered(&mut items[11], 40, b'~'), (4, 1, Unauthenticated::Seal)),
    ("a record before it altered", |items| altered(&mut items[9], 40, b'~'), (3, 2, Unauthenticated::Seal)),
    (
        "a record removed",
        |items| {
            items.drain(9..11);
            (items[9], items[10]) = (numbered(&items[9], 3), numbered(&items[10], 4));
        },
        (3, 1, Unauthenticated::Seal),
    ),
    ("a seal removed", |items| drop(items.remove(10)), (3, 2, Unauthenticated::Seal)),
    ("less is said to be signed for", |items| altered(&mut items[12], 16, 1), (4, 1, Unauthenticated::Seal)),
    ("other times", |items| altered(&mut items[12], 24, 0), (4, 1, Unauthenticated::Seal)),
    ("an earlier seal", |items| items[12] = numbered(&items[10], 5), (4, 1, Unauthenticated::Seal)),
];

fn found(dir: &Path) -> Vec<u64> {
    let hits = search(dir, &Query::default()).expect("searched");
    hits.map_while(Result::ok).map(|hit| hit.index).collect()
}

#[tokio::test]
async fn what_is_put_at_the_end_without_the_key_is_told_and_never_signed_for() {
    let origin = tempfile::tempdir().expect("a directory");
    killed(origin.path(), 3, 2).await;
    assert!(report(origin.path()).intact());
    let whole = items(&std::fs::read(&segments(origin.path())[0]).expect("read"));
    for (what, forge, (from, records, why)) in FORGERIES {
        let dir = tempfile::tempdir().expect("a directory");
        copy(origin.path(), dir.path());
        let mut items = whole.clone();
        forge(&mut items);
        let forged = items.concat();
        let path = segments(dir.path()).remove(0);
        std::fs::write(&path, &forged).expect("written");
        let before = report(dir.path());
        let [Finding::Unauthenticated { index, offset, why: found_why, .. }] = before.findings[..] else {
            panic!("{what}: {before:?}")
        };
        assert_eq!((index, found_why, before.records), (from, why, from), "{what}");
        if why == Unauthenticated::NoSeal {
            assert_eq!(found(dir.path()), (0..from).collect::<Vec<_>>(), "{what}");
        }

        let ledger = Ledger::open(config(dir.path())).expect("opened");
        let [taken] = ledger.set_aside() else { panic!("{what}: {:?}", ledger.set_aside()) };
        assert_eq!((taken.from, taken.records, taken.why), (from, records, why), "{what}");
        let kept = std::fs::read(&taken.paths[0]).expect("read");
        assert_eq!(kept, forged[usize::try_from(offset).expect("small")..], "{what}");
        assert_eq!(ledger.record(&refusal("next")).await, Ok(from));
        ledger.close().await;
        assert_whole(dir.path(), from + 1);
        let notes = report(dir.path()).notes;
        assert!(notes.contains(&Note::SetAside { path: taken.paths[0].clone() }), "{what}: {notes:?}");
    }
}

/// Whoever has no key can tell what has no seal, and says that seals were not checked.
#[tokio::test]
async fn a_verifier_without_the_private_key_says_what_it_did_not_check() {
    for (what, forge, (_, _, why)) in FORGERIES {
        let dir = tempfile::tempdir().expect("a directory");
        killed(dir.path(), 3, 2).await;
        let path = segments(dir.path()).remove(0);
        let mut items = items(&std::fs::read(&path).expect("read"));
        forge(&mut items);
        std::fs::write(&path, items.concat()).expect("written");
        std::fs::remove_file(dir.path().join("keys/checkpoint.key")).expect("removed");
        let report = report(dir.path());
        let unchecked = report.notes.iter().any(|note| matches!(note, Note::Unchecked { from: 3, .. }));
        assert_eq!(unchecked, report.records > 3, "{what}: {report:?}");
        let two = what.starts_with("two");
        assert_eq!(report.intact(), why == Unauthenticated::Seal && !two, "{what}: {report:?}");
    }
}

/// A segment of this version, without or with a seal that nobody made with the key, and one of the version before.
#[tokio::test]
async fn a_segment_that_is_put_behind_the_last_is_set_aside_as_a_whole() {
    for (seal, version, why) in [
        (false, 2, Unauthenticated::NoSeal),
        (true, 2, Unauthenticated::Seal),
        (false, 1, Unauthenticated::OlderForm),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        killed(dir.path(), 3, 2).await;
        let items = items(&std::fs::read(&segments(dir.path())[0]).expect("read"));
        let mut header = items[0].clone();
        (header[7], header[8]) = (version, 5);
        let checksum = crc32c::crc32c(&header[..20]).to_le_bytes();
        header[20..].copy_from_slice(&checksum);
        let seal = if seal { numbered(&items[1], 5) } else { Vec::new() };
        let forged = [header, seal, numbered(&items[2], 5)].concat();
        let path = dir.path().join("segments/00000000000000000005.log");
        std::fs::write(&path, &forged).expect("written");
        let before = report(dir.path());
        assert!(
            matches!(before.findings[..], [Finding::Unauthenticated { index: 5, why: found, .. }] if found == why),
            "{before:?}"
        );
        let ledger = Ledger::open(config(dir.path())).expect("opened");
        let [taken] = ledger.set_aside() else { panic!("{:?}", ledger.set_aside()) };
        assert_eq!((taken.from, taken.records), (5, 1));
        assert_eq!(std::fs::read(&taken.paths[0]).expect("read"), forged);
        drop(ledger);
        assert!(!path.exists());
        grow(config(dir.path()), 1).await;
        assert_whole(dir.path(), 6);
    }
}

/// The first segment, cut behind its header: nothing of the log is in it.
#[tokio::test]
async fn a_first_segment_without_its_seal_is_made_again() {
    let dir = tempfile::tempdir().expect("a directory");
    grow(config(dir.path()), 0).await;
    let path = segments(dir.path()).remove(0);
    let bytes = std::fs::read(&path).expect("read");
    std::fs::write(&path, &bytes[..24]).expect("written");
    assert!(!report(dir.path()).intact());
    let ledger = Ledger::open(config(dir.path())).expect("opened");
    assert_eq!(ledger.set_aside().len(), 1);
    drop(ledger);
    grow(config(dir.path()), 2).await;
    assert_whole(dir.path(), 2);
}

/// Segments behind the one where it begins are set aside with it.
#[tokio::test]
async fn all_that_comes_after_is_set_aside_with_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let small = Config { segment_bytes: 600, ..config(dir.path()) };
    grow(small.clone(), 0).await;
    let kept = ["checkpoint", "checkpoints"].map(|name| std::fs::read(dir.path().join(name)).expect("read"));
    grow(small.clone(), 8).await;
    crate::support::unsign(dir.path());
    for (name, bytes) in ["checkpoint", "checkpoints"].iter().zip(kept) {
        std::fs::write(dir.path().join(name), bytes).expect("written");
    }
    let paths = segments(dir.path());
    let mut second = items(&std::fs::read(&paths[1]).expect("read"));
    altered(&mut second[4], 40, b'~');
    std::fs::write(&paths[1], second.concat()).expect("written");
    let first: u64 = paths[1].file_stem().and_then(|stem| stem.to_str()?.parse().ok()).expect("a number");
    let ledger = Ledger::open(small.clone()).expect("opened");
    let [taken] = ledger.set_aside() else { panic!("{:?}", ledger.set_aside()) };
    assert_eq!((taken.from, taken.records), (first + 1, 8 - first - 1));
    assert_eq!(taken.paths.len(), paths.len() - 1);
    assert_eq!(ledger.size(), first + 1);
    drop(ledger);
    grow(small, 5).await;
    assert_whole(dir.path(), first + 6);
}

/// Also where everything is signed for, and by who has no key: a segment ends with a seal before the next begins.
#[tokio::test]
async fn a_segment_in_the_midst_that_ends_without_a_seal_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = Config { segment_bytes: 600, check_all_on_open: true, ..config(dir.path()) };
    grow(config.clone(), 8).await;
    assert_whole(dir.path(), 8);
    let path = segments(dir.path()).remove(1);
    let mut items = items(&std::fs::read(&path).expect("read"));
    assert!(items.pop().expect("an item").starts_with(b"SEAL"));
    std::fs::write(&path, items.concat()).expect("written");
    let findings = report(dir.path()).findings;
    let no_seal =
        |finding: &Finding| matches!(finding, Finding::Unauthenticated { why: Unauthenticated::NoSeal, .. });
    assert!(findings.iter().any(no_seal), "{findings:?}");
    assert!(matches!(Ledger::open(config), Err(OpenError::Segment(_))), "it is under a checkpoint");
}

/// While it is written as well: what is signed for a second later is what was written, or the log ends.
#[tokio::test]
async fn a_record_that_is_altered_before_it_is_signed_for_is_not_signed_for() {
    type Alter = fn(&Path, &[u8]);
    let in_place: Alter = |path, bytes| {
        let mut items = items(bytes);
        let at = items.len() - 2;
        altered(&mut items[at], 40, b'~');
        std::fs::write(path, items.concat()).expect("written");
    };
    let behind: Alter = |path, bytes| {
        let items = items(bytes);
        let forged = numbered(&items[2], (items.len() as u64 - 2) / 2);
        std::fs::write(path, [bytes, &forged].concat()).expect("written");
    };
    for (what, alter) in [("altered", in_place), ("put behind the last", behind)] {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = Ledger::open(config(dir.path())).expect("opened");
        for _ in 0..3 {
            ledger.record(&refusal("x")).await.expect("recorded");
        }
        let path = segments(dir.path()).remove(0);
        alter(&path, &std::fs::read(&path).expect("read"));
        ledger.record(&refusal("next")).await.expect("recorded");
        ledger.close().await;
        assert!(ledger.failure().is_some(), "{what}");
        assert_eq!(ledger.watermark().signed, 0, "{what}");
        let report = report(dir.path());
        assert!(!report.intact() && report.confirmed == 0, "{what}: {report:?}");
    }
}

/// So many lines of a text, behind some.
fn lines(text: &str, behind: usize, count: usize) -> String {
    text.split_inclusive('\n').skip(behind).take(count).collect()
}

/// A checkpoint has 5 lines, with a blank one before its signature, and another one after it in the history.
#[tokio::test]
async fn a_log_that_was_signed_and_is_no_longer_is_not_intact() {
    type Alter = fn(&Path);
    fn put(dir: &Path, checkpoint: usize, history: usize) {
        let all = std::fs::read_to_string(dir.join("checkpoints")).expect("read");
        std::fs::write(dir.join("checkpoint"), lines(&all, 6 * checkpoint, 5)).expect("written");
        std::fs::write(dir.join("checkpoints"), lines(&all, 0, 6 * history)).expect("written");
    }
    let cases: [(&str, Alter, &str); 7] = [
        (
            "no history",
            |dir| std::fs::remove_file(dir.join("checkpoints")).expect("removed"),
            "checkpoints is missing",
        ),
        (
            "an empty history",
            |dir| std::fs::write(dir.join("checkpoints"), "").expect("written"),
            "is missing",
        ),
        (
            "neither",
            |dir| {
                for name in ["checkpoint", "checkpoints"] {
                    std::fs::remove_file(dir.join(name)).expect("removed");
                }
            },
            "checkpoint is missing",
        ),
        ("the first in both", |dir| put(dir, 0, 1), "rolled back"),
        ("the one before in both", |dir| put(dir, 1, 2), "rolled back"),
        ("the last is not in the history", |dir| put(dir, 2, 2), "taken from the end of the history"),
        ("only the first is in the history", |dir| put(dir, 2, 1), "taken from the end of the history"),
    ];
    for (what, alter, story) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        grow(config(dir.path()), 3).await;
        grow(config(dir.path()), 3).await;
        assert_whole(dir.path(), 6);
        alter(dir.path());
        let findings = report(dir.path()).findings;
        assert!(findings.iter().any(|finding| finding.to_string().contains(story)), "{what}: {findings:?}");
        let error = Ledger::open(config(dir.path())).map(drop).expect_err("refused").to_string();
        assert!(error.contains(story), "{what}: {error}");
    }
    // What a start does not read, a verifier does.
    let dir = tempfile::tempdir().expect("a directory");
    grow(config(dir.path()), 3).await;
    grow(config(dir.path()), 3).await;
    let all = std::fs::read_to_string(dir.path().join("checkpoints")).expect("read");
    std::fs::write(dir.path().join("checkpoints"), lines(&all, 6, usize::MAX)).expect("written");
    let findings = report(dir.path()).findings;
    assert!(findings[0].to_string().contains("begins with a checkpoint of 3"), "{findings:?}");
}

/// Also of a log that nobody writes to any more: with the first checkpoint back, all its records would be unsigned ones.
#[tokio::test]
async fn that_a_checkpoint_was_issued_stands_in_the_log_before_the_next_record() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = Config { checkpoint_interval: Duration::from_millis(1), ..config(dir.path()) };
    let ledger = Ledger::open(config).expect("opened");
    ledger.record(&refusal("x")).await.expect("recorded");
    let path = segments(dir.path()).remove(0);
    let begun = std::time::Instant::now();
    loop {
        let items = items(&std::fs::read(&path).expect("read"));
        let last = items.last().expect("an item");
        if last.starts_with(b"SEAL") && last[16] == 1 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing says that a checkpoint was issued");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(ledger.watermark().signed, 1);
    assert!(report(dir.path()).intact());
    ledger.close().await;
    drop(ledger);
    // A process that was killed before it could say so: the next one does, before anything else.
    let mut left = items(&std::fs::read(&path).expect("read"));
    left.truncate(4);
    std::fs::write(&path, left.concat()).expect("written");
    let ledger = Ledger::open(self::config(dir.path())).expect("opened");
    assert_eq!(items(&std::fs::read(&path).expect("read")).last().expect("a seal")[16], 1);
    drop(ledger);
}

/// Of the version before, which sealed nothing, what is signed for is the log's.
#[tokio::test]
async fn a_log_of_the_version_before_goes_on_in_a_segment_of_this_one() {
    for (signed, more) in [(0, 0), (3, 0), (300, 0), (0, 2), (3, 2)] {
        let dir = tempfile::tempdir().expect("a directory");
        let config = Config { segment_bytes: 20_000, ..config(dir.path()) };
        if more == 0 {
            grow(config.clone(), signed).await;
        } else {
            killed(dir.path(), signed, more).await;
        }
        as_version_1(dir.path());
        let before = report(dir.path());
        assert!(before.intact(), "{before:?}");
        assert_eq!((before.records, before.confirmed), (signed, signed));
        let unsealed =
            before.notes.iter().any(|note| matches!(note, Note::Unsealed { index, .. } if *index == signed));
        assert_eq!(unsealed, more > 0, "{before:?}");
        let ledger = Ledger::open(config.clone()).expect("opened");
        let taken: Vec<_> =
            ledger.set_aside().iter().map(|taken| (taken.from, taken.records, taken.why)).collect();
        let expected = [(signed, more, Unauthenticated::Unsealed)];
        assert_eq!(taken, if more > 0 { &expected[..] } else { &[] });
        assert_eq!(ledger.record(&refusal("next")).await, Ok(signed));
        ledger.close().await;
        assert_whole(dir.path(), signed + 1);
        grow(config, 2).await;
        assert_whole(dir.path(), signed + 3);
        assert_eq!(found(dir.path()), (0..signed + 3).collect::<Vec<_>>());
        let versions: Vec<u8> =
            segments(dir.path()).iter().map(|path| std::fs::read(path).expect("read")[7]).collect();
        assert_eq!(versions.last(), Some(&2));
        assert!(versions.is_sorted());
    }
}

/// A whole directory of an earlier time is consistent in itself: only somebody who saw more can tell.
#[tokio::test]
async fn a_whole_earlier_copy_is_told_only_by_who_saw_more() {
    let (dir, old) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    grow(config(dir.path()), 3).await;
    copy(dir.path(), old.path());
    grow(config(dir.path()), 3).await;
    let newer = std::fs::read_to_string(dir.path().join("checkpoint")).expect("read");
    assert!(report(old.path()).intact(), "the limit of what a log can say of itself");
    let options = Options { trusted: vec![newer], ..Options::default() };
    assert!(!verify(old.path(), &options).expect("verified").intact());
}
