//! JWT-SVIDs (SPIFFE, JWT-SVID): bearer tokens that name a workload, verified with the authorities of its trust domain alone.

use std::sync::Arc;

use vidimus_core::caller::UnixMillis;
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};

use super::audience::Audience;
use super::cache::Trusted;
use super::claims::Times;
use super::keys::Algorithm;
use super::source::Source;
use super::token::{Kind, Token, malformed};
use super::verified::Verified;
use crate::spiffe::SpiffeId;
use crate::tls::TrustStore;

/// Verifies the token of the workload `id`: signature, times, and that it has an audience. `accepted` and `base` are as in
/// [`Audience::read`].
pub(crate) async fn verify(
    trust: &TrustStore,
    id: SpiffeId,
    token: &Token<'_>,
    payload: &Json<'_>,
    (now, accepted, base): (UnixMillis, &[Arc<str>], &str),
) -> Result<Trusted, Refusal> {
    token.check_kind(Kind::Svid)?;
    // Section 2.1 has no others. Which of RSA and ECDSA a key takes is bound to the key.
    if token.algorithm == Algorithm::EdDsa {
        let message = "algorithm EdDSA is not one of a JWT-SVID (JWT-SVID section 2.1)";
        return Err(Refusal::new(Code::TokenAlgorithm, message));
    }
    // Whom a workload acts for, an SVID does not say; a token that says it is something else.
    if payload.get("act").is_some() {
        return Err(malformed("a JWT-SVID has no 'act'"));
    }
    let source = Source::Svids { store: trust.clone(), domain: id.trust_domain().clone() };
    let keys = source.verify(token, now).await?;
    let times = Times::read(payload)?;
    times.check(now)?;
    let audience = Audience::read(payload, accepted, base)?;
    Ok(Trusted { verified: Arc::new(Verified::Svid { id, times, audience }), source, keys })
}
