//! The same policies under Cedar's own authorizer, every policy on every call: what [`Snapshot::decide`] is held to by the
//! property test, and measured against. Slow; nothing on the way of a call uses it.
//!
//! [`Snapshot::decide`]: crate::snapshot::Snapshot::decide

use std::collections::BTreeSet;

use cedar_policy::{AuthorizationError, Authorizer, Decision as CedarDecision, Entities, PolicySet, Request};

use super::Policies;
use super::entities::Cast;
use super::plain;
use crate::call::Call;
use crate::refusal::Code;
use crate::resource::Principal;
use crate::snapshot::registered::Registered;

/// All policies and all registered entities of a snapshot.
#[derive(Debug)]
pub struct Reference<'a> {
    registered: &'a Registered,
    policies: &'a Policies,
    set: PolicySet,
}

/// One call, ready for Cedar.
#[derive(Debug)]
pub struct Question<'a> {
    set: &'a PolicySet,
    request: Request,
    entities: Entities,
}

/// What a decision must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `None` when allowed.
    pub code: Option<Code>,
    /// The policies that decided, or that failed.
    pub policies: BTreeSet<String>,
}

impl<'a> Reference<'a> {
    pub(crate) fn new(registered: &'a Registered, policies: &'a Policies) -> Result<Self, String> {
        let all = policies.statements().map(|statement| statement.policy.clone());
        let set = PolicySet::from_policies(all).map_err(|error| error.to_string())?;
        Ok(Self { registered, policies, set })
    }

    /// The call as Cedar sees it, among all registered entities or (`slice`) only those that it can look at.
    ///
    /// # Errors
    /// The call does not fit the schema.
    pub fn question(&self, call: &Call<'_>, slice: bool) -> Result<Question<'_>, String> {
        let request = plain::request(call).map_err(|fault| fault.to_string())?;
        let literals = self.policies.statements().flat_map(|statement| &statement.literals);
        let mut cast = Cast::of(self.registered, call.principal, &call.target, literals)
            .map_err(|fault| fault.to_string())?;
        if !slice {
            self.everybody(&mut cast).map_err(|fault| fault.to_string())?;
        }
        let of_call = plain::entities(call).map_err(|fault| fault.to_string())?;
        let entities = cast.entities().map_err(|fault| fault.to_string())?;
        let entities = entities.add_entities(of_call, None).map_err(|error| error.to_string())?;
        Ok(Question { set: &self.set, request, entities })
    }

    fn everybody(&self, cast: &mut Cast) -> Result<(), super::entities::EntityFault> {
        for agent in self.registered.agents.values() {
            cast.principal(&Principal::Agent(agent.clone()))?;
        }
        for service in self.registered.services.values() {
            cast.principal(&Principal::Service(service.clone()))?;
        }
        for server in self.registered.mcp_servers.values() {
            cast.target(&crate::call::Target::Server(server))?;
        }
        self.registered.llm_providers.values().try_for_each(|provider| cast.llm_provider(provider))
    }
}

impl Question<'_> {
    /// Cedar's answer, with the one rule that differs from plain Cedar: a policy that fails denies, instead of being skipped.
    pub fn answer(&self) -> Answer {
        let response = Authorizer::new().is_authorized(&self.request, self.set, &self.entities);
        let failed = response.diagnostics().errors().map(|error| match error {
            AuthorizationError::PolicyEvaluationError(failed) => failed.policy_id().to_string(),
        });
        let failed: BTreeSet<String> = failed.collect();
        if !failed.is_empty() {
            return Answer { code: Some(Code::PolicyError), policies: failed };
        }
        let policies: BTreeSet<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        let code = match response.decision() {
            CedarDecision::Allow => None,
            CedarDecision::Deny if policies.is_empty() => Some(Code::NoPermit),
            CedarDecision::Deny => Some(Code::ForbiddenByPolicy),
        };
        Answer { code, policies }
    }
}
