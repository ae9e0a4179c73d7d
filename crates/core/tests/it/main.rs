//! The decision and the snapshot, from outside.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod authorize;
mod examples;
mod generate;
mod policies;
mod property;
mod snapshot;
mod world;
