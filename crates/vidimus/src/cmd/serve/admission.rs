//! `--admission`: the API server of a cluster asks before it takes an object (docs/admission.md). TLS only, on a thread of its own; who asks is
//! known by the key in the path, and by a client certificate where that is asked for.

mod listener;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Path as Place, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use clap::Args;
use data_encoding::HEXLOWER;
use tokio::sync::{Semaphore, watch};
use vidimus_core::admission::Enforcement;
use vidimus_core::admission::workloads::Workloads;
use vidimus_core::caller::User;
use vidimus_core::clock::Clock as _;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Snapshot;
use vidimus_gateway::{RefusedRequest, Shared, millis};
use vidimus_identity::{
    ClientCertificates, LocalIdentity, ServerCertificate, random_key, read_regular, server_config,
};
use vidimus_query::admission::{Answer, Asked, By, Kept, pod, record};
use vidimus_registry::Loaded;

use super::Serve;
use super::admin_listener::Peer;
use super::flags;
use super::supervisor::Supervisor;
use crate::clock::SystemClock;
use crate::cmd::quantity;

/// Life of the certificate; renewed at half of it.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// Largest file of authorities, in bytes.
const MAX: u64 = 1 << 20;
/// Largest question, in bytes: an object as it is and as it was, of 1.5 MB each at most, and what is around them.
const BODY: usize = 8 << 20;
/// For all of it to come.
const BODY_TIME: Duration = Duration::from_secs(10);
/// The same whatever is wrong with the path, so that it says nothing of the key.
const NOWHERE: (StatusCode, &str) = (
    StatusCode::NOT_FOUND,
    "nothing is here; the API server asks by the path that `vidimus admission manifests --form webhook` prints\n",
);
/// Objects that are looked at at once: each takes as long as a snapshot takes.
const AT_ONCE: usize = 2;
/// Length of the key in the path, in bytes.
const KEY: usize = 32;
/// The file that has it.
const KEY_FILE: &str = "path";

/// How the API server asks.
#[derive(Debug, Args)]
pub struct AdmissionFlags {
    /// Address where the API server of a cluster asks before it takes an object: TLS, with a certificate of a CA of its own that is
    /// renewed by itself. `vidimus admission manifests --form webhook` prints what has it ask here.
    #[arg(long, env = "VIDIMUS_ADMISSION", value_name = "ADDRESS", value_parser = quantity::socket)]
    pub admission: Option<SocketAddr>,
    /// Directory of the CA of that certificate, and of the key in the path by which the API server is known [default: admission in
    /// --data]. Replicas have one.
    #[arg(long, env = "VIDIMUS_ADMISSION_KEYS", value_name = "DIR", requires = "admission")]
    pub admission_keys: Option<PathBuf>,
    /// Host names by which the API server reaches it: those of its Service.
    #[arg(long, env = "VIDIMUS_ADMISSION_NAME", value_delimiter = ',', value_name = "NAME", default_value = "vidimus-admission.vidimus-system.svc", value_parser = flags::host_name)]
    pub admission_name: Vec<String>,
    /// PEM authorities of the API server's client certificate; without one nobody is answered then. They should sign nothing else.
    #[arg(long, env = "VIDIMUS_ADMISSION_CLIENT_CA", value_name = "FILE", requires = "admission")]
    pub admission_client_ca: Option<PathBuf>,
    /// What the cluster is called as the issuer of the people that it names: User::"kubernetes#ada".
    #[arg(long, env = "VIDIMUS_ADMISSION_CLUSTER", value_name = "NAME", default_value = "kubernetes", value_parser = cluster)]
    pub admission_cluster: String,
}

/// A plain name: no issuer of tokens has one, so nobody is two.
fn cluster(text: &str) -> anyhow::Result<String> {
    let is_plain = !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(|one| one.is_ascii_alphanumeric() || one == b'-');
    anyhow::ensure!(is_plain, "write a name of at most 63 letters, digits and '-', as in kubernetes");
    Ok(text.to_owned())
}

/// The CA of the webhook, and by what the API server is known.
pub(in crate::cmd) struct Keys {
    pub(in crate::cmd) ca: LocalIdentity,
    /// In hex.
    pub(in crate::cmd) key: String,
}

impl Keys {
    /// Whether they are in the directory.
    pub(in crate::cmd) fn are_in(directory: &Path) -> bool {
        directory.join(KEY_FILE).exists()
    }

