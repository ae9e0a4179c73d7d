//! `vidimus policy plan`: the digests of a plan's steps.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use vidimus_query::plan;

use crate::output::{self, Format, printable};

/// Prints the digests of a plan: for a policy that permits just these calls.
///
/// A plan is a file of calls of tools, each with exactly its arguments. A Policy whose spec.plan has their digests permits, of what it would
/// permit, just these: whoever approves the policy approves the plan. Nothing is said of the order of the steps, nor of how often each is
/// taken.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus policy plan plan.yaml              # to be pasted into spec:
  vidimus policy plan plan.yaml -o json | jq -r '.steps[].digest'

A plan:
  steps:
    - tool: finance/bank/transfer
      arguments: {to: acme, amount: 100}
      beside: {…}   # what else the message says, as `approvals show` has it

Exit codes: 0 printed, 2 it is no plan")]
pub(super) struct Plan {
    /// The file, YAML or JSON; - for standard input.
    file: PathBuf,
}

pub(super) fn run(asked: &Plan, format: Format) -> anyhow::Result<ExitCode> {
    let file = plan::read(&asked.file)?;
    let answer = plan::plan(&file).with_context(|| asked.file.display().to_string())?;
    match format {
        Format::Json => output::json(&answer)?,
        Format::Table => {
            output::line("plan:");
            for step in &answer.steps {
                // What stands behind the mark is for who reads it.
                let said = format!("{} {}", step.tool, step.arguments);
                output::line(&format!("  - {} # {}", step.digest, printable(said.trim_end())));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
