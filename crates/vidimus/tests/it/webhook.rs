//! Who is told of what people are asked, and what can be done with that: nothing.

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::gateway::{Gateway, upstream_that_hangs_up};
use super::people::operate;
use super::{command, policy, write};

/// After a second others may answer as well.
const HOLD: &str = r#"@approval("payers") @escalation("managers") @escalate_after("1s") @reason("large amounts leave")
    forbid (principal, action == Action::"invokeTool", resource)
    unless { context has approval && context.approval.role == "payers" };"#;

const KEY: [u8; 32] = [7; 32];

/// What a receiver was told.
#[derive(Clone, Debug)]
struct Told {
    head: String,
    body: String,
}

impl Told {
    fn header(&self, name: &str) -> &str {
        let named = |line: &&str| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
        self.head.lines().find(named).and_then(|line| line.split_once(": ")).map(|(_, value)| value).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Whether it is signed with this key (Standard Webhooks 1.0).
    fn is_signed(&self, key: &[u8]) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let signed =
            format!("{}.{}.{}", self.header("webhook-id"), self.header("webhook-timestamp"), self.body);
        let signature = STANDARD.encode(hmac::sign(&key, signed.as_bytes()));
        self.header("webhook-signature") == format!("v1,{signature}")
    }
}

/// A receiver that takes everything, and its port.
fn receiver() -> (u16, Arc<Mutex<Vec<Told>>>) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let all: Arc<Mutex<Vec<Told>>> = Arc::default();
    let kept = all.clone();
    std::thread::spawn(move || {
        for stream in socket.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = Vec::new();
            let mut part = [0; 4096];
            let told = loop {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let length = head.lines().find_map(|line| {
                        line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
                    });
                    if length == Some(body.len()) {
                        break Some(Told { head: head.to_owned(), body: body.to_owned() });
                    }
                }
                match stream.read(&mut part) {
                    Ok(read) if read > 0 => bytes.extend_from_slice(&part[..read]),
                    _ => break None,
                }
            };
            if let Some(told) = told {
                // What it answers is of no consequence.
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\nConnection: close\r\n\r\n{\"approve\":\"yes ok\"}\n");
                kept.lock().unwrap().push(told);
            }
        }
    });
    (port, all)
}

fn secrets(at: &Path) {
    fs::create_dir(at).unwrap();
    fs::set_permissions(at, Permissions::from_mode(0o700)).unwrap();
    fs::write(at.join("hook"), format!("whsec_{}\n", STANDARD.encode(KEY))).unwrap();
    fs::set_permissions(at.join("hook"), Permissions::from_mode(0o600)).unwrap();
}

/// A gateway that holds, and tells the receiver at `port`.
fn telling(port: u16) -> (Gateway, tempfile::TempDir) {
    let at = tempfile::tempdir().unwrap();
    let (secret, url) =
        (at.path().join("secrets"), format!("http://127.0.0.1:{port}/hidden-path?key=hidden-key"));
    secrets(&secret);
    let gateway = Gateway::start_with(upstream_that_hangs_up(), |command| {
        command.args([
            "--webhook",
            &url,
            "--webhook-secret",
            "hook",
            "--admin-url",
            "https://admin.example/",
        ]);
        command.arg("--secrets").arg(&secret);
    });
    (gateway, at)
}

fn held(gateway: &Gateway, token: &str) -> String {
    write(gateway.path("resources").as_ref(), "d.yaml", &policy("hold", HOLD));
    gateway.wait("held", |gateway| gateway.call(Some(token)).contains("approval_required"));
    let all = operate(gateway, &["approvals", "list", "-o", "json"]).json();
    all["approvals"][0]["question"]["approval"].as_str().unwrap().to_owned()
}

