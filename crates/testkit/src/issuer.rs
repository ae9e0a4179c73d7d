//! A token issuer for tests: real HTTP on loopback, real keys, and every way of misbehaving that is worth a test.
//!
//! ```no_run
//! # use vidimus_testkit::issuer::FakeIssuer;
//! let issuer = FakeIssuer::start();
//! let token = issuer.token(serde_json::json!({ "sub": "6f0c1e7a", "aud": "https://gateway" }));
//! assert_eq!(issuer.discovery_requests(), 0);
//! ```

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::{Notify, oneshot};

pub use self::key::{Algorithm, IssuerKey};

mod key;

/// How the issuer answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Healthy,
    /// Every request is answered 503.
    Down,
    /// No request is answered until the behaviour changes.
    Hanging,
    /// The metadata names another issuer.
    OtherIssuer(String),
    /// The metadata points to other keys.
    JwksUri(String),
    /// Every request is redirected there.
    Redirect(String),
    /// The keys come in a document of more than this many bytes.
    Oversized(usize),
    /// Both documents are this text.
    Garbage(String),
}

/// The issuer. Its server ends when this is dropped.
#[derive(Debug)]
pub struct FakeIssuer {
    shared: Arc<Shared>,
    /// Dropped with the issuer, which ends the server.
    _stop: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    state: Mutex<State>,
    changed: Notify,
    discovery: AtomicUsize,
    jwks: AtomicUsize,
}

#[derive(Debug)]
struct State {
    behaviour: Behaviour,
    /// Published keys; the last one signs.
    keys: Vec<Arc<IssuerKey>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FakeIssuer {
    /// Starts an issuer with one ES256 key. It has a thread and a runtime of its own, so any test can use it.
    pub fn start() -> Self {
        Self::with_key(Algorithm::Es256)
    }

    /// Starts an issuer with one key for `algorithm`.
    #[expect(clippy::expect_used, reason = "test support: no loopback means no test")]
    pub fn with_key(algorithm: Algorithm) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        listener.set_nonblocking(true).expect("non-blocking accept");
        let state =
            State { behaviour: Behaviour::Healthy, keys: vec![Arc::new(IssuerKey::generate(algorithm))] };
        let shared = Arc::new(Shared {
            address: listener.local_addr().expect("the bound address"),
            state: Mutex::new(state),
            changed: Notify::new(),
            discovery: AtomicUsize::new(0),
            jwks: AtomicUsize::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let serving = shared.clone();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, serving) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { shared, _stop: stop }
    }

    /// `iss` of its tokens: `http://127.0.0.1:PORT`.
    pub fn issuer(&self) -> String {
        format!("http://{}", self.shared.address)
    }

    /// A token with `claims`; `iss`, `iat` (now) and `exp` (in an hour) are added where absent.
    pub fn token(&self, claims: Value) -> String {
        self.key().token(&self.completed(claims))
    }

    /// `claims` as [`FakeIssuer::token`] would sign them.
    #[expect(clippy::needless_pass_by_value, reason = "json!(..) at every call")]
    pub fn completed(&self, claims: Value) -> Value {
        let now = now_seconds();
        let mut all = json!({ "iss": self.issuer(), "iat": now, "exp": now + 3600 });
        if let (Some(all), Some(claims)) = (all.as_object_mut(), claims.as_object()) {
            all.extend(claims.clone());
        }
        all
    }

    /// The key that signs now.
    #[expect(clippy::expect_used, reason = "test support: a test that withdraws every key cannot sign")]
    pub fn key(&self) -> Arc<IssuerKey> {
        self.shared.state().keys.last().cloned().expect("a key that is not withdrawn")
    }

    /// Publishes a further key and signs with it from now on.
    pub fn add_key(&self, algorithm: Algorithm) -> Arc<IssuerKey> {
        let key = Arc::new(IssuerKey::generate(algorithm));
        self.shared.state().keys.push(key.clone());
        key
    }

    /// Publishes a new key and withdraws all others: the hard rotation after a theft.
    pub fn rotate(&self) -> Arc<IssuerKey> {
        let algorithm = self.key().algorithm();
        self.shared.state().keys.clear();
        self.add_key(algorithm)
    }

    /// Publishes a key that the test made, and signs with it.
    pub fn publish(&self, key: IssuerKey) {
        self.shared.state().keys.push(Arc::new(key));
    }

    /// Answers like this from now on, also what hangs now.
    pub fn behave(&self, behaviour: Behaviour) {
        self.shared.state().behaviour = behaviour;
        self.shared.changed.notify_waiters();
    }

    /// How often the metadata was asked for.
    pub fn discovery_requests(&self) -> usize {
        self.shared.discovery.load(Ordering::SeqCst)
    }

    /// How often the keys were asked for.
    pub fn jwks_requests(&self) -> usize {
        self.shared.jwks.load(Ordering::SeqCst)
    }

    /// Waits until the keys were asked for `count` times, at most 10 s.
    ///
    /// # Panics
    /// When they were not.
    #[expect(clippy::panic, reason = "test support: this is an assertion")]
    pub async fn until_jwks_requests(&self, count: usize) {
        let reached = async {
            while self.jwks_requests() < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(10), reached).await.is_err() {
            panic!("{} requests for keys, {count} expected", self.jwks_requests());
        }
    }
}

/// Seconds since the Unix epoch.
pub fn now_seconds() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}

