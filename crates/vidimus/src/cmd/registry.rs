//! `vidimus registry`: the part that watches the cluster, as a process of its own. Gateways hear it (`vidimus serve --registry`), and need neither a
//! ServiceAccount token nor reach to the API server (ADR 70).

mod places;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use clap::Args;
use clap::builder::BoolishValueParser;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use vidimus_cluster::{Access, Begun, Relay, Watching};
use vidimus_core::clock::Clock as _;
use vidimus_gateway::{Vitals, millis};
use vidimus_identity::{PeerSvid, SpiffeId, TrustStore, named_server_config};

use super::quantity;
use super::serve::bundles::Bundles;
use super::serve::certificate::CertificateFiles;
use super::serve::from_registry::PROTOCOL;
use super::serve::supervisor::Supervisor;
use super::serve::{admin_listener, flags, runs, source};
use crate::clock::SystemClock;
use crate::log;
use places::{Gateways, Handshakes};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// When connections cannot be accepted.
const PAUSE: Duration = Duration::from_millis(10);
/// How often it is told who called last.
const CALLS: Duration = Duration::from_secs(5);
/// How long whatever compiles what the cluster says may take for one look at it.
const UNREAD: Duration = Duration::from_secs(30);

/// Watches the cluster for gateways that do not: writes statuses, and says on to gateways what there is.
///
/// A gateway (`vidimus serve --registry`) connects over TLS 1.3; each side presents an X.509-SVID, is told the other's SPIFFE ID, and speaks to no
/// other. Keys of Secrets go to a gateway that asks for them by name, where the registry's own records name them too.
/// Every option can also be given by the environment variable named with it.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  vidimus registry --serve 0.0.0.0:9444 \\
    --cert /svid/tls.crt --key /svid/tls.key \\
    --trust-bundle corp.example=/svid/ca.crt \\
    --gateway-id spiffe://corp.example/vidimus/gateway")]
pub struct Registry {
    /// Address at which gateways hear it: TLS 1.3 with client certificates.
    #[arg(long, env = "VIDIMUS_REGISTRY_SERVE", value_name = "ADDRESS", value_parser = quantity::socket)]
    serve: SocketAddr,
    /// SPIFFE ID of a gateway that may hear it; may be given several times.
    #[arg(long, env = "VIDIMUS_GATEWAY_ID", value_delimiter = ',', value_name = "SPIFFE-ID", value_parser = SpiffeId::parse, required = true)]
    gateway_id: Vec<SpiffeId>,
    /// PEM chain of the X.509-SVID that it presents. Read again when it changes.
    #[arg(long, env = "VIDIMUS_REGISTRY_CERT", value_name = "FILE")]
    cert: PathBuf,
    /// PEM private key to --cert.
    #[arg(long, env = "VIDIMUS_REGISTRY_KEY", value_name = "FILE")]
    key: PathBuf,
    /// SPIFFE trust bundle (PEM or JSON) of the gateways, as trust-domain=FILE; may
    /// be given several times. Read again when it changes.
    #[arg(
        long,
        env = "VIDIMUS_TRUST_BUNDLE",
        value_delimiter = ',',
        value_name = "TRUST-DOMAIN=FILE",
        required = true
    )]
    trust_bundle: Vec<String>,
    /// How the cluster is reached (the current context of this file); without it
    /// the process is in a pod, and is its ServiceAccount.
    #[arg(long, env = "VIDIMUS_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context in the kubeconfig [default: the current one].
    #[arg(long, env = "VIDIMUS_KUBE_CONTEXT", value_name = "NAME")]
    context: Option<String>,
    /// Namespaces whose resources are registered, and no others; may be given
    /// several times, in the order that the gateways are given [default: all].
    #[arg(long, env = "VIDIMUS_NAMESPACE", value_name = "NAMESPACE", value_delimiter = ',')]
    namespace: Vec<String>,
    /// The namespace of the Lease by which one replica of several writes statuses
    /// [default: that of the pod, or of the context].
    #[arg(long, env = "VIDIMUS_LEASE_NAMESPACE", value_name = "NAMESPACE")]
    lease_namespace: Option<String>,
    /// Write no statuses, and hold no Lease.
    #[arg(long, env = "VIDIMUS_NO_STATUS", value_parser = BoolishValueParser::new())]
    no_status: bool,
    /// Watch pods too; the gateways are given --pods then. Needs the role of
    /// deploy/rbac/pods.yaml.
    #[arg(long, env = "VIDIMUS_PODS", value_parser = BoolishValueParser::new())]
    pods: bool,
    /// Address of /healthz and /readyz, plain HTTP, without a word of what there is.
    #[arg(long, env = "VIDIMUS_REGISTRY_HEALTH", value_name = "ADDRESS", default_value = "127.0.0.1:9902", value_parser = quantity::socket)]
    health: SocketAddr,
    /// What goes to standard error: error, warn, info, debug, or a filter.
    #[arg(long, env = "VIDIMUS_LOG", default_value = "info", value_parser = flags::log_filter)]
    log: String,
    /// Log as JSON, one object a line.
    #[arg(long, env = "VIDIMUS_LOG_JSON", value_parser = BoolishValueParser::new())]
    log_json: bool,
}

