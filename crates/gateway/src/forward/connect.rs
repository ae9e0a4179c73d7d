//! Connections to upstreams: addresses are checked after resolution, where a name can no longer change its mind.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::client::WantsClientCert;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ConfigBuilder};
use tokio::net::TcpStream;
use tower_service::Service;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{Network, reached, why_not_called};

/// The pooled HTTP client.
pub(crate) type Client = legacy::Client<HttpsConnector<HttpConnector<GuardedResolver>>, Full<Bytes>>;

const CONNECT_TIME: Duration = Duration::from_secs(5);
const IDLE_TIME: Duration = Duration::from_secs(60);
const IDLE_PER_HOST: usize = 256;
/// Bytes of one answer that are read before its caller takes any: what each caller that does not read costs.
const READ_AHEAD: usize = 64 * 1024;
/// The same over HTTP/2.
const HTTP2_READ_AHEAD: u32 = 128 * 1024;
/// Of all answers of one HTTP/2 connection. It is no bound: callers that do not read must not stop the answers of others.
const HTTP2_CONNECTION: u32 = 1 << 30;
/// How often TCP asks before it gives up.
const PROBES: u32 = 3;

/// When a connection is asked whether the other end is still there: by HTTP/2's PING, which the server answers, and by TCP, whose
/// kernel does. A call that waits on a dead connection learns of it then, however long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// How long it is quiet before that. TCP counts in seconds.
    pub quiet: Duration,
    /// How long the answer may take, and how far apart TCP asks.
    pub answered: Duration,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self { quiet: Duration::from_secs(10), answered: Duration::from_secs(5) }
    }
}

/// How connections are made, and kept.
#[derive(Clone, Debug)]
pub(super) struct Connecting {
    pub(super) guard: AddressGuard,
    pub(super) keep_alive: KeepAlive,
    /// HTTP/2 is spoken without asking whether the other end does.
    pub(super) only_http2: bool,
}

/// Which addresses an upstream may have: those that the registry lets a record name ([`why_not_called`]), but for what the
/// installation denies, and with what it allows. Private and loopback ones are among them, since that is where agents live.
#[derive(Clone, Debug, Default)]
pub struct AddressGuard {
    /// Wins over what is allowed.
    pub denied: Arc<[Network]>,
    /// Of the ranges that are else never called. Each lies in one of them.
    pub allowed: Arc<[Network]>,
}

impl AddressGuard {
    pub fn allows(&self, address: IpAddr) -> bool {
        let denies = |address| self.denied.iter().any(|network| network.contains(address));
        why_not_called(address, &self.allowed).is_none() && !denies(address) && !denies(reached(address))
    }

    /// The same without the addresses of this host itself.
    pub(crate) fn but_this_host(&self) -> Self {
        let own = ["127.0.0.0/8", "::1/128"].iter().filter_map(|network| network.parse().ok());
        Self { denied: self.denied.iter().copied().chain(own).collect(), allowed: self.allowed.clone() }
    }

    /// A literal address in a URL is never resolved, so it is checked here.
    pub(crate) fn check_literal(&self, host: &str) -> Result<(), Refusal> {
        match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) if !self.allows(address) => Err(refused_address(&address.to_string())),
            _ => Ok(()),
        }
    }
}

fn refused_address(detail: &str) -> Refusal {
    Refusal::new(Code::UpstreamRefusedAddress, "the upstream's address is one that no call may reach")
        .with_detail(detail)
}

/// Resolves with the system's resolver and keeps the addresses that the guard allows.
#[derive(Clone, Debug)]
pub(crate) struct GuardedResolver(AddressGuard);

/// Every address of the name is refused by the guard.
#[derive(Debug, thiserror::Error)]
#[error("{0} resolves to addresses that no call may reach")]
struct RefusedName(String);

/// The name has no address, or nobody could be asked for it.
#[derive(Debug, thiserror::Error)]
#[error("{0} could not be resolved: {1}")]
struct Unresolved(String, io::Error);

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let guard = self.0.clone();
        Box::pin(async move { Ok(resolve(&guard, name.as_str().to_owned(), 0).await?.into_iter()) })
    }
}

