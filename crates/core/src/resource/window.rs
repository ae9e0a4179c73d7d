//! When what a policy permits is permitted.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::{At, Fault, Problems};
use super::zone::{NoZone, Zone};

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
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
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    days: BTreeSet<Day>,
    hours: Option<HoursSpec>,
    zone: Option<Zone>,
}

/// The first time that Cedar can write, in milliseconds since the Unix epoch: the beginning of the year 0000.
const FIRST: i64 = -62_167_219_200_000;

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
        if let (Some(from), Some(until)) = (from, until)
            && until <= from
        {
            let fault = Fault::new("it ends before it begins", "write a later time");
            problems.report(at.key("until"), &until.to_string(), fault);
        }
        if let Some(HoursSpec { from, until }) = self.hours
            && (from > 23 || !(1..=24).contains(&until) || from == until)
        {
            let fault =
                Fault::new("no hours of a day", "write from: 0 to 23 and until: 1 to 24, another hour");
            problems.report(at.key("hours"), &format!("{from} to {until}"), fault);
        }
        if *self == Self::default() {
            let fault = Fault::new("it says no time", "write from, until, days or hours, or leave it out");
            problems.report(at, "", fault);
        }
        let zone = self.zone.as_deref().and_then(|name| self.zone(name, at, problems));
        let days = self.days.iter().copied().collect();
        Some(Window { from, until, days, hours: self.hours, zone })
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

impl Window {
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
