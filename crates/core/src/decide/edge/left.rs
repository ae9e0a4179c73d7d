//! What partial evaluation leaves of a policy on an edge, made ready to be evaluated for each call.

use std::sync::Arc;

use cedar_policy::PolicySet;
use cedar_policy::pst::{Clause, Expr};

use super::{Compilation, Condition, Residual};
use crate::decide::facts::ContextReference;
use crate::decide::residual::Expression;
use crate::decide::residual::value::Constant;
use crate::decide::statement::Statement;
use crate::decide::tree;
use crate::decide::view::Asked;

impl Compilation<'_> {
    pub(super) fn residual(
        &self,
        statement: &Arc<Statement>,
        left: &cedar_policy::Policy,
    ) -> Result<Residual, Box<dyn std::error::Error>> {
        let pst = left.to_pst()?;
        let conditions: Vec<&Expr> = pst
            .body()
            .clauses()
            .iter()
            .map(|clause| match clause {
                Clause::When(condition) | Clause::Unless(condition) => &**condition,
            })
            .collect();
        // A residual policy has exactly one `when`; anything else is left to Cedar, which has the whole policy.
        let native = match pst.body().clauses().as_slice() {
            [Clause::When(condition)] => Expression::compile(condition, &self.entities),
            _ => None,
        };
        let condition = match native {
            Some(expression) => Condition::Native(expression),
            None => Condition::Cedar {
                policy: Box::new(PolicySet::from_policies([statement.at_all_times().evaluated()?.clone()])?),
                entities: self.entities.clone(),
                on_arguments: conditions.iter().any(|condition| tree::follows_arguments(condition)),
                asked: conditions.iter().flat_map(|condition| Asked::all(condition)).collect(),
            },
        };
        let references = conditions.iter().flat_map(|condition| ContextReference::all(condition));
        Ok(self.residual_of(statement, condition, references.collect()))
    }

    /// Of a permit of which nothing is left but its window.
    pub(super) fn whenever(&self, statement: &Arc<Statement>) -> Residual {
        let condition = Condition::Native(Expression::Constant(Constant::Bool(true)));
        self.residual_of(statement, condition, Vec::new())
    }

    fn residual_of(
        &self,
        statement: &Arc<Statement>,
        condition: Condition,
        mut references: Vec<ContextReference>,
    ) -> Residual {
        let windowed = statement.windowed.as_deref();
        let of_window = windowed.iter().flat_map(|windowed| windowed.references.iter().cloned());
        references.extend(of_window);
        Residual {
            id: statement.id.clone(),
            effect: statement.effect,
            condition,
            facts: self.facts(&statement.references).into(),
            references: references.into(),
            reason: statement.reason.clone(),
            says: statement.says(),
            asks: statement.asks.clone(),
            changes: statement.changes.clone(),
            limits: statement.limits.clone(),
            window: windowed.map(|windowed| windowed.window.clone()),
        }
    }
}
