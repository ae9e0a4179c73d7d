//! By which changes of facts a policy on a call would come to be satisfied, or to be satisfied no longer: read off its conditions, part
//! by part, with Cedar's own evaluator to say which part holds now. What is found is a proposal; whoever asks decides with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use cedar_policy::pst::{
    self, BinaryOp, Clause, EntityOrSlot, Expr, Literal, PatternElem, PrincipalConstraint,
    ResourceConstraint, UnaryOp, Var,
};
use cedar_policy::{Effect, Entities, EvalResult, Expression, Request, eval_expression};

use super::deciding::{Deciding, Step};
use super::entities::{EntityFault, EntitySlice};
use super::index::{Index, Side};
use super::plain;
use super::review::is_of_program;
use super::statement::Statement;
use super::survey::fault;
use super::tree;
use crate::call::Call;
use crate::snapshot::registered::Registered;
use crate::suppose::{Fact, Value};

/// How many ways are kept at each step; those with the fewest changes first.
const MAX_WAYS: usize = 48;

/// Facts that change together, by what is changed.
pub(crate) type Way = BTreeMap<Fact, Value>;

/// How many permits are looked at beside those that the edge itself does not rule out.
const MAX_CLOSEST: usize = 16;

/// By which changes the policies might come to allow a call (`allow`), or to allow it no longer; those with the fewest first.
pub(crate) fn proposed(
    index: &Index,
    registered: &Registered,
    call: &Call<'_>,
    allow: bool,
) -> Result<Vec<Way>, EntityFault> {
    let resource = call.ask.target.entity();
    let kinds = (call.principal().kind(), resource.kind);
    let uids = (plain::entity_uid(call.principal().entity())?, plain::entity_uid(&resource)?);
    let entities = EntitySlice::of(registered, call.principal(), &call.ask.target, [])?.entities()?;
    let holding = index.holding(&uids.0, &uids.1, &entities);
    let mut all: Vec<&Arc<Statement>> = index.candidates(call.ask.action, kinds, &holding).collect();
    for closest in index.closest_permits(call.ask.action, kinds, &holding, MAX_CLOSEST) {
        if all.iter().all(|one| one.id != closest.id) {
            all.push(closest);
        }
    }
    // That somebody would be quarantined goes without saying.
    let counts =
        |one: &Statement| !one.observes && (allow || one.effect == Effect::Permit || !is_of_program(&one.id));
    // At what time a call is made is no fact that could be otherwise.
    all.retain(|statement| counts(statement) && statement.is_open(call.now));
    all.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    let literals = all.iter().flat_map(|statement| statement.literals());
    let entities = EntitySlice::of(registered, call.principal(), &call.ask.target, literals)?.entities()?;
    let entities = entities.add_entities(plain::entities(call)?, None).map_err(|error| fault(&error))?;
    let ways = Ways { request: &plain::request(&Deciding::of(*call, &Step::new()))?, entities: &entities };
    let mut permits = Vec::new();
    let mut forbids = Vec::new();
    for statement in all {
        let list = if statement.effect == Effect::Permit { &mut permits } else { &mut forbids };
        list.push(statement.at_all_times().pst().body().clone());
    }
    let holds = |body: &&pst::Template| ways.of(body, true).first().is_some_and(Way::is_empty);
    let no_more = |bodies: Vec<&pst::Template>| {
        bodies.into_iter().fold(vec![Way::new()], |found, body| both(&found, &ways.of(body, false)))
    };
    let some = |bodies: &[pst::Template]| few(bodies.iter().flat_map(|body| ways.of(body, true)).collect());
    Ok(match allow {
        true => both(&no_more(forbids.iter().filter(holds).collect()), &some(&permits)),
        false => {
            let none = no_more(permits.iter().filter(holds).collect());
            few(none.into_iter().chain(some(&forbids)).collect())
        }
    })
}

/// A call as Cedar sees it.
#[derive(Debug)]
struct Ways<'a> {
    request: &'a Request,
    entities: &'a Entities,
}

