//! Times of which a log says itself that no gateway wrote it: from a stop, or an end without one, to the next start (ADR 63).

use std::path::Path;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vidimus_core::act::{Act, LastRun};
use vidimus_core::record::{Kept, Record};

use super::{MOST_SILENCES, micros};
use crate::audit::{Found, Kind, SearchQuestion, Unsearched, search};

/// A time in which no gateway was running that writes the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Away {
    /// The stop that it begins with; `None` where the run before ended without one, or its stop is of another time than was asked for.
    pub stop: Option<u64>,
    /// The start that it ends with; `None` where the log ends before one.
    pub start: Option<u64>,
    /// Its beginning: that of the stop. Without one it is that of the last record before the start: until then at least it was running, and when it
    /// ended no record says.
    pub from: String,
    /// Its end: that of the start; absent where the log ends before one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// How long it was; 0 where it has no end.
    pub seconds: u64,
    /// How the run before ended.
    pub found: LastRun,
}

impl Away {
    /// Since a stop that no start follows.
    fn for_good(stop: u64, at: Timestamp) -> Self {
        let found = LastRun::Stopped;
        Self { stop: Some(stop), start: None, from: at.to_string(), to: None, seconds: 0, found }
    }
}

/// When gateways ran that wrote a log, by their own starts and stops. Gateways of earlier versions recorded none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunTimes {
    /// How many starts are on record.
    pub starts: u64,
    /// How many of them found that the run before had ended without a stop.
    pub unstopped: u64,
    /// Times of which the log says itself that no gateway was running, the longest at most 32, in their order.
    pub away: Vec<Away>,
    /// How many more there were.
    pub more_away: u64,
}

/// The runs of the gateway of one log, as far as it was read.
#[derive(Debug, Default)]
pub(in crate::audit) struct Runs {
    told: RunTimes,
    /// Since a stop, until the next start.
    stopped: Option<(u64, Timestamp)>,
}

impl Runs {
    /// Takes the next record of the log over; whether what was silent before it is told by it or by a stop, and is no silence of a gateway that runs.
    pub(in crate::audit) fn take(
        &mut self,
        (index, time): (u64, Timestamp),
        record: &Kept,
        silence_us: u64,
    ) -> bool {
        let was_away = self.stopped.is_some();
        let Record::Act(act) = record else { return was_away };
        match &act.act {
            Act::Stop(_) => {
                self.stopped = Some((index, time));
                was_away
            }
            Act::Start(start) => {
                self.told.starts += 1;
                self.told.unstopped += u64::from(start.found == LastRun::Unstopped);
                let stopped = self.stopped.take();
                let since = start.since.as_deref().and_then(|since| since.parse::<Timestamp>().ok());
                let Some(from) = stopped.map(|(_, at)| at).or(since) else { return true };
                let passed = micros(from, time).unwrap_or_default();
                // That one ended without a stop is worth knowing however soon the next began.
                if passed >= silence_us || start.found == LastRun::Unstopped {
                    self.told.away(Away {
                        stop: stopped.map(|(index, _)| index),
                        start: Some(index),
                        from: from.to_string(),
                        to: Some(time.to_string()),
                        seconds: passed / 1_000_000,
                        found: start.found,
                    });
                }
                true
            }
            _ => was_away,
        }
    }

    /// What is known at the end of the log; and whether it ends with a stop.
    pub(in crate::audit) fn end(mut self) -> (RunTimes, bool) {
        if let Some((index, at)) = self.stopped {
            self.told.away(Away::for_good(index, at));
        }
        (self.told, self.stopped.is_some())
    }
}

impl RunTimes {
    /// One more time away, where it is among the longest.
    fn away(&mut self, away: Away) {
        self.away.push(away);
        if self.away.len() > MOST_SILENCES {
            self.more_away += 1;
            // That which has no end is not the shortest.
            let lasted = |away: &Away| if away.to.is_some() { away.seconds } else { u64::MAX };
            let shortest =
                self.away.iter().enumerate().min_by_key(|(_, away)| lasted(away)).map(|(at, _)| at);
            if let Some(at) = shortest {
                self.away.remove(at);
            }
        }
    }
}

/// How the records of starts begin, and those of both: canonical JSON has `act` first.
const STARTS: &str = r#"{"act":{"start":"#;
const EITHER: &str = r#"{"act":{"st"#;
/// Restarts that took less are not told where nothing was found.
const SHORT_US: u64 = 60_000_000;

/// The times in which no gateway was running that wrote the log in `dir`, where a window has a part of them: the first 32. Nothing of before the
/// window is read, since a start says since when nothing was on record. What of the log is damaged is passed over.
///
/// # Errors
/// See [`Unsearched`].
pub fn away_within(
    dir: &Path,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
) -> Result<Vec<Away>, Unsearched> {
    let acts = |text: &str, since, oldest_first| {
        let text = Some(text.to_owned());
        SearchQuestion { kind: Some(Kind::Act), text, since, oldest_first, ..SearchQuestion::default() }
    };
    let is_behind = |time: Timestamp| until.is_some_and(|until| time >= until);
    let mut all = Vec::new();
    for found in search(dir, &acts(STARTS, since, true))?.flatten() {
        let Record::Act(act) = &found.record else { continue };
        let Act::Start(start) = &act.act else { continue };
        let from = start.since.as_deref().and_then(|since| since.parse::<Timestamp>().ok());
        let (Some(from), Ok(to)) = (from, act.time.parse::<Timestamp>()) else { continue };
        if is_behind(from) || all.len() == MOST_SILENCES {
            return Ok(all);
        }
        let passed = micros(from, to).unwrap_or_default();
        if passed >= SHORT_US || start.found == LastRun::Unstopped {
            let (start, found) = (Some(found.index), start.found);
            let (from, to, seconds) = (from.to_string(), Some(to.to_string()), passed / 1_000_000);
            all.push(Away { stop: None, start, from, to, seconds, found });
        }
    }
    let newest = search(dir, &acts(EITHER, None, false))?.flatten().next();
    if let Some(Found { index, record: Record::Act(act), .. }) = newest
        && matches!(act.act, Act::Stop(_))
        && let Ok(at) = act.time.parse::<Timestamp>()
        && !is_behind(at)
    {
        all.push(Away::for_good(index, at));
    }
    Ok(all)
}
