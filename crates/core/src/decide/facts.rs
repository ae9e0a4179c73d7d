//! The attribute values that a policy looked at: what explains a decision.

use std::sync::{Arc, LazyLock};

use cedar_policy::pst::{
    self, BinaryOp, Clause, EntityOrSlot, Expr, Literal, PrincipalConstraint, ResourceConstraint, SmolStr,
    Var,
};
use cedar_policy::{Entities, EntityUid, EvalResult};

use super::deciding::Deciding;
use super::index::Side;
use super::membership::is_unlawful;
use super::residual::View;
use super::residual::field::Field;
use super::residual::value::Value;
use super::statement::{entity_uid, shared};
use super::tree;
use super::view::{Seen, look};
use crate::call::Call;
use crate::decision::Fact;
use crate::interned::{self, Interned};
use crate::recorded::Recorded;

/// Longest value of a fact in bytes; arguments come from callers.
pub(crate) const MAX_VALUE: usize = 256;

/// The value of an attribute, argument or user that is not there.
const ABSENT: &str = "absent";

/// Something of principal or resource that a policy looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AttributeReference {
    /// As in the policy: `principal.team`, `principal in Group::finance-agents`.
    name: Arc<str>,
    side: Side,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum What {
    Itself,
    /// Attribute names from the entity on; through other entities.
    Attribute(Box<[Box<str>]>),
    Tag(Box<str>),
    /// It is some times as large as the others, and the policy names it.
    Member(Arc<EntityUid>),
}

/// Something of the context that a residual looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContextReference {
    name: Arc<str>,
    what: InContext,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum InContext {
    Field(Field),
    Argument(View, Box<str>),
    /// The approval as a whole.
    Approval,
    /// The calling copy as a whole.
    Instance,
}

