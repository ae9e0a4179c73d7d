//! Everything that policies say about one edge (principal, action, resource): what is settled whatever the context, and what
//! is left to evaluate per call.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::pst::{Clause, Expr};
use cedar_policy::{
    Authorizer, Effect, Entities, EntityUid, PartialEntities, PartialEntityUid, PartialRequest, PolicySet,
};

use super::entities::{Cast, EntityFault};
use super::facts::{ContextMention, Mention};
use super::index::Index;
use super::plain;
use super::residual::Expression;
use super::residual::evaluate::Failed;
use super::residual::possible::Possible;
use super::schema::schema;
use super::statement::Statement;
use super::tree;
use crate::call::{Arguments, Call};
use crate::decision::{Decision, Fact, Outcome};
use crate::refusal::Code;
use crate::snapshot::registered::Registered;

/// How many permits a denial by default names that came near.
pub(crate) const MAX_NEAR: usize = 8;

/// Stands for the policies when an edge could not be evaluated at all.
const FAULT: &str = "vidimus/fault";

/// Policies whose outcome is the same for each call on the edge, with what they looked at.
#[derive(Debug, Default)]
struct Settled {
    /// Sorted.
    policies: Arc<[Arc<str>]>,
    /// Sorted by name.
    facts: Arc<[Fact]>,
    reason: Option<Arc<str>>,
}

/// How a policy is evaluated per call.
#[derive(Debug)]
enum Condition {
    Native(Expression),
    /// By Cedar itself, on the whole policy.
    Cedar {
        policy: Box<PolicySet>,
        entities: Arc<Entities>,
        on_arguments: bool,
    },
}

/// A policy whose outcome depends on the context.
#[derive(Debug)]
struct Residual {
    id: Arc<str>,
    effect: Effect,
    condition: Condition,
    /// Of principal and resource.
    facts: Box<[Fact]>,
    mentions: Box<[ContextMention]>,
    reason: Option<Arc<str>>,
}

/// A compiled edge.
#[derive(Debug, Default)]
pub(crate) struct Edge {
    permits: Settled,
    forbids: Settled,
    errors: Settled,
    /// Sorted by id.
    residuals: Box<[Residual]>,
    /// What a denial by default names: residual permits first, then permits that the edge itself falls short of.
    near: Settled,
    /// How many of `residuals` are in `near`.
    near_residuals: Box<[usize]>,
}

impl Edge {
    /// Compiles the edge that `call` is on. Fails closed: an edge that cannot be evaluated denies.
    pub(crate) fn compile(index: &Index, registered: &Registered, call: &Call<'_>) -> Self {
        Compilation::new(index, registered, call).and_then(|compilation| compilation.edge()).unwrap_or_else(
            |fault| {
                let facts = [(Arc::from("fault"), Arc::from(super::facts::shorten(&fault.to_string())))];
                let errors =
                    Settled { policies: Arc::new([FAULT.into()]), facts: Arc::new(facts), reason: None };
                Self { errors, ..Self::default() }
            },
        )
    }

