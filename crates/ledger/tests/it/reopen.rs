use std::fs::OpenOptions;
use std::io::Write as _;

use vidimus_ledger::{Config, Ledger, OpenError};

use crate::support::{
    assert_whole, config, copy, files, grow, items, killed, refusal, report, segments, summed, unsign,
};

fn refused(config: Config) -> OpenError {
    Ledger::open(config).map(drop).expect_err("refused")
}

fn append(path: &std::path::Path, bytes: &[u8]) {
    OpenOptions::new().append(true).open(path).and_then(|mut file| file.write_all(bytes)).expect("written");
}

#[tokio::test]
async fn every_size_around_the_edges_of_tiles_is_recovered() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = Config { segment_bytes: 40_000, ..config(dir.path()) };
    let mut size = 0;
    for more in [0, 1, 1, 253, 1, 1, 1, 254, 600, 0, 1] {
        grow(config.clone(), more).await;
        size += more;
        assert_whole(dir.path(), size);
    }
}

#[tokio::test]
async fn an_unfinished_write_is_cut_wherever_it_ends() {
    let origin = tempfile::tempdir().expect("a directory");
    killed(origin.path(), 3, 2).await;
    let last = std::fs::read(&segments(origin.path())[0]).expect("read");
    let cut_record = last.len() - 60;
    for (length, records) in [(cut_record, 4), (last.len() - 1, 4), (last.len(), 5)] {
        let dir = tempfile::tempdir().expect("a directory");
        copy(origin.path(), dir.path());
        std::fs::write(&segments(dir.path())[0], &last[..length]).expect("written");
        let before = report(dir.path());
        assert!(before.intact(), "{:?}", before.findings);
        let torn = before.notes.iter().any(|note| note.to_string().contains("unfinished write"));
        assert_eq!((before.records, before.confirmed, torn), (records, 3, length < last.len()), "{before:?}");

        let ledger = Ledger::open(config(dir.path())).expect("opened");
        let taken = ledger.cut_on_open() > 0 || ledger.set_aside().iter().any(|aside| aside.records == 1);
        assert_eq!((ledger.size(), taken), (records, torn));
        ledger.record(&refusal("next")).await.expect("recorded");
        ledger.close().await;
        assert_whole(dir.path(), records + 1);
    }
}

#[tokio::test]
async fn damage_is_refused_and_nothing_is_changed() {
    let origin = tempfile::tempdir().expect("a directory");
    killed(origin.path(), 300, 5).await;
    let segment = segments(origin.path()).remove(0);
    let bytes = std::fs::read(&segment).expect("read");
    let flipped = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        bytes
    };
    // In the last record, which no checkpoint covers; in one before it; under the checkpoint; in the header; too short.
    let cases = [
        ("last", flipped(bytes.len() - 2), "checksum"),
        ("before", flipped(bytes.len() - 400), "at byte"),
        ("signed", flipped(bytes.len() / 2), "at byte"),
        ("header", flipped(9), "header"),
        ("short", bytes[..bytes.len() / 2].to_vec(), "the file ends inside the frame"),
        ("zeros", [bytes[..bytes.len() / 2].to_vec(), vec![0; 100]].concat(), "at byte"),
    ];
    for (what, altered, story) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        copy(origin.path(), dir.path());
        std::fs::write(&segments(dir.path())[0], &altered).expect("written");
        let before: Vec<_> =
            files(dir.path()).iter().map(|path| std::fs::read(path).expect("read")).collect();
        let error = refused(config(dir.path())).to_string();
        assert!(error.contains(story) && error.contains("00000000000000000000.log"), "{what}: {error}");
        let after: Vec<_> = files(dir.path()).iter().map(|path| std::fs::read(path).expect("read")).collect();
        assert_eq!(before, after, "{what}");
        assert!(!report(dir.path()).intact(), "{what}");
    }
}

