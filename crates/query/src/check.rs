//! Whether everything is in order that is registered: the same validation as a running gateway.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vidimus_core::caller::UnixMillis;
use vidimus_core::resource::{Object, ObjectRef, Rejection, Subject};
use vidimus_registry::Loaded;

use crate::state::State;

/// What is registered, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckReport {
    /// What is in force, `Kind namespace/name`.
    pub objects: Vec<String>,
    /// Where those that can be called are, below the gateway's address.
    pub addresses: BTreeMap<String, String>,
    /// What is not in force, or only in part, and why: one entry for each fault.
    pub rejections: Vec<Fault>,
    /// What is in force and not as it should be.
    pub warnings: Vec<Fault>,
    /// How many there are.
    pub counts: Counts,
    /// Digest of the configuration, as it stands in records.
    pub snapshot: String,
}

/// Something that is wrong, with what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fault {
    /// The file, the directory or the cluster.
    pub source: String,
    /// The line of the field in the file, or of the object where the field has none; 1-based, 0 where it is not known.
    pub line: u32,
    /// `Kind namespace/name`, as far as it can be read.
    pub object: String,
    /// The object in parts, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// Path of the field in the object: `spec.identities[1].oidc.issuer`. Empty for the object itself.
    pub field: String,
    /// The value found, shortened; never the value of a secret.
    pub value: String,
    /// What is wrong.
    pub reason: String,
    /// What to write instead.
    pub fix: String,
}

