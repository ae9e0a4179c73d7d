//! The whole log, checked by reading alone; or a file of evidence.

mod many;

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use vidimus_ledger::{
    Checkpoint, Finding, MemoryError, Note, Options, Report, VerifierKey, VerifyError, WitnessKey, Witnesses,
    default_memory,
};
use vidimus_query::audit::{self, EvidenceReport, EvidenceVerified, VerifyOptions};

pub(super) use self::many::run as run_logs;
use crate::cmd::progress::Progress;
use crate::output::{self, Format, printable};

/// The exit status where all that is in a file is proven, and it has no records, or not all the configurations that decided.
const INCOMPLETE: u8 = 3;

/// Recomputes the log from its records and holds it against every signed checkpoint; exits 1 when something is wrong. Or, given a FILE of
/// `audit export`, checks that all in it is proven, with nothing but the file and the log's key.
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
  vidimus audit verify --ledger /mnt/archive # what was pruned, as it was
  vidimus audit verify --data DIR --checkpoint saved-last-month \\
    --key \"$(cat checkpoint.vkey)\" # trusting nothing in the directory
  vidimus audit verify --ledger A/ledger --ledger B/ledger \\
    --since-set saved-set # of several gateways, and none was left out
  vidimus audit verify evidence.jsonl --key \"$(cat checkpoint.vkey)\"
  vidimus audit verify evidence.jsonl --key \"$(cat checkpoint.vkey)\" \\
    --witness \"$(cat ada.vkey)\" --witness \"$(cat bob.vkey)\" --quorum 1

Exit codes: 0 intact or proven, 1 not, or another log than before,
2 not checked, 3 nothing is wrong, and the file has no records, or not all
configurations that decided.")]
pub struct Verify {
    /// Evidence that `audit export` wrote, each by itself; without any, the log in --data is checked. Of evidence nothing is remembered.
    #[arg(value_name = "FILE", conflicts_with_all = ["forget", "accept_new_log", "since_set"])]
    files: Vec<PathBuf>,
    /// The ledger's public key (C2SP vkey), if known from elsewhere; otherwise the log's own is taken. It is in
    /// DATA/ledger/keys/checkpoint.vkey, and at /ledger of the gateway's admin address. Of several ledgers give the key of each: a ledger of
    /// another key is wrong then, and so is a key of which no ledger is there.
    #[arg(long)]
    key: Vec<String>,
    /// A checkpoint saved earlier; the log must be a continuation of it, which evidence must prove. May be given several times.
    #[arg(long)]
    checkpoint: Vec<PathBuf>,
    /// The checkpoints that all ledgers had once, as `audit checkpoints` wrote them: each ledger must be a continuation of its own, and none of
    /// them may be missing.
    #[arg(long, value_name = "FILE")]
    since_set: Option<PathBuf>,
    #[command(flatten)]
    cosigners: Cosigners,
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

/// Witnesses that are asked for.
#[derive(Debug, Args)]
pub struct Cosigners {
    /// The key of a witness (C2SP vkey of type 4 or 6), from somebody you trust: whether it cosigned the log's newest cosigned checkpoint,
    /// or that of the evidence or of the proof. May be given several times.
    #[arg(long, value_name = "KEY", value_parser = witness)]
    witness: Vec<WitnessKey>,
    /// So many of the witnesses must have cosigned it [default: all].
    #[arg(long, value_name = "N", requires = "witness")]
    quorum: Option<usize>,
}

impl Verify {
    /// The evidence to verify, instead of a log.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Whether something is given that is of several logs, also where one is there.
    pub fn is_of_several(&self) -> bool {
        self.since_set.is_some() || self.key.len() > 1
    }

    fn keys(&self) -> anyhow::Result<Vec<VerifierKey>> {
        self.key.iter().map(|key| super::key(key)).collect()
    }

    /// Where is remembered what was verified; `None` where that is not asked for.
    fn remembered(&self) -> anyhow::Result<Option<PathBuf>> {
        if self.forget {
            return Ok(None);
        }
        memory(self.memory.clone().or_else(default_memory)).map(Some)
    }

    fn trusted(&self) -> anyhow::Result<Vec<String>> {
        self.checkpoint.iter().map(|path| note(path, "--checkpoint")).collect()
    }

