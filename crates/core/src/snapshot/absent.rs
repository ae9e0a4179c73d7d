//! What is said of objects that are looked for and not used: those of a call, and those through which it came.

use super::Snapshot;
use super::bindings::Claim;
use super::reject;
use crate::caller::Chain;
use crate::entity::{EntityId, EntityKind};
use crate::refusal::{Code, Refusal};
use crate::resource::{Kind, ObjectKey};

impl Snapshot {
    /// Why there is no object of this kind and `namespace/name`: nothing has the name (`otherwise`), or several have it, of which
    /// none is used (`name_contested`).
    pub fn absent(&self, kind: Kind, name: &str, otherwise: Code) -> Refusal {
        match self.places_of(kind, name) {
            None => Refusal::new(otherwise, format!("no {kind} {name} is registered")),
            Some(places) => {
                let message = format!("several records have the name {kind} {name}, so none of them is used");
                Refusal::new(Code::NameContested, message).with_detail(format!("they are at {places}"))
            }
        }
    }

    /// That nobody is proven by `identity`, because these claim it.
    pub fn contested(identity: &str, claims: &[Claim]) -> Refusal {
        let mut names: Vec<String> = claims.iter().map(|claim| claim.object.to_string()).collect();
        names.dedup();
        let message = match &names[..] {
            [name] => format!("{identity} is claimed by {name}, which is not in force, so it proves nobody"),
            _ => format!(
                "{} claim {identity}, so it proves none of them",
                reject::some_of(names.into_iter()).join(" and ")
            ),
        };
        let placed = claims.iter().map(|claim| format!("{} ({})", claim.object, claim.origin));
        let detail = format!("claimed by {}", reject::some_of(placed).join(", "));
        Refusal::new(Code::IdentityContested, message).with_detail(detail)
    }

    /// Whether everybody who acted before the caller may still act: a chain is as good as its worst member, so none goes on
    /// through an actor that was taken out of use meanwhile. Of one of whose identities is contested it is not known by which it
    /// was proven.
    ///
    /// Costs nothing where nobody acted before, and else a look-up for each who did.
    ///
    /// # Errors
    /// `actor_revoked`, which names the first of them.
    pub fn check_chain(&self, chain: &Chain) -> Result<(), Refusal> {
        chain.actors.iter().try_for_each(|actor| {
            self.why_out_of_use(actor).map_or(Ok(()), |why| {
                let message = format!("{actor}, which acted before in the chain of this call, {why}");
                Err(Refusal::new(Code::ActorRevoked, message))
            })
        })
    }

    fn why_out_of_use(&self, actor: &EntityId) -> Option<&'static str> {
        let registered = &self.world.registered;
        let (found, kind) = match actor.kind {
            EntityKind::Agent => {
                let agent = registered.agents.get(&actor.id);
                (agent.map(|agent| (agent.quarantined, &agent.identities)), Kind::Agent)
            }
            EntityKind::Service => {
                let service = registered.services.get(&actor.id);
                (service.map(|service| (service.quarantined, &service.identities)), Kind::ServiceIdentity)
            }
            _ => return Some("is nothing that acts"),
        };
        let Some((quarantined, identities)) = found else {
            return Some(match self.places_of(kind, &actor.id) {
                Some(_) => "has a name that several records have",
                None => "is not registered any more",
            });
        };
        if quarantined {
            return Some("is quarantined");
        }
        let bindings = &self.world.bindings;
        let contested = bindings.has_contests()
            && identities.iter().any(|identity| !bindings.claims(identity).is_empty());
        contested.then_some("has an identity that several records claim")
    }

    /// Where the objects are that have this name, where several do.
    fn places_of(&self, kind: Kind, name: &str) -> Option<String> {
        if self.contested.is_empty() {
            return None;
        }
        let places = self.contested.get(&ObjectKey::named(kind, name)?)?;
        Some(reject::some_of(places.iter().cloned()).join(", "))
    }
}
