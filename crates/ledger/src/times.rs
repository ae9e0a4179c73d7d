//! When the records of a segment were made, to the second, so that a search for a day need not read a year.
//!
//! `tests/interleavings` includes this file.

use std::cell::Cell;
use std::sync::LazyLock;

use jiff::Timestamp;
use memchr::memmem::Finder;

/// What stands before a record's time. Inside a text of a record it would be `\"time\":\"`.
const MEMBER: &[u8] = b"\"time\":\"";

/// `2026-11-21T08:30:00`: a time to the second.
const SECOND: usize = 19;

/// The times of some records, in Unix seconds: none is before `first`, or after the end of the second `last`.
///
/// A record without a time that can be read may be of any. 0 and 2^32 - 1 stand for all times before and after, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u32,
    pub(crate) last: u32,
}

impl Default for Span {
    /// Of no records.
    fn default() -> Self {
        Self { first: u32::MAX, last: 0 }
    }
}

impl Span {
    const ANY: Self = Self { first: 0, last: u32::MAX };

    /// The time of a record.
    pub(crate) fn of(record: &[u8]) -> Self {
        static MEMBERS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(MEMBER));
        let mut span = Self::default();
        // A member of that name inside another one counts as well: too wide a span is read in vain, too narrow a one is not read.
        for at in MEMBERS.find_iter(record) {
            let text = record.get(at + MEMBER.len()..).unwrap_or_default();
            span.add(second(text).map_or(Self::ANY, |second| Self { first: second, last: second }));
        }
        if span == Self::default() { Self::ANY } else { span }
    }

    /// Also these.
    pub(crate) fn add(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }

    /// Whether all that is in `other` is in this.
    pub(crate) fn covers(&self, other: Self) -> bool {
        self.first <= other.first && self.last >= other.last
    }

    /// Whether a record of this span can be from `since` on and before `until`.
    pub(crate) fn meets(&self, since: Option<Timestamp>, until: Option<Timestamp>) -> bool {
        let ends_before = |since: Timestamp| self.last < u32::MAX && i64::from(self.last) < since.as_second();
        // A time that is no whole second is in the second that began before it.
        let last_second = |until: Timestamp| until.as_second() - i64::from(until.subsec_nanosecond() <= 0);
        let begins_after = |until: Timestamp| self.first > 0 && i64::from(self.first) > last_second(until);
        self.first <= self.last && !since.is_some_and(ends_before) && !until.is_some_and(begins_after)
    }
}

/// What the times of records, in their order, say of the clock that they were made by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clock {
    /// The latest second that was seen.
    latest: u32,
    /// The record that is older by the most than one before it, and by how many seconds.
    pub(crate) back: Option<(u64, u32)>,
}

impl Clock {
    /// Records that were made at once may be written in any order. So many seconds of that are none of a clock.
    const AT_ONCE: u32 = 60;

    /// Looks at record `index`; one whose time cannot be read says nothing.
    pub(crate) fn see(&mut self, index: u64, span: Span) {
        if span.first == 0 || span.last == u32::MAX {
            return;
        }
        let back = self.latest.saturating_sub(span.last);
        if back > self.back.map_or(Self::AT_ONCE, |(_, most)| most) {
            self.back = Some((index, back));
        }
        self.latest = self.latest.max(span.first);
    }
}

