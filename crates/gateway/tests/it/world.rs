//! A gateway in process, and what a test needs to call it and to look at what it did.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::sync::watch;
use vidimus_core::clock::Clock;
use vidimus_core::record::Kept;
use vidimus_core::resource::{self, Object, Origin};
use vidimus_core::snapshot::Snapshot;
use vidimus_gateway::listener::{self, Connections, Listener};
use vidimus_gateway::{
    AddressGuard, Config, Gate, KEY_LENGTH, KeepAlive, Limits, PayloadKeys, Seal, Shared, Spans,
    StandingAddress, Telemetry, Upstream, Vitals, millis,
};
use vidimus_identity::{Authenticator, LOCAL_ISSUER, LocalIdentity, Mint, TokenRequest};
use vidimus_ledger::storage::{Disk, Storage};
use vidimus_ledger::{Durability, Ledger, Query};
use vidimus_testkit::clock::ManualClock;
use vidimus_testkit::issuer::FakeIssuer;
use vidimus_testkit::upstream;

/// One agent, one of each kind it calls at the scripted upstream, and a policy that lets it use some of them.
pub fn objects(upstream: &upstream::Upstream) -> Vec<Value> {
    let object = |kind: &str, name: &str, spec: Value| {
        json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": kind,
            "metadata": {"namespace": "t", "name": name}, "spec": spec})
    };
    let owner = "ada.lovelace@example.com";
    let identity = |subject: &str| json!([{"oidc": {"issuer": LOCAL_ISSUER, "subject": subject}}]);
    let cedar = r#"
        permit (principal == Agent::"t/caller", action == Action::"invokeTool", resource == Tool::"t/tools/echo");
        permit (principal == Agent::"t/caller", action == Action::"callAgent", resource == Agent::"t/callee");
        permit (principal == Agent::"t/caller", action == Action::"callModel", resource == Model::"t/models/small");
        forbid (principal, action, resource == Tool::"t/tools/forbidden");
    "#;
    vec![
        object(
            "Agent",
            "caller",
            json!({"owner": owner, "team": "t", "purpose": "calls", "riskLevel": "low",
            "identities": identity("caller")}),
        ),
        object(
            "Agent",
            "stranger",
            json!({"owner": owner, "team": "t", "purpose": "calls", "riskLevel": "low",
            "identities": identity("stranger")}),
        ),
        object(
            "Agent",
            "callee",
            json!({"owner": owner, "team": "t", "purpose": "is called", "riskLevel": "low",
            "endpoint": {"url": upstream.url("/a2a"), "timeout": "3s"}}),
        ),
        object(
            "MCPServer",
            "tools",
            json!({"owner": owner, "team": "t", "riskLevel": "low",
            "endpoint": {"url": upstream.url("/mcp"), "timeout": "3s"}}),
        ),
        object(
            "LLMProvider",
            "models",
            json!({"owner": owner, "team": "t", "type": "openAICompatible", "credential": {"none": {}},
            "endpoint": {"url": upstream.url("/llm"), "timeout": "3s"},
            "models": [{"name": "small"}, {"name": "large"}]}),
        ),
        object("Policy", "some", json!({"description": "some", "cedar": cedar})),
    ]
}

/// The issuer of a cluster's ServiceAccount tokens.
pub static CLUSTER: LazyLock<FakeIssuer> = LazyLock::new(FakeIssuer::start);

/// Compiles objects, all of which must be good.
pub fn snapshot(objects: &[Value]) -> Arc<Snapshot> {
    let check = |value: &Value| -> Object {
        resource::check(&Origin::default(), value).unwrap_or_else(|problems| panic!("{problems:?}"))
    };
    let (snapshot, rejected) = Snapshot::build(objects.iter().map(check).collect());
    assert_eq!(rejected, []);
    Arc::new(snapshot)
}

fn on_disk() -> Arc<dyn Storage> {
    Arc::new(Disk)
}

/// A running gateway.
pub struct World {
    pub upstream: upstream::Upstream,
    pub gate: Gate,
    pub clock: Arc<ManualClock>,
    pub address: SocketAddr,
    pub identity: LocalIdentity,
    directory: tempfile::TempDir,
    _stop: watch::Sender<bool>,
}

impl World {
    pub async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    pub async fn with(limits: Limits) -> Self {
        Self::durable(limits, Durability::Commit).await
    }

    pub async fn durable(limits: Limits, durability: Durability) -> Self {
        Self::with_ledger(limits, vidimus_ledger::Config { durability, ..Default::default() }).await
    }

    /// With a ledger that is kept like this, in a directory of its own.
    pub async fn with_ledger(limits: Limits, ledger: vidimus_ledger::Config) -> Self {
        Self::with_all(limits, ledger, KeepAlive::default()).await
    }

    /// One of several gateways with the same keys, which share a store.
    pub async fn sharing(store: StandingAddress, other: Option<&Self>) -> Self {
        let world = Self::looking_for(store, other).await;
        world.until_shared(true).await;
        // Chains begin after the store did.
        world.clock.set_wall(std::time::SystemTime::now());
        world
    }

