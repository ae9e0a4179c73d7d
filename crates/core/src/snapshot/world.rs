//! What exists beside policies: the registered objects, the identities that prove them, and the names that they bear.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::bindings::Bindings;
use super::borne::{Borne, Touched, mention_of_object};
use super::nowhere;
use super::refusing::Refusing;
use super::registered::Registered;
use crate::resource::{Object, ObjectKey, Principal};

/// Everything that is made of the objects other than policies. What of it did not change, one snapshot shares with the next.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) registered: Registered,
    pub(crate) bindings: Bindings,
    pub(crate) borne: Borne,
    /// What claims an identity and is not in force.
    claiming: Vec<Refusing>,
}

impl World {
    /// Makes it that of other objects; the names that are to be looked up again for the policies and records that have them. Those are of objects
    /// that are gone or new, or of which something else is looked up than before.
    pub(super) fn change<'o>(
        &mut self,
        gone: impl Iterator<Item = &'o Object> + Clone,
        new: impl Iterator<Item = &'o Object> + Clone,
    ) -> Touched {
        let mut touched = Touched::default();
        // First what is new: what an object bears as it did before is then not touched.
        new.clone().for_each(|object| self.borne.add(object, &mut touched));
        let mut were: HashMap<ObjectKey, &Object, RandomState> = HashMap::default();
        for object in gone {
            self.borne.remove(object, &mut touched);
            self.registered.remove(object);
            if let Some(principal) = principal(object) {
                self.bindings.unbind(&principal);
            }
            were.insert(ObjectKey::of(object), object);
        }
        for object in new {
            self.registered.insert(object);
            if let Some(principal) = principal(object) {
                self.bindings.bind(&principal);
            }
            let was = were.remove(&ObjectKey::of(object));
            if was.is_none_or(|was| !nowhere::is_alike(was, object)) {
                touched.extend(mention_of_object(object));
            }
        }
        touched.extend(were.into_values().filter_map(mention_of_object));
        touched
    }

    /// Whether [`World::claimed_by`] would change something.
    pub(super) fn has_other_claims(&self, refusing: &[Refusing]) -> bool {
        !self.claiming.is_empty() || refusing.iter().any(|one| !one.identities.is_empty())
    }

    /// What is not in force claims its identities, and nothing else does that is not in force.
    pub(super) fn claimed_by(&mut self, refusing: &[Refusing]) {
        for one in std::mem::take(&mut self.claiming) {
            self.bindings.unclaim(&one);
        }
        self.claiming = refusing.iter().filter(|one| !one.identities.is_empty()).cloned().collect();
        self.claiming.iter().for_each(|one| self.bindings.claim(one));
    }
}

fn principal(object: &Object) -> Option<Principal> {
    match object {
        Object::Agent(agent) => Some(Principal::Agent(agent.clone())),
        Object::Service(service) => Some(Principal::Service(service.clone())),
        Object::McpServer(_) | Object::LlmProvider(_) | Object::Policy(_) => None,
    }
}
