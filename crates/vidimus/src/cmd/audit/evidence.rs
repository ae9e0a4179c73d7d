//! `vidimus audit evidence`: what the record shows of the controls of a framework.

mod many;

use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use vidimus_core::clock::Clock as _;
use vidimus_core::record::Kept;
use vidimus_ledger::{VerifierKey, known_key};
use vidimus_query::audit::{self, Assessment, AssessmentError, AssessmentQuestion, Exported, Gaps, Sample};

pub(super) use self::many::run as run_logs;
use super::export::{regular, user, wait_for_checkpoint, whole};
use super::search::moment;
use crate::clock::SystemClock;
use crate::cmd::progress::Watch;
use crate::output::{self, Format, printable};

/// The exit status where nothing is wrong, and the window has no records, or not all are signed for.
const INCOMPLETE: u8 = 3;

/// Reports what the ledger shows of the controls of a framework: which records are evidence, how many, a few of them with proofs, how to
/// find all of them, and what they do not cover.
///
/// It judges nothing: whether a control is satisfied is for an auditor to say. Each record of the window is proven to the log's checkpoint.
/// The same question makes the same bytes, as long as the log has the same checkpoint and --at and --by are the same.
///
/// Without --out it goes to standard output; with -o json that gets all that the report says, as one document.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus audit evidence --framework soc2 --from 90d --out soc2.html
  vidimus audit evidence --framework dora --from 2026-10-01 --to 2026-11-01 \\
    --format oscal --out october.oscal.json
  vidimus audit evidence --ledger A/ledger --ledger B/ledger --from 90d \\
    --framework soc2 --out soc2 # a report of each, and an overview
  vidimus audit evidence --framework hipaa --from 1h --format ocsf | wc -l

Exit codes: 0 made, and nothing is wrong, 1 made, and something is wrong with
the log, 2 not made, 3 nothing is wrong, and the window has no records, not all
are signed for yet, or some may have been pruned.")]
pub struct Evidence {
    /// Of which framework.
    #[arg(long, value_parser = framework())]
    framework: String,
    /// Not before: a time (RFC 3339), a day (its beginning, UTC), or how long ago (15m, 8h, 1h30m, 7d).
    #[arg(long, value_parser = moment)]
    from: Timestamp,
    /// Before: a time, a day (its beginning, UTC), or how long ago [default: now].
    #[arg(long, value_parser = moment)]
    to: Option<Timestamp>,
    /// In which form.
    #[arg(long = "format", value_enum, default_value_t = Form::Html)]
    form: Form,
    /// The file to write, for its owner alone; of several ledgers the directory of their files, and of an overview of all of them.
    #[arg(long)]
    out: Option<PathBuf>,
    /// So many samples of each kind of evidence: 0 to 20. They are those with the smallest leaf hashes, so nobody chooses them.
    #[arg(long, default_value_t = 3)]
    samples: usize,
    /// The ledger's public key (C2SP vkey), if known from elsewhere; otherwise the log's own is taken. Of several ledgers once for each.
    #[arg(long)]
    key: Vec<String>,
    /// Who makes the report, as it says [default: the user that runs this].
    #[arg(long)]
    by: Option<String>,
    /// When, as it says [default: now].
    #[arg(long, value_parser = moment)]
    at: Option<Timestamp>,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A page for people, which prints.
    Html,
    /// OSCAL assessment results: observations, and no findings.
    Oscal,
    /// OCSF events, one a line: API Activity of each decision, refusal and act, and a Compliance Finding for each control.
    Ocsf,
}

fn framework() -> PossibleValuesParser {
    let all = audit::frameworks().iter();
    PossibleValuesParser::new(all.map(|one| PossibleValue::new(one.name.as_str()).help(one.source.as_str())))
}

impl Evidence {
    /// The keys that are given.
    fn keys(&self) -> anyhow::Result<Vec<VerifierKey>> {
        self.key.iter().map(|key| super::key(key)).collect()
    }

    fn question(&self, key: Option<&VerifierKey>) -> anyhow::Result<AssessmentQuestion> {
        let now = Timestamp::try_from(SystemClock.now().wall).context("the clock has no time")?;
        let at = self.at.unwrap_or(now);
        Ok(AssessmentQuestion {
            framework: self.framework.clone(),
            from: self.from,
            to: self.to.unwrap_or(now),
            samples: self.samples,
            key: key.map(ToString::to_string),
            made: Exported { at: format!("{at:.0}"), by: self.by.clone().unwrap_or_else(user) },
        })
    }
}

pub fn run(dir: &Path, evidence: &Evidence, format: Format) -> anyhow::Result<ExitCode> {
    let keys = evidence.keys()?;
    ensure!(keys.len() < 2, "--key: one ledger has one key");
    let question = evidence.question(keys.first())?;
    // Records of the last second have no checkpoint yet, where a gateway runs.
    let _ = wait_for_checkpoint(dir);
    let assessment = match (&evidence.out, format) {
        (Some(out), _) => written(dir, &question, evidence.form, out)?,
        (None, Format::Table) => made(dir, &question, evidence.form, &mut |line| {
            output::line(line);
            Ok(())
        })?,
        (None, Format::Json) => assess(dir, &question, |_, _| Ok(()))?,
    };
    for finding in &assessment.findings {
        output::warning(&format!("{finding}; `vidimus audit verify` tells more"));
    }
    if assessment.log.records == 0 {
        output::warning(NO_RECORDS);
    }
    warn_of_gaps("", &assessment.gaps);
    match (format, &evidence.out) {
        (Format::Json, _) => output::json(&assessment)?,
        (Format::Table, Some(out)) => print(&assessment, out),
        (Format::Table, None) => {}
    }
    Ok(verdict(assessment.sound, assessment.is_whole()))
}

