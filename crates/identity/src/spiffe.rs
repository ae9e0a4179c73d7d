//! SPIFFE IDs and X.509-SVIDs (SPIFFE-ID and X509-SVID specifications).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use rustls_pki_types::CertificateDer;
use vidimus_core::caller::{Instance, InstanceKind, UnixMillis};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// SPIFFE-ID section 2.3: the maximum length of a SPIFFE ID, in bytes.
const MAX_ID: usize = 2048;
/// SPIFFE-ID section 2.1: the maximum length of a trust domain name, in bytes.
const MAX_TRUST_DOMAIN: usize = 255;

/// A trust domain name: lower-case letters, digits, `.`, `-` and `_` (SPIFFE-ID section 2.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Reads a name.
    ///
    /// # Errors
    /// When the name has other characters, is empty or longer than 255 bytes.
    pub fn new(name: &str) -> Result<Self, SpiffeIdError> {
        let fits = (1..=MAX_TRUST_DOMAIN).contains(&name.len());
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        if fits && name.bytes().all(allowed) {
            Ok(Self(name.into()))
        } else {
            Err(SpiffeIdError::TrustDomain { name: name.chars().take(MAX_TRUST_DOMAIN).collect() })
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The SPIFFE ID of a workload: `spiffe://trust.domain/path`, with a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    text: Arc<str>,
    trust_domain: TrustDomain,
}

/// Why a text is not the SPIFFE ID of a workload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdError {
    #[error("'{text}' does not begin with spiffe://")]
    Scheme { text: String },
    #[error("a SPIFFE ID has at most {MAX_ID} bytes, this one has {length}")]
    TooLong { length: usize },
    #[error(
        "'{name}' is not a trust domain: lower-case letters, digits, '.', '-' and '_', at most 255 bytes"
    )]
    TrustDomain { name: String },
    #[error("'{text}' has no path; the ID of a workload has one (X509-SVID section 2)")]
    NoPath { text: String },
    #[error(
        "'{segment}' is not a path segment: letters, digits, '.', '-' and '_', and neither '.' nor '..' alone"
    )]
    Segment { segment: String },
}

impl SpiffeId {
    /// Parses strictly: no normalization takes place, so two IDs are equal exactly when their bytes are.
    ///
    /// # Errors
    /// See [`SpiffeIdError`].
    pub fn parse(text: &str) -> Result<Self, SpiffeIdError> {
        if text.len() > MAX_ID {
            return Err(SpiffeIdError::TooLong { length: text.len() });
        }
        let rest =
            text.strip_prefix("spiffe://").ok_or_else(|| SpiffeIdError::Scheme { text: text.to_owned() })?;
        let (domain, path) = rest.split_once('/').unwrap_or((rest, ""));
        let trust_domain = TrustDomain::new(domain)?;
        if path.is_empty() {
            return Err(SpiffeIdError::NoPath { text: text.to_owned() });
        }
        for segment in path.split('/') {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            if segment.is_empty() || segment == "." || segment == ".." || !segment.bytes().all(allowed) {
                return Err(SpiffeIdError::Segment { segment: segment.to_owned() });
            }
        }
        Ok(Self { text: text.into(), trust_domain })
    }

    /// The whole ID, with `spiffe://`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The domain whose CA vouches for it.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What the TLS layer verified of the peer: its SPIFFE ID, and which certificate proved it.
#[derive(Clone, Debug)]
pub struct PeerSvid {
    /// Whom it names.
    pub spiffe_id: SpiffeId,
    /// SHA-256 of the leaf certificate: `x5t#S256` of RFC 8705 section 3.1, before base64url.
    pub fingerprint: [u8; 32],
    /// The end of the leaf's validity. A connection may outlive it; what it proves does not.
    pub not_after: UnixMillis,
    /// Which copy of the workload it is, by the serial number of the leaf. One for all that share a connection.
    pub instance: Arc<Instance>,
    /// What was presented, to be verified again when the bundles are others. One for all that share a connection.
    pub(crate) chain: Arc<PresentedChain>,
}

/// The certificates that a peer presented, and by which bundles they were last found good.
#[derive(Debug)]
pub(crate) struct PresentedChain {
    /// Leaf first.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    /// The generation of those bundles; 0, which none has, before the first look.
    vouched: AtomicU64,
}

impl PresentedChain {
    pub(crate) fn is_vouched_by(&self, generation: u64) -> bool {
        self.vouched.load(Ordering::Relaxed) == generation
    }

