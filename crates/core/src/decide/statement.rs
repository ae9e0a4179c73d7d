//! One Cedar policy of a `Policy` object, with what the index, the edges and the explanations need to know of it.

mod actions;
mod form;
mod lazy;
mod narrowed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use cedar_policy::pst::{self, Clause, EntityOrSlot, Expr, Literal, PrincipalConstraint, ResourceConstraint};
use cedar_policy::{Effect, EntityId, EntityUid, PolicyId};

use super::annotation::{self, Misannotated};
use super::chain_reads::ChainReads;
use super::changes;
use super::facts::{AttributeReference, ContextReference};
use super::guarding;
use super::index::{Key, Side};
use super::keeping;
use super::limiting;
use super::membership::{self, Granting, NotBound, Unclear};
use super::pace::Pace;
use super::schema;
use super::tree;
use super::trust;
use crate::approval::Requirement;
use crate::call::Action;
use crate::caller::UnixMillis;
use crate::decision::Says;
use crate::entity::EntityKind;
use crate::guard::Guarding;
use crate::interned::Interned;
use crate::keep::Keep;
use crate::obligation::{Change, Obligation};
use crate::resource::plan::Plan;
use crate::resource::policy::{Members, Scope};
use crate::resource::window::Window;
use crate::resource::{Limit, OwnGuard};

pub(crate) use self::actions::Actions;
pub(crate) use self::lazy::LazyPolicy;
use self::narrowed::narrowed;

/// A compiled policy.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) id: Arc<str>,
    /// Narrowed to its namespace where the object is not cluster-wide; its Cedar id is `id`.
    pub(crate) policy: LazyPolicy,
    pub(crate) effect: Effect,
    pub(crate) actions: Actions,
    /// The type that the scope asks for, on each side.
    principal_type: Option<Box<str>>,
    resource_type: Option<Box<str>>,
    /// What the scope asks for: each must hold, or the policy does not apply.
    pub(crate) scope: Vec<Key>,
    /// What the conditions ask for before anything that could fail: each must hold, or the policy is false.
    pub(crate) conditions: Vec<Key>,
    /// How many parts its conditions have, its window left out: what it costs where it is evaluated.
    pub(crate) nodes: usize,
    /// The entities that it names, without actions; sorted.
    literals: Box<[Arc<EntityUid>]>,
    /// Names without a namespace by which it grants something.
    pub(crate) granting: Box<[Granting]>,
    pub(crate) references: Box<[Arc<AttributeReference>]>,
    /// `@reason("…")`: what a caller is told who is refused by it.
    pub(crate) reason: Option<Arc<str>>,
    /// `@approval("…")` of a forbid: what it asks of people.
    pub(crate) asks: Option<Arc<Requirement>>,
    /// `@redact("…")` and the like of a forbid: what it changes of the calls that it is about, instead of refusing them; sorted.
    pub(crate) changes: Option<Arc<[Obligation]>>,
    /// `@guard("…")` of a forbid: what lifts it, once it looked.
    pub(crate) guards: Option<Guarding>,
    /// `@limit("…")` of a forbid: what the calls count for that it is about, instead of being refused; sorted by their ids.
    pub(crate) limits: Option<Arc<[Arc<Limit>]>>,
    /// `@keep("…")` of a permit: what records keep of the calls that it permits.
    pub(crate) keeps: Keep,
    /// It is only tried: it neither allows nor refuses.
    pub(crate) observes: bool,
    /// It permits nothing by itself: what no other permits it lets pass until its window ends (`mode: rollout`).
    pub(crate) lets_pass: bool,
    /// Whether some condition looks at `context.approval`.
    pub(crate) looks_at_approval: bool,
    /// `@ends_chain`: a call that it refuses ends its chain.
    pub(crate) ends_chain: bool,
    /// What it looks at of what is counted over several calls.
    pub(crate) chain_reads: ChainReads,
    /// When it is looked at again, where it looks at the time beside its window.
    pub(crate) pace: Option<Pace>,
    /// Less `trust_score` could make it allow more.
    pub(crate) loosens: bool,
    /// Of a permit with a window: few have one, and it is large.
    pub(crate) windowed: Option<Box<Windowed>>,
}

