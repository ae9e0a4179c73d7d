//! The gateway's signature over a body that goes to who is no upstream, and so gets no token: news of a task (ADR 84), and the question of a guard (ADR 87).
//! It is a compact JWS in a header field beside the body, by a key of `/.well-known/jwks.json`.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use data_encoding::HEXLOWER;
use http::HeaderName;
use serde_json::json;
use vidimus_core::caller::UnixMillis;
use vidimus_identity::{Mint, SigningFailed};

/// The field.
pub(crate) const SIGNATURE: HeaderName = HeaderName::from_static("vidimus-signature");

/// How long it is good, in seconds.
const SIGNED_FOR: i64 = 300;

/// A body, and what is said of it. It is no access token, and has no audience.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignedBody<'s> {
    /// What kind of body it is, another one than that of tokens.
    pub(crate) typ: &'static str,
    /// What it is about.
    pub(crate) sub: &'s str,
    /// Where it goes.
    pub(crate) htu: &'s str,
    /// The call that it is; `None` of what is no call, and is told from others by chance.
    pub(crate) call: Option<&'s str>,
    /// When it is sent.
    pub(crate) at: UnixMillis,
    /// What is signed.
    pub(crate) body: &'s [u8],
}

impl SignedBody<'_> {
    /// The signature, by the keys of tokens.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub(crate) fn by(&self, mint: &Mint) -> Result<String, SigningFailed> {
        let jti = match self.call {
            Some(call) => call.to_owned(),
            None => {
                let mut bytes = [0; 16];
                rand::fill(&mut bytes).map_err(|_| SigningFailed)?;
                HEXLOWER.encode(&bytes)
            }
        };
        let now = self.at.0.div_euclid(1000);
        let claims = json!({
            "iss": mint.issuer(),
            "sub": self.sub,
            "htu": self.htu,
            "jti": jti,
            "iat": now,
            "exp": now.saturating_add(SIGNED_FOR),
            "request_body_sha256": HEXLOWER.encode(digest(&SHA256, self.body).as_ref()),
        });
        let claims = claims.to_string();
        Ok(mint.sign(self.typ, claims.as_bytes())?.compact(claims.as_bytes()))
    }
}
