//! Which policies can never matter, and which permit too much: from the index, partial evaluation and the policies' own conditions.

mod implies;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::pst::{self, ActionConstraint, BinaryOp, Clause, Expr, ResourceConstraint, Var};
use cedar_policy::{Effect, EntityUid};

use self::implies::Insists;
use super::entities::{EntityFault, EntitySlice};
use super::index::{Index, Key, KeyId, Side};
use super::reads::{self, Looked, Read};
use super::statement::Statement;
use super::survey::{Known, Survey, in_parallel};
use super::tree;
use crate::call::Action;
use crate::entity::EntityKind;
use crate::reach::{Access, Outlook};
use crate::resource::Principal;
use crate::resource::policy::RESERVED_NAMESPACE;
use crate::review::{Dead, Flaw};
use crate::snapshot::registered::Registered;

/// How many pairs that a policy can tell apart are tried for one that satisfies it.
const MAX_TRIED: usize = 1_024;
/// How many pairs are tried for one on which a permit is not forbidden.
const MAX_FORBIDDEN: usize = 256;

/// Whether something registered satisfies a policy.
enum Satisfied {
    Once,
    Never,
    /// There are so many pairs that it can tell apart, more than are tried.
    Untold(usize),
}

/// What is registered, by what policies insist on.
pub(crate) struct Review<'a> {
    index: &'a Index,
    registered: &'a Registered,
    survey: Survey<'a>,
    callers: HashMap<KeyId, Vec<usize>>,
    called: HashMap<KeyId, Vec<usize>>,
    /// The kinds of which something is registered.
    kinds: HashSet<EntityKind>,
}

