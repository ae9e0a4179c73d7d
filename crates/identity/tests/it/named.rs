//! Two parts of one installation that know each other by SPIFFE ID, over real handshakes.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::aws_lc_rs, version};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use vidimus_core::caller::UnixMillis;
use vidimus_identity::{
    LocalIdentity, PeerSvid, ServerCertificate, SpiffeId, TrustBundle, TrustDomain, TrustStore,
    named_client_config, named_server_config,
};

use crate::world::now;

const REGISTRY: &str = "spiffe://corp.example/registry";
const GATEWAY: &str = "spiffe://corp.example/gateway";
const PROTOCOL: &[u8] = b"vidimus-registry/1";

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

/// A CA of a domain, and what it issues.
struct Domain {
    _directory: tempfile::TempDir,
    ca: LocalIdentity,
}

impl Domain {
    fn new(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ca =
            LocalIdentity::open(directory.path(), Some(&TrustDomain::new(name).unwrap()), now()).unwrap();
        Self { _directory: directory, ca }
    }

    fn bundle(&self) -> TrustBundle {
        TrustBundle::parse(None, self.ca.bundle().as_bytes()).unwrap()
    }

    fn store(&self) -> TrustStore {
        TrustStore::new(vec![self.bundle()])
    }

    fn certificate(&self, of: &str) -> ServerCertificate {
        let svid = self.ca.svid(&id(of), Duration::from_secs(3600), now()).unwrap();
        ServerCertificate::from_pem(svid.certificate.as_bytes(), &svid.key).unwrap()
    }

    fn listens(&self, as_whom: &str, to: &str) -> ServerConfig {
        named_server_config(&self.certificate(as_whom), self.store(), vec![id(to)], PROTOCOL).unwrap()
    }

    fn connects(&self, as_whom: &str, to: &str) -> ClientConfig {
        named_client_config(&self.certificate(as_whom), self.store(), id(to), PROTOCOL).unwrap()
    }
}

/// Both sides to their first byte: what each says of it. A client of TLS 1.3 has ended its handshake before the server looks at its certificate.
async fn meet(server: ServerConfig, client: ClientConfig) -> (Result<PeerSvid, String>, Result<(), String>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let accepting = async {
        let mut stream =
            TlsAcceptor::from(Arc::new(server)).accept(far).await.map_err(|error| error.to_string())?;
        stream.write_all(b"x").await.map_err(|error| error.to_string())?;
        stream.flush().await.map_err(|error| error.to_string())?;
        let peer = PeerSvid::from_certificates(stream.get_ref().1.peer_certificates());
        peer.map_err(|error| error.to_string()).map(Option::unwrap)
    };
    let connecting = async {
        let name = ServerName::try_from("anything.example").unwrap();
        let connected = TlsConnector::from(Arc::new(client)).connect(name, near).await;
        let mut stream = connected.map_err(|error| error.to_string())?;
        stream.read_u8().await.map(drop).map_err(|error| error.to_string())
    };
    tokio::join!(accepting, connecting)
}

#[tokio::test]
async fn each_speaks_to_the_one_it_was_told_of() {
    let corp = Domain::new("corp.example");
    let (peer, connected) = meet(corp.listens(REGISTRY, GATEWAY), corp.connects(GATEWAY, REGISTRY)).await;
    let peer = peer.unwrap();
    assert_eq!((peer.spiffe_id.as_str(), connected), (GATEWAY, Ok(())));
    // It is good for as long as its SVID and its bundle are.
    let store = corp.store();
    assert!(store.still_trusts(&peer, now()));
    assert!(!store.still_trusts(&peer, UnixMillis(now().0 + 3_601_000)), "it has ended");
    store.update(vec![]);
    assert!(!store.still_trusts(&peer, now()), "nothing of its domain is trusted any more");
}

/// Attack: whoever has an SVID of the same domain, or of another, in the place of the registry or of the gateway.
#[tokio::test]
async fn nobody_else_is_spoken_to() {
    let (corp, other) = (Domain::new("corp.example"), Domain::new("corp.example"));
    const BOT: &str = "spiffe://corp.example/bot";
    let (peer, connected) = meet(corp.listens(REGISTRY, GATEWAY), corp.connects(BOT, REGISTRY)).await;
    assert!(peer.unwrap_err().contains("spiffe://corp.example/bot"), "a gateway of another ID");
    assert!(connected.is_err());
    let (peer, connected) = meet(corp.listens(BOT, GATEWAY), corp.connects(GATEWAY, REGISTRY)).await;
    assert!(connected.unwrap_err().contains("spiffe://corp.example/bot"), "a registry of another ID");
    assert!(peer.is_err());
    let (peer, connected) = meet(corp.listens(REGISTRY, GATEWAY), other.connects(GATEWAY, REGISTRY)).await;
    assert!(peer.is_err() && connected.is_err(), "the right names, by another CA");
    let provider = || Arc::new(aws_lc_rs::default_provider());
    let without = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let (peer, connected) = meet(corp.listens(REGISTRY, GATEWAY), without).await;
    assert!(peer.is_err() && connected.is_err(), "nobody");
    // An older version of TLS, and another protocol.
    let mut older = corp.connects(GATEWAY, REGISTRY);
    older.alpn_protocols = vec![b"h2".to_vec()];
    let (peer, connected) = meet(corp.listens(REGISTRY, GATEWAY), older).await;
    assert!(peer.is_err() && connected.is_err(), "another protocol");
    let tls12 = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS12])
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_client_cert_resolver(Arc::new(corp.certificate(GATEWAY)));
    let (peer, _) = meet(corp.listens(REGISTRY, GATEWAY), tls12).await;
    assert!(peer.is_err(), "TLS 1.2");
}

#[tokio::test]
async fn a_certificate_that_is_renewed_is_presented_by_either_side() {
    let corp = Domain::new("corp.example");
    let certificate = corp.certificate("spiffe://corp.example/bot");
    let client = named_client_config(&certificate, corp.store(), id(REGISTRY), PROTOCOL).unwrap();
    let (peer, _) = meet(corp.listens(REGISTRY, GATEWAY), client.clone()).await;
    assert!(peer.is_err());
    certificate.update(&corp.certificate(GATEWAY));
    let (peer, connected) = meet(corp.listens(REGISTRY, GATEWAY), client).await;
    assert!(peer.is_ok() && connected.is_ok());
}
