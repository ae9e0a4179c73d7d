//! One key of a log follows another.

use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use vidimus_ledger::{
    Checkpoint, CheckpointError, Config, Ledger, Note, OpenError, Options, Prover, Report, SignedCheckpoint,
    VerifierKey, known_key, verify,
};

use crate::support::{Asked, BY, assert_whole, config, copy, decide, grow, kept_long_enough, report};

fn small(dir: &Path) -> Config {
    Config { segment_bytes: 20_000, checkpoint_interval: Duration::from_millis(5), ..config(dir) }
}

/// Lets a key follow; the former one, alone.
async fn rotate(dir: &Path, until: &str) -> VerifierKey {
    let ledger = Ledger::open(small(dir)).expect("opened");
    let former = ledger.public_key();
    let until: Timestamp = until.parse().expect("a time");
    let next = ledger.rotate_key(until, &BY).expect("rotated");
    ledger.close().await;
    assert_ne!(next, former);
    former.parse().expect("a key")
}

fn note(dir: &Path) -> String {
    fs::read_to_string(dir.join("checkpoint")).expect("read")
}

fn known_as(dir: &Path, key: &VerifierKey, trusted: &[&String]) -> Report {
    let trusted = trusted.iter().map(|note| (*note).clone()).collect();
    verify(dir, &Options { key: Some(key.clone()), trusted, ..Options::default() }).expect("verified")
}

#[tokio::test]
async fn a_key_follows_another_and_both_sign_for_a_while() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    grow(small(dir), 700).await;
    let before = note(dir);
    let first = rotate(dir, "2999-01-01T00:00:00Z").await;
    assert_whole(dir, 701);
    grow(small(dir), 100).await;
    let overlap = note(dir);
    let second = known_key(dir).expect("a key");
    assert!(second.follows(&first) && !first.follows(&second));
    for key in [&first, &second] {
        SignedCheckpoint::open(overlap.as_bytes(), key).expect("signed by both");
        let report = known_as(dir, key, &[&before, &overlap]);
        assert!(report.intact(), "{:?}", report.findings);
        let told = report.notes.iter().any(|note| matches!(note, Note::Succeeded { .. }));
        assert_eq!((told, report.key), (*key == first, second.to_string()));
    }
    let mut prover = Prover::latest(dir).expect("a prover");
    assert!(prover.signed().others(prover.key()).is_empty(), "the former key is no witness");
    prover.consistency(&Checkpoint::unverified(&before).expect("a note")).expect("continued");
    // What is pruned, and another key once more, whose overlap is over.
    let ledger = Ledger::open(small(dir)).expect("opened");
    ledger.prune(&kept_long_enough(), &BY).expect("pruned").expect("some");
    ledger.end_overlap().expect("ended");
    ledger.close().await;
    rotate(dir, "2026-01-01T00:00:00Z").await;
    grow(small(dir), 50).await;
    assert!(!dir.join("keys/former.key").exists(), "it signs no more");
    let third = known_key(dir).expect("a key");
    assert!(third.follows(&second) && third.follows(&first));
    assert!(SignedCheckpoint::open(note(dir).as_bytes(), &second).is_err());
    for key in [&first, &second, &third] {
        let report = known_as(dir, key, &[&before, &overlap]);
        assert!(report.intact(), "{:?}", report.findings);
    }
    let text = third.with_former();
    assert_eq!(
        (text.lines().count(), text.parse::<VerifierKey>().expect("keys").with_former()),
        (3, text.clone())
    );
    assert!(format!("{text}\n").parse::<VerifierKey>().is_err());
}

/// Who knows the first key alone was told until when it signs: a second one that follows does not end that unsaid.
#[tokio::test]
async fn within_an_overlap_no_other_key_follows() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    grow(small(dir), 10).await;
    let first = rotate(dir, "2999-01-01T00:00:00Z").await;
    let second = known_key(dir).expect("a key");
    let until: Timestamp = "2999-02-01T00:00:00Z".parse().expect("a time");
    let ledger = Ledger::open(small(dir)).expect("opened");
    let refused = ledger.rotate_key(until, &BY).expect_err("refused");
    assert!(refused.to_string().contains("until 2999-01-01T00:00:00Z"), "{refused}");
    ledger.close().await;
    // The log goes on with both keys, and has no record of it.
    grow(small(dir), 1).await;
    assert_whole(dir, 12);
    SignedCheckpoint::open(note(dir).as_bytes(), &first).expect("signed by both");
    let ledger = Ledger::open(small(dir)).expect("opened");
    ledger.end_overlap().expect("ended");
    ledger.rotate_key(until, &BY).expect("rotated");
    ledger.close().await;
    grow(small(dir), 1).await;
    assert_whole(dir, 14);
    assert!(known_key(dir).expect("a key").follows(&second));
    assert!(SignedCheckpoint::open(note(dir).as_bytes(), &first).is_err());
    SignedCheckpoint::open(note(dir).as_bytes(), &second).expect("signed by both");
}

