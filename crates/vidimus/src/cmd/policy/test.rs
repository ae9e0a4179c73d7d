//! `vidimus policy test`: the cases beside the policies, decided.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use vidimus_core::clock::Clock as _;
use vidimus_gateway::millis;
use vidimus_query::cases::{self, CaseVerdict, TestReport, TestedCase};
use vidimus_query::check::counted;
use vidimus_query::state::State;

use crate::clock::SystemClock;
use crate::cmd::as_of::AsOf;
use crate::output::{self, Format};

/// Decides the cases that stand beside the policies, and compares.
///
/// A case is a call that nobody makes, with what is to be decided of it. Cases are in files *.cases.yaml below DIR, which a gateway does
/// not read as resources. What is not expected may be anything. A case that fails says what is otherwise, and what comes nearest.
/// Exits 0 when all pass, 1 when one fails, or cannot be read or asked, 2 when there is none or a file cannot be read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus policy test examples/demo
  vidimus policy test resources/ --junit cases.xml      # for CI
  vidimus policy test cases/ --resources resources/ -o json

A case, in resources/payments.cases.yaml:
  cases:
    - name: a large transfer is refused
      principal: Agent/finance/invoice-bot
      resource: Tool/finance/ledger/transfer
      args: {amount: 20000}
      depth: 2                              # 1 where it is not given
      user: urn:vidimus:local#ada
      time: 2026-11-27T09:00:00Z            # now where it is not given
      expect: {outcome: deny, code: no_permit, policies: []}

Exit codes: 0 all pass, 1 some do not, 2 could not test")]
pub(super) struct Test {
    /// Directory of cases, and of the resources that they are about.
    dir: PathBuf,
    /// Directory of the resources, where the cases are elsewhere.
    #[arg(long, env = "VIDIMUS_RESOURCES")]
    resources: Option<PathBuf>,
    #[command(flatten)]
    as_of: AsOf,
    /// Write what became of the cases to a file too, as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

pub(super) fn run(test: &Test, format: Format) -> anyhow::Result<ExitCode> {
    let tested = tested(test);
    // What came of the cases is told whatever becomes of the file.
    if let Ok(report) = &tested {
        match format {
            Format::Json => output::json(report)?,
            Format::Table => print(report),
        }
    }
    let written = written(test, &tested);
    match (tested, written) {
        (Ok(report), Ok(())) => Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::from(1) }),
        (Ok(_), Err(unwritten)) => Err(unwritten),
        (Err(error), written) => {
            if let Err(unwritten) = written {
                output::warning(&format!("{unwritten:#}"));
            }
            Err(error)
        }
    }
}

/// Where nothing could be tested, the report says so: one of before would say that all is well.
fn written(test: &Test, tested: &anyhow::Result<TestReport>) -> anyhow::Result<()> {
    let Some(file) = &test.junit else { return Ok(()) };
    let xml = match tested {
        Ok(report) => cases::junit(report)?,
        Err(error) => cases::junit_of_fault(&test.dir.display().to_string(), &format!("{error:#}"))?,
    };
    fs::write(file, xml).with_context(|| format!("--junit {} cannot be written", file.display()))
}

fn tested(test: &Test) -> anyhow::Result<TestReport> {
    let resources = test.resources.as_ref().unwrap_or(&test.dir);
    for directory in [&test.dir, resources] {
        fs::read_dir(directory).with_context(|| format!("{} cannot be read", directory.display()))?;
    }
    let cases = cases::read(&test.dir).map_err(|faults| {
        let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", said.join("\n"))
    })?;
    if cases.is_empty() {
        bail!("no cases below {}; write them to a file such as payments.cases.yaml", test.dir.display());
    }
    let state = State::new(test.as_of.load(resources), resources.display().to_string());
    if let Some(left_out) = state.left_out() {
        output::warning(&format!("{left_out}; `vidimus check` tells why"));
    }
    Ok(cases::test(&state, cases, millis(SystemClock.now().wall)))
}

fn print(report: &TestReport) {
    for case in &report.cases {
        let verdict = output::verdict(case.verdict.as_str(), case.verdict == CaseVerdict::Passed);
        output::line(&format!("{verdict} {}:{} {}", case.file, case.line, output::printable(&case.name)));
        print_failure(case);
    }
    let mut summary = vec![format!("{} passed", counted(report.passed, "case"))];
    for (count, what) in [(report.failed, "failed"), (report.errors, "could not be asked")] {
        if count > 0 {
            summary.push(format!("{count} {what}"));
        }
    }
    let summary = output::verdict(&summary.join(", "), report.holds());
    output::line(&format!("{summary}  snapshot {}", report.state.snapshot));
}

fn print_failure(case: &TestedCase) {
    if case.verdict == CaseVerdict::Passed {
        return;
    }
    if let Some(call) = &case.case {
        output::line(&format!("  call     {} {}", call.principal, call.resource));
    }
    let rows = [("differs", &case.differences), ("nearest", &case.nearest)];
    for (label, sentences) in rows {
        for sentence in sentences {
            output::line(&format!("  {label:<9}{}", output::printable(sentence)));
        }
    }
    if let Some(next) = case.found.as_ref().map(|found| &found.next).filter(|next| !next.is_empty()) {
        output::line(&format!("  next     {next}"));
    }
}
