//! What a residual can come to while something of the call is unknown.

use super::{Expression, Unary};
use crate::decide::deciding::Deciding;

/// The outcomes that some arguments could lead to, besides failing. May say more than are possible, never fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Possible {
    pub(crate) holds: bool,
    pub(crate) fails_to_hold: bool,
}

impl Possible {
    pub(crate) const ANY: Self = Self { holds: true, fails_to_hold: true };
    const NONE: Self = Self { holds: false, fails_to_hold: false };

    pub(crate) fn only(outcome: Result<bool, super::evaluate::Failed>) -> Self {
        match outcome {
            Ok(holds) => Self { holds, fails_to_hold: !holds },
            Err(_) => Self::NONE,
        }
    }

    fn or(self, other: Self) -> Self {
        Self { holds: self.holds || other.holds, fails_to_hold: self.fails_to_hold || other.fails_to_hold }
    }

    fn when(self, reached: bool) -> Self {
        if reached { self } else { Self::NONE }
    }
}

impl Expression {
    /// The outcomes of the condition over all arguments.
    pub(crate) fn possible(&self, call: &Deciding<'_>) -> Possible {
        self.possible_where(call, &Self::on_arguments)
    }

    /// The outcomes of the condition where the value of each part is unknown of which `unknown` says so. What a part is unknown for, the
    /// whole is.
    pub(crate) fn possible_where<U: Fn(&Self) -> bool>(&self, call: &Deciding<'_>, unknown: &U) -> Possible {
        if !unknown(self) {
            return Possible::only(self.holds(call));
        }
        match self {
            Self::And(both) => {
                let [left, right] = &**both;
                let left = left.possible_where(call, unknown);
                Possible { holds: false, ..left }.or(right.possible_where(call, unknown).when(left.holds))
            }
            Self::Or(both) => {
                let [left, right] = &**both;
                let left = left.possible_where(call, unknown);
                Possible { fails_to_hold: false, ..left }
                    .or(right.possible_where(call, unknown).when(left.fails_to_hold))
            }
            Self::Unary(Unary::Not, operand) => {
                let Possible { holds, fails_to_hold } = operand.possible_where(call, unknown);
                Possible { holds: fails_to_hold, fails_to_hold: holds }
            }
            Self::If(three) => {
                let [condition, then, otherwise] = &**three;
                let condition = condition.possible_where(call, unknown);
                let taken = then.possible_where(call, unknown).when(condition.holds);
                taken.or(otherwise.possible_where(call, unknown).when(condition.fails_to_hold))
            }
            _ => Possible::ANY,
        }
    }
}