impl<'a> Review<'a> {
    pub(crate) fn new(
        index: &'a Index,
        registered: &'a Registered,
        principals: &'a [Principal],
        accesses: &'a [Access<'a>],
    ) -> Result<Self, EntityFault> {
        let survey = Survey::new(index, registered, principals, accesses)?;
        let (callers, called) = (by_key(survey.callers()), by_key(survey.called()));
        let kinds = survey.callers().iter().chain(survey.called()).map(|known| known.kind).collect();
        Ok(Self { index, registered, survey, callers, called, kinds })
    }

    /// What is found of each of `statements`.
    pub(crate) fn flaws(&self, statements: &[&Arc<Statement>]) -> Result<Vec<Vec<Flaw>>, EntityFault> {
        in_parallel(statements, |statement| self.of(statement)).into_iter().collect()
    }

    fn of(&self, statement: &Arc<Statement>) -> Result<Vec<Flaw>, EntityFault> {
        let pst = statement.policy.pst();
        let mut flaws = Vec::new();
        // What is only tried may say anything, and what lets pass is meant to be broad.
        if statement.observes || statement.lets_pass {
            return Ok(flaws);
        }
        if !Action::ALL.into_iter().any(|action| statement.actions.contain(action)) {
            // What people may do is asked of nobody that is registered: only how much it leaves open is told.
            if statement.effect == Effect::Permit && statement.actions.of_people(None) {
                flaws.extend(broad(pst.body()));
            }
            return Ok(flaws);
        }
        flaws.extend(match self.structural(statement, pst.body())? {
            Some(flaw) => Some(flaw),
            None => self.as_registered(statement, pst.body())?,
        });
        if statement.effect == Effect::Permit {
            flaws.extend(broad(pst.body()));
        }
        Ok(flaws)
    }

    /// Whether another policy says the same and more, or the opposite, whatever is registered.
    fn structural(
        &self,
        statement: &Arc<Statement>,
        body: &pst::Template,
    ) -> Result<Option<Flaw>, EntityFault> {
        let shapes = shapes(statement);
        let insists = self.insists(statement, body)?;
        let mut broader: Option<Vec<&Arc<Statement>>> = None;
        for (action, principal, resource) in &shapes {
            let on_all = |one: &&Arc<Statement>| {
                broader.as_ref().is_none_or(|known| known.iter().any(|other| Arc::ptr_eq(other, one)))
            };
            let found = self.index.candidates(*action, (*principal, *resource), &insists.holding);
            let found: Vec<_> = found.filter(on_all).collect();
            broader = Some(found);
        }
        let mut broader = broader.unwrap_or_default();
        broader.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        let (mut contradicted, mut implied) = (None, None);
        // What ends a chain as well says more than the refusal of a call.
        // What has a payload kept, more than that it is permitted.
        let says_as_much = |one: &&Arc<Statement>| {
            (one.ends_chain || !statement.ends_chain) && one.keeps.has(statement.keeps)
        };
        let broader = broader.into_iter().filter(|one| one.id != statement.id && is_plain(one));
        for one in broader.filter(says_as_much) {
            let same_effect = one.effect == statement.effect;
            // A policy that may fail refuses where it does, so it is not nothing beside another one.
            let of_use = if same_effect {
                !insists.may_fail && is_plain(statement)
            } else {
                statement.effect == Effect::Permit
            };
            if !of_use || statement.actions.kernel && same_effect && !one.actions.kernel {
                continue;
            }
            let other = one.policy.pst();
            if !insists.imply(other.body(), self.index) {
                continue;
            }
            if !same_effect {
                contradicted = contradicted.or_else(|| Some(one.id.clone()));
            } else if implied.is_none() && self.is_kept(statement, body, one, other.body())? {
                implied = Some(one.id.clone());
            }
        }
        let contradicted = contradicted.map(|by| Flaw::Contradicted { by });
        Ok(contradicted.or_else(|| implied.map(|by| Flaw::Implied { by })))
    }

    /// Of two that say the same, the first stays, so that not both are said to be of no use.
    fn is_kept(
        &self,
        statement: &Arc<Statement>,
        body: &pst::Template,
        other: &Arc<Statement>,
        other_body: &pst::Template,
    ) -> Result<bool, EntityFault> {
        let back = self.insists(other, other_body)?;
        let (ours, theirs) = (shapes(statement), shapes(other));
        let same = theirs.iter().all(|shape| ours.contains(shape))
            && statement.scope.iter().all(|key| self.index.holds(key, &back.holding))
            && back.imply(body, self.index);
        Ok(!same || other.id < statement.id)
    }

    fn insists(&self, statement: &Statement, body: &pst::Template) -> Result<Insists, EntityFault> {
        let keys: Vec<Key> = statement.scope.iter().cloned().chain(implies::keys(body)).collect();
        let mut slice = EntitySlice::default();
        for literal in statement.literals() {
            slice.literal(self.registered, literal)?;
        }
        let entities = slice.entities()?;
        let mut all: Vec<Key> = Vec::new();
        for key in &keys {
            all.extend(key.with_what_follows(&entities));
        }
        // What follows from what follows: a team of a namespace is a team.
        let further: Vec<Key> = all.iter().flat_map(|key| key.with_what_follows(&entities)).collect();
        let holding = self.index.holding_by(all.iter().chain(&further));
        Ok(Insists::new(body, holding))
    }

    /// Whether it can be satisfied by what is registered, and where it can, permits anything.
    fn as_registered(
        &self,
        statement: &Arc<Statement>,
        body: &pst::Template,
    ) -> Result<Option<Flaw>, EntityFault> {
        let shapes = shapes(statement);
        // Where nothing of a kind is registered, it is registered elsewhere.
        let has_callers = shapes.iter().any(|shape| self.kinds.contains(&shape.1));
        let has_called = shapes.iter().any(|shape| self.kinds.contains(&shape.2));
        let fits = |key: &Key, side: Side| key.side() == side;
        let callers = self.fitting(statement, Side::Principal, |key| fits(key, Side::Principal));
        let callers: Vec<usize> = callers
            .into_iter()
            .filter(|place| {
                self.survey
                    .callers()
                    .get(*place)
                    .is_some_and(|one| shapes.iter().any(|shape| shape.1 == one.kind))
            })
            .collect();
        if callers.is_empty() && has_callers {
            return Ok(Some(Flaw::Dead(Dead::NoPrincipal)));
        }
        let by_name = reads::all(body, Side::Resource, None).iter().any(Read::is_of_name);
        let resource_keys = |key: &Key| fits(key, Side::Resource) && !(by_name && key.is_of_name());
        let called = self.fitting(statement, Side::Resource, resource_keys);
        let is_asked = |place: &usize| {
            let (access, known) = (self.survey.access(*place), self.survey.called().get(*place));
            access.zip(known).is_some_and(|(access, known)| {
                shapes.iter().any(|shape| (shape.0, shape.2) == (access.action, known.kind))
            })
        };
        let called: Vec<usize> = called.into_iter().filter(is_asked).collect();
        if called.is_empty() && has_called {
            return Ok(Some(Flaw::Dead(Dead::NoResource)));
        }
        if callers.is_empty() || called.is_empty() {
            return Ok(None);
        }
        // What others are called is not known.
        if by_name && called.iter().any(|place| self.survey.access(*place).is_some_and(|one| one.any_other)) {
            return Ok(None);
        }
        match self.is_satisfied(statement, body, (&callers, &called))? {
            Satisfied::Never => return Ok(Some(Flaw::Dead(Dead::NoPair))),
            Satisfied::Untold(pairs) => return Ok(Some(Flaw::Untold { pairs })),
            Satisfied::Once if statement.effect == Effect::Permit => {}
            Satisfied::Once => return Ok(None),
        }
        self.forbidden(statement, (&callers, &called))
    }

    /// Whether some pair can satisfy it.
    fn is_satisfied(
        &self,
        statement: &Arc<Statement>,
        body: &pst::Template,
        (callers, called): (&[usize], &[usize]),
    ) -> Result<Satisfied, EntityFault> {
        let first_of = |known: &[Known], places: &[usize], side| {
            let mut looked = Looked::default();
            looked.extend(reads::all(body, side, None));
            let mut seen = HashSet::new();
            let seen_first = |place: &&usize| {
                known.get(**place).is_some_and(|one| seen.insert(looked.seen(&one.uid, &one.entities)))
            };
            places.iter().filter(seen_first).copied().collect::<Vec<usize>>()
        };
        let callers = first_of(self.survey.callers(), callers, Side::Principal);
        let called = first_of(self.survey.called(), called, Side::Resource);
        let pairs = called.iter().flat_map(|called| callers.iter().map(move |caller| (*caller, *called)));
        let mut pairs = pairs.take(MAX_TRIED);
        // Most policies are satisfied by the first pair; those that are not are worth trying many at once.
        for share in [1, 15, MAX_TRIED] {
            let some: Vec<(usize, usize)> = pairs.by_ref().take(share).collect();
            let is_false = |outlook: &Outlook| !outlook.is_of(&statement.id);
            if !self.survey.alone(&some, statement)?.iter().all(is_false) {
                return Ok(Satisfied::Once);
            }
        }
        let pairs = callers.len().saturating_mul(called.len());
        Ok(if pairs <= MAX_TRIED { Satisfied::Never } else { Satisfied::Untold(pairs) })
    }

    /// What forbids all that a permit permits, if that is so.
    fn forbidden(
        &self,
        statement: &Arc<Statement>,
        (callers, called): (&[usize], &[usize]),
    ) -> Result<Option<Flaw>, EntityFault> {
        let pairs = called.iter().flat_map(|called| callers.iter().map(move |caller| (*caller, *called)));
        let mut pairs = pairs.take(MAX_FORBIDDEN);
        let mut by: HashSet<Arc<str>> = HashSet::new();
        for share in [1, 15, MAX_FORBIDDEN] {
            let some: Vec<(usize, usize)> = pairs.by_ref().take(share).collect();
            for outlook in self.survey.together(&some)? {
                if !outlook.is_of(&statement.id) {
                    continue;
                }
                let refusing = || outlook.refusals.iter().filter(|id| !is_of_program(id));
                if refusing().next().is_none() {
                    return Ok(None);
                }
                by.extend(refusing().cloned());
            }
        }
        if by.is_empty() || callers.len() * called.len() > MAX_FORBIDDEN {
            return Ok(None);
        }
        let mut by: Vec<Arc<str>> = by.into_iter().collect();
        by.sort_unstable();
        Ok(Some(Flaw::Forbidden { by }))
    }

    /// The places of what has all that a policy insists on.
    fn fitting(&self, statement: &Statement, side: Side, counts: impl Fn(&Key) -> bool) -> Vec<usize> {
        let (known, by_key) = match side {
            Side::Principal => (self.survey.callers(), &self.callers),
            Side::Resource => (self.survey.called(), &self.called),
        };
        let keys = statement.scope.iter().chain(&statement.conditions).filter(|key| counts(key));
        let lists = keys.map(|key| {
            self.index.number(key).and_then(|id| by_key.get(&id)).map(Vec::as_slice).unwrap_or_default()
        });
        let rarest = lists.min_by_key(|list| list.len());
        let fits = |place: &usize| {
            known.get(*place).is_some_and(|one| self.index.fits(statement, &one.holding, &counts))
        };
        match rarest {
            Some(list) => list.iter().copied().filter(fits).collect(),
            None => (0..known.len()).collect(),
        }
    }
}

