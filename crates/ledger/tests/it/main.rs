//! The ledger from outside: through its API and its files.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, also in its helpers"
)]
#![expect(clippy::print_stdout, reason = "the kill tests say what they met")]

mod append;
mod cosigned;
mod crash;
mod decide;
mod fsck;
mod kill;
mod objects;
mod proof;
mod prune;
mod read;
mod recover;
mod reopen;
mod rotate;
mod search;
mod stall;
mod support;
mod tail;
mod tamper;
