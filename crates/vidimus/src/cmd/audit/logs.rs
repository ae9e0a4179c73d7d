//! `vidimus audit logs`: what ledgers say of time.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use vidimus_core::act::LastRun;
use vidimus_query::audit::logs::{self, Away, LogTimes, Logs, Times, TimesQuestion};

use super::search::moment;
use crate::cmd::quantity::duration;
use crate::output::{self, Format, printable};

/// Tells which ledgers there are, from when to when each has records, of which times it has none, and whether their clocks agree.
///
/// A clock is judged by what must have been before what: a record within its ledger, and a call that an agent makes in a chain after the one by
/// which that agent was reached. It is a lower bound: clocks that nothing crosses are not compared. When no gateway was running is told by
/// their starts and stops, which are on record (`away`); of other times without a record (`silent`) nobody called, or records are missing, which
/// `audit verify` tells.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus audit logs --data DIR
  vidimus audit logs --ledger A/ledger --ledger B/ledger --silence 15m

Exit codes: 0 told, 1 a ledger is damaged and what could be read is told,
2 not told.")]
pub struct OfTime {
    /// Not before: a time (RFC 3339), a day (its beginning, UTC), or how long ago (15m, 8h, 1h30m, 7d).
    #[arg(long, value_parser = moment)]
    since: Option<Timestamp>,
    /// Before: a time, a day (its beginning, UTC), or how long ago.
    #[arg(long, value_parser = moment)]
    until: Option<Timestamp>,
    /// Tell each time of so long or longer of which a ledger has no record.
    #[arg(long, default_value = "1h", value_parser = duration)]
    silence: Duration,
}

pub fn run(logs: &Logs, of_time: &OfTime, format: Format) -> anyhow::Result<ExitCode> {
    super::warn_of_repeated(logs);
    let OfTime { since, until, silence } = of_time;
    let question = TimesQuestion { since: *since, until: *until, silence_s: silence.as_secs() };
    let times = logs::times(logs, &question).map_err(|misasked| crate::cmd::misasked(&misasked))?;
    for damage in &times.damage {
        output::warning(&format!("{damage}; `vidimus audit verify` tells more"));
    }
    match format {
        Format::Json => output::json(&times)?,
        Format::Table => print(&times),
    }
    Ok(if times.damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn print(times: &Times) {
    let when = |time: &str| output::when(time, None);
    let mut table = output::table(&["LOG", "RECORDS", "FIRST", "LAST"], &[1, 2, 3], output::width());
    for one in &times.logs {
        let at = |time: &Option<String>| output::cell(&time.as_deref().map(when).unwrap_or_default());
        let log = output::cell(&printable(&one.log));
        table.add_row([log, output::cell(&one.records.to_string()), at(&one.first), at(&one.last)]);
    }
    output::line(&table.trim_fmt());
    let row = |label: &str, text: &str| output::line(&format!("{label:<10}{}", printable(text)));
    for one in &times.logs {
        let log = &one.log;
        one.pruned.iter().for_each(|pruned| row("pruned", &format!("{log}: {pruned}")));
        tell_away(one, row);
        for silence in &one.silences {
            let (from, to, lasted) = (when(&silence.from), when(&silence.to), lasted(silence.seconds));
            let others = match times.logs.len() {
                // There are no others.
                0 | 1 => String::new(),
                _ => format!("; the others have {} records of it", silence.others),
            };
            let what = match (silence.after, silence.ends_log) {
                (Some(index), false) => format!("after record {index}"),
                (Some(index), true) => format!("after record {index}, its last"),
                (None, _) => "before its first".to_owned(),
            };
            row("silent", &format!("{log}: {from} to {to}, {lasted}, {what}{others}"));
        }
        if one.more_silences > 0 {
            row(
                "silent",
                &format!(
                    "{log}: {} shorter times more; a longer --silence leaves them out",
                    one.more_silences
                ),
            );
        }
        if let Some(back) = &one.most_back {
            let (count, by, index) = (one.went_back, millis(back.by_us), back.index);
            row(
                "clock",
                &format!(
                    "{log}: went back {count} times, at most by {by}, at record {index} ({})",
                    when(&back.time)
                ),
            );
        }
    }
    for skew in &times.skews {
        let (by, seen) = (millis(skew.at_least_us), skew.seen);
        row(
            "clock",
            &format!(
                "{} was ahead of {} by {by} or more: its record {} came before record {} of the other (transaction {}); seen {seen} times",
                skew.ahead, skew.behind, skew.first, skew.then, skew.transaction
            ),
        );
    }
    if times.passed_over > 0 {
        row("clock", &format!("{} calls of long chains were not compared", times.passed_over));
    }
}

/// When no gateway ran that writes this ledger, by what it says itself.
fn tell_away(of: &LogTimes, row: impl Fn(&str, &str)) {
    for away in &of.runs.away {
        row("away", &format!("{}: {}", of.log, away_text(away)));
    }
    if of.runs.more_away > 0 {
        row("away", &format!("{}: {} shorter times more", of.log, of.runs.more_away));
    }
}

/// A time in which no gateway was running.
pub(super) fn away_text(away: &Away) -> String {
    let Away { stop, start, from, to, seconds, found } = away;
    let (from, lasted) = (output::when(from, None), lasted(*seconds));
    let at = |index: &Option<u64>| index.map(|index| format!(" (record {index})")).unwrap_or_default();
    let Some(to) = to else { return format!("stopped at {from}{}, and not started since", at(stop)) };
    let to = format!("{}{}", output::when(to, None), at(start));
    match found {
        LastRun::Stopped | LastRun::New => format!("not running from {from}{} to {to}, {lasted}", at(stop)),
        LastRun::Unstopped => {
            format!("ended without a stop after {from}, and was started at {to}, {lasted} later")
        }
        LastRun::Unknown => {
            format!(
                "not known whether it ran from {from} to {to}, {lasted}: a version that recorded no starts"
            )
        }
    }
}

/// A time in its two largest units, as it is read.
fn lasted(seconds: u64) -> String {
    let units =
        [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let first = units.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let largest = units.iter().skip(first).take(2).filter(|(count, _)| *count > 0);
    let text: Vec<String> = largest.map(|(count, unit)| format!("{count}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text.join(" ") }
}

fn millis(micros: u64) -> String {
    format!("{}.{:03} ms", micros / 1_000, micros % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_time_is_in_days() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (3_600, "1h"),
            (3_661, "1h 1m"),
            (5_400, "1h 30m"),
            (260_041, "3d"),
            (270_000, "3d 3h"),
        ] {
            assert_eq!(lasted(seconds), text);
        }
    }
}
