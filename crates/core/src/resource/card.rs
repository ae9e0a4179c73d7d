//! Who signs an agent's card.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::problem::{At, Fault, Problems};

/// Most keys that may sign one card: one, its successor, and those of several who build the agent.
pub const MAX_KEYS: usize = 8;

/// Bytes of an RSA modulus: 2,048 bits at least (RFC 7518 section 3.3), 8,192 at most.
const RSA_MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// Who signs the agent's card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CardSpec {
    /// The public keys that sign it, as JSON Web Keys. A card is passed on only where one of them has signed what it says.
    #[schemars(length(min = 1, max = 8))]
    pub keys: Vec<CardKeySpec>,
}

/// A public key (RFC 7517): ES256, ES384, EdDSA (Ed25519), RS256 or PS256.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CardKeySpec {
    /// Its type.
    #[schemars(schema_with = "type_schema")]
    pub kty: String,
    /// Its name, as signatures have it (kid). A key without one is found by its algorithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "text_schema")]
    pub kid: Option<String>,
    /// The only algorithm that it is used with, as in ES256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "text_schema")]
    pub alg: Option<String>,
    /// What it is used for: sig.
    #[serde(default, rename = "use", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "text_schema")]
    pub usage: Option<String>,
    /// The curve of an EC or OKP key: P-256, P-384 or Ed25519.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "text_schema")]
    pub crv: Option<String>,
    /// The first coordinate of an EC key, or an OKP key itself, in base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "text_schema")]
    pub x: Option<String>,
    /// The second coordinate of an EC key. In YAML the names y and n stand in quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "text_schema")]
    pub y: Option<String>,
    /// The modulus of an RSA key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "text_schema")]
    pub n: Option<String>,
    /// The exponent of an RSA key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "text_schema")]
    pub e: Option<String>,
}

fn type_schema(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({"type": "string", "enum": ["EC", "OKP", "RSA"]})
}

fn text_schema(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({"type": "string", "minLength": 1, "maxLength": 2048})
}

impl CardSpec {
    /// The keys as one JWK Set (RFC 7517 section 5).
    pub(super) fn check(&self, at: At<'_>, problems: &mut Problems) -> Option<Arc<str>> {
        let at = at.key("keys");
        if self.keys.is_empty() || self.keys.len() > MAX_KEYS {
            let fix = "list the public keys that sign the card, or remove spec.card";
            problems.report(at, "", Fault::new(format!("lists no key, or more than {MAX_KEYS}"), fix));
        }
        for (place, key) in self.keys.iter().enumerate() {
            if !key.is_usable() {
                let fix = "write the public key as a JWK: kty EC with crv P-256 or P-384, x and y; OKP with crv Ed25519 and x; or RSA of \
                    2048 to 8192 bits with n and e; with a use, that is sig";
                problems.report(at.index(place), "", Fault::new("not a key that verifies a card", fix));
            }
        }
        serde_json::to_string(&serde_json::json!({"keys": self.keys})).ok().map(Into::into)
    }
}

impl CardKeySpec {
    /// Whether it has the members of its type, in their lengths. Whether the point is on its curve is found out where it verifies: one that is
    /// not verifies nothing.
    fn is_usable(&self) -> bool {
        let bytes = |text: &Option<String>| {
            let decoded = text.as_ref().map(|text| BASE64URL_NOPAD.decode(text.as_bytes()));
            decoded.and_then(Result::ok).map_or(0, |bytes| bytes.len())
        };
        let is_whole = match (&*self.kty, self.crv.as_deref()) {
            ("EC", Some("P-256")) => (bytes(&self.x), bytes(&self.y)) == (32, 32),
            ("EC", Some("P-384")) => (bytes(&self.x), bytes(&self.y)) == (48, 48),
            ("OKP", Some("Ed25519")) => bytes(&self.x) == 32 && self.y.is_none(),
            ("RSA", None) => RSA_MODULUS.contains(&bytes(&self.n)) && bytes(&self.e) > 0,
            _ => false,
        };
        is_whole && self.usage.as_deref().is_none_or(|usage| usage == "sig")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(keys: &[&str]) -> (Option<Arc<str>>, bool) {
        let keys = keys.iter().map(|key| serde_json::from_str(key).expect("a key")).collect();
        let mut problems = Problems::default();
        let checked = CardSpec { keys }.check(At::Root.key("card"), &mut problems);
        (checked, problems.is_empty())
    }

    #[test]
    fn a_key_has_the_members_of_its_type_and_no_private_one() {
        let x = BASE64URL_NOPAD.encode(&[7; 32]);
        let n = BASE64URL_NOPAD.encode(&[7; 256]);
        for (key, is_good) in [
            (format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{x}","kid":"a","use":"sig"}}"#), true),
            (format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","alg":"EdDSA"}}"#), true),
            (format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB"}}"#), true),
            (format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}"}}"#), false),
            (format!(r#"{{"kty":"EC","crv":"secp256k1","x":"{x}","y":"{x}"}}"#), false),
            (format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{n}"}}"#), false),
            (format!(r#"{{"kty":"RSA","n":"{x}","e":"AQAB"}}"#), false),
            (format!(r#"{{"kty":"oct","x":"{x}"}}"#), false),
            (format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","use":"enc"}}"#), false),
        ] {
            let (set, accepted) = checked(&[&key]);
            assert_eq!(accepted, is_good, "{key}");
            assert!(set.expect("a set").starts_with(r#"{"keys":[{"#));
        }
        let private = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","d":"{x}"}}"#);
        assert!(serde_json::from_str::<CardKeySpec>(&private).is_err());
        assert!(!checked(&[]).1);
    }
}
