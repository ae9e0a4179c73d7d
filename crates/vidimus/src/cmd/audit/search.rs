//! `vidimus audit search`: records by what they say.

mod follow;
mod indexed;
mod lookup;
mod many;
mod table;

use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use vidimus_core::clock::Clock as _;
use vidimus_core::record::NOT_RECORDED;
use vidimus_query::audit::logs::Cursor;
use vidimus_query::audit::{self, Damage, Found, Kind, Outcome, SearchQuestion};

pub(in crate::cmd) use self::indexed::Use;
pub(super) use self::indexed::is_denied;
pub(in crate::cmd) use self::lookup::{lookup, lookup_by};
pub(super) use self::many::run as run_logs;
use self::table::Row;
use super::clickhouse::Remote;
use crate::clock::SystemClock;
use crate::cmd::codes;
use crate::cmd::progress::Watch;
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
  vidimus audit search --on-behalf-of finance/invoice-bot --kind all
  vidimus audit search --user ada@example.com -o json \\
    | jq -r '.policies[]?' | sort | uniq -c
  vidimus audit search --text 'INV-1042' --kind all # anywhere in the record
  vidimus audit search --limit 100 --after 81234 # the next page
  vidimus audit search --outcome deny --follow # as they come

Where there is an index (vidimus audit index), it is used, with the same answer.
What it has is answered from it, also where the ledger was changed since:
whether it was, vidimus audit verify tells. Where the ledger ends before what it
signed for, has no checkpoint or lacks a segment, it is read, and that is said.

Exit codes: 0 searched (also when nothing was found), 1 the log is damaged and
what could be read was searched, 2 not searched, also where not all may be read.")]
pub struct Search {
    #[command(flatten)]
    filters: Filters,
    /// Which records [default: decided; effect where --outcome is that of an effect; all with --code].
    #[arg(long, value_parser = kind())]
    kind: Option<Kind>,
    /// At most so many records; 0 for all.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Oldest first.
    #[arg(long)]
    oldest_first: bool,
    /// Only what follows this record in the order asked for: the `index` of the last one of the page before; of several ledgers its `cursor`.
    #[arg(long, value_name = "INDEX", value_parser = after)]
    after: Option<After>,
    /// Wait for what comes, and show it as it does; with --after, from there on. Of several ledgers from now on.
    #[arg(long, conflicts_with_all = ["limit", "oldest_first", "until"])]
    follow: bool,
}

/// What records must fit, all of it.
#[derive(Debug, Args)]
pub(super) struct Filters {
    /// Who called: an Agent or ServiceIdentity.
    #[arg(long, visible_alias = "agent")]
    principal: Option<String>,
    /// The person on whose behalf.
    #[arg(long, visible_alias = "person")]
    user: Option<String>,
    /// On whose behalf others acted, at whatever hop: an agent that acted before the caller, or the person.
    #[arg(long, value_name = "AGENT OR PERSON")]
    on_behalf_of: Option<String>,
    /// The copy of an agent that called: the UID of its pod or the name of that, or its certificate's serial number.
    #[arg(long, value_name = "UID OR POD")]
    instance: Option<String>,
    /// The address that the call came from.
    #[arg(long, value_name = "IP")]
    source: Option<IpAddr>,
    /// A policy that decided, changed the call or its answer, held it or is only tried (`mode: observe`), or a permit that was among the closest.
    #[arg(long)]
    policy: Option<String>,
    /// How it was decided, or how its effect ended.
    #[arg(long, visible_alias = "result", value_parser = outcome())]
    outcome: Option<Outcome>,
    /// What was asked for: a tool, agent, skill, model, resource or prompt.
    #[arg(long, visible_aliases = ["tool", "model"])]
    resource: Option<String>,
    /// The MCP server, agent or provider that this is, or is a part of, or the server with members by which the call came.
    #[arg(long)]
    server: Option<String>,
    /// The approval that the call waited for or was made with, and with --kind all what was done about it.
    #[arg(long, value_name = "ID")]
    approval: Option<String>,
    /// The digest of the configuration that decided.
    #[arg(long, visible_alias = "snapshot", value_name = "DIGEST")]
    configuration: Option<String>,
    /// Stable code of a refusal, or of how an effect ended, e.g. no_permit: docs/codes.md has them all.
    #[arg(long, value_parser = code)]
    code: Option<String>,
    /// The transaction that the hops of one chain share.
    #[arg(long, visible_alias = "chain")]
    transaction: Option<String>,
    /// The W3C trace of the call, with or without the id of a span.
    #[arg(long)]
    trace: Option<String>,
    /// What stands somewhere in the record's JSON text, as it stands there; of an effect, in its own.
    #[arg(long)]
    text: Option<String>,
    /// Not before: a time (RFC 3339), a day (its beginning, UTC), or how long ago (15m, 8h, 1h30m, 7d).
    #[arg(long, value_parser = moment)]
    since: Option<Timestamp>,
    /// Before: a time, a day (its beginning, UTC), or how long ago.
    #[arg(long, value_parser = moment)]
    until: Option<Timestamp>,
}