/// A permit that permits in its window only: what it is without, and the window. `Statement::policy` says both in Cedar; on an edge the
/// window is looked at by itself. The changes of a zone's clocks over fifty years take Cedar some 40 kB to say, which would be evaluated,
/// and shown, for each edge.
#[derive(Clone, Debug)]
pub(crate) struct Windowed {
    /// The same policy without the window.
    policy: LazyPolicy,
    pub(crate) window: Arc<Window>,
    /// What of the context the window is about.
    pub(crate) references: Arc<[ContextReference]>,
}

impl Windowed {
    /// Appends the window to `body`.
    fn new(body: &mut pst::Template, window: &Window) -> Result<Self, NotCompiled> {
        let (policy, _) = LazyPolicy::new(body)?;
        let condition = parsed(&window.condition())?;
        let clauses = condition.body().clauses();
        let references = clauses.iter().flat_map(|clause| {
            let (Clause::When(expr) | Clause::Unless(expr)) = clause;
            ContextReference::all(expr)
        });
        let references = references.collect();
        *body = with(body, clauses)?;
        Ok(Self { policy, window: Arc::new(window.clone()), references })
    }
}

/// How far a policy reaches, and whose names it speaks of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach<'a> {
    pub(crate) scope: Scope,
    /// Of the policy.
    pub(crate) namespace: &'a str,
    pub(crate) members: &'a Members,
    /// When what it permits is permitted.
    pub(crate) window: Option<&'a Window>,
    /// Which calls it permits of those that it would.
    pub(crate) plan: Option<&'a Plan>,
    /// What its object declares.
    pub(crate) limits: &'a [Arc<Limit>],
    /// The guards that it declares.
    pub(crate) guards: &'a [Arc<OwnGuard>],
}

/// Why a parsed and validated policy is not compiled.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum NotCompiled {
    /// Cedar could not rebuild what it had parsed.
    #[error("the policy cannot be narrowed to its namespace: {0}")]
    Fault(String),
    #[error(transparent)]
    Unclear(Unclear),
    #[error(transparent)]
    Misannotated(#[from] Misannotated),
    #[error("the window says a day or an hour, which is known of calls, and of names no time is known")]
    Windowed,
    #[error("a plan is of calls of tools, and this permits something else as well")]
    Planned,
    #[error(
        "who may bear a name, or register an object, is said by a cluster-wide policy, and nothing else in the same"
    )]
    Registers,
}

impl From<NotBound> for NotCompiled {
    fn from(why: NotBound) -> Self {
        match why {
            NotBound::Unclear(unclear) => Self::Unclear(unclear),
            NotBound::Fault(reason) => Self::Fault(reason),
        }
    }
}

/// Whether a permit of these actions cannot hold for a window only.
fn is_lasting(actions: Actions, window: &Window) -> bool {
    actions.of_registration() || actions.of_people(None) && window.is_of_calls()
}

