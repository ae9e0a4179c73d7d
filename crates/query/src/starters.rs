//! Sets of policies to begin with, for common cases: each with objects to see it work and with cases that say what it is to decide.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vidimus_core::caller::UnixMillis;
use vidimus_core::resource::{Identity, Object};
use vidimus_core::snapshot::Snapshot;
use vidimus_registry::Loaded;

use crate::cases::{self, CaseVerdict, ReadCase, TestedCase};
use crate::state::State;

/// The namespace that the texts are written in.
const WRITTEN: &str = "starter";

/// A set of policies to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Starter {
    /// What it is called.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub description: &'static str,
    policies: &'static str,
    objects: &'static str,
    cases: &'static str,
}

macro_rules! starters {
    ($($name:literal: $description:literal,)+) => {
        /// All of them.
        pub const ALL: &[Starter] = &[$(Starter {
            name: $name,
            description: $description,
            policies: include_str!(concat!("starters/", $name, "/policies.yaml")),
            objects: include_str!(concat!("starters/", $name, "/objects.yaml")),
            cases: include_str!(concat!("starters/", $name, "/cases.yaml")),
        },)+];
    };
}

starters! {
    "read-only": "Agents of one group look at things and change nothing.",
    "finance-limits": "Transfers up to a limit, at most three hops from a person; larger ones are refused.",
    "approvals": "What moves money needs the approval of a person in a role.",
    "environments": "What is not in production reaches nothing that is.",
    "no-egress": "Agents of one group send nothing outside.",
    "office-hours": "What changes something does so in a window of time only.",
}

/// The set of this name.
pub fn starter(name: &str) -> Option<&'static Starter> {
    ALL.iter().find(|starter| starter.name == name)
}

/// What was written, or could be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StarterAnswer {
    /// The sets that there are, each with what it does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub starters: Vec<DescribedStarter>,
    /// The files that were written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

/// A set of policies to begin with, described.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DescribedStarter {
    /// What it is called.
    pub name: String,
    /// What it does.
    pub description: String,
}

/// The sets that there are.
pub fn described() -> Vec<DescribedStarter> {
    let described = |starter: &Starter| DescribedStarter {
        name: starter.name.to_owned(),
        description: starter.description.to_owned(),
    };
    ALL.iter().map(described).collect()
}

/// What of `more` cannot be in force beside what there is, as a sentence: an object of the same name, or with the same identity.
pub fn in_the_way(there: &Loaded, more: &Loaded) -> Option<String> {
    let identities = |object: &Object| -> Vec<Identity> {
        match object {
            Object::Agent(agent) => agent.identities.to_vec(),
            Object::Service(service) => service.identities.to_vec(),
            Object::McpServer(_) | Object::LlmProvider(_) | Object::Policy(_) => Vec::new(),
        }
    };
    let (there, more) = (there.snapshot.objects(), more.snapshot.objects());
    for one in more {
        let name = one.reference().to_string();
        if there.iter().any(|other| other.reference().to_string() == name) {
            return Some(format!("{name} is there already"));
        }
        let own = identities(one);
        let other =
            there.iter().find(|other| identities(other).iter().any(|identity| own.contains(identity)));
        if let Some(other) = other {
            return Some(format!("{} has the identity of {name}", other.reference()));
        }
    }
    None
}

/// Which of a set's own `cases` would be decided otherwise than they say beside what there is, a sentence each: what is otherwise, and
/// which of the policies that are there decide it. `now` is when those are made that name no time.
pub fn disturbed(there: &Loaded, more: &Loaded, cases: Vec<ReadCase>, now: UnixMillis) -> Vec<String> {
    let (there, more) = (there.snapshot.objects(), &more.snapshot);
    let objects = there.iter().chain(more.objects()).cloned().collect();
    let (snapshot, rejections) = Snapshot::build(objects);
    let both = Loaded { snapshot: Arc::new(snapshot), rejections, not_ready: None };
    let own: Vec<&str> = more.policies().map(|id| &**id).collect();
    let sentence = |case: &TestedCase| {
        let decided = case.found.iter().flat_map(|found| &found.policies);
        let others: Vec<&str> = decided.map(String::as_str).filter(|id| !own.contains(id)).collect();
        let by = if others.is_empty() { String::new() } else { format!(", by {}", others.join(", ")) };
        format!("'{}' ({}{by})", case.name, case.differences.join(", "))
    };
    let report = cases::test(&State::new(both, String::new()), cases, now);
    report.cases.iter().filter(|case| case.verdict != CaseVerdict::Passed).map(sentence).collect()
}

