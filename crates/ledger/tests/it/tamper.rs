//! Whoever alters a log is noticed, whatever they alter.

use std::path::Path;

use proptest::prelude::*;
use vidimus_ledger::{
    Config, Finding, Options, Report, Source, VerifyError, fsck_with_progress, verify, verify_with_progress,
};

use crate::support::{SEAL, assert_whole, config, copy, files, grow, items, report, segments, summed};

/// Files that vouch for the log: all but the private key, which a verifier does not read, the empty lock, and the hint for proofs.
fn vouching(dir: &Path) -> Vec<std::path::PathBuf> {
    let skipped = [dir.join("keys/checkpoint.key"), dir.join("lock"), dir.join("partial")];
    files(dir).into_iter().filter(|path| !skipped.contains(path)).collect()
}

#[tokio::test]
async fn a_verification_tells_how_far_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    grow(config(dir.path()), 7).await;
    let mut told = Vec::new();
    let seen = verify_with_progress(dir.path(), &Options::default(), &mut |read, all| told.push((read, all)));
    assert!(seen.expect("verified").intact());
    assert_eq!(told, [(0, 7), (7, 7)]);
    told.clear();
    fsck_with_progress(dir.path(), false, &mut |read, all| told.push((read, all))).expect("looked at");
    assert_eq!(told, [(0, 7), (7, 7)]);
}

#[tokio::test]
async fn every_flipped_byte_of_a_small_log_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = Config { segment_bytes: 600, ..config(dir.path()) };
    for _ in 0..3 {
        grow(config.clone(), 2).await;
    }
    let mut flips = 0;
    for path in vouching(dir.path()) {
        let bytes = std::fs::read(&path).expect("read");
        for at in 0..bytes.len() {
            for change in [0x01, 0x20, 0xff] {
                let mut altered = bytes.clone();
                altered[at] ^= change;
                std::fs::write(&path, &altered).expect("written");
                let report = report(dir.path());
                assert!(!report.intact(), "{} byte {at} ^ {change:#x}: {report:?}", path.display());
                flips += 1;
            }
        }
        for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).expect("written");
            let report = report(dir.path());
            // Of the log's very end, a crash may have left a part: it says for a second time what is signed for.
            let end = segments(dir.path()).last() == Some(&path) && length + 1 == bytes.len();
            assert_eq!(report.intact(), end, "{} cut to {length}: {report:?}", path.display());
        }
        std::fs::write(&path, &bytes).expect("written");
    }
    assert!(flips > 5000, "{flips}");
    assert_whole(dir.path(), 6);
}

/// A log large enough to have tiles of two levels would take too long byte by byte; one with full tiles is taken at random.
#[test]
fn flipped_bytes_of_a_larger_log_are_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let config = Config { segment_bytes: 60_000, ..config(dir.path()) };
    runtime.block_on(grow(config, 600));
    let paths = vouching(dir.path());
    assert!(paths.iter().any(|path| path.ends_with("tile/0/001")), "{paths:?}");
    proptest!(ProptestConfig::with_cases(300), |(path: prop::sample::Index, at: prop::sample::Index, change in 1u8..)| {
        let path = path.get(&paths);
        let bytes = std::fs::read(path).expect("read");
        let at = at.index(bytes.len());
        let mut altered = bytes.clone();
        altered[at] ^= change;
        std::fs::write(path, &altered).expect("written");
        let report = report(dir.path());
        std::fs::write(path, &bytes).expect("written");
        prop_assert!(!report.intact(), "{} byte {}", path.display(), at);
    });
    assert_whole(dir.path(), 600);
}

/// The records of a segment, each with its seal; what comes before them first.
fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let items = items(bytes);
    let mut frames = vec![items[..2].concat()];
    for item in &items[2..] {
        match frames.last_mut() {
            Some(last) if item.starts_with(b"SEAL") => last.extend_from_slice(item),
            _ => frames.push(item.clone()),
        }
    }
    frames
}

/// A record with another sequence number, so has its seal, and right checksums: the work of somebody who knows the format.
fn renumbered(frame: &[u8], sequence: u64) -> Vec<u8> {
    let length = 20 + usize::from(frame[0]) + 256 * usize::from(frame[1]);
    let (frame, seal) = frame.split_at(if frame.starts_with(b"SEAL") { 0 } else { length });
    let (mut frame, mut seal) = (frame.to_vec(), seal.to_vec());
    if !frame.is_empty() {
        frame[8..16].copy_from_slice(&sequence.to_le_bytes());
        frame[16..20].fill(0);
        summed(&mut frame);
    }
    for seal in seal.chunks_mut(SEAL) {
        seal[8..16].copy_from_slice(&(sequence + u64::from(!frame.is_empty())).to_le_bytes());
        summed(seal);
    }
    [frame, seal].concat()
}

