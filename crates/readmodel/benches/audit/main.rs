//! The questions of an audit over a large log: by the read model, by SQLite (WAL, `synchronous=FULL`) and by DuckDB, and what the log itself costs
//! at that size. One JSON object a line.
//!
//! 1,000,000 records (or `VIDIMUS_BENCH_RECORDS`) of 1,000 agents, 2,000 tools and 500 policies over 7 days. `VIDIMUS_BENCH_SQLITE=0` leaves
//! SQLite out, and without `VIDIMUS_BENCH_DUCKDB` (a Python that has the package) there is no DuckDB. `VIDIMUS_BENCH_DIR` keeps what is made,
//! and takes a log that is there as it is.

#![expect(clippy::print_stdout, reason = "its output")]
#![expect(clippy::indexing_slicing, reason = "of JSON values, which have a null for what is not there")]

mod duckdb;
mod estate;
mod figures;
mod log;
mod model;
mod sqlite;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use figures::{Figures, OURS};

/// A benchmark that cannot run says why.
type Anything<T> = Result<T, Box<dyn Error>>;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Question {
    AgentAndTime,
    PolicyAndOutcome,
    Latest,
    LatestOfAgent,
    Trace,
    TextRare,
    TextNowhere,
    ByAgentPerHour,
    ByAgent,
    FoundAfterAppend,
}

impl Question {
    const ALL: [Self; 10] = [
        Self::AgentAndTime,
        Self::PolicyAndOutcome,
        Self::Latest,
        Self::LatestOfAgent,
        Self::Trace,
        Self::TextRare,
        Self::TextNowhere,
        Self::ByAgentPerHour,
        Self::ByAgent,
        Self::FoundAfterAppend,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::AgentAndTime => "agent_and_time",
            Self::PolicyAndOutcome => "policy_and_outcome",
            Self::Latest => "latest_100",
            Self::LatestOfAgent => "latest_100_of_an_agent",
            Self::Trace => "trace",
            Self::TextRare => "text_rare",
            Self::TextNowhere => "text_nowhere",
            Self::ByAgentPerHour => "by_agent_per_hour",
            Self::ByAgent => "by_agent",
            Self::FoundAfterAppend => "found_after_append",
        }
    }

    /// At 10,000,000 records, at most (issue 13, "Shows" 2).
    const fn goal_ms(self) -> Option<f64> {
        match self {
            Self::AgentAndTime | Self::PolicyAndOutcome | Self::Latest => Some(50.0),
            Self::ByAgentPerHour => Some(100.0),
            Self::TextRare | Self::TextNowhere | Self::FoundAfterAppend => Some(1000.0),
            Self::LatestOfAgent | Self::Trace | Self::ByAgent => None,
        }
    }
}

fn main() -> Anything<()> {
    // `cargo test --benches` runs this too; it is a measurement, not a test.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    let number = |name: &str, usual: u64| std::env::var(name).map_or(Ok(usual), |text| text.parse());
    let mut figures = Figures::new(number("VIDIMUS_BENCH_RECORDS", 1_000_000)?);
    let temporary = tempfile::tempdir()?;
    let kept = std::env::var_os("VIDIMUS_BENCH_DIR").map(PathBuf::from);
    let root = kept.as_deref().unwrap_or(temporary.path());
    let (log, index) = (root.join("ledger"), root.join("index"));
    if !log.exists() {
        let begun = Instant::now();
        estate::append(&log, figures.records)?;
        figures.rate("audit_append", OURS, figures.records, begun);
    }
    log::measure(&figures, root, &log)?;
    model::measure(&mut figures, &log, &index)?;
    if let Ok(python) = std::env::var("VIDIMUS_BENCH_DUCKDB") {
        duckdb::measure(&mut figures, &python, root, &index)?;
    }
    if number("VIDIMUS_BENCH_SQLITE", 1)? != 0 {
        sqlite::measure(&mut figures, root, &log)?;
    }
    figures.ratios();
    Ok(())
}

/// Bytes of the files of a directory.
fn size(directory: &Path) -> Anything<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}
