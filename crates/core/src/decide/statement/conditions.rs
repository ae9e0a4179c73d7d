//! Conditions that many policies have: the one that keeps them to their namespace, one of a team.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem;
use std::sync::{Arc, LazyLock};

use cedar_policy::pst::{self, Clause, Expr, Literal};

use super::tree;
use crate::interned::Interned;

/// What a part of a condition counts for, beside its text: a dozen parts are as many as are shared.
const OF_A_PART: usize = 8;

/// Expressions have no hash of their own.
#[derive(Debug, PartialEq, Eq)]
struct Hashed {
    hash: u64,
    condition: Arc<Expr>,
}

impl Hash for Hashed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// The same policy, with its conditions as other policies have them.
pub(super) fn shared(body: &pst::Template) -> Result<pst::Template, pst::PstConstructionError> {
    let clauses = body.clauses().iter().map(|clause| match clause {
        Clause::When(condition) => Clause::When(known(condition)),
        Clause::Unless(condition) => Clause::Unless(known(condition)),
    });
    body.clone().try_with_clauses(clauses.collect::<Vec<_>>())
}

fn known(condition: &Arc<Expr>) -> Arc<Expr> {
    static KNOWN: LazyLock<Interned<Hashed>> = LazyLock::new(Interned::default);
    let (mut hasher, mut length) = (DefaultHasher::new(), 0_usize);
    tree::walk(condition, &mut |part| {
        let text = match part {
            Expr::Literal(Literal::String(text)) => Some(text.as_str()),
            Expr::Literal(Literal::EntityUID(uid)) => Some(uid.eid.as_str()),
            Expr::GetAttr { attr, .. } => Some(attr.as_str()),
            Expr::Literal(_) | Expr::Var(_) | Expr::UnaryOp { .. } | Expr::BinaryOp { .. } => Some(""),
            // What may hold more than it shows.
            _ => None,
        };
        (mem::discriminant(part), text).hash(&mut hasher);
        length = length.saturating_add(text.map_or(usize::MAX, |text| OF_A_PART + text.len()));
    });
    let hashed = Hashed { hash: hasher.finish(), condition: condition.clone() };
    KNOWN.share(Arc::new(hashed), length).condition.clone()
}
