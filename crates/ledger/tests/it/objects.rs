//! An archive in a real S3-compatible store (`e2e/s3`).

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use vidimus_ledger::{
    ArchiveAt, ArchiveError, Archiving, Bucket, Config, Ledger, Note, Options, PruneError, Pruned, Query,
    Retention, fetch_archive, fsck, search, verify,
};

use crate::support::{Asked, BY, config, copy, decide, grow, kept_long_enough, report, segments, time};

// That crate is above this one, and cannot be asked.
#[path = "../../../testkit/src/port.rs"]
mod port;

const BUCKET: &str = "corp-audit";
const SECRET: &str = "hunter2-hunter2";

/// The command that starts one, as `e2e/s3/setup.sh` builds it.
fn command() -> &'static str {
    static COMMAND: OnceLock<String> = OnceLock::new();
    COMMAND.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/s3/setup.sh");
        let found = Command::new(script).stderr(Stdio::inherit()).output().expect("e2e/s3/setup.sh");
        assert!(found.status.success(), "no versitygw: see what e2e/s3/setup.sh says");
        String::from_utf8(found.stdout).expect("text").trim().to_owned()
    })
}

/// A running store with one bucket, whose objects are files.
struct Store {
    root: tempfile::TempDir,
    port: u16,
    server: Child,
}

