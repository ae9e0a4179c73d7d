//! A start whose API server is not there: the log says so in a few lines, with which server it is.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::command;
use super::gateway::free_port;

#[test]
fn a_cluster_that_was_never_heard_is_told_in_a_few_lines() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    // Nobody listens on port 1.
    let text = "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: \"http://127.0.0.1:1\"}}]\nusers: [{name: u, user: {}}]\n\
        contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n";
    std::fs::write(at("config"), text).unwrap();
    let [listen, admin] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
    let (config, data) = (at("config"), at("data"));
    let words = ["serve", "--cluster", "--kubeconfig", &config, "--data", &data];
    let log = std::fs::File::create(at("log")).unwrap();
    let mut process = command(&[&words[..], &["--listen", &listen, "--admin", &admin]].concat())
        .stderr(log)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let said = || std::fs::read_to_string(at("log")).unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while said().matches("cannot be read; nothing of it is registered").count() < 5 && Instant::now() < until
    {
        std::thread::sleep(Duration::from_millis(100));
    }
    // It tries again meanwhile.
    std::thread::sleep(Duration::from_secs(3));
    process.kill().unwrap();
    process.wait().unwrap();
    let said = said();
    assert!(
        said.contains("the API server http://127.0.0.1:1 is not reached: the connection was refused"),
        "{said}"
    );
    for wrong in ["kube_client", "is not heard any more", "ServiceError", "bind the roles"] {
        assert!(!said.contains(wrong), "{wrong}: {said}");
    }
    assert_eq!(
        said.matches("cannot be read; nothing of it is registered").count(),
        5,
        "once of each kind: {said}"
    );
}
