//! Authentication: from evidence to [`Proven`].

pub(crate) mod account;
pub(crate) mod api_server;
mod audience;
mod bind;
mod cache;
mod claims;
pub(crate) mod detached;
mod fetch;
pub(crate) mod keys;
pub(crate) mod people;
pub(crate) mod pods;
mod remote;
mod source;
mod svid;
mod token;
mod verified;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use vidimus_core::caller::{Proven, UnixMillis};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Snapshot;

use self::api_server::ApiServer;
use self::audience::Audience;
use self::bind::Registry;
use self::cache::{CacheKey, CredentialCache, Entry, Reuse, Trusted};
use self::claims::{Claims, HopClaims};
use self::fetch::Fetcher;
use self::pods::LivePods;
use self::remote::Remote;
use self::source::Source;
use self::token::{Kind, Token, shown};
use self::verified::Verified;
use crate::issue::local::{LOCAL_ISSUER, LocalIdentity};
use crate::issue::mint::Mint;
use crate::spiffe::{PeerSvid, SpiffeId};
use crate::tls::TrustStore;

/// What an [`Authenticator`] is made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// A token must be meant for one of these (`aud`), which name the gateway, or for the address of the route that is called,
    /// below [`Mint::issuer`].
    pub audiences: Vec<Arc<str>>,
    /// Our own tokens, which continue a chain when the agent they were minted for presents them.
    pub mint: Arc<Mint>,
    /// The built-in issuer; `None` where only external issuers are trusted.
    pub local: Option<Arc<LocalIdentity>>,
    /// The cluster's issuer, whose subjects `system:serviceaccount:NAMESPACE:NAME` are ServiceAccounts.
    pub service_account_issuer: Option<Arc<str>>,
    /// The API server of that cluster, where it is followed: asked for the issuer's keys before the issuer's address is.
    pub api_server: Option<Arc<dyn ApiServer>>,
    /// Fetch keys over plain http from other hosts than loopback. For test networks only.
    pub allow_insecure_issuers: bool,
    /// PEM of the roots that issuers' TLS certificates chain to, instead of the system's.
    pub issuer_roots: Option<Vec<u8>>,
    /// The same for single issuers: a cluster's own is known to nobody outside it.
    pub roots_of_issuers: Vec<(Arc<str>, Vec<u8>)>,
    /// Whose SVIDs are believed: those of the trust domains of its bundles.
    pub trust: TrustStore,
    /// How long issuers' keys are used, and how often they are asked for.
    pub limits: Limits,
}

/// How long issuers' keys are used, and how often they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For each of the two requests of a fetch, from connecting to the last byte.
    pub timeout: Duration,
    /// Keys older than this are renewed in the background. Keys older than twice this are renewed before use, so a key that an
    /// issuer removed verifies for twice this time at most (longer only while the issuer does not answer).
    pub refresh_after: Duration,
    /// Keys older than this are not used, even when the issuer is down.
    pub stale_after: Duration,
    /// The pause after a fetch before an unknown key causes the next one, per issuer.
    pub refetch_after: Duration,
    /// The pause after a failed fetch.
    pub retry_after: Duration,
    /// How long a call waits for an issuer's keys. The fetch goes on, and calls after it have them.
    pub wait: Duration,
    /// How many calls wait for one issuer's keys at once. One more is refused: what it holds would be held for that long.
    pub waiting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            refresh_after: Duration::from_secs(5 * 60),
            stale_after: Duration::from_secs(60 * 60),
            refetch_after: Duration::from_secs(10),
            retry_after: Duration::from_secs(5),
            wait: Duration::from_secs(5),
            waiting: 1024,
        }
    }
}

/// Why a [`Config`] cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("no audience is configured: without one every token meant for anybody would be accepted")]
    NoAudience,
    #[error("the issuer roots are not PEM certificates: {reason}")]
    IssuerRoots { reason: String },
    #[error("TLS for issuers cannot be set up: {reason}")]
    Tls { reason: String },
}

