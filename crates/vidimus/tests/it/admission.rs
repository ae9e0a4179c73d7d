//! What a cluster is given, and what is found of pods that run already.

use std::path::PathBuf;

use super::run;

fn tree(path: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path).display().to_string()
}

#[test]
fn the_manifests_are_those_of_the_tree_with_what_is_ones_own() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data").display().to_string();
    let of = |more: &[&str]| {
        let ran = run(&[&["admission", "manifests"], more].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.out
    };
    let vap = std::fs::read_to_string(tree("deploy/admission/validating-admission-policy.yaml")).unwrap();
    assert_eq!(of(&["--form", "vap"]), vap);
    assert_eq!(of(&["--form", "kyverno"]).matches("kind: ValidatingPolicy\n").count(), 3);
    let (resources, table) = (tree("e2e/admission/resources"), tree("e2e/admission/registrations.yaml"));
    let said = of(&["--form", "registrations", "--resources", &resources]);
    assert_eq!(said, std::fs::read_to_string(table).unwrap());
    // Nothing is made by a name that is wrong: the API server would ask nobody, and take no object.
    for none in [&["--data", &data][..], &["--data", &data, "--admission-keys", &data]] {
        let ran = run(&[&["admission", "manifests"], none].concat());
        assert!(
            ran.code == Some(2) && ran.out.is_empty() && ran.err.contains("has no keys of a webhook"),
            "{ran:?}"
        );
        assert!(!PathBuf::from(&data).exists(), "{none:?}");
    }
    assert_eq!(run(&["admission", "ca", "--data", &data]).code, Some(0));
    let webhook = of(&["--data", &data, "--service", "gate:9443", "--namespace", "agents"]);
    for part in [r#""name":"gate""#, r#""namespace":"agents""#, r#""port":9443"#, "/pods/enforce", "caBundle"]
    {
        assert!(webhook.contains(part), "{part}: {webhook}");
    }
    assert_eq!(of(&["--data", &data, "--service", "gate:9443", "--namespace", "agents"]), webhook, "kept");
    let ca = run(&["admission", "ca", "--data", &data]);
    assert!(ca.out.starts_with("-----BEGIN CERTIFICATE-----"), "{ca:?}");
    for wrong in [
        &["--form", "registrations"][..],
        &["--url", "http://10.0.0.1"],
        &["--url", "https://10.0.0.1/?x"],
        &["--service", "gate:x"],
        &["--namespace", "A"],
    ] {
        let ran = run(&[&["admission", "manifests", "--data", &data], wrong].concat());
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{wrong:?}");
    }
}

/// In `enforce` a table of nothing refuses every pod.
#[test]
fn of_nothing_no_table_is_made_and_what_kubectl_prints_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display().to_string();
    let of = || run(&["admission", "manifests", "--form", "registrations", "--resources", &at]);
    for nothing in ["", "apiVersion: v1\nkind: List\nitems: []\n", "kind: Agent\n"] {
        super::write(directory.path(), "all.yaml", nothing);
        let ran = of();
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
        assert!(ran.err.contains("nothing is registered"), "{ran:?}");
    }
    super::write(directory.path(), "all.yaml", super::check::DUMP);
    let ran = of();
    assert!(ran.code == Some(0) && ran.out.contains("books.clerk"), "{ran:?}");
    assert!(!ran.err.contains("fault"), "{ran:?}");
}

#[test]
fn pods_that_run_already_are_reported_on() {
    let directory = tempfile::tempdir().unwrap();
    let resources = tree("e2e/admission/resources");
    let cases: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(tree("e2e/admission/pods.json")).unwrap()).unwrap();
    let pods: Vec<&serde_json::Value> = cases.as_array().unwrap().iter().map(|case| &case["pod"]).collect();
    let path = directory.path().join("pods").display().to_string();
    let scan = |text: String| {
        std::fs::write(&path, text).unwrap();
        run(&["admission", "scan", "--resources", &resources, &path])
    };
    let ran = scan(serde_json::json!({"kind": "List", "items": pods}).to_string());
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for part in ["wgpolicyk8s.io/v1alpha2", "openreports.io/v1alpha1", "pod_not_registered", "pass: 7"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    assert!(ran.err.contains("20 pods, of which 13 break a rule"), "{}", ran.err);
    // One document after another, of which all keep every rule.
    let good = format!("---\n{}\n---\n{}\n", pods[0], pods[7]);
    assert_eq!(scan(good).code, Some(0));
    for wrong in ["{", "kind: Deployment\n", "- 3\n"] {
        let ran = scan(wrong.to_owned());
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{wrong}: {ran:?}");
    }
}