    /// The same, where it may be that no store is found.
    pub async fn looking_for(store: StandingAddress, other: Option<&Self>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let keys = other.map_or(directory.path(), |other| other.directory.path()).to_owned();
        let limits = Limits::default();
        let ledger = vidimus_ledger::Config::default();
        let ledger = (ledger, on_disk());
        let world = Self::of(limits, ledger, KeepAlive::default(), (directory, &keys), Some(store)).await;
        tokio::spawn(world.gate.shared.clone().follow_store());
        world
    }

    /// One whose log is kept there.
    pub async fn on(storage: Arc<dyn Storage>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let keys = directory.path().to_owned();
        let ledger = (vidimus_ledger::Config::default(), storage);
        Self::of(Limits::default(), ledger, KeepAlive::default(), (directory, &keys), None).await
    }

    /// Another gateway with the same keys and configuration, that begins with the records of this one.
    pub async fn again(&self, with: Arc<Snapshot>) -> Self {
        self.again_with(with, self.all_records()).await
    }

    /// The same with these records.
    pub async fn again_with(&self, with: Arc<Snapshot>, records: Vec<Value>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (limits, ledger) = (Limits::default(), vidimus_ledger::Config::default());
        let keys = self.directory.path().to_owned();
        let ledger = (ledger, on_disk());
        let next = Self::of(limits, ledger, KeepAlive::default(), (directory, &keys), None).await;
        let records =
            records.into_iter().map(|record| Kept::read(record.to_string().as_bytes()).expect("a record"));
        // By what is to be in use: that may come after the start.
        next.gate.restore(&with, records);
        next.gate.take_into_use(with);
        next
    }

    /// Waits until the store can be asked, or cannot.
    pub async fn until_shared(&self, shared: bool) {
        for _ in 0..2000 {
            if self.gate.shared.has_store() == shared {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the store is not {}", if shared { "there" } else { "gone" });
    }

    /// With connections to upstreams that are asked so often whether they live.
    pub async fn with_keep_alive(keep_alive: KeepAlive) -> Self {
        Self::with_all(Limits::default(), vidimus_ledger::Config::default(), keep_alive).await
    }

    async fn with_all(limits: Limits, ledger: vidimus_ledger::Config, keep_alive: KeepAlive) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let keys = directory.path().to_owned();
        Self::of(limits, (ledger, on_disk()), keep_alive, (directory, &keys), None).await
    }

    async fn of(
        limits: Limits,
        (ledger, storage): (vidimus_ledger::Config, Arc<dyn Storage>),
        keep_alive: KeepAlive,
        (directory, keys): (tempfile::TempDir, &Path),
        store: Option<StandingAddress>,
    ) -> Self {
        let upstream = upstream::Upstream::start();
        let clock = Arc::new(ManualClock::at_present());
        let now = millis(clock.now().wall);
        let public_url = "http://gateway.example";
        let at = |name: &str| keys.join(name);
        let identity = LocalIdentity::open(&at("identity"), None, now).expect("an identity");
        let local = LocalIdentity::open(&at("identity"), None, now).expect("an identity");
        let mint = Arc::new(Mint::open(&at("mint"), public_url).expect("a mint"));
        let authenticator = Authenticator::new(vidimus_identity::Config {
            audiences: vec!["vidimus".into()],
            mint: mint.clone(),
            local: Some(Arc::new(local)),
            service_account_issuer: Some(CLUSTER.issuer().into()),
            api_server: None,
            allow_insecure_issuers: false,
            issuer_roots: None,
            roots_of_issuers: Vec::new(),
            trust: vidimus_identity::TrustStore::default(),
            limits: vidimus_identity::Limits::default(),
        });
        let ledger = vidimus_ledger::Config { dir: directory.path().join("ledger"), ..ledger };
        let shared = Shared::new(Config {
            snapshot: snapshot(&objects(&upstream)),
            authenticator: authenticator.expect("an authenticator"),
            mint,
            ledger: Ledger::open_on(storage, ledger).expect("a ledger"),
            stood: vidimus_gateway::Stood::default(),
            seal: Seal::new(&[7; KEY_LENGTH]).expect("a seal"),
            telemetry: Telemetry::default(),
            limits,
            secrets: None,
            public_url: public_url.to_owned(),
            admin_url: Some("https://admin.example".to_owned()),
            allowed_origins: vec!["https://app.example".to_owned()],
            clock: clock.clone(),
            store,
            spans: Some(Spans::open(&directory.path().join("traces"), Default::default()).expect("a store")),
            payload_keys: PayloadKeys::of_data(directory.path()),
            vitals: Vitals::default(),
        });
        let gate = Gate {
            shared: Arc::new(shared),
            upstream: Upstream::new(AddressGuard::default(), keep_alive).expect("roots"),
        };
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        socket.set_nonblocking(true).expect("non-blocking");
        let address = socket.local_addr().expect("an address");
        let (stop, stopping) = watch::channel(false);
        let serving = gate.clone();
        tokio::spawn(async move {
            let listeners = vec![Listener::plain(socket)];
            listener::serve(serving, listeners, Connections::new(1024), stopping).await
        });
        Self { upstream, gate, clock, address, identity, directory, _stop: stop }
    }

    /// A token of `subject` that lives for `life`.
    pub fn token(&self, subject: &str, life: Duration) -> String {
        let now = millis(self.clock.now().wall);
        let request = TokenRequest { subject, user: None, audience: "vidimus", ttl: life, now };
        self.identity.token(&request).expect("a token").expose_secret().to_owned()
    }

    /// A request of `t/caller`.
    pub fn request(&self, method: Method, path: &str, body: &Value) -> Request<Full<Bytes>> {
        let token = self.token("caller", Duration::from_secs(600));
        let body = if body.is_null() { String::new() } else { body.to_string() };
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", "gateway.example")
            .header("authorization", format!("Bearer {token}"))
            .header("accept", "application/json, text/event-stream")
            .body(Full::new(Bytes::from(body)))
            .expect("a request")
    }

    /// A call of one of the server's tools.
    pub fn tool(&self, name: &str) -> Request<Full<Bytes>> {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": {"a": 1}}});
        self.request(Method::POST, "/mcp/t/tools", &call)
    }

    /// Sends a request on a connection of its own.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let stream = tokio::net::TcpStream::connect(self.address).await.expect("connected");
        let (mut sender, connection) =
            hyper::client::conn::http1::Builder::new().handshake(TokioIo::new(stream)).await.expect("HTTP");
        TokioExecutor::new();
        tokio::spawn(connection);
        sender.send_request(request).await.expect("an answer")
    }