impl Store {
    fn start() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir(root.path().join(BUCKET)).expect("a bucket");
        let port = port::unused();
        let server = Command::new(command())
            .args(["--quiet", "--port", &format!("127.0.0.1:{port}"), "posix"])
            .arg(root.path())
            .env("ROOT_ACCESS_KEY", "id")
            .env("ROOT_SECRET_KEY", SECRET)
            .stdout(Stdio::null())
            .spawn()
            .expect("a server");
        let store = Self { root, port, server };
        for _ in 0..500 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return store;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("versitygw does not listen");
    }

    fn bucket(&self, name: &str, secret: &str) -> Bucket {
        let Ok(ArchiveAt::Bucket(bucket)) = format!("s3://{name}/vidimus/eu").parse() else {
            panic!("{name} is no bucket")
        };
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        let settings = [
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", secret),
            ("AWS_ENDPOINT_URL_S3", &*endpoint),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        bucket.with_settings(BTreeMap::from(settings))
    }

    /// What its files are in.
    fn files(&self) -> PathBuf {
        self.root.path().join(BUCKET).join("vidimus/eu")
    }

    fn stop(&mut self) {
        self.server.kill().expect("killed");
        self.server.wait().expect("ended");
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // One that was stopped is not there any more.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn small(dir: &Path) -> Config {
    Config { segment_bytes: 20_000, checkpoint_interval: Duration::from_millis(5), ..config(dir) }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Prunes all that may go, and closes. Outside of any runtime, as what prunes is.
fn prune(dir: &Path, to: Archiving<'_>) -> Result<Option<Pruned>, PruneError> {
    let ledger = Ledger::open(small(dir)).expect("opened");
    let pruned = ledger.prune(&Retention { archive: Some(to), ..kept_long_enough() }, &BY);
    wait(ledger.close());
    pruned
}

fn indexes(dir: &Path) -> Vec<u64> {
    search(dir, &Query::default()).expect("searched").map(|hit| hit.expect("read").index).collect()
}

#[test]
fn what_went_is_in_the_store_as_it_was_and_is_read_when_it_was_fetched() {
    let (store, dir) = (Store::start(), tempfile::tempdir().expect("a directory"));
    let bucket = store.bucket(BUCKET, SECRET);
    let at = ArchiveAt::Bucket(bucket.clone());
    let (log, configurations) = (dir.path().join("log"), dir.path().join("configurations"));
    let (text, manifest) = (format!("objects/ab/{}", "ab".repeat(32)), "cd".repeat(32));
    fs::create_dir_all(configurations.join("objects/ab")).expect("made");
    for name in [&*text, &*manifest, "referred.json", "objects/ab/x.new"] {
        fs::write(configurations.join(name), name).expect("written");
    }
    let none = fetch_archive(&bucket, &dir.path().join("none")).expect_err("there is none");
    assert!(matches!(none, ArchiveError::Nothing { .. }), "{none}");
    wait(grow(small(&log), 1000));
    for (round, more) in [0, 700].into_iter().enumerate() {
        wait(grow(small(&log), more));
        let went: Vec<_> =
            segments(&log).iter().map(|path| (path.clone(), fs::read(path).expect("read"))).collect();
        let to = Archiving { at: &at, configurations: Some(&configurations) };
        let minimum = prune(&log, to).expect("pruned").expect("some").minimum();
        for (path, bytes) in went.iter().filter(|(path, _)| !path.exists()) {
            let there = store.files().join("segments").join(path.file_name().expect("a name"));
            assert_eq!(&fs::read(there).expect("archived"), bytes);
        }
        let fetched = dir.path().join(format!("fetched-{round}"));
        let told = fetch_archive(&bucket, &fetched).expect("fetched");
        assert!(told.files > 5 && told.bytes > 20_000 && told.strangers == 0, "{told:?}");
        let checked = verify(&fetched, &Options { archive: true, ..Options::default() }).expect("verified");
        assert!(checked.intact(), "{:?}", checked.findings);
        assert!(checked.notes.contains(&Note::Archive { records: minimum }), "{:?}", checked.notes);
        assert_eq!(indexes(&fetched), (0..minimum).collect::<Vec<_>>());
        let there = |name: &str| fs::read_to_string(fetched.join("configurations").join(name)).ok();
        assert_eq!((there(&text), there(&manifest)), (Some(text.clone()), Some(manifest.clone())));
        assert_eq!((there("referred.json"), there("objects/ab/x.new")), (None, None));
        let again = fetch_archive(&bucket, &fetched).expect_err("it is there already");
        assert!(matches!(again, ArchiveError::NotEmpty { .. }), "{again}");
    }
    assert!(report(&log).intact());
    // What somebody puts there beside it is written nowhere.
    fs::write(store.files().join("keys/checkpoint.key"), "x").expect("written");
    let fetched = dir.path().join("beside");
    assert_eq!(fetch_archive(&bucket, &fetched).expect("fetched").strangers, 1);
    assert!(!fetched.join("keys/checkpoint.key").exists());
}

#[test]
fn what_a_killed_process_left_there_is_gone_on_with() {
    let (store, dir) = (Store::start(), tempfile::tempdir().expect("a directory"));
    let bucket = store.bucket(BUCKET, SECRET);
    let at = ArchiveAt::Bucket(bucket.clone());
    let (log, killed) = (dir.path().join("log"), dir.path().join("killed"));
    wait(grow(small(&log), 1000));
    copy(&log, &killed);
    prune(&killed, (&at).into()).expect("pruned").expect("some");
    // Before it was signed there.
    for name in ["checkpoint", "checkpoints"] {
        fs::remove_file(store.files().join(name)).expect("removed");
    }
    let minimum = prune(&log, (&at).into()).expect("pruned").expect("some").minimum();
    let fetched = dir.path().join("fetched");
    fetch_archive(&bucket, &fetched).expect("fetched");
    let checked = verify(&fetched, &Options { archive: true, ..Options::default() }).expect("verified");
    assert!(checked.intact(), "{:?}", checked.findings);
    assert_eq!((checked.records, indexes(&fetched)), (minimum, (0..minimum).collect()));
}

/// It had copied more than is archived in the end. Nothing is removed there, where a gateway need not have the right to; it is no part of what is
/// fetched.
#[test]
fn what_is_fetched_has_nothing_behind_its_checkpoint() {
    let (store, dir) = (Store::start(), tempfile::tempdir().expect("a directory"));
    let bucket = store.bucket(BUCKET, SECRET);
    let at = ArchiveAt::Bucket(bucket.clone());
    let (log, killed) = (dir.path().join("log"), dir.path().join("killed"));
    wait(async {
        let ledger = Ledger::open(small(&log)).expect("opened");
        for index in 0..900 {
            decide(&ledger, &Asked { id: format!("n-{index}"), second: index, ..Asked::default() }).await;
        }
        ledger.close().await;
    });
    copy(&log, &killed);
    let more = prune(&killed, (&at).into()).expect("pruned").expect("some").minimum();
    for name in ["checkpoint", "checkpoints"] {
        fs::remove_file(store.files().join(name)).expect("removed");
    }
    let ledger = Ledger::open(small(&log)).expect("opened");
    let before = time(200).parse().expect("a time");
    let retention = Retention { before, archive: Some((&at).into()), ..kept_long_enough() };
    let minimum = ledger.prune(&retention, &BY).expect("pruned").expect("some").minimum();
    wait(ledger.close());
    assert!(minimum < more, "{minimum} of {more}");
    let fetched = dir.path().join("fetched");
    let told = fetch_archive(&bucket, &fetched).expect("fetched");
    assert_eq!((told.strangers, indexes(&fetched)), (0, (0..minimum).collect()));
    let checked = verify(&fetched, &Options { archive: true, ..Options::default() }).expect("verified");
    assert!(checked.intact() && checked.records == minimum, "{checked:?}");
    let looked = fsck(&fetched, true).expect("looked");
    assert_eq!((looked.records, &looked.faults[..]), (minimum, &[][..]));
    // The same records go on from there.
    let all = prune(&log, (&at).into()).expect("pruned").expect("some").minimum();
    let fetched = dir.path().join("all");
    fetch_archive(&bucket, &fetched).expect("fetched");
    assert_eq!(indexes(&fetched), (0..all).collect::<Vec<_>>());
}

/// A prefix, or a bucket, that is not the archive's is empty.
#[test]
fn no_archive_begins_in_a_bucket_that_has_not_the_one_of_before_unless_it_is_said() {
    let (store, dir) = (Store::start(), tempfile::tempdir().expect("a directory"));
    let bucket = store.bucket(BUCKET, SECRET);
    let at = ArchiveAt::Bucket(bucket.clone());
    let log = dir.path().join("log");
    wait(grow(small(&log), 1000));
    let went = prune(&log, (&at).into()).expect("pruned").expect("some");
    assert!(went.prune.archived, "{went:?}");
    fs::rename(store.files(), dir.path().join("elsewhere")).expect("moved");
    wait(grow(small(&log), 700));
    let before = segments(&log);
    let refused = prune(&log, (&at).into()).expect_err("refused");
    let PruneError::Archive(ArchiveError::Missing { minimum, .. }) = refused else { panic!("{refused}") };
    assert_eq!((minimum, segments(&log)), (went.minimum(), before), "nothing goes");
    assert!(!store.files().join("keys").exists(), "nor is anything put there");
    let ledger = Ledger::open(small(&log)).expect("opened");
    let retention = Retention { archive: Some((&at).into()), ..kept_long_enough() };
    let asked = ledger.prunable(&retention).expect_err("who asks before is told, too");
    assert!(matches!(asked, PruneError::Archive(ArchiveError::Missing { .. })), "{asked}");
    let retention = Retention { new_archive: true, ..retention };
    let more = ledger.prune(&retention, &BY).expect("pruned").expect("some");
    wait(ledger.close());
    let fetched = dir.path().join("fetched");
    fetch_archive(&bucket, &fetched).expect("fetched");
    assert_eq!(indexes(&fetched), (went.minimum()..more.minimum()).collect::<Vec<_>>());
}

#[test]
fn where_the_store_does_not_take_it_nothing_goes_and_no_secret_is_told() {
    let (mut store, dir) = (Store::start(), tempfile::tempdir().expect("a directory"));
    wait(grow(small(dir.path()), 700));
    let before = (segments(dir.path()), report(dir.path()).records);
    let refused = |bucket: Bucket, says: &str| {
        let error = prune(dir.path(), (&ArchiveAt::Bucket(bucket)).into()).expect_err(says);
        assert!(matches!(error, PruneError::Archive(ArchiveError::Store { .. })), "{error}");
        let said = format!("{error} {error:?}");
        assert!(said.contains(says) && !said.contains("hunter2") && !said.contains("Canonical"), "{said}");
        assert!(before.0.iter().all(|path| path.exists()), "{says}");
        assert_eq!(report(dir.path()).records, before.1);
        assert!(!dir.path().join("pruned").exists());
    };
    refused(store.bucket(BUCKET, "another-hunter2"), "SignatureDoesNotMatch");
    refused(store.bucket("no-such-bucket", SECRET), "NoSuchBucket");
    store.stop();
    refused(store.bucket(BUCKET, SECRET), "cannot be reached");
}

/// A log that was put back from a copy, or a second process that writes with its key: nothing in the archive is overwritten by it.
#[test]
fn who_has_another_past_overwrites_nothing() {
    let (store, dir) = (Store::start(), tempfile::tempdir().expect("a directory"));
    let at = ArchiveAt::Bucket(store.bucket(BUCKET, SECRET));
    let (log, back) = (dir.path().join("log"), dir.path().join("back"));
    wait(grow(small(&log), 100));
    copy(&log, &back);
    wait(grow(small(&log), 700));
    prune(&log, (&at).into()).expect("pruned").expect("some");
    wait(async {
        let ledger = Ledger::open(small(&back)).expect("opened");
        for index in 0..1_500 {
            decide(&ledger, &Asked { id: format!("other-{index}"), ..Asked::default() }).await;
        }
        ledger.close().await;
    });
    let before = segments(&back);
    let refused = prune(&back, (&at).into()).expect_err("refused");
    assert!(matches!(refused, PruneError::Archive(ArchiveError::OtherPast { .. })), "{refused}");
    // The other was about to end it: its segments are there, and it is not signed yet.
    fs::remove_file(store.files().join("checkpoint")).expect("removed");
    let archived: Vec<_> =
        segments(&store.files()).iter().map(|path| fs::read(path).expect("read")).collect();
    let refused = prune(&back, (&at).into()).expect_err("refused");
    assert!(matches!(refused, PruneError::Archive(ArchiveError::Taken { .. })), "{refused}");
    assert!(before.iter().all(|path| path.exists()));
    let now: Vec<_> = segments(&store.files()).iter().map(|path| fs::read(path).expect("read")).collect();
    assert_eq!(now, archived);
}
