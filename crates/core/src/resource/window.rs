//! When what a policy permits is permitted.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::{At, Fault, Problems};
use super::zone::{DAY, HOUR, KNOWN, NoZone, Zone};
use crate::caller::UnixMillis;

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Day {
    /// As its name says, and so are all.
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Day {
    /// As in `context.weekday`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Monday => "monday",
            Self::Tuesday => "tuesday",
            Self::Wednesday => "wednesday",
            Self::Thursday => "thursday",
            Self::Friday => "friday",
            Self::Saturday => "saturday",
            Self::Sunday => "sunday",
        }
    }

    /// The day at so many milliseconds since the Unix epoch, which was a Thursday.
    const fn of(at: i64) -> Self {
        match at.div_euclid(DAY).rem_euclid(7) {
            0 => Self::Thursday,
            1 => Self::Friday,
            2 => Self::Saturday,
            3 => Self::Sunday,
            4 => Self::Monday,
            5 => Self::Tuesday,
            _ => Self::Wednesday,
        }
    }

    /// The day before it.
    pub(super) const fn before(self) -> Self {
        match self {
            Self::Monday => Self::Sunday,
            Self::Tuesday => Self::Monday,
            Self::Wednesday => Self::Tuesday,
            Self::Thursday => Self::Wednesday,
            Self::Friday => Self::Thursday,
            Self::Saturday => Self::Friday,
            Self::Sunday => Self::Saturday,
        }
    }

    /// The day after it.
    pub(super) const fn after(self) -> Self {
        match self {
            Self::Monday => Self::Tuesday,
            Self::Tuesday => Self::Wednesday,
            Self::Wednesday => Self::Thursday,
            Self::Thursday => Self::Friday,
            Self::Friday => Self::Saturday,
            Self::Saturday => Self::Sunday,
            Self::Sunday => Self::Monday,
        }
    }
}

/// When what a policy permits is permitted; all that is given holds together. What it forbids is forbidden at all times.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WindowSpec {
    /// From this time on (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub from: Option<String>,
    /// Before this time (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub until: Option<String>,
    /// On these days of the week, by the clocks of the zone; on all when they are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 7))]
    pub days: Vec<Day>,
    /// In these hours of the day, by the clocks of the zone; in all when they are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<HoursSpec>,
    /// Where the clocks are by which days and hours are: a name of the IANA time zone database (Europe/Berlin). UTC when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub zone: Option<String>,
}

/// Hours of the day: 8 and 18 are from 08:00 to 17:59; 22 and 4 go over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HoursSpec {
    /// The first one.
    #[schemars(range(min = 0, max = 23))]
    pub from: u8,
    /// The first one that is out again; 24 is the end of the day.
    #[schemars(range(min = 1, max = 24))]
    pub until: u8,
}

/// When what a policy permits is permitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// As it is written.
    spec: WindowSpec,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    days: BTreeSet<Day>,
    hours: Option<HoursSpec>,
    zone: Option<Zone>,
}

/// The first time that Cedar can write, in milliseconds since the Unix epoch: the beginning of the year 0000.
const FIRST: i64 = -62_167_219_200_000;

/// How many turns of a window are looked through. Days and hours come again within a week, or within two where the clocks skip the hour on
/// its only day; some more cost little.
const MAX_TURNS: usize = 17 * 24;

