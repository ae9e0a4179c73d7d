//! Evaluating a residual, with the semantics of Cedar's evaluator: operands left to right, `&&`, `||` and `if` lazy,
//! overflow and missing attributes are errors.

use std::borrow::Cow;

use cedar_policy::pst::PatternElem;

use super::value::{Entity, Set, Value};
use super::{Expression, Operator, Unary, View};
use crate::call::Call;
use crate::decide::deciding::Deciding;
use crate::decide::view::{Seen, look};

/// Why a condition has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// As Cedar's evaluation would fail: overflow, a missing attribute or tag, a value of another type.
    Evaluation,
    /// What it looks at is there, and is not what it can see ([`Seen::Unseen`]).
    Unseen,
}

/// In milliseconds.
pub(super) const DAY: i64 = 86_400_000;

impl Expression {
    /// Whether the condition holds.
    pub(crate) fn holds(&self, call: &Deciding<'_>) -> Result<bool, Failed> {
        match self {
            Self::And(both) => {
                let [left, right] = &**both;
                Ok(left.holds(call)? && right.holds(call)?)
            }
            Self::Or(both) => {
                let [left, right] = &**both;
                Ok(left.holds(call)? || right.holds(call)?)
            }
            Self::Unary(Unary::Not, operand) => Ok(!operand.holds(call)?),
            Self::Has(presence) => presence.read(call),
            Self::HasTag(view, key) => Ok(lookup(*view, &key.text(call)?, call)?.is_some()),
            Self::Like(text, pattern) => Ok(like(&text.text(call)?, pattern)),
            Self::ConstantIn(names, right) => constant_in(names, &right.value(call)?),
            other => match other.value(call)? {
                Value::Bool(value) => Ok(value),
                _ => Err(Failed::Evaluation),
            },
        }
    }

    fn value<'a>(&'a self, call: &Deciding<'a>) -> Result<Value<'a>, Failed> {
        match self {
            Self::Constant(constant) => Ok(constant.value()),
            Self::Field(field) => field.read(call),
            Self::Failure => Err(Failed::Evaluation),
            Self::If(three) => {
                let [condition, then, otherwise] = &**three;
                if condition.holds(call)? { then.value(call) } else { otherwise.value(call) }
            }
            Self::Unary(op, operand) if *op != Unary::Not => unary(*op, operand.value(call)?),
            Self::Binary(op, both) => {
                let [left, right] = &**both;
                binary(*op, &left.value(call)?, &right.value(call)?)
            }
            Self::Set(elements) => {
                let values: Result<Vec<_>, Failed> =
                    elements.iter().map(|element| element.value(call)).collect();
                Ok(Value::Set(Set::Values(values?)))
            }
            Self::GetTag(view, key) => {
                let key = key.text(call)?;
                lookup(*view, &key, call)?.ok_or(Failed::Evaluation)
            }
            Self::And(_) | Self::Or(_) | Self::Unary(..) | Self::Has(_) | Self::HasTag(..) => {
                self.holds(call).map(Value::Bool)
            }
            Self::Like(..) | Self::ConstantIn(..) => self.holds(call).map(Value::Bool),
        }
    }

    fn text<'a>(&'a self, call: &Deciding<'a>) -> Result<Cow<'a, str>, Failed> {
        match self.value(call)? {
            Value::Text(text) => Ok(text),
            _ => Err(Failed::Evaluation),
        }
    }
}

/// The argument at a JSON pointer, as `view` shows it; `None` where there is none.
fn lookup<'a>(view: View, pointer: &str, call: &Call<'a>) -> Result<Option<Value<'a>>, Failed> {
    match look(view, pointer, call) {
        Seen::There(value) => Ok(Some(value)),
        Seen::Absent => Ok(None),
        Seen::Unseen(_) => Err(Failed::Unseen),
    }
}

fn unary<'a>(op: Unary, operand: Value<'a>) -> Result<Value<'a>, Failed> {
    Ok(match (op, operand) {
        (Unary::Negate, Value::Long(value)) => Value::Long(value.checked_neg().ok_or(Failed::Evaluation)?),
        (Unary::IsEmpty, Value::Set(set)) => Value::Bool(set.is_empty()),
        (Unary::IsIpv4, Value::Ip(net)) => Value::Bool(net.is_ipv4()),
        (Unary::IsIpv6, Value::Ip(net)) => Value::Bool(!net.is_ipv4()),
        (Unary::IsLoopback, Value::Ip(net)) => Value::Bool(net.is_loopback()),
        (Unary::IsMulticast, Value::Ip(net)) => Value::Bool(net.is_multicast()),
        (Unary::ToDate, Value::Datetime(at)) => {
            Value::Datetime(at.checked_sub(at.rem_euclid(DAY)).ok_or(Failed::Evaluation)?)
        }
        (Unary::ToTime, Value::Datetime(at)) => Value::Duration(at.rem_euclid(DAY)),
        (Unary::ToUnits(unit), Value::Duration(length)) => Value::Long(length / unit),
        _ => return Err(Failed::Evaluation),
    })
}

