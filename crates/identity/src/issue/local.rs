//! Identity without anything external: a CA and a token issuer of this installation alone.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{Issuer, KeyPair, PublicKeyData as _};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret as _, SecretString};
use vidimus_core::caller::UnixMillis;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::ca;
use super::files::{self, KeyFileError};
use super::key::{self, SigningFailed, SigningKey, jwk_set};
use crate::prove::keys::KeySet;
use crate::spiffe::{SpiffeId, SpiffeIdError, TrustDomain, only_uri_name};
use crate::tls::{ServerCertificate, TlsError};

/// `iss` of tokens of the built-in issuer. It has no address: its tokens are good in this installation only.
pub const LOCAL_ISSUER: &str = "urn:vidimus:local";
/// `aud` of the tokens of people: whom they are meant for is not the gateway that workloads call.
pub const OPERATOR_AUDIENCE: &str = "vidimus-admin";
/// The claim of a person's local token, which no other has. Who makes these holds the key, so it is not asked who is registered with the subject.
pub(crate) const PERSON: &str = "vidimus_person";
/// The maximum life of a local token, SVID or server certificate.
pub const MAX_LOCAL_TTL: Duration = Duration::from_secs(24 * 3600);
/// The files.
const CA: &str = "ca.pem";
const CA_KEY: &str = "ca-key.pem";
const ISSUER_KEY: &str = "issuer-key.pem";
/// All of them.
pub(super) const NAMES: [&str; 3] = [CA, CA_KEY, ISSUER_KEY];
/// Is there while the first keys are made: until its end a certificate that is missing is not one that was lost.
const BEGUN: &str = ".first-start";
/// The trust domain where none is asked for.
const DEFAULT_TRUST_DOMAIN: &str = "vidimus.local";

/// Why the built-in identity cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error(transparent)]
    File(#[from] KeyFileError),
    #[error("the CA here is of trust domain {existing}, not {asked}; use that, or another data directory")]
    OtherTrustDomain { existing: TrustDomain, asked: TrustDomain },
    #[error(
        "{path} is missing, but {beside} is there, so this is no new installation; restore the key from a backup, or let \
         `vidimus identity init --replace-lost-keys` make another one: {lost} before is then refused",
        path = path.display(), beside = beside.display()
    )]
    KeyLost { path: PathBuf, beside: PathBuf, lost: &'static str },
    #[error(
        "{path} is missing, but {beside} is there, so this is no new installation; restore the certificate from a backup, or let `vidimus \
         identity init --replace-lost-keys` make another one of the key, with the trust domain that --trust-domain says",
        path = path.display(), beside = beside.display()
    )]
    CertificateLost { path: PathBuf, beside: PathBuf },
    #[error(
        "{certificate} is not the certificate of {key}: who trusts it refuses what is issued with the key; restore the two that belong \
         together, or move the certificate away and let `vidimus identity init --replace-lost-keys` make one of this key",
        certificate = certificate.display(), key = key.display()
    )]
    CaKey { certificate: PathBuf, key: PathBuf },
    #[error(transparent)]
    TrustDomain(#[from] SpiffeIdError),
    #[error("a local token or certificate lives 1 s to {} h, not {} s", MAX_LOCAL_TTL.as_secs() / 3600, ttl.as_secs())]
    Ttl { ttl: Duration },
    #[error("{field} is empty")]
    Empty { field: &'static str },
    #[error(transparent)]
    Signing(#[from] SigningFailed),
    #[error("the certificate could not be made")]
    Certificate(#[source] rcgen::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl LocalError {
    /// The file, where it is about one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(error) => error.path(),
            Self::KeyLost { path, .. } | Self::CertificateLost { path, .. } => Some(path),
            Self::CaKey { certificate, .. } => Some(certificate),
            _ => None,
        }
    }
}

/// The built-in CA and issuer, whose keys are files in the data directory.
pub struct LocalIdentity {
    trust_domain: TrustDomain,
    ca: Issuer<'static, KeyPair>,
    bundle: String,
    tokens: SigningKey,
    keys: Arc<KeySet>,
}

/// A token to issue.
#[derive(Clone, Copy, Debug)]
pub struct TokenRequest<'a> {
    /// The subject a principal is registered with (`oidc: {issuer: urn:vidimus:local, subject: …}`).
    pub subject: &'a str,
    /// The person it acts for: then the person is `sub`, and the subject is `act.sub` (RFC 8693 section 4.1).
    pub user: Option<&'a str>,
    /// `aud`: whom the token is meant for.
    pub audience: &'a str,
    /// 1 s to [`MAX_LOCAL_TTL`].
    pub ttl: Duration,
    /// When it is issued.
    pub now: UnixMillis,
}

