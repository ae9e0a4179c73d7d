//! Signatures of Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`, with keys that a file holds.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::secrets::SecretDirectory;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Bytes of a secret.
const SIZE: std::ops::RangeInclusive<usize> = 24..=64;
/// Secrets of one file: the present one, and the one before.
const MOST: usize = 2;

/// A file that holds no secret. It says nothing of what is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret of the webhook: {0}")]
pub struct NoSecret(String);

/// The keys that each request is signed with.
pub(super) struct Keys(Vec<hmac::Key>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

impl Keys {
    /// Those that the file holds now, one a line.
    ///
    /// # Errors
    /// Why it holds none.
    pub(super) fn read(secrets: &SecretDirectory, named: &str) -> Result<Self, NoSecret> {
        let text = secrets.read(named).map_err(NoSecret)?;
        Self::of(&text).map_err(|why| NoSecret(format!("{named}: {why}")))
    }

    fn of(text: &str) -> Result<Self, String> {
        const WRITE: &str = "write whsec_ and the base64 of 24 to 64 random bytes, as in \
            `echo whsec_$(head -c32 /dev/urandom | base64)`, and at most one more, on a line of its own, while it is replaced";
        let keys: Option<Vec<hmac::Key>> = text.split_whitespace().map(key).collect();
        match keys {
            Some(keys) if (1..=MOST).contains(&keys.len()) => Ok(Self(keys)),
            _ => Err(WRITE.to_owned()),
        }
    }

    /// The value of `webhook-signature`.
    pub(super) fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let signatures = self.0.iter().map(|key| {
            let mut signed = hmac::Context::with_key(key);
            signed.update(format!("{id}.{seconds}.").as_bytes());
            signed.update(body);
            format!("v1,{}", STANDARD.encode(signed.sign()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }
}

fn key(text: &str) -> Option<hmac::Key> {
    let bytes = STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
    SIZE.contains(&bytes.len()).then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The vector of the standard's own libraries.
    #[test]
    fn a_request_is_signed_as_the_standard_says() {
        let (id, seconds, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(Keys::of(SECRET).unwrap().sign(id, seconds, body), signature);
        let other = format!("whsec_{}", STANDARD.encode([7; 32]));
        let both = Keys::of(&format!("{other}\n{SECRET}\n")).unwrap().sign(id, seconds, body);
        let [first, second] = both.split(' ').collect::<Vec<_>>()[..] else { panic!("{both}") };
        assert_eq!(second, signature);
        assert_eq!(first, Keys::of(&other).unwrap().sign(id, seconds, body));
        for changed in [
            Keys::of(SECRET).unwrap().sign("msg_1", seconds, body),
            Keys::of(SECRET).unwrap().sign(id, seconds + 1, body),
            Keys::of(SECRET).unwrap().sign(id, seconds, b"{}"),
        ] {
            assert_ne!(changed, signature);
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_shown() {
        let of = |bytes: &[u8]| format!("whsec_{}", STANDARD.encode(bytes));
        for bad in [
            String::new(),
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
            "whsec_".to_owned(),
            "whsec_%%%%".to_owned(),
            of(&[7; 23]),
            of(&[7; 65]),
            format!("{SECRET} {SECRET} {SECRET}"),
            format!("{SECRET} x"),
        ] {
            let why = Keys::of(&bad).unwrap_err();
            assert!(why.contains("24 to 64") && !why.contains("MfKQ"), "{bad}: {why}");
        }
        assert!(Keys::of(&of(&[7; 24])).is_ok() && Keys::of(&of(&[7; 64])).is_ok());
        assert_eq!(format!("{:?}", Keys::of(SECRET).unwrap()), "Keys(1)");
    }
}
