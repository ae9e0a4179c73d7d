//! `vidimus audit search`: records by what they say.

mod found;
mod table;

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use vidimus_core::clock::Clock as _;
use vidimus_core::record::NOT_RECORDED;

use self::table::Row;
use crate::clock::SystemClock;
use crate::cmd::codes;
use crate::cmd::quantity::duration;
use crate::output::{self, Format};

/// Finds records, newest first.
///
/// Names fit from any slash on: get_invoice, ledger/get_invoice and Tool/finance/ledger/get_invoice are the same tool. An effect is
/// found by who asked for what too; as JSON it has that as `decided`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus audit search --outcome deny --since 1h
  vidimus audit search --principal finance/invoice-bot --resource transfer
  vidimus audit search --user ada@example.com -o json \\
    | jq -r '.policies[]?' | sort | uniq -c

Exit codes: 0 searched (also when nothing was found), 1 the log is damaged and
what could be read was searched, 2 not searched.")]
pub struct Search {
    /// Who called: an Agent or ServiceIdentity.
    #[arg(long, visible_alias = "agent")]
    principal: Option<String>,
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
    #[arg(long, visible_alias = "tool")]
    resource: Option<String>,
    /// Stable code of a refusal, or of how an effect ended, e.g. no_permit: docs/codes.md has them all.
    #[arg(long, value_parser = code)]
    code: Option<String>,
    /// Which records [default: decided; effect where --outcome is that of an effect; all with --code].
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// The transaction that the hops of one chain share.
    #[arg(long)]
    transaction: Option<String>,
    /// Not before: a time (RFC 3339), a day (its beginning, UTC), or how long ago (15m, 8h, 1h30m, 7d).
    #[arg(long, value_parser = moment)]
    since: Option<Timestamp>,
    /// Before: a time, a day (its beginning, UTC), or how long ago.
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

pub fn run(dir: &Path, search: &Search, format: Format) -> anyhow::Result<ExitCode> {
    let wanted = search.wanted()?;
    let limit = if search.limit == 0 { usize::MAX } else { search.limit };
    let (mut rows, mut found, mut more, mut damaged) = (Vec::new(), 0, false, false);
    for hit in found::search(dir, search, wanted)? {
        let found_one = match hit {
            Ok(found_one) => found_one,
            Err(damage) => {
                // On standard error, and before the rows that are not all there are because of it.
                output::warning(&format!("{damage:#}; `vidimus audit verify` tells more"));
                damaged = true;
                continue;
            }
        };
        if found == limit {
            more = true;
            break;
        }
        found += 1;
        match format {
            Format::Json => output::json(&found_one.shown())?,
            Format::Table => rows.push(Row::of(&found_one)),
        }
    }
    if format == Format::Table {
        table::print(&rows, output::width());
    }
    if found == 0 {
        for (flag, value) in found::unknown(dir, search)? {
            output::warning(&format!("no record at all has the --{flag} {value}"));
        }
    }
    if more {
        let which = if search.oldest_first { "oldest" } else { "newest" };
        output::warning(&format!("only the {which} {found} are shown, there are more; --limit 0 shows all"));
    }
    Ok(if damaged { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Which records are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    /// Decisions, refusals, or both.
    decided: Option<Decided>,
    effects: bool,
}

/// Which of the records of what was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decided {
    All,
    Decisions,
    Refusals,
}

impl Search {
    /// Which records are meant; an error where no record can fit, which would read as that nothing happened.
    fn wanted(&self) -> anyhow::Result<Wanted> {
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since >= until
        {
            anyhow::bail!("--since {since} is not before --until {until}, so nothing can be between them");
        }
        let of_effect = self.outcome.map(Outcome::of_effect);
        let kind = self.kind.unwrap_or(match (of_effect, &self.code) {
            (Some(true), _) => Kind::Effect,
            // What a refusal and what an effect ended by are the same codes.
            (None, Some(_)) => Kind::All,
            _ => Kind::Decided,
        });
        let decided = match kind {
            Kind::Decided | Kind::All => Some(Decided::All),
            Kind::Decision => Some(Decided::Decisions),
            Kind::Refusal => Some(Decided::Refusals),
            Kind::Effect => None,
        };
        let effects = matches!(kind, Kind::Effect | Kind::All);
        let wanted = match of_effect {
            Some(true) => Wanted { decided: None, effects },
            Some(false) => Wanted { decided, effects: false },
            None => Wanted { decided, effects },
        };
        match self.outcome {
            Some(outcome) if wanted.decided.is_none() && !wanted.effects => {
                anyhow::bail!("no record of the --kind asked for has the --outcome {}", outcome.as_str())
            }
            _ => Ok(wanted),
        }
    }
}

/// A stable code: one that is none would find nothing, which reads as that nothing happened.
fn code(text: &str) -> anyhow::Result<String> {
    if text == NOT_RECORDED {
        return Ok(text.to_owned());
    }
    codes::code(text).map(|code| code.as_str().to_owned())
}

/// A time, or how long ago.
fn moment(text: &str) -> anyhow::Result<Timestamp> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    if let Ok(day) = text.parse::<Date>() {
        return Ok(day.to_zoned(TimeZone::UTC)?.timestamp());
    }
    let ago = duration(text).map_err(|_| {
        anyhow::anyhow!(
            "'{text}' is neither a time (2026-11-21T07:00:00Z), nor a day (2026-11-21), nor how long ago (15m, 1h30m, 7d)"
        )
    })?;
    Ok(Timestamp::try_from(SystemClock.now().wall - ago)?)
}

#[cfg(test)]
mod tests;