/// A token of a person to issue.
#[derive(Clone, Copy, Debug)]
pub struct PersonTokenRequest<'a> {
    /// `sub`: who it is.
    pub subject: &'a str,
    /// `groups`: what groups it is in.
    pub groups: &'a [String],
    /// 1 s to [`MAX_LOCAL_TTL`].
    pub ttl: Duration,
    /// When it is issued.
    pub now: UnixMillis,
}

/// An X.509-SVID and its key.
#[derive(Debug)]
pub struct Svid {
    /// Whom it names.
    pub spiffe_id: SpiffeId,
    /// PEM, the leaf alone: the CA that signed it is in the bundle.
    pub certificate: String,
    /// PKCS #8, PEM.
    pub key: SecretString,
    /// The end of its validity.
    pub not_after: UnixMillis,
}

impl LocalIdentity {
    /// Opens the keys in `directory`, or makes them, with a CA of `trust_domain` (`vidimus.local` where none is given).
    ///
    /// # Errors
    /// When files cannot be read, made or used, a key is gone that there was, or the CA there is of another trust domain than asked
    /// for.
    pub fn open(
        directory: &Path,
        trust_domain: Option<&TrustDomain>,
        now: UnixMillis,
    ) -> Result<Self, LocalError> {
        files::directory(directory)?;
        let domain = trust_domain
            .map_or_else(|| TrustDomain::new(DEFAULT_TRUST_DOMAIN), |domain| Ok(domain.clone()))?;
        begin(directory)?;
        none_lost(directory)?;
        // The CA's certificate comes last: who finds it knows that there were keys.
        let tokens = SigningKey::open(&directory.join(ISSUER_KEY), "JWT")?;
        let (ca_key, bundle) = open_ca(directory, &domain, now)?;
        let (existing, certificate) = read_ca(&directory.join(CA), &bundle)?;
        files::remove(&directory.join(BEGUN))?;
        if trust_domain.is_some_and(|asked| *asked != existing) {
            return Err(LocalError::OtherTrustDomain { existing, asked: domain });
        }
        Self::put_together(directory, (existing, &certificate, bundle), ca_key, tokens)
    }

    /// Of the texts that stand in the files of `place`: nothing is read, and nothing is made.
    ///
    /// # Errors
    /// When they cannot be used, or do not belong together.
    pub(super) fn of_texts(
        place: &Path,
        certificate: &SecretString,
        ca_key_pem: &SecretString,
        issuer_key: &SecretString,
    ) -> Result<Self, LocalError> {
        let bundle = certificate.expose_secret().to_owned();
        let (domain, certificate) = read_ca(&place.join(CA), &bundle)?;
        let ca_key = ca_key(&place.join(CA_KEY), ca_key_pem)?;
        let tokens = SigningKey::from_pem(&place.join(ISSUER_KEY), issuer_key, "JWT")?;
        Self::put_together(place, (domain, &certificate, bundle), ca_key, tokens)
    }

