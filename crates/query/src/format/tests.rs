use super::layout::formatted;
use super::*;

const UGLY: &str = "permit(principal in Group::\"g\",action==Action::\"invokeTool\",resource) when{ context.delegation_depth<=3 };";

/// Of another layout each, and all say the same.
fn documents() -> Vec<String> {
    let head = "# kept\napiVersion: vidimus.dev/v1alpha1   # kept too\nkind: Policy\nmetadata: {name: p, namespace: a}\nspec:\n  description: d\n";
    vec![
        format!("{head}  cedar: |\n    {UGLY}\n"),
        format!("{head}  cedar: |-\n      {UGLY}\n\n  scope: Cluster # kept\n"),
        format!("{head}  cedar: {UGLY}\n  scope: Cluster\n"),
        format!("{head}  cedar: '{UGLY}'\n"),
        format!(
            "---\n{head}  cedar: |\n\n    // of the author\n    {UGLY} // behind it\n\n\n---\nkind: Other\n"
        ),
        format!(
            "{}spec:\n    cedar: |\n        {UGLY}\n    description: d\n",
            "kind: Policy\nmetadata:\n    name: p\n"
        ),
    ]
}

#[test]
fn cedar_is_formatted_and_all_else_stays_as_it_is() {
    for document in documents() {
        let Formatted { text, policies, changed, left } = formatted(&document);
        assert_eq!((policies, changed.len(), left.len()), (1, 1, 0), "{document}\n{left:?}");
        assert!(text.contains("permit (\n") && text.contains("principal in Group::\"g\","), "{text}");
        for kept in [
            "# kept",
            "kept too",
            "scope: Cluster",
            "// of the author",
            "// behind it",
            "kind: Other",
            "description: d",
        ] {
            assert_eq!(text.contains(kept), document.contains(kept), "{kept}\n{text}");
        }
        assert_eq!(text.matches("---").count(), document.matches("---").count());
        // Once more, and nothing changes.
        let again = formatted(&text);
        assert_eq!(
            (again.text.as_str(), again.changed.len(), again.left.len()),
            (text.as_str(), 0, 0),
            "{text}"
        );
    }
}

use super::layout::Formatted;

#[test]
fn what_is_not_understood_is_left_and_said() {
    let policy = |spec: &str| format!("kind: Policy\nmetadata: {{name: p, namespace: a}}\n{spec}");
    for (document, says) in [
        (policy(&format!("spec: {{description: d, cedar: '{UGLY}'}}\n")), "layout"),
        (policy(&format!("spec:\n  cedar: >\n    {UGLY}\n")), "layout"),
        (policy(&format!("spec:\n  cedar: |2\n    {UGLY}\n")), "layout"),
        (policy(&format!("spec:\n  cedar: '{UGLY}' # why\n")), "layout"),
        (policy(&format!("spec:\r\n  cedar: |\r\n    {UGLY}\r\n")), "carriage return"),
        (policy("spec:\n  cedar: |\n    permit (principal, action);\n"), "cannot parse"),
        // A description that looks like it.
        (
            policy(&format!("spec:\n  description: |\n    x\n    cedar: y\n  cedar: >-\n    {UGLY}\n")),
            "layout",
        ),
    ] {
        let Formatted { text, policies, changed, left } = formatted(&document);
        assert_eq!((&text, policies, changed.len(), left.len()), (&document, 1, 0, 1), "{document}");
        let reason = left.iter().map(|left| left.reason.as_str()).collect::<String>();
        assert!(reason.contains(says), "{document}: {reason}");
    }
    for other in ["", "# nothing\n", "a: [", "kind: Agent\nspec:\n  cedar: x\n", "kind: Policy\n"] {
        assert_eq!(formatted(other), Formatted { text: other.to_owned(), ..Formatted::default() }, "{other}");
    }
}

#[test]
fn the_examples_mean_the_same_when_they_are_formatted() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    for name in ["demo", "policies", "quickstart"] {
        let (answer, rewritten) = format(&[examples.join(name)]).expect("read");
        assert!(answer.policies > 0 && answer.left == 0, "{name}: {answer:#?}");
        let directory = tempfile::tempdir().expect("a directory");
        for entry in fs::read_dir(examples.join(name)).expect("listed") {
            let path = entry.expect("listed").path();
            let new = rewritten.iter().find(|file| file.path == path).map(|file| file.text.clone());
            let text = new.unwrap_or_else(|| fs::read_to_string(&path).expect("read"));
            fs::write(directory.path().join(path.file_name().expect("a name")), text).expect("written");
        }
        let (old, new) =
            (vidimus_registry::load(&examples.join(name)), vidimus_registry::load(directory.path()));
        assert!(new.rejections.is_empty(), "{:#?}", new.rejections);
        let ids = |loaded: &vidimus_registry::Loaded| {
            loaded.snapshot.policies().cloned().collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(ids(&old), ids(&new));
        let (again, rewritten) = format(&[directory.path().to_owned()]).expect("read");
        assert!(again.holds() && rewritten.is_empty(), "{again:#?}");
    }
}