impl Filters {
    pub(super) fn question(&self, kind: Option<Kind>, oldest_first: bool) -> SearchQuestion {
        SearchQuestion {
            principal: self.principal.clone(),
            user: self.user.clone(),
            on_behalf_of: self.on_behalf_of.clone(),
            instance: self.instance.clone(),
            source: self.source,
            policy: self.policy.clone(),
            outcome: self.outcome,
            resource: self.resource.clone(),
            server: self.server.clone(),
            approval: self.approval.clone(),
            configuration: self.configuration.clone(),
            code: self.code.clone(),
            kind,
            transaction: self.transaction.clone(),
            trace: self.trace.clone(),
            text: self.text.clone(),
            since: self.since,
            until: self.until,
            oldest_first,
        }
    }
}

/// Where a page before ended.
#[derive(Clone, Debug)]
enum After {
    /// Of one log.
    Record(u64),
    /// Of several.
    Logs(Cursor),
}

fn after(text: &str) -> anyhow::Result<After> {
    if let Ok(index) = text.parse() {
        return Ok(After::Record(index));
    }
    let of_several = text.parse::<Cursor>().map(After::Logs);
    of_several.map_err(|error| anyhow::anyhow!("it is neither the index of a record, nor a cursor: {error}"))
}

impl Search {
    /// After which record of one log.
    fn after_record(&self) -> anyhow::Result<Option<u64>> {
        match &self.after {
            None => Ok(None),
            Some(After::Record(index)) => Ok(Some(*index)),
            Some(After::Logs(_)) => {
                bail!(
                    "--after: this is where a search of several ledgers goes on; give all of them, or the index of a record"
                )
            }
        }
    }
}

fn outcome() -> impl TypedValueParser<Value = Outcome> {
    one_of(Outcome::ALL, |outcome| (outcome.as_str(), outcome.meaning()))
}

pub(super) fn kind() -> impl TypedValueParser<Value = Kind> {
    one_of(Kind::ALL, |kind| (kind.as_str(), kind.meaning()))
}

/// A word of a question, with its meaning in the help.
fn one_of<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    word: fn(T) -> (&'static str, &'static str),
) -> impl TypedValueParser<Value = T> {
    let possible = |(text, meaning): (&'static str, &'static str)| {
        PossibleValue::new(text).help(meaning.trim().trim_end_matches('.'))
    };
    let words = all.iter().map(|one| possible(word(*one)));
    PossibleValuesParser::new(words).try_map(move |text| {
        let found = all.iter().find(|one| word(**one).0 == text);
        found.copied().ok_or_else(|| anyhow::anyhow!("{text} is none of them"))
    })
}

