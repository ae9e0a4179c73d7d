//! What is left of a policy on an edge while the context is unknown.

use std::sync::Arc;

use cedar_policy::pst::{BinaryOp, Clause, Expr, Literal, UnaryOp, Var};

use super::fault;
use crate::decide::entities::EntityFault;
use crate::decide::facts::ContextReference;
use crate::decide::statement::Windowed;
use crate::decide::tree;
use crate::reach::Condition;
use crate::resource::Limit;

impl Condition {
    /// What is left of a policy, in Cedar's words.
    pub(super) fn left(left: &cedar_policy::Policy) -> Result<Self, EntityFault> {
        let pst = left.to_pst().map_err(|error| fault(&error))?;
        let mut parts: Vec<String> = Vec::new();
        let mut certain = true;
        let mut reads: Vec<Arc<str>> = Vec::new();
        for clause in pst.body().clauses() {
            let expr: &Expr = match clause {
                Clause::When(expr) | Clause::Unless(expr) => expr,
            };
            reads.extend(ContextReference::all(expr).iter().map(|reference| reference.name().clone()));
            certain &= !tree::may_fail(expr) && !tree::on_arguments(expr);
            parts.push(match clause {
                Clause::When(_) => expr.to_string(),
                Clause::Unless(_) => format!("!({expr})"),
            });
        }
        let unless_approved = pst.body().clauses().iter().all(|clause| match clause {
            Clause::When(expr) => without_approval(expr) == Some(true),
            Clause::Unless(expr) => without_approval(expr) == Some(false),
        });
        let policy = AsRef::<str>::as_ref(left.id()).into();
        let when = parts.join(" && ").into();
        Ok(Self { policy, when, reads, certain, unless_approved, window: None })
    }

    /// Of a policy of which nothing is left.
    pub(super) fn always(policy: Arc<str>) -> Self {
        Self {
            policy,
            when: "true".into(),
            reads: Vec::new(),
            certain: true,
            unless_approved: false,
            window: None,
        }
    }

    /// Of a permit of which nothing is left but its window.
    pub(super) fn of_window(policy: Arc<str>, windowed: &Windowed) -> Self {
        Self::always(policy).and_window(windowed)
    }

    /// The same where no room is left in one of the limits only.
    pub(super) fn and_spent(mut self, limits: &[Arc<Limit>]) -> Self {
        let left = |limit: &Arc<Limit>| format!("context.limits[{:?}]", &*limit.id);
        let spent: Vec<String> = limits.iter().map(|limit| format!("{} < 0", left(limit))).collect();
        self.when = match (&*self.when, spent.join(" || ")) {
            ("true", spent) => spent.into(),
            (when, spent) => format!("({when}) && ({spent})").into(),
        };
        self.reads.extend(limits.iter().map(|limit| left(limit).into()));
        self.reads.sort_unstable();
        self.reads.dedup();
        self
    }

    /// The same in a window only.
    pub(super) fn and_window(mut self, windowed: &Windowed) -> Self {
        self.reads.extend(windowed.references.iter().map(|reference| reference.name().clone()));
        self.reads.sort_unstable();
        self.reads.dedup();
        self.window = Some(windowed.window.spec().clone());
        self
    }
}

/// What a condition comes to where nobody approved anything, if it depends on nothing else.
fn without_approval(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::Literal(Literal::Bool(value)) => Some(*value),
        Expr::HasAttr { expr, attrs } => {
            let (var, names) = tree::path(expr)?;
            let first = names.first().copied().unwrap_or(attrs.first());
            (*var == Var::Context && first == "approval").then_some(false)
        }
        Expr::UnaryOp { op: UnaryOp::Not, expr } => without_approval(expr).map(|value| !value),
        Expr::BinaryOp { op: BinaryOp::And, left, right } => match without_approval(left)? {
            true => without_approval(right),
            false => Some(false),
        },
        Expr::BinaryOp { op: BinaryOp::Or, left, right } => match without_approval(left)? {
            true => Some(true),
            false => without_approval(right),
        },
        _ => None,
    }
}
