//! What objects decide that is on no edge.

use std::collections::BTreeMap;

use vidimus_core::resource::{Kind, Object};
use vidimus_core::snapshot::Snapshot;

/// What changes with the objects that differ, by their names.
pub(super) fn changes(
    worlds: [&Snapshot; 2],
    objects: &BTreeMap<String, String>,
) -> BTreeMap<String, Vec<String>> {
    let of = |name: &String| {
        let changed = match name.strip_prefix(Kind::Policy.as_str()) {
            Some(key) => {
                worlds.iter().any(|world| says_what_people_may(world, key.trim_start())).then_some("people")
            }
            None => None,
        };
        let [old, new] = worlds.map(|world| object(world, name));
        let parts: Vec<String> =
            changed.into_iter().chain(differing(old, new)).map(ToOwned::to_owned).collect();
        (!parts.is_empty()).then(|| (name.clone(), parts))
    };
    objects.keys().filter_map(of).collect()
}

fn object<'s>(world: &'s Snapshot, name: &str) -> Option<&'s Object> {
    world.objects().iter().find(|object| object.reference().to_string() == name)
}

fn says_what_people_may(world: &Snapshot, key: &str) -> bool {
    world.policies_of_people().any(|id| id.split(['#', '~']).next() == Some(key))
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