/// Of records that nothing is signed for yet, also with a write behind them that did not finish.
#[tokio::test]
async fn no_byte_of_an_acknowledged_record_can_change_unnoticed() {
    let dir = tempfile::tempdir().expect("a directory");
    killed(dir.path(), 3, 2).await;
    let segment = segments(dir.path()).remove(0);
    let bytes = std::fs::read(&segment).expect("read");
    let last = bytes.len() - items(&bytes).iter().rev().take(2).map(Vec::len).sum::<usize>();
    for tail in [&[][..], &bytes[72..78], &bytes[72..128]] {
        // The unfinished frame is that of the record which comes next.
        let mut tail = tail.to_vec();
        tail.iter_mut().skip(8).take(1).for_each(|byte| *byte = 5);
        for at in last..bytes.len() {
            for byte in [0, bytes[at] ^ 1, 0xff] {
                let mut altered = [bytes.clone(), tail.clone()].concat();
                altered[at] = byte;
                std::fs::write(&segment, &altered).expect("written");
                let intact = report(dir.path()).intact();
                assert_eq!(intact, byte == bytes[at], "byte {at} is {byte:#x}, {} follow", tail.len());
                if !intact && at % 16 == 0 || at + 1 == bytes.len() {
                    let error = refused(config(dir.path())).to_string();
                    assert!(error.contains("this is damage"), "{error}");
                    assert_eq!(std::fs::read(&segment).expect("read"), altered);
                }
            }
        }
        std::fs::write(&segment, [bytes.clone(), tail].concat()).expect("written");
        assert!(report(dir.path()).intact());
    }
    drop(Ledger::open(config(dir.path())).expect("opened"));
    assert_whole(dir.path(), 5);
}

#[tokio::test]
async fn what_does_not_fit_together_is_refused() {
    type Alter = fn(&std::path::Path);
    let cases: [(&str, Alter, &str); 12] = [
        (
            "no checkpoint",
            |dir| std::fs::remove_file(dir.join("checkpoint")).expect("removed"),
            "checkpoint is missing",
        ),
        (
            "no key",
            |dir| std::fs::remove_file(dir.join("keys/checkpoint.key")).expect("removed"),
            "is missing, but the log",
        ),
        ("no segments", |dir| std::fs::remove_file(&segments(dir)[0]).expect("removed"), "0 records"),
        (
            "another public key",
            |dir| append(&dir.join("keys/checkpoint.vkey"), b"\n"),
            "is not the public key of",
        ),
        (
            "a broken key",
            |dir| std::fs::write(dir.join("keys/checkpoint.key"), "x").expect("written"),
            "checkpoint.key",
        ),
        ("a broken checkpoint", |dir| append(&dir.join("checkpoint"), b"x"), "checkpoint at byte 0"),
        ("a broken history", |dir| append(&dir.join("checkpoints"), b"x"), "are not the beginning of"),
        ("another segment", another_segment, "should follow"),
        ("the first checkpoint again", first_checkpoint, "rolled back"),
        ("fewer records", fewer_records, "but a checkpoint of"),
        ("a hole between segments", hole, "should follow"),
        ("other records", other_records, "are not those that"),
    ];
    for (what, alter, story) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        let segment_bytes = if what == "a hole between segments" { 20_000 } else { 1 << 20 };
        let config =
            Config { segment_bytes, check_all_on_open: segment_bytes < 1 << 20, ..config(dir.path()) };
        grow(config.clone(), 300).await;
        alter(dir.path());
        let error = refused(config).to_string();
        assert!(error.contains(story), "{what}: {error}");
        // The private key is nothing that a verifier needs.
        let seen = !report(dir.path()).intact();
        assert_eq!(seen, !["no key", "a broken key"].contains(&what), "{what}");
    }
}

fn first_checkpoint(dir: &std::path::Path) {
    let history = std::fs::read_to_string(dir.join("checkpoints")).expect("read");
    let first: Vec<_> = history.split_inclusive('\n').take(5).collect();
    std::fs::write(dir.join("checkpoint"), first.concat()).expect("written");
}

fn fewer_records(dir: &std::path::Path) {
    let path = &segments(dir)[0];
    let bytes = std::fs::read(path).expect("read");
    let first: Vec<_> = items(&bytes).into_iter().take(4).collect();
    std::fs::write(path, first.concat()).expect("written");
}

fn another_segment(dir: &std::path::Path) {
    let copy = dir.join("segments/00000000000000000900.log");
    std::fs::copy(&segments(dir)[0], copy).expect("copied");
}

fn hole(dir: &std::path::Path) {
    std::fs::remove_file(&segments(dir)[1]).expect("removed");
}

/// A log of the same length under the same key, but not the one that the checkpoint was signed for.
fn other_records(dir: &std::path::Path) {
    let path = &segments(dir)[0];
    let mut items = items(&std::fs::read(path).expect("read"));
    let last = items.iter_mut().rfind(|item| !item.starts_with(b"SEAL")).expect("a frame");
    // One letter, with the checksum made right again.
    last[20 + 30] ^= 1;
    summed(last);
    std::fs::write(path, items.concat()).expect("written");
}

