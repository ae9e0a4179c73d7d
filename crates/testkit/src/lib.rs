//! Fakes for tests: an issuer, upstreams, an estate. Never part of a release.

pub mod estate;
pub mod issuer;