    /// Calls one of the server's tools, whose answer is a stream of what the test sends.
    pub async fn streaming(&self, tool: &str) -> (Response<Incoming>, upstream::AnswerStream) {
        let (answer, stream) = upstream::Answer::stream("text/event-stream");
        self.upstream.next(answer);
        (self.send(self.tool(tool)).await, stream)
    }

    /// Sends a request and reads its answer whole.
    pub async fn call(&self, request: Request<Full<Bytes>>) -> (StatusCode, HeaderMap, Bytes) {
        let (parts, body) = self.send(request).await.into_parts();
        let body = body.collect().await.expect("a whole answer").to_bytes();
        (parts.status, parts.headers, body)
    }

    /// Sends a request over HTTP/2, on a connection of its own.
    pub async fn send_http2(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let stream = tokio::net::TcpStream::connect(self.address).await.expect("connected");
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.expect("HTTP/2");
        tokio::spawn(connection);
        let (mut parts, body) = request.into_parts();
        parts.uri = format!("http://gateway.example{}", parts.uri).parse().expect("a URI");
        parts.headers.remove("host");
        sender.send_request(Request::from_parts(parts, body)).await.expect("an answer")
    }

    /// The records of a call that are there now.
    pub fn recorded(&self, id: &str) -> Vec<Value> {
        let shown = vidimus_ledger::show(&self.ledger(), id).expect("a ledger");
        shown.iter().map(|shown| serde_json::from_slice(&shown.record).expect("JSON")).collect()
    }

    /// Every record, oldest first.
    pub fn all_records(&self) -> Vec<Value> {
        let found = vidimus_ledger::search(&self.ledger(), &Query::default()).expect("a ledger");
        found.map(|hit| serde_json::from_slice(&hit.expect("a record").record).expect("JSON")).collect()
    }

    /// All records of a call so far, once there are `count`.
    pub async fn records(&self, id: &str, count: usize) -> Vec<Value> {
        for _ in 0..1000 {
            let recorded = self.recorded(id);
            if recorded.len() >= count {
                return recorded;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the call has no {count} records");
    }

    /// The keys of kept payloads, as another process sees them.
    pub fn payload_keys(&self) -> PayloadKeys {
        PayloadKeys::of_data(self.directory.path())
    }

    /// Every file below the directory of those keys.
    pub fn payload_key_files(&self) -> Vec<PathBuf> {
        let (mut left, mut files) = (vec![self.directory.path().join("payload-keys")], Vec::new());
        while let Some(directory) = left.pop() {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                match entry.path() {
                    path if path.is_dir() => left.push(path),
                    path if path.ends_with("naming") => {}
                    path => files.push(path),
                }
            }
        }
        files
    }

    /// Takes the directory of the ledger away: its next segment cannot be made.
    pub fn lose_ledger(&self) {
        std::fs::rename(self.ledger(), self.directory.path().join("lost")).expect("renamed");
    }

    /// Where the spans are that agents sent.
    pub fn traces(&self) -> PathBuf {
        self.directory.path().join("traces")
    }

    pub fn ledger(&self) -> PathBuf {
        self.directory.path().join("ledger")
    }
}

/// The id under which a call is on record.
pub fn call_id(headers: &HeaderMap) -> String {
    headers["vidimus-call"].to_str().expect("text").to_owned()
}

/// A JSON body.
pub fn json_of(body: &[u8]) -> Value {
    serde_json::from_slice(body).expect("JSON")
}
