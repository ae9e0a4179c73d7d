//! What exists beside policies: the registered objects, the identities that prove them, and the names that they bear.

use super::bindings::{Bindings, Taken};
use super::borne::Borne;
use super::registered::Registered;
use crate::resource::{Object, Principal};

/// Everything that is made of the objects other than policies. One snapshot shares it with the next when none of them changed.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) registered: Registered,
    pub(crate) bindings: Bindings,
    pub(crate) borne: Borne,
}

impl World {
    /// Adds an object, unless one of its identities is bound already. Policies are not kept here.
    pub(crate) fn add(&mut self, object: &Object) -> Result<(), Taken> {
        match object {
            Object::Agent(agent) => self.bindings.bind(&Principal::Agent(agent.clone()))?,
            Object::Service(service) => self.bindings.bind(&Principal::Service(service.clone()))?,
            Object::McpServer(_) | Object::LlmProvider(_) | Object::Policy(_) => {}
        }
        self.registered.insert(object);
        self.borne.add(object);
        Ok(())
    }
}

/// Whether the objects of both lists other than policies are identical, and in the same order. Then every one of `next` is accepted
/// if all of `last` were, since nothing else is asked of them.
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
