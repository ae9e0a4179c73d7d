//! `vidimus audit`: what happened, and the proof of it. Reads only; works beside a running gateway and without one.

mod show;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde_json::Value;
use vidimus_ledger::Query;

use crate::cmd::identity::duration;
use crate::output::{self, Format};

/// Searches, shows and verifies the ledger.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus audit search --data DIR --outcome deny --since 1h    who was refused, and why
  vidimus audit show --data DIR CALL                           everything about one call
  vidimus audit verify --data DIR                              is the log what it was?")]
pub struct Audit {
    /// The data directory, the same as of `vidimus serve`.
    #[arg(long, env = "VIDIMUS_DATA", global = true, default_value = "vidimus-data")]
    data: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Search(Box<Search>),
    Show(show::Show),
    Verify(verify::Verify),
    Prove(show::Prove),
}

/// Finds records, newest first.
///
/// Names fit from any slash on: get_invoice, ledger/get_invoice and Tool/finance/ledger/get_invoice are the same tool.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus audit search --outcome deny --since 1h
  vidimus audit search --agent finance/invoice-bot --tool transfer
  vidimus audit search --user ada@example.com -o json | jq -r '.policies[]' | sort | uniq -c")]
struct Search {
    /// Who called: an Agent or ServiceIdentity.
    #[arg(long)]
    agent: Option<String>,
    /// The person on whose behalf.
    #[arg(long)]
    user: Option<String>,
    /// A policy that decided, or came near.
    #[arg(long)]
    policy: Option<String>,
    /// allow or deny; for effects ok, error, failed or cancelled.
    #[arg(long)]
    outcome: Option<String>,
    /// What was asked for: a tool, agent, skill, model, resource or prompt.
    #[arg(long, visible_alias = "resource")]
    tool: Option<String>,
    /// Stable code of a denial, e.g. no_permit.
    #[arg(long)]
    code: Option<String>,
    /// Which records; `all` shows decisions, refusals and effects one by one.
    #[arg(long, value_enum, default_value_t = Kind::Decided)]
    kind: Kind,
    /// The transaction that the hops of one chain share.
    #[arg(long)]
    transaction: Option<String>,
    /// Not before: a time (RFC 3339), or how long ago (15m, 8h, 7d).
    #[arg(long, value_parser = moment)]
    since: Option<Timestamp>,
    /// Before: a time, or how long ago.
    #[arg(long, value_parser = moment)]
    until: Option<Timestamp>,
    /// At most so many records; 0 for all.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Oldest first.
    #[arg(long)]
    oldest_first: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Decisions and refusals.
    Decided,
    Decision,
    Refusal,
    Effect,
    All,
}

pub fn run(audit: &Audit, format: Format) -> anyhow::Result<ExitCode> {
    let dir = audit.data.join("ledger");
    match &audit.command {
        Command::Search(search) => run_search(&dir, search, format),
        Command::Show(show) => show::run(&dir, show, format),
        Command::Verify(verify) => verify::run(&dir, verify, format),
        Command::Prove(prove) => show::run_prove(prove),
    }
}

fn run_search(dir: &std::path::Path, search: &Search, format: Format) -> anyhow::Result<ExitCode> {
    let query = Query {
        agent: search.agent.clone(),
        user: search.user.clone(),
        policy: search.policy.clone(),
        outcome: search.outcome.clone(),
        resource: search.tool.clone(),
        kind: match search.kind {
            Kind::Decision => Some("decision".to_owned()),
            Kind::Refusal => Some("refusal".to_owned()),
            Kind::Effect => Some("effect".to_owned()),
            Kind::Decided | Kind::All => None,
        },
        code: search.code.clone(),
        transaction: search.transaction.clone(),
        id: None,
        since: search.since,
        until: search.until,
        // `Decided` leaves out effects below, so the limit is counted there.
        limit: None,
        newest_first: !search.oldest_first,
    };
    let most = if search.limit == 0 { usize::MAX } else { search.limit };
    let mut table = output::table(&["TIME", "WHO", "FOR", "WHAT", "DECISION", "POLICY OR CODE", "CALL"]);
    let mut found = 0;
    for hit in vidimus_ledger::search(dir, &query)? {
        let record: Value = serde_json::from_slice(&hit?.record)?;
        if search.kind == Kind::Decided && output::text(&record, "kind") == "effect" {
            continue;
        }
        found += 1;
        match format {
            Format::Json => output::json(&record)?,
            Format::Table => {
                table.add_row(row(&record));
            }
        }
        if found == most {
            break;
        }
    }
    if format == Format::Table {
        output::line(&table.to_string());
        if found == 0 {
            output::line("nothing found");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One record as one row, whatever its kind.
fn row(record: &Value) -> Vec<String> {
    let text = |name: &str| output::text(record, name).to_owned();
    let policies = record["policies"]
        .as_array()
        .filter(|policies| !policies.is_empty())
        .map(|policies| policies.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "));
    let (what, decision) = match record["kind"].as_str() {
        Some("decision") => (format!("{} {}", text("method"), text("resource")), text("outcome")),
        Some("refusal") => (text("path"), text("outcome")),
        _ => (format!("{} bytes, status {}", record["bytes_out"], record["status"]), text("result")),
    };
    let good = matches!(decision.as_str(), "allow" | "ok");
    let time = text("time").get(..19).unwrap_or_default().replace('T', " ");
    vec![
        time,
        text("principal"),
        text("user").rsplit('#').next().unwrap_or_default().to_owned(),
        what,
        output::verdict(&decision, good),
        policies.unwrap_or_else(|| text("code")),
        text("id"),
    ]
}

/// A time, or how long ago.
fn moment(text: &str) -> anyhow::Result<Timestamp> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago = duration(text).map_err(|_| {
        anyhow::anyhow!("'{text}' is neither a time (2026-11-21T07:00:00Z) nor how long ago (15m, 8h, 7d)")
    })?;
    Ok(Timestamp::try_from(SystemTime::now() - ago)?)
}