/// The second of the time at the beginning of `text`, which a quotation mark ends.
fn second(text: &[u8]) -> Option<u32> {
    thread_local! {
        /// The last second that was read, and its text: nearly all records are of the same second as the one before.
        static LAST: Cell<([u8; SECOND], u32)> = const { Cell::new(([0; SECOND], 0)) };
    }
    let digits = text.first_chunk::<SECOND>();
    // As records have it: UTC with microseconds.
    let usual =
        text.get(SECOND..SECOND + 9).is_some_and(|rest| rest.starts_with(b".") && rest.ends_with(b"Z\""));
    let (last, known) = LAST.get();
    if usual && digits == Some(&last) {
        return Some(known);
    }
    let end = memchr::memchr(b'"', text)?;
    let time: Timestamp = str::from_utf8(text.get(..end)?).ok()?.parse().ok()?;
    // Times before 1970 have a second that is rounded up.
    let second = u32::try_from(time.as_second().max(0)).unwrap_or(u32::MAX);
    if let (true, Some(digits)) = (usual, digits) {
        LAST.set((*digits, second));
    }
    Some(second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Span {
        Span::of(format!("{{\"kind\":\"x\",\"time\":\"{text}\",\"user\":\"u\"}}").as_bytes())
    }

    #[test]
    fn a_records_time_is_read_to_the_second_however_it_is_written() {
        let noon = |more: u32| Span { first: 1_795_262_400 + more, last: 1_795_262_400 + more };
        for _ in 0..2 {
            assert_eq!(at("2026-11-21T12:00:00.123456Z"), noon(0));
            assert_eq!(at("2026-11-21T12:00:01.000000Z"), noon(1));
            assert_eq!(at("2026-11-21T12:00:00.99999+0"), Span::ANY, "no time");
            assert_eq!(at("2026-11-21T14:00:00.000000+02:00"), noon(0));
            assert_eq!(at("2026-11-21T12:00:02Z"), noon(2));
        }
        assert_eq!(at("1969-01-01T00:00:00Z"), Span { first: 0, last: 0 });
        assert_eq!(at("2200-01-01T00:00:00Z"), Span { first: u32::MAX, last: u32::MAX });
        for none in ["", "x", "2026-11-21", "2026-11-21T12:00:00.123456Y"] {
            assert_eq!(at(none), Span::ANY, "{none}");
        }
        assert_eq!(Span::of(br#"{"facts":{"a":"\"time\":\"2026-11-21T12:00:00Z"}}"#), Span::ANY);
        assert_eq!(Span::of(br#"{"time":"#), Span::ANY);
        let two = Span::of(br#"{"x":{"time":"2026-11-21T12:00:09Z"},"time":"2026-11-21T12:00:00Z"}"#);
        assert_eq!(two, Span { first: noon(0).first, last: noon(9).last });
    }

    #[test]
    fn a_clock_that_went_back_is_told_from_records_that_were_made_at_once() {
        let seen = |seconds: &[u32]| {
            let mut clock = Clock::default();
            for (index, second) in (0..).zip(seconds) {
                clock.see(index, Span { first: *second, last: *second });
            }
            clock.back
        };
        assert_eq!(seen(&[100, 200, 141, 140, 300]), None);
        assert_eq!(seen(&[100, 200, 139, 300, 1]), Some((4, 299)));
        assert_eq!(seen(&[1000, 100, 500, 150]), Some((1, 900)), "the furthest");
        let mut clock = Clock::default();
        clock.see(0, Span { first: 900, last: 900 });
        clock.see(1, Span::ANY);
        assert_eq!(clock.back, None, "what has no time says nothing");
    }

    #[test]
    fn a_span_is_left_out_only_where_no_record_of_it_can_fit() {
        let time = |second: i64, nanos: i32| Some(Timestamp::new(second, nanos).expect("a time"));
        let span = Span { first: 100, last: 200 };
        for (since, until, meets) in [
            (None, None, true),
            (time(200, 999_999_999), None, true),
            (time(201, 0), None, false),
            (None, time(100, 0), false),
            (None, time(100, 1), true),
            (None, time(99, 999_999_999), false),
            (time(0, 0), time(300, 0), true),
        ] {
            assert_eq!(span.meets(since, until), meets, "{since:?} {until:?}");
        }
        assert!(!Span::default().meets(None, None), "no records");
        assert!(Span::ANY.meets(time(10_000_000_000, 0), None) && Span::ANY.meets(None, time(-5, 0)));
        assert!(Span::ANY.covers(span) && span.covers(Span::default()) && !span.covers(Span::ANY));
    }
}
