//! Trust bundles: which CAs may sign the SVIDs of which trust domain.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use vidimus_core::json::Json;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::provider;
use crate::spiffe::{SpiffeIdError, TrustDomain, only_uri_name};

/// The CAs of one trust domain.
#[derive(Clone, Debug)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// Why a file is not a trust bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustBundleError {
    #[error("neither PEM certificates nor a SPIFFE bundle (JSON): {reason}")]
    Format { reason: String },
    #[error("there is no CA certificate in it")]
    Empty,
    #[error("its trust domain is not given, and its certificates do not name one (a URI name spiffe://…)")]
    NoTrustDomain,
    #[error("its certificates are of trust domain {found}, not of {expected}")]
    OtherTrustDomain { expected: TrustDomain, found: TrustDomain },
    #[error(transparent)]
    TrustDomain(#[from] SpiffeIdError),
    #[error("a certificate in it cannot be a root: {reason}")]
    Root { reason: String },
}

impl TrustBundle {
    /// Reads PEM certificates, or a bundle document (SPIFFE Trust Domain and Bundle, section 4). `trust_domain` says whose it is;
    /// without it, the certificates must.
    ///
    /// # Errors
    /// See [`TrustBundleError`].
    pub fn parse(trust_domain: Option<&TrustDomain>, bytes: &[u8]) -> Result<Self, TrustBundleError> {
        let certificates =
            if bytes.trim_ascii_start().starts_with(b"{") { from_json(bytes)? } else { from_pem(bytes)? };
        let mut expected = trust_domain.cloned();
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            // A root that says whose it is must not be taken for another's.
            if let Some(found) = named_domain(&certificate)? {
                let expected = expected.get_or_insert_with(|| found.clone());
                if *expected != found {
                    return Err(TrustBundleError::OtherTrustDomain { expected: expected.clone(), found });
                }
            }
            roots.add(certificate).map_err(|error| TrustBundleError::Root { reason: error.to_string() })?;
        }
        let trust_domain = expected.ok_or(TrustBundleError::NoTrustDomain)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider()))
            .build()
            .map_err(|error| TrustBundleError::Root { reason: error.to_string() })?;
        Ok(Self { trust_domain, verifier })
    }

    /// The domain whose SVIDs its roots vouch for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }
}

fn from_pem(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustBundleError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let certificates =
        certificates.map_err(|error| TrustBundleError::Format { reason: error.to_string() })?;
    if certificates.is_empty() { Err(TrustBundleError::Empty) } else { Ok(certificates) }
}

/// Section 4.2: keys with `use` `x509-svid` hold exactly one certificate in `x5c`; others are for other things.
fn from_json(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustBundleError> {
    let format = |reason: &str| TrustBundleError::Format { reason: reason.to_owned() };
    let json = Json::parse(bytes).map_err(|error| format(&error.to_string()))?;
    let keys = json.get("keys").and_then(Json::as_array).ok_or_else(|| format("no array 'keys'"))?;
    let mut certificates = Vec::new();
    for key in keys.iter().filter(|key| key.get("use").and_then(Json::as_str) == Some("x509-svid")) {
        let [certificate] = key.get("x5c").and_then(Json::as_array).unwrap_or_default() else {
            return Err(format("an x509-svid key without exactly one certificate in 'x5c'"));
        };
        let der = certificate.as_str().and_then(|text| STANDARD.decode(text).ok());
        certificates.push(CertificateDer::from(der.ok_or_else(|| format("'x5c' is not base64"))?));
    }
    if certificates.is_empty() { Err(TrustBundleError::Empty) } else { Ok(certificates) }
}

fn named_domain(certificate: &CertificateDer<'_>) -> Result<Option<TrustDomain>, TrustBundleError> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|error| TrustBundleError::Root { reason: error.to_string() })?;
    let Ok(uri) = only_uri_name(&parsed) else { return Ok(None) };
    Ok(uri.strip_prefix("spiffe://").map(TrustDomain::new).transpose()?)
}

/// The bundles in force. Clones share them; [`TrustStore::update`] changes them under a running listener.
#[derive(Clone, Debug, Default)]
pub struct TrustStore(Arc<ArcSwap<BTreeMap<TrustDomain, Arc<dyn ClientCertVerifier>>>>);

impl TrustStore {
    /// Of two bundles of one trust domain the later counts.
    pub fn new(bundles: Vec<TrustBundle>) -> Self {
        let store = Self::default();
        store.update(bundles);
        store
    }

    /// Replaces all bundles, from the next handshake on.
    pub fn update(&self, bundles: Vec<TrustBundle>) {
        let domains = bundles.into_iter().map(|bundle| (bundle.trust_domain, bundle.verifier));
        self.0.store(Arc::new(domains.collect()));
    }

    pub(crate) fn verifier(&self, domain: &TrustDomain) -> Option<Arc<dyn ClientCertVerifier>> {
        self.0.load().get(domain).cloned()
    }
}
