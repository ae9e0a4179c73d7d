//! Where the keys for a token come from.

use std::sync::Arc;

use vidimus_core::caller::UnixMillis;
use vidimus_core::refusal::{Code, Refusal};

use super::keys::{KeyError, KeySet};
use super::remote::Remote;
use super::token::Token;
use crate::issue::local::LocalIdentity;
use crate::issue::mint::Mint;
use crate::spiffe::TrustDomain;
use crate::tls::TrustStore;

/// The party that signed a token.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Ourselves, for a hop.
    Mint(Arc<Mint>),
    /// The built-in issuer.
    Local(Arc<LocalIdentity>),
    Remote(Arc<Remote>),
    /// The authorities of a trust domain, for JWT-SVIDs.
    Svids {
        store: TrustStore,
        domain: TrustDomain,
    },
}

impl Source {
    /// Whether `keys` are what the issuer's tokens are verified with at `now`.
    pub(crate) fn verifies_with(&self, keys: &Arc<KeySet>, now: UnixMillis) -> bool {
        match self {
            Self::Mint(mint) => mint.verifies_with(keys),
            Self::Local(local) => Arc::ptr_eq(local.keys(), keys),
            Self::Remote(remote) => remote.verifies_with(keys, now),
            Self::Svids { store, domain } => {
                store.token_keys(domain).is_some_and(|in_force| Arc::ptr_eq(&in_force, keys))
            }
        }
    }

    /// Verifies the signature, and says with which keys.
    pub(crate) async fn verify(&self, token: &Token<'_>, now: UnixMillis) -> Result<Arc<KeySet>, Refusal> {
        let keys = match self {
            Self::Mint(mint) => mint.keys(),
            Self::Local(local) => local.keys().clone(),
            Self::Remote(remote) => remote.keys(now).await?,
            Self::Svids { store, domain } => store.token_keys(domain).ok_or_else(|| no_authority(domain))?,
        };
        let error = match check(&keys, token) {
            Ok(()) => return Ok(keys),
            Err(error) => error,
        };
        // A key that is unknown here may be new at the issuer. A token that names no key is tried with the one key there is, so
        // with such a token a new key looks like a wrong signature.
        match self {
            Self::Remote(remote) if error == KeyError::Unknown || token.key_id.is_none() => {
                let newer = remote.newer(&keys, now).await?;
                check(&newer, token).map_err(|error| refused(error, token))?;
                Ok(newer)
            }
            Self::Mint(_) | Self::Local(_) => Err(of_another(refused(error, token))),
            _ => Err(refused(error, token)),
        }
    }
}

/// The built-in issuer and the gateway have the same name everywhere, and other keys in each installation.
fn of_another(refusal: Refusal) -> Refusal {
    let next = "Take a token of this gateway: those of the built-in issuer, and of a hop, are good only where their data directory is.";
    Refusal { next: Some(next), ..refusal }
}

pub(crate) fn no_authority(domain: &TrustDomain) -> Refusal {
    let message = format!("no trust bundle here has authorities for JWT-SVIDs of {domain}");
    Refusal::new(Code::SvidInvalid, message)
}

fn check(keys: &KeySet, token: &Token<'_>) -> Result<(), KeyError> {
    keys.verify(token.algorithm, token.key_id.as_deref(), token.message, &token.signature)
}

fn refused(error: KeyError, token: &Token<'_>) -> Refusal {
    match (error, &token.key_id) {
        (KeyError::Signature, _) => {
            Refusal::new(Code::TokenSignature, "the signature is not the issuer's, or the token was changed")
        }
        (KeyError::Unknown, Some(id)) => Refusal::new(
            Code::TokenKeyUnknown,
            format!("the issuer has no key {} for this algorithm", super::token::shown(id)),
        ),
        (KeyError::Unknown, None) => Refusal::new(
            Code::TokenKeyUnknown,
            "the token names no key ('kid'), and the issuer does not have exactly one for this algorithm",
        ),
    }
}
