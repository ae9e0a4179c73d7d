//! What opening does with what it finds, one file at a time; whole power losses are in `crash`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use vidimus_ledger::storage::{Disk, Open, Storage, Stored};
use vidimus_ledger::{Config, Ledger, OpenError};

use crate::support::{assert_whole, config, copy, grow, refusal, report, segments, unsign};

fn refused(config: Config) -> String {
    Ledger::open(config).map(drop).expect_err("refused").to_string()
}

fn altered(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("read");
    bytes[at] ^= 1;
    std::fs::write(path, bytes).expect("written");
}

/// Opening needs the records since the last full tile, and reads no others: a log of a year is open at once.
#[tokio::test]
async fn only_the_end_of_a_log_is_read_unless_all_is_asked_for() {
    for size in [512, 513, 700, 767] {
        let dir = tempfile::tempdir().expect("a directory");
        let config = Config { segment_bytes: 20_000, ..config(dir.path()) };
        grow(config.clone(), size).await;
        altered(&segments(dir.path())[0], 1000);
        drop(Ledger::open(config.clone()).expect("opened"));
        let all = Config { check_all_on_open: true, ..config };
        assert!(refused(all).contains("this is damage"), "{size}");
        // Of the records that are read, the first matters as much as the last.
        altered(&segments(dir.path())[0], 1000);
        drop(Ledger::open(self::config(dir.path())).expect("opened"));
        assert_whole(dir.path(), size);
    }
}

/// The key is made once. A log that has lost it is not given another.
#[tokio::test]
async fn what_is_left_of_a_log_is_never_taken_for_a_new_one() {
    let origin = tempfile::tempdir().expect("a directory");
    grow(config(origin.path()), 3).await;
    let (key, public) = ("keys/checkpoint.key", "keys/checkpoint.vkey");
    let segment = "segments/00000000000000000000.log";
    for (lost, story) in [
        (vec![key], "checkpoint.key is missing"),
        (vec![key, public, segment], "checkpoint.key is missing"),
        (vec![key, public, segment, "checkpoint"], "checkpoint.key is missing"),
        (vec![key, public, segment, "checkpoints"], "checkpoint.key is missing"),
        (vec![key, public, "checkpoint", "checkpoints"], "checkpoint.key is missing"),
        (vec!["checkpoint"], "checkpoint is missing"),
        (vec!["checkpoint", segment], "checkpoint is missing"),
        (vec!["checkpoint", "checkpoints"], "checkpoint is missing"),
        (vec![segment], "0 records"),
        (vec![segment, "checkpoints"], "checkpoints is missing"),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        copy(origin.path(), dir.path());
        for path in &lost {
            std::fs::remove_file(dir.path().join(path)).expect("removed");
        }
        let error = refused(config(dir.path()));
        assert!(error.contains(story), "{lost:?}: {error}");
    }
    // A history that is the beginning of an entry, of a log that has nothing else but its key.
    let dir = tempfile::tempdir().expect("a directory");
    copy(origin.path(), dir.path());
    for path in ["checkpoint", segment] {
        std::fs::remove_file(dir.path().join(path)).expect("removed");
    }
    std::fs::write(dir.path().join("checkpoints"), "test").expect("written");
    assert!(refused(config(dir.path())).contains("checkpoint is missing"));
    // Nothing but the key is how a log begins.
    std::fs::remove_file(dir.path().join("checkpoints")).expect("removed");
    std::fs::remove_file(dir.path().join(public)).expect("removed");
    grow(config(dir.path()), 2).await;
    assert_whole(dir.path(), 2);
    // And the public key follows from it.
    std::fs::remove_file(dir.path().join(public)).expect("removed");
    drop(Ledger::open(config(dir.path())).expect("opened"));
    assert_whole(dir.path(), 2);
}

/// The first checkpoint, of no records, stands in its own file before it stands in the history.
#[tokio::test]
async fn a_first_start_that_was_killed_before_its_history_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    grow(config(dir.path()), 0).await;
    std::fs::remove_file(dir.path().join("checkpoints")).expect("removed");
    grow(config(dir.path()), 2).await;
    assert_whole(dir.path(), 2);
}