impl Statement {
    /// Compiles a parsed and validated policy.
    pub(crate) fn compile(
        policy: &cedar_policy::Policy,
        id: Arc<str>,
        reach: Reach<'_>,
    ) -> Result<Self, NotCompiled> {
        let Reach { scope, namespace, members, window, plan, limits, guards } = reach;
        let fault = |error: pst::PstConstructionError| NotCompiled::Fault(error.to_string());
        let pst = policy.new_id(PolicyId::new(&id)).to_pst().map_err(fault)?;
        let actions = Actions::of(&pst.body().action);
        let (mut body, granting) = match actions {
            // What it is about is the name itself, or what an object says of itself.
            _ if actions.are_only_of_registration() && scope == Scope::Cluster => {
                (pst.body().clone(), BTreeSet::new())
            }
            _ if actions.of_registration() => return Err(NotCompiled::Registers),
            _ => membership::bound(pst.body().clone(), policy.effect(), namespace, members)?,
        };
        let mut scope_keys = scope_keys(&body);
        if scope == Scope::Namespace {
            body = narrowed(&body, actions, namespace).map_err(fault)?;
            // Kernel actions are narrowed by the principal instead, and never come through the gateway's index.
            scope_keys.push(Key::member(Side::Resource, "Namespace", namespace));
        }
        let window = window.filter(|_| policy.effect() == Effect::Permit);
        if window.is_some_and(|window| is_lasting(actions, window)) {
            return Err(NotCompiled::Windowed);
        }
        if let Some(plan) = plan.filter(|_| policy.effect() == Effect::Permit) {
            if !actions.are_only(Action::InvokeTool) {
                return Err(NotCompiled::Planned);
            }
            body = with(&body, parsed(&plan.condition())?.body().clauses())?;
        }
        body = form::shared(&body).map_err(fault)?;
        let pace = Pace::of_policy(&body);
        let nodes = nodes(body.clauses());
        // Last, so that it is looked at where everything else holds.
        let windowed = window.map(|window| Windowed::new(&mut body, window)).transpose()?.map(Box::new);
        let (lazy, whole) = LazyPolicy::new(&body)?;
        let asks = annotation::requirement(policy, (&whole, actions), &id)?;
        let changes = changes::of(policy, actions, (&id, guards))?;
        let keeps = keeping::of(policy, actions)?;
        let guards = guarding::of(policy, actions, guards)?;
        let limits = limiting::of(policy, (&body, actions), limits)?;
        let policy = whole;
        Ok(Self {
            asks,
            changes,
            guards,
            keeps,
            limits,
            observes: false,
            lets_pass: false,
            looks_at_approval: annotation::looks_at_approval(&body),
            reason: policy.annotation("reason").filter(|text| !text.is_empty()).map(Arc::from),
            ends_chain: policy.effect() == Effect::Forbid && policy.annotation("ends_chain").is_some(),
            chain_reads: ChainReads {
                ends: policy.annotation("ends_chain").is_some(),
                ..ChainReads::of_policy(&body)
            },
            pace,
            loosens: trust::loosens(&body, policy.effect()),
            windowed,
            effect: policy.effect(),
            actions,
            principal_type: principal_type(&body.principal),
            resource_type: resource_type(&body.resource),
            scope: kept(scope_keys),
            conditions: kept(condition_keys(body.clauses())),
            nodes,
            literals: literals(&body),
            references: AttributeReference::all(&body),
            granting: granting.into_iter().collect(),
            id,
            policy: lazy,
        })
    }

    /// The same under another id.
    pub(crate) fn under(&self, id: Arc<str>) -> Self {
        let asks = self.asks.as_ref().map(|asks| Requirement { policy: id.clone(), ..(**asks).clone() });
        let under = |one: &Obligation| Obligation { policy: id.clone(), ..one.clone() };
        let changes = self.changes.as_ref().map(|changes| changes.iter().map(under).collect());
        let policy = self.policy.new_id(PolicyId::new(&id));
        let windowed = self.windowed.as_deref().map(|windowed| Windowed {
            policy: windowed.policy.new_id(PolicyId::new(&id)),
            ..windowed.clone()
        });
        let windowed = windowed.map(Box::new);
        Self { policy, asks: asks.map(Arc::new), changes, windowed, id, ..self.clone() }
    }

    /// The entities that it names, each once.
    pub(crate) fn literals(&self) -> impl Iterator<Item = &EntityUid> + Clone {
        self.literals.iter().map(|uid| &**uid)
    }

    /// The policy without its window, which is looked at by itself.
    pub(crate) fn at_all_times(&self) -> &LazyPolicy {
        self.windowed.as_ref().map_or(&self.policy, |windowed| &windowed.policy)
    }

