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
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tower_service::Service;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{Network, reached, why_not_called};

/// The pooled HTTP client.
pub(super) type Client = legacy::Client<HttpsConnector<HttpConnector<GuardedResolver>>, Full<Bytes>>;

const CONNECT_TIME: Duration = Duration::from_secs(5);
const IDLE_TIME: Duration = Duration::from_secs(60);
const IDLE_PER_HOST: usize = 256;
/// How long a connection is quiet before it is asked whether the other end is still there: by HTTP/2's PING, which the server
/// answers, and by TCP, whose kernel does. A call that waits on a dead connection learns of it then, however long it may take.
const QUIET: Duration = Duration::from_secs(10);
/// How long the answer to that may take.
const ANSWERED: Duration = Duration::from_secs(5);
/// How often TCP asks, this long apart, before it gives up.
const PROBES: u32 = 3;

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

    /// A literal address in a URL is never resolved, so it is checked here.
    pub(super) fn check_literal(&self, host: &str) -> Result<(), Refusal> {
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
pub(super) struct GuardedResolver(AddressGuard);

/// Every address of the name is refused by the guard.
#[derive(Debug, thiserror::Error)]
#[error("{0} resolves to addresses that no call may reach")]
struct RefusedName(String);

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let guard = self.0.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let lookup = tokio::task::spawn_blocking(move || {
                (host.as_str(), 0).to_socket_addrs().map(|found| (host.clone(), found.collect::<Vec<_>>()))
            });
            let (host, found) = lookup.await.map_err(io::Error::other)??;
            let allowed: Vec<_> =
                found.iter().copied().filter(|address| guard.allows(address.ip())).collect();
            if allowed.is_empty() && !found.is_empty() {
                return Err(io::Error::other(RefusedName(host)));
            }
            Ok(allowed.into_iter())
        })
    }
}

/// Builds a client that trusts the system's roots, or those of one PEM text.
pub(super) fn client(guard: AddressGuard, roots: Option<&[u8]>) -> io::Result<Client> {
    let mut tcp = HttpConnector::new_with_resolver(GuardedResolver(guard));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIME));
    tcp.set_keepalive(Some(QUIET));
    tcp.set_keepalive_interval(Some(ANSWERED));
    tcp.set_keepalive_retries(Some(PROBES));
    // The same for what was sent and is not acknowledged: keep-alive asks only where nothing is on its way.
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(QUIET + ANSWERED * PROBES));
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
    let config = match roots {
        None => config.with_native_roots()?,
        Some(pem) => {
            let mut store = rustls::RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                store.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
            }
            if store.is_empty() {
                return Err(io::Error::other("there is no certificate in it"));
            }
            config.with_root_certificates(store)
        }
    };
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config.with_no_client_auth())
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(tcp);
    Ok(legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(QUIET)
        .http2_keep_alive_timeout(ANSWERED)
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
    while let Some(source) = cause.source() {
        detail = format!("{detail}: {source}");
        let inner = source.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if inner.and_then(|inner| inner.downcast_ref::<RefusedName>()).is_some() {
            return refused_address(&detail);
        }
        let answer = source.downcast_ref::<hyper::Error>();
        if answer.is_some_and(|error| error.is_parse() || error.is_parse_too_large()) {
            let message = "the upstream's answer is not HTTP, or its headers are too large";
            return Refusal::new(Code::UpstreamInvalid, message).with_detail(detail);
        }
        cause = source;
    }
    let (code, message) = if error.is_connect() {
        (Code::UpstreamUnreachable, "no connection to the upstream could be made")
    } else {
        // Whether it was sent is not known of every connection that broke, so it is said of none that it was not.
        (Code::UpstreamInterrupted, "the connection to the upstream broke before it answered")
    };
    Refusal::new(code, message).with_detail(detail)
}

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
