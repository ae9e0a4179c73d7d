//! The decision and the snapshot, from outside.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::string_slice,
    reason = "tests"
)]

mod audience;
mod authorize;
mod candidates;
mod canonical;
mod chains;
mod changes;
mod composed;
mod conditions;
mod contest;
mod digest;
mod examples;
mod explanations;
mod generate;
mod guards;
mod hold;
mod incremental;
mod keep;
mod limits;
mod membership;
mod nowhere;
#[expect(dead_code, reason = "the benchmark asks for more")]
mod oracle;
mod people;
mod people_reach;
mod pins;
mod plans;
mod policies;
mod property;
mod reach;
mod rebuilt;
mod recorded;
mod registering;
mod registration;
mod representable;
mod rollout;
mod snapshot;
mod standing;
mod tried;
mod trust;
mod windows;
mod world;
