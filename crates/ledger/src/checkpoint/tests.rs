use std::ops::Range;

use super::*;
use crate::storage::Disk;

fn signed(key: &SigningKey, size: u64) -> SignedCheckpoint {
    Checkpoint { origin: key.verifier().name().to_owned(), size, root: [7; 32] }.sign(key)
}

#[test]
fn the_text_is_that_of_the_format() {
    let key = SigningKey::generate("example.com/behind-the-sofa").expect("a key");
    let root = hash("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=").expect("a hash");
    let checkpoint = Checkpoint { origin: key.verifier().name().to_owned(), size: 20_852_163, root };
    let note = checkpoint.clone().sign(&key).note;
    let lines: Vec<_> = note.lines().collect();
    assert_eq!(
        lines[..4],
        ["example.com/behind-the-sofa", "20852163", "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=", ""]
    );
    assert!(lines[4].starts_with("— example.com/behind-the-sofa "), "{note}");
    let opened = SignedCheckpoint::open(note.as_bytes(), key.verifier()).expect("valid");
    assert_eq!(opened.checkpoint, checkpoint);
}

#[test]
fn a_signed_text_that_is_no_checkpoint_of_this_log_is_refused() {
    let key = SigningKey::generate("log.example").expect("a key");
    let root = STANDARD.encode([0; 32]);
    let cases = [
        ("log.example\n".to_owned(), 2),
        (format!("log.example\n01\n{root}\n"), 2),
        (format!("log.example\n-1\n{root}\n"), 2),
        (format!("log.example\n+1\n{root}\n"), 2),
        (format!("log.example\n18446744073709551616\n{root}\n"), 2),
        ("log.example\n1\nAAAA\n".to_owned(), 3),
        (format!("log.example\n1\n {root}\n"), 3),
        (format!("log.example\n1\n{root}\n\nextension\n"), 4),
    ];
    for (text, line) in cases {
        match SignedCheckpoint::open(key.sign(&text).as_bytes(), key.verifier()) {
            Err(CheckpointError::Line { line: found, .. }) => assert_eq!(found, line, "{text:?}"),
            other => panic!("{text:?}: {other:?}"),
        }
    }
    let foreign = key.sign(&format!("other.example\n1\n{root}\n"));
    assert!(matches!(
        SignedCheckpoint::open(foreign.as_bytes(), key.verifier()),
        Err(CheckpointError::Origin { .. })
    ));
    let extended = key.sign(&format!("log.example\n1\n{root}\nextension\n"));
    assert!(SignedCheckpoint::open(extended.as_bytes(), key.verifier()).is_ok());
    assert_eq!(SignedCheckpoint::open(&[0xff], key.verifier()), Err(CheckpointError::NotUtf8));
}

#[test]
fn the_history_is_read_forward_and_from_its_end_alike() {
    let key = SigningKey::generate("log.example").expect("a key");
    let dir = tempfile::tempdir().expect("a directory");
    let (none, rest) = last(dir.path(), key.verifier()).expect("read");
    assert!(none.is_none() && rest.bytes.is_empty());
    assert_eq!(History::open(dir.path()).expect("open").next().expect("read"), None);

    // More than the window that `last` looks at.
    let all: Vec<_> = (1..=600).map(|size| signed(&key, size)).collect();
    for one in &all {
        remember(&Disk, dir.path(), one).expect("written");
    }
    let mut history = History::open(dir.path()).expect("open");
    for one in &all {
        let entry = history.next().expect("read").expect("there");
        assert!(entry.whole && entry.bytes == one.note.as_bytes());
    }
    assert_eq!(history.next().expect("read"), None);
    let (newest, rest) = last(dir.path(), key.verifier()).expect("read");
    let newest = newest.expect("there");
    assert_eq!((&newest, rest.bytes.len()), (&all[599], 0));

    // Cut anywhere, the last whole entry is the one before, and the rest is the beginning of the one that is cut.
    let path = history_path(dir.path());
    let full = std::fs::read(&path).expect("read");
    let entry = all[599].entry();
    for left in 0..entry.len() {
        std::fs::write(&path, &full[..full.len() - entry.len() + left]).expect("written");
        let (newest, rest) = last(dir.path(), key.verifier()).expect("read");
        assert_eq!(newest.as_ref(), Some(&all[598]), "{left}");
        assert_eq!(rest.bytes, entry[..left], "{left}");
        assert_eq!(rest.offset, (full.len() - entry.len()) as u64);
    }

    // And so it is with any sectors of it lost, or altered: then it is not what is left of it.
    let begin = full.len() - entry.len();
    for (lost, left) in [(0..entry.len(), true), (0..60, false), (60..entry.len(), false)] {
        let mut found = full.clone();
        found[begin..][lost.clone()].fill(0);
        std::fs::write(&path, &found).expect("written");
        let (newest, rest) = last(dir.path(), key.verifier()).expect("read");
        assert_eq!(newest.as_ref(), Some(&all[598]), "{lost:?}");
        assert_eq!(all[599].left(&rest), left, "{lost:?}");
    }
    for border in 1..entry.len() {
        let at = |lost: Range<usize>| {
            let mut bytes = entry.clone();
            bytes[lost].fill(0);
            Entry { offset: (1024 - border) as u64, bytes, whole: false }
        };
        assert!(all[599].left(&at(0..border)) && all[599].left(&at(border..entry.len())), "{border}");
        assert!(!all[598].left(&at(0..border)) || border + 90 > entry.len(), "{border}");
    }
}

#[test]
fn a_history_with_too_few_newlines_is_read_in_pieces() {
    const MOST: usize = 256 * 1024;
    let dir = tempfile::tempdir().expect("a directory");
    let line = "x".repeat(100 * 1024 - 1) + "\n";
    for (text, what) in [("x".repeat(700_000), "no line"), (line.repeat(7), "no blank line")] {
        std::fs::write(history_path(dir.path()), &text).expect("written");
        let mut history = History::open(dir.path()).expect("open");
        let mut offset = 0;
        while let Some(piece) = history.next().expect("read") {
            assert_eq!((piece.offset, piece.whole), (offset as u64, false), "{what}");
            assert_eq!(piece.bytes, text.as_bytes()[offset..][..MOST.min(text.len() - offset)], "{what}");
            offset += piece.bytes.len();
        }
        assert_eq!(offset, text.len(), "{what}");
    }
}

/// Names may be long, and others may have signed as well.
#[test]
fn long_checkpoints_are_found_at_the_end_of_a_history() {
    let key = SigningKey::generate(&"long.example/".repeat(900)).expect("a key");
    let dir = tempfile::tempdir().expect("a directory");
    for size in 1..4 {
        let one = signed(&key, size);
        remember(&Disk, dir.path(), &one).expect("written");
        let (newest, rest) = last(dir.path(), key.verifier()).expect("read");
        assert_eq!((newest, rest.bytes.len()), (Some(one), 0));
    }
}

/// A disk that cannot be read is not a log without checkpoints.
#[test]
fn only_a_history_that_is_not_there_is_an_empty_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = SigningKey::generate("log.example").expect("a key");
    assert!(last(dir.path(), key.verifier()).expect("none").0.is_none());
    assert_eq!(History::open(dir.path()).and_then(|mut history| history.next()).expect("none"), None);
    // Opening fails, though something is there: it leads to itself.
    std::os::unix::fs::symlink(history_path(dir.path()), history_path(dir.path())).expect("linked");
    assert!(last(dir.path(), key.verifier()).is_err());
    assert!(History::open(dir.path()).is_err());
    assert!(file::read_if_there(&history_path(dir.path())).is_err());
}