impl AttributeReference {
    /// Everything of principal and resource that a policy looks at, once each, as other policies have it.
    pub(crate) fn all(body: &pst::Template) -> Box<[Arc<Self>]> {
        static KNOWN: LazyLock<Interned<AttributeReference>> = LazyLock::new(Interned::default);
        let mut found: Vec<Self> = Vec::new();
        match &body.principal {
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => {}
            PrincipalConstraint::Eq(EntityOrSlot::Entity(_)) => found.push(Self::itself(Side::Principal)),
            PrincipalConstraint::In(e) | PrincipalConstraint::IsIn(_, e) => {
                found.extend(scope(Side::Principal, e));
            }
            PrincipalConstraint::Eq(EntityOrSlot::Slot(_)) => {}
        }
        match &body.resource {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => {}
            ResourceConstraint::Eq(EntityOrSlot::Entity(_)) => found.push(Self::itself(Side::Resource)),
            ResourceConstraint::In(e) | ResourceConstraint::IsIn(_, e) => {
                found.extend(scope(Side::Resource, e));
            }
            ResourceConstraint::Eq(EntityOrSlot::Slot(_)) => {}
        }
        for clause in body.clauses() {
            let (Clause::When(condition) | Clause::Unless(condition)) = clause;
            tree::walk(condition, &mut |e| found.extend(Self::in_expression(e)));
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        // `principal.a.b` also visits `principal.a`, which is a step, not a value that was compared.
        let names: Vec<Arc<str>> = found.iter().map(|reference| reference.name.clone()).collect();
        found.retain(|reference| !names.iter().any(|name| is_step(&reference.name, name)));
        found.dedup();
        let shared = |one: Self| {
            let length = one.name.len();
            KNOWN.share(Arc::new(one), length)
        };
        found.into_iter().map(shared).collect()
    }

    fn in_expression(expr: &Expr) -> Vec<Self> {
        match expr {
            Expr::GetAttr { .. } => {
                tree::path(expr).and_then(|(var, names)| Self::attribute(var, &names)).into_iter().collect()
            }
            Expr::HasAttr { expr, attrs } => {
                let reference = tree::path(expr).and_then(|(var, mut names)| {
                    names.extend(attrs.iter().map(SmolStr::as_str));
                    Self::attribute(var, &names)
                });
                reference.into_iter().collect()
            }
            Expr::BinaryOp { op: BinaryOp::HasTag | BinaryOp::GetTag, left, right } => {
                let reference = side_of(left).zip(tree::string(right)).map(|(side, key)| Self {
                    name: interned::text(&format!("{}[{key:?}]", side.as_str())),
                    side,
                    what: What::Tag(key.into()),
                });
                reference.into_iter().collect()
            }
            Expr::BinaryOp { op: BinaryOp::In, left, right } => {
                let Some(side) = side_of(left) else { return Vec::new() };
                match &**right {
                    Expr::Set(elements) => {
                        elements.iter().filter_map(|one| Self::member(side, one)).collect()
                    }
                    one => Self::member(side, one).into_iter().collect(),
                }
            }
            Expr::Is { expr, in_expr: Some(of), .. } => {
                side_of(expr).and_then(|side| Self::member(side, of)).into_iter().collect()
            }
            Expr::BinaryOp { op: BinaryOp::Eq | BinaryOp::NotEq, left, right } => {
                [left, right].into_iter().filter_map(|one| side_of(one)).map(Self::itself).collect()
            }
            _ => Vec::new(),
        }
    }

    fn itself(side: Side) -> Self {
        Self { name: interned::text(side.as_str()), side, what: What::Itself }
    }

    fn attribute(var: &Var, names: &[&str]) -> Option<Self> {
        let side = Side::of(var)?;
        let name = interned::text(&format!("{}.{}", side.as_str(), names.join(".")));
        Some(Self { name, side, what: What::Attribute(names.iter().map(|n| Box::from(*n)).collect()) })
    }

    fn member(side: Side, of: &Expr) -> Option<Self> {
        let Expr::Literal(Literal::EntityUID(uid)) = of else { return None };
        scope(side, &EntityOrSlot::Entity(uid.clone()))
    }

    /// The fact on an edge.
    pub(crate) fn fact(&self, principal: &EntityUid, resource: &EntityUid, entities: &Entities) -> Fact {
        let of = if self.side == Side::Principal { principal } else { resource };
        let value = match &self.what {
            What::Itself => entity_text(of),
            What::Attribute(names) => attribute(of, names, entities).unwrap_or_else(|| ABSENT.to_owned()),
            What::Tag(key) => {
                let tag = entities.get(of).and_then(|entity| entity.tag(key)?.ok());
                tag.map_or_else(|| ABSENT.to_owned(), |tag| text(&tag))
            }
            What::Member(group) => (*of == **group || entities.is_ancestor_of(group, of)).to_string(),
        };
        (self.name.clone(), shorten(&value).into())
    }
}

fn side_of(expr: &Expr) -> Option<Side> {
    let (var, names) = tree::path(expr)?;
    names.is_empty().then(|| Side::of(var))?
}

fn scope(side: Side, entity: &EntityOrSlot) -> Option<AttributeReference> {
    let EntityOrSlot::Entity(uid) = entity else { return None };
    if is_unlawful(&uid.eid) {
        return None;
    }
    let name = interned::text(&format!("{} in {}::{}", side.as_str(), uid.ty, uid.eid));
    Some(AttributeReference { name, side, what: What::Member(shared(entity_uid(uid)?)) })
}

/// Whether `name` is a step on the way to `longer`.
fn is_step(name: &str, longer: &str) -> bool {
    name.contains('.') && longer.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
}

fn attribute(of: &EntityUid, names: &[Box<str>], entities: &Entities) -> Option<String> {
    let (first, rest) = names.split_first()?;
    let value = entities.get(of)?.attr(first)?.ok()?;
    match (rest, &value) {
        ([], value) => Some(text(value)),
        (rest, EvalResult::EntityUid(next)) => attribute(next, rest, entities),
        _ => None,
    }
}

fn text(value: &EvalResult) -> String {
    match value {
        EvalResult::Bool(value) => value.to_string(),
        EvalResult::Long(value) => value.to_string(),
        EvalResult::String(text) | EvalResult::ExtensionValue(text) => text.clone(),
        EvalResult::EntityUid(uid) => entity_text(uid),
        EvalResult::Set(set) => {
            let elements: Vec<String> = set.iter().map(text).collect();
            format!("[{}]", elements.join(", "))
        }
        EvalResult::Record(record) => {
            let members: Vec<String> =
                record.iter().map(|(name, value)| format!("{name}: {}", text(value))).collect();
            format!("{{{}}}", members.join(", "))
        }
    }
}

fn entity_text(uid: &EntityUid) -> String {
    format!("{}/{}", uid.type_name(), uid.id().unescaped())
}

/// At most [`MAX_VALUE`] bytes, cut at a character.
pub(crate) fn shorten(value: &str) -> &str {
    value.get(..value.floor_char_boundary(MAX_VALUE)).unwrap_or_default()
}

impl ContextReference {
    /// Everything of the context that a residual looks at, once each.
    pub(crate) fn all(condition: &Expr) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        tree::walk(condition, &mut |e| found.extend(Self::in_expression(e)));
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found.dedup();
        let names: Vec<Arc<str>> = found.iter().map(|reference| reference.name.clone()).collect();
        found.retain(|reference| !names.iter().any(|name| is_step(&reference.name, name)));
        found
    }

