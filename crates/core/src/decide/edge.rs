//! Everything that policies say about one edge, which is a principal, an action and a resource: what is the same for each call
//! on it (static), and what depends on the context of the call (residual).

mod acted;
mod answer;
mod foreseen;
mod left;
mod limited;
mod windowed;

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{
    Effect, Entities, EntityUid, PartialEntities, PartialEntityUid, PartialRequest, PolicySet,
};

pub(crate) use self::acted::OfClass;
use self::answer::{StaticOutcome, sorted, with_context};
use self::limited::Limiting;
use super::deciding::Deciding;
use super::entities::{EntityFault, EntitySlice};
use super::facts::{AttributeReference, ContextReference};
use super::index::Index;
use super::plain;
use super::residual::Expression;
use super::residual::evaluate::Failed;
use super::residual::possible::Possible;
use super::schema::schema;
use super::statement::Statement;
use super::view::{self, Asked};
use crate::approval::Requirement;
use crate::call::{Arguments, Call};
use crate::decision::{Fact, Finding, Outcome, Says, Tried};
use crate::obligation::{self, Obligation};
use crate::refusal::Code;
use crate::resource::Limit;
use crate::resource::window::Window;
use crate::snapshot::registered::Registered;

/// How many of the closest permits a denial by default names.
pub(crate) const MAX_CLOSEST_PERMITS: usize = 8;

/// Stands for the policies when an edge could not be evaluated at all.
pub(crate) const FAULT: &str = "vidimus/fault";

/// How a policy is evaluated per call.
#[derive(Debug)]
enum Condition {
    Native(Expression),
    /// By Cedar itself, on the whole policy.
    Cedar {
        policy: Box<PolicySet>,
        entities: Arc<Entities>,
        on_arguments: bool,
        /// The arguments that it may look at.
        asked: Box<[Asked]>,
    },
    /// Whether one of these acted before the caller, and no person approved the call where that lifts it.
    Acted(OfClass),
}

/// A policy whose outcome depends on the context.
#[derive(Debug)]
struct Residual {
    id: Arc<str>,
    effect: Effect,
    condition: Condition,
    /// Of principal and resource.
    facts: Box<[Fact]>,
    references: Box<[ContextReference]>,
    reason: Option<Arc<str>>,
    /// What it says where it is satisfied.
    says: Says,
    /// Of a forbid that an approval may lift.
    asks: Option<Arc<Requirement>>,
    /// Of a forbid that changes calls instead of refusing them.
    changes: Option<Arc<[Obligation]>>,
    /// Of a forbid by which calls count for limits instead of being refused.
    limits: Option<Arc<[Arc<Limit>]>>,
    /// Of a permit, when it permits what fulfils its condition.
    window: Option<Arc<Window>>,
}

/// A compiled edge.
#[derive(Debug, Default)]
pub(crate) struct Edge {
    permits: StaticOutcome,
    forbids: StaticOutcome,
    /// What those of `forbids` ask of people that do, sorted by policy.
    asking: Arc<[Arc<Requirement>]>,
    /// Whether some of `forbids` asks nobody.
    refuses: bool,
    /// The forbids that change calls, with what they demand, sorted.
    changing: StaticOutcome,
    demands: Arc<[Obligation]>,
    /// The forbids by which calls count for limits.
    limiting: Limiting,
    errors: StaticOutcome,
    /// Sorted by id.
    residuals: Box<[Residual]>,
    /// What of the policies that are only tried does not depend on the context, sorted.
    tried: Arc<[Tried]>,
    /// Those of them that do.
    trials: Box<[Residual]>,
    /// What a denial by default names: residual permits first, then permits that the edge itself falls short of.
    closest_permits: StaticOutcome,
    /// The places in `residuals` of those that are among `closest_permits`.
    closest_residuals: Box<[usize]>,
}

impl Edge {
    /// Compiles the edge that `call` is on. Fails closed: an edge that cannot be evaluated denies.
    pub(crate) fn compile(index: &Index, registered: &Registered, call: &Call<'_>) -> Self {
        Compilation::new(index, registered, call).and_then(|compilation| compilation.edge()).unwrap_or_else(
            |fault| {
                let facts = [(Arc::from("fault"), Arc::from(super::facts::shorten(&fault.to_string())))];
                let errors = StaticOutcome {
                    policies: Arc::new([FAULT.into()]),
                    facts: Arc::new(facts),
                    reason: None,
                };
                Self { errors, ..Self::default() }
            },
        )
    }