/// What a caller presents on one call.
#[derive(Clone, Copy)]
pub struct Evidence<'a> {
    /// The token of the `Authorization` header, without the scheme.
    pub bearer: Option<&'a str>,
    /// What the TLS layer verified.
    pub peer: Option<&'a PeerSvid>,
    /// The path of the route that is called, without a slash at the end: `/mcp/finance/ledger`.
    pub route: &'a str,
    /// When it is presented.
    pub now: UnixMillis,
}

impl std::fmt::Debug for Evidence<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bearer = self.bearer.map(|_| "[redacted]");
        f.debug_struct("Evidence")
            .field("bearer", &bearer)
            .field("peer", &self.peer)
            .field("route", &self.route)
            .field("now", &self.now)
            .finish()
    }
}

/// Tells who is calling. One per gateway, shared.
#[derive(Debug)]
pub struct Authenticator {
    audiences: Vec<Arc<str>>,
    mint: Arc<Mint>,
    local: Option<Arc<LocalIdentity>>,
    service_account_issuer: Option<Arc<str>>,
    api_server: Option<Arc<dyn ApiServer>>,
    fetcher: Fetcher,
    /// For the issuers that have roots of their own.
    fetchers: HashMap<Arc<str>, Fetcher>,
    trust: TrustStore,
    limits: Limits,
    remotes: RwLock<HashMap<Arc<str>, Arc<Remote>>>,
    cache: CredentialCache,
    pods: LivePods,
}

