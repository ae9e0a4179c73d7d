//! Objects that are being written: it cannot be told yet whether they are whole, so nothing of them is in force but what refuses.

use std::collections::HashSet;
use std::slice;
use std::sync::Arc;

use super::{Made, Prepared, Snapshot};
use crate::resource::{Object, ObjectKey, Rejection};

/// Whom `coming` quarantines.
pub(super) fn quarantined<'o>(coming: impl Iterator<Item = &'o Object>) -> impl Iterator<Item = ObjectKey> {
    coming.filter(|object| object.is_quarantined()).map(ObjectKey::of)
}

/// Quarantines those of `objects` that are `quarantined` elsewhere.
pub(super) fn quarantine(objects: &mut [Object], quarantined: &HashSet<ObjectKey>) {
    if quarantined.is_empty() {
        return;
    }
    let means =
        |object: &&mut Object| can_be_quarantined(object) && quarantined.contains(&ObjectKey::of(object));
    for object in objects.iter_mut().filter(means) {
        match object {
            Object::Agent(agent) => Arc::make_mut(agent).quarantined = true,
            Object::Service(service) => Arc::make_mut(service).quarantined = true,
            Object::McpServer(_) | Object::LlmProvider(_) | Object::Policy(_) => {}
        }
    }
}

/// Most objects are none of those, and are not looked at further.
pub(super) const fn can_be_quarantined(object: &Object) -> bool {
    matches!(object, Object::Agent(_) | Object::Service(_))
}

/// What of `coming` may refuse: policies, compiled, and whom it quarantines. What is malformed is left out without a word: it is said
/// when it is whole.
pub(super) fn compiled(
    (last, prepared): (&Snapshot, &Prepared),
    mut coming: Vec<Object>,
) -> Vec<(Object, Arc<Made>)> {
    coming.retain(|object| matches!(object, Object::Policy(_)) || object.is_quarantined());
    let made = last.make_prepared(&coming, (&[], prepared));
    let compiled = |(object, made): (Object, Result<Arc<Made>, Box<Rejection>>)| {
        let made = made.ok()?;
        // What is being written refuses, whatever it costs.
        let made = match made.costly {
            Some(_) => last.make(slice::from_ref(&object)).pop()?.ok()?,
            None => made,
        };
        Some((object, made))
    };
    coming.into_iter().zip(made).filter_map(compiled).collect()
}

/// Those of `coming` that are not in force.
pub(super) fn beside(coming: Vec<(Object, Arc<Made>)>, in_force: &Snapshot) -> Vec<(Object, Arc<Made>)> {
    let is_new = |(object, made): &(Object, Arc<Made>)| {
        let there = in_force.places.get(&ObjectKey::of(object));
        there.is_none_or(|(_, there)| there.of_record() != made.of_record())
    };
    coming.into_iter().filter(is_new).collect()
}
