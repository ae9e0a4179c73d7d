//! `vidimus audit export`: records, with all that it takes to believe them.

mod many;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use jiff::Timestamp;
use vidimus_core::clock::Clock as _;
use vidimus_ledger::{cosigned, read_from};
use vidimus_query::audit::{
    self, EvidenceAsked, ExportAnswer, ExportError, ExportQuestion, Exported, InLog, Kind, Lookup,
    ShowQuestion, Unsearched,
};
use vidimus_registry::configurations::Archive;

pub(super) use self::many::run as run_logs;
use super::search::{Filters, kind, moment};
use super::verify::note;
use crate::clock::SystemClock;
use crate::cmd::progress::Watch;
use crate::output::{self, Format, printable};

/// How long a checkpoint is waited for, and that witnesses cosign it, that covers the youngest records: of a gateway that runs there is one each second.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes one file of evidence: the records that fit, each with its proof, the signed checkpoint that they are proven to, and every
/// policy and resource that was in force when they were decided.
///
/// `vidimus audit verify FILE` checks it anywhere, and so does docs/verify-evidence.py, without Vidimus. The records come in the order of
/// the log. The same question makes the same bytes, as long as the log has the same checkpoint and --at and --by are the same.
///
/// It proves that each record is in the log, word for word; with no filter, or times alone, also that none between the first and
/// the last was left out.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus audit export --call CALL --out evidence.jsonl # one call, whole
  vidimus audit export --principal finance/invoice-bot --since 30d \\
    --out evidence.jsonl
  vidimus audit export --cosigned --out seen.jsonl # what witnesses cosigned
  vidimus audit export --since 2026-11-01 --until 2026-12-01 \\
    --since-checkpoint october.checkpoint --out november.jsonl
  vidimus audit export --ledger A/ledger --ledger B/ledger \\
    --out evidence # a file of each ledger, and an index of them

Exit codes: 0 written, 1 written, and the log is damaged or has younger records
that no checkpoint covers, 2 not written, also where nothing has the --call.")]
pub struct Export {
    #[command(flatten)]
    filters: Filters,
    /// Which records [default: all].
    #[arg(long, value_parser = kind())]
    kind: Option<Kind>,
    /// One call whole, or one approval, by its id; as `audit show` has it.
    #[arg(long, conflicts_with_all = ["Filters", "kind"])]
    call: Option<String>,
    /// An older checkpoint of the log (a copy of DATA/ledger/checkpoint): the file then proves that the log continues it. May be given
    /// several times.
    #[arg(long)]
    since_checkpoint: Vec<PathBuf>,
    /// Prove all to the newest checkpoint that witnesses cosigned, also where the log has a newer one: younger records are left out.
    /// Without it that is taken where it covers all, which is waited for for 5 s where the log has witnesses.
    #[arg(long)]
    cosigned: bool,
    /// The file to write, for its owner alone; of several ledgers the directory of their files, and of index.json, which names them.
    #[arg(long)]
    out: PathBuf,
    /// Who exports, as the file says [default: the user that runs this].
    #[arg(long)]
    by: Option<String>,
    /// When, as the file says [default: now].
    #[arg(long, value_parser = moment)]
    at: Option<Timestamp>,
}

impl Export {
    fn question(&self) -> anyhow::Result<ExportQuestion> {
        let asked = match &self.call {
            Some(id) => EvidenceAsked::Show(ShowQuestion { id: id.clone() }),
            None => EvidenceAsked::Search(self.filters.question(Some(self.kind.unwrap_or(Kind::All)), true)),
        };
        let since = self.since_checkpoint.iter().map(|path| note(path, "--since-checkpoint"));
        let now = || Timestamp::try_from(SystemClock.now().wall).context("the clock has no time");
        let at = self.at.map_or_else(now, Ok)?;
        let exported = Exported { at: format!("{at:.0}"), by: self.by.clone().unwrap_or_else(user) };
        let since_checkpoints = since.collect::<anyhow::Result<_>>()?;
        Ok(ExportQuestion { asked, since_checkpoints, cosigned: self.cosigned, exported })
    }
}

