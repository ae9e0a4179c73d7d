//! The keys that verify tokens. Each is parsed once and bound to its algorithms, so that a token cannot choose how its key is
//! used (RFC 8725 sections 2.1 and 3.1). There is no symmetric algorithm in this process at all.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RsaParameters,
    RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use vidimus_core::json::{Json, JsonError};

/// Keys beyond these of one JWKS are not read.
const MAX_KEYS: usize = 64;
/// Bytes of an RSA modulus: 2048 bits at least (RFC 7518 section 3.3), 8192 at most.
const RSA_MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// The allowed algorithms (RFC 7518 section 3.1, RFC 8037 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&RSA_PSS_2048_8192_SHA256),
            Self::Es256 | Self::Es384 | Self::EdDsa => None,
        }
    }
}

/// Why no key of a set verifies a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyError {
    /// No key of that id (or, without an id, no single key) takes the algorithm.
    Unknown,
    /// There is such a key, and the signature is not its.
    Signature,
}

/// Why a document is not a JWK Set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeySetError {
    #[error("the JWK Set is not valid JSON: {0}")]
    Json(#[from] JsonError),
    #[error("the JWK Set has no array 'keys' (RFC 7517 section 5)")]
    NoKeys,
}

/// The verification keys of one issuer at one time.
pub(crate) struct KeySet {
    keys: Vec<Arc<Key>>,
}

struct Key {
    id: Option<Box<str>>,
    /// One parsed form per algorithm that the key may be used with.
    forms: Vec<(Algorithm, ParsedPublicKey)>,
}

impl KeySet {
    /// Reads a JWK Set. Keys for other uses, of other kinds or too weak are left out (RFC 7517 section 5).
    pub(crate) fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        let json = Json::parse(document)?;
        let keys = json.get("keys").and_then(Json::as_array).ok_or(KeySetError::NoKeys)?;
        Ok(Self { keys: keys.iter().take(MAX_KEYS).filter_map(Key::read).map(Arc::new).collect() })
    }

    /// The keys of both; of two with one id, that of `self`.
    pub(crate) fn with(&self, other: &Self) -> Self {
        let is_new = |key: &&Arc<Key>| key.id.is_none() || self.keys.iter().all(|known| known.id != key.id);
        Self { keys: self.keys.iter().chain(other.keys.iter().filter(is_new)).cloned().collect() }
    }

    /// Verifies with the key that `id` names, or with the only one that takes `algorithm` where a token names none.
    pub(crate) fn verify(
        &self,
        algorithm: Algorithm,
        id: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), KeyError> {
        let mut fitting = self.keys.iter().filter_map(|key| {
            let named = id.is_none() || key.id.as_deref() == id;
            let form = key.forms.iter().find(|(a, _)| *a == algorithm);
            form.filter(|_| named).map(|(_, parsed)| parsed)
        });
        let key = fitting.next().ok_or(KeyError::Unknown)?;
        if fitting.next().is_some() {
            // OpenID Connect Core section 10.1: among several keys the token must name one.
            return Err(KeyError::Unknown);
        }
        key.verify_sig(message, signature).map_err(|_| KeyError::Signature)
    }

    /// Whether one of the keys verifies, whatever it is called: of a few keys that are all one signer's.
    pub(crate) fn any_verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let forms = self.keys.iter().flat_map(|key| &key.forms);
        forms.filter(|(of, _)| *of == algorithm).any(|(_, key)| key.verify_sig(message, signature).is_ok())
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| key.id.as_deref().unwrap_or("(no kid)"))).finish()
    }
}

impl Key {
    fn read(jwk: &Json<'_>) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Json::as_str);
        if text("use").is_some_and(|u| u != "sig") {
            return None;
        }
        if let Some(operations) = jwk.get("key_ops") {
            let verifies = |ops: &[Json<'_>]| ops.iter().any(|op| op.as_str() == Some("verify"));
            operations.as_array().filter(|ops| verifies(ops))?;
        }
        let mut forms = match text("kty")? {
            "RSA" => rsa_forms(text("n")?, text("e")?)?,
            "EC" => ec_form(text("crv")?, text("x")?, text("y")?)?,
            "OKP" => okp_form(text("crv")?, text("x")?)?,
            _ => return None,
        };
        if let Some(only) = text("alg") {
            let only = Algorithm::parse(only)?;
            forms.retain(|(algorithm, _)| *algorithm == only);
        }
        let id = text("kid").map(Into::into);
        (!forms.is_empty()).then_some(Self { id, forms })
    }
}

type Forms = Vec<(Algorithm, ParsedPublicKey)>;

fn rsa_forms(n: &str, e: &str) -> Option<Forms> {
    let (n, e) = (decode(n)?, decode(e)?);
    // Some issuers keep the sign byte of the DER integer.
    let n = n.strip_prefix(&[0]).unwrap_or(&n);
    if !RSA_MODULUS.contains(&n.len()) {
        return None;
    }
    let components = RsaPublicKeyComponents { n, e: e.as_slice() };
    [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512, Algorithm::Ps256]
        .into_iter()
        .map(|algorithm| Some((algorithm, components.to_parsed_public_key(algorithm.rsa()?).ok()?)))
        .collect()
}

fn ec_form(curve: &str, x: &str, y: &str) -> Option<Forms> {
    let (x, y) = (decode(x)?, decode(y)?);
    // RFC 7518 section 6.2.1.2: coordinates have the full length of the curve.
    let uncompressed = [&[4], x.as_slice(), y.as_slice()].concat();
    let (algorithm, parsed) = match (curve, x.len(), y.len()) {
        ("P-256", 32, 32) => (Algorithm::Es256, ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, uncompressed)),
        ("P-384", 48, 48) => (Algorithm::Es384, ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, uncompressed)),
        _ => return None,
    };
    Some(vec![(algorithm, parsed.ok()?)])
}

fn okp_form(curve: &str, x: &str) -> Option<Forms> {
    let x = decode(x).filter(|x| curve == "Ed25519" && x.len() == 32)?;
    Some(vec![(Algorithm::EdDsa, ParsedPublicKey::new(&ED25519, x).ok()?)])
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys by these names, or without one.
    fn set(names: &[Option<&str>]) -> KeySet {
        let point = URL_SAFE_NO_PAD.encode([7; 32]);
        let key = |name: &Option<&str>| {
            let name = name.map(|name| format!(r#","kid":"{name}""#)).unwrap_or_default();
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{point}"{name}}}"#)
        };
        let keys: Vec<String> = names.iter().map(key).collect();
        KeySet::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes()).unwrap()
    }

    #[test]
    fn a_set_shows_the_names_of_its_keys() {
        assert_eq!(format!("{:?}", set(&[Some("k-1")])), r#"["k-1"]"#);
    }

    #[test]
    fn of_two_keys_of_one_name_the_first_stays_and_what_has_none_is_another_key() {
        let both = set(&[Some("a"), None]).with(&set(&[Some("a"), Some("b"), None]));
        assert_eq!(format!("{both:?}"), r#"["a", "(no kid)", "b", "(no kid)"]"#);
    }
}
