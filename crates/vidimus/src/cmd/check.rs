//! `vidimus check`: the same validation as a running gateway, as a command for CI.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Serialize;
use vidimus_core::resource::{Object, Rejection, Subject};
use vidimus_registry::Loaded;

use crate::output::{self, Format};

/// Checks resources and policies; exits 1 when something is wrong.
///
/// Every problem is named by file, field and value, with what to write instead. A gateway that reads the same directory uses
/// nothing that the objects named here would permit, and keeps what they forbade while they were good; one that starts with a new
/// data directory while a policy is malformed refuses everything.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus check examples/demo
  vidimus check --strict resources/    # for CI: a warning fails too
  vidimus check -o json resources/ | jq '.rejections[] | {source, field, fix}'

Exit codes: 0 in order, 1 something is wrong, 2 could not check")]
pub struct Check {
    /// Directory of YAML or JSON files, searched with its subdirectories.
    dir: PathBuf,
    /// Exit 1 also when there are only warnings.
    #[arg(long)]
    strict: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    objects: Vec<String>,
    /// Where those that can be called are, below the gateway's address.
    addresses: BTreeMap<String, String>,
    rejections: &'a [Rejection],
    warnings: &'a [Rejection],
    counts: Counts,
    snapshot: &'a str,
}

pub fn run(check: &Check, format: Format) -> anyhow::Result<ExitCode> {
    directory(&check.dir)?;
    let loaded = vidimus_registry::load(&check.dir);
    let objects = loaded.snapshot.objects();
    let report = Report {
        objects: objects.iter().map(name).collect(),
        addresses: objects.iter().filter_map(|object| Some((name(object), address(object)?))).collect(),
        rejections: &loaded.rejections,
        warnings: loaded.snapshot.warnings(),
        counts: Counts::of(&loaded),
        snapshot: loaded.snapshot.digest(),
    };
    let empty = report.objects.is_empty() && report.rejections.is_empty();
    if empty {
        output::warning(&format!("no resources in {}", check.dir.display()));
    }
    match format {
        Format::Json => output::json(&report)?,
        Format::Table => print(&report),
    }
    let warned = empty || !report.warnings.is_empty();
    let wrong = !report.rejections.is_empty() || (check.strict && warned);
    Ok(if wrong { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// A gateway reads a directory, so a file alone is not what it would read.
fn directory(path: &Path) -> anyhow::Result<()> {
    let metadata = fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?;
    if !metadata.is_dir() {
        bail!("{} is a file; give the directory that it is in", path.display());
    }
    fs::read_dir(path).map(drop).with_context(|| format!("{} cannot be read", path.display()))
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Objects in force of which nothing is wrong.
    in_order: usize,
    /// Objects in force of which something is not: an identity that others claim too.
    in_part: usize,
    /// Objects that are not in force.
    rejected: usize,
    /// Files, or documents of them, of which it cannot be read what they are.
    unreadable: usize,
    /// What is wrong: an object may have several faults.
    faults: usize,
    warnings: usize,
}

impl Counts {
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
    fn wrong(&self) -> Vec<String> {
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
pub fn left_out(loaded: &Loaded) -> Option<String> {
    let wrong = Counts::of(loaded).wrong();
    (!wrong.is_empty()).then(|| wrong.join(", "))
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn print(report: &Report<'_>) {
    let width = report.addresses.keys().map(String::len).max().unwrap_or_default();
    let faulty: BTreeSet<String> =
        report.rejections.iter().map(|rejection| rejection.object.to_string()).collect();
    for object in &report.objects {
        let address = report.addresses.get(object).map(String::as_str).unwrap_or_default();
        let in_part = if faulty.contains(object) { "  in part, see below" } else { "" };
        output::line(format!("{object:<width$}  {address}{in_part}").trim_end());
    }
    for rejection in report.rejections {
        let (place, object) = (&rejection.origin, &rejection.object);
        let in_part = report.objects.contains(&object.to_string());
        let what = output::verdict(if in_part { "in part" } else { "rejected" }, false);
        output::line(format!("{what} {place} {object}").trim_end());
        let row = |label: &str, text: &str| {
            if !text.is_empty() {
                output::line(&format!("  {label:<7}{text}"));
            }
        };
        row("field", &rejection.field);
        row("value", &rejection.value);
        row("reason", &rejection.reason);
        row("fix", &rejection.fix);
    }
    for warning in report.warnings {
        output::line(&warned(warning));
    }
    let counts = report.counts;
    let mut summary = vec![format!("{} in order", counted(counts.in_order, "object"))];
    summary.extend(counts.wrong());
    if counts.faults == 0 {
        summary.push("0 rejected".to_owned());
    }
    if counts.warnings > 0 {
        summary.push(counted(counts.warnings, "warning"));
    }
    let summary = output::verdict(&summary.join(", "), counts.faults == 0);
    output::line(&format!("{summary}  snapshot {}", report.snapshot));
}

fn warned(warning: &Rejection) -> String {
    let mut about = vec![warning.origin.to_string(), warning.object.to_string(), warning.value.clone()];
    about.retain(|part| !part.is_empty());
    format!("warning  {}: {} ({})", about.join(" "), warning.reason, warning.fix)
}

#[cfg(test)]
mod tests {
    use vidimus_core::resource::{Origin, Subject};

    use super::*;

    fn fault(line: u32, object: &str) -> Rejection {
        let text = || "x".to_owned();
        Rejection {
            origin: Origin::file("a.yaml", line),
            object: Subject::Document(object.to_owned()),
            field: text(),
            value: String::new(),
            reason: text(),
            fix: text(),
        }
    }

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

    #[test]
    fn a_line_that_is_not_known_is_not_shown() {
        assert_eq!(warned(&fault(0, "")), "warning  a.yaml: x (x)");
        assert_eq!(warned(&fault(7, "")), "warning  a.yaml:7: x (x)");
        assert_eq!(warned(&fault(7, "Policy a/b")), "warning  a.yaml:7 Policy a/b: x (x)");
    }

    #[test]
    fn what_can_be_called_has_an_address() {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo");
        let loaded = vidimus_registry::load(&demo);
        let found: BTreeMap<_, _> =
            loaded.snapshot.objects().iter().map(|object| (name(object), address(object))).collect();
        for (object, expected) in [
            ("MCPServer finance/ledger", Some("/mcp/finance/ledger")),
            ("Agent finance/echo", Some("/a2a/finance/echo")),
            ("Agent finance/risky-bot", None),
            ("LLMProvider platform/simulator", Some("/llm/platform/simulator")),
            ("Policy finance/small-transfers", None),
        ] {
            assert_eq!(found.get(object).map(Option::as_deref), Some(expected), "{object}");
        }
        assert!(directory(&demo).is_ok());
        assert!(
            directory(&demo.join("estate.yaml")).is_err_and(|error| error.to_string().contains("directory"))
        );
    }
}
