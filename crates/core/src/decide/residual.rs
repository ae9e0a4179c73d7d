//! What partial evaluation leaves of a policy on an edge: a small expression over the call's context.
//!
//! It is evaluated directly over a [`crate::call::Call`], without building Cedar values. What this language does not cover
//! (`Expression::compile` says `None`) goes to Cedar's own evaluator instead.

mod beyond;
pub(crate) mod evaluate;
pub(crate) mod field;
pub(crate) mod possible;
pub(crate) mod value;

#[cfg(test)]
mod tests;

use cedar_policy::pst::{self, BinaryOp, Expr, Literal, UnaryOp};
use cedar_policy::{Entities, EntityUid};

use self::field::{Field, Presence};
use self::value::{Constant, Net};
use super::statement::entity_uid;
use super::tree;

/// Binary operators on two evaluated operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    Less,
    LessEqual,
    Add,
    Subtract,
    Multiply,
    /// `left.contains(right)`
    Contains,
    ContainsAll,
    ContainsAny,
    /// `left in right` where `left` has no ancestors.
    In,
    /// `datetime.offset(duration)`
    Offset,
    /// `datetime.durationSince(datetime)`
    DurationSince,
    /// `ip.isInRange(ip)`
    IsInRange,
}

/// Unary operators on an evaluated operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unary {
    Not,
    Negate,
    IsEmpty,
    IsIpv4,
    IsIpv6,
    IsLoopback,
    IsMulticast,
    ToDate,
    ToTime,
    /// `toMilliseconds`, `toSeconds`, …: the milliseconds of one unit.
    ToUnits(i64),
}

/// Which of the two views of the arguments, or of what is left of limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// `context.args`: scalars as text.
    Text,
    /// `context.numbers`: whole numbers.
    Numbers,
    /// `context.limits`: what is left, by the ids of limits.
    Limits,
}

/// An element of a `like` pattern.
pub(crate) type Pattern = Box<[pst::PatternElem]>;

#[derive(Debug)]
pub(crate) enum Expression {
    Constant(Constant),
    Field(Field),
    Has(Presence),
    /// Always an error: overflow found early, or an attribute of an entity that does not exist.
    Failure,
    And(Box<[Expression; 2]>),
    Or(Box<[Expression; 2]>),
    If(Box<[Expression; 3]>),
    Unary(Unary, Box<Expression>),
    Binary(Operator, Box<[Expression; 2]>),
    /// The constant on the left of `in` with its ancestors, and the right side.
    ConstantIn(Box<[(Box<str>, Box<str>)]>, Box<Expression>),
    Like(Box<Expression>, Pattern),
    Set(Box<[Expression]>),
    HasTag(View, Box<Expression>),
    GetTag(View, Box<Expression>),
}

impl Expression {
    /// Compiles the condition of a residual policy; `None` where Cedar itself must evaluate it.
    pub(crate) fn compile(expr: &Expr, entities: &Entities) -> Option<Self> {
        Compiler { entities }.expression(expr)
    }

    /// Whether the value depends on the arguments of the call.
    pub(crate) fn on_arguments(&self) -> bool {
        match self {
            // `args` and `numbers` by themselves are entities of one name; what depends on the call are their tags.
            Self::HasTag(..) | Self::GetTag(..) | Self::Field(Field::CallDigest) => true,
            Self::Constant(_) | Self::Field(_) | Self::Has(_) | Self::Failure => false,
            Self::And(both) | Self::Or(both) | Self::Binary(_, both) => both.iter().any(Self::on_arguments),
            Self::If(three) => three.iter().any(Self::on_arguments),
            Self::Unary(_, one) | Self::ConstantIn(_, one) | Self::Like(one, _) => one.on_arguments(),
            Self::Set(elements) => elements.iter().any(Self::on_arguments),
        }
    }
}

struct Compiler<'a> {
    entities: &'a Entities,
}