    fn put_together(
        directory: &Path,
        (trust_domain, certificate, bundle): (TrustDomain, &CertificateDer<'static>, String),
        ca_key: KeyPair,
        tokens: SigningKey,
    ) -> Result<Self, LocalError> {
        if !is_of(certificate, &ca_key) {
            let (certificate, key) = (directory.join(CA), directory.join(CA_KEY));
            return Err(LocalError::CaKey { certificate, key });
        }
        let ca = Issuer::from_ca_cert_der(certificate, ca_key).map_err(LocalError::Certificate)?;
        let keys =
            KeySet::parse(jwk_set(&[&tokens.public]).as_bytes()).map_err(|error| KeyFileError::Content {
                path: directory.join(ISSUER_KEY),
                expected: "a signing key",
                reason: error.to_string(),
            })?;
        Ok(Self { trust_domain, ca, bundle, tokens, keys: Arc::new(keys) })
    }

    /// Whether what is in `directory` can be opened, for one who only looks. Nothing is made.
    ///
    /// # Errors
    /// As of [`LocalIdentity::open`].
    pub fn look(directory: &Path) -> Result<(), LocalError> {
        none_lost(directory)?;
        let [certificate, key_file, tokens] = [CA, CA_KEY, ISSUER_KEY].map(|name| directory.join(name));
        if let Some(pem) = files::read(&tokens, files::PRIVATE)? {
            SigningKey::from_pem(&tokens, &pem, "JWT")?;
        }
        let pem = files::read(&key_file, files::PRIVATE)?;
        let key = pem.map(|pem| ca_key(&key_file, &pem)).transpose()?;
        let Some(pem) = files::read(&certificate, files::PUBLIC)? else { return Ok(()) };
        let (_, read) = read_ca(&certificate, pem.expose_secret())?;
        match key {
            Some(key) if !is_of(&read, &key) => Err(LocalError::CaKey { certificate, key: key_file }),
            _ => Ok(()),
        }
    }

    /// As [`LocalIdentity::open`], where keys or the certificate may be gone: those are made anew, and with the CA's key its certificate. Whatever was
    /// issued with them before is refused from then on.
    ///
    /// # Errors
    /// As of [`LocalIdentity::open`].
    pub fn open_replacing_lost_keys(
        directory: &Path,
        trust_domain: Option<&TrustDomain>,
        now: UnixMillis,
    ) -> Result<Self, LocalError> {
        let certificate = directory.join(CA);
        if let Some(old) = files::read(&certificate, files::PUBLIC)? {
            let (existing, _) = read_ca(&certificate, old.expose_secret())?;
            if let Some(asked) = trust_domain.filter(|asked| **asked != existing) {
                return Err(LocalError::OtherTrustDomain { existing, asked: asked.clone() });
            }
            SigningKey::open(&directory.join(ISSUER_KEY), "JWT")?;
            let key_file = directory.join(CA_KEY);
            if !is_there(&key_file)? {
                // The certificate first, since it says what the trust domain is: who is killed in between finds the key lost again.
                let pem = key::generate(&key_file)?;
                let root = ca_root(&certificate, &existing, &ca_key(&key_file, &pem)?, now)?;
                files::replace(&certificate, files::PUBLIC, &root)?;
                files::read_or_create(&key_file, files::PRIVATE, || Ok(pem))?;
            }
        } else {
            files::touch(&directory.join(BEGUN))?;
        }
        Self::open(directory, trust_domain, now)
    }

    /// The trust domain of its SVIDs.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The CA's certificate, PEM: the trust bundle for its SVIDs and for the gateway's certificate.
    pub fn bundle(&self) -> &str {
        &self.bundle
    }

    /// A bearer token for [`TokenRequest::subject`].
    ///
    /// # Errors
    /// When the life is out of range or a name is empty.
    pub fn token(&self, request: &TokenRequest<'_>) -> Result<SecretString, LocalError> {
        check_ttl(request.ttl)?;
        let names = [("the subject", Some(request.subject)), ("the audience", Some(request.audience))];
        for (field, value) in names.into_iter().chain([("the user", request.user)]) {
            if value.is_some_and(str::is_empty) {
                return Err(LocalError::Empty { field });
            }
        }
        let issued = request.now.0.div_euclid(1000);
        let mut claims = serde_json::json!({
            "iss": LOCAL_ISSUER,
            "sub": request.user.unwrap_or(request.subject),
            "aud": request.audience,
            "iat": issued,
            "exp": issued.saturating_add_unsigned(request.ttl.as_secs()),
            "jti": key::token_id()?,
        });
        if let (Some(_), Some(claims)) = (request.user, claims.as_object_mut()) {
            claims.insert("act".to_owned(), serde_json::json!({ "sub": request.subject }));
        }
        let mut token = String::new();
        self.tokens.append(&mut token, claims.to_string().as_bytes())?;
        Ok(token.into())
    }

    /// A bearer token for a person, for the admin address ([`OPERATOR_AUDIENCE`]).
    ///
    /// # Errors
    /// When the life is out of range or a name is empty.
    pub fn person_token(&self, request: &PersonTokenRequest<'_>) -> Result<SecretString, LocalError> {
        check_ttl(request.ttl)?;
        if request.subject.is_empty() {
            return Err(LocalError::Empty { field: "the subject" });
        }
        if request.groups.iter().any(String::is_empty) {
            return Err(LocalError::Empty { field: "a group" });
        }
        let issued = request.now.0.div_euclid(1000);
        let claims = serde_json::json!({
            "iss": LOCAL_ISSUER,
            "sub": request.subject,
            "aud": OPERATOR_AUDIENCE,
            "groups": request.groups,
            PERSON: true,
            "iat": issued,
            "exp": issued.saturating_add_unsigned(request.ttl.as_secs()),
            "jti": key::token_id()?,
        });
        let mut token = String::new();
        self.tokens.append(&mut token, claims.to_string().as_bytes())?;
        Ok(token.into())
    }

    /// An X.509-SVID for a workload of this trust domain.
    ///
    /// # Errors
    /// When the ID is of another trust domain or the life is out of range.
    pub fn svid(&self, id: &SpiffeId, ttl: Duration, now: UnixMillis) -> Result<Svid, LocalError> {
        check_ttl(ttl)?;
        if *id.trust_domain() != self.trust_domain {
            let (existing, asked) = (self.trust_domain.clone(), id.trust_domain().clone());
            return Err(LocalError::OtherTrustDomain { existing, asked });
        }
        let issued = ca::workload(&self.ca, id, now, ttl).map_err(LocalError::Certificate)?;
        let ca::Issued { certificate, key, not_after } = issued;
        Ok(Svid { spiffe_id: id.clone(), certificate, key: key.into(), not_after })
    }

    /// A certificate for the gateway, reached under `names` (DNS names and IP addresses).
    ///
    /// # Errors
    /// When a name cannot stand in a certificate or the life is out of range.
    pub fn server_certificate(
        &self,
        names: &[String],
        ttl: Duration,
        now: UnixMillis,
    ) -> Result<ServerCertificate, LocalError> {
        check_ttl(ttl)?;
        if names.is_empty() {
            return Err(LocalError::Empty { field: "the list of names" });
        }
        let issued = ca::server(&self.ca, names, now, ttl).map_err(LocalError::Certificate)?;
        Ok(ServerCertificate::from_pem(issued.certificate.as_bytes(), &issued.key.into())?)
    }

    pub(crate) fn keys(&self) -> &Arc<KeySet> {
        &self.keys
    }
}

impl fmt::Debug for LocalIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalIdentity").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

impl Svid {
    /// Writes the certificate, and the key for its owner only.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, certificate: &Path, key: &Path) -> Result<(), KeyFileError> {
        files::replace(key, files::PRIVATE, &self.key)?;
        files::replace(certificate, files::PUBLIC, &self.certificate.clone().into())
    }