/// Whether a policy is no object's: what it forbids, such as what is quarantined, passes.
pub(super) fn is_of_program(id: &str) -> bool {
    id.strip_prefix(RESERVED_NAMESPACE).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether a policy permits or forbids, and no more: it asks nobody, changes nothing, counts nothing, is not only tried, and is an object's.
fn is_plain(statement: &Statement) -> bool {
    statement.asks.is_none()
        && statement.changes.is_none()
        && statement.limits.is_none()
        && !statement.observes
        && !statement.lets_pass
        && !is_of_program(&statement.id)
}

fn by_key(known: &[Known]) -> HashMap<KeyId, Vec<usize>> {
    let mut all: HashMap<KeyId, Vec<usize>> = HashMap::new();
    for (place, one) in known.iter().enumerate() {
        for key in one.holding.ids() {
            all.entry(key).or_default().push(place);
        }
    }
    all
}

/// The actions and the types of principal and resource that a policy may be about.
fn shapes(statement: &Statement) -> Vec<(Action, EntityKind, EntityKind)> {
    let is_one = |side: Side, kind: EntityKind| {
        statement.scope.iter().all(
            |key| !matches!(key.named(), Some((of, _, true)) if key.side() == side && of != kind.as_str()),
        )
    };
    let mut shapes = Vec::new();
    for action in Action::ALL.into_iter().filter(|action| statement.actions.contain(*action)) {
        for resource in resources(action) {
            for principal in [EntityKind::Agent, EntityKind::Service] {
                let fits = statement.applies_to(principal, *resource)
                    && is_one(Side::Principal, principal)
                    && is_one(Side::Resource, *resource);
                if fits {
                    shapes.push((action, principal, *resource));
                }
            }
        }
    }
    shapes
}

const fn resources(action: Action) -> &'static [EntityKind] {
    match action {
        Action::InvokeTool => &[EntityKind::Tool],
        Action::ReadResource => &[EntityKind::Resource],
        Action::GetPrompt => &[EntityKind::Prompt],
        Action::ConnectServer => &[EntityKind::McpServer],
        Action::CallAgent => &[EntityKind::Agent, EntityKind::Skill],
        Action::CallModel => &[EntityKind::Model],
        Action::ListModels => &[EntityKind::LlmProvider],
    }
}

