//! Who may bear a name. Groups, teams, classes and sets are declared by the objects that are in them, so a permit on a name would be
//! open to whoever may register an object anywhere. A name that grants something is therefore that of a namespace: of the policy's
//! own, and of those to which it grants it (`spec.members`), unless it is written with one, as in `Group::"finance/agents"`.
//!
//! A name that refuses something is borne by whoever says so: to leave somebody out would open what the author closed.

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::Effect;
use cedar_policy::pst::{
    self, BinaryOp, Clause, EntityOrSlot, Expr, Literal, PrincipalConstraint, ResourceConstraint, UnaryOp,
    Var,
};

use crate::resource::policy::Members;

/// The types whose names objects give themselves.
const SELF_DECLARED: [&str; 5] = ["AgentClass", "Group", "ModelSet", "Team", "ToolSet"];

/// A name by which something is granted, as its policy writes it: without a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Granting {
    /// Its type, as in `Group`.
    pub(crate) of: Arc<str>,
    pub(crate) name: Arc<str>,
}

/// A name stands where it cannot be told whether it grants or refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("whether {of}::\"{name}\" grants or refuses something cannot be told where it stands")]
pub(crate) struct Unclear {
    pub(crate) of: String,
    pub(crate) name: String,
}

/// Why a policy cannot be given the names of its namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotBound {
    #[error(transparent)]
    Unclear(#[from] Unclear),
    /// Cedar does not take the names in place of those that were there.
    #[error("{0}")]
    Fault(String),
}

/// What a part of a policy does when it is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bearing {
    Grants,
    Refuses,
    Either,
}

impl Bearing {
    const fn of(effect: Effect, clause: &Clause) -> Self {
        match (effect, clause) {
            (Effect::Permit, Clause::When(_)) | (Effect::Forbid, Clause::Unless(_)) => Self::Grants,
            (Effect::Permit, Clause::Unless(_)) | (Effect::Forbid, Clause::When(_)) => Self::Refuses,
        }
    }

    const fn opposite(self) -> Self {
        match self {
            Self::Grants => Self::Refuses,
            Self::Refuses => Self::Grants,
            Self::Either => Self::Either,
        }
    }
}

/// A policy whose names are those of its namespace, and of those that it names; and the names that were not before.
pub(crate) fn bound(
    body: pst::Template,
    effect: Effect,
    namespace: &str,
    members: &Members,
) -> Result<(pst::Template, BTreeSet<Granting>), NotBound> {
    let mut binder = Binder { namespaces: members.with(namespace), granting: BTreeSet::new() };
    let mut body = body;
    let mut clauses = Vec::new();
    if effect == Effect::Permit {
        match &mut body.principal {
            PrincipalConstraint::In(entity) | PrincipalConstraint::IsIn(_, entity) => {
                clauses.extend(binder.scope(Var::Principal, entity));
            }
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) | PrincipalConstraint::Eq(_) => {}
        }
        match &mut body.resource {
            ResourceConstraint::In(entity) | ResourceConstraint::IsIn(_, entity) => {
                clauses.extend(binder.scope(Var::Resource, entity));
            }
            ResourceConstraint::Any | ResourceConstraint::Is(_) | ResourceConstraint::Eq(_) => {}
        }
    }
    for clause in body.clauses() {
        let bearing = Bearing::of(effect, clause);
        clauses.push(match clause {
            Clause::When(condition) => Clause::When(binder.expression(condition, bearing)?),
            Clause::Unless(condition) => Clause::Unless(binder.expression(condition, bearing)?),
        });
    }
    if binder.granting.is_empty() {
        return Ok((body, binder.granting));
    }
    let bound = body.try_with_clauses(clauses).map_err(|error| NotBound::Fault(error.to_string()))?;
    Ok((bound, binder.granting))
}

struct Binder {
    /// `None` where every namespace is granted the names.
    namespaces: Option<Vec<Arc<str>>>,
    granting: BTreeSet<Granting>,
}

impl Binder {
    /// Binds the name in a scope, which has room for one; several become a condition.
    fn scope(&mut self, var: Var, entity: &mut EntityOrSlot) -> Option<Clause> {
        let EntityOrSlot::Entity(uid) = entity else { return None };
        let mut bound = self.names(uid)?;
        if bound.len() == 1 {
            *uid = bound.remove(0);
            return None;
        }
        Some(Clause::When(Arc::new(is_in(Arc::new(Expr::Var(var)), set(bound)))))
    }

    /// The name in each namespace; `None` where it stays as it is.
    fn names(&mut self, uid: &pst::EntityUID) -> Option<Vec<pst::EntityUID>> {
        let of = uid.ty.to_string();
        if !SELF_DECLARED.contains(&of.as_str()) || uid.eid.contains('/') {
            return None;
        }
        self.granting.insert(Granting { of: of.into(), name: uid.eid.as_str().into() });
        let qualified = |namespace: &Arc<str>| pst::EntityUID {
            ty: uid.ty.clone(),
            eid: format!("{namespace}/{}", uid.eid).into(),
        };
        Some(self.namespaces.as_ref()?.iter().map(qualified).collect())
    }

