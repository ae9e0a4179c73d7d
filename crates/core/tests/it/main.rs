//! The decision and the snapshot, from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod examples;
mod generate;
mod policies;
mod property;
mod snapshot;
mod world;
