//! TLS for the listener: the gateway's certificate, and the X.509-SVIDs of its peers.

mod bundle;
mod leaf;
mod named;
mod verifier;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret as _, SecretString};

pub use bundle::{TrustBundle, TrustBundleError, TrustStore};
pub use leaf::ServerLeaf;
pub use named::{named_client_config, named_server_config};
use verifier::SvidVerifier;

/// Why TLS cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    #[error("the certificate is not PEM, or there is none: {reason}")]
    Certificate { reason: String },
    #[error("the private key is not PEM (PKCS #8, PKCS #1 or SEC 1): {reason}")]
    Key { reason: String },
    #[error(
        "the certificate and the private key do not belong together, or are of a kind that is not supported: {reason}"
    )]
    Mismatch { reason: String },
    #[error("TLS cannot be configured: {reason}")]
    Configuration { reason: String },
}

/// The gateway's own certificate. Clones share it; [`ServerCertificate::update`] renews it under a running listener.
#[derive(Clone)]
pub struct ServerCertificate(Arc<ArcSwap<CertifiedKey>>);

impl ServerCertificate {
    /// `chain` is PEM, leaf first; `key` is PEM.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn from_pem(chain: &[u8], key: &SecretString) -> Result<Self, TlsError> {
        let (chain, key) = parse_pem(chain, key)?;
        let certified = CertifiedKey::from_der(chain, key, &provider())
            .map_err(|error| TlsError::Mismatch { reason: error.to_string() })?;
        Ok(Self(Arc::new(ArcSwap::from_pointee(certified))))
    }

    /// Uses `newer` from the next handshake on.
    pub fn update(&self, newer: &Self) {
        self.0.store(newer.0.load_full());
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerCertificate")
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// Whether clients present certificates.
#[derive(Clone, Debug)]
pub enum ClientCertificates {
    /// None is asked for.
    Ignored,
    /// A client may present an X.509-SVID; one that does not verify ends the handshake.
    Optional(TrustStore),
    /// A client must present one.
    Required(TrustStore),
    /// A client must present one that these authorities signed (PEM), whatever it names.
    SignedBy(Vec<u8>),
}

/// Of clients that are no workloads, such as the API server of a cluster.
fn signed_by(authorities: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let certificate = |reason: String| TlsError::Certificate { reason };
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(authorities) {
        let root = root.map_err(|error| certificate(error.to_string()))?;
        roots.add(root).map_err(|error| certificate(error.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider()))
        .build()
        .map_err(|error| certificate(error.to_string()))
}

/// The TLS side of the listener: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
///
/// # Errors
/// When the cryptographic provider does not go with the protocol versions, which it does.
pub fn server_config(
    certificate: &ServerCertificate,
    clients: ClientCertificates,
) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Configuration { reason: error.to_string() })?;
    let builder = match clients {
        ClientCertificates::Ignored => builder.with_no_client_auth(),
        ClientCertificates::Optional(store) => {
            builder.with_client_cert_verifier(SvidVerifier::new(store, false))
        }
        ClientCertificates::Required(store) => {
            builder.with_client_cert_verifier(SvidVerifier::new(store, true))
        }
        ClientCertificates::SignedBy(authorities) => {
            builder.with_client_cert_verifier(signed_by(&authorities)?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(certificate.clone()));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A resumed session would carry the peer of an old handshake past the end of its SVID or of its CA.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

pub(crate) fn parse_pem(
    chain: &[u8],
    key: &SecretString,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let certificate = |reason: String| TlsError::Certificate { reason };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|error| certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(certificate("no CERTIFICATE block".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes())
        .map_err(|error| TlsError::Key { reason: error.to_string() })?;
    Ok((chain, key))
}

pub(crate) fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}