fn binary<'a>(op: Operator, left: &Value<'_>, right: &Value<'_>) -> Result<Value<'a>, Failed> {
    use Value::{Bool, Datetime, Duration, Ip, Long, Set};
    Ok(match (op, left, right) {
        (Operator::Equal, left, right) => Bool(left == right),
        (Operator::Less, Long(a), Long(b)) => Bool(a < b),
        (Operator::Less, Datetime(a), Datetime(b)) | (Operator::Less, Duration(a), Duration(b)) => {
            Bool(a < b)
        }
        (Operator::LessEqual, Long(a), Long(b)) => Bool(a <= b),
        (Operator::LessEqual, Datetime(a), Datetime(b)) | (Operator::LessEqual, Duration(a), Duration(b)) => {
            Bool(a <= b)
        }
        (Operator::Add, Long(a), Long(b)) => Long(a.checked_add(*b).ok_or(Failed::Evaluation)?),
        (Operator::Subtract, Long(a), Long(b)) => Long(a.checked_sub(*b).ok_or(Failed::Evaluation)?),
        (Operator::Multiply, Long(a), Long(b)) => Long(a.checked_mul(*b).ok_or(Failed::Evaluation)?),
        (Operator::Contains, Set(set), element) => Bool(set.contains(element)),
        (Operator::ContainsAll, Set(set), Set(all)) => Bool(all.all(|element| set.contains(element))),
        (Operator::ContainsAny, Set(set), Set(any)) => Bool(any.any(|element| set.contains(element))),
        (Operator::In, Value::Entity(entity), right) => {
            Bool(among(right, |one| one == entity || entity.is_in(one))?)
        }
        (Operator::Offset, Datetime(at), Duration(length)) => {
            Datetime(at.checked_add(*length).ok_or(Failed::Evaluation)?)
        }
        (Operator::DurationSince, Datetime(a), Datetime(b)) => {
            Duration(a.checked_sub(*b).ok_or(Failed::Evaluation)?)
        }
        (Operator::IsInRange, Ip(one), Ip(range)) => Bool(one.is_in(*range)),
        _ => return Err(Failed::Evaluation),
    })
}

fn constant_in(names: &[(Box<str>, Box<str>)], right: &Value<'_>) -> Result<bool, Failed> {
    among(right, |entity| names.iter().any(|(ty, id)| entity.is(ty, id)))
}

/// Whether an entity, or one of a set of entities, fits. Every element must be an entity.
fn among(right: &Value<'_>, fits: impl Fn(&Entity<'_>) -> bool) -> Result<bool, Failed> {
    match right {
        Value::Entity(entity) => Ok(fits(entity)),
        Value::Set(set) if set.all(|element| matches!(element, Value::Entity(_))) => {
            Ok(set.any(|element| matches!(element, Value::Entity(entity) if fits(entity))))
        }
        _ => Err(Failed::Evaluation),
    }
}

/// Cedar's `like`: `*` stands for any run of characters. Linear in the text for each wildcard; never exponential.
fn like(text: &str, pattern: &[PatternElem]) -> bool {
    let mut text_rest = text.chars();
    let mut pattern_rest = pattern.iter();
    // Where to go on when a character does not fit: behind the last wildcard, one character further in the text.
    let mut retry: Option<(std::str::Chars<'_>, std::slice::Iter<'_, PatternElem>)> = None;
    loop {
        let (text_here, mut ahead) = (text_rest.clone(), text_rest.clone());
        match (ahead.next(), pattern_rest.next()) {
            (_, Some(PatternElem::Wildcard)) => retry = Some((text_here, pattern_rest.clone())),
            (Some(c), Some(PatternElem::Char(wanted))) if c == *wanted => text_rest = ahead,
            (None, None) => return true,
            _ => {
                let Some((start, behind)) = retry.as_mut() else { return false };
                if start.next().is_none() {
                    return false;
                }
                (text_rest, pattern_rest) = (start.clone(), behind.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_entity_is_in_nothing_and_fails() {
        let of = |values| among(&Value::Set(Set::Values(values)), |entity| entity.is("Agent", "a/x"));
        let agent = |id| Value::Entity(Entity::Named("Agent", id));
        assert_eq!(of(vec![agent("a/y"), agent("a/x")]), Ok(true));
        assert_eq!(of(vec![agent("a/y")]), Ok(false));
        assert_eq!(of(vec![]), Ok(false));
        assert_eq!(of(vec![agent("a/x"), Value::Long(1)]), Err(Failed::Evaluation));
        assert_eq!(of(vec![agent("a/y"), Value::Long(1)]), Err(Failed::Evaluation));
        assert_eq!(among(&Value::Long(1), |_| true), Err(Failed::Evaluation));
    }
}