#[expect(clippy::expect_used, reason = "test support: no listener means no test")]
async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener in this runtime");
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request| answer(shared.clone(), request));
            // A client that goes away is its own business.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: http::Request<hyper::body::Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let discovery = match request.uri().path() {
        "/.well-known/openid-configuration" => true,
        "/jwks" => false,
        _ => return Ok(reply(StatusCode::NOT_FOUND, "")),
    };
    // As strict as the API server of a cluster.
    let own = if discovery { "application/json" } else { "application/jwk-set+json" };
    let accepted = request.headers().get(http::header::ACCEPT).and_then(|value| value.to_str().ok());
    if accepted.is_some_and(|accepted| !accepted.contains(own)) {
        return Ok(reply(StatusCode::NOT_ACCEPTABLE, ""));
    }
    if discovery { &shared.discovery } else { &shared.jwks }.fetch_add(1, Ordering::SeqCst);
    loop {
        // Registered before the behaviour is read, so that no change is missed.
        let changed = shared.changed.notified();
        if let Some(reply) = shared.reply(discovery) {
            return Ok(reply);
        }
        changed.await;
    }
}

impl Shared {
    /// The answer; `None` while hanging.
    fn reply(&self, discovery: bool) -> Option<Response<Full<Bytes>>> {
        let state = self.state();
        let issuer = format!("http://{}", self.address);
        let metadata = |issuer: &str, keys: String| {
            let document =
                json!({ "issuer": issuer, "jwks_uri": keys, "response_types_supported": ["code"] });
            reply(StatusCode::OK, &document.to_string())
        };
        let keys = format!("{issuer}/jwks");
        Some(match &state.behaviour {
            Behaviour::Hanging => return None,
            Behaviour::Down => reply(StatusCode::SERVICE_UNAVAILABLE, ""),
            Behaviour::Garbage(text) => reply(StatusCode::OK, text),
            Behaviour::Redirect(to) => {
                let mut redirect = reply(StatusCode::FOUND, "");
                if let Ok(to) = to.parse() {
                    redirect.headers_mut().insert(http::header::LOCATION, to);
                }
                redirect
            }
            Behaviour::OtherIssuer(other) if discovery => metadata(other, keys),
            Behaviour::JwksUri(elsewhere) if discovery => metadata(&issuer, elsewhere.clone()),
            _ if discovery => metadata(&issuer, keys),
            Behaviour::Oversized(bytes) => {
                reply(StatusCode::OK, &format!("{{\"keys\":[]}}{}", " ".repeat(*bytes)))
            }
            _ => {
                let keys: Vec<Value> = state.keys.iter().map(|key| key.jwk()).collect();
                reply(StatusCode::OK, &json!({ "keys": keys }).to_string())
            }
        })
    }
}

fn reply(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = status;
    response
}

/// A token of exactly these parts, signed by nobody: header and payload as given, `signature` raw.
pub fn compact(header: &str, payload: &str, signature: &[u8]) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    format!("{}.{}.{}", encode(header.as_bytes()), encode(payload.as_bytes()), encode(signature))
}
