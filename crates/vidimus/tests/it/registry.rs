//! A gateway that hears a registry, over real TLS: the registry is a stand-in that says what a test has it say (e2e/kube has both as they are). And a
//! registry to which many connect.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use vidimus_identity::{
    ServerCertificate, SpiffeId, TrustBundle, TrustStore, named_client_config, named_server_config,
};

use super::gateway::{exchange, free_port};
use super::{command, run};

const REGISTRY: &str = "spiffe://corp.example/registry";
const GATEWAY: &str = "spiffe://corp.example/gateway";

/// A CA, and the SVIDs that it issued, each in a directory.
fn issue(root: &Path) {
    let ca = root.join("ca").display().to_string();
    assert_eq!(run(&["identity", "init", "--data", &ca, "--trust-domain", "corp.example"]).code, Some(0));
    for (name, id) in [("registry", REGISTRY), ("gateway", GATEWAY), ("other", "spiffe://corp.example/other")]
    {
        let out = root.join(name).display().to_string();
        let ran = run(&["identity", "svid", "--data", &ca, "--spiffe-id", id, "--out", &out]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
}

/// What all gateways are told that connect, a line each; another value cuts them off.
type Script = Vec<Value>;

/// The SVID in a directory, and whom it trusts.
fn svid(of: &Path) -> (ServerCertificate, TrustStore) {
    let read = |name: &str| fs::read(of.join(name)).unwrap();
    let key = SecretString::from(String::from_utf8(read("svid-key.pem")).unwrap());
    let certificate = ServerCertificate::from_pem(&read("svid.pem"), &key).unwrap();
    (certificate, TrustStore::new(vec![TrustBundle::parse(None, &read("bundle.pem")).unwrap()]))
}

/// A registry that presents the SVID in `of`, and speaks to the gateway alone. Its runtime serves until it is dropped.
fn registry(of: &Path) -> (tokio::runtime::Runtime, SocketAddr, watch::Sender<Script>) {
    registry_that_speaks(Some(b"vidimus-registry/1"), of)
}

/// The same, which agrees on this protocol with whoever connects, or on none.
fn registry_that_speaks(
    protocol: Option<&[u8]>,
    of: &Path,
) -> (tokio::runtime::Runtime, SocketAddr, watch::Sender<Script>) {
    let (certificate, store) = svid(of);
    let peers = vec![SpiffeId::parse(GATEWAY).unwrap()];
    let mut config = named_server_config(&certificate, store, peers, b"").unwrap();
    config.alpn_protocols = protocol.into_iter().map(<[u8]>::to_vec).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let (says, said) = watch::channel(Script::new());
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, mut said) = (acceptor.clone(), said.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let script = said.borrow_and_update().clone();
                for (at, says) in script.iter().enumerate() {
                    let line = format!("{}\n", json!({"n": at + 1, "says": says}));
                    if stream.write_all(line.as_bytes()).await.is_err() {
                        return;
                    }
                }
                let mut number = script.len();
                while tokio::time::timeout(Duration::from_secs(1), said.changed()).await.is_err() {
                    number += 1;
                    let beat = format!("{{\"n\":{number},\"says\":\"beats\"}}\n");
                    if stream.write_all(beat.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (runtime, address, says)
}

/// A gateway that has no resources but those of the registry.
struct Gateway {
    admin: String,
    log: String,
    process: Child,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn flags(command: &mut Command, root: &Path, address: SocketAddr, svid: &str) {
    let at = |name: &str, file: &str| root.join(name).join(file);
    command.args(["--registry", &address.to_string(), "--registry-id", REGISTRY]);
    command
        .arg("--registry-cert")
        .arg(at(svid, "svid.pem"))
        .arg("--registry-key")
        .arg(at(svid, "svid-key.pem"));
    command.arg("--registry-bundle").arg(at("registry", "bundle.pem"));
}

impl Gateway {
    fn start(root: &Path, address: SocketAddr, svid: &str) -> Self {
        let admin = format!("127.0.0.1:{}", free_port());
        let log = root.join("log");
        let mut command = command(&["serve", "--listen", "127.0.0.1:0", "--admin", &admin, "--threads", "1"]);
        command.arg("--data").arg(root.join("data"));
        flags(&mut command, root, address, svid);
        let process = command.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        Self { admin, log: log.display().to_string(), process }
    }

    fn ready(&self) -> String {
        let head = format!("GET /readyz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
        exchange(&self.admin, &head).unwrap_or_default()
    }

    fn until(&self, what: &str, is_so: impl Fn(&str, &str) -> bool) {
        let begun = Instant::now();
        loop {
            let (ready, log) = (self.ready(), fs::read_to_string(&self.log).unwrap());
            if is_so(&ready, &log) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "not {what}: {ready}\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn is_live(ready: &str, _log: &str) -> bool {
    ready.contains(" 200 ") && !ready.contains("not heard of since")
}

/// All that there is: one agent.
fn all() -> Script {
    let agent = json!({
        "metadata": {"namespace": "a", "name": "bot", "uid": "1", "generation": 1, "resourceVersion": "1"},
        "spec": {"owner": "ada.l@example.com", "team": "t", "purpose": "p", "riskLevel": "low", "identities": [{"oidc": {"issuer": "urn:vidimus:local", "subject": "bot"}}]},
    });
    let lists = |watch: usize, count: usize| json!({"lists": {"watch": watch, "count": count, "ageMs": 0}});
    let begins = json!({"begins": {"version": 1, "namespaces": [], "pods": false}});
    let mut script = vec![begins, lists(0, 1), json!({"item": agent})];
    script.extend((1..5).map(|watch| lists(watch, 0)));
    script
}

#[test]
fn a_gateway_hears_the_registry_that_it_was_told_of() {
    let root = tempfile::tempdir().unwrap();
    issue(root.path());
    let (runtime, address, says) = registry(&root.path().join("registry"));
    let gateway = Gateway::start(root.path(), address, "gateway");
    gateway.until("refused", |ready, _| ready.contains(" 503 "));
    says.send_replace(all());
    gateway.until("live", is_live);
    // What is said wrongly ends the stream; what is live stays so, and it is said why.
    let mut wrong = all();
    wrong.push(json!({"there": {"watch": 0, "object": {"metadata": {"name": "nowhere"}}}}));
    says.send_replace(wrong);
    gateway.until("told", |ready, _| {
        ready.contains(" 200 ")
            && ready.contains("configuration from registry, not heard of since")
            && ready.contains("without a name")
    });
    says.send_replace(all());
    gateway.until("live again", is_live);
    drop(says);
    runtime.shutdown_background();
    gateway.until("told that it is away", |ready, _| {
        ready.contains(" 200 ") && ready.contains("not heard of since")
    });
}

/// Attack: another workload of the same trust domain in the place of the registry, or of the gateway.
#[test]
fn a_registry_or_a_gateway_of_another_id_is_not_spoken_to() {
    let root = tempfile::tempdir().unwrap();
    issue(root.path());
    let (_runtime, address, says) = registry(&root.path().join("other"));
    says.send_replace(all());
    let gateway = Gateway::start(root.path(), address, "gateway");
    gateway
        .until("told", |ready, log| ready.contains(" 503 ") && log.contains("spiffe://corp.example/other"));
    drop(gateway);
    let (_runtime, address, says) = registry(&root.path().join("registry"));
    says.send_replace(all());
    let gateway = Gateway::start(root.path(), address, "other");
    gateway.until("refused", |ready, log| ready.contains(" 503 ") && log.contains("CertificateUnknown"));
}

/// Attack: something else that has the registry's SVID, and agrees on no protocol, as most do that were not asked for one.
#[test]
fn what_does_not_say_that_it_is_a_registry_is_not_heard() {
    let root = tempfile::tempdir().unwrap();
    issue(root.path());
    let (_runtime, address, says) = registry_that_speaks(None, &root.path().join("registry"));
    says.send_replace(all());
    let gateway = Gateway::start(root.path(), address, "gateway");
    gateway.until("told", |ready, log| {
        assert!(!is_live(ready, log), "it is heard: {ready}");
        ready.contains(" 503 ") && log.contains("speaks another protocol")
    });
}

#[test]
fn what_needs_the_api_server_itself_is_refused_with_a_registry() {
    let root = tempfile::tempdir().unwrap();
    for more in [
        &["--jobs"][..],
        &["--admission", "127.0.0.1:0"],
        &["--cluster"],
        &["--kubeconfig", "f"],
        &["--resources", "r"],
    ] {
        let data = root.path().join("d").display().to_string();
        let mut command = command(&["serve", "--data", &data]);
        flags(&mut command, root.path(), SocketAddr::from(([127, 0, 0, 1], 1)), "gateway");
        let ran = super::Ran::of(command.args(more).output().unwrap());
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(
            ran.err.contains(more[0]) && ran.err.contains("--registry") || more[0] == "--kubeconfig",
            "{ran:?}"
        );
    }
}

/// `vidimus registry` itself, whose API server answers nothing.
struct Registry(Child);

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Registry {
    fn start(root: &Path, address: &str) -> Self {
        let kubeconfig = root.join("kubeconfig");
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        });
        fs::write(&kubeconfig, text.to_string()).unwrap();
        let at = |file: &str| root.join("registry").join(file);
        let health = format!("127.0.0.1:{}", free_port());
        let mut command = command(&["registry", "--serve", address, "--health", &health, "--no-status"]);
        command.args(["--gateway-id", GATEWAY]).arg("--kubeconfig").arg(&kubeconfig);
        command.arg("--cert").arg(at("svid.pem")).arg("--key").arg(at("svid-key.pem"));
        command.arg("--trust-bundle").arg(format!("corp.example={}", at("bundle.pem").display()));
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

/// A connection, once the registry listens.
async fn connected(address: &str) -> TcpStream {
    let begun = Instant::now();
    loop {
        match TcpStream::connect(address).await {
            Ok(stream) => return stream,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(60), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Attack: whoever reaches the port connects again and again and says nothing, so that no gateway gets a place.
#[tokio::test]
async fn connections_that_say_nothing_keep_no_gateway_out() {
    let root = tempfile::tempdir().unwrap();
    issue(root.path());
    let address = format!("127.0.0.1:{}", free_port());
    let _registry = Registry::start(root.path(), &address);
    let mut silent = Vec::new();
    for _ in 0..150 {
        silent.push(connected(&address).await);
    }
    let (certificate, store) = svid(&root.path().join("gateway"));
    let id = SpiffeId::parse(REGISTRY).unwrap();
    let config = named_client_config(&certificate, store, id, b"vidimus-registry/1").unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let heard = async {
        let stream = connected(&address).await;
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let mut begins = [0; 7];
        stream.read_exact(&mut begins).await.unwrap();
        begins
    };
    // 150 handshakes of 5 s, 64 at a time, are 10 s before it is its turn.
    let begins = tokio::time::timeout(Duration::from_secs(5), heard).await.expect("it is spoken to at once");
    assert_eq!(&begins, br#"{"n":1,"#);
    drop(silent);
}