impl WindowSpec {
    /// The window, where it is one in which something could be permitted.
    pub(super) fn check(&self, at: At<'_>, problems: &mut Problems) -> Option<Window> {
        let mut time = |name: &'static str, text: &Option<String>| {
            let text = text.as_deref()?;
            let time = text.parse::<Timestamp>().ok().filter(|time| time.as_millisecond() >= FIRST);
            if time.is_none() {
                let fault = Fault::new(
                    "not a time of the years 0000 to 9999",
                    "write RFC 3339 with a zone: 2026-12-01T22:00:00Z",
                );
                problems.report(at.key(name), text, fault);
            }
            time
        };
        let (from, until) = (time("from", &self.from), time("until", &self.until));
        let ends_before = from.zip(until).filter(|(from, until)| until <= from);
        if let Some((_, until)) = ends_before {
            let fault = Fault::new("it ends before it begins", "write a later time");
            problems.report(at.key("until"), &until.to_string(), fault);
        }
        let of_a_day = self.hours.is_none_or(|hours| hours.check(at, problems));
        if *self == Self::default() {
            let fault = Fault::new("it says no time", "write from, until, days or hours, or leave it out");
            problems.report(at, "", fault);
        }
        let zone = self.zone.as_deref().and_then(|name| self.zone(name, at, problems));
        let days = self.days.iter().copied().collect();
        let window = Window { spec: self.clone(), from, until, days, hours: self.hours, zone };
        if of_a_day && ends_before.is_none() && window.opens(UnixMillis(window.begins())).is_none() {
            let fault = Fault::new(
                "nothing is ever permitted in it: none of its days and hours is between from and until",
                "write days and hours that there are in that time; by the clocks of a zone that change there are some from 2020 to 2069",
            );
            problems.report(at, &self.to_string(), fault);
        }
        Some(window)
    }

    /// The zone, where there is one of this name, and something that it is of.
    fn zone(&self, name: &str, at: At<'_>, problems: &mut Problems) -> Option<Zone> {
        let fault = match Zone::named(name) {
            Ok(_) if self.days.is_empty() && self.hours.is_none() => Fault::new(
                "it is of days and hours, and there are none",
                "write days or hours, or leave it out",
            ),
            Ok(zone) => return Some(zone),
            Err(NoZone::Unknown) => {
                Fault::new("no time zone of the IANA database", "write a name as in it: Europe/Berlin, UTC")
            }
            Err(NoZone::Misspelled(name)) => {
                Fault::new("the time zone is spelled in another way", format!("write {name}"))
            }
        };
        problems.report(at.key("zone"), name, fault);
        None
    }
}

impl HoursSpec {
    /// Whether they are hours of a day.
    fn check(self, at: At<'_>, problems: &mut Problems) -> bool {
        let Self { from, until } = self;
        let at = at.key("hours");
        let mut good = true;
        let mut report = |name, value: u8, reason: &str, fix: &str| {
            good = false;
            problems.report(at.key(name), &value.to_string(), Fault::new(reason, fix));
        };
        if from > 23 {
            report("from", from, "no hour in which something could begin", "write 0 to 23");
        }
        if !(1..=24).contains(&until) {
            report("until", until, "no hour at which something could end", "write 1 to 24");
        }
        if from == until {
            let fix = "write another hour than in from; of all hours, leave hours out";
            report("until", until, "from this hour until this hour is no time", fix);
        }
        good
    }

    const fn contains(self, hour: i64) -> bool {
        let (from, until) = (self.from as i64, self.until as i64);
        if from < until { from <= hour && hour < until } else { from <= hour || hour < until }
    }
}

/// As a person says it: `monday to friday, 09:00 to 17:00 in Europe/Berlin, until 2026-12-24T00:00:00Z`.
impl fmt::Display for WindowSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: BTreeSet<Day> = self.days.iter().copied().collect();
        let in_a_row = |first: Day, last: Day| {
            let length = days.len() as u8;
            length > 2 && (last as u8).checked_sub(first as u8) == length.checked_sub(1)
        };
        let mut parts: Vec<String> = Vec::new();
        match (days.first(), days.last()) {
            (Some(first), Some(last)) if in_a_row(*first, *last) => {
                parts.push(format!("{} to {}", first.as_str(), last.as_str()));
            }
            _ => parts.extend(days.iter().map(|day| day.as_str().to_owned())),
        }
        parts.extend(self.hours.map(|HoursSpec { from, until }| format!("{from:02}:00 to {until:02}:00")));
        if !parts.is_empty() {
            let zone = self.zone.as_deref().unwrap_or("UTC");
            parts = vec![format!("{} in {zone}", parts.join(", "))];
        }
        parts.extend(self.from.iter().map(|from| format!("from {from}")));
        parts.extend(self.until.iter().map(|until| format!("until {until}")));
        f.write_str(&parts.join(", "))
    }
}

impl Window {
    /// As it is written.
    pub const fn spec(&self) -> &WindowSpec {
        &self.spec
    }

