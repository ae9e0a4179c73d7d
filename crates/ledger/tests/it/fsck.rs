//! What is wrong in the files of a log is named by file and place, and what a start is said to do about it is what it does.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use vidimus_ledger::{Config, Fault, Ledger, Means, Note, fsck};

use crate::support::{
    Asked, config, copy, decide, files, grow, items, killed, report, segments, summed, unsign,
};

fn small(dir: &Path) -> Config {
    Config { segment_bytes: 20_000, ..config(dir) }
}

fn faults(dir: &Path) -> Vec<Fault> {
    let before = contents(dir);
    let faults = fsck(dir, false).expect("looked").faults;
    assert!(before == contents(dir), "a look changes nothing");
    faults
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(dir).into_iter().map(|path| (path.clone(), fs::read(path).expect("read"))).collect()
}

fn assert_clean(dir: &Path, what: &str) {
    let found = faults(dir);
    assert!(found.is_empty(), "{what}: {found:?}");
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    fs::write(path, bytes).expect("written");
}

fn cut(path: &Path, bytes: usize) {
    let whole = fs::read(path).expect("read");
    fs::write(path, &whole[..whole.len() - bytes]).expect("written");
}

#[tokio::test]
async fn what_a_crash_leaves_is_named_and_mended_by_a_start() {
    let (whole, left) = (tempfile::tempdir().expect("a log"), tempfile::tempdir().expect("a log"));
    grow(small(whole.path()), 300).await;
    killed(left.path(), 3, 2).await;
    assert_clean(whole.path(), "a log that was closed");
    assert_clean(left.path(), "records that nothing is signed for yet are none");
    let history = |dir: &Path| {
        let path = dir.join("checkpoints");
        let text = fs::read_to_string(&path).expect("read");
        let last = text.trim_end().rfind("\n\ntest.example/log\n").expect("an entry");
        fs::write(path, text.split_at(last + 2).0).expect("written");
        unsign(dir);
    };
    let half = |dir: &Path| {
        cut(&dir.join("checkpoints"), 20);
        unsign(dir);
    };
    type Harm<'a> = (&'a str, &'a Path, &'a dyn Fn(&Path), &'a str);
    let cases: [Harm<'_>; 10] = [
        ("torn", left.path(), &|dir| cut(&segments(dir)[0], 48 + 30), "segments/00000000000000000000.log"),
        ("no entry", whole.path(), &history, "checkpoints"),
        ("half an entry", whole.path(), &half, "checkpoints"),
        (
            "no tile",
            whole.path(),
            &|dir| fs::remove_file(dir.join("tile/0/000")).expect("removed"),
            "tile/0/000",
        ),
        ("a wrong tile", whole.path(), &|dir| write(&dir.join("tile/0/000"), &[7; 8192]), "tile/0/000"),
        ("torn partial tiles", whole.path(), &|dir| cut(&dir.join("partial"), 1), "partial"),
        ("forged partial tiles", whole.path(), &|dir| write(&dir.join("partial"), &[7; 8192]), "partial"),
        (
            "no public key",
            whole.path(),
            &|dir| fs::remove_file(dir.join("keys/checkpoint.vkey")).expect("removed"),
            "keys/checkpoint.vkey",
        ),
        (
            "half a checkpoint",
            whole.path(),
            &|dir| write(&dir.join("checkpoint.tmp"), b"half"),
            "checkpoint.tmp",
        ),
        (
            "half a step",
            whole.path(),
            &|dir| write(&dir.join("keys/succession/1.tmp"), b"half"),
            "keys/succession/1.tmp",
        ),
    ];
    for (what, from, harm, file) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        copy(from, dir.path());
        harm(dir.path());
        let found = faults(dir.path());
        assert!(found.iter().all(|fault| fault.means.is_well()), "{what}: {found:?}");
        let named = |fault: &Fault| fault.means == Means::Mended && fault.file == dir.path().join(file);
        assert!(found.iter().any(named), "{what}: {found:?}");
        drop(Ledger::open(small(dir.path())).expect(what));
        assert_clean(dir.path(), what);
    }
}