const NO_RECORDS: &str = "the window has no records: nothing is shown, nor that nothing happened";

/// What is not there of a ledger; `of` says of which, where there are several.
fn warn_of_gaps(of: &str, gaps: &Gaps) {
    if let Some(pruned) = &gaps.pruned {
        output::warning(&format!(
            "{of}{pruned}; they are not looked at, an archive of them is with --ledger"
        ));
    }
    if gaps.younger > 0 {
        output::warning(&format!(
            "{of}{} records of the window are not signed for yet; a gateway that runs, or is started, signs each second",
            gaps.younger
        ));
    }
}

fn verdict(is_sound: bool, is_whole: bool) -> ExitCode {
    match (is_sound, is_whole) {
        (true, true) => ExitCode::SUCCESS,
        (true, false) => ExitCode::from(INCOMPLETE),
        (false, _) => ExitCode::from(1),
    }
}

/// Writes the report of one ledger.
fn written(dir: &Path, question: &AssessmentQuestion, form: Form, out: &Path) -> anyhow::Result<Assessment> {
    regular(out)?;
    let _reading = Watch::begin();
    whole(out, |file| {
        let mut to = BufWriter::with_capacity(256 * 1024, file);
        let made = made(dir, question, form, &mut |line| writeln!(to, "{line}"))?;
        to.flush().with_context(|| format!("--out {}", out.display()))?;
        Ok(made)
    })
}

fn assess(
    dir: &Path,
    question: &AssessmentQuestion,
    visit: impl FnMut(u64, &Kept) -> io::Result<()>,
) -> anyhow::Result<Assessment> {
    audit::assess(dir, question, visit).map_err(|error| match error {
        AssessmentError::Misasked(misasked) => crate::cmd::misasked(&misasked),
        error => error.into(),
    })
}

/// Makes the report, line by line.
fn made(
    dir: &Path,
    question: &AssessmentQuestion,
    form: Form,
    write: &mut dyn FnMut(&str) -> io::Result<()>,
) -> anyhow::Result<Assessment> {
    let log = match form {
        Form::Ocsf => known_key(dir)?.name().to_owned(),
        Form::Html | Form::Oscal => String::new(),
    };
    let assessment = assess(dir, question, |index, record| match form {
        Form::Ocsf => audit::event(&log, index, record).map_or(Ok(()), |event| write(&event.to_string())),
        Form::Html | Form::Oscal => Ok(()),
    })?;
    match form {
        Form::Html => write(audit::html(&assessment).trim_end())?,
        Form::Oscal => write(&serde_json::to_string_pretty(&audit::oscal(&assessment))?)?,
        Form::Ocsf => audit::findings(&assessment).try_for_each(|finding| write(&finding.to_string()))?,
    }
    Ok(assessment)
}

fn print(assessment: &Assessment, out: &Path) {
    let Assessment { title, controls, counts, log, samples, .. } = assessment;
    let denied: u64 = counts.denied.values().sum();
    let refused: u64 = counts.refused.values().sum();
    output::line(&format!(
        "{title}: {} controls; {} records, {} of them proven to the checkpoint of {} records",
        controls.len(),
        log.records,
        log.proven,
        log.size
    ));
    output::line(&format!(
        "{} calls permitted, {denied} denied, {refused} refused, {} held; {} acts of people; {} configurations",
        counts.allowed, counts.held, counts.acts_of_people, counts.configurations
    ));
    output::line(&of_samples(samples));
    output::line(&format!("written to {}", printable(&out.display().to_string())));
}

/// How many samples there are. Where the log is damaged, some may be without a proof.
fn of_samples(samples: &[Sample]) -> String {
    let all = samples.len();
    match samples.iter().filter(|sample| sample.proof.is_some()).count() {
        proven if proven == all => format!("{all} samples, each with its proof"),
        proven => format!("{all} samples, {proven} of them with a proof"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_without_a_proof_is_not_said_to_have_one() {
        let sample = |proof: Option<&str>| Sample {
            index: 0,
            time: String::new(),
            kind: String::new(),
            id: String::new(),
            who: String::new(),
            what: String::new(),
            outcome: String::new(),
            policies: Vec::new(),
            record: String::new(),
            proof: proof.map(str::to_owned),
            unproven: None,
        };
        assert_eq!(of_samples(&[sample(Some("x"))]), "1 samples, each with its proof");
        assert_eq!(of_samples(&[sample(None), sample(None)]), "2 samples, 0 of them with a proof");
        assert_eq!(of_samples(&[sample(Some("x")), sample(None)]), "2 samples, 1 of them with a proof");
    }
}
