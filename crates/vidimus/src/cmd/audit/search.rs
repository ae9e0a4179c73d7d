//! `vidimus audit search`: records by what they say.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde_json::Value;
use vidimus_core::clock::Clock as _;
use vidimus_core::refusal::Code;
use vidimus_ledger::Query;

use crate::clock::SystemClock;
use crate::cmd::identity::duration;
use crate::output::{self, Format};

/// Finds records, newest first.
///
/// Names fit from any slash on: get_invoice, ledger/get_invoice and Tool/finance/ledger/get_invoice are the same tool.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus audit search --outcome deny --since 1h
  vidimus audit search --agent finance/invoice-bot --tool transfer
  vidimus audit search --user ada@example.com -o json \\
    | jq -r '.policies[]?' | sort | uniq -c

Exit codes: 0 searched (also when nothing was found), 1 the log is damaged and
what could be read was searched, 2 not searched.")]
pub struct Search {
    /// Who called: an Agent or ServiceIdentity.
    #[arg(long)]
    agent: Option<String>,
    /// The person on whose behalf.
    #[arg(long)]
    user: Option<String>,
    /// A policy that decided, or a permit that was among the closest.
    #[arg(long)]
    policy: Option<String>,
    /// How it was decided, or how its effect ended.
    #[arg(long, value_enum)]
    outcome: Option<Outcome>,
    /// What was asked for: a tool, agent, skill, model, resource or prompt.
    #[arg(long, visible_alias = "resource")]
    tool: Option<String>,
    /// Stable code of a denial, e.g. no_permit.
    #[arg(long, value_parser = code)]
    code: Option<String>,
    /// Which records [default: decided; effect where --outcome is that of an effect].
    #[arg(long, value_enum)]
    kind: Option<Kind>,
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
    /// Calls that policies decided.
    Decision,
    /// Calls refused before policies were asked.
    Refusal,
    /// What came of the calls that were let pass.
    Effect,
    /// All of them, one by one.
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Outcome {
    Allow,
    /// Allowed, and something had to be done with the call or its answer.
    AllowWithObligations,
    /// Held until a person approves it.
    Hold,
    Deny,
    /// An effect: the upstream did it.
    Ok,
    /// An effect: the upstream answered with the protocol's own error.
    Error,
    /// An effect: the answer could not be read, so it may be an error.
    Unknown,
    /// An effect: there was no full answer.
    Failed,
    /// An effect: the caller left.
    Cancelled,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::AllowWithObligations => "allow-with-obligations",
            Self::Hold => "hold",
            Self::Deny => "deny",
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn of_effect(self) -> bool {
        !matches!(self, Self::Allow | Self::AllowWithObligations | Self::Hold | Self::Deny)
    }
}

/// From this width on, a table of one column for everything is worth reading; below, what belongs together is put together.
const WIDE: u16 = 150;

pub fn run(dir: &Path, search: &Search, format: Format) -> anyhow::Result<ExitCode> {
    let kind = search.kind()?;
    let limit = if search.limit == 0 { usize::MAX } else { search.limit };
    let (mut rows, mut found, mut more, mut damaged) = (Vec::new(), 0, false, false);
    for hit in vidimus_ledger::search(dir, &search.query(kind))? {
        let record: Value = match hit {
            Ok(hit) => serde_json::from_slice(&hit.record)?,
            Err(damage) => {
                // On standard error, and before the rows that are not all there are because of it.
                output::warning(&format!("{damage}; `vidimus audit verify` tells more"));
                damaged = true;
                continue;
            }
        };
        if kind == Kind::Decided && output::text(&record, "kind") == "effect" {
            continue;
        }
        if found == limit {
            more = true;
            break;
        }
        found += 1;
        match format {
            Format::Json => output::json(&record)?,
            Format::Table => rows.push(Row::of(&record)),
        }
    }
    if format == Format::Table {
        print(&rows, output::width());
    }
    if more {
        let which = if search.oldest_first { "oldest" } else { "newest" };
        output::warning(&format!("only the {which} {found} are shown, there are more; --limit 0 shows all"));
    }
    Ok(if damaged { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

impl Search {
    /// Which records are meant; an error where no record can fit, which would read as that nothing happened.
    fn kind(&self) -> anyhow::Result<Kind> {
        let effect = self.outcome.map(Outcome::of_effect);
        let kind = self.kind.unwrap_or(if effect == Some(true) { Kind::Effect } else { Kind::Decided });
        if let (Some(outcome), Some(effect)) = (self.outcome, effect)
            && kind != Kind::All
            && effect != (kind == Kind::Effect)
        {
            anyhow::bail!("no record of the --kind asked for has the --outcome {}", outcome.as_str());
        }
        let of_calls = self.agent.is_some()
            || self.user.is_some()
            || self.policy.is_some()
            || self.tool.is_some()
            || self.transaction.is_some();
        if of_calls && (kind == Kind::Effect || effect == Some(true)) {
            anyhow::bail!(
                "the record of an effect does not repeat who asked for what; search for the decisions, and \
                 `vidimus audit show CALL` has the effect of each"
            );
        }
        Ok(kind)
    }

    fn query(&self, kind: Kind) -> Query {
        Query {
            agent: self.agent.clone(),
            user: self.user.clone(),
            policy: self.policy.clone(),
            outcome: self.outcome.map(|outcome| outcome.as_str().to_owned()),
            resource: self.tool.clone(),
            kind: match kind {
                Kind::Decision => Some("decision".to_owned()),
                Kind::Refusal => Some("refusal".to_owned()),
                Kind::Effect => Some("effect".to_owned()),
                Kind::Decided | Kind::All => None,
            },
            code: self.code.clone(),
            transaction: self.transaction.clone(),
            id: None,
            since: self.since,
            until: self.until,
            // `Decided` leaves out effects, so the limit is counted by the caller.
            limit: None,
            newest_first: !self.oldest_first,
        }
    }
}

/// One record in one row, whatever its kind. All of it is printable.
#[derive(Debug)]
struct Row {
    time: String,
    who: String,
    on_behalf: String,
    what: String,
    decision: String,
    why: String,
    call: String,
}

impl Row {
    fn of(record: &Value) -> Self {
        let text = |name: &str| output::printable(output::text(record, name)).into_owned();
        let names = |name: &str| {
            let names = record[name].as_array().into_iter().flatten().filter_map(Value::as_str);
            names.map(output::printable).collect::<Vec<_>>().join(", ")
        };
        let (what, decision) = match record["kind"].as_str() {
            Some("decision") => (format!("{} {}", text("method"), text("resource")), text("outcome")),
            Some("refusal") => (text("path"), text("outcome")),
            _ => (format!("{} bytes, status {}", record["bytes_out"], record["status"]), text("result")),
        };
        let policies = names("policies");
        Self {
            time: text("time"),
            who: text("principal"),
            on_behalf: text("user").rsplit('#').next().unwrap_or_default().to_owned(),
            what,
            decision,
            why: if policies.is_empty() { text("code") } else { policies },
            call: text("id"),
        }
    }

    /// To the second, in UTC; without the date where it is today's.
    fn when(&self, today: Option<&str>) -> String {
        let (date, time) = (self.time.get(..10), self.time.get(11..19));
        match (date, time) {
            (Some(date), Some(time)) if Some(date) == today => format!("{time}Z"),
            (Some(date), Some(time)) => format!("{date} {time}Z"),
            _ => self.time.clone(),
        }
    }

    fn decision(&self) -> comfy_table::Cell {
        output::verdict_cell(&self.decision, matches!(self.decision.as_str(), "allow" | "ok"))
    }

    /// Who, what, why and which call, below each other.
    fn together(&self) -> String {
        let on_behalf = if self.on_behalf.is_empty() { "" } else { " for " };
        let who = format!("{}{on_behalf}{}", self.who, self.on_behalf);
        let lines = [who.as_str(), &self.what, &self.why, &self.call];
        lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
    }
}

fn print(rows: &[Row], width: Option<u16>) {
    if rows.is_empty() {
        output::line("nothing found");
        return;
    }
    let today = Timestamp::now().to_string();
    output::line(&render(rows, width, today.get(..10)));
}

/// The table, as it fits.
fn render(rows: &[Row], width: Option<u16>, today: Option<&str>) -> String {
    let lines = |table: comfy_table::Table| {
        // Lines are filled up to the width of their column, which is of no use at their end.
        let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
        lines.join("\n")
    };
    if width.is_some_and(|width| width < WIDE) {
        let headers = ["TIME", "DECISION", "WHO, WHAT, POLICY OR CODE, CALL"];
        let mut table = output::table(&headers, &[0, 1], width);
        for row in rows {
            let time = row.when(today).replace(' ', "\n");
            table.add_row([output::cell(&time), row.decision(), output::cell(&row.together())]);
        }
        return lines(table);
    }
    // What is not read on a screen has the date always.
    let today = today.filter(|_| width.is_some());
    let headers = ["TIME", "WHO", "FOR", "WHAT", "DECISION", "POLICY OR CODE", "CALL"];
    let mut table = output::table(&headers, &[0, 4, 6], width);
    for row in rows {
        let cell = output::cell;
        table.add_row([
            cell(&row.when(today)),
            cell(&row.who),
            cell(&row.on_behalf),
            cell(&row.what),
            row.decision(),
            cell(&row.why),
            cell(&row.call),
        ]);
    }
    lines(table)
}

/// A stable code: one that is none would find nothing, which reads as that nothing happened.
fn code(text: &str) -> anyhow::Result<String> {
    if Code::ALL.iter().any(|code| code.as_str() == text) {
        return Ok(text.to_owned());
    }
    let words: Vec<_> = text.split(['_', '-', ' ']).filter(|word| !word.is_empty()).collect();
    let alike = |code: &&str| code.split('_').filter(|word| words.contains(word)).count();
    let mut near: Vec<_> =
        Code::ALL.iter().map(|code| code.as_str()).filter(|code| alike(code) > 0).collect();
    near.sort_by_key(|code| std::cmp::Reverse(alike(code)));
    near.truncate(3);
    if near.is_empty() {
        near = Code::ALL.iter().map(|code| code.as_str()).collect();
        anyhow::bail!("there is no such code; the codes are {}", near.join(", "))
    }
    anyhow::bail!("there is no such code; did you mean {}?", near.join(" or "))
}

/// A time, or how long ago.
fn moment(text: &str) -> anyhow::Result<Timestamp> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago = duration(text).map_err(|_| {
        anyhow::anyhow!("'{text}' is neither a time (2026-11-21T07:00:00Z) nor how long ago (15m, 8h, 7d)")
    })?;
    Ok(Timestamp::try_from(SystemClock.now().wall - ago)?)
}

#[cfg(test)]
mod tests;
