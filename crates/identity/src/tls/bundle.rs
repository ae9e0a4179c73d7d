//! Trust bundles: which CAs may sign the SVIDs of which trust domain.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use serde_json::Value;
use vidimus_core::caller::UnixMillis;
use vidimus_core::json::Json;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::provider;
use crate::issue::local::Svid;
use crate::prove::keys::KeySet;
use crate::spiffe::{PeerSvid, SpiffeIdError, TrustDomain, only_uri_name};

/// The authorities of one trust domain: of X.509-SVIDs, of JWT-SVIDs, of both, or none at all.
#[derive(Clone, Debug)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    authorities: Authorities,
    /// The CAs of `authorities`.
    roots: RootCertStore,
}

/// What SVIDs of a trust domain are verified with.
#[derive(Clone, Debug)]
struct Authorities {
    /// `None` where the bundle has no CA.
    certificates: Option<Arc<dyn ClientCertVerifier>>,
    /// `None` where it has no key for JWT-SVIDs, as one in PEM.
    tokens: Option<Arc<KeySet>>,
}

/// Why a file is not a trust bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustBundleError {
    #[error("neither PEM certificates nor a SPIFFE bundle (JSON): {reason}")]
    Format { reason: String },
    #[error(
        "there is no certificate in it; a bundle that revokes all authorities is written {{\"keys\":[]}}"
    )]
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
    /// without it, the certificates must. A document may have no authority: then its domain has revoked them all. PEM cannot say
    /// that: a file without certificates is one that is being written, or was lost.
    ///
    /// # Errors
    /// See [`TrustBundleError`].
    pub fn parse(trust_domain: Option<&TrustDomain>, bytes: &[u8]) -> Result<Self, TrustBundleError> {
        let (certificates, tokens) = match bytes.trim_ascii_start().starts_with(b"{") {
            true => from_json(bytes)?,
            false => (from_pem(bytes)?, None),
        };
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
        let certificates = verifier(&roots)?;
        let tokens = tokens.map(Arc::new);
        Ok(Self { trust_domain, authorities: Authorities { certificates, tokens }, roots })
    }

    /// That of a domain of which nothing is trusted.
    pub fn none(trust_domain: TrustDomain) -> Self {
        let authorities = Authorities { certificates: None, tokens: None };
        Self { trust_domain, authorities, roots: RootCertStore::empty() }
    }

    /// The authorities of this bundle and of `other`, which is one of the same domain: so an old CA and its successor are both trusted
    /// while one follows the other.
    fn joined(mut self, other: Self) -> Result<Self, TrustBundleError> {
        self.roots.roots.extend(other.roots.roots);
        let certificates = verifier(&self.roots)?;
        let tokens = match (self.authorities.tokens, other.authorities.tokens) {
            (Some(tokens), Some(more)) => Some(Arc::new(tokens.with(&more))),
            (tokens, more) => tokens.or(more),
        };
        Ok(Self { authorities: Authorities { certificates, tokens }, ..self })
    }

    /// Whether no SVID of the domain is good.
    pub fn is_none(&self) -> bool {
        self.authorities.certificates.is_none() && self.authorities.tokens.is_none()
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

/// `None` where there is no root.
fn verifier(roots: &RootCertStore) -> Result<Option<Arc<dyn ClientCertVerifier>>, TrustBundleError> {
    if roots.is_empty() {
        return Ok(None);
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots.clone()), Arc::new(provider()))
        .build()
        .map(Some)
        .map_err(|error| TrustBundleError::Root { reason: error.to_string() })
}

/// Section 4.2: keys with `use` `x509-svid` hold exactly one certificate in `x5c`, those with `jwt-svid` have a `kid`; others are
/// for other things, and are ignored.
fn from_json(bytes: &[u8]) -> Result<(Vec<CertificateDer<'static>>, Option<KeySet>), TrustBundleError> {
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
    Ok((certificates, token_keys(bytes)?))
}

/// The keys for JWT-SVIDs, without their `use`, by which other sets of keys would leave them out.
fn token_keys(bytes: &[u8]) -> Result<Option<KeySet>, TrustBundleError> {
    let format = |reason: String| TrustBundleError::Format { reason };
    let mut json: Value = serde_json::from_slice(bytes).map_err(|error| format(error.to_string()))?;
    let Some(keys) = json.get_mut("keys").and_then(Value::as_array_mut) else { return Ok(None) };
    keys.retain(|key| key.get("use").and_then(Value::as_str) == Some("jwt-svid") && key.get("kid").is_some());
    if keys.is_empty() {
        return Ok(None);
    }
    keys.iter_mut().filter_map(Value::as_object_mut).for_each(|key| drop(key.remove("use")));
    let set = serde_json::json!({ "keys": keys }).to_string();
    KeySet::parse(set.as_bytes()).map(Some).map_err(|error| format(error.to_string()))
}

