//! What exists beside policies: the registered objects, the identities that prove them, and the names that they bear.

use super::bindings::Bindings;
use super::borne::Borne;
use super::refusing::Refusing;
use super::registered::Registered;
use crate::resource::{Object, Principal};

/// Everything that is made of the objects other than policies. One snapshot shares it with the next when none of them changed.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) registered: Registered,
    pub(crate) bindings: Bindings,
    pub(crate) borne: Borne,
    /// Whether some identity is claimed by an object that is not in force, or by several.
    pub(crate) has_claims: bool,
}

impl World {
    pub(super) fn of(objects: &[Object], refusing: &[Refusing]) -> Self {
        let mut world = Self::default();
        for object in objects {
            match object {
                Object::Agent(agent) => world.bindings.bind(&Principal::Agent(agent.clone())),
                Object::Service(service) => world.bindings.bind(&Principal::Service(service.clone())),
                Object::McpServer(_) | Object::LlmProvider(_) => {}
                Object::Policy(_) => continue,
            }
            world.registered.insert(object);
            world.borne.add(object);
        }
        refusing.iter().for_each(|one| world.bindings.claim(one));
        world.has_claims = claim_anything(refusing);
        world
    }
}

/// Whether some of them claims an identity. A world with such claims is not shared.
pub(super) fn claim_anything(refusing: &[Refusing]) -> bool {
    refusing.iter().any(|one| !one.identities.is_empty())
}

/// Whether the objects of both lists other than policies are identical, and in the same order.
pub(crate) fn is_same(last: &[Object], next: &[Object]) -> bool {
    fn others(objects: &[Object]) -> impl Iterator<Item = &Object> {
        objects.iter().filter(|object| !matches!(object, Object::Policy(_)))
    }
    let (mut last, mut next) = (others(last), others(next));
    loop {
        match (last.next(), next.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if one.is_identical(other) => {}
            _ => return false,
        }
    }
}