/// What a former key signs alone for more records than there were counts nothing: it may be anybody's by now.
#[tokio::test]
async fn of_a_former_key_nothing_counts_that_came_after_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    grow(small(dir), 10).await;
    let stolen = tempfile::tempdir().expect("a directory");
    copy(dir, stolen.path());
    rotate(dir, "2026-01-01T00:00:00Z").await;
    grow(small(dir), 5).await;
    let key = known_key(dir).expect("a key");
    // The same records, signed for by who had the key: no more of them than before count.
    grow(small(stolen.path()), 6).await;
    let forged = note(stolen.path());
    let refused = SignedCheckpoint::open(forged.as_bytes(), &key).expect_err("refused");
    assert_eq!(refused, CheckpointError::Former { size: 16, until: 11 });
    // That another key followed is not said by who has neither.
    let bent = tempfile::tempdir().expect("a directory");
    copy(dir, bent.path());
    fs::remove_dir_all(bent.path().join("keys/succession")).expect("removed");
    assert!(!report(bent.path()).intact(), "who signed the history is not known");
    let mine = stolen.path().join("keys/checkpoint.vkey");
    fs::write(mine, format!("{}\n", key.with_former())).expect("written");
    assert!(!report(stolen.path()).intact(), "a log says of no key that it is a former one");
}

/// Whoever finds a former key has not the past by it: the log goes on from what both keys signed for.
#[tokio::test]
async fn with_a_former_key_nobody_writes_the_past_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    grow(small(dir), 0).await;
    let forged: Vec<_> = [11, 5].map(|records| (records, tempfile::tempdir().expect("a directory"))).into();
    for (records, forged) in &forged {
        copy(dir, forged.path());
        let ledger = Ledger::open(small(forged.path())).expect("opened");
        for index in 0..*records {
            decide(&ledger, &Asked { id: format!("forged-{index}"), ..Asked::default() }).await;
        }
        ledger.close().await;
    }
    grow(small(dir), 10).await;
    rotate(dir, "2026-01-01T00:00:00Z").await;
    for (records, forged) in &forged {
        let forged = forged.path();
        fs::remove_dir_all(forged.join("keys")).expect("removed");
        fs::create_dir(forged.join("keys")).expect("made");
        copy(&dir.join("keys"), &forged.join("keys"));
        let checked = report(forged);
        assert!(!checked.intact(), "{records}: {:?}", checked.notes);
        let refused = Ledger::open(small(forged)).map(drop).expect_err("refused");
        let as_it_is = match refused {
            OpenError::Altered { size: 11 } => *records == 11,
            OpenError::RolledBack { size: 5, issued: 11 } => *records == 5,
            _ => false,
        };
        assert!(as_it_is, "{records}: {refused}");
    }
}

#[tokio::test]
async fn a_process_that_is_killed_meanwhile_leaves_a_log_that_opens() {
    let origin = tempfile::tempdir().expect("a directory");
    grow(small(origin.path()), 20).await;
    let before = tempfile::tempdir().expect("a directory");
    copy(origin.path(), before.path());
    rotate(origin.path(), "2999-01-01T00:00:00Z").await;
    // The last files that take their places, from the end.
    let order = ["keys/checkpoint.vkey", "keys/checkpoint.key", "checkpoint", "keys/former.key"];
    for undone in 1..=order.len() {
        let dir = tempfile::tempdir().expect("a directory");
        copy(origin.path(), dir.path());
        for name in &order[..undone] {
            match *name {
                // The record was signed for by the former key alone.
                "checkpoint" => {
                    let note = note(origin.path());
                    let (text, lines) = note.split_once("\n\n").expect("a note");
                    let former = lines.lines().nth(1).expect("two lines");
                    fs::write(dir.path().join(name), format!("{text}\n\n{former}\n")).expect("written");
                }
                "keys/former.key" => fs::remove_file(dir.path().join(name)).expect("removed"),
                name => {
                    fs::copy(before.path().join(name), dir.path().join(name)).expect("copied");
                }
            }
        }
        assert!(report(dir.path()).intact(), "{undone}: {:?}", report(dir.path()).findings);
        grow(small(dir.path()), 3).await;
        assert_whole(dir.path(), 24);
    }
}