impl Ways<'_> {
    /// The ways for a policy to be satisfied, or not to be; one without changes where that is so already.
    fn of(&self, body: &pst::Template, wanted: bool) -> Vec<Way> {
        let parts = parts(body);
        match wanted {
            true => parts.iter().fold(vec![Way::new()], |ways, part| both(&ways, &self.to(part, true))),
            false => few(parts.iter().flat_map(|part| self.to(part, false)).collect()),
        }
    }

    fn to(&self, expr: &Expr, wanted: bool) -> Vec<Way> {
        if self.value(expr) == Some(EvalResult::Bool(wanted)) {
            return vec![Way::new()];
        }
        let either = |one: Vec<Way>, other: Vec<Way>| few(one.into_iter().chain(other).collect());
        match expr {
            Expr::BinaryOp { op: op @ (BinaryOp::And | BinaryOp::Or), left, right } => {
                let (one, other) = (self.to(left, wanted), self.to(right, wanted));
                if (*op == BinaryOp::And) == wanted { both(&one, &other) } else { either(one, other) }
            }
            Expr::UnaryOp { op: UnaryOp::Not, expr } => self.to(expr, !wanted),
            Expr::IfThenElse { cond, then_expr, else_expr } => either(
                both(&self.to(cond, true), &self.to(then_expr, wanted)),
                both(&self.to(cond, false), &self.to(else_expr, wanted)),
            ),
            leaf => {
                self.leaf(leaf, wanted).into_iter().map(|(fact, value)| Way::from([(fact, value)])).collect()
            }
        }
    }

    /// What makes one comparison come out as it is wanted: each by itself.
    fn leaf(&self, expr: &Expr, wanted: bool) -> Vec<(Fact, Value)> {
        match expr {
            Expr::BinaryOp { op: BinaryOp::In, left, right } => self.membership(left, right, wanted),
            Expr::Is { expr, in_expr: Some(group), .. } => self.membership(expr, group, wanted),
            Expr::BinaryOp { op: BinaryOp::Eq, left, right } => self.equal(left, right, wanted),
            Expr::BinaryOp { op: BinaryOp::NotEq, left, right } => self.equal(left, right, !wanted),
            Expr::BinaryOp {
                op: op @ (BinaryOp::Less | BinaryOp::LessEq | BinaryOp::Greater | BinaryOp::GreaterEq),
                left,
                right,
            } => self.ordered(*op, (left, right), wanted),
            Expr::BinaryOp { op: BinaryOp::Contains, left, right } => self.contains(left, right, wanted),
            Expr::BinaryOp { op: BinaryOp::ContainsAny, left, right } if wanted => {
                let mut all = Vec::new();
                for (set, of) in [(left, right), (right, left)] {
                    let element = match self.value(of) {
                        Some(EvalResult::Set(elements)) => elements.iter().next().cloned(),
                        _ => None,
                    };
                    all.extend(element.and_then(|element| held(set, &element, true)));
                }
                all
            }
            Expr::BinaryOp { op: BinaryOp::HasTag, left, right } => {
                let value = if wanted { Value::Long(1) } else { Value::Absent };
                tag(left, right)
                    .into_iter()
                    .map(|fact| match (&fact, &value) {
                        (Fact::Label(..), Value::Long(_)) => (fact, Value::Text("1".into())),
                        _ => (fact, value.clone()),
                    })
                    .collect()
            }
            Expr::BinaryOp { op: BinaryOp::IsInRange, left, right } if wanted => {
                let range = match self.value(right) {
                    Some(EvalResult::ExtensionValue(text)) => address(&text),
                    _ => None,
                };
                fact(left).zip(range).map(|(fact, text)| (fact, Value::Text(text))).into_iter().collect()
            }
            Expr::Like { expr, pattern } if wanted => {
                let text: String = pattern
                    .iter()
                    .filter_map(|element| match element {
                        PatternElem::Char(character) => Some(*character),
                        PatternElem::Wildcard => None,
                    })
                    .collect();
                fact(expr).map(|fact| (fact, Value::Text(text.as_str().into()))).into_iter().collect()
            }
            Expr::Like { expr, .. } => fact(expr).map(|fact| (fact, Value::Other)).into_iter().collect(),
            Expr::HasAttr { expr, attrs } => match tree::path(expr) {
                Some((var, mut names)) => {
                    names.extend(attrs.iter().map(pst::SmolStr::as_str));
                    let value = if wanted { Value::Other } else { Value::Absent };
                    named(var, &names).map(|fact| (fact, value)).into_iter().collect()
                }
                None => Vec::new(),
            },
            Expr::GetAttr { .. } => fact(expr).map(|fact| (fact, Value::Bool(wanted))).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn equal(&self, left: &Expr, right: &Expr, wanted: bool) -> Vec<(Fact, Value)> {
        let mut all = Vec::new();
        for (one, other) in [(left, right), (right, left)] {
            let Some(fact) = fact(one) else { continue };
            let value = match (wanted, self.value(other)) {
                (true, value) => value.and_then(|value| value_of(&value)),
                (false, Some(EvalResult::Bool(value))) => Some(Value::Bool(!value)),
                (false, Some(EvalResult::Long(value))) => value.checked_add(1).map(Value::Long),
                (false, _) => Some(Value::Other),
            };
            all.extend(value.map(|value| (fact, value)));
        }
        all
    }

    fn ordered(&self, op: BinaryOp, (left, right): (&Expr, &Expr), wanted: bool) -> Vec<(Fact, Value)> {
        // The bound that `left` may just reach is `right` and so much more.
        let more = match (op, wanted) {
            (BinaryOp::LessEq | BinaryOp::GreaterEq, true) | (BinaryOp::Less | BinaryOp::Greater, false) => 0,
            (BinaryOp::Less, true) | (BinaryOp::GreaterEq, false) => -1,
            _ => 1,
        };
        let mut all = Vec::new();
        if let (Some(fact), Some(EvalResult::Long(bound))) = (fact(left), self.value(right)) {
            all.extend(bound.checked_add(more).map(|bound| (fact, Value::Long(bound))));
        }
        if let (Some(fact), Some(EvalResult::Long(bound))) = (fact(right), self.value(left)) {
            all.extend(bound.checked_sub(more).map(|bound| (fact, Value::Long(bound))));
        }
        all
    }

    fn contains(&self, set: &Expr, element: &Expr, wanted: bool) -> Vec<(Fact, Value)> {
        let mut all = Vec::new();
        if let Some(element) = self.value(element) {
            all.extend(held(set, &element, wanted));
        }
        if let Some(fact) = fact(element) {
            match self.value(set) {
                Some(EvalResult::Set(elements)) if wanted => {
                    all.extend(elements.iter().next().and_then(value_of).map(|value| (fact, value)));
                }
                Some(_) if !wanted => all.push((fact, Value::Other)),
                _ => {}
            }
        }
        all
    }

    fn membership(&self, of: &Expr, group: &Expr, wanted: bool) -> Vec<(Fact, Value)> {
        let Some(side) =
            tree::path(of).filter(|(_, names)| names.is_empty()).and_then(|(var, _)| Side::of(var))
        else {
            return Vec::new();
        };
        let literal = |expr: &Expr| match expr {
            Expr::Literal(Literal::EntityUID(uid)) => {
                Some(Fact::Member(side, uid.ty.to_string().into(), uid.eid.as_str().into()))
            }
            _ => None,
        };
        match group {
            Expr::Set(elements) => elements
                .iter()
                .filter_map(|one| literal(one))
                .map(|fact| (fact, Value::Bool(wanted)))
                .collect(),
            one => literal(one).map(|fact| (fact, Value::Bool(wanted))).into_iter().collect(),
        }
    }

    fn value(&self, expr: &Expr) -> Option<EvalResult> {
        let expression: Expression = expr.to_string().parse().ok()?;
        eval_expression(self.request, self.entities, &expression).ok()
    }
}

/// The scope and the conditions of a policy, as expressions that must all be true.
fn parts(body: &pst::Template) -> Vec<Arc<Expr>> {
    let mut parts: Vec<Arc<Expr>> = Vec::new();
    let mut push = |var: Var, entity: &EntityOrSlot, op: BinaryOp| {
        if let EntityOrSlot::Entity(uid) = entity {
            let right = Arc::new(Expr::Literal(Literal::EntityUID(uid.clone())));
            parts.push(Arc::new(Expr::BinaryOp { op, left: Arc::new(Expr::Var(var)), right }));
        }
    };
    match &body.principal {
        PrincipalConstraint::Any | PrincipalConstraint::Is(_) => {}
        PrincipalConstraint::Eq(entity) => push(Var::Principal, entity, BinaryOp::Eq),
        PrincipalConstraint::In(entity) | PrincipalConstraint::IsIn(_, entity) => {
            push(Var::Principal, entity, BinaryOp::In);
        }
    }
    match &body.resource {
        ResourceConstraint::Any | ResourceConstraint::Is(_) => {}
        ResourceConstraint::Eq(entity) => push(Var::Resource, entity, BinaryOp::Eq),
        ResourceConstraint::In(entity) | ResourceConstraint::IsIn(_, entity) => {
            push(Var::Resource, entity, BinaryOp::In);
        }
    }
    parts.extend(body.clauses().iter().map(|clause| match clause {
        Clause::When(condition) => condition.clone(),
        Clause::Unless(condition) => Arc::new(Expr::UnaryOp { op: UnaryOp::Not, expr: condition.clone() }),
    }));
    parts
}

/// The fact that an expression is the value of.
fn fact(expr: &Expr) -> Option<Fact> {
    match expr {
        Expr::BinaryOp { op: BinaryOp::GetTag, left, right } => tag(left, right),
        _ => {
            let (var, names) = tree::path(expr)?;
            named(var, &names)
        }
    }
}

fn named(var: &Var, names: &[&str]) -> Option<Fact> {
    let text = || names.join(".").into();
    match (Side::of(var), var) {
        (Some(side), _) => match names {
            [name] | ["server" | "agent" | "provider", name] => Some(Fact::Attribute(side, (*name).into())),
            _ => None,
        },
        (None, Var::Context) if !names.is_empty() => Some(Fact::Context(text())),
        (None, _) => None,
    }
}

fn tag(of: &Expr, key: &Expr) -> Option<Fact> {
    let key = tree::string(key)?;
    match tree::path(of)? {
        (Var::Context, names) => match names.as_slice() {
            ["args"] => Some(Fact::Argument(key.into(), false)),
            ["numbers"] => Some(Fact::Argument(key.into(), true)),
            _ => None,
        },
        (var, names) if names.is_empty() => Some(Fact::Label(Side::of(var)?, key.into())),
        _ => None,
    }
}

/// That a set of a record has an element, or has not.
fn held(set: &Expr, element: &EvalResult, wanted: bool) -> Option<(Fact, Value)> {
    let (var, names) = tree::path(set)?;
    let side = Side::of(var)?;
    match (names.as_slice(), element) {
        (["capabilities"], EvalResult::String(text)) => {
            Some((Fact::Capability(side, text.as_str().into()), Value::Bool(wanted)))
        }
        _ => None,
    }
}

fn value_of(value: &EvalResult) -> Option<Value> {
    match value {
        EvalResult::Bool(value) => Some(Value::Bool(*value)),
        EvalResult::Long(value) => Some(Value::Long(*value)),
        EvalResult::String(text) => Some(Value::Text(text.as_str().into())),
        EvalResult::EntityUid(uid) => Some(Value::Text(uid.id().unescaped().into())),
        _ => None,
    }
}

/// The first address of a range, as in `10.0.0.0/8`.
fn address(range: &str) -> Option<Arc<str>> {
    let text = range.trim_start_matches("ip(").trim_end_matches(')').trim_matches('"');
    text.split('/').next().map(Arc::from)
}

/// Each way of one together with each of the other; where both change one thing, the latter says to what.
fn both(one: &[Way], other: &[Way]) -> Vec<Way> {
    let mut all = Vec::new();
    for way in one {
        for more in other {
            let mut together = way.clone();
            together.extend(more.iter().map(|(fact, value)| (fact.clone(), value.clone())));
            all.push(together);
        }
    }
    few(all)
}

/// Those with the fewest changes.
fn few(mut ways: Vec<Way>) -> Vec<Way> {
    ways.sort_by(|one, other| (one.len(), one).cmp(&(other.len(), other)));
    ways.dedup();
    ways.truncate(MAX_WAYS);
    ways
}
