//! Who calls, and what is called, as another configuration has them.

use std::sync::Arc;

use vidimus_core::call::Destination;
use vidimus_core::caller::{Caller, Proven, User};
use vidimus_core::entity::EntityKind;
use vidimus_core::resource::{Identity, Principal};
use vidimus_core::snapshot::Snapshot;

/// The caller as `world` has it: its attributes may be others now. `None` where it is not registered any more, where the identity
/// that it used does not prove it any more, where it may not act any more for the person it acts for, and where somebody who acted
/// before it may not act any more.
pub fn rebound(world: &Snapshot, caller: &Caller) -> Option<Caller> {
    let entity = caller.proven.principal.entity();
    let principal = match entity.kind {
        EntityKind::Agent => Principal::Agent(world.agent(&entity.id)?.clone()),
        _ => Principal::Service(world.service(&entity.id)?.clone()),
    };
    let may_act = |user: &User| principal.may_act_for(&user.issuer);
    if world.check_chain(&caller.chain).is_err()
        || !still_proves(world, &principal, &caller.proven.identity)
        || !caller.proven.user.as_ref().is_none_or(may_act)
    {
        return None;
    }
    let proven = Proven { principal, ..(*caller.proven).clone() };
    Some(Caller { proven: Arc::new(proven), chain: caller.chain.clone() })
}

/// Whether an identity, in the words of [`Proven::identity`], is the principal's and proves it: nothing else claims it. The minted
/// token of an earlier hop (`hop:`) names an agent, which is looked up by that name.
fn still_proves(world: &Snapshot, principal: &Principal, used: &str) -> bool {
    let proves = |identity: &Identity| {
        let proven = match identity {
            Identity::Spiffe(id) if **id == *used => world.principal_by_spiffe(id),
            Identity::Oidc { issuer, subject, .. } if used == format!("oidc:{issuer}#{subject}") => {
                world.principal_by_oidc(issuer, subject)
            }
            Identity::ServiceAccount { namespace, name }
                if used.ends_with(&format!("#system:serviceaccount:{namespace}:{name}")) =>
            {
                world.principal_by_service_account(namespace, name)
            }
            _ => None,
        };
        proven.is_some_and(|proven| proven.entity() == principal.entity())
    };
    used.starts_with("hop:") || principal.identities().iter().any(proves)
}

/// The destination as `world` has it.
pub fn found(world: &Snapshot, destination: &Destination) -> Option<Destination> {
    Some(match destination {
        Destination::Server(server) => Destination::Server(world.mcp_server(&server.id.id)?.clone()),
        Destination::Agent(agent) => Destination::Agent(world.agent(&agent.id.id)?.clone()),
        Destination::Provider(provider) => {
            Destination::Provider(world.llm_provider(&provider.id.id)?.clone())
        }
    })
}

#[cfg(test)]
mod tests {
    use vidimus_core::caller::Chain;
    use vidimus_core::entity::EntityId;
    use vidimus_core::resource::{Agent, Object, Origin};

    use super::*;
    use crate::protocol::tests::{agent, caller};

    const ID: &str = "spiffe://t/a";

    fn with_identity() -> Agent {
        Agent { identities: vec![Identity::Spiffe(ID.into())], ..(*agent()).clone() }
    }

    fn named(name: &str) -> Agent {
        let mut agent = (*agent()).clone();
        agent.meta.name = name.into();
        agent.meta.origin = Origin::file(name, 1);
        Agent { id: EntityId::new(EntityKind::Agent, format!("finance/{name}")), ..agent }
    }

    fn calling(principal: Agent, user: Option<User>) -> Caller {
        let mut caller = caller();
        let principal = Principal::Agent(Arc::new(principal));
        caller.proven = Arc::new(Proven { principal, user, identity: ID.into(), ..(*caller.proven).clone() });
        caller
    }

    fn world(agents: Vec<Agent>) -> Snapshot {
        Snapshot::build(agents.into_iter().map(|agent| Object::Agent(Arc::new(agent))).collect()).0
    }

    #[test]
    fn an_identity_that_something_else_claims_proves_nobody_any_more() {
        let own = with_identity();
        let other = Agent { identities: own.identities.clone(), ..named("other") };
        let caller = calling(own.clone(), None);
        assert!(rebound(&world(vec![own.clone()]), &caller).is_some());
        assert!(rebound(&world(vec![own, other]), &caller).is_none());
    }

    #[test]
    fn who_acted_through_somebody_that_is_out_of_use_goes_on_no_more() {
        let (own, first) = (with_identity(), Agent { quarantined: false, ..named("first") });
        let mut caller = calling(own.clone(), None);
        caller.chain = Arc::new(Chain { actors: vec![first.id.clone()], ..(*caller.chain).clone() });
        assert!(rebound(&world(vec![own.clone(), first.clone()]), &caller).is_some());
        assert!(rebound(&world(vec![own.clone()]), &caller).is_none());
        assert!(rebound(&world(vec![own, Agent { quarantined: true, ..first }]), &caller).is_none());
    }

    #[test]
    fn a_person_whose_issuer_is_not_listed_any_more_is_not_acted_for() {
        let own = with_identity();
        let user = User {
            issuer: "https://idp.example".into(),
            subject: "alice".into(),
            email: None,
            groups: Arc::default(),
        };
        let caller = calling(own.clone(), Some(user));
        assert!(rebound(&world(vec![own]), &caller).is_none());
    }
}
