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

/// Whether an expression may look at the arguments of the call, at what is worked out from all of them, or at what is left of limits, which is
/// not known of a call that nobody makes. Careful: `true` where in doubt.
pub(crate) fn follows_arguments(expr: &Expr) -> bool {
    let mut looks = on_arguments(expr);
    walk(expr, &mut |part| {
        looks |=
            matches!(part, Expr::GetAttr { attr, .. } if matches!(attr.as_str(), "call_digest" | "limits"));
    });
    looks
}

fn is_context(expr: &Expr) -> bool {
    matches!(expr, Expr::Var(Var::Context))
}

#[cfg(test)]
mod tests {
    use cedar_policy::Policy;
    use cedar_policy::pst::Clause;

    use super::*;

    fn of_condition<T>(condition: &str, read: impl FnOnce(&Expr) -> T) -> T {
        let text = format!("permit (principal, action, resource) when {{ {condition} }};");
        let pst = Policy::parse(None, text).unwrap().to_pst().unwrap();
        let [Clause::When(condition)] = pst.body().clauses().as_slice() else { panic!("{condition}") };
        read(condition)
    }

    /// A policy is left out by a constant only if nothing before it can fail: what may fail is never taken for what cannot.
    #[test]
    fn what_can_fail_is_known() {
        for (condition, fails) in [
            ("principal.team == \"a\"", false),
            ("principal is Agent", false),
            ("principal is Agent in Group::\"g\"", false),
            ("{a: 1} == {a: 1}", false),
            ("[1, 2].contains(1)", false),
            ("!principal.quarantined", false),
            ("principal.capabilities.isEmpty()", false),
            ("principal has version && principal.version like \"1*\"", false),
            ("if principal.quarantined then true else false", false),
            ("principal.hasTag(\"a\") && principal.getTag(\"a\") == \"b\"", false),
            ("principal in [Group::\"g\"] || principal.risk >= 1", false),
            ("-principal.risk == 1", true),
            ("principal.risk + 1 == 2", true),
            ("principal.risk * 2 == 2", true),
            ("Agent::\"a/x\".team == \"a\"", true),
            ("Agent::\"a/x\" has version", true),
            ("Agent::\"a/x\".hasTag(\"a\")", true),
            ("context.source_ip.isLoopback()", true),
            ("ip(\"10.0.0.1\").isIpv4()", true),
            ("principal.team == \"a\" && -principal.risk == 1", true),
            ("[-principal.risk].contains(1)", true),
            ("{a: -principal.risk} == {a: 1}", true),
            ("!(-principal.risk == 1)", true),
        ] {
            assert_eq!(of_condition(condition, may_fail), fails, "{condition}");
        }
    }

    #[test]
    fn what_looks_at_arguments_is_known() {
        for (condition, looks) in [
            ("context.method == \"a\"", false),
            ("principal.team == \"a\"", false),
            ("[context.method].contains(\"a\")", false),
            ("{a: context.method} == {a: \"a\"}", false),
            ("if context.chain.cycle then true else false", false),
            ("context.args.hasTag(\"/a\")", true),
            ("context.numbers.getTag(\"/a\") == 1", true),
            // Passed on as a whole.
            ("context == context", true),
            ("{a: 1} == context", true),
            ("[context].contains({a: 1})", true),
            ("{a: context} == {a: {b: 1}}", true),
            ("(if principal.quarantined then context else {a: 1}).a == 1", true),
            ("(if principal.quarantined then {a: 1} else context).a == 1", true),
        ] {
            assert_eq!(of_condition(condition, on_arguments), looks, "{condition}");
            assert_eq!(of_condition(condition, follows_arguments), looks, "{condition}");
        }
        let step = "[\"sha256:00\"].contains(context.call_digest)";
        assert!(!of_condition(step, on_arguments) && of_condition(step, follows_arguments));
    }
}