/// Whatever a first start was killed at, there is a log at the next one.
#[tokio::test]
async fn a_first_start_that_was_killed_has_nothing_to_lose() {
    let made = tempfile::tempdir().expect("a log");
    grow(small(made.path()), 0).await;
    let key = |dir: &Path| {
        let private = fs::read(made.path().join("keys/checkpoint.key")).expect("read");
        write(&dir.join("keys/checkpoint.key"), &private);
    };
    let begun: [&dyn Fn(&Path); 4] = [
        &|_| {},
        &|dir| fs::create_dir_all(dir.join("segments")).expect("made"),
        &|dir| {
            fs::create_dir_all(dir.join("segments")).expect("made");
            key(dir);
        },
        &|dir| {
            copy(made.path(), dir);
            fs::remove_file(dir.join("checkpoints")).expect("removed");
            fs::remove_dir_all(dir.join("segments")).expect("removed");
            fs::create_dir(dir.join("segments")).expect("made");
        },
    ];
    for (number, begin) in begun.into_iter().enumerate() {
        let dir = tempfile::tempdir().expect("a directory");
        begin(dir.path());
        let found = faults(dir.path());
        assert!(found.iter().all(|fault| fault.means == Means::Mended), "{number}: {found:?}");
        drop(Ledger::open(small(dir.path())).expect("opened"));
        assert_clean(dir.path(), &number.to_string());
    }
}

#[tokio::test]
async fn what_is_lost_or_altered_is_named_by_file_and_place_and_no_start_hides_it() {
    let whole = tempfile::tempdir().expect("a log");
    grow(small(whole.path()), 300).await;
    let remove = |name: &'static str| move |dir: &Path| fs::remove_file(dir.join(name)).expect("removed");
    let flipped = |dir: &Path| {
        let path = segments(dir).pop().expect("a segment");
        let mut bytes = fs::read(&path).expect("read");
        // In the text of its first record, behind header, seal and the frame's head.
        bytes[24 + 48 + 20 + 5] ^= 1;
        fs::write(path, bytes).expect("written");
    };
    let gap = |dir: &Path| fs::remove_file(&segments(dir)[segments(dir).len() - 2]).expect("removed");
    let last = |dir: &Path| fs::remove_file(segments(dir).last().expect("one")).expect("removed");
    let (checkpoint, key) = (remove("checkpoint"), remove("keys/checkpoint.key"));
    type Harm<'a> = (&'a str, &'a dyn Fn(&Path), Means, &'a str);
    let newest = segments(whole.path()).pop().expect("a segment");
    let newest = newest.strip_prefix(whole.path()).expect("below").display().to_string();
    let cases: [Harm<'_>; 6] = [
        ("bit rot", &flipped, Means::Altered, &newest),
        ("a gap", &gap, Means::Lost, &newest),
        ("no end", &last, Means::Lost, "segments"),
        ("no checkpoint", &checkpoint, Means::Lost, "checkpoint"),
        ("no key", &key, Means::Lost, "keys/checkpoint.key"),
        ("another history", &|dir| write(&dir.join("checkpoints"), b"x"), Means::Altered, "checkpoints"),
    ];
    for (what, harm, means, file) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        copy(whole.path(), dir.path());
        harm(dir.path());
        let found = faults(dir.path());
        let named = |fault: &&Fault| fault.means == means && fault.file == dir.path().join(file);
        let fault = found.iter().find(named).unwrap_or_else(|| panic!("{what}: {found:?}"));
        assert!(!fault.next.is_empty(), "{what}");
        if what == "bit rot" {
            assert_eq!(fault.offset, Some(24 + 48), "{fault:?}");
            let name = Path::new(&newest).file_stem().and_then(|stem| stem.to_str()).expect("a name");
            let first: u64 = name.parse().expect("a number");
            assert_eq!(fault.record, Some(first), "{fault:?}");
        }
        // A start reads the end of the log alone, whatever its size; what is wrong before it stays to be found.
        match Ledger::open(small(dir.path())) {
            Ok(ledger) if what == "a gap" => {
                drop(ledger);
                assert!(faults(dir.path()).iter().any(|fault| named(&fault)), "{what}");
            }
            opened => assert!(opened.is_err(), "{what}: nobody goes on writing behind it"),
        }
    }
}