/// The addresses of a host that the guard allows.
async fn resolve(guard: &AddressGuard, host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let lookup = tokio::task::spawn_blocking(move || match (host.as_str(), port).to_socket_addrs() {
        Ok(found) => Ok((host, found.collect::<Vec<_>>())),
        Err(error) => Err(io::Error::other(Unresolved(host, error))),
    });
    let (host, found) = lookup.await.map_err(io::Error::other)??;
    let allowed: Vec<_> = found.iter().copied().filter(|address| guard.allows(address.ip())).collect();
    if allowed.is_empty() && !found.is_empty() {
        return Err(io::Error::other(RefusedName(host)));
    }
    Ok(allowed)
}

/// A plain connection to a host, a name or an address without brackets, at the first of its addresses that takes it.
pub(crate) async fn tcp(guard: &AddressGuard, host: &str, port: u16) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for address in resolve(guard, host.to_owned(), port).await? {
        match tokio::time::timeout(CONNECT_TIME, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failed)
}

/// TLS that trusts the system's roots, or those of one PEM text.
pub(crate) fn tls(roots: Option<&[u8]>) -> io::Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let Some(pem) = roots else { return config.with_native_roots() };
    let mut store = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        store.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    if store.is_empty() {
        return Err(io::Error::other("there is no certificate in it"));
    }
    Ok(config.with_root_certificates(store))
}

/// Builds a client that trusts the system's roots, or those of one PEM text.
pub(super) fn client(connecting: &Connecting, roots: Option<&[u8]>) -> io::Result<Client> {
    let KeepAlive { quiet, answered } = connecting.keep_alive;
    let mut tcp = HttpConnector::new_with_resolver(GuardedResolver(connecting.guard.clone()));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIME));
    tcp.set_keepalive(Some(quiet));
    tcp.set_keepalive_interval(Some(answered));
    tcp.set_keepalive_retries(Some(PROBES));
    // The same for what was sent and is not acknowledged: keep-alive asks only where nothing is on its way.
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(quiet + answered * PROBES));
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls(roots)?.with_no_client_auth());
    let connector = match connecting.only_http2 {
        true => connector.https_or_http().enable_http2().wrap_connector(tcp),
        false => connector.https_or_http().enable_http1().enable_http2().wrap_connector(tcp),
    };
    Ok(legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_only(connecting.only_http2)
        .http1_max_buf_size(READ_AHEAD)
        .http2_initial_stream_window_size(HTTP2_READ_AHEAD)
        .http2_initial_connection_window_size(HTTP2_CONNECTION)
        .http2_keep_alive_interval(quiet)
        .http2_keep_alive_timeout(answered)
        .http2_keep_alive_while_idle(true)
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIME)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .build(connector))
}

/// What a failed request means. The innermost cause decides; its text goes to the record, not to the caller.
pub(super) fn refusal(error: &legacy::Error) -> Refusal {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    let mut detail = error.to_string();
    let mut unreachable = ("no connection to the upstream could be made", None);
    let mut broke = ("the connection to the upstream broke before it answered", None);
    while let Some(source) = cause.source() {
        detail = format!("{detail}: {source}");
        let inner = source.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if wraps::<RefusedName>(inner) {
            return refused_address(&detail);
        }
        if wraps::<Unresolved>(inner) {
            unreachable = ("the name of the upstream's host could not be resolved", Some(NAME));
        }
        if source.is::<rustls::Error>() || wraps::<rustls::Error>(inner) {
            unreachable = ("TLS with the upstream could not be agreed upon", Some(TLS));
        }
        // So the first words of HTTP/1 look, read as a frame.
        let reason = source.downcast_ref::<h2::Error>().and_then(h2::Error::reason);
        if reason == Some(h2::Reason::FRAME_SIZE_ERROR) {
            broke = ("what the upstream answered is not HTTP/2", Some(HTTP2));
        }
        let answer = source.downcast_ref::<hyper::Error>();
        if answer.is_some_and(|error| error.is_parse() || error.is_parse_too_large()) {
            let message = "the upstream's answer is not HTTP, or its headers are too large";
            return Refusal::new(Code::UpstreamInvalid, message).with_detail(detail);
        }
        cause = source;
    }
    if error.is_connect() {
        let (message, next) = unreachable;
        return Refusal { next, ..Refusal::new(Code::UpstreamUnreachable, message).with_detail(detail) };
    }
    // Whether it was sent is not known of every connection that broke, so it is said of none that it was not.
    let (message, next) = broke;
    Refusal { next, ..Refusal::new(Code::UpstreamInterrupted, message).with_detail(detail) }
}