    /// The decision: a policy that fails denies, then a forbid, then a permit allows; otherwise it is denied by default.
    ///
    /// Every residual is evaluated: whether some policy fails must not depend on the order.
    pub(crate) fn decide(&self, call: &Call<'_>) -> Decision {
        let (mut permits, mut forbids, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for residual in &self.residuals {
            match (residual.outcome(call), residual.effect) {
                (Ok(false), _) => {}
                (Ok(true), Effect::Permit) => permits.push(residual),
                (Ok(true), Effect::Forbid) => forbids.push(residual),
                (Err(Failed), _) => errors.push(residual),
            }
        }
        if !errors.is_empty() || !self.errors.policies.is_empty() {
            self.errors.answer(Outcome::Deny, Some(Code::PolicyError), &errors, call)
        } else if !forbids.is_empty() || !self.forbids.policies.is_empty() {
            self.forbids.answer(Outcome::Deny, Some(Code::ForbiddenByPolicy), &forbids, call)
        } else if !permits.is_empty() || !self.permits.policies.is_empty() {
            self.permits.answer(Outcome::Allow, None, &permits, call)
        } else {
            self.deny_by_default(call)
        }
    }

    fn deny_by_default(&self, call: &Call<'_>) -> Decision {
        let near = self.near_residuals.iter().filter_map(|place| self.residuals.get(*place));
        let mentions = near.flat_map(|residual| &residual.mentions);
        let facts = with_context(&self.near.facts, &[], mentions, call);
        Decision {
            outcome: Outcome::Deny,
            code: Some(Code::NoPermit),
            policies: Arc::default(),
            near: self.near.policies.clone(),
            facts,
            reason: None,
        }
    }

    /// Whether some arguments could be allowed, where the call's are unknown.
    pub(crate) fn could_allow(&self, call: &Call<'_>) -> bool {
        if !self.errors.policies.is_empty() || !self.forbids.policies.is_empty() {
            return false;
        }
        let mut permitted = !self.permits.policies.is_empty();
        for residual in &self.residuals {
            let possible = residual.possible(call);
            let harmless = match residual.effect {
                Effect::Permit => possible.holds || possible.fails_to_hold,
                Effect::Forbid => possible.fails_to_hold,
            };
            if !harmless {
                return false;
            }
            permitted |= residual.effect == Effect::Permit && possible.holds;
        }
        permitted
    }
}

impl Settled {
    fn answer(&self, outcome: Outcome, code: Option<Code>, met: &[&Residual], call: &Call<'_>) -> Decision {
        let reason =
            || self.reason.clone().or_else(|| met.iter().find_map(|residual| residual.reason.clone()));
        let mut decision = Decision {
            outcome,
            code,
            policies: self.policies.clone(),
            near: Arc::default(),
            facts: self.facts.clone(),
            reason: if code == Some(Code::ForbiddenByPolicy) { reason() } else { None },
        };
        if met.is_empty() {
            return decision;
        }
        let mut policies: Vec<Arc<str>> =
            self.policies.iter().chain(met.iter().map(|r| &r.id)).cloned().collect();
        policies.sort_unstable();
        decision.policies = policies.into();
        let mentions = met.iter().flat_map(|residual| &residual.mentions);
        decision.facts = with_context(&self.facts, met, mentions, call);
        decision
    }
}

/// The facts of an edge, with those of the policies `met` and of the context.
fn with_context<'m>(
    settled: &Arc<[Fact]>,
    met: &[&Residual],
    mentions: impl Iterator<Item = &'m ContextMention>,
    call: &Call<'_>,
) -> Arc<[Fact]> {
    let mut facts: Vec<Fact> = Vec::new();
    facts.extend(met.iter().flat_map(|residual| &residual.facts).cloned());
    facts.extend(mentions.map(|mention| mention.fact(call)));
    if facts.is_empty() {
        return settled.clone();
    }
    facts.extend(settled.iter().cloned());
    sorted(facts)
}

fn sorted(mut facts: Vec<Fact>) -> Arc<[Fact]> {
    facts.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    facts.dedup_by(|a, b| a.0 == b.0);
    facts.into()
}

impl Residual {
    fn outcome(&self, call: &Call<'_>) -> Result<bool, Failed> {
        match &self.condition {
            Condition::Native(expression) => expression.holds(call),
            Condition::Cedar { policy, entities, .. } => by_cedar(policy, entities, call),
        }
    }

    fn possible(&self, call: &Call<'_>) -> Possible {
        match (&self.condition, call.context.arguments) {
            (Condition::Native(expression), Arguments::Unknown) => expression.possible(call),
            (Condition::Cedar { on_arguments: true, .. }, Arguments::Unknown) => Possible::ANY,
            _ => Possible::only(self.outcome(call)),
        }
    }
}

/// Whether the one policy of `policy` is satisfied, by Cedar's own evaluator.
fn by_cedar(policy: &PolicySet, entities: &Entities, call: &Call<'_>) -> Result<bool, Failed> {
    let request = plain::request(call).map_err(|_| Failed)?;
    let of_call = plain::entities(call).map_err(|_| Failed)?;
    let entities = entities.clone().add_entities(of_call, None).map_err(|_| Failed)?;
    let response = Authorizer::new().is_authorized(&request, policy, &entities);
    match response.diagnostics().errors().next() {
        Some(_) => Err(Failed),
        None => Ok(response.diagnostics().reason().next().is_some()),
    }
}

/// The parts of an edge while it is compiled.
struct Compilation<'a> {
    call: &'a Call<'a>,
    principal: EntityUid,
    resource: EntityUid,
    entities: Arc<Entities>,
    candidates: Vec<&'a Arc<Statement>>,
    near: Vec<&'a Arc<Statement>>,
}

impl<'a> Compilation<'a> {
    fn new(index: &'a Index, registered: &Registered, call: &'a Call<'a>) -> Result<Self, EntityFault> {
        let resource = call.target.entity();
        let kinds = (call.principal.kind(), resource.kind);
        let (principal, resource) =
            (plain::entity_uid(call.principal.entity())?, plain::entity_uid(&resource)?);
        let entities = Cast::of(registered, call.principal, &call.target, [])?.entities()?;
        let holding = index.holding(&principal, &resource, &entities);
        let mut candidates: Vec<_> = index.candidates(call.action, kinds, &holding).collect();
        candidates.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let near = index.near(call.action, kinds, &holding, 2 * MAX_NEAR);
        let literals = candidates.iter().chain(&near).flat_map(|statement| &statement.literals);
        let entities = match Cast::names_more(registered, literals.clone()) {
            false => entities,
            true => Cast::of(registered, call.principal, &call.target, literals)?.entities()?,
        };
        let entities = Arc::new(entities);
        Ok(Self { call, principal, resource, entities, candidates, near })
    }