    /// The decision: a policy that fails denies, then a forbid that asks nobody, then a policy that looks at an argument which it cannot
    /// see, then a limit into which it does not fit; then a permit allows, or where a forbid asks people, the call is held; otherwise it is
    /// denied by default. What is allowed or held is changed as those forbids demand that change calls instead of refusing them.
    ///
    /// Every residual is evaluated: whether some policy fails must not depend on the order.
    pub(crate) fn decide(&self, call: &Deciding<'_>) -> Finding {
        let found = self.decided(call);
        if self.tried.is_empty() && self.trials.is_empty() {
            return found;
        }
        let of_call: Arc<[Tried]> = self.trials.iter().filter_map(|trial| trial.tried(call)).collect();
        found.and_tried(&self.tried).and_tried(&of_call)
    }

    fn decided(&self, call: &Deciding<'_>) -> Finding {
        let (mut permits, mut forbids) = (Vec::new(), Vec::new());
        let (mut errors, mut unseen) = (Vec::new(), Vec::new());
        let mut refused = self.refuses;
        let (mut changing, mut limiting) = (Vec::new(), Vec::new());
        for residual in &self.residuals {
            match (residual.outcome(call), residual.effect) {
                (Ok(false), _) => {}
                (Ok(true), Effect::Permit) => permits.push(residual),
                (Ok(true), Effect::Forbid) if residual.changes.is_some() => changing.push(residual),
                (Ok(true), Effect::Forbid) if residual.limits.is_some() => limiting.push(residual),
                (Ok(true), Effect::Forbid) => {
                    refused |= residual.asks.is_none();
                    forbids.push(residual);
                }
                (Err(Failed::Evaluation), _) => errors.push(residual),
                (Err(Failed::Unseen), _) => unseen.push(residual),
            }
        }
        let found = if !errors.is_empty() || !self.errors.policies.is_empty() {
            self.errors.answer(Outcome::Deny, Some(Code::PolicyError), &errors, call)
        } else if refused {
            self.forbids.answer(Outcome::Deny, Some(Code::ForbiddenByPolicy), &forbids, call)
        } else if !unseen.is_empty() {
            StaticOutcome::default().answer(Outcome::Deny, Some(Code::Unrepresentable), &unseen, call)
        } else if let Some(spent) = self.limiting.spent(&limiting, call) {
            spent
        } else if !permits.is_empty() || !self.permits.policies.is_empty() {
            match forbids.is_empty() && self.asking.is_empty() {
                true => self.permits.answer(Outcome::Allow, None, &permits, call),
                false => self.held(&forbids, call),
            }
        } else if forbids.is_empty() && self.asking.is_empty() {
            self.deny_by_default(call)
        } else {
            self.deny_by_default(call).asking(&self.held(&forbids, call))
        };
        let found = self.limiting.noted(found, &limiting, call);
        if changing.is_empty() && self.demands.is_empty() {
            found
        } else {
            self.changed(found, &changing, call)
        }
    }

    /// What is found, with what the forbids demand that is changed.
    fn changed(&self, found: Finding, changing: &[&Residual], call: &Deciding<'_>) -> Finding {
        let of_call = changing.iter().filter_map(|residual| residual.changes.as_ref());
        let demands = match changing {
            [] => self.demands.clone(),
            _ => obligation::united(self.demands.iter().chain(of_call.flat_map(|all| all.iter()))),
        };
        let references = changing.iter().flat_map(|residual| &residual.references);
        let facts = with_context(&self.changing.facts, changing, references, call);
        found.changed(&demands, &facts)
    }

    /// What is found where every forbid that is satisfied asks for the approval of a person.
    fn held(&self, forbids: &[&Residual], call: &Deciding<'_>) -> Finding {
        let of_call = forbids.iter().filter_map(|residual| residual.asks.as_ref());
        let mut asking: Vec<Arc<Requirement>> = self.asking.iter().chain(of_call).cloned().collect();
        asking.sort_unstable();
        let found = self.forbids.answer(Outcome::Hold, Some(Code::ApprovalRequired), forbids, call);
        Finding { asking: asking.into(), ..found }
    }

