//! The process that the kill tests kill. It appends to a log with 16 threads and says on its standard output what was
//! acknowledged, until it is killed or the ledger fails.
//!
//! A program of its own and no test, so that `cargo test` runs it only where a test starts it:
//! `vidimus-ledger-kill-child DIR commit|sync`.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong here must fail the test that started it"
)]
#![expect(clippy::print_stdout, reason = "it acknowledges on its standard output")]

use std::path::PathBuf;
use std::time::Duration;

use futures_executor::block_on;
use vidimus_core::record::{Record, RefusalKind, RefusalRecord};
use vidimus_ledger::{Closed, Config, Durability, Ledger};

const CALLERS: usize = 16;

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let dir = PathBuf::from(arguments.next().expect("the directory of the log"));
    let durability = match arguments.next().as_deref().and_then(std::ffi::OsStr::to_str) {
        Some("commit") => Durability::Commit,
        Some("sync") => Durability::Sync,
        other => panic!("commit or sync, not {other:?}"),
    };
    let config = Config {
        dir,
        origin: Some("test.example/log".to_owned()),
        durability,
        segment_bytes: 200_000,
        checkpoint_interval: Duration::from_millis(3),
        ..Config::default()
    };
    let ledger = Ledger::open(config).expect("opened");
    println!("open {}", ledger.size());
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| append(&ledger));
        }
    });
    assert!(!ledger.is_open());
    println!("closed");
}

fn append(ledger: &Ledger) {
    for number in 0.. {
        let id = format!("{}-{number}", "x".repeat(number % 700));
        match block_on(ledger.record(&refusal(&id))) {
            // One line, one write: a line that is not whole was not acknowledged.
            Ok(index) => println!("ack {index} {number}"),
            Err(Closed::Failed { reason }) => return println!("failed {reason}"),
            Err(other) => panic!("{other}"),
        }
    }
}

fn refusal(id: &str) -> Record<'_> {
    Record::Refusal(RefusalRecord {
        asked: None,
        chain: Vec::new(),
        code: "token_expired".into(),
        detail: None,
        id: id.into(),
        identity: None,
        instance: None,
        kind: RefusalKind,
        message: "the token has expired".into(),
        outcome: "deny".into(),
        parent: None,
        path: "/mcp/finance/ledger".into(),
        principal: None,
        source: None,
        time: "2026-11-21T08:00:00.000000Z".into(),
        trace: "".into(),
        user: None,
        version: 1,
    })
}
