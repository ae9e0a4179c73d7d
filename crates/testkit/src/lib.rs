//! Fakes for tests: an issuer, upstreams. Never part of a release.

pub mod issuer;
