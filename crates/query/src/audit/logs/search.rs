//! Records of several logs by what they say, in one order.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::path::Path;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::copies::Copies;
use super::{Cursor, Log, LogDamage, Logs, Running};
use crate::Misasked;
use crate::audit::{self, Damage, Found, InLog, Lookup, SearchQuestion, Unsearched};

/// A record of one of several logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FoundIn {
    /// Where a search goes on behind it: `log:index,log:index`.
    pub cursor: String,
    /// The log that it is a record of, by its name in checkpoints.
    pub log: String,
    /// The record; its index is that in its log.
    #[serde(flatten)]
    pub found: Found,
}

type Records = Peekable<Box<dyn Iterator<Item = Result<Found, Damage>>>>;

/// The records of several logs that fit, one by one. Of each directory one segment is held at a time, and of each log one record.
#[expect(missing_debug_implementations, reason = "it has searches under way, which say nothing")]
pub struct Searched {
    sources: Vec<Source>,
    cursor: Cursor,
    newest_first: bool,
}

/// The records of one log.
struct Source {
    log: Log,
    /// Of each directory that has it.
    parts: Vec<Records>,
    /// The same, for what does not fit there and would be another record.
    copies: Copies,
    running: Running,
    /// The next one, and where it stands.
    head: Option<(Timestamp, Found)>,
    /// What is to be told before it.
    damage: Vec<LogDamage>,
}

/// The records of the logs that fit: the oldest or the newest first, by time, then by the name of the log, then by index. What is wrong with a
/// log comes where it is met; the others are read all the same. `after` is where a page before ended.
///
/// # Errors
/// Where no record can fit, or `after` names another log.
pub fn search(logs: &Logs, question: &SearchQuestion, after: &Cursor) -> Result<Searched, Misasked> {
    search_by(&InLog::of, logs, question, after)
}

/// As [`search`], each directory looked up in whatever knows its records.
///
/// # Errors
/// As of [`search`].
pub fn search_by(
    lookup: &dyn Fn(&Path) -> Box<dyn Lookup>,
    logs: &Logs,
    question: &SearchQuestion,
    after: &Cursor,
) -> Result<Searched, Misasked> {
    question.wanted()?;
    after.fits(logs)?;
    let newest_first = !question.oldest_first;
    let sources = logs.all().iter().map(|log| Source::of(lookup, log, question, after.after(log)));
    Ok(Searched { sources: sources.collect::<Result<_, _>>()?, cursor: after.clone(), newest_first })
}

impl Source {
    fn of(
        lookup: &dyn Fn(&Path) -> Box<dyn Lookup>,
        log: &Log,
        question: &SearchQuestion,
        after: Option<u64>,
    ) -> Result<Self, Misasked> {
        let newest_first = !question.oldest_first;
        let is_behind = move |found: &Result<Found, Damage>| match (found, after) {
            (Ok(found), Some(after)) if newest_first => found.index < after,
            (Ok(found), Some(after)) => found.index > after,
            _ => true,
        };
        let mut parts = Vec::new();
        for directory in &log.directories {
            let records: Box<dyn Iterator<Item = _>> =
                match lookup(directory).fitting(&log.others(directory), question) {
                    Ok(found) => Box::new(found.filter(is_behind)),
                    Err(Unsearched::Misasked(misasked)) => return Err(misasked),
                    Err(Unsearched::Log(error)) => Box::new(std::iter::once(Err(Damage::Log(error)))),
                };
            parts.push(records.peekable());
        }
        let (log, copies) = (log.clone(), Copies::of(log));
        Ok(Self { log, parts, copies, running: Running::default(), head: None, damage: Vec::new() })
    }

    /// Reads the next record, where it is not read yet.
    fn advance(&mut self, newest_first: bool) {
        if self.head.is_some() {
            return;
        }
        for part in &mut self.parts {
            while let Some(Err(damage)) = part.next_if(Result::is_err) {
                self.damage.push(LogDamage::Of { log: self.log.name.clone(), damage });
            }
        }
        let indexes = self.parts.iter_mut().filter_map(|part| match part.peek() {
            Some(Ok(found)) => Some(found.index),
            _ => None,
        });
        let next = if newest_first { indexes.max() } else { indexes.min() };
        let Some(index) = next else { return };
        let found = self.parts.iter_mut().map(|part| {
            let found = part.next_if(|found| found.as_ref().is_ok_and(|found| found.index == index));
            found.and_then(Result::ok)
        });
        let mut found: Vec<Option<Found>> = found.collect();
        let bytes: Vec<Option<&[u8]>> =
            found.iter().map(|found| found.as_ref().map(|found| found.bytes.as_slice())).collect();
        let agreed = self.copies.agreed(index, &bytes);
        if agreed.differs {
            self.damage.push(LogDamage::Differs { log: self.log.name.clone(), index });
        }
        let Some(mut stands) = agreed.stands.and_then(|at| found.get_mut(at)?.take()) else { return };
        if stands.decided.is_none() {
            // The part that has the decision of an effect may be another one.
            let mut others = found.into_iter().flatten().filter(|other| other.bytes == stands.bytes);
            stands.decided = others.find_map(|other| other.decided);
        }
        self.head = Some((self.running.next(stands.record.time(), newest_first), stands));
    }
}

impl Iterator for Searched {
    type Item = Result<FoundIn, LogDamage>;

    fn next(&mut self) -> Option<Self::Item> {
        let newest_first = self.newest_first;
        for source in &mut self.sources {
            source.advance(newest_first);
            // What is wrong comes at once, before what is not all there is because of it.
            if let Some(damage) = source.damage.pop() {
                return Some(Err(damage));
            }
        }
        // They are in the order of their names.
        let heads = self.sources.iter().enumerate();
        let heads = heads.filter_map(|(at, source)| source.head.as_ref().map(|(stands, _)| (*stands, at)));
        let (_, at) = if newest_first { heads.max() } else { heads.min() }?;
        let source = self.sources.get_mut(at)?;
        let (_, found) = source.head.take()?;
        self.cursor.pass(&source.log, found.index);
        Some(Ok(FoundIn { cursor: self.cursor.to_string(), log: source.log.name.clone(), found }))
    }
}

/// Of the names that were asked for, those that no record of any log has; see [`audit::unknown_names`]. What cannot be read may have them.
pub fn unknown_names(
    lookup: &dyn Fn(&Path) -> Box<dyn Lookup>,
    logs: &Logs,
    question: &SearchQuestion,
) -> Vec<(&'static str, String)> {
    let mut unknown: Option<BTreeSet<(&'static str, String)>> = None;
    for (_, directory) in logs.directories() {
        let here: BTreeSet<_> = match audit::unknown_names(&*lookup(directory), question) {
            Ok(here) => here.into_iter().collect(),
            Err(_) => return Vec::new(),
        };
        unknown = Some(match unknown {
            None => here,
            Some(before) => before.intersection(&here).cloned().collect(),
        });
    }
    unknown.unwrap_or_default().into_iter().collect()
}
