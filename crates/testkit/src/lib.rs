//! Fakes for tests: an issuer, an upstream, a clock, an estate; and permits, which are real. Never part of a release.

pub mod clock;
pub mod estate;
pub mod issuer;
pub mod permit;
pub mod port;
pub mod upstream;