#[tokio::test]
async fn records_cannot_be_removed_reordered_repeated_or_replaced() {
    let origin = tempfile::tempdir().expect("a directory");
    grow(config(origin.path()), 300).await;
    let whole = frames(&std::fs::read(&segments(origin.path())[0]).expect("read"));
    type Alter = fn(&mut Vec<Vec<u8>>);
    let cases: [(&str, Alter); 8] = [
        ("removed", |frames| drop(frames.remove(7))),
        ("removed, first", |frames| drop(frames.remove(1))),
        ("removed, last", |frames| drop(frames.pop())),
        ("removed, all", |frames| frames.truncate(1)),
        ("reordered", |frames| frames.swap(7, 8)),
        ("repeated", |frames| frames.insert(8, frames[7].clone())),
        ("added", |frames| frames.push(renumbered(&frames[1], 300))),
        ("replaced", |frames| frames[7] = renumbered(&frames[8], 6)),
    ];
    for (what, alter) in cases {
        for skilled in [false, true] {
            let mut frames = whole.clone();
            alter(&mut frames);
            if skilled {
                for (frame, index) in frames.iter_mut().skip(1).zip(0..) {
                    *frame = renumbered(frame, index);
                }
            }
            let dir = tempfile::tempdir().expect("a directory");
            copy(origin.path(), dir.path());
            std::fs::write(&segments(dir.path())[0], frames.concat()).expect("written");
            let report = report(dir.path());
            assert!(!report.intact(), "{what}: {report:?}");
            assert!(report.records <= 300, "{what}: it is no record of the log");
        }
    }
}

#[tokio::test]
async fn the_first_altered_record_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    grow(config(dir.path()), 300).await;
    let path = &segments(dir.path())[0];
    let mut frames = frames(&std::fs::read(path).expect("read"));
    frames[134] = renumbered(&frames[135], 133);
    std::fs::write(path, frames.concat()).expect("written");
    let findings = report(dir.path()).findings;
    assert!(
        findings.contains(&Finding::Altered { size: 300, intact: 0, by: Source::Checkpoint }),
        "{findings:?}"
    );
    assert!(
        findings.iter().any(|finding| matches!(finding, Finding::Tile { record: Some(133), .. })),
        "{findings:?}"
    );
}

#[tokio::test]
async fn a_report_has_the_checkpoint_as_it_stands_in_its_file() {
    let dir = tempfile::tempdir().expect("a directory");
    grow(config(dir.path()), 3).await;
    let note = std::fs::read_to_string(dir.path().join("checkpoint")).expect("read");
    let checkpoint = report(dir.path()).checkpoint.expect("a checkpoint");
    assert_eq!(note.lines().skip(1).take(2).collect::<Vec<_>>(), ["3", &checkpoint.root]);
}

fn verified(dir: &Path, memory: &Path) -> Report {
    verify(dir, &Options { memory: Some(memory.to_owned()), ..Options::default() }).expect("verified")
}

#[tokio::test]
async fn a_checkpoint_that_was_put_back_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    grow(config(dir.path()), 3).await;
    let old = std::fs::read(dir.path().join("checkpoint")).expect("read");
    grow(config(dir.path()), 3).await;
    std::fs::write(dir.path().join("checkpoint"), old).expect("written");
    let findings = report(dir.path()).findings;
    assert_eq!(findings, [Finding::RolledBack { size: 3, issued: 6 }]);
}

#[tokio::test]
async fn a_log_that_was_rolled_back_as_a_whole_is_noticed_by_who_saw_more_of_it() {
    let (dir, old, memory) = (tempfile::tempdir(), tempfile::tempdir(), tempfile::tempdir());
    let (dir, old, memory) = (dir.expect("dir"), old.expect("dir"), memory.expect("dir"));
    grow(config(dir.path()), 3).await;
    copy(dir.path(), &old.path().join("log"));
    let old = old.path().join("log");
    grow(config(dir.path()), 3).await;
    let newer = std::fs::read_to_string(dir.path().join("checkpoint")).expect("read");
    let older = std::fs::read_to_string(old.join("checkpoint")).expect("read");

    // By memory: the first look remembers; the rolled back log is then not the one that was seen.
    assert!(verified(&old, memory.path()).intact());
    assert!(verified(dir.path(), memory.path()).intact());
    let findings = verified(&old, memory.path()).findings;
    assert_eq!(findings[0], Finding::RolledBack { size: 3, issued: 6 });
    assert_eq!(findings[1], Finding::Shorter { records: 3, signed: 6, by: Source::Remembered });
    // What is wrong is not remembered.
    assert!(verified(dir.path(), memory.path()).intact());

    // By a checkpoint kept elsewhere.
    let given = |dir: &Path, note: &str| {
        verify(dir, &Options { trusted: vec![note.to_owned()], ..Options::default() }).expect("verified")
    };
    assert!(given(dir.path(), &older).intact());
    assert!(!given(&old, &newer).intact());
    assert!(matches!(given(&old, "x").findings[..], [Finding::Trusted { by: Source::Given, .. }]));

    // Grown differently since: two logs under one key.
    grow(config(&old), 2).await;
    grow(config(&old), 4).await;
    assert!(report(&old).intact());
    let forked = tempfile::tempdir().expect("dir");
    copy(dir.path(), forked.path());
    assert!(given(forked.path(), &newer).intact());
}