    fn deny_by_default(&self, call: &Deciding<'_>) -> Finding {
        let closest = self.closest_residuals.iter().filter_map(|place| self.residuals.get(*place));
        let references = closest.flat_map(|residual| &residual.references);
        let facts = with_context(&self.closest_permits.facts, &[], references, call);
        Finding {
            outcome: Outcome::Deny,
            code: Some(Code::NoPermit),
            policies: Arc::default(),
            closest_permits: self.closest_permits.policies.clone(),
            facts,
            reason: self.shut(call),
            obligations: Arc::default(),
            limits: Arc::default(),
            asking: Arc::default(),
            tried: Arc::default(),
        }
    }

    /// Whether some arguments could be allowed, where the call's are unknown.
    pub(crate) fn could_allow(&self, call: &Deciding<'_>) -> bool {
        self.possible_permits(call, true).is_some()
    }

    /// The same of a call under way: it has the approvals that it has, and may not wait for others.
    pub(crate) fn could_go_on(&self, call: &Deciding<'_>) -> bool {
        self.asking.is_empty() && self.possible_permits(call, false).is_some()
    }

    /// What allows the call for some arguments, where the call's are unknown; `None` where nothing does.
    pub(crate) fn possible_allowance(&self, call: &Deciding<'_>) -> Option<Finding> {
        let permits = self.possible_permits(call, true)?;
        let found = self.permits.answer(Outcome::Allow, None, &permits, call);
        let may_change = |residual: &&Residual| residual.changes.is_some() && residual.possible(call).holds;
        let changing: Vec<&Residual> = self.residuals.iter().filter(may_change).collect();
        let unchanged = changing.is_empty() && self.demands.is_empty();
        Some(if unchanged { found } else { self.changed(found, &changing, call) })
    }

    /// The residual permits that some arguments could satisfy; `None` where no arguments could be allowed. `may_wait`: for a person.
    fn possible_permits(&self, call: &Deciding<'_>, may_wait: bool) -> Option<Vec<&Residual>> {
        if !self.errors.policies.is_empty() || self.refuses {
            return None;
        }
        let mut permits = Vec::new();
        for residual in &self.residuals {
            let possible = residual.possible(call);
            let harmless = match residual.effect {
                Effect::Permit => possible.holds || possible.fails_to_hold,
                // What an approval may lift, or a change, could be allowed.
                Effect::Forbid => {
                    let may_be_lifted = match residual.says {
                        Says::Refused => false,
                        Says::Held => may_wait,
                        Says::Permitted | Says::Changed | Says::Limited => true,
                    };
                    possible.fails_to_hold || possible.holds && may_be_lifted
                }
            };
            if !harmless {
                return None;
            }
            if residual.effect == Effect::Permit && possible.holds {
                permits.push(residual);
            }
        }
        (!permits.is_empty() || !self.permits.policies.is_empty()).then_some(permits)
    }
}

impl Residual {
    fn outcome(&self, call: &Deciding<'_>) -> Result<bool, Failed> {
        let seen = self.seen(call);
        let call = seen.as_ref().unwrap_or(call);
        match call.ask.arguments {
            Arguments::Recorded(recorded) => self.foreseen(call, recorded),
            _ => Ok(self.at_all_times(call)? && self.is_open(call)),
        }
    }

    /// The outcome whatever its window is, of a call that is not a recorded one.
    fn at_all_times(&self, call: &Deciding<'_>) -> Result<bool, Failed> {
        match &self.condition {
            Condition::Acted(agents) => Ok(self.acted(call, agents)),
            Condition::Native(expression) => expression.holds(call),
            Condition::Cedar { asked, .. } if view::hides_any(asked, call) => Err(Failed::Unseen),
            Condition::Cedar { policy, entities, .. } => plain::holds(policy, entities, call),
        }
    }

    fn acted(&self, call: &Call<'_>, agents: &OfClass) -> bool {
        let is_lifted = self.asks.is_some() && call.approval().is_some();
        !is_lifted && acted::acted(call.chain(), agents)
    }

    /// What it says of a call, where it is only tried.
    fn tried(&self, call: &Deciding<'_>) -> Option<Tried> {
        // What a recorded call comes to does not depend on it.
        let is_recorded = matches!(call.ask.arguments, Arguments::Recorded(_));
        let says = match if is_recorded { Ok(false) } else { self.outcome(call) } {
            Ok(false) => return None,
            Ok(true) => self.says,
            Err(_) => Says::Refused,
        };
        Some(Tried { policy: self.id.clone(), says })
    }

