//! `vidimus policy fmt`: the Cedar of policies in one form.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use vidimus_query::check::counted;
use vidimus_query::format::{self, FormatAnswer};

use crate::output::{self, Format};

/// Formats the Cedar of policies, inside the YAML that they stand in.
///
/// The layout and the comments of the YAML stay as they are, and so do the comments of the Cedar. What is not understood is left as it is
/// and named. What is read are the documents of kind Policy in the files of a directory that end in .yaml or .yml, and in files that are
/// named, whatever they are called; Cedar that stands in no YAML is not. A file is replaced whole, so a gateway that watches it sees no half
/// of it. Exits 0 when all is in the one form, 1 with --check when something is not or when something was left as it is, 2 when there is no
/// policy or a file cannot be read or written.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus policy fmt resources/
  vidimus policy fmt --check resources/       # for CI: writes nothing
  vidimus policy fmt payments.yaml -o json

Exit codes: 0 in form, 1 something is not, 2 could not format")]
pub(super) struct Fmt {
    /// Files, and directories of them.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Write nothing, and exit 1 when something is not in the one form.
    #[arg(long)]
    check: bool,
}

pub(super) fn run(asked: &Fmt, format: Format) -> anyhow::Result<ExitCode> {
    let (answer, rewritten) = format::format(&asked.paths)?;
    if !asked.check {
        for file in &rewritten {
            vidimus_registry::rewrite(&file.path, &file.text)
                .with_context(|| file.path.display().to_string())?;
        }
    }
    for link in &answer.outside {
        output::warning(&format!(
            "{link} leads out of what is formatted, and what it leads to stays as it is"
        ));
    }
    if answer.policies == 0 {
        let paths: Vec<String> = asked.paths.iter().map(|path| path.display().to_string()).collect();
        bail!(
            "no policies in {}: what is formatted is spec.cedar of documents of kind Policy, in files of YAML (.yaml, .yml)",
            paths.join(", ")
        );
    }
    for file in &answer.without {
        output::warning(&format!("{file} has no policy in YAML that can be read, and stays as it is"));
    }
    match format {
        Format::Json => output::json(&answer)?,
        Format::Table => print(&answer, asked.check),
    }
    let wrong = answer.left > 0 || asked.check && answer.changed > 0;
    Ok(if wrong { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn print(answer: &FormatAnswer, check: bool) {
    let what = if check { "not in form" } else { "formatted" };
    for file in &answer.files {
        for policy in &file.changed {
            output::line(&format!("{} {} {policy}", output::verdict(what, !check), file.file));
        }
        for left in &file.left {
            let place = format!("{}:{}", file.file, left.line);
            output::line(&format!(
                "{} {place} {}: {}",
                output::verdict("left", false),
                left.policy,
                left.reason
            ));
        }
    }
    let counts = [(answer.changed, what), (answer.left, "left as they are")];
    let mut summary = vec![counted(answer.policies, "policy").replace("policys", "policies")];
    summary
        .extend(counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    let good = answer.left == 0 && !(check && answer.changed > 0);
    output::line(&output::verdict(&summary.join(", "), good));
}