    fn expression(&mut self, expr: &Arc<Expr>, bearing: Bearing) -> Result<Arc<Expr>, Unclear> {
        let other = |this: &mut Self, expr: &Arc<Expr>| this.expression(expr, Bearing::Either);
        let bound = match &**expr {
            Expr::BinaryOp { op: op @ (BinaryOp::And | BinaryOp::Or), left, right } => Expr::BinaryOp {
                op: *op,
                left: self.expression(left, bearing)?,
                right: self.expression(right, bearing)?,
            },
            Expr::UnaryOp { op: UnaryOp::Not, expr } => {
                Expr::UnaryOp { op: UnaryOp::Not, expr: self.expression(expr, bearing.opposite())? }
            }
            Expr::BinaryOp { op: BinaryOp::In, left, right } => {
                is_in(other(self, left)?, self.group(right, bearing)?)
            }
            Expr::Is { expr: of, entity_type, in_expr: Some(group) } => {
                let bound = self.group(group, bearing)?;
                let of = other(self, of)?;
                if Arc::ptr_eq(&bound, group) {
                    return Ok(expr.clone());
                }
                // It takes one group only.
                let is = Expr::Is { expr: of.clone(), entity_type: entity_type.clone(), in_expr: None };
                let inside = Arc::new(is_in(of, bound));
                Expr::BinaryOp { op: BinaryOp::And, left: Arc::new(is), right: inside }
            }
            Expr::IfThenElse { cond, then_expr, else_expr } => Expr::IfThenElse {
                cond: other(self, cond)?,
                then_expr: self.expression(then_expr, bearing)?,
                else_expr: self.expression(else_expr, bearing)?,
            },
            // Anything else says nothing of names that an author could bind; a name in it is one that has to be written out.
            _ => return self.nothing(expr).map(|()| expr.clone()),
        };
        Ok(Arc::new(bound))
    }

    /// What something is to be in: a name, or a set of names.
    fn group(&mut self, expr: &Arc<Expr>, bearing: Bearing) -> Result<Arc<Expr>, Unclear> {
        if bearing == Bearing::Either {
            return self.nothing(expr).map(|()| expr.clone());
        }
        if bearing == Bearing::Refuses {
            return Ok(expr.clone());
        }
        let mut names = |expr: &Expr| match expr {
            Expr::Literal(Literal::EntityUID(uid)) => self.names(uid),
            _ => None,
        };
        match &**expr {
            Expr::Literal(_) => match names(expr) {
                Some(bound) => Ok(set(bound)),
                None => Ok(expr.clone()),
            },
            Expr::Set(elements) => {
                let mut all = Vec::with_capacity(elements.len());
                for element in elements {
                    match names(element) {
                        Some(bound) => all.extend(bound.into_iter().map(literal)),
                        None => all.push(element.clone()),
                    }
                }
                Ok(Arc::new(Expr::Set(all)))
            }
            _ => self.nothing(expr).map(|()| expr.clone()),
        }
    }

    /// Holds that no name without a namespace stands in an expression, if that would matter.
    fn nothing(&self, expr: &Expr) -> Result<(), Unclear> {
        if self.namespaces.is_none() {
            return Ok(());
        }
        let mut found = None;
        super::tree::walk(expr, &mut |part| {
            if let Expr::Literal(Literal::EntityUID(uid)) = part {
                let of = uid.ty.to_string();
                if SELF_DECLARED.contains(&of.as_str()) && !uid.eid.contains('/') {
                    found = Some(Unclear { of, name: uid.eid.to_string() });
                }
            }
        });
        found.map_or(Ok(()), Err)
    }
}

fn is_in(left: Arc<Expr>, right: Arc<Expr>) -> Expr {
    Expr::BinaryOp { op: BinaryOp::In, left, right }
}

fn literal(uid: pst::EntityUID) -> Arc<Expr> {
    Arc::new(Expr::Literal(Literal::EntityUID(uid)))
}

