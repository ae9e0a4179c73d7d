//! What objects decide that is on no edge.

use std::collections::{BTreeMap, BTreeSet};

use vidimus_core::resource::{Kind, Object};
use vidimus_core::snapshot::Snapshot;

/// What changes with the objects that differ, by their names.
pub(super) fn changes(
    worlds: [&Snapshot; 2],
    objects: &BTreeMap<String, String>,
) -> BTreeMap<String, Vec<String>> {
    // Once for all: each of many may differ.
    let [before, after] = worlds.map(named);
    let says: BTreeSet<&str> = worlds.into_iter().flat_map(of_people).collect();
    let of = |name: &String| {
        let policy = name.strip_prefix(Kind::Policy.as_str()).map(str::trim_start);
        let changed = policy.is_some_and(|key| says.contains(key)).then_some("people");
        let (old, new) = (before.get(name).copied(), after.get(name).copied());
        let parts: Vec<String> =
            changed.into_iter().chain(differing(old, new)).map(ToOwned::to_owned).collect();
        (!parts.is_empty()).then(|| (name.clone(), parts))
    };
    objects.keys().filter_map(of).collect()
}

fn named(world: &Snapshot) -> BTreeMap<String, &Object> {
    world.objects().iter().map(|object| (object.reference().to_string(), object)).collect()
}

/// The policies that say what people may, by their keys.
fn of_people(world: &Snapshot) -> impl Iterator<Item = &str> {
    world.policies_of_people().filter_map(|id| id.split(['#', '~']).next())
}

/// What differs of an object that is in both; of another one, every edge does.
fn differing(old: Option<&Object>, new: Option<&Object>) -> Vec<&'static str> {
    let differs = |parts: &[(bool, &'static str)]| -> Vec<&'static str> {
        parts.iter().filter(|(differs, _)| *differs).map(|(_, what)| *what).collect()
    };
    match (old, new) {
        (Some(Object::Agent(old)), Some(Object::Agent(new))) => differs(&[
            (old.identities != new.identities, "identities"),
            (old.acts_for != new.acts_for, "actsFor"),
            (old.delegation != new.delegation, "delegation"),
            (old.labels != new.labels, "labels"),
        ]),
        (Some(Object::Service(old)), Some(Object::Service(new))) => {
            differs(&[(old.identities != new.identities, "identities")])
        }
        (Some(Object::McpServer(old)), Some(Object::McpServer(new))) => {
            differs(&[(old.labels != new.labels, "labels")])
        }
        (Some(Object::LlmProvider(old)), Some(Object::LlmProvider(new))) => {
            differs(&[(old.labels != new.labels, "labels")])
        }
        _ => Vec::new(),
    }
}