impl Starter {
    /// Its files, by name, for `namespace`: the policies, objects to see them work, and cases.
    pub fn files(&self, namespace: &str) -> [(String, String); 3] {
        let text = |text: &str| text.replace(WRITTEN, namespace);
        let Self { name, policies, objects, cases, .. } = self;
        [
            (format!("{name}.yaml"), text(policies)),
            (format!("{name}.objects.yaml"), text(objects)),
            (format!("{name}.cases.yaml"), text(cases)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::format;

    /// What is written is in order without a warning, formatted, and decides as its cases say; each policy of it in some case.
    #[test]
    fn every_starter_passes_check_fmt_and_its_own_cases() {
        for starter in ALL {
            for namespace in ["default", "payments"] {
                let directory = tempfile::tempdir().expect("a directory");
                for (name, text) in starter.files(namespace) {
                    assert!(!text.contains(WRITTEN), "{name}: {text}");
                    fs::write(directory.path().join(name), text).expect("written");
                }
                let loaded = vidimus_registry::load(directory.path());
                let warnings = loaded.snapshot.warnings();
                assert!(
                    loaded.rejections.is_empty() && warnings.is_empty(),
                    "{:#?} {warnings:#?}",
                    loaded.rejections
                );
                let (formatted, _) = format::format(&[directory.path().to_owned()]).expect("read");
                assert!(formatted.holds(), "{}: {formatted:#?}", starter.name);
                let read = cases::read(directory.path()).expect("cases");
                let report = cases::test(&State::new(loaded.clone(), String::new()), read, UnixMillis(0));
                let wrong: Vec<_> =
                    report.cases.iter().filter(|case| case.verdict != CaseVerdict::Passed).collect();
                assert!(report.holds() && report.passed >= 4, "{}: {wrong:#?}", starter.name);
                for policy in loaded.snapshot.policies().filter(|policy| !policy.starts_with("vidimus/")) {
                    let mut found = report.cases.iter().filter_map(|case| case.found.as_ref());
                    let decides = found.any(|found| found.policies.iter().any(|one| **one == **policy));
                    assert!(decides, "{}: no case is decided by {policy}", starter.name);
                }
            }
        }
    }

    /// A policy that is there already and reaches the objects of a set is named, with the cases that it would change.
    #[test]
    fn what_would_change_a_set_is_named() {
        let policy = |effect: &str| {
            format!(
                "apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {{name: all, namespace: default}}\nspec:\n  description: d\n  \
                 cedar: {effect} (principal, action == Action::\"invokeTool\", resource);\n"
            )
        };
        let starter = starter("finance-limits").expect("a set");
        let (there, own) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("another"));
        for (name, text) in starter.files("default") {
            fs::write(own.path().join(name), text).expect("written");
        }
        let disturbed = |there: &std::path::Path| {
            let cases = cases::read(own.path()).expect("cases");
            let more = vidimus_registry::load(own.path());
            disturbed(&vidimus_registry::load(there), &more, cases, UnixMillis(0))
        };
        assert_eq!(disturbed(there.path()), Vec::<String>::new());
        for (effect, said) in [
            (
                "permit",
                "'a larger one' (outcome is allow, not deny, code is none, not no_permit, by default/all)",
            ),
            ("forbid", "'a small payment' (outcome is deny, not allow"),
        ] {
            fs::write(there.path().join("a.yaml"), policy(effect)).expect("written");
            let found = disturbed(there.path());
            assert!(found.iter().any(|one| one.starts_with(said)), "{found:#?}");
        }
    }

    #[test]
    fn names_are_found_and_described() {
        assert_eq!(described().len(), ALL.len());
        assert_eq!(starter("read-only").map(|one| one.name), Some("read-only"));
        assert_eq!(starter("none"), None);
    }
}
