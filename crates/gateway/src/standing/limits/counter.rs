//! How much was taken in a while. Time is divided into parts, and what was taken counts in the part in which it was: as long as that part touches the
//! window. So a sliding window, which has [`PARTS`] of them, counts what was taken for up to one part too long and never too short: nobody takes more
//! than the amount in any window.

use std::time::{Duration, Instant};

use vidimus_core::resource::limit::LimitWindow;

use crate::table::Entry;

/// Into so many parts a sliding window is divided.
const PARTS: u64 = 16;

/// Parts that are kept: those of a sliding window, and the one that has begun.
const PLACES: usize = 17;

/// The same.
const KEPT: u64 = PARTS + 1;

/// How time is divided for a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    /// How long a part is, in milliseconds; 0 where there is one that does not end.
    pub part: u64,
    /// So many of the last parts count.
    pub count: u64,
}

impl Division {
    /// Of a window.
    pub const fn of(window: LimitWindow) -> Self {
        match window {
            LimitWindow::Fixed(length) => Self { part: length, count: 1 },
            LimitWindow::Sliding(length) => Self { part: length.div_ceil(PARTS), count: KEPT },
            LimitWindow::UnderWay => Self { part: 0, count: 1 },
        }
    }

    /// The number of the part at so many milliseconds.
    pub const fn number(self, at: u64) -> u64 {
        match at.checked_div(self.part) {
            Some(number) => number,
            None => 0,
        }
    }

    /// How long what was taken counts at most.
    const fn longest(self) -> Duration {
        Duration::from_millis(self.part.saturating_mul(self.count))
    }
}

/// What came of a try to take something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    /// It is taken, in the part of this number, and so much is left.
    Taken { left: i64, number: u64 },
    /// It does not fit: so much is lacking, as a number below 0. If nothing else is taken, it fits at so many milliseconds; `None` where it never does, or
    /// where that is not known.
    Full { left: i64, again: Option<u64> },
}

/// What was taken of one limit by those who count together.
#[derive(Clone, Debug)]
pub struct Counter {
    division: Division,
    /// The number of the newest part that was seen. A clock that is set back does not bring back an earlier one.
    newest: u64,
    /// By the number of the part, as often as there are places.
    taken: [i64; PLACES],
    /// From then on nothing of it counts; `None` where that is not known.
    over: Option<Instant>,
}

impl Counter {
    /// Nothing is taken yet.
    pub const fn new(division: Division) -> Self {
        Self { division, newest: 0, taken: [0; PLACES], over: None }
    }

    /// Takes `want` of `amount` at so many milliseconds by the clock of the limit, which is `now` by that of the process.
    pub fn take(&mut self, (at, now): (u64, Instant), want: i64, amount: i64) -> Try {
        self.go_on_to(self.division.number(at));
        let left = amount.saturating_sub(self.used()).saturating_sub(want);
        if left < 0 {
            return Try::Full { left, again: self.again(want, amount) };
        }
        self.over = (self.division.part > 0).then(|| now + self.division.longest());
        let number = self.newest;
        self.change(number, want);
        Try::Taken { left, number }
    }

    /// Of what was taken in the part of this number so much was used. What was not used may be taken again; what was used beside it counts from now on.
    pub fn settle(&mut self, number: u64, taken: i64, used: i64) {
        let is_live = number <= self.newest && self.newest - number < self.division.count;
        if used > taken {
            self.change(self.newest, used - taken);
        } else if is_live {
            self.change(number, used - taken);
        }
    }

    /// How much of `amount` is left at so many milliseconds, as far as it is counted in parts like these; `None` where it is not. Below 0 where more was
    /// used than was reserved.
    pub fn left(&self, division: Division, at: u64, amount: i64) -> Option<i64> {
        let now = division.number(at).max(self.newest);
        let oldest = now.saturating_sub(division.count - 1);
        let used = self.parts().filter(|number| *number >= oldest);
        let used = used.fold(0_i64, |sum, number| sum.saturating_add(self.of(number)));
        (division == self.division).then(|| amount.saturating_sub(used))
    }

    /// How much counts.
    fn used(&self) -> i64 {
        self.parts().fold(0, |sum, number| sum.saturating_add(self.of(number)))
    }

    /// The numbers of the parts that count, oldest first.
    fn parts(&self) -> impl Iterator<Item = u64> + use<> {
        self.newest.saturating_sub(self.division.count - 1)..=self.newest
    }

    /// When `want` fits, if nothing else is taken.
    fn again(&self, want: i64, amount: i64) -> Option<u64> {
        if want > amount || self.division.part == 0 {
            return None;
        }
        let mut used = self.used();
        self.parts().find_map(|number| {
            used = used.saturating_sub(self.of(number));
            let end = (number + self.division.count).saturating_mul(self.division.part);
            (used.saturating_add(want) <= amount).then_some(end)
        })
    }