    /// Opens what is in the directory, or makes it.
    ///
    /// # Errors
    /// When it cannot be read or made, or is for others too.
    pub(in crate::cmd) fn open(directory: &Path) -> anyhow::Result<Self> {
        let shown = || format!("--admission-keys {}", directory.display());
        let ca = LocalIdentity::open(directory, None, millis(SystemClock.now().wall)).with_context(shown)?;
        let key: [u8; KEY] = random_key(&directory.join(KEY_FILE)).with_context(shown)?;
        Ok(Self { ca, key: HEXLOWER.encode(&key) })
    }
}

/// Where they are.
pub(in crate::cmd) fn keys_of(data: &Path, keys: Option<&Path>) -> PathBuf {
    keys.map_or_else(|| data.join("admission"), Path::to_owned)
}

/// Begins to answer, where it is asked for.
///
/// # Errors
/// When the address is taken, or keys and certificates cannot be used.
pub(super) fn begin(
    supervisor: &mut Supervisor,
    serve: &Serve,
    shared: &Arc<Shared>,
    loaded: &watch::Receiver<Arc<Loaded>>,
) -> anyhow::Result<()> {
    let flags = &serve.admission;
    let Some(address) = flags.admission else { return Ok(()) };
    let keys = Keys::open(&keys_of(&serve.data, flags.admission_keys.as_deref()))?;
    let socket = TcpListener::bind(address).with_context(|| format!("--admission {address}"))?;
    socket.set_nonblocking(true)?;
    let clients = match &flags.admission_client_ca {
        None => ClientCertificates::Ignored,
        Some(path) => {
            let shown = || format!("--admission-client-ca {}", path.display());
            ClientCertificates::SignedBy(read_regular(path, MAX).with_context(shown)?)
        }
    };
    let names = names(address, &flags.admission_name);
    let certificate = keys.ca.server_certificate(&names, LIFE, millis(SystemClock.now().wall))?;
    let mut tls = server_config(&certificate, clients).context("--admission-client-ca")?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let Keys { ca, key } = keys;
    renew(supervisor, ca, names, certificate);
    let admission = Admission {
        key,
        cluster: flags.admission_cluster.clone(),
        shared: shared.clone(),
        loaded: loaded.clone(),
        workloads: Mutex::default(),
        places: Arc::new(Semaphore::new(AT_ONCE)),
    };
    let router = Router::new()
        .route("/admission/{key}/records", post(records))
        .route("/admission/{key}/pods/{enforcement}", post(pods))
        .fallback(nowhere)
        .with_state(Arc::new(admission));
    if flags.admission_client_ca.is_none() && !address.ip().is_loopback() {
        tracing::warn!(
            "--admission without --admission-client-ca: while nobody answers there, the API server's error shows the key in the path to \
             whoever sent the object; see to it that nobody else reaches the address (docs/admission.md)"
        );
    }
    tracing::info!(admission = %address, certificates = flags.admission_client_ca.is_some(), "the API server may ask");
    listener::serve(supervisor, (socket, tls), router, shared.vitals.clone())
}

/// The names that the API server reaches it by.
fn names(address: SocketAddr, given: &[String]) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(given.iter().cloned());
    if !address.ip().is_unspecified() {
        names.push(address.ip().to_string());
    }
    names.sort_unstable();
    names.dedup();
    names
}

fn renew(supervisor: &mut Supervisor, ca: LocalIdentity, names: Vec<String>, certificate: ServerCertificate) {
    supervisor.repeated_beside("admission-certificate", LIFE / 2, move || {
        match ca.server_certificate(&names, LIFE, millis(SystemClock.now().wall)) {
            Ok(newer) => certificate.update(&newer),
            Err(error) => {
                tracing::error!(%error, "the certificate of the admission address could not be renewed");
            }
        }
    });
}

/// Who answers.
struct Admission {
    key: String,
    cluster: String,
    shared: Arc<Shared>,
    loaded: watch::Receiver<Arc<Loaded>>,
    /// What the records of a snapshot claim, made once for it.
    workloads: Mutex<Option<(Arc<Snapshot>, Arc<Workloads>)>>,
    places: Arc<Semaphore>,
}

