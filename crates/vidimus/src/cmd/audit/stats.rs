//! `vidimus audit stats`: sums by agent, tool, model and hour.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use vidimus_query::audit::in_order;
use vidimus_readmodel::{Answer, By, Order, Several, StatsQuestion};

use super::clickhouse::Remote;
use super::index;
use super::search::moment;
use super::sql;
use crate::cmd;
use crate::output::{self, Format};

/// Sums: who called what how often, what was denied, what failed and what it cost.
///
/// They are of whole hours. `ok` are calls that the upstream did, of the `effects`, which are calls that came to an end;
/// `latency_us` is the mean of these (the sum is in the table `hours` of `vidimus audit sql`).
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus audit stats # by agent, the busiest first
  vidimus audit stats --by tool --since 7d --order denied
  vidimus audit stats --by model --order cost --since 2026-11-01
  vidimus audit stats --by agent-hour --since 24h -o json
  vidimus audit stats --ledger A/ledger --ledger B/ledger # of both

What the index has is answered from the index. The ledger must have a
checkpoint, and all segments up to it.

Exit codes: 0 answered, 2 not answered, also where the ledger lacks records that
it signed for: of some of them alone no sum is right.")]
pub struct Stats {
    /// What the sums are by.
    #[arg(long, value_enum, default_value_t = Sums::Agent)]
    by: Sums,
    /// The largest first, by this [default: calls; of hours the youngest].
    #[arg(long, value_enum, default_value_t = Largest::Calls, hide_default_value = true)]
    order: Largest,
    /// Not before the hour that this is in: a time, a day (its beginning, UTC), or how long ago.
    #[arg(long, value_parser = moment)]
    since: Option<Timestamp>,
    /// Only hours that begin before this.
    #[arg(long, value_parser = moment)]
    until: Option<Timestamp>,
    /// At most so many rows; 0 for all.
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Sums {
    /// Who called.
    Agent,
    /// The tool that was called.
    Tool,
    /// The model that was called.
    Model,
    /// The hour.
    Hour,
    /// Who called, in each hour.
    AgentHour,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Largest {
    /// Calls.
    Calls,
    /// What it cost.
    Cost,
    /// Tokens of questions and answers.
    Tokens,
    /// Calls that were denied or refused.
    Denied,
}

/// The columns, the names of the rows before.
const NUMBERS: [&str; 10] = [
    "calls",
    "allowed",
    "held",
    "denied",
    "effects",
    "ok",
    "tokens_input",
    "tokens_output",
    "cost",
    "latency_us",
];

impl Stats {
    fn question(&self) -> anyhow::Result<StatsQuestion> {
        in_order(self.since, self.until).map_err(|misasked| cmd::misasked(&misasked))?;
        let by = match self.by {
            Sums::Agent => By::Agent,
            Sums::Tool => By::Tool,
            Sums::Model => By::Model,
            Sums::Hour => By::Hour,
            Sums::AgentHour => By::AgentHour,
        };
        let order = match self.order {
            Largest::Calls => Order::Usual,
            Largest::Cost => Order::Cost,
            Largest::Tokens => Order::Tokens,
            Largest::Denied => Order::Denied,
        };
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        Ok(StatsQuestion { by, order, since: self.since, until: self.until, limit })
    }

    fn show(&self, answer: &Answer, format: Format) -> anyhow::Result<ExitCode> {
        if answer.rows.is_empty() && format == Format::Table {
            output::line("nothing found");
            return Ok(ExitCode::SUCCESS);
        }
        let names: &[&str] = match self.by {
            Sums::Agent => &["agent"],
            Sums::Tool => &["tool"],
            Sums::Model => &["model"],
            Sums::Hour => &["hour"],
            Sums::AgentHour => &["hour", "agent"],
        };
        let columns: Vec<String> = names.iter().chain(&NUMBERS).map(|name| (*name).to_owned()).collect();
        sql::print(&columns, &answer.rows, format)?;
        sql::tell_more(answer);
        Ok(ExitCode::SUCCESS)
    }
}

pub fn run(ledger: &Path, index: Option<&Path>, stats: &Stats, format: Format) -> anyhow::Result<ExitCode> {
    let question = stats.question()?;
    let answer = match index::made(ledger, index)?.stats(&question) {
        Err(error) if error.damaged().is_some() => {
            index::repaired(ledger, index, &error)?.stats(&question)?
        }
        answer => answer?,
    };
    super::warn_of_pruned(ledger, stats.since)?;
    if answer.rows.is_empty() {
        super::warn_of_away(ledger, stats.since, stats.until)?;
    }
    stats.show(&answer, format)
}

/// The same, added up over several ledgers.
pub fn run_logs(several: &Several, stats: &Stats, format: Format) -> anyhow::Result<ExitCode> {
    stats.show(&several.stats(&stats.question()?)?, format)
}

/// The same, of a ClickHouse.
pub fn run_remote(remote: &Remote, stats: &Stats, format: Format) -> anyhow::Result<ExitCode> {
    stats.show(&remote.stats(&stats.question()?)?, format)
}
