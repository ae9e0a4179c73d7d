//! Whether whatever satisfies one policy satisfies another, told by their texts. It may fail to see that it is so, and never says it
//! where it is not.

use std::sync::Arc;

use cedar_policy::pst::{self, BinaryOp, Clause, Expr, Literal, UnaryOp};

use crate::decide::index::{Holding, Index, Key};
use crate::decide::tree;

/// What a policy insists on.
#[derive(Debug)]
pub(super) struct Insists {
    /// The constants that hold wherever it is satisfied.
    pub(super) holding: Holding,
    /// What must be true, part by part.
    conditions: Vec<Arc<Expr>>,
    /// Whether evaluating it may fail.
    pub(super) may_fail: bool,
}

impl Insists {
    pub(super) fn new(body: &pst::Template, holding: Holding) -> Self {
        let mut conditions = Vec::new();
        for clause in body.clauses() {
            match clause {
                Clause::When(condition) => parts(condition, &mut conditions),
                Clause::Unless(condition) => conditions.push(not(condition)),
            }
        }
        let may_fail = conditions.iter().any(|condition| tree::may_fail(condition));
        Self { holding, conditions, may_fail }
    }

    /// Whether all conditions of another policy are true then. What the scope of that one asks for is not looked at.
    pub(super) fn imply(&self, other: &pst::Template, index: &Index) -> bool {
        other.clauses().iter().all(|clause| match clause {
            Clause::When(condition) => self.makes_true(condition, index),
            Clause::Unless(condition) => self.makes_true(&not(condition), index),
        })
    }

    fn makes_true(&self, expr: &Expr, index: &Index) -> bool {
        if self.conditions.iter().any(|known| **known == *expr || is_within(known, expr)) {
            return true;
        }
        if Key::from_condition(expr).is_some_and(|key| index.holds(&key, &self.holding)) {
            return true;
        }
        match expr {
            Expr::Literal(Literal::Bool(value)) => *value,
            Expr::BinaryOp { op: BinaryOp::And, left, right } => {
                self.makes_true(left, index) && self.makes_true(right, index)
            }
            // What is evaluated first must not fail.
            Expr::BinaryOp { op: BinaryOp::Or, left, right } => {
                self.makes_true(left, index) || !tree::may_fail(left) && self.makes_true(right, index)
            }
            Expr::UnaryOp { op: UnaryOp::Not, expr } => match &**expr {
                Expr::UnaryOp { op: UnaryOp::Not, expr } => self.makes_true(expr, index),
                // Neither of two.
                Expr::BinaryOp { op: BinaryOp::Or, left, right } => {
                    self.makes_true(&not(left), index) && self.makes_true(&not(right), index)
                }
                _ => false,
            },
            _ => false,
        }
    }
}

/// The constants that the `when`s of a policy insist on.
pub(super) fn keys(body: &pst::Template) -> Vec<Key> {
    let mut conditions = Vec::new();
    for clause in body.clauses() {
        if let Clause::When(condition) = clause {
            parts(condition, &mut conditions);
        }
    }
    conditions.iter().filter_map(|condition| Key::from_condition(condition)).collect()
}

/// The operands of a chain of `&&`.
fn parts(expr: &Arc<Expr>, found: &mut Vec<Arc<Expr>>) {
    let mut open = vec![expr];
    while let Some(next) = open.pop() {
        match &**next {
            Expr::BinaryOp { op: BinaryOp::And, left, right } => open.extend([right, left]),
            _ => found.push(next.clone()),
        }
    }
}

fn not(expr: &Arc<Expr>) -> Arc<Expr> {
    Arc::new(Expr::UnaryOp { op: UnaryOp::Not, expr: expr.clone() })
}

/// Whether a limit keeps its value within another one: `x <= 3` within `x <= 5`.
fn is_within(known: &Expr, wanted: &Expr) -> bool {
    let (Some(known), Some(wanted)) = (limit(known), limit(wanted)) else { return false };
    known.of == wanted.of
        && match (known.bound, wanted.bound) {
            (Bound::AtMost(known), Bound::AtMost(wanted)) => known <= wanted,
            (Bound::AtLeast(known), Bound::AtLeast(wanted)) => known >= wanted,
            _ => false,
        }
}

struct Limit<'a> {
    of: &'a Expr,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(i64),
    AtLeast(i64),
}

/// A comparison with a whole number.
fn limit(expr: &Expr) -> Option<Limit<'_>> {
    let Expr::BinaryOp { op, left, right } = expr else { return None };
    let number = |expr: &Expr| match expr {
        Expr::Literal(Literal::Long(number)) => Some(*number),
        _ => None,
    };
    if let Some(number) = number(right) {
        let bound = match op {
            BinaryOp::LessEq => Bound::AtMost(number),
            BinaryOp::Less => Bound::AtMost(number.checked_sub(1)?),
            BinaryOp::GreaterEq => Bound::AtLeast(number),
            BinaryOp::Greater => Bound::AtLeast(number.checked_add(1)?),
            _ => return None,
        };
        return Some(Limit { of: left, bound });
    }
    let number = number(left)?;
    let bound = match op {
        BinaryOp::GreaterEq => Bound::AtMost(number),
        BinaryOp::Greater => Bound::AtMost(number.checked_sub(1)?),
        BinaryOp::LessEq => Bound::AtLeast(number),
        BinaryOp::Less => Bound::AtLeast(number.checked_add(1)?),
        _ => return None,
    };
    Some(Limit { of: right, bound })
}
