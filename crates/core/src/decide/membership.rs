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

/// What an object is in beside a name that it may not bear, so that what grants by the name of all can leave it out.
pub(crate) fn unlawful(name: &str) -> String {
    format!("{UNLAWFUL}{name}")
}

/// Whether a name is one that [`unlawful`] gives, which no policy writes.
pub(crate) fn is_unlawful(name: &str) -> bool {
    name.starts_with(UNLAWFUL)
}

const UNLAWFUL: char = '!';

/// A policy whose names are those of its namespace, and of those that it names; and the names that were not before.
pub(crate) fn bound(
    body: pst::Template,
    effect: Effect,
    namespace: &str,
    members: &Members,
) -> Result<(pst::Template, BTreeSet<Granting>), NotBound> {
    let mut binder =
        Binder { namespaces: members.with(namespace), granting: BTreeSet::new(), has_bound: false };
    let mut body = body;
    let mut clauses = Vec::new();
    let bearing = if effect == Effect::Permit { Bearing::Grants } else { Bearing::Refuses };
    match &mut body.principal {
        PrincipalConstraint::In(entity) | PrincipalConstraint::IsIn(_, entity) => {
            clauses.extend(binder.scope(Var::Principal, entity, bearing)?);
        }
        PrincipalConstraint::Any | PrincipalConstraint::Is(_) | PrincipalConstraint::Eq(_) => {}
    }
    match &mut body.resource {
        ResourceConstraint::In(entity) | ResourceConstraint::IsIn(_, entity) => {
            clauses.extend(binder.scope(Var::Resource, entity, bearing)?);
        }
        ResourceConstraint::Any | ResourceConstraint::Is(_) | ResourceConstraint::Eq(_) => {}
    }
    for clause in body.clauses() {
        let bearing = Bearing::of(effect, clause);
        clauses.push(match clause {
            Clause::When(condition) => Clause::When(binder.expression(condition, bearing)?),
            Clause::Unless(condition) => Clause::Unless(binder.expression(condition, bearing)?),
        });
    }
    if !binder.has_bound {
        return Ok((body, binder.granting));
    }
    let bound = body.try_with_clauses(clauses).map_err(|error| NotBound::Fault(error.to_string()))?;
    Ok((bound, binder.granting))
}

struct Binder {
    /// `None` where every namespace is granted the names.
    namespaces: Option<Vec<Arc<str>>>,
    granting: BTreeSet<Granting>,
    /// Whether some name was bound.
    has_bound: bool,
}

/// What a name means where it stands.
enum Meant {
    /// What it says.
    AsWritten,
    /// These names.
    These(Vec<pst::EntityUID>),
    /// It, borne by whoever may bear it.
    Lawful(pst::EntityUID),
    /// It, borne by whatever is in this namespace, whether or not that may bear it.
    Of(pst::EntityUID, pst::EntityUID),
}

impl Binder {
    /// Binds the name in a scope, which has room for one; what else there is to it becomes a condition.
    fn scope(
        &mut self,
        var: Var,
        entity: &mut EntityOrSlot,
        bearing: Bearing,
    ) -> Result<Option<Clause>, NotBound> {
        let EntityOrSlot::Entity(uid) = entity else { return Ok(None) };
        let who = || Arc::new(Expr::Var(var));
        let condition = match self.meant(uid, bearing)? {
            Meant::AsWritten => return Ok(None),
            Meant::These(mut names) if names.len() == 1 => {
                *uid = names.remove(0);
                return Ok(None);
            }
            Meant::These(names) => is_in(who(), set(names)),
            Meant::Lawful(name) => not_unlawful(who(), &name),
            Meant::Of(name, namespace) => {
                *uid = name;
                is_in(who(), literal(namespace))
            }
        };
        Ok(Some(Clause::When(Arc::new(condition))))
    }

    /// What a name means that grants, or refuses, something.
    fn meant(&mut self, uid: &pst::EntityUID, bearing: Bearing) -> Result<Meant, NotBound> {
        let of = uid.ty.to_string();
        if !SELF_DECLARED.contains(&of.as_str()) {
            return Ok(Meant::AsWritten);
        }
        let name = |name: &str| pst::EntityUID { ty: uid.ty.clone(), eid: name.into() };
        let meant = match (bearing, uid.eid.split_once('/')) {
            (Bearing::Refuses, Some((namespace, plain))) => {
                let fault = |error: pst::PstConstructionError| NotBound::Fault(error.to_string());
                let ty = pst::EntityType::from_name(pst::Name::unqualified("Namespace").map_err(fault)?);
                Meant::Of(name(plain), pst::EntityUID { ty, eid: namespace.into() })
            }
            (Bearing::Refuses, None) | (_, Some(_)) => return Ok(Meant::AsWritten),
            (Bearing::Grants | Bearing::Either, None) => {
                self.granting.insert(Granting { of: of.into(), name: uid.eid.as_str().into() });
                match &self.namespaces {
                    None => Meant::Lawful(uid.clone()),
                    Some(all) => {
                        Meant::These(all.iter().map(|one| name(&format!("{one}/{}", uid.eid))).collect())
                    }
                }
            }
        };
        self.has_bound = true;
        Ok(meant)
    }

