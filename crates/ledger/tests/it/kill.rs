//! Processes that die, and disks that are full: nothing acknowledged is lost, and nothing is let pass.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use vidimus_ledger::{Ledger, Query, fsck, search};

use crate::support::{assert_whole, config, report};

/// The program of `kill/child.rs`.
const CHILD: &str = env!("CARGO_BIN_EXE_vidimus-ledger-kill-child");

/// The child over the log in `dir`.
fn command(dir: &Path, durability: &str) -> Command {
    let mut command = Command::new(CHILD);
    command.arg(dir).arg(durability).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Runs a child until it has acknowledged `count` records, kills it with SIGKILL, and gives everything it acknowledged.
fn killed_after(dir: &Path, durability: &str, count: usize) -> Vec<u64> {
    let mut child = command(dir, durability).spawn().expect("started");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
    let (mut acknowledged, mut line) = (Vec::new(), String::new());
    let mut alive = true;
    while lines.read_line(&mut line).expect("read") > 0 {
        if let Some(rest) = line.strip_prefix("ack ")
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

/// How many processes are killed: `make kills` has 1,000.
fn kills() -> usize {
    std::env::var("VIDIMUS_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(30)
}

/// 30 kills of one log that grows from life to life, under load. What each left is read from its first record to its last, its root made
/// again and held against all that was signed; when it has grown large, another one begins.
#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    const LARGE: u64 = 20_000;
    let mut dir = tempfile::tempdir().expect("a directory");
    let (mut torn, mut cut, mut before, mut all, mut promised) = (0, 0, 0, 0, 0);
    for round in 0..kills() {
        if before >= LARGE {
            dir = tempfile::tempdir().expect("a directory");
            (all, before) = (all + before, 0);
        }
        // Some die young, before the first checkpoint or in the midst of it, some old.
        let count = 1 + (round * 37) % 400;
        let acknowledged = killed_after(dir.path(), if round % 5 == 4 { "sync" } else { "commit" }, count);
        promised += acknowledged.len();
        let looked = fsck(dir.path(), false).expect("looked");
        let damage = looked.faults.iter().find(|fault| !fault.means.is_well());
        assert!(damage.is_none(), "round {round}: {damage:?}");
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
    let all = all + before;
    println!(
        "{} kills: {promised} acknowledged of {all} records, none lost; {torn} torn tails, {cut} cut by this process",
        kills()
    );
}

/// A file that may not grow further stands for a full disk: the write fails in the midst of a record.
#[test]
fn a_disk_that_takes_no_more_closes_the_ledger() {
    let dir = tempfile::tempdir().expect("a directory");
    // The shell ignores SIGXFSZ for the child, which then gets an error, as it would from a full disk (setrlimit(2)).
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$1\" commit", CHILD])
        .arg(dir.path())
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
        text.lines().filter_map(|line| line.strip_prefix("ack ")?.split(' ').next()?.parse().ok()).collect();
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
