//! Signatures that stand beside what they sign (RFC 7515 appendix F): those of an agent's card.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::keys::KeySet;
use super::token::{Header, decode, parse_json};

/// The longest protected header that is read, in bytes.
const MAX_HEADER: usize = 4 * 1024;

/// The public keys of one who signs. Each is used with the algorithms of its type alone, whatever a signature says.
#[derive(Debug)]
pub struct SignerKeys(KeySet);

/// Why a text is not the keys of one who signs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotKeys(Box<str>);

impl SignerKeys {
    /// Reads a JWK Set (RFC 7517 section 5). Keys of other kinds, or too weak, are left out, and verify nothing.
    ///
    /// # Errors
    /// For what is no JWK Set.
    pub fn parse(set: &str) -> Result<Self, NotKeys> {
        let keys = KeySet::parse(set.as_bytes());
        keys.map(Self).map_err(|error| NotKeys(error.to_string().into()))
    }

    /// Whether one of the keys has signed these bytes. `protected` is the JOSE header and `signature` the signature, both in base64url as they
    /// were sent. A key that the header itself brings or leads to (`jwk`, `jku`, `x5c`, `x5u`) is not looked at, and one that demands what is
    /// not understood here (`crit`, `b64`) is refused.
    pub fn have_signed(&self, bytes: &[u8], protected: &str, signature: &str) -> bool {
        if protected.len() > MAX_HEADER {
            return false;
        }
        let read = || {
            let json = decode(protected, "header").ok()?;
            let header = Header::read(&parse_json(&json, "header").ok()?).ok()?;
            Some((header, decode(signature, "signature").ok()?))
        };
        let Some((header, signature)) = read() else { return false };
        let message = format!("{protected}.{}", URL_SAFE_NO_PAD.encode(bytes));
        // All of them are the signer's, and a name in a signature says nothing but which.
        self.0.any_verifies(header.algorithm, message.as_bytes(), &signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issue::mint::Mint;

    /// What the gateway signs is verified by its own published keys, and by nobody else's.
    #[test]
    fn what_is_signed_is_these_bytes_by_this_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let mint = |name: &str| Mint::open(&directory.path().join(name), "https://gw.example").expect("keys");
        let (own, other) = (mint("own"), mint("other"));
        let signed = own.sign("JOSE", b"what is signed").expect("a signature");
        let keys = |mint: &Mint| SignerKeys::parse(&mint.jwks()).expect("keys");
        let has = |mint: &Mint, bytes: &[u8], protected: &str, signature: &str| {
            keys(mint).have_signed(bytes, protected, signature)
        };
        assert!(has(&own, b"what is signed", &signed.protected, &signed.signature));
        assert!(!has(&other, b"what is signed", &signed.protected, &signed.signature));
        assert!(!has(&own, b"what is signed.", &signed.protected, &signed.signature));
        assert!(!has(&own, b"what is signed", &signed.protected, ""));
        let again = own.sign("JOSE", b"something else").expect("a signature");
        assert!(!has(&own, b"what is signed", &again.protected, &again.signature));
        // A header of the sender's own making: no algorithm, one with a shared secret, one that the key is not of, demands.
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"RS256"}"#,
            r#"{"alg":"ES256","b64":false}"#,
            r#"{"alg":"ES256","crit":["x"]}"#,
            "[]",
            "",
        ] {
            let header = URL_SAFE_NO_PAD.encode(header);
            assert!(!has(&own, b"what is signed", &header, &signed.signature), "{header}");
        }
        assert!(SignerKeys::parse("{}").is_err());
    }

    /// While keys are changed, both are listed: with names, without, or one of them.
    #[test]
    fn either_of_two_keys_has_signed() {
        let directory = tempfile::tempdir().expect("a directory");
        let mint = |name: &str| Mint::open(&directory.path().join(name), "https://gw.example").expect("keys");
        let (old, new, other) = (mint("old"), mint("new"), mint("other"));
        let key = |mint: &Mint, is_named: bool| {
            let mut set: serde_json::Value = serde_json::from_str(&mint.jwks()).expect("JSON");
            let mut key = set["keys"][0].take();
            if !is_named {
                key.as_object_mut().expect("a key").remove("kid");
            }
            key
        };
        for (first, second) in [(false, false), (true, true), (true, false)] {
            let set = serde_json::json!({"keys": [key(&old, first), key(&new, second)]}).to_string();
            let keys = SignerKeys::parse(&set).expect("keys");
            for (mint, is_one) in [(&old, true), (&new, true), (&other, false)] {
                let signed = mint.sign("JOSE", b"what is signed").expect("a signature");
                let has = keys.have_signed(b"what is signed", &signed.protected, &signed.signature);
                assert_eq!(has, is_one, "{set}");
            }
        }
    }

    /// Attack: a signature taken for a token of a hop, or a token for a signature of a card.
    #[test]
    fn a_signature_says_that_it_is_no_token() {
        let directory = tempfile::tempdir().expect("a directory");
        let mint = Mint::open(directory.path(), "https://gw.example").expect("keys");
        let signed = mint.sign("JOSE", b"{}").expect("a signature");
        let header = URL_SAFE_NO_PAD.decode(&signed.protected).expect("base64url");
        let header: serde_json::Value = serde_json::from_slice(&header).expect("JSON");
        assert_eq!(header["typ"], "JOSE");
        assert_eq!(header["jku"], "https://gw.example/.well-known/jwks.json");
        assert!(mint.jwks().contains(header["kid"].as_str().expect("a name")));
    }
}
