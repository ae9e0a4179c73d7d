//! Verifies client certificates as X.509-SVIDs (X509-SVID section 5).

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::{TrustStore, provider};
use crate::spiffe::read_leaf;

/// Checks the leaf first, then its chain against the bundle of the leaf's own trust domain: a federated CA can speak for its
/// domain only.
#[derive(Debug)]
pub(crate) struct SvidVerifier {
    store: TrustStore,
    mandatory: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl SvidVerifier {
    pub(crate) fn new(store: TrustStore, mandatory: bool) -> Arc<Self> {
        Arc::new(Self { store, mandatory, algorithms: provider().signature_verification_algorithms })
    }
}

impl ClientCertVerifier for SvidVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    /// None: the bundles change under us, and a client has one SVID for this anyway.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let (id, ..) = read_leaf(end_entity).map_err(|error| {
            Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
        })?;
        self.store
            .verifier(id.trust_domain())
            .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?
            .verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
