//! Which answers of a model, of several that it was asked for at once, have begun and ended.

/// Of the choices that a model was asked for (`n`): which have begun, and which have come to their end, a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    pub begun: u128,
    pub finished: u128,
}

impl Choices {
    /// The first choice has begun: the only one of most answers.
    pub const FIRST: Self = Self { begun: 1, finished: 0 };

    /// What both say.
    pub fn and(self, other: Self) -> Self {
        Self { begun: self.begun | other.begun, finished: self.finished | other.finished }
    }

    /// Whether there are some, and each has come to its end.
    pub fn have_finished(self) -> bool {
        self.finished != 0 && self.begun & !self.finished == 0
    }

    /// Adds one by its number; those that have too high a one count as the last that can be told apart.
    pub(super) fn add(&mut self, number: u32, finished: bool) {
        let bit = 1 << number.min(u128::BITS - 1);
        self.begun |= bit;
        self.finished |= if finished { bit } else { 0 };
    }
}
