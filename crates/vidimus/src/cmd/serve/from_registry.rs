//! `--registry`: the resources come from a registry that watches the cluster, so that this process needs neither a ServiceAccount token nor reach to the API
//! server (ADR 70).

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use vidimus_cluster::{Dial, Link, Remote};
use vidimus_core::clock::Clock as _;
use vidimus_gateway::millis;
use vidimus_identity::{PeerSvid, SpiffeId, TrustStore, named_client_config};

use super::bundles::Bundles;
use super::certificate::CertificateFiles;
use super::supervisor::Supervisor;
use super::{Serve, flags};
use crate::clock::SystemClock;

/// What is spoken between the two, as TLS agrees on it (ALPN).
pub(in crate::cmd) const PROTOCOL: &[u8] = b"vidimus-registry/1";
/// How long a connection may take, with its handshake.
const CONNECT: Duration = Duration::from_secs(5);

/// A registry as the source.
#[derive(Debug, Args)]
pub struct RegistryFlags {
    /// Hear of the resources from `vidimus registry` at this address instead of a
    /// directory or the cluster: no ServiceAccount token, no reach to the API
    /// server. What needs the API server itself (--jobs), or has it call here
    /// (--admission), stays with --cluster.
    #[arg(
        long,
        env = "VIDIMUS_REGISTRY",
        value_name = "HOST:PORT",
        conflicts_with_all = ["resources", "cluster", "jobs", "admission"],
        requires_all = ["registry_id", "registry_cert", "registry_key", "registry_bundle"]
    )]
    pub registry: Option<RegistryAddress>,
    /// The SPIFFE ID of that registry: no other is spoken to.
    #[arg(long, env = "VIDIMUS_REGISTRY_ID", value_name = "SPIFFE-ID", value_parser = SpiffeId::parse, requires = "registry")]
    pub registry_id: Option<SpiffeId>,
    /// PEM chain of the X.509-SVID that this gateway presents to it, which has it
    /// under --gateway-id. Read again when it changes.
    #[arg(long, env = "VIDIMUS_REGISTRY_CERT", value_name = "FILE", requires = "registry")]
    pub registry_cert: Option<PathBuf>,
    /// PEM private key to --registry-cert.
    #[arg(long, env = "VIDIMUS_REGISTRY_KEY", value_name = "FILE", requires = "registry")]
    pub registry_key: Option<PathBuf>,
    /// SPIFFE trust bundle (PEM or JSON) of the trust domain of --registry-id, for
    /// the registry alone. Read again when it changes.
    #[arg(long, env = "VIDIMUS_REGISTRY_BUNDLE", value_name = "FILE", requires = "registry")]
    pub registry_bundle: Option<PathBuf>,
}

impl RegistryFlags {
    /// Whether a registry is the source.
    pub(super) const fn is_given(&self) -> bool {
        self.registry.is_some()
    }
}

/// Where a registry is. By what name it is reached proves nothing, so any name will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryAddress {
    host: String,
    port: u16,
}

impl FromStr for RegistryAddress {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let wrong = || anyhow!("write HOST:PORT, as in vidimus-registry.vidimus-system.svc:9444");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match inner {
            Some(inner) => matches!(inner.parse(), Ok(IpAddr::V6(_))),
            None => matches!(host.parse(), Ok(IpAddr::V4(_))) || flags::host_name(host).is_ok(),
        };
        match port.parse() {
            Ok(port) if port != 0 && is_host => Ok(Self { host: inner.unwrap_or(host).to_owned(), port }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for RegistryAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// The registry that is the source, where one is.
///
/// # Errors
/// When a file cannot be used.
pub(super) fn remote(supervisor: &mut Supervisor, serve: &Serve) -> anyhow::Result<Option<Remote>> {
    let flags = &serve.registry;
    let (Some(address), Some(id)) = (&flags.registry, &flags.registry_id) else { return Ok(None) };
    let (Some(chain), Some(key), Some(bundle)) =
        (&flags.registry_cert, &flags.registry_key, &flags.registry_bundle)
    else {
        return Ok(None);
    };
    let bundle = format!("{}={}", id.trust_domain(), bundle.display());
    let bundles = Bundles::only("registry-bundle", &[bundle])?;
    let store = bundles.store();
    bundles.follow(supervisor, store.clone());
    let names = ("registry-cert", "registry-key");
    let files = CertificateFiles::open_by(names, chain.clone(), key.clone())?;
    let config = named_client_config(&files.certificate(), store.clone(), id.clone(), PROTOCOL)?;
    files.follow(supervisor);
    let name = ServerName::try_from(address.host.clone()).context("--registry")?;
    let at = Arc::new(At { address: address.clone(), name, connector: TlsConnector::from(Arc::new(config)) });
    Ok(Some(Remote {
        identity: format!("registry {id}"),
        namespaces: serve.cluster.namespace.iter().map(|name| name.as_str().into()).collect(),
        pods: serve.cluster.pods.pods,
        dial: dial(at, store),
    }))
}

/// Where it is, and how it is spoken to.
struct At {
    address: RegistryAddress,
    name: ServerName<'static>,
    connector: TlsConnector,
}

fn dial(at: Arc<At>, store: TrustStore) -> Dial {
    Box::new(move || {
        let (at, store) = (at.clone(), store.clone());
        Box::pin(async move {
            let connected = tokio::time::timeout(CONNECT, connect(&at)).await;
            let late = |_| format!("{} does not answer within {} s", at.address, CONNECT.as_secs());
            let stream = connected.map_err(late)?.map_err(|error| format!("{}: {error}", at.address))?;
            let session = stream.get_ref().1;
            if session.alpn_protocol() != Some(PROTOCOL) {
                return Err(format!("{} speaks another protocol", at.address));
            }
            let peer = PeerSvid::from_certificates(session.peer_certificates());
            let Ok(Some(peer)) = peer else { return Err("it presents no SVID".to_owned()) };
            let is_trusted = Box::new(move || store.still_trusts(&peer, millis(SystemClock.now().wall)));
            Ok(Link { stream: Box::new(stream), is_trusted })
        })
    })
}

async fn connect(at: &At) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect((at.address.host.as_str(), at.address.port)).await?;
    stream.set_nodelay(true)?;
    at.connector.connect(at.name.clone(), stream).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in
            ["vidimus-registry.vidimus-system.svc:9444", "127.0.0.1:1", "[::1]:65535", "localhost:9444"]
        {
            let address: RegistryAddress = good.parse().expect(good);
            assert_eq!(address.to_string(), good);
        }
        for bad in [
            "",
            "registry",
            "registry:",
            "registry:0",
            "registry:65536",
            "https://registry:9444",
            "::1:9444",
            "[registry]:9444",
            "a/b:1",
            "u@h:1",
        ] {
            let error = bad.parse::<RegistryAddress>().expect_err(bad).to_string();
            assert!(error.contains("HOST:PORT"), "{bad}: {error}");
        }
    }
}
