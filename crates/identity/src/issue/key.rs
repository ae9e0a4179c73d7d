//! One ES256 signing key, parsed once.
//!
//! ES256 and not EdDSA: every JOSE library verifies it. Signing takes 19 µs against 12 µs for Ed25519 on one core of an AMD EPYC;
//! `cargo bench -p vidimus-identity --bench credentials` prints it for another.

use std::fmt;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::files::{self, KeyFileError};

/// The public half as a JWK (RFC 7517 section 4). Members in the order of RFC 8785.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PublicJwk {
    alg: String,
    crv: String,
    pub(crate) kid: String,
    kty: String,
    #[serde(rename = "use")]
    usage: String,
    x: String,
    y: String,
}

/// A JWK Set (RFC 7517 section 5).
pub(crate) fn jwk_set(keys: &[&PublicJwk]) -> String {
    serde_json::json!({ "keys": keys }).to_string()
}

/// A signing key and the constant first part of the tokens that it signs.
pub(crate) struct SigningKey {
    pair: EcdsaKeyPair,
    pub(crate) public: PublicJwk,
    /// The JOSE header, encoded, and the dot after it.
    header: String,
}

/// A signature that stands beside what it signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detached {
    /// The JOSE header, in base64url.
    pub protected: String,
    /// The signature, in base64url.
    pub signature: String,
}

impl Detached {
    /// The compact form (RFC 7515 section 3.1), with the bytes that were signed in it.
    pub fn compact(&self, bytes: &[u8]) -> String {
        format!("{}.{}.{}", self.protected, URL_SAFE_NO_PAD.encode(bytes), self.signature)
    }
}

/// Signing failed inside the cryptographic library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature could not be made")]
pub struct SigningFailed;

impl SigningKey {
    /// The key in the PEM file at `path`, generated on first use, for tokens of the given `typ`.
    pub(crate) fn open(path: &Path, typ: &str) -> Result<Self, KeyFileError> {
        let pem = files::read_or_create(path, files::PRIVATE, || generate(path))?;
        Self::from_pem(path, &pem, typ)
    }

    pub(crate) fn from_pem(path: &Path, pem: &SecretString, typ: &str) -> Result<Self, KeyFileError> {
        let content = |reason: String| KeyFileError::Content {
            path: path.to_owned(),
            expected: "an ECDSA P-256 private key (PKCS #8, PEM)",
            reason,
        };
        let key =
            rcgen::KeyPair::from_pem(pem.expose_secret()).map_err(|error| content(error.to_string()))?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der())
            .map_err(|error| content(error.to_string()))?;
        let public =
            public_jwk(pair.public_key().as_ref()).ok_or_else(|| content("not on P-256".to_owned()))?;
        let header = serde_json::json!({ "alg": "ES256", "kid": public.kid, "typ": typ }).to_string();
        let header = format!("{}.", URL_SAFE_NO_PAD.encode(header));
        Ok(Self { pair, public, header })
    }

    /// Appends the compact JWS of `payload` to `text`, which has `kept` bytes before it that are not signed.
    pub(crate) fn append(&self, text: &mut String, payload: &[u8]) -> Result<(), SigningFailed> {
        let kept = text.len();
        text.push_str(&self.header);
        URL_SAFE_NO_PAD.encode_string(payload, text);
        let message = text.as_bytes().get(kept..).ok_or(SigningFailed)?;
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| SigningFailed)?;
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), text);
        Ok(())
    }

    /// The signature of these bytes, which do not stand in it (RFC 7515 appendix F). `typ` says what they are, `jku` where the public key is.
    pub(crate) fn detached(&self, typ: &str, jku: &str, bytes: &[u8]) -> Result<Detached, SigningFailed> {
        let header = serde_json::json!({"alg": "ES256", "jku": jku, "kid": self.public.kid, "typ": typ});
        let protected = URL_SAFE_NO_PAD.encode(header.to_string());
        let message = format!("{protected}.{}", URL_SAFE_NO_PAD.encode(bytes));
        let signature =
            self.pair.sign(&SystemRandom::new(), message.as_bytes()).map_err(|_| SigningFailed)?;
        Ok(Detached { protected, signature: URL_SAFE_NO_PAD.encode(signature.as_ref()) })
    }

    /// The length of a token with a payload of `payload` bytes, rounded up.
    pub(crate) fn length(&self, payload: usize) -> usize {
        self.header.len() + payload.div_ceil(3) * 4 + 1 + 86
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.public.kid).finish_non_exhaustive()
    }
}

/// A new private key as PEM, for the file at `path`.
pub(crate) fn generate(path: &Path) -> Result<SecretString, KeyFileError> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256);
    let key = key.map_err(|error| KeyFileError::Content {
        path: path.to_owned(),
        expected: "a key that could be generated",
        reason: error.to_string(),
    })?;
    Ok(key.serialize_pem().into())
}

fn public_jwk(uncompressed: &[u8]) -> Option<PublicJwk> {
    let (x, y) = uncompressed.strip_prefix(&[4])?.split_at_checked(32)?;
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    // RFC 7638 section 3: the required members only, in lexical order, without white space.
    let thumbprint = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    let kid = URL_SAFE_NO_PAD.encode(digest(&SHA256, thumbprint.as_bytes()));
    let (alg, crv, kty, usage) = ("ES256".into(), "P-256".into(), "EC".into(), "sig".into());
    Some(PublicJwk { alg, crv, kid, kty, usage, x, y })
}

/// 96 random bits as 16 characters: a token id (`jti`).
pub(crate) fn token_id() -> Result<String, SigningFailed> {
    let mut bytes = [0; 12];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| SigningFailed)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
