//! `check` says where what is wrong stands.

use std::os::unix::fs::PermissionsExt as _;

use super::gateway::Gateway;
use super::{AGENT, policy, run, write};

/// As `kubectl get vidimus -A -o yaml` prints what is there.
pub(super) const DUMP: &str = "apiVersion: v1
items:
- apiVersion: vidimus.dev/v1alpha1
  kind: Agent
  metadata:
    annotations:
      kubectl.kubernetes.io/last-applied-configuration: |
        {}
    creationTimestamp: \"2026-11-28T10:00:00Z\"
    generation: 1
    managedFields:
    - {manager: vidimus, operation: Apply, subresource: status}
    name: clerk
    namespace: books
    resourceVersion: \"812\"
    uid: 7a1c5f1e-0000-4000-8000-000000000001
  spec:
    owner: ada.l@example.com
    team: t
    purpose: p
    riskLevel: low
    identities:
    - serviceAccount: {name: clerk}
  status:
    conditions: [{type: Ready, status: \"True\"}]
    observedGeneration: 1
- apiVersion: vidimus.dev/v1alpha1
  kind: LLMProvider
  metadata: {name: models, namespace: books, uid: 7a1c5f1e-0000-4000-8000-000000000002}
  spec:
    owner: ada.l@example.com
    type: openAI
    credential:
      secretRef: {name: openai, key: apiKey}
    models:
    - name: m
kind: List
metadata:
  resourceVersion: \"\"
";

/// What a cluster has is checked as it is printed, and by every command that reads a directory.
#[test]
fn what_kubectl_prints_of_a_cluster_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display().to_string();
    write(directory.path(), "all.yaml", DUMP);
    let said = run(&["check", "--cluster", &at, "-o", "json"]).json();
    assert_eq!(
        said["objects"],
        serde_json::json!(["Agent books/clerk", "LLMProvider books/models"]),
        "{said:#}"
    );
    assert_eq!(said["rejections"], serde_json::json!([]), "{said:#}");
    // A gateway that reads a directory has no Secrets; what is wrong is told at its line in the list.
    let said = run(&["check", &at, "-o", "json"]).json();
    let line = 1 + DUMP.lines().position(|line| line.contains("secretRef")).unwrap();
    assert_eq!(said["rejections"].as_array().unwrap().len(), 1, "{said:#}");
    assert!(said["rejections"][0]["line"].as_u64().unwrap().abs_diff(line as u64) <= 1, "{said:#}");
    for words in [
        &["policy", "check", &at, "--cluster"][..],
        &["policy", "diff", &at, &at, "--cluster"],
        &[
            "policy",
            "reach",
            "--resources",
            &at,
            "--cluster",
            "--data",
            "/nonexistent",
            "--principal",
            "Agent/books/clerk",
        ],
    ] {
        let ran = run(words);
        assert!(ran.code != Some(2) && !ran.err.contains("rejected"), "{words:?}: {ran:?}");
    }
    let asked =
        ["policy", "explain", "--resources", &at, "--cluster", "--data", "/nonexistent", "-o", "json"];
    let call = ["--principal", "Agent/books/clerk", "--resource", "Model/books/models/m"];
    let ran = run(&[&asked[..], &call[..]].concat());
    assert_eq!((ran.code, &ran.json()["code"]), (Some(1), &"no_permit".into()), "{ran:?}");
}

#[test]
fn a_fault_has_the_line_of_its_field() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display().to_string();
    let text = format!(
        "# two\n{}---\n{}",
        AGENT.replace("riskLevel: low", "riskLevel: lw"),
        AGENT.replace("bot", "two").replace("  team: t\n", "  tem: t\n")
    );
    write(directory.path(), "a.yaml", &text);
    let line = |whole: &str| 1 + text.lines().position(|line| line == whole).unwrap();
    let said = run(&["check", &at, "-o", "json"]).json();
    let faults: Vec<_> = said["rejections"].as_array().unwrap().iter().collect();
    for (field, whole) in [("spec.riskLevel", "  riskLevel: lw"), ("spec.tem", "  tem: t")] {
        let fault = faults.iter().find(|fault| fault["field"] == field).unwrap_or_else(|| panic!("{said:#}"));
        assert_eq!(fault["line"], line(whole), "{field}: {said:#}");
    }
    // An object with several faults is one object.
    assert_eq!(said["counts"]["rejected"], 2, "{said:#}");
    let table = run(&["check", &at]).out;
    assert!(table.contains(&format!("a.yaml:{} Agent a/bot", line("  riskLevel: lw"))), "{table}");
}

