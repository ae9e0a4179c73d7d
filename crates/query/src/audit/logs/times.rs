//! What several logs say of time: clocks that disagree or went back, and times of which a log has nothing.
//!
//! A clock is judged by what must have been before what, and by nothing else. Within a log a record is made after those before it. Between logs,
//! a call that an agent makes in a chain is decided after the call by which that agent was reached: where every record of such a call is in one
//! other log, and all say a later time, one of the two clocks was wrong by at least the difference.

mod away;
mod chains;

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vidimus_core::record::{Kept, Record};

use self::chains::Chains;
use super::{Cursor, FoundIn, Logs, search};
use crate::Misasked;
use crate::audit::{Kind, SearchQuestion};

pub(in crate::audit) use self::away::Runs;
pub use self::away::{Away, RunTimes, away_within};

/// Most silences that are told of a log: the longest.
const MOST_SILENCES: usize = 32;

/// Of which time, and which silence is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimesQuestion {
    /// Not before this time (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
    /// Before this time (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
    /// A time without a record of so many seconds or more is told.
    pub silence_s: u64,
}

/// What the logs say of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Times {
    /// Each log, in the order of their names.
    pub logs: Vec<LogTimes>,
    /// For each two logs whose clocks were seen to disagree, in one direction.
    pub skews: Vec<Skew>,
    /// How many decisions were not looked at for skew, since too many calls were under way or in one chain.
    pub passed_over: u64,
    /// What of the logs could not be read: nothing is told of it.
    pub damage: Vec<String>,
}

/// What one log says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogTimes {
    /// Its name in checkpoints.
    pub log: String,
    /// How many records it has of the time that was asked for.
    pub records: u64,
    /// The earliest time of one.
    pub first: Option<String>,
    /// The latest.
    pub last: Option<String>,
    /// What was pruned of it, in each directory that has it: of these times nothing is told.
    pub pruned: Vec<String>,
    /// How often a record says an earlier time than one before it.
    pub went_back: u64,
    /// Where it did by most.
    pub most_back: Option<ClockBack>,
    /// When gateways ran that wrote it.
    #[serde(default)]
    pub runs: RunTimes,
    /// Other times without a record, the longest at most 32, in their order. Why there was none, no record says: nobody called, or records are
    /// missing, which `audit verify` tells. Before the first start that is on record, a gateway may have been away.
    pub silences: Vec<Silence>,
    /// How many more there were.
    pub more_silences: u64,
}

/// A record that says an earlier time than one before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClockBack {
    /// Its index.
    pub index: u64,
    /// The time that it says.
    pub time: String,
    /// The latest time before it.
    pub after: String,
    /// By how much, in microseconds.
    pub by_us: u64,
}

/// A time of which a log has no record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Silence {
    /// The record before it; `None` where the log begins after it.
    pub after: Option<u64>,
    /// Its beginning: that record, or the earliest of any log.
    pub from: String,
    /// Its end: the next record, or the latest of any log.
    pub to: String,
    /// Whether the log has nothing after it.
    pub ends_log: bool,
    /// How long it was.
    pub seconds: u64,
    /// How many records the other logs have of it.
    pub others: u64,
}

/// That the clocks of two logs disagreed: a call was decided before the one that it followed from, by what their records say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Skew {
    /// The log whose clock was ahead of the other's.
    pub ahead: String,
    /// The other.
    pub behind: String,
    /// By how much at least, in microseconds: the most that was seen.
    pub at_least_us: u64,
    /// How often it was seen.
    pub seen: u64,
    /// The chain of which it was seen to be so much.
    pub transaction: String,
    /// The call that came first, as it is in the log that was ahead.
    pub first: u64,
    /// The call that followed, as it is in the other log.
    pub then: u64,
}

/// What the logs say of time. They are read from end to end, in one pass; what is held does not grow with them.
///
/// # Errors
/// Where no record can be of the time that is asked for.
pub fn times(logs: &Logs, question: &TimesQuestion) -> Result<Times, Misasked> {
    let TimesQuestion { since, until, silence_s } = *question;
    let asked = SearchQuestion {
        kind: Some(Kind::All),
        since,
        until,
        oldest_first: true,
        ..SearchQuestion::default()
    };
    let mut reading = Reading::new(logs, silence_s);
    for found in search(logs, &asked, &Cursor::default())? {
        match found {
            Ok(found) => reading.take(&found),
            Err(damage) => reading.damage.push(damage.to_string()),
        }
    }
    let mut times = reading.end();
    for (log, of) in logs.all().iter().zip(&mut times.logs) {
        for directory in &log.directories {
            match vidimus_ledger::pruned(directory) {
                Ok(pruned) => of.pruned.extend(pruned.map(|pruned| pruned.to_string())),
                Err(error) => times.damage.push(format!("{}: {error}", log.name)),
            }
        }
    }
    Ok(times)
}

/// What is known of one log so far.
#[derive(Default)]
struct OfLog {
    times: LogTimes,
    /// The earliest time so far.
    first: Option<Timestamp>,
    /// The latest time so far.
    latest: Option<Timestamp>,
    /// The index of the last record.
    last: u64,
    /// How many records all logs had then.
    all: u64,
    runs: Runs,
}