    fn go_on_to(&mut self, number: u64) {
        let passed = number.saturating_sub(self.newest);
        for one in 0..passed.min(KEPT) {
            if let Some(place) = self.taken.get_mut(place(number - one)) {
                *place = 0;
            }
        }
        self.newest = self.newest.max(number);
    }

    fn of(&self, number: u64) -> i64 {
        self.taken.get(place(number)).copied().unwrap_or_default()
    }

    fn change(&mut self, number: u64, by: i64) {
        if let Some(taken) = self.taken.get_mut(place(number)) {
            *taken = taken.saturating_add(by).max(0);
        }
    }
}

/// Where a part is kept.
fn place(number: u64) -> usize {
    usize::try_from(number % KEPT).unwrap_or_default()
}

impl Entry for Counter {
    fn is_unused(&self, now: Instant) -> bool {
        self.used() == 0 || self.over.is_some_and(|over| now >= over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn take(counter: &mut Counter, at: u64, want: i64, amount: i64) -> Try {
        counter.take((at, Instant::now()), want, amount)
    }

    #[test]
    fn a_fixed_window_begins_anew_with_each_length() {
        let mut counter = Counter::new(Division::of(LimitWindow::Fixed(HOUR)));
        let begin = 480_000 * HOUR;
        let number = 480_000;
        assert_eq!(take(&mut counter, begin, 2, 3), Try::Taken { left: 1, number });
        let full = Try::Full { left: -1, again: Some(begin + HOUR) };
        assert_eq!(take(&mut counter, begin + HOUR - 1, 2, 3), full);
        assert_eq!(take(&mut counter, begin + HOUR - 1, 1, 3), Try::Taken { left: 0, number });
        assert_eq!(take(&mut counter, begin + HOUR, 3, 3), Try::Taken { left: 0, number: number + 1 });
        assert_eq!(take(&mut counter, begin + HOUR, 4, 3), Try::Full { left: -4, again: None }, "never");
    }

    /// Attack: the clock is set back, or forth and back, to have the amount once more.
    #[test]
    fn a_clock_that_is_set_back_gives_nothing() {
        for window in [LimitWindow::Fixed(HOUR), LimitWindow::Sliding(HOUR)] {
            let mut counter = Counter::new(Division::of(window));
            let begin = 480_000 * HOUR;
            assert!(matches!(take(&mut counter, begin, 3, 3), Try::Taken { left: 0, .. }));
            for at in [begin - HOUR, begin - 24 * HOUR, 0, begin] {
                assert!(
                    matches!(take(&mut counter, at, 1, 3), Try::Full { left: -1, .. }),
                    "{window:?} {at}"
                );
            }
            assert!(matches!(take(&mut counter, begin + 24 * HOUR, 3, 3), Try::Taken { left: 0, .. }));
            assert!(matches!(take(&mut counter, begin, 1, 3), Try::Full { .. }), "{window:?}");
        }
    }

    #[test]
    fn what_slides_out_of_the_window_may_be_taken_again() {
        let mut counter = Counter::new(Division::of(LimitWindow::Sliding(1_600)));
        assert!(matches!(take(&mut counter, 50, 1, 2), Try::Taken { left: 1, .. }));
        assert!(matches!(take(&mut counter, 850, 1, 2), Try::Taken { left: 0, .. }));
        // It counts until its part does not touch the window any more: 1,600 ms and at most a part more.
        assert_eq!(take(&mut counter, 1_699, 1, 2), Try::Full { left: -1, again: Some(1_700) });
        assert!(matches!(take(&mut counter, 1_700, 1, 2), Try::Taken { left: 0, .. }));
        assert_eq!(take(&mut counter, 1_700, 1, 2), Try::Full { left: -1, again: Some(2_500) });
        assert_eq!(take(&mut counter, 1_700, 2, 2), Try::Full { left: -2, again: Some(3_400) });
    }

    #[test]
    fn what_was_not_used_may_be_taken_again_and_what_was_used_beside_it_counts() {
        let mut counter = Counter::new(Division::of(LimitWindow::Sliding(1_600)));
        let Try::Taken { number, left: 0 } = take(&mut counter, 0, 100, 100) else { panic!("room") };
        counter.settle(number, 100, 30);
        assert!(matches!(take(&mut counter, 0, 0, 100), Try::Taken { left: 70, .. }));
        counter.settle(number, 0, 90);
        assert!(matches!(take(&mut counter, 0, 0, 100), Try::Full { left: -20, .. }), "beyond the amount");
        // Of one that does not count any more nothing is given back.
        let Try::Taken { number: next, .. } = take(&mut counter, 9_000, 5, 100) else { panic!("room") };
        counter.settle(number, 100, 0);
        assert!(matches!(take(&mut counter, 9_000, 0, 100), Try::Taken { left: 95, .. }));
        counter.settle(next, 5, 0);
        assert!(matches!(take(&mut counter, 9_000, 0, 100), Try::Taken { left: 100, .. }));
    }

    #[test]
    fn what_is_left_is_known_without_a_call_and_is_all_once_the_window_is_over() {
        let hour = Division::of(LimitWindow::Fixed(HOUR));
        let (mut counter, begin) = (Counter::new(hour), 480_000 * HOUR);
        let Try::Taken { number, .. } = take(&mut counter, begin, 3, 5) else { panic!("room") };
        assert_eq!(counter.left(hour, begin + HOUR - 1, 5), Some(2));
        assert_eq!(counter.left(hour, begin + HOUR, 5), Some(5), "though nobody has called since");
        assert_eq!(
            counter.left(Division::of(LimitWindow::Sliding(HOUR)), begin, 5),
            None,
            "it was another one"
        );
        counter.settle(number, 3, 9);
        assert_eq!(counter.left(hour, begin, 5), Some(-4), "more was used than was reserved");
        let sliding = Division::of(LimitWindow::Sliding(1_600));
        let mut counter = Counter::new(sliding);
        take(&mut counter, 50, 1, 2);
        take(&mut counter, 850, 1, 2);
        assert_eq!([1_699, 1_700, 2_500].map(|at| counter.left(sliding, at, 2)), [Some(0), Some(1), Some(2)]);
        let at_once = Division::of(LimitWindow::UnderWay);
        let mut counter = Counter::new(at_once);
        take(&mut counter, 0, 1, 3);
        assert_eq!(counter.left(at_once, 99 * HOUR, 3), Some(2));
    }

    #[test]
    fn calls_at_once_are_counted_while_they_are_under_way() {
        let mut counter = Counter::new(Division::of(LimitWindow::UnderWay));
        assert_eq!(take(&mut counter, 0, 1, 1), Try::Taken { left: 0, number: 0 });
        assert_eq!(take(&mut counter, 99 * HOUR, 1, 1), Try::Full { left: -1, again: None });
        assert!(!counter.is_unused(Instant::now() + Duration::from_secs(9_999_999)), "it is under way");
        counter.settle(0, 1, 0);
        assert!(counter.is_unused(Instant::now()));
        assert_eq!(take(&mut counter, 0, 1, 1), Try::Taken { left: 0, number: 0 });
    }

    /// Numbers that a seed gives again (splitmix64).
    fn dice(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Whatever is taken and given back, at whatever times, and with clocks that are set: never more than the amount in any window.
    #[test]
    fn nobody_takes_more_than_the_amount_in_any_window() {
        const LENGTH: u64 = 1_000;
        for seed in 0..200 {
            let mut state = seed;
            let sliding = seed % 2 == 0;
            let window = if sliding { LimitWindow::Sliding(LENGTH) } else { LimitWindow::Fixed(LENGTH) };
            let mut counter = Counter::new(Division::of(window));
            let amount = 1 + i64::try_from(dice(&mut state) % 20).unwrap();
            // When each was taken, by a clock that only goes on, and how much of it stays.
            let (mut at, mut taken): (u64, Vec<(u64, u64, i64)>) = (0, Vec::new());
            for _ in 0..400 {
                at += dice(&mut state) % 120;
                // What slides does so by a clock that nobody sets.
                let set_back = if !sliding && dice(&mut state).is_multiple_of(10) {
                    dice(&mut state) % 3_000
                } else {
                    0
                };
                let want = i64::try_from(dice(&mut state) % 4).unwrap();
                if let Try::Taken { number, .. } =
                    take(&mut counter, at.saturating_sub(set_back), want, amount)
                {
                    taken.push((at, number, want));
                }
                if dice(&mut state).is_multiple_of(3) && !taken.is_empty() {
                    let place = usize::try_from(dice(&mut state)).unwrap_or_default() % taken.len();
                    let (_, number, kept) = taken[place];
                    let used = kept / 2;
                    counter.settle(number, kept, used);
                    taken[place].2 = used;
                }
                let counts = |then: u64, number: u64| match sliding {
                    true => at - then < LENGTH,
                    false => number == counter.newest,
                };
                let sum: i64 = taken.iter().filter(|one| counts(one.0, one.1)).map(|one| one.2).sum();
                assert!(sum <= amount, "seed {seed}: {sum} of {amount} at {at}");
            }
        }
    }
}
