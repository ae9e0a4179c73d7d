//! TLS between two parts of one installation: each presents its X.509-SVID, each is told the other's SPIFFE ID, and no other is spoken to.
//!
//! TLS 1.3 alone, so that neither certificate is seen on the way, and no session is resumed: each connection proves both anew.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use vidimus_core::caller::UnixMillis;

use super::verifier::SvidVerifier;
use super::{ServerCertificate, TlsError, TrustStore, provider};
use crate::spiffe::{PeerSvid, SpiffeId, read_leaf};

/// The side that listens. Whoever does not present an SVID of one of `peers`, under a bundle of `store`, is refused within the handshake. `protocol` is what is
/// spoken then (ALPN): whoever meant to speak another is refused too.
///
/// # Errors
/// When the cryptographic provider does not go with TLS 1.3, which it does.
pub fn named_server_config(
    certificate: &ServerCertificate,
    store: TrustStore,
    peers: Vec<SpiffeId>,
    protocol: &[u8],
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| TlsError::Configuration { reason: error.to_string() })?
        .with_client_cert_verifier(Arc::new(NamedVerifier::new(store, peers)))
        .with_cert_resolver(Arc::new(certificate.clone()));
    config.alpn_protocols = vec![protocol.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The side that connects, to `peer` alone: by what address it was reached counts for nothing, so no name is sent either.
///
/// # Errors
/// As [`named_server_config`].
pub fn named_client_config(
    certificate: &ServerCertificate,
    store: TrustStore,
    peer: SpiffeId,
    protocol: &[u8],
) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| TlsError::Configuration { reason: error.to_string() })?
        .dangerous() // not the names of the Web, but SVIDs
        .with_custom_certificate_verifier(Arc::new(NamedVerifier::new(store, vec![peer])))
        .with_client_cert_resolver(Arc::new(certificate.clone()));
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

impl TrustStore {
    /// Whether what a peer presented in its handshake is good still: its SVID has not ended, and the bundles in force vouch for it. A connection outlives both.
    pub fn still_trusts(&self, peer: &PeerSvid, now: UnixMillis) -> bool {
        now.0 < peer.not_after.0 && self.vouches_for(peer, now)
    }
}

impl ResolvesClientCert for ServerCertificate {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The peer is none of those that are spoken to.
#[derive(Debug, thiserror::Error)]
#[error("the peer is {found}, which is not spoken to here")]
struct NotNamed {
    found: SpiffeId,
}

/// Of either side: an SVID is good for both (X509-SVID section 4.4), so one way verifies it.
#[derive(Debug)]
struct NamedVerifier {
    svids: Arc<SvidVerifier>,
    peers: Vec<SpiffeId>,
}

impl NamedVerifier {
    fn new(store: TrustStore, peers: Vec<SpiffeId>) -> Self {
        Self { svids: SvidVerifier::new(store, true), peers }
    }

    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.svids.verify_client_cert(end_entity, intermediates, now)?;
        // It could be read a moment ago.
        let (found, ..) =
            read_leaf(end_entity).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        match self.peers.contains(&found) {
            true => Ok(verified),
            false => {
                let error = OtherError(Arc::new(NotNamed { found }));
                Err(Error::InvalidCertificate(CertificateError::Other(error)))
            }
        }
    }
}

impl ClientCertVerifier for NamedVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates, now)
    }

    /// Not offered here.
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.svids.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.svids.supported_verify_schemes()
    }
}

impl ServerCertVerifier for NamedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates, now).map(|_| ServerCertVerified::assertion())
    }

    /// Not offered here.
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.svids.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.svids.supported_verify_schemes()
    }
}