#[tokio::test]
async fn a_checkpoint_of_the_same_size_but_another_log_is_refused() {
    let (dir, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    grow(config(dir.path()), 3).await;
    copy(dir.path(), other.path());
    grow(config(dir.path()), 1).await;
    let ledger = Ledger::open(config(other.path())).expect("opened");
    ledger.record(&refusal("another")).await.expect("recorded");
    ledger.close().await;
    std::fs::copy(other.path().join("checkpoint"), dir.path().join("checkpoint")).expect("copied");
    assert!(refused(config(dir.path())).contains("the first 4 records are not those"));
    // Before the history has it, the records tell.
    let history = std::fs::read_to_string(dir.path().join("checkpoints")).expect("read");
    let before: String = history.split_inclusive('\n').take(12).collect();
    std::fs::write(dir.path().join("checkpoints"), before).expect("written");
    assert!(refused(config(dir.path())).contains("the first 4 records are not those"));
}

/// Only the last segment can be torn.
#[tokio::test]
async fn a_write_that_did_not_finish_in_the_midst_of_a_log_is_damage() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = Config { segment_bytes: 600, ..config(dir.path()) };
    grow(config.clone(), 0).await;
    let kept = ["checkpoint", "checkpoints"].map(|name| std::fs::read(dir.path().join(name)).expect("read"));
    grow(config.clone(), 8).await;
    unsign(dir.path());
    for (name, bytes) in ["checkpoint", "checkpoints"].iter().zip(kept) {
        std::fs::write(dir.path().join(name), bytes).expect("written");
    }
    let path = segments(dir.path()).remove(1);
    let bytes = std::fs::read(&path).expect("read");
    std::fs::write(&path, &bytes[..bytes.len() - 5]).expect("written");
    assert!(refused(config.clone()).contains("this is damage"));
    assert!(!report(dir.path()).intact());
    // The last one, as it is here, can be.
    std::fs::write(&path, bytes).expect("written");
    let path = segments(dir.path()).pop().expect("a segment");
    let bytes = std::fs::read(&path).expect("read");
    std::fs::write(&path, &bytes[..bytes.len() - 5]).expect("written");
    let ledger = Ledger::open(config).expect("opened");
    // The record was whole, but not its seal.
    assert_eq!((ledger.size(), ledger.cut_on_open()), (7, 0));
    assert_eq!(
        ledger.set_aside().iter().map(|aside| (aside.from, aside.records)).collect::<Vec<_>>(),
        [(7, 1)]
    );
    drop(ledger);
    assert_whole(dir.path(), 7);
}

/// Residue goes, strangers stay and are named.
#[tokio::test]
async fn of_what_is_no_segment_only_residue_is_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    grow(config(dir.path()), 3).await;
    let at = |name: &str| dir.path().join("segments").join(name);
    for name in ["00000000000000000003.tmp", "x.tmp", "notes", "00000000000000000000.log.bak"] {
        std::fs::write(at(name), "x").expect("written");
    }
    let before = report(dir.path());
    assert!(before.intact());
    let named: Vec<_> =
        before.notes.iter().map(ToString::to_string).filter(|note| note.contains("belong")).collect();
    assert!(named.len() == 2 && named.iter().all(|note| !note.contains(".tmp does")), "{named:?}");
    drop(Ledger::open(config(dir.path())).expect("opened"));
    let left: Vec<_> =
        segments(dir.path()).iter().map(|path| path.file_name().map(std::ffi::OsStr::to_owned)).collect();
    let expected = ["00000000000000000000.log", "00000000000000000000.log.bak", "notes"];
    assert_eq!(left, expected.map(|name| Some(name.into())));
}

/// A log of two records in `dir`, none of them signed for, whose last byte, that of a seal, lies in a sector by itself.
async fn bordered(dir: &Path) -> Vec<u8> {
    grow(config(dir), 0).await;
    let kept = ["checkpoint", "checkpoints"].map(|name| std::fs::read(dir.join(name)).expect("read"));
    let ledger = Ledger::open(config(dir)).expect("opened");
    let path = segments(dir).remove(0);
    let length = || std::fs::metadata(&path).expect("a file").len();
    ledger.record(&refusal("")).await.expect("recorded");
    let empty = length() - 72;
    let short = (513 - (length() + empty) % 512) % 512;
    ledger.record(&refusal(&"x".repeat(usize::try_from(short).expect("small")))).await.expect("recorded");
    assert_eq!(length() % 512, 1);
    ledger.close().await;
    drop(ledger);
    unsign(dir);
    for (name, bytes) in ["checkpoint", "checkpoints"].iter().zip(kept) {
        std::fs::write(dir.join(name), bytes).expect("written");
    }
    std::fs::read(&path).expect("read")
}