/// Who put them there is to be asked, whatever the start does.
#[tokio::test]
async fn what_a_start_sets_aside_is_told_before_and_after_it() {
    let dir = tempfile::tempdir().expect("a log");
    let dir = dir.path();
    grow(small(dir), 3).await;
    let path = segments(dir).pop().expect("a segment");
    let mut all = items(&fs::read(&path).expect("read"));
    let mut forged = all.iter().rfind(|item| !item.starts_with(b"SEAL")).expect("a record").clone();
    forged[8..16].copy_from_slice(&3_u64.to_le_bytes());
    summed(&mut forged);
    all.push(forged);
    fs::write(&path, all.concat()).expect("written");
    let found = faults(dir);
    assert!(
        matches!(&found[..], [Fault { means: Means::Altered, record: Some(3), offset: Some(_), .. }]),
        "{found:?}"
    );
    drop(Ledger::open(small(dir)).expect("opened"));
    let found = faults(dir);
    assert!(
        matches!(&found[..], [Fault { means: Means::Noted, file, .. }] if file.starts_with(dir.join("aside"))),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_clock_that_went_back_is_told_and_changes_nothing_else() {
    let dir = tempfile::tempdir().expect("a log");
    let dir = dir.path();
    let ledger = Ledger::open(small(dir)).expect("opened");
    for (index, second) in [500, 501, 20, 21, 502].into_iter().enumerate() {
        decide(&ledger, &Asked { id: format!("n-{index}"), second, ..Asked::default() }).await;
    }
    ledger.close().await;
    assert!(report(dir).notes.contains(&Note::ClockBack { index: 2, seconds: 481 }), "{:?}", report(dir));
    assert!(report(dir).intact());
    let found = faults(dir);
    assert!(matches!(&found[..], [Fault { means: Means::Noted, record: Some(2), .. }]), "{found:?}");
}

#[tokio::test]
async fn each_file_is_told_as_what_happened_to_it() {
    let whole = tempfile::tempdir().expect("a log");
    grow(config(whole.path()), 3).await;
    let harmed = |harm: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().expect("a directory");
        copy(whole.path(), dir.path());
        harm(dir.path());
        let found = fsck(dir.path(), false).expect("looked");
        let of = |fault: &Fault| {
            let file = fault.file.strip_prefix(dir.path()).expect("below").display().to_string();
            (file, fault.means)
        };
        (found.records, found.faults.iter().map(of).collect::<Vec<_>>())
    };
    let remove = |dir: &Path, name: &str| fs::remove_file(dir.join(name)).expect("removed");

    let (_, no_keys) = harmed(&|dir| {
        remove(dir, "keys/checkpoint.vkey");
        remove(dir, "keys/checkpoint.key");
    });
    for key in ["keys/checkpoint.vkey", "keys/checkpoint.key"] {
        assert!(no_keys.contains(&(key.to_owned(), Means::Lost)), "{no_keys:?}");
    }
    assert!(no_keys.iter().all(|(_, means)| *means == Means::Lost), "{no_keys:?}");

    // It was not rolled back.
    let (_, no_checkpoint) = harmed(&|dir| remove(dir, "checkpoint"));
    assert_eq!(no_checkpoint, [("checkpoint".to_owned(), Means::Lost)]);

    let (_, stranger) = harmed(&|dir| write(&dir.join("foo"), b"x"));
    assert_eq!(stranger, [("foo".to_owned(), Means::Noted)]);

    // Whatever of the three one seal is for, those before the damaged one are whole.
    let flip_last = |dir: &Path| {
        let path = segments(dir).pop().expect("a segment");
        let mut all = items(&fs::read(&path).expect("read"));
        let last = all.iter_mut().rfind(|item| !item.starts_with(b"SEAL")).expect("a record");
        last[20 + 5] ^= 1;
        fs::write(&path, all.concat()).expect("written");
    };
    let (records, flipped) = harmed(&flip_last);
    assert_eq!(records, 2, "{flipped:?}");
}
