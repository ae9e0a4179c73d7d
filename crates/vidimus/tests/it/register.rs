//! Resources for a cluster, as far as that goes with a stand-in of its API server. `e2e/kube/register_test.go` sends them to a real one.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{AGENT, Ran, policy, run, write};

/// The first lines of what was asked.
type Asked = Arc<Mutex<Vec<String>>>;

/// Answers what is asked by its first line; gives its kubeconfig, of which the context has a namespace.
fn api_server(directory: &Path, answer: impl Fn(&str) -> (u16, Value) + Send + 'static) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let asked = Asked::default();
    let heard = asked.clone();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut lines = BufReader::new(connection.try_clone().unwrap());
            let (mut first, mut length) = (String::new(), 0);
            lines.read_line(&mut first).unwrap();
            loop {
                let mut line = String::new();
                lines.read_line(&mut line).unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            lines.read_exact(&mut vec![0; length]).unwrap();
            heard.lock().unwrap().push(first.trim().to_owned());
            let (status, body) = answer(first.trim());
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 {status} S\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
                body.len()
            );
            connection.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes()).unwrap();
        }
    });
    let config = directory.join("kubeconfig").display().to_string();
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"{server}\"}}}}]\nusers: [{{name: u, user: {{}}}}]\n\
         contexts: [{{name: x, context: {{cluster: c, user: u, namespace: books}}}}]\ncurrent-context: x\n"
    );
    std::fs::write(&config, text).unwrap();
    (config, asked)
}

fn status(code: u16, message: &str) -> (u16, Value) {
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code, "metadata": {}}),
    )
}

/// What the API server answers is told, with which server it is and what to do, and not as Rust would show it.
#[test]
fn a_server_that_says_no_is_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.yaml").display().to_string();
    write(directory.path(), "a.yaml", AGENT);
    let webhook =
        "Internal error occurred: failed calling webhook \"records.vidimus.dev\": connection refused";
    for (code, message, says) in [
        (401, "Unauthorized", "does not know who asks: Unauthorized (401); the credentials are over"),
        (403, "agents \"bot\" is forbidden: User \"u\" cannot get resource \"agents\"", "deploy/rbac"),
        (500, webhook, "vidimus doctor --cluster"),
        (503, "etcd", "try again"),
    ] {
        let (config, _) = api_server(directory.path(), move |_| status(code, message));
        let ran = run(&["register", &file, "--kubeconfig", &config]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.err.contains("the API server http://127.0.0.1:") && ran.err.contains(says), "{ran:?}");
        for dump in ["ApiError", "Some(", "ListMeta", "does not answer"] {
            assert!(!ran.err.contains(dump), "{ran:?}");
        }
    }
    // Who is unknown there is told once, and not of each object.
    let (config, asked) = api_server(directory.path(), |_| status(401, "Unauthorized"));
    let ran = run(&["install", "--dry-run", "--server", "--kubeconfig", &config]);
    assert!(ran.code == Some(2) && ran.err.contains("does not know who asks"), "{ran:?}");
    assert_eq!(asked.lock().unwrap().len(), 1, "{ran:?}");
}

/// As with kubectl. And what a policy is about may be in the cluster already.
#[test]
fn what_the_cluster_says_counts_for_namespaces_and_for_warnings() {
    let directory = tempfile::tempdir().unwrap();
    let agent = AGENT.replace("namespace: a", "namespace: books");
    let cedar = r#"permit (principal == Agent::"books/bot", action, resource);"#;
    write(directory.path(), "p.yaml", &policy("p", cedar).replace(", namespace: a", ""));
    let mut there: Value = serde_saphyr::from_str(&agent).unwrap();
    there["spec"]["identities"] = json!([{"serviceAccount": {"name": "bot"}}]);
    let (config, asked) = api_server(directory.path(), move |line| {
        if line.starts_with("PATCH") {
            (201, json!({"metadata": {"generation": 1}, "spec": {}}))
        } else if line.contains("/namespaces/") {
            status(404, "not found")
        } else if line.contains("/agents") {
            (200, json!({"kind": "AgentList", "items": [there]}))
        } else {
            (200, json!({"kind": "List", "items": []}))
        }
    });
    let file = directory.path().join("p.yaml").display().to_string();
    let ask = |more: &[&str]| -> Ran {
        run(&[&["register", "--dry-run", &file, "--kubeconfig", &config][..], more].concat())
    };
    let said = ask(&["-o", "json"]).json();
    assert_eq!(said["objects"][0]["object"], "Policy books/p", "{said:#}");
    assert_eq!(said["warnings"], json!([]), "{said:#}");
    let sent =
        asked.lock().unwrap().iter().filter(|line| line.starts_with("PATCH")).cloned().collect::<Vec<_>>();
    assert!(
        sent.iter().all(|line| line.contains("/namespaces/books/policies/p")) && !sent.is_empty(),
        "{sent:?}"
    );
    let table = ask(&[]);
    assert!(table.out.contains("Policy books/p  created (dry run)"), "{table:?}");
    // A file that is given alone, in a directory or not, is checked as `check` does it.
    assert_eq!(run(&["check", &file]).code, Some(0));
}

/// By file, line, field, value and fix, as `check` tells it.
#[test]
fn a_fault_is_told_at_its_field() {
    let directory = tempfile::tempdir().unwrap();
    let text = AGENT.replace("riskLevel: low", "riskLevel: LOW");
    write(directory.path(), "a.yaml", &format!("# one\n{text}"));
    let path = directory.path().display().to_string();
    let line = 2 + text.lines().position(|line| line.contains("riskLevel")).unwrap();
    let ran = run(&["register", &path, "--kubeconfig", "/nowhere"]);
    for part in [
        format!("a.yaml:{line} Agent a/bot"),
        "  value  LOW".to_owned(),
        "  field  spec.riskLevel".to_owned(),
    ] {
        assert!(ran.out.contains(&part), "{part}: {ran:?}");
    }
    assert_eq!(run(&["register", &path, "-o", "json"]).json()["rejections"][0]["line"], line);
}

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
        (
            vec!["register", &*file, "--kubeconfig", &*config],
            "the API server http://127.0.0.1:1 is not reached: the connection was refused",
        ),
        (
            vec!["register", &*file, "--kubeconfig", &*config, "--dry-run"],
            "the API server http://127.0.0.1:1 is not reached: the connection was refused",
        ),
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