/// A seal whose last byte lies in a sector by itself, and that byte is zero: it is what it was, and nothing is cut.
#[tokio::test]
async fn a_byte_that_a_border_cuts_off_is_put_back() {
    let (dir, whole) = loop {
        let dir = tempfile::tempdir().expect("a directory");
        let whole = bordered(dir.path()).await;
        // One tag of 256 ends with the very byte that a lost one reads as.
        if whole.last() != Some(&0) {
            break (dir, whole);
        }
    };
    let path = segments(dir.path()).remove(0);
    let names = ["checkpoint", "checkpoints"].map(|name| dir.path().join(name));
    let kept = names.each_ref().map(|path| std::fs::read(path).expect("read"));
    for tail in [0, 700] {
        let mut bytes = whole.clone();
        *bytes.last_mut().expect("a byte") = 0;
        bytes.resize(whole.len() + tail, 0);
        std::fs::write(&path, &bytes).expect("written");
        let before = report(dir.path());
        assert!(before.intact() && before.records == 1, "{before:?}");
        assert!(before.notes.iter().any(|note| note.to_string().contains("unfinished")), "{before:?}");
        let ledger = Ledger::open(config(dir.path())).expect("opened");
        assert_eq!((ledger.size(), ledger.cut_on_open()), (2, tail as u64));
        assert_eq!(ledger.set_aside(), []);
        drop(ledger);
        unsign(dir.path());
        assert_eq!(std::fs::read(&path).expect("read"), whole);
        names.iter().zip(&kept).for_each(|(path, bytes)| std::fs::write(path, bytes).expect("written"));
    }
    grow(config(dir.path()), 1).await;
    assert_whole(dir.path(), 3);
}

/// What a log is about to ask of its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    MakeDir,
    Open,
    Remove,
    SyncDir,
    SyncEverything,
}

/// A disk that asks before each step: an error is what the step ends with.
struct Asking<F>(F);

impl<F> std::fmt::Debug for Asking<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Asking").finish_non_exhaustive()
    }
}

impl<F: Fn(Step, &Path) -> io::Result<()> + Send + Sync> Storage for Asking<F> {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        (self.0)(Step::MakeDir, path).and_then(|()| Disk.make_dir(path))
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn Stored>> {
        (self.0)(Step::Open, path).and_then(|()| Disk.open(path, how))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        (self.0)(Step::Remove, path).and_then(|()| Disk.remove(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        (self.0)(Step::SyncDir, path).and_then(|()| Disk.sync_dir(path))
    }

    fn sync_everything(&self, path: &Path) -> io::Result<()> {
        (self.0)(Step::SyncEverything, path).and_then(|()| Disk.sync_everything(path))
    }
}

/// Opens a log whose disk asks.
fn asking(
    config: Config,
    ask: impl Fn(Step, &Path) -> io::Result<()> + Send + Sync + 'static,
) -> Result<(), OpenError> {
    Ledger::open_on(Arc::new(Asking(ask)), config).map(drop)
}

#[test]
fn a_directory_whose_name_cannot_be_synced_is_not_used_unless_somebody_else_made_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("log");
    let open =
        |refused: &Path, kind: io::ErrorKind| {
            let refused = refused.to_owned();
            asking(config(&log), move |step, path| {
                if step == Step::SyncDir && path == refused { Err(kind.into()) } else { Ok(()) }
            })
        };
    let (denied, broken) = (io::ErrorKind::PermissionDenied, io::ErrorKind::Other);
    for kind in [denied, broken] {
        assert!(matches!(open(dir.path(), kind), Err(OpenError::File(_))), "just made, {kind}");
        std::fs::remove_dir_all(&log).expect("removed");
    }
    std::fs::create_dir(&log).expect("made");
    assert!(open(dir.path(), denied).is_ok(), "made by somebody else");
    assert!(matches!(open(dir.path(), broken), Err(OpenError::File(_))));
    for kind in [denied, broken] {
        assert!(matches!(open(&log, kind), Err(OpenError::File(_))), "its own, {kind}");
    }
}

#[test]
fn a_directory_that_somebody_else_makes_meanwhile_is_used_and_a_file_in_its_place_is_not() {
    type Meanwhile = fn(&Path) -> io::Result<()>;
    let cases: [(Meanwhile, Option<&str>); 3] = [
        (|path| std::fs::create_dir(path), None),
        (|path| std::fs::write(path, "a file"), Some("exists")),
        (|_| Err(io::ErrorKind::PermissionDenied.into()), Some("permission denied")),
    ];
    for (meanwhile, refused) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        let keys = dir.path().join("log/keys");
        let opened = asking(config(&dir.path().join("log")), move |step, path| {
            if step == Step::MakeDir && path == keys { meanwhile(path) } else { Ok(()) }
        });
        match (opened, refused) {
            (Ok(()), None) => {}
            (Err(error), Some(why)) => {
                let story = error.to_string();
                assert!(story.contains("cannot create") && story.contains(why), "{story}");
            }
            (opened, refused) => panic!("{opened:?}, expected {refused:?}"),
        }
    }
}