#[tokio::test]
async fn tiles_are_made_again_when_they_are_gone_or_wrong() {
    let dir = tempfile::tempdir().expect("a directory");
    grow(config(dir.path()), 700).await;
    let tile = dir.path().join("tile/0/001");
    let right = std::fs::read(&tile).expect("read");
    for wrong in [None, Some(vec![0; 8192]), Some(vec![0; 100])] {
        match &wrong {
            None => std::fs::remove_dir_all(dir.path().join("tile")).expect("removed"),
            Some(bytes) => std::fs::write(&tile, bytes).expect("written"),
        }
        assert!(!report(dir.path()).intact(), "{wrong:?}");
        drop(Ledger::open(config(dir.path())).expect("opened"));
        assert_eq!(std::fs::read(&tile).expect("read"), right);
        assert_whole(dir.path(), 700);
    }
}

#[tokio::test]
async fn a_crash_between_checkpoint_and_history_is_healed() {
    let dir = tempfile::tempdir().expect("a directory");
    grow(config(dir.path()), 3).await;
    // Before the history has it, the log does not say that it was issued.
    unsign(dir.path());
    let history = dir.path().join("checkpoints");
    let full = std::fs::read(&history).expect("read");
    let text = String::from_utf8(full.clone()).expect("text");
    let last = full.len() - text.split_inclusive('\n').skip(6).map(str::len).sum::<usize>();
    for length in last..full.len() {
        // Cut, and with what is missing as zeros: to its length, or to that of a block.
        for zeros in [0, full.len() - length, 4096] {
            // Within one sector, all of what was appended is there or nothing.
            let kept = if zeros == 0 { length } else { last };
            std::fs::write(&history, [&full[..kept], &vec![0; zeros]].concat()).expect("written");
            let report = report(dir.path());
            assert!(report.intact(), "{length}: {:?}", report.findings);
            drop(Ledger::open(config(dir.path())).expect("opened"));
            assert_eq!(std::fs::read(&history).expect("read"), full, "{length}");
            unsign(dir.path());
        }
    }
    // Zeros behind what is whole.
    std::fs::write(&history, [&full[..], &[0; 512]].concat()).expect("written");
    assert!(report(dir.path()).intact());
    drop(Ledger::open(config(dir.path())).expect("opened"));
    assert_eq!(std::fs::read(&history).expect("read"), full);
    // What no crash leaves.
    for (what, found) in [
        ("part of a sector", [&full[..last + 10], &[0; 100]].concat()),
        ("more than zeros", [&full[..], &[0; 512], b"x"].concat()),
    ] {
        std::fs::write(&history, found).expect("written");
        assert!(!report(dir.path()).intact(), "{what}");
        assert!(matches!(refused(config(dir.path())), OpenError::History { .. }), "{what}");
    }
}

#[tokio::test]
async fn one_writer_at_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = Ledger::open(config(dir.path())).expect("opened");
    assert!(matches!(refused(config(dir.path())), OpenError::InUse { .. }));
    ledger.close().await;
    assert!(Ledger::open(config(dir.path())).is_ok());
}

#[tokio::test]
async fn the_name_is_chosen_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = grow(Config { origin: None, ..config(dir.path()) }, 1).await;
    assert!(first.origin().starts_with("vidimus.local/") && first.origin().len() == 30, "{}", first.origin());
    let again = grow(Config { origin: None, ..config(dir.path()) }, 1).await;
    assert_eq!(again.origin(), first.origin());
    let other = Config { origin: Some("other.example".to_owned()), ..config(dir.path()) };
    assert!(matches!(refused(other), OpenError::Origin { .. }));
    let bad = tempfile::tempdir().expect("a directory");
    let bad = Config { origin: Some("a b".to_owned()), ..config(bad.path()) };
    assert!(matches!(refused(bad), OpenError::Key { .. }));
}

#[tokio::test]
async fn keys_are_the_owners_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a directory");
    grow(config(dir.path()), 1).await;
    let mode =
        |path: &str| std::fs::metadata(dir.path().join(path)).expect("there").permissions().mode() & 0o777;
    assert_eq!([mode("keys"), mode("keys/checkpoint.key")], [0o700, 0o600]);
}