    fn expression(&mut self, expr: &Arc<Expr>, bearing: Bearing) -> Result<Arc<Expr>, NotBound> {
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
                let left = other(self, left)?;
                match self.member(&left, right, bearing)? {
                    Some(bound) => bound,
                    None => is_in(left, right.clone()),
                }
            }
            Expr::Is { expr: of, entity_type, in_expr: Some(group) } => {
                let of = other(self, of)?;
                let Some(inside) = self.member(&of, group, bearing)? else { return Ok(expr.clone()) };
                // It takes one group only.
                let is = Expr::Is { expr: of, entity_type: entity_type.clone(), in_expr: None };
                binary(BinaryOp::And, is, inside)
            }
            Expr::IfThenElse { cond, then_expr, else_expr } => Expr::IfThenElse {
                cond: other(self, cond)?,
                then_expr: self.expression(then_expr, bearing)?,
                else_expr: self.expression(else_expr, bearing)?,
            },
            // Anything else says nothing of names that an author could bind; a name in it is one that has to be written out.
            _ => return Ok(self.nothing(expr).map(|()| expr.clone())?),
        };
        Ok(Arc::new(bound))
    }

    /// That something is in a name, or in one of a set of names; `None` where that stays as it is written.
    fn member(
        &mut self,
        of: &Arc<Expr>,
        group: &Arc<Expr>,
        bearing: Bearing,
    ) -> Result<Option<Expr>, NotBound> {
        let elements: &[Arc<Expr>] = match &**group {
            Expr::Literal(_) if bearing != Bearing::Either => std::slice::from_ref(group),
            Expr::Set(elements) if bearing != Bearing::Either => elements,
            _ if bearing == Bearing::Refuses => return Ok(None),
            _ => return Ok(self.nothing(group).map(|()| None)?),
        };
        let (mut plain, mut others, mut has_bound) = (Vec::new(), Vec::new(), false);
        for element in elements {
            let meant = match &**element {
                Expr::Literal(Literal::EntityUID(uid)) => self.meant(uid, bearing)?,
                _ => Meant::AsWritten,
            };
            has_bound |= !matches!(meant, Meant::AsWritten);
            match meant {
                Meant::AsWritten => plain.push(element.clone()),
                Meant::These(names) => plain.extend(names.into_iter().map(literal)),
                Meant::Lawful(name) => {
                    let inside = is_in(of.clone(), literal(name.clone()));
                    others.push(binary(BinaryOp::And, inside, not_unlawful(of.clone(), &name)));
                }
                Meant::Of(name, namespace) => {
                    let inside = is_in(of.clone(), literal(name));
                    others.push(binary(BinaryOp::And, inside, is_in(of.clone(), literal(namespace))));
                }
            }
        }
        if !has_bound {
            return Ok(None);
        }
        let plain = match plain.len() {
            0 => None,
            1 => plain.pop(),
            _ => Some(Arc::new(Expr::Set(plain))),
        };
        let plain = plain.map(|plain| is_in(of.clone(), plain));
        let either = |one, other| binary(BinaryOp::Or, one, other);
        Ok(plain.into_iter().chain(others).reduce(either))
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

fn binary(op: BinaryOp, left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp { op, left: Arc::new(left), right: Arc::new(right) }
}

fn not_unlawful(of: Arc<Expr>, name: &pst::EntityUID) -> Expr {
    let name = pst::EntityUID { ty: name.ty.clone(), eid: unlawful(&name.eid).into() };
    Expr::UnaryOp { op: UnaryOp::Not, expr: Arc::new(is_in(of, literal(name))) }
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

    /// Of the names of all, those who may not bear one are left out; a name of one namespace that refuses is whoever's there.
    #[test]
    fn who_may_not_bear_a_name_is_granted_nothing_by_it() {
        for (text, all) in [
            (
                r#"permit (principal in Group::"g", action, resource);"#,
                r#"permit (principal in Group::"g", action, resource) when { !(principal in Group::"!g") };"#,
            ),
            (
                r#"forbid (principal, action, resource) unless { principal in [Group::"g", Group::"x/i"] };"#,
                r#"forbid (principal, action, resource) unless { principal in Group::"x/i" || (principal in Group::"g" && !(principal in Group::"!g")) };"#,
            ),
            (
                r#"forbid (principal in Group::"x/g", action, resource in ToolSet::"s");"#,
                r#"forbid (principal in Group::"g", action, resource in ToolSet::"s") when { principal in Namespace::"x" };"#,
            ),
            (
                r#"permit (principal, action, resource) unless { principal is Agent in Group::"x/g" };"#,
                r#"permit (principal, action, resource) unless { principal is Agent && (principal in Group::"g" && principal in Namespace::"x") };"#,
            ),
        ] {
            let policy = Policy::from_str(all).unwrap();
            let body = policy.to_pst().unwrap().body().clone();
            let body = pst::Policy::Static(pst::StaticPolicy::try_from(body).unwrap());
            let expected = Policy::from_pst(body).unwrap().to_string();
            assert_eq!(understood(text, &members(&["*"])).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_name_that_may_do_either_has_to_be_written_out() {
        for condition in [
            r#"(principal in Group::"g") == context.chain.cycle"#,
            r#"if principal in Group::"g" then true else false"#,
            r#"if principal in [Group::"g", Group::"h"] then true else false"#,
            r#"(principal in [Group::"g", Group::"h"]) == context.chain.cycle"#,
            r#"[Group::"g"].contains(Group::"g")"#,
            r#"principal in (if context.chain.cycle then Group::"g" else Group::"h")"#,
        ] {
            for effect in ["permit", "forbid"] {
                let text = format!("{effect} (principal, action, resource) when {{ {condition} }};");
                let all = understood(&text, &members(&["*"]));
                assert!(all.is_ok(), "{text}");
                // Of a forbid, the names of its `in` refuse wherever they are.
                let refuses = effect == "forbid" && condition.starts_with("principal in (");
                let own = understood(&text, &members(&[]));
                let is_unclear = matches!(&own, Err(NotBound::Unclear(Unclear { of, .. })) if of == "Group");
                assert!(if refuses { own.is_ok() } else { is_unclear }, "{text}");
                let out = text.replace("::\"", "::\"x/");
                assert!(understood(&out, &members(&[])).is_ok(), "{out}");
            }
        }
    }
}
