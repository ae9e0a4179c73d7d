//! What a residual looks at that the record of a call does not say.

use super::field::Field;
use super::value::Constant;
use super::{Expression, Operator};
use crate::recorded::Recorded;

impl Expression {
    /// Whether the value depends on anything that the record lacks.
    pub(crate) fn is_beyond(&self, recorded: &Recorded) -> bool {
        let any = |all: &[Self]| all.iter().any(|one| one.is_beyond(recorded));
        match self {
            Self::Constant(_) | Self::Failure => false,
            Self::Field(field) => recorded.lacks(*field),
            Self::Has(presence) => recorded.lacks_presence(*presence),
            Self::HasTag(view, key) | Self::GetTag(view, key) => match &**key {
                Self::Constant(Constant::Text(pointer)) => recorded.argument(*view, pointer).is_none(),
                // Which one it is, is worked out per call.
                _ => true,
            },
            // Of one guard the record may say what it does not say of all.
            Self::Binary(Operator::Contains, both) => match &**both {
                [Self::Field(Field::Guarded), Self::Constant(Constant::Text(guard))] => {
                    !recorded.has_passed(guard)
                }
                both => any(both),
            },
            // Of nothing but the person it is worked out here what it is in.
            Self::Binary(Operator::In, both) => recorded.lacks_groups() || any(&**both),
            Self::And(both) | Self::Or(both) | Self::Binary(_, both) => any(&**both),
            Self::If(three) => any(&**three),
            Self::Unary(_, one) | Self::ConstantIn(_, one) | Self::Like(one, _) => one.is_beyond(recorded),
            Self::Set(elements) => any(elements),
        }
    }
}
