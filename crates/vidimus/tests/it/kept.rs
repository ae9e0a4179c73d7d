//! A gateway that follows a cluster and is started again without its API server. That one is a stand-in here, which lists and has nothing to tell afterwards;
//! `e2e/kube/kept_test.go` is the same with a real one, over the age at which routes close.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::command;
use super::gateway::free_port;

/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A stand-in for an API server, until it is dropped.
struct ApiServer {
    stop: Arc<AtomicBool>,
    accepts: Option<JoinHandle<()>>,
}

impl ApiServer {
    fn start(port: u16, objects: Vec<Value>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, objects) = (Arc::new(AtomicBool::new(false)), Arc::new(objects));
        let stopped = stop.clone();
        let accept = move || {
            while !stopped.load(Ordering::SeqCst) {
                let Ok((stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                };
                let (objects, stopped) = (objects.clone(), stopped.clone());
                // Who asks may have gone.
                thread::spawn(move || drop(answer(stream, &objects, &stopped)));
            }
        };
        Self { stop, accepts: Some(thread::spawn(accept)) }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(accepts) = self.accepts.take() {
            accepts.join().unwrap();
        }
    }
}

fn answer(mut stream: TcpStream, objects: &[Value], stopped: &AtomicBool) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let asked = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
    if asked.contains("watch=") {
        write!(stream, "{head}Transfer-Encoding: chunked\r\n\r\n")?;
        for _ in 0..100 {
            if stopped.load(Ordering::SeqCst) {
                // Cut, as a server that is killed cuts it.
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        return write!(stream, "0\r\n\r\n");
    }
    let kinds = [("/agents?", "Agent"), ("/mcpservers?", "MCPServer"), ("/policies?", "Policy")];
    let kind = kinds.iter().find(|(path, _)| asked.contains(path)).map(|(_, kind)| *kind);
    let items: Vec<&Value> = objects.iter().filter(|object| object["kind"].as_str() == kind).collect();
    let body = json!({"metadata": {"resourceVersion": "7"}, "items": items}).to_string();
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "vidimus.dev/v1alpha1", "kind": kind,
        "metadata": {"namespace": "a", "name": name, "uid": format!("uid-of-{name}"), "generation": 1, "resourceVersion": "7"},
        "spec": spec,
    })
}

fn estate() -> Vec<Value> {
    let agent = json!({
        "owner": "ada.l@example.com", "team": "t", "purpose": "p", "riskLevel": "low",
        "identities": [{"oidc": {"issuer": "urn:vidimus:local", "subject": "bot"}}],
    });
    let server = json!({
        "owner": "ada.l@example.com", "team": "t", "riskLevel": "low", "endpoint": {"url": "http://127.0.0.1:1/mcp"},
    });
    let open = json!({"description": "d", "cedar": "permit (principal, action, resource);"});
    vec![
        object("Agent", "bot", &agent),
        object("MCPServer", "tools", &server),
        object("Policy", "open", &open),
    ]
}

struct Gateway {
    process: Child,
    admin: String,
    log: PathBuf,
}

impl Gateway {
    /// Follows the cluster of `root/config`.
    fn start(root: &Path) -> Self {
        let [listen, admin] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let log = root.join("log");
        let process = command(&["serve", "--cluster", "--no-status", "--threads", "1"])
            .args(["--listen", &listen, "--admin", &admin])
            .arg("--kubeconfig")
            .arg(root.join("config"))
            .arg("--data")
            .arg(root.join("data"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { process, admin, log }
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(&self.admin).ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// Waits until `/readyz` answers so.
    fn says(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let answer = self.get("/readyz").unwrap_or_default();
            if is_so(&answer) {
                return answer;
            }
            let log = || fs::read_to_string(&self.log).unwrap();
            assert!(begun.elapsed() < PATIENCE, "not {what}, but {answer}: {}", log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn refuses(&self, why: &str) {
        self.says(why, |answer| answer.contains(" 503 ") && answer.contains(why));
    }

    /// Waits until it is ready, and has heard all.
    fn is_up_to_date(&self) {
        self.says("up to date", |answer| answer.contains(" 200 ") && !answer.contains("configuration from"));
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Writes how the stand-in is reached; its port.
fn configured(root: &Path) -> u16 {
    let port = free_port();
    let config = format!(
        "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"http://127.0.0.1:{port}\"}}}}]\nusers: [{{name: u, user: {{}}}}]\n\
         contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n"
    );
    fs::write(root.join("config"), config).unwrap();
    port
}

/// Attack: the gateway is started while its cluster is away and nothing is kept of it, so that limits, chains and labels begin anew.
#[test]
fn what_was_counted_before_is_taken_up_once_the_cluster_is_heard() {
    let root = tempfile::tempdir().unwrap();
    let port = configured(root.path());
    let limited = json!({
        "description": "d", "limits": [{"name": "calls", "requests": 1, "window": {"fixed": "24h"}}],
        "cedar": "@limit(\"calls\") forbid (principal, action == Action::\"invokeTool\", resource);",
    });
    let gateway = Gateway::start(root.path());
    gateway.refuses("nothing was kept of it yet");
    let log = || fs::read_to_string(&gateway.log).unwrap();
    let is_taken_up = || log().contains("what was counted before the start is taken up");
    assert!(!is_taken_up(), "by what, while nothing is known");
    let objects = estate().into_iter().chain([object("Policy", "limited", &limited)]);
    let _server = ApiServer::start(port, objects.collect());
    gateway.is_up_to_date();
    let begun = Instant::now();
    while !is_taken_up() {
        assert!(begun.elapsed() < PATIENCE, "it began anew: {}", log());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_start_without_the_api_server_serves_by_what_was_kept_and_by_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let port = configured(root.path());
    let kept = root.path().join("data/registry/cluster");

    // Never kept: nothing passes.
    Gateway::start(root.path()).refuses("nothing was kept of it yet");

    let server = ApiServer::start(port, estate());
    let gateway = Gateway::start(root.path());
    gateway.is_up_to_date();
    let begun = Instant::now();
    while !fs::read_to_string(&kept).is_ok_and(|text| text.contains("uid-of-bot")) {
        assert!(begun.elapsed() < PATIENCE, "nothing was kept");
        thread::sleep(Duration::from_millis(20));
    }
    drop((gateway, server));

    let gateway = Gateway::start(root.path());
    let said = gateway.says("served by what was kept", |answer| answer.contains(" 200 "));
    assert!(
        said.contains("configuration from kept, not heard of since ") && said.contains("kept on disk"),
        "{said}"
    );
    let metrics = gateway.get("/metrics").unwrap();
    assert!(metrics.contains("vidimus_source_kept 1\n"), "{metrics}");
    assert!(metrics.contains("vidimus_registry_objects 3\n"), "{metrics}");
    drop(gateway);

    // Attack: a permit that nobody gave.
    let good = fs::read_to_string(&kept).unwrap();
    fs::write(&kept, good.replace("uid-of-bot", "uid-of-eve")).unwrap();
    let gateway = Gateway::start(root.path());
    gateway.refuses("changed by others");
    assert!(gateway.get("/metrics").unwrap().contains("vidimus_registry_objects 0\n"));
    // Heard again: what is listed is all there is, and is kept in the place of that.
    let _server = ApiServer::start(port, estate().split_off(1));
    gateway.is_up_to_date();
    assert!(gateway.get("/metrics").unwrap().contains("vidimus_registry_objects 2\n"));
}