impl Admission {
    /// The question, of whoever knows the key, while it is known what is registered. Of nobody else a byte of it is read.
    async fn asked(&self, key: &str, body: Body) -> Result<Asked, (StatusCode, String)> {
        if !self.is_key(key) {
            return Err((NOWHERE.0, NOWHERE.1.to_owned()));
        }
        if let Some(reason) = self.loaded.borrow().not_ready.clone() {
            return Err((StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")));
        }
        let whole = tokio::time::timeout(BODY_TIME, to_bytes(body, BODY)).await;
        let slow = |_| (StatusCode::REQUEST_TIMEOUT, "the question did not come in time\n".to_owned());
        let large = |_| (StatusCode::PAYLOAD_TOO_LARGE, format!("a question has {BODY} bytes at most\n"));
        let whole = whole.map_err(slow)?.map_err(large)?;
        Asked::read(&whole).map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}\n")))
    }

    /// Compared by a digest under a key of this process first, so that how long it takes says nothing of how much of it is right.
    fn is_key(&self, given: &str) -> bool {
        use std::hash::{BuildHasher as _, RandomState};
        static STATE: std::sync::LazyLock<RandomState> = std::sync::LazyLock::new(RandomState::new);
        STATE.hash_one(given) == STATE.hash_one(&*self.key) && given == self.key
    }

    fn workloads(&self) -> Arc<Workloads> {
        let snapshot = self.shared.snapshot();
        let mut known = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((of, workloads)) if Arc::ptr_eq(of, &snapshot) => workloads.clone(),
            _ => {
                let workloads = Arc::new(Workloads::of(&snapshot));
                *known = Some((snapshot, workloads.clone()));
                workloads
            }
        }
    }

    /// Puts on record what is to be, before the API server is told.
    async fn keep(&self, kept: Kept, actor: &User, peer: Peer) -> Result<(), Refusal> {
        match kept {
            Kept::Registered(registration) => {
                let why = format!("{} {}", registration.operation, registration.object);
                let actor = format!("User/{}", actor.id());
                self.shared.record_registration(actor, *registration, why).await.map(|_| ())
            }
            Kept::Refused(refusal, path) => {
                let refused =
                    RefusedRequest { refusal: &refusal, path: &path, user: Some(actor), source: peer.0 };
                self.shared.record_refused(&refused).await;
                Ok(())
            }
        }
    }
}

async fn records(
    State(admission): State<Arc<Admission>>,
    Extension(peer): Extension<Peer>,
    Place(key): Place<String>,
    body: Body,
) -> Response {
    let asked = match admission.asked(&key, body).await {
        Ok(asked) => asked,
        Err(said) => return said.into_response(),
    };
    match answered(&admission, asked, peer).await {
        Ok(review) => Json(review).into_response(),
        // The API server does as the webhook's failurePolicy says.
        Err(refusal) => {
            let said = format!("{}: {}; {}\n", refusal.code.as_str(), refusal.message, refusal.next());
            (StatusCode::SERVICE_UNAVAILABLE, said).into_response()
        }
    }
}

async fn answered(
    admission: &Arc<Admission>,
    asked: Asked,
    peer: Peer,
) -> Result<serde_json::Value, Refusal> {
    let stopping = |_| Refusal::new(Code::Internal, "the gateway is stopping");
    let place = admission.places.clone().acquire_owned().await.map_err(stopping)?;
    let of = admission.clone();
    let answer = tokio::task::spawn_blocking(move || {
        let snapshot = of.shared.snapshot();
        let now = millis(SystemClock.now().wall);
        let answer = record(&By { snapshot: &snapshot, cluster: &of.cluster, now }, &asked);
        // Here, and not where it is waited for: an API server that asks no longer does not end it.
        drop(place);
        answer
    });
    let answer = answer.await.map_err(|error| {
        Refusal::new(Code::Internal, "it was not found out whether it may be registered").with_detail(error)
    })?;
    let Answer { review, actor, kept } = answer;
    if let Some(kept) = kept {
        admission.keep(kept, &actor, peer).await?;
    }
    Ok(review)
}

async fn pods(
    State(admission): State<Arc<Admission>>,
    Place((key, enforcement)): Place<(String, String)>,
    body: Body,
) -> Response {
    let Some(enforcement) = Enforcement::of(&enforcement) else { return nowhere().await };
    match admission.asked(&key, body).await {
        Ok(asked) => {
            let answer = pod(&admission.workloads(), enforcement, &asked, &admission.cluster);
            Json(answer.review).into_response()
        }
        Err(said) => said.into_response(),
    }
}

async fn nowhere() -> Response {
    NOWHERE.into_response()
}
