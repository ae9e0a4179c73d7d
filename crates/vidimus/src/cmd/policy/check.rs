//! `vidimus policy check`: whether the policies mean what they say.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use vidimus_core::clock::Clock as _;
use vidimus_gateway::millis;
use vidimus_query::check::counted;
use vidimus_query::review::{self, Class, Review};
use vidimus_query::state::State;

use crate::clock::SystemClock;
use crate::cmd::as_of::AsOf;
use crate::cmd::check::{readable, warned};
use crate::output::{self, Format};

/// Checks policies: what `vidimus check` finds, and those that can never matter or permit too much.
///
/// dead: nothing that is registered satisfies it. contradicted: everything that it permits is forbidden. shadowed: another policy says
/// the same and more. over-broad: a permit that leaves open two of who, what is done, and to what. A policy about a kind of object
/// of which none is registered in DIR is not judged by what is registered. Exits 0 when nothing of a class under --deny is found, 1
/// when something is or is rejected, 2 when it could not be checked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus policy check examples/demo
  vidimus policy check --deny all resources/          # for CI
  vidimus policy check --deny contradicted,over-broad resources/
  vidimus policy check -o json resources/ | \\
    jq '.findings[] | {class, policy, source, line, fix}'

Exit codes: 0 nothing that is denied, 1 something is, 2 could not check")]
pub(super) struct Check {
    /// Directory of YAML or JSON files, searched with its subdirectories.
    dir: PathBuf,
    #[command(flatten)]
    as_of: AsOf,
    /// Exit 1 also when something of these classes is found.
    #[arg(long, value_enum, value_delimiter = ',')]
    deny: Vec<Denied>,
}

/// What may be denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Denied {
    Dead,
    Contradicted,
    Shadowed,
    OverBroad,
    /// Warnings of `vidimus check`.
    Warnings,
    All,
}

impl Denied {
    const fn class(self) -> Option<Class> {
        match self {
            Self::Dead => Some(Class::Dead),
            Self::Contradicted => Some(Class::Contradicted),
            Self::Shadowed => Some(Class::Shadowed),
            Self::OverBroad => Some(Class::OverBroad),
            Self::Warnings | Self::All => None,
        }
    }
}

pub(super) fn run(check: &Check, format: Format) -> anyhow::Result<ExitCode> {
    readable(&check.dir)?;
    let state = State::new(check.as_of.load(&check.dir), check.dir.display().to_string());
    let review = review::review(&state, millis(SystemClock.now().wall))?;
    match format {
        Format::Json => output::json(&review)?,
        Format::Table => print(&review),
    }
    let denies = |denied: Denied| check.deny.iter().any(|one| *one == denied || *one == Denied::All);
    let is_denied =
        |class: Class| check.deny.iter().any(|one| *one == Denied::All || one.class() == Some(class));
    let wrong = !review.rejections.is_empty()
        || review.findings.iter().any(|finding| is_denied(finding.class))
        || denies(Denied::Warnings) && !review.warnings.is_empty();
    Ok(if wrong { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn print(review: &Review) {
    let row = |label: &str, text: &str| {
        if !text.is_empty() {
            output::line(&format!("  {label:<7}{text}"));
        }
    };
    for rejection in &review.rejections {
        let what = output::verdict("rejected", false);
        output::line(format!("{what} {} {}", rejection.place(), rejection.object).trim_end());
        row("field", &rejection.field);
        row("value", &rejection.value);
        row("reason", &rejection.reason);
        row("fix", &rejection.fix);
    }
    for finding in &review.findings {
        let what = output::verdict(finding.class.as_str(), false);
        output::line(&format!("{what} {} {}", finding.place(), finding.policy));
        row("reason", &finding.reason);
        row("fix", &finding.fix);
    }
    review.warnings.iter().for_each(|warning| output::line(&warned(warning)));
    let mut summary = vec![format!("{} policies in force", review.policies)];
    for class in Class::ALL {
        let count = review.findings.iter().filter(|finding| finding.class == class).count();
        summary.push(format!("{count} {}", class.as_str()));
    }
    if !review.rejections.is_empty() {
        summary.push(counted(review.rejections.len(), "fault"));
    }
    if !review.warnings.is_empty() {
        summary.push(counted(review.warnings.len(), "warning"));
    }
    let good = review.findings.is_empty() && review.rejections.is_empty();
    output::line(&format!(
        "{}  snapshot {}",
        output::verdict(&summary.join(", "), good),
        review.state.snapshot
    ));
    if !review.untold.is_empty() {
        let untold = review.untold.join(", ");
        output::line(&format!(
            "not found out whether anything registered satisfies {untold}: too many pairs to try"
        ));
    }
    if !review.not_judged.is_empty() {
        let kinds = review.not_judged.join(", ");
        output::line(&format!("no {kinds} in it: policies about them are not judged by what is registered"));
    }
}