struct Reading {
    logs: Vec<OfLog>,
    /// Where each is, by its name.
    places: BTreeMap<String, usize>,
    silence_us: u64,
    /// How many records were read of all logs.
    all: u64,
    earliest: Option<Timestamp>,
    latest: Option<Timestamp>,
    chains: Chains,
    damage: Vec<String>,
}

/// From one time to another, in microseconds.
fn micros(from: Timestamp, to: Timestamp) -> Option<u64> {
    u64::try_from(to.as_microsecond().checked_sub(from.as_microsecond())?).ok()
}

impl Reading {
    fn new(logs: &Logs, silence_s: u64) -> Self {
        let names = || logs.all().iter().map(|log| log.name.clone());
        let of = |log| OfLog { times: LogTimes { log, ..LogTimes::default() }, ..OfLog::default() };
        Self {
            logs: names().map(of).collect(),
            places: names().zip(0..).collect(),
            // A silence of no time would be one between any two records.
            silence_us: silence_s.max(1).saturating_mul(1_000_000),
            all: 0,
            earliest: None,
            latest: None,
            chains: Chains::default(),
            damage: Vec::new(),
        }
    }

    fn take(&mut self, found: &FoundIn) {
        let Some(&at) = self.places.get(&found.log) else { return };
        let Some(of) = self.logs.get_mut(at) else { return };
        let (index, record): (u64, &Kept) = (found.found.index, &found.found.record);
        of.times.records += 1;
        self.all += 1;
        let Ok(time) = record.time().parse::<Timestamp>() else {
            (of.last, of.all) = (index, self.all);
            return;
        };
        let is_told = of.runs.take((index, time), record, self.silence_us);
        let earliest = *self.earliest.get_or_insert(time);
        let before = of.latest.map_or((None, earliest, 0), |latest| (Some(of.last), latest, of.all));
        let (after, from, seen) = before;
        match micros(from, time) {
            Some(passed) if passed >= self.silence_us && !is_told => {
                let others = (self.all - 1).saturating_sub(seen);
                of.times.add(Silence::of(after, from, time, others));
            }
            Some(_) => {}
            None if of.latest.is_some() => of.times.back(index, from, time),
            // The first of a log is of an earlier time than the first of all, which stands before it by its log's name or clock.
            None => self.earliest = Some(time),
        }
        of.latest = Some(of.latest.map_or(time, |latest| latest.max(time)));
        self.latest = Some(self.latest.map_or(time, |latest| latest.max(time)));
        of.first = Some(of.first.map_or(time, |first| first.min(time)));
        (of.last, of.all) = (index, self.all);
        if let Record::Decision(decision) = record {
            self.chains.take(at, index, time, decision);
        }
    }

    fn end(mut self) -> Times {
        if let (Some(earliest), Some(newest)) = (self.earliest, self.latest) {
            for of in &mut self.logs {
                let after = of.latest.map(|_| of.last);
                let from = of.latest.unwrap_or(earliest);
                let (runs, is_told) = std::mem::take(&mut of.runs).end();
                of.times.runs = runs;
                if !is_told && micros(from, newest).is_some_and(|passed| passed >= self.silence_us) {
                    let others = self.all.saturating_sub(of.all);
                    of.times.add(Silence { ends_log: true, ..Silence::of(after, from, newest, others) });
                }
            }
        }
        let names: Vec<String> = self.logs.iter().map(|of| of.times.log.clone()).collect();
        let (skews, passed_over) = self.chains.end(&names);
        let logs = self.logs.into_iter().map(OfLog::end).collect();
        Times { logs, skews, passed_over, damage: self.damage }
    }
}

impl OfLog {
    fn end(self) -> LogTimes {
        let Self { mut times, first, latest, .. } = self;
        times.first = first.map(|first| first.to_string());
        times.last = latest.map(|latest| latest.to_string());
        times.silences.sort_by_key(|silence| (silence.ends_log, silence.after));
        times
    }
}

impl LogTimes {
    /// One more silence, where it is among the longest.
    fn add(&mut self, silence: Silence) {
        self.silences.push(silence);
        if self.silences.len() > MOST_SILENCES {
            self.more_silences += 1;
            let shortest = self.silences.iter().enumerate().min_by_key(|(_, silence)| silence.seconds);
            if let Some((at, _)) = shortest {
                self.silences.swap_remove(at);
            }
        }
    }

    fn back(&mut self, index: u64, latest: Timestamp, time: Timestamp) {
        let by_us = micros(time, latest).unwrap_or_default();
        self.went_back += 1;
        if self.most_back.as_ref().is_none_or(|most| most.by_us < by_us) {
            self.most_back =
                Some(ClockBack { index, time: time.to_string(), after: latest.to_string(), by_us });
        }
    }
}

impl Silence {
    fn of(after: Option<u64>, from: Timestamp, to: Timestamp, others: u64) -> Self {
        let seconds = micros(from, to).unwrap_or_default() / 1_000_000;
        Self { after, from: from.to_string(), to: to.to_string(), ends_log: false, seconds, others }
    }
}
