//! Identity at its boundary: evidence in, a principal or a refusal out, against a real issuer over HTTP.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test that cannot go on fails"
)]

mod account;
mod bearer;
mod binding;
mod cluster_issuer;
mod hop;
mod issuer;
mod jwt_svid;
mod local;
mod mtls;
mod named;
mod people;
mod pods;
mod property;
mod replica_keys;
mod world;
