//! What a policy forbade while it was good. A typing error in it must not open what it closed, so its forbids stay in force
//! until it is good again, or gone from sources in which nothing is malformed. Its permits are left out at once.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use cedar_policy::Effect;

use super::Snapshot;
use super::compile::Compiled;
use crate::decide::statement::Statement;
use crate::resource::{Object, Rejection};

/// A policy of which only the forbids are in force.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// Where it was when it was good.
    source: Arc<str>,
    pub(super) compiled: Arc<Compiled>,
}

impl Held {
    pub(super) fn forbids(&self) -> impl Iterator<Item = &Arc<Statement>> {
        self.compiled.statements.iter().filter(|statement| statement.effect == Effect::Forbid)
    }

    /// Says that it is held, with what is malformed or beside it.
    fn report(&self, key: &str, rejected: &mut Vec<Rejection>) {
        const STAYS: &str = "what it forbade while it was good stays forbidden";
        let object = format!("Policy {key}");
        match rejected.iter_mut().find(|rejection| rejection.object == object) {
            Some(rejection) => rejection.reason = format!("{}; {STAYS}", rejection.reason),
            None => rejected.push(Rejection {
                source: self.source.to_string(),
                line: 0,
                object,
                field: String::new(),
                value: String::new(),
                reason: format!("it is gone from a source in which something is malformed; {STAYS}"),
                fix: "correct what is malformed there".to_owned(),
            }),
        }
    }
}

/// The policies of `last` that are not good in `next` and may be only malformed, reported among `rejected`.
pub(super) fn held(last: &Snapshot, next: &Snapshot, rejected: &mut Vec<Rejection>) -> HashMap<String, Held> {
    let were_good = last.objects.iter().filter_map(|object| match object {
        Object::Policy(policy) => {
            let (key, source) = (policy.meta.key(), policy.meta.origin.source.clone());
            let compiled = last.compiled.get(&key)?.clone();
            Some((key, Held { source, compiled }))
        }
        _ => None,
    });
    let were_held = last.held.iter().map(|(key, held)| (key.clone(), held.clone()));
    let found: HashMap<String, Held> = were_good
        .chain(were_held)
        .filter(|(key, held)| !next.compiled.contains_key(key) && held.forbids().next().is_some())
        // A directory that cannot be read is a source of all that is in it.
        .filter(|(_, held)| {
            rejected.iter().any(|rejection| Path::new(&*held.source).starts_with(&rejection.source))
        })
        .collect();
    found.iter().for_each(|(key, held)| held.report(key, rejected));
    found
}
