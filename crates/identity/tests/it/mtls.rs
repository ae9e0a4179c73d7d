//! X.509-SVIDs over real handshakes.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::{self, RootCertStore};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use vidimus_core::refusal::Code;
use vidimus_identity::{
    ClientCertificates, LocalIdentity, PeerSvid, ServerCertificate, SpiffeId, TrustBundle, TrustDomain,
    TrustStore, server_config,
};

use crate::world::{BOT, World, authority, code, now, peer};

type Presented = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A CA of a test, for certificates that ours would not issue.
struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new(domain: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.subject_alt_names = vec![SanType::URI(format!("spiffe://{domain}").try_into().unwrap())];
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn bundle(&self) -> TrustBundle {
        TrustBundle::parse(None, self.pem.as_bytes()).unwrap()
    }

    /// A good SVID of invoice-bot, changed.
    fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> Presented {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(BOT.try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (vec![certificate.into()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }
}

impl Ca {
    /// As [`Ca::leaf`], signed by a CA that this one signed.
    fn leaf_below(&self, change: impl FnOnce(&mut CertificateParams)) -> Presented {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(rcgen::DnType::CommonName, "below");
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let below = params.signed_by(&key, &self.issuer).unwrap();
        let issuing = Self { pem: String::new(), issuer: Issuer::new(params, key) };
        let (mut chain, key) = issuing.leaf(change);
        chain.push(below.into());
        (chain, key)
    }
}

struct Listener {
    certificate: ServerCertificate,
    roots: RootCertStore,
    config: Arc<rustls::ServerConfig>,
}

impl Listener {
    fn new(clients: ClientCertificates) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let local = LocalIdentity::open(directory.path(), None, now()).unwrap();
        let names = ["gateway.example".to_owned(), "127.0.0.1".to_owned()];
        let certificate = local.server_certificate(&names, Duration::from_secs(60), now()).unwrap();
        let mut roots = RootCertStore::empty();
        for root in rustls_pki_types::pem::PemObject::pem_slice_iter(local.bundle().as_bytes()) {
            let root: CertificateDer<'_> = root.unwrap();
            roots.add(root).unwrap();
        }
        let config = Arc::new(server_config(&certificate, clients).unwrap());
        Self { certificate, roots, config }
    }

    /// A handshake; the peer as the listener sees it, and the protocol agreed on.
    async fn handshake(&self, presented: Option<Presented>) -> Result<(Option<PeerSvid>, String), String> {
        self.handshake_with(presented, &rustls::version::TLS13).await
    }

    async fn handshake_with(
        &self,
        presented: Option<Presented>,
        version: &'static rustls::SupportedProtocolVersion,
    ) -> Result<(Option<PeerSvid>, String), String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let mut client = match presented {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let (near, far) = tokio::io::duplex(64 * 1024);
        let connector = TlsConnector::from(Arc::new(client));
        let name = ServerName::try_from("gateway.example").unwrap();
        let acceptor = TlsAcceptor::from(self.config.clone());
        let (accepted, connected) = tokio::join!(acceptor.accept(far), connector.connect(name, near));
        let accepted = accepted.map_err(|error| error.to_string())?;
        connected.map_err(|error| format!("client: {error}"))?;
        let (_, connection) = accepted.get_ref();
        let peer =
            PeerSvid::from_certificates(connection.peer_certificates()).map_err(|error| error.to_string())?;
        let protocol = String::from_utf8_lossy(connection.alpn_protocol().unwrap_or_default()).into_owned();
        Ok((peer, protocol))
    }
}

#[tokio::test]
async fn an_svid_under_the_bundle_is_the_peer() {
    let ca = Ca::new("corp.example");
    for clients in [
        ClientCertificates::Optional(TrustStore::new(vec![ca.bundle()])),
        ClientCertificates::Required(TrustStore::new(vec![ca.bundle()])),
    ] {
        let listener = Listener::new(clients);
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            let leaf = ca.leaf(|_| {});
            let (peer, protocol) = listener.handshake_with(Some(leaf), version).await.unwrap();
            assert_eq!(peer.unwrap().spiffe_id.as_str(), BOT);
            assert_eq!(protocol, "h2");
        }
    }
}

#[tokio::test]
async fn the_built_in_ca_issues_such() {
    let directory = tempfile::tempdir().unwrap();
    let domain = TrustDomain::new("corp.example").unwrap();
    let local = LocalIdentity::open(directory.path(), Some(&domain), now()).unwrap();
    let bundle = TrustBundle::parse(None, local.bundle().as_bytes()).unwrap();
    let listener = Listener::new(ClientCertificates::Required(TrustStore::new(vec![bundle])));
    let id = SpiffeId::parse(BOT).unwrap();
    let svid = local.svid(&id, Duration::from_secs(60), now()).unwrap();
    let (peer, _) = listener.handshake(Some(svid.der().unwrap())).await.unwrap();
    assert_eq!(peer.unwrap().not_after, svid.not_after);
}

#[tokio::test]
async fn whether_a_certificate_is_needed_is_configured() {
    let ca = Ca::new("corp.example");
    let store = TrustStore::new(vec![ca.bundle()]);
    for (clients, expected) in [
        (ClientCertificates::Ignored, true),
        (ClientCertificates::Optional(store.clone()), true),
        (ClientCertificates::Required(store), false),
    ] {
        let result = Listener::new(clients.clone()).handshake(None).await;
        assert_eq!(result.as_ref().is_ok_and(|(peer, _)| peer.is_none()), expected, "{clients:?} {result:?}");
    }
    // Where none is asked for, none is looked at.
    let result = Listener::new(ClientCertificates::Ignored).handshake(Some(ca.leaf(|_| {}))).await;
    assert!(result.unwrap().0.is_none());
}

#[tokio::test]
async fn what_is_not_an_svid_ends_the_handshake() {
    let ca = Ca::new("corp.example");
    let impostor = Ca::new("corp.example");
    let federated = Ca::new("partner.example");
    let store = TrustStore::new(vec![ca.bundle(), federated.bundle()]);
    let listener = Listener::new(ClientCertificates::Optional(store));
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let partner = "spiffe://partner.example/x";
    let past = time::OffsetDateTime::now_utc() - time::Duration::hours(1);
    let future = time::OffsetDateTime::now_utc() + time::Duration::hours(1);
    assert!(listener.handshake(Some(ca.leaf(|_| {}))).await.is_ok(), "the good one");
    let good = listener.handshake(Some(federated.leaf(|p| p.subject_alt_names = vec![uri(partner)]))).await;
    assert_eq!(good.unwrap().0.unwrap().spiffe_id.as_str(), partner);
    let with_dns = ca.leaf(|p| p.subject_alt_names.push(SanType::DnsName("bot.example".try_into().unwrap())));
    assert!(listener.handshake(Some(with_dns)).await.is_ok(), "DNS names beside it are allowed");
    let cases: Vec<(&str, Presented)> = vec![
        ("another CA of the same name", impostor.leaf(|_| {})),
        ("a federated CA that speaks for our domain", federated.leaf(|_| {})),
        ("our CA that speaks for a federated domain", ca.leaf(|p| p.subject_alt_names = vec![uri(partner)])),
        ("an unknown domain", ca.leaf(|p| p.subject_alt_names = vec![uri("spiffe://x.example/y")])),
        ("no names", ca.leaf(|p| p.subject_alt_names = vec![])),
        (
            "a DNS name alone",
            ca.leaf(|p| p.subject_alt_names = vec![SanType::DnsName("x".try_into().unwrap())]),
        ),
        ("two SPIFFE IDs", ca.leaf(|p| p.subject_alt_names.push(uri(BOT)))),
        ("a second URI", ca.leaf(|p| p.subject_alt_names.push(uri("https://x.example")))),
        ("another scheme", ca.leaf(|p| p.subject_alt_names = vec![uri("https://corp.example/x")])),
        ("no path", ca.leaf(|p| p.subject_alt_names = vec![uri("spiffe://corp.example")])),
        ("a path that climbs", ca.leaf(|p| p.subject_alt_names = vec![uri("spiffe://corp.example/a/../b")])),
        ("a CA", ca.leaf(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
        ("a key that may sign certificates", ca.leaf(|p| p.key_usages.push(KeyUsagePurpose::KeyCertSign))),
        ("a key that may sign CRLs", ca.leaf(|p| p.key_usages.push(KeyUsagePurpose::CrlSign))),
        ("no key usage", ca.leaf(|p| p.key_usages = vec![])),
        ("a key that may not sign", ca.leaf(|p| p.key_usages = vec![KeyUsagePurpose::KeyEncipherment])),
        (
            "a server's certificate",
            ca.leaf(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        ),
        ("expired", ca.leaf(|p| p.not_after = past)),
        ("not valid yet", ca.leaf(|p| p.not_before = future)),
        ("a certificate without its key", (ca.leaf(|_| {}).0, ca.leaf(|_| {}).1)),
    ];
    for (name, presented) in cases {
        let result = listener.handshake_unchecked(presented).await;
        assert!(result.is_err(), "{name}: {result:?}");
    }
}

impl Listener {
    /// As [`Listener::handshake`], for a client that does not check its own key against its certificate.
    async fn handshake_unchecked(
        &self,
        (chain, key): Presented,
    ) -> Result<(Option<PeerSvid>, String), String> {
        #[derive(Debug)]
        struct Always(Arc<rustls::sign::CertifiedKey>);
        impl rustls::client::ResolvesClientCert for Always {
            fn resolve(
                &self,
                _: &[&[u8]],
                _: &[rustls::SignatureScheme],
            ) -> Option<Arc<rustls::sign::CertifiedKey>> {
                Some(self.0.clone())
            }
            fn has_certs(&self) -> bool {
                true
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = provider.key_provider.load_private_key(key).unwrap();
        let certified = Arc::new(rustls::sign::CertifiedKey::new(chain, key));
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_client_cert_resolver(Arc::new(Always(certified)));
        let (near, far) = tokio::io::duplex(64 * 1024);
        let connector = TlsConnector::from(Arc::new(client));
        let name = ServerName::try_from("gateway.example").unwrap();
        let acceptor = TlsAcceptor::from(self.config.clone());
        let (accepted, _connected) = tokio::join!(acceptor.accept(far), connector.connect(name, near));
        let accepted = accepted.map_err(|error| error.to_string())?;
        let peer = PeerSvid::from_certificates(accepted.get_ref().1.peer_certificates());
        peer.map(|peer| (peer, String::new())).map_err(|error| error.to_string())
    }
}

#[tokio::test]
async fn bundles_and_the_certificate_change_under_a_running_listener() {
    let (old, new) = (Ca::new("corp.example"), Ca::new("corp.example"));
    let store = TrustStore::new(vec![old.bundle()]);
    let mut listener = Listener::new(ClientCertificates::Required(store.clone()));
    assert!(listener.handshake(Some(old.leaf(|_| {}))).await.is_ok());
    store.update(vec![new.bundle()]);
    assert!(listener.handshake_unchecked(old.leaf(|_| {})).await.is_err(), "the old CA ended");
    assert!(listener.handshake(Some(new.leaf(|_| {}))).await.is_ok());
    store.update(vec![]);
    assert!(listener.handshake_unchecked(new.leaf(|_| {})).await.is_err(), "nobody is trusted");

    store.update(vec![new.bundle()]);
    let renewed = Listener::new(ClientCertificates::Ignored);
    listener.certificate.update(&renewed.certificate);
    assert!(listener.handshake(Some(new.leaf(|_| {}))).await.is_err(), "another CA signed it");
    listener.roots = renewed.roots;
    assert!(listener.handshake(Some(new.leaf(|_| {}))).await.is_ok());
}

/// A connection that is open already is looked at again, at its next call: by a chain with an intermediate, too.
#[tokio::test]
async fn what_is_no_longer_trusted_proves_nothing_on_an_open_connection() {
    let (root, other) = (Ca::new("corp.example"), Ca::new("other.example"));
    let store = TrustStore::new(vec![root.bundle(), authority()]);
    let world = World::with(|config| config.trust = store.clone());
    let listener = Listener::new(ClientCertificates::Required(store.clone()));
    store.update(vec![root.bundle()]);
    let (by_root, _) = listener.handshake(Some(root.leaf(|_| {}))).await.unwrap();
    let (by_intermediate, _) = listener.handshake(Some(root.leaf_below(|_| {}))).await.unwrap();
    // Nobody saw its handshake; what it presented is not trusted.
    let never = peer(BOT);
    let bot = || Ok("Agent/finance/invoice-bot".to_owned());
    let corp = TrustDomain::new("corp.example").unwrap();
    let revoked = TrustBundle::parse(Some(&corp), br#"{"keys": []}"#).unwrap();
    for (name, bundles, good) in [
        ("as it was", None, true),
        ("another domain's bundle came", Some(vec![root.bundle(), other.bundle()]), true),
        ("all authorities are revoked", Some(vec![revoked]), false),
        ("they came back", Some(vec![root.bundle()]), true),
        ("another CA of that name", Some(vec![Ca::new("corp.example").bundle()]), false),
        ("the domain is gone", Some(vec![other.bundle()]), false),
        ("nothing is trusted", Some(vec![]), false),
        ("it came back once more", Some(vec![root.bundle()]), true),
    ] {
        if let Some(bundles) = bundles {
            let before = world.gate.trust_generation();
            store.update(bundles);
            assert_ne!(world.gate.trust_generation(), before, "{name}");
        }
        // Twice: the second time what was found is known.
        for _ in 0..2 {
            for peer in [&by_root, &by_intermediate] {
                let found = code(&world.at(None, peer.as_ref(), 0).await);
                assert_eq!(found, if good { bot() } else { Err(Code::SvidInvalid) }, "{name}");
            }
            assert_eq!(code(&world.at(None, Some(&never), 0).await), Err(Code::SvidInvalid), "{name}");
        }
    }
}

#[test]
fn sessions_are_not_resumed() {
    let listener = Listener::new(ClientCertificates::Optional(TrustStore::new(vec![])));
    assert_eq!(listener.config.send_tls13_tickets, 0);
    assert!(!listener.config.ticketer.enabled());
    assert!(!listener.config.session_storage.can_cache());
}

#[test]
fn a_certificate_and_another_key_do_not_go_together() {
    let (one, other) = (Ca::new("a.example"), Ca::new("b.example"));
    let key = other.issuer.key().serialize_pem().into();
    assert!(matches!(
        ServerCertificate::from_pem(one.pem.as_bytes(), &key),
        Err(vidimus_identity::TlsError::Mismatch { .. })
    ));
    assert!(ServerCertificate::from_pem(b"", &key).is_err());
    assert!(ServerCertificate::from_pem(one.pem.as_bytes(), &"".into()).is_err());
}

/// The API server of a cluster, which has no SVID.
#[tokio::test]
async fn whom_given_authorities_signed_is_let_in_and_nobody_else() {
    let (ca, other) = (Ca::new("corp.example"), Ca::new("corp.example"));
    let listener = Listener::new(ClientCertificates::SignedBy(ca.pem.clone().into_bytes()));
    listener.handshake(Some(ca.leaf(|_| {}))).await.unwrap();
    listener.handshake(Some(other.leaf(|_| {}))).await.unwrap_err();
    listener.handshake(None).await.unwrap_err();
    for nobody in ["", "no PEM"] {
        let clients = ClientCertificates::SignedBy(nobody.into());
        assert!(server_config(&listener.certificate, clients).is_err(), "{nobody}");
    }
}