#[tokio::test]
async fn a_fork_under_the_same_key_is_noticed() {
    let (one, two) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    grow(config(one.path()), 3).await;
    copy(one.path(), two.path());
    let ledger = vidimus_ledger::Ledger::open(config(two.path())).expect("opened");
    ledger.record(&crate::support::refusal("other")).await.expect("recorded");
    ledger.close().await;
    grow(config(one.path()), 1).await;
    let note = std::fs::read_to_string(two.path().join("checkpoint")).expect("read");
    let options = Options { trusted: vec![note], ..Options::default() };
    let findings = verify(one.path(), &options).expect("verified").findings;
    assert!(matches!(findings[..], [Finding::Altered { size: 4, .. }]), "{findings:?}");
}

/// What the verifier has of its own says nothing of the log when it cannot be read.
#[tokio::test]
async fn a_memory_that_cannot_be_read_is_no_finding() {
    let (dir, memory) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    grow(config(dir.path()), 3).await;
    let with = |memory: &Path| {
        verify(dir.path(), &Options { memory: Some(memory.to_owned()), ..Options::default() })
    };
    assert!(with(memory.path()).expect("verified").intact());
    let remembered = files(memory.path());
    for (number, path) in remembered.iter().enumerate() {
        let good = std::fs::read_to_string(path).expect("read");
        let key = good.lines().next().expect("a line");
        for bad in [String::new(), "hello\n".to_owned(), key.to_owned(), good.replace("+", "x")] {
            std::fs::write(path, &bad).expect("written");
            assert!(matches!(with(memory.path()), Err(VerifyError::Memory(_))), "{number}: {bad:?}");
        }
        std::fs::write(path, &good).expect("written");
    }
    assert!(with(memory.path()).expect("verified").intact());
    assert!(matches!(with(&remembered[0]), Err(VerifyError::Memory(_))), "a file is no directory");
}

