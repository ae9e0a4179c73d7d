//! `trust_score` may only tighten: where it matters, less of it must never allow more.
//!
//! So a permit may ask for at least so much, and a forbid may be for what has less, or none. Any other use is told to the policy's
//! author; an absent score counts as the lowest.

use std::sync::Arc;

use cedar_policy::Effect;
use cedar_policy::pst::{BinaryOp, Clause, Expr, Template, UnaryOp};

use super::tree;

const SCORE: &str = "trust_score";

/// Which way a condition turns as a score grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turns {
    /// It does not look at scores.
    Not,
    /// It can only come to hold.
    ToHold,
    /// It can only cease to hold.
    ToFail,
    /// Either, or that cannot be told.
    Either,
}

impl Turns {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Not, one) | (one, Self::Not) => one,
            (one, other) if one == other => one,
            _ => Self::Either,
        }
    }

    const fn negated(self) -> Self {
        match self {
            Self::ToHold => Self::ToFail,
            Self::ToFail => Self::ToHold,
            same => same,
        }
    }
}

/// Whether less of a score could make this policy allow more.
pub(crate) fn loosens(body: &Template, effect: Effect) -> bool {
    let of_clause = |clause: &Clause| match clause {
        Clause::When(condition) => turns(condition),
        Clause::Unless(condition) => turns(condition).negated(),
    };
    let turns = body.clauses().iter().map(of_clause).fold(Turns::Not, Turns::and);
    match effect {
        Effect::Permit => matches!(turns, Turns::ToFail | Turns::Either),
        Effect::Forbid => matches!(turns, Turns::ToHold | Turns::Either),
    }
}

fn turns(expr: &Expr) -> Turns {
    match expr {
        _ if !mentions(expr) => Turns::Not,
        Expr::HasAttr { expr: of, attrs } if !mentions(of) && is_score(attrs.iter().map(AsRef::as_ref)) => {
            Turns::ToHold
        }
        Expr::UnaryOp { op: UnaryOp::Not, expr } => turns(expr).negated(),
        Expr::BinaryOp { op: BinaryOp::And | BinaryOp::Or, left, right } => turns(left).and(turns(right)),
        Expr::BinaryOp { op, left, right } => compared(*op, left, right),
        Expr::IfThenElse { cond, then_expr, else_expr } if !mentions(cond) => {
            turns(then_expr).and(turns(else_expr))
        }
        _ => Turns::Either,
    }
}

/// A comparison of one score with what is no score.
fn compared(op: BinaryOp, left: &Arc<Expr>, right: &Arc<Expr>) -> Turns {
    let (is_left, other) = match (reads_score(left), reads_score(right)) {
        (true, false) => (true, right),
        (false, true) => (false, left),
        _ => return Turns::Either,
    };
    if mentions(other) {
        return Turns::Either;
    }
    match (op, is_left) {
        (BinaryOp::Greater | BinaryOp::GreaterEq, true) | (BinaryOp::Less | BinaryOp::LessEq, false) => {
            Turns::ToHold
        }
        (BinaryOp::Less | BinaryOp::LessEq, true) | (BinaryOp::Greater | BinaryOp::GreaterEq, false) => {
            Turns::ToFail
        }
        _ => Turns::Either,
    }
}

fn reads_score(expr: &Expr) -> bool {
    matches!(expr, Expr::GetAttr { expr, attr } if attr == SCORE && !mentions(expr))
}

fn is_score<'a>(attrs: impl Iterator<Item = &'a str>) -> bool {
    attrs.last() == Some(SCORE)
}

fn mentions(expr: &Expr) -> bool {
    let mut found = false;
    tree::walk(expr, &mut |e| {
        found |= match e {
            Expr::GetAttr { attr, .. } => attr == SCORE,
            Expr::HasAttr { attrs, .. } => attrs.iter().any(|attr| attr == SCORE),
            _ => false,
        };
    });
    found
}

#[cfg(test)]
mod tests {
    use cedar_policy::Policy;

    use super::*;

    #[test]
    fn what_could_allow_more_by_less_trust_is_known() {
        for (policy, expected) in [
            ("permit (principal, action, resource) when { principal.team == \"a\" };", false),
            (
                "permit (principal is Agent, action, resource) when { principal has trust_score && principal.trust_score >= 50 };",
                false,
            ),
            (
                "permit (principal is Agent, action, resource) when { principal has trust_score && 50 < principal.trust_score };",
                false,
            ),
            (
                "permit (principal is Agent, action, resource) when { principal has trust_score && principal.trust_score < 50 };",
                true,
            ),
            (
                "permit (principal is Agent, action, resource) when { principal has trust_score && principal.trust_score == 50 };",
                true,
            ),
            ("permit (principal is Agent, action, resource) unless { principal has trust_score };", true),
            (
                "permit (principal is Agent, action, resource) when { !(principal has trust_score) || principal.trust_score > 1 };",
                true,
            ),
            (
                "forbid (principal is Agent, action, resource) unless { principal has trust_score && principal.trust_score >= 50 };",
                false,
            ),
            (
                "forbid (principal is Agent, action, resource) when { !(principal has trust_score && principal.trust_score >= 50) };",
                false,
            ),
            (
                "forbid (principal is Agent, action, resource) when { principal has trust_score && principal.trust_score > 90 };",
                true,
            ),
            (
                "forbid (principal is Agent, action, resource) when { if principal.quarantined then !(principal has trust_score) else false };",
                false,
            ),
            (
                "permit (principal is Agent, action, resource is Agent) when { principal has trust_score && resource has trust_score && principal.trust_score >= resource.trust_score };",
                true,
            ),
            (
                "permit (principal is Agent, action, resource) when { principal has trust_score && principal.trust_score + 1 > 50 };",
                true,
            ),
            (
                "permit (principal is Agent, action, resource) when { (if principal has trust_score then principal else principal) has trust_score };",
                true,
            ),
            (
                "permit (principal is Agent, action, resource) when { if principal has trust_score then false else true };",
                true,
            ),
            ("forbid (principal is Agent, action, resource) when { principal.trust_score < 50 };", false),
            ("forbid (principal is Agent, action, resource) when { 50 >= principal.trust_score };", false),
        ] {
            let parsed = Policy::parse(None, policy).unwrap();
            let found = loosens(parsed.to_pst().unwrap().body(), parsed.effect());
            assert_eq!(found, expected, "{policy}");
        }
    }
}