/// Without the condition by which a policy on any action is kept to its namespace: of kernel actions that is about the principal, and says
/// nothing of who calls.
fn without_narrowing(body: &pst::Template) -> pst::Template {
    let is_narrowing = |clause: &Clause| match clause {
        Clause::When(condition) => match &**condition {
            Expr::BinaryOp { op: BinaryOp::Or, left, right } => {
                let about = |expr: &Expr, var: Var| match expr {
                    Expr::BinaryOp { op: BinaryOp::In, left, .. } => {
                        matches!(&**left, Expr::Var(of) if *of == var)
                    }
                    _ => false,
                };
                let kernel = tree::conjuncts(right);
                about(left, Var::Resource) && kernel.first().is_some_and(|first| about(first, Var::Action))
            }
            _ => false,
        },
        Clause::Unless(_) => false,
    };
    match body.clauses().split_first() {
        Some((first, rest)) if is_narrowing(first) => {
            body.clone().try_with_clauses(rest.to_vec()).unwrap_or_else(|_| body.clone())
        }
        _ => body.clone(),
    }
}

/// Whether a permit leaves two of the three open: who, what is done, to what. A policy of one namespace is about what is in that.
fn broad(body: &pst::Template) -> Option<Flaw> {
    let as_written = without_narrowing(body);
    let is_open = |side| {
        let reads =
            reads::all(if side == Side::Principal { &as_written } else { body }, side, None::<&EntityUid>);
        // Whether somebody is quarantined says nothing of who it is.
        reads.iter().all(|read| matches!(read, Read::Attribute(name) if &**name == "quarantined"))
    };
    let of_type = matches!(body.resource, ResourceConstraint::Is(_) | ResourceConstraint::IsIn(..));
    let (anybody, anything) = (is_open(Side::Principal), is_open(Side::Resource));
    let any_action = matches!(body.action, ActionConstraint::Any) && !of_type;
    let open = [anybody, any_action, anything].into_iter().filter(|open| *open).count();
    (open >= 2).then_some(Flaw::Broad { anybody, any_action, anything })
}