    /// The call as this policy sees it; `None` where that is as every policy does.
    fn seen<'c>(&self, call: &Deciding<'c>) -> Option<Deciding<'c>> {
        let asks = self.asks.as_ref().filter(|_| call.approvals.len() > 1)?;
        Some(call.seen_by(&asks.role))
    }

    fn possible(&self, call: &Deciding<'_>) -> Possible {
        let seen = self.seen(call);
        let call = seen.as_ref().unwrap_or(call);
        match (&self.condition, call.ask.arguments) {
            (Condition::Native(expression), Arguments::Unknown) => {
                self.in_window(expression.possible(call), call)
            }
            (Condition::Cedar { on_arguments: true, .. }, Arguments::Unknown) => {
                self.in_window(Possible::ANY, call)
            }
            (Condition::Native(_) | Condition::Cedar { .. }, Arguments::Recorded(recorded)) => {
                self.possible_of(call, recorded)
            }
            _ => Possible::only(self.outcome(call)),
        }
    }
}

/// The parts of an edge while it is compiled.
struct Compilation<'a> {
    index: &'a Index,
    registered: &'a Registered,
    call: &'a Call<'a>,
    principal: EntityUid,
    resource: EntityUid,
    entities: Arc<Entities>,
    candidates: Vec<&'a Arc<Statement>>,
    closest_permits: Vec<&'a Arc<Statement>>,
}

impl<'a> Compilation<'a> {
    fn new(index: &'a Index, registered: &'a Registered, call: &'a Call<'a>) -> Result<Self, EntityFault> {
        let resource = call.ask.target.entity();
        let kinds = (call.principal().kind(), resource.kind);
        let (principal, resource) =
            (plain::entity_uid(call.principal().entity())?, plain::entity_uid(&resource)?);
        let entities = EntitySlice::of(registered, call.principal(), &call.ask.target, [])?.entities()?;
        let holding = index.holding(&principal, &resource, &entities);
        let mut candidates: Vec<_> = index.candidates(call.ask.action, kinds, &holding).collect();
        candidates.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let closest_permits =
            index.closest_permits(call.ask.action, kinds, &holding, 2 * MAX_CLOSEST_PERMITS);
        let literals = candidates.iter().chain(&closest_permits).flat_map(|statement| statement.literals());
        let entities = match EntitySlice::names_more(registered, literals.clone()) {
            false => entities,
            true => EntitySlice::of(registered, call.principal(), &call.ask.target, literals)?.entities()?,
        };
        let entities = Arc::new(entities);
        Ok(Self { index, registered, call, principal, resource, entities, candidates, closest_permits })
    }

