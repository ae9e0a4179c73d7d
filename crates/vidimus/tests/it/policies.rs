//! The commands about policies: cases, replay, suggestions, differences, form, and sets to begin with.

use std::path::Path;

use super::gateway::{Gateway, upstream_that_hangs_up};
use super::{policy, resources, run, write};

fn examples(name: &str) -> String {
    format!("{}/../../examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_cases_of_the_demo_pass() {
    let demo = examples("demo");
    let ran = run(&["policy", "test", &demo]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("14 cases passed") && !ran.out.contains("failed"), "{ran:?}");
    // A gateway and `check` know nothing of them.
    let checked = run(&["check", &demo]);
    assert!(checked.code == Some(0) && !checked.out.contains("cases"), "{checked:?}");
}

#[test]
fn a_case_that_fails_is_told_in_words_in_json_and_in_xml() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    resources(directory.path(), 1);
    let none = run(&["policy", "test", &at("")]);
    assert!(none.code == Some(2) && none.err.contains("cases.yaml"), "{none:?}");
    write(
        directory.path(),
        "x.cases.yaml",
        "cases:\n  - name: refused\n    principal: Agent/a/bot\n    resource: Tool/a/tools/get\n    expect: {outcome: deny}\n",
    );
    let ran = run(&["policy", "test", &at(""), "--junit", &at("cases.xml")]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for part in
        ["failed", "x.cases.yaml:2 refused", "outcome is allow, not deny", "permitted by a/open", "1 failed"]
    {
        assert!(ran.out.contains(part), "{part}: {ran:?}");
    }
    let xml = std::fs::read_to_string(at("cases.xml")).unwrap();
    assert!(xml.contains("failures=\"1\"") && xml.contains("outcome is allow, not deny"), "{xml}");
    let ran = run(&["policy", "test", &at(""), "-o", "json"]);
    assert_eq!((ran.code, &ran.json()["cases"][0]["verdict"]), (Some(1), &"failed".into()), "{ran:?}");
    // A report that cannot be written is an error, of the file that was named, and what came of the cases is told all the same.
    let ran = run(&["policy", "test", &at(""), "--junit", &at("none/cases.xml")]);
    assert!(ran.code == Some(2) && ran.out.contains("outcome is allow, not deny"), "{ran:?}");
    assert!(ran.err.contains(&at("none/cases.xml")) && ran.err.contains("No such file"), "{ran:?}");
    write(directory.path(), "y.cases.yaml", "cases: [");
    let ran = run(&["policy", "test", &at(""), "--junit", &at("none/cases.xml")]);
    assert!(
        ran.code == Some(2) && ran.err.contains("error: ") && ran.err.contains("y.cases.yaml"),
        "{ran:?}"
    );
    assert!(ran.err.contains(&at("none/cases.xml")), "{ran:?}");
    // A report that was green before does not stay where nothing could be tested.
    std::fs::write(at("cases.xml"), "<testsuites errors=\"0\"/>").unwrap();
    let ran = run(&["policy", "test", &at(""), "--junit", &at("cases.xml")]);
    assert!(ran.code == Some(2) && ran.err.contains("y.cases.yaml"), "{ran:?}");
    let xml = std::fs::read_to_string(at("cases.xml")).unwrap();
    assert!(xml.contains("errors=\"1\"") && xml.contains("y.cases.yaml"), "{xml}");
    // What is not said of a case may be anything.
    write(
        directory.path(),
        "y.cases.yaml",
        "cases:\n  - name: code alone\n    principal: Agent/a/bot\n    resource: Tool/a/tools/get\n    expect: {code: no_permit}\n",
    );
    let ran = run(&["policy", "test", &at("")]);
    assert!(ran.code == Some(1) && ran.out.contains("code is none, not no_permit"), "{ran:?}");
}

#[test]
fn what_was_decided_is_decided_again_and_what_was_used_is_suggested() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    gateway.call(Some(&gateway.token()));
    let kept = format!("{}/configurations", gateway.path("data"));
    let configurations = || std::fs::read_dir(&kept).into_iter().flatten().count();
    gateway.wait("kept", |_| configurations() >= 2);
    let resources_at = gateway.path("resources");
    // Another configuration, of which one more object is kept.
    write(Path::new(&resources_at), "c.yaml", &policy("other", "permit (principal, action, resource);"));
    gateway.wait("in force", |gateway| {
        gateway
            .get("/registry")
            .is_some_and(|answer| answer.contains("Policy a/other") || answer.contains("a/other"))
            || configurations() >= 4
    });
    gateway.wait("kept too", |_| configurations() >= 3);
    gateway.call(Some(&gateway.token()));
    let (directory, code) = gateway.stop();
    assert_eq!(code, Some(0));
    let at = |name: &str| directory.path().join(name).display().to_string();
    let (data, proposed) = (at("data"), at("proposed"));

    let again = run(&["policy", "replay", "--data", &data, "-o", "json"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(again.json()["calls"]["stays_allowed"], 2, "{again:?}");

    resources(Path::new(&proposed), 1);
    let same = run(&["policy", "replay", "--resources", &proposed, "--data", &data]);
    assert!(same.code == Some(0) && same.out.contains("2 calls recorded: 2 stay"), "{same:?}");
    write(Path::new(&proposed), "d.yaml", &policy("stop", "forbid (principal, action, resource);"));
    let ran = run(&["policy", "replay", "--resources", &proposed, "--data", &data]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("2 would be denied") && ran.out.contains("a/stop"), "{ran:?}");
    let ran = run(&["policy", "diff", &at("resources"), &proposed, "--data", &data, "-o", "json"]);
    assert!(ran.code == Some(1) && ran.json()["calls"]["allow_to_deny"] == 2, "{ran:?}");
    let none = run(&["policy", "replay", "--data", &data, "--agent", "a/nobody"]);
    assert!(none.code == Some(2) && none.err.contains("no recorded call fits"), "{none:?}");

    // In the place of all policies it permits what was used.
    let used = run(&["policy", "suggest", "--data", &data]);
    assert_eq!(used.code, Some(0), "{used:?}");
    std::fs::remove_file(format!("{proposed}/c.yaml")).unwrap();
    write(Path::new(&proposed), "d.yaml", &used.out);
    assert_eq!(run(&["check", "--strict", &proposed]).code, Some(0));
    let again = run(&["policy", "replay", "--resources", &proposed, "--data", &data]);
    assert_eq!(again.code, Some(0), "{again:?}");
    let cedar = run(&["policy", "suggest", "--data", &data, "--cedar", "--agent", "bot"]);
    assert!(cedar.out.contains("resource == Tool::\"a/tools/get\""), "{cedar:?}");
    let nobody = run(&["policy", "suggest", "--data", &data, "--agent", "nobody"]);
    assert!(nobody.code == Some(1) && nobody.err.contains("nothing to permit"), "{nobody:?}");

    // What is lost is said.
    std::fs::remove_dir_all(format!("{data}/configurations")).unwrap();
    let lost = run(&["policy", "replay", "--data", &data]);
    assert!(lost.code == Some(1) && lost.out.contains("the configuration is not kept"), "{lost:?}");
}

#[test]
fn two_sets_are_compared() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    for name in ["old", "new"] {
        resources(Path::new(&at(name)), 1);
    }
    let same = run(&["policy", "diff", &at("old"), &at("new")]);
    assert!(same.code == Some(0) && same.out.contains("compared by enumeration"), "{same:?}");
    write(
        Path::new(&at("new")),
        "c.yaml",
        &policy(
            "open",
            "permit (principal, action in Action::\"mcp\", resource) when { context.delegation_depth < 3 };",
        ),
    );
    let ran = run(&["policy", "diff", &at("old"), &at("new")]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for part in ["changed  Policy a/open", "Tool/a/tools/*", "depends on context.delegation_depth"] {
        assert!(ran.out.contains(part), "{part}: {ran:?}");
    }
    for (flag, name) in [("--principal", "Agent/a/ghost"), ("--resource", "Tool/a/ghost/x")] {
        let ran = run(&["policy", "diff", &at("old"), &at("new"), flag, name]);
        assert!(ran.code == Some(2) && ran.err.contains(&format!("{flag} '{name}'")), "{ran:?}");
        assert!(ran.err.contains("registered"), "{ran:?}");
    }
    // What is malformed is no proposal: what it would forbid is not known.
    write(Path::new(&at("new")), "d.yaml", &policy("half", "forbid (principal, action"));
    let malformed = run(&["policy", "diff", &at("old"), &at("new")]);
    assert!(malformed.code == Some(2) && malformed.err.contains("1 object rejected"), "{malformed:?}");
    let ran = run(&["policy", "diff", &at("old"), &at("new"), "--since", "1h"]);
    assert!(ran.code == Some(2) && ran.err.contains("--data"), "{ran:?}");
}

#[test]
fn cedar_is_put_into_form_and_checked_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display().to_string();
    resources(directory.path(), 1);
    let file = directory.path().join("c.yaml");
    write(directory.path(), "c.yaml", &policy("open", "permit(principal,action,resource);"));
    let before = std::fs::read_to_string(&file).unwrap();
    let checked = run(&["policy", "fmt", "--check", &at]);
    assert!(checked.code == Some(1) && checked.out.contains("not in form"), "{checked:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before, "nothing is written");
    let ran = run(&["policy", "fmt", &at, "-o", "json"]);
    assert!(ran.code == Some(0) && ran.json()["changed"] == 1, "{ran:?}");
    assert!(
        std::fs::read_to_string(&file).unwrap().contains("permit (principal, action, resource);"),
        "{before}"
    );
    assert_eq!(run(&["policy", "fmt", "--check", &at]).code, Some(0));
    assert_eq!(run(&["check", &at]).code, Some(0));
    assert_eq!(run(&["policy", "fmt", "/nonexistent"]).code, Some(2));
    // Where there is nothing to format that is said, with what is read; beside others it is a warning.
    let other = tempfile::tempdir().unwrap();
    let none = |name: &str| other.path().join(name).display().to_string();
    std::fs::write(none("x.cedar"), "permit(principal,action,resource);").unwrap();
    std::fs::write(none("x.yaml"), ": [").unwrap();
    for path in [none("x.cedar"), none("x.yaml"), none("")] {
        let ran = run(&["policy", "fmt", &path]);
        assert!(ran.code == Some(2) && ran.out.is_empty(), "{ran:?}");
        assert!(ran.err.contains(&format!("no policies in {path}")), "{ran:?}");
        assert!(ran.err.contains("spec.cedar") && ran.err.contains(".yaml"), "{ran:?}");
    }
    let ran = run(&["policy", "fmt", &at, &none("x.cedar")]);
    assert!(ran.code == Some(0) && ran.err.contains("x.cedar has no policy"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(none("x.cedar")).unwrap(), "permit(principal,action,resource);");
    // What a link out of the directory leads to is somebody else's.
    let elsewhere = tempfile::tempdir().unwrap();
    write(elsewhere.path(), "z.yaml", &before);
    let link = directory.path().join("z.yaml");
    std::os::unix::fs::symlink(elsewhere.path().join("z.yaml"), &link).unwrap();
    let ran = run(&["policy", "fmt", &at]);
    assert!(ran.code == Some(0) && ran.err.contains("leads out of"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(&link).unwrap(), before, "it is as it was");
    std::fs::remove_file(&link).unwrap();
    let left = std::fs::read_dir(&at).unwrap().count();
    assert_eq!(left, 3, "nothing is left beside them");
}

#[test]
fn a_set_to_begin_with_is_written_once() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("deep/er").display().to_string();
    let all = run(&["policy", "init", "-o", "json"]).json();
    let names: Vec<&str> =
        all["starters"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"read-only"), "{all}");
    for name in names {
        let at = format!("{at}/{name}");
        let ran = run(&["policy", "init", name, "--dir", &at, "--namespace", name]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let again = run(&["policy", "init", name, "--dir", &at, "--namespace", name]);
        assert!(again.code == Some(2) && again.err.contains("is there already"), "{again:?}");
        let tested = run(&["policy", "test", &at]);
        assert_eq!(tested.code, Some(0), "{tested:?}");
    }
    // Side by side each has its namespace; what would take the place of another is not written.
    let (one, both) = (directory.path().join("one"), directory.path().join("both"));
    let (one, both) = (one.display().to_string(), both.display().to_string());
    let init = |name: &str, at: &str, namespace: &str| {
        run(&["policy", "init", name, "--dir", at, "--namespace", namespace])
    };
    assert_eq!(init("approvals", &one, "a").code, Some(0));
    let ran = init("finance-limits", &one, "a");
    assert!(ran.code == Some(2) && ran.err.contains("Agent a/payer is there already"), "{ran:?}");
    assert_eq!(std::fs::read_dir(&one).unwrap().count(), 3, "nothing was written");
    for name in ["read-only", "finance-limits", "approvals", "environments", "office-hours"] {
        assert_eq!(init(name, &both, name).code, Some(0), "{name}");
    }
    assert_eq!(run(&["check", &both]).code, Some(0));
    let tested = run(&["policy", "test", &both]);
    assert_eq!(tested.code, Some(0), "{tested:?}");
    // What is there already would decide the cases of the set otherwise.
    let open = directory.path().join("open");
    std::fs::create_dir(&open).unwrap();
    write(
        &open,
        "a.yaml",
        "apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {name: open, namespace: a}\nspec:\n  description: d\n  cedar: permit \
         (principal, action == Action::\"invokeTool\", resource);\n",
    );
    let open = open.display().to_string();
    let ran = init("finance-limits", &open, "a");
    assert!(
        ran.code == Some(2) && ran.err.contains("by a/open") && ran.err.contains("--namespace"),
        "{ran:?}"
    );
    assert_eq!(std::fs::read_dir(&open).unwrap().count(), 1, "nothing was written");
    assert_eq!(init("finance-limits", &open, "b").code, Some(0));
    assert_eq!(run(&["policy", "test", &open]).code, Some(0));
    let misspelt = run(&["policy", "init", "readonly"]);
    assert!(misspelt.code == Some(2) && misspelt.err.contains("did you mean read-only?"), "{misspelt:?}");
    assert_eq!(run(&["policy", "init", "read-only", "--namespace", "A"]).code, Some(2));
}