pub fn run(dir: &Path, index: Option<&Path>, search: &Search, format: Format) -> anyhow::Result<ExitCode> {
    let question = search.filters.question(search.kind, search.oldest_first);
    let after = search.after_record()?;
    if search.follow {
        return follow::run(dir, index, &question, after, (None, format));
    }
    let mut shown = Shown::new(search, format);
    let reading = Watch::begin();
    for hit in indexed::records(dir, index, &question, after, shown.limit)? {
        if !shown.take(hit)? {
            break;
        }
    }
    drop(reading);
    shown.finish();
    if shown.found == 0 && after.is_none() {
        for (member, value) in audit::unknown_names(&*lookup(dir, index), &question)? {
            output::warning(&format!("no record at all has the --{member} {value}"));
        }
        super::warn_of_away(dir, search.filters.since, search.filters.until)?;
    }
    shown.tell_more();
    if !shown.more || search.oldest_first {
        super::warn_of_pruned(dir, search.filters.since)?;
    }
    Ok(shown.code())
}

/// The same, of a ClickHouse.
pub fn run_remote(remote: &Remote, search: &Search, format: Format) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(!search.follow, "--follow reads the ledger; leave --clickhouse out");
    let question = search.filters.question(search.kind, search.oldest_first);
    let mut shown = Shown::new(search, format);
    let limit = shown.limit;
    remote.search(&question, search.after_record()?, limit, &mut |hit| shown.take(hit))?;
    shown.finish();
    shown.tell_more();
    Ok(shown.code())
}

/// What to do about it.
const DENIED: &str = "the ledger cannot be searched by this user; ask as one that may read all of it";

/// What was found so far.
struct Shown<'s> {
    search: &'s Search,
    format: Format,
    limit: usize,
    rows: Vec<Row>,
    last: u64,
    found: usize,
    more: bool,
    damaged: bool,
}

impl<'s> Shown<'s> {
    fn new(search: &'s Search, format: Format) -> Self {
        let limit = if search.limit == 0 { usize::MAX } else { search.limit };
        Self { search, format, limit, rows: Vec::new(), last: 0, found: 0, more: false, damaged: false }
    }

    /// Takes one more; false where that was too many.
    fn take(&mut self, hit: Result<Found, Damage>) -> anyhow::Result<bool> {
        let found = match hit {
            Ok(found) => found,
            // Of what may not be read nothing is known: it is not damaged, and nothing was searched.
            Err(damage) if damage.is_denied() => {
                return Err(anyhow::Error::from(damage).context(DENIED));
            }
            Err(damage) => {
                // On standard error, and before the rows that are not all there are because of it.
                output::warning(&format!("{damage}; `vidimus audit verify` tells more"));
                self.damaged = true;
                return Ok(true);
            }
        };
        if self.found == self.limit {
            self.more = true;
            return Ok(false);
        }
        (self.found, self.last) = (self.found + 1, found.index);
        match self.format {
            Format::Json => output::json(&found)?,
            Format::Table => self.rows.push(Row::of(&found)),
        }
        Ok(true)
    }

    fn finish(&self) {
        if self.format == Format::Table {
            table::print(&self.rows, output::width());
        }
    }

    fn tell_more(&self) {
        if self.more {
            let which = if self.search.oldest_first { "oldest" } else { "newest" };
            let (found, last) = (self.found, self.last);
            output::warning(&format!(
                "only the {which} {found} are shown, there are more; --after {last} shows the next ones, --limit 0 all"
            ));
        }
    }

    fn code(&self) -> ExitCode {
        if self.damaged { ExitCode::from(1) } else { ExitCode::SUCCESS }
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
pub(crate) fn moment(text: &str) -> anyhow::Result<Timestamp> {
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
    let time = SystemClock.now().wall.checked_sub(ago).and_then(|time| Timestamp::try_from(time).ok());
    time.with_context(|| format!("{text} ago is before all times; the oldest record is far younger"))
}

#[cfg(test)]
mod tests;