impl Authenticator {
    /// An authenticator that has verified nothing yet.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        if config.audiences.iter().all(|audience| audience.is_empty()) {
            return Err(ConfigError::NoAudience);
        }
        let fetcher = |pem: Option<&[u8]>| {
            Fetcher::new(issuer_roots(pem)?, config.limits.timeout, config.allow_insecure_issuers)
        };
        let own_roots = config.roots_of_issuers.iter();
        let fetchers = own_roots.map(|(issuer, pem)| Ok((issuer.clone(), fetcher(Some(pem))?)));
        Ok(Self {
            fetcher: fetcher(config.issuer_roots.as_deref())?,
            fetchers: fetchers.collect::<Result<_, ConfigError>>()?,
            trust: config.trust,
            audiences: config.audiences,
            mint: config.mint,
            local: config.local,
            service_account_issuer: config.service_account_issuer,
            api_server: config.api_server,
            limits: config.limits,
            remotes: RwLock::default(),
            cache: CredentialCache::new(),
            pods: LivePods::default(),
        })
    }

    /// That the SVID of a connection is still good, whoever it names.
    ///
    /// # Errors
    /// `svid_invalid`.
    pub fn check_svid(&self, peer: &PeerSvid, now: UnixMillis) -> Result<(), Refusal> {
        bind::check_peer(&self.trust, peer, now)
    }

    /// Whom `evidence` proves, under the configuration in `snapshot`. Needs a Tokio runtime when an issuer's keys are fetched.
    ///
    /// # Errors
    /// With the code that names the failure: `credential_*`, `token_*`, `issuer_unreachable`, `principal_unknown`,
    /// `user_not_allowed`, `svid_invalid`, `pod_gone`, `pod_unknown`.
    pub async fn authenticate(
        &self,
        snapshot: &Snapshot,
        evidence: Evidence<'_>,
    ) -> Result<Arc<Proven>, Refusal> {
        evidence.bearer.map_or(Ok(()), token::check_size)?;
        evidence.peer.map_or(Ok(()), |peer| bind::check_peer(&self.trust, peer, evidence.now))?;
        let key = CacheKey::of(&evidence);
        let reuse = match self.cache.get(key) {
            Some(entry) => {
                let reuse = entry.reuse(snapshot, evidence.now);
                let reuse = reuse.inspect_err(|_| self.cache.remove(key))?;
                // The route is not in the key, so each call is held against the audience again.
                entry.bearer.as_ref().map_or(Ok(()), |trusted| trusted.verified.admits(evidence.route))?;
                // Nor is which pods there are.
                self.check_pod(&entry.proven, entry.bearer.as_ref())?;
                reuse
            }
            None => Reuse::Nothing,
        };
        let bearer = match (reuse, evidence.bearer) {
            (Reuse::Proven(proven), _) => return Ok(proven),
            (Reuse::Token(trusted), _) => Some(trusted),
            (Reuse::Nothing, Some(bearer)) => {
                let trusted = self.verify(snapshot, bearer, evidence.now).await?;
                trusted.verified.admits(evidence.route)?;
                Some(trusted)
            }
            (Reuse::Nothing, None) => None,
        };
        self.bind(snapshot, key, bearer, evidence.peer)
    }

    /// Which trust bundles are in force, and how often a pod was found gone: where this is another number, whom a credential proved has to be
    /// asked again. Both only grow.
    pub fn trust_generation(&self) -> u64 {
        self.trust.generation().wrapping_add(self.pods.generation())
    }

    /// The pods that there are, for whoever watches them to say so.
    pub const fn pods(&self) -> &LivePods {
        &self.pods
    }

    fn check_pod(&self, proven: &Proven, bearer: Option<&Trusted>) -> Result<(), Refusal> {
        self.pods.check(proven, bearer.and_then(|trusted| trusted.verified.issued()))
    }

    fn bind(
        &self,
        snapshot: &Snapshot,
        key: CacheKey,
        bearer: Option<Trusted>,
        peer: Option<&PeerSvid>,
    ) -> Result<Arc<Proven>, Refusal> {
        let registry = Registry { snapshot, service_account_issuer: self.service_account_issuer.as_deref() };
        let verified = bearer.as_ref().map(|trusted| &*trusted.verified);
        if let Some(Verified::Issued { claims, .. }) = verified {
            self.check_allowed(snapshot, &claims.issuer)?;
        }
        let proven = Arc::new(registry.bind(verified, peer)?);
        self.check_pod(&proven, bearer.as_ref())?;
        let entry = Entry { bearer, snapshot: snapshot.digest().into(), proven: proven.clone() };
        self.cache.insert(key, entry);
        Ok(proven)
    }

    async fn verify(&self, snapshot: &Snapshot, bearer: &str, now: UnixMillis) -> Result<Trusted, Refusal> {
        let token = Token::parse(bearer)?;
        let payload = token::parse_json(&token.payload, "payload")?;
        if let Some(id) = self.svid(snapshot, &payload)? {
            return svid::verify(
                &self.trust,
                id,
                &token,
                &payload,
                (now, &self.audiences, self.mint.issuer()),
            )
            .await;
        }
        let source = self.source(snapshot, claims::name(&payload, "iss")?)?;
        token.check_kind(if matches!(source, Source::Mint(_)) { Kind::Hop } else { Kind::Issued })?;
        let keys = source.verify(&token, now).await?;
        let claims = Claims::read(&payload)?;
        claims.times.check(now)?;
        let verified = if let Source::Mint(_) = source {
            // Its audience is the agent it was minted for, and that agent is the caller: `dst` takes the place of `aud`.
            Verified::Hop { hop: HopClaims::read(&payload, &claims)?, times: claims.times }
        } else {
            let audience = Audience::read(&payload, &self.audiences, self.mint.issuer())?;
            Verified::Issued { claims, audience }
        };
        Ok(Trusted { verified: Arc::new(verified), source, keys })
    }

    /// The SPIFFE ID of a token that is a JWT-SVID. One whose issuer and subject are registered as such is that issuer's token:
    /// SPIRE's OIDC discovery provider makes its SVIDs both.
    fn svid(&self, snapshot: &Snapshot, payload: &Json<'_>) -> Result<Option<SpiffeId>, Refusal> {
        let text = |name: &str| payload.get(name).and_then(Json::as_str);
        let Some(subject) = text("sub").filter(|subject| subject.starts_with("spiffe://")) else {
            return Ok(None);
        };
        if let Some(issuer) = text("iss") {
            let ours = issuer == self.mint.issuer() || issuer == LOCAL_ISSUER;
            if ours || snapshot.principal_by_oidc(issuer, subject).is_some() {
                return Ok(None);
            }
        }
        SpiffeId::parse(subject).map(Some).map_err(|error| {
            Refusal::new(Code::SvidInvalid, format!("the subject of the JWT-SVID is none: {error}"))
        })
    }

    /// The issuer's keys. Our own names come first: nobody can register them away.
    fn source(&self, snapshot: &Snapshot, issuer: &str) -> Result<Source, Refusal> {
        if issuer == self.mint.issuer() {
            return Ok(Source::Mint(self.mint.clone()));
        }
        self.check_allowed(snapshot, issuer)?;
        match &self.local {
            Some(local) if issuer == LOCAL_ISSUER => Ok(Source::Local(local.clone())),
            _ => Ok(Source::Remote(self.remote(snapshot, issuer))),
        }
    }

    fn check_allowed(&self, snapshot: &Snapshot, issuer: &str) -> Result<(), Refusal> {
        let built_in = self.local.is_some() && issuer == LOCAL_ISSUER;
        // The cluster's issuer is configured, not registered: ServiceAccount identities do not repeat it.
        if built_in || self.is_clusters(issuer) || snapshot.issuers().any(|allowed| allowed == issuer) {
            return Ok(());
        }
        Err(Refusal::new(Code::TokenIssuer, format!("issuer {} is not allowed", shown(issuer))))
    }

    fn is_clusters(&self, issuer: &str) -> bool {
        self.service_account_issuer.as_deref() == Some(issuer)
    }

    /// Asks for the keys of the cluster's issuer before a token of it comes, so that it is known from the start whether they can be had
    /// ([`Self::unfetched`]). Needs a Tokio runtime.
    pub fn prepare(&self, snapshot: &Snapshot, now: UnixMillis) {
        if let Some(issuer) = &self.service_account_issuer {
            self.remote(snapshot, issuer).prepare(now);
        }
    }

    /// The issuers whose keys could not be fetched when that was tried last: their tokens are refused, or are soon. One that no token was of is not
    /// among them, but for the cluster's.
    pub fn unfetched(&self) -> Vec<Arc<str>> {
        let remotes = self.remotes.read().unwrap_or_else(PoisonError::into_inner);
        let failed = remotes.iter().filter(|(_, remote)| remote.has_failed());
        failed.map(|(issuer, _)| issuer.clone()).collect()
    }

    /// The issuer, which is on the allow-list: only such are ever kept, so callers cannot fill the table.
    fn remote(&self, snapshot: &Snapshot, issuer: &str) -> Arc<Remote> {
        if let Some(remote) = self.remotes.read().unwrap_or_else(PoisonError::into_inner).get(issuer) {
            return remote.clone();
        }
        let mut remotes = self.remotes.write().unwrap_or_else(PoisonError::into_inner);
        remotes.retain(|kept, _| self.check_allowed(snapshot, kept).is_ok());
        let issuer: Arc<str> = issuer.into();
        let fetcher = self.fetchers.get(&issuer).unwrap_or(&self.fetcher);
        // No other issuer is asked for there, whatever somebody registers.
        let api_server = self.api_server.clone().filter(|_| self.is_clusters(&issuer));
        let remote = || Arc::new(Remote::new(issuer.clone(), fetcher.clone(), self.limits).at(api_server));
        remotes.entry(issuer.clone()).or_insert_with(remote).clone()
    }
}

/// That PEM roots for an issuer can be used ([`Config::roots_of_issuers`]).
///
/// # Errors
/// [`ConfigError::IssuerRoots`], and why.
pub fn check_roots(pem: &[u8]) -> Result<(), ConfigError> {
    issuer_roots(Some(pem)).map(drop)
}

fn issuer_roots(pem: Option<&[u8]>) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    let Some(pem) = pem else {
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::warn!(%error, "a system root certificate cannot be read");
        }
        roots.add_parsable_certificates(system.certs);
        return Ok(roots);
    };
    let reason = |error: String| ConfigError::IssuerRoots { reason: error };
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| reason(error.to_string()))?;
        roots.add(certificate).map_err(|error| reason(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(reason("there is no certificate in it".to_owned()));
    }
    Ok(roots)
}
