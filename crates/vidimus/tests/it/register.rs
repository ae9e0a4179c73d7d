//! Resources for a cluster, as far as that goes without one. `e2e/kube/register_test.go` sends them to a real API server.

use super::{AGENT, policy, run, write};

#[test]
fn what_is_wrong_in_the_files_is_told_and_nothing_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a.yaml", &AGENT.replace("riskLevel: low", "riskLevel: LOW"));
    write(directory.path(), "b.yaml", &policy("open", "permit (principal);"));
    let path = directory.path().display().to_string();
    // Nothing is asked of a cluster: there is none.
    let ran = run(&["register", &path, "-o", "json", "--kubeconfig", "/nowhere"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let told = ran.json();
    assert_eq!((&told["ready"], &told["objects"]), (&false.into(), &serde_json::json!([])));
    let fields: Vec<&str> =
        told["rejections"].as_array().unwrap().iter().map(|one| one["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["spec.riskLevel", "spec.cedar"], "{told}");
    assert!(told["rejections"][0]["source"].as_str().unwrap().ends_with("a.yaml"), "{told}");
    let table = run(&["register", &path, "--kubeconfig", "/nowhere"]);
    assert!(table.out.contains("spec.riskLevel") && table.out.contains("not all is in force"), "{table:?}");
}

#[test]
fn without_a_cluster_nothing_is_known() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a.yaml", AGENT);
    let file = directory.path().join("a.yaml").display().to_string();
    let config = directory.path().join("config").display().to_string();
    // Nobody listens on port 1.
    let text = "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: \"http://127.0.0.1:1\"}}]\nusers: [{name: u, user: {}}]\n\
        contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n";
    std::fs::write(&config, text).unwrap();
    for (words, says) in [
        (vec!["register", &*file, "--kubeconfig", &*config], "the API server does not answer"),
        (vec!["register", &*file, "--kubeconfig", &*config, "--dry-run"], "the API server does not answer"),
        (vec!["register", &*file, "--kubeconfig", &*config, "--context", "y"], "--kubeconfig"),
        (vec!["register", &*file, "--kubeconfig", "/nowhere"], "--kubeconfig /nowhere"),
        (vec!["register", "/nowhere.yaml"], "/nowhere.yaml cannot be read"),
        (vec!["register"], "FILE"),
    ] {
        let ran = run(&words);
        assert!(ran.code == Some(2) && ran.err.contains(says), "{words:?}: {ran:?}");
    }
    let empty = tempfile::tempdir().unwrap();
    let ran = run(&["register", &empty.path().display().to_string(), "--kubeconfig", &config]);
    assert!(ran.code == Some(2) && ran.err.contains("no resources"), "{ran:?}");
}