    /// The certificate and key as `rustls` takes them.
    ///
    /// # Errors
    /// Never, for an SVID that this crate made.
    pub fn der(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        crate::tls::parse_pem(self.certificate.as_bytes(), &self.key)
    }
}

fn check_ttl(ttl: Duration) -> Result<(), LocalError> {
    if ttl < Duration::from_secs(1) || ttl > MAX_LOCAL_TTL { Err(LocalError::Ttl { ttl }) } else { Ok(()) }
}

/// The files of a new CA of `trust_domain` and a new issuer, by name; `place` is where they will be, for messages.
pub(super) fn new_files(
    place: &Path,
    trust_domain: Option<&TrustDomain>,
    now: UnixMillis,
) -> Result<[(&'static str, SecretString); 3], LocalError> {
    let domain =
        trust_domain.map_or_else(|| TrustDomain::new(DEFAULT_TRUST_DOMAIN), |domain| Ok(domain.clone()))?;
    let path = place.join(CA_KEY);
    let pem = key::generate(&path)?;
    let certificate = ca_root(&place.join(CA), &domain, &ca_key(&path, &pem)?, now)?;
    Ok([(CA, certificate), (CA_KEY, pem), (ISSUER_KEY, key::generate(&place.join(ISSUER_KEY))?)])
}

/// That no key is gone that there was. Another one in its place would be of no use to those who were given what it signed, and nobody
/// would tell them why.
fn none_lost(directory: &Path) -> Result<(), LocalError> {
    let certificate = directory.join(CA);
    // Others may make the first keys at the same time: what they are at is looked at before and after.
    let is_begun = || is_there(&directory.join(BEGUN));
    let before = is_begun()?;
    if !is_there(&certificate)? {
        let key = [CA_KEY, ISSUER_KEY].map(|name| directory.join(name)).into_iter();
        let mut key = key.filter(|path| is_there(path).unwrap_or(true));
        return match key.next() {
            Some(beside) if !before && !is_begun()? && !is_there(&certificate)? => {
                Err(LocalError::CertificateLost { path: certificate, beside })
            }
            _ => Ok(()),
        };
    }
    let keys = [
        (CA_KEY, "every SVID and server certificate that the CA issued"),
        (ISSUER_KEY, "every token that was handed out"),
    ];
    for (name, lost) in keys {
        let path = directory.join(name);
        if !is_there(&path)? {
            return Err(LocalError::KeyLost { path, beside: certificate, lost });
        }
    }
    Ok(())
}

/// Notes that the first keys are made, where there is nothing yet.
fn begin(directory: &Path) -> Result<(), LocalError> {
    for name in [CA, CA_KEY, ISSUER_KEY] {
        if is_there(&directory.join(name))? {
            return Ok(());
        }
    }
    Ok(files::touch(&directory.join(BEGUN))?)
}

fn is_there(path: &Path) -> Result<bool, KeyFileError> {
    path.try_exists().map_err(KeyFileError::io(path, "look for"))
}

/// The CA's key and certificate. The key comes first, so a certificate never exists without it.
fn open_ca(directory: &Path, domain: &TrustDomain, now: UnixMillis) -> Result<(KeyPair, String), LocalError> {
    let path = directory.join(CA_KEY);
    let key = files::read_or_create(&path, files::PRIVATE, || key::generate(&path))?;
    let key = ca_key(&path, &key)?;
    let path = directory.join(CA);
    let certificate = files::read_or_create(&path, files::PUBLIC, || ca_root(&path, domain, &key, now))?;
    Ok((key, certificate.expose_secret().to_owned()))
}

fn ca_key(path: &Path, pem: &SecretString) -> Result<KeyPair, KeyFileError> {
    KeyPair::from_pem(pem.expose_secret()).map_err(|error| KeyFileError::Content {
        path: path.to_owned(),
        expected: "a private key (PKCS #8, PEM)",
        reason: error.to_string(),
    })
}

fn ca_root(
    path: &Path,
    domain: &TrustDomain,
    key: &KeyPair,
    now: UnixMillis,
) -> Result<SecretString, KeyFileError> {
    ca::root(domain, key, now).map(SecretString::from).map_err(|error| KeyFileError::Content {
        path: path.to_owned(),
        expected: "a certificate that could be made",
        reason: error.to_string(),
    })
}

/// Whether a certificate is of this key.
fn is_of(certificate: &CertificateDer<'_>, key: &KeyPair) -> bool {
    let parsed = X509Certificate::from_der(certificate);
    parsed.is_ok_and(|(_, parsed)| parsed.subject_pki.raw == key.subject_public_key_info())
}

fn read_ca(path: &Path, pem: &str) -> Result<(TrustDomain, CertificateDer<'static>), LocalError> {
    let content = |reason: String| KeyFileError::Content {
        path: path.to_owned(),
        expected: "the certificate of a CA",
        reason,
    };
    let certificate =
        CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| content(error.to_string()))?;
    let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|error| content(error.to_string()))?;
    let uri = only_uri_name(&parsed).map_err(|error| content(error.to_string()))?;
    let domain =
        uri.strip_prefix("spiffe://").ok_or_else(|| content("its URI name is not SPIFFE".to_owned()))?;
    Ok((TrustDomain::new(domain)?, certificate))
}