impl Compiler<'_> {
    fn expression(&self, expr: &Expr) -> Option<Expression> {
        if let Some((var, names)) = tree::path(expr) {
            // TPE has replaced every other variable; a bare `context` is not a value of this language.
            return match var {
                pst::Var::Context => Field::compile(&names),
                _ => None,
            };
        }
        match expr {
            Expr::Literal(literal) => Some(Expression::Constant(constant(literal)?)),
            Expr::ResidualError => Some(Expression::Failure),
            Expr::UnaryOp { op, expr } => self.unary(*op, expr),
            Expr::BinaryOp { op, left, right } => self.binary(*op, left, right),
            Expr::HasAttr { expr: of, attrs } => {
                self.has(of, &attrs.iter().map(pst::SmolStr::as_str).collect::<Vec<_>>())
            }
            Expr::GetAttr { expr: of, .. } => self.missing(of).then_some(Expression::Failure),
            Expr::Like { expr, pattern } => {
                Some(Expression::Like(Box::new(self.expression(expr)?), pattern.clone().into()))
            }
            Expr::IfThenElse { cond, then_expr, else_expr } => Some(Expression::If(Box::new([
                self.expression(cond)?,
                self.expression(then_expr)?,
                self.expression(else_expr)?,
            ]))),
            Expr::Set(elements) => self.set(elements),
            // `is` is decided by type before this; records and unknowns are Cedar's.
            _ => None,
        }
    }

    /// Whether `expr` is an entity that does not exist: it has no attributes and no tags.
    fn missing(&self, expr: &Expr) -> bool {
        match expr {
            // The user and the arguments are entities of the call, which nobody knows yet.
            Expr::Literal(Literal::EntityUID(uid)) => entity_uid(uid).is_some_and(|uid| {
                let of_call =
                    matches!(uid.type_name().basename(), "User" | "Arguments" | "Numbers" | "Limits");
                !of_call && self.entities.get(&uid).is_none()
            }),
            _ => false,
        }
    }

    fn set(&self, elements: &[std::sync::Arc<Expr>]) -> Option<Expression> {
        let elements: Vec<Expression> = elements.iter().map(|e| self.expression(e)).collect::<Option<_>>()?;
        let constants: Option<Vec<Constant>> = elements
            .iter()
            .map(|element| match element {
                Expression::Constant(constant) => Some(constant.clone()),
                _ => None,
            })
            .collect();
        Some(match constants {
            Some(constants) => Expression::Constant(Constant::Set(constants.into())),
            None => Expression::Set(elements.into()),
        })
    }

    fn has(&self, of: &Expr, attrs: &[&str]) -> Option<Expression> {
        if self.missing(of) {
            return Some(Expression::Constant(Constant::Bool(false)));
        }
        match tree::path(of)? {
            (pst::Var::Context, names) => Presence::compile(&names, attrs),
            _ => None,
        }
    }

    fn unary(&self, op: UnaryOp, operand: &Expr) -> Option<Expression> {
        const SECOND: i64 = 1_000;
        let unary = match op {
            UnaryOp::Not => Unary::Not,
            UnaryOp::Neg => Unary::Negate,
            UnaryOp::IsEmpty => Unary::IsEmpty,
            UnaryOp::IsIPv4 => Unary::IsIpv4,
            UnaryOp::IsIPV6 => Unary::IsIpv6,
            UnaryOp::IsLoopback => Unary::IsLoopback,
            UnaryOp::IsMulticast => Unary::IsMulticast,
            UnaryOp::ToDate => Unary::ToDate,
            UnaryOp::ToTime => Unary::ToTime,
            UnaryOp::ToMilliseconds => Unary::ToUnits(1),
            UnaryOp::ToSeconds => Unary::ToUnits(SECOND),
            UnaryOp::ToMinutes => Unary::ToUnits(60 * SECOND),
            UnaryOp::ToHours => Unary::ToUnits(3_600 * SECOND),
            UnaryOp::ToDays => Unary::ToUnits(86_400 * SECOND),
            // Constants come out of partial evaluation in their canonical form.
            UnaryOp::Duration => {
                return Some(Expression::Constant(Constant::Duration(milliseconds(operand)?)));
            }
            UnaryOp::Ip => {
                return Some(Expression::Constant(Constant::Ip(Net::parse(tree::string(operand)?)?)));
            }
            _ => return None,
        };
        Some(Expression::Unary(unary, Box::new(self.expression(operand)?)))
    }

    fn binary(&self, op: BinaryOp, left: &Expr, right: &Expr) -> Option<Expression> {
        let both = || Some(Box::new([self.expression(left)?, self.expression(right)?]));
        let reversed = || Some(Box::new([self.expression(right)?, self.expression(left)?]));
        let not = |expression: Expression| Expression::Unary(Unary::Not, Box::new(expression));
        let operator = match op {
            BinaryOp::And => return Some(Expression::And(both()?)),
            BinaryOp::Or => return Some(Expression::Or(both()?)),
            BinaryOp::NotEq => return Some(not(Expression::Binary(Operator::Equal, both()?))),
            // Both operands are evaluated before they are compared, so their order does not show.
            BinaryOp::Greater => return Some(Expression::Binary(Operator::Less, reversed()?)),
            BinaryOp::GreaterEq => return Some(Expression::Binary(Operator::LessEqual, reversed()?)),
            BinaryOp::In => return self.membership(left, right),
            BinaryOp::HasTag | BinaryOp::GetTag => return self.tag(op, left, right),
            BinaryOp::Offset => match datetime(left, right) {
                Some(constant) => return Some(Expression::Constant(constant)),
                None => Operator::Offset,
            },
            BinaryOp::Eq => Operator::Equal,
            BinaryOp::Less => Operator::Less,
            BinaryOp::LessEq => Operator::LessEqual,
            BinaryOp::Add => Operator::Add,
            BinaryOp::Sub => Operator::Subtract,
            BinaryOp::Mul => Operator::Multiply,
            BinaryOp::Contains => Operator::Contains,
            BinaryOp::ContainsAll => Operator::ContainsAll,
            BinaryOp::ContainsAny => Operator::ContainsAny,
            BinaryOp::DurationSince => Operator::DurationSince,
            BinaryOp::IsInRange => Operator::IsInRange,
            _ => return None,
        };
        Some(Expression::Binary(operator, both()?))
    }

    fn membership(&self, left: &Expr, right: &Expr) -> Option<Expression> {
        let right = self.expression(right)?;
        if let Expr::Literal(Literal::EntityUID(uid)) = left {
            let own = entity_uid(uid)?;
            let name = |uid: &EntityUid| (uid.type_name().to_string().into(), uid.id().unescaped().into());
            let ancestors = self.entities.ancestors(&own).into_iter().flatten();
            let names = std::iter::once(&own).chain(ancestors).map(name).collect();
            return Some(Expression::ConstantIn(names, Box::new(right)));
        }
        match self.expression(left)? {
            // Only a field of which it is known what it is in: [`value::Entity::is_in`].
            left @ Expression::Field(Field::OnBehalfOf) => {
                Some(Expression::Binary(Operator::In, Box::new([left, right])))
            }
            _ => None,
        }
    }

    fn tag(&self, op: BinaryOp, of: &Expr, key: &Expr) -> Option<Expression> {
        if self.missing(of) {
            // The key is evaluated first and may fail by itself.
            let Expression::Constant(_) = self.expression(key)? else { return None };
            return Some(match op {
                BinaryOp::HasTag => Expression::Constant(Constant::Bool(false)),
                _ => Expression::Failure,
            });
        }
        let view = match self.expression(of)? {
            Expression::Field(Field::Args) => View::Text,
            Expression::Field(Field::Numbers) => View::Numbers,
            Expression::Field(Field::Limits) => View::Limits,
            _ => return None,
        };
        let key = Box::new(self.expression(key)?);
        Some(if op == BinaryOp::HasTag {
            Expression::HasTag(view, key)
        } else {
            Expression::GetTag(view, key)
        })
    }
}

fn constant(literal: &Literal) -> Option<Constant> {
    Some(match literal {
        Literal::Bool(value) => Constant::Bool(*value),
        Literal::Long(value) => Constant::Long(*value),
        Literal::String(text) => Constant::Text(text.as_str().into()),
        Literal::EntityUID(uid) => Constant::Entity(uid.ty.to_string().into(), uid.eid.as_str().into()),
        _ => return None,
    })
}

/// The `N` of the canonical `duration("Nms")`.
fn milliseconds(operand: &Expr) -> Option<i64> {
    tree::string(operand)?.strip_suffix("ms")?.parse().ok()
}

/// The canonical `datetime("1970-01-01").offset(duration("Nms"))`.
fn datetime(left: &Expr, right: &Expr) -> Option<Constant> {
    match (left, right) {
        (
            Expr::UnaryOp { op: UnaryOp::Datetime, expr: origin },
            Expr::UnaryOp { op: UnaryOp::Duration, expr: offset },
        ) if tree::string(origin)? == "1970-01-01" => Some(Constant::Datetime(milliseconds(offset)?)),
        _ => None,
    }
}