    fn edge(&self) -> Result<Edge, EntityFault> {
        let fault = |reason: String| EntityFault { what: "the edge".to_owned(), reason };
        let mut policies = PolicySet::new();
        for statement in &self.candidates {
            policies.add(statement.policy.clone()).map_err(|e| fault(e.to_string()))?;
        }
        let schema = schema().map_err(|e| fault(e.to_owned()))?;
        let request = PartialRequest::new(
            PartialEntityUid::from_concrete(self.principal.clone()),
            plain::action_uid(self.call.action)?,
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
        let errors = all(response.error_permits().chain(response.error_forbids()).collect())?;
        let permits = self.settled(&all(response.true_permits().collect())?);
        let forbids = self.settled(&all(response.true_forbids().collect())?);
        let mut residuals = Vec::new();
        for policy in response.residual_policies() {
            residuals.push(self.residual(find(policy.id())?, &policy).map_err(|e| fault(e.to_string()))?);
        }
        residuals.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let mut edge = Edge {
            permits,
            forbids,
            errors: self.settled(&errors),
            residuals: residuals.into(),
            ..Edge::default()
        };
        self.explain(&mut edge);
        Ok(edge)
    }

    fn settled(&self, statements: &[&Arc<Statement>]) -> Settled {
        let mut policies: Vec<Arc<str>> = statements.iter().map(|statement| statement.id.clone()).collect();
        policies.sort_unstable();
        let facts = statements.iter().flat_map(|statement| self.facts(&statement.mentions)).collect();
        let reason = statements.iter().find_map(|statement| statement.reason.clone());
        Settled { policies: policies.into(), facts: sorted(facts), reason }
    }

    fn facts(&self, mentions: &[Mention]) -> Vec<Fact> {
        mentions.iter().map(|mention| mention.fact(&self.principal, &self.resource, &self.entities)).collect()
    }

    fn residual(
        &self,
        statement: &Arc<Statement>,
        left: &cedar_policy::Policy,
    ) -> Result<Residual, Box<dyn std::error::Error>> {
        let pst = left.to_pst()?;
        let conditions: Vec<&Expr> = pst
            .body()
            .clauses()
            .iter()
            .map(|clause| match clause {
                Clause::When(condition) | Clause::Unless(condition) => &**condition,
            })
            .collect();
        // A residual policy has exactly one `when`; anything else is left to Cedar, which has the whole policy.
        let native = match pst.body().clauses().as_slice() {
            [Clause::When(condition)] => Expression::compile(condition, &self.entities),
            _ => None,
        };
        let condition = match native {
            Some(expression) => Condition::Native(expression),
            None => Condition::Cedar {
                policy: Box::new(PolicySet::from_policies([statement.policy.clone()])?),
                entities: self.entities.clone(),
                on_arguments: conditions.iter().any(|condition| tree::on_arguments(condition)),
            },
        };
        Ok(Residual {
            id: statement.id.clone(),
            effect: statement.effect,
            condition,
            facts: self.facts(&statement.mentions).into(),
            mentions: conditions.iter().flat_map(|condition| ContextMention::all(condition)).collect(),
            reason: statement.reason.clone(),
        })
    }

    /// Which permits a denial by default names, and what they looked at.
    fn explain(&self, edge: &mut Edge) {
        if !edge.permits.policies.is_empty() {
            return;
        }
        let residual_permits = edge.residuals.iter().enumerate().filter(|(_, r)| r.effect == Effect::Permit);
        let near: Vec<(usize, &Residual)> = residual_permits.take(MAX_NEAR).collect();
        let settled: Vec<_> = self
            .near
            .iter()
            .filter(|statement| edge.residuals.iter().all(|residual| residual.id != statement.id))
            .filter(|statement| !edge.errors.policies.contains(&statement.id))
            .take(MAX_NEAR - near.len())
            .copied()
            .collect();
        let mut facts: Vec<Fact> = near.iter().flat_map(|(_, residual)| &residual.facts).cloned().collect();
        facts.extend(settled.iter().flat_map(|statement| self.facts(&statement.mentions)));
        let ids = near.iter().map(|(_, residual)| &residual.id).chain(settled.iter().map(|s| &s.id));
        let policies = ids.cloned().collect();
        let places = near.iter().map(|(place, _)| *place).collect();
        edge.near = Settled { policies, facts: sorted(facts), reason: None };
        edge.near_residuals = places;
    }
}
