//! A bearer token whose signature holds.

use super::claims::{Claims, HopClaims, Times};

/// What a verified bearer token is, before it is known whom it proves.
#[derive(Clone, Debug)]
pub(crate) enum Verified {
    /// One that our own mint issued for a hop to the caller.
    Hop { hop: HopClaims, times: Times },
    /// One of an issuer, elsewhere or built in.
    Issued(Claims),
}

impl Verified {
    pub(crate) fn times(&self) -> Times {
        match self {
            Self::Hop { times, .. } => *times,
            Self::Issued(claims) => claims.times,
        }
    }
}
