//! The condition that keeps a policy to its namespace.

use std::hash::{Hash, Hasher};
use std::iter;
use std::sync::{Arc, LazyLock};

use cedar_policy::pst::{self, BinaryOp, Clause, Expr, Literal, Var};

use super::Actions;
use crate::interned::Interned;

/// Such a condition. Nearly all policies of a namespace have the same, so they share it.
#[derive(Debug)]
struct Narrowing {
    namespace: Box<str>,
    /// Whether it is of resources, and whether of processes.
    of: (bool, bool),
    /// It is of these two.
    condition: Arc<Expr>,
}

impl PartialEq for Narrowing {
    fn eq(&self, other: &Self) -> bool {
        self.namespace == other.namespace && self.of == other.of
    }
}

impl Eq for Narrowing {}

impl Hash for Narrowing {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.namespace.hash(state);
        self.of.hash(state);
    }
}

/// Prepends the condition that keeps a policy to its namespace.
pub(super) fn narrowed(
    body: &pst::Template,
    actions: Actions,
    namespace: &str,
) -> Result<pst::Template, pst::PstConstructionError> {
    static KNOWN: LazyLock<Interned<Narrowing>> = LazyLock::new(Interned::default);
    let of = (actions.any_on_resources(), actions.kernel);
    let condition = Arc::new(condition(of, namespace)?);
    let narrowing = Narrowing { namespace: namespace.into(), of, condition };
    let known = KNOWN.share(Arc::new(narrowing), namespace.len());
    let clauses = iter::once(Clause::When(known.condition.clone())).chain(body.clauses().iter().cloned());
    body.clone().try_with_clauses(clauses.collect::<Vec<_>>())
}

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