    fn witnesses(&self) -> anyhow::Result<Witnesses> {
        self.cosigners.witnesses()
    }
}

impl Cosigners {
    /// A number of them that nobody can have, or that says nothing, is none to verify with.
    pub fn witnesses(&self) -> anyhow::Result<Witnesses> {
        let witnesses = Witnesses::new(self.witness.iter().cloned(), self.quorum);
        let all = witnesses.keys().len();
        if let Some(quorum) = self.quorum {
            ensure!(
                (1..=all).contains(&quorum),
                "--quorum {quorum}: write a number from 1 to {all}, which is how many keys of witnesses are given, each once"
            );
        }
        Ok(witnesses)
    }
}

/// What is no key of a witness would be one that never signs.
fn witness(text: &str) -> anyhow::Result<WitnessKey> {
    Ok(text.trim().parse()?)
}

/// The checkpoint in a file, whoever signed it: by whom is what is verified.
pub(super) fn note(path: &Path, flag: &str) -> anyhow::Result<String> {
    let flag = || format!("{flag} {}", path.display());
    let text = fs::read_to_string(path).with_context(flag)?;
    Checkpoint::unverified(&text).with_context(flag)?;
    Ok(text)
}

pub fn run(dir: &Path, archive: bool, verify: &Verify, format: Format) -> anyhow::Result<ExitCode> {
    let trusted = verify.trusted()?;
    let options = Options {
        key: verify.keys()?.into_iter().next(),
        trusted,
        memory: verify.remembered()?,
        witnesses: verify.witnesses()?,
        accept_new: verify.accept_new_log,
        archive,
    };
    let mut progress = Progress::begin("verified");
    let report = vidimus_ledger::verify_with_progress(dir, &options, &mut |read, all| progress.of(read, all));
    progress.end();
    let report = report.map_err(|error| match error {
        VerifyError::Memory(error) => unremembered(error),
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

fn unremembered(error: MemoryError) -> anyhow::Error {
    anyhow::Error::from(error).context(
        "what was verified here before cannot be read or remembered; --memory DIR takes another place, --forget does without",
    )
}

/// The one of the keys that is of the log that a file of evidence says it is of. Where none is, any of them: none of them signed it.
fn key_of_evidence(keys: &[VerifierKey], from: &mut BufReader<fs::File>) -> io::Result<Option<VerifierKey>> {
    /// The first line has a checkpoint, a key and a question, and is far shorter.
    const MAX_HEAD: u64 = 1 << 20;
    if keys.len() < 2 {
        return Ok(keys.first().cloned());
    }
    let mut line = Vec::new();
    from.by_ref().take(MAX_HEAD).read_until(b'\n', &mut line)?;
    from.rewind()?;
    let head: Value = serde_json::from_slice(&line).unwrap_or_default();
    let said = head.pointer("/evidence/key").and_then(Value::as_str).unwrap_or_default();
    let name = said.split('+').next().unwrap_or_default();
    Ok(keys.iter().find(|key| key.name() == name).or(keys.first()).cloned())
}

/// Evidence, with what is given about its log.
pub fn run_evidence(verify: &Verify, format: Format) -> anyhow::Result<ExitCode> {
    let keys = verify.keys()?;
    let mut options =
        VerifyOptions { key: None, checkpoints: verify.trusted()?, witnesses: verify.witnesses()? };
    let (mut proven, mut whole) = (true, true);
    for file in &verify.files {
        let name = file.display().to_string();
        let shown = || name.clone();
        let mut from = BufReader::with_capacity(256 * 1024, fs::File::open(file).with_context(shown)?);
        options.key = key_of_evidence(&keys, &mut from).with_context(shown)?;
        let report = audit::verify(from, &options).with_context(shown)?;
        (proven, whole) = (proven && report.proven, whole && is_whole(&report));
        match format {
            Format::Json => output::json(&EvidenceVerified { file: name, report })?,
            Format::Table => print_evidence(&name, &report),
        }
    }
    // That a configuration is not there is the word of whoever made the file: also who took one out of it may say so.
    Ok(match (proven, whole) {
        (true, true) => ExitCode::SUCCESS,
        (true, false) => ExitCode::from(INCOMPLETE),
        (false, _) => ExitCode::from(1),
    })
}

/// Whether a file has what there is to prove: some records, and each configuration that decided them.
fn is_whole(report: &EvidenceReport) -> bool {
    report.records > 0 && report.missing.is_empty()
}

/// What is in a file whose first line is believed.
fn print_contents(report: &EvidenceReport, row: impl Fn(&str, &str)) {
    row("checkpoint", &counted(report.size, "record"));
    for one in &report.cosigned {
        row("cosigned", &by(&one.witness, one.time));
    }
    for size in &report.continues {
        row("continues", &format!("the checkpoint of {}", counted(*size, "record")));
    }
    let records = match (report.first, report.last) {
        (Some(first), Some(last)) if report.gapless => {
            format!(", {first} to {last}: all of the log from the one to the other")
        }
        (Some(first), Some(last)) => {
            format!(
                ", between {first} and {last}: the log has others there, of which the file does not say whether they fit"
            )
        }
        _ => String::new(),
    };
    row("records", &format!("{}{records}", report.records));
    row("configurations", &report.configurations.to_string());
}

fn print_evidence(file: &str, report: &EvidenceReport) {
    let row = |label: &str, text: &str| output::line(&format!("{label:<15}{}", printable(text)));
    row("file", file);
    row("log", &report.log);
    row("key", &report.key);
    row("asked", &report.asked.to_string());
    if let Some(exported) = &report.exported {
        row("exported", &format!("{} by {}, as the file says", exported.at, exported.by));
    }
    if report.is_read() {
        print_contents(report, row);
    }
    for finding in &report.findings {
        let text = format!("line {}: {}", finding.line, printable(&finding.what));
        output::line(&format!("{:<15}{}", "WRONG", output::verdict(&text, false)));
    }
    for (snapshot, why) in &report.missing {
        row("note", &format!("the configuration {snapshot} is not in the file, which says: {why}"));
    }
    if report.restated > 0 {
        let of = counted(report.restated as u64, "configuration");
        row(
            "note",
            &format!(
                "of {of} the words of what stood by acts, or refused without being in force, are restated: nothing proves them"
            ),
        );
    }
    if !report.key_given {
        row(
            "note",
            "the key is the file's own: whoever made the file may have made the log too; --key says which to believe",
        );
    }
    if !report.is_read() {
        row("note", "nothing else of the file was looked at");
    } else if report.records == 0 {
        row("note", "the file has no records: nothing of the log is in it, whatever was asked for");
    }
    let verdict = match (report.proven, report.missing.len()) {
        (true, 0) if report.records == 0 => "nothing is proven: no records".to_owned(),
        (true, 0) => "proven".to_owned(),
        (true, missing) => {
            let missing = counted(missing as u64, "configuration");
            format!("proven, but for {missing} that decided: no text of it is in the file")
        }
        (false, _) => "NOT PROVEN".to_owned(),
    };
    output::line(&format!(
        "{:<15}{}",
        "verdict",
        output::verdict(&verdict, report.proven && is_whole(report))
    ));
}

pub(super) fn by(witness: &str, time: u64) -> String {
    let at = i64::try_from(time).ok().and_then(|time| Timestamp::from_second(time).ok());
    format!("by {witness} at {}", at.map_or_else(|| time.to_string(), |at| at.to_string()))
}

fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
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
    row("log", &printable(&report.origin));
    row("key", &printable(&report.key));
    let pruned = report.notes.iter().find_map(|note| match note {
        Note::Pruned(pruned) => Some(pruned.minimum()),
        _ => None,
    });
    let from =
        pruned.map_or(String::new(), |minimum| format!(", of which those before {minimum} were pruned"));
    row("records", &format!("{} in {}{from}", report.records, counted(report.segments as u64, "segment")));
    if let Some(checkpoint) = &report.checkpoint {
        row("checkpoint", &format!("{}, root {}", counted(checkpoint.size, "record"), checkpoint.root));
    }
    if let Some(cosigned) = report.cosigned.as_ref().filter(|cosigned| !cosigned.by.is_empty()) {
        for one in &cosigned.by {
            let text = format!("{}, {}", counted(cosigned.size, "record"), by(&one.witness, one.time));
            row("cosigned", &printable(&text));
        }
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
