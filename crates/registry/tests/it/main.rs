//! A directory, as its users treat it.

#![expect(clippy::unwrap_used, clippy::panic, clippy::string_slice, clippy::print_stdout, reason = "tests")]

mod load;
mod watch;

use std::fs;
use std::path::Path;

use vidimus_registry::Loaded;

/// A good agent in the namespace `test`.
fn agent(name: &str) -> String {
    format!(
        "apiVersion: vidimus.dev/v1alpha1\nkind: Agent\nmetadata: {{name: {name}, namespace: test}}\n\
         spec: {{owner: a.person@example.com, team: test, purpose: Tests, riskLevel: low, \
         identities: [{{spiffe: \"spiffe://test.example/{name}\"}}]}}\n"
    )
}

fn write(directory: &Path, file: &str, text: impl AsRef<[u8]>) {
    let path = directory.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// The names of the agents that are live, sorted.
fn live(loaded: &Loaded) -> Vec<String> {
    let mut names: Vec<_> = loaded
        .snapshot
        .objects()
        .iter()
        .filter_map(|object| match object {
            vidimus_core::resource::Object::Agent(agent) => Some(agent.meta.name.to_string()),
            _ => None,
        })
        .collect();
    names.sort();
    names
}