    /// Whether it is open at a time. The same as its condition says in Cedar; a test holds the two together.
    pub fn is_open(&self, at: UnixMillis) -> bool {
        let UnixMillis(at) = at;
        self.from.is_none_or(|from| at >= from.as_millisecond())
            && self.until.is_none_or(|until| at < until.as_millisecond())
            && self.local(at).is_some_and(|local| {
                let hour = local.rem_euclid(DAY) / HOUR;
                (self.days.is_empty() || self.days.contains(&Day::of(local)))
                    && self.hours.is_none_or(|hours| hours.contains(hour))
            })
    }

    /// When it is open next, from this time on: this time itself where it is open now. `None` where it never is again.
    pub fn opens(&self, from: UnixMillis) -> Option<UnixMillis> {
        let UnixMillis(mut at) = from;
        at = at.max(self.begins());
        for _ in 0..MAX_TURNS {
            if self.until.is_some_and(|until| at >= until.as_millisecond()) {
                return None;
            }
            if self.is_open(UnixMillis(at)) {
                return Some(UnixMillis(at));
            }
            at = self.next_turn(at)?;
        }
        None
    }

    /// When it closes next, after this time: the first time at which it is shut and before which it was open. `None` where it never does.
    pub fn closes(&self, after: UnixMillis) -> Option<UnixMillis> {
        let UnixMillis(mut at) = self.opens(after)?;
        for _ in 0..MAX_TURNS {
            at = self.next_turn(at)?;
            if !self.is_open(UnixMillis(at)) {
                return Some(UnixMillis(at));
            }
        }
        // Its days and hours are all that there are, so it closes at its end, or where its clocks are not known any more.
        let known = self.zone.as_ref().filter(|zone| zone.changes()).map(|_| KNOWN.1);
        self.until.map(Timestamp::as_millisecond).into_iter().chain(known).min().map(UnixMillis)
    }

    /// The first time after `at` at which it might open or close, in milliseconds since the Unix epoch.
    fn next_turn(&self, at: i64) -> Option<i64> {
        let ends = [&self.from, &self.until].into_iter().flatten().map(|end| end.as_millisecond());
        // Hours change at the hour that the clocks show, and days at their midnight; and both where the clocks are changed.
        let unit = if self.hours.is_some() { HOUR } else { DAY };
        let by_clocks = self.local(at).and_then(|local| at.checked_add(unit - local.rem_euclid(unit)));
        let of_clocks = self.zone.as_ref().and_then(|zone| zone.next_change(at));
        let of_calls = by_clocks.into_iter().chain(of_clocks).filter(|_| self.is_of_calls());
        ends.filter(|end| *end > at).chain(of_calls).min()
    }

    /// The first time that could be in it, in milliseconds since the Unix epoch.
    fn begins(&self) -> i64 {
        let known = match &self.zone {
            Some(zone) if zone.changes() => KNOWN.0,
            _ => FIRST,
        };
        self.from.map_or(known, |from| from.as_millisecond().max(known))
    }

    /// What the clocks by which it is show at a time, where that is known.
    fn local(&self, at: i64) -> Option<i64> {
        let offset = self.zone.as_ref().map_or(Some(0), |zone| zone.offset(at))?;
        at.checked_add(offset)
    }

    /// Whether it says something that only calls have: of what people do the time is known, and not its day and hour.
    pub(crate) fn is_of_calls(&self) -> bool {
        !self.days.is_empty() || self.hours.is_some()
    }

    /// As a condition in Cedar.
    pub(crate) fn condition(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        let time = |time: &Timestamp| format!("datetime(\"{time:.3}\")");
        parts.extend(self.from.iter().map(|from| format!("context.now >= {}", time(from))));
        parts.extend(self.until.iter().map(|until| format!("context.now < {}", time(until))));
        if let Some(zone) = &self.zone {
            let days: Vec<Day> = self.days.iter().copied().collect();
            parts.push(zone.condition(&days, self.hours));
            return parts.join(" && ");
        }
        if !self.days.is_empty() {
            let mut days = String::new();
            for day in &self.days {
                // Writing to a text does not fail.
                let _ = write!(days, "{}{:?}", if days.is_empty() { "" } else { ", " }, day.as_str());
            }
            parts.push(format!("[{days}].contains(context.weekday)"));
        }
        if let Some(HoursSpec { from, until }) = self.hours {
            let either = if from < until { "&&" } else { "||" };
            parts.push(format!("(context.hour >= {from} {either} context.hour < {until})"));
        }
        parts.join(" && ")
    }
}

#[cfg(test)]
mod tests;
