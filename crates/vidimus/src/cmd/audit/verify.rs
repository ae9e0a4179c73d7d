//! The whole log, checked by reading alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use vidimus_ledger::{Checkpoint, Finding, Options, Report, VerifyError, default_memory};

use crate::output::{self, Format, printable};

/// Recomputes the log from its records and holds it against every signed checkpoint; exits 1 when something is wrong.
///
/// It finds a flipped byte anywhere, a record removed, added or reordered, a log cut below what was signed, checkpoints taken
/// away, a rollback, and another log in its place: the last checkpoint verified, and which log was where, are remembered outside
/// of the data directory, like a witness would.
///
/// Records of the last second, which no checkpoint covers yet, are checked by their seals: that takes the log's private key, which
/// is read where that is allowed. Otherwise a note says that they were not checked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus audit verify --data /var/lib/vidimus
  vidimus audit verify --data DIR --checkpoint saved-last-month \\
    --key \"$(cat checkpoint.vkey)\" # trusting nothing in the directory

Exit codes: 0 intact, 1 not intact or another log than before, 2 not checked.")]
pub struct Verify {
    /// The ledger's public key (C2SP vkey), if known from elsewhere; otherwise the log's own is taken. It is in
    /// DATA/ledger/keys/checkpoint.vkey, and at /ledger of the gateway's admin address.
    #[arg(long)]
    key: Option<String>,
    /// A checkpoint saved earlier; the log must be a continuation of it. May be given several times.
    #[arg(long)]
    checkpoint: Vec<PathBuf>,
    /// Where is remembered what was verified last [default: ~/.local/state/vidimus/verified].
    #[arg(long, env = "VIDIMUS_VERIFIED")]
    memory: Option<PathBuf>,
    /// Remember nothing, and compare with nothing remembered, also where --memory is given.
    #[arg(long)]
    forget: bool,
    /// The log that was verified here before was replaced on purpose: take this one, if it is whole, from now on.
    #[arg(long, conflicts_with = "forget")]
    accept_new_log: bool,
}

pub fn run(dir: &Path, verify: &Verify, format: Format) -> anyhow::Result<ExitCode> {
    let trusted = verify.checkpoint.iter().map(|path| {
        let flag = || format!("--checkpoint {}", path.display());
        let text = fs::read_to_string(path).with_context(flag)?;
        // Whoever signed it: by whom is what is verified.
        Checkpoint::unverified(&text).with_context(flag)?;
        Ok(text)
    });
    let trusted = trusted.collect::<anyhow::Result<_>>()?;
    let memory =
        if verify.forget { None } else { Some(memory(verify.memory.clone().or_else(default_memory))?) };
    let options = Options {
        key: verify.key.as_deref().map(super::key).transpose()?,
        trusted,
        memory,
        accept_new: verify.accept_new_log,
    };
    let report = vidimus_ledger::verify(dir, &options).map_err(|error| match error {
        VerifyError::Memory(error) => anyhow::Error::from(error).context(
            "what was verified here before cannot be read or remembered; --memory DIR takes another place, --forget does without",
        ),
        error => error.into(),
    })?;
    match format {
        Format::Json => {
            let messages: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
            output::json(&json!({
                "intact": report.intact(), "verdict": Verdict::of(&report).as_str(), "messages": messages, "report": report
            }))?;
        }
        Format::Table => print(&report),
    }
    Ok(if report.intact() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Where to remember. Without a place another log than the one that was verified before would be intact, and nobody would know that
/// this was not looked at.
fn memory(found: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    found.context(
        "not checked: there is no place to remember what was verified, since neither --memory, VIDIMUS_VERIFIED, XDG_STATE_HOME nor HOME is \
         set; give --memory DIR, or --forget to verify the log by itself alone",
    )
}

fn print(report: &Report) {
    let row = |label: &str, text: &str| output::line(&format!("{label:<13}{text}"));
    let counted = |count: u64, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    row("log", &printable(&report.origin));
    row("key", &printable(&report.key));
    row("records", &format!("{} in {}", report.records, counted(report.segments as u64, "segment")));
    if let Some(checkpoint) = &report.checkpoint {
        row("checkpoint", &format!("{}, root {}", counted(checkpoint.size, "record"), checkpoint.root));
    }
    let confirmed = match report.confirmed {
        1 => "1 record is what it was when it was signed for".to_owned(),
        count => format!("{count} records are what they were when they were signed for"),
    };
    row("confirmed", &confirmed);
    let verdict = Verdict::of(report);
    let label = if verdict == Verdict::AnotherLog { "ANOTHER LOG" } else { "WRONG" };
    // What is wrong explains what is noted, and the first of it what follows.
    for finding in &report.findings {
        row(label, &output::verdict(&printable(&finding.to_string()), false));
    }
    for note in &report.notes {
        row("note", &printable(&note.to_string()));
    }
    row("verdict", &output::verdict(verdict.as_str(), report.intact()));
}

/// What all findings together say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Intact,
    /// Whole in itself, and not the log that was verified here before: somebody began anew, or put another one in its place.
    AnotherLog,
    NotIntact,
}

impl Verdict {
    fn of(report: &Report) -> Self {
        let is_another =
            |finding: &Finding| matches!(finding, Finding::Replaced { .. } | Finding::Rekeyed { .. });
        match report.findings.as_slice() {
            [] => Self::Intact,
            findings if findings.iter().all(is_another) => Self::AnotherLog,
            _ => Self::NotIntact,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Intact => "intact",
            Self::AnotherLog => "whole, but not the log that was verified here before",
            Self::NotIntact => "NOT INTACT",
        }
    }
}