/// An object, in one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reference {
    /// One of the five kinds.
    pub kind: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.generation`, where a cluster counts the versions of an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
}

impl Fault {
    /// With the line of its field, where that is found, in place of that of the object.
    pub fn at_its_field(mut self) -> Self {
        if self.line > 0 && !self.field.is_empty() {
            let found = vidimus_registry::field_line(Path::new(&self.source), self.line, &self.field);
            self.line = found.unwrap_or(self.line);
        }
        self
    }

    /// `file:line`, or `file` where the line is not known.
    pub fn place(&self) -> String {
        if self.line == 0 { self.source.clone() } else { format!("{}:{}", self.source, self.line) }
    }
}

impl From<&ObjectRef> for Reference {
    fn from(object: &ObjectRef) -> Self {
        Self {
            kind: object.kind.as_str().to_owned(),
            namespace: object.namespace.to_string(),
            name: object.name.to_string(),
            generation: object.generation,
        }
    }
}

impl From<&Rejection> for Fault {
    fn from(rejection: &Rejection) -> Self {
        Self {
            source: rejection.origin.source().into_owned(),
            line: rejection.origin.line(),
            object: rejection.object.to_string(),
            reference: rejection.object.reference().map(Reference::from),
            field: rejection.field.clone(),
            value: rejection.value.clone(),
            reason: rejection.reason.clone(),
            fix: rejection.fix.clone(),
        }
    }
}

impl CheckReport {
    /// Adds what deserves a look beside what is registered.
    pub fn warn_of(&mut self, warnings: &[Rejection]) {
        self.warnings.extend(warnings.iter().map(|warning| Fault::from(warning).at_its_field()));
        self.counts.warnings = self.warnings.len();
    }
}

/// So many warnings have the line of their field: for each its file is read.
const LOCATED: usize = 256;

fn warning((place, warning): (usize, &Rejection)) -> Fault {
    let warning = Fault::from(warning);
    if place < LOCATED { warning.at_its_field() } else { warning }
}

/// Checks what is registered in a state.
pub fn check(state: &State) -> CheckReport {
    let loaded = &state.loaded;
    let objects = loaded.snapshot.objects();
    CheckReport {
        objects: objects.iter().map(name).collect(),
        addresses: objects.iter().filter_map(|object| Some((name(object), address(object)?))).collect(),
        rejections: loaded.rejections.iter().map(|rejection| Fault::from(rejection).at_its_field()).collect(),
        warnings: loaded.snapshot.warnings().iter().enumerate().map(warning).collect(),
        counts: Counts::of(loaded),
        snapshot: loaded.snapshot.digest().to_owned(),
    }
}

/// The policies whose window does not open again after `now`, so that they permit nothing any more.
pub fn shut_for_good(state: &State, now: UnixMillis) -> Vec<Rejection> {
    let warning = |object: &Object| {
        let Object::Policy(policy) = object else { return None };
        let window = policy.window.as_ref().filter(|window| window.opens(now).is_none())?;
        Some(Rejection {
            origin: policy.meta.origin.clone(),
            object: Subject::Object(object.reference()),
            field: "spec.window".to_owned(),
            value: window.spec().to_string(),
            reason: "this window does not open again, so the policy permits nothing any more".to_owned(),
            fix: "give it another time, or delete the policy".to_owned(),
        })
    };
    state.loaded.snapshot.objects().iter().filter_map(warning).collect()
}

impl State {
    /// What is not in force, counted; `None` when that is nothing.
    pub fn left_out(&self) -> Option<String> {
        left_out(&self.loaded)
    }
}

/// `Kind namespace/name`.
fn name(object: &Object) -> String {
    object.reference().to_string()
}

/// The route of an object that can be called.
fn address(object: &Object) -> Option<String> {
    match object {
        Object::Agent(agent) => agent.endpoint.as_ref().map(|_| format!("/a2a/{}", agent.meta.key())),
        Object::McpServer(server) => Some(format!("/mcp/{}", server.meta.key())),
        Object::LlmProvider(provider) => Some(format!("/llm/{}", provider.meta.key())),
        Object::Service(_) | Object::Policy(_) => None,
    }
}

/// How many there are of what is printed. Each object is counted once; what has no name is counted as it stands there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Objects in force of which nothing is wrong.
    pub in_order: usize,
    /// Objects in force of which something is not: an identity that others claim too.
    pub in_part: usize,
    /// Objects that are not in force.
    pub rejected: usize,
    /// Files, or documents of them, of which it cannot be read what they are.
    pub unreadable: usize,
    /// What is wrong: an object may have several faults.
    pub faults: usize,
    /// What is in force and not as it should be.
    pub warnings: usize,
}

impl Counts {
    /// Those of a directory as it was read.
    pub fn of(loaded: &Loaded) -> Self {
        let mut counts = Self {
            in_order: loaded.snapshot.objects().len(),
            faults: loaded.rejections.len(),
            warnings: loaded.snapshot.warnings().len(),
            ..Self::default()
        };
        if loaded.rejections.is_empty() {
            return counts;
        }
        let in_force: HashSet<String> = loaded.snapshot.objects().iter().map(name).collect();
        let (mut in_part, mut rejected, mut unreadable) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for rejection in &loaded.rejections {
            let named = rejection.object.reference().map(ToString::to_string);
            match (named.filter(|named| in_force.contains(named)), &rejection.object) {
                (Some(named), _) => drop(in_part.insert(named)),
                (None, Subject::Source) => drop(unreadable.insert(&rejection.origin)),
                // Two of one name are two.
                (None, object) => drop(rejected.insert((&rejection.origin, object))),
            }
        }
        counts.in_order -= in_part.len();
        (counts.in_part, counts.rejected, counts.unreadable) =
            (in_part.len(), rejected.len(), unreadable.len());
        counts
    }

    /// Objects and documents that are not in force, or only in part.
    pub const fn not_in_order(&self) -> usize {
        self.in_part + self.rejected + self.unreadable
    }

    /// `1 object in part, 2 objects rejected, 1 unreadable, 4 faults`: what is not zero.
    pub fn wrong(&self) -> Vec<String> {
        let objects = |count, what| (count > 0).then(|| format!("{} {what}", counted(count, "object")));
        [
            objects(self.in_part, "in force in part"),
            objects(self.rejected, "rejected"),
            (self.unreadable > 0).then(|| format!("{} unreadable", counted(self.unreadable, "document"))),
            (self.faults > 0).then(|| counted(self.faults, "fault")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// What is not in force, counted; `None` when that is nothing.
fn left_out(loaded: &Loaded) -> Option<String> {
    let wrong = Counts::of(loaded).wrong();
    (!wrong.is_empty()).then(|| wrong.join(", "))
}

/// `1 object`, `2 objects`.
pub fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Each count against what is listed.
    #[test]
    fn every_count_is_of_what_is_listed() {
        let agent = |name: &str, subject: &str| {
            format!(
                "apiVersion: vidimus.dev/v1alpha1\nkind: Agent\nmetadata: {{name: {name}, namespace: a}}\nspec: {{owner: \
                 ada.l@example.com, team: t, purpose: p, riskLevel: low, identities: [{{oidc: {{issuer: \"urn:vidimus:local\", \
                 subject: {subject}}}}}]}}\n"
            )
        };
        let policy = |name: &str, cedar: &str| {
            format!(
                "apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {{name: {name}, namespace: a}}\nspec: {{description: d, \
                 cedar: '{cedar}'}}\n"
            )
        };
        let good = "permit (principal, action, resource);";
        let counts = |in_order, in_part, rejected, unreadable, faults| Counts {
            in_order,
            in_part,
            rejected,
            unreadable,
            faults,
            ..Counts::default()
        };
        for (what, files, expected, said) in [
            ("good", vec![agent("x", "s") + "---\n" + &policy("p", good)], counts(2, 0, 0, 0, 0), None),
            (
                "two of one identity",
                vec![[agent("x", "s"), agent("w", "s"), agent("z", "t")].join("---\n")],
                counts(1, 2, 0, 0, 2),
                Some("2 objects in force in part, 2 faults"),
            ),
            (
                "two of one name in one file",
                vec![[policy("p", good), policy("p", good), policy("q", good)].join("---\n")],
                counts(1, 0, 2, 0, 2),
                Some("2 objects rejected, 2 faults"),
            ),
            (
                "one of them malformed, in two files",
                vec![policy("p", good), policy("p", "permit (principal);")],
                counts(0, 0, 2, 0, 2),
                Some("2 objects rejected, 2 faults"),
            ),
            (
                "several faults of one",
                vec![agent("x", "s").replace("riskLevel: low", "riskLevel: none, groups: 3")],
                counts(0, 0, 1, 0, 2),
                Some("1 object rejected, 2 faults"),
            ),
            (
                "a file that is no YAML, beside a good one",
                vec!["a: [".to_owned(), agent("x", "s")],
                counts(1, 0, 0, 1, 1),
                Some("1 document unreadable, 1 fault"),
            ),
            (
                "of no kind",
                vec!["kind: Agnet\n".to_owned()],
                counts(0, 0, 1, 0, 2),
                Some("1 object rejected, 2 faults"),
            ),
        ] {
            let directory = tempfile::tempdir().expect("a directory");
            for (number, text) in files.iter().enumerate() {
                fs::write(directory.path().join(format!("{number}.yaml")), text).expect("written");
            }
            let loaded = vidimus_registry::load(directory.path());
            let counted = Counts { warnings: 0, ..Counts::of(&loaded) };
            assert_eq!(counted, expected, "{what}: {:#?}", loaded.rejections);
            assert_eq!(counted.faults, loaded.rejections.len(), "{what}");
            assert_eq!(left_out(&loaded).as_deref(), said, "{what}");
        }
    }

    /// A migration's window that is over; one that is open, and one that will be, are in order.
    #[test]
    fn a_window_that_does_not_open_again_is_told() {
        let policy = |name: &str, window: &str| {
            format!(
                "apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {{name: {name}, namespace: a}}\nspec:\n  description: d\n  \
                 window: {window}\n  cedar: permit (principal, action == Action::\"invokeTool\", resource);\n"
            )
        };
        let files = [
            policy("past", "{from: 2026-01-01T00:00:00Z, until: 2026-01-02T00:00:00Z}"),
            policy("days", "{until: 2026-12-01T00:00:00Z, days: [sunday]}"),
            policy("open", "{until: 2026-12-01T00:00:00Z}"),
            policy("later", "{from: 2027-01-01T00:00:00Z, days: [sunday]}"),
        ];
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("a.yaml"), files.join("---\n")).expect("written");
        let state = State::new(vidimus_registry::load(directory.path()), String::new());
        assert!(state.loaded.rejections.is_empty(), "{:#?}", state.loaded.rejections);
        // 2026-11-30, a Monday.
        let found = shut_for_good(&state, UnixMillis(1_795_996_800_000));
        let mut said: Vec<String> = found.iter().map(|one| format!("{} {}", one.object, one.value)).collect();
        said.sort();
        assert_eq!(
            said,
            [
                "Policy a/days sunday in UTC, until 2026-12-01T00:00:00Z",
                "Policy a/past from 2026-01-01T00:00:00Z, until 2026-01-02T00:00:00Z"
            ]
        );
    }

    #[test]
    fn what_can_be_called_has_an_address() {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo");
        let report = check(&State::new(vidimus_registry::load(&demo), String::new()));
        for (object, expected) in [
            ("MCPServer finance/ledger", Some("/mcp/finance/ledger")),
            ("Agent finance/echo", Some("/a2a/finance/echo")),
            ("Agent finance/risky-bot", None),
            ("LLMProvider platform/simulator", Some("/llm/platform/simulator")),
            ("Policy finance/small-transfers", None),
        ] {
            assert!(report.objects.iter().any(|found| found == object), "{object}");
            assert_eq!(report.addresses.get(object).map(String::as_str), expected, "{object}");
        }
    }

    #[test]
    fn a_fault_is_as_json_what_the_registry_says() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(
            directory.path().join("a.yaml"),
            "apiVersion: vidimus.dev/v1alpha1\nkind: Agent\nmetadata: {name: x}\nspec: {owner: 3}\n---\na: [",
        )
        .expect("written");
        let loaded = vidimus_registry::load(directory.path());
        assert!(loaded.rejections.len() > 1, "{:?}", loaded.rejections);
        for rejection in &loaded.rejections {
            let fault = Fault::from(rejection);
            assert_eq!(
                serde_json::to_value(&fault).expect("JSON"),
                serde_json::to_value(rejection).expect("JSON")
            );
            assert_eq!(fault.place(), rejection.origin.to_string());
        }
    }
}