/// Of keys and roots that cannot be read the first call would be refused: the start says so, and `check` where it is asked.
#[test]
fn what_a_gateway_here_could_not_read_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let (resources, secrets) = (directory.path().join("resources"), directory.path().join("secrets"));
    for made in [&resources, &secrets] {
        std::fs::create_dir(made).unwrap();
        std::fs::set_permissions(made, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    let provider = |name: &str, credential: &str, endpoint: &str| {
        let text = format!(
            "apiVersion: vidimus.dev/v1alpha1\nkind: LLMProvider\nmetadata: {{name: {name}, namespace: a}}\nspec: {{owner: \
             ada.l@example.com, type: openAICompatible, credential: {{{credential}}}, endpoint: {{url: \"https://127.0.0.1:1\"{endpoint}}}, \
             models: [{{name: m}}]}}\n"
        );
        write(&resources, &format!("{name}.yaml"), &text);
    };
    provider("wide", "file: wide.key", "");
    provider("missing", "file: missing.key", "");
    provider("unset", "env: VIDIMUS_TEST_NO_SUCH_VARIABLE", "");
    provider("good", "file: good.key", ", caFile: none.pem");
    provider("empty", "none: {}", ", caFile: empty.pem");
    write(&resources, "empty.pem", "");
    for (key, mode) in [("wide.key", 0o644), ("good.key", 0o600)] {
        write(&secrets, key, "k");
        std::fs::set_permissions(secrets.join(key), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let [at, of] = [&resources, &secrets].map(|path| path.display().to_string());
    assert_eq!(run(&["check", &at, "--strict"]).code, Some(0), "nothing is wrong with the text");
    let ran = run(&["check", &at, "--secrets", &of, "--strict", "-o", "json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let said = ran.json();
    let expected = [
        ("wide", "spec.credential", "mode 644"),
        ("missing", "spec.credential", "missing.key"),
        ("unset", "spec.credential", "is not set"),
        ("good", "spec.endpoint.caFile", "No such file"),
        ("empty", "spec.endpoint.caFile", "no certificate"),
    ];
    assert_eq!(said["counts"]["warnings"], expected.len(), "{said:#}");
    for (name, field, reason) in expected {
        let warned = said["warnings"].as_array().unwrap().iter().any(|one| {
            one["object"] == format!("LLMProvider a/{name}")
                && one["field"] == field
                && one["reason"].as_str().unwrap().contains(reason)
                && one["line"].as_u64() > Some(0)
        });
        assert!(warned, "{name}: {said:#}");
    }
    // A start without --secrets reads no file at all.
    let gateway = Gateway::start_in(directory);
    let log = std::fs::read_to_string(gateway.path("log")).unwrap();
    for told in ["mode 644", "--secrets", "is not set", "No such file", "no certificate"] {
        assert_eq!(log.contains(told), told != "mode 644", "{told}: {log}");
    }
}

/// What leads nowhere is told with its line, and the start says it as well.
#[test]
fn what_leads_nowhere_is_told_where_it_stands() {
    let directory = tempfile::tempdir().unwrap();
    let resources = directory.path().join("resources");
    std::fs::create_dir(&resources).unwrap();
    let text = "apiVersion: vidimus.dev/v1alpha1\nkind: MCPServer\nmetadata: {name: desk, namespace: a}\nspec:\n  owner: ada.l@example.com\n  \
                team: t\n  riskLevel: low\n  members:\n  - {name: ledger, server: {name: ledger}}\n  - {name: crm, server: {name: crm}}\n";
    write(&resources, "desk.yaml", text);
    let at = resources.display().to_string();
    assert_eq!((run(&["check", &at]).code, run(&["check", &at, "--strict"]).code), (Some(0), Some(1)));
    let said = run(&["check", &at, "-o", "json"]).json();
    let told = said["warnings"].as_array().unwrap().iter();
    let told: Vec<String> =
        told.map(|one| format!("{} {}", one["field"].as_str().unwrap(), one["line"])).collect();
    assert_eq!(told, ["spec.members[0].server 9", "spec.members[1].server 10"]);
    let table = run(&["check", &at]).out;
    let line = "desk.yaml:10 MCPServer a/desk spec.members[1].server a/crm: no MCPServer a/crm is registered (correct the name";
    assert!(table.contains(line), "{table}");
    let gateway = Gateway::start_in(directory);
    let log = std::fs::read_to_string(gateway.path("log")).unwrap();
    assert!(log.contains("accepted with a warning: no MCPServer a/crm is registered"), "{log}");
}

#[test]
fn an_attribute_that_only_agents_have_says_so() {
    let directory = tempfile::tempdir().unwrap();
    write(
        directory.path(),
        "a.yaml",
        &policy("old", r#"forbid (principal, action, resource) when { principal.version == "1" };"#),
    );
    let said = run(&["check", &directory.path().display().to_string(), "-o", "json"]).json();
    let fix = said["rejections"][0]["fix"].as_str().unwrap();
    assert!(fix.contains("version is an attribute of Agent") && fix.contains("is Agent"), "{said:#}");
}

/// A directory has no Secrets, and a cluster has nothing else: whichever the check is for, the other's fault has a reason and a fix.
#[test]
fn a_key_of_a_secret_is_for_a_cluster_and_a_file_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display().to_string();
    for (credential, of_directory, of_cluster) in [
        ("secretRef: {name: openai, key: apiKey}", "no Secrets outside a cluster", ""),
        ("file: openai.key", "", "in a cluster the key comes from a Secret"),
        ("env: OPENAI_KEY", "", "in a cluster the key comes from a Secret"),
        ("none: {}", "", ""),
    ] {
        let text = format!(
            "apiVersion: vidimus.dev/v1alpha1\nkind: LLMProvider\nmetadata: {{name: models, namespace: a}}\nspec:\n  owner: ada.l@example.com\n  type: \
             openAI\n  credential: {{{credential}}}\n  models: [{{name: m}}]\n"
        );
        write(directory.path(), "a.yaml", &text);
        for (arguments, says) in [
            (&["check", at.as_str(), "-o", "json"][..], of_directory),
            (&["check", "--cluster", at.as_str(), "-o", "json"][..], of_cluster),
        ] {
            let ran = run(arguments);
            assert_eq!(ran.code, Some(i32::from(!says.is_empty())), "{credential}: {ran:?}");
            let said = ran.json();
            let fault = &said["rejections"][0];
            if says.is_empty() {
                assert!(fault.is_null(), "{credential}: {said:#}");
            } else {
                assert!(fault["reason"].as_str().unwrap().contains(says), "{said:#}");
                assert!(!fault["fix"].as_str().unwrap().is_empty() && fault["line"] == 7, "{said:#}");
            }
        }
    }
}