/// Whether what an error of the system's wraps, however often, is an `E`: as a source, what is wrapped is passed over.
fn wraps<E: std::error::Error + 'static>(
    mut inner: Option<&(dyn std::error::Error + Send + Sync + 'static)>,
) -> bool {
    while let Some(error) = inner {
        if error.is::<E>() {
            return true;
        }
        inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    }
    false
}

/// What to do about a name without an address.
const NAME: &str =
    "Check the host in spec.endpoint.url, and that the gateway's resolver knows it; nothing was sent.";

/// What to do about a certificate that is not trusted, or a server that speaks no TLS.
const TLS: &str = "Let the upstream have a certificate for the host in spec.endpoint.url, signed by a root that the gateway trusts \
    (spec.endpoint.caFile, or the system's), or register it with http:// where it speaks no TLS; nothing was sent. \
    The record of the call has the details.";

/// What to do about a server that speaks another protocol than gRPC does.
const HTTP2: &str = "Look whether what listens at the address in the record (spec.grpc.url, or spec.endpoint.grpc of an Agent) speaks HTTP/2, as gRPC does: \
    HTTP/1 alone is not enough. If it does, the call may have been carried out; find out at the upstream before you repeat it.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_and_denied_networks_are_out_of_reach() {
        let denied: Vec<Network> =
            ["10.9.0.0/16", "9.9.0.0/16", "fd12::/16"].iter().map(|n| n.parse().expect("network")).collect();
        let guard = AddressGuard { denied: denied.into(), ..AddressGuard::default() };
        for (address, allowed) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("8.8.8.8", true),
            ("::1", true),
            ("169.254.169.254", false),
            ("::ffff:169.254.169.254", false),
            ("fe80::1", false),
            ("fd00:ec2::254", false),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("::", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("100.64.0.1", false),
            ("192.0.0.8", false),
            ("168.63.129.16", false),
            ("2002:7f00:1::1", false),
            ("64:ff9b::a9fe:a9fe", false),
            ("64:ff9b::808:808", true),
            ("2001::1", false),
            ("10.9.1.1", false),
            ("9.9.1.1", false),
            ("64:ff9b::909:101", false),
            ("::ffff:10.9.1.1", false),
            ("fd12::1", false),
            ("fd13::1", true),
        ] {
            assert_eq!(guard.allows(address.parse().expect("address")), allowed, "{address}");
        }
        assert!(guard.check_literal("[fe80::1]").is_err() && guard.check_literal("example.com").is_ok());
    }

    #[test]
    fn what_is_allowed_is_reached_unless_it_is_denied() {
        let networks = |all: &[&str]| all.iter().map(|n| n.parse().expect("network")).collect();
        let guard =
            AddressGuard { denied: networks(&["100.64.9.0/24"]), allowed: networks(&["100.64.0.0/10"]) };
        for (address, allowed) in [
            ("100.64.0.1", true),
            ("::ffff:100.127.0.1", true),
            ("100.64.9.1", false),
            ("::ffff:100.64.9.1", false),
            ("100.100.100.200", false),
            ("64:ff9b::6440:1", false),
            ("169.254.0.1", false),
        ] {
            assert_eq!(guard.allows(address.parse().expect("address")), allowed, "{address}");
        }
    }
}