    /// Whether it says anything at a time: a permit outside of its window does not.
    pub(crate) fn is_open(&self, at: UnixMillis) -> bool {
        self.windowed.as_ref().is_none_or(|windowed| windowed.window.is_open(at))
    }

    /// What it says of a call by which it is satisfied.
    pub(crate) fn says(&self) -> Says {
        match self.effect {
            Effect::Permit => Says::Permitted,
            Effect::Forbid if self.asks.is_some() => Says::Held,
            Effect::Forbid if self.changes.is_some() => Says::Changed,
            Effect::Forbid if self.limits.is_some() => Says::Limited,
            Effect::Forbid => Says::Refused,
        }
    }

    /// Whether it refuses anything.
    pub(crate) fn refuses(&self) -> bool {
        self.effect == Effect::Forbid && !self.observes
    }

    /// What it demands of answers: that something of them is redacted, or looked at.
    pub(crate) fn of_answers(&self) -> impl Iterator<Item = &Change> {
        let changes = self.changes.iter().flat_map(|changes| changes.iter().map(|one| &one.change));
        changes.filter(|change| !self.observes && !change.is_of_request())
    }

    /// Whether the types of the scope fit.
    pub(crate) fn applies_to(&self, principal: EntityKind, resource: EntityKind) -> bool {
        let fits = |wanted: &Option<Box<str>>, kind: EntityKind| {
            wanted.as_deref().is_none_or(|w| w == kind.as_str())
        };
        fits(&self.principal_type, principal) && fits(&self.resource_type, resource)
    }
}

/// A policy with the condition that keeps a permit to its window, or to its plan.
fn parsed(condition: &str) -> Result<pst::Policy, NotCompiled> {
    let text = format!("permit (principal, action, resource) when {{ {condition} }};");
    let parsed = cedar_policy::Policy::parse(None, text);
    let parsed = parsed.map_err(|error| NotCompiled::Fault(error.to_string()))?;
    parsed.to_pst().map_err(|error| NotCompiled::Fault(error.to_string()))
}

/// The same with these conditions after its own.
fn with(body: &pst::Template, more: &[Clause]) -> Result<pst::Template, NotCompiled> {
    let clauses: Vec<Clause> = body.clauses().iter().chain(more).cloned().collect();
    body.clone().try_with_clauses(clauses).map_err(|error| NotCompiled::Fault(error.to_string()))
}

/// The head of a policy alone: whom, what and where it is about, without conditions and annotations.
pub(crate) fn head(policy: &cedar_policy::Policy) -> Result<cedar_policy::Policy, NotCompiled> {
    let fault = |error: pst::PstConstructionError| NotCompiled::Fault(error.to_string());
    let body = policy.to_pst().map_err(fault)?.body().clone();
    let body = body.with_annotations(BTreeMap::new()).try_with_clauses(Vec::new()).map_err(fault)?;
    LazyPolicy::new(&body).map(|(_, policy)| policy)
}

fn principal_type(constraint: &PrincipalConstraint) -> Option<Box<str>> {
    match constraint {
        PrincipalConstraint::Any | PrincipalConstraint::Eq(_) | PrincipalConstraint::In(_) => None,
        PrincipalConstraint::Is(ty) | PrincipalConstraint::IsIn(ty, _) => Some(ty.to_string().into()),
    }
}

fn resource_type(constraint: &ResourceConstraint) -> Option<Box<str>> {
    match constraint {
        ResourceConstraint::Any | ResourceConstraint::Eq(_) | ResourceConstraint::In(_) => None,
        ResourceConstraint::Is(ty) | ResourceConstraint::IsIn(ty, _) => Some(ty.to_string().into()),
    }
}

/// There are as many statements as somebody writes: what is kept takes no more room than it needs.
fn kept(keys: Vec<Key>) -> Vec<Key> {
    let mut keys: Vec<Key> = keys.into_iter().map(Key::shared).collect();
    keys.shrink_to_fit();
    keys
}