#[test]
fn a_receiver_is_told_signed_and_what_it_says_counts_for_nothing() {
    let (port, all) = receiver();
    let (gateway, _at) = telling(port);
    let token = gateway.token();
    let approval = held(&gateway, &token);
    let told = |what: &str| {
        let told = all.lock().unwrap();
        told.iter().find(|one| one.json()["type"] == format!("approval.{what}")).cloned()
    };
    gateway.wait("told", |_| told("asked").is_some() && told("escalated").is_some());
    let asked = told("asked").unwrap();
    assert!(asked.head.starts_with("POST /hidden-path?key=hidden-key HTTP/1.1"), "{asked:?}");
    assert!(asked.is_signed(&KEY) && !asked.is_signed(&[8; 32]), "{asked:?}");
    assert_eq!(asked.header("webhook-id"), format!("{approval}-asked"));
    let event = asked.json();
    assert_eq!(event["data"]["question"]["approval"], approval.as_str(), "{event}");
    assert_eq!(event["data"]["question"]["asking"][0]["escalation"]["role"], "managers", "{event}");
    assert!(event["data"]["shown"].as_str().unwrap().starts_with("sha256:"), "{event}");
    assert!(event["data"].get("arguments").is_none(), "no payload: {event}");
    assert_eq!(event["page"], format!("https://admin.example/approvals/{approval}"));
    assert_eq!(told("escalated").unwrap().json()["data"]["escalated"][0], "managers");

    // Forged webhook answers: what it was told and signed with is no token of a person, at any route, however it is presented.
    let shown = event["data"]["shown"].as_str().unwrap();
    let body = format!(r#"{{"approval":"{approval}","shown":"{shown}","why":"as told"}}"#);
    let signature = asked.header("webhook-signature");
    let signed = format!(
        "webhook-id: {}\r\nwebhook-timestamp: {}\r\nwebhook-signature: {signature}\r\n",
        asked.header("webhook-id"),
        asked.header("webhook-timestamp"),
    );
    let json = "Content-Type: application/json\r\n";
    let secret = format!("whsec_{}", STANDARD.encode(KEY));
    for (what, head) in [
        ("the signed headers", format!("{json}{signed}")),
        ("a wrong signature", format!("{json}{signed}").replace("v1,", "v1,AAAA")),
        (
            "the signature as a token",
            format!("{json}Authorization: Bearer {}\r\n", signature.trim_start_matches("v1,")),
        ),
        ("the secret as a token", format!("{json}Authorization: Bearer {secret}\r\n")),
        ("the agent's own token", format!("{json}{signed}Authorization: Bearer {token}\r\n")),
    ] {
        // The event itself is played back as well.
        for (path, body) in [
            ("/approvals/approve", &body),
            ("/approvals/deny", &body),
            ("/approvals/approve", &asked.body),
            ("/webhook", &body),
        ] {
            let answer = gateway.admin("POST", path, &head, body).unwrap();
            assert!(answer.starts_with("HTTP/1.1 40"), "{what} {path}: {answer}");
        }
    }
    let state = |gateway: &Gateway| {
        let all = operate(gateway, &["approvals", "list", "-o", "json"]).json();
        all["approvals"][0]["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state(&gateway), "asked");
    assert!(gateway.call(Some(&token)).contains("approval_required"));

    // Somebody of the role that it went on to approves; whoever is in neither does not.
    let people = r#"
        permit (principal in UserGroup::"managers", action == Action::"approve", resource) when { context.role == "managers" };
        permit (principal, action == Action::"read", resource == View::"approvals");
        permit (principal == User::"urn:vidimus:local#admin", action in [Action::"operate", Action::"read"], resource);"#;
    let people = policy("people", people).replace("spec:", "spec:\n  scope: Cluster");
    write(gateway.path("resources").as_ref(), "p.yaml", &people);
    let approve = |name: &str, group: &str| {
        operate(
            &gateway,
            &["approvals", "approve", &approval, "--why", "PO-1", "--as", name, "--as-group", group],
        )
    };
    gateway.wait("in force", |_| approve("bob", "others").err.contains("to approve a call"));
    let shown = operate(&gateway, &["approvals", "show", &approval]);
    assert!(shown.out.contains("managers may approve as well, since"), "{shown:?}");
    let ran = approve("mia", "managers");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    gateway.wait("told", |_| told("voted").is_some() && told("approved").is_some());
    assert_eq!(told("voted").unwrap().json()["data"]["given"][0]["escalation"], "managers");
    assert!(gateway.call(Some(&token)).contains("upstream_interrupted"));
    gateway.wait("told", |_| told("used").is_some());
    assert!(all.lock().unwrap().iter().all(|one| one.is_signed(&KEY)));
    let metrics = gateway.get("/metrics").unwrap();
    assert!(metrics.contains("vidimus_webhooks_total{result=\"delivered\"}"), "{metrics}");
    // Nothing of the secret, nor of the path, is in the log.
    let log = fs::read_to_string(gateway.path("log")).unwrap();
    assert!(log.contains("webhook"), "{log}");
    for hidden in [&STANDARD.encode(KEY), "hidden-path", "hidden-key"] {
        assert!(!log.contains(hidden), "{hidden}: {log}");
    }
}

#[test]
fn a_receiver_that_is_away_is_told_later_and_holds_nobody_up() {
    // Nobody listens there yet.
    let port = super::gateway::free_port();
    let (gateway, _at) = telling(port);
    let token = gateway.token();
    let approval = held(&gateway, &token);
    let failed = |gateway: &Gateway| {
        gateway.get("/metrics").unwrap().contains("vidimus_webhooks_total{result=\"failed\"}")
    };
    gateway.wait("failed", failed);
    assert!(gateway.call(Some(&token)).contains("approval_required"));
    let socket = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let told = std::thread::spawn(move || {
        let (mut stream, _) = socket.accept().unwrap();
        let mut bytes = [0; 16384];
        let read = stream.read(&mut bytes).unwrap();
        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    });
    let told = told.join().unwrap();
    assert!(told.to_ascii_lowercase().contains(&format!("webhook-id: {approval}-")), "{told}");
    let (_, code) = gateway.stop();
    assert_eq!(code, Some(0));
}

#[test]
fn a_webhook_that_cannot_be_used_stops_the_start() {
    let at = tempfile::tempdir().unwrap();
    let secret = at.path().join("secrets");
    secrets(&secret);
    for (url, file, says) in [
        ("http://169.254.169.254/x", "hook", "https"),
        ("https://169.254.169.254/x", "hook", "never called"),
        ("https://chat.example/x", "none", "No such file"),
    ] {
        let (code, log) = Gateway::ends(|command| {
            command.args(["--webhook", url, "--webhook-secret", file]).arg("--secrets").arg(&secret);
        });
        assert!(code == Some(2) && log.contains("--webhook") && log.contains(says), "{url} {file}: {log}");
    }
}

#[test]
fn questions_are_followed_over_a_fall_until_somebody_stops_it() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    let token = gateway.token();
    let (out, err) = (gateway.path("watched"), gateway.path("watched-err"));
    let mut command = command(&[
        "approvals",
        "watch",
        "-o",
        "json",
        "--admin",
        &gateway.admin,
        "--data",
        &gateway.path("data"),
    ]);
    let mut watching = command
        .stdout(fs::File::create(&out).unwrap())
        .stderr(fs::File::create(&err).unwrap())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let lines = |gateway: &Gateway| {
        let text = fs::read_to_string(gateway.path("watched")).unwrap();
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let has = |gateway: &Gateway, what: &str| {
        lines(gateway).iter().any(|line| line["type"] == format!("approval.{what}"))
    };
    let approval = held(&gateway, &token);
    gateway.wait("seen", |gateway| has(gateway, "asked") && has(gateway, "escalated"));
    assert_eq!(lines(&gateway)[0]["data"]["arguments"], "{}");

    let asks_again =
        |gateway: &Gateway| fs::read_to_string(gateway.path("watched-err")).unwrap().contains("asked again");
    let gateway = gateway.killed_and_started_there(|away| away.wait("asked again", asks_again));
    assert!(gateway.call(Some(&token)).contains("approval_required"));
    assert_eq!(operate(&gateway, &["approvals", "approve", &approval, "--why", "x"]).code, Some(0));
    gateway.wait("seen", |gateway| has(gateway, "voted") && has(gateway, "approved"));
    assert!(gateway.call(Some(&token)).contains("upstream_interrupted"));
    gateway.wait("seen", |gateway| has(gateway, "used"));
    let ids: Vec<String> =
        lines(&gateway).iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect();
    let mut once = ids.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), ids.len(), "each once: {ids:?}");

    let told =
        std::process::Command::new("kill").args(["-s", "INT", &watching.id().to_string()]).status().unwrap();
    assert!(told.success());
    assert_eq!(watching.wait().unwrap().code(), Some(0));
    // Whom no policy permits it sees nothing; nor does it wait.
    let ran = operate(&gateway, &["approvals", "watch", "--as", "bob"]);
    assert!(ran.code == Some(2) && ran.err.contains("no policy permits"), "{ran:?}");
    let head = format!("Authorization: Bearer {}\r\n", gateway.operator("admin", &[]));
    for query in ["?since=x&wait=61", "?since=x&wait=-1", "?since=x&wait=1&more=1"] {
        let answer = gateway.admin("GET", &format!("/approvals{query}"), &head, "").unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{query}: {answer}");
    }
    // One that has something to tell does not wait; one that has not answers in the end all the same.
    for query in ["?since=x&wait=60", "?wait=60"] {
        assert!(
            gateway.admin("GET", &format!("/approvals{query}"), &head, "").unwrap().contains("\"revision\"")
        );
    }
    let revision = operate(&gateway, &["approvals", "list", "-o", "json"]).json()["revision"]
        .as_str()
        .unwrap()
        .to_owned();
    let answer = gateway.admin("GET", &format!("/approvals?since={revision}&wait=1"), &head, "").unwrap();
    assert!(answer.contains(&revision), "{answer}");
}
