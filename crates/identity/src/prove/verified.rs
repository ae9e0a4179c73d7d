//! A bearer token whose signature holds.

use vidimus_core::caller::UnixMillis;
use vidimus_core::refusal::Refusal;

use super::audience::Audience;
use super::claims::{Claims, HopClaims, Times};
use crate::spiffe::SpiffeId;

/// What a verified bearer token is, before it is known whom it proves.
#[derive(Clone, Debug)]
pub(crate) enum Verified {
    /// One that our own mint issued for a hop to the caller.
    Hop { hop: HopClaims, times: Times },
    /// A JWT-SVID of a workload.
    Svid { id: SpiffeId, times: Times, audience: Audience },
    /// One of an issuer, elsewhere or built in.
    Issued { claims: Claims, audience: Audience },
}

impl Verified {
    pub(crate) fn times(&self) -> Times {
        match self {
            Self::Hop { times, .. } | Self::Svid { times, .. } => *times,
            Self::Issued { claims, .. } => claims.times,
        }
    }

    /// When it was issued, where it says so and a pod may have come and gone since.
    pub(crate) fn issued(&self) -> Option<UnixMillis> {
        match self {
            Self::Hop { .. } | Self::Svid { .. } => None,
            Self::Issued { claims, .. } => claims.issued,
        }
    }

    /// Whether a call of `route` may use it. A hop's token may be used on every route: `dst` says by whom.
    pub(crate) fn admits(&self, route: &str) -> Result<(), Refusal> {
        match self {
            Self::Hop { .. } => Ok(()),
            Self::Svid { audience, .. } | Self::Issued { audience, .. } => audience.admits(route),
        }
    }
}