fn scope_keys(body: &pst::Template) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut push = |side: Side, entity: &EntityOrSlot, exact: bool| {
        if let EntityOrSlot::Entity(uid) = entity {
            let ty = uid.ty.to_string();
            keys.push(if exact {
                Key::itself(side, &ty, &uid.eid)
            } else {
                Key::member(side, &ty, &uid.eid)
            });
        }
    };
    match &body.principal {
        PrincipalConstraint::Any | PrincipalConstraint::Is(_) => {}
        PrincipalConstraint::Eq(entity) => push(Side::Principal, entity, true),
        PrincipalConstraint::In(entity) | PrincipalConstraint::IsIn(_, entity) => {
            push(Side::Principal, entity, false);
        }
    }
    match &body.resource {
        ResourceConstraint::Any | ResourceConstraint::Is(_) => {}
        ResourceConstraint::Eq(entity) => push(Side::Resource, entity, true),
        ResourceConstraint::In(entity) | ResourceConstraint::IsIn(_, entity) => {
            push(Side::Resource, entity, false);
        }
    }
    keys
}

/// Constants that conditions ask for, up to the first condition that could fail.
fn condition_keys(clauses: &[Clause]) -> Vec<Key> {
    let mut keys = Vec::new();
    for clause in clauses {
        match clause {
            Clause::When(condition) => {
                for conjunct in tree::conjuncts(condition) {
                    if tree::may_fail(conjunct) {
                        return keys;
                    }
                    keys.extend(Key::from_condition(conjunct));
                }
            }
            Clause::Unless(condition) if tree::may_fail(condition) => return keys,
            Clause::Unless(_) => {}
        }
    }
    keys
}

fn nodes(clauses: &[Clause]) -> usize {
    let mut nodes = 0;
    for clause in clauses {
        let (Clause::When(condition) | Clause::Unless(condition)) = clause;
        tree::walk(condition, &mut |_| nodes += 1);
    }
    nodes
}

fn literals(body: &pst::Template) -> Box<[Arc<EntityUid>]> {
    let mut found: Vec<pst::EntityUID> = Vec::new();
    let mut add = |entity: &EntityOrSlot| {
        if let EntityOrSlot::Entity(uid) = entity {
            found.push(uid.clone());
        }
    };
    match &body.principal {
        PrincipalConstraint::Any | PrincipalConstraint::Is(_) => {}
        PrincipalConstraint::Eq(e) | PrincipalConstraint::In(e) | PrincipalConstraint::IsIn(_, e) => add(e),
    }
    match &body.resource {
        ResourceConstraint::Any | ResourceConstraint::Is(_) => {}
        ResourceConstraint::Eq(e) | ResourceConstraint::In(e) | ResourceConstraint::IsIn(_, e) => add(e),
    }
    for clause in body.clauses() {
        let (Clause::When(condition) | Clause::Unless(condition)) = clause;
        tree::walk(condition, &mut |e| {
            if let Expr::Literal(Literal::EntityUID(uid)) = e {
                found.push(uid.clone());
            }
        });
    }
    found.retain(|uid| !membership::is_unlawful(&uid.eid));
    let mut uids: Vec<EntityUid> = found.iter().filter_map(entity_uid).collect();
    uids.sort();
    uids.dedup();
    uids.into_iter().map(shared).collect()
}

/// The same (120 bytes), as other policies have it, and what this one looks at.
pub(crate) fn shared(uid: EntityUid) -> Arc<EntityUid> {
    static KNOWN: LazyLock<Interned<EntityUid>> = LazyLock::new(Interned::default);
    let length = uid.id().unescaped().len();
    KNOWN.share(Arc::new(uid), length)
}

/// As the evaluator's type; actions are not entities of the registry and are left out.
pub(crate) fn entity_uid(uid: &pst::EntityUID) -> Option<EntityUid> {
    let ty = schema::type_name(&uid.ty.to_string())?;
    (ty.basename() != "Action").then(|| EntityUid::from_type_name_and_id(ty, EntityId::new(&uid.eid)))
}

#[cfg(test)]
mod tests;
