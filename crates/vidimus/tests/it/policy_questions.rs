//! `policy reach`, `policy check` and `policy explain --call`, as their users have them.

use std::path::Path;

use super::gateway::{Gateway, upstream_that_hangs_up};
use super::{policy, resources, run, write};

fn reach(at: &str, more: &[&str]) -> super::Ran {
    run(&[&["policy", "reach", "--resources", at, "--data", "/nonexistent"], more].concat())
}

#[test]
fn who_can_call_is_said_in_both_forms_with_its_status() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display().to_string();
    resources(directory.path(), 1);
    write(
        directory.path(),
        "c.yaml",
        &policy(
            "few",
            r#"permit (principal == Agent::"a/bot", action == Action::"invokeTool", resource == Tool::"a/tools/get") when { context.delegation_depth <= 2 };"#,
        ),
    );
    let ran = reach(&at, &["--resource", "Tool/a/tools/get"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for part in [
        "OUTCOME",
        "conditional",
        "Agent/a/bot",
        "a/few",
        "context.delegation_depth <= 2",
        "0 always, 1 conditional",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let found = reach(&at, &["--principal", "Agent/a/bot", "-o", "json"]).json();
    let rows = found["reached"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{found}");
    assert_eq!(rows[1]["permits_when"][0]["when"], "context.delegation_depth <= 2", "{found}");
    assert_eq!(rows[0]["implied_by"][0], "invokeTool Tool/a/tools/get", "{found}");
    let ran = reach(&at, &[]);
    assert!(ran.err.contains("--principal") && ran.err.contains("--resource"), "{ran:?}");
    let ran = reach(&at, &["--resource", "Tool/a/tools/other"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let ran = reach(&at, &["--resource", "Tool/a/tools/other", "--never"]);
    assert!(ran.code == Some(1) && ran.out.contains("never"), "{ran:?}");
    for wrong in
        [&["--resource", "Tool/a/none/x"][..], &["--action", "invokeTool"], &["--principal", "Agent/a/none"]]
    {
        assert_eq!(reach(&at, wrong).code, Some(2), "{wrong:?}");
    }
}

#[test]
fn who_may_approve_is_said_with_its_status() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display().to_string();
    resources(directory.path(), 1);
    let text = r#"permit (principal in UserGroup::"payers", action == Action::"approve", resource) when { context.role == "payers" };"#;
    write(directory.path(), "c.yaml", &policy("people", text));
    let ran = reach(&at, &["--action", "approve", "--resource", "Tool/a/tools/get"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for part in ["UserGroup/payers", "a/people", r#"context.role == "payers""#, "1 conditional"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let ada = ["--principal", "User/https://login.example#ada"];
    assert_eq!(reach(&at, &ada).code, Some(1));
    let found = reach(&at, &[&ada[..], &["--group", "payers", "-o", "json"]].concat());
    assert_eq!(found.code, Some(0), "{found:?}");
    assert_eq!(found.json()["reached"][0]["action"], "approve");
    for wrong in [&["--action", "approve", "--principal", "Agent/a/bot"][..], &["--principal", "User/ada"]] {
        assert_eq!(reach(&at, wrong).code, Some(2), "{wrong:?}");
    }
}

#[test]
fn policies_are_checked_with_the_line_and_the_status_that_is_denied() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display().to_string();
    resources(directory.path(), 1);
    let check = |more: &[&str]| run(&[&["policy", "check", at.as_str()], more].concat());
    let ran = check(&[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("over-broad") && ran.out.contains("c.yaml:6 a/open"), "{}", ran.out);
    assert_eq!(check(&["--deny", "over-broad"]).code, Some(1));
    assert_eq!(check(&["--deny", "all"]).code, Some(1));
    assert_eq!(check(&["--deny", "dead,shadowed"]).code, Some(0));
    let found = check(&["-o", "json"]).json();
    assert_eq!(found["findings"][0]["class"], "over-broad", "{found}");
    assert_eq!(found["findings"][0]["line"], 6, "{found}");
    // A misspelt annotation is none, and the policy weaker than it reads.
    let misspelt = policy(
        "two",
        r#"@approval("payers") @quorom("2") forbid (principal, action, resource)
    unless { context has approval && context.approval.role == "payers" };"#,
    );
    write(directory.path(), "e.yaml", &misspelt);
    let ran = run(&["check", "--strict", &at]);
    let says = ran.out.contains("@quorom says nothing here (did you mean @quorum?)");
    assert!(ran.code == Some(1) && says, "{ran:?}");
    assert!(check(&[]).out.contains("did you mean @quorum?"));
    std::fs::remove_file(directory.path().join("e.yaml")).unwrap();
    write(directory.path(), "d.yaml", &policy("bad", "nonsense"));
    assert_eq!(check(&[]).code, Some(1));
    assert_eq!(run(&["policy", "check", "/nonexistent"]).code, Some(2));
}

#[test]
fn a_call_that_was_made_is_explained_by_its_id() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    gateway.call(Some(&gateway.token()));
    gateway.call(None);
    let (served, _) = gateway.stop();
    let (data, resources) = (served.path().join("data"), served.path().join("resources"));
    let (data, resources) = (data.display().to_string(), resources.display().to_string());
    let search = |kind: &str| {
        run(&["audit", "search", "--data", &data, "--kind", kind, "--limit", "1", "-o", "json"]).json()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (decided, refused) = (search("decision"), search("refusal"));
    let explain = |call: &str| {
        run(&["policy", "explain", "--resources", &resources, "--data", &data, "--call", call, "-o", "json"])
    };
    let ran = explain(&decided);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let said = ran.json();
    assert_eq!(
        (&said["recorded"]["outcome"], &said["recorded"]["differs"]),
        (&"allow".into(), &false.into()),
        "{said}"
    );
    // What is configured now decides.
    write(Path::new(&resources), "d.yaml", &policy("stop", "forbid (principal, action, resource);"));
    let ran = explain(&decided);
    assert_eq!((ran.code, &ran.json()["recorded"]["differs"]), (Some(1), &true.into()), "{ran:?}");
    let table =
        run(&["policy", "explain", "--resources", &resources, "--data", &data, "--call", &decided]).out;
    assert!(table.contains("recorded") && table.contains("a/stop"), "{table}");
    let ran = explain(&refused);
    assert!(ran.code == Some(2) && ran.err.contains("refused before it was decided"), "{ran:?}");
    assert_eq!(explain("none").code, Some(2));
}
