//! `vidimus policy suggest`: least privilege from what was used.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use vidimus_query::check::counted;
use vidimus_query::suggest::{self, LentEdge, SuggestQuestion};

use crate::cmd::audit::moment;
use crate::cmd::data_directory;
use crate::cmd::progress::Progress;
use crate::output::{self, Format};

/// Prints policies that permit exactly what was used, for each agent.
///
/// From the recorded calls that were let through: who, which action, on what. Put in the place of the permits in force, they deny nothing
/// of that, and everything else that a call can ask for; what the use of something implies (the handshake with its server, the listing
/// of its provider's models, the card of its agent) stays implied. What was used by a grant alone is left out, with a remark. The conditions of the permits in force are not taken over. Exits 0 when
/// anything was used, 1 when nothing was or the log is damaged, 2 when nothing could be read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus policy suggest --data /var/lib/vidimus --since 30d > used.yaml
  vidimus policy suggest --agent finance/invoice-bot --cedar
  vidimus policy suggest -o json | jq '.policies[].edges[]'

Exit codes: 0 suggested, 1 nothing was used or not all could be read,
2 could not read")]
pub(super) struct Suggest {
    /// The data directory of `vidimus serve`.
    #[arg(long, env = "VIDIMUS_DATA", default_value = "vidimus-data")]
    data: PathBuf,
    /// Who called: an Agent or ServiceIdentity. Everybody where it is not given.
    #[arg(long, visible_alias = "agent")]
    principal: Option<String>,
    /// Not before: a time (RFC 3339), a day (its beginning, UTC), or how long ago (15m, 8h, 1h30m, 7d).
    #[arg(long, value_parser = moment)]
    since: Option<Timestamp>,
    /// Before: a time, a day (its beginning, UTC), or how long ago.
    #[arg(long, value_parser = moment)]
    until: Option<Timestamp>,
    /// Print Cedar alone, instead of YAML objects.
    #[arg(long)]
    cedar: bool,
}

pub(super) fn run(asked: &Suggest, format: Format) -> anyhow::Result<ExitCode> {
    let ledger = data_directory::ledger(&asked.data)?;
    let question =
        SuggestQuestion { principal: asked.principal.clone(), since: asked.since, until: asked.until };
    let mut progress = Progress::begin("read");
    let answer = suggest::suggest(&ledger, &question, &mut |read| progress.at(read))?;
    progress.end();
    for damage in &answer.damage {
        output::warning(&format!("what was used in a part that cannot be read is not permitted: {damage}"));
    }
    for LentEdge { principal, action, resource, calls } in &answer.lent {
        let calls = counted(usize::try_from(*calls).unwrap_or(usize::MAX), "call");
        output::warning(&format!(
            "left out: {principal} {action} {resource}, {calls} by grants alone, which were for one task"
        ));
    }
    match format {
        Format::Json => output::json(&answer)?,
        Format::Table if asked.cedar => {
            for policy in &answer.policies {
                output::line(&format!("// {}/{}: {}", policy.namespace, policy.name, policy.description));
                output::line(&policy.cedar);
            }
        }
        Format::Table => {
            let principals = counted(answer.principals, "principal");
            let edges = counted(answer.edges, "edge");
            output::line(&format!("# {principals} used {edges} by {} calls.", answer.calls));
            output::line(suggest::yaml(&answer.policies).trim_end());
        }
    }
    let whole = !answer.policies.is_empty() && answer.damage.is_empty();
    if answer.policies.is_empty() {
        output::warning("no recorded call that fits was let through, so there is nothing to permit");
    }
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
