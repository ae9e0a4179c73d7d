//! What many policies have of their form: the condition that keeps them to their namespace, one of a team, types that are in no namespace of Cedar.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem;
use std::sync::{Arc, LazyLock};

use cedar_policy::pst::{self, ActionConstraint, Clause, EntityOrSlot, EntityType, Expr, Literal};
use cedar_policy::pst::{PrincipalConstraint, ResourceConstraint};

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

/// The same policy, with this as other policies have it.
pub(super) fn shared(body: &pst::Template) -> Result<pst::Template, pst::PstConstructionError> {
    let clauses = body.clauses().iter().map(|clause| match clause {
        Clause::When(condition) => Clause::When(known(condition)),
        Clause::Unless(condition) => Clause::Unless(known(condition)),
    });
    let mut body = body.clone().try_with_clauses(clauses.collect::<Vec<_>>())?;
    match &mut body.principal {
        PrincipalConstraint::Any => {}
        PrincipalConstraint::Is(ty) => of_no_namespace(ty),
        PrincipalConstraint::Eq(one) | PrincipalConstraint::In(one) => type_of(one).for_each(of_no_namespace),
        PrincipalConstraint::IsIn(ty, one) => type_of(one).chain([ty]).for_each(of_no_namespace),
    }
    match &mut body.action {
        ActionConstraint::Any => {}
        ActionConstraint::Eq(one) => of_no_namespace(&mut one.ty),
        ActionConstraint::In(all) => all.iter_mut().for_each(|one| of_no_namespace(&mut one.ty)),
    }
    match &mut body.resource {
        ResourceConstraint::Any => {}
        ResourceConstraint::Is(ty) => of_no_namespace(ty),
        ResourceConstraint::Eq(one) | ResourceConstraint::In(one) => type_of(one).for_each(of_no_namespace),
        ResourceConstraint::IsIn(ty, one) => type_of(one).chain([ty]).for_each(of_no_namespace),
    }
    Ok(body)
}

fn type_of(one: &mut EntityOrSlot) -> impl Iterator<Item = &mut EntityType> {
    let ty = match one {
        EntityOrSlot::Entity(uid) => Some(&mut uid.ty),
        EntityOrSlot::Slot(_) => None,
    };
    ty.into_iter()
}

/// The list of its namespaces is allocated although it is empty, as of all types of the schema.
fn of_no_namespace(ty: &mut EntityType) {
    static ANY: LazyLock<Option<pst::Name>> = LazyLock::new(|| pst::Name::unqualified("Agent").ok());
    if let Some(any) = &*ANY
        && ty.0.namespace.is_empty()
    {
        ty.0.namespace = any.namespace.clone();
    }
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