    fn edge(&self) -> Result<Edge, EntityFault> {
        let fault = |reason: String| EntityFault { what: "the edge".to_owned(), reason };
        let mut policies = PolicySet::new();
        for statement in &self.candidates {
            let policy = statement.at_all_times().evaluated().map_err(|e| fault(e.to_string()))?;
            policies.add(policy.clone()).map_err(|e| fault(e.to_string()))?;
        }
        let schema = schema().map_err(|e| fault(e.to_owned()))?;
        let request = PartialRequest::new(
            PartialEntityUid::from_concrete(self.principal.clone()),
            plain::action_uid(self.call.ask.action)?,
            PartialEntityUid::from_concrete(self.resource.clone()),
            None,
            schema,
        );
        let request = request.map_err(|e| fault(e.to_string()))?;
        let entities = PartialEntities::from_concrete((*self.entities).clone(), schema);
        let entities = entities.map_err(|e| fault(e.to_string()))?;
        let response = policies.tpe(&request, &entities, schema).map_err(|e| fault(e.to_string()))?;
        let statements: HashMap<&str, &Arc<Statement>> =
            self.candidates.iter().map(|s| (&*s.id, *s)).collect();
        let find = |id: &cedar_policy::PolicyId| {
            let id: &str = id.as_ref();
            statements.get(id).copied().ok_or_else(|| fault(format!("{id} is not a candidate")))
        };
        let all =
            |ids: Vec<&cedar_policy::PolicyId>| ids.into_iter().map(find).collect::<Result<Vec<_>, _>>();
        let mut tried = Vec::new();
        // Those that decide; what the others say is noted.
        let mut deciding = |statements: Vec<&'a Arc<Statement>>, says: fn(&Statement) -> Says| {
            let (trials, deciding): (Vec<_>, Vec<_>) =
                statements.into_iter().partition(|statement| statement.observes);
            let note = |one: &&Arc<Statement>| Tried { policy: one.id.clone(), says: says(one) };
            tried.extend(trials.iter().map(note));
            deciding
        };
        let failing = response.error_permits().chain(response.error_forbids()).collect();
        let errors = deciding(all(failing)?, |_| Says::Refused);
        let (windowed, permitting): (Vec<_>, Vec<_>) =
            all(response.true_permits().collect())?.into_iter().partition(|one| one.windowed.is_some());
        let permits = self.static_outcome(&deciding(permitting, Statement::says));
        let satisfied = deciding(all(response.true_forbids().collect())?, Statement::says);
        let (limiting, satisfied): (Vec<_>, Vec<_>) =
            satisfied.into_iter().partition(|statement| statement.limits.is_some());
        let (changing, forbidding): (Vec<_>, Vec<_>) =
            satisfied.into_iter().partition(|statement| statement.changes.is_some());
        let demands = changing.iter().filter_map(|statement| statement.changes.as_ref());
        tried.sort_unstable();
        let mut asking: Vec<Arc<Requirement>> =
            forbidding.iter().filter_map(|statement| statement.asks.clone()).collect();
        asking.sort_unstable();
        let mut left: Vec<_> = windowed.into_iter().map(|one| (one, self.whenever(one))).collect();
        for policy in response.residual_policies() {
            let statement = find(policy.id())?;
            let residual = self.residual(statement, &policy).map_err(|e| fault(e.to_string()))?;
            left.push((statement, residual));
        }
        let (mut residuals, mut trials) =
            (acted::residuals(self.index, self.registered, self.call), Vec::new());
        for (statement, residual) in left {
            if statement.observes { trials.push(residual) } else { residuals.push(residual) }
        }
        residuals.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let mut edge = Edge {
            permits,
            forbids: self.static_outcome(&forbidding),
            refuses: asking.len() < forbidding.len(),
            asking: asking.into(),
            changing: self.static_outcome(&changing),
            demands: obligation::united(demands.flat_map(|all| all.iter())),
            limiting: self.limiting(&limiting),
            errors: self.static_outcome(&errors),
            residuals: residuals.into(),
            tried: tried.into(),
            trials: trials.into(),
            ..Edge::default()
        };
        self.explain(&mut edge);
        Ok(edge)
    }

    fn static_outcome(&self, statements: &[&Arc<Statement>]) -> StaticOutcome {
        let mut policies: Vec<Arc<str>> = statements.iter().map(|statement| statement.id.clone()).collect();
        policies.sort_unstable();
        let facts = statements.iter().flat_map(|statement| self.facts(&statement.references)).collect();
        let reason = statements.iter().find_map(|statement| statement.reason.clone());
        StaticOutcome { policies: policies.into(), facts: sorted(facts), reason }
    }

    fn facts(&self, references: &[Arc<AttributeReference>]) -> Vec<Fact> {
        let (principal, resource, entities) = (&self.principal, &self.resource, &self.entities);
        references.iter().map(|reference| reference.fact(principal, resource, entities)).collect()
    }

    /// Which permits a denial by default names, and what they looked at.
    fn explain(&self, edge: &mut Edge) {
        if !edge.permits.policies.is_empty() {
            return;
        }
        let residual_permits = edge.residuals.iter().enumerate().filter(|(_, r)| r.effect == Effect::Permit);
        let residual: Vec<(usize, &Residual)> = residual_permits.take(MAX_CLOSEST_PERMITS).collect();
        let of_edge: Vec<_> = self
            .closest_permits
            .iter()
            .filter(|statement| edge.residuals.iter().all(|residual| residual.id != statement.id))
            .filter(|statement| !edge.errors.policies.contains(&statement.id) && !statement.observes)
            .take(MAX_CLOSEST_PERMITS - residual.len())
            .copied()
            .collect();
        let mut facts: Vec<Fact> =
            residual.iter().flat_map(|(_, residual)| &residual.facts).cloned().collect();
        facts.extend(of_edge.iter().flat_map(|statement| self.facts(&statement.references)));
        let ids = residual.iter().map(|(_, residual)| &residual.id).chain(of_edge.iter().map(|s| &s.id));
        let policies = ids.cloned().collect();
        let places = residual.iter().map(|(place, _)| *place).collect();
        edge.closest_permits = StaticOutcome { policies, facts: sorted(facts), reason: None };
        edge.closest_residuals = places;
    }
}