#[tokio::test]
async fn residue_that_is_gone_is_no_fault_and_residue_that_stays_is_one() {
    let dir = tempfile::tempdir().expect("a directory");
    grow(config(dir.path()), 3).await;
    std::fs::write(dir.path().join("segments/00000000000000000003.tmp"), "x").expect("written");
    let denied = asking(config(dir.path()), |step, _| match step {
        Step::Remove => Err(io::ErrorKind::PermissionDenied.into()),
        _ => Ok(()),
    });
    let story = denied.expect_err("refused").to_string();
    assert!(story.contains("cannot remove") && story.contains("permission denied"), "{story}");
    let gone = asking(config(dir.path()), |step, path| match step {
        Step::Remove => std::fs::remove_file(path),
        _ => Ok(()),
    });
    assert!(gone.is_ok(), "{gone:?}");
    assert_whole(dir.path(), 3);
}

/// Tiles that are made again may lie below others that were there all the time.
#[tokio::test]
async fn only_what_is_wrong_is_made_again_and_that_is_synced_before_the_log_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    grow(config(dir.path()), 600).await;
    let tile = dir.path().join("tile/0/000");
    for (lost, check_all_on_open) in [(false, false), (false, true), (true, false), (true, true)] {
        if lost {
            std::fs::remove_file(&tile).expect("removed");
        }
        let steps = Arc::new(std::sync::Mutex::new(Vec::new()));
        let taken = Arc::clone(&steps);
        asking(Config { check_all_on_open, ..config(dir.path()) }, move |step, path| {
            if step == Step::SyncEverything || path.ancestors().any(|above| above.ends_with("tile")) {
                taken.lock().expect("not poisoned").push((step, path.to_owned()));
            }
            Ok(())
        })
        .expect("opened");
        let expected = [(Step::Open, tile.clone()), (Step::SyncEverything, dir.path().to_owned())];
        let expected = if lost { &expected[..] } else { &[] };
        assert_eq!(*steps.lock().expect("not poisoned"), expected, "{lost} {check_all_on_open}");
        assert_whole(dir.path(), 600);
    }
    // A fault of the disk is no reason to try again.
    std::fs::remove_file(&tile).expect("removed");
    let first = std::sync::atomic::AtomicBool::new(true);
    let failed = asking(config(dir.path()), move |_, path| {
        if path == tile && first.swap(false, std::sync::atomic::Ordering::Relaxed) {
            return Err(io::ErrorKind::Other.into());
        }
        Ok(())
    });
    assert!(matches!(failed, Err(OpenError::File(_))), "{failed:?}");
}

/// The name of the history is on disk before a record is; of one that was there, it is already.
#[tokio::test]
async fn the_name_of_a_new_history_is_synced() {
    let dir = tempfile::tempdir().expect("a directory");
    let history = dir.path().join("checkpoints");
    for (new, name) in [(true, "a new one"), (false, "one that was there")] {
        let steps = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (taken, own) = (Arc::clone(&steps), dir.path().to_owned());
        let disk = Arc::new(Asking(move |step, path: &Path| {
            if path.ends_with("checkpoints") || step == Step::SyncDir && path == own {
                taken.lock().expect("not poisoned").push(step);
            }
            Ok(())
        }));
        let ledger = Ledger::open_on(disk, config(dir.path())).expect("opened");
        ledger.record(&refusal("x")).await.expect("recorded");
        ledger.close().await;
        assert!(history.exists());
        let steps = steps.lock().expect("not poisoned");
        let opened = steps.iter().position(|step| *step == Step::Open).expect("the history is written");
        let synced = steps.get(opened + 1) == Some(&Step::SyncDir);
        assert_eq!(synced, new, "{name}: {steps:?}");
    }
}

/// Of a process that was killed while it wrote, or had no room.
#[tokio::test]
async fn what_was_never_finished_is_removed_at_the_next_start() {
    let dir = tempfile::tempdir().expect("a directory");
    grow(config(dir.path()), 3).await;
    let left =
        ["checkpoint.tmp", "keys/checkpoint.key.tmp", "keys/checkpoint.vkey.tmp", "keys/checkpoint.tmp"];
    for path in left {
        std::fs::write(dir.path().join(path), "x").expect("written");
    }
    drop(Ledger::open(config(dir.path())).expect("opened"));
    assert!(left.iter().all(|path| !dir.path().join(path).exists()));
    assert_whole(dir.path(), 3);
}

/// What was set aside and cannot be listed is not said to be nothing.
#[tokio::test]
async fn a_directory_that_cannot_be_listed_is_not_one_that_is_missing() {
    let dir = tempfile::tempdir().expect("a directory");
    grow(config(dir.path()), 3).await;
    assert_whole(dir.path(), 3);
    // A link to itself.
    std::os::unix::fs::symlink(dir.path().join("aside"), dir.path().join("aside")).expect("linked");
    let refused = vidimus_ledger::verify(dir.path(), &vidimus_ledger::Options::default());
    assert!(refused.expect_err("refused").to_string().contains("cannot list"));
}
