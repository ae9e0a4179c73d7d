//! Processes that die, and disks that are full: nothing acknowledged is lost, and nothing is let pass.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use vidimus_ledger::{Closed, Config, Durability, Ledger, Query, search};

use crate::support::{assert_whole, config, refusal, report};

/// Names the directory to the child. Without it, the child's test is no test.
const DIR: &str = "VIDIMUS_LEDGER_KILL_TEST_DIR";
const SYNC: &str = "VIDIMUS_LEDGER_KILL_TEST_SYNC";

/// The child: appends with many tasks and says what was acknowledged, until it is killed or the ledger fails.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let durability = if std::env::var_os(SYNC).is_some() { Durability::Sync } else { Durability::Commit };
    let config = Config {
        durability,
        segment_bytes: 200_000,
        checkpoint_interval: Duration::from_millis(3),
        ..config(Path::new(&dir))
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    runtime.block_on(async {
        let ledger = Ledger::open(config).expect("opened");
        println!("open {}", ledger.size());
        let tasks: Vec<_> = (0..16).map(|_| tokio::spawn(append(ledger.clone()))).collect();
        for task in tasks {
            task.await.expect("finished");
        }
        assert!(!ledger.is_open());
        println!("closed");
    });
}

async fn append(ledger: Ledger) {
    for number in 0.. {
        let id = format!("{}-{number}", "x".repeat(number % 700));
        match ledger.record(&id, &refusal(&id)).await {
            // One line, one write: a line that is not whole was not acknowledged.
            Ok(receipt) => println!("ack {} {number}", receipt.index()),
            Err(Closed::Failed { reason }) => return println!("failed {reason}"),
            Err(other) => panic!("{other}"),
        }
    }
}

fn command(dir: &Path, sync: bool) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "kill::child", "--nocapture", "--test-threads=1"]).env(DIR, dir);
    if sync {
        command.env(SYNC, "1");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Runs a child until it has acknowledged `count` records, kills it with SIGKILL, and gives everything it acknowledged.
fn killed_after(dir: &Path, sync: bool, count: usize) -> Vec<u64> {
    let mut child = command(dir, sync).spawn().expect("started");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
    let (mut acknowledged, mut line) = (Vec::new(), String::new());
    let mut alive = true;
    while lines.read_line(&mut line).expect("read") > 0 {
        // libtest writes its own lines, and may share one with the first of ours.
        if let Some((_, rest)) = line.split_once("ack ")
            && line.ends_with('\n')
        {
            acknowledged.push(rest.split(' ').next().and_then(|index| index.parse().ok()).expect("an index"));
        }
        assert!(!line.contains("failed") && !line.contains("panicked"), "{line}");
        line.clear();
        if alive && acknowledged.len() >= count {
            child.kill().expect("killed");
            alive = false;
        }
    }
    assert!(!alive, "the child ended by itself after {acknowledged:?}");
    child.wait().expect("ended");
    acknowledged
}

fn indexes(dir: &Path) -> Vec<u64> {
    search(dir, &Query::default()).expect("searched").map(|hit| hit.expect("read").index).collect()
}

/// 30 kills of one log that grows from life to life.
#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut torn, mut cut, mut before) = (0, 0, 0);
    for round in 0..30usize {
        // Some die young, before the first checkpoint or in the midst of it, some old.
        let count = 1 + (round * 37) % 400;
        let acknowledged = killed_after(dir.path(), round % 5 == 4, count);
        let report = report(dir.path());
        assert!(report.intact(), "round {round}: {:?}", report.findings);
        torn += usize::from(report.notes.iter().any(|note| note.to_string().contains("unfinished")));
        let kept = indexes(dir.path());
        assert_eq!(kept.len() as u64, report.records);
        assert!(acknowledged.iter().all(|index| *index < report.records), "round {round}");
        assert!(report.records >= before, "round {round}: what an earlier life had kept is gone");
        before = report.records;

        // Opened as it was left, and closed again: everything is signed for.
        if round % 3 == 0 {
            let ledger = Ledger::open(config(dir.path())).expect("opened");
            assert_eq!(ledger.size(), before, "round {round}");
            cut += usize::from(ledger.cut_on_open() > 0);
            drop(ledger);
            assert_whole(dir.path(), before);
        }
    }
    println!("{before} records, {torn} torn tails, {cut} cut by this process");
}

/// A file that may not grow further stands for a full disk: the write fails in the midst of a record.
#[test]
fn a_disk_that_takes_no_more_closes_the_ledger() {
    let dir = tempfile::tempdir().expect("a directory");
    let exe = std::env::current_exe().expect("this test");
    // The shell ignores SIGXFSZ for the child, which then gets an error, as it would from a full disk (setrlimit(2)).
    let script = format!(
        "trap '' XFSZ; ulimit -f 100; exec '{}' --exact kill::child --nocapture --test-threads=1",
        exe.display()
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .env(DIR, dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .expect("ran");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() && text.contains("closed"), "{text}");
    assert_eq!(text.matches("failed cannot write").count(), 16, "every caller is refused, once: {text}");
    let acknowledged: Vec<u64> =
        text.lines().filter_map(|line| line.split_once("ack ")?.1.split(' ').next()?.parse().ok()).collect();
    assert!(!acknowledged.is_empty());

    let report = report(dir.path());
    assert!(report.intact(), "{:?}", report.findings);
    assert!(acknowledged.iter().all(|index| *index < report.records));
    // With room again, the log goes on where it stopped.
    let ledger = Ledger::open(config(dir.path())).expect("opened");
    assert!(ledger.size() >= acknowledged.len() as u64);
    drop(ledger);
    assert!(report.records <= indexes(dir.path()).len() as u64);
}
