//! Retained forbids: what a policy forbade while it was good. A typing error in it must not open what it closed, so its forbids
//! stay in force until it is good again, or gone from sources in which nothing is malformed. Its permits are left out at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use cedar_policy::Effect;

use super::Snapshot;
use super::compile::Compiled;
use super::digest::Digest;
use crate::decide::statement::Statement;
use crate::resource::{Object, ObjectKey, ObjectRef, Origin, Rejection, Subject};

/// A policy of which only the forbids are in force.
#[derive(Clone, Debug)]
pub(super) struct Retained {
    object: ObjectRef,
    /// Where it was when it was good.
    origin: Origin,
    /// Of the policy when it was good.
    pub(super) digest: Digest,
    compiled: Arc<Compiled>,
}

/// By the policy.
pub(super) type RetainedForbids = BTreeMap<ObjectKey, Retained>;

impl Retained {
    pub(super) fn forbids(&self) -> impl Iterator<Item = &Arc<Statement>> {
        self.compiled.statements.iter().filter(|statement| statement.effect == Effect::Forbid)
    }

    /// Adds that its forbids are retained to what is said of it already; where nothing is, it was deleted beside something
    /// malformed.
    fn report(&self, rejected: &mut Vec<Rejection>) {
        const STAYS: &str = "what it forbade while it was good stays forbidden";
        match rejected.iter_mut().find(|rejection| rejection.object.is(&self.object)) {
            Some(rejection) => rejection.reason = format!("{}; {STAYS}", rejection.reason),
            None => rejected.push(Rejection {
                origin: self.origin.whole(),
                object: Subject::Object(self.object.clone()),
                field: String::new(),
                value: String::new(),
                reason: format!("it is gone from a source in which something is malformed; {STAYS}"),
                fix: "correct what is malformed there".to_owned(),
            }),
        }
    }
}

/// The policies of `last` that are not good in `next` and may be only malformed. Each is reported among `rejected`.
pub(super) fn retained(last: &Snapshot, next: &Snapshot, rejected: &mut Vec<Rejection>) -> RetainedForbids {
    // What is gone from sources in which nothing is malformed was deleted.
    if rejected.is_empty() {
        return RetainedForbids::new();
    }
    let were_good = last.objects.iter().zip(&last.made).filter_map(|(object, made)| {
        let (Object::Policy(policy), Some(compiled)) = (object, &made.compiled) else { return None };
        let retained = || Retained {
            object: object.reference(),
            origin: policy.meta.origin.clone(),
            digest: made.digest,
            compiled: compiled.clone(),
        };
        let key = ObjectKey::of(object);
        (!next.places.contains_key(&key)).then(|| (key, retained()))
    });
    let were_retained = last.retained.iter().map(|(key, retained)| (key.clone(), retained.clone()));
    let found: RetainedForbids = were_good
        .chain(were_retained)
        .filter(|(key, retained)| !next.places.contains_key(key) && retained.forbids().next().is_some())
        .filter(|(_, retained)| rejected.iter().any(|rejection| rejection.origin.may_hide(&retained.origin)))
        .collect();
    found.values().for_each(|retained| retained.report(rejected));
    found
}