    fn in_expression(expr: &Expr) -> Option<Self> {
        match expr {
            Expr::GetAttr { .. } => match tree::path(expr)? {
                (Var::Context, names) => Self::field(&names),
                _ => None,
            },
            Expr::HasAttr { expr, attrs } => match tree::path(expr)? {
                (Var::Context, mut names) => {
                    names.extend(attrs.iter().map(SmolStr::as_str));
                    Self::field(&names)
                }
                _ => None,
            },
            Expr::BinaryOp { op: BinaryOp::HasTag | BinaryOp::GetTag, left, right } => {
                let (Var::Context, names) = tree::path(left)? else { return None };
                let view = match names.as_slice() {
                    ["args"] => View::Text,
                    ["numbers"] => View::Numbers,
                    ["limits"] => View::Limits,
                    _ => return None,
                };
                let pointer = tree::string(right)?;
                let name = format!("context.{}[{pointer:?}]", names.join(".")).into();
                Some(Self { name, what: InContext::Argument(view, pointer.into()) })
            }
            _ => None,
        }
    }

    fn field(names: &[&str]) -> Option<Self> {
        let what = match Field::at(names) {
            // The entities that hold arguments, and what is left of limits, say nothing; their tags do.
            Some(Field::Args | Field::Numbers | Field::Limits) => return None,
            Some(field) => InContext::Field(field),
            None if names == ["approval"] => InContext::Approval,
            None if names == ["instance"] => InContext::Instance,
            // There are some where there are media types.
            None if names == ["parts"] => InContext::Field(Field::PartsMediaTypes),
            None => return None,
        };
        Some(Self { name: format!("context.{}", names.join(".")).into(), what })
    }

    /// Whether a record lacks it.
    pub(crate) fn is_beyond(&self, recorded: &Recorded) -> bool {
        match &self.what {
            InContext::Field(field) => recorded.lacks(*field),
            InContext::Argument(view, pointer) => recorded.argument(*view, pointer).is_none(),
            InContext::Approval => recorded.lacks_approval(),
            InContext::Instance => recorded.lacks_instance(),
        }
    }

    /// Whether it is an argument, or what is worked out from all of them.
    pub(crate) const fn is_argument(&self) -> bool {
        matches!(self.what, InContext::Argument(..) | InContext::Field(Field::CallDigest | Field::Guarded))
    }

    /// As in the policy: `context.numbers["/amount"]`.
    pub(crate) const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The facts on a call: the value, and where what is in it came from.
    pub(crate) fn facts<'c>(&self, call: &Deciding<'c>) -> impl Iterator<Item = Fact> + use<'c> {
        std::iter::once(self.fact(call)).chain(self.origins(call))
    }

    fn fact(&self, call: &Deciding<'_>) -> Fact {
        let value = match &self.what {
            InContext::Field(field) => field.read(call).ok(),
            InContext::Argument(view, pointer) => match look(*view, pointer, call) {
                Seen::There(value) => Some(value),
                Seen::Absent => None,
                Seen::Unseen(what) => Some(Value::Text(what)),
            },
            InContext::Approval => call
                .approval()
                .map(|approval| Value::Text(format!("{} by {}", approval.role, approval.by.id()).into())),
            InContext::Instance => call.instance().map(|instance| Value::Text(instance.to_string().into())),
        };
        let value = match value {
            Some(Value::Text(text)) => Arc::from(shorten(&text)),
            Some(value) => Arc::from(shorten(&value.to_string())),
            None => Arc::from(ABSENT),
        };
        (self.name.clone(), value)
    }

    /// Where each of the labels came from, where it looks at them: `context.labels["untrusted"]`.
    fn origins<'c>(&self, call: &Call<'c>) -> impl Iterator<Item = Fact> + use<'c> {
        let looks = self.what == InContext::Field(Field::Labels);
        let labels = if looks { call.so_far.labels.as_slice() } else { &[] };
        labels.iter().map(|one| {
            let origin = format!("{} by call {}", shorten(&one.from), one.call);
            (format!("context.labels[{:?}]", &*one.label).into(), origin.into())
        })
    }
}