    pub(crate) fn vouch(&self, generation: u64) {
        self.vouched.store(generation, Ordering::Relaxed);
    }
}

/// Why a certificate is not the X.509-SVID of a workload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SvidError {
    #[error("the certificate is not valid X.509")]
    NotX509,
    #[error("the certificate has {found} URI names; an X.509-SVID has exactly one (X509-SVID section 2)")]
    UriNames { found: usize },
    #[error(transparent)]
    Id(#[from] SpiffeIdError),
    #[error("the certificate is a CA; the SVID of a workload is not (X509-SVID section 4.1)")]
    IsCa,
    #[error(
        "the key usage must have digitalSignature and neither keyCertSign nor cRLSign (X509-SVID section 4.3)"
    )]
    KeyUsage,
}

impl PeerSvid {
    /// Reads the peer from the certificates of a finished handshake, leaf first, as `peer_certificates()` gives them.
    /// The chain itself was verified by the handshake; `None` when the client presented no certificate.
    ///
    /// # Errors
    /// See [`SvidError`]; a handshake under [`crate::server_config`] has ruled them out before.
    pub fn from_certificates(certificates: Option<&[CertificateDer<'_>]>) -> Result<Option<Self>, SvidError> {
        let Some(chain @ [leaf, ..]) = certificates else { return Ok(None) };
        let (spiffe_id, not_after, serial) = read_leaf(leaf)?;
        let instance =
            Arc::new(Instance { id: serial.into(), kind: InstanceKind::Certificate, name: None, node: None });
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest::digest(&digest::SHA256, leaf).as_ref());
        // Looked at once more by its first call: the bundles may have changed since its handshake began.
        let certificates = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        let chain = Arc::new(PresentedChain { certificates, vouched: AtomicU64::new(0) });
        Ok(Some(Self { spiffe_id, fingerprint, not_after, instance, chain }))
    }
}

/// Whom the leaf of an X.509-SVID names, when it ends, and its serial number in lower-case hex.
pub(crate) fn read_leaf(leaf: &CertificateDer<'_>) -> Result<(SpiffeId, UnixMillis, String), SvidError> {
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| SvidError::NotX509)?;
    let spiffe_id = SpiffeId::parse(&only_uri_name(&certificate)?)?;
    check_leaf(&certificate)?;
    let not_after = certificate.validity().not_after.timestamp().saturating_mul(1000);
    // DER puts a zero byte before one that would be negative; no tool shows it.
    let serial = certificate.raw_serial();
    let significant = serial.iter().position(|byte| *byte != 0).unwrap_or_default();
    let serial = HEXLOWER.encode(serial.get(significant..).unwrap_or_default());
    Ok((spiffe_id, UnixMillis(not_after), serial))
}

/// The one URI name of a certificate.
pub(crate) fn only_uri_name(certificate: &X509Certificate<'_>) -> Result<String, SvidError> {
    let names = certificate.subject_alternative_name().map_err(|_| SvidError::NotX509)?;
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let uris: Vec<&str> = names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    match uris.as_slice() {
        [uri] => Ok((*uri).to_owned()),
        other => Err(SvidError::UriNames { found: other.len() }),
    }
}

/// X509-SVID sections 4.1 and 4.3.
fn check_leaf(certificate: &X509Certificate<'_>) -> Result<(), SvidError> {
    let constraints = certificate.basic_constraints().map_err(|_| SvidError::NotX509)?;
    if constraints.is_some_and(|c| c.value.ca) {
        return Err(SvidError::IsCa);
    }
    let usage = certificate.key_usage().map_err(|_| SvidError::NotX509)?.ok_or(SvidError::KeyUsage)?.value;
    if !usage.digital_signature() || usage.key_cert_sign() || usage.crl_sign() {
        return Err(SvidError::KeyUsage);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