/// What is remembered is never older than what was verified, and never held against an older look at a log that grows.
#[test]
fn several_verifiers_at_once_share_one_memory() {
    const VERIFIERS: usize = 4;
    let (dir, memory) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let config = Config { checkpoint_interval: std::time::Duration::from_millis(1), ..config(dir.path()) };
    let ledger = vidimus_ledger::Ledger::open(config).expect("opened");
    let remembered = || {
        let files = files(memory.path()).into_iter().filter_map(|path| std::fs::read_to_string(path).ok());
        let mut sizes = files.filter_map(|text| text.lines().nth(2)?.parse::<u64>().ok());
        sizes.next().unwrap_or(0)
    };
    let working = std::sync::atomic::AtomicUsize::new(VERIFIERS);
    std::thread::scope(|scope| {
        for _ in 0..VERIFIERS {
            scope.spawn(|| {
                let looks = std::panic::catch_unwind(|| {
                    for look in 0..40 {
                        let before = remembered();
                        let report = verified(dir.path(), memory.path());
                        assert!(report.intact(), "look {look}: {:?}", report.findings);
                        let size = report.checkpoint.expect("a checkpoint").size;
                        assert!(remembered() >= before.max(size), "the memory of another look is lost");
                    }
                });
                working.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
                looks.expect("no false alarm");
            });
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        while working.load(std::sync::atomic::Ordering::Relaxed) > 0 {
            if ledger.size() < 2000 {
                runtime.block_on(ledger.record(&crate::support::refusal("x"))).expect("recorded");
            }
            std::thread::yield_now();
        }
    });
    drop(ledger);
    assert!(verified(dir.path(), memory.path()).intact());
    let unfinished = files(memory.path()).into_iter().filter(|path| path.extension().is_some());
    assert_eq!(unfinished.count(), 0);
}

#[tokio::test]
async fn a_log_under_another_key_is_noticed() {
    let (dir, other, memory) = (tempfile::tempdir(), tempfile::tempdir(), tempfile::tempdir());
    let (dir, other, memory) = (dir.expect("dir"), other.expect("dir"), memory.expect("dir"));
    let right = grow(config(dir.path()), 3).await;
    grow(config(other.path()), 3).await;
    let options = Options { key: right.public_key().parse().ok(), ..Options::default() };
    assert!(verify(dir.path(), &options).expect("verified").intact());
    let findings = verify(other.path(), &options).expect("verified").findings;
    assert!(matches!(findings[0], Finding::WrongKey { .. }), "{findings:?}");
    assert!(matches!(findings[1], Finding::Checkpoint { .. }), "not signed by the right key: {findings:?}");
    assert!(verified(dir.path(), memory.path()).intact());
    assert!(matches!(verified(other.path(), memory.path()).findings[0], Finding::Rekeyed { .. }));
}

/// Puts a whole new log, with its own name and key, where `dir` is.
async fn replaced(dir: &Path, count: u64) -> String {
    std::fs::remove_dir_all(dir).expect("removed");
    let origin = Some("other.example/log".to_owned());
    grow(Config { origin, ..config(dir) }, count).await.public_key()
}

#[tokio::test]
async fn another_log_in_the_same_place_is_noticed_until_it_is_accepted() {
    let (root, memory) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let dir = root.path().join("ledger");
    let first = grow(config(&dir), 3).await.public_key();
    assert!(verified(&dir, memory.path()).intact());
    let second = replaced(&dir, 5).await;

    let remembering = |key: Option<&str>, accept_new| {
        let key = key.map(|key| key.parse().expect("a key"));
        let memory = Some(memory.path().to_owned());
        verify(&dir, &Options { key, memory, accept_new, ..Options::default() }).expect("verified")
    };
    // The right key of the new log says nothing about whether it may be in this place.
    for key in [None, Some(second.as_str())] {
        let findings = remembering(key, false).findings;
        let path = dir.canonicalize().expect("a path");
        let (expected, found) = (first.clone(), second.clone());
        assert_eq!(findings, [Finding::Replaced { path, expected, found }]);
        assert!(findings[0].to_string().contains("--accept-new-log"), "{}", findings[0]);
    }
    let accepted = remembering(None, true);
    assert!(accepted.intact() && accepted.notes.iter().any(|note| note.to_string().contains("accepted")));
    assert!(remembering(None, false).intact(), "accepted once, it is the one that is known");
}

#[tokio::test]
async fn a_link_that_leads_to_another_log_is_noticed_and_a_moved_log_is_not_held_against_it() {
    let (root, memory) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let at = |name: &str| root.path().join(name);
    grow(config(&at("one")), 3).await;
    grow(Config { origin: Some("other.example/log".to_owned()), ..config(&at("two")) }, 3).await;
    std::os::unix::fs::symlink(at("one"), at("link")).expect("linked");
    assert!(verified(&at("link"), memory.path()).intact());
    std::fs::remove_file(at("link")).expect("removed");
    std::os::unix::fs::symlink(at("two"), at("link")).expect("linked");
    let findings = verified(&at("link"), memory.path()).findings;
    assert!(matches!(findings[..], [Finding::Replaced { .. }]), "{findings:?}");

    std::fs::rename(at("one"), at("moved")).expect("renamed");
    assert!(verified(&at("moved"), memory.path()).intact());
}

#[tokio::test]
async fn a_damaged_log_is_not_accepted_as_a_new_one() {
    let (root, memory) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let dir = root.path().join("ledger");
    grow(config(&dir), 3).await;
    assert!(verified(&dir, memory.path()).intact());
    replaced(&dir, 3).await;
    let path = segments(&dir).remove(0);
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[60] ^= 1;
    std::fs::write(&path, &bytes).expect("written");
    let options = Options { memory: Some(memory.path().to_owned()), accept_new: true, ..Options::default() };
    assert!(!verify(&dir, &options).expect("verified").intact());
    bytes[60] ^= 1;
    std::fs::write(&path, &bytes).expect("written");
    let findings = verified(&dir, memory.path()).findings;
    assert!(matches!(findings[..], [Finding::Replaced { .. }]), "{findings:?}");
}

#[tokio::test]
async fn a_verifier_changes_nothing_in_the_log() {
    let (dir, memory) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    grow(config(dir.path()), 300).await;
    let all = || files(dir.path()).iter().map(|path| std::fs::read(path).expect("read")).collect::<Vec<_>>();
    let before = all();
    assert!(verified(dir.path(), memory.path()).intact());
    assert_eq!(all(), before);
    assert_eq!(files(memory.path()).len(), 2, "its checkpoint, and that it is here");
    assert!(verify(memory.path(), &Options::default()).is_err(), "not a ledger");
}
