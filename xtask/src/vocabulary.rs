//! docs/policies.md: says every name of the schema, and its examples compile.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use vidimus_core::decide::schema;
use vidimus_core::resource::policy::{Members, Mode, Scope};
use vidimus_core::resource::{Meta, Object, Policy};
use vidimus_core::snapshot::Snapshot;

const PAGE: &str = "docs/policies.md";

pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let page = std::fs::read_to_string(root.join(PAGE)).context(PAGE)?;
    Ok(complaints(&page, schema::TEXT))
}

pub(crate) fn complaints(page: &str, schema: &str) -> Vec<String> {
    let said: BTreeSet<&str> = words(page).collect();
    let unsaid = names(schema).into_iter().filter(|name| !said.contains(name));
    let mut complaints: Vec<String> =
        unsaid.map(|name| format!("{PAGE}: does not say {name}, which the schema of policies has")).collect();
    let examples = page.split("```cedar\n").skip(1).filter_map(|rest| rest.split("```").next());
    let policies = examples.enumerate().map(|(number, text)| {
        let name = Arc::from(format!("example-{}", number + 1));
        let meta = Meta { namespace: "docs".into(), name, ..Meta::default() };
        Object::Policy(Arc::new(Policy {
            meta,
            description: "".into(),
            scope: Scope::Cluster,
            mode: Mode::Enforce,
            replaces: Default::default(),
            members: Members::default(),
            window: None,
            plan: None,
            limits: Default::default(),
            guards: Default::default(),
            cedar: text.into(),
        }))
    });
    let (_, rejections) = Snapshot::build(policies.collect());
    complaints.extend(rejections.iter().map(|fault| format!("{PAGE}: {}: {}", fault.object, fault.reason)));
    complaints
}

/// The entities, actions and attributes of a schema. `principal`, `resource` and `context` are among them.
fn names(schema: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for line in schema.lines() {
        let line = line.split("//").next().unwrap_or_default();
        let declared = line.strip_prefix("entity ").or_else(|| line.strip_prefix("action "));
        let ends = |text: &&str| matches!(*text, "in" | "appliesTo" | "{" | "tags");
        if let Some(declared) = declared {
            let head = declared.split(' ').take_while(|word| !ends(word));
            names.extend(head.flat_map(words));
        }
        // `a?: Long`, `a: Set<Agent>`; what is behind `::` is none.
        let before = line.split(':').map(|text| text.trim_end_matches('?'));
        let before: Vec<_> = before.collect();
        let attributes = before.iter().take(before.len().saturating_sub(1));
        names.extend(attributes.filter_map(|text| words(text).last()));
    }
    names
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
}