fn named_domain(certificate: &CertificateDer<'_>) -> Result<Option<TrustDomain>, TrustBundleError> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|error| TrustBundleError::Root { reason: error.to_string() })?;
    let Ok(uri) = only_uri_name(&parsed) else { return Ok(None) };
    Ok(uri.strip_prefix("spiffe://").map(TrustDomain::new).transpose()?)
}

/// The bundles in force. Clones share them; [`TrustStore::update`] changes them under a running listener.
#[derive(Clone, Debug, Default)]
pub struct TrustStore(Arc<ArcSwap<Bundles>>);

/// All bundles of one time.
#[derive(Debug, Default)]
struct Bundles {
    domains: BTreeMap<TrustDomain, Authorities>,
    /// Of no other bundles in this process; 0 of those before the first.
    generation: u64,
}

impl Bundles {
    fn of(bundles: Vec<TrustBundle>) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let mut domains: BTreeMap<TrustDomain, TrustBundle> = BTreeMap::new();
        for bundle in bundles {
            let domain = bundle.trust_domain.clone();
            let joined = match domains.remove(&domain) {
                // What is good alone is good together; should it not be, nobody knows what was meant.
                Some(known) => known.joined(bundle).unwrap_or_else(|_| TrustBundle::none(domain.clone())),
                None => bundle,
            };
            domains.insert(domain, joined);
        }
        let domains = domains.into_iter().map(|(domain, bundle)| (domain, bundle.authorities)).collect();
        Self { domains, generation: LAST.fetch_add(1, Ordering::Relaxed).saturating_add(1) }
    }
}

impl TrustStore {
    /// Of several bundles of one trust domain the authorities of all are trusted.
    pub fn new(bundles: Vec<TrustBundle>) -> Self {
        let store = Self::default();
        store.update(bundles);
        store
    }

    /// Replaces all bundles, from the next handshake, the next token and the next call on.
    pub fn update(&self, bundles: Vec<TrustBundle>) {
        self.0.store(Arc::new(Bundles::of(bundles)));
    }

    /// Which bundles are in force: other ones have another number.
    pub(crate) fn generation(&self) -> u64 {
        self.0.load().generation
    }

    /// Whether the bundles in force vouch for the chain that a peer presented. Its handshake said so, by those of its time; so it is
    /// verified again where they are others, and remembered: else this is one load and one comparison.
    pub(crate) fn vouches_for(&self, peer: &PeerSvid, now: UnixMillis) -> bool {
        let bundles = self.0.load();
        if bundles.generation != 0 && peer.chain.is_vouched_by(bundles.generation) {
            return true;
        }
        let authorities = bundles.domains.get(peer.spiffe_id.trust_domain());
        let verifier = authorities.and_then(|authorities| authorities.certificates.as_ref());
        let (Some(verifier), [leaf, intermediates @ ..]) = (verifier, &*peer.chain.certificates) else {
            return false;
        };
        let now = Duration::from_millis(u64::try_from(now.0).unwrap_or_default());
        let verified = verifier.verify_client_cert(leaf, intermediates, UnixTime::since_unix_epoch(now));
        if verified.is_ok() {
            peer.chain.vouch(bundles.generation);
        }
        verified.is_ok()
    }

    /// Whether an SVID is good at `now`, as a handshake would find it.
    pub fn trusts(&self, svid: &Svid, now: UnixMillis) -> bool {
        let Some(verifier) = self.verifier(svid.spiffe_id.trust_domain()) else { return false };
        let now = Duration::from_millis(u64::try_from(now.0).unwrap_or_default());
        svid.der().is_ok_and(|(chain, _)| match chain.as_slice() {
            [leaf, above @ ..] => {
                verifier.verify_client_cert(leaf, above, UnixTime::since_unix_epoch(now)).is_ok()
            }
            [] => false,
        })
    }

    pub(crate) fn verifier(&self, domain: &TrustDomain) -> Option<Arc<dyn ClientCertVerifier>> {
        self.0.load().domains.get(domain)?.certificates.clone()
    }

    /// The keys for JWT-SVIDs of a trust domain.
    pub(crate) fn token_keys(&self, domain: &TrustDomain) -> Option<Arc<KeySet>> {
        self.0.load().domains.get(domain)?.tokens.clone()
    }
}