pub fn run(registry: &Registry) -> anyhow::Result<ExitCode> {
    let filter = tracing_subscriber::EnvFilter::try_new(&registry.log)
        .map_err(|error| anyhow::anyhow!("--log {}: {error}", registry.log))?;
    let vitals = Vitals::default();
    let log = log::begin(filter, registry.log_json, &vitals).context("the log")?;
    let ended = serve(registry, &vitals);
    log.end();
    ended
}

fn serve(registry: &Registry, vitals: &Vitals) -> anyhow::Result<ExitCode> {
    let control =
        Builder::new_multi_thread().worker_threads(2).enable_all().thread_name("vidimus-control").build()?;
    let inside = control.enter();
    let mut supervisor = Supervisor::new(control.handle().clone(), vitals.clone());
    let bundles = Bundles::only("trust-bundle", &registry.trust_bundle)?;
    let trust = bundles.store();
    bundles.follow(&mut supervisor, trust.clone());
    let files = CertificateFiles::open_by(("cert", "key"), registry.cert.clone(), registry.key.clone())?;
    let ids = registry.gateway_id.clone();
    let config = named_server_config(&files.certificate(), trust.clone(), ids, PROTOCOL)?;
    files.follow(&mut supervisor);
    let bind = |flag: &str, address: SocketAddr| -> anyhow::Result<TcpListener> {
        let socket = TcpListener::bind(address).with_context(|| format!("--{flag} {address}"))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    let (socket, health) = (bind("serve", registry.serve)?, bind("health", registry.health)?);
    let (address, health_address) = (socket.local_addr()?, health.local_addr()?);
    let cluster = control.block_on(vidimus_cluster::connect(&access(registry))).context("the cluster")?;
    let (Begun { loaded, watching, tasks }, relay) = vidimus_cluster::relayed(&cluster)?;
    let pods = watching.pods().map(|pods| pods.follow(|_| ())).transpose().context("--pods")?;
    for (name, task) in tasks.into_iter().chain(pods.into_iter().flatten()) {
        supervisor.essential(name, task);
    }
    tell_calls(&mut supervisor, &watching, relay.clone());
    let router = Router::new().route("/healthz", get(is_alive)).route("/readyz", get(is_ready));
    let router = router.with_state(Arc::new(watching.clone()));
    let signals = runs::Signals::hear()?;
    admin_listener::serve(&mut supervisor, health, router, vitals.clone())?;
    let socket = tokio::net::TcpListener::from_std(socket)?;
    let gateways = Arc::new(Gateways::new(&registry.gateway_id));
    let tls = TlsAcceptor::from(Arc::new(config));
    supervisor.essential("gateways", accept(socket, tls, (relay, gateways), trust));
    tracing::info!(serve = %address, health = %health_address, "gateways may connect");
    let (code, _) = control.block_on(runs::until_told(&mut supervisor, signals))?;
    control.block_on(watching.give_back());
    // What is in force here is of no use once nobody is told of it.
    drop((loaded, inside));
    control.shutdown_timeout(Duration::from_secs(1));
    Ok(code)
}

/// Says in statuses who called, as gateways tell it.
fn tell_calls(supervisor: &mut Supervisor, watching: &Watching, relay: Relay) {
    let Some(pods) = watching.pods().cloned() else { return };
    supervisor.repeated("calls", CALLS, move || {
        pods.called(relay.last_calls());
        std::future::ready(())
    });
}

fn access(registry: &Registry) -> Access {
    let lease = registry.lease_namespace.as_deref().map(Arc::<str>::from);
    Access {
        kubeconfig: registry.kubeconfig.clone(),
        context: registry.context.clone(),
        namespaces: registry.namespace.iter().map(|name| name.as_str().into()).collect(),
        writes: (!registry.no_status).then(|| (source::who(), lease)),
        pods: registry.pods,
        // Who hears a registry runs none.
        jobs: false,
    }
}

/// Accepts gateways for as long as the process lives.
async fn accept(
    socket: tokio::net::TcpListener,
    tls: TlsAcceptor,
    (relay, gateways): (Relay, Arc<Gateways>),
    trust: TrustStore,
) {
    let mut handshakes = Handshakes::default();
    loop {
        let (stream, from) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let shed = handshakes.begin(from.ip());
        let (tls, relay, gateways, trust) = (tls.clone(), relay.clone(), gateways.clone(), trust.clone());
        tokio::spawn(async move {
            let shaken = tokio::select! {
                shaken = tokio::time::timeout(HANDSHAKE, handshake(&tls, stream)) => shaken,
                _ = shed => return,
            };
            let (stream, peer) = match shaken {
                Ok(Ok(shaken)) => shaken,
                Ok(Err(why)) => {
                    tracing::warn!(%from, why, "somebody that is no gateway of this registry is not spoken to");
                    return;
                }
                Err(_) => return,
            };
            let Some(_place) = gateways.enter(&peer.spiffe_id) else {
                tracing::warn!(%from, gateway = %peer.spiffe_id, "as many of this ID hear it already as may");
                return;
            };
            tracing::info!(%from, gateway = %peer.spiffe_id, "a gateway hears it");
            let is_trusted = || trust.still_trusts(&peer, millis(SystemClock.now().wall));
            let why = relay.serve(stream, is_trusted).await;
            tracing::info!(%from, gateway = %peer.spiffe_id, why, "a gateway hears it no more");
        });
    }
}

/// The peer, once it has proven that it is one of the gateways. Nothing of it is read before.
async fn handshake(tls: &TlsAcceptor, stream: TcpStream) -> Result<(TlsStream<TcpStream>, PeerSvid), String> {
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let stream = tls.accept(stream).await.map_err(|error| error.to_string())?;
    let connection = stream.get_ref().1;
    if connection.alpn_protocol() != Some(PROTOCOL) {
        return Err("it speaks another protocol".to_owned());
    }
    let peer = PeerSvid::from_certificates(connection.peer_certificates());
    let peer = peer.map_err(|error| error.to_string())?.ok_or("it presents no SVID")?;
    Ok((stream, peer))
}

async fn is_alive(State(watching): State<Arc<Watching>>) -> (StatusCode, String) {
    let silent = watching.silent_for();
    match silent > UNREAD {
        false => (StatusCode::OK, "ok\n".to_owned()),
        true => {
            let why = format!("what the cluster says has not been compiled for {} s\n", silent.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, why)
        }
    }
}

/// Once all of the cluster was heard there is something to say on, as old as it is.
async fn is_ready(State(watching): State<Arc<Watching>>) -> (StatusCode, String) {
    let state = watching.state().borrow().clone();
    let code = if state.synced.is_some() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, state.reason.map_or_else(|| "ready\n".to_owned(), |why| format!("{why}\n")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        registry: Registry,
    }

    fn parsed(flags: &str) -> Result<Registry, String> {
        let line = ["registry"].into_iter().chain(flags.split_whitespace());
        Line::try_parse_from(line).map(|line| line.registry).map_err(|error| error.to_string())
    }

    #[test]
    fn who_may_hear_it_and_by_what_is_said() {
        const ALL: &str = "--serve 127.0.0.1:0 --gateway-id spiffe://a/g --cert c --key k --trust-bundle a=b";
        let registry = parsed(ALL).expect("whole");
        let access = access(&registry);
        assert!(access.namespaces.is_empty() && access.writes.is_some() && !access.pods);
        for missing in
            ["--serve 127.0.0.1:0", "--gateway-id spiffe://a/g", "--cert c", "--key k", "--trust-bundle a=b"]
        {
            let flag = missing.split(' ').next().expect("one");
            let error = parsed(&ALL.replace(missing, "")).map(drop).expect_err(missing);
            assert!(error.contains(flag), "{missing}: {error}");
        }
        let some =
            parsed(&format!("{ALL} --namespace b,a --no-status --pods --kubeconfig f")).expect("whole");
        let access = super::access(&some);
        assert_eq!(access.namespaces.iter().map(|name| &**name).collect::<Vec<_>>(), ["b", "a"]);
        assert!(access.writes.is_none() && access.pods && access.kubeconfig.is_some());
        parsed(&ALL.replace("spiffe://a/g", "g")).map(drop).expect_err("no SPIFFE ID");
    }
}