/// One name, or the set of several.
fn set(mut uids: Vec<pst::EntityUID>) -> Arc<Expr> {
    if uids.len() == 1 {
        return literal(uids.remove(0));
    }
    Arc::new(Expr::Set(uids.into_iter().map(literal).collect()))
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use cedar_policy::Policy;

    use super::*;

    fn members(all: &[&str]) -> Members {
        Members::from_iter(all.iter().copied())
    }

    /// The policy of namespace `n` as it is understood.
    fn understood(text: &str, of: &Members) -> Result<String, NotBound> {
        let policy = Policy::from_str(text).unwrap();
        let (body, _) = bound(policy.to_pst().unwrap().body().clone(), policy.effect(), "n", of)?;
        let bound =
            Policy::from_pst(pst::Policy::Static(pst::StaticPolicy::try_from(body).unwrap())).unwrap();
        Ok(bound.to_string())
    }

    /// `$` stands for the name as it is written, and for the names as they are understood.
    #[track_caller]
    fn check(text: &str, of: &[&str], one: &str, several: &str) {
        let as_written = |text: &str| {
            let policy = Policy::from_str(text).unwrap();
            let body = policy.to_pst().unwrap().body().clone();
            Policy::from_pst(pst::Policy::Static(pst::StaticPolicy::try_from(body).unwrap()))
                .unwrap()
                .to_string()
        };
        assert_eq!(understood(text, &members(&[])).unwrap(), as_written(one), "{text}");
        assert_eq!(understood(text, &members(of)).unwrap(), as_written(several), "{text}");
        assert_eq!(understood(text, &members(&["*"])).unwrap(), as_written(text), "{text}");
    }

    #[test]
    fn a_name_that_grants_is_bound_and_one_that_refuses_is_not() {
        for (text, one, several) in [
            (
                r#"permit (principal in Group::"g", action, resource);"#,
                r#"permit (principal in Group::"n/g", action, resource);"#,
                r#"permit (principal in Group::"g", action, resource) when { principal in [Group::"a/g", Group::"n/g"] };"#,
            ),
            (
                r#"permit (principal is Agent in Team::"g", action, resource in ToolSet::"s") when { context.delegation_depth < 3 };"#,
                r#"permit (principal is Agent in Team::"n/g", action, resource in ToolSet::"n/s") when { context.delegation_depth < 3 };"#,
                r#"permit (principal is Agent in Team::"g", action, resource in ToolSet::"s")
                   when { principal in [Team::"a/g", Team::"n/g"] } when { resource in [ToolSet::"a/s", ToolSet::"n/s"] }
                   when { context.delegation_depth < 3 };"#,
            ),
            (
                r#"permit (principal, action, resource) when { principal in Group::"g" || !(resource in ToolSet::"s") };"#,
                r#"permit (principal, action, resource) when { principal in Group::"n/g" || !(resource in ToolSet::"s") };"#,
                r#"permit (principal, action, resource) when { principal in [Group::"a/g", Group::"n/g"] || !(resource in ToolSet::"s") };"#,
            ),
            (
                r#"permit (principal, action, resource) unless { principal in Group::"g" || !(principal is Agent in Group::"h") };"#,
                r#"permit (principal, action, resource) unless { principal in Group::"g" || !(principal is Agent && principal in Group::"n/h") };"#,
                r#"permit (principal, action, resource) unless { principal in Group::"g" || !(principal is Agent && principal in [Group::"a/h", Group::"n/h"]) };"#,
            ),
            (
                r#"forbid (principal in Group::"g", action, resource) when { principal in Team::"t" } unless { principal in [Group::"h", Group::"x/i"] };"#,
                r#"forbid (principal in Group::"g", action, resource) when { principal in Team::"t" } unless { principal in [Group::"n/h", Group::"x/i"] };"#,
                r#"forbid (principal in Group::"g", action, resource) when { principal in Team::"t" } unless { principal in [Group::"a/h", Group::"n/h", Group::"x/i"] };"#,
            ),
            (
                r#"permit (principal, action, resource) when { if context.chain.cycle then principal in AgentClass::"c" else false };"#,
                r#"permit (principal, action, resource) when { if context.chain.cycle then principal in AgentClass::"n/c" else false };"#,
                r#"permit (principal, action, resource) when { if context.chain.cycle then principal in [AgentClass::"a/c", AgentClass::"n/c"] else false };"#,
            ),
            // What is written with its namespace, and what no object gives itself, is as it is written.
            (
                r#"permit (principal in Group::"x/g", action, resource in MCPServer::"x/y") when { principal in Namespace::"x" };"#,
                r#"permit (principal in Group::"x/g", action, resource in MCPServer::"x/y") when { principal in Namespace::"x" };"#,
                r#"permit (principal in Group::"x/g", action, resource in MCPServer::"x/y") when { principal in Namespace::"x" };"#,
            ),
        ] {
            check(text, &["a"], one, several);
        }
    }

    #[test]
    fn a_name_that_may_do_either_has_to_be_written_out() {
        for condition in [
            r#"(principal in Group::"g") == context.chain.cycle"#,
            r#"if principal in Group::"g" then true else false"#,
            r#"[Group::"g"].contains(Group::"g")"#,
            r#"principal in (if context.chain.cycle then Group::"g" else Group::"h")"#,
        ] {
            for effect in ["permit", "forbid"] {
                let text = format!("{effect} (principal, action, resource) when {{ {condition} }};");
                let all = understood(&text, &members(&["*"]));
                assert!(all.is_ok(), "{text}");
                // Of a forbid, the names of its `in` refuse wherever they are.
                if effect == "permit" || !condition.starts_with("principal in (") {
                    let unclear = understood(&text, &members(&[])).unwrap_err();
                    assert!(
                        matches!(&unclear, NotBound::Unclear(Unclear { of, .. }) if of == "Group"),
                        "{text}"
                    );
                    let out = text.replace("::\"", "::\"x/");
                    assert!(understood(&out, &members(&[])).is_ok(), "{out}");
                }
            }
        }
    }
}
