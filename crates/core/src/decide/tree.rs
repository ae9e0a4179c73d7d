//! Reading Cedar expressions.

use std::cell::RefCell;

use cedar_policy::pst::{BinaryOp, Expr, Literal, UnaryOp, Var};

/// Calls `visit` on `expr` and everything below it, parents first.
pub(crate) fn walk<'a>(expr: &'a Expr, visit: &mut dyn FnMut(&Expr)) {
    let visit = RefCell::new(visit);
    let see = |e: &Expr| -> Option<()> {
        if let Ok(mut visit) = visit.try_borrow_mut() {
            visit(e);
        }
        None
    };
    expr.reduce(&see, &|(), ()| (), ());
}

/// The variable and attribute names of `principal.a.b`.
pub(crate) fn path(expr: &Expr) -> Option<(&Var, Vec<&str>)> {
    match expr {
        Expr::Var(var) => Some((var, Vec::new())),
        Expr::GetAttr { expr, attr } => {
            let (var, mut names) = path(expr)?;
            names.push(attr);
            Some((var, names))
        }
        _ => None,
    }
}

pub(crate) fn string(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(Literal::String(text)) => Some(text),
        _ => None,
    }
}

/// The operands of a chain of `&&`, in the order of evaluation.
pub(crate) fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    let mut found = Vec::new();
    let mut open = vec![expr];
    while let Some(next) = open.pop() {
        match next {
            Expr::BinaryOp { op: BinaryOp::And, left, right } => open.extend([&**right, &**left]),
            other => found.push(other),
        }
    }
    found
}

/// Whether evaluating a validated expression could fail. Careful: `true` where in doubt.
///
/// Strict validation has seen to types, to `has` before optional attributes and to `hasTag` before `getTag`; what is left is
/// arithmetic, extension functions, and attributes of entities that may not exist.
pub(crate) fn may_fail(expr: &Expr) -> bool {
    let mut fails = false;
    walk(expr, &mut |e| {
        fails |= match e {
            Expr::Literal(_) | Expr::Var(_) | Expr::IfThenElse { .. } | Expr::Set(_) | Expr::Like { .. } => {
                false
            }
            Expr::Is { .. } | Expr::Record(_) => false,
            Expr::GetAttr { expr, .. } | Expr::HasAttr { expr, .. } => path(expr).is_none(),
            Expr::UnaryOp { op, .. } => !matches!(op, UnaryOp::Not | UnaryOp::IsEmpty),
            Expr::BinaryOp { op, left, .. } => match op {
                BinaryOp::HasTag | BinaryOp::GetTag => path(left).is_none(),
                op => !total(*op),
            },
            _ => true,
        };
    });
    fails
}

fn total(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Eq
            | BinaryOp::NotEq
            | BinaryOp::Less
            | BinaryOp::LessEq
            | BinaryOp::Greater
            | BinaryOp::GreaterEq
            | BinaryOp::And
            | BinaryOp::Or
            | BinaryOp::In
            | BinaryOp::Contains
            | BinaryOp::ContainsAll
            | BinaryOp::ContainsAny
    )
}

/// Whether an expression may look at the arguments of the call. Careful: `true` where in doubt.
pub(crate) fn on_arguments(expr: &Expr) -> bool {
    let mut looks = false;
    walk(expr, &mut |e| {
        looks |= match e {
            Expr::GetAttr { attr, .. } => matches!(attr.as_str(), "args" | "numbers"),
            // Passed on as a whole, or compared.
            Expr::BinaryOp { left, right, .. } => [left, right].iter().any(|one| is_context(one)),
            Expr::Set(elements) => elements.iter().any(|one| is_context(one)),
            Expr::Record(members) => members.values().any(|one| is_context(one)),
            Expr::IfThenElse { then_expr, else_expr, .. } => is_context(then_expr) || is_context(else_expr),
            _ => false,
        };
    });
    looks
}

fn is_context(expr: &Expr) -> bool {
    matches!(expr, Expr::Var(Var::Context))
}
