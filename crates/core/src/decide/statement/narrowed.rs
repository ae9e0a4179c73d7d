//! The condition that keeps a policy to its namespace.

use std::iter;
use std::sync::Arc;

use cedar_policy::pst::{self, BinaryOp, Clause, Expr, Literal, Var};

use super::Actions;

/// Prepends the condition that keeps a policy to its namespace.
pub(super) fn narrowed(
    body: &pst::Template,
    actions: Actions,
    namespace: &str,
) -> Result<pst::Template, pst::PstConstructionError> {
    let condition = condition((actions.any_on_resources(), actions.kernel), namespace)?;
    let clauses = iter::once(Clause::When(Arc::new(condition))).chain(body.clauses().iter().cloned());
    body.clone().try_with_clauses(clauses.collect::<Vec<_>>())
}

/// Of resources, and of processes.
fn condition(of: (bool, bool), namespace: &str) -> Result<Expr, pst::PstConstructionError> {
    let inside = |var: Var| -> Result<Expr, pst::PstConstructionError> {
        let ty = pst::EntityType::from_name(pst::Name::unqualified("Namespace")?);
        let namespace = Expr::Literal(Literal::EntityUID(pst::EntityUID { ty, eid: namespace.into() }));
        Ok(binary(BinaryOp::In, Expr::Var(var), namespace))
    };
    Ok(match of {
        (true, false) => inside(Var::Resource)?,
        (false, _) => inside(Var::Principal)?,
        (true, true) => {
            let ty = pst::EntityType::from_name(pst::Name::unqualified("Action")?);
            let kernel = Expr::Literal(Literal::EntityUID(pst::EntityUID { ty, eid: "kernel".into() }));
            let of_kernel = binary(BinaryOp::In, Expr::Var(Var::Action), kernel);
            let process = binary(BinaryOp::And, of_kernel, inside(Var::Principal)?);
            binary(BinaryOp::Or, inside(Var::Resource)?, process)
        }
    })
}

fn binary(op: BinaryOp, left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp { op, left: Arc::new(left), right: Arc::new(right) }
}
