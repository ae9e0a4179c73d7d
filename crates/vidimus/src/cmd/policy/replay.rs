//! `vidimus policy replay`: proposed policies over the calls that were made.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use vidimus_core::snapshot::Snapshot;
use vidimus_query::check;
use vidimus_query::replay::{self, By, Counts, Objects, ReplayAnswer, ReplayQuestion};
use vidimus_registry::configurations::Archive;

use crate::cmd::as_of::AsOf;
use crate::cmd::audit::moment;
use crate::cmd::data_directory;
use crate::cmd::progress::Progress;
use crate::output::{self, Format};

/// Decides the calls that were made once more, by proposed policies.
///
/// Each recorded call is decided by the proposed policies over the agents, servers and providers that were in force when it was made,
/// with the facts that its record has. What a record lacks (the arguments, but for those that decided) is not guessed: the call is unknown,
/// with the fact, unless it is decided either way. Without --resources each call is decided again by the configuration that decided it.
/// Exits 0 when every call stays as it was, 1 when one changes or is unknown, 2 when nothing could be replayed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus policy replay --resources proposed/ --data /var/lib/vidimus --since 7d
  vidimus policy replay --resources proposed/ --principal finance/invoice-bot
  vidimus policy replay --resources proposed/ -o json \\
    | jq '.edges[] | select(.calls.allow_to_deny > 0)'
  vidimus policy replay --data DIR        # is every record as it was decided?

Exit codes: 0 all stay, 1 some change or are unknown, 2 could not replay")]
pub(super) struct Replay {
    /// Directory of the proposed resources, of which the policies count.
    #[arg(long, value_name = "PROPOSED")]
    resources: Option<PathBuf>,
    #[command(flatten)]
    as_of: AsOf,
    /// Whose agents, servers and providers count.
    #[arg(long, value_enum, default_value_t = ObjectsArg::InForce, requires = "resources")]
    objects: ObjectsArg,
    /// The data directory of `vidimus serve`.
    #[arg(long, env = "VIDIMUS_DATA", default_value = "vidimus-data")]
    data: PathBuf,
    #[command(flatten)]
    calls: Calls,
}

/// Which recorded calls.
#[derive(Debug, Args)]
pub(super) struct Calls {
    /// Who called: an Agent or ServiceIdentity.
    #[arg(long, visible_alias = "agent")]
    pub(super) principal: Option<String>,
    /// What was asked for: a tool, agent, skill, model, resource or prompt.
    #[arg(long, visible_alias = "tool")]
    pub(super) resource: Option<String>,
    /// Not before: a time (RFC 3339), a day (its beginning, UTC), or how long ago (15m, 8h, 1h30m, 7d).
    #[arg(long, value_parser = moment)]
    pub(super) since: Option<Timestamp>,
    /// Before: a time, a day (its beginning, UTC), or how long ago.
    #[arg(long, value_parser = moment)]
    pub(super) until: Option<Timestamp>,
}

/// See [`Objects`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ObjectsArg {
    /// Those that were in force when the call was made.
    InForce,
    /// Those in the proposed directory.
    Proposed,
}

impl Calls {
    pub(super) fn question(&self) -> ReplayQuestion {
        ReplayQuestion {
            principal: self.principal.clone(),
            resource: self.resource.clone(),
            since: self.since,
            until: self.until,
            ..ReplayQuestion::default()
        }
    }
}

/// What a directory says. What is malformed is no proposal: it is not known what it would forbid.
pub(super) fn proposed(directory: &Path, as_of: AsOf) -> anyhow::Result<Arc<Snapshot>> {
    std::fs::read_dir(directory).with_context(|| format!("{} cannot be read", directory.display()))?;
    let loaded = as_of.load(directory);
    let wrong = check::Counts::of(&loaded).wrong();
    if !wrong.is_empty() {
        bail!("{}: {}; `vidimus check` tells why", directory.display(), wrong.join(", "));
    }
    Ok(loaded.snapshot)
}

pub(super) fn run(replay: &Replay, format: Format) -> anyhow::Result<ExitCode> {
    let ledger = data_directory::ledger(&replay.data)?;
    let objects = match replay.objects {
        ObjectsArg::InForce => Objects::InForce,
        ObjectsArg::Proposed => Objects::Proposed,
    };
    let question = ReplayQuestion { resources: replay.resources.clone(), objects, ..replay.calls.question() };
    let by = match &replay.resources {
        Some(directory) => By::Proposed(proposed(directory, replay.as_of)?, objects),
        None => By::Itself,
    };
    let archive = Archive::at(&data_directory::configurations(&replay.data));
    let mut progress = Progress::begin("replayed");
    let answer = replay::replay(&ledger, &archive, &question, &by, &mut |read| progress.at(read))?;
    progress.end();
    show(&answer, format)
}

/// Prints what became of the calls; the verdict.
pub(super) fn show(answer: &ReplayAnswer, format: Format) -> anyhow::Result<ExitCode> {
    for damage in &answer.damage {
        output::warning(damage);
    }
    if answer.calls.all() == 0 {
        output::warning("no recorded call fits, so nothing was replayed");
    }
    match format {
        Format::Json => output::json(answer)?,
        Format::Table => print(answer),
    }
    // Where nothing was decided again, nothing is known to stay.
    let none = answer.calls.all() == 0 && answer.damage.is_empty();
    Ok(ExitCode::from(if none { 2 } else { u8::from(!answer.holds()) }))
}

fn print(answer: &ReplayAnswer) {
    if !answer.edges.is_empty() {
        let headers = [
            "PRINCIPAL",
            "ACTION",
            "RESOURCE",
            "ALLOW→DENY",
            "DENY→ALLOW",
            "UNKNOWN",
            "STAYS",
            "WHY",
            "CALL",
        ];
        let mut table = output::table(&headers, &[0, 3, 4, 5, 6], output::width());
        for edge in &answer.edges {
            let Counts { allow_to_deny, deny_to_allow, unknown, .. } = edge.calls;
            let count = |count: u64| if count == 0 { String::new() } else { count.to_string() };
            let why: Vec<&str> = edge.policies.iter().chain(&edge.lacking).map(String::as_str).collect();
            table.add_row(
                [
                    &*output::printable(&edge.principal),
                    &edge.action,
                    &output::printable(&edge.resource),
                    &count(allow_to_deny),
                    &count(deny_to_allow),
                    &count(unknown),
                    &count(edge.calls.stays()),
                    &output::printable(&why.join(", ")),
                    &edge.example,
                ]
                .map(output::cell),
            );
        }
        output::line(table.to_string().trim_end());
    }
    if answer.edges_left_out > 0 {
        let more = check::counted(answer.edges_left_out, "more edge");
        output::line(&format!(
            "{more} with calls that change or are not known: ask with --principal or --resource"
        ));
    }
    for (configuration, why) in &answer.unusable {
        output::line(&format!("not usable  {configuration}: {why}"));
    }
    for configuration in &answer.unverified {
        output::line(&format!("not verified  {configuration}: kept by another version of Vidimus"));
    }
    let Counts { allow_to_deny, deny_to_allow, unknown, .. } = answer.calls;
    let summary = format!(
        "{} recorded: {} stay, {allow_to_deny} would be denied, {deny_to_allow} would be allowed, {unknown} unknown",
        check::counted(usize::try_from(answer.calls.all()).unwrap_or(usize::MAX), "call"),
        answer.calls.stays(),
    );
    output::line(&output::verdict(&summary, answer.holds()));
}
