//! Keys of the fake issuer.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// What a key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    /// Every algorithm that the gateway accepts.
    pub const ALL: [Self; 7] =
        [Self::Rs256, Self::Rs384, Self::Rs512, Self::Ps256, Self::Es256, Self::Es384, Self::EdDsa];

    /// The value of `alg` (RFC 7518 section 3.1, RFC 8037 section 3.1).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// A key pair with an id.
#[derive(Debug)]
pub struct IssuerKey {
    algorithm: Algorithm,
    id: String,
    pair: Pair,
    /// Members of the published JWK that a test sets otherwise; `null` removes one.
    overrides: Value,
}

#[derive(Debug)]
enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

#[expect(clippy::expect_used, reason = "test support: key generation fails when the machine is broken")]
impl IssuerKey {
    /// A new key. RSA (2048 bits) takes some 100 ms.
    pub fn generate(algorithm: Algorithm) -> Self {
        Self::generate_sized(algorithm, KeySize::Rsa2048)
    }

    fn generate_sized(algorithm: Algorithm, size: KeySize) -> Self {
        let pair = match algorithm {
            Algorithm::Es256 => {
                Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a P-256 key"))
            }
            Algorithm::Es384 => {
                Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a P-384 key"))
            }
            Algorithm::EdDsa => Pair::Ed(Ed25519KeyPair::generate().expect("an Ed25519 key")),
            _ => Pair::Rsa(RsaKeyPair::generate(size).expect("an RSA key")),
        };
        let mut random = [0; 6];
        aws_lc_rs::rand::fill(&mut random).expect("random bytes");
        let id = format!("key-{}", URL_SAFE_NO_PAD.encode(random));
        Self { algorithm, id, pair, overrides: json!({}) }
    }

    /// The same key with other members in its JWK; `null` removes one.
    #[must_use]
    pub fn published_as(mut self, overrides: Value) -> Self {
        if let Some(id) = overrides.get("kid").and_then(Value::as_str) {
            self.id = id.to_owned();
        }
        self.overrides = overrides;
        self
    }

    /// What it signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// `kid`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public key as a JWK (RFC 7517 section 4).
    pub fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                let n = public.modulus().big_endian_without_leading_zero().to_vec();
                let e = public.exponent().big_endian_without_leading_zero().to_vec();
                json!({ "kty": "RSA", "n": encode(&n), "e": encode(&e) })
            }
            Pair::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = point.split_at(1).1.split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({ "kty": "EC", "crv": curve, "x": encode(x), "y": encode(y) })
            }
            Pair::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref()) })
            }
        };
        if let (Some(jwk), Some(overrides)) = (jwk.as_object_mut(), self.overrides.as_object()) {
            jwk.insert("kid".to_owned(), json!(self.id));
            jwk.insert("alg".to_owned(), json!(self.algorithm.as_str()));
            jwk.insert("use".to_owned(), json!("sig"));
            for (name, value) in overrides {
                jwk.insert(name.clone(), value.clone());
            }
            jwk.retain(|_, value| !value.is_null());
        }
        jwk
    }

    /// A token with exactly `claims`, and the header of an access token.
    pub fn token(&self, claims: &Value) -> String {
        let header = json!({ "alg": self.algorithm.as_str(), "kid": self.id, "typ": "at+jwt" });
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// A token with exactly this header and payload, whatever they are, signed with this key's algorithm.
    pub fn sign(&self, header: &str, payload: &str) -> String {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let message = format!("{}.{}", encode(header.as_bytes()), encode(payload.as_bytes()));
        let signature = self.signature(message.as_bytes());
        format!("{message}.{}", encode(&signature))
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let encoding: &dyn aws_lc_rs::signature::RsaEncoding = match self.algorithm {
                    Algorithm::Rs384 => &RSA_PKCS1_SHA384,
                    Algorithm::Rs512 => &RSA_PKCS1_SHA512,
                    Algorithm::Ps256 => &RSA_PSS_SHA256,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).expect("an RSA signature");
                signature
            }
            Pair::Ec(pair) => pair.sign(&random, message).expect("an ECDSA signature").as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}