/// The user that runs this, as the system knows it.
pub(super) fn user() -> String {
    let number = format!("uid {}", rustix::process::getuid().as_raw());
    std::env::var("USER").map_or(number.clone(), |name| format!("{name} ({number})"))
}

pub fn run(
    beside: (&Path, &dyn Lookup),
    dir: &Path,
    export: &Export,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let (answer, is_whole) = written(beside, (dir, &[]), export, export.question()?, &export.out)?;
    if answer.records == 0 && answer.younger == 0 {
        output::warning("no record fits: the file proves nothing, nor that there is none");
    }
    match format {
        Format::Json => output::json(&answer)?,
        Format::Table => print(&answer, &export.out),
    }
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Writes the file of one ledger, and says what is not as it was asked for; whether all is. `others` have the same log, or parts of it.
fn written(
    (configurations, lookup): (&Path, &dyn Lookup),
    (dir, others): (&Path, &[PathBuf]),
    export: &Export,
    mut question: ExportQuestion,
    out: &Path,
) -> anyhow::Result<(ExportAnswer, bool)> {
    regular(out)?;
    let covered = wait_for_checkpoint(dir);
    let unwitnessed = covered.and_then(|covered| wait_for_witnesses(dir, covered));
    question.cosigned |= covered.is_some() && unwitnessed.is_none() && cosigned(dir).is_some();
    let write = |lookup: &dyn Lookup| {
        whole(out, |file| write((configurations, lookup), (dir, others), &question, file))
    };
    let reading = Watch::begin();
    let answer = match write(lookup) {
        // A row of an index that is no record: what the log itself has is proven, or is not.
        Err(error) if is_unproven(&error) => write(&InLog(dir.to_owned()))?,
        answer => answer?,
    };
    drop(reading);
    for damage in &answer.damage {
        output::warning(&format!("{damage}; `vidimus audit verify` tells more"));
    }
    if let EvidenceAsked::Search(asked) = &question.asked {
        super::warn_of_pruned(dir, asked.since)?;
    }
    // What came after this began is not what was asked for.
    let uncosigned = export.cosigned && unwitnessed.is_some();
    let behind = answer.younger > 0 && (covered.is_none() || uncosigned);
    if let Some(size) = unwitnessed.filter(|_| !question.cosigned) {
        output::warning(&format!(
            "the newest checkpoint that witnesses cosigned is of {size} records and does not cover all: the file is proven to one that they \
             have not cosigned; --cosigned takes theirs"
        ));
    }
    if behind && uncosigned {
        output::warning(&format!(
            "{} younger records fit and are not in the file: witnesses have not cosigned a checkpoint that covers them",
            answer.younger
        ));
    } else if behind {
        output::warning(&format!(
            "{} younger records fit and are not in the file: no checkpoint covered them within {} s; a gateway that runs, or is started, signs one each second: export again then",
            answer.younger,
            PATIENCE.as_secs()
        ));
    }
    for (snapshot, why) in &answer.missing {
        output::warning(&format!("the configuration {snapshot} is not in the file: {why}"));
    }
    let is_whole = answer.damage.is_empty() && !behind;
    Ok((answer, is_whole))
}

/// Of the file that was asked for, whatever it is called until it is whole.
fn unwritten(out: &Path) -> String {
    format!("--out {} cannot be written", out.display())
}

/// Whether it is a record that cannot be proven to be in the log, or that nothing is of what was asked for.
fn is_unproven(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(ExportError::is_unproven)
}

fn write(
    (configurations, lookup): (&Path, &dyn Lookup),
    (dir, others): (&Path, &[PathBuf]),
    question: &ExportQuestion,
    file: &File,
) -> anyhow::Result<ExportAnswer> {
    let archive = Archive::at(configurations);
    let mut buffered = BufWriter::with_capacity(256 * 1024, file);
    audit::export_by(lookup, (dir, others), &archive, question, &mut buffered).map_err(|error| match error {
        ExportError::Unsearched(Unsearched::Misasked(misasked)) => crate::cmd::misasked(&misasked),
        error => error.into(),
    })
}

/// That a file can be put at `--out`: what is renamed into its place would take the place of a device, a pipe or a link, and not write to it.
pub(super) fn regular(out: &Path) -> anyhow::Result<()> {
    let is_file = |metadata: fs::Metadata| metadata.is_file();
    ensure!(
        fs::symlink_metadata(out).map_or(true, is_file),
        "--out {}: it is there and is no regular file; name a file",
        out.display()
    );
    Ok(())
}

/// Has a file written, for its owner alone, that gets its name when it is finished and on disk: what is not finished is no evidence.
pub(super) fn whole<T>(out: &Path, write: impl FnOnce(&File) -> anyhow::Result<T>) -> anyhow::Result<T> {
    // Beside it, under a name that nobody else has.
    let beside = out.with_added_extension(format!("{}.tmp", uuid::Uuid::new_v4()));
    let flag = || unwritten(out);
    let written = || {
        let options = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside);
        let file = options.with_context(flag)?;
        let answer = write(&file)?;
        file.sync_all().and_then(|()| put(&beside, out)).with_context(flag)?;
        Ok(answer)
    };
    let written = written();
    if written.is_err() {
        // Why it could not be written is told.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Gives the file its name, which is on disk when this returns.
fn put(beside: &Path, out: &Path) -> io::Result<()> {
    fs::rename(beside, out)?;
    let directory = out.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

fn print(answer: &ExportAnswer, out: &Path) {
    let ExportAnswer { records, size, configurations, .. } = answer;
    output::line(&format!(
        "{records} records and {configurations} configurations that decided them, proven to the checkpoint of {size} records"
    ));
    for witness in &answer.witnesses {
        output::line(&format!("cosigned by {}, as that says", printable(witness)));
    }
    let out = out.display().to_string();
    let out = printable(&out);
    output::line(&format!("written to {out}; anybody can check it:"));
    output::line(&format!("  vidimus audit verify {out} --key KEY"));
    output::line(&format!("  python3 docs/verify-evidence.py {out} --key KEY"));
}

/// Waits until a checkpoint covers the records that are there now; how many these are, where one does. Where none comes, nobody writes
/// the log, or it is written faster than it is read.
pub(super) fn wait_for_checkpoint(dir: &Path) -> Option<u64> {
    let until = Instant::now() + PATIENCE;
    let signed = || read_from(dir, 0).map(|reading| reading.watermark().signed);
    let mut reading = signed().and_then(|signed| read_from(dir, signed)).ok()?;
    while let Some(Ok(_)) = reading.next() {
        if Instant::now() >= until {
            return None;
        }
    }
    let all = reading.index();
    wait_until(until, || !signed().is_ok_and(|signed| signed < all));
    signed().is_ok_and(|signed| signed >= all).then_some(all)
}

/// Waits until witnesses have cosigned a checkpoint of `all` records, if they ever cosigned one; of how many the newest is, where it is
/// of fewer.
fn wait_for_witnesses(dir: &Path, all: u64) -> Option<u64> {
    let size = || cosigned(dir).map(|cosigned| cosigned.checkpoint.size);
    wait_until(Instant::now() + PATIENCE, || size().is_none_or(|size| size >= all));
    size().filter(|size| *size < all)
}

fn wait_until(until: Instant, holds: impl Fn() -> bool) {
    while Instant::now() < until && !holds() {
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        export: Export,
    }

    /// A call is whole, so no filter narrows it: whatever filters there will be.
    #[test]
    fn a_call_is_exported_whole() {
        let parsed = |line: &str| Line::try_parse_from(line.split(' '));
        let export = parsed("x --out f --call 1").expect("parsed").export;
        assert_eq!(export.call.as_deref(), Some("1"));
        assert!(parsed("x --out f --server a/b --kind act").is_ok());
        for filter in ["--server a/b", "--on-behalf-of a/b", "--principal a/b", "--since 1h", "--kind act"] {
            assert!(parsed(&format!("x --out f --call 1 {filter}")).is_err(), "{filter}");
        }
    }
}
